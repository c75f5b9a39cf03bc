//! Answers which blocks may have what is asked for.

use super::automaton::WordAutomaton;
use super::dictionary::WordIndex;
use super::engine::{self, EngineReader};
use super::pattern::Pattern;
use super::vocabulary::Vocabulary;
use crate::cache::Cache;
use crate::error::{Damage, StorageError};
use crate::format::DecodeError;
use crate::format::bundle::{
    BlockEntry, Class, Dictionary, Digraphs, Directory, Filter, HEADER_BYTES, Header, IDENTIFIER_BYTES_MIN, Kind,
    Mismatch, Quads, Section, TermList, Tokenizer, class, decode_blocks, engine_file,
};
use crate::record::{TermIndex, TermQuery};
use crate::vfs::VfsFile;
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::time::Instant;

/// Steps spent on finding out whether an automaton can accept an identifier, over all blocks: some milliseconds.
const AUTOMATON_STEPS_MAX: usize = 1 << 20;

/// Why an index can't be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// Reading failed, or the bytes are damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is whole, but of another version or other rules: scan, and make it anew.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// The parts that are in the cache: of a block its filter and its set of quads, of the whole bundle the rest.
const PART_FILTER: u32 = 0;
const PART_QUADS: u32 = 1;
const PART_WORDS: u32 = 2;
const PART_VOCABULARY: u32 = 3;
const PART_DIGRAPHS: u32 = 4;

/// The index of a segment. Reads its header and directory when it is opened, and all else when it is needed and not in
/// the cache; each section is checked before it is used.
pub struct IndexReader {
    file: Arc<dyn VfsFile>,
    offset: u64,
    header: Header,
    directory: Directory,
    blocks: Vec<BlockEntry>,
    all: RoaringBitmap,
    cache: Arc<Cache>,
    /// Whose parts these are in the cache.
    number: u64,
}

impl Drop for IndexReader {
    fn drop(&mut self) {
        self.cache.forget(self.number);
    }
}

impl std::fmt::Debug for IndexReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexReader").field("file", &self.file.path()).field("header", &self.header).finish()
    }
}

/// A word that is wholly known, or a whole.
struct Known {
    bytes: Box<[u8]>,
    hash: u64,
    class: Class,
}

impl IndexReader {
    /// Opens the bundle in a file, at an offset.
    pub fn open(file: Arc<dyn VfsFile>, offset: u64, len: u64, cache: Arc<Cache>) -> Result<IndexReader, OpenError> {
        let damage = |e: DecodeError| StorageError::from(e.within(offset).in_file(file.path()));
        let there = file.len()?.saturating_sub(offset);
        if len > there || len < HEADER_BYTES as u64 {
            let what = format!("{len} bytes of at least {HEADER_BYTES}");
            return Err(damage(DecodeError::new("index", 0, what, format!("{there} bytes"))).into());
        }
        let mut bytes = vec![0; HEADER_BYTES];
        file.read_exact_at(offset, &mut bytes)?;
        let header = Header::decode(&bytes).map_err(damage)?;
        if header.len != len {
            return Err(damage(DecodeError::new("index header", 40, len, header.len)).into());
        }
        if let Some(mismatch) = header.mismatch(engine::version()) {
            return Err(mismatch.into());
        }
        let mut bytes = vec![0; usize::try_from(len - header.directory_offset).unwrap_or(usize::MAX)];
        file.read_exact_at(offset + header.directory_offset, &mut bytes)?;
        let directory = Directory::decode(&bytes, &header).map_err(damage)?;
        let mut reader = IndexReader {
            file,
            offset,
            all: (0..header.blocks).collect(),
            header,
            directory,
            blocks: Vec::new(),
            cache,
            number: Cache::owner(),
        };
        reader.blocks = reader.need(Kind::Blocks, |bytes| decode_blocks(bytes, reader.header.blocks))?;
        Ok(reader)
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        self.header.blocks
    }

