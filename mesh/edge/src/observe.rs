//! Counting and logging a request when its response ends or the caller gives up.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::Code;
use tracing::Span;
use weft_channel::{Body, BodyError};

use crate::{
    failure::http_status,
    front::Facts,
    head::LogLine,
    metrics::{EdgeMetrics, Labels},
};

/// What is counted and logged about one request. That happens when it is dropped: at the end of the
/// response body, or earlier because the caller left.
pub(crate) struct Record {
    pub(crate) facts: Facts,
    pub(crate) status: StatusCode,
    metrics: EdgeMetrics,
    span: Span,
    log: LogLine,
    bytes: u64,
    is_complete: bool,
}

impl Record {
    /// Begins with a request that nobody has answered yet.
    pub(crate) fn new(metrics: EdgeMetrics, span: Span, log: LogLine) -> Self {
        metrics.in_flight.inc();
        Self {
            facts: Facts::default(),
            status: http_status(Code::Cancelled),
            metrics,
            span,
            log,
            bytes: 0,
            is_complete: false,
        }
    }
}

/// Passes a body through and records it.
pub(crate) struct Observed {
    inner: Body,
    record: Record,
}

impl Observed {
    pub(crate) fn new(inner: Body, mut record: Record) -> Self {
        record.is_complete = inner.is_end_stream();
        Self { inner, record }
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            None => this.record.is_complete = true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.record.bytes += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(code) = trailers.get("grpc-status")
                {
                    this.record.facts.code = Some(Code::from_bytes(code.as_bytes()));
                }
                this.record.is_complete |= this.inner.is_end_stream();
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = Instant::now().saturating_duration_since(self.log.started);
        let Facts {
            protocol,
            route,
            subject,
            code,
            reason,
        } = &self.facts;
        let _entered = self.span.enter();
        tracing::info!(
            target: "weft_edge::access",
            peer = %self.log.peer,
            method = %self.log.method,
            path = self.log.path,
            version = ?self.log.version,
            status = self.status.as_u16(),
            grpc_status = code.map(|code| code as i32),
            reason = reason.as_deref(),
            route,
            subject = subject.as_deref(),
            bytes = self.bytes,
            complete = self.is_complete,
            duration_ms = took.as_secs_f64() * 1000.0,
            user_agent = self.log.user_agent,
            request_id = self.log.request_id,
            "request"
        );
        let status = match (*protocol, code) {
            ("grpc", Some(code)) => *code as u32,
            _ => u32::from(self.status.as_u16()),
        };
        let labels = Labels {
            protocol,
            route: route.clone(),
            status,
        };
        self.metrics.answered(labels, took);
        self.metrics.in_flight.dec();
    }
}
