//! What a peer may do before the connection ends, and that a good one is never near.

use std::time::Duration;

use weft_http2::{Connection, ErrorCode, Keepalive, Limits, Settings};

use crate::wire::*;

const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

/// Sends until the connection ends, and says after how many and why.
#[track_caller]
fn flood(
    side: &mut Side,
    most: usize,
    mut input: impl FnMut(usize) -> Vec<u8>,
) -> (usize, &'static str) {
    for number in 0..most {
        if let Err(error) = side.receive(&input(number)) {
            assert_eq!(error.code, CALM, "{error}");
            let output = side.take_output();
            let (head, payload) = output.last().unwrap();
            assert_eq!(
                (head.kind, &payload[8..]),
                (GOAWAY, error.reason.as_bytes())
            );
            return (number + 1, error.reason);
        }
        // The user lets go of what is over.
        for id in std::mem::take(&mut side.ids) {
            side.connection.release(id);
        }
        side.take_output();
    }
    panic!("{most} were borne");
}

fn id(number: usize) -> u32 {
    number as u32 * 2 + 1
}

#[test]
fn rapid_resets_end_the_connection_within_201() {
    let mut side = Side::server();
    side.lets_go = true;
    let input = |number| {
        [
            request(id(number), true),
            reset(id(number), ErrorCode::CANCEL),
        ]
        .concat()
    };
    assert_eq!(flood(&mut side, 1_000, input), (201, "too_many_resets"));
}

#[test]
fn rapid_resets_end_the_connection_while_the_user_holds_on_to_the_streams() {
    let mut side = Side::server();
    for number in 0..100 {
        side.receive(&request(id(number), true)).unwrap();
    }
    // The user does not let go.
    side.ids.clear();
    let refused = |number| {
        let id = id(100 + number);
        [request(id, true), reset(id, ErrorCode::CANCEL)].concat()
    };
    assert_eq!(flood(&mut side, 1_000, refused), (201, "too_many_resets"));
    assert_eq!(side.connection.open_streams(), 100, "no more begin");
}

#[test]
fn a_client_that_cancels_every_other_call_is_borne() {
    let mut side = Side::server();
    for number in 0..4_000 {
        side.receive(&request(id(number), true)).unwrap();
        let stream = side.ids.pop().unwrap();
        if number % 2 == 0 {
            side.receive(&reset(id(number), ErrorCode::CANCEL)).unwrap();
            side.connection.release(stream);
        } else {
            side.connection
                .send_headers(stream, &block(&[(":status", "200")]), true);
        }
        side.take_output();
    }
    assert_eq!(side.connection.open_streams(), 0);
}

#[test]
fn a_reset_after_the_answer_began_costs_nothing() {
    let mut side = Side::server();
    for number in 0..1_000 {
        side.receive(&request(id(number), true)).unwrap();
        let stream = side.ids.pop().unwrap();
        side.connection
            .send_headers(stream, &block(&[(":status", "200")]), false);
        side.receive(&reset(id(number), ErrorCode::CANCEL)).unwrap();
        side.connection.release(stream);
        side.take_output();
    }
}

#[test]
fn rare_resets_are_forgiven_in_time() {
    let mut side = Side::server();
    for number in 0..1_000 {
        side.receive(&request(id(number), true)).unwrap();
        side.receive(&reset(id(number), ErrorCode::CANCEL)).unwrap();
        let stream = side.ids.pop().unwrap();
        side.connection.release(stream);
        side.now += Duration::from_secs(1);
    }
}

#[test]
fn resets_that_the_peer_provokes_end_the_connection_within_101() {
    let malformed: [fn(u32) -> Vec<u8>; 5] = [
        |id| headers(id, true, &[(":method", "GET")]),
        |id| [request(id, false), window_update(id, 0)].concat(),
        |id| [request(id, false), window_update(id, 0x7fff_ffff)].concat(),
        |id| [request(id, true), data(id, true, b"x")].concat(),
        |id| {
            [
                request(id, false),
                frame(PRIORITY, 0, id, &[0, 0, 0, id as u8, 0]),
            ]
            .concat()
        },
    ];
    for input in malformed {
        // The last one must name itself in one byte.
        let ids = |number: usize| id(number) & 0xff;
        let mut side = Side::server();
        assert_eq!(
            flood(&mut side, 110, |number| input(ids(number))),
            (101, "too_many_internal_resets")
        );
    }
}

