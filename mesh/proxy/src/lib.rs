//! The sidecar: inbound and outbound listeners beside one workload.
