//! A decorator that tries again what may pass: only errors of the kind `Unavailable`. Who is asked to stop
//! waits no longer.
//!
//! It belongs around a throttle, not inside of one, so that what is sent again counts again.
//!
//! # A tier that does not answer
//!
//! Data is waited for long, since lines are slow and stores stumble. A tier that never answered is not: its first answer is
//! waited for as long as [`FirstAnswer`] says. One that answered and was then given up is asked for a sign of life before
//! anything else, once, so that what hangs costs one long wait and not one for each object. What one knows of that, all
//! know who share the [`Answering`].
//!
//! # Limits
//!
//! A `list` is held in memory until it is complete, since one that broke off in the middle cannot
//! go on; a million objects are some two hundred megabytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use lifeboat_model::{Cancel, Capabilities, Classify, Clock, Timestamp};
use tokio::time::Instant;

use crate::answering::{Answering, State};
use crate::counting::Traffic;
use crate::warmth::Need;
use crate::{
    ObjectMeta, ObjectPath, ObjectPrefix, Protection, PutMode, ReadRange, Throttle, ThrottleTier,
    Tier, TierError, Warmth,
};

/// How long a tier is waited for that has not answered anything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstAnswer {
    /// How long one attempt may take, and a sign of life of a tier that was given up.
    pub attempt_max: Duration,
    /// After how long it is not tried again.
    pub tries_max: Duration,
}

impl FirstAnswer {
    /// A quarter of a minute, twice: long enough for a login, a program that prints credentials and a disk that spins up;
    /// short enough to hear of it while one still looks.
    pub const USUAL: Self =
        Self { attempt_max: Duration::from_secs(15), tries_max: Duration::from_secs(30) };
}

/// How often and how patiently an operation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often it is tried, the first time included.
    pub attempts_max: u32,
    /// The longest wait before the second attempt; each later one may be twice the one before.
    pub first_wait: Duration,
    /// What no wait exceeds by more than a quarter.
    pub wait_max: Duration,
    /// How long the first answer is waited for.
    pub first_answer: FirstAnswer,
}

impl RetryPolicy {
    /// Returns the bounds of the wait after the failed attempt of this number, counted from 1.
    /// A store that asks for rest gets it, as far as no wait gets too long.
    fn wait_bounds(&self, attempt: u32, rest: Duration) -> (Duration, Duration) {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let longest = self.first_wait.saturating_mul(doubled).min(self.wait_max);
        let rest = rest.min(self.wait_max);
        ((longest / 2).max(rest), longest.max(rest + rest / 4))
    }
}

impl RetryPolicy {
    /// Three attempts over at most three tenths of a second, for a tier that is a directory of this
    /// machine: a file system of the network that stumbles is waited for, and a bad disk, of which
    /// read after read fails, is reported soon. A full one is not waited for at all.
    pub const NEAR: Self = Self {
        attempts_max: 3,
        first_wait: Duration::from_millis(100),
        wait_max: Duration::from_millis(200),
        first_answer: FirstAnswer::USUAL,
    };

    /// Returns the policy that fits a tier.
    pub fn of(tier: &dyn Tier) -> Self {
        if tier.reads_here() { Self::NEAR } else { Self::default() }
    }
}

impl Default for RetryPolicy {
    /// Six attempts over at most about fifteen seconds: a service that restarts is waited for, one
    /// that is down is reported while the operator still looks.
    fn default() -> Self {
        Self {
            attempts_max: 6,
            first_wait: Duration::from_millis(500),
            wait_max: Duration::from_secs(30),
            first_answer: FirstAnswer::USUAL,
        }
    }
}

/// Wraps a tier as commands use it: what may pass is tried again, and no more passes a second than
/// `throttle` says. Once `cancel` is set, nothing is waited for any more.
pub fn steady(
    tier: Arc<dyn Tier>,
    clock: &Arc<dyn Clock>,
    throttle: Throttle,
    cancel: &Cancel,
) -> Arc<dyn Tier> {
    steady_as_known(tier, clock, throttle, cancel, Answering::default())
}

/// Wraps a tier like [`steady`], of which others know whether it answers.
pub fn steady_as_known(
    tier: Arc<dyn Tier>,
    clock: &Arc<dyn Clock>,
    throttle: Throttle,
    cancel: &Cancel,
    answering: Answering,
) -> Arc<dyn Tier> {
    let policy = RetryPolicy::of(tier.as_ref());
    let held = match throttle {
        Throttle { write: None, read: None } => tier,
        some => {
            let throttled = ThrottleTier::new(tier, Arc::clone(clock), some);
            Arc::new(throttled.until(cancel.clone()))
        }
    };
    let retry = RetryTier::new(held, Arc::clone(clock), policy).until(cancel.clone());
    Arc::new(retry.as_known(answering))
}

