//! Bindings that cannot be served are refused when the router is built, all at once.

use weft_transcode::{Plans, Router, rules};

/// The errors of a service with these methods.
fn errors(methods: &str) -> Vec<String> {
    let text = format!(
        r#"syntax = "proto3";
package bad;
import "google/api/annotations.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/timestamp.proto";
message M {{
  string a = 1;
  repeated string list = 2;
  map<string, string> map = 3;
  M inner = 4;
  repeated M inners = 5;
  google.protobuf.StringValue wrapped = 6;
  google.protobuf.Timestamp time = 7;
}}
service S {{ {methods} }}"#
    );
    let pool = crate::pool(&text);
    let plans = Plans::new(&pool);
    let errors = match rules(&pool, &plans, |_| true) {
        Ok(routes) => Router::new(routes).err().unwrap_or_default(),
        Err(errors) => errors,
    };
    errors.iter().map(ToString::to_string).collect()
}

fn method(name: &str, rule: &str) -> String {
    format!("rpc {name}(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}\n")
}

#[test]
fn a_rule_that_cannot_be_served_is_named() {
    for (rule, expected) in [
        (
            r#"get: "/v1/{b}""#,
            "bad.S.A: `/v1/{b}`: field `b` does not exist",
        ),
        (r#"get: "/v1/{list}""#, "field `list` is repeated"),
        (r#"get: "/v1/{map}""#, "field `map` is repeated"),
        (r#"get: "/v1/{inner}""#, "field `inner` is a message"),
        (r#"get: "/v1/{time}""#, "field `time` is a message"),
        (r#"get: "/v1/{inners.a}""#, "goes through a repeated field"),
        (
            r#"get: "/v1/{a.b}""#,
            "goes through a field that is no message",
        ),
        (r#"get: "/v1/{""#, "expected a field name at column 6"),
        (r#"post: "/v1" body: "b""#, "field `b` does not exist"),
        (
            r#"get: "/v1" response_body: "b""#,
            "field `b` does not exist",
        ),
        (r#"body: "*""#, "without a pattern"),
        (
            r#"get: "/v1" additional_bindings { get: "/v2" additional_bindings { get: "/v3" } }"#,
            "additional_bindings within",
        ),
        (r#"custom { kind: "a b" path: "/v1" }"#, "no HTTP method"),
    ] {
        let errors = errors(&method("A", rule));
        assert!(
            errors.len() == 1 && errors[0].contains(expected),
            "{rule}: {errors:?}"
        );
    }
}

#[test]
fn a_wrapper_may_be_in_a_path_and_inner_fields_too() {
    assert!(errors(&method("A", r#"get: "/v1/{wrapped}/{inner.inner.a}""#)).is_empty());
}

#[test]
fn bindings_that_match_the_same_requests_are_refused_with_both_names() {
    for (first, second) in [
        (r#"get: "/v1/a""#, r#"get: "/v1/a""#),
        (r#"get: "/v1/{a}""#, r#"get: "/v1/{inner.a}""#),
        (r#"get: "/v1/*""#, r#"get: "/v1/{a=*}""#),
        (r#"get: "/v1/{a=**}""#, r#"get: "/v1/**""#),
        (r#"get: "/v1/{a=x/*}""#, r#"get: "/v1/x/{a}""#),
        (r#"get: "/v1/a:go""#, r#"get: "/v1/a:go""#),
        (r#"get: "/v1/%61""#, r#"get: "/v1/a""#),
    ] {
        let errors = errors(&(method("A", first) + &method("B", second)));
        assert_eq!(errors.len(), 1, "{first} {second}");
        assert!(
            errors[0].starts_with("bad.S.A and bad.S.B both answer GET"),
            "{errors:?}"
        );
    }
    let different = method("A", r#"get: "/v1/{a}""#)
        + &method("B", r#"post: "/v1/{a}""#)
        + &method("C", r#"get: "/v1/{a}:go""#)
        + &method("D", r#"get: "/v1/a""#)
        + &method("E", r#"get: "/v1/**""#)
        + &method("F", r#"custom { kind: "*" path: "/v1/{a}" }"#);
    assert!(errors(&different).is_empty());
}

#[test]
fn all_errors_come_at_once() {
    let errors = errors(&(method("A", r#"get: "/{b}""#) + &method("B", r#"get: "x""#)));
    assert_eq!(errors.len(), 2);
}

#[test]
fn the_shop_has_no_ambiguous_binding() {
    let plans = Plans::new(contracts::pool());
    let routes = rules(contracts::pool(), &plans, |_| true).unwrap();
    Router::new(routes).unwrap();
}
