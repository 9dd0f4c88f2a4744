//! The atlas: a local file that says where every blob lies, read in place.
//!
//! It covers a set of index files and holds what they list, sorted: blobs by id, packs by id. A
//! look-up finds the one block that can hold an id by the keys of all blocks, which are in memory
//! (8 bytes for 20 blobs), and reads that block.
//!
//! # Invariants
//!
//! - Nothing in it is believed before its seal was opened; see [`block`]. So it never claims a blob
//!   that the index files it covers do not list.
//! - An index file never changes under its name; so what the atlas says of those that it covers is
//!   right for as long as all of them are there. Whoever opens it compares.
//! - A block that cannot be read makes the atlas be made anew, once. If that fails too, no blob of it
//!   counts as there: blobs are stored again or named as missing, and never the other way round.
//!
//! # Crash consistency
//!
//! It appears by rename, without fsync. What a crash makes of it is noticed by its length or its
//! seals. It may be deleted at any time.
//!
//! # Limits
//!
//! Read with `pread`, not mapped: a mapped file that is cut short kills the process that looks into
//! it, and needs unsafe code. The price is a system call for a block that is not among those kept in
//! memory ([`BLOCKS_KEPT`]).

pub(super) mod block;
mod kept;
pub(super) mod survey;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lifeboat_model::{BlobId, IndexId, PackId, RepositoryId};

use self::block::{BLOCK_LENGTH, FileMark, Place, Section};
use self::kept::Kept;
use super::reader::IndexReader;
use super::table::{SLOT_LENGTH, Slot};
use crate::blob::BlobKind;

/// The file's name in the cache of its repository.
pub(super) const FILE_NAME: &str = "atlas";

/// Blocks that are kept in memory once they were read: 16 MiB, which is all of an index of 300,000
/// blobs.
const BLOCKS_KEPT: usize = 16 << 10;

/// Blocks that are read at once where all are wanted.
const BLOCKS_AT_ONCE: u64 = 128;

/// What the header begins with.
const MAGIC: [u8; 16] = *b"lifeboat atlas 1";

/// The atlas cannot be used, and is made anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum AtlasError {
    /// It cannot be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// Its header is no header.
    #[error("its header is not of this repository and version")]
    Header,
    /// It is longer or shorter than its header says.
    #[error("it has {actual} bytes instead of {expected}")]
    Length {
        /// What its header says, in bytes.
        expected: u64,
        /// What it has, in bytes.
        actual: u64,
    },
    /// A block is not as it was written.
    #[error("a block of it is damaged")]
    Block,
}

/// How many items each section of the body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout([u64; Section::BODY.len()]);

impl Layout {
    fn index(section: Section) -> usize {
        Section::BODY.iter().position(|other| *other == section).expect("the header has no items")
    }

    /// Sets how many items a section holds.
    fn set(&mut self, section: Section, items: u64) {
        self.0[Self::index(section)] = items;
    }

    /// Returns how many items a section holds.
    fn items(&self, section: Section) -> u64 {
        self.0[Self::index(section)]
    }

    /// Returns how many blocks a section takes.
    fn blocks(&self, section: Section) -> u64 {
        section.blocks(self.items(section))
    }

    /// Returns the block that a section begins with; the header is the first of all.
    fn begin(&self, section: Section) -> u64 {
        let before = Section::BODY.iter().take_while(|other| **other != section);
        1 + before.map(|other| self.blocks(*other)).sum::<u64>()
    }

    /// Returns how long the file is, unless it is longer than a file can be.
    fn length(&self) -> Option<u64> {
        let mut blocks: u64 = 1;
        for section in Section::BODY {
            blocks = blocks.checked_add(self.blocks(section))?;
        }
        blocks.checked_mul(BLOCK_LENGTH as u64)
    }

    /// Returns the items of a header.
    fn to_header(self, repository: RepositoryId) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(repository.as_bytes());
        self.0.iter().for_each(|items| header.extend_from_slice(&items.to_le_bytes()));
        header
    }

    fn from_header(header: &[u8], repository: RepositoryId) -> Option<Self> {
        let counts = header.strip_prefix(&MAGIC)?.strip_prefix(repository.as_bytes())?;
        let mut layout = Self::default();
        for (items, bytes) in layout.0.iter_mut().zip(counts.as_chunks().0) {
            *items = u64::from_le_bytes(*bytes);
        }
        Some(layout)
    }
}

