//! Writes what would be restored as a POSIX tar stream, in the `pax` format of POSIX.1-2001.
//!
//! Owners, times below the second, extended attributes (as `SCHILY.xattr`, which GNU tar and bsdtar
//! read), hard links, devices and names of any length go in. Nothing touches this machine's disk.
//!
//! # Invariants
//!
//! - The first name of a file comes before its others.
//! - The stream is a whole archive whatever is lost: what of a file cannot be had is zeros, and the
//!   file is named in the report.
//!
//! # Limits
//!
//! Holes are written as zeros. ACLs are attributes like others: GNU tar restores them with
//! `--xattrs --xattrs-include='*'`.
//!
//! Source: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header Block".

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lifeboat_model::{Cancel, Event, EventSink, Stage, Work};

use super::RestoreOptions;
use super::entries::{Entry, EntryNumber, Sort};
use super::plan::RestorePlan;
use super::reads::Piece;
use super::report::RestoreReport;
use super::stream::PieceStream;
use crate::check::explain;
use crate::error::RepositoryError;
use crate::repository::{Indexed, Repository};
use crate::snapshot::Snapshot;
use crate::time::NodeTime;

const BLOCK: usize = 512;

/// The longest name and link target of a plain header, in bytes.
const NAME_MAX: usize = 100;

/// The longest name of an owner in a plain header, in bytes.
const OWNER_MAX: usize = 31;

/// How much is written at once where a piece is lost.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes a snapshot or a part of it to `out` as a tar stream; of `options` only what is restored
/// matters, and whether an owner may be missing does not, since the archive has them all.
pub fn write_tar(
    repository: &Repository<Indexed>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    out: &mut dyn Write,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestoreReport, RepositoryError> {
    let mut plan = options.plan(repository, snapshot, cancel)?;
    let totals = plan.totals();
    let total = Some(Work { items: totals.files, bytes: totals.bytes });
    events.emit(Event::Started { stage: Stage::Restore, total });
    // GNU tar sets a directory's time once it has seen all that is in it.
    let order: Vec<EntryNumber> = plan.depth_first().collect();
    let pieces = in_order(&mut plan, &order);
    let content = PieceStream::new(repository, std::mem::take(&mut plan.packs), pieces);
    let report = plan.known.clone();
    let names = names(&plan);
    let mut writer = TarWriter { plan: &plan, names, content, out, report };
    for number in order {
        cancel.check()?;
        let work = writer.add(number)?;
        events.emit(Event::Advanced { stage: Stage::Restore, work });
    }
    writer.end()?;
    writer.report.bytes_fetched = writer.content.bytes_fetched();
    events.emit(Event::Finished { stage: Stage::Restore });
    let mut report = writer.report;
    report.sort();
    Ok(report)
}

/// Returns the entry that has the content of another one, which may be a further name of it.
fn content_of(plan: &RestorePlan, number: EntryNumber) -> EntryNumber {
    match plan.entries.get(number).sort {
        Sort::HardLink { first } => first,
        _ => number,
    }
}

/// Puts the pieces into the order in which the entries are written: those of a file where its first
/// name is.
fn in_order(plan: &mut RestorePlan, order: &[EntryNumber]) -> Vec<Piece> {
    let mut rank = vec![EntryNumber::MAX; plan.entries.count()];
    for (place, number) in (0..).zip(order) {
        let rank = &mut rank[content_of(plan, *number) as usize];
        *rank = place.min(*rank);
    }
    let mut pieces = std::mem::take(&mut plan.pieces);
    pieces.sort_unstable_by_key(|piece| (rank[piece.file as usize], piece.place));
    pieces
}

/// Returns the files that have several names, none of which is written yet.
fn names(plan: &RestorePlan) -> HashMap<EntryNumber, Option<EntryNumber>> {
    let first = |(_, entry): (_, &Entry)| match entry.sort {
        Sort::HardLink { first } => Some((first, None)),
        _ => None,
    };
    plan.entries.iter().filter_map(first).collect()
}

fn unwritable(source: io::Error) -> RepositoryError {
    RepositoryError::Io { action: "write the archive to", path: "the stream".into(), source }
}

struct TarWriter<'w> {
    plan: &'w RestorePlan,
    /// The name under which each file with several was written.
    names: HashMap<EntryNumber, Option<EntryNumber>>,
    content: PieceStream<'w>,
    out: &'w mut dyn Write,
    report: RestoreReport,
}

