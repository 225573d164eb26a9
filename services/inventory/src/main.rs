//! The `inventory` process.

use std::process::ExitCode;

use service_kit::{Args, Db};

/// Stock per variant and its reservations.
#[derive(clap::Parser)]
#[command(name = "inventory", version, about)]
struct Cli {
    #[command(flatten)]
    kit: Args,
}

fn main() -> ExitCode {
    service_kit::run("inventory", |cli: Cli, token| async move {
        let db = Db::open(&cli.kit.database_url("inventory"), &inventory::MIGRATIONS).await?;
        inventory::server(db).await?.run(&cli.kit, token).await
    })
}
