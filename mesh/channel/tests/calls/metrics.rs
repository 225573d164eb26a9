//! What is counted about calls and attempts.

use bytes::Bytes;
use contracts::weft::registry::v1::RegisterRequest;
use http_body_util::{BodyExt as _, Full};
use tonic::Code;
use tower::{Service as _, ServiceExt as _};
use weft_model::dataplane::OutlierDetection;

use crate::support::{AUTHORITY, Replica, World, retries, target};

#[tokio::test]
async fn an_attempt_lasts_as_long_as_its_stream() {
    let replica = Replica::start().await;
    let world = World::new([target(AUTHORITY, &[&replica])]);
    let ended = || {
        world.counts(&format!(
            "grpc_client_attempt_duration_seconds_count{{\
             grpc_method=\"weft.registry.v1.RegistryService/Register\",\
             grpc_target=\"{AUTHORITY}\",grpc_status=\"OK\"}} 1"
        ))
    };
    let mut service = world.channel.service(AUTHORITY);
    let empty_message = Full::new(Bytes::from_static(&[0; 5]));
    let request = http::Request::post("/weft.registry.v1.RegistryService/Register")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(empty_message));
    let ready = service.ready().await.unwrap();
    let response = ready.call(request.unwrap()).await.unwrap();
    assert!(!ended(), "its headers are not its end");
    let answer = response.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert!(ended(), "{}", world.metrics.encode());
}

#[tokio::test]
async fn each_attempt_has_its_sizes_and_each_call_its_messages() {
    let replica = Replica::start().await;
    let mut shop = target(AUTHORITY, &[&replica]);
    shop.methods[0].retry_policy = Some(retries(2));
    let world = World::new([shop]);
    replica.fails(&[Code::Unavailable]);
    let request = RegisterRequest {
        service: "a".repeat(20),
        ..RegisterRequest::default()
    };
    world.client().register(request).await.unwrap();
    let sizes = |way: &str, status: &str, bytes: u32| {
        format!(
            "grpc_client_attempt_{way}_total_compressed_message_size_bytes_sum{{\
             grpc_method=\"weft.registry.v1.RegistryService/Register\",\
             grpc_target=\"{AUTHORITY}\",grpc_status=\"{status}\"}} {bytes}.0"
        )
    };
    let messages = |of: &str| {
        format!(
            "istio_{of}_messages_total{{reporter=\"source\",source_workload=\"unknown\",\
             destination_service=\"shop\",request_protocol=\"grpc\",response_code=\"200\",\
             grpc_response_status=\"0\",connection_security_policy=\"none\"}} 1"
        )
    };
    for line in [
        // A field of 20 bytes with its tag and length; the answer is an empty message.
        sizes("sent", "UNAVAILABLE", 22),
        sizes("sent", "OK", 22),
        sizes("rcvd", "UNAVAILABLE", 0),
        sizes("rcvd", "OK", 0),
        messages("request"),
        messages("response"),
    ] {
        assert!(
            world.counts(&line),
            "no {line} in {}",
            world.metrics.encode()
        );
    }
}

#[tokio::test]
async fn ejections_are_counted_by_what_they_are_for() {
    let (good, bad) = (Replica::start().await, Replica::start().await);
    let mut shop = target(AUTHORITY, &[&good, &bad]);
    shop.outlier_detection = Some(OutlierDetection {
        consecutive_errors: Some(1),
        ..OutlierDetection::default()
    });
    let world = World::new([shop]);
    bad.fails(&[Code::Unavailable; 20]);
    while world.call().await.is_ok() {}
    for (name, count) in [
        ("enforced_total", 1),
        ("detected_consecutive_gateway_failure_total", 1),
        ("enforced_success_rate_total", 0),
    ] {
        let name = format!("grpc_lb_outlier_detection_ejections_{name}");
        let line = format!("{name}{{grpc_target=\"{AUTHORITY}\"}} {count}");
        assert!(
            world.counts(&line),
            "no {line} in {}",
            world.metrics.encode()
        );
    }
}
