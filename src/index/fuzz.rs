//! Body of the fuzz target: arbitrary bytes as a bundle, and as each of its parts.

use super::IndexReader;
use crate::cache::Cache;
use crate::format::bundle::{
    Bundle, Dictionary, Digraphs, Filter, Quads, TermList, Tokenizer, decode_blocks, engine_file,
};
use crate::record::{TermIndex, TermQuery};
use crate::vfs::MemoryFile;
use std::path::Path;
use std::sync::Arc;

const TEXTS: [&str; 4] = ["timeout 10.0.0.1", "550e8400-e29b-41d4-a716-446655440000", "é", "req_0123456789abcdef"];

/// Decodes bytes as a bundle, and asks what was decoded. Checksums stop most of what a fuzzer makes, so that the
/// bytes are given to the decoders of sections, too.
pub fn fuzz_bundle(data: &[u8]) {
    fuzz_sections(data);
    let Ok(Some(bundle)) = Bundle::decode(data) else { return };
    let mut tokenizer = Tokenizer::default();
    for block in 0..bundle.header.blocks.min(16) {
        for text in TEXTS {
            let _ = bundle.first_missing(block, text, &mut tokenizer);
        }
    }
    // What tantivy makes of files that it did not write is not ours to test.
    if bundle.header.dictionary() != Ok(Dictionary::List) {
        return;
    }
    let file = Arc::new(MemoryFile::new(Path::new("fuzz.idx"), data.to_vec()));
    let Ok(reader) = IndexReader::open(file, 0, data.len() as u64, Arc::new(Cache::new(1 << 20))) else { return };
    for folded in TEXTS {
        for open in [false, true] {
            let _ = reader.may_match(&TermQuery::Literal { folded, open_left: open, open_right: open });
        }
    }
}

fn fuzz_sections(data: &[u8]) {
    if let Ok(filter) = Filter::decode(data) {
        let _ = (0..64).filter(|&hash: &u64| filter.contains(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15))).count();
    }
    let _ = Quads::decode(data).map(|q| q.len());
    let _ = engine_file(data);
    let Some((&blocks, rest)) = data.split_first() else { return };
    let _ = decode_blocks(rest, u32::from(blocks));
    let _ = Digraphs::decode_all(rest, u32::from(blocks));
    let Ok(list) = TermList::decode(rest, u32::from(blocks)) else { return };
    let mut words = Vec::new();
    let walked = list.for_each(|word, blocks| words.push((word.to_vec(), blocks)));
    assert!(walked.is_ok(), "a list that was decoded can be walked");
    for (word, blocks) in words.iter().take(64) {
        assert_eq!(list.get(word), Ok(*blocks), "what a list holds, it finds");
    }
}
