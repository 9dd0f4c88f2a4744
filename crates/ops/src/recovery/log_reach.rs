//! What the archive of a cluster holds, asked of the tier that the log goes to first.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_plan::plan::asset::Postgres;
use lifeboat_postgres::archive::file::WalFile;
use lifeboat_postgres::archive::get::{Source, find};
use lifeboat_postgres::archive::inventory::{Listed, list};
use lifeboat_postgres::archive::name::SystemId;
use lifeboat_postgres::archive::reach::{TimeIndex, begun};
use lifeboat_postgres::archive::{ArchiveError, ClusterInventory, Duty, Inventory, WalAddress};
use lifeboat_postgres::recovery::{Candidate, LogReach};
use lifeboat_postgres::timeline::TimelineHistory;
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName};
use lifeboat_tiers::Tier;
use lifeboat_tiers::envelope::Opener;
use tokio::runtime::Handle;

use crate::error::OpsError;
use crate::inquiry::ask_all;
use crate::named_tier::NamedTier;
use crate::wire::Reached;
use crate::wire::open::OpenSite;

/// The archived log of one cluster on one tier.
pub(super) struct ArchivedLog {
    tier: NamedTier,
    system: SystemId,
    listed: BTreeMap<SegmentName, Listed>,
    cluster: ClusterInventory,
    opener: Opener,
    runtime: Handle,
}

impl ArchivedLog {
    /// Finds the first tier of the log that holds any of it.
    pub(super) fn open(
        open: &OpenSite<'_>,
        postgres: &Postgres,
        system_id: u64,
    ) -> Result<Self, OpsError> {
        let site = open.site();
        let (system, runtime) = (SystemId(system_id), site.surroundings().runtime.clone());
        let reached = ask_all(&postgres.wal.to, |name| match open.tier(name) {
            Ok(tier) => Some(tier.named.clone()),
            Err(_) => match site.reach(name) {
                Reached::Ready(tier) => Some(tier),
                Reached::Trouble(_) | Reached::Vacant(_) => None,
            },
        });
        let mut best: Option<Self> = None;
        for tier in reached.into_iter().flatten() {
            let folder = system.folder();
            let listed = runtime.block_on(list(tier.tier.as_ref(), &folder))?;
            let Some(cluster) = Inventory::of(listed.iter().copied()).cluster(system).cloned()
            else {
                continue;
            };
            let segments = listed.iter().filter_map(|listed| match listed.name.file {
                WalFileName::Segment(segment) => Some((segment, *listed)),
                _ => None,
            });
            let (listed, opener) = (segments.collect(), open.key().opener());
            let found = Self { tier, system, listed, cluster, opener, runtime: runtime.clone() };
            // Of tiers that hold a different amount, the one that leads furthest.
            if best.as_ref().is_none_or(|best| found.newest() > best.newest()) {
                best = Some(found);
            }
        }
        let what = format!("archived log of cluster {system_id} on a tier that can be reached");
        best.ok_or(OpsError::NotInPlan { what })
    }

    fn newest(&self) -> Option<SegmentName> {
        self.listed.keys().next_back().copied()
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
            let Some(listed) = self.segment(history, number) else { break };
            let Some(file) = self.find(listed.name.file)? else { break };
            fetched.push(file);
            number = number.next();
        }
        Ok(fetched)
    }

    fn find(&self, file: WalFileName) -> Result<Option<WalFile>, OpsError> {
        let (system, size) = (self.system, self.size());
        let source = Source {
            name: self.tier.name.clone(),
            tier: Ok(Arc::clone(&self.tier.tier)),
            duty: Duty::Acknowledges,
        };
        let sources = [source];
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
    fn along(&self, history: &TimelineHistory, from: Lsn) -> Vec<Listed> {
        let (size, mut found) = (self.size(), Vec::new());
        let mut number = SegmentNumber::of(from, size);
        while let Some(listed) = self.segment(history, number) {
            found.push(listed);
            number = number.next();
        }
        found
    }

    fn segment(&self, history: &TimelineHistory, number: SegmentNumber) -> Option<Listed> {
        let size = self.size();
        let mut names = history
            .timelines_of(number, size)
            .filter_map(|timeline| SegmentName::new(timeline, number, size));
        names.find_map(|name| self.listed.get(&name)).copied()
    }

    /// Returns when a timeline was begun, if its first segment is there.
    fn begun(&self, history: &TimelineHistory) -> Result<Option<Timestamp>, OpsError> {
        let (size, timeline) = (self.size(), history.timeline());
        let first = history.parent().and_then(|parent| {
            let number = SegmentNumber::of(parent.end, size);
            self.listed.get(&SegmentName::new(timeline, number, size)?)
        });
        let Some(first) = first else { return Ok(None) };
        Ok(self.runtime.block_on(begun(self.tier(), first, timeline, &self.opener))?)
    }

    /// Tells whether more was archived of a timeline than one that was begun later has of it.
    fn outlives(&self, history: &TimelineHistory, younger: &TimelineHistory) -> bool {
        let size = self.size();
        let last = self.cluster.last_of(history.timeline()).and_then(|last| last.number(size));
        let fork = younger.end_of(history.timeline());
        fork.is_none_or(|fork| last.is_some_and(|last| last >= SegmentNumber::of(fork, size)))
    }

    fn tier(&self) -> &dyn Tier {
        self.tier.tier.as_ref()
    }
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
        let mut index = TimeIndex::new(self.tier(), &self.opener, &along);
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
        let mut index = TimeIndex::new(self.tier(), &self.opener, &along);
        Ok(self.runtime.block_on(index.last())?)
    }

    fn restore_point(
        &mut self,
        history: &TimelineHistory,
        from: Lsn,
        name: &str,
    ) -> Result<Option<Lsn>, OpsError> {
        let along = self.along(history, from);
        let mut index = TimeIndex::new(self.tier(), &self.opener, &along);
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
        let index = TimeIndex::new(self.tier(), &self.opener, &along);
        Ok(self.runtime.block_on(index.transaction(xid, from))?)
    }
}
