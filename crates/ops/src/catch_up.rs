//! Bringing tiers up to date: what a tier missed while it was down, or too slow, is copied from one that
//! holds it.
//!
//! Each backup does that at its end for the tiers that it reached; [`catch_up`] does it when asked, and then copies back as well
//! what is gone from a tier without anybody's word.
//! What a tier's own retention would remove at once is not brought there.
//! Every tier gets what it lacks on its own lane, the newest first, since that is worth most and has most
//! of what the others need.
//!
//! # Crash consistency
//!
//! Whatever was copied is found by the next run: what a snapshot needs is listed now and then, and packs
//! that no index lists are adopted. A snapshot that was made and not recorded is found there, and then
//! recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::thread;

use lifeboat_model::{
    AssetName, Cancel, EventSink, Exit, JobId, SiteName, SnapshotId, TierName, Timestamp,
};
use lifeboat_repository::RepositoryError;
use serde::Serialize;

use crate::at_work::CatchingUp;
use crate::backlog::{Backlog, Lacking};
use crate::backup::lane::{Delivered, Lane, Lanes, Ordered, Traffic};
use crate::catalog::body::{AssetBackedUp, Body, JobEnded, JobStarted, TierSnapshot};
use crate::ending::{Ending, JobStage, StageOutcome};
use crate::error::{OpsError, Trouble};
use crate::inquiry::ask_all;
use crate::listing;
use crate::traffic::TierTraffic;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, begin_lock};

/// The version of [`CatchUpReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// What catching up did.
#[derive(Debug, Serialize)]
pub struct CatchUpReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which job.
    pub job: JobId,
    /// How it ended.
    pub ending: Ending,
    /// The tiers that were to catch up.
    pub tiers: Vec<CaughtUp>,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
}

impl CatchUpReport {
    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// What a tier got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaughtUp {
    /// Which tier.
    pub tier: TierName,
    /// The snapshots that were brought, the newest first.
    pub brought: Vec<Brought>,
    /// How many it still lacks.
    pub lacks: usize,
    /// Why it does.
    pub trouble: Option<Trouble>,
}

impl CaughtUp {
    fn ending(&self) -> Ending {
        match &self.trouble {
            Some(trouble) if self.brought.is_empty() => trouble.ending,
            Some(_) => Ending::Incomplete,
            None => Ending::Succeeded,
        }
    }
}

/// A snapshot that was brought to a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Brought {
    /// Of which asset.
    pub asset: AssetName,
    /// Up to when every change is in it.
    pub captured: Timestamp,
    /// Its id there.
    pub snapshot: SnapshotId,
    /// From which tier it came.
    pub from: TierName,
    /// How many packs were copied.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Brings these tiers up to date; all, if none is named.
