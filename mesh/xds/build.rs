//! Compiles the vendored xDS protos without `protoc`.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use protox::prost_reflect::prost_types::FileDescriptorSet;

/// What the code uses; everything else comes with it as imports.
const ROOTS: [&str; 19] = [
    "envoy/service/discovery/v3/ads.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/pick_first/v3/pick_first.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/load_balancing_policies/subset/v3/subset.proto",
];

const FAULT: &str = "envoy/extensions/filters/http/fault/v3/fault.proto";

fn compile(include: &Path, roots: &[&str]) -> Result<FileDescriptorSet, protox::Error> {
    let mut compiler = protox::Compiler::new([include])?;
    compiler.include_imports(true).open_files(roots)?;
    Ok(compiler.file_descriptor_set())
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let include = PathBuf::from("proto");
    let mut files = compile(&include, &ROOTS)?;
    // Compiled with the others, its package `envoy.extensions.filters.common` would hide
    // `envoy.extensions.common` from those that call it `common`.
    let fault = compile(&include, &[FAULT])?;
    for file in fault.file {
        if !files.file.iter().any(|known| known.name == file.name) {
            files.file.push(file);
        }
    }
    // Options only: no message of theirs is ever sent.
    files.file.retain(|file| {
        let package = file.package();
        !(package == "validate"
            || package.ends_with(".annotations")
            || package.contains(".annotations."))
    });

    let mut config = prost_build::Config::new();
    config
        // Versions are hashes: the same content must be the same bytes, in every process.
        .btree_map(["."])
        // Their comments hold indented examples, which rustdoc would take for tests.
        .disable_comments(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .include_file("xds.rs");
    tonic_prost_build::configure().compile_fds_with_config(files, config)?;
    Ok(())
}
