//! RFC 9113, rule by rule: what ends the connection, what ends a stream, and what is borne.

use weft_http2::{ErrorCode, LastStream, Settings};

use crate::wire::*;

#[track_caller]
fn connection_error(input: &[Vec<u8>], code: ErrorCode) {
    let (_, result, output) = in_pieces(Side::server, &input.concat());
    let error = result.expect_err("a connection error");
    assert_eq!(error.code, code, "{error}");
    let (head, payload) = output.last().expect("a frame");
    assert_eq!(head.kind, GOAWAY);
    assert_eq!(crate::wire::code(&payload[4..]), code);
    assert_eq!(&payload[8..], error.reason.as_bytes());
}

/// The stream is reset once, the user is told, and the connection goes on.
#[track_caller]
fn stream_error(input: &[Vec<u8>], stream: u32, code: ErrorCode) {
    let (told, result, output) = in_pieces(Side::server, &input.concat());
    assert_eq!(result, Ok(()));
    let found = told.iter().any(|told| {
        matches!(told, Told::Malformed { stream: s, code: c, .. } if (*s, *c) == (stream, code))
    });
    assert!(found, "{told:?}");
    let resets: Vec<_> = output
        .iter()
        .filter(|(head, _)| head.kind == RST_STREAM)
        .collect();
    assert_eq!(resets.len(), 1, "{resets:?}");
    assert_eq!(resets[0].0.stream.value(), stream);
    assert_eq!(crate::wire::code(&resets[0].1), code);
}

#[track_caller]
fn borne(input: &[Vec<u8>]) -> Vec<Told> {
    let (told, result, output) = in_pieces(Side::server, &input.concat());
    assert_eq!(result, Ok(()));
    let bad = output
        .iter()
        .find(|(head, _)| matches!(head.kind, RST_STREAM | GOAWAY));
    assert_eq!(bad, None);
    told
}

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;

#[test]
fn a_connection_starts_with_preface_and_settings() {
    let fresh = || {
        let now = std::time::Instant::now();
        let settings = Settings::default();
        Side::new(
            weft_http2::Connection::server(&settings, &Default::default(), now),
            now,
        )
    };
    for input in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [client_hello()[..24].to_vec(), frame(PING, 0, 0, &[0; 8])].concat(),
        [client_hello()[..24].to_vec(), settings_ack()].concat(),
    ] {
        let (_, result, _) = in_pieces(fresh, &input);
        assert_eq!(result.unwrap_err().code, PROTOCOL);
    }
    let (_, result, _) = in_pieces(fresh, &client_hello());
    assert_eq!(result, Ok(()));
}

#[test]
fn streams_are_odd_and_rise() {
    connection_error(&[request(2, true)], PROTOCOL);
    connection_error(&[request(0, true)], PROTOCOL);
    connection_error(&[request(5, true), request(3, true)], PROTOCOL);
    assert_eq!(borne(&[request(3, true), request(9, true)]).len(), 2);
}

#[test]
fn frames_on_idle_streams_end_the_connection() {
    connection_error(&[data(1, true, b"x")], PROTOCOL);
    connection_error(&[reset(1, ErrorCode::CANCEL)], PROTOCOL);
    connection_error(&[window_update(1, 1)], PROTOCOL);
    connection_error(&[frame(CONTINUATION, END_HEADERS, 1, &[])], PROTOCOL);
    // A stream the server would have opened.
    connection_error(&[request(3, true), reset(2, ErrorCode::CANCEL)], PROTOCOL);
}

#[test]
fn frames_stand_on_the_stream_they_belong_to() {
    connection_error(&[data(0, false, b"x")], PROTOCOL);
    connection_error(&[reset(0, ErrorCode::CANCEL)], PROTOCOL);
    connection_error(&[frame(PRIORITY, 0, 0, &[0; 5])], PROTOCOL);
    connection_error(&[frame(SETTINGS, 0, 1, &[])], PROTOCOL);
    connection_error(&[frame(PING, 0, 1, &[0; 8])], PROTOCOL);
    connection_error(&[frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL);
}

#[test]
fn frames_have_their_size() {
    connection_error(&[frame(PING, 0, 0, &[0; 7])], SIZE);
    connection_error(&[frame(SETTINGS, 0, 0, &[0; 5])], SIZE);
    connection_error(&[frame(SETTINGS, ACK, 0, &[0; 6])], SIZE);
    connection_error(&[frame(GOAWAY, 0, 0, &[0; 7])], SIZE);
    connection_error(&[request(1, false), frame(RST_STREAM, 0, 1, &[0; 5])], SIZE);
    connection_error(
        &[request(1, false), frame(WINDOW_UPDATE, 0, 1, &[0; 3])],
        SIZE,
    );
    connection_error(
        &[frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4])],
        SIZE,
    );
    stream_error(
        &[request(1, false), frame(PRIORITY, 0, 1, &[0; 4])],
        1,
        SIZE,
    );
    let mut side = Side::server();
    let large = side.receive(&[request(1, false), data(1, false, &[0; 16_385])].concat());
    assert_eq!(large.unwrap_err().code, SIZE);
}

