//! What one part of the file says about another: callers in rules, hosts in URLs.

use crate::{
    decode::Decoder,
    mesh::{EDGE_ACCOUNT, Mesh},
    problem::{Problem, nearest},
    span::Spanned,
};

/// `is_named`: whether trust domain and namespace are known, so that callers can be compared.
pub(super) fn check(decoder: &mut Decoder, mesh: &Mesh, is_named: bool) {
    for service in mesh.services.values() {
        let authz = &service.authz;
        let rules = authz.deny_rules.iter().chain(&authz.allow_rules);
        let limits = service.rate_limits.iter();
        let principals = rules
            .clone()
            .flat_map(|rule| &rule.principals)
            .chain(limits.clone().flat_map(|limit| &limit.principals));
        for principal in principals.filter(|_| is_named) {
            check_principal(decoder, mesh, principal);
        }
        let paths = rules
            .flat_map(|rule| &rule.paths)
            .chain(limits.flat_map(|limit| &limit.paths));
        for path in paths {
            check_path(decoder, path);
        }
    }
    for (index, rule) in mesh.edge.jwt_rules.iter().enumerate() {
        check_jwks_uri(decoder, mesh, &rule.jwks_uri);
        let earlier = &mesh.edge.jwt_rules[..index];
        if earlier
            .iter()
            .any(|other| other.issuer.value == rule.issuer.value)
        {
            let message = format!("two JWT rules for the issuer `{}`", rule.issuer.value);
            decoder.report(Problem::new("duplicate-name", rule.issuer.span, message));
        }
    }
    super::routes::check(decoder, mesh);
}

fn check_principal(decoder: &mut Decoder, mesh: &Mesh, principal: &Spanned<String>) {
    let text = principal.value.as_str();
    if wildcard_inside(text) {
        let message =
            format!("`{text}` has a `*` that is neither its first nor its last character");
        decoder.report(Problem::new("wrong-value", principal.span, message));
        return;
    }
    if text.contains('*') {
        return;
    }
    let accounts = || {
        let services = mesh.services.values();
        let ours = services.filter(|service| !service.is_outside());
        ours.map(|service| service.service_account.as_str())
            .chain([EDGE_ACCOUNT])
    };
    let prefix = mesh.identity("");
    let unknown = |message: String| Problem::new("unknown-principal", principal.span, message);
    match text.strip_prefix(&prefix) {
        Some(account) if accounts().any(|known| known == account) => {}
        Some(account) => {
            let problem = unknown(format!("no service has the service account `{account}`"));
            decoder.report(match nearest(account, accounts()) {
                Some(near) => problem.hint(format!("did you mean `{}`?", mesh.identity(near))),
                None => problem.hint(format!(
                    "known: {}",
                    accounts().collect::<Vec<_>>().join(", ")
                )),
            });
        }
        None => {
            let problem = unknown(format!("`{text}` is no SPIFFE ID of this mesh"));
            // Another trust domain or namespace, or the bare name: the account says who is meant.
            let account = text.rsplit('/').next().unwrap_or_default();
            decoder.report(match accounts().find(|known| *known == account) {
                Some(known) => problem.hint(format!("did you mean `{prefix}{known}`?")),
                None => problem.hint(format!("they look like `{prefix}orders`")),
            });
        }
    }
}

fn check_path(decoder: &mut Decoder, path: &Spanned<String>) {
    if wildcard_inside(path) {
        let message = format!(
            "`{}` has a `*` that is neither its first nor its last character",
            path.value
        );
        decoder.report(Problem::new("wrong-value", path.span, message));
    } else if !path.starts_with(['/', '*']) {
        let message = format!("the path `{}` does not begin with `/`", path.value);
        let problem = Problem::new("wrong-value", path.span, message);
        decoder.report(problem.hint(format!("write `/{}`", path.value)));
    }
}

pub(super) fn wildcard_inside(text: &str) -> bool {
    let stars = text.matches('*').count();
    stars > 1 || (stars == 1 && !text.starts_with('*') && !text.ends_with('*'))
}

fn check_jwks_uri(decoder: &mut Decoder, mesh: &Mesh, uri: &Spanned<String>) {
    // A port that could not be read is a problem already.
    let readable = || {
        mesh.services
            .values()
            .filter(|service| service.port.value != 0)
    };
    if readable().count() < mesh.services.len() {
        return;
    }
    let authorities = || readable().map(crate::mesh::Service::authority);
    let found = uri
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'));
    if let Some((authority, _)) = found
        && authorities().any(|known| known == authority)
    {
        return;
    }
    let message = format!("`{}` is no URL of a service of this mesh", uri.value);
    let known = authorities().collect::<Vec<_>>();
    let near =
        found.and_then(|(authority, _)| nearest(authority, known.iter().map(String::as_str)));
    let hint = match near {
        Some(near) => format!("did you mean `http://{near}/...`?"),
        None => "keys are fetched over the mesh: `http://<service>:<port>/<path>`".to_owned(),
    };
    decoder.report(Problem::new("unknown-service", uri.span, message).hint(hint));
}
