//! What the simulated file system promises itself.

use super::*;
use crate::vfs::{Vfs, VfsFile};

fn disk() -> SimVfs {
    let vfs = SimVfs::seeded(1);
    vfs.create_dir_all(Path::new("/d")).expect("a folder");
    vfs
}

fn file(vfs: &SimVfs, path: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = vfs.create(Path::new(path)).expect("a file");
    file.write_all_at(0, bytes).expect("written");
    file
}

/// What the file holds after each of many crashes, without doubles.
fn states(vfs: &SimVfs, path: &str) -> Vec<Option<Vec<u8>>> {
    let mut all: Vec<_> = (0..4000).map(|seed| vfs.after_crash(seed).read(Path::new(path)).ok()).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_go_or_tear() {
    let vfs = disk();
    let f = file(&vfs, "/d/f", b"old.");
    assert!(states(&vfs, "/d/f").contains(&None));
    f.sync().expect("synced");
    // Its bytes are durable, its name is not.
    assert_eq!(states(&vfs, "/d/f"), [None, Some(b"old.".to_vec())]);
    vfs.sync_dir(Path::new("/d")).expect("synced");
    assert_eq!(states(&vfs, "/d/f"), [Some(b"old.".to_vec())]);
    f.write_all_at(0, b"new").expect("written");
    f.write_all_at(4, b"more").expect("written");
    let found = states(&vfs, "/d/f");
    for some in ["old.", "new.", "new.more", "old.more", "ned."] {
        assert!(found.contains(&Some(some.as_bytes().to_vec())), "{some}");
    }
    assert!(found.iter().flatten().all(|f| f.len() <= 8 && f[3] == b'.'), "{found:?}");
    f.sync().expect("synced");
    assert_eq!(states(&vfs, "/d/f"), [Some(b"new.more".to_vec())]);
}

#[test]
fn names_change_in_any_order_but_a_files_own() {
    let vfs = disk();
    for name in ["/d/a", "/d/b"] {
        file(&vfs, name, name.as_bytes()).sync().expect("synced");
    }
    vfs.sync_dir(Path::new("/d")).expect("synced");
    vfs.rename(Path::new("/d/a"), Path::new("/d/c")).expect("renamed");
    vfs.rename(Path::new("/d/c"), Path::new("/d/e")).expect("renamed");
    vfs.remove(Path::new("/d/b")).expect("removed");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let names: Vec<String> = vfs.after_crash(seed).files().iter().map(|f| f.display().to_string()).collect();
        seen.insert(names.join(" "));
    }
    let expect = ["/d/a", "/d/a /d/b", "/d/b /d/c", "/d/b /d/e", "/d/c", "/d/e"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expect);
    vfs.sync_dir(Path::new("/d")).expect("synced");
    assert_eq!(vfs.after_crash(0).files(), [PathBuf::from("/d/e")]);
}

#[test]
fn a_folder_without_a_durable_name_goes_with_all_in_it() {
    let vfs = disk();
    vfs.create_dir_all(Path::new("/d/x/y")).expect("folders");
    file(&vfs, "/d/x/y/f", b"f").sync().expect("synced");
    for folder in ["/d/x/y", "/d/x"] {
        vfs.sync_dir(Path::new(folder)).expect("synced");
        assert!(states(&vfs, "/d/x/y/f").contains(&None), "{folder}");
    }
    vfs.sync_dir(Path::new("/d")).expect("synced");
    assert_eq!(states(&vfs, "/d/x/y/f"), [Some(b"f".to_vec())]);
    // Removed name by name, and made anew: what was in the old one is not in the new one.
    vfs.remove_dir_all(Path::new("/d/x")).expect("removed");
    vfs.create_dir_all(Path::new("/d/x/y")).expect("folders");
    file(&vfs, "/d/x/y/g", b"g").sync().expect("synced");
    for seed in 0..400 {
        let left = vfs.after_crash(seed).files();
        assert!(left.len() <= 1, "{left:?}");
    }
}

