//! A tenant whose manifest is damaged or missing: what there is, by its files.

use super::history::History;
use super::loss::count;
use super::records::{Records, ranges_without};
use super::report::Loss;
use super::segment::{Found, Part, Readable, Stored, inspect};
use super::tenant::{KEPT, Look, Made, Tenant, elsewhere, readers};
use super::write::segment_file;
use crate::error::StorageError;
use crate::format::edit::{Leaf, SegmentMeta};
use crate::format::version::Version;
use crate::id::{Class, Place, SegmentId, Seq};
use crate::manifest::Manifest;
use crate::record::Timestamp;
use crate::store::Error;
use crate::tenant::archived::Listed;
use roaring::RoaringTreemap;
use std::collections::BTreeSet;

impl Tenant<'_> {
    /// Without a manifest the files say what there is: the newest one that has a record counts.
    pub(super) fn without_manifest(&mut self, history: History, listed: &Listed) -> Result<(), Error> {
        let mut look = Look::new(SegmentId(1));
        let mut taken = RoaringTreemap::new();
        let mut files = BTreeSet::new();
        let dir = self.dir.join("segments");
        for entry in if self.vfs.exists(&dir)? { self.vfs.list(&dir)? } else { Vec::new() } {
            let id = entry.name.strip_suffix(".seg").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(SegmentId);
            files.extend(id.filter(|id| format!("{id}.seg") == entry.name));
        }
        let listed_ids = listed.files.iter().map(|file| &file.id);
        look.highest = files
            .iter()
            .chain(history.segments.keys())
            .chain(listed_ids)
            .max()
            .map_or(SegmentId(1), |id| SegmentId(id.0 + 1));
        let mut overlapping = Vec::new();
        // Records that entries let go, and files have all the same: a crash came before these went.
        let mut let_go = RoaringTreemap::new();
        let mut newest: Vec<&SegmentId> = files.iter().rev().collect();
        // Where the manifest can be followed, what it names is what counts, and other files have what came behind its end.
        newest.sort_by_key(|id| history.is_whole && !history.segments.contains_key(id));
        for id in newest {
            let path = segment_file(self.dir, *id);
            if history.removed.contains(id) && !history.is_whole {
                look.aside.push((path, "an entry of the manifest let it go".into(), "set aside"));
                continue;
            }
            let meta = history.segments.get(id);
            match inspect(&**self.vfs, &path, (self.id, self.keys, *id), meta)? {
                Found::Whole(segment, stored) => {
                    let seqs = Records::new(vec![segment.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
                    let wanted = history.wanted(*id, &seqs);
                    let_go |= &seqs - &wanted;
                    if wanted.is_subset(&taken) {
                        let why = "other segments have all of its records that no entry let go";
                        look.aside.push((path, why.into(), "set aside"));
                    } else if seqs.is_disjoint(&taken) && wanted == seqs {
                        taken |= seqs;
                        let meta = meta.cloned().unwrap_or_else(|| meta_of(&segment, &stored));
                        // It was moved, and this one had not gone yet: it is here that it is whole.
                        self.keep(&mut look, SegmentMeta { place: Place::default(), ..meta }, segment)?;
                    } else {
                        let problem = StorageError::io(
                            "keep",
                            &path,
                            std::io::Error::other(
                                "other segments have some of its records: those that none has are copied",
                            ),
                        );
                        look.aside.push((path, problem.to_string(), KEPT));
                        let part = Part { left: segment, lost: Vec::new(), is_listed: true, problem };
                        overlapping.push((*id, meta.cloned(), part));
                    }
                }
                Found::Part(part) => {
                    let seqs = Records::new(vec![part.left.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
                    let_go |= &seqs - history.wanted(*id, &seqs);
                    look.aside.push((path, part.problem.to_string(), KEPT));
                    look.parts.push((*id, meta.cloned(), part));
                }
                Found::Missing(_) => {}
                Found::Foreign(why) => {
                    look.aside.push((path, why.clone(), "none of its records count"));
                    look.gone.extend(meta.map(|meta| (meta.clone(), why, true)));
                }
            }
        }
        let named: Vec<&SegmentMeta> =
            history.segments.values().filter(|m| !history.removed.contains(&m.id) && !files.contains(&m.id)).collect();
        // An entry that is lost may have let any of them go.
        let (own, archived): (Vec<_>, Vec<_>) = named.into_iter().partition(|meta| meta.place.is_own());
        for meta in archived {
            self.archived(meta, false, &mut look)?;
            if let Some((_, Some(segment))) = look.kept.last().filter(|(kept, _)| kept.id == meta.id) {
                taken |= Records::new(vec![segment.clone()], self.keys).seqs(Seq(0), Seq(u64::MAX))?;
            }
        }
        overlapping.extend(self.take_back(listed, &history, (&mut look, &mut taken, &mut let_go))?);
        // Or moved it.
        let is_found = |look: &Look, meta: &SegmentMeta| look.kept.iter().any(|(kept, _)| kept.id == meta.id);
        for meta in own.into_iter().filter(|meta| !is_found(&look, meta)).collect::<Vec<_>>() {
            look.gone.push((meta.clone(), "no such file, and no entry that can be read let it go".into(), false));
        }
        // Others may have all that they had.
        look.gone.retain(|(meta, ..)| taken.range_cardinality(meta.min_seq.0..=meta.max_seq.0) < meta.rows);
        look.log =
            Some(super::log::salvage(&**self.vfs, &self.dir.join("log"), (self.id, self.keys), history.sealed_below)?);
        let floor = Seq(taken.max().unwrap_or(0)).max(history.sealed_below);
        if let Some(log) = &mut look.log {
            let why = "the manifest was made anew";
            look.aside.extend(log.files.iter().map(|file| (file.clone(), why.into(), KEPT)));
            // Up to there segments have what was not let go.
            log.lost.retain_mut(|(first, last)| {
                *first = (*first).max(Seq(floor.0 + 1));
                first <= last
            });
        }
        look.parts.extend(overlapping);
        look.aside.extend(history.bad_parts.iter().map(|(path, why)| (path.clone(), why.clone(), "set aside")));
        // First: a loss of power amid this may take the frames and leave a segment, which the next repair takes records of.
        self.keep_receipts(&look)?;
        let made = {
            let_go -= &taken;
            taken |= &let_go;
            let made = self.recover(&look, &mut taken, history.sealed_below)?;
            taken -= &let_go;
            made
        };
        self.losses(&look, floor, history.version.as_ref())?;
        self.gaps(&history, &taken, floor)?;
        let path = self.dir.join("manifest");
        let reason = history.problem.to_string();
        let chained = match history.is_chained && history.version.is_some() {
            true => "it goes on the chain, as far as that can be read",
            false => "the history before is not chained to it",
        };
        let found = format!("{reason}: made anew from segments and logs; {chained}");
        if self.report.dry_run {
            self.act(&path, found, None);
            return self.tell(&look, &[]);
        }
        let indexes = self.make_indexes(&look)?;
        let copies = self.copies(&look)?;
        let copy = self.copy(&path, &reason)?;
        self.settle(&look)?;
        let version = self.rebuilt(&history, &look, &made, &taken, &indexes)?;
        if let (Some(prefix), Some(before)) = (&history.prefix, &history.version) {
            let part = self.dir.join(format!("manifest.{:016x}", before.edits));
            self.vfs.replace(&part, prefix)?;
        }
        let after = Manifest::rebuild(self.vfs.clone(), path.clone(), &version, Timestamp::now())?;
        self.act(&path, found, copy);
        self.tell(&look, &copies)?;
        self.clear(&look, after.sealed_below)
    }

    /// Makes durable what is kept as it is. No manifest that can be read says that it was: whoever wrote a segment may have
    /// been killed before its sync, and what is clean in the page cache is not on the disk.
    fn settle(&self, look: &Look) -> Result<(), Error> {
        for (meta, _) in look.kept.iter().filter(|(meta, _)| meta.place.is_own()) {
            self.vfs.open_write(&segment_file(self.dir, meta.id))?.sync()?;
        }
        let segments = self.dir.join("segments");
        if self.vfs.exists(&segments)? {
            self.vfs.sync_dir(&segments)?;
            self.vfs.sync_dir(self.dir)?;
        }
        Ok(())
    }

    /// Seqs that no file has any more, up to those that are known to be in the log: their records are lost, or were let
    /// go by an entry that is.
    fn gaps(&mut self, history: &History, taken: &RoaringTreemap, floor: Seq) -> Result<(), Error> {
        let mut ranges: Vec<(Seq, Seq)> = Vec::new();
        let mut first = Seq(1);
        if let Some(version) = &history.version {
            ranges.extend(version.leaves().flat_map(|leaf| leaf.seqs.runs()));
            first = Seq(version.sealed_below.0 + 1);
        }
        ranges.extend((first <= floor).then_some((first, floor)));
        let mut known = taken.clone();
        for (first, last) in self.report.lost.iter().filter(|l| l.tenant == self.id.as_str()).flat_map(|l| &l.seqs) {
            known.insert_range(first.0..=last.0);
        }
        let seqs = ranges_without(&ranges, &known);
        if !seqs.is_empty() {
            let file = self.dir.join("manifest");
            let reason = "no file has these any more; an entry that is lost may have let them go".to_string();
            let (tenant, records) = (String::new(), count(&seqs));
            self.lose(Loss { tenant, file, records, is_exact: false, seqs, time: None, reason });
        }
        Ok(())
    }

    fn rebuilt(
        &self,
        history: &History,
        look: &Look,
        made: &Made,
        taken: &RoaringTreemap,
        indexes: &[(SegmentId, [u8; 32])],
    ) -> Result<Version, Error> {
        let mut segments: Vec<SegmentMeta> = look.kept.iter().map(|(meta, _)| meta.clone()).collect();
        segments.extend(made.segments.iter().chain(&made.of_log).cloned());
        for (id, root) in indexes {
            segments.iter_mut().filter(|m| m.id == *id).for_each(|m| m.index_root = *root);
        }
        segments.sort_by_key(|meta| meta.id);
        let reached = look.log.as_ref().map_or(Seq(0), |log| log.reached);
        let sealed_below = history.sealed_below.max(reached).max(Seq(taken.max().unwrap_or(0)));
        let known: Vec<Leaf> = history.version.iter().flat_map(|v| v.leaves().cloned()).collect();
        let leaves =
            Records::new(readers(look, made), self.keys).with_elsewhere(elsewhere(look)).leaves(&known, taken)?;
        let next = segments.last().map_or(look.highest, |last| look.highest.max(SegmentId(last.id.0 + 1)));
        let before = history.version.as_ref().filter(|_| history.is_chained);
        let bounds = (sealed_below, next);
        Version::rebuilt(self.id, before, &segments, &leaves, bounds).map_err(|e| {
            StorageError::io("make anew", &self.dir.join("manifest"), std::io::Error::other(e.to_string())).into()
        })
    }
}

/// What a manifest would say of a segment, by the segment alone.
pub(super) fn meta_of(segment: &Readable, stored: &Stored) -> SegmentMeta {
    let reader = &segment.reader;
    let blocks = &reader.footer().blocks;
    let infos = || blocks.iter().map(|b| b.info);
    SegmentMeta {
        id: reader.header().id,
        bytes: stored.bytes,
        data_root: stored.data_root,
        index_root: stored.index_root,
        rows: infos().map(|i| u64::from(i.rows)).sum(),
        min_time: infos().map(|i| i.time.0).min().unwrap_or_default(),
        max_time: infos().map(|i| i.time.1).max().unwrap_or_default(),
        min_seq: infos().map(|i| i.seq.0).min().unwrap_or_default(),
        max_seq: infos().map(|i| i.seq.1).max().unwrap_or_default(),
        blocks: blocks.len() as u32,
        created_at_ns: reader.header().created.0,
        level: 0,
        class: Class::default(),
        place: Place::default(),
    }
}
