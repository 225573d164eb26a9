//! Exchanges with the `h2` crate over a pipe in memory, in both roles.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weft_http2::{Connection, ErrorCode, Event, LastStream, Limits, Name, Settings, StreamId};

use crate::wire::{REQUEST, block};

const MIB: usize = 1024 * 1024;

/// Runs a connection of ours on its end of a pipe until that is closed. `act` is told each event and
/// then, without one, whenever bytes were written.
pub async fn drive(
    mut connection: Connection<u32>,
    pipe: DuplexStream,
    mut act: impl FnMut(&mut Connection<u32>, Option<Event<'_, u32>>),
) {
    let mut buffer = vec![0; 16 * 1024];
    let (mut reader, mut writer) = tokio::io::split(pipe);
    act(&mut connection, None);
    while connection.has_output() || connection.error().is_none() {
        // Either side may wait for the other to read.
        tokio::select! {
            written = writer.write(connection.output()), if connection.has_output() => {
                let Ok(written) = written else { return };
                connection.written(written);
                act(&mut connection, None);
            }
            length = reader.read(&mut buffer) => {
                let Ok(length @ 1..) = length else { return };
                let mut handler = |connection: &mut Connection<u32>, event: Event<'_, u32>| {
                    act(connection, Some(event));
                };
                // The error is queued as a GOAWAY and ends this loop.
                let _ = connection.receive(&buffer[..length], Instant::now(), &mut handler);
            }
        }
    }
}

/// Echoes each stream: headers at once, payload as the window allows, trailers at the end.
#[derive(Default)]
struct Echo {
    waiting: HashMap<StreamId, (Vec<u8>, bool)>,
}

impl Echo {
    fn act(&mut self, connection: &mut Connection<u32>, event: Option<Event<'_, u32>>) {
        let ended = |end_stream| (Vec::new(), end_stream);
        match event {
            Some(Event::Headers {
                stream,
                block,
                end_stream,
                ..
            }) => {
                match block.get(Name::Path) {
                    Some(b"/cancel") => connection.release_with(stream, ErrorCode::CANCEL),
                    Some(b"/drain") => {
                        connection.go_away(ErrorCode::NO_ERROR, b"drain", LastStream::Arrived);
                    }
                    _ => {}
                }
                let answer = crate::wire::block(&[(":status", "200"), ("x-echo", "yes")]);
                connection.send_headers(stream, &answer, false);
                self.waiting.insert(stream, ended(end_stream));
            }
            Some(Event::Data {
                stream,
                bytes,
                end_stream,
                ..
            }) => {
                let (waiting, ended) = self.waiting.entry(stream).or_default();
                waiting.extend_from_slice(bytes);
                *ended |= end_stream;
            }
            Some(Event::Trailers { stream, block, .. }) => {
                assert_eq!(block.get_by_name(b"x-end"), Some(&b"request"[..]));
                self.waiting.entry(stream).or_default().1 = true;
            }
            Some(Event::Reset { stream, .. }) => {
                self.waiting.remove(&stream);
                connection.release(stream);
            }
            Some(Event::Malformed { reason, .. }) => panic!("{reason}"),
            _ => {}
        }
        self.waiting.retain(|&stream, (waiting, ended)| {
            let taken = connection.send_data(stream, waiting, false);
            connection.consumed(stream, taken);
            waiting.drain(..taken);
            let done = *ended && waiting.is_empty();
            if done {
                connection.send_headers(stream, &block(&[("grpc-status", "0")]), true);
            }
            !done
        });
    }
}

trait ReleaseWith {
    fn release_with(&mut self, stream: StreamId, code: ErrorCode);
}

impl ReleaseWith for Connection<u32> {
    fn release_with(&mut self, stream: StreamId, code: ErrorCode) {
        self.reset(stream, code);
        self.release(stream);
    }
}

/// An `h2` client whose peer is our echo server.
async fn h2_client() -> h2::client::SendRequest<Bytes> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connection = Connection::server(&Settings::default(), &Limits::default(), Instant::now());
    let mut echo = Echo::default();
    tokio::spawn(drive(connection, ours, move |connection, event| {
        echo.act(connection, event)
    }));
    let (client, connection) = h2::client::handshake(theirs).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn http_request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://orders{path}"));
    request
        .header("te", "trailers")
        .header("authorization", "Bearer x")
        .body(())
        .unwrap()
}

