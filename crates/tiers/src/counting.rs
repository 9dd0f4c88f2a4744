//! A decorator that counts what passes: for reports of traffic, and for tests that bound it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Timestamp};
use serde::Serialize;

use crate::tier::Operation;
use crate::warmth::Need;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

/// How many requests were made, and the bytes of those that succeeded. Where a tier does not
/// [count its requests itself](Tier::counted), each operation is one.
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
    /// How many of them were made since an earlier one had failed, by who tries again.
    pub retries: u64,
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
            retries: self.retries + other.retries,
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
            retries: self.retries - before.retries,
            written_bytes: self.written_bytes - before.written_bytes,
            read_bytes: self.read_bytes - before.read_bytes,
        }
    }
}

/// What was counted so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
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

impl Counters {
    /// Counts a request.
    pub(crate) fn ask(&self, operation: Operation) {
        let counter = match operation {
            Operation::Put => &self.puts,
            Operation::Get => &self.gets,
            Operation::Head => &self.heads,
            Operation::List => &self.lists,
            Operation::Delete => &self.deletes,
            Operation::Protect => &self.protects,
            Operation::Thaw => &self.thaws,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the bytes of a request that succeeded: those of objects, not those of listings and of documents.
    pub(crate) fn passed(&self, operation: Operation, sent: usize, answered: usize) {
        match operation {
            Operation::Put => self.wrote(sent),
            Operation::Get => self.read(answered),
            _ => {}
        }
    }

    /// Counts the bytes of an object that was stored.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts the bytes that were read of an object.
    pub(crate) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns what was counted.
    pub(crate) fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            puts: read(&self.puts),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            protects: read(&self.protects),
            thaws: read(&self.thaws),
            retries: 0,
            written_bytes: read(&self.written_bytes),
            read_bytes: read(&self.read_bytes),
        }
    }
}

/// A tier whose traffic is counted.
#[derive(Debug)]
pub struct CountingTier {
    inner: Arc<dyn Tier>,
    counters: Counters,
    /// What the tier itself had counted before.
    before: Traffic,
}

impl CountingTier {
    /// Wraps `inner`; everything starts at zero.
    pub fn new(inner: Arc<dyn Tier>) -> Self {
        let before = inner.counted().unwrap_or_default();
        Self { inner, counters: Counters::default(), before }
    }

    /// Returns what passed so far.
    pub fn traffic(&self) -> Traffic {
        match self.inner.counted() {
            Some(traffic) => traffic.since(self.before),
            None => self.counters.traffic(),
        }
    }
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
        self.counters.ask(Operation::Put);
        let length = body.len();
        need.put(self.inner.as_ref(), path, body, mode).await?;
        self.counters.wrote(length);
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

    fn counted(&self) -> Option<Traffic> {
        Some(self.traffic())
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
        self.counters.ask(Operation::Get);
        let body = self.inner.get(path, range).await?;
        self.counters.read(body.len());
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
        self.counters.ask(Operation::Get);
        if read.is_ok() {
            self.counters.read(buffer.len());
        }
        Some(read)
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.counters.ask(Operation::Head);
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        self.counters.ask(Operation::List);
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.counters.ask(Operation::Delete);
        self.inner.delete(path).await
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.counters.ask(Operation::Head);
        self.inner.protection(path).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        self.counters.ask(Operation::Protect);
        self.inner.protect(path, until).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.counters.ask(Operation::Head);
        self.inner.warmth(path).await
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.counters.ask(Operation::Thaw);
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
            retries: 0,
            written_bytes: 4,
            read_bytes: 3,
        };
        assert_eq!(tier.traffic(), expected);
    }
}
