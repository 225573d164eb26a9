//! Workload identity: who a workload is, how it proves it, and how it gets the proof.
//!
//! - [`SpiffeId`] and [`TrustDomain`]: names, parsed strictly.
//! - [`CertificateAuthority`]: signs leaves for names that its caller has authenticated; [`token`]
//!   authenticates a workload that has no certificate yet.
//! - [`Identity`]: the current certificate of this process and the roots it trusts; [`server_config`]
//!   and [`client_config`] make rustls configurations of it that follow every renewal.
//! - [`Enrolment`]: gets a certificate from the control plane and renews it.
//! - [`Refusal`]: why a peer was refused, in words for a log.
//!
//! Whether an authenticated caller may do what it asks is decided elsewhere (`weft-policy`).

mod authority;
mod backoff;
mod channel;
mod enrolment;
mod files;
mod kept;
mod refusal;
mod request;
mod spiffe;
mod svid;
mod tls;
pub mod token;
mod verify;

pub use authority::{AuthorityError, CertificateAuthority, DEFAULT_TTL, MAX_TTL};
pub use channel::{ControlUri, channel};
pub use enrolment::{Enrolment, EnrolmentError};
pub use files::{create_private_dir, write_private};
pub use kept::is_in_memory;
pub use refusal::Refusal;
pub use request::SigningRequest;
pub use spiffe::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use svid::{Identity, InvalidCertificate, Svid, TrustBundle};
pub use tls::{
    Expected, bootstrap_client_config, client_config, peer_id, peer_not_after, provider,
    server_config, server_config_with_optional_client, server_name,
};
