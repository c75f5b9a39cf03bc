//! What goes into a segment comes out of it.

use super::*;
use crate::cache::Cache;
use crate::format::payload::{Payload, encode};
use crate::format::rows::{order_rows, split_rows};
use crate::format::segment::SegmentHeader;
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::text::fold;
use crate::record::{
    BatchBuilder, Block, Column, Fill, Form, Labels, Outline, Tag, Template, Timestamp, Zone, write_decimal,
};
use crate::vfs::{RealVfs, Vfs};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) struct NoSink;
impl BlockSink for NoSink {
    fn begin(&mut self) {}
    fn column(&mut self, _: &Column) {}
    fn value(&mut self, _: Tag, _: &str) {}
    fn end(&mut self) {}
}

pub(super) type Fields = Vec<(String, Tag, String)>;

pub(super) fn payload(records: &[(i64, Fields)]) -> Arc<Payload> {
    let mut b = BatchBuilder::new();
    for (i, (time, fields)) in records.iter().enumerate() {
        b.begin();
        fields.iter().for_each(|(n, t, v)| b.field(n, *t, v));
        b.finish(Timestamp(*time), &Labels::new([("stream", (i % 3).to_string())])).unwrap();
    }
    Arc::new(encode(&b.take()))
}

/// Writes a segment and compares each row, read whole and read in part, with what went in.
pub(super) fn check(batches: &[(Seq, Arc<Payload>)]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.seg");
    let header = SegmentHeader { tenant: TenantId::new("t").unwrap(), id: SegmentId(1), created: Timestamp(0) };
    let mut writer = SegmentWriter::new(RealVfs.create(&path).unwrap(), &header).unwrap();
    let rows = order_rows(batches);
    let mut from = 0;
    for end in split_rows(&rows, batches) {
        writer.block(&encode_block(&rows[from..end], batches, 1, &mut NoSink)).unwrap();
        from = end;
    }
    let summary = writer.finish(b"bundle").unwrap();
    assert_eq!((summary.rows as usize, summary.bytes), (rows.len(), std::fs::metadata(&path).unwrap().len()));
    for cache_bytes in [0, 64 << 20] {
        let file = RealVfs.open(&path).unwrap();
        let reader = Arc::new(SegmentReader::open(file, Arc::new(Cache::new(cache_bytes))).unwrap());
        let mut at = 0;
        for number in 0..reader.blocks() {
            let block = SegmentBlock::open(&reader, number).unwrap();
            let (times, seqs, streams) = (block.times().unwrap(), block.seqs().unwrap(), block.streams().unwrap());
            let names = block.names().unwrap();
            let whole: Vec<_> = names.iter().map(|n| block.field(n).unwrap().unwrap()).collect();
            let mut buffer = Vec::new();
            for row in 0..block.rows() {
                let expect = rows[at];
                at += 1;
                let payload = &batches[expect.batch as usize].1;
                let record = &payload.records[expect.record as usize];
                assert_eq!((times[row as usize], seqs[row as usize]), (expect.time.0, expect.seq.0));
                let stream = payload.streams[record.stream as usize].to_string();
                assert_eq!(streams.text(row as usize, &mut buffer), stream.as_bytes());
                let expect: Fields = payload.fields(record).map(|(n, t, v)| (n.into(), t, v.into())).collect();
                let mut got = Fields::new();
                for (name, field) in names.iter().zip(&whole) {
                    if let Some((tag, text)) = field.get(row, &mut buffer) {
                        got.push((name.to_string(), tag, text.into()));
                    }
                }
                assert_eq!(got, expect);
                if row % 97 == 0 {
                    let mut part = Fields::new();
                    for name in block.names_at(&[row]).unwrap() {
                        let field = block.field_at(&name, &[row]).unwrap().unwrap();
                        if let Some((tag, text)) = field.get(row, &mut buffer) {
                            part.push((name.to_string(), tag, text.into()));
                        }
                    }
                    assert_eq!(part, expect);
                }
            }
            for (name, field) in names.iter().zip(&whole) {
                if let Zone::Known(zone) = block.zone(name).unwrap() {
                    assert_eq!(zone.values as usize, field.column.len());
                }
                check_parts(&block, name, &field.column);
            }
            assert!(matches!(block.zone("no such field").unwrap(), Zone::Absent));
        }
        assert_eq!(at, rows.len());
    }
    check_few_rows(&path);
}