/// The file that is being read.
#[derive(Debug)]
struct Source {
    file: File,
    mark: FileMark,
    /// Whether it was made anew already since a block was damaged.
    renewed: bool,
}

/// Where all blobs lie that a set of index files lists.
#[derive(Debug)]
pub(super) struct Atlas {
    path: PathBuf,
    reader: Arc<IndexReader>,
    source: RwLock<Source>,
    layout: Layout,
    files: Vec<IndexId>,
    data_keys: Vec<u64>,
    tree_keys: Vec<u64>,
    pack_keys: Vec<u64>,
    kept: Kept,
    /// Set once a block is damaged for good.
    is_lost: AtomicBool,
}

impl Atlas {
    /// Opens the atlas at a path.
    pub(super) fn open(path: &Path, reader: Arc<IndexReader>) -> Result<Self, AtlasError> {
        let mut atlas = Self::read_keys(File::open(path)?, path, reader)?;
        // From here on there is something to make it anew from.
        atlas.source.get_mut().unwrap_or_else(PoisonError::into_inner).renewed = false;
        Ok(atlas)
    }

    /// Opens one in a file that has no name and is not made anew; `path` is what it is called.
    fn read_keys(file: File, path: &Path, reader: Arc<IndexReader>) -> Result<Self, AtlasError> {
        let (file, mark, layout) = look_at_file(file, &reader)?;
        let blocks = layout.length().unwrap_or(0) / BLOCK_LENGTH as u64;
        let mut atlas = Self {
            path: path.to_owned(),
            reader,
            source: RwLock::new(Source { file, mark, renewed: true }),
            layout,
            files: Vec::new(),
            data_keys: Vec::new(),
            tree_keys: Vec::new(),
            pack_keys: Vec::new(),
            kept: Kept::new(usize::try_from(blocks).unwrap_or(BLOCKS_KEPT).min(BLOCKS_KEPT)),
            is_lost: AtomicBool::new(false),
        };
        atlas.data_keys = atlas.all(Section::DataKeys, |key| u64::from_le_bytes(*key))?;
        atlas.tree_keys = atlas.all(Section::TreeKeys, |key| u64::from_le_bytes(*key))?;
        atlas.pack_keys = atlas.all(Section::PackKeys, |key| u64::from_le_bytes(*key))?;
        atlas.files = atlas.all(Section::Files, |id| IndexId::from_bytes(*id))?;
        Ok(atlas)
    }

