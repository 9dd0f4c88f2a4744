//! Locks: between ours, between ours and stock restic's, and over simulated time.

use std::io::Write;
use std::num::NonZeroU64;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use lifeboat_model::clock::StillClock;
use lifeboat_model::{
    Cancel, Capabilities, Classify, Clock, Exit, LockId, SimClock, SystemClock, Timestamp,
};
use lifeboat_repository::lock::record::LockRecord;
use lifeboat_repository::lock::{
    FoundLock, LISTING_LAG_MAX, LockGuard, LockKind, LockOptions, LockOwner, REFRESH_AFTER,
    Removal, unlock,
};
use lifeboat_repository::{Indexed, Repository, RepositoryError};
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::fault::{Fault, Moment, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, LocalTier, MemoryTier, Throttle, ThrottleTier};
use lifeboat_tiers::{ObjectMeta, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};

use crate::support::{ResticRepository, index, init, memory, open};

fn sim() -> Arc<SimClock> {
    Arc::new(SimClock::new("2026-11-23T02:00:00Z".parse().unwrap()))
}

fn options(kind: LockKind, hostname: &str) -> LockOptions {
    let owner = LockOwner {
        hostname: hostname.to_owned(),
        username: "anna".to_owned(),
        pid: 4711,
        uid: 1000,
        gid: 1000,
    };
    LockOptions { kind, owner, wait: Duration::ZERO }
}

fn acquire(
    repository: &Repository<Indexed>,
    options: &LockOptions,
    clock: &Arc<SimClock>,
) -> Result<LockGuard, lifeboat_repository::RepositoryError> {
    let clock: Arc<dyn Clock> = clock.clone();
    LockGuard::acquire(repository, options, &clock, &Cancel::new())
}

fn lock_count(repository: &Repository<Indexed>) -> usize {
    repository.store().list::<LockId>().unwrap().len()
}

#[test]
fn shared_locks_stand_side_by_side_and_an_exclusive_one_alone() {
    let (repository, clock) = (memory(), sim());
    let first = acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap();
    let second = acquire(&repository, &options(LockKind::Shared, "db2"), &clock).unwrap();
    assert_eq!(lock_count(&repository), 2);

    let error = acquire(&repository, &options(LockKind::Exclusive, "db3"), &clock).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    assert_eq!(lock_count(&repository), 2, "the loser leaves nothing behind");
    drop((first, second));
    assert_eq!(lock_count(&repository), 0);

    let exclusive = acquire(&repository, &options(LockKind::Exclusive, "db3"), &clock).unwrap();
    clock.advance(Duration::from_secs(125).saturating_sub(3 * LISTING_LAG_MAX));
    let error = acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(repository.address(), "[address]"));
    insta::assert_snapshot!(error.hint().unwrap());
    drop(exclusive);
}

#[test]
fn a_guard_refreshes_its_lock_and_leaves_one_file() {
    let (repository, clock) = (memory(), sim());
    let guard = acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap();
    let first = guard.id();
    clock.advance(Duration::from_mins(4));
    guard.tick();
    assert_eq!(guard.id(), first, "it is not due yet");
    clock.advance(Duration::from_secs(61));
    guard.tick();
    assert_ne!(guard.id(), first);
    clock.advance(LISTING_LAG_MAX);
    guard.tick();
    assert_eq!(lock_count(&repository), 1);
    // Refreshed every few minutes, it is never stale for others.
    for _ in 0..20 {
        clock.advance(Duration::from_mins(6));
        guard.tick();
    }
    guard.check().unwrap();
    acquire(&repository, &options(LockKind::Shared, "db2"), &clock).unwrap_err();
}

/// A machine that falls asleep whenever somebody waits.
#[derive(Debug)]
struct Drowsy(SimClock);

impl Clock for Drowsy {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> lifeboat_model::clock::Sleep<'_> {
        self.0.sleep(duration + Duration::from_mins(40))
    }
}

