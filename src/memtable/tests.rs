//! Batches that are packed against the same that are not.

use super::*;
use crate::format::payload::{self, Packed};
use crate::record::{BatchBuilder, Labels, Record, Timestamp};
use proptest::prelude::*;

fn batch(first: u64, records: &[(i64, Vec<(String, String)>)]) -> CommittedBatch {
    let mut builder = BatchBuilder::new();
    for (time, fields) in records {
        let record =
            fields.iter().fold(Record::new(), |record, (name, text)| record.with(name.as_str(), text.as_str()));
        builder.push(&record, Timestamp(*time), &Labels::default()).expect("a small record");
    }
    let payload = Arc::new(payload::encode(&builder.take()));
    let leaf = *blake3::hash(&payload.bytes).as_bytes();
    CommittedBatch { first: Seq(first), payload, leaf }
}

fn pack(batch: &CommittedBatch) -> Packed {
    Packed::new(&batch.payload.bytes)
}

/// All that a query can ask of a memtable.
fn read(memtable: &Memtable) -> Vec<String> {
    let source = memtable.snapshot();
    let mut all = Vec::new();
    for number in 0..source.len() {
        let block = source.block(number).expect("in memory");
        assert_eq!(
            source.info(number),
            BlockInfo { rows: block.rows(), time: block.time_range(), seq: block.seq_range() }
        );
        all.push(format!("{:?} {:?} {:?}", source.info(number), block.times(), block.seqs()));
        for name in block.names().expect("in memory") {
            all.push(format!("{name} {:?} {:?}", block.zone(&name), block.field(&name)));
        }
    }
    all
}

proptest! {
    #[test]
    fn packed_batches_read_as_those_that_are_not(
        batches in prop::collection::vec(
            prop::collection::vec((0..1000i64, prop::collection::vec(("[a-e]{1,2}", ".{0,40}"), 1..5)), 1..30), 1..12,
        ),
        packs in any::<u16>(),
    ) {
        let (mut plain, mut mixed) = (Memtable::new(), Memtable::new());
        let mut first = 1;
        for (number, records) in batches.iter().enumerate() {
            let batch = batch(first, records);
            first += records.len() as u64;
            let packed = (packs >> number & 1 == 1).then(|| pack(&batch));
            let kept = Kept::new(batch.clone(), packed);
            let back = kept.batch().expect("as it was packed");
            prop_assert_eq!((back.first, back.leaf, &back.payload.bytes), (batch.first, batch.leaf, &batch.payload.bytes));
            prop_assert_eq!(kept.last(), batch.last());
            plain.push(Kept::new(batch, None));
            mixed.push(kept);
        }
        prop_assert_eq!(read(&plain), read(&mixed));
        prop_assert_eq!(plain.unpacked_bytes(), mixed.unpacked_bytes());
        prop_assert_eq!((plain.rows(), plain.last()), (mixed.rows(), mixed.last()));
    }
}

#[test]
fn what_is_packed_takes_less_and_what_was_broken_is_an_error() {
    let records: Vec<_> =
        (0..500).map(|n| (n, vec![("message".to_owned(), format!("request {n} took 12 ms"))])).collect();
    let batch = batch(1, &records);
    let packed = pack(&batch);
    let broken = Packed { stored: Arc::new(packed.stored[..packed.stored.len() / 2].to_vec()), ..pack(&batch) };
    let kept = Kept::new(batch.clone(), Some(packed));
    assert!(kept.memory() * 4 < Kept::new(batch.clone(), None).memory());
    assert!(kept.batch().is_ok());
    assert!(Kept::new(batch, Some(broken)).batch().is_err());
}
