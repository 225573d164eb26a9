//! Looks at eight bytes at a time: the names and values of a call are a few hundred bytes.

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// Whether `is_there` says so of any eight bytes, of which the last may be less and are filled up with `a`.
#[inline]
pub(crate) fn any(bytes: &[u8], is_there: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let found = words
        .iter()
        .fold(0, |found, word| found | is_there(u64::from_le_bytes(*word)));
    let mut last = [b'a'; 8];
    match bytes.last_chunk::<8>() {
        Some(end) => last = *end,
        None => last[..rest.len()].copy_from_slice(rest),
    }
    found | is_there(u64::from_le_bytes(last)) != 0
}

/// Not 0 if a byte is below `limit`, which is at most 128.
#[inline]
pub(crate) fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH
}

/// Not 0 if a byte is above `limit`, which is at most 127.
#[inline]
pub(crate) fn above(word: u64, limit: u8) -> u64 {
    (word.wrapping_add(ONES * u64::from(127 - limit)) | word) & HIGH
}

/// Not 0 if a byte is `byte`.
#[inline]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_is_found_wherever_it_is() {
        for length in 1..20 {
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'b'; length];
                    bytes[place] = byte;
                    for limit in [1, 14, 0x21, 97] {
                        assert_eq!(any(&bytes, |word| below(word, limit)), byte < limit);
                    }
                    for limit in [0x7e, 0x7f, b'b'] {
                        assert_eq!(any(&bytes, |word| above(word, limit)), byte > limit);
                    }
                    assert_eq!(any(&bytes, |word| equal(word, b'@')), byte == b'@');
                }
            }
        }
        assert!(!any(&[], |word| below(word, 14)));
    }
}
