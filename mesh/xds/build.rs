//! Compiles the vendored xDS protos without `protoc`.

use std::{error::Error, path::PathBuf};

/// What the code uses; everything else comes with it as imports.
const ROOTS: [&str; 11] = [
    "envoy/service/discovery/v3/ads.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let include = PathBuf::from("proto");
    let mut compiler = protox::Compiler::new([include])?;
    compiler.include_imports(true).open_files(ROOTS)?;
    let mut files = compiler.file_descriptor_set();
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
