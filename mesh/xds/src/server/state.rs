//! What one stream knows of one resource type: pure, no I/O.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use crate::{
    encode,
    proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    resources::{Resource, ResourceSet, ResourceType},
};

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers an older response: the newest decides.
    Stale,
    /// A first request, or one after a reconnect.
    Subscribed,
    /// The node uses this version.
    Acked(String),
    /// The node refused this version.
    Nacked(String),
}

#[derive(Debug)]
pub(super) struct TypeState {
    kind: ResourceType,
    subscription: Subscription,
    /// Whether there may be something to send although the world is as it was.
    changed: bool,
    nonce: Option<String>,
    version: String,
    sent: HashMap<String, [u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subscription {
    None,
    All,
    Names(BTreeSet<String>),
}

impl TypeState {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            subscription: Subscription::None,
            changed: false,
            nonce: None,
            version: String::new(),
            sent: HashMap::new(),
        }
    }

    /// Takes note of a request.
    pub(super) fn on_request(&mut self, request: &DiscoveryRequest) -> Answer {
        let answers = (!request.response_nonce.is_empty()).then_some(&request.response_nonce);
        if answers.is_some() && answers != self.nonce.as_ref() {
            return Answer::Stale;
        }
        let subscription = self.subscription_of(&request.resource_names);
        if subscription != self.subscription {
            if let Subscription::Names(names) = &subscription {
                // A name that is dropped and comes again is a new question.
                self.sent.retain(|name, _| names.contains(name));
            }
            self.subscription = subscription;
            self.changed = true;
        }
        match (answers, &request.error_detail) {
            (None, _) => Answer::Subscribed,
            (Some(_), None) => Answer::Acked(self.version.clone()),
            (Some(_), Some(_)) => Answer::Nacked(self.version.clone()),
        }
    }

    fn subscription_of(&self, names: &[String]) -> Subscription {
        let asks_all = names.iter().any(|name| name == "*");
        // No name at all means everything, but only as long as no name was ever given.
        let legacy =
            names.is_empty() && matches!(self.subscription, Subscription::None | Subscription::All);
        if self.kind.is_full_state() && (asks_all || legacy) {
            Subscription::All
        } else {
            Subscription::Names(names.iter().cloned().collect())
        }
    }

    /// The response that brings the node up to `set`, `None` if it is there already or never asked.
    /// `nonce` is used only if there is one.
    pub(super) fn response(&mut self, set: &ResourceSet, nonce: &str) -> Option<Update> {
        if !self.changed && self.version == set.version() {
            return None;
        }
        let full = self.kind.is_full_state();
        // A first question is answered even if the answer is that there is nothing.
        let asked = full && self.changed && self.subscription != Subscription::None;
        let wanted = self.wanted(set);
        let is_news = |(name, resource): &&(&str, Cow<'_, Resource>)| {
            self.sent.get(*name) != Some(&resource.hash())
        };
        let news: Vec<String> = wanted
            .iter()
            .filter(is_news)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let known = wanted
            .iter()
            .filter(|(name, _)| self.sent.contains_key(*name));
        let gone = full && known.count() < self.sent.len();
        if news.is_empty() && !gone && !asked {
            self.changed = false;
            return None;
        }
        let sending: Vec<(String, Resource)> = wanted
            .iter()
            .filter(|item| full || is_news(item))
            .map(|(name, resource)| ((*name).to_owned(), resource.clone().into_owned()))
            .collect();
        self.changed = false;
        if full {
            self.sent.clear();
        }
        for (name, resource) in &sending {
            self.sent.insert(name.clone(), resource.hash());
        }
        self.version = set.version().to_owned();
        self.nonce = Some(nonce.to_owned());
        let response = DiscoveryResponse {
            version_info: self.version.clone(),
            resources: sending
                .into_iter()
                .map(|(_, resource)| resource.any)
                .collect(),
            type_url: self.kind.url().to_owned(),
            nonce: nonce.to_owned(),
            ..Default::default()
        };
        Some(Update { response, news })
    }

    /// Makes the named resources news again: a node that got a new cluster waits for its endpoints,
    /// even if they are what they were.
    pub(super) fn repeat(&mut self, names: &[String]) {
        for name in names {
            self.changed |= self.sent.remove(name).is_some();
        }
    }

    /// What the node asked for, as far as it is there.
    fn wanted<'a>(&'a self, set: &'a ResourceSet) -> Vec<(&'a str, Cow<'a, Resource>)> {
        match &self.subscription {
            Subscription::None => Vec::new(),
            Subscription::All => set
                .iter()
                .map(|(name, resource)| (name.as_str(), Cow::Borrowed(resource)))
                .collect(),
            Subscription::Names(names) => names
                .iter()
                .filter_map(|name| Some((name.as_str(), self.find(set, name)?)))
                .collect(),
        }
    }

    /// A cluster without an assignment would hold up the node: it has no endpoints then.
    fn find<'a>(&self, set: &'a ResourceSet, name: &str) -> Option<Cow<'a, Resource>> {
        if let Some(resource) = set.get(name) {
            return Some(Cow::Borrowed(resource));
        }
        let none = || Cow::Owned(Resource::new(encode::endpoints(name, &[])));
        (self.kind == ResourceType::Endpoints).then(none)
    }
}

