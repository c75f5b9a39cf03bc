//! The examples of a batch, of integers and of a segment's parts.

use super::{check, show};
use crate::cache::Cache;
use crate::format::block::{BLOCK_HEAD_BYTES, BlockHead, put_head, read_head, read_header};
use crate::format::compress::{Codec, decompress};
use crate::format::ints::{self, Body};
use crate::format::payload::{Payload, encode};
use crate::format::rows::order_rows;
use crate::format::segment::{
    Footer, FooterBlock, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer, encode_footer,
    put_segment_header, put_trailer, read_trailer,
};
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::{BatchBuilder, Block, Column, Labels, Tag, Timestamp};
use crate::segment::{BlockSink, EncodedBlock, SegmentBlock, SegmentReader, encode_block};
use crate::vfs::Vfs;
use crate::vfs::sim::SimVfs;
use std::path::Path;
use std::sync::Arc;

/// 2023-11-14T22:13:20Z, in nanoseconds.
const BEGINS: i64 = 1_700_000_000_000_000_000;

struct NoIndex;

impl BlockSink for NoIndex {
    fn begin(&mut self) {}
    fn column(&mut self, _: &Column) {}
    fn value(&mut self, _: Tag, _: &str) {}
    fn end(&mut self) {}
}

/// The batch that the examples are made of: one stream, four records, of which the first has a message.
fn batch() -> Payload {
    let mut builder = BatchBuilder::new();
    let labels = Labels::new([("app", "x")]);
    for (ms, level, took) in [(0, "warn", "1.5"), (1, "info", "0.5"), (3, "info", "0.5"), (4, "warn", "2.0")] {
        builder.begin();
        builder.field("level", Tag::String, level);
        if ms == 0 {
            builder.field("message", Tag::String, "slow");
        }
        builder.field("took", Tag::Number, took);
        builder.finish(Timestamp(BEGINS + ms * 1_000_000), &labels).expect("small");
    }
    encode(&builder.take())
}

/// Writes a block with its header as it is: a person can't read zstd. Readers take both.
fn with_plain_header(block: &EncodedBlock) -> Vec<u8> {
    let head = read_head(&block.bytes).expect("a head");
    let pages_at = BLOCK_HEAD_BYTES + head.header_stored as usize;
    let stored = &block.bytes[BLOCK_HEAD_BYTES..pages_at];
    let raw = decompress(stored, head.header_codec, head.header_raw as usize, "header").expect("a header");
    let plain = BlockHead {
        len: (BLOCK_HEAD_BYTES + raw.len() + block.bytes.len() - pages_at) as u64,
        header_stored: raw.len() as u32,
        header_codec: Codec::Raw,
        header_crc: crc32fast::hash(&raw),
        ..head
    };
    let mut out = Vec::new();
    put_head(&plain, &mut out);
    out.extend_from_slice(&raw);
    out.extend_from_slice(&block.bytes[pages_at..]);
    assert_eq!(read_header(&plain, &raw), read_header(&head, stored));
    out
}

/// A segment of one block, with no index.
fn segment() -> Vec<u8> {
    let batches = [(Seq(41), Arc::new(batch()))];
    let encoded = encode_block(&order_rows(&batches), &batches, 1, &mut NoIndex);
    let block = with_plain_header(&encoded);
    let tenant = TenantId::new("acme").expect("a name");
    let mut out = Vec::new();
    put_segment_header(&SegmentHeader { tenant, id: SegmentId(1), created: Timestamp(BEGINS) }, &mut out);
    let place = FooterBlock { offset: out.len() as u64, len: block.len() as u64, info: encoded.info };
    out.extend_from_slice(&block);
    let end = out.len() as u64;
    let mut fields = encoded.zones;
    fields.iter_mut().for_each(|(_, zone)| (zone.counts, zone.distinct) = (None, None));
    let (footer, footer_codec, footer_raw) =
        encode_footer(&Footer { blocks: vec![place], fields, overflow: encoded.overflow });
    out.extend_from_slice(&footer);
    let trailer = Trailer {
        index_offset: end,
        index_len: 0,
        footer_offset: end,
        footer_len: footer.len() as u64,
        footer_raw: footer_raw as u64,
        footer_codec,
        footer_crc: crc32fast::hash(&footer),
        data_root: *blake3::hash(&out).as_bytes(),
        index_root: *blake3::hash(&[]).as_bytes(),
    };
    put_trailer(&trailer, &mut out);
    out
}

#[test]
fn the_document_shows_a_batch() {
    check("payload", &batch().bytes);
}

#[test]
fn the_document_shows_integers() {
    for (name, values, body) in [
        ("ints-packed", vec![100, 115, 105, 100], Body::Packed),
        ("ints-differences", (0..8).map(|i| BEGINS + i * 1_000_000).collect(), Body::Packed),
        ("ints-planes", vec![0, 258, 5], Body::Planes),
    ] {
        let mut bytes = Vec::new();
        ints::encode(&values, body, &mut bytes);
        check(name, &bytes);
        assert_eq!(ints::decode(&bytes), Ok(values));
    }
}

