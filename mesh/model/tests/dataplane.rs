//! What every key of the mesh file becomes for proxies.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, time::Duration};

use weft_model::{
    Mesh, Program,
    dataplane::{
        AdaptiveConcurrency, AuthzRule, Backend, CircuitBreakers, Criticality, Discovery, DnsName,
        FailurePercentage, Fault, FaultAbort, FaultDelay, HeaderChanges, HeaderMatch, HealthCheck,
        HedgingPolicy, Inbound, LoadBalancing, Locality, MethodMatch, Mirror, OutlierDetection,
        RateLimit, RateLimitKey, RetryBudget, RouteMatch, RouteRule, SuccessRate, Target,
        TextMatch, TlsMode, TokenBucket,
    },
    inbound,
};

const HEAD: &str = "\
mesh: { trustDomain: sockshop.local, namespace: shop }
services:
  newcarts: { port: 1, serves: [sockshop.carts.v1.CartService] }
  carts:
    port: 7070
    serves: [sockshop.carts.v1.CartService]
";

/// A mesh with this in the service `carts`, and this behind the services.
fn mesh(service: &str, rest: &str) -> Mesh {
    let text = format!("{HEAD}{service}{rest}");
    // The small mesh serves no customer: what the edge would need is not asked for.
    let problems = match Mesh::parse_checked(&text, "mesh.yaml", contracts::pool()) {
        Ok(mesh) => return mesh,
        Err(problems) => problems,
    };
    let others: Vec<_> = problems
        .iter()
        .filter(|p| !["no-route", "two-routes"].contains(&p.code))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    Mesh::parse(&text, "mesh.yaml").unwrap()
}

fn carts(service: &str, rest: &str) -> Target {
    let mut targets = weft_model::dataplane(&mesh(service, rest), contracts::pool());
    targets.remove("carts:7070").unwrap()
}

fn limits(service: &str) -> Inbound {
    inbound(&mesh(service, ""), "carts").unwrap()
}

#[test]
fn health_checks_let_the_probes_of_callers_in_and_of_nobody_else() {
    let with = |check: &str, rules: &str| {
        let text = format!("\x20   {check}\n\x20   authz: {{ allow_rules: [{rules}] }}\n");
        limits(&text).allow_rules
    };
    let id = "spiffe://sockshop.local/ns/shop/sa/";
    let path = "request: { paths: [/sockshop.carts.v1.CartService/GetCart] }";
    let some = format!(
        "{{ name: a, source: {{ principals: ['{id}edge', '{id}carts'] }}, {path} }}, \
         {{ name: b, source: {{ principals: ['{id}carts', 'spiffe://*'] }} }}"
    );
    let rules = with("healthCheckConfig: {}", &some);
    let added = AuthzRule {
        name: "healthCheckConfig".to_owned(),
        principals: vec![
            "spiffe://*".to_owned(),
            format!("{id}carts"),
            format!("{id}edge"),
        ],
        paths: vec!["/grpc.health.v1.Health/Check".to_owned()],
        headers: Vec::new(),
    };
    assert_eq!(rules[2..], [added]);
    let open = with(
        "healthCheckConfig: {}",
        &format!("{some}, {{ name: c, {path} }}"),
    );
    assert_eq!(open[3].principals, [""; 0], "any caller of the mesh");
    assert_eq!(with("healthCheckConfig: {}", ""), []);
    assert_eq!(with("criticality: CRITICAL", &some).len(), 2);
}

