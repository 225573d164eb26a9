//! Whole exchanges between a client and a server of ours.

use weft_http2::{Connection, ErrorCode, Event, HeaderBlock, Name, StreamId};

use crate::wire::*;

/// Carries bytes between both until there are none.
fn settle(client: &mut Side, server: &mut Side) {
    while client.connection.has_output() || server.connection.has_output() {
        let output = client.connection.output().to_vec();
        client.connection.written(output.len());
        server.receive(&output).unwrap();
        let output = server.connection.output().to_vec();
        server.connection.written(output.len());
        client.receive(&output).unwrap();
    }
}

fn pair() -> (Side, Side) {
    let now = std::time::Instant::now();
    let (settings, limits) = (Default::default(), Default::default());
    let mut client = Side::new(Connection::client(&settings, &limits, now), now);
    let mut server = Side::new(Connection::server(&settings, &limits, now), now);
    settle(&mut client, &mut server);
    (client, server)
}

#[test]
fn a_unary_call_goes_there_and_back() {
    let (mut client, mut server) = pair();
    let id = client.call(7, false);
    assert_eq!(client.connection.send_data(id, b"request", true), 7);
    settle(&mut client, &mut server);
    let told = server.take_told();
    assert!(
        matches!(&told[0], Told::Headers { stream: 1, token: None, end_stream: false, fields }
        if fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(REQUEST))
    );
    assert_eq!(
        told[1],
        Told::Data {
            stream: 1,
            bytes: b"request".to_vec(),
            end_stream: true
        }
    );
    let id = server.ids[0];
    server.connection.set_token(id, 70);
    assert_eq!(server.connection.token(id), Some(70));
    server
        .connection
        .send_headers(id, &block(&[(":status", "200")]), false);
    server.connection.send_data(id, b"response", false);
    server
        .connection
        .send_headers(id, &block(&[("grpc-status", "0")]), true);
    assert_eq!(
        server.connection.open_streams(),
        0,
        "both halves have ended"
    );
    assert_eq!(server.connection.token(id), None);
    settle(&mut client, &mut server);
    let told = client.take_told();
    assert!(matches!(
        told[0],
        Told::Headers {
            stream: 1,
            token: Some(7),
            ..
        }
    ));
    assert_eq!(
        told[1],
        Told::Data {
            stream: 1,
            bytes: b"response".to_vec(),
            end_stream: false
        }
    );
    assert!(matches!(told[2], Told::Trailers { stream: 1, .. }));
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn a_stream_that_is_over_takes_and_gives_nothing() {
    let (mut client, mut server) = pair();
    let id = client.call(7, false);
    client.connection.reset(id, ErrorCode::CANCEL);
    assert_eq!(client.connection.open_streams(), 1, "until it is released");
    assert_eq!(client.connection.send_data(id, b"lost", true), 4);
    client.connection.send_headers(id, &block(&[]), true);
    client.connection.reset(id, ErrorCode::NO_ERROR);
    client.connection.consumed(id, 10);
    client.connection.release(id);
    client.connection.release(id);
    assert_eq!(client.connection.open_streams(), 0);
    settle(&mut client, &mut server);
    let told = server.take_told();
    assert!(matches!(
        told[..],
        [
            Told::Headers { .. },
            Told::Reset {
                code: ErrorCode::CANCEL,
                ..
            }
        ]
    ));
}

#[test]
fn a_stream_that_was_never_used_vanishes_without_a_frame() {
    let (mut client, mut server) = pair();
    let id = client.connection.open(1).unwrap();
    client.connection.release(id);
    assert!(!client.connection.has_output());
    client.call(2, true);
    settle(&mut client, &mut server);
    assert!(matches!(
        server.take_told()[..],
        [Told::Headers { stream: 3, .. }]
    ));
}

#[test]
fn no_more_streams_are_opened_than_the_peer_allows() {
    let mut client = Side::client();
    assert_eq!(
        client.connection.capacity_for_streams(),
        1 << 30,
        "no limit but ids"
    );
    client.receive(&settings(&[(3, 2)])).unwrap();
    let first = client.call(1, true);
    client.call(2, true);
    assert_eq!(client.connection.capacity_for_streams(), 0);
    assert_eq!(client.connection.open(3), None);
    client.connection.release(first);
    assert_eq!(client.connection.capacity_for_streams(), 1);
    client.receive(&settings(&[(3, 0)])).unwrap();
    assert_eq!(client.connection.capacity_for_streams(), 0);
}

#[test]
fn large_header_blocks_go_in_continuations() {
    let (mut client, mut server) = pair();
    let mut large = block(&REQUEST);
    for number in 0..200 {
        large.push_by_name(format!("x-{number}").as_bytes(), &[b'v'; 100]);
    }
    let id = client.connection.open(1).unwrap();
    client.connection.send_headers(id, &large, true);
    let output = frames(client.connection.output());
    let kinds: Vec<_> = output
        .iter()
        .map(|(head, _)| (head.kind, head.flags))
        .collect();
    assert_eq!(kinds, [(HEADERS, END_STREAM), (CONTINUATION, END_HEADERS)]);
    settle(&mut client, &mut server);
    assert!(matches!(&server.take_told()[0], Told::Headers { fields, .. } if fields.len() == 205));
}

#[test]
fn the_peers_header_table_may_be_smaller() {
    for size in [0, 100, 4_096] {
        let (mut client, mut server) = pair();
        client.receive(&settings(&[(1, size)])).unwrap();
        for _ in 0..5 {
            client.call(1, true);
        }
        settle(&mut client, &mut server);
        assert_eq!(server.take_told().len(), 5);
    }
}

/// An event may be acted on in the handler, on the same connection.
#[test]
fn a_handler_may_answer_at_once() {
    let (mut client, mut server) = pair();
    client.call(1, true);
    let input = client.connection.output().to_vec();
    client.connection.written(input.len());
    let mut answer = HeaderBlock::new();
    let mut handler = |connection: &mut Connection<u32>, event: Event<'_, u32>| {
        if let Event::Headers { stream, block, .. } = event {
            answer.copy_from(block);
            answer.retain(|field| !field.name.is_pseudo());
            answer.push(Name::Status, b"200");
            connection.send_headers(stream, &answer, true);
            connection.go_away(ErrorCode::NO_ERROR, b"", weft_http2::LastStream::All);
        }
    };
    server
        .connection
        .receive(&input, server.now, &mut handler)
        .unwrap();
    settle(&mut client, &mut server);
    let told = client.take_told();
    let [
        Told::Headers {
            fields,
            end_stream: true,
            ..
        },
        Told::GoAway { .. },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        fields[0],
        (":status".to_owned(), "200".to_owned()),
        "pseudo-header fields first"
    );
    assert_eq!(fields[1], ("te".to_owned(), "trailers".to_owned()));
}

