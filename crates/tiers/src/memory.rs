//! A tier in memory: for tests, and the simplest implementation of the contract to read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lifeboat_model::{Capabilities, Capability, Clock, SystemClock, Timestamp};

use crate::{ObjectMeta, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};

const ADDRESS: &str = "memory:";

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    modified: Timestamp,
}

type Objects = BTreeMap<ObjectPath, Object>;

/// Objects in memory, gone with the process.
#[derive(Debug)]
pub struct MemoryTier {
    objects: Mutex<Objects>,
    clock: Arc<dyn Clock>,
}

impl MemoryTier {
    /// Returns an empty tier.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns an empty tier whose objects are dated by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Mutex::default(), clock }
    }

    /// Returns a tier with the same objects, independent from now on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { objects: Mutex::new(self.lock().clone()), clock: Arc::clone(&self.clock) }
    }

    /// Returns a copy of everything that is stored.
    pub fn contents(&self) -> BTreeMap<ObjectPath, Bytes> {
        self.lock().iter().map(|(path, object)| (path.clone(), object.body.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// No more than the poorest store has, for which it stands in tests.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with(Capability::ConditionalPut)
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        let object = Object { body, modified: self.clock.now() };
        let mut objects = self.lock();
        if mode == PutMode::Create && objects.contains_key(path) {
            return Err(TierError::already_exists(ADDRESS, path));
        }
        objects.insert(path.clone(), object);
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
        self.lock().remove(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
