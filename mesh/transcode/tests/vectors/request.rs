//! Request messages from path, query and body.

use serde_json::json;

use crate::call;

/// `reason field: message` of the refusal.
fn refused(method: &str, target: &str, body: &str) -> String {
    let error = call(method, target, body).expect_err(&format!("{method} {target} {body}"));
    format!("{} {}: {}", error.reason, error.field, error.message)
}

fn query(query: &str) -> serde_json::Value {
    let (rpc, message) = call("GET", &format!("/v1/books?{query}"), "")
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(rpc, "List");
    message
}

#[test]
fn query_parameters_become_fields() {
    for (text, expected) in [
        ("", json!({})),
        ("&&", json!({})),
        ("pageSize=10", json!({"pageSize": 10})),
        ("page_size=10", json!({"pageSize": 10})),
        ("page_size=0", json!({})),
        ("pageToken=a%20b+c", json!({"pageToken": "a b c"})),
        ("pageToken=a=b", json!({"pageToken": "a=b"})),
        ("pageToken=%C3%A9", json!({"pageToken": "é"})),
        ("pageToken", json!({})),
        (
            "pageSize=5&pageToken=x",
            json!({"pageSize": 5, "pageToken": "x"}),
        ),
        (
            "kinds=KIND_POEM&kinds=1",
            json!({"kinds": ["KIND_POEM", "KIND_NOVEL"]}),
        ),
        ("filter.lent=false", json!({"filter": {"lent": false}})),
        ("filter.lent=true", json!({"filter": {"lent": true}})),
        (
            "filter.years=1&pageSize=2&filter.years=3",
            json!({"filter": {"years": [1, 3]}, "pageSize": 2}),
        ),
        (
            "filter.since=2026-01-02T03:04:05Z",
            json!({"filter": {"since": "2026-01-02T03:04:05Z"}}),
        ),
        (
            "filter.since=2026-01-02T03:04:05%2B01:00",
            json!({"filter": {"since": "2026-01-02T02:04:05Z"}}),
        ),
        (
            "filter.within=1.5s",
            json!({"filter": {"within": "1.500s"}}),
        ),
        ("filter.fields=a,bC", json!({"filter": {"fields": "a,bC"}})),
        ("filter.atLeast=0", json!({"filter": {"atLeast": "0"}})),
        (
            "filter.at_least=9007199254740993",
            json!({"filter": {"atLeast": "9007199254740993"}}),
        ),
        ("filter.digest=aGk", json!({"filter": {"digest": "aGk="}})),
        (
            "filter.digest=_-8%3D",
            json!({"filter": {"digest": "/+8="}}),
        ),
        ("filter.weight=1.5e3", json!({"filter": {"weight": 1500.0}})),
        (
            "filter.weight=-Infinity",
            json!({"filter": {"weight": "-Infinity"}}),
        ),
        ("filter.byTitle=", json!({"filter": {"byTitle": ""}})),
        (
            "labels[a]=1&labels[b.c]=-2",
            json!({"labels": {"a": "1", "b.c": "-2"}}),
        ),
        ("labels%5Ba%5D=1", json!({"labels": {"a": "1"}})),
    ] {
        assert_eq!(query(text), expected, "{text}");
    }
}

