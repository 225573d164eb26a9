//! Request bodies, bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use weft_channel::Body;

use crate::failure::Failure;

/// A whole body must have come by then.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How much of a body that is too large is read before it is refused: who is still writing cannot
/// read the answer.
const DISCARD_BYTES: usize = 32 << 20;
const DISCARD_DEADLINE: Duration = Duration::from_secs(2);

/// Reads a whole body.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Failure> {
    let deadline = Instant::now() + BODY_DEADLINE;
    if body.size_hint().lower() > limit as u64 {
        return Err(refuse(headers, body, limit).await);
    }
    let mut body = body;
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            let message = "the request body took longer than 30 s";
            Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                Code::DeadlineExceeded,
                "BODY_TOO_SLOW",
                message,
            )
        })?;
        match frame {
            None => return Ok(whole.freeze()),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if whole.len() + data.len() > limit {
                    drop(data);
                    return Err(refuse(headers, body, limit).await);
                }
                whole.extend_from_slice(&data);
            }
            Some(Err(_)) => {
                let message = "the request body broke off";
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    Code::InvalidArgument,
                    "BODY_BROKEN",
                    message,
                ));
            }
        }
    }
}

async fn refuse(headers: &HeaderMap, mut body: Body, limit: usize) -> Failure {
    // A caller that waits for 100 (Continue) has sent nothing.
    if !headers.contains_key(header::EXPECT) {
        let discard = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > DISCARD_BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_DEADLINE, discard).await;
    }
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceExhausted,
        "BODY_TOO_LARGE",
        format!("the request body has more than {limit} bytes"),
    )
}
