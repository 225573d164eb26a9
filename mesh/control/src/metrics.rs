//! What the control plane counts.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

type Labels = Vec<(&'static str, String)>;

/// Shared handles; cloning counts into the same.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) certificates: Counter,
    pub(crate) endpoints: Gauge,
    pub(crate) nodes: Gauge,
    pub(crate) mesh_file_problems: Gauge,
    refused: Family<Labels, Counter>,
    nacks: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn new(registry: &weft_runtime::metrics::Metrics) -> Self {
        Self {
            certificates: registry.register(
                "weft_control_certificates",
                "Certificates issued",
                Counter::default(),
            ),
            endpoints: registry.register(
                "weft_control_endpoints",
                "Workloads with a lease",
                Gauge::default(),
            ),
            nodes: registry.register(
                "weft_control_nodes",
                "Data planes with a configuration stream",
                Gauge::default(),
            ),
            mesh_file_problems: registry.register(
                "weft_control_mesh_file_problems",
                "Problems of the mesh file as it is now; while there are any, an older one is in use",
                Gauge::default(),
            ),
            refused: registry.register(
                "weft_control_refused_connections",
                "Connections refused, by reason",
                Family::default(),
            ),
            nacks: registry.register(
                "weft_control_nacks",
                "Configurations refused by data planes, by type",
                Family::default(),
            ),
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        let labels = vec![("reason", reason.to_owned())];
        self.refused.get_or_create(&labels).inc();
    }

    pub(crate) fn nack(&self, kind: weft_xds::resources::ResourceType) {
        let labels = vec![("type", kind.to_string())];
        self.nacks.get_or_create(&labels).inc();
    }
}
