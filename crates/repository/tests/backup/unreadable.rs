//! A file that this user may not read: it is named, and the rest is stored.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use lifeboat_repository::backup::SkipReason;
use lifeboat_testing::unprivileged;

use crate::site::Site;

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_stored() {
    if unprivileged::is_here() {
        return back_up_unreadable_files();
    }
    let name = "unreadable::what_cannot_be_read_is_named_and_the_rest_is_stored";
    unprivileged::run_again(name).unwrap();
}

fn back_up_unreadable_files() {
    let site = Site::new();
    let source = site.source();
    fs::create_dir_all(source.join("closed")).unwrap();
    for name in ["open", "sealed", "closed/inside"] {
        fs::File::create(source.join(name)).unwrap();
    }
    let refuse = |name: &str| {
        fs::set_permissions(source.join(name), Permissions::from_mode(0o000)).unwrap();
    };
    refuse("sealed");
    refuse("closed");
    let report = site.backup();
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o700)).unwrap();

    assert!(!report.is_complete());
    assert_eq!(report.counts.files(), 1);
    let mut skipped: Vec<_> = report.skipped.iter().map(|skipped| &skipped.path).collect();
    skipped.sort();
    assert_eq!(skipped, [&source.join("closed"), &source.join("sealed")]);
    for skipped in &report.skipped {
        let denied = matches!(&skipped.reason, SkipReason::Unreadable { error, .. } if error.contains("denied"));
        assert!(denied, "{skipped}");
    }
    let repository = site.repository();
    let snapshot = repository.snapshot(&report.snapshot).unwrap();
    let tree = repository.tree(&site.subtree(&repository, snapshot.tree)).unwrap();
    assert!(tree.get("open".as_ref()).is_some());
    assert!(tree.get("sealed".as_ref()).is_none());
}
