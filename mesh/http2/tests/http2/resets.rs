//! A client whose callers go away together, and a server that bears what is no attack.

use std::time::{Duration, Instant};

use weft_http2::{Connection, ErrorCode, Event, Limits, Settings};

use crate::{interop::drive, wire::*};

/// What a client does that has begun `count` calls and cancels all of them.
fn cancelled(side: &mut Side, count: u32) -> Frames {
    let streams: Vec<_> = (0..count).map(|token| side.call(token, true)).collect();
    side.take_output();
    for stream in streams {
        side.connection.release(stream);
    }
    side.take_output()
}

fn kinds(frames: &Frames) -> Vec<u8> {
    frames.iter().map(|(head, _)| head.kind).collect()
}

#[test]
fn a_reset_goes_out_at_once_and_its_reading_is_told() {
    let mut side = Side::client();
    let stream = side.call(7, true);
    side.take_output();
    side.connection.release(stream);
    assert_eq!(kinds(&side.take_output()), [RST_STREAM, SETTINGS]);
    assert_eq!(side.connection.open_streams(), 0);
    assert!(side.connection.is_ending(stream));
    side.receive(&settings_ack()).unwrap();
    assert_eq!(side.take_told(), [Told::ResetsRead]);
    assert!(!side.connection.is_ending(stream));
    assert!(!side.connection.has_output());
}

#[test]
fn resets_wait_until_the_peer_has_read_those_before() {
    let mut side = Side::client();
    let sent = kinds(&cancelled(&mut side, 20));
    assert_eq!(sent.iter().filter(|&&kind| kind == RST_STREAM).count(), 8);
    assert_eq!(side.connection.open_streams(), 12, "they count as open");
    // The first question was asked after one reset, so its answer lets one more go.
    let mut rounds = Vec::new();
    while side.connection.open_streams() > 0 {
        side.receive(&settings_ack()).unwrap();
        rounds.push(kinds(&side.take_output()).len());
    }
    assert_eq!(rounds, [2, 9, 4], "each with one SETTINGS frame");
    assert!(
        side.take_told()
            .iter()
            .all(|told| *told == Told::ResetsRead)
    );
}

#[test]
fn a_stream_whose_reset_waits_is_over_for_the_user() {
    let mut side = Side::client();
    cancelled(&mut side, 8);
    let stream = side.call(9, false);
    side.connection.release(stream);
    side.take_output();
    assert_eq!(
        side.connection.send_data(stream, b"late", true),
        4,
        "dropped"
    );
    let answer = headers(stream.value(), false, &[(":status", "200")]);
    let late = [answer, data(stream.value(), true, b"late")].concat();
    side.receive(&late).unwrap();
    assert_eq!(side.take_told(), []);
    assert!(!side.connection.has_output());
}

#[test]
fn a_reset_after_the_answer_began_waits_for_nothing() {
    let mut side = Side::client();
    cancelled(&mut side, 8);
    let stream = side.call(9, false);
    side.receive(&headers(stream.value(), false, &[(":status", "200")]))
        .unwrap();
    side.take_output();
    side.connection.release(stream);
    assert_eq!(kinds(&side.take_output()), [RST_STREAM]);
}

#[test]
fn the_first_acknowledgement_is_that_of_the_first_settings() {
    let now = Instant::now();
    let connection = Connection::client(&Settings::default(), &Limits::default(), now);
    let mut side = Side::new(connection, now);
    cancelled(&mut side, 1);
    side.receive(&server_hello()).unwrap();
    assert!(!side.take_told().contains(&Told::ResetsRead));
    side.receive(&settings_ack()).unwrap();
    assert!(side.take_told().contains(&Told::ResetsRead));
}

#[test]
fn a_connection_is_worn_out_by_resets_and_mended_by_answers() {
    let limits = Limits {
        unread_resets: 1_000,
        ..Limits::default()
    };
    let mut side = Side::client_with(&Settings::default(), &limits);
    let answered = side.call(0, true);
    cancelled(&mut side, 99);
    assert!(!side.connection.is_worn_out());
    cancelled(&mut side, 1);
    assert!(side.connection.is_worn_out());
    assert_eq!(side.connection.open(1), None);
    side.receive(&headers(answered.value(), true, &[(":status", "200")]))
        .unwrap();
    assert!(!side.connection.is_worn_out());
    assert!(side.connection.open(1).is_some());
}

