//! zstd over pieces of a known size, raw where that gains nothing.

use super::DecodeError;
use std::cell::RefCell;

/// Level for everything written once and soon: typed columns leave zstd little, and higher levels cost twice the
/// CPU for a few percent (design, section 4).
pub const LEVEL_FAST: i32 = 1;
/// Level for what merging writes, which is read far more often than written.
pub const LEVEL_MERGE: i32 = 3;
/// Level for what merging writes of records that are old, which is kept for long and not written again.
pub const LEVEL_COLD: i32 = 9;
/// Where zstd saves less than this many percent, bytes stay raw, since reading is then a copy.
const GAIN_PERCENT_MIN: usize = 3;
/// Fewer bytes are not tried: a frame's own header eats most of the gain, and setting up takes longer than compressing. Of a
/// segment of 2,000 records a third of all pages are so small; trying them saved 0.2 % of its bytes.
const BYTES_MIN: usize = 128;

/// How bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec with this number on disk.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

struct Context {
    level: i32,
    compressor: zstd::bulk::Compressor<'static>,
}

thread_local! {
    // A context takes over a megabyte to set up; one a thread serves all structures.
    static COMPRESSOR: RefCell<Option<Context>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends the bytes to `out`, compressed where that gains; returns how.
pub fn compress(bytes: &[u8], level: i32, out: &mut Vec<u8>) -> Codec {
    if bytes.len() >= BYTES_MIN {
        let start = out.len();
        let done = COMPRESSOR.with_borrow_mut(|slot| {
            if slot.as_ref().is_none_or(|c| c.level != level) {
                *slot = zstd::bulk::Compressor::new(level).ok().map(|compressor| Context { level, compressor });
            }
            let context = slot.as_mut()?;
            out.resize(start + zstd::zstd_safe::compress_bound(bytes.len()), 0);
            context.compressor.compress_to_buffer(bytes, &mut out[start..]).ok()
        });
        match done {
            Some(len) if len + bytes.len() * GAIN_PERCENT_MIN / 100 < bytes.len() => {
                out.truncate(start + len);
                return Codec::Zstd;
            }
            _ => out.truncate(start),
        }
    }
    out.extend_from_slice(bytes);
    Codec::Raw
}

/// The bytes that were compressed; exactly `raw_len` of them.
///
/// The caller bounds `raw_len` by a limit of the structure before it calls.
pub fn decompress(bytes: &[u8], codec: Codec, raw_len: usize, what: &'static str) -> Result<Vec<u8>, DecodeError> {
    match codec {
        Codec::Raw if bytes.len() == raw_len => Ok(bytes.to_vec()),
        Codec::Raw => Err(DecodeError::new(what, 0, format!("{raw_len} bytes"), format!("{} bytes", bytes.len()))),
        Codec::Zstd => DECOMPRESSOR.with_borrow_mut(|slot| {
            let fail = |found: String| DecodeError::new(what, 0, format!("a zstd frame of {raw_len} bytes"), found);
            if slot.is_none() {
                *slot = Some(zstd::bulk::Decompressor::new().map_err(|e| fail(e.to_string()))?);
            }
            let Some(decompressor) = slot.as_mut() else { return Err(fail("no decompressor".into())) };
            let mut out = vec![0; raw_len];
            let len = decompressor.decompress_to_buffer(bytes, &mut out[..]).map_err(|e| fail(e.to_string()))?;
            if len == raw_len { Ok(out) } else { Err(fail(format!("{len} bytes"))) }
        }),
    }
}
