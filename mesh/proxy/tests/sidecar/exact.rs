//! What one end of a call says, the other hears: no more, no less, and not before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, time::Instant};
use weft_http2::{ErrorCode, Name, StreamId};

use crate::{
    support::{Mesh, Running},
    wire::{MESSAGE, Peer, Seen, headers, trailers},
};

/// What is promised about an end that the other side must learn of.
const PROMPT: Duration = Duration::from_millis(50);
/// A busy machine may be late once, but not each time.
const TIMES: usize = 3;

/// A call that has begun at both ends, two sidecars in between.
struct Call {
    client: Peer,
    stream: StreamId,
    workload: Peer,
    at_workload: StreamId,
    _running: (Mesh, [Running; 2]),
}

impl Call {
    /// The request has come as far as its header; `ends` with it or not.
    async fn begin(metadata: &[(Name, &str)], ends: bool) -> Self {
        let mesh = Mesh::new("exact.local");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        let server = mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await;
        let caller = mesh.caller("orders", &[server.inbound]).await;
        let mut client = Peer::caller(caller.outbound).await;
        let stream = client.call(metadata, ends);
        client.flush().await;
        let mut workload = Peer::workload(&listener).await;
        let (at_workload, began) = workload.next().await;
        assert_eq!(began, headers("/test.Wire/Call", ends));
        Self {
            client,
            stream,
            workload,
            at_workload,
            _running: (mesh, [server, caller]),
        }
    }

    /// Another call on the same connections.
    async fn again(&mut self, metadata: &[(Name, &str)], ends: bool) {
        self.stream = self.client.call(metadata, ends);
        self.client.flush().await;
        loop {
            let (stream, seen) = self.workload.next().await;
            if seen == headers("/test.Wire/Call", ends) {
                self.at_workload = stream;
                return;
            }
        }
    }

    /// The answer has begun, and no more.
    async fn answered(&mut self) {
        self.workload.answer(self.at_workload, None);
        self.workload.flush().await;
        self.client_sees(headers("", false)).await;
    }

    async fn client_sees(&mut self, seen: Seen) {
        assert_eq!(self.client.next().await, (self.stream, seen));
    }

    async fn workload_sees(&mut self, seen: Seen) {
        assert_eq!(self.workload.next().await, (self.at_workload, seen));
    }
}

const WHOLE: Seen = Seen::Data {
    bytes: MESSAGE.len(),
    ends: false,
};
const END: Seen = Seen::Data {
    bytes: 0,
    ends: true,
};

#[tokio::test]
async fn an_answer_of_trailers_only_is_one_header_block() {
    let mut call = Call::begin(&[], false).await;
    call.client.say(call.stream, MESSAGE, true);
    call.client.flush().await;
    call.workload_sees(Seen::Data {
        bytes: MESSAGE.len(),
        ends: true,
    })
    .await;
    call.workload.answer(call.at_workload, Some("5"));
    call.workload.flush().await;
    call.client_sees(headers("5", true)).await;
    call.client.hears_nothing().await;
}

#[tokio::test]
async fn an_answer_without_messages_keeps_its_header_and_its_trailers() {
    let mut call = Call::begin(&[], true).await;
    call.answered().await;
    call.workload.end(call.at_workload, "0");
    call.workload.flush().await;
    call.client_sees(trailers("0")).await;
}

#[tokio::test]
async fn the_caller_ends_its_half_when_it_wants_and_hears_on() {
    let mut call = Call::begin(&[], false).await;
    call.answered().await;
    for _ in 0..2 {
        call.client.say(call.stream, MESSAGE, false);
        call.client.flush().await;
        call.workload_sees(WHOLE).await;
    }
    call.workload.hears_nothing().await;
    call.client.say(call.stream, b"", true);
    call.client.flush().await;
    call.workload_sees(END).await;
    for _ in 0..3 {
        call.workload.say(call.at_workload, MESSAGE, false);
        call.workload.flush().await;
        call.client_sees(WHOLE).await;
    }
    call.client.hears_nothing().await;
    call.workload.end(call.at_workload, "0");
    call.workload.flush().await;
    call.client_sees(trailers("0")).await;
    call.client.hears_nothing().await;
    call.workload.hears_nothing().await;
}

#[tokio::test]
async fn a_workload_that_ends_first_ends_the_callers_half() {
    let mut call = Call::begin(&[], false).await;
    call.answered().await;
    call.workload.say(call.at_workload, MESSAGE, false);
    call.workload.end(call.at_workload, "0");
    call.workload.flush().await;
    call.client_sees(WHOLE).await;
    call.client_sees(trailers("0")).await;
    // RFC 9113, section 8.1: the rest of the request is not needed, and nothing has failed.
    call.client_sees(Seen::Reset(ErrorCode::NO_ERROR)).await;
    let (_, seen) = call.workload.next().await;
    assert!(matches!(seen, Seen::Reset(_)), "{seen:?}");
    // Both connections go on.
    call.again(&[], true).await;
    call.answered().await;
}

