//! The inbound listener: mutual TLS, caller rules, and the way to the workload.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, Uri, header, request, uri::Scheme};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{Instrument as _, Span, debug, field::Empty, info_span, warn};
use weft_channel::{
    Body, body, headers, status,
    upstream::{Answer, CallEnd as _, Key, Pool, Replay, StatusBody, send},
};
use weft_identity::{Identity, Refusal, peer_id};
use weft_model::dataplane::Snapshot;
use weft_policy::{
    Decision, DecisionRecord, Failure, Outcome, Reason, authorize, code,
    deadline::{Deadline, format_timeout, parse_timeout},
};
use weft_runtime::trace;

use crate::{
    call::InboundCall,
    connection::{self, Lifecycle},
    metrics::InboundMetrics,
    outbound::refuse_other_than_grpc,
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every inbound request needs.
pub(crate) struct Inbound {
    pub(crate) identity: Arc<Identity>,
    /// Read anew for every request: a new rule also holds on open connections.
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) app: SocketAddr,
    pub(crate) pool: Pool,
    pub(crate) metrics: InboundMetrics,
}

/// Serves until the drain begins.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    inbound: Arc<Inbound>,
    lifecycle: Lifecycle,
) {
    connection::accept(&listener, &lifecycle, |stream, peer| {
        let inbound = Arc::clone(&inbound);
        let tls = tls.clone();
        let drain = lifecycle.drain.clone();
        async move {
            let (stream, caller) = match inbound.handshake(&tls, stream).await {
                Ok(accepted) => accepted,
                Err(refusal) => return inbound.refuse(peer, &refusal),
            };
            let service = move |request| handle(Arc::clone(&inbound), caller.clone(), request);
            connection::serve(stream, peer, &drain, service).await;
        }
    })
    .await;
}

impl Inbound {
    async fn handshake(
        &self,
        tls: &TlsAcceptor,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Arc<str>), Refusal> {
        let expected = self.expected_caller();
        let stream = match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Refusal::from_io(&error, &expected)),
            Err(_) => {
                return Err(Refusal::Broken {
                    reason: format!("it was not finished within {HANDSHAKE_TIMEOUT:?}"),
                });
            }
        };
        let connection = stream.get_ref().1;
        let caller = peer_id(connection)?.as_str().into();
        // rustls refuses another protocol, but lets a peer that names none pass.
        if connection.alpn_protocol() != Some(b"h2") {
            return Err(Refusal::Alpn);
        }
        Ok((stream, caller))
    }

    fn expected_caller(&self) -> String {
        let trust_domain = self.identity.bundle().trust_domain();
        format!("an identity of trust domain {trust_domain}")
    }

    fn refuse(&self, peer: SocketAddr, refusal: &Refusal) {
        self.metrics.refused(refusal.reason());
        let expected = self.expected_caller();
        let reason = refusal.reason();
        // Peers that connect and go away are port checks more often than attacks.
        if matches!(refusal, Refusal::Broken { .. }) {
            debug!(%peer, reason, error = %refusal, "inbound connection ended");
        } else {
            warn!(%peer, reason, expected, error = %refusal, "inbound connection refused");
        }
    }

    fn decide(&self, caller: &str, head: &request::Parts) -> Result<Decision, Failure> {
        let snapshots = self.snapshots.borrow();
        let rules = snapshots
            .as_ref()
            .and_then(|snapshot| snapshot.inbound.as_ref());
        match rules {
            Some(rules) => {
                let lookup = headers::Lookup(&head.headers);
                Ok(authorize(rules, caller, head.uri.path(), &lookup))
            }
            None => {
                let message = "no caller rules have come from the control plane yet";
                Err(Failure::new(Reason::NoConfiguration, message))
            }
        }
    }
}

