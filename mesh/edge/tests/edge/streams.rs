//! Server streams over REST.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use crate::{backend::Shop, client::Reply};

async fn watch(shop: &Shop, order: &str, accept: &str) -> Reply {
    let bearer = format!("Bearer {}", shop.token());
    let headers = [("authorization", bearer.as_str()), ("accept", accept)];
    shop.send("GET", &format!("/v1/orders/{order}:watch"), &headers, "")
        .await
}

const PENDING: &str = r#"{"name":"orders/1","state":"ORDER_STATE_PENDING"}"#;
const PAID: &str = r#"{"name":"orders/1","state":"ORDER_STATE_PAID"}"#;

#[tokio::test]
async fn a_stream_comes_in_the_form_that_is_asked_for() {
    let shop = Shop::start().await;
    for (accept, kind, text) in [
        (
            "text/event-stream",
            "text/event-stream; charset=utf-8",
            format!("data: {PENDING}\n\ndata: {PAID}\n\nevent: end\ndata: {{}}\n\n"),
        ),
        (
            "application/x-ndjson",
            "application/x-ndjson",
            format!("{PENDING}\n{PAID}\n"),
        ),
        (
            "application/json",
            "application/json",
            format!("[{PENDING},\n{PAID}]\n"),
        ),
        (
            "*/*",
            "application/x-ndjson",
            format!("{PENDING}\n{PAID}\n"),
        ),
    ] {
        let reply = watch(&shop, "1", accept).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("content-type"), kind);
        assert_eq!(reply.text(), text);
    }
    assert_eq!(
        watch(&shop, "empty", "application/json").await.text(),
        "[]\n"
    );
}

#[tokio::test]
async fn an_error_before_the_first_message_is_a_status_and_after_it_a_record() {
    let shop = Shop::start().await;
    let reply = watch(&shop, "none", "text/event-stream").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["code"], 5);
    let pending = PENDING.replace("orders/1", "orders/broken");
    let error = r#"{"code":15,"message":"lost"}"#;
    for (accept, text) in [
        (
            "text/event-stream",
            format!("data: {pending}\n\nevent: failure\ndata: {error}\n\n"),
        ),
        (
            "application/x-ndjson",
            format!("{pending}\n{{\"error\":{error}}}\n"),
        ),
        (
            "application/json",
            format!("[{pending},\n{{\"error\":{error}}}]\n"),
        ),
    ] {
        assert_eq!(watch(&shop, "broken", accept).await.text(), text);
    }
}

/// Asks to watch an order that never changes, as a browser does.
fn quiet_watch(shop: &Shop) -> Request<Full<Bytes>> {
    Request::get("/v1/orders/quiet:watch")
        .header("host", "shop.test")
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {}", shop.token()))
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn a_stream_without_messages_yet_is_open_all_the_same() {
    let shop = Shop::start().await;
    let stream = TcpStream::connect(shop.edge).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = timeout(
        Duration::from_secs(5),
        sender.send_request(quiet_watch(&shop)),
    )
    .await;
    let mut body = answer
        .expect("headers do not wait for a message")
        .unwrap()
        .into_body();
    assert!(
        timeout(Duration::from_millis(100), body.frame())
            .await
            .is_err()
    );
    assert_eq!(shop.seen.open_watches.load(Ordering::SeqCst), 1);

    connection.abort();
    assert!(
        shop.counts("edge_requests_in_flight 0").await,
        "the caller left"
    );
    until_cancelled(&shop).await;
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_is_counted_and_its_call_cancelled() {
    let shop = Shop::start().await;
    for is_http2 in [false, true] {
        let stream = TokioIo::new(TcpStream::connect(shop.edge).await.unwrap());
        let mut request = quiet_watch(&shop);
        let asked = if is_http2 {
            *request.uri_mut() = format!("http://shop.test{}", request.uri())
                .parse()
                .unwrap();
            request.headers_mut().remove("host");
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .unwrap();
            tokio::spawn(connection);
            tokio::spawn(async move { sender.send_request(request).await.map(drop) })
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                let answer = sender.send_request(request);
                tokio::select! {
                    _ = connection => Ok(()),
                    answer = answer => answer.map(drop),
                }
            })
        };
        assert!(shop.counts("edge_requests_in_flight 1").await);
        while shop.seen.open_watches.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asked.abort();
        assert!(
            shop.counts("edge_requests_in_flight 0").await,
            "HTTP/2: {is_http2}"
        );
        until_cancelled(&shop).await;
    }
    let line = "edge_requests_total{protocol=\"http\",route=\"unknown\",status=\"499\"} 2";
    assert!(shop.counts(line).await, "{}", shop.metrics.encode());
}

async fn until_cancelled(shop: &Shop) {
    let cancelled = async {
        while shop.seen.open_watches.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let cancelled = timeout(Duration::from_secs(5), cancelled).await;
    cancelled.expect("the service's stream is dropped, too");
}
