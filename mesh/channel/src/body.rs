//! The one body type that calls are made with.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// Why a body broke.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request or response body: data and trailers of any origin, sendable between threads.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Any body as a [`Body`].
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body without data.
pub fn empty() -> Body {
    boxed(Empty::new())
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    boxed(Full::new(bytes.into()))
}
