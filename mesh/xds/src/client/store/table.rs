//! Accepted resources of one type, by name.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Any;

use crate::decode::{self, Invalid};

/// One accepted resource, decoded and as it came.
#[derive(Clone, Debug)]
pub(super) struct Held<T> {
    pub(super) value: T,
    pub(super) any: Any,
}

pub(super) type Table<T> = BTreeMap<String, Held<T>>;

pub(super) fn raw<T>(table: &Table<T>) -> Vec<Any> {
    table.values().map(|held| held.any.clone()).collect()
}

/// Puts the good resources into `table` and returns what is wrong with the others.
pub(super) fn fill<T>(
    table: &mut Table<T>,
    refused: &mut BTreeSet<String>,
    resources: Vec<Any>,
    full: bool,
    read: impl Fn(&Any) -> Result<(String, T), Invalid>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut named = BTreeSet::new();
    let mut nameless = false;
    for any in resources {
        match read(&any) {
            Ok((name, value)) => {
                refused.remove(&name);
                named.insert(name.clone());
                table.insert(name, Held { value, any });
            }
            Err(invalid) => {
                let name = decode::name(&any);
                let shown = name
                    .as_deref()
                    .unwrap_or("resource without a readable name");
                problems.push(format!("{shown}: {invalid}"));
                match name {
                    Some(name) => {
                        if !table.contains_key(&name) {
                            refused.insert(name.clone());
                        }
                        named.insert(name);
                    }
                    // It may be any of those that seem to be gone.
                    None => nameless = true,
                }
            }
        }
    }
    if full && !nameless {
        table.retain(|name, _| named.contains(name));
    }
    problems
}
