//! Whoever floods a listener is told to calm down and let go; nobody else notices.

use std::{iter, time::Duration};

use tokio::time::timeout;

use crate::{attacker::*, logs, support::eventually};

const PROTOCOL_ERROR: u32 = 1;
const CALM: u32 = 11;

/// Resets that the sidecar is made to send, and what such a flood may meet first.
const PROVOKED: &str = "too_many_internal_resets";
const LIMITED: [&str; 3] = [
    "too_many_refused_streams",
    "too_many_window_updates",
    "too_many_ignored_frames",
];

/// Pieces that an attacker sends, by number, on a connection that is greeted.
type Pieces = fn(usize) -> Vec<u8>;

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(number: usize) -> Vec<u8> {
    frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes())
}

/// A request that goes on, then `more` for ever.
fn after_open(number: usize, more: Vec<u8>) -> Vec<u8> {
    match number {
        0 => open(0, 0),
        _ => more.repeat(20),
    }
}

/// A header block that does not end, then `more` of it for ever.
fn within_headers(number: usize, more: &[u8]) -> Vec<u8> {
    match number {
        0 => frame(HEADERS, END_STREAM, 1, &request("Unary")),
        _ => frame(CONTINUATION, 0, 1, more),
    }
}

/// 4,000 bytes to be remembered as field 62, then blocks in which each byte stands for them.
fn bomb(number: usize) -> Vec<u8> {
    let mut bytes = request("Unary");
    match number {
        0 => {
            bytes.extend([0x40, 1, b'a', 0x7f]);
            bytes.extend([
                (4_000 - 127) as u8 & 0x7f | 0x80,
                ((4_000 - 127) >> 7) as u8,
            ]);
            bytes.extend([b'x'; 4_000]);
        }
        _ => bytes.resize(bytes.len() + 15_000, 0x80 | 62),
    }
    frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &bytes)
}

