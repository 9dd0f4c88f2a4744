//! A file that the server hands over or asks for, whose bytes were held against its name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::num::NonZero;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use rustix::fs::OFlags;

use super::error::ArchiveError;
use super::name::{SystemId, WalAddress};
use super::tablespace::expect_free;
use crate::control::{CONTROL_FILE_LENGTH, ControlFile};
use crate::timeline::HISTORY_LENGTH_MAX;
use crate::wal::{SegmentHeader, SegmentName, SegmentSize, WalFileName};

/// As long as the file about a backup may be; the servers write some three hundred bytes.
const BACKUP_HISTORY_LENGTH_MAX: u64 = 64 << 10;

/// What follows a file's name while it is being written.
const UNFINISHED: &str = ".lifeboat";

/// More than the head of a segment has.
const HEAD_READ_LENGTH: u64 = 512;

/// More threads than this read a segment no faster.
const READERS_MAX: usize = 4;

/// Less than this is not worth a thread of its own.
const READ_LENGTH_LEAST: usize = 1 << 20;

/// How often a control file is read until it was not being written meanwhile.
const CONTROL_READS_MAX: u32 = 20;

/// A cluster, as its files tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Whose log it writes.
    pub system: SystemId,
    /// How large its segments are.
    pub size: SegmentSize,
}

impl Cluster {
    /// Reads the control file of the cluster whose `pg_wal` holds `file`, which PostgreSQL names from
    /// the cluster's directory.
    ///
    /// By the text of the path: `pg_wal` may be a link to another disk, beside which there is none.
    pub fn around(file: &Path) -> Result<Self, ArchiveError> {
        Self::at(&cluster_around(file))
    }

    /// Reads the control file of the cluster in a directory.
    pub fn at(directory: &Path) -> Result<Self, ArchiveError> {
        let path = directory.join("global").join("pg_control");
        let mut attempt = 1;
        loop {
            let bytes = read(&path, CONTROL_FILE_LENGTH as u64)?;
            match ControlFile::parse(&bytes) {
                Ok(control) => {
                    return Ok(Self {
                        system: SystemId(control.system_id),
                        size: control.segment_size,
                    });
                }
                // The server may just have been writing it.
                Err(_) if attempt < CONTROL_READS_MAX => attempt += 1,
                Err(source) => return Err(ArchiveError::Control { path, source }),
            }
        }
    }

    /// Tells from a segment's head, for a file that lies away from its cluster.
    pub fn of_segment(file: WalFileName, path: &Path) -> Result<Self, ArchiveError> {
        let beginning = read(path, HEAD_READ_LENGTH)?;
        let header = SegmentHeader::parse(&beginning);
        let header = header.map_err(|source| ArchiveError::Header { file, source })?;
        Ok(Self { system: SystemId(header.system_id), size: header.segment_size })
    }

    /// Returns the address of a file of this cluster's log.
    pub fn address(&self, file: WalFileName) -> Result<WalAddress, ArchiveError> {
        let is_fit = file.segment().is_none_or(|segment| segment.number(self.size).is_some());
        let Self { system, size } = *self;
        is_fit
            .then_some(WalAddress { system, size, file })
            .ok_or(ArchiveError::Unfit { file, size })
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(lifeboat_tiers::durable::PRIVATE);
    options.open(path)?.write_all(bytes)
}

/// A file of a cluster's log, with the length and the head that its name calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFile {
    address: WalAddress,
    bytes: Bytes,
}

impl WalFile {
    /// Reads the file at `path`.
    pub fn read(address: WalAddress, path: &Path) -> Result<Self, ArchiveError> {
        let max = length_max(address);
        let bytes = read(path, max + 1)?;
        Self::check(address, Bytes::from(bytes))
    }

