//! Route configurations.

use prost_types::Any;
use weft_model::dataplane::{Backend, MethodRule, RouteMatch, RouteRule};

use super::{
    Invalid, Routes, named, required,
    route::{Destination, Read, route},
    unpack,
};
use crate::{
    encode::{
        Subsets,
        routes::{RouteList, covers},
    },
    proto::envoy::config::route::v3 as wire,
};

const ROUTES: &str = "virtual_hosts[0].routes";

/// Reads the routes of one authority: a list of our own, or one by somebody else, in which each route
/// says both where calls go and how they behave.
///
/// # Errors
/// On what this data plane does not carry out.
pub fn routes(any: &Any) -> Result<Routes, Invalid> {
    let found: wire::RouteConfiguration = unpack(any)?;
    let name = named("name", found.name)?;
    let [host] = found.virtual_hosts.as_slice() else {
        let reason = format!(
            "has {} entries, exactly one is supported",
            found.virtual_hosts.len()
        );
        return Err(Invalid::new("virtual_hosts", reason));
    };
    let service = named("virtual_hosts[0].name", host.name.clone())?;
    let mut subsets = Subsets::default();
    let mut list = Vec::with_capacity(host.routes.len());
    for (at, found) in host.routes.iter().enumerate() {
        let read = route(found, &mut subsets);
        list.push(read.map_err(|e| e.within(format!("{ROUTES}[{at}]")))?);
    }
    let routes = Routes {
        hash_header: hash_header(&list)?,
        name,
        service,
        cluster: String::new(),
        methods: Vec::new(),
        rules: Vec::new(),
    };
    match list.iter().any(|read| read.place.is_some()) {
        true => own(routes, list, &host.routes, &subsets),
        false => foreign(routes, list),
    }
}

/// The one header that all hash policies name.
fn hash_header(list: &[Read]) -> Result<Option<String>, Invalid> {
    let first = list.first().and_then(|read| read.hash_header.clone());
    for (at, read) in list.iter().enumerate() {
        if read.hash_header != first {
            let path = format!("{ROUTES}[{at}].route.hash_policy");
            return Err(Invalid::new(path, "must be the same for all routes"));
        }
    }
    Ok(first)
}

/// A list as `encode::routes` makes it: the rules, then the methods. Encoding what was read must give the
/// same list, else it would say something that is lost.
fn own(
    mut routes: Routes,
    list: Vec<Read>,
    wire: &[wire::Route],
    subsets: &Subsets,
) -> Result<Routes, Invalid> {
    routes.cluster = routes.name.clone();
    let mut last = None;
    for (at, read) in list.into_iter().enumerate() {
        let Some((rule, number)) = read.place else {
            routes.methods.push(read.method);
            continue;
        };
        if usize::try_from(rule) == Ok(routes.rules.len()) {
            routes.rules.push(RouteRule {
                name: read.name,
                backends: match read.destination {
                    Destination::Cluster(_) => Vec::new(),
                    Destination::Backends(backends) => backends,
                },
                request_headers: read.request_headers,
                response_headers: read.response_headers,
                mirrors: read.mirrors,
                fault: read.fault,
                matches: Vec::new(),
            });
        }
        let Some(current) = routes.rules.last_mut() else {
            let path = format!("{ROUTES}[{at}].metadata");
            return Err(Invalid::new(path, "rules must count from 0"));
        };
        // The last route of a match is for all that it matches.
        if last == Some((rule, number)) {
            current.matches.pop();
        }
        last = Some((rule, number));
        if number.is_some() {
            current.matches.push(RouteMatch {
                method: read.method.matches,
                headers: read.headers,
            });
        }
    }
    let again = RouteList {
        authority: &routes.name,
        hash_header: routes.hash_header.as_deref(),
        methods: &routes.methods,
        rules: &routes.rules,
        subsets,
    };
    let again = again.encode();
    if again.as_slice() != wire {
        let at = again.iter().zip(wire).take_while(|(a, b)| a == b).count();
        let path = format!("{ROUTES}[{at}]");
        return Err(Invalid::new(
            path,
            "does not follow from the rules around it",
        ));
    }
    Ok(routes)
}

/// A list in which every route is a rule of its own.
fn foreign(mut routes: Routes, list: Vec<Read>) -> Result<Routes, Invalid> {
    let is_simple = list.iter().all(Read::is_plain)
        && list
            .windows(2)
            .all(|pair| pair[0].destination == pair[1].destination);
    let cluster = list.iter().find_map(|read| match &read.destination {
        Destination::Cluster(name) => Some(name.clone()),
        Destination::Backends(backends) => backends.first().map(|b| b.authority.clone()),
    });
    routes.cluster = required(ROUTES, cluster)?;
    if is_simple {
        routes.methods = list.into_iter().map(|read| read.method).collect();
        return Ok(routes);
    }
    for read in list.iter().filter(|read| read.headers.is_empty()) {
        let mut earlier = routes.methods.iter();
        if !earlier.any(|rule| covers(&rule.matches, &read.method.matches)) {
            routes.methods.push(read.method.clone());
        }
    }
    for (at, read) in list.into_iter().enumerate() {
        behaves_as_its_methods(&read, &routes.methods)
            .map_err(|e| e.within(format!("{ROUTES}[{at}]")))?;
        routes.rules.push(RouteRule {
            name: match read.name.is_empty() {
                true => format!("routes[{at}]"),
                false => read.name,
            },
            matches: vec![RouteMatch {
                method: read.method.matches,
                headers: read.headers,
            }],
            backends: match read.destination {
                Destination::Cluster(name) if name == routes.cluster => Vec::new(),
                Destination::Cluster(authority) => vec![Backend {
                    authority,
                    subset: None,
                    weight: 1,
                }],
                Destination::Backends(backends) => backends,
            },
            request_headers: read.request_headers,
            response_headers: read.response_headers,
            mirrors: read.mirrors,
            fault: read.fault,
        });
    }
    Ok(routes)
}

/// How calls behave depends on the method alone here, not on headers.
fn behaves_as_its_methods(read: &Read, methods: &[MethodRule]) -> Result<(), Invalid> {
    if read.headers.is_empty() {
        return Ok(());
    }
    let own = &read.method;
    let meeting = methods
        .iter()
        .filter(|rule| covers(&rule.matches, &own.matches) || covers(&own.matches, &rule.matches));
    let mut differing = meeting.filter(|rule| {
        rule.timeout != own.timeout
            || rule.retry_policy != own.retry_policy
            || rule.hedging_policy != own.hedging_policy
    });
    if differing.next().is_some() {
        return Err(Invalid::new(
            "route",
            "timeouts and retries that depend on headers are not supported",
        ));
    }
    Ok(())
}
