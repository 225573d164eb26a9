//! One-time tokens: how a workload without a certificate proves on a laptop who it is.
//!
//! A token is `weft1.<payload>.<tag>`, both base64url. The payload holds the service account, the
//! end of the token's life and a nonce; the tag is HMAC-SHA256 over it. Whoever can read the key can
//! mint tokens, so the key is a file with mode 0600 that only the control plane and `weft up` read.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{digest, hmac, rand::SecureRandom};

use crate::files::write_private;

/// The longest a token may live.
pub const MAX_TTL: Duration = Duration::from_secs(600);

const PREFIX: &str = "weft1";
const KEY_BYTES: usize = 32;
const MAX_TOKEN_BYTES: usize = 1024;
/// Used nonces are kept until their token ends; a full table refuses everyone rather than forget one.
const MAX_USED: usize = 100_000;

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token of this kind.
    #[error("the token is malformed")]
    Malformed,
    /// Signed with another key, or changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// It claims to live longer than any token may.
    #[error("the token lives longer than {} s", MAX_TTL.as_secs())]
    TooLong,
    /// Another key was already certified with it.
    #[error("the token was used before")]
    Used,
    /// The list of used tokens is full or cannot be written.
    #[error("no more tokens are accepted at the moment: {0}")]
    Busy(String),
}

/// Reads the key at `path`, or creates a random one there with mode 0600.
///
/// # Errors
/// If the file cannot be read or written, or is shorter than 32 bytes. The message names it.
pub fn load_or_create_key(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() >= KEY_BYTES => Ok(key),
        Ok(key) => {
            let length = key.len();
            let hint =
                format!("it has {length} bytes, a token key has 32; delete it to get a new one");
            Err(at(path, &io::Error::new(io::ErrorKind::InvalidData, hint)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = vec![0; KEY_BYTES];
            random(&mut key)?;
            write_private(path, &key).map_err(|error| at(path, &error))?;
            Ok(key)
        }
        Err(error) => Err(at(path, &error)),
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes a token with which a workload of `service_account` gets one certificate within `ttl`
/// (at most [`MAX_TTL`]).
///
/// # Errors
/// If the system has no randomness.
pub fn mint(key: &[u8], service_account: &str, ttl: Duration) -> io::Result<String> {
    let mut nonce = [0; 16];
    random(&mut nonce)?;
    let end = unix_seconds(SystemTime::now() + ttl.min(MAX_TTL));
    let payload = format!(
        "{service_account}\n{end}\n{}",
        URL_SAFE_NO_PAD.encode(nonce)
    );
    let tag = hmac::sign(&hmac_key(key), payload.as_bytes());
    Ok(format!(
        "{PREFIX}.{}.{}",
        URL_SAFE_NO_PAD.encode(&payload),
        URL_SAFE_NO_PAD.encode(tag)
    ))
}

/// Checks tokens and remembers which were used, across restarts if it has a file.
#[derive(Debug)]
pub struct Verifier {
    key: hmac::Key,
    used: Mutex<HashMap<String, Use>>,
    file: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    ends: u64,
    certified_key: String,
}

impl Verifier {
    /// A verifier that forgets with its process.
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: hmac_key(key),
            used: Mutex::default(),
            file: None,
        }
    }

    /// A verifier that keeps the used tokens in `file`.
    ///
    /// # Errors
    /// If the file is there but cannot be read, or not as what was written. The message names it.
    pub fn open(key: &[u8], file: &Path) -> io::Result<Self> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(file, &error)),
        };
        let text = String::from_utf8_lossy(&text);
        let mut used = HashMap::new();
        for (line, number) in text.lines().zip(1..) {
            // A line that is skipped would be a token that works twice.
            let (nonce, by) = parse_use(line).ok_or_else(|| {
                let hint = format!(
                    "line {number} is no used token; tokens live 10 minutes, so wait as long and delete the file"
                );
                at(file, &io::Error::new(io::ErrorKind::InvalidData, hint))
            })?;
            used.insert(nonce, by);
        }
        Ok(Self {
            key: hmac_key(key),
            used: Mutex::new(used),
            file: Some(file.to_owned()),
        })
    }

    /// The service account that `token` proves. The token is spent on `public_key`: presenting it
    /// again with the same key succeeds, so that a caller whose answer was lost can repeat itself,
    /// and with any other key fails.
    ///
    /// # Errors
    /// Why the token proves nothing.
    pub fn verify(&self, token: &str, public_key: &[u8]) -> Result<String, TokenError> {
        let payload = self.authentic_payload(token)?;
        let mut parts = payload.split('\n');
        let (Some(account), Some(end), Some(nonce), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let ends: u64 = end.parse().map_err(|_| TokenError::Malformed)?;
        let now = unix_seconds(SystemTime::now());
        if ends <= now {
            return Err(TokenError::Expired);
        }
        if ends > now + MAX_TTL.as_secs() + 1 {
            return Err(TokenError::TooLong);
        }
        let fingerprint = digest::digest(&digest::SHA256, public_key);
        let certified_key = URL_SAFE_NO_PAD.encode(fingerprint);
        self.spend(
            nonce,
            Use {
                ends,
                certified_key,
            },
            now,
        )?;
        Ok(account.to_owned())
    }

    fn authentic_payload(&self, token: &str) -> Result<String, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.trim().split('.');
        let (Some(PREFIX), Some(payload), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let decode = |part| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| TokenError::Malformed)
        };
        let (payload, tag) = (decode(payload)?, decode(tag)?);
        hmac::verify(&self.key, &payload, &tag).map_err(|_| TokenError::Signature)?;
        String::from_utf8(payload).map_err(|_| TokenError::Malformed)
    }

    fn spend(&self, nonce: &str, by: Use, now: u64) -> Result<(), TokenError> {
        let mut used = self.used.lock();
        match used.get(nonce) {
            Some(before) if *before == by => return Ok(()),
            Some(_) => return Err(TokenError::Used),
            None => {}
        }
        used.retain(|_, entry| entry.ends > now);
        if used.len() >= MAX_USED {
            return Err(TokenError::Busy("too many were used".to_owned()));
        }
        used.insert(nonce.to_owned(), by);
        let Some(file) = &self.file else {
            return Ok(());
        };
        let lines: String = used
            .iter()
            .map(|(nonce, by)| format!("{nonce} {} {}\n", by.ends, by.certified_key))
            .collect();
        write_private(file, lines.as_bytes()).map_err(|error| {
            used.remove(nonce);
            TokenError::Busy(error.to_string())
        })
    }
}

