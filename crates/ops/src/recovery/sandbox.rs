//! A throwaway server on an asset's past, which can reach nothing.
//!
//! [`Sandbox::open`] recovers an asset to a moment, into a directory that nobody else uses, starts its server
//! in an [enclosure](lifeboat_postgres::enclosure), and hands out how to connect. When the [`Sandbox`] is
//! dropped, also while a panic unwinds, server and directory are gone.
//!
//! ```no_run
//! # use lifeboat_model::{Cancel, Silent};
//! # use lifeboat_ops::recovery::sandbox::*;
//! # use lifeboat_ops::thaw::ThawOptions;
//! # use lifeboat_postgres::recovery::throwaway::Use;
//! # fn f(site: &lifeboat_ops::Site) -> Result<(), lifeboat_ops::OpsError> {
//! let options = SandboxOptions {
//!     asset: "database".parse().unwrap(),
//!     target: "2026-11-23T01:59:59Z".parse().unwrap(),
//!     tier: None,
//!     scratch: None,
//!     purpose: Use::Read,
//!     demand: Demand::WhatCanBeHad,
//!     own_program: std::env::current_exe().unwrap(),
//!     thaw: ThawOptions::default(),
//! };
//! let sandbox = Sandbox::open(site, &options, &|_| {}, &Silent, &Cancel::new())?;
//! let server = sandbox.server(sandbox.superuser(), &lifeboat_postgres::DatabaseName::new("shop"))?;
//! println!("{:?}: {}", sandbox.report().isolation, sandbox.data().display());
//! sandbox.close()
//! # }
//! ```
//!
//! # Invariants
//!
//! - The server sees its own files, the programs of the system and a socket on which its own log is read. It
//!   can archive nothing: the log is [served for fetching alone](crate::wal::serve::Service::Fetching).
//! - Where the host gives no namespaces, [`Isolation::SettingsOnly`] says so, and a caller that
//!   [demands](Demand::Namespaces) them gets an error.
//!
//! # Crash consistency
//!
//! After a kill no server runs, as the kernel ends it. Its directory is removed by the next sandbox in the
//! same folder.

mod instance;
mod place;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, EventSink, Lsn, TierName, Timestamp};
use lifeboat_postgres::base::Manifest;
use lifeboat_postgres::enclosure::Isolation;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::placement::Owner;
use lifeboat_postgres::recovery::settings::{AtTarget, Place as Standing};
use lifeboat_postgres::recovery::throwaway::{Data, Use};
use nix::unistd::{getegid, geteuid};
use serde::Serialize;

pub(crate) use self::instance::EmptyOptions;
use self::instance::{Cluster, Ground, ServedLog, log_socket};
pub(crate) use self::place::Place;
use self::place::{check_length, check_room};
use super::{
    Chosen, Keeping, Manner, Recovery, RecoveryOptions, RecoveryPreview, choose_base, open, running,
};
use crate::error::OpsError;
use crate::surroundings::uuid_v7;
use crate::thaw::ThawOptions;
use crate::wire::Site;

pub use self::instance::Instance;
pub use self::place::SandboxError;

/// Where sandboxes are made unless said otherwise, in the cache directory.
const FOLDER: &str = "sandboxes";

/// How much of a unique name is left out.
const NAME_BEGINS_AT: usize = 24;

/// The role that `initdb` makes in most places.
const USUAL_ROLE: &str = "postgres";

/// What is in a sandbox's directory.
const DATA: &str = "data";
const TABLESPACES: &str = "data-tablespaces";
const SOCKET: &str = "socket";
const GIVEN: &str = "given";
const ROOT: &str = "root";

/// How much isolation a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Namespaces, or an error.
    Namespaces,
    /// Namespaces where they can be had, else settings alone; the report says which it was.
    WhatCanBeHad,
}

