//! Double-entry bookkeeping: money only moves between accounts, so every movement sums to zero.

use service_kit::Money;

/// Whose books an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// What customers have promised; negative while holds are open.
    CustomerHolds,
    /// What the shop was promised.
    MerchantHolds,
    /// What customers' cards have paid; negative by all that was collected.
    CustomerCards,
    /// What the shop has collected.
    Merchant,
}

impl Account {
    /// The name in contracts and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerHolds => "customer-holds",
            Self::MerchantHolds => "merchant-holds",
            Self::CustomerCards => "customer-cards",
            Self::Merchant => "merchant",
        }
    }
}

/// A change of who has, or was promised, how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// An amount is held on a card.
    Hold,
    /// A held amount is given up.
    Release,
    /// A held amount is collected: the promise ends, the money comes.
    Collect,
    /// A collected amount is paid back.
    PayBack,
}

impl Movement {
    /// From which account to which, for every part of the movement.
    fn flows(self) -> &'static [(Account, Account)] {
        use Account::{CustomerCards, CustomerHolds, Merchant, MerchantHolds};
        match self {
            Self::Hold => &[(CustomerHolds, MerchantHolds)],
            Self::Release => &[(MerchantHolds, CustomerHolds)],
            Self::Collect => &[(MerchantHolds, CustomerHolds), (CustomerCards, Merchant)],
            Self::PayBack => &[(Merchant, CustomerCards)],
        }
    }

    /// The entries of the movement in minor units of its currency. They sum to zero.
    pub fn entries(self, amount: Money) -> Vec<(Account, i64)> {
        let minor = amount.minor_units();
        let both = |&(from, to): &(Account, Account)| [(from, -minor), (to, minor)];
        self.flows().iter().flat_map(both).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn balances(movements: &[Movement]) -> BTreeMap<Account, i64> {
        let amount = Money::from_stored(1299, "EUR").unwrap();
        let mut balances = BTreeMap::new();
        for movement in movements {
            let entries = movement.entries(amount);
            assert_eq!(entries.iter().map(|(_, minor)| minor).sum::<i64>(), 0);
            for (account, minor) in entries {
                *balances.entry(account).or_default() += minor;
            }
        }
        balances.retain(|_, minor| *minor != 0);
        balances
    }

    #[test]
    fn hold_that_is_given_up_leaves_nothing() {
        assert_eq!(
            balances(&[Movement::Hold, Movement::Release]),
            BTreeMap::new()
        );
    }

    #[test]
    fn collected_hold_moves_the_money_from_card_to_merchant() {
        let expected = [(Account::CustomerCards, -1299), (Account::Merchant, 1299)];
        assert_eq!(
            balances(&[Movement::Hold, Movement::Collect]),
            expected.into()
        );
    }

    #[test]
    fn money_that_is_paid_back_leaves_nothing() {
        let all = [Movement::Hold, Movement::Collect, Movement::PayBack];
        assert_eq!(balances(&all), BTreeMap::new());
    }
}
