//! Restoring single tables out of a logical dump, each as a file of SQL.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lifeboat_model::{Event, Stage};
use lifeboat_plan::plan::asset::{Base, Postgres};
use lifeboat_postgres::dumped_table::DumpedTable;
use lifeboat_postgres::{DatabaseRecord, ServerVersion, Tools};
use lifeboat_repository::RepositoryError;
use lifeboat_repository::restore::read_file;
use serde::Serialize;

use super::{Done, Restoration};
use crate::backup::{DumpPaths, file_name};
use crate::error::OpsError;

/// A table that was restored as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredTable {
    /// Which table, as SQL writes it.
    pub table: String,
    /// The file of SQL.
    pub file: PathBuf,
    /// How many rows it has, all that were recorded.
    pub rows: u64,
}

impl Restoration<'_> {
    /// Writes tables into an empty directory; each reads the dump once.
    pub(super) fn tables(
        &self,
        postgres: &Postgres,
        names: &[String],
        directory: &Path,
    ) -> Result<Done, OpsError> {
        if postgres.base == Base::Physical {
            return Err(OpsError::NoDumps { asset: self.options.asset.clone() });
        }
        let (conninfo, environment) = self.site.connection(postgres, self.cancel)?;
        let paths = DumpPaths::new(&self.options.asset, conninfo.database().as_str());
        let record = DatabaseRecord::from_json(&self.document(&paths.tables)?)?;
        let found = names.iter().map(|name| DumpedTable::find(&record, name));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let tools = Tools::find(ServerVersion(record.server_version).major(), &environment)?;
        prepare(directory)?;
        self.events.emit(Event::Started { stage: Stage::Database, total: None });
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let mut tables = Vec::new();
        for table in found {
            self.cancel.check()?;
            let mut dump = read_file(&tier.repository, snapshot, &paths.dump)?;
            let file = directory.join(format!("{}.sql", file_name(&table.to_string())));
            let fail = |source| OpsError::Io { action: "write", path: file.clone(), source };
            let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
            let mut out = BufWriter::new(new.map_err(fail)?);
            let written = table.write(&tools, &environment, &mut dump, &mut out);
            if written.is_err() {
                // A part of a table must not be taken for the whole; the failure is what counts.
                _ = fs::remove_file(&file);
            }
            written?;
            sync(out).map_err(fail)?;
            tables.push(RestoredTable { table: table.to_string(), file, rows: table.rows() });
        }
        self.events.emit(Event::Finished { stage: Stage::Database });
        Ok(Done { tables, ..Done::default() })
    }
}

/// Makes a directory that nobody else reads, or takes an empty one.
fn prepare(directory: &Path) -> Result<(), OpsError> {
    let path = || directory.to_owned();
    let fail = |source| OpsError::Io { action: "make", path: path(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    match fs::read_dir(directory).map_err(fail)?.next() {
        None => Ok(()),
        Some(_) => Err(RepositoryError::TargetNotEmpty { path: path() }.into()),
    }
}

fn sync(out: BufWriter<File>) -> io::Result<()> {
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.flush()?;
    file.sync_all()
}
