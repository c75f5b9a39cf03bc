//! Rules as tables: what is read, which rule counts, what goes.

use super::*;
use crate::id::{SegmentId, TenantId};
use crate::record::{Labels, Timestamp};
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000_000_000;
const DOCUMENT: &str = include_str!("../../docs/lifecycle.md");

fn config(text: &str) -> PolicyConfig {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}"))
}

fn policy(text: &str) -> Policy {
    Policy::new(&config(text)).unwrap_or_else(|e| panic!("{e}"))
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
}

fn of_tenant(policy: &Policy, tenant: &str, own: &[(&str, &str)]) -> TenantPolicy {
    let tenant = TenantId::new(tenant).expect("a name");
    policy.of_tenant(&tenant, &settings(own)).unwrap_or_else(|e| panic!("{e}"))
}

fn labels(text: &str) -> Labels {
    Labels::new(text.split(',').filter_map(|pair| pair.split_once('=')))
}

fn example() -> Policy {
    let (_, rest) = DOCUMENT.split_once("```toml\n").expect("an example");
    policy(rest.split_once("```").expect("its end").0)
}

#[test]
fn the_example_of_the_document_gives_what_it_says() {
    let policy = example();
    const DELETED: &[(&str, &str)] = &[("deleted/i9", "yes")];
    // Tenant, its settings, labels; age in days, bytes, archive after days, age in days when there is little room.
    type Expect = (Option<i64>, Option<u64>, Option<i64>, Option<i64>);
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, Expect);
    let table: [Row; 13] = [
        ("user-1", &[], "instance=i1,source=app", (Some(30), Some(50_000_000_000), None, Some(14))),
        ("user-1", &[], "instance=i1,source=access", (Some(30), Some(50_000_000), None, None)),
        ("user-1", DELETED, "instance=i9,source=app", (Some(7), None, None, None)),
        ("user-1", DELETED, "instance=i1,source=app", (Some(30), Some(50_000_000_000), None, Some(14))),
        ("user-1", &[], "app=web", (None, None, None, None)),
        ("user-1", &[("retention", "3d")], "app=web", (Some(3), None, None, None)),
        ("user-1", &[("retention", "3d")], "instance=i1", (Some(3), None, None, None)),
        ("user-1", &[("retention", "3d")], "category=audit", (Some(365), None, Some(30), None)),
        ("system", &[], "category=security", (Some(90), None, None, Some(30))),
        ("system", &[], "category=debug", (Some(30), None, None, Some(7))),
        ("system", &[], "category=audit", (Some(365), None, Some(30), None)),
        ("system", &[], "", (Some(90), None, None, Some(30))),
        ("system", &[], "instance=i1", (Some(90), None, None, Some(30))),
    ];
    for (tenant, own, stream, (age, bytes, after, low)) in table {
        let rules = of_tenant(&policy, tenant, own);
        let life = rules.lifetime_of(&labels(stream));
        let days = |ns: Option<i64>| ns.map(|ns| ns / DAY);
        let found =
            (days(life.age_ns), life.bytes, days(life.archive.as_ref().map(|a| a.0)), days(life.low_space_age_ns));
        assert_eq!(found, (age, bytes, after, low), "{tenant} {own:?} {stream}");
        // One that is a day older goes, one that is a day younger stays.
        let class = rules.classify(&labels(stream)).clone();
        for (older, goes) in [(1, true), (-1, false)] {
            let now = Timestamp(1000 * DAY);
            let at = age.map_or(0, |age| 1000 - age - older);
            let held = [held(1, &[class.as_str()], 1, 1, at)];
            assert_eq!(
                expired(&rules, &held, now, false).len() == 1,
                goes && age.is_some(),
                "{tenant} {stream} {older}"
            );
        }
    }
    let quota = |tenant| of_tenant(&policy, tenant, &[]).quota().bytes;
    assert_eq!((quota("user-1"), quota("system")), (Some(20_000_000_000), Some(200_000_000_000)));
    assert_eq!(policy.space().level(1 << 40, 4_000_000_000), SpaceLevel::Low);
    let audit = Place::new("audit").expect("a name");
    assert!(policy.archive_folder(&audit).is_some_and(|f| f.ends_with("duramen-archive")));
}

