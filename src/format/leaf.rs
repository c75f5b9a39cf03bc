//! Leaves, and which records each covers: a run of Seqs, or some of a run where the others are another leaf's.

use super::bytes::{DecodeError, Reader, put_varint};
use super::meta::decode_vec;
use crate::id::Seq;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A leaf takes so many bytes at least.
const LEAF_BYTES_MIN: usize = 34;
const ALL: u64 = 0;
const RUNS: u64 = 1;
const BITS: u64 = 2;

/// The hash of the canonical bytes of some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The Seqs of the records. Of a leaf that a delete made before version 3, some of them have no record.
    pub seqs: SeqSet,
    /// BLAKE3 of the canonical bytes of the records, in Seq order.
    pub hash: [u8; 32],
}

impl Leaf {
    /// A leaf of all `count` Seqs from the first on.
    pub fn of_range(first: Seq, count: u32, hash: [u8; 32]) -> Self {
        Leaf { seqs: SeqSet { first, form: Form::All(count) }, hash }
    }

    /// Seq of the first record.
    pub fn first(&self) -> Seq {
        self.seqs.first
    }

    /// Seq of the last record.
    pub fn last(&self) -> Seq {
        self.seqs.last()
    }

    /// How many records.
    pub fn count(&self) -> u32 {
        self.seqs.count()
    }
}

/// Seqs, at least one, in whichever form takes the least room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqSet {
    first: Seq,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// So many, one after another.
    All(u32),
    /// Runs: how far each begins behind the first Seq, and how many it has. They rise, and do not touch.
    Runs { count: u32, runs: Arc<[(u32, u32)]> },
    /// A bit for each Seq from the first to the last, the lowest bit of a byte first.
    Bits { count: u32, bits: Arc<[u8]> },
}

impl SeqSet {
    /// The set of rising Seqs; `None` where there are none, or they do not rise, or are too far apart for one leaf.
    pub fn of(seqs: impl IntoIterator<Item = Seq>) -> Option<SeqSet> {
        let mut seqs = seqs.into_iter();
        let first = seqs.next()?;
        let mut runs: Vec<(u32, u32)> = vec![(0, 1)];
        for seq in seqs {
            let offset = u32::try_from(seq.0.checked_sub(first.0)?).ok()?;
            let (from, len) = runs.last_mut()?;
            match offset.checked_sub(*from + *len)? {
                0 => *len = len.checked_add(1)?,
                _ => runs.push((offset, 1)),
            }
            // Ends are counted as well.
            offset.checked_add(1)?;
        }
        Some(SeqSet::of_runs(first, runs))
    }

    fn of_runs(first: Seq, runs: Vec<(u32, u32)>) -> SeqSet {
        let count = runs.iter().map(|(_, len)| *len).sum();
        if runs.len() < 2 {
            return SeqSet { first, form: Form::All(count) };
        }
        let span = runs.last().map_or(0, |(from, len)| from + len);
        let (mut as_runs, mut as_bits) = (Vec::new(), Vec::new());
        put_runs(&mut as_runs, &runs);
        put_varint(&mut as_bits, bits_len(span) as u64);
        let form = if as_runs.len() <= as_bits.len() + bits_len(span) {
            Form::Runs { count, runs: runs.into() }
        } else {
            let mut bits = vec![0u8; bits_len(span)];
            for at in runs.iter().flat_map(|(from, len)| *from..from + len) {
                bits[at as usize / 8] |= 1 << (at % 8);
            }
            Form::Bits { count, bits: bits.into() }
        };
        SeqSet { first, form }
    }

    /// The lowest.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// The highest.
    pub fn last(&self) -> Seq {
        let span = match &self.form {
            Form::All(count) => *count,
            Form::Runs { runs, .. } => runs.last().map_or(1, |(from, len)| from + len),
            Form::Bits { bits, .. } => bits.len() as u32 * 8 - bits.last().map_or(0, |last| last.leading_zeros()),
        };
        Seq(self.first.0.saturating_add(u64::from(span)).saturating_sub(1))
    }

    /// How many.
    pub fn count(&self) -> u32 {
        match &self.form {
            Form::All(count) | Form::Runs { count, .. } | Form::Bits { count, .. } => *count,
        }
    }

