//! What `lifeboat repo backup` takes in and leaves out is what stock restic does with the same flags.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::capture::Site;

const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// Makes a tree in which each flag finds something.
fn make(site: &Site) {
    for (path, content) in [
        ("tree/a.txt", "a"),
        ("tree/B.TXT", "b"),
        ("tree/$HOME", "a dollar"),
        ("tree/kept/x.o", "x"),
        ("tree/kept/x.c", "x"),
        ("tree/cache/CACHEDIR.TAG", SIGNATURE),
        ("tree/cache/data/x", "x"),
        ("tree/no-cache/CACHEDIR.TAG", "Signature: no"),
        ("tree/no-cache/x", "x"),
        ("tree/marked/.nobackup", "why: too much\n"),
        ("tree/marked/below/.nobackup", ""),
        ("tree/marked/x", "x"),
        ("tree/exactly", &"x".repeat(2048)),
        ("tree/larger", &"x".repeat(2049)),
        ("excludes", "# a comment\n\n  *.txt  \n$KEPT/*.o\n$$HOME\n"),
        ("iexcludes", "b.t?t\n"),
    ] {
        site.environment.write(path, content);
    }
}

/// Backs the same up here and with restic, with the same flags, and holds one against the other.
#[track_caller]
fn assert_same(site: &Site, flags: &[&str]) {
    let here =
        site.environment.command().args(["repo", "backup", "repo", "--force"]).args(flags).output();
    let here = here.unwrap();
    assert!(here.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&here.stderr));
    let ours = site.stored("");
    let mut restic = site.restic.command();
    restic.args(["backup", "--force"]).args(flags).current_dir(site.environment.path(""));
    restic.env("KEPT", "kept");
    let there = restic.output().unwrap();
    assert!(there.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&there.stderr));
    // restic stores relative paths as they are given, and absolute ones as we do.
    let theirs = site.stored("");
    assert_eq!(ours, theirs, "{flags:?}");
    assert!(!ours.is_empty());
}

#[test]
fn flags_leave_out_what_they_leave_out_for_restic() {
    let site = Site::new();
    make(&site);
    let site = Site { environment: site.environment.with("KEPT", "kept"), ..site };
    let tree = site.environment.path("tree");
    let file = |name: &str| site.environment.path(name).to_str().unwrap().to_owned();
    let (excludes, iexcludes) = (file("excludes"), file("iexcludes"));
    let tree = tree.to_str().unwrap();
    for flags in [
        &[tree][..],
        &[tree, "--exclude-file", &excludes],
        &[tree, "--iexclude-file", &iexcludes, "--iexclude", "A.*"],
        &[tree, "--exclude", "kept", "--exclude", "!kept"],
        &[tree, "--exclude-caches"],
        &[tree, "--exclude-if-present", ".nobackup"],
        &[tree, "--exclude-if-present", ".nobackup:why: too"],
        &[tree, "--exclude-if-present", ".nobackup", "--exclude-caches", "--exclude", "*.o"],
        &[tree, "--exclude-larger-than", "2048"],
        &[tree, "--exclude-larger-than", "2k", "-x"],
        &[tree, "--exclude-larger-than", "1M"],
    ] {
        assert_same(&site, flags);
    }
    site.restic.check_read_data().unwrap();
}

