//! The client: loads an address in one of the [shapes](crate::shapes) and counts what comes back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::timeout,
};

use crate::{
    call::{call, connect, framed},
    shapes::{Pace, Shape},
};

/// After this a call counts as lost.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// More open calls than this at a fixed rate, and further ones are left out and counted as errors.
const MAX_OPEN: usize = 1_000;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Load before the measurement: connections, caches.
    pub warm_up: Duration,
    /// The measurement.
    pub duration: Duration,
    /// It ends earlier after this many calls.
    pub calls: u64,
}

/// What the client saw between the two readings.
#[derive(Debug)]
pub struct Seen {
    /// Calls that ended well.
    pub calls: u64,
    /// Calls that did not, in the warm-up too.
    pub errors: u64,
    /// The first such error.
    pub first_error: Option<String>,
    /// Until the last call ended.
    pub elapsed: Duration,
    /// How long each call took, microseconds, sorted. At a fixed rate since it was due.
    pub latencies: Vec<u32>,
}

/// Loads `address` and takes a reading before the measurement and after it. Both times no call is under
/// way: whatever a proxy did in between, it did for the calls that are counted.
///
/// # Errors
///
/// If it cannot be connected to, or a reading fails.
pub async fn load<T>(
    address: SocketAddr,
    shape: Shape,
    bounds: Bounds,
    mut reading: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(Seen, T, T)> {
    let mut connections = Vec::with_capacity(shape.connections);
    for _ in 0..shape.connections {
        connections.push(connect(address).await?);
    }
    let message = framed(shape.payload);
    // Some proxies open an upstream connection for each call that is under way: here.
    let warm_up = phase(&connections, shape, &message, bounds.warm_up, bounds.calls).await?;
    let before = reading()?;
    let mut seen = phase(&connections, shape, &message, bounds.duration, bounds.calls).await?;
    let after = reading()?;
    seen.errors += warm_up.errors;
    seen.first_error = warm_up.first_error.or(seen.first_error);
    Ok((seen, before, after))
}

/// Begins calls for a time, or until there were enough, and waits for the last to end.
async fn phase(
    connections: &[SendRequest<Bytes>],
    shape: Shape,
    message: &Bytes,
    duration: Duration,
    calls: u64,
) -> anyhow::Result<Seen> {
    let tally = Arc::new(Tally {
        limit: calls,
        ..Tally::default()
    });
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    match shape.pace {
        Pace::Streams(streams) => {
            for connection in connections {
                for _ in 0..streams {
                    let (connection, message) = (connection.clone(), message.clone());
                    tasks.spawn(closed_loop(connection, message, tally.clone()));
                }
            }
        }
        Pace::Rate(rate) => {
            let (connections, message) = (connections.to_vec(), message.clone());
            tasks.spawn(open_loop(connections, message, rate, tally.clone()));
        }
    }
    let _ = timeout(duration, tally.full.notified()).await;
    tally.over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(task) = tasks.join_next().await {
        latencies.extend(task?);
    }
    latencies.sort_unstable();
    let first_error = tally.first_error.lock().ok();
    Ok(Seen {
        calls: latencies.len() as u64,
        errors: tally.errors.load(Ordering::Relaxed),
        first_error: first_error.and_then(|error| error.clone()),
        elapsed: started.elapsed(),
        latencies,
    })
}

#[derive(Debug, Default)]
struct Tally {
    limit: u64,
    ended: AtomicU64,
    errors: AtomicU64,
    first_error: std::sync::Mutex<Option<String>>,
    over: AtomicBool,
    full: Notify,
}

impl Tally {
    /// Counts one call; returns its latency if it ended well.
    fn count(&self, since: Instant, result: anyhow::Result<()>) -> Option<u32> {
        if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.limit {
            self.full.notify_one();
        }
        let Err(error) = result else {
            return Some(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert_with(|| format!("{error:#}"));
        }
        None
    }
}

async fn closed_loop(
    connection: SendRequest<Bytes>,
    message: Bytes,
    tally: Arc<Tally>,
) -> Vec<u32> {
    let mut latencies = Vec::new();
    while !tally.over.load(Ordering::Relaxed) {
        let since = Instant::now();
        let result = bounded(connection.clone(), &message).await;
        let failed = result.is_err();
        latencies.extend(tally.count(since, result));
        if failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    latencies
}

/// A thread keeps the pace: the runtime's timer is too coarse, and calls in bursts of three would
/// measure the burst.
async fn open_loop(
    connections: Vec<SendRequest<Bytes>>,
    message: Bytes,
    rate: u32,
    tally: Arc<Tally>,
) -> Vec<u32> {
    let (sender, mut due) = mpsc::channel(MAX_OPEN);
    let pacer = tally.clone();
    let thread = std::thread::spawn(move || {
        let started = Instant::now();
        for number in 0_u32.. {
            let instant = started + Duration::from_secs(1) * number / rate;
            std::thread::sleep(instant.saturating_duration_since(Instant::now()));
            if pacer.over.load(Ordering::Relaxed) || sender.blocking_send(instant).is_err() {
                return;
            }
        }
    });
    let mut calls: JoinSet<Option<u32>> = JoinSet::new();
    let mut latencies = Vec::new();
    let mut turn = connections.iter().cycle();
    while let Some(since) = due.recv().await {
        while let Some(done) = calls.try_join_next() {
            latencies.extend(done.ok().flatten());
        }
        let Some(connection) = turn.next().cloned() else {
            break;
        };
        if calls.len() >= MAX_OPEN {
            tally.count(since, Err(anyhow::anyhow!("{MAX_OPEN} calls are open")));
            continue;
        }
        let (message, tally) = (message.clone(), tally.clone());
        calls.spawn(async move {
            let result = bounded(connection, &message).await;
            tally.count(since, result)
        });
    }
    while let Some(done) = calls.join_next().await {
        latencies.extend(done.ok().flatten());
    }
    // It ended before the channel closed.
    let _ = thread.join();
    latencies
}

async fn bounded(connection: SendRequest<Bytes>, message: &Bytes) -> anyhow::Result<()> {
    match timeout(CALL_LIMIT, call(connection, message)).await {
        Ok(result) => result,
        Err(_) => bail!("no answer within {} s", CALL_LIMIT.as_secs()),
    }
}
