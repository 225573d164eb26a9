//! A target, its engine and a clock that only moves when told to.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use weft_model::dataplane::{
    Endpoint, MethodMatch, MethodRule, OutlierDetection, RetryPolicy, RouteRule, Snapshot, Target,
};
use weft_policy::{
    Attempt, AttemptEnd, Call, Engine, Failure, Next, Outcome, Pick, RequestFacts, code,
    retry::Pushback,
};

pub const AUTHORITY: &str = "carts:7070";

pub struct World {
    pub engine: Engine,
    pub now: Instant,
    pub rng: StdRng,
}

pub fn endpoint(n: u16) -> Endpoint {
    let address = SocketAddr::from(([127, 0, 0, 1], n));
    Endpoint::new(address, format!("carts-{n}"))
}

pub fn retry_policy(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier_permille: 2000,
        retryable_status_codes: vec![code::UNAVAILABLE],
        per_attempt_timeout: None,
    }
}

/// `Get` is retried and has 2 s, everything else has 5 s and is not.
pub fn target(endpoints: u16) -> Target {
    let rule = |method: Option<&str>, timeout, retry_policy| MethodRule {
        matches: MethodMatch {
            service: method.map(|_| "a.Carts".to_owned()),
            method: method.map(str::to_owned),
        },
        timeout: Some(Duration::from_secs(timeout)),
        retry_policy,
        ..MethodRule::default()
    };
    Target {
        authority: AUTHORITY.to_owned(),
        service: "carts".to_owned(),
        identity: "spiffe://a/ns/b/sa/carts".to_owned(),
        methods: vec![
            rule(Some("Get"), 2, Some(retry_policy(3))),
            rule(None, 5, None),
        ],
        retry_throttling: None,
        outlier_detection: Some(OutlierDetection {
            consecutive_errors: Some(3),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }),
        endpoints: (1..=endpoints).map(endpoint).collect(),
        ..Target::default()
    }
}

/// The target with one route.
pub fn routed(endpoints: u16, route: RouteRule) -> Target {
    Target {
        routes: vec![route],
        ..target(endpoints)
    }
}

pub fn unavailable() -> Outcome {
    Outcome::TrailersOnly {
        code: code::UNAVAILABLE,
        pushback: Pushback::Absent,
    }
}

impl World {
    pub fn new(endpoints: u16) -> Self {
        Self::with([target(endpoints)])
    }

    pub fn with(targets: impl IntoIterator<Item = Target>) -> Self {
        let mut world = Self {
            engine: Engine::default(),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(42),
        };
        world.configure(targets);
        world
    }

    pub fn set(&mut self, endpoints: u16) {
        self.configure([target(endpoints)]);
    }

    pub fn configure(&mut self, targets: impl IntoIterator<Item = Target>) {
        let targets = targets.into_iter();
        let targets = targets.map(|target| (target.authority.clone(), target));
        self.engine.update(&Snapshot {
            targets: targets.collect(),
            inbound: None,
        });
    }

    pub fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub fn call(&mut self, method: &str) -> Call {
        self.call_with(method, &[]).unwrap()
    }

    pub fn call_with(&mut self, method: &str, headers: &[(&str, &str)]) -> Result<Call, Failure> {
        let path = format!("/a.Carts/{method}");
        let facts = RequestFacts {
            authority: AUTHORITY,
            path: &path,
            headers: &headers,
            ..RequestFacts::default()
        };
        self.engine.admit(facts, self.now, &mut self.rng)
    }

    pub fn picked(&mut self, call: &mut Call) -> Attempt {
        match self.engine.pick(call, self.now, &mut self.rng) {
            Pick::Attempt(attempt) => attempt,
            other => panic!("no endpoint: {other:?}"),
        }
    }

    /// Tells the outcome of an attempt and releases it.
    pub fn end(&mut self, call: &mut Call, attempt: Attempt, outcome: &Outcome) -> Next {
        let end = AttemptEnd {
            is_replayable: true,
            now: self.now,
        };
        let next = self
            .engine
            .attempt_ended(call, &attempt, outcome, end, &mut self.rng);
        self.engine.release(attempt);
        next
    }

    pub fn finish(&mut self, mut call: Call, status: i32) {
        self.engine.finished(&mut call, status, false, self.now);
    }

    /// One whole call, each attempt ended by `outcome`; what it came to, and how long it took.
    pub fn run(
        &mut self,
        method: &str,
        outcome: impl Fn(&Endpoint) -> Outcome,
    ) -> (Call, Option<Failure>) {
        let mut call = self.call(method);
        loop {
            match self.engine.pick(&mut call, self.now, &mut self.rng) {
                Pick::Fail(failure) => return (call, Some(failure)),
                Pick::Wait(until) => self.now = until,
                Pick::Attempt(attempt) => {
                    let outcome = match attempt.fault.abort {
                        Some(code) => Outcome::TrailersOnly {
                            code,
                            pushback: Pushback::Absent,
                        },
                        None => outcome(&attempt.endpoint),
                    };
                    match self.end(&mut call, attempt, &outcome) {
                        Next::Forward | Next::Await => return (call, None),
                        Next::Fail(failure) => return (call, Some(failure)),
                        Next::RetryAt(at) => self.now = self.now.max(at),
                    }
                }
            }
        }
    }
}
