//! The bodies of the fuzz targets for blocks and segments. Checksums keep a fuzzer out, so they are made right first.

use super::{SegmentBlock, SegmentReader};
use crate::cache::Cache;
use crate::error::StorageError;
use crate::format::block::{self, BlockHead, BlockHeader, PresenceEncoding, read_head, read_header};
use crate::format::chunk::{Chunk, ChunkTags, Encoding, Page};
use crate::format::compress::Codec;
use crate::format::segment::{
    Footer, FooterBlock, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer, encode_footer,
    put_segment_header, put_trailer,
};
use crate::format::template::FillChunk;
use crate::id::{SegmentId, Seq, TenantId};
use crate::record::{Block, BlockInfo, Timestamp};
use crate::vfs::MemoryFile;
use std::path::Path;
use std::sync::Arc;

/// A whole segment file, with right checksums in header, footer and trailer.
pub fn fuzz_segment(data: &[u8]) {
    read_segment(data.to_vec());
    let mut fixed = data.to_vec();
    if fixed.len() < SEGMENT_HEADER_BYTES + TRAILER_BYTES {
        return;
    }
    let crc = crc32fast::hash(&fixed[..SEGMENT_HEADER_BYTES - 4]);
    fixed[SEGMENT_HEADER_BYTES - 4..SEGMENT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let at = fixed.len() - TRAILER_BYTES;
    let place = |at: usize| fixed.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    if let (Some(offset), Some(len)) = (place(at + 16), place(at + 24)) {
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(len)).ok());
        if let Some(footer) = range.and_then(|(from, to)| fixed.get(from..to)) {
            let crc = crc32fast::hash(footer);
            fixed[at + 44..at + 48].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let end = fixed.len() - 16;
    let crc = crc32fast::hash(&fixed[at..end]);
    fixed[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    fixed[end + 4..end + 8].copy_from_slice(&(!crc).to_le_bytes());
    read_segment(fixed);
}

/// A block: two bytes of header length, two of rows, the header as it is before compression, pages.
pub fn fuzz_block(data: &[u8]) {
    let Some((&[a, b, c, d], rest)) = data.split_first_chunk::<4>() else { return };
    let stored = usize::from(u16::from_le_bytes([a, b])).min(rest.len());
    let (raw, pages) = rest.split_at(stored);
    let head = BlockHead {
        version: block::BLOCK_VERSION_TEMPLATES,
        len: (block::BLOCK_HEAD_BYTES + rest.len()) as u64,
        rows: u16::from_le_bytes([c, d]).into(),
        time: (Timestamp(0), Timestamp(1000)),
        seq: (Seq(1), Seq(1000)),
        header_stored: stored as u32,
        header_raw: stored as u32,
        header_codec: Codec::Raw,
        header_crc: crc32fast::hash(raw),
    };
    let Ok(mut header) = read_header(&head, raw) else { return };
    each_page(&mut header, &mut |page| {
        let range =
            usize::try_from(page.offset).ok().and_then(|at| pages.get(at..at.checked_add(page.stored as usize)?));
        page.crc = range.map_or(page.crc, crc32fast::hash);
    });
    let mut bytes = Vec::new();
    let head = block::encode_block(head, &header, pages, &mut bytes);
    let again = read_head(&bytes).and_then(|head| {
        let header = &bytes[block::BLOCK_HEAD_BYTES..block::BLOCK_HEAD_BYTES + head.header_stored as usize];
        read_header(&head, header)
    });
    // As text, since the bounds of a zone map may be no numbers, which equal nothing.
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(&header)), "what decodes encodes to the same");
    if let Some(file) = segment_around(&head, &bytes) {
        read_segment(file);
    }
}