    /// Is this one of them?
    pub fn contains(&self, seq: Seq) -> bool {
        let Some(at) = seq.0.checked_sub(self.first.0).and_then(|at| u32::try_from(at).ok()) else { return false };
        match &self.form {
            Form::All(count) => at < *count,
            Form::Runs { runs, .. } => {
                let (from, len) = runs[runs.partition_point(|(from, _)| *from <= at) - 1];
                at - from < len
            }
            Form::Bits { bits, .. } => bit(bits, at),
        }
    }

    /// First and last of each run, rising.
    pub fn runs(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        let mut next = 0u32;
        std::iter::from_fn(move || {
            let (from, len) = match &self.form {
                Form::All(count) => (next == 0).then_some((0, *count))?,
                Form::Runs { runs, .. } => *runs.get(next as usize)?,
                Form::Bits { bits, .. } => run_of(bits, next)?,
            };
            next = if matches!(self.form, Form::Bits { .. }) { from + len } else { next + 1 };
            let first = self.first.0.saturating_add(u64::from(from));
            Some((Seq(first), Seq(first.saturating_add(u64::from(len)).saturating_sub(1))))
        })
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = Seq> + '_ {
        self.runs().flat_map(|(first, last)| (first.0..=last.0).map(Seq))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.count()));
        match &self.form {
            Form::All(_) => put_varint(out, ALL),
            Form::Runs { runs, .. } => {
                put_varint(out, RUNS);
                put_runs(out, runs);
            }
            Form::Bits { bits, .. } => {
                put_varint(out, BITS);
                put_varint(out, bits.len() as u64);
                out.extend_from_slice(bits);
            }
        }
    }

    fn decode(first: Seq, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.clone();
        let bad = |found: String| at.error("the Seqs of a leaf", found);
        let count = r.varint()?;
        let count = u32::try_from(count).ok().filter(|n| *n > 0).ok_or_else(|| bad(format!("{count} of them")))?;
        let (form, found) = match r.varint()? {
            ALL => (Form::All(count), u64::from(count)),
            RUNS => {
                let runs = decode_runs(r)?;
                let found = runs.iter().map(|(_, len)| u64::from(*len)).sum();
                (Form::Runs { count, runs: runs.into() }, found)
            }
            BITS => {
                let bits = r.bytes()?;
                let ends = bits.first().is_some_and(|b| b & 1 == 1) && bits.last().is_some_and(|b| *b != 0);
                if !ends || bits.len() > u32::MAX as usize / 8 {
                    return Err(bad("bits that do not begin and end with one of them".into()));
                }
                let found = bits.iter().map(|b| u64::from(b.count_ones())).sum();
                (Form::Bits { count, bits: bits.into() }, found)
            }
            form => return Err(bad(format!("form {form}"))),
        };
        let set = SeqSet { first, form };
        if found != u64::from(count) || first.0.checked_add(u64::from(u32::MAX)).is_none() {
            return Err(bad(format!("{found} from {first} on, and {count} said")));
        }
        Ok(set)
    }
}

fn bits_len(span: u32) -> usize {
    (span as usize).div_ceil(8)
}

