use super::*;
use crate::id::{Class, Place};

const STAMP: FileStamp = FileStamp { id: 0, salt: 0x5a17 };

pub(crate) fn segment(id: u64, seqs: (u64, u64)) -> SegmentMeta {
    SegmentMeta {
        id: SegmentId(id),
        bytes: 4096,
        data_root: [1; 32],
        index_root: [2; 32],
        rows: seqs.1 - seqs.0 + 1,
        min_time: Timestamp(-5),
        max_time: Timestamp(1_700_000_000_000_000_000),
        min_seq: Seq(seqs.0),
        max_seq: Seq(seqs.1),
        blocks: 1,
        created_at_ns: 1_700_000_000_000_000_001,
        level: 0,
        class: Class::new("30d").expect("a name"),
        place: Place::default(),
    }
}

pub(crate) fn leaf(first: u64, count: u32) -> Leaf {
    Leaf::of_range(Seq(first), count, *blake3::hash(&first.to_le_bytes()).as_bytes())
}

/// A leaf of these Seqs.
pub(crate) fn scattered(seqs: &[u64]) -> Leaf {
    let seqs = SeqSet::of(seqs.iter().map(|n| Seq(*n))).expect("rising");
    Leaf { hash: *blake3::hash(&seqs.first().0.to_le_bytes()).as_bytes(), seqs }
}

fn assign(id: u64, class: &str, place: &str) -> Edit {
    let (class, place) = (Class::new(class).expect("a name"), Place::new(place).expect("a name"));
    Edit::Assign { segments: vec![Assignment { segment: SegmentId(id), class, place }] }
}

/// A chain with an edit of each kind but a snapshot.
fn edits() -> Vec<Vec<Edit>> {
    let tenant = TenantId::new("acme").expect("a name");
    let seal = |id, from, to| Edit::Seal {
        segments: vec![segment(id, (from, to))],
        leaves: vec![leaf(from, 2), leaf(from + 2, (to - from - 1) as u32)],
        sealed_below: Seq(to),
    };
    vec![
        vec![Edit::Create { tenant, created_at_ns: 17 }],
        vec![seal(1, 1, 10), seal(2, 11, 20)],
        vec![Edit::Merge { inputs: vec![SegmentId(1), SegmentId(2)], outputs: vec![segment(3, (1, 20))] }],
        vec![Edit::IndexRebuilt { segment: SegmentId(3), index_root: [9; 32] }],
        vec![seal(4, 21, 30), assign(3, "ever", "cold"), Edit::HistoryLost { first: 2, last: 4 }],
        vec![Edit::Delete {
            inputs: vec![SegmentId(3)],
            outputs: vec![SegmentMeta { rows: 19, ..segment(5, (1, 20)) }],
            reason: "instance 7 was deleted".into(),
            records: 1,
            leaves_broken: vec![Seq(3)],
            leaves_new: vec![Leaf { hash: [8; 32], ..scattered(&[4, 5, 7, 8, 9, 10]) }],
        }],
        vec![Edit::Expire {
            segments: vec![SegmentId(4)],
            reason: "older than 30d".into(),
            records: 10,
            leaves_broken: vec![],
            leaves_gone: vec![],
        }],
    ]
}

/// A manifest, marked after each entry but the last, and what it amounts to.
fn manifest(edits: &[Vec<Edit>], is_marked: bool) -> (Vec<u8>, Version) {
    let tenant = TenantId::new("acme").expect("a name");
    let mut bytes = ManifestHeader { version: MANIFEST_VERSION, tenant, salt: STAMP.salt }.encode().to_vec();
    let (mut version, mut head) = (None, HEAD_START);
    for (number, edits) in (1..).zip(edits) {
        let entry = Entry { number, previous: head, at: Timestamp(number as i64), edits: edits.clone() };
        head = entry.encode(&STAMP, &mut bytes).expect("short");
        version = Some(Version::after(version.as_ref(), &entry, head).unwrap_or_else(|e| panic!("{e}")));
        if is_marked {
            put_entry_mark(number, &head, &STAMP, &mut bytes);
        }
    }
    (bytes, version.expect("edits"))
}

fn read_all(bytes: &[u8]) -> Result<Vec<Vec<Edit>>, DecodeError> {
    let (_, entries) = read_edits(bytes)?;
    let found: Result<Vec<EntryAt>, DecodeError> = entries.collect();
    Ok(found?.into_iter().filter_map(|at| at.entry).map(|entry| entry.edits).collect())
}

