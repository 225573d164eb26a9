//! Replicas and their sidecars are replaced one after the other; no caller notices. The caller's own sidecar
//! stays: who calls it has one connection, and no other to go to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use e2e::{Shop, attacks::Door, until};
use serde_json::json;

/// Load goes on until this many calls were answered, and all restarts are done.
const CALLS: u64 = 20_000;
const WORKERS: usize = 8;
const RESTART_DEADLINE: Duration = Duration::from_secs(30);

/// Every replica of the service that is called and every sidecar on the way, in the order of a rollout.
const PROCESSES: [&str; 4] = [
    "catalogue-1-sidecar",
    "catalogue-1",
    "catalogue-2-sidecar",
    "catalogue-2",
];

/// Asks a process to end as an orchestrator does, and waits until its successor serves.
async fn restart(shop: &Shop, name: &str) -> anyhow::Result<()> {
    let before = shop.signal(name, "TERM").await?;
    until(name, RESTART_DEADLINE, async || {
        let process = shop.process(name)?;
        let is_back = process["pid"] != json!(before) && process["ready"] == json!(true);
        Ok(is_back.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rollout_of_a_service_under_load_fails_no_call() {
    let shop = Shop::start(&[]).await.unwrap();
    // The client retries nothing. What is unsent, or sent to nobody, the mesh sends again.
    let door = Door::outbound(&shop).unwrap();
    let (answered, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    let load = (0..WORKERS).map(|_| {
        let (door, answered, is_done) = (&door, &answered, &is_done);
        async move {
            let mut failed = Vec::new();
            let mut client = door.client().await.unwrap();
            while !is_done.load(Ordering::Relaxed) || answered.load(Ordering::Relaxed) < CALLS {
                match door.call(&mut client).await {
                    Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                    Err(error) => failed.push(format!("{error:#}")),
                }
                if failed.len() > 10 {
                    break;
                }
            }
            failed
        }
    });
    let rollout = async {
        for name in PROCESSES {
            restart(&shop, name).await.unwrap();
            let calls = answered.load(Ordering::Relaxed);
            println!("{name} is back at {calls} calls");
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let (failed, ()) = tokio::join!(futures::future::join_all(load), rollout);
    assert_eq!(failed.concat(), Vec::<String>::new());
    assert!(answered.into_inner() >= CALLS);
}
