//! Paths that came before.

use std::fmt;

use crate::huffman::{self, Invalid};

/// How many paths are remembered: each has one place.
const PLACES: usize = 16;
/// The longest code that is remembered.
const MOST_BYTES: usize = 96;

/// What a path in Huffman code stands for. Some encoders (of h2, nghttp2) leave paths out of the table and
/// send them as literals, the same few in each call: decoding them would take as long as all the rest.
#[derive(Default)]
pub(super) struct Paths(Vec<Known>);

#[derive(Clone, Default)]
struct Known {
    code: Vec<u8>,
    path: Vec<u8>,
}

/// Without the paths, which may be secret.
impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paths").finish_non_exhaustive()
    }
}

impl Paths {
    /// As [`huffman::decode`].
    pub fn decode(&mut self, code: &[u8], output: &mut Vec<u8>) -> Result<bool, Invalid> {
        if self.0.is_empty() {
            self.0.resize(PLACES, Known::default());
        }
        let known = &mut self.0[place(code)];
        if known.code == code {
            output.extend_from_slice(&known.path);
            return Ok(true);
        }
        let start = output.len();
        let is_short = huffman::decode(code, output)?;
        if is_short && code.len() <= MOST_BYTES {
            known.code.clear();
            known.code.extend_from_slice(code);
            known.path.clear();
            known.path.extend_from_slice(&output[start..]);
        }
        Ok(is_short)
    }
}

/// By the end, where methods of a service differ.
fn place(code: &[u8]) -> usize {
    let end = code.iter().rev().take(4);
    let sum = end.fold(code.len(), |sum, &byte| sum * 31 + usize::from(byte));
    sum % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_at_first_and_later_and_others_take_its_place() {
        let mut paths = Paths::default();
        let texts: Vec<_> = (0..100)
            .map(|number| format!("/sockshop.orders.v1.OrderService/Method{number}"))
            .chain([String::new(), "/".repeat(500)])
            .collect();
        for text in texts.iter().chain(&texts).flat_map(|text| [text, text]) {
            let (mut code, mut output) = (Vec::new(), b"before".to_vec());
            huffman::encode(text.as_bytes(), &mut code);
            assert_eq!(paths.decode(&code, &mut output), Ok(true));
            assert_eq!(output, [b"before", text.as_bytes()].concat());
        }
        let kept = |known: &Known| known.code.len() <= MOST_BYTES;
        assert!(paths.0.iter().all(kept));
        for _ in 0..2 {
            assert_eq!(paths.decode(&[0xff; 5], &mut Vec::new()), Err(Invalid));
        }
    }
}
