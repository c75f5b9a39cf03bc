//! Logfmt, syslog, access logs, and which is which.

use super::Format::{Auto, Clf, Logfmt, Syslog};
use super::*;

#[test]
fn logfmt() {
    for (input, expect) in [
        (
            "level=info msg=\"a \\\"b\\\"\\n\\u00e9\" n=1.50 ok=true cached x= z=007 url=http://h/?a=b",
            "- cached=true level=\"info\" msg=\"a \\\"b\\\"\\né\" n=1.50 ok=true url=\"http://h/?a=b\" x=\"\" z=\"007\"",
        ),
        ("ts=2025-01-02T03:04:05Z a=b", "2025-01-02T03:04:05.000Z a=\"b\""),
        ("  time=\"2025-01-02T03:04:05Z\"\ta=\"\"", "2025-01-02T03:04:05.000Z a=\"\""),
        ("a=1 a=2", "- a=2"),
        ("no pairs here", "!1 no `key=value` in the line"),
        ("=x", "!1 no `key=value` in the line"),
        ("a=\"open", "!1 the quoted value that begins at byte 2 has no end"),
        ("a=\"open\\", "!1 the quoted value that begins at byte 2 has no end"),
    ] {
        check(Logfmt, input, &[expect]);
    }
    check(Logfmt, b"a=\xff b=1", &["- a=\"\u{fffd}\" b=1"]);
}

#[test]
fn syslog_rfc_5424() {
    for (input, expect) in [
        (
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed",
            "2003-10-11T22:14:15.003Z app_name=\"su\" facility=\"auth\" hostname=\"mymachine.example.com\" level=\"fatal\" message=\"'su root' failed\" msg_id=\"ID47\" severity=\"crit\"",
        ),
        (
            r#"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - [ex@1 iut="3" s="a\"\]\\\x"][only] text"#,
            r#"2003-08-24T12:14:15.000003Z app_name="myproc" facility="local4" hostname="192.0.2.1" level="info" message="text" proc_id="8710" sd.ex@1.iut="3" sd.ex@1.s="a\"]\\\\x" sd.only={} severity="notice""#,
        ),
        ("<13>1 - - - - - -", "- facility=\"user\" level=\"info\" message=\"\" severity=\"notice\""),
        (
            "57 <13>1 - h a - - - counted by RFC 6587",
            "- app_name=\"a\" facility=\"user\" hostname=\"h\" level=\"info\" message=\"counted by RFC 6587\" severity=\"notice\"",
        ),
        ("<13>1 - h", "!1 not a syslog message of RFC 5424 or RFC 3164"),
        ("<13>1 soon h a - - - x", "!1 not a syslog message of RFC 5424 or RFC 3164"),
        ("<13>1 - h a - - [x y=\"open] x", "!1 not a syslog message of RFC 5424 or RFC 3164"),
    ] {
        check(Syslog, input, &[expect]);
    }
}

#[test]
fn syslog_rfc_3164() {
    for (input, expect) in [
        (
            "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed",
            "2024-10-11T22:14:15.000Z app_name=\"su\" facility=\"auth\" hostname=\"mymachine\" level=\"fatal\" message=\"'su root' failed\" proc_id=\"12\" severity=\"crit\"",
        ),
        (
            "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: check pass; user unknown",
            "2025-06-14T15:16:01.000Z app_name=\"sshd(pam_unix)\" hostname=\"combo\" message=\"check pass; user unknown\" proc_id=\"19939\"",
        ),
        // A day ahead is a clock that runs fast; more is the year before.
        ("Jun 16 11:59:59 h a: x", "2025-06-16T11:59:59.000Z app_name=\"a\" hostname=\"h\" message=\"x\""),
        ("Jun 16 12:00:01 h a: x", "2024-06-16T12:00:01.000Z app_name=\"a\" hostname=\"h\" message=\"x\""),
        ("Feb 29 00:00:00 h a: x", "2024-02-29T00:00:00.000Z app_name=\"a\" hostname=\"h\" message=\"x\""),
        (
            "Jun 14 15:16:01 combo syslogd 1.4.1: restart.",
            "2025-06-14T15:16:01.000Z hostname=\"combo\" message=\"syslogd 1.4.1: restart.\"",
        ),
        (
            "Jul  1 09:01:05 --- last message repeated 1 time ---",
            "2024-07-01T09:01:05.000Z message=\"--- last message repeated 1 time ---\"",
        ),
        (
            "2025-01-02T03:04:05.678901+00:00 host cron[5]: ERROR: no",
            "2025-01-02T03:04:05.678901Z app_name=\"cron\" hostname=\"host\" level=\"error\" message=\"ERROR: no\" proc_id=\"5\"",
        ),
        ("<13>anything at all", "- facility=\"user\" level=\"info\" message=\"anything at all\" severity=\"notice\""),
        (
            "<13>app[1]: x",
            "- app_name=\"app\" facility=\"user\" level=\"info\" message=\"x\" proc_id=\"1\" severity=\"notice\"",
        ),
        ("<192>x", "!1 not a syslog message of RFC 5424 or RFC 3164"),
        ("no time at all", "!1 not a syslog message of RFC 5424 or RFC 3164"),
    ] {
        check(Syslog, input, &[expect]);
    }
}

