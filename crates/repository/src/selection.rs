//! Which snapshots are meant: by name, by host, tags and paths, the newest of them, and in groups.
//!
//! The one resolver for every command. A [`SnapshotName`] is what a person types for one snapshot; a
//! [`SnapshotFilter`] narrows down what `latest` and "all of them" mean; a [`GroupBy`] puts together
//! what is kept, counted or shown together.
//!
//! Sources: restic `internal/data/snapshot_find.go`, `internal/data/snapshot_group.go`, whose words
//! and rules these are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lifeboat_model::{BlobId, SnapshotId};
use serde::Serialize;

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::listing;
use crate::node::{Node, NodeKind};
use crate::repository::{Indexed, ReadableSnapshots, Repository, State};
use crate::snapshot::Snapshot;
use crate::store::FileId;

/// What names the newest snapshot.
const LATEST: &str = "latest";

/// What a person calls a snapshot: `latest` or the first digits of its id, and behind a colon a
/// directory in it that is then taken for its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotName {
    /// `latest` or the first digits of an id.
    pub wanted: String,
    /// The directory in it; `/` is all of it.
    pub directory: PathBuf,
}

impl SnapshotName {
    /// Names the newest snapshot.
    pub fn latest() -> Self {
        Self::from(OsStr::new(LATEST))
    }
}

impl From<&OsStr> for SnapshotName {
    /// Splits at the first colon, which no id has; the path behind it need not be text.
    fn from(name: &OsStr) -> Self {
        let bytes = name.as_bytes();
        let (wanted, directory) = match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], OsStr::from_bytes(&bytes[colon + 1..])),
            None => (bytes, OsStr::new("/")),
        };
        let wanted = String::from_utf8_lossy(wanted).into_owned();
        Self { wanted, directory: directory.into() }
    }
}

impl FromStr for SnapshotName {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(OsStr::new(name)))
    }
}

/// Tags that a snapshot has to have all of; a single empty one wants a snapshot without any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList(Vec<String>);

impl TagList {
    /// Returns the tags, without empty ones.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|tag| !tag.is_empty())
    }

    /// Tells whether a snapshot has them.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        if self.tags().next().is_none() {
            return snapshot.tags.is_empty();
        }
        self.tags().all(|tag| snapshot.tags.iter().any(|own| own == tag))
    }
}

impl FromStr for TagList {
    type Err = Infallible;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        Ok(Self(list.split(',').map(|tag| tag.trim().to_owned()).collect()))
    }
}

impl fmt::Display for TagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// Which snapshots are looked at; an empty filter takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Of one of these hosts.
    pub hosts: Vec<String>,
    /// With all tags of one of these lists.
    pub tags: Vec<TagList>,
    /// Of all of these paths.
    pub paths: Vec<String>,
}

impl SnapshotFilter {
    /// Tells whether it takes a snapshot.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(|list| list.matches(snapshot)))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// What was asked for, for a message: `latest of host web with tags a,b`.
impl fmt::Display for SnapshotFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<String> = self.tags.iter().map(ToString::to_string).collect();
        for (word, values) in
            [("of host", &self.hosts), ("with tags", &tags), ("with path", &self.paths)]
        {
            if !values.is_empty() {
                write!(f, " {word} {}", values.join(" or "))?;
            }
        }
        Ok(())
    }
}

impl<S: State> Repository<S> {
    /// Finds the snapshot with a name; the filter narrows down what `latest` is, and does not
    /// matter to one that is named by its id.
    pub fn choose(
        &self,
        name: &SnapshotName,
        filter: &SnapshotFilter,
    ) -> Result<(SnapshotId, Snapshot), RepositoryError> {
        if name.wanted == LATEST {
            let readable = self.readable_snapshots()?.or_warn();
            let newest = readable.into_iter().rfind(|(_, snapshot)| filter.matches(snapshot));
            return newest.ok_or_else(|| self.no_snapshot(format!("{LATEST}{filter}")));
        }
        let ids = self.snapshot_ids()?;
        let found = begins_with(ids, SnapshotId::to_hex, &name.wanted);
        let id = found
            .map_err(|candidates| self.ambiguous("snapshots", &name.wanted, candidates))?
            .ok_or_else(|| self.no_snapshot(name.wanted.clone()))?;
        Ok((id, self.snapshot(&id)?))
    }

