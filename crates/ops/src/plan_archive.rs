//! Plans that were in force, with their runbooks, at `plan/<hash>.age`: what a bare machine needs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt as _;
use lifeboat_model::{Classify, ErrorKind, Hint, PlanId, Timestamp};
use lifeboat_plan::{Checked, Facts, Rejected, SourceFile, load};
use lifeboat_tiers::envelope::{EnvelopeError, Opener, Recipient};
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};
use serde::{Deserialize, Serialize};

/// The version of the document that this version writes.
const SCHEMA: u32 = 1;

/// The folder of the plans on a tier.
const FOLDER: &str = "plan";

/// What a plan's object is called after its hash.
const SUFFIX: &str = ".age";

/// A plan as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedPlan {
    schema: u32,
    /// The name of the plan's file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The runbooks' texts by their paths in the plan.
    pub runbooks: BTreeMap<String, String>,
}

/// Why a plan on a tier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFlaw {
    /// It could not be read.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// It cannot be opened.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It opens, and is no document of a plan.
    #[error("what was sealed there is no plan with its runbooks")]
    Document(#[from] serde_json::Error),
    /// A later version wrote it.
    #[error(
        "a later version of lifeboat wrote it: it has version {found}, and this one knows up to {SCHEMA}"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// The plan itself has mistakes, or words of a later version.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Its name is the hash of another one.
    #[error(
        "what lies there is plan {found}: somebody put it in the place of the one that was in force"
    )]
    Another {
        /// What it is.
        found: PlanId,
    },
}

impl PlanFlaw {
    /// Returns the tier's error, if the plan may be whole and only the tier cannot give it now.
    pub fn of_the_tier(self) -> Result<TierError, Self> {
        match self {
            Self::Tier(error) if !matches!(error, TierError::NotFound { .. }) => Ok(error),
            flaw => Err(flaw),
        }
    }
}

impl Classify for PlanFlaw {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tier(error) => error.kind(),
            Self::Envelope(error) => error.kind(),
            Self::Rejected(rejected) => rejected.kind(),
            Self::Newer { .. } => ErrorKind::Conflict,
            Self::Document(_) | Self::Another { .. } => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Newer { .. } | Self::Rejected(_) => {
                Some(Hint::new("install the version of lifeboat that wrote it, or a later one"))
            }
            _ => None,
        }
    }
}

/// Returns where a plan lies on a tier.
pub fn path(plan: PlanId) -> ObjectPath {
    format!("{FOLDER}/{}{SUFFIX}", plan.to_hex()).parse().expect("hex digits are a valid path")
}

/// Lists the plans that lie on a tier, whoever put them there.
pub async fn list(tier: &dyn Tier) -> Result<BTreeSet<PlanId>, TierError> {
    let folder: ObjectPrefix = FOLDER.parse().expect("it is a valid path");
    let objects: Vec<_> = tier.list(&folder).try_collect().await?;
    let name = |path: &ObjectPath| {
        let name = path.as_str().strip_prefix(FOLDER)?.strip_prefix('/')?;
        name.strip_suffix(SUFFIX)?.parse().ok()
    };
    Ok(objects.iter().filter_map(|object| name(&object.path)).collect())
}

/// Reads a plan where it lies, and returns what is wrong with it: nothing with one that is whole, that is not there, or
/// that only another version understands.
pub async fn flaw(
    plan: PlanId,
    opener: &Opener,
    tier: &dyn Tier,
    now: Timestamp,
) -> Option<PlanFlaw> {
    let archived = ArchivedPlan::read(plan, opener, tier).await;
    match archived.and_then(|archived| archived.check(plan, now)) {
        Ok(_)
        | Err(
            PlanFlaw::Newer { .. }
            | PlanFlaw::Rejected(_)
            | PlanFlaw::Tier(TierError::NotFound { .. }),
        ) => None,
        Err(flaw) => Some(flaw),
    }
}

/// Whether a plan had to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was.
    Now,
    /// Something of its name was there; whether that is whole nobody looked.
    Before,
}

impl ArchivedPlan {
    /// Takes the files that a plan was loaded from, the plan's own first; `None` if there are none.
    pub fn new(sources: &[SourceFile]) -> Option<Self> {
        let (plan, runbooks) = sources.split_first()?;
        let runbooks = runbooks.iter().map(|file| (file.path.clone(), file.text.clone()));
        let runbooks = runbooks.collect();
        Some(Self { schema: SCHEMA, name: plan.path.clone(), text: plan.text.clone(), runbooks })
    }

    /// Stores it on a tier, unless it is there.
    pub async fn store(
        &self,
        plan: PlanId,
        recipient: &Recipient,
        tier: &dyn Tier,
    ) -> Result<Stored, TierError> {
        match tier.put(&path(plan), self.sealed(recipient), PutMode::Create).await {
            Err(TierError::AlreadyExists { .. }) => Ok(Stored::Before),
            other => other.map(|()| Stored::Now),
        }
    }

    /// Stores it in the place of what is damaged there, and tells whether anything was. What the tier cannot give now, or
    /// another version wrote, stays.
    pub async fn mend(
        &self,
        plan: PlanId,
        opener: &Opener,
        tier: &dyn Tier,
        now: Timestamp,
    ) -> Result<Option<PlanFlaw>, TierError> {
        let Some(flaw) = flaw(plan, opener, tier, now).await else { return Ok(None) };
        let damage = flaw.of_the_tier().map_or_else(Ok, Err)?;
        tier.put(&path(plan), self.sealed(&opener.recipient()), PutMode::Overwrite).await?;
        Ok(Some(damage))
    }

    fn sealed(&self, recipient: &Recipient) -> Bytes {
        let bytes = serde_json::to_vec(self).expect("a plan is JSON");
        Bytes::from(recipient.seal(&bytes))
    }

    /// Reads one from a tier.
    pub async fn read(plan: PlanId, opener: &Opener, tier: &dyn Tier) -> Result<Self, PlanFlaw> {
        /// All that is asked of a document before its shape is known.
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let path = path(plan);
        let sealed = tier.get(&path, ReadRange::Full).await?;
        let bytes = opener.open(path.as_str(), &sealed)?;
        let Version { schema } = serde_json::from_slice(&bytes)?;
        if schema > SCHEMA {
            return Err(PlanFlaw::Newer { found: schema });
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Reads and checks the plan that it holds, which has to be the one with this id: whoever can write to
    /// a tier can seal something for it, and the id alone stands in a signed record.
    pub fn check(self, plan: PlanId, now: Timestamp) -> Result<Checked, PlanFlaw> {
        let source = SourceFile { path: self.name, text: self.text };
        let checked = load(source, &self.runbooks, &Facts::default(), now)?;
        match checked.plan.id() {
            found if found == plan => Ok(checked),
            found => Err(PlanFlaw::Another { found }),
        }
    }
}
