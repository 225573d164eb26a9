//! What is counted about calls and attempts.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tower::{Service as _, ServiceExt as _};

use crate::support::{AUTHORITY, Replica, World, target};

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
