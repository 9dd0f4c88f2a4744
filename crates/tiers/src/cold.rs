//! A tier with cold storage under a clock of one's own: for tests of whatever has to ask and to wait.
//!
//! What is stored by [`Tier::put_cold`] cannot be read until it was asked for and the time has passed that the
//! store takes; some days later it cannot be read any more. Everything else is the inner tier's.
//!
//! # Limits
//!
//! Which objects are cold is in memory: it holds for one `ColdTier`, not for another over the same tier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Capability, Clock, Timestamp};

use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

/// How long what was asked for can be read: as long as S3 is told to.
const READABLE: Duration = Duration::from_hours(7 * 24);

/// A tier whose packs of data lie cold.
#[derive(Debug)]
pub struct ColdTier {
    inner: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
    within: Duration,
    promised: Duration,
    state: Mutex<State>,
}

/// What lies cold, and what was asked.
#[derive(Debug, Default)]
struct State {
    /// The cold objects, each with when it was asked for last.
    cold: BTreeMap<ObjectPath, Option<Timestamp>>,
    thaws: Vec<ObjectPath>,
    refused: Vec<ObjectPath>,
}

impl ColdTier {
    /// Lets what is stored cold in `inner` be read `within` that time after it was asked for.
    pub fn new(inner: Arc<dyn Tier>, clock: Arc<dyn Clock>, within: Duration) -> Self {
        Self { inner, clock, within, promised: within, state: Mutex::default() }
    }

    /// Lets it promise another time than it takes.
    #[must_use]
    pub fn promising(mut self, promised: Duration) -> Self {
        self.promised = promised;
        self
    }

    /// Moves what is there into cold storage, as a rule of a bucket does.
    pub fn freeze(&self, path: &ObjectPath) {
        self.lock().cold.insert(path.clone(), None);
    }

    /// Returns the objects that were stored cold, however warm they are now.
    pub fn stored_cold(&self) -> BTreeSet<ObjectPath> {
        self.lock().cold.keys().cloned().collect()
    }

    /// Returns what was asked for, each time that it was.
    pub fn thaws(&self) -> Vec<ObjectPath> {
        self.lock().thaws.clone()
    }

    /// Returns what somebody wanted to read while it could not be.
    pub fn refused(&self) -> Vec<ObjectPath> {
        self.lock().refused.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warmth_now(&self, path: &ObjectPath) -> Warmth {
        let now = self.clock.now();
        let later = |asked: Timestamp, by: Duration| asked.saturating_add(by).unwrap_or(asked);
        match self.lock().cold.get(path) {
            None => Warmth::Ready,
            Some(Some(asked)) if now < later(*asked, self.within) => Warmth::Thawing,
            Some(Some(asked)) if now < later(*asked, self.within + READABLE) => Warmth::Ready,
            Some(_) => Warmth::Cold,
        }
    }
}

#[async_trait]
impl Tier for ColdTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities().with(Capability::AccessTier)
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.inner.put(path, body, mode).await?;
        self.lock().cold.remove(path);
        Ok(())
    }

    async fn put_cold(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.inner.put(path, body, mode).await?;
        self.lock().cold.insert(path.clone(), None);
        Ok(())
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        if self.warmth_now(path) != Warmth::Ready {
            self.lock().refused.push(path.clone());
            return Err(TierError::Cold { tier: self.address().to_owned(), path: path.clone() });
        }
        self.inner.get(path, range).await
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.inner.delete(path).await?;
        self.lock().cold.remove(path);
        Ok(())
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.inner.protection(path).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        self.inner.protect(path, until).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.inner.head(path).await.map(|_| self.warmth_now(path))
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.inner.head(path).await?;
        let is_cold = self.warmth_now(path) == Warmth::Cold;
        let (now, mut state) = (self.clock.now(), self.lock());
        state.thaws.push(path.clone());
        if let Some(asked) = state.cold.get_mut(path).filter(|_| is_cold) {
            *asked = Some(now);
        }
        Ok(())
    }

    fn thaw_within(&self) -> Option<Duration> {
        Some(self.promised)
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_model::{Classify as _, SimClock};

    use super::*;
    use crate::{MemoryTier, conformance};

    const WITHIN: Duration = Duration::from_hours(5);

    fn tier() -> (Arc<SimClock>, ColdTier) {
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let inner = Arc::new(MemoryTier::new());
        let tier = ColdTier::new(inner, Arc::<SimClock>::clone(&clock), WITHIN);
        (clock, tier)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_stored_cold_keeps_the_contract() {
        let (_, tier) = tier();
        conformance::all(&(Arc::new(tier) as Arc<dyn Tier>)).await;
    }

    #[tokio::test]
    async fn what_lies_cold_can_be_read_hours_after_it_was_asked_for_and_for_some_days() {
        let (clock, tier) = tier();
        let path: ObjectPath = "repo/data/aa/aa".parse().unwrap();
        tier.put_cold(&path, Bytes::from_static(b"1"), PutMode::Overwrite).await.unwrap();
        assert_eq!(tier.warmth(&path).await.unwrap(), Warmth::Cold);
        let refused = tier.get(&path, ReadRange::Full).await.unwrap_err();
        assert!(matches!(refused, TierError::Cold { .. }), "{refused}");
        assert!(refused.hint().unwrap().to_string().starts_with("lifeboat restore"));
        assert_eq!(tier.head(&path).await.unwrap().size, 1);
        tier.thaw(&path).await.unwrap();
        clock.advance(WITHIN.saturating_sub(Duration::from_secs(1)));
        assert_eq!(tier.warmth(&path).await.unwrap(), Warmth::Thawing);
        tier.thaw(&path).await.unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(tier.get(&path, ReadRange::Full).await.unwrap(), "1");
        clock.advance(READABLE);
        assert_eq!(tier.warmth(&path).await.unwrap(), Warmth::Cold);
        assert_eq!((tier.thaws().len(), tier.refused().len()), (2, 1));
        assert_eq!(tier.stored_cold(), BTreeSet::from([path.clone()]));
        tier.delete(&path).await.unwrap();
        assert!(tier.stored_cold().is_empty());
        let gone = tier.thaw(&path).await.unwrap_err();
        assert!(matches!(gone, TierError::NotFound { .. }), "{gone}");
    }
}
