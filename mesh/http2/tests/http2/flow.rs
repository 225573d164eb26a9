//! Windows in both directions.

use weft_http2::{Connection, ErrorCode, Event, Limits, Settings};

use crate::wire::*;

fn with_window(bytes: u32) -> Side {
    let settings = Settings {
        initial_window_bytes: bytes,
        ..Settings::default()
    };
    Side::server_with(&settings, &Limits::default())
}

fn updates(side: &mut Side) -> Vec<(u32, u32)> {
    let output = side.take_output();
    let updates = output.iter().filter(|(head, _)| head.kind == WINDOW_UPDATE);
    updates
        .map(|(head, payload)| (head.stream.value(), code(payload).0))
        .collect()
}

#[test]
fn a_window_is_given_back_when_half_of_it_is_consumed() {
    let mut side = with_window(100);
    side.receive(&[request(1, false), data(1, false, &[0; 100])].concat())
        .unwrap();
    let id = side.ids[0];
    assert_eq!(updates(&mut side), [], "nothing before it is consumed");
    side.connection.consumed(id, 49);
    assert_eq!(updates(&mut side), []);
    side.connection.consumed(id, 1);
    assert_eq!(updates(&mut side), [(1, 50)]);
    side.connection.consumed(id, 50);
    assert_eq!(updates(&mut side), [(1, 50)]);
}

#[test]
fn what_is_on_its_way_is_not_given_back() {
    for padding in [None, Some(20)] {
        let mut side = with_window(100);
        side.receive(&request(1, false)).unwrap();
        let id = side.ids[0];
        let frame = match padding {
            None => data(1, false, &[0; 100]),
            Some(padding) => frame(DATA, PADDED, 1, &[&[padding][..], &[0; 99]].concat()),
        };
        // The rest of the frame is still to come, and it has a right to.
        let (part, rest) = frame.split_at(9 + 1 + 10);
        side.receive(part).unwrap();
        side.connection.consumed(id, 10);
        assert_eq!(updates(&mut side), []);
        side.receive(rest).unwrap();
        side.connection.consumed(id, 40);
        let given: u32 = updates(&mut side).iter().map(|(_, bytes)| bytes).sum();
        assert!((50..=100).contains(&given), "{given}");
    }
}

#[test]
fn more_than_the_window_resets_the_stream() {
    let mut side = with_window(100);
    side.receive(&[request(1, false), data(1, false, &[0; 100])].concat())
        .unwrap();
    side.receive(&data(1, false, &[])).unwrap();
    side.receive(&data(1, false, &[0; 1])).unwrap();
    assert_eq!(side.take_resets(), [(1, ErrorCode::FLOW_CONTROL_ERROR)]);
}

