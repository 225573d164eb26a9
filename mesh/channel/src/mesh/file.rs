//! A mesh file, and no control plane: endpoints are given, or found by name.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use weft_identity::Identity;
use weft_model::dataplane::{Discovery, DnsName, Endpoint, Locality, Snapshot, Target};
use weft_runtime::metrics::Metrics;

use super::{Mesh, MeshError};
use crate::Channel;

/// Between two lookups of a service's name.
const REFRESH: Duration = Duration::from_secs(5);

/// What [`Mesh::from_file`] is told.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    /// The mesh file.
    pub path: PathBuf,
    /// Which service of it this process is, for its own caller rules. `None`: it only calls.
    pub service: Option<String>,
    /// Who it is. `None`: it calls in cleartext, believes whoever answers, and cannot be called.
    pub identity: Option<Arc<Identity>>,
    /// Where services are, by their names. Others are looked up under their names, as in a Kubernetes
    /// cluster.
    pub endpoints: BTreeMap<String, Vec<SocketAddr>>,
    /// Where this process runs: near endpoints are called first.
    pub locality: Locality,
    /// Where metrics go: a registry of its own where the service counts its calls itself.
    pub metrics: Metrics,
}

impl Mesh {
    /// A mesh that follows its file as it is now. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the file is broken or has no such service.
    pub fn from_file(options: FileOptions) -> Result<Self, MeshError> {
        let snapshot = read(&options)?;
        // Nothing more will come: whoever follows keeps what there is.
        let (_, snapshots) = watch::channel(Some(Arc::new(snapshot)));
        let (locality, identity) = (options.locality, options.identity);
        let (followed, metrics) = (snapshots.clone(), &options.metrics);
        Ok(Self {
            channel: Channel::near(locality, followed, identity.clone(), metrics),
            snapshots,
            identity,
            metrics: options.metrics,
            joined: None,
        })
    }
}

fn read(options: &FileOptions) -> Result<Snapshot, MeshError> {
    let pool = contracts::pool();
    let mesh = weft_model::Mesh::checked(&options.path, pool)
        .map_err(|problems| MeshError::File(Box::new(problems)))?;
    let inbound = options.service.as_ref().map(|service| {
        weft_model::inbound(&mesh, service)
            .ok_or_else(|| MeshError::UnknownService(service.clone()))
    });
    let mut targets = weft_model::dataplane(&mesh, pool);
    for target in targets.values_mut() {
        place(target, &options.endpoints);
    }
    Ok(Snapshot {
        targets,
        inbound: inbound.transpose()?,
    })
}

/// Says where a target is, unless the mesh file does.
fn place(target: &mut Target, given: &BTreeMap<String, Vec<SocketAddr>>) {
    if let Some(addresses) = given.get(&target.service) {
        let endpoint = |(index, address): (usize, &SocketAddr)| {
            Endpoint::new(*address, format!("{}-{}", target.service, index + 1))
        };
        target.endpoints = addresses.iter().enumerate().map(endpoint).collect();
        target.discovery = Discovery::Endpoints;
    } else if target.endpoints.is_empty() && target.discovery == Discovery::Endpoints {
        let port = target
            .authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        if let Some(port) = port {
            target.discovery = Discovery::Dns(DnsName {
                host: target.service.clone(),
                port,
                refresh: REFRESH,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_where_it_is_said_to_be_or_under_its_name() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../mesh.yaml"));
        let carts: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let options = FileOptions {
            path,
            service: Some("orders".to_owned()),
            endpoints: [("carts".to_owned(), vec![carts])].into(),
            ..FileOptions::default()
        };
        let snapshot = read(&options).expect("a mesh");
        assert!(
            snapshot
                .inbound
                .is_some_and(|inbound| inbound.service == "orders")
        );
        assert_eq!(snapshot.targets["carts:7070"].endpoints[0].address, carts);
        let Discovery::Dns(name) = &snapshot.targets["payments:7070"].discovery else {
            panic!("payments are not looked up");
        };
        assert_eq!((name.host.as_str(), name.port), ("payments", 7070));
        let unknown = FileOptions {
            service: Some("nobody".to_owned()),
            ..options
        };
        assert!(matches!(read(&unknown), Err(MeshError::UnknownService(_))));
    }
}
