//! One entry of `services`.

use super::{authz, behaviour, endpoints, label, limits, outside, resilience, run};
use crate::{
    decode::Decoder,
    mesh::{CONTROL_ACCOUNT, Database, EDGE_ACCOUNT, Service},
    problem::Problem,
    span::Spanned,
    tree::Node,
};

pub(super) fn read(decoder: &mut Decoder, name: &Spanned<String>, node: &Node) -> Option<Service> {
    let mut fields = decoder.fields(node, "the service");
    if fields.is_broken() {
        return None;
    }
    fields.span = name.span;
    let tls = outside::tls(decoder, &mut fields);
    let port = fields
        .require(decoder, "port")
        .and_then(|node| decoder.integer(node, "`port`", 1..=65_535));
    let service_account = fields
        .take("serviceAccount")
        .and_then(|node| service_account(decoder, node));
    let serves = fields
        .take("serves")
        .map(|node| serves(decoder, node))
        .unwrap_or_default();
    let is_run = fields.has("run");
    let run = fields.take("run").and_then(|node| run::read(decoder, node));
    let database = fields
        .take("database")
        .and_then(|node| database(decoder, node));
    let method_config = behaviour::method_configs(decoder, fields.take("methodConfig"));
    let retry_throttling = fields
        .take("retryThrottling")
        .and_then(|node| behaviour::retry_throttling(decoder, node));
    let service = Service {
        name: name.clone(),
        // A value that could not be read is a problem by now; the rest is read on.
        port: port.map_or(Spanned::new(0, name.span), |port| {
            port.map(|port| u16::try_from(port).unwrap_or_default())
        }),
        service_account: service_account.unwrap_or_else(|| name.clone()),
        serves,
        run,
        database,
        method_config,
        retry_throttling,
        load_balancing: fields
            .take("loadBalancingConfig")
            .and_then(|node| resilience::load_balancing(decoder, node))
            .unwrap_or_default(),
        outlier_detection: fields
            .take("outlierDetection")
            .map(|node| resilience::outlier_detection(decoder, node)),
        circuit_breakers: fields
            .take("circuitBreakers")
            .map(|node| resilience::circuit_breakers(decoder, node))
            .unwrap_or_default(),
        health_check: fields
            .take("healthCheckConfig")
            .map(|node| Spanned::new(resilience::health_check(decoder, node), node.span)),
        panic_threshold_percent: fields.count(
            decoder,
            "healthyPanicThreshold",
            0..=100,
            resilience::DEFAULT_PANIC_THRESHOLD,
        ),
        subsets: fields
            .take("subsets")
            .map(|node| endpoints::subsets(decoder, node))
            .unwrap_or_default(),
        labels: fields
            .take("labels")
            .map(|node| endpoints::labels(decoder, node, "`labels`"))
            .unwrap_or_default(),
        locality: fields
            .take("locality")
            .map(|node| endpoints::locality(decoder, node))
            .unwrap_or_default(),
        endpoints: endpoints::source(decoder, &mut fields, is_run),
        tls,
        criticality: fields
            .take("criticality")
            .and_then(|node| limits::criticality(decoder, node))
            .unwrap_or_default(),
        authz: fields
            .take("authz")
            .map(|node| authz::read(decoder, node))
            .unwrap_or_default(),
        rate_limits: limits::rate_limits(decoder, fields.take("rateLimits")),
        adaptive_concurrency: fields
            .take("adaptiveConcurrency")
            .map(|node| limits::adaptive_concurrency(decoder, node)),
    };
    fields.finish(decoder);
    Some(service)
}

fn serves(decoder: &mut Decoder, node: &Node) -> Vec<Spanned<String>> {
    let mut serves: Vec<Spanned<String>> = Vec::new();
    for name in decoder.texts(node, "`serves`") {
        if serves.iter().any(|other| other.value == name.value) {
            let message = format!("`{}` is in `serves` twice", name.value);
            decoder.report(Problem::new("duplicate-name", name.span, message));
        } else {
            serves.push(name);
        }
    }
    serves
}

fn service_account(decoder: &mut Decoder, node: &Node) -> Option<Spanned<String>> {
    let account = decoder.text(node, "`serviceAccount`")?;
    label(decoder, &account, "service account");
    let (owner, harm) = match account.as_str() {
        EDGE_ACCOUNT => ("edge", "a service with it could act for every end user"),
        CONTROL_ACCOUNT => (
            "control plane",
            "a service with it could tell every sidecar whom to trust",
        ),
        _ => return Some(account),
    };
    let message = format!(
        "the service account `{}` belongs to the {owner}",
        account.value
    );
    let problem = Problem::new("wrong-name", account.span, message);
    decoder.report(problem.hint(harm));
    Some(account)
}

fn database(decoder: &mut Decoder, node: &Node) -> Option<Database> {
    let text = decoder.text(node, "`database`")?;
    if text.value == "sqlite" {
        return Some(Database::Sqlite);
    }
    let schemes = ["postgres://", "postgresql://", "sqlite://"];
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Some(Database::Url(text.value));
    }
    let message = format!("`{}` is no database weft knows", text.value);
    let problem = Problem::new("wrong-value", text.span, message);
    decoder.report(problem.hint("`sqlite` for a file kept by `weft up`, or `postgres://...`"));
    None
}
