//! The dictionary in tantivy: one document a block, in one segment of one field, with no positions, norms or stored
//! fields. It is written to memory by a writer that starts no thread, and its files become sections of the bundle.

use super::builder::BuildError;
use super::pattern::Pattern;
use super::postings::Postings;
use super::vocabulary::Vocabulary;
use crate::format::bundle::Engine;
use roaring::RoaringBitmap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::index::{InvertedIndexReader, SegmentComponent, SegmentReader};
use tantivy::postings::InvertedIndexSerializer;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{RawTokenizer, TokenizerManager};
use tantivy::{DocSet, Index, IndexBuilder, IndexSettings, TERMINATED, TantivyDocument, TantivyError};

const FIELD: &str = "words";
const TOKENIZER: &str = "duramen";
const META: &str = "meta.json";
/// The name of the segment in a bundle. Tantivy draws a random one, which would make each bundle another one.
const SEGMENT: &str = "00000000-0000-0000-0000-000000000000";
/// From this tantivy sizes its hash table, which stays empty; it takes no less.
const BUDGET_BYTES: usize = 100_000;

/// The version of tantivy and of its files.
pub(super) fn version() -> Engine {
    // The numbers are private there; its text is `tantivy v0.27.0, index_format v7`.
    let text = tantivy::version_string();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    [0; 4].map(|_: u16| numbers.next().unwrap_or(u16::MAX))
}

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let field = schema.add_text_field(FIELD, TextOptions::default().set_indexing_options(indexing));
    (schema.build(), field)
}

impl From<TantivyError> for BuildError {
    fn from(e: TantivyError) -> Self {
        BuildError(e.to_string())
    }
}

impl From<std::io::Error> for BuildError {
    fn from(e: std::io::Error) -> Self {
        BuildError(e.to_string())
    }
}

/// Writes the words as tantivy would that got them as a document a block: names of files, of which the segment's is left
/// out, and their bytes. Tantivy makes all of it but lists of postings from documents without words; of these it would
/// take most of the time for what is known already.
pub(super) fn write(postings: &Postings) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let (schema, field) = schema();
    let directory = RamDirectory::create();
    let tokenizers = TokenizerManager::new();
    tokenizers.register(TOKENIZER, RawTokenizer::default());
    let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let mut writer = IndexBuilder::new()
        .schema(schema)
        .settings(settings)
        .tokenizers(tokenizers)
        .single_segment_index_writer(directory.clone(), BUDGET_BYTES)?;
    for _ in 0..postings.blocks() {
        writer.add_document(TantivyDocument::default())?;
    }
    let index = writer.finalize()?;
    let segments = index.searchable_segments()?;
    let [segment] = segments.as_slice() else { return Err(BuildError(format!("{} segments", segments.len()))) };
    for component in [SegmentComponent::Terms, SegmentComponent::Postings, SegmentComponent::Positions] {
        directory.delete(&segment.relative_path(component)).map_err(|e| BuildError(e.to_string()))?;
    }
    let mut serializer = InvertedIndexSerializer::open(segment)?;
    // To tantivy, a text without words has an empty one.
    let tokens = postings.tokens() + postings.empty().len() as u64;
    let mut words = serializer.new_field(field, tokens, None)?;
    let mut put = |word: &[u8], blocks: &[u32]| {
        words.new_term_without_freq(word)?;
        blocks.iter().for_each(|&block| words.write_doc(block, 0, &[]));
        words.close_term()
    };
    if !postings.empty().is_empty() {
        put(b"", postings.empty())?;
    }
    postings.for_each(put)?;
    words.close()?;
    serializer.close()?;
    files(&directory, &segment.id().uuid_string())
}

