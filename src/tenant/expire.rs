//! Segments whose time is over, or that are too many, go; those whose class is another now are told so.

use super::leaves::Parted;
use super::open::open_segments;
use super::{CompactReport, TenantCore};
use crate::error::StorageError;
use crate::format::edit::{Assignment, Edit, SegmentMeta};
use crate::format::version::Version;
use crate::id::{Class, SegmentId};
use crate::policy::{self, Expiry, Held, TenantPolicy, Usage};
use crate::record::{Batch, Block, Labels, Timestamp};
use crate::segment::SegmentBlock;
use crate::store::Error;
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl TenantCore {
    /// Lets go the segments whose newest record is older than a retention, whatever rules say.
    pub fn expire(&self, retention_ns: i64) -> Result<CompactReport, Error> {
        let mut report = CompactReport::default();
        let limit = Timestamp(self.options.rules.clock.now().0.saturating_sub(retention_ns));
        let is_old = |s: &&Arc<SegmentMeta>| s.max_time < limit;
        let segments = self.version().segments.values().filter(is_old).map(|s| s.id).collect();
        let expiry = Expiry { segments, reason: format!("older than the retention, before {limit}") };
        self.let_go(vec![expiry], &mut report)?;
        Ok(report)
    }

    /// Lets go what rules let go now, with `low_space` also what they let go early, and moves what belongs in an
    /// archive. Segments of one class whose class is another now are told so.
    pub fn live_by_rules(&self, low_space: bool) -> Result<CompactReport, Error> {
        let mut report = CompactReport::default();
        let writer = self.writer()?;
        {
            let archiving = self.archiving_turn()?;
            // An archive that does not answer is looked at the next time; what is here goes its way.
            let _ = self.sweep_archives(writer, &archiving);
        }
        let rules = self.options.rules.policy();
        let held = self.held(&rules);
        self.reassign(&held)?;
        let now = self.options.rules.clock.now();
        self.let_go(policy::expired(&rules, &held, now, low_space), &mut report)?;
        self.archive_all(&policy::to_archive(&rules, &held, now), &mut report)?;
        Ok(report)
    }

    /// When rules next let something go, if they ever do.
    pub fn next_due(&self) -> Option<Timestamp> {
        let rules = self.options.rules.policy();
        policy::next_due(&rules, &self.held(&rules))
    }

    /// What the tenant lives by.
    pub fn rules(&self) -> &super::Rules {
        &self.options.rules
    }

    /// What the tenant holds and was sent today.
    pub fn usage(&self) -> Usage {
        let (version, memtables, unsealed) = {
            let state = self.state();
            (state.version.clone(), state.counted, state.last_seq().0.saturating_sub(state.version.sealed_below.0))
        };
        let mut usage = self.options.rules.usage(&version);
        usage.bytes = usage.bytes.saturating_add(memtables);
        usage.records = usage.records.saturating_add(unsealed);
        usage.ingest_bytes_today = self.daily.came(self.options.rules.today());
        usage
    }

    /// Why the sum of today may be too low, where the file that has it was damaged.
    pub fn usage_damage(&self) -> Option<String> {
        self.daily.damage(self.options.rules.today())
    }

    /// Is there room for a batch under the tenant's quotas? Where there is, it counts as having come, also after a
    /// restart or a crash.
    pub fn admit(&self, batch: &Batch) -> Result<(), Error> {
        let rules = &self.options.rules;
        let policy = rules.policy();
        if policy.quota().is_any() {
            let bytes = batch.text_bytes() as u64;
            let usage = self.usage();
            let fits = |came| {
                let usage = Usage { ingest_bytes_today: came, ..usage };
                Ok(policy.quota().admit(self.id.as_str(), &usage, bytes, batch.len() as u64)?)
            };
            let per_day = policy.quota().ingest_bytes_per_day;
            self.daily.admit((&self.id, &self.options), rules.today(), (bytes, per_day), fits)?;
        }
        Ok(())
    }

    /// The live segments as rules see them. One that can't be read is of no class: nothing is done with it.
    fn held(&self, rules: &TenantPolicy) -> Vec<Held> {
        let segments = self.state().segments.clone();
        self.options.rules.streams.lock().unwrap_or_else(|e| e.into_inner()).retain(|id, _| segments.contains_key(id));
        self.options.rules.parted.lock().unwrap_or_else(|e| e.into_inner()).retain(|id| segments.contains_key(id));
        let held = |segment: &super::SegmentSource, meta: &SegmentMeta, classes| Held {
            id: meta.id,
            is_divisible: self.is_too_large(segment, &classes, rules),
            classes,
            bytes: meta.bytes,
            records: meta.rows,
            max_time: meta.max_time,
            place: meta.place.clone(),
        };
        let classes = |segment| self.classes_of(segment, rules).unwrap_or_default();
        segments.values().map(|segment| held(segment, segment.meta(), classes(segment))).collect()
    }

    /// Is no segment due to go to an archive, but such as are damaged and stay?
    pub(super) fn none_goes_to_archive(&self, rules: &TenantPolicy) -> bool {
        let moves = policy::to_archive(rules, &self.held(rules), self.options.rules.clock.now());
        let segments = self.state().segments.clone();
        moves.iter().all(|to| segments.get(&to.segment).is_none_or(|segment| segment.damage().is_some()))
    }

    /// Is a segment of one class too large for it, since it was made under other rules, and can be parted?
    pub(super) fn is_too_large(
        &self,
        segment: &super::SegmentSource,
        classes: &BTreeSet<Class>,
        rules: &TenantPolicy,
    ) -> bool {
        let (meta, life) = (segment.meta(), classes.first().and_then(|class| rules.lifetime(class)));
        let is_parted = || self.options.rules.parted.lock().unwrap_or_else(|e| e.into_inner()).contains(&meta.id);
        classes.len() == 1
            && meta.place.is_own()
            && segment.damage().is_none()
            && life.is_some_and(|life| life.is_too_large(meta.bytes, meta.rows))
            && !is_parted()
    }

    /// The classes of a segment's records, of those that rules make now.
    pub(super) fn classes_of(
        &self,
        segment: &super::SegmentSource,
        rules: &TenantPolicy,
    ) -> Result<BTreeSet<Class>, StorageError> {
        if let Some(only) = rules.only_class() {
            return Ok(BTreeSet::from([only.clone()]));
        }
        let class = &segment.meta().class;
        // A class is named after the rules that make it, so that its records are still of it.
        if rules.lifetime(class).is_some() {
            return Ok(BTreeSet::from([class.clone()]));
        }
        Ok(self.streams_of(segment)?.iter().map(|labels| rules.classify(labels).clone()).collect())
    }

    /// The streams in a segment.
    fn streams_of(&self, segment: &super::SegmentSource) -> Result<Arc<BTreeSet<Labels>>, StorageError> {
        let known = || self.options.rules.streams.lock().unwrap_or_else(|e| e.into_inner());
        let id = segment.meta().id;
        if let Some(streams) = known().get(&id) {
            return Ok(streams.clone());
        }
        let mut streams = BTreeSet::new();
        let reader = segment.reader()?;
        let (mut buffer, mut last) = (Vec::new(), None);
        for number in 0..reader.blocks() {
            let column = SegmentBlock::open(reader, number)?.streams()?;
            for row in 0..column.len() {
                let text = column.text(row, &mut buffer);
                if last.as_deref() != Some(text) {
                    let labels = std::str::from_utf8(text).ok().and_then(Labels::parse).unwrap_or_default();
                    last = Some(text.to_vec());
                    streams.insert(labels);
                }
            }
        }
        let streams = Arc::new(streams);
        known().insert(id, streams.clone());
        Ok(streams)
    }

    /// Tells the manifest the class of segments all of whose records are of another one now.
    fn reassign(&self, held: &[Held]) -> Result<(), Error> {
        let writer = self.writer()?;
        let _turn = self.turn(writer);
        let version = writer.manifest.version();
        let another = |h: &Held| {
            let meta = version.segments.get(&h.id)?;
            let class = h.classes.first().filter(|class| h.classes.len() == 1 && meta.class != **class)?;
            Some(Assignment { segment: h.id, class: class.clone(), place: meta.place.clone() })
        };
        let segments: Vec<Assignment> = held.iter().filter_map(another).collect();
        if !segments.is_empty() {
            let version = self.apply(writer, Edit::Assign { segments })?;
            self.publish(version);
        }
        Ok(())
    }

    fn let_go(&self, expiries: Vec<Expiry>, report: &mut CompactReport) -> Result<(), Error> {
        let writer = self.writer()?;
        let mut known: BTreeMap<SegmentId, Option<Arc<RoaringTreemap>>> = BTreeMap::new();
        let mut seqs_of = |id| known.entry(id).or_insert_with(|| self.seqs_of(id).map(Arc::new)).clone();
        // Read before the turn is taken, which seals wait for.
        for Expiry { segments, .. } in &expiries {
            Parted::by(&self.version(), &segments.iter().copied().collect(), &mut seqs_of);
        }
        let _turn = self.turn(writer);
        for Expiry { segments, reason } in expiries {
            let version = writer.manifest.version();
            let is_live = |id: &SegmentId| version.segments.contains_key(id);
            let segments: BTreeSet<SegmentId> = segments.into_iter().filter(is_live).collect();
            if segments.is_empty() {
                continue;
            }
            let records = segments.iter().map(|id| version.segments[id].rows).sum();
            let Parted { broken, gone } = Parted::by(&version, &segments, &mut seqs_of);
            report.segments_expired += segments.len() as u64;
            report.records_expired += records;
            let segments = segments.into_iter().collect();
            let edit = Edit::Expire { segments, reason, records, leaves_broken: broken, leaves_gone: gone };
            let version = self.apply(writer, edit)?;
            self.publish(version);
        }
        Ok(())
    }

    /// The Seqs of a live segment's records, where they can be read.
    fn seqs_of(&self, id: SegmentId) -> Option<RoaringTreemap> {
        let segment = self.state().segments.get(&id).cloned()?;
        let reader = segment.reader().ok()?;
        let mut seqs = RoaringTreemap::new();
        for number in 0..reader.blocks() {
            seqs.extend(SegmentBlock::open(reader, number).ok()?.seqs().ok()?.iter().copied());
        }
        Some(seqs)
    }

    /// Makes a version visible; the files of segments that it no longer names, or that are in another place now, go when
    /// nobody reads them.
    pub(super) fn publish(&self, version: Arc<Version>) {
        let mut state = self.state();
        let segments = open_segments(&self.id, &self.options, &version, &state.segments);
        for (id, segment) in state.segments.iter() {
            match segments.get(id) {
                None => segment.doom(),
                Some(now) if now.meta().place != segment.meta().place => segment.doom_here(),
                Some(_) => {}
            }
        }
        let before = std::mem::replace(&mut state.segments, Arc::new(segments));
        state.version = version;
        // Files are removed when the last reader lets go, and not while the state is locked.
        drop(state);
        drop(before);
    }
}
