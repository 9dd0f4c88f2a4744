//! A decorator that holds reading and writing to a number of bytes per second.
//!
//! Whoever moves much waits for it slice by slice, so that whoever moves little at the same time, like
//! a lock that has to be refreshed, waits for a slice of each of the others and not for their packs.
//!
//! # Limits
//!
//! The rate holds on average over the time that an object takes: it is waited for first, and then put
//! at once. Once the work was asked to stop nothing waits any more: what was under way, and what is noted
//! down of it, passes as fast as it can.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Cancel, Capabilities, Clock, Timestamp};

use crate::counting::Traffic;
use crate::warmth::Need;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

/// What may pass at once after a pause: as much as in this time at the full rate.
const BURST: Duration = Duration::from_secs(1);

/// How much of the rate is waited for at a time: so little that a lock is refreshed in time beside
/// dozens of packs.
const SLICES_PER_SECOND: u64 = 4;

/// The smallest slice, in bytes: below it there would be more waiting than moving.
const SLICE_MIN: u64 = 4 << 10;

/// How many bytes per second may pass; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Bytes per second that are written.
    pub write: Option<NonZeroU64>,
    /// Bytes per second that are read.
    pub read: Option<NonZeroU64>,
}

/// A tier whose bytes pass no faster than told, over all operations together.
#[derive(Debug)]
pub struct ThrottleTier {
    inner: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
    writes: Option<Bucket>,
    reads: Option<Bucket>,
    cancel: Cancel,
}

impl ThrottleTier {
    /// Wraps `inner`, waiting by `clock`.
    pub fn new(inner: Arc<dyn Tier>, clock: Arc<dyn Clock>, throttle: Throttle) -> Self {
        let writes = throttle.write.map(Bucket::new);
        let reads = throttle.read.map(Bucket::new);
        Self { inner, clock, writes, reads, cancel: Cancel::new() }
    }

    /// Waits only until this flag is set.
    #[must_use]
    pub fn until(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    async fn pass(&self, bucket: Option<&Bucket>, bytes: usize) {
        let Some(bucket) = bucket else { return };
        let mut left = bytes as u64;
        while left > 0 {
            let slice = left.min(bucket.slice());
            let wait = bucket.reserve(slice, self.clock.now());
            let waited = self.cancel.cut_short(async {
                if !wait.is_zero() {
                    self.clock.sleep(wait).await;
                }
            });
            if waited.await.is_err() {
                return;
            }
            left -= slice;
        }
    }
}

/// A token bucket, kept as the time until which its rate is spoken for.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: NonZeroU64,
    reserved: Mutex<Reserved>,
}

#[derive(Debug, Clone, Copy)]
struct Reserved {
    until: Timestamp,
    seen: Timestamp,
}

impl Bucket {
    const fn new(bytes_per_second: NonZeroU64) -> Self {
        let reserved = Reserved { until: Timestamp::MIN, seen: Timestamp::MIN };
        Self { bytes_per_second, reserved: Mutex::new(reserved) }
    }

    /// Returns how many bytes are waited for at a time at most.
    fn slice(&self) -> u64 {
        (self.bytes_per_second.get() / SLICES_PER_SECOND).max(SLICE_MIN)
    }

    /// Takes the time that `bytes` need and returns how long to wait for it to be one's own.
    fn reserve(&self, bytes: u64, now: Timestamp) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let needed = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if now < reserved.seen {
            // The machine's clock was set back: what was spoken for has passed long since.
            reserved.until = Timestamp::MIN;
        }
        let earliest = now.saturating_sub(BURST).unwrap_or(Timestamp::MIN);
        let start = reserved.until.max(earliest);
        reserved.until = start.saturating_add(needed).unwrap_or(Timestamp::MAX);
        reserved.seen = now;
        Duration::try_from(reserved.until.duration_since(now)).unwrap_or(Duration::ZERO)
    }
}

impl ThrottleTier {
    /// Stores an object as `need` has it.
    async fn put_for(
        &self,
        need: Need,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.pass(self.writes.as_ref(), body.len()).await;
        need.put(self.inner.as_ref(), path, body, mode).await
    }
}