    /// Finds the snapshots with these names, each once and in this order; without any name all that
    /// the filter takes, the oldest first.
    pub fn choose_all(
        &self,
        names: &[SnapshotName],
        filter: &SnapshotFilter,
    ) -> Result<Vec<(SnapshotId, Snapshot)>, RepositoryError> {
        let mut seen = BTreeSet::new();
        let chosen = self.choose_directories(names, filter)?.into_iter();
        let once = chosen.filter(|(id, ..)| seen.insert(*id));
        Ok(once.map(|(id, snapshot, _)| (id, snapshot)).collect())
    }

    /// Finds snapshots like [`Repository::choose_all`]; without any name, those that are damaged are told
    /// apart from those that can be read.
    pub fn choose_readable(
        &self,
        names: &[SnapshotName],
        filter: &SnapshotFilter,
    ) -> Result<ReadableSnapshots, RepositoryError> {
        if names.is_empty() {
            let mut found = self.readable_snapshots()?;
            found.snapshots.retain(|(_, snapshot)| filter.matches(snapshot));
            return Ok(found);
        }
        let snapshots = self.choose_all(names, filter)?;
        Ok(ReadableSnapshots { snapshots, damaged: Vec::new() })
    }

    /// Finds snapshots like [`Repository::choose_all`], with the directory that each name tells, for
    /// [`Repository::enter`].
    pub fn choose_directories(
        &self,
        names: &[SnapshotName],
        filter: &SnapshotFilter,
    ) -> Result<Vec<(SnapshotId, Snapshot, PathBuf)>, RepositoryError> {
        if names.is_empty() {
            let mut all = self.snapshots()?;
            all.retain(|(_, snapshot)| filter.matches(snapshot));
            return Ok(all.into_iter().map(|(id, s)| (id, s, PathBuf::from("/"))).collect());
        }
        let choose = |name: &SnapshotName| {
            let (id, snapshot) = self.choose(name, filter)?;
            Ok((id, snapshot, name.directory.clone()))
        };
        names.iter().map(choose).collect()
    }

    /// Finds a snapshot by `latest` or by the first digits of its id.
    pub fn find_snapshot(&self, wanted: &str) -> Result<(SnapshotId, Snapshot), RepositoryError> {
        let name = SnapshotName { wanted: wanted.to_owned(), directory: PathBuf::from("/") };
        self.choose(&name, &SnapshotFilter::default())
    }

    /// Finds the one file of a kind whose id begins with these digits; `what` is the kind in the
    /// plural, for messages.
    pub fn find_file<I: FileId>(
        &self,
        what: &'static str,
        digits: &str,
    ) -> Result<I, RepositoryError> {
        let ids = self.store().list::<I>()?.into_iter().map(|file| file.id);
        begins_with(ids, FileId::hex, digits)
            .map_err(|candidates| self.ambiguous(what, digits, candidates))?
            .ok_or_else(|| self.no_such(what, digits))
    }

    fn no_snapshot(&self, wanted: String) -> RepositoryError {
        RepositoryError::NoSnapshot { address: self.address().to_owned(), wanted }
    }

    pub(crate) fn no_such(&self, what: &'static str, digits: &str) -> RepositoryError {
        let address = self.address().to_owned();
        RepositoryError::NoSuchId { address, what, digits: digits.to_owned() }
    }

    pub(crate) fn ambiguous(
        &self,
        what: &'static str,
        prefix: &str,
        candidates: Vec<String>,
    ) -> RepositoryError {
        let address = self.address().to_owned();
        RepositoryError::AmbiguousId { address, what, prefix: prefix.to_owned(), candidates }
    }
}

impl Repository<Indexed> {
    /// Finds the one blob of a kind whose id begins with these digits.
    pub fn find_blob(&self, kind: BlobKind, digits: &str) -> Result<BlobId, RepositoryError> {
        let what = match kind {
            BlobKind::Data => "data blobs",
            BlobKind::Tree => "tree blobs",
        };
        // One that lies in several packs is still one.
        let ids: BTreeSet<BlobId> = self
            .index()
            .blobs(kind)
            .map(|(id, _)| id)
            .filter(|id| id.to_hex().starts_with(digits))
            .collect();
        begins_with(ids, BlobId::to_hex, digits)
            .map_err(|candidates| self.ambiguous(what, digits, candidates))?
            .ok_or_else(|| self.no_such(what, digits))
    }

    /// Takes a directory of a snapshot for its root; `/` leaves it as it is.
    pub fn enter(&self, snapshot: Snapshot, directory: &Path) -> Result<Snapshot, RepositoryError> {
        match listing::find(self, &snapshot, directory)? {
            None => Ok(snapshot),
            Some(Node { kind: NodeKind::Directory { subtree }, .. }) => {
                Ok(Snapshot { tree: subtree, ..snapshot })
            }
            Some(_) => Err(RepositoryError::NotADirectory { path: directory.to_owned() }),
        }
    }
}

