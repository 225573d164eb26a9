//! A deadline only shrinks, and its end is felt everywhere.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status};
use weft_policy::deadline::parse_timeout;

use crate::{echo::Echo, support::Mesh};

#[tokio::test]
async fn the_workload_gets_the_time_that_is_left() {
    let mesh = Mesh::new("deadlines.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    let mut request = Request::new("header grpc-timeout".to_owned());
    request.set_timeout(Duration::from_secs(20));
    let left = client.call("Unary", request).await.unwrap().into_inner();
    let left = parse_timeout(&left).unwrap();
    assert!(
        left < Duration::from_secs(20) && left > Duration::from_secs(10),
        "{left:?}"
    );

    let mut snapshot = mesh.calling(&[server.inbound]);
    let target = snapshot.targets.get_mut("echo:7070").unwrap();
    for rule in &mut target.methods {
        rule.timeout = Some(Duration::from_secs(3));
    }
    caller.set(snapshot);
    eventually_configured(&mut client).await;
}

async fn eventually_configured(client: &mut crate::support::Client) {
    for _ in 0..100 {
        let left = client.unary("header grpc-timeout").await.unwrap();
        if left != "-" {
            assert!(parse_timeout(&left).unwrap() <= Duration::from_secs(3));
            return;
        }
    }
    panic!("the configured timeout never applied");
}

#[tokio::test]
async fn each_hop_takes_from_a_deadline_what_it_has_spent() {
    let mesh = Mesh::new("deadlines.local");
    let (_echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let mut client = caller.client().await;
    // Whole microseconds are sent, so that nothing is lost by rounding.
    let given = Duration::from_secs(20);
    for _ in 0..50 {
        let mut request = Request::new("header grpc-timeout".to_owned());
        request.set_timeout(given);
        let left = client.call("Unary", request).await.unwrap().into_inner();
        assert!(parse_timeout(&left).unwrap() < given, "{left}");
    }
}

#[tokio::test]
async fn expiry_is_deadline_exceeded_and_ends_the_work_at_once() {
    let mesh = Mesh::new("deadlines.local");
    let (echo, server, _) = mesh.echo().await;
    let mut snapshot = mesh.calling(&[server.inbound]);
    let target = snapshot.targets.get_mut("echo:7070").unwrap();
    for rule in &mut target.methods {
        rule.timeout = Some(Duration::from_millis(300));
    }
    let caller = mesh.caller("orders", &[server.inbound]).await;
    caller.set(snapshot);
    let mut client = caller.client().await;
    eventually_configured(&mut client).await;

    expires(&echo, async || {
        client.clone().unary("hang").await.unwrap_err()
    })
    .await;
    // A stream that has begun ends with the status in its trailers.
    expires(&echo, async || {
        let mut ticks = match client.clone().ticks("forever").await {
            Ok(ticks) => ticks,
            Err(status) => return status,
        };
        loop {
            match ticks.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    })
    .await;
}

/// Calls until the deadline ends work that has begun: a busy machine may spend it before.
async fn expires(echo: &Echo, call: impl AsyncFn() -> Status) {
    let before = echo.dropped_count();
    for _ in 0..20 {
        let status = timeout(Duration::from_secs(15), call())
            .await
            .expect("it expires");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        let is_dropped = async {
            while echo.dropped_count() == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(Duration::from_secs(1), is_dropped).await.is_ok() {
            return;
        }
    }
    panic!("no work was ended in twenty calls");
}
