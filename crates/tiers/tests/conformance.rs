//! Every implementation and every decorator passes the suite.

use std::num::NonZeroU64;
use std::sync::Arc;

use lifeboat_model::{SimClock, Timestamp};
use lifeboat_tiers::fault::{Fault, Moment, Rule, Target};
use lifeboat_tiers::{
    CountingTier, FaultTier, LocalTier, MemoryTier, RetryPolicy, RetryTier, Throttle, ThrottleTier,
    Tier, conformance,
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