/// What a sandbox is made of.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Which asset; it has base backups.
    pub asset: AssetName,
    /// Up to where. The latest moment is promoted, all others can be read and, if that is the use, written.
    pub target: RecoveryTarget,
    /// From which tier; the first in the plan's order that has a base backup, if absent.
    pub tier: Option<TierName>,
    /// In which folder; one in the cache directory, if absent.
    pub scratch: Option<PathBuf>,
    /// What is done with it: only one that is written to is promoted.
    pub purpose: Use,
    /// How much isolation there has to be.
    pub demand: Demand,
    /// This program's file. It runs itself inside, and calls
    /// [`enter`](lifeboat_postgres::enclosure::enter) first of all for that.
    pub own_program: PathBuf,
    /// What is done about packs in cold storage.
    pub thaw: ThawOptions,
}

/// What a sandbox is, for whoever shows or records it.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxReport {
    /// What was recovered, and what that leads to.
    #[serde(flatten)]
    pub preview: RecoveryPreview,
    /// How well it is kept from reaching anything.
    pub isolation: Isolation,
    /// Libraries of the server that were not loaded, since they do things by themselves.
    pub libraries_left_out: Vec<String>,
    /// Up to where it replayed.
    pub replayed: Option<Lsn>,
    /// When the last transaction was committed that it replayed.
    pub last_replayed_commit: Option<Timestamp>,
    /// Whether it takes changes.
    pub is_promoted: bool,
    /// How long its files took, in milliseconds.
    pub restored_ms: u64,
    /// How long the server took to answer then, in milliseconds.
    pub replayed_ms: u64,
}

/// Looks at a data directory before its server is started.
pub(super) type Look<'l> = dyn FnMut(&Path, &Manifest) -> Result<(), OpsError> + 'l;

/// A throwaway server that runs on an asset's past. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub struct Sandbox {
    instance: Instance,
    report: SandboxReport,
}

impl Deref for Sandbox {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Sandbox {
    /// Recovers an asset and starts its server; `announce` hears beforehand what that leads to.
    pub fn open(
        site: &Site,
        options: &SandboxOptions,
        announce: &dyn Fn(&RecoveryPreview),
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        Self::open_looking(site, options, (announce, &mut |_, _| Ok(())), events, cancel)
    }

    /// Opens one like [`Self::open`]; `look` is handed the data directory before its server is started, and what
    /// the backup is.
    pub(super) fn open_looking(
        site: &Site,
        options: &SandboxOptions,
        (announce, look): (&dyn Fn(&RecoveryPreview), &mut Look<'_>),
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let surroundings = site.surroundings();
        let place = options.claim(site)?;
        let recovery = options.recovery(&place);
        let begun = surroundings.now();
        let open = open(site, &recovery, events, cancel)?;
        let chosen = choose_base(&open, &recovery, (events, cancel))?;
        let preview = chosen.preview(site, &recovery);
        announce(&preview);
        let packs = || chosen.packs(&recovery, cancel);
        chosen.gate(&open, &recovery, cancel).pass(recovery.thaw, packs, events)?;
        let manifest = chosen.manifest()?;
        let data = manifest.files.iter().map(|file| file.size).sum();
        check_room(&place, data, preview.end_lsn.0.saturating_sub(preview.start_lsn.0))?;
        let ground = Ground::prepare(site, &options.cluster(&chosen)?, &place)?;
        let manner = options.manner(&place);
        let work = Recovery { site, options: &recovery, chosen: &chosen, manner, events, cancel };
        let held = open.lock_to_read(chosen.tier, events, cancel)?;
        let files = work.put_in_place()?;
        drop(held);
        if !files.is_complete() {
            return Err(SandboxError::Incomplete { files: files.failed.len() }.into());
        }
        let restored = surroundings.now();
        look(&place.path(DATA), manifest)?;
        let looked = surroundings.now();
        let log = ServedLog::begin(site, &options.asset, &place);
        let (server, isolation) = ground.start(site, options.demand, events, cancel)?;
        let progress = server.progress();
        let report = SandboxReport {
            preview,
            isolation,
            libraries_left_out: server.left_out().to_vec(),
            replayed: progress.lsn,
            last_replayed_commit: progress.committed,
            is_promoted: progress.is_promoted,
            restored_ms: milliseconds(begun, restored),
            replayed_ms: milliseconds(looked, surroundings.now()),
        };
        let instance = Instance::new(server, Some(log), place, (ground, site));
        Ok(Self { instance, report })
    }

    /// Returns what it is.
    pub const fn report(&self) -> &SandboxReport {
        &self.report
    }

    /// Returns the server alone, without what is known of its past.
    pub(crate) fn into_instance(self) -> Instance {
        self.instance
    }

    /// Shuts the server down as an operator would. Its files stay as long as what is returned.
    pub fn stop(self) -> Result<StoppedSandbox, OpsError> {
        Ok(StoppedSandbox { place: self.instance.stop()? })
    }

    /// Ends the server and removes all of its files.
    pub fn close(self) -> Result<(), OpsError> {
        self.instance.close()
    }
}

/// The files of a throwaway server that was shut down. Dropping it removes them.
#[derive(Debug)]
pub struct StoppedSandbox {
    place: Place,
}

impl StoppedSandbox {
    /// Returns the data directory.
    pub fn data(&self) -> PathBuf {
        self.place.path(DATA)
    }

