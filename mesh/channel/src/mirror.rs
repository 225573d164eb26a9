//! Copies of requests, for services that are tried out: sent besides the call, never in its way.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use http::request;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, timeout},
};
use tracing::{Instrument as _, debug, info_span};
use weft_policy::Call;

use crate::{Inner, body::Body, call::carry_out, ending::Ending};

/// Copies under way at once; further ones are not made. Each keeps a request of at most
/// [`weft_policy::REPLAY_LIMIT_BYTES`].
pub(crate) const MOST_COPIES: usize = 32;
/// A copy of a call without a deadline ends after this.
const LONGEST: Duration = Duration::from_secs(30);

/// Sends a copy of the request to each of the call's mirrors, once all of it has come. A request that
/// is too long to be kept, or is answered before its end, is not copied.
pub(crate) fn copies(ending: &mut Ending, head: &request::Parts) {
    for backend in std::mem::take(&mut ending.call.copies) {
        let inner = Arc::clone(&ending.inner);
        let Ok(permit) = Arc::clone(&inner.copies).try_acquire_owned() else {
            debug!(
                mirror = backend.authority,
                "copy not made, too many are under way"
            );
            continue;
        };
        let now = Instant::now().into_std();
        let admitted = inner.engine.lock().admit_copy(&ending.call, &backend, now);
        match admitted {
            Ok(call) => {
                let whole = ending.replay.copy();
                let span = info_span!(
                    "copy",
                    otel.kind = "client",
                    peer.service = backend.authority
                );
                // The span is its own: the call ends before its copy does.
                let copy = send(Arc::clone(&inner), call, head.clone(), whole, permit);
                inner.tasks.spawn(copy.instrument(span).boxed());
            }
            Err(failure) => {
                debug!(mirror = backend.authority, error = %failure, "copy not made");
            }
        }
    }
}

async fn send(
    inner: Arc<Inner>,
    call: Call,
    head: request::Parts,
    whole: oneshot::Receiver<Body>,
    _permit: OwnedSemaphorePermit,
) {
    let mut ending = Ending::new(inner, call, crate::body::empty(), Instant::now());
    ending.is_copy = true;
    let left = ending.call.deadline.remaining(Instant::now().into_std());
    let work = async {
        let Ok(body) = whole.await else {
            return ending.forget();
        };
        ending.request(body);
        let response = carry_out(ending, &head).await;
        let mut answer = response.into_body();
        while let Some(Ok(_)) = answer.frame().await {}
    };
    // The answer's own deadline ends it; this is for a caller that never finishes its request.
    let _ = timeout(left.unwrap_or(LONGEST), work).await;
}