#[test]
fn settings_have_valid_values() {
    connection_error(&[settings(&[(2, 2)])], PROTOCOL);
    connection_error(&[settings(&[(4, 1 << 31)])], FLOW);
    connection_error(&[settings(&[(5, 16_383)])], PROTOCOL);
    connection_error(&[settings(&[(5, 1 << 24)])], PROTOCOL);
    borne(&[settings(&[
        (1, 0),
        (2, 1),
        (3, 0),
        (4, 0),
        (5, 16_384),
        (6, 1),
        (0xabcd, 7),
    ])]);
    let (_, result, _) = in_pieces(Side::client, &settings(&[(2, 1)]));
    assert_eq!(
        result.unwrap_err().code,
        PROTOCOL,
        "a server must not offer push"
    );
}

#[test]
fn windows_neither_stand_still_nor_overflow() {
    connection_error(&[window_update(0, 0)], PROTOCOL);
    connection_error(&[window_update(0, 0x7fff_ffff)], FLOW);
    stream_error(&[request(1, false), window_update(1, 0)], 1, PROTOCOL);
    stream_error(&[request(1, false), window_update(1, 0x7fff_ffff)], 1, FLOW);
    connection_error(
        &[
            request(1, false),
            window_update(1, 0x7fff_0000),
            settings(&[(4, 0x7fff_ffff)]),
        ],
        FLOW,
    );
    borne(&[
        request(1, false),
        window_update(1, 0x7fff_0000),
        window_update(0, 0x7fff_0000),
    ]);
}

#[test]
fn a_header_block_is_not_interrupted() {
    let begin = frame(HEADERS, END_STREAM, 1, &fields(&REQUEST)[..10]);
    let end = |stream| frame(CONTINUATION, END_HEADERS, stream, &fields(&REQUEST)[10..]);
    connection_error(&[begin.clone(), frame(PING, 0, 0, &[0; 8])], PROTOCOL);
    connection_error(&[begin.clone(), data(1, false, b"x")], PROTOCOL);
    connection_error(&[begin.clone(), end(3)], PROTOCOL);
    connection_error(&[begin.clone(), frame(0xbb, 0, 1, &[])], PROTOCOL);
    connection_error(&[request(1, false), end(1)], PROTOCOL);
    let told = borne(&[begin, frame(CONTINUATION, 0, 1, &[]), end(1)]);
    assert!(matches!(
        told[..],
        [Told::Headers {
            end_stream: true,
            ..
        }]
    ));
}

#[test]
fn push_is_refused() {
    connection_error(
        &[frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])],
        PROTOCOL,
    );
    let (_, result, _) = in_pieces(
        Side::client,
        &frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
    );
    assert_eq!(result.unwrap_err().code, PROTOCOL);
}

#[test]
fn padding_fits_the_frame_and_is_taken_off() {
    connection_error(&[request(1, false), frame(DATA, PADDED, 1, &[])], PROTOCOL);
    connection_error(
        &[request(1, false), frame(DATA, PADDED, 1, &[3, 0, 0])],
        PROTOCOL,
    );
    connection_error(&[frame(HEADERS, END_HEADERS | PADDED, 1, &[])], PROTOCOL);
    connection_error(
        &[frame(HEADERS, END_HEADERS | PADDED, 1, &[2, 0x82])],
        PROTOCOL,
    );
    let mut padded = vec![2];
    padded.extend([0, 0, 0, 3, 200]);
    padded.extend(fields(&REQUEST));
    padded.extend([0, 0]);
    let told = borne(&[
        frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, &padded),
        frame(DATA, PADDED, 1, &[3, b'h', b'e', 0, 0, 0]),
        frame(DATA, PADDED, 1, &[0, b'y']),
        frame(DATA, PADDED, 1, &[2, 0, 0]),
        frame(DATA, PADDED | END_STREAM, 1, &[1, b'!', 0]),
    ]);
    assert!(matches!(&told[0], Told::Headers { fields, .. } if fields.len() == REQUEST.len()));
    assert_eq!(
        told[1],
        Told::Data {
            stream: 1,
            bytes: b"hey!".to_vec(),
            end_stream: true
        }
    );
}