#[test]
fn edits_round_trip_and_amount_to_a_version() {
    for is_marked in [true, false] {
        let (bytes, version) = manifest(&edits(), is_marked);
        assert_eq!(read_all(&bytes), Ok(edits()));
        assert_eq!(version.segments.keys().collect::<Vec<_>>(), [&SegmentId(5)]);
        assert_eq!((version.sealed_below, version.next_segment_id, version.edits), (Seq(30), SegmentId(6), 7));
        assert_eq!(version.records_removed, 11);
        let leaves: Vec<(u64, u32)> = version.leaves().map(|l| (l.first().0, l.count())).collect();
        assert_eq!(leaves, [(1, 2), (4, 6), (11, 2), (13, 8)]);
        assert_eq!(version.leaves().nth(1).map(|l| l.hash), Some([8; 32]));
    }
}

#[test]
fn a_snapshot_goes_on_with_the_chain() {
    let (_, version) = manifest(&edits(), true);
    let header = ManifestHeader { version: MANIFEST_VERSION, tenant: version.tenant.clone(), salt: 1 };
    let mut bytes = header.encode().to_vec();
    let entry = Entry {
        number: version.edits + 1,
        previous: version.head,
        at: Timestamp(3),
        edits: vec![Edit::Snapshot(Box::new(version.clone()))],
    };
    let head = entry.encode(&header.stamp(), &mut bytes).expect("short");
    let (_, mut entries) = read_edits(&bytes).expect("a header");
    let at = entries.next().expect("an entry").expect("whole");
    let again = Version::after(None, at.entry.as_ref().expect("an entry"), at.head).expect("fits");
    assert_eq!((again.head, again.edits), (head, version.edits + 1));
    let (mut now, before) = (again.clone(), version.clone());
    (now.head, now.edits) = (before.head, before.edits);
    assert_eq!(now, before);
    assert!(again.leaves().eq(version.leaves()));
    // A snapshot of some other chain is no beginning of this one.
    let other = Entry { previous: [1; 32], ..entry };
    let mut bytes = header.encode().to_vec();
    other.encode(&header.stamp(), &mut bytes);
    assert!(read_edits(&bytes).expect("a header").1.next().is_some_and(|at| at.is_err()));
}

#[test]
fn every_flipped_bit_is_found_and_what_was_durable_is_not_cut_off() {
    let (bytes, _) = manifest(&edits(), true);
    let last_mark = bytes.len() - ENTRY_HEADER_BYTES;
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let Ok((_, mut entries)) = read_edits(&bad) else { continue };
        let mut is_found = false;
        for at in entries.by_ref() {
            is_found |= at.is_err();
        }
        assert!(is_found, "bit {bit}");
        assert_eq!(entries.proof_of_loss().is_some(), bit / 8 < last_mark, "bit {bit}");
    }
    for n in 0..bytes.len() {
        let kept = read_all(&bytes[..n]);
        // Cut between entries it reads as shorter: only a checkpoint kept elsewhere knows better.
        assert!(kept.is_err() || edits().starts_with(&kept.unwrap_or_default()), "{n} bytes");
    }
}

