//! Looking into repositories: what we tell of one is what stock restic tells.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use lifeboat_model::pattern::{Case, Dialect, Pattern};
use lifeboat_model::{BlobId, Cancel, SnapshotId};
use lifeboat_repository::diff::{self, DiffOptions, DiffReport, Mark, MetadataChanges, Sum, Sums};
use lifeboat_repository::find::{self, Found, Names, Objects, Wanted};
use lifeboat_repository::stats::{self, StatsMode};
use lifeboat_repository::tag::{TagChange, retag};
use lifeboat_repository::{
    BlobKind, Indexed, Repository, RepositoryError, Snapshot, SnapshotFilter,
};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::durable;
use serde_json::Value;

use crate::support::{
    ResticRepository, directory, file, memory, save_pack, save_raw_tree, save_tree,
};

fn write(path: &Path, text: &str) {
    durable::create_directories(path.parent().unwrap(), 0o755).unwrap();
    durable::replace(path, text.as_bytes(), 0o644).unwrap();
}

/// Three snapshots by restic, the last two of which differ in every way that restic tells.
fn changed() -> ResticRepository {
    let repository = ResticRepository::of(&Sample::everything(3).files(20));
    let source = &repository.source;
    for name in ["kept/deep/one", "kept/Two.txt", "moved/from", "same/a", "gone/file"] {
        write(&source.join(name), &format!("what stands in {name}").repeat(50));
    }
    std::os::unix::fs::symlink("kept", source.join("was-link")).unwrap();
    repository.restic.backup(source).unwrap();

    write(&source.join("same/a"), "something else");
    fs::copy(source.join("kept/deep/one"), source.join("same/copy of one")).unwrap();
    fs::remove_dir_all(source.join("gone")).unwrap();
    fs::remove_file(source.join("was-link")).unwrap();
    write(&source.join("was-link"), "a file now");
    write(&source.join("new/dir/file"), "new");
    let touched = fs::File::options().write(true).open(source.join("kept/Two.txt")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    repository.restic.backup(source).unwrap();
    repository
}

fn snapshots(repository: &Repository<Indexed>) -> Vec<(SnapshotId, Snapshot)> {
    repository.snapshots().unwrap()
}

fn lines(restic: &Restic, arguments: &[&str]) -> Vec<Value> {
    let output = restic.run(arguments).unwrap().stdout;
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn told(report: &DiffReport) -> Vec<(String, String)> {
    let changes = report.changes.iter().map(|change| {
        let slash = if change.sort == "dir" { "/" } else { "" };
        (format!("{}{slash}", change.path.display()), change.mark.letters().to_owned())
    });
    changes.collect()
}

fn assert_sum(sum: &Sum, restic: &Value) {
    let theirs = [
        ("files", sum.files),
        ("dirs", sum.directories),
        ("others", sum.others),
        ("data_blobs", sum.data_blobs),
        ("tree_blobs", sum.tree_blobs),
        ("bytes", sum.bytes),
    ];
    for (name, ours) in theirs {
        assert_eq!(restic[name], ours, "{name} of {restic}");
    }
}

#[test]
fn differences_and_their_sums_are_those_that_restic_tells() {
    let restic = changed();
    let repository = restic.indexed();
    let all = snapshots(&repository);
    let [_, (before, first), (after, second)] = &all[..] else { panic!("{}", all.len()) };
    let (before, after) = (before.to_hex(), after.to_hex());
    for (metadata, option) in
        [(MetadataChanges::Ignored, None), (MetadataChanges::Told, Some("--metadata"))]
    {
        let arguments: Vec<&str> =
            ["diff", "--json", &before, &after].into_iter().chain(option).collect();
        let mut theirs = lines(&restic.restic, &arguments);
        let sums = theirs.pop().unwrap();
        let theirs: Vec<(String, String)> = theirs
            .iter()
            .map(|line| {
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                (text("path"), text("modifier"))
            })
            .collect();
        let options = DiffOptions { metadata, sums: Sums::Exact };
        let ours =
            diff::diff(&repository, first.tree, second.tree, options, &Cancel::new()).unwrap();
        assert!(theirs.len() > 7, "{theirs:?}");
        assert_eq!(told(&ours), theirs);
        assert_eq!(sums["changed_files"], ours.changed_files);
        assert_sum(&ours.added, &sums["added"]);
        assert_sum(&ours.removed, &sums["removed"]);
    }
    let quick = DiffOptions { sums: Sums::OfWhatDiffers, ..DiffOptions::default() };
    let quick = diff::diff(&repository, first.tree, second.tree, quick, &Cancel::new()).unwrap();
    let exact = DiffOptions::default();
    let exact = diff::diff(&repository, first.tree, second.tree, exact, &Cancel::new()).unwrap();
    assert_eq!(told(&quick), told(&exact));
    assert!(quick.added.data_blobs > exact.added.data_blobs, "the copy counts as new");
}

#[test]
fn what_lies_in_a_directory_that_was_a_file_is_told_too() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"x"]);
    let inner = save_tree(&repository, &[file("inside", &[b"x"])]);
    let before = save_tree(&repository, &[file("a", &[b"x"])]);
    let after = save_tree(&repository, &[directory("a", inner)]);
    let compare = |before, after| {
        let options = DiffOptions::default();
        told(&diff::diff(&repository, before, after, options, &Cancel::new()).unwrap())
    };
    let pair = |path: &str, mark: &str| (path.to_owned(), mark.to_owned());
    assert_eq!(compare(before, after), [pair("/a/", "T"), pair("/a/inside", "+")]);
    assert_eq!(compare(after, before), [pair("/a", "T"), pair("/a/inside", "-")]);
    assert_eq!(compare(after, after), []);
}

