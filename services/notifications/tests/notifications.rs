//! Events become mails, each once, on every database and over a real SMTP conversation.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use contracts::{
    sockshop::{
        notifications::v1::{
            ListMailsRequest, Mail, notification_service_client::NotificationServiceClient,
        },
        orders::v1::{Order, OrderEvent, OrderState},
    },
    weft::events::v1::{
        Event, StreamEventsRequest, StreamEventsResponse,
        event_service_server::{EventService, EventServiceServer},
    },
};
use notifications::{
    MIGRATIONS,
    mailer::{LocalMailer, SmtpMailer},
};
use prost::Message as _;
use service_kit::{Db, Subject, Upstream, forward_subject, testing};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const DEADLINE: Duration = Duration::from_secs(10);

/// The outbox of orders: 30 events, and every stream breaks after seven of them.
struct Orders;

#[tonic::async_trait]
impl EventService for Orders {
    type StreamEventsStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<StreamEventsResponse, Status>>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let after = request.into_inner().after_sequence;
        let mut events: Vec<_> = (after + 1..=(after + 7).min(30))
            .map(|n| Ok(event(n)))
            .collect();
        events.push(Err(Status::unavailable("broken on purpose")));
        Ok(Response::new(tokio_stream::iter(events)))
    }
}

fn event(sequence: i64) -> StreamEventsResponse {
    let order = Order {
        name: format!("orders/{sequence}"),
        customer: "customers/ada".into(),
        email: "ada@example.com".into(),
        state: OrderState::Paid.into(),
        ..Default::default()
    };
    let payload = prost_types::Any {
        type_url: "type.googleapis.com/sockshop.orders.v1.OrderEvent".into(),
        value: OrderEvent {
            order: Some(order.clone()),
        }
        .encode_to_vec(),
    };
    StreamEventsResponse {
        event: Some(Event {
            sequence,
            id: format!("event-{sequence}"),
            r#type: "sockshop.orders.v1.OrderEvent".into(),
            key: order.name,
            payload: Some(payload),
            ..Default::default()
        }),
    }
}

async fn orders() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder()
        .add_service(EventServiceServer::new(Orders))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Upstream::new(&address, None).unwrap()
}

async fn mails(upstream: Upstream) -> Vec<Mail> {
    let mut client = NotificationServiceClient::new(upstream);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let mut request = Request::new(ListMailsRequest {
            page_size: 8,
            page_token,
        });
        forward_subject(&Subject::parse("customers/ada").unwrap(), &mut request);
        let page = client.list_mails(request).await.unwrap().into_inner();
        all.extend(page.mails);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn thirty_sent(upstream: Upstream) -> Vec<Mail> {
    let all_sent = async {
        loop {
            let mails = mails(upstream.clone()).await;
            if mails.len() == 30 && mails.iter().all(|mail| mail.send_time.is_some()) {
                return mails;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_sent)
        .await
        .expect("30 mails are sent")
}

#[tokio::test]
async fn each_event_becomes_one_mail_also_after_restarts() {
    for db in testing::databases("mails", &MIGRATIONS).await {
        for _ in 0..2 {
            let db = Db::open(db.url(), &MIGRATIONS).await.unwrap();
            let server = notifications::server(db, orders().await, LocalMailer);
            let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
            let mut names: Vec<_> = thirty_sent(running.upstream())
                .await
                .into_iter()
                .map(|mail| mail.order)
                .collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 30);
            running.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn others_mails_are_not_listed() {
    for db in testing::databases("others", &MIGRATIONS).await {
        let server = notifications::server((*db).clone(), orders().await, LocalMailer);
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        thirty_sent(running.upstream()).await;
        let mut client = NotificationServiceClient::new(running.upstream());
        let mut request = Request::new(ListMailsRequest::default());
        let status = client
            .list_mails(ListMailsRequest::default())
            .await
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        forward_subject(&Subject::parse("customers/eve").unwrap(), &mut request);
        assert_eq!(
            client.list_mails(request).await.unwrap().into_inner().mails,
            []
        );
        running.stop().await.unwrap();
    }
}

/// An SMTP server that refuses the first mail for now and takes the others. Sends each text it took.
async fn smtp_server() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let (taken, mails) = mpsc::channel(100);
    tokio::spawn(async move {
        let mut refused = false;
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 test\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match line.split(' ').next().unwrap_or_default() {
                    "EHLO" => "250 test\r\n".to_owned(),
                    "RCPT" if !refused => {
                        refused = true;
                        "451 later\r\n".to_owned()
                    }
                    "DATA" => {
                        write.write_all(b"354 go on\r\n").await.unwrap();
                        let mut text = String::new();
                        while let Ok(Some(line)) = lines.next_line().await {
                            if line == "." {
                                break;
                            }
                            text.push_str(&line);
                            text.push('\n');
                        }
                        taken.send(text).await.unwrap();
                        "250 taken\r\n".to_owned()
                    }
                    "QUIT" => "221 bye\r\n".to_owned(),
                    _ => "250 ok\r\n".to_owned(),
                };
                if write.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    (url, mails)
}

#[tokio::test]
async fn mails_go_out_by_smtp_and_a_refusal_is_tried_again() {
    for db in testing::databases("smtp", &MIGRATIONS).await {
        let (url, mut taken) = smtp_server().await;
        let mailer = SmtpMailer::new(&url, "Shop <shop@sockshop.example>").unwrap();
        let server = notifications::server((*db).clone(), orders().await, mailer);
        let running = testing::spawn(|listener, token| server.serve(listener, token)).await;
        let mut ids = Vec::new();
        for _ in 0..30 {
            let text = tokio::time::timeout(DEADLINE, taken.recv())
                .await
                .unwrap()
                .unwrap();
            assert!(text.contains("To: ada@example.com"), "{text}");
            ids.push(
                text.lines()
                    .find(|line| line.starts_with("Message-ID"))
                    .unwrap()
                    .to_owned(),
            );
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 30, "each mail once");
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn two_replicas_send_each_mail_once() {
    for db in testing::databases("replicas", &MIGRATIONS).await {
        let (url, mut taken) = smtp_server().await;
        let mut running = Vec::new();
        for _ in 0..2 {
            let db = Db::open(db.url(), &MIGRATIONS).await.unwrap();
            let mailer = SmtpMailer::new(&url, "Shop <shop@sockshop.example>").unwrap();
            let server = notifications::server(db, orders().await, mailer);
            running.push(testing::spawn(|listener, token| server.serve(listener, token)).await);
        }
        thirty_sent(running[0].upstream()).await;
        for replica in running {
            replica.stop().await.unwrap();
        }
        let mut count = 0;
        while taken.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 30);
    }
}

#[test]
fn a_broken_configuration_is_named() {
    let error = SmtpMailer::new("ftp://x", "shop@x.example").unwrap_err();
    assert!(format!("{error:#}").contains("SMTP_URL"), "{error:#}");
    let error = SmtpMailer::new("smtp://localhost", "nobody").unwrap_err();
    assert!(format!("{error:#}").contains("nobody"), "{error:#}");
}
