//! The entries of a restore plan, small enough that a million of them fit beside everything else.
//!
//! # Limits
//!
//! About 100 bytes an entry, its name and link target included as they are; owners' names are kept
//! once each. At most [`ENTRIES_MAX`] entries.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::name::Component;
use crate::listing::shown_path;
use crate::node::{ExtendedAttribute, Node};
use crate::time::NodeTime;

/// How many entries a plan takes: their numbers have 32 bits, and one is left over for none.
pub const ENTRIES_MAX: usize = u32::MAX as usize - 1;

/// The number of an entry.
pub type EntryNumber = u32;

/// A directory of the target by its entry; `None` is the target itself.
pub type DirNumber = Option<EntryNumber>;

/// What makes an entry what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A directory, and the entries in it.
    Directory {
        /// The first of them.
        first: EntryNumber,
        /// How many there are.
        count: u32,
    },
    /// A file, and its pieces among those of the plan in the order of files.
    File {
        /// Its length in bytes.
        size: u64,
        /// The first of its pieces.
        first: u32,
        /// How many there are.
        count: u32,
    },
    /// A further name of an entry before it.
    HardLink {
        /// The first name.
        first: EntryNumber,
    },
    /// A symbolic link, with its target among the names.
    Symlink(Text),
    /// A block device and its number.
    BlockDevice(u64),
    /// A character device and its number.
    CharDevice(u64),
    /// A named pipe.
    Fifo,
    /// A socket: its process makes it.
    Socket,
}

/// Why an entry is in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// It was looked into, and nothing in it is wanted.
    No,
    /// It leads to something that is wanted.
    Leads,
    /// It was asked for.
    Yes,
}

/// What of an entry is in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing that can be used; what has its name is replaced.
    Nothing,
    /// A file in which some pieces are right; the others are written into it.
    Part,
    /// A file with the right content.
    Content,
    /// Something that is left alone.
    Untouched,
}

/// Bytes among the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    begin: u64,
    length: u32,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    parent: EntryNumber,
    name: Text,
    /// What it is.
    pub sort: Sort,
    /// Whose it is.
    pub uid: u32,
    /// Of which group it is.
    pub gid: u32,
    owner: u32,
    /// Permissions, in the twelve bits of Unix.
    pub mode: u16,
    /// Why it is here.
    pub wanted: Wanted,
    /// What is there of it.
    pub there: There,
    /// When it was read last.
    pub atime: NodeTime,
    /// When it was changed last.
    pub mtime: NodeTime,
    attributes: Option<Box<[ExtendedAttribute]>>,
}

impl Entry {
    /// Returns the directory that it is in.
    pub const fn parent(&self) -> DirNumber {
        if self.parent == NONE { None } else { Some(self.parent) }
    }

    /// Returns its extended attributes.
    pub fn attributes(&self) -> &[ExtendedAttribute] {
        self.attributes.as_deref().unwrap_or_default()
    }

    /// Tells whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        matches!(self.sort, Sort::Directory { .. })
    }
}

/// Stands for no entry.
const NONE: EntryNumber = EntryNumber::MAX;

/// The names of a file's owners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OwnerNames {
    /// The user; empty if its number had no name.
    pub user: String,
    /// The group; empty if its number had no name.
    pub group: String,
}

/// All entries of a plan. Those of one directory stand side by side, and after it.
#[derive(Debug, Default)]
pub struct Entries {
    all: Vec<Entry>,
    text: Vec<u8>,
    owners: Vec<OwnerNames>,
    known_owners: HashMap<OwnerNames, u32>,
}

impl Entries {
    /// Returns how many there are.
    pub const fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the number that the next entry gets, unless there are too many.
    pub fn next(&self) -> Option<EntryNumber> {
        EntryNumber::try_from(self.count()).ok().filter(|_| self.count() < ENTRIES_MAX)
    }

