//! JSON both ways, one vector a rule.

use weft_transcode::{Error, Reason};

use crate::FIXTURE;

const MESSAGE: &str = "vectors.Everything";

/// JSON to wire bytes and back.
fn through(json: &str) -> Result<String, Error> {
    let wire = FIXTURE.plans.from_json(MESSAGE, json.as_bytes())?;
    let json = FIXTURE.plans.to_json(MESSAGE, &wire)?;
    Ok(String::from_utf8(json).unwrap())
}

#[test]
fn accepted_forms_come_back_canonical() {
    for (given, canonical) in [
        ("{}", "{}"),
        (" {\n\t} \r\n", "{}"),
        (r#"{"fInt32":1}"#, r#"{"fInt32":1}"#),
        (r#"{"f_int32":1}"#, r#"{"fInt32":1}"#),
        (r#"{"fInt32":"-7"}"#, r#"{"fInt32":-7}"#),
        (r#"{"fInt32":1.0}"#, r#"{"fInt32":1}"#),
        (r#"{"fInt32":1e2}"#, r#"{"fInt32":100}"#),
        (r#"{"fInt32":-2147483648}"#, r#"{"fInt32":-2147483648}"#),
        (r#"{"fInt32":0}"#, "{}"),
        (r#"{"fInt32":null}"#, "{}"),
        (
            r#"{"fInt64":9223372036854775807}"#,
            r#"{"fInt64":"9223372036854775807"}"#,
        ),
        (
            r#"{"fUint64":"18446744073709551615"}"#,
            r#"{"fUint64":"18446744073709551615"}"#,
        ),
        (
            r#"{"fSint32":-1,"fSint64":-2}"#,
            r#"{"fSint32":-1,"fSint64":"-2"}"#,
        ),
        (
            r#"{"fFixed32":1,"fFixed64":2,"fSfixed32":-3,"fSfixed64":-4}"#,
            r#"{"fFixed32":1,"fFixed64":"2","fSfixed32":-3,"fSfixed64":"-4"}"#,
        ),
        (
            r#"{"fDouble":"NaN","fFloat":"-Infinity"}"#,
            r#"{"fDouble":"NaN","fFloat":"-Infinity"}"#,
        ),
        (
            r#"{"fDouble":"1.5","fFloat":0.1}"#,
            r#"{"fDouble":1.5,"fFloat":0.1}"#,
        ),
        (r#"{"fDouble":1}"#, r#"{"fDouble":1.0}"#),
        (r#"{"fBool":true}"#, r#"{"fBool":true}"#),
        (
            r#"{"fString":"a\"\\\/\b\f\n\r\t\u0001\u20ac\ud83d\ude00"}"#,
            "{\"fString\":\"a\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u0001€😀\"}",
        ),
        (r#"{"fBytes":"-_8"}"#, r#"{"fBytes":"+/8="}"#),
        (r#"{"fBytes":"aGk="}"#, r#"{"fBytes":"aGk="}"#),
        (r#"{"fKind":"KIND_POEM"}"#, r#"{"fKind":"KIND_POEM"}"#),
        (r#"{"fKind":2}"#, r#"{"fKind":"KIND_POEM"}"#),
        (r#"{"fKind":77}"#, r#"{"fKind":77}"#),
        (r#"{"fMessage":{}}"#, r#"{"fMessage":{}}"#),
        (r#"{"rInt32":[1,"2",3]}"#, r#"{"rInt32":[1,2,3]}"#),
        (r#"{"rInt32":[]}"#, "{}"),
        (r#"{"rLoose":[1,2]}"#, r#"{"rLoose":["1","2"]}"#),
        (
            r#"{"rMessage":[{},{"fBool":true}]}"#,
            r#"{"rMessage":[{},{"fBool":true}]}"#,
        ),
        (
            r#"{"mString":{"a":"","b":"c"}}"#,
            r#"{"mString":{"a":"","b":"c"}}"#,
        ),
        (r#"{"mInt32":{"-1":"5"}}"#, r#"{"mInt32":{"-1":"5"}}"#),
        (
            r#"{"mBool":{"true":"KIND_NOVEL","false":0}}"#,
            r#"{"mBool":{"true":"KIND_NOVEL","false":"KIND_UNSPECIFIED"}}"#,
        ),
        (
            r#"{"oInt32":0,"oString":"","oKind":0,"oBool":false}"#,
            r#"{"oInt32":0,"oString":"","oKind":"KIND_UNSPECIFIED","oBool":false}"#,
        ),
        (r#"{"cInt32":0}"#, r#"{"cInt32":0}"#),
        (r#"{"cNull":null}"#, r#"{"cNull":null}"#),
        (r#"{"cString":null,"cInt32":1}"#, r#"{"cInt32":1}"#),
        (
            r#"{"wTimestamp":"2026-01-01T01:00:00+01:00"}"#,
            r#"{"wTimestamp":"2026-01-01T00:00:00Z"}"#,
        ),
        (r#"{"wDuration":"1.1s"}"#, r#"{"wDuration":"1.100s"}"#),
        (r#"{"wMask":"a.bC,d"}"#, r#"{"wMask":"a.bC,d"}"#),
        (r#"{"wMask":""}"#, r#"{"wMask":""}"#),
        (
            r#"{"wStruct":{"a":[1,null,"x",{"b":true}]}}"#,
            r#"{"wStruct":{"a":[1.0,null,"x",{"b":true}]}}"#,
        ),
        (r#"{"wValue":null}"#, r#"{"wValue":null}"#),
        (r#"{"wList":[]}"#, r#"{"wList":[]}"#),
        (r#"{"rValue":[null,1]}"#, r#"{"rValue":[null,1.0]}"#),
        (r#"{"mValue":{"a":null}}"#, r#"{"mValue":{"a":null}}"#),
        (r#"{"wEmpty":{}}"#, r#"{"wEmpty":{}}"#),
        (r#"{"wInt64":0}"#, r#"{"wInt64":"0"}"#),
        (r#"{"wString":null}"#, "{}"),
        (
            r#"{"wBytes":"","wBool":false}"#,
            r#"{"wBool":false,"wBytes":""}"#,
        ),
        (
            r#"{"wAny":{"fBool":true,"@type":"type.googleapis.com/vectors.Everything"}}"#,
            r#"{"wAny":{"@type":"type.googleapis.com/vectors.Everything","fBool":true}}"#,
        ),
        (
            r#"{"wAny":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#,
            r#"{"wAny":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#,
        ),
        (r#"{"wAny":{}}"#, r#"{"wAny":{}}"#),
        (r#"{"far":"x","@odd":"y"}"#, r#"{"far":"x","@odd":"y"}"#),
        (r#"{"odd_name":"y"}"#, r#"{"@odd":"y"}"#),
        (r#"{"\u0066Int32":1}"#, r#"{"fInt32":1}"#),
    ] {
        assert_eq!(through(given).as_deref(), Ok(canonical), "{given}");
    }
}

#[test]
fn refusals_name_reason_and_field() {
    use Reason::*;
    for (given, reason, field) in [
        ("", InvalidJson, ""),
        (" ", InvalidJson, ""),
        ("{", InvalidJson, ""),
        ("{}}", InvalidJson, ""),
        ("{} {}", InvalidJson, ""),
        ("{}x", InvalidJson, ""),
        ("\u{feff}{}", InvalidJson, ""),
        ("[]", WrongType, ""),
        ("null", WrongType, ""),
        ("\"x\"", WrongType, ""),
        (r#"{"fInt32":1,}"#, InvalidJson, ""),
        (r#"{"fInt32" 1}"#, InvalidJson, ""),
        (r#"{fInt32:1}"#, InvalidJson, ""),
        (r#"{'fInt32':1}"#, InvalidJson, ""),
        (r#"{"fInt32":01}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":+1}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":1.}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":.5}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":1e}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":-}"#, InvalidJson, "fInt32"),
        (r#"{"fInt32":0x1}"#, InvalidJson, ""),
        (r#"{"fDouble":NaN}"#, InvalidJson, "fDouble"),
        (r#"{"fBool":tru}"#, InvalidJson, "fBool"),
        (r#"{"fString":"a"#, InvalidJson, "fString"),
        ("{\"fString\":\"a\nb\"}", InvalidJson, "fString"),
        (r#"{"fString":"\x"}"#, InvalidJson, "fString"),
        (r#"{"fString":"\u12"}"#, InvalidJson, "fString"),
        (r#"{"fString":"\ud800"}"#, InvalidJson, "fString"),
        (r#"{"fString":"\udc00"}"#, InvalidJson, "fString"),
        (r#"{"fString":"\ud800\u0041"}"#, InvalidJson, "fString"),
        (r#"{"fInt32":1,"fInt32":1}"#, DuplicateField, "fInt32"),
        (r#"{"fInt32":1,"f_int32":1}"#, DuplicateField, "f_int32"),
        (r#"{"fInt32":null,"fInt32":1}"#, DuplicateField, "fInt32"),
        (
            r#"{"mString":{"a":"","a":""}}"#,
            DuplicateField,
            "mString[\"a\"]",
        ),
        (r#"{"cString":"","cInt32":0}"#, DuplicateField, "cInt32"),
        (r#"{"wStruct":{"a":1,"a":2}}"#, DuplicateField, "wStruct.a"),
        (r#"{"nope":1}"#, UnknownField, "nope"),
        (
            r#"{"fMessage":{"rMessage":[{},{"nope":1}]}}"#,
            UnknownField,
            "fMessage.rMessage[1].nope",
        ),
        (
            r#"{"mMessage":{"k":{"nope":1}}}"#,
            UnknownField,
            "mMessage[\"k\"].nope",
        ),
        (r#"{"fInt32":"x"}"#, WrongType, "fInt32"),
        (r#"{"fInt32":""}"#, WrongType, "fInt32"),
        (r#"{"fInt32":" 1"}"#, WrongType, "fInt32"),
        (r#"{"fInt32":1.5}"#, WrongType, "fInt32"),
        (r#"{"fInt32":true}"#, WrongType, "fInt32"),
        (r#"{"fInt32":{}}"#, WrongType, "fInt32"),
        (r#"{"fInt32":2147483648}"#, OutOfRange, "fInt32"),
        (r#"{"fUint32":-1}"#, OutOfRange, "fUint32"),
        (r#"{"fUint64":18446744073709551616}"#, OutOfRange, "fUint64"),
        (r#"{"fInt64":1e30}"#, OutOfRange, "fInt64"),
        (r#"{"fFloat":1e39}"#, OutOfRange, "fFloat"),
        (r#"{"fDouble":1e999}"#, OutOfRange, "fDouble"),
        (r#"{"fBool":"true"}"#, WrongType, "fBool"),
        (r#"{"fBool":1}"#, WrongType, "fBool"),
        (r#"{"fString":1}"#, WrongType, "fString"),
        (r#"{"fBytes":"*"}"#, WrongType, "fBytes"),
        (r#"{"fBytes":[1]}"#, WrongType, "fBytes"),
        (r#"{"fKind":"POEM"}"#, WrongType, "fKind"),
        (r#"{"fKind":1.5}"#, WrongType, "fKind"),
        (r#"{"fMessage":[]}"#, WrongType, "fMessage"),
        (r#"{"rInt32":1}"#, WrongType, "rInt32"),
        (r#"{"rInt32":[null]}"#, WrongType, "rInt32[0]"),
        (r#"{"rInt32":[1,[2]]}"#, WrongType, "rInt32[1]"),
        (r#"{"mString":[]}"#, WrongType, "mString"),
        (r#"{"mString":{"a":null}}"#, WrongType, "mString[\"a\"]"),
        (r#"{"mInt32":{"a":1}}"#, WrongType, "mInt32[\"a\"]"),
        (r#"{"wTimestamp":1}"#, WrongType, "wTimestamp"),
        (r#"{"wTimestamp":"now"}"#, WrongType, "wTimestamp"),
        (r#"{"wDuration":"1"}"#, WrongType, "wDuration"),
        (r#"{"wMask":"a_b"}"#, WrongType, "wMask"),
        (r#"{"wStruct":[]}"#, WrongType, "wStruct"),
        (r#"{"wEmpty":{"a":1}}"#, UnknownField, "wEmpty.a"),
        (r#"{"wAny":{"fBool":true}}"#, WrongType, "wAny"),
        (r#"{"wAny":{"@type":"x/no.Such"}}"#, WrongType, "wAny.@type"),
        (
            r#"{"wAny":{"@type":"x/vectors.Book","titel":""}}"#,
            UnknownField,
            "wAny.titel",
        ),
        (r#"{"wAny":[]}"#, WrongType, "wAny"),
    ] {
        let error = through(given).expect_err(given);
        assert_eq!(
            (error.reason, error.field.as_str()),
            (reason, field),
            "{given}: {error}"
        );
    }
}

#[test]
fn depth_is_limited_in_every_shape() {
    let nest = |open: &str, close: &str, depth| {
        format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
    };
    let fine = nest(r#"{"fMessage":"#, "}", 99);
    assert!(through(&fine).is_ok());
    let list = format!(
        r#"{{"wValue":{}{}}}"#,
        "[".repeat(99_999),
        "]".repeat(99_999)
    );
    for deep in [
        nest(r#"{"fMessage":"#, "}", 100),
        nest(r#"{"fMessage":"#, "}", 100_000),
        list,
        format!(r#"{{"wAny":{}}}"#, nest(r#"{"a":"#, "}", 100_000)),
        format!(r#"{{"wStruct":{}}}"#, nest(r#"{"a":"#, "}", 100)),
    ] {
        assert_eq!(through(&deep).unwrap_err().reason, Reason::TooDeep);
    }
}

#[test]
fn errors_tell_line_and_column() {
    let error = through("{\n  \"fInt32\": 1\n  \"fBool\": true}").unwrap_err();
    assert_eq!(error.message, "expected `,` or `}` at line 3, column 3");
    assert!(
        FIXTURE
            .plans
            .from_json(MESSAGE, b"{\"fString\":\"\xff\"}")
            .is_err()
    );
}

#[test]
fn wire_bytes_in_any_order_are_merged() {
    for (wire, json) in [
        // The last value of a singular field wins.
        (&[0x18, 1, 0x18, 2][..], r#"{"fInt32":2}"#),
        // Parts of a message merge, also around other fields.
        (
            &[0x8a, 1, 2, 0x18, 1, 0x18, 9, 0x8a, 1, 2, 0x68, 1],
            r#"{"fInt32":9,"fMessage":{"fInt32":1,"fBool":true}}"#,
        ),
        // Packed where unpacked was declared, the other way round, and both mixed.
        (
            &[0xba, 1, 2, 5, 6, 0xb8, 1, 7],
            r#"{"rLoose":["5","6","7"]}"#,
        ),
        (&[0xb0, 1, 5, 0xb2, 1, 1, 6], r#"{"rInt32":[5,6]}"#),
        // The last member of a oneof wins.
        (&[0xea, 3, 1, b'x', 0xf0, 3, 4], r#"{"cInt32":4}"#),
        (&[0xf0, 3, 4, 0xea, 3, 1, b'x'], r#"{"cString":"x"}"#),
        // The last entry of a map key wins; missing parts are zero.
        (
            &[0xca, 2, 0, 0xca, 2, 3, 0x12, 1, b'v'],
            r#"{"mString":{"":"v"}}"#,
        ),
        // Unknown fields and wrong wire types are skipped.
        (
            &[0x98, 0x7d, 1, 0x1d, 0, 0, 0, 0, 0x18, 3],
            r#"{"fInt32":3}"#,
        ),
        // A zero on the wire is the same as none.
        (&[0x18, 0, 0x72, 0], "{}"),
    ] {
        let found = FIXTURE.plans.to_json(MESSAGE, wire).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), json, "{wire:x?}");
    }
}

#[test]
fn an_unknown_any_is_written_with_its_bytes() {
    let wire = [&[0xf2, 4, 0x0b, 0x0a, 5][..], b"x/y.Z", &[0x12, 2, 8, 1]].concat();
    let found = FIXTURE.plans.to_json(MESSAGE, &wire).unwrap();
    assert_eq!(
        String::from_utf8(found).unwrap(),
        r#"{"wAny":{"@type":"x/y.Z","value":"CAE="}}"#
    );
}

#[test]
fn broken_wire_bytes_are_refused() {
    for wire in [
        &[0x18][..],
        &[0x72, 5, b'a'],
        &[0x72, 1, 0xff],
        &[0x8a, 1, 1, 0x18],
        &[0xba, 1, 1, 0x80],
        &[0xba, 4, 7, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let error = FIXTURE.plans.to_json(MESSAGE, wire).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidMessage, "{wire:x?}");
    }
}
