//! `weft check`.

use std::process::ExitCode;

use crate::{args::CheckArgs, locate};

/// Prints every problem; exit code 1 if there is one.
///
/// # Errors
///
/// If no mesh file is found.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let file = locate::mesh_file(args.file.as_deref())?;
    match weft_model::Mesh::checked(&file, contracts::pool()) {
        Ok(mesh) => {
            if args.json {
                println!("{}", serde_json::json!({ "problems": [] }));
            } else {
                let services = mesh.services.len();
                println!("{}: fine, {services} services", file.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            if args.json {
                println!("{}", problems.to_json());
            } else {
                eprintln!("{problems}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
