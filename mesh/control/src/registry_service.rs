//! `weft.registry.v1.RegistryService`: converts, checks who asks, calls the registry.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use contracts::{
    Validate,
    weft::registry::v1::{
        DeregisterRequest, DeregisterResponse, RegisterRequest, RegisterResponse,
        registry_service_server::{RegistryService, RegistryServiceServer},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Extensions, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use weft_model::{Mesh, dataplane::Locality};

use crate::{
    peer::Peer,
    planner::Workloads,
    registry::{Asked, LEASE, Refused, Workload},
};

const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// Kubernetes' limits of one label, and more labels than subsets need.
const MAX_LABEL_KEY: usize = 317;
const MAX_LABEL_VALUE: usize = 63;
const MAX_LABELS: usize = 16;
const ERROR_DOMAIN: &str = "weft.mesh";

#[derive(Debug)]
pub(crate) struct RegistryApi {
    pub(crate) mesh: watch::Receiver<Arc<Mesh>>,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) draining: CancellationToken,
}

impl RegistryApi {
    pub(crate) fn into_service(self) -> RegistryServiceServer<Self> {
        RegistryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// The caller's certificate must be the one the mesh file gives to the service.
    fn authorize(&self, extensions: &Extensions, service: &str) -> Result<(), Status> {
        let caller = Peer::authenticated(extensions)?;
        let mesh = self.mesh.borrow();
        let Some(known) = mesh.services.get(service) else {
            return Err(refuse(
                Code::NotFound,
                "UNKNOWN_SERVICE",
                format!(
                    "the mesh file has no service `{}`",
                    service.escape_default()
                ),
                [("service", service.to_owned())],
            ));
        };
        if known.is_outside() {
            return Err(refuse(
                Code::FailedPrecondition,
                "OUTSIDE_MESH",
                format!("the mesh file says that `{service}` is outside the mesh, without TLS"),
                [("service", service.to_owned())],
            ));
        }
        let expected = mesh.identity(&known.service_account);
        if caller.as_str() == expected {
            return Ok(());
        }
        tracing::warn!(%caller, service, expected, "registration with a wrong identity refused");
        Err(refuse(
            Code::PermissionDenied,
            "WRONG_SERVICE_ACCOUNT",
            format!("service `{service}` is run by {expected}, not by {caller}"),
            [("service", service.to_owned())],
        ))
    }
}

#[tonic::async_trait]
impl RegistryService for RegistryApi {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        check(request.get_ref())?;
        self.authorize(request.extensions(), &request.get_ref().service)?;
        if self.draining.is_cancelled() {
            return Err(Status::unavailable("the control plane is draining"));
        }
        let (_, extensions, message) = request.into_parts();
        let RegisterRequest {
            service,
            instance,
            address,
            labels,
            locality,
            weight,
            sequence,
        } = message;
        let address: SocketAddr = address
            .parse()
            .map_err(|_| invalid("address", "is not an IP address and a port"))?;
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err(invalid("address", "is none that can be connected to"));
        }
        if labels.len() > MAX_LABELS {
            return Err(invalid("labels", "are more than 16"));
        }
        let is_label = |(key, value): (&String, &String)| {
            (1..=MAX_LABEL_KEY).contains(&key.len()) && value.len() <= MAX_LABEL_VALUE
        };
        if !labels.iter().all(is_label) {
            return Err(invalid("labels", "have a key or a value that is too long"));
        }
        let locality = locality.unwrap_or_default();
        let workload = Workload {
            service,
            instance,
            address,
            labels: labels.into_iter().collect(),
            locality: Locality {
                region: locality.region,
                zone: locality.zone,
                sub_zone: locality.sub_zone,
            },
            weight: weight.max(1),
        };
        let from = Peer::of(&extensions)?.address;
        self.workloads
            .register(workload, Asked { from, sequence })
            .map_err(|refused| match refused {
                Refused::Full(_) => Status::resource_exhausted(refused.to_string()),
                Refused::Overtaken => Status::unavailable(refused.to_string()),
            })?;
        let lease = prost_types::Duration::try_from(LEASE).ok();
        Ok(Response::new(RegisterResponse { lease }))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        check(request.get_ref())?;
        let DeregisterRequest {
            service,
            instance,
            sequence,
        } = request.get_ref();
        self.authorize(request.extensions(), service)?;
        let asked = Asked {
            from: Peer::of(request.extensions())?.address,
            sequence: *sequence,
        };
        self.workloads.deregister(service, instance, asked);
        Ok(Response::new(DeregisterResponse {}))
    }
}

fn check(message: &impl Validate) -> Result<(), Status> {
    let Err(violations) = message.validate() else {
        return Ok(());
    };
    let mut details = ErrorDetails::new();
    for violation in &violations {
        details.add_bad_request_violation(&violation.field, &violation.message);
    }
    let shown: Vec<_> = violations
        .iter()
        .map(|violation| format!("`{}` {}", violation.field, violation.message))
        .collect();
    Err(Status::with_error_details(
        Code::InvalidArgument,
        shown.join(", "),
        details,
    ))
}

fn invalid(field: &str, reason: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation(field, reason);
    let message = format!("`{field}` {reason}");
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn refuse<const N: usize>(
    code: Code,
    reason: &str,
    message: String,
    facts: [(&str, String); N],
) -> Status {
    let facts: HashMap<String, String> = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, ERROR_DOMAIN, facts);
    Status::with_error_details(code, message, details)
}
