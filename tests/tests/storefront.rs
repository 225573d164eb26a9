//! A customer buys a pair of socks in a real browser, on a phone and on a desk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use e2e::{Shop, shop::root, tools};
use serde_json::Value;

#[tokio::test]
async fn a_browser_buys_a_pair_of_socks() {
    let Some([node, chromium, _]) = tools::require(["node", "chromium", "playwright-core"]) else {
        return;
    };
    let shop = Shop::shared().await;
    let mut browse = Command::new(node);
    browse
        .arg("tests/browser/storefront.mjs")
        .arg(format!("http://{}", shop.edge()))
        .arg(root().join("tests/.tools/screenshots"))
        .env("CHROMIUM", chromium);

    let printed = tokio::task::spawn_blocking(move || tools::run(&mut browse))
        .await
        .unwrap()
        .unwrap();

    let bought: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let widths: Vec<_> = bought
        .iter()
        .map(|one| one["width"].as_u64().unwrap())
        .collect();
    assert_eq!(widths, [390, 1440]);
    for one in &bought {
        assert!(
            one["order"].as_str().unwrap().starts_with("orders/"),
            "{one}"
        );
    }
}
