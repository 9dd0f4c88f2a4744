//! Before a simulation and after it: two repositories are made, and at the end, when nothing goes
//! wrong any more, everything is held against what ought to be.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Silent};
use lifeboat_repository::MasterKey;
use lifeboat_repository::check::{CheckOptions, ReadData, Severity, check};
use lifeboat_repository::lock::LockKind;
use lifeboat_tiers::ObjectPath;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::actor::{Actor, Stage};
use super::disk::{DiskId, Process, SimTier};
use super::reader::{self, Reading};
use super::tally::Tally;
use super::tasks::{Task, Thoroughness};
use super::weather::Weather;
use super::world::{ActorId, World};
use super::wreck;
use super::{Remains, Scene, tiers};
use crate::place;

/// How many backups there are at most when a simulation begins.
const BEFORE_MAX: usize = 4;

/// Longer than any lock of a dead process stands in the way.
const NIGHT: Duration = Duration::from_hours(2);

/// Makes a repository on each disk, and a few backups, before the weather turns.
pub(super) fn prepare(stage: &Stage, rng: &mut StdRng) -> Result<(), String> {
    let world = Arc::new(World::new(0, 1, Weather::CALM));
    // A seed of its own, so that nobody does later what was done here.
    let calm = Stage {
        seed: stage.seed.rotate_left(32),
        world,
        ..Stage::new(stage.scene, stage.seed, stage.keys)
    };
    for disk in stage.disks() {
        let process = Arc::new(Process::new(ActorId(0), None));
        let store = place::store(Arc::new(SimTier::new(&calm.world, &process, disk)));
        let key = MasterKey::from_bytes(&stage.keys[disk.0]);
        place::init_with(store, Some(key)).map_err(|error| error.to_string())?;
    }
    calm.world.lock().trace.lines = stage.world.lock().trace.lines.take();
    let mut actor = Actor::new(&calm, ActorId(0));
    for _ in 0..rng.random_range(0..=BEFORE_MAX) {
        actor.perform(Task::Backup(DiskId(0)))?;
    }
    let (mut before, mut after) = (calm.world.lock(), stage.world.lock());
    std::mem::swap(&mut before.disks, &mut after.disks);
    after.now = before.now;
    after.trace.lines = before.trace.lines.take();
    drop((before, after));
    *stage.model() = std::mem::take(&mut *calm.model());
    Ok(())
}

/// Lets the night pass, looks at everything, makes sure that work goes on, and then wrecks a disk.
pub(super) fn judge(stage: &Stage, rng: &mut StdRng) -> Result<Remains, String> {
    let calm = calm_down(stage);
    if calm.scene == Scene::Tiers {
        tiers::converge(&calm)?;
    }
    let remains = go_on(&calm).and_then(|remains| {
        // Only what happens in bad weather counts, and what comes now.
        calm.world.lock().tally = Tally::default();
        wreck::wreck_and_repair(&calm, DiskId(0), rng)?;
        Ok(remains)
    });
    let mut after = calm.world.lock();
    // What followed took place in a world of its own; it belongs to the story.
    let (lines, digest, tally) = (after.trace.lines.take(), after.trace.digest(), after.tally);
    let mut story = stage.world.lock();
    story.trace.lines = lines;
    story.tally.add(&tally);
    story.trace.note(|| format!("afterwards {digest}"));
    remains
}

/// Looks at everything, and makes sure that work goes on.
fn go_on(calm: &Stage) -> Result<Remains, String> {
    let mut remains = Remains::default();
    for disk in calm.disks() {
        clear_torn(calm, disk)?;
        let reading = look(calm, disk)?;
        remains.snapshots += reading.snapshots.len();
        remains.orphans += reading.orphans.len();
        remains.unneeded += reading.unneeded;
        let mut actor = Actor::new(calm, ActorId(0));
        for task in [
            Task::Backup(disk),
            Task::Check(disk, LockKind::Exclusive),
            Task::Prune(disk, Thoroughness::Full),
            Task::Read(disk),
        ] {
            let done = actor.perform(task)?;
            if !done {
                return Err(format!("{task:?} is not possible any more"));
            }
        }
        let reading = look(calm, disk)?;
        if !reading.orphans.is_empty() || reading.unneeded > 0 {
            let (orphans, unneeded) = (reading.orphans, reading.unneeded);
            return Err(format!(
                "a prune left {unneeded} blobs and {orphans:?} on disk {}",
                disk.0
            ));
        }
        refuse_locks(calm, disk)?;
    }
    Ok(remains)
}

