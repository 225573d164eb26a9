//! The four peers of orders over real gRPC, on one port: what a sidecar's outbound listener looks like.

use contracts::{
    google::r#type::Money,
    sockshop::{
        carts::v1 as carts, catalogue::v1 as catalogue, inventory::v1 as inventory,
        payments::v1 as payments,
    },
};
use service_kit::status;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::shop::Shop;

/// Serves the shop until it is dropped; returns its address as a proxy's URL.
pub async fn serve(shop: Shop) -> (String, Peers) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(catalogue::catalogue_service_server::CatalogueServiceServer::new(shop.clone()))
        .add_service(inventory::inventory_service_server::InventoryServiceServer::new(shop.clone()))
        .add_service(payments::payment_service_server::PaymentServiceServer::new(
            shop.clone(),
        ))
        .add_service(carts::cart_service_server::CartServiceServer::new(shop))
        .serve_with_incoming(TcpIncoming::from(listener));
    (url, Peers(tokio::spawn(async { server.await.unwrap() })))
}

/// The running peers.
pub struct Peers(JoinHandle<()>);

impl Drop for Peers {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// Methods that orders has no business to call.
macro_rules! never {
    ($($method:ident($request:ty) -> $response:ty;)*) => {$(
        fn $method<'a: 'b, 'b>(
            &'a self,
            _: Request<$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
        where
            Self: 'b,
        {
            Box::pin(std::future::ready(Err(Status::unimplemented(stringify!($method)))))
        }
    )*};
}

#[tonic::async_trait]
impl catalogue::catalogue_service_server::CatalogueService for Shop {
    async fn batch_get_variants(
        &self,
        request: Request<catalogue::BatchGetVariantsRequest>,
    ) -> Answer<catalogue::BatchGetVariantsResponse> {
        let names = request.into_inner().names;
        let variant = |name: String| {
            if name.contains("missing") {
                return Err(status::not_found(&name));
            }
            Ok(catalogue::Variant {
                name,
                title: "Merino Socks".into(),
                price: Some(Money {
                    currency_code: "EUR".into(),
                    units: 12,
                    nanos: 990_000_000,
                }),
                ..catalogue::Variant::default()
            })
        };
        let look = |_: &mut _| names.into_iter().map(variant).collect();
        let variants = self.call("BatchGetVariants", look).await?;
        Ok(Response::new(catalogue::BatchGetVariantsResponse {
            variants,
        }))
    }

    never! {
        list_products(catalogue::ListProductsRequest) -> catalogue::ListProductsResponse;
        get_product(catalogue::GetProductRequest) -> catalogue::GetProductResponse;
        get_picture(catalogue::GetPictureRequest) -> catalogue::GetPictureResponse;
        list_categories(catalogue::ListCategoriesRequest) -> catalogue::ListCategoriesResponse;
    }
}

#[tonic::async_trait]
impl inventory::inventory_service_server::InventoryService for Shop {
    async fn reserve_stock(
        &self,
        request: Request<inventory::ReserveStockRequest>,
    ) -> Answer<inventory::ReserveStockResponse> {
        let request = request.into_inner();
        let units = request
            .lines
            .iter()
            .map(|line| i64::from(line.quantity))
            .sum();
        let reserve = self.call("ReserveStock", |books| {
            books.reserve(&request.request_id, units)
        });
        let name = reserve.await?;
        let reservation = inventory::Reservation {
            name,
            ..Default::default()
        };
        Ok(Response::new(inventory::ReserveStockResponse {
            reservation: Some(reservation),
        }))
    }

    async fn confirm_reservation(
        &self,
        request: Request<inventory::ConfirmReservationRequest>,
    ) -> Answer<inventory::ConfirmReservationResponse> {
        let name = request.into_inner().name;
        self.call("ConfirmReservation", |books| books.confirm(&name))
            .await?;
        Ok(Response::new(Default::default()))
    }

    async fn release_reservation(
        &self,
        request: Request<inventory::ReleaseReservationRequest>,
    ) -> Answer<inventory::ReleaseReservationResponse> {
        let name = request.into_inner().name;
        self.call("ReleaseReservation", |books| books.release(&name))
            .await?;
        Ok(Response::new(Default::default()))
    }

    never! {
        batch_get_stock(inventory::BatchGetStockRequest) -> inventory::BatchGetStockResponse;
        adjust_stock(inventory::AdjustStockRequest) -> inventory::AdjustStockResponse;
    }
}

#[tonic::async_trait]
impl payments::payment_service_server::PaymentService for Shop {
    async fn authorize_payment(
        &self,
        request: Request<payments::AuthorizePaymentRequest>,
    ) -> Answer<payments::AuthorizePaymentResponse> {
        let request = request.into_inner();
        let authorize = self.call("AuthorizePayment", |books| {
            books.authorize(&request.request_id, &request.card_token)
        });
        let payment = payments::Payment {
            name: authorize.await?,
            ..Default::default()
        };
        Ok(Response::new(payments::AuthorizePaymentResponse {
            payment: Some(payment),
        }))
    }

    async fn capture_payment(
        &self,
        request: Request<payments::CapturePaymentRequest>,
    ) -> Answer<payments::CapturePaymentResponse> {
        let name = request.into_inner().name;
        self.call("CapturePayment", |books| books.capture(&name))
            .await?;
        Ok(Response::new(Default::default()))
    }

    async fn void_payment(
        &self,
        request: Request<payments::VoidPaymentRequest>,
    ) -> Answer<payments::VoidPaymentResponse> {
        use payments::void_payment_request::Target;
        let key = match request.into_inner().target.unwrap() {
            Target::Name(name) => name.trim_start_matches("payments/").to_owned(),
            Target::AuthorizationRequestId(id) => id,
        };
        self.call("VoidPayment", |books| books.void(&key)).await?;
        Ok(Response::new(Default::default()))
    }

    async fn refund_payment(
        &self,
        request: Request<payments::RefundPaymentRequest>,
    ) -> Answer<payments::RefundPaymentResponse> {
        let name = request.into_inner().name;
        self.call("RefundPayment", |books| books.refund(&name))
            .await?;
        Ok(Response::new(Default::default()))
    }

    never! {
        get_payment(payments::GetPaymentRequest) -> payments::GetPaymentResponse;
        list_ledger_entries(payments::ListLedgerEntriesRequest)
            -> payments::ListLedgerEntriesResponse;
    }
}

#[tonic::async_trait]
impl carts::cart_service_server::CartService for Shop {
    async fn take_ordered_lines(
        &self,
        request: Request<carts::TakeOrderedLinesRequest>,
    ) -> Answer<carts::TakeOrderedLinesResponse> {
        let request_id = request.into_inner().request_id;
        let take = self.call("TakeOrderedLines", |books| {
            books.take(&request_id);
            Ok(())
        });
        take.await?;
        Ok(Response::new(Default::default()))
    }

    never! {
        create_cart(carts::CreateCartRequest) -> carts::CreateCartResponse;
        get_cart(carts::GetCartRequest) -> carts::GetCartResponse;
        add_cart_line(carts::AddCartLineRequest) -> carts::AddCartLineResponse;
        update_cart_line(carts::UpdateCartLineRequest) -> carts::UpdateCartLineResponse;
        remove_cart_line(carts::RemoveCartLineRequest) -> carts::RemoveCartLineResponse;
        merge_cart(carts::MergeCartRequest) -> carts::MergeCartResponse;
    }
}
