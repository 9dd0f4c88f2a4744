//! Listing one directory: what is in it, what of it the parent snapshot has already, what is left to
//! be read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::BlobId;
use lifeboat_model::pattern::EntryKind;
use rustix::fs::{AtFlags, FileType, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;

use super::assemble::{After, Directory, Known, Opened, Part, Sighting, Slot, Traces};
use super::before::{self, Cursor, ParentTree, Same};
use super::engine::Worker;
use super::file::{FileJob, reason};
use super::fingerprint::{self, Trace};
use super::glance::{Glanced, Settled};
use super::paged::PagedJob;
use super::{BackupError, SkipReason};
use crate::node::{Metadata, Node, NodeHead, NodeKind};
use crate::source::attributes::Holder;
use crate::source::directory::{self, Links};
use crate::source::exclude::Standing;
use crate::source::layout::{Place, Role, Rules};
use crate::source::metadata;
use crate::source::paged::PagedFile;

/// A directory's sort, in the bits of `st_mode`.
const DIRECTORY_TYPE: u32 = 0o040_000;

/// A symbolic link's sort, in the bits of `st_mode`.
const LINK_TYPE: u32 = 0o120_000;

/// A directory that exists only because a stream's path leads through it.
const VIRTUAL_MODE: u32 = DIRECTORY_TYPE | 0o755;

/// How many names of a directory are looked at before the files among them are read: so many entries
/// of each directory are in memory as they are, and workers have enough to do meanwhile.
pub(super) const STRETCH: usize = 4096;

/// A directory to list.
pub(super) struct DirectoryJob {
    /// Where it belongs; the root directory belongs nowhere.
    slot: Option<Slot>,
    /// What was given at or below it.
    place: Option<Arc<Place>>,
    /// The given path that it lies in; outside of one, only the way to such paths is walked.
    territory: Option<Territory>,
    links: Links,
    before: Before,
}

/// What the parent snapshot has of a directory.
#[derive(Default)]
struct Before {
    metadata: Option<Metadata>,
    subtree: Option<BlobId>,
    /// What was found of it, if its directory was only glanced at.
    glimpse: Option<Box<Stat>>,
}

/// A path that was given, and all below it.
#[derive(Debug, Clone)]
pub(super) struct Territory {
    rules: Arc<Rules>,
    /// How the rules stand in the directory that this is about.
    standing: Standing,
    /// The file system that it begins on, once that is known.
    device: Option<u64>,
}

impl Territory {
    fn begin(rules: &Arc<Rules>, path: &Path) -> Self {
        Self { rules: Arc::clone(rules), standing: rules.exclude.begin(path), device: None }
    }

    /// Returns what it is in a directory below.
    pub(super) fn enter(&self, name: &OsStr) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            standing: self.rules.exclude.enter(&self.standing, name),
            device: self.device,
        }
    }

    /// Tells whether an entry of the directory is left out.
    pub(super) fn leaves_out(&self, name: &OsStr, stat: &Stat) -> bool {
        let kind = match metadata::file_type(stat) {
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        // What is mounted on a directory is left out, but not the directory.
        self.rules.exclude.leaves_out(&self.standing, name, kind, metadata::size(stat))
            || (kind == EntryKind::Other && self.ends_before(stat.st_dev))
    }

    /// Tells whether an entry is left out by its name alone, so that it need not even be looked at.
    fn leaves_out_name(&self, name: &OsStr) -> bool {
        self.rules.exclude.leaves_out(&self.standing, name, EntryKind::Other, 0)
    }

    /// Tells whether something on `device` is left out since it lies on another file system.
    fn ends_before(&self, device: u64) -> bool {
        self.rules.one_file_system && self.device.is_some_and(|own| own != device)
    }
}

impl DirectoryJob {
    /// Begins with the root directory.
    pub(super) fn top(place: Arc<Place>, parent_tree: Option<BlobId>) -> Self {
        let territory = match &place.role {
            Role::Root(rules) => Some(Territory::begin(rules, Path::new("/"))),
            _ => None,
        };
        let before = Before { subtree: parent_tree, ..Before::default() };
        Self { slot: None, place: Some(place), territory, links: Links::Follow, before }
    }

