//! What the outside world is to a library: handed in by the binary, never looked up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, JobId, Timestamp};
use tokio::runtime::Handle;
use uuid::{Builder, Uuid};

use crate::random;

/// The process's surroundings, as the binary found them.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The environment variables that secrets may be read from.
    pub environment: BTreeMap<String, String>,
    /// Where systemd put the unit's credentials (`$CREDENTIALS_DIRECTORY`).
    pub credentials_directory: Option<PathBuf>,
    /// Where this host keeps its state; losing it loses no data.
    pub state_directory: PathBuf,
    /// Where repositories are cached; safe to delete at any time.
    pub cache_directory: PathBuf,
    /// What this host calls itself.
    pub hostname: String,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Set when the process was asked to stop; nothing is waited for any more then.
    pub cancel: Cancel,
    /// Where I/O to tiers and databases runs; callers are never on one of its threads.
    pub runtime: Handle,
}

impl Surroundings {
    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Names a new run of a job.
    pub fn new_job(&self) -> JobId {
        JobId::from_uuid(uuid_v7(self.now()))
    }
}

/// Returns a UUIDv7 for an instant: ordered by time, unguessable otherwise.
pub(crate) fn uuid_v7(now: Timestamp) -> Uuid {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(milliseconds, &random::bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_names_sort_later() {
        let early = uuid_v7(Timestamp::from_second(1).unwrap());
        let late = uuid_v7(Timestamp::from_second(2).unwrap());
        assert!(early < late);
        assert_eq!(early.get_version_num(), 7);
    }
}
