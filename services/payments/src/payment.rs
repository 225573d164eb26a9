//! One payment: what was asked for, and what each answer of the provider changes.

use service_kit::Money;

use crate::ledger::Movement;

/// What an authorization asks for. A repetition must ask for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// `orders/{order}`.
    pub order: String,
    /// `customers/{customer}`.
    pub customer: String,
    /// `cardTokens/{card_token}`.
    pub card_token: String,
    /// More than zero.
    pub amount: Money,
}

/// A payment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The last part of the name.
    pub id: String,
    /// The idempotency key of the authorization, the provider's key too.
    pub request_id: String,
    /// What was asked for; `None` where a key was closed before anything was asked with it.
    pub demand: Option<Demand>,
    /// What stands for the card at the provider.
    pub provider_token: String,
    /// Such as `visa`.
    pub card_brand: String,
    /// The last four digits of the card.
    pub card_last_four: String,
    /// How far it has come.
    pub stage: Stage,
    /// The `request_id` of the refund, if it was refunded.
    pub refund_request_id: Option<String>,
    /// When it was asked for, microseconds since 1970.
    pub create_time: i64,
}

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The provider was asked, or is about to be, and its answer is not known.
    Asked,
    /// The provider said no.
    Declined,
    /// Given up while nothing was held; the key can never hold anything again.
    Closed,
    /// The amount is held.
    Authorized,
    /// The amount was collected.
    Captured,
    /// The hold was given up.
    Voided,
    /// The amount was paid back.
    Refunded,
}

/// What the provider says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It holds the amount.
    Held,
    /// It does not hold the amount, and will not.
    Declined,
    /// It has given a hold up.
    Voided,
    /// It holds nothing under the key, and never will.
    Closed,
    /// It has collected the amount.
    Captured,
    /// It has paid the amount back.
    Refunded,
}

impl Stage {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Declined => "declined",
            Self::Closed => "closed",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }

    /// The stage of a word in the database.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Asked,
            Self::Declined,
            Self::Closed,
            Self::Authorized,
            Self::Captured,
            Self::Voided,
            Self::Refunded,
        ];
        all.into_iter().find(|stage| stage.as_str() == word)
    }

    /// Whether money was ever held: such a payment has a name that callers may use.
    pub fn was_held(self) -> bool {
        matches!(
            self,
            Self::Authorized | Self::Captured | Self::Voided | Self::Refunded
        )
    }

    /// What an event changes: the stage after it and the movements to write down, in order. An event
    /// that is known already, or came too late, changes nothing.
    pub fn after(self, event: Event) -> (Self, &'static [Movement]) {
        match (self, event) {
            (Self::Asked, Event::Held) => (Self::Authorized, &[Movement::Hold]),
            (Self::Asked, Event::Declined) => (Self::Declined, &[]),
            (Self::Asked, Event::Closed) => (Self::Closed, &[]),
            // The hold came to light only now: the books tell both of its ends.
            (Self::Asked, Event::Voided) => (Self::Voided, &[Movement::Hold, Movement::Release]),
            (Self::Authorized, Event::Voided | Event::Closed) => {
                (Self::Voided, &[Movement::Release])
            }
            (Self::Authorized, Event::Captured) => (Self::Captured, &[Movement::Collect]),
            (Self::Captured, Event::Refunded) => (Self::Refunded, &[Movement::PayBack]),
            _ => (self, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 6] = [
        Event::Held,
        Event::Declined,
        Event::Voided,
        Event::Closed,
        Event::Captured,
        Event::Refunded,
    ];

    #[test]
    fn every_event_changes_a_payment_at_most_once() {
        for first in EVENTS {
            let (stage, _) = Stage::Asked.after(first);
            for second in EVENTS {
                let (after, _) = stage.after(second);
                assert_eq!(
                    after.after(second),
                    (after, &[][..]),
                    "{first:?} {second:?}"
                );
            }
        }
    }

    #[test]
    fn money_is_collected_only_from_a_hold_and_paid_back_only_once() {
        for stage in [Stage::Asked, Stage::Declined, Stage::Closed, Stage::Voided] {
            assert_eq!(stage.after(Event::Captured), (stage, &[][..]));
            assert_eq!(stage.after(Event::Refunded), (stage, &[][..]));
        }
        assert_eq!(
            Stage::Captured.after(Event::Voided),
            (Stage::Captured, &[][..])
        );
    }

    #[test]
    fn closed_key_never_holds() {
        assert_eq!(Stage::Closed.after(Event::Held), (Stage::Closed, &[][..]));
        assert_eq!(Stage::Voided.after(Event::Held), (Stage::Voided, &[][..]));
    }

    #[test]
    fn stages_survive_the_database() {
        for word in [
            "asked",
            "declined",
            "closed",
            "authorized",
            "captured",
            "voided",
            "refunded",
        ] {
            assert_eq!(Stage::parse(word).map(Stage::as_str), Some(word));
        }
        assert_eq!(Stage::parse("paid"), None);
    }
}
