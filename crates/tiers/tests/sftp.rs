//! The SFTP tier against OpenSSH's server.
//!
//! Each test starts a server of its own, so what can share one does.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_model::{Capability, Classify as _, Clock, ErrorKind, SimClock, Timestamp};
use lifeboat_testing::line::{At, Line, Rule, Trouble, Way, Weather};
use lifeboat_testing::sshd::{self, Sshd};
use lifeboat_tiers::sftp::SftpOptions;
use lifeboat_tiers::{
    Creation, LocalTier, ObjectPath, ObjectPrefix, Patience, PutMode, ReadRange, RetryPolicy,
    RetryTier, SftpTier, Tier, TierError, conformance, durable,
};

fn environment(path: String) -> BTreeMap<String, String> {
    [("PATH".to_owned(), path)].into()
}

fn options(server: &Sshd, room: &Path) -> SftpOptions {
    let mut options = SftpOptions::new("127.0.0.1", room.display().to_string());
    options.port = Some(server.address().port());
    options.user = Some(server.user().to_owned());
    options.environment = environment(server.path());
    options
}

fn tier(server: &Sshd, room: &Path) -> SftpTier {
    SftpTier::new(options(server, room))
}

/// A tier whose `ssh` is a script.
fn scripted(folder: &Path, script: &str, room: &Path) -> SftpTier {
    let program = folder.join("ssh");
    durable::replace(&program, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut options = SftpOptions::new("scripted", room.display().to_string());
    options.environment = environment(format!("{}:{path}", folder.display()));
    SftpTier::new(options)
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

fn patterned(length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

async fn put(tier: &dyn Tier, name: &str, body: Bytes) -> Result<(), TierError> {
    tier.put(&path(name), body, PutMode::Overwrite).await
}

async fn get(tier: &dyn Tier, name: &str) -> Result<Bytes, TierError> {
    tier.get(&path(name), ReadRange::Full).await
}

async fn names(tier: &dyn Tier) -> Vec<String> {
    let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|meta| meta.path.to_string()).collect();
    names.sort();
    names
}

/// Returns the hidden files below a directory.
fn leftovers(below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(leftovers(&entry.path()));
        } else if name.starts_with('.') {
            found.push(name);
        }
    }
    found
}

