//! What a lock file says, whether it stands in the way, and when it counts for nothing.
//!
//! Pure: time and the state of the machine are handed in.

use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::LockId;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, User, gethostname};
use serde::{Deserialize, Serialize};

/// A lock older than this was left behind: its owner refreshes it six times in that while.
pub const STALE_AFTER: Duration = Duration::from_mins(30);

/// A lock file that the store dates so long before another one, and before now, is nobody's, whatever it says: it is not even
/// read. Where nothing can be deleted such files pile up, and a day of them is all that anybody reads.
///
/// Both clocks would have to be off by as much for one that is held to count as that.
pub const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// Tells whether a lock file is so old by its date and that of the newest one; see [`ABANDONED_AFTER`].
pub(super) fn is_abandoned(stored: Timestamp, newest: Timestamp, now: Timestamp) -> bool {
    let passed = |until: Timestamp| Duration::try_from(until.duration_since(stored));
    passed(newest.min(now)).is_ok_and(|passed| passed > ABANDONED_AFTER)
}

/// Whether others may work in the repository at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Others may add and read; for backup, restore and copying into.
    Shared,
    /// Nobody else may hold any lock; for whatever deletes or rewrites.
    Exclusive,
}

impl LockKind {
    /// Tells whether a lock of this kind and one of `other` may be held at the same time.
    pub const fn is_compatible(self, other: Self) -> bool {
        matches!((self, other), (Self::Shared, Self::Shared))
    }
}

/// Who holds a lock: a process of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOwner {
    /// The machine's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The process id.
    pub pid: i32,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

impl LockOwner {
    /// Returns the process that runs this.
    pub fn this_process() -> Self {
        let uid = Uid::current();
        let username = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Self {
            hostname: gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default(),
            username: username.unwrap_or_default(),
            pid: Pid::this().as_raw(),
            uid: uid.as_raw(),
            gid: nix::unistd::Gid::current().as_raw(),
        }
    }
}

/// The content of a lock file, field by field as restic writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// When it was made or last refreshed.
    pub time: Timestamp,
    /// Whether it bears no other lock beside it.
    pub exclusive: bool,
    /// The holder's machine.
    #[serde(default)]
    pub hostname: String,
    /// The holder's user name.
    #[serde(default)]
    pub username: String,
    /// The holder's process id.
    #[serde(default)]
    pub pid: i32,
    /// The holder's user id; left out when zero, as Go's `omitempty` does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The holder's group id; left out when zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl LockRecord {
    /// Returns the lock of `owner`, made at `time`.
    pub fn new(kind: LockKind, owner: &LockOwner, time: Timestamp) -> Self {
        Self {
            time,
            exclusive: kind == LockKind::Exclusive,
            hostname: owner.hostname.clone(),
            username: owner.username.clone(),
            pid: owner.pid,
            uid: owner.uid,
            gid: owner.gid,
        }
    }

    /// Returns the lock's kind.
    pub const fn kind(&self) -> LockKind {
        if self.exclusive { LockKind::Exclusive } else { LockKind::Shared }
    }

    /// Returns how old the lock is; one from the future, by another machine's clock, is new.
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.time)).unwrap_or_default()
    }

    /// Says who holds it and since when, for a message.
    pub fn describe(&self, now: Timestamp) -> String {
        let age = self.age(now);
        format!(
            "process {} of {} on {} ({} lock, refreshed {}m{:02}s ago)",
            self.pid,
            self.username,
            self.hostname,
            if self.exclusive { "an exclusive" } else { "a shared" },
            age.as_secs() / 60,
            age.as_secs() % 60,
        )
    }

    /// Tells whether its holder must be gone.
    ///
    /// That is so when nobody refreshed it for [`STALE_AFTER`], or when it names a process of this
    /// very machine that does not exist.
    pub fn is_stale(&self, now: Timestamp, machine: &dyn Machine) -> bool {
        let is_old = self.age(now) > STALE_AFTER;
        is_old || (self.hostname == machine.hostname() && !machine.has_process(self.pid))
    }
}

/// What deciding on a stale lock needs to know of the machine it is decided on.
pub trait Machine {
    /// Returns the machine's name.
    fn hostname(&self) -> &str;

    /// Tells whether a process exists; when that cannot be known, it does.
    fn has_process(&self, pid: i32) -> bool;
}

/// The machine that this process runs on.
impl Machine for LockOwner {
    fn hostname(&self) -> &str {
        &self.hostname
    }

    fn has_process(&self, pid: i32) -> bool {
        // Zero and negative numbers would address process groups.
        pid <= 0 || kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
    }
}

/// What a look at the lock files of a repository shows.
#[derive(Debug, Default)]
pub struct LockSurvey {
    /// Locks whose holders are gone.
    pub stale: Vec<LockId>,
    /// Whether one of those holders was alone, so lately that listings may not show yet what he did.
    pub was_alone: bool,
    /// Locks that stand in the way.
    pub conflicts: Vec<(LockId, LockRecord)>,
    /// Lock files that could not be read, so that nobody knows what they say.
    pub unreadable: Vec<LockId>,
}

