//! Having a file back, and telling why it cannot be had.
//!
//! PostgreSQL asks for one segment after the other, and for histories to learn whether there is a later
//! timeline. When it is told that a file is not there, it ends its recovery and may begin to accept
//! writes. So that is said only when it is [proven](Answer::End): nothing that follows the file on its
//! timeline, or on one that goes on from it behind the file, is held by any tier that could be
//! looked at, and one that acknowledges was among those. All else is an error.
//!
//! # What proves the end
//!
//! - A segment that follows on the same timeline: the file is missing, a hole.
//! - A timeline that was begun behind the file by leaving the file's timeline: a hole.
//! - In the segment in which a timeline was left: its end. What it held up to there is also in the segment
//!   of the timeline that follows, which the server asks for first.
//! - A timeline of which there are segments and no history: not known where it comes from, so nothing is
//!   proven.
//!
//! # Partial segments
//!
//! A server that is promoted archives what it had of the old timeline's last segment as `….partial`. It is
//! given for the segment itself where that one was never archived, since nothing else may hold its
//! last transactions. Recycled bytes behind them do no harm: no record there passes its checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeboat_model::TierName;
use lifeboat_tiers::envelope::Opener;
use lifeboat_tiers::{ReadRange, Tier};

use super::error::ArchiveError;
use super::file::WalFile;
use super::inventory::{self, ClusterInventory, Inventory, Listed};
use super::name::{SystemId, WalAddress, timeline_folder};
use super::object;
use super::push::Duty;
use crate::timeline::TimelineHistory;
use crate::wal::{SegmentName, SegmentNumber, TimelineId, WalFileName};

/// A tier that may hold the log.
#[derive(Debug, Clone)]
pub struct Source {
    /// What the plan calls it.
    pub name: TierName,
    /// Where it is, or why it cannot be reached.
    pub tier: Result<Arc<dyn Tier>, String>,
    /// Whether each file that was ever acknowledged is on it.
    pub duty: Duty,
}

/// What the archive says when it is asked for a file.
#[derive(Debug)]
pub enum Answer {
    /// Here it is.
    Found {
        /// The file, or the partial one that is given for it.
        file: WalFile,
        /// Who had it.
        tier: TierName,
    },
    /// It is not there, and nothing that would follow it is.
    End,
}

/// Fetches a file from the first source that gives it whole.
pub async fn get(
    wanted: WalAddress,
    sources: &[Source],
    opener: &Opener,
) -> Result<Answer, ArchiveError> {
    let mut search = Search::new(sources, opener);
    if let Some((file, tier)) = search.find(wanted).await? {
        return Ok(Answer::Found { file, tier });
    }
    search.expect_absent(wanted.file)?;
    match wanted.file {
        WalFileName::Segment(segment) => search.conclude(wanted, segment).await,
        WalFileName::History(timeline) => search.conclude_history(wanted.system, timeline).await,
        WalFileName::Partial(_) | WalFileName::BackupHistory { .. } => Ok(Answer::End),
    }
}

/// Fetches a file from the first source that gives it whole; that none does means nothing.
pub async fn find(
    wanted: WalAddress,
    sources: &[Source],
    opener: &Opener,
) -> Result<Option<WalFile>, ArchiveError> {
    let found = Search::new(sources, opener).find(wanted).await?;
    Ok(found.map(|(file, _)| file))
}

/// One question to all sources.
struct Search<'a> {
    sources: &'a [Source],
    opener: &'a Opener,
    /// Sources that were listed, by their place; whatever fails later is taken out again.
    seen: BTreeSet<usize>,
    problems: Vec<String>,
    /// It is somewhere, and could not be had.
    is_held: bool,
}

impl<'a> Search<'a> {
    fn new(sources: &'a [Source], opener: &'a Opener) -> Self {
        let (seen, problems) = (BTreeSet::new(), Vec::new());
        Self { sources, opener, seen, problems, is_held: false }
    }

    fn note(&mut self, place: usize, error: &dyn std::error::Error) {
        self.seen.remove(&place);
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        self.problems.push(format!("tier `{}`: {text}", self.sources[place].name));
    }

    /// Asks one source after the other.
    async fn find(
        &mut self,
        wanted: WalAddress,
    ) -> Result<Option<(WalFile, TierName)>, ArchiveError> {
        for (place, source) in self.sources.iter().enumerate() {
            let tier = match &source.tier {
                Ok(tier) => tier,
                Err(problem) => {
                    self.problems.push(format!("tier `{}`: {problem}", source.name));
                    continue;
                }
            };
            self.seen.insert(place);
            let listed = match inventory::list(&**tier, &wanted.folder()).await {
                Ok(listed) => only(&listed, wanted.file, &source.name)?,
                Err(error) => {
                    self.note(place, &error);
                    continue;
                }
            };
            let Some(listed) = listed else { continue };
            match fetch(&**tier, &listed, self.opener).await {
                Ok(file) => return Ok(Some((file, source.name.clone()))),
                Err(error) => {
                    tracing::warn!(
                        tier = %source.name,
                        file = %wanted.file,
                        error = &error as &dyn std::error::Error,
                        "An archived file could not be had; other tiers are asked.",
                    );
                    self.note(place, &error);
                    self.is_held = true;
                }
            }
        }
        Ok(None)
    }

