//! A decorator that makes any tier fail as told, for tests of what must survive failures.
//!
//! It carries out [`Rule`]s and records every operation. A test of crash safety runs the work once
//! to count its writes, then again with [`Rule::kill_at_write`] for each of them, and looks at what
//! is left through the inner tier.
//!
//! # Limits
//!
//! The record of operations grows without bound: it is made for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lifeboat_model::{Capabilities, Capability, Clock, SystemClock, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::warmth::Need;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Tier, TierError, Warmth,
};

pub use crate::tier::Operation;

/// Which operations a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All.
    Any,
    /// Those that change what is stored.
    Writes,
    /// Those that do not.
    Reads,
    /// One sort.
    Only(Operation),
}

impl Target {
    const fn includes(self, operation: Operation) -> bool {
        match self {
            Self::Any => true,
            Self::Writes => operation.is_write(),
            Self::Reads => !operation.is_write(),
            Self::Only(only) => only as u8 == operation as u8,
        }
    }
}

/// When a fault strikes, seen from the operation that it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The operation is not carried out.
    Before,
    /// The operation is carried out, but its caller is told that it failed.
    After,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails as unavailable.
    Fail(Moment),
    /// The operation fails and so do all after it, as if the process or the host had died.
    Kill(Moment),
    /// Only the first bytes of a `put` are stored, under the object's name, and the tier dies. No
    /// tier that keeps its contract does this; a disk that lies about its syncs does.
    Torn {
        /// How many bytes are stored.
        kept: u64,
    },
    /// No space is left.
    Full,
    /// Permission is refused.
    Denied,
    /// A byte of the object reads wrong.
    Flip {
        /// Which byte.
        offset: u64,
    },
    /// The object reads as if it ended early.
    Truncate {
        /// How many bytes it seems to have.
        size: u64,
    },
    /// The operation waits first.
    Slow(Duration),
    /// `list` omits what was put since [`FaultTier::settle`].
    Lag,
    /// `list` omits what was put a shorter time ago.
    LagBy(Duration),
}

#[derive(Debug, Clone, Copy)]
enum Trigger {
    Always,
    Nth(u64),
    From(u64),
    Chance(f64),
}

/// A fault, and which operations it strikes.
#[derive(Debug, Clone)]
pub struct Rule {
    target: Target,
    below: ObjectPrefix,
    except: Option<ObjectPrefix>,
    trigger: Trigger,
    fault: Fault,
    seen: u64,
}

impl Rule {
    /// Returns a rule that strikes every operation of `target`.
    pub const fn new(target: Target, fault: Fault) -> Self {
        let (below, trigger) = (ObjectPrefix::ALL, Trigger::Always);
        Self { target, below, except: None, trigger, fault, seen: 0 }
    }

    /// Returns a rule that kills the tier at its `nth` write, counted from 1.
    pub const fn kill_at_write(nth: u64, moment: Moment) -> Self {
        Self::new(Target::Writes, Fault::Kill(moment)).nth(nth)
    }

    /// Restricts it to paths below `prefix`; a `list` counts if it lists exactly that prefix.
    #[must_use]
    pub fn below(mut self, prefix: ObjectPrefix) -> Self {
        self.below = prefix;
        self
    }

    /// Lets objects below `prefix` be.
    #[must_use]
    pub fn except(mut self, prefix: ObjectPrefix) -> Self {
        self.except = Some(prefix);
        self
    }

    /// Lets it strike only the `nth` operation that it looks at, counted from 1.
    #[must_use]
    pub const fn nth(mut self, nth: u64) -> Self {
        self.trigger = Trigger::Nth(nth);
        self
    }

    /// Lets it strike the `nth` operation that it looks at, counted from 1, and all after it.
    #[must_use]
    pub const fn from_nth(mut self, nth: u64) -> Self {
        self.trigger = Trigger::From(nth);
        self
    }

    /// Lets it strike with this probability, drawn from the tier's seed.
    #[must_use]
    pub const fn chance(mut self, probability: f64) -> Self {
        self.trigger = Trigger::Chance(probability);
        self
    }

