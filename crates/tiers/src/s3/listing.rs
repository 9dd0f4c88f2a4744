//! Listings of a bucket, page by page.

use futures::stream::{self, Stream, TryStreamExt as _};
use http::Method;

use super::answers::{Entry, Page};
use super::client::{Call, S3Client};
use super::refused::S3Failure;

/// How many objects one request lists: the most that S3 gives.
const PAGE_OBJECTS: &str = "1000";

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// What is there now.
    Objects,
    /// What is there or was, with what hides it.
    Versions,
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

/// Lists all objects below a prefix: where versions are listed, the newest of each, hidden or not.
pub(super) fn objects(
    client: &S3Client,
    listed: Listed,
    prefix: String,
) -> impl Stream<Item = Result<Entry, S3Failure>> + Send + '_ {
    let first = Some((Vec::new(), None::<String>));
    stream::try_unfold(first, move |at| {
        let prefix = prefix.clone();
        async move {
            let Some((from, last_key)) = at else { return Ok(None) };
            let page = page(client, listed, &prefix, &from).await?;
            let (newest, last_key) = newest_of_each(page.objects, last_key);
            let next = page.next.map(|next| (next, last_key));
            Ok::<_, S3Failure>(Some((stream::iter(newest.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
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
}
