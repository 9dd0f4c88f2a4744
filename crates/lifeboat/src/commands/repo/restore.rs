//! `lifeboat repo restore`: restore a snapshot, or a part of it, into a directory.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use lifeboat_model::{Exit, SnapshotId};
use lifeboat_repository::profile::{Profile, ProfileReport};
use lifeboat_repository::restore::{
    self, Existing, Ownership, RestoreOptions, RestoreReport, Selection, Unexpected, Verify,
};
use lifeboat_repository::selection::SnapshotName;
use lifeboat_repository::{Indexed, Repository, Snapshot};
use serde::Serialize;

use super::Access;
use super::backup::lines;
use super::choice::{Choice, snapshot_name};
use crate::failure::{CommandError, Failure};
use crate::render::{self, Answer, Page, RestoredFiles, ShownPath, Sort};
use crate::session::Session;

/// The arguments of `lifeboat repo restore`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("destination").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Restore {
    #[command(flatten)]
    access: Access,
    /// The snapshot: `latest`, or the first digits of its id; with `:PATH` behind it what is in that
    /// directory of it lands in the target itself
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = snapshot_name(), default_value = "latest")]
    snapshot: SnapshotName,
    /// Restore below this directory; it is created, or has to be empty unless --overwrite is given
    #[arg(long, short, value_name = "DIR", visible_alias = "target", group = "destination")]
    to: Option<PathBuf>,
    /// Write a tar archive to this file instead, or to standard output if it is `-`: with owners,
    /// attributes, hard links and devices, as GNU tar reads it with `--xattrs`
    #[arg(
        long,
        value_name = "FILE",
        group = "destination",
        conflicts_with_all = ["to", "overwrite", "dry_run", "verify"]
    )]
    tar: Option<PathBuf>,
    /// Restore only what matches this pattern, such as a path of the snapshot, and all in it; may be
    /// given several times. Where nothing matches, the command ends with 3
    #[arg(long, short, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// Restore only what matches a pattern of this file, one a line
    #[arg(long, value_name = "FILE")]
    include_file: Vec<PathBuf>,
    /// Leave out what matches this pattern, and all in it; may be given several times
    #[arg(long, short, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Leave out what matches a pattern of this file, one a line
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Restore into a directory that holds something already, and overwrite its files; what is right
    /// in them is not fetched again
    #[arg(long, value_name = "WHEN")]
    overwrite: Option<Overwrite>,
    /// Remove what is in the restored directories and not in the snapshot, and what would be in the way:
    /// a directory in the place of something else, or a symbolic link in the place of a directory,
    /// which otherwise stays and is named; needs --overwrite
    #[arg(long, requires = "overwrite")]
    delete: bool,
    /// Tell what would be restored, overwritten and removed, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Read the restored files back from the disk and compare them with the snapshot
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// Give files to the users and groups of the recorded names, not of the recorded numbers
    #[arg(long)]
    owner_by_name: bool,
    /// End with 3 when an owner could not be set
    #[arg(long)]
    strict_owner: bool,
    /// Tell what the time went into while content was restored
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    choice: Choice,
}

/// When files that are there are overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overwrite {
    /// Always; of a file that is there, what differs is written
    Always,
    /// Unless length and modification time are the recorded ones; goes on with an interrupted restore
    IfChanged,
    /// Never: what is there stays as it is
    Never,
}

impl From<Overwrite> for Existing {
    fn from(overwrite: Overwrite) -> Self {
        match overwrite {
            Overwrite::Always => Self::Always,
            Overwrite::IfChanged => Self::IfChanged,
            Overwrite::Never => Self::Never,
        }
    }
}

#[derive(Serialize)]
struct Restored {
    snapshot: SnapshotId,
    target: ShownPath,
    dry_run: bool,
    #[serde(flatten)]
    files: RestoredFiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileReport>,
}

impl Answer for Restored {
    const SCHEMA: &'static str = "lifeboat.repo.restore/1";

