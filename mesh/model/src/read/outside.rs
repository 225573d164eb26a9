//! Services outside the mesh, which are called without TLS because the mesh file says so.

use crate::{
    dataplane::TlsMode,
    decode::{Decoder, Fields},
    problem::Problem,
    tree::Node,
};

/// What only the sidecar before a workload could carry out.
const INBOUND: [&str; 5] = [
    "serviceAccount",
    "criticality",
    "authz",
    "rateLimits",
    "adaptiveConcurrency",
];

/// `tls`, as long as nothing else of the service has been taken. What it does not go with is a problem.
pub(super) fn tls(decoder: &mut Decoder, fields: &mut Fields<'_>) -> TlsMode {
    let Some(node) = fields.take("tls") else {
        return TlsMode::Mutual;
    };
    let Some(mode) = mode(decoder, node) else {
        return TlsMode::Mutual;
    };
    if let Some(run) = fields.place("run") {
        let message = "what `run` starts is a workload of the mesh: it always proves who it is";
        let problem = Problem::new("wrong-value", run, message);
        decoder.report(problem.hint("drop `tls`; it is for services outside the mesh"));
    } else if !fields.has("endpoints") && !fields.has("dns") {
        let message = "TLS can be switched off only for a service outside the mesh";
        let problem = Problem::new("missing-key", node.span, message);
        decoder.report(problem.hint(
            "say where it is, by `endpoints` or `dns`; workloads that register always prove who they are",
        ));
    }
    for key in INBOUND {
        if let Some(span) = fields.place(key) {
            let message = format!("no sidecar is there to carry out `{key}`: TLS is switched off");
            let problem = Problem::new("wrong-value", span, message);
            decoder.report(problem.hint("drop it, or give the service a sidecar and drop `tls`"));
        }
    }
    mode
}

fn mode(decoder: &mut Decoder, node: &Node) -> Option<TlsMode> {
    let mut fields = decoder.fields(node, "`tls`");
    let mode = fields
        .require(decoder, "mode")
        .and_then(|node| decoder.choice(node, "`mode`", &[("DISABLE", TlsMode::Disable)]));
    fields.finish(decoder);
    mode
}