#[test]
fn other_content_with_the_same_times_is_suspicious() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"good", b"evil"]);
    let before = save_tree(&repository, &[file("a", &[b"good"])]);
    let after = save_tree(&repository, &[file("a", &[b"evil"])]);
    let options = DiffOptions::default();
    let report = diff::diff(&repository, before, after, options, &Cancel::new()).unwrap();
    assert_eq!(report.changes[0].mark, Mark::Suspicious);
}

#[test]
fn a_lost_directory_is_named_and_the_rest_compared() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"x"]);
    let lost = BlobId::from_bytes([7; 32]);
    let before = save_tree(&repository, &[file("a", &[b"x"]), directory("b", lost)]);
    let after = save_tree(&repository, &[file("c", &[b"x"])]);
    let options = DiffOptions::default();
    let report = diff::diff(&repository, before, after, options, &Cancel::new()).unwrap();
    assert_eq!(report.unreadable.len(), 1);
    assert_eq!(report.unreadable[0].path, Path::new("/b"));
    let pair = |path: &str, mark: &str| (path.to_owned(), mark.to_owned());
    assert_eq!(told(&report), [pair("/a", "-"), pair("/b/", "-"), pair("/c", "+")]);
}

fn count(repository: &Repository<Indexed>, roots: &[BlobId], mode: StatsMode) -> [u64; 3] {
    let report = stats::stats(repository, roots, mode, &Cancel::new()).unwrap();
    assert!(report.unreadable.is_empty());
    [report.files, report.blobs, report.bytes]
}

#[test]
fn stats_are_those_of_restic_in_every_mode() {
    let restic = changed();
    let repository = restic.indexed();
    let all: Vec<BlobId> = snapshots(&repository).iter().map(|(_, s)| s.tree).collect();
    for (mode, name) in [
        (StatsMode::RestoreSize, "restore-size"),
        (StatsMode::FilesByContents, "files-by-contents"),
        (StatsMode::BlobsPerFile, "blobs-per-file"),
        (StatsMode::RawData, "raw-data"),
    ] {
        for (roots, snapshot) in [(&all[..], None), (&all[all.len() - 1..], Some("latest"))] {
            let arguments: Vec<&str> =
                ["stats", "--json", "--mode", name].into_iter().chain(snapshot).collect();
            let theirs = lines(&restic.restic, &arguments).pop().unwrap();
            let number = |name: &str| theirs[name].as_u64().unwrap_or(0);
            let expected =
                [number("total_file_count"), number("total_blob_count"), number("total_size")];
            assert_eq!(count(&repository, roots, mode), expected, "{name} {snapshot:?}");
        }
    }
}

