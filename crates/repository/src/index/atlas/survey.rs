//! Making an atlas: index files in, one sorted file out.
//!
//! Workers read index files and write what they list as sorted runs; the runs are merged. Packs are
//! numbered as they are met, and get the numbers of their order in the end.
//!
//! # Crash consistency
//!
//! Runs lie in files that have no name any more, so that a kill leaves nothing of them. The atlas gets
//! its name when it is whole.
//!
//! # Limits
//!
//! Memory: for each worker an index file, its document and [`RUN_SLOTS`] slots (12 MB); 36 bytes a
//! pack; then 8 bytes for 20 blobs and 64 KiB a run. Disk: about three times 51 bytes a blob, of which
//! one stays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::{IndexId, PackId};

use super::block::{BLOCK_LENGTH, BlockWriter, FileMark, Place, Section, items_of, open, seal};
use super::{Atlas, FILE_NAME, Layout, key_of};
use crate::blob::BlobKind;
use crate::crypto::MasterKey;
use crate::error::RepositoryError;
use crate::index::document::PackDigest;
use crate::index::load::Inspector;
use crate::index::reader::{IndexReader, Origin};
use crate::index::table::{SLOT_LENGTH, Slot};

/// Slots of a run.
const RUN_SLOTS: usize = 256 << 10;

/// Blocks of a run that are read at once.
const RUN_BLOCKS_AT_ONCE: u32 = 64;

/// Bytes that are written at once.
const WRITE_LENGTH: usize = 256 << 10;