// Found by the simulation; without it, the mutant `a-lock-may-go-stale-while-it-is-taken` is back.
#[test]
fn a_lock_that_went_stale_while_it_was_taken_is_not_held() {
    let repository = memory();
    let clock: Arc<dyn Clock> = Arc::new(Drowsy(SimClock::new(sim().now())));
    for kind in [LockKind::Shared, LockKind::Exclusive] {
        let taken = LockGuard::acquire(&repository, &options(kind, "db1"), &clock, &Cancel::new());
        assert!(matches!(taken, Err(RepositoryError::LockLost { minutes: 40.., .. })), "{taken:?}");
        assert_eq!(lock_count(&repository), 0, "nothing is left behind");
    }
}

// Found by the simulation: a prune removed packs of a snapshot that no listing showed yet. The mutant is
// `an-exclusive-lock-does-not-wait-for-listings`.
#[test]
fn whoever_is_alone_waits_for_listings_once_more() {
    let (repository, clock) = (memory(), sim());
    let lag = LISTING_LAG_MAX;
    let shared = (LockKind::Shared, Duration::from_millis(200), Duration::ZERO);
    for (kind, until_it_is_held, until_it_is_gone) in [shared, (LockKind::Exclusive, 3 * lag, lag)]
    {
        let before = clock.now();
        let guard = acquire(&repository, &options(kind, "db1"), &clock).unwrap();
        assert_eq!(clock.now().duration_since(before).unsigned_abs(), until_it_is_held, "{kind:?}");
        let before = clock.now();
        drop(guard);
        assert_eq!(clock.now().duration_since(before).unsigned_abs(), until_it_is_gone, "{kind:?}");
    }
}

/// A repository whose listings show what was put as late as they may.
fn lagging(clock: &Arc<SimClock>) -> Repository<Indexed> {
    let by_clock: Arc<dyn Clock> = Arc::<SimClock>::clone(clock);
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())).with_clock(by_clock));
    let repository = init(Arc::<FaultTier>::clone(&tier), None);
    tier.add(Rule::new(Target::Only(Operation::List), Fault::LagBy(LISTING_LAG_MAX)));
    clock.advance(LISTING_LAG_MAX);
    repository
}

#[test]
fn whoever_is_alone_is_seen_while_his_lock_is_refreshed() {
    let clock = sim();
    let repository = lagging(&clock);
    let guard = acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap();
    for _ in 0..3 {
        clock.advance(REFRESH_AFTER);
        guard.tick();
        let beside = acquire(&repository, &options(LockKind::Shared, "db2"), &clock).unwrap_err();
        assert_eq!(beside.exit(), Exit::Locked);
        clock.advance(LISTING_LAG_MAX);
        guard.tick();
        assert_eq!(lock_count(&repository), 1, "the file before goes once its successor is listed");
    }
    drop(guard);
    assert_eq!(lock_count(&repository), 0);
}

/// A clock by which somebody else takes a shared lock in the middle of the first wait.
#[derive(Debug)]
struct Between {
    clock: Arc<SimClock>,
    after: Duration,
    repository: Repository<Indexed>,
    beside: Mutex<Option<Result<LockGuard, RepositoryError>>>,
}