/// A response and which of its resources the node has not seen like this.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) response: DiscoveryResponse,
    pub(super) news: Vec<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use prost_types::Any;

    use super::*;

    fn set(resources: &[(&str, &str)]) -> ResourceSet {
        let resources: BTreeMap<_, _> = resources
            .iter()
            .map(|(name, content)| {
                let any = Any {
                    type_url: String::new(),
                    value: content.as_bytes().to_vec(),
                };
                ((*name).to_owned(), Resource::new(any))
            })
            .collect();
        ResourceSet::new(resources)
    }

    fn request(nonce: &str, names: &[&str]) -> DiscoveryRequest {
        DiscoveryRequest {
            response_nonce: nonce.to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn ack_that_grows_names_is_answered_with_the_new_ones() {
        let mut state = TypeState::new(ResourceType::Routes);
        let set = set(&[("a", "1"), ("b", "2")]);
        assert_eq!(state.on_request(&request("", &["a"])), Answer::Subscribed);
        assert_eq!(state.response(&set, "n1").unwrap().news, ["a"]);
        let answer = state.on_request(&request("n1", &["a", "b"]));
        assert_eq!(answer, Answer::Acked(set.version().to_owned()));
        let update = state.response(&set, "n2").unwrap();
        assert_eq!(update.news, ["b"]);
        assert_eq!(update.response.resources.len(), 1);
        state.on_request(&request("n2", &["a", "b"]));
        assert!(state.response(&set, "n3").is_none());
    }

    #[test]
    fn stale_nonce_is_ignored() {
        let mut state = TypeState::new(ResourceType::Cluster);
        state.on_request(&request("", &[]));
        state.response(&set(&[("a", "1")]), "n1").unwrap();
        state.response(&set(&[("a", "2")]), "n2").unwrap();
        assert_eq!(state.on_request(&request("n1", &["x"])), Answer::Stale);
        assert!(state.response(&set(&[("a", "2")]), "n3").is_none());
    }

    #[test]
    fn wildcard_gets_everything_and_deletions() {
        let mut state = TypeState::new(ResourceType::Listener);
        state.on_request(&request("", &[]));
        let update = state
            .response(&set(&[("a", "1"), ("b", "1")]), "n1")
            .unwrap();
        assert_eq!(update.response.resources.len(), 2);
        let update = state.response(&set(&[("b", "1")]), "n2").unwrap();
        assert_eq!(update.response.resources.len(), 1);
        assert!(update.news.is_empty());
        assert!(state.response(&set(&[("b", "1")]), "n3").is_none());
    }

    #[test]
    fn empty_world_is_an_answer_too() {
        let mut state = TypeState::new(ResourceType::Cluster);
        assert!(state.response(&set(&[]), "n0").is_none());
        state.on_request(&request("", &["*"]));
        assert!(state.response(&set(&[]), "n1").is_some());
        state.on_request(&request("n1", &["*"]));
        assert!(state.response(&set(&[]), "n2").is_none());
    }

    #[test]
    fn unknown_endpoints_are_answered_as_empty() {
        let mut state = TypeState::new(ResourceType::Endpoints);
        state.on_request(&request("", &["nowhere"]));
        let update = state.response(&set(&[]), "n1").unwrap();
        assert_eq!(update.news, ["nowhere"]);
    }

    #[test]
    fn endpoints_are_repeated_for_a_new_cluster() {
        let mut state = TypeState::new(ResourceType::Endpoints);
        let set = set(&[("a", "1"), ("b", "2")]);
        state.on_request(&request("", &["a", "b"]));
        state.response(&set, "n1").unwrap();
        assert!(state.response(&set, "n2").is_none());
        state.repeat(&["b".to_owned(), "c".to_owned()]);
        assert_eq!(state.response(&set, "n2").unwrap().news, ["b"]);
        assert!(state.response(&set, "n3").is_none());
    }

    #[test]
    fn refused_version_is_not_sent_again_until_it_changes() {
        let mut state = TypeState::new(ResourceType::Cluster);
        state.on_request(&request("", &[]));
        let bad = set(&[("a", "bad")]);
        state.response(&bad, "n1").unwrap();
        let nack = DiscoveryRequest {
            error_detail: Some(Default::default()),
            ..request("n1", &[])
        };
        assert_eq!(
            state.on_request(&nack),
            Answer::Nacked(bad.version().to_owned())
        );
        assert!(state.response(&bad, "n2").is_none());
        assert!(state.response(&set(&[("a", "good")]), "n2").is_some());
    }
}
