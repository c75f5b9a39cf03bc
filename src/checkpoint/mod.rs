//! A series of signed checkpoints in a folder: taken now and then, each a file of its own, the oldest removed.
//!
//! Promises: a checkpoint has its name when it is whole and durable; none goes before the one after it is there; what
//! else is in the folder is left alone. May not know: who asks for one, and when.

use crate::crypt::MasterKey;
use crate::error::StorageError;
use crate::format::checkpoint::{BadCheckpoint, CheckpointKey};
use crate::record::Timestamp;
use crate::verify::take_checkpoint;
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".json";

/// Why a checkpoint could not be taken or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// A file can't be read or written, or is damaged: what can't be read can't be vouched for.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file of the key holds none.
    #[error("{}: {reason}", file.display())]
    Key {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: BadCheckpoint,
    },
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// Its file.
    pub file: PathBuf,
    /// When.
    pub at: Timestamp,
    /// How many tenants it is of.
    pub tenants: u64,
    /// Older ones that were removed.
    pub removed: u64,
}

/// A folder of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The folder; it has to be there, so that one that is not mounted is not written to.
    pub dir: PathBuf,
    /// The file of the key that they are signed with. It is read each time, so that another one counts at once.
    pub key: PathBuf,
    /// How many stay; all where it is missing. At least one does.
    pub keep: Option<u32>,
}

impl Series {
    /// Reads the key; for whoever wants to know early that it is one.
    pub fn key(&self, vfs: &dyn Vfs) -> Result<CheckpointKey, SeriesError> {
        let text = vfs.read(&self.key)?;
        let key = CheckpointKey::parse(&String::from_utf8_lossy(&text));
        key.map_err(|reason| SeriesError::Key { file: self.key.clone(), reason })
    }

    /// Takes a checkpoint of all tenants of the store in this folder, beside its writer, and removes the oldest ones.
    pub fn take(
        &self,
        vfs: &dyn Vfs,
        store: &Path,
        master: Option<&MasterKey>,
        at: Timestamp,
    ) -> Result<Taken, SeriesError> {
        let key = self.key(vfs)?;
        let checkpoint = take_checkpoint(store, None, master, at)?;
        let tenants = checkpoint.tenants.len() as u64;
        let file = self.dir.join(name_of(at));
        vfs.replace(&file, key.sign(checkpoint).to_json().as_bytes())?;
        let mut removed = 0;
        if let Some(keep) = self.keep {
            let mut all = self.all(vfs)?;
            all.truncate(all.len().saturating_sub(keep.max(1) as usize));
            for at in &all {
                vfs.remove(&self.dir.join(name_of(*at)))?;
                removed += 1;
            }
            if removed > 0 {
                vfs.sync_dir(&self.dir)?;
            }
        }
        Ok(Taken { file, at, tenants, removed })
    }

    /// When those that are there were taken, the oldest first, by their names.
    pub fn all(&self, vfs: &dyn Vfs) -> Result<Vec<Timestamp>, StorageError> {
        let mut all: Vec<Timestamp> = vfs.list(&self.dir)?.iter().filter_map(|e| time_of(&e.name)).collect();
        all.sort_unstable();
        Ok(all)
    }
}

/// `checkpoint-20261121T153000.123Z.json`: sorted by name they are sorted by time.
fn name_of(at: Timestamp) -> String {
    let text: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{PREFIX}{text}{SUFFIX}")
}

fn time_of(name: &str) -> Option<Timestamp> {
    let text = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (date, time) = text.split_once('T')?;
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_string);
    let date = [part(date, 0, 4)?, part(date, 4, 6)?, date.get(6..)?.to_string()].join("-");
    let time = [part(time, 0, 2)?, part(time, 2, 4)?, time.get(4..)?.to_string()].join(":");
    let at = Timestamp::parse(&format!("{date}T{time}")).ok()?;
    // What is written otherwise is not ours.
    (name_of(at) == name).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::RealVfs;

    #[test]
    fn names_are_times_and_nothing_else_is() {
        for at in ["2026-11-21T15:30:00Z", "2026-11-21T15:30:00.123456789Z", "1999-01-01T00:00:00.5Z"] {
            let at = Timestamp::parse(at).expect("a time");
            assert_eq!(time_of(&name_of(at)), Some(at));
        }
        for other in
            ["", "checkpoint-.json", "checkpoint-20261121T153000.000Z.json.tmp", "notes.json", "checkpoint-é.json"]
        {
            assert_eq!(time_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_stay_and_what_is_not_ours_does() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = crate::Store::open(dir.path().join("store")).expect("a store");
        store.tenant("acme").and_then(|t| t.append(&[crate::record! { n: 1 }])).expect("appended");
        let series = Series { dir: dir.path().join("kept"), key: dir.path().join("key"), keep: Some(2) };
        let take = |second: i64| series.take(&RealVfs, store.path(), None, Timestamp(second * 1_000_000_000));
        assert!(matches!(take(1), Err(SeriesError::Storage(_))), "no key");
        std::fs::write(&series.key, "nonsense").expect("written");
        assert!(matches!(take(1), Err(SeriesError::Key { .. })));
        std::fs::write(&series.key, format!("{}\n", "5a".repeat(32))).expect("written");
        assert!(matches!(take(1), Err(SeriesError::Storage(_))), "no folder");
        std::fs::create_dir(&series.dir).expect("made");
        std::fs::write(series.dir.join("notes"), "mine").expect("written");
        for second in 1..=4 {
            let taken = take(second).expect("taken");
            assert_eq!((taken.tenants, taken.removed), (1, u64::from(second > 2)));
            let text = std::fs::read_to_string(&taken.file).expect("there");
            let signed = crate::format::checkpoint::SignedCheckpoint::parse(&text).expect("one");
            signed.check(Some(&series.key(&RealVfs).expect("a key").public())).expect("signed");
            assert_eq!(signed.checkpoint.at, taken.at);
        }
        let seconds: Vec<i64> = series.all(&RealVfs).expect("listed").iter().map(|at| at.0 / 1_000_000_000).collect();
        assert_eq!(seconds, [3, 4]);
        assert!(series.dir.join("notes").exists());
    }
}
