//! Whose word is believed.

use std::sync::atomic::Ordering;

use ring::hmac;
use serde_json::json;

use crate::backend::{Shop, claims};

async fn orders(shop: &Shop, token: &str) -> String {
    let bearer = format!("Bearer {token}");
    let reply = shop
        .send("GET", "/v1/orders", &[("authorization", &bearer)], "")
        .await;
    match reply.status.as_u16() {
        200 => "200".to_owned(),
        _ => reply.error(),
    }
}

#[tokio::test]
async fn good_tokens_of_both_algorithms_pass() {
    let shop = Shop::start().await;
    let now = jiff::Timestamp::now().as_second();
    assert_eq!(orders(&shop, &shop.token()).await, "200");
    let ec = shop.signers.ec_token(&json!({"alg": "ES256", "kid": "ec"}));
    assert_eq!(orders(&shop, &ec).await, "200");
    for changes in [
        json!({"aud": ["other", "shop"]}),
        json!({"exp": now - 20}),
        json!({"nbf": now + 20}),
        json!({"sub": "customers/8f-2"}),
    ] {
        assert_eq!(
            orders(&shop, &shop.signers.token(&changes)).await,
            "200",
            "{changes}"
        );
    }
    assert_eq!(
        shop.seen.key_fetches.load(Ordering::SeqCst),
        1,
        "keys are cached"
    );
}

#[tokio::test]
async fn other_tokens_do_not() {
    let shop = Shop::start().await;
    let signers = &shop.signers;
    let now = jiff::Timestamp::now().as_second();
    let mut bad = Vec::new();
    for changes in [
        json!({"iss": "https://evil.test"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"exp": now - 60}),
        json!({"exp": null}),
        json!({"nbf": now + 60}),
        json!({"sub": null}),
        json!({"sub": "admins/root"}),
        json!({"sub": "customers/"}),
        json!({"sub": "customers/a/b"}),
        json!({"sub": "customers/ADA"}),
    ] {
        bad.push((changes.to_string(), signers.token(&changes)));
    }
    let claims = claims(&json!({}));
    let ed = |message: &[u8]| signers.ed.sign(message).as_ref().to_vec();
    let none = |_: &[u8]| Vec::new();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"public key");
    let hs = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
    let header = json!({"alg": "none", "kid": "ed"});
    bad.push(("none".to_owned(), signers.signed(&header, &claims, none)));
    let header = json!({"alg": "HS256", "kid": "ed"});
    bad.push(("HS256".to_owned(), signers.signed(&header, &claims, hs)));
    let header = json!({"alg": "EdDSA", "kid": "unknown"});
    bad.push((
        "unknown kid".to_owned(),
        signers.signed(&header, &claims, ed),
    ));
    let header = json!({"alg": "EdDSA"});
    bad.push((
        "no kid, two keys".to_owned(),
        signers.signed(&header, &claims, ed),
    ));
    let header = json!({"alg": "ES256", "kid": "ed"});
    bad.push((
        "alg of another key".to_owned(),
        signers.signed(&header, &claims, ed),
    ));
    let header = json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"]});
    bad.push(("crit".to_owned(), signers.signed(&header, &claims, ed)));
    bad.push((
        "kid of another key".to_owned(),
        signers.ec_token(&json!({"alg": "EdDSA", "kid": "ed"})),
    ));
    let good = shop.token();
    bad.push(("cut".to_owned(), good[..good.len() - 10].to_owned()));
    let (head, _) = good.rsplit_once('.').unwrap();
    bad.push(("unsigned".to_owned(), format!("{head}.")));
    bad.push(("text".to_owned(), "x".to_owned()));
    bad.push(("long".to_owned(), "x".repeat(10_000)));
    for (what, token) in bad {
        assert_eq!(orders(&shop, &token).await, "401 TOKEN_INVALID", "{what}");
    }
    let basic = [("authorization", "Basic YTpi")];
    let reply = shop.send("GET", "/v1/orders", &basic, "").await;
    assert_eq!(reply.error(), "401 TOKEN_INVALID");
    assert!(reply.header("www-authenticate").contains("invalid_token"));
    assert_eq!(shop.seen.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_bad_token_is_refused_by_public_methods_too() {
    let shop = Shop::start().await;
    let reply = shop
        .send("GET", "/v1/products", &[("authorization", "Bearer x")], "")
        .await;
    assert_eq!(reply.error(), "401 TOKEN_INVALID");
}

#[tokio::test]
async fn without_keys_nobody_is_believed() {
    let shop = Shop::start().await;
    shop.seen.key_failures.store(1, Ordering::SeqCst);
    let reply = shop.as_ada("GET", "/v1/orders", "").await;
    assert_eq!(reply.error(), "503 KEYS_UNAVAILABLE");
    assert_eq!(reply.header("retry-after"), "1");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while shop.as_ada("GET", "/v1/orders", "").await.status != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "keys are asked for again"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn unknown_key_ids_cannot_make_us_fetch_without_end() {
    let shop = Shop::start().await;
    let sign = |message: &[u8]| shop.signers.ed.sign(message).as_ref().to_vec();
    for id in 0..20 {
        let header = json!({"alg": "EdDSA", "kid": format!("k{id}")});
        let token = shop.signers.signed(&header, &claims(&json!({})), sign);
        assert_eq!(orders(&shop, &token).await, "401 TOKEN_INVALID");
    }
    assert!(shop.seen.key_fetches.load(Ordering::SeqCst) <= 2);
}
