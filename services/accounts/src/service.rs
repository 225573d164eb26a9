//! The generated trait: check the request and whose it is, ask the store, answer.

use std::sync::Arc;

use contracts::sockshop::accounts::v1::{
    Address, CreateAddressRequest, CreateAddressResponse, CreateSessionRequest,
    CreateSessionResponse, Customer, DeleteAddressRequest, DeleteAddressResponse,
    GetCustomerRequest, GetCustomerResponse, GetKeysRequest, GetKeysResponse, ListAddressesRequest,
    ListAddressesResponse, RegisterCustomerRequest, RegisterCustomerResponse, Session,
    UpdateAddressRequest, UpdateAddressResponse, account_service_server::AccountService,
};
use service_kit::{
    Subject,
    idempotency::Key,
    ids,
    paging::{Page, Sizes},
    status, subject, time, validate,
};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use crate::{
    Issuer, Passwords,
    store::{self, AddressRow, CustomerRow, MAX_ADDRESSES, Store},
    token::{Keys, LIFETIME},
};

const PAGES: Sizes = Sizes {
    default: 50,
    max: 50,
};

/// Answers from a store.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    passwords: Passwords,
    issuer: Issuer,
    keys: watch::Receiver<Arc<Keys>>,
}

impl Accounts {
    /// Answers from `store`; signs as `issuer` with `keys`.
    pub fn new(
        store: Store,
        passwords: Passwords,
        issuer: Issuer,
        keys: watch::Receiver<Arc<Keys>>,
    ) -> Self {
        Self {
            store,
            passwords,
            issuer,
            keys,
        }
    }

