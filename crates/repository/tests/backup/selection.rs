//! What is left out, beside the peers: restic's own rules judged by stock restic, and git's by git.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_model::pattern::{Case, Decision, Dialect, EntryKind, Patterns};
use lifeboat_model::{BlobId, ByteSize, Cancel, Silent, SystemClock};
use lifeboat_repository::backup::{BackupOptions, BackupReport, ParentChoice, SkipReason, backup};
use lifeboat_repository::source::{Excludes, FilesSource, Notice, Source};
use lifeboat_repository::{Indexed, NodeKind, Repository};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::site::Site;

/// Names that patterns trip over.
const NAMES: [&str; 16] = [
    "a", "b", "ab", "A", "a.o", ".a", "a b", " a", "#a", "!a", "\u{e4}", "[a", "*", "a\\b", "-",
    "\u{c4}b",
];

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(content).unwrap();
}

/// Makes a tree of directories and files with tricky names, two directories deep.
fn make(source: &Path) {
    for above in ["", "a", "b", "a/b", "ab/b", "[a/*"] {
        for name in NAMES {
            let path = source.join(above).join(name);
            if !path.exists() {
                write(&path.join("a"), b"a");
                write(&path.join("z.o"), b"z");
            }
        }
    }
}

fn backup_without(
    repository: &Repository<Indexed>,
    source: &Path,
    exclude: Excludes,
) -> BackupReport {
    let files = FilesSource { paths: vec![source.to_owned()], exclude, ..FilesSource::default() };
    let options = BackupOptions { parent: ParentChoice::None, ..BackupOptions::new("site") };
    let (sources, cancel) = (vec![Source::Files(files)], Cancel::new());
    backup(repository, sources, &options, &Silent, &cancel, &SystemClock).unwrap()
}

/// Returns the paths in a tree; directories end with a slash.
fn paths(
    repository: &Repository<Indexed>,
    tree: BlobId,
    above: &Path,
    found: &mut BTreeSet<PathBuf>,
) {
    for node in repository.tree(&tree).unwrap().nodes {
        let path = above.join(&node.name);
        match node.kind {
            NodeKind::Directory { subtree } => {
                paths(repository, subtree, &path, found);
                found.insert(path.join(""));
            }
            _ => _ = found.insert(path),
        }
    }
}

fn stored(site: &Site, repository: &Repository<Indexed>, exclude: Excludes) -> BTreeSet<PathBuf> {
    let report = backup_without(repository, &site.source(), exclude);
    let mut found = BTreeSet::new();
    paths(repository, site.subtree(repository, report.tree), Path::new(""), &mut found);
    found
}

/// Returns what restic would store below the source, directories with a slash.
fn restic_would_store(site: &Site, flags: &[(&str, &str)]) -> BTreeSet<PathBuf> {
    let source = site.source();
    let mut arguments = vec!["backup", "--dry-run", "--json", "-vv", source.to_str().unwrap()];
    arguments.extend(flags.iter().flat_map(|(flag, pattern)| [*flag, *pattern]));
    let answer = site.restic().run(arguments).unwrap().stdout;
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let messages = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let items: Vec<String> =
        messages.filter_map(|message| message["item"].as_str().map(str::to_owned)).collect();
    let below = items.iter().filter_map(|item| item.strip_prefix(source.to_str().unwrap()));
    let below = below.filter_map(|item| item.strip_prefix('/'));
    below.filter(|item| !item.is_empty()).map(PathBuf::from).collect()
}

/// Returns what is stored here and by restic.
///
/// The given path itself is never left out here, as by restic since it says so in its manual;
/// version 0.14 left it out with all that is in it, so that there is nothing to compare then.
fn both(
    site: &Site,
    repository: &Repository<Indexed>,
    list: Patterns,
    flags: &[(&str, &str)],
) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let given = list.judge_path(&site.source(), EntryKind::Directory);
    let ours = stored(site, repository, Excludes::by_patterns(list));
    let theirs = restic_would_store(site, flags);
    if given == Some(Decision::Matches) && theirs.is_empty() {
        return (theirs.clone(), theirs);
    }
    (ours, theirs)
}

