//! Directories that are whole, and that are damaged in one way.

use std::os::unix::fs::symlink;

use lifeboat_model::Lsn;
use lifeboat_tiers::durable;

use super::*;
use crate::base::made_file;
use crate::base::manifest::tests::sample;
use crate::base::manifest::{ManifestFile, WrittenPath};
use crate::base::verification_manifest::verification_manifest;
use crate::page::page_checksum;

/// A page as a server would write it, changed last at a position.
fn page(block: u32, lsn: Lsn) -> Vec<u8> {
    let mut page = vec![0x5A; PAGE_LENGTH];
    page[..24].fill(0);
    page[4..8].copy_from_slice(&u32::try_from(lsn.0).unwrap().to_le_bytes());
    page[12..14].copy_from_slice(&24u16.to_le_bytes());
    page[14..16].copy_from_slice(&8192u16.to_le_bytes());
    page[16..18].copy_from_slice(&8192u16.to_le_bytes());
    page[18..20].copy_from_slice(&(8192u16 | 4).to_le_bytes());
    let sum = page_checksum(page.as_slice().try_into().unwrap(), BlockNumber(block));
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

const BEFORE: Lsn = Lsn(0x200_0000);
const RELATION: &str = "base/5/1259";

struct Ground {
    home: tempfile::TempDir,
    manifest: Manifest,
}

impl Ground {
    /// Makes a directory of three pages and a file, with a control file that says that pages have sums.
    fn new() -> Self {
        let mut ground = Self { home: tempfile::tempdir().unwrap(), manifest: sample() };
        ground.manifest.files.clear();
        let pages: Vec<_> = (0..3).flat_map(|block| page(block, BEFORE)).collect();
        ground.put_listed(RELATION, &pages);
        ground.put_listed("PG_VERSION", b"15\n");
        ground
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        durable::replace(&path, bytes, 0o600).unwrap();
    }

    fn put_listed(&mut self, path: &str, bytes: &[u8]) {
        self.put(path, bytes);
        self.manifest.set_file(made_file(path, bytes, 0));
    }

    fn verify(&self) -> DirectoryReport {
        self.put(VERIFICATION_MANIFEST, &verification_manifest(&self.manifest));
        let origin = Origin::from(&self.manifest);
        verify(self.home.path(), &origin, &|_| (), &Cancel::new()).unwrap()
    }

    fn findings(&self) -> Vec<String> {
        self.verify().file_findings.iter().map(ToString::to_string).collect()
    }

    /// What is judged with sums, as if the control file said that there are some.
    fn judged(&self, path: &str, bytes: &[u8]) -> Read {
        let origin = Origin::from(&self.manifest);
        let reading = Reading {
            data: self.home.path(),
            origin: &origin,
            checksums: Some(Checksums::On),
            advance: &|_| (),
            cancel: &Cancel::new(),
        };
        self.put(path, bytes);
        let listed = ListedFile { size: bytes.len() as u64, checksum: None };
        let mut buffer = vec![0; 2 * PAGE_LENGTH];
        reading.one(Path::new(path), &listed, &mut buffer)
    }
}

#[test]
fn a_whole_directory_passes_with_what_a_restore_adds() {
    let ground = Ground::new();
    ground.put("postgresql.auto.conf", b"restore_command = 'x'");
    ground.put("recovery.signal", b"");
    ground.put("pg_wal/archive_status/x", b"");
    fs::create_dir(ground.home.path().join("pg_tblspc")).unwrap();
    let report = ground.verify();
    assert!(report.file_findings.is_empty() && report.page_findings.is_empty(), "{report:?}");
    assert_eq!((report.files, report.bytes, report.summed), (2, 3 * 8192 + 3, 2));
    assert_eq!((report.pages, report.checksums), (3, None));
}

type Damage = fn(&Ground);

fn make_pipe(ground: &Ground) {
    nix::unistd::mkfifo(&ground.home.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn each_damage_is_named_once() {
    let damages: [(Damage, &str); 8] = [
        (|g| g.put("PG_VERSION", b"16\n"), "PG_VERSION holds other bytes than were backed up"),
        (|g| g.put("PG_VERSION", b"15"), "PG_VERSION has 2 bytes, expected 3"),
        (|g| g.put("base/5/99", b""), "base/5/99 was not in the backup"),
        (|g| g.put("notes/postmaster.pid", b"1"), "notes/postmaster.pid was not in the backup"),
        (|g| fs::remove_file(g.home.path().join(RELATION)).unwrap(), "base/5/1259 is missing"),
        (|g| fs::remove_dir_all(g.home.path().join("base")).unwrap(), "base/5/1259 is missing"),
        (
            |g| symlink("nowhere", g.home.path().join("link")).unwrap(),
            "link cannot be read: No such file or directory (os error 2)",
        ),
        (make_pipe, "pipe is neither a file nor a directory"),
    ];
    for (damage, expected) in damages {
        let ground = Ground::new();
        damage(&ground);
        assert_eq!(ground.findings(), [expected]);
    }
}

#[test]
fn a_file_without_a_sum_is_held_to_its_size() {
    let mut ground = Ground::new();
    for file in &mut ground.manifest.files {
        file.crc32c = None;
    }
    ground.put("PG_VERSION", b"16\n");
    let report = ground.verify();
    assert!(report.file_findings.is_empty(), "{report:?}");
    assert_eq!((report.files, report.summed, report.pages), (2, 0, 3));
}

#[test]
fn a_link_is_followed_and_a_circle_has_an_end() {
    let mut ground = Ground::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let pages = page(0, BEFORE);
    fs::create_dir_all(elsewhere.path().join("PG_15_202209061/5")).unwrap();
    durable::replace(&elsewhere.path().join("PG_15_202209061/5/16401"), &pages, 0o600).unwrap();
    fs::create_dir(ground.home.path().join("pg_tblspc")).unwrap();
    symlink(elsewhere.path(), ground.home.path().join("pg_tblspc/16400")).unwrap();
    ground.manifest.set_file(ManifestFile {
        path: WrittenPath("tblspc/16400/PG_15_202209061/5/16401".into()),
        ..made_file("x", &pages, 0)
    });
    let report = ground.verify();
    assert_eq!((report.files, report.pages), (3, 4), "{report:?}");
    assert!(report.file_findings.is_empty());
    symlink(ground.home.path(), ground.home.path().join("base/circle")).unwrap();
    assert!(ground.findings().iter().any(|found| found.contains("without end")));
}

#[test]
fn a_damaged_page_is_named_and_what_the_log_repairs_is_looked_at_again() {
    let mut ground = Ground::new();
    let (start, stop) = (ground.manifest.start_lsn, ground.manifest.stop_lsn);
    let torn = |block, lsn| {
        let mut page = page(block, lsn);
        page[5000] ^= 1;
        page
    };
    let pages = [
        page(131_072, BEFORE),
        torn(131_073, BEFORE),
        torn(131_074, start),
        torn(131_075, stop),
        torn(131_076, Lsn(stop.0 + 1)),
        torn(131_077, BEFORE),
    ]
    .concat();
    ground
        .manifest
        .set_file(ManifestFile { damaged: vec![131_077], ..made_file("base/5/7.1", b"", 0) });
    let read = ground.judged("base/5/7.1", &pages);
    let named: Vec<_> = read.damaged.iter().map(|found| (found.block.0, found.since)).collect();
    let expected = [(131_073, Since::Later), (131_076, Since::Later), (131_077, Since::Backup)];
    assert_eq!((named.as_slice(), read.pages), (&expected[..], 6));
    let replayed: Vec<_> = read.replayed.iter().map(|page| page.block.0).collect();
    assert_eq!(replayed, [131_074, 131_075]);
    let again = || still_damaged(ground.home.path(), &read.replayed, Checksums::On).unwrap();
    assert_eq!(again().len(), 2);
    let repaired = [pages[..2 * PAGE_LENGTH].to_vec(), page(131_074, stop)].concat();
    ground.put("base/5/7.1", &repaired);
    assert!(again().is_empty(), "one is whole, the other one was cut off");
    fs::remove_file(ground.home.path().join("base/5/7.1")).unwrap();
    assert!(again().is_empty());
}

#[test]
fn only_files_of_relations_have_pages() {
    for (path, expected) in [
        ("base/5/1259", true),
        ("base/5/1259_vm", true),
        ("global/1262", true),
        ("pg_tblspc/16400/PG_15_202209061/5/16401.2", true),
        ("global/pg_control", false),
        ("global/pg_filenode.map", false),
        ("base/5/PG_VERSION", false),
        ("base/5/t3_16390", false),
        ("pg_xact/0000", false),
        ("pg_multixact/offsets/0000", false),
        ("1259", false),
    ] {
        assert_eq!(relation(Path::new(path)).is_some(), expected, "{path}");
    }
}
