//! The files of a cluster that was not started yet, held against its `backup_manifest`, and the pages in them.
//!
//! What is looked at and what is left alone are the rules of PostgreSQL's
//! `src/bin/pg_verifybackup/pg_verifybackup.c`: links are followed, five names at the top are left alone, a file
//! that is missing, that nobody listed, that has another size or another sum is wrong. What is an error there is
//! one here. Each file is read once, by as many threads as there are processors, for its sum and its pages.
//!
//! # Pages
//!
//! A cluster that was not started yet has pages that were torn when they were copied, and the log repairs them: those
//! that a record between the backup's start and its stop changed last. [`DirectoryReport::replayed`] names them, and
//! [`still_damaged`] looks at them again once the log was replayed.
//!
//! # Limits
//!
//! At most [`FINDINGS_MAX`] findings of each kind are named; all are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lifeboat_model::{Cancel, Cancelled, Lsn, Outcome};

use super::listed::{ListedError, ListedFile, ListedFiles};
use crate::base::findings::LogSpan;
use crate::base::inventory::{CONTROL_FILE, has_relations};
use crate::base::manifest::Manifest;
use crate::base::relation::{RelationFile, RelationName};
use crate::base::verification_manifest::{VERIFICATION_MANIFEST, placed};
use crate::control::ControlFile;
use crate::page::{
    BlockNumber, Checksums, FILE_PAGES, PAGE_LENGTH, PageFault, PageHeader, PageVerdict, judge,
};

/// How many findings of a kind are named.
pub const FINDINGS_MAX: usize = 1000;

/// Names at the top that are left alone: the log is verified elsewhere, the others may be made by a restore.
const LEFT_ALONE: [&str; 5] =
    [VERIFICATION_MANIFEST, "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];

/// How deep directories may lie in each other: a link can make a circle.
const DEPTH_MAX: usize = 32;

/// How much is read at once: whole pages, and little enough to stay in a processor's cache.
const READ_LENGTH: usize = 64 * PAGE_LENGTH;

/// No manifest is larger.
const MANIFEST_SIZE_MAX: u64 = 1 << 30;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// Nobody listed it.
    #[error("was not in the backup")]
    Extra,
    /// It is neither a file nor a directory.
    #[error("is neither a file nor a directory")]
    NotAFile,
    /// It has another size.
    #[error("has {actual} bytes, expected {expected}")]
    Size {
        /// What was listed.
        expected: u64,
        /// What it has.
        actual: u64,
    },
    /// It has other bytes.
    #[error("holds other bytes than were backed up")]
    Sum,
    /// It says that it is another cluster's.
    #[error("is of the cluster {actual}, expected {expected}")]
    Cluster {
        /// What was listed.
        expected: u64,
        /// What it says.
        actual: u64,
    },
    /// The control file makes no sense.
    #[error("cannot be used: {0}")]
    Control(String),
    /// The system refused it.
    #[error("cannot be read: {message}")]
    Unreadable {
        /// The system's word.
        message: String,
        /// What that says of the file: not to be allowed says nothing.
        outcome: Outcome,
    },
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFinding {
    /// Its path below the data directory.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: FileProblem,
}

impl FileFinding {
    /// Returns what it says of the cluster.
    pub const fn outcome(&self) -> Outcome {
        match self.problem {
            FileProblem::Unreadable { outcome, .. } => outcome,
            _ => Outcome::Failed,
        }
    }
}

impl fmt::Display for FileFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.problem)
    }
}

/// Since when a page is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It was damaged on the server when that was backed up.
    Backup,
    /// It was whole then, or nobody noticed.
    Later,
}

/// A page that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFinding {
    /// The file, below the data directory.
    pub path: PathBuf,
    /// Which page of the relation.
    pub block: BlockNumber,
    /// What is wrong.
    pub fault: PageFault,
    /// Since when.
    pub since: Since,
}

impl fmt::Display for PageFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} of {}: {}", self.block.0, self.path.display(), self.fault)?;
        match self.since {
            Since::Backup => f.write_str(", as on the server when it was backed up"),
            Since::Later => Ok(()),
        }
    }
}

/// A page that the log repairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedPage {
    /// The file, below the data directory.
    pub path: PathBuf,
    /// Which page of the relation.
    pub block: BlockNumber,
}

