//! `lifeboat repo stats`: count what snapshots hold and take.

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use lifeboat_model::{ByteSize, Exit};
use lifeboat_repository::SnapshotName;
use lifeboat_repository::stats::{self, CompressionStats, StatsMode};
use serde::Serialize;

use super::Access;
use super::choice::{Choice, snapshot_name};
use super::unreadable::{self, Unread};
use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;

/// The arguments of `lifeboat repo stats`.
#[derive(Debug, Args)]
pub struct Stats {
    #[command(flatten)]
    access: Access,
    /// Count these: `latest`, or the first digits of their ids; without any, all
    #[arg(value_name = "SNAPSHOT", value_parser = snapshot_name())]
    names: Vec<SnapshotName>,
    /// Count this
    #[arg(long, value_name = "MODE", default_value = "restore-size")]
    mode: Mode,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// What a restore of each snapshot would write
    RestoreSize,
    /// Files of different contents
    FilesByContents,
    /// Different blobs of each path's different contents
    BlobsPerFile,
    /// Blobs as they are stored, each once
    RawData,
}

impl From<Mode> for StatsMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::RestoreSize => Self::RestoreSize,
            Mode::FilesByContents => Self::FilesByContents,
            Mode::BlobsPerFile => Self::BlobsPerFile,
            Mode::RawData => Self::RawData,
        }
    }
}

#[derive(Serialize)]
struct Counted {
    mode: StatsMode,
    snapshots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<u64>,
    size_bytes: ByteSize,
    #[serde(flatten)]
    compression: Option<Compressed>,
    unreadable: Vec<Unread>,
}

#[derive(Serialize)]
struct Compressed {
    uncompressed_bytes: ByteSize,
    /// How many bytes one stored byte stands for, among what is compressed.
    compression_ratio: f64,
    /// How much of the data is compressed.
    compression_progress_percent: f64,
    /// How much smaller than without compression all of it is.
    space_saving_percent: f64,
}

impl Compressed {
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    fn new(stats: CompressionStats, stored: u64) -> Self {
        let ratio = |a: u64, b: u64| if b == 0 { 1.0 } else { a as f64 / b as f64 };
        let CompressionStats { uncompressed_bytes, .. } = stats;
        Self {
            uncompressed_bytes: ByteSize(uncompressed_bytes),
            compression_ratio: ratio(stats.compressed_plain_bytes, stats.compressed_stored_bytes),
            compression_progress_percent: 100.0
                * ratio(stats.compressed_plain_bytes, uncompressed_bytes),
            space_saving_percent: 100.0 * (1.0 - ratio(stored, uncompressed_bytes)),
        }
    }
}

impl Answer for Counted {
    const SCHEMA: &'static str = "lifeboat.repo.stats/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        unreadable::write(&self.unreadable, page)?;
        writeln!(page, "snapshots: {}", self.snapshots)?;
        if let Some(files) = self.files {
            let what = if self.mode == StatsMode::RestoreSize { "entries" } else { "files" };
            writeln!(page, "{what}: {files}")?;
        }
        if let Some(blobs) = self.blobs {
            writeln!(page, "blobs: {blobs}")?;
        }
        writeln!(page, "size: {}", self.size_bytes)?;
        let Some(compressed) = &self.compression else { return Ok(()) };
        writeln!(page, "uncompressed: {}", compressed.uncompressed_bytes)?;
        writeln!(page, "compression ratio: {:.2}x", compressed.compression_ratio)?;
        writeln!(page, "compressed: {:.1} %", compressed.compression_progress_percent)?;
        writeln!(page, "space saved: {:.1} %", compressed.space_saving_percent)
    }
}

impl Stats {
    /// Counts; 3 if a directory could not be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let mode = StatsMode::from(self.mode);
        let (snapshots, report) = self.access.look(session, |repository| {
            let chosen = repository.choose_directories(&self.names, &self.choice.filter())?;
            let repository = repository.load_index(&session.cancel, &*session.events())?;
            let snapshots = chosen.len();
            let mut roots = Vec::with_capacity(snapshots);
            for (_, snapshot, directory) in chosen {
                roots.push(repository.enter(snapshot, &directory)?.tree);
            }
            Ok((snapshots, stats::stats(&repository, &roots, mode, &session.cancel)?))
        })?;
        let compress = |stats| Compressed::new(stats, report.bytes);
        let unreadable = unreadable::shown(report.unreadable);
        let exit = unreadable::exit(&unreadable);
        let answer = Counted {
            mode,
            snapshots,
            files: (mode != StatsMode::RawData).then_some(report.files),
            blobs: matches!(mode, StatsMode::RawData | StatsMode::BlobsPerFile)
                .then_some(report.blobs),
            size_bytes: ByteSize(report.bytes),
            compression: report.compression.map(compress),
            unreadable,
        };
        session.end(&answer, exit)
    }
}
