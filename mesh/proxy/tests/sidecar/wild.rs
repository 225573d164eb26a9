//! A peer without any sense: it does what HTTP/2 lets it do, in no order, and sometimes what it does not.

use std::time::{Duration, Instant};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use weft_http2::{
    Connection, ErrorCode, Event, HeaderBlock, LastStream, Limits, Name, Settings, StreamId,
};

use crate::{attacker::Stream, support::AUTHORITY};

/// How long it waits for the other end to read, or to say something.
const MOMENT: Duration = Duration::from_millis(3);
const LONG: Duration = Duration::from_millis(200);

/// Of messages and parts of them, what fits into a window and what does not.
const SIZES: [usize; 7] = [0, 3, 5, 12, 400, 9_000, 70_000];
const STATUSES: [&str; 8] = ["0", "0", "1", "2", "8", "14", "17", "99"];

/// One end of a connection.
pub struct Wild {
    io: Box<dyn Stream>,
    h2: Connection<()>,
    calls: bool,
    streams: Vec<StreamId>,
    /// Of a workload: those it has not answered yet. It nearly always begins with that.
    fresh: Vec<StreamId>,
    rng: StdRng,
}

impl Wild {
    pub fn new(io: Box<dyn Stream>, calls: bool, mut rng: StdRng) -> Self {
        let settings = Settings {
            max_concurrent_streams: *[1, 3, 100].choose(&mut rng).unwrap(),
            initial_window_bytes: *[0, 20, 65_535].choose(&mut rng).unwrap(),
            ..Settings::default()
        };
        let (limits, now) = (Limits::default(), Instant::now());
        let h2 = match calls {
            true => Connection::client(&settings, &limits, now),
            false => Connection::server(&settings, &limits, now),
        };
        let streams = Vec::new();
        Self {
            io,
            h2,
            calls,
            streams,
            fresh: Vec::new(),
            rng,
        }
    }

    /// Lives until one of both ends has enough.
    pub async fn live(mut self, until: Instant) {
        while Instant::now() < until {
            for _ in 0..self.rng.random_range(0..8) {
                self.act();
            }
            match self.rng.random_range(0..2_000) {
                0 => return,
                1 => {
                    let bytes: [u8; 40] = self.rng.random();
                    let _ = self.io.write_all(&bytes).await;
                }
                2..20 => tokio::time::sleep(self.rng.random_range(MOMENT..LONG)).await,
                20..22 => self
                    .h2
                    .go_away(ErrorCode::NO_ERROR, b"", LastStream::Arrived),
                _ => {}
            }
            if self.talk().await.is_none() {
                return;
            }
        }
    }

