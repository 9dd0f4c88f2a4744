//! What every tier must do, as checks that each implementation's tests call on an empty tier.
//!
//! A check panics with what it found. They need a tokio runtime of several threads, since they race.

mod locks;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use lifeboat_model::Capability;

use crate::{ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};

pub use locks::locked_objects_stay;

/// How many writers race for one name.
const RACERS: usize = 16;

/// Large enough not to fit any pipe, page or small buffer on the way.
const LARGE_BYTES: usize = 5 << 20;

/// Runs all checks; each leaves the tier empty.
pub async fn all(tier: &Arc<dyn Tier>) {
    objects_read_back(tier.as_ref()).await;
    ranges_are_exact(tier.as_ref()).await;
    absence_is_told(tier.as_ref()).await;
    overwriting_replaces(tier.as_ref()).await;
    creating_never_replaces(tier.as_ref()).await;
    deleting_is_idempotent(tier.as_ref()).await;
    lists_are_complete(tier.as_ref()).await;
    one_creator_wins(tier).await;
    whoever_looks_after_he_wrote_sees_who_did_before(tier).await;
    readers_never_see_a_mixture(tier).await;
}

fn path(text: &str) -> ObjectPath {
    text.parse().expect("the suite names its objects well")
}

fn prefix(text: &str) -> ObjectPrefix {
    text.parse().expect("the suite names its prefixes well")
}

async fn put(tier: &dyn Tier, name: &str, body: impl Into<Bytes>) {
    let stored = tier.put(&path(name), body.into(), PutMode::Overwrite).await;
    assert!(stored.is_ok(), "put {name}: {stored:?}");
}

async fn get(tier: &dyn Tier, name: &str, range: ReadRange) -> Bytes {
    tier.get(&path(name), range).await.unwrap_or_else(|error| panic!("get {name}: {error}"))
}

async fn delete(tier: &dyn Tier, names: &[&str]) {
    for name in names {
        let deleted = tier.delete(&path(name)).await;
        assert!(deleted.is_ok(), "delete {name}: {deleted:?}");
    }
}

async fn list(tier: &dyn Tier, below: &str) -> BTreeMap<String, u64> {
    let listed: Result<Vec<_>, _> = tier.list(&prefix(below)).try_collect().await;
    let listed = listed.unwrap_or_else(|error| panic!("list `{below}`: {error}"));
    let count = listed.len();
    let objects: BTreeMap<_, _> =
        listed.into_iter().map(|meta| (meta.path.to_string(), meta.size)).collect();
    assert_eq!(objects.len(), count, "an object was listed twice below `{below}`");
    objects
}

/// Bytes that differ at every offset of a period that no block size divides.
fn patterned(length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from(index % 251).expect("251 fits")).collect()
}

/// Empty, small and large objects have the bytes and the size that were put.
pub async fn objects_read_back(tier: &dyn Tier) {
    for length in [0, 1, 4096, LARGE_BYTES] {
        put(tier, "conformance/object", patterned(length)).await;
        let body = get(tier, "conformance/object", ReadRange::Full).await;
        assert!(body == patterned(length), "{length} bytes were put, others came back");
        let meta = tier.head(&path("conformance/object")).await;
        let size = meta.map(|meta| meta.size);
        assert!(matches!(size, Ok(size) if size == length as u64), "head of {length}: {size:?}");
    }
    delete(tier, &["conformance/object"]).await;
}

