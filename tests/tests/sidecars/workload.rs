//! The workload: a gRPC service of bytes, and its client.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture, stream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codegen::http::uri::PathAndQuery,
    server::{self, NamedService},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

const LIMIT_BYTES: usize = 32 << 20;
/// A part of a long stream.
pub const PIECE: Bytes = Bytes::from_static(&[7; 64 * 1024]);

/// Requests and replies.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
    /// How many bytes of payload came, or how many pieces are to be sent.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// How long the workload takes for each message.
    #[prost(uint64, tag = "3")]
    pub pause_millis: u64,
    /// What the workload found in `x-marks`.
    #[prost(string, tag = "4")]
    pub marks: String,
}

type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

fn codec() -> ProstCodec<Message, Message> {
    ProstCodec::default()
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/test.Bytes/{name}")).unwrap()
}

/// A client on a connection of its own.
#[derive(Clone)]
pub struct Client(client::Grpc<Channel>);

impl Client {
    /// Over the outbound listener of a sidecar.
    pub async fn connect(outbound: SocketAddr) -> Self {
        let origin = http::Uri::from_static("http://server:7070");
        let endpoint = Endpoint::from_shared(format!("http://{outbound}")).unwrap();
        let channel = endpoint.origin(origin).connect().await.unwrap();
        let grpc = client::Grpc::new(channel);
        Self(grpc.max_decoding_message_size(LIMIT_BYTES))
    }

    pub async fn echo(&mut self, payload: Bytes) -> Result<Response<Message>, Status> {
        let message = Message {
            payload,
            ..Message::default()
        };
        self.ready().await?;
        self.0
            .unary(Request::new(message), method("Echo"), codec())
            .await
    }

    /// Sends `pieces` and returns how many bytes the workload counted, which takes `pause` for each.
    pub async fn collect(&mut self, pieces: usize, pause: Duration) -> Result<u64, Status> {
        let message = Message {
            payload: PIECE,
            pause_millis: pause.as_millis() as u64,
            ..Message::default()
        };
        self.ready().await?;
        let request = Request::new(stream::iter(vec![message; pieces]));
        let reply = self.0.client_streaming(request, method("Collect"), codec());
        Ok(reply.await?.into_inner().number)
    }

    /// Asks for `pieces`.
    pub async fn produce(&mut self, pieces: usize) -> Result<Streaming<Message>, Status> {
        let message = Message {
            number: pieces as u64,
            ..Message::default()
        };
        self.ready().await?;
        let reply = self
            .0
            .server_streaming(Request::new(message), method("Produce"), codec());
        Ok(reply.await?.into_inner())
    }

    /// Each of `messages` is answered.
    pub async fn converse(
        &mut self,
        messages: impl Stream<Item = Message> + Send + 'static,
    ) -> Result<Streaming<Message>, Status> {
        self.ready().await?;
        let reply = self
            .0
            .streaming(Request::new(messages), method("Converse"), codec());
        Ok(reply.await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(format!("{error:?}")))
    }
}

/// Serves for as long as the test runs.
pub async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    let router = tonic::transport::Server::builder().add_service(Workload);
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

#[derive(Clone)]
struct Workload;

impl NamedService for Workload {
    const NAME: &'static str = "test.Bytes";
}

impl tower::Service<http::Request<Body>> for Workload {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = server::Grpc::new(codec()).max_decoding_message_size(LIMIT_BYTES);
            Ok(match request.uri().path() {
                "/test.Bytes/Echo" => grpc.unary(Echo, request).await,
                "/test.Bytes/Collect" => grpc.client_streaming(Collect, request).await,
                "/test.Bytes/Produce" => grpc.server_streaming(Produce, request).await,
                "/test.Bytes/Converse" => grpc.streaming(Converse, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Echo;
struct Collect;
struct Produce;
struct Converse;

type Answer<T> = BoxFuture<'static, Result<Response<T>, Status>>;

impl server::UnaryService<Message> for Echo {
    type Response = Message;
    type Future = Answer<Message>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        let marks = request.metadata().get_all("x-marks").iter();
        let marks: Vec<_> = marks
            .map(|mark| mark.to_str().unwrap().to_owned())
            .collect();
        let reply = Message {
            marks: marks.join(" "),
            ..request.into_inner()
        };
        Box::pin(async { Ok(Response::new(reply)) })
    }
}

impl server::ClientStreamingService<Message> for Collect {
    type Response = Message;
    type Future = Answer<Message>;

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        Box::pin(async {
            let (mut messages, mut number) = (request.into_inner(), 0);
            while let Some(message) = messages.message().await? {
                number += message.payload.len() as u64;
                pause(message.pause_millis).await;
            }
            let reply = Message {
                number,
                ..Message::default()
            };
            Ok(Response::new(reply))
        })
    }
}

impl server::ServerStreamingService<Message> for Produce {
    type Response = Message;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        let piece = Message {
            payload: PIECE,
            ..Message::default()
        };
        let pieces = stream::repeat(Ok(piece)).take(request.into_inner().number as usize);
        Box::pin(async { Ok(Response::new(pieces.boxed())) })
    }
}

impl server::StreamingService<Message> for Converse {
    type Response = Message;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        Box::pin(async { Ok(Response::new(request.into_inner().boxed())) })
    }
}

/// A slow reader, as far as it is one.
pub async fn pause(millis: u64) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}
