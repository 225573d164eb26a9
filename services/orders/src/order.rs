//! An order: what somebody bought, and where its saga stands.

use serde::{Deserialize, Serialize};
use service_kit::{Money, ids};

use crate::saga::{Saga, State};

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The last part of its name.
    pub id: String,
    /// What was asked for.
    pub placement: Placement,
    /// The lines with title and price of the moment they were ordered.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub total: Money,
    /// Every state so far, oldest first; the last is the current one.
    pub history: Vec<Change>,
    /// Where the saga stands.
    pub saga: Saga,
    /// The trace of the call that placed it; empty if there was none.
    pub traceparent: String,
}

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// `customers/{customer}`.
    pub customer: String,
    /// The caller's idempotency key, in lower case.
    pub request_id: String,
    /// Variants and units, each variant once.
    pub items: Vec<Item>,
    /// Where the parcel goes.
    pub address: Address,
    /// Where mails go.
    pub email: String,
    /// `cardTokens/{card_token}`; empty when it is not needed any more.
    pub card_token: String,
}

/// Units of one variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `products/{product}/variants/{variant}`.
    pub variant: String,
    /// 1 to 999.
    pub quantity: i32,
}

/// Units of one variant with what the catalogue said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What and how many.
    #[serde(flatten)]
    pub item: Item,
    /// The title of the product.
    pub title: String,
    /// The price of one unit in minor units of the order's currency.
    pub unit_price: i64,
}

/// Where a parcel goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives the parcel.
    pub recipient: String,
    /// Street and number.
    pub street: String,
    /// Town.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub region_code: String,
}

/// A state an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub state: State,
    /// When, microseconds since 1970.
    pub time: i64,
}

/// A variant as the catalogue sells it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `products/{product}/variants/{variant}`.
    pub variant: String,
    /// The title of its product.
    pub title: String,
    /// The price of one unit.
    pub price: Money,
}

/// Why what was asked for cannot become an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsellable {
    /// The variant of an earlier line again.
    #[error("line {0} repeats a variant")]
    Repeated(usize),
    /// The catalogue did not answer for this line.
    #[error("`{0}` is not in the catalogue")]
    Missing(String),
    /// The sum has no meaning: two currencies, or too large.
    #[error("the lines do not add up")]
    Sum,
}

impl Placement {
    /// A text that is the same for the same request, whoever sends it. It tells nothing of its parts.
    pub fn fingerprint(&self) -> String {
        let address = &self.address;
        let asked = format!(
            "{:?}",
            (&self.items, address, &self.email, &self.card_token)
        );
        ids::derived_id(&asked)
    }

    /// Checks that no variant comes twice.
    ///
    /// # Errors
    ///
    /// [`Unsellable::Repeated`] with the index of the second line.
    pub fn check_variants(&self) -> Result<(), Unsellable> {
        let mut seen = std::collections::HashSet::new();
        let again = self
            .items
            .iter()
            .position(|item| !seen.insert(&item.variant));
        again.map_or(Ok(()), |index| Err(Unsellable::Repeated(index)))
    }
}

impl Order {
    /// A new order at the prices of `offers`.
    ///
    /// # Errors
    ///
    /// [`Unsellable`].
    pub fn new(
        placement: Placement,
        offers: &[Offer],
        traceparent: String,
        now: i64,
    ) -> Result<Self, Unsellable> {
        placement.check_variants()?;
        let mut lines = Vec::new();
        let mut prices = Vec::new();
        for item in &placement.items {
            let offer = offers.iter().find(|offer| offer.variant == item.variant);
            let offer = offer.ok_or_else(|| Unsellable::Missing(item.variant.clone()))?;
            let price = offer.price.checked_mul(i64::from(item.quantity));
            prices.push(price.map_err(|_| Unsellable::Sum)?);
            lines.push(Line {
                item: item.clone(),
                title: offer.title.clone(),
                unit_price: offer.price.minor_units(),
            });
        }
        let total = Money::sum(prices).ok().flatten().ok_or(Unsellable::Sum)?;
        let saga = Saga::new(now);
        Ok(Self {
            id: ids::new_id(),
            placement,
            lines,
            total,
            history: vec![Change {
                state: saga.state,
                time: now,
            }],
            saga,
            traceparent,
        })
    }

    /// `orders/{order}`.
    pub fn name(&self) -> String {
        format!("orders/{}", self.id)
    }

