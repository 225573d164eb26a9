//! Which log lines are written, and how that changes while the process runs.

use std::{env, sync::OnceLock};

use parking_lot::Mutex;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, reload};

/// The filter of this process' logs, once [`super::init`] has set it up.
static LOGGED: OnceLock<Logged> = OnceLock::new();

type Replace = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct Logged {
    replace: Replace,
    levels: Vec<(&'static str, LevelFilter)>,
    current: Mutex<String>,
}

/// Why the filter stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be read.
    #[error(
        "`{part}` is neither a level nor `TARGET=LEVEL`; levels are off, error, warn, info, debug, trace"
    )]
    Invalid {
        /// The part that cannot be read.
        part: String,
    },
    /// The process logs by other means.
    #[error("this process has not set up its logs")]
    Unset,
    /// The filter cannot be replaced.
    #[error("cannot replace the filter")]
    Reload(#[from] reload::Error),
}

/// What is logged: `info,weft::access=off`. `None` if [`super::init`] has not set up logs.
pub fn current() -> Option<String> {
    LOGGED.get().map(|logged| logged.current.lock().clone())
}

/// Logs from now on what `text` says: a level, and levels of targets, separated by commas, as in
/// `RUST_LOG`. Levels that the process was started with hold on for targets that it does not name.
///
/// # Errors
/// If it cannot be read, or logs are not set up.
pub fn set(text: &str) -> Result<(), FilterError> {
    check(text)?;
    let logged = LOGGED.get().ok_or(FilterError::Unset)?;
    let text = completed(text, &logged.levels);
    let mut current = logged.current.lock();
    (logged.replace)(EnvFilter::new(&text))?;
    *current = text;
    Ok(())
}

/// The filter that the process begins with, and how it is replaced.
pub(super) fn first<S: Subscriber>(
    levels: &[(&'static str, LevelFilter)],
) -> (reload::Layer<EnvFilter, S>, reload::Handle<EnvFilter, S>) {
    reload::Layer::new(EnvFilter::new(completed(&from_environment(), levels)))
}

/// Lets [`set`] replace the filter from now on.
pub(super) fn keep<S: Subscriber>(
    handle: reload::Handle<EnvFilter, S>,
    levels: &[(&'static str, LevelFilter)],
) {
    let _ = LOGGED.set(Logged {
        replace: Box::new(move |filter| handle.reload(filter)),
        levels: levels.to_vec(),
        current: Mutex::new(completed(&from_environment(), levels)),
    });
}

/// `RUST_LOG`, unless it is missing or makes no sense.
fn from_environment() -> String {
    let given = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    match EnvFilter::builder().parse(&given) {
        Ok(_) if !given.trim().is_empty() => given,
        _ => "info".to_owned(),
    }
}

/// With the levels of targets that `text` says nothing about.
fn completed(text: &str, levels: &[(&'static str, LevelFilter)]) -> String {
    let mut all = text.to_owned();
    for (target, level) in levels {
        if !text.contains(target) {
            all.push_str(&format!(",{target}={level}"));
        }
    }
    all
}

/// `EnvFilter` takes what it does not know for the name of a target.
fn check(text: &str) -> Result<(), FilterError> {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    for part in text.split(',').map(str::trim) {
        let is_valid = match part.split_once('=') {
            Some((target, level)) => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
                !target.is_empty() && target.chars().all(is_plain) && is_level(level)
            }
            None => is_level(part),
        };
        if !is_valid {
            let part = part.to_owned();
            return Err(FilterError::Invalid { part });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_and_targets_with_levels_are_filters() {
        for good in ["debug", "info,weft::access=off", "OFF", " warn , h2=trace"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "debgu",
            "weft",
            "=info",
            "weft=",
            "info,",
            "a[b]=info",
            "weft=loud",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_that_is_named_keeps_the_level_it_is_given() {
        let levels = [("weft::access", LevelFilter::OFF)];
        assert_eq!(completed("info", &levels), "info,weft::access=off");
        let named = "info,weft::access=debug";
        assert_eq!(completed(named, &levels), named);
    }
}
