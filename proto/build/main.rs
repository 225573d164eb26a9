//! Compiles every contract below this folder, without `protoc`: messages, clients, servers,
//! validators, and the descriptor set with all custom options.

mod validators;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut protos = Vec::new();
    for area in ["google", "istio", "sockshop", "weft"] {
        println!("cargo:rerun-if-changed={}", root.join(area).display());
        collect(&root.join(area), &mut protos)?;
    }
    protos.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&protos)?;
    // Encoded by protox itself: prost-types' FileDescriptorSet would drop the custom options.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("contracts.binpb"), &encoded)?;

    let mut config = prost_build::Config::new();
    config.include_file("contracts.rs");
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;

    let pool = prost_reflect::DescriptorPool::decode(encoded.as_slice())?;
    fs::write(out.join("validators.rs"), validators::generate(&pool)?)?;
    Ok(())
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.push(path);
        }
    }
    Ok(())
}