#[async_trait]
impl Tier for ThrottleTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn counted(&self) -> Option<Traffic> {
        self.inner.counted()
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.put_for(Need::Soon, path, body, mode).await
    }

    async fn put_cold(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.put_for(Need::InRecovery, path, body, mode).await
    }

    /// Reads first and waits afterwards, since the size is not known before.
    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let body = self.inner.get(path, range).await?;
        self.pass(self.reads.as_ref(), body.len()).await;
        Ok(body)
    }

    fn reads_here(&self) -> bool {
        self.reads.is_none() && self.inner.reads_here()
    }

    fn get_here(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        if self.reads.is_some() { None } else { self.inner.get_here(path, range, buffer) }
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.inner.delete(path).await
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.inner.protection(path).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        self.inner.protect(path, until).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.inner.warmth(path).await
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.inner.thaw(path).await
    }

    fn thaw_within(&self) -> Option<Duration> {
        self.inner.thaw_within()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryTier;
    use lifeboat_model::SimClock;

    fn bucket(bytes_per_second: u64) -> Bucket {
        Bucket::new(NonZeroU64::new(bytes_per_second).unwrap())
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_pause_earns_one_second_and_no_more() {
        let bucket = bucket(100);
        assert_eq!(bucket.reserve(100, second(1000)), Duration::ZERO);
        assert_eq!(bucket.reserve(100, second(1000)), Duration::from_secs(1));
        assert_eq!(bucket.reserve(50, second(1001)), Duration::from_millis(500));
        assert_eq!(bucket.reserve(200, second(5000)), Duration::from_secs(1));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_everything() {
        let bucket = bucket(100);
        bucket.reserve(200, second(10_000));
        assert_eq!(bucket.reserve(200, second(100)), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn reading_and_writing_keep_their_rates() {
        let clock = Arc::new(SimClock::new(second(0)));
        let throttle = Throttle { write: NonZeroU64::new(10), read: NonZeroU64::new(20) };
        let tier = ThrottleTier::new(
            Arc::new(MemoryTier::new()),
            Arc::clone(&clock) as Arc<dyn Clock>,
            throttle,
        );
        let path: ObjectPath = "a".parse().unwrap();
        for _ in 0..5 {
            let body = Bytes::from_static(b"ten bytes.");
            tier.put(&path, body, PutMode::Overwrite).await.unwrap();
        }
        assert_eq!(clock.now(), second(4));
        for _ in 0..6 {
            tier.get(&path, ReadRange::Full).await.unwrap();
        }
        assert_eq!(clock.now(), second(6));
    }

    /// A clock whose sleepers take turns: time moves on to the one who wakes first.
    #[derive(Debug)]
    struct Turns(Mutex<Timestamp>);

    impl Clock for Turns {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, duration: Duration) -> lifeboat_model::clock::Sleep<'_> {
            let until = self.now() + duration;
            let mut waited = false;
            Box::pin(std::future::poll_fn(move |context| {
                // Whoever was asked before sleeps shorter, as all of them share one bucket.
                if waited {
                    let mut now = self.0.lock().unwrap();
                    *now = (*now).max(until);
                    return std::task::Poll::Ready(());
                }
                waited = true;
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }))
        }
    }

    #[tokio::test]
    async fn a_lock_does_not_wait_behind_a_pack() {
        let clock = Arc::new(Turns(Mutex::new(second(1000))));
        let throttle = Throttle { write: NonZeroU64::new(10 << 10), read: None };
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let tier = ThrottleTier::new(Arc::new(MemoryTier::new()), shared, throttle);
        let put = async |name: &str, length: usize| {
            let path: ObjectPath = name.parse().unwrap();
            tier.put(&path, Bytes::from(vec![0; length]), PutMode::Create).await.unwrap();
            clock.now().duration_since(second(1000)).as_secs()
        };
        let pack = 16 << 20;
        let (one, other, lock) = tokio::join!(put("a", pack), put("b", pack), put("c", 200));
        assert!(lock <= 2, "{lock}");
        assert!((1636..=3277).contains(&one) && (3275..=3277).contains(&other), "{one} {other}");
    }
}
