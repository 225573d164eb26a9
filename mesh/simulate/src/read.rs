//! From the text of a policy test to its cases, collecting every problem as the mesh file's reader does.

mod behaviour;
mod call;
mod endpoint;
mod expect;
mod outcome;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost_reflect::DescriptorPool;
use weft_model::{
    Mesh, Problem, Problems, Source, Span,
    dataplane::{AuthzRule, Inbound, Target},
    yaml::{self, Decoder, Node, Value, nearest},
};

use crate::{
    contract, fragment,
    spec::{Case, Check, EndpointSpec, Suite},
};

/// How other files are read: the mesh file that a policy test names.
pub type Load<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

impl Suite {
    /// Reads a policy test file. Contracts are the file's own `methods`, or else `pool`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, or with the mesh file it names.
    pub fn load(path: &Path, pool: &DescriptorPool) -> Result<Self, Problems> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name, pool, &|path| std::fs::read_to_string(path)),
            Err(error) => {
                let message = format!("cannot read the policy test: {error}");
                let problem = Problem::new("unreadable", Span::default(), message);
                let text = String::new();
                Err(Problems::new(
                    Arc::new(Source { name, text }),
                    vec![problem],
                ))
            }
        }
    }

    /// As [`Self::load`], with the text at hand. `name` is its path in messages; the mesh file it may
    /// name is relative to that, and read by `load`.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn parse(
        text: &str,
        name: &str,
        pool: &DescriptorPool,
        load: Load<'_>,
    ) -> Result<Self, Problems> {
        let (name, text) = (name.to_owned(), text.to_owned());
        let source = Arc::new(Source { name, text });
        let mut decoder = Decoder::default();
        let suite = match yaml::parse(&source.text, &mut decoder.problems) {
            Some(root) => suite(&mut decoder, &root, &source, pool, load)?,
            None => None,
        };
        match suite {
            Some(suite) if decoder.problems.is_empty() => Ok(suite),
            _ => Err(Problems::new(source, decoder.problems)),
        }
    }

    /// The file it was read from.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The mesh file it names, if it does not hold the mesh itself.
    pub fn mesh_file(&self) -> Option<&str> {
        let name = &self.mesh.source.name;
        (*name != self.source.name).then_some(name)
    }
}

/// What the parts of a file are read with.
struct Reader<'a> {
    decoder: &'a mut Decoder,
    mesh: &'a Mesh,
    targets: &'a BTreeMap<String, Target>,
    pool: &'a DescriptorPool,
}

fn suite(
    decoder: &mut Decoder,
    root: &Node,
    source: &Arc<Source>,
    pool: &DescriptorPool,
    load: Load<'_>,
) -> Result<Option<Suite>, Problems> {
    let mut fields = decoder.fields(root, "the policy test");
    let methods = fields.take("methods");
    let own = methods.map(|node| contract::read(decoder, node));
    let pool = own.as_ref().unwrap_or(pool);
    let mesh = match fields.require(decoder, "mesh") {
        Some(node) => mesh(decoder, node, source, pool, load)?,
        None => None,
    };
    let endpoints = fields.take("endpoints");
    let cases = fields.require(decoder, "cases");
    fields.finish(decoder);
    let Some(mesh) = mesh else {
        return Ok(None);
    };
    let targets = weft_model::dataplane(&mesh, pool);
    let mut reader = Reader {
        decoder,
        mesh: &mesh,
        targets: &targets,
        pool,
    };
    let shared = endpoints
        .map(|node| reader.endpoints(node))
        .unwrap_or_default();
    let cases = cases
        .map(|node| reader.cases(node, &shared))
        .unwrap_or_default();
    let inbound = mesh.services.keys().map(|service| {
        let rules = weft_model::inbound(&mesh, service);
        (service.clone(), rules.unwrap_or_else(outside))
    });
    Ok(Some(Suite {
        cases,
        source: Arc::clone(source),
        targets,
        inbound: inbound.collect(),
        mesh: Arc::new(mesh),
    }))
}

/// No sidecar stands before a service outside the mesh.
fn outside() -> Inbound {
    let rule = AuthzRule {
        name: "outside".to_owned(),
        ..AuthzRule::default()
    };
    Inbound {
        allow_rules: vec![rule],
        ..Inbound::default()
    }
}

fn mesh(
    decoder: &mut Decoder,
    node: &Node,
    source: &Arc<Source>,
    pool: &DescriptorPool,
    load: Load<'_>,
) -> Result<Option<Mesh>, Problems> {
    let Value::Text(path) = &node.value else {
        let whole = fragment::complete(node, pool);
        return Ok(Mesh::within(decoder, &whole, Arc::clone(source), pool));
    };
    let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
    let path = tidy(&folder.join(path));
    match load(&path) {
        Ok(text) => Mesh::parse_checked(&text, &path.display().to_string(), pool).map(Some),
        Err(error) => {
            let message = format!("cannot read the mesh file {}: {error}", path.display());
            let problem = Problem::new("unreadable", node.span, message);
            decoder.report(problem.hint("the path is relative to the folder of this file"));
            Ok(None)
        }
    }
}

