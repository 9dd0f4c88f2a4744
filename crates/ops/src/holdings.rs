//! What the tiers hold now: their snapshots, tied to captures and points, and what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lifeboat_model::{
    AssetName, Cancel, EventSink, Silent, SiteName, SnapshotId, TierName, Timestamp,
};
use lifeboat_repository::Snapshot;
use serde::Serialize;

use crate::adoptions::Adoptions;
use crate::catalog::body::{AssetBackedUp, Body, SnapshotsMissing};
use crate::catalog::view::{Mark, View, Wanted};
use crate::error::{OpsError, Trouble};
use crate::inquiry::Inquiry;
use crate::ladder::Ladder;
use crate::listing::{Seen, recorded, see};
use crate::named_tier::NamedTier;
use crate::point::{Capture, Point, captures, points, roles};
use crate::recovery_key::RecoveryKey;
use crate::standing::Standing;
use crate::state::State;
use crate::wire::open::{OpenSite, OpenTier};
use crate::wire::{Reached, Site, repositories};

/// The version of [`PointsReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// Snapshots that were recorded and are gone from a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// From which tier.
    pub tier: TierName,
    /// Which snapshots.
    pub snapshots: Vec<SnapshotId>,
}

/// What the tiers of a site hold.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Captures, the oldest first.
    pub captures: Vec<Capture>,
    /// Points, the newest first.
    pub points: Vec<Point>,
    /// What could not be looked at.
    pub troubles: BTreeMap<TierName, Trouble>,
    /// Tiers that were found damaged, and not whole since.
    pub damaged: BTreeSet<TierName>,
    /// What each tier holds.
    present: BTreeMap<TierName, BTreeSet<SnapshotId>>,
    /// What of the catalog was known before it was looked.
    known: Mark,
}

/// Tells whether what was found so far will do.
type IsEnough<'e> = &'e dyn Fn(&Holdings) -> Result<bool, OpsError>;

type Snapshots = Vec<(SnapshotId, Snapshot)>;

impl Holdings {
    fn new(
        site: &Site,
        (view, known): (&View, Mark),
        found: BTreeMap<TierName, Result<Snapshots, Trouble>>,
    ) -> Result<Self, OpsError> {
        let mut holdings = Self { known, ..Self::default() };
        let mut readable = BTreeMap::new();
        for (tier, snapshots) in found {
            match snapshots {
                Err(trouble) => {
                    holdings.troubles.insert(tier, trouble);
                }
                Ok(snapshots) => {
                    let ids = snapshots.iter().map(|(id, _)| *id).collect();
                    holdings.present.insert(tier.clone(), ids);
                    readable.insert(tier, snapshots);
                }
            }
        }
        let tiers = readable.iter().map(|(tier, snapshots)| (tier, snapshots.as_slice()));
        holdings.captures = captures(site.name().as_str(), tiers);
        let recorded = completeness(view)?;
        for capture in &mut holdings.captures {
            capture.complete = capture.copies.values().find_map(|id| recorded.get(id).copied());
        }
        holdings.points = points(&roles(site.plan()), &holdings.captures);
        holdings.doubt_damaged(view)?;
        Ok(holdings)
    }

    /// Calls no point whole on a tier that was found damaged: which of them the damage costs is
    /// known only after all was read again.
    fn doubt_damaged(&mut self, view: &View) -> Result<(), OpsError> {
        self.damaged = Standing::damaged(view, self.present.keys())?;
        for point in &mut self.points {
            point.whole_on.retain(|whole| !self.damaged.contains(whole));
        }
        Ok(())
    }

    /// Looks into the tiers of a site that is open, into all at the same time.
    pub fn of_open(open: &OpenSite<'_>) -> Result<Self, OpsError> {
        Self::gathered(open, None)
    }

    /// Looks into the tiers of a site that is open, into all at the same time, until what was found is enough and the others
    /// had a little time as well. One that did not answer until then is told of as late.
    pub(crate) fn of_open_until(
        open: &OpenSite<'_>,
        is_enough: IsEnough<'_>,
    ) -> Result<Self, OpsError> {
        Self::gathered(open, Some(is_enough))
    }

