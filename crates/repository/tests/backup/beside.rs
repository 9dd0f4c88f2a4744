//! Work beside a running restic in one repository: locks are honoured, and broken only when stale.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    Cancel, Classify, Clock, Exit, IndexId, LockId, Silent, SimClock, SystemClock,
};
use lifeboat_repository::backup::{BackupOptions, backup};
use lifeboat_repository::lock::record::LockRecord;
use lifeboat_repository::lock::{LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::prune::{self, PruneOptions};
use lifeboat_repository::source::{Source, StreamReader, StreamSource};
use lifeboat_repository::{Open, Repository, RepositoryError};
use lifeboat_testing::tree::Sample;

use crate::resume::halting;
use crate::site::{Site, files, noise, run};

fn lock(site: &Site, kind: LockKind) -> Result<LockGuard, RepositoryError> {
    // Whoever is alone waits for listings, which nobody has to here.
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(SystemClock.now()));
    let repository = site.opened_on(site.tier());
    LockGuard::acquire(&repository, &LockOptions::new(kind), &clock, &Cancel::new())
}

fn locks(repository: &Repository<Open>) -> Vec<LockId> {
    repository.store().list().unwrap().into_iter().map(|file| file.id).collect()
}

/// Prunes as the commands do: the lock first, then the index.
fn prune(site: &Site) -> Result<(), RepositoryError> {
    let guard = lock(site, LockKind::Exclusive)?;
    let (repository, cancel) = (site.repository(), Cancel::new());
    let plan = prune::plan(&repository, PruneOptions::default(), &Silent, &cancel)?;
    plan.perform(&guard, &Silent, &cancel)?;
    guard.check()
}

/// Starts a restic that backs up what it is sent until that ends, and waits for its lock.
fn start_restic(site: &Site, content: &[u8]) -> Child {
    let mut command = site.restic().command();
    command.args(["backup", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(content).unwrap();
    let repository = site.opened_on(site.tier());
    let mut attempts = 0;
    while locks(&repository).is_empty() {
        attempts += 1;
        assert!(attempts < 1000, "restic took no lock within ten seconds");
        let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
    }
    child
}

#[test]
fn backups_run_beside_each_other_and_no_prune_beside_them() {
    let site = Site::new();
    Sample::new(61).files(20).build(site.source()).unwrap();
    let content = noise(3 << 20, 12);
    let mut theirs = start_restic(&site, &content);

    let guard = lock(&site, LockKind::Shared).unwrap();
    let ours = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
    guard.check().unwrap();
    drop(guard);
    let error = prune(&site).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    assert!(error.to_string().contains(&format!("process {}", theirs.id())), "{error}");

    drop(theirs.stdin.take());
    assert!(theirs.wait().unwrap().success());
    let restic = site.restic();
    restic.check_read_data().unwrap();
    assert_eq!(restic.snapshots().unwrap().len(), 2);
    let dumped = restic.run(["dump", "--path", "/stdin", "latest", "/stdin"]).unwrap();
    assert_eq!(dumped.stdout, content);
    prune(&site).unwrap();
    restic.check_read_data().unwrap();
    restic.restore(&ours.snapshot.to_hex(), site.path("target")).unwrap();
}

#[test]
fn restic_does_not_prune_beside_our_backup() {
    let site = Site::new();
    let (source, go_on) = halting(noise(9 << 20, 13));
    std::thread::scope(|scope| {
        let guard = lock(&site, LockKind::Shared).unwrap();
        let ours = scope.spawn(|| run(&site.repository(), vec![source]).unwrap());
        let refused = format!("{:?}", site.restic().run(["prune"]).unwrap_err());
        assert!(refused.contains("already locked"), "{refused}");
        // It backs up all the same.
        site.restic().backup(site.path("tier/repo/config")).unwrap();
        go_on.send(()).unwrap();
        ours.join().unwrap();
        guard.check().unwrap();
    });
    let restic = site.restic();
    restic.check_read_data().unwrap();
    restic.run(["prune"]).unwrap();
    restic.check_read_data().unwrap();
    assert_eq!(restic.snapshots().unwrap().len(), 2);
}

/// A stream at whose end the machine sleeps for an hour.
struct Sleepy(io::Cursor<Vec<u8>>, Arc<SimClock>);

impl Read for Sleepy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl StreamReader for Sleepy {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.1.advance(Duration::from_hours(1));
        Ok(())
    }
}

#[test]
fn work_that_wakes_without_its_lock_writes_nothing() {
    let site = Site::new();
    let clock = Arc::new(SimClock::new("2026-11-23T02:00:00Z".parse().unwrap()));
    let (shared, cancel) = (Arc::<SimClock>::clone(&clock) as Arc<dyn Clock>, Cancel::new());
    let repository = site.repository();
    let options = LockOptions::new(LockKind::Shared);
    let guard = LockGuard::acquire(&repository, &options, &shared, &cancel).unwrap();
    let stream = Sleepy(io::Cursor::new(noise(1 << 20, 15)), clock);
    let source = StreamSource::new("/lifeboat/dump", move || Ok(Box::new(stream) as _));
    let (sources, options) = (vec![Source::Stream(source)], BackupOptions::new("site"));
    let made = backup(&repository, sources, &options, &Silent, &cancel, &*shared);
    assert_eq!(made.unwrap_err().exit(), Exit::Cancelled);
    assert!(guard.check().is_err());
    assert!(repository.store().list::<IndexId>().unwrap().is_empty());
    assert!(repository.snapshot_ids().unwrap().is_empty());
}

#[test]
fn the_lock_of_a_killed_restic_is_broken_and_its_packs_are_pruned() {
    let site = Site::new();
    let mut killed = start_restic(&site, &noise(20 << 20, 14));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(locks(&site.opened_on(site.tier())).len(), 1);
    prune(&site).unwrap();
    assert_eq!(locks(&site.opened_on(site.tier())), []);
    site.restic().check_read_data().unwrap();
    site.check();
}

#[test]
fn restic_unlocks_what_a_killed_lifeboat_left() {
    let site = Site::new();
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id().cast_signed();
    gone.wait().unwrap();
    let owner = LockOwner { pid, ..LockOwner::this_process() };
    let record = LockRecord::new(LockKind::Exclusive, &owner, SystemClock.now());
    let repository = site.opened_on(site.tier());
    let left: LockId = repository.save_document(&serde_json::to_vec(&record).unwrap()).unwrap();
    site.restic().run(["unlock"]).unwrap();
    assert_eq!(locks(&repository), []);

    // It is stale for us, too.
    let again: LockId = repository.save_document(&serde_json::to_vec(&record).unwrap()).unwrap();
    let guard = lock(&site, LockKind::Exclusive).unwrap();
    assert_eq!(locks(&repository), [guard.id()]);
    assert!(guard.id() != left && guard.id() != again);
    drop(guard);
    site.restic().check_read_data().unwrap();
}