/// `tests/policies/../../mesh.yaml` as `mesh.yaml`.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        let is_up = part == std::path::Component::ParentDir;
        let inside = tidy.components().next_back();
        match inside {
            Some(std::path::Component::Normal(_)) if is_up => {
                tidy.pop();
            }
            _ => tidy.push(part),
        }
    }
    tidy
}

type Endpoints = BTreeMap<String, Vec<EndpointSpec>>;

impl Reader<'_> {
    fn cases(&mut self, node: &Node, shared: &Endpoints) -> Vec<Case> {
        let items = self.decoder.list(node, "`cases`");
        if items.is_empty() {
            let problem = Problem::new("missing-key", node.span, "`cases` has no case");
            self.decoder.report(problem);
        }
        let mut names = BTreeSet::new();
        let mut cases = Vec::new();
        for item in items {
            let Some(case) = self.case(item, shared) else {
                continue;
            };
            if !names.insert(case.name.value.clone()) {
                let message = format!("two cases are called `{}`", case.name.value);
                let problem = Problem::new("duplicate-name", case.name.span, message);
                self.decoder.report(problem);
            }
            cases.push(case);
        }
        cases
    }

    fn case(&mut self, node: &Node, shared: &Endpoints) -> Option<Case> {
        let mut fields = self.decoder.fields(node, "the case");
        let name = fields.require(self.decoder, "name");
        let name = name.and_then(|node| self.decoder.text(node, "`name`"));
        let seed = fields.take("seed");
        let seed = seed.and_then(|node| self.decoder.integer(node, "`seed`", 0..=u64::MAX));
        let own = fields.take("endpoints");
        let mut endpoints = own.map(|node| self.endpoints(node)).unwrap_or_default();
        let calls = fields.require(self.decoder, "calls");
        let calls = calls.map(|node| self.calls(node)).unwrap_or_default();
        let expect = fields.take("expect");
        let expect = expect.map(|node| self.expects(node)).unwrap_or_default();
        let (span, is_broken) = (fields.span, fields.is_broken());
        fields.finish(self.decoder);
        for (service, specs) in shared {
            endpoints
                .entry(service.clone())
                .or_insert_with(|| specs.clone());
        }
        for target in self.targets.values() {
            let specs = || endpoint::unmentioned(target);
            let service = target.service.clone();
            endpoints.entry(service).or_insert_with(specs);
        }
        self.check_names(&endpoints, span);
        let own = calls.iter().flat_map(|call| &call.expect);
        for (span, check) in expect.iter().chain(own).flat_map(|expect| &expect.checks) {
            self.check_meant(&endpoints, check, *span);
        }
        let asks = !expect.is_empty() || calls.iter().any(|call| !call.expect.is_empty());
        if !asks && !is_broken {
            let problem = Problem::new("missing-key", span, "the case expects nothing");
            self.decoder
                .report(problem.hint("add `expect`, such as `expect: { status: OK }`"));
        }
        Some(Case {
            name: name?,
            seed: seed.map_or(1, |seed| seed.value),
            endpoints,
            calls,
            expect,
        })
    }

    /// An expectation about nobody would hold whatever happens.
    fn check_meant(&mut self, endpoints: &Endpoints, check: &Check, span: Span) {
        let specs = endpoints.values().flatten();
        let known: Vec<_> = specs
            .map(|spec| spec.name.as_str())
            .chain(self.mesh.services.keys().map(String::as_str))
            .collect();
        for name in check.names() {
            if !known.contains(&name) {
                let message = format!("there is no endpoint or service `{name}` in this case");
                let problem = Problem::new("unknown-name", span, message);
                self.decoder
                    .report(match nearest(name, known.iter().copied()) {
                        Some(near) => problem.hint(format!("did you mean `{near}`?")),
                        None => problem.hint(format!("there are {}", known.join(", "))),
                    });
            }
        }
    }

    /// Expectations speak of endpoints by their names alone.
    fn check_names(&mut self, endpoints: &Endpoints, span: Span) {
        let mut known = BTreeSet::new();
        for spec in endpoints.values().flatten() {
            if !known.insert(&spec.name) {
                let message = format!("two endpoints are called `{}`", spec.name);
                let problem = Problem::new("duplicate-name", span, message);
                self.decoder
                    .report(problem.hint("a name belongs to one endpoint, over all services"));
            }
        }
    }
}
