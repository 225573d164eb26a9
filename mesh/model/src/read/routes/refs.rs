//! What routes say about the rest of the file: services, subsets, rules that others hide.

use crate::{
    decode::Decoder,
    mesh::{BackendRef, Mesh, RouteEntry, RouteMatchEntry},
    problem::{Problem, nearest},
    span::Spanned,
};

pub(in crate::read) fn check(decoder: &mut Decoder, mesh: &Mesh) {
    for route in &mesh.routes {
        for parent in &route.parents {
            is_known(decoder, mesh, parent);
        }
        for rule in &route.rules {
            for backend in rule.targets() {
                check_backend(decoder, mesh, backend);
            }
        }
    }
    for name in mesh.services.keys() {
        check_reachable(decoder, mesh, name);
    }
}

fn is_known(decoder: &mut Decoder, mesh: &Mesh, name: &Spanned<String>) -> bool {
    if mesh.services.contains_key(&name.value) {
        return true;
    }
    let message = format!("the mesh has no service `{}`", name.value);
    let problem = Problem::new("unknown-service", name.span, message);
    let known = || mesh.services.keys().map(String::as_str);
    decoder.report(match nearest(name, known()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("known: {}", known().collect::<Vec<_>>().join(", "))),
    });
    false
}

fn check_backend(decoder: &mut Decoder, mesh: &Mesh, backend: &BackendRef) {
    if !is_known(decoder, mesh, &backend.service) {
        return;
    }
    let (Some(subset), Some(service)) =
        (&backend.subset, mesh.services.get(&backend.service.value))
    else {
        return;
    };
    if service.subsets.contains_key(&subset.value) {
        return;
    }
    let message = format!("`{}` has no subset `{}`", service.name.value, subset.value);
    let problem = Problem::new("unknown-subset", subset.span, message);
    let known = || service.subsets.keys().map(String::as_str);
    decoder.report(match nearest(subset, known()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!(
            "add it to `subsets` of `{}`, such as `{}: {{ version: {} }}`",
            service.name.value, subset.value, subset.value
        )),
    });
}

/// A rule all of whose requests an earlier one takes applies to no call.
fn check_reachable(decoder: &mut Decoder, mesh: &Mesh, service: &str) {
    let of_service = mesh
        .routes
        .iter()
        .filter(|route| route.parents.iter().any(|parent| parent.value == service));
    let rules: Vec<_> = of_service.flat_map(|route| &route.rules).collect();
    for (at, rule) in rules.iter().enumerate() {
        let earlier = &rules[..at];
        let hidden_by =
            |one: Option<&RouteMatchEntry>| earlier.iter().find(|rule| covers(rule, one));
        let hiding: Option<Vec<_>> = match rule.matches.as_slice() {
            [] => hidden_by(None).map(|rule| vec![rule]),
            matches => matches.iter().map(|one| hidden_by(Some(one))).collect(),
        };
        if let Some(hiding) = hiding.as_ref().and_then(|hiding| hiding.last()) {
            let line = hiding.name.span.line;
            let message = format!(
                "the rule `{}` applies to no call: the rule in line {line} takes all of them",
                rule.name.value
            );
            let problem = Problem::new("unreachable-rule", rule.name.span, message);
            decoder.report(problem.hint("of two rules that match, the earlier one applies"));
        }
    }
}

/// `None` stands for every request.
fn covers(rule: &RouteEntry, one: Option<&RouteMatchEntry>) -> bool {
    let takes_all =
        |entry: &RouteMatchEntry| entry.method.service.is_none() && entry.headers.is_empty();
    rule.matches.is_empty()
        || rule.matches.iter().any(|entry| match one {
            Some(one) => entry.covers(one),
            None => takes_all(entry),
        })
}
