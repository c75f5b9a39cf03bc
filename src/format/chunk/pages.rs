//! Decodes pages to values. A page is believed after its checksum; what its values are is checked all the same.

use super::{Encoding, Page, value_pages};
use crate::error::StorageError;
use crate::format::compress::decompress;
use crate::format::{DecodeError, Reader, ints};
use crate::record::{Codes, Data, FixedForm, Tag, Texts};

/// Room is made beforehand for at most so many decoded bytes: a header may lie about what its pages hold.
const RESERVE_BYTES_MAX: usize = 16 << 20;

/// Checks a stored page and decodes it to its raw bytes.
pub fn page_bytes(page: &Page, stored: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let crc = crc32fast::hash(stored);
    if crc != page.crc {
        return Err(DecodeError::new("page", 0, format!("CRC-32 {:08x}", page.crc), format!("{crc:08x}")));
    }
    decompress(stored, page.codec, page.raw as usize, "page")
}

/// Decodes the types of a chunk from its page's raw bytes.
pub fn decode_tags(raw: &[u8]) -> Result<Box<[Tag]>, DecodeError> {
    raw.iter()
        .enumerate()
        .map(|(i, &b)| Tag::from_u8(b).ok_or_else(|| DecodeError::new("types", i, "a type", b)))
        .collect()
}

/// Appends the integers of a page, from its raw bytes.
pub fn decode_integers(page: &Page, raw: &[u8], values: &mut Vec<i64>) -> Result<(), DecodeError> {
    let before = values.len();
    ints::decode_to(raw, values)?;
    as_many(page, values.len() - before)
}

fn as_many(page: &Page, found: usize) -> Result<(), DecodeError> {
    match found == page.rows as usize {
        true => Ok(()),
        false => Err(DecodeError::new("integers", 0, format!("{} integers", page.rows), found)),
    }
}

/// The numbers on some pages, which are below `count`.
pub fn decode_codes(
    pages: &[Page],
    count: u32,
    read: &mut dyn FnMut(&Page) -> Result<Vec<u8>, StorageError>,
    fail: &dyn Fn(&Page, DecodeError) -> StorageError,
) -> Result<Codes, StorageError> {
    let rows: usize = pages.iter().map(|page| page.rows as usize).sum();
    let mut codes = Codes::below(count as usize, rows.min(ints::INTS_MAX));
    for page in pages {
        let raw = read(page)?;
        let before = codes.len();
        let decoded = ints::decode_codes(&raw, count, &mut codes);
        decoded.and_then(|()| as_many(page, codes.len() - before)).map_err(|e| fail(page, e))?;
    }
    Ok(codes)
}

/// Appends the texts of a plain page to others.
pub fn decode_texts(page: &Page, raw: &[u8], texts: &mut Texts) -> Result<(), DecodeError> {
    let mut r = Reader::new(raw, "texts");
    let base = texts.bytes.len() as u64;
    let mut end = base;
    for _ in 0..page.rows {
        end = end.saturating_add(r.varint()?);
        if end > u64::from(u32::MAX) {
            return Err(r.error("texts of at most 4 GiB", end));
        }
        texts.ends.push(end as u32);
    }
    if end - base != r.remaining() as u64 {
        return Err(r.error(format!("{} bytes", end - base), format!("{} bytes", r.remaining())));
    }
    let bytes = r.take(r.remaining())?;
    let text =
        std::str::from_utf8(bytes).map_err(|e| DecodeError::new("texts", e.valid_up_to(), "UTF-8", "other bytes"))?;
    let from = texts.ends.len() - page.rows as usize;
    for &e in &texts.ends[from..] {
        if !text.is_char_boundary((u64::from(e) - base) as usize) {
            return Err(DecodeError::new("texts", 0, "texts that end between characters", e));
        }
    }
    texts.bytes.extend_from_slice(bytes);
    Ok(())
}

/// Checks and collects the bytes of a page of fixed width.
pub fn decode_fixed(page: &Page, raw: Vec<u8>, form: &FixedForm) -> Result<Vec<u8>, DecodeError> {
    if raw.len() == page.rows as usize * form.width() {
        Ok(raw)
    } else {
        Err(DecodeError::new("fixed bytes", 0, format!("{} bytes", page.rows as usize * form.width()), raw.len()))
    }
}

/// Decodes a part of an encoding: the pages for which `read` gives raw bytes must be `pages`, in order.
pub fn decode_data(
    encoding: &Encoding,
    rows: u32,
    pages: &[Page],
    read: &mut dyn FnMut(&Page) -> Result<Vec<u8>, StorageError>,
    fail: &dyn Fn(&Page, DecodeError) -> StorageError,
) -> Result<Data, StorageError> {
    let mut integers = || -> Result<Vec<i64>, StorageError> {
        let mut values = Vec::with_capacity(rows as usize);
        for page in pages {
            decode_integers(page, &read(page)?, &mut values).map_err(|e| fail(page, e))?;
        }
        Ok(values)
    };
    Ok(match encoding {
        Encoding::Constant(text) => Data::Constant { len: rows, text: text.clone() },
        Encoding::Integer(_) => Data::Integer(integers()?),
        Encoding::Decimal { places, .. } => Data::Decimal { values: integers()?, places: *places },
        Encoding::Fixed { form, .. } => {
            let raw: usize = pages.iter().map(|page| page.raw as usize).sum();
            let mut bytes = Vec::with_capacity(raw.min(RESERVE_BYTES_MAX));
            for page in pages {
                bytes.extend(decode_fixed(page, read(page)?, form).map_err(|e| fail(page, e))?);
            }
            Data::Fixed { form: form.clone(), bytes }
        }
        Encoding::Plain(_) => {
            let raw: usize = pages.iter().map(|page| page.raw as usize).sum();
            let mut texts = Texts { bytes: Vec::with_capacity(raw.min(RESERVE_BYTES_MAX)), ends: Vec::new() };
            texts.ends.reserve_exact(rows as usize);
            for page in pages {
                decode_texts(page, &read(page)?, &mut texts).map_err(|e| fail(page, e))?;
            }
            Data::Plain(texts)
        }
        Encoding::Dictionary { entries, count, codes: all } => {
            let codes = decode_codes(pages, *count, read, fail)?;
            debug_assert!(pages.len() <= all.len());
            let entries = decode_data(entries, *count, value_pages(entries), read, fail)?;
            Data::Dictionary { entries: Box::new(entries), codes }
        }
        // The caller puts these together itself; none stands in another one.
        Encoding::Template(chunk) => {
            let error = DecodeError::new("chunk", 0, "values of its own", "templates");
            return Err(fail(&chunk.templates, error));
        }
    })
}