#[test]
fn other_query_parameters_are_refused() {
    for (text, expected) in [
        (
            "pagesize=1",
            "UNKNOWN_PARAMETER pagesize: unknown query parameter; did you mean `pageSize`?",
        ),
        (
            "colour=1",
            "UNKNOWN_PARAMETER colour: unknown query parameter; known are parent, pageSize",
        ),
        (
            "filter.year=1",
            "UNKNOWN_PARAMETER filter.year: unknown query parameter; did you mean `filter.years`?",
        ),
        (
            "pageSize=ten",
            "WRONG_TYPE pageSize: expected an integer of 32 bits, found `ten`",
        ),
        ("pageSize=", "WRONG_TYPE pageSize"),
        ("pageSize=1.5", "WRONG_TYPE pageSize"),
        ("pageSize=%2B1", "WRONG_TYPE pageSize"),
        ("pageSize=2147483648", "OUT_OF_RANGE pageSize"),
        (
            "pageSize=1&page_size=2",
            "DUPLICATE_FIELD page_size: given twice",
        ),
        (
            "kinds=KIND_POEMS",
            "WRONG_TYPE kinds: unknown enum value `KIND_POEMS`; did you mean `KIND_POEM`?",
        ),
        (
            "kinds=SONG",
            "WRONG_TYPE kinds: unknown enum value `SONG`; known are KIND_NOVEL, KIND_POEM",
        ),
        (
            "filter.lent=1",
            "WRONG_TYPE filter.lent: expected true or false, found `1`",
        ),
        ("filter.lent=TRUE", "WRONG_TYPE filter.lent"),
        (
            "filter.since=yesterday",
            "WRONG_TYPE filter.since: expected an RFC 3339 time",
        ),
        (
            "filter.since=2026-01-02T03:04:05+01:00",
            "WRONG_TYPE filter.since",
        ),
        (
            "filter.within=5",
            "WRONG_TYPE filter.within: expected a duration such as `1.5s`",
        ),
        ("filter.fields=a_b", "WRONG_TYPE filter.fields"),
        (
            "filter.digest=%21",
            "WRONG_TYPE filter.digest: expected base64",
        ),
        ("filter.years=-1", "OUT_OF_RANGE filter.years"),
        ("filter.weight=1e999", "OUT_OF_RANGE filter.weight"),
        (
            "filter.byTitle=a&filter.byYear=1",
            "DUPLICATE_FIELD filter.byYear: cannot be given together with `byTitle`",
        ),
        ("filter={}", "INVALID_PARAMETER filter: has no text form"),
        (
            "authors.born=1",
            "INVALID_PARAMETER authors.born: goes through a repeated field",
        ),
        (
            "pageSize.x=1",
            "INVALID_PARAMETER pageSize.x: goes through a field that is no message",
        ),
        ("labels=a", "INVALID_PARAMETER labels: is a map"),
        ("labels[a=1", "INVALID_PARAMETER labels[a: expected `]`"),
        ("pageSize[a]=1", "INVALID_PARAMETER pageSize[a]: is no map"),
        (
            "$alt=json",
            "UNKNOWN_PARAMETER $alt: parameters that start with `$`",
        ),
        ("pageToken=%ff", "INVALID_PARAMETER pageToken"),
        ("pageToken=%0", "INVALID_PARAMETER pageToken"),
        ("%zz=1", "INVALID_PARAMETER"),
        ("=1", "UNKNOWN_PARAMETER"),
    ] {
        let found = refused("GET", &format!("/v1/books?{text}"), "");
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn path_query_and_body_are_put_together() {
    for (method, target, body, expected) in [
        (
            "GET",
            "/v1/shelves/7/books?pageSize=1",
            "",
            json!({"parent": "shelves/7", "pageSize": 1}),
        ),
        (
            "POST",
            "/v1/shelves/7/books?requestId=r",
            r#"{"title": "T", "pageCount": 3}"#,
            json!({"parent": "shelves/7", "requestId": "r", "book": {"title": "T", "pageCount": 3}}),
        ),
        (
            "POST",
            "/v1/shelves/7/books",
            "",
            json!({"parent": "shelves/7"}),
        ),
        (
            "POST",
            "/v1/shelves/7/books",
            "{}",
            json!({"parent": "shelves/7", "book": {}}),
        ),
        (
            "POST",
            "/v1/shelves/7/books/8:lend",
            r#"{"reader": "me", "time": "60s"}"#,
            json!({"name": "shelves/7/books/8", "reader": "me", "time": "60s"}),
        ),
        (
            "POST",
            "/v1/shelves/7/books/8:lend",
            "",
            json!({"name": "shelves/7/books/8"}),
        ),
        (
            "POST",
            "/v1/shelves/7/books/8:lend",
            r#"{"name": "shelves/7/books/8"}"#,
            json!({"name": "shelves/7/books/8"}),
        ),
        (
            "GET",
            "/v1/numbers/-9223372036854775808/2",
            "",
            json!({"number": "-9223372036854775808", "kind": "KIND_POEM"}),
        ),
        (
            "PUT",
            "/v1/files/a/b",
            "\u{1}raw",
            json!({"name": "files/a/b", "content": {"contentType": "application/json", "data": "AXJhdw=="}}),
        ),
    ] {
        let (_, found) =
            call(method, target, body).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(found, expected, "{method} {target} {body}");
    }
}

#[test]
fn contradictions_are_refused() {
    for (method, target, body, expected) in [
        (
            "POST",
            "/v1/shelves/7/books/8:lend",
            r#"{"name": "other"}"#,
            "CONFLICTING_VALUES name",
        ),
        (
            "POST",
            "/v1/shelves/7/books/8:lend?reader=me",
            "{}",
            "UNKNOWN_PARAMETER reader",
        ),
        (
            "PATCH",
            "/v1/shelves/7/books/8",
            r#"{"name": "other"}"#,
            "CONFLICTING_VALUES book.name",
        ),
        (
            "POST",
            "/v1/shelves/7/books?book.title=x",
            "{}",
            "CONFLICTING_VALUES book.title: is given by the body",
        ),
        (
            "POST",
            "/v1/shelves/7/books?parent=shelves/8",
            "{}",
            "CONFLICTING_VALUES parent: is given by the path",
        ),
        (
            "GET",
            "/v1/books",
            "{}",
            "UNEXPECTED_BODY : this method takes no body",
        ),
        ("DELETE", "/v1/shelves/7/books/8", "x", "UNEXPECTED_BODY"),
        ("GET", "/v1/numbers/x/2", "", "WRONG_TYPE number"),
        ("GET", "/v1/numbers/1/SONG", "", "WRONG_TYPE kind"),
        (
            "POST",
            "/v1/shelves/7/books",
            r#"{"titel": "T"}"#,
            "UNKNOWN_FIELD titel: unknown field of vectors.Book; did you mean `title`?",
        ),
        (
            "POST",
            "/v1/shelves/7/books",
            r#"{"author": {"friends": [{}, {"born": true}]}}"#,
            "WRONG_TYPE author.friends[1].born",
        ),
    ] {
        let found = refused(method, target, body);
        assert!(
            found.starts_with(expected),
            "{method} {target} {body}: {found}"
        );
    }
}

#[test]
fn patch_without_mask_masks_what_its_body_holds() {
    for (target, body, mask) in [
        ("", r#"{"title": "T"}"#, "title"),
        ("", r#"{"pageCount": 1, "title": ""}"#, "pageCount,title"),
        ("", r#"{"note": null}"#, "note"),
        ("", r#"{"author": {"fullName": "A"}}"#, "author.fullName"),
        ("", r#"{"author": {}}"#, "author"),
        (
            "",
            r#"{"tags": ["a"], "labels": {"x": "y"}}"#,
            "tags,labels",
        ),
        ("", r#"{"printed": "2026-01-01T00:00:00Z"}"#, "printed"),
        ("?updateMask=title", r#"{"pageCount": 1}"#, "title"),
    ] {
        let path = format!("/v1/shelves/7/books/8{target}");
        let (_, found) = call("PATCH", &path, body).unwrap();
        assert_eq!(found["updateMask"], mask, "{body}");
        assert_eq!(found["book"]["name"], "shelves/7/books/8");
    }
}
