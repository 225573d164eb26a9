//! Money in minor units, such as cents. Never a floating-point number.

use std::fmt;

use contracts::google::r#type::Money as MoneyMessage;

/// An amount in the minor units of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

/// An ISO 4217 code, such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// What is wrong with an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("`{0}` is not a currency code of three capital letters")]
    Currency(String),
    /// `units` and `nanos` of different signs, or more than a whole unit in `nanos`.
    #[error("units {units} and nanos {nanos} do not make an amount")]
    Parts {
        /// The whole units.
        units: i64,
        /// The nano units.
        nanos: i32,
    },
    /// A fraction of the smallest coin.
    #[error("{currency} has no amount this small")]
    Fraction {
        /// Which currency.
        currency: Currency,
    },
    /// More than 64 bits of minor units.
    #[error("the amount is too large")]
    Overflow,
    /// Two currencies in one sum.
    #[error("{left} and {right} cannot be added")]
    Mixed {
        /// The currency on the left.
        left: Currency,
        /// The currency on the right.
        right: Currency,
    },
}

impl Currency {
    /// Reads a code of three capital letters.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(MoneyError::Currency(code.to_owned())),
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        // Three ASCII letters by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many minor units make one unit, as nano units per minor unit.
    fn nanos_per_minor_unit(self) -> i64 {
        match self.as_str() {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF"
            | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 1_000_000_000,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 1_000_000,
            _ => 10_000_000,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Money {
    /// An amount in minor units, such as cents.
    pub fn new(minor_units: i64, currency: Currency) -> Self {
        Self {
            minor_units,
            currency,
        }
    }

    /// An amount as it is stored.
    ///
    /// # Errors
    ///
    /// If `currency` is not a code.
    pub fn from_stored(minor_units: i64, currency: &str) -> Result<Self, MoneyError> {
        Ok(Self::new(minor_units, Currency::new(currency)?))
    }

    /// The amount, in minor units.
    pub fn minor_units(&self) -> i64 {
        self.minor_units
    }

    /// The currency.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The sum.
    ///
    /// # Errors
    ///
    /// If the currencies differ or the sum is too large.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed {
                left: self.currency,
                right: other.currency,
            });
        }
        let sum = self
            .minor_units
            .checked_add(other.minor_units)
            .ok_or(MoneyError::Overflow)?;
        Ok(Self::new(sum, self.currency))
    }

    /// The difference.
    ///
    /// # Errors
    ///
    /// As [`Money::checked_add`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(other.checked_mul(-1)?)
    }

    /// The amount `count` times.
    ///
    /// # Errors
    ///
    /// If it is too large.
    pub fn checked_mul(self, count: i64) -> Result<Self, MoneyError> {
        let product = self
            .minor_units
            .checked_mul(count)
            .ok_or(MoneyError::Overflow)?;
        Ok(Self::new(product, self.currency))
    }

    /// The sum of many amounts, `None` if there are none.
    ///
    /// # Errors
    ///
    /// As [`Money::checked_add`].
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Option<Self>, MoneyError> {
        amounts
            .into_iter()
            .try_fold(None, |sum: Option<Self>, amount| match sum {
                None => Ok(Some(amount)),
                Some(sum) => sum.checked_add(amount).map(Some),
            })
    }

    /// The amount as contracts tell it.
    pub fn to_message(self) -> MoneyMessage {
        let per_minor = self.currency.nanos_per_minor_unit();
        let per_unit = 1_000_000_000 / per_minor;
        let nanos = (self.minor_units % per_unit) * per_minor;
        MoneyMessage {
            currency_code: self.currency.to_string(),
            units: self.minor_units / per_unit,
            // Below one billion by the modulus above.
            nanos: i32::try_from(nanos).unwrap_or_default(),
        }
    }

    /// A contract's amount.
    ///
    /// # Errors
    ///
    /// If the currency is no code, the parts do not fit together, or the currency has no such amount.
    pub fn from_message(message: &MoneyMessage) -> Result<Self, MoneyError> {
        let currency = Currency::new(&message.currency_code)?;
        let (units, nanos) = (message.units, i64::from(message.nanos));
        if nanos.abs() > 999_999_999 || (units != 0 && nanos != 0 && (units < 0) != (nanos < 0)) {
            return Err(MoneyError::Parts {
                units,
                nanos: message.nanos,
            });
        }
        let per_minor = currency.nanos_per_minor_unit();
        if nanos % per_minor != 0 {
            return Err(MoneyError::Fraction { currency });
        }
        let minor_units = units
            .checked_mul(1_000_000_000 / per_minor)
            .and_then(|whole| whole.checked_add(nanos / per_minor))
            .ok_or(MoneyError::Overflow)?;
        Ok(Self::new(minor_units, currency))
    }
}

impl From<Money> for MoneyMessage {
    fn from(money: Money) -> Self {
        money.to_message()
    }
}

/// `EUR 12.50`, for people.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_unit = 1_000_000_000 / self.currency.nanos_per_minor_unit();
        let sign = if self.minor_units < 0 { "-" } else { "" };
        let amount = self.minor_units.unsigned_abs();
        let per_unit = per_unit.unsigned_abs();
        let (whole, part) = (amount / per_unit, amount % per_unit);
        match per_unit {
            1 => write!(f, "{} {sign}{whole}", self.currency),
            1_000 => write!(f, "{} {sign}{whole}.{part:03}", self.currency),
            _ => write!(f, "{} {sign}{whole}.{part:02}", self.currency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor_units: i64, currency: &str) -> Money {
        Money::from_stored(minor_units, currency).unwrap()
    }

    #[test]
    fn amounts_survive_the_contract() {
        for amount in [
            money(1999, "EUR"),
            money(-5, "USD"),
            money(700, "JPY"),
            money(1, "KWD"),
        ] {
            assert_eq!(Money::from_message(&amount.to_message()), Ok(amount));
        }
        assert_eq!(money(1999, "EUR").to_message().nanos, 990_000_000);
    }

    #[test]
    fn broken_amounts_are_refused() {
        let message = |code: &str, units, nanos| MoneyMessage {
            currency_code: code.into(),
            units,
            nanos,
        };
        for broken in [
            message("eur", 1, 0),
            message("EUR", 1, -10_000_000),
            message("EUR", 0, 1_000_000_000),
            message("EUR", 0, 5),
            message("JPY", 1, 500_000_000),
            message("EUR", i64::MAX, 0),
        ] {
            assert!(Money::from_message(&broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn arithmetic_refuses_overflow_and_mixing() {
        assert_eq!(
            money(2, "EUR").checked_add(money(3, "EUR")),
            Ok(money(5, "EUR"))
        );
        assert!(money(2, "EUR").checked_add(money(3, "USD")).is_err());
        assert_eq!(
            money(i64::MAX, "EUR").checked_mul(2),
            Err(MoneyError::Overflow)
        );
        assert_eq!(Money::sum([]), Ok(None));
        assert_eq!(money(-1250, "EUR").to_string(), "EUR -12.50");
    }
}
