//! How commands let snapshots be chosen: the same words everywhere.

use std::path::Path;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use lifeboat_repository::selection::{SnapshotFilter, SnapshotName, TagList};

use crate::surroundings;

/// Reads a snapshot's name, whose path need not be text.
pub fn snapshot_name() -> impl TypedValueParser<Value = SnapshotName> {
    OsStringValueParser::new().map(|name| SnapshotName::from(name.as_os_str()))
}

/// Which snapshots count where none is named, and which of them is `latest`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choosing snapshots")]
pub struct Choice {
    /// Take only snapshots of this host; repeat it for several
    #[arg(short = 'H', long, value_name = "HOST")]
    host: Vec<String>,
    /// Take only snapshots with all of these tags, separated by commas; repeat it for alternatives;
    /// an empty one stands for no tags
    #[arg(long, value_name = "TAGS")]
    tag: Vec<TagList>,
    /// Take only snapshots of this path; repeat it for snapshots of all of several
    #[arg(long = "path", value_name = "PATH", id = "snapshot_path")]
    path: Vec<String>,
}

impl Choice {
    /// Returns the filter; paths are taken relative to the working directory, as restic does.
    pub fn filter(&self) -> SnapshotFilter {
        filter(&self.host, &self.tag, &self.path)
    }
}

/// Returns the filter that takes snapshots of one of these hosts, with the tags of one of these
/// lists, of all of these paths.
pub fn filter(hosts: &[String], tags: &[TagList], paths: &[String]) -> SnapshotFilter {
    let whole = |path: &String| {
        let path = Path::new(path);
        let absolute = surroundings::absolute(path).unwrap_or_else(|_| path.to_owned());
        absolute.to_string_lossy().into_owned()
    };
    SnapshotFilter {
        hosts: hosts.to_vec(),
        tags: tags.to_vec(),
        paths: paths.iter().map(whole).collect(),
    }
}