/// Makes sure that no lock is left.
fn refuse_locks(calm: &Stage, disk: DiskId) -> Result<(), String> {
    let locks = calm.world.lock().disks[disk.0].contents();
    let is_lock =
        |path: &&ObjectPath| path.as_str().starts_with("locks/") && path.file_name().len() == 64;
    match locks.keys().find(is_lock) {
        Some(path) => Err(format!("{path} is left behind on disk {}", disk.0)),
        None => Ok(()),
    }
}

/// Returns a world in which only the disks are left, and nothing goes wrong.
fn calm_down(stage: &Stage) -> Stage {
    let world = World::new(stage.seed, 1, Weather::CALM);
    let mut old = stage.world.lock();
    let mut new = world.lock();
    new.now = old.now;
    new.advance(NIGHT);
    new.trace.lines = old.trace.lines.take();
    for (new, old) in new.disks.iter_mut().zip(&mut old.disks) {
        std::mem::swap(new, old);
        new.free();
    }
    drop((new, old));
    let model = std::mem::take(&mut *stage.model());
    // Another seed, so that nobody does again what was done before.
    let (keys, scene) = (stage.keys, stage.scene);
    Stage { seed: !stage.seed, world: Arc::new(world), model: model.into(), keys, scene }
}

/// Removes by hand what a disk that lies left half-written; the check must have named it.
pub(super) fn clear_torn(stage: &Stage, disk: DiskId) -> Result<(), String> {
    let torn = std::mem::take(&mut stage.world.lock().disks[disk.0].torn);
    if torn.is_empty() {
        return Ok(());
    }
    let named = named_damage(stage, disk)?;
    let reading = reader::read(&stage.world.lock().disks[disk.0].contents(), &stage.keys[disk.0]);
    for path in &torn {
        let is_read = reading.damage.iter().any(|(damaged, _)| damaged == path.as_str());
        if is_read && !named.iter().any(|object| object.contains(path.file_name())) {
            return Err(format!("{path} was torn, and the check does not name it: {named:?}"));
        }
        stage.world.lock().disks[disk.0].remove(path);
    }
    Ok(())
}

/// Returns the objects that a check finds damaged.
pub(super) fn named_damage(stage: &Stage, disk: DiskId) -> Result<Vec<String>, String> {
    let process = Arc::new(Process::new(ActorId(0), None));
    let tier = SimTier::new(&stage.world, &process, disk);
    let store = place::store(Arc::new(tier)).with_requests_max(NonZeroUsize::MIN);
    let repository = place::open(store).map_err(|error| error.to_string())?;
    let options = CheckOptions { data: ReadData::All };
    let report = check(&repository, &options, &Silent, &Cancel::new());
    let report = report.map_err(|error| error.to_string())?;
    let errors = report.findings.into_iter().filter(|f| f.severity == Severity::Error);
    Ok(errors.map(|finding| finding.object).collect())
}

/// Reads a disk in both ways and holds it against what ought to be.
pub(super) fn look(stage: &Stage, disk: DiskId) -> Result<Reading, String> {
    let reading = reader::read(&stage.world.lock().disks[disk.0].contents(), &stage.keys[disk.0]);
    if !reading.damage.is_empty() {
        return Err(format!("disk {}: {:?}", disk.0, reading.damage));
    }
    stage.model().judge(disk, &reading)?;
    let named = named_damage(stage, disk)?;
    if named.is_empty() { Ok(reading) } else { Err(format!("only the check finds {named:?}")) }
}