#[test]
fn a_broken_header_block_ends_the_connection() {
    for block in [
        &[0x80][..],
        &[0xff],
        &[0x00, 0x05, b'a'],
        &[0x3f, 0xe2, 0x1f],
    ] {
        connection_error(
            &[frame(HEADERS, END_HEADERS, 1, block)],
            ErrorCode::COMPRESSION_ERROR,
        );
    }
}

#[test]
fn malformed_requests_are_reset() {
    let without = |name: &str| -> Vec<_> {
        REQUEST
            .iter()
            .copied()
            .filter(|(other, _)| *other != name)
            .collect()
    };
    let and = |more: &[(&'static str, &'static str)]| [&REQUEST[..], more].concat();
    for list in [
        without(":method"),
        without(":path"),
        without(":scheme"),
        and(&[(":path", "/")]),
        and(&[("connection", "close")]),
        and(&[("X-Upper", "1")]),
        and(&[("te", "gzip")]),
        and(&[("x", "a\nb")]),
        and(&[("content-length", "1")]),
        vec![],
    ] {
        stream_error(&[headers(1, true, &list), request(3, true)], 1, PROTOCOL);
    }
    stream_error(
        &[frame(
            HEADERS,
            END_HEADERS | WITH_PRIORITY,
            1,
            &[0, 0, 0, 1, 0],
        )],
        1,
        PROTOCOL,
    );
}

#[test]
fn content_is_as_long_as_it_says() {
    let long = headers(
        1,
        false,
        &[&REQUEST[..], &[("content-length", "5")]].concat(),
    );
    borne(&[long.clone(), data(1, false, b"hel"), data(1, true, b"lo")]);
    borne(&[
        long.clone(),
        data(1, false, b"hello"),
        headers(1, true, &[("x", "y")]),
    ]);
    stream_error(&[long.clone(), data(1, false, b"hello!")], 1, PROTOCOL);
    stream_error(&[long.clone(), data(1, true, b"hell")], 1, PROTOCOL);
    stream_error(
        &[
            long,
            data(1, false, b"hell"),
            headers(1, true, &[("x", "y")]),
        ],
        1,
        PROTOCOL,
    );
}

#[test]
fn trailers_end_the_stream_and_have_no_pseudo_header_fields() {
    let begin = || request(1, false);
    stream_error(&[begin(), headers(1, false, &[("x", "y")])], 1, PROTOCOL);
    stream_error(&[begin(), headers(1, true, &[(":path", "/")])], 1, PROTOCOL);
    stream_error(&[begin(), headers(1, true, &[("X", "y")])], 1, PROTOCOL);
    let told = borne(&[
        begin(),
        data(1, false, b"hello"),
        headers(1, true, &[("x", "y")]),
    ]);
    let fields = vec![("x".to_owned(), "y".to_owned())];
    assert_eq!(told[2], Told::Trailers { stream: 1, fields });
}

#[test]
fn a_half_closed_stream_gets_nothing_more() {
    stream_error(&[request(1, true), data(1, true, b"x")], 1, CLOSED);
    stream_error(
        &[request(1, true), headers(1, true, &[("x", "y")])],
        1,
        CLOSED,
    );
    borne(&[
        request(1, true),
        window_update(1, 10),
        frame(PRIORITY, 0, 1, &[0; 5]),
    ]);
}

#[test]
fn a_stream_the_peer_reset_gets_nothing_more() {
    let cancel = || reset(1, ErrorCode::CANCEL);
    let (told, result, output) = in_pieces(
        Side::server,
        &[request(1, false), cancel(), data(1, false, b"x")].concat(),
    );
    assert_eq!(result, Ok(()));
    assert_eq!(
        told[1],
        Told::Reset {
            stream: 1,
            code: ErrorCode::CANCEL
        }
    );
    assert_eq!(told.len(), 2, "the user knows already");
    assert_eq!(
        output
            .iter()
            .filter(|(head, _)| head.kind == RST_STREAM)
            .count(),
        1
    );
    borne(&[request(1, false), cancel(), cancel(), window_update(1, 1)]);
}

#[test]
fn a_stream_that_ended_gets_nothing_more() {
    let ended = || {
        let mut side = Side::server();
        side.receive(&request(1, true)).unwrap();
        let id = side.ids[0];
        side.connection
            .send_headers(id, &block(&[(":status", "200")]), true);
        assert_eq!(side.connection.open_streams(), 0);
        side.take_output();
        side
    };
    for (input, expected) in [
        (data(1, true, b"x"), Err(CLOSED)),
        (headers(1, true, &REQUEST), Err(CLOSED)),
        (reset(1, ErrorCode::CANCEL), Ok(())),
        (window_update(1, 7), Ok(())),
        (frame(PRIORITY, 0, 1, &[0; 5]), Ok(())),
    ] {
        let (_, result, _) = in_pieces(ended, &input);
        assert_eq!(result.map_err(|error| error.code), expected);
    }
}

