//! The outbound listener: the workload's calls, by name, over cleartext HTTP/2.

use std::sync::Arc;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use weft_channel::{Body, Channel, body, refusal};
use weft_policy::Failure;

use crate::connection::{self, Lifecycle};

/// Serves until the drain begins, then closes the listener.
pub(crate) async fn serve(listener: TcpListener, channel: Channel, lifecycle: Lifecycle) {
    connection::accept(&listener, &lifecycle, |stream, peer| {
        let channel = channel.clone();
        let drain = lifecycle.drain.clone();
        async move {
            let service = move |request| handle(channel.clone(), request);
            connection::serve(stream, peer, &drain, service).await;
        }
    })
    .await;
}

/// Answers every call with `failure` until the drain begins. The listener stays open.
pub(crate) async fn refuse(listener: &TcpListener, failure: &Failure, lifecycle: &Lifecycle) {
    let failure = Arc::new(failure.clone());
    connection::accept(listener, lifecycle, |stream, peer| {
        let failure = Arc::clone(&failure);
        let drain = lifecycle.drain.clone();
        async move {
            let service = move |request| {
                let answer = refuse_other_than_grpc(&request).unwrap_or_else(|| {
                    refusal(&authority(&request), request.uri().path(), &failure)
                });
                async { answer }
            };
            connection::serve(stream, peer, &drain, service).await;
        }
    })
    .await;
}

async fn handle(channel: Channel, request: Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = refuse_other_than_grpc(&request) {
        return refusal;
    }
    let authority = authority(&request);
    channel.call(&authority, request.map(body::boxed)).await
}

fn authority(request: &Request<Incoming>) -> String {
    let host = || request.headers().get(header::HOST)?.to_str().ok();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    authority.or_else(host).unwrap_or_default().to_owned()
}

/// What is not a gRPC request gets an HTTP status, as gRPC's protocol wants.
pub(crate) fn refuse_other_than_grpc(request: &Request<Incoming>) -> Option<Response<Body>> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let status = if request.method() != http::Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !is_grpc {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = Response::new(body::full("a sidecar carries gRPC calls only\n"));
    *response.status_mut() = status;
    Some(response)
}