#[test]
fn paths_come_from_files_as_they_do_for_restic() {
    let site = Site::new();
    make(&site);
    let below = |name: &str| site.environment.path("tree").join(name).to_str().unwrap().to_owned();
    let (kept, dollar) = (below("kept/x.*"), below("$HOME"));
    let patterns = format!("# a comment\n  {kept}\n\n{dollar}\n{}\n", below("[ab]*"));
    let patterns = site.environment.write("patterns", patterns);
    site.environment.write("tree/new\nline", "x");
    site.environment.write("tree/#star*", "x");
    let lines = site.environment.write("lines", format!("{}\n\n{dollar}\n", below("#star*")));
    let raw = site.environment.write("raw", format!("{}\0{dollar}\0", below("new\nline")));
    let [patterns, lines, raw] = [&patterns, &lines, &raw].map(|path| path.to_str().unwrap());
    for flags in [
        &["--files-from", patterns][..],
        &["--files-from-verbatim", lines],
        &["--files-from-raw", raw],
        &["--files-from-raw", raw, "--files-from", patterns, "--files-from-verbatim", lines],
    ] {
        assert_same(&site, flags);
    }
    let mut piped = site.environment.command();
    let list = File::open(raw).unwrap();
    piped.args(["repo", "backup", "repo", "--files-from-raw", "-"]).stdin(list);
    assert!(piped.status().unwrap().success());
    assert!(site.stored("tree").contains(&"new\nline".to_owned()));
    let run = |flags: &[&str]| site.environment.run(["repo", "backup", "repo"].iter().chain(flags));
    assert!(run(&["--files-from-raw", lines]).failure(2).contains("zero byte"));
    assert!(run(&["--files-from", "not-there"]).failure(1).contains("not-there"));
    site.restic.check_read_data().unwrap();
}

/// Mounts an empty file system in memory; unmounted when dropped.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    fn new(path: &'p Path) -> Self {
        let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(path).status();
        assert!(mount.unwrap().success(), "only root can mount");
        Self(path)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.0).status().unwrap().success());
    }
}

#[test]
fn as_root_other_file_systems_are_left_out_as_restic_leaves_them_out() {
    assert!(rustix::process::geteuid().is_root(), "only root mounts a file system");
    let site = Site::new();
    site.environment.write("tree/a", "a");
    site.environment.write("tree/mounted/hidden", "below the mount");
    let mount_point = site.environment.path("tree/mounted");
    let mounted = Mounted::new(&mount_point);
    site.environment.write("tree/mounted/b", "b");
    site.environment.write("tree/mounted/c/d", "d");
    let paths = ["tree", "tree/mounted/c"].map(|path| site.environment.path(path));
    let [tree, below] = [&paths[0], &paths[1]].map(|path| path.to_str().unwrap());
    for flags in [&[tree, "-x"][..], &[tree, below, "-x"], &[below, "-x"], &[tree]] {
        assert_same(&site, flags);
    }
    site.backup(&[tree, "-x"]);
    assert_eq!(site.stored("tree"), ["a", "mounted"]);
    drop(mounted);
    site.restic.check_read_data().unwrap();
}

#[test]
fn gitignores_are_heeded_and_kept() {
    let site = Site::new();
    for (path, content) in [
        ("tree/.gitignore", "*.o\n/target/\n"),
        ("tree/a.o", ""),
        ("tree/a.c", ""),
        ("tree/target/x", ""),
        ("tree/below/target", ""),
        ("tree/below/.gitignore", "!keep.o\n"),
        ("tree/below/keep.o", ""),
        ("tree/.ignored", "below\n"),
    ] {
        site.environment.write(path, content);
    }
    site.backup(&["tree", "--exclude-gitignore"]);
    let kept = [
        ".gitignore",
        ".ignored",
        "a.c",
        "below",
        "below/.gitignore",
        "below/keep.o",
        "below/target",
    ];
    assert_eq!(site.stored("tree"), kept);
    site.backup(&["--exclude-gitignore=.ignored", "tree", "--exclude", "target"]);
    assert_eq!(site.stored("tree"), [".gitignore", ".ignored", "a.c", "a.o"]);
    site.restic.check_read_data().unwrap();
}

