//! What a record of evidence says: every field is always there, what is not known is `null` or named among what could not
//! be verified, times are in UTC.

use std::collections::BTreeMap;

use lifeboat_model::{
    AssetName, EntryId, Lsn, Outcome, RecordId, RunbookId, SnapshotId, StepName, TierName,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// The version of [`Evidence`] that this version writes; it reads this one and all before.
pub const FORMAT: u32 = 1;

/// The longest text of a field, in bytes: a record has to stay small enough to be kept and sent as one.
pub const TEXT_MAX: usize = 1024;

/// The longest list of a field. What is left out is named among what could not be verified.
pub const LIST_MAX: usize = 200;

/// What proves that something was recovered, rehearsed or tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The version of this document.
    pub format: u32,
    /// Its place among the evidence of its writer, from 0.
    pub number: u64,
    /// The hash of the writer's evidence before it.
    pub previous: Option<RecordId>,
    /// Who signs.
    pub signer: Signer,
    /// The program and its version.
    pub tool: String,
    /// What the plan calls its own version.
    pub plan_version: Option<String>,
    /// What was to be mended after earlier runs, and did not show in this one.
    pub closed: Vec<Closed>,
    /// What it proves.
    #[serde(flatten)]
    pub facts: Facts,
}

/// What happened, and what it proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What was done.
    pub of: Kind,
    /// The id of the run or the job.
    pub run: String,
    /// Of which scenario, or which restore test.
    pub subject: String,
    /// What people call it.
    pub title: String,
    /// What was to be shown.
    pub hypothesis: String,
    /// On what it was done.
    pub mode: Mode,
    /// What set it off.
    pub trigger: String,
    /// Who drove it.
    pub operators: Vec<String>,
    /// Who agreed, confirmed or decided something, why and when.
    pub decisions: Vec<Decided>,
    /// When it was declared.
    pub declared: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The verdict: what could not run never counts as passed.
    pub outcome: Outcome,
    /// How it ended, in its own words.
    pub ending: String,
    /// The hash of what the runbook says.
    pub runbook: Option<RunbookId>,
    /// From what it came back.
    pub source: Source,
    /// Where it was done.
    pub place: Place,
    /// What was done, step by step.
    pub steps: Vec<StepLog>,
    /// Where the time went.
    pub times: TimesKept,
    /// What the plan allows, held against what was measured.
    pub objectives: Vec<ObjectiveKept>,
    /// What the plan thought that things take, held against what was measured.
    pub estimates: Vec<EstimateKept>,
    /// What was asked.
    pub checks: Vec<CheckKept>,
    /// How much came back.
    pub counts: Vec<Counted>,
    /// What was taken as evidence before anything was changed.
    pub taken: Vec<TakenKept>,
    /// What is not proven, and why.
    pub not_verified: Vec<String>,
    /// Who was told.
    pub notifications: Vec<Delivery>,
    /// That nothing of it is left.
    pub teardown: Option<Teardown>,
    /// Why there is no such proof.
    pub teardown_absent: Option<String>,
    /// What is to be mended.
    pub findings: Vec<Finding>,
    /// The journal that holds all of it.
    pub journal: Option<JournalKept>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A platform was recovered.
    Recovery,
    /// A recovery was rehearsed.
    Drill,
    /// Assets were brought back and asked.
    RestoreTest,
}

impl Kind {
    /// Returns what people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Drill => "drill",
            Self::RestoreTest => "restore test",
        }
    }
}

/// On what something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// On the platform itself.
    Live,
    /// In a throwaway place.
    Sandbox,
    /// In words.
    Tabletop,
}

/// Who signs: with the plan's verifier alone it can be told that this writer belongs to the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// What its host calls itself.
    pub host: String,
    /// Its public key, `ed25519:…`.
    pub public_key: String,
    /// The root key's signature over site, writer and public key, in base64.
    pub attestation: String,
}

