//! Broken mesh files, each with every message it gets, as it is shown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use weft_model::Mesh;

/// The smallest mesh that is fine, with something put into its only service and behind it.
fn mesh_with(service: &str, rest: &str) -> String {
    format!(
        "mesh: {{ trustDomain: sockshop.local, namespace: shop }}\n\
         services:\n  carts:\n    port: 7070\n    serves: [sockshop.carts.v1.CartService]\n\
         {service}{rest}"
    )
}

fn shown(text: &str) -> String {
    let problems = Mesh::parse_checked(text, "mesh.yaml", contracts::pool())
        .expect_err("a broken file is refused");
    problems.to_string()
}

/// What a file gets besides the routes that it, being so small, does not have.
fn codes(text: &str) -> Vec<(usize, &'static str)> {
    match Mesh::parse_checked(text, "mesh.yaml", contracts::pool()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .filter(|problem| problem.code != "no-route")
            .map(|problem| (problem.span.line, problem.code))
            .collect(),
    }
}

#[test]
fn all_problems_of_a_file_come_in_one_run_each_with_its_place_and_hint() {
    let text = "\
mesh: { trustDomain: sockshop.local, namespace: shop }
servces: {}
services:
  carts:
    port: 70700
    serves: [sockshop.carts.v1.CartServce]
    run: { cargo: carts, replica: 2 }
    methodConfig:
      - name: [{ service: sockshop.carts.v1.CartService, method: CreateCart }]
        timeout: 500ms
        retryPolicy: { maxAttempts: 3, initialBackoff: 0.1s, maxBackoff: 1s, backoffMultiplier: 2, retryableStatusCodes: [UNAVAILABL] }
    authz:
      allow_rules:
        - { name: edge, source: { principals: [\"spiffe://sockshop.local/ns/shop/sa/egde\"] } }
";
    assert_eq!(
        shown(text),
        "\
error[unknown-key]: unknown key `servces` in the mesh file
 --> mesh.yaml:2:1
  |
2 | servces: {}
  | ^^^^^^^
  = help: did you mean `services`?

error[out-of-range]: `port` must be 1 to 65535, not 70700
 --> mesh.yaml:5:11
  |
5 |     port: 70700
  |           ^^^^^

error[unknown-service]: the contracts have no service `sockshop.carts.v1.CartServce`
 --> mesh.yaml:6:14
  |
6 |     serves: [sockshop.carts.v1.CartServce]
  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = help: did you mean `sockshop.carts.v1.CartService`?

error[unknown-key]: unknown key `replica` in `run`
 --> mesh.yaml:7:26
  |
7 |     run: { cargo: carts, replica: 2 }
  |                          ^^^^^^^
  = help: did you mean `replicas`?

error[wrong-unit]: `timeout` must be a duration in seconds with the unit `s`, not \"500ms\"
  --> mesh.yaml:10:18
   |
10 |         timeout: 500ms
   |                  ^^^^^
   = help: write `0.5s`

error[unsafe-retry]: `sockshop.carts.v1.CartService/CreateCart` is not safe to retry
  --> mesh.yaml:11:22
   |
11 |         retryPolicy: { maxAttempts: 3, initialBackoff: 0.1s, maxBackoff: 1s, backoffMultiplier: 2, retryableStatusCodes: [UNAVAILABL] }
   |                      ^
   = help: the contract gives CreateCart no `idempotency_level`; set it to IDEMPOTENT if repeating a call does no harm, or drop the retry policy

error[wrong-value]: `UNAVAILABL` is not a gRPC error code
  --> mesh.yaml:11:123
   |
11 |         retryPolicy: { maxAttempts: 3, initialBackoff: 0.1s, maxBackoff: 1s, backoffMultiplier: 2, retryableStatusCodes: [UNAVAILABL] }
   |                                                                                                                           ^^^^^^^^^^
   = help: did you mean `UNAVAILABLE`?

error[unknown-principal]: no service has the service account `egde`
  --> mesh.yaml:14:48
   |
14 |         - { name: edge, source: { principals: [\"spiffe://sockshop.local/ns/shop/sa/egde\"] } }
   |                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: did you mean `spiffe://sockshop.local/ns/shop/sa/edge`?

mesh.yaml: 8 problems"
    );
}

#[test]
fn broken_yaml_shows_the_line() {
    assert_eq!(
        shown("mesh: { trustDomain: sockshop.local\nservices: {}\n"),
        "\
error[syntax]: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
 --> mesh.yaml:2:9
  |
2 | services: {}
  |         ^
  = help: the file cannot be read past this place: other problems show once it is valid YAML

mesh.yaml: 1 problem"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_problem_without_a_line() {
    let problems = Mesh::load("no/such/mesh.yaml".as_ref()).expect_err("no file");
    assert!(
        problems
            .to_string()
            .starts_with("error[unreadable]: cannot read the mesh file: No such file or directory")
    );
}

#[test]
fn an_empty_file_says_what_it_needs() {
    assert_eq!(codes(""), [(1, "missing-key"), (1, "missing-key")]);
}

#[test]
fn values_of_the_wrong_kind_are_told_apart() {
    let cases = [
        ("    port: 1\n", "duplicate-key"),
        ("    serves: x\n", "duplicate-key"),
        ("    serviceAccount: edge\n", "wrong-name"),
        ("    serviceAccount: control\n", "wrong-name"),
        ("    serviceAccount: 7\n", "wrong-type"),
        ("    run: carts\n", "wrong-type"),
        ("    run: {}\n", "missing-key"),
        ("    run: { cargo: a, command: [b] }\n", "wrong-value"),
        ("    run: { command: [] }\n", "wrong-value"),
        ("    run: { cargo: a, replicas: 0 }\n", "out-of-range"),
        ("    run: { cargo: a, replicas: two }\n", "wrong-type"),
        ("    run: { cargo: a, env: { LISTEN: x } }\n", "wrong-value"),
        (
            "    run: { cargo: a, env: { DEBUG: true } }\n",
            "wrong-type",
        ),
        ("    database: mysql://x\n", "wrong-value"),
        ("    methodConfig: [{ timeout: 1s }]\n", "missing-key"),
        (
            "    methodConfig: [{ name: [], timeout: 1s }]\n",
            "wrong-value",
        ),
        (
            "    methodConfig: [{ name: [{ method: GetCart }] }]\n",
            "missing-key",
        ),
        (
            "    methodConfig: [{ name: [{}], timeout: 0s }]\n",
            "out-of-range",
        ),
        (
            "    methodConfig: [{ name: [{}], timeout: 100000s }]\n",
            "out-of-range",
        ),
        (
            "    methodConfig: [{ name: [{}], timeout: 5 }]\n",
            "wrong-unit",
        ),
        (
            "    methodConfig: [{ name: [{}, {}] }, { name: [{}] }]\n",
            "duplicate-name",
        ),
        (
            "    retryThrottling: { maxTokens: 0, tokenRatio: 0.1 }\n",
            "out-of-range",
        ),
        (
            "    retryThrottling: { maxTokens: 10, tokenRatio: 0 }\n",
            "out-of-range",
        ),
        ("    outlierDetection: {}\n", "missing-key"),
        ("    authz: { rules: [] }\n", "unknown-key"),
        (
            "    authz: { allow_rules: [{ source: {} }] }\n",
            "missing-key",
        ),
        (
            "    authz: { allow_rules: [{ name: a }, { name: a }] }\n",
            "duplicate-name",
        ),
        (
            "    authz: { allow_rules: [{ name: a, source: { principals: [] } }] }\n",
            "wrong-value",
        ),
        (
            "    authz: { allow_rules: [{ name: a, request: {} }] }\n",
            "missing-key",
        ),
    ];
    for (line, code) in cases {
        let found = codes(&mesh_with(line, ""));
        assert!(
            found
                .iter()
                .any(|(line, found)| *line >= 4 && *found == code),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn callers_and_paths_of_rules_must_exist() {
    let rule = |part: &str| {
        mesh_with(
            &format!("    authz: {{ allow_rules: [{{ name: a, {part} }}] }}\n"),
            "",
        )
    };
    let principal = |text: &str| rule(&format!("source: {{ principals: [\"{text}\"] }}"));
    let path = |text: &str| rule(&format!("request: {{ paths: [\"{text}\"] }}"));
    assert_eq!(
        codes(&principal("spiffe://sockshop.local/ns/shop/sa/carts")),
        []
    );
    assert_eq!(codes(&principal("spiffe://sockshop.local/*")), []);
    for text in [
        "carts",
        "spiffe://other.local/ns/shop/sa/carts",
        "spiffe://sockshop.local/ns/shop/sa/x",
    ] {
        assert_eq!(
            codes(&principal(text)),
            [(6, "unknown-principal")],
            "{text}"
        );
    }
    assert_eq!(
        codes(&principal("spiffe://*/ns/shop")),
        [(6, "wrong-value")]
    );
    assert_eq!(codes(&path("/sockshop.carts.v1.CartService/GetCart")), []);
    assert_eq!(codes(&path("/healthz")), []);
    assert_eq!(
        codes(&path("/sockshop.carts.v1.CartService/GetCarts")),
        [(6, "unknown-method")]
    );
    assert_eq!(
        codes(&path("/sockshop.cards.v1.CardService/X")),
        [(6, "unknown-service")]
    );
    assert_eq!(
        codes(&path("/sockshop.orders.v1.OrderService/*")),
        [(6, "not-served")]
    );
    assert_eq!(
        codes(&path("sockshop.carts.v1.CartService/*")),
        [(6, "wrong-value")]
    );
}

#[test]
fn one_mistake_is_one_problem() {
    let one = |text: &str, line: usize, code: &'static str| {
        assert_eq!(codes(text), [(line, code)], "{text}");
    };
    // A name that is not one says so once, though it is the account too.
    one(&mesh_with("", "  Orders: { port: 1 }\n"), 6, "wrong-name");
    one(&mesh_with("", "  edge: { port: 1 }\n"), 6, "wrong-name");
    let twice =
        "  x: { port: 1, serves: [weft.events.v1.EventService, weft.events.v1.EventService] }\n";
    one(&mesh_with("", twice), 6, "duplicate-name");
    // Without a good trust domain no SPIFFE ID can be judged, but everything else is.
    let rules = "    authz: { allow_rules: [{ name: a, source: { principals: [\"spiffe://a/ns/shop/sa/carts\"] } }] }\n";
    let text = mesh_with(rules, "").replace("sockshop.local", "Sockshop.local");
    one(&text, 1, "wrong-name");
    let text = mesh_with(rules, "").replace(", namespace: shop", "");
    one(&text, 1, "missing-key");
    let text = mesh_with("    sreves: []\n", "").replace(", namespace: shop", "");
    assert_eq!(codes(&text), [(1, "missing-key"), (6, "unknown-key")]);
    // What is not served is said where it is first spoken of.
    let paths = "    authz: { allow_rules: [{ name: a, request: { paths: [/sockshop.orders.v1.OrderService/GetOrder, /sockshop.orders.v1.OrderService/ListOrders] } }] }\n";
    one(&mesh_with(paths, ""), 6, "not-served");
}

#[test]
fn pages_must_be_there() {
    let folder = std::env::temp_dir().join(format!("weft-model-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("pages")).unwrap();
    let file = folder.join("mesh.yaml");
    let found = |pages: &str| {
        let edge = format!("edge: {{ pages: {pages} }}\n");
        std::fs::write(&file, mesh_with("", &edge)).unwrap();
        let problems = Mesh::checked(&file, contracts::pool()).expect_err("no routes");
        problems.to_string().contains("there is no folder")
    };
    assert!(!found("pages"));
    assert!(found("page"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn retries_need_methods_that_are_safe_to_repeat() {
    let config = |name: &str, timeout: &str| {
        mesh_with(
            &format!(
                "    methodConfig:\n      - name: [{{ {name} }}]\n        timeout: {timeout}\n        \
                 retryPolicy: {{ maxAttempts: 3, initialBackoff: 0.1s, maxBackoff: 1s, \
                 backoffMultiplier: 2, retryableStatusCodes: [UNAVAILABLE] }}\n"
            ),
            "",
        )
    };
    let carts = "service: sockshop.carts.v1.CartService";
    assert_eq!(
        codes(&config(&format!("{carts}, method: GetCart"), "1s")),
        []
    );
    assert_eq!(
        codes(&config(&format!("{carts}, method: AddCartLine"), "1s")),
        []
    );
    let unsafe_retry = [(9, "unsafe-retry")];
    assert_eq!(
        codes(&config(&format!("{carts}, method: CreateCart"), "1s")),
        unsafe_retry
    );
    assert_eq!(codes(&config(carts, "1s")), unsafe_retry);
    assert_eq!(codes(&config("", "1s")), unsafe_retry);
    let late = config(&format!("{carts}, method: GetCart"), "0.1s");
    assert_eq!(codes(&late), [(9, "useless-retry")]);
    let unknown = config(&format!("{carts}, method: FetchCart"), "1s");
    assert_eq!(codes(&unknown), [(7, "unknown-method")]);
}

#[test]
fn an_exposed_method_needs_a_service_a_rule_and_an_issuer() {
    let problems = shown(&mesh_with("", "edge: { listen: 127.0.0.1:0 }\n"));
    for message in [
        "no service serves `sockshop.orders.v1.OrderService`: the edge has no route for it",
        "the caller rules of `carts` refuse the edge in `sockshop.carts.v1.CartService`: CreateCart,",
        "the contracts have methods for customers, but no token is believed",
    ] {
        assert!(
            problems.contains(message),
            "{message} is not in\n{problems}"
        );
    }
    // The public port is no way to methods that the contracts keep internal.
    assert!(!problems.contains("PaymentService"));
}

#[test]
fn the_edge_is_checked_like_the_rest() {
    for (edge, code) in [
        ("listen: localhost:8080", "wrong-value"),
        ("listen: 8080", "wrong-type"),
        ("maxBodyBytes: 1MiB", "wrong-type"),
        ("page: x", "unknown-key"),
        (
            "jwtRules: [{ issuer: a, audiences: [], jwksUri: \"http://carts:7070/x\" }]",
            "wrong-value",
        ),
        (
            "jwtRules: [{ issuer: a, audiences: [a], jwksUri: \"http://crats:7070/x\" }]",
            "unknown-service",
        ),
        ("try: [{ name: a }]", "missing-key"),
    ] {
        let found = codes(&mesh_with("", &format!("edge: {{ {edge} }}\n")));
        assert_eq!(found, [(6, code)], "{edge}");
    }
}

#[test]
fn the_same_for_programs() {
    let text = mesh_with("    runs: {}\n", "");
    let problems = Mesh::parse(&text, "mesh.yaml").expect_err("an unknown key");
    assert_eq!(
        problems.to_json(),
        serde_json::json!({ "problems": [{
            "file": "mesh.yaml", "line": 6, "column": 5, "endColumn": 9,
            "code": "unknown-key", "message": "unknown key `runs` in the service",
            "hint": "did you mean `run`?", "snippet": "    runs: {}",
        }]})
    );
}

/// Whether `service`, put into the only service, gets exactly one problem, of this code.
fn assert_one(service: &str, code: &str) {
    let found = codes(&mesh_with(&format!("    {service}\n"), ""));
    assert_eq!(found, [(6, code)], "{service}");
}

#[test]
fn how_endpoints_are_chosen_and_protected_is_checked() {
    for (service, code) in [
        ("loadBalancingConfig: []", "wrong-value"),
        ("loadBalancingConfig: round_robin", "wrong-type"),
        ("loadBalancingConfig: [{}]", "wrong-value"),
        ("loadBalancingConfig: [round_robin]", "wrong-type"),
        (
            "loadBalancingConfig: [{ round_robin: {} }, { pick_first: {} }]",
            "wrong-value",
        ),
        ("loadBalancingConfig: [{ round_robbin: {} }]", "wrong-value"),
        (
            "loadBalancingConfig: [{ round_robin: { weight: 1 } }]",
            "unknown-key",
        ),
        ("loadBalancingConfig: [{ ring_hash: {} }]", "missing-key"),
        (
            "loadBalancingConfig: [{ ring_hash: { requestHashHeader: ':path' } }]",
            "wrong-name",
        ),
        (
            "loadBalancingConfig: [{ ring_hash: { requestHashHeader: x, minRingSize: 2, maxRingSize: 1 } }]",
            "out-of-range",
        ),
        (
            "loadBalancingConfig: [{ weighted_round_robin: { blackoutPeriod: 1 } }]",
            "wrong-unit",
        ),
        ("outlierDetection: { interval: 5s }", "missing-key"),
        (
            "outlierDetection: { consecutiveGatewayFailure: 0 }",
            "out-of-range",
        ),
        (
            "outlierDetection: { consecutiveGatewayFailure: 5, baseEjectionTime: 9s, maxEjectionTime: 8s }",
            "out-of-range",
        ),
        (
            "outlierDetection: { failurePercentage: { threshold: 101 } }",
            "out-of-range",
        ),
        (
            "outlierDetection: { successRate: { stdevFactor: 1.9 } }",
            "wrong-type",
        ),
        ("circuitBreakers: { maxRequests: 0 }", "out-of-range"),
        ("circuitBreakers: { maxRequest: 5 }", "unknown-key"),
        (
            "circuitBreakers: { retryBudget: { budgetPercent: 120 } }",
            "out-of-range",
        ),
        ("healthCheckConfig: { interval: 0s }", "out-of-range"),
        ("healthCheckConfig: { service: x }", "unknown-key"),
        ("healthyPanicThreshold: 101", "out-of-range"),
    ] {
        assert_one(service, code);
    }
    for fine in [
        "loadBalancingConfig: [{ weighted_round_robin: { blackoutPeriod: 0s, errorUtilizationPenalty: 0.5 } }]",
        "outlierDetection: { successRate: {}, failurePercentage: {} }",
        "healthCheckConfig: {}",
    ] {
        assert_eq!(
            codes(&mesh_with(&format!("    {fine}\n"), "")),
            [],
            "{fine}"
        );
    }
}

#[test]
fn where_endpoints_are_is_checked() {
    for (service, code) in [
        ("subsets: { V1: { version: v1 } }", "wrong-name"),
        ("subsets: { v1: {} }", "missing-key"),
        ("subsets: { v1: { version: v 1 } }", "wrong-name"),
        ("labels: { version: 1 }", "wrong-type"),
        ("labels: { -version: v1 }", "wrong-name"),
        ("locality: { rack: 7 }", "unknown-key"),
        ("endpoints: [{ address: localhost:80 }]", "wrong-value"),
        ("endpoints: [{ address: 0.0.0.0:80 }]", "wrong-value"),
        (
            "endpoints: [{ address: '10.0.0.1:1', weight: 0 }]",
            "out-of-range",
        ),
        (
            "endpoints: [{ address: '10.0.0.1:1', priority: 1 }]",
            "wrong-value",
        ),
        (
            "endpoints: [{ address: '10.0.0.1:1' }, { address: '10.0.0.1:1' }]",
            "duplicate-name",
        ),
        ("dns: { host: payments }", "missing-key"),
        ("dns: { host: 'payments:80', port: 80 }", "wrong-name"),
        ("dns: { host: 10.0.0.1, port: 80 }", "wrong-name"),
        (
            "dns: { host: payments, port: 80, refresh: 0.01s }",
            "out-of-range",
        ),
    ] {
        assert_one(service, code);
    }
    let both = "    endpoints: [{ address: '10.0.0.1:1' }]\n    dns: { host: a, port: 1 }\n";
    assert_eq!(codes(&mesh_with(both, "")), [(7, "wrong-value")]);
    let started = "    endpoints: [{ address: '10.0.0.1:1' }]\n    run: { cargo: carts }\n";
    assert_eq!(codes(&mesh_with(started, "")), [(6, "wrong-value")]);
}

#[test]
fn versions_of_a_service_are_checked_as_it_is() {
    for (versions, code) in [
        ("{ v 2: {} }", "wrong-name"),
        ("{ v2: { replicas: 0 } }", "out-of-range"),
        ("{ v2: { env: { LISTEN: x } } }", "wrong-value"),
        ("{ v2: { cargo: carts, command: [carts] } }", "wrong-value"),
        ("{ v2: { versions: {} } }", "unknown-key"),
        ("[v2]", "wrong-type"),
    ] {
        assert_one(
            &format!("run: {{ cargo: carts, versions: {versions} }}"),
            code,
        );
    }
}

#[test]
fn tls_is_switched_off_only_for_services_outside_the_mesh() {
    let outside = "    tls: { mode: DISABLE }\n    endpoints: [{ address: '10.0.0.1:1' }]\n";
    assert_eq!(codes(&mesh_with(outside, "")), []);
    for (service, code) in [
        ("tls: { mode: DISABLE }", "missing-key"),
        ("tls: { mode: DISBLE }", "wrong-value"),
        ("tls: {}", "missing-key"),
        ("tls: DISABLE", "wrong-type"),
    ] {
        assert_one(service, code);
    }
    for of_a_workload in [
        "run: { cargo: carts }",
        "serviceAccount: legacy",
        "authz: { allow_rules: [] }",
        "criticality: CRITICAL",
        "adaptiveConcurrency: {}",
        "rateLimits: []",
    ] {
        let service = format!(
            "    tls: {{ mode: DISABLE }}\n    {of_a_workload}\n    dns: {{ host: carts.example.com, port: 1 }}\n"
        );
        let found = codes(&mesh_with(&service, ""));
        assert!(found.contains(&(7, "wrong-value")), "{service}: {found:?}");
    }
    let text = mesh_with("    tls: { mode: DISABLE }\n", "");
    let text = shown(&text);
    assert!(
        text.contains("only for a service outside the mesh"),
        "{text}"
    );
    assert!(
        text.contains("workloads that register always prove who they are"),
        "{text}"
    );
}

#[test]
fn what_is_outside_the_mesh_is_nobody_and_signs_nothing() {
    let rest = "  legacy:\n    port: 1\n    tls: { mode: DISABLE }\n    dns: { host: a.example.com, port: 1 }\n\
                edge:\n  jwtRules:\n    - issuer: https://a\n      audiences: [shop]\n      jwksUri: http://legacy:1/keys\n";
    let legacy = "    authz: { allow_rules: [{ name: a, source: { principals: [\"spiffe://sockshop.local/ns/shop/sa/legacy\"] } }] }\n";
    assert_eq!(
        codes(&mesh_with(legacy, rest)),
        [(6, "unknown-principal"), (15, "wrong-value")]
    );
}

#[test]
fn what_a_service_takes_is_checked() {
    let bucket = "tokenBucket: { maxTokens: 1, fillInterval: 1s }";
    for (service, code) in [
        ("criticality: critical", "wrong-value"),
        ("adaptiveConcurrency: { minConcurrency: 0 }", "out-of-range"),
        (
            "adaptiveConcurrency: { minConcurrency: 9, maxConcurrency: 8 }",
            "out-of-range",
        ),
        ("rateLimits: [{ name: a }]", "missing-key"),
        (
            "rateLimits: [{ name: a, tokenBucket: { maxTokens: 0, fillInterval: 1s } }]",
            "out-of-range",
        ),
        (
            "rateLimits: [{ name: a, tokenBucket: { maxTokens: 1, fillInterval: 0.01s } }]",
            "out-of-range",
        ),
        (
            &format!("rateLimits: [{{ name: a, {bucket} }}, {{ name: a, {bucket} }}]"),
            "duplicate-name",
        ),
        (
            &format!("rateLimits: [{{ name: a, key: callers, {bucket} }}]"),
            "wrong-value",
        ),
        (
            &format!("rateLimits: [{{ name: a, key: {{ header: 'a b' }}, {bucket} }}]"),
            "wrong-name",
        ),
        (
            &format!("rateLimits: [{{ name: a, paths: [], {bucket} }}]"),
            "wrong-value",
        ),
        (
            &format!("rateLimits: [{{ name: a, principals: [carts], {bucket} }}]"),
            "unknown-principal",
        ),
        (
            &format!(
                "rateLimits: [{{ name: a, paths: [/sockshop.carts.v1.CartService/Get], {bucket} }}]"
            ),
            "unknown-method",
        ),
        ("authz: { dryRun: 1 }", "wrong-type"),
        (
            "authz: { deny_rules: [{ name: a, request: { headers: [] } }] }",
            "wrong-value",
        ),
        (
            "authz: { deny_rules: [{ name: a, request: { headers: [{ key: x }] } }] }",
            "missing-key",
        ),
        (
            "authz: { deny_rules: [{ name: a, request: { headers: [{ key: x, values: [] }] } }] }",
            "wrong-value",
        ),
        (
            "authz: { deny_rules: [{ name: a, request: { headers: [{ key: x, values: ['a*b'] }] } }] }",
            "wrong-value",
        ),
        (
            "authz: { deny_rules: [{ name: a, request: { headers: [{ key: grpc-timeout, values: [x] }] } }] }",
            "wrong-name",
        ),
    ] {
        assert_one(service, code);
    }
    let nine = "[a, b, c, d, e, f, g, h, i]";
    let headers = format!("[{{ key: x, values: {nine} }}, {{ key: y, values: {nine} }}]");
    assert_one(
        &format!("authz: {{ deny_rules: [{{ name: a, request: {{ headers: {headers} }} }}] }}"),
        "out-of-range",
    );
}

#[test]
fn a_deny_rule_must_not_refuse_the_probes_of_a_caller() {
    let with = |denied: &str| {
        let caller = "\"spiffe://sockshop.local/ns/shop/sa/carts\"";
        let paths = "paths: [/sockshop.carts.v1.CartService/GetCart]";
        let allow =
            format!("name: a, source: {{ principals: [{caller}] }}, request: {{ {paths} }}");
        let rules = format!("allow_rules: [{{ {allow} }}], deny_rules: [{{ name: d{denied} }}]");
        mesh_with(
            &format!("    healthCheckConfig: {{}}\n    authz: {{ {rules} }}\n"),
            "",
        )
    };
    assert_eq!(codes(&with(", request: { paths: [/sockshop.*] }")), []);
    let for_some = ", request: { headers: [{ key: x-a, values: [b] }] }";
    assert_eq!(codes(&with(for_some)), []);
    assert_eq!(codes(&with("")), [(6, "refused-probe")]);
}

/// A mesh with two services of the same contract, the first of which has these rules.
fn routed(rules: &str) -> String {
    let other = "  newcarts:\n    port: 7070\n    serves: [sockshop.carts.v1.CartService]\n";
    let canary =
        "matches: [{ headers: [{ name: x-new, value: a }] }], backendRefs: [{ name: newcarts }]";
    let route = format!(
        "routes:\n  - {{ parentRefs: [{{ name: carts }}], rules: [{{ {canary} }}] }}\n  \
         - parentRefs: [{{ name: carts }}]\n    rules: {rules}\n"
    );
    mesh_with(
        "    subsets: { v1: { version: v1 } }\n",
        &format!("{other}{route}"),
    )
}

#[test]
fn routes_are_checked() {
    let get = "method: { service: sockshop.carts.v1.CartService, method: GetCart }";
    let header = "matches: [{ headers: [{ name: x-user, value: a }] }]";
    for (rules, code) in [
        ("[]", "wrong-value"),
        ("[{ match: [] }]", "unknown-key"),
        ("[{ backendRefs: [{ name: newcars }] }]", "unknown-service"),
        (
            "[{ backendRefs: [{ name: carts, subset: v2 }] }]",
            "unknown-subset",
        ),
        (
            "[{ backendRefs: [{ name: carts, weight: 0 }] }]",
            "wrong-value",
        ),
        (
            "[{ backendRefs: [{ name: carts, port: 1 }] }]",
            "unknown-key",
        ),
        (
            "[{ matches: [{ method: { method: GetCart } }] }]",
            "missing-key",
        ),
        (
            "[{ matches: [{ method: { service: a.B } }] }]",
            "unknown-service",
        ),
        (
            "[{ matches: [{ method: { service: sockshop.carts.v1.CartService, method: GetCarts } }] }]",
            "unknown-method",
        ),
        (
            "[{ matches: [{ method: { service: sockshop.orders.v1.OrderService } }] }]",
            "not-served",
        ),
        (
            "[{ matches: [{ method: { type: RegularExpression } }] }]",
            "wrong-value",
        ),
        (
            "[{ matches: [{ headers: [{ name: ':path', value: a }] }] }]",
            "wrong-name",
        ),
        (
            "[{ matches: [{ headers: [{ name: a, value: '(', type: RegularExpression }] }] }]",
            "wrong-value",
        ),
        (
            &format!("[{{ name: a, {header} }}, {{ name: a }}]"),
            "duplicate-name",
        ),
        (&format!("[{{ }}, {{ {header} }}]"), "unreachable-rule"),
        (
            &format!("[{{ {header} }}, {{ {header} }}]"),
            "unreachable-rule",
        ),
        ("[{ filters: [{ type: Mirror }] }]", "wrong-value"),
        ("[{ filters: [{ type: RequestMirror }] }]", "missing-key"),
        (
            "[{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: newcarts } } }] }]",
            "unsafe-mirror",
        ),
        (
            &format!(
                "[{{ matches: [{{ {get} }}], filters: [{{ type: RequestMirror, requestMirror: \
                 {{ backendRef: {{ name: newcarts }}, percent: 101 }} }}] }}]"
            ),
            "out-of-range",
        ),
        (
            &format!(
                "[{{ matches: [{{ {get} }}], filters: [{{ type: RequestMirror, requestMirror: \
                 {{ backendRef: {{ name: newcarts }}, fraction: {{ numerator: 2, denominator: 1 }} }} }}] }}]"
            ),
            "out-of-range",
        ),
        ("[{ filters: [{ type: Fault, fault: {} }] }]", "missing-key"),
        (
            "[{ filters: [{ type: Fault, fault: { abort: { grpcStatus: OK } } }] }]",
            "wrong-value",
        ),
        (
            "[{ filters: [{ type: Fault, fault: { delay: { fixedDelay: 1s, percentage: 0 } } }] }]",
            "out-of-range",
        ),
        (
            "[{ filters: [{ type: Fault, fault: { delay: { fixedDelay: 1s } } }, { type: Fault, fault: { delay: { fixedDelay: 1s } } }] }]",
            "duplicate-name",
        ),
    ] {
        assert_eq!(codes(&routed(rules)), [(13, code)], "{rules}");
    }
    let fine = format!(
        "[{{ {header}, backendRefs: [{{ name: newcarts }}] }}, {{ matches: [{{ {get} }}], \
         backendRefs: [{{ name: carts, subset: v1, weight: 9 }}, {{ name: newcarts }}], \
         filters: [{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: newcarts }}, percent: 0.5 }} }}] }}]"
    );
    assert_eq!(codes(&routed(&fine)), []);
}

#[test]
fn headers_of_the_transport_and_of_grpc_cannot_be_changed() {
    for name in [
        ":path",
        "Connection",
        "te",
        "grpc-timeout",
        "x-weft-criticality",
        "content-type",
    ] {
        let set = format!("set: [{{ name: '{name}', value: a }}]");
        let remove = format!("remove: ['{name}']");
        for change in [set, remove] {
            let rules = format!(
                "[{{ filters: [{{ type: RequestHeaderModifier, requestHeaderModifier: {{ {change} }} }}] }}]"
            );
            assert_eq!(codes(&routed(&rules)), [(13, "wrong-name")], "{change}");
        }
    }
    let line_break = "[{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: \
                      { add: [{ name: a, value: \"b\\nc\" }] } }] }]";
    assert_eq!(codes(&routed(line_break)), [(13, "wrong-value")]);
}

#[test]
fn hedging_is_for_methods_that_are_safe_to_repeat() {
    let config = |method: &str, policies: &str| {
        mesh_with(
            &format!(
                "    methodConfig:\n      - name: [{{ service: sockshop.carts.v1.CartService, method: {method} }}]\n        \
                 timeout: 1s\n        {policies}\n"
            ),
            "",
        )
    };
    let hedging =
        "hedgingPolicy: { maxAttempts: 2, hedgingDelay: 0.1s, nonFatalStatusCodes: [UNAVAILABLE] }";
    assert_eq!(codes(&config("GetCart", hedging)), []);
    assert_eq!(codes(&config("CreateCart", hedging)), [(9, "unsafe-retry")]);
    let late = "hedgingPolicy: { maxAttempts: 2, hedgingDelay: 1s }";
    assert_eq!(codes(&config("GetCart", late)), [(9, "useless-retry")]);
    let many = "hedgingPolicy: { maxAttempts: 6 }";
    assert_eq!(codes(&config("GetCart", many)), [(9, "out-of-range")]);
    let retry = |more: &str| {
        format!(
            "retryPolicy: {{ maxAttempts: 3, initialBackoff: 0.1s, maxBackoff: 1s, \
             backoffMultiplier: 2, retryableStatusCodes: [UNAVAILABLE]{more} }}"
        )
    };
    let both = format!("{}\n        {hedging}", retry(""));
    assert_eq!(codes(&config("GetCart", &both)), [(10, "two-policies")]);
    let slow = retry(", perAttemptRecvTimeout: 1s");
    assert_eq!(codes(&config("GetCart", &slow)), [(9, "useless-retry")]);
}
