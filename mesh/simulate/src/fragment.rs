//! What a mesh within a policy test may leave out: who it is, ports, contracts and caller rules.

use prost_reflect::DescriptorPool;
use weft_model::{
    Span, Spanned,
    yaml::{Node, Value},
};

/// The mesh as a whole mesh file would say it. What is there stays as it is.
pub(crate) fn complete(mesh: &Node, pool: &DescriptorPool) -> Node {
    let mut mesh = mesh.clone();
    let span = mesh.span;
    if let Value::Map(entries) = &mut mesh.value {
        let names = [("trustDomain", "test.local"), ("namespace", "test")];
        let names = names.map(|(key, name)| entry(key, Value::Text(name.to_owned()), span));
        add(entries, "mesh", Value::Map(names.into()), span);
        let services = entries.iter_mut().find(|(key, _)| key.value == "services");
        if let Some((_, services)) = services
            && let Value::Map(services) = &mut services.value
        {
            let is_only = services.len() == 1;
            for (name, service) in services {
                complete_service(name, service, is_only, pool);
            }
        }
    }
    mesh
}

fn complete_service(
    name: &Spanned<String>,
    service: &mut Node,
    is_only: bool,
    pool: &DescriptorPool,
) {
    let span = name.span;
    if matches!(service.value, Value::Null) {
        service.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut service.value else {
        return;
    };
    add(entries, "port", Value::Integer(7070), span);
    let served = pool
        .services()
        .filter(|contract| is_only || is_same(contract.name(), name));
    let served = served.map(|contract| Node {
        value: Value::Text(contract.full_name().to_owned()),
        span,
    });
    add(entries, "serves", Value::List(served.collect()), span);
    if entries.iter().any(|(key, _)| key.value == "tls") {
        // It is outside the mesh: nobody there asks who calls.
        return;
    }
    let rule = entry("name", Value::Text("everyone".to_owned()), span);
    let rule = Node {
        value: Value::Map(vec![rule]),
        span,
    };
    let rules = entry("allow_rules", Value::List(vec![rule]), span);
    add(entries, "authz", Value::Map(vec![rules]), span);
}

/// Whether a contract is a service's own by its name: `Carts` or `CartService` of `carts`.
pub(crate) fn is_same(contract: &str, service: &str) -> bool {
    let bare = |name: &str| {
        let name = name.to_lowercase().replace('-', "");
        let name = name.strip_suffix("service").unwrap_or(&name);
        name.strip_suffix('s').unwrap_or(name).to_owned()
    };
    bare(contract) == bare(service)
}

fn add(entries: &mut Vec<(Spanned<String>, Node)>, key: &str, value: Value, span: Span) {
    if !entries.iter().any(|(known, _)| known.value == key) {
        entries.push(entry(key, value, span));
    }
}

fn entry(key: &str, value: Value, span: Span) -> (Spanned<String>, Node) {
    (Spanned::new(key.to_owned(), span), Node { value, span })
}