#[track_caller]
fn told(error: &TierError, kind: ErrorKind, name: &str, hint: &str) {
    assert_eq!(error.kind(), kind, "{error}: {:?}", std::error::Error::source(error));
    assert!(error.to_string().contains("sftp://"), "{error}");
    assert!(error.to_string().contains(name), "{error}");
    let told = error.hint().map(|hint| hint.to_string()).unwrap_or_default();
    assert!(told.contains(hint), "{error}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept() {
    let server = Sshd::start().unwrap();
    let room = server.room().unwrap();
    let tier: Arc<dyn Tier> = Arc::new(tier(&server, &room));
    assert!(tier.capabilities().has(Capability::ConditionalPut));
    assert!(!tier.capabilities().has(Capability::ObjectLock));
    assert!(!tier.capabilities().has(Capability::PromptListing));
    conformance::all(&tier).await;
    assert_eq!(leftovers(&room), [""; 0]);

    let mut looking = options(&server, &room);
    looking.creation = Creation::LookFirst;
    let looking = SftpTier::new(looking);
    assert!(!looking.capabilities().has(Capability::ConditionalPut));
    conformance::creating_never_replaces(&looking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_there_is_what_a_local_tier_is_here() {
    let server = Sshd::start().unwrap();
    let room = server.room().unwrap();
    what_is_stored_can_be_read_there(&server, &room).await;
    what_crashed_writes_left_goes_once_it_is_old(&server, &room).await;
    what_is_no_object_is_passed_over(&server, &room).await;
    large_objects_come_in_pieces(&server, &room).await;
}

async fn what_is_stored_can_be_read_there(server: &Sshd, room: &Path) {
    for (root_mode, file, directory) in [(0o755, 0o440, 0o750), (0o700, 0o400, 0o700)] {
        fs::set_permissions(room, Permissions::from_mode(root_mode)).unwrap();
        let name = format!("of{root_mode}/a");
        put(&tier(server, room), &name, Bytes::from_static(b"body")).await.unwrap();
        let mode = |name: &str| fs::metadata(room.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(&name), mode(name.trim_end_matches("/a"))), (file, directory));
        assert_eq!(get(&LocalTier::open(room).unwrap(), &name).await.unwrap(), "body");
    }
}

async fn what_crashed_writes_left_goes_once_it_is_old(server: &Sshd, room: &Path) {
    let tier = tier(server, room);
    put(&tier, "swept/a", Bytes::new()).await.unwrap();
    let old = room.join("swept/.lifeboat-0000000000000001.tmp");
    let young = room.join("swept/.lifeboat-0000000000000002.tmp");
    for (leftover, age) in [(&old, 25), (&young, 23)] {
        let file = File::create(leftover).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - Duration::from_hours(age)).unwrap();
    }
    assert!(names(&tier).await.iter().all(|name| !name.contains("lifeboat")));
    let next = self::tier(server, room);
    put(&next, "swept/b", Bytes::new()).await.unwrap();
    assert!(!old.exists());
    assert!(young.exists());
    fs::remove_file(young).unwrap();
}

async fn what_is_no_object_is_passed_over(server: &Sshd, room: &Path) {
    let tier = tier(server, room);
    let before = names(&tier).await;
    File::create(room.join("a note.txt")).unwrap();
    std::os::unix::fs::symlink(room, room.join("loop")).unwrap();
    assert_eq!(names(&tier).await, before);
    // An object's name cannot be that of a directory as well.
    put(&tier, "name", Bytes::from_static(b"x")).await.unwrap();
    let refused = put(&tier, "name/below", Bytes::new()).await.unwrap_err();
    told(&refused, ErrorKind::Denied, "name/below", "");
    assert_eq!(get(&tier, "name").await.unwrap(), "x");
}

async fn large_objects_come_in_pieces(server: &Sshd, room: &Path) {
    let tier = tier(server, room);
    let body = patterned((9 << 20) + 7);
    put(&tier, "large", body.clone()).await.unwrap();
    assert!(get(&tier, "large").await.unwrap() == body);
    let (offset, length) = (255 << 10, 3 << 20);
    let part = tier.get(&path("large"), ReadRange::Bounded { offset, length }).await.unwrap();
    let start = usize::try_from(offset).unwrap();
    assert!(part == body.slice(start..start + usize::try_from(length).unwrap()));
    let beyond = ReadRange::Bounded { offset: 1, length: body.len() as u64 };
    let error = tier.get(&path("large"), beyond).await.unwrap_err();
    assert!(matches!(error, TierError::OutOfRange { size, .. } if size == body.len() as u64));
    // Whoever loses interest costs nobody else anything.
    for _ in 0..8 {
        let read = tokio::time::timeout(Duration::from_millis(1), get(&tier, "large"));
        drop(read.await);
        let written =
            tokio::time::timeout(Duration::from_millis(1), put(&tier, "dropped", body.clone()));
        drop(written.await);
    }
    assert!(get(&tier, "large").await.unwrap() == body);
    let listed = tier.list(&ObjectPrefix::ALL).next().await;
    assert!(matches!(listed, Some(Ok(_))));
    assert!(get(&tier, "large").await.unwrap() == body);
}

/// Each in the order in which it comes up: connecting, logging in, finding the directory, writing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_with_what_to_do() {
    let server = Sshd::start().unwrap();
    let room = server.room().unwrap();
    let put = async |tier: SftpTier| {
        put(&tier, "repo/config", Bytes::from_static(b"body")).await.unwrap_err()
    };

    let missing = put(tier(&server, &room.join("missing"))).await;
    assert!(matches!(missing, TierError::Missing { .. }), "{missing}");
    told(&missing, ErrorKind::NotFound, "missing", "would hide a loss");
    let listed = tier(&server, &room.join("missing")).list(&ObjectPrefix::ALL).next().await;
    assert!(matches!(listed, Some(Err(TierError::Missing { .. }))), "{listed:?}");
    let read = get(&tier(&server, &room.join("missing")), "a").await;
    assert!(matches!(read, Err(TierError::Missing { .. })), "{read:?}");

    // Root's tests log in as nobody, others as themselves; `/sys` takes no file of either.
    let denied = put(tier(&server, Path::new("/sys"))).await;
    told(&denied, ErrorKind::Denied, "repo/config", "owner, mode");

    server.lock_out().unwrap();
    let port = server.address().port();
    let login = put(tier(&server, &room)).await;
    told(&login, ErrorKind::Denied, "repo/config", &format!("ssh-copy-id -p {port} "));
    server.expect_another_host().unwrap();
    let changed = put(tier(&server, &room)).await;
    told(&changed, ErrorKind::Denied, "its host key is not the one that it had", "ssh-keygen -R");
    server.forget_host().unwrap();
    let unknown = put(tier(&server, &room)).await;
    told(&unknown, ErrorKind::Denied, "its host key is not known", &format!("ssh -p {port} "));

    let gone = options(&server, &room);
    drop(server);
    let gone = put(SftpTier::new(gone)).await;
    told(&gone, ErrorKind::Unavailable, "repo/config", "");
    let said = std::error::Error::source(&gone).unwrap().to_string();
    assert!(said.contains("Connection refused"), "{said}");

    let mut without = SftpOptions::new("127.0.0.1", "/srv");
    without.environment = environment("/nonexistent".to_owned());
    told(&put(SftpTier::new(without)).await, ErrorKind::Config, "repo/config", "openssh-client");
}

