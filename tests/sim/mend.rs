//! Damage to files while nothing runs, and repair: what it says is lost is lost, and nothing else.

use super::Tally;
use super::model::Survives;
use super::world::{COLD, DIR, Stop, World};
use duramen::archive::Archives;
use duramen::repair::{RepairOptions, RepairReport, repair_on};
use duramen::vfs::Vfs;
use duramen::vfs::sim::SimVfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Operations of the disk in which a repair's power loss is looked for.
const CRASH_WITHIN: u64 = 40;

/// What a repair said is lost of a tenant, in ranges of Seqs.
pub type Lost = Option<(&'static str, Vec<(u64, u64)>)>;

fn repair(world: &World, vfs: &SimVfs, dry_run: bool) -> Result<RepairReport, String> {
    let mut options = RepairOptions::default();
    options.dry_run = dry_run;
    options.master_key = world.options.master_key.clone();
    let vfs = Arc::new(vfs.clone()) as Arc<dyn Vfs>;
    let policy = &world.options.policy;
    let archives = Archives::open(policy.archives(), policy.archive_buckets(), &vfs);
    options.archives = archives.map_err(|e| e.to_string())?;
    repair_on(&vfs, Path::new(DIR), &options).map_err(|e| e.to_string())
}

fn ranges(report: &RepairReport) -> Vec<(u64, u64)> {
    report.lost.iter().flat_map(|loss| &loss.seqs).map(|(first, last)| (first.0, last.0)).collect()
}

/// Flips bits of a tenant's files, perhaps none, and repairs the store, perhaps with losses of power in between. `need`
/// is what had to survive up to here.
pub fn mend(
    world: &mut World,
    mut left: SimVfs,
    need: &mut Survives,
    tally: &mut Tally,
) -> Result<(SimVfs, Lost), Stop> {
    let is_store = left.exists(&Path::new(DIR).join("tenants")).is_ok_and(|is| is);
    let control = Path::new(DIR).join("control.log");
    let ends = left.bytes(&control).unwrap_or_default();
    if ends.ends_with(&[0]) && !ends.ends_with(&[0, 0]) && is_store {
        // All but the last byte of a frame: that may be damage as well, and is refused.
        repair(world, &left, false)?;
        world.note("the control log is repaired".into());
    }
    let tenants: Vec<&'static str> =
        world.tenants.iter().filter(|(_, m)| !m.is_half_deleted).map(|(n, _)| *n).collect();
    let name = tenants.get(world.random.below(tenants.len() as u64) as usize).copied();
    for name in tenants.iter().filter(|_| is_store) {
        tally.archived += u64::from(world.look_at_archived(&left, name)?);
    }
    let is_asked = world.random.below(if world.is_archiving { 2 } else { 4 }) == 0;
    let Some(name) = name.filter(|_| is_asked && is_store) else {
        return Ok((left, None));
    };
    look_at_keys(world, &left, name)?;
    let salt = |left: &SimVfs| left.bytes(&control).and_then(|bytes| bytes.get(16..24).map(<[u8]>::to_vec));
    let salt_before = salt(&left);
    let damaged = damage(world, &left, name);
    if damaged.iter().any(|(path, _)| path.ends_with("control.log")) {
        // Any decision may be lost.
        world.forgets_deletions = true;
        world.tenants.values_mut().for_each(|model| model.may_lose_settings = true);
    }
    if damaged.iter().any(|(path, _)| path.to_string_lossy().contains(".log")) {
        // A last frame that no mark follows can't be told from one that a crash tore.
        if let Some(model) = world.tenants.get_mut(name) {
            let sealed = duramen::manifest::open_read_only(
                &left,
                &World::tenant_dir(name).join("manifest"),
                &duramen::TenantId::new(name).map_err(|e| e.to_string())?,
            );
            let sealed = sealed.map_or(0, |(version, _)| version.sealed_below.0);
            let in_log = model.batches.values_mut().filter(|batch| batch.last().is_none_or(|last| last > sealed));
            in_log.for_each(|batch| batch.survives = Survives::Nothing);
        }
    }
    let is_manifest = |path: &Path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("manifest"));
    if damaged.iter().any(|(path, _)| is_manifest(path)) {
        // What entries that are lost let go may come back with files whose removal the power took.
        world.tenants.entry(name).or_default().batches.values_mut().for_each(|batch| batch.may_return = true);
    }
    if damaged.iter().any(|(path, _)| path.ends_with("receipts")) {
        world.tenants.entry(name).or_default().batches.values_mut().for_each(|batch| batch.is_keyed = false);
        world.tenants.entry(name).or_default().lost.clear();
    }
    let dry = repair(world, &left.after_kill(), true)?;
    let mut is_crashed = false;
    for _ in 0..world.random.below(3) {
        let within = 1 + world.random.below(CRASH_WITHIN);
        left.crash_at(within);
        let _ = repair(world, &left, false);
        let seed = world.random.next_u64();
        left = if world.random.below(3) == 0 { left.after_kill() } else { left.after_crash(seed) };
        world.note(format!("the power goes {within} operations into a repair, {seed}"));
        (*need, is_crashed) = (Survives::PowerLoss, true);
        tally.twice += 1;
    }
    let report = repair(world, &left, false)?;
    // What else the report says has random bytes in it where the tenant is encrypted.
    world.note(format!("repaired, {} actions, lost {:?}", report.actions.len(), ranges(&report)));
    tally.repairs += 1;
    // Backups know the store by the salt, which may be what was damaged.
    world.no_backups |= salt(&left) != salt_before;
    tally.lost += report.records_lost();
    // Of a tenant whose deletion began, and of which the control log does not say so any more, the keys may be gone.
    let is_half = |name: &Option<String>| {
        world.tenants.iter().any(|(of, model)| model.is_half_deleted && name.as_deref() == Some(*of))
    };
    if let Some(failure) = dry.failures.iter().chain(&report.failures).find(|failure| !is_half(&failure.tenant)) {
        return Err(Stop::Wrong(format!("repair of {:?}: {}", failure.tenant, failure.error)));
    }
    let (said, found) = (ranges(&dry), ranges(&report));
    if !is_crashed && said != found {
        return Err(Stop::Wrong(format!("a dry run says that {said:?} are lost, and a repair {found:?}: {dry}")));
    }
    if let Some(other) = dry.lost.iter().chain(&report.lost).find(|loss| loss.tenant != name) {
        return Err(Stop::Wrong(format!("{name} was damaged, and a repair says: {other}")));
    }
    let again = repair(world, &left, false)?;
    // Of a simulated disk sled keeps no view: it is always made anew.
    let is_view = |action: &duramen::repair::Action| action.file.ends_with("catalog");
    let is_failed = again.failures.iter().any(|failure| !is_half(&failure.tenant));
    if !again.lost.is_empty() || is_failed || !again.actions.iter().all(is_view) {
        return Err(Stop::Wrong(format!("a second repair finds: {again}")));
    }
    // What is set aside is what was there, and durable.
    let seed = world.random.next_u64();
    let after = left.after_crash(seed);
    for (path, bytes) in damaged.iter().filter(|_| !is_crashed) {
        let copies = report.actions.iter().filter(|a| a.file == *path && !a.what.contains("cut off"));
        for copy in copies.filter_map(|action| action.quarantined.as_ref()) {
            if left.bytes(path).is_none() && after.bytes(copy).as_ref() != Some(bytes) {
                return Err(Stop::Wrong(format!("{} is no copy of {}", copy.display(), path.display())));
            }
        }
    }
    // Segments and logs have all that there was: what is said to be lost was let go by entries that are cut off, or is of
    // frames that did not have to survive and of which a loss of power left a later one.
    let is_only_manifest = damaged.iter().all(|(path, _)| is_manifest(path));
    let had_to_survive = |seq: u64| {
        let mut committed = world.tenants.get(name).into_iter().flat_map(|model| model.committed());
        committed.any(|(_, batch)| batch.survives >= *need && batch.first <= Some(seq) && batch.last() >= Some(seq))
    };
    let mut lost: Vec<(u64, u64)> = said.into_iter().chain(found).collect();
    if is_only_manifest {
        let seqs = lost.into_iter().flat_map(|(first, last)| first..=last);
        lost = seqs.filter(|seq| !had_to_survive(*seq)).map(|seq| (seq, seq)).collect();
    }
    Ok((left, Some((name, lost))))
}