    async fn refuse_locked(&self, email: &str) -> Result<(), Status> {
        if self.store.is_locked(email).await? {
            let message = "too many failed log-ins in a row, wait a minute";
            let code = Code::ResourceExhausted;
            return Err(status::error_info(code, "TOO_MANY_ATTEMPTS", message, []));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn register_customer(
        &self,
        request: Request<RegisterCustomerRequest>,
    ) -> Result<Response<RegisterCustomerResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let email = request.email.to_lowercase();
        let hash = self.passwords.hash(request.password).await?;
        let row = self
            .store
            .register(&email, &request.display_name, &hash)
            .await?;
        let row = row.ok_or_else(|| {
            status::already_exists("EMAIL_TAKEN", "this e-mail address is registered already")
        })?;
        Ok(Response::new(RegisterCustomerResponse {
            customer: Some(customer(row)),
        }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        let email = request.email.to_lowercase();
        self.refuse_locked(&email).await?;
        let row = self.store.customer_by_email(&email).await?;
        let hash = row.as_ref().map(|row| row.password_hash.clone());
        let right = self.passwords.verify(request.password, hash).await?;
        // Again, after the wait for a turn: guesses that came all at once must not all be answered.
        self.refuse_locked(&email).await?;
        let Some(row) = row.filter(|_| right) else {
            self.store.login_failed(&email).await?;
            let message = "e-mail address or password is wrong";
            return Err(status::unauthenticated("WRONG_CREDENTIALS", message));
        };
        self.store.login_succeeded(&email).await?;
        let now = time::now_micros();
        let customer = customer(row);
        let session = Session {
            access_token: self
                .keys
                .borrow()
                .sign(&self.issuer, &customer.name, now / 1_000_000),
            expire_time: Some(time::to_timestamp(now + time::micros(LIFETIME))),
            customer: Some(customer),
        };
        Ok(Response::new(CreateSessionResponse {
            session: Some(session),
        }))
    }

    async fn get_keys(
        &self,
        _request: Request<GetKeysRequest>,
    ) -> Result<Response<GetKeysResponse>, Status> {
        Ok(Response::new(GetKeysResponse {
            keys: self.keys.borrow().public(),
        }))
    }

    async fn get_customer(
        &self,
        request: Request<GetCustomerRequest>,
    ) -> Result<Response<GetCustomerResponse>, Status> {
        let caller = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        own(&caller, &request.name)?;
        let row = self.store.customer(caller.id()).await?;
        let row = row.ok_or_else(|| status::not_found(&request.name))?;
        Ok(Response::new(GetCustomerResponse {
            customer: Some(customer(row)),
        }))
    }

    async fn list_addresses(
        &self,
        request: Request<ListAddressesRequest>,
    ) -> Result<Response<ListAddressesResponse>, Status> {
        let caller = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        own(&caller, &request.parent)?;
        let page = Page::new(
            request.page_size,
            &request.page_token,
            &[caller.name()],
            PAGES,
        )?;
        let after = page.after::<String>()?.unwrap_or_default();
        let rows = self
            .store
            .addresses(caller.id(), &after, page.limit())
            .await?;
        let (rows, next_page_token) = page.finish(rows, |row| row.id.clone());
        let addresses = rows.into_iter().map(|row| address(&caller, row)).collect();
        Ok(Response::new(ListAddressesResponse {
            addresses,
            next_page_token,
        }))
    }

    async fn create_address(
        &self,
        request: Request<CreateAddressRequest>,
    ) -> Result<Response<CreateAddressResponse>, Status> {
        let caller = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        own(&caller, &request.parent)?;
        let id = &request.request_id;
        let key = Key::new("accounts.CreateAddress", caller.name(), id, &request)?;
        let mut tx = self.store.db().begin().await?;
        if let Some(first) = key.recorded::<CreateAddressResponse>(&mut tx).await? {
            return Ok(Response::new(first));
        }
        let row = row(ids::new_id(), request.address.unwrap_or_default());
        if !store::add_address(&mut tx, caller.id(), &row).await? {
            let message = format!("an address book has at most {MAX_ADDRESSES} addresses");
            return Err(status::failed_precondition(
                "ADDRESS_BOOK_FULL",
                message,
                [],
            ));
        }
        let response = CreateAddressResponse {
            address: Some(address(&caller, row)),
        };
        key.record(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn update_address(
        &self,
        request: Request<UpdateAddressRequest>,
    ) -> Result<Response<UpdateAddressResponse>, Status> {
        let caller = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let given = request.address.unwrap_or_default();
        let name = given.name.clone();
        let row = row(own_address(&caller, &name)?.to_owned(), given);
        if !self.store.replace_address(caller.id(), &row).await? {
            return Err(status::not_found(&name));
        }
        Ok(Response::new(UpdateAddressResponse {
            address: Some(address(&caller, row)),
        }))
    }

    async fn delete_address(
        &self,
        request: Request<DeleteAddressRequest>,
    ) -> Result<Response<DeleteAddressResponse>, Status> {
        let caller = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let id = own_address(&caller, &request.name)?;
        self.store.remove_address(caller.id(), id).await?;
        Ok(Response::new(DeleteAddressResponse {}))
    }
}

/// Whether `name` is the caller; everybody else does not exist.
fn own(caller: &Subject, name: &str) -> Result<(), Status> {
    if name == "customers/me" || name == caller.name() {
        Ok(())
    } else {
        Err(status::not_found(name))
    }
}

/// The id of an address in the caller's book.
fn own_address<'a>(caller: &Subject, name: &'a str) -> Result<&'a str, Status> {
    let (customer, id) = name.split_once("/addresses/").ok_or_else(|| {
        status::invalid(
            "address.name",
            "must be `customers/{customer}/addresses/{address}`",
        )
    })?;
    own(caller, customer).map_err(|_| status::not_found(name))?;
    Ok(id)
}

fn customer(row: CustomerRow) -> Customer {
    Customer {
        name: format!("customers/{}", row.id),
        email: row.email,
        display_name: row.display_name,
        create_time: Some(time::to_timestamp(row.create_time)),
    }
}

fn address(owner: &Subject, row: AddressRow) -> Address {
    Address {
        name: format!("{owner}/addresses/{}", row.id),
        recipient: row.recipient,
        street: row.street,
        city: row.city,
        postal_code: row.postal_code,
        region_code: row.region_code,
    }
}

fn row(id: String, address: Address) -> AddressRow {
    AddressRow {
        id,
        recipient: address.recipient,
        street: address.street,
        city: address.city,
        postal_code: address.postal_code,
        region_code: address.region_code,
    }
}
