//! The bundle's header.

use super::BUNDLE_BLOCKS_MAX;
use super::terms::TERM_RULES_VERSION;
use crate::format::{DecodeError, Reader, put_u16, put_u32, put_u64};
use crate::record::text::TEXT_RULES_VERSION;

/// Size of the header.
pub const HEADER_BYTES: usize = 128;
/// Version of the bundle's layout; the header's own is the same in all versions.
pub const BUNDLE_VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"DURAINDX";
const KEY_BYTES: usize = 64;

/// Where the words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dictionary {
    /// In a flat list.
    List,
    /// In files of the engine.
    Engine,
}

/// Version of the engine: major, minor, patch, and that of its files.
pub type Engine = [u16; 4];

/// The header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the layout.
    pub version: u16,
    /// How the sections are encrypted: 0, not at all.
    pub cipher: u8,
    /// Where the words are.
    pub dictionary: u8,
    /// Number of blocks.
    pub blocks: u32,
    /// Version of the rules by which texts are folded and cut in words.
    pub text_rules: u8,
    /// Version of the rules of terms: classes, wholes, hash.
    pub term_rules: u8,
    /// Version of Unicode.
    pub unicode: [u8; 3],
    /// Version of the engine.
    pub engine: Engine,
    /// Where the directory begins, in bytes from the bundle's beginning.
    pub directory_offset: u64,
    /// Length of the bundle.
    pub len: u64,
}

/// Why a bundle that is whole can't be used: it was made by other rules. Queries scan, and the index is made anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index is of another {what}: {found}, not {expected}")]
pub struct Mismatch {
    /// What differs.
    pub what: &'static str,
    /// What this program has.
    pub expected: String,
    /// What the bundle says.
    pub found: String,
}

impl Header {
    /// A header of this program's rules.
    pub fn new(dictionary: Dictionary, blocks: u32, engine: Engine) -> Header {
        let (major, minor, patch) = char::UNICODE_VERSION;
        Header {
            version: BUNDLE_VERSION,
            cipher: 0,
            dictionary: match dictionary {
                Dictionary::List => 0,
                Dictionary::Engine => 1,
            },
            blocks,
            text_rules: TEXT_RULES_VERSION,
            term_rules: TERM_RULES_VERSION,
            unicode: [major, minor, patch],
            engine,
            directory_offset: 0,
            len: 0,
        }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        put_u16(&mut out, self.version);
        out.push(self.cipher);
        out.push(self.dictionary);
        put_u32(&mut out, self.blocks);
        out.extend_from_slice(&[self.text_rules, self.term_rules]);
        out.extend_from_slice(&self.unicode);
        out.extend_from_slice(&[0; 3]);
        self.engine.iter().for_each(|&v| put_u16(&mut out, v));
        put_u64(&mut out, self.directory_offset);
        put_u64(&mut out, self.len);
        out.extend_from_slice(&[0; KEY_BYTES]);
        out.resize(HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&out);
        put_u32(&mut out, crc);
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&out);
        header
    }

    /// Decodes a header, of any version.
    pub fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
        let mut r = Reader::new(bytes, "index header");
        let all = r.clone().take(HEADER_BYTES)?;
        let magic = r.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(DecodeError::new("index header", 0, format!("{MAGIC:?}"), format!("{magic:?}")));
        }
        let (covered, crc) = all.split_at(HEADER_BYTES - 4);
        let expect = crc32fast::hash(covered);
        let found = Reader::new(crc, "index header").u32()?;
        if expect != found {
            return Err(DecodeError::new("index header", 0, format!("checksum {expect:08x}"), format!("{found:08x}")));
        }
        let version = r.u16()?;
        let cipher = r.u8()?;
        let dictionary = r.u8()?;
        let blocks = r.u32()?;
        let (text_rules, term_rules) = (r.u8()?, r.u8()?);
        let unicode = [r.u8()?, r.u8()?, r.u8()?];
        r.take(3)?;
        let engine = [r.u16()?, r.u16()?, r.u16()?, r.u16()?];
        let (directory_offset, len) = (r.u64()?, r.u64()?);
        if blocks > BUNDLE_BLOCKS_MAX {
            return Err(DecodeError::new("index header", 12, format!("at most {BUNDLE_BLOCKS_MAX} blocks"), blocks));
        }
        if directory_offset < HEADER_BYTES as u64 || directory_offset > len {
            return Err(DecodeError::new("index header", 32, format!("an offset up to {len}"), directory_offset));
        }
        Ok(Header {
            version,
            cipher,
            dictionary,
            blocks,
            text_rules,
            term_rules,
            unicode,
            engine,
            directory_offset,
            len,
        })
    }

    /// Where the words are.
    pub fn dictionary(&self) -> Result<Dictionary, DecodeError> {
        match self.dictionary {
            0 => Ok(Dictionary::List),
            1 => Ok(Dictionary::Engine),
            other => Err(DecodeError::new("index header", 11, "0 or 1", other)),
        }
    }

    /// Is the bundle of this program's layout and unencrypted, so that its sections can be decoded?
    pub fn layout_mismatch(&self) -> Option<Mismatch> {
        differs("layout", self.version, BUNDLE_VERSION).or_else(|| differs("cipher", self.cipher, 0))
    }

    /// Why this program can't use the bundle, if so. The engine counts only where it holds the dictionary.
    pub fn mismatch(&self, engine: Engine) -> Option<Mismatch> {
        let own = Header::new(Dictionary::List, 0, engine);
        self.layout_mismatch()
            .or_else(|| differs("version of the rules of words", self.text_rules, own.text_rules))
            .or_else(|| differs("version of the rules of terms", self.term_rules, own.term_rules))
            .or_else(|| differs("version of Unicode", dotted(&self.unicode), dotted(&own.unicode)))
            .or_else(|| {
                if self.dictionary == 0 {
                    return None;
                }
                differs("version of tantivy", dotted(&self.engine), dotted(&engine))
            })
    }
}

fn dotted<T: ToString>(version: &[T]) -> String {
    version.iter().map(T::to_string).collect::<Vec<_>>().join(".")
}

fn differs<T: ToString + PartialEq>(what: &'static str, found: T, expected: T) -> Option<Mismatch> {
    (found != expected).then(|| Mismatch { what, expected: expected.to_string(), found: found.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_tells_other_versions_from_damage() {
        let header = Header { directory_offset: 128, len: 132, ..Header::new(Dictionary::Engine, 9, [0, 27, 0, 7]) };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes).as_ref(), Ok(&header));
        assert_eq!(header.mismatch([0, 27, 0, 7]), None);
        for at in 0..bytes.len() {
            let mut other = bytes;
            other[at] ^= 1;
            assert!(Header::decode(&other).is_err());
        }
        let check = |other: Header, expect: &str| {
            let decoded = Header::decode(&other.encode()).unwrap();
            assert_eq!(decoded.mismatch([0, 27, 0, 7]).unwrap().to_string(), expect);
        };
        check(Header { version: 2, ..header.clone() }, "the index is of another layout: 2, not 1");
        check(Header { cipher: 1, ..header.clone() }, "the index is of another cipher: 1, not 0");
        check(
            Header { unicode: [1, 0, 0], ..header.clone() },
            &format!("the index is of another version of Unicode: 1.0.0, not {}", dotted(&header.unicode)),
        );
        check(
            Header { engine: [0, 26, 0, 7], ..header.clone() },
            "the index is of another version of tantivy: 0.26.0.7, not 0.27.0.7",
        );
        assert_eq!(Header { engine: [0; 4], dictionary: 0, ..header }.mismatch([0, 27, 0, 7]), None);
    }
}
