//! Restores equal what was backed up, stay in their target, and lose only what is lost.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::{Cancel, Classify, ErrorKind, Exit, Silent, SystemClock};
use lifeboat_repository::listing::{Depth, list};
use lifeboat_repository::restore::{
    Existing, RestoreOptions, RestorePlan, RestoreReport, Selection, read_file, restore,
};
use lifeboat_repository::source::{Excludes, FilesSource, Source};
use lifeboat_repository::{BackupOptions, BlobKind, NodeKind, RepositoryError, backup};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{Aspect, Sample, capture};
use lifeboat_tiers::LocalTier;

use crate::support::{
    PASSWORD, ResticRepository, directory, file, index, memory, node, open, restore_all, save_pack,
    save_raw_tree, save_tree, snapshot_of,
};

/// Chunks of restic do not end where holes do, so part of a hole may come back as zeros.
const NOT_HOLES: [Aspect; 1] = [Aspect::Holes];

fn failed_paths(report: &RestoreReport) -> Vec<&str> {
    report.failed.iter().map(|remark| remark.path.to_str().unwrap()).collect()
}

#[test]
fn what_restic_backed_up_comes_back_in_all_its_metadata() {
    let repository = ResticRepository::of(&Sample::everything(11));
    let before = capture(&repository.source).unwrap();
    let ours = repository.path("ours");
    let (_, snapshot) = repository.open().find_snapshot("latest").unwrap();

    let mut options = RestoreOptions::new(&ours);
    options.durable = true;
    let indexed = repository.indexed();
    let report = restore(&indexed, &snapshot, &options, &Silent, &Cancel::new()).unwrap();

    assert_eq!(report.failed, []);
    assert_eq!(report.warnings, []);
    assert_eq!(report.exit(), Exit::Done);
    let relative = repository.source.strip_prefix("/").unwrap();
    let after = capture(ours.join(relative)).unwrap();
    assert_eq!(before.differences(&after, &NOT_HOLES), []);

    let theirs = repository.path("theirs");
    repository.restic.restore("latest", &theirs).unwrap();
    let theirs = capture(theirs.join(relative)).unwrap();
    assert_eq!(theirs.differences(&after, &NOT_HOLES), []);
}

#[test]
fn the_listing_names_what_is_there() {
    let repository = ResticRepository::of(&Sample::everything(12));
    let indexed = repository.indexed();
    let (id, snapshot) = indexed.find_snapshot("latest").unwrap();
    let listing = list(&indexed, &snapshot, Path::new("/"), Depth::All).unwrap();
    let ours: Vec<_> = listing.map(|entry| entry.unwrap()).collect();
    let theirs = repository.restic.ls(&id.to_hex()).unwrap();
    assert_eq!(ours.len(), theirs.len());

    let plain = repository.source.join("plain");
    let children = list(&indexed, &snapshot, &plain, Depth::Children).unwrap();
    let names: Vec<_> = children.map(|entry| entry.unwrap().node.name).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);

    let missing = list(&indexed, &snapshot, Path::new("/no/such"), Depth::All).unwrap_err();
    assert!(matches!(missing, RepositoryError::NoSuchPath { .. }), "{missing}");
}

