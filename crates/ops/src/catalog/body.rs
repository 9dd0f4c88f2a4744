//! What a record tells: one kind for each thing that somebody may later want to know.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{
    AssetName, EntryId, JobId, Lsn, Outcome, PackId, PlaceName, PlanId, RecordId, RepositoryId,
    RestoreTestName, RunId, RunbookId, ScenarioName, ScheduleName, ServiceName, SnapshotId,
    TierName,
};
use lifeboat_model::{Timestamp, WriterId};
use lifeboat_postgres::base::inventory::Tablespace;
use lifeboat_postgres::enclosure::Isolation;
use lifeboat_runbook::Phase;
use serde::{Deserialize, Serialize};

use crate::drill::record::DrillEnded;
use crate::ending::{Ending, StageOutcome};
use crate::evidence::document::Evidence;
use crate::recovery::verified::CheckResult;

/// The kind-specific part of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Body {
    /// A writer joins; always its first record.
    Enrolment(Enrolment),
    /// A plan came into force.
    PlanAdopted(PlanAdopted),
    /// Somebody read the recovery key back from where it is kept.
    KeyConfirmed(KeyConfirmed),
    /// A tier was set up; from then on its absence is a loss.
    TierAdopted(TierAdopted),
    /// A job began.
    JobStarted(JobStarted),
    /// A job ended.
    JobEnded(JobEnded),
    /// A job is done with an asset.
    AssetBackedUp(AssetBackedUp),
    /// A tier was verified.
    TierVerified(TierVerified),
    /// An asset was restored.
    Restored(Restored),
    /// A store was asked for what lies cold.
    ThawRequested(ThawRequested),
    /// An asset was recovered into a sandbox and checked.
    RestoreVerified(RestoreVerified),
    /// A restore test is over.
    RestoreTested(RestoreTested),
    /// A recovery was declared.
    RecoveryDeclared(RecoveryDeclared),
    /// A recovery is over.
    RecoveryEnded(RecoveryEnded),
    /// What a recovery, a drill or a restore test proves.
    Evidence(Box<Evidence>),
    /// A drill is over.
    DrillEnded(Box<DrillEnded>),
    /// Snapshots that were on a tier are no longer there.
    SnapshotsMissing(SnapshotsMissing),
    /// It was decided that snapshots go from a tier.
    RetentionDecided(RetentionDecided),
    /// What was decided is done on a tier.
    RetentionDone(RetentionDone),
    /// Nothing is to be removed from now on.
    RetentionHeld(RetentionHeld),
    /// A hold ended.
    RetentionReleased(RetentionReleased),
    /// The platform lives somewhere from now on.
    PlaceTaken(PlaceTaken),
    /// The platform was made to stand still, so that it can go on somewhere else.
    PlaceLeft(PlaceLeft),
    /// A recovery began that brings the platform somewhere.
    PlaceSought(PlaceSought),
    /// Such a recovery was given up.
    PlaceForgone(PlaceForgone),
}

impl Body {
    /// Returns the name of the kind, as it is serialised.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Enrolment(_) => "enrolment",
            Self::PlanAdopted(_) => "plan-adopted",
            Self::KeyConfirmed(_) => "key-confirmed",
            Self::TierAdopted(_) => "tier-adopted",
            Self::JobStarted(_) => "job-started",
            Self::JobEnded(_) => "job-ended",
            Self::AssetBackedUp(_) => "asset-backed-up",
            Self::TierVerified(_) => "tier-verified",
            Self::Restored(_) => "restored",
            Self::ThawRequested(_) => "thaw-requested",
            Self::RestoreVerified(_) => "restore-verified",
            Self::RestoreTested(_) => "restore-tested",
            Self::RecoveryDeclared(_) => "recovery-declared",
            Self::RecoveryEnded(_) => "recovery-ended",
            Self::Evidence(_) => "evidence",
            Self::DrillEnded(_) => "drill-ended",
            Self::SnapshotsMissing(_) => "snapshots-missing",
            Self::RetentionDecided(_) => "retention-decided",
            Self::RetentionDone(_) => "retention-done",
            Self::RetentionHeld(_) => "retention-held",
            Self::RetentionReleased(_) => "retention-released",
            Self::PlaceTaken(_) => "place-taken",
            Self::PlaceLeft(_) => "place-left",
            Self::PlaceSought(_) => "place-sought",
            Self::PlaceForgone(_) => "place-forgone",
        }
    }
}