/// The files of the segment of this name.
fn files(directory: &RamDirectory, drawn: &str) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let fail = |e: &dyn std::fmt::Display| BuildError(e.to_string());
    let text = directory.atomic_read(Path::new(META)).map_err(|e| fail(&e))?;
    let text = String::from_utf8(text).map_err(|e| fail(&e))?;
    let mut files = vec![(META.to_string(), text.replace(&hyphened(drawn), SEGMENT).into_bytes())];
    for extension in ["term", "idx", "pos", "fieldnorm", "fast", "store"] {
        let path = format!("{drawn}.{extension}");
        if directory.exists(Path::new(&path)).map_err(|e| fail(&e))? {
            let file = directory.open_read(Path::new(&path)).map_err(|e| fail(&e))?;
            files.push((extension.to_string(), file.read_bytes().map_err(|e| fail(&e))?.to_vec()));
        }
    }
    Ok(files)
}

/// A UUID as it stands in the meta file.
fn hyphened(uuid: &str) -> String {
    let part = |range: std::ops::Range<usize>| uuid.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Looks words up.
pub(super) struct EngineReader {
    words: Arc<InvertedIndexReader>,
}

/// Runs something of tantivy's; a panic there becomes an error. Its files were checked byte by byte before, so that
/// this is for what its own checks leave out.
fn guarded<T>(run: impl FnOnce() -> Result<T, TantivyError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("a panic in tantivy".into()),
    }
}