#[test]
fn the_rule_that_counts() {
    let all = "[[retention]]\nage='9d'\n";
    let app = "[[retention]]\nlabels={app='web'}\nage='1d'\n";
    let any_app = "[[retention]]\nlabels={app='*'}\nage='2d'\n";
    let begins = "[[retention]]\nlabels={app='w*'}\nage='3d'\n";
    let two = "[[retention]]\nlabels={app='*',env='*'}\nage='4d'\n";
    let acme = "[[retention]]\ntenant='acme'\nage='5d'\n";
    let some = "[[retention]]\ntenant='ac*'\nage='6d'\n";
    let bound = "[[retention]]\nage='7d'\nbinding=true\n";
    let other = "[[retention]]\ntenant='other'\nage='8d'\n";
    type Own = &'static [(&'static str, &'static str)];
    let table: [(&[&str], Own, &str, &str); 17] = [
        (&[], &[], "app=web", ""),
        (&[other], &[], "app=web", ""),
        (&[app], &[], "app=web", "1d"),
        (&[app], &[], "app=api", "ever"),
        (&[app], &[], "", "ever"),
        (&[all, app], &[], "app=web", "1d"),
        (&[any_app, app], &[], "app=web", "1d"),
        (&[any_app, begins], &[], "app=web", "2d"),
        (&[begins, any_app], &[], "app=web", "3d"),
        (&[app, two], &[], "app=web,env=x", "4d"),
        (&[app, two], &[], "app=web", "1d"),
        (&[app, acme], &[], "app=web", "5d"),
        (&[acme, some], &[], "app=web", "5d"),
        (&[some, all], &[], "app=web", "6d"),
        (&[acme, bound], &[("retention", "2h")], "app=web", "7d"),
        (&[acme, app], &[("retention", "2h"), ("rules", "app=web age=3h; app=api age=4h")], "app=web", "3h"),
        (&[acme, app], &[("retention", "2h"), ("rules", "app=web age=3h; app=api age=4h")], "app=x", "2h"),
    ];
    for (rules, own, stream, expect) in table {
        let rules = of_tenant(&policy(&rules.concat()), "acme", own);
        let class = rules.classify(&labels(stream)).as_str();
        // Behind a dash is what stands for all rules.
        assert_eq!(class.split('-').next(), Some(expect), "{own:?} {stream}");
    }
}

#[test]
fn classes_are_shared_where_only_ages_are_equal() {
    let text = "[archives]\ncold='c'\nice='i'\n\
        [[retention]]\nlabels={a='1'}\nage='30d'\n[[retention]]\nlabels={a='2'}\nage='720h'\n\
        [[retention]]\nlabels={a='3'}\nage='30d'\nbytes='5MB'\n[[retention]]\nlabels={a='4'}\nage='30d'\nbytes='5MB'\n\
        [[retention]]\nlabels={a='5'}\nage='30d'\nlow_space_age='1d'\n\
        [[archive]]\nlabels={b='1'}\nafter='1d'\nto='cold'\n[[archive]]\nlabels={b='2'}\nafter='1d'\nto='ice'\n";
    let rules = of_tenant(&policy(text), "acme", &[]);
    let class = |stream| rules.classify(&labels(stream)).as_str().to_string();
    assert_eq!(class("a=1"), class("a=2"));
    let distinct = ["a=1", "a=3", "a=4", "a=5", "a=1,b=1", "a=1,b=2", "b=1", "b=2", "x=y", "a=3,b=1"].map(class);
    let set: std::collections::BTreeSet<_> = distinct.iter().collect();
    assert_eq!(set.len(), distinct.len(), "{distinct:?}");
    assert!(distinct.iter().all(|c| c.starts_with("30d") || c.starts_with("ever")));
    // The same rules read again make the same classes: they are written into manifests.
    let again = of_tenant(&policy(text), "acme", &[]);
    assert!(again.classes().eq(rules.classes()));
    assert_eq!((rules.only_class(), rules.age_ns_max()), (None, None));
    let one = of_tenant(&Policy::default(), "acme", &[("retention", "30d")]);
    assert_eq!((one.only_class().map(Class::as_str), one.age_ns_max()), (Some("30d"), Some(30 * DAY)));
    assert_eq!(of_tenant(&Policy::default(), "acme", &[]).only_class(), Some(&Class::default()));
}