#[test]
fn a_dry_run_tells_what_a_real_one_stores_and_writes_nothing() {
    let site = Site::new();
    make(&site);
    let listed = || {
        let repository = site.environment.path("repo");
        let found = Command::new("find").arg(repository).args(["-type", "f"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    let before = listed();
    let dry = site.backup(&["tree", "--dry-run"]);
    assert_eq!(listed(), before);
    let made = (&dry["dry_run"], &dry["snapshot"], &dry["tree"]);
    assert_eq!(made, (&true.into(), &Value::Null, &Value::Null));
    let real = site.backup(&["tree"]);
    // The directories above change their times, which are longer or shorter then.
    for count in ["files_new", "bytes_total", "bytes_read", "data_blobs", "tree_blobs"] {
        assert_eq!(dry["counts"][count], real["counts"][count], "{count}");
    }
    assert_ne!(dry["counts"]["data_blobs"], 0);
    let again = site.backup(&["tree", "-n", "--no-lock"]);
    assert_eq!((&again["counts"]["data_blobs"], &again["parent"]), (&0.into(), &real["snapshot"]));
    let shown = site.environment.run(["repo", "backup", "repo", "tree", "-n"]).success();
    assert!(shown.contains("nothing was written") && shown.contains("would be new"), "{shown}");
    site.restic.check_read_data().unwrap();
}

#[test]
fn access_times_are_kept_when_asked_for_as_by_restic() {
    let site = Site::new();
    let path = site.environment.write("tree/a", "a");
    let tree = site.environment.path("tree");
    let times = fs::FileTimes::new()
        .set_accessed(std::time::UNIX_EPOCH + std::time::Duration::from_secs(99));
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    assert_eq!(path.metadata().unwrap().atime(), 99);
    let atime = || {
        let entries = site.restic.ls("latest").unwrap();
        let entry = entries.iter().find(|entry| entry["path"] == path.to_str().unwrap()).unwrap();
        entry["atime"].clone()
    };
    site.backup(&["tree", "--with-atime"]);
    let ours = atime();
    site.restic.run(["backup", "--with-atime", "--force", tree.to_str().unwrap()]).unwrap();
    assert_eq!(ours, atime());
    assert!(
        ours.as_str().unwrap().ends_with(":01:39Z") || ours.as_str().unwrap().contains(":01:39")
    );
    site.backup(&["tree"]);
    assert_ne!(ours, atime());
    let unread = site.backup(&["tree", "--with-atime"]);
    assert_eq!(unread["counts"]["files_unmodified"], 1);
    site.restic.check_read_data().unwrap();
}

#[test]
fn a_profile_tells_seconds_and_bytes() {
    let site = Site::new();
    site.environment.write("tree/a", "a".repeat(5000));
    let made = site.backup(&["tree", "--profile"]);
    let activities = made["profile"]["activities"].as_array().unwrap();
    let read = activities.iter().find(|spent| spent["activity"] == "read").unwrap();
    assert_eq!(read["bytes"], 5000, "{made}");
    assert!(made["profile"]["wall_seconds"].as_f64().unwrap() > 0.0);
    let shown = site.environment.run(["repo", "backup", "repo", "tree", "--profile"]).success();
    assert!(shown.contains("activity") && shown.contains("wall"), "{shown}");
    assert!(site.backup(&["tree"]).get("profile").is_none());
}

#[test]
fn inodes_and_their_times_count_unless_told_otherwise() {
    let site = Site::new();
    let path = site.environment.write("tree/a", "a");
    site.backup(&["tree"]);
    let touch = || fs::set_permissions(&path, path.metadata().unwrap().permissions()).unwrap();
    let replace = || {
        let copied = Command::new("cp")
            .args(["-p", "tree/a", "tree/b"])
            .current_dir(site.environment.path(""))
            .status();
        assert!(copied.unwrap().success());
        let moved = Command::new("mv")
            .args(["tree/b", "tree/a"])
            .current_dir(site.environment.path(""))
            .status();
        assert!(moved.unwrap().success());
    };
    for (happens, flag, changed) in [
        (&touch as &dyn Fn(), None, 1),
        (&touch, Some("--ignore-ctime"), 0),
        (&touch, Some("--ignore-inode"), 0),
        (&replace, None, 1),
        (&replace, Some("--ignore-ctime"), 1),
        (&replace, Some("--ignore-inode"), 0),
    ] {
        happens();
        let made = site.backup(&["tree"].into_iter().chain(flag).collect::<Vec<_>>());
        assert_eq!(made["counts"]["files_changed"], changed, "{flag:?}");
    }
    site.restic.check_read_data().unwrap();
}
