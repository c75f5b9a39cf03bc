//! Writes the values of columns as pages.

use super::{Chunk, ChunkTags, Encoding, PAGE_BYTES, Page};
use crate::format::compress::compress;
use crate::format::template::{FillChunk, FillData, TemplateChunk, Templated, put_templates};
use crate::format::{ints, put_varint};
use crate::record::{Column, Data, Tags, Texts};

/// Writes pages one after the other.
#[derive(Debug)]
pub struct PageWriter {
    /// The stored pages.
    pub out: Vec<u8>,
    level: i32,
    scratch: Vec<u8>,
}

impl PageWriter {
    /// A writer that compresses at a zstd level.
    pub fn new(level: i32) -> Self {
        PageWriter { out: Vec::new(), level, scratch: Vec::new() }
    }

    fn page(&mut self, rows: usize, raw: &[u8]) -> Page {
        let start = self.out.len();
        let codec = compress(raw, self.level, &mut self.out);
        let stored = &self.out[start..];
        Page {
            rows: rows as u32,
            stored: stored.len() as u32,
            raw: raw.len() as u32,
            codec,
            crc: crc32fast::hash(stored),
            offset: start as u64,
        }
    }

    /// Writes integers, in whichever form comes out smaller.
    pub fn integers(&mut self, values: &[i64]) -> Vec<Page> {
        let rows_max = PAGE_BYTES / 4;
        let mut pages = Vec::new();
        for values in values.chunks(rows_max) {
            let run = ints::Run::new(values);
            let mut raw = std::mem::take(&mut self.scratch);
            raw.clear();
            let start = self.out.len();
            let planes = match run.packed_len() {
                // Nothing comes out smaller.
                0 => None,
                _ => {
                    run.put(ints::Body::Planes, &mut raw);
                    Some(self.page(values.len(), &raw))
                }
            };
            pages.push(match planes {
                Some(planes) if run.packed_len() > planes.stored as usize => planes,
                planes => {
                    raw.clear();
                    run.put(ints::Body::Packed, &mut raw);
                    match planes {
                        Some(planes) if raw.len() > planes.stored as usize => planes,
                        _ => {
                            self.out.truncate(start);
                            self.page(values.len(), &raw)
                        }
                    }
                }
            });
            self.scratch = raw;
        }
        pages
    }

    fn fixed(&mut self, bytes: &[u8], width: usize) -> Vec<Page> {
        let rows = (PAGE_BYTES / width.max(1)).max(1);
        bytes.chunks(rows * width.max(1)).map(|run| self.page(run.len() / width.max(1), run)).collect()
    }

    fn texts(&mut self, texts: &Texts) -> Vec<Page> {
        let mut pages = Vec::new();
        let mut first = 0;
        while first < texts.len() {
            let start = if first == 0 { 0 } else { texts.ends[first - 1] as usize };
            let last = texts.ends[first..].partition_point(|&end| (end as usize) < start + PAGE_BYTES) + first + 1;
            let last = last.min(texts.len());
            let mut raw = std::mem::take(&mut self.scratch);
            raw.clear();
            let mut before = start as u32;
            for &end in &texts.ends[first..last] {
                put_varint(&mut raw, u64::from(end - before));
                before = end;
            }
            raw.extend_from_slice(&texts.bytes[start..before as usize]);
            pages.push(self.page(last - first, &raw));
            self.scratch = raw;
            first = last;
        }
        pages
    }

    fn encoding(&mut self, data: &Data) -> Encoding {
        match data {
            Data::Constant { text, .. } => Encoding::Constant(text.clone()),
            Data::Dictionary { entries, codes } => {
                let count = entries.len() as u32;
                let entries = Box::new(self.encoding(entries));
                let codes: Vec<i64> = codes.iter().map(i64::from).collect();
                Encoding::Dictionary { entries, count, codes: self.integers(&codes) }
            }
            Data::Integer(values) => Encoding::Integer(self.integers(values)),
            Data::Decimal { values, places } => Encoding::Decimal { pages: self.integers(values), places: *places },
            Data::Fixed { form, bytes } => {
                Encoding::Fixed { pages: self.fixed(bytes, form.width()), form: form.clone() }
            }
            Data::Plain(texts) => Encoding::Plain(self.texts(texts)),
        }
    }

    /// Writes a column's pages and describes them.
    pub fn column(&mut self, column: &Column) -> Chunk {
        let encoding = self.encoding(&column.data);
        self.chunk(column, encoding)
    }

    /// Writes the pages of a column that was taken apart, and describes them.
    pub fn templated(&mut self, column: &Column, parts: &Templated) -> Chunk {
        let mut raw = Vec::new();
        put_templates(&parts.templates, &mut raw);
        let templates = self.page(parts.templates.len(), &raw);
        let codes = self.integers(&parts.codes);
        let fills = parts.fills.iter().map(|fill| match fill {
            FillData::Column(number) => FillChunk::Column(*number),
            FillData::Values(data) => FillChunk::Values { count: data.len() as u32, encoding: self.encoding(data) },
        });
        let fills = fills.collect();
        let chunk = TemplateChunk { rank: parts.rank, templates, codes, fills };
        self.chunk(column, Encoding::Template(Box::new(chunk)))
    }

    fn chunk(&mut self, column: &Column, encoding: Encoding) -> Chunk {
        let tags = match &column.tags {
            Tags::One(tag) => ChunkTags::One(*tag),
            Tags::Each(tags) => {
                let raw: Vec<u8> = tags.iter().map(|&t| t as u8).collect();
                ChunkTags::Each(self.page(tags.len(), &raw))
            }
        };
        Chunk { rows: column.len() as u32, tags, encoding }
    }
}
