//! The contract between lifeboat and a place where copies live.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::{Capabilities, Capability, Timestamp};

use crate::counting::Traffic;
use crate::{ObjectPath, ObjectPrefix, Protection, TierError, Warmth};

/// What `put` does with an object that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Replaces it; readers see the old or the new bytes, never a mixture.
    Overwrite,
    /// Fails with [`TierError::AlreadyExists`] and leaves it as it is.
    Create,
}

/// How an object is created only where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Creation {
    /// The store decides, so that of two that try one succeeds.
    #[default]
    Conditional,
    /// It is looked first, for stores that do not know conditions; two that try at once may both
    /// succeed, and the tier does not say that it can do better.
    LookFirst,
}

/// How soon a listing shows what was stored and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listings {
    /// As is known of the store: at once where its vendor says so, else late.
    #[default]
    AsKnown,
    /// At once: whoever runs the store promises it.
    Prompt,
    /// Late, whatever its vendor says: something in between may remember old answers.
    Late,
}

impl Listings {
    /// Tells whether a store of which this is known lists at once.
    pub(crate) const fn are_prompt(self, is_known: bool) -> bool {
        match self {
            Self::AsKnown => is_known,
            Self::Prompt => true,
            Self::Late => false,
        }
    }
}

/// Which bytes of an object are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRange {
    /// All of them.
    Full,
    /// `length` bytes from `offset`; an object that ends earlier is an error.
    Bounded {
        /// Where to start, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// The last bytes, at most this many.
    Suffix(u64),
}

impl ReadRange {
    /// Returns which bytes of an object of `size` bytes are meant; none if it ends too early.
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Full => Some(0..size),
            Self::Bounded { offset, length } => {
                offset.checked_add(length).filter(|end| *end <= size).map(|end| offset..end)
            }
            Self::Suffix(length) => Some(size.saturating_sub(length)..size),
        }
    }
}

/// The sorts of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Tier::put`].
    Put,
    /// [`Tier::get`].
    Get,
    /// [`Tier::head`], [`Tier::protection`] and [`Tier::warmth`].
    Head,
    /// [`Tier::list`].
    List,
    /// [`Tier::delete`].
    Delete,
    /// [`Tier::protect`].
    Protect,
    /// [`Tier::thaw`].
    Thaw,
}

impl Operation {
    /// Tells whether it changes what is stored.
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Protect | Self::Thaw)
    }
}

/// What a tier knows of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's path.
    pub path: ObjectPath,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, by the tier's clock.
    pub modified: Timestamp,
}

/// A flat store of immutable objects under slash-separated paths.
///
/// No object's path is the prefix of another's: a directory cannot be a file as well.
///
/// # Contract
///
/// - **Durability**: when `put` returns `Ok`, the object survives a crash of host and process.
/// - **Atomicity**: an object is seen whole or not at all, also after a crash in the middle.
/// - **Order**: an object that was put is found by a `get` that starts later. `list` may lag behind
///   on stores that say so; local disk and memory do not.
/// - **Idempotence**: repeating a `put` of the same bytes or a `delete` is harmless; deleting what
///   is not there is `Ok`.
/// - **Cancellation**: dropping a future leaves the object absent, whole, or as it was.
#[async_trait]
pub trait Tier: Debug + Send + Sync + 'static {
    /// Returns how people call this place: its URL without secrets.
    fn address(&self) -> &str;

    /// Returns what this place can do beyond the contract.
    fn capabilities(&self) -> Capabilities;

    /// Returns how long nothing was heard of it, where somebody takes note of that.
    fn silent_for(&self) -> Option<Duration> {
        None
    }

    /// Returns what passed between this tier and its store so far, if the tier counts that itself because one
    /// operation may take several requests; else each is one.
    fn counted(&self) -> Option<Traffic> {
        None
    }

    /// Stores `body` under `path`.
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError>;

    /// Stores like [`Tier::put`] what only a recovery reads: where the tier has a colder class for
    /// such objects, it goes there.
    async fn put_cold(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.put(path, body, mode).await
    }

    /// Reads an object or a part of it.
    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError>;

    /// Tells whether reads end on the thread that asks, without waiting for a network: asking for
    /// little at a time then costs nothing.
    fn reads_here(&self) -> bool {
        false
    }

    /// Reads like [`Tier::get`], on the calling thread and into the caller's buffer, which then holds
    /// these bytes and nothing else; `None` if `get` is to be asked instead, as always unless the tier
    /// [reads here](Tier::reads_here).
    ///
    /// A disk answers faster than a task is handed from thread to thread, and whoever reads pack
    /// after pack needs no new memory for each.
    fn get_here(
        &self,
        _path: &ObjectPath,
        _range: ReadRange,
        _buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        None
    }

    /// Reads an object's size and time.
    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError>;

    /// Lists all objects below `prefix`, at any depth, in no particular order.
    ///
    /// A prefix below which nothing was ever stored is empty, not an error.
    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>>;

    /// Removes an object, for good: no older version of it can be read afterwards. One that is locked
    /// stays, and that is [`TierError::Locked`].
    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError>;

    /// Reads back from the store how an object is kept from being deleted.
    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.head(path).await.map(|_| Protection::None)
    }

    /// Keeps an object from being deleted until then; what keeps it longer already stays.
    async fn protect(&self, _path: &ObjectPath, _until: Timestamp) -> Result<(), TierError> {
        Err(TierError::unsupported(self.address(), Capability::ObjectLock))
    }

    /// Tells whether an object can be read at once.
    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.head(path).await.map(|_| Warmth::Ready)
    }

    /// Asks the store to make a cold object readable, and does not wait for it; harmless where it is
    /// or was asked for already.
    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.head(path).await.map(drop)
    }

    /// Returns how long it takes at most until a cold object that was asked for can be read, as the vendor
    /// says of the class that this tier stores in; `None` where nothing is ever cold.
    fn thaw_within(&self) -> Option<Duration> {
        None
    }
}

/// Delegates to a shared tier, so that decorators can wrap what others hold too.
#[async_trait]
impl<T: Tier + ?Sized> Tier for Arc<T> {
    fn address(&self) -> &str {
        (**self).address()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn silent_for(&self) -> Option<Duration> {
        (**self).silent_for()
    }

    fn counted(&self) -> Option<Traffic> {
        (**self).counted()
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        (**self).put(path, body, mode).await
    }

    async fn put_cold(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        (**self).put_cold(path, body, mode).await
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        (**self).get(path, range).await
    }

    fn reads_here(&self) -> bool {
        (**self).reads_here()
    }

    fn get_here(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        (**self).get_here(path, range, buffer)
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        (**self).head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        (**self).list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        (**self).delete(path).await
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        (**self).protection(path).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        (**self).protect(path, until).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        (**self).warmth(path).await
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        (**self).thaw(path).await
    }

    fn thaw_within(&self) -> Option<Duration> {
        (**self).thaw_within()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_a_store_knows_better_than_its_vendor_how_soon_it_lists() {
        assert!(Listings::AsKnown.are_prompt(true) && !Listings::AsKnown.are_prompt(false));
        assert!(Listings::Prompt.are_prompt(false));
        assert!(!Listings::Late.are_prompt(true));
    }
}