fn parse_use(line: &str) -> Option<(String, Use)> {
    let mut parts = line.split(' ');
    let nonce = parts.next()?.to_owned();
    let ends = parts.next()?.parse().ok()?;
    let certified_key = parts.next()?.to_owned();
    Some((
        nonce,
        Use {
            ends,
            certified_key,
        },
    ))
}

fn hmac_key(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    ring::rand::SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system has no randomness"))
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[7; 32];
    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn token_proves_its_account_once_per_key() {
        let verifier = Verifier::new(KEY);
        let token = mint(KEY, "orders", TTL).unwrap();
        assert_eq!(verifier.verify(&token, b"a").unwrap(), "orders");
        assert_eq!(verifier.verify(&token, b"a").unwrap(), "orders");
        assert_eq!(verifier.verify(&token, b"b"), Err(TokenError::Used));
    }

    #[test]
    fn used_tokens_stay_used_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("used");
        let token = mint(KEY, "orders", TTL).unwrap();
        let first = Verifier::open(KEY, &file).unwrap();
        first.verify(&token, b"a").unwrap();
        let second = Verifier::open(KEY, &file).unwrap();
        assert_eq!(second.verify(&token, b"b"), Err(TokenError::Used));
        assert_eq!(second.verify(&token, b"a").unwrap(), "orders");
    }

    #[test]
    fn damaged_files_are_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (key, used) = (dir.path().join("token.key"), dir.path().join("used"));
        fs::write(&key, "short").unwrap();
        fs::write(&used, "abc 5 x\nhalf a li").unwrap();
        let of_key = load_or_create_key(&key).unwrap_err().to_string();
        assert!(of_key.contains("token.key: it has 5 bytes"), "{of_key}");
        let of_used = Verifier::open(KEY, &used).unwrap_err().to_string();
        assert!(
            of_used.contains("used: line 2 is no used token"),
            "{of_used}"
        );
    }

    #[test]
    fn forged_expired_and_broken_tokens_prove_nothing() {
        let verifier = Verifier::new(KEY);
        let foreign = mint(&[8; 32], "orders", TTL).unwrap();
        assert_eq!(verifier.verify(&foreign, b"a"), Err(TokenError::Signature));
        let old = mint(KEY, "orders", Duration::ZERO).unwrap();
        assert_eq!(verifier.verify(&old, b"a"), Err(TokenError::Expired));
        let good = mint(KEY, "orders", TTL).unwrap();
        for broken in [
            "",
            "weft1",
            "a.b.c",
            &good[1..],
            &format!("{good}.x"),
            "weft1.!.!",
        ] {
            assert_eq!(verifier.verify(broken, b"a"), Err(TokenError::Malformed));
        }
        let mut parts: Vec<_> = good.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode("payments\n99999999999\nx");
        parts[1] = &other;
        let changed = parts.join(".");
        assert_eq!(verifier.verify(&changed, b"a"), Err(TokenError::Signature));
    }
}