impl Clock for Between {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep(&self, duration: Duration) -> lifeboat_model::clock::Sleep<'_> {
        let until = self.now() + duration;
        let mut beside = self.beside.lock().unwrap();
        if beside.is_none() {
            self.clock.advance(self.after);
            let options = options(LockKind::Shared, "db2");
            let take = || acquire(&self.repository, &options, &self.clock);
            *beside = Some(std::thread::scope(|scope| scope.spawn(take).join().unwrap()));
        }
        self.clock.advance(until.duration_since(self.now()).try_into().unwrap_or_default());
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn whoever_begins_while_another_waits_to_be_alone_is_seen_or_gives_way() {
    for after_ms in [1, 100, 5_000, 9_799, 9_800, 9_999, 10_000, 10_001, 15_000, 19_000] {
        let (clock, after) = (sim(), Duration::from_millis(after_ms));
        let repository = lagging(&clock);
        let other = index(open(Arc::clone(repository.store().tier())));
        let between = Between { clock, after, repository: other, beside: Mutex::default() };
        let by_clock: Arc<Between> = Arc::new(between);
        let wanted = options(LockKind::Exclusive, "db1");
        let dynamic: Arc<dyn Clock> = Arc::<Between>::clone(&by_clock);
        let alone = LockGuard::acquire(&repository, &wanted, &dynamic, &Cancel::new());
        let beside = by_clock.beside.lock().unwrap().take().unwrap();
        assert_ne!(alone.is_ok(), beside.is_ok(), "{after_ms} ms: one of them has his");
        *by_clock.beside.lock().unwrap() = Some(beside);
    }
}

#[test]
fn what_a_killed_exclusive_holder_did_is_listed_before_anybody_works() {
    let clock = sim();
    let repository = lagging(&clock);
    let owner = LockOwner { pid: i32::MAX, ..LockOwner::this_process() };
    for (kind, waits) in
        [(LockKind::Exclusive, LISTING_LAG_MAX), (LockKind::Shared, Duration::ZERO)]
    {
        let record = LockRecord::new(kind, &owner, clock.now());
        repository.save_document::<LockId>(&serde_json::to_vec(&record).unwrap()).unwrap();
        clock.advance(LISTING_LAG_MAX);
        let before = clock.now();
        drop(acquire(&repository, &LockOptions::new(LockKind::Shared), &clock).unwrap());
        let waited = clock.now().duration_since(before).unsigned_abs();
        assert_eq!(waited, waits + Duration::from_millis(200), "{kind:?}");
    }
}

#[test]
fn work_is_cancelled_before_others_may_take_its_lock_for_stale() {
    let clock = sim();
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let repository = init(tier.clone(), None);
    let cancel = Cancel::new();
    let shared: Arc<dyn Clock> = clock.clone();
    let options = options(LockKind::Shared, "db1");
    let guard = LockGuard::acquire(&repository, &options, &shared, &cancel).unwrap();
    tier.add(Rule::new(Target::Writes, Fault::Fail(Moment::Before)));
    clock.advance(Duration::from_mins(22));
    guard.tick();
    assert!(!cancel.is_cancelled(), "a refresh that fails is tried again");
    clock.advance(Duration::from_secs(31));
    guard.tick();
    assert!(cancel.is_cancelled());
    let error = guard.check().unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(repository.address(), "[address]"));
    tier.heal();
    guard.tick();
    guard.check().unwrap_err();
}

#[test]
fn a_stale_lock_is_swept_away() {
    let (repository, clock) = (memory(), sim());
    let left_behind = LockRecord::new(
        LockKind::Exclusive,
        &options(LockKind::Exclusive, "gone").owner,
        clock.now(),
    );
    let document = serde_json::to_vec(&left_behind).unwrap();
    repository.save_document::<LockId>(&document).unwrap();
    clock.advance(Duration::from_mins(29));
    acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap_err();
    clock.advance(Duration::from_mins(2));
    let guard = acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap();
    assert_eq!(lock_count(&repository), 1);
    drop(guard);
}

