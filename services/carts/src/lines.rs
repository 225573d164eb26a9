//! The lines of a cart and how they change: plain data, no database.

use service_kit::{Money, money::MoneyError};

/// Most lines a cart may have.
pub const MAX_LINES: usize = 100;
/// Most units a line may have.
pub const MAX_UNITS: i64 = 999;

/// Units of one variant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The last part of its name.
    pub id: String,
    /// `products/{product}/variants/{variant}`.
    pub variant: String,
    /// The product's title.
    pub title: String,
    /// Size and colour.
    pub detail: String,
    /// 1 to [`MAX_UNITS`].
    pub quantity: i64,
    /// Of one unit.
    pub unit_price: Money,
}

/// A cart would become too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CartFull;

/// The id of the line of a variant: `monday--36-40-oat`.
pub fn line_id(variant: &str) -> String {
    variant
        .trim_start_matches("products/")
        .replace("/variants/", "--")
}

/// Adds units on top of those the cart has; the newest title and price count.
pub fn add(lines: &mut Vec<Line>, added: Line) -> Result<(), CartFull> {
    if let Some(line) = lines.iter_mut().find(|line| line.id == added.id) {
        if line.quantity + added.quantity > MAX_UNITS {
            return Err(CartFull);
        }
        *line = Line {
            quantity: line.quantity + added.quantity,
            ..added
        };
    } else if lines.len() < MAX_LINES && added.quantity <= MAX_UNITS {
        lines.push(added);
    } else {
        return Err(CartFull);
    }
    Ok(())
}

/// Adds the lines of another cart; what does not fit is left out.
pub fn merge(lines: &mut Vec<Line>, others: Vec<Line>) {
    for other in others {
        let held = lines
            .iter()
            .find(|line| line.id == other.id)
            .map_or(0, |line| line.quantity);
        let quantity = other.quantity.min(MAX_UNITS - held);
        if quantity > 0 {
            // A hundred and first line has no place.
            let _ = add(lines, Line { quantity, ..other });
        }
    }
}

/// Takes units out; lines without units go, variants that are not there are passed over.
pub fn take(lines: &mut Vec<Line>, variant: &str, quantity: i64) {
    if let Some(line) = lines.iter_mut().find(|line| line.variant == variant) {
        line.quantity -= quantity;
    }
    lines.retain(|line| line.quantity > 0);
}

/// The sum, or nothing for an empty cart.
pub fn total(lines: &[Line]) -> Result<Option<Money>, MoneyError> {
    let sums = lines
        .iter()
        .map(|line| line.unit_price.checked_mul(line.quantity));
    Money::sum(sums.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use service_kit::money::Currency;

    use super::*;

    fn line(variant: &str, quantity: i64) -> Line {
        let variant = format!("products/p/variants/{variant}");
        Line {
            id: line_id(&variant),
            variant,
            title: "Sock".into(),
            detail: "M".into(),
            quantity,
            unit_price: Money::new(250, Currency::new("EUR").unwrap()),
        }
    }

    fn quantities(lines: &[Line]) -> Vec<(&str, i64)> {
        lines
            .iter()
            .map(|line| (line.id.as_str(), line.quantity))
            .collect()
    }

    #[test]
    fn units_of_a_variant_are_added_up() {
        let mut lines = vec![line("a", 1)];
        add(&mut lines, line("b", 2)).unwrap();
        add(&mut lines, line("a", 3)).unwrap();
        assert_eq!(quantities(&lines), [("p--a", 4), ("p--b", 2)]);
        assert_eq!(total(&lines).unwrap().unwrap().minor_units(), 6 * 250);
        assert_eq!(total(&[]), Ok(None));
    }

    #[test]
    fn a_cart_has_limits() {
        let mut lines = vec![line("a", 990)];
        assert_eq!(add(&mut lines, line("a", 10)), Err(CartFull));
        assert_eq!(quantities(&lines), [("p--a", 990)]);
        lines.extend((1..MAX_LINES).map(|n| line(&format!("n{n}"), 1)));
        assert_eq!(add(&mut lines, line("z", 1)), Err(CartFull));
    }

    #[test]
    fn merging_keeps_what_fits() {
        let mut lines = vec![line("a", 990)];
        merge(&mut lines, vec![line("a", 20), line("b", 1)]);
        assert_eq!(quantities(&lines), [("p--a", 999), ("p--b", 1)]);
    }

    #[test]
    fn ordered_units_are_taken() {
        let mut lines = vec![line("a", 3), line("b", 1)];
        take(&mut lines, "products/p/variants/a", 2);
        take(&mut lines, "products/p/variants/b", 5);
        take(&mut lines, "products/p/variants/c", 1);
        assert_eq!(quantities(&lines), [("p--a", 1)]);
    }
}