    fn strikes(&mut self, operation: Operation, subject: &Subject<'_>, rng: &mut StdRng) -> bool {
        let is_below = match subject {
            Subject::Object(path) => {
                let is_excepted = self.except.as_ref().is_some_and(|except| except.contains(path));
                self.below.contains(path) && !is_excepted
            }
            Subject::Prefix(prefix) => self.below == ObjectPrefix::ALL || self.below == **prefix,
        };
        if !is_below || !self.target.includes(operation) {
            return false;
        }
        self.seen += 1;
        match self.trigger {
            Trigger::Always => true,
            Trigger::Nth(nth) => self.seen == nth,
            Trigger::From(nth) => self.seen >= nth,
            Trigger::Chance(probability) => rng.random_bool(probability),
        }
    }
}

enum Subject<'a> {
    Object(&'a ObjectPath),
    Prefix(&'a ObjectPrefix),
}

/// One operation that the tier was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its sort.
    pub operation: Operation,
    /// The object's path or the listed prefix.
    pub path: String,
    /// The fault that struck it.
    pub fault: Option<Fault>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    rng: StdRng,
    is_dead: bool,
    asked: Vec<Asked>,
    unsettled: BTreeMap<ObjectPath, Timestamp>,
}

/// A tier that fails as told.
#[derive(Debug)]
pub struct FaultTier {
    inner: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl FaultTier {
    /// Wraps `inner`; nothing fails until a rule is added.
    pub fn new(inner: Arc<dyn Tier>) -> Self {
        Self::seeded(inner, 0)
    }

    /// Wraps `inner`; rules with a chance draw from `seed`, so that a run can be repeated.
    pub fn seeded(inner: Arc<dyn Tier>, seed: u64) -> Self {
        let state = State {
            rules: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            is_dead: false,
            asked: Vec::new(),
            unsettled: BTreeMap::new(),
        };
        Self { inner, clock: Arc::new(SystemClock), state: Mutex::new(state) }
    }

    /// Takes the clock that [`Fault::Slow`] waits by, and that says how long ago something was put.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Adds a rule; of several that strike one operation the first added wins.
    #[must_use]
    pub fn with(self, rule: Rule) -> Self {
        self.add(rule);
        self
    }

    /// Adds a rule to a tier that is in use.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Removes all rules and brings a dead tier back.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.is_dead = false;
    }

    /// Lets `list` see everything that was put so far.
    pub fn settle(&self) {
        self.lock().unsettled.clear();
    }