pub fn catch_up(
    site: &Site,
    tiers: &[TierName],
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<CatchUpReport, OpsError> {
    for tier in tiers {
        site.address(tier)?;
    }
    let before = site.traffic();
    let all: BTreeSet<TierName> = site.plan().tiers().keys().cloned().collect();
    let wanted: BTreeSet<_> =
        all.iter().filter(|tier| tiers.is_empty() || tiers.contains(tier)).cloned().collect();
    let open = OpenSite::open_home(site, &all, NewTiers::Leave, events, cancel)?;
    let job = site.new_job();
    open.record(Body::JobStarted(JobStarted {
        job,
        command: "tiers catch-up".to_owned(),
        assets: Vec::new(),
    }))?;
    let held = hold(&open, events, cancel);
    let caught_up = carry(&open, &held, &wanted, job, events)?;
    let ending = caught_up.iter().map(CaughtUp::ending).max().unwrap_or(Ending::Succeeded);
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    open.deliver()?;
    let traffic = TierTraffic::since(site, &before);
    let (schema, site, tiers) = (SCHEMA, site.name().clone(), caught_up);
    Ok(CatchUpReport { schema, site, job, ending, tiers, traffic })
}

type Held = BTreeMap<TierName, Result<(lifeboat_repository::lock::LockGuard, Cancel), Trouble>>;

/// Locks every tier that is open.
fn hold(open: &OpenSite<'_>, events: &dyn EventSink, cancel: &Cancel) -> Held {
    let (tiers, site): (Vec<_>, _) = (open.open_tiers().collect(), open.site());
    let held = ask_all(&tiers, |tier| {
        let cancel = Cancel::part_of(&[cancel]);
        let guard = begin_lock(site, tier, events, &cancel);
        Ok((guard.map_err(|error| Trouble::of(&OpsError::from(error)))?, cancel))
    });
    tiers.iter().map(|tier| tier.named.name.clone()).zip(held).collect()
}

fn carry(
    open: &OpenSite<'_>,
    held: &Held,
    wanted: &BTreeSet<TierName>,
    job: JobId,
    events: &dyn EventSink,
) -> Result<Vec<CaughtUp>, OpsError> {
    let lanes: Lanes<'_> = open
        .open_tiers()
        .filter_map(|tier| {
            let (_, cancel) = held.get(&tier.named.name)?.as_ref().ok()?;
            Some(Lane::new(tier, cancel))
        })
        .collect();
    let mut missed = Missed::of(open, &lanes, wanted.iter().cloned(), Gone::ComesBack)?;
    for tier in wanted {
        let trouble = match (open.tier(tier), held.get(tier)) {
            _ if !missed.tiers.contains_key(tier) => another_does(tier, &mut missed),
            (Err(trouble), _) => trouble,
            (Ok(_), Some(Err(trouble))) => trouble.clone(),
            _ => continue,
        };
        missed.fail(tier, trouble);
    }
    thread::scope(|scope| {
        let mut traffic = lanes.open(scope, events, open.site().surroundings().clock.as_ref());
        missed.begin(&mut traffic);
        while let Some(delivered) = traffic.wait() {
            let record = missed.take(delivered, job, &mut traffic, &|error| Trouble::of(error));
            if let Some(record) = record {
                open.record(Body::AssetBackedUp(record))?;
                open.deliver()?;
            }
        }
        Ok::<_, OpsError>(())
    })?;
    Ok(missed.report())
}

/// Says that another job of this host brings a tier what it missed.
fn another_does(tier: &TierName, missed: &mut Missed) -> Trouble {
    let none = CaughtUp { tier: tier.clone(), brought: Vec::new(), lacks: 0, trouble: None };
    missed.tiers.insert(tier.clone(), (VecDeque::new(), none));
    Trouble {
        ending: Ending::Failed,
        message: "another job brings it what it missed".to_owned(),
        hint: Some("lifeboat jobs".to_owned()),
        exit: Exit::Locked.code(),
        kind: None,
    }
}

/// What is done about snapshots that a tier had and that are gone without anybody's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Nothing, until a person says what.
    StaysAway,
    /// They are copied back.
    ComesBack,
}

/// What tiers are to get that they missed, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    tiers: BTreeMap<TierName, (VecDeque<Lacking>, CaughtUp)>,
    /// What keeps other jobs from bringing the same.
    alone: Vec<CatchingUp>,
}

