//! What an answer misses, since it can't be read.

use crate::id::Seq;
use crate::record::{BlockInfo, Timestamp};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an answer misses of one source: records in damaged blocks. How many of them would have matched is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// What the source is called, such as `segment 0000000000000003`.
    pub source: String,
    /// Blocks that were left out; 1 where not even the blocks of the source are known.
    pub blocks: u64,
    /// Records in them: the answer misses at most so many.
    pub records: u64,
    /// Time of the earliest and the latest of them.
    pub time: (Timestamp, Timestamp),
    /// Their least and greatest sequence number; others between them may be there.
    pub seq: (Seq, Seq),
    /// The damage that was found first, with file and offset.
    pub reason: String,
}

impl Serialize for Missing {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Missing", 8)?;
        object.serialize_field("source", &self.source)?;
        object.serialize_field("blocks", &self.blocks)?;
        object.serialize_field("records", &self.records)?;
        object.serialize_field("first_time", &self.time.0.to_string())?;
        object.serialize_field("last_time", &self.time.1.to_string())?;
        object.serialize_field("first_seq", &self.seq.0.0)?;
        object.serialize_field("last_seq", &self.seq.1.0)?;
        object.serialize_field("reason", &self.reason)?;
        object.end()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Missing { source, records, time: (first, last), reason, .. } = self;
        write!(f, "up to {records} records of {source} between {first} and {last} can't be read: {reason}")
    }
}

/// What a query has missed so far, by source; shared by its threads and whoever reads its rows.
#[derive(Debug, Default)]
pub struct Missed(Mutex<BTreeMap<String, (BTreeSet<Seq>, Missing)>>);

impl Missed {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (BTreeSet<Seq>, Missing)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, source: String, info: BlockInfo, reason: &impl ToString) {
        let mut all = self.all();
        let (blocks, missing) = all.entry(source).or_insert_with_key(|source| {
            let (time, seq, reason) = (info.time, info.seq, reason.to_string());
            (BTreeSet::new(), Missing { source: source.clone(), blocks: 0, records: 0, time, seq, reason })
        });
        // A tail comes upon the same block again and again. No two blocks begin with the same record.
        if !blocks.insert(info.seq.0) {
            return;
        }
        missing.blocks += 1;
        missing.records += u64::from(info.rows);
        missing.time = (missing.time.0.min(info.time.0), missing.time.1.max(info.time.1));
        missing.seq = (missing.seq.0.min(info.seq.0), missing.seq.1.max(info.seq.1));
    }

    /// What was missed until now, by the name of its source; complete when the query has ended.
    pub fn list(&self) -> Vec<Missing> {
        self.all().values().map(|(_, missing)| missing.clone()).collect()
    }

    /// How many records are missing at most.
    pub fn records(&self) -> u64 {
        self.all().values().map(|(_, missing)| missing.records).sum()
    }
}
