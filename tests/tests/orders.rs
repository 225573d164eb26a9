//! An order crosses edge, sidecars and services, and happens exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, time::Duration};

use e2e::{Shop, until};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

const MAIL_DEADLINE: Duration = Duration::from_secs(20);
const SUCCEEDS: &str = "cardTokens/test-succeeds";
const DECLINES: &str = "cardTokens/test-declines";
const TIMES_OUT: &str = "cardTokens/test-times-out";

fn id() -> String {
    Uuid::new_v4().to_string()
}

/// Money as minor units.
fn minor(money: &Value) -> i64 {
    let units: i64 = money["units"].as_str().unwrap_or("0").parse().unwrap();
    units * 100 + money["nanos"].as_i64().unwrap_or(0) / 10_000_000
}

/// The ledger's balance per account for one order, in minor units.
async fn ledger(shop: &Shop, order: &str) -> Vec<(String, i64)> {
    let database = shop.database("payments").await.unwrap();
    let rows = sqlx::query(
        "SELECT account, CAST(SUM(minor_units) AS BIGINT) AS balance FROM ledger_entry \
         WHERE payment IN (SELECT id FROM payment WHERE order_name = $1) \
         GROUP BY account ORDER BY account",
    )
    .bind(order)
    .fetch_all(&database)
    .await
    .unwrap();
    rows.iter()
        .map(|row| (row.get("account"), row.get("balance")))
        .collect()
}

