//! Whoever attacks a listener is let go or kept waiting; nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use e2e::{
    Shop,
    attacks::{
        Bystander, Door, Ending, Raw, certificates,
        door::{Stream, connect_tls},
        frames::{PREFACE, block, frame, kind::*, remembered, settings, stream},
        raw::closes,
    },
    until,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Mutex, MutexGuard},
    task::JoinSet,
    time::Instant,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// What a process may grow by during an attack, besides what the attack is allowed.
const SLACK: u64 = 40 << 20;
const MEBIBYTE: u64 = 1 << 20;

const ENHANCE_YOUR_CALM: u32 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// One attack at a time: memory is measured.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Runs one connection's attack on each listener, with a bystander who must not notice.
async fn attack_all(attack: impl AsyncFn(&Door) -> Ending) -> [Ending; 3] {
    let shop = Shop::shared().await;
    let _alone = alone().await;
    let mut endings = [Ending::Open; 3];
    for (door, ending) in Door::all(shop).unwrap().iter().zip(&mut endings) {
        let bystander = Bystander::at(door).await.unwrap();
        let began = std::time::Instant::now();
        *ending = attack(door).await;
        println!("{}: {ending:?} after {:?}", door.process, began.elapsed());
        bystander.unharmed(shop, SLACK).await.unwrap();
    }
    endings
}

