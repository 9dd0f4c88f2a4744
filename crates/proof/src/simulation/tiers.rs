//! A site whose backups go to three tiers at once: any of them may be down, slow or behind, and another may
//! have to lead. Once all are back they converge.
//!
//! # Limits
//!
//! What a follower is sent, it stores on the thread of its actor: when the leader has stored everything, or
//! when the leader has its snapshot. So a kill strikes in each of these moments, and not in between.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lifeboat_model::{ByteSize, Classify as _, ErrorKind, Silent, SnapshotId};
use lifeboat_repository::backup::{Destinations, backup_on_condition};
use lifeboat_repository::copy::Copier;
use lifeboat_repository::follower::Follower;
use lifeboat_repository::lock::LockKind;
use lifeboat_repository::repository::State;
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_repository::{BackupError, BackupOptions, Indexed, Open, Repository};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::actor::{Actor, Stage};
use super::disk::DiskId;
use super::model::draw_files;
use super::reader::Files;
use super::tally::Deed;
use super::tasks::{Data, PACK_SIZES, Run, Task, Thoroughness, Trouble};
use super::verdict;
use super::weather::Weather;
use super::world::ActorId;

/// How much a follower holds at most, in bytes: some packs, or not even one beside another.
const ROOMS: [u64; 4] = [0, 3000, 9000, 1 << 20];

/// When a follower stores what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Before the leader has its snapshot.
    Ahead,
    /// After it.
    Behind,
}

/// Lets tiers go down.
pub(super) fn weather(weather: Weather, rng: &mut StdRng) -> Weather {
    let down_per_mille = *[0, 4, 15, 40].choose(rng).expect("there is a choice");
    Weather { down_per_mille, ..weather }
}

/// Draws what an actor is asked to do next.
pub(super) fn draw(rng: &mut StdRng) -> Task {
    let disk = DiskId(rng.random_range(0..3));
    let tasks = [
        (Task::FanOut(DiskId(0)), 20),
        (Task::FanOut(disk), 8),
        (Task::Backup(disk), 4),
        (Task::CatchUp(disk), 10),
        (Task::Check(disk, LockKind::Shared), 2),
        (Task::Read(disk), 2),
        (Task::Forget(disk, Data::Goes), 5),
        (Task::Prune(disk, Thoroughness::Any), 5),
    ];
    tasks.choose_weighted(rng, |(_, weight)| *weight).expect("there is a choice").0
}

/// Lets every tier get what it missed, and holds them against each other.
pub(super) fn converge(calm: &Stage) -> Result<(), String> {
    for disk in calm.disks() {
        verdict::clear_torn(calm, disk)?;
    }
    let mut actor = Actor::new(calm, ActorId(0));
    for disk in calm.disks() {
        actor.perform(Task::CatchUp(disk))?;
    }
    let wanted = wanted(calm);
    for disk in calm.disks() {
        let reading = verdict::look(calm, disk)?;
        let lacks = wanted.iter().find(|id| !reading.snapshots.contains_key(&id.to_hex()));
        if let Some(id) = lacks {
            return Err(format!("snapshot {} did not come to disk {}", id.to_hex(), disk.0));
        }
    }
    Ok(())
}

/// Returns the snapshots that somebody was told are stored, and nobody asked to forget anywhere.
fn wanted(stage: &Stage) -> Vec<SnapshotId> {
    let model = stage.model();
    let disks = &model.disks;
    let all = disks.iter().flat_map(|disk| disk.acknowledged.keys());
    let kept = all.filter(|id| disks.iter().all(|disk| !disk.doomed.contains(id)));
    kept.copied().collect()
}

/// The sources that give these files.
fn sources(files: &Files) -> Vec<Source> {
    let source = |(path, content): (&String, &Vec<u8>)| {
        Source::Stream(StreamSource::document(path, content.clone()))
    };
    files.iter().map(source).collect()
}

/// A disk that could be opened and locked.
struct Reached<S: State> {
    disk: DiskId,
    repository: Repository<S>,
}

