//! Events from one service's outbox into another's database.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contracts::weft::events::v1::{StreamEventsRequest, event_service_client::EventServiceClient};
use prost_types::Timestamp;
use service_kit::{
    CancellationToken, Db, Server, Tx, Upstream,
    db::Migrator,
    events::{Consumer, Event, Handler, parked},
    outbox, params, testing,
};

static MIGRATIONS: Migrator = sqlx::migrate!("tests/migrations");

/// Counts events by key; fails for `poison` always and for `shaky` while told to.
struct Counting {
    shaky: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Handler for Counting {
    async fn handle(&self, tx: &mut Tx, event: &Event) -> anyhow::Result<()> {
        let sql = "INSERT INTO counters (name, value, open) VALUES ($1, 1, $2) \
                   ON CONFLICT (name) DO UPDATE SET value = counters.value + 1";
        tx.execute(sql, params![&event.key, true]).await?;
        anyhow::ensure!(event.key != "poison", "cannot be dealt with");
        anyhow::ensure!(
            event.key != "shaky" || !self.shaky.load(Ordering::SeqCst),
            "not now"
        );
        Ok(())
    }
}

async fn append(db: &Db, keys: &[&str]) {
    for key in keys {
        let mut tx = db.begin().await.unwrap();
        let event_type = "google.protobuf.Timestamp";
        outbox::append(&mut tx, event_type, key, &Timestamp::default())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

async fn counts(db: &Db) -> Vec<(String, i64)> {
    db.fetch_all("SELECT name, value FROM counters ORDER BY name", params![])
        .await
        .unwrap()
}

async fn eventually(db: &Db, expected: &[(&str, i64)]) {
    for _ in 0..1200 {
        let counts = counts(db).await;
        if counts
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .eq(expected.iter().copied())
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?} is not {expected:?}", counts(db).await);
}

fn consume(upstream: &Upstream, db: &Db, shaky: bool) -> (CancellationToken, Arc<AtomicBool>) {
    let (token, shaky) = (CancellationToken::new(), Arc::new(AtomicBool::new(shaky)));
    let consumer = Consumer::new("test", "source", upstream.clone(), db.clone()).tries(3);
    tokio::spawn(consumer.run(
        Counting {
            shaky: Arc::clone(&shaky),
        },
        token.clone(),
    ));
    (token, shaky)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_its_effect_once() {
    let sources = testing::databases("source", &MIGRATIONS).await;
    let sinks = testing::databases("sink", &MIGRATIONS).await;
    for (source, sink) in sources.iter().zip(&sinks) {
        append(source, &["a", "b"]).await;
        let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
        let running =
            testing::spawn(|l, t| Server::new(reopened.clone()).with_events().serve(l, t)).await;
        // Two consumers of one name: two replicas.
        let (first, _) = consume(&running.upstream(), sink, false);
        let (second, _) = consume(&running.upstream(), sink, false);
        eventually(sink, &[("a", 1), ("b", 1)]).await;
        // Once by another process, which the poll sees, once by the server's own.
        append(source, &["a", "c"]).await;
        append(&reopened, &["b"]).await;
        eventually(sink, &[("a", 2), ("b", 2), ("c", 1)]).await;
        first.cancel();
        second.cancel();
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_parked_and_others_go_on() {
    let sources = testing::databases("source", &MIGRATIONS).await;
    let sinks = testing::databases("sink", &MIGRATIONS).await;
    for (source, sink) in sources.iter().zip(&sinks) {
        append(source, &["a", "poison", "b"]).await;
        let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
        let running = testing::spawn(|l, t| Server::new(reopened).with_events().serve(l, t)).await;
        let (token, _) = consume(&running.upstream(), sink, false);
        eventually(sink, &[("a", 1), ("b", 1)]).await;
        let parked = parked(sink).await.unwrap();
        assert_eq!(parked.len(), 1);
        assert_eq!(
            (parked[0].sequence, parked[0].event_key.as_str()),
            (2, "poison")
        );
        assert_eq!(parked[0].error, "cannot be dealt with");
        token.cancel();
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_event_is_dealt_with_when_an_operator_says_so() {
    let sources = testing::databases("source", &MIGRATIONS).await;
    let sinks = testing::databases("sink", &MIGRATIONS).await;
    for (source, sink) in sources.iter().zip(&sinks) {
        append(source, &["shaky", "poison", "a"]).await;
        let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
        let running = testing::spawn(|l, t| Server::new(reopened).with_events().serve(l, t)).await;
        let (token, shaky) = consume(&running.upstream(), sink, true);
        eventually(sink, &[("a", 1)]).await;
        assert_eq!(parked(sink).await.unwrap().len(), 2);

        shaky.store(false, Ordering::SeqCst);
        let replay = "UPDATE kit_parked_event SET replay = TRUE, error = 'marked'";
        sink.execute(replay, params![]).await.unwrap();
        eventually(sink, &[("a", 1), ("shaky", 1)]).await;
        for _ in 0..1200 {
            if parked(sink).await.unwrap()[0].error == "cannot be dealt with" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let left = parked(sink).await.unwrap();
        let left: Vec<_> = left
            .iter()
            .map(|parked| (parked.event_key.as_str(), parked.error.as_str()))
            .collect();
        assert_eq!(left, [("poison", "cannot be dealt with")]);
        token.cancel();
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_are_forgotten_and_nobody_skips_them_unknowingly() {
    for source in testing::databases("source", &MIGRATIONS).await {
        append(&source, &["a", "b", "c", "d"]).await;
        let older = "UPDATE kit_outbox SET created_at = 1 WHERE sequence <> 3";
        source.execute(older, params![]).await.unwrap();
        assert_eq!(outbox::forget_old(&source).await.unwrap(), 2);
        assert_eq!(outbox::forget_old(&source).await.unwrap(), 0);

        let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
        let running = testing::spawn(|l, t| Server::new(reopened).with_events().serve(l, t)).await;
        let mut client = EventServiceClient::new(running.upstream());
        let mut first = async |after_sequence, types: &[&str]| {
            let types = types.iter().map(|&name| name.to_owned()).collect();
            let request = StreamEventsRequest {
                after_sequence,
                types,
            };
            let mut stream = client.stream_events(request).await?.into_inner();
            let event = stream.message().await?.and_then(|response| response.event);
            Ok::<_, tonic::Status>(event.map(|event| event.sequence))
        };
        // A new consumer begins with what is there; one that has read all that was forgotten goes on.
        assert_eq!(first(0, &[]).await.unwrap(), Some(3));
        assert_eq!(first(2, &[]).await.unwrap(), Some(3));
        let missed = first(1, &["google.protobuf.Timestamp"]).await.unwrap_err();
        assert_eq!(missed.code(), tonic::Code::OutOfRange);
        assert_eq!(
            service_kit::status::reason(&missed).as_deref(),
            Some("EVENTS_FORGOTTEN")
        );
        // Nothing of another type was forgotten.
        let mut tx = source.begin().await.unwrap();
        outbox::append(&mut tx, "other.Type", "e", &Timestamp::default())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(first(1, &["other.Type"]).await.unwrap(), Some(5));
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_goes_on_after_failures_and_restarts() {
    let sources = testing::databases("source", &MIGRATIONS).await;
    let sinks = testing::databases("sink", &MIGRATIONS).await;
    let (source, sink) = (&sources[0], &sinks[0]);
    let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
    let running = testing::spawn(|l, t| Server::new(reopened).with_events().serve(l, t)).await;
    let address = running.address();
    let (token, shaky) = consume(&running.upstream(), sink, true);
    append(source, &["a", "shaky"]).await;
    eventually(sink, &[("a", 1)]).await;
    shaky.store(false, Ordering::SeqCst);
    eventually(sink, &[("a", 1), ("shaky", 1)]).await;

    running.stop().await.unwrap();
    append(source, &["b"]).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
    let again = CancellationToken::new();
    let serving = tokio::spawn(
        Server::new(reopened)
            .with_events()
            .serve(listener, again.clone()),
    );
    eventually(sink, &[("a", 1), ("b", 1), ("shaky", 1)]).await;
    token.cancel();
    again.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn stream_filters_by_type_and_refuses_the_future() {
    let source = testing::databases("source", &MIGRATIONS).await.remove(0);
    append(&source, &["a"]).await;
    let mut tx = source.begin().await.unwrap();
    outbox::append(&mut tx, "other.Type", "b", &Timestamp::default())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let reopened = Db::open(source.url(), &MIGRATIONS).await.unwrap();
    let running = testing::spawn(|l, t| Server::new(reopened).with_events().serve(l, t)).await;
    let mut client = EventServiceClient::new(running.upstream());

    let request = StreamEventsRequest {
        after_sequence: 0,
        types: vec!["other.Type".into()],
    };
    let mut stream = client.stream_events(request).await.unwrap().into_inner();
    let event = stream.message().await.unwrap().unwrap().event.unwrap();
    assert_eq!((event.sequence, event.key.as_str()), (2, "b"));
    assert_eq!(
        event.payload.unwrap().type_url,
        "type.googleapis.com/other.Type"
    );

    let request = StreamEventsRequest {
        after_sequence: 9,
        types: vec![],
    };
    let refused = client.stream_events(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    let request = StreamEventsRequest {
        after_sequence: -1,
        types: vec![],
    };
    let refused = client.stream_events(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    // The open stream does not hold up the drain.
    let started = std::time::Instant::now();
    running.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        stream.message().await.unwrap_err().code(),
        tonic::Code::Unavailable
    );
}