#[test]
fn the_example_of_the_reference_is_fine() {
    let text = include_str!("../README.md");
    let example = text.split("```yaml\n").nth(1).expect("an example");
    let example = example.split("```").next().unwrap();
    let problems = match Mesh::parse_checked(example, "README.md", contracts::pool()) {
        Ok(_) => return,
        Err(problems) => problems,
    };
    // It serves one contract of many.
    let others: Vec<_> = problems.iter().filter(|p| p.code != "no-route").collect();
    assert!(others.is_empty(), "{problems}");
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn labels(version: &str) -> BTreeMap<String, String> {
    [("version".to_owned(), version.to_owned())].into()
}

#[test]
fn a_service_that_says_nothing_has_safe_defaults() {
    let target = carts("", "");
    assert_eq!(target.load_balancing, LoadBalancing::LeastRequest);
    assert_eq!(target.circuit_breakers, CircuitBreakers::default());
    assert_eq!(target.panic_threshold_percent, 50);
    assert_eq!(target.outlier_detection, None);
    assert_eq!(target.health_check, None);
    assert_eq!(target.discovery, Discovery::Endpoints);
    let inbound = limits("");
    assert_eq!(inbound.default_criticality, Criticality::Critical);
    assert!(!inbound.is_dry_run);
}

#[test]
fn each_balancing_policy_has_its_settings() {
    let balancing = |policy: &str| {
        let line = format!("    loadBalancingConfig: [{{ {policy} }}]\n");
        carts(&line, "").load_balancing
    };
    assert_eq!(balancing("least_request: {}"), LoadBalancing::LeastRequest);
    assert_eq!(balancing("round_robin: {}"), LoadBalancing::RoundRobin);
    assert_eq!(balancing("pick_first: {}"), LoadBalancing::PickFirst);
    assert_eq!(
        balancing("weighted_round_robin: {}"),
        LoadBalancing::WeightedRoundRobin {
            blackout_period: seconds(10.0),
            expiration_period: seconds(180.0),
            error_utilization_penalty_permille: 1000,
        }
    );
    let settings = "blackoutPeriod: 1s, weightExpirationPeriod: 60s, errorUtilizationPenalty: 0.5";
    assert_eq!(
        balancing(&format!("weighted_round_robin: {{ {settings} }}")),
        LoadBalancing::WeightedRoundRobin {
            blackout_period: seconds(1.0),
            expiration_period: seconds(60.0),
            error_utilization_penalty_permille: 500,
        }
    );
    assert_eq!(
        balancing("ring_hash: { requestHashHeader: X-Cart, minRingSize: 64 }"),
        LoadBalancing::RingHash {
            header: "x-cart".to_owned(),
            minimum_ring_size: 64,
            maximum_ring_size: 8192,
        }
    );
}

#[test]
fn outlier_detection_has_three_detectors_each_with_defaults() {
    let all = "{ consecutiveGatewayFailure: 3, interval: 5s, baseEjectionTime: 4s, maxEjectionTime: 60s, \
               maxEjectionPercent: 40, failurePercentage: { threshold: 50, minimumHosts: 2, requestVolume: 20 }, \
               successRate: { stdevFactor: 1500, minimumHosts: 3, requestVolume: 30 } }";
    let detection = |text: &str| {
        let line = format!("    outlierDetection: {text}\n");
        carts(&line, "").outlier_detection.unwrap()
    };
    assert_eq!(
        detection(all),
        OutlierDetection {
            consecutive_errors: Some(3),
            interval: seconds(5.0),
            base_ejection_time: seconds(4.0),
            max_ejection_time: seconds(60.0),
            max_ejection_percent: 40,
            failure_percentage: Some(FailurePercentage {
                threshold: 50,
                minimum_hosts: 2,
                request_volume: 20,
            }),
            success_rate: Some(SuccessRate {
                stdev_factor_permille: 1500,
                minimum_hosts: 3,
                request_volume: 30,
            }),
        }
    );
    let default = detection("{ failurePercentage: {}, successRate: {} }");
    assert_eq!(
        default,
        OutlierDetection {
            failure_percentage: Some(FailurePercentage {
                threshold: 85,
                minimum_hosts: 5,
                request_volume: 50,
            }),
            success_rate: Some(SuccessRate {
                stdev_factor_permille: 1900,
                minimum_hosts: 5,
                request_volume: 100,
            }),
            ..OutlierDetection::default()
        }
    );
}

#[test]
fn breakers_probes_and_the_panic_threshold_are_carried() {
    let target = carts(
        "    circuitBreakers: { maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 4, \
         retryBudget: { budgetPercent: 5, minRetryConcurrency: 6 } }\n\
         \x20   healthCheckConfig: { serviceName: s, interval: 2s, timeout: 0.5s, unhealthyThreshold: 3, healthyThreshold: 4 }\n\
         \x20   healthyPanicThreshold: 0\n",
        "",
    );
    assert_eq!(
        target.circuit_breakers,
        CircuitBreakers {
            max_connections: 1,
            max_pending_requests: 2,
            max_requests: 3,
            max_retries: 4,
            retry_budget: RetryBudget {
                budget_percent: 5,
                min_retry_concurrency: 6,
            },
        }
    );
    assert_eq!(
        target.health_check,
        Some(HealthCheck {
            service_name: "s".to_owned(),
            interval: seconds(2.0),
            timeout: seconds(0.5),
            unhealthy_threshold: 3,
            healthy_threshold: 4,
        })
    );
    assert_eq!(target.panic_threshold_percent, 0);
}

#[test]
fn listed_endpoints_take_what_the_service_says_about_all_of_them() {
    let target = carts(
        "    subsets: { old: { version: v1 } }\n\
         \x20   labels: { version: v2 }\n\
         \x20   locality: { region: eu, zone: eu-1 }\n\
         \x20   endpoints:\n\
         \x20     - { address: '10.0.0.1:1', weight: 3, priority: 1, labels: { version: v1 }, locality: { region: us, subZone: r7 } }\n\
         \x20     - { address: '[::1]:2' }\n",
        "",
    );
    assert_eq!(target.subsets["old"], labels("v1"));
    let [first, second] = target.endpoints.as_slice() else {
        panic!("{:?}", target.endpoints);
    };
    assert_eq!(
        (first.weight, first.priority, &first.labels),
        (3, 1, &labels("v1"))
    );
    let far = Locality {
        region: "us".to_owned(),
        zone: String::new(),
        sub_zone: "r7".to_owned(),
    };
    assert_eq!(first.locality, far);
    assert_eq!(
        (second.weight, second.priority, &second.labels),
        (1, 0, &labels("v2"))
    );
    assert_eq!(second.locality.zone, "eu-1");
}

#[test]
fn a_name_is_resolved_by_proxies() {
    let dns = |refresh: &str| {
        let line = format!("    dns: {{ host: carts.example.com, port: 7443{refresh} }}\n");
        carts(&line, "").discovery
    };
    let name = |refresh| {
        Discovery::Dns(DnsName {
            host: "carts.example.com".to_owned(),
            port: 7443,
            refresh,
        })
    };
    assert_eq!(dns(""), name(seconds(5.0)));
    assert_eq!(dns(", refresh: 30s"), name(seconds(30.0)));
}

#[test]
fn hedging_and_limits_of_an_attempt_are_per_method() {
    let target = carts(
        "    methodConfig:\n\
         \x20     - name: [{ service: sockshop.carts.v1.CartService, method: GetCart }]\n\
         \x20       hedgingPolicy: { maxAttempts: 3, hedgingDelay: 0.05s, nonFatalStatusCodes: [UNAVAILABLE, INTERNAL] }\n\
         \x20     - name: [{ service: sockshop.carts.v1.CartService, method: AddCartLine }]\n\
         \x20       retryPolicy: { maxAttempts: 2, initialBackoff: 0.1s, maxBackoff: 1s, backoffMultiplier: 2, \
         retryableStatusCodes: [UNAVAILABLE], perAttemptRecvTimeout: 0.7s }\n",
        "",
    );
    let rule = |path: &str| {
        let mut rules = target.methods.iter();
        rules.find(|rule| rule.matches.matches(path)).unwrap()
    };
    let read = rule("/sockshop.carts.v1.CartService/GetCart");
    let hedging = HedgingPolicy {
        max_attempts: 3,
        hedging_delay: seconds(0.05),
        non_fatal_status_codes: vec![13, 14],
    };
    assert_eq!(read.hedging_policy, Some(hedging));
    assert!(read.has_no_side_effects && read.retry_policy.is_none());
    let add = rule("/sockshop.carts.v1.CartService/AddCartLine");
    let retry = add.retry_policy.as_ref().unwrap();
    assert_eq!(retry.per_attempt_timeout, Some(seconds(0.7)));
    assert!(!add.has_no_side_effects);
}

#[test]
fn what_a_service_takes_is_carried() {
    let inbound = limits(
        "    criticality: SHEDDABLE_PLUS\n\
         \x20   adaptiveConcurrency: { maxConcurrency: 200 }\n\
         \x20   rateLimits:\n\
         \x20     - { name: all, tokenBucket: { maxTokens: 10, fillInterval: 1s } }\n\
         \x20     - { name: each, principals: ['spiffe://sockshop.local/*'], paths: ['/sockshop.carts.v1.CartService/*'], \
         key: { header: X-Tenant }, tokenBucket: { maxTokens: 9, tokensPerFill: 3, fillInterval: 0.1s } }\n\
         \x20   authz:\n\
         \x20     dryRun: true\n\
         \x20     deny_rules: [{ name: r, request: { headers: [{ key: X-A, values: ['1', '2*'] }, { key: x-b, values: ['*', '*3'] }] } }]\n",
    );
    assert_eq!(inbound.default_criticality, Criticality::SheddablePlus);
    let concurrency = AdaptiveConcurrency {
        min_concurrency: 1,
        max_concurrency: 200,
    };
    assert_eq!(inbound.adaptive_concurrency, Some(concurrency));
    let [all, each] = inbound.rate_limits.as_slice() else {
        panic!("{:?}", inbound.rate_limits);
    };
    assert_eq!(
        (&all.key, all.token_bucket.tokens_per_fill),
        (&RateLimitKey::All, 1)
    );
    assert_eq!(
        *each,
        RateLimit {
            name: "each".to_owned(),
            principals: vec!["spiffe://sockshop.local/*".to_owned()],
            paths: vec!["/sockshop.carts.v1.CartService/*".to_owned()],
            key: RateLimitKey::Header("x-tenant".to_owned()),
            token_bucket: TokenBucket {
                max_tokens: 9,
                tokens_per_fill: 3,
                fill_interval: seconds(0.1),
            },
        }
    );
    assert!(inbound.is_dry_run);
    // All headers of a rule must match, each with any of its values.
    let rules: Vec<_> = inbound
        .deny_rules
        .iter()
        .map(|rule| {
            let values = rule
                .headers
                .iter()
                .map(|h| (h.name.as_str(), h.value.clone()));
            values.collect::<Vec<_>>()
        })
        .collect();
    let text = str::to_owned;
    let (one, two) = (TextMatch::Exact(text("1")), TextMatch::Prefix(text("2")));
    let three = TextMatch::Suffix(text("3"));
    assert_eq!(
        rules,
        [
            [("x-a", one.clone()), ("x-b", TextMatch::Present)],
            [("x-a", one), ("x-b", three.clone())],
            [("x-a", two.clone()), ("x-b", TextMatch::Present)],
            [("x-a", two), ("x-b", three)],
        ]
    );
}

#[test]
fn routes_lead_callers_of_a_service_by_the_rules_of_grpcroute() {
    let routes = "\
routes:
  - kind: GRPCRoute
    parentRefs: [{ name: carts }]
    rules:
      - name: canary
        matches:
          - method: { service: sockshop.carts.v1.CartService, method: GetCart, type: Exact }
            headers: [{ name: X-User, value: ada }, { name: x-tier, value: 'gold|silver', type: RegularExpression }]
        filters:
          - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-A, value: '1' }], add: [{ name: x-b, value: '2' }], remove: [X-C] } }
          - { type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: x-d, value: '3' }] } }
          - { type: RequestMirror, requestMirror: { backendRef: { name: newcarts }, fraction: { numerator: 1, denominator: 8 } } }
          - { type: Fault, fault: { delay: { fixedDelay: 0.1s, percentage: 0.5 }, abort: { grpcStatus: UNAVAILABLE, firstAttempts: 2 } } }
        backendRefs: [{ name: carts, subset: v1, weight: 9 }, { name: newcarts }]
      - filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [x-c] } }]
