//! What `ListProducts` can ask for: the filter (AIP-160) and the order (AIP-132), as far as the
//! contract promises them.

/// One term of a filter; all of them must hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Term {
    /// `category = "hiking"`.
    Category(String),
    /// `price <= 12.50`, in minor units.
    PriceAtMost(i64),
    /// `price >= 5`, in minor units.
    PriceAtLeast(i64),
    /// `"merino"`: title or description contain it, in any case.
    Words(String),
}

/// What products are sorted by. Ties are broken by id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// `title`.
    Title,
    /// `price`: the lowest of the variants.
    Price,
    /// `create_time`.
    CreateTime,
}

/// A key and its direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Order {
    /// By what.
    pub key: Key,
    /// Largest first.
    pub descending: bool,
}

/// Most terms a filter may have.
const MAX_TERMS: usize = 10;

/// Parses a filter. An empty one has no terms.
///
/// # Errors
///
/// What is not understood, for the caller.
pub fn parse_filter(text: &str) -> Result<Vec<Term>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let terms = split_at_and(text)?
        .into_iter()
        .map(parse_term)
        .collect::<Result<Vec<_>, _>>()?;
    if terms.len() > MAX_TERMS {
        Err(format!("has more than {MAX_TERMS} terms"))
    } else {
        Ok(terms)
    }
}

/// Parses an order. An empty one is by title.
///
/// # Errors
///
/// What is not understood, for the caller.
pub fn parse_order(text: &str) -> Result<Order, String> {
    let mut words = text.split_whitespace();
    let key = match words.next() {
        None | Some("title") => Key::Title,
        Some("price") => Key::Price,
        Some("create_time") => Key::CreateTime,
        Some(other) => {
            return Err(format!(
                "`{other}` is none of `title`, `price`, `create_time`"
            ));
        }
    };
    let descending = match words.next() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => return Err(format!("`{other}` is neither `asc` nor `desc`")),
    };
    match words.next() {
        None => Ok(Order { key, descending }),
        Some(other) => Err(format!("`{other}` follows a complete order")),
    }
}

/// Splits at ` AND ` outside of quotes.
fn split_at_and(text: &str) -> Result<Vec<&str>, String> {
    let (mut terms, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if letter == '"' {
            quoted = !quoted;
        } else if !quoted && at >= start && text[at..].starts_with(" AND ") {
            terms.push(text[start..at].trim());
            start = at + " AND ".len();
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    terms.push(text[start..].trim());
    Ok(terms)
}

fn parse_term(term: &str) -> Result<Term, String> {
    if let Some(words) = unquoted(term) {
        return if words.trim().is_empty() {
            Err("words to look for are empty".into())
        } else {
            Ok(Term::Words(words.to_lowercase()))
        };
    }
    let understood = || {
        format!(
            "`{term}` is none of `category = \"id\"`, `price <= 12.50`, `price >= 5`, `\"words\"`"
        )
    };
    // Two-character operators first: `<=` also starts with `<`.
    let (name, operator, value) = ["<=", ">=", "="]
        .into_iter()
        .find_map(|operator| {
            let (name, value) = term.split_once(operator)?;
            Some((name.trim(), operator, value.trim()))
        })
        .ok_or_else(understood)?;
    match (name, operator) {
        ("category", "=") => Ok(Term::Category(unquoted(value).unwrap_or(value).to_owned())),
        ("price", "<=") => price(value).map(Term::PriceAtMost),
        ("price", ">=") => price(value).map(Term::PriceAtLeast),
        _ => Err(understood()),
    }
}

fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?
        .strip_suffix('"')
        .filter(|inner| !inner.contains('"'))
}

/// `12`, `12.5` or `12.50` as minor units.
fn price(text: &str) -> Result<i64, String> {
    let broken = || format!("`{text}` is no price such as `12.50`");
    let (units, cents) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units) || units.len() > 9 || !digits(cents) || cents.len() > 2 {
        return Err(broken());
    }
    let units: i64 = units.parse().map_err(|_| broken())?;
    let tenths = if cents.len() == 1 { 10 } else { 1 };
    let cents: i64 = cents.parse().map_err(|_| broken())?;
    Ok(units * 100 + cents * tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_joined_by_and() {
        let filter = r#"category = "wool" AND price <= 12.5 AND price>=5 AND "Salt AND pepper""#;
        assert_eq!(
            parse_filter(filter),
            Ok(vec![
                Term::Category("wool".into()),
                Term::PriceAtMost(1250),
                Term::PriceAtLeast(500),
                Term::Words("salt and pepper".into()),
            ])
        );
        assert_eq!(parse_filter("  "), Ok(vec![]));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (filter, named) in [
            ("color = red", "color = red"),
            ("price < 3", "price < 3"),
            ("price <= 1.234", "1.234"),
            ("price >= -1", "-1"),
            ("\"open", "quote"),
            ("\"\"", "empty"),
            ("category = \"a\" AND ", "``"),
        ] {
            let error = parse_filter(filter).unwrap_err();
            assert!(error.contains(named), "{filter}: {error}");
        }
    }

    #[test]
    fn orders_have_a_direction() {
        assert_eq!(
            parse_order(""),
            Ok(Order {
                key: Key::Title,
                descending: false
            })
        );
        assert_eq!(
            parse_order("price desc"),
            Ok(Order {
                key: Key::Price,
                descending: true
            })
        );
        assert!(parse_order("price up").unwrap_err().contains("up"));
        assert!(parse_order("size").unwrap_err().contains("size"));
        assert!(
            parse_order("price desc title")
                .unwrap_err()
                .contains("title")
        );
    }
}
