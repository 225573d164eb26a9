//! The generated trait: find the cart that the caller may see, change its lines, answer with it.

use contracts::sockshop::{
    carts::v1::{
        AddCartLineRequest, AddCartLineResponse, Cart, CartLine, CreateCartRequest,
        CreateCartResponse, GetCartRequest, GetCartResponse, MergeCartRequest, MergeCartResponse,
        RemoveCartLineRequest, RemoveCartLineResponse, TakeOrderedLinesRequest,
        TakeOrderedLinesResponse, UpdateCartLineRequest, UpdateCartLineResponse,
        cart_service_server::CartService,
    },
    catalogue::v1::{BatchGetVariantsRequest, catalogue_service_client::CatalogueServiceClient},
};
use service_kit::{
    Money, Subject, Tx, Upstream, idempotency::Key, ids, optional_subject, status, subject, time,
    validate,
};
use tonic::{Request, Response, Status};

use crate::{
    lines::{self, CartFull, Line},
    store::{self, Store, StoredCart},
};

/// Answers from a store; prices come from the catalogue.
#[derive(Debug)]
pub struct Carts {
    store: Store,
    catalogue: CatalogueServiceClient<Upstream>,
}

impl Carts {
    /// Answers from `store`, with prices of `catalogue`.
    pub fn new(store: Store, catalogue: CatalogueServiceClient<Upstream>) -> Self {
        Self { store, catalogue }
    }

    /// A variant as a line, at its current price.
    async fn line(&self, variant: &str, quantity: i32) -> Result<Line, Status> {
        let request = BatchGetVariantsRequest {
            names: vec![variant.to_owned()],
        };
        let answer = self
            .catalogue
            .clone()
            .batch_get_variants(request)
            .await
            .map_err(catalogue_error)?
            .into_inner();
        let found = answer.variants.into_iter().next();
        let found = found.ok_or_else(|| status::not_found(variant))?;
        let unit_price =
            Money::from_message(&found.price.unwrap_or_default()).map_err(|error| {
                tracing::error!(%error, variant, "the catalogue's price is broken");
                status::internal()
            })?;
        Ok(Line {
            id: lines::line_id(variant),
            variant: found.name,
            title: found.title,
            detail: format!("{}, {}", found.size, found.color),
            quantity: i64::from(quantity),
            unit_price,
        })
    }
}

#[tonic::async_trait]
impl CartService for Carts {
    async fn create_cart(
        &self,
        request: Request<CreateCartRequest>,
    ) -> Result<Response<CreateCartResponse>, Status> {
        let owner = optional_subject(&request)?;
        let mut tx = self.store.begin().await?;
        let cart = match &owner {
            Some(owner) => own(&mut tx, owner).await?,
            None => {
                let mut cart = empty(ids::new_secret(), None);
                store::put(&mut tx, &mut cart).await?;
                tx.commit().await?;
                cart
            }
        };
        Ok(Response::new(CreateCartResponse {
            cart: Some(message(cart)?),
        }))
    }

    async fn get_cart(
        &self,
        request: Request<GetCartRequest>,
    ) -> Result<Response<GetCartResponse>, Status> {
        validate(request.get_ref())?;
        let caller = optional_subject(&request)?;
        let name = &request.get_ref().name;
        let id = cart_id(name, caller.as_ref())?;
        let cart = visible(self.store.cart(&id).await?, &id, caller.as_ref());
        let cart = cart.ok_or_else(|| status::not_found(name))?;
        Ok(Response::new(GetCartResponse {
            cart: Some(message(cart)?),
        }))
    }

