//! Archiving a file: on every tier at once, acknowledged when it is durable on all that must hold it.
//!
//! What is there is listed before anything is stored, and again afterwards: of two servers that store
//! different bytes under one name at the same time, at least one sees the other's. Nothing is ever
//! replaced but an object that cannot be whole.
//!
//! # Crash consistency
//!
//! A tier stores an object whole or not at all. A kill at any time leaves each tier with or without the
//! file, and the server hands it over again: what is there is recognised by its name.
//!
//! # Limits
//!
//! Where a store lists what was written only after a while, both of two servers may succeed; the
//! inventory shows the two files then, and whoever asks for the file is told.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::{Either, join_all, select};
use lifeboat_model::{Clock, TierName};
use lifeboat_tiers::envelope::Recipient;
use lifeboat_tiers::{PutMode, Tier, TierError};

use super::error::ArchiveError;
use super::file::WalFile;
use super::inventory::{self, Listed};
use super::name::{ArchivedFile, ShortDigest};
use super::object::SealedFile;

/// How long the server waits for a tier that need not hold the file yet. It hands over one file after
/// the other, so that a log grows by one segment in this time at most without being acknowledged.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the server may forget a file before a tier holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Not before.
    Acknowledges,
    /// Yes; the tier catches up later.
    Follows,
}

/// Whether the log of a cluster may be archived of which a tier that acknowledges holds nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomer {
    /// It may.
    Taken,
    /// It is to be asked first whose it is.
    Asked,
}

/// A tier that the log goes to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// What the plan calls it.
    pub name: TierName,
    /// Where it is.
    pub tier: Arc<dyn Tier>,
    /// What it is for.
    pub duty: Duty,
}

/// What was done at a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The file was stored.
    Now,
    /// It was there.
    Before,
    /// What lay under its name could not be whole, and was replaced.
    Mended,
}

/// A tier that does not hold a file yet.
#[derive(Debug)]
pub struct Behind {
    /// Which tier.
    pub tier: TierName,
    /// Why; none where it only takes too long.
    pub error: Option<TierError>,
}

/// What became of a file.
#[derive(Debug, Default)]
pub struct PushReport {
    /// The tiers that hold it.
    pub stored: Vec<(TierName, Stored)>,
    /// Those that do not yet.
    pub behind: Vec<Behind>,
}

/// What has to be done at a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Store(PutMode),
    Nothing,
    Refuse { held: ShortDigest },
}

/// Decides by what is there already.
fn decide(there: &[Listed], sealed: &SealedFile) -> Decision {
    let same = there.iter().filter(|listed| listed.name.file == sealed.name.file);
    if let Some(held) =
        same.clone().map(|listed| listed.name.digest).find(|held| *held != sealed.name.digest)
    {
        return Decision::Refuse { held };
    }
    match same.map(|listed| listed.size).next() {
        None => Decision::Store(PutMode::Create),
        Some(size) if sealed.may_be(size) => Decision::Nothing,
        Some(_) => Decision::Store(PutMode::Overwrite),
    }
}

/// How a tier did not take a file.
enum Refusal {
    Tier(TierError),
    SplitBrain(ShortDigest),
    Newcomer,
}

