//! The control plane's own certificate, from its own authority.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;
use weft_identity::{AuthorityError, CertificateAuthority, DEFAULT_TTL, Identity, SpiffeId};

/// The wall clock is asked this often, because timers stand still while a machine sleeps.
const CHECK: Duration = Duration::from_secs(15);

pub(crate) fn identity(
    authority: &CertificateAuthority,
    id: &SpiffeId,
) -> Result<Arc<Identity>, AuthorityError> {
    let svid = authority.issue(id, DEFAULT_TTL)?;
    Ok(Identity::new(svid, authority.bundle().clone()))
}

/// Replaces the certificate in the second half of its life, and the authority's intermediate before its
/// end, until `shutdown`.
pub(crate) async fn keep_renewed(
    authority: Arc<CertificateAuthority>,
    identity: Arc<Identity>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
        let left = identity
            .svid()
            .not_after()
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        if left > DEFAULT_TTL / 2 {
            continue;
        }
        match authority.renew_intermediate(SystemTime::now()) {
            Ok(true) => tracing::info!("intermediate certificate renewed"),
            Ok(false) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "intermediate certificate not renewed, it ends in less than 30 days"
                );
            }
        }
        match authority.issue(&identity.id(), DEFAULT_TTL) {
            Ok(svid) => identity.replace(svid),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "own certificate not renewed");
            }
        }
    }
}