async fn send(mut stream: SendStream<Bytes>, size: usize) {
    let mut left = Bytes::from(vec![7; size]);
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let part = left.split_to(capacity.unwrap().unwrap().min(left.len()));
        stream.send_data(part, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "request".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

async fn receive(mut body: RecvStream) -> Result<(usize, Option<HeaderMap>), h2::Error> {
    let mut size = 0;
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        assert!(bytes.iter().all(|byte| *byte == 7));
        size += bytes.len();
        body.flow_control().release_capacity(bytes.len())?;
    }
    Ok((size, body.trailers().await?))
}

async fn echoed(client: &h2::client::SendRequest<Bytes>, size: usize) {
    let mut client = client.clone().ready().await.unwrap();
    let (response, stream) = client.send_request(http_request("/echo"), false).unwrap();
    let answer = async {
        let response = response.await.unwrap();
        assert_eq!(response.headers()["x-echo"], "yes");
        receive(response.into_body()).await.unwrap()
    };
    let ((received, trailers), ()) = tokio::join!(answer, send(stream, size));
    assert_eq!(received, size);
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn an_h2_client_is_served() {
    let client = h2_client().await;
    for size in [0, 1, 100, 16_384, 65_535, 100_000] {
        echoed(&client, size).await;
    }
}

#[tokio::test]
async fn many_streams_of_an_h2_client_are_served_at_once() {
    let client = h2_client().await;
    let streams = (0..250).map(|number| echoed(&client, number * 1_000));
    futures_join(streams).await;
}

/// Runs all of them on this task.
async fn futures_join(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn a_mebibyte_of_an_h2_client_flows_both_ways() {
    let client = h2_client().await;
    futures_join((0..3).map(|_| echoed(&client, MIB))).await;
}

#[tokio::test]
async fn resets_reach_an_h2_client_and_come_from_it() {
    let client = h2_client().await;
    for _ in 0..50 {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _stream) = client.send_request(http_request("/cancel"), false).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::CANCEL));
        let (response, mut stream) = client.send_request(http_request("/echo"), false).unwrap();
        response.await.unwrap();
        stream.send_reset(Reason::CANCEL);
    }
    echoed(&client, 1_000).await;
}

#[tokio::test]
async fn an_h2_client_finishes_after_our_go_away() {
    let client = h2_client().await;
    let (response, stream) = client
        .clone()
        .send_request(http_request("/drain"), false)
        .unwrap();
    send(stream, 1_000).await;
    let (size, _) = receive(response.await.unwrap().into_body()).await.unwrap();
    assert_eq!(size, 1_000);
    let refused = match client.ready().await {
        Ok(mut client) => {
            let (response, _) = client.send_request(http_request("/echo"), true).unwrap();
            response.await.is_err()
        }
        Err(error) => error.is_go_away(),
    };
    assert!(refused);
}

/// An `h2` server that echoes with trailers, and resets `/cancel`.
async fn h2_server(pipe: DuplexStream) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(100)
        .initial_window_size(100_000);
    let mut connection = builder.handshake::<_, Bytes>(pipe).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        if request.uri().path() == "/drain" {
            connection.graceful_shutdown();
        }
        tokio::spawn(async move {
            if request.uri().path() == "/cancel" {
                return respond.send_reset(Reason::INTERNAL_ERROR);
            }
            let response = Response::builder()
                .header("x-echo", "yes")
                .body(())
                .unwrap();
            let stream = respond.send_response(response, false).unwrap();
            let (size, _) = receive(request.into_body()).await.unwrap();
            send(stream, size).await;
        });
    }
}

/// What became of a call.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    status: Option<Vec<u8>>,
    size: usize,
    trailers: bool,
    reset: Option<ErrorCode>,
    refused: bool,
}

