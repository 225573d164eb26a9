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
                say!("{}", serde_json::json!({ "problems": [] }));
            } else {
                let services = mesh.services.len();
                say!("{}: fine, {services} services", file.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            if args.json {
                say!("{}", problems.to_json());
            } else {
                complain!("{problems}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
