//! What the archive of a cluster holds, asked of all tiers to which its log goes: what one of them lacks another may have,
//! and `wal get` fetches it from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeboat_model::{Lsn, TierName, Timestamp};
use lifeboat_plan::plan::asset::Postgres;
use lifeboat_postgres::archive::file::WalFile;
use lifeboat_postgres::archive::get::{Source, find};
use lifeboat_postgres::archive::inventory::{Listed, list};
use lifeboat_postgres::archive::name::SystemId;
use lifeboat_postgres::archive::reach::{TimeIndex, begun};
use lifeboat_postgres::archive::{
    ArchiveError, ClusterInventory, Copies, Duty, Inventory, WalAddress,
};
use lifeboat_postgres::recovery::{Candidate, LogReach};
use lifeboat_postgres::timeline::TimelineHistory;
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use lifeboat_tiers::envelope::Opener;
use lifeboat_tiers::{Tier, TierError};
use tokio::runtime::Handle;

use crate::error::OpsError;
use crate::inquiry::ask_all;
use crate::named_tier::NamedTier;
use crate::wire::Reached;
use crate::wire::open::OpenSite;

/// The archived log of one cluster.
pub(super) struct ArchivedLog {
    /// Those that hold any of it, in the order in which they are read.
    tiers: Vec<NamedTier>,
    system: SystemId,
    segments: BTreeMap<SegmentName, Vec<Held>>,
    cluster: ClusterInventory,
    opener: Opener,
    runtime: Handle,
}

/// A segment on one of the tiers.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The place of the tier among [`ArchivedLog::tiers`].
    tier: usize,
    listed: Listed,
}

impl ArchivedLog {
    /// Lists what the tiers of the log hold of it. One that cannot be listed is told of, as long as another one can.
    pub(super) fn open(
        open: &OpenSite<'_>,
        postgres: &Postgres,
        system_id: u64,
    ) -> Result<Self, OpsError> {
        let site = open.site();
        let (system, runtime) = (SystemId(system_id), site.surroundings().runtime.clone());
        let looked = ask_all(&postgres.wal.to, |name| {
            let tier = reach(open, name)?;
            let listed = runtime.block_on(list(tier.tier.as_ref(), &system.folder()));
            Some((tier, listed))
        });
        let (tiers, listed) = heard(looked.into_iter().flatten())?;
        let all = listed.iter().flatten().copied();
        let Some(cluster) = Inventory::of(all).cluster(system).cloned() else {
            let what = format!("archived log of cluster {system_id} on a tier that can be reached");
            return Err(OpsError::NotInPlan { what });
        };
        let segments = segments(&listed);
        let opener = open.key().opener();
        Ok(Self { tiers, system, segments, cluster, opener, runtime })
    }

    pub(super) fn size(&self) -> SegmentSize {
        self.cluster.size().unwrap_or_default()
    }

    /// Fetches the segments along a timeline between two positions; fewer, if some are not there.
    pub(super) fn fetch(
        &self,
        history: &TimelineHistory,
        (first, last): (SegmentNumber, SegmentNumber),
    ) -> Result<Vec<WalFile>, OpsError> {
        let mut fetched = Vec::new();
        let mut number = first;
        while number <= last {
            let Some(name) = self.name(history, number) else { break };
            let Some(file) = self.find(name.into())? else { break };
            fetched.push(file);
            number = number.next();
        }
        Ok(fetched)
    }

    fn find(&self, file: WalFileName) -> Result<Option<WalFile>, OpsError> {
        let (system, size) = (self.system, self.size());
        let source = |tier: &NamedTier| Source {
            name: tier.name.clone(),
            tier: Ok(Arc::clone(&tier.tier)),
            duty: Duty::Acknowledges,
        };
        let sources: Vec<_> = self.tiers.iter().map(source).collect();
        let found = find(WalAddress { system, size, file }, &sources, &self.opener);
        Ok(self.runtime.block_on(found)?)
    }

