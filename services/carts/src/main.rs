//! The `carts` process.

use std::process::ExitCode;

use service_kit::{Args, Db};

/// Shopping carts of guests and customers.
#[derive(clap::Parser)]
#[command(name = "carts", version, about)]
struct Cli {
    #[command(flatten)]
    kit: Args,
    /// Where prices come from, by name.
    #[arg(long, env = "CATALOGUE", default_value = "catalogue:7070")]
    catalogue: String,
}

fn main() -> ExitCode {
    service_kit::run("carts", |cli: Cli, token| async move {
        let catalogue = service_kit::upstream::upstream(&cli.catalogue, &cli.kit)?;
        let db = Db::open(&cli.kit.database_url("carts"), &carts::MIGRATIONS).await?;
        carts::server(db, catalogue).run(&cli.kit, token).await
    })
}
