//! `lifeboat repo backup`: make a snapshot of files and directories, or of what a command writes.

pub(super) mod lines;
mod selection;
mod stream;
mod wildcards;

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lifeboat_model::instant::parse_instant;
use lifeboat_model::{BlobId, ByteSize, Exit, SnapshotId, Timestamp, counted};
use lifeboat_repository::backup::{
    self, BackupOptions, BackupPreview, BackupReport, Counts, Evidence, PACK_SIZES, ParentChoice,
    Skipped,
};
use lifeboat_repository::compress::Compression;
use lifeboat_repository::profile::{Profile, ProfileReport};
use lifeboat_repository::source::AccessTime;
use lifeboat_repository::{Open, Repository};
use serde::Serialize;

use super::{Access, Run};
use crate::failure::{CommandError, Failure};
use crate::render::{self, Answer, Page, Sort, time};
use crate::session::Session;
use crate::surroundings;

/// The arguments of `lifeboat repo backup`.
#[derive(Debug, Args)]
#[command(after_long_help = PATTERNS)]
#[command(mut_arg("no_lock", super::only_when_dry))]
pub struct Backup {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    selection: selection::Selection,
    /// Give the snapshot these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// File the snapshot under this host [default: this host's name]
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Option<String>,
    /// Give the snapshot this time: RFC 3339, or `YYYY-MM-DD`, `YYYY-MM-DD HH:MM` or `YYYY-MM-DD
    /// HH:MM:SS` in UTC [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Timestamp>,
    /// Read only what changed since this snapshot: `latest`, or the first digits of an id [default:
    /// the latest of the same host and paths]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    parent: Option<String>,
    /// Read every file again, whatever earlier snapshots have
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    seeing: Seeing,
    /// Compress with this effort: off, fastest, auto, better or max
    #[arg(long, value_name = "EFFORT", default_value = "auto", hide_possible_values = true)]
    compression: Effort,
    /// Fill packs up to this size, 4 to 128 in MiB [default: 16]
    #[arg(long, value_name = "SIZE", value_parser = parse_pack_size)]
    pack_size: Option<ByteSize>,
    /// Read and store this many files at once [default: as many as there are processors]
    #[arg(long, value_name = "COUNT")]
    read_concurrency: Option<NonZeroUsize>,
    /// Tell what would be stored, and write nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Tell what the time went into
    #[arg(long)]
    profile: bool,
}

/// What a pattern is, for the manual.
const PATTERNS: &str = "\
Patterns are restic's. `*.jpg` is any name like that at any depth, with all that lies in it if it is a \
directory; `media/*.jpg` is a path in which these names follow each other; a leading slash binds a \
pattern to the root, a trailing one says nothing. `*` and `?` stop at a slash, `**` between slashes is any \
number of directories, `[a-f]` and `[^a-f]` are one character, `\\` takes the meaning off the next one. \
The last pattern that matches decides. A directory that is left out is not looked into, so that \
nothing in it can be taken back. The given paths themselves are never left out.";

/// How changes are seen, and what is kept of times.
#[derive(Debug, Args)]
struct Seeing {
    /// Take a file for unchanged though its inode was changed or is another one, if size and
    /// modification time are the same; for file systems whose inodes get new numbers
    #[arg(long)]
    ignore_inode: bool,
    /// Take a file for unchanged though its inode was changed, if size, modification time and inode
    /// are the same
    #[arg(long)]
    ignore_ctime: bool,
    /// Keep when files were read last, which makes a change of every read
    #[arg(long)]
    with_atime: bool,
}

impl Seeing {
    const fn evidence(&self) -> Evidence {
        match self {
            // As for restic: where inodes cannot be trusted, their times cannot be either.
            Self { ignore_inode: true, .. } => Evidence::SizeAndMtime,
            Self { ignore_ctime: true, .. } => Evidence::Inode,
            _ => Evidence::InodeAndCtime,
        }
    }

    const fn access_time(&self) -> AccessTime {
        if self.with_atime { AccessTime::Own } else { AccessTime::AsMtime }
    }
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
struct Done {
    dry_run: bool,
    /// There is none after a dry run.
    snapshot: Option<SnapshotId>,
    tree: Option<BlobId>,
    parent: Option<SnapshotId>,
    counts: Counts,
    skipped: Vec<Skipped>,
    started: Timestamp,
    ended: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileReport>,
}

impl From<BackupReport> for Done {
    fn from(report: BackupReport) -> Self {
        let BackupReport { snapshot, tree, parent, counts, skipped, started, ended } = report;
        Self {
            dry_run: false,
            snapshot: Some(snapshot),
            tree: Some(tree),
            parent,
            counts,
            skipped,
            started,
            ended,
            profile: None,
        }
    }
}

impl From<BackupPreview> for Done {
    fn from(preview: BackupPreview) -> Self {
        let BackupPreview { parent, counts, skipped, started, ended } = preview;
        Self {
            dry_run: true,
            snapshot: None,
            tree: None,
            parent,
            counts,
            skipped,
            started,
            ended,
            profile: None,
        }
    }
}

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.repo.backup/1";

