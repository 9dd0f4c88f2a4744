//! Other tags for a snapshot.
//!
//! # Crash consistency
//!
//! A snapshot's name is the hash of its bytes, so a changed one is another file: it is durable before
//! the old one is deleted. After a kill between the two both are there, and nothing is lost; the old
//! one has to be forgotten by hand. The caller holds an exclusive lock, as restic does.
//!
//! Source: restic `cmd/restic/cmd_tag.go`.

use lifeboat_model::SnapshotId;

use crate::error::RepositoryError;
use crate::repository::{Repository, State};
use crate::snapshot::Snapshot;

/// Which tags a snapshot gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagChange {
    /// These instead of all others.
    Set(Vec<String>),
    /// Some more, and some less.
    Adjust {
        /// Those that it gets, unless it has them.
        add: Vec<String>,
        /// Those that it loses.
        remove: Vec<String>,
    },
}

impl TagChange {
    /// Returns the tags of a snapshot that has `tags`.
    pub fn apply(&self, tags: &[String]) -> Vec<String> {
        match self {
            Self::Set(set) => set.clone(),
            Self::Adjust { add, remove } => {
                let mut tags = tags.to_vec();
                for tag in add {
                    if !tags.contains(tag) {
                        tags.push(tag.clone());
                    }
                }
                tags.retain(|tag| !remove.contains(tag));
                tags
            }
        }
    }
}

/// Stores a snapshot with other tags in the place of the old one, whose id it keeps as its
/// `original`; nothing is done if it has these tags already.
pub fn retag<S: State>(
    repository: &Repository<S>,
    id: &SnapshotId,
    snapshot: &Snapshot,
    change: &TagChange,
) -> Result<Option<SnapshotId>, RepositoryError> {
    let tags = change.apply(&snapshot.tags);
    if tags == snapshot.tags {
        return Ok(None);
    }
    let original = Some(snapshot.original.unwrap_or(*id));
    let changed = repository.save_snapshot(&Snapshot { tags, original, ..snapshot.clone() })?;
    repository.store().delete(id)?;
    Ok(Some(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tags_are_added_once_removed_and_replaced() {
        let had = texts(&["a", "b"]);
        let adjust = |add, remove| TagChange::Adjust { add: texts(add), remove: texts(remove) };
        assert_eq!(adjust(&["c", "a"], &[]).apply(&had), texts(&["a", "b", "c"]));
        assert_eq!(adjust(&[], &["a", "x"]).apply(&had), texts(&["b"]));
        assert_eq!(adjust(&["c"], &["c"]).apply(&had), had);
        assert_eq!(TagChange::Set(texts(&["z"])).apply(&had), texts(&["z"]));
        assert_eq!(TagChange::Set(Vec::new()).apply(&had), texts(&[]));
    }
}