#[test]
fn the_same_is_left_out_as_by_restic() {
    let site = Site::new();
    make(&site.source());
    let repository = site.repository();
    let source = site.source();
    let own = |rest: &str| format!("{}{rest}", source.display());
    let (in_root, in_depth) = (own("/a"), own("/**/b/a"));
    let (all, some) = (own("/*"), format!("!{}", own("/ab")));
    let above = source.file_name().unwrap().to_str().unwrap();
    let lists: [&[&str]; 24] = [
        &["a"],
        &["a/"],
        &["b/a"],
        &["/a"],
        &[&in_root],
        &[&in_depth],
        &["b/**"],
        &["**/b"],
        &["a/**/z.o", "!b/z.o"],
        &["*.o", "!a/*.o"],
        &["!a", "a"],
        &["a", "!a/b"],
        &[&all, &some],
        &[&all, &some, "z.o"],
        &["?"],
        &["[ab]*"],
        &["[^a]"],
        &["\\[a", "\\*"],
        &["#a", "\\!a"],
        &[" a", "a b"],
        &["\u{e4}", "a\\\\b"],
        &["./b/../ab", "-"],
        &[above, "!a"],
        &["[!a]", "[\\-]"],
    ];
    for patterns in lists {
        for (flag, case) in [("--exclude", Case::Matters), ("--iexclude", Case::Ignored)] {
            let flags: Vec<_> = patterns.iter().map(|pattern| (flag, *pattern)).collect();
            let list = Patterns::new(Dialect::Restic, case, patterns).unwrap();
            let (ours, theirs) = both(&site, &repository, list, &flags);
            assert_eq!(ours, theirs, "{flag} {patterns:?}");
        }
    }
    site.restic().check_read_data().unwrap();
}

/// Makes patterns of signs that mean something here or there.
fn any_list() -> impl Strategy<Value = Vec<String>> {
    let sign = prop::sample::select(
        &["a", "b", "*", "**", "?", "/", "/", "[ab]", "[^a]", "\\*", ".o", "z", "\u{e4}", " "][..],
    );
    let pattern = prop::collection::vec(sign, 1..5).prop_map(|signs| signs.concat());
    prop::collection::vec((prop::bool::weighted(0.3), pattern), 1..5).prop_map(|list| {
        let text = |(takes_back, pattern)| if takes_back { format!("!{pattern}") } else { pattern };
        list.into_iter().map(text).collect()
    })
}

#[test]
fn whatever_the_patterns_the_same_is_left_out_as_by_restic() {
    let site = Site::new();
    make(&site.source());
    let repository = site.repository();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let agrees = |patterns: Vec<String>| {
        let list = Patterns::new(Dialect::Restic, Case::Matters, &patterns).unwrap();
        let flags: Vec<_> = patterns.iter().map(|text| ("--exclude", text.as_str())).collect();
        let (ours, theirs) = both(&site, &repository, list, &flags);
        prop_assert_eq!(ours, theirs);
        Ok(())
    };
    runner.run(&any_list(), agrees).unwrap();
}

/// A work tree whose repository lies elsewhere, so that there is no `.git` in it.
struct Git(PathBuf);

impl Git {
    fn new(site: &Site) -> Self {
        let git = Self(site.path("git"));
        git.run(&site.source(), &["init", "--quiet"]);
        git
    }