/// A bit of a tenant's keys that is flipped: it is refused, nothing of it is changed, and the others are as they were.
fn look_at_keys(world: &mut World, left: &SimVfs, name: &'static str) -> Result<(), Stop> {
    let dir = World::tenant_dir(name);
    let key = dir.join("key");
    // Where a crash came before its manifest, there is no tenant yet.
    let is_tenant = left.bytes(&dir.join("manifest")).is_some();
    let len = left.bytes(&key).map(|bytes| bytes.len() as u64).filter(|_| world.random.below(4) == 0);
    let Some(len) = len.filter(|_| is_tenant) else { return Ok(()) };
    let (left, bit) = (left.after_kill(), world.random.below(8 * len));
    let before: Vec<(PathBuf, Option<Vec<u8>>)> = tenant_files(&left, name);
    if !left.damage(&key, bit) {
        return Ok(());
    }
    let what = format!("bit {bit} of the keys of {name} is flipped");
    let report = repair(world, &left, false).map_err(|e| format!("{what}: {e}"))?;
    let is_told = report.failures.iter().any(|failure| failure.tenant.as_deref() == Some(name));
    let is_acted = report.actions.iter().any(|action| action.tenant.as_deref() == Some(name));
    if !is_told || is_acted || !report.lost.is_empty() {
        return Err(Stop::Wrong(format!("{what}: {report}")));
    }
    let store = world.open_on(&left, true).map_err(|e| format!("{what}: {e}"))?;
    for (other, model) in &world.tenants {
        let opened = store.tenant(other);
        if opened.is_ok() != (*other != name) && !model.is_half_deleted {
            return Err(Stop::Wrong(format!("{what}: {other}: {:?}", opened.err())));
        }
    }
    left.crash_at(0);
    drop(store);
    let mut after = tenant_files(&left, name);
    left.damage(&key, bit);
    after.iter_mut().filter(|(path, _)| *path == key).for_each(|(_, bytes)| *bytes = left.bytes(&key));
    match before == after {
        true => Ok(()),
        false => Err(Stop::Wrong(format!("{what}, and its files change"))),
    }
}

