//! Reading and writing of integers and byte strings.

use crate::error::Damage;
use std::path::Path;

/// Bytes that are not what they should be, at a place within what was being decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: damaged {what}: expected {expected}, found {found}")]
pub struct DecodeError {
    /// Where, in bytes from the beginning of what was decoded.
    pub offset: u64,
    /// What was being read.
    pub what: &'static str,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl DecodeError {
    /// An error at an offset.
    pub fn new(what: &'static str, offset: usize, expected: impl ToString, found: impl ToString) -> Self {
        DecodeError { offset: offset as u64, what, expected: expected.to_string(), found: found.to_string() }
    }
    /// The same error, of bytes that begin at `base` of something larger.
    pub fn within(mut self, base: u64) -> Self {
        self.offset += base;
        self
    }
    /// The error with its file.
    pub fn in_file(self, file: &Path) -> Damage {
        let DecodeError { offset, what, expected, found } = self;
        Damage { file: file.to_path_buf(), offset, what, expected, found }
    }

    /// The error as one of bytes that never were in a file.
    pub fn in_memory(self) -> Damage {
        self.in_file(Path::new("memory"))
    }
}

/// Appends a u16.
pub fn put_u16(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_le_bytes());
}
/// Appends a u32.
pub fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}
/// Appends a u64.
pub fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}
/// Appends an i64.
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(&n.to_le_bytes());
}
/// Appends an integer in LEB128: seven bits a byte, least first, at most ten bytes.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
/// Appends a signed integer as a varint, zig-zag: 0, -1, 1, -2 are 0, 1, 2, 3.
pub fn put_zigzag(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}
/// Appends a length as a varint, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the `put_` functions wrote, and says what was wrong where it can't.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning; `what` names the structure in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Reader { bytes, at: 0, what }
    }
    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }
    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
    /// An error at the present place.
    pub fn error(&self, expected: impl ToString, found: impl ToString) -> DecodeError {
        DecodeError::new(self.what, self.at, expected, found)
    }
    /// The next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(some) => {
                self.at += n;
                Ok(some)
            }
            None => Err(self.error(format!("{n} bytes"), format!("{} bytes", self.remaining()))),
        }
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
    /// A byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }
    /// A u16.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    /// A u32.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// A u64.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// An i64.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    /// A hash of 32 bytes.
    pub fn hash(&mut self) -> Result<[u8; 32], DecodeError> {
        self.array()
    }
    /// A varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&b) = self.bytes.get(self.at) else {
                return Err(self.error("an integer", "end"));
            };
            self.at += 1;
            let bits = u64::from(b & 0x7f);
            n |= bits << shift;
            if shift == 63 && bits > 1 {
                break;
            }
            if b < 0x80 {
                return Ok(n);
            }
        }
        Err(self.error("an integer of at most 64 bits", "more"))
    }
    /// A signed varint.
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }
    /// A varint that counts things of at least `min_bytes` each, so that it can't be more than what is left holds.
    pub fn count(&mut self, min_bytes: usize) -> Result<usize, DecodeError> {
        let n = self.varint()?;
        let most = self.remaining() / min_bytes.max(1);
        match usize::try_from(n) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(self.error(format!("a count of at most {most}"), n)),
        }
    }
    /// A length and as many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.count(1)?;
        self.take(n)
    }
    /// A length and as many bytes of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error("UTF-8", "other bytes"))
    }
    /// Nothing may be left.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(self.error("the end", format!("{} more bytes", self.remaining())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip() {
        let mut out = Vec::new();
        let all = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN];
        all.iter().for_each(|&n| put_zigzag(&mut out, n));
        put_varint(&mut out, u64::MAX);
        let mut r = Reader::new(&out, "test");
        assert!(all.iter().all(|&n| r.zigzag() == Ok(n)));
        assert_eq!((r.varint(), r.end()), (Ok(u64::MAX), Ok(())));
    }

    #[test]
    fn no_integer_beyond_64_bits_and_no_count_beyond_the_end() {
        assert!(Reader::new(&[0xff; 11], "test").varint().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "test").varint().is_err());
        assert!(Reader::new(&[5, 0, 0], "test").bytes().is_err());
        assert!(Reader::new(&[], "test").varint().is_err());
    }
}