impl Run<'_> {
    fn reach(&self, disk: DiskId) -> Result<Reached<Open>, Trouble> {
        let repository = self.open(disk)?;
        self.lock(disk, &repository, LockKind::Shared)?;
        Ok(Reached { disk, repository })
    }

    /// Loads the indexes of those of which that is possible.
    fn load_all(
        &self,
        reached: Vec<Reached<Open>>,
        trouble: &mut Option<Trouble>,
    ) -> Vec<Reached<Indexed>> {
        let load = |Reached { disk, repository }| match self.load(repository) {
            Ok(repository) => Some(Reached { disk, repository }),
            Err(error) => {
                *trouble = Some(error);
                None
            }
        };
        reached.into_iter().filter_map(load).collect()
    }

    /// Reaches all disks, this one first; those that cannot be are left out, and one of the reasons is kept.
    fn reach_all(&self, first: DiskId) -> Result<(Vec<Reached<Open>>, Option<Trouble>), Trouble> {
        let others = self.stage.disks().filter(|disk| *disk != first);
        let (mut reached, mut trouble) = (Vec::new(), None);
        for disk in std::iter::once(first).chain(others) {
            match self.reach(disk) {
                Ok(found) => reached.push(found),
                Err(broken @ Trouble::Broken(_)) => return Err(broken),
                Err(other) => trouble = Some(other),
            }
        }
        Ok((reached, trouble))
    }

    /// Backs up to all disks at once.
    pub(super) fn fan_out(&self, leader: DiskId, rng: &mut StdRng) -> Result<(), Trouble> {
        let files = draw_files(rng);
        self.stage.model().given.insert(self.tag.clone(), files.clone());
        let (reached, mut trouble) = self.reach_all(leader)?;
        let reached = self.load_all(reached, &mut trouble);
        let room = ByteSize(*ROOMS.choose(rng).expect("there is a choice"));
        let followers: Vec<_> = reached
            .iter()
            .map(|reached| Follower::with_room(&reached.repository, &self.cancel, room))
            .collect();
        for lead in 0..reached.len() {
            // What it was sent as one of the others is listed first.
            drop(followers[lead].settle());
            match self.lead(&files, &reached[lead], &followers[lead + 1..], rng) {
                Ok(snapshot) => {
                    self.acknowledge(reached[lead].disk, snapshot, &self.tag);
                    let brought = self.complete(&reached[lead..], &followers[lead..], snapshot);
                    return brought.or(trouble).map_or(Ok(()), Err);
                }
                Err(error) if self.gives_way(&error) && lead + 1 < reached.len() => {
                    self.note(Deed::LeaderGaveWay);
                    trouble = Some(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(trouble.unwrap_or(Trouble::Idle))
    }

    /// Tells whether another tier may do better.
    fn gives_way(&self, error: &BackupError) -> bool {
        let is_tiers = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied);
        is_tiers && !self.process.is_dead() && !self.cancel.is_cancelled()
    }

    fn lead(
        &self,
        files: &Files,
        leader: &Reached<Indexed>,
        followers: &[Follower<'_>],
        rng: &mut StdRng,
    ) -> Result<SnapshotId, BackupError> {
        let mut options =
            BackupOptions::new("site").with_packs_of(ByteSize(rng.random_range(PACK_SIZES)));
        options.tags = vec![self.tag.clone()];
        options.workers = Some(NonZeroUsize::MIN);
        let pace = if rng.random() { Pace::Ahead } else { Pace::Behind };
        let mut condition = |_: &_| {
            if pace == Pace::Ahead {
                followers.iter().for_each(Follower::store_waiting);
            }
            Ok(())
        };
        let followers: Vec<_> = followers.iter().collect();
        let to = Destinations { leader: &leader.repository, followers: &followers };
        let (cancel, clock) = (&self.cancel, Arc::clone(&self.clock));
        let sources = sources(files);
        let made =
            backup_on_condition(to, sources, &options, &mut condition, &Silent, cancel, &*clock);
        for follower in &followers {
            follower.store_waiting();
        }
        Ok(made?.snapshot)
    }

    /// Brings what the first has to the others; returns why one did not get it.
    fn complete(
        &self,
        reached: &[Reached<Indexed>],
        followers: &[Follower<'_>],
        snapshot: SnapshotId,
    ) -> Option<Trouble> {
        let (from, mut trouble, mut everywhere) = (&reached[0], None, true);
        for (to, follower) in reached.iter().zip(followers).skip(1) {
            drop(follower.settle());
            if follower.sent().passed_over > 0 {
                self.note(Deed::PackPassedOver);
            }
            let copied = Copier::new(&from.repository, &to.repository, &Silent, &self.cancel)
                .copy(&snapshot);
            match copied {
                Ok(copied) => self.acknowledge(to.disk, copied.snapshot, &self.tag),
                Err(error) => {
                    everywhere = false;
                    trouble = Some(Trouble::from(error));
                }
            }
        }
        if everywhere && reached.len() > 1 {
            self.note(Deed::FannedOut);
        }
        trouble
    }

    /// Copies to a disk what others have that nobody asked to forget on either.
    pub(super) fn catch_up(&self, disk: DiskId) -> Result<(), Trouble> {
        let (reached, mut trouble) = self.reach_all(disk)?;
        // As every reader does: first the snapshots, then the index.
        let missed: Vec<_> =
            reached.iter().map(|from| (from.disk, self.missed(from.disk, disk))).collect();
        let reached = self.load_all(reached, &mut trouble);
        let Some((to, others)) = reached.split_first().filter(|(to, _)| to.disk == disk) else {
            return Err(trouble.unwrap_or(Trouble::Idle));
        };
        for from in others {
            let mut copier = Copier::new(&from.repository, &to.repository, &Silent, &self.cancel);
            let missed = missed.iter().filter(|(disk, _)| *disk == from.disk);
            for (snapshot, tag) in missed.flat_map(|(_, missed)| missed) {
                let report = copier.copy(snapshot)?;
                self.acknowledge(disk, report.snapshot, tag);
                self.note(Deed::CaughtUp);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn missed(&self, from: DiskId, to: DiskId) -> Vec<(SnapshotId, String)> {
        let model = self.stage.model();
        let (from, to) = (&model.disks[from.0], &model.disks[to.0]);
        let there = from.acknowledged.iter().filter(|(id, _)| !from.doomed.contains(id));
        let missed =
            there.filter(|(id, _)| !to.acknowledged.contains_key(id) && !to.doomed.contains(id));
        missed.map(|(id, tag)| (*id, tag.clone())).collect()
    }
}
