//! Every service and every sidecar is replaced, one process after the other; no caller notices.
//!
//! Whoever calls has one connection and no other to go to, so what it talks to stays: the edge, or a sidecar. An
//! application and its sidecar are restarted one at a time. What the application calls to answer others does not
//! fail when its own sidecar goes: that lets no more calls in, and waits for their ends, before it lets none out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::Context as _;
use e2e::{Shop, attacks::Door, http::send, shop::root, shopper::Shopper, until};
use http::Method;
use serde_json::{Value, json};

const ROUNDS: u64 = 2;
const WORKERS: u64 = 8;
const RESTART_DEADLINE: Duration = Duration::from_secs(30);
const CALLS_DEADLINE: Duration = Duration::from_secs(60);
const MOST_FAILURES: usize = 5;

// One after the other: each would take the other's processor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh_file(folder.path());
    let env = [("WEFT_MESH", mesh.to_str().unwrap())];
    let shop = Shop::start(&env).await.unwrap();
    of_all_services_and_sidecars(&shop).await;
    of_a_service_called_through_a_sidecar(&shop).await;
}

async fn of_all_services_and_sidecars(shop: &Shop) {
    let names = replicas_and_sidecars(shop, "");
    assert_eq!(names.len(), 28, "seven services: {names:?}");
    let customer = shop.customer().await.unwrap();
    let mut shoppers = Vec::new();
    for seed in 0..WORKERS {
        let variant = shop.variant(seed as usize, 150).await.unwrap();
        let shopper = Shopper::enter(shop, customer.clone(), variant).await;
        shoppers.push(shopper.unwrap());
    }
    let call = async |shopper: &mut Shopper, n| shopper.call(n).await;
    roll((shop, &names), 20_000, shoppers, call).await;
}

async fn of_a_service_called_through_a_sidecar(shop: &Shop) {
    let names = replicas_and_sidecars(shop, "catalogue");
    assert_eq!(names.len(), 4, "{names:?}");
    let door = Door::outbound(shop).unwrap();
    let mut clients = Vec::new();
    for _ in 0..WORKERS {
        clients.push(door.client().await.unwrap());
    }
    roll((shop, &names), 5_000, clients, async |client, _| {
        door.call(client).await
    })
    .await;
}

/// Restarts one process after the other, twice, while every caller calls all the time and repeats nothing. Each
/// restart gets its share of the calls that are wanted.
async fn roll<C>(
    (shop, names): (&Shop, &[String]),
    wanted: u64,
    callers: Vec<C>,
    call: impl AsyncFn(&mut C, u64) -> anyhow::Result<()>,
) {
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (calls, is_over) = (|| answered.load(Ordering::Relaxed), &is_over);
    let load = callers.into_iter().zip(0..);
    let load = load.map(async |(mut caller, seed)| {
        let mut failed = Vec::new();
        // Callers do not make the same call at the same time.
        let mut numbers = seed * 1_000..;
        while !is_over.load(Ordering::Relaxed)
            && let Some(n) = numbers.next()
        {
            match call(&mut caller, n).await {
                Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
                    failed.push(format!("call {n} at {since:?}: {error:#}"));
                }
            }
            is_over.fetch_or(failed.len() == MOST_FAILURES, Ordering::Relaxed);
        }
        failed
    });
    let restarts = async {
        let total = ROUNDS * names.len() as u64;
        for (name, restarted) in names.iter().cycle().zip(1..=total) {
            restart(shop, name).await.unwrap();
            until("calls are answered", CALLS_DEADLINE, async || {
                let is_enough = calls() >= wanted * restarted / total;
                Ok((is_enough || is_over.load(Ordering::Relaxed)).then_some(()))
            })
            .await
            .unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        total
    };
    let began = Instant::now();
    let (failed, restarts) = tokio::join!(futures::future::join_all(load), restarts);
    let (failed, took) = (failed.concat(), began.elapsed());
    println!("{} calls and {restarts} restarts in {took:.0?}", calls());
    assert!(failed.is_empty(), "{failed:#?}\n{}", what_happened(shop));
    assert!(calls() >= wanted);
}

/// Asks a process to end as an orchestrator does, and waits until its successor is ready and what stands beside
/// it is, too: others can call a workload when all of it is ready.
async fn restart(shop: &Shop, name: &str) -> anyhow::Result<()> {
    let app = name.trim_end_matches("-sidecar");
    let pair = [app.to_owned(), format!("{app}-sidecar")];
    let before = shop.signal(name, "TERM").await?;
    until(name, RESTART_DEADLINE, async || {
        if shop.process(name)?["pid"] == json!(before) {
            return Ok(None);
        }
        for name in &pair {
            if !is_ready(&shop.process(name)?).await? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

async fn is_ready(process: &Value) -> anyhow::Result<bool> {
    let admin = process["ports"]["admin"]
        .as_str()
        .context("no admin port")?;
    let asked = send(admin.parse()?, Method::GET, "/readyz", None, None, "");
    Ok(asked.await.is_ok_and(|reply| reply.status == 200))
}

/// The processes of the services whose names begin like this, in the order in which they are replaced.
fn replicas_and_sidecars(shop: &Shop, service: &str) -> Vec<String> {
    let state = shop.state();
    let names = state["processes"].as_array().into_iter().flatten();
    let names = names.filter_map(|process| process["name"].as_str());
    names
        .filter(|name| name.starts_with(service) && name.contains('-'))
        .map(str::to_owned)
        .collect()
}

/// What the logs say of the registry, and of what went wrong.
fn what_happened(shop: &Shop) -> String {
    let state = shop.state();
    let names = state["processes"].as_array().into_iter().flatten();
    let logs = names.filter_map(|process| Some(shop.log(process["name"].as_str()?)));
    let telling = ["\"WARN\"", "\"ERROR\"", "registered", "draining", "drained"];
    let mut lines: Vec<String> = logs
        .flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| telling.iter().any(|word| line.contains(word)))
        .collect();
    // Each begins with its time.
    lines.sort_unstable();
    lines.join("\n")
}

/// The shop with two replicas of each service, and without the retries of its mesh file: what the mesh sends
/// again then has reached nobody. Deadlines are long and no load is shed: a busy machine is not the question.
fn mesh_file(folder: &Path) -> PathBuf {
    let mesh = std::fs::read_to_string(root().join("mesh/mesh.yaml")).unwrap();
    let pages = format!("pages: {}", root().join("services/storefront").display());
    let mesh = mesh.replace("pages: ../services/storefront", &pages);
    let mesh = ["2s", "5s", "10s"].iter().fold(mesh, |mesh, timeout| {
        mesh.replace(&format!("timeout: {timeout}"), "timeout: 60s")
    });
    let unwanted = ["retryPolicy:", "adaptiveConcurrency:"];
    let lines = mesh.lines();
    let lines = lines.filter(|line| !unwanted.iter().any(|key| line.contains(key)));
    let lines = lines.map(|line| match line.trim() {
        "cargo: accounts" => format!("{line}\n      replicas: 2"),
        run if run.starts_with("run: { cargo:") && !run.contains("replicas:") => {
            line.replace(" }", ", replicas: 2 }")
        }
        _ => line.to_owned(),
    });
    let file = folder.join("mesh.yaml");
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    file
}
