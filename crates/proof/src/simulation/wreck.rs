//! What a failing disk loses at the end of a simulation, and how much of it comes back.
//!
//! # Invariants
//!
//! - A check names what is damaged.
//! - Nothing reads wrong, nor is restored wrong; what needs nothing of what is lost reads as it should.
//! - A prune removes nothing while something that is needed lacks.
//! - A lost index comes back whole. Of damaged packs everything is saved that can be read, and the
//!   repaired snapshots have what is left; snapshots that can be read are not touched.

use std::path::Path;

use lifeboat_model::{Classify as _, ErrorKind, Silent, SnapshotId};
use lifeboat_repository::check::explain;
use lifeboat_repository::lock::{LockGuard, LockKind};
use lifeboat_repository::prune::{self, PruneOptions};
use lifeboat_repository::repair::{
    DamagedSnapshots, PacksToMend, PacksToRead, repair_index, repair_packs, repair_snapshots,
};
use lifeboat_repository::restore::{RestoreOptions, restore};
use lifeboat_tiers::ObjectPath;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::actor::{Actor, Stage};
use super::disk::DiskId;
use super::reader::{self, Found, Reading};
use super::tally::Deed;
use super::tasks::{Run, Trouble, read_snapshot};
use super::verdict::named_damage;
use super::world::ActorId;

/// How many packs are lost at most.
const PACKS_MAX: usize = 3;

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It is not there any more.
    Gone,
    /// Its end is not there any more.
    Cut,
    /// One of its bytes is another one.
    Rotten,
}

/// What is repaired first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Index,
    Packs,
}

/// Damages a disk, looks at what is left, and repairs it.
pub(super) fn wreck_and_repair(
    stage: &Stage,
    disk: DiskId,
    rng: &mut StdRng,
) -> Result<(), String> {
    let before = read(stage, disk);
    let lost = wreck(stage, disk, rng);
    let damaged = read(stage, disk);
    let what = format!("after {lost:?}");
    let wreck = Wreck { stage, disk, before, damaged };
    let mut actor = Actor::new(stage, ActorId(0));
    let run = actor.begin(None);
    let looked = wreck.look(&run).map_err(|trouble| tell(&trouble));
    run.end();
    looked.map_err(|error| format!("{what}: {error}"))?;
    // A prune reads no data, so what rots in it is seen by those alone who read it.
    let rots = lost.iter().any(|(_, loss)| *loss == Loss::Rotten);
    let first = if rng.random() { First::Index } else { First::Packs };
    let run = actor.begin(None);
    let repaired = wreck.repair(&run, first, rots).map_err(|trouble| tell(&trouble));
    run.end();
    repaired.map_err(|error| format!("{what}: {error}"))
}

fn tell(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Repository(error) => explain(error),
        Trouble::Backup(error) => explain(error),
        Trouble::Broken(what) => what.clone(),
        Trouble::Idle => "there is nothing to do".to_owned(),
    }
}

fn read(stage: &Stage, disk: DiskId) -> Reading {
    reader::read(&stage.world.lock().disks[disk.0].contents(), &stage.keys[disk.0])
}

/// Lets the disk lose all index files, or some packs.
fn wreck(stage: &Stage, disk: DiskId, rng: &mut StdRng) -> Vec<(ObjectPath, Loss)> {
    let mut world = stage.world.lock();
    let objects = world.disks[disk.0].contents();
    let below = |prefix: &str| -> Vec<ObjectPath> {
        let is_below =
            |path: &&ObjectPath| path.as_str().starts_with(prefix) && path.file_name().len() == 64;
        objects.keys().filter(is_below).cloned().collect()
    };
    let mut losses = Vec::new();
    if rng.random_ratio(1, 3) {
        world.tally.note(Deed::IndexWrecked);
        losses.extend(below("index/").into_iter().map(|path| (path, Loss::Gone)));
    } else {
        let packs = below("data/");
        for path in packs.sample(rng, PACKS_MAX).cloned().collect::<Vec<_>>() {
            let loss = *[Loss::Gone, Loss::Cut, Loss::Rotten].choose(rng).expect("there are three");
            let is_rotten = loss == Loss::Rotten;
            world.tally.note(if is_rotten { Deed::PackRotted } else { Deed::PackWrecked });
            losses.push((path, loss));
            if rng.random() {
                break;
            }
        }
    }
    for (path, loss) in &losses {
        let mut bytes = objects[path].to_vec();
        let at = rng.random_range(0..bytes.len());
        match loss {
            Loss::Gone => {
                world.disks[disk.0].remove(path);
                continue;
            }
            Loss::Cut => bytes.truncate(at),
            Loss::Rotten => bytes[at] ^= 1 << rng.random_range(0..8),
        }
        world.disks[disk.0].damage(path, bytes.into());
    }
    losses
}

/// A disk that lost something.
struct Wreck<'a> {
    stage: &'a Stage,
    disk: DiskId,
    /// What it held before.
    before: Reading,
    /// What can be read of it.
    damaged: Reading,
}