/// Why there is no new atlas.
#[derive(Debug, thiserror::Error)]
pub(in crate::index) enum SurveyError {
    /// An index file cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The cache cannot hold it.
    #[error("cannot write the local index")]
    Io(#[from] io::Error),
    /// There is no cache.
    #[error("there is no cache to hold the local index")]
    NoCache,
}

/// Makes an atlas of index files in the cache of their repository, in place of the one there.
pub(in crate::index) fn make(
    reader: &IndexReader,
    files: &[IndexId],
    was_read: &(dyn Fn(&IndexId) -> Result<(), RepositoryError> + Sync),
) -> Result<(), SurveyError> {
    let cache = reader.cache().ok_or(SurveyError::NoCache)?;
    let (runs, packs) = gather(reader, files, |_, id, read| {
        read?;
        was_read(id)
    })?;
    cache.replace(FILE_NAME, |file| write(reader, file, &runs, &packs, &in_order(files)))?;
    Ok(())
}

/// Makes an atlas of index files in a file that vanishes with the process.
pub(in crate::index) fn make_apart(
    reader: &Arc<IndexReader>,
    files: &[IndexId],
    inspector: &dyn Inspector,
) -> Result<Atlas, SurveyError> {
    let (runs, packs) =
        gather(reader, files, |digests, id, read| inspector.was_read(id, digests, read))?;
    let file = nameless_file(reader)?;
    write(reader, &file, &runs, &packs, &in_order(files))?;
    let path = reader.cache().ok_or(SurveyError::NoCache)?.path_of(FILE_NAME);
    let atlas = Atlas::read_keys(file, &path, Arc::clone(reader));
    Ok(atlas.map_err(io::Error::other)?)
}

fn in_order(files: &[IndexId]) -> Vec<IndexId> {
    let mut files = files.to_vec();
    files.sort_unstable();
    files.dedup();
    files
}

/// Reads all index files into runs.
fn gather(
    reader: &IndexReader,
    files: &[IndexId],
    was_read: impl Fn(
        &[PackDigest],
        &IndexId,
        Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError>
    + Sync,
) -> Result<(Vec<Run>, Packs), SurveyError> {
    let packs = Mutex::new(Vec::new());
    let number = |pack: PackId| {
        let mut packs = packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.push(pack);
        u32::try_from(packs.len() - 1).expect("4 billion packs do not fit into memory")
    };
    let gathered = reader.read_all(
        files,
        || Gatherer::new(reader),
        |gatherer, pack| {
            let number = number(pack.id);
            if reader.origin == Origin::Tier {
                gatherer.digests.push(PackDigest::of(&pack));
            }
            for blob in &pack.blobs {
                gatherer.take(blob.kind, Slot::new(blob, number));
            }
        },
        |gatherer, id, read| {
            gatherer.failure.take().map_or(Ok(()), Err)?;
            let digests = std::mem::take(&mut gatherer.digests);
            Ok::<_, SurveyError>(was_read(&digests, id, read)?)
        },
    )?;
    let runs = gathered.into_iter().map(Gatherer::finish).collect::<io::Result<Vec<_>>>()?;
    let packs = Packs::in_order(packs.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok((runs.into_iter().flatten().collect(), packs))
}

/// A worker who gathers slots.
struct Gatherer<'r> {
    reader: &'r IndexReader,
    slots: [Vec<Slot>; 2],
    runs: Vec<Run>,
    /// What the file that is being read says of packs, where somebody wants to know.
    digests: Vec<PackDigest>,
    /// Where the runs go, once there is one.
    file: Option<Arc<File>>,
    failure: Option<io::Error>,
}

/// A sorted run of slots in a file.
struct Run {
    file: Arc<File>,
    mark: FileMark,
    kind: BlobKind,
    /// Where in the file it begins, in bytes.
    begin: u64,
    slots: u64,
}

const KINDS: [BlobKind; 2] = [BlobKind::Data, BlobKind::Tree];

impl<'r> Gatherer<'r> {
    fn new(reader: &'r IndexReader) -> Self {
        let (slots, runs, digests) = (Default::default(), Vec::new(), Vec::new());
        Self { reader, slots, runs, digests, file: None, failure: None }
    }

    fn take(&mut self, kind: BlobKind, slot: Slot) {
        let slots = &mut self.slots[kind as usize];
        slots.push(slot);
        if slots.len() >= RUN_SLOTS && self.failure.is_none() {
            self.failure = self.end_run(kind).err();
        }
    }

    fn end_run(&mut self, kind: BlobKind) -> io::Result<()> {
        let slots = &mut self.slots[kind as usize];
        if slots.is_empty() {
            return Ok(());
        }
        slots.sort_unstable();
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(Arc::new(nameless_file(self.reader)?))),
        };
        let begin = file.metadata()?.len();
        let mark: FileMark = rand::random();
        let out = BufWriter::with_capacity(WRITE_LENGTH, &*file);
        let mut writer = BlockWriter::new(self.reader.key(), out, mark, section(kind));
        for slot in &*slots {
            writer.write(&slot.to_bytes())?;
        }
        writer.finish()?.flush()?;
        let count = slots.len() as u64;
        slots.clear();
        self.runs.push(Run { file, mark, kind, begin, slots: count });
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<Run>> {
        for kind in KINDS {
            self.end_run(kind)?;
        }
        Ok(self.runs)
    }
}

const fn section(kind: BlobKind) -> Section {
    match kind {
        BlobKind::Data => Section::Data,
        BlobKind::Tree => Section::Trees,
    }
}

fn nameless_file(reader: &IndexReader) -> io::Result<File> {
    match reader.cache() {
        Some(cache) => cache.scratch(),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Reads a run.
struct RunReader<'r> {
    key: &'r MasterKey,
    run: &'r Run,
    /// Which slot comes next.
    next: u64,
    blocks: Vec<u8>,
    first_block: u32,
}

impl<'r> RunReader<'r> {
    fn new(key: &'r MasterKey, run: &'r Run) -> Self {
        Self { key, run, next: 0, blocks: Vec::new(), first_block: 0 }
    }

    fn next(&mut self) -> io::Result<Option<Slot>> {
        if self.next >= self.run.slots {
            return Ok(None);
        }
        let section = section(self.run.kind);
        let per_block = section.items_per_block() as u64;
        let number = u32::try_from(self.next / per_block).map_err(io::Error::other)?;
        let kept = u32::try_from(self.blocks.len() / BLOCK_LENGTH).map_err(io::Error::other)?;
        if number >= self.first_block + kept {
            self.fill(number)?;
        }
        let block = (number - self.first_block) as usize * BLOCK_LENGTH;
        let slots: &[[u8; SLOT_LENGTH]] =
            items_of(&self.blocks[block..][..BLOCK_LENGTH]).as_chunks().0;
        let slot = Slot::from_bytes(&slots[usize::try_from(self.next % per_block).unwrap_or(0)]);
        self.next += 1;
        Ok(Some(slot))
    }

    fn fill(&mut self, number: u32) -> io::Result<()> {
        let section = section(self.run.kind);
        let rest = section.blocks(self.run.slots) - u64::from(number);
        let count = RUN_BLOCKS_AT_ONCE.min(u32::try_from(rest).unwrap_or(u32::MAX));
        self.blocks.resize(count as usize * BLOCK_LENGTH, 0);
        self.first_block = number;
        let at = self.run.begin + u64::from(number) * BLOCK_LENGTH as u64;
        self.run.file.read_exact_at(&mut self.blocks, at)?;
        for (block, number) in self.blocks.chunks_exact_mut(BLOCK_LENGTH).zip(number..) {
            let place = Place { file: self.run.mark, section, number };
            open(self.key, place, block).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(())
    }
}

/// Packs as they were met, and their order.
struct Packs {
    met: Vec<PackId>,
    /// Positions in `met` in the order of the ids; one of each id.
    order: Vec<u32>,
    /// The number of each that was met.
    numbers: Vec<u32>,
}

impl Packs {
    fn in_order(met: Vec<PackId>) -> Self {
        let count = u32::try_from(met.len()).expect("they were numbered");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|position| met[*position as usize]);
        let mut numbers = vec![0; met.len()];
        let mut number = 0;
        for pair in order.windows(2) {
            number += u32::from(met[pair[0] as usize] != met[pair[1] as usize]);
            numbers[pair[1] as usize] = number;
        }
        order.dedup_by_key(|position| met[*position as usize]);
        Self { met, order, numbers }
    }

    fn ids(&self) -> impl Iterator<Item = &PackId> {
        self.order.iter().map(|position| &self.met[*position as usize])
    }
}

/// Merges runs; slots come ordered, each once.
struct Merge<'r> {
    readers: Vec<RunReader<'r>>,
    /// The next slot of each reader.
    heads: BinaryHeap<Reverse<(Slot, usize)>>,
}

impl<'r> Merge<'r> {
    fn new(key: &'r MasterKey, runs: impl Iterator<Item = &'r Run>) -> io::Result<Self> {
        let mut merge = Self { readers: Vec::new(), heads: BinaryHeap::new() };
        for run in runs {
            let mut reader = RunReader::new(key, run);
            if let Some(slot) = reader.next()? {
                merge.heads.push(Reverse((slot, merge.readers.len())));
            }
            merge.readers.push(reader);
        }
        Ok(merge)
    }

