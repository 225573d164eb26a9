//! Vectors for every rule of the transcoder, and a differential test against `prost-reflect`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod building;
mod differential;
mod json;
mod request;
mod response;
mod routing;

use std::{path::Path, sync::LazyLock};

use http::Method;
use prost_reflect::DescriptorPool;
use weft_transcode::{Call, Error, Plans, Router, rules};

/// `vectors.proto`, compiled.
struct Fixture {
    pool: DescriptorPool,
    plans: Plans,
    router: Router,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let file =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors.proto"));
    let pool = pool(&file.unwrap());
    let plans = Plans::new(&pool);
    let router = Router::new(rules(&pool, &plans, |_| true).unwrap()).unwrap();
    Fixture {
        pool,
        plans,
        router,
    }
});

/// A pool with one file of this text and everything it imports.
fn pool(text: &str) -> DescriptorPool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = folder.join("../../target/transcode-vectors");
    let name = format!(
        "{:x}.proto",
        text.len() as u64 * 31 + text.bytes().map(u64::from).sum::<u64>()
    );
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(&name), text).unwrap();
    let mut compiler = protox::Compiler::new([dir.clone(), folder.join("../../proto")]).unwrap();
    compiler
        .include_imports(true)
        .open_file(dir.join(&name))
        .unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

/// The RPC a request means and its message as JSON, through the wire.
fn call(method: &str, target: &str, body: &str) -> Result<(String, serde_json::Value), Error> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let method: Method = method.parse().unwrap();
    let found = FIXTURE.router.find(&method, path).unwrap();
    let content_type = (!body.is_empty()).then_some("application/json");
    let call = Call {
        query,
        content_type,
        body: body.as_bytes(),
    };
    let wire = found.request(&FIXTURE.plans, call)?;
    let name = found.route.method.input().full_name().to_owned();
    let json = FIXTURE.plans.to_json(&name, &wire)?;
    let rpc = found.route.method.name().to_owned();
    Ok((rpc, serde_json::from_slice(&json).unwrap()))
}
