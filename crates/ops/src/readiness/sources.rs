//! Whether what the plan protects can be read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Outcome};
use lifeboat_plan::plan::asset::{Asset, Base, CommandOutput, FileSet, Postgres};
use lifeboat_postgres::{PostgresError, Server};

use super::{Asking, Subject};
use crate::error::{OpsError, explain};

impl Asking<'_> {
    pub(super) fn files(&mut self, subject: &Subject, files: &FileSet) {
        let unreadable: Vec<_> = files
            .paths
            .iter()
            .filter_map(|path| open(path.as_path()).err().map(|error| (path.as_path(), error)))
            .collect();
        let what = "its paths are there and can be read";
        if let Some((path, error)) = unreadable.first() {
            let message = format!("{}: {error}", path.display());
            let hint = Some("run as a user who may read it, or correct the plan".to_owned());
            self.say(subject, what, Outcome::Failed, (Some(message), hint));
        } else {
            self.passed(subject, what);
        }
    }

    pub(super) fn command(&mut self, subject: &Subject, command: &CommandOutput) {
        let commands = [Some(&command.backup), command.restore.as_ref()];
        for command in commands.into_iter().flatten() {
            let words = command.words();
            let program = words.first().copied().unwrap_or_default();
            let what = format!("`{program}` is installed");
            if self.find(program).is_some() {
                self.passed(subject, &what);
            } else {
                let message = Some("it is not in PATH".to_owned());
                self.say(subject, &what, Outcome::Failed, (message, None));
            }
        }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(|path| path.is_file());
        }
        let path = self.site.surroundings().environment.get("PATH")?;
        let folders = path.split(':').filter(|folder| !folder.is_empty());
        folders.map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
    }

    pub(super) fn database(
        &mut self,
        subject: &Subject,
        (name, asset): (&AssetName, &Asset),
        postgres: &Postgres,
    ) {
        let runtime = &self.site.surroundings().runtime;
        let reached = self.site.connection(postgres, self.cancel).and_then(|(conninfo, client)| {
            runtime.block_on(Server::connect(&conninfo, &client)).map_err(OpsError::from)
        });
        let what = "its server can be reached";
        if let Err(error @ OpsError::Postgres(PostgresError::Refused { .. })) = &reached {
            // The role may not be there yet, which the server does not tell from one that it refuses.
            let hint = Some(format!("lifeboat postgres setup {name}"));
            return self.say(subject, what, Outcome::Failed, (Some(explain(error)), hint));
        }
        let Some(server) = self.take(subject, what, reached) else { return };
        let facts = runtime.block_on(server.facts());
        self.take(subject, "its server answers questions", facts);
        if postgres.base != Base::Physical {
            let tools = server.tools();
            self.take(subject, "pg_dump of the server's version is installed", tools);
            let dumped = runtime.block_on(lifeboat_postgres::SnapshotDump::begin(&server));
            self.take(subject, "a snapshot of it can be taken", dumped);
        }
        self.server(subject, (name, asset), postgres, &server);
    }
}

/// Opens a path as a backup would: a file to read, a directory to list.
fn open(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        fs::read_dir(path).map(drop)
    } else if kind.is_file() {
        File::open(path).map(drop)
    } else {
        Ok(())
    }
}