/// A few rows of a field are the same whether all of it was read or not, the first time and then from the cache.
fn check_few_rows(path: &std::path::Path) {
    let open = || {
        let file = RealVfs.open(path).unwrap();
        Arc::new(SegmentReader::open(file, Arc::new(Cache::new(64 << 20))).unwrap())
    };
    let (whole, parts) = (open(), open());
    for number in 0..whole.blocks() {
        let block = SegmentBlock::open(&whole, number).unwrap();
        let part = SegmentBlock::open(&parts, number).unwrap();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for rows in [(0..block.rows()).step_by(61).collect::<Vec<_>>(), vec![block.rows() - 1]] {
            for name in block.names().unwrap() {
                let expect = block.field(&name).unwrap().unwrap();
                let got = part.field_at(&name, &rows).unwrap().unwrap();
                assert!(rows.iter().all(|&row| got.get(row, &mut a) == expect.get(row, &mut b)), "{name}");
            }
        }
    }
}

/// What is read of a field without its rows is the same as with them.
fn check_parts(block: &SegmentBlock, name: &str, whole: &Column) {
    let texts = |column: &Column| {
        let mut buffer = Vec::new();
        (0..column.len())
            .map(|i| (column.tag(i), String::from_utf8_lossy(column.text(i, &mut buffer)).into_owned()))
            .collect::<Vec<_>>()
    };
    let expect = texts(whole);
    if let Some(column) = block.column(name).unwrap() {
        assert_eq!(texts(&column), expect);
    }
    if let Some(entries) = block.entries(name).unwrap() {
        let distinct: std::collections::BTreeSet<_> = texts(&entries).into_iter().collect();
        assert_eq!(distinct, expect.iter().cloned().collect());
    }
    if let Some(outline) = block.outline(name).unwrap() {
        assert_eq!(outline.skeleton.codes.len(), expect.len());
        for (code, (_, text)) in outline.skeleton.codes.iter().zip(&expect).step_by(1 + expect.len() / 2000) {
            assert!(fits(block, &outline, code as usize, text.as_bytes()).contains(&text.len()), "{name}: {text}");
        }
    }
    let many = block.names_of_many_values().unwrap();
    assert!(many.is_sorted());
    if many.binary_search_by(|other| (**other).cmp(name)).is_err() {
        for (tag, text) in &expect {
            assert_ne!(*tag, Tag::Array);
            assert!(block.few_values_may_hold(&fold(text)), "{name}: {text}");
        }
    }
    for (_, text) in expect.iter().step_by(97) {
        assert!(block.may_hold(name, &crate::record::text::fold(text)), "{name}: {text}");
    }
}

/// How long the beginnings of a text are that are texts of a template.
fn fits(block: &dyn Block, outline: &Outline, template: usize, text: &[u8]) -> BTreeSet<usize> {
    let Template { literals, holes } = &outline.skeleton.templates[template];
    let mut lens = BTreeSet::from([0]);
    for (at, literal) in literals.iter().enumerate() {
        lens = lens.iter().filter(|&&at| text[at..].starts_with(literal)).map(|at| at + literal.len()).collect();
        if let Some(&hole) = holes.get(at) {
            let fill = &outline.fills[hole as usize];
            lens = lens
                .iter()
                .flat_map(|&at| filled(block, fill, &text[at..]).into_iter().map(move |len| at + len))
                .collect();
        }
    }
    lens
}

/// How long the beginnings of a text are that may stand in a hole.
fn filled(block: &dyn Block, fill: &Fill, text: &[u8]) -> BTreeSet<usize> {
    let starts = |len: &usize| {
        let Ok(part) = std::str::from_utf8(&text[..*len]) else { return false };
        let mut written = Vec::new();
        match &fill.form {
            Form::Integer => part.parse().is_ok_and(|n: i64| n.to_string() == part),
            Form::Decimal(places) => part.replace('.', "").parse().is_ok_and(|n: i64| {
                write_decimal(n, *places, &mut written);
                written == part.as_bytes()
            }),
            Form::Fixed(form) => form.read(part).is_some(),
            Form::Among(_) | Form::AmongThose(_) | Form::Templates(_) => false,
        }
    };
    let starting = |column: &Column| {
        let entries = column.entries();
        let entries = entries.as_ref().unwrap_or(column);
        let mut buffer = Vec::new();
        let lens = (0..entries.len()).filter_map(|i| {
            let entry = entries.text(i, &mut buffer);
            text.starts_with(entry).then_some(entry.len())
        });
        lens.collect()
    };
    let lens: BTreeSet<usize> = match &fill.form {
        Form::Integer | Form::Decimal(_) | Form::Fixed(_) => (0..=text.len().min(64)).filter(starts).collect(),
        Form::Among(column) => starting(column),
        Form::AmongThose(place) => starting(&block.fill_texts(*place).unwrap().expect("the texts of a fill")),
        Form::Templates(outline) => {
            (0..outline.skeleton.templates.len()).flat_map(|template| fits(block, outline, template, text)).collect()
        }
    };
    assert!(lens.iter().all(|&len| text[..len].iter().all(|b| fill.bytes.plain.has(*b))), "{fill:?}");
    let folded = |len: usize| fold(&String::from_utf8_lossy(&text[..len]));
    assert!(lens.iter().all(|&len| folded(len).bytes().all(|b| fill.bytes.folded.has(b))), "{fill:?}");
    lens
}

