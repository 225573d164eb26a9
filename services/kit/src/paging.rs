//! Lists in pages, as AIP-158 says.
//!
//! A page token holds where the next page starts and a hash of what was asked for. Tokens are opaque
//! to callers but not secret: put nothing into them that the caller may not know.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::status;

/// The page that a caller wants.
#[derive(Clone, Debug)]
pub struct Page {
    size: usize,
    query: String,
    after: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    q: String,
    a: serde_json::Value,
}

/// How many items a page has.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// If the caller names none.
    pub default: u16,
    /// At most, whatever the caller names.
    pub max: u16,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            default: 50,
            max: 100,
        }
    }
}

impl Page {
    /// Reads `page_size` and `page_token` of a request. `query` is everything else that the list
    /// depends on (filter, order, parent, whose it is): a token only fits the query it came from.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` on a negative size, and on a token that is not ours or of another query.
    pub fn new(
        page_size: i32,
        page_token: &str,
        query: &[&str],
        sizes: Sizes,
    ) -> Result<Self, Status> {
        let size = match usize::try_from(page_size) {
            Err(_) => return Err(status::invalid("page_size", "must not be negative")),
            Ok(0) => usize::from(sizes.default),
            Ok(size) => size.min(usize::from(sizes.max)),
        };
        let query = fingerprint(query);
        let after = if page_token.is_empty() {
            None
        } else {
            let token = decode(page_token)
                .filter(|token| token.q == query)
                .ok_or_else(|| {
                    status::invalid("page_token", "is not a token that this query gave")
                })?;
            Some(token.a)
        };
        Ok(Self { size, query, after })
    }

    /// How many items the page has at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many rows to read: one more than the page has, to know whether another page follows.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size + 1).unwrap_or(i64::MAX)
    }

    /// Behind which position the page starts; `None` for the first page. The position is whatever
    /// [`Page::finish`] was given.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if the token holds something else.
    pub fn after<P: DeserializeOwned>(&self) -> Result<Option<P>, Status> {
        let Some(after) = &self.after else {
            return Ok(None);
        };
        serde_json::from_value(after.clone())
            .map(Some)
            .map_err(|_| status::invalid("page_token", "is not a token that this query gave"))
    }

    /// Cuts the rows that were read (up to [`Page::limit`]) to the page, and makes the token of the
    /// next one from the position of the last item; the token is empty on the last page.
    pub fn finish<T, P: Serialize>(
        &self,
        mut rows: Vec<T>,
        position: impl FnOnce(&T) -> P,
    ) -> (Vec<T>, String) {
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let token = match rows.last() {
            Some(last) if more => self.token(&position(last)),
            _ => String::new(),
        };
        (rows, token)
    }

    fn token<P: Serialize>(&self, position: &P) -> String {
        let token = serde_json::to_value(position).and_then(|a| {
            serde_json::to_vec(&Token {
                q: self.query.clone(),
                a,
            })
        });
        // Positions are texts and numbers, which always have a JSON form.
        token
            .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
            .unwrap_or_default()
    }
}

fn fingerprint(query: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
}

fn decode(token: &str) -> Option<Token> {
    if token.len() > 1024 {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: i32, token: &str, query: &[&str]) -> Result<Page, Status> {
        Page::new(size, token, query, Sizes { default: 3, max: 5 })
    }

    #[test]
    fn pages_cover_the_list_once() {
        let all: Vec<i64> = (0..11).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = page(4, &token, &["price"]).unwrap();
            let after = page.after::<i64>().unwrap().unwrap_or(-1);
            let limit = usize::try_from(page.limit()).unwrap();
            let rows = all
                .iter()
                .copied()
                .filter(|n| *n > after)
                .take(limit)
                .collect();
            let (rows, next) = page.finish(rows, |n| *n);
            seen.extend(rows);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn size_is_defaulted_and_capped() {
        assert_eq!(page(0, "", &[]).unwrap().size(), 3);
        assert_eq!(page(1000, "", &[]).unwrap().size(), 5);
        assert_eq!(
            page(-1, "", &[]).unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }

    #[test]
    fn foreign_and_broken_tokens_are_refused() {
        let (_, token) = page(1, "", &["a", "b"]).unwrap().finish(vec![1, 2], |n| *n);
        assert!(page(1, &token, &["a", "b"]).is_ok());
        for (token, query) in [
            (token.as_str(), ["ab", ""]),
            ("x", ["a", "b"]),
            ("e30", ["a", "b"]),
        ] {
            let refused = page(1, token, &query).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
        assert!(
            page(1, &token, &["a", "b"])
                .unwrap()
                .after::<String>()
                .is_err()
        );
    }
}
