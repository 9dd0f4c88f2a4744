//! What the fuzz targets run: each parser of bytes that come from a tier, and of patterns that come
//! from people, and what must hold of whatever it accepts. `crates/repository/tests/parsers.rs` runs the same on kept seeds.
//!
//! Every function tells whether the bytes were accepted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lifeboat_model::Secret;
use lifeboat_model::pattern::{Case, Dialect, EntryKind, Pattern, Patterns};
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
pub const ALL: [(&str, Parser); 11] = [
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
