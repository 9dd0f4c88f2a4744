//! Where the time of an operation goes: seconds and bytes of each activity, over all threads.
//!
//! Whoever wants to know makes a [`Profile::measuring`], hands a clone of it to the operation and
//! asks for its [`Profile::report`] afterwards. The operation takes one [`Meter`] a thread and
//! measures with it what it does, piece by piece.
//!
//! # Invariants
//!
//! - Measured activities do not lie within each other, so their seconds add up to no more than the
//!   threads lived.
//! - A meter writes to counters that no other thread writes to; a profile that is off measures
//!   nothing and does not look at the clock.
//!
//! # Limits
//!
//! Time is the clock's, not the processor's: with more threads than processors it holds the time in
//! which a thread waited for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// What a thread spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// Listing directories and looking at what is in them.
    List,
    /// Opening files and reading their metadata.
    Inspect,
    /// Reading the content of files.
    Read,
    /// Finding where files are cut into pieces.
    Cut,
    /// Naming blobs by their hash.
    Hash,
    /// Compressing blobs, and finding out whether that pays.
    Compress,
    /// Enciphering and authenticating blobs.
    Seal,
    /// Naming packs by their hash.
    PackHash,
    /// Handing packs to the tier until it has made them durable.
    Store,
    /// Encoding directories.
    Encode,
    /// Writing index files, or loading them.
    Index,
    /// Getting packs, or parts of them, from the tier.
    Fetch,
    /// Authenticating and deciphering blobs.
    Open,
    /// Decompressing blobs.
    Decompress,
    /// Writing the content of files.
    Write,
    /// Setting the metadata of files.
    Finish,
    /// Waiting for something to do, or for room to put what was done.
    Wait,
}

impl Activity {
    /// All of them, in the order in which data passes through them.
    pub const ALL: [Self; 17] = [
        Self::List,
        Self::Inspect,
        Self::Read,
        Self::Cut,
        Self::Hash,
        Self::Compress,
        Self::Seal,
        Self::PackHash,
        Self::Store,
        Self::Encode,
        Self::Index,
        Self::Fetch,
        Self::Open,
        Self::Decompress,
        Self::Write,
        Self::Finish,
        Self::Wait,
    ];

    /// Returns what it is called in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::Read => "read",
            Self::Cut => "cut",
            Self::Hash => "hash",
            Self::Compress => "compress",
            Self::Seal => "seal",
            Self::PackHash => "pack-hash",
            Self::Store => "store",
            Self::Encode => "encode",
            Self::Index => "index",
            Self::Fetch => "fetch",
            Self::Open => "open",
            Self::Decompress => "decompress",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::Wait => "wait",
        }
    }
}

/// What was spent on one activity.
#[derive(Debug, Default)]
struct Counter {
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
    calls: AtomicU64,
}

/// The counters of one thread.
#[derive(Debug, Default)]
struct Lane([Counter; Activity::ALL.len()]);

/// Collects what the threads of one operation spend; clones collect into the same place.
#[derive(Debug, Clone, Default)]
pub struct Profile(Option<Arc<Lanes>>);

#[derive(Debug)]
struct Lanes {
    since: Instant,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

impl Profile {
    /// Returns one that measures nothing and costs nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Returns one that measures from now on.
    pub fn measuring() -> Self {
        Self(Some(Arc::new(Lanes { since: Instant::now(), lanes: Mutex::default() })))
    }

    /// Returns a meter for one more thread.
    pub fn meter(&self) -> Meter {
        let lane = self.0.as_ref().map(|profile| {
            let lane = Arc::new(Lane::default());
            let mut lanes = profile.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.push(Arc::clone(&lane));
            lane
        });
        Meter(lane)
    }

    /// Returns what was measured so far; nothing if this one is off.
    pub fn report(&self) -> Option<ProfileReport> {
        let profile = self.0.as_ref()?;
        let lanes = profile.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let activities = Activity::ALL.into_iter().map(|activity| Spent::over(&lanes, activity));
        Some(ProfileReport {
            wall: profile.since.elapsed(),
            activities: activities.filter(|spent| spent.calls > 0).collect(),
        })
    }
}

/// Measures what one thread does.
#[derive(Debug, Clone, Default)]
pub struct Meter(Option<Arc<Lane>>);

impl Meter {
    /// Returns one that measures nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Does `work` on so many bytes and takes note of how long it took.
    #[inline]
    pub fn measure<T>(&self, activity: Activity, bytes: usize, work: impl FnOnce() -> T) -> T {
        let Some(lane) = &self.0 else { return work() };
        let begin = Instant::now();
        let result = work();
        lane.add(activity, bytes, begin.elapsed());
        result
    }

    /// Does `work` and takes note of how long it took and of how many bytes it says it worked on.
    #[inline]
    pub fn measure_result<T>(
        &self,
        activity: Activity,
        bytes: impl FnOnce(&T) -> usize,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(lane) = &self.0 else { return work() };
        let begin = Instant::now();
        let result = work();
        lane.add(activity, bytes(&result), begin.elapsed());
        result
    }
}

impl Lane {
    fn add(&self, activity: Activity, bytes: usize, time: Duration) {
        let counter = &self.0[activity as usize];
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        counter.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        counter.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        counter.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileReport {
    /// How long it was measured, in seconds.
    #[serde(rename = "wall_seconds", serialize_with = "as_seconds")]
    pub wall: Duration,
    /// What was spent on each activity that there was.
    pub activities: Vec<Spent>,
}

/// What all threads spent on one activity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spent {
    /// On what.
    pub activity: Activity,
    /// How long, over all threads, in seconds.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
    /// How many bytes it was about.
    pub bytes: u64,
    /// In how many parts.
    pub calls: u64,
}

impl Spent {
    fn over(lanes: &[Arc<Lane>], activity: Activity) -> Self {
        let sum = |of: fn(&Counter) -> &AtomicU64| {
            let counters = lanes.iter().map(|lane| &lane.0[activity as usize]);
            counters.map(|counter| of(counter).load(Ordering::Relaxed)).sum()
        };
        Self {
            activity,
            time: Duration::from_nanos(sum(|counter| &counter.nanoseconds)),
            bytes: sum(|counter| &counter.bytes),
            calls: sum(|counter| &counter.calls),
        }
    }
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_add_up_and_what_did_not_happen_is_not_told() {
        let profile = Profile::measuring();
        thread::scope(|scope| {
            for bytes in [1, 20, 300] {
                let meter = profile.meter();
                scope.spawn(move || {
                    meter.measure(Activity::Hash, bytes, || ());
                    meter.measure_result(Activity::Read, |length| *length, || bytes * 1000);
                });
            }
        });
        let report = profile.report().unwrap();
        let told: Vec<_> =
            report.activities.iter().map(|s| (s.activity, s.bytes, s.calls)).collect();
        assert_eq!(told, [(Activity::Read, 321_000, 3), (Activity::Hash, 321, 3)]);
        assert!(report.activities.iter().all(|spent| spent.time <= report.wall * 3));
    }

    #[test]
    fn a_profile_that_is_off_tells_nothing() {
        let meter = Profile::off().meter();
        assert_eq!(meter.measure(Activity::Seal, 7, || "done"), "done");
        assert_eq!(Profile::default().report(), None);
    }

    #[test]
    fn every_activity_has_its_own_place_and_one_name() {
        for (place, activity) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(activity as usize, place);
            let document = serde_json::to_string(&activity).unwrap();
            assert_eq!(document, format!("\"{}\"", activity.name()));
        }
    }
}
