//! The write-ahead log of an asset: from the plan to the archive on its tiers and back.
//!
//! Whoever pushes needs the plan and its public halves; whoever fetches or wants to know times needs the
//! recovery key as well.

pub mod client;
pub mod protocol;
pub mod serve;
mod spool;
pub mod status;
pub mod stillness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::{
    AssetName, Cancel, Classify, ErrorKind, EventSink, Exit, Hint, Silent, TierName,
};
use lifeboat_plan::plan::asset::{Wal, WalMode};
use lifeboat_postgres::Server;
use lifeboat_postgres::archive::get::{Answer, Source};
use lifeboat_postgres::archive::push::Stored;
use lifeboat_postgres::archive::{
    self, ArchiveError, CatchUpReport, Cluster, Destination, Duty, Newcomer, PushReport, SystemId,
    WalAddress, WalFile,
};
use lifeboat_postgres::wal::WalFileName;
use lifeboat_tiers::envelope::{Opener, Recipient};

use crate::error::{OpsError, Trouble};
use crate::inquiry::{Inquiry, ask_all};
use crate::named_tier::NamedTier;
use crate::readiness::probe;
use crate::wire::{Reached, Site};

/// Where a file is put that only shows whether one can be put.
const PROBE_FOLDER: &str = "wal/";

/// Something with the log of an asset did not work.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The archive did not take or give a file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What the plan names could not be had.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// No asset's log is archived.
    #[error("the plan archives no write-ahead log")]
    NoLog,
    /// Several are.
    #[error("the plan archives the write-ahead logs of several assets")]
    SeveralLogs {
        /// Of which.
        assets: Vec<AssetName>,
    },
    /// This asset's is not.
    #[error("the plan does not archive the write-ahead log of `{asset}`")]
    NotArchived {
        /// Which asset.
        asset: AssetName,
    },
    /// A tier that must hold the log cannot be used.
    #[error("tier `{tier}` has to hold the log and cannot be used: {}", trouble.message)]
    Tier {
        /// Which tier.
        tier: TierName,
        /// Why not.
        trouble: Trouble,
    },
    /// The file is of a server that is not the plan's.
    #[error(
        "the log is of cluster {system}, which is not the plan's server: that is cluster {expected}"
    )]
    Stranger {
        /// Whose log it is.
        system: SystemId,
        /// Which cluster `connect` leads to.
        expected: SystemId,
    },
    /// The path is not that of a file.
    #[error("{} names no file", path.display())]
    NoFile {
        /// The path.
        path: std::path::PathBuf,
    },
    /// No tier has what others lack.
    #[error("no tier of the log can be used to bring another up to date")]
    NoHealthyTier,
}

impl Classify for WalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Archive(error) => error.kind(),
            Self::Ops(error) => error.kind(),
            Self::NoLog | Self::NotArchived { .. } => ErrorKind::Config,
            Self::SeveralLogs { .. } | Self::NoFile { .. } => ErrorKind::Usage,
            Self::Stranger { .. } => ErrorKind::Conflict,
            Self::Tier { .. } | Self::NoHealthyTier => ErrorKind::Unavailable,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Archive(error) => error.exit(),
            Self::Ops(error) => error.exit(),
            _ => self.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Archive(error) => error.hint(),
            Self::Ops(error) => error.hint(),
            Self::NoLog | Self::NotArchived { .. } => Some(Hint::new(
                "write wal = { mode = \"archive\", to = [\"…\"], ack = [\"…\"] } in the asset",
            )),
            Self::SeveralLogs { assets } => {
                let names: Vec<_> = assets.iter().map(AssetName::as_str).collect();
                Some(Hint::new(format!("name one with --asset: {}", names.join(", "))))
            }
            Self::Tier { trouble, .. } => trouble.hint.clone().map(Hint::new),
            Self::Stranger { .. } => Some(Hint::new(
                "if this server took the plan's place, let `connect` lead to it; else take `lifeboat wal push` out of its archive_command",
            )),
            Self::NoFile { .. } | Self::NoHealthyTier => None,
        }
    }
}

/// What was done with a file.
#[derive(Debug)]
pub struct Pushed {
    /// Which file.
    pub file: WalFileName,
    /// On which tiers it is.
    pub stored: Vec<(TierName, Stored)>,
    /// On which it is not yet, and why.
    pub behind: Vec<(TierName, String)>,
}

/// Which tiers could take a file.
#[derive(Debug)]
pub struct Rehearsed {
    /// These could.
    pub able: Vec<TierName>,
    /// These could not and need not, for this reason.
    pub behind: Vec<(TierName, String)>,
}

