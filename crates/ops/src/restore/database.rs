//! Restoring a database: beside the old one, compared, then in its place.

use std::io::Read;
use std::path::Path;

use lifeboat_model::{Cancel, Event, EventSink, Stage, Timestamp};
use lifeboat_plan::plan::asset::Postgres;
use lifeboat_postgres::{
    Beside, DatabaseRecord, PostgresError, Server, TableDifference, Tablespaces, globals,
};
use lifeboat_repository::RepositoryError;
use lifeboat_repository::restore::read_file;
use serde::Serialize;

use super::{Done, Restoration};
use crate::backup::DumpPaths;
use crate::error::OpsError;
use crate::wire::Site;

/// No document beside a dump is larger: a record has some hundred bytes a table.
const DOCUMENT_SIZE_MAX: u64 = 256 << 20;

/// How many differing tables an error names.
const DIFFERENCES_MAX: usize = 5;

/// What restoring a database did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseReport {
    /// Which database.
    pub database: String,
    /// Under which name the one before is kept.
    pub kept_as: Option<String>,
    /// How many tables were compared with what was recorded.
    pub tables: usize,
    /// How many rows they have.
    pub rows: u64,
    /// Roles that were made.
    pub roles_created: Vec<String>,
    /// What could not be done with roles and settings of the cluster.
    pub globals_failed: Vec<String>,
}

/// Says what a restore in place replaces: nothing, if the server knows no such database.
///
/// A server that cannot be asked is no failure here; the restore will tell it with its reason.
pub(super) fn replaced(site: &Site, postgres: &Postgres, cancel: &Cancel) -> (String, Vec<String>) {
    let target = format!("the database that `{}` names", postgres.connect.as_str());
    if site.inside().is_some() {
        // Whoever would be asked from here is the host's.
        return (target, Vec::new());
    }
    let asked = site.connection(postgres, cancel).and_then(|(conninfo, environment)| {
        let runtime = &site.surroundings().runtime;
        Ok(runtime.block_on(Server::connect(&conninfo, &environment))?)
    });
    match asked {
        Err(OpsError::Postgres(PostgresError::NoDatabase { .. })) => (target, Vec::new()),
        _ => (target.clone(), vec![target]),
    }
}

impl Restoration<'_> {
    pub(super) fn document(&self, path: &Path) -> Result<Vec<u8>, OpsError> {
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let reader = read_file(&tier.repository, snapshot, path).map_err(|error| match error {
            RepositoryError::NoSuchPath { .. } | RepositoryError::NotAFile { .. } => {
                OpsError::NotInSnapshot {
                    snapshot: self.chosen.preview.snapshot.to_string(),
                    what: path.display().to_string(),
                }
            }
            other => other.into(),
        })?;
        let mut bytes = Vec::new();
        reader
            .take(DOCUMENT_SIZE_MAX)
            .read_to_end(&mut bytes)
            .map_err(|source| OpsError::Unreadable { path: path.to_owned(), source })?;
        Ok(bytes)
    }

    pub(super) fn database(&self, postgres: &Postgres) -> Result<Done, OpsError> {
        if self.site.inside().is_some() {
            // The address leads to the host's own server from where this runs, whose data are not to be replaced.
            let what = format!("loading the dump of `{}` in a drill", self.options.asset);
            return Err(OpsError::NotBuilt { what });
        }
        let runtime = &self.site.surroundings().runtime;
        let (conninfo, environment) = self.site.connection(postgres, self.cancel)?;
        let server = runtime.block_on(Server::connect_without_database(&conninfo, &environment))?;
        let paths = DumpPaths::new(&self.options.asset, server.database().as_str());
        let record = DatabaseRecord::from_json(&self.document(&paths.tables)?)?;
        let roles = String::from_utf8_lossy(&self.document(&paths.globals)?).into_owned();
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let mut dump = || Ok(read_file(&tier.repository, snapshot, &paths.dump)?);
        let load = Load {
            site: self.site,
            server: &server,
            record: &record,
            roles: &roles,
            tablespaces: Tablespaces::AsDumped,
            now: self.started,
            events: self.events,
            cancel: self.cancel,
        };
        Ok(Done { database: Some(load.carry_out(&mut dump)?), ..Done::default() })
    }
}

/// Loading a dump into a database of the server's, which then has its place there.
pub(crate) struct Load<'a> {
    pub(crate) site: &'a Site,
    pub(crate) server: &'a Server,
    /// What the database held.
    pub(crate) record: &'a DatabaseRecord,
    /// The script that makes the roles.
    pub(crate) roles: &'a str,
    pub(crate) tablespaces: Tablespaces,
    pub(crate) now: Timestamp,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) cancel: &'a Cancel,
}

impl Load<'_> {
    /// Loads what `open` returns beside the database that is there, and puts it in its place if it is what was recorded.
    pub(crate) fn carry_out<R: Read>(
        &self,
        open: &mut dyn FnMut() -> Result<R, OpsError>,
    ) -> Result<DatabaseReport, OpsError> {
        let Self { server, record, .. } = self;
        let runtime = &self.site.surroundings().runtime;
        let database = server.database();
        let applied = runtime.block_on(globals::apply(server, self.roles, self.tablespaces))?;
        self.cancel.check()?;
        let beside = Beside::create(server, &database, &record.properties, self.now);
        let beside = runtime.block_on(beside)?;
        self.events.emit(Event::Started { stage: Stage::Database, total: None });
        let loaded = open().and_then(|mut dump| self.load(&beside, &mut dump));
        self.events.emit(Event::Finished { stage: Stage::Database });
        if let Err(error) = loaded {
            // The failure is what counts; what is left beside has the time in its name.
            _ = runtime.block_on(beside.discard());
            return Err(error);
        }
        let swapped = runtime.block_on(beside.swap(self.now))?;
        Ok(DatabaseReport {
            database: swapped.database.to_string(),
            kept_as: swapped.kept_as.map(|name| name.to_string()),
            tables: record.tables.len(),
            rows: record.total_rows(),
            roles_created: applied.created,
            globals_failed: applied.failed,
        })
    }

    /// Loads the dump and holds what came of it against what was recorded.
    fn load(&self, beside: &Beside, dump: &mut dyn Read) -> Result<(), OpsError> {
        let runtime = &self.site.surroundings().runtime;
        beside.load(dump, self.tablespaces)?;
        self.cancel.check()?;
        runtime.block_on(beside.complete())?;
        let differences = runtime.block_on(beside.compare(self.record))?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(OpsError::Differs {
            database: self.record.database.to_string(),
            differences: name(&differences),
        })
    }
}

fn name(differences: &[TableDifference]) -> String {
    let named = differences.iter().take(DIFFERENCES_MAX).map(|difference| &difference.table);
    let text = named.cloned().collect::<Vec<_>>().join(", ");
    match differences.len().saturating_sub(DIFFERENCES_MAX) {
        0 => text,
        more => format!("{text} and {more} more tables"),
    }
}
