//! The `accounts` process.

use std::process::ExitCode;

use accounts::{DemoCustomer, Issuer};
use service_kit::{Args, Db};

/// Customers, log-in, address books; signs the tokens the edge checks.
#[derive(clap::Parser)]
#[command(name = "accounts", version, about)]
struct Cli {
    #[command(flatten)]
    kit: Args,
    /// The `iss` claim of tokens.
    #[arg(
        long,
        env = "TOKEN_ISSUER",
        default_value = "https://accounts.sockshop.local"
    )]
    token_issuer: String,
    /// The `aud` claim of tokens.
    #[arg(long, env = "TOKEN_AUDIENCE", default_value = "sockshop")]
    token_audience: String,
    /// EMAIL:PASSWORD of a customer to register at the first start. Only for trying things out.
    #[arg(long, env = "DEMO_CUSTOMER", hide_env_values = true)]
    demo_customer: Option<DemoCustomer>,
}

fn main() -> ExitCode {
    service_kit::run("accounts", |cli: Cli, token| async move {
        let db = Db::open(&cli.kit.database_url("accounts"), &accounts::MIGRATIONS).await?;
        let issuer = Issuer {
            name: cli.token_issuer,
            audience: cli.token_audience,
        };
        accounts::server(db, issuer, cli.demo_customer)
            .await?
            .run(&cli.kit, token)
            .await
    })
}
