//! One segment file: whole, or which of its blocks can be read.

use crate::error::{Damage, StorageError};
use crate::format::block::{BLOCK_HEAD_BYTES, BLOCK_MAGIC, read_head, read_header};
use crate::format::edit::SegmentMeta;
use crate::format::payload::Payload;
use crate::format::segment::{
    Footer, FooterBlock, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, read_footer, read_segment_header,
    read_trailer,
};
use crate::id::{SegmentId, TenantId};
use crate::record::{Block, BlockInfo, Timestamp};
use crate::segment::{Cache, SegmentBlock, SegmentReader, block_payload};
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file that are hashed at a time.
const READ_BYTES: usize = 1 << 20;

/// What was found of a segment.
pub(super) enum Found {
    /// Its header, blocks and footer are what they should be.
    Whole(Arc<SegmentReader>),
    /// Some of it is damaged.
    Part(Part),
    /// There is no file.
    Missing(String),
    /// A file that is whole, and another one than the manifest means: none of its records count.
    Foreign(String),
}

/// What is left of a damaged segment.
pub(super) struct Part {
    /// The blocks that can be read, and only these.
    pub reader: Arc<SegmentReader>,
    /// Those that are known, and can't be read.
    pub lost: Vec<BlockInfo>,
    /// Are these all that are lost? Not so where the list of blocks is damaged as well.
    pub is_listed: bool,
    /// What is wrong first.
    pub problem: StorageError,
}