/// A range gives its bytes or an error, never fewer bytes.
pub async fn ranges_are_exact(tier: &dyn Tier) {
    const NAME: &str = "conformance/ranges";
    put(tier, NAME, patterned(10)).await;
    let bounded = |offset, length| ReadRange::Bounded { offset, length };
    let whole = patterned(10);
    assert_eq!(get(tier, NAME, bounded(0, 10)).await, whole);
    assert_eq!(get(tier, NAME, bounded(3, 4)).await, whole.slice(3..7));
    assert_eq!(get(tier, NAME, bounded(10, 0)).await, "");
    assert_eq!(get(tier, NAME, ReadRange::Suffix(3)).await, whole.slice(7..));
    assert_eq!(get(tier, NAME, ReadRange::Suffix(10)).await, whole);
    assert_eq!(get(tier, NAME, ReadRange::Suffix(11)).await, whole);
    assert_eq!(get(tier, NAME, ReadRange::Suffix(0)).await, "");
    for beyond in [bounded(0, 11), bounded(9, 2), bounded(11, 0), bounded(u64::MAX, 2)] {
        let read = tier.get(&path(NAME), beyond).await;
        assert!(matches!(read, Err(TierError::OutOfRange { .. })), "{beyond:?}: {read:?}");
    }
    put(tier, NAME, "").await;
    assert_eq!(get(tier, NAME, ReadRange::Suffix(5)).await, "");
    delete(tier, &[NAME]).await;
}

/// What is not there, or is only the start of other names, is `NotFound`.
pub async fn absence_is_told(tier: &dyn Tier) {
    put(tier, "conformance/absence/object", "x").await;
    for name in ["conformance/absent", "conformance/absence", "conformance/absence/object/below"] {
        let read = tier.get(&path(name), ReadRange::Full).await;
        assert!(matches!(read, Err(TierError::NotFound { .. })), "get {name}: {read:?}");
        let read = tier.get(&path(name), ReadRange::Suffix(1)).await;
        assert!(matches!(read, Err(TierError::NotFound { .. })), "get {name}: {read:?}");
        let head = tier.head(&path(name)).await;
        assert!(matches!(head, Err(TierError::NotFound { .. })), "head {name}: {head:?}");
    }
    delete(tier, &["conformance/absence/object"]).await;
}

/// `Overwrite` replaces, also by something shorter, and can be repeated.
pub async fn overwriting_replaces(tier: &dyn Tier) {
    const NAME: &str = "conformance/overwrite";
    for body in ["the first and longer one", "the second", "the second"] {
        put(tier, NAME, body).await;
        assert_eq!(get(tier, NAME, ReadRange::Full).await, body);
    }
    delete(tier, &[NAME]).await;
}

/// `Create` leaves an object that is there as it is.
pub async fn creating_never_replaces(tier: &dyn Tier) {
    let name = path("conformance/create");
    let first = tier.put(&name, Bytes::from_static(b"first"), PutMode::Create).await;
    assert!(first.is_ok(), "{first:?}");
    let second = tier.put(&name, Bytes::from_static(b"second"), PutMode::Create).await;
    assert!(matches!(second, Err(TierError::AlreadyExists { .. })), "{second:?}");
    assert_eq!(get(tier, name.as_str(), ReadRange::Full).await, "first");
    delete(tier, &[name.as_str()]).await;
    let third = tier.put(&name, Bytes::from_static(b"third"), PutMode::Create).await;
    assert!(third.is_ok(), "after its deletion: {third:?}");
    delete(tier, &[name.as_str()]).await;
}

/// Deleting removes exactly the object; what is not there is no error.
pub async fn deleting_is_idempotent(tier: &dyn Tier) {
    put(tier, "conformance/delete/a", "a").await;
    put(tier, "conformance/delete/ab", "ab").await;
    let absent = "conformance/delete/never/there";
    delete(tier, &["conformance/delete/a", "conformance/delete/a", absent]).await;
    // The start of other names is no object, and they must survive its deletion.
    delete(tier, &["conformance/delete"]).await;
    assert_eq!(get(tier, "conformance/delete/ab", ReadRange::Full).await, "ab");
    delete(tier, &["conformance/delete/ab"]).await;
    assert!(list(tier, "conformance/delete").await.is_empty());
}

