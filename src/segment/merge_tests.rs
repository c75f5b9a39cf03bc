//! Merged segments have the rows of their inputs, in order, in blocks that are copied where that is worth it.

use super::merge::Fill;
use super::*;
use crate::cache::Cache;
use crate::format::payload::{Payload, encode};
use crate::format::rows::order_rows;
use crate::format::segment::SegmentHeader;
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::{BatchBuilder, Block, Column, Labels, Tag, Timestamp};
use crate::vfs::Vfs;
use crate::vfs::sim::SimVfs;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const FILL: Fill = Fill { rows_max: 16, bytes_max: 4000, copy_rows_min: 8, copy_bytes_min: u64::MAX };

/// Keeps the texts that come.
#[derive(Default)]
struct Texts(BTreeSet<String>);

impl BlockSink for Texts {
    fn begin(&mut self) {
        self.0.clear();
    }
    fn column(&mut self, column: &Column) {
        let mut buffer = Vec::new();
        for i in 0..column.len() {
            self.0.insert(String::from_utf8_lossy(column.text(i, &mut buffer)).into_owned());
        }
    }
    fn value(&mut self, _: Tag, text: &str) {
        self.0.insert(text.into());
    }
    fn end(&mut self) {}
}

/// A record: time, number, text.
type Row = (i64, u64, String);

fn payload(rows: &[Row]) -> Arc<Payload> {
    let mut builder = BatchBuilder::new();
    for (time, _, text) in rows {
        builder.begin();
        builder.field("text", Tag::String, text);
        // One of many values, few values, and a field that some lack.
        builder.field("kind", Tag::String, if time % 3 == 0 { "a" } else { "b" });
        if time % 2 == 0 {
            builder.field("n", Tag::Number, &time.to_string());
        }
        builder.finish(Timestamp(*time), &Labels::default()).unwrap();
    }
    Arc::new(encode(&builder.take()))
}

/// Writes rows, in blocks of so many rows in turn.
fn segment(vfs: &SimVfs, number: u64, rows: &[Row], sizes: &[usize]) -> Arc<SegmentReader> {
    let path = format!("/disk/{number}.seg");
    let header = SegmentHeader { tenant: TenantId::new("t").unwrap(), id: SegmentId(number), created: Timestamp(0) };
    let mut writer = SegmentWriter::new(vfs.create(Path::new(&path)).unwrap(), &header).unwrap();
    let mut rows = rows.to_vec();
    rows.sort();
    let mut sizes = sizes.iter().copied().cycle();
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        let batches: Vec<_> = now.iter().map(|r| (Seq(r.1), payload(std::slice::from_ref(r)))).collect();
        writer.block(&encode_block(&order_rows(&batches), &batches, 1, &mut Texts::default())).unwrap();
        rest = later;
    }
    writer.finish(&[]).unwrap();
    open(vfs, &path)
}

fn open(vfs: &SimVfs, path: &str) -> Arc<SegmentReader> {
    Arc::new(SegmentReader::open(vfs.open(Path::new(path)).unwrap(), Arc::new(Cache::new(1 << 20))).unwrap())
}

fn rows_of(segment: &Arc<SegmentReader>, number: usize) -> Vec<Row> {
    let block = SegmentBlock::open(segment, number).unwrap();
    let field = block.field("text").unwrap().unwrap();
    let mut buffer = Vec::new();
    let texts =
        (0..field.column.len()).map(|i| String::from_utf8_lossy(field.column.text(i, &mut buffer)).into_owned());
    let times = block.times().unwrap();
    times.iter().zip(block.seqs().unwrap().iter()).zip(texts).map(|((t, s), text)| (*t, *s, text)).collect()
}