";
    let target = carts("    subsets: { v1: { version: v1 } }\n", routes);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let canary = RouteRule {
        name: "canary".to_owned(),
        matches: vec![RouteMatch {
            method: MethodMatch {
                service: Some("sockshop.carts.v1.CartService".to_owned()),
                method: Some("GetCart".to_owned()),
            },
            headers: vec![
                HeaderMatch {
                    name: "x-user".to_owned(),
                    value: TextMatch::Exact("ada".to_owned()),
                },
                HeaderMatch {
                    name: "x-tier".to_owned(),
                    value: TextMatch::Regex("gold|silver".to_owned()),
                },
            ],
        }],
        backends: vec![
            Backend {
                authority: "carts:7070".to_owned(),
                subset: Some("v1".to_owned()),
                weight: 9,
            },
            Backend {
                authority: "newcarts:1".to_owned(),
                subset: None,
                weight: 1,
            },
        ],
        request_headers: HeaderChanges {
            set: vec![pair("x-a", "1")],
            add: vec![pair("x-b", "2")],
            remove: vec!["x-c".to_owned()],
        },
        response_headers: HeaderChanges {
            add: vec![pair("x-d", "3")],
            ..HeaderChanges::default()
        },
        mirrors: vec![Mirror {
            backend: Backend {
                authority: "newcarts:1".to_owned(),
                subset: None,
                weight: 0,
            },
            share_per_100_000: 12_500,
        }],
        fault: Some(Fault {
            delay: Some(FaultDelay {
                fixed_delay: seconds(0.1),
                share_per_100_000: 500,
            }),
            abort: Some(FaultAbort {
                grpc_status: 14,
                share_per_100_000: 100_000,
                first_attempts: Some(2),
            }),
        }),
    };
    let rest = RouteRule {
        name: "rules[1]".to_owned(),
        request_headers: HeaderChanges {
            remove: vec!["x-c".to_owned()],
            ..HeaderChanges::default()
        },
        ..RouteRule::default()
    };
    assert_eq!(target.routes, [canary, rest]);
    // The new version is reached through the route: the edge asks `carts`.
    let edge = weft_model::edge_routes(
        &mesh("", &routes.replace(", subset: v1", "")),
        contracts::pool(),
    );
    assert_eq!(edge["sockshop.carts.v1.CartService"], "carts:7070");
}

