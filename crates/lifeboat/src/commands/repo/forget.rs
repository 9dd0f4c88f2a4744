//! `lifeboat repo forget`: remove snapshots that a policy does not keep.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, SnapshotId, Timestamp};
use lifeboat_repository::forget::{
    self, Count, EmptyPolicy, ForgetOptions, ForgetPlan, Policy, Span,
};
use lifeboat_repository::prune::PruneReport;
use lifeboat_repository::selection::{self, GroupBy, SnapshotName, TagList};
use lifeboat_repository::{Repository, Snapshot};
use serde::Serialize;

use super::prune::{self, Limits};
use super::{Access, Run, choice};
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort, Table, time};
use crate::session::Session;

/// The arguments of `lifeboat repo forget`.
///
/// The policy is applied to the snapshots of each host and set of paths by themselves, and keeps
/// what any of its words keeps. Hours, days, weeks, months and years are those of the clock of the
/// snapshot's own host; of each the newest snapshot is kept. Data stays until it is pruned.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::only_when_dry))]
pub struct Forget {
    #[command(flatten)]
    access: Access,
    /// Remove just these snapshots: `latest`, or the first digits of their ids
    #[arg(value_name = "SNAPSHOT", value_parser = choice::snapshot_name())]
    snapshots: Vec<SnapshotName>,
    #[command(flatten)]
    keep: Keep,
    /// Consider only snapshots of this host; repeat it for several
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Consider only snapshots with all of these tags, separated by commas; repeat it for
    /// alternatives; an empty one stands for no tags
    #[arg(long, value_name = "TAGS")]
    tag: Vec<TagList>,
    /// Consider only snapshots of this path; repeat it for snapshots of all of several
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Apply the policy to each group by itself: `host`, `paths`, `tags`, or nothing
    #[arg(long, short = 'g', value_name = "GROUP", default_value = "host,paths")]
    group_by: GroupBy,
    /// Let an empty policy remove all snapshots that `--host`, `--tag` and `--path` name
    #[arg(long)]
    unsafe_allow_remove_all: bool,
    /// Change nothing, only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Remove the data that is not needed any more, too
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    limits: Limits,
}

/// The words of the policy.
#[expect(clippy::struct_field_names, reason = "the fields are the flags, in restic's words")]
#[derive(Debug, Args)]
struct Keep {
    /// Keep the last N snapshots, or `unlimited`
    #[arg(
        long,
        short = 'l',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_last: Count,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(
        long,
        short = 'H',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_hourly: Count,
    /// Keep the newest snapshot of each of the last N days
    #[arg(
        long,
        short = 'd',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_daily: Count,
    /// Keep the newest snapshot of each of the last N weeks
    #[arg(
        long,
        short = 'w',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_weekly: Count,
    /// Keep the newest snapshot of each of the last N months
    #[arg(
        long,
        short = 'm',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_monthly: Count,
    /// Keep the newest snapshot of each of the last N years
    #[arg(
        long,
        short = 'y',
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    keep_yearly: Count,
    /// Keep all snapshots that are at most so much older than the newest, like `1y5m7d2h`
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within: Span,
    /// Keep the newest of each hour within this span
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within_hourly: Span,
    /// Keep the newest of each day within this span
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within_daily: Span,
    /// Keep the newest of each week within this span
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within_weekly: Span,
    /// Keep the newest of each month within this span
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within_monthly: Span,
    /// Keep the newest of each year within this span
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    keep_within_yearly: Span,
    /// Keep snapshots with all of these tags (can be given several times)
    #[arg(long = "keep-tag", value_name = "TAG[,TAG...]")]
    keep_tags: Vec<TagList>,
}

impl Keep {
    fn policy(self) -> Policy {
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            tags: self.keep_tags,
        }
    }
}

#[derive(Serialize)]
struct Forgotten {
    dry_run: bool,
    groups: Vec<Group>,
    prune: Option<PruneReport>,
}

#[derive(Serialize)]
struct Group {
    #[serde(flatten)]
    key: Option<selection::Group>,
    keep: Vec<Entry>,
    remove: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: SnapshotId,
    time: Timestamp,
    hostname: String,
    tags: Vec<String>,
    paths: Vec<String>,
    reasons: Vec<String>,
}