/// Hits that restic can write as JSON, as pairs of snapshot and path.
fn found_by_restic(restic: &Restic, arguments: &[&str]) -> BTreeSet<(String, String)> {
    let answer = lines(restic, arguments).pop().unwrap_or_default();
    let mut found = BTreeSet::new();
    for hit in answer.as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match hit["matches"].as_array() {
            None => _ = found.insert((text(&hit["snapshot"]), text(&hit["path"]))),
            Some(matches) => {
                let paths = matches.iter().map(|entry| text(&entry["path"]));
                found.extend(paths.map(|path| (text(&hit["snapshot"]), path)));
            }
        }
    }
    found.retain(|(_, path)| !path.contains('\u{fffd}'));
    found
}

fn found_here(repository: &Repository<Indexed>, wanted: &Wanted) -> BTreeSet<(String, String)> {
    let all = snapshots(repository);
    let roots: Vec<BlobId> = all.iter().map(|(_, snapshot)| snapshot.tree).collect();
    let report = find::find(repository, &roots, wanted, &Cancel::new()).unwrap();
    assert!(report.unreadable.is_empty());
    let mut found = BTreeSet::new();
    for (number, (id, _)) in all.iter().enumerate() {
        let paths = report.in_snapshot(number).filter_map(|hit| hit.path.to_str());
        found.extend(paths.map(|path| (id.to_hex(), path.to_owned())));
    }
    found
}

fn names(patterns: &[&str], case: Case) -> Names {
    let compile = |text: &&str| Pattern::new(OsStr::new(text), Dialect::Restic, case).unwrap();
    Names { patterns: patterns.iter().map(compile).collect(), oldest: None, newest: None }
}

#[test]
fn the_same_paths_are_found_as_by_restic() {
    let restic = changed();
    let repository = restic.indexed();
    for patterns in [
        &["one"][..],
        &["kept"],
        &["deep/o?e", "new/**"],
        &["[k-n]*/*"],
        &["/*/*/file"],
        &["/**/kept/**/one"],
        &["source/**/file", "nothing like that"],
        &["*two*"],
    ] {
        for (case, option) in [(Case::Matters, None), (Case::Ignored, Some("--ignore-case"))] {
            let arguments: Vec<&str> = ["find", "--json"]
                .into_iter()
                .chain(option)
                .chain(patterns.iter().copied())
                .collect();
            let theirs = found_by_restic(&restic.restic, &arguments);
            let ours = found_here(&repository, &Wanted::Names(names(patterns, case)));
            assert_eq!(ours, theirs, "{patterns:?} {case:?}");
        }
    }
    let old = Names {
        newest: Some("1971-01-01T00:00:00Z".parse().unwrap()),
        ..names(&["Two.txt"], Case::Matters)
    };
    let found = found_here(&repository, &Wanted::Names(old));
    let theirs =
        found_by_restic(&restic.restic, &["find", "--json", "--newest", "1971-01-01", "Two.txt"]);
    assert_eq!((found.len(), &found), (1, &theirs));
}