/// What the archive gave.
#[derive(Debug)]
pub enum Fetched {
    /// The file, which is where it was wanted now.
    Placed {
        /// Who had it.
        tier: TierName,
    },
    /// Nothing: it is not there, and nothing that would follow it.
    End,
}

/// How a tier was brought up to date.
#[derive(Debug)]
pub struct CaughtUp {
    /// Which tier.
    pub tier: TierName,
    /// What was copied, or why it could not be.
    pub ended: Result<CatchUpReport, Trouble>,
}

/// The tiers of a log, before anything is stored.
struct Destinations {
    open: Vec<Destination>,
    /// Those that cannot be used and need not hold anything yet, and why.
    behind: Vec<(TierName, String)>,
}

/// The archived log of one asset.
#[derive(Debug, Clone, Copy)]
pub struct WalLog<'a> {
    site: &'a Site,
    asset: &'a AssetName,
    wal: &'a Wal,
}

impl<'a> WalLog<'a> {
    /// Finds the log of an asset, or the only one of the plan.
    pub fn of(site: &'a Site, asset: Option<&AssetName>) -> Result<Self, WalError> {
        let logged = site.databases().filter(|(_, database)| database.wal.mode != WalMode::None);
        let mut wanted = logged.filter(|(name, _)| asset.is_none_or(|asset| asset == *name));
        let (name, database) = match (wanted.next(), asset) {
            (Some(found), _) => found,
            (None, Some(asset)) => {
                site.asset(asset)?;
                return Err(WalError::NotArchived { asset: asset.clone() });
            }
            (None, None) => return Err(WalError::NoLog),
        };
        let others: Vec<_> = wanted.map(|(name, _)| name.clone()).collect();
        if !others.is_empty() {
            let assets = [vec![name.clone()], others].concat();
            return Err(WalError::SeveralLogs { assets });
        }
        if database.wal.mode != WalMode::Archive {
            let what = format!("receiving the write-ahead log of `{name}`");
            return Err(OpsError::NotBuilt { what }.into());
        }
        Ok(Self { site, asset: name, wal: &database.wal })
    }

    /// Returns whose log it is.
    pub const fn asset(&self) -> &AssetName {
        self.asset
    }

    /// Returns what a tier is for. Where the plan says nothing, every one has to hold the log.
    fn duty(&self, tier: &TierName) -> Duty {
        let acknowledges = self.wal.ack.is_empty() || self.wal.ack.contains(tier);
        if acknowledges { Duty::Acknowledges } else { Duty::Follows }
    }

    /// Goes to a tier of the log.
    fn reach(&self, name: &TierName) -> Result<NamedTier, Trouble> {
        reach(self.site, name)
    }

    /// Opens the tiers that the log goes to; those that cannot be opened and need not be are told apart, and are not
    /// waited for when all others are there: the server hands over no other file meanwhile.
    fn destinations(&self) -> Result<Destinations, WalError> {
        let (mut open, mut behind) = (Vec::new(), Vec::new());
        let site = self.site.clone();
        let to = self.wal.to.iter().cloned();
        let mut asked = Inquiry::begin(to, move |name, _: &dyn EventSink| reach(&site, name));
        let has_to = |name: &TierName| self.duty(name) == Duty::Acknowledges;
        let fails = |reached: &[(TierName, Result<NamedTier, Trouble>)]| {
            reached.iter().position(|(name, tier)| tier.is_err() && has_to(name))
        };
        let mut reached = asked.gather(&Silent, |reached| {
            let is_there = |name: &TierName| reached.iter().any(|(there, _)| there == name);
            // One that has to hold it and cannot is enough: nothing is waited for to say so.
            fails(reached).is_some() || self.wal.to.iter().filter(|name| has_to(name)).all(is_there)
        });
        if let Some(failed) = fails(&reached)
            && let (tier, Err(trouble)) = reached.swap_remove(failed)
        {
            return Err(WalError::Tier { tier, trouble });
        }
        let mut reached: BTreeMap<_, _> = reached.into_iter().collect();
        for name in &self.wal.to {
            let duty = self.duty(name);
            match reached.remove(name).unwrap_or_else(|| Err(self.late(name))) {
                Ok(NamedTier { name, tier }) => open.push(Destination { name, tier, duty }),
                Err(trouble) => behind.push((name.clone(), trouble.message)),
            }
        }
        Ok(Destinations { open, behind })
    }

    fn late(&self, name: &TierName) -> Trouble {
        self.site.address(name).map_or_else(
            |error| Trouble::of(&error),
            |address| Trouble::of(&OpsError::TierLate { tier: name.clone(), address }),
        )
    }

    /// Returns the tiers that have to hold a file before the server may forget it.
    pub(crate) fn acknowledging(&self) -> Result<Vec<NamedTier>, WalError> {
        let open = self.destinations()?.open.into_iter();
        let open = open.filter(|destination| destination.duty == Duty::Acknowledges);
        Ok(open.map(|Destination { name, tier, .. }| NamedTier { name, tier }).collect())
    }

