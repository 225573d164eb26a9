//! What the server does around a handler, and the upstream around a call.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contracts::weft::registry::v1::{
    DeregisterRequest, DeregisterResponse, RegisterRequest, RegisterResponse,
    registry_service_client::RegistryServiceClient,
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use service_kit::{Db, Server, Upstream, db::Migrator, testing};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

static MIGRATIONS: Migrator = sqlx::migrate!("tests/migrations");

/// Does what the name of the service in the request says, and keeps the metadata it saw.
#[derive(Default)]
struct Puppet {
    seen: Arc<Mutex<Vec<HashMap<String, String>>>>,
    next: Option<Upstream>,
}

#[tonic::async_trait]
impl RegistryService for Puppet {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let seen = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned()))
            .collect();
        self.seen.lock().unwrap().push(seen);
        match request.get_ref().service.as_str() {
            "panic" => panic!("as told"),
            "sleep" => tokio::time::sleep(Duration::from_secs(30)).await,
            "pause" => tokio::time::sleep(Duration::from_millis(300)).await,
            "forward" => {
                let mut client = RegistryServiceClient::new(self.next.clone().unwrap());
                return client.register(told("ok")).await;
            }
            _ => {}
        }
        Ok(Response::new(RegisterResponse::default()))
    }

    async fn deregister(
        &self,
        _: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        Ok(Response::new(DeregisterResponse::default()))
    }
}

fn told(service: &str) -> RegisterRequest {
    RegisterRequest {
        service: service.into(),
        instance: "x".into(),
        address: "x".into(),
        ..RegisterRequest::default()
    }
}

async fn server(puppet: Puppet) -> (Server, testing::TestDb) {
    let db = testing::databases("server", &MIGRATIONS).await.remove(0);
    let own = Db::open(db.url(), &MIGRATIONS).await.unwrap();
    (
        Server::new(own).add_service(RegistryServiceServer::new(puppet)),
        db,
    )
}

