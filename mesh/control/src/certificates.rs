//! `istio.v1.auth.IstioCertificateService`: certificates for workloads that prove who they are.

use std::{sync::Arc, time::Duration};

use contracts::istio::v1::auth::{
    IstioCertificateRequest, IstioCertificateResponse,
    istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use weft_identity::{CertificateAuthority, SigningRequest, SpiffeId, token::Verifier};
use weft_model::{CONTROL_ACCOUNT, Mesh};

use crate::{metrics::Metrics, peer::Peer};

const MAX_REQUEST_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: Arc<CertificateAuthority>,
    pub(crate) tokens: Arc<Verifier>,
    pub(crate) mesh: watch::Receiver<Arc<Mesh>>,
    pub(crate) metrics: Metrics,
}

impl Certificates {
    pub(crate) fn into_service(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Who asks: the token's account if there is a token, else the certificate's owner.
    async fn caller(
        &self,
        token: Option<String>,
        peer: &Peer,
        request: &SigningRequest,
    ) -> Result<SpiffeId, Status> {
        let Some(token) = token else {
            return peer.identity.clone().ok_or_else(|| {
                Status::unauthenticated("neither a token nor a client certificate was presented")
            });
        };
        let tokens = Arc::clone(&self.tokens);
        let key = request.public_key().to_vec();
        // Spending a token writes a file.
        let account = tokio::task::spawn_blocking(move || tokens.verify(&token, &key))
            .await
            .map_err(|_| Status::internal("the token was not verified"))?
            .map_err(|error| match error {
                weft_identity::token::TokenError::Busy(_) => Status::unavailable(error.to_string()),
                _ => Status::unauthenticated(error.to_string()),
            })?;
        let namespace = self.mesh.borrow().namespace.clone();
        SpiffeId::workload(self.authority.trust_domain(), &namespace, &account)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn authorize(&self, id: &SpiffeId) -> Result<(), Status> {
        let mesh = self.mesh.borrow();
        let account = id.service_account().unwrap_or_default();
        let is_edge = mesh.edge.service_account == account;
        let is_known = is_edge
            || mesh
                .services
                .values()
                .any(|service| !service.is_outside() && *service.service_account == account);
        // Whoever holds the control plane's name speaks for it, so nobody gets it from outside.
        if account != CONTROL_ACCOUNT && is_known && id.as_str() == mesh.identity(account) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "the mesh file has no workload with identity {id}"
        )))
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let peer = Peer::of(request.extensions())?.clone();
        let token = bearer(request.metadata())?;
        let by_token = token.is_some();
        let message = request.into_inner();
        let outcome = async {
            let request = SigningRequest::from_pem(&message.csr)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let id = self.caller(token, &peer, &request).await?;
            self.authorize(&id)?;
            Ok((request, id))
        }
        .await;
        let (request, id) = outcome.inspect_err(|status: &Status| {
            tracing::warn!(peer = %peer.address, reason = status.message(), "certificate refused");
        })?;
        // A negative or absent life asks for the default.
        let ttl = Duration::from_secs(u64::try_from(message.validity_duration).unwrap_or(0));
        let cert_chain = self.authority.sign(&request, &id, ttl).map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "certificate not signed"
            );
            Status::internal("the certificate could not be signed")
        })?;
        self.metrics.certificates.inc();
        tracing::info!(identity = %id, by_token, "certificate issued");
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

fn bearer(metadata: &MetadataMap) -> Result<Option<String>, Status> {
    let Some(value) = metadata.get("authorization") else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Bearer "))
        .map(|token| Some(token.trim().to_owned()))
        .ok_or_else(|| Status::unauthenticated("`authorization` holds no bearer token"))
}