#[test]
fn where_nothing_can_be_deleted_a_year_of_locks_costs_no_more_than_a_day_of_them() {
    let clock = sim();
    let stored = MemoryTier::with_clock(Arc::<SimClock>::clone(&clock));
    let tier = Arc::new(FaultTier::new(Arc::new(stored)));
    let repository = init(Arc::<FaultTier>::clone(&tier), None);
    tier.add(Rule::new(Target::Only(Operation::Delete), Fault::Denied));
    let mut asked = Vec::new();
    for _ in 0..100 {
        let before = tier.asked().len();
        drop(acquire(&repository, &options(LockKind::Shared, "gone"), &clock).unwrap());
        asked.push(tier.asked().len() - before);
        clock.advance(Duration::from_hours(12));
    }
    assert_eq!(lock_count(&repository), 100);
    assert!(asked[10..].iter().all(|count| *count == asked[10]), "{asked:?}");
    assert!(asked[10] < 20, "{asked:?}");
    assert_eq!(repository.left_locks(clock.now()).unwrap(), 100);
    // Whoever wants to be alone takes all of them away, or is refused.
    let error = acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap_err();
    assert_eq!(error.kind(), lifeboat_model::ErrorKind::Denied, "{error}");
    tier.heal();
    drop(acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap());
    assert_eq!(lock_count(&repository), 0);
}

#[test]
fn an_unreadable_lock_stands_in_the_way_and_an_empty_one_does_not() {
    let (repository, clock) = (memory(), sim());
    let id = LockId::from_bytes([3; 32]);
    repository.store().put(&id, bytes::Bytes::new()).unwrap();
    drop(acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap());

    repository.store().put(&id, bytes::Bytes::from_static(b"torn")).unwrap();
    let before = clock.now();
    let error = acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert_eq!(error.exit(), Exit::Locked);
    let waited = clock.now().duration_since(before);
    assert_eq!(waited.as_secs(), 5 + 10 + 20 + 40, "it was looked at again and again");
}

#[test]
fn who_is_asked_to_stop_waits_for_no_lock() {
    let repository = memory();
    let torn = LockId::from_bytes([3; 32]);
    repository.store().put(&torn, bytes::Bytes::from_static(b"torn")).unwrap();
    let cancel = Cancel::new();
    let clock: Arc<dyn Clock> = Arc::new(StillClock::new(sim().now(), cancel.clone()));
    let taken = LockGuard::acquire(&repository, &options(LockKind::Shared, "db1"), &clock, &cancel);
    assert_eq!(taken.unwrap_err().exit(), Exit::Cancelled);
    assert_eq!(lock_count(&repository), 1);
}

#[test]
fn waiting_ends_at_its_limit() {
    let (repository, clock) = (memory(), sim());
    let holder = acquire(&repository, &options(LockKind::Exclusive, "db1"), &clock).unwrap();
    let mut patient = options(LockKind::Shared, "db2");
    patient.wait = Duration::from_mins(2);
    let before = clock.now();
    acquire(&repository, &patient, &clock).unwrap_err();
    assert_eq!(clock.now().duration_since(before).as_secs(), 120);
    drop(holder);
}