#[test]
fn what_is_under_way_on_a_stream_we_reset_is_ignored() {
    let was_reset = || {
        let mut side = Side::server();
        side.receive(&request(1, false)).unwrap();
        let id = side.ids[0];
        side.connection.release(id);
        assert_eq!(side.take_resets(), [(1, ErrorCode::CANCEL)]);
        side
    };
    // The trailers put an entry into the table, which the next request uses.
    let mut trailers = vec![0x40];
    trailers.extend(&fields(&[("x-more", "yes")])[1..]);
    let mut next = fields(&REQUEST);
    next.push(0xbe);
    let input = [
        data(1, false, b"late payload"),
        window_update(1, 9),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers),
        reset(1, ErrorCode::CANCEL),
        frame(HEADERS, END_HEADERS, 3, &next),
    ];
    let (told, result, output) = in_pieces(was_reset, &input.concat());
    assert_eq!(result, Ok(()));
    assert!(output.is_empty(), "{output:?}");
    let [
        Told::Headers {
            stream: 3, fields, ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(fields.last().unwrap().0, "x-more");
}

#[test]
fn unknown_frames_and_flags_are_ignored() {
    let told = borne(&[
        frame(0xbb, 0xff, 0, b"whatever"),
        frame(0xbb, 0xff, 77, b""),
        frame(HEADERS, END_HEADERS | 0x80 | 0x40, 1, &fields(&REQUEST)),
        frame(PRIORITY, 0xff, 101, &[0; 5]),
        frame(PING, 0xfe, 0, &[0; 8]),
    ]);
    assert_eq!(told.len(), 1);
    // The reserved bit of the stream.
    let told = borne(&[frame(HEADERS, END_HEADERS, 1 | 1 << 31, &fields(&REQUEST))]);
    assert!(matches!(told[0], Told::Headers { stream: 1, .. }));
}

#[test]
fn a_priority_on_itself_is_an_error_of_the_stream() {
    stream_error(
        &[request(1, false), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])],
        1,
        PROTOCOL,
    );
    connection_error(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])], PROTOCOL);
}

#[test]
fn a_ping_is_answered_and_an_answer_is_told() {
    let ping = [
        frame(PING, 0, 0, b"12345678"),
        frame(PING, ACK, 0, b"abcdefgh"),
    ]
    .concat();
    let (told, result, output) = in_pieces(Side::server, &ping);
    assert_eq!(result, Ok(()));
    assert_eq!(told, [Told::PingAck(*b"abcdefgh")]);
    let [(head, payload)] = &output[..] else {
        panic!("{output:?}")
    };
    assert_eq!(
        (head.kind, head.flags, &payload[..]),
        (PING, ACK, &b"12345678"[..])
    );
}

/// A client that has sent one request.
fn called() -> Side {
    let mut side = Side::client();
    side.call(7, false);
    side.take_output();
    side
}

#[track_caller]
fn response_error(input: &[Vec<u8>], code: ErrorCode) {
    let (told, result, output) = in_pieces(called, &input.concat());
    assert_eq!(result, Ok(()));
    assert!(
        matches!(told.last(), Some(Told::Malformed { stream: 1, code: c, .. }) if *c == code),
        "{told:?}"
    );
    assert_eq!(
        output
            .iter()
            .filter(|(head, _)| head.kind == RST_STREAM)
            .count(),
        1
    );
}

#[test]
fn malformed_responses_are_reset() {
    response_error(&[headers(1, false, &[])], PROTOCOL);
    response_error(&[headers(1, false, &[(":status", "x")])], PROTOCOL);
    response_error(
        &[headers(1, false, &[(":status", "200"), (":path", "/")])],
        PROTOCOL,
    );
    response_error(&[headers(1, true, &[(":status", "100")])], PROTOCOL);
    response_error(&[data(1, false, b"hello")], PROTOCOL);
    response_error(
        &[headers(
            1,
            true,
            &[(":status", "200"), ("content-length", "1")],
        )],
        PROTOCOL,
    );
    response_error(
        &[
            headers(1, false, &[(":status", "200")]),
            headers(1, false, &[("x", "y")]),
        ],
        PROTOCOL,
    );
}

