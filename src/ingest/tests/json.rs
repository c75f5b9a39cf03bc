//! JSON: values, framing, and what is broken.

use super::Format::Json;
use super::*;

#[test]
fn values_come_as_they_were() {
    for (value, expect) in [
        ("1094.50", "1094.50"),
        ("1e400", "1e400"),
        ("-0", "-0"),
        ("18446744073709551616", "18446744073709551616"),
        (r#""""#, r#""""#),
        ("null", "null"),
        ("[]", "[]"),
        ("{}", "{}"),
        (r#"[1, {"a" : [ "x y" ], "a": null} ]"#, r#"[1,{"a":["x y"],"a":null}]"#),
        (r#"["\" [ ] , ", "\\"]"#, r#"["\" [ ] , ","\\"]"#),
        (r#""\u0000\ud83d\ude80\/\b\f\n\r\t\"\\""#, "\"\\u0000🚀/\\b\\f\\n\\r\\t\\\"\\\\\""),
        (r#""a\ud800b\udc00\ud800\ud800""#, "\"a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\""),
    ] {
        check(Json, format!("{{\"v\":{value}}}"), &[&format!("- v={expect}")]);
        check(Json, format!(" {{ \"v\" : {value} }} \r\n"), &[&format!("- v={expect}")]);
    }
    let digits = "9".repeat(400);
    check(Json, format!("{{\"v\":{digits}}}"), &[&format!("- v={digits}")]);
}

#[test]
fn nesting_flattens() {
    check(
        Json,
        r#"{"a":{"b":{"c":1,"d":{}},"e.f":2},"a.e":3,"":4,"x":{"":5}}"#,
        &["- =4 a.b.c=1 a.b.d={} a.e=3 a.e.f=2 x.=5"],
    );
    check(Json, "{}", &["-"]);
    check(Json, r#"{"a":1,"b":2,"a":3}"#, &["- a=3 b=2"]);
    let mut out = Collected::default();
    let Ok(counts) = ingest_slice(&options(Json), b"{\"a\":1,\"a\":2,\"b\":{\"c\":0},\"b\":{\"c\":1}}", &mut out);
    assert_eq!(counts.duplicate_fields, 2);
}

#[test]
fn names_that_look_like_predicted_ones() {
    // The second line's keys begin as those of the first, or hold what only escapes can write.
    let expect = ["- ab=1 x.y=2", "- a=1 x=2", "- abc=1 x.yz=2", "- a\"b=1", "- a\"b=1"];
    let input = "{\"ab\":1,\"x\":{\"y\":2}}\n{\"a\":1,\"x\":2}\n{\"abc\":1,\"x\":{\"yz\":2}}\n{\"a\\\"b\":1}\n{\"a\\\"b\":1}\n{\"a\"b\":1}\n";
    let mut all: Vec<&str> = expect.to_vec();
    all.push("!6 broken JSON at byte 4: expected `:`");
    check(Json, input, &all);
}

#[test]
fn broken_lines_are_rejected_alone() {
    for (bad, reason) in [
        ("{", "broken JSON: ends at byte 1, expected `}`"),
        ("{\"a\"", "broken JSON: ends at byte 4, expected `:`"),
        ("{\"a\":", "broken JSON: ends at byte 5, expected a value"),
        ("{\"a\":1", "broken JSON: ends at byte 6, expected `,` or `}`"),
        ("{\"a\":1,}", "broken JSON at byte 7: expected a key in quotes"),
        ("{,}", "broken JSON at byte 1: expected a key in quotes or `}`"),
        ("{\"a\":01}", "broken JSON at byte 6: expected `,` or `}`"),
        ("{\"a\":+1}", "broken JSON at byte 5: expected a value"),
        ("{\"a\":1.}", "broken JSON at byte 7: expected a digit"),
        ("{\"a\":-}", "broken JSON at byte 6: expected a digit"),
        ("{\"a\":NaN}", "broken JSON at byte 5: expected a value"),
        ("{\"a\":'x'}", "broken JSON at byte 5: expected a value"),
        ("{\"a\":\"x", "broken JSON: ends at byte 7, expected the end of a string"),
        ("{\"a\":\"\\x\"}", "broken JSON at byte 6: unknown escape in a string"),
        ("{\"a\":\"\\u12\"}", "broken JSON at byte 6: unknown escape in a string"),
        ("{\"a\":\"\u{1}\"}", "broken JSON at byte 6: a control character in a string must be escaped"),
        ("{\"a\":[1,]}", "broken JSON at byte 8: expected a value"),
        ("{\"a\":[1}", "broken JSON at byte 7: expected `,` or `]`"),
        ("{\"a\":[{\"b\":1]}", "broken JSON at byte 12: expected `,` or `}`"),
        ("{\"a\":[{b:1}]}", "broken JSON at byte 7: expected a key in quotes"),
        ("{\"a\":1} x", "broken JSON at byte 8: more text behind the object"),
        ("{\"a\":1}{\"b\":2}", "broken JSON at byte 7: more text behind the object"),
        ("[1]", "a record must be a JSON object, which begins with `{`"),
        ("\"text\"", "a record must be a JSON object, which begins with `{`"),
        ("12", "a record must be a JSON object, which begins with `{`"),
        ("plain text", "a record must be a JSON object, which begins with `{`"),
    ] {
        check(Json, format!("{{\"n\":1}}\n{bad}\n{{\"n\":2}}"), &["- n=1", "- n=2", &format!("!2 {reason}")]);
    }
    check(
        Json,
        b"{\"n\":1}\n{\"a\":\"\xff\"}\n\n\x00\xfe\n{\"n\":2}\n",
        &["- n=1", "- n=2", "!2 invalid UTF-8 at byte 6", "!4 invalid UTF-8 at byte 1"],
    );
}

#[test]
fn an_array_is_many_records() {
    check(Json, "[]", &[]);
    check(
        Json,
        "\u{feff} [ {\"n\":1} , {\"n\":[2,\"],[\"]}\n,\n{\"n\":3}\n]\n",
        &["- n=1", "- n=[2,\"],[\"]", "- n=3"],
    );
    check(
        Json,
        "[\n{\"n\":1},\n{\"n\":},\n17,\n{\"n\":\n2}]",
        &[
            "- n=1",
            "- n=2",
            "!3 broken JSON at byte 5: expected a value",
            "!4 a record must be a JSON object, which begins with `{`",
        ],
    );
    check(
        Json,
        "[{\"n\":1},,{\"n\":2},]",
        &["- n=1", "- n=2", "!1 an element of the array is missing", "!1 an element of the array is missing"],
    );
    check(Json, "[{\"n\":1},\n{\"n\":2}", &["- n=1", "- n=2", "!2 the array has no end"]);
    check(
        Json,
        "[{\"n\":1}] x\n{\"n\":2}\n",
        &["- n=1", "- n=2", "!1 a record must be a JSON object, which begins with `{`"],
    );
    // A quote that is missing takes one line with it, not the rest.
    check(
        Json,
        "[\n{\"n\":\"x},\n{\"n\":2},\n{\"n\":3}\n]",
        &["- n=2", "- n=3", "!2 broken JSON: ends at byte 9, expected the end of a string"],
    );
}

#[test]
fn objects_over_several_lines() {
    let input = "{\n  \"a\": {\n    \"b\": \"}\"\n  }\n}\n{\n  \"a\": 1\n{\"n\":1}\n{\n\"c\": 2\n}\n{\n  \"d\": 3,\n";
    for format in [Json, Format::Auto] {
        check(
            format,
            input,
            &[
                "- a.b=\"}\"",
                "- n=1",
                "- c=2",
                "!6 broken JSON: ends at byte 10, expected `}`",
                "!12 broken JSON: ends at byte 11, expected `}`",
            ],
        );
    }
}
