//! What the control plane does, well or badly, fails no call.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use e2e::until;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    workload::{Client, Message},
    world::{LONG, World, mesh},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Callers that call without a pause, on a connection each.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    /// Every configuration that a call met.
    met: Arc<Mutex<BTreeSet<String>>>,
    calling: Vec<JoinHandle<()>>,
}

impl Load {
    async fn on(world: &World) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            met: Arc::default(),
            calling: Vec::new(),
        };
        for _ in 0..4 {
            let client = world.client().await;
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            let met = Arc::clone(&load.met);
            load.calling.push(tokio::spawn(async move {
                let mut client = client;
                while !stop.load(Ordering::Relaxed) {
                    let mark = call(&mut client).await;
                    met.lock().unwrap().insert(mark);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        load.goes_on(50).await;
        load
    }

    /// Waits until `calls` more were answered.
    async fn goes_on(&self, calls: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + calls;
        until("calls are answered", LONG, async || {
            let is_over = self.calling.iter().any(JoinHandle::is_finished);
            Ok((is_over || self.answered.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
        .unwrap();
    }

    /// No call has failed.
    async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for calling in self.calling {
            calling.await.expect("no call failed");
        }
        self.met.lock().unwrap().clone()
    }
}

/// Makes a call and returns which configuration it met: the same one in all its parts.
async fn call(client: &mut Client) -> String {
    let reply = client.echo("hello".into()).await.unwrap();
    let back = reply
        .metadata()
        .get("x-mark")
        .map(|mark| mark.to_str().unwrap().to_owned());
    let there = reply.into_inner().marks;
    let back = back.unwrap_or_default();
    let twice = if back.is_empty() {
        String::new()
    } else {
        format!("{back} {back}")
    };
    assert_eq!(
        there, twice,
        "the request met one configuration, the answer another"
    );
    back
}

/// A conversation that lasts.
struct Conversation {
    say: mpsc::Sender<Message>,
    replies: Streaming<Message>,
}

impl Conversation {
    async fn with(client: &mut Client) -> Self {
        let (say, said) = mpsc::channel(1);
        say.send(Message::default()).await.unwrap();
        let mut replies = client.converse(ReceiverStream::new(said)).await.unwrap();
        replies.next().await.unwrap().unwrap();
        Self { say, replies }
    }

    async fn goes_on(&mut self) {
        self.say.send(Message::default()).await.unwrap();
        self.replies.message().await.unwrap().expect("it goes on");
    }

    async fn end(self) {
        let Self { say, mut replies } = self;
        drop(say);
        assert_eq!(replies.message().await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_seconds_rotate_under_load_and_long_streams_live_on() {
    const ROTATIONS: usize = 4;
    let world = World::start(Duration::from_secs(5)).await;
    let load = Load::on(&world).await;
    let mut client = world.client().await;
    let mut conversations = Vec::new();
    let renewed = |name| world.log(name).matches("certificate renewed").count();
    for rotation in 0..=ROTATIONS {
        until("certificates are renewed", LONG, async || {
            Ok((renewed("caller").min(renewed("server")) >= rotation).then_some(()))
        })
        .await
        .unwrap();
        // More than a pool has connections, each perhaps on a connection that was told to go.
        for _ in 0..2 {
            conversations.push(Conversation::with(&mut client).await);
        }
        for conversation in &mut conversations {
            conversation.goes_on().await;
        }
        load.goes_on(20).await;
    }
    // Each keeps the connection that it began on: they were made with several certificates.
    let connections = world.server.gauge("weft_downstream_connections", "inbound");
    let connections = connections.await;
    assert!(connections > 2.0, "{connections}");
    for conversation in conversations {
        conversation.end().await;
    }
    load.end().await;
}

/// Routes that leave `mark` twice on requests and once on answers.
fn marked(mark: &str) -> Value {
    let marked = |name: &str, times: usize| vec![json!({"name": name, "value": mark}); times];
    mesh(json!([{
        "parentRefs": [{"name": "server"}],
        "rules": [{"filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": marked("x-marks", 2)}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": marked("x-mark", 1)}},
        ]}],
    }]))
}

/// Writes a mesh file that leaves `mark`, and waits until calls meet it.
async fn configure(world: &World, mark: &str) {
    world.write(&marked(mark).to_string());
    meets(world, mark).await;
}

async fn meets(world: &World, mark: &str) {
    let mut client = world.client().await;
    until(mark, LONG, async || {
        Ok((call(&mut client).await == mark).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_meets_one_configuration_and_a_bad_one_never() {
    let world = World::start(HOUR).await;
    let load = Load::on(&world).await;
    for mark in ["one", "two", "three"] {
        configure(&world, mark).await;
    }
    let bad = marked("bad").to_string().replace("\"60s\"", "\"60 s\"");
    world.write(&bad);
    until("the bad file is refused", LONG, async || {
        let log = world.log("control");
        let refused = log.lines().find(|line| line.contains("mesh file refused"));
        Ok(refused
            .filter(|line| line.contains("timeout") && line.contains("60 s"))
            .map(|_| ()))
    })
    .await
    .unwrap();
    load.goes_on(50).await;
    meets(&world, "three").await;
    configure(&world, "four").await;
    let met = load.end().await;
    let expected = ["", "four", "one", "three", "two"].map(str::to_owned);
    assert_eq!(met, BTreeSet::from(expected));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_control_plane_calls_go_on_also_after_a_cold_start() {
    let mut world = World::start(HOUR).await;
    configure(&world, "last").await;
    let mut load = Load::on(&world).await;
    // The disk gets the configuration a moment after the calls do.
    for name in ["caller", "server"] {
        world.saved(name, "last").await;
    }
    // First it hangs, then it is gone.
    for (name, signal) in [("caller", "STOP"), ("server", "KILL")] {
        world.control.signal(signal);
        load.goes_on(200).await;
        assert_eq!(load.end().await, BTreeSet::from(["last".to_owned()]));
        world.start_cold(name).await;
        meets(&world, "last").await;
        let kept = "going on with the last certificate";
        assert!(world.log(name).contains(kept), "{name}");
        load = Load::on(&world).await;
    }
    world.start_control().await;
    configure(&world, "new").await;
    load.end().await;
}
