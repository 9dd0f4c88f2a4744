//! Recovery points: what the snapshots on the tiers tie together. Pure.
//!
//! A point is a time T of the database, the first media snapshot that started at or after T (else
//! the latest), and the last configuration snapshot before T. A plan without a database has one
//! point for each job, whose T is the job's first snapshot. A point exists only as far as its
//! snapshots do: it is computed from what is on the tiers, never from what was recorded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use lifeboat_model::instant::{compact_instant, parse_instant};
use lifeboat_model::{AssetName, SnapshotId, TierName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::plan::check::Probe;
use lifeboat_repository::Snapshot;
use serde::{Serialize, Serializer};

use crate::error::OpsError;
use crate::ladder::Height;

/// Which moment is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest there is.
    Latest,
    /// The newest at or before this time, and nothing later by a fraction of a second.
    Time(Timestamp),
    /// What the point ties together that is called like this second; if none is, what there was at its beginning.
    Named(Timestamp),
}

impl At {
    /// Reads `latest`, a time as RFC 3339 has it, or `YYYYMMDD_HHMMSS`, which is how points are called.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        for kind in ["lsn:", "xid:", "name:"] {
            if text.starts_with(kind) {
                return Err(OpsError::NotBuilt { what: format!("restoring to `{text}`") });
            }
        }
        if text == "immediate" {
            return Err(OpsError::NotBuilt { what: "restoring to `immediate`".to_owned() });
        }
        let time = parse_instant(text).map_err(|_| OpsError::NoTime { text: text.to_owned() })?;
        Ok(if compact_instant(time) == text { Self::Named(time) } else { Self::Time(time) })
    }

    /// Spells it as [`Self::parse`] reads it.
    pub fn spelled(self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Time(at) => at.to_string(),
            Self::Named(at) => compact_instant(at),
        }
    }

    /// Tells whether a snapshot of this time comes into question.
    pub fn reaches(self, time: Timestamp) -> bool {
        match self {
            Self::Latest => true,
            Self::Time(at) | Self::Named(at) => time <= at,
        }
    }

    /// Tells whether this point is the one that is named.
    pub fn names(self, point: &Point) -> bool {
        matches!(self, Self::Named(at) if compact_instant(at) == point.name)
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("at all"),
            Self::Time(at) => write!(f, "at or before {at}"),
            Self::Named(at) => {
                write!(f, "in a point called {}, or before {at}", compact_instant(*at))
            }
        }
    }
}

/// What part an asset plays in a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The rest looks towards it.
    Database,
    /// What the database names: taken at or after it, so that nothing it names is missing.
    Media,
    /// What the database runs with: taken before it.
    Configuration,
}

/// Tells what part each asset of a plan plays.
///
/// Media are the files that a check's `files_in` names; in a plan without such a check, all file
/// assets that are not watched.
pub fn roles(plan: &Plan) -> BTreeMap<AssetName, Role> {
    let named: BTreeSet<&AssetName> = plan
        .checks()
        .values()
        .filter_map(|probe| match probe {
            Probe::FilesIn(probe) => Some(&probe.files_in),
            _ => None,
        })
        .collect();
    let role = |name: &AssetName, kind: &AssetKind| match kind {
        AssetKind::Postgres(_) => Role::Database,
        AssetKind::Files(_) if named.contains(name) => Role::Media,
        AssetKind::Files(files) if named.is_empty() && !files.watch => Role::Media,
        AssetKind::Files(_) | AssetKind::Command(_) => Role::Configuration,
    };
    plan.assets().iter().map(|(name, asset)| (name.clone(), role(name, &asset.kind))).collect()
}

/// The tag that ties a snapshot to something, like `asset=media`.
pub fn tag(key: &str, value: &impl std::fmt::Display) -> String {
    format!("{key}={value}")
}

/// Returns what a snapshot is tied to by a tag.
pub(crate) fn tagged<'s>(snapshot: &'s Snapshot, key: &str) -> Option<&'s str> {
    snapshot.tags.iter().find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='))
}

/// One capture of an asset, wherever copies of it are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capture {
    /// Of which asset.
    pub asset: AssetName,
    /// In which job.
    pub job: Option<String>,
    /// When it was captured: a database's own moment, else the start of reading.
    pub time: Timestamp,
    /// When reading ended, where that is known.
    pub ended: Option<Timestamp>,
    /// Whether nothing was left out, where that was recorded.
    pub complete: Option<bool>,
    /// Its snapshot on each tier that has it.
    pub copies: BTreeMap<TierName, SnapshotId>,
}

