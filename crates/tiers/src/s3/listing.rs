//! Listings of a bucket: page by page, and of what is long several pages at once.

use std::sync::Arc;

use futures::future;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use http::Method;

use super::answers::{Entry, Page};
use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::spread::{Interval, PARTS_MAX, intervals};

/// How many objects one request lists: the most that S3 gives.
const PAGE_OBJECTS: &str = "1000";

/// From where a page begins, as the query says it.
pub(super) type From = Vec<(&'static str, String)>;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// What is there now.
    Objects,
    /// What is there or was, with what hides it.
    Versions,
}

impl Listed {
    /// Begins behind a name.
    fn behind(self, name: &str) -> From {
        match self {
            Self::Objects => vec![("start-after", name.to_owned())],
            Self::Versions => vec![("key-marker", name.to_owned())],
        }
    }
}

/// Asks for one page, from where the one before said.
pub(super) async fn page(
    client: &S3Client,
    listed: Listed,
    prefix: &str,
    from: &[(&'static str, String)],
) -> Result<Page, S3Failure> {
    let mut call = match listed {
        Listed::Objects => Call::new(Method::GET, "").query("list-type", "2"),
        Listed::Versions => Call::new(Method::GET, "").query("versions", ""),
    };
    call =
        call.query("encoding-type", "url").query("max-keys", PAGE_OBJECTS).query("prefix", prefix);
    for (name, value) in from {
        call = call.query(name, value);
    }
    let answer = client.ask(call).await?;
    let page = match listed {
        Listed::Objects => Page::of_objects(&answer.body),
        Listed::Versions => Page::of_versions(&answer.body),
    };
    Ok(page?)
}

/// Asks for the first page, and finds out what has to be listed so that nothing is missed.
///
/// Most buckets keep no versions, so where nobody knows yet both are asked at the same time.
pub(super) async fn begin(client: &S3Client, prefix: &str) -> Result<(Listed, Page), S3Failure> {
    let first = |listed| page(client, listed, prefix, &[]);
    let listed = if let Some(versioning) = client.known_versioning() {
        versioning.listed()
    } else {
        let asked = future::join(client.versioning(), first(Listed::Objects)).await;
        match (asked.0?.listed(), asked.1) {
            (Listed::Objects, objects) => return Ok((Listed::Objects, objects?)),
            (listed @ Listed::Versions, _) => listed,
        }
    };
    Ok((listed, first(listed).await?))
}

/// Lists all objects below a prefix, of which the first page is there: where versions are listed, the
/// newest of each, hidden or not. `ask` asks for a page.
pub(super) fn objects<A, P>(
    ask: A,
    (listed, first): (Listed, Page),
    prefix: &str,
) -> impl Stream<Item = Result<Entry, S3Failure>> + Send + use<A, P>
where
    A: Fn(From) -> P + Send + Sync,
    P: Future<Output = Result<Page, S3Failure>> + Send,
{
    let parts = Part::all(listed, first, prefix);
    let ask = Arc::new(ask);
    let entries = move |part: Part| {
        let ask = Arc::clone(&ask);
        Box::pin(
            stream::try_unfold(Some(part), move |part| {
                let ask = Arc::clone(&ask);
                async move {
                    let Some(part) = part else { return Ok(None) };
                    let (entries, rest) = part.next(&*ask).await?;
                    Ok::<_, S3Failure>(Some((stream::iter(entries.into_iter().map(Ok)), rest)))
                }
            })
            .try_flatten(),
        )
    };
    stream::iter(parts.into_iter().map(entries)).flatten_unordered(PARTS_MAX)
}

/// A part of a listing, as far as it was not asked for yet.
#[derive(Debug)]
struct Part {
    interval: Interval,
    /// The next page, if it is there already.
    page: Option<Page>,
    /// Where the page after that begins.
    from: From,
    /// The last name of the pages before.
    last: Option<String>,
}

impl Part {
    /// Divides a listing whose first page is there.
    fn all(listed: Listed, first: Page, prefix: &str) -> Vec<Self> {
        let last = first.next.as_ref().and_then(|_| first.last_key()).unwrap_or_default();
        let intervals = intervals(prefix, last);
        let mut page = Some(first);
        let part = |interval: Interval| {
            let from = interval.after.as_deref().map_or_else(From::new, |name| listed.behind(name));
            Self { interval, page: page.take(), from, last: None }
        };
        intervals.into_iter().map(part).collect()
    }

    /// Returns the objects of the next page, and what is left behind it.
    async fn next<P>(
        mut self,
        ask: &(impl Fn(From) -> P + Sync),
    ) -> Result<(Vec<Entry>, Option<Self>), S3Failure>
    where
        P: Future<Output = Result<Page, S3Failure>> + Send,
    {
        let page = match self.page.take() {
            Some(page) => page,
            None => ask(self.from).await?,
        };
        let ends = page.last_key().is_some_and(|key| self.interval.ends_before(key));
        let (mut newest, last) = newest_of_each(page.objects, self.last);
        newest.retain(|entry| self.interval.has(&entry.key));
        let rest = page.next.filter(|_| !ends);
        let rest = rest.map(|from| Self { from, last, page: None, interval: self.interval });
        Ok((newest, rest))
    }
}

/// Keeps the first of the entries of each key, unless the page before had it; and returns the last key.
fn newest_of_each(entries: Vec<Entry>, mut last: Option<String>) -> (Vec<Entry>, Option<String>) {
    let mut newest = Vec::with_capacity(entries.len());
    for entry in entries {
        if last.as_ref() != Some(&entry.key) {
            last = Some(entry.key.clone());
            newest.push(entry);
        }
    }
    (newest, last)
}

/// All that there is under one key.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The ids of its versions, the newest first.
    pub(super) versions: Vec<Option<String>>,
    /// The ids of what hides it.
    pub(super) markers: Vec<Option<String>>,
}

/// Lists all versions of one key.
pub(super) async fn history(client: &S3Client, key: &str) -> Result<History, S3Failure> {
    let mut history = History::default();
    let mut from = Vec::new();
    loop {
        let page = page(client, Listed::Versions, key, &from).await?;
        // Of all keys that begin with it the key itself comes first.
        let beyond = page.objects.iter().chain(&page.markers).any(|entry| entry.key != key);
        let ids = |entries: Vec<Entry>| {
            entries.into_iter().filter(|entry| entry.key == key).map(|entry| entry.version_id)
        };
        history.versions.extend(ids(page.objects));
        history.markers.extend(ids(page.markers));
        match page.next {
            Some(next) if !beyond => from = next,
            _ => return Ok(history),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn entry(key: &str, version: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            last_modified: lifeboat_model::Timestamp::UNIX_EPOCH,
            size: 0,
            version_id: Some(version.to_owned()),
        }
    }

    #[test]
    fn of_several_versions_the_newest_is_listed_also_across_pages() {
        let entries = vec![entry("a", "2"), entry("a", "1"), entry("b", "1")];
        let (newest, last) = newest_of_each(entries, None);
        let found: Vec<_> =
            newest.iter().map(|e| (e.key.as_str(), e.version_id.as_deref())).collect();
        assert_eq!(found, [("a", Some("2")), ("b", Some("1"))]);
        let (newest, last) = newest_of_each(vec![entry("b", "0"), entry("c", "1")], last);
        assert_eq!(newest.len(), 1);
        assert_eq!(last.as_deref(), Some("c"));
    }
    /// A bucket whose pages have ten names; of each there are two versions.
    fn page_of(names: &BTreeSet<String>, listed: Listed, from: &From) -> Page {
        let after = |name: &&String| match from.first() {
            Some(("continuation-token", token)) => **name >= *token,
            Some((_, behind)) => **name > *behind,
            None => true,
        };
        let mut left = names.iter().filter(after);
        let mut objects: Vec<_> = left.by_ref().take(10).map(|name| entry(name, "1")).collect();
        let next = left.next();
        let next = next.map(|name| match listed {
            Listed::Objects => vec![("continuation-token", name.clone())],
            Listed::Versions => vec![("key-marker", objects[9].key.clone())],
        });
        if listed == Listed::Versions {
            // The page before ended amid the versions of a name.
            let amid = from.iter().any(|(name, _)| *name == "key-marker");
            let first = names.iter().rev().find(|name| amid && !after(name));
            objects.splice(0..0, first.map(|name| entry(name, "0")));
        }
        Page { objects, markers: Vec::new(), next }
    }

    async fn listed(names: &BTreeSet<String>, listed: Listed) -> (Vec<String>, usize) {
        let asked = AtomicUsize::new(0);
        let ask = |from: From| {
            asked.fetch_add(1, Ordering::Relaxed);
            future::ready(Ok(page_of(names, listed, &from)))
        };
        let first = page_of(names, listed, &From::new());
        let found = objects(ask, (listed, first), "data/").map_ok(|entry| entry.key);
        let mut found: Vec<_> = found.try_collect().await.unwrap();
        found.sort_unstable();
        (found, asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn parts_of_a_long_listing_are_all_of_it_and_nothing_twice() {
        let hashes = |count: u32| {
            let hash = |n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_769));
            (0..count).map(move |n| format!("data/{}/{}", &hash(n)[..2], hash(n)))
        };
        let strays = ["data/00", "data/.a", "data/2", "data/G", "data/ff", "data/zz/1"];
        for kind in [Listed::Objects, Listed::Versions] {
            for count in [0, 9, 10, 11, 25, 40, 1000] {
                let mut names: BTreeSet<_> = hashes(count).collect();
                if count > 11 {
                    names.extend(strays.map(str::to_owned));
                }
                let (found, asked) = listed(&names, kind).await;
                assert!(found.iter().eq(&names), "{kind:?} {count}: {found:?}");
                let pages = names.len().div_ceil(10);
                assert!(asked <= pages + PARTS_MAX, "{asked} requests for {pages} pages");
            }
        }
    }

    #[tokio::test]
    async fn names_that_are_no_hashes_are_listed_one_page_after_the_other() {
        let names: BTreeSet<_> = (0..95).map(|n| format!("data/wal-{n:03}")).collect();
        assert_eq!(listed(&names, Listed::Objects).await, (names.into_iter().collect(), 9));
    }
}
