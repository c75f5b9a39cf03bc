//! Rounds of a random workload, each ended by a crash, a kill or a closing, and what is there after.

mod append;
mod archived;
mod life;
mod look;
mod mend;
pub mod model;
mod records;
mod rules;
pub mod world;

use duramen::verify::{Finding, FindingKind, VerifyOptions, verify_as};
use duramen::vfs::sim::{SIM_OPS, SimFault, SimOp, SimVfs, SyncSkip};
use model::Survives;
use records::{copy_out, read_all};
use std::io::ErrorKind;
use world::{BackedUp, Stop, TENANTS, Trouble, World};

const ROUNDS_MAX: u64 = 4;
const STEPS: u64 = 14;
/// Operations of the disk in which a round's power loss is looked for; a round has about so many.
const CRASH_WITHIN: u64 = 160;

/// What a seed came to, for sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub crashes: u64,
    pub kills: u64,
    pub twice: u64,
    pub faults: u64,
    pub operations: u64,
    pub refusals: u64,
    pub repairs: u64,
    pub lost: u64,
    /// Bits that were flipped in archives, on copies.
    pub archived: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.twice += other.twice;
        self.faults += other.faults;
        self.operations += other.operations;
        self.refusals += other.refusals;
        self.repairs += other.repairs;
        self.lost += other.lost;
        self.archived += other.archived;
    }
}

/// What a seed does, step by step.
pub fn trace(seed: u64) -> Vec<String> {
    let mut world = World::new(seed);
    world.no_backups = true;
    let ended = rounds(&mut world, &mut Tally::default());
    world.vfs.crash_at(0);
    world.note(format!("{ended:?}"));
    std::mem::take(&mut world.trace)
}

/// Runs a seed; `bug` leaves out syncs. The error says what is wrong, with what was done.
pub fn run(seed: u64, bug: Option<SyncSkip>) -> Result<Tally, String> {
    let mut world = World::new(seed);
    world.vfs.skip_syncs(bug);
    let mut tally = Tally::default();
    let ended = rounds(&mut world, &mut tally);
    let trace = std::mem::take(&mut world.trace);
    // A store that is still open must not work on when nobody looks.
    world.vfs.crash_at(0);
    match ended {
        Ok(()) => Ok(tally),
        Err(Stop::Down) => Err(format!("the power went where none was to go\n{}", trace.join("\n"))),
        Err(Stop::Wrong(what)) => Err(format!("{what}\n{}", trace.join("\n"))),
    }
}

/// Runs one round with no other trouble than that the power goes at an operation; false where the round has fewer.
pub fn run_until(seed: u64, operation: u64) -> Result<bool, String> {
    let mut world = World::new(seed);
    world.vfs.crash_at(operation);
    let ended = (|| {
        match workload(&mut world) {
            Ok(()) | Err(Stop::Down) => {}
            Err(wrong) => return Err(wrong),
        }
        let is_down = world.vfs.is_down();
        let left = world.vfs.after_crash(operation);
        world.vfs.crash_at(0);
        world.store = None;
        recover(&mut world, left, Survives::PowerLoss, &mut Tally::default())?;
        last_look(&mut world).map(|()| is_down)
    })();
    world.vfs.crash_at(0);
    ended.map_err(|stop| format!("{stop:?}\n{}", world.trace.join("\n")))
}

fn rounds(world: &mut World, tally: &mut Tally) -> Result<(), Stop> {
    for round in 1..=1 + world.random.below(ROUNDS_MAX) {
        world.note(format!("round {round}"));
        plan_trouble(world);
        if world.random.below(4) > 0 {
            let at = 1 + world.random.below(CRASH_WITHIN);
            world.note(format!("the power goes {at} operations on"));
            world.vfs.crash_at(at);
        }
        match workload(world) {
            Ok(()) | Err(Stop::Down) => {}
            Err(wrong) => return Err(wrong),
        }
        tally.operations += world.vfs.operations();
        tally.faults += world.vfs.faults();
        let (left, need) = end_round(world, tally)?;
        recover(world, left, need, tally)?;
    }
    last_look(world)
}

