//! Real logs, where they are at hand: every line is taken.

use super::*;

/// The sample logs of LogHub; not part of the repository.
const LOGHUB: &str = "/work/shared/corpus/loghub";

#[test]
fn loghub_is_taken_whole() {
    let Ok(dir) = std::fs::read_dir(LOGHUB) else { return };
    for entry in dir.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "log")) {
        let input = std::fs::read(entry.path()).unwrap();
        let out = run(&options(Format::Auto), &input);
        assert_eq!(out.rejections.count, 0, "{:?} {:?}", entry.path(), out.rejections.first);
        let lines = input.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).count();
        let (mut records, mut timed, mut levels) = (0, 0, 0);
        for batch in &out.batches {
            records += batch.len();
            timed += batch.heads.iter().filter(|h| h.time != ARRIVAL).count();
            levels += (0..batch.len()).filter(|&i| batch.fields(i).any(|(n, ..)| n == "level")).count();
        }
        println!(
            "{:?}: {lines} lines, {records} records, {timed} with a time, {levels} with a level",
            entry.file_name()
        );
    }
}
