//! A well-behaved client beside an attack, and the memory of the process attacked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinHandle, time::timeout};

use super::Door;
use crate::{Shop, memory, until};

const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Debug builds on a busy machine.
const ROUNDS_DEADLINE: Duration = Duration::from_secs(20);

/// Calls without a pause, on a connection that lasts and on a new one each time.
#[derive(Debug)]
pub struct Bystander {
    door: Door,
    before: u64,
    most: Arc<AtomicU64>,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    calling: JoinHandle<Result<()>>,
}

impl Bystander {
    /// Begins to call, and returns once it was answered.
    ///
    /// # Errors
    ///
    /// If it is not answered before any attack.
    pub async fn at(door: &Door) -> Result<Self> {
        let mut lasting = door.client().await?;
        door.call(&mut lasting).await?;
        let before = memory::resident(door.pid)?;
        let most = Arc::new(AtomicU64::new(before));
        let rounds = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let calling = {
            let door = door.clone();
            let (most, rounds, stop) = (Arc::clone(&most), Arc::clone(&rounds), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let round = async {
                        door.call(&mut lasting)
                            .await
                            .context("on the lasting connection")?;
                        let mut new = door.client().await.context("connecting anew")?;
                        door.call(&mut new).await.context("on a new connection")
                    };
                    timeout(CALL_DEADLINE, round)
                        .await
                        .context("no answer in time")??;
                    most.fetch_max(memory::resident(door.pid)?, Ordering::Relaxed);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        Ok(Self {
            door: door.clone(),
            before,
            most,
            rounds,
            stop,
            calling,
        })
    }

    /// Waits until it has called `rounds` times more, or has failed.
    ///
    /// # Errors
    ///
    /// If that takes too long.
    pub async fn calls(&self, rounds: u64) -> Result<()> {
        let goal = self.rounds.load(Ordering::Relaxed) + rounds;
        until("the bystander's calls", ROUNDS_DEADLINE, async || {
            let done = self.rounds.load(Ordering::Relaxed) >= goal || self.calling.is_finished();
            Ok(done.then_some(()))
        })
        .await
    }

    /// Ends the calls: each was answered, the process is the same, and it never had `bytes` more than
    /// before.
    ///
    /// # Errors
    ///
    /// Whichever of these does not hold.
    pub async fn unharmed(self, shop: &Shop, bytes: u64) -> Result<()> {
        self.calls(2).await?;
        self.stop.store(true, Ordering::Relaxed);
        let door = &self.door;
        self.calling
            .await?
            .with_context(|| format!("a bystander of {} was harmed", door.process))?;
        ensure!(
            shop.process(door.process)?["pid"].as_u64() == Some(door.pid),
            "{} was started again",
            door.process
        );
        let grown = self
            .most
            .load(Ordering::Relaxed)
            .saturating_sub(self.before);
        ensure!(
            grown < bytes,
            "{} grew by {grown} bytes, from {}",
            door.process,
            self.before
        );
        Ok(())
    }
}