/// Asks for a fault of some kind, in about a third of the rounds.
fn plan_trouble(world: &mut World) {
    let random = &mut world.random;
    world.vfs.short(random.below(4) == 0);
    let kind = random.below(15);
    if kind > 5 {
        return;
    }
    let name = TENANTS[random.below(2) as usize];
    let under = World::tenant_dir(name);
    let mut trouble = Trouble::Anywhere;
    let planned = match kind {
        0..=2 => {
            let often = [SimOp::Write, SimOp::Sync, SimOp::Sync];
            let op = match random.coin() {
                true => SIM_OPS[random.below(SIM_OPS.len() as u64) as usize],
                false => often[random.below(3) as usize],
            };
            let error = [ErrorKind::Other, ErrorKind::Other, ErrorKind::StorageFull][random.below(3) as usize];
            let mut fault = SimFault::new(op).after(random.below(25)).kind(error);
            fault = match random.below(4) {
                0 => fault.until_healed(),
                n => fault.times(n),
            };
            if random.coin() {
                fault = fault.under(under);
                trouble = Trouble::Of(name);
            }
            let text = format!("{fault:?}");
            world.vfs.inject(fault);
            text
        }
        3 => {
            let more = random.below(12_000);
            world.vfs.set_space(Some(world.vfs.used_bytes() + more));
            format!("{more} more bytes of room")
        }
        4 => {
            world.vfs.refuse(&under, true);
            trouble = Trouble::Of(name);
            format!("{} is refused", under.display())
        }
        _ => {
            let fault = SimFault::new(SIM_OPS[random.below(2) as usize]).after(random.below(10)).until_healed();
            let text = format!("{fault:?}");
            world.vfs.inject(fault);
            text
        }
    };
    world.trouble = trouble;
    world.note(planned);
}

fn heal(vfs: &SimVfs) {
    vfs.heal();
    vfs.set_space(None);
    vfs.read_only(false);
    for name in TENANTS {
        vfs.refuse(&World::tenant_dir(name), false);
    }
}

fn workload(world: &mut World) -> Result<(), Stop> {
    if world.store.is_none() {
        let opened = world.open_on(&world.vfs, true);
        match world.judge("open", None, opened)? {
            Some(store) => world.store = Some(store),
            None => return Ok(()),
        }
    }
    if world.is_archiving {
        world.set()?;
    }
    for _ in 0..STEPS {
        world.live_by_rules();
        match world.random.below(50) {
            0..=19 => world.append()?,
            40..=42 => world.retry()?,
            43..=44 => world.delete_records()?,
            45..=46 => world.set()?,
            47 => world.change_keys()?,
            48 => world.maintain()?,
            20..=21 => world.make_durable(false)?,
            22..=23 => world.make_durable(true)?,
            24..=26 => world.compact(false)?,
            27..=28 => world.compact(true)?,
            29 => world.maintain()?,
            30 => world.delete_tenant()?,
            31..=32 => world.reopen()?,
            33..=34 => world.read_beside()?,
            35 => world.tail()?,
            37 => world.back_up()?,
            36 if world.trouble != Trouble::None => {
                world.note("healed".into());
                heal(&world.vfs);
            }
            36 => flip(world)?,
            38 if world.random.below(4) == 0 => world.pass_a_day(),
            _ => world.query_some()?,
        }
    }
    Ok(())
}