/// Merges inputs; gives the rows of each block, and how many blocks were copied.
fn merge(inputs: &[Arc<SegmentReader>], vfs: &SimVfs) -> (Vec<Vec<Row>>, usize) {
    let header = SegmentHeader { tenant: TenantId::new("t").unwrap(), id: SegmentId(99), created: Timestamp(0) };
    let mut writer = SegmentWriter::new(vfs.create(Path::new("/disk/99.seg")).unwrap(), &header).unwrap();
    let mut merger = Merger::with(inputs, FILL);
    let (mut copied, mut told) = (0, Vec::new());
    while let Some(merged) = merger.next_block().unwrap() {
        let mut texts = Texts::default();
        let block = match merged {
            Merged::Rows(rows) => encode_block(&rows.rows, &rows.batches, 3, &mut texts),
            Merged::Block(segment, number) => {
                copied += 1;
                copy_block(&segment, number, &mut texts).unwrap()
            }
        };
        writer.block(&block).unwrap();
        told.push(texts.0);
    }
    writer.finish(&[]).unwrap();
    let out = open(vfs, "/disk/99.seg");
    let blocks: Vec<Vec<Row>> = (0..out.blocks()).map(|b| rows_of(&out, b)).collect();
    for (rows, told) in blocks.iter().zip(told) {
        let mut expect: BTreeSet<String> = rows.iter().map(|r| r.2.clone()).collect();
        expect.extend(rows.iter().map(|r| if r.0 % 3 == 0 { "a".into() } else { "b".into() }));
        expect.extend(rows.iter().filter(|r| r.0 % 2 == 0).map(|r| r.0.to_string()));
        assert_eq!(told, expect, "what the index is told of a block");
    }
    (blocks, copied)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_out_once_and_in_order(
        inputs in proptest::collection::vec(
            (proptest::collection::vec((0i64..60, "[a-z]{0,12}"), 1..70), 0i64..200,
             proptest::collection::vec(1usize..=16, 1..4)),
            1..5,
        ),
    ) {
        let vfs = SimVfs::new();
        vfs.create_dir_all(Path::new("/disk")).unwrap();
        let mut all: Vec<Row> = Vec::new();
        let mut readers = Vec::new();
        let mut seq = 1;
        for (number, (rows, base, sizes)) in inputs.into_iter().enumerate() {
            let rows: Vec<Row> = rows.into_iter().map(|(time, text)| {
                seq += 1;
                (base + time, seq, text)
            }).collect();
            readers.push(segment(&vfs, number as u64, &rows, &sizes));
            all.extend(rows);
        }
        all.sort();
        let (blocks, _) = merge(&readers, &vfs);
        prop_assert!(blocks.iter().all(|rows| (1..=16).contains(&rows.len())));
        prop_assert_eq!(blocks.concat(), all);
    }
}

#[test]
fn blocks_are_copied_where_they_stand_alone() {
    // For each input its first time, number of rows and rows a block; then rows of each block, and how many are copied.
    let check = |inputs: &[(i64, i64, usize)], expect: &[usize], copied: usize| {
        let vfs = SimVfs::new();
        vfs.create_dir_all(Path::new("/disk")).unwrap();
        let mut seq = 0;
        let mut readers = Vec::new();
        for (number, &(from, count, size)) in inputs.iter().enumerate() {
            let rows: Vec<Row> = (from..from + count)
                .map(|time| {
                    seq += 1;
                    (time, seq, format!("text {seq}"))
                })
                .collect();
            readers.push(segment(&vfs, number as u64, &rows, &[size]));
        }
        let (blocks, found) = merge(&readers, &vfs);
        assert_eq!((blocks.iter().map(Vec::len).collect::<Vec<_>>(), found), (expect.to_vec(), copied), "{inputs:?}");
    };
    // One after the other, all of them full.
    check(&[(0, 32, 16), (100, 32, 16)], &[16, 16, 16, 16], 4);
    check(&[(100, 32, 16), (0, 32, 16)], &[16, 16, 16, 16], 4);
    // Too little in each, so that they are put together.
    check(&[(0, 7, 7), (10, 7, 7), (20, 7, 7)], &[16, 5], 0);
    // The end of an input is a block of its own where it is large enough, or else halves the next one.
    check(&[(0, 26, 16), (100, 32, 16)], &[16, 10, 16, 16], 4);
    check(&[(0, 18, 16), (100, 32, 16)], &[16, 9, 9, 16], 2);
    check(&[(0, 3, 16), (100, 8, 8), (200, 16, 16)], &[11, 16], 1);
    // Rows of another input between.
    check(&[(0, 16, 16), (8, 16, 16)], &[16, 16], 0);
    check(&[(0, 32, 16), (20, 1, 1)], &[16, 16, 1], 1);
    check(&[(0, 32, 16), (15, 1, 1)], &[16, 9, 8], 0);
    check(&[(0, 32, 16), (31, 8, 8)], &[16, 16, 8], 2);
    check(&[(0, 32, 16), (32, 8, 8)], &[16, 16, 8], 3);
}

#[test]
fn damage_is_not_copied() {
    let vfs = SimVfs::new();
    vfs.create_dir_all(Path::new("/disk")).unwrap();
    let rows: Vec<Row> = (0..16).map(|i| (i, i as u64 + 1, format!("text {i}"))).collect();
    let reader = segment(&vfs, 1, &rows, &[16]);
    let block = reader.footer().blocks[0];
    assert!(copy_block(&reader, 0, &mut Texts::default()).is_ok());
    for at in block.offset..block.offset + block.len {
        assert!(vfs.damage(Path::new("/disk/1.seg"), at * 8 + at % 8));
        match copy_block(&reader, 0, &mut Texts::default()) {
            Err(crate::error::StorageError::Damage(damage)) => {
                let within = block.offset..block.offset + block.len;
                assert!(within.contains(&damage.offset), "byte {at}: {damage}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert!(vfs.damage(Path::new("/disk/1.seg"), at * 8 + at % 8));
    }
}
