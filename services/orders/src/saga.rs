//! The way of an order through stock and payment, as a state machine without I/O.
//!
//! ```text
//! Reserve -> Authorize -> Confirm -> Capture -> TakeLines -> done      PAID
//!    |           |           |          |
//!    |           |           |          +-> Void [-> Refund] -> Release -> done      REJECTED
//!    |           |           +------------> Void ------------> Release -> done
//!    |           +--------------------------[Void] ----------> Release -> done
//!    +-------------------------------------------------------------------> done
//! ```
//!
//! A [`Saga`] names the one step that is to be done next. Whoever runs it does the step, reports the
//! [`Outcome`] and gets a [`Change`]: what to write down before anything else is done. A step may be
//! done more than once, after a crash or without an answer, always with the same request id
//! ([`Step::request_id`]); the peers make that harmless.

use std::time::Duration;

use service_kit::ids;

/// Tries of an authorization that the payment provider may leave without an answer.
const PROVIDER_ATTEMPTS: i64 = 3;
/// How long an order waits for the payment service to take the authorization.
const AUTHORIZE_PATIENCE: Duration = Duration::from_secs(60);
/// How long an order that is confirmed waits for its money before it is given up.
const CAPTURE_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Tries of taking the ordered lines out of the cart, which is a convenience.
const TAKE_LINES_ATTEMPTS: i64 = 20;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// How far an order has come, for everybody to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Placed; nothing reserved yet.
    Pending,
    /// The stock is reserved.
    Reserved,
    /// The amount is held on the card.
    Authorized,
    /// The stock is sold to this order.
    Confirmed,
    /// The amount was collected. Final.
    Paid,
    /// Something failed; stock and money are being given back.
    Compensating,
    /// Not sold; stock and money are as before. Final.
    Rejected,
}

impl State {
    /// Whether the state never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Paid | Self::Rejected)
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reserve the stock of all lines.
    Reserve,
    /// Hold the total on the card.
    Authorize,
    /// Turn the reservation into a sale.
    Confirm,
    /// Collect the held amount.
    Capture,
    /// Take the ordered lines out of the customer's cart.
    TakeLines,
    /// Give the held amount up, by name or by the authorization's request id.
    Void,
    /// Pay a collected amount back.
    Refund,
    /// Give the stock back.
    Release,
    /// Nothing.
    Done,
}

impl Step {
    /// The request id of this step of an order: the same at every repetition.
    pub fn request_id(self, order: &str) -> String {
        ids::derived_id(&format!("orders/{order} {self:?}"))
    }
}

/// Why an order is rejected, as the contract names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rejection {
    /// A variant has too few units; which one, if the peer said so.
    OutOfStock(Option<Shortage>),
    /// The card's bank said no.
    CardDeclined,
    /// There is no such token for this customer.
    CardTokenNotFound,
    /// The token's half hour is over.
    CardTokenExpired,
    /// The payment did not come through in time.
    PaymentTimedOut,
}

/// What there is too little of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shortage {
    /// `products/{product}/variants/{variant}`.
    pub variant: String,
    /// How many units there were.
    pub available: u32,
}

