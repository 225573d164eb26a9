//! Calls that arrive for a workload: rules, limits and load, in this order.

use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use weft_model::dataplane::{
    AdaptiveConcurrency, AuthzRule, Criticality, HeaderMatch, Inbound, RateLimit, RateLimitKey,
    TextMatch, TokenBucket,
};
use weft_policy::{
    Admission, Headers, InboundEngine, InboundFacts, NoHeaders, Reason, Refusal, RetryAdvice, code,
};

const EDGE: &str = "spiffe://sockshop.local/ns/shop/sa/edge";
const PLACE: &str = "/sockshop.orders.v1.OrderService/PlaceOrder";

struct Workload {
    engine: InboundEngine,
    now: Instant,
    rng: StdRng,
}

impl Workload {
    fn new(rules: &Inbound) -> Self {
        let mut engine = InboundEngine::default();
        engine.update(Some(rules));
        Self {
            engine,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(3),
        }
    }

    fn ask(&mut self, path: &str, headers: &dyn Headers) -> Result<Admission, Box<Refusal>> {
        let facts = InboundFacts {
            caller: EDGE,
            path,
            grpc_timeout: Some("2S"),
            criticality: None,
            headers,
        };
        self.engine.admit(facts, self.now, &mut self.rng)
    }

    fn place(&mut self) -> Result<Admission, Box<Refusal>> {
        self.ask(PLACE, &NoHeaders)
    }
}

fn rule(name: &str) -> AuthzRule {
    AuthzRule {
        name: name.to_owned(),
        ..AuthzRule::default()
    }
}

fn open() -> Inbound {
    Inbound {
        service: "orders".to_owned(),
        allow_rules: vec![rule("all")],
        ..Inbound::default()
    }
}

fn limit(max_tokens: u32) -> RateLimit {
    RateLimit {
        name: "edge".to_owned(),
        principals: vec![EDGE.to_owned()],
        paths: vec![],
        key: RateLimitKey::All,
        token_bucket: TokenBucket {
            max_tokens,
            tokens_per_fill: 1,
            fill_interval: Duration::from_millis(500),
        },
    }
}

#[test]
fn an_admitted_call_knows_its_rule_deadline_and_grade() {
    let mut workload = Workload::new(&open());
    let admission = workload.place().unwrap();
    assert_eq!(&*admission.record.rule, "all");
    assert_eq!(&*admission.record.target, "orders");
    assert_eq!(admission.record.caller.as_deref(), Some(EDGE));
    let left = admission.deadline.remaining(workload.now);
    assert_eq!(left, Some(Duration::from_secs(2)));
    assert_eq!(admission.criticality, Criticality::Critical);
    assert_ne!(admission.record.id, workload.place().unwrap().record.id);
}

#[test]
fn without_rules_nothing_passes() {
    let mut engine = InboundEngine::default();
    let facts = InboundFacts {
        caller: EDGE,
        path: PLACE,
        grpc_timeout: None,
        criticality: None,
        headers: &NoHeaders,
    };
    let mut rng = StdRng::seed_from_u64(3);
    let refusal = engine.admit(facts, Instant::now(), &mut rng).unwrap_err();
    assert_eq!(refusal.failure.reason, Reason::NoConfiguration);
}

#[test]
fn a_deny_rule_by_header_is_asked_for_every_call_anew() {
    let mut rules = open();
    let mut deny = rule("no-robots");
    deny.headers = vec![HeaderMatch {
        name: "user-agent".to_owned(),
        value: TextMatch::Prefix("robot".to_owned()),
    }];
    rules.deny_rules = vec![deny];
    let mut workload = Workload::new(&rules);
    let robot: &[(&str, &str)] = &[("user-agent", "robot/1")];
    let person: &[(&str, &str)] = &[("user-agent", "grpc-rust")];
    for _ in 0..2 {
        let refusal = workload.ask(PLACE, &robot).unwrap_err();
        assert_eq!(&*refusal.record.rule, "no-robots");
        assert_eq!(refusal.failure.code, code::PERMISSION_DENIED);
        assert!(workload.ask(PLACE, &person).is_ok());
    }
}

