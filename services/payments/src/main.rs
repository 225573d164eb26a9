//! The payments process: arguments, database, serve.

use std::process::ExitCode;

use service_kit::{CancellationToken, Db};

/// Moves money for orders.
#[derive(Debug, clap::Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    kit: service_kit::Args,
}

fn main() -> ExitCode {
    service_kit::run("payments", serve)
}

async fn serve(args: Args, token: CancellationToken) -> anyhow::Result<()> {
    let db = Db::open(&args.kit.database_url("payments"), &payments::MIGRATIONS).await?;
    payments::server(db).await?.run(&args.kit, token).await
}