#[test]
fn what_is_wrong_is_named() {
    let table = [
        ("[[retention]]\nage='3x'\n", "retention rule 1: age: `3x`"),
        ("[[retention]]\nage='1d'\n[[retention]]\nbytes='much'\n", "retention rule 2: bytes: `much`"),
        ("[[retention]]\nrecords='-5'\n", "retention rule 1: records: `-5`"),
        ("[[retention]]\nage='0d'\n", "retention rule 1: age: `0d`"),
        ("[[retention]]\n", "retention rule 1: it limits nothing"),
        ("[[retention]]\nage='1d'\nlow_space_age='2d'\n", "retention rule 1: low_space_age 2d is not below age 1d"),
        ("[[retention]]\nage='1d'\nlabels={a='b*c'}\n", "retention rule 1: label a: `b*c` has a `*`"),
        ("[[retention]]\nage='1d'\nlabels={a=''}\n", "retention rule 1: label a: a pattern that is empty"),
        ("[[archive]]\nafter='1d'\nto='cold'\n", "archive rule 1: there is no archive `cold`"),
        ("[archives]\ncold='x'\n[[archive]]\nafter='soon'\nto='cold'\n", "archive rule 1: after: `soon`"),
        ("[archives]\n'../x'='x'\n", "archives.../x:"),
        ("[archives]\ncold=''\n", "archives.cold: an archive needs"),
        ("[quota]\nbytes='1d'\n", "quota: bytes: `1d`"),
        ("[quota.tenants.'a/b']\nbytes=1\n", "quota.tenants.a/b:"),
        ("[space]\nlow_bytes='1MB'\nrefuse_bytes='2MB'\n", "space: refuse_bytes 2000000 is above"),
    ];
    for (text, expect) in table {
        let error = Policy::new(&config(text)).expect_err(text).to_string();
        assert!(error.starts_with(expect), "{error}");
    }
    assert!(toml::from_str::<PolicyConfig>("[[retention]]\nages='1d'\n").is_err(), "a name that is misspelt");
    for (name, value, good) in [
        ("retention", "30d", true),
        ("retention", "30", false),
        ("retention_bytes", "5GB", true),
        ("retention_records", "5GB", false),
        ("rules", "source=access,instance=* age=30d bytes=50MB; deleted age=7d;all records=5M", true),
        ("rules", "source age=30d", false),
        ("rules", "source=access age", false),
        ("rules", "source=access size=5MB", false),
        ("archive", "category=audit after=30d to=cold", true),
        ("archive", "category=audit after=30d", false),
        ("archive", "category=audit after=30d to=../x", false),
        ("quota_bytes", "none", false),
        ("deleted/i1", "yes", true),
    ] {
        assert_eq!(check_setting(name, value).is_ok(), good, "{name}={value}");
    }
    assert!(is_setting("deleted/i1") && !is_setting("deleted/") && !is_setting("retentoin"));
}

#[test]
fn a_class_is_named_after_all_rules_that_divide_streams() {
    let a = "[[retention]]\nlabels={s='a'}\nage='30d'\n";
    let a_less = "[[retention]]\nlabels={s='a'}\nage='7d'\n[[retention]]\nlabels={s='b'}\nage='30d'\n";
    let gone = "[[retention]]\nlabels={instance='*'}\ndeleted=true\nage='7d'\n";
    let class = |text: &str, own: &[(&str, &str)], stream| {
        of_tenant(&policy(text), "acme", own).classify(&labels(stream)).as_str().to_string()
    };
    // Records of `a` are of 30 days, and then those of `b` are: a segment of the first is none of the second.
    assert_ne!(class(a, &[], "s=a"), class(a_less, &[], "s=b"));
    assert_ne!(class(gone, &[], "s=a"), class(gone, &[("deleted/i1", "yes")], "s=a"));
    assert_eq!(class(a, &[], "s=a"), class(a, &[("deleted/i1", "yes")], "s=a"));
    assert_eq!(class("[[retention]]\nage='30d'\n", &[], "s=a"), "30d");
    let long = class(
        "[[retention]]\nage='9223372036854775807ns'\nbytes=5\n[[retention]]\nlabels={s='b'}\nage='1d'",
        &[],
        "s=a",
    );
    assert!(long.starts_with("age."), "{long}");
}

fn held(id: u64, classes: &[&str], bytes: u64, records: u64, day: i64) -> Held {
    Held {
        id: SegmentId(id),
        classes: classes.iter().map(|c| Class::new(c).expect("a name")).collect(),
        bytes,
        records,
        max_time: Timestamp(day * DAY),
        place: Place::default(),
        is_divisible: false,
    }
}