impl EngineReader {
    /// Opens the files of [`write`]; an error says what is wrong with them.
    pub fn open<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>, blocks: u32) -> Result<Self, String> {
        let directory = RamDirectory::create();
        let segment = SEGMENT.replace('-', "");
        for (name, bytes) in files {
            let path = if name == META { name.to_string() } else { format!("{segment}.{name}") };
            directory.atomic_write(Path::new(&path), bytes).map_err(|e| e.to_string())?;
        }
        guarded(|| {
            let index = Index::open(directory)?;
            let field = index.schema().get_field(FIELD)?;
            let segments = index.searchable_segments()?;
            let [segment] = segments.as_slice() else {
                return Err(TantivyError::InternalError(format!("{} segments", segments.len())));
            };
            let reader = SegmentReader::open(segment)?;
            if reader.max_doc() != blocks {
                return Err(TantivyError::InternalError(format!("{} documents for {blocks} blocks", reader.max_doc())));
            }
            Ok(EngineReader { words: reader.inverted_index(field)? })
        })
    }

    /// The blocks of a word.
    pub fn get(&self, word: &[u8]) -> Result<RoaringBitmap, String> {
        guarded(|| {
            let mut blocks = RoaringBitmap::new();
            if let Some(info) = self.words.terms().get(word)? {
                self.postings(&info, &mut blocks)?;
            }
            Ok(blocks)
        })
    }

    /// The blocks of all words that fit a pattern, until all that are `wanted` are among them.
    pub fn matching(&self, pattern: &Pattern<'_>, wanted: &RoaringBitmap) -> Result<RoaringBitmap, String> {
        guarded(|| {
            let mut blocks = RoaringBitmap::new();
            let terms = self.words.terms();
            match pattern {
                Pattern::Automaton(automaton) => {
                    let mut stream = terms.search(automaton).into_stream()?;
                    while stream.advance() && !wanted.is_subset(&blocks) {
                        self.postings(stream.value(), &mut blocks)?;
                    }
                }
                Pattern::Part { text, open_left, .. } => {
                    let mut stream = match open_left {
                        true => terms.stream()?,
                        false => terms.range().ge(text).into_stream()?,
                    };
                    while !wanted.is_subset(&blocks) && stream.advance() {
                        if !open_left && !stream.key().starts_with(text) {
                            break;
                        }
                        if pattern.matches(stream.key()) {
                            self.postings(stream.value(), &mut blocks)?;
                        }
                    }
                }
            }
            Ok(blocks)
        })
    }

    /// The blocks of these words, and those that are known already, until all that are `wanted` are among them.
    pub fn any_of<'a>(
        &self,
        words: impl Iterator<Item = &'a [u8]>,
        wanted: &RoaringBitmap,
        mut blocks: RoaringBitmap,
    ) -> Result<RoaringBitmap, String> {
        guarded(|| {
            let terms = self.words.terms();
            for word in words {
                if wanted.is_subset(&blocks) {
                    break;
                }
                if let Some(info) = terms.get(word)? {
                    self.postings(&info, &mut blocks)?;
                }
            }
            Ok(blocks)
        })
    }

    /// All words; `None` where they are too many.
    pub fn vocabulary(&self) -> Result<Option<Vocabulary>, String> {
        guarded(|| {
            let (mut vocabulary, mut fits) = (Vocabulary::default(), true);
            let mut stream = self.words.terms().stream()?;
            while fits && stream.advance() {
                fits = vocabulary.push(stream.key());
            }
            Ok(fits.then_some(vocabulary))
        })
    }

    fn postings(&self, info: &tantivy::postings::TermInfo, blocks: &mut RoaringBitmap) -> Result<(), TantivyError> {
        let mut postings = self.words.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut block = postings.doc();
        while block != TERMINATED {
            blocks.insert(block);
            block = postings.advance();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::distinct::{Distinct, Words};
    use super::*;
    use crate::format::bundle::Tokenizer as Cutter;
    use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

    const SEPARATOR: char = ' ';

    /// Splits at [`SEPARATOR`]; the words were cut before.
    #[derive(Clone)]
    struct Splitter;

    struct Split<'a> {
        words: std::str::Split<'a, char>,
        token: Token,
    }

    impl Tokenizer for Splitter {
        type TokenStream<'a> = Split<'a>;
        fn token_stream<'a>(&'a mut self, text: &'a str) -> Split<'a> {
            Split { words: text.split(SEPARATOR), token: Token { position: 0, ..Token::default() } }
        }
    }

    impl TokenStream for Split<'_> {
        fn advance(&mut self) -> bool {
            let Some(word) = self.words.next() else { return false };
            self.token.text.clear();
            self.token.text.push_str(word);
            true
        }
        fn token(&self) -> &Token {
            &self.token
        }
        fn token_mut(&mut self) -> &mut Token {
            &mut self.token
        }
    }

    /// The files as tantivy writes them, of documents with words.
    fn write_by_documents(blocks: &[Words]) -> Vec<(String, Vec<u8>)> {
        let (schema, field) = schema();
        let directory = RamDirectory::create();
        let tokenizers = TokenizerManager::new();
        tokenizers.register(TOKENIZER, Splitter);
        let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let builder = IndexBuilder::new().schema(schema).settings(settings).tokenizers(tokenizers);
        let mut writer = builder.single_segment_index_writer(directory.clone(), 3_000_000).unwrap();
        for words in blocks {
            let words: Vec<&str> = words.iter().map(|(word, _)| std::str::from_utf8(word).unwrap()).collect();
            let mut document = TantivyDocument::default();
            document.add_text(field, words.join(&SEPARATOR.to_string()));
            writer.add_document(document).unwrap();
        }
        let index = writer.finalize().unwrap();
        files(&directory, &index.searchable_segments().unwrap()[0].id().uuid_string()).unwrap()
    }

    #[test]
    fn files_are_those_that_tantivy_writes_of_documents() {
        for (count, every) in [(8, 1), (9, 3), (70, 2), (300, 7)] {
            let mut postings = Postings::default();
            let blocks: Vec<Words> = (0..count)
                .map(|block| {
                    let mut distinct = Distinct::default();
                    if block % 10 != 4 {
                        let text = (0..500).step_by(every).map(|n| {
                            format!("b{} word{n} común ΩMEGA x{} averylongwordindeed{}", block / 3, n * block, n % 20)
                        });
                        text.for_each(|text| Cutter::default().terms(&text, |term| distinct.add(term)));
                    }
                    postings.add_block(&distinct.words);
                    distinct.words
                })
                .collect();
            assert!(write(&postings).unwrap() == write_by_documents(&blocks), "{count} {every}");
        }
    }

    #[test]
    fn version_is_read_from_its_text() {
        let [.., files] = super::version();
        assert_eq!(u32::from(files), tantivy::INDEX_FORMAT_VERSION);
    }
}
