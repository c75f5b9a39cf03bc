//! The sections of a bundle, and the directory that finds them.

use super::header::{HEADER_BYTES, Header};
use crate::format::{DecodeError, Reader, put_u32, put_u64, put_varint};

const ENTRY_BYTES: usize = 28;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// What is known of each block: see [`BlockEntry`].
    Blocks = 1,
    /// The digraphs of each block.
    Digraphs = 2,
    /// The flat term list.
    List = 3,
    /// The filter of one block.
    Filter = 4,
    /// The quads of one block.
    Quads = 5,
    /// A file of the engine: its name as length and text, then its bytes.
    File = 6,
}

impl Kind {
    fn from_u8(n: u8) -> Option<Kind> {
        [Kind::Blocks, Kind::Digraphs, Kind::List, Kind::Filter, Kind::Quads, Kind::File]
            .into_iter()
            .find(|&k| k as u8 == n)
    }
}

/// A section's entry in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: Kind,
    /// Of which block; of files, which one; else 0.
    pub block: u32,
    /// Where it begins, in bytes from the bundle's beginning.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// CRC-32 of its bytes.
    pub crc: u32,
}

impl Section {
    /// Checks the section's bytes against the checksum.
    pub fn check(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let found = crc32fast::hash(bytes);
        if found == self.crc {
            return Ok(());
        }
        let what = format!("checksum {:08x} of {} bytes", self.crc, self.len);
        Err(DecodeError::new("index section", 0, what, format!("{found:08x}")).within(self.offset))
    }
}

/// The sections of a bundle, by kind and block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory(Vec<Section>);

impl Directory {
    /// Decodes a directory: the bytes from [`Header::directory_offset`] on.
    pub fn decode(bytes: &[u8], header: &Header) -> Result<Directory, DecodeError> {
        Self::decode_at(bytes, header).map_err(|e| e.within(header.directory_offset))
    }

    fn decode_at(bytes: &[u8], header: &Header) -> Result<Directory, DecodeError> {
        let mut r = Reader::new(bytes, "index directory");
        let Some(entries) = bytes.len().checked_sub(4).filter(|n| n % ENTRY_BYTES == 0) else {
            return Err(r.error(format!("entries of {ENTRY_BYTES} bytes and a checksum"), bytes.len()));
        };
        let expect = crc32fast::hash(&bytes[..entries]);
        let found = Reader::new(&bytes[entries..], "index directory").u32()?;
        if found != expect {
            let what = format!("checksum {expect:08x}");
            return Err(DecodeError::new("index directory", 0, what, format!("{found:08x}")));
        }
        let mut sections = Vec::with_capacity(entries / ENTRY_BYTES);
        let mut end = HEADER_BYTES as u64;
        for _ in 0..entries / ENTRY_BYTES {
            let kind = r.u32()?;
            let Some(kind) = u8::try_from(kind).ok().and_then(Kind::from_u8) else {
                return Err(r.error("a kind of section", kind));
            };
            let section = Section { kind, block: r.u32()?, offset: r.u64()?, len: r.u64()?, crc: r.u32()? };
            // Sections leave no gap, so that no byte is without a checksum.
            if section.offset != end || section.len > header.directory_offset.saturating_sub(end) {
                return Err(r.error(format!("a section at {end}"), format!("{} at {}", section.len, section.offset)));
            }
            end += section.len;
            if matches!(kind, Kind::Filter | Kind::Quads) && section.block >= header.blocks {
                return Err(r.error(format!("a block below {}", header.blocks), section.block));
            }
            sections.push(section);
        }
        if end != header.directory_offset {
            return Err(r.error(format!("sections up to {}", header.directory_offset), end));
        }
        sections.sort_by_key(|s| (s.kind, s.block));
        if let Some(twice) = sections.windows(2).find(|w| (w[0].kind, w[0].block) == (w[1].kind, w[1].block)) {
            return Err(r.error("each section once", format!("{:?} {} twice", twice[0].kind, twice[0].block)));
        }
        Ok(Directory(sections))
    }

    /// The section of a kind and block.
    pub fn find(&self, kind: Kind, block: u32) -> Option<&Section> {
        let at = self.0.binary_search_by_key(&(kind, block), |s| (s.kind, s.block)).ok()?;
        self.0.get(at)
    }

    /// All sections, by kind and block.
    pub fn iter(&self) -> impl Iterator<Item = &Section> {
        self.0.iter()
    }
}

/// Puts a bundle together.
#[derive(Debug)]
pub struct BundleWriter {
    out: Vec<u8>,
    directory: Vec<u8>,
}

impl Default for BundleWriter {
    fn default() -> Self {
        BundleWriter { out: vec![0; HEADER_BYTES], directory: Vec::new() }
    }
}

impl BundleWriter {
    /// An empty bundle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a section with what `write` writes.
    pub fn section(&mut self, kind: Kind, block: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        write(&mut self.out);
        put_u32(&mut self.directory, u32::from(kind as u8));
        put_u32(&mut self.directory, block);
        put_u64(&mut self.directory, start as u64);
        put_u64(&mut self.directory, (self.out.len() - start) as u64);
        put_u32(&mut self.directory, crc32fast::hash(&self.out[start..]));
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }
    /// No sections yet?
    pub fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    /// The whole bundle; offset and length in the header are filled in.
    pub fn finish(self, mut header: Header) -> Vec<u8> {
        let BundleWriter { mut out, directory } = self;
        header.directory_offset = out.len() as u64;
        out.extend_from_slice(&directory);
        put_u32(&mut out, crc32fast::hash(&directory));
        header.len = out.len() as u64;
        out[..HEADER_BYTES].copy_from_slice(&header.encode());
        out
    }
}

/// What is known of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// Words of the block in the dictionary.
    pub words: u32,
    /// Hashes in its filter.
    pub hashes: u32,
    /// Are its words in the filter instead of the dictionary, since there were too many?
    pub words_filtered: bool,
}

/// Appends the entries of all blocks.
pub fn encode_blocks(blocks: &[BlockEntry], out: &mut Vec<u8>) {
    for b in blocks {
        out.push(u8::from(b.words_filtered));
        put_varint(out, u64::from(b.words));
        put_varint(out, u64::from(b.hashes));
    }
}

/// Decodes the entries of so many blocks, and nothing after them.
pub fn decode_blocks(bytes: &[u8], blocks: u32) -> Result<Vec<BlockEntry>, DecodeError> {
    let mut r = Reader::new(bytes, "index blocks");
    let mut out = Vec::new();
    for _ in 0..blocks {
        let words_filtered = match r.u8()? {
            0 => false,
            1 => true,
            other => return Err(r.error("0 or 1", other)),
        };
        let mut number = || {
            let n = r.varint()?;
            u32::try_from(n).map_err(|_| r.error("32 bits", n))
        };
        out.push(BlockEntry { words: number()?, hashes: number()?, words_filtered });
    }
    r.end()?;
    Ok(out)
}
