//! A decorator that counts what passes: for reports of traffic, and for tests that bound it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Timestamp};
use serde::Serialize;

use crate::warmth::Need;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

/// How many operations were asked for, and the bytes of those that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// Calls of [`Tier::put`].
    pub puts: u64,
    /// Calls of [`Tier::get`].
    pub gets: u64,
    /// Calls of [`Tier::head`], and of [`Tier::protection`] and [`Tier::warmth`], which ask as little.
    pub heads: u64,
    /// Calls of [`Tier::list`].
    pub lists: u64,
    /// Calls of [`Tier::delete`].
    pub deletes: u64,
    /// Calls of [`Tier::protect`].
    pub protects: u64,
    /// Calls of [`Tier::thaw`].
    pub thaws: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
}

impl Traffic {
    /// Returns what passed in both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            puts: self.puts + other.puts,
            gets: self.gets + other.gets,
            heads: self.heads + other.heads,
            lists: self.lists + other.lists,
            deletes: self.deletes + other.deletes,
            protects: self.protects + other.protects,
            thaws: self.thaws + other.thaws,
            written_bytes: self.written_bytes + other.written_bytes,
            read_bytes: self.read_bytes + other.read_bytes,
        }
    }

    /// Returns what passed since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            puts: self.puts - before.puts,
            gets: self.gets - before.gets,
            heads: self.heads - before.heads,
            lists: self.lists - before.lists,
            deletes: self.deletes - before.deletes,
            protects: self.protects - before.protects,
            thaws: self.thaws - before.thaws,
            written_bytes: self.written_bytes - before.written_bytes,
            read_bytes: self.read_bytes - before.read_bytes,
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    protects: AtomicU64,
    thaws: AtomicU64,
    written_bytes: AtomicU64,
    read_bytes: AtomicU64,
}

/// A tier whose traffic is counted.
#[derive(Debug)]
pub struct CountingTier {
    inner: Arc<dyn Tier>,
    counters: Counters,
}

impl CountingTier {
    /// Wraps `inner`; everything starts at zero.
    pub fn new(inner: Arc<dyn Tier>) -> Self {
        Self { inner, counters: Counters::default() }
    }

    /// Returns what passed so far.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            puts: read(&self.counters.puts),
            gets: read(&self.counters.gets),
            heads: read(&self.counters.heads),
            lists: read(&self.counters.lists),
            deletes: read(&self.counters.deletes),
            protects: read(&self.counters.protects),
            thaws: read(&self.counters.thaws),
            written_bytes: read(&self.counters.written_bytes),
            read_bytes: read(&self.counters.read_bytes),
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl CountingTier {
    /// Stores an object as `need` has it.
    async fn put_for(
        &self,
        need: Need,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        add(&self.counters.puts, 1);
        let length = body.len() as u64;
        need.put(self.inner.as_ref(), path, body, mode).await?;
        add(&self.counters.written_bytes, length);
        Ok(())
    }
}

#[async_trait]
impl Tier for CountingTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
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

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        add(&self.counters.gets, 1);
        let body = self.inner.get(path, range).await?;
        add(&self.counters.read_bytes, body.len() as u64);
        Ok(body)
    }

    fn reads_here(&self) -> bool {
        self.inner.reads_here()
    }

    fn get_here(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        let read = self.inner.get_here(path, range, buffer)?;
        add(&self.counters.gets, 1);
        if read.is_ok() {
            add(&self.counters.read_bytes, buffer.len() as u64);
        }
        Some(read)
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        add(&self.counters.heads, 1);
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        add(&self.counters.lists, 1);
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        add(&self.counters.deletes, 1);
        self.inner.delete(path).await
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        add(&self.counters.heads, 1);
        self.inner.protection(path).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        add(&self.counters.protects, 1);
        self.inner.protect(path, until).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        add(&self.counters.heads, 1);
        self.inner.warmth(path).await
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        add(&self.counters.thaws, 1);
        self.inner.thaw(path).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryTier;

    #[tokio::test]
    async fn calls_count_always_and_bytes_when_they_passed() {
        let tier = CountingTier::new(Arc::new(MemoryTier::new()));
        let path: ObjectPath = "a".parse().unwrap();
        tier.put(&path, Bytes::from_static(b"1234"), PutMode::Create).await.unwrap();
        tier.put(&path, Bytes::from_static(b"1234"), PutMode::Create).await.unwrap_err();
        tier.get(&path, ReadRange::Suffix(3)).await.unwrap();
        tier.head(&path).await.unwrap();
        drop(tier.list(&ObjectPrefix::ALL));
        tier.protect(&path, Timestamp::MAX).await.unwrap_err();
        assert_eq!(tier.protection(&path).await.unwrap(), Protection::None);
        assert_eq!(tier.warmth(&path).await.unwrap(), Warmth::Ready);
        tier.thaw(&path).await.unwrap();
        tier.delete(&path).await.unwrap();
        let expected = Traffic {
            puts: 2,
            gets: 1,
            heads: 3,
            lists: 1,
            deletes: 1,
            protects: 1,
            thaws: 1,
            written_bytes: 4,
            read_bytes: 3,
        };
        assert_eq!(tier.traffic(), expected);
    }
}