impl Entry {
    fn new(id: SnapshotId, snapshot: Snapshot, reasons: Vec<String>) -> Self {
        Self {
            id,
            time: snapshot.time.instant(),
            hostname: snapshot.hostname,
            tags: snapshot.tags,
            paths: snapshot.paths,
            reasons,
        }
    }
}

impl Answer for Forgotten {
    const SCHEMA: &'static str = "lifeboat.repo.forget/1";

    fn sort(&self) -> Sort {
        if self.dry_run { Sort::Data } else { Sort::Summary }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for Group { key, keep, remove } in &self.groups {
            if let Some(key) = key {
                let colon = if *key == selection::Group::default() { "" } else { ": " };
                let (keep, remove) = (keep.len(), remove.len());
                writeln!(page, "{key}{colon}{keep} kept, {remove} removed")?;
            }
            let mut table = Table::new(["Id", "Time", "Host", "Tags", "Paths", "Result"]);
            for entry in keep.iter().chain(remove) {
                let kept = format!("kept: {}", entry.reasons.join(", "));
                table.row([
                    entry.id.to_string().into(),
                    time::instant(entry.time).into(),
                    entry.hostname.as_str().into(),
                    entry.tags.join(", ").into(),
                    entry.paths.join(", ").into(),
                    if entry.reasons.is_empty() { "removed".to_owned() } else { kept }.into(),
                ]);
            }
            page.table(&table);
        }
        if self.groups.is_empty() {
            writeln!(page, "no snapshots")?;
        }
        if let Some(report) = &self.prune {
            prune::write_report(page, report)?;
        }
        if self.dry_run { writeln!(page, "nothing was changed") } else { Ok(()) }
    }
}

impl Forget {
    /// Removes snapshots, and with `--prune` their data.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        self.access.expect_nothing_held(run, session)?;
        let (repository, lock) = self.access.open_exclusive(run, session)?;
        let options = ForgetOptions {
            filter: choice::filter(&self.host, &self.tag, &self.path),
            group_by: self.group_by,
            policy: self.keep.policy(),
            empty_policy: if self.unsafe_allow_remove_all {
                EmptyPolicy::RemovesAll
            } else {
                EmptyPolicy::Refused
            },
        };
        let groups = groups(&repository, &self.snapshots, &options, session)?;
        let removed: Vec<SnapshotId> =
            groups.iter().flat_map(|group| &group.remove).map(|entry| entry.id).collect();
        if let (Run::Real, Some(lock)) = (run, &lock) {
            forget::remove_snapshots(&repository, lock, &removed, &session.cancel)?;
        }
        let prune = (self.prune && !removed.is_empty())
            .then(|| {
                let without = BTreeSet::from_iter(removed);
                self.limits.prune(repository, lock.as_ref(), without, run, session)
            })
            .transpose()?;
        super::end_lock(lock)?;
        session.done(&Forgotten { dry_run: self.dry_run, groups, prune })
    }
}

fn groups(
    repository: &Repository,
    named: &[SnapshotName],
    options: &ForgetOptions,
    session: &Session,
) -> Result<Vec<Group>, Failure> {
    if !named.is_empty() {
        let snapshots = repository.choose_all(named, &options.filter)?.into_iter();
        let remove = snapshots.map(|(id, snapshot)| Entry::new(id, snapshot, Vec::new())).collect();
        return Ok(vec![Group { key: None, keep: Vec::new(), remove }]);
    }
    let plan = forget::plan(repository.snapshots()?, options, session.clock.now())?;
    Ok(shown(plan))
}

fn shown(plan: ForgetPlan) -> Vec<Group> {
    let group = |group: forget::ForgetGroup| Group {
        key: Some(group.key),
        keep: group.keep.into_iter().map(|k| Entry::new(k.id, k.snapshot, k.reasons)).collect(),
        remove: group.remove.into_iter().map(|(id, s)| Entry::new(id, s, Vec::new())).collect(),
    };
    plan.groups.into_iter().map(group).collect()
}
