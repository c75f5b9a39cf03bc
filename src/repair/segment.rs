//! One segment file: whole, or which of its blocks can be read.

use crate::cache::Cache;
use crate::crypt::{KeyRing, Salvaged, hash_stored, open_segment, salvage_segment};
use crate::error::{Damage, StorageError};
use crate::format::block::{BLOCK_HEAD_BYTES, BLOCK_MAGIC, read_head, read_header};
use crate::format::edit::SegmentMeta;
use crate::format::payload::Payload;
use crate::format::sealed::{SECTOR_BYTES, read_sealed_header};
use crate::format::segment::{
    Footer, FooterBlock, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, read_footer, read_segment_header,
    read_trailer,
};
use crate::id::{SegmentId, TenantId};
use crate::record::{Block, BlockInfo, Timestamp};
use crate::segment::{SegmentBlock, SegmentReader, block_payload};
use crate::vfs::{Vfs, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file that are hashed at a time.
const READ_BYTES: usize = 1 << 20;

/// A segment that can be read, or blocks of one.
#[derive(Clone)]
pub(super) struct Readable {
    pub reader: Arc<SegmentReader>,
    /// Is it encrypted?
    pub is_sealed: bool,
}

/// What a manifest says of a segment's file. Of an encrypted one that is what is stored.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub bytes: u64,
    pub data_root: [u8; 32],
    pub index_root: [u8; 32],
}

/// What was found of a segment.
pub(super) enum Found {
    /// Its header, blocks and footer are what they should be, and its index where it is encrypted with them.
    Whole(Readable, Stored),
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
    pub left: Readable,
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
    owner: (&TenantId, &KeyRing, SegmentId),
    meta: Option<&SegmentMeta>,
) -> Result<Found, StorageError> {
    inspect_file(vfs.open(path), path, owner, meta)
}

/// The same for a file that was opened, or not.
pub(super) fn inspect_file(
    opened: Result<Arc<dyn VfsFile>, StorageError>,
    path: &Path,
    (tenant, keys, id): (&TenantId, &KeyRing, SegmentId),
    meta: Option<&SegmentMeta>,
) -> Result<Found, StorageError> {
    let stored = match opened {
        Err(e) if e.is_not_found() => return Ok(Found::Missing(e.to_string())),
        other => other?,
    };
    let cache = Arc::new(Cache::new(0));
    let foreign = |header: &SegmentHeader| {
        let found = format!("segment {} of {}", header.id, header.tenant);
        (found != format!("segment {id} of {tenant}")).then(|| Found::Foreign(format!("it is {found}")))
    };
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let got = stored.read_at(0, &mut bytes)?;
    // Before its key, which is for the one segment that it says it is.
    if let Ok(Some(found)) = read_sealed_header(&bytes[..got])
        && let Some(foreign) = foreign(&found.header)
    {
        return Ok(foreign);
    }
    let mut problem = match whole(&stored, keys, &cache) {
        Ok((readable, says, found)) => {
            if let Some(foreign) = foreign(readable.reader.header()) {
                return Ok(foreign);
            }
            let root = says.data_root;
            if meta.is_some_and(|meta| meta.data_root != root) {
                return Ok(Found::Foreign("it is another copy than the manifest names".into()));
            }
            if found == root {
                return Ok(Found::Whole(readable, says));
            }
            let (expected, found) = (blake3::Hash::from(root).to_string(), blake3::Hash::from(found).to_string());
            Damage { file: path.to_path_buf(), offset: 0, what: "segment", expected, found }.into()
        }
        Err(damage) if damage.is_damage() => damage,
        Err(error) => return Err(error),
    };
    // Its name says whose it is; the Seqs of its blocks must fit what else is known.
    let guessed = || SegmentHeader { tenant: tenant.clone(), id, created: Timestamp::now() };
    let (file, is_sealed) = match salvage_segment(&stored, keys, id.0)? {
        Salvaged::Plain => (stored, false),
        Salvaged::Sealed(file) => (file, true),
        Salvaged::Closed(problem) => {
            let reader = Arc::new(SegmentReader::of_blocks(stored, cache, guessed(), Footer::default()));
            let left = Readable { reader, is_sealed: true };
            return Ok(Found::Part(Part { left, lost: Vec::new(), is_listed: false, problem }));
        }
    };
    let got = file.read_at(0, &mut bytes)?;
    let header = read_segment_header(&bytes[..got]);
    if let Some(foreign) = header.as_ref().ok().and_then(foreign) {
        return Ok(foreign);
    }
    let header_holds = header.is_ok();
    let header = header.unwrap_or_else(|_| guessed());
    let listed = listed_blocks(&*file)?;
    let is_listed = listed.is_some();
    let candidates = match listed {
        Some(blocks) => blocks,
        None => search_blocks(&*file, meta)?,
    };
    let mut footer = Footer::default();
    let mut lost = Vec::new();
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
    let left = Readable { reader: Arc::new(SegmentReader::of_blocks(file, cache, header, footer)), is_sealed };
    Ok(Found::Part(Part { left, lost, is_listed, problem }))
}

