//! `lifeboat repo backup`: make a snapshot of files and directories.

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lifeboat_model::instant::parse_instant;
use lifeboat_model::{ByteSize, Exit, Timestamp};
use lifeboat_repository::backup::{BackupOptions, BackupReport, PACK_SIZES, ParentChoice};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::source::{Excludes, FilesSource, Source};
use lifeboat_repository::{Open, Repository, backup};
use serde::Serialize;

use super::Access;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, time};
use crate::session::Session;
use crate::surroundings;

/// How many skipped paths a person is shown; a program gets all of them.
const SKIPPED_SHOWN: usize = 20;

/// The arguments of `lifeboat repo backup`.
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    access: Access,
    /// Back up these files and directories
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Leave out what matches this pattern; `!` before it takes back; may be given several times
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Stay on the file system of each path
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Give the snapshot these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// File the snapshot under this host [default: this host's name]
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Option<String>,
    /// Give the snapshot this time: RFC 3339, or `YYYY-MM-DD HH:MM:SS` in UTC [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Timestamp>,
    /// Read only what changed since this snapshot: `latest`, or the first digits of an id [default:
    /// the latest of the same host and paths]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    parent: Option<String>,
    /// Read every file again, whatever earlier snapshots have
    #[arg(short, long)]
    force: bool,
    /// Compress with this effort: off, fastest, auto, better or max
    #[arg(long, value_name = "EFFORT", default_value = "auto", hide_possible_values = true)]
    compression: Effort,
    /// Fill packs up to this size, 4 to 128 in MiB [default: 16]
    #[arg(long, value_name = "SIZE", value_parser = parse_pack_size)]
    pack_size: Option<ByteSize>,
    /// Read and store this many files at once [default: as many as there are processors]
    #[arg(long, value_name = "COUNT")]
    read_concurrency: Option<NonZeroUsize>,
}

/// How much effort goes into compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Effort {
    Off,
    Fastest,
    Auto,
    Better,
    Max,
}

impl From<Effort> for Compression {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Off => Self::Off,
            Effort::Fastest => Self::Fastest,
            Effort::Auto => Self::Auto,
            Effort::Better => Self::Better,
            Effort::Max => Self::Max,
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(BackupReport);

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.repo.backup/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(BackupReport { snapshot, counts, skipped, started, ended, .. }) = self;
        for skipped in skipped.iter().take(SKIPPED_SHOWN) {
            let word = page.paint.warning("left out");
            writeln!(page, "{word}: {skipped}")?;
        }
        if let more @ 1.. = skipped.len().saturating_sub(SKIPPED_SHOWN) {
            writeln!(page, "and {more} more; `--json` lists them")?;
        }
        let row = |new, changed, unmodified| {
            format!("{new} new, {changed} changed, {unmodified} unchanged")
        };
        let c = counts;
        writeln!(page, "files: {}", row(c.files_new, c.files_changed, c.files_unmodified))?;
        writeln!(
            page,
            "directories: {}",
            row(c.directories_new, c.directories_changed, c.directories_unmodified)
        )?;
        writeln!(
            page,
            "{} in {} files, {} of it read; {} were new and take {}",
            ByteSize(c.bytes_total),
            c.files(),
            ByteSize(c.bytes_read),
            ByteSize(c.bytes_added),
            ByteSize(c.bytes_stored),
        )?;
        if c.packs_adopted > 0 {
            let (packs, bytes) = (c.packs_adopted, ByteSize(c.bytes_adopted));
            writeln!(page, "{packs} packs ({bytes}) that an interrupted run had stored are used")?;
        }
        let took = Duration::try_from(ended.duration_since(*started)).unwrap_or_default();
        writeln!(page, "snapshot {snapshot} made in {}", time::duration(took))
    }
}