    /// Tells whether the tier was killed.
    pub fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// Returns what was asked for so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Returns how many writes were asked for so far.
    pub fn writes(&self) -> u64 {
        self.lock().asked.iter().filter(|asked| asked.operation.is_write()).count() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> String {
        self.inner.address().to_owned()
    }

    fn unavailable(&self, operation: Operation, path: &str, word: &'static str) -> TierError {
        TierError::Unavailable {
            tier: self.address(),
            action: format!("{operation:?} {path}").to_lowercase(),
            source: io::Error::other(word),
        }
    }

    /// Returns what a listing does not tell of yet.
    fn unsettled(&self, fault: Fault) -> BTreeSet<ObjectPath> {
        let now = self.clock.now();
        let is_new = |put: Timestamp| match fault {
            Fault::LagBy(lag) => now.duration_since(put).unsigned_abs() < lag,
            _ => true,
        };
        let state = self.lock();
        let new = state.unsettled.iter().filter(|(_, put)| is_new(**put));
        new.map(|(path, _)| path.clone()).collect()
    }

    /// Records the operation and returns the fault that strikes it, unless the tier is dead.
    fn strike(
        &self,
        operation: Operation,
        subject: &Subject<'_>,
    ) -> Result<Option<Fault>, TierError> {
        let path = match subject {
            Subject::Object(path) => path.to_string(),
            Subject::Prefix(prefix) => prefix.path().map(ToString::to_string).unwrap_or_default(),
        };
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.is_dead {
            let error = self.unavailable(operation, &path, "the tier was killed");
            state.asked.push(Asked { operation, path, fault: None });
            return Err(error);
        }
        let mut struck = None;
        for rule in &mut state.rules {
            // Every rule counts every operation, also those that an earlier rule struck.
            if rule.strikes(operation, subject, &mut state.rng) {
                struck = struck.or(Some(rule.fault));
            }
        }
        state.asked.push(Asked { operation, path, fault: struck });
        state.is_dead = matches!(struck, Some(Fault::Kill(_) | Fault::Torn { .. }));
        Ok(struck)
    }

    /// Returns the error of a fault that keeps an operation from being carried out.
    fn prevents(&self, fault: Fault, operation: Operation, path: &str) -> Option<TierError> {
        let tier = self.address();
        let action = format!("{operation:?} {path}").to_lowercase();
        match fault {
            Fault::Fail(Moment::Before) => {
                Some(self.unavailable(operation, path, "it was told to fail"))
            }
            Fault::Kill(Moment::Before) => {
                Some(self.unavailable(operation, path, "the tier was killed"))
            }
            Fault::Torn { .. } if operation != Operation::Put => {
                Some(self.unavailable(operation, path, "the tier was killed"))
            }
            Fault::Full => {
                let source = io::ErrorKind::StorageFull.into();
                Some(TierError::Full { tier, action, source })
            }
            Fault::Denied => {
                let source = io::ErrorKind::PermissionDenied.into();
                Some(TierError::Denied { tier, action, source })
            }
            _ => None,
        }
    }

    /// Takes the fault that strikes an operation on an object; `Ok` carries the operation out.
    async fn before(
        &self,
        operation: Operation,
        path: &ObjectPath,
    ) -> Result<Option<Fault>, TierError> {
        let fault = self.strike(operation, &Subject::Object(path))?;
        if let Some(error) = fault.and_then(|f| self.prevents(f, operation, path.as_str())) {
            return Err(error);
        }
        if let Some(Fault::Slow(duration)) = fault {
            self.clock.sleep(duration).await;
        }
        Ok(fault)
    }

    /// Decides what a fault does after an operation was carried out.
    fn after(
        &self,
        operation: Operation,
        path: &ObjectPath,
        fault: Option<Fault>,
    ) -> Result<(), TierError> {
        match fault {
            Some(Fault::Fail(Moment::After)) => {
                Err(self.unavailable(operation, path.as_str(), "its answer was lost"))
            }
            Some(Fault::Kill(Moment::After) | Fault::Torn { .. }) => {
                Err(self.unavailable(operation, path.as_str(), "the tier was killed"))
            }
            _ => Ok(()),
        }
    }

    /// Reads an object as if it had at most `size` bytes.
    async fn get_truncated(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        size: u64,
    ) -> Result<Bytes, TierError> {
        let size = self.inner.head(path).await?.size.min(size);
        let span = range
            .within(size)
            .ok_or_else(|| TierError::out_of_range(self.inner.address(), path, range, size))?;
        let (offset, length) = (span.start, span.end - span.start);
        self.inner.get(path, ReadRange::Bounded { offset, length }).await
    }

    /// Reads an object whose byte at `offset` is wrong.
    async fn get_flipped(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        offset: u64,
    ) -> Result<Bytes, TierError> {
        let size = self.inner.head(path).await?.size;
        let mut body = self.inner.get(path, range).await?.to_vec();
        let start = range.within(size).map_or(0, |span| span.start);
        let index = offset.checked_sub(start).and_then(|index| usize::try_from(index).ok());
        if let Some(byte) = index.and_then(|index| body.get_mut(index)) {
            *byte ^= 1;
        }
        Ok(body.into())
    }
}

impl FaultTier {
    /// Stores an object as `need` has it.
    async fn put_for(
        &self,
        need: Need,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        let fault = self.before(Operation::Put, path).await?;
        let body = match fault {
            Some(Fault::Torn { kept }) => {
                body.slice(..usize::try_from(kept).unwrap_or(usize::MAX).min(body.len()))
            }
            _ => body,
        };
        need.put(self.inner.as_ref(), path, body, mode).await?;
        let now = self.clock.now();
        self.lock().unsettled.insert(path.clone(), now);
        self.after(Operation::Put, path, fault)
    }
}

#[async_trait]
impl Tier for FaultTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        // Its listings lag when that is the fault.
        self.inner.capabilities().without(Capability::PromptListing)
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
        let fault = self.before(Operation::Get, path).await?;
        let body = match fault {
            Some(Fault::Truncate { size }) => self.get_truncated(path, range, size).await?,
            Some(Fault::Flip { offset }) => self.get_flipped(path, range, offset).await?,
            _ => self.inner.get(path, range).await?,
        };
        self.after(Operation::Get, path, fault)?;
        Ok(body)
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        let fault = self.before(Operation::Head, path).await?;
        let mut meta = self.inner.head(path).await?;
        if let Some(Fault::Truncate { size }) = fault {
            meta.size = meta.size.min(size);
        }
        self.after(Operation::Head, path, fault)?;
        Ok(meta)
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let text = prefix.path().map(ToString::to_string).unwrap_or_default();
        let failed = |error| stream::once(async { Err(error) }).boxed();
        let fault = match self.strike(Operation::List, &Subject::Prefix(prefix)) {
            Ok(fault) => fault,
            Err(error) => return failed(error),
        };
        if let Some(error) = fault.and_then(|f| self.prevents(f, Operation::List, &text)) {
            return failed(error);
        }
        let listed = self.inner.list(prefix);
        match fault {
            Some(fault @ (Fault::Lag | Fault::LagBy(_))) => {
                let hidden = self.unsettled(fault);
                let is_hidden = move |found: &Result<ObjectMeta, TierError>| {
                    found.as_ref().is_ok_and(|meta| hidden.contains(&meta.path))
                };
                listed.filter(move |found| std::future::ready(!is_hidden(found))).boxed()
            }
            Some(Fault::Slow(duration)) => {
                let wait = self.clock.sleep(duration);
                let nothing = stream::once(wait).filter_map(async |()| None);
                nothing.chain(listed).boxed()
            }
            // Some of the objects come before the failure, as from a store that pages.
            Some(Fault::Fail(Moment::After) | Fault::Kill(Moment::After)) => {
                let error = self.unavailable(Operation::List, &text, "it broke off");
                listed.take(1).chain(failed(error)).boxed()
            }
            _ => listed,
        }
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let fault = self.before(Operation::Delete, path).await?;
        self.inner.delete(path).await?;
        self.after(Operation::Delete, path, fault)
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        let fault = self.before(Operation::Head, path).await?;
        let protection = self.inner.protection(path).await?;
        self.after(Operation::Head, path, fault)?;
        Ok(protection)
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        let fault = self.before(Operation::Protect, path).await?;
        self.inner.protect(path, until).await?;
        self.after(Operation::Protect, path, fault)
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        let fault = self.before(Operation::Head, path).await?;
        let warmth = self.inner.warmth(path).await?;
        self.after(Operation::Head, path, fault)?;
        Ok(warmth)
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        let fault = self.before(Operation::Thaw, path).await?;
        self.inner.thaw(path).await?;
        self.after(Operation::Thaw, path, fault)
    }

    fn thaw_within(&self) -> Option<Duration> {
        self.inner.thaw_within()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryTier;
    use futures::TryStreamExt;
    use lifeboat_model::{Classify, ErrorKind, SimClock, Timestamp};

    fn path(text: &str) -> ObjectPath {
        text.parse().unwrap()
    }

    async fn put(tier: &FaultTier, name: &str) -> Result<(), TierError> {
        tier.put(&path(name), Bytes::from_static(b"0123456789"), PutMode::Create).await
    }

    fn memory() -> (Arc<MemoryTier>, Arc<dyn Tier>) {
        let memory = Arc::new(MemoryTier::new());
        (Arc::clone(&memory), memory)
    }

    #[tokio::test]
    async fn a_kill_is_forever_and_before_or_after_its_write() {
        for (moment, stored) in [(Moment::Before, 1), (Moment::After, 2)] {
            let (memory, inner) = memory();
            let tier = FaultTier::new(inner).with(Rule::kill_at_write(2, moment));
            put(&tier, "a").await.unwrap();
            assert!(!tier.is_dead());
            assert_eq!(put(&tier, "b").await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(tier.is_dead());
            put(&tier, "c").await.unwrap_err();
            tier.get(&path("a"), ReadRange::Full).await.unwrap_err();
            assert_eq!(memory.contents().len(), stored, "{moment:?}");
            assert_eq!(tier.writes(), 3);
            tier.heal();
            put(&tier, "d").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_torn_write_leaves_a_part_under_the_name() {
        let (memory, inner) = memory();
        let rule = Rule::new(Target::Only(Operation::Put), Fault::Torn { kept: 4 });
        let tier = FaultTier::new(inner).with(rule);
        put(&tier, "a").await.unwrap_err();
        assert_eq!(memory.contents()[&path("a")], "0123");
        assert!(tier.is_dead());
    }

    #[tokio::test]
    async fn damage_is_the_same_whatever_range_is_read() {
        let (_, inner) = memory();
        let tier = FaultTier::new(inner);
        put(&tier, "a").await.unwrap();
        let part = ReadRange::Bounded { offset: 6, length: 3 };
        tier.add(Rule::new(Target::Any, Fault::Flip { offset: 7 }));
        assert_eq!(tier.get(&path("a"), ReadRange::Full).await.unwrap(), "0123456689");
        assert_eq!(tier.get(&path("a"), part).await.unwrap(), "668");
        assert_eq!(tier.get(&path("a"), ReadRange::Suffix(3)).await.unwrap(), "689");
        tier.heal();
        tier.add(Rule::new(Target::Any, Fault::Truncate { size: 8 }));
        assert_eq!(tier.get(&path("a"), ReadRange::Full).await.unwrap(), "01234567");
        assert_eq!(tier.get(&path("a"), ReadRange::Suffix(3)).await.unwrap(), "567");
        assert_eq!(tier.head(&path("a")).await.unwrap().size, 8);
        let error = tier.get(&path("a"), part).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn rules_strike_only_what_they_name() {
        let (_, inner) = memory();
        let packs: ObjectPrefix = "data".parse().unwrap();
        let tier = FaultTier::new(inner)
            .with(Rule::new(Target::Only(Operation::Put), Fault::Full).below(packs).from_nth(2))
            .with(Rule::new(Target::Only(Operation::Delete), Fault::Denied));
        put(&tier, "data/a").await.unwrap();
        put(&tier, "index/a").await.unwrap();
        assert!(matches!(put(&tier, "data/b").await, Err(TierError::Full { .. })));
        assert!(matches!(put(&tier, "data/c").await, Err(TierError::Full { .. })));
        assert!(matches!(tier.delete(&path("data/a")).await, Err(TierError::Denied { .. })));
        put(&tier, "index/b").await.unwrap();
        let struck = |asked: &Asked| asked.fault.is_some();
        assert_eq!(tier.asked().iter().filter(|asked| struck(asked)).count(), 3);
    }

    #[tokio::test]
    async fn a_lagging_list_sees_only_what_settled() {
        let (_, inner) = memory();
        let tier = FaultTier::new(inner).with(Rule::new(Target::Any, Fault::Lag));
        put(&tier, "a").await.unwrap();
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        assert_eq!(listed, []);
        tier.settle();
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
    }

    #[tokio::test]
    async fn a_list_that_lags_by_a_time_sees_what_is_older() {
        let (_, inner) = memory();
        let (clock, lag) = (Arc::new(SimClock::new(Timestamp::UNIX_EPOCH)), Duration::from_secs(9));
        let tier = FaultTier::new(inner).with_clock(Arc::<SimClock>::clone(&clock));
        tier.add(Rule::new(Target::Any, Fault::LagBy(lag)));
        for (name, seen) in [("a", 0), ("b", 0), ("c", 1)] {
            put(&tier, name).await.unwrap();
            let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
            assert_eq!(listed.len(), seen, "{name}");
            clock.advance(lag / 2 + Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn a_list_can_break_off_in_the_middle() {
        let (_, inner) = memory();
        let tier = FaultTier::new(inner);
        put(&tier, "a").await.unwrap();
        put(&tier, "b").await.unwrap();
        tier.add(Rule::new(Target::Only(Operation::List), Fault::Fail(Moment::After)));
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).collect().await;
        assert!(matches!(listed.as_slice(), [Ok(_), Err(TierError::Unavailable { .. })]));
    }

    #[tokio::test]
    async fn slowness_is_told_by_the_clock() {
        let (_, inner) = memory();
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let slow = Rule::new(Target::Any, Fault::Slow(Duration::from_secs(7)));
        let tier =
            FaultTier::new(inner).with_clock(Arc::clone(&clock) as Arc<dyn Clock>).with(slow);
        put(&tier, "a").await.unwrap();
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(clock.now().as_second(), 14);
    }

    #[tokio::test]
    async fn a_seed_repeats_its_run() {
        let outcomes = async |seed| {
            let (_, inner) = memory();
            let rule = Rule::new(Target::Writes, Fault::Fail(Moment::Before)).chance(0.5);
            let tier = FaultTier::seeded(inner, seed).with(rule);
            let mut outcomes = Vec::new();
            for number in 0..32 {
                outcomes.push(put(&tier, &format!("{number}")).await.is_ok());
            }
            outcomes
        };
        assert_eq!(outcomes(1).await, outcomes(1).await);
        assert_ne!(outcomes(1).await, outcomes(2).await);
    }
}
