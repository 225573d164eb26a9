//! What decisions cost: nanoseconds per whole call, on one thread.
//!
//! `cargo run --release -p weft-policy --example cost`
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};
use weft_model::dataplane::{
    AdaptiveConcurrency, AuthzRule, Backend, Endpoint, Inbound, LoadBalancing, MethodMatch,
    MethodRule, OutlierDetection, RateLimit, RateLimitKey, RetryPolicy, RouteRule, Snapshot,
    Target, TokenBucket,
};
use weft_policy::{
    AttemptEnd, Engine, InboundEngine, InboundFacts, NoHeaders, Outcome, Pick, RequestFacts, code,
};

const CALLS: u32 = 1_000_000;
const AUTHORITY: &str = "payments:7070";
const PATH: &str = "/sockshop.payments.v1.PaymentService/Authorize";
const CALLER: &str = "spiffe://sockshop.local/ns/shop/sa/orders";

fn main() {
    for (name, policy) in [
        ("least request", LoadBalancing::LeastRequest),
        ("round robin", LoadBalancing::RoundRobin),
        (
            "ring hash",
            LoadBalancing::RingHash {
                header: "x-user".to_owned(),
                minimum_ring_size: 1024,
                maximum_ring_size: 8192,
            },
        ),
    ] {
        outbound(name, target(policy));
    }
    let mut routed = target(LoadBalancing::LeastRequest);
    routed.routes = vec![RouteRule {
        name: "all".to_owned(),
        backends: vec![Backend {
            authority: AUTHORITY.to_owned(),
            subset: None,
            weight: 1,
        }],
        ..RouteRule::default()
    }];
    outbound("least request, one route", routed);
    inbound("caller rules", rules());
    let mut limited = rules();
    limited.rate_limits = vec![RateLimit {
        name: "orders".to_owned(),
        principals: vec![],
        paths: vec![],
        key: RateLimitKey::Caller,
        token_bucket: TokenBucket {
            max_tokens: u32::MAX,
            tokens_per_fill: 1,
            fill_interval: Duration::from_secs(1),
        },
    }];
    limited.adaptive_concurrency = Some(AdaptiveConcurrency::default());
    inbound("caller rules, rate limit, shedding", limited);
}

/// Runs `call` until it is warm, then measures it.
fn measure(name: &str, mut call: impl FnMut(Instant)) {
    let mut now = Instant::now();
    let mut run = |calls: u32| {
        for _ in 0..calls {
            now += Duration::from_micros(20);
            call(now);
        }
    };
    run(CALLS / 10);
    let started = Instant::now();
    run(CALLS);
    let each = started.elapsed().as_nanos() / u128::from(CALLS);
    println!("{each:>5} ns  {name}");
}

fn target(load_balancing: LoadBalancing) -> Target {
    let retry = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(25),
        max_backoff: Duration::from_millis(250),
        backoff_multiplier_permille: 2000,
        retryable_status_codes: vec![code::UNAVAILABLE],
        per_attempt_timeout: Some(Duration::from_secs(1)),
    };
    Target {
        authority: AUTHORITY.to_owned(),
        service: "payments".to_owned(),
        identity: "spiffe://sockshop.local/ns/shop/sa/payments".to_owned(),
        methods: vec![MethodRule {
            matches: MethodMatch::default(),
            timeout: Some(Duration::from_secs(5)),
            retry_policy: Some(retry),
            ..MethodRule::default()
        }],
        outlier_detection: Some(OutlierDetection {
            consecutive_errors: Some(5),
            ..OutlierDetection::default()
        }),
        load_balancing,
        endpoints: (1..=3)
            .map(|n| {
                Endpoint::new(
                    SocketAddr::from(([127, 0, 0, 1], n)),
                    format!("payments-{n}"),
                )
            })
            .collect(),
        ..Target::default()
    }
}

fn outbound(name: &str, target: Target) {
    let mut engine = Engine::default();
    engine.update(&Snapshot {
        targets: [(AUTHORITY.to_owned(), target)].into(),
        inbound: None,
    });
    let mut rng = SmallRng::seed_from_u64(1);
    measure(&format!("outbound: {name}"), |now| {
        let facts = RequestFacts {
            authority: black_box(AUTHORITY),
            path: black_box(PATH),
            grpc_timeout: Some("1S"),
            ..RequestFacts::default()
        };
        let mut call = engine.admit(facts, now, &mut rng).expect("there is room");
        let Pick::Attempt(attempt) = engine.pick(&mut call, now, &mut rng) else {
            return;
        };
        let now = now + Duration::from_micros(10);
        let end = AttemptEnd {
            is_replayable: true,
            now,
        };
        engine.attempt_ended(&mut call, &attempt, &Outcome::Headers, end, &mut rng);
        engine.release(attempt);
        engine.finished(&mut call, code::OK, false, now);
        black_box(&call.record);
    });
}

fn rules() -> Inbound {
    Inbound {
        service: "payments".to_owned(),
        allow_rules: vec![AuthzRule {
            name: "orders-pays".to_owned(),
            principals: vec![CALLER.to_owned()],
            paths: vec!["/sockshop.payments.v1.PaymentService/*".to_owned()],
            headers: vec![],
        }],
        ..Inbound::default()
    }
}

fn inbound(name: &str, rules: Inbound) {
    let mut engine = InboundEngine::default();
    engine.update(Some(&rules));
    let mut rng = SmallRng::seed_from_u64(1);
    measure(&format!("inbound: {name}"), |now| {
        let facts = InboundFacts {
            caller: black_box(CALLER),
            path: black_box(PATH),
            grpc_timeout: Some("1S"),
            criticality: Some("CRITICAL"),
            headers: &NoHeaders,
        };
        let admission = engine.admit(facts, now, &mut rng).expect("it may pass");
        let now = now + Duration::from_micros(10);
        engine.answered(&admission, now);
        engine.finished(&admission, code::OK, now);
        black_box(&admission.record);
    });
}