#[test]
fn access_logs() {
    for (input, expect) in [
        (
            r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
            r#"2000-10-10T20:55:36.000Z bytes=2326 level="info" message="GET /apache_pb.gif HTTP/1.0" method="GET" protocol="HTTP/1.0" remote_addr="127.0.0.1" remote_user="frank" status=200 url="/apache_pb.gif""#,
        ),
        (
            r#"::1 id u ser [10/Oct/2000:13:55:36 +0000] "GET /a b\"c HTTP/1.1" 404 - "-" "Mozilla \"x\" \x22" "10.0.0.1" 0.125 0.100 ."#,
            r#"2000-10-10T13:55:36.000Z extra="0.100 ." ident="id" level="warn" message="GET /a b\"c HTTP/1.1" method="GET" protocol="HTTP/1.1" remote_addr="::1" remote_user="u ser" request_time=0.125 status=404 url="/a b\"c" user_agent="Mozilla \"x\" \\x22" x_forwarded_for="10.0.0.1""#,
        ),
        (
            r#"www.example.com:443 1.2.3.4 - - [10/Oct/2000:13:55:36 +0000] "\x16\x03\x01" 500 0 "r" "u""#,
            r#"2000-10-10T13:55:36.000Z bytes=0 level="error" message="\\x16\\x03\\x01" referer="r" remote_addr="1.2.3.4" status=500 user_agent="u" vhost="www.example.com:443""#,
        ),
        (
            r#"h - - [10/Oct/2000:13:55:36 +0000] "-" 408 -"#,
            r#"2000-10-10T13:55:36.000Z level="warn" message="-" remote_addr="h" status=408"#,
        ),
        (r#"h - - [soon] "GET / HTTP/1.0" 200 1"#, "!1 not a line of the Common or Combined Log Format"),
        (r#"h - - [10/Oct/2000:13:55:36 +0000] "GET / 200 1"#, "!1 not a line of the Common or Combined Log Format"),
        ("", ""),
    ] {
        let expect: Vec<&str> = [expect].into_iter().filter(|e| !e.is_empty()).collect();
        check(Clf, input, &expect);
    }
}

#[test]
fn found_out() {
    let clf = r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326"#;
    for (line, field) in [
        ("{\"message\":\"x\"}", "message"),
        ("level=info msg=x", "msg"),
        ("<34>1 - h a - - - x", "app_name"),
        ("Jun 14 15:16:01 combo su: x", "app_name"),
        ("2025-01-02T03:04:05Z host cron[5]: x", "app_name"),
        (clf, "remote_addr"),
    ] {
        let out = run(&options(Auto), format!("{line}\nother text\n{line}\n").as_bytes());
        let batch = &out.batches[0];
        let has = |i: usize| batch.fields(i).any(|(n, ..)| n == field);
        assert_eq!((batch.len(), has(0), has(1), has(2)), (3, true, field == "message", true), "{line}");
    }
    for line in ["2025-01-02T03:04:05Z INFO main: x", "a = b", "nothing", "[not json]", "x=1 is a formula"] {
        let out = run(&options(Auto), format!("{line}\n").as_bytes());
        assert!(out.batches[0].fields(0).any(|(n, _, text)| n == "message" && text == line), "{line}");
    }
}

#[test]
fn lines_that_are_something_else() {
    // In the midst of JSON, text is text, but what begins as an object and is none is rejected.
    check(
        Auto,
        b"{\"n\":1}\n{\"n\":2\nstarting up\n[1]\n\x00\x01\x02\n{\"n\":3}\n",
        &[
            "- n=1",
            "- message=\"starting up\"",
            "- n=3",
            "!2 broken JSON: ends at byte 6, expected `,` or `}`",
            "!4 a record must be a JSON object, which begins with `{`",
            "!5 neither JSON nor text: a control character or invalid UTF-8 at byte 0",
        ],
    );
    // In the midst of text nothing is rejected, and objects are objects.
    check(
        Auto,
        b"one\ntwo\n{\"n\":1}\n{\"n\":\n\xff\x00\n",
        &[
            "- message=\"one\"",
            "- message=\"two\"",
            "- n=1",
            "- message=\"{\\\"n\\\":\"",
            "- message=\"\u{fffd}\\u0000\"",
        ],
    );
}
