//! The index held against a full scan, and what damage does to it.

use super::fuzz::fuzz_bundle;
use super::{IndexBuilder, IndexReader, OpenError};
use crate::cache::Cache;
use crate::error::StorageError;
use crate::format::bundle::{Bundle, Tokenizer, check_bundle};
use crate::record::text::{contains_phrase, fold, is_word_char, words};
use crate::record::{Codes, Column, Data, FixedForm, Tag, Tags, TermIndex, TermQuery, Texts};
use crate::vfs::MemoryFile;
use proptest::prelude::*;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::util::syntax;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

/// Bytes of something else before the bundle, so that offsets are seen to count.
const BEFORE: usize = 5;

fn open(bundle: &[u8]) -> Result<IndexReader, OpenError> {
    let file = [&[9; BEFORE], bundle, &[9; 3]].concat();
    IndexReader::open(
        Arc::new(MemoryFile::new(Path::new("test.idx"), file)),
        BEFORE as u64,
        bundle.len() as u64,
        Arc::new(Cache::new(1 << 20)),
    )
}

fn build<T: AsRef<str>>(blocks: &[Vec<T>]) -> Vec<u8> {
    let mut builder = IndexBuilder::new();
    for texts in blocks {
        builder.begin_block();
        texts.iter().for_each(|t| builder.add_text(t.as_ref()));
        builder.end_block().unwrap();
    }
    builder.finish().unwrap()
}

fn literal(reader: &IndexReader, text: &str, open_left: bool, open_right: bool) -> Vec<u32> {
    let query = TermQuery::Literal { folded: &fold(text), open_left, open_right };
    reader.may_match(&query).unwrap().iter().collect()
}

fn word_automaton(pattern: &str) -> dense::DFA<Vec<u32>> {
    dense::Builder::new()
        .configure(dense::Config::new().start_kind(StartKind::Anchored).unicode_word_boundary(true))
        .syntax(syntax::Config::new().unicode(true))
        .build(&format!("^(?:{pattern})$"))
        .unwrap()
}

/// Does the literal stand in the text, with word boundaries at its closed ends?
fn stands_in(text: &str, needle: &str, open_left: bool, open_right: bool) -> bool {
    text.match_indices(needle).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word_char);
        let after = text[at + needle.len()..].chars().next().is_some_and(is_word_char);
        let first = needle.chars().next().is_some_and(is_word_char);
        let last = needle.chars().next_back().is_some_and(is_word_char);
        !(before && first && !open_left || after && last && !open_right)
    })
}

/// Numbers drawn from one.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }
    fn hex(&mut self, n: usize) -> String {
        (0..n).map(|_| char::from(b"0123456789abcdef"[self.next(16)])).collect()
    }
    fn piece(&mut self) -> String {
        match self.next(12) {
            0..4 => self
                .pick(&[
                    "timeout",
                    "Error",
                    "ÄRGER",
                    "Straße",
                    "İx",
                    "connection",
                    "a",
                    "x_y",
                    "Ψευδάργυρος",
                    "日本語",
                    "v2",
                ])
                .into(),
            4 => self.next(300_000).to_string(),
            5 => self.next(300).to_string(),
            6 => format!("{}.{}.{}.{}", self.next(256), self.next(3), self.next(2), self.next(256)),
            7 => {
                let (a, b, c, d, e) = (self.hex(8), self.hex(4), self.hex(4), self.hex(4), self.hex(12));
                format!("{a}-{b}-{c}-{d}-{e}")
            }
            8 => format!("req_{}", self.hex(16)),
            9 => (0..6).map(|_| self.hex(2)).collect::<Vec<_>>().join(":"),
            10 => self.hex(4),
            _ => format!("{}ms", self.next(9999)),
        }
    }
    fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..1 + self.next(6) {
            text.push_str(&self.piece());
            text.push_str(self.pick(&[" ", " ", "-", ".", ":", "/", "_", "", "=\"", "\u{307}"]));
        }
        text
    }
    /// Some of a text, or something else.
    fn needle(&mut self, blocks: &[Vec<String>]) -> String {
        if self.next(4) == 0 {
            return fold(&self.text());
        }
        let block = &blocks[self.next(blocks.len())];
        let Some(text) = block.get(self.next(block.len())) else { return self.piece() };
        let chars: Vec<char> = fold(text).chars().collect();
        let from = self.next(chars.len());
        let len = 1 + self.next((chars.len() - from).min(40));
        chars[from..from + len].iter().collect()
    }
}