/// A writer joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// What the writer's host calls itself.
    pub host: String,
    /// The writer's public key, `ed25519:…`.
    pub public_key: String,
    /// The root key's signature over site, writer and public key, in base64.
    pub attestation: String,
}

/// A plan came into force; it lies at `plan/<hash>.age`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAdopted {
    /// The hash of plan and runbooks.
    pub plan: PlanId,
}

/// Somebody read the recovery key back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyConfirmed {
    /// The verifier of the key that was confirmed, `ed25519:…`; another key needs its own.
    pub verifier: String,
}

/// A tier was set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierAdopted {
    /// The tier's name in the plan.
    pub tier: TierName,
    /// Where it is, without secrets.
    pub address: String,
    /// The repository on it.
    pub repository: RepositoryId,
}

/// A job began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStarted {
    /// Which job.
    pub job: JobId,
    /// What it does: `backup`, `verify`, `restore`.
    pub command: String,
    /// For which assets.
    pub assets: Vec<AssetName>,
}

/// A job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnded {
    /// Which job.
    pub job: JobId,
    /// How; `interrupted` is written by the next run of the same host.
    pub ending: Ending,
}

/// A job is done with an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetBackedUp {
    /// Which job.
    pub job: JobId,
    /// Which asset.
    pub asset: AssetName,
    /// By which schedule, if by one; absent in records of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
    /// Up to when every change is in the snapshot, where it is complete.
    pub captured: Option<Timestamp>,
    /// The snapshot, where one was made; the same on every tier.
    pub snapshots: Vec<TierSnapshot>,
    /// The application's revision, where the plan names a command for it.
    pub revision: Option<String>,
    /// The base backup, where the snapshot holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseRecord>,
    /// How large all that is in the snapshot is, in bytes; absent in records of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// What was read, in bytes.
    pub bytes_read: u64,
    /// What was stored on the first tier, in bytes.
    pub bytes_stored: u64,
    /// What was left out, at most [`SKIPPED_MAX`] of it, each with its reason.
    pub skipped: Vec<String>,
    /// How each stage ended on each tier.
    pub stages: Vec<StageOutcome>,
}

/// Where in a server's log a base backup lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// Which cluster; as a text, since it is larger than what many readers of JSON can hold.
    pub system_id: String,
    /// On which timeline.
    pub timeline: u32,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// From where on the data make sense.
    pub stop_lsn: Lsn,
    /// When that was, by the server's clock.
    pub stopped: Timestamp,
    /// How many pages were damaged on the server.
    pub damaged_pages: u64,
    /// Its tablespaces; absent in records of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespaces: Option<Vec<Tablespace>>,
}

/// How many skipped files a record names; the report of the run names all.
pub const SKIPPED_MAX: usize = 100;

/// A snapshot on a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierSnapshot {
    /// Which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
}

/// A tier was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierVerified {
    /// In which job.
    pub job: JobId,
    /// Which tier.
    pub tier: TierName,
    /// What it showed.
    pub outcome: Outcome,
    /// How many packs were read.
    pub packs_read: u64,
    /// How many bytes were read.
    pub bytes_read: u64,
    /// Whether all data was read, not only a share.
    pub all_data: bool,
    /// The instant up to which all packs have been read that fell due since the instant of the last
    /// verification that has one. Absent if this one ended early, could not read a pack or read none:
    /// the next one then begins where the last did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_until: Option<Timestamp>,
    /// What was found, at most [`SKIPPED_MAX`] of it.
    pub findings: Vec<String>,
    /// All packs that were found damaged or missing; new backups build on none of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub damaged_packs: BTreeSet<PackId>,
}

/// An asset was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// In which job.
    pub job: JobId,
    /// Which asset.
    pub asset: AssetName,
    /// From which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Where to.
    pub target: String,
    /// Whether what was there was replaced.
    pub in_place: bool,
    /// How it ended.
    pub ending: Ending,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A store was asked to make readable what a recovery needs and lies cold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThawRequested {
    /// For which asset.
    pub asset: AssetName,
    /// On which tier.
    pub tier: TierName,
    /// For which snapshot.
    pub snapshot: SnapshotId,
    /// How many packs it was asked for.
    pub packs: u64,
    /// How many bytes were to be asked for.
    pub bytes: u64,
    /// Within how many seconds they can be read, as the vendor says.
    pub within_s: u64,
}

