//! Policies, judged by stock restic: on generated snapshots it keeps what we keep.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::tz::Offset;
use lifeboat_model::{BlobId, Clock, SnapshotId, SystemClock, Timestamp};
use lifeboat_repository::forget::{EmptyPolicy, ForgetError, ForgetOptions, Policy, plan};
use lifeboat_repository::{Snapshot, SnapshotTime};
use serde_json::Value;

use crate::site::Site;

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Makes snapshots of three hosts over some four years, the newest days the densest.
fn generate(seed: u64, count: u64) -> Vec<Snapshot> {
    let mut numbers = Numbers(seed);
    let newest: Timestamp = "2024-03-31T22:59:30Z".parse().unwrap();
    let mut used = std::collections::BTreeSet::new();
    let mut snapshots = Vec::new();
    while (snapshots.len() as u64) < count {
        let hours = match numbers.below(4) {
            0 => numbers.below(48),
            1 => numbers.below(24 * 60),
            _ => numbers.below(24 * 365 * 4),
        };
        let back = i64::try_from(hours * 3600 + numbers.below(3600)).unwrap();
        if !used.insert(back) {
            continue;
        }
        let minutes =
            [0, 0, 60, 120, -300, 330, 845, -570][usize::try_from(numbers.below(8)).unwrap()];
        let offset = Offset::from_seconds(minutes * 60).unwrap();
        let instant = newest.checked_sub(SignedDuration::from_secs(back)).unwrap();
        let tree = BlobId::from_bytes([1; 32]);
        let mut paths = vec!["/srv".to_owned(), "/home".to_owned()];
        if numbers.below(2) == 0 {
            paths.reverse();
        }
        if numbers.below(3) == 0 {
            paths.pop();
        }
        let mut snapshot = Snapshot::new(instant, tree, paths);
        snapshot.time = SnapshotTime::new(instant, offset);
        snapshot.hostname = format!("host-{}", numbers.below(3));
        for tag in ["a", "b", "c"] {
            if numbers.below(4) == 0 {
                snapshot.tags.push(tag.to_owned());
            }
        }
        snapshots.push(snapshot);
    }
    snapshots
}

/// The options of a run, as restic's words.
const RUNS: [&[&str]; 26] = [
    &["--keep-last=5"],
    &["--keep-last=1000"],
    &["--keep-hourly=7"],
    &["--keep-daily=10"],
    &["--keep-daily=4", "--group-by="],
    &["--keep-weekly=9", "--group-by=host"],
    &["--keep-monthly=6"],
    &["--keep-yearly=2"],
    &["--keep-yearly=30", "--group-by=host"],
    &[
        "--keep-last=2",
        "--keep-daily=7",
        "--keep-weekly=5",
        "--keep-monthly=12",
        "--keep-yearly=75",
    ],
    &["--keep-within=3d"],
    &["--keep-within=1m"],
    &["--keep-within=1y5m7d2h", "--group-by=paths"],
    &["--keep-within-hourly=2d", "--group-by="],
    &["--keep-within-daily=2m"],
    &["--keep-within-weekly=1y", "--group-by=host"],
    &["--keep-within-monthly=13m"],
    &["--keep-within-yearly=10y", "--keep-last=1"],
    &[
        "--keep-within-daily=1m",
        "--keep-within-weekly=6m",
        "--keep-within-monthly=2y",
        "--keep-last=3",
    ],
    &["--keep-tag=a", "--keep-last=1"],
    &["--keep-tag=a,b", "--keep-tag=c", "--keep-daily=2"],
    &["--keep-tag=", "--keep-last=1", "--group-by=host,tags"],
    &["--keep-daily=3", "--host=host-1", "--host=host-2"],
    &["--keep-monthly=3", "--tag=a,c", "--tag=b"],
    &["--keep-weekly=4", "--path=/srv", "--group-by=tag"],
    &["--keep-last=2", "--tag="],
];