/// The disk is one of a megabyte, in a name space of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_cannot_be_written_is_told_from_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let room = folder.path().join("room");
    fs::create_dir(&room).unwrap();
    let (disk, server) = (room.display(), sshd::sftp_server().unwrap());
    let small = |mount: &str| {
        let server = server.display();
        format!(
            "exec unshare -rm sh -c 'mount -t tmpfs -o size=1m tmpfs {disk} && {mount} exec {server}'"
        )
    };
    let tier = scripted(folder.path(), &small(""), &room);
    put(&tier, "repo/a", patterned(1000)).await.unwrap();
    let full = put(&tier, "repo/b", patterned(2 << 20)).await.unwrap_err();
    assert!(matches!(full, TierError::Full { .. }), "{full}");
    told(&full, ErrorKind::Denied, "repo/b", "free space");
    // What was half written is gone, so what fits still fits.
    put(&tier, "repo/c", patterned(500 << 10)).await.unwrap();
    assert_eq!(names(&tier).await, ["repo/a", "repo/c"]);

    let for_reading = small(&format!("mount -o remount,ro {disk} &&"));
    let tier = scripted(folder.path(), &for_reading, &room);
    let denied = put(&tier, "a", Bytes::new()).await.unwrap_err();
    told(&denied, ErrorKind::Denied, "write a", "mount options");
}

/// The directory is there again after the connection broke, but what was mounted on it is not what it was.
#[tokio::test(flavor = "multi_thread")]
async fn another_file_system_in_the_roots_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (room, pid) = (folder.path().join("room"), folder.path().join("pid"));
    let unmounted = folder.path().join("unmounted");
    fs::create_dir(&room).unwrap();
    let (disk, server) = (room.display(), sshd::sftp_server().unwrap());
    let server = server.display();
    let script = format!(
        "echo $$ >{}\n[ -e {} ] || exec {server}\nexec unshare -rm sh -c 'mount -t tmpfs tmpfs {disk} && exec {server}'",
        pid.display(),
        unmounted.display()
    );
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
    let tier = Arc::new(scripted(folder.path(), &script, &room));
    let tier = RetryTier::new(tier, clock, RetryPolicy::default());
    put(&tier, "repo/a", Bytes::new()).await.unwrap();
    File::create(unmounted).unwrap();
    let pid = fs::read_to_string(pid).unwrap();
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().unwrap().success());
    let refused = put(&tier, "repo/b", Bytes::new()).await.unwrap_err();
    assert!(matches!(refused, TierError::Replaced { .. }), "{refused}");
}