    /// Finds out whether a file could be archived: seals nothing, and leaves nothing on a tier.
    ///
    /// Returns the tiers that could take it, and those that could not and need not.
    pub fn rehearse(&self, cancel: &Cancel) -> Result<Rehearsed, WalError> {
        let Destinations { open, mut behind } = self.destinations()?;
        self.recipient(cancel)?;
        let mut able = Vec::new();
        for Destination { name, tier, duty } in open {
            let probed = self.site.surroundings().runtime.block_on(probe(&*tier, PROBE_FOLDER));
            match (probed, duty) {
                (Ok(()), _) => able.push(name),
                (Err(error), Duty::Follows) => behind.push((name, crate::error::explain(&error))),
                (Err(error), Duty::Acknowledges) => {
                    let trouble = Trouble::of(&error);
                    return Err(WalError::Tier { tier: name, trouble });
                }
            }
        }
        Ok(Rehearsed { able, behind })
    }

    /// Returns to whom files are sealed: the plan's recipient, or that of the key.
    fn recipient(&self, cancel: &Cancel) -> Result<Recipient, WalError> {
        let stated = self.site.plan().key().recipient.as_deref().map(str::parse);
        if let Some(Ok(recipient)) = stated {
            return Ok(recipient);
        }
        Ok(self.site.recovery_key(cancel)?.public_halves().recipient)
    }

    /// Archives the file at `path`, which PostgreSQL names.
    pub fn push(&self, path: &Path, cancel: &Cancel) -> Result<Pushed, WalError> {
        let file = read(path)?;
        let Destinations { open, mut behind } = self.destinations()?;
        let recipient = self.recipient(cancel)?;
        let surroundings = self.site.surroundings();
        let push = |newcomer| {
            let pushed = archive::push(&file, &open, &recipient, &*surroundings.clock, newcomer);
            surroundings.runtime.block_on(pushed)
        };
        let pushed = match push(Newcomer::Asked) {
            Err(ArchiveError::Newcomer { system, .. }) => {
                self.admit(system, cancel)?;
                push(Newcomer::Taken)
            }
            pushed => pushed,
        };
        let PushReport { stored, behind: late } = pushed?;
        behind.extend(late.into_iter().map(|behind| {
            let why = behind.error.map_or_else(
                || "it takes too long".to_owned(),
                |error| crate::error::explain(&error),
            );
            (behind.tier, why)
        }));
        Ok(Pushed { file: file.address().file, stored, behind })
    }

