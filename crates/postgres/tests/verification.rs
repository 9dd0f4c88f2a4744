//! Directories of real servers, whole and damaged: what is said of them is what stock `pg_verifybackup` says.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_model::{Cancel, Lsn};
use lifeboat_postgres::verification::directory::{Origin, verify};
use lifeboat_testing::postgres::Cluster;

/// Copies a directory with all that it has; files are shared until they are put anew.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-al").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn put(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    put(path, &bytes);
}

/// Tells whether the stock program accepts a directory; the log lies elsewhere.
fn stock_accepts(cluster: &Cluster, backup: &Path) -> bool {
    let mut verify = cluster.command("pg_verifybackup");
    let output = verify.arg("--no-parse-wal").arg(backup).output().unwrap();
    output.status.success()
}

fn ours_accepts(backup: &Path) -> bool {
    let origin = Origin::of(Lsn(u64::MAX)..Lsn(u64::MAX));
    match verify(backup, &origin, &|_| (), &Cancel::new()) {
        Ok(report) => report.file_findings.is_empty(),
        Err(_) => false,
    }
}

/// What is done to a directory, and whether it stays as good as it was.
type Damage = (&'static str, fn(&Path), bool);

const DAMAGES: [Damage; 22] = [
    ("a flipped bit in a table", |b| change(&relation(b), |bytes| bytes[5000] ^= 1), false),
    ("a file that is missing", |b| fs::remove_file(relation(b)).unwrap(), false),
    ("nothing", |_| (), true),
    ("settings of a recovery", |b| put(&b.join("postgresql.auto.conf"), b"x = 1\n"), true),
    ("signals of a recovery", |b| put(&b.join("recovery.signal"), b""), true),
    ("something in the log", |b| put(&b.join("pg_wal/junk"), b"x"), true),
    ("an empty directory", |b| fs::create_dir(b.join("base/77")).unwrap(), true),
    ("a file that is a link now", make_link, true),
    ("a flipped bit in a fork", |b| change(&fork(b), |bytes| bytes[3] ^= 0x80), false),
    ("a flipped bit elsewhere", |b| change(&b.join("pg_xact/0000"), |bytes| bytes[1] ^= 1), false),
    ("a changed label", |b| change(&b.join("backup_label"), |bytes| bytes[9] ^= 1), false),
    ("a file cut off", |b| change(&relation(b), |bytes| bytes.truncate(8192)), false),
    ("an empty file", |b| put(&relation(b), b""), false),
    ("a file that grew", |b| change(&relation(b), |bytes| bytes.extend([0; 8192])), false),
    ("a directory that is missing", |b| fs::remove_dir_all(b.join("pg_xact")).unwrap(), false),
    ("a file too many", |b| put(&b.join("notes.txt"), b"x"), false),
    ("a relation too many", |b| put(&b.join("base/1/99999"), b""), false),
    ("a directory for a file", make_directory, false),
    ("a link to nothing", |b| symlink("nowhere", b.join("base/1/link")).unwrap(), false),
    ("no manifest", |b| fs::remove_file(b.join("backup_manifest")).unwrap(), false),
    ("a manifest cut off", |b| change(&manifest(b), |bytes| bytes.truncate(9000)), false),
    ("a changed manifest", |b| change(&manifest(b), |bytes| bytes[300] ^= 1), false),
];

fn make_link(backup: &Path) {
    fs::copy(backup.join("PG_VERSION"), backup.join("pg_wal/PG_VERSION")).unwrap();
    fs::remove_file(backup.join("PG_VERSION")).unwrap();
    symlink("pg_wal/PG_VERSION", backup.join("PG_VERSION")).unwrap();
}

fn make_directory(backup: &Path) {
    fs::remove_file(relation(backup)).unwrap();
    fs::create_dir(relation(backup)).unwrap();
}

fn manifest(backup: &Path) -> PathBuf {
    backup.join("backup_manifest")
}

/// The table whose file is to be damaged: `pg_class` of `template1`.
fn relation(backup: &Path) -> PathBuf {
    backup.join("base/1/1259")
}

fn fork(backup: &Path) -> PathBuf {
    backup.join("base/1/1259_fsm")
}

#[test]
fn what_is_said_of_a_directory_is_what_pg_verifybackup_says() {
    let cluster = Cluster::start().unwrap();
    let home = cluster.make_directory("backups").unwrap();
    for (sums, damages) in [("CRC32C", DAMAGES.len()), ("SHA256", 2), ("NONE", 2)] {
        let whole = home.join(sums);
        let mut backup = cluster.command("pg_basebackup");
        backup.args(["--checkpoint", "fast", "--wal-method", "none", "--manifest-checksums", sums]);
        let output = backup.arg("--pgdata").arg(&whole).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        for (what, damage, stays_good) in &DAMAGES[..damages] {
            let damaged = home.join("damaged");
            copy(&whole, &damaged);
            damage(&damaged);
            let (stock, ours) = (stock_accepts(&cluster, &damaged), ours_accepts(&damaged));
            assert_eq!(ours, stock, "{sums}: {what}");
            // Without sums a changed byte is seen by neither.
            if sums != "NONE" {
                assert_eq!(ours, *stays_good, "{sums}: {what}");
            }
            fs::remove_dir_all(&damaged).unwrap();
        }
    }
}