#[test]
fn a_server_opens_no_streams() {
    for input in [
        headers(2, true, &[(":status", "200")]),
        headers(3, true, &[(":status", "200")]),
        data(3, true, b"x"),
        reset(3, ErrorCode::CANCEL),
        window_update(3, 1),
    ] {
        let (_, result, _) = in_pieces(called, &input);
        assert_eq!(result.unwrap_err().code, PROTOCOL);
    }
}

#[test]
fn informational_responses_come_before_the_real_one() {
    let input = [
        headers(1, false, &[(":status", "103"), ("link", "x")]),
        headers(1, false, &[(":status", "100")]),
        headers(1, false, &[(":status", "200"), ("content-length", "5")]),
        data(1, false, b"hello"),
        headers(1, true, &[("grpc-status", "0")]),
    ];
    let (told, result, _) = in_pieces(called, &input.concat());
    assert_eq!(result, Ok(()));
    assert!(matches!(&told[0], Told::Informational { status, .. } if status == "103"));
    assert!(matches!(
        &told[2],
        Told::Headers {
            token: Some(7),
            end_stream: false,
            ..
        }
    ));
    assert!(matches!(&told[4], Told::Trailers { stream: 1, .. }));
}

#[test]
fn the_length_of_an_answer_to_head_is_not_that_of_its_content() {
    let head = || {
        let mut side = Side::client();
        let id = side.connection.open(1).unwrap();
        let mut list = REQUEST;
        list[0].1 = "HEAD";
        side.connection.send_headers(id, &block(&list), true);
        side.take_output();
        side
    };
    let answer = headers(1, true, &[(":status", "200"), ("content-length", "500")]);
    assert_eq!(in_pieces(head, &answer).1, Ok(()));
    let not_modified = headers(1, true, &[(":status", "304"), ("content-length", "500")]);
    assert_eq!(in_pieces(called, &not_modified).1, Ok(()));
}

#[test]
fn go_away_refuses_what_will_not_be_processed() {
    let three = || {
        let mut side = Side::client();
        for token in [10, 11, 12] {
            side.call(token, true);
        }
        side.take_output();
        side
    };
    let payload = [&3u32.to_be_bytes()[..], &0u32.to_be_bytes(), b"bye"].concat();
    let input = [
        frame(GOAWAY, 0, 0, &payload),
        headers(1, true, &[(":status", "200")]),
    ];
    let (told, result, output) = in_pieces(three, &input.concat());
    assert_eq!(result, Ok(()));
    assert!(output.is_empty());
    let code = ErrorCode::NO_ERROR;
    assert_eq!(
        told[0],
        Told::GoAway {
            last_stream: 3,
            code,
            debug: b"bye".to_vec()
        }
    );
    assert_eq!(
        told[1],
        Told::Refused {
            stream: 5,
            token: Some(12)
        }
    );
    assert!(matches!(
        told[2],
        Told::Headers {
            stream: 1,
            token: Some(10),
            ..
        }
    ));
    let mut side = three();
    side.receive(&input.concat()).unwrap();
    assert!(side.connection.is_peer_going_away());
    assert_eq!(side.connection.open(1), None);
    assert_eq!(
        side.connection.open_streams(),
        1,
        "only the stream 3 is left"
    );
}

#[test]
fn after_our_go_away_new_streams_are_ignored_and_the_rest_goes_on() {
    let mut side = Side::server();
    side.receive(&request(1, false)).unwrap();
    side.connection
        .go_away(ErrorCode::NO_ERROR, b"drain", LastStream::All);
    side.receive(&request(3, true)).unwrap();
    side.connection
        .go_away(ErrorCode::NO_ERROR, b"drain", LastStream::Arrived);
    side.take_told();
    side.receive(
        &[
            request(5, false),
            data(5, true, b"hello"),
            data(1, true, b"hello"),
        ]
        .concat(),
    )
    .unwrap();
    let bytes = b"hello".to_vec();
    assert_eq!(
        side.take_told(),
        [Told::Data {
            stream: 1,
            bytes,
            end_stream: true
        }]
    );
    assert!(side.connection.is_going_away());
    let output = side.take_output();
    let last: Vec<_> = output.iter().map(|(_, payload)| code(payload).0).collect();
    assert_eq!(last, [0x7fff_ffff, 3]);
}

#[test]
fn an_error_is_final() {
    let mut side = Side::server();
    let error = side.receive(&window_update(0, 0)).unwrap_err();
    assert_eq!(side.receive(&request(1, true)), Err(error));
    assert_eq!(side.connection.error(), Some(error));
    assert_eq!(side.connection.deadline(), None);
    assert_eq!(side.take_output().len(), 1, "one GOAWAY");
}