    /// Takes a file's bytes, unless they are not what its name says.
    pub fn check(address: WalAddress, bytes: Bytes) -> Result<Self, ArchiveError> {
        let (file, length) = (address.file, bytes.len() as u64);
        let max = length_max(address);
        match file {
            WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
                if length != max {
                    return Err(ArchiveError::differs(file, "length", length, max));
                }
                check_header(address, segment, &bytes)?;
            }
            WalFileName::History(_) | WalFileName::BackupHistory { .. } => {
                if length > max {
                    return Err(ArchiveError::TooLong { file, length, max });
                }
            }
        }
        Ok(Self { address, bytes })
    }

    /// Writes the file where the server wants it, so that it is there whole or not at all.
    ///
    /// It need not survive a crash: a recovery that begins again asks for it again. A segment by which the server would take
    /// the data of another one is refused.
    pub fn place(&self, path: &Path) -> Result<(), ArchiveError> {
        if matches!(self.address.file, WalFileName::Segment(_) | WalFileName::Partial(_)) {
            expect_free(&self.bytes, &cluster_around(path))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(UNFINISHED);
        let unfinished = path.with_file_name(name);
        let placed = write(&unfinished, &self.bytes)
            .and_then(|()| rustix::fs::rename(&unfinished, path).map_err(io::Error::from));
        placed.map_err(|source| {
            // Of a disk that is full it takes what the server needs; nothing else can be done about it.
            drop(std::fs::remove_file(&unfinished));
            ArchiveError::Io { action: "write", path: path.to_owned(), source }
        })
    }

    /// Returns where it belongs.
    pub const fn address(&self) -> WalAddress {
        self.address
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Returns the data directory of a file that lies in its `pg_wal`.
fn cluster_around(file: &Path) -> PathBuf {
    let above = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    above(&above(file))
}

const fn length_max(address: WalAddress) -> u64 {
    match address.file {
        WalFileName::Segment(_) | WalFileName::Partial(_) => address.size.bytes() as u64,
        WalFileName::History(_) => HISTORY_LENGTH_MAX as u64,
        WalFileName::BackupHistory { .. } => BACKUP_HISTORY_LENGTH_MAX,
    }
}

/// Holds a segment's head against its name.
///
/// The first page may be of an older timeline: a segment in which a timeline was left is copied up to
/// there into the one that follows, pages and all.
fn check_header(
    address: WalAddress,
    segment: SegmentName,
    bytes: &[u8],
) -> Result<(), ArchiveError> {
    let file = address.file;
    let header =
        SegmentHeader::parse(bytes).map_err(|source| ArchiveError::Header { file, source })?;
    let system = SystemId(header.system_id);
    if system != address.system {
        return Err(ArchiveError::another_system(file, system, address.system));
    }
    if header.segment_size != address.size {
        let (found, expected) = (header.segment_size.bytes(), address.size.bytes());
        return Err(ArchiveError::differs(file, "segment size", found, expected));
    }
    let start = segment.start(address.size);
    let start = start.ok_or(ArchiveError::Unfit { file, size: address.size })?;
    if header.page.lsn != start {
        return Err(ArchiveError::differs(file, "first position", header.page.lsn, start));
    }
    if header.page.timeline > segment.timeline() {
        let (found, expected) = (header.page.timeline, segment.timeline());
        return Err(ArchiveError::differs(file, "timeline", found, expected));
    }
    Ok(())
}

/// Reads at most `length` bytes of a file, and of no link: whoever reads as root would archive, and hand
/// out again, what a server's user may not read.
fn read(path: &Path, length: u64) -> Result<Vec<u8>, ArchiveError> {
    let read = || -> io::Result<Vec<u8>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let known = file.metadata()?.len().min(length);
        let mut bytes = vec![0; usize::try_from(known).map_err(io::Error::other)?];
        read_in_shares(&file, &mut bytes)?;
        // What was written behind it meanwhile is read, too, up to the length.
        file.seek(SeekFrom::Start(known))?;
        file.take(length - known).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| ArchiveError::Io { action: "read", path: PathBuf::from(path), source })
}

/// Fills a buffer with a file's beginning, by several threads: most of the time goes into memory that is
/// used for the first time.
fn read_in_shares(file: &File, buffer: &mut [u8]) -> io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(READERS_MAX);
    let share = buffer.len().div_ceil(threads).max(READ_LENGTH_LEAST);
    thread::scope(|scope| {
        let mut shares = (0..).step_by(share).zip(buffer.chunks_mut(share));
        let first = shares.next();
        let read = |(offset, share): (u64, &mut [u8])| file.read_exact_at(share, offset);
        let others: Vec<_> = shares.map(|share| scope.spawn(move || read(share))).collect();
        let ended = first.map_or(Ok(()), read);
        others.into_iter().fold(ended, |ended, other| {
            ended.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
}
