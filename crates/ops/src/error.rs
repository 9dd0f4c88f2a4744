//! Why an operation could not be carried out, and [`Trouble`]: the same for one asset or tier of
//! many, in a form that a report and a record can hold.

mod hints;
mod trouble;

use std::error::Error;
use std::path::PathBuf;

use lifeboat_model::{AssetName, Cancelled, Classify, ErrorCode, ErrorKind, Exit, Hint};
use lifeboat_model::{PlaceName, PlanId, RepositoryId, RunId, SiteName, SnapshotId, TierName};
use lifeboat_plan::Rejected;
use lifeboat_postgres::PostgresError;
use lifeboat_postgres::archive::ArchiveError;
use lifeboat_postgres::base::BaseError;
use lifeboat_postgres::dumped_table::DumpedTableError;
use lifeboat_postgres::recovery::start::StartError;
use lifeboat_postgres::recovery::{ChoiceError, PlacementError};
use lifeboat_repository::RepositoryError;
use lifeboat_repository::backup::BackupError;
use lifeboat_repository::source::ExcludeError;
use lifeboat_tiers::TierError;
use lifeboat_tiers::azure::AzureOpenError;
use lifeboat_tiers::s3::S3OpenError;

pub use self::hints::gone_hint;
use self::hints::{
    folder_above, hint_of_the_target, is_folder, known_names, known_places, whose_mark,
};
pub use self::trouble::Trouble;
use crate::catalog::CatalogError;
use crate::catalog::view::ViewError;
use crate::command::CommandError;
use crate::ending::Ending;
use crate::plan_archive::PlanFlaw;
use crate::recovery::sandbox::SandboxError;
use crate::recovery_key::ParseKeyError;
use crate::residence::PlaceError;
use crate::restore_test::staged::StagingError;
use crate::secret::SecretError;
use crate::state::StateError;
use crate::thaw::ThawError;
use lifeboat_tiers::envelope::EnvelopeError;