    fn gathered(open: &OpenSite<'_>, is_enough: Option<IsEnough<'_>>) -> Result<Self, OpsError> {
        let (site, view, tiers) = (open.site(), open.catalog().view(), open.shared_tiers());
        let known = view.mark()?;
        let path = open.catalog().state_lock().state().view_path();
        let names: Vec<TierName> = tiers.keys().cloned().collect();
        let look = move |name: &TierName, _: &dyn EventSink| -> Result<Snapshots, Trouble> {
            let view = View::open(&path).map_err(|error| Trouble::of(&OpsError::from(error)))?;
            let seen = see(&view, name, &tiers[name].repository);
            seen.map(|seen| seen.snapshots).map_err(|error| Trouble::of(&error))
        };
        let mut asked = Inquiry::begin(names, look);
        let here = |found: &[(TierName, Result<Snapshots, Trouble>)]| {
            Self::new(site, (view, known), found.iter().cloned().collect())
        };
        // What cannot be judged is waited for.
        let mut found = asked.gather(&Silent, |found| {
            is_enough
                .is_some_and(|is_enough| here(found).and_then(|it| is_enough(&it)).unwrap_or(false))
        });
        for name in site.plan().tiers().keys() {
            if asked.awaited().contains(name) {
                found.push((name.clone(), Err(site.late(name))));
            } else if let Err(trouble) = open.tier(name) {
                found.push((name.clone(), Err(trouble)));
            }
        }
        here(&found)
    }

    /// Returns the tiers that were looked into.
    pub(crate) fn looked_into(&self) -> BTreeSet<TierName> {
        self.present.keys().cloned().collect()
    }

    /// Returns what each tier holds that was looked into.
    pub(crate) const fn present(&self) -> &BTreeMap<TierName, BTreeSet<SnapshotId>> {
        &self.present
    }

    /// Looks into one tier that is open.
    pub(crate) fn of_tier(site: &Site, view: &View, tier: &OpenTier) -> Result<Self, OpsError> {
        let known = view.mark()?;
        let name = &tier.named.name;
        let snapshots = see(view, name, &tier.repository)?.snapshots;
        Self::new(site, (view, known), BTreeMap::from([(name.clone(), Ok(snapshots))]))
    }

    /// Looks into all tiers of a site at the same time, without taking a lock or writing anything.
    pub fn look(
        site: &Site,
        view: &View,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let looker = Looker {
            site: site.clone(),
            key: site.recovery_key(cancel)?,
            view: State::open(&site.surroundings().state_directory)?.view_path(),
            cancel: cancel.clone(),
        };
        let known = view.mark()?;
        let names = site.plan().tiers().keys().cloned();
        let mut asked =
            Inquiry::begin(names, move |name, events: &dyn EventSink| looker.look(name, events));
        let heard = |name: &TierName| site.silent_for(name);
        let found = asked.gather_unless_silent(events, site.silence_max(), heard);
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        found.extend(asked.awaited().iter().map(|name| (name.clone(), Err(site.late(name)))));
        Self::new(site, (view, known), found)
    }

    /// Finds what was recorded and is gone, tier by tier; of tiers that could not be looked at
    /// nothing is said, nor of what was recorded since it was looked: a backup may have made it meanwhile.
    pub fn missing(&self, view: &View) -> Result<Vec<Missing>, OpsError> {
        let mut missing = Vec::new();
        for (tier, present) in &self.present {
            let let_go = let_go(view, tier)?;
            let gone: BTreeSet<_> = recorded(view, tier, self.known)?
                .into_iter()
                .filter(|snapshot| !present.contains(snapshot) && !let_go.contains(snapshot))
                .collect();
            if !gone.is_empty() {
                let snapshots = gone.into_iter().collect();
                missing.push(Missing { tier: tier.clone(), snapshots });
            }
        }
        Ok(missing)
    }

    /// Records what is gone, once each time that it went.
    pub(crate) fn record_missing(&self, open: &OpenSite<'_>) -> Result<(), OpsError> {
        for Missing { tier, snapshots } in self.missing(open.catalog().view())? {
            record_gone(open, &tier, snapshots)?;
        }
        Ok(())
    }
}

/// Looks into tiers, on whichever thread.
struct Looker {
    site: Site,
    key: RecoveryKey,
    view: PathBuf,
    cancel: Cancel,
}

impl Looker {
    fn look(&self, name: &TierName, events: &dyn EventSink) -> Result<Snapshots, Trouble> {
        match self.site.reach(name) {
            Reached::Trouble(trouble) => Err(trouble),
            Reached::Vacant(vacancy) => {
                let error = self.nothing_at(name, vacancy.address());
                Err(Trouble::of(&error.unwrap_or_else(|error| error)))
            }
            Reached::Ready(tier) => {
                let seen = self.see(&tier, events);
                seen.map(|seen| seen.snapshots).map_err(|error| Trouble::of(&error))
            }
        }
    }

    fn nothing_at(&self, name: &TierName, address: &str) -> Result<OpsError, OpsError> {
        let adoptions = Adoptions::load(&View::open(&self.view)?, name)?;
        Ok(adoptions.nothing_at(address).trouble(name.clone(), address.to_owned()))
    }

    fn see(&self, tier: &NamedTier, events: &dyn EventSink) -> Result<Seen, OpsError> {
        let surroundings = self.site.surroundings();
        let opened = repositories::open(tier, &self.key, surroundings, events, &self.cancel)?;
        see(&View::open(&self.view)?, &tier.name, &opened)
    }
}

