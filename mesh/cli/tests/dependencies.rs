//! Crates depend downwards only, as the design says. What is not drawn there fails here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// The layers of the mesh, lowest first. A crate may use crates of lower layers, never of its own.
const LAYERS: [&[&str]; 6] = [
    &["contracts", "weft-http2", "weft-runtime"],
    &["weft-model"],
    &["weft-policy", "weft-xds", "weft-identity", "weft-transcode"],
    &["weft-channel", "weft-simulate"],
    &["weft-proxy", "weft-edge", "weft-control"],
    &["weft"],
];

/// What a service, and the kit they share, may use.
const FOR_SERVICES: [&str; 3] = ["contracts", "service-kit", "weft-runtime"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Layer(usize),
    Kit,
    Service,
    /// Uses everything, and nothing uses it.
    Tests,
}

fn place(name: &str) -> Place {
    if let Some(layer) = LAYERS.iter().position(|layer| layer.contains(&name)) {
        return Place::Layer(layer);
    }
    match name {
        "service-kit" => Place::Kit,
        "e2e" | "bench" => Place::Tests,
        _ => Place::Service,
    }
}

fn allowed(from: &str, to: &str) -> bool {
    match place(from) {
        // The crates of the lowest layer stand alone.
        Place::Layer(layer) => matches!(place(to), Place::Layer(below) if below < layer),
        Place::Kit | Place::Service => FOR_SERVICES.contains(&to),
        Place::Tests => true,
    }
}

/// The edges between crates of this workspace: name to names, tests' own dependencies left out.
fn edges() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let here = dependencies
                .iter()
                .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev");
            (
                text(&package["name"]),
                here.map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn crates_depend_downwards_only() {
    let mut wrong = Vec::new();
    for (from, tos) in edges() {
        wrong.extend(
            tos.iter()
                .filter(|to| !allowed(&from, to))
                .map(|to| format!("{from} -> {to}")),
        );
    }
    assert!(wrong.is_empty(), "not in the design: {}", wrong.join(", "));
}

#[test]
fn every_crate_has_its_place() {
    let edges = edges();
    for name in LAYERS.iter().flat_map(|layer| layer.iter()) {
        assert!(
            edges.contains_key(*name),
            "`{name}` is gone: take it out of LAYERS"
        );
    }
    // A crate of the mesh that is not in LAYERS would count as a service.
    for name in edges.keys().filter(|name| name.starts_with("weft")) {
        assert!(
            matches!(place(name), Place::Layer(_)),
            "`{name}` needs a layer"
        );
    }
}

#[test]
fn the_rules_say_no() {
    assert!(allowed("weft", "weft-proxy") && allowed("weft-channel", "weft-policy"));
    assert!(allowed("orders", "service-kit") && allowed("service-kit", "weft-runtime"));
    for (from, to) in [
        ("weft-model", "weft-policy"),
        ("weft-policy", "weft-xds"),
        ("weft-runtime", "contracts"),
        ("orders", "payments"),
        ("orders", "weft-channel"),
        ("service-kit", "weft-model"),
        ("weft-edge", "service-kit"),
    ] {
        assert!(!allowed(from, to), "{from} -> {to}");
    }
}