fn tenant_files(vfs: &SimVfs, name: &str) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let files = vfs.files().into_iter().filter(|path| path.starts_with(World::tenant_dir(name)));
    files.map(|path| (path.clone(), vfs.bytes(&path))).collect()
}

/// Flips up to two bits in files of a tenant, or in the control log, and may cut the manifest; gives these files as they are
/// then.
fn damage(world: &mut World, left: &SimVfs, name: &'static str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = World::tenant_dir(name);
    let mut damaged: Vec<PathBuf> = Vec::new();
    let manifest = dir.join("manifest");
    let bytes = left.bytes(&manifest).filter(|_| world.random.below(8) == 0).unwrap_or_default();
    if !bytes.is_empty() {
        let at = world.random.below(bytes.len() as u64);
        left.put(&manifest, &bytes[..at as usize]);
        world.note(format!("all behind byte {at} of {} is cut off", manifest.display()));
        damaged.push(manifest);
    }
    for _ in 0..world.random.below(3) {
        let is_of = |path: &PathBuf| {
            let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
            let is_known = [".seg", ".log", ".idx"].iter().any(|end| file.ends_with(end));
            // Nothing brings back a tenant whose keys are lost.
            let is_archived = path.starts_with(Path::new(COLD).join(name));
            is_archived
                || path.starts_with(&dir)
                    && !path.starts_with(dir.join("quarantine"))
                    && (is_known || file == "receipts" || file == "archived" || file.starts_with("manifest"))
                || *path == Path::new(DIR).join("control.log")
        };
        let mut files: Vec<PathBuf> = left.files().into_iter().filter(is_of).collect();
        let segments = files.iter().filter(|file| file.extension().is_some_and(|e| e == "seg")).count();
        if segments > 0 && world.random.below(3) > 0 {
            files.retain(|file| file.extension().is_some_and(|e| e == "seg"));
        }
        let Some(file) = files.get(world.random.below(files.len() as u64) as usize) else { continue };
        let len = left.bytes(file).map_or(0, |bytes| bytes.len() as u64);
        let bit = world.random.below(8 * len);
        if left.damage(file, bit) {
            world.note(format!("bit {bit} of {} is flipped on the disk", file.display()));
            damaged.push(file.clone());
        }
    }
    damaged.sort();
    damaged.dedup();
    damaged.into_iter().map(|path| (path.clone(), left.bytes(&path).unwrap_or_default())).collect()
}