/// One bit of a segment reads flipped, once, in whatever reads it next: an error or the right answer.
fn flip(world: &mut World) -> Result<(), Stop> {
    let files: Vec<_> = world.vfs.files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg")).collect();
    let Some(file) = files.get(world.random.below(files.len() as u64) as usize) else { return Ok(()) };
    let len = world.vfs.bytes(file).map_or(0, |bytes| bytes.len() as u64);
    let bit = world.random.below(8 * len);
    world.vfs.flip_bit_once(file, bit);
    // A segment that was found damaged is taken for damaged until it is opened anew.
    let of = TENANTS.into_iter().find(|name| file.starts_with(World::tenant_dir(name)));
    world.trouble = world.trouble.and(of.map_or(Trouble::Anywhere, Trouble::Of));
    world.note(format!("bit {bit} of {} is to flip", file.display()));
    if world.random.coin() { world.query_some() } else { world.compact(false) }
}

/// Ends a round, and gives the disk as it is left, with what must be there.
fn end_round(world: &mut World, tally: &mut Tally) -> Result<(SimVfs, Survives), Stop> {
    let how = world.random.below(8);
    if !world.vfs.is_down() && how == 0 {
        // In order.
        heal(&world.vfs);
        world.vfs.short(false);
        if let Some(store) = world.store.take() {
            match world.close(store) {
                Ok(_) | Err(Stop::Down) => {}
                Err(wrong) => return Err(wrong),
            }
        }
        return Ok((world.vfs.after_kill(), Survives::PowerLoss));
    }
    let is_kill = how <= 2;
    let need = if is_kill { Survives::Kill } else { Survives::PowerLoss };
    let seed = world.random.next_u64();
    let left = if is_kill { world.vfs.after_kill() } else { world.vfs.after_crash(seed) };
    world.note(if is_kill { "killed".into() } else { format!("the power is gone, {seed}") });
    (tally.kills, tally.crashes) = (tally.kills + u64::from(is_kill), tally.crashes + u64::from(!is_kill));
    // What is left of the store must do nothing more.
    world.vfs.crash_at(0);
    world.store = None;
    Ok((left, need))
}

/// Opens the store and each tenant, as far as they open.
fn try_open(world: &World, vfs: &SimVfs) {
    if let Ok(store) = world.open_on(vfs, true) {
        for name in TENANTS {
            let _ = store.existing_tenant(name);
        }
        // It does not get to close.
        vfs.crash_at(0);
    }
}

/// Opens what is left, perhaps with more that goes wrong while that is done, and compares.
fn recover(world: &mut World, mut left: SimVfs, mut need: Survives, tally: &mut Tally) -> Result<(), Stop> {
    let trouble = std::mem::replace(&mut world.trouble, Trouble::None);
    for _ in 0..world.random.below(3) {
        // What was only with the system may go now.
        need = Survives::PowerLoss;
        let within = 1 + world.random.below(30);
        if world.random.coin() {
            left.crash_at(within);
            try_open(world, &left);
            let seed = world.random.next_u64();
            left = if world.random.below(3) == 0 { left.after_kill() } else { left.after_crash(seed) };
            world.note(format!("the power goes {within} operations into recovery, {seed}"));
            tally.twice += 1;
        } else {
            let op = SIM_OPS[world.random.below(SIM_OPS.len() as u64) as usize];
            left.inject(SimFault::new(op).after(within / 3));
            try_open(world, &left);
            tally.refusals += left.faults();
            left = left.after_kill();
            world.note(format!("{op:?} fails in recovery after {}", within / 3));
        }
    }
    let (left, lost) = mend::mend(world, left, &mut need, tally)?;
    world.vfs = left;
    world.look_for_deleted()?;
    let store = world.open_on(&world.vfs, true).map_err(|e| format!("does not open: {e}"))?;
    world.store = Some(store.clone());
    world.note("recovered".into());
    if world.backups > 0 {
        let runs = duramen::backup::runs(&world::target(&world.vfs)).map_err(|e| format!("backups: {e}"))?;
        if runs.len() < world.backups {
            return Err(format!("{} backups of {} are there", runs.len(), world.backups).into());
        }
        // More of them are ones that were not said to be there: a loss of power may still take these (seed 200774).
    }
    let names: Vec<&'static str> = world.tenants.keys().copied().collect();
    for name in names {
        if world.tenants.get(name).is_some_and(|model| model.is_half_deleted) {
            if !world.end_deletion(name)? {
                return Err(format!("{name} can't be deleted").into());
            }
            continue;
        }
        let tenant = store.tenant(name).map_err(|e| format!("{name} does not open: {e}"))?;
        let found = read_all(&tenant).map_err(|e| format!("{name} does not answer: {e}"))??;
        let last = tenant.stats().map_err(|e| format!("{name}: {e}"))?.last_seq;
        let Some(model) = world.tenants.get_mut(name) else { continue };
        // A device that failed may have lost what was only with the system.
        let need = if trouble.meets(Some(name)) { Survives::PowerLoss } else { need };
        let lost = lost.iter().filter(|(of, _)| *of == name).flat_map(|(_, lost)| lost);
        let lost: Vec<(u64, u64)> = lost.copied().collect();
        model.recover(&found, last, need, &lost).map_err(|e| format!("{name}, recovered: {e}"))?;
        world.recover_settings(name).map_err(|e| format!("{name}, recovered: {e}"))?;
        if world.random.coin() {
            // Once more, with all that was kept in memory.
            world.query_all(name)?;
        }
    }
    Ok(())
}