#[test]
fn rules_on_trial_let_calls_pass_and_tell() {
    let mut rules = open();
    rules.allow_rules.clear();
    rules.is_dry_run = true;
    let mut workload = Workload::new(&rules);
    let admission = workload.place().unwrap();
    let failure = admission.would_be_refused.as_ref().unwrap();
    assert_eq!(failure.reason, Reason::CallerNotAllowed);
    assert!(failure.message.contains("default-deny"), "{failure}");
    rules.is_dry_run = false;
    workload.engine.update(Some(&rules));
    assert!(workload.place().is_err());
}

#[test]
fn an_exhausted_limit_says_when_the_next_token_comes() {
    let mut rules = open();
    rules.rate_limits = vec![limit(2)];
    let mut workload = Workload::new(&rules);
    let status = workload.place().unwrap().rate_limit.unwrap();
    assert_eq!((status.limit, status.remaining), (2, 1));
    workload.place().unwrap();
    workload.now += Duration::from_millis(100);
    let refusal = workload.place().unwrap_err();
    assert_eq!(refusal.failure.code, code::RESOURCE_EXHAUSTED);
    let wait = Duration::from_millis(400);
    assert_eq!(refusal.retry, Some(RetryAdvice::After(wait)));
    let status = refusal.rate_limit.unwrap();
    assert_eq!((status.remaining, status.reset), (0, wait));
    assert_eq!(&*refusal.record.rule, "edge");
    workload.now += wait;
    assert!(workload.place().is_ok());
}

#[test]
fn who_may_not_call_takes_no_token() {
    let mut rules = open();
    rules.rate_limits = vec![limit(1)];
    rules.deny_rules = vec![AuthzRule {
        paths: vec!["*/Cancel".to_owned()],
        ..rule("no-cancel")
    }];
    let mut workload = Workload::new(&rules);
    assert!(workload.ask("/a.B/Cancel", &NoHeaders).is_err());
    assert!(workload.place().is_ok());
}

#[test]
fn what_exceeds_the_concurrency_limit_is_shed_with_pushback_and_takes_no_token() {
    let mut rules = open();
    rules.rate_limits = vec![limit(1000)];
    rules.adaptive_concurrency = Some(AdaptiveConcurrency::default());
    let mut workload = Workload::new(&rules);
    let mut admitted = Vec::new();
    let refusal = loop {
        match workload.place() {
            Ok(admission) => admitted.push(admission),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.failure.reason, Reason::Overloaded);
    assert_eq!(refusal.failure.code, code::UNAVAILABLE);
    assert!(matches!(refusal.retry, Some(RetryAdvice::After(_))));
    let last = admitted.pop().unwrap();
    let remaining = last.rate_limit.as_ref().unwrap().remaining;
    assert_eq!(remaining as usize, 1000 - admitted.len() - 1);

    workload.engine.finished(&last, code::OK, workload.now);
    workload.engine.finished(&last, code::OK, workload.now);
    assert!(workload.place().is_ok());
    assert!(workload.place().is_err());
}

#[test]
fn a_stream_takes_a_place_only_until_it_begins() {
    let mut rules = open();
    rules.adaptive_concurrency = Some(AdaptiveConcurrency::default());
    let mut workload = Workload::new(&rules);
    let streams: Vec<Admission> = (0..500)
        .map(|_| {
            let admission = workload.place().unwrap();
            workload.now += Duration::from_millis(1);
            workload.engine.answered(&admission, workload.now);
            admission
        })
        .collect();
    assert_eq!(workload.engine.status().in_flight, 0);
    let limit = workload.engine.status().concurrency_limit;
    workload.now += Duration::from_secs(3600);
    for stream in &streams {
        workload.engine.finished(stream, code::OK, workload.now);
    }
    assert!(workload.place().is_ok());
    assert_eq!(workload.engine.status().concurrency_limit, limit);
}