#[test]
fn a_service_outside_the_mesh_proves_nothing_and_takes_no_rules() {
    let mesh = mesh(
        "    tls: { mode: DISABLE }\n    dns: { host: carts.example.com, port: 443 }\n",
        "",
    );
    let targets = weft_model::dataplane(&mesh, contracts::pool());
    let (outside, ours) = (&targets["carts:7070"], &targets["newcarts:1"]);
    assert_eq!((outside.tls, &*outside.identity), (TlsMode::Disable, ""));
    assert_eq!(
        (ours.tls, &*ours.identity),
        (
            TlsMode::Mutual,
            "spiffe://sockshop.local/ns/shop/sa/newcarts"
        )
    );
    assert_eq!(inbound(&mesh, "carts"), None);
}

#[test]
fn a_version_is_as_its_service_but_for_what_it_says() {
    let mesh = mesh(
        "    run:\n      cargo: carts\n      replicas: 2\n      env: { A: one, B: two }\n      versions:\n        \
         v2: { env: { B: three } }\n        v3: { command: [carts3], replicas: 4 }\n",
        "",
    );
    let run = mesh.services["carts"].run.as_ref().unwrap();
    let (v2, v3) = (&run.versions["v2"], &run.versions["v3"]);
    assert_eq!((run.replicas, v2.replicas, v3.replicas), (2, 1, 4));
    assert_eq!(v2.program, run.program);
    assert_eq!(
        v3.program.value,
        Program::Command(vec!["carts3".to_owned()])
    );
    let env = |a: &str, b: &str| [("A", a), ("B", b)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(v2.env, env("one", "three").into());
    assert_eq!(v3.env, env("one", "two").into());
}
