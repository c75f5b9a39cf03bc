//! Time, message and labels: what holds for every format.

use super::Format::{Auto, Json, Text};
use super::*;

const T1: &str = "2025-01-02T03:04:05.678Z";

#[test]
fn where_the_time_is_found() {
    for (input, expect) in [
        (r#"{"timestamp":"2025-01-02T03:04:05.678Z","a":1}"#, "T a=1"),
        (r#"{"a":1,"@timestamp":"2025-01-02T03:04:05.678Z"}"#, "T a=1"),
        (r#"{"_time":1735787045678}"#, "T"),
        (r#"{"time":"2025-01-02 03:04:05,678"}"#, "T"),
        (r#"{"ts":1735787045.678}"#, "T"),
        (r#"{"ts":"2025-01-02T04:04:05.678+01:00"}"#, "T"),
        (r#"{"time":"02/Jan/2025:03:04:05.678 +0000"}"#, "T"),
        (r#"{"ts":"1","time":"x","timestamp":"2025-01-02T03:04:05.678Z"}"#, "T time=\"x\" ts=\"1\""),
        (r#"{"timestamp":"","ts":"2025-01-02T03:04:05.678Z"}"#, "T"),
        (r#"{"_time":null,"ts":"2025-01-02T03:04:05.678Z"}"#, "T _time=null"),
        (r#"{"timestamp":null,"a":1}"#, "- a=1"),
        (r#"{"time":0.35,"ts":"soon"}"#, "- time=0.35 ts=\"soon\""),
        (r#"{"ts":1e30}"#, "- ts=1e30"),
        (
            r#"{"timestamp":"2025-01-02T03:04:05.678Z","@timestamp":"junk","time":"noon"}"#,
            "T @timestamp=\"junk\" time=\"noon\"",
        ),
        (r#"{"timestamp":"2020-01-02T03:04:05Z","timestamp":"2025-01-02T03:04:05.678Z"}"#, "T"),
        (r#"{"timestamp":"2025-01-02T03:04:05\u002e678Z"}"#, "T"),
        (r#"{"a":{"timestamp":1},"time":{"x":1}}"#, "- a.timestamp=1 time.x=1"),
        (r#"{"a":1}"#, "- a=1"),
    ] {
        let expect = if let Some(rest) = expect.strip_prefix('T') { format!("{T1}{rest}") } else { expect.to_string() };
        check(Json, input, &[&expect]);
        // Again, with the names of the first record known.
        check(Json, format!("{input}\n{input}"), &[&expect, &expect]);
    }
}

#[test]
fn a_time_that_is_none() {
    for (input, reason) in [
        (
            r#"{"timestamp":"yesterday"}"#,
            "the field `timestamp` holds no time: `yesterday` is not a time: RFC 3339, `YYYY-MM-DD HH:mm:ss.SSS` or Unix seconds, ms, us or ns is",
        ),
        (r#"{"@timestamp":true}"#, "the field `@timestamp` holds no time: a boolean is none"),
        (r#"{"_time":[1]}"#, "the field `_time` holds no time: an array is none"),
        (
            r#"{"timestamp":"9999-12-31T00:00:00.000Z"}"#,
            "the field `timestamp` holds no time: `9999-12-31T00:00:00.000Z` is outside of the years 1677 to 2262",
        ),
        (
            r#"{"timestamp":"2025-02-30T00:00:00.000Z"}"#,
            "the field `timestamp` holds no time: `2025-02-30T00:00:00.000Z` is outside of the years 1677 to 2262",
        ),
        (r#"{"timestamp":1e300}"#, "the field `timestamp` holds no time: `1e300` is outside of the years 1677 to 2262"),
    ] {
        check(Json, input, &[&format!("!1 {reason}")]);
    }
}

#[test]
fn times_out_of_bounds() {
    let mut options = options(Json);
    options.time_min = Timestamp::parse("2025-01-01").unwrap();
    options.time_max = Timestamp::parse("2025-06-16T12:00:00Z").unwrap();
    let input = "{\"timestamp\":\"1970-01-01\"}\n{\"timestamp\":\"2025-06-17\"}\n{\"timestamp\":\"9999-01-01\"}\n{\"n\":1}\n{\"timestamp\":\"2025-02-01\"}\n";
    check_with(
        &options,
        input,
        &[
            "- n=1",
            "2025-02-01T00:00:00.000Z",
            "!1 the time 1970-01-01T00:00:00.000Z is before 2025-01-01T00:00:00.000Z, the earliest that is taken",
            "!2 the time 2025-06-17T00:00:00.000Z is after 2025-06-16T12:00:00.000Z, the latest that is taken",
            "!3 the field `timestamp` holds no time: `9999-01-01` is outside of the years 1677 to 2262",
        ],
    );
    options.out_of_range = OutOfRange::KeepAtArrival;
    check_with(
        &options,
        input,
        &[
            "- original_timestamp=\"1970-01-01\"",
            "- original_timestamp=\"2025-06-17\"",
            "- original_timestamp=\"9999-01-01\"",
            "- n=1",
            "2025-02-01T00:00:00.000Z",
        ],
    );
    options.format = Text;
    check_with(
        &options,
        "2001-01-01 00:00:00 old",
        &["- message=\"2001-01-01 00:00:00 old\" original_timestamp=\"2001-01-01T00:00:00.000Z\""],
    );
}

#[test]
fn fields_that_are_named() {
    let mut options = options(Json);
    options.time_field = Some("meta.at".into());
    options.msg_field = Some("log".into());
    for (input, expect) in [
        (r#"{"meta":{"at":"2025-01-02T03:04:05.678Z"},"log":"x"}"#, "T message=\"x\""),
        (r#"{"timestamp":"2025-01-02T03:04:05.678Z","message":"y"}"#, "T message=\"y\""),
        (
            r#"{"meta":{"at":1735787045678},"timestamp":7,"log":"x","message":"y"}"#,
            "T message=\"x\" original_message=\"y\" original_timestamp=7",
        ),
        (
            r#"{"meta":{"at":"x"}}"#,
            "!1 the field `meta.at` holds no time: `x` is not a time: RFC 3339, `YYYY-MM-DD HH:mm:ss.SSS` or Unix seconds, ms, us or ns is",
        ),
    ] {
        let expect = if let Some(rest) = expect.strip_prefix('T') { format!("{T1}{rest}") } else { expect.to_string() };
        check_with(&options, input, &[&expect]);
    }
}

#[test]
fn labels_given_and_from_fields() {
    let mut options = options(Auto);
    options.labels = Labels::new([("env", "prod")]);
    options.stream_fields = vec!["app".into(), "k8s.pod".into(), "env".into()];
    let input = "{\"app\":\"a\",\"k8s\":{\"pod\":7},\"env\":\"dev\"}\n{\"app\":[],\"n\":1}\n{\"app\":\"a\",\"k8s\":{\"pod\":7}}\n";
    let out = run(&options, input.as_bytes());
    let batch = &out.batches[0];
    let labels: Vec<String> = batch.heads.iter().map(|h| batch.streams[h.stream as usize].to_string()).collect();
    assert_eq!(
        labels,
        [r#"{app="a",env="prod",k8s.pod="7"}"#, r#"{env="prod"}"#, r#"{app="a",env="prod",k8s.pod="7"}"#]
    );
    assert_eq!(batch.streams.len(), 2);
    assert_eq!(
        render(&out),
        ["- app=\"a\" env=\"dev\" k8s.pod=7", "- app=[] env=\"prod\" n=1", "- app=\"a\" env=\"prod\" k8s.pod=7",]
    );
}

#[test]
fn names_of_formats() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("JSON5".parse::<Format>().is_err());
}
