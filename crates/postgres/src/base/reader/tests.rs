//! Pages that are whole, torn, damaged, gone: what is made of them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::findings::LogSpan;
use crate::base::relation::Fork;
use crate::page::page_checksum;

const START: Lsn = Lsn(0x500_0028);
const STOP: Lsn = Lsn(0x600_0000);
const FORMER_START: Lsn = Lsn(0x300_0028);
const SPAN: LogSpan = LogSpan { start: START, stop: STOP };

#[derive(Debug, Default)]
struct Held(AtomicBool);

impl BackupHold for Held {
    fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A page as a server would write it, changed last at a position.
fn page(block: u32, lsn: Lsn) -> Vec<u8> {
    let mut page = vec![0x5A; PAGE_LENGTH];
    page[..24].fill(0);
    page[0..4].copy_from_slice(&u32::try_from(lsn.0 >> 32).unwrap().to_le_bytes());
    page[4..8].copy_from_slice(&u32::try_from(lsn.0 & 0xFFFF_FFFF).unwrap().to_le_bytes());
    page[12..14].copy_from_slice(&24u16.to_le_bytes());
    page[14..16].copy_from_slice(&8192u16.to_le_bytes());
    page[16..18].copy_from_slice(&8192u16.to_le_bytes());
    page[18..20].copy_from_slice(&(8192u16 | 4).to_le_bytes());
    let sum = page_checksum(page.as_slice().try_into().unwrap(), BlockNumber(block));
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

struct Ground {
    home: tempfile::TempDir,
    held: Arc<Held>,
    reading: Arc<Reading>,
}

impl Ground {
    fn new() -> Self {
        let held = Arc::new(Held::default());
        let reading = Arc::new(Reading {
            start: START,
            checksums: Checksums::On,
            log_begin: Lsn(16 << 20),
            findings: Findings::default(),
            hold: Arc::clone(&held) as _,
            shift: Arc::new(Shift::by(PAGE_LENGTH as u64)),
        });
        Self { home: tempfile::tempdir().unwrap(), held, reading }
    }

    /// Puts a file there and returns what reads it.
    fn file(&self, segment: u32, content: &[u8]) -> LiveFile {
        let source = self.home.path().join("16384");
        fs::File::create(&source).unwrap().write_all(content).unwrap();
        let identity = FileIdentity::from(&fs::metadata(&source).unwrap());
        let relation = Some(RelationFile { number: 16384, fork: Fork::Main, segment });
        let paths = (source, "pgdata/base/5/16384".into());
        let mut file = LiveFile::new(paths, identity, relation, 9, Arc::clone(&self.reading));
        file.unchanged_before = Some(FORMER_START);
        file
    }

    fn damaged(&self) -> Vec<u32> {
        let found = self.reading.findings.of(Path::new("pgdata/base/5/16384"));
        found.damaged(SPAN).0.into_iter().map(|block| block.0).collect()
    }
}

/// Tells whether the pages of a file are as the parent has them.
fn is_unchanged(file: &LiveFile, length: usize) -> bool {
    let (open, _) = file.open().unwrap().unwrap();
    let mut buffer = vec![0; length];
    read_padded(&open, 0, &mut buffer).unwrap();
    file.look_at_pages(&open, file.relation.unwrap(), 0, &mut buffer).unwrap()
}

fn read(file: &LiveFile, length: usize) -> io::Result<(Vec<u8>, PieceState)> {
    let mut buffer = vec![0xFF; length];
    let state = file.read(0, &mut buffer, None)?;
    Ok((buffer, state))
}

#[test]
fn only_pages_that_no_record_changed_since_are_as_before() {
    let ground = Ground::new();
    let old = Lsn(0x200_0000);
    for (pages, expected) in [
        (vec![page(0, old), page(1, Lsn(FORMER_START.0 - 1))], true),
        (vec![page(0, old), page(1, FORMER_START)], false),
        (vec![page(0, old), page(1, START)], false),
        // A page that was never used, and may stand where the parent has another.
        (vec![page(0, old), vec![0; PAGE_LENGTH]], false),
        // Positions at which no record is: an index that is being built.
        (vec![page(0, old), page(1, Lsn(1))], false),
        (vec![page(0, old), page(1, Lsn(0))], false),
        // Damaged.
        (vec![page(0, old), page(7, old)], false),
        // Half a page.
        (vec![page(0, old), page(1, old)[..100].to_vec()], false),
    ] {
        let content = pages.concat();
        let file = ground.file(0, &content);
        assert_eq!(is_unchanged(&file, content.len()), expected, "{}", content.len());
    }
    let file = ground.file(0, &page(0, old));
    assert!(!is_unchanged(&LiveFile { unchanged_before: None, ..file }, PAGE_LENGTH));
}

#[test]
fn damage_is_named_and_read_on_from_and_what_the_log_repairs_is_none() {
    let ground = Ground::new();
    let mut bad = page(1, Lsn(0x200_0000));
    bad[5000] ^= 1;
    let mut repaired = page(2, START);
    repaired[5000] ^= 1;
    let mut impossible = page(3, Lsn(STOP.0 + 1));
    impossible[5000] ^= 1;
    let content = [page(0, START), bad, repaired, impossible].concat();
    let file = ground.file(0, &content);
    let (bytes, state) = read(&file, content.len()).unwrap();
    assert!(matches!(state, PieceState::Read));
    assert_eq!(bytes, content, "what is damaged is kept");
    assert_eq!(ground.damaged(), [1, 3]);
}

#[test]
fn pages_are_counted_over_all_files_of_a_relation() {
    let ground = Ground::new();
    let block = 2 * crate::page::FILE_PAGES;
    let good = page(block, Lsn(0x200_0000));
    let file = ground.file(2, &good);
    read(&file, PAGE_LENGTH).unwrap();
    assert!(ground.damaged().is_empty());
    let file = ground.file(1, &good);
    read(&file, PAGE_LENGTH).unwrap();
    assert_eq!(ground.damaged(), [crate::page::FILE_PAGES]);
}

#[test]
fn a_page_that_was_torn_is_read_again() {
    let ground = Ground::new();
    let whole = page(0, Lsn(0x200_0000));
    let file = ground.file(0, &whole);
    let (open, _) = file.open().unwrap().unwrap();
    // What was read first is half of what is there now.
    let mut torn = whole.clone();
    torn[4096..].fill(1);
    file.look_at_page(&open, BlockNumber(0), &mut torn).unwrap();
    assert_eq!((torn, ground.damaged()), (whole.clone(), vec![]));
    // It is still being written: not whole, but not the same either.
    let mut later = whole;
    later[6000] = 7;
    let file = ground.file(0, &later);
    let (open, _) = file.open().unwrap().unwrap();
    let mut torn = later.clone();
    torn[7000] = 9;
    file.look_at_page(&open, BlockNumber(0), &mut torn).unwrap();
    assert_eq!((torn, ground.damaged()), (later, vec![]));
}

#[test]
fn what_was_cut_off_is_filled_up_and_what_was_added_is_left() {
    let ground = Ground::new();
    let content = page(0, Lsn(0x200_0000));
    let file = ground.file(0, &content);
    let (bytes, _) = read(&file, 2 * PAGE_LENGTH).unwrap();
    assert_eq!(bytes, [content.clone(), vec![0; PAGE_LENGTH]].concat());
    let (bytes, _) = read(&file, 100).unwrap();
    assert_eq!(bytes, content[..100]);
}

#[test]
fn a_file_that_is_gone_is_left_out_and_one_in_its_place_is_no_former_one() {
    let ground = Ground::new();
    let path = Path::new("pgdata/base/5/16384");
    let file = ground.file(0, &page(0, Lsn(0x200_0000)));
    fs::remove_file(&file.source).unwrap();
    assert!(matches!(read(&file, PAGE_LENGTH).unwrap().1, PieceState::Vanished));
    assert!(ground.reading.findings.of(path).is_gone);
    let ground = Ground::new();
    let file = ground.file(0, &page(0, Lsn(0x200_0000)));
    let identity = FileIdentity { inode: file.identity.inode + 1, ..file.identity };
    let file = LiveFile { identity, ..file };
    read(&file, PAGE_LENGTH).unwrap();
    assert!(ground.reading.findings.of(path).is_replaced);
    assert_eq!(file.open().unwrap().unwrap().1, Place::Another);
}

#[test]
fn nothing_is_read_without_the_session() {
    let ground = Ground::new();
    let file = ground.file(0, &page(0, Lsn(0x200_0000)));
    ground.held.0.store(true, Ordering::Relaxed);
    assert!(read(&file, PAGE_LENGTH).unwrap_err().to_string().contains("session"));
}
