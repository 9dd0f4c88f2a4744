//! What setting up leaves on the role, as its comment: what was before, so that it can be taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::right::Right;
use super::setting::SettingName;

/// The version of the note.
const FORMAT: u32 = 1;

/// What a person reads who looks at the role; the document follows.
const TITLE: &str = "Set up by lifeboat; `lifeboat postgres remove` takes it back. ";

/// A setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What `postgresql.auto.conf` said before, if it said anything.
    pub before: Option<String>,
    /// What was set.
    pub set: String,
}

/// What was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    format: u32,
    /// Whether the role was made, or was there.
    pub made: bool,
    /// The comment that it had.
    pub comment: Option<String>,
    /// For whom it was set up, as `site/asset`.
    pub holders: BTreeSet<String>,
    /// Whose log is archived.
    pub archives: Option<String>,
    /// The rights that were granted: those that it lacked.
    pub granted: BTreeSet<Right>,
    /// The settings that were changed.
    pub settings: BTreeMap<SettingName, Kept>,
}

impl Note {
    /// Begins a note about a role that is made, or that is there with this comment.
    pub(super) const fn begin(made: bool, comment: Option<String>) -> Self {
        Self {
            format: FORMAT,
            made,
            comment,
            holders: BTreeSet::new(),
            archives: None,
            granted: BTreeSet::new(),
            settings: BTreeMap::new(),
        }
    }

    /// Reads a comment; one that is nobody's note gives nothing.
    pub fn read(comment: &str) -> Option<Self> {
        let document = comment.strip_prefix(TITLE)?;
        serde_json::from_str(document).ok().filter(|note: &Self| note.format == FORMAT)
    }

    /// Tells whether a comment is a note that this version cannot read.
    pub(super) fn is_unreadable(comment: &str) -> bool {
        comment.starts_with(TITLE) && Self::read(comment).is_none()
    }

    /// Writes the comment.
    pub fn text(&self) -> String {
        let document = serde_json::to_string(self).expect("a note has only text keys");
        format!("{TITLE}{document}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::DatabaseName;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let mut note = Note::begin(true, Some("of old".to_owned()));
        note.holders.insert("shop/database".to_owned());
        note.granted.extend([Right::Login, Right::Connect(DatabaseName::new("it's"))]);
        let kept = Kept { before: None, set: "on".to_owned() };
        note.settings.insert(SettingName::ArchiveMode, kept);
        assert_eq!(Note::read(&note.text()), Some(note.clone()));
        assert_eq!(Note::read("made by hand"), None);
        let later = note.text().replace("\"format\":1", "\"format\":2");
        assert!(Note::read(&later).is_none() && Note::is_unreadable(&later));
        assert!(!Note::is_unreadable("made by hand"));
    }
}
