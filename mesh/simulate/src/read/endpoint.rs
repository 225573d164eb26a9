//! `endpoints`: what there is, and what it does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weft_model::{
    Problem, Spanned,
    dataplane::{HealthStatus, Locality, Target},
    yaml::{Fields, Node, Value, nearest},
};

use super::{Endpoints, Reader};
use crate::{
    spec::{Behaviour, EndpointSpec, State},
    words::{Answer, Spread},
};

impl Default for State {
    fn default() -> Self {
        Self {
            is_there: true,
            locality: Locality::default(),
            priority: 0,
            weight: 1,
            labels: BTreeMap::new(),
            health: HealthStatus::Healthy,
            behaviour: Behaviour {
                latency: Spread::exactly(Duration::from_millis(1)),
                answers: Arc::new([Answer::ok()]),
                is_cycle: false,
                fail: None,
                connect: Some(Duration::ZERO),
                workers: None,
                queue: 1000,
                streams: 100,
                stream: Duration::ZERO,
                load: None,
                is_serving: Some(true),
                calls: Arc::new([]),
            },
        }
    }
}

fn spec(name: &str, start: State) -> EndpointSpec {
    EndpointSpec {
        name: name.to_owned(),
        start,
        changes: Vec::new(),
    }
}

/// `carts-1`, `carts-2`, ..., all well.
pub(super) fn numbered(service: &str, count: u32) -> Vec<EndpointSpec> {
    let names = (1..=count).map(|n| format!("{service}-{n}"));
    names.map(|name| spec(&name, State::default())).collect()
}

/// What the mesh file lists, or one endpoint that is well.
pub(super) fn unmentioned(target: &Target) -> Vec<EndpointSpec> {
    if target.endpoints.is_empty() {
        return numbered(&target.service, 1);
    }
    let listed = target.endpoints.iter().map(|endpoint| {
        let state = State {
            locality: endpoint.locality.clone(),
            priority: endpoint.priority,
            weight: endpoint.weight,
            labels: endpoint.labels.clone(),
            health: endpoint.health,
            ..State::default()
        };
        spec(&endpoint.instance, state)
    });
    listed.collect()
}

impl Reader<'_> {
    pub(super) fn endpoints(&mut self, node: &Node) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for (service, node) in self.decoder.fields(node, "`endpoints`").rest() {
            if !self.is_service(service) {
                continue;
            }
            let specs = self.endpoints_of(service, node);
            endpoints.insert(service.value.clone(), specs);
        }
        endpoints
    }

    pub(super) fn is_service(&mut self, name: &Spanned<String>) -> bool {
        if self.mesh.services.contains_key(&name.value) {
            return true;
        }
        let known = || self.mesh.services.keys().map(String::as_str);
        let message = format!("the mesh has no service `{}`", name.value);
        let problem = Problem::new("unknown-service", name.span, message);
        self.decoder.report(match nearest(name, known()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!(
                "there are {}",
                known().collect::<Vec<_>>().join(", ")
            )),
        });
        false
    }

    fn endpoints_of(&mut self, service: &str, node: &Node) -> Vec<EndpointSpec> {
        match &node.value {
            Value::Integer(_) => {
                let count = self
                    .decoder
                    .integer(node, "the number of endpoints", 0..=1000);
                let count = count.and_then(|count| u32::try_from(count.value).ok());
                numbered(service, count.unwrap_or_default())
            }
            Value::List(_) => {
                let names = self.decoder.texts(node, "endpoints");
                names
                    .iter()
                    .map(|name| spec(name, State::default()))
                    .collect()
            }
            _ => {
                let fields = self.decoder.fields(node, "the endpoints of a service");
                let entries = fields.rest();
                entries
                    .into_iter()
                    .map(|(name, node)| self.endpoint(name, node))
                    .collect()
            }
        }
    }

    fn endpoint(&mut self, name: &str, node: &Node) -> EndpointSpec {
        let mut start = State::default();
        let Value::Map(_) = node.value else {
            self.brief(node, &mut start);
            return spec(name, start);
        };
        let mut fields = self.decoder.fields(node, "the endpoint");
        let at = fields.take("at");
        self.state(fields, &mut start);
        let mut spec = spec(name, start.clone());
        let Some(at) = at else {
            return spec;
        };
        let mut state = start;
        for (time, node) in self.decoder.fields(at, "`at`").rest() {
            let Some(time) = crate::words::duration(time) else {
                let message = format!("`{}` is no time", time.value);
                let problem = Problem::new("wrong-unit", time.span, message);
                self.decoder
                    .report(problem.hint("such as `5s: UNAVAILABLE`"));
                continue;
            };
            self.brief(node, &mut state);
            if time.is_zero() {
                spec.start = state.clone();
            } else {
                spec.changes.push((time, state.clone()));
            }
        }
        spec.changes.sort_by_key(|(time, _)| *time);
        spec
    }

    /// `joins`, `leaves`, an answer, or a map of what is different.
    fn brief(&mut self, node: &Node, state: &mut State) {
        match &node.value {
            Value::Text(word) if word == "joins" => state.is_there = true,
            Value::Text(word) if word == "leaves" || word == "absent" => state.is_there = false,
            Value::Text(_) | Value::List(_) => {
                if let Some(answers) = self.answers(node) {
                    state.behaviour.answers = answers;
                    state.behaviour.is_cycle = false;
                    state.behaviour.fail = None;
                }
            }
            _ => {
                let fields = self.decoder.fields(node, "the endpoint");
                self.state(fields, state);
            }
        }
    }

    fn state(&mut self, mut fields: Fields<'_>, state: &mut State) {
        self.locality(&mut fields, &mut state.locality);
        if let Some(priority) = self.maybe(&mut fields, "priority", Self::count) {
            state.priority = priority;
        }
        if let Some(weight) = self.maybe(&mut fields, "weight", Self::some) {
            state.weight = weight;
        }
        if let Some(node) = fields.take("labels") {
            state.labels = self.pairs(node, "`labels`").into_iter().collect();
        }
        if let Some(health) = fields.take("health").and_then(|node| self.health(node)) {
            state.health = health;
        }
        self.behaviour(&mut fields, &mut state.behaviour);
        fields.finish(self.decoder);
    }

    /// `region`, `zone` and `subZone`.
    pub(super) fn locality(&mut self, fields: &mut Fields<'_>, locality: &mut Locality) {
        for (key, part) in [
            ("region", &mut locality.region),
            ("zone", &mut locality.zone),
            ("subZone", &mut locality.sub_zone),
        ] {
            let text = fields.take(key);
            if let Some(text) = text.and_then(|node| self.decoder.text(node, key)) {
                *part = text.value;
            }
        }
    }

    fn health(&mut self, node: &Node) -> Option<HealthStatus> {
        let text = self.decoder.text(node, "`health`")?;
        let status = match text.as_str() {
            "healthy" => HealthStatus::Healthy,
            "draining" => HealthStatus::Draining,
            "unhealthy" => HealthStatus::Unhealthy,
            _ => {
                let message = format!("`{}` is no health", text.value);
                let problem = Problem::new("wrong-value", text.span, message);
                self.decoder
                    .report(problem.hint("`healthy`, `draining` or `unhealthy`"));
                return None;
            }
        };
        Some(status)
    }
}
