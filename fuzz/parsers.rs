//! What the fuzz targets run: each parser of bytes that come from a tier or a PostgreSQL server, and of patterns that
//! come from people, and what must hold of whatever it accepts. `crates/postgres/tests/parsers.rs` runs the same on kept seeds.
//!
//! Every function tells whether the bytes were accepted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lifeboat_model::pattern::{Case, Dialect, EntryKind, Pattern, Patterns};
use lifeboat_model::{Lsn, Secret};
use lifeboat_postgres::control::{CONTROL_FILE_LENGTH, ControlFile, invalidate_checkpoint};
use lifeboat_postgres::page::{BlockNumber, Checksums, PageVerdict, judge};
use lifeboat_postgres::timeline::TimelineHistory;
use lifeboat_postgres::verification::listed::ListedFiles;
use lifeboat_postgres::wal::{
    SegmentHeader, SegmentName, SegmentNumber, SegmentSummary, TimelineId,
};
use lifeboat_repository::compress::{Decompressor, decompress_document};
use lifeboat_repository::config::Config;
use lifeboat_repository::index::IndexFile;
use lifeboat_repository::key::KeyFile;
use lifeboat_repository::lock::record::LockRecord;
use lifeboat_repository::pack::{PackHeader, pack_size};
use lifeboat_repository::{Index, MasterKey, Snapshot, Tree};

/// A parser under test.
pub type Parser = fn(&[u8]) -> bool;

/// All parsers, by the name of their fuzz target.
pub const ALL: [(&str, Parser); 16] = [
    ("key_file", key_file),
    ("config", config),
    ("pack_header", pack_header),
    ("pack", pack),
    ("index_file", index_file),
    ("tree", tree),
    ("snapshot", snapshot),
    ("lock", lock),
    ("zstd", zstd),
    ("pattern", pattern),
    ("patterns", patterns),
    ("control", control),
    ("page", page),
    ("history", history),
    ("wal_segment", wal_segment),
    ("backup_manifest", backup_manifest),
];

/// The most work of scrypt that is worth the time of a fuzzer.
const WORK_MAX: u64 = 1 << 10;

/// A key file is not authenticated: anybody who can write to the tier can write one.
pub fn key_file(bytes: &[u8]) -> bool {
    let Ok(file) = KeyFile::parse(bytes) else { return false };
    if file.parameters().work() <= WORK_MAX {
        let _ = file.open(&Secret::new("password"));
    }
    true
}

/// What is written again reads the same.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(config) = Config::parse(bytes) else { return false };
    assert_eq!(Config::parse(&config.to_document()).expect("it was written here"), config);
    true
}

/// The first eight bytes are the length of the blobs, the others an opened header.
pub fn pack_header(bytes: &[u8]) -> bool {
    let Some((length, header)) = bytes.split_first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    let Ok(parsed) = PackHeader::parse(header, length) else { return false };
    let size = pack_size(&parsed.blobs);
    assert!(size >= length && size <= length + header.len() as u64 + 36);
    true
}

/// A whole pack; nearly nothing gets past its seal.
pub fn pack(bytes: &[u8]) -> bool {
    let key = MasterKey::from_bytes(&[7; 64]);
    PackHeader::open(&key, bytes, bytes.len() as u64).is_ok()
}

/// What is written again reads the same, and every listed blob is found.
pub fn index_file(bytes: &[u8]) -> bool {
    let Ok(file) = IndexFile::parse(bytes) else { return false };
    assert_eq!(IndexFile::parse(&file.to_document()).expect("it was written here"), file);
    let mut index = Index::default();
    index.add(&file);
    for pack in &file.packs {
        for blob in &pack.blobs {
            let mut locations = index.locations(blob.kind, &blob.id);
            assert!(locations.any(|location| location == blob.location(pack.id)));
        }
    }
    true
}

/// What is written again reads the same and has the same bytes when written once more.
pub fn tree(bytes: &[u8]) -> bool {
    let Ok(tree) = Tree::parse(bytes) else { return false };
    match tree.to_document() {
        Ok(document) => {
            assert!(tree.is_ordered());
            let again = Tree::parse(&document).expect("it was written here");
            assert_eq!(again.to_document().expect("it was ordered before"), document);
        }
        Err(_) => assert!(!tree.is_ordered()),
    }
    true
}

/// What is written again reads the same.
pub fn snapshot(bytes: &[u8]) -> bool {
    let Ok(snapshot) = Snapshot::parse(bytes) else { return false };
    assert_eq!(Snapshot::parse(&snapshot.to_document()).expect("it was written here"), snapshot);
    true
}

/// What is written again reads the same.
pub fn lock(bytes: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<LockRecord>(bytes) else { return false };
    let document = serde_json::to_vec(&record).expect("a lock is plain data");
    let again: LockRecord = serde_json::from_slice(&document).expect("it was written here");
    assert_eq!(again, record);
    true
}

/// The first two bytes are the promised length, the others a frame.
pub fn zstd(bytes: &[u8]) -> bool {
    let Some((length, frame)) = bytes.split_first_chunk() else { return false };
    let length = u16::from_le_bytes(*length);
    let whole = decompress_document(frame);
    match Decompressor::new().decompress(frame, length.into()) {
        Ok(text) => {
            assert_eq!(text.len(), usize::from(length));
            assert!(whole.is_ok_and(|whole| whole == text));
            true
        }
        Err(_) => false,
    }
}