    fn path(&self) -> PathBuf {
        self.slot.as_ref().map_or_else(|| PathBuf::from("/"), Slot::path)
    }

    fn is_on_no_disk(&self) -> bool {
        let place = self.place.as_ref();
        place.is_some_and(|place| matches!(place.role, Role::Virtual | Role::Described(_)))
    }

    /// Opens it, unless it is on no disk.
    fn open(&self) -> Result<Option<OwnedFd>, Errno> {
        match &self.slot {
            _ if self.is_on_no_disk() => Ok(None),
            None => directory::open_top().map(Some),
            Some(slot) => {
                let parent = slot.directory.handle.as_ref().ok_or(Errno::NOENT)?;
                directory::open(parent.as_fd(), &slot.name, self.links).map(Some)
            }
        }
    }
}

/// What of a directory was not looked at yet.
#[derive(Debug)]
pub(super) struct Rest {
    names: std::vec::IntoIter<OsString>,
    place: Option<Arc<Place>>,
    territory: Option<Territory>,
    /// How far the parent's tree was gone through.
    passed: before::Mark,
    /// Directories that are known already, by their names.
    settled: BTreeMap<OsString, Settled>,
}

impl Rest {
    /// All of a directory, after it was only glanced at.
    pub(super) fn all(
        names: Vec<OsString>,
        territory: Territory,
        settled: BTreeMap<OsString, Settled>,
    ) -> Self {
        let (names, passed) = (names.into_iter(), before::Mark::default());
        Self { names, place: None, territory: Some(territory), passed, settled }
    }
}

/// What an entry of a directory needs to become known.
pub(super) enum Pending {
    File(Option<Metadata>),
    Directory(Box<Below>),
    /// The stream's number, and whether the parent has a file there.
    Stream(usize, bool),
    /// A file that is read in pieces of a fixed size.
    Paged(Arc<PagedFile>),
}

/// A directory in the one that is being listed.
pub(super) struct Below {
    place: Option<Arc<Place>>,
    territory: Option<Territory>,
    links: Links,
    before: Before,
}

impl Below {
    /// A directory in one that was only glanced at; it is expected to have this tree.
    pub(super) fn glimpsed(territory: Territory, stat: Stat, tree: BlobId) -> Self {
        let before = Before { metadata: None, subtree: Some(tree), glimpse: Some(Box::new(stat)) };
        Self { place: None, territory: Some(territory), links: Links::Refuse, before }
    }
}

/// An entry of a directory.
enum Entry {
    /// It is not in the snapshot.
    LeftOut,
    /// It is as the parent's tree has it, there.
    Kept(Range<usize>, Option<Trace>),
    /// It is known already what its directory has of it.
    Settled(Part, Option<Trace>),
    /// All is known.
    Known(Node, Option<Range<usize>>),
    /// Something is to be done.
    Pending(Pending, Option<Range<usize>>),
}

/// An entry that is not known yet: its number, its name, what it needs, and where the parent's tree has it.
type Unknown = (usize, OsString, Pending, Option<Range<usize>>);

/// The entries of a directory that are looked at one after the other.
#[derive(Default)]
struct Stretch {
    parts: Vec<Part>,
    traces: Vec<Option<Trace>>,
    pending: Vec<Unknown>,
}

impl Stretch {
    fn add(&mut self, directory: &Directory, name: OsString, entry: Entry) {
        let (part, trace) = match entry {
            Entry::LeftOut => return,
            Entry::Kept(range, trace) => (Part::Kept(range), trace),
            Entry::Settled(part, trace) => (part, trace),
            Entry::Known(node, range) => (directory.part(&node, range), directory.trace(&node)),
            Entry::Pending(entry, range) => {
                self.pending.push((self.parts.len(), name, entry, range));
                (Part::Unknown, None)
            }
        };
        self.parts.push(part);
        self.traces.push(trace);
    }
}

/// An entry in the parent's tree.
#[derive(Default)]
struct Former {
    range: Option<Range<usize>>,
    node: Option<Node>,
}

