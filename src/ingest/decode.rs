//! Compressed input: gzip of one or several members, and zstd of one or several frames.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, Read};

/// Largest window of a zstd stream, as a power of two: 128 MiB, as `zstd` itself takes without being told otherwise.
/// The window is memory that the sender decides on, so that it is no larger than what may come out at all.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Window that is always taken: 8 MiB, which RFC 9659 asks of everyone who decodes over HTTP.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
/// Bytes that are unpacked at a time.
const PART_BYTES: usize = 64 << 10;

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// Tells by the first bytes; four are enough.
    pub fn detect(start: &[u8]) -> Encoding {
        match start {
            [0x1f, 0x8b, ..] => Encoding::Gzip,
            // A frame, or one to be skipped, which pzstd begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Encoding::Zstd,
            _ => Encoding::Identity,
        }
    }

    /// The encoding that `Content-Encoding` names.
    pub fn from_name(name: &str) -> Option<Encoding> {
        let name = name.trim();
        let is = |n: &str| name.eq_ignore_ascii_case(n);
        if is("gzip") || is("x-gzip") {
            Some(Encoding::Gzip)
        } else if is("zstd") {
            Some(Encoding::Zstd)
        } else if is("identity") || name.is_empty() {
            Some(Encoding::Identity)
        } else {
            None
        }
    }
}

/// Why packed input can't be read to its end. What was read before it is good: checksums are at the end only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input was cut off.
    #[error("the compressed input is cut off after {unpacked} unpacked bytes")]
    Truncated {
        /// Bytes that came out before.
        unpacked: u64,
    },
    /// More comes out than is allowed.
    #[error("unpacks to more than {limit} bytes (ingest_body_bytes_max)")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Not what it says it is, or damaged.
    #[error("the compressed input is damaged after {unpacked} unpacked bytes: {why}")]
    Damaged {
        /// Bytes that came out before.
        unpacked: u64,
        /// What the decoder says.
        why: String,
    },
    /// The source can't be read.
    #[error(transparent)]
    Io(io::Error),
}

impl DecodeError {
    /// Was the input cut off, so that what was read is worth keeping?
    pub fn is_truncated(&self) -> bool {
        matches!(self, DecodeError::Truncated { .. })
    }
    /// Did it unpack to more than is allowed?
    pub fn is_too_large(&self) -> bool {
        matches!(self, DecodeError::TooLarge { .. })
    }
}

/// Unpacks a source.
pub struct Decoder<R: BufRead> {
    inner: Inner<R>,
    unpacked: u64,
    limit: u64,
}

enum Inner<R: BufRead> {
    Identity(R),
    Gzip(Box<MultiGzDecoder<Watched<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Watched<R>>>),
}

/// Remembers an error of the source, to tell it from the decoder's.
struct Watched<R> {
    source: R,
    failed: Option<io::Error>,
}

impl<R: BufRead> Watched<R> {
    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            copy
        })
    }
}

impl<R: BufRead> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.source.read(buffer);
        self.watch(result)
    }
}

impl<R: BufRead> BufRead for Watched<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // Filled twice, since an error can't be kept while the buffer is lent.
        let filled = self.source.fill_buf().map(drop);
        self.watch(filled)?;
        self.source.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.source.consume(amount);
    }
}

impl<R: BufRead> Decoder<R> {
    /// Finds out by the first bytes of the source how it is packed.
    pub fn detect(mut source: R, limit: u64) -> Result<Self, DecodeError> {
        let encoding = Encoding::detect(source.fill_buf().map_err(DecodeError::Io)?);
        Decoder::new(source, encoding, limit)
    }

    /// Unpacks a source of this encoding; at most `limit` bytes may come out.
    pub fn new(source: R, encoding: Encoding, limit: u64) -> Result<Self, DecodeError> {
        let watched = |source| Watched { source, failed: None };
        let inner = match encoding {
            Encoding::Identity => Inner::Identity(source),
            Encoding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(watched(source)))),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(watched(source)).map_err(DecodeError::Io)?;
                let window_log = limit.max(1).ilog2().clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
                decoder.window_log_max(window_log).map_err(DecodeError::Io)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Decoder { inner, unpacked: 0, limit })
    }

    /// Fills the beginning of `buffer`; nothing at the end of the input.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            let result = match &mut self.inner {
                Inner::Identity(source) => source.read(buffer),
                Inner::Gzip(decoder) => decoder.read(buffer),
                Inner::Zstd(decoder) => decoder.read(buffer),
            };
            match result {
                Ok(n) => {
                    self.unpacked += n as u64;
                    if self.unpacked > self.limit {
                        return Err(DecodeError::TooLarge { limit: self.limit });
                    }
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    fn explain(&mut self, error: io::Error) -> DecodeError {
        let failed = match &mut self.inner {
            Inner::Identity(_) => return DecodeError::Io(error),
            Inner::Gzip(decoder) => decoder.get_mut().failed.take(),
            Inner::Zstd(decoder) => decoder.get_mut().failed.take(),
        };
        match failed {
            Some(failed) => DecodeError::Io(failed),
            None if error.kind() == io::ErrorKind::UnexpectedEof => DecodeError::Truncated { unpacked: self.unpacked },
            None => DecodeError::Damaged { unpacked: self.unpacked, why: error.to_string() },
        }
    }
}

/// Unpacks a complete body into `out`. After an error `out` has what came out before it, within the limit.
pub fn decode_slice(bytes: &[u8], encoding: Encoding, limit: u64, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(bytes, encoding, limit)?;
    let mut part = vec![0; PART_BYTES];
    loop {
        let n = decoder.read(&mut part)?;
        if n == 0 {
            return Ok(());
        }
        out.extend_from_slice(part.get(..n).unwrap_or_default());
    }
}