    fn sort(&self) -> Sort {
        let asked_for = self.dry_run || self.profile.is_some();
        if asked_for { Sort::Data } else { Sort::Summary }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self { skipped, started, ended, .. } = self;
        let word = page.paint.warning("left out");
        page.lines(skipped, 0, |skipped| format!("{word}: {skipped}"))?;
        self.write_counts(page)?;
        let took = Duration::try_from(ended.duration_since(*started)).unwrap_or_default();
        let took = time::duration(took);
        match self.snapshot {
            Some(snapshot) => writeln!(page, "snapshot {snapshot} made in {took}")?,
            None => writeln!(page, "a dry run of {took}; nothing was written")?,
        }
        self.profile.as_ref().map_or(Ok(()), |profile| render::profile::write(profile, page))
    }
}

impl Done {
    fn write_counts(&self, page: &mut Page) -> fmt::Result {
        let c = &self.counts;
        let row = |new, changed, unmodified| {
            format!("{new} new, {changed} changed, {unmodified} unchanged")
        };
        writeln!(page, "files: {}", row(c.files_new, c.files_changed, c.files_unmodified))?;
        writeln!(
            page,
            "directories: {}",
            row(c.directories_new, c.directories_changed, c.directories_unmodified)
        )?;
        let were = if self.dry_run { "would be new" } else { "were new" };
        writeln!(
            page,
            "{} in {}, {} of it read; {} {were} and take {}",
            ByteSize(c.bytes_total),
            counted(c.files(), "file"),
            ByteSize(c.bytes_read),
            ByteSize(c.bytes_added),
            ByteSize(c.bytes_stored),
        )?;
        if c.packs_adopted > 0 {
            let (packs, bytes) = (counted(c.packs_adopted, "pack"), ByteSize(c.bytes_adopted));
            writeln!(page, "used of what an interrupted run had stored: {packs} ({bytes})")?;
        }
        Ok(())
    }
}

impl Backup {
    /// Makes the snapshot; what could not be read is named, and ends with 3.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let run = Run::from(self.dry_run);
        self.refuse_to_go_unlocked(run)?;
        let sources = self.selection.sources(session)?;
        let (repository, lock) = self.access.begin(session)?;
        let options = self.options(&repository)?;
        let events = session.events();
        let repository = repository.load_index(&session.cancel, &*events)?;
        let (events, cancel, clock) = (&*events, &session.cancel, &*session.clock);
        let made = match run {
            Run::Real => backup::backup(&repository, sources, &options, events, cancel, clock)
                .map(Done::from),
            Run::Dry => backup::preview(&repository, sources, &options, events, cancel, clock)
                .map(Done::from),
        };
        super::end_lock(lock)?;
        let done = Done { profile: options.profile.report(), ..made? };
        let exit = if done.skipped.is_empty() { Exit::Done } else { Exit::Incomplete };
        session.end(&done, exit)
    }

    /// Without a lock a `prune` elsewhere could delete what this backup builds upon.
    fn refuse_to_go_unlocked(&self, run: Run) -> Result<(), CommandError> {
        if self.access.no_lock && run == Run::Real {
            return Err(CommandError::usage(
                "a backup needs its lock",
                "leave `--no-lock` out, or add `--dry-run`",
            ));
        }
        Ok(())
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
            evidence: self.seeing.evidence(),
            access_time: self.seeing.access_time(),
            compression: self.compression.into(),
            pack_size: self.pack_size.unwrap_or(usual.pack_size),
            workers: self.read_concurrency,
            profile: if self.profile { Profile::measuring() } else { Profile::off() },
            ..usual
        })
    }
}

/// Parses a time as restic's users write it, which is UTC here, or as everywhere else.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let civil = match text.split_once(' ') {
        Some((date, time)) if time.len() == "HH:MM".len() => format!("{date}T{time}:00Z"),
        Some((date, time)) => format!("{date}T{time}Z"),
        None if text.len() == "YYYY-MM-DD".len() => format!("{text}T00:00:00Z"),
        None => text.to_owned(),
    };
    parse_instant(&civil).map_err(|_| {
        format!(
            "expected `YYYY-MM-DD`, with `HH:MM` or `HH:MM:SS` behind it (UTC), RFC 3339 or \
             YYYYMMDD_HHMMSS, not `{text}`"
        )
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
        let shorter = [("2026-11-23 02:00", "02:00"), ("2026-11-23", "00:00")];
        for (text, time) in shorter {
            let expected = format!("2026-11-23T{time}:00Z").parse().unwrap();
            assert_eq!(parse_time(text), Ok(expected), "{text}");
        }
        for bad in ["yesterday", "2026-13-01", "2026-11-23 2:00", "2026-11-23 25:00", "23.11.2026"]
        {
            assert!(parse_time(bad).unwrap_err().contains(bad), "{bad}");
        }
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
