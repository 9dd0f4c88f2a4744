//! What a disk holds, what of it is safe, and what is left when the power fails.
//!
//! Pure: no system call, and chance is a seed.
//!
//! # Invariants
//!
//! - The bytes of a file are safe once it was synced, the entries of a directory once that was. Syncing
//!   a file makes its bytes safe and not its name.
//! - A rename is one step: after a failure it happened or not.
//! - What was not synced survives or not as [`End`] says, also in another order than it was done in: a
//!   later write without an earlier one, a name without its bytes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::io::Errno;

/// The number of a file or directory.
pub type Number = u64;

/// The number of the top directory.
pub const ROOT: Number = 1;

/// How a disk's time ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Only the processes on it died: everything is there that was done.
    Kill,
    /// The power failed: of what was not synced this seed decides.
    PowerCut(u64),
}

/// What of the things that were not synced survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mercy {
    Nothing,
    Everything,
    /// What came before a moment.
    Beginning,
    /// Each by a coin of its own.
    Any,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Resize(size) => bytes.resize(*size, 0),
        }
    }
}

type Names = BTreeMap<OsString, Number>;

#[derive(Debug, Clone)]
enum Body {
    File { now: Vec<u8>, safe: Vec<u8>, since: Vec<Change> },
    Directory { now: Names, safe: Names },
}

/// What is known of a file or directory beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub number: Number,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Its permission bits.
    pub mode: u16,
    /// How many names it has.
    pub names: u32,
}

#[derive(Debug, Clone)]
struct Node {
    body: Body,
    mode: u16,
}

/// Entries that are set, or removed, in one step.
#[derive(Debug, Clone)]
struct Naming(Vec<(Number, OsString, Option<Number>)>);

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    nodes: BTreeMap<Number, Node>,
    next: Number,
    /// What was done to directories since each of them was synced.
    namings: Vec<Naming>,
    operations: u64,
    end_at: Option<u64>,
    is_off: bool,
}

impl Default for Disk {
    fn default() -> Self {
        let body = Body::Directory { now: Names::new(), safe: Names::new() };
        let nodes = BTreeMap::from([(ROOT, Node { body, mode: 0o755 })]);
        Self {
            nodes,
            next: ROOT + 1,
            namings: Vec::new(),
            operations: 0,
            end_at: None,
            is_off: false,
        }
    }
}

impl Disk {
    /// Returns how many operations changed or synced something.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Lets the operation with this number, and all after it, fail.
    pub const fn end_at(&mut self, operation: u64) {
        self.end_at = Some(operation);
    }

    /// Tells whether everything fails.
    pub const fn is_off(&self) -> bool {
        self.is_off
    }

    /// Fails if the disk is off.
    pub const fn look(&self) -> Result<(), Errno> {
        if self.is_off { Err(Errno::IO) } else { Ok(()) }
    }

    fn change(&mut self) -> Result<(), Errno> {
        self.operations += 1;
        self.is_off |= self.end_at.is_some_and(|end| end <= self.operations);
        self.look()
    }

