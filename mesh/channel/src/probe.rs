//! Active health checks by `grpc.health.v1`, over the connections that calls use.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream};
use http::{Request, Response, Uri, uri::Scheme};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::Service;
use tracing::debug;
use weft_policy::{Outcome, Probe};

use crate::{
    Inner,
    attempt::send,
    body::boxed,
    pool::{Key, Lease},
    replay::Replay,
};

/// Probes at once.
const CONCURRENCY: usize = 16;
/// How soon a target that has just asked for probes is noticed at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Makes the probes that are due, as long as the channel lives.
pub(crate) async fn keep(inner: Weak<Inner>) {
    loop {
        let until = {
            let Some(inner) = inner.upgrade() else { return };
            let now = Instant::now();
            let due = inner.engine.lock().probes_due(now.into_std());
            stream::iter(due)
                .for_each_concurrent(CONCURRENCY, |probe| ask(&inner, probe))
                .await;
            let now = Instant::now();
            let next = inner.engine.lock().next_probe_at(now.into_std());
            let latest = now + LONGEST_WAIT;
            next.map_or(latest, |next| latest.min(next.into()))
        };
        sleep_until(until).await;
    }
}

async fn ask(inner: &Arc<Inner>, probe: Probe) {
    let mut client = HealthClient::new(Direct {
        inner: Arc::clone(inner),
        key: Key {
            address: probe.endpoint.address,
            identity: inner.expected(probe.identity.as_deref()),
        },
        authority: Arc::clone(&probe.target),
    });
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: probe.service_name.to_string(),
    });
    // A workload in overload is not sick: probes are shed last. Outside the mesh nobody knows the word.
    if probe.identity.is_some() {
        let most = MetadataValue::from_static("CRITICAL_PLUS");
        request.metadata_mut().insert("x-weft-criticality", most);
    }
    let is_healthy = match timeout(probe.timeout, client.check(request)).await {
        Err(_) => false,
        Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
        // gRFC A17: who has no health service is healthy as long as it answers.
        Ok(Err(status)) => status.code() == Code::Unimplemented,
    };
    if !is_healthy {
        debug!(
            instance = probe.endpoint.instance,
            target = &*probe.target,
            "probe failed"
        );
    }
    let now = Instant::now().into_std();
    inner.engine.lock().probed(&probe, is_healthy, now);
    inner.updated.send_replace(());
}

/// One endpoint, without any decision between.
#[derive(Clone)]
struct Direct {
    inner: Arc<Inner>,
    key: Key,
    authority: Arc<str>,
}

impl Service<Request<tonic::body::Body>> for Direct {
    type Response = Response<Held>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Self {
            inner,
            key,
            authority,
        } = self.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let mut uri = std::mem::take(&mut head.uri).into_parts();
            uri.scheme = Some(Scheme::HTTP);
            uri.authority = authority.parse().ok();
            head.uri = Uri::from_parts(uri)
                .map_err(|error| Status::internal(format!("no authority: {error}")))?;
            let body = Replay::once(boxed(body)).attempt();
            let answer = send(&inner.pool, &key, Request::from_parts(head, body)).await;
            match (answer.response, answer.outcome) {
                (Some((response, lease)), _) => Ok(response.map(|body| Held {
                    body,
                    _lease: lease,
                })),
                (None, Outcome::ConnectFailed(why) | Outcome::Refused(why)) => {
                    Err(Status::unavailable(why))
                }
                (None, _) => Err(Status::unavailable("no answer")),
            }
        })
    }
}

/// A body that keeps its stream's place until it is dropped.
struct Held {
    body: Incoming,
    _lease: Lease,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
