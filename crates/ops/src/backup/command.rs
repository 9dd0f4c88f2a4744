//! Command assets: what a command writes becomes a file of the snapshot.

use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::AssetName;
use lifeboat_plan::plan::asset::CommandOutput;
use lifeboat_repository::source::Source;

use super::Job;
use super::capture::Reading;
use crate::command::CommandLine;

/// How long a command may write; a day, so that one that hangs is noticed at all.
const TIMEOUT: Duration = Duration::from_hours(24);

/// Returns where the output of a command asset lies in its snapshot.
pub fn output_path(asset: &AssetName) -> PathBuf {
    PathBuf::from(format!("/lifeboat/{asset}/output"))
}

impl Job<'_> {
    pub(super) fn read_command(&self, asset: &AssetName, command: &CommandOutput) -> Reading {
        let line = CommandLine::new(command.backup.words(), TIMEOUT);
        let source = line.into_source(output_path(asset), self.cancel.clone());
        Reading { sources: vec![Source::Stream(source)], ..Reading::default() }
    }
}
