//! `/openapi.json` is what OpenAPI says it must be, and says what the edge answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use e2e::{Shop, tools};
use serde_json::Value;

#[tokio::test]
async fn the_description_is_valid_and_the_answers_are_as_described() {
    // The validator's own program is not run; that it is there says that its library is.
    let Some([python, _]) = tools::require(["python", "openapi-spec-validator"]) else {
        return;
    };
    let shop = Shop::shared().await;
    let mut check = Command::new(python);
    check
        .arg("tests/openapi/check.py")
        .arg(format!("http://{}", shop.edge()));
    let printed = tokio::task::spawn_blocking(move || tools::run(&mut check))
        .await
        .unwrap()
        .unwrap();
    let checked: Value = serde_json::from_str(&printed).unwrap();
    assert!(checked["operations"].as_u64().unwrap() > 20, "{checked}");
    assert!(checked["answers"].as_u64().unwrap() > 5, "{checked}");
}
