//! Local rate limits: token buckets by caller, method or header.
//!
//! A call needs a token from every limit that matches it and takes none where one refuses. The number
//! of buckets is bounded: full ones, which are as good as new, are forgotten first; when there are none
//! all further keys share one bucket, so that whoever invents keys gains nothing and costs no memory.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use weft_model::dataplane::{RateLimit, RateLimitKey};

use crate::{facts::InboundFacts, inbound::RateLimitStatus, matcher::any};

mod bucket;

use bucket::Bucket;

/// How many keys of one limit have a bucket of their own.
const MOST_BUCKETS: usize = 10_000;

/// How often buckets are looked through for full ones.
const SWEEP: Duration = Duration::from_secs(1);

/// The limits of a workload.
#[derive(Debug, Default)]
pub(crate) struct RateLimits(Vec<Limit>);

#[derive(Debug)]
struct Limit {
    name: Arc<str>,
    rule: RateLimit,
    /// For [`RateLimitKey::All`], and for keys beyond the bound.
    shared: Option<Bucket>,
    /// Callers choose the keys: the standard hasher keeps them from choosing ones that collide.
    buckets: HashMap<Box<str>, Bucket>,
    swept: Option<Instant>,
}

/// A limit has no token left.
#[derive(Debug)]
pub(crate) struct Exhausted {
    pub(crate) status: RateLimitStatus,
    /// Until the next token. `None`: there will be none.
    pub(crate) wait: Option<Duration>,
}

impl RateLimits {
    /// Takes new limits. Buckets of those that stay as they were are kept.
    pub(crate) fn update(&mut self, rules: &[RateLimit]) {
        let mut old = std::mem::take(&mut self.0);
        self.0 = rules
            .iter()
            .map(
                |rule| match old.iter().position(|limit| limit.rule == *rule) {
                    Some(index) => old.swap_remove(index),
                    None => Limit::new(rule),
                },
            )
            .collect();
    }

    /// The places of the limits that match all calls of a caller and path.
    pub(crate) fn matching(&self, caller: &str, path: &str) -> Vec<usize> {
        let matches =
            |limit: &Limit| any(&limit.rule.principals, caller) && any(&limit.rule.paths, path);
        let limits = self.0.iter().enumerate();
        let matching = limits.filter(|(_, limit)| matches(limit));
        matching.map(|(index, _)| index).collect()
    }

    /// Whether every one of the limits has a token. Returns where the tightest will stand.
    pub(crate) fn check(
        &mut self,
        limits: &[usize],
        facts: &InboundFacts<'_>,
        now: Instant,
    ) -> Result<Option<RateLimitStatus>, Box<Exhausted>> {
        let mut tightest: Option<RateLimitStatus> = None;
        for &index in limits {
            let Some(limit) = self.0.get_mut(index) else {
                continue;
            };
            let bucket = limit.bucket(facts, now);
            let (tokens, wait) = (bucket.tokens(), bucket.until_next(now));
            let mut afterwards = bucket.clone();
            afterwards.take();
            let reset = afterwards.until_full(now);
            let status = RateLimitStatus {
                name: Arc::clone(&limit.name),
                limit: limit.rule.token_bucket.max_tokens,
                remaining: afterwards.tokens(),
                reset: if tokens == 0 { wait } else { reset }.unwrap_or(Duration::MAX),
            };
            if tokens == 0 {
                return Err(Box::new(Exhausted { status, wait }));
            }
            if tightest
                .as_ref()
                .is_none_or(|other| status.remaining < other.remaining)
            {
                tightest = Some(status);
            }
        }
        Ok(tightest)
    }

    /// Takes a token from each of the limits, after [`Self::check`].
    pub(crate) fn take(&mut self, limits: &[usize], facts: &InboundFacts<'_>, now: Instant) {
        for &index in limits {
            if let Some(limit) = self.0.get_mut(index) {
                limit.bucket(facts, now).take();
            }
        }
    }

    /// Each limit's name and number of buckets.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        let size = |limit: &Limit| limit.buckets.len() + usize::from(limit.shared.is_some());
        self.0.iter().map(move |limit| (&*limit.name, size(limit)))
    }
}

impl Limit {
    fn new(rule: &RateLimit) -> Self {
        Self {
            name: rule.name.as_str().into(),
            rule: rule.clone(),
            shared: None,
            buckets: HashMap::new(),
            swept: None,
        }
    }

