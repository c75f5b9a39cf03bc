//! A tenant's log files: frames, chains, Seqs, marks, and zeros behind.

use super::chain::Chain;
use super::keys;
use super::report::{Finding, FindingKind, Report};
use crate::error::StorageError;
use crate::format::DecodeError;
use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, chain_start, decode_frame};
use crate::format::header::{FILE_HEADER_BYTES, LogHeader};
use crate::format::payload::Payload;
use crate::format::receipt::Receipt;
use crate::id::{LogId, Seq, TenantId};
use crate::vfs::Vfs;
use std::path::Path;
use std::time::Duration;

/// How often a broken end is read again beside a writer, which may be in the middle of a write.
const READ_ATTEMPTS_MAX: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(40);

/// What a file was found to hold.
struct Walk {
    /// The first Seq and the one that comes next; missing where the header can't be read or is of another file.
    range: Option<(Seq, Seq)>,
    records: u64,
    broken: Option<Finding>,
}

/// Verifies the folder `log` of a tenant.
pub(super) fn verify_logs(
    vfs: &dyn Vfs,
    dir: &Path,
    chain: &Chain,
    live: bool,
    report: &mut Report,
) -> Result<(), StorageError> {
    let (tenant, sealed_below) = (&chain.version.tenant, chain.version.sealed_below);
    // Up to where records are sealed or in the log; not known behind what can't be read.
    let mut reached = chain.is_whole.then_some(sealed_below.0 + 1).map(Seq);
    let (mut files, mut newest) = (0, None);
    for entry in if vfs.exists(dir)? { vfs.list(dir)? } else { Vec::new() } {
        let path = dir.join(&entry.name);
        let id = entry.name.strip_suffix(".log").and_then(|hex| u64::from_str_radix(hex, 16).ok()).map(LogId);
        let Some(id) = id.filter(|id| !entry.is_dir && format!("{id}.log") == entry.name) else {
            if !(live && entry.name.ends_with(".log.tmp")) {
                report.add(Finding::new(FindingKind::Unexpected, &path, 0, "a log file", &entry.name));
            }
            continue;
        };
        files += 1;
        let walk = match read(vfs, &path, tenant, id, live, report) {
            Ok(Some(walk)) => walk,
            // Trimmed under our eyes, its records sealed.
            Ok(None) => continue,
            Err(e) if live && e.is_not_found() => continue,
            Err(e) => {
                report.add(Finding::error(&path, &e));
                (reached, newest) = (None, None);
                continue;
            }
        };
        let Some((first, next)) = walk.range else {
            (reached, newest) = (None, None);
            report.findings.extend(walk.broken);
            continue;
        };
        if let Some(expected) = reached.filter(|reached| first > *reached)
            && !live
        {
            let expected = format!("records from {expected}");
            report.add(Finding::new(FindingKind::Gap, &path, 192, expected, format!("records from {first}")));
        }
        // What is behind a broken frame can't be known to be missing.
        let is_whole = walk.broken.is_none();
        reached = reached.filter(|_| is_whole).map(|reached| reached.max(next));
        newest = is_whole.then_some((path, next));
        report.records += walk.records;
        report.findings.extend(walk.broken);
    }
    if live || !chain.is_whole || sealed_below.0 == 0 {
        return Ok(());
    }
    if files == 0 {
        // Sealing begins a new file before the old ones go.
        let expected = format!("a log file that begins at {} or before", sealed_below.0 + 1);
        report.add(Finding::new(FindingKind::Missing, dir, 0, expected, "none"));
    } else if let Some((path, next)) = newest.filter(|(_, next)| *next <= sealed_below) {
        let expected = format!("records up to {sealed_below} at least, which the manifest says are sealed");
        report.add(Finding::new(FindingKind::RolledBack, &path, 192, expected, format!("the next one is {next}")));
    }
    Ok(())
}

