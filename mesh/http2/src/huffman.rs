//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before plus one.
//! So the lengths say everything, and tables are computed from them at compile time. Decoding looks at
//! 12 bits at a time, which hold two letters or digits of most texts.

/// Not a code, the code of the end symbol, or wrong padding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Invalid;

const END: usize = 256;
/// The bits of each symbol's code; the last one ends a string and is never sent.
const LENGTHS: [u8; END + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;
const BITS: u32 = 12;

/// The codes by length: their number, the first of them, and where its symbol stands in `SORTED`.
struct Canon {
    counts: [u32; LONGEST + 1],
    first: [u32; LONGEST + 1],
    offset: [u32; LONGEST + 1],
    sorted: [u16; END + 1],
    codes: [u32; END + 1],
}

static CANON: Canon = canon();

const fn canon() -> Canon {
    let mut canon = Canon {
        counts: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        sorted: [0; END + 1],
        codes: [0; END + 1],
    };
    let (mut length, mut code, mut place) = (1, 0, 0);
    while length <= LONGEST {
        code <<= 1;
        canon.first[length] = code;
        canon.offset[length] = place as u32;
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                canon.sorted[place] = symbol as u16;
                canon.codes[symbol] = code;
                canon.counts[length] += 1;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    canon
}

/// What the next 12 bits hold: from the lowest bit on two symbols of 8 bits each, in 8 bits how many bits
/// those take that count, and how many bits their codes have. All 0 if the code is longer than 12 bits.
#[derive(Clone, Copy)]
struct Step(u32);

impl Step {
    const fn new(symbols: u16, count: u32, bits: u32) -> Self {
        Self(symbols as u32 | (8 * count) << 16 | bits << 24)
    }

    const fn symbols(self) -> u16 {
        self.0 as u16
    }

    const fn bits(self) -> u32 {
        self.0 >> 24
    }

    const fn is_one(self) -> bool {
        self.0 >> 16 & 0xff == 8
    }
}

static STEPS: [Step; 1 << BITS] = steps();

const fn steps() -> [Step; 1 << BITS] {
    let mut one = [Step(0); 1 << BITS];
    let canon = canon();
    let mut symbol = 0;
    while symbol < END {
        let length = LENGTHS[symbol] as u32;
        if length <= BITS {
            let mut at = (canon.codes[symbol] << (BITS - length)) as usize;
            let end = at + (1 << (BITS - length));
            while at < end {
                one[at] = Step::new(symbol as u16, 1, length);
                at += 1;
            }
        }
        symbol += 1;
    }
    let mut both = one;
    let mut at = 0;
    while at < 1 << BITS {
        let first = one[at];
        let second = one[(at << first.bits()) & ((1 << BITS) - 1)];
        let total = first.bits() + second.bits();
        if first.is_one() && second.is_one() && total <= BITS {
            both[at] = Step::new(first.symbols() | second.symbols() << 8, 2, total);
        }
        at += 1;
    }
    both
}

/// At least 57 bits of the input from this one on, the next one highest, and ones behind its end: as in
/// the padding, they are the beginning of no code that the input may have.
fn bits_from(input: &[u8], bit: usize) -> u64 {
    let rest = input.get(bit / 8..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(word) => *word,
        None => {
            let mut word = [0xff; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        }
    };
    u64::from_be_bytes(word) << (bit % 8)
}

/// The symbol that begins here, and the bits of its code, which are more than 12.
fn long_symbol(bits: u64) -> Result<(u8, usize), Invalid> {
    for length in BITS as usize + 1..=LONGEST {
        let code = (bits >> (64 - length)) as u32;
        let place = code.wrapping_sub(CANON.first[length]);
        if place < CANON.counts[length] {
            let symbol = CANON.sorted[(CANON.offset[length] + place) as usize];
            return Ok((u8::try_from(symbol).map_err(|_| Invalid)?, length));
        }
    }
    Err(Invalid)
}

/// Steps of which 57 bits are enough; as many are left for the padding.
const STEPS_AT_ONCE: usize = 4;

/// Appends what `input` stands for, and says whether all codes in it are short: those of control
/// characters are not.
///
/// # Errors
///
/// If it is not valid; something may have been appended then.
pub fn decode(input: &[u8], output: &mut Vec<u8>) -> Result<bool, Invalid> {
    let start = output.len();
    // The shortest code has 5 bits, and eight symbols are written even if fewer count.
    output.resize(start + input.len() * 8 / 5 + 2 * STEPS_AT_ONCE + 1, 0);
    let space = &mut output[start..];
    let (mut bit, mut at, mut is_short) = (0, 0, true);
    loop {
        let mut bits = bits_from(input, bit);
        // The sums of what steps say of their symbols, of codes in the upper half: at most 64 and 48.
        let (mut symbols, mut sums, mut last) = (0u64, 0, Step(0));
        for _ in 0..STEPS_AT_ONCE {
            last = STEPS[(bits >> (64 - BITS)) as usize];
            symbols |= u64::from(last.symbols()).wrapping_shl(sums);
            sums += last.0 >> 16;
            bits <<= last.bits();
        }
        space[at..at + 2 * STEPS_AT_ONCE].copy_from_slice(&symbols.to_le_bytes());
        at += (sums & 0xff) as usize / 8;
        bit += (sums >> 8) as usize;
        // Where there is a longer code or the padding, all further steps have stopped.
        if last.0 == 0 {
            let left = (input.len() * 8).checked_sub(bit).ok_or(Invalid)?;
            if left < 8 {
                if bits | u64::MAX >> left != u64::MAX {
                    return Err(Invalid);
                }
                output.truncate(start + at);
                return Ok(is_short);
            }
            let (symbol, length) = long_symbol(bits_from(input, bit))?;
            space[at] = symbol;
            (bit, at, is_short) = (bit + length, at + 1, false);
        }
    }
}

/// How many bytes `input` takes when encoded.
pub fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input
        .iter()
        .map(|&byte| usize::from(LENGTHS[usize::from(byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the code of `input`.
pub fn encode(input: &[u8], output: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0);
    for &byte in input {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(CANON.codes[usize::from(byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            output.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        let padding = 8 - count;
        output.push((bits << padding) as u8 | (0xff >> count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut output = Vec::new();
        let is_short = decode(input, &mut output)?;
        assert!(!is_short || output.iter().all(|byte| (b' '..=b'~').contains(byte)));
        Ok(output)
    }

    #[test]
    fn the_codes_are_those_of_appendix_b() {
        for (symbol, code) in [
            (0, 0x1ff8),
            (9, 0xff_ffea),
            (10, 0x3fff_fffc),
            (48, 0x0),
            (65, 0x21),
            (92, 0x7fff0),
            (127, 0xfff_fffc),
            (128, 0xfffe6),
            (249, 0xfff_fffe),
            (255, 0x3ff_ffee),
            (END, 0x3fff_ffff),
        ] {
            assert_eq!(CANON.codes[symbol], code, "symbol {symbol}");
        }
    }

    #[test]
    fn the_examples_of_appendix_c_are_decoded() {
        let www: &[u8] = &[
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(www).as_deref(), Ok(&b"www.example.com"[..]));
        let no_cache: &[u8] = &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(decoded(no_cache).as_deref(), Ok(&b"no-cache"[..]));
        let mut encoded = Vec::new();
        encode(b"www.example.com", &mut encoded);
        assert_eq!(encoded, www);
    }

    #[test]
    fn wrong_padding_and_the_end_symbol_are_refused() {
        // `0` is 00000: the rest must be ones, and fewer than eight.
        assert_eq!(decoded(&[0b0000_0111]).as_deref(), Ok(&b"0"[..]));
        assert_eq!(decoded(&[0b0000_0110]), Err(Invalid));
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Err(Invalid));
        assert_eq!(decoded(&[]).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn every_byte_survives_alone_and_between_others() {
        for byte in 0..=255 {
            for text in [vec![byte], vec![b'a', byte, b'0', byte, byte, b'z']] {
                let mut encoded = Vec::new();
                encode(&text, &mut encoded);
                assert_eq!(encoded.len(), encoded_len(&text));
                assert_eq!(decoded(&encoded), Ok(text));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text: Vec<u8>) {
            let mut encoded = Vec::new();
            encode(&text, &mut encoded);
            prop_assert_eq!(decoded(&encoded), Ok(text));
        }

        #[test]
        fn what_is_decoded_has_one_code(input: Vec<u8>) {
            if let Ok(text) = decoded(&input) {
                let mut encoded = Vec::new();
                encode(&text, &mut encoded);
                prop_assert_eq!(encoded, input);
            }
        }
    }
}
