//! What forwarding a unary call costs: a client, a proxy of two connections and a server, all in
//! memory, 100 calls at a time. Prints the proxy's time per call, the median of all turns, so that a
//! busy machine matters little. Run it with `--release`.
#![allow(clippy::unwrap_used)]

use std::{collections::VecDeque, time::Instant};

use weft_http2::{Connection, Event, HeaderBlock, Limits, Name, Settings, StreamId};

const STREAMS: usize = 100;
const CALLS: usize = 1_000_000;

/// Both connections of the proxy. A token is the stream on the other one.
struct Proxy {
    downstream: Connection<StreamId>,
    upstream: Connection<StreamId>,
}

impl Proxy {
    fn client_sent(&mut self, bytes: &[u8], now: Instant) {
        let upstream = &mut self.upstream;
        let mut handler =
            |downstream: &mut Connection<StreamId>, event: Event<'_, StreamId>| match event {
                Event::Headers {
                    stream,
                    block,
                    end_stream,
                    ..
                } => {
                    let other = upstream.open(stream).unwrap();
                    downstream.set_token(stream, other);
                    upstream.send_headers(other, block, end_stream);
                }
                Event::Data {
                    stream,
                    token,
                    bytes,
                    end_stream,
                } => {
                    assert_eq!(
                        upstream.send_data(token.unwrap(), bytes, end_stream),
                        bytes.len()
                    );
                    downstream.consumed(stream, bytes.len());
                }
                Event::SettingsChanged => {}
                event => panic!("{event:?}"),
            };
        self.downstream.receive(bytes, now, &mut handler).unwrap();
    }

    fn server_sent(&mut self, bytes: &[u8], now: Instant) {
        let downstream = &mut self.downstream;
        let mut handler =
            |upstream: &mut Connection<StreamId>, event: Event<'_, StreamId>| match event {
                Event::Headers {
                    token,
                    block,
                    end_stream,
                    ..
                } => {
                    downstream.send_headers(token.unwrap(), block, end_stream);
                }
                Event::Trailers { token, block, .. } => {
                    downstream.send_headers(token.unwrap(), block, true);
                }
                Event::Data {
                    stream,
                    token,
                    bytes,
                    end_stream,
                } => {
                    assert_eq!(
                        downstream.send_data(token.unwrap(), bytes, end_stream),
                        bytes.len()
                    );
                    upstream.consumed(stream, bytes.len());
                }
                Event::SettingsChanged => {}
                event => panic!("{event:?}"),
            };
        self.upstream.receive(bytes, now, &mut handler).unwrap();
    }
}

fn take(connection: &mut Connection<StreamId>, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(connection.output());
    connection.written(buffer.len());
}

fn block(fields: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for (name, value) in fields {
        block.push_by_name(name.as_bytes(), value.as_bytes());
    }
    block
}

fn main() {
    let (settings, limits, start) = (Settings::default(), Limits::default(), Instant::now());
    let mut client = Connection::<StreamId>::client(&settings, &limits, start);
    let mut server = Connection::<StreamId>::server(&settings, &limits, start);
    let mut proxy = Proxy {
        downstream: Connection::server(&settings, &limits, start),
        upstream: Connection::client(&settings, &limits, start),
    };
    let mut request = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/shop.orders.v1.OrderService/PlaceOrder"),
        (":authority", "orders.shop.svc:7070"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.70.0"),
        ("grpc-accept-encoding", "gzip"),
        ("traceparent", ""),
        ("grpc-timeout", ""),
    ]);
    let response = block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let trailers = block(&[("grpc-status", "0"), ("grpc-message", "")]);
    let payload = [7; 100];
    let (mut bytes, mut open, mut done, mut sent) = (Vec::new(), VecDeque::new(), 0, 0u64);
    let mut turns = Vec::new();
    while done < CALLS {
        while client.capacity_for_streams() > 0 && client.open_streams() < STREAMS {
            sent += 1;
            request.set(
                Name::Traceparent,
                format!("00-{sent:032x}-{sent:016x}-01").as_bytes(),
            );
            request.set(
                Name::GrpcTimeout,
                format!("{}u", 900_000 + sent % 99_999).as_bytes(),
            );
            let stream = client.open(StreamId::default()).unwrap();
            client.send_headers(stream, &request, false);
            client.send_data(stream, &payload, true);
        }
        let now = Instant::now();
        take(&mut client, &mut bytes);
        let begin = Instant::now();
        proxy.client_sent(&bytes, now);
        let requests = begin.elapsed();
        take(&mut proxy.upstream, &mut bytes);
        let mut serve = |_: &mut Connection<StreamId>, event: Event<'_, StreamId>| {
            if let Event::Data {
                stream,
                end_stream: true,
                ..
            } = event
            {
                open.push_back(stream);
            }
        };
        server.receive(&bytes, now, &mut serve).unwrap();
        for stream in open.drain(..) {
            server.send_headers(stream, &response, false);
            server.send_data(stream, &payload, false);
            server.send_headers(stream, &trailers, true);
        }
        take(&mut server, &mut bytes);
        let begin = Instant::now();
        proxy.server_sent(&bytes, now);
        turns.push(requests + begin.elapsed());
        take(&mut proxy.downstream, &mut bytes);
        let mut finish = |_: &mut Connection<StreamId>, event: Event<'_, StreamId>| {
            done += usize::from(matches!(event, Event::Trailers { .. }));
        };
        client.receive(&bytes, now, &mut finish).unwrap();
    }
    turns.sort_unstable();
    let per_call = turns[turns.len() / 2].as_nanos() / STREAMS as u128;
    println!("{per_call} ns per call in both connections of the proxy");
}
