//! One segment file: every byte against its checksum, and the whole against its roots and the manifest.

use super::keys::{self, Content, Opened};
use super::report::{Finding, FindingKind, Report};
use crate::format::DecodeError;
use crate::format::block::{BLOCK_HEAD_BYTES, BlockHead, BlockHeader, read_head, read_header};
use crate::format::bundle::check_bundle;
use crate::format::chunk::{Chunk, page_bytes};
use crate::format::edit::SegmentMeta;
use crate::format::segment::{
    Footer, SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, Trailer, read_footer, read_segment_header, read_trailer,
};
use crate::format::version::Version;
use crate::record::BlockInfo;
use crate::vfs::MappedFile;
use std::path::{Path, PathBuf};

/// A segment whose checksums hold, for a deeper look.
pub(super) struct Segment {
    pub path: PathBuf,
    pub map: Content,
    pub header: SegmentHeader,
    pub trailer: Trailer,
    pub footer: Footer,
    /// For each block that could be read: its number, head, header, and where its pages begin.
    pub blocks: Vec<(usize, BlockHead, BlockHeader, usize)>,
    /// The file of the index that was made anew, where there is one.
    pub index: Option<Content>,
}

impl Segment {
    /// The bytes of the index that counts.
    pub fn bundle(&self) -> &[u8] {
        match &self.index {
            Some(index) => index.bytes(),
            None => {
                part(self.map.bytes(), self.trailer.index_offset, self.trailer.index_len, "index").unwrap_or_default()
            }
        }
    }
}

/// All chunks of a block, in the order of their pages.
pub(super) fn chunks(header: &BlockHeader) -> Vec<&Chunk> {
    use crate::format::block::PresenceEncoding;
    let mut all = vec![&header.times, &header.seqs, &header.streams];
    all.extend(header.columns.iter().map(|c| &c.chunk));
    all.extend(&header.overflow);
    match &header.presence {
        PresenceEncoding::Shapes { ids, .. } => all.push(ids),
        PresenceEncoding::Bitmaps(bitmaps) => all.extend(bitmaps),
    }
    all
}

/// Verifies a file, and the index that was made anew, which is beside it or, of a segment in an archive, in the tenant's
/// folder; what the manifest says of them is compared where there is one.
pub(super) fn verify_file(
    path: &Path,
    index: Option<&Path>,
    expect: Option<(&Version, &SegmentMeta)>,
    report: &mut Report,
) -> Option<Segment> {
    let map = match MappedFile::open(path) {
        Ok(map) => map,
        Err(e) => {
            report.add(Finding::error(path, &e));
            return None;
        }
    };
    let beside = index.map_or_else(|| path.with_extension("idx"), Path::to_path_buf);
    let index = match beside.exists().then(|| MappedFile::open(&beside)).transpose() {
        Ok(index) => index,
        Err(e) => {
            report.add(Finding::error(&beside, &e));
            None
        }
    };
    report.files += 1 + u64::from(index.is_some());
    report.segments += 1;
    report.bytes += (map.bytes().len() + index.as_ref().map_or(0, |i| i.bytes().len())) as u64;
    let before = report.findings.len();
    let new_root = index.as_ref().map(|index| *blake3::hash(index.bytes()).as_bytes());
    if let (Some(root), Some((_, meta))) = (new_root, expect)
        && root != meta.index_root
    {
        let hex = crate::format::header::hex;
        let (expected, found) = (format!("BLAKE3 {}", hex(&meta.index_root)), hex(&root));
        report.add(Finding::new(FindingKind::Corruption, &beside, 0, expected, found));
    }
    let meta = expect.map(|(_, meta)| (meta, new_root.is_some()));
    let map = match keys::open_segment(path, map, meta, report) {
        Opened::Plain(map) => Content::Mapped(map),
        Opened::Sealed(bytes) => Content::Opened(bytes),
        Opened::Closed => return None,
    };
    let (header, trailer, footer) = match ends(path, &map, expect, new_root.is_some(), report) {
        Ok(ends) => ends,
        Err(e) => {
            report.add(Finding::damage(FindingKind::Corruption, e.in_file(path)));
            // Without a trailer the blocks can still be looked at, but what would be wrong with them is not known.
            return None;
        }
    };
    let index = index.map(|index| keys::open_index(&beside, header.id, index, report));
    let mut segment = Segment { path: path.to_path_buf(), map, header, trailer, footer, blocks: Vec::new(), index };
    for number in 0..segment.footer.blocks.len() {
        match verify_block(&segment, number) {
            Ok(found) => {
                report.blocks += 1;
                report.records += u64::from(found.0.rows);
                segment.blocks.push((number, found.0, found.1, found.2));
            }
            Err(e) => report.add(Finding::damage(FindingKind::Corruption, e.in_file(path))),
        }
    }
    roots(&segment, report, before);
    Some(segment)
}

fn part<'a>(bytes: &'a [u8], at: u64, len: u64, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let range = usize::try_from(at).ok().zip(usize::try_from(len).ok());
    range.and_then(|(at, len)| bytes.get(at..)?.get(..len)).ok_or_else(|| DecodeError {
        offset: at,
        ..DecodeError::new(what, 0, format!("{len} bytes"), format!("a file of {}", bytes.len()))
    })
}