/// What was looked at and found.
#[derive(Debug, Clone, Default)]
pub struct DirectoryReport {
    /// How many listed files there are.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of them have a sum.
    pub summed: u64,
    /// What is wrong with files.
    pub file_findings: Vec<FileFinding>,
    /// How many more are wrong.
    pub file_findings_more: u64,
    /// How many pages there are.
    pub pages: u64,
    /// Whether pages have checksums; absent where the control file does not tell.
    pub checksums: Option<Checksums>,
    /// Pages that are damaged.
    pub page_findings: Vec<PageFinding>,
    /// How many more are.
    pub page_findings_more: u64,
    /// Pages that the log repairs.
    pub replayed: Vec<ReplayedPage>,
    /// How many more it repairs, which nobody looks at again.
    pub replayed_more: u64,
}

impl DirectoryReport {
    fn note(&mut self, path: &Path, problem: FileProblem) {
        let finding = FileFinding { path: path.to_owned(), problem };
        keep(&mut self.file_findings, &mut self.file_findings_more, finding);
    }

    fn add(&mut self, read: Read) {
        self.pages += read.pages;
        self.summed += u64::from(read.is_summed);
        if let Some(finding) = read.problem {
            keep(&mut self.file_findings, &mut self.file_findings_more, finding);
        }
        for finding in read.damaged {
            keep(&mut self.page_findings, &mut self.page_findings_more, finding);
        }
        for page in read.replayed {
            keep(&mut self.replayed, &mut self.replayed_more, page);
        }
    }

    /// Puts what several threads found into an order that does not depend on them.
    fn sort(&mut self) {
        self.file_findings.sort_by(|a, b| a.path.cmp(&b.path));
        self.page_findings.sort_by(|a, b| (&a.path, a.block).cmp(&(&b.path, b.block)));
    }
}

fn keep<T>(kept: &mut Vec<T>, more: &mut u64, found: T) {
    if kept.len() < FINDINGS_MAX {
        kept.push(found);
    } else {
        *more += 1;
    }
}

/// A directory could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its manifest cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Its manifest cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Manifest {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ListedError,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What is known of the backup that a directory was made from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Between where in the log it was copied.
    span: LogSpan,
    /// Pages that were damaged then, by their files below the data directory.
    damaged: BTreeMap<PathBuf, BTreeSet<u32>>,
}

impl Origin {
    /// Takes what lies between two positions in the log, where nothing was damaged.
    pub const fn of(span: std::ops::Range<Lsn>) -> Self {
        let span = LogSpan { start: span.start, stop: span.end };
        Self { span, damaged: BTreeMap::new() }
    }
}

impl From<&Manifest> for Origin {
    fn from(manifest: &Manifest) -> Self {
        let damaged = manifest.files.iter().filter(|file| !file.damaged.is_empty());
        let damaged = damaged.filter_map(|file| {
            Some((placed(&file.path.0)?, file.damaged.iter().copied().collect()))
        });
        let span = LogSpan { start: manifest.start_lsn, stop: manifest.stop_lsn };
        Self { span, damaged: damaged.collect() }
    }
}

/// Verifies a data directory before it is started; `advance` is told of bytes that were read.
///
/// # Errors
///
/// Where the manifest cannot be used, as `pg_verifybackup` ends then. All else is a finding.
pub fn verify(
    data: &Path,
    origin: &Origin,
    advance: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> Result<DirectoryReport, DirectoryError> {
    let listed = read_manifest(data)?;
    let mut report = DirectoryReport::default();
    let mut there = BTreeMap::new();
    look_into(data, Path::new(""), 0, &mut there, &mut report);
    let mut work = Vec::new();
    for (path, size) in &there {
        match listed.files.get(path) {
            None => report.note(path, FileProblem::Extra),
            Some(file) => {
                report.files += 1;
                report.bytes += size;
                if file.size == *size {
                    work.push((path.as_path(), file));
                } else {
                    let (expected, actual) = (file.size, *size);
                    report.note(path, FileProblem::Size { expected, actual });
                }
            }
        }
    }
    let known: BTreeSet<_> = report.file_findings.iter().map(|found| found.path.clone()).collect();
    for path in listed.files.keys().filter(|path| !there.contains_key(*path)) {
        if !is_left_alone(path) && !known.contains(path) {
            report.note(path, FileProblem::Missing);
        }
    }
    report.checksums = check_control(data, &listed, &there, &mut report);
    // The largest first, so that the last ones to be read are short.
    work.sort_by_key(|(_, file)| std::cmp::Reverse(file.size));
    let reading = Reading { data, origin, checksums: report.checksums, advance, cancel };
    let read = reading.all(&work);
    for file in read {
        report.add(file);
    }
    report.sort();
    cancel.check()?;
    Ok(report)
}

fn read_manifest(data: &Path) -> Result<ListedFiles, DirectoryError> {
    let path = data.join(VERIFICATION_MANIFEST);
    let mut bytes = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(MANIFEST_SIZE_MAX).read_to_end(&mut bytes));
    if let Err(source) = read {
        return Err(DirectoryError::Io { path, source });
    }
    ListedFiles::parse(&bytes).map_err(|source| DirectoryError::Manifest { path, source })
}

