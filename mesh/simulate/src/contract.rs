//! Contracts written down in a policy test, for meshes that have no protos at hand.

use std::collections::BTreeMap;

use prost_reflect::DescriptorPool;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions,
    ServiceDescriptorProto, method_options::IdempotencyLevel,
};
use weft_model::{
    Problem, Spanned,
    yaml::{Decoder, Node, nearest},
};

const LEVELS: [(&str, IdempotencyLevel); 3] = [
    ("NO_SIDE_EFFECTS", IdempotencyLevel::NoSideEffects),
    ("IDEMPOTENT", IdempotencyLevel::Idempotent),
    ("IDEMPOTENCY_UNKNOWN", IdempotencyLevel::IdempotencyUnknown),
];

/// Reads `methods: {shop.v1.Carts/GetCart: NO_SIDE_EFFECTS}`; `... stream` for a server stream.
pub(crate) fn read(decoder: &mut Decoder, node: &Node) -> DescriptorPool {
    let mut packages: BTreeMap<String, BTreeMap<String, Vec<MethodDescriptorProto>>> =
        BTreeMap::new();
    for (name, level) in decoder.fields(node, "`methods`").rest() {
        let Some((package, service, method)) = parts(decoder, name) else {
            continue;
        };
        let Some(method) = descriptor(decoder, level, package, method) else {
            continue;
        };
        let services = packages.entry(package.to_owned()).or_default();
        services.entry(service.to_owned()).or_default().push(method);
    }
    let files = packages
        .into_iter()
        .map(|(package, services)| file(package, services));
    let set = FileDescriptorSet {
        file: files.collect(),
    };
    DescriptorPool::from_file_descriptor_set(set).unwrap_or_else(|error| {
        let message = format!("these methods make no contract: {error}");
        decoder.report(Problem::new("wrong-value", node.span, message));
        DescriptorPool::new()
    })
}

fn parts<'n>(
    decoder: &mut Decoder,
    name: &'n Spanned<String>,
) -> Option<(&'n str, &'n str, &'n str)> {
    let split = || {
        let (service, method) = name.split_once('/')?;
        let (package, service) = service.rsplit_once('.')?;
        let named = [package, service, method]
            .iter()
            .all(|part| !part.is_empty());
        named.then_some((package, service, method))
    };
    let found = split();
    if found.is_none() {
        let message = format!("`{}` is no method", name.value);
        let problem = Problem::new("wrong-name", name.span, message);
        decoder.report(problem.hint("fully qualified, such as `shop.v1.CartService/GetCart`"));
    }
    found
}

fn descriptor(
    decoder: &mut Decoder,
    node: &Node,
    package: &str,
    method: &str,
) -> Option<MethodDescriptorProto> {
    let text = decoder.text(node, "the method's idempotency level")?;
    let (name, streams) = match text.strip_suffix(" stream") {
        Some(name) => (name.trim(), true),
        None => (text.as_str(), false),
    };
    let Some((_, level)) = LEVELS.into_iter().find(|(known, _)| *known == name) else {
        let message = format!("`{name}` is no idempotency level");
        let problem = Problem::new("wrong-value", text.span, message);
        let known = LEVELS.map(|(known, _)| known);
        decoder.report(match nearest(name, known) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!(
                "one of {}; with ` stream` behind it for a server stream",
                known.join(", ")
            )),
        });
        return None;
    };
    Some(MethodDescriptorProto {
        name: Some(method.to_owned()),
        input_type: Some(format!(".{package}.Message")),
        output_type: Some(format!(".{package}.Message")),
        server_streaming: Some(streams),
        options: Some(MethodOptions {
            idempotency_level: Some(level.into()),
            ..MethodOptions::default()
        }),
        ..MethodDescriptorProto::default()
    })
}

fn file(
    package: String,
    services: BTreeMap<String, Vec<MethodDescriptorProto>>,
) -> FileDescriptorProto {
    let services = services
        .into_iter()
        .map(|(name, method)| ServiceDescriptorProto {
            name: Some(name),
            method,
            ..ServiceDescriptorProto::default()
        });
    FileDescriptorProto {
        name: Some(format!("{package}.proto")),
        service: services.collect(),
        message_type: vec![DescriptorProto {
            name: Some("Message".to_owned()),
            ..DescriptorProto::default()
        }],
        package: Some(package),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}