#[test]
fn a_part_lands_at_its_path_and_nothing_else_does() {
    let repository = ResticRepository::of(&Sample::new(13));
    let indexed = repository.indexed();
    let (_, snapshot) = indexed.find_snapshot("latest").unwrap();
    let target = repository.path("part");
    let wanted = repository.source.join("plain/3");
    let options = RestoreOptions::new(&target).subpath(&wanted);
    let report = restore(&indexed, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_complete());

    let before = capture(&wanted).unwrap();
    let after = capture(target.join(wanted.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(before.differences(&after, &NOT_HOLES), []);
    let parent = target.join(repository.source.strip_prefix("/").unwrap()).join("plain");
    assert_eq!(fs::read_dir(parent).unwrap().count(), 1);
}

#[test]
fn a_file_is_streamed_without_being_written() {
    let repository = ResticRepository::of(&Sample::everything(14));
    let indexed = repository.indexed();
    let (_, snapshot) = indexed.find_snapshot("latest").unwrap();
    for name in ["large/blob.bin", "plain/0/file-0.txt"] {
        let path = repository.source.join(name);
        let mut reader = read_file(&indexed, &snapshot, &path).unwrap();
        let mut streamed = Vec::new();
        reader.read_to_end(&mut streamed).unwrap();
        assert_eq!(reader.size(), streamed.len() as u64);
        assert!(streamed == fs::read(&path).unwrap(), "{name} differs");
    }
    let error = read_file(&indexed, &snapshot, &repository.source).unwrap_err();
    assert!(matches!(error, RepositoryError::NotAFile { .. }), "{error}");
}

#[test]
fn a_sparse_file_streams_its_zeros_and_is_restored_as_holes() {
    let repository = memory();
    let zeros = vec![0; 512 << 10];
    let pieces: [&[u8]; 5] = [b"head", &zeros, &zeros, &zeros, b"tail"];
    save_pack(&repository, BlobKind::Data, &[b"head", &zeros, b"tail"]);
    let snapshot = snapshot_of(save_tree(&repository, &[file("sparse", &pieces)]));

    let mut streamed = Vec::new();
    let mut reader = read_file(&repository, &snapshot, Path::new("/sparse")).unwrap();
    reader.read_to_end(&mut streamed).unwrap();
    assert!(streamed == pieces.concat());

    let target = tempfile::tempdir().unwrap();
    assert!(restore_all(&repository, &snapshot, target.path()).is_complete());
    let path = target.path().join("sparse");
    assert!(fs::read(&path).unwrap() == pieces.concat());
    let allocated = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(allocated < 64 << 10, "{allocated} bytes are allocated for 1.5 MiB of zeros");
}

#[test]
fn a_bad_blob_costs_only_the_files_that_need_it() {
    let repository = ResticRepository::of(&Sample::new(15).files(40));
    let indexed = repository.indexed();
    let (_, snapshot) = indexed.find_snapshot("latest").unwrap();
    let victim = repository.source.join("plain/1/file-1.txt");
    let Some(NodeKind::File { content, .. }) =
        lifeboat_repository::listing::find(&indexed, &snapshot, &victim).unwrap().map(|n| n.kind)
    else {
        panic!("file-1.txt is a file");
    };
    let at = indexed.locate(BlobKind::Data, &content[0]).unwrap();
    let hex = at.pack.to_hex();
    let pack = repository.restic.path().join("data").join(&hex[..2]).join(&hex);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[at.offset as usize + 20] ^= 1;
    fs::set_permissions(&pack, Permissions::from_mode(0o600)).unwrap();
    File::create(&pack).unwrap().write_all(&bytes).unwrap();

    let target = repository.path("target");
    let report = restore_all(&indexed, &snapshot, &target);
    assert_eq!(failed_paths(&report), [victim.to_str().unwrap()]);
    assert!(report.failed[0].what.contains(&hex), "{}", report.failed[0].what);
    assert_eq!(report.exit(), Exit::Incomplete);
    assert_eq!(report.files, 39);
    let mut streamed = Vec::new();
    let mut reader = read_file(&indexed, &snapshot, &victim).unwrap();
    let error = reader.read_to_end(&mut streamed).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_blob_that_lies_in_two_packs_is_had_from_the_other() {
    let tier = Arc::new(lifeboat_tiers::MemoryTier::new());
    let repository = crate::support::init(tier.clone(), None);
    let first = save_pack(&repository, BlobKind::Data, &[b"twice"]);
    save_pack(&repository, BlobKind::Data, &[b"other", b"twice"]);
    let snapshot = snapshot_of(save_tree(&repository, &[file("a", &[b"twice"])]));
    repository.store().delete(&first.id).unwrap();

    let target = tempfile::tempdir().unwrap();
    assert!(restore_all(&repository, &snapshot, target.path()).is_complete());
    assert_eq!(fs::read(target.path().join("a")).unwrap(), b"twice");
}

#[test]
fn a_lost_directory_is_named_and_its_neighbours_are_restored() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"kept"]);
    let lost = lifeboat_repository::blob::blob_id(b"a tree that nobody stored");
    let nodes = [directory("gone", lost), file("kept", &[b"kept"])];
    let snapshot = snapshot_of(save_tree(&repository, &nodes));
    let target = tempfile::tempdir().unwrap();
    let report = restore_all(&repository, &snapshot, target.path());
    assert_eq!(failed_paths(&report), ["/gone"]);
    assert_eq!(fs::read(target.path().join("kept")).unwrap(), b"kept");
}

