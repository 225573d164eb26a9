//! The carts over loopback gRPC, on every database, with a catalogue that knows three variants.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use carts::MIGRATIONS;
use contracts::{
    google::r#type::Money,
    sockshop::{
        carts::v1::{
            AddCartLineRequest, Cart, CreateCartRequest, GetCartRequest, MergeCartRequest,
            OrderedLine, RemoveCartLineRequest, TakeOrderedLinesRequest, UpdateCartLineRequest,
            cart_service_client::CartServiceClient,
        },
        catalogue::v1::{
            BatchGetVariantsRequest, BatchGetVariantsResponse, GetPictureRequest,
            GetPictureResponse, GetProductRequest, GetProductResponse, ListCategoriesRequest,
            ListCategoriesResponse, ListProductsRequest, ListProductsResponse, Variant,
            catalogue_service_server::{CatalogueService, CatalogueServiceServer},
        },
    },
};
use service_kit::{Subject, Upstream, forward_subject, status, testing};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Client = CartServiceClient<Upstream>;

const A: &str = "products/p/variants/a";
const B: &str = "products/p/variants/b";
const FORBIDDEN: &str = "products/p/variants/forbidden";
const ADA: Option<&str> = Some("customers/ada");
const EVE: Option<&str> = Some("customers/eve");

/// Knows the prices of A and B; every other method is not what carts may call.
struct Prices;

#[tonic::async_trait]
impl CatalogueService for Prices {
    async fn batch_get_variants(
        &self,
        request: Request<BatchGetVariantsRequest>,
    ) -> Result<Response<BatchGetVariantsResponse>, Status> {
        let variant = |name: String| {
            if name == FORBIDDEN {
                return Err(Status::permission_denied(
                    "the mesh lets carts not call this",
                ));
            }
            let cents = [A, B].iter().position(|known| *known == name);
            let cents = cents.ok_or_else(|| status::not_found(&name))?;
            let price = Money {
                currency_code: "EUR".into(),
                units: 2,
                nanos: 100_000_000 * i32::try_from(cents + 1).unwrap(),
            };
            Ok(Variant {
                name,
                title: "Sock".into(),
                price: Some(price),
                ..Default::default()
            })
        };
        let names = request.into_inner().names.into_iter();
        let variants = names.map(variant).collect::<Result<_, Status>>()?;
        Ok(Response::new(BatchGetVariantsResponse { variants }))
    }
    async fn list_products(
        &self,
        _: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        Err(Status::permission_denied("not for carts"))
    }
    async fn get_product(
        &self,
        _: Request<GetProductRequest>,
    ) -> Result<Response<GetProductResponse>, Status> {
        Err(Status::permission_denied("not for carts"))
    }
    async fn get_picture(
        &self,
        _: Request<GetPictureRequest>,
    ) -> Result<Response<GetPictureResponse>, Status> {
        Err(Status::permission_denied("not for carts"))
    }
    async fn list_categories(
        &self,
        _: Request<ListCategoriesRequest>,
    ) -> Result<Response<ListCategoriesResponse>, Status> {
        Err(Status::permission_denied("not for carts"))
    }
}

async fn on_each_database(test: &str, check: impl AsyncFn(Client)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let prices = tonic::transport::Server::builder()
        .add_service(CatalogueServiceServer::new(Prices))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(prices);
    for db in testing::databases(test, &MIGRATIONS).await {
        let server = carts::server((*db).clone(), Upstream::new(&address, None).unwrap());
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        check(CartServiceClient::new(running.upstream())).await;
        running.stop().await.unwrap();
    }
}

fn by<T>(caller: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(caller) = caller {
        forward_subject(&Subject::parse(caller).unwrap(), &mut request);
    }
    request
}

async fn create(client: &Client, caller: Option<&str>) -> String {
    let request = by(caller, CreateCartRequest {});
    client
        .clone()
        .create_cart(request)
        .await
        .unwrap()
        .into_inner()
        .cart
        .unwrap()
        .name
}

async fn add(
    client: &Client,
    caller: Option<&str>,
    cart: &str,
    variant: &str,
    quantity: i32,
) -> Result<Cart, Status> {
    let request = AddCartLineRequest {
        cart: cart.into(),
        request_id: Uuid::new_v4().to_string(),
        variant: variant.into(),
        quantity,
    };
    let added = client.clone().add_cart_line(by(caller, request)).await?;
    Ok(added.into_inner().cart.unwrap())
}

async fn get(client: &Client, caller: Option<&str>, name: &str) -> Result<Cart, Status> {
    let request = by(caller, GetCartRequest { name: name.into() });
    Ok(client
        .clone()
        .get_cart(request)
        .await?
        .into_inner()
        .cart
        .unwrap())
}

fn units(cart: &Cart) -> Vec<(&str, i32)> {
    cart.lines
        .iter()
        .map(|line| (line.variant.as_str(), line.quantity))
        .collect()
}

fn reason(status: &Status) -> String {
    status::reason(status).unwrap_or_default()
}