#[test]
fn streams_above_the_limit_are_refused_and_counted() {
    let mut side = Side::server();
    for number in 0..100 {
        side.receive(&request(id(number), false)).unwrap();
    }
    side.take_output();
    side.receive(&request(id(100), false)).unwrap();
    assert_eq!(side.take_resets(), [(201, ErrorCode::REFUSED_STREAM)]);
    assert_eq!(side.ids.len(), 100, "the user does not hear of it");
    // A stream that the peer reset keeps its place until the user lets go.
    side.receive(&reset(1, ErrorCode::CANCEL)).unwrap();
    side.receive(&request(id(101), false)).unwrap();
    assert_eq!(side.take_resets(), [(203, ErrorCode::REFUSED_STREAM)]);
    side.connection.release(side.ids[0]);
    side.receive(&request(id(102), false)).unwrap();
    assert_eq!(side.take_resets(), []);
    side.ids.clear();
    let (count, reason) = flood(&mut side, 2_000, |number| request(id(200 + number), true));
    assert_eq!(reason, "too_many_refused_streams");
    assert!(count <= 1_002, "{count}");
}

#[test]
fn pings_and_settings_without_messages_end_the_connection() {
    for input in [
        frame(PING, 0, 0, &[0; 8]),
        settings(&[]),
        settings_ack(),
        frame(PING, ACK, 0, &[0; 8]),
    ] {
        let mut side = Side::server();
        let (count, reason) = flood(&mut side, 2_000, |_| input.clone());
        assert_eq!(reason, "too_many_control_frames");
        assert!((990..=1_001).contains(&count), "{count}");
    }
}

#[test]
fn a_ping_for_each_message_is_borne() {
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    for _ in 0..5_000 {
        side.receive(&[data(1, false, &[0; 10]), frame(PING, 0, 0, &[0; 8])].concat())
            .unwrap();
        side.connection.consumed(side.ids[0], 10);
        side.take_output();
    }
}

#[test]
fn answers_that_are_not_read_are_bounded() {
    let limits = Limits {
        control_frames: 1_000_000,
        ..Limits::default()
    };
    let mut side = Side::server_with(&Settings::default(), &limits);
    let ping = frame(PING, 0, 0, &[0; 8]);
    let failed = (0..5_000).find_map(|_| side.receive(&ping).err()).unwrap();
    assert_eq!(
        (failed.code, failed.reason),
        (CALM, "too_many_pending_answers")
    );
    assert!(side.connection.output().len() < 18_000);
    // A peer that reads, if slowly, is borne.
    let mut side = Side::server_with(&Settings::default(), &limits);
    for _ in 0..50 {
        side.receive(&ping).unwrap();
    }
    for _ in 0..5_000 {
        side.receive(&ping).unwrap();
        side.connection.written(17);
    }
    assert_eq!(side.connection.output().len(), 50 * 17);
}

#[test]
fn empty_and_tiny_data_end_the_connection_within_2001() {
    for payload in [&b""[..], b"x", b"1234"] {
        let mut side = Side::server();
        side.receive(&request(1, false)).unwrap();
        side.ids.clear();
        let (count, reason) = flood(&mut side, 3_000, |_| data(1, false, payload));
        assert_eq!((count, reason), (2_001, "too_many_data_frames"));
    }
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    side.ids.clear();
    let padded = frame(DATA, PADDED, 1, &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        flood(&mut side, 3_000, |_| padded.clone()),
        (2_001, "too_many_data_frames")
    );
}

#[test]
fn small_messages_and_rare_crumbs_are_borne() {
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    for _ in 0..10_000 {
        side.receive(
            &[
                data(1, false, &[0; 5]),
                data(1, false, b"x"),
                data(1, false, &[0; 64]),
            ]
            .concat(),
        )
        .unwrap();
        side.connection.consumed(side.ids[0], 70);
        side.take_output();
    }
}

#[test]
fn window_updates_without_data_end_the_connection() {
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    side.ids.clear();
    let (count, reason) = flood(&mut side, 2_000, |_| window_update(1, 1));
    assert_eq!((count, reason), (1_001, "too_many_window_updates"));
}

#[test]
fn window_updates_for_data_we_send_are_borne() {
    let mut side = Side::server();
    side.receive(&request(1, true)).unwrap();
    side.connection
        .send_headers(side.ids[0], &block(&[(":status", "200")]), false);
    for _ in 0..5_000 {
        assert_eq!(
            side.connection.send_data(side.ids[0], &[0; 100], false),
            100
        );
        side.take_output();
        side.receive(&[window_update(1, 100), window_update(0, 100)].concat())
            .unwrap();
    }
}

