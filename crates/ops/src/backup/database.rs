//! PostgreSQL assets: a dump under one snapshot of the database, what it counted, and the roles.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{AssetName, Event, Stage};
use lifeboat_plan::plan::asset::{Base, Postgres};
use lifeboat_postgres::verification::rows::{ROWS, RowCounts};
use lifeboat_postgres::{Globals, Server, SnapshotDump};
use lifeboat_repository::source::{Source, StreamReader, StreamSource};

use super::base::base_folder;
use super::capture::Reading;
use super::{AssetReport, Job};
use crate::error::{OpsError, explain};
use crate::wire::open::OpenTier;

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
    /// Returns the folder of all that belongs to an asset's dumps.
    pub fn folder(asset: &AssetName) -> PathBuf {
        PathBuf::from(format!("/lifeboat/{asset}/dump"))
    }

    /// Returns the paths for a database of an asset; names that need no escape stay as they are.
    pub fn new(asset: &AssetName, database: &str) -> Self {
        let folder = Self::folder(asset);
        let database = file_name(database);
        Self {
            dump: folder.join(format!("{database}.dump")),
            tables: folder.join(format!("{database}.tables.json")),
            globals: folder.join("globals.sql"),
        }
    }
}

/// Turns the name of a database or table, which may hold anything but NUL, into the name of a file.
///
/// As in a URL, what would lead elsewhere or not print becomes `%` and two hex digits a byte, and so
/// does `%`: no two names become one, and each can be read back.
pub(crate) fn file_name(database: &str) -> String {
    let mut name = String::with_capacity(database.len());
    for (at, character) in database.char_indices() {
        if matches!(character, '/' | '%') || character.is_control() || (at == 0 && character == '.')
        {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                name.push('%');
                name.push_str(&hex::encode_upper([byte]));
            }
        } else {
            name.push(character);
        }
    }
    name
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
        postgres: &Postgres,
        tier: &OpenTier,
        report: &mut AssetReport,
    ) -> Result<Reading, OpsError> {
        self.emit(Event::Started { stage: Stage::Database, total: None });
        let reading = self.begin_database(postgres, tier, report);
        self.emit(Event::Finished { stage: Stage::Database });
        reading
    }

    fn begin_database(
        &self,
        postgres: &Postgres,
        tier: &OpenTier,
        report: &mut AssetReport,
    ) -> Result<Reading, OpsError> {
        let asset = report.asset.clone();
        let mut reading = Reading::default();
        if postgres.base != Base::Logical {
            let base = self.begin_base(&asset, postgres, tier, report)?;
            reading.sources = base.backup.sources(&base_folder(&asset), base.parent.as_ref());
            reading.sources.push(Source::Stream(self.rows(&asset, postgres)?));
            reading.moment = Some(base.started());
            reading.base = Some(base);
        }
        if postgres.base != Base::Physical {
            let (sources, dump) = self.begin_dump(&asset, postgres)?;
            reading.sources.extend(sources);
            reading.moment = Some(dump.taken());
        }
        Ok(reading)
    }

    /// Returns what counts the rows of a server, once its base backup was stopped.
    fn rows(&self, asset: &AssetName, postgres: &Postgres) -> Result<StreamSource, OpsError> {
        let (conninfo, environment) = self.site().connection(postgres, self.cancel)?;
        let runtime = self.site().surroundings().runtime.clone();
        let limit = postgres.count_rows_within.duration();
        let count = move || {
            let counts = runtime.block_on(async {
                if limit.is_zero() {
                    return RowCounts::none("the plan wants none to be counted".to_owned());
                }
                match Server::connect_without_database(&conninfo, &environment).await {
                    Ok(server) => RowCounts::take(&server, limit).await,
                    Err(error) => RowCounts::none(explain(&error)),
                }
            });
            Ok(Box::new(Document(Cursor::new(counts.to_document()))) as Box<dyn StreamReader>)
        };
        Ok(StreamSource::new(base_folder(asset).join(ROWS), count).last())
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// What somebody does who has only the file's name.
    fn database_of(file_name: &str) -> String {
        let mut parts = file_name.split('%');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            bytes.extend(hex::decode(&part[..2]).unwrap());
            bytes.extend(&part.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_what_would_lead_elsewhere_is_escaped() {
        for (database, expected) in [
            ("shop", "shop"),
            ("Größe 1.old", "Größe 1.old"),
            (".", "%2E"),
            ("../x", "%2E.%2Fx"),
            ("/x", "%2Fx"),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            ("a\nb\u{85}", "a%0Ab%C2%85"),
        ] {
            assert_eq!(file_name(database), expected);
        }
    }

    proptest! {
        #[test]
        fn every_dump_lies_in_its_folder_under_a_name_that_can_be_read_back(
            database in prop_oneof!["[./%a\\\\]{1,8}", "[^\0]{1,63}"],
        ) {
            let paths = DumpPaths::new(&"shop".parse().unwrap(), &database);
            for (path, ending) in [(&paths.dump, ".dump"), (&paths.tables, ".tables.json")] {
                prop_assert_eq!(path.parent(), Some(Path::new("/lifeboat/shop/dump")));
                let name = path.file_name().and_then(OsStr::to_str).unwrap();
                prop_assert_eq!(path, &path.with_file_name(name));
                prop_assert_eq!(database_of(name.strip_suffix(ending).unwrap()), database.clone());
            }
        }
    }
}
