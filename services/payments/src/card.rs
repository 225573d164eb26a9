//! Card data as the customer typed it: checked here, described by brand and last digits, forgotten.

use std::fmt;

/// A whole card. Lives only as long as the call that brought it; shows nothing of itself.
pub struct Card {
    number: Secret,
    expiry: Expiry,
}

/// Why something cannot be a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Not 12 to 19 digits, or the check digit is wrong.
    #[error("the card number is not valid")]
    Number,
    /// The last month of the card is over.
    #[error("the card has expired")]
    Expired,
}

/// The last month in which a card is good, in the card's own calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Four digits.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
}

/// What may be kept and shown of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `visa`, `mastercard`, ... or `unknown`.
    pub brand: String,
    /// The last four digits.
    pub last_four: String,
    /// Until when the card is good.
    pub expiry: Expiry,
}

/// Text that must not be shown: neither by `Debug` nor in any message.
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(redacted)")
    }
}

impl Drop for Secret {
    /// Overwrites the digits, so that they do not stay behind in freed memory.
    fn drop(&mut self) {
        let mut digits = std::mem::take(&mut self.0).into_bytes();
        digits.fill(b'0');
        std::hint::black_box(&digits);
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Card").finish_non_exhaustive()
    }
}

impl Card {
    /// Checks a typed number (spaces allowed between digits) and an expiry.
    ///
    /// # Errors
    ///
    /// [`CardError`]; it never repeats the number.
    pub fn check(typed: String, expiry: Expiry, today: Expiry) -> Result<Self, CardError> {
        let typed = Secret(typed);
        let number = Secret(typed.0.chars().filter(|digit| *digit != ' ').collect());
        if !is_card_number(&number.0) {
            return Err(CardError::Number);
        }
        if (expiry.year, expiry.month) < (today.year, today.month) {
            return Err(CardError::Expired);
        }
        Ok(Self { number, expiry })
    }

    /// The digits, for the provider and nobody else.
    pub fn number(&self) -> &str {
        &self.number.0
    }

    /// What may be kept.
    pub fn summary(&self) -> Summary {
        let digits = self.number();
        Summary {
            brand: brand(digits).to_owned(),
            last_four: digits[digits.len() - 4..].to_owned(),
            expiry: self.expiry,
        }
    }
}

/// Whether the text is 12 to 19 digits of which the last is the right check digit (ISO/IEC 7812-1).
fn is_card_number(digits: &str) -> bool {
    (12..=19).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && digits.bytes().any(|digit| digit != b'0')
        && luhn_sum(digits.bytes().map(|digit| u32::from(digit - b'0'))) % 10 == 0
}

fn luhn_sum(digits: impl DoubleEndedIterator<Item = u32>) -> u32 {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    digits
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 1 {
                doubled(digit)
            } else {
                digit
            }
        })
        .sum()
}

/// The brand by the issuer's prefix. The caller has checked that `digits` has at least 12 digits.
fn brand(digits: &str) -> &'static str {
    let prefix = |length: usize| digits[..length].parse::<u32>().unwrap_or(0);
    match (prefix(1), prefix(2), prefix(3), prefix(4)) {
        (4, ..) => "visa",
        (_, 51..=55, ..) | (.., 2221..=2720) => "mastercard",
        (_, 34 | 37, ..) => "amex",
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => "diners",
        (.., 6011) | (_, 65, ..) | (_, _, 644..=649, _) => "discover",
        (.., 3528..=3589) => "jcb",
        (_, 62, ..) => "unionpay",
        (_, 50 | 56..=58 | 63 | 67, ..) => "maestro",
        _ => "unknown",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TODAY: Expiry = Expiry {
        year: 2026,
        month: 11,
    };
    const LATER: Expiry = Expiry {
        year: 2030,
        month: 12,
    };

    fn check(number: &str) -> Result<Card, CardError> {
        Card::check(number.to_owned(), LATER, TODAY)
    }

    #[test]
    fn spaces_between_digits_are_allowed() {
        let card = check("4242 4242 4242 4242").unwrap();
        assert_eq!(card.summary().brand, "visa");
        assert_eq!(card.summary().last_four, "4242");
    }

    #[test]
    fn every_single_changed_digit_is_noticed() {
        let number = "4242424242424242";
        for place in 0..number.len() {
            for digit in '0'..='9' {
                let mut changed = number.to_owned();
                changed.replace_range(place..=place, &digit.to_string());
                assert_eq!(check(&changed).is_ok(), changed == number, "{changed}");
            }
        }
    }

    #[test]
    fn too_short_too_long_and_not_digits_are_refused() {
        for number in [
            "42424242",
            "42424242424242424242",
            "4242-4242-4242-4242",
            "",
            "0000000000000000",
        ] {
            assert_eq!(check(number).err(), Some(CardError::Number), "{number}");
        }
        assert_eq!(check("٤٢٤٢٤٢٤٢٤٢٤٢").err(), Some(CardError::Number));
    }

    #[test]
    fn a_card_is_good_until_its_last_month_is_over() {
        let until = |year, month| {
            Card::check("4242424242424242".to_owned(), Expiry { year, month }, TODAY).map(|_| ())
        };
        assert_eq!(until(2026, 11), Ok(()));
        assert_eq!(until(2026, 10), Err(CardError::Expired));
        assert_eq!(until(2025, 12), Err(CardError::Expired));
        assert_eq!(until(2027, 1), Ok(()));
    }

    #[test]
    fn brands_follow_the_prefix() {
        for (number, brand) in [
            ("5555555555554444", "mastercard"),
            ("2223003122003222", "mastercard"),
            ("378282246310005", "amex"),
            ("30569309025904", "diners"),
            ("6011111111111117", "discover"),
            ("3530111333300000", "jcb"),
            ("6200000000000005", "unionpay"),
            ("4000000000000341", "visa"),
        ] {
            assert_eq!(check(number).unwrap().summary().brand, brand, "{number}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_number() {
        let card = check("4242424242424242").unwrap();
        let shown = format!("{card:?} {:?} {:#?}", card.number, card);
        assert!(!shown.contains("4242"), "{shown}");
    }
}