#[test]
fn frames_that_are_ignored_are_bounded() {
    for input in [frame(PRIORITY, 0, 5, &[0; 5]), frame(0xee, 0, 0, &[])] {
        let mut side = Side::server();
        let (count, reason) = flood(&mut side, 2_000, |_| input.clone());
        assert_eq!((count, reason), (1_001, "too_many_ignored_frames"));
    }
    // Also a reset again and again of what is over.
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    let (count, reason) = flood(&mut side, 2_000, |_| reset(1, ErrorCode::CANCEL));
    assert_eq!(reason, "too_many_ignored_frames");
    assert!(count < 1_010, "{count}");
}

#[test]
fn a_flood_of_continuations_ends_the_connection_before_it_is_collected() {
    let mut side = Side::server();
    side.receive(&frame(HEADERS, END_STREAM, 1, &fields(&REQUEST)))
        .unwrap();
    let (count, reason) = flood(&mut side, 100, |_| frame(CONTINUATION, 0, 1, &[0; 16_000]));
    assert_eq!((count, reason), (9, "header_block_way_too_large"));
    for payload in [&b""[..], b"x"] {
        let mut side = Side::server();
        side.receive(&frame(HEADERS, END_STREAM, 1, &fields(&REQUEST)))
            .unwrap();
        let (count, reason) = flood(&mut side, 100, |_| frame(CONTINUATION, 0, 1, payload));
        assert_eq!((count, reason), (17, "too_many_continuations"));
    }
}

/// `x: yyy…`, so many times, in frames of 16 KiB.
fn large_block(stream: u32, bytes: usize) -> Vec<u8> {
    let mut list = REQUEST.to_vec();
    let value = "y".repeat(100);
    list.resize(REQUEST.len() + bytes / 133, ("x", &value));
    let block = fields(&list);
    let fragments: Vec<_> = block.chunks(16_000).collect();
    let mut input = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let end = if number + 1 == fragments.len() {
            END_HEADERS
        } else {
            0
        };
        let (kind, more) = if number == 0 {
            (HEADERS, END_STREAM)
        } else {
            (CONTINUATION, 0)
        };
        input.extend(frame(kind, end | more, stream, fragment));
    }
    input
}

#[test]
fn a_header_list_a_little_too_large_is_told_and_can_be_answered() {
    let mut side = Side::server();
    side.receive(&large_block(1, 30_000)).unwrap();
    side.receive(&large_block(3, 40_000)).unwrap();
    let told = side.take_told();
    assert!(matches!(told[0], Told::Headers { stream: 1, .. }));
    assert_eq!(
        told[1],
        Told::HeadersTooLarge {
            stream: 3,
            end_stream: true
        }
    );
    side.connection.send_headers(
        side.ids[1],
        &block(&[(":status", "200"), ("grpc-status", "8")]),
        true,
    );
    assert_eq!(side.connection.open_streams(), 1);
    side.receive(&request(5, true)).unwrap();
}

#[test]
fn a_header_list_way_too_large_ends_the_connection() {
    let mut side = Side::server();
    let error = side.receive(&large_block(1, 140_000)).unwrap_err();
    assert_eq!(
        (error.code, error.reason),
        (CALM, "header_list_way_too_large")
    );
    // A bomb: 4,000 bytes in the table, and 15,000 bytes that each stand for them.
    let mut side = Side::server();
    let mut block = vec![0x40, 1, b'a', 0x7f];
    block.extend([
        (4_000 - 127) as u8 & 0x7f | 0x80,
        ((4_000 - 127) >> 7) as u8,
    ]);
    block.extend([b'x'; 4_000]);
    block.resize(16_000, 0xbe);
    let error = side
        .receive(&frame(HEADERS, END_HEADERS, 1, &block))
        .unwrap_err();
    assert_eq!(
        (error.code, error.reason),
        (CALM, "header_list_way_too_large")
    );
}

fn fresh(limits: &Limits) -> Side {
    let now = std::time::Instant::now();
    Side::new(Connection::server(&Settings::default(), limits, now), now)
}

#[track_caller]
fn expires(side: &mut Side, after: Duration, code: ErrorCode, reason: &str) {
    let deadline = side.connection.deadline().expect("a deadline");
    assert_eq!(deadline, side.now + after);
    let early = side
        .connection
        .on_deadline(deadline - Duration::from_millis(1));
    assert_eq!(early, Ok(()));
    let error = side.connection.on_deadline(deadline).unwrap_err();
    assert_eq!((error.code, error.reason), (code, reason));
    assert_eq!(side.take_output().last().unwrap().0.kind, GOAWAY);
}