impl Wreck<'_> {
    /// Makes sure that the damage is named, and costs only what it must.
    fn look(&self, run: &Run<'_>) -> Result<(), Trouble> {
        let named = named_damage(self.stage, self.disk).map_err(Trouble::Broken)?;
        if self.damaged.damage.is_empty() != named.is_empty() {
            let damage = &self.damaged.damage;
            return Err(Trouble::Broken(format!("{damage:?}, and the check names {named:?}")));
        }
        self.restore(run)?;
        self.read_all(run)
    }

    fn repair(&self, run: &Run<'_>, first: First, rots: bool) -> Result<(), Trouble> {
        let guard = run.lock(self.disk, &run.open(self.disk)?, LockKind::Exclusive)?;
        if !rots {
            self.prune_in_vain(run)?;
        }
        if first == First::Packs {
            self.repair_packs(run, &guard)?;
        }
        let packs = PacksToRead::Unknown;
        repair_index(&run.open(self.disk)?, Some(&guard), packs, &Silent, &run.cancel)?;
        if first == First::Index {
            self.repair_packs(run, &guard)?;
        }
        self.prune_in_vain(run)?;
        let repository = run.open(self.disk)?;
        let snapshots = repository.snapshots()?;
        let mut repository = run.load(repository)?;
        let (damaged, cancel) = (DamagedSnapshots::Forget, &run.cancel);
        let report =
            repair_snapshots(&mut repository, Some(&guard), snapshots, damaged, &Silent, cancel)?;
        if report.damaged() > 0 {
            run.note(Deed::SnapshotRepaired);
        }
        self.judge(run).map_err(Trouble::Broken)?;
        run.prune_under(&guard, run.open(self.disk)?, PruneOptions::default())?;
        self.judge(run).map_err(Trouble::Broken)
    }

    fn repair_packs(&self, run: &Run<'_>, guard: &LockGuard) -> Result<(), Trouble> {
        let (all, cancel) = (PacksToMend::All, &run.cancel);
        let report = repair_packs(&run.open(self.disk)?, Some(guard), &all, &Silent, cancel)?;
        report.repaired_packs.iter().for_each(|_| run.note(Deed::PackRepaired));
        Ok(())
    }

    /// Restores a snapshot as a command does: what it does not name has to be as it was.
    fn restore(&self, run: &Run<'_>) -> Result<(), Trouble> {
        let repository = run.load(run.open(self.disk)?)?;
        let Some((id, found)) = self.before.snapshots.iter().next_back() else { return Ok(()) };
        let snapshot = repository.snapshot(&id.parse().expect("it is the name of a file"))?;
        let target = tempfile::tempdir().map_err(|error| Trouble::Broken(error.to_string()))?;
        let options = RestoreOptions::new(target.path());
        let report = match restore(&repository, &snapshot, &options, &Silent, &run.cancel) {
            // Its root is lost.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
            report => report?,
        };
        if !report.is_complete() {
            run.note(Deed::RestoredPast);
        }
        for (path, content) in &found.files {
            let path = Path::new(path);
            if report.failed.iter().any(|failed| path.starts_with(&failed.path)) {
                continue;
            }
            let restored = target.path().join(path.strip_prefix("/").unwrap_or(path));
            if !std::fs::read(restored).is_ok_and(|restored| restored == *content) {
                let what = format!("{} of {id} is restored wrong, unnamed", path.display());
                return Err(Trouble::Broken(what));
            }
        }
        Ok(())
    }

    /// Reads all snapshots; whole ones have to be read, and others read nothing wrong.
    fn read_all(&self, run: &Run<'_>) -> Result<(), Trouble> {
        let repository = run.load(run.open(self.disk)?)?;
        for (id, found) in &self.before.snapshots {
            let snapshot: SnapshotId = id.parse().expect("it is the name of a file");
            let unreadable = read_snapshot(&repository, &snapshot, &found.files)?;
            if !unreadable.is_empty() && self.damaged.snapshots.contains_key(id) {
                let what = format!("{unreadable:?} of {id} cannot be read");
                return Err(Trouble::Broken(what));
            }
        }
        Ok(())
    }

    /// Lets a prune see the damage: it has to refuse if something lacks that is needed.
    fn prune_in_vain(&self, run: &Run<'_>) -> Result<(), Trouble> {
        let now = read(self.stage, self.disk);
        if now.snapshots.len() == self.before.snapshots.len() {
            return Ok(());
        }
        let contents = || self.stage.world.lock().disks[self.disk.0].contents();
        let before = contents();
        let repository = run.load(run.open(self.disk)?)?;
        let options = PruneOptions::default();
        match prune::plan(&repository, options, &Silent, &run.cancel) {
            Ok(_) => return Err(Trouble::Broken("a prune would go on with damage".to_owned())),
            Err(_) => run.note(Deed::PruneRefused),
        }
        if contents() == before {
            Ok(())
        } else {
            Err(Trouble::Broken("a prune that refused changed something".to_owned()))
        }
    }

    /// Holds what was repaired against what there was.
    fn judge(&self, run: &Run<'_>) -> Result<(), String> {
        let repaired = read(self.stage, self.disk);
        if !repaired.damage.is_empty() {
            return Err(format!("the repair leaves {:?}", repaired.damage));
        }
        let named = named_damage(self.stage, self.disk)?;
        if !named.is_empty() {
            return Err(format!("after the repair the check names {named:?}"));
        }
        for (id, found) in &self.damaged.snapshots {
            if repaired.snapshots.get(id) != Some(found) {
                return Err(format!("the repair touched {id}, which was whole"));
            }
        }
        let new =
            repaired.snapshots.iter().filter(|(id, _)| !self.before.snapshots.contains_key(*id));
        for (id, found) in new {
            let old = self.before.snapshots.values().find(|old| old.tag == found.tag);
            let old = old.ok_or_else(|| format!("nobody made {id} ({})", run.tag))?;
            if !is_left_of(old, found) {
                return Err(format!("{id} holds what its original did not"));
            }
        }
        Ok(())
    }
}

/// Tells whether a snapshot holds nothing but what another one held, of each file all or nothing,
/// since all of them are one blob long.
fn is_left_of(old: &Found, new: &Found) -> bool {
    new.files.iter().all(|(path, content)| {
        old.files.get(path).is_some_and(|old| content.is_empty() || content == old)
    })
}
