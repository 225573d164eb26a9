//! From the tree to the mesh file's types, collecting every problem the file has in itself.

mod authz;
mod behaviour;
mod edge;
mod endpoints;
mod headers;
mod limits;
mod outside;
mod resilience;
mod routes;
mod rules;
mod run;
mod service;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use prost_reflect::DescriptorPool;

use headers::{header_name, is_hop_by_hop};

use crate::{
    check,
    decode::{Decoder, Fields},
    mesh::{CONTROL_ACCOUNT, EDGE_ACCOUNT, Mesh},
    problem::{Problem, Problems},
    span::{Source, Span, Spanned},
    tree,
};

impl Mesh {
    /// Reads a mesh file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it. A file that cannot be read is one problem without a line.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::parse(&text(path)?, &path.display().to_string())
    }

    /// Reads a mesh file and checks it against the contracts and the folders it names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn checked(path: &Path, pool: &DescriptorPool) -> Result<Self, Problems> {
        let mut decoded = decode(&text(path)?, &path.display().to_string());
        decoded.check(pool);
        decoded.check_pages();
        decoded.finish()
    }

    /// Reads the text of a mesh file; `name` is its path in messages and for [`Mesh::resolve`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, name: &str) -> Result<Self, Problems> {
        decode(text, name).finish()
    }

    /// [`Mesh::parse`], then [`crate::check`], with the problems of both in one go.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in itself and by the contracts.
    pub fn parse_checked(text: &str, name: &str, pool: &DescriptorPool) -> Result<Self, Problems> {
        let mut decoded = decode(text, name);
        decoded.check(pool);
        decoded.finish()
    }

    /// Reads a mesh that stands within another file, `source`, and checks it against the contracts. It
    /// need not serve all of them. What is wrong goes to `decoder`, and then there is no mesh.
    pub fn within(
        decoder: &mut Decoder,
        root: &tree::Node,
        source: Arc<Source>,
        pool: &DescriptorPool,
    ) -> Option<Self> {
        let before = decoder.problems.len();
        let mesh = read(decoder, root, source);
        let problems = check::problems(&mesh, pool);
        let problems = problems
            .into_iter()
            .filter(|problem| problem.code != "no-route");
        decoder.problems.extend(problems);
        (decoder.problems.len() == before).then_some(mesh)
    }
}

/// A mesh file as far as it could be read.
struct Decoded {
    mesh: Option<Mesh>,
    problems: Vec<Problem>,
    source: Arc<Source>,
}

impl Decoded {
    fn check(&mut self, pool: &DescriptorPool) {
        let Some(mesh) = &self.mesh else { return };
        let mut problems = check::problems(mesh, pool);
        // What a part that could not be read would have said is not known.
        if !self.problems.is_empty() {
            problems.retain(|problem| !["no-route", "not-served"].contains(&problem.code));
        }
        self.problems.extend(problems);
    }

    fn check_pages(&mut self) {
        let Some((mesh, pages)) = self
            .mesh
            .as_ref()
            .and_then(|m| Some((m, m.edge.pages.as_ref()?)))
        else {
            return;
        };
        let folder = mesh.resolve(pages);
        if !folder.is_dir() {
            let message = format!("there is no folder `{}`", folder.display());
            let problem = Problem::new("wrong-value", pages.span, message);
            self.problems
                .push(problem.hint("`pages` is relative to the folder of the mesh file"));
        }
    }

    fn finish(self) -> Result<Mesh, Problems> {
        match self.mesh {
            Some(mesh) if self.problems.is_empty() => Ok(mesh),
            _ => Err(Problems::new(self.source, self.problems)),
        }
    }
}

fn decode(text: &str, name: &str) -> Decoded {
    let source = Arc::new(Source {
        name: name.to_owned(),
        text: text.to_owned(),
    });
    let mut decoder = Decoder::default();
    let mesh = tree::parse(text, &mut decoder.problems)
        .map(|root| read(&mut decoder, &root, Arc::clone(&source)));
    Decoded {
        mesh,
        problems: decoder.problems,
        source,
    }
}