#[test]
fn what_is_much_larger_than_it_should_be_is_parted_before_too_much_goes_with_it() {
    let rules = of_tenant(&policy("[[retention]]\nrecords=100\n"), "acme", &[]);
    let class = rules.classify(&labels("s=a")).as_str().to_string();
    let gone = |old: u64, large: u64, newest: u64, low_space: bool| -> Vec<u64> {
        let mut segments = [(1, old), (2, large), (3, newest)].map(|(id, n)| held(id, &[&class], 1, n, id as i64));
        segments[1].is_divisible = true;
        let expiries = expired(&rules, &segments, Timestamp(100 * DAY), low_space);
        expiries.into_iter().flat_map(|expiry| expiry.segments).map(|id| id.0).collect()
    };
    // With it would go what may stay.
    assert_eq!(gone(10, 500, 20, false), [1]);
    assert_eq!(gone(10, 500, 20, true), [1, 2]);
    // All of it is too much.
    assert_eq!(gone(10, 500, 100, false), [1, 2]);
    assert!(gone(10, 50, 20, false).is_empty());
}

#[test]
fn what_goes() {
    let text = "[[retention]]\nage='30d'\nlow_space_age='5d'\n[[retention]]\nlabels={s='x'}\nage='10d'\n\
        [[retention]]\nlabels={s='n'}\nrecords=100\n[[retention]]\nlabels={s='b'}\nage='20d'\nbytes='1KiB'\n";
    let rules = of_tenant(&policy(text), "acme", &[]);
    let class = |stream: &str| rules.classify(&labels(stream)).as_str().to_string();
    let (all, x, n, b) = (class(""), class("s=x"), class("s=n"), class("s=b"));
    // Classes, bytes, records, day; at day 100, what goes, and what goes when there is little room.
    type Segment<'a> = (&'a [&'a str], u64, u64, i64);
    type Row<'a> = (&'a str, &'a [Segment<'a>], &'a [u64], &'a [u64]);
    let table: [Row<'_>; 9] = [
        ("by age", &[(&[&all], 1, 1, 69), (&[&all], 1, 1, 71), (&[&x], 1, 1, 89)], &[1, 3], &[1, 2, 3]),
        ("exactly as old stays", &[(&[&x], 1, 1, 90)], &[], &[]),
        ("the longest-lived counts", &[(&[&x, &all], 1, 1, 80), (&[&x, &n], 1, 1, 1)], &[], &[1]),
        ("a class that no rule makes", &[(&["77d"], 1, 1, 1), (&[""], 1, 1, 1)], &[], &[]),
        ("by number", &[(&[&n], 1, 60, 3), (&[&n], 1, 50, 1), (&[&n], 1, 50, 2)], &[2, 3], &[2, 3]),
        ("until it fits", &[(&[&n], 1, 50, 3), (&[&n], 1, 50, 1), (&[&n], 1, 50, 2)], &[2], &[2]),
        ("the newest stays", &[(&[&n], 1, 500, 1)], &[], &[]),
        ("by bytes", &[(&[&b], 600, 1, 95), (&[&b], 600, 1, 94), (&[&b], 300, 1, 70)], &[2, 3], &[2, 3]),
        ("what went by age is not counted", &[(&[&b], 600, 1, 95), (&[&b], 600, 1, 70)], &[2], &[2]),
    ];
    for (what, segments, plain, low) in table {
        let all: Vec<Held> = (1..)
            .zip(segments)
            .map(|(id, (classes, bytes, records, day))| held(id, classes, *bytes, *records, *day))
            .collect();
        for (low_space, expect) in [(false, plain), (true, low)] {
            let found = expired(&rules, &all, Timestamp(100 * DAY), low_space);
            let mut ids: Vec<u64> = found.iter().flat_map(|e| e.segments.iter().map(|s| s.0)).collect();
            ids.sort_unstable();
            assert_eq!(ids, expect, "{what}, little room: {low_space}");
            assert!(found.iter().all(|e| e.reason.contains("retention of")), "{found:?}");
        }
    }
    let next = next_due(&rules, &[held(1, &[&all], 1, 1, 80), held(2, &[&x], 1, 1, 95), held(3, &[&n], 1, 1, 1)]);
    assert_eq!(next, Some(Timestamp(105 * DAY + 1)));
    assert_eq!(next_due(&rules, &[held(3, &[&n], 1, 1, 1)]), None);
}