#[test]
fn unlocking_removes_what_is_stale_and_all_only_when_told() {
    let (repository, clock) = (memory(), sim());
    let (stale, held) = (options(LockKind::Exclusive, "gone"), options(LockKind::Shared, "db1"));
    let save = |options: &LockOptions| {
        let record = LockRecord::new(options.kind, &options.owner, clock.now());
        let document = serde_json::to_vec(&record).unwrap();
        repository.save_document::<LockId>(&document).unwrap()
    };
    let stale = save(&stale);
    let dead = LockOwner { pid: i32::MAX, ..LockOwner::this_process() };
    clock.advance(Duration::from_mins(31));
    let held = save(&held);
    let dead = save(&LockOptions { kind: LockKind::Shared, owner: dead, wait: Duration::ZERO });
    let torn = LockId::from_bytes([3; 32]);
    repository.store().put(&torn, bytes::Bytes::from_static(b"torn")).unwrap();

    let sorted = |locks: Vec<FoundLock>| {
        let mut ids: Vec<LockId> = locks.into_iter().map(|lock| lock.id).collect();
        ids.sort_unstable();
        ids
    };
    let expected = |mut ids: Vec<LockId>| {
        ids.sort_unstable();
        ids
    };
    let (removed, kept) = unlock(&repository, Removal::Stale, &*clock).unwrap();
    assert_eq!(sorted(removed), expected(vec![stale, dead]));
    assert_eq!(sorted(kept), expected(vec![held, torn]));
    let (removed, kept) = unlock(&repository, Removal::All, &*clock).unwrap();
    assert_eq!((removed.len(), kept.len(), lock_count(&repository)), (2, 0, 0));
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[test]
fn our_exclusive_lock_stops_restic_and_a_shared_one_does_not() {
    let restic = ResticRepository::of(&Sample::new(1).files(3));
    let repository = restic.open();
    let options = LockOptions::new(LockKind::Exclusive);
    let guard = LockGuard::acquire(&repository, &options, &system_clock(), &Cancel::new()).unwrap();
    let error = restic.restic.backup(&restic.source).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("repository is already locked exclusively"), "{shown}");
    assert!(shown.contains(&format!("PID {}", std::process::id())), "{shown}");
    drop(guard);

    let shared = LockOptions::new(LockKind::Shared);
    let guard = LockGuard::acquire(&repository, &shared, &system_clock(), &Cancel::new()).unwrap();
    restic.restic.backup(&restic.source).unwrap();
    let error = restic.restic.run(["prune"]).unwrap_err();
    assert!(format!("{error} {error:?}").contains("already locked"), "{error:?}");
    drop(guard);
    restic.restic.run(["prune"]).unwrap();
}

