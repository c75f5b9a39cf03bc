//! Columns that are taken apart come back to the byte, whole and row by row.

use super::tests::{Fields, NoSink, check, field, payload};
use super::*;
use crate::cache::Cache;
use crate::format::block::{BLOCK_HEAD_BYTES, BlockHeader, read_head, read_header};
use crate::format::bundle::Tokenizer;
use crate::format::payload::Payload;
use crate::format::rows::order_rows;
use crate::format::segment::SegmentHeader;
use crate::format::template::FillChunk;
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::{Block, Column, Data, Tag, Timestamp};
use crate::vfs::{RealVfs, Vfs};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn hash(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn uuid(n: u64) -> String {
    let (a, b) = (hash(n), hash(n + 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// Records of a service: messages that repeat what other fields say, and numbers of their own.
fn service(rows: u64) -> Vec<(i64, Fields)> {
    let record = |i: u64| {
        let h = hash(i);
        let took = h % 977;
        let mut fields = vec![field("id", uuid(i / 4)), (("took").into(), Tag::Number, took.to_string())];
        match h >> 20 & 7 {
            0..=2 => {
                let url = format!("/api/v1/things/{:08x}/parts?page={}", h as u32, h % 7);
                fields.push(field("message", format!("GET {url} 200 in {took}ms")));
                fields.push(field("url", url));
            }
            3 => {
                let user = format!("user-{:05}.{}", h % 500, ["smith", "o-neill", "müller"][(h % 3) as usize]);
                fields.push(field("message", format!("login of {user} failed (attempt {})", h % 4)));
                fields.push(field("user", user));
            }
            4 => fields.push(field("message", format!("cpu {}.{}% of {}", h % 100, h % 10, h % 64))),
            5 => fields.push(field("message", format!("token for {} from 10.0.{}.{}", uuid(h), h % 256, took % 256))),
            6 => fields.push(field("message", format!("{{}} {{0}} \\n \"{}\"\n\tat {{}}", h % 1000))),
            _ => fields.push(field("message", ["", "idle", "\u{0}", "é{}é 9", "9"][(h % 5) as usize])),
        }
        if i % 1777 == 5 {
            fields.push(field("note", "x 1 ".repeat(5000)));
        }
        fields.sort();
        (i as i64, fields)
    };
    (0..rows).map(record).collect()
}

fn header_of(block: &EncodedBlock) -> BlockHeader {
    let head = read_head(&block.bytes).expect("a head");
    let stored = &block.bytes[BLOCK_HEAD_BYTES..BLOCK_HEAD_BYTES + head.header_stored as usize];
    read_header(&head, stored).expect("a header")
}

#[test]
fn messages_come_back_from_templates_and_references() {
    let records = service(20_000);
    let batches: Vec<_> =
        records.chunks(7000).enumerate().map(|(i, part)| (Seq(1 + i as u64 * 7000), payload(part))).collect();
    check(&batches);
    check_terms(&batches);
    let rows = order_rows(&batches);
    let header = header_of(&encode_block(&rows[..16_000], &batches, 1, &mut NoSink));
    let template = |name: &str| {
        let column = header.columns.iter().find(|c| &*c.name == name).expect("a column");
        column.chunk.encoding.template().unwrap_or_else(|| panic!("{name}: {}", column.chunk.encoding.name()))
    };
    assert_eq!(template("url").rank, 0);
    let fills = &template("message").fills;
    let mut columns: Vec<&str> = fills
        .iter()
        .filter_map(|fill| match fill {
            FillChunk::Column(number) => Some(&*header.columns[*number as usize].name),
            FillChunk::Values { .. } => None,
        })
        .collect();
    columns.sort_unstable();
    assert_eq!((template("message").rank, columns), (1, vec!["took", "url", "user"]));
    let mut kinds: Vec<&str> = fills
        .iter()
        .filter_map(|fill| match fill {
            FillChunk::Column(_) => None,
            FillChunk::Values { encoding, .. } => Some(encoding.name()),
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in ["decimal", "integer", "ipv4", "uuid"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[test]
fn few_values_are_put_together_from_what_is_kept() {
    let batches = [(Seq(1), payload(&service(6000)))];
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a.seg");
    let header = SegmentHeader { tenant: TenantId::new("t").expect("a name"), id: SegmentId(1), created: Timestamp(0) };
    let mut writer = SegmentWriter::new(RealVfs.create(&path).expect("a file"), &header).expect("begun");
    writer.block(&encode_block(&order_rows(&batches), &batches, 1, &mut NoSink)).expect("written");
    writer.finish(&[]).expect("finished");
    let open = |cache: usize| {
        let file = RealVfs.open(&path).expect("a file");
        let segment = Arc::new(SegmentReader::open(file, Arc::new(Cache::new(cache))).expect("a segment"));
        SegmentBlock::open(&segment, 0).expect("a block")
    };
    let whole = open(0).field("message").expect("read").expect("messages");
    for cache in [0, 64 << 20] {
        let block = open(cache);
        for (first, step) in [(3, 4000), (0, 7), (5, 1), (1, 3), (0, 997)] {
            let rows: Vec<u32> = (first..block.rows()).step_by(step).collect();
            let some = block.field_at("message", &rows).expect("read").expect("messages");
            let (mut a, mut b) = (Vec::new(), Vec::new());
            assert!(rows.iter().all(|&row| some.get(row, &mut a) == whole.get(row, &mut b)), "{first} {step}");
        }
        let outline = block.outline("message").expect("read").expect("an outline");
        assert_eq!(outline.skeleton.counts.iter().sum::<u32>() as usize, whole.column.len());
        assert!(outline.skeleton.counts.iter().all(|count| *count > 0));
    }
}

#[test]
fn the_same_rows_make_the_same_bytes() {
    let batches = [(Seq(1), payload(&service(6000)))];
    let rows = order_rows(&batches);
    let make = || {
        let mut encoder = BlockEncoder::default();
        rows.chunks(2000).map(|rows| encoder.encode(rows, &batches, 1, &mut NoSink).bytes).collect::<Vec<_>>()
    };
    assert_eq!(make(), make());
}

#[test]
fn noise_stays_as_it_is() {
    let records: Vec<(i64, Fields)> = (0..5000u64)
        .map(|i| {
            let noise: String = (0..40).map(|n| char::from(b' ' + (hash(i * 40 + n) >> 32) as u8 % 90)).collect();
            (i as i64, vec![field("noise", noise)])
        })
        .collect();
    let batches = [(Seq(1), payload(&records))];
    let header = header_of(&encode_block(&order_rows(&batches), &batches, 1, &mut NoSink));
    assert_eq!(header.columns[0].chunk.encoding.name(), "plain");
    check(&batches);
}

#[test]
fn fields_that_hold_each_other_make_no_circle() {
    // Each of three columns has the text of the next one in some rows, and of itself in others.
    let records: Vec<(i64, Fields)> = (0..4000u64)
        .map(|i| {
            let (a, b) =
                (format!("value {} of {:08x}", hash(i) % 1000, hash(i) as u32), format!("part {}", hash(i) % 997));
            let texts = match i % 4 {
                0 => [format!("x {b}"), b.clone(), format!("y {a}")],
                1 => [a.clone(), format!("x {a}"), a.clone()],
                2 => [format!("x {a}"), format!("y {b}"), format!("x {a}")],
                _ => [b.clone(), b.clone(), b.clone()],
            };
            (i as i64, ["a", "b", "c"].iter().zip(texts).map(|(name, text)| field(name, text)).collect())
        })
        .collect();
    check(&[(Seq(1), payload(&records))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Texts made of pieces that other fields have, that look like numbers and like markers of holes.
    #[test]
    fn any_texts_come_back(
        pieces in proptest::collection::vec(prop_oneof!["[a-c]{1,3}", "[0-9]{1,3}", "\\{\\}|\\{0\\}|%s", ".{0,3}", "[0-9a-f]{8}", "-?[0-9]\\.[0-9]"], 2..12),
        shapes in proptest::collection::vec(proptest::collection::vec((0usize..12, "[ =:/.-]{0,2}|\u{e9}|"), 1..7), 1..6),
        seed: u64, rows in 40u64..400,
    ) {
        let records: Vec<(i64, Fields)> = (0..rows).map(|i| {
            let h = hash(seed ^ i);
            let own = [h % 1000, h % 7, h >> 40].map(|n| n.to_string());
            let shape = &shapes[(h >> 8) as usize % shapes.len()];
            let mut text = String::new();
            for (place, (piece, between)) in shape.iter().enumerate() {
                let varies = (h >> place) & 3 == 0;
                text += if varies { &own[piece % 3] } else { &pieces[(piece + (h >> 60) as usize * (place & 1)) % pieces.len()] };
                text += between;
            }
            let mut fields = vec![field("b", &own[0]), field("d", format!("{text}{}", own[2])), field("t", text)];
            if h & 4 == 0 {
                fields.push(field("u", format!("{} {}", own[1], own[2])));
            }
            (i as i64, fields)
        }).collect();
        let batches = [(Seq(5), payload(&records))];
        check(&batches);
        check_terms(&batches);
    }
}

/// Collects terms: of whole texts, or of pieces where there are any.
struct Terms {
    with_pieces: bool,
    tokenizer: Tokenizer,
    terms: BTreeSet<(Vec<u8>, bool)>,
}

impl Terms {
    fn text(&mut self, text: &[u8]) {
        let text = std::str::from_utf8(text).expect("no character is cut");
        let terms = &mut self.terms;
        self.tokenizer.terms(text, |term| {
            terms.insert((term.bytes.to_vec(), term.whole));
        });
    }
    fn data(&mut self, data: &Data) {
        let mut buffer = Vec::new();
        (0..data.len()).for_each(|i| self.text(data.text(i, &mut buffer)));
    }
}

impl BlockSink for Terms {
    fn begin(&mut self) {}
    fn column(&mut self, column: &Column) {
        self.data(&column.data);
    }
    fn pieces(&mut self, column: &Column, pieces: &Pieces<'_>) {
        if !self.with_pieces {
            return self.column(column);
        }
        pieces.values.iter().for_each(|data| self.data(data));
        pieces.texts.iter().for_each(|texts| (0..texts.len()).for_each(|i| self.text(texts.get(i))));
    }
    fn value(&mut self, _: Tag, _: &str) {}
    fn end(&mut self) {}
}

/// Pieces have the terms that whole texts have, no fewer and no more.
fn check_terms(batches: &[(Seq, Arc<Payload>)]) {
    let rows = order_rows(batches);
    let terms = |with_pieces: bool| {
        let mut sink = Terms { with_pieces, tokenizer: Tokenizer::default(), terms: BTreeSet::new() };
        encode_block(&rows[..rows.len().min(16_000)], batches, 1, &mut sink);
        sink.terms
    };
    let (pieces, whole) = (terms(true), terms(false));
    assert_eq!(pieces.difference(&whole).next(), None);
    assert_eq!(whole.difference(&pieces).next(), None);
}