#[test]
fn a_target_that_holds_something_is_refused_before_anything_is_written() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"new"]);
    let snapshot = snapshot_of(save_tree(&repository, &[file("a", &[b"new"])]));
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("a");
    File::create(&path).unwrap().write_all(b"old").unwrap();

    let mut options = RestoreOptions::new(target.path());
    let error = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap_err();
    assert!(matches!(error, RepositoryError::TargetNotEmpty { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read(&path).unwrap(), b"old");

    options.existing = Existing::Always;
    restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn directories_above_the_wanted_path_are_made_as_recorded_but_never_changed() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"new"]);
    let inner = save_tree(&repository, &[file("a", &[b"new"])]);
    let middle = save_tree(&repository, &[directory("media", inner)]);
    let snapshot = snapshot_of(save_tree(&repository, &[directory("srv", middle)]));
    let target = tempfile::tempdir().unwrap();
    let (srv, media) = (target.path().join("srv"), target.path().join("srv/media"));
    let mut options = RestoreOptions::new(target.path()).subpath("/srv/media");
    options.existing = Existing::Always;

    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.directories, 2);
    for path in [&srv, &media] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o755, 0), "{}", path.display());
    }

    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for path in [&srv, &media] {
        fs::set_permissions(path, Permissions::from_mode(0o2710)).unwrap();
        File::open(path).unwrap().set_modified(modified).unwrap();
    }
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.directories, report.files), (1, 1));
    let metadata = fs::metadata(&srv).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o2710, 1_000_000));
    // What was asked for becomes as it was.
    let metadata = fs::metadata(&media).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o755, 0));
}

#[test]
fn a_symlink_in_the_target_is_never_followed_nor_replaced_by_a_directory() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"evil"]);
    let inner = save_tree(&repository, &[file("passwd", &[b"evil"])]);
    let nodes = [directory("etc", inner), file("passwd", &[b"evil"])];
    let snapshot = snapshot_of(save_tree(&repository, &nodes));
    let outside = tempfile::tempdir().unwrap();
    let good = outside.path().join("passwd");
    File::create(&good).unwrap().write_all(b"good").unwrap();
    let target = tempfile::tempdir().unwrap();
    symlink(outside.path(), target.path().join("etc")).unwrap();
    symlink(&good, target.path().join("passwd")).unwrap();

    let mut options = RestoreOptions::new(target.path());
    options.existing = Existing::Always;
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(fs::read(&good).unwrap(), b"good");
    assert_eq!(failed_paths(&report), ["/etc", "/etc/passwd"]);
    assert!(report.failed[0].what.contains("a symbolic link stands in its place"));
    assert!(fs::symlink_metadata(target.path().join("etc")).unwrap().is_symlink());
    // A link that has the name of a file is replaced by the file.
    assert_eq!(fs::read(target.path().join("passwd")).unwrap(), b"evil");
    assert!(fs::symlink_metadata(target.path().join("passwd")).unwrap().is_file());
}