async fn running(puppet: Puppet) -> (testing::Running, testing::TestDb) {
    let (server, db) = server(puppet).await;
    (
        testing::spawn(|listener, token| server.serve(listener, token)).await,
        db,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_a_handler_is_internal_and_the_connection_lives() {
    let (running, _db) = running(Puppet::default()).await;
    let mut client = RegistryServiceClient::new(running.upstream());
    for _ in 0..2 {
        let status = client.register(told("panic")).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "internal error")
        );
        client.register(told("ok")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadline_is_kept_by_both_ends() {
    let (running, _db) = running(Puppet::default()).await;
    let started = Instant::now();
    let mut request = Request::new(told("sleep"));
    request.set_timeout(Duration::from_millis(150));
    let mut client = RegistryServiceClient::new(running.upstream());
    assert_eq!(
        client.register(request).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert!(started.elapsed() < Duration::from_secs(3));

    assert_eq!(
        raw_status(running.address(), "100m").await,
        "4",
        "the server keeps it by itself"
    );
}

/// The `grpc-status` that a client without any timer of its own gets for "sleep".
async fn raw_status(address: std::net::SocketAddr, timeout: &str) -> String {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message as _;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let message = told("sleep").encode_to_vec();
    let mut body = vec![0_u8];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let request = http::Request::post(format!(
        "http://{address}/weft.registry.v1.RegistryService/Register"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("grpc-timeout", timeout)
    .body(http_body_util::Full::new(bytes::Bytes::from(body)))
    .unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.headers()["grpc-status"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_request_exhausts_resources() {
    let (running, _db) = running(Puppet::default()).await;
    let mut client = RegistryServiceClient::new(running.upstream());
    let mut request = told("ok");
    request.address = "x".repeat(5 * 1024 * 1024);
    let status = client.register(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    client.register(told("ok")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_deadline_and_criticality_go_on_to_the_upstream() {
    let _telemetry = weft_runtime::telemetry::init("test");
    let (last, _db) = running(Puppet::default()).await;
    let _ = last;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (last, _db2) = running(Puppet {
        seen: Arc::clone(&seen),
        next: None,
    })
    .await;
    let (first, _db3) = running(Puppet {
        next: Some(last.upstream()),
        ..Puppet::default()
    })
    .await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut request = Request::new(told("forward"));
    request
        .metadata_mut()
        .insert("grpc-timeout", "1500m".parse().unwrap());
    request
        .metadata_mut()
        .insert("x-weft-criticality", "SHEDDABLE".parse().unwrap());
    request.metadata_mut().insert(
        "traceparent",
        format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap(),
    );
    let endpoint = format!("http://{}", first.address());
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    RegistryServiceClient::new(channel)
        .register(request)
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    let parent = &seen[0]["traceparent"];
    assert!(parent.contains(trace), "{parent}");
    assert_eq!(seen[0]["x-weft-criticality"], "SHEDDABLE");
    assert!(
        !parent.contains("b7ad6b7169203331"),
        "the parent is our span: {parent}"
    );
    let timeout = seen[0]["grpc-timeout"]
        .trim_end_matches('u')
        .parse::<u64>()
        .unwrap();
    assert!(timeout < 1_500_000 && timeout > 500_000, "{timeout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_calls_finish_before_the_server_ends() {
    let (running, _db) = running(Puppet::default()).await;
    let mut client = RegistryServiceClient::new(running.upstream());
    client.register(told("ok")).await.unwrap();
    let open = tokio::spawn(async move { client.register(told("pause")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = running.address();
    running.stop().await.unwrap();
    open.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_ends_calls_that_hang() {
    let (server, _db) = server(Puppet::default()).await;
    let server = server.drain_grace(Duration::from_millis(200));
    let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
    let mut client = RegistryServiceClient::new(running.upstream());
    client.register(told("ok")).await.unwrap();
    let open = tokio::spawn(async move { client.register(told("sleep")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    running.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(open.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_that_is_away_is_unavailable_and_comes_back() {
    let (first, db) = running(Puppet::default()).await;
    let (address, upstream) = (first.address(), first.upstream());
    let mut client = RegistryServiceClient::new(upstream);
    client.register(told("ok")).await.unwrap();
    first.stop().await.unwrap();
    let status = client.register(told("ok")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    let own = Db::open(db.url(), &MIGRATIONS).await.unwrap();
    let server = Server::new(own).add_service(RegistryServiceServer::new(Puppet::default()));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let token = service_kit::CancellationToken::new();
    let serving = tokio::spawn(server.serve(listener, token.clone()));
    let mut back = false;
    for _ in 0..100 {
        back = client.register(told("ok")).await.is_ok();
        if back {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(back);
    token.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_per_service() {
    let (running, _db) = running(Puppet::default()).await;
    let mut client = HealthClient::new(running.upstream());
    for service in ["", "weft.registry.v1.RegistryService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let answer = client.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let mut watch = client
        .watch(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let stopping = tokio::spawn(running.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    // The open watch does not hold up the end.
    stopping.await.unwrap().unwrap();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_tells_the_contract_with_its_options() {
    let (running, _db) = running(Puppet::default()).await;
    let asked = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("weft.registry.v1.RegistryService.Register".into()),
        MessageRequest::FileContainingSymbol("sockshop.orders.v1.OrderService".into()),
        MessageRequest::FileByFilename("weft/registry/v1/registry.proto".into()),
    ];
    let requests = asked.map(|message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    });
    let answers = ServerReflectionClient::new(running.upstream())
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap();
    let answers: Vec<_> = answers
        .into_inner()
        .map(|answer| answer.unwrap().message_response.unwrap())
        .collect()
        .await;

    let MessageResponse::ListServicesResponse(list) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert!(
        list.service
            .iter()
            .any(|s| s.name == "weft.registry.v1.RegistryService")
    );
    let MessageResponse::FileDescriptorResponse(files) = &answers[1] else {
        panic!("no files")
    };
    let pool = {
        let mut pool = prost_reflect::DescriptorPool::new();
        // Dependencies come after the file that needs them.
        for file in files.file_descriptor_proto.iter().rev() {
            let _ = pool.decode_file_descriptor_proto(file.as_slice());
        }
        pool
    };
    let original = contracts::FILE_DESCRIPTOR_SET;
    let first = &files.file_descriptor_proto[0];
    assert!(
        original
            .windows(first.len())
            .any(|part| part == first.as_slice())
    );
    assert!(files.file_descriptor_proto.len() > 3 && pool.files().count() > 1);
    assert!(
        matches!(answers[2], MessageResponse::ErrorResponse(_)),
        "not served here"
    );
    assert!(matches!(
        answers[3],
        MessageResponse::FileDescriptorResponse(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_bounded_labels() {
    let (server, _db) = server(Puppet::default()).await;
    let admin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = admin.local_addr().unwrap();
    let server = server.with_admin(admin);
    let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
    let mut client = RegistryServiceClient::new(running.upstream());
    client.register(told("ok")).await.unwrap();
    // Served by no one: it must not become a label.
    let mut foreign = contracts::weft::events::v1::event_service_client::EventServiceClient::new(
        running.upstream(),
    );
    let status = foreign.stream_events(contracts::weft::events::v1::StreamEventsRequest::default());
    assert_eq!(status.await.unwrap_err().code(), Code::Unimplemented);

    let (status, body) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    for expected in [
        "grpc_server_call_started_total{grpc_method=\"weft.registry.v1.RegistryService/Register\"}",
        "grpc_status=\"UNIMPLEMENTED\"",
        "grpc_method=\"other\"",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(body.contains(expected), "{expected} is missing in\n{body}");
    }
    assert!(!body.contains("EventService"));
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert_eq!(get(address, "/readyz").await.0, 200);
    assert_eq!(get(address, "/nothing").await.0, 404);
}

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}
