//! Every way through the machine.

use std::collections::BTreeSet;

use super::*;

const SECOND: i64 = 1_000_000;

/// Runs outcomes from a new order on; returns the steps that were asked for and the end.
fn run(outcomes: impl IntoIterator<Item = Outcome>) -> (Vec<Step>, Saga) {
    let mut saga = Saga::new(0);
    let mut steps = vec![saga.step];
    for outcome in outcomes {
        saga = saga.after(outcome, 0).saga;
        if steps.last() != Some(&saga.step) {
            steps.push(saga.step);
        }
    }
    (steps, saga)
}

fn reserved() -> Outcome {
    Outcome::Reserved("reservations/r".into())
}

fn authorized() -> Outcome {
    Outcome::Authorized("payments/p".into())
}

#[test]
fn good_order_is_paid_and_then_leaves_the_cart() {
    use Outcome::Done;
    let (steps, saga) = run([reserved(), authorized(), Done, Done, Done]);
    assert_eq!(
        steps,
        [
            Step::Reserve,
            Step::Authorize,
            Step::Confirm,
            Step::Capture,
            Step::TakeLines,
            Step::Done
        ]
    );
    assert_eq!(saga.state, State::Paid);
    assert_eq!(saga.rejection, None);
}

#[test]
fn out_of_stock_rejects_with_nothing_to_give_back() {
    let (steps, saga) = run([Outcome::Refused(Rejection::OutOfStock(None))]);
    assert_eq!(steps, [Step::Reserve, Step::Done]);
    assert_eq!(
        (saga.state, saga.rejection),
        (State::Rejected, Some(Rejection::OutOfStock(None)))
    );
}

#[test]
fn declined_card_gives_the_stock_back() {
    let declined = Outcome::Refused(Rejection::CardDeclined);
    let (steps, saga) = run([reserved(), declined, Outcome::Done]);
    assert_eq!(
        steps,
        [Step::Reserve, Step::Authorize, Step::Release, Step::Done]
    );
    assert_eq!(
        (saga.state, saga.rejection),
        (State::Rejected, Some(Rejection::CardDeclined))
    );
}

#[test]
fn silent_provider_is_given_up_after_three_attempts_and_the_hold_is_voided() {
    let silent = || Outcome::Unknown(Cause::Provider);
    let (steps, saga) = run([reserved(), silent(), silent()]);
    assert_eq!(steps, [Step::Reserve, Step::Authorize]);
    assert_eq!(saga.attempts, 2);
    let saga = saga.after(silent(), 0).saga;
    assert_eq!((saga.state, saga.step), (State::Compensating, Step::Void));
    assert_eq!(saga.payment, None);
    assert_eq!(saga.rejection, Some(Rejection::PaymentTimedOut));
}

#[test]
fn absent_payment_service_is_waited_for_a_minute() {
    let (_, saga) = run([reserved()]);
    let absent = || Outcome::Unknown(Cause::Peer);
    assert_eq!(saga.after(absent(), 59 * SECOND).saga.step, Step::Authorize);
    assert_eq!(saga.after(absent(), 60 * SECOND).saga.step, Step::Void);
}

#[test]
fn lost_reservation_voids_the_payment() {
    let gone = Outcome::Refused(Rejection::OutOfStock(None));
    let (steps, saga) = run([reserved(), authorized(), gone, Outcome::Done, Outcome::Done]);
    assert_eq!(steps[3..], [Step::Void, Step::Release, Step::Done]);
    assert_eq!(saga.state, State::Rejected);
}

#[test]
fn amount_that_was_collected_after_all_is_paid_back() {
    use Outcome::Done;
    let refused = Outcome::Refused(Rejection::PaymentTimedOut);
    let outcomes = [
        reserved(),
        authorized(),
        Done,
        refused,
        Outcome::Captured,
        Done,
        Done,
    ];
    let (steps, saga) = run(outcomes);
    assert_eq!(
        steps[4..],
        [Step::Void, Step::Refund, Step::Release, Step::Done]
    );
    assert_eq!(saga.state, State::Rejected);
}

#[test]
fn cart_never_changes_a_paid_order() {
    let (_, mut saga) = run([reserved(), authorized(), Outcome::Done, Outcome::Done]);
    for _ in 0..TAKE_LINES_ATTEMPTS {
        assert_eq!((saga.state, saga.step), (State::Paid, Step::TakeLines));
        saga = saga.after(Outcome::Unknown(Cause::Peer), 0).saga;
    }
    assert_eq!((saga.state, saga.step), (State::Paid, Step::Done));
}

