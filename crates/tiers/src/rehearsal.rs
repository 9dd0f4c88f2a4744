//! A decorator for rehearsals: everything is read, and nothing is written but the locks by which readers are known.
//!
//! What else is written is taken and dropped, so that whoever rehearses goes on as in earnest and nobody finds anything of
//! it afterwards. Cold storage is asked all the same: without that nothing could be read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Timestamp};

use crate::counting::Traffic;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

/// Where the locks of a repository are.
const LOCKS: &str = "repo/locks/";

/// A tier of which a rehearsal only reads.
#[derive(Debug)]
pub struct RehearsalTier {
    inner: Arc<dyn Tier>,
}

impl RehearsalTier {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Tier>) -> Self {
        Self { inner }
    }
}

fn is_lock(path: &ObjectPath) -> bool {
    path.as_str().starts_with(LOCKS)
}

#[async_trait]
impl Tier for RehearsalTier {
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
        if is_lock(path) { self.inner.put(path, body, mode).await } else { Ok(()) }
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        self.inner.get(path, range).await
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
        self.inner.get_here(path, range, buffer)
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        if is_lock(path) { self.inner.delete(path).await } else { Ok(()) }
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.inner.protection(path).await
    }

    async fn protect(&self, _: &ObjectPath, _: Timestamp) -> Result<(), TierError> {
        Ok(())
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
    use futures::TryStreamExt as _;

    use super::*;
    use crate::MemoryTier;

    #[tokio::test]
    async fn of_a_rehearsal_only_locks_reach_a_tier() {
        let inner = Arc::new(MemoryTier::new());
        let path = |text: &str| text.parse::<ObjectPath>().unwrap();
        inner.put(&path("kept"), Bytes::from_static(b"1"), PutMode::Create).await.unwrap();
        let tier = RehearsalTier::new(inner.clone());
        for name in ["catalog/a", "repo/locks/b", "kept"] {
            tier.put(&path(name), Bytes::from_static(b"2"), PutMode::Overwrite).await.unwrap();
        }
        tier.delete(&path("kept")).await.unwrap();
        let all: Vec<_> = inner.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        let names: Vec<_> = all.iter().map(|meta| meta.path.as_str()).collect();
        assert_eq!(names, ["kept", "repo/locks/b"]);
        assert_eq!(inner.get(&path("kept"), ReadRange::Full).await.unwrap(), "1");
        tier.delete(&path("repo/locks/b")).await.unwrap();
        inner.head(&path("repo/locks/b")).await.unwrap_err();
    }
}
