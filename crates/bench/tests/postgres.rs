//! The contest with the real programs, on so little that nothing can be learnt from the times.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_lifeboat-bench");

/// The `lifeboat` that the workspace's tests are run with.
fn lifeboat() -> PathBuf {
    let path = Path::new(BENCH).with_file_name("lifeboat");
    assert!(path.exists(), "run `cargo build --package lifeboat`: no {}", path.display());
    path
}

fn contest(below: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("postgres").arg("--below").arg(below).arg("--lifeboat").arg(lifeboat());
    command.arg("--out").arg(below.join("out")).args(arguments);
    command.output().expect("the harness can be started")
}

#[test]
fn all_engines_do_a_work_and_nothing_is_left() {
    let below = tempfile::tempdir().unwrap();
    fs::set_permissions(below.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output =
        contest(below.path(), &["--scale", "0.005", "--runs", "1", "--work", "first-backup"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let json = fs::read(below.path().join("out/bench-postgres.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(report["schema"], "lifeboat.bench-postgres/1");
    let works = report["works"].as_array().unwrap();
    let [work] = works.as_slice() else { panic!("{report}") };
    assert_eq!(work["work"], "first-backup");
    assert_eq!(work["times"].as_array().unwrap().len(), 3);
    for times in works.iter().flat_map(|work| work["times"].as_array().unwrap()) {
        assert!(times["runs"][0]["wall_s"].as_f64().unwrap() > 0.0, "{times}");
    }
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["database"]["pages"].as_u64().unwrap() > 0);
    let table = fs::read_to_string(below.path().join("out/bench-postgres.md")).unwrap();
    assert!(table.contains("A quick run at 0.005 of the full size"), "{table}");
    let left: Vec<_> =
        fs::read_dir(below.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out"]);
}

#[test]
fn a_quick_run_is_not_published() {
    let below = tempfile::tempdir().unwrap();
    let output = contest(below.path(), &["--scale", "0.5", "--publish", "/nonexistent"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("is not published"), "{said}");
}
