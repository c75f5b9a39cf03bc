//! The handle of a tenant that programs use.

use super::rows::{QueryOptions, Rows, Tail};
use super::{Error, Inner};
use crate::exec::Explanation;
use crate::id::Seq;
use crate::log::Ack;
use crate::policy::{SpaceLevel, TenantPolicy, Usage};
use crate::record::{Batch, BatchBuilder, Labels, Record, Timestamp};
use crate::segment::PartCost;
use crate::tenant::{AppendOptions, Appended, Committed, CompactReport, OpenReport, TenantCore, TenantStats};
use std::sync::Arc;

/// Bytes of texts after which [`Tenant::append`] commits what it has, so that a frame stays far below its limit.
const APPEND_BYTES: usize = 4 << 20;

/// A tenant of an open store. It sees its own records and no others; clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub(crate) core: Arc<TenantCore>,
    pub(crate) store: Arc<Inner>,
}

impl Tenant {
    pub(crate) fn new(core: Arc<TenantCore>, store: Arc<Inner>) -> Self {
        Tenant { core, store }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.core.id().as_str()
    }

    /// What was found when it was opened: what a crash had torn, for one.
    pub fn open_report(&self) -> &OpenReport {
        self.core.report()
    }

    /// Appends records; when this returns they are as durable as the store's options say.
    ///
    /// Records are committed in order, in as few batches as their size allows; an error says that at least the last
    /// batch was not. A record over a limit refuses all of them before anything is committed.
    pub fn append(&self, records: &[Record]) -> Result<Appended, Error> {
        self.append_labelled(records, &Labels::default())
    }

    /// Appends records of one stream.
    pub fn append_labelled(&self, records: &[Record], labels: &Labels) -> Result<Appended, Error> {
        let arrival = Timestamp::now();
        let mut builder = BatchBuilder::new();
        let mut batches = Vec::new();
        for record in records {
            builder.push(record, arrival, labels)?;
            if builder.text_bytes() >= APPEND_BYTES {
                batches.push(builder.take());
            }
        }
        if !builder.is_empty() {
            batches.push(builder.take());
        }
        let ack = self.store.options().ack;
        let mut total = Appended { first: Seq(self.core.last_seq().0 + 1), records: 0, ack };
        for batch in batches {
            let appended = self.append_batch(&batch, ack)?;
            if total.records == 0 {
                total.first = appended.first;
            }
            total.records += appended.records;
        }
        Ok(total)
    }

    /// Appends a batch as one commit: all of its records, or none. At most 64 MiB encoded.
    pub fn append_batch(&self, batch: &Batch, ack: Ack) -> Result<Appended, Error> {
        self.store.has_room()?;
        self.core.admit(batch)?;
        self.store.make_room();
        self.core.make_room()?;
        let appended = self.core.append(batch, ack)?;
        self.after_append();
        Ok(appended)
    }

    /// Appends several batches, each a commit of its own, which are written and synced together: what came of each, in
    /// their order. For who collects small batches of many callers; an error of all says that none was appended.
    pub fn append_batches(&self, batches: &[(Batch, Ack)]) -> Result<Vec<Result<Appended, Error>>, Error> {
        self.store.has_room()?;
        self.store.make_room();
        self.core.make_room()?;
        let results = self.core.append_all(batches)?;
        self.after_append();
        Ok(results)
    }

    /// Appends a batch as one commit, with options. With an [`Idempotency`](crate::Idempotency) key a batch that was appended before
    /// within 24 hours, also before a crash, is not appended again; while the same key is in flight this waits.
    ///
    /// An error that [`Error::is_key_reused`] says that the key stood for another request.
    pub fn append_batch_with(&self, batch: &Batch, options: AppendOptions) -> Result<Committed, Error> {
        let ack = options.ack.unwrap_or(self.store.options().ack);
        self.store.has_room()?;
        self.store.make_room();
        self.core.make_room()?;
        let committed = match options.idempotency {
            Some(idempotency) => self.core.append_once(batch, ack, idempotency)?,
            None => {
                self.core.admit(batch)?;
                Committed { appended: self.core.append(batch, ack)?, replayed: None }
            }
        };
        self.after_append();
        Ok(committed)
    }

    /// Where a memtable waits to be sealed, sees to it.
    fn after_append(&self) {
        self.store.workers().busy();
        if self.core.has_frozen() || self.store.is_over_room() {
            if self.store.workers().any() {
                self.store.workers().ask();
            } else {
                // The records are committed, so that an error here is not theirs: it shows in the tenant's figures,
                // and sealing is tried again.
                let _ = self.core.seal_frozen();
            }
        }
    }

    /// Makes durable what was acknowledged before it was.
    pub fn flush(&self) -> Result<(), Error> {
        self.core.flush()
    }

    /// Runs a query over all time. Rows come newest first unless the query orders them.
    pub fn query(&self, text: &str) -> Result<Rows, Error> {
        self.query_with(text, &QueryOptions::default())
    }

    /// Runs a query with bounds.
    pub fn query_with(&self, text: &str, options: &QueryOptions) -> Result<Rows, Error> {
        Rows::start(self, text, options)
    }

    /// What a query would do: how it was understood, and what is pruned by what.
    pub fn explain(&self, text: &str, options: &QueryOptions) -> Result<Explanation, Error> {
        super::rows::explain(self, text, options)
    }

    /// Follows new records that match a filter, in the order of commits, from behind `after` on (or from now).
    pub fn tail(&self, filter: &str, after: Option<Seq>) -> Result<Tail, Error> {
        Tail::start(self, filter, after)
    }

    /// Brings all that was committed into segments; gives the number of records.
    pub fn seal(&self) -> Result<u64, Error> {
        self.core.seal()
    }

    /// Seals, lets go what is older than `retention_ns` (whole segments), does what the tenant's rules ask for at once,
    /// also where segments must be written anew for it, or go early since the disk has little room, and merges small segments to as few as their size and an eighth
    /// of the retention (a day at least) allow.
    pub fn compact(&self, retention_ns: Option<i64>) -> Result<CompactReport, Error> {
        self.store.refresh(&self.core);
        // First: what is merged takes room.
        let early = match self.store.space().level {
            SpaceLevel::Enough => CompactReport::default(),
            SpaceLevel::Low | SpaceLevel::Refuse => self.core.live_by_rules(true)?,
        };
        let mut report = self.core.compact(retention_ns)?;
        report.add(&early);
        Ok(report)
    }

    /// What each column and each other part of its segments costs on disk, the dearest first.
    pub fn part_costs(&self) -> Result<Vec<PartCost>, Error> {
        self.core.part_costs()
    }

    /// What its records live by now, with its own settings.
    pub fn policy(&self) -> Arc<TenantPolicy> {
        self.store.refresh(&self.core);
        self.core.rules().policy()
    }

    /// What it holds and was sent today, as its quotas count it.
    pub fn usage(&self) -> Usage {
        self.core.usage()
    }

    /// Writes segments anew that are not encrypted or under an older key of an encrypted tenant; gives how many.
    pub fn renew(&self) -> Result<u64, Error> {
        self.core.renew()
    }

    /// What it holds.
    pub fn stats(&self) -> Result<TenantStats, Error> {
        self.core.stats()
    }
}
