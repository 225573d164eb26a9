//! Sends what waits, with growing pauses after failures.

use std::{sync::Arc, time::Duration};

use service_kit::{CancellationToken, StoreError, time};
use tokio::sync::Notify;

use crate::{
    mailer::Mailer,
    store::{Store, Waiting},
};

/// How often waiting mails are looked for without being told.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a mail belongs to the replica that sends it; longer than a mail server may take.
const CLAIM: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Runs until the service drains.
pub async fn run(
    store: Store,
    mailer: impl Mailer,
    queued: Arc<Notify>,
    token: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let sent = send_due(&store, &mailer, &token).await;
        if let Err(error) = sent {
            tracing::warn!(error = &error as &dyn std::error::Error, "mails wait");
        }
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = queued.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn send_due(
    store: &Store,
    mailer: &impl Mailer,
    token: &CancellationToken,
) -> Result<(), StoreError> {
    for waiting in store.due(time::now_micros()).await? {
        if token.is_cancelled() {
            return Ok(());
        }
        let until = time::now_micros() + time::micros(CLAIM);
        if !store.claim(&waiting, until).await? {
            // Another replica sends it.
            continue;
        }
        match mailer.send(&waiting.letter).await {
            Ok(()) => {
                store.sent(&waiting.letter.id, time::now_micros()).await?;
                tracing::info!(mail = waiting.letter.id, "sent");
            }
            Err(error) => {
                let again = time::now_micros() + time::micros(pause(&waiting));
                store.failed(&waiting.letter.id, again).await?;
                tracing::warn!(
                    mail = waiting.letter.id,
                    attempts = waiting.attempts + 1,
                    error = format!("{error:#}"),
                    "not sent, tried again later"
                );
            }
        }
    }
    Ok(())
}

fn pause(waiting: &Waiting) -> Duration {
    let doubled = u32::try_from(waiting.attempts).unwrap_or(u32::MAX).min(16);
    (FIRST_PAUSE * 2_u32.pow(doubled)).min(LONGEST_PAUSE)
}
