//! Ways to send a mail.

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};

/// The longest a mail server may take for one mail.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A mail that waits to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// Stays the same when sending is tried again: receivers drop doubles by it.
    pub id: String,
    /// The address.
    pub recipient: String,
    /// The subject line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

/// Sends mails.
#[tonic::async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Hands one mail on. After a failure it is tried again later.
    ///
    /// # Errors
    ///
    /// If the mail was not taken.
    async fn send(&self, letter: &Letter) -> anyhow::Result<()>;
}

/// Leaves mails in the database, where `ListMails` shows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalMailer;

#[tonic::async_trait]
impl Mailer for LocalMailer {
    async fn send(&self, _letter: &Letter) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Hands mails to an SMTP server. A crash between its answer and our record sends the mail again, with
/// the same `Message-ID`.
#[derive(Clone, Debug)]
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    /// Sends through `url` (`smtp://`, `smtps://`) as `from` (`Name <address>`).
    ///
    /// # Errors
    ///
    /// If either is malformed.
    pub fn new(url: &str, from: &str) -> anyhow::Result<Self> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .context("SMTP_URL is not a mail server's URL")?
            .timeout(Some(SEND_TIMEOUT))
            .build();
        let from = from
            .parse()
            .with_context(|| format!("MAIL_FROM `{from}` is no address"))?;
        Ok(Self { transport, from })
    }
}

#[tonic::async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, letter: &Letter) -> anyhow::Result<()> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(letter
                .recipient
                .parse()
                .context("the recipient is no address")?)
            .message_id(Some(format!(
                "<{}@{}>",
                letter.id,
                self.from.email.domain()
            )))
            .subject(&letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body.clone())?;
        self.transport.send(message).await?;
        Ok(())
    }
}