/// Reads a file, and beside a writer again while its end moves.
fn read(
    vfs: &dyn Vfs,
    path: &Path,
    tenant: &TenantId,
    id: LogId,
    live: bool,
    report: &mut Report,
) -> Result<Option<Walk>, StorageError> {
    let mut broken_at = None;
    for attempt in 0..READ_ATTEMPTS_MAX {
        let bytes = vfs.read(path)?;
        if live && bytes.len() < FILE_HEADER_BYTES {
            return Ok(None);
        }
        let mut aside = Report { unlock: report.unlock.clone(), ..Report::default() };
        let mut walk = walk(&bytes, path, (tenant, id), &mut aside);
        let moved = broken_at.is_some_and(|before| walk.broken.as_ref().is_none_or(|f| f.offset > before));
        if live && moved {
            walk.broken = None;
        }
        if walk.broken.is_none() || !live || attempt + 1 == READ_ATTEMPTS_MAX {
            report.files += 1;
            report.bytes += bytes.len() as u64;
            report.unlock = aside.unlock;
            report.findings.append(&mut aside.findings);
            return Ok(Some(walk));
        }
        broken_at = walk.broken.as_ref().map(|f| f.offset);
        std::thread::sleep(READ_PAUSE);
    }
    Ok(None)
}

fn walk(bytes: &[u8], path: &Path, (tenant, id): (&TenantId, LogId), report: &mut Report) -> Walk {
    let unread = |finding| Walk { range: None, records: 0, broken: Some(finding) };
    let header = match LogHeader::decode(bytes) {
        Ok(header) => header,
        Err(e) => return unread(Finding::damage(FindingKind::Corruption, e.in_file(path))),
    };
    if header.tenant != *tenant || header.id != id {
        let expected = format!("log {id} of {tenant}");
        let found = format!("log {} of {}", header.id, header.tenant);
        return unread(Finding::new(FindingKind::Misplaced, path, 11, expected, found));
    }
    let key = header.key.as_ref().map(|key| keys::log_key(path, id.0, key, report));
    let ring = &report.unlock.ring;
    let stamp = header.stamp();
    let mut head = [0; FILE_HEADER_BYTES];
    head.copy_from_slice(&bytes[..FILE_HEADER_BYTES]);
    let (mut at, mut chain, mut next, mut records) = (FILE_HEADER_BYTES, chain_start(&head), header.first, 0);
    let mut broken = None;
    while at < bytes.len() && bytes[at..].iter().any(|&b| b != 0) {
        let rest = &bytes[at..];
        let step = decode_frame(rest, &stamp).and_then(|decoded| {
            let frame = &decoded.frame;
            if frame.previous != chain {
                return Err(DecodeError::new("log frame", 48, "the hash of the frame before", "another"));
            }
            if frame.first != next {
                return Err(DecodeError::new("log frame", 16, format!("Seq {next}"), frame.first));
            }
            if !frame.is_mark() && decoded.sealed.is_some() != key.is_some() {
                return Err(DecodeError::new(
                    "log frame",
                    5,
                    "a frame that is encrypted where the file is",
                    "the other",
                ));
            }
            let key = match &key {
                // What is encrypted, and can't be decrypted, is as far as its checksums go.
                Some(None) if decoded.sealed.is_some() => return Ok((decoded.bytes, decoded.hash, frame.records)),
                key => key.as_ref().and_then(Option::as_ref).map(|key| key as _),
            };
            let opened = decoded.open(key)?;
            let frame = &opened.frame();
            if let Some(request) = &frame.idempotency {
                Receipt::decode(request.answer)?;
            }
            if !frame.is_mark() {
                let payload = frame.payload_where(&|leaf, payload| ring.is_leaf(leaf, payload))?;
                let payload = Payload::decode(payload)?;
                if payload.records.len() != frame.records as usize {
                    return Err(DecodeError::new(
                        "log frame",
                        24,
                        format!("{} records", frame.records),
                        payload.records.len(),
                    ));
                }
            }
            Ok((decoded.bytes, decoded.hash, frame.records))
        });
        match step {
            Ok((len, hash, count)) => {
                at += len;
                chain = hash;
                next = Seq(next.0 + u64::from(count));
                records += u64::from(count);
            }
            Err(e) => {
                // Whatever says further on that these records were durable makes it corruption and not a torn end.
                let later = memchr::memmem::find_iter(&rest[1..], &FRAME_MAGIC).any(|found| {
                    rest.get(1 + found..)
                        .filter(|f| f.len() >= FRAME_HEADER_BYTES)
                        .is_some_and(|f| FrameHeader::decode(f, &stamp).is_ok())
                });
                let kind = if later { FindingKind::Corruption } else { FindingKind::TornTail };
                broken = Some(Finding::damage(kind, e.within(at as u64).in_file(path)));
                break;
            }
        }
    }
    Walk { range: Some((header.first, next)), records, broken }
}