/// `list` finds everything below its prefix at any depth, once, and nothing else.
pub async fn lists_are_complete(tier: &dyn Tier) {
    let mut expected = BTreeMap::new();
    for index in 0..200_usize {
        let name = format!("conformance/list/{:02x}/{index}", index % 7);
        put(tier, &name, patterned(index)).await;
        expected.insert(name, index as u64);
    }
    put(tier, "conformance/listed", "a neighbour whose name starts alike").await;
    assert_eq!(list(tier, "conformance/list").await, expected);
    let one = list(tier, "conformance/list/03").await;
    assert!(one.keys().all(|name| name.starts_with("conformance/list/03/")), "{one:?}");
    assert_eq!(one.len(), expected.keys().filter(|name| name.contains("/03/")).count());
    assert_eq!(list(tier, "").await.len(), expected.len() + 1);
    for nothing in ["conformance/lis", "never/stored", "conformance/listed"] {
        assert!(list(tier, nothing).await.is_empty(), "{nothing}");
    }
    delete(tier, &expected.keys().map(String::as_str).collect::<Vec<_>>()).await;
    delete(tier, &["conformance/listed"]).await;
    assert!(list(tier, "").await.is_empty());
}

/// Of several that create one name at once exactly one succeeds, and its bytes stay.
pub async fn one_creator_wins(tier: &Arc<dyn Tier>) {
    if !tier.capabilities().has(Capability::ConditionalPut) {
        return;
    }
    let name = path("conformance/race/create");
    let racers = (0..RACERS).map(|racer| {
        let (tier, name) = (Arc::clone(tier), name.clone());
        tokio::spawn(async move { tier.put(&name, patterned(racer + 1), PutMode::Create).await })
    });
    let mut winners = Vec::new();
    for (racer, outcome) in join_all(racers).await.into_iter().enumerate() {
        match outcome.expect("a racer does not panic") {
            Ok(()) => winners.push(racer),
            Err(TierError::AlreadyExists { .. }) => {}
            Err(error) => panic!("racer {racer}: {error}"),
        }
    }
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    let body = get(tier.as_ref(), name.as_str(), ReadRange::Full).await;
    assert_eq!(body, patterned(winners[0] + 1));
    delete(tier.as_ref(), &[name.as_str()]).await;
}

/// Where listings do not lag, of two that write and then look at least one sees the other.
pub async fn whoever_looks_after_he_wrote_sees_who_did_before(tier: &Arc<dyn Tier>) {
    if !tier.capabilities().has(Capability::PromptListing) {
        return;
    }
    for round in 0..RACERS {
        let name = |side: &str| format!("conformance/flags/{round}-{side}");
        let raise = |mine: String, theirs: String| {
            let tier = Arc::clone(tier);
            tokio::spawn(async move {
                put(tier.as_ref(), &mine, Bytes::from_static(b"here")).await;
                list(tier.as_ref(), "conformance/flags").await.contains_key(&theirs)
            })
        };
        let (left, right) = (name("left"), name("right"));
        let (one, other) =
            tokio::join!(raise(left.clone(), right.clone()), raise(right.clone(), left.clone()));
        let sees = |flag: Result<bool, _>| flag.expect("a racer does not panic");
        assert!(sees(one) | sees(other), "round {round}: neither saw the other");
        delete(tier.as_ref(), &[&left, &right]).await;
    }
}

/// While an object is replaced again and again, every read gives one of its bodies, whole.
pub async fn readers_never_see_a_mixture(tier: &Arc<dyn Tier>) {
    const LENGTH: usize = 64 << 10;
    let name = path("conformance/race/overwrite");
    let body = |round: usize| Bytes::from(vec![u8::try_from(round % 251).expect("fits"); LENGTH]);
    put(tier.as_ref(), name.as_str(), body(0)).await;
    let writer = {
        let (tier, name) = (Arc::clone(tier), name.clone());
        tokio::spawn(async move {
            for round in 0..RACERS {
                put(tier.as_ref(), name.as_str(), body(round)).await;
            }
        })
    };
    while !writer.is_finished() {
        let read = get(tier.as_ref(), name.as_str(), ReadRange::Full).await;
        assert_eq!(read.len(), LENGTH);
        assert!(read.iter().all(|byte| *byte == read[0]), "a mixture of two bodies");
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer does not panic");
    delete(tier.as_ref(), &[name.as_str()]).await;
}