/// Closes the store in order; then nothing in its files is wrong, and all of it is there.
fn last_look(world: &mut World) -> Result<(), Stop> {
    world.reopen()?;
    let names: Vec<&'static str> = world.tenants.keys().copied().collect();
    for name in names {
        world.query_all(name)?;
    }
    // Which also removes what a crash left in the archive.
    world.maintain()?;
    let Some(store) = world.store.take() else { return Ok(()) };
    store.close().map_err(|e| format!("close: {e}"))?;
    world.look_at_archive()?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    copy_out(&world.vfs, folder.path()).map_err(|e| e.to_string())?;
    let mut options = VerifyOptions::default();
    (options.deep, options.master_key) = (true, world.options.master_key.clone());
    options.archives.extend(duramen::policy::Place::new("cold").map(|cold| (cold, folder.path().join("cold"))));
    let report = verify_as(&[folder.path().join("store")], &options);
    // Whether a tenant was deleted, or its folder went otherwise, is for people to say who know what the log forgot.
    let is_forgotten = |finding: &&Finding| {
        let is_folder = finding.file.parent().is_some_and(|above| above.ends_with("store/tenants"));
        world.forgets_deletions && finding.kind == FindingKind::Missing && is_folder
    };
    if let Some(finding) = report.findings.iter().find(|finding| !is_forgotten(finding)) {
        return Err(format!("after closing: {finding}").into());
    }
    match world.backed_up.take() {
        Some(held) => restore(world, held).map_err(|e| format!("restored: {e}").into()),
        None => Ok(()),
    }
}

/// Restores the last backup, and compares it with what the store held then.
fn restore(world: &World, (at, held): BackedUp) -> Result<(), String> {
    let target = world::target(&world.vfs);
    let report = duramen::backup::check(&target).map_err(|e| e.to_string())?;
    if let Some(finding) = report.findings.first() {
        return Err(finding.clone());
    }
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = folder.path().join("store");
    let mut options = duramen::backup::RestoreOptions::default();
    options.at = Some(at);
    options.store.master_key = world.options.master_key.clone();
    duramen::backup::restore(&target, &data, &options).map_err(|e| e.to_string())?;
    let mut options = duramen::Options::default();
    options.master_key = world.options.master_key.clone();
    let store = duramen::Store::open_read_only_with(&data, options).map_err(|e| e.to_string())?;
    for (name, mut model) in held {
        let tenant = store.existing_tenant(name).map_err(|e| format!("{name}: {e}"))?;
        model.beside(&read_all(&tenant)??, Some(Survives::PowerLoss)).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}
