//! What no gRPC client sends is answered as HTTP wants, and told why.

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{AUTHORITY, Mesh, Running};

const WHY: &str = "a sidecar carries gRPC calls only\n";

/// Asks with room for so many bytes of an answer's body.
async fn ask(sidecar: &Running, method: Method, window: u32) -> (StatusCode, HeaderMap, String) {
    let tcp = TcpStream::connect(sidecar.outbound).await.unwrap();
    let mut client = http2::Builder::new(TokioExecutor::new());
    let client = client.initial_stream_window_size(window);
    let (mut client, connection) = client.handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{AUTHORITY}/"))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (head.status, head.headers, text)
}

#[tokio::test]
async fn a_browser_learns_what_a_sidecar_is_for() {
    let mesh = Mesh::new("others.local");
    let sidecar = mesh.caller("orders", &[]).await;
    let (status, headers, text) = ask(&sidecar, Method::GET, 65_535).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, WHY)
    );
    // RFC 9110, 15.5.6.
    assert_eq!(headers["allow"], "POST");
    let (status, headers, text) = ask(&sidecar, Method::POST, 65_535).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, WHY)
    );
    assert!(!headers.contains_key("allow"));
}

#[tokio::test]
async fn who_takes_no_text_gets_the_whole_answer_without_it() {
    let mesh = Mesh::new("others.local");
    let sidecar = mesh.caller("orders", &[]).await;
    for (method, window) in [(Method::HEAD, 65_535), (Method::GET, 10), (Method::GET, 0)] {
        let (status, _, text) = ask(&sidecar, method, window).await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "")
        );
    }
}