#[test]
fn edits_that_do_not_fit_are_refused() {
    let (_, version) = manifest(&edits(), true);
    let fits = |edit: Edit| {
        let entry = Entry { number: 8, previous: version.head, at: Timestamp(0), edits: vec![edit] };
        Version::after(Some(&version), &entry, [0; 32]).is_ok()
    };
    let seal =
        |segments: Vec<SegmentMeta>, leaves: Vec<Leaf>, to| Edit::Seal { segments, leaves, sealed_below: Seq(to) };
    assert!(fits(seal(vec![segment(6, (31, 40))], vec![leaf(31, 10)], 40)));
    assert!(!fits(seal(vec![segment(5, (31, 40))], vec![leaf(31, 10)], 40)), "a number twice");
    assert!(!fits(seal(vec![segment(6, (31, 41))], vec![leaf(31, 10)], 40)), "beyond what is sealed");
    assert!(!fits(seal(vec![], vec![leaf(30, 10)], 40)), "a leaf over one that is sealed");
    assert!(!fits(seal(vec![], vec![], 29)), "back");
    assert!(!fits(Edit::Merge { inputs: vec![SegmentId(4)], outputs: vec![] }), "not live");
    assert!(!fits(Edit::Merge { inputs: vec![SegmentId(5)], outputs: vec![segment(6, (1, 20))] }), "records made up");
    assert!(fits(assign(5, "", "")) && !fits(assign(4, "", "")), "not live");
    assert!(!fits(Edit::IndexRebuilt { segment: SegmentId(4), index_root: [0; 32] }));
    let lost = |first, last| Edit::HistoryLost { first, last };
    assert!(fits(lost(1, 7)) && fits(lost(7, 7)), "of the seven before");
    assert!(!fits(lost(0, 3)) && !fits(lost(4, 3)) && !fits(lost(4, 8)));
    assert!(!fits(Edit::Create { tenant: version.tenant.clone(), created_at_ns: 0 }));
    assert!(fits(seal(vec![segment(6, (31, 40))], vec![scattered(&[31, 33, 40]), scattered(&[32, 34, 39])], 40)));
    assert!(!fits(seal(vec![], vec![scattered(&[31, 33, 40]), scattered(&[32, 33])], 40)), "a Seq of two leaves");
    let expire = |broken: &[u64], gone: &[u64]| {
        let seqs = |of: &[u64]| of.iter().map(|n| Seq(*n)).collect();
        let (leaves_broken, leaves_gone) = (seqs(broken), seqs(gone));
        Edit::Expire { segments: vec![], reason: String::new(), records: 0, leaves_broken, leaves_gone }
    };
    assert!(fits(expire(&[4], &[])) && fits(expire(&[], &[4])) && fits(expire(&[1], &[4])));
    assert!(!fits(expire(&[5], &[])) && !fits(expire(&[], &[5])) && !fits(expire(&[4], &[4])), "no such leaf");
    let delete = |leaves_new| Edit::Delete {
        inputs: vec![],
        outputs: vec![],
        reason: String::new(),
        records: 0,
        leaves_broken: vec![Seq(4)],
        leaves_new,
    };
    assert!(fits(delete(vec![scattered(&[4, 6]), scattered(&[5, 7])])));
    assert!(!fits(delete(vec![scattered(&[4, 6]), scattered(&[5, 6])])), "a Seq of two new ones");
    assert!(!fits(delete(vec![scattered(&[4, 12])])), "a Seq of one that stays");
    assert!(!fits(delete(vec![scattered(&[5]), scattered(&[4])])), "out of order");
}

#[test]
fn a_class_and_a_place_are_given_and_read_again() {
    let (_, version) = manifest(&edits()[..5], true);
    let meta = &version.segments[&SegmentId(3)];
    assert_eq!((meta.class.as_str(), meta.place.as_str()), ("ever", "cold"));
}

#[test]
fn a_segment_may_say_less_than_this_version_knows_but_not_more() {
    let meta = SegmentMeta { place: Place::new("cold").expect("a name"), ..segment(1, (1, 2)) };
    let mut bytes = Vec::new();
    put_segment(&mut bytes, &meta);
    let body = Reader::new(&bytes, WHAT).bytes().expect("a length before it").to_vec();
    let read = |body: &[u8]| {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, body);
        decode_segment(&mut Reader::new(&bytes, WHAT), 2)
    };
    let plain = SegmentMeta { class: Class::default(), place: Place::default(), ..meta.clone() };
    assert_eq!(read(&body), Ok(meta.clone()));
    assert_eq!(read(&body[..137]), Ok(SegmentMeta { place: Place::default(), ..meta }));
    assert_eq!(read(&body[..133]), Ok(plain.clone()));
    assert_eq!(decode_segment(&mut Reader::new(&body, WHAT), 1), Ok(plain), "as version 1 has it");
    assert!(read(&body[..136]).is_err() && read(&[&body[..], &[0]].concat()).is_err());
    assert!(read(&[&body[..134], b"A/x", &[0]].concat()).is_err(), "no name");
}

#[test]
fn a_kind_that_is_not_known_is_refused_with_a_reason() {
    let mut payload = Vec::new();
    put_i64(&mut payload, 0);
    payload.extend_from_slice(&[1, 200, 0]);
    let tenant = TenantId::new("acme").expect("a name");
    let mut bytes = ManifestHeader { version: MANIFEST_VERSION, tenant, salt: STAMP.salt }.encode().to_vec();
    put_header(1, &HEAD_START, &payload, &STAMP, &mut bytes);
    bytes.extend_from_slice(&payload);
    let error = read_all(&bytes).expect_err("an edit of kind 200");
    assert!(error.expected.contains("later version") && error.found == "kind 200", "{error}");
}

/// The seeds of the fuzz corpus; `DURAMEN_WRITE_CORPUS=1` writes them anew.
#[test]
fn the_corpus_goes_through_the_fuzz_body() {
    let (whole, _) = manifest(&edits(), true);
    let (first, _) = manifest(&edits()[..1], false);
    let torn = whole[..whole.len() - 100].to_vec();
    crate::format::tests::check_corpus(
        "edit",
        &[("whole", whole), ("first", first), ("torn", torn)],
        crate::format::fuzz::fuzz_edit,
    );
}
