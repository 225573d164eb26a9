//! A running payments service on one database, and its books added up.

use std::time::Duration;

use ::payments::MIGRATIONS;
use contracts::{
    google::r#type::Money,
    sockshop::payments::v1::{
        AuthorizePaymentRequest, CapturePaymentRequest, LedgerEntry, ListLedgerEntriesRequest,
        Payment, RefundPaymentRequest, VoidPaymentRequest, card_service_client::CardServiceClient,
        payment_service_client::PaymentServiceClient, void_payment_request::Target,
    },
};
use service_kit::{
    Db, Upstream, ids,
    testing::{self, Running, TestDb},
};
use tonic::{Request, Status};

/// The service and its database.
pub struct World {
    test: TestDb,
    pub db: Db,
    running: Running,
}

/// What the accounts hold, in cents.
#[derive(Debug, Default)]
pub struct Balances {
    pub holds: i64,
    pub merchant: i64,
}

/// The service on every database.
pub async fn worlds(test: &str) -> Vec<World> {
    let mut worlds = Vec::new();
    for test in testing::databases(test, &MIGRATIONS).await {
        worlds.push(World::start(test).await);
    }
    worlds
}

impl World {
    async fn start(test: TestDb) -> Self {
        let served = Db::open(test.url(), &MIGRATIONS).await.unwrap();
        let db = (*test).clone();
        let server = ::payments::server(served).await.unwrap();
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        Self { test, db, running }
    }

    /// Stops the service and starts it again on the same database.
    pub async fn restart(self) -> Self {
        self.running.stop().await.unwrap();
        Self::start(self.test).await
    }

    pub async fn stop(self) {
        self.running.stop().await.unwrap();
    }

    /// The files of the database, if it has any of its own.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let Some(file) = self.test.url().strip_prefix("sqlite://") else {
            return Vec::new();
        };
        let folder = std::path::Path::new(file).parent().unwrap();
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    pub async fn execute(&self, sql: &'static str) {
        self.db.execute(sql, vec![]).await.unwrap();
    }

    pub fn payments(&self) -> PaymentServiceClient<Upstream> {
        PaymentServiceClient::new(self.running.upstream())
    }

    pub fn cards(&self) -> CardServiceClient<Upstream> {
        CardServiceClient::new(self.running.upstream())
    }

    /// An authorization of 12.99 EUR with a new request id.
    pub fn demand(&self, card_token: &str) -> AuthorizePaymentRequest {
        AuthorizePaymentRequest {
            request_id: ids::new_secret(),
            order: "orders/1".into(),
            customer: "customers/1".into(),
            amount: Some(amount(1299)),
            card_token: format!("cardTokens/{card_token}"),
        }
    }

    pub async fn authorize(&self, request: AuthorizePaymentRequest) -> Result<Payment, Status> {
        let mut request = Request::new(request);
        // No test is about this machine's speed.
        request.set_timeout(Duration::from_secs(30));
        let answer = self.payments().authorize_payment(request).await?;
        Ok(answer.into_inner().payment.unwrap())
    }

    pub async fn capture(&self, name: &str) -> Result<Payment, Status> {
        let request = CapturePaymentRequest { name: name.into() };
        Ok(self
            .payments()
            .capture_payment(request)
            .await?
            .into_inner()
            .payment
            .unwrap())
    }

    pub async fn void(&self, target: Target) -> Result<Option<Payment>, Status> {
        let request = VoidPaymentRequest {
            target: Some(target),
        };
        Ok(self
            .payments()
            .void_payment(request)
            .await?
            .into_inner()
            .payment)
    }

    pub async fn refund(&self, request_id: &str, name: &str) -> Result<Payment, Status> {
        let request = RefundPaymentRequest {
            request_id: request_id.into(),
            name: name.into(),
        };
        Ok(self
            .payments()
            .refund_payment(request)
            .await?
            .into_inner()
            .payment
            .unwrap())
    }

    pub async fn ledger(&self) -> Vec<LedgerEntry> {
        self.ledger_in_pages_of(500).await
    }

    pub async fn ledger_in_pages_of(&self, page_size: i32) -> Vec<LedgerEntry> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListLedgerEntriesRequest {
                page_size,
                page_token,
            };
            let page = self
                .payments()
                .list_ledger_entries(request)
                .await
                .unwrap()
                .into_inner();
            all.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// Adds the whole ledger up, and checks that every movement and all of it sum to zero.
    pub async fn balances(&self) -> Balances {
        let mut balances = Balances::default();
        let mut movements = std::collections::BTreeMap::<String, i64>::new();
        for entry in self.ledger().await {
            let cents = cents(entry.amount.as_ref().unwrap());
            *movements.entry(entry.transaction).or_default() += cents;
            match entry.account.as_str() {
                "merchant-holds" => balances.holds += cents,
                "merchant" => balances.merchant += cents,
                "customer-holds" | "customer-cards" => {}
                other => panic!("unknown account {other}"),
            }
        }
        assert!(movements.values().all(|sum| *sum == 0), "{movements:?}");
        balances
    }
}

/// Cents as an amount in EUR.
pub fn amount(cents: i64) -> Money {
    let currency = service_kit::money::Currency::new("EUR").unwrap();
    service_kit::Money::new(cents, currency).to_message()
}

fn cents(money: &Money) -> i64 {
    service_kit::Money::from_message(money)
        .unwrap()
        .minor_units()
}