/// Header, trailer and footer, and whether they are those of the file that the manifest means.
fn ends(
    path: &Path,
    content: &Content,
    expect: Option<(&Version, &SegmentMeta)>,
    is_new: bool,
    report: &mut Report,
) -> Result<(SegmentHeader, Trailer, Footer), DecodeError> {
    let bytes = content.bytes();
    let header = read_segment_header(part(bytes, 0, SEGMENT_HEADER_BYTES as u64, "segment header")?)?;
    let trailer_at = (bytes.len() as u64).saturating_sub(TRAILER_BYTES as u64);
    let trailer = part(bytes, trailer_at, TRAILER_BYTES as u64, "segment trailer")?;
    let trailer = read_trailer(trailer, bytes.len() as u64).map_err(|e| e.within(trailer_at))?;
    let footer = part(bytes, trailer.footer_offset, trailer.footer_len, "segment footer")?;
    let footer = read_footer(&trailer, footer).map_err(|e| DecodeError { offset: trailer.footer_offset, ..e })?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some((version, meta)) = expect {
        if header.tenant != version.tenant {
            report.add(Finding::new(
                FindingKind::Misplaced,
                path,
                8,
                format!("a segment of {}", version.tenant),
                format!("one of {}", header.tenant),
            ));
        }
        if header.id != meta.id {
            report.add(Finding::new(
                FindingKind::Misplaced,
                path,
                73,
                format!("segment {}", meta.id),
                format!("segment {}", header.id),
            ));
        }
        let rows: u64 = footer.blocks.iter().map(|b| u64::from(b.info.rows)).sum();
        // Of an encrypted one the manifest says what is stored, which was compared.
        let is_opened = matches!(content, Content::Opened(_));
        let (hex, len) = (crate::format::header::hex, bytes.len() as u64);
        let data_root = if is_opened { &meta.data_root } else { &trailer.data_root };
        // That of a new one is compared by itself.
        let index_root = if is_opened || is_new { &meta.index_root } else { &trailer.index_root };
        let parts = [
            ("bytes", meta.bytes.to_string(), if is_opened { meta.bytes } else { len }.to_string()),
            ("records", meta.rows.to_string(), rows.to_string()),
            ("blocks", meta.blocks.to_string(), footer.blocks.len().to_string()),
            ("data root", hex(&meta.data_root), hex(data_root)),
            ("index root", hex(&meta.index_root), hex(index_root)),
        ];
        if let Some(finding) = Finding::mismatch(path, trailer_at, &parts) {
            report.add(finding);
        }
    } else if name.len() == 16 && name != header.id.to_string() {
        report.add(Finding::new(
            FindingKind::Misplaced,
            path,
            73,
            format!("segment {name}"),
            format!("segment {}", header.id),
        ));
    }
    Ok((header, trailer, footer))
}

/// A block's head, header and the checksum of each page.
fn verify_block(segment: &Segment, number: usize) -> Result<(BlockHead, BlockHeader, usize), DecodeError> {
    let place = segment.footer.blocks[number];
    let bytes = part(segment.map.bytes(), place.offset, place.len, "block")?;
    let head = read_head(bytes).map_err(|e| e.within(place.offset))?;
    let info = BlockInfo { rows: head.rows, time: head.time, seq: head.seq };
    if head.len != place.len || info != place.info {
        let e = DecodeError::new(
            "block head",
            8,
            format!("what the footer says: {place:?}"),
            format!("{} bytes, {info:?}", head.len),
        );
        return Err(e.within(place.offset));
    }
    let header_end = BLOCK_HEAD_BYTES + head.header_stored as usize;
    let stored = part(bytes, BLOCK_HEAD_BYTES as u64, head.header_stored.into(), "block header")?;
    let header_at = place.offset + BLOCK_HEAD_BYTES as u64;
    let header = read_header(&head, stored).map_err(|e| DecodeError { offset: header_at, ..e })?;
    for chunk in chunks(&header) {
        for page in chunk.pages() {
            let at = header_end as u64 + page.offset;
            let stored = part(bytes, at, page.stored.into(), "page")?;
            page_bytes(&page, stored).map_err(|e| DecodeError { offset: place.offset + at, ..e })?;
        }
    }
    Ok((head, header, place.offset as usize + header_end))
}

/// Both roots, and the checksums within the index bundle.
fn roots(segment: &Segment, report: &mut Report, findings_before: usize) {
    let (bytes, trailer, path) = (segment.map.bytes(), &segment.trailer, &segment.path);
    let within = |from: u64, len: u64| part(bytes, from, len, "segment").unwrap_or_default();
    let bundle = segment.bundle();
    let (bundle_path, bundle_at) = match &segment.index {
        Some(_) => (path.with_extension("idx"), 0),
        None => (path.clone(), trailer.index_offset),
    };
    if !bundle.is_empty()
        && let Err(e) = check_bundle(bundle)
    {
        report.add(Finding::damage(FindingKind::Corruption, e.within(bundle_at).in_file(&bundle_path)));
    }
    if segment.index.is_some() {
        report.skipped.push(format!("{}: its own index, which another took the place of", path.display()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(within(0, trailer.index_offset));
    hasher.update(within(trailer.footer_offset, trailer.footer_len));
    for (root, found, at) in [
        (trailer.data_root, *hasher.finalize().as_bytes(), 0),
        (
            trailer.index_root,
            // The new one's root was compared with what the manifest says.
            if segment.index.is_some() { trailer.index_root } else { *blake3::hash(bundle).as_bytes() },
            trailer.index_offset,
        ),
    ] {
        // A root says that something is wrong, and not where: where a part has said so, that is enough.
        if root != found && report.findings.len() == findings_before {
            let hex = crate::format::header::hex;
            report.add(Finding::new(FindingKind::Corruption, path, at, format!("BLAKE3 {}", hex(&root)), hex(&found)));
        }
    }
}
