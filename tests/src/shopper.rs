//! Somebody who goes through the whole shop, over and over, on one gRPC connection to the edge. Nothing is
//! repeated: whatever fails is a failure.

use anyhow::{Context as _, Result, ensure};
use contracts::sockshop::{
    accounts::v1::{GetCustomerRequest, account_service_client::AccountServiceClient},
    carts::v1::{
        AddCartLineRequest, CreateCartRequest, GetCartRequest,
        cart_service_client::CartServiceClient,
    },
    catalogue::v1::{ListProductsRequest, catalogue_service_client::CatalogueServiceClient},
    inventory::v1::{BatchGetStockRequest, inventory_service_client::InventoryServiceClient},
    notifications::v1::{ListMailsRequest, notification_service_client::NotificationServiceClient},
    orders::v1::{
        ListOrdersRequest, Order, OrderLine, PlaceOrderRequest, ShippingAddress,
        order_service_client::OrderServiceClient,
    },
};
use tonic::{Request, metadata::MetadataValue, transport::Channel};
use uuid::Uuid;

use crate::{Customer, Shop};

/// Of so many calls one places an order, which takes the work of fifteen others.
const CALLS_PER_ORDER: u64 = 320;

/// One caller.
#[derive(Clone, Debug)]
pub struct Shopper {
    edge: Channel,
    customer: Customer,
    variant: String,
    cart: String,
}

impl Shopper {
    /// Connects, and takes a cart.
    ///
    /// # Errors
    ///
    /// If the edge cannot be reached or gives no cart.
    pub async fn enter(shop: &Shop, customer: Customer, variant: String) -> Result<Self> {
        let edge = Channel::from_shared(format!("http://{}", shop.edge()))?;
        let edge = edge.connect().await?;
        let created = CartServiceClient::new(edge.clone())
            .create_cart(CreateCartRequest {})
            .await?;
        let cart = created.into_inner().cart.context("no cart")?.name;
        Ok(Self {
            edge,
            customer,
            variant,
            cart,
        })
    }

    /// Makes the `n`-th call: every service has its turn.
    ///
    /// # Errors
    ///
    /// If it was not answered well.
    pub async fn call(&self, n: u64) -> Result<()> {
        if n.is_multiple_of(CALLS_PER_ORDER) {
            return self.buy().await.context("PlaceOrder");
        }
        match n % 12 {
            0 => self.fill_cart().await.context("AddCartLine"),
            1 | 2 => self.products().await.context("ListProducts"),
            3 | 4 => self.stock().await.context("BatchGetStock"),
            5 | 6 => self.look_into_cart().await.context("GetCart"),
            7 | 8 => self.customer().await.context("GetCustomer"),
            9 | 10 => self.orders().await.context("ListOrders"),
            _ => self.mails().await.context("ListMails"),
        }
    }

    async fn products(&self) -> Result<()> {
        let request = ListProductsRequest {
            page_size: 2,
            ..Default::default()
        };
        let mut client = CatalogueServiceClient::new(self.edge.clone());
        let page = client.list_products(request).await?.into_inner();
        ensure!(page.products.len() == 2, "{page:?}");
        Ok(())
    }

    async fn stock(&self) -> Result<()> {
        let request = BatchGetStockRequest {
            variants: vec![self.variant.clone()],
        };
        let mut client = InventoryServiceClient::new(self.edge.clone());
        let stock = client.batch_get_stock(request).await?.into_inner();
        ensure!(stock.stock.len() == 1, "{stock:?}");
        Ok(())
    }

    /// Reads the price from the catalogue.
    async fn fill_cart(&self) -> Result<()> {
        let request = AddCartLineRequest {
            cart: self.cart.clone(),
            request_id: Uuid::new_v4().to_string(),
            variant: self.variant.clone(),
            quantity: 1,
        };
        let mut client = CartServiceClient::new(self.edge.clone());
        client.add_cart_line(request).await?;
        Ok(())
    }

    async fn look_into_cart(&self) -> Result<()> {
        let request = GetCartRequest {
            name: self.cart.clone(),
        };
        let mut client = CartServiceClient::new(self.edge.clone());
        client.get_cart(request).await?;
        Ok(())
    }

    async fn customer(&self) -> Result<()> {
        let request = self.logged_in(GetCustomerRequest {
            name: self.customer.name.clone(),
        })?;
        let mut client = AccountServiceClient::new(self.edge.clone());
        client.get_customer(request).await?;
        Ok(())
    }

    async fn orders(&self) -> Result<()> {
        let request = self.logged_in(ListOrdersRequest {
            page_size: 1,
            ..Default::default()
        })?;
        let mut client = OrderServiceClient::new(self.edge.clone());
        client.list_orders(request).await?;
        Ok(())
    }

    async fn mails(&self) -> Result<()> {
        let request = self.logged_in(ListMailsRequest {
            page_size: 1,
            ..Default::default()
        })?;
        let mut client = NotificationServiceClient::new(self.edge.clone());
        client.list_mails(request).await?;
        Ok(())
    }

    /// Prices from the catalogue; then stock, payment and cart, in the background.
    async fn buy(&self) -> Result<()> {
        let order = Order {
            lines: vec![OrderLine {
                variant: self.variant.clone(),
                quantity: 1,
                ..Default::default()
            }],
            shipping_address: Some(ShippingAddress {
                recipient: "Ada Lovelace".to_owned(),
                street: "1 Mill Lane".to_owned(),
                city: "London".to_owned(),
                postal_code: "N1 9GU".to_owned(),
                region_code: "GB".to_owned(),
            }),
            email: self.customer.email.clone(),
            card_token: "cardTokens/test-succeeds".to_owned(),
            ..Default::default()
        };
        let request = self.logged_in(PlaceOrderRequest {
            request_id: Uuid::new_v4().to_string(),
            order: Some(order),
        })?;
        let mut client = OrderServiceClient::new(self.edge.clone());
        client.place_order(request).await?;
        Ok(())
    }

    fn logged_in<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let bearer = MetadataValue::try_from(format!("Bearer {}", self.customer.token))?;
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }
}
