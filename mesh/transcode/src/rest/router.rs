//! From a request's method and path to a binding.

use std::collections::{BTreeSet, HashMap, HashSet};

use http::Method;

use super::{
    percent,
    route::{BuildError, Route},
    template::{Segment, Template},
};
use crate::{Error, Result};

/// All bindings, as a tree over path segments.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Route>,
    nodes: Vec<Node>,
    verbs: HashSet<String>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    one: Option<usize>,
    rest: Option<usize>,
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<String>,
    route: usize,
}

/// The binding a request means, and the values its path gives, in the order of
/// [`Route::variables`].
#[derive(Clone, Debug)]
pub struct Match<'r> {
    /// The binding.
    pub route: &'r Route,
    /// Decoded.
    pub values: Vec<String>,
}

/// Why no binding answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No template matches the path.
    NotFound,
    /// Templates match, but for these methods only; `HEAD` and `OPTIONS` are among them.
    MethodNotAllowed(Vec<String>),
    /// The path is malformed.
    Invalid(Error),
}

impl Router {
    /// Builds the tree.
    ///
    /// # Errors
    ///
    /// Every pair of bindings that match the same requests.
    pub fn new(routes: Vec<Route>) -> std::result::Result<Self, Vec<BuildError>> {
        let mut router = Self {
            routes: Vec::new(),
            nodes: vec![Node::default()],
            verbs: HashSet::new(),
        };
        let mut errors = Vec::new();
        for route in routes {
            if let Err(error) = router.insert(route) {
                errors.push(error);
            }
        }
        if errors.is_empty() {
            Ok(router)
        } else {
            Err(errors)
        }
    }

    fn insert(&mut self, route: Route) -> std::result::Result<(), BuildError> {
        let mut node = 0;
        for segment in &route.template.segments {
            let next = self.nodes.len();
            let slot = match segment {
                Segment::Literal(text) => self.nodes[node]
                    .literals
                    .entry(text.clone())
                    .or_insert(next),
                Segment::One => self.nodes[node].one.get_or_insert(next),
                Segment::Rest => self.nodes[node].rest.get_or_insert(next),
            };
            node = *slot;
            if node == next {
                self.nodes.push(Node::default());
            }
        }
        let twin = self.nodes[node].leaves.iter().find(|leaf| {
            leaf.verb == route.template.verb && self.routes[leaf.route].verb == route.verb
        });
        if let Some(twin) = twin {
            return Err(BuildError::Ambiguous {
                first: self.routes[twin.route].method.full_name().to_owned(),
                second: route.method.full_name().to_owned(),
                verb: route
                    .verb
                    .as_ref()
                    .map_or("*", |verb| verb.as_str())
                    .to_owned(),
                template: route.template.to_string(),
            });
        }
        self.verbs.extend(route.template.verb.clone());
        let verb = route.template.verb.clone();
        self.nodes[node].leaves.push(Leaf {
            verb,
            route: self.routes.len(),
        });
        self.routes.push(route);
        Ok(())
    }

    /// Every binding, in the order of the contracts.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The binding for a request. `path` is as it was sent, without query.
    ///
    /// # Errors
    ///
    /// [`NoRoute`] says what the answer is then.
    pub fn find(&self, method: &Method, path: &str) -> std::result::Result<Match<'_>, NoRoute> {
        let mut allowed = BTreeSet::new();
        for (segments, verb) in self.readings(path)? {
            let decoded: Vec<String> = segments
                .iter()
                .map(|segment| percent::decode(segment, false))
                .collect::<Result<_>>()
                .map_err(NoRoute::Invalid)?;
            let wanted = Wanted {
                method,
                verb,
                segments: &decoded,
            };
            if let Some(route) = self.walk(0, 0, &wanted, &mut allowed) {
                let route = &self.routes[route];
                let values = values(&route.template, &segments).map_err(NoRoute::Invalid)?;
                return Ok(Match { route, values });
            }
        }
        if allowed.is_empty() {
            return Err(NoRoute::NotFound);
        }
        allowed.insert("OPTIONS".to_owned());
        Err(NoRoute::MethodNotAllowed(allowed.into_iter().collect()))
    }

    /// The path with its last colon as the start of a verb, where some template has that verb, and
    /// then as it is.
    fn readings<'p>(&self, path: &'p str) -> std::result::Result<Vec<Reading<'p>>, NoRoute> {
        let path = path.strip_prefix('/').ok_or(NoRoute::NotFound)?;
        let segments: Vec<&str> = path.split('/').collect();
        let mut readings = Vec::with_capacity(2);
        if let Some((last, init)) = segments.split_last()
            && let Some((value, verb)) = last.rsplit_once(':')
            && self.verbs.contains(verb)
        {
            let mut stripped = init.to_vec();
            stripped.push(value);
            readings.push((stripped, Some(verb)));
        }
        readings.push((segments, None));
        Ok(readings)
    }

    /// Literal before `*` before `**`; a branch that ends nowhere is left again.
    fn walk(
        &self,
        node: usize,
        depth: usize,
        wanted: &Wanted<'_>,
        allowed: &mut BTreeSet<String>,
    ) -> Option<usize> {
        let here = &self.nodes[node];
        if let Some(segment) = wanted.segments.get(depth) {
            let branches = [
                here.literals.get(segment).copied(),
                here.one.filter(|_| !segment.is_empty()),
            ];
            for next in branches.into_iter().flatten() {
                if let Some(found) = self.walk(next, depth + 1, wanted, allowed) {
                    return Some(found);
                }
            }
        } else if let Some(found) = self.leaf(node, wanted, allowed) {
            return Some(found);
        }
        self.leaf(here.rest?, wanted, allowed)
    }

    fn leaf(
        &self,
        node: usize,
        wanted: &Wanted<'_>,
        allowed: &mut BTreeSet<String>,
    ) -> Option<usize> {
        let mut best = None;
        for leaf in &self.nodes[node].leaves {
            if leaf.verb.as_deref() != wanted.verb {
                continue;
            }
            let rank = match &self.routes[leaf.route].verb {
                Some(verb) => {
                    allowed.insert(verb.to_string());
                    if verb == Method::GET {
                        allowed.insert("HEAD".to_owned());
                    }
                    match verb {
                        verb if verb == wanted.method => 3,
                        verb if verb == Method::GET && wanted.method == Method::HEAD => 2,
                        _ => continue,
                    }
                }
                None => 1,
            };
            best = best.max(Some((rank, leaf.route)));
        }
        best.map(|(_, route)| route)
    }
}

/// The segments of a path, and its verb.
type Reading<'p> = (Vec<&'p str>, Option<&'p str>);

struct Wanted<'a> {
    method: &'a Method,
    verb: Option<&'a str>,
    segments: &'a [String],
}

/// The variables' values, decoded: a variable of several segments keeps `%2F`.
fn values(template: &Template, segments: &[&str]) -> Result<Vec<String>> {
    let value = |variable: &super::Variable| {
        let multi = template.is_multi(variable);
        let rest = template.segments[..variable.end].last() == Some(&Segment::Rest);
        let end = if rest { segments.len() } else { variable.end };
        let text = segments[variable.start.min(end)..end].join("/");
        percent::decode(&text, multi).map_err(|error| error.in_field(&variable.field))
    };
    template.variables.iter().map(value).collect()
}