fn is_left_alone(path: &Path) -> bool {
    LEFT_ALONE.iter().any(|name| path.starts_with(name))
}

/// Finds all files below a directory, through links, with their sizes.
fn look_into(
    data: &Path,
    below: &Path,
    depth: usize,
    found: &mut BTreeMap<PathBuf, u64>,
    report: &mut DirectoryReport,
) {
    let listing = if depth > DEPTH_MAX {
        Err(io::Error::other("directories lie in each other without end"))
    } else {
        fs::read_dir(data.join(below)).and_then(Iterator::collect::<io::Result<Vec<_>>>)
    };
    let entries = match listing {
        Ok(entries) => entries,
        Err(error) => return report.note(below, unreadable(&error)),
    };
    for entry in entries {
        let path = below.join(entry.file_name());
        if is_left_alone(&path) {
            continue;
        }
        match fs::metadata(data.join(&path)) {
            Err(error) => report.note(&path, unreadable(&error)),
            Ok(metadata) if metadata.is_dir() => {
                look_into(data, &path, depth + 1, found, report);
            }
            Ok(metadata) if metadata.is_file() => {
                found.insert(path, metadata.len());
            }
            Ok(_) => report.note(&path, FileProblem::NotAFile),
        }
    }
}

fn unreadable(error: &io::Error) -> FileProblem {
    let outcome = if error.kind() == io::ErrorKind::PermissionDenied {
        Outcome::CouldNotVerify
    } else {
        Outcome::Failed
    };
    FileProblem::Unreadable { message: error.to_string(), outcome }
}

/// Holds the control file against the manifest, and returns whether it says that pages have checksums.
fn check_control(
    data: &Path,
    listed: &ListedFiles,
    there: &BTreeMap<PathBuf, u64>,
    report: &mut DirectoryReport,
) -> Option<Checksums> {
    let path = Path::new(CONTROL_FILE);
    if !there.contains_key(path) {
        return None;
    }
    let parsed = fs::read(data.join(path)).map_err(|error| unreadable(&error)).and_then(|bytes| {
        ControlFile::parse(&bytes).map_err(|error| FileProblem::Control(error.to_string()))
    });
    match parsed {
        Ok(control) => {
            let actual = control.system_id;
            if let Some(expected) = listed.system_id.filter(|expected| *expected != actual) {
                report.note(path, FileProblem::Cluster { expected, actual });
            }
            Some(control.checksums())
        }
        Err(problem) => {
            report.note(path, problem);
            None
        }
    }
}

/// What reading one file showed.
#[derive(Default)]
struct Read {
    pages: u64,
    is_summed: bool,
    problem: Option<FileFinding>,
    damaged: Vec<PageFinding>,
    replayed: Vec<ReplayedPage>,
}

/// What all files are read with.
struct Reading<'a> {
    data: &'a Path,
    origin: &'a Origin,
    checksums: Option<Checksums>,
    advance: &'a (dyn Fn(u64) + Sync),
    cancel: &'a Cancel,
}

