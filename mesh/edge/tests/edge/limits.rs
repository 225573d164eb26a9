//! Sizes, times and shapes that are refused.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::backend::Shop;

/// Everything the edge says to these bytes, until it closes or is silent for a second.
async fn raw(shop: &Shop, text: &str) -> String {
    let mut stream = TcpStream::connect(shop.edge).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_however_it_comes() {
    let shop = Shop::start().await;
    let body = format!("{{\"email\": \"{}\"}}", "a".repeat(2 << 20));
    let json = [("content-type", "application/json")];
    let reply = shop.send("POST", "/v1/sessions", &json, &body).await;
    assert_eq!(reply.error(), "413 BODY_TOO_LARGE");

    // Without a length.
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let answer = raw(&shop, &format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    // Told before it is sent.
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 10000000\r\nexpect: 100-continue\r\n\r\n";
    let answer = raw(&shop, head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let shop = Shop::start().await;
    for head in [
        "GET /v1/products HTTP/1.1\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "GET /v1/products HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost: a b/c\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost: a@b\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost:\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        // What follows must not be taken for a request of its own.
        let answer = raw(&shop, &format!("{head}GET / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_gets_one_answer_and_a_close() {
    let shop = Shop::start().await;
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let head = format!(
            "GET /v1/products HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let answer = raw(&shop, &head).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn grpc_without_trailers_is_refused() {
    let shop = Shop::start().await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let path = "/sockshop.catalogue.v1.CatalogueService/ListProducts";
    let reply = shop.send("POST", path, &headers, "").await;
    assert_eq!(reply.error(), "505 HTTP2_NEEDED");
}

#[tokio::test]
async fn open_requests_finish_during_a_drain() {
    let shop = Shop::start().await;
    let mut stream = TcpStream::connect(shop.edge).await.unwrap();
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    shop.stop.cancel();
    let refused = async {
        while TcpStream::connect(shop.edge).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), refused)
        .await
        .expect("new connections are refused");
    stream.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn who_is_refused_unread_is_told_that_the_connection_ends() {
    let shop = Shop::start().await;
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
        )
    };
    let is_told = |answer: &str| answer.to_lowercase().contains("\r\nconnection: close\r\n");
    // RFC 9112, 9.6.
    let answer = raw(&shop, &post("/v1/orders")).await;
    assert!(
        answer.starts_with("HTTP/1.1 401") && is_told(&answer),
        "{answer}"
    );
    let wrong = post("/v1/sessions") + "{\"a\": {}}";
    let answer = raw(&shop, &wrong.repeat(2)).await;
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 2, "{answer}");
    assert!(!is_told(&answer), "{answer}");
}