impl From<TierError> for Refusal {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

/// Archives a file on every destination.
///
/// # Errors
///
/// Unless every tier that acknowledges holds the file, and if any tier holds another one of its name; and of a
/// newcomer that is to be asked for, before anything is stored on a tier that acknowledges.
pub async fn push(
    file: &WalFile,
    destinations: &[Destination],
    recipient: &Recipient,
    clock: &dyn Clock,
    newcomer: Newcomer,
) -> Result<PushReport, ArchiveError> {
    let name = file.address().file;
    if !destinations.iter().any(|to| to.duty == Duty::Acknowledges) {
        return Err(ArchiveError::NoTier { file: name });
    }
    let sealed = SealedFile::new(file, recipient);
    push_sealed(&sealed, destinations, clock, newcomer).await
}

/// Archives a file that was sealed already.
pub async fn push_sealed(
    sealed: &SealedFile,
    destinations: &[Destination],
    clock: &dyn Clock,
    newcomer: Newcomer,
) -> Result<PushReport, ArchiveError> {
    let (must, may): (Vec<_>, Vec<_>) =
        destinations.iter().partition(|to| to.duty == Duty::Acknowledges);
    // All begin at once; who follows has the time that the others take, and some more.
    let must = join_all(must.into_iter().map(|to| store_at(to, sealed, newcomer)));
    let may = join_all(may.into_iter().map(|to| {
        let patience = async {
            clock.sleep(PATIENCE).await;
        };
        async move {
            match select(Box::pin(store_at(to, sealed, newcomer)), Box::pin(patience)).await {
                Either::Left((ended, _)) => (to, Some(ended)),
                Either::Right(((), _)) => (to, None),
            }
        }
    }));
    let (must, may) = futures::future::join(must, may).await;
    let mut report = PushReport::default();
    for (tier, ended) in must {
        match ended {
            Ok(stored) => report.stored.push((tier, stored)),
            Err(refusal) => return Err(refused(tier, &sealed.name, refusal)),
        }
    }
    for (to, ended) in may {
        match ended {
            Some((tier, Ok(stored))) => report.stored.push((tier, stored)),
            Some((tier, Err(Refusal::Tier(error)))) => {
                report.behind.push(Behind { tier, error: Some(error) });
            }
            Some((tier, Err(refusal))) => return Err(refused(tier, &sealed.name, refusal)),
            None => report.behind.push(Behind { tier: to.name.clone(), error: None }),
        }
    }
    Ok(report)
}

fn refused(tier: TierName, name: &ArchivedFile, refusal: Refusal) -> ArchiveError {
    let file = name.file;
    match refusal {
        Refusal::Tier(error) => {
            ArchiveError::NotAcknowledged { tier, file, source: Box::new(error) }
        }
        Refusal::SplitBrain(held) => {
            ArchiveError::SplitBrain { tier, file, held, offered: name.digest }
        }
        Refusal::Newcomer => ArchiveError::Newcomer { tier, system: name.system },
    }
}

async fn store_at(
    to: &Destination,
    sealed: &SealedFile,
    newcomer: Newcomer,
) -> (TierName, Result<Stored, Refusal>) {
    // One that only follows may be new itself.
    let newcomer = if to.duty == Duty::Acknowledges { newcomer } else { Newcomer::Taken };
    (to.name.clone(), store(&*to.tier, sealed, newcomer).await)
}

async fn store(
    tier: &dyn Tier,
    sealed: &SealedFile,
    newcomer: Newcomer,
) -> Result<Stored, Refusal> {
    let there = beside(tier, sealed).await?;
    if newcomer == Newcomer::Asked && there.is_empty() && !is_known(tier, sealed).await? {
        return Err(Refusal::Newcomer);
    }
    let mode = match decide(&there, sealed) {
        Decision::Nothing => return Ok(Stored::Before),
        Decision::Refuse { held } => return Err(Refusal::SplitBrain(held)),
        Decision::Store(mode) => mode,
    };
    let body = sealed.body.clone();
    let stored = match tier.put(&sealed.name.path(), body, mode).await {
        Ok(()) if mode == PutMode::Overwrite => Stored::Mended,
        Ok(()) => Stored::Now,
        // Somebody stored the same bytes a moment ago.
        Err(TierError::AlreadyExists { .. }) => Stored::Before,
        Err(error) => return Err(error.into()),
    };
    match decide(&beside(tier, sealed).await?, sealed) {
        Decision::Refuse { held } => Err(Refusal::SplitBrain(held)),
        // A listing that lags does not show it yet; that it was stored is certain.
        Decision::Nothing | Decision::Store(_) => Ok(stored),
    }
}

/// Tells whether anything of a file's cluster is held.
async fn is_known(tier: &dyn Tier, sealed: &SealedFile) -> Result<bool, TierError> {
    let mut objects = tier.list(&sealed.name.system.folder());
    Ok(objects.try_next().await?.is_some())
}

async fn beside(tier: &dyn Tier, sealed: &SealedFile) -> Result<Vec<Listed>, TierError> {
    let ArchivedFile { file, system, size, .. } = sealed.name;
    let address = super::WalAddress { system, size: size.unwrap_or_default(), file };
    inventory::list(tier, &address.folder()).await
}