/// After how long something is not tried again: what fell silent twice will not answer soon, and others wait for it.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// Tells whether nothing came, in contrast to a line that broke.
fn is_silence(error: &TierError) -> bool {
    matches!(error, TierError::Unavailable { source, .. } if source.kind() == io::ErrorKind::TimedOut)
}

/// What a tier that was given up is asked about. Any answer will do, also that there is no such object.
const SIGN_OF_LIFE: &str = "site.json";

/// A tier that tries again.
#[derive(Debug)]
pub struct RetryTier {
    inner: Arc<dyn Tier>,
    clock: Arc<dyn Clock>,
    policy: RetryPolicy,
    retries: AtomicU64,
    cancel: Cancel,
    answering: Answering,
}

/// How much an operation moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// As much as there is, for as long as that takes.
    Any,
    /// What a tier that answers at all has soon: the first that is asked of one is its mark or a repository's settings.
    Little,
}

impl RetryTier {
    /// Wraps `inner`, waiting by `clock`.
    pub fn new(inner: Arc<dyn Tier>, clock: Arc<dyn Clock>, policy: RetryPolicy) -> Self {
        let (retries, cancel, answering) = (AtomicU64::new(0), Cancel::new(), Answering::default());
        Self { inner, clock, policy, retries, cancel, answering }
    }

    /// Tries again only until this flag is set.
    #[must_use]
    pub fn until(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Goes by what others know of whether the tier answers, and lets them know.
    #[must_use]
    pub fn as_known(mut self, answering: Answering) -> Self {
        self.answering = answering;
        self
    }

    /// Returns how many attempts were made beyond the first ones.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Carries out `attempt`, which gets its number from 1, until it does not fail as unavailable.
    async fn retry<'a, T>(
        &'a self,
        load: Load,
        mut attempt: impl FnMut(u32) -> BoxFuture<'a, Result<T, TierError>> + Send,
    ) -> Result<T, TierError> {
        self.sign_of_life().await?;
        let begun = Instant::now();
        let mut number = 1;
        loop {
            let tried = match load {
                Load::Little if self.answering.state() == State::Unasked => {
                    self.soon(attempt(number), "answer").await
                }
                _ => attempt(number).await,
            };
            self.answering.heard(&tried);
            match tried {
                Err(error) if error.kind().is_retryable() => {
                    if !self.is_tried_again(number, begun, &error) {
                        self.answering.gave_up(&error);
                        return Err(error);
                    }
                    self.pause(number, error).await?;
                    number += 1;
                }
                other => return other,
            }
        }
    }

    /// Tells whether an attempt follows the one of this number.
    fn is_tried_again(&self, number: u32, begun: Instant, error: &TierError) -> bool {
        let is_over = match self.answering.state() {
            State::Unasked => begun.elapsed() >= self.policy.first_answer.tries_max,
            State::Answers | State::GivenUp => is_silence(error) && begun.elapsed() >= SILENCE_MAX,
        };
        number < self.policy.attempts_max && !is_over
    }

