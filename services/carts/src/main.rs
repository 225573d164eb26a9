//! The `carts` process.

use std::process::ExitCode;

use service_kit::{Args, Db, db::Durability};

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
        let url = cli.kit.database_url("carts");
        let db = Db::open_with(&url, &carts::MIGRATIONS, Durability::Process).await?;
        carts::server(db, catalogue).run(&cli.kit, token).await
    })
}
