//! `lifeboat repo backup` from standard input and from a command whose exit code counts.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::capture::Site;

impl Site {
    fn snapshots(&self) -> Vec<Value> {
        self.restic.snapshots().unwrap()
    }
}

#[test]
fn standard_input_becomes_a_file_as_for_restic() {
    let site = Site::new();
    let content = "a line\n".repeat(300_000);
    let piped = |flags: &[&str]| {
        let mut command = site.environment.command();
        command.args(["repo", "backup", "repo", "--stdin", "--json"]).args(flags);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    piped(&[]);
    assert_eq!(site.restic.dump("latest", "/stdin").unwrap(), content.as_bytes());
    let again = piped(&["--stdin-filename", "dumps/all.sql"]);
    assert_eq!(again["counts"]["bytes_read"], content.len());
    assert_eq!(again["counts"]["data_blobs"], 0, "{again}");
    assert_eq!(site.restic.dump("latest", "/dumps/all.sql").unwrap(), content.as_bytes());
    assert_eq!(site.snapshots()[1]["paths"], serde_json::json!(["/dumps/all.sql"]));
    let run = |flags: &[&str]| site.environment.run(["repo", "backup", "repo"].iter().chain(flags));
    run(&["--stdin", "tree"]).failure(2);
    run(&["--stdin", "--files-from", "list"]).failure(2);
    let told = run(&["tree", "--stdin-filename", "dump"]).failure(2);
    assert!(told.contains("--stdin-from-command"), "a name of nothing: {told}");
    site.restic.check_read_data().unwrap();
}

#[test]
fn what_a_command_writes_is_stored_only_if_it_ends_with_0() {
    let site = Site::new();
    let run = |flags: &[&str], command: &[&str]| {
        let fixed = ["repo", "backup", "repo", "--stdin-from-command"];
        site.environment.run(fixed.iter().chain(flags).chain(&["--"]).chain(command))
    };
    let warned = ["sh", "-c", "echo careful >&2; echo -n \"$1\"", "sh", "--all"];
    let made = run(&["--stdin-filename", "db.sql"], &warned);
    made.success();
    assert_eq!(made.stderr(), "careful\n");
    assert_eq!(site.restic.dump("latest", "/db.sql").unwrap(), b"--all");

    let failed = run(&[], &["sh", "-c", "echo half; echo why >&2; echo 'this is why' >&2; exit 7"]);
    let told = failed.failure(1);
    assert!(told.contains("exit code 7") && told.contains("why; this is why"), "{told}");
    let told = run(&[], &["sh", "-c", "echo half; kill -9 $$"]).failure(1);
    assert!(told.contains("signal 9"), "{told}");
    let told = run(&[], &["/no/such/program"]).failure(1);
    assert!(told.contains("cannot start `/no/such/program`"), "{told}");
    let silent = run(&[], &["sh", "-c", "exit 3"]).failure(1);
    assert!(silent.contains("exit code 3"), "{silent}");
    assert!(run(&[], &[]).failure(2).contains("lacks its command"));
    assert_eq!(site.snapshots().len(), 1);
    // What was read of those that failed is no damage.
    site.restic.check_read_data().unwrap();
}

#[test]
fn ctrl_c_ends_the_reading_of_standard_input() {
    let site = Site::new();
    let mut command = site.environment.command();
    command.args(["repo", "backup", "repo", "--stdin"]).stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // More than the pipe holds, so that it is being read; and then the writer is silent.
    child.stdin.as_mut().unwrap().write_all(&vec![7; 4 << 20]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let _open = child.stdin.take();
    let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
    assert!(told.contains("interrupted") || told.contains("cancelled"), "{told}");
    assert_eq!(site.snapshots().len(), 0);
    let locks = site.environment.path("repo/locks");
    assert!(!locks.exists() || locks.read_dir().unwrap().next().is_none(), "the lock is gone");
    site.restic.check_read_data().unwrap();
}

#[test]
fn ctrl_c_ends_the_command_and_all_that_it_started() {
    let site = Site::new();
    let alive = site.environment.path("alive");
    assert!(Command::new("mkfifo").arg(&alive).status().unwrap().success());
    // Whoever lives keeps the pipe open.
    let script = "exec 3> alive; echo begun >&3; echo begun; sleep 600 & sleep 600";
    let command = ["repo", "backup", "repo", "--stdin-from-command", "--", "sh", "-c", script];
    let mut child = site.environment.start(command);
    let mut alive = BufReader::new(File::open(alive).unwrap());
    let mut line = String::new();
    alive.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(alive.read_line(&mut line).unwrap(), 0);
    assert_eq!(site.snapshots().len(), 0);
    site.restic.check_read_data().unwrap();
}
