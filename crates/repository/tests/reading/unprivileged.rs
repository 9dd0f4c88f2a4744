//! A restore without root: everything that this user may set is set, the rest is listed.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lifeboat_model::{Cancel, Exit, Silent};
use lifeboat_repository::node::FileMode;
use lifeboat_repository::restore::{RestoreOptions, restore};
use lifeboat_repository::{BlobKind, NodeKind};
use lifeboat_testing::unprivileged;
use nix::unistd::Uid;

use crate::support::{file, memory, node, save_pack, save_tree, snapshot_of};

#[test]
fn without_root_what_may_be_set_is_set_and_the_rest_is_listed() {
    if unprivileged::is_here() {
        return restore_foreign_files();
    }
    let name = "unprivileged::without_root_what_may_be_set_is_set_and_the_rest_is_listed";
    unprivileged::run_again(name).unwrap();
}

fn restore_foreign_files() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"mine", b"of root"]);
    let mut foreign = file("foreign", &[b"of root"]);
    foreign.metadata.uid = 0;
    foreign.metadata.gid = 0;
    foreign.metadata.mode = FileMode::from_unix(0o104_755);
    let device = node("device", NodeKind::CharDevice { device: rustix::fs::makedev(1, 3) });
    let nodes = [device, foreign, file("mine", &[b"mine"])];
    let snapshot = snapshot_of(save_tree(&repository, &nodes));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let mut options = RestoreOptions::new(&target);
    options.strict_owner = true;
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();

    assert_eq!(fs::read(target.join("foreign")).unwrap(), b"of root");
    let metadata = fs::metadata(target.join("foreign")).unwrap();
    assert_eq!(metadata.uid(), Uid::effective().as_raw());
    assert_eq!(metadata.mode() & 0o7777, 0o755, "set-user-id would now serve another user");
    assert_eq!(metadata.mtime(), 0);
    assert_eq!(report.owners_not_set, 1);
    let warnings: Vec<_> = report.warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert!(warnings[0].starts_with("set-user-id and set-group-id left out"), "{warnings:?}");
    assert!(warnings[1].starts_with("owner not set"), "{warnings:?}");
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert!(report.failed[0].path.ends_with("device"));
    assert_eq!(report.exit(), Exit::Incomplete);
    assert_eq!(report.files, 2);
}
