//! Asks the workload whether it serves, through `grpc.health.v1`.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tracing::{info, warn};

/// Between checks, once the workload has served. One that says it goes still takes calls for a moment, 500 ms
/// for our own: callers should have been told by then.
const INTERVAL: Duration = Duration::from_millis(250);
/// Between checks before: a start should not wait for the next full second.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// A workload that is only slow stays registered until it has been slow this often in a row.
const TIMEOUTS_UNTIL_DOWN: u32 = 3;

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Serving,
    NotServing(&'static str),
    TimedOut,
}

/// Checks until `serving` has no receiver any more. A workload without a health service counts as
/// serving while it answers at all.
pub(crate) async fn watch_workload(app: SocketAddr, serving: watch::Sender<bool>) {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{app}")) else {
        return;
    };
    let channel = endpoint
        .connect_timeout(CHECK_TIMEOUT)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(64 * 1024)
        .buffer_size(8)
        .connect_lazy();
    let mut client = HealthClient::new(channel);
    let mut has_served = false;
    let mut timeouts = 0;
    while !serving.is_closed() {
        let check = check(&mut client).await;
        timeouts = if check == Check::TimedOut {
            timeouts + 1
        } else {
            0
        };
        let now = match check {
            Check::Serving => true,
            Check::NotServing(_) => false,
            Check::TimedOut => *serving.borrow() && timeouts < TIMEOUTS_UNTIL_DOWN,
        };
        let changed = serving.send_if_modified(|before| std::mem::replace(before, now) != now);
        match (changed, check) {
            (true, Check::Serving) => info!(%app, "workload serves"),
            (true, Check::NotServing(why)) => warn!(%app, why, "workload does not serve"),
            (true, Check::TimedOut) => warn!(%app, why = "timed out", "workload does not serve"),
            (false, _) => {}
        }
        has_served |= now;
        // A workload that went away comes back soon, more often than not.
        sleep(if now || (has_served && timeouts > 0) {
            INTERVAL
        } else {
            FIRST_INTERVAL
        })
        .await;
    }
}

async fn check(client: &mut HealthClient<tonic::transport::Channel>) -> Check {
    let request = HealthCheckRequest::default();
    match timeout(CHECK_TIMEOUT, client.check(request)).await {
        Err(_) => Check::TimedOut,
        Ok(Ok(response)) => match response.into_inner().status() {
            ServingStatus::Serving => Check::Serving,
            _ => Check::NotServing("it says so"),
        },
        Ok(Err(status)) if status.code() == Code::Unimplemented => Check::Serving,
        Ok(Err(status)) if status.code() == Code::DeadlineExceeded => Check::TimedOut,
        Ok(Err(_)) => Check::NotServing("it does not answer"),
    }
}
