//! A running orders service with its peers, which can be killed.

use std::{net::SocketAddr, time::Duration};

use contracts::{
    sockshop::orders::v1::{
        GetOrderRequest, Order, OrderEvent, OrderLine, OrderState, PlaceOrderRequest,
        ShippingAddress, order_service_client::OrderServiceClient,
    },
    weft::events::v1::{StreamEventsRequest, event_service_client::EventServiceClient},
};
use orders::{MIGRATIONS, executor::Settings, peers::Upstreams};
use prost::Message as _;
use service_kit::{
    CancellationToken, Db, Subject, Upstream, forward_subject, ids,
    testing::{self, TestDb},
};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tonic::{Request, Status};

use crate::{
    peers::{self, Peers},
    shop::Shop,
};

pub const CUSTOMER: &str = "customers/1";

/// Orders and its peers, on one database.
pub struct World {
    pub shop: Shop,
    pub test: TestDb,
    proxy: String,
    _peers: Peers,
    replicas: Vec<Replica>,
    settings: Settings,
}

/// One process of the service: a runtime of its own, so that it can die as a whole.
struct Replica {
    address: SocketAddr,
    token: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    runtime: Option<Runtime>,
}

/// The service on every database, with so many units in stock.
pub async fn worlds(test: &str, stock: i64) -> Vec<World> {
    let sweep = Duration::from_millis(50);
    worlds_with(
        test,
        stock,
        Settings {
            sweep,
            ..Settings::default()
        },
    )
    .await
}

/// Like [`worlds`], with leases that end soon after their owner has died.
pub async fn hasty_worlds(test: &str, stock: i64) -> Vec<World> {
    let settings = Settings {
        lease: Duration::from_millis(600),
        call_timeout: Duration::from_millis(500),
        sweep: Duration::from_millis(50),
        ..Settings::default()
    };
    worlds_with(test, stock, settings).await
}

async fn worlds_with(test: &str, stock: i64, settings: Settings) -> Vec<World> {
    let mut worlds = Vec::new();
    for test in testing::databases(test, &MIGRATIONS).await {
        let shop = Shop::new(stock);
        let (proxy, peers) = peers::serve(shop.clone()).await;
        let settings = settings.clone();
        let mut world = World {
            shop,
            test,
            proxy,
            _peers: peers,
            replicas: Vec::new(),
            settings,
        };
        world.start().await;
        worlds.push(world);
    }
    worlds
}

impl World {
    /// Starts one more process on the database.
    pub async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let token = CancellationToken::new();
        let (url, proxy) = (self.test.url().to_owned(), self.proxy.parse().unwrap());
        let (cancelled, settings) = (token.clone(), self.settings.clone());
        let started = runtime.spawn(async move {
            let db = Db::open(&url, &MIGRATIONS).await.unwrap();
            let upstream = |name| Upstream::new(name, Some(&proxy)).unwrap();
            let upstreams = Upstreams {
                catalogue: upstream("catalogue:7070"),
                inventory: upstream("inventory:7070"),
                payments: upstream("payments:7070"),
                carts: upstream("carts:7070"),
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = orders::server(db, upstreams, settings);
            (address, tokio::spawn(server.serve(listener, cancelled)))
        });
        let (address, serving) = started.await.unwrap();
        self.replicas.push(Replica {
            address,
            token,
            serving,
            runtime: Some(runtime),
        });
    }

    /// Ends the oldest process at once, wherever its tasks are.
    pub fn kill(&mut self) {
        self.replicas.remove(0);
    }

    /// Drains all processes and waits for their end.
    pub async fn stop(&mut self) {
        for mut replica in self.replicas.drain(..) {
            replica.token.cancel();
            (&mut replica.serving).await.unwrap().unwrap();
        }
    }

    pub fn client(&self, replica: usize) -> OrderServiceClient<Upstream> {
        OrderServiceClient::new(self.upstream(replica))
    }

    fn upstream(&self, replica: usize) -> Upstream {
        Upstream::new(&self.replicas[replica].address.to_string(), None).unwrap()
    }

    pub async fn place(&self, request: PlaceOrderRequest) -> Result<Order, Status> {
        let answer = self.client(0).place_order(by(CUSTOMER, request)).await?;
        Ok(answer.into_inner().order.unwrap())
    }

    pub async fn order(&self, name: &str) -> Order {
        let request = GetOrderRequest { name: name.into() };
        let answer = self
            .client(0)
            .get_order(by(CUSTOMER, request))
            .await
            .unwrap();
        answer.into_inner().order.unwrap()
    }

    /// The order once it is paid or rejected.
    pub async fn end_of(&self, name: &str) -> Order {
        for _ in 0..1000 {
            let order = self.order(name).await;
            if matches!(order.state(), OrderState::Paid | OrderState::Rejected) {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} has no end: {:?}", self.order(name).await);
    }

    /// The name of the only order that the database knows, once it is there.
    pub async fn only_order(&self) -> String {
        let sql = "SELECT id FROM orders";
        let rows = self.test.fetch_all::<(String,)>(sql, vec![]).await.unwrap();
        let [(id,)] = &rows[..] else {
            panic!("{} orders", rows.len())
        };
        format!("orders/{id}")
    }

    /// Waits until no saga has anything left to do, then gives the orders of all events.
    pub async fn events(&self) -> Vec<Order> {
        let open = "SELECT COUNT(*) FROM orders WHERE due_time IS NOT NULL";
        for _ in 0..1000 {
            let (open,) = self.test.fetch_one::<(i64,)>(open, vec![]).await.unwrap();
            if open == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (count,) = self
            .test
            .fetch_one::<(i64,)>("SELECT COUNT(*) FROM kit_outbox", vec![])
            .await
            .unwrap();
        let mut client = EventServiceClient::new(self.upstream(0));
        let mut stream = client
            .stream_events(StreamEventsRequest::default())
            .await
            .unwrap()
            .into_inner();
        let mut orders = Vec::new();
        for _ in 0..count {
            let event = stream.message().await.unwrap().unwrap().event.unwrap();
            assert_eq!(event.r#type, "sockshop.orders.v1.OrderEvent");
            let payload = OrderEvent::decode(&*event.payload.unwrap().value).unwrap();
            let order = payload.order.unwrap();
            assert_eq!(event.key, order.name);
            orders.push(order);
        }
        orders
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call on behalf of a customer.
pub fn by<T>(customer: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    forward_subject(&Subject::parse(customer).unwrap(), &mut request);
    request
}

/// Two pairs, paid with this card token, with a new request id.
pub fn two_pairs(card_token: &str) -> PlaceOrderRequest {
    let order = Order {
        lines: vec![OrderLine {
            variant: "products/merino/variants/36-40-navy".into(),
            quantity: 2,
            ..OrderLine::default()
        }],
        shipping_address: Some(ShippingAddress {
            recipient: "Ada Lovelace".into(),
            street: "Unter den Linden 1".into(),
            city: "Berlin".into(),
            postal_code: "10117".into(),
            region_code: "DE".into(),
        }),
        email: "ada@example.com".into(),
        card_token: format!("cardTokens/{card_token}"),
        ..Order::default()
    };
    PlaceOrderRequest {
        request_id: ids::new_secret(),
        order: Some(order),
    }
}
