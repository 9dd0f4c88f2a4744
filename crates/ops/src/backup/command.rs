//! Command assets: what a command writes becomes a file of the snapshot.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel};
use lifeboat_plan::plan::asset::CommandOutput;
use lifeboat_repository::source::{Source, StreamReader, StreamSource};

use super::Job;
use super::capture::Reading;
use crate::command::{CommandLine, CommandStream};

/// How long a command may write; a day, so that one that hangs is noticed at all.
const TIMEOUT: Duration = Duration::from_hours(24);

/// Returns where the output of a command asset lies in its snapshot.
pub fn output_path(asset: &AssetName) -> PathBuf {
    PathBuf::from(format!("/lifeboat/{asset}/output"))
}

/// A command's output; whole only if its exit code says so.
struct Output(CommandStream);

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl StreamReader for Output {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish().map_err(io::Error::other)
    }
}

impl Job<'_> {
    pub(super) fn read_command(&self, asset: &AssetName, command: &CommandOutput) -> Reading {
        let argv = command.backup.words().into_iter().map(str::to_owned).collect();
        let line = CommandLine::new(argv, TIMEOUT);
        let cancel: Cancel = self.cancel.clone();
        let source = StreamSource::new(output_path(asset), move || {
            let stream = line.stream(&cancel).map_err(io::Error::other)?;
            Ok(Box::new(Output(stream)))
        });
        Reading {
            sources: vec![Source::Stream(source)],
            moment: None,
            revision: None,
            lacking: None,
        }
    }
}