async fn handle(
    inbound: Arc<Inbound>,
    caller: Arc<str>,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(refusal) = refuse_other_than_grpc(&request) {
        return refusal;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let span = info_span!(
        "inbound",
        otel.name = path.strip_prefix('/').unwrap_or(path),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.grpc.status_code = Empty,
        caller = &*caller,
    );
    trace::extract(&head.headers, &span);
    authorized(inbound, caller, head, body)
        .instrument(span)
        .await
}

async fn authorized(
    inbound: Arc<Inbound>,
    caller: Arc<str>,
    head: request::Parts,
    body: Incoming,
) -> Response<Body> {
    let decision = inbound.decide(&caller, &head);
    let is_allowed = decision.as_ref().is_ok_and(Decision::is_allowed);
    let mut call = InboundCall {
        record: DecisionRecord {
            caller: Some(Arc::clone(&caller)),
            method: head.uri.path().into(),
            rule: decision.as_ref().map_or("none", Decision::rule).into(),
            ..DecisionRecord::default()
        },
        method: inbound.metrics.started(head.uri.path(), is_allowed),
        metrics: inbound.metrics.clone(),
        started: Instant::now(),
        span: Span::current(),
        request: None,
        is_over: false,
    };
    match decision {
        Err(failure) => unprocessed(&mut call, &failure),
        Ok(_) if !is_allowed => {
            let (method, rule) = (&call.record.method, &call.record.rule);
            let message = format!("{caller} may not call {method} (rule `{rule}`)");
            own_answer(&mut call, &Failure::new(Reason::CallerNotAllowed, message))
        }
        Ok(_) => pass(&inbound, call, head, body).await,
    }
}

/// Hands the request to the workload and its answer back.
async fn pass(
    inbound: &Inbound,
    mut call: InboundCall,
    head: request::Parts,
    body: Incoming,
) -> Response<Body> {
    let timeout = head.headers.get(headers::GRPC_TIMEOUT);
    let timeout = timeout.and_then(|value| parse_timeout(value.to_str().ok()?));
    let deadline = Deadline::starting(call.started.into_std(), timeout, None);
    let replay = Replay::once(body::boxed(body));
    let head = match app_head(head, &call, deadline, inbound.app) {
        Ok(head) => head,
        Err(failure) => return own_answer(&mut call, &failure),
    };
    let request = Request::from_parts(head, replay.attempt());
    call.request = Some(replay);
    let key = Key {
        address: inbound.app,
        identity: None,
    };
    let sent = send(&inbound.pool, &key, request);
    let answer = match deadline.instant() {
        None => sent.await,
        Some(end) => tokio::select! {
            biased;
            answer = sent => answer,
            () = sleep_until(end.into()) => {
                let failure = Failure::new(Reason::DeadlineExceeded, "the deadline passed");
                return own_answer(&mut call, &failure);
            }
        },
    };
    call.record.attempts = 1;
    answered(call, answer, deadline)
}

fn app_head(
    mut head: request::Parts,
    call: &InboundCall,
    deadline: Deadline,
    app: SocketAddr,
) -> Result<request::Parts, Failure> {
    let bad = |what: &str| Failure::new(Reason::BadRequest, what);
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    if uri.authority.is_none() {
        uri.authority = app.to_string().parse().ok();
    }
    head.uri = Uri::from_parts(uri).map_err(|_| bad("the request has no path"))?;
    head.extensions.clear();
    headers::clean_request(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    let caller = call.record.caller.as_deref().unwrap_or_default();
    let caller = HeaderValue::from_str(caller).map_err(|_| bad("the caller has no valid name"))?;
    head.headers.insert(headers::CALLER, caller);
    let left = deadline.remaining(Instant::now().into_std());
    if let Some(left) = left.and_then(|left| HeaderValue::try_from(format_timeout(left)).ok()) {
        head.headers.insert(headers::GRPC_TIMEOUT, left);
    }
    trace::inject(&mut head.headers);
    Ok(head)
}

fn answered(mut call: InboundCall, answer: Answer, deadline: Deadline) -> Response<Body> {
    let (response, lease) = match (answer.outcome, answer.response) {
        (Outcome::Headers | Outcome::TrailersOnly { .. } | Outcome::Unreached(_), Some(answer)) => {
            answer
        }
        (Outcome::Broken(failure), _) => return own_answer(&mut call, &failure),
        (
            Outcome::ConnectFailed(cause) | Outcome::Refused(cause) | Outcome::Unreached(cause),
            _,
        ) => {
            let message = format!("the workload did not take the request: {cause}");
            let failure = Failure::new(Reason::WorkloadUnreachable, message);
            return unprocessed(&mut call, &failure);
        }
        (Outcome::Headers | Outcome::TrailersOnly { .. } | Outcome::TimedOut, _) => {
            let failure =
                Failure::new(Reason::UpstreamProtocolError, "the workload gave no answer");
            return own_answer(&mut call, &failure);
        }
    };
    let (mut head, body) = response.into_parts();
    // What the workload says about being unprocessed is not believed: it is cleaned away here.
    headers::clean_response(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    match headers::grpc_status(&head.headers) {
        Some(status) => {
            call.answered(status);
            Response::from_parts(head, body::empty())
        }
        None => {
            let body = StatusBody::new(body, lease, call, deadline);
            Response::from_parts(head, body::boxed(body))
        }
    }
}

fn own_answer(call: &mut InboundCall, failure: &Failure) -> Response<Body> {
    call.failed(failure);
    status::response(failure, &call.record)
}

/// An answer to a request that provably never reached the workload: the caller's sidecar may send it
/// elsewhere.
fn unprocessed(call: &mut InboundCall, failure: &Failure) -> Response<Body> {
    debug_assert_eq!(failure.code, code::UNAVAILABLE);
    let mut response = own_answer(call, failure);
    let yes = HeaderValue::from_static("1");
    response.headers_mut().insert(headers::UNPROCESSED, yes);
    response
}
