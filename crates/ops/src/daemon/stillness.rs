//! Asking servers whether they rest: a thread that connects now and then, so that the loop waits for none.
//!
//! A database that nobody writes to would count as exposed for as long, since no segment of its log ends. What it says is
//! judged by [`crate::wal::stillness`] and kept in the journal, where status finds it.
//!
//! # Limits
//!
//! A role that may not end a segment (`lifeboat postgres setup` grants it) leaves that to `archive_timeout`. Standbys are not
//! asked.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel};
use lifeboat_plan::plan::asset::{Asset, Postgres};
use lifeboat_postgres::Server;
use lifeboat_postgres::stillness::Still;

use super::Daemon;
use crate::error::{OpsError, explain};
use crate::jobs::{Journal, JournalError};
use crate::wal::stillness::{Followed, LastSegment, follow};
use crate::wire::Site;

/// Into how many parts an objective is divided by readings: what may be lost is known to that part of it.
const READINGS_IN_RPO: u32 = 10;

/// How often is asked at most and at least: a connection costs some milliseconds.
const EVERY_MIN: Duration = Duration::from_secs(5);
const EVERY_MAX: Duration = Duration::from_mins(5);

/// It is not known whether a server rests.
#[derive(Debug, thiserror::Error)]
enum StillnessError {
    #[error(transparent)]
    Ops(#[from] OpsError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Asks servers until it is ended.
#[derive(Debug)]
pub(super) struct StillnessWatch {
    stop: Cancel,
    thread: JoinHandle<()>,
}

impl StillnessWatch {
    /// Ends what is asked just now, and waits for that.
    pub(super) fn end(self) {
        self.stop.cancel();
        // What it panics with is logged where it happens.
        _ = self.thread.join();
    }
}

impl Daemon {
    /// Asks the servers of the plan in force now and then whether they rest.
    pub(super) fn begin_stillness(self: &Arc<Self>) -> Option<StillnessWatch> {
        let (daemon, stop) = (Arc::clone(self), Cancel::new());
        let stopped = stop.clone();
        let asking = move || daemon.ask_until(&stopped);
        let thread = std::thread::Builder::new().name("stillness".to_owned()).spawn(asking);
        let thread = thread.inspect_err(|error| {
            tracing::error!(%error, "No server is asked whether it rests.");
        });
        Some(StillnessWatch { stop, thread: thread.ok()? })
    }

    fn ask_until(&self, stop: &Cancel) {
        let mut told = BTreeMap::new();
        while !stop.is_cancelled() {
            let site = self.site();
            let every = every(&site);
            if every.is_some() {
                let turn = AssertUnwindSafe(|| ask_all(&site, self.journal(), &mut told, stop));
                if catch_unwind(turn).is_err() {
                    tracing::error!("Asking servers whether they rest panicked; this is a bug.");
                }
            }
            let surroundings = site.surroundings();
            let pause = surroundings.clock.sleep(every.unwrap_or(EVERY_MAX));
            _ = surroundings.runtime.block_on(stop.cut_short(pause));
        }
    }
}

/// Returns how often the servers of a plan are asked; `None` if the log of none is archived.
fn every(site: &Site) -> Option<Duration> {
    let rpo = |asset: &Asset| asset.rpo.map_or(EVERY_MAX, Duration::from) / READINGS_IN_RPO;
    let tightest = logged(site).map(|(_, asset, _)| rpo(asset)).min()?;
    Some(tightest.clamp(EVERY_MIN, EVERY_MAX))
}

/// The databases whose log is archived.
fn logged(site: &Site) -> impl Iterator<Item = (&AssetName, &Asset, &Postgres)> {
    site.plan().assets().iter().filter_map(|(name, asset)| {
        let postgres = asset.postgres().filter(|_| asset.is_followed())?;
        Some((name, asset, postgres))
    })
}

/// Asks each server; what goes wrong is told once, until something else does.
fn ask_all(site: &Site, journal: &Journal, told: &mut BTreeMap<AssetName, String>, stop: &Cancel) {
    for (name, _, postgres) in logged(site) {
        match ask(site, journal, (name, postgres), stop) {
            Ok(()) => drop(told.remove(name)),
            Err(error) if !stop.is_cancelled() => {
                let error = explain(&error);
                if told.insert(name.clone(), error.clone()).as_ref() != Some(&error) {
                    tracing::warn!(asset = %name, error, "It is not known whether this server rests; it counts as written to.");
                }
            }
            Err(_) => {}
        }
    }
}

/// Asks a server, and writes down what that means.
fn ask(
    site: &Site,
    journal: &Journal,
    (name, postgres): (&AssetName, &Postgres),
    stop: &Cancel,
) -> Result<(), StillnessError> {
    let (conninfo, around) = site.connection(postgres, stop)?;
    let surroundings = site.surroundings();
    let at = surroundings.now();
    let asked = async {
        let server = Server::connect_without_database(&conninfo, &around).await?;
        let still = Still::connect(&server).await?;
        let Some(reading) = still.read().await? else { return Ok(None) };
        Ok::<_, OpsError>(Some((still, reading)))
    };
    let asked = surroundings.runtime.block_on(stop.cut_short(asked)).map_err(OpsError::from)??;
    let Some((still, reading)) = asked else { return Ok(()) };
    let before = journal.stillness(name)?;
    let Followed { stillness, segment } = follow(before, &reading, at);
    if stillness != before {
        journal.keep_stillness(name, stillness.as_ref())?;
    }
    if segment == LastSegment::Waits {
        let end = surroundings.runtime.block_on(stop.cut_short(still.end_segment()));
        end.map_err(OpsError::from)?.map_err(OpsError::from)?;
    }
    Ok(())
}