#[test]
fn a_silent_peer_has_5_seconds_for_its_preface_and_10_for_its_acknowledgement() {
    let secs = Duration::from_secs;
    let hello = client_hello();
    let mut side = fresh(&Limits::default());
    side.receive(&hello[..30]).unwrap();
    expires(
        &mut side,
        secs(5),
        ErrorCode::PROTOCOL_ERROR,
        "preface_timeout",
    );
    let mut side = fresh(&Limits::default());
    side.receive(&hello[..hello.len() - 9]).unwrap();
    expires(
        &mut side,
        secs(10),
        ErrorCode::SETTINGS_TIMEOUT,
        "settings_timeout",
    );
    let mut side = fresh(&Limits::default());
    side.receive(&hello).unwrap();
    assert_eq!(side.connection.deadline(), None);
}

#[test]
fn a_frame_has_10_seconds_however_it_trickles() {
    let secs = Duration::from_secs;
    let whole = request(1, true);
    let begin = [
        &frame(HEADERS, 0, 1, &fields(&REQUEST))[..],
        &frame(CONTINUATION, 0, 1, &[]),
    ]
    .concat();
    let ping = frame(PING, 0, 0, &[0; 8]);
    for part in [&whole[..4], &whole[..12], &begin, &ping[..16]] {
        let mut side = Side::server();
        side.receive(part).unwrap();
        let start = side.now;
        side.now += secs(9);
        side.receive(&[]).unwrap();
        side.now = start;
        expires(&mut side, secs(10), CALM, "frame_timeout");
    }
    // Frames that are cut at each read do not add up, wherever they are cut.
    for cut in [4, 12] {
        let mut side = Side::server();
        side.receive(&whole[..cut]).unwrap();
        for number in 1..100 {
            side.now += secs(1);
            let next = request(id(number), true);
            side.receive(&[&request(id(number - 1), true)[cut..], &next[..cut]].concat())
                .unwrap();
            assert_eq!(side.connection.deadline(), Some(side.now + secs(10)));
        }
    }
    // Payload may come slowly: a stream is as slow as what it tells.
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    let message = data(1, false, &[0; 10]);
    side.receive(&message[..4]).unwrap();
    side.receive(&message[4..12]).unwrap();
    assert_eq!(side.connection.deadline(), None);
}

#[test]
fn keepalive_asks_a_silent_peer_and_closes_if_it_stays_silent() {
    let secs = Duration::from_secs;
    let keepalive = Keepalive {
        interval: secs(30),
        timeout: secs(20),
        without_streams: false,
    };
    let limits = Limits {
        keepalive: Some(keepalive),
        ..Limits::default()
    };
    let mut side = Side::server_with(&Settings::default(), &limits);
    assert_eq!(side.connection.deadline(), None, "no stream is open");
    side.receive(&request(1, true)).unwrap();
    side.now += secs(30);
    assert_eq!(side.connection.deadline(), Some(side.now));
    side.connection.on_deadline(side.now).unwrap();
    let (head, payload) = side.take_output().remove(0);
    assert_eq!((head.kind, head.flags), (PING, 0));
    // An answer is not told and starts the interval again.
    side.take_told();
    side.receive(&frame(PING, ACK, 0, &payload)).unwrap();
    assert_eq!(side.take_told(), []);
    side.now += secs(30);
    side.connection.on_deadline(side.now).unwrap();
    expires(
        &mut side,
        secs(20),
        ErrorCode::NO_ERROR,
        "keepalive_timeout",
    );
}

#[test]
fn requests_whose_answers_are_not_read_end_the_connection() {
    let mut side = Side::server();
    let mut answer = block(&[(":status", "200"), ("grpc-status", "12")]);
    answer.push_by_name(b"x-large", &[b'x'; 5_000]);
    let failed = (0..10_000).find_map(|number| {
        let result = side.receive(&request(id(number), true));
        for stream in std::mem::take(&mut side.ids) {
            side.connection.send_headers(stream, &answer, true);
        }
        result.err()
    });
    assert_eq!(failed.unwrap().reason, "too_much_unread_output");
    assert!(side.connection.output().len() < 2_200_000);
}

#[test]
fn no_stream_is_opened_to_a_peer_that_does_not_read() {
    let mut side = Side::client();
    let mut large = block(&REQUEST);
    large.push_by_name(b"x-large", &[b'x'; 5_000]);
    for token in 0..10_000 {
        let Some(stream) = side.connection.open(token) else {
            assert!(side.connection.output().len() < 2_200_000);
            side.take_output();
            assert!(side.connection.capacity_for_streams() > 0);
            return;
        };
        side.connection.send_headers(stream, &large, true);
        side.connection.release(stream);
    }
    panic!("all were opened");
}
