//! The logical dump of a server, loaded into an empty one and held against what was counted when it was made.
//!
//! A dump whose bytes came back as they were stored may still not load: a role that lacks, an extension that this host does not
//! have, a table that cannot be made again. Only a server can tell.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, Classify as _, ErrorKind, EventSink, Outcome};
use lifeboat_postgres::enclosure::Isolation;
use lifeboat_postgres::{DatabaseRecord, ServerVersion, Tablespaces};

use super::RestoreTestOptions;
use crate::backup::DumpPaths;
use crate::catalog::body::DumpTested;
use crate::error::{OpsError, explain};
use crate::recovery::sandbox::{EmptyOptions, Instance, milliseconds};
use crate::restore::{DatabaseReport, Load};
use crate::wire::Site;

/// The files of a dump that came back.
pub(super) struct Dump<'a> {
    pub(super) site: &'a Site,
    pub(super) options: &'a RestoreTestOptions,
    pub(super) asset: &'a AssetName,
    /// The directory that was its root.
    pub(super) directory: &'a Path,
    /// Where the server goes.
    pub(super) scratch: &'a Path,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: &'a Cancel,
}

/// What came of loading it.
pub(super) struct Loaded {
    pub(super) tested: DumpTested,
    /// The server that holds it, if it was loaded.
    pub(super) server: Option<(Instance, Isolation)>,
}

/// Why it was not loaded, and what that says of the copy.
struct Unloaded(Outcome, String);

impl Dump<'_> {
    /// Loads it; only that this was cancelled is an error.
    pub(super) fn load(&self) -> Result<Loaded, OpsError> {
        let now = || self.site.surroundings().now();
        let begun = now();
        let (outcome, message, server) = match self.loaded() {
            Ok((report, server)) => (Outcome::Passed, told(&report), Some(server)),
            Err(Unloaded(outcome, why)) => (outcome, why, None),
        };
        self.cancel.check()?;
        let duration_ms = milliseconds(begun, now());
        Ok(Loaded { tested: DumpTested { outcome, message, duration_ms }, server })
    }

    fn loaded(&self) -> Result<(DatabaseReport, (Instance, Isolation)), Unloaded> {
        let paths = self.paths().map_err(unknown)?;
        let record = DatabaseRecord::from_json(&read(&paths.tables)?).map_err(failed)?;
        let roles = read(&paths.globals)?;
        let length = fs::metadata(&paths.dump).map_err(|error| lacks(&paths.dump, &error))?.len();
        let empty = EmptyOptions {
            asset: self.asset,
            major: ServerVersion(record.server_version).major(),
            dump_bytes: length,
            scratch: self.scratch,
            demand: self.options.demand,
            own_program: &self.options.own_program,
        };
        let heard = (self.events, self.cancel);
        let (instance, isolation) = Instance::empty(self.site, &empty, heard).map_err(|error| {
            let why = explain(&error);
            Unloaded(Outcome::CouldNotVerify, format!("there is no server to load it into: {why}"))
        })?;
        let server = instance.server_without_database().map_err(unknown)?;
        let load = Load {
            site: self.site,
            server: &server,
            record: &record,
            roles: &String::from_utf8_lossy(&roles),
            tablespaces: Tablespaces::LeftOut,
            now: self.site.surroundings().now(),
            events: self.events,
            cancel: self.cancel,
        };
        let mut open = || File::open(&paths.dump).map_err(unreadable(&paths.dump));
        let report = load.carry_out(&mut open).map_err(failed)?;
        Ok((report, (instance, isolation)))
    }

    /// Returns where its parts lie now.
    fn paths(&self) -> Result<DumpPaths, OpsError> {
        let none = || OpsError::NoDumps { asset: self.asset.clone() };
        let postgres = self.site.asset(self.asset)?.postgres().ok_or_else(none)?;
        let (conninfo, _) = self.site.connection(postgres, self.cancel)?;
        let DumpPaths { dump, tables, globals } =
            DumpPaths::new(self.asset, conninfo.database().as_str());
        let here = |path: PathBuf| self.directory.join(path.strip_prefix("/").unwrap_or(&path));
        Ok(DumpPaths { dump: here(dump), tables: here(tables), globals: here(globals) })
    }
}

fn told(report: &DatabaseReport) -> String {
    let DatabaseReport { database, tables, rows, globals_failed, .. } = report;
    let loaded = format!(
        "`{database}` was loaded: {tables} tables with {rows} rows are as they were when it was dumped"
    );
    match globals_failed.as_slice() {
        [] => loaded,
        [first, more @ ..] => {
            format!(
                "{loaded}; {} statements about roles failed, the first: {first}",
                more.len() + 1
            )
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unloaded> {
    fs::read(path).map_err(|error| lacks(path, &error))
}

/// What did not come back although all files did was never in the copy.
fn lacks(path: &Path, error: &io::Error) -> Unloaded {
    let outcome = match error.kind() {
        io::ErrorKind::NotFound => Outcome::Failed,
        _ => Outcome::CouldNotVerify,
    };
    let name = path.file_name().unwrap_or_default().display();
    Unloaded(outcome, format!("{name}, a part of the dump, cannot be read: {error}"))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> OpsError {
    let path = path.to_owned();
    move |source| OpsError::Unreadable { path, source }
}

fn unknown(error: impl Into<OpsError>) -> Unloaded {
    Unloaded(Outcome::CouldNotVerify, explain(&error.into()))
}

/// Judges what went wrong with a server that is there for this alone: only if it went away is nothing known of the dump.
fn failed(error: impl Into<OpsError>) -> Unloaded {
    let error = error.into();
    let outcome = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Cancelled => Outcome::CouldNotVerify,
        _ => Outcome::Failed,
    };
    Unloaded(outcome, format!("it does not load: {}", explain(&error)))
}
