//! A tier in memory: for tests, and the simplest implementation of the contract to read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lifeboat_model::{Capabilities, Capability, Clock, SystemClock, Timestamp};

use crate::placement::{LockRule, Placement};
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError,
};

const ADDRESS: &str = "memory:";

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    modified: Timestamp,
    locked_until: Option<Timestamp>,
}

impl Object {
    fn is_locked(&self, now: Timestamp) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }

    /// Locks it for longer; what is there is never shortened.
    fn lock(&mut self, until: Option<Timestamp>) {
        self.locked_until = self.locked_until.max(until);
    }
}

type Objects = BTreeMap<ObjectPath, Object>;

/// Objects in memory, gone with the process.
#[derive(Debug)]
pub struct MemoryTier {
    objects: Mutex<Objects>,
    clock: Arc<dyn Clock>,
    placement: Placement,
}

impl MemoryTier {
    /// Returns an empty tier.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns an empty tier whose objects are dated by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Mutex::default(), clock, placement: Placement::default() }
    }

    /// Returns an empty tier that locks objects by `rule`, by the time of `clock`.
    ///
    /// What is locked can be neither deleted nor replaced; storing the same bytes again is harmless.
    pub fn locking(clock: Arc<dyn Clock>, rule: LockRule) -> Self {
        let placement = Placement { lock: Some(rule), ..Placement::default() };
        Self { objects: Mutex::default(), clock, placement }
    }

    /// Returns a tier with the same objects, independent from now on.
    #[must_use]
    pub fn fork(&self) -> Self {
        let (objects, clock) = (Mutex::new(self.lock().clone()), Arc::clone(&self.clock));
        Self { objects, clock, placement: self.placement }
    }

    /// Returns a copy of everything that is stored.
    pub fn contents(&self) -> BTreeMap<ObjectPath, Bytes> {
        self.lock().iter().map(|(path, object)| (path.clone(), object.body.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if an object must not go, or be replaced, yet.
    fn refuse_locked(&self, path: &ObjectPath, object: &Object) -> Result<(), TierError> {
        if object.is_locked(self.clock.now()) {
            let (tier, path) = (ADDRESS.to_owned(), path.clone());
            return Err(TierError::Locked { tier, path, until: object.locked_until });
        }
        Ok(())
    }

    fn object(&self, path: &ObjectPath) -> Result<Object, TierError> {
        self.lock().get(path).cloned().ok_or_else(|| TierError::not_found(ADDRESS, path))
    }
}

impl Default for MemoryTier {
    fn default() -> Self {
        Self::new()
    }
}

fn meta(path: &ObjectPath, object: &Object) -> ObjectMeta {
    let size = object.body.len() as u64;
    ObjectMeta { path: path.clone(), size, modified: object.modified }
}

#[async_trait]
impl Tier for MemoryTier {
    fn address(&self) -> &str {
        ADDRESS
    }

    /// No more than the poorest store has, for which it stands in tests; and locks, if it was made so.
    fn capabilities(&self) -> Capabilities {
        let poorest = Capabilities::NONE.with(Capability::ConditionalPut);
        if self.placement.lock.is_some() { poorest.with(Capability::ObjectLock) } else { poorest }
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        let modified = self.clock.now();
        let locked_until = self.placement.locked_until(path, modified);
        let mut objects = self.lock();
        if let Some(there) = objects.get_mut(path) {
            if mode == PutMode::Create {
                return Err(TierError::already_exists(ADDRESS, path));
            }
            if there.body == body {
                there.lock(locked_until);
                return Ok(());
            }
            self.refuse_locked(path, there)?;
        }
        objects.insert(path.clone(), Object { body, modified, locked_until });
        Ok(())
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let body = self.object(path)?.body;
        let size = body.len() as u64;
        let span = range
            .within(size)
            .ok_or_else(|| TierError::out_of_range(ADDRESS, path, range, size))?;
        let index = |bytes| usize::try_from(bytes).expect("it lies within a body in memory");
        Ok(body.slice(index(span.start)..index(span.end)))
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        Ok(meta(path, &self.object(path)?))
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let objects = self.lock();
        let below = objects.iter().filter(|(path, _)| prefix.contains(path));
        let found: Vec<_> = below.map(|(path, object)| Ok(meta(path, object))).collect();
        stream::iter(found).boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let mut objects = self.lock();
        if let Some(object) = objects.get(path) {
            self.refuse_locked(path, object)?;
        }
        objects.remove(path);
        Ok(())
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        let object = self.object(path)?;
        let lock = self.placement.lock.filter(|_| object.is_locked(self.clock.now()));
        let locked = lock.zip(object.locked_until);
        Ok(locked.map_or(Protection::None, |(rule, until)| Protection::Locked {
            mode: rule.mode,
            until,
        }))
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        if self.placement.lock.is_none() {
            let capability = Capability::ObjectLock;
            return Err(TierError::Unsupported { tier: ADDRESS.to_owned(), capability });
        }
        let mut objects = self.lock();
        let object = objects.get_mut(path).ok_or_else(|| TierError::not_found(ADDRESS, path))?;
        object.lock(Some(until));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::LockMode;
    use lifeboat_model::SimClock;

    #[tokio::test]
    async fn a_fork_goes_its_own_way() {
        let tier = MemoryTier::with_clock(Arc::new(SimClock::new(Timestamp::UNIX_EPOCH)));
        let path: ObjectPath = "a/b".parse().unwrap();
        tier.put(&path, Bytes::from_static(b"1"), PutMode::Create).await.unwrap();
        assert_eq!(tier.head(&path).await.unwrap().modified, Timestamp::UNIX_EPOCH);
        let fork = tier.fork();
        tier.delete(&path).await.unwrap();
        assert!(tier.contents().is_empty());
        assert_eq!(fork.contents()[&path], "1");
    }

    #[tokio::test]
    async fn a_lock_ends_at_its_date() {
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let keep = Duration::from_hours(1);
        let rule = LockRule { mode: LockMode::Compliance, keep };
        let tier = MemoryTier::locking(Arc::<SimClock>::clone(&clock), rule);
        let path: ObjectPath = "a/b".parse().unwrap();
        tier.put(&path, Bytes::from_static(b"1"), PutMode::Create).await.unwrap();
        clock.advance(Duration::from_secs(60 * 60 - 1));
        let refused = tier.delete(&path).await.unwrap_err();
        assert!(matches!(refused, TierError::Locked { until: Some(_), .. }), "{refused}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(tier.protection(&path).await.unwrap(), Protection::None);
        tier.delete(&path).await.unwrap();
        assert!(tier.contents().is_empty());
    }
}
