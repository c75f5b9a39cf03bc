//! Records of one tenant written into another: how a stream, or a tenant under a new name, comes back.
//!
//! Files can't be taken as they are for that: their headers say whose they are, and a segment mixes streams. So the
//! records are appended anew, with the times, labels and values that they had. Their Seqs and leaves are new.

use super::BackupError;
use crate::log::Ack;
use crate::record::{BatchBuilder, Block, Field, Labels, Source, Timestamp};
use crate::store::Tenant;
use std::sync::Arc;

/// Bytes of texts after which a batch is committed.
const BATCH_BYTES: usize = 4 << 20;

/// Appends what `from` holds of the streams that have all these labels to `to`; gives the number of records.
pub(super) fn copy_records(from: &Tenant, to: &Tenant, labels: &Labels) -> Result<u64, BackupError> {
    let (_, sources) = from.core.sources(Timestamp(i64::MIN), Timestamp(i64::MAX))?;
    let mut blocks: Vec<(Arc<dyn Source>, usize)> = Vec::new();
    for source in sources {
        blocks.extend((0..source.len()).map(|block| (source.clone(), block)));
    }
    // As near to the order in which they came as blocks are; within a block by time.
    blocks.sort_by_key(|(source, block)| source.info(*block).seq.0);
    let (mut builder, mut count) = (BatchBuilder::new(), 0);
    for (source, block) in blocks {
        let block = source.block(block)?;
        count += copy_block(&*block, labels, &mut builder, to)?;
    }
    if !builder.is_empty() {
        to.append_batch(&builder.take(), Ack::Buffered)?;
    }
    Ok(count)
}

fn copy_block(block: &dyn Block, wanted: &Labels, builder: &mut BatchBuilder, to: &Tenant) -> Result<u64, BackupError> {
    let streams = block.streams()?;
    let mut buffer = Vec::new();
    let mut last: (Vec<u8>, Option<Labels>) = (Vec::new(), None);
    let mut rows: Vec<(u32, Labels)> = Vec::new();
    for row in 0..block.rows() {
        let text = streams.text(row as usize, &mut buffer);
        if last.1.is_none() || last.0 != text {
            let text = text.to_vec();
            let labels = std::str::from_utf8(&text).ok().and_then(Labels::parse).unwrap_or_default();
            last = (text, Some(labels));
        }
        let Some(labels) = &last.1 else { continue };
        if wanted.iter().all(|(name, value)| labels.get(name) == Some(value)) {
            rows.push((row, labels.clone()));
        }
    }
    if rows.is_empty() {
        return Ok(0);
    }
    let times = block.times()?;
    let mut fields: Vec<(Arc<str>, Field)> = Vec::new();
    for name in block.names()? {
        if let Some(field) = block.field(&name)? {
            fields.push((name, field));
        }
    }
    for (row, labels) in &rows {
        builder.begin();
        for (name, field) in &fields {
            if let Some((tag, text)) = field.get(*row, &mut buffer) {
                builder.field(name, tag, text);
            }
        }
        let time = times.get(*row as usize).copied().unwrap_or_default();
        builder.finish(Timestamp(time), labels).map_err(crate::store::Error::from)?;
        if builder.text_bytes() >= BATCH_BYTES {
            to.append_batch(&builder.take(), Ack::Buffered)?;
        }
    }
    Ok(rows.len() as u64)
}
