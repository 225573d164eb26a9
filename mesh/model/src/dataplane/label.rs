//! Labels of workloads, by Kubernetes' rules, so that they can be carried there.

use std::str::FromStr;

/// One label of a workload: `version=v2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// `version`
    pub key: String,
    /// `v2`
    pub value: String,
}

/// A text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not of the form `KEY=VALUE`, each of letters and digits, with `-`, `_`, `.` inside"
)]
pub struct InvalidLabel(String);

impl FromStr for Label {
    type Err = InvalidLabel;

    /// Reads `KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let parts = text.split_once('=');
        let good = parts.filter(|(key, value)| is_label_key(key) && is_label_value(value));
        let (key, value) = good.ok_or_else(|| InvalidLabel(text.to_owned()))?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Whether it can be the key of a label. A prefix before a `/` is part of it.
pub fn is_label_key(text: &str) -> bool {
    is_part(text, "-_./", 317)
}

/// Whether it can be the value of a label.
pub fn is_label_value(text: &str) -> bool {
    is_part(text, "-_.", 63)
}

fn is_part(text: &str, extra: &str, longest: usize) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inside)
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text.len() <= longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_key_and_a_value() {
        let label: Label = "app.kubernetes.io/version=v2.1".parse().unwrap();
        assert_eq!(label.key, "app.kubernetes.io/version");
        assert_eq!(label.value, "v2.1");
        let long = format!("version={}", "v".repeat(64));
        for wrong in [
            "version",
            "=v2",
            "version=",
            "version=v 2",
            "a=b=c",
            "-a=b",
            &long,
        ] {
            let error = wrong.parse::<Label>().unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}