#[test]
fn the_document_shows_a_segment() {
    let bytes = segment();
    let block_at = SEGMENT_HEADER_BYTES;
    let head = read_head(&bytes[block_at..]).expect("a head");
    let header_at = block_at + BLOCK_HEAD_BYTES;
    let pages_at = header_at + head.header_stored as usize;
    let trailer_at = bytes.len() - TRAILER_BYTES;
    let trailer = read_trailer(&bytes[trailer_at..], bytes.len() as u64).expect("a trailer");
    let footer_at = trailer.footer_offset as usize;
    for (name, part) in [
        ("segment-header", 0..block_at),
        ("block-head", block_at..header_at),
        ("block-header", header_at..pages_at),
        ("block-pages", pages_at..footer_at),
        ("footer", footer_at..trailer_at),
        ("trailer", trailer_at..bytes.len()),
    ] {
        check(name, &bytes[part]);
    }
    reads_back(&bytes);
}

/// The example is a segment to the engine, too, and has the records of the batch.
fn reads_back(bytes: &[u8]) {
    let vfs = SimVfs::new();
    vfs.create_dir_all(Path::new("segments")).expect("made");
    let path = Path::new("segments/1");
    vfs.create(path).and_then(|file| file.write_all_at(0, bytes)).expect("written");
    let reader = SegmentReader::open(vfs.open(path).expect("a file"), Arc::new(Cache::new(0))).expect("a segment");
    let block = SegmentBlock::open(&Arc::new(reader), 0).expect("a block");
    let again = crate::segment::block_payload(&block).expect("whole");
    assert_eq!(show(&again.bytes), show(&batch().bytes));
    assert_eq!(block.seqs().expect("whole").to_vec(), [41, 42, 43, 44]);
}

#[test]
fn the_document_shows_templates() {
    use crate::format::chunk::{ChunkReader, PageWriter, page_bytes, put_chunk};
    use crate::format::template::{
        FillData, Filling, Sources, Template, Templated, decode_skeleton, decode_template, put_together, values_taken,
    };
    use crate::record::{Data, Tags, Texts};
    let texts = ["GET /a in 20ms", "idle", "GET /b in 7ms"];
    let plain = |texts: &[&str]| {
        let mut plain = Texts::default();
        texts.iter().for_each(|text| plain.push(text.as_bytes()));
        Column { tags: Tags::One(Tag::String), data: Data::Plain(plain) }
    };
    let literals = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().into()).collect();
    let parts = Templated {
        rank: 1,
        templates: vec![
            Template { literals: literals(&["", " ", " in ", "ms"]), holes: vec![0, 1, 2] },
            Template { literals: literals(&["idle"]), holes: vec![] },
        ],
        codes: vec![0, 1, 0],
        fills: vec![FillData::Column(0), FillData::Column(2), FillData::Values(Data::Integer(vec![20, 7]))],
    };
    let mut pages = PageWriter::new(1);
    let chunk = pages.templated(&plain(&texts), &parts);
    let mut descriptor = Vec::new();
    put_chunk(&chunk, &mut descriptor);
    check("template-chunk", &descriptor);
    check("template-pages", &pages.out);
    let again = ChunkReader::new(true).chunk(&mut crate::format::Reader::new(&descriptor, "chunk"));
    assert_eq!(again, Ok(chunk.clone()));
    assert!(ChunkReader::new(false).chunk(&mut crate::format::Reader::new(&descriptor, "chunk")).is_err());
    let mut read = |page: &crate::format::chunk::Page| {
        let at = page.offset as usize;
        Ok(page_bytes(page, &pages.out[at..at + page.stored as usize]).expect("a page"))
    };
    let fail = |_: &crate::format::chunk::Page, e: crate::format::DecodeError| e.in_file(Path::new("a")).into();
    // Columns 0 and 2 have values in the first and the third row alone.
    let columns = |column: u32| Arc::new(plain(if column == 0 { &["GET", "GET"] } else { &["/a", "/b"] }));
    let mut refer = |column: u32| Ok((columns(column), vec![0, u32::MAX, 1]));
    let template = chunk.encoding.template().expect("templates");
    let list =
        |found: Texts| (0..found.len()).map(|i| String::from_utf8_lossy(found.get(i)).into_owned()).collect::<Vec<_>>();
    let found = decode_template(template, &mut Sources { read: &mut read, fail: &fail, refer: &mut refer });
    assert_eq!(list(found.expect("texts")), texts);
    let skeleton = decode_skeleton(template, &mut read, &fail).expect("templates");
    let taken = values_taken(&skeleton, &[1, 2], &template.fills);
    assert_eq!(taken, [Some(vec![]), Some(vec![]), Some(vec![1])]);
    assert_eq!(values_taken(&skeleton, &[1], &template.fills), [None, None, None]);
    let numbers = Column { tags: Tags::One(Tag::Number), data: Data::Integer(vec![20, 7]) };
    let mut fillings = [
        Some(Filling::by_row(columns(0), vec![u32::MAX, 1])),
        Some(Filling::by_row(columns(2), vec![u32::MAX, 1])),
        Some(Filling::in_turn(Arc::new(numbers), taken[2].clone())),
    ];
    assert_eq!(list(put_together(&skeleton, [1, 0].into_iter(), &mut fillings).expect("texts")), texts[1..]);
}
