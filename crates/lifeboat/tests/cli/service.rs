//! The service as a machine gets it: its files, and what systemd says of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::Value;

use crate::environment::Environment;

/// How exposed the service may be by systemd's count, in tenths; it reads and writes what everybody owns, so that the best
/// that can be had is not 0.
const EXPOSURE_MAX: &str = "57";

fn changes(document: &Value) -> Vec<&str> {
    let files = document["files"].as_array().unwrap();
    files.iter().map(|file| file["change"].as_str().unwrap()).collect()
}

fn install(environment: &Environment, command: &str) -> Value {
    let root = environment.path("machine");
    let root = root.to_str().unwrap();
    environment.run(["--json", command, "--root", root]).json()
}

fn analyze(arguments: &[&str]) -> (i32, String) {
    let run = Command::new("systemd-analyze").args(arguments).env("LC_ALL", "C").output();
    let output = run.expect("dev/install-needs systemd");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_service_is_installed_once_and_uninstalled_without_its_data() {
    let environment = Environment::new();
    assert_eq!(changes(&install(&environment, "install")), ["written", "written"]);
    assert_eq!(changes(&install(&environment, "install")), ["unchanged", "unchanged"]);
    let unit = environment.path("machine/etc/systemd/system/lifeboat.service");
    assert_eq!(fs::metadata(&unit).unwrap().permissions().mode() & 0o777, 0o644);
    environment.write("machine/etc/systemd/system/lifeboat.service", "of another version");
    assert_eq!(changes(&install(&environment, "install")), ["replaced", "unchanged"]);

    let kept = environment.write("machine/var/lib/lifeboat/shop/jobs.sqlite", "a journal");
    let wants = environment.path("machine/etc/systemd/system/multi-user.target.wants");
    fs::create_dir(&wants).unwrap();
    symlink("/etc/systemd/system/lifeboat.service", wants.join("lifeboat.service")).unwrap();
    let gone = install(&environment, "uninstall");
    assert_eq!(changes(&gone), ["removed", "removed", "removed"]);
    assert!(gone["kept"][0].as_str().unwrap().ends_with("machine/var/lib/lifeboat"), "{gone}");
    assert!(kept.exists() && !unit.exists());
    assert_eq!(changes(&install(&environment, "uninstall")), ["not-there"; 3]);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let environment = Environment::new();
    install(&environment, "install");
    let unit = environment.path("machine/etc/systemd/system/lifeboat.service");
    let unit = unit.to_str().unwrap();
    let (code, said) = analyze(&["verify", "--man=no", unit]);
    assert_eq!((code, said.as_str()), (0, ""));
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let (code, said) = analyze(&["security", "--offline=true", "--no-pager", &threshold, unit]);
    assert_eq!(code, 0, "{said}");
    let (code, _) = analyze(&["security", "--offline=true", "--no-pager", "--threshold=10", unit]);
    assert_eq!(code, 1, "the threshold is heeded");
}