    fn node(&self, number: Number) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::NOENT)
    }

    /// Returns the entries of a directory.
    pub fn names(&self, directory: Number) -> Result<&BTreeMap<OsString, Number>, Errno> {
        match &self.node(directory)?.body {
            Body::Directory { now, .. } => Ok(now),
            Body::File { .. } => Err(Errno::NOTDIR),
        }
    }

    /// Returns what an entry of a directory stands for.
    pub fn find(&self, directory: Number, name: &OsStr) -> Result<Number, Errno> {
        self.look()?;
        self.names(directory)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Returns the bytes of a file.
    pub fn bytes(&self, file: Number) -> Result<&[u8], Errno> {
        self.look()?;
        match &self.node(file)?.body {
            Body::File { now, .. } => Ok(now),
            Body::Directory { .. } => Err(Errno::ISDIR),
        }
    }

    /// Returns what is known beside the content.
    pub fn status(&self, number: Number) -> Result<Status, Errno> {
        self.look()?;
        let node = self.node(number)?;
        let (size, is_directory) = match &node.body {
            Body::File { now, .. } => (now.len() as u64, false),
            Body::Directory { .. } => (0, true),
        };
        let names = if is_directory { 2 } else { self.count_names(number) };
        Ok(Status { number, size, is_directory, mode: node.mode, names })
    }

    fn count_names(&self, number: Number) -> u32 {
        let directories = self.nodes.values().filter_map(|node| match &node.body {
            Body::Directory { now, .. } => Some(now),
            Body::File { .. } => None,
        });
        let names = directories.flat_map(BTreeMap::values).filter(|named| **named == number);
        u32::try_from(names.count()).unwrap_or(u32::MAX)
    }

    /// Makes an empty file.
    pub fn create(&mut self, directory: Number, name: &OsStr, mode: u16) -> Result<Number, Errno> {
        let body = Body::File { now: Vec::new(), safe: Vec::new(), since: Vec::new() };
        self.make(directory, name, Node { body, mode })
    }

    /// Makes an empty directory.
    pub fn make_directory(
        &mut self,
        directory: Number,
        name: &OsStr,
        mode: u16,
    ) -> Result<Number, Errno> {
        let body = Body::Directory { now: Names::new(), safe: Names::new() };
        self.make(directory, name, Node { body, mode })
    }

    fn make(&mut self, directory: Number, name: &OsStr, node: Node) -> Result<Number, Errno> {
        self.change()?;
        if self.names(directory)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        self.name(vec![(directory, name.to_owned(), Some(number))])?;
        Ok(number)
    }

    /// Gives a file another name.
    pub fn link(&mut self, file: Number, directory: Number, name: &OsStr) -> Result<(), Errno> {
        self.change()?;
        if self.names(directory)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.name(vec![(directory, name.to_owned(), Some(file))])
    }

    /// Takes a name away; a directory must be empty.
    pub fn remove(&mut self, directory: Number, name: &OsStr) -> Result<(), Errno> {
        self.change()?;
        let number = self.find(directory, name)?;
        if self.names(number).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        self.name(vec![(directory, name.to_owned(), None)])
    }

    /// Moves a name; what has the new name already loses it, if it may.
    pub fn rename(
        &mut self,
        from: (Number, &OsStr),
        to: (Number, &OsStr),
        may_replace: bool,
    ) -> Result<(), Errno> {
        self.change()?;
        let number = self.find(from.0, from.1)?;
        if let Ok(there) = self.find(to.0, to.1) {
            if !may_replace {
                return Err(Errno::EXIST);
            }
            if self.names(there).is_ok_and(|names| !names.is_empty()) {
                return Err(Errno::NOTEMPTY);
            }
        }
        let gone = (from.0, from.1.to_owned(), None);
        self.name(vec![gone, (to.0, to.1.to_owned(), Some(number))])
    }

    fn name(&mut self, entries: Vec<(Number, OsString, Option<Number>)>) -> Result<(), Errno> {
        for (directory, name, number) in &entries {
            let node = self.nodes.get_mut(directory).ok_or(Errno::NOENT)?;
            let Body::Directory { now, .. } = &mut node.body else { return Err(Errno::NOTDIR) };
            set(now, name, *number);
        }
        self.namings.push(Naming(entries));
        Ok(())
    }

    /// Writes bytes.
    pub fn write(&mut self, file: Number, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        self.alter(file, Change::Write(offset, data.to_vec()))
    }

    /// Cuts a file off, or lengthens it with zeros.
    pub fn resize(&mut self, file: Number, size: u64) -> Result<(), Errno> {
        let size = usize::try_from(size).map_err(|_| Errno::FBIG)?;
        self.alter(file, Change::Resize(size))
    }

    fn alter(&mut self, file: Number, change: Change) -> Result<(), Errno> {
        self.change()?;
        let node = self.nodes.get_mut(&file).ok_or(Errno::NOENT)?;
        let Body::File { now, since, .. } = &mut node.body else { return Err(Errno::ISDIR) };
        change.apply(now);
        since.push(change);
        Ok(())
    }

    /// Sets the permission bits, which are safe at once.
    pub fn set_mode(&mut self, number: Number, mode: u16) -> Result<(), Errno> {
        self.change()?;
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)?.mode = mode;
        Ok(())
    }

    /// Makes the bytes of a file safe, or the entries of a directory.
    pub fn sync(&mut self, number: Number) -> Result<(), Errno> {
        self.change()?;
        if let Body::File { now, safe, since } =
            &mut self.nodes.get_mut(&number).ok_or(Errno::NOENT)?.body
        {
            safe.clone_from(now);
            since.clear();
            return Ok(());
        }
        let touches = |naming: &Naming| naming.0.iter().any(|entry| entry.0 == number);
        let (synced, rest) = std::mem::take(&mut self.namings).into_iter().partition(touches);
        self.namings = rest;
        self.make_safe(&synced);
        Ok(())
    }

    fn make_safe(&mut self, namings: &[Naming]) {
        for (directory, name, number) in namings.iter().flat_map(|naming| &naming.0) {
            if let Some(Node { body: Body::Directory { safe, .. }, .. }) =
                self.nodes.get_mut(directory)
            {
                set(safe, name, *number);
            }
        }
    }

    /// Returns the disk as it is when it comes back.
    #[must_use]
    pub fn survivors(&self, end: End) -> Self {
        let mut disk = self.clone();
        (disk.is_off, disk.end_at) = (false, None);
        let End::PowerCut(seed) = end else { return disk };
        let mut rng = StdRng::seed_from_u64(seed);
        let all = [Mercy::Nothing, Mercy::Everything, Mercy::Beginning, Mercy::Any, Mercy::Any];
        let mercy = all[rng.random_range(0..all.len())];
        let namings = std::mem::take(&mut disk.namings);
        disk.make_safe(&spared(namings, mercy, &mut rng));
        for node in disk.nodes.values_mut() {
            match &mut node.body {
                Body::File { now, safe, since } => {
                    for change in spared(std::mem::take(since), mercy, &mut rng) {
                        change.apply(safe);
                    }
                    now.clone_from(safe);
                }
                Body::Directory { now, safe } => now.clone_from(safe),
            }
        }
        disk
    }
}

