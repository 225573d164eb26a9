//! A plain HTTP/1.1 client, one connection a call.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::backend::Shop;

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// `STATUS REASON FIELD` of an error.
    pub fn error(&self) -> String {
        let json = self.json();
        let details = json["details"].as_array().cloned().unwrap_or_default();
        let detail = |kind: &str| {
            let name = format!("type.googleapis.com/google.rpc.{kind}");
            details
                .iter()
                .find(|detail| detail["@type"] == name.as_str())
                .cloned()
        };
        let reason = detail("ErrorInfo").unwrap_or_default()["reason"].clone();
        let field = detail("BadRequest").unwrap_or_default()["fieldViolations"][0]["field"].clone();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        format!(
            "{} {} {}",
            self.status.as_u16(),
            text(&reason),
            text(&field)
        )
        .trim()
        .to_owned()
    }
}

impl Shop {
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Reply {
        let stream = TcpStream::connect(self.edge).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let work = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            Reply {
                status: head.status,
                headers: head.headers,
                body: body.collect().await.unwrap().to_bytes(),
            }
        };
        timeout(Duration::from_secs(10), work)
            .await
            .expect("an answer in time")
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "shop.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        self.request(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    /// With a good token.
    pub async fn as_ada(&self, method: &str, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token());
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(method, path, &headers, body).await
    }
}
