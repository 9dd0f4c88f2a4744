//! What lies in the buckets, in memory: a page of a listing costs as much as the page is long.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How many objects a page has at most, whatever is asked for, as S3 has it.
const PAGE_MAX: usize = 1000;

/// What a listing says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub size: u64,
    pub modified: SystemTime,
}

impl Entry {
    /// Takes what the file system says of an object's file.
    pub fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { size: metadata.len(), modified: metadata.modified()? })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    pub prefix: &'q str,
    /// What lies beyond the next of these behind the prefix is told by its common prefix alone.
    pub delimiter: Option<&'q str>,
    /// The last name of the page before.
    pub after: Option<&'q str>,
    pub count: usize,
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<(String, Entry)>,
    pub prefixes: Vec<String>,
    /// The name after which the next page begins, if there is one.
    pub next: Option<String>,
}

/// The objects of all buckets, by bucket and key.
#[derive(Debug, Default)]
pub struct Catalog(Mutex<BTreeMap<String, BTreeMap<String, Entry>>>);

impl Catalog {
    /// Looks at all that lies below `root`: a directory for each bucket.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut buckets = BTreeMap::new();
        for bucket in fs::read_dir(root)? {
            let bucket = bucket?;
            if bucket.file_type()?.is_dir() {
                let mut objects = BTreeMap::new();
                walk(&bucket.path(), "", &mut objects)?;
                buckets.insert(bucket.file_name().to_string_lossy().into_owned(), objects);
            }
        }
        Ok(Self(Mutex::new(buckets)))
    }

    pub fn put(&self, bucket: &str, key: &str, entry: Entry) {
        self.lock().entry(bucket.to_owned()).or_default().insert(key.to_owned(), entry);
    }

    pub fn delete(&self, bucket: &str, key: &str) {
        if let Some(objects) = self.lock().get_mut(bucket) {
            objects.remove(key);
        }
    }

    /// Returns a page; nothing of a bucket that has none is an empty one.
    pub fn page(&self, bucket: &str, question: Question<'_>) -> Page {
        let Question { prefix, delimiter, after, count } = question;
        let mut page = Page::default();
        let buckets = self.lock();
        let Some(objects) = buckets.get(bucket) else { return page };
        let mut begin = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after.to_owned()),
            None => Bound::Included(prefix.to_owned()),
        };
        let mut last = None;
        while let Some((key, entry)) = objects.range((begin, Bound::Unbounded)).next() {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            let end = delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            let common = end.map(|end| key[..prefix.len() + end].to_owned());
            if page.objects.len() + page.prefixes.len() >= count.min(PAGE_MAX) {
                page.next = last;
                break;
            }
            begin = match &common {
                // No key goes on like that: what begins with the prefix comes before it.
                Some(common) => Bound::Excluded(format!("{common}\u{10ffff}")),
                None => Bound::Excluded(key.clone()),
            };
            last = Some(match common {
                Some(common) => {
                    page.prefixes.push(common.clone());
                    format!("{common}\u{10ffff}")
                }
                None => {
                    page.objects.push((key.clone(), *entry));
                    key.clone()
                }
            });
        }
        page
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<String, Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn walk(directory: &Path, before: &str, objects: &mut BTreeMap<String, Entry>) -> io::Result<()> {
    for found in fs::read_dir(directory)? {
        let found = found?;
        let key = format!("{before}{}", found.file_name().to_string_lossy());
        if found.file_type()?.is_dir() {
            walk(&found.path(), &format!("{key}/"), objects)?;
        } else {
            objects.insert(key, Entry::of(&found.metadata()?)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(keys: impl IntoIterator<Item = String>) -> Catalog {
        let catalog = Catalog::default();
        for key in keys {
            catalog.put("b", &key, Entry { size: 1, modified: SystemTime::UNIX_EPOCH });
        }
        catalog
    }

    fn all(catalog: &Catalog, prefix: &str, delimiter: Option<&str>, count: usize) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let question = Question { prefix, delimiter, after: after.as_deref(), count };
            let page = catalog.page("b", question);
            names.extend(page.objects.into_iter().map(|(key, _)| key).chain(page.prefixes));
            match page.next {
                Some(next) => after = Some(next),
                None => return names,
            }
        }
    }

    #[test]
    fn pages_together_are_what_is_there() {
        let keys: Vec<_> = (0..2500).map(|number| format!("data/{number:04}")).collect();
        let catalog = catalog(keys.iter().cloned().chain(["a".to_owned(), "z".to_owned()]));
        for count in [7, 1000, 5000] {
            assert_eq!(all(&catalog, "data/", None, count), keys);
        }
        let first = Question { prefix: "", delimiter: None, after: None, count: 5000 };
        assert_eq!(catalog.page("b", first).objects.len(), PAGE_MAX);
        assert_eq!(catalog.page("none", first), Page::default());
    }

    #[test]
    fn what_lies_deeper_is_told_once() {
        let catalog = catalog(["a/1", "a/2", "b", "c/1/2", "c/3"].map(str::to_owned));
        for count in [1, 10] {
            let mut names = all(&catalog, "", Some("/"), count);
            names.sort();
            assert_eq!(names, ["a/", "b", "c/"]);
            assert_eq!(all(&catalog, "c/", Some("/"), count).len(), 2);
        }
        catalog.delete("b", "b");
        assert_eq!(all(&catalog, "", None, 10).len(), 4);
    }
}