fn text(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let (name, text) = (path.display().to_string(), String::new());
        let message = format!("cannot read the mesh file: {error}");
        let problem = Problem::new("unreadable", Span::default(), message);
        Problems::new(Arc::new(Source { name, text }), vec![problem])
    })
}

fn read(decoder: &mut Decoder, root: &tree::Node, source: Arc<Source>) -> Mesh {
    let mut fields = decoder.fields(root, "the mesh file");
    let names = fields
        .require(decoder, "mesh")
        .and_then(|node| names(decoder, node));
    let defaults = fields.take("defaults").map(|node| {
        let mut fields = decoder.fields(node, "`defaults`");
        let configs = behaviour::method_configs(decoder, fields.take("methodConfig"));
        fields.finish(decoder);
        configs
    });
    let services = services(decoder, &mut fields);
    let routes = routes::read(decoder, fields.take("routes"));
    let edge = edge::read(decoder, fields.take("edge"), fields.span);
    fields.finish(decoder);

    // Without good names every SPIFFE ID in the file would look wrong.
    let is_named = names.is_some();
    let (trust_domain, namespace) = names.unwrap_or_default();
    let mesh = Mesh {
        trust_domain,
        namespace,
        defaults: defaults.unwrap_or_default(),
        services,
        routes,
        edge,
        source,
    };
    rules::check(decoder, &mesh, is_named);
    mesh
}

/// Trust domain and namespace, if both are good.
fn names(decoder: &mut Decoder, node: &tree::Node) -> Option<(String, String)> {
    let mut fields = decoder.fields(node, "`mesh`");
    let trust_domain = fields
        .require(decoder, "trustDomain")
        .and_then(|node| decoder.text(node, "`trustDomain`"))
        .filter(|name| trust_domain_name(decoder, name));
    let namespace = fields
        .require(decoder, "namespace")
        .and_then(|node| decoder.text(node, "`namespace`"))
        .filter(|name| label(decoder, name, "namespace"));
    fields.finish(decoder);
    Some((trust_domain?.value, namespace?.value))
}

fn services(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
) -> BTreeMap<String, crate::mesh::Service> {
    let Some(node) = fields.require(decoder, "services") else {
        return BTreeMap::new();
    };
    let map = decoder.fields(node, "`services`");
    let broken = map.is_broken();
    let entries = map.rest();
    if entries.is_empty() && !broken {
        let problem = Problem::new("missing-key", node.span, "`services` names no service");
        decoder.report(problem.hint("a mesh needs at least one"));
    }
    let mut services = BTreeMap::new();
    for (name, node) in entries {
        label(decoder, name, "service name");
        if [EDGE_ACCOUNT, CONTROL_ACCOUNT].contains(&name.as_str()) {
            let message = format!("a service cannot be called `{}`", name.value);
            let problem = Problem::new("wrong-name", name.span, message);
            decoder.report(problem.hint("the mesh has a part of that name"));
        }
        if let Some(service) = service::read(decoder, name, node) {
            services.insert(name.value.clone(), service);
        }
    }
    services
}

/// Whether it is a DNS label, which a service name, an account and a namespace have to be in Kubernetes
/// as well.
fn label(decoder: &mut Decoder, name: &Spanned<String>, what: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = !name.starts_with('-') && !name.ends_with('-');
    if name.bytes().all(inside) && ends && (1..=63).contains(&name.len()) {
        return true;
    }
    let message = format!("`{}` is not a valid {what}", name.value);
    let problem = Problem::new("wrong-name", name.span, message);
    decoder.report(problem.hint("lower case letters, digits and `-` inside, at most 63"));
    false
}

fn trust_domain_name(decoder: &mut Decoder, name: &Spanned<String>) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if name.bytes().all(allowed) && name.len() <= 255 {
        return true;
    }
    let message = format!("`{}` is not a SPIFFE trust domain", name.value);
    let problem = Problem::new("wrong-name", name.span, message);
    decoder.report(problem.hint("lower case letters, digits, `.`, `-` and `_`: `sockshop.local`"));
    false
}
