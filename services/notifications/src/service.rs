//! The generated trait: shows the mails of the caller.

use contracts::sockshop::notifications::v1::{
    ListMailsRequest, ListMailsResponse, Mail, notification_service_server::NotificationService,
};
use service_kit::{
    paging::{Page, Sizes},
    subject, time, validate,
};
use tonic::{Request, Response, Status};

use crate::store::{MailRow, Store};

const PAGES: Sizes = Sizes {
    default: 20,
    max: 100,
};

/// Answers from a store.
#[derive(Debug)]
pub struct Notifications {
    store: Store,
}

impl Notifications {
    /// Answers from `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn list_mails(
        &self,
        request: Request<ListMailsRequest>,
    ) -> Result<Response<ListMailsResponse>, Status> {
        let customer = subject(&request)?;
        let request = request.into_inner();
        validate(&request)?;
        let page = Page::new(
            request.page_size,
            &request.page_token,
            &[customer.name()],
            PAGES,
        )?;
        let rows = self
            .store
            .mails(customer.name(), page.after()?, page.limit())
            .await?;
        let (rows, next_page_token) = page.finish(rows, |row| (row.queue_time, row.id.clone()));
        let mails = rows.into_iter().map(mail).collect();
        Ok(Response::new(ListMailsResponse {
            mails,
            next_page_token,
        }))
    }
}

fn mail(row: MailRow) -> Mail {
    Mail {
        name: format!("mails/{}", row.id),
        order: row.order_name,
        recipient: row.recipient,
        subject: row.subject,
        body: row.body,
        send_time: row.send_time.map(time::to_timestamp),
    }
}
