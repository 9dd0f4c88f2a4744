//! What carrying a procedure out would do, said before anything is done: from which point, what it replaces, what is
//! lost, and how long each step is thought to take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::{
    AssetName, Cancel, EventSink, RunId, ScenarioName, SiteName, StepName, TierName, Timestamp,
};
use lifeboat_plan::plan::runbook::{Action, Extent, RestoreAction, RunKind};
use lifeboat_plan::plan::tier::Tier;
use lifeboat_plan::value::duration::Span;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_runbook::entry::AttemptEnding;
use lifeboat_runbook::{Entry, Fact, PointFound};
use serde::{Deserialize, Serialize};

use super::conduct::POINT;
use super::report::milliseconds;
use super::runs::Runs;
use super::{Procedure, ProcedureError};
use crate::error::{OpsError, Trouble, explain};
use crate::holdings;
use crate::point::{self, At, Point, Role};
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::recovery::{
    self, RecoveryOptions, has_base_backups, has_base_backups_alone, has_log, is_replayed,
};
use crate::residence::destination::Destination as Whither;
use crate::restore::{self, Destination, RestoreOptions};
use crate::thaw::ThawForecast;
use crate::wire::Site;

/// The version of [`Outlook`] as JSON.
pub const SCHEMA: u32 = 1;

/// How many points that were not chosen are told.
const REJECTED_MAX: usize = 20;

/// What a recovery would do.
#[derive(Debug, Clone, Serialize)]
pub struct Outlook {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// What happened.
    pub scenario: ScenarioName,
    /// What people call it.
    pub title: String,
    /// The point that it would come back to; none if nothing is restored.
    pub point: Option<ChosenPoint>,
    /// What it means for where the platform lives; nothing where that is never said.
    pub destination: Option<Whither>,
    /// Newer points, and why they are not taken.
    pub rejected: Vec<RejectedPoint>,
    /// Tiers that somebody says are lost.
    pub without: BTreeSet<TierName>,
    /// Tiers that could not be looked at.
    pub troubles: BTreeMap<TierName, Trouble>,
    /// What is replaced.
    pub replaces: Vec<Replaced>,
    /// What comes back to an earlier time than the point's, as nothing newer of it was captured by then.
    pub behind: BTreeMap<AssetName, Timestamp>,
    /// How much of the newest data is lost, in milliseconds: of the asset that loses most.
    pub loss_ms: Option<u64>,
    /// How much may be lost, in milliseconds.
    pub rpo_ms: Option<u64>,
    /// How long it may take, in milliseconds.
    pub rto_ms: Option<u64>,
    /// What the restores find in cold storage; the run asks for it.
    pub thaws: Vec<StepThaw>,
    /// How long it is thought to take at most, in milliseconds: each step as it took last, or else as its plan thinks,
    /// and the hours of cold storage. Steps of which nothing is known count for nothing.
    pub predicted_ms: u64,
    /// The steps, in the order in which they can be done.
    pub steps: Vec<StepOutlook>,
}

/// A point that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChosenPoint {
    /// What `at` of a step gets.
    pub at: String,
    /// Its time.
    pub time: Timestamp,
    /// The next older one that would do.
    pub older: Option<String>,
}

/// A point that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedPoint {
    /// Its name.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// Something that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// By which step.
    pub step: StepName,
    /// Where.
    pub target: String,
    /// What is there now; nothing, if nothing is in the way.
    pub what: Vec<String>,
    /// Whether it is kept aside.
    pub is_kept: bool,
    /// When what comes back was captured, unless it goes to the very moment.
    pub captured: Option<Timestamp>,
    /// Why that could not be found out, if it could not.
    pub trouble: Option<String>,
}

/// What a step finds in cold storage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepThaw {
    /// Which step.
    pub step: StepName,
    /// What it finds.
    #[serde(flatten)]
    pub forecast: ThawForecast,
}

