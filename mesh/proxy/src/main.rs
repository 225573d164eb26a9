//! The sidecar as a program of its own: what `weft proxy` does, without the rest of `weft`, whose pages
//! would be resident beside every workload (16.7 MB instead of 12.3 MB).

use std::process::ExitCode;

use clap::Parser;

/// Runs the sidecar of one workload.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: weft_proxy::Args,
}

fn main() -> ExitCode {
    match weft_proxy::run(Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
