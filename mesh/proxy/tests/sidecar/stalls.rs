//! Whoever stalls holds little, and is let go in time; nobody else notices.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use weft_http2::{Connection, Event, HeaderBlock, Limits, Name, Settings, StreamId};

use crate::{
    attacker::*,
    logs,
    support::{Mesh, Running, eventually},
};

const CALM: u32 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// How late the clock of a busy machine may be.
const LATE: Duration = Duration::from_secs(8);

#[track_caller]
fn assert_took(began: Instant, expected: u64, what: &str) {
    let (took, expected) = (began.elapsed(), Duration::from_secs(expected));
    // Connections are looked at every quarter of a second.
    let early = expected - Duration::from_millis(300);
    assert!((early..expected + LATE).contains(&took), "{what}: {took:?}");
}

/// It answers PINGs and takes frames, but gives no window for the answer it asked for.
async fn shuts_its_windows(door: &Door) {
    let mut attacker = door.enter(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    let began = Instant::now();
    attacker.send(&call(0, "Ticks", "flood")).await.unwrap();
    let ending = timeout(Duration::from_secs(60), attacker.linger()).await;
    let ending = ending.expect("it is let go");
    assert_eq!(ending, Some((CALM, "no_progress".to_owned())));
    assert_took(began, 30, "shut windows");
    let words = "the peer took nothing for 30 s of what waited for it";
    logs::line(&[&attacker.own, "connection closed", words]).await;
}

/// It gives all windows there are, lives, and reads nothing.
async fn never_reads(door: &Door) {
    let most = 0x7fff_ffff_u32;
    let mut attacker = door.enter(&[(INITIAL_WINDOW_SIZE, most)]).await;
    let more = frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes());
    attacker.send(&more).await.unwrap();
    let began = Instant::now();
    attacker.send(&call(0, "Ticks", "flood")).await.unwrap();
    let ping = frame(PING, 0, 0, &[7; 8]);
    let living = async {
        while attacker.send(&ping).await.is_ok() {
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(Duration::from_secs(60), living)
        .await
        .expect("it is let go");
    assert_took(began, 30, "no read");
    let words = "the peer took nothing for 30 s of what waited for it";
    logs::line(&[&attacker.own, "connection closed", words]).await;
}

/// It sends `part` of what must come in one go, after `greeted`, and then nothing.
async fn says_half(door: &Door, greeted: &[u8], part: &[u8], (seconds, reason): (u64, &str)) {
    let mut attacker = door.connect().await;
    let began = Instant::now();
    attacker.send(&[greeted, part].concat()).await.unwrap();
    let ended = timeout(Duration::from_secs(60), attacker.linger()).await;
    let (_, said) = ended.expect("it is let go").expect("it is told why");
    assert_eq!(said, reason);
    assert_took(began, seconds, reason);
    logs::line(&[&attacker.own, "connection closed", reason]).await;
}

/// It sends a byte of a frame every second: the frame, not the byte, has its time.
async fn drips(door: &Door) {
    let mut attacker = door.enter(&[]).await;
    let own = attacker.own.clone();
    let began = Instant::now();
    let request = frame(HEADERS, END_HEADERS, 1, &request("Unary"));
    let dripping = async {
        for byte in &request {
            if attacker.send(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(60), dripping)
        .await
        .expect("it is let go");
    assert_took(began, 10, "dripping");
    logs::line(&[&own, "connection closed", "frame_timeout"]).await;
}

/// Half a TLS handshake.
async fn says_half_of_a_handshake(door: &Door) {
    for part in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\x16",
        b"",
    ] {
        let (mut tcp, _) = door.knock().await;
        let began = Instant::now();
        tcp.write_all(part).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(60), tcp.read_to_end(&mut answer)).await;
        let _ = ended.expect("it is let go");
        assert_took(began, 5, "half a handshake");
        assert!(answer.len() <= 7, "more than an alert: {answer:?}");
    }
}

async fn stalls_in_each_way(door: Door) {
    let (hello, half) = (greeting(&[]), open(0, 0));
    let (preface, settings) = hello.split_at(hello.len() - 9);
    assert_eq!(settings, frame(SETTINGS, ACK, 0, &[]));
    let slow = async {
        if door.tls.is_some() {
            says_half_of_a_handshake(&door).await;
        }
    };
    tokio::join!(
        shuts_its_windows(&door),
        never_reads(&door),
        says_half(&door, &preface[..20], b"", (5, "preface_timeout")),
        says_half(&door, b"", b"", (5, "preface_timeout")),
        says_half(&door, preface, b"", (10, "settings_timeout")),
        says_half(&door, &hello, &half[..4], (10, "frame_timeout")),
        says_half(&door, &hello, &half[..30], (10, "frame_timeout")),
        drips(&door),
        slow,
    );
}

/// A caller that takes nothing of one answer while another of its calls is quiet, over connections that
/// sidecars share: only what is stuck ends.
async fn stalls_beside_a_quiet_call(scene: &Scene) {
    let mut client = scene.caller.client().await;
    let (mut other, mut quiet) = (client.clone(), client.clone());
    let quiet = tokio::spawn(async move { quiet.unary("hang").await });
    let mut flood = client.ticks("flood").await.unwrap();
    logs::line_within(
        Duration::from_secs(60),
        &["calls ended, the caller takes nothing"],
    )
    .await;
    let status = loop {
        match flood.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("took nothing"), "{status:?}");
    assert!(!quiet.is_finished(), "the quiet call goes on");
    assert_eq!(other.unary("hello").await.unwrap(), "hello");
    quiet.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stalls_is_let_go_in_time() {
    let scene = Scene::new("stalls.local").await;
    let bystander = scene.bystander().await;
    tokio::join!(
        stalls_in_each_way(scene.inbound()),
        stalls_in_each_way(scene.outbound()),
        stalls_beside_a_quiet_call(&scene),
    );
    bystander.was_unharmed().await;
}

/// Runs a test in a process of its own, where memory is its own. True in that process.
async fn alone(name: &'static str) -> bool {
    const ALONE: &str = "WEFT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let itself = tokio::task::spawn_blocking(move || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap()
    });
    let output = itself.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"));
    false
}

/// Bytes resident in this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}

/// A workload that answers each call with as much as it may send, and keeps nothing of it.
async fn flooding(mut tcp: TcpStream) {
    let mut h2 = Connection::<()>::server(
        &Settings::default(),
        &Limits::default(),
        Instant::now().into(),
    );
    let mut streams: Vec<StreamId> = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    // One message of 2 GB.
    let mut head = vec![0, 0x7f, 0xff, 0xff, 0xff];
    head.resize(16 * 1024, 0);
    loop {
        let Ok(read @ 1..) = tcp.read(&mut buffer).await else {
            return;
        };
        let mut begun = Vec::new();
        let mut events = |h2: &mut Connection<()>, event: Event<'_, ()>| match event {
            Event::Headers { stream, .. } => {
                h2.set_token(stream, ());
                let mut block = HeaderBlock::new();
                block.push(Name::Status, b"200");
                block.push(Name::ContentType, b"application/grpc");
                h2.send_headers(stream, &block, false);
                begun.push(stream);
            }
            Event::Reset { stream, .. } => h2.release(stream),
            _ => {}
        };
        if h2
            .receive(&buffer[..read], Instant::now().into(), &mut events)
            .is_err()
        {
            return;
        }
        streams.extend(begun);
        streams.retain(|&stream| h2.token(stream).is_some());
        loop {
            for &stream in &streams {
                h2.send_data(stream, &head, false);
            }
            if !h2.has_output() {
                break;
            }
            let Ok(()) = tcp.write_all(h2.output()).await else {
                return;
            };
            h2.written(h2.output().len());
        }
    }
}

