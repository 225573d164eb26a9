//! Processes die at any moment; nothing acknowledged is lost and the shop heals by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use e2e::{Shop, until};
use serde_json::json;
use uuid::Uuid;

const HEAL_DEADLINE: Duration = Duration::from_secs(30);
const SUCCEEDS: &str = "cardTokens/test-succeeds";

async fn place(shop: &Shop, seed: usize) -> anyhow::Result<String> {
    let customer = shop.customer().await?;
    let variant = shop.variant(seed, 1).await?;
    let reply = shop
        .place(
            &customer,
            &Uuid::new_v4().to_string(),
            &variant,
            1,
            SUCCEEDS,
        )
        .await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    Ok(reply.json()["name"].as_str().unwrap_or_default().to_owned())
}

async fn sent_mails(shop: &Shop) -> i64 {
    let database = shop.database("notifications").await.unwrap();
    sqlx::query_scalar("SELECT COUNT(*) FROM mail WHERE send_time IS NOT NULL")
        .fetch_one(&database)
        .await
        .unwrap()
}

// One after the other: each fault would disturb the others' measurements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_survives() {
    let shop = Shop::start(&[]).await.unwrap();
    a_dead_replica_fails_no_read(&shop).await;
    mails_follow_when_notifications_return(&shop).await;
    every_process_may_be_killed(&shop).await;
    the_dead_come_back_without_the_control_plane(&shop).await;
    acknowledged_orders_outlive_a_restart(shop).await;
}

async fn a_dead_replica_fails_no_read(shop: &Shop) {
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async || {
        while !done.load(Ordering::Relaxed) {
            let reply = shop.get("/v1/products?pageSize=3", None).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let fault = async {
        until("some reads", HEAL_DEADLINE, async || {
            Ok((reads.load(Ordering::Relaxed) > 20).then_some(()))
        })
        .await
        .unwrap();
        for victim in ["catalogue-1", "catalogue-2-sidecar"] {
            let killed = shop.signal(victim, "KILL").await.unwrap();
            until("the replica is back", HEAL_DEADLINE, async || {
                let process = shop.process(victim)?;
                let back = process["pid"] != json!(killed) && process["ready"] == json!(true);
                Ok(back.then_some(()))
            })
            .await
            .unwrap();
        }
        let seen = reads.load(Ordering::Relaxed);
        until("more reads", HEAL_DEADLINE, async || {
            Ok((reads.load(Ordering::Relaxed) > seen + 20).then_some(()))
        })
        .await
        .unwrap();
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(), load(), load(), fault);
}

async fn mails_follow_when_notifications_return(shop: &Shop) {
    let before = sent_mails(shop).await;
    shop.weft(&["stop", "notifications"]).await.unwrap();
    for seed in 0..20 {
        place(shop, seed).await.unwrap();
    }
    assert_eq!(
        sent_mails(shop).await,
        before,
        "nobody is there to send mails"
    );
    shop.weft(&["start", "notifications"]).await.unwrap();
    until("20 mails", HEAL_DEADLINE, async || {
        Ok((sent_mails(shop).await == before + 20).then_some(()))
    })
    .await
    .unwrap();
    let database = shop.database("notifications").await.unwrap();
    let doubles: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT order_name FROM mail GROUP BY order_name HAVING COUNT(*) > 1)",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(doubles, 0, "each mail once");
}

async fn every_process_may_be_killed(shop: &Shop) {
    let names: Vec<String> = shop.state()["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        let killed = shop.signal(&name, "KILL").await.unwrap();
        until(
            &format!("{name} is ready again"),
            HEAL_DEADLINE,
            async || {
                let process = shop.process(&name)?;
                let back = process["pid"] != json!(killed) && process["ready"] == json!(true);
                Ok(back.then_some(()))
            },
        )
        .await
        .unwrap();
        until(
            &format!("an order succeeds after {name} died"),
            HEAL_DEADLINE,
            async || Ok(place(shop, 3).await.ok()),
        )
        .await
        .unwrap();
    }
}

async fn the_dead_come_back_without_the_control_plane(shop: &Shop) {
    shop.signal("control", "STOP").await.unwrap();
    for name in ["payments-1-sidecar", "edge"] {
        let killed = shop.signal(name, "KILL").await.unwrap();
        until(
            &format!("an order succeeds after {name} died while control was away"),
            HEAL_DEADLINE,
            async || {
                let is_back = shop.process(name)?["pid"] != json!(killed);
                Ok(if is_back {
                    place(shop, 5).await.ok()
                } else {
                    None
                })
            },
        )
        .await
        .unwrap();
    }
    shop.signal("control", "CONT").await.unwrap();
    until("all is ready again", HEAL_DEADLINE, async || {
        let state = shop.state();
        let processes = state["processes"].as_array().unwrap();
        let ready = |process: &serde_json::Value| process["ready"] == json!(true);
        Ok(processes.iter().all(ready).then_some(()))
    })
    .await
    .unwrap();
    place(shop, 5).await.unwrap();
}

async fn acknowledged_orders_outlive_a_restart(shop: Shop) {
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(9, 1).await.unwrap();
    let placed = shop
        .place(
            &customer,
            &Uuid::new_v4().to_string(),
            &variant,
            1,
            SUCCEEDS,
        )
        .await
        .unwrap()
        .json();
    let data = shop.stop().await.unwrap();
    let shop = Shop::start_in(data, &[]).await.unwrap();
    let path = format!("/v1/{}", placed["name"].as_str().unwrap());
    let read = shop.get(&path, Some(&customer.token)).await.unwrap();
    assert_eq!(read.json()["state"], "ORDER_STATE_PAID", "{}", read.text());
    shop.stop().await.unwrap();
}
