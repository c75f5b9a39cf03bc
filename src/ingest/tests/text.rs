//! Plain lines: times, levels, and lines that continue others.

use super::Format::Text;
use super::*;
use crate::ingest::text::TextLine;

#[test]
fn times_and_levels() {
    for (line, expect) in [
        ("2015-10-18 18:01:47,978 INFO [main] org.apache: x", "2015-10-18T18:01:47.978Z info"),
        ("2015-07-29 19:04:12,394 - WARN  [/10.10.34.11:3888:Q$L@493] - x", "2015-07-29T19:04:12.394Z warn"),
        ("2016-09-28 04:30:30, Info                  CBS    Loaded", "2016-09-28T04:30:30.000Z info"),
        ("[Sun Dec 04 04:47:44 2005] [error] mod_jk child", "2005-12-04T04:47:44.000Z error"),
        ("[Wed Oct 11 14:32:52.123456 2000] [core:warn] [pid 1] x", "2000-10-11T14:32:52.123456Z warn"),
        ("081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T20:36:15.000Z info"),
        ("17/06/09 20:10:40 ERROR executor.Backend: x", "2017-06-09T20:10:40.000Z error"),
        ("20171223-22:15:29:606|Step_LSC|30002312|x", "2017-12-23T22:15:29.606Z -"),
        ("20171224-0:28:0:83|Step_LSC|30002312|x", "2017-12-24T00:28:00.083Z -"),
        ("03-17 16:13:38.811  1702  2395 W WindowManager: x", "2025-03-17T16:13:38.811Z warn"),
        (
            "- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL FATAL x",
            "2005-06-03T22:42:50.000Z fatal",
        ),
        ("APPREAD 1117838570 2005.06.03 R02-M1 x", "2005-06-03T22:42:50.000Z -"),
        (
            "nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 INFO nova [req] x",
            "2017-05-16T00:00:00.008Z info",
        ),
        ("web_1  | 2024-01-02T03:04:05Z error: x", "2024-01-02T03:04:05.000Z error"),
        ("[10.30 16:49:06] chrome.exe - x", "2024-10-30T16:49:06.000Z -"),
        ("I0102 15:04:05.678901 12345 file.cc:12] x", "2025-01-02T15:04:05.678901Z info"),
        ("E0102 15:04:05.678901 12345 file.cc:12] x", "2025-01-02T15:04:05.678901Z error"),
        ("2024/01/02 03:04:05 [crit] 123#0: x", "2024-01-02T03:04:05.000Z fatal"),
        ("2024-01-02 03:04:05.678 UTC [123] ERROR:  x", "2024-01-02T03:04:05.678Z error"),
        ("2024-01-02T03:04:05.678+02:00  INFO 1 --- [main] x", "2024-01-02T01:04:05.678Z info"),
        ("2024-01-02 03:04:05,123 - root - DEBUG - x", "2024-01-02T03:04:05.123Z debug"),
        ("[2024-01-02T03:04:05Z WARN  my_crate] x", "2024-01-02T03:04:05.000Z warn"),
        ("2024-01-02T03:04:05.678Z 0 [Note] [MY-1] x", "2024-01-02T03:04:05.678Z info"),
        ("2024-01-02T03:04:05.678Z\tinfo\tcaller.go:1\tx", "2024-01-02T03:04:05.678Z info"),
        ("[2024-01-02 03:04:05 +0000] [123] [INFO] x", "2024-01-02T03:04:05.000Z info"),
        ("2024-01-02 03:04:05 [INFO ] x", "2024-01-02T03:04:05.000Z info"),
        ("1:M 01 Jan 2024 00:00:00.123 * Ready", "2024-01-01T00:00:00.123Z -"),
        ("10/Oct/2000:13:55:36 -0700 x", "2000-10-10T20:55:36.000Z -"),
        ("Jun 14 15:16:01 host x", "2025-06-14T15:16:01.000Z -"),
        ("1066036250.603 19 10.0.0.1 x", "2003-10-13T09:10:50.603Z -"),
        ("1735787045678 x", "2025-01-02T03:04:05.678Z -"),
        ("Mon, 02 Jan 2006 15:04:05 GMT x", "2006-01-02T15:04:05.000Z -"),
        ("20240102T030405.5Z x", "2024-01-02T03:04:05.500Z -"),
        ("ERROR something", "- error"),
        ("[warn] something", "- warn"),
        ("error: expected `;`", "- error"),
        ("level=debug x", "- debug"),
        ("WARNING: x", "- warn"),
        // No level, and no time.
        ("Error handling was improved", "- -"),
        ("info about the thing", "- -"),
        ("HTTP server started", "- -"),
        ("2024-01-02 03:04:05 The last ERROR was ignored", "2024-01-02T03:04:05.000Z -"),
        ("2024-01-02 03:04:05 debug symbols not found", "2024-01-02T03:04:05.000Z -"),
        ("2024-01-02 03:04:05 HTTP server started", "2024-01-02T03:04:05.000Z -"),
        ("got 5 ERROR lines", "- -"),
        ("Job started at 2017-01-01 00:00:00 by x", "- -"),
        ("1234567890123456 x", "- -"),
        ("4102444800 in the future", "- -"),
        ("2024-13-02 03:04:05 x", "- -"),
        ("12/11/10 something", "- -"),
        ("5 apples", "- -"),
        ("[1] 12345", "- -"),
        ("", "- -"),
        ("Ψ[", "- -"),
    ] {
        let found = TextLine::read(line, ARRIVAL);
        let time = found.time.map_or("-".to_string(), |t| t.to_string());
        let level = found.level.map_or("-", |l| l.name());
        assert_eq!(format!("{time} {level}"), expect, "{line}");
    }
}

#[test]
fn the_message_is_the_whole_line() {
    check(
        Text,
        "2024-01-02 03:04:05 ERROR  two  spaces \r\n\n  \nx",
        &[
            "2024-01-02T03:04:05.000Z level=\"error\" message=\"2024-01-02 03:04:05 ERROR  two  spaces \"",
            "- message=\"x\"",
        ],
    );
    check(Text, b"a\xffb\xf0\x9f", &["- message=\"a\u{fffd}b\u{fffd}\""]);
}

#[test]
fn stack_traces_are_one_record() {
    for (input, messages) in [
        (
            "2024-01-02 03:04:05 ERROR x\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\n\t... 3 more\nCaused by: java.io.E: y\n\tat d\nnext",
            2,
        ),
        ("x\nTraceback (most recent call last):\n  File \"a.py\", line 1\n    f()\nValueError: bad\nnext: line", 2),
        ("Error: no\n    at f (a.js:1:2)\nat g (a.js:3:4)\nat 10:00 the pump stopped", 2),
        ("x\n  2024-01-02 03:04:05 indented, but with a time\n  more", 2),
        ("panic: x\n\ngoroutine 1 [running]:\n\tmain.go:1", 1),
        ("  first line indented\nsecond", 2),
        ("a\nb\nc", 3),
    ] {
        let out = run(&options(Text), input.as_bytes());
        assert_eq!(out.batches[0].len(), messages, "{input}\n{:?}", render(&out));
    }
    check(Text, "a\n\tb\n c\nd\n", &["- message=\"a\\n\\tb\\n c\"", "- message=\"d\""]);
    let mut apart = options(Text);
    apart.join_lines = false;
    check_with(&apart, "a\n b\n", &["- message=\"a\"", "- message=\" b\""]);
}