/// A directory that is being listed.
struct Scene<'s> {
    directory: &'s Directory,
    path: &'s Path,
    handle: Option<BorrowedFd<'s>>,
    territory: Option<Territory>,
    /// What the parent snapshot has, as far as names were not passed yet.
    cursor: Cursor<'s>,
    parent: Option<&'s ParentTree>,
    /// Files that were taken over from the parent, and their size.
    kept: (u64, u64),
}

impl Scene<'_> {
    /// Returns what the fingerprint needs of an entry that is as the parent's tree has it.
    fn trace(&self, name: &OsStr, metadata: &Metadata, stat: &Stat) -> Option<Trace> {
        let is_kept = self.directory.traces() == Traces::Kept;
        is_kept.then(|| Trace::of_entry(name, metadata, fingerprint::extent(stat)))
    }

    /// Takes the entry that the cursor stands before, if it has the name that was sought.
    fn take_former(&mut self, is_there: IsThere) -> Former {
        let there = (is_there == IsThere::Yes).then(|| self.cursor.skip()).flatten();
        let node = there.clone().zip(self.parent);
        Former {
            range: there,
            node: node.and_then(|(range, tree)| before::parse(tree.entry(range))),
        }
    }
}

/// Whether the parent's tree has an entry of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsThere {
    Yes,
    No,
}