impl Reading<'_> {
    /// Reads all files, by several threads.
    fn all(&self, work: &[(&Path, &ListedFile)]) -> Vec<Read> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let read = || {
            let mut buffer = vec![0; READ_LENGTH];
            while let Some((path, file)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.cancel.is_cancelled() {
                    break;
                }
                let read = self.one(path, file, &mut buffer);
                done.lock().unwrap_or_else(PoisonError::into_inner).push(read);
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(read);
            }
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, path: &Path, listed: &ListedFile, buffer: &mut [u8]) -> Read {
        let mut read = Read::default();
        let problem = match self.read(path, listed, buffer, &mut read) {
            Ok(problem) => problem,
            Err(error) => Some(unreadable(&error)),
        };
        read.problem = problem.map(|problem| FileFinding { path: path.to_owned(), problem });
        read
    }

    fn read(
        &self,
        path: &Path,
        listed: &ListedFile,
        buffer: &mut [u8],
        read: &mut Read,
    ) -> io::Result<Option<FileProblem>> {
        let relation = relation(path);
        let mut summing = listed.checksum.as_ref().map(|checksum| checksum.algorithm.begin());
        if relation.is_none() && summing.is_none() {
            return Ok(None);
        }
        let mut file = File::open(self.data.join(path))?;
        let mut at = 0;
        while !self.cancel.is_cancelled() {
            let length = fill(&mut file, buffer)?;
            if length == 0 {
                break;
            }
            if let Some(summing) = &mut summing {
                summing.add(&buffer[..length]);
            }
            if let Some(relation) = relation {
                self.judge(path, relation, at, &buffer[..length], read);
            }
            at += length as u64;
            (self.advance)(length as u64);
        }
        if at != listed.size {
            return Ok(Some(FileProblem::Size { expected: listed.size, actual: at }));
        }
        let Some((checksum, sum)) = listed.checksum.as_ref().zip(summing) else { return Ok(None) };
        read.is_summed = true;
        Ok((sum.finish() != checksum.bytes).then_some(FileProblem::Sum))
    }

    fn judge(&self, path: &Path, relation: RelationFile, at: u64, bytes: &[u8], read: &mut Read) {
        let first = at / PAGE_LENGTH as u64;
        for (number, page) in (first..).zip(bytes.chunks(PAGE_LENGTH)) {
            let number = u32::try_from(number).ok();
            let block = number.and_then(|page| BlockNumber::in_file(relation.segment, page));
            let Some(block) = block else { return };
            read.pages += 1;
            let checksums = self.checksums.unwrap_or(Checksums::Off);
            let PageVerdict::Invalid(fault) = judge(page, block, checksums) else { continue };
            let is_known = self.origin.damaged.get(path).is_some_and(|all| all.contains(&block.0));
            if !is_known && is_replayed(page, self.origin.span) {
                read.replayed.push(ReplayedPage { path: path.to_owned(), block });
            } else {
                let since = if is_known { Since::Backup } else { Since::Later };
                read.damaged.push(PageFinding { path: path.to_owned(), block, fault, since });
            }
        }
    }
}

/// Tells whether a record changed a page last that every recovery replays.
fn is_replayed(page: &[u8], span: LogSpan) -> bool {
    let lsn = PageHeader::parse(page).map(|header| header.lsn);
    lsn.is_some_and(|lsn| lsn >= span.start && lsn <= span.stop)
}

/// Looks at pages again that the log was to repair; a file that is gone or ends before them needs no repair.
///
/// The server has to have written out what it replayed.
pub fn still_damaged(
    data: &Path,
    pages: &[ReplayedPage],
    checksums: Checksums,
) -> io::Result<Vec<PageFinding>> {
    let mut damaged = Vec::new();
    for page in pages {
        let file = match File::open(data.join(&page.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut bytes = [0; PAGE_LENGTH];
        let offset = u64::from(page.block.0 % FILE_PAGES) * PAGE_LENGTH as u64;
        match file.read_exact_at(&mut bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            other => other?,
        }
        if let PageVerdict::Invalid(fault) = judge(&bytes, page.block, checksums) {
            let ReplayedPage { path, block } = page.clone();
            damaged.push(PageFinding { path, block, fault, since: Since::Later });
        }
    }
    Ok(damaged)
}

/// Returns what of which relation a file holds, if it holds pages.
fn relation(path: &Path) -> Option<RelationFile> {
    let folder = path.parent()?;
    let mut below = folder.iter();
    // A tablespace has its directories as the data directory has its own.
    let own = match below.next() {
        Some(name) if name == "pg_tblspc" => {
            below.next();
            below.as_path()
        }
        _ => folder,
    };
    match RelationName::parse(path.file_name()?.to_str()?) {
        RelationName::Relation(file) if has_relations(own) => Some(file),
        _ => None,
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