#[test]
fn more_than_the_connections_window_ends_it() {
    let settings = Settings {
        initial_window_bytes: 1 << 20,
        connection_window_bytes: 65_535,
        ..Settings::default()
    };
    let mut side = Side::server_with(&settings, &Limits::default());
    side.receive(&request(1, false)).unwrap();
    // It is given back as DATA arrives, so it takes one frame that is larger than all of it.
    let settings = Settings {
        max_frame_bytes: 1 << 17,
        ..settings
    };
    let mut large = Side::server_with(&settings, &Limits::default());
    large.receive(&request(1, false)).unwrap();
    for _ in 0..20 {
        side.receive(&data(1, false, &[0; 16_384])).unwrap();
    }
    let error = large.receive(&data(1, false, &[0; 65_536])).unwrap_err();
    assert_eq!(error.code, ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn the_connections_window_comes_back_without_anyone_consuming() {
    let settings = Settings {
        initial_window_bytes: 1 << 30,
        ..Settings::default()
    };
    let mut side = Side::server_with(&settings, &Limits::default());
    side.receive(&request(1, false)).unwrap();
    let mut given = 0;
    for _ in 0..4_096 {
        side.receive(&data(1, false, &[0; 16_384])).unwrap();
        given += updates(&mut side)
            .iter()
            .map(|(stream, bytes)| {
                assert_eq!(*stream, 0);
                u64::from(*bytes)
            })
            .sum::<u64>();
    }
    assert!(given >= 4_096 * 16_384 - 8 * 1024 * 1024, "{given}");
}

#[test]
fn padding_does_not_use_a_window_up() {
    let mut side = with_window(1_000);
    side.receive(&request(1, false)).unwrap();
    let padded = frame(DATA, PADDED, 1, &[&[200][..], &[1; 50], &[0; 200]].concat());
    let mut given = 0;
    for _ in 0..20 {
        side.receive(&padded).unwrap();
        given += updates(&mut side)
            .iter()
            .map(|(_, bytes)| bytes)
            .sum::<u32>();
        let id = side.ids[0];
        side.connection.consumed(id, 50);
    }
    assert!(given > 3_000, "{given}");
}

#[test]
fn a_stream_may_have_its_own_window() {
    let mut side = with_window(100);
    side.receive(&request(1, false)).unwrap();
    let id = side.ids[0];
    side.connection.set_receive_window(id, 500);
    assert_eq!(updates(&mut side), [(1, 400)]);
    side.receive(&data(1, false, &[0; 500])).unwrap();
    side.connection.set_receive_window(id, 200);
    side.connection.consumed(id, 300);
    assert_eq!(updates(&mut side), [], "200 are still not consumed");
    side.connection.consumed(id, 200);
    assert_eq!(updates(&mut side), [(1, 200)]);
}

#[test]
fn nothing_is_given_to_a_half_that_has_ended() {
    let mut side = with_window(100);
    side.receive(&[request(1, false), data(1, true, &[0; 100])].concat())
        .unwrap();
    let id = side.ids[0];
    side.connection.consumed(id, 100);
    assert_eq!(updates(&mut side), []);
}

#[test]
fn a_window_that_is_due_while_bytes_are_handled_is_given_at_their_end_if_the_stream_goes_on() {
    let now = std::time::Instant::now();
    let mut side = with_window(100);
    let arrived = [
        request(1, false),
        data(1, false, &[0; 100]),
        data(1, true, &[]),
    ];
    let other = [request(3, false), data(3, false, &[0; 60])];
    let consume = &mut |h2: &mut Connection<u32>, event: Event<'_, u32>| {
        if let Event::Data { stream, bytes, .. } = event {
            h2.consumed(stream, bytes.len());
        }
    };
    let bytes = [arrived.concat(), other.concat()].concat();
    side.connection.receive(&bytes, now, consume).unwrap();
    assert_eq!(updates(&mut side), [(3, 60)]);
}

#[test]
fn a_peer_that_does_not_know_a_small_window_yet_may_use_the_default() {
    let now = std::time::Instant::now();
    let settings = Settings {
        initial_window_bytes: 10,
        ..Settings::default()
    };
    let connection = weft_http2::Connection::server(&settings, &Limits::default(), now);
    let mut side = Side::new(connection, now);
    let hello = client_hello();
    let (start, ack) = hello.split_at(hello.len() - 9);
    let early = [request(1, false), data(1, false, &[0; 16_384])].concat();
    side.receive(&[start, &early, ack].concat()).unwrap();
    assert_eq!(side.take_resets(), []);
    side.receive(&data(1, false, &[0; 1])).unwrap();
    assert_eq!(side.take_resets(), [(1, ErrorCode::FLOW_CONTROL_ERROR)]);
}

#[test]
fn sending_stops_at_a_window_and_its_opening_is_told() {
    let mut side = Side::client();
    side.receive(&settings(&[(4, 10)])).unwrap();
    let id = side.call(1, false);
    side.take_output();
    assert_eq!(side.connection.send_window(id), 10);
    assert_eq!(side.connection.send_data(id, b"hello world", true), 10);
    assert_eq!(side.connection.send_data(id, b"d", true), 0);
    let output = side.take_output();
    let [(head, payload)] = &output[..] else {
        panic!("{output:?}")
    };
    assert_eq!(
        (head.flags, &payload[..]),
        (0, &b"hello worl"[..]),
        "no END_STREAM yet"
    );
    side.receive(&window_update(1, 1)).unwrap();
    assert_eq!(side.take_told(), [Told::WindowOpened { stream: 1 }]);
    side.receive(&window_update(1, 1)).unwrap();
    assert_eq!(side.take_told(), [], "it was open");
    assert_eq!(side.connection.send_data(id, b"d", true), 1);
    assert_eq!(side.take_output()[0].0.flags, END_STREAM);
}

#[test]
fn an_end_needs_no_window() {
    let mut side = Side::client();
    side.receive(&settings(&[(4, 0)])).unwrap();
    let id = side.call(1, false);
    side.take_output();
    assert_eq!(side.connection.send_window(id), 0);
    assert_eq!(side.connection.send_data(id, b"", false), 0);
    assert_eq!(side.connection.send_data(id, b"", true), 0);
    let output = side.take_output();
    assert_eq!(
        (output.len(), output[0].0.length, output[0].0.flags),
        (1, 0, END_STREAM)
    );
}

#[test]
fn the_connections_window_stops_all_streams_and_opens_once_for_all() {
    let mut side = Side::client();
    side.receive(&settings(&[(4, 1_000_000)])).unwrap();
    let (first, second) = (side.call(1, false), side.call(2, false));
    assert_eq!(
        side.connection.send_data(first, &[0; 100_000], false),
        65_535
    );
    assert_eq!(side.connection.send_data(second, b"x", false), 0);
    assert_eq!(side.connection.send_window(second), 0);
    side.receive(&[window_update(0, 5), window_update(0, 5)].concat())
        .unwrap();
    assert_eq!(side.take_told(), [Told::WindowsOpened]);
    assert_eq!(side.connection.send_data(second, &[0; 100], false), 10);
}

#[test]
fn settings_change_the_windows_of_open_streams() {
    let mut side = Side::client();
    let id = side.call(1, false);
    assert_eq!(side.connection.send_data(id, &[0; 50_000], false), 50_000);
    side.receive(&[settings(&[(4, 100)]), window_update(0, 100_000)].concat())
        .unwrap();
    // 100 - 50,000
    assert_eq!(side.connection.send_window(id), 0);
    side.receive(&window_update(1, 49_900)).unwrap();
    assert_eq!(side.take_told(), [], "the window is 0");
    side.receive(&settings(&[(4, 150)])).unwrap();
    assert_eq!(side.take_told(), [Told::WindowsOpened]);
    assert_eq!(side.connection.send_window(id), 50);
}

#[test]
fn frames_are_cut_to_the_peers_size() {
    let mut side = Side::client();
    let id = side.call(1, false);
    side.take_output();
    assert_eq!(side.connection.send_data(id, &[1; 40_000], true), 40_000);
    let sizes = |side: &mut Side| -> Vec<_> {
        side.take_output()
            .iter()
            .map(|(head, _)| (head.length, head.flags))
            .collect()
    };
    assert_eq!(
        sizes(&mut side),
        [(16_384, 0), (16_384, 0), (7_232, END_STREAM)]
    );
    side.receive(&settings(&[(5, 20_000)])).unwrap();
    let id = side.call(1, false);
    side.take_output();
    side.connection.send_data(id, &[1; 20_001], false);
    assert_eq!(sizes(&mut side), [(20_000, 0), (1, 0)]);
}

#[test]
fn output_is_bounded_and_its_room_is_told_once() {
    let limits = Limits {
        output_bytes: 1_000,
        ..Limits::default()
    };
    let mut side = Side::client_with(&Settings::default(), &limits);
    let id = side.call(1, false);
    let taken = side.connection.send_data(id, &[0; 5_000], false);
    assert!((800..1_000).contains(&taken), "{taken}");
    assert_eq!(side.connection.send_window(id), 0);
    assert_eq!(side.connection.send_data(id, &[0; 5_000], false), 0);
    assert!(!side.connection.written(100));
    assert!(side.connection.written(500));
    assert!(!side.connection.written(100));
    assert!(side.connection.send_window(id) > 500);
}

#[test]
fn settings_that_the_rfc_does_not_allow_are_brought_within_it() {
    let now = std::time::Instant::now();
    let settings = Settings {
        initial_window_bytes: u32::MAX,
        connection_window_bytes: 1,
        max_frame_bytes: 1,
        ..Settings::default()
    };
    let connection = weft_http2::Connection::client(&settings, &Limits::default(), now);
    let (_, payload) = Side::new(connection, now).take_output().remove(0);
    let told: Vec<_> = payload
        .chunks(6)
        .map(|setting| (setting[1], code(&setting[2..]).0))
        .collect();
    assert!(
        told.contains(&(4, 0x7fff_ffff)) && told.contains(&(5, 16_384)),
        "{told:?}"
    );
}

#[test]
fn window_updates_alone_are_not_urgent() {
    let mut side = with_window(100);
    side.take_output();
    assert!(!side.connection.is_urgent());
    side.receive(&[request(1, false), data(1, false, &[0; 100])].concat())
        .unwrap();
    let id = side.ids[0];
    side.connection.consumed(id, 100);
    assert!(side.connection.has_output() && !side.connection.is_urgent());
    side.connection
        .send_headers(id, &block(&[(":status", "200")]), false);
    assert!(side.connection.is_urgent());
    side.take_output();
    side.connection.send_data(id, b"payload", false);
    assert!(side.connection.is_urgent());
    side.take_output();
    side.receive(&frame(PING, 0, 0, &[0; 8])).unwrap();
    assert!(side.connection.is_urgent(), "an answer");
}
