//! The documents name only what exists.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::shop;

/// Texts between backticks that look like paths from the root, and targets of relative links.
fn named_paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let roots = ["mesh/", "services/", "proto/", "tests/", "istio/", ".ci/"];
    let quoted = quoted.filter(|name| {
        roots.iter().any(|root| name.starts_with(root)) && !name.contains([' ', '*', '<', '{'])
    });
    let linked = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let linked = linked.filter(|target| !target.contains("://") && !target.starts_with('#'));
    quoted.chain(linked).map(str::to_owned).collect()
}

#[test]
fn every_path_in_the_documents_exists() {
    // Made while testing, so not in a fresh clone.
    let made = ["tests/.tools"];
    let mut seen = 0;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(shop::root().join(document)).unwrap();
        for path in named_paths(&text) {
            seen += 1;
            if !made.iter().any(|made| path.starts_with(made)) {
                assert!(shop::root().join(&path).exists(), "{document} names {path}");
            }
        }
    }
    assert!(seen > 40, "found {seen} paths");
}