impl Worker<'_> {
    /// Lists a directory: entries that are known at once are set, the others become jobs.
    pub(super) fn list(&mut self, job: DirectoryJob) -> Result<(), BackupError> {
        if !self.engine.work.goes_on() {
            return Ok(());
        }
        let path = job.path();
        match self.open_and_describe(&job, &path) {
            Ok((opened, stat)) => self.list_opened(job, path, opened, stat),
            Err(error) => match &job.slot {
                None => Err(BackupError::Top(error.into())),
                Some(slot) => {
                    self.skip_directory(&job, path, error);
                    self.set(slot, None)
                }
            },
        }
    }

    fn open_and_describe(
        &self,
        job: &DirectoryJob,
        path: &Path,
    ) -> Result<(Opened, Option<Stat>), Errno> {
        let Some(handle) = job.open()? else {
            let metadata = self.made_up_or_described(job);
            return Ok((Opened { handle: None, metadata, sighting: Sighting::Other }, None));
        };
        let stat = fstat(&handle)?;
        let mut metadata = self.engine.metadata(&stat);
        let sighting = if let Some(glimpse) = &job.before.glimpse {
            Sighting::Glance { stat, is_same: self.engine.says_the_same(&stat, glimpse) }
        } else {
            let (holder, before) = (Holder::Open(handle.as_fd()), job.before.metadata.as_ref());
            metadata.extended_attributes =
                self.engine.attributes(holder, &stat, before, || path.to_owned());
            Sighting::Other
        };
        Ok((Opened { handle: Some(handle), metadata, sighting }, Some(stat)))
    }

    /// Returns the metadata of a directory that is on no disk.
    fn made_up_or_described(&self, job: &DirectoryJob) -> Metadata {
        match job.place.as_ref().map(|place| &place.role) {
            Some(Role::Described(entry)) => {
                metadata::described(DIRECTORY_TYPE, entry, &self.engine.owners)
            }
            _ => metadata::made_up(VIRTUAL_MODE, self.engine.now),
        }
    }

    /// Names a directory that cannot be opened, or the given paths that it would have led to.
    fn skip_directory(&self, job: &DirectoryJob, path: PathBuf, error: Errno) {
        let reason = reason("open", error);
        match &job.place {
            Some(place) if job.territory.is_none() => self.skip_roots(place, &path, &reason),
            _ => self.engine.tally.skip(path, reason),
        }
    }

    /// Names the given paths at and below a place.
    fn skip_roots(&self, place: &Place, path: &Path, reason: &SkipReason) {
        if matches!(place.role, Role::Root(_)) {
            let reason = match reason {
                SkipReason::Vanished | SkipReason::Replaced => SkipReason::Missing,
                other => other.clone(),
            };
            self.engine.tally.skip(path.to_owned(), reason);
        }
        for (name, below) in &place.below {
            self.skip_roots(below, &path.join(name), reason);
        }
    }

    fn list_opened(
        &mut self,
        job: DirectoryJob,
        path: PathBuf,
        opened: Opened,
        stat: Option<Stat>,
    ) -> Result<(), BackupError> {
        let mut territory = job.territory;
        let device = stat.map(|stat| stat.st_dev);
        let foreign = territory.as_ref().zip(device).is_some_and(|(t, d)| t.ends_before(d));
        if let Some(territory) = &mut territory {
            territory.device = territory.device.or(device);
        }
        let handle = opened.handle.as_ref();
        let walked = handle.filter(|_| territory.is_some() && !foreign);
        let listed = walked.map_or_else(Vec::new, |walked| self.listed(walked, &path));
        if let (Some(territory), Some(walked)) = (&mut territory, walked) {
            self.heed(territory, walked, &listed, &path);
        }
        let names = with_given(listed, job.place.as_deref());
        let (place, before) = (job.place, job.before.subtree);
        let has_way = place.as_ref().is_some_and(|place| !place.below.is_empty());
        let traces = match walked {
            Some(_) if !has_way => self.engine.traces(),
            _ => Traces::Dropped,
        };
        if traces == Traces::Kept
            && let (Some(tree), Some(walked), Some(own)) = (before, walked, territory.as_ref())
            && let Some(glance) = self.glance(tree, walked.as_fd(), &names, own)
        {
            let glanced = Glanced::new(names, own.clone(), glance);
            let directory = Directory::new(job.slot, path, opened, before, traces);
            return self.go_below(directory, glanced);
        }
        let directory = Directory::new(job.slot, path, opened, before, traces);
        self.read_parent(&directory);
        let (names, passed) = (names.into_iter(), before::Mark::default());
        let rest = Rest { names, place, territory, passed, settled: BTreeMap::new() };
        let known = self.list_on(&directory, rest)?;
        self.complete(directory, known)
    }

    /// Goes on with the directories in one that is as its tree says, but for them.
    fn go_below(&mut self, directory: Arc<Directory>, glanced: Glanced) -> Result<(), BackupError> {
        let mut stretch = Stretch::default();
        for (name, below) in glanced.below() {
            let below = Pending::Directory(Box::new(below));
            stretch.add(&directory, name, Entry::Pending(below, None));
        }
        let Stretch { parts, traces, pending } = stretch;
        let known = directory.begin_stretch((parts, traces), After::Glanced(Box::new(glanced)));
        if !pending.is_empty() {
            self.hand_out(&directory, pending)?;
        }
        self.complete(directory, known)
    }

    /// Looks at the next stretch of a directory; returns it if all of it is known at once.
    pub(super) fn list_on(
        &mut self,
        directory: &Arc<Directory>,
        mut rest: Rest,
    ) -> Result<Option<Known>, BackupError> {
        if !self.engine.work.goes_on() {
            return Ok(None);
        }
        let place = rest.place.as_deref();
        let mut scene = Scene {
            directory,
            path: &directory.path,
            handle: directory.handle.as_ref().map(AsFd::as_fd),
            territory: rest.territory.clone(),
            cursor: directory.parent().map_or_else(Cursor::nothing, |p| p.cursor_at(rest.passed)),
            parent: directory.parent(),
            kept: (0, 0),
        };
        // What was given is in memory anyway, and must not wait for a stream that is read last.
        let length = if rest.territory.is_some() { STRETCH } else { usize::MAX };
        let mut stretch = Stretch::default();
        for name in rest.names.by_ref().take(length) {
            let below = place.and_then(|place| place.below.get(&name));
            let entry = match rest.settled.remove(&name) {
                Some(settled) => self.take_settled(&mut scene, &name, settled),
                None => self.look(&mut scene, &name, below),
            };
            stretch.add(directory, name, entry);
        }
        let Stretch { parts, traces, pending } = stretch;
        let Scene { kept, cursor, .. } = scene;
        self.engine.tally.files_were_kept(kept.0, kept.1);
        self.engine.advance(kept.0, kept.1);
        let after = if rest.names.len() == 0 {
            After::End(cursor.finish())
        } else {
            rest.passed = cursor.mark();
            After::More(Box::new(rest))
        };
        let known = directory.begin_stretch((parts, traces), after);
        if !pending.is_empty() {
            self.hand_out(directory, pending)?;
        }
        Ok(known)
    }

    /// Takes what is known of a directory already, since its directory was only glanced at before.
    fn take_settled(&self, scene: &mut Scene<'_>, name: &OsStr, settled: Settled) -> Entry {
        let there = if scene.cursor.seek(name) { IsThere::Yes } else { IsThere::No };
        let former = scene.take_former(there);
        let (stat, subtree) = match settled {
            Settled::Part(part, trace) => return Entry::Settled(part, trace),
            Settled::Same(stat, tree) => (stat, tree),
        };
        let Some(handle) = scene.handle else { return Entry::LeftOut };
        let before = former.node.as_ref().map(|node| &node.metadata);
        let metadata = self.entry_metadata(handle, name, &stat, before, scene.path);
        let kind = NodeKind::Directory { subtree };
        Entry::Known(Node { name: name.to_owned(), kind, metadata }, former.range)
    }

    /// Returns the names in a directory.
    fn listed(&self, walked: &OwnedFd, path: &Path) -> Vec<OsString> {
        let listing = directory::list(walked);
        if let Some(error) = listing.broken_off {
            self.engine.tally.skip(path.to_owned(), reason("list", error));
        }
        self.engine.witness.directory_was_listed(path);
        listing.names
    }

    /// Takes in what a directory says about its own content.
    fn heed(&self, territory: &mut Territory, walked: &OwnedFd, listed: &[OsString], path: &Path) {
        let Territory { rules, standing, .. } = territory;
        for (name, error) in rules.exclude.heed(standing, walked, listed) {
            let error = error.to_string();
            self.engine.tally.skip(path.join(name), SkipReason::NotHeeded { error });
        }
    }

    /// Makes jobs of the entries that are not known yet.
    fn hand_out(
        &mut self,
        directory: &Arc<Directory>,
        pending: Vec<Unknown>,
    ) -> Result<(), BackupError> {
        let (mut files, mut directories, mut met) = (Vec::new(), Vec::new(), Vec::new());
        let mut paged = Vec::new();
        for (number, name, entry, range) in pending {
            let was_file = matches!(entry, Pending::File(Some(_)) | Pending::Stream(_, true));
            let slot = Slot { directory: Arc::clone(directory), number, name, was_file, range };
            match entry {
                Pending::File(before) => files.push(FileJob { slot, before }),
                Pending::Paged(file) => paged.push(PagedJob { slot, file }),
                Pending::Stream(stream, _) => {
                    met.extend(self.engine.streams.slot_is_known(stream, slot));
                }
                Pending::Directory(below) => {
                    let Below { place, territory, links, before } = *below;
                    let slot = Some(slot);
                    directories.push(DirectoryJob { slot, place, territory, links, before });
                }
            }
        }
        // The last one is taken first; so the first in the order of names comes first.
        self.engine.work.add(files, directories.into_iter().rev());
        self.engine.work.add_paged(paged);
        met.into_iter().try_for_each(|pair| self.finish_met(pair))
    }

    /// Looks at an entry, which may be the way to a path that was given or such a path itself.
    fn look(&mut self, scene: &mut Scene<'_>, name: &OsStr, place: Option<&Arc<Place>>) -> Entry {
        let role = place.map(|place| &place.role);
        let there = if scene.cursor.seek(name) { IsThere::Yes } else { IsThere::No };
        match role {
            Some(Role::Stream(number)) => {
                let former = scene.take_former(there);
                let is_file = |node: &Node| matches!(node.kind, NodeKind::File { .. });
                let was_file = former.node.as_ref().is_some_and(is_file);
                return Entry::Pending(Pending::Stream(*number, was_file), former.range);
            }
            Some(Role::Paged(file)) => {
                let range = (there == IsThere::Yes).then(|| scene.cursor.skip()).flatten();
                return Entry::Pending(Pending::Paged(Arc::clone(file)), range);
            }
            Some(Role::Link(entry, target)) => {
                let former = scene.take_former(there);
                let metadata = metadata::described(LINK_TYPE, entry, &self.engine.owners);
                let kind = NodeKind::Symlink { target: target.clone() };
                let node = Node { name: name.to_owned(), kind, metadata };
                return Entry::Known(node, former.range);
            }
            Some(Role::Virtual | Role::Described(_)) => {
                return below(place, None, Links::Refuse, scene.take_former(there));
            }
            Some(Role::Passage) if scene.territory.is_none() => {
                return below(place, None, Links::Follow, scene.take_former(there));
            }
            _ => {}
        }
        let Some(handle) = scene.handle else { return Entry::LeftOut };
        let stat = match statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => {
                let (path, reason) = (scene.path.join(name), reason("look at", error));
                match (place, &scene.territory) {
                    (Some(place), _) => self.skip_roots(place, &path, &reason),
                    // What nobody may look at, like another user's FUSE mount, can be left out.
                    (None, Some(territory)) if territory.leaves_out_name(name) => {}
                    (None, _) => self.engine.tally.skip(path, reason),
                }
                return Entry::LeftOut;
            }
        };
        let is_given = matches!(role, Some(Role::Root(_)));
        let territory = scene.territory.as_ref();
        let is_in = is_given || territory.is_some_and(|own| !own.leaves_out(name, &stat));
        match metadata::file_type(&stat) {
            FileType::Directory if is_in || place.is_some() => {
                // The way to another given path is walked through what is left out.
                let territory = is_in.then(|| territory_below(scene, name, role)).flatten();
                let former = self.former_directory(scene, name, &stat, there);
                below(place, territory, Links::Refuse, former)
            }
            _ if !is_in => Entry::LeftOut,
            FileType::Socket => Entry::LeftOut,
            FileType::RegularFile => self.look_at_file(scene, name, &stat, there),
            _ => match self.look_at_other(scene, name, &stat, (place, there)) {
                Ok(Entry::Known(node, range)) => {
                    self.name_links_to_given_paths(place, scene.path, &node);
                    Entry::Known(node, range)
                }
                Ok(entry) => entry,
                Err(error) => {
                    self.engine.tally.skip(scene.path.join(name), reason("read", error));
                    Entry::LeftOut
                }
            },
        }
    }

    /// Takes the parent's entry if it is what would be written now, and returns it with its metadata.
    ///
    /// It has no attributes then: those of the parent are right, since nobody touched the inode.
    fn same(
        &mut self,
        scene: &mut Scene<'_>,
        name: &OsStr,
        stat: &Stat,
        there: IsThere,
    ) -> Option<(Same, Metadata)> {
        if there == IsThere::No || !self.engine.keeps_attributes() {
            return None;
        }
        let (kind, size) = match metadata::file_type(stat) {
            FileType::RegularFile => ("file", metadata::size(stat)),
            FileType::Directory => ("dir", 0),
            FileType::Symlink => ("symlink", 0),
            _ => return None,
        };
        let metadata = self.engine.metadata(stat);
        self.scratch.clear();
        NodeHead { name, kind, size, metadata: &metadata }.write(&mut self.scratch);
        Some((scene.cursor.take_same(&self.scratch)?, metadata))
    }

    fn former_directory(
        &mut self,
        scene: &mut Scene<'_>,
        name: &OsStr,
        stat: &Stat,
        there: IsThere,
    ) -> Former {
        let Some((same, metadata)) = self.same(scene, name, stat, there) else {
            return scene.take_former(there);
        };
        let kind = scene.cursor.subtree(&same).map(|subtree| NodeKind::Directory { subtree });
        let node = kind.map(|kind| Node { name: name.to_owned(), kind, metadata });
        Former { range: Some(same.range), node }
    }

    /// Takes a file over from the parent, or leaves it to be read.
    fn look_at_file(
        &mut self,
        scene: &mut Scene<'_>,
        name: &OsStr,
        stat: &Stat,
        there: IsThere,
    ) -> Entry {
        let size = metadata::size(stat);
        if let Some((same, metadata)) = self.same(scene, name, stat, there) {
            if scene.handle.is_none() || !self.engine.has_all(scene.cursor.pieces(&same)) {
                return Entry::Pending(Pending::File(Some(metadata)), Some(same.range));
            }
            scene.kept.0 += 1;
            scene.kept.1 += size;
            return Entry::Kept(same.range, scene.trace(name, &metadata, stat));
        }
        let Former { range, node } = scene.take_former(there);
        match node {
            Some(Node { kind: NodeKind::File { size, content }, metadata: before, .. }) => {
                let unchanged = size == metadata::size(stat)
                    && before.mtime.is_same_instant(metadata::mtime(stat))
                    && self.engine.has_inode_of(stat, &before)
                    && self.engine.has_all(content.iter().copied());
                let Some(handle) = scene.handle.filter(|_| unchanged) else {
                    return Entry::Pending(Pending::File(Some(before)), range);
                };
                scene.kept.0 += 1;
                scene.kept.1 += size;
                let metadata = self.entry_metadata(handle, name, stat, Some(&before), scene.path);
                let kind = NodeKind::File { size, content };
                Entry::Known(Node { name: name.to_owned(), kind, metadata }, range)
            }
            _ => Entry::Pending(Pending::File(None), range),
        }
    }

    fn look_at_other(
        &mut self,
        scene: &mut Scene<'_>,
        name: &OsStr,
        stat: &Stat,
        (place, there): (Option<&Arc<Place>>, IsThere),
    ) -> Result<Entry, Errno> {
        let handle = scene.handle.ok_or(Errno::NOENT)?;
        if place.is_none()
            && let Some((same, metadata)) = self.same(scene, name, stat, there)
        {
            return Ok(Entry::Kept(same.range, scene.trace(name, &metadata, stat)));
        }
        let kind = match metadata::file_type(stat) {
            FileType::Symlink => {
                let target = readlinkat(handle, name, Vec::new())?;
                NodeKind::Symlink { target: OsString::from_vec(target.into_bytes()) }
            }
            FileType::BlockDevice => NodeKind::BlockDevice { device: stat.st_rdev },
            FileType::CharacterDevice => NodeKind::CharDevice { device: stat.st_rdev },
            FileType::Fifo => NodeKind::Fifo,
            _ => return Err(Errno::NOTSUP),
        };
        let former = scene.take_former(there);
        let before = former.node.map(|node| node.metadata);
        let metadata = self.entry_metadata(handle, name, stat, before.as_ref(), scene.path);
        Ok(Entry::Known(Node { name: name.to_owned(), kind, metadata }, former.range))
    }

    fn entry_metadata(
        &self,
        handle: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        before: Option<&Metadata>,
        directory: &Path,
    ) -> Metadata {
        let mut metadata = self.engine.metadata(stat);
        let holder = Holder::Entry(handle, name);
        metadata.extended_attributes =
            self.engine.attributes(holder, stat, before, || directory.join(name));
        metadata
    }

    /// A given path that is a link, or that a link below another given path hides, holds less than
    /// the operator may think.
    fn name_links_to_given_paths(&self, place: Option<&Arc<Place>>, above: &Path, node: &Node) {
        if let (Some(place), NodeKind::Symlink { target }) = (place, &node.kind) {
            let path = above.join(&node.name);
            self.skip_roots(place, &path, &SkipReason::OnlyLink { target: target.into() });
        }
    }
}

