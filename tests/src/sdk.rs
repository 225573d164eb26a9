//! Clients in other languages, generated from the contracts by `buf generate` and run for real.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use crate::{shop::root, tools};

/// One run of a client at a time: they share two cores with a whole shop.
static RUNNING: Mutex<()> = Mutex::const_new(());

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// How many products it listed, over all pages.
    pub products: usize,
    /// The name of the first.
    pub first: String,
    /// The status code it got for a product that does not exist, in the language's spelling.
    pub unknown: String,
}

/// Lists the products of the shop behind `edge` with the TypeScript client (Connect-ES over gRPC).
/// `None` if a tool is missing.
///
/// # Errors
///
/// If the client cannot be generated or compiled, or fails.
pub async fn typescript(edge: SocketAddr) -> Result<Option<Listing>> {
    let Some([_, tsc, node, _]) = tools::require(["buf", "tsc", "node", "python"]) else {
        return Ok(None);
    };
    generate().await?;
    let mut compile = Command::new(tsc);
    compile.args(["--project", "tests/sdk/typescript"]);
    run(compile).await?;
    let mut client = Command::new(node);
    client.arg("tests/.tools/build/sdk/typescript/list_products.js");
    client.arg(edge.to_string());
    listing(&run(client).await?).map(Some)
}

/// Lists the products of the shop behind `edge` with the Python client (grpcio). `None` if a tool is
/// missing.
///
/// # Errors
///
/// If the client cannot be generated, or fails.
pub async fn python(edge: SocketAddr) -> Result<Option<Listing>> {
    let Some([_, python, _]) = tools::require(["buf", "python", "node"]) else {
        return Ok(None);
    };
    generate().await?;
    let mut client = Command::new(python);
    client.arg("tests/sdk/python/list_products.py");
    client.arg(edge.to_string());
    client.env("PYTHONPATH", root().join("tests/.tools/gen/python"));
    listing(&run(client).await?).map(Some)
}

/// Generates all clients, once in a process.
async fn generate() -> Result<()> {
    static GENERATED: OnceCell<PathBuf> = OnceCell::const_new();
    let generated = GENERATED.get_or_try_init(|| async {
        let buf = tools::tool("buf").context("buf is missing")?;
        let mut generate = Command::new(&buf);
        generate.arg("generate");
        run(generate).await?;
        anyhow::Ok(buf)
    });
    generated.await.map(|_| ())
}

async fn run(mut command: Command) -> Result<String> {
    let _alone = RUNNING.lock().await;
    tokio::task::spawn_blocking(move || tools::run(&mut command)).await?
}

fn listing(printed: &str) -> Result<Listing> {
    let answer: Value =
        serde_json::from_str(printed).with_context(|| format!("not JSON: {printed}"))?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    let products = answer["products"]
        .as_u64()
        .context("no number of products")?;
    ensure!(products > 0, "no product: {printed}");
    Ok(Listing {
        products: usize::try_from(products)?,
        first: text("first"),
        unknown: text("unknown"),
    })
}
