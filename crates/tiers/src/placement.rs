//! How a vendor's tier stores what it is given: locked until when, and in which class.

use std::time::Duration;

use lifeboat_model::Timestamp;

use crate::ObjectPath;
use crate::protection::LockMode;

/// How cheap, and how slow, a store keeps an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessClass {
    /// At once, at the highest price.
    Hot,
    /// At once, cheaper to keep and dearer to read.
    Cool,
    /// At once, cheaper still.
    Cold,
    /// After hours of waiting.
    Archive,
}

/// How long every object is locked that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRule {
    /// Who may lift it.
    pub mode: LockMode,
    /// How long, from when it is stored.
    pub keep: Duration,
}

/// How soon what was asked for can be read; who wants it sooner pays more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThawSpeed {
    /// The cheapest: for S3 up to half a day.
    Bulk,
    /// As the vendor has it.
    #[default]
    Standard,
    /// The dearest: minutes, or an hour.
    Fast,
}

/// How objects are stored; by default as the store does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// How long they are locked.
    pub lock: Option<LockRule>,
    /// Where those go that only a recovery reads.
    pub access: Option<AccessClass>,
    /// How soon they are to come back from where nothing can be read at once.
    pub thaw: ThawSpeed,
}

impl Placement {
    /// Returns until when an object that is stored now is to be locked.
    pub fn locked_until(&self, path: &ObjectPath, now: Timestamp) -> Option<Timestamp> {
        let rule = self.lock.filter(|_| !is_short_lived(path))?;
        Some(now.saturating_add(rule.keep).unwrap_or(Timestamp::MAX))
    }
}

/// The folder of the objects by which it is found out whether a tier lets something be deleted.
pub const PROBES: &str = "probe";

/// How the name of an object begins by which it is found out whether a folder takes something.
pub const PROBE: &str = "probe-";

/// Tells whether an object is there by a trial alone: it holds nothing, and is left only where nothing can be deleted.
pub fn is_probe(path: &ObjectPath) -> bool {
    path.as_str().split('/').next() == Some(PROBES)
        || path.as_str().rsplit('/').next().is_some_and(|name| name.starts_with(PROBE))
}

/// Tells whether an object is there to be deleted soon: a lock of the repository, which its holder
/// takes away, the streamed tail of a segment, which goes when the segment has come, or a probe.
fn is_short_lived(path: &ObjectPath) -> bool {
    let mut parts = path.as_str().split('/');
    match parts.next() {
        _ if is_probe(path) => true,
        Some("repo") => parts.next() == Some("locks"),
        Some("wal") => parts.any(|part| part.strip_suffix(".tail").is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_go_soon_stays_unlocked() {
        let lock = LockRule { mode: LockMode::Compliance, keep: Duration::from_hours(24) };
        let placement = Placement { lock: Some(lock), ..Placement::default() };
        let until =
            |path: &str| placement.locked_until(&path.parse().unwrap(), Timestamp::UNIX_EPOCH);
        let tomorrow = Some(Timestamp::from_second(24 * 3600).unwrap());
        for path in [
            "repo/config",
            "repo/data/ab/abcd",
            "repo/keys/locks",
            "wal/7/1/000000010000000000000001-0.zst.age",
            "catalog/w/1.age",
            "plan/1.age",
        ] {
            assert_eq!(until(path), tomorrow, "{path}");
        }
        for path in [
            "repo/locks/abcd",
            "probe/w",
            "probe-01",
            "wal/probe-01",
            "wal/7/1/000000010000000000000001.tail/0-1.zst.age",
        ] {
            assert_eq!(until(path), None, "{path}");
        }
        assert_eq!(
            Placement::default()
                .locked_until(&"repo/config".parse().unwrap(), Timestamp::UNIX_EPOCH),
            None
        );
    }
}