impl Missed {
    /// Looks for what these tiers lack and one of the lanes' tiers holds. A tier to which another job of this host brings
    /// what it missed is left out, and what another one works on: it is on its way there.
    pub(crate) fn of(
        open: &OpenSite<'_>,
        lanes: &Lanes<'_>,
        tiers: impl Iterator<Item = TierName>,
        gone: Gone,
    ) -> Result<Self, OpsError> {
        let (plan, now) = (open.site().plan(), open.site().surroundings().now());
        let taken: Vec<_> = tiers.filter_map(|tier| Some((open.catch_up(&tier)?, tier))).collect();
        // Before and after it is looked what lacks: who was done before has brought it, and who began since may have
        // recorded what is on its way.
        let mut others = open.assets_of_others();
        let backlog = Backlog::load(open.catalog().view(), plan)?;
        others.extend(open.assets_of_others());
        let present = open.present(|tier| lanes.to(tier).is_some());
        let mut missed = Self::default();
        for (alone, tier) in taken {
            let mut lacking = VecDeque::new();
            if let (Gone::ComesBack, Ok(there)) = (gone, open.tier(&tier)) {
                // What was lost comes first.
                lacking.extend(backlog.of_gone(&tier, &listing::gone(open, there)?, &present));
            }
            let back: BTreeSet<_> = lacking.iter().map(Lacking::key).collect();
            let never_had = backlog.of_tier(plan, &tier, &present, now).into_iter();
            lacking.extend(never_had.filter(|lacking| !back.contains(&lacking.key())));
            lacking.retain(|lacking| !others.contains(&lacking.asset));
            let (name, lacks) = (tier.clone(), lacking.len());
            let none = CaughtUp { tier: name, brought: Vec::new(), lacks, trouble: None };
            missed.tiers.insert(tier, (lacking, none));
            missed.alone.push(alone);
        }
        Ok(missed)
    }

    /// Takes note that a tier gets nothing.
    fn fail(&mut self, tier: &TierName, trouble: Trouble) {
        if let Some((lacking, caught_up)) = self.tiers.get_mut(tier) {
            lacking.clear();
            caught_up.trouble.get_or_insert(trouble);
        }
    }

    /// Orders for each tier what it gets first.
    pub(crate) fn begin(&mut self, traffic: &mut Traffic<'_, '_>) {
        for (tier, (lacking, _)) in &mut self.tiers {
            order_next(tier, lacking, traffic);
        }
    }

    /// Takes what a tier got, and orders what it gets next; returns what is to be recorded.
    ///
    /// A tier that does not take something gets nothing more: it is asked again by the next run.
    pub(crate) fn take(
        &mut self,
        delivered: Delivered,
        job: JobId,
        traffic: &mut Traffic<'_, '_>,
        explain: &dyn Fn(&RepositoryError) -> Trouble,
    ) -> Option<AssetBackedUp> {
        let Delivered { what: Ordered::Missed(what), from, to, started, ended, copied } = delivered
        else {
            return None;
        };
        let (lacking, caught_up) = self.tiers.get_mut(&to)?;
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) => {
                lacking.clear();
                caught_up.trouble.get_or_insert(explain(&error));
                return None;
            }
        };
        caught_up.lacks -= 1;
        order_next(&to, lacking, traffic);
        let (snapshot, asset, captured) = (copied.snapshot, what.asset.clone(), what.captured);
        let (packs, bytes) = (copied.packs, copied.bytes);
        caught_up.brought.push(Brought { asset, captured, snapshot, from, packs, bytes });
        Some(AssetBackedUp {
            job,
            snapshots: vec![TierSnapshot { tier: to.clone(), snapshot }],
            bytes_read: 0,
            bytes_stored: bytes,
            skipped: Vec::new(),
            stages: vec![StageOutcome {
                stage: JobStage::Copy,
                tier: Some(to),
                ending: Ending::Succeeded,
                message: None,
                hint: None,
                started,
                ended,
            }],
            ..what.body
        })
    }

    /// Returns what each tier got.
    pub(crate) fn report(self) -> Vec<CaughtUp> {
        self.tiers.into_values().map(|(_, caught_up)| caught_up).collect()
    }
}

fn order_next(tier: &TierName, lacking: &mut VecDeque<Lacking>, traffic: &mut Traffic<'_, '_>) {
    let Some(next) = lacking.pop_front() else { return };
    let lanes = traffic.lanes();
    let is_here = |name: &TierName| lanes.to(name).is_some_and(Lane::is_here);
    // What is here is read for nothing.
    let nearest = next.on.iter().min_by_key(|(name, _)| !is_here(name));
    let Some((from, snapshot)) = nearest.map(|(name, id)| (name.clone(), *id)) else { return };
    traffic.order(Ordered::Missed(Box::new(next)), &from, tier, snapshot);
}