pub(super) fn field(name: impl ToString, text: impl ToString) -> (String, Tag, String) {
    (name.to_string(), Tag::String, text.to_string())
}

#[test]
fn many_blocks_out_of_order() {
    let records: Vec<(i64, Fields)> = (0..40_000i64)
        .map(|i| {
            (
                i * 7 % 40_000,
                vec![field("a", i), field("text", format!("message number {i} of many")), field("c", i % 5)],
            )
        })
        .collect();
    let batches: Vec<_> =
        records.chunks(7000).enumerate().map(|(i, part)| (Seq(1 + i as u64 * 7000), payload(part))).collect();
    check(&batches);
}

#[test]
fn more_columns_than_a_block_may_have() {
    let records: Vec<(i64, Fields)> = (0..3000)
        .map(|i| (i, vec![field("common", i), field(format!("rare{i}"), i), field(format!("some{}", i % 500), "é:7")]))
        .collect();
    check(&[(Seq(1), payload(&records))]);
}

#[test]
fn more_shapes_than_a_block_may_have() {
    let records: Vec<(i64, Fields)> = (0..6000)
        .map(|i| (i, (0..13).filter(|bit| i >> bit & 1 == 1).map(|bit| field(format!("f{bit}"), i)).collect()))
        .collect();
    check(&[(Seq(1), payload(&records))]);
}

#[test]
fn more_of_both() {
    let records: Vec<(i64, Fields)> = (0..5000)
        .map(|i| (i, (1..4).map(|k| field(format!("f{:04}", i * k * 7919 % 1700), i)).collect::<Fields>()))
        .map(|(i, mut fields)| {
            fields.sort();
            fields.dedup_by(|a, b| a.0 == b.0);
            (i, fields)
        })
        .collect();
    check(&[(Seq(1), payload(&records))]);
}

#[test]
fn large_values_span_pages_and_end_blocks() {
    let records: Vec<(i64, Fields)> =
        (0..30).map(|i| (i, vec![field("big", format!("{i}").repeat(400_000)), field("small", i)])).collect();
    check(&[(Seq(1), payload(&records))]);
}

#[test]
fn any_flipped_byte_is_an_error_and_never_another_answer() {
    let records: Vec<(i64, Fields)> = (0..50)
        .map(|i| (i, vec![field("a", i), field("m", format!("text {i}")), field(format!("x{}", i % 4), "y")]))
        .collect();
    let batches = [(Seq(1), payload(&records))];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.seg");
    let header = SegmentHeader { tenant: TenantId::new("t").unwrap(), id: SegmentId(1), created: Timestamp(0) };
    let mut writer = SegmentWriter::new(RealVfs.create(&path).unwrap(), &header).unwrap();
    writer.block(&encode_block(&order_rows(&batches), &batches, 1, &mut NoSink)).unwrap();
    writer.finish(&[]).unwrap();
    let good = std::fs::read(&path).unwrap();
    let read = || -> Result<Vec<String>, crate::error::StorageError> {
        let reader = Arc::new(SegmentReader::open(RealVfs.open(&path)?, Arc::new(Cache::new(0)))?);
        let block = SegmentBlock::open(&reader, 0)?;
        let mut out = vec![format!("{:?} {:?}", block.times()?, block.seqs()?)];
        let mut buffer = Vec::new();
        for name in block.names()? {
            let field = block.field(&name)?;
            for row in 0..block.rows() {
                out.push(format!(
                    "{name} {:?}",
                    field.as_ref().and_then(|f| f.get(row, &mut buffer)).map(|(t, v)| (t, v.to_string()))
                ));
            }
        }
        let streams = block.streams()?;
        out.extend((0..streams.len()).map(|i| String::from_utf8_lossy(streams.text(i, &mut buffer)).into_owned()));
        Ok(out)
    };
    let expect = read().unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        match read() {
            Ok(_) => panic!("byte {at} of {} was not checked", good.len()),
            Err(e) => assert!(e.to_string().contains("a.seg"), "{e}"),
        }
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(read().unwrap(), expect);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_records_come_back(records in proptest::collection::vec((any::<i64>(), proptest::collection::vec(("[a-d]{1,2}", 0u8..6, ".{0,9}"), 0..6)), 1..80)) {
        let records: Vec<(i64, Fields)> = records.into_iter()
            .map(|(time, fields)| (time, fields.into_iter().map(|(n, t, v)| (n, Tag::from_u8(t).unwrap(), v)).collect()))
            .collect();
        check(&[(Seq(5), payload(&records))]);
    }
}
