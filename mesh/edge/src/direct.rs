//! The edge in somebody else's mesh: services are dialled by name in the clear.
//!
//! There, a sidecar of Istio or Linkerd takes the connection: identity, caller rules, balancing, retries
//! and deadlines are its work. So this does nothing but carry a call over.

use std::{collections::HashMap, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::ServiceExt;
use weft_channel::{Body, body::boxed, headers};
use weft_runtime::trace;

use crate::upstream::Upstream;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls services at the addresses their names have in DNS. One connection per service, made at the
/// first call and again when it broke.
#[derive(Default)]
pub struct Direct {
    channels: Mutex<HashMap<String, Channel>>,
}

impl Direct {
    /// The connection to a service; connects at its first use.
    fn channel(&self, authority: &str) -> Result<Channel, Status> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(authority) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| Status::internal(format!("`{authority}` is no name with a port")))?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_adaptive_window(true)
            .connect_lazy();
        channels.insert(authority.to_owned(), channel.clone());
        Ok(channel)
    }

    async fn send(
        &self,
        authority: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let channel = self.channel(authority)?;
        let mut request = request.map(tonic::body::Body::new);
        headers::clean_request(request.headers_mut());
        trace::inject(request.headers_mut());
        let mut response = channel.oneshot(request).await.map_err(|error| {
            tracing::warn!(
                authority,
                error = &error as &dyn std::error::Error,
                "no answer"
            );
            Status::unavailable(format!("{authority} does not answer"))
        })?;
        headers::clean_response(response.headers_mut());
        Ok(response.map(boxed))
    }
}

impl Upstream for Direct {
    fn call<'a>(
        &'a self,
        authority: &'a str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let answer = self.send(authority, request).await;
            answer.unwrap_or_else(|status| status.into_http())
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tonic::Code;
    use weft_channel::body::full;

    use super::*;

    /// Asks for health with an empty message; the status that came back.
    async fn check(authority: &str) -> Option<i32> {
        let request = Request::post("/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .body(full(&[0_u8; 5][..]))
            .unwrap();
        let (head, body) = Direct::default()
            .call(authority, request)
            .await
            .into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned();
        let trailers = trailers.unwrap_or_default();
        headers::grpc_status(&head.headers).or_else(|| headers::grpc_status(&trailers))
    }

    #[tokio::test]
    async fn a_call_reaches_the_service_by_its_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(health);
        tokio::spawn(server.serve_with_incoming(incoming));

        assert_eq!(
            check(&format!("localhost:{port}")).await,
            Some(Code::Ok as i32)
        );
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_unavailable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        drop(listener);

        assert_eq!(check(&authority).await, Some(Code::Unavailable as i32));
    }
}