    fn history(&self, timeline: TimelineId) -> Result<Option<TimelineHistory>, OpsError> {
        let file = WalFileName::History(timeline);
        if self.cluster.digest_of(file).is_none() {
            return Ok(None);
        }
        let Some(file) = self.find(file)? else { return Ok(None) };
        let history = TimelineHistory::parse(timeline, file.bytes());
        Ok(Some(history.map_err(ArchiveError::from)?))
    }

    /// Returns the segments along a timeline from a position on, in their order.
    fn along(&self, history: &TimelineHistory, from: Lsn) -> Vec<Copies<'_>> {
        let (size, mut found) = (self.size(), Vec::new());
        let mut number = SegmentNumber::of(from, size);
        while let Some(copies) = self.segment(history, number) {
            found.push(copies);
            number = number.next();
        }
        found
    }

    fn segment(&self, history: &TimelineHistory, number: SegmentNumber) -> Option<Copies<'_>> {
        self.copies(self.name(history, number)?)
    }

    /// Returns what the segment of this number is called along a timeline, if it is there.
    fn name(&self, history: &TimelineHistory, number: SegmentNumber) -> Option<SegmentName> {
        let size = self.size();
        let mut names = history
            .timelines_of(number, size)
            .filter_map(|timeline| SegmentName::new(timeline, number, size));
        names.find(|name| self.segments.contains_key(name))
    }

    /// Returns where a segment lies, if it is there.
    fn copies(&self, name: SegmentName) -> Option<Copies<'_>> {
        let mut held = self.segments.get(&name)?.iter();
        let mut copies = held.next().map(|first| Copies::of(self.tier(first), first.listed))?;
        for other in held {
            copies.add(self.tier(other), other.listed);
        }
        Some(copies)
    }

    fn tier(&self, held: &Held) -> &dyn Tier {
        self.tiers[held.tier].tier.as_ref()
    }

    /// Returns when a timeline was begun, if its first segment is there.
    fn begun(&self, history: &TimelineHistory) -> Result<Option<Timestamp>, OpsError> {
        let (size, timeline) = (self.size(), history.timeline());
        let first = history.parent().and_then(|parent| {
            let number = SegmentNumber::of(parent.end, size);
            self.copies(SegmentName::new(timeline, number, size)?)
        });
        let Some(first) = first else { return Ok(None) };
        Ok(self.runtime.block_on(begun(&first, timeline, &self.opener))?)
    }

    /// Tells whether more was archived of a timeline than one that was begun later has of it.
    fn outlives(&self, history: &TimelineHistory, younger: &TimelineHistory) -> bool {
        let size = self.size();
        let last = self.cluster.last_of(history.timeline()).and_then(|last| last.number(size));
        let fork = younger.end_of(history.timeline());
        fork.is_none_or(|fork| last.is_some_and(|last| last >= SegmentNumber::of(fork, size)))
    }
}

/// Goes to a tier of the log, whether it was opened or not.
fn reach(open: &OpenSite<'_>, name: &TierName) -> Option<NamedTier> {
    match open.tier(name) {
        Ok(tier) => Some(tier.named.clone()),
        Err(_) => match open.site().reach(name) {
            Reached::Ready(tier) => Some(tier),
            Reached::Trouble(_) | Reached::Vacant(_) => None,
        },
    }
}

/// Returns the tiers that were listed, and what each holds; the trouble of one if none was.
fn heard(
    looked: impl Iterator<Item = (NamedTier, Result<Vec<Listed>, TierError>)>,
) -> Result<(Vec<NamedTier>, Vec<Vec<Listed>>), OpsError> {
    let (mut tiers, mut listed, mut trouble) = (Vec::new(), Vec::new(), None);
    for (tier, found) in looked {
        match found {
            Ok(found) => {
                tiers.push(tier);
                listed.push(found);
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(error = cause, tier = %tier.name, "The log on this tier cannot be listed.");
                trouble.get_or_insert(error);
            }
        }
    }
    match trouble {
        Some(trouble) if tiers.is_empty() => Err(trouble.into()),
        _ => Ok((tiers, listed)),
    }
}