    /// Adds an entry under the number that [`Entries::next`] told.
    pub fn add(&mut self, parent: DirNumber, name: &Component, node: &Node, sort: Sort) {
        let metadata = &node.metadata;
        let names = OwnerNames { user: metadata.user.clone(), group: metadata.group.clone() };
        let attributes = &metadata.extended_attributes;
        let entry = Entry {
            parent: parent.unwrap_or(NONE),
            name: self.add_text(name.as_bytes()),
            sort,
            uid: metadata.uid,
            gid: metadata.gid,
            owner: self.owner(names),
            mode: u16::try_from(metadata.mode.permissions()).expect("permissions have twelve bits"),
            wanted: Wanted::No,
            there: There::Nothing,
            atime: metadata.atime,
            mtime: metadata.mtime,
            attributes: (!attributes.is_empty()).then(|| attributes.clone().into_boxed_slice()),
        };
        self.all.push(entry);
    }

    /// Keeps bytes beside the names.
    pub fn add_text(&mut self, bytes: &[u8]) -> Text {
        let begin = self.text.len() as u64;
        self.text.extend_from_slice(bytes);
        let length = u32::try_from(bytes.len()).expect("no name and no target fills 4 GiB");
        Text { begin, length }
    }

    fn owner(&mut self, names: OwnerNames) -> u32 {
        if let Some(number) = self.known_owners.get(&names) {
            return *number;
        }
        let number = u32::try_from(self.owners.len()).expect("there are fewer than entries");
        self.owners.push(names.clone());
        self.known_owners.insert(names, number);
        number
    }

    /// Notes that an entry is wanted, and that what it lies in leads to it.
    pub fn want(&mut self, number: EntryNumber) {
        let entry = self.get_mut(number);
        entry.wanted = Wanted::Yes;
        let mut at = entry.parent();
        while let Some(number) = at {
            let entry = self.get_mut(number);
            if entry.wanted != Wanted::No {
                break;
            }
            entry.wanted = Wanted::Leads;
            at = entry.parent();
        }
    }

    /// Returns an entry.
    pub fn get(&self, number: EntryNumber) -> &Entry {
        &self.all[number as usize]
    }

    /// Returns an entry to be changed.
    pub fn get_mut(&mut self, number: EntryNumber) -> &mut Entry {
        &mut self.all[number as usize]
    }

    /// Returns all entries with their numbers, directories before what is in them.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (EntryNumber, &Entry)> + ExactSizeIterator {
        let number = |(index, entry)| (EntryNumber::try_from(index).unwrap_or(NONE), entry);
        self.all.iter().enumerate().map(number)
    }

    /// Returns bytes that were kept.
    pub fn text(&self, text: Text) -> &OsStr {
        let begin = usize::try_from(text.begin).expect("it is in memory");
        OsStr::from_bytes(&self.text[begin..begin + text.length as usize])
    }

    /// Returns the name of an entry.
    pub fn name(&self, number: EntryNumber) -> &OsStr {
        self.text(self.get(number).name)
    }

    /// Returns the names of an entry's owners.
    pub fn owner_names(&self, entry: &Entry) -> &OwnerNames {
        &self.owners[entry.owner as usize]
    }

    /// Returns the path of an entry in the snapshot.
    pub fn path(&self, directory: DirNumber) -> PathBuf {
        let mut names = Vec::new();
        let mut at = directory;
        while let Some(number) = at {
            names.push(self.name(number));
            at = self.get(number).parent();
        }
        shown_path(names.into_iter().rev())
    }

    /// Returns the wanted entries in the order of a listing: a directory, then all that is in it.
    pub fn depth_first(&self, roots: u32) -> DepthFirst<'_> {
        DepthFirst { entries: self, waiting: std::iter::once(0..roots).collect() }
    }
}

/// See [`Entries::depth_first`].
#[derive(Debug)]
pub struct DepthFirst<'e> {
    entries: &'e Entries,
    waiting: Vec<std::ops::Range<EntryNumber>>,
}

impl Iterator for DepthFirst<'_> {
    type Item = EntryNumber;

    fn next(&mut self) -> Option<EntryNumber> {
        loop {
            let Some(number) = self.waiting.last_mut()?.next() else {
                self.waiting.pop();
                continue;
            };
            let entry = self.entries.get(number);
            if let Sort::Directory { first, count } = entry.sort {
                self.waiting.push(first..first + count);
            }
            if entry.wanted != Wanted::No {
                return Some(number);
            }
        }
    }
}
