//! The workload: a gRPC service of strings that does what a string says.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, future::BoxFuture, stream};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, body::Body, server::Grpc, server::NamedService};
use tonic_prost::ProstCodec;

type Strings = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// One workload and what it has seen.
#[derive(Clone, Default)]
pub struct Echo {
    /// Unary calls that arrived.
    pub calls: Arc<AtomicUsize>,
    /// Handlers and streams that were dropped before they ended.
    pub dropped: Arc<AtomicUsize>,
    /// Messages of `Ticks("flood")` that were made.
    pub flooded: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
    hangs: Arc<AtomicUsize>,
    workers: Arc<Workers>,
}

/// How many calls of `work` are worked on at once, each for [`WORK`]; the others wait.
pub const WORKERS: usize = 8;
pub const WORK: Duration = Duration::from_millis(80);

struct Workers(Semaphore);

impl Default for Workers {
    fn default() -> Self {
        Self(Semaphore::new(WORKERS))
    }
}

/// How long one message of a flood is.
pub const FLOOD_BYTES: usize = 32 * 1024;

struct Dropped(Option<Arc<AtomicUsize>>);

impl Dropped {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Echo {
    /// Fails the next `count` calls of `flaky`.
    pub fn fail_next(&self, count: usize) {
        self.failures.store(count, Ordering::SeqCst);
    }

    /// Leaves the next `count` calls of `stuck` without an answer.
    pub fn hang_next(&self, count: usize) {
        self.hangs.store(count, Ordering::SeqCst);
    }

    pub fn call_count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn dropped_count(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    /// Serves until `stop`, gracefully; aborting the task kills it.
    pub async fn serve(&self, stop: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, self.serve_on(listener, stop))
    }

    pub fn serve_on(&self, listener: TcpListener, stop: CancellationToken) -> JoinHandle<()> {
        let service = self.clone();
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled())
                .await
                .unwrap();
        })
    }

    async fn unary(self, request: Request<String>) -> Result<Response<String>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let header = |name: &str| {
            let value = request.metadata().get(name);
            value
                .map_or("-", |value| value.to_str().unwrap())
                .to_owned()
        };
        let text = request.get_ref().clone();
        match text.as_str() {
            "unavailable" => Err(Status::unavailable("as asked")),
            "not-found" => {
                let mut status = Status::not_found("no such söck");
                status
                    .metadata_mut()
                    .insert("x-shelf", "7".parse().unwrap());
                Err(status)
            }
            "flaky" => {
                if is_next(&self.failures) {
                    return Err(Status::unavailable("not yet"));
                }
                Ok(Response::new(header("grpc-previous-rpc-attempts")))
            }
            "stuck" if !is_next(&self.hangs) => {
                Ok(Response::new(header("grpc-previous-rpc-attempts")))
            }
            "hang" | "stuck" => {
                let _dropped = Dropped(Some(self.dropped.clone()));
                std::future::pending().await
            }
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Response::new(text))
            }
            "work" => {
                let _worker = self.workers.0.acquire().await.unwrap();
                tokio::time::sleep(WORK).await;
                Ok(Response::new(text))
            }
            name if name.starts_with("header ") => Ok(Response::new(header(&name[7..]))),
            _ => Ok(Response::new(text)),
        }
    }

    fn ticks(self, request: Request<String>) -> Strings {
        if request.get_ref() == "flood" {
            return Box::pin(stream::repeat_with(move || {
                self.flooded.fetch_add(1, Ordering::SeqCst);
                Ok("s".repeat(FLOOD_BYTES))
            }));
        }
        let count = request.get_ref().parse().unwrap_or(usize::MAX);
        let mut dropped = Dropped(Some(self.dropped));
        let ticks = stream::unfold(0, move |tick| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((tick, tick + 1))
        });
        Box::pin(ticks.take(count).map(move |tick: usize| {
            if tick + 1 == count {
                dropped.disarm();
            }
            Ok(tick.to_string())
        }))
    }

    fn chat(request: Request<Streaming<String>>) -> Strings {
        let heard = request.into_inner();
        let answers = heard.map(|text| text.map(|text| format!("you said {text}")));
        let bye = stream::once(async { Ok("bye".to_owned()) });
        Box::pin(answers.chain(bye))
    }
}

/// Counts down to zero.
fn is_next(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

macro_rules! handler {
    ($name:ident, $trait:ident, $request:ty, $response:ty, $($stream:ident)?, |$echo:ident, $in:ident| $body:expr) => {
        struct $name(Echo);
        impl tonic::server::$trait<$request> for $name {
            type Response = String;
            $(type $stream = Strings;)?
            type Future = BoxFuture<'static, Result<Response<$response>, Status>>;
            fn call(&mut self, $in: Request<handler!(@ $trait)>) -> Self::Future {
                let $echo = self.0.clone();
                Box::pin($body)
            }
        }
    };
    (@ UnaryService) => { String };
    (@ ServerStreamingService) => { String };
    (@ ClientStreamingService) => { Streaming<String> };
    (@ StreamingService) => { Streaming<String> };
}

handler!(Unary, UnaryService, String, String, , |echo, request| echo.unary(request));
handler!(
    Ticks,
    ServerStreamingService,
    String,
    Strings,
    ResponseStream,
    |echo, request| async move { Ok(Response::new(echo.ticks(request))) }
);
handler!(Collect, ClientStreamingService, String, String, , |_echo, request| async move {
    let texts: Vec<_> = request.into_inner().map(Result::unwrap).collect().await;
    Ok(Response::new(texts.join(" ")))
});
handler!(
    Chat,
    StreamingService,
    String,
    Strings,
    ResponseStream,
    |_echo, request| async move { Ok(Response::new(Echo::chat(request))) }
);

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                "/test.Echo/Unary" | "/test.Echo/Safe" => grpc.unary(Unary(echo), request).await,
                "/test.Echo/Ticks" => grpc.server_streaming(Ticks(echo), request).await,
                "/test.Echo/Collect" => grpc.client_streaming(Collect(echo), request).await,
                "/test.Echo/Chat" => grpc.streaming(Chat(echo), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}
