//! Which backup may say what a page was: what has to hold before a page's position in the log is
//! taken for proof that the page did not change. ADR 0022 has the reasons.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lifeboat_model::Lsn;

use super::inventory::FileIdentity;
use super::manifest::{HintBits, Manifest};
use crate::timeline::TimelineHistory;

/// What is known of the server now.
#[derive(Debug, Clone)]
pub struct Present<'a> {
    /// Which cluster.
    pub system_id: u64,
    /// Its major version.
    pub major: u32,
    /// Where the new backup starts.
    pub start: Lsn,
    /// Where the cluster comes from.
    pub history: &'a TimelineHistory,
    /// Whether the log tells of all changes.
    pub hint_bits: HintBits,
}

/// Why a former backup says nothing of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is of another cluster.
    #[error("it is of another cluster")]
    AnotherCluster,
    /// It is of another major version.
    #[error("it is of another major version")]
    AnotherVersion,
    /// It holds what the cluster left when it went on on another timeline.
    #[error("it is not on the way that the cluster took")]
    AnotherTimeline,
    /// It ends after the new one starts: somebody set the log back.
    #[error("it ends after this one starts")]
    Later,
    /// Bits change that the log does not tell of.
    #[error(
        "pages have no checksums and `wal_log_hints` is off, so the log does not tell of every change"
    )]
    HintBits,
}

/// What a former backup says of files.
#[derive(Debug, Clone)]
pub struct Parent {
    start: Lsn,
    files: HashMap<PathBuf, FileIdentity>,
}

impl Parent {
    /// Trusts a former backup, or says why not.
    pub fn trust(manifest: &Manifest, now: &Present<'_>) -> Result<Self, Distrust> {
        if manifest.system_id != now.system_id {
            return Err(Distrust::AnotherCluster);
        }
        if manifest.major() != now.major {
            return Err(Distrust::AnotherVersion);
        }
        if !manifest.leads_to(now.history) {
            return Err(Distrust::AnotherTimeline);
        }
        if manifest.stop_lsn > now.start {
            return Err(Distrust::Later);
        }
        if [manifest.hint_bits, now.hint_bits].contains(&HintBits::Silent) {
            return Err(Distrust::HintBits);
        }
        // A page that was damaged then may be whole now, and a piece of it is not what it says.
        let whole = manifest.files.iter().filter(|file| file.damaged_count() == 0);
        let files = whole.filter_map(|file| Some((file.path.0.clone(), file.identity?)));
        Ok(Self { start: manifest.start_lsn, files: files.collect() })
    }

    /// Returns the position before which a record must have changed a page last, so that the page is as
    /// the former backup has it; none if the file is another one.
    pub fn unchanged_before(&self, path: &Path, identity: FileIdentity) -> Option<Lsn> {
        (self.files.get(path) == Some(&identity)).then_some(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::sample;
    use super::*;
    use crate::wal::TimelineId;

    fn trust(manifest: &Manifest, timeline: u32, history: &str) -> Result<Parent, Distrust> {
        let history = TimelineHistory::parse(TimelineId(timeline), history.as_bytes()).unwrap();
        let now = Present {
            system_id: u64::MAX,
            major: 15,
            start: Lsn(0x500_0028),
            history: &history,
            hint_bits: HintBits::Logged,
        };
        Parent::trust(manifest, &now)
    }

    #[test]
    fn only_the_same_file_of_a_whole_backup_counts() {
        let mut manifest = sample();
        let parent = trust(&manifest, 2, "").unwrap();
        let (path, identity) =
            (Path::new("pgdata/base/5/1259"), FileIdentity { device: 7, inode: 1 });
        assert_eq!(parent.unchanged_before(path, identity), Some(Lsn(0x300_0028)));
        for other in [FileIdentity { device: 8, inode: 1 }, FileIdentity { device: 7, inode: 2 }] {
            assert_eq!(parent.unchanged_before(path, other), None);
        }
        assert_eq!(parent.unchanged_before(Path::new("pgdata/base/5/1260"), identity), None);
        manifest.files[0].damaged = vec![0];
        manifest.files[1].identity = None;
        let parent = trust(&manifest, 2, "").unwrap();
        assert_eq!(parent.unchanged_before(path, identity), None);
        assert!(parent.files.is_empty());
    }

    #[test]
    fn a_backup_is_distrusted_for_a_reason() {
        let changed = |change: fn(&mut Manifest)| {
            let mut manifest = sample();
            change(&mut manifest);
            trust(&manifest, 2, "").err()
        };
        assert_eq!(changed(|m| m.system_id = 1), Some(Distrust::AnotherCluster));
        assert_eq!(changed(|m| m.server_version = 140_000), Some(Distrust::AnotherVersion));
        assert_eq!(changed(|m| m.stop_lsn = Lsn(0x500_0029)), Some(Distrust::Later));
        assert_eq!(changed(|m| m.hint_bits = HintBits::Silent), Some(Distrust::HintBits));
        assert_eq!(changed(|m| m.timeline = TimelineId(1)), Some(Distrust::AnotherTimeline));
    }

    #[test]
    fn what_was_copied_after_a_timeline_was_left_does_not_count() {
        // It stops at 0/3000100: all that it can hold was written before the timeline was left, or not.
        assert!(trust(&sample(), 3, "2\t0/3000100\tpromoted\n").is_ok());
        let left = trust(&sample(), 3, "2\t0/30000FF\tpromoted\n").err();
        assert_eq!(left, Some(Distrust::AnotherTimeline));
    }
}