/// Finds the one id that begins with these digits; all that do, if they are several.
pub(crate) fn begins_with<I>(
    ids: impl IntoIterator<Item = I>,
    to_hex: impl Fn(&I) -> String,
    digits: &str,
) -> Result<Option<I>, Vec<String>> {
    if digits.is_empty() {
        return Ok(None);
    }
    let mut matching: Vec<I> =
        ids.into_iter().filter(|id| to_hex(id).starts_with(digits)).collect();
    if matching.len() > 1 {
        return Err(matching.iter().map(to_hex).collect());
    }
    Ok(matching.pop())
}

/// Keeps the newest `count` of each host and paths, in the order in which they come, which is the
/// oldest first.
pub fn newest(snapshots: Vec<(SnapshotId, Snapshot)>, count: usize) -> Vec<(SnapshotId, Snapshot)> {
    let mut seen: HashMap<(String, Vec<String>), usize> = HashMap::new();
    let mut kept: Vec<_> = snapshots
        .into_iter()
        .rev()
        .filter(|(_, snapshot)| {
            let key = (snapshot.hostname.clone(), sorted(&snapshot.paths));
            let seen = seen.entry(key).or_default();
            *seen += 1;
            *seen <= count
        })
        .collect();
    kept.reverse();
    kept
}

/// What snapshots of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trait {
    /// The host.
    Host,
    /// The paths.
    Paths,
    /// The tags.
    Tags,
}

/// By what snapshots are put into groups; by nothing, they are all in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupBy(BTreeSet<Trait>);

impl GroupBy {
    /// Groups by these traits.
    pub fn new(traits: impl IntoIterator<Item = Trait>) -> Self {
        Self(traits.into_iter().collect())
    }

    /// Tells whether everything is in one group.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the group of a snapshot.
    pub fn group(&self, snapshot: &Snapshot) -> Group {
        let has = |wanted| self.0.contains(&wanted);
        Group {
            host: has(Trait::Host).then(|| snapshot.hostname.clone()),
            paths: has(Trait::Paths).then(|| sorted(&snapshot.paths)),
            tags: has(Trait::Tags).then(|| sorted(&snapshot.tags)),
        }
    }

    /// Puts snapshots into groups, in each of which they keep their order.
    pub fn groups(
        &self,
        snapshots: Vec<(SnapshotId, Snapshot)>,
    ) -> BTreeMap<Group, Vec<(SnapshotId, Snapshot)>> {
        let mut groups: BTreeMap<Group, Vec<_>> = BTreeMap::new();
        for (id, snapshot) in snapshots {
            groups.entry(self.group(&snapshot)).or_default().push((id, snapshot));
        }
        groups
    }
}

/// A text does not say by what to group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is nothing to group by: expected host, paths or tags, separated by commas")]
pub struct GroupByError {
    word: String,
}

