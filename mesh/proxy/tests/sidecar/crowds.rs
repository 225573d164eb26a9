//! However many connect, a listener holds a bounded number, and whoever behaves is let in.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};
use weft_model::dataplane::{CircuitBreakers, Fault, FaultDelay, RouteRule};

use crate::{
    attacker::*,
    logs,
    support::{AUTHORITY, Client, Running, eventually},
};

/// What a listener holds, what of these from one address at the inbound one, and what is about to close.
const MOST: usize = 1024;
const MOST_OF_ONE: usize = 768;
const CLOSING: usize = 256;

/// Calls of this authority are never sent.
const SLOW: &str = "slow:7070";

fn connections(sidecar: &Running, side: &str) -> usize {
    let metrics = sidecar.metrics.encode();
    let line = format!("weft_downstream_connections{{side=\"{side}\"}} ");
    let mut lines = metrics.lines();
    let count = lines.find_map(|found| found.strip_prefix(&line));
    count.unwrap().parse::<f64>().unwrap() as usize
}

async fn crowd_at(door: &Door, count: usize, greeting: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let (tcp, _) = door.knock().await;
        // It may have been closed already.
        let _ = tcp.try_write(greeting);
        crowd.push(tcp);
    }
    crowd
}

/// What a connection that is closed was told before.
async fn told(tcp: &mut TcpStream) -> Vec<u8> {
    let mut told = Vec::new();
    let ended = timeout(Duration::from_secs(10), tcp.read_to_end(&mut told)).await;
    let _ = ended.expect("it is closed");
    told
}