/// An asset was recovered into a sandbox and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreVerified {
    /// In which job.
    pub job: JobId,
    /// Which asset.
    pub asset: AssetName,
    /// From which tier.
    pub tier: TierName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Which moment.
    pub at: String,
    /// Up to where the log was replayed; absent if the server did not come up.
    pub replayed: Option<Lsn>,
    /// How well the sandbox was kept from reaching anything.
    pub isolation: Option<Isolation>,
    /// The verdict over all checks.
    pub outcome: Outcome,
    /// Why it ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What each check showed.
    pub checks: Vec<CheckResult>,
    /// How long its files took, in milliseconds.
    pub restored_ms: Option<u64>,
    /// How long its log took, in milliseconds.
    pub replayed_ms: Option<u64>,
    /// How long all of it took, in milliseconds.
    pub duration_ms: u64,
}

/// A restore test is over; written once everything that it restored is gone again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTested {
    /// In which job.
    pub job: JobId,
    /// Which test of the plan.
    pub test: RestoreTestName,
    /// The staging host on which it was done, as the plan names it, if not on the writer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What every choice was made by.
    pub seed: u32,
    /// Which moment, as the plan or a person said it.
    pub at: String,
    /// The moment that was taken, if that came about.
    pub moment: Option<Timestamp>,
    /// The verdict over all of it.
    pub outcome: Outcome,
    /// Why it ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What came back.
    pub assets: Vec<AssetTested>,
    /// The services that were started on what came back, if the test starts any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ServicesTested>,
    /// What the plan's checks showed.
    pub checks: Vec<TestedCheck>,
    /// What they showed of a copy that was damaged on purpose, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<NegativeControl>,
    /// What each phase took, in milliseconds.
    pub phases_ms: BTreeMap<TestPhase, u64>,
    /// What the test took beside those phases, in milliseconds.
    pub own_ms: u64,
    /// When it began.
    pub started: Timestamp,
    /// How long all of it took, in milliseconds.
    pub duration_ms: u64,
}

/// An asset in a restore test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetTested {
    /// Which asset.
    pub asset: AssetName,
    /// From which tier, once that was chosen.
    pub tier: Option<TierName>,
    /// Which snapshot, once that was chosen.
    pub snapshot: Option<SnapshotId>,
    /// The moment that its data have.
    pub time: Option<Timestamp>,
    /// How well it was kept from reaching anything, if it is a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Whether it came back as it was stored.
    pub outcome: Outcome,
    /// What came back, or why nothing did.
    pub message: String,
    /// What came of loading its logical dump, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<DumpTested>,
    /// How long that took, in milliseconds.
    pub duration_ms: u64,
}

/// The logical dump of a server, loaded into an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpTested {
    /// Whether it loads, and holds what was counted when it was made.
    pub outcome: Outcome,
    /// What was loaded, or what kept it.
    pub message: String,
    /// How long that took, in milliseconds.
    pub duration_ms: u64,
}

/// What a check of the plan showed in a restore test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestedCheck {
    /// What it showed.
    #[serde(flatten)]
    pub result: CheckResult,
    /// Which of the test's assets it asks.
    pub assets: BTreeSet<AssetName>,
}

/// What a test showed of a copy that was damaged on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegativeControl {
    /// Whose copy.
    pub asset: AssetName,
    /// What was done to it.
    pub damage: String,
    /// Passed if the test failed on it, failed if it did not: then the test is worth nothing.
    pub outcome: Outcome,
    /// Which checks noticed it, or why none could.
    pub message: String,
}

/// The services that a restore test started on what came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesTested {
    /// Those that were seen healthy, in the order in which they were started.
    pub started: Vec<ServiceName>,
    /// Whether all of them were.
    pub outcome: Outcome,
    /// What they were, or what kept them.
    pub message: String,
    /// How long it took, with restoring what they stand on, and with asking them, in milliseconds.
    pub duration_ms: u64,
}

/// A part of a restore test whose time is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestPhase {
    /// Finding out what is read from where, and waiting until it can be.
    Fetch,
    /// Reading from the tier and writing the files.
    Restore,
    /// A server replays its log until it answers.
    Replay,
    /// A logical dump is loaded into an empty server.
    Load,
    /// Services are started in a yard, on assets that came back there, and asked.
    Services,
    /// Asking, on a damaged copy too.
    Check,
    /// Removing all of it.
    Teardown,
}

/// A recovery was declared: until it is over, or this record was released as a hold, nothing is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryDeclared {
    /// Which run.
    pub run: RunId,
    /// Of what.
    pub scenario: ScenarioName,
}

