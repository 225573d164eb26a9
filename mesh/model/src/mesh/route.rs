//! The Gateway API's `GRPCRoute` with the places of its parts.

use super::MethodName;
use crate::{
    dataplane::{Fault, HeaderChanges, HeaderMatch, MethodMatch, RouteMatch},
    span::{Span, Spanned},
};

/// Rules for calls to some services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The services whose callers follow it.
    pub parents: Vec<Spanned<String>>,
    /// The first that matches applies.
    pub rules: Vec<RouteEntry>,
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Its `name`, or its place: `rules[2]`.
    pub name: Spanned<String>,
    /// Any one suffices. Empty: every request.
    pub matches: Vec<RouteMatchEntry>,
    /// Where the requests go, by weight. Empty: to the service they were sent to.
    pub backends: Vec<BackendRef>,
    /// Done to the request.
    pub request_headers: HeaderChanges,
    /// Done to the response headers.
    pub response_headers: HeaderChanges,
    /// Who gets copies.
    pub mirrors: Vec<MirrorRef>,
    /// What is done to each attempt.
    pub fault: Option<Fault>,
}

impl RouteEntry {
    /// Whoever gets requests or copies of them.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &BackendRef> {
        let mirrors = self.mirrors.iter().map(|mirror| &mirror.backend);
        self.backends.iter().chain(mirrors)
    }
}

/// What a request must be: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatchEntry {
    /// The method.
    pub method: MethodName,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
    /// The whole match.
    pub span: Span,
}

impl RouteMatchEntry {
    /// The match without places.
    pub fn to_dataplane(&self) -> RouteMatch {
        let text = |part: &Option<Spanned<String>>| part.as_ref().map(|part| part.value.clone());
        RouteMatch {
            method: MethodMatch {
                service: text(&self.method.service),
                method: text(&self.method.method),
            },
            headers: self.headers.clone(),
        }
    }

    /// Whether every request that `other` matches is matched by this.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let (own, other) = (self.to_dataplane(), other.to_dataplane());
        let part = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        part(&own.method.service, &other.method.service)
            && part(&own.method.method, &other.method.method)
            && own
                .headers
                .iter()
                .all(|header| other.headers.contains(header))
    }
}

/// A service that takes a share of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The service's name.
    pub service: Spanned<String>,
    /// One of its subsets. `None`: all endpoints.
    pub subset: Option<Spanned<String>>,
    /// The share, in proportion to the sum of all weights.
    pub weight: u32,
}

/// Where copies of requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRef {
    /// Who gets them.
    pub backend: BackendRef,
    /// Of which share, in thousandths of a percent.
    pub share_per_100_000: u32,
}
