//! What the edge needs of the mesh: one gRPC call to a service by its authority.

use futures::future::BoxFuture;
use http::{Request, Response};
use weft_channel::{Body, Channel};

/// Calls services by authority, such as `payments:7070`. Never fails: whatever goes wrong is a gRPC
/// status.
pub trait Upstream: Send + Sync + 'static {
    /// Carries out one gRPC call. Dropping the future or the response body cancels it.
    fn call<'a>(
        &'a self,
        authority: &'a str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Response<Body>>;
}

impl Upstream for Channel {
    fn call<'a>(
        &'a self,
        authority: &'a str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Response<Body>> {
        Box::pin(Channel::call(self, authority, request))
    }
}
