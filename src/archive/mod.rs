//! Archives: places outside of a store to which segments go that are seldom read, by the names that rules use.
//!
//! Promises: a file that was put is durable; one that was removed is gone for good; a copy counts when it was read back
//! and compared with the manifest. No file of another tenant can be named, and none that is not a segment's. May not
//! know: rules, what a tenant consists of, queries.

#[cfg(feature = "object-store")]
mod bucket;
#[cfg(feature = "object-store")]
mod chunks;
mod compare;
mod folder;

pub use compare::compare;
pub use folder::FolderArchive;

#[cfg(feature = "object-store")]
pub use bucket::BucketArchive;
#[cfg(feature = "object-store")]
pub use chunks::{CHUNK_BYTES, CHUNKS_BYTES_MAX};

use crate::error::StorageError;
use crate::format::edit::SegmentMeta;
use crate::format::header::hex;
use crate::id::{Place, SegmentId, TenantId};
use crate::vfs::{Vfs, VfsFile};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The name of a segment's file in an archive. No other segment of any store has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchivedName(String);

impl ArchivedName {
    /// Of a segment that a manifest names.
    pub fn of(meta: &SegmentMeta) -> Self {
        Self::new(meta.id, &meta.data_root)
    }

    /// By number and data root.
    pub fn new(id: SegmentId, data_root: &[u8; 32]) -> Self {
        ArchivedName(format!("{id}-{}.seg", hex(&data_root[..8])))
    }

    /// A text that is such a name: digits and `-` before `.seg`, and so nothing that leads elsewhere.
    pub fn parse(name: &str) -> Option<Self> {
        let (id, root) = name.strip_suffix(".seg")?.split_once('-')?;
        let is_hex = |text: &str| text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex(id) && is_hex(root)).then(|| ArchivedName(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number and the first bytes of the data root that it is made of.
    pub fn parts(&self) -> (SegmentId, [u8; 8]) {
        let hex = |from: usize, to| self.0.get(from..to).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        (SegmentId(hex(0, 16)), hex(17, 33).to_be_bytes())
    }
}

/// One archive: files by tenant and name.
pub trait Archive: Send + Sync + std::fmt::Debug {
    /// Where a tenant's files are or would be, for people and for errors.
    fn folder(&self, tenant: &TenantId) -> PathBuf;
    /// The same of one of them.
    fn path(&self, tenant: &TenantId, name: &ArchivedName) -> PathBuf {
        self.folder(tenant).join(name.as_str())
    }
    /// The same where other code of this process finds the file there.
    fn local_path(&self, _tenant: &TenantId, _name: &ArchivedName) -> Option<PathBuf> {
        None
    }
    /// Opens a file for reading; what was read of it may be kept for a while.
    fn open(&self, tenant: &TenantId, name: &ArchivedName) -> Result<Arc<dyn VfsFile>, StorageError>;
    /// Opens a file so that all that is read comes from where it is.
    fn open_afresh(&self, tenant: &TenantId, name: &ArchivedName) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.open(tenant, name)
    }
    /// Makes durable what [`Archive::answers`] looks for, before anything says that the tenant has files there.
    fn prepare(&self, _tenant: &TenantId) -> Result<(), StorageError> {
        Ok(())
    }
    /// Copies a file to the archive, over one that has the name. It is durable when this returns.
    fn put(&self, tenant: &TenantId, name: &ArchivedName, from: &dyn VfsFile) -> Result<(), StorageError>;
    /// The files of segments in a tenant's folder, whichever store put them there. An error like that of
    /// [`Archive::answers`].
    fn list(&self, tenant: &TenantId) -> Result<Vec<ArchivedName>, StorageError>;
    /// An error where the archive does not answer, or is not where it was when the tenant's files were put there.
    fn answers(&self, tenant: &TenantId) -> Result<(), StorageError>;
    /// Removes a file for good; no error where there is none.
    fn remove(&self, tenant: &TenantId, name: &ArchivedName) -> Result<(), StorageError>;
    /// Removes what is left where a tenant's files were, if nothing is in it.
    fn remove_empty(&self, _tenant: &TenantId) -> Result<(), StorageError> {
        Ok(())
    }
}

/// The archives that a store knows.
#[derive(Clone, Debug, Default)]
pub struct Archives(BTreeMap<Place, Arc<dyn Archive>>);

impl Archives {
    /// Archives by their addresses: folders, and buckets by their URLs (`s3://BUCKET/PREFIX`). Nothing is asked of them
    /// yet. An error where an address can't be one, or where this program was built without object stores.
    pub fn open(
        folders: &BTreeMap<Place, PathBuf>,
        buckets: &BTreeMap<Place, String>,
        vfs: &Arc<dyn Vfs>,
    ) -> Result<Archives, StorageError> {
        let folder = |path: &PathBuf| Arc::new(FolderArchive::new(vfs.clone(), path.clone())) as Arc<dyn Archive>;
        let mut all: BTreeMap<_, _> = folders.iter().map(|(place, path)| (place.clone(), folder(path))).collect();
        for (place, url) in buckets {
            let bucket = bucket(url).map_err(|why| unknown(place, std::io::ErrorKind::InvalidInput, why))?;
            all.insert(place.clone(), bucket);
        }
        Ok(Archives(all))
    }

