//! The channel alone, as the edge uses it: no outbound listener in between.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, future::join_all, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use weft_channel::{BodyError, Channel, body};
use weft_identity::Identity;
use weft_model::dataplane::{CircuitBreakers, RetryBudget, Snapshot};
use weft_runtime::metrics::Metrics;

use crate::{
    disorder::{self, SEED},
    echo::Echo,
    support::{AUTHORITY, Mesh, codec, path},
};

fn channel(mesh: &Mesh, endpoint: SocketAddr) -> Channel {
    let snapshot = Arc::new(mesh.calling(&[endpoint]));
    let (_, followed) = watch::channel(Some(snapshot));
    Channel::new(followed, mesh.identity("orders"), &Metrics::new())
}

#[tokio::test]
async fn generated_clients_call_through_a_channel_without_a_sidecar() {
    let mesh = Mesh::new("calls.local");
    let (_echo, server, _) = mesh.echo().await;
    let channel = channel(&mesh, server.inbound);
    assert!(channel.has_endpoints(AUTHORITY));
    let mut client = tonic::client::Grpc::new(channel.service(AUTHORITY));
    client.ready().await.unwrap();
    let request = Request::new("header x-weft-caller".to_owned());
    let answer = client.unary(request, path("Unary"), codec()).await;
    assert_eq!(answer.unwrap().into_inner(), mesh.id("orders").as_str());
    let request = Request::new("not-found".to_owned());
    let answer = client.unary(request, path("Unary"), codec()).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_cancelled_and_no_fault_of_the_endpoint() {
    let mesh = Mesh::new("calls.local");
    let (_echo, server, _) = mesh.echo().await;
    let channel = channel(&mesh, server.inbound);
    let message = Frame::data(Bytes::from_static(b"\0\0\0\0\x03\x0a\x01s"));
    let broken = stream::iter([Ok(message), Err(BodyError::from("gone"))]);
    let request = http::Request::post(path("Collect").as_str())
        .header("content-type", "application/grpc")
        .body(body::boxed(StreamBody::new(broken)))
        .unwrap();
    let response = channel.call(AUTHORITY, request).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Cancelled, "{status:?}");
    assert_eq!(status.message(), "the caller's request broke off");
}

/// Places for calls, and for repetitions, of the target.
const PLACES: u32 = 8;

/// Calls in cleartext, at most [`PLACES`] at once.
fn few(mesh: &Mesh, endpoints: &[SocketAddr], rng: &mut StdRng) -> Arc<Snapshot> {
    let mut snapshot = mesh.calling(endpoints);
    let target = snapshot.targets.get_mut(AUTHORITY).unwrap();
    disorder::vary(target, rng);
    target.circuit_breakers = CircuitBreakers {
        max_requests: PLACES,
        max_pending_requests: PLACES,
        max_retries: PLACES,
        retry_budget: RetryBudget {
            budget_percent: 100,
            min_retry_concurrency: PLACES,
        },
        ..CircuitBreakers::default()
    };
    Arc::new(snapshot)
}

/// Begins a call, and loses interest at any time.
async fn whim(channel: Channel, mut rng: StdRng) {
    let pieces = rng.random_range(0..4);
    let pauses = rng.random_range(0..20);
    let breaks = rng.random_bool(0.2);
    let pieces = stream::iter(0..pieces).then(move |piece| async move {
        tokio::time::sleep(Duration::from_millis(pauses)).await;
        match piece == 2 && breaks {
            true => Err(BodyError::from("gone")),
            false => Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x03\x0a\x01s"))),
        }
    });
    let method = ["Safe", "Hedged", "Unary"].choose(&mut rng).unwrap();
    let request = http::Request::post(path(method).as_str())
        .header("content-type", "application/grpc")
        .header(
            "grpc-timeout",
            *["5m", "80m", "1S"].choose(&mut rng).unwrap(),
        )
        .body(body::boxed(StreamBody::new(pieces)))
        .unwrap();
    let patience = Duration::from_millis(rng.random_range(0..300));
    let _ = timeout(patience, async {
        let mut answer = channel.call(AUTHORITY, request).await.into_body();
        while let Some(Ok(_)) = answer.frame().await {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_of_calls_that_end_in_any_way_are_given_back() {
    let mut rng = StdRng::seed_from_u64(*SEED);
    let until = Instant::now() + disorder::duration();
    let mesh = Mesh::new("calls.local");
    let wild = [
        disorder::workload(rng.random(), until).await,
        disorder::workload(rng.random(), until).await,
    ];
    let (snapshots, followed) = watch::channel(Some(few(&mesh, &wild, &mut rng)));
    let channel = Channel::new(followed, None::<Arc<Identity>>, &Metrics::new());
    while Instant::now() < until {
        let whims = (0..12).map(|_| whim(channel.clone(), StdRng::from_rng(&mut rng)));
        join_all(whims).await;
        snapshots.send_replace(Some(few(&mesh, &wild, &mut rng)));
    }
    let (sane, _) = Echo::default().serve(CancellationToken::new()).await;
    let mut snapshot = few(&mesh, &[sane], &mut rng).as_ref().clone();
    snapshot.targets.get_mut(AUTHORITY).unwrap().methods.clear();
    snapshots.send_replace(Some(Arc::new(snapshot)));
    let all_pass = async || {
        let calls = (0..PLACES).map(|_| async {
            let mut client = tonic::client::Grpc::new(channel.service(AUTHORITY));
            client.ready().await.unwrap();
            let request = Request::new("work".to_owned());
            client.unary(request, path("Unary"), codec()).await
        });
        join_all(calls).await.iter().all(Result::is_ok)
    };
    // Until the sane workload is known, and streams of the wild ones have ended.
    let given_back = async { while !all_pass().await {} };
    let given_back = timeout(Duration::from_secs(10), given_back).await;
    given_back.expect("as many calls at once as there are places");
}
