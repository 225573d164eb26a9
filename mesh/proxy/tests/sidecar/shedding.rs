//! A workload that gets five times what it can do, behind real sidecars.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tonic::Status;
use tonic_types::StatusExt as _;
use weft_model::dataplane::{AdaptiveConcurrency, Criticality};

use crate::{
    echo::{WORK, WORKERS},
    support::{Client, Mesh, request},
};

/// What comes later is of no use to the caller.
const USEFUL: Duration = Duration::from_secs(1);
/// What comes: of ten calls at five times the capacity, each fills half of what the workload can do.
const MIX: [Criticality; 10] = {
    use Criticality::*;
    [
        CriticalPlus,
        Sheddable,
        SheddablePlus,
        Sheddable,
        Sheddable,
        Critical,
        Sheddable,
        SheddablePlus,
        Sheddable,
        Sheddable,
    ]
};

/// One call and what came of it.
struct Ended {
    criticality: Criticality,
    /// Since the load began.
    sent: Duration,
    result: Result<(), Status>,
}

async fn work(mut client: Client, criticality: Criticality) -> Result<(), Status> {
    let request = request("work", &[("x-weft-criticality", criticality.as_str())]);
    let answer = timeout(USEFUL, client.call("Unary", request)).await;
    let late = || Status::deadline_exceeded("of no use any more");
    answer.map_err(|_| late())?.map(drop)
}

/// Calls per second that come, whatever becomes of those before.
async fn open_loop(client: &Client, per_second: f64, length: Duration) -> Vec<Ended> {
    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(1).div_f64(per_second));
    // A machine that stalls must not make a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    for criticality in MIX.into_iter().cycle() {
        ticks.tick().await;
        let (client, sent) = (client.clone(), began.elapsed());
        if sent >= length {
            break;
        }
        calls.spawn(async move {
            Ended {
                criticality,
                sent,
                result: work(client, criticality).await,
            }
        });
    }
    calls.join_all().await
}

/// The most that comes out: always a few more calls than workers.
async fn peak(client: &Client, length: Duration) -> f64 {
    let (began, end) = (Instant::now(), Instant::now() + length);
    let mut callers = JoinSet::new();
    for _ in 0..2 * WORKERS {
        let client = client.clone();
        callers.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                count += u32::from(
                    work(client.clone(), Criticality::CriticalPlus)
                        .await
                        .is_ok(),
                );
            }
            count
        });
    }
    let count: u32 = callers.join_all().await.iter().sum();
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn share(ended: &[Ended], criticality: Criticality) -> f64 {
    let of_grade = || ended.iter().filter(|call| call.criticality == criticality);
    let passed = of_grade().filter(|call| call.result.is_ok()).count();
    passed as f64 / of_grade().count() as f64
}

/// A call that was shed says so, and when to come back.
fn is_told(call: &Ended) -> bool {
    let Err(status) = &call.result else {
        return true;
    };
    let info = status.get_details_error_info();
    if info.is_none_or(|info| info.reason != "OVERLOADED") {
        return false;
    }
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let millis: i64 = pushback.to_str().unwrap().parse().unwrap();
    match call.criticality {
        Criticality::Sheddable | Criticality::SheddablePlus => millis == -1,
        Criticality::Critical | Criticality::CriticalPlus => millis > 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_five_times_the_capacity_the_most_important_is_done_as_fast_as_ever() {
    let mesh = Mesh::new("shedding.local");
    let (_echo, server) = mesh
        .echo_under(|rules| rules.adaptive_concurrency = Some(AdaptiveConcurrency::default()))
        .await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let client = caller.client().await;
    let peak = peak(&client, Duration::from_secs(2)).await;
    let capacity = WORKERS as f64 / WORK.as_secs_f64();
    assert!(peak > 0.5 * capacity, "{peak} of {capacity}");

    let (first, length) = (Duration::from_secs(2), Duration::from_secs(9));
    let mut ended = open_loop(&client, 5.0 * capacity, length).await;
    ended.retain(|call| call.sent >= first);
    let came = ended.len() as f64 / (length - first).as_secs_f64();
    // A busy machine offers less. Twice the capacity is overload, too.
    assert!(came > 2.0 * capacity, "only {came} calls/s came");
    let passed = ended.iter().filter(|call| call.result.is_ok()).count();
    let goodput = passed as f64 / (length - first).as_secs_f64();
    assert!(goodput > 0.9 * peak, "{goodput} of {peak}");
    let shares = Criticality::ALL.map(|criticality| share(&ended, criticality));
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[0] < 0.05 && shares[3] > 0.9, "{shares:?}");
    let untold = ended.iter().filter(|call| !is_told(call)).count();
    assert!(untold * 100 < ended.len(), "{untold} of {}", ended.len());

    let mut waits = 0;
    let passes = |ended: Vec<Ended>| ended.iter().all(|call| call.result.is_ok());
    while !passes(open_loop(&client, 0.5 * capacity, Duration::from_secs(1)).await) {
        waits += 1;
        assert!(waits < 10, "load is shed ten seconds after the storm");
    }
}
