//! The entry `edge`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use crate::{
    decode::Decoder,
    mesh::{EDGE_ACCOUNT, Edge, Example, JwtRule},
    problem::Problem,
    span::Span,
    tree::Node,
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_MAX_BODY_BYTES: u64 = 1 << 20;
/// A body is held in memory while it is transcoded.
const LARGEST_MAX_BODY_BYTES: u64 = 64 << 20;

pub(super) fn read(decoder: &mut Decoder, node: Option<&Node>, file: Span) -> Edge {
    let mut edge = Edge {
        listen: DEFAULT_LISTEN,
        service_account: EDGE_ACCOUNT.to_owned(),
        pages: None,
        jwt_rules: Vec::new(),
        max_body_bytes: DEFAULT_MAX_BODY_BYTES,
        examples: Vec::new(),
        span: file,
    };
    let Some(node) = node else {
        return edge;
    };
    let mut fields = decoder.fields(node, "`edge`");
    edge.span = fields.span;
    if let Some(node) = fields.take("listen") {
        edge.listen = listen(decoder, node).unwrap_or(DEFAULT_LISTEN);
    }
    if let Some(node) = fields.take("pages") {
        edge.pages = decoder
            .text(node, "`pages`")
            .map(|path| path.map(PathBuf::from));
    }
    if let Some(node) = fields.take("jwtRules") {
        let items = decoder.list(node, "`jwtRules`");
        edge.jwt_rules = items
            .iter()
            .filter_map(|node| jwt_rule(decoder, node))
            .collect();
    }
    if let Some(node) = fields.take("maxBodyBytes") {
        let bytes = decoder.integer(node, "`maxBodyBytes`", 1..=LARGEST_MAX_BODY_BYTES);
        edge.max_body_bytes = bytes.map_or(DEFAULT_MAX_BODY_BYTES, |bytes| bytes.value);
    }
    if let Some(node) = fields.take("try") {
        let items = decoder.list(node, "`try`");
        edge.examples = items
            .iter()
            .filter_map(|node| example(decoder, node))
            .collect();
    }
    fields.finish(decoder);
    edge
}

fn listen(decoder: &mut Decoder, node: &Node) -> Option<SocketAddr> {
    let text = decoder.text(node, "`listen`")?;
    let address = text.parse();
    if address.is_err() {
        let message = format!(
            "`listen` must be an IP address and a port, not {:?}",
            text.value
        );
        let problem = Problem::new("wrong-value", text.span, message);
        decoder.report(problem.hint("such as `127.0.0.1:8080`; port 0 takes a free port"));
    }
    address.ok()
}

fn jwt_rule(decoder: &mut Decoder, node: &Node) -> Option<JwtRule> {
    let mut fields = decoder.fields(node, "the JWT rule");
    let issuer = fields
        .require(decoder, "issuer")
        .and_then(|node| decoder.text(node, "`issuer`"));
    let audiences = fields.require(decoder, "audiences").map(|node| {
        let audiences = decoder.texts(node, "`audiences`");
        if audiences.is_empty() {
            let message = "`audiences` names no audience";
            let problem = Problem::new("wrong-value", node.span, message);
            decoder.report(problem.hint("tokens made for others would be believed here"));
        }
        audiences
            .into_iter()
            .map(|audience| audience.value)
            .collect()
    });
    let jwks_uri = fields
        .require(decoder, "jwksUri")
        .and_then(|node| decoder.text(node, "`jwksUri`"));
    fields.finish(decoder);
    Some(JwtRule {
        issuer: issuer?,
        audiences: audiences?,
        jwks_uri: jwks_uri?,
    })
}

fn example(decoder: &mut Decoder, node: &Node) -> Option<Example> {
    let mut fields = decoder.fields(node, "the command to try");
    let name = fields
        .require(decoder, "name")
        .and_then(|node| decoder.text(node, "`name`"));
    let shell = fields
        .require(decoder, "shell")
        .and_then(|node| decoder.text(node, "`shell`"));
    fields.finish(decoder);
    Some(Example {
        name: name?.value,
        shell: shell?.value.trim().to_owned(),
    })
}