impl Rejection {
    /// The reason in `ErrorInfo` and in the order.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OutOfStock(_) => "OUT_OF_STOCK",
            Self::CardDeclined => "CARD_DECLINED",
            Self::CardTokenNotFound => "CARD_TOKEN_NOT_FOUND",
            Self::CardTokenExpired => "CARD_TOKEN_EXPIRED",
            Self::PaymentTimedOut => "PAYMENT_TIMED_OUT",
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Reserve` made this reservation.
    Reserved(String),
    /// `Authorize` made this payment.
    Authorized(String),
    /// The step did what it should, or had done it before, or there is nothing to be done.
    Done,
    /// The step can never succeed, and nothing of it is there.
    Refused(Rejection),
    /// `Void` is too late: the amount was collected.
    Captured,
    /// No answer, or one that says nothing about the outcome.
    Unknown(Cause),
}

/// Where an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The payment provider did not answer the payment service.
    Provider,
    /// The peer did not answer us, or not as the contract says.
    Peer,
}

/// Where an order stands. The durable log of its saga is this value, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saga {
    /// What everybody sees.
    pub state: State,
    /// What is to be done next.
    pub step: Step,
    /// How often the step was tried in vain.
    pub attempts: i64,
    /// When the step became the next one, microseconds since 1970.
    pub step_since: i64,
    /// The reservation, once there is one.
    pub reservation: Option<String>,
    /// The payment, once it is known.
    pub payment: Option<String>,
    /// Why the order is being given up or was rejected.
    pub rejection: Option<Rejection>,
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the order stands now.
    pub saga: Saga,
    /// How long to wait before the next step; `None` when none is left.
    pub wait: Option<Duration>,
}

impl Saga {
    /// An order that was just placed.
    pub fn new(now: i64) -> Self {
        Self {
            state: State::Pending,
            step: Step::Reserve,
            attempts: 0,
            step_since: now,
            reservation: None,
            payment: None,
            rejection: None,
        }
    }

    /// What follows from the outcome of [`Saga::step`] at `now`. An outcome that the step cannot have
    /// counts as unknown.
    pub fn after(&self, outcome: Outcome, now: i64) -> Change {
        let mut next = self.clone();
        match (self.step, outcome) {
            (Step::Reserve, Outcome::Reserved(name)) => {
                next.reservation = Some(name);
                next.go(State::Reserved, Step::Authorize);
            }
            (Step::Reserve, Outcome::Refused(why)) => {
                next.rejection = Some(why);
                next.go(State::Rejected, Step::Done);
            }
            (Step::Authorize, Outcome::Authorized(name)) => {
                next.payment = Some(name);
                next.go(State::Authorized, Step::Confirm);
            }
            (Step::Authorize, Outcome::Refused(why)) => next.give_up(why, Step::Release),
            (Step::Authorize, Outcome::Unknown(cause)) if self.authorize_is_over(cause, now) => {
                next.give_up(Rejection::PaymentTimedOut, Step::Void);
            }
            (Step::Confirm, Outcome::Done) => next.go(State::Confirmed, Step::Capture),
            (Step::Confirm, Outcome::Refused(why)) => next.give_up(why, Step::Void),
            (Step::Capture, Outcome::Done) => next.go(State::Paid, Step::TakeLines),
            (Step::Capture, Outcome::Refused(why)) => next.give_up(why, Step::Void),
            (Step::Capture, Outcome::Unknown(_)) if self.waited(now) >= CAPTURE_PATIENCE => {
                next.give_up(Rejection::PaymentTimedOut, Step::Void);
            }
            (Step::TakeLines, Outcome::Done | Outcome::Refused(_)) => next.step = Step::Done,
            (Step::TakeLines, Outcome::Unknown(_)) if self.attempts + 1 >= TAKE_LINES_ATTEMPTS => {
                next.step = Step::Done;
            }
            (Step::Void, Outcome::Done | Outcome::Refused(_)) | (Step::Refund, Outcome::Done) => {
                next.step = Step::Release;
            }
            (Step::Void, Outcome::Captured) => next.step = Step::Refund,
            (Step::Release, Outcome::Done) => next.go(State::Rejected, Step::Done),
            _ => return self.again(),
        }
        next.attempts = 0;
        next.step_since = now;
        let wait = (next.step != Step::Done).then_some(Duration::ZERO);
        Change { saga: next, wait }
    }

    fn go(&mut self, state: State, step: Step) {
        self.state = state;
        self.step = step;
    }

    fn give_up(&mut self, why: Rejection, first: Step) {
        self.rejection = Some(why);
        self.go(State::Compensating, first);
    }

    fn authorize_is_over(&self, cause: Cause, now: i64) -> bool {
        match cause {
            Cause::Provider => self.attempts + 1 >= PROVIDER_ATTEMPTS,
            Cause::Peer => self.waited(now) >= AUTHORIZE_PATIENCE,
        }
    }

    fn waited(&self, now: i64) -> Duration {
        Duration::from_micros(u64::try_from(now - self.step_since).unwrap_or(0))
    }

    /// The same step once more, each time after a longer wait.
    fn again(&self) -> Change {
        let mut saga = self.clone();
        saga.attempts += 1;
        let doublings = u32::try_from(self.attempts).unwrap_or(u32::MAX).min(16);
        let wait = FIRST_BACKOFF * 2_u32.pow(doublings);
        Change {
            saga,
            wait: Some(wait.min(LONGEST_BACKOFF)),
        }
    }
}

#[cfg(test)]
mod tests;