#[tokio::test]
async fn a_reset_of_the_workload_is_a_status_with_its_meaning() {
    // gRPC's table from HTTP/2 errors to codes.
    let codes = [
        (ErrorCode::CANCEL, "1"),
        (ErrorCode::INTERNAL_ERROR, "13"),
        (ErrorCode::NO_ERROR, "13"),
        (ErrorCode::ENHANCE_YOUR_CALM, "8"),
        (ErrorCode::INADEQUATE_SECURITY, "7"),
        (ErrorCode::STREAM_CLOSED, "14"),
    ];
    let mut call = Call::begin(&[], true).await;
    for (code, status) in codes {
        call.workload.reset(call.at_workload, code);
        call.workload.flush().await;
        call.client_sees(headers(status, true)).await;
        call.again(&[], true).await;
    }
    for (code, status) in codes {
        call.answered().await;
        call.workload.say(call.at_workload, MESSAGE, false);
        call.workload.reset(call.at_workload, code);
        call.workload.flush().await;
        call.client_sees(WHOLE).await;
        call.client_sees(trailers(status)).await;
        call.again(&[], true).await;
    }
}

#[tokio::test]
async fn a_call_that_the_workload_refuses_unread_is_made_again() {
    let mut call = Call::begin(&[], true).await;
    call.workload
        .reset(call.at_workload, ErrorCode::REFUSED_STREAM);
    call.workload.flush().await;
    let (again, seen) = call.workload.next().await;
    assert_eq!(seen, headers("/test.Wire/Call", true));
    call.at_workload = again;
    call.answered().await;
    call.workload.end(call.at_workload, "0");
    call.workload.flush().await;
    call.client_sees(trailers("0")).await;
}

/// The shortest of some times from `begin`'s instant until the workload sees a reset.
async fn until_cancelled(call: &mut Call, answered: bool, metadata: &[(Name, &str)]) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..TIMES {
        call.again(metadata, !metadata.is_empty()).await;
        if answered {
            call.answered().await;
        }
        let mut ended = Instant::now();
        if metadata.is_empty() {
            call.client.reset(call.stream, ErrorCode::CANCEL);
            call.client.flush().await;
        } else {
            // The deadline is told in the way that the call has been answered.
            let (_, seen) = call.client.next().await;
            assert!(
                [trailers("4"), headers("4", true)].contains(&seen),
                "{seen:?}"
            );
            ended = Instant::now();
        }
        call.workload_sees(Seen::Reset(ErrorCode::CANCEL)).await;
        shortest = shortest.min(ended.elapsed());
    }
    shortest
}

#[tokio::test]
async fn cancellation_reaches_the_workload_at_once() {
    let mut call = Call::begin(&[], false).await;
    for answered in [false, true] {
        let took = until_cancelled(&mut call, answered, &[]).await;
        assert!(took < PROMPT, "{took:?}, answered: {answered}");
    }
}

#[tokio::test]
async fn the_end_of_a_deadline_reaches_the_workload_at_once() {
    let mut call = Call::begin(&[], false).await;
    for answered in [false, true] {
        let timeout = [(Name::GrpcTimeout, "1S")];
        let took = until_cancelled(&mut call, answered, &timeout).await;
        assert!(took < PROMPT, "{took:?}, answered: {answered}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_together_end_nobody_elses_call() {
    let mesh = Mesh::new("exact.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    let mut ticks = client.ticks("forever").await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let calling: Vec<_> = (0..40)
        .map(|_| {
            let (mut client, is_over) = (client.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    client.unary("hello").await.unwrap();
                }
            })
        })
        .collect();
    for have_begun in [false, true].repeat(10) {
        let mut together = Peer::caller(caller.outbound).await;
        // It waits for messages, which do not come.
        together.path = "/test.Echo/Collect";
        let streams: Vec<_> = (0..100).map(|_| together.call(&[], false)).collect();
        if have_begun {
            together.hears_nothing().await;
        }
        for stream in streams {
            together.reset(stream, ErrorCode::CANCEL);
        }
        together.flush().await;
        // It is answered when what came before was carried out.
        together.hears_nothing().await;
        ticks.message().await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for calling in calling {
        calling.await.expect("no call failed");
    }
    ticks.message().await.unwrap();
}

#[tokio::test]
async fn streams_that_last_on_connections_that_go_keep_no_call_out() {
    let mesh = Mesh::new("exact.local");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let server = mesh.sidecar("echo", app, mesh.allowing(&["orders"])).await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = Peer::caller(caller.outbound).await;
    let mut lasting = Vec::new();
    // More than a pool has connections.
    for _ in 0..10 {
        let stream = client.call(&[], true);
        client.flush().await;
        let mut workload = Peer::workload(&listener).await;
        let (at_workload, _) = workload.next().await;
        workload.answer(at_workload, None);
        workload.go_away();
        workload.flush().await;
        assert_eq!(client.next().await, (stream, headers("", false)));
        lasting.push((stream, workload, at_workload));
    }
    for (stream, mut workload, at_workload) in lasting {
        workload.end(at_workload, "0");
        workload.flush().await;
        assert_eq!(client.next().await, (stream, trailers("0")));
    }
}
