//! The names of users and groups, looked up once each.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use nix::unistd::{Gid, Group, Uid, User};

/// Names by number, as the host knows them; a number that has no name has an empty one.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: Names,
    groups: Names,
}

type Names = RwLock<HashMap<u32, String>>;

impl Owners {
    /// Returns the name of a user.
    pub(crate) fn user(&self, uid: u32) -> String {
        look_up(&self.users, uid, || Some(User::from_uid(Uid::from_raw(uid)).ok().flatten()?.name))
    }

    /// Returns the name of a group.
    pub(crate) fn group(&self, gid: u32) -> String {
        look_up(&self.groups, gid, || {
            Some(Group::from_gid(Gid::from_raw(gid)).ok().flatten()?.name)
        })
    }
}

/// A failing look-up counts as no name, as with restic: the number is what a restore goes by.
fn look_up(names: &Names, id: u32, find: impl FnOnce() -> Option<String>) -> String {
    if let Some(name) = names.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
        return name.clone();
    }
    let name = find().unwrap_or_default();
    names.write().unwrap_or_else(PoisonError::into_inner).insert(id, name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_stray_number_has_none() {
        let owners = Owners::default();
        assert_eq!(owners.user(0), "root");
        assert_eq!(owners.group(0), "root");
        assert_eq!(owners.user(4_000_000_123), "");
        assert_eq!(owners.user(4_000_000_123), "");
    }
}
