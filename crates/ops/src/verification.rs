//! Verifying what a tier holds: after each backup, and when asked.
//!
//! The structure is always checked. Of the data a share is read, chosen so that everything is read
//! once in the plan's cycle: the packs that fell due since the instant up to which all were read, and
//! at least the share that the plan names.
//!
//! # Invariants
//!
//! - A snapshot that was recorded on a tier, is gone from there and was let go by nobody makes its verification fail.
//! - That instant moves on only with a verification that read all that was due: one that was
//!   cancelled, could not reach the tier, could not read a pack or read no data leaves it where it
//!   was, so what it left out is due again.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::{Cancel, EventSink, Exit, JobId, Outcome, SiteName, TierName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_repository::check::{
    self, CheckOptions, CheckReport, Finding, ReadData, RollingShare, Severity,
};
use lifeboat_repository::lock::LockGuard;
use serde::Serialize;

use crate::adoptions::Adoptions;
use crate::backlog::Backlog;
use crate::catalog::body::{Body, JobEnded, JobStarted, SKIPPED_MAX, TierVerified};
use crate::catalog::view::Wanted;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble, explain, gone_hint};
use crate::holdings::record_gone;
use crate::listing;
use crate::plan_archive;
use crate::traffic::TierTraffic;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite, OpenTier};

/// The version of [`VerifyReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// How much data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// What the plan says for after a backup.
    AfterBackup,
    /// All.
    All,
    /// None: only the structure.
    None,
}

/// What a tier's verification showed.
#[derive(Debug, Serialize)]
pub struct TierVerification {
    /// Which tier.
    pub tier: TierName,
    /// The verdict.
    pub outcome: Outcome,
    /// Why it could not run, if so.
    pub trouble: Option<Trouble>,
    /// Whether all data was read.
    pub all_data: bool,
    /// What was looked at and found.
    #[serde(flatten)]
    pub report: CheckReport,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

impl TierVerification {
    /// Returns the same as an ending.
    pub fn ending(&self) -> Ending {
        match (&self.trouble, self.outcome) {
            (Some(trouble), _) if trouble.ending != Ending::Failed => trouble.ending,
            (_, outcome) => Ending::of(outcome),
        }
    }

    fn unreached(tier: TierName, trouble: Trouble, now: Timestamp) -> Self {
        let report = CheckReport::default();
        let outcome = Outcome::CouldNotVerify;
        let trouble = Some(trouble);
        Self { tier, outcome, trouble, all_data: false, report, started: now, ended: now }
    }
}

/// What is verified.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// These tiers; all, if empty.
    pub tiers: Vec<TierName>,
    /// How much data is read.
    pub share: Share,
}

/// What a verification showed.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which job.
    pub job: JobId,
    /// The verdict over all tiers.
    pub outcome: Outcome,
    /// How it ended.
    pub ending: Ending,
    /// The tiers.
    pub tiers: Vec<TierVerification>,
    /// What each tier was asked for, and what that costs.
    pub traffic: Vec<TierTraffic>,
}