    /// A part from the cache, or loaded, with the bytes of memory that it takes.
    fn part<T: Send + Sync + 'static>(
        &self,
        (block, part): (u32, u32),
        load: impl FnOnce() -> Result<(T, usize), StorageError>,
    ) -> Result<Arc<T>, StorageError> {
        let key = (self.number, block, part);
        if let Some(part) = self.cache.get(key) {
            return Ok(part);
        }
        let start = Instant::now();
        let (part, bytes) = load()?;
        let part = Arc::new(part);
        self.cache.put(key, part.clone(), bytes, start.elapsed());
        Ok(part)
    }

    fn damage(&self, e: DecodeError) -> StorageError {
        e.within(self.offset).in_file(self.file.path()).into()
    }

    /// Reads a section, checks and decodes it.
    fn load<T>(
        &self,
        section: &Section,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, StorageError> {
        // The directory was checked against the length of the bundle, and that against the file's.
        let mut bytes = vec![0; usize::try_from(section.len).unwrap_or(usize::MAX)];
        self.file.read_exact_at(self.offset + section.offset, &mut bytes)?;
        section.check(&bytes).map_err(|e| self.damage(e))?;
        decode(&bytes).map_err(|e| self.damage(e.within(section.offset)))
    }

    /// Loads a section that every bundle has.
    fn need<T>(&self, kind: Kind, decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>) -> Result<T, StorageError> {
        match self.directory.find(kind, 0) {
            Some(section) => self.load(section, decode),
            None => Err(self.damage(
                DecodeError::new("index directory", 0, format!("{kind:?}"), "no such section")
                    .within(self.header.directory_offset),
            )),
        }
    }

    fn words(&self) -> Result<Arc<WordIndex>, StorageError> {
        self.part((0, PART_WORDS), || self.load_words())
    }

    fn load_words(&self) -> Result<(WordIndex, usize), StorageError> {
        Ok(match self.header.dictionary().map_err(|e| self.damage(e))? {
            Dictionary::List => {
                let list = self.need(Kind::List, |bytes| TermList::decode(bytes, self.header.blocks))?;
                let bytes = list.memory();
                (WordIndex::List(list), bytes)
            }
            Dictionary::Engine => {
                let sections = self.directory.iter().filter(|s| s.kind == Kind::File);
                let files = sections
                    .map(|s| self.load(s, |b| engine_file(b).map(|(name, bytes)| (name.to_string(), bytes.to_vec()))))
                    .collect::<Result<Vec<_>, _>>()?;
                let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum();
                let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
                let engine = EngineReader::open(files, self.header.blocks).map_err(|e| self.bad_words(e))?;
                (WordIndex::Engine(engine), bytes)
            }
        })
    }

    /// All words of a dictionary, where they are not too many.
    fn vocabulary(&self, engine: &EngineReader) -> Result<Arc<Option<Vocabulary>>, StorageError> {
        self.part((0, PART_VOCABULARY), || {
            let vocabulary = engine.vocabulary().map_err(|e| self.bad_words(e))?;
            let bytes = vocabulary.as_ref().map_or(0, Vocabulary::memory);
            Ok((vocabulary, bytes))
        })
    }

    /// The dictionary's bytes have the right checksum and are wrong all the same.
    fn bad_words(&self, found: String) -> StorageError {
        let kinds = [Kind::List, Kind::File];
        let at = kinds.iter().find_map(|&k| self.directory.find(k, 0)).map_or(0, |s| s.offset);
        Damage {
            file: self.file.path().to_path_buf(),
            offset: self.offset + at,
            what: "index dictionary",
            expected: "a dictionary of words".into(),
            found,
        }
        .into()
    }

    /// The digraphs of all blocks together, and of each.
    fn digraphs(&self) -> Result<Arc<(Digraphs, Vec<Digraphs>)>, StorageError> {
        self.part((0, PART_DIGRAPHS), || {
            let each = self.need(Kind::Digraphs, |bytes| Digraphs::decode_all(bytes, self.header.blocks))?;
            let mut together = Digraphs::default();
            each.iter().for_each(|d| together.unite(d));
            let bytes = size_of::<Digraphs>() + size_of_val(each.as_slice());
            Ok(((together, each), bytes))
        })
    }

    fn filter_has(&self, block: u32, hash: u64) -> Result<bool, StorageError> {
        let load = |section| {
            let filter = self.load(section, Filter::decode)?;
            let bytes = filter.memory();
            Ok((filter, bytes))
        };
        let section = self.directory.find(Kind::Filter, block);
        let filter = section.map(|section| self.part((block, PART_FILTER), || load(section))).transpose()?;
        let expected = self.blocks.get(block as usize).is_some_and(|b| b.hashes > 0);
        if filter.is_none() && expected {
            return Err(self.damage(DecodeError::new("index directory", 0, "a filter", "none")));
        }
        Ok(filter.is_some_and(|f| f.contains(hash)))
    }

    fn quads(&self, block: u32) -> Result<Option<Arc<Quads>>, StorageError> {
        let load = |section| Ok((self.load(section, Quads::decode)?, size_of::<[u64; 1024]>()));
        let section = self.directory.find(Kind::Quads, block);
        section.map(|section| self.part((block, PART_QUADS), || load(section))).transpose()
    }

    /// Those of the blocks that pass a test.
    fn retain(
        blocks: &mut RoaringBitmap,
        mut test: impl FnMut(u32) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut kept = RoaringBitmap::new();
        for block in blocks.iter() {
            if test(block)? {
                kept.insert(block);
            }
        }
        *blocks = kept;
        Ok(())
    }

    fn literal(&self, folded: &str, open_left: bool, open_right: bool) -> Result<RoaringBitmap, StorageError> {
        let (mut known, mut parts) = (Vec::new(), Vec::new());
        Tokenizer::default().terms_of_folded(folded, |term| {
            let more_left = open_left && term.start == 0;
            let more_right = open_right && term.start + term.bytes.len() == folded.len();
            match (term.whole, more_left || more_right) {
                (false, true) => parts.push((Box::<[u8]>::from(term.bytes), more_left, more_right)),
                // One word of the window may go on.
                (true, true) => {}
                (whole, false) => known.push(Known {
                    bytes: term.bytes.into(),
                    hash: term.hash,
                    class: if whole { Class::Identifier } else { class(term.bytes) },
                }),
            }
        });
        let mut blocks = self.all.clone();
        // What costs least first, and each look-up only in blocks that are still in question.
        for word in known.iter().filter(|k| k.class == Class::Word) {
            self.keep_with_word(word, &mut blocks)?;
        }
        for word in &known {
            if let Class::Quad(quad) = word.class {
                Self::retain(&mut blocks, |b| Ok(self.quads(b)?.is_some_and(|q| q.contains(quad))))?;
            }
        }
        let hashes: Vec<u64> = known.iter().filter(|k| k.class == Class::Identifier).map(|k| k.hash).collect();
        if !hashes.is_empty() {
            Self::retain(&mut blocks, |b| {
                hashes.iter().try_fold(true, |all, &hash| Ok(all && self.filter_has(b, hash)?))
            })?;
        }
        for (text, open_left, open_right) in parts {
            if blocks.is_empty() {
                break;
            }
            blocks = self.pattern(&Pattern::Part { text: &text, open_left, open_right }, &blocks)?;
        }
        Ok(blocks)
    }

    fn keep_with_word(&self, word: &Known, blocks: &mut RoaringBitmap) -> Result<(), StorageError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let listed = self.words()?.get(&word.bytes).map_err(|e| self.bad_words(e))?;
        Self::retain(blocks, |b| {
            let filtered = self.blocks.get(b as usize).is_some_and(|entry| entry.words_filtered);
            if filtered { self.filter_has(b, word.hash) } else { Ok(listed.contains(b)) }
        })
    }

    /// The blocks of words that fit, at least as far as they are `wanted`.
    fn words_matching(&self, pattern: &Pattern<'_>, wanted: &RoaringBitmap) -> Result<RoaringBitmap, StorageError> {
        let words = self.words()?;
        let bad = |e| self.bad_words(e);
        let WordIndex::Engine(engine) = &*words else { return words.matching(pattern, wanted).map_err(bad) };
        let Pattern::Part { text, open_left, .. } = pattern else {
            return words.matching(pattern, wanted).map_err(bad);
        };
        // Most parts are cut from a text at words that stand as they are.
        let found = engine.get(text).map_err(bad)?;
        if wanted.is_subset(&found) {
            return Ok(found);
        }
        if *open_left
            && let Some(vocabulary) = &*self.vocabulary(engine)?
            && let Some(fitting) = vocabulary.matching(pattern)
        {
            return engine.any_of(fitting, wanted, found).map_err(bad);
        }
        words.matching(pattern, wanted).map_err(bad)
    }

    /// Those of the blocks that may have a word which fits.
    fn pattern(&self, pattern: &Pattern<'_>, blocks: &RoaringBitmap) -> Result<RoaringBitmap, StorageError> {
        let mut found = self.words_matching(pattern, blocks)? & blocks;
        let digraphs = self.digraphs()?;
        let (together, each) = &*digraphs;
        let mut budget = AUTOMATON_STEPS_MAX;
        let bytes_min = |words_filtered| if words_filtered { 1 } else { IDENTIFIER_BYTES_MIN };
        let shortest = bytes_min(self.blocks.iter().any(|b| b.words_filtered));
        if pattern.may_fit(together, shortest, &mut budget) {
            for block in blocks - &found {
                let (Some(digraphs), Some(entry)) = (each.get(block as usize), self.blocks.get(block as usize)) else {
                    continue;
                };
                if pattern.may_fit(digraphs, bytes_min(entry.words_filtered), &mut budget) {
                    found.insert(block);
                }
            }
        }
        if found.len() < blocks.len()
            && let Some(wanted) = pattern.quads()
        {
            for block in blocks - &found {
                if self.quads(block)?.is_some_and(|q| q.intersects(&wanted)) {
                    found.insert(block);
                }
            }
        }
        Ok(found)
    }
}

impl TermIndex for IndexReader {
    fn may_match(&self, query: &TermQuery<'_>) -> Result<RoaringBitmap, StorageError> {
        match *query {
            TermQuery::Literal { folded, open_left, open_right } => self.literal(folded, open_left, open_right),
            TermQuery::Word { automaton } => {
                self.pattern(&Pattern::Automaton(WordAutomaton::new(automaton)), &self.all)
            }
        }
    }
}
