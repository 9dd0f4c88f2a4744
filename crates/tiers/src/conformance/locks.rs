//! What a tier must do that declares [`Capability::ObjectLock`] and was opened with a lock.

use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::{Capability, Timestamp};

use super::{get, path};
use crate::{ObjectPath, Protection, PutMode, ReadRange, Tier, TierError};

/// Stores of several machines have several clocks.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// Locked objects can be neither deleted nor replaced, their lock is read back from the store and never
/// gets shorter, and what is there to be deleted soon is free.
///
/// `now` is the time by which the tier locks, and `keep` for how long. What it stores stays there, below
/// `conformance/locks`, until its lock has run out.
pub async fn locked_objects_stay(tier: &dyn Tier, now: Timestamp, keep: Duration) {
    assert!(tier.capabilities().has(Capability::ObjectLock), "the tier says that it cannot lock");
    let locked = store(tier, "conformance/locks/object", "first").await;
    let until = lock_of(tier, &locked).await;
    let due = now.saturating_add(keep).expect("the suite locks for some days");
    let early = due.saturating_sub(CLOCKS_DIFFER).expect("it is not the beginning of time");
    assert!(until >= early, "locked until {until}, not {due}");
    stays(tier, &locked, "first").await;
    a_lock_is_only_ever_extended(tier, &locked, until).await;
    stays(tier, &locked, "first").await;
    what_goes_soon_is_free(tier).await;
    let absent = tier.protection(&path("conformance/locks/absent")).await;
    assert!(matches!(absent, Err(TierError::NotFound { .. })), "{absent:?}");
}

async fn store(tier: &dyn Tier, name: &str, body: &'static str) -> ObjectPath {
    let path = path(name);
    let stored = tier.put(&path, Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await;
    assert!(stored.is_ok(), "put {name}: {stored:?}");
    path
}

async fn lock_of(tier: &dyn Tier, path: &ObjectPath) -> Timestamp {
    match tier.protection(path).await {
        Ok(Protection::Locked { until, .. }) => until,
        other => panic!("`{path}` should be locked: {other:?}"),
    }
}

/// An object that is locked is there with its bytes, whoever tries to have it otherwise.
async fn stays(tier: &dyn Tier, path: &ObjectPath, body: &str) {
    let deleted = tier.delete(path).await;
    assert!(matches!(deleted, Err(TierError::Locked { .. })), "delete: {deleted:?}");
    let created = tier.put(path, Bytes::from_static(b"other"), PutMode::Create).await;
    assert!(matches!(created, Err(TierError::AlreadyExists { .. })), "create: {created:?}");
    assert_eq!(get(tier, path.as_str(), ReadRange::Full).await, body);
    let again = Bytes::copy_from_slice(body.as_bytes());
    let again = tier.put(path, again, PutMode::Overwrite).await;
    assert!(again.is_ok(), "the same bytes once more: {again:?}");
    assert_eq!(get(tier, path.as_str(), ReadRange::Full).await, body);
}

async fn a_lock_is_only_ever_extended(tier: &dyn Tier, path: &ObjectPath, until: Timestamp) {
    let day = Duration::from_hours(24);
    let (sooner, later) = (until.saturating_sub(day), until.saturating_add(day));
    let (sooner, later) = (sooner.expect("it is a date"), later.expect("it is a date"));
    let protected = tier.protect(path, sooner).await;
    assert!(protected.is_ok(), "a lock that is there already suffices: {protected:?}");
    assert!(lock_of(tier, path).await >= until, "a lock was shortened");
    let protected = tier.protect(path, later).await;
    assert!(protected.is_ok(), "{protected:?}");
    // Some stores keep whole seconds.
    let least = later.saturating_sub(Duration::from_secs(1)).expect("it is a date");
    assert!(lock_of(tier, path).await >= least, "a lock was not extended");
}

async fn what_goes_soon_is_free(tier: &dyn Tier) {
    for name in ["repo/locks/conformance", "probe/conformance"] {
        let free = store(tier, name, "x").await;
        let protection = tier.protection(&free).await;
        assert!(matches!(protection, Ok(Protection::None)), "{name}: {protection:?}");
        let deleted = tier.delete(&free).await;
        assert!(deleted.is_ok(), "delete {name}: {deleted:?}");
        let read = tier.head(&free).await;
        assert!(matches!(read, Err(TierError::NotFound { .. })), "{name}: {read:?}");
    }
}
