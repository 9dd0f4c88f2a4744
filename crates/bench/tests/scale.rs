//! Growth with the real programs, on so little that only the answers and the memory count.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_lifeboat-bench");

/// What a blob may take of an index that is open; in memory it would be 48 bytes and more.
const BYTES_PER_BLOB_MAX: u64 = 12;

/// The `lifeboat` that the workspace's tests are run with.
fn lifeboat() -> PathBuf {
    let path = Path::new(BENCH).with_file_name("lifeboat");
    assert!(path.exists(), "run `cargo build --package lifeboat`: no {}", path.display());
    path
}

fn scale(below: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("scale").arg("--below").arg(below).arg("--lifeboat").arg(lifeboat());
    command.arg("--out").arg(below.join("out")).args(arguments);
    command.output().expect("the program can be started")
}

fn points(below: &Path) -> Vec<Value> {
    let json = fs::read(below.join("out/growth.json")).expect("it was written");
    let growth: Value = serde_json::from_slice(&json).expect("it is a document");
    assert_eq!(growth["schema"], "lifeboat.growth/1");
    growth["points"].as_array().expect("it has points").clone()
}

#[test]
fn an_open_index_hardly_grows_and_every_work_is_done() {
    let below = tempfile::tempdir().unwrap();
    let output = scale(below.path(), &["--blobs", "200000", "--files", "2000"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let points = points(below.path());
    let count = |subject: &str, work: &str| {
        points.iter().filter(|p| p["subject"] == subject && p["work"] == work).count()
    };
    for work in ["make", "open", "look up", "iterate", "backup", "check", "stats", "find", "prune"]
    {
        assert_eq!(count("blobs", work), 3, "{work}");
    }
    for work in ["backup", "unchanged", "changed", "check", "restore", "prune"] {
        assert_eq!((count("tree", work), count("flat", work)), (3, 3), "{work}");
    }
    let opened: Vec<_> = points
        .iter()
        .filter(|point| point["subject"] == "blobs" && point["work"] == "open")
        .map(|point| (point["size"].as_u64(), point["seen"]["loaded_bytes"].as_u64()))
        .map(|(size, memory)| (size.unwrap(), memory.unwrap()))
        .collect();
    let (least, most) = (opened[0], opened[2]);
    assert_eq!((least.0, most.0), (4000, 200_000));
    let grown = most.1.saturating_sub(least.1);
    assert!(grown < (most.0 - least.0) * BYTES_PER_BLOB_MAX, "{opened:?}");

    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("| Files in one directory | 20 | 200 | 2,000 |"), "{table}");
    let curve = fs::read_to_string(below.path().join("out/growth-flat-memory.svg")).unwrap();
    assert!(curve.starts_with("<svg "));
    let left: Vec<_> =
        fs::read_dir(below.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["out"]);
}

#[test]
fn small_sizes_are_not_published() {
    let below = tempfile::tempdir().unwrap();
    let output = scale(below.path(), &["--blobs", "1000", "--publish", "/nonexistent"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("is not published"), "{said}");
}