    /// When it was placed.
    pub fn create_time(&self) -> i64 {
        self.history.first().map_or(0, |change| change.time)
    }

    /// When its state last changed.
    pub fn update_time(&self) -> i64 {
        self.history.last().map_or(0, |change| change.time)
    }

    /// The order with the saga moved on at `now`.
    pub fn moved(&self, saga: Saga, now: i64) -> Self {
        let mut order = self.clone();
        if saga.state != self.saga.state {
            // A clock that was set back must not make history run backwards.
            let time = now.max(self.update_time());
            order.history.push(Change {
                state: saga.state,
                time,
            });
        }
        if saga.state.is_final() {
            order.placement.card_token.clear();
        }
        order.saga = saga;
        order
    }

    /// The order as it was when its history had `length` entries.
    pub fn as_of(&self, length: usize) -> Self {
        let mut order = self.clone();
        order.history.truncate(length.max(1));
        if let Some(change) = order.history.last() {
            order.saga.state = change.state;
        }
        order
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service_kit::money::Currency;

    use super::*;

    fn placement(items: &[(&str, i32)]) -> Placement {
        let item = |&(variant, quantity): &(&str, i32)| Item {
            variant: variant.into(),
            quantity,
        };
        Placement {
            customer: "customers/1".into(),
            request_id: "r".into(),
            items: items.iter().map(item).collect(),
            address: Address {
                recipient: "A".into(),
                street: "B 1".into(),
                city: "C".into(),
                postal_code: "1".into(),
                region_code: "DE".into(),
            },
            email: "a@example.com".into(),
            card_token: "cardTokens/1".into(),
        }
    }

    fn offer(variant: &str, price: i64, currency: &str) -> Offer {
        Offer {
            variant: variant.into(),
            title: "Socks".into(),
            price: Money::new(price, Currency::new(currency).unwrap()),
        }
    }

    fn place(items: &[(&str, i32)], offers: &[Offer]) -> Result<Order, Unsellable> {
        Order::new(placement(items), offers, String::new(), 7)
    }

    #[test]
    fn total_is_the_sum_of_prices_times_units() {
        let offers = [offer("a", 1299, "EUR"), offer("b", 50, "EUR")];
        let order = place(&[("b", 2), ("a", 3)], &offers).unwrap();
        assert_eq!(order.total.minor_units(), 3 * 1299 + 100);
        assert_eq!(order.lines[0].item.variant, "b");
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let offers = [
            offer("a", 1, "EUR"),
            offer("b", 1, "USD"),
            offer("c", i64::MAX, "EUR"),
        ];
        let sum = |items| place(items, &offers).map(drop);
        assert_eq!(sum(&[("a", 1), ("b", 1)]), Err(Unsellable::Sum));
        assert_eq!(sum(&[("c", 2)]), Err(Unsellable::Sum));
        assert_eq!(sum(&[("a", 1), ("c", 1)]), Err(Unsellable::Sum));
        assert_eq!(sum(&[("a", 1), ("a", 1)]), Err(Unsellable::Repeated(1)));
        assert_eq!(sum(&[("x", 1)]), Err(Unsellable::Missing("x".into())));
    }

    #[test]
    fn history_grows_with_the_state_only_and_never_backwards() {
        let order = place(&[("a", 1)], &[offer("a", 1, "EUR")]).unwrap();
        let mut saga = order.saga.clone();
        saga.attempts = 3;
        let order = order.moved(saga.clone(), 9);
        assert_eq!(order.history.len(), 1);
        saga.state = State::Reserved;
        let order = order.moved(saga, 3);
        assert_eq!(order.history[1].time, 7);
        assert_eq!(order.as_of(1).saga.state, State::Pending);
    }

    #[test]
    fn token_is_forgotten_at_the_end() {
        let order = place(&[("a", 1)], &[offer("a", 1, "EUR")]).unwrap();
        let mut saga = order.saga.clone();
        saga.state = State::Paid;
        assert_eq!(order.moved(saga, 9).placement.card_token, "");
    }

    #[test]
    fn fingerprint_depends_on_what_is_asked_for_only() {
        let one = placement(&[("a", 1)]);
        let mut other = one.clone();
        other.request_id = "s".into();
        assert_eq!(one.fingerprint(), other.fingerprint());
        other.items[0].quantity = 2;
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
