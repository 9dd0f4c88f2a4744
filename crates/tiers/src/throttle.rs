//! A decorator that holds reading and writing to a number of bytes per second.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Clock, Timestamp};

use crate::{ObjectMeta, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};

/// What may pass at once after a pause: as much as in this time at the full rate.
const BURST: Duration = Duration::from_secs(1);

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
}

impl ThrottleTier {
    /// Wraps `inner`, waiting by `clock`.
    pub fn new(inner: Arc<dyn Tier>, clock: Arc<dyn Clock>, throttle: Throttle) -> Self {
        let writes = throttle.write.map(Bucket::new);
        let reads = throttle.read.map(Bucket::new);
        Self { inner, clock, writes, reads }
    }

    async fn pass(&self, bucket: Option<&Bucket>, bytes: usize) {
        if let Some(bucket) = bucket {
            let wait = bucket.reserve(bytes as u64, self.clock.now());
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
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

#[async_trait]
impl Tier for ThrottleTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.pass(self.writes.as_ref(), body.len()).await;
        self.inner.put(path, body, mode).await
    }

    /// Reads first and waits afterwards, since the size is not known before.
    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let body = self.inner.get(path, range).await?;
        self.pass(self.reads.as_ref(), body.len()).await;
        Ok(body)
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
}
