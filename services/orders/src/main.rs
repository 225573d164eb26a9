//! The orders process: arguments, database, peers, serve.

use std::process::ExitCode;

use orders::{executor::Settings, peers::Upstreams};
use service_kit::{CancellationToken, Db, upstream::upstream};

/// Places orders and takes them through stock and payment.
#[derive(Debug, clap::Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    kit: service_kit::Args,
}

fn main() -> ExitCode {
    service_kit::run("orders", serve)
}

async fn serve(args: Args, token: CancellationToken) -> anyhow::Result<()> {
    let db = Db::open(&args.kit.database_url("orders"), &orders::MIGRATIONS).await?;
    let upstreams = Upstreams {
        catalogue: upstream("catalogue:7070", &args.kit)?,
        inventory: upstream("inventory:7070", &args.kit)?,
        payments: upstream("payments:7070", &args.kit)?,
        carts: upstream("carts:7070", &args.kit)?,
    };
    let server = orders::server(db, upstreams, Settings::default());
    server.run(&args.kit, token).await
}
