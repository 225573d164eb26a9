//! A front, and the services behind it: catalogue, accounts and orders in one plain gRPC server.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use contracts::{
    google::{api::HttpBody, r#type::Money},
    sockshop::{accounts::v1 as accounts, catalogue::v1 as catalogue, orders::v1 as orders},
};
use futures::{Stream, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use weft_channel::{Body, body};
use weft_edge::{Config, Front, Issuer, Upstream, serve};
use weft_runtime::metrics::Metrics;

pub const ISSUER: &str = "https://accounts.test";
pub const AUDIENCE: &str = "shop";

/// What the services saw and how they behave.
#[derive(Default)]
pub struct Seen {
    /// The metadata of the last call.
    pub metadata: Mutex<HeaderMap>,
    pub key_fetches: AtomicUsize,
    /// Fail `GetKeys` for so many calls.
    pub key_failures: AtomicUsize,
    pub calls: AtomicUsize,
    /// Watches of `orders/quiet` that nobody has cancelled yet.
    pub open_watches: AtomicUsize,
}

/// Counts down when the stream that holds it is dropped.
struct OpenWatch(Arc<Seen>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.open_watches.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A front with everything it needs. Dropping it stops it.
pub struct Shop {
    pub edge: SocketAddr,
    pub seen: Arc<Seen>,
    pub front: Arc<Front>,
    pub signers: Signers,
    pub metrics: Metrics,
    pub stop: CancellationToken,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shop {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let seen = Arc::new(Seen::default());
        let signers = Signers::new();
        let backend = start_backend(Arc::clone(&seen), signers.keys()).await;
        let mut routes = BTreeMap::new();
        for (service, authority) in [
            ("sockshop.catalogue.v1.CatalogueService", "catalogue:7070"),
            ("sockshop.accounts.v1.AccountService", "accounts:7070"),
            ("sockshop.orders.v1.OrderService", "orders:7070"),
            ("sockshop.payments.v1.PaymentService", "payments:7070"),
        ] {
            routes.insert(service.to_owned(), authority.to_owned());
        }
        let mut config = Config {
            services: routes.keys().cloned().collect(),
            routes,
            issuers: vec![Issuer {
                issuer: ISSUER.to_owned(),
                audiences: vec![AUDIENCE.to_owned()],
                keys_uri: "http://accounts:7070/.well-known/jwks.json".to_owned(),
            }],
            pages: None,
            max_body_bytes: 64 * 1024,
        };
        change(&mut config);
        let upstream = Arc::new(Plain(backend));
        let metrics = Metrics::new();
        let front = Front::new(contracts::pool(), &config, upstream, &metrics).unwrap();
        let front = Arc::new(front);
        front.set_serving(true).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let edge = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let grace = Duration::from_secs(5);
        tokio::spawn(serve(listener, Arc::clone(&front), 64, stop.clone(), grace));
        Self {
            edge,
            seen,
            front,
            signers,
            metrics,
            stop,
        }
    }

    /// Whether a line of the edge's metrics comes to read so.
    pub async fn counts(&self, line: &str) -> bool {
        let counted = async {
            while !self.metrics.encode().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), counted)
            .await
            .is_ok()
    }

    pub fn token(&self) -> String {
        self.signers.token(&json!({}))
    }
}

/// Signs tokens as accounts does, and as it does not.
pub struct Signers {
    pub ed: Ed25519KeyPair,
    pub ec: EcdsaKeyPair,
}

impl Signers {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap(),
        }
    }

    fn keys(&self) -> Vec<accounts::JsonWebKey> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let point = self.ec.public_key().as_ref();
        vec![
            accounts::JsonWebKey {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                x: encode(self.ed.public_key().as_ref()),
                alg: "EdDSA".to_owned(),
                kid: "ed".to_owned(),
                r#use: "sig".to_owned(),
                ..Default::default()
            },
            accounts::JsonWebKey {
                kty: "EC".to_owned(),
                crv: "P-256".to_owned(),
                x: encode(&point[1..33]),
                y: encode(&point[33..]),
                kid: "ec".to_owned(),
                ..Default::default()
            },
        ]
    }

    /// A good token of `customers/ada`, with `changes` merged into its claims.
    pub fn token(&self, changes: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"});
        self.signed(&header, &claims(changes), |m| {
            self.ed.sign(m).as_ref().to_vec()
        })
    }

    pub fn ec_token(&self, header: &Value) -> String {
        self.signed(header, &claims(&json!({})), |message| {
            let signature = self.ec.sign(&SystemRandom::new(), message);
            signature.unwrap().as_ref().to_vec()
        })
    }

    pub fn signed(
        &self,
        header: &Value,
        claims: &Value,
        sign: impl Fn(&[u8]) -> Vec<u8>,
    ) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