async fn flooding_workload() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(flooding(tcp));
        }
    });
    address
}

/// Bytes that wait for the callers of a sidecar.
fn held(sidecar: &Running) -> usize {
    let metrics = sidecar.metrics.encode();
    let lines = metrics.lines();
    let held = lines.filter_map(|line| line.strip_prefix("weft_downstream_held_bytes{"));
    let held = held.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    held.sum::<f64>() as usize
}

const MEBIBYTE: usize = 1 << 20;
/// Of 100 calls each: as many as the connections between two sidecars carry.
const STALLED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_callers_hold_a_mebibyte_each() {
    if !alone("stalls::stalled_callers_hold_a_mebibyte_each").await {
        return;
    }
    let mesh = Mesh::new("memory.local");
    let app = flooding_workload().await;
    let server = mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let doors = [Door::inbound(&mesh, &server), Door::outbound(&caller)];
    for (door, sidecar) in doors.iter().zip([&server, &caller]) {
        // Windows shut from the beginning, and windows that are used up first.
        for window in [0, 65_535] {
            let before = resident();
            let stalled = stalled_at(door, window).await;
            eventually("all that may wait does", || {
                held(sidecar) >= STALLED * MEBIBYTE * 9 / 10
            })
            .await;
            eventually("at most 1 MiB waits for each", || {
                held(sidecar) <= STALLED * MEBIBYTE
            })
            .await;
            let grown = resident().saturating_sub(before) / STALLED;
            // Also what else a call needs, here and in the attackers, and what a second sidecar holds.
            let most = if door.tls.is_some() { 3 } else { 4 };
            assert!(grown < most * MEBIBYTE, "{grown} bytes of memory for each");
            drop(stalled);
            eventually("nothing waits any more", || held(sidecar) == 0).await;
        }
    }
}

/// Callers of which each makes as many calls as it may.
async fn stalled_at(door: &Door, window: u32) -> Vec<Attacker> {
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut attacker = door.enter(&[(INITIAL_WINDOW_SIZE, window)]).await;
        let calls = (0..100).flat_map(|number| call(number, "Ticks", "flood"));
        attacker.send(&calls.collect::<Vec<_>>()).await.unwrap();
        stalled.push(attacker);
    }
    stalled
}