    /// The bucket of a call, with what was filled in since it was last used.
    fn bucket(&mut self, facts: &InboundFacts<'_>, now: Instant) -> &mut Bucket {
        let found;
        let key = match &self.rule.key {
            RateLimitKey::All => None,
            RateLimitKey::Caller => Some(facts.caller),
            RateLimitKey::Method => Some(facts.path),
            RateLimitKey::Header(name) => {
                found = facts.headers.get(name).unwrap_or_default();
                Some(&*found)
            }
        };
        let bucket = match key.filter(|key| self.has_own(key, now)) {
            Some(key) => self.buckets.get_mut(key),
            None => None,
        };
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => {
                let settings = &self.rule.token_bucket;
                self.shared
                    .get_or_insert_with(|| Bucket::new(settings, now))
            }
        };
        bucket.fill(now);
        bucket
    }

    /// Whether the key has a bucket of its own, which it is given where there is room.
    fn has_own(&mut self, key: &str, now: Instant) -> bool {
        if self.buckets.contains_key(key) {
            return true;
        }
        if self.buckets.len() >= MOST_BUCKETS {
            self.sweep(now);
        }
        if self.buckets.len() >= MOST_BUCKETS {
            return false;
        }
        let bucket = Bucket::new(&self.rule.token_bucket, now);
        self.buckets.insert(key.into(), bucket);
        true
    }

    /// Forgets full buckets, but not over and over while there are none.
    fn sweep(&mut self, now: Instant) {
        let since = |at| now.saturating_duration_since(at);
        if self.swept.is_some_and(|at| since(at) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.buckets.retain(|_, bucket| {
            bucket.fill(now);
            !bucket.is_full()
        });
    }
}

#[cfg(test)]
mod tests {
    use weft_model::dataplane::TokenBucket;

    use super::*;
    use crate::facts::NoHeaders;

    fn limit(key: RateLimitKey, max_tokens: u32) -> RateLimit {
        RateLimit {
            name: "some".to_owned(),
            principals: vec![],
            paths: vec![],
            key,
            token_bucket: TokenBucket {
                max_tokens,
                tokens_per_fill: max_tokens,
                fill_interval: Duration::from_secs(1),
            },
        }
    }

    fn limits(rules: &[RateLimit]) -> RateLimits {
        let mut limits = RateLimits::default();
        limits.update(rules);
        limits
    }

    fn facts<'a>(caller: &'a str, path: &'a str) -> InboundFacts<'a> {
        InboundFacts {
            caller,
            path,
            grpc_timeout: None,
            criticality: None,
            headers: &NoHeaders,
        }
    }

    fn ask(limits: &mut RateLimits, facts: &InboundFacts<'_>, now: Instant) -> Option<u32> {
        let matching = limits.matching(facts.caller, facts.path);
        let status = limits.check(&matching, facts, now).ok()?;
        limits.take(&matching, facts, now);
        Some(status.map_or(u32::MAX, |status| status.remaining))
    }

    #[test]
    fn keys_share_a_bucket_or_have_their_own() {
        let now = Instant::now();
        for (key, others) in [
            (RateLimitKey::All, [None, None]),
            (RateLimitKey::Caller, [Some(0), None]),
            (RateLimitKey::Method, [None, Some(0)]),
        ] {
            let mut limits = limits(&[limit(key.clone(), 1)]);
            assert_eq!(ask(&mut limits, &facts("a", "/m"), now), Some(0));
            assert_eq!(ask(&mut limits, &facts("a", "/m"), now), None);
            assert_eq!(
                ask(&mut limits, &facts("b", "/m"), now),
                others[0],
                "{key:?}"
            );
            assert_eq!(
                ask(&mut limits, &facts("a", "/n"), now),
                others[1],
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_call_that_one_limit_refuses_takes_no_token_of_another() {
        let now = Instant::now();
        let mut limits = limits(&[limit(RateLimitKey::All, 3), limit(RateLimitKey::Caller, 1)]);
        assert_eq!(ask(&mut limits, &facts("a", "/m"), now), Some(0));
        assert_eq!(ask(&mut limits, &facts("a", "/m"), now), None);
        assert_eq!(ask(&mut limits, &facts("b", "/m"), now), Some(0));
        assert_eq!(ask(&mut limits, &facts("c", "/m"), now), Some(0));
        assert_eq!(ask(&mut limits, &facts("d", "/m"), now), None);
    }

    #[test]
    fn invented_keys_share_one_bucket_once_there_are_too_many() {
        let mut now = Instant::now();
        let key = RateLimitKey::Header("x-key".to_owned());
        let mut limits = limits(&[limit(key, 2)]);
        let mut passed = 0;
        for n in 0..2 * MOST_BUCKETS {
            let (value, mut facts) = (n.to_string(), facts("a", "/m"));
            let headers: &[(&str, &str)] = &[("x-key", &value)];
            facts.headers = &headers;
            passed += usize::from(ask(&mut limits, &facts, now).is_some());
        }
        assert_eq!(passed, MOST_BUCKETS + 2);
        assert!(limits.0[0].buckets.len() <= MOST_BUCKETS);
        now += Duration::from_secs(2);
        assert!(ask(&mut limits, &facts("a", "/m"), now).is_some());
        assert!(limits.0[0].buckets.len() < 10, "full ones are forgotten");
    }

    #[test]
    fn a_limit_that_stays_keeps_its_buckets() {
        let now = Instant::now();
        let rule = limit(RateLimitKey::All, 1);
        let mut limits = limits(std::slice::from_ref(&rule));
        ask(&mut limits, &facts("a", "/m"), now);
        limits.update(&[limit(RateLimitKey::Caller, 9), rule.clone()]);
        assert_eq!(ask(&mut limits, &facts("a", "/m"), now), None);
        limits.update(&[limit(RateLimitKey::All, 2)]);
        assert_eq!(ask(&mut limits, &facts("a", "/m"), now), Some(1));
    }
}
