//! The accounts over loopback gRPC, on every database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use accounts::{DemoCustomer, Issuer, MIGRATIONS};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::sockshop::accounts::v1::{
    Address, CreateAddressRequest, CreateSessionRequest, DeleteAddressRequest, GetCustomerRequest,
    GetKeysRequest, JsonWebKey, ListAddressesRequest, RegisterCustomerRequest, Session,
    UpdateAddressRequest, account_service_client::AccountServiceClient,
};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use service_kit::{Subject, Upstream, forward_subject, status, testing};
use tonic::{Code, Request, Status};
use uuid::Uuid;

type Client = AccountServiceClient<Upstream>;

const PASSWORD: &str = "correct-horse-battery";

fn issuer() -> Issuer {
    Issuer {
        name: "https://accounts.test".into(),
        audience: "shop".into(),
    }
}

async fn on_each_database(test: &str, check: impl AsyncFn(Client)) {
    for db in testing::databases(test, &MIGRATIONS).await {
        let demo = DemoCustomer {
            email: "demo@example.com".into(),
            password: PASSWORD.into(),
        };
        let server = accounts::server((*db).clone(), issuer(), Some(demo))
            .await
            .unwrap();
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        check(AccountServiceClient::new(running.upstream())).await;
        running.stop().await.unwrap();
    }
}

async fn register(client: &Client, email: &str) -> Result<String, Status> {
    let request = RegisterCustomerRequest {
        email: email.into(),
        password: PASSWORD.into(),
        display_name: "Ada".into(),
    };
    Ok(client
        .clone()
        .register_customer(request)
        .await?
        .into_inner()
        .customer
        .unwrap()
        .name)
}

async fn log_in(client: &Client, email: &str, password: &str) -> Result<Session, Status> {
    let request = CreateSessionRequest {
        email: email.into(),
        password: password.into(),
    };
    Ok(client
        .clone()
        .create_session(request)
        .await?
        .into_inner()
        .session
        .unwrap())
}

fn by<T>(customer: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    forward_subject(&Subject::parse(customer).unwrap(), &mut request);
    request
}

async fn keys(client: &Client) -> Vec<JsonWebKey> {
    client
        .clone()
        .get_keys(GetKeysRequest {})
        .await
        .unwrap()
        .into_inner()
        .keys
}

fn address(street: &str) -> Address {
    Address {
        name: String::new(),
        recipient: "Ada".into(),
        street: street.into(),
        city: "London".into(),
        postal_code: "N1".into(),
        region_code: "GB".into(),
    }
}

#[tokio::test]
async fn a_registered_customer_logs_in_and_gets_a_token_that_verifies() {
    on_each_database("login", async |client| {
        let name = register(&client, "Ada@Example.com").await.unwrap();
        let session = log_in(&client, "ada@example.COM", PASSWORD).await.unwrap();
        assert_eq!(session.customer.unwrap().name, name);

        let (signed, signature) = session.access_token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decode = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (header, claims) = (decode(header), decode(claims));
        let key = keys(&client)
            .await
            .into_iter()
            .find(|key| header["kid"] == json!(key.kid));
        let key = URL_SAFE_NO_PAD.decode(key.unwrap().x).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, key)
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        assert_eq!(claims["sub"], json!(name));
        assert_eq!(claims["iss"], json!(issuer().name));
        assert_eq!(claims["aud"], json!(issuer().audience));
        assert!(claims["exp"].as_i64() > claims["iat"].as_i64());
    })
    .await;
}

