//! Server streams over REST: server-sent events, lines of JSON, or one JSON array.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use weft_channel::{Body, BodyError, body};
use weft_transcode::Payload;

use crate::{
    api::Api,
    failure::{Failure, status_json},
    frames::Frames,
};

/// How long the response headers wait for the first message, so that an error can still be a status.
const FIRST_MESSAGE: Duration = Duration::from_millis(1500);
/// Without a message for so long, an event stream gets a comment, which keeps proxies from closing it.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How messages are put one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/event-stream`: each message is an event's `data`; an error is an event named `failure`,
    /// the good end one named `end`, so that an `EventSource` can close instead of reconnecting.
    Events,
    /// `application/x-ndjson`: a message a line; an error is a last line `{"error": STATUS}`.
    Lines,
    /// `application/json`: an array of messages; an error is a last element `{"error": STATUS}`.
    Array,
    /// `google.api.HttpBody`: chunks as they are.
    Raw,
}

impl Format {
    /// By `Accept`, the first that is known; lines where anything will do.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        for part in accept.split(',') {
            let mut parameters = part.split(';').map(str::trim);
            let kind = parameters.next().unwrap_or("").to_ascii_lowercase();
            let lines = parameters.any(|parameter| parameter == "stream=ndjson");
            match kind.as_str() {
                "text/event-stream" => return Self::Events,
                "application/x-ndjson" | "application/jsonl" => return Self::Lines,
                "application/json" if lines => return Self::Lines,
                "application/json" => return Self::Array,
                _ => {}
            }
        }
        Self::Lines
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Lines => "application/x-ndjson",
            Self::Array => "application/json",
            Self::Raw => "application/octet-stream",
        }
    }
}

/// A route's response side, owned by the body.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) api: Arc<Api>,
    /// The route's place in the router.
    pub(crate) route: weft_transcode::Route,
}

impl Encoder {
    fn encode(&self, message: &[u8]) -> Result<Payload, Status> {
        self.route
            .response(&self.api.plans, message)
            .map_err(|error| Failure::internal(&error).status)
    }
}

/// The response to a server-streaming call.
///
/// # Errors
///
/// An error that came before any message and soon.
pub(crate) async fn respond(
    mut frames: Frames,
    encoder: Encoder,
    accept: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let raw = encoder.route.answers_raw(&encoder.api.plans);
    let format = if raw {
        Format::Raw
    } else {
        Format::accepted(accept)
    };
    let (first, content_type) = if raw {
        // The first message has the content type: there is nothing to say before it.
        let first = frames.message().await?;
        let first = first.map(|message| encoder.encode(&message)).transpose()?;
        let kind = match &first {
            Some(Payload::Raw { content_type, .. }) => content_type.clone(),
            _ => String::new(),
        };
        (First::Came(first), kind)
    } else {
        let first = match timeout(FIRST_MESSAGE, frames.message()).await {
            Ok(first) => {
                let first = first?.map(|message| encoder.encode(&message)).transpose()?;
                First::Came(first)
            }
            Err(_) => First::Later,
        };
        (first, String::new())
    };
    let content_type = match content_type.as_str() {
        "" => format.content_type(),
        given => given,
    };
    let content_type = HeaderValue::from_str(content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let writer = Writer {
        frames,
        encoder,
        format,
        first,
        written: 0,
        is_over: false,
        quiet_since: Instant::now(),
    };
    let chunks = stream::unfold(writer, Writer::next);
    let mut response = Response::new(body::boxed(StreamBody::new(chunks)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

enum First {
    Later,
    Came(Option<Payload>),
    Written,
}

struct Writer {
    frames: Frames,
    encoder: Encoder,
    format: Format,
    first: First,
    written: usize,
    is_over: bool,
    quiet_since: Instant,
}

impl Writer {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, BodyError>, Self)> {
        if self.is_over {
            return None;
        }
        let chunk = match self.event().await {
            Event::Message(payload) => self.message(payload),
            Event::Quiet => Bytes::from_static(b": quiet\n\n"),
            Event::End(status) => {
                self.is_over = true;
                self.end(status.as_ref())
            }
        };
        self.quiet_since = Instant::now();
        Some((Ok(Frame::data(chunk)), self))
    }

    async fn event(&mut self) -> Event {
        if let First::Came(first) = std::mem::replace(&mut self.first, First::Written) {
            return first.map_or(Event::End(None), Event::Message);
        }
        let heartbeat = self.quiet_since + HEARTBEAT;
        let message = tokio::select! {
            message = self.frames.message() => message,
            () = sleep_until(heartbeat), if self.format == Format::Events => return Event::Quiet,
        };
        match message {
            Ok(Some(message)) => match self.encoder.encode(&message) {
                Ok(payload) => Event::Message(payload),
                Err(status) => Event::End(Some(status)),
            },
            Ok(None) => Event::End(None),
            Err(status) => Event::End(Some(status)),
        }
    }

    fn message(&mut self, payload: Payload) -> Bytes {
        let is_first = self.written == 0;
        self.written += 1;
        let json = match payload {
            Payload::Raw { data, .. } => return Bytes::from(data),
            Payload::Json(json) => json,
        };
        let (before, after): (&[u8], &[u8]) = match self.format {
            Format::Events => (b"data: ", b"\n\n"),
            Format::Lines => (b"", b"\n"),
            Format::Array if is_first => (b"[", b""),
            Format::Array => (b",\n", b""),
            Format::Raw => (b"", b""),
        };
        let mut out = BytesMut::with_capacity(json.len() + before.len() + after.len());
        out.put_slice(before);
        out.put_slice(&json);
        out.put_slice(after);
        out.freeze()
    }

    fn end(&self, failure: Option<&Status>) -> Bytes {
        let error = failure.map(|status| {
            tracing::info!(code = status.code() as i32, "stream failed");
            let json = status_json(&self.encoder.api.plans, status);
            String::from_utf8_lossy(&json).into_owned()
        });
        let open = if self.written == 0 { "[" } else { "" };
        let comma = if self.written == 0 { "" } else { ",\n" };
        let text = match (self.format, error) {
            (Format::Events, Some(error)) => format!("event: failure\ndata: {error}\n\n"),
            (Format::Events, None) => "event: end\ndata: {}\n\n".to_owned(),
            (Format::Lines, Some(error)) => format!("{{\"error\":{error}}}\n"),
            (Format::Array, Some(error)) => format!("{open}{comma}{{\"error\":{error}}}]\n"),
            (Format::Array, None) => format!("{open}]\n"),
            (Format::Lines | Format::Raw, _) => String::new(),
        };
        Bytes::from(text)
    }
}

enum Event {
    Message(Payload),
    Quiet,
    End(Option<Status>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        for (accept, format) in [
            ("text/event-stream", Format::Events),
            ("application/x-ndjson", Format::Lines),
            ("application/json; stream=ndjson", Format::Lines),
            ("application/json", Format::Array),
            ("text/html, application/json;q=0.9", Format::Array),
            ("*/*", Format::Lines),
            ("", Format::Lines),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Format::accepted(&headers), format, "{accept}");
        }
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Lines);
    }
}