/// Records snapshots that are gone from a tier, unless that was told since they were stored there last.
pub(crate) fn record_gone(
    open: &OpenSite<'_>,
    tier: &TierName,
    gone: impl IntoIterator<Item = SnapshotId>,
) -> Result<(), OpsError> {
    let view = open.catalog().view();
    let told = last(view, tier, "snapshots-missing", |body| match body {
        Body::SnapshotsMissing(body) => body.snapshots.clone(),
        _ => Vec::new(),
    })?;
    let stored = last(view, tier, "asset-backed-up", |body| match body {
        Body::AssetBackedUp(body) => {
            let here = body.snapshots.iter().filter(|there| there.tier == *tier);
            here.map(|there| there.snapshot).collect()
        }
        _ => Vec::new(),
    })?;
    let is_news = |id: &SnapshotId| told.get(id).is_none_or(|told| stored.get(id) > Some(told));
    let snapshots: Vec<_> = gone.into_iter().filter(is_news).collect();
    if !snapshots.is_empty() {
        let tier = tier.clone();
        open.record(Body::SnapshotsMissing(SnapshotsMissing { tier, snapshots }))?;
    }
    Ok(())
}

/// Returns when records of a kind about a tier told of snapshots last.
fn last(
    view: &View,
    tier: &TierName,
    kind: &str,
    snapshots: impl Fn(&Body) -> Vec<SnapshotId>,
) -> Result<BTreeMap<SnapshotId, Timestamp>, OpsError> {
    let wanted = Wanted { kind, asset: None, tier: Some(tier), good_only: false };
    let mut last = BTreeMap::new();
    for record in view.latest(wanted, u32::MAX)?.iter().rev() {
        let time = record.header().time;
        last.extend(snapshots(record.body()).into_iter().map(|id| (id, time)));
    }
    Ok(last)
}

/// Returns what retention decided to remove from a tier, or somebody said may stay away.
pub(crate) fn let_go(view: &View, tier: &TierName) -> Result<BTreeSet<SnapshotId>, OpsError> {
    let wanted =
        Wanted { kind: "retention-decided", asset: None, tier: Some(tier), good_only: false };
    let records = view.latest(wanted, u32::MAX)?;
    let decided = records.iter().filter_map(|record| match record.body() {
        Body::RetentionDecided(body) => Some(&body.snapshots),
        _ => None,
    });
    Ok(decided.flatten().copied().collect())
}

/// Tells of each recorded snapshot whether nothing was left out of it.
fn completeness(view: &View) -> Result<BTreeMap<SnapshotId, bool>, OpsError> {
    let wanted = Wanted { kind: "asset-backed-up", asset: None, tier: None, good_only: false };
    let records = view.latest(wanted, u32::MAX)?;
    let bodies = records.iter().filter_map(|record| match record.body() {
        Body::AssetBackedUp(body) => Some(body),
        _ => None,
    });
    let each = |body: &AssetBackedUp| {
        let complete = body.captured.is_some();
        body.snapshots.iter().map(|there| (there.snapshot, complete)).collect::<Vec<_>>()
    };
    Ok(bodies.flat_map(each).collect())
}

/// The recovery points of a site.
#[derive(Debug, Serialize)]
pub struct PointsReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// The points, the newest first.
    pub points: Vec<Point>,
    /// Tiers that could not be looked at, so that what only they hold is not shown.
    pub troubles: BTreeMap<TierName, Trouble>,
    /// Tiers that were found damaged, and not whole since: what of them comes back is not known.
    pub damaged: BTreeSet<TierName>,
    /// Snapshots that were recorded and are gone.
    pub missing: Vec<Missing>,
}

/// Lists recovery points; those that hold an asset, if one is named.
pub fn recovery_points(
    site: &Site,
    asset: Option<&AssetName>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<PointsReport, OpsError> {
    if let Some(asset) = asset {
        site.asset(asset)?;
    }
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path())?;
    let holdings = Holdings::look(site, &view, events, cancel)?;
    let missing = holdings.missing(&view)?;
    let Holdings { mut points, troubles, damaged, .. } = holdings;
    let ladder = Ladder::load(&view, site.plan())?;
    for point in &mut points {
        let held = point.members.iter().flat_map(|member| member.capture.copies.keys());
        let held: BTreeSet<_> = held.cloned().collect();
        let on = |tier: TierName| Some((tier.clone(), ladder.point(point, &tier)?));
        point.heights = held.into_iter().filter_map(on).collect();
    }
    if let Some(asset) = asset {
        points.retain(|point| point.members.iter().any(|m| m.capture.asset == *asset));
    }
    let site = site.name().clone();
    Ok(PointsReport { schema: SCHEMA, site, points, troubles, damaged, missing })
}