#[tokio::test]
async fn an_address_is_registered_once() {
    on_each_database("once", async |client| {
        register(&client, "ada@example.com").await.unwrap();
        let status = register(&client, "ADA@example.com").await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(status::reason(&status).as_deref(), Some("EMAIL_TAKEN"));
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_ten_in_a_row_lock() {
    on_each_database("lock", async |client| {
        for email in ["demo@example.com", "nobody@example.com"] {
            for _ in 0..10 {
                let status = log_in(&client, email, "wrong").await.unwrap_err();
                assert_eq!(status.code(), Code::Unauthenticated);
                assert_eq!(
                    status::reason(&status).as_deref(),
                    Some("WRONG_CREDENTIALS")
                );
            }
            let status = log_in(&client, email, PASSWORD).await.unwrap_err();
            assert_eq!(
                status::reason(&status).as_deref(),
                Some("TOO_MANY_ATTEMPTS")
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_that_come_at_once_are_not_all_answered() {
    on_each_database("guesses", async |client| {
        let mut guesses = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let client = client.clone();
            guesses.spawn(async move { log_in(&client, "demo@example.com", "wrong").await });
        }
        let mut answered = 0;
        while let Some(guess) = guesses.join_next().await {
            let status = guess.unwrap().unwrap_err();
            if status::reason(&status).as_deref() == Some("WRONG_CREDENTIALS") {
                answered += 1;
            }
        }
        // Those whose passwords are checked at the same time may slip through.
        assert!((10..=12).contains(&answered), "{answered} guesses");
    })
    .await;
}

#[tokio::test]
async fn keys_and_customers_outlive_a_restart() {
    for db in testing::databases("restart", &MIGRATIONS).await {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let db = service_kit::Db::open(db.url(), &MIGRATIONS).await.unwrap();
            let demo = DemoCustomer {
                email: "demo@example.com".into(),
                password: PASSWORD.into(),
            };
            let server = accounts::server(db, issuer(), Some(demo)).await.unwrap();
            let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
            let client = AccountServiceClient::new(running.upstream());
            let session = log_in(&client, "demo@example.com", PASSWORD).await.unwrap();
            seen.push((keys(&client).await, session.customer.unwrap().name));
            running.stop().await.unwrap();
        }
        assert_eq!(seen[0], seen[1]);
    }
}

#[tokio::test]
async fn a_new_key_is_shown_before_it_signs() {
    for db in testing::databases("rotation", &MIGRATIONS).await {
        let mut shown = Vec::new();
        // The first key is made, grows too old, and then the second has been shown for long enough.
        for hours in [0, 31 * 24, 3] {
            let db = service_kit::Db::open(db.url(), &MIGRATIONS).await.unwrap();
            let older = "UPDATE signing_key SET create_time = create_time - $1";
            let past = hours * 3_600_000_000_i64;
            db.execute(older, service_kit::params![past]).await.unwrap();
            let server = accounts::server(db, issuer(), None).await.unwrap();
            let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
            let keys = keys(&AccountServiceClient::new(running.upstream())).await;
            shown.push(keys.into_iter().map(|key| key.kid).collect::<Vec<_>>());
            running.stop().await.unwrap();
        }
        let [alone, announced, rotated] = &shown[..] else {
            panic!("{shown:?}");
        };
        assert_eq!((alone.len(), announced.len(), rotated.len()), (1, 2, 2));
        assert_eq!(alone[0], announced[0], "the old key still signs");
        assert_eq!(rotated[0], announced[1], "the new key signs");
    }
}

#[tokio::test]
async fn an_address_book_belongs_to_its_customer() {
    on_each_database("addresses", async |mut client| {
        let (ada, eve) = (
            register(&client, "ada@example.com").await.unwrap(),
            register(&client, "eve@example.com").await.unwrap(),
        );
        let request = CreateAddressRequest {
            parent: "customers/me".into(),
            request_id: Uuid::new_v4().to_string(),
            address: Some(address("1 Mill Lane")),
        };
        let first = client
            .create_address(by(&ada, request.clone()))
            .await
            .unwrap()
            .into_inner();
        let again = client
            .create_address(by(&ada, request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(first, again);
        let name = first.address.unwrap().name;
        assert!(name.starts_with(&ada), "{name}");

        let changed = Address {
            name: name.clone(),
            ..address("2 Mill Lane")
        };
        let update = UpdateAddressRequest {
            address: Some(changed.clone()),
        };
        let foreign = client
            .update_address(by(&eve, update.clone()))
            .await
            .unwrap_err();
        assert_eq!(
            status::reason(&foreign).as_deref(),
            Some("ADDRESS_NOT_FOUND")
        );
        client.update_address(by(&ada, update)).await.unwrap();
        let list = ListAddressesRequest {
            parent: ada.clone(),
            ..Default::default()
        };
        let foreign = client
            .list_addresses(by(&eve, list.clone()))
            .await
            .unwrap_err();
        assert_eq!(
            status::reason(&foreign).as_deref(),
            Some("CUSTOMER_NOT_FOUND")
        );
        let listed = client
            .list_addresses(by(&ada, list.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listed.addresses, [changed]);

        for _ in 0..2 {
            let request = DeleteAddressRequest { name: name.clone() };
            client.delete_address(by(&ada, request)).await.unwrap();
        }
        let listed = client
            .list_addresses(by(&ada, list))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listed.addresses, []);
        let request = GetCustomerRequest { name: ada };
        let foreign = client.get_customer(by(&eve, request)).await.unwrap_err();
        assert_eq!(foreign.code(), Code::NotFound);
    })
    .await;
}
