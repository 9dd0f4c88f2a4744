//! The drills of a site in its state directory, and what is left of them.
//!
//! ```text
//! drills/driver              held by the process that runs a drill
//! drills/<run>/begun.json    which drill, since when
//! drills/<run>/place/        the yard; gone once the drill is over
//! drills/<run>/journal       all that is known of the run
//! drills/<run>/keeper.log    what went wrong in the yard
//! drills/<run>/ended.json    what was recorded
//! ```

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use lifeboat_model::{EventSink, RunId, ScenarioName, Timestamp};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_tiers::durable;
use serde::{Deserialize, Serialize};

use super::record::DrillEnded;
use super::teardown::{self, Seen, Teardown};
use super::{DrillError, Played, ToRecord, failed, findings, record};
use crate::procedure::Procedure;
use crate::procedure::journal_file::JournalFile;
use crate::procedure::report::milliseconds;
use crate::state::State;
use crate::wire::Site;
use crate::yard::YardPlace;

/// Only the owner of the state may look.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Whoever is inside comes from below, and never through here.
const PLACE: u32 = 0o755;

/// The drills of a site, of which one goes on at a time.
#[derive(Debug)]
pub(super) struct Yards {
    directory: PathBuf,
    _driver: File,
}

/// What is written when a drill begins.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    run: RunId,
    scenario: ScenarioName,
    started: Timestamp,
    /// Who ran it; earlier versions did not write that.
    #[serde(default = "somebody")]
    by: String,
}

fn somebody() -> String {
    "somebody".to_owned()
}

impl Yards {
    /// Takes the right to run a drill.
    pub(super) fn take(site: &Site) -> Result<Self, DrillError> {
        let directory = State::open(&site.surroundings().state_directory)?.drills_path();
        durable::create_directories(&directory, PRIVATE_DIRECTORY)
            .map_err(failed("make", &directory))?;
        let path = directory.join("driver");
        let driver = File::options().append(true).create(true).open(&path);
        let driver = driver.map_err(failed("open", &path))?;
        match driver.try_lock() {
            Ok(()) => Ok(Self { directory, _driver: driver }),
            Err(fs::TryLockError::WouldBlock) => Err(DrillError::Busy),
            Err(fs::TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Removes what drills left whose process was killed, and records them.
    pub(super) fn record_abandoned(
        &self,
        site: &Site,
        events: &dyn EventSink,
    ) -> Result<(), DrillError> {
        let entries = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        for entry in entries.flatten() {
            let directory = entry.path();
            if directory.join("ended.json").exists() {
                continue;
            }
            let begun = fs::read(directory.join("begun.json")).ok();
            let begun = begun.and_then(|bytes| serde_json::from_slice::<Begun>(&bytes).ok());
            let Some(begun) = begun else { continue };
            let mut claimed = Claimed::of(directory);
            claimed.keep_journal(site, begun.run);
            let now = site.surroundings().now();
            let teardown = claimed.tear_down(now);
            let mut ended = abandoned(&begun, teardown, now);
            let procedure = Procedure::of(site.plan(), &begun.scenario, RunKind::Drill);
            let played = procedure.ok().and_then(|procedure| Played::load(&claimed, &procedure));
            if let Some(played) = &played {
                (ended.journal, ended.entries) = (Some(played.run.last()), played.run.count());
            }
            ended.findings = findings::of(site.plan(), &ended, now);
            let (ended, played, by) = (&ended, played.as_ref(), begun.by.as_str());
            record(site, &ToRecord { ended, played, restored: &[], by }, events)?;
            claimed.close(ended)?;
        }
        Ok(())
    }

    /// Makes the place of a new drill.
    pub(super) fn claim(
        &self,
        run: RunId,
        (scenario, started): (&ScenarioName, Timestamp),
        by: &str,
    ) -> Result<Claimed, DrillError> {
        let claimed = Claimed::of(self.directory.join(run.to_string()));
        for (path, mode) in [(&claimed.directory, PRIVATE_DIRECTORY), (&claimed.place().0, PLACE)] {
            durable::create_directories(path, mode).map_err(failed("make", path))?;
        }
        let (scenario, by) = (scenario.clone(), by.to_owned());
        let begun = Begun { run, scenario, started, by };
        claimed.write("begun.json", &begun)?;
        Ok(claimed)
    }
}

/// What is known of a drill whose process was killed.
fn abandoned(begun: &Begun, teardown: Teardown, now: Timestamp) -> DrillEnded {
    let duration = now.duration_since(begun.started).try_into().unwrap_or_default();
    DrillEnded {
        trouble: Some("the process that ran it was killed; the next drill found that".to_owned()),
        duration_ms: milliseconds(duration),
        ..DrillEnded::begun((begun.run, begun.scenario.clone(), begun.started), teardown)
    }
}

/// The directory of one drill. Dropping it removes its yard.
#[derive(Debug)]
pub(super) struct Claimed {
    directory: PathBuf,
    seen: Seen,
}

impl Claimed {
    fn of(directory: PathBuf) -> Self {
        Self { directory, seen: Seen::default() }
    }

    /// Returns where the yard is.
    pub(super) fn place(&self) -> YardPlace {
        YardPlace(self.directory.join("place"))
    }

    /// Returns where is written what went wrong.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("keeper.log")
    }

    /// Returns the journal that the keeper writes.
    pub(super) fn journal(&self, site: &Site, run: RunId) -> JournalFile {
        JournalFile::new(self.journal_path(site, run))
    }

    fn journal_path(&self, site: &Site, run: RunId) -> PathBuf {
        let runs = self.place().keeper().join("state").join(site.name().as_str()).join("runs");
        runs.join(run.to_string()).join("journal")
    }

    /// Takes the journal out of the yard.
    pub(super) fn keep_journal(&self, site: &Site, run: RunId) {
        match fs::copy(self.journal_path(site, run), self.directory.join("journal")) {
            // Nothing was declared.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, %run, "The journal of a drill could not be kept.");
            }
            Ok(_) => {}
        }
    }

    /// Returns the journal that was taken out of the yard.
    pub(super) fn kept_journal(&self) -> JournalFile {
        JournalFile::new(self.directory.join("journal"))
    }

    /// Looks who is in the yard, so that it can be looked for them afterwards.
    pub(super) fn look_before(&mut self) {
        self.seen = Seen::in_yard(&self.place().0);
    }

    /// Removes the yard and looks what is left; nothing runs in it any more.
    pub(super) fn tear_down(&mut self, now: Timestamp) -> Teardown {
        let YardPlace(place) = self.place();
        teardown::remove(&place);
        Teardown::look(&place, &self.seen, now)
    }

    /// Notes what was recorded, so that nobody records it again.
    pub(super) fn close(&self, ended: &DrillEnded) -> Result<(), DrillError> {
        self.write("ended.json", ended)
    }

    fn write(&self, name: &str, what: &impl Serialize) -> Result<(), DrillError> {
        let path = self.directory.join(name);
        let bytes = serde_json::to_vec(what).expect("it has only texts for keys");
        durable::replace(&path, &bytes, durable::PRIVATE).map_err(failed("write", &path))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // Also while a panic unwinds; what cannot be removed now, the next drill removes.
        teardown::remove(&self.place().0);
    }
}
