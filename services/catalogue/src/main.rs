//! The `catalogue` process.

use std::process::ExitCode;

use service_kit::{Args, Db};

/// The socks of the shop: products, variants, prices, pictures.
#[derive(clap::Parser)]
#[command(name = "catalogue", version, about)]
struct Cli {
    #[command(flatten)]
    kit: Args,
}

fn main() -> ExitCode {
    service_kit::run("catalogue", |cli: Cli, token| async move {
        let db = Db::open(&cli.kit.database_url("catalogue"), &catalogue::MIGRATIONS).await?;
        catalogue::server(db).await?.run(&cli.kit, token).await
    })
}
