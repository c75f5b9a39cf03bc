//! The engine, asked through its public API, with the records in one state of storage or another.

use super::Rec;
use super::pipes::Window;
use crate::support::folder;
use crate::support::json::{self, Val};
use crate::support::rng::Rng;
use duramen::{Ack, Labels, Options, QueryOptions, Record, Store, Tag, Tenant, Timestamp, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is done with a store between two portions of records, and before it is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// The next portion, in commits of a few records each.
    Append,
    Seal,
    Compact,
    /// What is due is done, merges too.
    Maintain,
    /// Closed, which seals, and opened again.
    Reopen,
    /// Left as a crash would, and opened again: the log is replayed.
    Crash,
}

/// Steps that end with all records appended; each a state worth asking.
pub const PLANS: &[(&str, &[Step])] = &[
    ("memtable", &[Step::Append]),
    ("replayed", &[Step::Append, Step::Crash]),
    ("one segment", &[Step::Append, Step::Seal]),
    ("segments", &[Step::Append, Step::Seal, Step::Append, Step::Seal, Step::Append, Step::Seal]),
    ("segment and memtable", &[Step::Append, Step::Seal, Step::Append]),
    ("segment and replayed log", &[Step::Append, Step::Seal, Step::Append, Step::Crash]),
    ("compacted", &[Step::Append, Step::Seal, Step::Append, Step::Seal, Step::Append, Step::Compact]),
    (
        "compacted and more",
        &[Step::Append, Step::Seal, Step::Append, Step::Compact, Step::Append, Step::Seal, Step::Append],
    ),
    (
        "merged when due",
        &[Step::Append, Step::Seal, Step::Append, Step::Seal, Step::Maintain, Step::Append, Step::Seal, Step::Maintain],
    ),
    ("reopened", &[Step::Append, Step::Reopen, Step::Append, Step::Reopen]),
    ("replayed twice, then sealed", &[Step::Append, Step::Crash, Step::Append, Step::Crash, Step::Seal]),
];

/// A store in a state, a reader beside it, and the folders that go with them.
pub struct Engine {
    root: tempfile::TempDir,
    store: Option<Store>,
    reader: Option<Store>,
    data: PathBuf,
    crashes: usize,
}

pub const TENANT: &str = "acme";

fn options() -> Options {
    let mut options = Options::default();
    options.background_threads = 0;
    options.query_threads = 2;
    options.merge_age_min = std::time::Duration::ZERO;
    // What is on the disk is copied while the store is open, so the system need not be asked to sync it.
    options.ack = Ack::Os;
    options
}

impl Engine {
    pub fn new(records: &[Rec], steps: &[Step], seed: u64) -> Engine {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data-0");
        let mut engine = Engine { root, store: None, reader: None, data, crashes: 0 };
        engine.open();
        let appends = steps.iter().filter(|s| **s == Step::Append).count();
        let portion = records.len().div_ceil(appends.max(1));
        let mut portions = records.chunks(portion.max(1));
        let mut rng = Rng::new(seed);
        for step in steps {
            engine.step(*step, &mut portions, &mut rng);
        }
        engine
    }

    fn open(&mut self) {
        self.store = Some(Store::open_with(&self.data, options()).unwrap());
    }

    fn step<'a>(&mut self, step: Step, portions: &mut impl Iterator<Item = &'a [Rec]>, rng: &mut Rng) {
        match step {
            Step::Append => append(&self.tenant(), portions.next().unwrap_or_default(), rng),
            Step::Seal => drop(self.tenant().seal().unwrap()),
            Step::Compact => drop(self.tenant().compact(None).unwrap()),
            Step::Maintain => self.store.as_ref().unwrap().maintain().unwrap(),
            Step::Reopen => {
                self.store.take().unwrap().close().unwrap();
                self.open();
            }
            Step::Crash => {
                self.crashes += 1;
                let image = self.root.path().join(format!("data-{}", self.crashes));
                folder::copy(&self.data, &image);
                self.data = image;
                self.open();
            }
        }
    }

    fn tenant(&self) -> Tenant {
        self.store.as_ref().unwrap().tenant(TENANT).unwrap()
    }

    /// From now on a second handle answers: one that reads beside the writer.
    pub fn read_beside(&mut self) {
        self.tenant().flush().unwrap();
        self.reader = Some(Store::open_read_only_with(&self.data, options()).unwrap());
    }

    /// The rows of an answer, nested objects opened; or the error as text.
    pub fn ask(&self, query: &str, window: &Window) -> Result<Vec<BTreeMap<String, Val>>, String> {
        let tenant = match &self.reader {
            Some(reader) => reader.existing_tenant(TENANT).map_err(|e| e.to_string())?,
            None => self.tenant(),
        };
        let options = QueryOptions {
            start: window.start.map(Timestamp),
            end: window.end.map(Timestamp),
            limit: window.limit.map(|n| n as u64),
            offset: window.offset as u64,
            ..QueryOptions::default()
        };
        let rows = tenant.query_with(query, &options).map_err(|e| e.to_string())?;
        rows.map(|row| {
            let text = row.map_err(|e| e.to_string())?.to_json();
            json::parse(&text).map(|v| v.flat()).map_err(|e| format!("{e} in {text}"))
        })
        .collect()
    }
}

fn append(tenant: &Tenant, mut records: &[Rec], rng: &mut Rng) {
    while let Some(first) = records.first() {
        let most = 1 + rng.below(40);
        let run = records.iter().take(most).take_while(|r| r.labels == first.labels).count();
        let labels = Labels::new(first.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let batch: Vec<Record> = records[..run].iter().map(record).collect();
        tenant.append_labelled(&batch, &labels).unwrap();
        records = &records[run..];
    }
}

fn record(rec: &Rec) -> Record {
    let mut record = Record::new().at(Timestamp(rec.time));
    for (name, value) in &rec.fields {
        let (tag, text) = match value {
            Val::Null => (Tag::Null, String::new()),
            Val::Bool(_) => (Tag::Bool, value.to_string()),
            Val::Num(text) => (Tag::Number, text.clone()),
            Val::Str(text) => (Tag::String, text.clone()),
            Val::Arr(_) => (Tag::Array, value.to_string()),
            Val::Obj(_) => (Tag::Object, value.to_string()),
        };
        record.fields.push((name.as_str().into(), Value { tag, text: text.into() }));
    }
    record
}