pub fn claims(changes: &Value) -> Value {
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "customers/ada", "iat": now, "exp": now + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Calls the backend over a connection of its own, whatever the authority.
struct Plain(SocketAddr);

impl Upstream for Plain {
    fn call<'a>(
        &'a self,
        authority: &'a str,
        request: HttpRequest<Body>,
    ) -> BoxFuture<'a, HttpResponse<Body>> {
        Box::pin(async move {
            let stream = TcpStream::connect(self.0).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let (mut head, body) = request.into_parts();
            head.uri = format!("http://{authority}{}", head.uri.path())
                .parse()
                .unwrap();
            head.version = http::Version::HTTP_2;
            let request = HttpRequest::from_parts(head, body);
            sender.send_request(request).await.unwrap().map(body::boxed)
        })
    }
}

async fn start_backend(seen: Arc<Seen>, keys: Vec<accounts::JsonWebKey>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = Services { seen, keys };
    let server = tonic::transport::Server::builder()
        .add_service(
            catalogue::catalogue_service_server::CatalogueServiceServer::new(services.clone()),
        )
        .add_service(accounts::account_service_server::AccountServiceServer::new(
            services.clone(),
        ))
        .add_service(orders::order_service_server::OrderServiceServer::new(
            services,
        ))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

#[derive(Clone)]
struct Services {
    seen: Arc<Seen>,
    keys: Vec<accounts::JsonWebKey>,
}

impl Services {
    fn saw<T>(&self, request: &Request<T>) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        *self.seen.metadata.lock().unwrap() = request.metadata().clone().into_headers();
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of these tests"))
}

fn product(name: &str) -> catalogue::Product {
    catalogue::Product {
        name: name.to_owned(),
        title: "Warm \"<socks>\"".to_owned(),
        lowest_price: Some(Money {
            currency_code: "EUR".to_owned(),
            units: 12,
            nanos: 500_000_000,
        }),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl catalogue::catalogue_service_server::CatalogueService for Services {
    async fn list_products(
        &self,
        request: Request<catalogue::ListProductsRequest>,
    ) -> Result<Response<catalogue::ListProductsResponse>, Status> {
        self.saw(&request);
        let request = request.into_inner();
        Ok(Response::new(catalogue::ListProductsResponse {
            products: (0..request.page_size)
                .map(|index| product(&format!("products/{index}")))
                .collect(),
            next_page_token: request.filter,
            total_size: 60,
        }))
    }

    async fn get_product(
        &self,
        request: Request<catalogue::GetProductRequest>,
    ) -> Result<Response<catalogue::GetProductResponse>, Status> {
        self.saw(&request);
        let name = request.into_inner().name;
        if name == "products/none" {
            let mut details = ErrorDetails::with_error_info(
                "PRODUCT_NOT_FOUND",
                "catalogue",
                std::collections::HashMap::new(),
            );
            details.set_retry_info(Some(Duration::from_millis(1500)));
            let message = format!("there is no {name}");
            return Err(Status::with_error_details(
                tonic::Code::NotFound,
                message,
                details,
            ));
        }
        Ok(Response::new(catalogue::GetProductResponse {
            product: Some(product(&name)),
        }))
    }

    async fn get_picture(
        &self,
        _: Request<catalogue::GetPictureRequest>,
    ) -> Result<Response<catalogue::GetPictureResponse>, Status> {
        Ok(Response::new(catalogue::GetPictureResponse {
            picture: Some(HttpBody {
                content_type: "image/svg+xml".to_owned(),
                data: b"<svg/>".to_vec(),
                extensions: Vec::new(),
            }),
        }))
    }

    async fn list_categories(
        &self,
        _: Request<catalogue::ListCategoriesRequest>,
    ) -> Result<Response<catalogue::ListCategoriesResponse>, Status> {
        unused()
    }

    async fn batch_get_variants(
        &self,
        _: Request<catalogue::BatchGetVariantsRequest>,
    ) -> Result<Response<catalogue::BatchGetVariantsResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl accounts::account_service_server::AccountService for Services {
    async fn register_customer(
        &self,
        _: Request<accounts::RegisterCustomerRequest>,
    ) -> Result<Response<accounts::RegisterCustomerResponse>, Status> {
        unused()
    }

    async fn create_session(
        &self,
        request: Request<accounts::CreateSessionRequest>,
    ) -> Result<Response<accounts::CreateSessionResponse>, Status> {
        self.saw(&request);
        Err(Status::unauthenticated("wrong e-mail or password"))
    }

    async fn get_keys(
        &self,
        _: Request<accounts::GetKeysRequest>,
    ) -> Result<Response<accounts::GetKeysResponse>, Status> {
        self.seen.key_fetches.fetch_add(1, Ordering::SeqCst);
        let failures = &self.seen.key_failures;
        let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if fails.is_ok() {
            return Err(Status::unavailable("not yet"));
        }
        let keys = self.keys.clone();
        Ok(Response::new(accounts::GetKeysResponse { keys }))
    }

    async fn get_customer(
        &self,
        _: Request<accounts::GetCustomerRequest>,
    ) -> Result<Response<accounts::GetCustomerResponse>, Status> {
        unused()
    }

    async fn list_addresses(
        &self,
        _: Request<accounts::ListAddressesRequest>,
    ) -> Result<Response<accounts::ListAddressesResponse>, Status> {
        unused()
    }

    async fn create_address(
        &self,
        _: Request<accounts::CreateAddressRequest>,
    ) -> Result<Response<accounts::CreateAddressResponse>, Status> {
        unused()
    }

    async fn update_address(
        &self,
        request: Request<accounts::UpdateAddressRequest>,
    ) -> Result<Response<accounts::UpdateAddressResponse>, Status> {
        self.saw(&request);
        let address = request.into_inner().address;
        Ok(Response::new(accounts::UpdateAddressResponse { address }))
    }

    async fn delete_address(
        &self,
        request: Request<accounts::DeleteAddressRequest>,
    ) -> Result<Response<accounts::DeleteAddressResponse>, Status> {
        self.saw(&request);
        Ok(Response::new(accounts::DeleteAddressResponse {}))
    }
}

#[tonic::async_trait]
impl orders::order_service_server::OrderService for Services {
    type WatchOrderStream =
        Pin<Box<dyn Stream<Item = Result<orders::WatchOrderResponse, Status>> + Send>>;

    async fn place_order(
        &self,
        request: Request<orders::PlaceOrderRequest>,
    ) -> Result<Response<orders::PlaceOrderResponse>, Status> {
        self.saw(&request);
        let order = request.into_inner().order;
        Ok(Response::new(orders::PlaceOrderResponse { order }))
    }

    async fn get_order(
        &self,
        request: Request<orders::GetOrderRequest>,
    ) -> Result<Response<orders::GetOrderResponse>, Status> {
        self.saw(&request);
        let name = request.into_inner().name;
        let order = Some(orders::Order {
            name,
            ..Default::default()
        });
        Ok(Response::new(orders::GetOrderResponse { order }))
    }

    async fn list_orders(
        &self,
        request: Request<orders::ListOrdersRequest>,
    ) -> Result<Response<orders::ListOrdersResponse>, Status> {
        self.saw(&request);
        Ok(Response::new(orders::ListOrdersResponse::default()))
    }

    /// Two states and an end; `orders/broken` fails after one, `orders/none` before, `orders/quiet`
    /// never says anything.
    async fn watch_order(
        &self,
        request: Request<orders::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        self.saw(&request);
        let name = request.into_inner().name;
        let update = |state: orders::OrderState| {
            let mut order = orders::Order {
                name: name.clone(),
                ..Default::default()
            };
            order.set_state(state);
            Ok(orders::WatchOrderResponse { order: Some(order) })
        };
        let pending = update(orders::OrderState::Pending);
        let paid = update(orders::OrderState::Paid);
        let stream = match name.as_str() {
            "orders/none" => return Err(Status::not_found("no such order")),
            "orders/empty" => stream::iter(vec![]).boxed(),
            "orders/quiet" => {
                self.seen.open_watches.fetch_add(1, Ordering::SeqCst);
                let open = OpenWatch(Arc::clone(&self.seen));
                let silence = stream::pending().inspect(move |_| {
                    let _held = &open;
                });
                silence.boxed()
            }
            "orders/broken" => stream::iter(vec![pending, Err(Status::data_loss("lost"))]).boxed(),
            _ => stream::iter(vec![pending, paid]).boxed(),
        };
        Ok(Response::new(stream))
    }
}
