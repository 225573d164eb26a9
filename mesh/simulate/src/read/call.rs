//! `calls`: who asks what, when and how often.

use std::time::Duration;

use prost_reflect::MethodDescriptor;
use weft_model::{
    EDGE_ACCOUNT, Problem, Spanned,
    dataplane::{Criticality, Locality},
    yaml::{Fields, Node, Value, nearest},
};

use super::Reader;
use crate::{
    fragment,
    spec::{CallSpec, Callee, Starts},
    words::Unit,
};

/// Calls of one kind in one case: more would be a typing error.
const MOST_CALLS: u32 = 100_000;

impl Reader<'_> {
    /// One call or a list of them.
    pub(super) fn calls(&mut self, node: &Node) -> Vec<CallSpec> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.call(item)).collect(),
            _ => self.call(node).into_iter().collect(),
        }
    }

    fn call(&mut self, node: &Node) -> Option<CallSpec> {
        if let Value::Text(text) = &node.value {
            let method = Spanned::new(text.clone(), node.span);
            return self.callee(&method, None).map(once);
        }
        let mut fields = self.decoder.fields(node, "the call");
        let method = fields.require(self.decoder, "method");
        let method = method.and_then(|node| self.text(node, "`method`"));
        let to = self.maybe(&mut fields, "to", Self::text);
        let callee = method.and_then(|method| self.callee(&method, to.as_ref()));
        let from = self.maybe(&mut fields, "from", Self::text);
        let mut locality = Locality::default();
        self.locality(&mut fields, &mut locality);
        let starts = self.starts(&mut fields);
        let timeout = self.maybe(&mut fields, "timeout", Self::time);
        let headers = self.headers(&mut fields);
        let bytes = self.maybe(&mut fields, "bytes", |reader, node, what| {
            reader.decoder.integer(node, what, 0..=u64::MAX)
        });
        let previous = self.maybe(&mut fields, "previousAttempts", Self::count);
        let cancel_after = self.maybe(&mut fields, "cancelAfter", Self::time);
        let expect = fields.take("expect");
        let expect = expect.map(|node| self.expects(node)).unwrap_or_default();
        fields.finish(self.decoder);
        let mut call = once(callee?);
        if let Some(from) = from {
            call.from = from.value;
        }
        let replay_limit = weft_policy::REPLAY_LIMIT_BYTES as u64;
        Some(CallSpec {
            locality,
            starts: starts?,
            timeout,
            headers,
            is_replayable: bytes.is_none_or(|bytes| bytes.value <= replay_limit),
            is_retry: previous.is_some_and(|previous| previous > 0),
            cancel_after,
            expect,
            ..call
        })
    }

    fn headers(&mut self, fields: &mut Fields<'_>) -> Vec<(String, String)> {
        let mut headers = match fields.take("headers") {
            Some(node) => self.pairs(node, "`headers`"),
            None => Vec::new(),
        };
        for (name, _) in &mut headers {
            *name = name.to_lowercase();
        }
        let grade = fields.take("criticality");
        let grade = grade.and_then(|node| self.decoder.text(node, "`criticality`"));
        if let Some(grade) = grade {
            let known = Criticality::ALL.map(Criticality::as_str);
            if !known.contains(&grade.as_str()) {
                let message = format!("`{}` is no criticality", grade.value);
                let problem = Problem::new("wrong-value", grade.span, message);
                self.decoder
                    .report(problem.hint(format!("one of {}", known.join(", "))));
            }
            headers.push(("x-weft-criticality".to_owned(), grade.value));
        }
        headers
    }

    fn starts(&mut self, fields: &mut Fields<'_>) -> Option<Starts> {
        let first = self.maybe(fields, "at", Self::time).unwrap_or_default();
        let times = self.maybe(fields, "times", Self::some);
        let every = self.maybe(fields, "every", Self::time);
        let rate = self.maybe(fields, "rate", Self::rate);
        let clients = self.maybe(fields, "clients", Self::some);
        let pause = self.maybe(fields, "pause", Self::time);
        let length = self.maybe(fields, "for", Self::time);
        let is_random = self.maybe(fields, "arrivals", Self::random).is_some();
        let starts = match ((times, every), rate, (clients, pause), length) {
            ((times, every), None, (None, None), None) => Starts::At {
                first,
                every: every.unwrap_or_default(),
                times: times.unwrap_or(1),
                is_random,
            },
            ((None, None), Some(rate), (None, None), Some(length)) => Starts::At {
                first,
                every: length.div_f64((length.as_secs_f64() * rate).max(1.0)),
                times: (length.as_secs_f64() * rate).round() as u32,
                is_random,
            },
            ((None, None), None, (Some(clients), pause), Some(length)) => Starts::Clients {
                first,
                clients,
                pause: pause.unwrap_or_default(),
                until: first + length,
            },
            _ => {
                let message = "the call does not say clearly how often it is made";
                let problem = Problem::new("wrong-value", fields.span, message);
                let hint = "`times` with `every`, or `rate` with `for`, or `clients` with `for`";
                self.decoder.report(problem.hint(hint));
                return None;
            }
        };
        if let Starts::At { times, .. } = starts
            && !(1..=MOST_CALLS).contains(&times)
        {
            let message = format!("{times} calls: must be 1 to {MOST_CALLS}");
            let problem = Problem::new("out-of-range", fields.span, message);
            self.decoder.report(problem);
            return None;
        }
        Some(starts)
    }

    fn random(&mut self, node: &Node, what: &str) -> Option<()> {
        let word = self.text(node, what)?;
        if word.value == "random" {
            return Some(());
        }
        let message = format!("{what} can be `random` only");
        let problem = Problem::new("wrong-value", word.span, message);
        self.decoder.report(problem);
        None
    }

    fn rate(&mut self, node: &Node, what: &str) -> Option<f64> {
        let amount = self.amount(node, what, &[Unit::Rate])?;
        let exact = amount.exact().filter(|rate| *rate > 0.0);
        if exact.is_none() {
            self.decoder.wrong(node, what, "a rate such as `100/s`");
        }
        exact
    }

    /// The method and who serves it. A bare name stands for the only method of that name.
    pub(super) fn callee(
        &mut self,
        method: &Spanned<String>,
        to: Option<&Spanned<String>>,
    ) -> Option<Callee> {
        if let Some(to) = to
            && !self.is_service(to)
        {
            return None;
        }
        let found = self.methods_called(method);
        let path = match (found.as_slice(), method.contains('/'), to) {
            ([only], ..) => format!("{}/{}", only.parent_service().full_name(), only.name()),
            // What the contracts do not know can be called as well, where somebody says who serves it.
            ([], true, Some(_)) => method.value.clone(),
            _ => {
                self.no_such_method(method, &found);
                return None;
            }
        };
        let contract = path.split('/').next().unwrap_or_default();
        let services = || self.mesh.services.values();
        let serving =
            || services().filter(|service| service.serves.iter().any(|s| **s == *contract));
        let bare = contract.rsplit('.').next().unwrap_or_default();
        let service = match to {
            Some(to) => services().find(|service| service.name.value == to.value),
            None => serving()
                .find(|service| fragment::is_same(bare, &service.name))
                .or_else(|| serving().next()),
        }?;
        Some(Callee {
            authority: service.authority(),
            path: format!("/{path}"),
        })
    }

    fn served(&self) -> impl Iterator<Item = MethodDescriptor> {
        let services = self.mesh.services.values();
        let contracts = services.flat_map(|service| &service.serves);
        let contracts = contracts.filter_map(|name| self.pool.get_service_by_name(name));
        contracts.flat_map(|contract| contract.methods().collect::<Vec<_>>())
    }

    fn methods_called(&self, name: &str) -> Vec<MethodDescriptor> {
        let named = |method: &MethodDescriptor| match name.split_once('/') {
            Some((service, bare)) => {
                method.parent_service().full_name() == service && method.name() == bare
            }
            None => method.name() == name,
        };
        let mut found: Vec<_> = self.served().filter(named).collect();
        // Where several services serve one contract, it is still one method.
        found.dedup_by(|one, other| one.full_name() == other.full_name());
        found
    }

    fn no_such_method(&mut self, method: &Spanned<String>, found: &[MethodDescriptor]) {
        let full = |method: &MethodDescriptor| {
            format!("{}/{}", method.parent_service().full_name(), method.name())
        };
        let (message, hint) = if found.is_empty() {
            let message = format!("no service of the mesh has a method `{}`", method.value);
            let is_full = method.contains('/');
            let known = self.served();
            let known: Vec<_> = known
                .map(|known| {
                    if is_full {
                        full(&known)
                    } else {
                        known.name().to_owned()
                    }
                })
                .collect();
            let hint = match nearest(method, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`Method` or `package.Service/Method`; `to` names a service for others"
                    .to_owned(),
            };
            (message, hint)
        } else {
            let message = format!("more than one method is called `{}`", method.value);
            let all: Vec<_> = found.iter().map(full).collect();
            (message, format!("write one of {}", all.join(", ")))
        };
        let problem = Problem::new("unknown-method", method.span, message);
        self.decoder.report(problem.hint(hint));
    }
}

/// One call by the edge, and nothing else about it.
fn once(callee: Callee) -> CallSpec {
    CallSpec {
        callee,
        from: EDGE_ACCOUNT.to_owned(),
        locality: Locality::default(),
        starts: Starts::At {
            first: Duration::ZERO,
            every: Duration::ZERO,
            times: 1,
            is_random: false,
        },
        timeout: None,
        headers: Vec::new(),
        is_replayable: true,
        is_retry: false,
        cancel_after: None,
        expect: Vec::new(),
    }
}
