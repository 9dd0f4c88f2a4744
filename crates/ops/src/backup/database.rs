//! PostgreSQL assets: a dump under one snapshot of the database, what it counted, and the roles.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{AssetName, Event, Stage};
use lifeboat_plan::plan::asset::{Base, Postgres};
use lifeboat_postgres::{Globals, Server, SnapshotDump};
use lifeboat_repository::source::{Source, StreamReader, StreamSource};

use super::Job;
use super::capture::Reading;
use crate::error::{OpsError, Trouble};

/// Where the parts of a dump lie in its snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpPaths {
    /// The dump.
    pub dump: PathBuf,
    /// How many rows each table had, and their checksums.
    pub tables: PathBuf,
    /// The roles of the cluster.
    pub globals: PathBuf,
}

impl DumpPaths {
    /// Returns the paths for a database of an asset.
    pub fn new(asset: &AssetName, database: &str) -> Self {
        let folder = PathBuf::from(format!("/lifeboat/{asset}/dump"));
        Self {
            dump: folder.join(format!("{database}.dump")),
            tables: folder.join(format!("{database}.tables.json")),
            globals: folder.join("globals.sql"),
        }
    }
}

/// A document that was made when its turn came.
struct Document(Cursor<Vec<u8>>);

impl Read for Document {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl StreamReader for Document {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl Job<'_> {
    pub(super) fn read_database(
        &self,
        asset: &AssetName,
        postgres: &Postgres,
    ) -> Result<Reading, OpsError> {
        let physical =
            || OpsError::NotBuilt { what: "a base backup (`base = \"physical\"`)".to_owned() };
        if postgres.base == Base::Physical {
            return Err(physical());
        }
        let lacking = (postgres.base == Base::Both).then(|| Trouble::of(&physical()));
        self.emit(Event::Started { stage: Stage::Database, total: None });
        let reading = self.begin_dump(asset, postgres);
        self.emit(Event::Finished { stage: Stage::Database });
        let (sources, dump) = reading?;
        Ok(Reading { sources, moment: Some(dump.taken()), revision: None, lacking })
    }

    fn begin_dump(
        &self,
        asset: &AssetName,
        postgres: &Postgres,
    ) -> Result<(Vec<Source>, Arc<SnapshotDump>), OpsError> {
        let (conninfo, environment) = self.site().connection(postgres, self.cancel)?;
        let runtime = self.site().surroundings().runtime.clone();
        let server = runtime.block_on(Server::connect(&conninfo, &environment))?;
        let globals = Globals::dump(&server)?;
        let dump = Arc::new(runtime.block_on(SnapshotDump::begin(&server))?);
        let paths = DumpPaths::new(asset, dump.database().as_str());
        let (dumped, counted) = (Arc::clone(&dump), Arc::clone(&dump));
        let sources = vec![
            StreamSource::document(paths.globals, globals.sql),
            StreamSource::new(paths.dump, move || {
                Ok(Box::new(dumped.stream().map_err(io::Error::other)?))
            }),
            StreamSource::new(paths.tables, move || {
                let record = runtime.block_on(counted.record()).map_err(io::Error::other)?;
                Ok(Box::new(Document(Cursor::new(record.to_json()))))
            }),
        ];
        Ok((sources.into_iter().map(Source::Stream).collect(), dump))
    }
}