#[test]
fn waits_double_up_to_a_limit() {
    let mut saga = Saga::new(0);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let change = saga.after(Outcome::Unknown(Cause::Peer), 0);
        waits.extend(change.wait);
        saga = change.saga;
    }
    assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
    assert_eq!(waits[9], LONGEST_BACKOFF);
}

/// Whatever the peers answer, in whatever order: money and stock are balanced at the end. The peers
/// are the smallest honest ones: a flag for the stock, a flag for the money.
#[test]
fn every_run_of_answers_ends_balanced() {
    let mut open = vec![(Saga::new(0), Peers::default())];
    let mut ends = BTreeSet::new();
    let mut seen = Vec::new();
    while let Some((saga, peers)) = open.pop() {
        if saga.step == Step::Done {
            assert_eq!(
                peers.stock_sold,
                saga.state == State::Paid,
                "{saga:?} {peers:?}"
            );
            assert_eq!(
                peers.money,
                if saga.state == State::Paid {
                    Money::Captured
                } else {
                    Money::None
                }
            );
            assert!(saga.state.is_final());
            ends.insert(format!("{:?}{:?}", saga.state, saga.rejection));
            continue;
        }
        for (peers, outcome) in peers.answers(saga.step) {
            // An hour between the steps makes every patience end at once.
            let late = [saga.step_since, saga.step_since + 3_600 * SECOND];
            for now in late {
                let next = saga.after(outcome.clone(), now).saga;
                let entry = (
                    Saga {
                        step_since: 0,
                        ..next.clone()
                    },
                    peers,
                );
                if next.attempts <= TAKE_LINES_ATTEMPTS && !seen.contains(&entry) {
                    seen.push(entry.clone());
                    open.push(entry);
                }
            }
        }
    }
    assert!(ends.len() >= 4, "{ends:?}");
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Peers {
    stock_reserved: bool,
    stock_sold: bool,
    money: Money,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Money {
    #[default]
    None,
    Held,
    Captured,
}

impl Peers {
    /// All answers the peers may give now, each with what is true afterwards: done and answered, done
    /// and the answer lost, not done.
    fn answers(self, step: Step) -> Vec<(Self, Outcome)> {
        use Outcome::{Done, Refused, Unknown};
        let lost = Unknown(Cause::Peer);
        let mut answers = vec![(self, lost.clone()), (self, Unknown(Cause::Provider))];
        let mut done = |peers: Self, outcome: Outcome| {
            answers.push((peers, outcome));
            answers.push((peers, lost.clone()));
        };
        match step {
            Step::Reserve => {
                done(
                    Self {
                        stock_reserved: true,
                        ..self
                    },
                    reserved(),
                );
                if !self.stock_reserved {
                    done(self, Refused(Rejection::OutOfStock(None)));
                }
            }
            Step::Authorize => {
                done(
                    Self {
                        money: Money::Held,
                        ..self
                    },
                    authorized(),
                );
                if self.money == Money::None {
                    done(self, Refused(Rejection::CardDeclined));
                }
            }
            Step::Confirm => {
                done(
                    Self {
                        stock_sold: true,
                        ..self
                    },
                    Done,
                );
                if !self.stock_sold {
                    done(
                        Self {
                            stock_reserved: false,
                            ..self
                        },
                        Refused(Rejection::OutOfStock(None)),
                    );
                }
            }
            Step::Capture => {
                done(
                    Self {
                        money: Money::Captured,
                        ..self
                    },
                    Done,
                );
                if self.money == Money::Held {
                    done(
                        Self {
                            money: Money::None,
                            ..self
                        },
                        Refused(Rejection::PaymentTimedOut),
                    );
                }
            }
            Step::Void if self.money == Money::Captured => done(self, Outcome::Captured),
            Step::Void | Step::Refund => done(
                Self {
                    money: Money::None,
                    ..self
                },
                Done,
            ),
            Step::Release => {
                done(
                    Self {
                        stock_reserved: false,
                        stock_sold: false,
                        ..self
                    },
                    Done,
                );
            }
            Step::TakeLines => done(self, Done),
            Step::Done => {}
        }
        answers
    }
}

#[test]
fn request_ids_differ_by_step_and_order_and_never_change() {
    let steps = [
        Step::Reserve,
        Step::Authorize,
        Step::Refund,
        Step::TakeLines,
    ];
    let ids: BTreeSet<String> = steps.map(|step| step.request_id("1")).into();
    assert_eq!(ids.len(), 4);
    assert!(ids.contains(&Step::Reserve.request_id("1")));
    assert!(!ids.contains(&Step::Reserve.request_id("2")));
}