    /// Says what there is to say and hears what comes. `None`: the connection is over.
    async fn talk(&mut self) -> Option<()> {
        let written = timeout(LONG, self.io.write(self.h2.output())).await;
        if let Ok(written) = written {
            self.h2.written(written.ok()?);
            let _ = timeout(LONG, self.io.flush()).await;
        }
        let mut buffer = [0; 32 * 1024];
        let Ok(read) = timeout(MOMENT, self.io.read(&mut buffer)).await else {
            return Some(());
        };
        let read = read.ok().filter(|&read| read > 0)?;
        let (streams, fresh, rng) = (&mut self.streams, &mut self.fresh, &mut self.rng);
        let mut events = |h2: &mut Connection<()>, event: Event<'_, ()>| match event {
            Event::Headers { stream, .. } => {
                h2.set_token(stream, ());
                streams.push(stream);
                fresh.push(stream);
            }
            Event::Data { stream, bytes, .. } if rng.random_bool(0.8) => {
                h2.consumed(stream, bytes.len());
            }
            Event::Reset { stream, .. } => h2.release(stream),
            _ => {}
        };
        self.h2
            .receive(&buffer[..read], Instant::now(), &mut events)
            .ok()
    }

    fn act(&mut self) {
        if self.streams.len() > 60 {
            let stream = self.streams.remove(0);
            self.h2.reset(stream, ErrorCode::CANCEL);
            self.h2.release(stream);
        }
        if self.calls && self.rng.random_bool(0.3) {
            return self.call();
        }
        let Some(&stream) = self.streams.choose(&mut self.rng) else {
            return;
        };
        let ends = self.rng.random_bool(0.3);
        if !self.calls
            && let Some(at) = self.fresh.iter().position(|fresh| *fresh == stream)
            && self.rng.random_bool(0.97)
        {
            self.fresh.swap_remove(at);
            return self.answer(stream, ends);
        }
        match self.rng.random_range(0..20) {
            0..8 => {
                let bytes =
                    vec![self.rng.random_range(0..3); *SIZES.choose(&mut self.rng).unwrap()];
                self.h2.send_data(stream, &bytes, ends);
            }
            8 if !self.calls => self.answer(stream, ends),
            9..13 if !self.calls => {
                let mut block = HeaderBlock::new();
                self.status(&mut block);
                self.h2.send_headers(stream, &block, true);
            }
            16 => {
                let codes = [
                    ErrorCode::NO_ERROR,
                    ErrorCode::REFUSED_STREAM,
                    ErrorCode::CANCEL,
                    ErrorCode::INTERNAL_ERROR,
                ];
                self.h2.reset(stream, *codes.choose(&mut self.rng).unwrap());
                self.h2.release(stream);
            }
            17 => self.h2.consumed(stream, 1_000),
            18 => self.h2.ping([7; 8]),
            _ => {}
        }
    }

    fn call(&mut self) {
        let Some(stream) = self.h2.open(()) else {
            return;
        };
        let mut block = HeaderBlock::new();
        let path = [
            "/test.Echo/Safe",
            "/test.Echo/Hedged",
            "/test.Echo/Unary",
            "/nothing",
        ];
        let method = if self.rng.random_bool(0.95) {
            "POST"
        } else {
            "GET"
        };
        let content = if self.rng.random_bool(0.95) {
            "application/grpc"
        } else {
            "text/html"
        };
        for (name, value) in [
            (Name::Method, method),
            (Name::Scheme, "http"),
            (Name::Authority, AUTHORITY),
            (Name::Path, path.choose(&mut self.rng).unwrap()),
            (Name::ContentType, content),
            (Name::Te, "trailers"),
        ] {
            block.push(name, value.as_bytes());
        }
        let timeouts = ["1n", "2m", "50m", "1S", "9H", "soon"];
        if self.rng.random_bool(0.7) {
            let timeout = timeouts.choose(&mut self.rng).unwrap();
            block.push(Name::GrpcTimeout, timeout.as_bytes());
        }
        let ends = self.rng.random_bool(0.2);
        self.h2.send_headers(stream, &block, ends);
        self.streams.push(stream);
    }

    fn answer(&mut self, stream: StreamId, ends: bool) {
        let mut block = HeaderBlock::new();
        let status = [("200", 12), ("100", 1), ("404", 1), ("503", 1)];
        let (status, _) = status
            .choose_weighted(&mut self.rng, |(_, weight)| *weight)
            .unwrap();
        block.push(Name::Status, status.as_bytes());
        if self.rng.random_bool(0.95) {
            block.push(Name::ContentType, b"application/grpc");
        }
        if ends {
            self.status(&mut block);
        }
        self.h2
            .send_headers(stream, &block, ends && *status != "100");
    }

    fn status(&mut self, block: &mut HeaderBlock) {
        if self.rng.random_bool(0.9) {
            block.push(
                Name::GrpcStatus,
                STATUSES.choose(&mut self.rng).unwrap().as_bytes(),
            );
        }
        let pushback = ["-1", "5", "never"];
        if self.rng.random_bool(0.1) {
            block.push(
                Name::GrpcRetryPushbackMs,
                pushback.choose(&mut self.rng).unwrap().as_bytes(),
            );
        }
        if self.rng.random_bool(0.1) {
            block.push(Name::EndpointLoadMetrics, b"TEXT cpu_utilization=0.3");
        }
    }
}