#[test]
fn the_lock_of_a_running_restic_is_seen() {
    let restic = ResticRepository::of(&Sample::new(2).files(3));
    let repository = restic.open();
    // Reading from standard input, it holds its lock until the input ends.
    let mut child = restic
        .restic
        .command()
        .args(["backup", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"something to back up").unwrap();
    let mut attempts = 0;
    while repository.store().list::<LockId>().unwrap().is_empty() {
        attempts += 1;
        assert!(attempts < 1000, "restic took no lock within ten seconds");
        let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
    }
    let options = LockOptions::new(LockKind::Exclusive);
    let error =
        LockGuard::acquire(&repository, &options, &system_clock(), &Cancel::new()).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    LockGuard::acquire(&repository, &options, &system_clock(), &Cancel::new()).unwrap();
}

#[test]
fn what_we_write_restic_reads_field_by_field() {
    let restic = ResticRepository::of(&Sample::new(3).files(1));
    let repository = restic.open();
    let options = LockOptions::new(LockKind::Shared);
    let guard = LockGuard::acquire(&repository, &options, &system_clock(), &Cancel::new()).unwrap();
    let shown = restic.restic.cat(["lock", &guard.id().to_hex()]).unwrap();
    let theirs: LockRecord = serde_json::from_slice(&shown).unwrap();
    assert_eq!(theirs.hostname, options.owner.hostname);
    assert_eq!(theirs.pid, options.owner.pid);
    assert!(!theirs.exclusive);
    let age = SystemClock.now().duration_since(theirs.time);
    assert!(age.as_secs() < 60, "{age}");
    assert!(theirs.time > Timestamp::UNIX_EPOCH);
}

#[test]
fn a_lock_that_was_begun_is_certain_before_anything_is_written() {
    let (repository, clock) = (memory(), sim());
    let shared: Arc<dyn Clock> = clock.clone();
    let owner = options(LockKind::Shared, "db1").owner;
    let cancel = Cancel::new();
    let begun = clock.now();
    let guard = LockGuard::begin(&repository, owner.clone(), &shared, &cancel).unwrap();
    assert_eq!((lock_count(&repository), clock.now()), (1, begun), "nobody waits for it");
    assert_eq!(cancel.check_may_write(), Ok(()));
    assert!(clock.now() > begun, "whoever writes does");
    guard.check().unwrap();

    let error = acquire(&repository, &options(LockKind::Exclusive, "db2"), &clock).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    drop(guard);
    let exclusive = acquire(&repository, &options(LockKind::Exclusive, "db2"), &clock).unwrap();
    let error = LockGuard::begin(&repository, owner, &shared, &cancel).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    drop(exclusive);
    assert_eq!(lock_count(&repository), 0);
}

fn exclusive_lock_of(hostname: &str, now: Timestamp) -> Vec<u8> {
    let record =
        LockRecord::new(LockKind::Exclusive, &options(LockKind::Exclusive, hostname).owner, now);
    serde_json::to_vec(&record).unwrap()
}

#[test]
fn who_only_shows_what_he_reads_waits_for_nobody_and_is_told_who_came_before_him() {
    let (repository, clock) = (memory(), sim());
    let shared: Arc<dyn Clock> = clock.clone();
    let owner = options(LockKind::Shared, "db1").owner;
    let announce = || LockGuard::announce(&repository, owner.clone(), &shared, &Cancel::new());
    let began = clock.now();
    let guard = announce().unwrap();
    // One that did not see ours, as on a store whose listings lag.
    let quicker = repository.save_document::<LockId>(&exclusive_lock_of("db2", began)).unwrap();
    guard.check_at_once().unwrap();
    assert_eq!(clock.now(), began, "what was read so far was there, and nobody waits");
    clock.advance(Duration::from_millis(200));
    let error = guard.check_at_once().unwrap_err();
    assert!(error.exit() == Exit::Locked && error.to_string().contains("db2"), "{error}");
    drop(guard);
    assert_eq!(announce().unwrap_err().exit(), Exit::Locked);

    repository.store().delete(&quicker).unwrap();
    let (began, guard) = (clock.now(), announce().unwrap());
    repository.save_document::<LockId>(&exclusive_lock_of("db2", began)).unwrap();
    assert_eq!(
        guard.check().unwrap_err().exit(),
        Exit::Locked,
        "it is waited for before a failure"
    );
    assert!(clock.now() > began);
    drop(guard);
    assert_eq!(lock_count(&repository), 1, "the other's lock stays");
}

#[test]
fn where_listings_do_not_lag_a_lock_is_certain_at_once() {
    let (folder, clock) = (tempfile::tempdir_in("/dev/shm").unwrap(), sim());
    let repository = init(Arc::new(LocalTier::open(folder.path()).unwrap()), None);
    let shared: Arc<dyn Clock> = clock.clone();
    let owner = options(LockKind::Shared, "db1").owner;
    let (begun, cancel) = (clock.now(), Cancel::new());
    let guard = LockGuard::begin(&repository, owner.clone(), &shared, &cancel).unwrap();
    cancel.check_may_write().unwrap();
    let error = acquire(&repository, &options(LockKind::Exclusive, "db2"), &clock).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    drop(guard);
    drop(acquire(&repository, &options(LockKind::Exclusive, "db2"), &clock).unwrap());
    let guard = LockGuard::announce(&repository, owner, &shared, &cancel).unwrap();
    repository.save_document::<LockId>(&exclusive_lock_of("db3", begun)).unwrap();
    guard.check().unwrap();
    assert_eq!(clock.now(), begun, "nobody waited");
}

// Found by the simulation (seeds 2444 and 6681): whoever counted from before the write looked at once.
#[test]
fn a_lock_that_took_long_to_write_is_looked_at_no_sooner() {
    let clock = sim();
    let shared: Arc<dyn Clock> = clock.clone();
    // A second's worth is saved up, and used up by the first lock.
    let throttle = Throttle { write: NonZeroU64::new(100), read: None };
    let tier = ThrottleTier::new(Arc::new(MemoryTier::new()), Arc::clone(&shared), throttle);
    let repository = init(Arc::new(tier), None);
    let options = options(LockKind::Shared, "db1");
    for _ in 0..2 {
        let begun = clock.now();
        let cancel = Cancel::new();
        let owner = options.owner.clone();
        let guard = LockGuard::begin(&repository, owner, &shared, &cancel).unwrap();
        let written = clock.now();
        assert!(written.duration_since(begun).as_millis() > 200, "the write was slow");
        cancel.check_may_write().unwrap();
        assert_eq!(clock.now().duration_since(written).as_millis(), 200);
        drop(guard);
    }
}

#[test]
fn whoever_was_quicker_than_a_lock_that_was_begun_stops_its_work() {
    let (repository, clock) = (memory(), sim());
    let shared: Arc<dyn Clock> = clock.clone();
    let owner = options(LockKind::Shared, "db1").owner;
    let cancel = Cancel::new();
    let guard = LockGuard::begin(&repository, owner, &shared, &cancel).unwrap();
    // One that did not see ours, as on a store whose listings lag.
    let quicker = options(LockKind::Exclusive, "db2").owner;
    let record = LockRecord::new(LockKind::Exclusive, &quicker, clock.now());
    let document = serde_json::to_vec(&record).unwrap();
    repository.save_document::<LockId>(&document).unwrap();

    assert!(cancel.check_may_write().is_err());
    let error = guard.check().unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
    assert!(error.to_string().contains("db2"), "{error}");
    drop(guard);
    assert_eq!(lock_count(&repository), 1, "the other's lock stays");
}

/// A tier on which somebody else's lock appears together with ours, and is refreshed by its holder between a
/// listing and the reading of what it listed.
#[derive(Debug)]
struct Refreshing {
    inner: Arc<MemoryTier>,
    arrival: Mutex<Option<(ObjectPath, Bytes)>>,
    replacement: Mutex<Option<(ObjectPath, ObjectPath, Bytes)>>,
}

#[async_trait::async_trait]
impl Tier for Refreshing {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.inner.put(path, body, mode).await?;
        let arriving = self.arrival.lock().unwrap().take();
        match arriving {
            Some((path, body)) => self.inner.put(&path, body, mode).await,
            None => Ok(()),
        }
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let due = self.replacement.lock().unwrap().take_if(|(old, ..)| old == path);
        if let Some((old, new, body)) = due {
            self.inner.put(&new, body, PutMode::Create).await?;
            self.inner.delete(&old).await?;
        }
        self.inner.get(path, range).await
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        self.inner.head(path).await
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.inner.delete(path).await
    }
}

