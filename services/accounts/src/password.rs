//! Passwords as argon2id hashes, a few at a time: each takes 19 MiB and tens of milliseconds.

use std::{sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Code, Status};

use service_kit::status;

/// How many passwords are hashed at once.
const PARALLEL: usize = 2;
/// How long a caller waits for its turn.
const WAIT: Duration = Duration::from_secs(3);

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(PARALLEL)),
        }
    }
}

impl Passwords {
    /// The hash of a password, with a salt of its own, as a PHC string.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` if too many wait.
    pub async fn hash(&self, password: String) -> Result<String, Status> {
        let hashed = self
            .work(move || {
                Argon2::default()
                    .hash_password(password.as_bytes())
                    .map(|hash| hash.to_string())
            })
            .await?;
        hashed.map_err(|error| {
            tracing::error!(%error, "a password cannot be hashed");
            status::internal()
        })
    }

    /// Whether `password` has this hash. Without a hash the same work is done and the answer is no, so
    /// that the time does not tell which addresses are registered.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` if too many wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Status> {
        self.work(move || {
            let Some(hash) = hash else {
                let _ = Argon2::default().hash_password(password.as_bytes());
                return false;
            };
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            })
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let message = "too many people log in at once, try again in a moment";
            return Err(status::error_info(
                Code::ResourceExhausted,
                "LOGINS_BUSY",
                message,
                [],
            ));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| status::internal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap());
        assert!(
            passwords
                .verify("correct horse".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("wrong horse".into(), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horse".into(), None)
                .await
                .unwrap()
        );
    }
}