fn bit(bits: &[u8], at: u32) -> bool {
    bits.get(at as usize / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// The next run of set bits from a place on, and how many it has.
fn run_of(bits: &[u8], from: u32) -> Option<(u32, u32)> {
    let end = bits.len() as u32 * 8;
    let mut start = from;
    while start < end && !bit(bits, start) {
        // Whole bytes of nothing at once.
        start += if start.is_multiple_of(8) && bits[start as usize / 8] == 0 { 8 } else { 1 };
    }
    if start >= end {
        return None;
    }
    let len = (start..end).take_while(|at| bit(bits, *at)).count() as u32;
    Some((start, len))
}

/// How many, then for each but the first how far it is behind the end of the one before, and of each how many it has.
fn put_runs(out: &mut Vec<u8>, runs: &[(u32, u32)]) {
    put_varint(out, runs.len() as u64);
    let mut end = 0;
    for (from, len) in runs {
        if end > 0 {
            put_varint(out, u64::from(from - end));
        }
        put_varint(out, u64::from(*len));
        end = from + len;
    }
}

fn decode_runs(r: &mut Reader<'_>) -> Result<Vec<(u32, u32)>, DecodeError> {
    let mut end = 0u32;
    let runs = decode_vec(r, 1, |r| {
        let gap = if end > 0 { r.varint()? } else { 0 };
        let len = r.varint()?;
        let is_gap = end == 0 || gap > 0;
        let from = u32::try_from(gap).ok().and_then(|gap| end.checked_add(gap));
        let run = from.zip(u32::try_from(len).ok()).filter(|(_, len)| is_gap && *len > 0);
        let to = run.and_then(|(from, len)| from.checked_add(len));
        match (run, to) {
            (Some(run), Some(to)) => {
                end = to;
                Ok(run)
            }
            _ => Err(r.error("runs of a leaf's Seqs", format!("{len} after {gap} more than {end}"))),
        }
    })?;
    if runs.len() < 2 {
        return Err(r.error("two runs of a leaf's Seqs at least", runs.len()));
    }
    Ok(runs)
}

/// Leaves by rising first Seq; each says how far it begins behind the first Seq of the one before.
pub(super) fn put_leaves<'a>(out: &mut Vec<u8>, count: usize, leaves: impl Iterator<Item = &'a Leaf>) {
    put_varint(out, count as u64);
    let mut before = 0u64;
    for leaf in leaves {
        put_varint(out, leaf.first().0.wrapping_sub(before));
        leaf.seqs.encode(out);
        out.extend_from_slice(&leaf.hash);
        before = leaf.first().0;
    }
}

/// Reads leaves as a version of the manifest has them.
pub(super) fn decode_leaves(r: &mut Reader<'_>, version: u16) -> Result<Vec<Leaf>, DecodeError> {
    let mut before = 0u64;
    decode_vec(r, LEAF_BYTES_MIN, |r| {
        let gap = r.varint()?;
        let first = before.checked_add(gap).filter(|first| *first > 0 && (gap > 0 || version < 3));
        let first = Seq(first.ok_or_else(|| r.error("a leaf's first Seq", format!("{before} + {gap}")))?);
        if version < 3 {
            let count = r.varint()?;
            let end = first.0.checked_add(count);
            return match (u32::try_from(count), end) {
                (Ok(count), Some(end)) if count > 0 => {
                    // Before version 3 it was counted from the end of the one before.
                    before = end;
                    Ok(Leaf::of_range(first, count, r.hash()?))
                }
                _ => Err(r.error("a leaf's range of Seqs", format!("{count} from {first}"))),
            };
        }
        before = first.0;
        Ok(Leaf { seqs: SeqSet::decode(first, r)?, hash: r.hash()? })
    })
}

/// The first Seq that two of these leaves have, where there is one. They come by rising first Seq.
pub(super) fn first_shared<'a>(leaves: impl Iterator<Item = &'a Leaf>) -> Option<Seq> {
    let mut leaves = leaves.peekable();
    // The next run of each leaf that is begun, the lowest on top; the sets are looked up by their number.
    let mut heap = BinaryHeap::new();
    let mut begun = Vec::new();
    let mut end: Option<Seq> = None;
    loop {
        let is_next = |first: Seq, heap: &BinaryHeap<Reverse<(Seq, Seq, usize)>>| {
            heap.peek().is_none_or(|Reverse((from, ..))| first <= *from)
        };
        if let Some(leaf) = leaves.next_if(|leaf| is_next(leaf.first(), &heap)) {
            if heap.is_empty() {
                begun.clear();
            }
            let mut runs = leaf.seqs.runs();
            if let Some((from, to)) = runs.next() {
                heap.push(Reverse((from, to, begun.len())));
                begun.push(runs);
            }
            continue;
        }
        let Reverse((from, to, which)) = heap.pop()?;
        if end.is_some_and(|end| from <= end) {
            return Some(from);
        }
        end = Some(to);
        if let Some((from, to)) = begun.get_mut(which).and_then(Iterator::next) {
            heap.push(Reverse((from, to, which)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(seqs: &[u64]) -> SeqSet {
        SeqSet::of(seqs.iter().map(|n| Seq(*n))).expect("rising")
    }

    fn round_trip(leaves: &[Leaf]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_leaves(&mut bytes, leaves.len(), leaves.iter());
        let mut r = Reader::new(&bytes, "leaves");
        assert_eq!(decode_leaves(&mut r, 3).as_deref(), Ok(leaves));
        r.end().expect("all of it");
        bytes
    }

    #[test]
    fn sets_hold_what_went_into_them() {
        let thirds: Vec<u64> = (10..400).filter(|n| n % 3 == 1).collect();
        let clumps: Vec<u64> = (1..9000).filter(|n| n / 1000 % 2 == 0).collect();
        let cases: [(&str, Vec<u64>, usize); 7] = [
            ("one", vec![7], 2),
            ("a range", (5..4101).collect(), 3),
            ("two far apart", vec![1, 2_000_000_000], 10),
            ("two near", vec![9, 11], 4),
            ("every third", thirds, 2 + 1 + 1 + 49),
            ("clumps", clumps, 22),
            ("the last bit of a byte", vec![1, 3, 5, 7, 8], 4),
        ];
        for (what, seqs, bytes) in cases {
            let found = set(&seqs);
            assert_eq!(found.iter().map(|s| s.0).collect::<Vec<_>>(), seqs, "{what}");
            assert_eq!((found.first().0, found.last().0), (seqs[0], seqs[seqs.len() - 1]), "{what}");
            assert_eq!(found.count() as usize, seqs.len(), "{what}");
            let (from, to) = (seqs[0].saturating_sub(9), (seqs[0] + 9000).min(seqs[seqs.len() - 1] + 9));
            for seq in from..to {
                assert_eq!(found.contains(Seq(seq)), seqs.binary_search(&seq).is_ok(), "{what}: {seq}");
            }
            let leaf = Leaf { seqs: found, hash: [7; 32] };
            // Besides the hash, how many leaves and where this one begins.
            let own = round_trip(std::slice::from_ref(&leaf)).len() - 33 - put(leaf.first().0).len();
            assert_eq!(own, bytes, "{what}");
        }
        assert_eq!(SeqSet::of([]), None);
        assert_eq!(SeqSet::of([Seq(3), Seq(3)]), None);
        assert_eq!(SeqSet::of([Seq(3), Seq(2)]), None);
        assert_eq!(SeqSet::of([Seq(1), Seq(1 + (1 << 32))]), None, "too far");
    }

    fn put(n: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, n);
        bytes
    }

    #[test]
    fn leaves_of_the_earlier_versions_are_read() {
        let hash = [9; 32];
        let mut bytes = vec![2, 5, 10];
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(&[0, 3]);
        bytes.extend_from_slice(&hash);
        let expect = [Leaf::of_range(Seq(5), 10, hash), Leaf::of_range(Seq(15), 3, hash)];
        assert_eq!(decode_leaves(&mut Reader::new(&bytes, "leaves"), 2).as_deref(), Ok(&expect[..]));
        round_trip(&expect);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let refused = |own: &[u8]| {
            let bytes = [&[1, 5], own, &[0; 32]].concat();
            decode_leaves(&mut Reader::new(&bytes, "leaves"), 3).is_err()
        };
        assert!(!refused(&[2, 1, 2, 1, 1, 1]) && !refused(&[2, 2, 1, 5]));
        for (what, own) in [
            ("none", &[0, 0][..]),
            ("a form that is not known", &[1, 3]),
            ("one run", &[1, 1, 1, 1]),
            ("runs that touch", &[2, 1, 2, 1, 0, 1]),
            ("an empty run", &[1, 1, 2, 1, 1, 0]),
            ("fewer than said", &[3, 1, 2, 1, 1, 1]),
            ("bits that begin with none", &[1, 2, 1, 4]),
            ("bits that end with none", &[1, 2, 2, 1, 0]),
            ("no bits", &[1, 2, 0]),
            ("more bits than said", &[1, 2, 1, 3]),
        ] {
            assert!(refused(own), "{what}");
        }
        let twice = [&[2, 5, 1, 0][..], &[0; 32], &[0, 1, 0], &[0; 32]].concat();
        assert!(decode_leaves(&mut Reader::new(&twice, "leaves"), 3).is_err(), "the same first Seq");
    }

    #[test]
    fn shared_seqs_are_found() {
        let shared = |sets: &[&[u64]]| {
            let leaves: Vec<Leaf> = sets.iter().map(|s| Leaf { seqs: set(s), hash: [0; 32] }).collect();
            first_shared(leaves.iter()).map(|seq| seq.0)
        };
        assert_eq!(shared(&[]), None);
        assert_eq!(shared(&[&[1, 2, 3], &[4, 5]]), None);
        assert_eq!(shared(&[&[1, 3, 5, 9], &[2, 4, 8], &[6, 7]]), None);
        assert_eq!(shared(&[&[1, 2, 3], &[3, 4]]), Some(3));
        assert_eq!(shared(&[&[1, 5, 9], &[2, 6], &[3, 9]]), Some(9));
        assert_eq!(shared(&[&[1, 100], &[2, 3, 4, 5, 6, 7], &[50, 60], &[55, 60, 70]]), Some(60));
    }
}