/// Gathers the captures of a site from what its tiers hold, the oldest first.
pub fn captures<'s>(
    site: &str,
    tiers: impl IntoIterator<Item = (&'s TierName, &'s [(SnapshotId, Snapshot)])>,
) -> Vec<Capture> {
    let mut found: BTreeMap<(Timestamp, AssetName, Option<String>), Capture> = BTreeMap::new();
    for (tier, snapshots) in tiers {
        for (id, snapshot) in snapshots.iter().filter(|(_, s)| s.hostname == site) {
            let Some(asset) = tagged(snapshot, "asset").and_then(|name| name.parse().ok()) else {
                continue;
            };
            let job = tagged(snapshot, "job").map(str::to_owned);
            let ended = snapshot.summary.as_ref().map(|summary| summary.backup_end);
            let key: (_, AssetName, _) = (snapshot.time.instant(), asset, job);
            let (time, asset, job) = key.clone();
            let capture = found.entry(key).or_insert_with(|| Capture {
                asset,
                job,
                time,
                ended,
                complete: None,
                copies: BTreeMap::new(),
            });
            capture.copies.insert(tier.clone(), *id);
        }
    }
    found.into_values().collect()
}

/// An asset's part of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// What part it plays.
    pub role: Role,
    /// What was captured.
    #[serde(flatten)]
    pub capture: Capture,
    /// How far it lies from the point's time; negative before it.
    #[serde(rename = "skew_s", serialize_with = "as_seconds")]
    pub skew: SignedDuration,
}

fn as_seconds<S: Serializer>(skew: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(skew.as_secs())
}

/// A moment to which the platform can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its name, which `--at` takes: `YYYYMMDD_HHMMSS` in UTC.
    pub name: String,
    /// Its time.
    pub time: Timestamp,
    /// What there is, in the order of the plan's names.
    pub members: Vec<Member>,
    /// Assets of the plan that it lacks.
    pub missing: Vec<AssetName>,
    /// Tiers that hold all of it, none of which was found damaged.
    pub whole_on: Vec<TierName>,
    /// How far up it is on each tier that holds all of it: as far as the least proven of its members. Filled in where
    /// points are shown.
    pub heights: BTreeMap<TierName, Height>,
}

/// Ties captures to points, the newest first.
pub fn points(roles: &BTreeMap<AssetName, Role>, captures: &[Capture]) -> Vec<Point> {
    let mut points: Vec<_> = anchors(roles, captures)
        .into_iter()
        .map(|(time, job)| point(roles, captures, time, job.as_deref()))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.time));
    points
}

/// Returns the times that points have, with the job that made them: one for each job.
fn anchors(
    roles: &BTreeMap<AssetName, Role>,
    captures: &[Capture],
) -> Vec<(Timestamp, Option<String>)> {
    let has_database = roles.values().any(|role| *role == Role::Database);
    let anchoring = captures.iter().filter(|capture| match roles.get(&capture.asset) {
        Some(role) => !has_database || *role == Role::Database,
        None => false,
    });
    let mut jobs: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut anchors = Vec::new();
    for capture in anchoring {
        match &capture.job {
            // Captures come the oldest first: several databases of a job make one point, at the last
            // of them; without a database it is the job's first capture.
            Some(job) if has_database => {
                jobs.insert(job.clone(), capture.time);
            }
            Some(job) => {
                jobs.entry(job.clone()).or_insert(capture.time);
            }
            None => anchors.push((capture.time, None)),
        }
    }
    anchors.extend(jobs.into_iter().map(|(job, time)| (time, Some(job))));
    anchors
}

fn point(
    roles: &BTreeMap<AssetName, Role>,
    captures: &[Capture],
    time: Timestamp,
    job: Option<&str>,
) -> Point {
    let (mut members, mut missing) = (Vec::new(), Vec::new());
    for (asset, role) in roles {
        let own: Vec<_> = captures.iter().filter(|capture| capture.asset == *asset).collect();
        match choose(*role, &own, time, job) {
            None => missing.push(asset.clone()),
            Some(capture) => members.push(Member {
                role: *role,
                capture: capture.clone(),
                skew: capture.time.duration_since(time),
            }),
        }
    }
    let whole_on = members.iter().map(|member| member.capture.copies.keys().collect());
    let whole_on: Option<BTreeSet<_>> = whole_on.reduce(|all: BTreeSet<_>, one| &all & &one);
    let whole_on = whole_on.unwrap_or_default().into_iter().cloned().collect();
    let heights = BTreeMap::new();
    Point { name: compact_instant(time), time, members, missing, whole_on, heights }
}

