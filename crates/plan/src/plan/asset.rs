//! `[assets]`: what is protected.

use std::path::Path;
use std::time::Duration;

use lifeboat_model::TierName;

use crate::table::{kinds, table, words};
use crate::value::command::Command;
use crate::value::connect::ConnectString;
use crate::value::duration::Span;
use crate::value::path::HostPath;
use crate::value::pattern::{Pattern, leave_out};
use crate::value::secret::SecretRef;

table! {
    /// Something that is protected.
    pub struct Asset {
        /// How much of the newest data may be lost, as a length of time.
        rpo: Option<Span>,
        /// How long bringing it back may take.
        rto: Option<Span>,
        /// How far beyond `rpo` it is only at risk; five hundredths of it, at least a minute, if left out.
        grace: Option<Span>,
        /// Run before each backup; if it fails, there is none.
        before: Option<Command>,
        /// Run after each backup that succeeded.
        after: Option<Command>,
        /// Run after each backup that failed.
        on_failure: Option<Command>,
        .. /// What it is and how to get at it.
        kind: AssetKind,
    }
}

/// The share of the rpo that is granted as grace, and the least.
const GRACE_DIVISOR: u32 = 20;
const GRACE_MIN: Duration = Duration::from_mins(1);

impl Asset {
    /// Returns what it is, if it is a database.
    pub fn postgres(&self) -> Option<&Postgres> {
        match &self.kind {
            AssetKind::Postgres(postgres) => Some(postgres),
            AssetKind::Files(_) | AssetKind::Command(_) => None,
        }
    }

    /// Returns what it is, if it is files.
    pub fn files(&self) -> Option<&FileSet> {
        match &self.kind {
            AssetKind::Files(files) => Some(files),
            AssetKind::Postgres(_) | AssetKind::Command(_) => None,
        }
    }

    /// Tells whether changes are captured between backups too.
    pub fn is_followed(&self) -> bool {
        match &self.kind {
            AssetKind::Postgres(postgres) => postgres.wal.mode != WalMode::None,
            AssetKind::Files(files) => files.watch,
            AssetKind::Command(_) => false,
        }
    }

    /// Tells whether its files are captured when they change.
    pub fn is_watched(&self) -> bool {
        self.files().is_some_and(|files| files.watch)
    }

    /// Returns how far beyond its rpo the asset is only at risk, if it has an rpo.
    pub fn grace(&self) -> Option<Duration> {
        let default = || self.rpo.map(|rpo| (rpo.duration() / GRACE_DIVISOR).max(GRACE_MIN));
        self.grace.map(Span::duration).or_else(default)
    }
}

kinds! {
    /// What an asset is.
    pub enum AssetKind by "kind" {
        /// A PostgreSQL server's databases.
        Postgres(Postgres) = "postgres",
        /// Files and folders.
        Files(FileSet) = "files",
        /// What a command writes to its standard output.
        Command(CommandOutput) = "command",
    }
}

table! {
    /// A PostgreSQL server and how it is captured.
    pub struct Postgres {
        /// How to reach it: libpq's keywords, URL or service; never with a password.
        connect: ConnectString,
        /// Where the password is, if one is needed.
        password: Option<SecretRef>,
        /// How a base backup is made.
        base: Base = Base::Logical,
        /// What is done with the write-ahead log.
        wal: Wal = Wal::default(),
        /// How long counting rows at a base backup may take, so that a verified restore has something to compare with;
        /// the smallest tables are counted first, `0s` counts none.
        count_rows_within: Span = Span::from_seconds(60),
    }
}

words! {
    /// How a base backup of a database is made.
    pub enum Base {
        /// The server's files, to which the write-ahead log is applied.
        Physical = "physical",
        /// A dump, which any later version can read.
        Logical = "logical",
        /// Both.
        Both = "both",
    }
}

words! {
    /// What is done with the write-ahead log.
    pub enum WalMode {
        /// Nothing.
        None = "none",
        /// The server hands over each segment when it is full.
        Archive = "archive",
        /// It is received as it is written.
        Stream = "stream",
        /// A commit waits until it was received.
        Synchronous = "synchronous",
    }
}

table! {
    /// Where the write-ahead log goes, and when the server may forget it.
    pub struct Wal {
        /// How it is had.
        mode: WalMode = WalMode::None,
        /// The tiers that it goes to.
        to: Vec<TierName> = Vec::new(),
        /// The tiers that must hold it before the server may forget it.
        ack: Vec<TierName> = Vec::new(),
        /// Where it is kept until it is on the tiers; for `stream` and `synchronous`.
        journal: Option<HostPath>,
        /// How often what was streamed is sent on.
        ship_every: Span = Span::from_seconds(10),
    }
}

impl Default for Wal {
    fn default() -> Self {
        Self {
            mode: WalMode::None,
            to: Vec::new(),
            ack: Vec::new(),
            journal: None,
            ship_every: Span::from_seconds(10),
        }
    }
}

table! {
    /// Files and folders, whole.
    pub struct FileSet {
        /// What is captured.
        paths: Vec<HostPath>,
        /// What is left out of it: paths, or patterns like `*.tmp`.
        exclude: Vec<Pattern> = Vec::new(),
        /// Stay on the file system that each path is on.
        one_file_system: bool = false,
        /// Capture it when it changes.
        watch: bool = false,
        /// Prints the revision that is recorded with each recovery point.
        revision: Option<Command>,
    }
}

impl FileSet {
    /// Tells whether `path` would be captured.
    pub fn captures(&self, path: &Path) -> bool {
        let below = self.paths.iter().any(|own| own.contains(path));
        below && !leave_out(&self.exclude, path)
    }
}

table! {
    /// What a command writes, and the command that reads it back.
    pub struct CommandOutput {
        /// Writes the data to its standard output; counts only if it ends with 0.
        backup: Command,
        /// Reads the data from its standard input.
        restore: Option<Command>,
    }
}
