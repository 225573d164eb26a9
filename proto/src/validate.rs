//! What generated validators are made of. The rules and their meaning are those of
//! <https://protovalidate.com>, as far as the contracts use them.

use std::{fmt, sync::OnceLock};

use regex_lite::Regex;

/// A message whose contract restricts its fields.
pub trait Validate {
    /// Adds every broken rule below `at` to `found`.
    fn check(&self, at: &At<'_>, found: &mut Vec<Violation>);

    /// Checks every rule of the contract.
    ///
    /// # Errors
    ///
    /// All violations, in the order of the fields.
    fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut found = Vec::new();
        self.check(&At::ROOT, &mut found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where, in proto names: `order.lines[0].quantity`.
    pub field: String,
    /// Which rule: `number.gte`.
    pub rule: &'static str,
    /// What the rule demands: `must be at least 1`. Never repeats the value.
    pub message: String,
}

/// A place in a message, without allocation until it is shown.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    name: &'static str,
    index: Option<usize>,
}

impl At<'_> {
    /// The message itself.
    pub const ROOT: At<'static> = At {
        parent: None,
        name: "",
        index: None,
    };

    /// A field of the message at this place.
    pub fn field<'a>(&'a self, name: &'static str) -> At<'a> {
        At {
            parent: Some(self),
            name,
            index: None,
        }
    }

    /// An element of a repeated field of the message at this place.
    pub fn item<'a>(&'a self, name: &'static str, index: usize) -> At<'a> {
        At {
            parent: Some(self),
            name,
            index: Some(index),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
            if parent.parent.is_some() {
                out.write_str(".")?;
            }
        }
        out.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(out, "[{index}]"))
    }
}

/// A regular expression of a contract, compiled when it is first used.
pub struct Pattern {
    text: &'static str,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            regex: OnceLock::new(),
        }
    }

    pub fn check(&self, at: &At<'_>, value: &str, found: &mut Vec<Violation>) {
        let regex = self.regex.get_or_init(|| Regex::new(self.text).ok());
        let holds = regex.as_ref().is_some_and(|regex| regex.is_match(value));
        demand(holds, at, "string.pattern", found, || {
            format!("must match {}", self.text)
        });
    }
}

fn demand(
    holds: bool,
    at: &At<'_>,
    rule: &'static str,
    found: &mut Vec<Violation>,
    message: impl FnOnce() -> String,
) {
    if !holds {
        found.push(Violation {
            field: at.to_string(),
            rule,
            message: message(),
        });
    }
}

pub fn required(at: &At<'_>, name: &'static str, present: bool, found: &mut Vec<Violation>) {
    demand(present, &at.field(name), "required", found, || {
        "is required".into()
    });
}

pub fn min_items(
    at: &At<'_>,
    name: &'static str,
    len: usize,
    min: usize,
    found: &mut Vec<Violation>,
) {
    demand(
        len >= min,
        &at.field(name),
        "repeated.min_items",
        found,
        || {
            format!(
                "must have at least {min} element{}",
                if min == 1 { "" } else { "s" }
            )
        },
    );
}

pub fn max_items(
    at: &At<'_>,
    name: &'static str,
    len: usize,
    max: usize,
    found: &mut Vec<Violation>,
) {
    demand(
        len <= max,
        &at.field(name),
        "repeated.max_items",
        found,
        || format!("must have at most {max} elements"),
    );
}

pub fn min_len(at: &At<'_>, value: &str, min: usize, found: &mut Vec<Violation>) {
    demand(
        value.chars().count() >= min,
        at,
        "string.min_len",
        found,
        || match min {
            1 => "must not be empty".into(),
            _ => format!("must have at least {min} characters"),
        },
    );
}

pub fn max_len(at: &At<'_>, value: &str, max: usize, found: &mut Vec<Violation>) {
    demand(
        value.chars().count() <= max,
        at,
        "string.max_len",
        found,
        || format!("must have at most {max} characters"),
    );
}

pub fn prefix(at: &At<'_>, value: &str, prefix: &str, found: &mut Vec<Violation>) {
    demand(
        value.starts_with(prefix),
        at,
        "string.prefix",
        found,
        || format!("must start with `{prefix}`"),
    );
}

pub fn uuid(at: &At<'_>, value: &str, found: &mut Vec<Violation>) {
    let holds = value.len() == 36
        && value.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    demand(holds, at, "string.uuid", found, || "must be a UUID".into());
}

pub fn email(at: &At<'_>, value: &str, found: &mut Vec<Violation>) {
    // The HTML standard's definition of a valid e-mail address, as protovalidate uses it.
    static EMAIL: Pattern = Pattern::new(
        r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$",
    );
    let before = found.len();
    EMAIL.check(at, value, found);
    if let Some(violation) = found.get_mut(before) {
        violation.rule = "string.email";
        violation.message = "must be an e-mail address".into();
    }
}