/// Something that a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub by: String,
    /// By which right: a role or a name.
    pub right: Option<String>,
    /// What: `approved`, `declined`, `confirmed`, `skipped`, `retried`, `paused`, `resumed`, `aborted`.
    pub what: String,
    /// About which step.
    pub step: Option<StepName>,
    /// Why, or what was noted.
    pub why: Option<String>,
}

/// From what it came back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// The point, as it is called.
    pub point: Option<String>,
    /// The moment that was wanted.
    pub target_time: Option<Timestamp>,
    /// Points that were not taken, and why.
    pub rejected: Vec<Rejected>,
    /// What was brought back.
    pub assets: Vec<AssetKept>,
}

/// A point that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// An asset that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetKept {
    /// Which.
    pub asset: AssetName,
    /// From which tier.
    pub tier: Option<TierName>,
    /// Which snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The moment that its data have.
    pub time: Option<Timestamp>,
    /// Up to where a server's log was replayed.
    pub lsn: Option<Lsn>,
    /// Where it went.
    pub target: Option<String>,
    /// Whether it came back as it was stored.
    pub outcome: Outcome,
    /// What came back, or why nothing did.
    pub message: String,
}

/// Where it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The sandbox's id; none on the platform itself.
    pub sandbox: Option<String>,
    /// What could be reached from there.
    pub network: String,
}

/// A step, and every attempt at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLog {
    /// Which.
    pub step: String,
    /// What people call it.
    pub title: Option<String>,
    /// What it does: a key of a runbook's step.
    pub action: Option<String>,
    /// To which part of the recovery its time counts.
    pub phase: String,
    /// How it ended.
    pub stand: String,
    /// Why, where there is a reason.
    pub why: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// From its first attempt to its end, in milliseconds.
    pub took_ms: Option<u64>,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// An attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How: `done`, `failed`, `stopped`, `interrupted`, or what became of it afterwards.
    pub how: String,
    /// With what its command ended, if that is known.
    pub exit: Option<i32>,
    /// Why it failed.
    pub why: Option<String>,
    /// The hash of what it wrote, which may hold secrets.
    pub output_sha256: Option<String>,
}

/// Where the time went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimesKept {
    /// From the declaration to the end, in milliseconds.
    pub total_ms: u64,
    /// What each part took, in milliseconds; all parts are there.
    pub phases_ms: BTreeMap<String, u64>,
    /// How long nothing but a person was waited for, in milliseconds.
    pub people_ms: u64,
    /// How long nothing happened, in milliseconds.
    pub standstill_ms: u64,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limited {
    /// How long it may take.
    Rto,
    /// How much of the newest data may be lost.
    Rpo,
}

/// What the plan allows, held against what was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectiveKept {
    /// Of what: `scenario NAME`, `class NAME`, `asset NAME`.
    pub of: String,
    /// What is limited.
    pub limited: Limited,
    /// The limit, in milliseconds.
    pub limit_ms: u64,
    /// What was measured, in milliseconds.
    pub measured_ms: Option<u64>,
    /// Whether it is met.
    pub outcome: Outcome,
    /// What was measured, or why nothing was.
    pub message: String,
}

/// What the plan thought that something takes, held against what was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateKept {
    /// Of what: `scenario NAME`, `step NAME`.
    pub of: String,
    /// As the plan has it.
    pub estimate: String,
    /// The least, in milliseconds.
    pub least_ms: u64,
    /// The most, in milliseconds.
    pub most_ms: u64,
    /// What was measured, in milliseconds.
    pub measured_ms: Option<u64>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckKept {
    /// Which check.
    pub name: String,
    /// At which step.
    pub step: Option<String>,
    /// What had to be shown.
    pub expected: String,
    /// What was shown.
    pub actual: String,
    /// The verdict.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub took_ms: Option<u64>,
}