impl FromStr for GroupBy {
    type Err = GroupByError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| match word {
                "host" | "hosts" => Ok(Trait::Host),
                "path" | "paths" => Ok(Trait::Paths),
                "tag" | "tags" => Ok(Trait::Tags),
                _ => Err(GroupByError { word: word.to_owned() }),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What the snapshots of a group have in common; nothing where it does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The paths, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// The tags, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |word: &str, values: &Option<Vec<String>>| {
            let values = values.as_ref()?;
            let none = values.is_empty();
            Some(if none { format!("no {word}") } else { format!("{word} {}", values.join(", ")) })
        };
        let parts = [
            self.host.as_ref().map(|host| format!("host {host}")),
            list("paths", &self.paths),
            list("tags", &self.tags),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

fn sorted(values: &[String]) -> Vec<String> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Timestamp;

    use super::*;

    fn snapshot(host: &str, tags: &[&str], paths: &[&str]) -> Snapshot {
        let paths = paths.iter().map(ToString::to_string).collect();
        let mut snapshot = Snapshot::new(Timestamp::UNIX_EPOCH, BlobId::from_bytes([1; 32]), paths);
        snapshot.hostname = host.to_owned();
        snapshot.tags = tags.iter().map(ToString::to_string).collect();
        snapshot
    }

    fn filter(hosts: &[&str], tags: &[&str], paths: &[&str]) -> SnapshotFilter {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let tags = tags.iter().map(|list| list.parse().unwrap()).collect();
        SnapshotFilter { hosts: texts(hosts), tags, paths: texts(paths) }
    }

    #[test]
    fn a_name_has_a_directory_behind_its_colon() {
        for (name, wanted, directory) in [
            ("latest", "latest", "/"),
            ("1a2b:/srv/media", "1a2b", "/srv/media"),
            ("latest:srv", "latest", "srv"),
            ("1a:/with:colon", "1a", "/with:colon"),
            ("1a:", "1a", ""),
        ] {
            let expected =
                SnapshotName { wanted: wanted.to_owned(), directory: PathBuf::from(directory) };
            assert_eq!(name.parse(), Ok(expected), "{name}");
        }
        let raw = SnapshotName::from(OsStr::from_bytes(b"latest:/\xff"));
        assert_eq!(raw.directory, Path::new(OsStr::from_bytes(b"/\xff")));
    }

    #[test]
    fn filters_take_what_restic_takes() {
        let web = snapshot("web", &["daily", "asset=media"], &["/srv", "/etc"]);
        let bare = snapshot("db", &[], &["/srv"]);
        for (filter, web_too, bare_too) in [
            (filter(&[], &[], &[]), true, true),
            (filter(&["web"], &[], &[]), true, false),
            (filter(&["web", "db"], &[], &[]), true, true),
            (filter(&[], &["daily"], &[]), true, false),
            (filter(&[], &["daily,other"], &[]), false, false),
            (filter(&[], &["daily, asset=media"], &[]), true, false),
            (filter(&[], &["other", "daily"], &[]), true, false),
            (filter(&[], &[""], &[]), false, true),
            (filter(&[], &["", "daily"], &[]), true, true),
            (filter(&[], &[], &["/srv"]), true, true),
            (filter(&[], &[], &["/srv", "/etc"]), true, false),
            (filter(&[], &[], &["/sr"]), false, false),
            (filter(&["db"], &["daily"], &[]), false, false),
        ] {
            assert_eq!(filter.matches(&web), web_too, "{filter:?}");
            assert_eq!(filter.matches(&bare), bare_too, "{filter:?}");
        }
        assert_eq!(
            filter(&["a", "b"], &["x,y"], &["/srv"]).to_string(),
            " of host a or b with tags x,y with path /srv"
        );
    }

    #[test]
    fn digits_fit_one_id_or_are_ambiguous() {
        let ids = || ["abc1", "abd2", "b000"].map(str::to_owned);
        let find = |digits| begins_with(ids(), String::clone, digits);
        assert_eq!(find("b"), Ok(Some("b000".to_owned())));
        assert_eq!(find("abc"), Ok(Some("abc1".to_owned())));
        assert_eq!(find("ab"), Err(vec!["abc1".to_owned(), "abd2".to_owned()]));
        assert_eq!((find("c"), find("")), (Ok(None), Ok(None)));
    }

    fn numbered(snapshots: Vec<Snapshot>) -> Vec<(SnapshotId, Snapshot)> {
        let id = |number| SnapshotId::from_bytes([number; 32]);
        (0..).map(id).zip(snapshots).collect()
    }

    #[test]
    fn the_newest_of_each_host_and_paths_are_kept_in_order() {
        let all = numbered(vec![
            snapshot("web", &[], &["/a", "/b"]),
            snapshot("db", &[], &["/a"]),
            snapshot("web", &["t"], &["/b", "/a"]),
            snapshot("web", &[], &["/a", "/b"]),
        ]);
        let kept: Vec<u8> = newest(all.clone(), 1).iter().map(|(id, _)| id.as_bytes()[0]).collect();
        assert_eq!(kept, [1, 3]);
        assert_eq!(newest(all.clone(), 2).len(), 3);
        assert_eq!(newest(all, 0), []);
    }

    #[test]
    fn groups_know_what_their_snapshots_share() {
        let all = numbered(vec![
            snapshot("web", &["b", "a"], &["/x"]),
            snapshot("db", &[], &["/x"]),
            snapshot("web", &["a", "b"], &["/x", "/y"]),
        ]);
        let sizes = |by: &str| -> Vec<(String, usize)> {
            let by: GroupBy = by.parse().unwrap();
            let groups = by.groups(all.clone()).into_iter();
            groups.map(|(group, members)| (group.to_string(), members.len())).collect()
        };
        assert_eq!(sizes(""), [(String::new(), 3)]);
        assert_eq!(sizes("host"), [("host db".to_owned(), 1), ("host web".to_owned(), 2)]);
        assert_eq!(
            sizes("tags,paths"),
            [
                ("paths /x; no tags".to_owned(), 1),
                ("paths /x; tags a, b".to_owned(), 1),
                ("paths /x, /y; tags a, b".to_owned(), 1)
            ]
        );
        let error = "host,color".parse::<GroupBy>().unwrap_err();
        assert!(error.to_string().contains("`color`"), "{error}");
    }
}