impl TarWriter<'_> {
    /// Writes an entry with its content.
    fn add(&mut self, number: EntryNumber) -> Result<Work, RepositoryError> {
        let plan = self.plan;
        let sort = plan.entries.get(content_of(plan, number)).sort;
        let written = self.names.get_mut(&content_of(plan, number));
        let written = written.and_then(|written| written.replace(number));
        let (kind, size, link) = match (sort, written) {
            (Sort::Socket | Sort::HardLink { .. }, _) => return Ok(Work::default()),
            (_, Some(written)) => (b'1', 0, Some(in_archive(&plan.path(written), b'1'))),
            (Sort::Directory { .. }, _) => (b'5', 0, None),
            (Sort::File { size, .. }, _) => (b'0', size, None),
            (Sort::Symlink(text), _) => {
                (b'2', 0, Some(plan.entries.text(text).as_bytes().to_vec()))
            }
            (Sort::CharDevice(_), _) => (b'3', 0, None),
            (Sort::BlockDevice(_), _) => (b'4', 0, None),
            (Sort::Fifo, _) => (b'6', 0, None),
        };
        let header = Header {
            plan,
            entry: plan.entries.get(number),
            sort,
            kind,
            size,
            path: in_archive(&plan.path(number), kind),
            link: link.unwrap_or_default(),
        };
        self.out.write_all(&header.to_bytes()).map_err(unwritable)?;
        match (kind, sort) {
            (b'0', Sort::File { size, count, .. }) => {
                self.write_content(number, size, count)?;
                return Ok(Work { items: 1, bytes: size });
            }
            (b'5', _) => self.report.directories += 1,
            _ => self.report.others += 1,
        }
        Ok(Work::default())
    }

    fn write_content(
        &mut self,
        number: EntryNumber,
        size: u64,
        count: u32,
    ) -> Result<(), RepositoryError> {
        let mut lost = self.plan.lost.contains(&content_of(self.plan, number));
        let mut written = 0;
        for _ in 0..count {
            let place = written;
            match self.content.advance() {
                Ok(_) => {
                    self.out.write_all(self.content.plaintext()).map_err(unwritable)?;
                    written += self.content.plaintext().len() as u64;
                }
                Err(error) => {
                    let length = u64::from(self.content.piece_length());
                    self.write_zeros(length)?;
                    written += length;
                    if !lost {
                        let what = format!("{}; zeros stand from {place} on", explain(&error));
                        self.report.fail(self.plan.path(number), what);
                    }
                    lost = true;
                }
            }
        }
        self.write_zeros(size - written.min(size))?;
        self.write_zeros(padding(size))?;
        self.report.bytes_written += size;
        if !lost {
            self.report.files += 1;
            self.report.bytes += size;
        }
        Ok(())
    }

    fn write_zeros(&mut self, mut length: u64) -> Result<(), RepositoryError> {
        while length > 0 {
            let step = length.min(ZEROS.len() as u64);
            let step = usize::try_from(step).expect("it is not longer than the zeros");
            self.out.write_all(&ZEROS[..step]).map_err(unwritable)?;
            length -= step as u64;
        }
        Ok(())
    }

    /// Ends the archive: two blocks of zeros.
    fn end(&mut self) -> Result<(), RepositoryError> {
        self.write_zeros(2 * BLOCK as u64)?;
        self.out.flush().map_err(unwritable)
    }
}

/// Returns a path as it stands in an archive: without the leading slash, with one behind a
/// directory.
fn in_archive(path: &Path, kind: u8) -> Vec<u8> {
    let path = path.as_os_str().as_bytes();
    let mut path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
    if kind == b'5' {
        path.push(b'/');
    }
    path
}

/// Returns how many zeros follow content of this length.
const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// What is said of one entry.
struct Header<'h> {
    plan: &'h RestorePlan,
    entry: &'h Entry,
    sort: Sort,
    kind: u8,
    size: u64,
    path: Vec<u8>,
    link: Vec<u8>,
}

