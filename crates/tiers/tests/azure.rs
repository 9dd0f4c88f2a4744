//! The Azure tier against Azurite, and against exchanges that Azurite does not know.
//!
//! Each test starts a server of its own, so what can share one does.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use lifeboat_model::{
    Capability, Classify, Clock as _, ErrorKind, Secret, SimClock, SystemClock, Timestamp,
};
use lifeboat_testing::emulators::Azurite;
use lifeboat_testing::recorded::Recorded;
use lifeboat_tiers::azure::AzureOptions;
use lifeboat_tiers::{
    AccessClass, AzureTier, LockMode, LockRule, ObjectPath, ObjectPrefix, Placement, Protection,
    PutMode, ReadRange, Tier, TierError, Warmth, conformance,
};

const DAY: Duration = Duration::from_hours(24);

fn options(azurite: &Azurite, container: &str, prefix: &str) -> AzureOptions {
    let mut options = AzureOptions::new(Azurite::ACCOUNT, container, prefix);
    let string = azurite.connection_string();
    options.environment.insert("AZURE_STORAGE_CONNECTION_STRING".to_owned(), string);
    options
}

/// With a shared access signature and nothing else.
fn signed(azurite: &Azurite, container: &str, rights: &str, until: Timestamp) -> AzureOptions {
    let mut options = AzureOptions::new(Azurite::ACCOUNT, container, "site");
    let token = Azurite::signature(container, rights, until);
    options.environment.insert("AZURE_STORAGE_SAS_TOKEN".to_owned(), format!("?{token}"));
    options.endpoint = Some(azurite.endpoint());
    options
}