    /// Waits before the next attempt.
    async fn pause(&self, number: u32, error: TierError) -> Result<(), TierError> {
        let rest = match &error {
            TierError::Busy { rest, .. } => *rest,
            _ => Duration::ZERO,
        };
        let (shortest, longest) = self.policy.wait_bounds(number, rest);
        // Clients that failed together must not come back together.
        let wait = rand::random_range(shortest..=longest);
        self.tell(number, wait, &error);
        if self.cancel.cut_short(self.clock.sleep(wait)).await.is_err() {
            let tier = self.inner.address().to_owned();
            return Err(TierError::GivenUp { tier, source: Box::new(error) });
        }
        self.retries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Logs that it is tried again: the first time as a warning. A tier that is dead for hundreds of objects is told of
    /// once; how often it was tried again is counted.
    fn tell(&self, number: u32, wait: Duration, error: &TierError) {
        let (tier, wait_ms) = (self.inner.address(), wait.as_millis());
        let error: &dyn std::error::Error = error;
        if self.answering.is_told_first() {
            tracing::warn!(
                tier,
                attempt = number,
                wait_ms,
                error,
                "a tier did not answer; trying again"
            );
        } else {
            tracing::debug!(
                tier,
                attempt = number,
                wait_ms,
                error,
                "a tier did not answer; trying again"
            );
        }
    }

    /// Carries out what a tier that is well has done soon.
    async fn soon<T>(
        &self,
        work: impl Future<Output = Result<T, TierError>> + Send,
        action: &str,
    ) -> Result<T, TierError> {
        // A directory of this machine cannot be let go of while it is asked.
        if self.inner.reads_here() {
            return work.await;
        }
        let longest = self.policy.first_answer.attempt_max;
        tokio::time::timeout(longest, work).await.unwrap_or_else(|_| {
            let (tier, action) = (self.inner.address().to_owned(), action.to_owned());
            let why = format!("nothing came for {} seconds", longest.as_secs_f32());
            let source = io::Error::new(io::ErrorKind::TimedOut, why);
            Err(TierError::Unavailable { tier, action, source })
        })
    }

    /// Asks a tier that was given up for anything at all, once, before more is asked of it.
    async fn sign_of_life(&self) -> Result<(), TierError> {
        if self.answering.state() != State::GivenUp {
            return Ok(());
        }
        let anything: ObjectPath = SIGN_OF_LIFE.parse().expect("it is a valid path");
        let seen = self.soon(self.inner.head(&anything), "give a sign of life").await;
        self.answering.heard(&seen);
        match seen {
            Err(error) if error.is_without_answer() => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts once; a later attempt recognises the object of an earlier one whose answer was lost.
    async fn put_once(
        &self,
        attempt: u32,
        need: Need,
        path: &ObjectPath,
        body: &Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        match need.put(self.inner.as_ref(), path, body.clone(), mode).await {
            Err(error @ TierError::AlreadyExists { .. }) if attempt > 1 => {
                let stored = self.inner.get(path, ReadRange::Full).await?;
                if stored == *body { Ok(()) } else { Err(error) }
            }
            other => other,
        }
    }
}

impl RetryTier {
    /// Lists once; each object that comes is a sign of life.
    async fn list_once(&self, prefix: &ObjectPrefix) -> Result<Vec<ObjectMeta>, TierError> {
        self.inner.list(prefix).inspect_ok(|_| self.answering.sign()).try_collect().await
    }

    /// Stores an object as `need` has it.
    async fn put_for(
        &self,
        need: Need,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        let body = &body;
        self.retry(Load::Any, move |number| self.put_once(number, need, path, body, mode).boxed())
            .await
    }
}

#[async_trait]
impl Tier for RetryTier {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn silent_for(&self) -> Option<Duration> {
        Some(self.answering.silent_for())
    }

    fn counted(&self) -> Option<Traffic> {
        let retries = self.retries();
        self.inner
            .counted()
            .map(|traffic| Traffic { retries: traffic.retries + retries, ..traffic })
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
        self.retry(Load::Little, move |_| self.inner.get(path, range)).await
    }

    fn reads_here(&self) -> bool {
        self.inner.reads_here()
    }

    /// Leaves what may pass to [`Tier::get`], which can wait.
    fn get_here(
        &self,
        path: &ObjectPath,
        range: ReadRange,
        buffer: &mut Vec<u8>,
    ) -> Option<Result<(), TierError>> {
        self.inner.get_here(path, range, buffer).filter(|read| match read {
            Ok(()) => true,
            Err(error) => !error.kind().is_retryable(),
        })
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.retry(Load::Little, move |_| self.inner.head(path)).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let prefix = prefix.clone();
        let listed = async move {
            let found: Vec<_> = self.retry(Load::Any, |_| self.list_once(&prefix).boxed()).await?;
            Ok(stream::iter(found.into_iter().map(Ok)))
        };
        listed.try_flatten_stream().boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.retry(Load::Any, move |_| self.inner.delete(path)).await
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        self.retry(Load::Any, move |_| self.inner.protection(path)).await
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        self.retry(Load::Any, move |_| self.inner.protect(path, until)).await
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.retry(Load::Any, move |_| self.inner.warmth(path)).await
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.retry(Load::Any, move |_| self.inner.thaw(path)).await
    }

    fn thaw_within(&self) -> Option<Duration> {
        self.inner.thaw_within()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Moment, Operation, Rule, Target};
    use crate::{FaultTier, MemoryTier};
    use lifeboat_model::clock::StillClock;
    use lifeboat_model::{ErrorKind, SimClock, Timestamp};
    use std::num::NonZeroU64;

    struct Setup {
        fault: Arc<FaultTier>,
        clock: Arc<SimClock>,
        tier: RetryTier,
    }

    fn setup(rule: Rule) -> Setup {
        let fault = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())).with(rule));
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let tier = RetryTier::new(
            Arc::clone(&fault) as Arc<dyn Tier>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            RetryPolicy::default(),
        );
        Setup { fault, clock, tier }
    }