    /// Adds an archive, or puts it in the place of another.
    pub fn with(mut self, place: Place, archive: Arc<dyn Archive>) -> Archives {
        self.0.insert(place, archive);
        self
    }

    /// Adds others, or puts them in the place of those of the same names.
    pub fn and(mut self, others: &Archives) -> Archives {
        self.0.extend(others.0.clone());
        self
    }

    /// The archive of this name; an error where none is known, which is one of a file that is missing.
    pub fn get(&self, place: &Place) -> Result<&Arc<dyn Archive>, StorageError> {
        self.0.get(place).ok_or_else(|| {
            let why = format!("the archive `{place}` is not known: say where it is in `[archives]`");
            unknown(place, std::io::ErrorKind::NotFound, why)
        })
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this the path of a tenant's file in one of them?
    pub fn holds(&self, tenant: &TenantId, path: &Path) -> bool {
        self.0.values().any(|archive| path.starts_with(archive.folder(tenant)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &Arc<dyn Archive>)> {
        self.0.iter()
    }
}

fn unknown(place: &Place, kind: std::io::ErrorKind, why: String) -> StorageError {
    StorageError::io("open", Path::new(&format!("archive {place}")), std::io::Error::new(kind, why))
}

#[cfg(feature = "object-store")]
fn bucket(url: &str) -> Result<Arc<dyn Archive>, String> {
    use crate::object::{Bucket, Patience};
    let bucket = Bucket::open(url, Patience::Short).map_err(|e| e.to_string())?;
    Ok(Arc::new(BucketArchive::new(bucket)))
}

#[cfg(not(feature = "object-store"))]
fn bucket(_: &str) -> Result<Arc<dyn Archive>, String> {
    Err("this program was built without object stores; name a folder".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        let name = ArchivedName::new(SegmentId(7), &[0xab; 32]);
        assert_eq!(name.as_str(), "0000000000000007-abababababababab.seg");
        assert_eq!(ArchivedName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(name.parts(), (SegmentId(7), [0xab; 8]));
        assert_eq!(ArchivedName::new(SegmentId(1 << 40), &[0xc1; 32]).parts(), (SegmentId(1 << 40), [0xc1; 8]));
        for bad in ["", "../../x.seg", "7-ab.seg", "0000000000000007-ABABABABABABABAB.seg", "0000000000000007.seg"] {
            assert_eq!(ArchivedName::parse(bad), None, "{bad}");
        }
        assert_eq!(ArchivedName::parse(&format!("x/{}", name.as_str())), None);
    }
}
