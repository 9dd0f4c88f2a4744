//! The servers that run on this host, found by their marks and without asking them.
//!
//! A server works in its data directory, which is where its process says that it is, and leaves the
//! number of that process in `postmaster.pid` there. Where another user's processes work is shown to
//! root alone; then the places are left where packages put the data.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where packages put the data: Debian, Red Hat and its collections, Arch, the source. A `*` is any
/// name.
const USUAL_PLACES: [&str; 5] = [
    "var/lib/postgresql/*/*",
    "var/lib/pgsql/data",
    "var/lib/pgsql/*/data",
    "var/lib/postgres/data",
    "usr/local/pgsql/data",
];

/// The most that is read of a `postmaster.pid`; it has eight short lines.
const PID_FILE_BYTES_MAX: u64 = 4096;

/// Finds the data directories of the servers that run here; `/` is at `root`.
pub fn data_directories(root: &Path) -> Vec<PathBuf> {
    let usual = USUAL_PLACES.iter().flat_map(|place| expand(root, place));
    let usual = usual.filter(|directory| is_in_use(root, directory));
    let found: BTreeSet<PathBuf> = workplaces(root).into_iter().chain(usual).collect();
    found.into_iter().collect()
}

/// Tells whether a directory carries the marks of a server that was started in it.
///
/// One that cannot be looked into counts: this is for directories that a server named.
pub fn may_be_in_use(directory: &Path) -> bool {
    let there = |name| match directory.join(name).try_exists() {
        Ok(there) => there,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    there("PG_VERSION") && there("postmaster.pid")
}

/// The data directories that processes of a server work in.
fn workplaces(root: &Path) -> Vec<PathBuf> {
    let directories = children(&root.join("proc")).into_iter().filter(|process| is_server(process));
    let directories = directories.filter_map(|process| fs::read_link(process.join("cwd")).ok());
    directories.filter(|directory| directory.join("PG_VERSION").is_file()).collect()
}

/// Tells whether the server that was started in a directory still runs.
fn is_in_use(root: &Path, directory: &Path) -> bool {
    if !directory.join("PG_VERSION").is_file() {
        return false;
    }
    // A server that died leaves the file, and its number may be another program's by now.
    let process = first_line(&directory.join("postmaster.pid"));
    process.is_some_and(|number| {
        number.parse::<u32>().is_ok() && is_server(&root.join("proc").join(number))
    })
}

fn is_server(process: &Path) -> bool {
    first_line(&process.join("comm")).is_some_and(|name| name == "postgres" || name == "postmaster")
}

fn first_line(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(PID_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

/// Returns the directories that a place with `*` in it stands for.
fn expand(root: &Path, place: &str) -> Vec<PathBuf> {
    place.split('/').fold(vec![root.to_owned()], |found, name| match name {
        "*" => found.iter().flat_map(|directory| children(directory)).collect(),
        name => found.into_iter().map(|directory| directory.join(name)).collect(),
    })
}

/// Returns what lies in a directory; nothing, if it cannot be looked into.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn data(path: &Path, process: &str) {
        put(&path.join("PG_VERSION"), "15\n");
        put(&path.join("postmaster.pid"), &format!("{process}\n{}\n1763863200\n", path.display()));
    }

    #[test]
    fn servers_are_found_by_their_process_and_by_their_usual_place() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(&root.join("proc/71/comm"), "postgres\n");
        put(&root.join("proc/72/comm"), "postgres\n");
        put(&root.join("proc/73/comm"), "nginx\n");
        put(&root.join("proc/meminfo"), "");
        let hidden = root.join("var/lib/postgresql/15/main");
        data(&hidden, "71");
        let elsewhere = root.join("srv/shop");
        data(&elsewhere, "72");
        symlink(&elsewhere, root.join("proc/72/cwd")).unwrap();
        // One whose process has gone, one whose number is another program's, one never started.
        data(&root.join("var/lib/postgresql/14/main"), "70");
        data(&root.join("var/lib/pgsql/data"), "73");
        put(&root.join("var/lib/pgsql/16/data/PG_VERSION"), "16\n");
        assert_eq!(data_directories(root), [elsewhere, hidden]);
    }

    #[test]
    fn what_is_no_process_number_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        put(&root.path().join("x/comm"), "postgres\n");
        data(&root.path().join("var/lib/pgsql/data"), "../x");
        assert!(data_directories(root.path()).is_empty());
    }

    #[test]
    fn a_directory_of_another_host_is_not_taken_for_one_here() {
        let root = tempfile::tempdir().unwrap();
        assert!(!may_be_in_use(&root.path().join("nothing")));
        data(root.path(), "1");
        assert!(may_be_in_use(root.path()));
        fs::remove_file(root.path().join("postmaster.pid")).unwrap();
        assert!(!may_be_in_use(root.path()));
    }
}
