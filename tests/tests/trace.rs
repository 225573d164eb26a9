//! Every hop of an order is in one trace, exported over OTLP; every process serves metrics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use e2e::{Shop, http::send, order, until};
use http::Method;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Which services have sent spans of which trace.
type Seen = Arc<Mutex<BTreeMap<Vec<u8>, BTreeSet<String>>>>;

struct Collector(Seen);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().unwrap();
        for spans in request.into_inner().resource_spans {
            let service = spans
                .resource
                .iter()
                .flat_map(|resource| &resource.attributes)
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| attribute.value.clone()?.value)
                .and_then(|value| match value {
                    any_value::Value::StringValue(name) => Some(name),
                    _ => None,
                })
                .unwrap_or_default();
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.entry(span.trace_id)
                    .or_default()
                    .insert(service.clone());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_one_trace() {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(seen.clone())))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    tokio::spawn(server);

    let shop = Shop::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)])
        .await
        .unwrap();
    let customer = shop.customer().await.unwrap();
    let variant = shop.variant(1, 1).await.unwrap();
    let id = Uuid::new_v4().to_string();
    let body = order(&customer, &id, &variant, 1, "cardTokens/test-succeeds");
    let trace = Uuid::new_v4();
    let request = http::Request::post("/v1/orders")
        .header("host", "shop.test")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", customer.token))
        .header(
            "traceparent",
            format!("00-{}-00f067aa0ba902b7-01", trace.simple()),
        )
        .body(http_body_util::Full::new(bytes::Bytes::from(
            body.to_string(),
        )))
        .unwrap();
    let stream = tokio::net::TcpStream::connect(shop.edge()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

    let hops = [
        "edge",
        "orders",
        "inventory",
        "payments",
        "catalogue",
        "orders-sidecar",
        "inventory-sidecar",
        "payments-sidecar",
        "catalogue-sidecar",
    ];
    let result = until("spans of every hop", Duration::from_secs(30), async || {
        let services = seen
            .lock()
            .unwrap()
            .get(trace.as_bytes().as_slice())
            .cloned();
        Ok(services.filter(|services| hops.iter().all(|hop| services.contains(*hop))))
    })
    .await;
    assert!(
        result.is_ok(),
        "{result:?}: {:?}",
        seen.lock().unwrap().get(trace.as_bytes().as_slice())
    );
    every_process_serves_metrics(&shop).await;
    shop.stop().await.unwrap();
}

async fn every_process_serves_metrics(shop: &Shop) {
    let state = shop.state();
    let processes = state["processes"].as_array().unwrap();
    assert!(processes.len() >= 18);
    for process in processes {
        let admin = process["ports"]["admin"].as_str().unwrap().parse().unwrap();
        let reply = send(admin, Method::GET, "/metrics", None, None, "")
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{process}");
        assert!(
            reply.text().contains("process_resident_memory_bytes"),
            "{process}"
        );
    }
}