    fn path() -> ObjectPath {
        "a".parse().unwrap()
    }

    async fn create(setup: &Setup, body: &'static str) -> Result<(), TierError> {
        setup.tier.put(&path(), Bytes::from_static(body.as_bytes()), PutMode::Create).await
    }

    #[tokio::test]
    async fn what_passes_is_waited_for() {
        let setup = setup(Rule::new(Target::Any, Fault::Fail(Moment::Before)).nth(1));
        create(&setup, "body").await.unwrap();
        assert_eq!(setup.tier.retries(), 1);
        let waited_ms = setup.clock.now().as_millisecond();
        assert!((250..=500).contains(&waited_ms), "{waited_ms}");
    }

    #[tokio::test]
    async fn patience_ends() {
        let setup = setup(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
        assert_eq!(create(&setup, "body").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(setup.tier.retries(), 5);
        let waited_ms = setup.clock.now().as_millisecond();
        assert!((7_750..=15_500).contains(&waited_ms), "{waited_ms}");
    }

    /// A tier that takes whatever is asked of it and never answers.
    fn silent() -> Arc<FaultTier> {
        let still = StillClock::new(Timestamp::UNIX_EPOCH, Cancel::new());
        let hangs = Rule::new(Target::Any, Fault::Slow(Duration::from_mins(1)));
        Arc::new(
            FaultTier::new(Arc::new(MemoryTier::new())).with_clock(Arc::new(still)).with(hangs),
        )
    }

    /// Asks such a tier with hardly any patience.
    fn hasty(tier: &Arc<FaultTier>, tries_max: Duration) -> RetryTier {
        let first_answer = FirstAnswer { attempt_max: Duration::from_millis(1), tries_max };
        let policy = RetryPolicy { first_answer, ..RetryPolicy::default() };
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        RetryTier::new(Arc::clone(tier) as Arc<dyn Tier>, clock, policy)
    }

    #[tokio::test]
    async fn a_tier_that_never_answered_is_waited_for_briefly_and_then_given_up() {
        let fault = silent();
        let tier = hasty(&fault, Duration::ZERO);
        let error = tier.get(&path(), ReadRange::Full).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!((fault.asked().len(), tier.retries()), (1, 0), "the time for tries is over");
        // Whatever is asked then costs one sign of life.
        for asked in 2..4 {
            let error = tier.put(&path(), Bytes::new(), PutMode::Create).await.unwrap_err();
            assert!(error.to_string().contains("sign of life"), "{error}");
            assert_eq!(fault.asked().len(), asked);
            assert_eq!(fault.asked()[asked - 1].operation, Operation::Head);
        }
        fault.heal();
        tier.put(&path(), Bytes::new(), PutMode::Create).await.unwrap();

        let fault = silent();
        let tier = hasty(&fault, Duration::from_hours(1));
        tier.get(&path(), ReadRange::Full).await.unwrap_err();
        assert_eq!(fault.asked().len(), 6, "as often as anything else");
    }

    #[tokio::test]
    async fn what_one_knows_of_a_tier_all_know_who_share_it() {
        let fault = silent();
        let answering = Answering::default();
        let one = hasty(&fault, Duration::ZERO).as_known(answering.clone());
        let other = hasty(&fault, Duration::from_hours(1)).as_known(answering);
        one.head(&path()).await.unwrap_err();
        let error = other.head(&path()).await.unwrap_err();
        assert!(error.to_string().contains("sign of life"), "{error}");
        fault.heal();
        let absent = other.head(&path()).await;
        assert!(matches!(absent, Err(TierError::NotFound { .. })), "that is an answer: {absent:?}");
        assert_eq!(one.answering.state(), State::Answers);
    }

    #[tokio::test]
    async fn who_says_that_it_cannot_just_now_has_answered() {
        let setup = setup(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
        for _ in 0..2 {
            create(&setup, "body").await.unwrap_err();
        }
        assert_eq!(setup.tier.retries(), 10, "each is tried as often as ever");
    }

    #[tokio::test]
    async fn who_is_asked_to_stop_waits_no_longer() {
        let fault = FaultTier::new(Arc::new(MemoryTier::new()))
            .with(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
        let cancel = Cancel::new();
        let clock: Arc<dyn Clock> =
            Arc::new(StillClock::new(Timestamp::UNIX_EPOCH, cancel.clone()));
        let tier = steady(Arc::new(fault), &clock, Throttle::default(), &cancel);
        let error = tier.put(&path(), Bytes::new(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);

        let throttle = Throttle { write: NonZeroU64::new(1), read: NonZeroU64::new(1) };
        let cancel = Cancel::new();
        let clock: Arc<dyn Clock> =
            Arc::new(StillClock::new(Timestamp::UNIX_EPOCH, cancel.clone()));
        let tier = steady(Arc::new(MemoryTier::new()), &clock, throttle, &cancel);
        let body = Bytes::from(vec![7; 100_000]);
        tier.put(&path(), body.clone(), PutMode::Create).await.unwrap();
        assert!(cancel.is_cancelled(), "it waited");
        assert_eq!(tier.get(&path(), ReadRange::Full).await.unwrap(), body);
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        for fault in [Fault::Full, Fault::Denied] {
            let setup = setup(Rule::new(Target::Any, fault));
            create(&setup, "body").await.unwrap_err();
            assert_eq!(setup.fault.asked().len(), 1, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_again_counts_again() {
        let lost = Rule::new(Target::Only(Operation::Put), Fault::Fail(Moment::After)).nth(1);
        let fault = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())).with(lost));
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let throttle = Throttle { write: NonZeroU64::new(1), read: None };
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let tier = steady(Arc::clone(&fault) as Arc<dyn Tier>, &shared, throttle, &Cancel::new());
        let body = Bytes::from(vec![0; 1000]);
        tier.put(&path(), body, PutMode::Overwrite).await.unwrap();
        assert_eq!(fault.asked().len(), 2);
        assert!(clock.now().as_second() >= 1998, "{}", clock.now());
    }

    #[test]
    fn a_disk_is_read_here_and_not_waited_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let disk = crate::LocalTier::create(dir.path()).unwrap();
        assert_eq!(RetryPolicy::of(&disk), RetryPolicy::NEAR);
        assert_eq!(RetryPolicy::of(&MemoryTier::new()), RetryPolicy::default());
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let tier = steady(Arc::new(disk), &clock, Throttle::default(), &Cancel::new());
        let absent = tier.get_here(&path(), ReadRange::Full, &mut Vec::new());
        assert!(matches!(absent, Some(Err(TierError::NotFound { .. }))), "{absent:?}");
        assert!(tier.reads_here());
    }

    #[tokio::test]
    async fn a_created_object_whose_answer_was_lost_counts_as_created() {
        let lost = Rule::new(Target::Only(Operation::Put), Fault::Fail(Moment::After)).nth(1);
        let setup = setup(lost);
        create(&setup, "body").await.unwrap();
        assert_eq!(setup.tier.retries(), 1);
        let other = create(&setup, "other").await;
        assert!(matches!(other, Err(TierError::AlreadyExists { .. })), "{other:?}");
    }

    #[tokio::test]
    async fn an_object_of_somebody_else_is_not_taken_for_ones_own() {
        let setup =
            setup(Rule::new(Target::Only(Operation::Put), Fault::Fail(Moment::Before)).nth(2));
        create(&setup, "theirs").await.unwrap();
        let ours = create(&setup, "ours").await;
        assert!(matches!(ours, Err(TierError::AlreadyExists { .. })), "{ours:?}");
        assert_eq!(setup.tier.retries(), 1);
    }

    #[tokio::test]
    async fn a_list_that_broke_off_starts_again_without_doubles() {
        let setup =
            setup(Rule::new(Target::Only(Operation::List), Fault::Fail(Moment::After)).nth(1));
        create(&setup, "body").await.unwrap();
        let listed: Vec<_> = setup.tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(setup.tier.retries(), 1);
    }

    #[test]
    fn waits_grow_to_their_bound() {
        let policy = RetryPolicy::default();
        let longest = |attempt| policy.wait_bounds(attempt, Duration::ZERO).1.as_millis();
        assert_eq!([1, 2, 3, 4].map(longest), [500, 1000, 2000, 4000]);
        assert_eq!(longest(u32::MAX), 30_000);
        let asked = |seconds| policy.wait_bounds(1, Duration::from_secs(seconds));
        assert_eq!(asked(8), (Duration::from_secs(8), Duration::from_secs(10)));
        assert_eq!(asked(3600).0, policy.wait_max, "rest has a bound, too");
    }
}