    /// Fails unless a tier that would hold the file was seen not to, and none holds it.
    fn expect_absent(&self, file: WalFileName) -> Result<(), ArchiveError> {
        let is_proven = !self.is_held
            && self.seen.iter().any(|place| self.sources[*place].duty == Duty::Acknowledges);
        if is_proven {
            return Ok(());
        }
        Err(ArchiveError::Unproven { file, problems: self.problems.clone() })
    }

    /// Decides what it means that no source has a segment.
    async fn conclude(
        mut self,
        wanted: WalAddress,
        segment: SegmentName,
    ) -> Result<Answer, ArchiveError> {
        let inventories = self.look(wanted.system).await;
        self.expect_absent(wanted.file)?;
        if inventories.is_empty() {
            return Err(ArchiveError::NoArchive { system: wanted.system });
        }
        let histories = self.histories(wanted, segment.timeline(), &inventories).await?;
        for (place, cluster) in &inventories {
            if let Some(later) = later(segment, wanted, cluster, &histories)? {
                let (file, tier) = (wanted.file, self.sources[*place].name.clone());
                return Err(ArchiveError::Hole { file, later, tier });
            }
        }
        let partial = WalAddress { file: WalFileName::Partial(segment), ..wanted };
        if let Some((file, tier)) = self.find(partial).await? {
            return Ok(Answer::Found { file, tier });
        }
        self.expect_absent(partial.file)?;
        Ok(Answer::End)
    }

    /// Lists all that each source holds of a cluster.
    async fn look(&mut self, system: SystemId) -> BTreeMap<usize, ClusterInventory> {
        let mut inventories = BTreeMap::new();
        for place in self.seen.clone() {
            let Ok(tier) = &self.sources[place].tier else { continue };
            match inventory::list(&**tier, &system.folder()).await {
                Ok(listed) => {
                    if let Some(cluster) = Inventory::of(listed).cluster(system) {
                        inventories.insert(place, cluster.clone());
                    }
                }
                Err(error) => self.note(place, &error),
            }
        }
        inventories
    }

    /// Reads where the later timelines come from.
    async fn histories(
        &mut self,
        wanted: WalAddress,
        timeline: TimelineId,
        inventories: &BTreeMap<usize, ClusterInventory>,
    ) -> Result<BTreeMap<TimelineId, TimelineHistory>, ArchiveError> {
        let all = inventories.values().flat_map(ClusterInventory::timelines);
        let later: BTreeSet<_> = all.filter(|found| *found > timeline).collect();
        let mut histories = BTreeMap::new();
        for timeline in later {
            let address = WalAddress { file: WalFileName::History(timeline), ..wanted };
            if let Some((file, _)) = self.find(address).await? {
                histories.insert(timeline, TimelineHistory::parse(timeline, file.bytes())?);
            } else {
                self.expect_absent(address.file)?;
            }
        }
        Ok(histories)
    }

    /// Decides what it means that no source has a history: that there is no such timeline, unless some of
    /// it is there.
    async fn conclude_history(
        mut self,
        system: SystemId,
        timeline: TimelineId,
    ) -> Result<Answer, ArchiveError> {
        for place in self.seen.clone() {
            let Ok(tier) = &self.sources[place].tier else { continue };
            match inventory::list(&**tier, &timeline_folder(system, timeline)).await {
                Ok(listed) if listed.is_empty() || timeline == TimelineId(1) => {}
                Ok(_) => return Err(ArchiveError::NoHistory { timeline }),
                Err(error) => self.note(place, &error),
            }
        }
        self.expect_absent(WalFileName::History(timeline))?;
        Ok(Answer::End)
    }
}

/// Returns the one object of a file among those of its folder.
fn only(
    listed: &[Listed],
    file: WalFileName,
    tier: &TierName,
) -> Result<Option<Listed>, ArchiveError> {
    let mut found = listed.iter().filter(|listed| listed.name.file == file);
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let (held, offered) = (first.name.digest, second.name.digest);
            Err(ArchiveError::SplitBrain { tier: tier.clone(), file, held, offered })
        }
        (first, _) => Ok(first.copied()),
    }
}

async fn fetch(tier: &dyn Tier, listed: &Listed, opener: &Opener) -> Result<WalFile, ArchiveError> {
    let sealed = tier.get(&listed.name.path(), ReadRange::Full).await?;
    object::open(&listed.name, &sealed, opener).map(|(_, file)| file)
}

/// Returns a file of the cluster that shows that a segment which is not there should be.
fn later(
    segment: SegmentName,
    wanted: WalAddress,
    cluster: &ClusterInventory,
    histories: &BTreeMap<TimelineId, TimelineHistory>,
) -> Result<Option<WalFileName>, ArchiveError> {
    let size = wanted.size;
    let number = segment.number(size).ok_or(ArchiveError::Unfit { file: wanted.file, size })?;
    let last = cluster.last_of(segment.timeline());
    if let Some(last) = last.filter(|last| *last > segment) {
        return Ok(Some(last.into()));
    }
    for timeline in cluster.timelines() {
        if timeline <= segment.timeline() {
            continue;
        }
        let last = cluster.last_of(timeline);
        let Some(history) = histories.get(&timeline) else {
            let is_behind = last.and_then(|last| last.number(size)).is_some_and(|n| n > number);
            if is_behind {
                return Err(ArchiveError::NoHistory { timeline });
            }
            continue;
        };
        let left = history.end_of(segment.timeline());
        if left.is_some_and(|left| number < SegmentNumber::of(left, size)) {
            return Ok(Some(last.map_or(WalFileName::History(timeline), Into::into)));
        }
    }
    Ok(None)
}
