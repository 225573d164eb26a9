//! The binary `weft`: up, check, test, status, logs, stop, and the long-running parts.
//!
//! Start reading at [`up`]: it plans processes from the mesh file, starts and supervises them. The
//! others read what it writes into the data folder ([`data`]). `control`, `proxy` and `edge` are
//! crates of their own; `weft up` starts this same binary with those commands.

/// `println!`, but whoever stopped reading, as `weft status | head` does, only misses the rest.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($what)*);
    }};
}

/// `eprintln!` in the same way.
macro_rules! complain {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($what)*);
    }};
}

mod args;
mod check;
mod data;
mod http_get;
mod locate;
mod logs;
mod status;
mod stop;
mod system;
mod terminal;
mod test;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Stop(args) => stop::run(&args),
        Command::Start(args) => stop::start(&args),
        Command::Control(args) => serve("control", weft_control::run(args)),
        Command::Edge(args) => serve("edge", weft_edge::run(args)),
        Command::Proxy(args) => weft_proxy::run(*args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        complain!("{} {error:#}", terminal::Paint::stderr().bad("error:"));
        ExitCode::FAILURE
    })
}

/// Runs a long-running part with logs under its name.
fn serve(name: &str, part: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    weft_runtime::runtime()?.block_on(async {
        let _telemetry = weft_runtime::telemetry::init(name);
        part.await
    })?;
    Ok(ExitCode::SUCCESS)
}