    /// Takes all slots of the next blob, with the final numbers of their packs.
    fn next_blob(&mut self, numbers: &[u32], slots: &mut Vec<Slot>) -> io::Result<()> {
        slots.clear();
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((slot, reader)) = *head;
            if slots.first().is_some_and(|first| first.id != slot.id) {
                break;
            }
            slots.push(slot.in_pack(numbers[slot.pack as usize]));
            match self.readers[reader].next()? {
                Some(next) => *head = Reverse((next, reader)),
                None => drop(PeekMut::pop(head)),
            }
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(())
    }
}

/// Writes the whole file, the header last.
fn write(
    reader: &IndexReader,
    file: &File,
    runs: &[Run],
    packs: &Packs,
    files: &[IndexId],
) -> io::Result<()> {
    let mark: FileMark = rand::random();
    let mut out = BufWriter::with_capacity(WRITE_LENGTH, file);
    // Room for the header.
    out.write_all(&[0; BLOCK_LENGTH])?;
    let mut body = Body {
        out: BlockWriter::new(reader.key(), out, mark, Section::Data),
        layout: Layout::default(),
        counts: vec![[0; 2]; packs.order.len()],
    };
    let mut keys = Vec::new();
    for kind in KINDS {
        let merge = Merge::new(reader.key(), runs.iter().filter(|run| run.kind == kind))?;
        keys.push(body.write_slots(kind, merge, &packs.numbers)?);
    }
    keys.push(body.write_packs(packs)?);
    body.out.begin(Section::Files)?;
    for id in files {
        body.out.write(id.as_bytes())?;
    }
    body.layout.set(Section::Files, files.len() as u64);
    for (section, keys) in
        [Section::DataKeys, Section::TreeKeys, Section::PackKeys].into_iter().zip(keys)
    {
        body.out.begin(section)?;
        for key in &keys {
            body.out.write(&key.to_le_bytes())?;
        }
        body.layout.set(section, keys.len() as u64);
    }
    let Body { out, layout, .. } = body;
    out.finish()?.flush()?;
    let place = Place { file: mark, section: Section::Header, number: 0 };
    let mut header = Vec::new();
    seal(reader.key(), place, &layout.to_header(reader.repository()), &mut header);
    file.write_all_at(&header, 0)
}

/// The body of the file that is being written.
struct Body<'k, W> {
    out: BlockWriter<'k, W>,
    layout: Layout,
    /// For each pack how many blobs of data and directories it holds.
    counts: Vec<[u32; 2]>,
}

impl<W: Write> Body<'_, W> {
    /// Writes all slots of a kind; returns the keys of the blocks.
    fn write_slots(
        &mut self,
        kind: BlobKind,
        mut merge: Merge<'_>,
        numbers: &[u32],
    ) -> io::Result<Vec<u64>> {
        self.out.begin(section(kind))?;
        let (mut keys, mut count, mut slots) = (Vec::new(), 0, Vec::new());
        loop {
            merge.next_blob(numbers, &mut slots)?;
            if slots.is_empty() {
                break;
            }
            for slot in &slots {
                if self.out.write(&slot.to_bytes())? {
                    keys.push(key_of(slot.id.as_bytes()));
                }
                self.counts[slot.pack as usize][kind as usize] += 1;
            }
            count += slots.len() as u64;
        }
        self.layout.set(section(kind), count);
        Ok(keys)
    }

    /// Writes all packs; returns the keys of the blocks.
    fn write_packs(&mut self, packs: &Packs) -> io::Result<Vec<u64>> {
        self.out.begin(Section::Packs)?;
        let mut keys = Vec::new();
        for (id, [data, trees]) in packs.ids().zip(&self.counts) {
            let mut item = [0; 40];
            item[..32].copy_from_slice(id.as_bytes());
            item[32..36].copy_from_slice(&data.to_le_bytes());
            item[36..].copy_from_slice(&trees.to_le_bytes());
            if self.out.write(&item)? {
                keys.push(key_of(id.as_bytes()));
            }
        }
        self.layout.set(Section::Packs, self.counts.len() as u64);
        Ok(keys)
    }
}