fn set(names: &mut Names, name: &OsStr, number: Option<Number>) {
    match number {
        Some(number) => names.insert(name.to_owned(), number),
        None => names.remove(name),
    };
}

/// Returns what survives of things that were done one after the other.
fn spared<T>(done: Vec<T>, mercy: Mercy, rng: &mut StdRng) -> Vec<T> {
    let beginning = rng.random_range(0..=done.len());
    let mut survives = |index: usize| match mercy {
        Mercy::Nothing => false,
        Mercy::Everything => true,
        Mercy::Beginning => index < beginning,
        Mercy::Any => rng.random(),
    };
    let numbered = done.into_iter().enumerate();
    numbered.filter(|(index, _)| survives(*index)).map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &mut Disk, name: &str) -> Number {
        let number = disk.create(ROOT, name.as_ref(), 0o600).unwrap();
        disk.write(number, 0, b"bytes").unwrap();
        number
    }

    /// What is at a name after power cuts with many seeds.
    fn outcomes(disk: &Disk, name: &str) -> Vec<Option<Vec<u8>>> {
        let after = |seed| {
            let disk = disk.survivors(End::PowerCut(seed));
            let number = disk.find(ROOT, name.as_ref()).ok()?;
            Some(disk.bytes(number).unwrap().to_vec())
        };
        let mut outcomes: Vec<_> = (0..64).map(after).collect();
        outcomes.sort();
        outcomes.dedup();
        outcomes
    }

    #[test]
    fn what_was_synced_with_its_directory_survives() {
        let mut disk = Disk::default();
        let number = file(&mut disk, "a");
        disk.sync(number).unwrap();
        disk.sync(ROOT).unwrap();
        assert_eq!(outcomes(&disk, "a"), [Some(b"bytes".to_vec())]);
    }

    #[test]
    fn a_name_without_bytes_and_bytes_without_a_name_are_possible() {
        let mut disk = Disk::default();
        file(&mut disk, "a");
        disk.sync(ROOT).unwrap();
        assert_eq!(outcomes(&disk, "a"), [Some(Vec::new()), Some(b"bytes".to_vec())]);
        let mut disk = Disk::default();
        let number = file(&mut disk, "a");
        disk.sync(number).unwrap();
        assert_eq!(outcomes(&disk, "a"), [None, Some(b"bytes".to_vec())]);
    }

    #[test]
    fn a_rename_happens_or_not() {
        let mut disk = Disk::default();
        let number = file(&mut disk, "temporary");
        disk.sync(number).unwrap();
        disk.sync(ROOT).unwrap();
        disk.rename((ROOT, "temporary".as_ref()), (ROOT, "a".as_ref()), true).unwrap();
        for seed in 0..64 {
            let after = disk.survivors(End::PowerCut(seed));
            let there = ["temporary", "a"].map(|name| after.find(ROOT, name.as_ref()).is_ok());
            assert_eq!(there.iter().filter(|there| **there).count(), 1, "seed {seed}");
        }
    }

    #[test]
    fn a_kill_loses_nothing() {
        let mut disk = Disk::default();
        file(&mut disk, "a");
        disk.end_at(3);
        assert_eq!(disk.create(ROOT, "b".as_ref(), 0o600), Err(Errno::IO));
        assert_eq!(disk.find(ROOT, "a".as_ref()), Err(Errno::IO), "it is off");
        let disk = disk.survivors(End::Kill);
        let number = disk.find(ROOT, "a".as_ref()).unwrap();
        assert_eq!(disk.bytes(number).unwrap(), b"bytes");
    }
}