    /// Tells whether something of it cannot be read.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    fn all<const N: usize, T>(
        &self,
        section: Section,
        read: impl Fn(&[u8; N]) -> T,
    ) -> Result<Vec<T>, AtlasError> {
        let mut items =
            Vec::with_capacity(usize::try_from(self.layout.items(section)).unwrap_or(0));
        let mut rows = self.rows(section, 0);
        while let Some(row) = rows.next()? {
            items.push(read(row.first_chunk().expect("the section's items have this length")));
        }
        Ok(items)
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the index files that it covers, ordered.
    pub(super) fn files(&self) -> &[IndexId] {
        &self.files
    }

    /// Returns how many blobs of a kind there are.
    pub(super) fn len(&self, kind: BlobKind) -> usize {
        usize::try_from(self.layout.items(section(kind))).expect("they fit into the file")
    }

    /// Returns how many packs there are.
    pub(super) fn pack_count(&self) -> u32 {
        u32::try_from(self.layout.items(Section::Packs)).expect("packs have numbers of 32 bits")
    }

    /// Shows the slots of a blob, with their places among all of its kind.
    pub(super) fn find(&self, kind: BlobKind, id: &BlobId, mut show: impl FnMut(u64, Slot)) {
        let keys = match kind {
            BlobKind::Data => &self.data_keys,
            BlobKind::Tree => &self.tree_keys,
        };
        self.look_up(section(kind), keys, id.as_bytes(), |place, item: &[u8; SLOT_LENGTH]| {
            show(place, Slot::from_bytes(item));
        });
    }

    /// Returns the number of a pack.
    pub(super) fn pack_number(&self, pack: &PackId) -> Option<u32> {
        let mut found = None;
        self.look_up(Section::Packs, &self.pack_keys, pack.as_bytes(), |number, _: &[u8; 40]| {
            found = u32::try_from(number).ok();
        });
        found
    }

    /// Returns the pack of a number, and how many blobs of data and directories it holds.
    pub(super) fn pack(&self, number: u32) -> Option<(PackId, [u32; 2])> {
        let per_block = u32::try_from(Section::Packs.items_per_block()).expect("there are few");
        self.with_block(Section::Packs, number / per_block, |items: &[[u8; 40]]| {
            let item = items.get((number % per_block) as usize)?;
            Some(read_pack(item))
        })?
    }

    /// Returns all packs in the order of their numbers.
    pub(super) fn packs(&self) -> Result<Vec<PackId>, AtlasError> {
        self.all(Section::Packs, |item| read_pack(item).0)
    }

    /// Returns all slots of a kind, ordered; ends at a damaged block.
    pub(super) fn slots(&self, kind: BlobKind) -> impl Iterator<Item = Slot> {
        let mut rows = self.rows(section(kind), 0);
        std::iter::from_fn(move || {
            let row = rows.next_or_give_up()?;
            Some(Slot::from_bytes(row.first_chunk().expect("a slot takes 48 bytes")))
        })
    }

    /// Shows all slots of a kind, or fails.
    pub(super) fn for_each_slot(
        &self,
        kind: BlobKind,
        mut show: impl FnMut(Slot),
    ) -> Result<(), AtlasError> {
        let mut rows = self.rows(section(kind), 0);
        while let Some(row) = rows.next()? {
            show(Slot::from_bytes(row.first_chunk().expect("a slot takes 48 bytes")));
        }
        Ok(())
    }

    fn look_up<const N: usize>(
        &self,
        section: Section,
        keys: &[u64],
        id: &[u8; 32],
        mut show: impl FnMut(u64, &[u8; N]),
    ) {
        let key = key_of(id);
        // The block before may end with the id, too.
        let begin = keys.partition_point(|first| *first < key).saturating_sub(1);
        for (number, _) in (begin..).zip(&keys[begin..]).take_while(|(_, first)| **first <= key) {
            let block = u32::try_from(number).expect("blocks have numbers of 32 bits");
            self.with_block(section, block, |items: &[[u8; N]]| {
                let first = number as u64 * section.items_per_block() as u64;
                for (item, number) in items.iter().zip(first..) {
                    if item.starts_with(id) {
                        show(number, item);
                    }
                }
            });
        }
    }

    /// Looks into a block, which is kept; nothing if it is damaged for good.
    fn with_block<const N: usize, R>(
        &self,
        section: Section,
        number: u32,
        look: impl FnOnce(&[[u8; N]]) -> R,
    ) -> Option<R> {
        if self.is_lost.load(Ordering::Relaxed) {
            return None;
        }
        let at = self.layout.begin(section) + u64::from(number);
        let per_block = section.items_per_block() as u64;
        let first = u64::from(number) * per_block;
        let count = self.layout.items(section).saturating_sub(first).min(per_block);
        let read = |block: &mut [u8; BLOCK_LENGTH]| {
            self.read(section, number, block).inspect_err(|_| self.give_up()).is_ok()
        };
        self.kept.with(at, read, |block| {
            let (items, _) = block::items_of(block).as_chunks();
            look(&items[..usize::try_from(count).expect("a block holds few")])
        })
    }

    /// Gives the atlas up.
    fn give_up(&self) {
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %self.path.display(), "The local index is damaged and not used.");
        }
    }

    /// Reads whole blocks of a section and opens them where they lie; if that fails, once more after
    /// the atlas was made anew.
    fn read(&self, section: Section, number: u32, blocks: &mut [u8]) -> Result<(), AtlasError> {
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner);
        let mark = source.mark;
        let Err(error) = self.read_from(&source, section, number, blocks) else { return Ok(()) };
        drop(source);
        if !self.renew(mark) {
            return Err(error);
        }
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner);
        self.read_from(&source, section, number, blocks)
    }

    fn read_from(
        &self,
        source: &Source,
        section: Section,
        number: u32,
        blocks: &mut [u8],
    ) -> Result<(), AtlasError> {
        let at = self.layout.begin(section) + u64::from(number);
        source.file.read_exact_at(blocks, at * BLOCK_LENGTH as u64)?;
        for (block, number) in blocks.chunks_exact_mut(BLOCK_LENGTH).zip(number..) {
            let place = Place { file: source.mark, section, number };
            block::open(self.reader.key(), place, block).ok_or(AtlasError::Block)?;
        }
        Ok(())
    }

    /// Makes the atlas anew, unless that was done or tried since the file with this mark was read.
    fn renew(&self, mark: FileMark) -> bool {
        let mut source = self.source.write().unwrap_or_else(PoisonError::into_inner);
        if source.mark != mark || source.renewed {
            return source.mark != mark;
        }
        source.renewed = true;
        tracing::warn!(path = %self.path.display(), "The local index is damaged and is made anew.");
        match self.made_anew() {
            Ok((file, mark)) => {
                *source = Source { file, mark, renewed: true };
                true
            }
            Err(error) => {
                let error: &dyn std::error::Error = &*error;
                tracing::warn!(error, "The local index could not be made anew.");
                false
            }
        }
    }

    fn made_anew(&self) -> Result<(File, FileMark), Box<dyn std::error::Error>> {
        survey::make(&self.reader, &self.files, &|_| Ok(()))?;
        let (file, mark, layout) = look_at_file(File::open(&self.path)?, &self.reader)?;
        // The same index files make the same blocks, so what is known of them stays right.
        if layout == self.layout { Ok((file, mark)) } else { Err(AtlasError::Header.into()) }
    }

    fn rows(&self, section: Section, begin: u64) -> Rows<'_> {
        Rows { atlas: self, section, next: begin, buffer: Vec::new(), first: 0, until: 0 }
    }
}

