//! Broken policy tests, and the message each gets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io, path::Path};

use weft_simulate::Suite;

const FINE: &str = "\
methods: { shop.v1.CartService/GetCart: IDEMPOTENT, shop.v1.CartService/PutCart: IDEMPOTENT }
mesh: { services: { carts: } }
cases:
  - name: it answers
    endpoints: { carts: { a: OK, b: { latency: 5ms, at: { 2s: leaves } } } }
    calls: [{ method: GetCart, rate: 10/s, for: 1s, expect: { took: <10ms } }]
    expect: { status: OK, share: { a: over 20% } }
";

fn nobody(_: &Path) -> io::Result<String> {
    Err(io::Error::other("nothing is there"))
}

fn parse(text: &str) -> Result<Suite, weft_model::Problems> {
    Suite::parse(text, "a.policytest.yaml", contracts::pool(), &nobody)
}

/// Code and hint of the only problem.
fn problem(text: &str) -> (&'static str, String) {
    let problems = parse(text).expect_err("a broken file is refused");
    let shown = problems.to_string();
    let mut problems = problems.iter();
    let first = problems.next().expect("a problem").clone();
    assert!(problems.next().is_none(), "{shown}");
    (first.code, first.hint.unwrap_or_default())
}

#[test]
fn the_smallest_file_is_fine() {
    let suite = parse(FINE).unwrap_or_else(|problems| panic!("{problems}"));
    let outcome = suite.run(&suite.cases[0], false);
    assert!(outcome.mismatches.is_empty(), "{outcome:#?}");
    assert_eq!(outcome.calls, 10);
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    for (from, to, code, hint) in [
        ("share:", "shares:", "unknown-key", "did you mean `share`?"),
        (
            "latency:",
            "latancy:",
            "unknown-key",
            "did you mean `latency`?",
        ),
        ("rate:", "rat:", "wrong-value", ""),
        (
            "GetCart, rate",
            "GetCrat, rate",
            "unknown-method",
            "did you mean `GetCart`?",
        ),
        (
            "{ carts: { a",
            "{ carst: { a",
            "unknown-service",
            "did you mean `carts`?",
        ),
        (
            "{ a: over",
            "{ aa: over",
            "unknown-name",
            "did you mean `a`?",
        ),
        (
            "status: OK",
            "status: NOTFOUND",
            "wrong-value",
            "did you mean `NOT_FOUND`?",
        ),
        (
            "a: OK",
            "a: UNAVALABLE",
            "wrong-value",
            "a status code such as",
        ),
        (
            "over 20%",
            "over 20 apples",
            "wrong-value",
            "written as `15%` or `3`",
        ),
        ("<10ms", "<10", "wrong-value", "written as `20ms`"),
        ("5ms", "5", "wrong-unit", "such as `20ms`"),
        (
            "2s: leaves",
            "2: leaves",
            "wrong-unit",
            "such as `5s: UNAVAILABLE`",
        ),
        ("10/s", "10", "wrong-value", "written as `90/s`"),
        ("for: 1s", "for: 300h", "out-of-range", ""),
        (
            "rate: 10/s",
            "times: 3",
            "wrong-value",
            "`times` with `every`",
        ),
        (
            "{ services: { carts: } }",
            "other.yaml",
            "unreadable",
            "relative to the folder",
        ),
        (
            "carts: }",
            "carts: { tmieout: 1s } }",
            "unknown-key",
            "known keys: ",
        ),
        (
            "IDEMPOTENT,",
            "IDEMPOTNET,",
            "wrong-value",
            "did you mean `IDEMPOTENT`?",
        ),
    ] {
        assert!(FINE.contains(from), "{from}");
        let text = FINE.replacen(from, to, 1);
        let problems = parse(&text).expect_err(to);
        let found = problems.iter().any(|problem| {
            problem.code == code && problem.hint.clone().unwrap_or_default().contains(hint)
        });
        assert!(found, "{to}: {problems}");
    }
}

#[test]
fn a_case_that_expects_nothing_is_refused() {
    let text = FINE.replace("    expect: { status: OK, share: { a: over 20% } }\n", "");
    let text = text.replace(", expect: { took: <10ms }", "");
    assert_eq!(problem(&text).0, "missing-key");
    let text = FINE.replace("{ status: OK, share: { a: over 20% } }", "{}");
    assert_eq!(problem(&text).0, "missing-key");
}

#[test]
fn an_expectation_of_no_call_fails() {
    let text = FINE.replace("{ status: OK,", "{ during: 5s..6s, status: OK,");
    let suite = parse(&text).unwrap();
    let outcome = suite.run(&suite.cases[0], false);
    assert_eq!(outcome.mismatches[0].found, "no call at all");
}

#[test]
fn a_retry_of_what_is_not_safe_is_refused_as_by_check() {
    let policy = "{ maxAttempts: 2, initialBackoff: 0.1s, maxBackoff: 0.1s, backoffMultiplier: 1, retryableStatusCodes: [UNAVAILABLE] }";
    let config =
        format!("carts: {{ methodConfig: [{{ name: [{{}}], retryPolicy: {policy} }}] }} }}");
    let text = FINE.replace("carts: }", &config);
    parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let text = text.replace("GetCart: IDEMPOTENT", "GetCart: IDEMPOTENCY_UNKNOWN");
    assert_eq!(problem(&text).0, "unsafe-retry");
}

#[test]
fn cases_are_the_same_each_time() {
    let suite = parse(FINE).unwrap();
    let runs: Vec<_> = (0..3)
        .map(|_| suite.run(&suite.cases[0], true).timeline)
        .collect();
    assert!(runs[0].len() >= 15);
    assert!(runs.iter().all(|run| *run == runs[0]));
}

#[test]
fn no_broken_file_panics() {
    // Each stretch of the file left out, and each value replaced by something odd.
    let odd = [
        "99999999999999999999",
        "-1",
        "0",
        "9000h",
        "1e308/s",
        "x",
        "[]",
        "{}",
        "null",
        "'{n}'",
    ];
    for start in 0..FINE.len() {
        for length in [1, 2, 7, 30] {
            let end = (start + length).min(FINE.len());
            let _ = parse(&format!("{}{}", &FINE[..start], &FINE[end..]));
        }
        if FINE[start..].starts_with(": ") {
            let end = FINE[start + 2..].find([',', ' ', '\n', '}']);
            let end = end.map_or(FINE.len(), |end| start + 2 + end);
            for value in odd {
                let text = format!("{}: {value}{}", &FINE[..start], &FINE[end..]);
                if let Ok(suite) = parse(&text) {
                    let _ = suite.run(&suite.cases[0], true);
                }
            }
        }
    }
}