pub fn at_least(at: &At<'_>, value: impl Into<i64>, min: i64, found: &mut Vec<Violation>) {
    demand(value.into() >= min, at, "number.gte", found, || {
        format!("must be at least {min}")
    });
}

pub fn at_most(at: &At<'_>, value: impl Into<i64>, max: i64, found: &mut Vec<Violation>) {
    demand(value.into() <= max, at, "number.lte", found, || {
        format!("must be at most {max}")
    });
}

pub fn not_in(at: &At<'_>, value: impl Into<i64>, refused: &[i64], found: &mut Vec<Violation>) {
    let value = value.into();
    demand(
        !refused.contains(&value),
        at,
        "number.not_in",
        found,
        || format!("must not be {value}"),
    );
}

pub fn longer(
    at: &At<'_>,
    value: &prost_types::Duration,
    min: (i64, i32),
    found: &mut Vec<Violation>,
) {
    demand(
        (value.seconds, value.nanos) >= min,
        at,
        "duration.gte",
        found,
        || format!("must be at least {} s", min.0),
    );
}

pub fn shorter(
    at: &At<'_>,
    value: &prost_types::Duration,
    max: (i64, i32),
    found: &mut Vec<Violation>,
) {
    demand(
        (value.seconds, value.nanos) <= max,
        at,
        "duration.lte",
        found,
        || format!("must be at most {} s", max.0),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockshop::{inventory::v1::ReserveStockRequest, orders::v1::*, payments::v1::*};

    fn violations(message: &impl Validate) -> Vec<(String, &'static str)> {
        message
            .validate()
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|violation| (violation.field, violation.rule))
            .collect()
    }

    fn order() -> PlaceOrderRequest {
        PlaceOrderRequest {
            request_id: "6f1c2e0a-9f4b-4a39-8b2e-0f6f3f9d3c11".into(),
            order: Some(Order {
                lines: vec![OrderLine {
                    variant: "products/argyle/variants/m".into(),
                    quantity: 2,
                    ..Default::default()
                }],
                shipping_address: Some(ShippingAddress {
                    recipient: "Ada".into(),
                    street: "1 Mill Lane".into(),
                    city: "London".into(),
                    postal_code: "N1".into(),
                    region_code: "GB".into(),
                }),
                email: "ada@example.com".into(),
                card_token: "cardTokens/test-succeeds".into(),
                ..Default::default()
            }),
        }
    }

    #[test]
    fn a_valid_order_passes() {
        assert_eq!(violations(&order()), []);
    }

    #[test]
    fn every_broken_field_is_named_with_its_path() {
        let mut request = order();
        request.request_id = "7".into();
        let inner = request.order.as_mut().unwrap();
        inner.lines[0].quantity = 0;
        inner.email = "ada".into();
        inner.shipping_address = None;
        assert_eq!(
            violations(&request),
            [
                ("request_id".to_owned(), "string.uuid"),
                ("order.lines[0].quantity".to_owned(), "number.gte"),
                ("order.shipping_address".to_owned(), "required"),
                ("order.email".to_owned(), "string.email"),
            ]
        );
    }

    #[test]
    fn durations_oneofs_and_lists_are_checked() {
        let reserve = ReserveStockRequest {
            request_id: order().request_id,
            time_to_live: Some(prost_types::Duration {
                seconds: 3601,
                nanos: 0,
            }),
            ..Default::default()
        };
        assert_eq!(
            violations(&reserve),
            [
                ("lines".to_owned(), "repeated.min_items"),
                ("time_to_live".to_owned(), "duration.lte")
            ]
        );
        assert_eq!(
            violations(&VoidPaymentRequest { target: None }),
            [("target".to_owned(), "required")]
        );
    }

    #[test]
    fn every_pattern_of_the_contracts_compiles() {
        let field = crate::pool()
            .get_extension_by_name("buf.validate.field")
            .unwrap();
        let mut seen = 0;
        for message in crate::pool().all_messages() {
            for descriptor in message.fields() {
                let options = descriptor.options();
                let text = format!("{}", options.get_extension(&field));
                if let Some((_, rest)) = text.split_once("pattern:\"") {
                    let pattern = rest
                        .split('"')
                        .next()
                        .unwrap_or_default()
                        .replace("\\\\", "\\");
                    assert!(
                        Regex::new(&pattern).is_ok(),
                        "{}: {pattern}",
                        descriptor.full_name()
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 10, "found {seen} patterns");
    }
}
