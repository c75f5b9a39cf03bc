//! What a query may be at most. Going over one is an error that names it, never a query cut short.
//!
//! Promises: each limit is a named constant with its unit and its reason, and [`LIMITS`] lists them all, so that the
//! user's page can be held against them. May not know: anything else.

/// Longest query, in bytes, as typed and as printed. It bounds everything below: a list of 5,000 UUIDs fits.
pub const QUERY_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting of parentheses and negations. The parser, the printer and the executor recurse this far, and no
/// further: in a debug build that takes about 1.2 MiB, and a thread of the standard library has 2 MiB.
pub const NESTING_DEPTH_MAX: usize = 64;
/// Most clauses: each is evaluated against every block that can't be ruled out.
pub const CLAUSES_MAX: usize = 2_000;
/// Most values in one list: `in(a, b)`.
pub const LIST_LENGTH_MAX: usize = 10_000;
/// Longest regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 4 << 10;
/// Largest compiled regular expression, in bytes. `\w{1000}` is short to type and long to match.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Most regular expressions in a query: checking one costs milliseconds where its repetitions are nested.
pub const REGEX_COUNT_MAX: usize = 64;
/// Most pipes.
pub const PIPES_MAX: usize = 100;
/// Longest field or column name, in bytes: no record has a longer one.
pub const NAME_BYTES_MAX: usize = crate::record::FIELD_NAME_BYTES_MAX;
/// Greatest distance, in words, of `"a b"~N`: the matcher keeps a window of this many words.
pub const NEAR_WORDS_MAX: u32 = 1_000;
/// Most edits of `word~N`: an automaton for more grows too fast, and finds nearly every short word.
pub const FUZZY_EDITS_MAX: u8 = 2;

/// Every limit, by name: for the user's page and its test.
pub const LIMITS: &[(&str, usize)] = &[
    ("QUERY_BYTES_MAX", QUERY_BYTES_MAX),
    ("NESTING_DEPTH_MAX", NESTING_DEPTH_MAX),
    ("CLAUSES_MAX", CLAUSES_MAX),
    ("LIST_LENGTH_MAX", LIST_LENGTH_MAX),
    ("REGEX_BYTES_MAX", REGEX_BYTES_MAX),
    ("REGEX_COMPILED_BYTES_MAX", REGEX_COMPILED_BYTES_MAX),
    ("REGEX_COUNT_MAX", REGEX_COUNT_MAX),
    ("PIPES_MAX", PIPES_MAX),
    ("NAME_BYTES_MAX", NAME_BYTES_MAX),
    ("NEAR_WORDS_MAX", NEAR_WORDS_MAX as usize),
    ("FUZZY_EDITS_MAX", FUZZY_EDITS_MAX as usize),
];
