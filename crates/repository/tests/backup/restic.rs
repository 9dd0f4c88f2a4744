//! What restic makes of our snapshots, and what it would have made instead of them.

use std::fs;
use std::path::Path;

use lifeboat_model::BlobId;
use lifeboat_repository::{BlobKind, Indexed, Node, NodeKind, Repository};
use lifeboat_testing::tree::{self, Aspect, Feature, Sample};
use serde_json::Value;

use crate::site::{Site, files, restored};

/// restic 0.14 restores holes only where it is told to, which it cannot be.
const NOT_RESTORED: [Aspect; 1] = [Aspect::Holes];

#[test]
fn restic_restores_everything_that_we_back_up() {
    let site = Site::new();
    Sample::everything(11).files(200).build(site.source()).unwrap();
    let before = tree::capture(site.source()).unwrap();
    let report = site.backup();
    assert_eq!(report.skipped, []);
    assert_eq!(report.counts.files_unmodified, 0);

    let restic = site.restic();
    restic.check_read_data().unwrap();
    restic.restore(&report.snapshot.to_hex(), site.path("target")).unwrap();
    let after = tree::capture(restored(&site.path("target"), &site.source())).unwrap();
    assert_eq!(before.differences(&after, &NOT_RESTORED), []);
}

#[test]
fn our_trees_are_those_that_restic_makes() {
    let site = Site::new();
    let sample = Sample::everything(12).without(Feature::Large).without(Feature::Sparse);
    sample.build(site.source()).unwrap();
    remove_what_restic_0_14_writes_otherwise(&site.source());
    let ours = site.backup();
    site.restic().run(["backup", "--force", site.source().to_str().unwrap()]).unwrap();
    let repository = site.repository();
    let (_, theirs) = repository.find_snapshot("latest").unwrap();
    assert_ne!(theirs.hostname, "site");

    // The directories above the source may change meanwhile; the source does not.
    let ours = site.subtree(&repository, ours.tree);
    let theirs = site.subtree(&repository, theirs.tree);
    let mut differing = Vec::new();
    differences(&repository, (ours, theirs), &mut differing);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(ours, theirs);
}

/// Later versions of restic write these two as we do. restic 0.14 knows no `linktarget_raw` and
/// loses bytes that are not UTF-8; and the Go that Debian built it with knows Unicode 13, so that
/// it escapes a character of Unicode 14 as one that cannot be printed.
fn remove_what_restic_0_14_writes_otherwise(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let state = path.symlink_metadata().unwrap();
        if state.is_dir() {
            remove_what_restic_0_14_writes_otherwise(&path);
        } else if path.ends_with("\u{1f6df}")
            || (state.is_symlink() && fs::read_link(&path).unwrap().to_str().is_none())
        {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Names the nodes that differ, as they are stored.
fn differences(
    repository: &Repository<Indexed>,
    (ours, theirs): (BlobId, BlobId),
    differing: &mut Vec<String>,
) {
    let subtree = |node: &Node| match node.kind {
        NodeKind::Directory { subtree } => Some(subtree),
        _ => None,
    };
    let read = |id| repository.tree(&id).unwrap().nodes;
    for (ours, theirs) in read(ours).iter().zip(&read(theirs)) {
        match (subtree(ours), subtree(theirs)) {
            (Some(ours), Some(theirs)) => differences(repository, (ours, theirs), differing),
            _ if ours != theirs => differing.push(format!("{ours:?}\n{theirs:?}\n")),
            _ => {}
        }
    }
    let text = |id: &BlobId| {
        let document = repository.read_blob(BlobKind::Tree, id).unwrap();
        String::from_utf8(document.to_vec()).unwrap()
    };
    if ours != theirs && differing.is_empty() {
        differing.push(format!("{}{}", text(&ours), text(&theirs)));
    }
}

#[test]
fn restic_rewrites_nothing_of_our_trees() {
    let site = Site::new();
    Sample::everything(13).build(site.source()).unwrap();
    let report = site.backup();
    let restic = site.restic();
    // A rewrite that excludes nothing re-encodes every tree and refuses if the bytes differ.
    let answer = restic.run(["rewrite", "--exclude", "/nothing/like/this", "--dry-run"]);
    if let Ok(answer) = answer {
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(!text.contains("would"), "{text}");
    }
    // Backing up again with our snapshot as the parent finds everything unmodified.
    let output = restic
        .run([
            "backup",
            "--json",
            "--parent",
            &report.snapshot.to_hex(),
            site.source().to_str().unwrap(),
        ])
        .unwrap();
    let summary = summary(&output.stdout);
    assert_eq!(summary["files_new"], 0);
    assert_eq!(summary["files_changed"], 0);
    assert_eq!(summary["data_blobs"], 0);
}

#[test]
fn what_restic_backed_up_is_not_read_again() {
    let site = Site::new();
    Sample::everything(14).build(site.source()).unwrap();
    let restic = site.restic();
    let source = site.source();
    restic.run(["backup", "--host", "site", source.to_str().unwrap()]).unwrap();
    let report = site.backup_of(vec![files(&[&source])]).unwrap();
    assert!(report.parent.is_some());
    assert_eq!(report.counts.bytes_read, 0);
    assert_eq!((report.counts.files_new, report.counts.files_changed), (0, 0));
    restic.check_read_data().unwrap();
}

fn summary(output: &[u8]) -> Value {
    let lines = output.split(|byte| *byte == b'\n').rev();
    lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .find(|message| message["message_type"] == "summary")
        .unwrap()
}
