//! The benchmark behind `tests/bench/run`: it starts proxies, loads them in turn through one client and
//! one echo server, and reports what each call costs them. Start reading in `matrix.rs`.

mod call;
mod certificates;
mod copy_proxy;
mod echo;
mod hyper_proxy;
mod load;
mod matrix;
mod peers;
mod plot;
mod process;
mod report;
mod results;
mod run;
mod shapes;
mod statistics;

use std::process::ExitCode;

use clap::Parser;

/// Measures the sidecar beside other proxies.
#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    /// Start everything, measure in interleaved rounds, report.
    Run(run::Args),
    /// The server behind every proxy: echoes each call's body.
    Echo(echo::Args),
    /// A bare reverse proxy on hyper, to compare with.
    Hyper(hyper_proxy::Args),
    /// Copies bytes and knows no HTTP/2: the floor.
    Copy(copy_proxy::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(args) => run::run(&args),
        Command::Echo(args) => on_this_thread(echo::serve(args)),
        Command::Hyper(args) => on_this_thread(hyper_proxy::serve(args)),
        Command::Copy(args) => copy_proxy::serve(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every part has one core, so one thread: more would only take turns on it.
fn on_this_thread(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}