impl LockSurvey {
    /// Sorts one lock file in that is not the looker's own.
    pub fn add(
        &mut self,
        wanted: LockKind,
        id: LockId,
        lock: Option<LockRecord>,
        now: Timestamp,
        machine: &dyn Machine,
    ) {
        match lock {
            None => self.unreadable.push(id),
            Some(lock) if lock.is_stale(now, machine) => {
                self.stale.push(id);
                self.was_alone |= lock.kind() == LockKind::Exclusive;
            }
            Some(lock) if !wanted.is_compatible(lock.kind()) => self.conflicts.push((id, lock)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host;

    impl Machine for Host {
        fn hostname(&self) -> &'static str {
            "here"
        }

        fn has_process(&self, pid: i32) -> bool {
            pid == 7
        }
    }

    fn lock(kind: LockKind, hostname: &str, pid: i32, time: &str) -> LockRecord {
        let owner = LockOwner {
            hostname: hostname.into(),
            username: "anna".into(),
            pid,
            uid: 1000,
            gid: 0,
        };
        LockRecord::new(kind, &owner, time.parse().unwrap())
    }

    const NOW: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn the_json_is_that_of_restic() {
        let text = serde_json::to_string(&lock(LockKind::Exclusive, "db1", 42, NOW)).unwrap();
        assert_eq!(
            text,
            r#"{"time":"2026-11-23T12:00:00Z","exclusive":true,"hostname":"db1","username":"anna","pid":42,"uid":1000}"#
        );
    }

    #[test]
    fn a_lock_with_an_offset_and_unknown_fields_is_read() {
        let text = r#"{"time":"2026-11-23T13:00:00.5+01:00","exclusive":false,"hostname":"h","username":"u","pid":1,"later":{}}"#;
        let read: LockRecord = serde_json::from_str(text).unwrap();
        assert_eq!(read.kind(), LockKind::Shared);
        assert_eq!(read.time, "2026-11-23T12:00:00.5Z".parse().unwrap());
    }

    #[test]
    fn staleness_follows_age_and_process() {
        let now = NOW.parse().unwrap();
        let cases = [
            ("refreshed elsewhere", "there", 1, "2026-11-23T11:31:00Z", false),
            ("exactly thirty minutes", "there", 1, "2026-11-23T11:30:00Z", false),
            ("older than thirty minutes", "there", 1, "2026-11-23T11:29:59Z", true),
            ("alive here", "here", 7, "2026-11-23T11:59:00Z", false),
            ("alive here but not refreshed", "here", 7, "2026-11-23T11:00:00Z", true),
            ("dead here", "here", 8, "2026-11-23T11:59:59Z", true),
            ("from the future", "there", 1, "2026-11-23T14:00:00Z", false),
        ];
        for (what, host, pid, time, stale) in cases {
            assert_eq!(
                lock(LockKind::Shared, host, pid, time).is_stale(now, &Host),
                stale,
                "{what}"
            );
        }
    }

    #[test]
    fn a_file_is_abandoned_by_both_clocks_or_not_at_all() {
        let at = |time: &str| format!("2026-11-{time}:00Z").parse().unwrap();
        for (stored, newest, now, abandoned) in [
            ("20T12:00", "21T12:00", "23T12:00", false),
            ("20T12:00", "21T12:01", "23T12:00", true),
            ("20T12:00", "23T12:00", "21T12:00", false),
            ("20T12:00", "20T12:00", "23T12:00", false),
            ("23T12:00", "21T12:00", "20T12:00", false),
        ] {
            let found = is_abandoned(at(stored), at(newest), at(now));
            assert_eq!(found, abandoned, "{stored} beside {newest} at {now}");
        }
    }

    #[test]
    fn only_shared_locks_bear_each_other() {
        use LockKind::{Exclusive, Shared};
        for (wanted, held, conflict) in [
            (Shared, Shared, false),
            (Shared, Exclusive, true),
            (Exclusive, Shared, true),
            (Exclusive, Exclusive, true),
        ] {
            let mut survey = LockSurvey::default();
            let held_lock = lock(held, "there", 1, NOW);
            let id = LockId::from_bytes([1; 32]);
            survey.add(wanted, id, Some(held_lock), NOW.parse().unwrap(), &Host);
            assert_eq!(survey.conflicts.len(), usize::from(conflict), "{wanted:?} beside {held:?}");
        }
    }

    #[test]
    fn this_process_is_alive_and_an_impossible_one_is_not() {
        let me = LockOwner::this_process();
        assert!(me.has_process(me.pid));
        assert!(me.has_process(0), "0 addresses a group and says nothing");
        // Linux' largest possible pid is 2^22.
        assert!(!me.has_process(i32::MAX));
    }
}
