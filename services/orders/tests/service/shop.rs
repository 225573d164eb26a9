//! The state behind the test's peers: honest, idempotent books of stock and money, and faults.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use service_kit::status;
use tokio::sync::{Notify, watch};
use tonic::{Code, Status};

/// Methods that can be made to fail, by their names in the contracts.
pub type Method = &'static str;

/// What a method does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never begins, and never answers.
    HangBefore,
    /// It does all it should, and never answers.
    HangAfter,
    /// It is not there.
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Reserved,
    Confirmed,
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Money {
    Authorized,
    Captured,
    Voided,
    Refunded,
    /// Declined, or voided before it was seen.
    Nothing,
}

/// All peers' state. Cloning gives the same one.
#[derive(Clone)]
pub struct Shop {
    books: Arc<parking::Mutex<Books>>,
    faults: Arc<watch::Sender<HashMap<Method, Fault>>>,
    reached: Arc<Notify>,
}

/// What is written down.
#[derive(Default)]
pub struct Books {
    pub stock: i64,
    /// By request id: units and state.
    pub reservations: BTreeMap<String, (i64, Hold)>,
    /// By request id.
    pub payments: BTreeMap<String, Money>,
    /// Request ids of lines taken from carts.
    pub taken: HashSet<String>,
    /// How often each method did something new.
    pub effects: BTreeMap<Method, usize>,
    /// How often each method was called.
    pub calls: BTreeMap<Method, usize>,
}

mod parking {
    //! A lock without poison: a failed assertion in one task must not hide the others'.
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

impl Shop {
    pub fn new(stock: i64) -> Self {
        let books = Books {
            stock,
            ..Books::default()
        };
        Self {
            books: Arc::new(parking::Mutex::new(books)),
            faults: Arc::new(watch::Sender::new(HashMap::new())),
            reached: Arc::default(),
        }
    }

    pub fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock()
    }

    pub fn set_fault(&self, method: Method, fault: Fault) {
        self.faults.send_modify(|faults| {
            faults.insert(method, fault);
        });
    }

    pub fn heal(&self) {
        self.faults.send_modify(HashMap::clear);
    }

    /// Waits until a call has met a fault.
    pub async fn reached(&self) {
        let waited =
            tokio::time::timeout(std::time::Duration::from_secs(20), self.reached.notified());
        waited.await.expect("no call met the fault");
    }