    /// Removes all files.
    pub fn close(mut self) -> Result<(), OpsError> {
        Ok(self.place.remove()?)
    }
}

/// Returns where sandboxes are made unless said otherwise.
pub(crate) fn folder(site: &Site) -> PathBuf {
    site.surroundings().cache_directory.join(FOLDER)
}

/// Makes a directory that is removed when what is returned is dropped, or by whoever comes next; what killed
/// processes left is removed first.
pub(crate) fn claim(site: &Site, scratch: Option<&Path>) -> Result<Place, OpsError> {
    let surroundings = site.surroundings();
    let folder = scratch.map_or_else(|| folder(site), Path::to_owned);
    // Short, since the path of a socket has to be; what is random stands at the end.
    let new_name = || uuid_v7(surroundings.now()).simple().to_string().split_off(NAME_BEGINS_AT);
    Ok(Place::claim(&folder, new_name)?)
}

impl SandboxOptions {
    fn claim(&self, site: &Site) -> Result<Place, OpsError> {
        let place = claim(site, self.scratch.as_deref())?;
        check_length(&place)?;
        Ok(place)
    }

    fn cluster<'a>(&'a self, chosen: &'a Chosen<'_>) -> Result<Cluster<'a>, OpsError> {
        let manifest = chosen.manifest()?;
        let own = Owner { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        Ok(Cluster {
            asset: &self.asset,
            own_program: &self.own_program,
            major: manifest.major(),
            limits: manifest.limits,
            holds: Data::Restored,
            owner: chosen.owner(&self.asset)?.unwrap_or(own),
            purpose: self.purpose,
        })
    }

    fn recovery(&self, place: &Place) -> RecoveryOptions {
        let program = self.own_program.display().to_string();
        let words = ["wal", "get", "--asset", self.asset.as_str()].map(str::to_owned);
        let (asset, target) = (self.asset.clone(), self.target.clone());
        RecoveryOptions {
            tier: self.tier.clone(),
            fetch: std::iter::once(program).chain(words).collect(),
            thaw: self.thaw,
            ..RecoveryOptions::new(asset, target, place.path(DATA))
        }
    }

    fn manner(&self, place: &Place) -> Manner {
        let fetch = self.recovery(place).fetch;
        Manner {
            restore_command: running::fetch_command(&fetch, Some(&log_socket(place))),
            at_target: match self.purpose {
                Use::Read => AtTarget::Pause,
                Use::Write => AtTarget::Promote,
            },
            keeping: Keeping::Throwaway,
            standing: Standing::Beside,
        }
    }
}

pub(crate) fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    let took = Duration::try_from(to.duration_since(from)).unwrap_or_default();
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