#[test]
fn a_failed_sync_may_lose_what_a_later_one_does_not_bring_back() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let vfs = SimVfs::seeded(seed);
        vfs.create_dir_all(Path::new("/d")).expect("a folder");
        let f = file(&vfs, "/d/f", b"");
        vfs.sync_dir(Path::new("/d")).expect("synced");
        f.write_all_at(0, b"bytes").expect("written");
        vfs.inject(SimFault::new(SimOp::Sync).after(1).under("/d"));
        f.sync().expect("synced");
        f.write_all_at(0, b"other").expect("written");
        f.sync().expect_err("a fault");
        assert_eq!(vfs.faults(), 1);
        let seen = vfs.read(Path::new("/d/f")).expect("readable");
        f.sync().expect("synced");
        let left = vfs.after_crash(0).read(Path::new("/d/f")).expect("there");
        outcomes.insert(format!("{} {}", String::from_utf8_lossy(&seen), String::from_utf8_lossy(&left)));
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["bytes bytes", "other bytes", "other other"]);
}

#[test]
fn without_room_a_write_is_done_in_part_and_no_file_is_made() {
    let vfs = disk();
    let f = file(&vfs, "/d/f", b"1234");
    vfs.set_space(Some(6));
    assert!(f.write_all_at(4, b"5678").expect_err("full").is_out_of_space());
    assert_eq!(vfs.read(Path::new("/d/f")).expect("readable"), b"123456");
    assert!(vfs.create(Path::new("/d/g")).expect_err("full").is_out_of_space());
    assert!(f.allocate(100).expect_err("full").is_out_of_space());
    // What is there already needs no room.
    f.write_all_at(0, b"abcdef").expect("written");
    vfs.set_space(None);
    f.allocate(100).expect("room");
    assert_eq!(f.len().expect("a length"), 100);
}

#[test]
fn short_reads_and_writes_are_made_whole() {
    let vfs = disk();
    vfs.short(true);
    let bytes: Vec<u8> = (0..2000u32).map(|n| n as u8).collect();
    let before = vfs.operations();
    file(&vfs, "/d/f", &bytes);
    assert!(vfs.operations() > before + 3, "it took several writes");
    assert_eq!(vfs.read(Path::new("/d/f")).expect("readable"), bytes);
}

#[test]
fn bits_flip_once_or_for_good() {
    let vfs = disk();
    file(&vfs, "/d/f", b"\0\0");
    let read = || vfs.read(Path::new("/d/f")).expect("readable");
    vfs.flip_bit_once(Path::new("/d/f"), 9);
    assert_eq!((read(), read()), (vec![0, 2], vec![0, 0]));
    assert!(vfs.damage(Path::new("/d/f"), 0) && !vfs.damage(Path::new("/d/f"), 16));
    assert_eq!((read(), read()), (vec![1, 0], vec![1, 0]));
}

#[test]
fn what_is_refused_stays_so_until_it_is_not() {
    let vfs = disk();
    vfs.create_dir_all(Path::new("/d/x")).expect("a folder");
    let f = file(&vfs, "/d/x/f", b"f");
    vfs.refuse(Path::new("/d/x"), true);
    let denied = |e: crate::error::StorageError| e.to_string().contains("permission denied");
    assert!(vfs.open(Path::new("/d/x/f")).is_err_and(denied));
    assert!(vfs.list(Path::new("/d/x")).is_err_and(denied));
    assert!(vfs.create(Path::new("/d/x/g")).is_err_and(denied));
    assert!(vfs.exists(Path::new("/d/x/f")).is_err_and(denied));
    assert!(vfs.exists(Path::new("/d/x")).expect("seen"));
    f.write_all_at(0, b"open").expect("what is open stays so");
    vfs.refuse(Path::new("/d/x"), false);
    assert_eq!(vfs.read(Path::new("/d/x/f")).expect("readable"), b"open");
    vfs.read_only(true);
    assert!(f.write_all_at(0, b"x").is_err() && f.sync().is_err() && vfs.remove(Path::new("/d/x/f")).is_err());
}