/// An operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The recovery key could not be read from where the plan says that it is.
    #[error("the recovery key cannot be read from the {place}, which [key] in the plan names")]
    KeyUnread {
        /// Where the plan has it.
        place: String,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// What is where the recovery key should be is none.
    #[error("what was read as recovery key is none")]
    Key(#[from] ParseKeyError),
    /// An envelope could not be opened.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A backup made no snapshot.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A pattern of the plan cannot be used.
    #[error("an `exclude` of the plan cannot be used")]
    Exclude(#[from] ExcludeError),
    /// A tier failed.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// A bucket cannot be spoken to as it is configured.
    #[error(transparent)]
    S3(#[from] S3OpenError),
    /// A container cannot be spoken to as it is configured.
    #[error(transparent)]
    Azure(#[from] AzureOpenError),
    /// PostgreSQL failed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A base backup could not be made or read.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// No recovery leads to what was asked for.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// A cluster could not be put in its place.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A cluster could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What is needed lies in cold storage.
    #[error(transparent)]
    Thaw(#[from] ThawError),
    /// A sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A staging host did not do a restore test.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The archived log could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The platform lives, or may live, somewhere else.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A tier that must hold the log cannot be used.
    #[error("tier `{tier}` has to hold the log and cannot be used: {}", trouble.message)]
    LogTier {
        /// Which tier.
        tier: TierName,
        /// Why not.
        trouble: Trouble,
    },
    /// A plan that was found on a tier does not hold.
    #[error(transparent)]
    Plan(#[from] Rejected),
    /// The system refused something with a file of this host.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A table was not taken out of a dump.
    #[error(transparent)]
    DumpedTable(#[from] DumpedTableError),
    /// What lies on the tier could not be read.
    #[error("cannot read {} from the tier", path.display())]
    Unreadable {
        /// Where it is in the snapshot.
        path: PathBuf,
        /// The reader's word.
        #[source]
        source: std::io::Error,
    },
    /// A tier did not give what another one holds too.
    #[error("{error}")]
    HeldElsewhere {
        /// What went wrong.
        #[source]
        error: Box<OpsError>,
        /// How to get it from the other.
        hint: String,
    },
    /// The plan knows no such asset.
    #[error("the plan has no asset `{asset}`")]
    NoAsset {
        /// Which one was asked for.
        asset: AssetName,
        /// Those that there are.
        known: Vec<AssetName>,
    },
    /// The plan knows no such tier.
    #[error("the plan has no tier `{tier}`")]
    NoTier {
        /// Which one was asked for.
        tier: TierName,
        /// Those that there are.
        known: Vec<TierName>,
    },
    /// None of the plan's tiers is at an address.
    #[error("no tier of the plan is at {address}")]
    NoTierAt {
        /// What was given.
        address: String,
        /// The tiers that there are, each with its address.
        known: Vec<(TierName, String)>,
    },
    /// No schedule sends the asset anywhere.
    #[error("no schedule sends `{asset}` to a tier")]
    NoDestination {
        /// Which asset.
        asset: AssetName,
    },
    /// A file asset is the data of a database server that runs.
    #[error("{} is the data of a PostgreSQL server that runs, so a copy cannot be restored", path.display())]
    LiveDatabase {
        /// The path in the plan.
        path: PathBuf,
    },
    /// The language has it, this version does not.
    #[error("{what} is not built yet")]
    NotBuilt {
        /// What was asked for.
        what: String,
    },
    /// The key that was read is not the one whose public halves stand in the plan.
    #[error(
        "the recovery key that was read is not this plan's: its verifier is {found}, the plan has {expected}"
    )]
    AnotherKey {
        /// The verifier in the plan.
        expected: String,
        /// The verifier of the key that was read.
        found: String,
    },
    /// A tier belongs to somebody else.
    #[error("tier {address} belongs to site `{found}`, not to `{expected}`")]
    AnotherSite {
        /// Where.
        address: String,
        /// This plan's site.
        expected: SiteName,
        /// The tier's.
        found: SiteName,
    },
    /// A tier holds something else than lifeboat would have put there.
    #[error("tier {address} is not empty and carries no mark of a site")]
    Unmarked {
        /// Where.
        address: String,
    },
    /// A tier without a mark could not be proven to be this site's.
    #[error("that tier {address} is this site's is not proven, so it gets no mark")]
    NotProven {
        /// Where.
        address: String,
        /// What is missing of the proof.
        #[source]
        source: Box<OpsError>,
    },
    /// No record of this site tells of a repository.
    #[error("no record of this site tells of the repository {repository} there")]
    NoRecordOf {
        /// Which repository.
        repository: RepositoryId,
    },
    /// A tier lost its mark, and nothing else there tells whose it is.
    #[error(
        "the mark of the tier at {address}, its `site.json`, is missing, and no plan there that this key opens tells whose it is"
    )]
    MarkLost {
        /// Where.
        address: String,
    },
    /// The mark of a tier cannot be read by this version.
    #[error("the mark of tier {address} is damaged or from a later version")]
    BadMark {
        /// Where.
        address: String,
    },
    /// A tier that was set up is gone.
    #[error("tier `{tier}` was set up at {address}, and is not there any more")]
    TierLost {
        /// Which tier.
        tier: TierName,
        /// Where it was.
        address: String,
    },
    /// A tier is another place's own.
    #[error(
        "tier `{tier}` is not seen here: by its `places` in the plan it is {} that see it",
        listed(places)
    )]
    NotSeenHere {
        /// Which tier.
        tier: TierName,
        /// Who sees it.
        places: Vec<PlaceName>,
    },
    /// A tier is said to be lost.
    #[error("tier `{tier}` at {address} is said to be lost, and nothing asks it")]
    DoneWithout {
        /// Which tier.
        tier: TierName,
        /// Where it was.
        address: String,
    },
    /// A tier is new, and those of the plan that hold the site's key and seed cannot be opened.
    #[error(
        "tier `{tier}` cannot be set up: it gets its key from a tier that was set up before it, and none of those can be opened: {}",
        reasons(elders)
    )]
    NoElderTier {
        /// Which tier.
        tier: TierName,
        /// Those of the plan that were set up before, and what is wrong with each.
        elders: Vec<(TierName, String)>,
    },
    /// A tier has not answered, and is not waited for.
    #[error("tier `{tier}` at {address} has not answered so far")]
    TierLate {
        /// Which tier.
        tier: TierName,
        /// Where it is.
        address: String,
    },
    /// A tier was never set up.
    #[error("tier `{tier}` at {address} was never set up")]
    TierNew {
        /// Which tier.
        tier: TierName,
        /// Where it would be.
        address: String,
    },
    /// Nothing is where a tier is to be since its address changed in the plan.
    #[error(
        "tier `{tier}` is to be at {address} by the plan, where nothing is yet; what lies at {from} no longer counts"
    )]
    TierMoved {
        /// Which tier.
        tier: TierName,
        /// Where it is to be.
        address: String,
        /// Where it lay last.
        from: String,
    },
    /// A tier that was named cannot be read.
    #[error("tier `{tier}` cannot be read: {}", trouble.message)]
    TierUnread {
        /// Which tier.
        tier: TierName,
        /// What is wrong with it.
        trouble: Trouble,
    },
    /// Nothing on the tiers fits.
    #[error("no tier that can be read holds `{asset}` {when}")]
    NoPoint {
        /// Of which asset.
        asset: AssetName,
        /// At which time.
        when: String,
    },
    /// A time cannot be understood.
    #[error("`{text}` is no point in time that this version knows")]
    NoTime {
        /// What was given.
        text: String,
    },
    /// Something would be replaced, and nobody confirmed it.
    #[error("this replaces data of `{site}` and was not confirmed")]
    Unconfirmed {
        /// The site whose name confirms.
        site: SiteName,
    },
    /// The plan has not exactly one database.
    #[error("the plan has {count} databases, so `--database-only` does not say which")]
    NotOneDatabase {
        /// How many it has.
        count: usize,
    },
    /// The asset's snapshot lacks what a restore needs.
    #[error("snapshot {snapshot} holds no {what}")]
    NotInSnapshot {
        /// Which snapshot.
        snapshot: String,
        /// What is missing.
        what: String,
    },
    /// The plan makes no dumps of this database.
    #[error("the plan makes no logical dumps of `{asset}`, only base backups")]
    NoDumps {
        /// Which asset.
        asset: AssetName,
    },
    /// The plan lacks what this needs.
    #[error("there is no {what}")]
    NotInPlan {
        /// What is missing.
        what: String,
    },
    /// This host may not remove anything from a tier.
    #[error("tier `{tier}` lets this host remove nothing, as `append_only` in the plan says")]
    AppendOnly {
        /// Which tier.
        tier: TierName,
    },
    /// What a recovery holds ends with it.
    #[error("{run} is open on this host, and nothing is removed until it is over")]
    Recovering {
        /// Which run.
        run: RunId,
    },
    /// Retention is held.
    #[error("retention is held, so nothing is removed from tier `{tier}`: {reason}")]
    Held {
        /// Which tier.
        tier: TierName,
        /// Why.
        reason: String,
    },
    /// A tier holds what it does not list.
    #[error(
        "tier `{tier}` holds snapshot {snapshot} and does not list it, so nothing was removed from it"
    )]
    ListingBehind {
        /// Which tier.
        tier: TierName,
        /// Which snapshot.
        snapshot: SnapshotId,
    },
    /// Snapshots that a tier had are gone, and nobody let them go.
    #[error(
        "{} stored on `{tier}` and gone from there, and nobody said that it should be so; nothing is removed from it",
        count(snapshots)
    )]
    SnapshotsGone {
        /// From which tier.
        tier: TierName,
        /// Which snapshots.
        snapshots: Vec<SnapshotId>,
    },
    /// Only part of an asset came back, since the rest is damaged where it was read.
    #[error(
        "`{asset}` was not restored as a whole: what tier `{tier}` holds of this point is damaged"
    )]
    PointDamaged {
        /// Which asset.
        asset: AssetName,
        /// Where it was read.
        tier: TierName,
    },
    /// Only part of an asset came back.
    #[error("`{asset}` was not restored as a whole: {ending}")]
    NotWhole {
        /// Which asset.
        asset: AssetName,
        /// How it ended.
        ending: Ending,
    },
    /// What came back is not what was recorded at the backup.
    #[error("what was restored of `{database}` differs from what was recorded: {differences}")]
    Differs {
        /// Which database.
        database: String,
        /// How.
        differences: String,
    },
    /// The tier carries no plan that can be read.
    #[error("no plan was found at {address}")]
    NoPlan {
        /// Where.
        address: String,
    },
    /// There is nothing at all where a tier should be.
    #[error("nothing lies at {address}")]
    NothingThere {
        /// Where.
        address: String,
    },
    /// The key is not that of the site whose tier it is.
    #[error(
        "the tier at {address} belongs to site `{site}`, and this is not its recovery key: its verifier is {found}, the site's is {expected}"
    )]
    KeyOfAnother {
        /// Where.
        address: String,
        /// Whose tier it is.
        site: SiteName,
        /// The verifier on the tier.
        expected: String,
        /// The verifier of the key that was read.
        found: String,
    },
    /// A plan was in force, and what lies on the tier in its place cannot be used.
    #[error("plan {plan} at {address} cannot be used")]
    PlanUnusable {
        /// Which plan.
        plan: PlanId,
        /// Where.
        address: String,
        /// Why not.
        #[source]
        flaw: Box<PlanFlaw>,
    },
    /// There are plans, and no record says that one of them was in force.
    #[error("plans lie at {address}, and no record there says that one of them was in force")]
    PlanNotRecorded {
        /// Where.
        address: String,
        /// Which plans.
        there: Vec<PlanId>,
    },
    /// The beginning of an id leads to no plan, or to several.
    #[error("`{wanted}` does not begin the id of exactly one plan at {address}")]
    NotOnePlan {
        /// What was given.
        wanted: String,
        /// Where.
        address: String,
        /// Which plans there are.
        there: Vec<PlanId>,
    },
    /// A plan knows nothing of the tier on which it was found.
    #[error("plan {plan} has no tier that was ever at {address}")]
    NotATierOf {
        /// Where.
        address: String,
        /// Which plan.
        plan: PlanId,
    },
    /// What lies there is the repository of a tier, or one that belongs to none.
    #[error("at {address} lies a restic repository, not the tier around it")]
    RepositoryAlone {
        /// Where.
        address: String,
    },
    /// An address is none that this version knows.
    #[error("`{address}` is not the address of a tier")]
    BadAddress {
        /// What was given.
        address: String,
    },
    /// The work was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<ViewError> for OpsError {
    fn from(error: ViewError) -> Self {
        Self::Catalog(error.into())
    }
}