fn tier(options: &AzureOptions) -> AzureTier {
    AzureTier::new(options, Arc::new(SystemClock)).unwrap()
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

async fn put(tier: &dyn Tier, name: &str, body: &'static str) {
    put_body(tier, name, body).await.unwrap();
}

async fn put_body(tier: &dyn Tier, name: &str, body: &'static str) -> Result<(), TierError> {
    tier.put(&path(name), Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await
}

async fn get(tier: &dyn Tier, name: &str) -> Result<Bytes, TierError> {
    tier.get(&path(name), ReadRange::Full).await
}

async fn names(tier: &dyn Tier) -> Vec<String> {
    let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.path.to_string()).collect()
}

fn archiving() -> Placement {
    Placement { access: Some(AccessClass::Archive), ..Placement::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_with_and_without_a_prefix_by_key_and_by_signature() {
    let azurite = Azurite::start().unwrap();
    azurite.make_container("copies").unwrap();
    for prefix in ["", "some/where else"] {
        let tier: Arc<dyn Tier> = Arc::new(tier(&options(&azurite, "copies", prefix)));
        assert!(tier.capabilities().has(Capability::ConditionalPut));
        conformance::all(&tier).await;
    }
    let tomorrow = SystemClock.now() + DAY;
    let tier: Arc<dyn Tier> = Arc::new(tier(&signed(&azurite, "copies", "racwdl", tomorrow)));
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_and_refusals_are_what_azure_makes_of_them() {
    let azurite = Azurite::start().unwrap();
    azurite.make_container("copies").unwrap();
    what_only_a_recovery_reads_is_cold_until_it_is_asked_for(&azurite).await;
    every_request_is_counted_by_its_kind(&azurite).await;
    what_is_refused_says_what_to_do(&azurite).await;
    with_rights_to_append_backups_work_and_nothing_is_deleted_or_replaced(&azurite).await;
    an_emulator_that_ignores_locks_is_not_believed_to_lock(&azurite).await;
}

async fn what_only_a_recovery_reads_is_cold_until_it_is_asked_for(azurite: &Azurite) {
    let mut options = options(azurite, "copies", "cold");
    options.placement = archiving();
    let tier = tier(&options);
    let body = Bytes::from_static(b"pack");
    let pack = path("repo/data/aa/aa");
    tier.put_cold(&pack, body, PutMode::Overwrite).await.unwrap();
    put(&tier, "repo/index/aa", "index").await;
    assert_eq!(tier.warmth(&path("repo/index/aa")).await.unwrap(), Warmth::Ready);
    tier.thaw(&path("repo/index/aa")).await.unwrap();
    assert_eq!(tier.warmth(&pack).await.unwrap(), Warmth::Cold);
    let refused = get(&tier, pack.as_str()).await.unwrap_err();
    assert!(matches!(refused, TierError::Cold { .. }), "{refused}");
    tier.thaw(&pack).await.unwrap();
    // The emulator thaws at once.
    assert_eq!(tier.warmth(&pack).await.unwrap(), Warmth::Ready);
    assert_eq!(get(&tier, pack.as_str()).await.unwrap(), "pack");
}

async fn every_request_is_counted_by_its_kind(azurite: &Azurite) {
    let tier = tier(&options(azurite, "copies", "counted"));
    put(&tier, "repo/data/aa/aa", "pack").await;
    get(&tier, "repo/data/aa/aa").await.unwrap();
    tier.head(&path("repo/data/aa/aa")).await.unwrap();
    assert_eq!(names(&tier).await.len(), 1);
    tier.delete(&path("repo/data/aa/aa")).await.unwrap();
    let counted = tier.counted().unwrap();
    assert_eq!((counted.puts, counted.gets, counted.heads, counted.deletes), (1, 1, 1, 1));
    // One for the names, and one for what the account kept of what is deleted.
    assert!(counted.lists >= 2, "{counted:?}");
    assert_eq!((counted.written_bytes, counted.read_bytes), (4, 4));
    get(&tier, "repo/data/aa/aa").await.unwrap_err();
    assert_eq!(tier.counted().unwrap().gets, 2, "what is refused costs as much");
}

async fn what_is_refused_says_what_to_do(azurite: &Azurite) {
    let told = async |options: &AzureOptions| {
        let error = get(&tier(options), "site.json").await.unwrap_err();
        let place = format!("azure://{}/{}", options.account, options.container);
        assert!(error.to_string().contains(&place), "{error}");
        assert!(error.to_string().contains("read site.json"), "{error}");
        (error.kind(), format!("{error}; {}", error.hint().unwrap()))
    };
    let (kind, missing) = told(&options(azurite, "missing", "")).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(missing.contains("az storage container create"), "{missing}");

    let mut wrong = AzureOptions::new(Azurite::ACCOUNT, "copies", "");
    wrong.endpoint = Some(azurite.endpoint());
    wrong.account_key = Some(Secret::new("bm90IHRoZSBrZXk="));
    let (kind, wrong) = told(&wrong).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(wrong.contains("credentials are wrong"), "{wrong}");

    let yesterday = SystemClock.now() - DAY;
    let (kind, over) = told(&signed(azurite, "copies", "rcl", yesterday)).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(over.contains("credentials are"), "{over}");

    let tomorrow = SystemClock.now() + DAY;
    let (kind, lacking) = told(&signed(azurite, "copies", "cl", tomorrow)).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(lacking.contains("the credentials do not allow it"), "{lacking}");

    let nobody = AzureOptions {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..options(azurite, "copies", "")
    };
    let error = get(&tier(&nobody), "site.json").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// What `docs/append-only.md` gives a host.
const APPEND_ONLY: &str = include_str!("../../../docs/policies/azure-append-only.sh");

async fn with_rights_to_append_backups_work_and_nothing_is_deleted_or_replaced(azurite: &Azurite) {
    let tomorrow = SystemClock.now() + DAY;
    let (_, rights) = APPEND_ONLY.split_once("RIGHTS:-").unwrap();
    let (rights, _) = rights.split_once('}').unwrap();
    assert_eq!(rights, "rcl", "read, create, list");
    let tier = tier(&signed(azurite, "copies", rights, tomorrow));
    for name in ["repo/data/aa/aa", "repo/locks/aa"] {
        put(&tier, name, "body").await;
        assert_eq!(get(&tier, name).await.unwrap(), "body");
    }
    assert_eq!(names(&tier).await.len(), 2);
    for name in ["repo/data/aa/aa", "repo/locks/aa"] {
        let refused = tier.delete(&path(name)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
        assert!(refused.to_string().contains(&format!("delete {name}")), "{refused}");
    }
    put(&tier, "repo/data/aa/aa", "body").await;
    let refused = put_body(&tier, "repo/data/aa/aa", "other").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("replace repo/data/aa/aa"), "{refused}");
    let create = tier.put(&path("repo/locks/aa"), Bytes::new(), PutMode::Create).await;
    assert!(matches!(create, Err(TierError::AlreadyExists { .. })), "{create:?}");
    assert_eq!(get(&tier, "repo/data/aa/aa").await.unwrap(), "body");
}

async fn an_emulator_that_ignores_locks_is_not_believed_to_lock(azurite: &Azurite) {
    let mut options = options(azurite, "copies", "locked");
    options.placement = locked();
    let tier = tier(&options);
    put(&tier, "repo/config", "body").await;
    assert_eq!(tier.protection(&path("repo/config")).await.unwrap(), Protection::None);
    let refused = tier.protect(&path("repo/config"), SystemClock.now() + DAY).await.unwrap_err();
    assert!(refused.to_string().contains("lock repo/config"), "{refused}");
}

const NOW: &str = "2026-11-29T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn locked() -> Placement {
    let lock = Some(LockRule { mode: LockMode::Compliance, keep: 30 * DAY });
    Placement { lock, ..Placement::default() }
}

/// A tier that is answered from a script.
fn playing(script: &str, placement: Placement) -> (Recorded, AzureTier) {
    let recorded = Recorded::start(script).unwrap();
    let mut options = AzureOptions::new("shop", "copies", "");
    options.endpoint = Some(recorded.endpoint());
    options.account_key = Some(Secret::new("a2V5"));
    options.placement = placement;
    let tier = AzureTier::new(&options, Arc::new(SimClock::new(now()))).unwrap();
    (recorded, tier)
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_set_read_back_and_made_longer_as_azure_documents_it() {
    let (recorded, tier) = playing(include_str!("azure/locks.txt"), locked());
    let config = path("repo/config");
    put(&tier, "repo/config", "body").await;
    put(&tier, "repo/locks/abcd", "body").await;
    let until = now() + 30 * DAY;
    let lock = Protection::Locked { mode: LockMode::Compliance, until };
    assert_eq!(tier.protection(&config).await.unwrap(), lock);
    tier.protect(&config, now() + 20 * DAY).await.unwrap();
    tier.protect(&config, now() + 50 * DAY + Duration::from_millis(1)).await.unwrap();
    let longer = now() + 50 * DAY + Duration::from_secs(1);
    let refused = tier.delete(&config).await.unwrap_err();
    assert!(matches!(refused, TierError::Locked { until: Some(until), .. } if until == longer));
    let held = tier.delete(&path("repo/held")).await.unwrap_err();
    assert!(matches!(held, TierError::Locked { until: None, .. }), "{held}");
    put(&tier, "repo/config", "body").await;
    let refused = put_body(&tier, "repo/config", "body").await.unwrap_err();
    assert!(matches!(refused, TierError::Locked { until: Some(until), .. } if until == longer));
    let lockless = put_body(&tier, "repo/config", "body").await.unwrap_err();
    assert!(matches!(lockless, TierError::Unsupported { .. }), "{lockless}");
    recorded.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_goes_with_its_versions_and_what_others_deleted_is_read() {
    let script = include_str!("azure/versions.txt");
    let (script, folders) = script.split_once("# An account with folders").unwrap();
    let (recorded, tier) = playing(script, Placement::default());
    tier.delete(&path("repo/index/aa")).await.unwrap();
    assert_eq!(get(&tier, "repo/config").await.unwrap(), "body");
    let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|meta| (meta.path.as_str(), meta.size)).collect();
    assert_eq!(listed, [("repo/config", 4), ("repo/index/bb", 2)]);
    recorded.finish();
    let (recorded, tier) = playing(&format!("#{folders}"), Placement::default());
    for _ in 0..2 {
        assert!(names(&tier).await.is_empty());
    }
    recorded.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_archive_is_asked_for_once() {
    let (recorded, tier) = playing(include_str!("azure/archive.txt"), archiving());
    let pack = path("repo/data/aa/aa");
    tier.put_cold(&pack, Bytes::from_static(b"pack"), PutMode::Overwrite).await.unwrap();
    put(&tier, "repo/index/aa", "index").await;
    let refused = get(&tier, pack.as_str()).await.unwrap_err();
    assert!(matches!(refused, TierError::Cold { .. }), "{refused}");
    tier.thaw(&pack).await.unwrap();
    assert_eq!(tier.warmth(&pack).await.unwrap(), Warmth::Thawing);
    tier.thaw(&pack).await.unwrap();
    tier.thaw(&pack).await.unwrap();
    tier.thaw(&path("repo/data/bb/bb")).await.unwrap();
    recorded.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_and_what_came_altered_is_told_as_such() {
    let (recorded, tier) = playing(include_str!("azure/troubles.txt"), Placement::default());
    let config = path("repo/config");
    let start = ReadRange::Bounded { offset: 0, length: 4 };
    for (range, told) in [
        (ReadRange::Full, "503 ServerBusy"),
        (ReadRange::Full, "500 OperationTimedOut"),
        (ReadRange::Full, "broke"),
        (ReadRange::Full, "another sum"),
        (start, "another length"),
    ] {
        let error = tier.get(&config, range).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(told), "{source}");
    }
    assert_eq!(get(&tier, "repo/config").await.unwrap(), "body");
    recorded.finish();
}
