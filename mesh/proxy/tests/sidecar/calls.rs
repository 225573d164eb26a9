//! Every kind of call crosses unchanged.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::support::{Client, Mesh, codec, eventually, path};

async fn pair() -> (
    Mesh,
    crate::echo::Echo,
    Client,
    Vec<crate::support::Running>,
) {
    let mesh = Mesh::new("calls.local");
    let (echo, server, _) = mesh.echo().await;
    let caller = mesh.caller("orders", &[server.inbound]).await;
    let client = caller.client().await;
    (mesh, echo, client, vec![server, caller])
}

#[tokio::test]
async fn a_unary_call_arrives_with_the_callers_proven_name() {
    let (mesh, _echo, mut client, _running) = pair().await;
    assert_eq!(client.unary("hello").await.unwrap(), "hello");
    let mut request = Request::new("header x-weft-caller".to_owned());
    request
        .metadata_mut()
        .insert("x-weft-caller", "spiffe://forged".parse().unwrap());
    let caller = client.call("Unary", request).await.unwrap().into_inner();
    assert_eq!(caller, mesh.id("orders").as_str());
}

#[tokio::test]
async fn the_end_user_is_passed_on() {
    let (_mesh, _echo, mut client, _running) = pair().await;
    let mut request = Request::new("header x-weft-subject".to_owned());
    request
        .metadata_mut()
        .insert("x-weft-subject", "customers/7".parse().unwrap());
    let subject = client.call("Unary", request).await.unwrap().into_inner();
    assert_eq!(subject, "customers/7");
}

#[tokio::test]
async fn the_callers_trace_goes_on_with_spans_of_the_sidecars() {
    let (_mesh, _echo, mut client, _running) = pair().await;
    let mut request = Request::new("header traceparent".to_owned());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    let arrived = client.call("Unary", request).await.unwrap().into_inner();
    let (trace, span) = (&arrived[3..35], &arrived[36..52]);
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(span, "00f067aa0ba902b7", "it is a span of a sidecar");
    assert!(arrived.ends_with("-01"), "{arrived}");
}

#[tokio::test]
async fn an_error_keeps_its_code_message_and_metadata() {
    let (_mesh, echo, mut client, _running) = pair().await;
    let status = client.unary("not-found").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "no such söck");
    assert_eq!(status.metadata().get("x-shelf").unwrap(), "7");
    assert_eq!(echo.call_count(), 1);
}

#[tokio::test]
async fn a_server_stream_arrives_whole_and_a_client_stream_is_heard_to_its_end() {
    let (_mesh, _echo, mut client, _running) = pair().await;
    let ticks: Vec<_> = client
        .ticks("20")
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(ticks.len(), 20);
    client.0.ready().await.unwrap();
    let words = stream::iter(["one", "two", "three"]).map(str::to_owned);
    let request = Request::new(words);
    let all = client
        .0
        .client_streaming(request, path("Collect"), codec())
        .await
        .unwrap();
    assert_eq!(all.into_inner(), "one two three");
}

#[tokio::test]
async fn a_dialogue_goes_back_and_forth_and_ends_after_the_half_close() {
    let (_mesh, _echo, mut client, _running) = pair().await;
    let (say, words) = mpsc::channel(1);
    client.0.ready().await.unwrap();
    let request = Request::new(ReceiverStream::new(words));
    let mut heard = client
        .0
        .streaming(request, path("Chat"), codec())
        .await
        .unwrap()
        .into_inner();
    for word in ["red", "blue"] {
        say.send(word.to_owned()).await.unwrap();
        assert_eq!(
            heard.message().await.unwrap().unwrap(),
            format!("you said {word}")
        );
    }
    drop(say);
    assert_eq!(heard.message().await.unwrap().unwrap(), "bye");
    assert_eq!(heard.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_cancelled_stream_is_cancelled_at_the_workload() {
    let (_mesh, echo, mut client, _running) = pair().await;
    let mut ticks = client.ticks("forever").await.unwrap();
    ticks.message().await.unwrap();
    assert_eq!(echo.dropped_count(), 0);
    drop(ticks);
    eventually("the workload's stream is dropped", || {
        echo.dropped_count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_large_message_crosses_whole() {
    let (_mesh, _echo, mut client, _running) = pair().await;
    let text = "sock ".repeat(700_000);
    assert!(client.unary(&text).await.unwrap() == text);
}

#[tokio::test]
async fn an_unknown_service_is_named() {
    let (_mesh, _echo, client, running) = pair().await;
    drop(client);
    running[1].set(weft_model::dataplane::Snapshot::default());
    let mut client = running[1].client().await;
    let mut status = client.unary("hello").await.unwrap_err();
    // The sidecar takes a snapshot a moment after it is sent.
    for _ in 0..50 {
        if status.code() == Code::Unimplemented {
            break;
        }
        status = client.unary("hello").await.unwrap_err();
    }
    assert_eq!(status.code(), Code::Unimplemented);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("UNKNOWN_SERVICE", "weft.mesh")
    );
    assert_eq!(info.metadata["target"], "echo:7070");
}