async fn ledger_total(shop: &Shop) -> (i64, i64) {
    let database = shop.database("payments").await.unwrap();
    let row = sqlx::query(
        "SELECT COUNT(*) AS entries, CAST(COALESCE(SUM(minor_units), 0) AS BIGINT) AS total \
         FROM ledger_entry",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    (row.get("entries"), row.get("total"))
}

async fn mails(shop: &Shop, token: &str) -> Vec<Value> {
    let reply = shop
        .get("/v1/mails?pageSize=100", Some(token))
        .await
        .unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    reply.json()["mails"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn an_order_moves_stock_money_and_mail() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(1, 5).await.unwrap();
    let (available, _) = shop.stock(&variant).await.unwrap();

    let reply = shop
        .place(&customer, &id(), &variant, 2, SUCCEEDS)
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let placed = reply.json();
    assert_eq!(placed["state"], "ORDER_STATE_PAID", "{placed}");
    assert_eq!(placed["customer"], json!(customer.name));
    assert_eq!(placed.get("cardToken"), None);
    let total = minor(&placed["total"]);
    assert_eq!(total, 2 * minor(&placed["lines"][0]["unitPrice"]));
    assert!(total > 0);

    assert_eq!(shop.stock(&variant).await.unwrap(), (available - 2, 0));
    let name = placed["name"].as_str().unwrap();
    let balances = ledger(shop, name).await;
    assert_eq!(
        balances.iter().map(|(_, amount)| amount).sum::<i64>(),
        0,
        "{balances:?}"
    );
    assert!(
        balances.contains(&("merchant".into(), total)),
        "{balances:?}"
    );

    let mail = until("a mail", MAIL_DEADLINE, async || {
        Ok(mails(shop, &customer.token).await.into_iter().next())
    })
    .await
    .unwrap();
    assert_eq!(mail["order"], json!(name));
    assert_eq!(mail["recipient"], json!(customer.email));
    let read = shop
        .get(&format!("/v1/{name}"), Some(&customer.token))
        .await
        .unwrap();
    assert_eq!(read.json()["state"], "ORDER_STATE_PAID");
}

#[tokio::test]
async fn the_same_request_twice_is_one_order() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(2, 5).await.unwrap();
    let (available, _) = shop.stock(&variant).await.unwrap();
    let request_id = id();
    let send = async || {
        shop.place(&customer, &request_id, &variant, 1, SUCCEEDS)
            .await
            .unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(first.json()["name"], second.json()["name"]);
    assert_eq!(shop.stock(&variant).await.unwrap().0, available - 1);
}

#[tokio::test]
async fn the_same_request_twenty_times_at_once_is_one_order() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(3, 5).await.unwrap();
    let (available, _) = shop.stock(&variant).await.unwrap();
    let request_id = id();
    let send = || shop.place(&customer, &request_id, &variant, 1, SUCCEEDS);
    let replies = join_all((0..20).map(|_| send())).await;
    let mut names: Vec<String> = replies
        .into_iter()
        .map(|reply| {
            let reply = reply.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            reply.json()["name"].as_str().unwrap().to_owned()
        })
        .collect();
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");

    until("the order is paid", MAIL_DEADLINE, async || {
        let read = shop
            .get(&format!("/v1/{}", names[0]), Some(&customer.token))
            .await?
            .json();
        Ok((read["state"] == "ORDER_STATE_PAID").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(shop.stock(&variant).await.unwrap(), (available - 1, 0));
    let listed = shop
        .get("/v1/orders", Some(&customer.token))
        .await
        .unwrap()
        .json();
    assert_eq!(listed["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_declined_card_leaves_stock_and_ledger_as_before() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(4, 5).await.unwrap();
    let before = shop.stock(&variant).await.unwrap();
    let reply = shop
        .place(&customer, &id(), &variant, 1, DECLINES)
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.reason(), "CARD_DECLINED", "{}", reply.text());
    until("the stock is back", MAIL_DEADLINE, async || {
        Ok((shop.stock(&variant).await? == before).then_some(()))
    })
    .await
    .unwrap();
    let listed = shop
        .get("/v1/orders", Some(&customer.token))
        .await
        .unwrap()
        .json();
    assert_eq!(
        listed["orders"][0]["state"], "ORDER_STATE_REJECTED",
        "{listed}"
    );
    let name = listed["orders"][0]["name"].as_str().unwrap();
    assert_eq!(ledger(shop, name).await, []);
    assert_eq!(ledger_total(shop).await.1, 0);
}

#[tokio::test]
async fn a_provider_that_hangs_ends_in_a_rejected_order() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(5, 5).await.unwrap();
    let before = shop.stock(&variant).await.unwrap();
    let reply = shop
        .place(&customer, &id(), &variant, 1, TIMES_OUT)
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let name = reply.json()["name"].as_str().unwrap().to_owned();
    let rejected = until(
        "the order is rejected",
        Duration::from_secs(40),
        async || {
            let read = shop
                .get(&format!("/v1/{name}"), Some(&customer.token))
                .await?
                .json();
            Ok((read["state"] == "ORDER_STATE_REJECTED").then_some(read))
        },
    )
    .await
    .unwrap();
    assert_eq!(rejected["rejectionReason"], "PAYMENT_TIMED_OUT");
    assert_eq!(shop.stock(&variant).await.unwrap(), before);
}

#[tokio::test]
async fn more_than_the_stock_is_refused() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(6, 1).await.unwrap();
    let before = shop.stock(&variant).await.unwrap();
    let reply = shop
        .place(&customer, &id(), &variant, 999, SUCCEEDS)
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.reason(), "OUT_OF_STOCK");
    assert_eq!(shop.stock(&variant).await.unwrap(), before);
}

#[tokio::test]
async fn a_carts_lines_are_taken_by_the_order() {
    let shop = Shop::shared().await;
    let guest = shop
        .post("/v1/carts", None, &json!({}))
        .await
        .unwrap()
        .json();
    let cart = guest["name"].as_str().unwrap();
    let variant = shop.variant(7, 5).await.unwrap();
    let line = json!({"requestId": id(), "variant": variant, "quantity": 2});
    let added = shop
        .post(&format!("/v1/{cart}/lines"), None, &line)
        .await
        .unwrap();
    assert_eq!(added.status, 200, "{}", added.text());
    let again = shop
        .post(&format!("/v1/{cart}/lines"), None, &line)
        .await
        .unwrap();
    assert_eq!(again.json()["lines"][0]["quantity"], 2, "{}", again.text());

    let customer = shop.customer().await.unwrap();
    let merged = shop
        .post(
            &format!("/v1/{cart}:merge"),
            Some(&customer.token),
            &json!({}),
        )
        .await
        .unwrap();
    assert_eq!(
        merged.json()["lines"][0]["quantity"],
        2,
        "{}",
        merged.text()
    );
    assert_eq!(
        shop.get(&format!("/v1/{cart}"), None).await.unwrap().status,
        404
    );

    let reply = shop
        .place(&customer, &id(), &variant, 2, SUCCEEDS)
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    until("the cart is empty", MAIL_DEADLINE, async || {
        let mine = shop
            .get("/v1/carts/mine", Some(&customer.token))
            .await?
            .json();
        Ok(mine.get("lines").is_none().then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn card_numbers_appear_in_no_file_of_the_system() {
    let shop = Shop::shared().await;
    let customer = shop.customer().await.unwrap();
    let (number, cvv) = ("4539148803436467", "8317");
    let card = json!({"card": {
        "number": number, "expiryMonth": 12, "expiryYear": 2099, "cvv": cvv, "holder": "Ada"
    }});
    let reply = shop
        .post("/v1/cards:tokenize", Some(&customer.token), &card)
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = reply.json();
    assert_eq!(token["lastFour"], "6467");
    let variant = shop.variant(8, 5).await.unwrap();
    let placed = shop
        .place(
            &customer,
            &id(),
            &variant,
            1,
            token["name"].as_str().unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(placed.status, 200, "{}", placed.text());

    let mut broken = card.clone();
    broken["card"]["number"] = json!("4539148803436468");
    let refused = shop
        .post("/v1/cards:tokenize", Some(&customer.token), &broken)
        .await
        .unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.reason(),
        "CARD_NUMBER_INVALID",
        "{}",
        refused.text()
    );
    assert!(
        !refused.text().contains("453914880343"),
        "{}",
        refused.text()
    );

    let mut searched = 0;
    search(&shop.data(), &mut searched, &|path, content| {
        for secret in [number, "4539 1488 0343 6467", "4539148803436468"] {
            assert!(
                !contains(content, secret.as_bytes()),
                "{secret} is in {}",
                path.display()
            );
        }
        // Four digits occur by chance inside longer numbers and hexadecimal ids.
        let stands_alone = content.windows(cvv.len()).enumerate().any(|(at, window)| {
            let free = |index: Option<usize>| {
                index
                    .and_then(|index| content.get(index))
                    .is_none_or(|b| !b.is_ascii_alphanumeric())
            };
            window == cvv.as_bytes() && free(at.checked_sub(1)) && free(Some(at + cvv.len()))
        });
        assert!(!stands_alone, "a CVV is in {}", path.display());
    });
    assert!(searched > 20, "only {searched} files were searched");
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

fn search(folder: &Path, searched: &mut usize, check: &impl Fn(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, searched, check);
        } else if let Ok(content) = std::fs::read(&path) {
            *searched += 1;
            check(&path, &content);
        }
    }
}