fn each_page(header: &mut BlockHeader, f: &mut dyn FnMut(&mut Page)) {
    let mut chunks: Vec<&mut Chunk> = vec![&mut header.times, &mut header.seqs, &mut header.streams];
    chunks.extend(header.columns.iter_mut().map(|c| &mut c.chunk));
    chunks.extend(&mut header.overflow);
    match &mut header.presence {
        PresenceEncoding::Shapes { ids, .. } => chunks.push(ids),
        PresenceEncoding::Bitmaps(bitmaps) => chunks.extend(bitmaps),
    }
    for chunk in chunks {
        each_page_of(&mut chunk.encoding, f);
        if let ChunkTags::Each(page) = &mut chunk.tags {
            f(page);
        }
    }
}

fn each_page_of(encoding: &mut Encoding, f: &mut dyn FnMut(&mut Page)) {
    match encoding {
        Encoding::Constant(_) => {}
        Encoding::Dictionary { entries, codes, .. } => {
            each_page_of(entries, f);
            codes.iter_mut().for_each(f);
        }
        Encoding::Integer(pages)
        | Encoding::Decimal { pages, .. }
        | Encoding::Fixed { pages, .. }
        | Encoding::Plain(pages) => pages.iter_mut().for_each(f),
        Encoding::Template(chunk) => {
            f(&mut chunk.templates);
            chunk.codes.iter_mut().for_each(&mut *f);
            for fill in &mut chunk.fills {
                if let FillChunk::Values { encoding, .. } = fill {
                    each_page_of(encoding, f);
                }
            }
        }
    }
}

/// A segment that has this one block and no index.
fn segment_around(head: &BlockHead, bytes: &[u8]) -> Option<Vec<u8>> {
    let tenant = TenantId::new("fuzz").ok()?;
    let mut file = Vec::new();
    put_segment_header(&SegmentHeader { tenant, id: SegmentId(1), created: Timestamp(0) }, &mut file);
    let offset = file.len() as u64;
    file.extend_from_slice(bytes);
    let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
    let blocks = vec![FooterBlock { offset, len: bytes.len() as u64, info }];
    let (footer, footer_codec, footer_raw) = encode_footer(&Footer { blocks, ..Footer::default() });
    let footer_offset = file.len() as u64;
    file.extend_from_slice(&footer);
    let trailer = Trailer {
        index_offset: footer_offset,
        index_len: 0,
        footer_offset,
        footer_len: footer.len() as u64,
        footer_raw: footer_raw as u64,
        footer_codec,
        footer_crc: crc32fast::hash(&footer),
        data_root: [0; 32],
        index_root: [0; 32],
    };
    put_trailer(&trailer, &mut file);
    Some(file)
}

/// Opens a segment and reads all that it has.
fn read_segment(bytes: Vec<u8>) {
    let Ok(segment) =
        SegmentReader::open(Arc::new(MemoryFile::new(Path::new("fuzz.seg"), bytes)), Arc::new(Cache::new(1 << 20)))
    else {
        return;
    };
    let segment = Arc::new(segment);
    for number in 0..segment.blocks().min(4) {
        if let Ok(block) = SegmentBlock::open(&segment, number) {
            // An error ends a block; what was read before it must hold together.
            let _ = read_block(&block);
        }
    }
}

