//! Every implementation and every decorator passes the suite.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{SimClock, Timestamp};
use lifeboat_tiers::fault::{Fault, Moment, Rule, Target};
use lifeboat_tiers::placement::LockRule;
use lifeboat_tiers::{
    CountingTier, FaultTier, LocalTier, LockMode, MemoryTier, RetryPolicy, RetryTier, Throttle,
    ThrottleTier, Tier, conformance,
};

fn memory_tier() -> Arc<dyn Tier> {
    Arc::new(MemoryTier::new())
}

fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(Timestamp::UNIX_EPOCH))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::all(&memory_tier()).await;
}

/// What locks does so through every decorator.
#[tokio::test(flavor = "multi_thread")]
async fn memory_that_locks() {
    const KEEP: Duration = Duration::from_hours(30 * 24);
    for wrap in [|tier| tier, decorated] {
        let rule = LockRule { mode: LockMode::Governance, keep: KEEP };
        let tier: Arc<dyn Tier> = wrap(Arc::new(MemoryTier::locking(clock(), rule)));
        conformance::locked_objects_stay(tier.as_ref(), Timestamp::UNIX_EPOCH, KEEP).await;
    }
}

fn decorated(tier: Arc<dyn Tier>) -> Arc<dyn Tier> {
    let tier = Arc::new(CountingTier::new(Arc::new(FaultTier::new(tier))));
    let tier = Arc::new(ThrottleTier::new(tier, clock(), Throttle::default()));
    Arc::new(RetryTier::new(tier, clock(), RetryPolicy::default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn local() {
    let folder = tempfile::tempdir().unwrap();
    let tier: Arc<dyn Tier> = Arc::new(LocalTier::open(folder.path()).unwrap());
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_without_rules() {
    let tier: Arc<dyn Tier> = Arc::new(FaultTier::new(memory_tier()));
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting() {
    let tier: Arc<dyn Tier> = Arc::new(CountingTier::new(memory_tier()));
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttle() {
    let rate = NonZeroU64::new(1 << 20);
    let throttle = Throttle { write: rate, read: rate };
    let tier: Arc<dyn Tier> = Arc::new(ThrottleTier::new(memory_tier(), clock(), throttle));
    conformance::all(&tier).await;
}

/// Over a tier that loses every tenth operation or its answer, retrying keeps the whole contract.
#[tokio::test(flavor = "multi_thread")]
async fn retry_over_an_unreliable_tier() {
    let lost = |moment| Rule::new(Target::Any, Fault::Fail(moment)).chance(0.05);
    let unreliable =
        FaultTier::seeded(memory_tier(), 1).with(lost(Moment::Before)).with(lost(Moment::After));
    let policy = RetryPolicy { attempts_max: 20, ..RetryPolicy::default() };
    let retry = Arc::new(RetryTier::new(Arc::new(unreliable), clock(), policy));
    let tier: Arc<dyn Tier> = Arc::clone(&retry) as Arc<dyn Tier>;
    conformance::all(&tier).await;
    assert!(retry.retries() > 0);
}
