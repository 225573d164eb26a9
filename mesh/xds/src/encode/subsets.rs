//! What a route's backends select endpoints by.

use std::collections::BTreeMap;

use weft_model::dataplane::Target;

/// The labels behind the subsets of all targets: Envoy selects by them, not by a subset's name.
#[derive(Clone, Debug, Default)]
pub struct Subsets(BTreeMap<(String, String), BTreeMap<String, String>>);

impl Subsets {
    /// The subsets of these targets.
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut found = Self::default();
        for target in targets {
            for (name, labels) in &target.subsets {
                found.insert(&target.authority, name, labels.clone());
            }
        }
        found
    }

    pub(crate) fn insert(&mut self, authority: &str, name: &str, labels: BTreeMap<String, String>) {
        let key = (authority.to_owned(), name.to_owned());
        self.0.insert(key, labels);
    }

    pub(super) fn labels(&self, authority: &str, name: &str) -> Option<&BTreeMap<String, String>> {
        self.0.get(&(authority.to_owned(), name.to_owned()))
    }
}
