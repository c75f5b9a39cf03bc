//! Queries beside a writer, which removes files that they read.

use duramen::vfs::{OPEN_FILES_MAX, RealVfs, Vfs};
use duramen::{Ack, Options, QueryOptions, Record, Store, Timestamp};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

fn options(merge: bool) -> Options {
    let mut options = Options::default();
    (options.background_threads, options.query_threads) = (0, 1);
    (options.ack, options.merge) = (Ack::Buffered, merge);
    options
}

/// Files that stand idle are closed when there are many. Those that a query has begun to read were gone then, where the
/// writer had merged them meanwhile: the query ended with an error amid its rows.
#[test]
fn a_query_reads_on_what_was_merged_away_since_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let segments = OPEN_FILES_MAX as i64 + 40;
    let writer = Store::open_with(dir.path(), options(false)).unwrap();
    let tenant = writer.tenant("t").unwrap();
    for n in 0..segments {
        tenant.append(&[Record::new().at(Timestamp(n * 1_000_000_000)).with("n", n)]).unwrap();
        tenant.seal().unwrap();
    }
    assert_eq!(tenant.stats().unwrap().segments, segments as u64);
    let reader = Store::open_read_only_with(dir.path(), options(false)).unwrap();
    let mut found = BTreeSet::new();
    let mut others = Vec::new();
    let mut sink = |row: duramen::Row| {
        if found.is_empty() {
            tenant.compact(None).unwrap();
            assert!(tenant.stats().unwrap().segments < 3);
            // Of others: whatever may be closed is.
            for n in 0..OPEN_FILES_MAX {
                let path = dir.path().join(format!("other{n}"));
                std::fs::write(&path, "other").unwrap();
                others.push(RealVfs.open(&path).unwrap());
            }
        }
        assert!(found.insert(row.to_json()), "twice: {}", row.to_json());
        ControlFlow::Continue(())
    };
    let stats = reader.existing_tenant("t").unwrap().query_each("* | fields n", &QueryOptions::default(), &mut sink);
    let stats = stats.unwrap();
    assert_eq!((found.len() as i64, stats.records_missing), (segments, 0));
    // Who asks then sees what there is then.
    let mut rows = reader.existing_tenant("t").unwrap().query("* | stats count() as n").unwrap();
    assert_eq!(rows.next().unwrap().unwrap().to_json(), format!(r#"{{"n":{segments}}}"#));
}
