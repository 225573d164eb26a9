//! Calls to other services, by name.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body, transport::Endpoint};
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};
use tracing::{Instrument as _, Span, field};

use crate::{Args, call};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
// Without these a connection whose other end vanished silently would stay dead for good.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A channel to another service, for generated clients: `OrderServiceClient::new(upstream)`. Cloning
/// is cheap and shares the connection, which is made when it is first used and made again whenever it
/// is lost.
///
/// Each call carries the trace, how much the call that is being served matters
/// (`x-weft-criticality`), and as its deadline the least of its own (`Request::set_timeout`) and
/// what is left of the call that is being served; 5 s if there is neither (see [`crate::with_deadline`]
/// and [`crate::without_deadline`]). A call that runs out of time ends with `DEADLINE_EXCEEDED`, one
/// whose connection fails with `UNAVAILABLE`.
#[derive(Clone)]
pub struct Upstream {
    name: Arc<str>,
    channel: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
}

/// An upstream's name is not a host and a port.
#[derive(Debug, thiserror::Error)]
#[error("invalid upstream `{0}`: write a name and a port, such as payments:7070")]
pub struct InvalidUpstream(String);

/// The channel to the service called `name`, such as `payments:7070`. It is dialled through
/// `OUTBOUND_PROXY` with the name as `:authority` if that is set, else directly.
///
/// # Errors
///
/// If the name is not a host and a port.
pub fn upstream(name: &str, args: &Args) -> Result<Upstream, InvalidUpstream> {
    Upstream::new(name, args.outbound_proxy.as_ref())
}

impl Upstream {
    /// Like [`upstream`], with the proxy given by itself.
    ///
    /// # Errors
    ///
    /// If the name is not a host and a port.
    pub fn new(name: &str, outbound_proxy: Option<&Uri>) -> Result<Self, InvalidUpstream> {
        let invalid = || InvalidUpstream(name.to_owned());
        let origin: Uri = format!("http://{name}").parse().map_err(|_| invalid())?;
        if origin.port().is_none() || origin.path() != "/" {
            return Err(invalid());
        }
        let dialled = outbound_proxy.cloned().unwrap_or_else(|| origin.clone());
        let channel = Endpoint::from(dialled)
            .origin(origin)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self::over(name, channel))
    }

    /// Calls to the service called `name` that go through `channel`, whatever that is: a mesh in this
    /// process, or a stand-in.
    pub fn over<C>(name: &str, channel: C) -> Self
    where
        C: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send + 'static,
    {
        Self {
            name: name.into(),
            channel: BoxCloneSyncService::new(channel.map_err(Into::into)),
        }
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    // A concrete type: with a boxed error generated clients do not compile inside `tokio::spawn`.
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The channel's own readiness is awaited under the call's deadline.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = client_span(&self.name, request.uri().path());
        weft_runtime::trace::inject_span(request.headers_mut(), &span);
        let timeout = call::outgoing_timeout(request.headers());
        if let Some(timeout) = timeout {
            call::set_grpc_timeout(request.headers_mut(), timeout);
        }
        call::hand_criticality_on(request.headers_mut());
        let (name, channel) = (Arc::clone(&self.name), self.channel.clone());
        let recorded = span.clone();
        let answer = async move {
            let expires = timeout.map(|timeout| Instant::now() + timeout);
            let sent = channel.oneshot(request);
            let answer = match expires {
                Some(at) => match tokio::time::timeout_at(at, sent).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(late(&name)),
                },
                None => sent.await,
            };
            let answer = answer.map_err(|error| unreachable(&name, error))?;
            Ok(answer.map(|body| {
                Body::new(Bounded {
                    inner: body,
                    expires: expires.map(|at| Box::pin(tokio::time::sleep_until(at))),
                    name,
                    done: false,
                })
            }))
        };
        Box::pin(
            async move {
                let answer = answer.await;
                record(&recorded, &answer);
                answer
            }
            .instrument(span),
        )
    }
}

fn client_span(upstream: &str, path: &str) -> Span {
    let method = path.trim_start_matches('/');
    tracing::info_span!(
        "upstream call",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
        server.address = upstream,
    )
}

/// Only what is known when response headers are there; a stream may still fail later.
fn record(span: &Span, answer: &Result<Response<Body>, Status>) {
    let code = match answer {
        Ok(response) => Status::from_header_map(response.headers()).map(|status| status.code()),
        Err(status) => Some(status.code()),
    };
    if let Some(code) = code {
        span.record("rpc.grpc.status_code", code as i64);
        if code != tonic::Code::Ok {
            span.record("otel.status_code", "ERROR");
        }
    }
}

fn late(name: &str) -> Status {
    Status::deadline_exceeded(format!("{name} did not answer in time"))
}

fn unreachable(name: &str, error: BoxError) -> Status {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(current) = cause {
        // The transport has a timer for `grpc-timeout` of its own.
        if current.is::<tonic::TimeoutExpired>() {
            return late(name);
        }
        cause = current.source();
    }
    tracing::warn!(
        upstream = name,
        error = &*error as &dyn std::error::Error,
        "upstream failed"
    );
    Status::unavailable(format!("{name} cannot be reached"))
}

/// A response body that ends with `DEADLINE_EXCEEDED` when the call's time is over.
struct Bounded {
    inner: Body,
    expires: Option<Pin<Box<Sleep>>>,
    name: Arc<str>,
    done: bool,
}

impl http_body::Body for Bounded {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.done = !matches!(frame, Some(Ok(_)));
            return Poll::Ready(frame);
        }
        let expired = match &mut self.expires {
            Some(expires) => expires.as_mut().poll(context).is_ready(),
            None => false,
        };
        if expired {
            self.done = true;
            return Poll::Ready(Some(Err(late(&self.name))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