    async fn add_cart_line(
        &self,
        request: Request<AddCartLineRequest>,
    ) -> Result<Response<AddCartLineResponse>, Status> {
        validate(request.get_ref())?;
        let caller = optional_subject(&request)?;
        let request = request.into_inner();
        let id = cart_id(&request.cart, caller.as_ref())?;
        let line = self.line(&request.variant, request.quantity).await?;
        let key = Key::new("carts.AddCartLine", &id, &request.request_id, &request)?;
        let mut tx = self.store.begin().await?;
        let mut cart = find(&mut tx, &request.cart, caller.as_ref()).await?;
        if let Some(first) = key.recorded::<AddCartLineResponse>(&mut tx).await? {
            return Ok(Response::new(first));
        }
        lines::add(&mut cart.lines, line).map_err(cart_full)?;
        store::put(&mut tx, &mut cart).await?;
        let response = AddCartLineResponse {
            cart: Some(message(cart)?),
        };
        key.record(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn update_cart_line(
        &self,
        request: Request<UpdateCartLineRequest>,
    ) -> Result<Response<UpdateCartLineResponse>, Status> {
        validate(request.get_ref())?;
        let caller = optional_subject(&request)?;
        let request = request.into_inner();
        let (cart, line) = split(&request.name);
        let mut tx = self.store.begin().await?;
        let mut cart = find(&mut tx, cart, caller.as_ref()).await?;
        let line = cart.lines.iter_mut().find(|each| each.id == line);
        let line = line.ok_or_else(|| status::not_found(&request.name))?;
        line.quantity = i64::from(request.quantity);
        store::put(&mut tx, &mut cart).await?;
        tx.commit().await?;
        Ok(Response::new(UpdateCartLineResponse {
            cart: Some(message(cart)?),
        }))
    }

    async fn remove_cart_line(
        &self,
        request: Request<RemoveCartLineRequest>,
    ) -> Result<Response<RemoveCartLineResponse>, Status> {
        validate(request.get_ref())?;
        let caller = optional_subject(&request)?;
        let (cart, line) = split(&request.get_ref().name);
        let mut tx = self.store.begin().await?;
        let mut cart = find(&mut tx, cart, caller.as_ref()).await?;
        let before = cart.lines.len();
        cart.lines.retain(|each| each.id != line);
        if cart.lines.len() < before {
            store::put(&mut tx, &mut cart).await?;
            tx.commit().await?;
        }
        Ok(Response::new(RemoveCartLineResponse {
            cart: Some(message(cart)?),
        }))
    }

    async fn merge_cart(
        &self,
        request: Request<MergeCartRequest>,
    ) -> Result<Response<MergeCartResponse>, Status> {
        validate(request.get_ref())?;
        let customer = subject(&request)?;
        let name = request.into_inner().name;
        let guest = cart_id(&name, Some(&customer))?;
        let mut tx = self.store.begin().await?;
        let mut cart = own(&mut tx, &customer).await?;
        if guest != cart.id && !store::was_merged(&mut tx, &guest, customer.name()).await? {
            let guests = store::cart(&mut tx, &guest)
                .await?
                .filter(|cart| cart.owner.is_none());
            let guests = guests.ok_or_else(|| status::not_found(&name))?;
            lines::merge(&mut cart.lines, guests.lines);
            store::put(&mut tx, &mut cart).await?;
            store::remove_merged(&mut tx, &guest, customer.name()).await?;
            tx.commit().await?;
        }
        Ok(Response::new(MergeCartResponse {
            cart: Some(message(cart)?),
        }))
    }

    async fn take_ordered_lines(
        &self,
        request: Request<TakeOrderedLinesRequest>,
    ) -> Result<Response<TakeOrderedLinesResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let customer = Subject::parse(&request.customer)
            .ok_or_else(|| status::invalid("customer", "must be `customers/{customer}`"))?;
        let key = Key::new("carts.TakeOrderedLines", "", &request.request_id, &request)?;
        let mut tx = self.store.begin().await?;
        if key
            .recorded::<TakeOrderedLinesResponse>(&mut tx)
            .await?
            .is_none()
        {
            let mut cart = own(&mut tx, &customer).await?;
            for line in &request.lines {
                lines::take(&mut cart.lines, &line.variant, i64::from(line.quantity));
            }
            store::put(&mut tx, &mut cart).await?;
            key.record(&mut tx, &TakeOrderedLinesResponse {}).await?;
            tx.commit().await?;
        }
        Ok(Response::new(TakeOrderedLinesResponse {}))
    }
}

/// What the caller is told when the catalogue refuses: whatever comes from the mesh between is nobody
/// else's business.
fn catalogue_error(refusal: Status) -> Status {
    if status::reason(&refusal).as_deref() == Some("VARIANT_NOT_FOUND") {
        return refusal;
    }
    tracing::warn!(
        error = &refusal as &dyn std::error::Error,
        "catalogue does not answer"
    );
    status::unavailable("CATALOGUE_UNAVAILABLE", "the catalogue does not answer")
}

/// The id of a customer's own cart.
fn own_id(owner: &Subject) -> String {
    ids::derived_id(&format!("cart of {owner}"))
}

/// The id that a name means to this caller; `carts/mine` needs a customer.
fn cart_id(name: &str, caller: Option<&Subject>) -> Result<String, Status> {
    match (name.strip_prefix("carts/").unwrap_or(name), caller) {
        ("mine", Some(owner)) => Ok(own_id(owner)),
        ("mine", None) => Err(status::unauthenticated(
            "SUBJECT_MISSING",
            "`carts/mine` needs a customer: log in",
        )),
        (id, _) => Ok(id.to_owned()),
    }
}

/// The cart, if this caller may see it. A customer's own is there from the start, empty.
fn visible(cart: Option<StoredCart>, id: &str, caller: Option<&Subject>) -> Option<StoredCart> {
    match (cart, caller) {
        (Some(cart), caller) => {
            let owner = cart.owner.as_deref();
            let allowed = owner.is_none() || owner == caller.map(Subject::name);
            allowed.then_some(cart)
        }
        (None, Some(owner)) if own_id(owner) == id => {
            Some(empty(id.to_owned(), Some(owner.name().to_owned())))
        }
        (None, _) => None,
    }
}

async fn find(tx: &mut Tx, name: &str, caller: Option<&Subject>) -> Result<StoredCart, Status> {
    let id = cart_id(name, caller)?;
    visible(store::cart(tx, &id).await?, &id, caller).ok_or_else(|| status::not_found(name))
}

async fn own(tx: &mut Tx, owner: &Subject) -> Result<StoredCart, Status> {
    let id = own_id(owner);
    let stored = store::cart(tx, &id).await?;
    Ok(stored.unwrap_or_else(|| empty(id, Some(owner.name().to_owned()))))
}

fn empty(id: String, owner: Option<String>) -> StoredCart {
    StoredCart {
        id,
        owner,
        lines: Vec::new(),
        update_time: time::now_micros(),
    }
}

/// `carts/a/lines/b` as `carts/a` and `b`; validated before.
fn split(name: &str) -> (&str, &str) {
    name.split_once("/lines/").unwrap_or((name, ""))
}

fn cart_full(_: CartFull) -> Status {
    let message = format!(
        "a cart has at most {} lines of {} units",
        lines::MAX_LINES,
        lines::MAX_UNITS
    );
    status::failed_precondition("CART_FULL", message, [])
}

fn message(cart: StoredCart) -> Result<Cart, Status> {
    let name = format!("carts/{}", cart.id);
    let total = lines::total(&cart.lines).map_err(|error| {
        status::failed_precondition("CART_FULL", format!("the sum has no amount: {error}"), [])
    })?;
    let lines = cart.lines.into_iter().map(|line| CartLine {
        name: format!("{name}/lines/{}", line.id),
        variant: line.variant,
        title: line.title,
        detail: line.detail,
        quantity: i32::try_from(line.quantity).unwrap_or(i32::MAX),
        unit_price: Some(line.unit_price.to_message()),
    });
    Ok(Cart {
        lines: lines.collect(),
        total: total.map(Money::to_message),
        update_time: Some(time::to_timestamp(cart.update_time)),
        name,
    })
}
