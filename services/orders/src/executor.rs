//! Runs the sagas of all orders: those just placed, and those that a crash, a drain or an absent peer
//! left unfinished.
//!
//! Whoever runs an order holds its lease, a column with an expiry, so no two tasks or replicas run one
//! order at a time. The saga moves on in the database before the next step is done; a process that
//! dies leaves a lease that ends, and the sweep of any replica finds the order then.

use std::{sync::Arc, time::Duration};

use rand::Rng as _;
use service_kit::{CancellationToken, StoreError, ids, time::now_micros};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::{
    order::Order,
    peers::Peers,
    store::{Lease, Placed, Store},
};

/// How sagas are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long `PlaceOrder` waits for the end of a saga.
    pub answer_within: Duration,
    /// How long a peer may take for an answer. Much shorter than the lease.
    pub call_timeout: Duration,
    /// How long nobody else runs an order after the last sign of life.
    pub lease: Duration,
    /// How often unfinished orders are looked for.
    pub sweep: Duration,
    /// How many sagas run at once.
    pub concurrency: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(3),
            call_timeout: Duration::from_secs(2),
            lease: Duration::from_secs(5),
            sweep: Duration::from_millis(500),
            concurrency: 64,
        }
    }
}

/// Shorter waits are slept through with the lease in hand; longer ones are left to the sweep.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// Watchers that are further behind look into the database.
const CHANGES_BUFFERED: usize = 256;

/// Runs sagas. Cloning gives the same one.
#[derive(Clone)]
pub struct Executor {
    store: Store,
    peers: Peers,
    settings: Arc<Settings>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    changes: broadcast::Sender<Arc<str>>,
    drain: CancellationToken,
}

impl Executor {
    /// An executor that begins nothing new once `drain` is cancelled.
    pub fn new(store: Store, peers: Peers, settings: Settings, drain: CancellationToken) -> Self {
        Self {
            store,
            peers,
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            settings: Arc::new(settings),
            tasks: TaskTracker::new(),
            changes: broadcast::channel(CHANGES_BUFFERED).0,
            drain,
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of orders that this process has changed, from now on. Other replicas' changes are only
    /// in the database.
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Writes a new order down and begins its saga in the background, whatever becomes of the caller.
    /// When too many run already, the sweep begins it.
    ///
    /// # Errors
    ///
    /// If the store does not answer; whether the order is there is unknown then.
    pub async fn place(&self, order: &Order) -> Result<Placed, StoreError> {
        // The drain token is looked at before the permit: a task begun now is waited for.
        let permit = if self.drain.is_cancelled() {
            None
        } else {
            Arc::clone(&self.permits).try_acquire_owned().ok()
        };
        let lease = self.new_lease();
        let leased = permit.as_ref().map(|_| &lease);
        let placed = self.store.place(order, leased).await?;
        if let (Placed::New, Some(permit)) = (&placed, permit) {
            let run = self.clone().run(order.clone(), lease, permit);
            self.tasks.spawn(run);
        }
        Ok(placed)
    }

    /// Takes up unfinished orders until the service drains; ends when the steps that were begun have
    /// ended.
    ///
    /// # Errors
    ///
    /// Never: what the store refuses now is tried again at the next sweep.
    pub async fn sweep(self) -> anyhow::Result<()> {
        let mut interval = tokio::time::interval(self.settings.sweep);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.drain.cancelled() => break,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.take_up().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "sweep failed");
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }

    async fn take_up(&self) -> Result<(), StoreError> {
        let free = i64::try_from(self.permits.available_permits()).unwrap_or(i64::MAX);
        if free == 0 {
            return Ok(());
        }
        for id in self.store.due(free).await? {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                break;
            };
            let executor = self.clone();
            self.tasks.spawn(async move {
                let lease = executor.new_lease();
                match executor.store.lease(&id, &lease).await {
                    Ok(Some(order)) => executor.run(order, lease, permit).await,
                    Ok(None) => {}
                    Err(error) => log_store(&id, &error),
                }
            });
        }
        Ok(())
    }

    fn new_lease(&self) -> Lease {
        Lease {
            owner: ids::new_secret(),
            length: self.settings.lease,
        }
    }

    /// Runs a leased order as far as it goes now, in the trace of the call that placed it.
    async fn run(self, order: Order, lease: Lease, permit: OwnedSemaphorePermit) {
        let span = tracing::info_span!("order saga", order = %order.id);
        weft_runtime::trace::resume(&order.traceparent, &span);
        let id = order.id.clone();
        async {
            if let Err(error) = self.steps(order, &lease).await {
                // The lease ends by itself; the sweep takes the order up again.
                log_store(&id, &error);
            }
        }
        .instrument(span)
        .await;
        drop(permit);
    }

    async fn steps(&self, mut order: Order, lease: &Lease) -> Result<(), StoreError> {
        loop {
            if self.drain.is_cancelled() {
                return self.store.release(&order.id, lease).await;
            }
            let outcome = self.peers.perform(&order).await;
            let now = now_micros();
            let change = order.saga.after(outcome, now);
            let wait = change.wait.map(jittered);
            let next = order.moved(change.saga, now);
            let keep = wait.is_some_and(|wait| wait <= SHORT_WAIT);
            if !self.store.advance(&order, &next, lease, wait, keep).await? {
                tracing::warn!(order = %order.id, "the lease was taken over");
                return Ok(());
            }
            if next.saga.state != order.saga.state {
                tracing::info!(state = ?next.saga.state, reason = ?next.saga.rejection, "order moved");
                // Nobody may be watching.
                let _ = self.changes.send(next.id.as_str().into());
            }
            order = next;
            let Some(wait) = wait.filter(|_| keep) else {
                return Ok(());
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.drain.cancelled() => {}
            }
        }
    }
}

/// A fifth more or less, so that orders that failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.8..1.2))
}

fn log_store(id: &str, error: &StoreError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(order = id, error, "saga stops here for now");
}
