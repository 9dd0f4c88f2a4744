//! Restoring a command asset: what was captured goes into the plan's command.

use std::io::{self, Read};
use std::time::Duration;

use lifeboat_plan::plan::asset::CommandOutput;
use lifeboat_repository::restore::read_file;

use super::{Done, Restoration};
use crate::backup::output_path;
use crate::command::CommandLine;
use crate::error::OpsError;

/// How long the command may take; a day, so that one that hangs is noticed at all.
const TIMEOUT: Duration = Duration::from_hours(24);

/// Says what a restore in place replaces.
pub(super) fn replaced(command: &CommandOutput) -> (String, Vec<String>) {
    match &command.restore {
        None => ("no command that the plan names".to_owned(), Vec::new()),
        Some(restore) => {
            let target = format!("whatever `{restore}` writes to");
            (target.clone(), vec![target])
        }
    }
}

impl Restoration<'_> {
    pub(super) fn output(&self, command: &CommandOutput) -> Result<Done, OpsError> {
        let Some(restore) = &command.restore else {
            let what = format!("`restore` command in the plan for `{}`", self.options.asset);
            return Err(OpsError::NotInPlan { what });
        };
        let (tier, snapshot) = (self.chosen.tier, &self.chosen.snapshot);
        let path = output_path(&self.options.asset);
        let mut reader =
            Checked { inner: read_file(&tier.repository, snapshot, &path)?, failed: None };
        // What it writes to is the platform's, wherever that is.
        let words = self.site.words(restore.words());
        let fed = CommandLine::new(words, TIMEOUT).feed(&mut reader, self.cancel);
        if let Some(source) = reader.failed {
            return Err(OpsError::Unreadable { path, source });
        }
        fed?;
        Ok(Done::default())
    }
}

/// Remembers that reading failed, which the command cannot tell from the end.
struct Checked<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            told
        })
    }
}