fn read_block(block: &SegmentBlock) -> Result<(), StorageError> {
    let rows = block.rows();
    let some: Vec<u32> = [0, rows / 2, rows.saturating_sub(1)].into_iter().filter(|r| *r < rows).collect();
    let some = some.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    for name in block.names()? {
        let _ = block.zone(&name)?;
        let few = block.field_at(&name, &some);
        if let Some(outline) = block.outline(&name)? {
            let fills = outline.fills.len();
            assert!(outline.skeleton.templates.iter().flat_map(|t| &t.holes).all(|fill| (*fill as usize) < fills));
            assert_eq!(outline.skeleton.counts.iter().sum::<u32>() as usize, outline.skeleton.codes.len());
        }
        let Some(field) = block.field(&name)? else { continue };
        let mut buffer = Vec::new();
        let values = (0..rows).filter(|row| field.get(*row, &mut buffer).is_some()).count();
        assert!(values <= rows as usize);
        if let Ok(Some(few)) = few {
            for &row in &some {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                assert_eq!(few.get(row, &mut a), field.get(row, &mut b), "a few rows read as all of them do");
            }
        }
    }
    let _ = block.names_at(&some)?;
    assert_eq!(block.streams()?.len(), rows as usize);
    assert_eq!(block.seqs()?.len(), rows as usize);
    assert_eq!(block.times()?.len(), rows as usize);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compress::LEVEL_FAST;
    use crate::format::payload::encode;
    use crate::format::rows::order_rows;
    use crate::record::{BatchBuilder, Labels, Record, Value};

    /// Rows with a column of each encoding, and some that lack fields.
    fn seed_rows() -> Vec<(Seq, Arc<crate::format::payload::Payload>)> {
        let mut builder = BatchBuilder::new();
        for i in 0..60u32 {
            let mut record = Record::new()
                .at(Timestamp(1_000 * i64::from(i)))
                .with("constant", "same")
                .with("level", ["info", "warn", "error"][i as usize % 3])
                .with("n", i)
                .with("price", Value::number(format!("{}.{:02}", i, i)))
                .with("ip", format!("10.0.{}.{}", i % 7, i))
                .with("id", format!("{:08x}", i.wrapping_mul(2_654_435_761)))
                .with("message", format!("request {i} took {}ms", i * 37 % 900));
            if i % 5 == 0 {
                record = record.with("odd", if i % 2 == 0 { Value::null() } else { Value::from(vec![i]) });
            }
            builder.push(&record, Timestamp(0), &Labels::new([("app", "fuzz")])).expect("a record");
        }
        vec![(Seq(1), Arc::new(encode(&builder.take())))]
    }

    /// Writes the seeds where `DURAMEN_WRITE_CORPUS` is set, and holds both bodies against flipped bytes of them.
    #[test]
    fn seeds_and_flipped_bytes_of_them() {
        struct Nothing;
        impl super::super::BlockSink for Nothing {
            fn begin(&mut self) {}
            fn column(&mut self, _: &crate::record::Column) {}
            fn value(&mut self, _: crate::record::Tag, _: &str) {}
            fn end(&mut self) {}
        }
        let batches = seed_rows();
        let rows = order_rows(&batches);
        let encoded = super::super::encode_block(&rows, &batches, LEVEL_FAST, &mut Nothing);
        let head = read_head(&encoded.bytes).expect("a head");
        let rest = &encoded.bytes[block::BLOCK_HEAD_BYTES..];
        let (stored, pages) = rest.split_at(head.header_stored as usize);
        let raw = crate::format::compress::decompress(stored, head.header_codec, head.header_raw as usize, "header");
        let raw = raw.expect("a header");
        let header = read_header(&head, stored).expect("a header");
        let ranks = header.columns.iter().filter_map(|c| c.chunk.encoding.template()).map(|t| t.rank);
        assert_eq!(ranks.max(), Some(1), "a column that refers to another one");
        let mut seed = (raw.len() as u16).to_le_bytes().to_vec();
        seed.extend((head.rows as u16).to_le_bytes());
        seed.extend(&raw);
        seed.extend(pages);
        let file = segment_around(&head, &encoded.bytes).expect("a segment");
        for (name, seed, body) in [("block", seed, fuzz_block as fn(&[u8])), ("segment", file, fuzz_segment)] {
            if std::env::var_os("DURAMEN_WRITE_CORPUS").is_some() {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
                std::fs::create_dir_all(&folder).expect("a folder");
                std::fs::write(folder.join("mixed"), &seed).expect("written");
            }
            body(&seed);
            for at in (0..seed.len()).step_by(3) {
                let mut bad = seed.clone();
                bad[at] ^= 0x41;
                body(&bad);
                body(&seed[..at]);
            }
        }
    }
}