    fn sort(&self) -> Sort {
        let asked_for = self.dry_run || self.profile.is_some();
        if asked_for { Sort::Data } else { Sort::Summary }
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let word = if self.dry_run { "would be restored" } else { "restored" };
        writeln!(page, "snapshot {} {word} to {}", self.snapshot, self.target)?;
        self.files.write(page)?;
        self.profile.as_ref().map_or(Ok(()), |profile| render::profile::write(profile, page))
    }
}

impl Restore {
    /// Restores what was asked for; what could not be restored is named, and ends with 3.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (options, target) = (self.options(session)?, self.target());
        let (repository, lock) = self.access.begin(session)?;
        let (id, snapshot) = repository.choose(&self.snapshot, &self.choice.filter())?;
        let events = session.events();
        let repository = repository.load_index(&session.cancel, &*events)?;
        let snapshot = repository.enter(snapshot, &self.snapshot.directory)?;
        let restored = if let Some(file) = &self.tar {
            write_tar(&repository, &snapshot, &options, file, session)
        } else if self.dry_run {
            restore::preview(&repository, &snapshot, &options, &session.cancel)
                .map_err(Failure::from)
        } else {
            restore::restore(&repository, &snapshot, &options, &*events, &session.cancel)
                .map_err(Failure::from)
        };
        super::end_lock(lock)?;
        let report = restored?;
        let exit = report.exit();
        let answer = Restored {
            snapshot: id,
            target: ShownPath(target),
            dry_run: self.dry_run,
            files: RestoredFiles::from(report),
            profile: options.profile.report(),
        };
        if self.writes_to_screen() {
            // The archive is the answer; what is said of it goes where talk goes.
            session.screen.answer_aside(&answer, exit);
            return Ok(exit);
        }
        session.end(&answer, exit)
    }

    fn target(&self) -> PathBuf {
        self.tar.clone().or_else(|| self.to.clone()).unwrap_or_default()
    }

    fn writes_to_screen(&self) -> bool {
        self.tar.as_deref() == Some(Path::new(SCREEN))
    }

    fn options(&self, session: &Session) -> Result<RestoreOptions, Failure> {
        let with_files = |patterns: &[OsString], files: &[PathBuf]| {
            let in_files = lines::patterns(files, &session.process.environment)?;
            Ok::<_, Failure>([patterns, &in_files].concat())
        };
        let include = with_files(&self.include, &self.include_file)?;
        let exclude = with_files(&self.exclude, &self.exclude_file)?;
        let selection = Selection::new(&include, &exclude).map_err(|error| {
            CommandError::usage(
                error.to_string(),
                "correct it; the manual of `lifeboat repo backup` says what a pattern is",
            )
        })?;
        Ok(RestoreOptions {
            selection,
            existing: self.overwrite.map_or(Existing::Refuse, Existing::from),
            unexpected: if self.delete { Unexpected::Remove } else { Unexpected::Keep },
            verify: if self.verify { Verify::Content } else { Verify::Nothing },
            ownership: if self.owner_by_name { Ownership::ByName } else { Ownership::ById },
            strict_owner: self.strict_owner,
            profile: if self.profile { Profile::measuring() } else { Profile::off() },
            ..RestoreOptions::new(self.target())
        })
    }
}

/// The name of standard output.
const SCREEN: &str = "-";

/// How much of an archive is passed on at once.
const ARCHIVE_BUFFER_BYTES: usize = 256 << 10;

/// Writes an archive to a new file or to standard output.
fn write_tar(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    file: &Path,
    session: &Session,
) -> Result<RestoreReport, Failure> {
    let out: Box<dyn Write> = if file == Path::new(SCREEN) {
        if session.screen.json {
            let message = "an archive is no JSON document";
            return Err(CommandError::usage(message, "leave `--json` out, or name a file").into());
        }
        Box::new(io::stdout().lock())
    } else {
        let path = || file.display().to_string();
        let failed = |source| CommandError::File { action: "make", path: path(), source };
        Box::new(File::create_new(file).map_err(failed)?)
    };
    let mut out = BufWriter::with_capacity(ARCHIVE_BUFFER_BYTES, out);
    let (events, cancel) = (session.events(), &session.cancel);
    Ok(restore::write_tar(repository, snapshot, options, &mut out, &*events, cancel)?)
}