impl OpsError {
    /// Returns the error of the crate below, where it is one.
    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::State(error) => Some(error),
            Self::Catalog(error) => Some(error),
            Self::Secret(error) => Some(error),
            Self::KeyUnread { source, .. } => Some(source),
            Self::Key(error) => Some(error),
            Self::Envelope(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Repository(error) => Some(error),
            Self::Backup(error) => Some(error),
            Self::Tier(error) => Some(error),
            Self::S3(error) => Some(error),
            Self::Azure(error) => Some(error),
            Self::Postgres(error) => Some(error),
            Self::DumpedTable(error) => Some(error),
            Self::Sandbox(error) => Some(error),
            Self::Staging(error) => Some(error),
            Self::Thaw(error) => Some(error),
            Self::Base(error) => Some(error),
            Self::Choice(error) => Some(error),
            Self::Placement(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Archive(error) => Some(error),
            Self::Place(error) => Some(error),
            Self::Plan(error) => Some(error),
            Self::HeldElsewhere { error, .. } => Some(error.as_ref()),
            Self::PlanUnusable { flaw, .. } => Some(flaw.as_ref()),
            _ => None,
        }
    }
}

impl OpsError {
    /// Returns the hint of the error below, or a better one where the plan is known.
    fn hint_beside(&self, inner: &dyn Classify) -> Option<Hint> {
        match self {
            Self::HeldElsewhere { hint, .. } => Some(Hint::new(hint.clone())),
            Self::KeyUnread { source: SecretError::File { path, source }, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Some(Hint::new(format!(
                    "put it back from where it is kept away from this host: `install -D -m 600 COPY {}`; or correct [key] in the plan",
                    path.display()
                )))
            }
            Self::Repository(RepositoryError::NoKeyFile { .. }) => Some(Hint::new(
                "put the file below `repo/keys` back from another tier of this site: each of them opens all, as they share one master key",
            )),
            Self::Repository(
                error @ (RepositoryError::TargetNotEmpty { .. } | RepositoryError::NoRoom { .. }),
            ) => Some(Hint::new(hint_of_the_target(error))),
            Self::PlanUnusable { .. } => Some(inner.hint().unwrap_or_else(|| {
                Hint::new("give `--from` the address of another tier, or `--plan-id` an older plan")
            })),
            Self::Repository(RepositoryError::WrongKey { .. }) => Some(Hint::new(
                "check that this is the recovery key of this site; `lifeboat key show` tells which key the plan names",
            )),
            _ => inner.hint(),
        }
    }
}