#[test]
fn a_tree_with_a_symlink_and_a_directory_of_one_name_stays_inside() {
    let outside = tempfile::tempdir().unwrap();
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"evil"]);
    let inner = save_tree(&repository, &[file("dropped", &[b"evil"])]);
    let link = node("x", NodeKind::Symlink { target: outside.path().into() });
    for nodes in [[link.clone(), directory("x", inner)], [directory("x", inner), link]] {
        let snapshot = snapshot_of(save_tree(&repository, &nodes));
        let target = tempfile::tempdir().unwrap();
        let report = restore_all(&repository, &snapshot, target.path());
        assert_eq!(report.exit(), Exit::Incomplete);
        assert!(report.failed[0].what.contains("two entries named"), "{:?}", report.failed);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn names_that_lead_out_of_the_target_cost_their_directory() {
    for name in ["..", ".", "", "a/b", "../../etc/passwd", "a\\\\x00b"] {
        let repository = memory();
        save_pack(&repository, BlobKind::Data, &[b"kept"]);
        let hostile = format!(
            r#"{{"nodes":[{{"name":"{name}","type":"dir","mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"content":null,"subtree":"{}"}}]}}"#,
            "00".repeat(32)
        );
        let inner = save_raw_tree(&repository, &hostile);
        let nodes = [directory("bad", inner), file("kept", &[b"kept"])];
        let snapshot = snapshot_of(save_tree(&repository, &nodes));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let report = restore_all(&repository, &snapshot, &target);
        assert_eq!(failed_paths(&report), ["/bad"], "{name}");
        assert_eq!(fs::read(target.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name} escaped");
        assert_eq!(fs::read_dir(target.join("bad")).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_plan_tells_what_a_restore_would_do_and_does_nothing() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"one", b"two", b"three"]);
    let inner = save_tree(&repository, &[file("b", &[b"two", b"three"])]);
    let nodes = [file("a", &[b"one"]), directory("d", inner)];
    let snapshot = snapshot_of(save_tree(&repository, &nodes));
    let (all, cancel) = (Selection::default(), Cancel::new());
    let plan = RestorePlan::new(&repository, &snapshot, Path::new("/"), all, &cancel).unwrap();
    let totals = plan.totals();
    assert_eq!((totals.files, totals.directories, totals.bytes), (2, 1, 11));
    let paths: Vec<_> = plan.paths().collect();
    assert_eq!(paths, [Path::new("/a"), Path::new("/d"), Path::new("/d/b")]);
    assert_eq!(plan.failures(), []);
}

#[test]
fn a_cancelled_restore_says_so() {
    let repository = memory();
    let snapshot = snapshot_of(save_tree(&repository, &[file("a", &[])]));
    let cancel = Cancel::new();
    cancel.cancel();
    let target = tempfile::tempdir().unwrap();
    let options = RestoreOptions::new(target.path());
    let error = restore(&repository, &snapshot, &options, &Silent, &cancel).unwrap_err();
    assert_eq!(error.exit(), Exit::Cancelled);
}

#[test]
fn directories_do_not_hand_their_acl_down() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"secret"]);
    let snapshot = snapshot_of(save_tree(&repository, &[file("a", &[b"secret"])]));
    let target = tempfile::tempdir().unwrap();
    // Version 2; owner rwx, user 4242 rwx, group, mask and others.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 4242),
        (4, 0, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(target.path(), "system.posix_acl_default", &acl, flags).unwrap();
    assert!(restore_all(&repository, &snapshot, target.path()).is_complete());
    let path = target.path().join("a");
    let acl = rustix::fs::getxattr_query(&path, "system.posix_acl_access");
    assert_eq!(acl, Err(rustix::io::Errno::NODATA));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn what_we_backed_up_comes_back_as_restic_would_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    Sample::everything(16).build(&source).unwrap();
    let restic = Restic::new(folder.path().join("repo"), PASSWORD);
    restic.init().unwrap();
    let tier = Arc::new(LocalTier::open(restic.path()).unwrap());
    let repository = index(open(tier));
    let before = capture(&source).unwrap();
    let files = FilesSource {
        paths: vec![source.clone()],
        exclude: Excludes::default(),
        one_file_system: false,
    };
    let report = backup(
        &repository,
        vec![Source::Files(files)],
        &BackupOptions::new("site"),
        &Silent,
        &Cancel::new(),
        &SystemClock,
    )
    .unwrap();

    let snapshot = repository.snapshot(&report.snapshot).unwrap();
    let ours = folder.path().join("ours");
    let restored = restore_all(&repository, &snapshot, &ours);
    assert_eq!((restored.failed, restored.warnings), (vec![], vec![]));
    let relative = source.strip_prefix("/").unwrap();
    let after = capture(ours.join(relative)).unwrap();
    assert_eq!(before.differences(&after, &NOT_HOLES), []);

    let theirs = folder.path().join("theirs");
    restic.restore(&report.snapshot.to_hex(), &theirs).unwrap();
    let theirs = capture(theirs.join(relative)).unwrap();
    assert_eq!(theirs.differences(&after, &NOT_HOLES), []);
}

#[test]
fn a_repeated_restore_replaces_what_a_killed_one_left() {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"whole"]);
    let inner = save_tree(&repository, &[file("a", &[b"whole"])]);
    let snapshot = snapshot_of(save_tree(&repository, &[directory("d", inner)]));
    let target = tempfile::tempdir().unwrap();
    fs::create_dir(target.path().join("d")).unwrap();
    File::create(target.path().join("d/a")).unwrap().set_len(5).unwrap();
    File::create(target.path().join("d/kept")).unwrap().write_all(b"kept").unwrap();
    let mut options = RestoreOptions::new(target.path());
    options.existing = Existing::Always;
    let report = restore(&repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_complete());
    assert_eq!(fs::read(target.path().join("d/a")).unwrap(), b"whole");
    assert_eq!(fs::read(target.path().join("d/kept")).unwrap(), b"kept");
}
