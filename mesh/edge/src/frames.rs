//! gRPC's length-prefixed messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use tonic::{Code, Status};
use weft_channel::Body;

/// The longest message a service may answer with.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const PREFIX_BYTES: usize = 5;

/// One message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + PREFIX_BYTES);
    out.put_u8(0);
    // Bodies are limited far below 4 GiB.
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// The messages of a response body, then its status.
pub(crate) struct Frames {
    body: Body,
    buffer: BytesMut,
    ended: Option<Status>,
}

impl Frames {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            ended: None,
        }
    }

    /// The next message; `Ok(None)` after a good end. Cancel-safe: nothing is lost.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if let Some(status) = &self.ended {
                return match status.code() {
                    Code::Ok if self.buffer.is_empty() => Ok(None),
                    Code::Ok => Err(Status::internal("the response ended within a message")),
                    _ => Err(status.clone()),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.accept(frame),
                Some(Err(error)) => {
                    tracing::warn!(error = error.to_string(), "response body broke");
                    self.ended = Some(Status::unavailable("the response broke off"));
                }
                None => {
                    self.ended = Some(Status::internal("the response ended without a status"));
                }
            }
        }
    }

    fn accept(&mut self, frame: http_body::Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.buffer.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.ended = Some(status(&trailers));
                }
            }
        }
    }

    /// A whole message from the buffer.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        if self.buffer.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let mut prefix = &self.buffer[..PREFIX_BYTES];
        let (compressed, length) = (prefix.get_u8(), prefix.get_u32() as usize);
        if compressed != 0 {
            return Err(Status::internal(
                "the response is compressed, which nobody asked for",
            ));
        }
        if length > MAX_MESSAGE_BYTES {
            let message = format!("the response message has {length} bytes, too many");
            return Err(Status::resource_exhausted(message));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// The status in headers or trailers; its absence is one too.
pub(crate) fn status(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers)
        .unwrap_or_else(|| Status::unknown("the response has no status"))
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;
    use weft_channel::{BodyError, body};

    use super::*;

    fn frames(chunks: &[&[u8]], code: Option<&str>) -> Frames {
        let mut parts: Vec<Result<Frame<Bytes>, BodyError>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        if let Some(code) = code {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            parts.push(Ok(Frame::trailers(trailers)));
        }
        Frames::new(body::boxed(StreamBody::new(futures::stream::iter(parts))))
    }

    #[tokio::test]
    async fn messages_are_cut_wherever_the_chunks_are() {
        let whole = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for size in 1..=whole.len() {
            let chunks: Vec<&[u8]> = whole.chunks(size).collect();
            let mut frames = frames(&chunks, Some("0"));
            for expected in [&b"one"[..], b"", b"three"] {
                assert_eq!(frames.message().await.unwrap().unwrap(), expected);
            }
            assert_eq!(frames.message().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn bad_ends_are_errors() {
        let one = frame(b"one");
        let code = async |mut frames: Frames| loop {
            match frames.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        };
        assert_eq!(code(frames(&[&one], Some("5"))).await, Code::NotFound);
        assert_eq!(code(frames(&[&one], None)).await, Code::Internal);
        assert_eq!(code(frames(&[&one[..4]], Some("0"))).await, Code::Internal);
        assert_eq!(
            code(frames(&[&[1, 0, 0, 0, 0]], Some("0"))).await,
            Code::Internal
        );
        let huge = [0, 0xff, 0, 0, 0];
        assert_eq!(
            code(frames(&[&huge], Some("0"))).await,
            Code::ResourceExhausted
        );
    }
}