fn open(door: &Door, number: usize, flags: u8) -> Vec<u8> {
    let flags = END_HEADERS | flags;
    frame(HEADERS, flags, stream(number), &block(&door.headers()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_close_the_connection() {
    let endings = attack_all(async |door| {
        let raw = Raw::open(door, &[]).await.unwrap();
        let resets = (0..4_000).map(|number| {
            let mut bytes = open(door, number, END_STREAM);
            bytes.extend(frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes()));
            bytes
        });
        raw.flood(resets, PATIENCE).await
    })
    .await;
    assert_eq!(endings, [Ending::Closed(Some(ENHANCE_YOUR_CALM)); 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_the_server_is_made_to_send_close_the_connection() {
    let endings = attack_all(async |door| {
        let raw = Raw::open(door, &[]).await.unwrap();
        let overflows = (0..4_000).map(|number| {
            let mut bytes = open(door, number, 0);
            let most = 0x7fff_ffff_u32.to_be_bytes();
            bytes.extend(frame(WINDOW_UPDATE, 0, stream(number), &most));
            bytes
        });
        raw.flood(overflows, PATIENCE).await
    })
    .await;
    assert!(endings.iter().all(|ending| ending.is_closed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end_close_the_connection() {
    let endings = attack_all(async |door| {
        let mut raw = Raw::open(door, &[]).await.unwrap();
        let begin = frame(HEADERS, 0, 1, &block(&door.headers()));
        raw.send(&begin).await.unwrap();
        let more = block(&[("x-more", &"a".repeat(8_000))]);
        let flood = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &more));
        raw.flood(flood.take(1_000), PATIENCE).await
    })
    .await;
    assert!(endings.iter().all(|ending| ending.is_closed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_headers_that_grow_large_cost_no_memory() {
    attack_all(async |door| {
        let mut raw = Raw::open(door, &[]).await.unwrap();
        let mut first = block(&door.headers());
        first.extend(remembered("x-bomb", &"b".repeat(4_000)));
        let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
        raw.send(&first).await.unwrap();
        // Each byte stands for 4 kB: 60 MB in one header list.
        let bombs = (1..20).map(|number| {
            let mut bomb = block(&door.headers());
            bomb.extend([0x80 | 62; 15_000]);
            frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &bomb)
        });
        raw.flood(bombs, Duration::from_secs(1)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_nobody_reads_cost_no_memory_and_close_the_connection() {
    for flood in [frame(PING, 0, 0, &[7; 8]), settings(&[])] {
        let [_, sidecars @ ..] = attack_all(async |door| {
            let raw = Raw::open_deaf(door, &[]).await.unwrap();
            let flood = flood.repeat(1_000);
            let pieces = std::iter::repeat_with(|| flood.clone());
            raw.flood(pieces.take(400), Duration::from_secs(1)).await
        })
        .await;
        // hyper, at the edge, stops reading instead.
        assert!(sidecars.iter().all(|ending| ending.is_closed()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_data_closes_the_connection() {
    let endings = attack_all(async |door| {
        let mut raw = Raw::open(door, &[]).await.unwrap();
        raw.send(&open(door, 0, 0)).await.unwrap();
        let empty = frame(DATA, 0, 1, &[]).repeat(100);
        let pieces = std::iter::repeat_with(|| empty.clone());
        raw.flood(pieces.take(400), PATIENCE).await
    })
    .await;
    assert!(endings.iter().all(|ending| ending.is_closed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_close_a_sidecars_connection_and_cost_the_edge_nothing() {
    let [_, sidecars @ ..] = attack_all(async |door| {
        let raw = Raw::open(door, &[]).await.unwrap();
        let pieces = (0..100).map(|piece| {
            let priority = |number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 16]);
            (piece * 1_000..(piece + 1) * 1_000)
                .flat_map(priority)
                .collect()
        });
        raw.flood(pieces, Duration::from_secs(1)).await
    })
    .await;
    assert_eq!(sidecars, [Ending::Closed(Some(ENHANCE_YOUR_CALM)); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_read_nothing_hold_little_memory() {
    const CONNECTIONS: u64 = 10;
    let shop = Shop::shared().await;
    let _alone = alone().await;
    // Answered by the edge itself: half a thousand calls to a service would harm by load alone.
    let request = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", "/openapi.json"),
    ]);
    let door = Door::edge(shop).unwrap();
    let bystander = Bystander::at(&door).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::open_deaf(&door, &[(INITIAL_WINDOW_SIZE, 0)])
            .await
            .unwrap();
        for number in 0..50 {
            let flags = END_HEADERS | END_STREAM;
            let bytes = frame(HEADERS, flags, stream(number), &request);
            raw.send(&bytes).await.unwrap();
        }
        held.push(raw);
    }
    bystander.calls(5).await.unwrap();
    bystander
        .unharmed(shop, CONNECTIONS * MEBIBYTE + SLACK)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_keep_nobody_out() {
    let shop = Shop::shared().await;
    let _alone = alone().await;
    for door in Door::all(shop).unwrap() {
        let bystander = Bystander::at(&door).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..300 {
            held.push(Raw::open_deaf(&door, &[]).await.unwrap());
        }
        bystander.calls(3).await.unwrap();
        bystander.unharmed(shop, SLACK).await.unwrap();
    }
}

/// Sends the beginning of a call; returns what comes until the other side closes, `None` if it does not.
async fn greet(stream: &mut dyn Stream, door: &Door) -> Option<Vec<u8>> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(open(door, 0, END_STREAM));
    // The other side may have closed already; what it sent before is there to read.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    closes(stream, Instant::now() + PATIENCE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_is_closed_before_anything_is_answered() {
    let shop = Shop::shared().await;
    let door = Door::inbound(shop).unwrap();
    for hello in [PREFACE, b"GET / HTTP/1.1\r\nhost: catalogue\r\n\r\n"] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let answer = closes(&mut stream, Instant::now() + PATIENCE)
            .await
            .expect("plaintext is kept open");
        // At most an alert, which is a TLS record of seven bytes.
        assert!(answer.len() <= 7, "plaintext was answered: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_without_a_good_certificate_are_refused_by_reason() {
    let shop = Shop::shared().await;
    let door = Door::inbound(shop).unwrap();
    let edge = "spiffe://sockshop.local/ns/shop/sa/edge";
    let short = certificates::short(shop, "edge").unwrap();
    let issued = Instant::now();
    let strangers = [
        ("OLD_TLS", certificates::old()),
        ("NO_CERTIFICATE", certificates::none()),
        (
            "OTHER_TRUST_DOMAIN",
            certificates::foreign("evil.example", "edge").unwrap(),
        ),
        (
            "UNKNOWN_AUTHORITY",
            certificates::foreign("sockshop.local", "edge").unwrap(),
        ),
        (
            "UNKNOWN_AUTHORITY",
            certificates::self_signed(&[edge]).unwrap(),
        ),
        ("NO_IDENTITY", certificates::self_signed(&[]).unwrap()),
        (
            "NO_IDENTITY",
            certificates::self_signed(&[edge, "spiffe://sockshop.local/ns/shop/sa/orders"])
                .unwrap(),
        ),
        ("NO_IDENTITY", certificates::malformed().unwrap()),
        ("EXPIRED", short),
    ];
    for (reason, tls) in strangers {
        if reason == "EXPIRED" {
            until("the certificate is over", PATIENCE, async || {
                // Certificates count whole seconds.
                let is_over = issued.elapsed() > Duration::from_secs(2);
                Ok(is_over.then_some(()))
            })
            .await
            .unwrap();
        }
        let refusals = || {
            let log = shop.log(door.process);
            log.lines().filter(|line| line.contains(reason)).count()
        };
        let before = refusals();
        // Without TLS 1.3 the handshake fails here; with it, only the first read says so.
        if let Ok(mut stream) = connect_tls(door.address, tls).await {
            let answer = greet(&mut *stream, &door).await;
            assert_eq!(answer, Some(Vec::new()), "{reason}: answered or kept open");
        }
        until(reason, PATIENCE, async || {
            Ok((refusals() > before).then_some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_do_not_begin_are_closed() {
    const LET_GO: Duration = Duration::from_secs(20);
    let shop = Shop::shared().await;
    let mut waiting = JoinSet::new();
    for door in Door::all(shop).unwrap() {
        // Half of a TLS record, of a request line, of a preface; and nothing.
        let beginnings: [&[u8]; 4] = [b"\x16\x03\x01\x02\x00\x01", b"GE", &PREFACE[..20], b""];
        for beginning in beginnings {
            let door = door.clone();
            waiting.spawn(async move {
                let mut stream = TcpStream::connect(door.address).await.unwrap();
                stream.write_all(beginning).await.unwrap();
                let closed = closes(&mut stream, Instant::now() + LET_GO).await;
                (door.process, beginning, closed.is_some())
            });
        }
        if door.process != "edge" {
            waiting.spawn(async move {
                let mut stream = door.connect().await.unwrap();
                let closed = closes(&mut *stream, Instant::now() + LET_GO).await;
                (
                    door.process,
                    b"let in, no preface".as_slice(),
                    closed.is_some(),
                )
            });
        }
    }
    while let Some(ended) = waiting.join_next().await {
        let (process, beginning, closed) = ended.unwrap();
        assert!(closed, "{process} keeps {beginning:?} open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_drip_are_cut_off_at_the_edge() {
    let shop = Shop::shared().await;
    let door = Door::edge(shop).unwrap();
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nx: ")
        .await
        .unwrap();
    let began = Instant::now();
    until("the edge lets go", Duration::from_secs(20), async || {
        Ok(stream.write_all(b"y").await.err())
    })
    .await
    .unwrap();
    println!("let go after {:?}", began.elapsed());
}
