//! What leads on from damage: commands that can be given as they stand, one after the other.
//!
//! # Invariants
//!
//! - Whoever gives the commands gives nothing up that is still there.

use lifeboat_model::{PackId, SnapshotId};

use crate::error::StoredObject;
use crate::store::FileId as _;

/// What is to be done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// A pack that no index lists.
    Orphan,
    /// A pack that is missing.
    LostPack,
    /// A pack that is there and damaged.
    DamagedPack(PackId),
    /// A blob that no index lists.
    Unlisted,
    /// Packs that no index lists may hold what lacks.
    ListFirst,
    /// An index file that cannot be read, or says something else than another one.
    DamagedIndex,
    /// A snapshot that cannot be read.
    DamagedSnapshot(SnapshotId),
}

/// What follows once an index lists no more than is there.
const THEN: &str = "then back up what is still on the disk, which stores again what lacks, and";

impl Remedy {
    /// Returns what is to be done about an object that is damaged.
    pub(super) const fn of(object: StoredObject) -> Option<Self> {
        match object {
            StoredObject::Index(_) => Some(Self::DamagedIndex),
            StoredObject::Snapshot(id) => Some(Self::DamagedSnapshot(id)),
            StoredObject::Pack(id) | StoredObject::Blob { at: Some((id, _)), .. } => {
                Some(Self::DamagedPack(id))
            }
            StoredObject::Blob { at: None, .. } => Some(Self::Unlisted),
            StoredObject::Config | StoredObject::Key(_) | StoredObject::Lock(_) => None,
        }
    }

    /// Says what to do, in the repository at this address.
    pub(super) fn hint(self, address: &str) -> String {
        let address = quoted(address);
        let repair_index = format!("`lifeboat repo repair index {address}`");
        let give_up = format!(
            "{THEN} `lifeboat repo repair snapshots {address} --forget` leaves out what stays lost"
        );
        match self {
            Self::Orphan => format!(
                "an interrupted backup left it; the next one uses what it needs of it, and `lifeboat repo prune {address}` removes it"
            ),
            Self::LostPack => format!(
                "copy it back from a copy of this repository, if there is one; otherwise {repair_index} takes it out of the index; {give_up}"
            ),
            Self::DamagedPack(pack) => format!(
                "`lifeboat repo repair packs {address} {}` saves what is whole of it; {give_up}",
                pack.hex()
            ),
            Self::Unlisted => {
                format!("{repair_index} lists it if a pack that is there holds it; {give_up}")
            }
            Self::ListFirst => format!(
                "{repair_index} first, and check again: packs that no index lists may hold what lacks"
            ),
            Self::DamagedIndex => {
                format!("the data may be whole: {repair_index} makes the index anew from the packs")
            }
            Self::DamagedSnapshot(id) => format!(
                "copy it back from a copy of this repository, if there is one; otherwise `lifeboat repo forget {address} {}` removes it",
                id.hex()
            ),
        }
    }
}

/// Writes an address as a shell takes it for one word.
fn quoted(address: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+,=@%".contains(c);
    if !address.is_empty() && address.chars().all(is_plain) {
        return address.to_owned();
    }
    format!("'{}'", address.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_word_for_a_shell() {
        assert_eq!(quoted("file:///srv/restic"), "file:///srv/restic");
        assert_eq!(quoted("file:///my own"), "'file:///my own'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