    /// Carries a call out, with the fault that is set for its method.
    pub async fn call<T>(
        &self,
        method: Method,
        effect: impl FnOnce(&mut Books) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let fault = self.faults.borrow().get(method).copied();
        *self.books().calls.entry(method).or_default() += 1;
        let answer = match fault {
            None => return effect(&mut self.books()),
            Some(Fault::Unavailable) => Some(Err(Status::unavailable("away"))),
            Some(Fault::HangBefore) => None,
            Some(Fault::HangAfter) => {
                let _ = effect(&mut self.books());
                None
            }
        };
        self.reached.notify_one();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

impl Books {
    fn effect(&mut self, method: Method) {
        *self.effects.entry(method).or_default() += 1;
    }

    pub fn reserve(&mut self, request_id: &str, units: i64) -> Result<String, Status> {
        if !self.reservations.contains_key(request_id) {
            if units > self.stock {
                return Err(status::failed_precondition(
                    "OUT_OF_STOCK",
                    "too few units",
                    [
                        ("variant", "products/merino/variants/36-40-navy"),
                        ("available", self.stock.to_string().as_str()),
                    ],
                ));
            }
            self.stock -= units;
            self.reservations
                .insert(request_id.into(), (units, Hold::Reserved));
            self.effect("ReserveStock");
        }
        Ok(format!("reservations/{request_id}"))
    }

    pub fn confirm(&mut self, name: &str) -> Result<(), Status> {
        let reservation = self.reservation(name)?;
        match reservation.1 {
            Hold::Released => Err(status::failed_precondition(
                "RESERVATION_GONE",
                "was released",
                [],
            )),
            Hold::Confirmed => Ok(()),
            Hold::Reserved => {
                reservation.1 = Hold::Confirmed;
                self.effect("ConfirmReservation");
                Ok(())
            }
        }
    }

    pub fn release(&mut self, name: &str) -> Result<(), Status> {
        let reservation = self.reservation(name)?;
        if reservation.1 != Hold::Released {
            reservation.1 = Hold::Released;
            let units = reservation.0;
            self.stock += units;
            self.effect("ReleaseReservation");
        }
        Ok(())
    }

    fn reservation(&mut self, name: &str) -> Result<&mut (i64, Hold), Status> {
        let id = name.trim_start_matches("reservations/");
        self.reservations
            .get_mut(id)
            .ok_or_else(|| status::not_found(name))
    }

    pub fn authorize(&mut self, request_id: &str, card_token: &str) -> Result<String, Status> {
        if !self.payments.contains_key(request_id) {
            let refusal = match card_token {
                "cardTokens/expired" => Some("CARD_TOKEN_EXPIRED"),
                "cardTokens/declines" => Some("CARD_DECLINED"),
                "cardTokens/unknown" => return Err(status::not_found(card_token)),
                _ => None,
            };
            if let Some(reason) = refusal {
                return Err(status::failed_precondition(reason, "refused", []));
            }
            self.payments.insert(request_id.into(), Money::Authorized);
            self.effect("AuthorizePayment");
        }
        if card_token == "cardTokens/times-out" {
            let message = "the provider did not answer";
            return Err(status::error_info(
                Code::Unavailable,
                "PROVIDER_UNAVAILABLE",
                message,
                [],
            ));
        }
        match self.payments[request_id] {
            Money::Voided | Money::Nothing => Err(status::failed_precondition(
                "AUTHORIZATION_VOIDED",
                "was voided",
                [],
            )),
            _ => Ok(format!("payments/{request_id}")),
        }
    }

    pub fn capture(&mut self, name: &str) -> Result<(), Status> {
        let payment = self.payment(name)?;
        match payment {
            Money::Captured => Ok(()),
            Money::Authorized => {
                *payment = Money::Captured;
                self.effect("CapturePayment");
                Ok(())
            }
            _ => Err(status::failed_precondition(
                "PAYMENT_NOT_AUTHORIZED",
                "was voided",
                [],
            )),
        }
    }

    pub fn void(&mut self, request_id: &str) -> Result<(), Status> {
        let payment = self
            .payments
            .entry(request_id.into())
            .or_insert(Money::Nothing);
        match payment {
            Money::Captured | Money::Refunded => Err(status::failed_precondition(
                "PAYMENT_CAPTURED",
                "was captured",
                [],
            )),
            Money::Authorized => {
                *payment = Money::Voided;
                self.effect("VoidPayment");
                Ok(())
            }
            Money::Voided | Money::Nothing => Ok(()),
        }
    }

    pub fn refund(&mut self, name: &str) -> Result<(), Status> {
        let payment = self.payment(name)?;
        match payment {
            Money::Refunded => Ok(()),
            Money::Captured => {
                *payment = Money::Refunded;
                self.effect("RefundPayment");
                Ok(())
            }
            _ => Err(status::failed_precondition(
                "PAYMENT_NOT_CAPTURED",
                "was not captured",
                [],
            )),
        }
    }

    fn payment(&mut self, name: &str) -> Result<&mut Money, Status> {
        let id = name.trim_start_matches("payments/");
        self.payments
            .get_mut(id)
            .ok_or_else(|| status::not_found(name))
    }

    pub fn take(&mut self, request_id: &str) {
        if self.taken.insert(request_id.into()) {
            self.effect("TakeOrderedLines");
        }
    }

    /// Checks that so many orders are sold, and that nothing else is held, sold or collected.
    pub fn assert_sold(&self, orders: usize) {
        let holds: Vec<Hold> = self.reservations.values().map(|(_, hold)| *hold).collect();
        let sold = holds
            .iter()
            .filter(|hold| **hold == Hold::Confirmed)
            .count();
        let collected = self
            .payments
            .values()
            .filter(|money| **money == Money::Captured)
            .count();
        assert_eq!(
            (sold, collected),
            (orders, orders),
            "{holds:?} {:?}",
            self.payments
        );
        assert!(!holds.contains(&Hold::Reserved), "{holds:?}");
        assert!(
            self.payments
                .values()
                .all(|money| *money != Money::Authorized)
        );
    }
}
