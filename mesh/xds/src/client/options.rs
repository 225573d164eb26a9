//! What the client is told, and what it tells.

use std::{collections::BTreeMap, path::PathBuf};

/// What a data plane asks for and where it keeps it.
#[derive(Clone, Debug, Default)]
pub struct AdsOptions {
    /// The service whose caller rules are wanted; `None` for the edge.
    pub service: Option<String>,
    /// What this node is called in the control plane's status, such as `orders-1`.
    pub node_id: String,
    /// Where the last good configuration is kept, if anywhere. The folder must exist.
    pub state_dir: Option<PathBuf>,
}

/// How the stream is doing, for a status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdsStatus {
    /// Whether the control plane has answered on the current stream.
    pub connected: bool,
    /// The last accepted version by type (`CDS`, `EDS`, `LDS`, `RDS`).
    pub versions: BTreeMap<String, String>,
    /// What was refused last and has not been replaced since, by type.
    pub refused: BTreeMap<String, String>,
    /// Why there is no stream.
    pub last_error: Option<String>,
}