/// Chooses one of an asset's captures, which come the oldest first.
fn choose<'c>(
    role: Role,
    own: &[&'c Capture],
    time: Timestamp,
    job: Option<&str>,
) -> Option<&'c Capture> {
    let newest_until = || own.iter().rfind(|capture| capture.time <= time);
    let chosen = match role {
        Role::Database => {
            let same_job = |capture: &&&Capture| job.is_some() && capture.job.as_deref() == job;
            own.iter().find(same_job).or_else(newest_until)
        }
        Role::Media => own.iter().find(|capture| capture.time >= time).or(own.last()),
        Role::Configuration => {
            let ended = |capture: &&Capture| capture.ended.unwrap_or(capture.time) <= time;
            own.iter().rfind(|capture| ended(capture)).or_else(|| own.first())
        }
    };
    chosen.copied()
}

/// A capture that was chosen, and what tied it to the moment that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChosenCapture<'c> {
    /// The capture.
    pub capture: &'c Capture,
    /// The point that was named and ties it; none where it is simply the newest by then.
    pub point: Option<&'c Point>,
}

/// Chooses the capture of an asset: what the point of exactly this name ties to it, else the newest
/// by then.
///
/// A point ties to the database the media that came after it. Whoever names any other moment wants
/// nothing later than that: what came later may be what the restore is to undo.
pub fn capture_at<'c>(
    asset: &AssetName,
    at: At,
    captures: &'c [Capture],
    points: &'c [Point],
) -> Option<ChosenCapture<'c>> {
    let named = points.iter().find(|point| at.names(point));
    let tied = named.and_then(|point| {
        let member = point.members.iter().find(|member| member.capture.asset == *asset)?;
        Some(ChosenCapture { capture: &member.capture, point: Some(point) })
    });
    let newest = || captures.iter().rfind(|c| c.asset == *asset && at.reaches(c.time));
    tied.or_else(|| newest().map(|capture| ChosenCapture { capture, point: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn capture(asset: &str, job: &str, time: i64) -> Capture {
        let copies = BTreeMap::from([(name("primary"), SnapshotId::from_bytes([7; 32]))]);
        let ended = Some(second(time + 5));
        let (asset, job, time) = (name(asset), Some(job.to_owned()), second(time));
        Capture { asset, job, time, ended, complete: None, copies }
    }

    fn three_roles() -> BTreeMap<AssetName, Role> {
        BTreeMap::from([
            (name("database"), Role::Database),
            (name("media"), Role::Media),
            (name("settings"), Role::Configuration),
        ])
    }

    fn sorted(mut captures: Vec<Capture>) -> Vec<Capture> {
        captures.sort_by_key(|capture| capture.time);
        captures
    }

    #[test]
    fn a_point_ties_media_after_and_configuration_before_the_database() {
        let captures = sorted(vec![
            capture("settings", "a", 0),
            capture("database", "a", 10),
            capture("media", "a", 20),
            capture("settings", "b", 100),
            capture("database", "b", 110),
        ]);
        let points = points(&three_roles(), &captures);
        assert_eq!(points.iter().map(|p| p.time).collect::<Vec<_>>(), [second(110), second(10)]);
        let skews = |point: &Point| {
            let skew = |m: &Member| (m.capture.asset.to_string(), m.skew.as_secs());
            point.members.iter().map(skew).collect::<Vec<_>>()
        };
        let expect = |d: i64, m: i64, s: i64| {
            [("database".to_owned(), d), ("media".to_owned(), m), ("settings".to_owned(), s)]
        };
        assert_eq!(skews(&points[1]), expect(0, 10, -10));
        // No media started after the second database: the latest is taken, and its skew shown.
        assert_eq!(skews(&points[0]), expect(0, -90, -10));
        assert_eq!(points[0].whole_on, [name("primary")]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let points = points(&three_roles(), &[capture("database", "a", 0)]);
        assert_eq!(points[0].missing, [name("media"), name("settings")]);
    }

    #[test]
    fn without_a_database_each_job_is_a_point() {
        let roles = BTreeMap::from([(name("media"), Role::Media), (name("site"), Role::Media)]);
        let captures =
            [capture("media", "a", 0), capture("site", "a", 7), capture("media", "b", 50)];
        let points = points(&roles, &captures);
        assert_eq!(points.iter().map(|p| p.time).collect::<Vec<_>>(), [second(50), second(0)]);
    }

    #[test]
    fn a_point_is_found_by_the_name_that_is_shown() {
        let mut exact = capture("database", "a", 0);
        exact.time = "2026-11-23T02:00:00.734Z".parse().unwrap();
        let captures = [exact];
        let points = points(&three_roles(), &captures);
        let at = At::parse(&points[0].name).unwrap();
        let found = capture_at(&name("database"), at, &captures, &points).unwrap();
        assert_eq!((found.capture, found.point), (&captures[0], Some(&points[0])));
        let before = At::parse("20261123_015959").unwrap();
        assert_eq!(capture_at(&name("database"), before, &captures, &points), None);
        // A time is no name: what was captured within its second came after it.
        let time = At::parse("2026-11-23T02:00:00Z").unwrap();
        assert_eq!(capture_at(&name("database"), time, &captures, &points), None);
        let exact = At::parse("2026-11-23T02:00:00.734Z").unwrap();
        let found = capture_at(&name("database"), exact, &captures, &points).unwrap();
        assert_eq!((found.capture, found.point), (&captures[0], None));
    }

    #[test]
    fn a_time_that_is_a_points_gives_nothing_later_and_its_name_what_it_ties() {
        let captures =
            [capture("settings", "a", -50), capture("database", "b", 0), capture("media", "b", 2)];
        let late = [captures[1].clone(), capture("settings", "c", 100)];
        let named = At::Named(second(0));
        for (captures, asset, tied, by_time) in [
            (&captures[..], "media", Some(2), None),
            (&captures[..], "settings", Some(-50), Some(-50)),
            (&captures[..], "database", Some(0), Some(0)),
            // Settings that were captured only later are in the point, and told to be later.
            (&late[..], "settings", Some(100), None),
        ] {
            let points = points(&three_roles(), captures);
            let at = |at| capture_at(&name(asset), at, captures, &points);
            let times = [named, At::Time(second(0))].map(|a| at(a).map(|found| found.capture.time));
            assert_eq!(times, [tied, by_time].map(|time| time.map(second)), "{asset}");
        }
    }

    #[test]
    fn a_points_media_are_taken_although_they_are_later() {
        let captures =
            [capture("media", "a", 0), capture("database", "b", 10), capture("media", "b", 12)];
        let points = points(&three_roles(), &captures);
        for at in [At::Named(second(10)), At::Latest] {
            let found = capture_at(&name("media"), at, &captures, &points).unwrap();
            assert_eq!(found.capture, &captures[2], "{at:?}");
        }
    }

    #[test]
    fn a_moment_between_points_gets_nothing_later() {
        let captures =
            [capture("media", "a", 0), capture("database", "b", 10), capture("media", "c", 60)];
        let points = points(&three_roles(), &captures);
        for at in [At::Time(second(30)), At::Named(second(30))] {
            let found = capture_at(&name("media"), at, &captures, &points).unwrap();
            assert_eq!(found.capture, &captures[0], "the later media may be what is to be undone");
        }
    }

    #[test]
    fn times_are_read_and_others_refused() {
        assert_eq!(At::parse("latest").unwrap(), At::Latest);
        assert!(matches!(At::parse("20261123_020000").unwrap(), At::Named(_)));
        assert!(matches!(At::parse("2026-11-23T02:00:00Z").unwrap(), At::Time(_)));
        assert!(matches!(At::parse("lsn:0/1"), Err(OpsError::NotBuilt { .. })));
        assert!(matches!(At::parse("yesterday"), Err(OpsError::NoTime { .. })));
    }

    proptest! {
        /// Whatever was captured when, whoever names a time gets nothing later.
        #[test]
        fn a_time_never_gives_what_came_after_it(
            times in prop::collection::vec((0_usize..3, 0_i64..50), 0..20),
            at in 0_i64..50,
        ) {
            let assets = ["database", "media", "settings"];
            let captures = sorted(times.iter().enumerate().map(|(n, (asset, time))| {
                capture(assets[*asset], &n.to_string(), *time)
            }).collect());
            let points = points(&three_roles(), &captures);
            for asset in assets {
                let found = capture_at(&name(asset), At::Time(second(at)), &captures, &points);
                let own = captures.iter().filter(|c| c.asset.as_str() == asset);
                let newest = own.map(|c| c.time).filter(|time| *time <= second(at)).max();
                prop_assert_eq!(found.map(|found| found.capture.time), newest);
            }
        }

        /// The rules hold for any history.
        #[test]
        fn members_keep_their_side(times in prop::collection::vec((0_usize..3, 0_i64..1000), 0..40)) {
            let assets = ["database", "media", "settings"];
            let captures = sorted(times.iter().enumerate().map(|(n, (asset, time))| {
                capture(assets[*asset], &n.to_string(), *time)
            }).collect());
            for point in points(&three_roles(), &captures) {
                for member in &point.members {
                    let own = || captures.iter().filter(|c| c.asset == member.capture.asset);
                    match member.role {
                        Role::Database => prop_assert_eq!(member.capture.time, point.time),
                        Role::Media => prop_assert!(
                            member.capture.time >= point.time || own().all(|c| c.time < point.time)
                        ),
                        Role::Configuration => prop_assert!(
                            member.capture.ended.unwrap() <= point.time
                                || own().all(|c| c.ended.unwrap() > point.time)
                        ),
                    }
                }
            }
        }
    }
}
