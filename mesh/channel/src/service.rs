//! The channel as a tower service, for clients that tonic generates.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;

use crate::{Channel, body};

/// One authority of a [`Channel`]. Its error type is concrete, so that generated clients can be used
/// inside spawned tasks; it never occurs.
#[derive(Clone, Debug)]
pub struct AuthorityChannel {
    channel: Channel,
    authority: Arc<str>,
}

impl AuthorityChannel {
    pub(crate) fn new(channel: Channel, authority: Arc<str>) -> Self {
        Self { channel, authority }
    }
}

impl Service<Request<tonic::body::Body>> for AuthorityChannel {
    type Response = Response<tonic::body::Body>;
    type Error = tonic::Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Self { channel, authority } = self.clone();
        Box::pin(async move {
            let response = channel.call(&authority, request.map(body::boxed)).await;
            Ok(response.map(tonic::body::Body::new))
        })
    }
}
