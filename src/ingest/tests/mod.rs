//! One table a format: input to records and rejections.

mod chunks;
mod decode;
mod formats;
mod fuzzing;
mod json;
mod limits;
mod rules;
mod text;

use super::*;
use crate::record::write_json_value;

/// Sunday, 15 June 2025, 12:00:00 UTC.
pub(super) const ARRIVAL: Timestamp = Timestamp(1_749_988_800_000_000_000);

pub(super) fn options(format: Format) -> IngestOptions {
    IngestOptions::new(ARRIVAL).format(format)
}

/// Records as `time name=value ..`, the time of arrival as `-`, then rejections as `!line reason`.
pub(super) fn render(out: &Collected) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &out.batches {
        for (i, head) in batch.heads.iter().enumerate() {
            let mut line = if head.time == ARRIVAL { "-".to_string() } else { head.time.to_string() };
            for (name, tag, text) in batch.fields(i) {
                line.push(' ');
                line.push_str(name);
                line.push('=');
                write_json_value(tag, text, &mut line);
            }
            lines.push(line);
        }
    }
    lines.extend(out.rejections.first.iter().map(|r| format!("!{} {}", r.line, r.reason)));
    lines
}

pub(super) fn run(options: &IngestOptions, input: &[u8]) -> Collected {
    let mut out = Collected::default();
    let Ok(counts) = ingest_slice(options, input, &mut out);
    let records: usize = out.batches.iter().map(|b| b.len()).sum();
    assert_eq!((counts.accepted, counts.rejected), (records as u64, out.rejections.count));
    out
}

#[track_caller]
pub(super) fn check_with(options: &IngestOptions, input: impl AsRef<[u8]>, expect: &[&str]) {
    let input = input.as_ref();
    assert_eq!(render(&run(options, input)), expect, "{}", String::from_utf8_lossy(input));
}

#[track_caller]
pub(super) fn check(format: Format, input: impl AsRef<[u8]>, expect: &[&str]) {
    check_with(&options(format), input, expect);
}