/// Says what is known of an asset's rows: what was counted as it came back, and what each check showed.
pub(super) fn rows(
    compared: Option<String>,
    showed: impl Iterator<Item = (String, String)>,
) -> Option<String> {
    let showed = showed.map(|(check, shown)| format!("{check}: {shown}"));
    let rows: Vec<_> = compared.into_iter().chain(showed).collect();
    (!rows.is_empty()).then(|| text(&rows.join("; ")))
}

/// How much came back of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Which.
    pub asset: String,
    /// How many files.
    pub files: Option<u64>,
    /// How many bytes they have.
    pub bytes: Option<u64>,
    /// What was said of its rows.
    pub rows: Option<String>,
    /// Which share of it was looked at.
    pub sample: Option<String>,
    /// By which hash it is known that it is what was stored.
    pub hashes: Option<String>,
}

/// What was taken as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenKept {
    /// By which step.
    pub step: String,
    /// Where it lies.
    pub to: String,
    /// The hash of its list of hashes.
    pub sha256: String,
    /// How many files.
    pub files: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
}

/// Somebody was told, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// By which step.
    pub step: String,
    /// By which channels.
    pub via: Vec<String>,
    /// When.
    pub time: Option<Timestamp>,
    /// Whether it was handed over.
    pub outcome: Outcome,
    /// Why not.
    pub why: Option<String>,
    /// Who acknowledged it.
    pub acknowledged: Option<String>,
}

/// What was looked for once everything was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// Passed if nothing is left.
    pub outcome: Outcome,
    /// When it was looked.
    pub time: Timestamp,
    /// What was looked for, and what was found.
    pub looked_for: Vec<LookedFor>,
    /// What could not be removed, or not be looked for.
    pub trouble: Option<String>,
}

/// Something that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedFor {
    /// What: processes, ports, files, namespaces.
    pub what: String,
    /// What of it is left.
    pub left: Vec<String>,
}

/// Something that is to be mended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Until when: a date.
    pub due: Option<String>,
    /// The run in which it did not show any more; later records know it.
    pub closed_by: Option<String>,
}

/// Something that was to be mended and did not show any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// What.
    pub what: String,
    /// The run that found it.
    pub found_by: String,
}

/// The journal of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalKept {
    /// The hash of its last entry, which holds all of it.
    pub last: EntryId,
    /// How many entries it has.
    pub entries: u64,
}

/// Cuts a text that is too long for a record.
pub fn text(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Cuts a list that is too long for a record, and says so.
pub fn bounded<T>(mut list: Vec<T>, what: &str, not_verified: &mut Vec<String>) -> Vec<T> {
    if list.len() > LIST_MAX {
        let more = list.len() - LIST_MAX;
        not_verified.push(format!("{more} more {what} are not in this record"));
        list.truncate(LIST_MAX);
    }
    list
}

/// The longest that the facts of a record may be, in bytes: the record has to be kept and sent as one of at most a mebibyte.
const SIZE_MAX: usize = 768 << 10;

/// How many attempts of each step stay, and how many entries of each list, in a record that would be too long: as many as fit.
const FITTING: [(usize, usize); 3] = [(10, LIST_MAX), (3, 100), (1, 25)];

/// Leaves out of the facts what a record cannot hold, the oldest attempts first, and says so.
pub(super) fn fitted(mut facts: Facts) -> Facts {
    for (attempts, entries) in FITTING {
        let size = serde_json::to_vec(&facts).map_or(0, |bytes| bytes.len());
        if size <= SIZE_MAX {
            break;
        }
        for step in &mut facts.steps {
            step.attempts.drain(..step.attempts.len().saturating_sub(attempts));
        }
        facts.not_verified.truncate(entries);
        facts.steps.truncate(entries);
        facts.checks.truncate(entries);
        facts.decisions.truncate(entries);
        facts.findings.truncate(entries);
        facts.not_verified.push(format!(
            "{size} bytes were too many for a record, so older attempts and the ends of long lists are not in it"
        ));
    }
    facts
}