/// Opens a segment that has its end; gives what it says of itself, and the root that its bytes come to.
fn whole(
    stored: &Arc<dyn VfsFile>,
    keys: &KeyRing,
    cache: &Arc<Cache>,
) -> Result<(Readable, Stored, [u8; 32]), StorageError> {
    let (file, root) = open_segment(stored.clone(), keys)?;
    let reader = Arc::new(SegmentReader::open(file.clone(), cache.clone())?);
    let trailer = reader.trailer();
    let (says, found) = match root {
        Some(root) => {
            let says = Stored { bytes: root.bytes, data_root: root.root, index_root: [0; 32] };
            (says, hash_stored(&**stored)?.unwrap_or_default())
        }
        None => {
            let bytes = trailer.footer_offset + trailer.footer_len + TRAILER_BYTES as u64;
            let says = Stored { bytes, data_root: trailer.data_root, index_root: trailer.index_root };
            (says, data_root(&*file, trailer.index_offset, &reader)?)
        }
    };
    Ok((Readable { reader, is_sealed: root.is_some() }, says, found))
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
    // Of an encrypted one the sector may be damaged that it stands in.
    if !can_read(file, trailer_at, &mut bytes)? {
        return Ok(None);
    }
    let Ok(trailer) = read_trailer(&bytes, len) else { return Ok(None) };
    let mut stored = vec![0; usize::try_from(trailer.footer_len).unwrap_or(usize::MAX)];
    if !can_read(file, trailer.footer_offset, &mut stored)? {
        return Ok(None);
    }
    Ok(read_footer(&trailer, &stored).ok().map(|footer| footer.blocks))
}

/// Reads bytes where they can be read; `false` where they are damaged.
fn can_read(file: &dyn VfsFile, at: u64, buffer: &mut [u8]) -> Result<bool, StorageError> {
    match file.read_exact_at(at, buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// All bytes of a file, with zeros in the place of sectors that can't be decrypted.
fn bytes_of(file: &dyn VfsFile) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let header_len = SEGMENT_HEADER_BYTES.min(bytes.len());
    let (header, sectors) = bytes.split_at_mut(header_len);
    can_read(file, 0, header)?;
    for (n, sector) in sectors.chunks_mut(SECTOR_BYTES).enumerate() {
        if !can_read(file, (SEGMENT_HEADER_BYTES + n * SECTOR_BYTES) as u64, sector)? {
            sector.fill(0);
        }
    }
    Ok(bytes)
}

/// The blocks that show themselves by their heads, without a footer. A good head says where its block ends, so that
/// only damaged bytes are searched: what a record says can't pass for a block but there, and then only with Seqs and
/// times of its segment that no other block has.
fn search_blocks(file: &dyn VfsFile, meta: Option<&SegmentMeta>) -> Result<Vec<FooterBlock>, StorageError> {
    let bytes = bytes_of(file)?;
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