/// What is known of a step beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepOutlook {
    /// Which.
    pub step: StepName,
    /// What people call it.
    pub title: Option<String>,
    /// How many groups of steps come before it; those of one group go side by side.
    pub layer: usize,
    /// Why it is left out, if it is.
    pub left_out: Option<String>,
    /// How long the plan thinks that it takes.
    pub estimate: Option<String>,
    /// How long it took the last time, in milliseconds.
    pub measured_ms: Option<u64>,
    /// How long it is thought to take at most, with the hours of cold storage, in milliseconds.
    pub predicted_ms: Option<u64>,
}

/// Looks ahead; changes nothing but the catalog's view.
pub fn look_ahead(
    site: &Site,
    procedure: &Procedure,
    at: At,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Outlook, ProcedureError> {
    // First: what the tiers tell of moves tells of the points, too.
    let destination = Whither::look_ahead(site, not_whole(site, procedure), cancel)?;
    let needed = Needed::of(site, procedure);
    let now = site.surroundings().now();
    let mut choice = Choice::default();
    let mut troubles = BTreeMap::new();
    if !needed.assets.is_empty() {
        let report = holdings::recovery_points(site, None, events, cancel)?;
        refuse_the_future(&report.points, at, now)?;
        let doubts = Doubts { tiers: report.damaged, points: found_damaged(site)? };
        choice = choose(&report.points, &needed, &doubts, at);
        troubles = report.troubles;
        if choice.chosen.is_none() {
            return Err(no_point(site, procedure, at, troubles));
        }
    }
    let scenario = procedure.scenario();
    let destination =
        destination.map(|whither| whither.at_point(choice.chosen.as_ref().map(|point| point.time)));
    let is_whole = destination.as_ref().is_some_and(|whither| whither.is_whole);
    let (replaces, thaws) = restores(site, procedure, choice.chosen.as_ref(), (events, cancel));
    let behind = behind(procedure, choice.chosen.as_ref(), &replaces, &point::roles(site.plan()));
    let loss = choice.chosen.as_ref().map(|point| {
        let earliest = behind.values().copied().fold(point.time, Timestamp::min);
        if is_whole { Duration::ZERO } else { elapsed(earliest, now) }
    });
    let steps = steps(procedure, &measured(site, procedure)?, &thaws);
    let restoring = replaces.iter().map(|replaced| replaced.step.clone()).collect();
    Ok(Outlook {
        schema: SCHEMA,
        site: site.name().clone(),
        scenario: procedure.name().clone(),
        title: procedure.title().to_owned(),
        replaces,
        behind,
        thaws,
        predicted_ms: predicted(&steps, &restoring),
        point: choice.chosen,
        destination,
        rejected: choice.rejected,
        without: site.done_without().clone(),
        troubles,
        loss_ms: loss.map(milliseconds),
        rpo_ms: scenario.rpo.map(|rpo| milliseconds(rpo.duration())),
        rto_ms: rto(site, procedure).map(milliseconds),
        steps,
    })
}

/// Tells that nothing fits from that nobody could be asked.
fn no_point(
    site: &Site,
    procedure: &Procedure,
    at: At,
    troubles: BTreeMap<TierName, Trouble>,
) -> ProcedureError {
    if site.plan().tiers().keys().all(|tier| troubles.contains_key(tier)) {
        return ProcedureError::NoTierAsked { troubles };
    }
    let (scenario, when) = (procedure.name().clone(), at.to_string());
    ProcedureError::NoPoint { scenario, when, unasked: troubles }
}

/// Returns how long a recovery may take: what its scenario says, else the class of that.
pub fn rto(site: &Site, procedure: &Procedure) -> Option<Duration> {
    let scenario = procedure.scenario();
    let class = scenario.class.as_ref().and_then(|class| site.plan().classes().get(class));
    scenario.rto.or(class.and_then(|class| class.rto)).map(Span::duration)
}

/// What a procedure restores, and how near to a moment each of it comes.
#[derive(Debug, Default)]
struct Needed {
    assets: BTreeSet<AssetName>,
    /// Those that come back from base backups alone.
    bases: BTreeSet<AssetName>,
    /// Those whose log leads to any moment.
    moments: BTreeSet<AssetName>,
}

impl Needed {
    fn of(site: &Site, procedure: &Procedure) -> Self {
        let mut needed = Self::default();
        for step in procedure.steps() {
            let Action::Restore(RestoreAction { restore }) = &step.action else { continue };
            let asset = &restore.asset;
            needed.assets.insert(asset.clone());
            if has_base_backups_alone(site, asset) {
                needed.bases.insert(asset.clone());
            }
            if is_replayed(site, asset, restore.to.as_ref()) && has_log(site, asset) {
                needed.moments.insert(asset.clone());
            }
        }
        needed
    }

    /// Returns what is taken of a point for the time that was asked for. What has a log goes to that time; nothing else can
    /// lie between two points.
    fn chosen(&self, point: &Point, at: At) -> ChosenPoint {
        let (at, time) = match at {
            At::Time(time) | At::Named(time) if !at.names(point) && !self.moments.is_empty() => {
                (time.to_string(), time)
            }
            _ => (point.name.clone(), makes_sense_from(point, &self.bases)),
        };
        ChosenPoint { at, time, older: None }
    }
}

/// Refuses a time that did not come yet: what would come back is what there is now, which is not what was asked for. A point
/// that somebody named is there, whatever the clock says.
fn refuse_the_future(points: &[Point], at: At, now: Timestamp) -> Result<(), ProcedureError> {
    match at {
        At::Time(time) | At::Named(time)
            if time > now && !points.iter().any(|point| at.names(point)) =>
        {
            Err(ProcedureError::Future { at: time, now })
        }
        _ => Ok(()),
    }
}

/// Returns what comes back to an earlier time than the point's. What is captured whenever it changes is not behind.
fn behind(
    procedure: &Procedure,
    point: Option<&ChosenPoint>,
    replaces: &[Replaced],
    roles: &BTreeMap<AssetName, Role>,
) -> BTreeMap<AssetName, Timestamp> {
    let Some(point) = point else { return BTreeMap::new() };
    let of_step = |replaced: &Replaced| {
        let captured = replaced.captured.filter(|captured| *captured < point.time)?;
        let Action::Restore(action) = &procedure.step(&replaced.step)?.action else { return None };
        let asset = &action.restore.asset;
        let counts = roles.get(asset).is_some_and(|role| *role != Role::Configuration);
        counts.then(|| (asset.clone(), captured))
    };
    replaces.iter().filter_map(of_step).collect()
}

/// The assets of the plan that a procedure does not bring back whole to where they were.
fn not_whole(site: &Site, procedure: &Procedure) -> BTreeSet<AssetName> {
    let brings_back = |asset: &AssetName| {
        procedure.steps().iter().any(|step| match &step.action {
            Action::Restore(RestoreAction { restore }) => {
                restore.asset == *asset && restore.extent == Extent::Everything
            }
            _ => false,
        })
    };
    site.plan().assets().keys().filter(|asset| !brings_back(asset)).cloned().collect()
}

/// Returns the scenarios whose runbooks bring back all that the plan protects.
pub fn bringing_back_all(site: &Site) -> Vec<ScenarioName> {
    let names = site.plan().scenarios().keys();
    let brings_back_all = |name: &&ScenarioName| {
        let procedure = Procedure::of(site.plan(), name, RunKind::Recovery);
        procedure.is_ok_and(|procedure| not_whole(site, &procedure).is_empty())
    };
    names.filter(brings_back_all).cloned().collect()
}

/// What speaks against points.
#[derive(Debug, Default)]
struct Doubts {
    /// Tiers that were found damaged.
    tiers: BTreeSet<TierName>,
    /// Points that were found damaged, and by which run.
    points: BTreeMap<String, RunId>,
}

/// Returns the points of which runs of this host read something damaged.
fn found_damaged(site: &Site) -> Result<BTreeMap<String, RunId>, ProcedureError> {
    let met = |entry: &Entry| {
        matches!(&entry.fact, Fact::Ended { ending: AttemptEnding::Failed(failure), .. }
            if failure.point == PointFound::Damaged)
    };
    let runs = Runs::of(site)?.all()?;
    let met = runs.iter().filter(|run| run.entries.iter().any(met));
    Ok(met.filter_map(|run| Some((run.about(POINT)?.to_owned(), run.id))).collect())
}

#[derive(Debug, Default)]
struct Choice {
    chosen: Option<ChosenPoint>,
    rejected: Vec<RejectedPoint>,
}

/// Chooses the newest point that holds what is needed. Pure.
///
/// Where nobody says which, one that lies whole on tiers that were not found damaged goes before a newer one that does not, and
/// where all of them were, one that no run failed with before a newer one with which one did.
fn choose(points: &[Point], needed: &Needed, doubts: &Doubts, at: At) -> Choice {
    if at == At::Latest {
        let sound = choose_among(points, needed, &doubts.tiers, at);
        if sound.chosen.is_some() {
            return sound;
        }
        let (bad, rest): (Vec<_>, Vec<_>) =
            points.iter().cloned().partition(|point| doubts.points.contains_key(&point.name));
        let mut untried = choose_among(&rest, needed, &BTreeSet::new(), at);
        if let Some(chosen) = &untried.chosen {
            let newer = bad.iter().filter(|point| point.time > chosen.time);
            untried.rejected.extend(newer.map(|point| RejectedPoint {
                name: point.name.clone(),
                why: format!("{} found it damaged", doubts.points[&point.name]),
            }));
            return untried;
        }
    }
    choose_among(points, needed, &BTreeSet::new(), at)
}

fn choose_among(points: &[Point], needed: &Needed, damaged: &BTreeSet<TierName>, at: At) -> Choice {
    let mut choice = Choice::default();
    for point in points {
        let why = unsuitable(point, &needed.assets, damaged, at);
        match (&mut choice.chosen, why) {
            (None, Some(why)) => {
                if choice.rejected.len() < REJECTED_MAX {
                    choice.rejected.push(RejectedPoint { name: point.name.clone(), why });
                }
            }
            (None, None) => choice.chosen = Some(needed.chosen(point, at)),
            (Some(_), Some(_)) => {}
            (Some(chosen), None) => {
                chosen.older = Some(point.name.clone());
                break;
            }
        }
    }
    choice
}

/// Returns the moment of a point from which base backups can lead to it: what was read while they were made makes sense
/// only once they ended.
fn makes_sense_from(point: &Point, bases: &BTreeSet<AssetName>) -> Timestamp {
    let members = point.members.iter().map(|member| &member.capture);
    let ended =
        members.filter(|capture| bases.contains(&capture.asset)).filter_map(|own| own.ended);
    ended.fold(point.time, Timestamp::max)
}

/// Says why a point will not do.
fn unsuitable(
    point: &Point,
    needed: &BTreeSet<AssetName>,
    damaged: &BTreeSet<TierName>,
    at: At,
) -> Option<String> {
    if !at.reaches(point.time) && !at.names(point) {
        return Some("it is later than the time that was asked for".to_owned());
    }
    needed.iter().find_map(|asset| {
        let member = point.members.iter().find(|member| member.capture.asset == *asset);
        match member {
            None => Some(format!("it lacks `{asset}`")),
            Some(member) if member.capture.complete == Some(false) => {
                Some(format!("not all of `{asset}` was captured"))
            }
            Some(member) if member.capture.copies.keys().all(|tier| damaged.contains(tier)) => {
                Some(format!("`{asset}` of it lies only where damage was found"))
            }
            Some(_) => None,
        }
    })
}

/// Finds out what each restore would replace, and what of it lies cold; what cannot be found out is told, and fails
/// nothing yet.
fn restores(
    site: &Site,
    procedure: &Procedure,
    point: Option<&ChosenPoint>,
    heard: (&dyn EventSink, &Cancel),
) -> (Vec<Replaced>, Vec<StepThaw>) {
    let (mut replaced, mut thaws) = (Vec::new(), Vec::new());
    let has_archive = site.plan().tiers().values().any(Tier::is_archive);
    for step in procedure.steps() {
        let Action::Restore(action) = &step.action else { continue };
        let what = &action.restore;
        let mut found = Replaced {
            step: step.id.clone(),
            target: what.to.as_ref().map_or_else(String::new, ToString::to_string),
            what: Vec::new(),
            is_kept: true,
            captured: None,
            trouble: None,
        };
        let at = point.map_or("latest", |point| point.at.as_str());
        let forecast = match &what.to {
            None => replacing(site, &what.asset, point, heard).map(|would| {
                found.target = would.target;
                found.what = would.replaces;
                found.is_kept = would.is_kept;
                found.captured = would.captured;
                would.thaw
            }),
            Some(_) if has_archive => cold_beside(site, &what.asset, at, heard),
            Some(_) => Ok(None),
        };
        match forecast {
            Ok(forecast) => {
                let step = &step.id;
                thaws.extend(forecast.map(|forecast| StepThaw { step: step.clone(), forecast }));
            }
            Err(error) => found.trouble = Some(explain(&error)),
        }
        replaced.push(found);
    }
    (replaced, thaws)
}

/// Finds out what lies cold of an asset that is restored beside what is there; where to does not matter.
fn cold_beside(
    site: &Site,
    asset: &AssetName,
    at: &str,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<Option<ThawForecast>, OpsError> {
    let (asset, to) = (asset.clone(), PathBuf::from("/"));
    if has_base_backups(site, &asset) {
        let target = at.parse().map_err(|_| OpsError::NoTime { text: at.to_owned() })?;
        let options = RecoveryOptions::new(asset, target, to);
        return Ok(recovery::preview(site, &options, events, cancel)?.thaw);
    }
    let to = Destination::Directory(to);
    let options = RestoreOptions { at: At::parse(at)?, ..RestoreOptions::new(asset, to) };
    Ok(restore::preview(site, &options, events, cancel)?.thaw)
}

/// What a restore in place would do.
struct InPlace {
    target: String,
    replaces: Vec<String>,
    is_kept: bool,
    captured: Option<Timestamp>,
    thaw: Option<ThawForecast>,
}

fn replacing(
    site: &Site,
    asset: &AssetName,
    point: Option<&ChosenPoint>,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<InPlace, OpsError> {
    if has_base_backups_alone(site, asset) {
        let target = point.map_or(RecoveryTarget::Latest, |point| RecoveryTarget::Time(point.time));
        let options = InPlaceOptions::new(asset.clone(), target);
        let preview = in_place::preview(site, &options, events, cancel)?;
        let replaces = preview.replaces.iter().map(|path| path.display().to_string()).collect();
        let target = preview.recovery.to.display().to_string();
        let thaw = preview.recovery.thaw;
        return Ok(InPlace { target, replaces, is_kept: true, captured: None, thaw });
    }
    let at = point.map_or(Ok(At::Latest), |point| At::parse(&point.at))?;
    let options = RestoreOptions { at, ..RestoreOptions::new(asset.clone(), Destination::InPlace) };
    let preview = restore::preview(site, &options, events, cancel)?;
    let (target, replaces, is_kept) = (preview.target, preview.replaces, preview.keeps_replaced);
    let captured = Some(preview.capture.time);
    Ok(InPlace { target, replaces, is_kept, captured, thaw: preview.thaw })
}

fn steps(
    procedure: &Procedure,
    measured: &BTreeMap<StepName, Duration>,
    thaws: &[StepThaw],
) -> Vec<StepOutlook> {
    let mut steps = Vec::new();
    for (layer, bound) in procedure.runbook().graph.layers().into_iter().enumerate() {
        for step in bound {
            let planned = procedure.step(&step.name);
            let estimate = planned.and_then(|planned| planned.estimate.as_ref());
            let measured = measured.get(&step.name).copied();
            let thaw = thaws.iter().find(|thaw| thaw.step == step.name);
            let thaw = thaw.map(|thaw| thaw.forecast.within());
            let most = estimate.map(|estimate| estimate.most.duration());
            let predicted =
                if step.left_out.is_some() { None } else { most_of(measured, most, thaw) };
            steps.push(StepOutlook {
                step: step.name.clone(),
                title: planned.and_then(|planned| planned.title.clone()),
                layer,
                left_out: step.left_out.clone(),
                estimate: estimate.map(ToString::to_string),
                measured_ms: measured.map(milliseconds),
                predicted_ms: predicted.map(milliseconds),
            });
        }
    }
    steps
}

/// How long a step takes at most. What it took last may hold the hours of another thaw, so its plan is asked first where
/// there is one.
fn most_of(
    measured: Option<Duration>,
    estimate: Option<Duration>,
    thaw: Option<Duration>,
) -> Option<Duration> {
    match thaw {
        None => measured.or(estimate),
        Some(thaw) => Some(thaw + estimate.or(measured).unwrap_or_default()),
    }
}

/// How long all takes at most: those of one group go side by side, but for restores, which take turns at the tiers, and each
/// group waits for the one before.
fn predicted(steps: &[StepOutlook], restoring: &BTreeSet<StepName>) -> u64 {
    let mut layers: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for step in steps {
        let (in_turn, longest) = layers.entry(step.layer).or_default();
        let takes = step.predicted_ms.unwrap_or(0);
        if restoring.contains(&step.step) {
            *in_turn += takes;
        } else {
            *longest = (*longest).max(takes);
        }
    }
    layers.values().map(|(in_turn, longest)| in_turn.max(longest)).sum()
}

/// How long each step took in the last run of the same scenario in which it was done.
fn measured(
    site: &Site,
    procedure: &Procedure,
) -> Result<BTreeMap<StepName, Duration>, ProcedureError> {
    let scenario = procedure.name().as_str();
    let runs = Runs::of(site)?.all()?;
    let same = runs.iter().filter(|run| run.about(super::conduct::SCENARIO) == Some(scenario));
    let mut measured = BTreeMap::new();
    for run in same {
        measured.extend(durations(&run.entries));
    }
    Ok(measured)
}

/// How long the attempts took that worked.
fn durations(entries: &[Entry]) -> BTreeMap<StepName, Duration> {
    let (mut begun, mut durations) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries {
        match &entry.fact {
            Fact::Started { step, .. } | Fact::Asked { step } => {
                begun.insert(step.clone(), entry.time);
            }
            Fact::Ended { step, ending: AttemptEnding::Done { .. } }
            | Fact::Confirmed { step, .. }
            | Fact::Approved { step, .. }
            | Fact::Elapsed { step } => {
                if let Some(from) = begun.get(step) {
                    durations.insert(step.clone(), elapsed(*from, entry.time));
                }
            }
            _ => {}
        }
    }
    durations
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lifeboat_model::SnapshotId;

    use super::*;
    use crate::point::{Capture, Member};

    fn point(second: i64, assets: &[(&str, bool)]) -> Point {
        let time = Timestamp::from_second(1_700_000_000 + second).unwrap();
        let member = |(asset, complete): &(&str, bool)| Member {
            role: Role::Media,
            capture: Capture {
                asset: asset.parse().unwrap(),
                job: None,
                time,
                ended: None,
                complete: Some(*complete),
                copies: BTreeMap::from([(
                    "primary".parse().unwrap(),
                    SnapshotId::from_bytes([7; 32]),
                )]),
            },
            skew: jiff::SignedDuration::ZERO,
        };
        let members = assets.iter().map(member).collect();
        let name = lifeboat_model::instant::compact_instant(time);
        let (missing, whole_on, heights) = Default::default();
        Point { name, time, members, missing, whole_on, heights }
    }

    /// Both, of which these come from base backups alone, and these have a log.
    fn needed(bases: &[&str], moments: &[&str]) -> Needed {
        let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Needed { assets: set(&["database", "media"]), bases: set(bases), moments: set(moments) }
    }

    #[test]
    fn the_newest_point_is_chosen_that_holds_all_and_the_others_say_why_not() {
        let whole = [("database", true), ("media", true)];
        let points = [
            point(400, &[("database", true)]),
            point(300, &[("database", true), ("media", false)]),
            point(200, &whole),
            point(100, &whole),
        ];
        let choice = choose(&points, &needed(&[], &[]), &Doubts::default(), At::Latest);
        let chosen = choice.chosen.unwrap();
        assert_eq!((chosen.at.as_str(), chosen.time), (points[2].name.as_str(), points[2].time));
        assert_eq!(chosen.older.as_deref(), Some(points[3].name.as_str()));
        let why: Vec<_> = choice.rejected.iter().map(|point| point.why.as_str()).collect();
        assert_eq!(why, ["it lacks `media`", "not all of `media` was captured"]);
    }

    #[test]
    fn hours_of_cold_storage_count_into_what_a_recovery_is_thought_to_take() {
        let hours = |hours: u64| Some(Duration::from_hours(hours));
        assert_eq!(most_of(hours(1), hours(2), None), hours(1));
        assert_eq!(most_of(None, hours(2), None), hours(2));
        assert_eq!(most_of(hours(7), hours(2), hours(5)), hours(7), "2 h of the plan, 5 h of thaw");
        assert_eq!(most_of(None, None, None), None);
        let named = |name: &str, layer, predicted: Option<Duration>| StepOutlook {
            step: name.parse().unwrap(),
            title: None,
            layer,
            left_out: None,
            estimate: None,
            measured_ms: None,
            predicted_ms: predicted.map(milliseconds),
        };
        let step = |layer, predicted| named("a", layer, predicted);
        let steps = [step(0, hours(5)), step(0, hours(1)), step(1, None), step(2, hours(2))];
        assert_eq!(predicted(&steps, &BTreeSet::new()), 7 * 3_600_000);
        let steps = [named("b", 0, hours(3)), named("c", 0, hours(4)), step(0, hours(5))];
        let restoring = ["b", "c"].map(|name| name.parse().unwrap()).into();
        assert_eq!(predicted(&steps, &restoring), 7 * 3_600_000, "two restores take turns");
    }

    #[test]
    fn whoever_names_a_moment_gets_it_from_what_has_a_log_and_a_point_from_the_rest() {
        let whole = [("database", true), ("media", true)];
        let points = [point(200, &whole), point(100, &whole)];
        let moment = Timestamp::from_second(1_700_000_150).unwrap();
        let at = |moments, at| choose(&points, &needed(&[], moments), &Doubts::default(), at);
        let choice = at(&["database"], At::Time(moment));
        let chosen = choice.chosen.unwrap();
        assert_eq!((chosen.time, chosen.at), (moment, moment.to_string()));
        assert_eq!(choice.rejected[0].why, "it is later than the time that was asked for");
        let chosen = at(&[], At::Time(moment)).chosen.unwrap();
        assert_eq!((chosen.time, &chosen.at), (points[1].time, &points[1].name));
        let before = Timestamp::from_second(1_700_000_050).unwrap();
        assert_eq!(at(&["database"], At::Time(before)).chosen, None);
    }

    #[test]
    fn a_time_that_did_not_come_yet_is_refused_but_a_point_that_is_there_is_not() {
        let points = [point(200, &[("database", true)])];
        let now = points[0].time - jiff::SignedDuration::from_secs(60);
        let refused = refuse_the_future(&points, At::Time(points[0].time), now).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "2023-11-14T22:16:40Z did not come yet: it is 2023-11-14T22:15:40Z"
        );
        assert!(refuse_the_future(&points, At::parse(&points[0].name).unwrap(), now).is_ok());
        assert!(refuse_the_future(&points, At::Time(now), now).is_ok());
        assert!(refuse_the_future(&points, At::Latest, now).is_ok());
    }

    #[test]
    fn what_lies_only_where_damage_was_found_gives_way_to_an_older_point() {
        let whole = [("database", true), ("media", true)];
        let mut points = [point(300, &whole), point(200, &whole), point(100, &whole)];
        let (near, far): (TierName, TierName) =
            ("primary".parse().unwrap(), "far".parse().unwrap());
        for member in &mut points[1].members {
            member.capture.copies.insert(far.clone(), SnapshotId::from_bytes([8; 32]));
        }
        let damaged = Doubts { tiers: BTreeSet::from([near]), ..Doubts::default() };
        let needed = needed(&[], &[]);
        let choice = choose(&points, &needed, &damaged, At::Latest);
        assert_eq!(choice.chosen.unwrap().at, points[1].name);
        assert_eq!(choice.rejected[0].why, "`database` of it lies only where damage was found");
        // Whoever names it gets it, and where nothing else is left it is tried.
        let named = At::parse(&points[0].name).unwrap();
        let chosen = choose(&points, &needed, &damaged, named).chosen.unwrap();
        assert_eq!(chosen.at, points[0].name);
        let tiers = BTreeSet::from([far, "primary".parse().unwrap()]);
        let mut all = Doubts { tiers, ..Doubts::default() };
        let choice = choose(&points, &needed, &all, At::Latest);
        assert_eq!((choice.chosen.unwrap().at, choice.rejected.len()), (points[0].name.clone(), 0));
        // One with which a run failed is not proposed again, unless nothing else is left.
        let run = RunId::from_uuid(uuid::Uuid::nil());
        all.points.insert(points[0].name.clone(), run);
        let choice = choose(&points, &needed, &all, At::Latest);
        assert_eq!(choice.chosen.unwrap().at, points[1].name);
        assert_eq!(choice.rejected[0].why, format!("{run} found it damaged"));
        all.points.extend(points.iter().map(|point| (point.name.clone(), run)));
        let choice = choose(&points, &needed, &all, At::Latest);
        assert_eq!(choice.chosen.unwrap().at, points[0].name);
    }

    #[test]
    fn whoever_names_a_point_gets_that_point() {
        let whole = [("database", true), ("media", true)];
        let mut points = [point(200, &whole), point(100, &whole)];
        points[1].time += jiff::SignedDuration::from_millis(734);
        let named = At::parse(&points[1].name).unwrap();
        let chosen = choose(&points, &needed(&[], &[]), &Doubts::default(), named).chosen.unwrap();
        assert_eq!((chosen.at.as_str(), chosen.time), (points[1].name.as_str(), points[1].time));
        assert_eq!(At::parse(&chosen.at).unwrap(), named);
    }

    #[test]
    fn a_base_backup_leads_to_a_point_only_once_it_ended() {
        let mut points = [point(200, &[("database", true), ("media", true)])];
        let ended = points[0].time + jiff::SignedDuration::from_secs(3);
        points[0].members[0].capture.ended = Some(ended);
        let needed = |bases| needed(bases, &[]);
        let chosen = choose(&points, &needed(&["database"]), &Doubts::default(), At::Latest);
        let chosen = chosen.chosen.unwrap();
        assert_eq!((chosen.time, chosen.at.as_str()), (ended, points[0].name.as_str()));
        let chosen = choose(&points, &needed(&[]), &Doubts::default(), At::Latest).chosen.unwrap();
        assert_eq!(chosen.time, points[0].time);
    }
}