/// Makes one call for each path and size on one connection with an `h2` server, as many at once as that
/// allows, and says what became of them.
async fn call_h2(calls: Vec<(&'static str, usize)>) -> Vec<Outcome> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = tokio::spawn(h2_server(theirs));
    let connection = Connection::client(&Settings::default(), &Limits::default(), Instant::now());
    let (done, finished) = tokio::sync::oneshot::channel();
    let mut outcomes: Vec<_> = calls.iter().map(|_| Outcome::default()).collect();
    let (mut next, mut open, mut done) = (0, HashMap::<u32, (StreamId, usize)>::new(), Some(done));
    let act = move |connection: &mut Connection<u32>, event: Option<Event<'_, u32>>| {
        match event {
            Some(Event::Headers { token, block, .. }) => {
                let outcome = &mut outcomes[token.unwrap() as usize];
                outcome.status = block.get(Name::Status).map(<[u8]>::to_vec);
            }
            Some(Event::Data {
                stream,
                token,
                bytes,
                ..
            }) => {
                outcomes[token.unwrap() as usize].size += bytes.len();
                connection.consumed(stream, bytes.len());
            }
            Some(Event::Trailers { token, .. }) => {
                open.remove(&token.unwrap());
                outcomes[token.unwrap() as usize].trailers = true;
            }
            Some(Event::Reset {
                stream,
                token,
                code,
            }) => {
                open.remove(&token.unwrap());
                outcomes[token.unwrap() as usize].reset = Some(code);
                connection.release(stream);
            }
            Some(Event::Refused { token, .. }) => {
                open.remove(&token.unwrap());
                outcomes[token.unwrap() as usize].refused = true;
            }
            Some(Event::Malformed { reason, .. }) => panic!("{reason}"),
            _ => {}
        }
        while next < calls.len()
            && let Some(stream) = connection.open(next as u32)
        {
            let mut list = REQUEST;
            list[2].1 = calls[next].0;
            connection.send_headers(stream, &block(&list), false);
            open.insert(next as u32, (stream, calls[next].1));
            next += 1;
        }
        for (stream, left) in open.values_mut().filter(|(_, left)| *left != usize::MAX) {
            let part = vec![7; (*left).min(50_000)];
            *left -= connection.send_data(*stream, &part, false);
            if *left == 0 {
                connection.send_data(*stream, &[], true);
                *left = usize::MAX;
            }
        }
        let over = next == calls.len() || connection.is_peer_going_away();
        if over
            && open.is_empty()
            && let Some(done) = done.take()
        {
            let _ = done.send(std::mem::take(&mut outcomes));
        }
    };
    let driver = tokio::spawn(drive(connection, ours, act));
    let outcomes = tokio::time::timeout(std::time::Duration::from_secs(60), finished);
    let outcomes = outcomes.await.expect("in time").expect("all calls end");
    driver.abort();
    server.abort();
    outcomes
}

fn success(size: usize) -> Outcome {
    Outcome {
        status: Some(b"200".to_vec()),
        size,
        trailers: true,
        ..Outcome::default()
    }
}

#[tokio::test]
async fn an_h2_server_is_called() {
    let sizes = [0, 1, 100, 16_384, 65_535, 100_000];
    let outcomes = call_h2(sizes.iter().map(|size| ("/echo", *size)).collect()).await;
    assert_eq!(outcomes, sizes.map(success));
}

#[tokio::test]
async fn an_h2_server_gets_no_more_streams_than_it_allows() {
    let outcomes = call_h2((0..500).map(|number| ("/echo", number)).collect()).await;
    assert_eq!(outcomes, (0..500).map(success).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_mebibyte_flows_through_an_h2_server() {
    let outcomes = call_h2(vec![("/echo", MIB); 3]).await;
    assert_eq!(outcomes, [(); 3].map(|()| success(MIB)));
}

#[tokio::test]
async fn resets_of_an_h2_server_are_told() {
    let outcomes = call_h2(vec![("/cancel", 10), ("/echo", 10)]).await;
    assert_eq!(outcomes[0].reset, Some(ErrorCode::INTERNAL_ERROR));
    assert_eq!(outcomes[1], success(10));
}

#[tokio::test]
async fn a_draining_h2_server_finishes_what_it_accepted() {
    let outcomes = call_h2(vec![("/drain", 1_000)]).await;
    assert_eq!(outcomes, [success(1_000)]);
}