// Found by the simulation (seed 186): whoever read the old name took the lock for released.
#[test]
fn a_lock_that_is_refreshed_while_it_is_looked_at_stands_in_the_way() {
    let tier = Arc::new(Refreshing {
        inner: Arc::default(),
        arrival: Mutex::default(),
        replacement: Mutex::default(),
    });
    let (repository, clock) = (init(tier.clone(), None), sim());
    let held = options(LockKind::Exclusive, "db2").owner;
    let save = |second: i64| {
        let time = clock.now() + jiff::SignedDuration::from_secs(second);
        let record =
            serde_json::to_vec(&LockRecord::new(LockKind::Exclusive, &held, time)).unwrap();
        let id = repository.save_document::<LockId>(&record).unwrap();
        format!("locks/{}", id.to_hex()).parse::<ObjectPath>().unwrap()
    };
    let (old, new) = (save(0), save(1));
    let runtime = repository.store().runtime().clone();
    let take = |path: &ObjectPath| {
        let body = runtime.block_on(tier.inner.get(path, ReadRange::Full)).unwrap();
        runtime.block_on(tier.inner.delete(path)).unwrap();
        body
    };
    *tier.arrival.lock().unwrap() = Some((old.clone(), take(&old)));
    *tier.replacement.lock().unwrap() = Some((old, new.clone(), take(&new)));
    let error = acquire(&repository, &options(LockKind::Shared, "db1"), &clock).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked);
}
