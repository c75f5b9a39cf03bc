//! A whole bundle in memory: what the verifier reads, without the engine.

use super::directory::{BlockEntry, Directory, Kind, Section, decode_blocks};
use super::header::{Dictionary, HEADER_BYTES, Header};
use super::terms::{Class, Tokenizer, class};
use super::{Digraphs, Filter, Quads, TermList};
use crate::format::{DecodeError, Reader};

/// A bundle, all of it checked and decoded but for the engine's files.
#[derive(Debug)]
pub struct Bundle {
    /// The header.
    pub header: Header,
    /// What is known of each block.
    pub blocks: Vec<BlockEntry>,
    /// The flat list of words, where the dictionary is one.
    pub list: Option<TermList>,
    filters: Vec<Option<Filter>>,
    quads: Vec<Option<Quads>>,
    digraphs: Vec<Digraphs>,
}

/// The header and directory of a bundle, with every checksum in it verified.
fn open(bytes: &[u8]) -> Result<(Header, Directory), DecodeError> {
    let header = Header::decode(bytes)?;
    if header.len != bytes.len() as u64 {
        let what = format!("a bundle of {} bytes", header.len);
        return Err(DecodeError::new("index header", 40, what, format!("{} bytes", bytes.len())));
    }
    let at = usize::try_from(header.directory_offset).unwrap_or(usize::MAX);
    let directory = Directory::decode(bytes.get(at..).unwrap_or_default(), &header)?;
    for section in directory.iter() {
        section.check(slice(bytes, section)?)?;
    }
    Ok((header, directory))
}

fn slice<'a>(bytes: &'a [u8], section: &Section) -> Result<&'a [u8], DecodeError> {
    let range = usize::try_from(section.offset).ok().zip(usize::try_from(section.len).ok());
    range.and_then(|(at, len)| bytes.get(at..)?.get(..len)).ok_or_else(|| {
        DecodeError::new("index section", HEADER_BYTES, format!("{} bytes", section.len), "fewer")
            .within(section.offset)
    })
}

impl Bundle {
    /// Decodes a bundle of this program's layout; `Ok(None)` where it is of another one (see
    /// [`Header::layout_mismatch`]), of which the checksums alone are verified.
    pub fn decode(bytes: &[u8]) -> Result<Option<Bundle>, DecodeError> {
        let (header, directory) = open(bytes)?;
        if header.layout_mismatch().is_some() {
            return Ok(None);
        }
        let part = |kind, block| match directory.find(kind, block) {
            None => Ok(None),
            Some(section) => slice(bytes, section).map(|b| Some((section.offset, b))),
        };
        let need = |kind: Kind| {
            part(kind, 0)?.ok_or_else(|| DecodeError::new("index directory", 0, format!("{kind:?}"), "no such section"))
        };
        let (at, b) = need(Kind::Blocks)?;
        let blocks = decode_blocks(b, header.blocks).map_err(|e| e.within(at))?;
        let (at, b) = need(Kind::Digraphs)?;
        let digraphs = Digraphs::decode_all(b, header.blocks).map_err(|e| e.within(at))?;
        let list = match header.dictionary()? {
            Dictionary::List => {
                let (at, b) = need(Kind::List)?;
                Some(TermList::decode(b, header.blocks).map_err(|e| e.within(at))?)
            }
            Dictionary::Engine => None,
        };
        let (mut filters, mut quads) = (Vec::new(), Vec::new());
        for (block, entry) in (0..).zip(&blocks) {
            let filter =
                part(Kind::Filter, block)?.map(|(at, b)| Filter::decode(b).map_err(|e| e.within(at))).transpose()?;
            if filter.is_some() != (entry.hashes > 0) {
                return Err(DecodeError::new("index blocks", 0, "a filter where there are hashes", entry.hashes));
            }
            filters.push(filter);
            quads
                .push(part(Kind::Quads, block)?.map(|(at, b)| Quads::decode(b).map_err(|e| e.within(at))).transpose()?);
        }
        for section in directory.iter().filter(|s| s.kind == Kind::File) {
            engine_file(slice(bytes, section)?).map_err(|e| e.within(section.offset))?;
        }
        Ok(Some(Bundle { header, blocks, list, filters, quads, digraphs }))
    }

    /// May a block have a word? `None` where only the engine's files could tell, or where there is no such block.
    ///
    /// The word must be folded.
    pub fn may_have_word(&self, block: u32, word: &str) -> Option<bool> {
        let at = block as usize;
        let entry = self.blocks.get(at)?;
        let filtered = || self.may_have_hash(block, super::term_hash(word.as_bytes()));
        match class(word.as_bytes()) {
            Class::Quad(quad) => Some(self.quads.get(at)?.as_ref().is_some_and(|q| q.contains(quad))),
            Class::Identifier => Some(filtered()),
            Class::Word if entry.words_filtered => Some(filtered()),
            Class::Word => {
                self.list.as_ref().map(|l| l.get(word.as_bytes()).is_ok_and(|m| u32::from(m) >> block & 1 != 0))
            }
        }
    }

    /// May a block's filter have a term of this hash?
    pub fn may_have_hash(&self, block: u32, hash: u64) -> bool {
        self.filters.get(block as usize).is_some_and(|f| f.as_ref().is_some_and(|f| f.contains(hash)))
    }

    /// The first term of a text that a block, which holds the text, should have and has not.
    pub fn first_missing(&self, block: u32, text: &str, tokenizer: &mut Tokenizer) -> Option<String> {
        let mut missing = None;
        tokenizer.terms(text, |term| {
            if missing.is_some() {
                return;
            }
            let word = std::str::from_utf8(term.bytes).unwrap_or_default();
            let there = if term.whole {
                self.may_have_hash(block, term.hash)
            } else {
                let in_filter = match class(term.bytes) {
                    Class::Identifier => true,
                    Class::Word => self.blocks.get(block as usize).is_some_and(|b| b.words_filtered),
                    Class::Quad(_) => false,
                };
                let digraphs = self.digraphs.get(block as usize);
                self.may_have_word(block, word).unwrap_or(true)
                    && (!in_filter || digraphs.is_some_and(|d| d.may_have(term.bytes, false, false)))
            };
            if !there {
                missing = Some(word.to_string());
            }
        });
        missing
    }
}

/// Name and bytes of a section of kind [`Kind::File`].
pub fn engine_file(section: &[u8]) -> Result<(&str, &[u8]), DecodeError> {
    let mut r = Reader::new(section, "index file");
    let name = r.text()?;
    let bytes = r.take(r.remaining())?;
    Ok((name, bytes))
}

/// Verifies all of a bundle that can be verified without the engine: each checksum, and what each section holds but
/// for the engine's files.
pub fn check_bundle(bytes: &[u8]) -> Result<(), DecodeError> {
    Bundle::decode(bytes).map(|_| ())
}

/// The index root: BLAKE3 of the bundle.
pub fn index_root(bundle: &[u8]) -> [u8; 32] {
    *blake3::hash(bundle).as_bytes()
}