fn blocks(dice: &mut Dice, count: usize) -> Vec<Vec<String>> {
    (0..count).map(|_| (0..dice.next(8)).map(|_| dice.text()).collect()).collect()
}

/// Asks for much, and compares with a scan.
fn compare_with_scan(seed: u64, count: usize) {
    let mut dice = Dice(seed);
    let blocks = blocks(&mut dice, count);
    let bundle = build(&blocks);
    assert_eq!(check_bundle(&bundle), Ok(()));
    let reader = open(&bundle).unwrap();
    let folded: Vec<Vec<String>> = blocks.iter().map(|b| b.iter().map(|t| fold(t)).collect()).collect();
    let must = |test: &dyn Fn(&str) -> bool| -> Vec<u32> {
        (0..).zip(&folded).filter(|(_, b)| b.iter().any(|t| test(t))).map(|(i, _)| i).collect()
    };
    for _ in 0..30 {
        let needle = dice.needle(&blocks);
        for (left, right) in [(false, false), (true, false), (false, true), (true, true)] {
            let found = literal(&reader, &needle, left, right);
            for block in must(&|t| stands_in(t, &needle, left, right)) {
                assert!(found.contains(&block), "{needle:?} {left} {right} is in block {block}, found {found:?}");
            }
        }
        let found = literal(&reader, &needle, false, false);
        assert!(must(&|t| contains_phrase(t, &needle)).iter().all(|b| found.contains(b)), "{needle:?}");
        // A word with a hole in it.
        let Some(word) = words(&needle).next() else { continue };
        let chars: Vec<char> = word.chars().collect();
        let (from, to) = (dice.next(chars.len()), dice.next(chars.len()));
        let some = |part: &[char]| regex::escape(&part.iter().collect::<String>());
        let pattern = format!("{}.*{}", some(&chars[..from.min(to)]), some(&chars[from.max(to)..]));
        let automaton = word_automaton(&pattern);
        let found = reader.may_match(&TermQuery::Word { automaton: &automaton }).unwrap();
        let regex = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        for block in must(&|t| words(t).any(|w| regex.is_match(w))) {
            assert!(found.contains(block), "{pattern} is in block {block}, found {found:?}");
        }
    }
    // What the verifier asks.
    let bundle = Bundle::decode(&bundle).unwrap().unwrap();
    let mut tokenizer = Tokenizer::default();
    for (block, texts) in (0..).zip(&blocks) {
        assert!(texts.iter().all(|t| bundle.first_missing(block, t, &mut tokenizer).is_none()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_list_never_misses(seed: u64, count in 1usize..8) {
        compare_with_scan(seed, count);
    }

    #[test]
    fn tantivy_never_misses(seed: u64, count in 8usize..20) {
        compare_with_scan(seed, count);
    }
}

/// Blocks as logs have them, with needles in some.
fn log_blocks(count: usize) -> Vec<Vec<String>> {
    let mut dice = Dice(1);
    (0..count)
        .map(|b| {
            let mut texts: Vec<String> = (0..500)
                .map(|_| {
                    let (request, trace, ip) = (dice.hex(16), dice.hex(32), dice.next(250));
                    format!("GET /api/v1/users 200 in {}ms req_{request} {trace} 10.0.7.{ip}", dice.next(900))
                })
                .collect();
            if b == 2 {
                texts.push("user 550e8400-e29b-41d4-a716-446655440000 from 203.0.113.77 gone".into());
            }
            if b == count - 1 {
                texts.push("found needle-alpha-7f3a9c, zymurgy of Ψευδάργυρος".into());
            }
            texts
        })
        .collect()
}

#[test]
fn needles_prune_to_their_blocks() {
    for count in [6usize, 40] {
        let reader = open(&build(&log_blocks(count))).unwrap();
        let last = count as u32 - 1;
        let check = |text: &str, open_left, open_right, expect: &[u32], more: usize| {
            let found = literal(&reader, text, open_left, open_right);
            assert!(expect.iter().all(|b| found.contains(b)), "{text}: {found:?}");
            assert!(found.len() <= expect.len() + more, "{count} {text}: {found:?}");
        };
        check("550e8400-e29b-41d4-a716-446655440000", false, false, &[2], 0);
        check("203.0.113.77", false, false, &[2], 1);
        check("e29b", false, false, &[2], 0);
        check("446655440000", false, false, &[2], 1);
        check("550e8400", false, true, &[], count);
        check("zymurgy", false, false, &[last], 0);
        check("ZYM", false, true, &[last], 0);
        check("murgy", true, false, &[last], 0);
        check("ymurg", true, true, &[last], 0);
        check("ψευδάργυρος", false, false, &[last], 0);
        check("needle-alpha-7f3a9c", false, false, &[last], 0);
        check("le-alpha-7", true, true, &[last], 0);
        check("absent", false, false, &[], 0);
        check("absent", true, true, &[], 0);
        check("ffffffffffffffffffffffff", false, false, &[], 1);
        check("zymurgy absent", false, false, &[], 0);
        let all: Vec<u32> = (0..count as u32).collect();
        check("GET", false, false, &all, 0);
        check("///", false, false, &all, 0);
        for (pattern, expect) in [("zym.*", &[last][..]), (".*murgy", &[last]), ("absent.*", &[]), ("e29.", &[2])] {
            let automaton = word_automaton(pattern);
            let found = reader.may_match(&TermQuery::Word { automaton: &automaton }).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), expect, "{pattern}");
        }
    }
}

#[test]
fn a_block_of_too_many_words_is_filtered() {
    let name = |i: usize| -> String { (0..6).map(|place| char::from(b'g' + (i >> (4 * place) & 15) as u8)).collect() };
    for count in [2usize, 9] {
        let mut blocks: Vec<Vec<String>> = vec![vec!["common".into()]; count];
        blocks[1] = (0..super::BLOCK_WORDS_MAX + 1).map(name).collect();
        let bundle = build(&blocks);
        assert_eq!(check_bundle(&bundle), Ok(()));
        let reader = open(&bundle).unwrap();
        for i in [0, 1, 77_777] {
            assert_eq!(literal(&reader, &name(i), false, false), [1]);
        }
        assert_eq!(literal(&reader, "ggg", false, true), [1]);
        assert!(!literal(&reader, "common", false, false).is_empty());
    }
}

#[test]
fn columns_hold_what_their_texts_hold() {
    let one = |tag, data| Column { tags: Tags::One(tag), data };
    let mut plain = Texts::default();
    [r#"["a\nbeta","10.1.2.3"]"#, r#"[["deep\u0041bc"]]"#, "[]"].iter().for_each(|t| plain.push(t.as_bytes()));
    let mut entries = Texts::default();
    ["Entry one", "two"].iter().for_each(|t| entries.push(t.as_bytes()));
    let hex = FixedForm::Hex { prefix: (*b"Req_").into(), width: 8 };
    let odd = FixedForm::Hex { prefix: (*b"x: 1.2.3.").into(), width: 1 };
    let mut many = Texts::default();
    (0..3000).for_each(|n| many.push(format!("GET /a/{n} é{}", n * n).as_bytes()));
    let dice = RefCell::new(Dice(5));
    let many_hex = |prefix: &str, byte: &dyn Fn(usize) -> u8| {
        let form = FixedForm::Hex { prefix: prefix.as_bytes().into(), width: 8 };
        one(Tag::String, Data::Fixed { form, bytes: (0..16_000).map(byte).collect() })
    };
    let columns = [
        one(Tag::Bool, Data::Constant { len: 3, text: (*b"true").into() }),
        one(Tag::String, Data::Dictionary { entries: Box::new(Data::Plain(entries)), codes: Codes::U8(vec![0, 1, 0]) }),
        one(Tag::Number, Data::Integer(vec![0, -5, 8080, 123_456_789, i64::MIN, 99_999])),
        one(Tag::Number, Data::Decimal { values: vec![5, -12_345, i64::MIN, 1_000_050], places: 3 }),
        one(Tag::String, Data::Fixed { form: FixedForm::Ipv4, bytes: vec![10, 0, 0, 1, 255, 9, 8, 7] }),
        one(Tag::String, Data::Fixed { form: FixedForm::Uuid, bytes: (0..32).collect() }),
        one(Tag::String, Data::Fixed { form: hex, bytes: (7..39).collect() }),
        one(Tag::String, Data::Fixed { form: odd, bytes: vec![4, 0x12] }),
        one(Tag::Array, Data::Plain(plain)),
        one(Tag::String, Data::Plain(many)),
        many_hex("q_", &|_| dice.borrow_mut().next(256) as u8),
        many_hex("", &|_| dice.borrow_mut().next(256) as u8),
        // Words first, of which none is in the filter.
        many_hex("Ab_", &|i| if i < 1600 { [0xaa, 0xbc, 0xfe][i % 3] } else { dice.borrow_mut().next(256) as u8 }),
    ];
    // By columns and by texts, the same terms are there, so that a reader of the one finds those of the other.
    let (mut by_column, mut by_text) = (IndexBuilder::new(), IndexBuilder::new());
    let mut texts = Vec::new();
    for column in &columns {
        by_column.add_column(column);
        let mut buffer = Vec::new();
        for i in 0..column.len() {
            texts.push(String::from_utf8(column.text(i, &mut buffer).to_vec()).unwrap());
        }
    }
    texts.extend(["a\nbeta".to_string(), "deepAbc".into(), r#"["deep\u0041bc"]"#.into()]);
    texts.iter().for_each(|t| by_text.add_text(t));
    let sorted = |builder: &mut IndexBuilder| {
        let block = &builder.block;
        let mut words: Vec<_> = block.words.iter().map(|(w, _)| String::from_utf8_lossy(w).into_owned()).collect();
        let mut filtered = block.filtered.clone();
        words.sort();
        filtered.sort_unstable();
        (words, filtered, block.quads.clone(), block.digraphs.clone())
    };
    assert_eq!(sorted(&mut by_column), sorted(&mut by_text));
}

#[test]
fn the_same_texts_give_the_same_bytes() {
    for count in [0usize, 3, 12] {
        let blocks = log_blocks(count.max(3))[..count].to_vec();
        let bundle = build(&blocks);
        assert!(bundle == build(&blocks), "{count}");
        let mut reused = IndexBuilder::new();
        for _ in 0..2 {
            for texts in &blocks {
                texts.iter().for_each(|t| reused.add_text(t));
                reused.end_block().unwrap();
            }
            assert!(reused.finish().unwrap() == bundle, "{count}");
        }
        let reader = open(&bundle).unwrap();
        assert_eq!((reader.blocks(), literal(&reader, "absent", false, false).len()), (count as u32, 0));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for count in [2usize, 8] {
        let mut blocks = blocks(&mut Dice(3), count);
        blocks[0].push("timeout req_0123456789abcdef".into());
        let bundle = build(&blocks);
        for at in 0..bundle.len() {
            let mut other = bundle.clone();
            other[at] ^= 1 << (at % 8);
            let error = check_bundle(&other).expect_err("a flipped bit");
            assert!(error.offset <= bundle.len() as u64);
            if at % 7 != 0 {
                continue;
            }
            // The reader gives an error, or the answer did not need what is damaged.
            let found = open(&other).map_err(|e| match e {
                OpenError::Storage(e) => e,
                OpenError::Mismatch(m) => panic!("damage taken for {m}"),
            });
            let query =
                TermQuery::Literal { folded: "timeout req_0123456789abcdef", open_left: false, open_right: true };
            match found.and_then(|reader| reader.may_match(&query)) {
                Ok(found) => assert!(found.contains(0)),
                Err(StorageError::Damage(damage)) => {
                    assert!(damage.offset >= BEFORE as u64 && damage.offset <= (BEFORE + bundle.len()) as u64);
                }
                Err(e) => panic!("{e}"),
            }
        }
        for len in 0..bundle.len() {
            assert!(check_bundle(&bundle[..len]).is_err());
        }
    }
}

#[test]
fn another_version_is_no_damage() {
    use crate::format::bundle::{HEADER_BYTES, Header};
    let bundle = build(&log_blocks(3));
    let header = Header::decode(&bundle).unwrap();
    for other in [Header { version: 2, ..header.clone() }, Header { text_rules: 99, ..header.clone() }] {
        let mut bundle = bundle.clone();
        bundle[..HEADER_BYTES].copy_from_slice(&other.encode());
        assert!(matches!(open(&bundle), Err(OpenError::Mismatch(_))));
        assert_eq!(check_bundle(&bundle), Ok(()));
    }
}

/// The example of the format's page, with the versions that stand there.
fn example() -> Vec<u8> {
    use crate::format::bundle::{HEADER_BYTES, Header};
    let mut bundle = build(&[vec!["GET /beef 20ms"], vec!["get 10.0.0.1 req_7f3a9c"]]);
    let header = Header { unicode: [17, 0, 0], engine: [0, 27, 0, 7], ..Header::decode(&bundle).unwrap() };
    bundle[..HEADER_BYTES].copy_from_slice(&header.encode());
    bundle
}

#[test]
fn the_example_of_the_page_is_true() {
    let page = include_str!("../../docs/format.md");
    let mut dump = String::new();
    let bundle = example();
    for (i, line) in bundle.chunks(16).enumerate() {
        let zeros = |line: Option<&[u8]>| line.is_some_and(|l| l.iter().all(|&b| b == 0));
        if zeros(Some(line)) && i > 0 && zeros(bundle.chunks(16).nth(i - 1)) {
            continue;
        }
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        dump.push_str(&format!("    {:04x}  {}\n", i * 16, hex.join(" ")));
    }
    assert!(page.contains(&dump), "the page lacks:\n{dump}");
    assert_eq!(check_bundle(&bundle), Ok(()));
}

#[test]
fn seeds_of_the_fuzz_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bundle");
    let mut dice = Dice(11);
    let mut all_filters = vec![vec!["a".to_string()]];
    all_filters.push((0..40).map(|_| dice.hex(16)).collect());
    let seeds = [
        ("example", example()),
        ("empty", build::<&str>(&[])),
        ("list", build(&blocks(&mut Dice(5), 4))),
        ("filter", build(&all_filters)),
        ("tantivy", build(&vec![vec!["one two 123456"]; 8])),
    ];
    for (name, bytes) in &seeds {
        if std::env::var_os("DURAMEN_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        fuzz_bundle(bytes);
        // Sections as the fuzz target sees them: without what is around them, and cut and bent.
        for from in (0..bytes.len()).step_by(3) {
            fuzz_bundle(&bytes[from..]);
            let mut bent = bytes[from..].to_vec();
            bent[0] = dice.next(8) as u8;
            fuzz_bundle(&bent);
        }
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        fuzz_bundle(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}