/// A recovery is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryEnded {
    /// Which run.
    pub run: RunId,
    /// Of what.
    pub scenario: ScenarioName,
    /// The hash of what its runbook says.
    pub runbook: RunbookId,
    /// The time of the point that it came back to, if it restored anything.
    pub point: Option<Timestamp>,
    /// How it ended.
    pub outcome: lifeboat_runbook::Outcome,
    /// When it was declared.
    pub declared: Timestamp,
    /// The hash of the journal's last entry, which holds all of it.
    pub journal: EntryId,
    /// How many entries the journal has.
    pub entries: u64,
    /// From the declaration to the end, in milliseconds.
    pub total_ms: u64,
    /// What each part took, in milliseconds.
    pub phases_ms: BTreeMap<Phase, u64>,
    /// How long nothing but a person was waited for, in milliseconds.
    pub people_ms: u64,
    /// How long nothing happened, in milliseconds.
    pub standstill_ms: u64,
    /// How long it might have taken, in milliseconds.
    pub rto_ms: Option<u64>,
}

/// Snapshots that were on a tier are no longer there, and nobody recorded a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotsMissing {
    /// Which tier.
    pub tier: TierName,
    /// Which snapshots.
    pub snapshots: Vec<SnapshotId>,
}

/// It was decided that snapshots go from a tier: written before the first of them goes, so that whatever a
/// kill leaves is told from a loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionDecided {
    /// In which job.
    pub job: JobId,
    /// From which tier.
    pub tier: TierName,
    /// Which snapshots.
    pub snapshots: Vec<SnapshotId>,
}

/// What was decided is done on a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionDone {
    /// In which job.
    pub job: JobId,
    /// On which tier.
    pub tier: TierName,
    /// How it ended.
    pub ending: Ending,
    /// How many snapshots went.
    pub snapshots: u64,
    /// How many bytes the repository became smaller.
    pub freed_bytes: u64,
    /// How many files of the log went.
    pub log_files: u64,
    /// How many bytes they had.
    pub log_bytes: u64,
}

/// Nothing is to be removed from now on, until the hold that this record is was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionHeld {
    /// Why.
    pub reason: String,
}

/// A hold ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionReleased {
    /// The record that began it.
    pub hold: RecordId,
}

/// The platform lives somewhere from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceTaken {
    /// Where.
    pub whereabouts: Whereabouts,
    /// How that came about.
    pub by: Taking,
    /// What was known of places when that began, the ends of it: this follows them. Clocks decide nothing.
    pub after: BTreeSet<RecordId>,
}

/// A host on which the platform can live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The plan's name for it; none, if it was none of the plan's places.
    pub place: Option<PlaceName>,
    /// What it calls itself.
    pub host: String,
}

/// How the platform came to live somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Taking {
    /// It was backed up there first, once the plan had places.
    FirstBackup,
    /// It was recovered there.
    Recovery {
        /// By which run.
        run: RunId,
        /// Of what.
        scenario: ScenarioName,
    },
    /// A person says so.
    Word {
        /// Who.
        login: String,
        /// Why.
        reason: String,
    },
}

/// The platform was made to stand still, so that it can go on somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceLeft {
    /// Where it lived.
    pub whereabouts: Whereabouts,
    /// Where it is to go on, if that was said.
    pub to: Option<PlaceName>,
    /// Since when it writes nothing.
    pub still: Timestamp,
    /// The backup that was made after that.
    pub job: JobId,
    /// Who did that.
    pub login: String,
    /// What was known of places when that began, the ends of it: this follows them.
    pub after: BTreeSet<RecordId>,
}

/// A recovery began that brings the platform somewhere; once it is over the platform lives there, and until then nobody
/// else works on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceSought {
    /// Where to.
    pub whereabouts: Whereabouts,
    /// By which run.
    pub run: RunId,
    /// Of what.
    pub scenario: ScenarioName,
    /// What was known of places when it was declared, the ends of it: this follows them.
    pub after: BTreeSet<RecordId>,
}

/// A recovery was given up, so that the platform lives where it lived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceForgone {
    /// Which run.
    pub run: RunId,
}

/// The text that the root key signs to enrol a writer.
pub(super) fn attestation_text(site: &str, writer: WriterId, public_key: &str) -> Vec<u8> {
    format!("lifeboat enrolment v1\n{site}\n{writer}\n{public_key}\n").into_bytes()
}
