//! The channel alone, as the edge uses it: no outbound listener in between.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::watch;
use tonic::{Code, Request, Status};
use weft_channel::{BodyError, Channel, body};
use weft_runtime::metrics::Metrics;

use crate::support::{AUTHORITY, Mesh, codec, path};

fn channel(mesh: &Mesh, endpoint: SocketAddr) -> Channel {
    let snapshot = Arc::new(mesh.calling(&[endpoint]));
    let (_, followed) = watch::channel(Some(snapshot));
    Channel::new(followed, mesh.identity("orders"), &Metrics::new())
}

#[tokio::test]
async fn generated_clients_call_through_a_channel_without_a_sidecar() {
    let mesh = Mesh::new("calls.local");
    let (_echo, server, _) = mesh.echo().await;
    let channel = channel(&mesh, server.inbound);
    assert!(channel.has_endpoints(AUTHORITY));
    let mut client = tonic::client::Grpc::new(channel.service(AUTHORITY));
    client.ready().await.unwrap();
    let request = Request::new("header x-weft-caller".to_owned());
    let answer = client.unary(request, path("Unary"), codec()).await;
    assert_eq!(answer.unwrap().into_inner(), mesh.id("orders").as_str());
    let request = Request::new("not-found".to_owned());
    let answer = client.unary(request, path("Unary"), codec()).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_cancelled_and_no_fault_of_the_endpoint() {
    let mesh = Mesh::new("calls.local");
    let (_echo, server, _) = mesh.echo().await;
    let channel = channel(&mesh, server.inbound);
    let message = Frame::data(Bytes::from_static(b"\0\0\0\0\x03\x0a\x01s"));
    let broken = stream::iter([Ok(message), Err(BodyError::from("gone"))]);
    let request = http::Request::post(path("Collect").as_str())
        .header("content-type", "application/grpc")
        .body(body::boxed(StreamBody::new(broken)))
        .unwrap();
    let response = channel.call(AUTHORITY, request).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Cancelled, "{status:?}");
    assert_eq!(status.message(), "the caller's request broke off");
}