#[test]
fn a_client_never_uses_up_the_budget_of_a_server() {
    let (mut client, mut server) = (Side::client(), Side::server());
    for token in 0.. {
        let Some(stream) = client.connection.open(token) else {
            break;
        };
        client
            .connection
            .send_headers(stream, &block(&REQUEST), true);
        client.connection.release(stream);
        for _ in 0..2 {
            let output = client.connection.output().to_vec();
            client.connection.written(output.len());
            server.receive(&output).unwrap();
            for stream in std::mem::take(&mut server.ids) {
                server.connection.release(stream);
            }
            let output = server.connection.output().to_vec();
            server.connection.written(output.len());
            client.receive(&output).unwrap();
        }
    }
    assert!(client.connection.is_worn_out());
    assert_eq!(server.connection.error(), None);
}

#[test]
fn a_server_bears_resets_of_streams_that_were_given_time() {
    let mut side = Side::server();
    for number in 0..1_000 {
        let id = number * 2 + 1;
        side.receive(&request(id, true)).unwrap();
        side.now += Duration::from_millis(40);
        side.receive(&reset(id, ErrorCode::CANCEL)).unwrap();
        for stream in std::mem::take(&mut side.ids) {
            side.connection.release(stream);
        }
        side.take_output();
    }
}

#[test]
fn a_server_bears_resets_of_streams_that_it_holds_on_to_until_their_work_has_ended() {
    let mut side = Side::server();
    let mut ids = (0..).map(|number| number * 2 + 1);
    for _ in 0..100 {
        // As many as may be open.
        for id in ids.by_ref().take(100) {
            side.receive(&request(id, true)).unwrap();
            side.receive(&reset(id, ErrorCode::CANCEL)).unwrap();
        }
        for stream in std::mem::take(&mut side.ids) {
            side.connection.release(stream);
        }
        side.take_output();
    }
}

/// Begins and cancels calls, a hundred at a time, and then one. Whether that is answered.
async fn cancels_at_h2(rounds: u32) -> bool {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let limits = Limits {
        unanswered_resets: u32::MAX,
        ..Limits::default()
    };
    let client = Connection::client(&Settings::default(), &limits, Instant::now());
    let (mut left, answered) = (rounds, tokio::sync::Notify::new());
    let act = |connection: &mut Connection<u32>, event: Option<Event<'_, u32>>| {
        if let Some(Event::Headers { .. }) = event {
            answered.notify_one();
        }
        let may_go_on = matches!(event, Some(Event::ResetsRead | Event::SettingsChanged));
        if !may_go_on || connection.open_streams() > 0 {
            return;
        }
        let count = if left > 0 { 100 } else { 1 };
        for token in 0..count {
            let stream = connection.open(token).unwrap();
            connection.send_headers(stream, &block(&REQUEST), true);
            if left > 0 {
                connection.release(stream);
            }
        }
        left = left.saturating_sub(1);
    };
    let serve = async {
        let mut server = h2::server::handshake(theirs).await.unwrap();
        while let Some(Ok((_, mut respond))) = server.accept().await {
            // Who has gone is not answered; the connection is told by `accept`.
            let response = http::Response::new(());
            if let Ok(mut stream) = respond.send_response(response, false) {
                let _ = stream.send_trailers(http::HeaderMap::new());
            }
        }
    };
    tokio::select! {
        () = answered.notified() => true,
        () = drive(client, ours, act) => false,
        () = serve => false,
    }
}

#[tokio::test]
async fn calls_that_are_cancelled_together_do_not_end_a_connection_to_h2() {
    assert!(cancels_at_h2(20).await);
}

#[test]
fn a_peer_has_30_seconds_to_say_that_it_has_read_resets() {
    let mut side = Side::client();
    cancelled(&mut side, 20);
    let start = side.now + Duration::from_secs(60);
    // However long ago the last word of the peer was, its time begins now.
    assert!(side.connection.deadline().is_some_and(|at| at <= start));
    assert_eq!(side.connection.on_deadline(start), Ok(()));
    let deadline = start + Duration::from_secs(30);
    assert_eq!(side.connection.deadline(), Some(deadline));
    // Each answer ends it, and the next question begins it anew.
    side.receive(&settings_ack()).unwrap();
    assert_eq!(side.connection.on_deadline(deadline), Ok(()));
    let next = deadline + Duration::from_secs(30);
    assert_eq!(side.connection.deadline(), Some(next));
    let error = side.connection.on_deadline(next).unwrap_err();
    assert_eq!(error.reason, "resets_timeout");
    let mut side = Side::client();
    cancelled(&mut side, 1);
    side.receive(&settings_ack()).unwrap();
    assert_eq!(side.connection.deadline(), None);
}
