//! The `notifications` process.

use std::process::ExitCode;

use notifications::mailer::{LocalMailer, SmtpMailer};
use service_kit::{Args, Db};

/// Turns order events into mails, each once.
#[derive(clap::Parser)]
#[command(name = "notifications", version, about)]
struct Cli {
    #[command(flatten)]
    kit: Args,
    /// Whose events are followed, by name.
    #[arg(long, env = "ORDERS", default_value = "orders:7070")]
    orders: String,
    /// The mail server, such as `smtps://user:password@mail.example.com`. Default: mails stay in the
    /// database and count as sent.
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    smtp_url: Option<String>,
    /// The sender of mails.
    #[arg(
        long,
        env = "MAIL_FROM",
        default_value = "Sock Shop <shop@sockshop.example>"
    )]
    mail_from: String,
}

fn main() -> ExitCode {
    service_kit::run("notifications", |cli: Cli, token| async move {
        let orders = service_kit::upstream::upstream(&cli.orders, &cli.kit)?;
        let url = cli.kit.database_url("notifications");
        let db = Db::open(&url, &notifications::MIGRATIONS).await?;
        let server = match &cli.smtp_url {
            Some(url) => notifications::server(db, orders, SmtpMailer::new(url, &cli.mail_from)?),
            None => notifications::server(db, orders, LocalMailer),
        };
        server.run(&cli.kit, token).await
    })
}