impl Classify for OpsError {
    fn kind(&self) -> ErrorKind {
        if let Some(inner) = self.inner() {
            return inner.kind();
        }
        match self {
            Self::NoAsset { .. }
            | Self::NoTier { .. }
            | Self::NoTierAt { .. }
            | Self::NoTime { .. }
            | Self::BadAddress { .. }
            | Self::RepositoryAlone { .. }
            | Self::NotOnePlan { .. }
            | Self::Unconfirmed { .. }
            | Self::NotOneDatabase { .. } => ErrorKind::Usage,
            Self::NoDestination { .. }
            | Self::NotInPlan { .. }
            | Self::NoDumps { .. }
            | Self::Exclude(_)
            | Self::LiveDatabase { .. } => ErrorKind::Config,
            Self::AnotherKey { .. }
            | Self::KeyOfAnother { .. }
            | Self::AppendOnly { .. }
            | Self::Held { .. }
            | Self::Io { .. } => ErrorKind::Denied,
            Self::Unmarked { .. }
            | Self::AnotherSite { .. }
            | Self::NotProven { .. }
            | Self::Recovering { .. }
            | Self::NoElderTier { .. } => ErrorKind::Conflict,
            Self::BadMark { .. }
            | Self::NotInSnapshot { .. }
            | Self::SnapshotsGone { .. }
            | Self::Differs { .. }
            | Self::PointDamaged { .. }
            | Self::Unreadable { .. } => ErrorKind::Corrupt,
            Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::LogTier { .. }
            | Self::TierUnread { .. }
            | Self::ListingBehind { .. }
            | Self::TierLate { .. }
            | Self::NotSeenHere { .. }
            | Self::DoneWithout { .. } => ErrorKind::Unavailable,
            Self::NotWhole { .. } => ErrorKind::Incomplete,
            _ => ErrorKind::NotFound,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotBuilt { .. } => Exit::NotBuilt,
            Self::AnotherKey { .. } | Self::KeyOfAnother { .. } => Exit::WrongKey,
            Self::TierNew { .. } | Self::TierMoved { .. } | Self::TierLost { .. } => {
                Exit::NoRepository
            }
            other => other.inner().map_or_else(|| other.kind().exit(), Classify::exit),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        self.inner().and_then(Classify::code)
    }

    fn hint(&self) -> Option<Hint> {
        if let Some(inner) = self.inner() {
            return self.hint_beside(inner);
        }
        let text = match self {
            Self::NoAsset { known, .. } => known_names(known),
            Self::NoTier { known, .. } => known_names(known),
            Self::NoTierAt { known, .. } => known_places(known),
            Self::NoDestination { asset } => {
                format!("name `{asset}` in a [schedules] entry, or give --to")
            }
            // Not a command: on a bare machine there is no plan that one could ask.
            Self::AnotherKey { expected, .. } => {
                format!(
                    "find the key whose verifier is {expected}; if this is the right key, correct [key] in the plan"
                )
            }
            Self::LiveDatabase { .. } => {
                "protect the database by an asset of kind = \"postgres\", and leave this path out"
                    .to_owned()
            }
            Self::AnotherSite { .. } => "give each site a tier address of its own".to_owned(),
            Self::Unmarked { address } => whose_mark(address),
            Self::BadMark { .. } => {
                "look at its `site.json` with a later version of lifeboat".to_owned()
            }
            Self::TierLost { address, .. } => format!(
                "{}bring back {address}; if it is lost for good, give the tier another name in the plan",
                if is_folder(address) { "mount or " } else { "" }
            ),
            Self::NoPoint { .. } => {
                "`lifeboat points` lists what there is; by its name a point is found as it is, by a time only what was not later".to_owned()
            }
            Self::NoTime { .. } => {
                "give `latest`, 2026-11-23T02:00:00Z or 20261123_020000 (UTC)".to_owned()
            }
            Self::Unconfirmed { site } => format!("add `--confirm {site}`"),
            Self::NotOneDatabase { .. } => {
                "name the asset: `lifeboat restore ASSET --at TIME --in-place`".to_owned()
            }
            Self::NotWhole { asset, .. } | Self::PointDamaged { asset, .. } => {
                format!("`lifeboat restore {asset} --to DIR` names what does not come back")
            }
            Self::Differs { .. } => {
                "the database that was there was not touched; restore an older point".to_owned()
            }
            Self::NoDumps { asset } => format!(
                "`lifeboat query {asset} --at TIME --dump TABLE` takes it out of the base backup"
            ),
            Self::NoPlan { .. } => {
                "give the address of a tier that a plan was in force on".to_owned()
            }
            Self::RepositoryAlone { address } => format!(
                "the tier is the folder above: {}; a repository without a tier is for `lifeboat repo restore`",
                folder_above(address)
            ),
            Self::AppendOnly { tier } => format!(
                "run `lifeboat retention run {tier}` on a machine whose credentials may delete; docs/append-only.md says which"
            ),
            Self::ListingBehind { tier, .. } => format!(
                "its listings lag behind what was stored; try `lifeboat retention run {tier}` again later"
            ),
            Self::BadAddress { .. } => {
                "give an address like file:///mnt/backups, s3://bucket/prefix, azure://account/container/prefix or sftp://user@host/path".to_owned()
            }
            _ => self.hint_of_a_tier().or_else(|| self.hint_on_a_bare_machine())?,
        };
        Some(Hint::new(text))
    }
}

/// Names some snapshots, the first few.
fn count(snapshots: &[SnapshotId]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<_> = snapshots.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = if snapshots.len() > SHOWN_MAX { " and more" } else { "" };
    let (ids, number) = (shown.join(", "), snapshots.len());
    let (noun, verb) = if number == 1 { ("snapshot", "was") } else { ("snapshots", "were") };
    format!("{number} {noun} ({ids}{more}) {verb}")
}

fn listed(places: &[PlaceName]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn reasons(tiers: &[(TierName, String)]) -> String {
    let each: Vec<_> = tiers.iter().map(|(tier, why)| format!("{tier}: {why}")).collect();
    each.join("; ")
}

/// An error with all of its causes, as one line.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let word = source.to_string();
        if !text.ends_with(&word) {
            text = format!("{text}: {word}");
        }
        cause = source.source();
    }
    text
}