#[test]
fn blobs_trees_and_packs_lead_to_their_paths() {
    let restic = changed();
    let repository = restic.indexed();
    let path = restic.source.join("kept/deep/one");
    let path = path.to_str().unwrap();
    let all = snapshots(&repository);
    let root = all.last().unwrap().1.tree;
    let one = names(&[path], Case::Matters);
    let report = find::find(&repository, &[root], &Wanted::Names(one), &Cancel::new()).unwrap();
    let hits: Vec<_> = report.in_snapshot(0).collect();
    assert_eq!((hits.len(), hits[0].path.as_path()), (1, Path::new(path)));
    assert!(matches!(&hits[0].found, Found::Entry(node) if node.kind.name() == "file"));

    let index = restic.indexed();
    let node = lifeboat_repository::listing::find(&index, &all.last().unwrap().1, Path::new(path));
    let lifeboat_repository::NodeKind::File { content, .. } = node.unwrap().unwrap().kind else {
        panic!("it is a file")
    };
    let blob = content[0];
    let pack = repository.locate(BlobKind::Data, &blob).unwrap().pack;
    let mut objects = Objects::default();
    objects
        .add(BlobKind::Data, repository.wanted_blob(BlobKind::Data, &blob.to_hex()[..20]).unwrap());
    let located = repository.locations_of(&objects);
    assert_eq!(located[&(BlobKind::Data, blob)].pack, pack);
    let theirs = found_by_restic(&restic.restic, &["find", "--json", "--blob", &blob.to_hex()]);
    assert_eq!(found_here(&repository, &Wanted::Objects(objects)), theirs);
    assert_eq!(theirs.len(), 3, "in two snapshots, and its copy in one");

    let packed = repository.pack_objects(&[pack.to_hex()]).unwrap();
    let theirs = found_by_restic(&restic.restic, &["find", "--json", "--pack", &pack.to_hex()]);
    assert_eq!(found_here(&repository, &Wanted::Objects(packed)), theirs);

    let mut objects = Objects::default();
    objects.add(BlobKind::Tree, root);
    let found = found_here(&repository, &Wanted::Objects(objects));
    assert_eq!(found.into_iter().next().unwrap().1, "/", "the root is a directory like others");
    let unknown = repository.wanted_blob(BlobKind::Data, "0123456789").unwrap_err();
    assert!(matches!(unknown, RepositoryError::NoSuchId { .. }), "{unknown}");
    let lost = "7".repeat(64);
    assert_eq!(repository.wanted_blob(BlobKind::Data, &lost).unwrap().to_hex(), lost);
}

#[test]
fn a_directory_that_snapshots_share_is_found_in_each() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"x"]);
    let shared = save_tree(&repository, &[file("wanted", &[b"x"])]);
    let first = save_tree(&repository, &[directory("a", shared), directory("b", shared)]);
    let second = save_tree(&repository, &[directory("a", shared)]);
    let broken = save_raw_tree(&repository, "not a tree");
    let third = save_tree(&repository, &[directory("a", shared), directory("lost", broken)]);
    let wanted = Wanted::Names(names(&["wanted"], Case::Matters));
    let roots = [first, second, third];
    let report = find::find(&repository, &roots, &wanted, &Cancel::new()).unwrap();
    let paths = |number| -> Vec<String> {
        report.in_snapshot(number).map(|hit| hit.path.display().to_string()).collect()
    };
    assert_eq!(paths(0), ["/a/wanted", "/b/wanted"]);
    assert_eq!((paths(1), paths(2)), (vec!["/a/wanted".to_owned()], vec!["/a/wanted".to_owned()]));
    assert_eq!(report.unreadable[0].path, Path::new("/lost"));
}

#[test]
fn tags_are_changed_in_a_new_snapshot_that_remembers_the_first() {
    let restic = changed();
    let repository = restic.open();
    let latest = "latest".parse().unwrap();
    let (id, snapshot) = repository.choose(&latest, &SnapshotFilter::default()).unwrap();
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let add = TagChange::Adjust { add: texts(&["a", "b"]), remove: Vec::new() };
    let second = retag(&repository, &id, &snapshot, &add).unwrap().unwrap();
    let tagged = repository.snapshot(&second).unwrap();
    assert_eq!((&tagged.tags[..], tagged.original), (&texts(&["a", "b"])[..], Some(id)));
    assert_eq!(retag(&repository, &second, &tagged, &add).unwrap(), None);

    // restic goes on from there, and keeps the same original.
    restic.restic.run(["tag", "--remove", "a", "--tag", "a,b"]).unwrap();
    let filter = SnapshotFilter { tags: vec!["b".parse().unwrap()], ..SnapshotFilter::default() };
    let (third, theirs) = repository.choose(&latest, &filter).unwrap();
    assert_eq!((&theirs.tags[..], theirs.original), (&texts(&["b"])[..], Some(id)));
    let set = TagChange::Set(Vec::new());
    let fourth = retag(&repository, &third, &theirs, &set).unwrap().unwrap();
    assert_eq!(repository.snapshot(&fourth).unwrap().original, Some(id));
    assert_eq!(repository.snapshots().unwrap().len(), 3, "the old ones are gone");
    restic.restic.run(["check"]).unwrap();
}