fn below(
    place: Option<&Arc<Place>>,
    territory: Option<Territory>,
    links: Links,
    former: Former,
) -> Entry {
    let before = match former.node {
        Some(Node { kind: NodeKind::Directory { subtree }, metadata, .. }) => {
            Before { metadata: Some(metadata), subtree: Some(subtree), glimpse: None }
        }
        _ => Before::default(),
    };
    let place = place.map(Arc::clone);
    let below = Below { place, territory, links, before };
    Entry::Pending(Pending::Directory(Box::new(below)), former.range)
}

/// Returns the territory of a directory that is not left out: one that was given has its own.
fn territory_below(scene: &Scene<'_>, name: &OsStr, role: Option<&Role>) -> Option<Territory> {
    match role {
        Some(Role::Root(rules)) => Some(Territory::begin(rules, &scene.path.join(name))),
        _ => scene.territory.as_ref().map(|territory| territory.enter(name)),
    }
}

/// Adds the names that were given to those that were listed.
fn with_given(mut names: Vec<OsString>, place: Option<&Place>) -> Vec<OsString> {
    if let Some(place) = place.filter(|place| !place.below.is_empty()) {
        names.extend(place.below.keys().cloned());
        names.sort_unstable();
    }
    // A tree has each name once, whatever a file system lists.
    names.dedup();
    names
}