    /// Fails if the plan's server says that it is another cluster than one of which nothing is archived yet.
    ///
    /// After a major upgrade it is the same. Where it cannot be asked the log is taken: refusing that of the
    /// right one would fill its disk, and that of a wrong one does no harm in a folder of its own.
    fn admit(&self, system: SystemId, cancel: &Cancel) -> Result<(), WalError> {
        let asked = self.server_id(cancel);
        match asked {
            Ok(expected) if expected != system => Err(WalError::Stranger { system, expected }),
            Ok(_) => Ok(()),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(%system, error, "The plan's server could not be asked whether this is its log.");
                Ok(())
            }
        }
    }

    fn server_id(&self, cancel: &Cancel) -> Result<SystemId, OpsError> {
        let postgres = self.site.asset(self.asset)?.postgres().expect("only a database has a log");
        let (conninfo, environment) = self.site.connection(postgres, cancel)?;
        let id = self.site.surroundings().runtime.block_on(async {
            let server = Server::connect_without_database(&conninfo, &environment).await?;
            server.system_id().await
        });
        Ok(SystemId(id?))
    }

    /// Returns the tiers to ask for a file: those that are named, or all that the log goes to.
    ///
    /// Who names one says that its end counts, whatever other tiers may hold; so does who says that others are lost.
    fn sources(&self, from: &[TierName]) -> Result<Vec<Source>, WalError> {
        for name in from {
            self.site.address(name)?;
        }
        let left = self.left();
        let from = if from.is_empty() { left.as_slice() } else { from };
        let names = if from.is_empty() { &self.wal.to } else { from };
        let source = |name: &TierName| {
            let duty = if from.is_empty() { self.duty(name) } else { Duty::Acknowledges };
            let tier = self.reach(name).map(|named| named.tier).map_err(|trouble| trouble.message);
            Source { name: name.clone(), tier, duty }
        };
        Ok(ask_all(names, source))
    }

    /// Returns the tiers of the log that are left if some are said to be lost; none if none is.
    fn left(&self) -> Vec<TierName> {
        let lost = self.site.done_without();
        if !self.wal.to.iter().any(|tier| lost.contains(tier)) {
            return Vec::new();
        }
        self.wal.to.iter().filter(|tier| !lost.contains(*tier)).cloned().collect()
    }

    /// Fetches a file and puts it at `path`, as PostgreSQL wants it.
    pub fn get(
        &self,
        file: &str,
        path: &Path,
        from: &[TierName],
        cancel: &Cancel,
    ) -> Result<Fetched, WalError> {
        let wanted = Cluster::around(path)?.address(parse(file)?)?;
        let opener = self.site.recovery_key(cancel)?.opener();
        match self.fetch(wanted, from, &opener)? {
            Answer::End => Ok(Fetched::End),
            Answer::Found { file, tier } => {
                cancel.check().map_err(OpsError::from)?;
                file.place(path)?;
                Ok(Fetched::Placed { tier })
            }
        }
    }

    /// Fetches a file, or says that the archive ends before it.
    fn fetch(
        &self,
        wanted: WalAddress,
        from: &[TierName],
        opener: &Opener,
    ) -> Result<Answer, WalError> {
        let sources = self.sources(from)?;
        let asked = archive::get::get(wanted, &sources, opener);
        Ok(self.site.surroundings().runtime.block_on(asked)?)
    }

    /// Fetches a file if it is there, and says nothing of what it means if not.
    fn find(&self, wanted: WalAddress, opener: &Opener) -> Result<Option<WalFile>, WalError> {
        let sources = self.sources(&[])?;
        let asked = archive::get::find(wanted, &sources, opener);
        Ok(self.site.surroundings().runtime.block_on(asked)?)
    }

    /// Brings every tier of the log up to date from the others.
    pub fn catch_up(&self, cancel: &Cancel) -> Result<Vec<CaughtUp>, WalError> {
        let mut open = Vec::new();
        let mut ended = Vec::new();
        for (name, reached) in self.wal.to.iter().zip(ask_all(&self.wal.to, |to| self.reach(to))) {
            match reached {
                Ok(tier) => open.push(tier),
                Err(trouble) => ended.push(CaughtUp { tier: name.clone(), ended: Err(trouble) }),
            }
        }
        if open.is_empty() {
            return Err(WalError::NoHealthyTier);
        }
        for to in &open {
            let caught_up = self.catch_up_tier(to, &open, cancel);
            ended.push(CaughtUp {
                tier: to.name.clone(),
                ended: caught_up.map_err(|error| Trouble::of(&error)),
            });
        }
        Ok(ended)
    }

    fn catch_up_tier(
        &self,
        to: &NamedTier,
        open: &[NamedTier],
        cancel: &Cancel,
    ) -> Result<CatchUpReport, WalError> {
        let folder = archive::name::root();
        let mut report = CatchUpReport::default();
        for from in open.iter().filter(|from| from.name != to.name) {
            cancel.check().map_err(OpsError::from)?;
            let (source, target) = (Arc::clone(&from.tier), Arc::clone(&to.tier));
            let copied = archive::catch_up(&*source, &*target, &to.name, &folder, cancel);
            let copied = self.site.surroundings().runtime.block_on(copied)?;
            report.files += copied.files;
            report.bytes += copied.bytes;
        }
        Ok(report)
    }
}

/// Goes to a tier of a log.
fn reach(site: &Site, name: &TierName) -> Result<NamedTier, Trouble> {
    match site.reach(name) {
        Reached::Ready(tier) => Ok(tier),
        Reached::Trouble(trouble) => Err(trouble),
        Reached::Vacant(vacancy) => {
            let (tier, address) = (name.clone(), vacancy.address().to_owned());
            Err(Trouble::of(&OpsError::TierNew { tier, address }))
        }
    }
}

/// Reads a name as PostgreSQL gives it.
pub fn parse(file: &str) -> Result<WalFileName, WalError> {
    Ok(file.parse().map_err(ArchiveError::from)?)
}

/// Puts a file that somebody else fetched where PostgreSQL wants it, if it is what it should be.
pub fn place(file: WalFileName, bytes: Bytes, path: &Path) -> Result<(), WalError> {
    let address = Cluster::around(path)?.address(file)?;
    Ok(WalFile::check(address, bytes)?.place(path)?)
}

/// Reads the file that the server hands over.
fn read(path: &Path) -> Result<WalFile, WalError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let file = parse(name.ok_or_else(|| WalError::NoFile { path: path.to_owned() })?)?;
    let cluster = match Cluster::around(path) {
        // A file that somebody pushes by hand, from a place of its own.
        Err(error) if error.kind() == ErrorKind::NotFound => Cluster::of_segment(file, path)?,
        other => other?,
    };
    Ok(WalFile::read(cluster.address(file)?, path)?)
}