#[test]
fn what_is_archived() {
    let text = "[archives]\ncold='c'\n[[retention]]\nage='365d'\n[[archive]]\nlabels={category='audit'}\nafter='30d'\nto='cold'\n";
    let rules = of_tenant(&policy(text), "acme", &[]);
    let audit = rules.classify(&labels("category=audit")).clone();
    let plain = rules.classify(&labels("")).clone();
    let cold = Place::new("cold").expect("a name");
    let mut all = vec![
        held(1, &[audit.as_str()], 1, 1, 69),
        held(2, &[audit.as_str()], 1, 1, 71),
        held(3, &[plain.as_str()], 1, 1, 1),
        held(4, &[audit.as_str(), plain.as_str()], 1, 1, 1),
    ];
    let now = Timestamp(100 * DAY);
    let expect = vec![Move { segment: SegmentId(1), class: audit.clone(), to: cold.clone() }];
    assert_eq!(to_archive(&rules, &all, now), expect);
    assert_eq!(next_due(&rules, &all[..2]), Some(Timestamp(99 * DAY + 1)));
    all[0].place = cold;
    assert_eq!(to_archive(&rules, &all, now), []);
    assert_eq!(next_due(&rules, &all[..1]), Some(Timestamp((69 + 365) * DAY + 1)));
    assert_eq!(rules.merge_limits(&audit).span_ns, Some(30 * DAY / 8));
}

#[test]
fn limits_of_segments() {
    let span = |own: &[(&str, &str)]| {
        let rules = of_tenant(&Policy::default(), "acme", own);
        let limits = rules.only_class().map(|c| rules.merge_limits(c)).expect("one class");
        (limits.span_ns.map(|ns| ns / DAY), limits.bytes, limits.records)
    };
    assert_eq!(span(&[]), (None, None, None));
    assert_eq!(span(&[("retention", "80d")]), (Some(10), None, None));
    assert_eq!(span(&[("retention", "2d"), ("retention_records", "80")]), (Some(1), None, Some(10)));
    assert_eq!(span(&[("retention_bytes", "4")]), (None, Some(1), None));
}

#[test]
fn quotas() {
    let own = [("quota_bytes", "1000"), ("quota_records", "10")];
    let quota = of_tenant(&policy("[quota]\nbytes=5\ningest_bytes_per_day='2KB'\n"), "acme", &own).quota().clone();
    for (bytes, records, today, asked, expect) in [
        (0, 0, 0, (1000, 10), None),
        (900, 0, 0, (101, 1), Some("bytes")),
        (0, 10, 0, (1, 1), Some("records")),
        (0, 0, 1950, (51, 1), Some("ingest_bytes_per_day")),
        (u64::MAX, 0, 0, (1, 1), Some("bytes")),
    ] {
        let usage = Usage { bytes, records, ingest_bytes_today: today };
        let found = quota.admit("acme", &usage, asked.0, asked.1);
        assert_eq!(found.as_ref().err().map(|e| e.quota), expect, "{usage:?}");
        if let Err(e) = found {
            assert!(e.to_string().contains(&format!("`{}` of tenant `acme`", e.quota)), "{e}");
        }
    }
    assert!(!of_tenant(&Policy::default(), "acme", &[]).quota().is_any());
}

#[test]
fn room() {
    let default = Policy::default().space().clone();
    let fixed = policy("[space]\nlow_bytes=1000\nrefuse_bytes=100\n").space().clone();
    let off = policy("[space]\nlow_bytes=0\nrefuse_bytes=0\n").space().clone();
    use SpaceLevel::{Enough, Low, Refuse};
    for (space, total, free, expect) in [
        (&default, 1 << 40, 2 << 30, Enough),
        (&default, 1 << 40, 1 << 29, Low),
        (&default, 1 << 40, 1 << 25, Refuse),
        (&default, 64 << 20, 4 << 20, Enough),
        (&default, 64 << 20, 3 << 20, Low),
        (&default, 64 << 20, 600 << 10, Refuse),
        (&fixed, 1 << 40, 1000, Enough),
        (&fixed, 1 << 40, 999, Low),
        (&fixed, 1 << 40, 99, Refuse),
        (&off, 1 << 40, 0, Enough),
    ] {
        assert_eq!(space.level(total, free), expect, "{space:?} {free}");
    }
}

#[test]
fn what_is_not_named_by_a_rule_is_no_archive() {
    let folder = std::path::PathBuf::from("/cold");
    let cold = Place::new("cold").expect("a name");
    let policy = Policy::default().with_archive(cold.clone(), folder.clone());
    assert_eq!(policy.archives(), &BTreeMap::from([(cold, folder)]));
    assert!(policy.archive_folder(&Place::default()).is_none());
}