    fn run(&self, work_tree: &Path, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("git")
            .env("GIT_DIR", &self.0)
            .env("GIT_WORK_TREE", work_tree)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(arguments)
            .current_dir(work_tree)
            .output()
            .expect("git is installed by dev/install-needs git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Returns the files that it does not ignore.
    fn files(&self, work_tree: &Path) -> BTreeSet<PathBuf> {
        let listed = self.run(work_tree, &["ls-files", "--others", "--exclude-standard", "-z"]);
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
    }
}

/// Returns the files, not the directories, that are stored by the rules of `.gitignore`.
fn files_stored(site: &Site, repository: &Repository<Indexed>) -> BTreeSet<PathBuf> {
    let mut found = stored(site, repository, Excludes::default().and_rules_in(".gitignore"));
    found.retain(|path| !path.as_os_str().as_bytes().ends_with(b"/"));
    found
}

#[test]
fn the_same_is_left_out_as_by_git() {
    let site = Site::new();
    let source = site.source();
    make(&source);
    let (git, repository) = (Git::new(&site), site.repository());
    let rules = [
        "a\n",
        "/a\n",
        "a/\n",
        "a/b\n",
        "**/a/b\n",
        "a/**\n!a/b/\n",
        "*\n!*/\n!z.o\n",
        "*.o\n!/b/**/z.o\n",
        "\\#a\n#a\n\\!a\n",
        "a b\na \na\\ \n",
        "[ab]\n[!a]/a\n",
        "[[]a\n[]a]\n",
        "\\*\n",
        "a\\\\b\n",
        "??\n",
        "[[:upper:]]*\n",
        "\u{e4}\r\nb/\r\n",
        "a/*\n!a/b\na/b/z.o\n",
        "/*\n!/ab\n/ab/*\n!/ab/a\n",
        "a\\",
        "\u{feff}a",
        "/\n//\nb//\n",
        "a/**/z.o\n",
        "**\n!a/\n",
        "/**/b\n",
        "!a\n",
        "[a\n",
        "-\n[]-]\n",
        "\\a\n",
        "***/b\n",
    ];
    for rule in rules {
        write(&source.join(".gitignore"), rule.as_bytes());
        assert_eq!(files_stored(&site, &repository), git.files(&source), "{rule:?}");
    }
    // The nearest file that says anything decides, and each rules over its own directory alone.
    for (path, rule) in [
        (".gitignore", "*.o\nb/\n"),
        ("a/.gitignore", "!z.o\n/a\n"),
        ("a/b/.gitignore", "*.o\n!/b/\n"),
        ("ab/.gitignore", "a/*\n!a/b\n.gitignore\n"),
    ] {
        write(&source.join(path), rule.as_bytes());
        assert_eq!(files_stored(&site, &repository), git.files(&source), "{path}");
    }
    // What is reached by a link says nothing.
    fs::remove_file(source.join(".gitignore")).unwrap();
    symlink("b/b/a", source.join(".gitignore")).unwrap();
    write(&source.join("b/b/a"), b"a\n");
    assert_eq!(files_stored(&site, &repository), git.files(&source));
    site.restic().check_read_data().unwrap();
}

/// Git reads `a**/b` otherwise than its manual says: as `a` with `**/b` right behind it.
fn is_as_the_manual_says(pattern: &str) -> bool {
    let pattern = pattern.trim_start_matches(['!', '/']);
    let plain = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    let (before, behind) = pattern.split_at(plain);
    before.is_empty() || before.ends_with('/') || !behind.starts_with("**")
}

#[test]
fn whatever_the_rules_the_same_is_left_out_as_by_git() {
    let site = Site::new();
    let source = site.source();
    make(&source);
    let (git, repository) = (Git::new(&site), site.repository());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(100));
    let agrees = |(top, below): (Vec<String>, Vec<String>)| {
        for (path, list) in [(".gitignore", top), ("a/.gitignore", below)] {
            let list: Vec<_> =
                list.into_iter().filter(|text| is_as_the_manual_says(text)).collect();
            write(&source.join(path), list.join("\n").as_bytes());
        }
        prop_assert_eq!(files_stored(&site, &repository), git.files(&source));
        Ok(())
    };
    runner.run(&(any_list(), any_list()), agrees).unwrap();
}

#[test]
fn rules_and_notices_that_cannot_be_read_leave_nothing_out_and_are_named() {
    let site = Site::new();
    let source = site.source();
    write(&source.join("a"), b"a");
    let many = "a\n".repeat(1 << 20);
    write(&source.join(".gitignore"), many.as_bytes());
    let exclude = Excludes::default().and_rules_in(".gitignore").and_noticed(Notice::cache());
    let repository = site.repository();
    let report = backup_without(&repository, &source, exclude);
    let [skipped] = report.skipped.as_slice() else { panic!("{:?}", report.skipped) };
    assert_eq!(skipped.path, source.join(".gitignore"));
    assert!(
        matches!(&skipped.reason, SkipReason::NotHeeded { error } if error.contains("1.0 MiB"))
    );
    let mut found = BTreeSet::new();
    paths(&repository, site.subtree(&repository, report.tree), Path::new(""), &mut found);
    assert!(found.contains(Path::new("a")));
}

#[test]
fn a_given_path_is_stored_whatever_leaves_it_out_and_the_way_to_it_is_gone() {
    let site = Site::new();
    let source = site.source();
    for file in ["cache/kept/file", "cache/beside", "cache/CACHEDIR.TAG", "large"] {
        write(&source.join(file), b"Signature: 8a477f597d28d172789f06886806bc55\n");
    }
    let exclude = || {
        let list = Patterns::new(Dialect::Restic, Case::Matters, ["large", "file"]).unwrap();
        let noticed = Excludes::by_patterns(list).and_noticed(Notice::cache());
        noticed.and_larger_than(ByteSize(1))
    };
    let paths_given = vec![source.join("large"), source.join("cache/kept/file"), source.clone()];
    let files = FilesSource { paths: paths_given, exclude: exclude(), ..FilesSource::default() };
    let report = site.backup_of(vec![Source::Files(files)]).unwrap();
    let repository = site.repository();
    let mut found = BTreeSet::new();
    paths(&repository, site.subtree(&repository, report.tree), Path::new(""), &mut found);
    let expected = ["cache/", "cache/kept/", "cache/kept/file", "large"].map(PathBuf::from);
    assert_eq!(found, BTreeSet::from(expected));
    site.restic().check_read_data().unwrap();
}