#[test]
fn payload_is_told_before_its_frame_is_complete() {
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    side.take_told();
    let input = data(1, true, &[9; 16_000]);
    side.receive(&input[..5_009]).unwrap();
    let half = Told::Data {
        stream: 1,
        bytes: vec![9; 5_000],
        end_stream: false,
    };
    assert_eq!(side.take_told(), [half]);
    side.receive(&input[5_009..]).unwrap();
    let rest = Told::Data {
        stream: 1,
        bytes: vec![9; 11_000],
        end_stream: true,
    };
    assert_eq!(side.take_told(), [rest]);
}

#[test]
fn sensitive_fields_stay_out_of_tables_at_the_next_hop() {
    let (mut client, mut server) = pair();
    let mut secret = block(&REQUEST);
    secret.push_sensitive(b"x-api-key", b"hunter2");
    let mut forwarded = HeaderBlock::new();
    for _ in 0..3 {
        let id: StreamId = client.connection.open(1).unwrap();
        client.connection.send_headers(id, &secret, true);
        let input = client.connection.output().to_vec();
        client.connection.written(input.len());
        let mut handler = |_: &mut Connection<u32>, event: Event<'_, u32>| {
            if let Event::Headers { block, .. } = event {
                forwarded.copy_from(block);
            }
        };
        server
            .connection
            .receive(&input, server.now, &mut handler)
            .unwrap();
        let field = forwarded
            .iter()
            .find(|field| field.name_bytes == b"x-api-key")
            .unwrap();
        assert!(field.sensitive);
    }
    assert!(!format!("{forwarded:?}").contains("hunter2"));
}

#[test]
fn the_tokens_are_those_of_streams_that_are_not_forgotten() {
    let (mut client, mut server) = pair();
    let [ended, reset, open] = [1, 2, 3].map(|token| client.call(token, true));
    settle(&mut client, &mut server);
    server
        .connection
        .send_headers(ended, &block(&[(":status", "200")]), true);
    server.connection.reset(reset, ErrorCode::REFUSED_STREAM);
    settle(&mut client, &mut server);
    let tokens = |side: &Side| {
        let mut tokens: Vec<u32> = side.connection.tokens().collect();
        tokens.sort_unstable();
        tokens
    };
    assert_eq!(
        tokens(&client),
        [2, 3],
        "one that was reset stays until it is released"
    );
    client.connection.release(reset);
    assert_eq!(tokens(&client), [3]);
    client.connection.release(open);
    assert_eq!(tokens(&client), [] as [u32; 0]);
}
