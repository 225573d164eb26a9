//! Two versions of one service run side by side, and routes choose between them by their labels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use contracts::sockshop::catalogue::v1::{
    ListProductsRequest, catalogue_service_client::CatalogueServiceClient,
};
use e2e::{Shop, http::send, shop};
use http::Method;
use serde_json::{Value, json};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// One replica of `catalogue` is `v1` as the service says, another says of itself that it is `v2`.
fn mesh() -> Value {
    let weft = shop::weft().unwrap();
    let program = |name: &str| json!([weft.with_file_name(name)]);
    let to = |subset: &str, weight: u32| json!({ "name": "catalogue", "subset": subset, "weight": weight });
    let testers = json!({ "headers": [{ "name": "x-tester", "value": "yes" }] });
    json!({
        "mesh": { "trustDomain": "canary.local", "namespace": "test" },
        "services": {
            "catalogue": {
                "port": 7070,
                "run": { "command": program("catalogue"), "versions": { "v2": {} } },
                "database": "sqlite",
                "labels": { "version": "v1" },
                "subsets": { "stable": { "version": "v1" }, "canary": { "version": "v2" } },
                "authz": { "allow_rules": [{ "name": "everyone" }] },
            },
            // Its sidecar is the caller's.
            "inventory": { "port": 7070, "run": { "command": program("inventory") }, "database": "sqlite" },
        },
        "routes": [{
            "kind": "GRPCRoute",
            "parentRefs": [{ "name": "catalogue" }],
            "rules": [
                { "matches": [testers], "backendRefs": [to("canary", 1)] },
                { "backendRefs": [to("stable", 3), to("canary", 1)] },
            ],
        }],
        "edge": { "listen": "127.0.0.1:0" },
    })
}

fn port(shop: &Shop, process: &str, purpose: &str) -> SocketAddr {
    let process = shop.process(process).unwrap();
    process["ports"][purpose].as_str().unwrap().parse().unwrap()
}

/// Calls that came to a workload.
async fn received(shop: &Shop, workload: &str) -> u64 {
    let admin = port(shop, &format!("{workload}-sidecar"), "admin");
    let metrics = send(admin, Method::GET, "/metrics", None, None, "").await;
    let metrics = metrics.unwrap().text();
    let lines = metrics.lines();
    let counts = lines.filter(|line| line.starts_with("grpc_server_call_started_total{"));
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

async fn call(client: &mut CatalogueServiceClient<Channel>, is_tester: bool) {
    let mut request = Request::new(ListProductsRequest::default());
    if is_tester {
        request
            .metadata_mut()
            .insert("x-tester", "yes".parse().unwrap());
    }
    client.list_products(request).await.unwrap();
}

#[tokio::test]
async fn a_canary_is_chosen_by_the_label_its_workload_registered_with() {
    let shop = Shop::start_mesh(&mesh()).await.unwrap();
    let outbound = port(&shop, "inventory-1-sidecar", "outbound");
    let endpoint = Endpoint::from_shared(format!("http://{outbound}")).unwrap();
    let origin = "http://catalogue:7070".parse().unwrap();
    let channel = endpoint.origin(origin).connect().await.unwrap();
    let mut client = CatalogueServiceClient::new(channel);

    for _ in 0..20 {
        call(&mut client, true).await;
    }
    let counts = (
        received(&shop, "catalogue-1").await,
        received(&shop, "catalogue-2").await,
    );
    assert_eq!(counts, (0, 20), "testers are sent to the canary alone");

    for _ in 0..400 {
        call(&mut client, false).await;
    }
    let stable = received(&shop, "catalogue-1").await;
    let canary = received(&shop, "catalogue-2").await - 20;
    assert_eq!(stable + canary, 400);
    assert!(
        (60..=140).contains(&canary),
        "{canary} of 400 for a quarter"
    );
}