/// Returns the segments, and where each lies.
fn segments(listed: &[Vec<Listed>]) -> BTreeMap<SegmentName, Vec<Held>> {
    let mut segments: BTreeMap<SegmentName, Vec<Held>> = BTreeMap::new();
    for (tier, listed) in listed.iter().enumerate() {
        for listed in listed {
            if let WalFileName::Segment(segment) = listed.name.file {
                segments.entry(segment).or_default().push(Held { tier, listed: *listed });
            }
        }
    }
    segments
}

impl LogReach for ArchivedLog {
    type Error = OpsError;

    fn timeline(
        &mut self,
        base: &Candidate,
        at: Option<Timestamp>,
    ) -> Result<TimelineHistory, OpsError> {
        let timelines = self.cluster.timelines();
        let mut younger: Option<TimelineHistory> = None;
        for timeline in timelines.into_iter().rev().filter(|found| *found >= base.timeline) {
            let history = match self.history(timeline)? {
                Some(history) => history,
                None if timeline == base.timeline => TimelineHistory::without_ancestors(timeline),
                // Where it comes from is not known, and so not whether it goes on from here.
                None if self.cluster.last_of(timeline).is_some() => {
                    return Err(ArchiveError::NoHistory { timeline }.into());
                }
                None => continue,
            };
            if !history.contains(base.timeline, base.stop) {
                continue;
            }
            let had_begun = match at {
                None => true,
                Some(time) => self.begun(&history)?.is_none_or(|begun| begun <= time),
            };
            match younger {
                // One that was begun later holds all of it, and it has nothing behind the fork.
                Some(younger) if had_begun && !self.outlives(&history, &younger) => {
                    return Ok(younger);
                }
                _ if had_begun => return Ok(history),
                _ => younger = Some(history),
            }
        }
        Ok(younger.unwrap_or(TimelineHistory::without_ancestors(base.timeline)))
    }

    fn end(&mut self, history: &TimelineHistory) -> Result<Lsn, OpsError> {
        let own = self.cluster.last_of(history.timeline()).and_then(|last| last.end(self.size()));
        let left = history.parent().map(|parent| parent.end);
        Ok(own.or(left).unwrap_or_default())
    }

    fn missing(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        to: Lsn,
    ) -> Result<Vec<SegmentName>, OpsError> {
        Ok(self.cluster.missing(history, from, to))
    }

    fn end_at(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        time: Timestamp,
    ) -> Result<Option<Lsn>, OpsError> {
        let along = self.along(history, from);
        let mut index = TimeIndex::new(&self.opener, &along);
        let place = self.runtime.block_on(index.place_of(time))?;
        let first = SegmentNumber::of(from, self.size());
        Ok(place.and_then(|place| SegmentNumber(first.0 + place as u64).end(self.size())))
    }

    fn last_commit(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
    ) -> Result<Option<Timestamp>, OpsError> {
        let along = self.along(history, from);
        let mut index = TimeIndex::new(&self.opener, &along);
        Ok(self.runtime.block_on(index.last())?)
    }

    fn restore_point(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        name: &str,
    ) -> Result<Option<Lsn>, OpsError> {
        let along = self.along(history, from);
        let mut index = TimeIndex::new(&self.opener, &along);
        Ok(self.runtime.block_on(index.restore_point(name, from))?)
    }

    fn transaction(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        to: Option<Lsn>,
        xid: u32,
    ) -> Result<Option<Lsn>, OpsError> {
        let mut along = self.along(history, from);
        if let Some(to) = to {
            // The segment in which a newer base begins may hold the end of a record that began before.
            let count =
                SegmentNumber::of(to, self.size()).0 - SegmentNumber::of(from, self.size()).0;
            along.truncate(usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1));
        }
        let index = TimeIndex::new(&self.opener, &along);
        Ok(self.runtime.block_on(index.transaction(xid, from))?)
    }
}