/// A server that has nothing beyond the protocol, as `-P` makes one, says so before anything is written.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_cannot_do_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let room = folder.path().join("room");
    fs::create_dir(&room).unwrap();
    let server = sshd::sftp_server().unwrap();
    let without = |requests: &str| {
        let script = format!("exec {} -P {requests}", server.display());
        scripted(folder.path(), &script, &room)
    };
    let tier = without("hardlink,fsync,limits,statvfs,fsetstat,setstat");
    let created = tier.put(&path("a"), Bytes::new(), PutMode::Create).await.unwrap_err();
    told(&created, ErrorKind::Config, "", "conditional_put = false");
    let body = patterned(3 << 20);
    put(&tier, "a", body.clone()).await.unwrap();
    assert!(get(&tier, "a").await.unwrap() == body, "in pieces of 32 KiB");

    let tier = without("posix-rename");
    told(&put(&tier, "b", Bytes::new()).await.unwrap_err(), ErrorKind::Config, "write b", "sftp ");
    tier.put(&path("b"), Bytes::new(), PutMode::Create).await.unwrap();

    let tier = without("remove");
    told(&tier.delete(&path("a")).await.unwrap_err(), ErrorKind::Denied, "delete a", "");
    assert!(room.join("a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_or_hangs_is_made_again() {
    let server = Sshd::start().unwrap();
    let room = server.room().unwrap();
    let line = Line::to(server.address(), Weather::fair()).unwrap();
    let through = |patience| {
        let mut options = options(&server, &room);
        options.port = Some(line.address().port());
        options.patience = patience;
        SftpTier::new(options)
    };
    let body = patterned(6 << 20);
    let after = |bytes| Trouble::Cut(Way::There, At::Byte(bytes));

    line.set(Weather::fair().with(Rule::connections(after(2 << 20)).nth(1)));
    let patience = SftpOptions::new("", "").patience;
    let tier = through(patience);
    let broken = put(&tier, "repo/cut", body.clone()).await.unwrap_err();
    told(&broken, ErrorKind::Unavailable, "write repo/cut", "");
    let absent = get(&tier, "repo/cut").await.unwrap_err();
    assert!(matches!(absent, TierError::NotFound { .. }), "{absent}");
    put(&tier, "repo/cut", body.clone()).await.unwrap();
    assert!(get(&tier, "repo/cut").await.unwrap() == body);

    // All that are under way fail together, and share the next connection.
    line.set(Weather::fair().with(Rule::connections(after(9 << 20)).nth(1)));
    let before = line.carried().connections;
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
    let tier = RetryTier::new(Arc::new(through(patience)), clock, RetryPolicy::default());
    let names = ["repo/a", "repo/b", "repo/c", "repo/d"];
    let puts = names.map(|name| put(&tier, name, body.clone()));
    futures::future::try_join_all(puts).await.unwrap();
    assert!(tier.retries() > 0);
    assert_eq!(line.carried().connections - before, 2);
    for name in names {
        assert!(get(&tier, name).await.unwrap() == body, "{name}");
    }

    line.set(Weather::fair().with(Rule::connections(Trouble::Silence)));
    let silence = Duration::from_millis(300);
    let tier = through(Patience { connect: silence, silence });
    let hung = get(&tier, "repo/a").await.unwrap_err();
    told(&hung, ErrorKind::Unavailable, "read repo/a", "");
    let said = std::error::Error::source(&hung).unwrap().to_string();
    assert!(said.contains("nothing came for 0.3 seconds"), "{said}");
}
