//! Every implementation and every decorator passes the suite.

use std::sync::Arc;

use lifeboat_tiers::{FaultTier, LocalTier, MemoryTier, Tier, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let tier: Arc<dyn Tier> = Arc::new(MemoryTier::new());
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local() {
    let folder = tempfile::tempdir().unwrap();
    let tier: Arc<dyn Tier> = Arc::new(LocalTier::open(folder.path()).unwrap());
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_without_rules() {
    let tier: Arc<dyn Tier> = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    conformance::all(&tier).await;
}