/// The dialects of patterns.
const DIALECTS: [Dialect; 3] = [Dialect::Restic, Dialect::Git, Dialect::Plan];

/// The first line is a pattern, the others are a path; what matches below a directory is not
/// passed over with it.
pub fn pattern(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (text, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = Path::new("/").join(OsStr::from_bytes(path));
    let mut is_one = true;
    for (dialect, case) in
        DIALECTS.into_iter().flat_map(|d| [(d, Case::Matters), (d, Case::Ignored)])
    {
        let Ok(pattern) = Pattern::new(OsStr::from_bytes(text), dialect, case) else {
            is_one = false;
            continue;
        };
        if pattern.matches(&path) && !path.ancestors().skip(1).any(|above| pattern.matches(above)) {
            assert!(path.ancestors().skip(1).all(|above| pattern.may_match_below(above)));
        }
    }
    is_one
}

/// The first line is a path, the others are patterns; going down name by name judges as looking at the
/// whole path does, and no `.gitignore` is refused.
pub fn patterns(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (path, content) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = Path::new("/").join(OsStr::from_bytes(path));
    Patterns::of_gitignore(content).judge_path(&path, EntryKind::Directory);
    let lines = || content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let texts = || lines().map(OsStr::from_bytes);
    let mut are_some = true;
    for dialect in DIALECTS {
        let Ok(list) = Patterns::new(dialect, Case::Matters, texts()) else {
            are_some = false;
            continue;
        };
        let mut progress = list.start();
        let names: Vec<_> = path.iter().skip(1).collect();
        let Some((name, above)) = names.split_last() else { continue };
        for name in above {
            progress = list.enter(&progress, name);
        }
        let judged = list.judge(&progress, name, EntryKind::Other);
        assert_eq!(judged, list.judge_path(&path, EntryKind::Other));
    }
    are_some
}

/// A control file, as it is and with a checksum that fits; what is edited reads the same but for the checkpoint.
pub fn control(bytes: &[u8]) -> bool {
    let mut file = bytes[..bytes.len().min(CONTROL_FILE_LENGTH)].to_vec();
    let is_accepted = ControlFile::parse(&file).is_ok();
    for crc_at in [288, 292] {
        if file.len() >= crc_at + 4 {
            let crc = crc32c::crc32c(&file[..crc_at]);
            file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let Ok(before) = ControlFile::parse(&file) else { continue };
        invalidate_checkpoint(&mut file).expect("it was read before");
        let after = ControlFile::parse(&file).expect("it was written here");
        assert_eq!(ControlFile { checkpoint_lsn: before.checkpoint_lsn, ..after }, before);
    }
    is_accepted
}

/// The first four bytes are the place, the others a page; what has a checksum that fits has it nowhere else nearby.
pub fn page(bytes: &[u8]) -> bool {
    let Some((place, page)) = bytes.split_first_chunk() else { return false };
    let place = u32::from_le_bytes(*place);
    let verdict = judge(page, BlockNumber(place), Checksums::On);
    if verdict == PageVerdict::Valid {
        assert_eq!(judge(page, BlockNumber(place), Checksums::Off), PageVerdict::Valid);
        assert_ne!(judge(page, BlockNumber(place ^ 1), Checksums::On), PageVerdict::Valid);
    }
    !matches!(verdict, PageVerdict::Invalid(_))
}

/// Every ancestor begins where the one before ends, and holds what lies between.
pub fn history(bytes: &[u8]) -> bool {
    let Ok(history) = TimelineHistory::parse(TimelineId(u32::MAX), bytes) else { return false };
    let mut begin = Lsn(0);
    for ancestor in history.ancestors() {
        assert_eq!(history.begin_of(ancestor.timeline), Some(begin));
        assert!(history.contains(ancestor.timeline, ancestor.end));
        if begin < ancestor.end {
            assert_eq!(history.timeline_at(begin), ancestor.timeline);
        }
        begin = ancestor.end;
    }
    assert_eq!(history.timeline_at(begin), history.timeline());
    history.descends_from(&history)
}

/// The pages at the start of a segment, under its own name, read alone and behind itself.
pub fn wal_segment(bytes: &[u8]) -> bool {
    let Ok(header) = SegmentHeader::parse(bytes) else { return false };
    let (lsn, size) = (header.page.lsn, header.segment_size);
    let number = SegmentNumber::of(lsn, size);
    let Some(name) = SegmentName::new(TimelineId(u32::MAX), number, size) else { return false };
    let Ok(summary) = SegmentSummary::of_partial(name, bytes) else { return false };
    assert!(summary.records_end.is_none_or(|end| end > lsn));
    let document = serde_json::to_vec(&summary).expect("a summary is plain data");
    let again: SegmentSummary = serde_json::from_slice(&document).expect("it was written here");
    assert_eq!(again, summary);
    let _ = again.after(&summary);
    true
}

/// A document that seals itself; nearly nothing gets past that.
pub fn backup_manifest(bytes: &[u8]) -> bool {
    ListedFiles::parse(bytes).is_ok()
}
