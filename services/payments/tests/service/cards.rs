//! Cards through the generated client: what is refused, what is kept, and what nobody may find.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use crate::world::{World, worlds};
use contracts::sockshop::payments::v1::{Card, CardToken, TokenizeCardRequest};
use service_kit::{Subject, forward_subject, status};
use tonic::{Code, Request, Status};

const NUMBER: &str = "4242424242424242";
const CVV: &str = "7391";

fn card(number: &str) -> Card {
    Card {
        number: number.into(),
        expiry_month: 12,
        expiry_year: 2090,
        cvv: CVV.into(),
        holder: "Ada Lovelace".into(),
    }
}

async fn tokenize(world: &World, customer: &str, card: Card) -> Result<CardToken, Status> {
    let mut request = Request::new(TokenizeCardRequest { card: Some(card) });
    forward_subject(&Subject::parse(customer).unwrap(), &mut request);
    let answer = world.cards().tokenize_card(request).await?;
    Ok(answer.into_inner().card_token.unwrap())
}

#[tokio::test]
async fn token_pays_for_its_customer_only() {
    for world in worlds("token_pays").await {
        let token = tokenize(&world, "customers/1", card("4242 4242 4242 4242"))
            .await
            .unwrap();
        assert_eq!(
            (token.brand.as_str(), token.last_four.as_str()),
            ("visa", "4242")
        );
        assert_eq!((token.expiry_month, token.expiry_year), (12, 2090));

        let id = token.name.strip_prefix("cardTokens/").unwrap();
        world.authorize(world.demand(id)).await.unwrap();
        let mut foreign = world.demand(id);
        foreign.customer = "customers/2".into();
        let refused = world.authorize(foreign).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert_eq!(
            status::reason(&refused).as_deref(),
            Some("CARD_TOKEN_NOT_FOUND")
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn test_cards_do_what_their_numbers_say() {
    for world in worlds("test_cards").await {
        for (number, reason) in [
            ("4000000000000002", "CARD_DECLINED"),
            ("4000000000000341", "PROVIDER_UNAVAILABLE"),
        ] {
            let token = tokenize(&world, "customers/1", card(number)).await.unwrap();
            let id = token.name.strip_prefix("cardTokens/").unwrap();
            let refused = world.authorize(world.demand(id)).await.unwrap_err();
            assert_eq!(status::reason(&refused).as_deref(), Some(reason));
        }
        let token = tokenize(&world, "customers/1", card("5555555555554444"))
            .await
            .unwrap();
        let id = token.name.strip_prefix("cardTokens/").unwrap();
        world.authorize(world.demand(id)).await.unwrap();
        world.stop().await;
    }
}

#[tokio::test]
async fn token_ends_after_half_an_hour() {
    for world in worlds("token_ends").await {
        let token = tokenize(&world, "customers/1", card(NUMBER)).await.unwrap();
        world
            .execute("UPDATE card_token SET expire_time = expire_time - 1800000000")
            .await;
        let id = token.name.strip_prefix("cardTokens/").unwrap();
        let refused = world.authorize(world.demand(id)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(
            status::reason(&refused).as_deref(),
            Some("CARD_TOKEN_EXPIRED")
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_a_card_is_refused_without_repeating_it() {
    for world in worlds("what_cannot_be_a_card").await {
        let mistyped = "4242424242424243";
        let expired = Card {
            expiry_year: 2001,
            ..card(NUMBER)
        };
        for (card, reason) in [
            (card(mistyped), "CARD_NUMBER_INVALID"),
            (expired, "CARD_EXPIRED"),
        ] {
            let number = card.number.clone();
            let refused = tokenize(&world, "customers/1", card).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(status::reason(&refused).as_deref(), Some(reason));
            assert!(!format!("{refused:?}").contains(&number));
        }
        let no_code = Card {
            cvv: "12".into(),
            ..card(NUMBER)
        };
        let refused = tokenize(&world, "customers/1", no_code).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.message().contains("card.cvv"),
            "{}",
            refused.message()
        );

        let request = TokenizeCardRequest {
            card: Some(card(NUMBER)),
        };
        let stranger = world.cards().tokenize_card(request).await.unwrap_err();
        assert_eq!(stranger.code(), Code::Unauthenticated);
        world.stop().await;
    }
}

#[tokio::test]
async fn neither_number_nor_code_is_in_any_file_or_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // The whole process logs into it: the handler runs in tasks of its own.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for world in worlds("neither_number_nor_code").await {
        tokenize(&world, "customers/1", card(NUMBER)).await.unwrap();
        tokenize(&world, "customers/1", card("4242 4242 4242 4243"))
            .await
            .unwrap_err();
        for file in world.files() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!holds(&bytes, NUMBER), "{}", file.display());
            assert!(!holds(&bytes, "Ada Lovelace"), "{}", file.display());
        }
        // Four digits may be part of any id or time, so only the other columns are searched for them.
        let sql = "SELECT customer || provider_token || brand || last_four FROM card_token";
        let rows = world.db.fetch_all::<(String,)>(sql, vec![]).await.unwrap();
        assert_eq!(rows, [("customers/1local-succeedsvisa4242".to_owned(),)]);
        world.stop().await;
    }
    let logged = log.0.lock().unwrap().clone();
    assert!(holds(&logged, "TokenizeCard"), "the call itself was logged");
    let quoted = format!("\"{CVV}\"");
    for secret in [
        NUMBER,
        "4242 4242 4242 4242",
        "4242424242424243",
        &quoted,
        "Ada Lovelace",
    ] {
        assert!(!holds(&logged, secret), "{secret} was logged");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