fn section(kind: BlobKind) -> Section {
    match kind {
        BlobKind::Data => Section::Data,
        BlobKind::Tree => Section::Trees,
    }
}

fn key_of(id: &[u8; 32]) -> u64 {
    u64::from_be_bytes(*id.first_chunk().expect("an id has 32 bytes"))
}

fn read_pack(item: &[u8; 40]) -> (PackId, [u32; 2]) {
    let (id, counts) = item.split_first_chunk().expect("an id takes 32 bytes of 40");
    let counts = counts.as_chunks().0;
    (PackId::from_bytes(*id), [u32::from_le_bytes(counts[0]), u32::from_le_bytes(counts[1])])
}

fn look_at_file(file: File, reader: &IndexReader) -> Result<(File, FileMark, Layout), AtlasError> {
    let mut block = [0; BLOCK_LENGTH];
    file.read_exact_at(&mut block, 0)?;
    let (mark, header) = block::open_first(reader.key(), &mut block).ok_or(AtlasError::Header)?;
    let layout = Layout::from_header(header, reader.repository()).ok_or(AtlasError::Header)?;
    let (expected, actual) = (layout.length().ok_or(AtlasError::Header)?, file.metadata()?.len());
    if expected == actual {
        Ok((file, mark, layout))
    } else {
        Err(AtlasError::Length { expected, actual })
    }
}

/// The items of a section, one after the other.
struct Rows<'a> {
    atlas: &'a Atlas,
    section: Section,
    /// The item that comes next.
    next: u64,
    buffer: Vec<u8>,
    /// The items that the buffer holds.
    first: u64,
    until: u64,
}

impl Rows<'_> {
    fn next(&mut self) -> Result<Option<&[u8]>, AtlasError> {
        let items = self.atlas.layout.items(self.section);
        if self.next >= items {
            return Ok(None);
        }
        let per_block = self.section.items_per_block() as u64;
        if self.next >= self.until {
            let block = self.next / per_block;
            let count = BLOCKS_AT_ONCE.min(self.section.blocks(items) - block);
            self.buffer.resize(usize::try_from(count).expect("there are few") * BLOCK_LENGTH, 0);
            self.first = block * per_block;
            self.until = self.first + count * per_block;
            let number = u32::try_from(block).expect("blocks have numbers of 32 bits");
            self.atlas.read(self.section, number, &mut self.buffer)?;
        }
        let index = usize::try_from(self.next - self.first).expect("there are few");
        let per_block = self.section.items_per_block();
        let block = &self.buffer[index / per_block * BLOCK_LENGTH..][..BLOCK_LENGTH];
        let length = self.section.item_length();
        self.next += 1;
        Ok(Some(&block::items_of(block)[index % per_block * length..][..length]))
    }

    /// Ends where something cannot be read.
    fn next_or_give_up(&mut self) -> Option<&[u8]> {
        let atlas = self.atlas;
        self.next().unwrap_or_else(|_| {
            atlas.give_up();
            None
        })
    }
}

#[cfg(test)]
mod tests;