impl Backup {
    /// Makes the snapshot; what could not be read is named, and ends with 3.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        self.refuse_to_go_unlocked()?;
        let sources = vec![Source::Files(self.files()?)];
        let (repository, lock) = self.access.open(session)?;
        let options = self.options(&repository)?;
        let events = session.events();
        let repository = repository.load_index(&session.cancel, &*events)?;
        let made =
            backup(&repository, sources, &options, &*events, &session.cancel, &*session.clock);
        super::end_lock(lock)?;
        let report = made?;
        let exit = if report.is_complete() { Exit::Done } else { Exit::Incomplete };
        session.end(&Done(report), exit)
    }

    /// Without a lock a `prune` elsewhere could delete what this backup builds upon.
    fn refuse_to_go_unlocked(&self) -> Result<(), CommandError> {
        if self.access.no_lock {
            return Err(CommandError::usage("a backup needs its lock", "leave `--no-lock` out"));
        }
        Ok(())
    }

    fn files(&self) -> Result<FilesSource, Failure> {
        let exclude = Excludes::new(&self.exclude).map_err(|error| {
            CommandError::usage(
                error.to_string(),
                "correct it; the manual of `lifeboat repo backup` says what a pattern is",
            )
        })?;
        let paths = self.paths.iter().map(|path| surroundings::absolute(path));
        Ok(FilesSource {
            paths: paths.collect::<Result<_, _>>()?,
            exclude,
            one_file_system: self.one_file_system,
        })
    }

    fn options(&self, repository: &Repository<Open>) -> Result<BackupOptions, Failure> {
        let host = self.host.clone().unwrap_or_else(surroundings::hostname);
        let usual = BackupOptions::new(host);
        Ok(BackupOptions {
            tags: self.tag.clone(),
            time: self.time,
            parent: match &self.parent {
                _ if self.force => ParentChoice::None,
                Some(wanted) => ParentChoice::Snapshot(repository.find_snapshot(wanted)?.0),
                None => ParentChoice::Latest,
            },
            compression: self.compression.into(),
            pack_size: self.pack_size.unwrap_or(usual.pack_size),
            workers: self.read_concurrency,
            ..usual
        })
    }
}

/// Parses a time as restic's users write it, which is UTC here, or as everywhere else.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let spaced = text.replacen(' ', "T", 1);
    let civil = (spaced != text).then(|| format!("{spaced}Z"));
    let parsed = parse_instant(civil.as_deref().unwrap_or(text));
    parsed.map_err(|_| {
        format!("expected `YYYY-MM-DD HH:MM:SS` (UTC), RFC 3339 or YYYYMMDD_HHMMSS, not `{text}`")
    })
}

/// Parses the size of a pack: restic's number of MiB, or a size with its unit.
fn parse_pack_size(text: &str) -> Result<ByteSize, String> {
    let size = match text.parse::<u64>() {
        Ok(mib) => mib.checked_mul(1 << 20).map(ByteSize),
        Err(_) => text.parse().ok(),
    };
    size.filter(|size| PACK_SIZES.contains(size))
        .ok_or_else(|| format!("expected 4 to 128 MiB, like `16` or `64MiB`, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_restic_and_as_rfc_3339_write_them() {
        let expected: Timestamp = "2026-11-23T02:00:00Z".parse().unwrap();
        for text in ["2026-11-23 02:00:00", "2026-11-23T02:00:00Z", "20261123_020000"] {
            assert_eq!(parse_time(text), Ok(expected), "{text}");
        }
        assert!(parse_time("yesterday").unwrap_err().contains("`yesterday`"));
    }

    #[test]
    fn pack_sizes_are_mib_unless_they_name_a_unit_and_stay_within_what_restic_reads() {
        assert_eq!(parse_pack_size("64"), Ok(ByteSize(64 << 20)));
        assert_eq!(parse_pack_size("8MiB"), Ok(ByteSize(8 << 20)));
        for bad in ["3", "129", "1GiB", "x", "99999999999999999999"] {
            assert!(parse_pack_size(bad).unwrap_err().contains(bad), "{bad}");
        }
    }
}
