//! The whole harness with the real programs, on so little that nothing can be learnt from the times.

use std::fs;
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

fn race(below: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BENCH);
    command.arg("race").arg("--below").arg(below).arg("--lifeboat").arg(lifeboat());
    command.arg("--out").arg(below.join("out")).args(arguments);
    command.output().expect("the harness can be started")
}

#[test]
fn every_work_is_done_and_nothing_is_left() {
    let below = tempfile::tempdir().unwrap();
    let output = race(below.path(), &["--scale", "0.0005", "--runs", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let json = fs::read(below.path().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(report["schema"], "lifeboat.bench/1");
    let works = report["works"].as_array().unwrap();
    let missing = report["missing"].as_array().unwrap();
    assert_eq!(works.len() + missing.len(), 9, "{said}");
    for times in works.iter().flat_map(|work| work["times"].as_array().unwrap()) {
        let runs = times["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|run| run["wall_s"].as_f64().unwrap() > 0.0), "{times}");
        assert!(runs.iter().all(|run| run["resident_bytes"].as_u64().unwrap() > 0), "{times}");
    }
    let ceilings = report["corpora"].as_array().unwrap().iter();
    assert_eq!(ceilings.filter(|corpus| corpus["ceiling"].is_object()).count(), 2);

    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        fs::read_to_string(below.path().join("out/bench.md")).unwrap(),
        table.trim_end().to_owned() + "\n"
    );
    assert!(table.contains("A quick run at 0.0005 of the full size"), "{table}");
    assert!(fs::read_to_string(below.path().join("out/bench.svg")).unwrap().starts_with("<svg "));
    let left: Vec<_> =
        fs::read_dir(below.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["out"]);
}

#[test]
fn one_work_runs_alone() {
    let below = tempfile::tempdir().unwrap();
    let arguments = ["--scale", "0.0005", "--runs", "1", "--work", "media-restore"];
    let output = race(below.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("restore, media") && !table.contains("mixed"), "{table}");
}

#[test]
fn a_failing_program_is_named_with_its_words() {
    let below = tempfile::tempdir().unwrap();
    let script = below.path().join("lifeboat");
    // Knows every command, and fails in each.
    let text =
        "#!/bin/sh\ncase \"$*\" in *--help*|--version) exit 0;; esac\necho no luck >&2\nexit 7\n";
    fs::File::create(&script)
        .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
        .unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(BENCH);
    command.arg("race").arg("--below").arg(below.path()).arg("--lifeboat").arg(&script);
    command.arg("--out").arg(below.path().join("out"));
    let output = command.args(["--scale", "0.0005", "--work", "media-backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("ended with exit code 7: no luck"), "{said}");
    assert_eq!(fs::read_dir(below.path()).unwrap().count(), 1, "only the script is left");
}

#[test]
fn a_quick_run_is_not_published() {
    let below = tempfile::tempdir().unwrap();
    let output = race(below.path(), &["--scale", "0.5", "--publish", "/nonexistent"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("is not published"), "{said}");
}
