//! `lifeboat repo tag`: change the tags of snapshots.

use std::fmt::{self, Write as _};

use clap::{ArgGroup, Args};
use lifeboat_model::{Exit, SnapshotId, counted};
use lifeboat_repository::SnapshotName;
use lifeboat_repository::selection::TagList;
use lifeboat_repository::tag::{TagChange, retag};
use serde::Serialize;

use super::Access;
use super::choice::{Choice, snapshot_name};
use crate::failure::{Failure, Interrupted};
use crate::render::{Answer, Page, Sort};
use crate::session::Session;

/// The arguments of `lifeboat repo tag`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
#[command(mut_arg("no_lock", super::unmentioned))]
pub struct Tag {
    #[command(flatten)]
    access: Access,
    /// Change these: `latest`, or the first digits of their ids; without any, all
    #[arg(value_name = "SNAPSHOT", value_parser = snapshot_name())]
    names: Vec<SnapshotName>,
    /// Add these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS", group = "change")]
    add: Vec<TagList>,
    /// Remove these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS", group = "change")]
    remove: Vec<TagList>,
    /// Replace all tags by these, separated by commas; an empty one leaves none
    #[arg(long, value_name = "TAGS", group = "change", conflicts_with_all = ["add", "remove"])]
    set: Vec<TagList>,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Serialize)]
struct Tagged {
    snapshots: Vec<Entry>,
    unchanged: u64,
}

#[derive(Serialize)]
struct Entry {
    before: SnapshotId,
    after: SnapshotId,
    tags: Vec<String>,
}

impl Answer for Tagged {
    const SCHEMA: &'static str = "lifeboat.repo.tag/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for Entry { before, after, tags } in &self.snapshots {
            writeln!(page, "{before} is now {after}: {}", tags.join(", "))?;
        }
        let changed = counted(self.snapshots.len(), "snapshot");
        writeln!(page, "{changed} changed, {} had these tags already", self.unchanged)
    }
}

impl Tag {
    /// Changes one snapshot after the other; what was changed stays so when a later one fails.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open_alone(session)?;
        let list = |lists: &[TagList]| -> Vec<String> {
            lists.iter().flat_map(TagList::tags).map(str::to_owned).collect()
        };
        let change = if self.set.is_empty() {
            TagChange::Adjust { add: list(&self.add), remove: list(&self.remove) }
        } else {
            TagChange::Set(list(&self.set))
        };
        let mut answer = Tagged { snapshots: Vec::new(), unchanged: 0 };
        for (before, snapshot) in repository.choose_all(&self.names, &self.choice.filter())? {
            session.cancel.check().map_err(Interrupted::from)?;
            match retag(&repository, &before, &snapshot, &change)? {
                None => answer.unchanged += 1,
                Some(after) => {
                    let tags = change.apply(&snapshot.tags);
                    answer.snapshots.push(Entry { before, after, tags });
                }
            }
        }
        super::end_lock(lock)?;
        session.done(&answer)
    }
}