#[tokio::test]
async fn a_guest_fills_changes_and_empties_a_cart() {
    on_each_database("guest", async |mut client| {
        let name = create(&client, None).await;
        add(&client, None, &name, A, 2).await.unwrap();
        let cart = add(&client, None, &name, B, 1).await.unwrap();
        assert_eq!(units(&cart), [(A, 2), (B, 1)]);
        let total = cart.total.unwrap();
        assert_eq!((total.units, total.nanos), (6, 400_000_000));

        let line = cart.lines[0].name.clone();
        let update = UpdateCartLineRequest {
            name: line.clone(),
            quantity: 5,
        };
        let changed = client
            .update_cart_line(update)
            .await
            .unwrap()
            .into_inner()
            .cart
            .unwrap();
        assert_eq!(units(&changed), [(A, 5), (B, 1)]);
        for _ in 0..2 {
            let remove = RemoveCartLineRequest { name: line.clone() };
            let left = client
                .remove_cart_line(remove)
                .await
                .unwrap()
                .into_inner()
                .cart
                .unwrap();
            assert_eq!(units(&left), [(B, 1)]);
        }
        let update = UpdateCartLineRequest {
            name: line,
            quantity: 1,
        };
        let status = client.update_cart_line(update).await.unwrap_err();
        assert_eq!(reason(&status), "LINE_NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn the_same_request_adds_once() {
    on_each_database("idempotency", async |mut client| {
        let request = AddCartLineRequest {
            cart: create(&client, None).await,
            request_id: Uuid::new_v4().to_string(),
            variant: A.into(),
            quantity: 2,
        };
        for _ in 0..3 {
            let cart = client
                .add_cart_line(request.clone())
                .await
                .unwrap()
                .into_inner()
                .cart;
            assert_eq!(units(&cart.unwrap()), [(A, 2)]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_customers_cart_is_private_and_always_there() {
    on_each_database("private", async |client| {
        assert_eq!(units(&get(&client, ADA, "carts/mine").await.unwrap()), []);
        let cart = add(&client, ADA, "carts/mine", A, 1).await.unwrap();
        assert_eq!(get(&client, ADA, &cart.name).await.unwrap(), cart);
        assert_eq!(create(&client, ADA).await, cart.name);
        for caller in [None, EVE] {
            let status = get(&client, caller, &cart.name).await.unwrap_err();
            assert_eq!(reason(&status), "CART_NOT_FOUND");
            let status = add(&client, caller, &cart.name, A, 1).await.unwrap_err();
            assert_eq!(reason(&status), "CART_NOT_FOUND");
        }
        let status = get(&client, None, "carts/mine").await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    })
    .await;
}

#[tokio::test]
async fn a_guests_cart_is_merged_once() {
    on_each_database("merge", async |mut client| {
        let guest = create(&client, None).await;
        add(&client, None, &guest, A, 2).await.unwrap();
        add(&client, ADA, "carts/mine", A, 1).await.unwrap();
        for _ in 0..2 {
            let merge = by(
                ADA,
                MergeCartRequest {
                    name: guest.clone(),
                },
            );
            let cart = client
                .merge_cart(merge)
                .await
                .unwrap()
                .into_inner()
                .cart
                .unwrap();
            assert_eq!(units(&cart), [(A, 3)]);
        }
        assert_eq!(
            reason(&get(&client, None, &guest).await.unwrap_err()),
            "CART_NOT_FOUND"
        );
        let ada = get(&client, ADA, "carts/mine").await.unwrap().name;
        let steal = by(EVE, MergeCartRequest { name: ada });
        let status = client.merge_cart(steal).await.unwrap_err();
        assert_eq!(reason(&status), "CART_NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn ordered_lines_are_taken_once() {
    on_each_database("ordered", async |mut client| {
        add(&client, ADA, "carts/mine", A, 3).await.unwrap();
        add(&client, ADA, "carts/mine", B, 1).await.unwrap();
        let line = |variant: &str, quantity| OrderedLine {
            variant: variant.into(),
            quantity,
        };
        let request = TakeOrderedLinesRequest {
            request_id: Uuid::new_v4().to_string(),
            customer: "customers/ada".into(),
            lines: vec![line(A, 2), line(B, 1)],
        };
        for _ in 0..2 {
            client.take_ordered_lines(request.clone()).await.unwrap();
        }
        assert_eq!(
            units(&get(&client, ADA, "carts/mine").await.unwrap()),
            [(A, 1)]
        );
    })
    .await;
}

#[tokio::test]
async fn what_the_catalogue_does_not_know_is_refused() {
    on_each_database("unknown", async |client| {
        let name = create(&client, None).await;
        let status = add(&client, None, &name, "products/p/variants/z", 1)
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "VARIANT_NOT_FOUND");
        let status = add(&client, None, &name, A, 1000).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        add(&client, None, &name, A, 999).await.unwrap();
        let status = add(&client, None, &name, A, 1).await.unwrap_err();
        assert_eq!(reason(&status), "CART_FULL");
    })
    .await;
}

#[tokio::test]
async fn what_lies_between_carts_and_the_catalogue_stays_there() {
    on_each_database("between", async |client| {
        let cart = create(&client, ADA).await;
        let status = add(&client, ADA, &cart, FORBIDDEN, 1).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(
            status::reason(&status).as_deref(),
            Some("CATALOGUE_UNAVAILABLE")
        );
    })
    .await;
}

#[tokio::test]
async fn reading_a_cart_does_not_wait_for_writers() {
    for db in testing::databases("readers", &MIGRATIONS).await {
        let store = carts::Store::new((*db).clone());
        let writer = store.begin().await.unwrap();
        let read = tokio::time::timeout(std::time::Duration::from_secs(2), store.cart("x")).await;
        assert_eq!(read.expect("no turn is waited for").unwrap(), None);
        drop(writer);
    }
}
