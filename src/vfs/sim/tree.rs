//! Which names there are, and the changes to them that were not synced.

use super::SimRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The folder that all paths begin at.
pub(super) const ROOT: u64 = 0;

/// What a name stands for. Files and folders have their numbers from one counter, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Folder(u64),
}

impl Node {
    fn number(self) -> u64 {
        match self {
            Node::File(n) | Node::Folder(n) => n,
        }
    }
}

/// A name in a folder.
pub(super) type Place = (u64, String);

/// The entries of each folder, also of those that have no name any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    folders: BTreeMap<u64, BTreeMap<String, Node>>,
}

impl Tree {
    pub(super) fn entries(&self, folder: u64) -> impl Iterator<Item = (&String, Node)> {
        self.folders.get(&folder).into_iter().flatten().map(|(name, node)| (name, *node))
    }

    pub(super) fn at(&self, (folder, name): &Place) -> Option<Node> {
        self.folders.get(folder)?.get(name).copied()
    }

    /// What a path stands for.
    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Folder(ROOT);
        for name in names(path) {
            let Node::Folder(folder) = node else { return None };
            node = self.at(&(folder, name))?;
        }
        Some(node)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.find(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn folder(&self, path: &Path) -> io::Result<u64> {
        match self.find(path) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The folder that a path's last name is in, which must exist, and that name.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let name = names(path).last().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// All files, with their paths.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        self.files_below(ROOT, Path::new("/"), &mut found);
        found
    }

    fn files_below(&self, folder: u64, path: &Path, found: &mut Vec<(PathBuf, u64)>) {
        for (name, node) in self.entries(folder) {
            match node {
                Node::File(inode) => found.push((path.join(name), inode)),
                Node::Folder(below) => self.files_below(below, &path.join(name), found),
            }
        }
    }
}

/// The names that a path consists of.
pub(super) fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

/// A name that came, went, or moved. It is one step: no crash shows half of a rename.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) node: Node,
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
}

impl NameChange {
    pub(super) fn apply(&self, tree: &mut Tree) {
        if let Some((folder, name)) = &self.from
            && tree.at(&(*folder, name.clone())) == Some(self.node)
            && let Some(entries) = tree.folders.get_mut(folder)
        {
            entries.remove(name);
        }
        if let Some((folder, name)) = &self.to {
            tree.folders.entry(*folder).or_default().insert(name.clone(), self.node);
        }
    }

    fn is_in(&self, folder: u64) -> bool {
        [&self.from, &self.to].into_iter().flatten().any(|(in_folder, _)| *in_folder == folder)
    }
}

/// Makes the names in a folder durable, and what had to come before them.
pub(super) fn sync_names(changes: &mut Vec<NameChange>, folder: u64, durable: &mut Tree) {
    let mut synced = BTreeSet::new();
    // Backwards, so that what a synced change rests on goes with it: where the file had come from.
    let mut is_synced = vec![false; changes.len()];
    for (n, change) in changes.iter().enumerate().rev() {
        if change.is_in(folder) || synced.contains(&change.node.number()) {
            synced.insert(change.node.number());
            is_synced[n] = true;
        }
    }
    let mut n = 0;
    changes.retain(|change| {
        n += 1;
        if is_synced[n - 1] {
            change.apply(durable);
        }
        !is_synced[n - 1]
    });
}

/// The names that are there after the power went.
pub(super) fn names_after_crash(durable: &Tree, changes: &[NameChange], random: &mut SimRandom) -> Tree {
    let mut tree = durable.clone();
    let how = random.below(4);
    let kept = random.index(changes.len() + 1);
    let mut lost = BTreeSet::new();
    for (n, change) in changes.iter().enumerate() {
        let survives = match how {
            0 => false,
            1 => true,
            // As a journal that is replayed up to some moment.
            2 => n < kept,
            // In any order, but each file's own.
            _ => !lost.contains(&change.node.number()) && random.coin(),
        };
        if survives {
            change.apply(&mut tree);
        } else {
            lost.insert(change.node.number());
        }
    }
    tree
}