fn options(words: &[&str]) -> ForgetOptions {
    let mut options = ForgetOptions::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        let policy = &mut options.policy;
        match name {
            "--keep-last" => policy.last = value.parse().unwrap(),
            "--keep-hourly" => policy.hourly = value.parse().unwrap(),
            "--keep-daily" => policy.daily = value.parse().unwrap(),
            "--keep-weekly" => policy.weekly = value.parse().unwrap(),
            "--keep-monthly" => policy.monthly = value.parse().unwrap(),
            "--keep-yearly" => policy.yearly = value.parse().unwrap(),
            "--keep-within" => policy.within = value.parse().unwrap(),
            "--keep-within-hourly" => policy.within_hourly = value.parse().unwrap(),
            "--keep-within-daily" => policy.within_daily = value.parse().unwrap(),
            "--keep-within-weekly" => policy.within_weekly = value.parse().unwrap(),
            "--keep-within-monthly" => policy.within_monthly = value.parse().unwrap(),
            "--keep-within-yearly" => policy.within_yearly = value.parse().unwrap(),
            "--keep-tag" => policy.tags.push(value.parse().unwrap()),
            "--group-by" => options.group_by = value.parse().unwrap(),
            "--host" => options.filter.hosts.push(value.to_owned()),
            "--tag" => options.filter.tags.push(value.parse().unwrap()),
            "--path" => options.filter.paths.push(value.to_owned()),
            other => panic!("{other}"),
        }
    }
    options
}

/// Why each snapshot is kept, by what its group has in common; of those that go nothing.
type Verdict = BTreeMap<(String, String), Vec<String>>;

fn restics_verdict(site: &Site, words: &[&str]) -> Verdict {
    let arguments = ["forget", "--dry-run", "--json"].iter().chain(words);
    let output = site.restic().run(arguments).unwrap();
    let groups: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut verdict = Verdict::new();
    for group in groups.as_array().unwrap() {
        let list = |name: &str| group[name].as_array().cloned().unwrap_or_default();
        let key = format!("{} {} {}", group["host"], group["paths"], group["tags"]);
        let key = key.replace("null", "[]");
        for (kept, reason) in list("keep").iter().zip(list("reasons")) {
            let id = kept["id"].as_str().unwrap().to_owned();
            let reasons = reason["matches"].as_array().unwrap().iter();
            let reasons = reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect();
            verdict.insert((key.clone(), id), reasons);
        }
        for removed in list("remove") {
            verdict.insert((key.clone(), removed["id"].as_str().unwrap().to_owned()), Vec::new());
        }
    }
    verdict
}

/// Our verdict, without the oldest snapshots that only later versions of restic keep.
fn our_verdict(snapshots: Vec<(SnapshotId, Snapshot)>, words: &[&str]) -> Verdict {
    let plan = plan(snapshots, &options(words), SystemClock.now()).unwrap();
    let mut verdict = Verdict::new();
    for group in plan.groups {
        let json =
            |value: Option<Vec<String>>| serde_json::to_string(&value.unwrap_or_default()).unwrap();
        let host = group.key.host.unwrap_or_default();
        let key = format!("\"{host}\" {} {}", json(group.key.paths), json(group.key.tags));
        for kept in group.keep {
            let mut reasons = kept.reasons;
            reasons.retain(|reason| !reason.starts_with("oldest "));
            verdict.insert((key.clone(), kept.id.to_hex()), reasons);
        }
        for (id, _) in group.remove {
            verdict.insert((key.clone(), id.to_hex()), Vec::new());
        }
    }
    verdict
}

#[test]
fn restic_keeps_what_we_keep_and_for_the_same_reasons() {
    for (seed, count) in [(1, 150), (2, 12)] {
        let site = Site::new();
        let repository = site.repository();
        for snapshot in generate(seed, count) {
            repository.save_snapshot(&snapshot).unwrap();
        }
        for words in RUNS {
            let ours = our_verdict(repository.snapshots().unwrap(), words);
            assert_eq!(ours, restics_verdict(&site, words), "seed {seed}, {words:?}");
        }
    }
}

fn some() -> Vec<(SnapshotId, Snapshot)> {
    let snapshots = generate(7, 20).into_iter().zip(0..);
    snapshots.map(|(snapshot, number)| (SnapshotId::from_bytes([number; 32]), snapshot)).collect()
}

#[test]
fn what_would_keep_nothing_is_refused() {
    let now = SystemClock.now();
    let nothing = ForgetOptions::default();
    assert_eq!(plan(some(), &nothing, now), Err(ForgetError::NoPolicy));
    let all = ForgetOptions { empty_policy: EmptyPolicy::RemovesAll, ..nothing };
    assert_eq!(plan(some(), &all, now), Err(ForgetError::NoFilter));
    let mut of_host = all;
    of_host.filter.hosts.push("host-1".to_owned());
    let removed = plan(some(), &of_host, now).unwrap().removed();
    assert!(!removed.is_empty() && removed.len() < 20);
    let tags = vec!["never given".parse().unwrap()];
    let policy = Policy { tags, ..Policy::default() };
    let keeps_nothing = ForgetOptions { policy, ..ForgetOptions::default() };
    let error = plan(some(), &keeps_nothing, now).unwrap_err();
    assert!(matches!(error, ForgetError::KeepsNothing { .. }), "{error}");
}