impl Header<'_> {
    /// Returns the blocks before the content: what the plain header cannot say, then that header.
    fn to_bytes(&self) -> Vec<u8> {
        let records = self.records();
        let mut bytes = Vec::new();
        if !records.is_empty() {
            bytes.extend(self.block(b'x', b"PaxHeaders/entry", records.len() as u64));
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.extend(self.block(self.kind, &self.path, self.size));
        bytes
    }

    /// Returns what the plain header has no room for.
    fn records(&self) -> Vec<u8> {
        let (entry, names) = (self.entry, self.plan.entries.owner_names(self.entry));
        let mut records = Vec::new();
        if self.path.len() > NAME_MAX || !self.path.is_ascii() {
            add_record(&mut records, b"path", &self.path);
        }
        if self.link.len() > NAME_MAX || !self.link.is_ascii() {
            add_record(&mut records, b"linkpath", &self.link);
        }
        for (key, time) in [(&b"mtime"[..], entry.mtime), (b"atime", entry.atime)] {
            let known = !time.is_same_instant(NodeTime::UNKNOWN);
            if known && (key == b"atime" || time.nanoseconds() > 0 || time.seconds() < 0) {
                add_record(&mut records, key, decimal(time).as_bytes());
            }
        }
        for (key, number) in
            [(&b"size"[..], self.size), (b"uid", entry.uid.into()), (b"gid", entry.gid.into())]
        {
            if !fits(number, if key == b"size" { 12 } else { 8 }) {
                add_record(&mut records, key, number.to_string().as_bytes());
            }
        }
        for (key, name) in [(&b"uname"[..], &names.user), (b"gname", &names.group)] {
            if name.len() > OWNER_MAX || !name.is_ascii() {
                add_record(&mut records, key, name.as_bytes());
            }
        }
        for attribute in entry.attributes() {
            let key = [b"SCHILY.xattr.", attribute.name.as_bytes()].concat();
            add_record(&mut records, &key, &attribute.value);
        }
        records
    }

    fn block(&self, kind: u8, path: &[u8], size: u64) -> [u8; BLOCK] {
        let (entry, names) = (self.entry, self.plan.entries.owner_names(self.entry));
        let mut block = [0; BLOCK];
        put_text(&mut block[..100], path);
        put_number(&mut block[100..108], entry.mode.into());
        put_number(&mut block[108..116], entry.uid.into());
        put_number(&mut block[116..124], entry.gid.into());
        put_number(&mut block[124..136], size);
        put_number(&mut block[136..148], u64::try_from(entry.mtime.seconds()).unwrap_or(0));
        block[148..156].fill(b' ');
        block[156] = kind;
        if kind != b'x' {
            put_text(&mut block[157..257], &self.link);
        }
        block[257..265].copy_from_slice(b"ustar\x0000");
        put_text(&mut block[265..296], names.user.as_bytes());
        put_text(&mut block[297..328], names.group.as_bytes());
        if let Sort::CharDevice(device) | Sort::BlockDevice(device) = self.sort {
            put_number(&mut block[329..337], rustix::fs::major(device).into());
            put_number(&mut block[337..345], rustix::fs::minor(device).into());
        }
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Writes text, cut off if it has no room: a record says it whole then.
fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Tells whether a number has room in a field, in octal digits and a zero byte.
const fn fits(number: u64, width: u32) -> bool {
    number < 1 << (3 * (width - 1))
}

/// Writes a number, or zero if it has no room: a record says it then.
fn put_number(field: &mut [u8], number: u64) {
    let width = field.len() - 1;
    let number =
        if fits(number, 1 + u32::try_from(width).expect("fields are short")) { number } else { 0 };
    field[..width].copy_from_slice(format!("{number:0width$o}").as_bytes());
}

/// Writes a time as POSIX wants it: decimal seconds since 1970.
fn decimal(time: NodeTime) -> String {
    let (seconds, nanoseconds) = (time.seconds(), time.nanoseconds());
    if seconds < 0 && nanoseconds > 0 {
        // -1.75 is two seconds before and a quarter on.
        let (seconds, fraction) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
        return format!("-{seconds}.{fraction:09}");
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// Adds `length key=value` and a line feed; the length counts its own digits.
fn add_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for (value, expected) in [(3, "11 key=vvv\n"), (88, "96 key="), (92, "101 key=")] {
            let mut records = Vec::new();
            add_record(&mut records, b"key", &vec![b'v'; value]);
            let text = String::from_utf8(records).unwrap();
            assert!(text.starts_with(expected), "{text}");
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, text.len());
        }
    }

    #[test]
    fn times_before_1970_are_negative_in_all_their_digits() {
        assert_eq!(decimal(NodeTime::from_unix(-2, 250_000_000)), "-1.750000000");
        assert_eq!(decimal(NodeTime::from_unix(-1, 250_000_000)), "-0.750000000");
        assert_eq!(decimal(NodeTime::from_unix(5, 1)), "5.000000001");
        assert_eq!(decimal(NodeTime::from_unix(-2, 0)), "-2.000000000");
    }

    #[test]
    fn numbers_without_room_are_left_to_a_record() {
        assert!(fits(0o7_777_777, 8) && !fits(0o10_000_000, 8));
        let mut field = [0; 8];
        put_number(&mut field, 0o755);
        assert_eq!(&field, b"0000755\0");
        put_number(&mut field, 1 << 30);
        assert_eq!(&field, b"0000000\0");
    }
}