const FLOODS: [(&str, &str, Pieces); 20] = [
    ("rapid resets", "too_many_resets", |n| {
        [open(n, END_STREAM), reset(n)].concat()
    }),
    ("windows that overflow", PROVOKED, |n| {
        [open(n, 0), window_update(stream(n), 0x7fff_ffff)].concat()
    }),
    ("windows that stand still", PROVOKED, |n| {
        [open(n, 0), window_update(stream(n), 0)].concat()
    }),
    ("DATA after the end", PROVOKED, |n| {
        [open(n, END_STREAM), frame(DATA, 0, stream(n), b"x")].concat()
    }),
    ("streams that depend on themselves", PROVOKED, |n| {
        let itself = [&stream(n).to_be_bytes()[..], &[0]].concat();
        [open(n, 0), frame(PRIORITY, 0, stream(n), &itself)].concat()
    }),
    ("malformed requests", PROVOKED, |n| {
        let block = block(&[(":method", "POST")]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &block)
    }),
    ("streams above the limit", "too_many_refused_streams", |n| {
        // Hanging, so that their places stay taken.
        call(n, "Unary", "hang")
    }),
    ("tiny fragments of headers", "too_many_continuations", |n| {
        within_headers(n, b"")
    }),
    (
        "large fragments of headers",
        "header_block_way_too_large",
        |n| within_headers(n, &[0; 16_000]),
    ),
    (
        "small headers that stand for large ones",
        "header_list_way_too_large",
        bomb,
    ),
    ("PING", "too_many_control_frames", |_| {
        frame(PING, 0, 0, &[7; 8]).repeat(20)
    }),
    ("PING answers", "too_many_control_frames", |_| {
        frame(PING, ACK, 0, &[7; 8]).repeat(20)
    }),
    ("SETTINGS", "too_many_control_frames", |_| {
        frame(SETTINGS, 0, 0, &[]).repeat(20)
    }),
    ("GOAWAY", "too_many_control_frames", |_| {
        frame(GOAWAY, 0, 0, &[0; 8]).repeat(20)
    }),
    ("empty DATA", "too_many_data_frames", |n| {
        after_open(n, frame(DATA, 0, 1, b""))
    }),
    ("DATA of a byte", "too_many_data_frames", |n| {
        after_open(n, frame(DATA, 0, 1, b"x"))
    }),
    ("WINDOW_UPDATE", "too_many_window_updates", |n| {
        after_open(n, window_update(1, 1))
    }),
    (
        "WINDOW_UPDATE of the connection",
        "too_many_window_updates",
        |_| window_update(0, 1).repeat(20),
    ),
    ("PRIORITY", "too_many_ignored_frames", |n| {
        frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 16]).repeat(20)
    }),
    ("frames of unknown types", "too_many_ignored_frames", |_| {
        frame(0xee, 0, 0, b"whatever").repeat(20)
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_their_connection_by_name_and_harm_nobody() {
    let scene = Scene::new("floods.local").await;
    let bystander = scene.bystander().await;
    for (name, reason, pieces) in FLOODS {
        for (door, _) in scene.doors() {
            println!("{name} at {}", door.address);
            let attacker = door.enter(&[]).await;
            let own = attacker.own.clone();
            let (code, by) = attacker.flood((0..100_000).map(pieces)).await;
            assert_eq!(code, CALM, "{name} at {}: {by}", door.address);
            // Streams whose reset goes on keep their place: then those above the limit may come first.
            let is_expected = by == reason || reason == PROVOKED && LIMITED.contains(&&*by);
            assert!(is_expected, "{name} at {}: {by}", door.address);
            logs::line(&[&own, "connection closed", &by]).await;
        }
        bystander.is_answered().await;
    }
    bystander.was_unharmed().await;
    for (_, sidecar) in scene.doors() {
        let metrics = sidecar.metrics.encode();
        for (_, reason, _) in FLOODS {
            let counted = format!(r#"reason="{reason}""#);
            assert!(metrics.contains(&counted), "no {counted} in:\n{metrics}");
        }
    }
    let idle = r#"weft_upstream_requests{grpc_target="echo:7070"} 0"#;
    let is_idle = || scene.caller.metrics.encode().contains(idle);
    eventually("no call is left", is_idle).await;
}

/// What RFC 9113, section 8, forbids: it could mean something else to whoever reads it next.
const MALFORMED: [&[(&str, &str)]; 12] = [
    &[("x", "a\r\nx-weft-caller: spiffe://a")],
    &[("x", "a\0b")],
    &[("x", " a")],
    &[("x\r\ny", "a")],
    &[("X-Upper", "a")],
    &[("connection", "keep-alive")],
    &[("transfer-encoding", "chunked")],
    &[("upgrade", "websocket")],
    &[("te", "gzip")],
    &[(":path", "/test.Echo/Safe")],
    &[(":unknown", "a")],
    &[("content-length", "7"), ("content-length", "8")],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_reset_and_reach_nobody() {
    let scene = Scene::new("malformed.local").await;
    for (door, _) in scene.doors() {
        let mut attacker = door.enter(&[]).await;
        for (number, more) in MALFORMED.into_iter().enumerate() {
            let block = [request("Unary"), block(more)].concat();
            let id = stream(number);
            let mut bytes = frame(HEADERS, END_HEADERS, id, &block);
            bytes.extend(frame(DATA, END_STREAM, id, &message("hello")));
            attacker.send(&bytes).await.unwrap();
            let reset = attacker.next_reset().await;
            assert_eq!(reset, (id, PROTOCOL_ERROR), "{more:?} at {}", door.address);
        }
        assert_eq!(scene.echo.call_count(), 0);
    }
    let mut client = scene.caller.client().await;
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_start_no_more_work_than_streams_may_be_open() {
    let scene = Scene::new("resets.local").await;
    for (door, _) in scene.doors() {
        let begun = scene.echo.dropped_count();
        let attacker = door.enter(&[]).await;
        // In one piece, so that nothing ends before the next begins.
        let all = (0..1_000).flat_map(|n| [call(n, "Unary", "hang"), reset(n)].concat());
        let (code, reason) = attacker.flood(iter::once(all.collect())).await;
        assert_eq!((code, &*reason), (CALM, "too_many_resets"));
        eventually("the work that was begun ends", || {
            let held = door.address == scene.server.inbound;
            let sidecar = if held { &scene.server } else { &scene.caller };
            !sidecar
                .metrics
                .encode()
                .contains("weft_inbound_in_flight 1")
        })
        .await;
        let begun = scene.echo.dropped_count() - begun;
        assert!(begun <= 100, "{begun} calls reached the workload");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_end_the_connection() {
    let scene = Scene::new("deaf.local").await;
    let bystander = scene.bystander().await;
    for (door, _) in scene.doors() {
        for piece in [
            frame(PING, 0, 0, &[7; 8]).repeat(500),
            frame(SETTINGS, 0, 0, &[]).repeat(500),
        ] {
            let mut attacker = door.enter(&[]).await;
            let own = attacker.own.clone();
            // It never reads, and the sidecar closes all the same.
            let flooding = async { while attacker.send(&piece).await.is_ok() {} };
            let closed = timeout(Duration::from_secs(10), flooding).await;
            closed.expect("the connection is kept open");
            logs::line(&[&own, "connection closed", "too_many_"]).await;
        }
        bystander.is_answered().await;
    }
    bystander.was_unharmed().await;
}