impl VerifyReport {
    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// Verifies tiers.
pub fn verify(
    site: &Site,
    options: &VerifyOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<VerifyReport, OpsError> {
    for tier in &options.tiers {
        site.address(tier)?;
    }
    let before = site.traffic();
    let all = site.plan().tiers().keys();
    let wanted = |tier: &&TierName| options.tiers.is_empty() || options.tiers.contains(tier);
    let tiers: BTreeSet<TierName> = all.filter(wanted).cloned().collect();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel)?;
    let job = site.new_job();
    open.record(Body::JobStarted(JobStarted {
        job,
        command: "verify".to_owned(),
        assets: Vec::new(),
    }))?;
    let mut verified = Vec::new();
    for name in tiers {
        let now = site.surroundings().now();
        verified.push(match open.tier(&name) {
            Err(trouble) => TierVerification::unreached(name, trouble, now),
            Ok(tier) => match open.lock_to_read(tier, events, cancel) {
                Err(error) => TierVerification::unreached(name, Trouble::of(&error), now),
                Ok(held) => {
                    let tier = (tier, held.as_ref());
                    verify_tier(&open, tier, job, options.share, events, cancel)?
                }
            },
        });
    }
    let ending = verified.iter().map(TierVerification::ending).max().unwrap_or(Ending::Succeeded);
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    open.deliver()?;
    let outcome = verified.iter().map(|tier| tier.outcome).max().unwrap_or(Outcome::Passed);
    let traffic = TierTraffic::since(site, &before);
    let (schema, site, tiers) = (SCHEMA, site.name().clone(), verified);
    Ok(VerifyReport { schema, site, job, outcome, ending, tiers, traffic })
}

/// Verifies one tier and records what it showed; the caller holds a lock on its repository, unless that
/// cannot be written to.
pub(crate) fn verify_tier(
    open: &OpenSite<'_>,
    (tier, lock): (&OpenTier, Option<&LockGuard>),
    job: JobId,
    share: Share,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<TierVerification, OpsError> {
    let _span = tracing::info_span!("verify", tier = %tier.named.name).entered();
    let surroundings = open.site().surroundings();
    let (name, started) = (tier.named.name.clone(), surroundings.now());
    let data = chosen(open, &name, share, started)?;
    let (all_data, reads) = (data == ReadData::All, data != ReadData::None);
    let checked = check::check(&tier.repository, &CheckOptions { data }, events, cancel);
    // What went away since the lock was lost is no damage.
    let held = lock.map_or(Ok(()), LockGuard::check);
    let verification = match held.and(checked) {
        Err(error) => TierVerification::unreached(name, Trouble::of(&error), started),
        Ok(mut report) => {
            // By the tier's name it is reached as the plan says, and opened by its key.
            report.call_repository(&format!("tier:{name}"));
            plans(open, tier, share, &mut report);
            TierVerification {
                tier: name,
                outcome: report.outcome(),
                trouble: None,
                all_data,
                report,
                started,
                ended: surroundings.now(),
            }
        }
    };
    let read_all = reads && verification.trouble.is_none() && verification.report.packs_unread == 0;
    let read_until = read_all.then_some(started);
    open.record(Body::TierVerified(to_record(&verification, job, read_until)))?;
    let verification = match &verification.trouble {
        None => name_gone(open, tier, verification)?,
        Some(_) => verification,
    };
    open.deliver()?;
    Ok(verification)
}

/// Names the snapshots that were recorded to be there and are gone, and records that. It says nothing of what is there, and ends with
/// the next look: so it is a record of its own, which takes no proof from the other copies.
fn name_gone(
    open: &OpenSite<'_>,
    tier: &OpenTier,
    mut verification: TierVerification,
) -> Result<TierVerification, OpsError> {
    let (name, gone) = (&tier.named.name, listing::gone(open, tier)?);
    if gone.is_empty() {
        return Ok(verification);
    }
    let backlog = Backlog::load(open.catalog().view(), open.site().plan())?;
    let findings = gone.iter().map(|snapshot| {
        let what = backlog.what(name, *snapshot);
        let what =
            what.map_or_else(String::new, |(asset, at)| format!(", with `{asset}` of {at:.0}"));
        let problem = format!(
            "it was stored on `{name}`{what}, is gone from there, and nobody said that it should be"
        );
        let mut finding =
            Finding::new(Severity::Error, format!("snapshot {}", snapshot.to_hex()), problem);
        finding.hint = Some(gone_hint(name, &snapshot.to_string()));
        finding
    });
    verification.report.findings.extend(findings);
    verification.report.findings.sort_by_key(|finding| Reverse(finding.severity));
    verification.outcome = verification.report.outcome();
    record_gone(open, name, gone)?;
    Ok(verification)
}

/// Looks at the plan that is in force, and with all data at those before it: a machine that has nothing goes by one of
/// them. A damaged old one costs only whoever wants that.
fn plans(open: &OpenSite<'_>, tier: &OpenTier, share: Share, report: &mut CheckReport) {
    let (in_force, tier) = (open.site().plan().id(), tier.named.tier.as_ref());
    let (surroundings, opener) = (open.site().surroundings(), open.key().opener());
    let mut plans = BTreeSet::from([in_force]);
    if share == Share::All {
        match surroundings.runtime.block_on(plan_archive::list(tier)) {
            Ok(listed) => plans.extend(listed),
            Err(error) => {
                report.findings.push(Finding::new(Severity::Unverified, "plan", explain(&error)));
            }
        }
    }
    for plan in plans {
        let flaw = plan_archive::flaw(plan, &opener, tier, surroundings.now());
        let Some(flaw) = surroundings.runtime.block_on(flaw) else { continue };
        let (severity, problem) = match flaw.of_the_tier() {
            Ok(error) => (Severity::Unverified, explain(&error)),
            Err(flaw) if plan == in_force => (Severity::Error, explain(&flaw)),
            Err(flaw) => (Severity::Hint, explain(&flaw)),
        };
        let mut finding = Finding::new(severity, plan_archive::path(plan), problem);
        let mends = severity == Severity::Error;
        finding.hint = mends.then(|| "`lifeboat backup` stores the plan again".to_owned());
        report.findings.push(finding);
    }
    report.findings.sort_by_key(|finding| Reverse(finding.severity));
}

fn to_record(
    verification: &TierVerification,
    job: JobId,
    read_until: Option<Timestamp>,
) -> TierVerified {
    let findings = verification.report.findings.iter();
    let obstacle = verification.trouble.iter().map(|trouble| trouble.message.clone());
    let findings = findings.map(|finding| format!("{}: {}", finding.object, finding.problem));
    TierVerified {
        job,
        tier: verification.tier.clone(),
        outcome: verification.outcome,
        packs_read: verification.report.packs_read,
        bytes_read: verification.report.bytes_read,
        all_data: verification.all_data,
        read_until,
        findings: obstacle.chain(findings).take(SKIPPED_MAX).collect(),
        damaged_packs: verification.report.damaged_packs.clone(),
    }
}

/// Returns within which time everything on a tier is read once.
pub(crate) fn cycle(plan: &Plan, tier: &TierName) -> Duration {
    let cycle = Duration::from(plan.verification().full_within);
    let retention = plan.tiers().get(tier).and_then(|tier| tier.keep.reach());
    retention.map_or(cycle, |retention| retention.min(cycle))
}

/// Chooses what is read, so that everything is read once in a cycle.
fn chosen(
    open: &OpenSite<'_>,
    tier: &TierName,
    share: Share,
    now: Timestamp,
) -> Result<ReadData, OpsError> {
    match share {
        Share::All => return Ok(ReadData::All),
        Share::None => return Ok(ReadData::None),
        Share::AfterBackup => {}
    }
    let plan = open.site().plan();
    let cycle = cycle(plan, tier);
    let least = cycle.mul_f64(plan.verification().after_backup.read_data.fraction());
    let covered = read_until(open, tier)?;
    let elapsed = covered.and_then(|until| Duration::try_from(now.duration_since(until)).ok());
    let window = elapsed.unwrap_or_default().max(least);
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    Ok(ReadData::Share(RollingShare::since(since, now, cycle)))
}

/// Returns up to when all packs were read that fell due, or when that was begun to be counted.
fn read_until(open: &OpenSite<'_>, tier: &TierName) -> Result<Option<Timestamp>, OpsError> {
    let wanted = Wanted { kind: "tier-verified", asset: None, tier: Some(tier), good_only: false };
    let view = open.catalog().view();
    let (mut records, adoptions) = (view.latest(wanted, u32::MAX)?, Adoptions::load(view, tier)?);
    records.retain(|record| adoptions.counts(record.header().time));
    let first = records.last().map(|record| record.header().time);
    let covered = records.iter().find_map(|record| match record.body() {
        Body::TierVerified(body) => body.read_until,
        _ => None,
    });
    Ok(covered.or(first))
}