/// Looks at a segment's file; an error is what the system refused.
pub(super) fn inspect(
    vfs: &dyn Vfs,
    path: &Path,
    (tenant, id): (&TenantId, SegmentId),
    meta: Option<&SegmentMeta>,
) -> Result<Found, StorageError> {
    let file = match vfs.open(path) {
        Err(e) if e.is_not_found() => return Ok(Found::Missing(e.to_string())),
        other => other?,
    };
    let cache = Arc::new(Cache::new(0));
    let foreign = |header: &SegmentHeader| {
        let found = format!("segment {} of {}", header.id, header.tenant);
        (found != format!("segment {id} of {tenant}")).then(|| Found::Foreign(format!("it is {found}")))
    };
    let mut problem = match SegmentReader::open(file.clone(), cache.clone()) {
        Ok(reader) => {
            if let Some(foreign) = foreign(reader.header()) {
                return Ok(foreign);
            }
            let root = reader.trailer().data_root;
            if meta.is_some_and(|meta| meta.data_root != root) {
                return Ok(Found::Foreign("it is another copy than the manifest names".into()));
            }
            let found = data_root(&*file, reader.trailer().index_offset, &reader)?;
            if found == root {
                return Ok(Found::Whole(Arc::new(reader)));
            }
            let (expected, found) = (blake3::Hash::from(root).to_string(), blake3::Hash::from(found).to_string());
            Damage { file: path.to_path_buf(), offset: 0, what: "segment", expected, found }.into()
        }
        Err(damage) if damage.is_damage() => damage,
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let got = file.read_at(0, &mut bytes)?;
    let header = match read_segment_header(&bytes[..got]) {
        Ok(header) => {
            if let Some(foreign) = foreign(&header) {
                return Ok(foreign);
            }
            header
        }
        // Its name says whose it is; the Seqs of its blocks must fit what else is known.
        Err(_) => SegmentHeader { tenant: tenant.clone(), id, created: Timestamp::now() },
    };
    let listed = listed_blocks(&*file)?;
    let is_listed = listed.is_some();
    let candidates = match listed {
        Some(blocks) => blocks,
        None => search_blocks(&*file, meta)?,
    };
    let mut footer = Footer::default();
    let mut lost = Vec::new();
    let header_holds = read_segment_header(&bytes[..got]).is_ok();
    for block in candidates {
        let one = Footer { blocks: vec![block], ..Footer::default() };
        let reader = Arc::new(SegmentReader::of_blocks(file.clone(), cache.clone(), header.clone(), one));
        match read_block(&reader, 0) {
            Ok(_) => footer.blocks.push(block),
            Err(error) if error.is_damage() => {
                if lost.is_empty() && is_listed && header_holds {
                    // Nearer to the place than that some byte of the file is wrong.
                    problem = error;
                }
                lost.push(block.info);
            }
            Err(error) => return Err(error),
        }
    }
    let reader = Arc::new(SegmentReader::of_blocks(file, cache, header, footer));
    Ok(Found::Part(Part { reader, lost, is_listed, problem }))
}

/// All of a block: its records and their Seqs.
pub(super) fn read_block(
    reader: &Arc<SegmentReader>,
    number: usize,
) -> Result<(Arc<Payload>, Arc<Vec<u64>>), StorageError> {
    let block = SegmentBlock::open(reader, number)?;
    let (payload, seqs) = (block_payload(&block)?, block.seqs()?);
    if payload.records.len() != seqs.len() {
        let (expected, found) = (format!("{} records", seqs.len()), payload.records.len().to_string());
        let offset = reader.footer().blocks[number].offset;
        let file = reader.file().path().to_path_buf();
        return Err(Damage { file, offset, what: "block", expected, found }.into());
    }
    Ok((Arc::new(payload), seqs))
}

/// BLAKE3 over header, blocks and footer, as they are in the file.
fn data_root(file: &dyn VfsFile, blocks_end: u64, reader: &SegmentReader) -> Result<[u8; 32], StorageError> {
    let mut hasher = blake3::Hasher::new();
    let trailer = reader.trailer();
    let mut buffer = Vec::new();
    for (from, to) in [(0, blocks_end), (trailer.footer_offset, trailer.footer_offset + trailer.footer_len)] {
        let mut at = from;
        while at < to {
            buffer.resize(READ_BYTES.min(usize::try_from(to - at).unwrap_or(READ_BYTES)), 0);
            file.read_exact_at(at, &mut buffer)?;
            hasher.update(&buffer);
            at += buffer.len() as u64;
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

/// The blocks as the footer lists them, where trailer and footer can be read.
fn listed_blocks(file: &dyn VfsFile) -> Result<Option<Vec<FooterBlock>>, StorageError> {
    let len = file.len()?;
    let Some(trailer_at) = len.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut bytes = vec![0; TRAILER_BYTES];
    file.read_exact_at(trailer_at, &mut bytes)?;
    let Ok(trailer) = read_trailer(&bytes, len) else { return Ok(None) };
    let mut stored = vec![0; usize::try_from(trailer.footer_len).unwrap_or(usize::MAX)];
    file.read_exact_at(trailer.footer_offset, &mut stored)?;
    Ok(read_footer(&trailer, &stored).ok().map(|footer| footer.blocks))
}

/// The blocks that show themselves by their heads, without a footer. A good head says where its block ends, so that
/// only damaged bytes are searched: what a record says can't pass for a block but there, and then only with Seqs and
/// times of its segment that no other block has.
fn search_blocks(file: &dyn VfsFile, meta: Option<&SegmentMeta>) -> Result<Vec<FooterBlock>, StorageError> {
    let bytes = {
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
        file.read_exact_at(0, &mut bytes)?;
        bytes
    };
    let fits = |info: &BlockInfo| {
        meta.is_none_or(|m| {
            info.seq.0 >= m.min_seq && info.seq.1 <= m.max_seq && info.time.0 >= m.min_time && info.time.1 <= m.max_time
        })
    };
    let block_at = |at: usize| -> Option<FooterBlock> {
        let rest = bytes.get(at..)?;
        let head = read_head(rest).ok()?;
        let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
        // The head's checksum is the head's alone: its header must hold, too, or the length says where the next one is.
        let header = rest.get(BLOCK_HEAD_BYTES..)?.get(..head.header_stored as usize);
        let is_whole = header.is_some_and(|stored| read_header(&head, stored).is_ok());
        let ends = at as u64 + head.len <= bytes.len() as u64;
        (fits(&info) && (is_whole || ends)).then_some(FooterBlock { offset: at as u64, len: head.len, info })
    };
    let mut blocks: Vec<FooterBlock> = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while at < bytes.len() {
        match block_at(at) {
            Some(block) => {
                at = usize::try_from(block.offset + block.len).unwrap_or(usize::MAX);
                blocks.push(block);
            }
            None => {
                let Some(rest) = bytes.get(at + 1..) else { break };
                let next = memchr::memmem::find_iter(rest, &BLOCK_MAGIC).map(|found| at + 1 + found);
                match next.into_iter().find(|&next| block_at(next).is_some()) {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }
    Ok(blocks)
}