#[tokio::test]
async fn callers_that_hang_up_with_their_last_word_are_gone_at_once() {
    let scene = Scene::new("crowds.local").await;
    for (door, sidecar, side) in [
        (scene.inbound(), &scene.server, "inbound"),
        (scene.outbound(), &scene.caller, "outbound"),
    ] {
        for _ in 0..20 {
            let mut caller = door.enter(&[]).await;
            caller.send(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
        }
        // Keepalive would find out after 20 s.
        let gone = || connections(sidecar, side) == 0;
        eventually("they are gone", gone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_never_calls_keeps_nobody_out() {
    weft_runtime::raise_file_limit();
    let scene = Scene::new("crowds.local").await;
    let bystander = scene.bystander().await;
    let door = scene.outbound();
    // Who says nothing goes without a word, who could call is told.
    for (greeting, farewell) in [(vec![], ""), (greeting(&[]), "too_many_connections")] {
        let mut crowd = crowd_at(&door, MOST + 300, &greeting).await;
        let held = connections(&scene.caller, "outbound");
        assert!(held <= MOST + CLOSING, "{held} connections");
        assert!(held > MOST / 2, "{held} connections are no crowd");
        let told = told(&mut crowd[0]).await;
        let told = String::from_utf8_lossy(&told);
        assert!(told.ends_with(farewell), "{told}");
        bystander.is_answered().await;
        let within = || connections(&scene.caller, "outbound") <= MOST;
        eventually("the crowd is within the limit", within).await;
        drop(crowd);
        let gone = || connections(&scene.caller, "outbound") < 10;
        eventually("the crowd has gone", gone).await;
    }
    bystander.was_unharmed().await;
    let metrics = scene.caller.metrics.encode();
    assert!(
        metrics.contains(r#"reason="too_many_connections""#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_handshakes_of_one_address_leave_places_to_others() {
    weft_runtime::raise_file_limit();
    let scene = Scene::new("crowds.local").await;
    let bystander = scene.bystander().await;
    let door = Door {
        from: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
        ..scene.inbound()
    };
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut crowd = crowd_at(&door, MOST + 300, hello).await;
    let held = connections(&scene.server, "inbound");
    // The bystander's are few.
    assert!(held <= MOST_OF_ONE + 10, "{held} connections");
    assert_eq!(told(&mut crowd[0]).await, b"", "the oldest made room");
    bystander.is_answered().await;
    drop(crowd);
    bystander.was_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_place_is_in_use_newcomers_are_refused_and_nobody_else() {
    weft_runtime::raise_file_limit();
    let scene = Scene::new("crowds.local").await;
    let mut snapshot = scene.mesh.calling(&[scene.server.inbound]);
    let mut slow = snapshot.targets[AUTHORITY].clone();
    slow.authority = SLOW.to_owned();
    slow.circuit_breakers = CircuitBreakers {
        max_requests: 10_000,
        ..CircuitBreakers::default()
    };
    let delay = FaultDelay {
        fixed_delay: Duration::from_secs(60),
        share_per_100_000: 100_000,
    };
    slow.routes = vec![RouteRule {
        fault: Some(Fault {
            delay: Some(delay),
            abort: None,
        }),
        ..RouteRule::default()
    }];
    snapshot.targets.insert(SLOW.to_owned(), slow);
    scene.caller.set(snapshot);
    let mut client = scene.caller.client().await;
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    let call = frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", SLOW),
            (":path", "/test.Echo/Unary"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]),
    );
    let call = [greeting(&[]), call].concat();
    let door = scene.outbound();
    let crowd = crowd_at(&door, MOST - 1, &call).await;
    let in_use = format!(
        "weft_upstream_requests{{grpc_target=\"{SLOW}\"}} {}",
        MOST - 1
    );
    let is_full = || scene.caller.metrics.encode().contains(&in_use);
    eventually("every place is in use", is_full).await;

    for _ in 0..3 {
        let (mut tcp, own) = door.knock().await;
        let line = logs::line(&[&own, "connection refused, too many are open"]).await;
        assert!(
            line.contains("\"open\":1024") && line.contains("outbound"),
            "{line}"
        );
        assert_eq!(told(&mut tcp).await, b"");
        assert_eq!(client.unary("hello").await.unwrap(), "hello");
    }
    // Not even a caller that pauses has to go for them.
    sleep(Duration::from_secs(1)).await;
    let (mut tcp, _) = door.knock().await;
    assert_eq!(told(&mut tcp).await, b"");
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    drop(crowd);
    let is_free = || connections(&scene.caller, "outbound") < 10;
    eventually("the places are free", is_free).await;
    let mut newcomer = scene.caller.client().await;
    assert_eq!(newcomer.unary("hello").await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_keep_coming_are_all_counted_and_not_all_logged() {
    let scene = Scene::new("noise.local").await;
    let door = scene.inbound();
    let mut came = Vec::new();
    let mut come = async |crowd: usize| {
        for mut tcp in crowd_at(&door, crowd, b"GET / HTTP/1.1\r\n\r\n").await {
            came.push(tcp.local_addr().unwrap());
            told(&mut tcp).await;
        }
        let count = came.len();
        let counted = format!("_refused_total{{reason=\"PLAINTEXT\"}} {count}\n");
        let is_counted = || scene.server.metrics.encode().contains(&counted);
        eventually("all are counted", is_counted).await;
        let line = |own| logs::now(&[&format!("\"{own}\""), "inbound connection refused"]);
        came.iter().filter_map(line).collect::<Vec<_>>()
    };
    let mut logged = come(60).await;
    assert!((20..60).contains(&logged.len()), "{} lines", logged.len());
    for _ in 0..500 {
        // The first line of a later second tells of those left out.
        if logged.iter().any(|line| line.contains("left_out")) {
            return;
        }
        logged = come(1).await;
    }
    panic!("nothing tells of lines that were left out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_vain_are_all_counted_and_not_all_logged() {
    let scene = Scene::new("vain.local").await;
    let stranger = scene.mesh.caller("carts", &[scene.server.inbound]).await;
    let client = stranger.client().await;
    let logged = || logs::all(&["vain.local", "inbound call failed", "CALLER_NOT_ALLOWED"]);
    let is_told = || logged().iter().any(|line| line.contains("left_out"));
    let mut calls = 0;
    // The first line of a later second tells of those left out.
    while !is_told() {
        assert!(calls < 20_000, "nobody tells what was left out");
        let call = |mut client: Client| async move { client.unary("hello").await.unwrap_err() };
        join_all((0..200).map(|_| call(client.clone()))).await;
        calls += 200;
    }
    assert!(logged().len() < calls);
    let counted = format!("grpc_status=\"PERMISSION_DENIED\"}} {calls}\n");
    let metrics = scene.server.metrics.encode();
    assert!(metrics.contains(&counted), "{metrics}");
}
