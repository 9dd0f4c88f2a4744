//! What the catalog must survive: kills, tiers that are down, a lost view, and people who tamper.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use lifeboat_model::clock::StillClock;
use lifeboat_model::{Cancel, JobId, SimClock, Timestamp};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Rule, Target};
use lifeboat_tiers::{
    CountingTier, MemoryTier, ObjectPath, PutMode, ReadRange, Throttle, Tier, steady,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::body::{JobEnded, JobStarted, KeyConfirmed};
use super::view::Wanted;
use super::*;
use crate::ending::Ending;
use crate::state::State;

/// A host with a state directory of its own, and the tiers that it shares with others.
pub(crate) struct Host {
    _directory: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) surroundings: Surroundings,
    pub(crate) key: RecoveryKey,
    pub(crate) site: SiteName,
}

impl Host {
    pub(crate) fn new(key: &RecoveryKey, site: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let surroundings = Surroundings {
            environment: BTreeMap::new(),
            credentials_directory: None,
            state_directory: directory.path().join("state"),
            cache_directory: directory.path().join("cache"),
            hostname: "web-1".to_owned(),
            clock: Arc::new(SimClock::new(Timestamp::from_second(1_700_000_000).unwrap())),
            cancel: Cancel::new(),
            runtime: runtime.handle().clone(),
        };
        let (key, site) = (key.clone(), site.parse().unwrap());
        Self { _directory: directory, runtime, surroundings, key, site }
    }

    fn open(&self) -> Catalog {
        let lock = State::open(&self.surroundings.state_directory).unwrap().lock().unwrap();
        let keys = CatalogKeys::from(&self.key);
        Catalog::open(lock, self.site.clone(), keys, &self.surroundings).unwrap()
    }

    pub(crate) fn enrolled(&self) -> Catalog {
        let catalog = self.open();
        catalog.enrol(&self.key.root_key(), "web-1", None).unwrap();
        catalog
    }

    fn lose_view(&self) {
        let state = State::open(&self.surroundings.state_directory).unwrap();
        View::remove(&state.view_path()).unwrap();
    }
}

pub(crate) fn tier(name: &str, tier: &Arc<MemoryTier>) -> NamedTier {
    NamedTier { name: name.parse().unwrap(), tier: Arc::<MemoryTier>::clone(tier) }
}

fn started(number: u128) -> Body {
    Body::JobStarted(JobStarted {
        job: JobId::from_uuid(Uuid::from_u128(number)),
        command: "backup".to_owned(),
        assets: vec!["media".parse().unwrap()],
    })
}

fn ended(number: u128) -> Body {
    let job = JobId::from_uuid(Uuid::from_u128(number));
    Body::JobEnded(JobEnded { job, ending: Ending::Succeeded })
}

fn ids(catalog: &Catalog) -> Vec<lifeboat_model::RecordId> {
    catalog.view().all().unwrap().iter().map(Record::id).collect()
}

#[test]
fn a_view_that_is_damaged_behind_its_beginning_is_filled_from_the_tiers() {
    for by_rebuild in [false, true] {
        let host = Host::new(&RecoveryKey::generate(), "shop");
        let memory = Arc::new(MemoryTier::new());
        let tiers = [tier("primary", &memory)];
        let catalog = host.enrolled();
        for number in 0..200 {
            catalog.append(started(number), None).unwrap();
        }
        catalog.deliver(&tiers).unwrap();
        if by_rebuild {
            // One that is on no tier yet.
            catalog.append(ended(0), None).unwrap();
        }
        let all = ids(&catalog);
        drop(catalog);
        let path = State::open(&host.surroundings.state_directory).unwrap().view_path();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        let garbage = vec![0xa5; usize::try_from(length).unwrap() - 4096];
        std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 4096).unwrap();
        let catalog = host.open();
        let reader = View::open(&path).unwrap();
        if by_rebuild {
            catalog.rebuild(&tiers).unwrap();
        } else {
            catalog.catch_up(&tiers).unwrap();
        }
        assert_eq!(ids(&catalog), all, "{by_rebuild}");
        assert_eq!(reader.all().unwrap().len(), all.len(), "who had it open reads on");
        drop(reader);
        catalog.append(ended(1), None).unwrap();
        assert_eq!(View::open(&path).unwrap().all().unwrap().len(), all.len() + 1);
        catalog.deliver(&tiers).unwrap();
        assert!(catalog.verify(&tiers).unwrap().flaws.is_empty());
    }
}

#[test]
fn a_lost_view_comes_back_the_same() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let memory = Arc::new(MemoryTier::new());
    let tiers = [tier("primary", &memory)];
    let catalog = host.enrolled();
    for number in 0..5 {
        catalog.append(started(number), None).unwrap();
        if number != 3 {
            catalog.append(ended(number), None).unwrap();
        }
    }
    catalog.deliver(&tiers).unwrap();
    let (all, open) = (ids(&catalog), catalog.view().open_jobs(catalog.writer().id()).unwrap());
    let wanted = Wanted { kind: "job-started", asset: None, tier: None, good_only: false };
    let latest = catalog.view().latest(wanted, 3).unwrap();
    assert_eq!((all.len(), open.len(), latest.len()), (10, 1, 3));
    drop(catalog);
    host.lose_view();
    let catalog = host.open();
    assert!(ids(&catalog).is_empty());
    let report = catalog.rebuild(&tiers).unwrap();
    assert_eq!((report.records, report.flaws.len()), (10, 0));
    assert_eq!(ids(&catalog), all);
    assert_eq!(catalog.view().open_jobs(catalog.writer().id()).unwrap(), open);
    assert_eq!(catalog.view().latest(wanted, 3).unwrap(), latest);
    // The chain goes on where it was.
    catalog.append(ended(3), None).unwrap();
    catalog.deliver(&tiers).unwrap();
    assert!(catalog.verify(&tiers).unwrap().flaws.is_empty());
}

#[test]
fn several_that_write_at_the_same_time_write_one_chain_and_all_of_it_is_delivered() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let (first, second) = (Arc::new(MemoryTier::new()), Arc::new(MemoryTier::new()));
    let lock = State::open(&host.surroundings.state_directory).unwrap().lock().unwrap();
    let open = || {
        let keys = CatalogKeys::from(&host.key);
        Catalog::open(lock.clone(), host.site.clone(), keys, &host.surroundings).unwrap()
    };
    std::thread::scope(|scope| {
        for (worker, memory) in [(0, &first), (1, &second), (2, &first)] {
            let catalog = open();
            let (host, tiers) = (&host, [tier("own", memory)]);
            scope.spawn(move || {
                catalog.enrol(&host.key.root_key(), "web-1", None).unwrap();
                for number in 0..30 {
                    catalog.append(started(worker * 100 + number), None).unwrap();
                    if number % 7 == 0 {
                        catalog.catch_up(&tiers).unwrap();
                    }
                    catalog.deliver(&tiers).unwrap();
                }
                let known = ids(&catalog);
                let found = catalog.verify(&tiers).unwrap();
                assert!(found.records >= 30 && known.len() >= 30, "{found:?}");
            });
        }
    });
    let catalog = open();
    let records = catalog.view().all().unwrap();
    let mut sequences: Vec<_> = records.iter().map(|record| record.header().sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (0..91).collect::<Vec<u64>>(), "one chain without a fork");
    let both = [tier("primary", &first), tier("secondary", &second)];
    // Each has at least what was appended by those who deliver there, whoever emptied the outbox.
    let listed = |memory: &MemoryTier| paths(memory).len();
    assert!(listed(&first) >= 60 && listed(&second) >= 30);
    catalog.catch_up(&both).unwrap();
    let verified = catalog.verify(&both).unwrap();
    assert!(verified.flaws.is_empty(), "{verified:?}");
    assert_eq!((listed(&first), listed(&second)), (91, 91));
}

#[test]
fn a_tier_that_was_down_catches_up() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let (first, second) = (Arc::new(MemoryTier::new()), Arc::new(MemoryTier::new()));
    let down = FaultTier::new(Arc::<MemoryTier>::clone(&second));
    down.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    let name = "secondary".parse().unwrap();
    let broken = NamedTier { name, tier: Arc::new(down) };
    let catalog = host.enrolled();
    let synced = catalog.deliver(&[tier("primary", &first), broken]).unwrap();
    assert!(synced[0].error.is_none() && synced[1].error.is_some(), "{synced:?}");
    let both = [tier("primary", &first), tier("secondary", &second)];
    let report = catalog.catch_up(&both).unwrap();
    assert_eq!(report.tiers.iter().map(|t| t.put).collect::<Vec<_>>(), [0, 1]);
    assert!(catalog.verify(&both).unwrap().flaws.is_empty());
    assert!(catalog.outbox().unwrap().is_empty());
}

#[test]
fn a_tier_that_says_nothing_keeps_no_other_waiting_for_its_records() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let still = Arc::new(StillClock::new(Timestamp::UNIX_EPOCH, Cancel::new()));
    let hangs = Rule::new(Target::Any, Fault::Slow(Duration::from_mins(1)));
    let silent = FaultTier::new(Arc::new(MemoryTier::new())).with_clock(still).with(hangs);
    let clock = &host.surroundings.clock;
    let silent = steady(Arc::new(silent), clock, Throttle::default(), &Cancel::new());
    let silent = NamedTier { name: "silent".parse().unwrap(), tier: silent };
    let catalog = host.enrolled();
    let tiers = [silent, tier("primary", &Arc::new(MemoryTier::new()))];
    let report = catalog.catch_up(&tiers).unwrap();
    assert!(report.tiers[0].error.as_ref().unwrap().contains("read the catalog"), "{report:?}");
    assert_eq!(report.tiers[1].put, 1);
    assert!(report.told.iter().map(TierName::as_str).eq(["primary"]));
}

#[test]
fn what_a_tier_has_is_not_put_there_again_while_another_is_down() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let (first, second) = (Arc::new(MemoryTier::new()), Arc::new(MemoryTier::new()));
    let counting = Arc::new(CountingTier::new(first));
    let up =
        NamedTier { name: "primary".parse().unwrap(), tier: Arc::<CountingTier>::clone(&counting) };
    let down = FaultTier::new(Arc::<MemoryTier>::clone(&second));
    down.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    let down = NamedTier { name: "secondary".parse().unwrap(), tier: Arc::new(down) };
    let catalog = host.enrolled();
    let all = [up.clone(), down.clone()];
    for number in 0..5 {
        catalog.append(started(number), None).unwrap();
        let synced = catalog.deliver(&all).unwrap();
        assert!(synced[0].error.is_none() && synced[1].error.is_some(), "{synced:?}");
    }
    assert_eq!(counting.traffic().puts, 6, "each record once, the enrolment with them");
    // Another process knows it by looking.
    drop(catalog);
    let catalog = host.open();
    catalog.catch_up(&all).unwrap();
    catalog.append(started(9), None).unwrap();
    catalog.deliver(&all).unwrap();
    assert_eq!(counting.traffic().puts, 7);
    let back = [up, tier("secondary", &second)];
    catalog.deliver(&back).unwrap();
    assert_eq!(paths(&second).len(), 7, "nothing was forgotten for who was down");
    assert!(catalog.outbox().unwrap().is_empty());
    assert!(catalog.verify(&back).unwrap().flaws.is_empty());
}

/// What is known is not looked at again, and yet what comes in is held to it.
#[test]
fn a_record_that_does_not_follow_from_what_is_known_is_named_when_it_comes_in() {
    for (what, change, names) in CHANGES {
        let host = Host::new(&RecoveryKey::generate(), "shop");
        let memory = Arc::new(MemoryTier::new());
        let tiers = [tier("primary", &memory)];
        let catalog = host.enrolled();
        for number in 0..3 {
            catalog.append(started(number), None).unwrap();
        }
        catalog.deliver(&tiers).unwrap();
        assert!(catalog.catch_up(&tiers).unwrap().flaws.is_empty());
        drop(catalog);
        let record = forged(&host, change, &own_writer(&host));
        plant(&host.runtime, &memory, &host, &record);
        let report = host.open().catch_up(&tiers).unwrap();
        let flaws = &report.flaws;
        assert!(!flaws.is_empty() && flaws.iter().all(names), "{what}: {flaws:?}");
    }
}

/// Changes the next record.
type Change = fn(&mut Header);

/// Tells whether a flaw is the one that is looked for.
type IsNamed = fn(&Flaw) -> bool;

/// What somebody with the writer's key changes, and the flaw that it is.
const CHANGES: [(&str, Change, IsNamed); 3] = [
    (
        "two places further",
        |header| header.sequence += 2,
        |flaw| matches!(flaw, Flaw::Gap { first: 4, last: 5, .. }),
    ),
    (
        "one place earlier",
        |header| {
            header.sequence -= 1;
            header.time = Timestamp::UNIX_EPOCH;
        },
        |flaw| matches!(flaw, Flaw::BrokenChain { sequence: 3, .. } | Flaw::Fork { .. }),
    ),
    (
        "after nothing",
        |header| header.previous = Some(lifeboat_model::RecordId::from_bytes([7; 32])),
        |flaw| matches!(flaw, Flaw::BrokenChain { sequence: 4, .. }),
    ),
];

#[test]
fn hosts_learn_of_each_other_through_a_tier() {
    let key = RecoveryKey::generate();
    let (one, other) = (Host::new(&key, "shop"), Host::new(&key, "shop"));
    let memory = Arc::new(MemoryTier::new());
    let tiers = [tier("primary", &memory)];
    let catalog = one.enrolled();
    catalog.append(started(1), None).unwrap();
    catalog.deliver(&tiers).unwrap();
    let second = other.enrolled();
    second.catch_up(&tiers).unwrap();
    assert_eq!(second.view().all().unwrap().len(), 3);
    catalog.catch_up(&tiers).unwrap();
    assert_eq!(ids(&catalog), ids(&second));
}

/// Runs the same appends with a kill at every write to the tier, and looks at what is left.
#[test]
fn a_kill_at_any_write_leaves_one_whole_chain() {
    let work = |host: &Host, tiers: &[NamedTier]| {
        let catalog = host.open();
        catalog.catch_up(tiers).unwrap();
        catalog.enrol(&host.key.root_key(), "web-1", None).unwrap();
        for number in 0..3 {
            catalog.append(started(number), None).unwrap();
            catalog.deliver(tiers).unwrap();
        }
    };
    for moment in [Moment::Before, Moment::After] {
        for write in 1..=4 {
            let host = Host::new(&RecoveryKey::generate(), "shop");
            let memory = Arc::new(MemoryTier::new());
            let dying = FaultTier::new(Arc::<MemoryTier>::clone(&memory));
            dying.add(Rule::kill_at_write(write, moment));
            let name = "primary".parse().unwrap();
            work(&host, &[NamedTier { name, tier: Arc::new(dying) }]);
            let tiers = [tier("primary", &memory)];
            work(&host, &tiers);
            let catalog = host.open();
            let report = catalog.verify(&tiers).unwrap();
            assert!(report.flaws.is_empty(), "{write} {moment:?}: {:?}", report.flaws);
            assert_eq!(report.records, 7);
        }
    }
}

#[test]
fn without_enrolment_nothing_is_written() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let catalog = host.open();
    assert!(matches!(catalog.append(started(1), None), Err(CatalogError::NotEnrolled)));
}

#[test]
fn without_a_tier_the_view_stays() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let catalog = host.enrolled();
    assert!(matches!(catalog.rebuild(&[]), Err(CatalogError::NoTier { .. })));
    assert_eq!(catalog.view().all().unwrap().len(), 1);
}

#[test]
fn a_rebuild_keeps_what_only_the_view_has_whole() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let memory = Arc::new(MemoryTier::new());
    let tiers = [tier("primary", &memory)];
    let catalog = host.enrolled();
    catalog.append(started(1), None).unwrap();
    catalog.deliver(&tiers).unwrap();
    let all = ids(&catalog);
    let path = &paths(&memory)[1];
    let truncated = memory.contents()[path].slice(..20);
    replace(&host.runtime, &memory, path, truncated);
    let report = catalog.rebuild(&tiers).unwrap();
    assert_eq!((report.records, report.flaws.len()), (2, 1), "{:?}", report.flaws);
    assert_eq!(ids(&catalog), all);
}

/// What somebody does to the objects of a tier.
type Tampering = fn(&Runtime, &MemoryTier, &Host);

fn paths(memory: &MemoryTier) -> Vec<ObjectPath> {
    memory.contents().into_keys().collect()
}

fn replace(runtime: &Runtime, memory: &MemoryTier, path: &ObjectPath, bytes: Bytes) {
    runtime.block_on(memory.put(path, bytes, PutMode::Overwrite)).unwrap();
}

fn forged(host: &Host, change: impl FnOnce(&mut Header), writer: &Writer) -> Record {
    let catalog = host.open();
    let head = catalog.view().head(catalog.writer().id()).unwrap().unwrap();
    let mut header = head.header().clone();
    header.sequence += 1;
    header.previous = Some(head.id());
    change(&mut header);
    Record::write(header, ended(9), writer)
}

fn plant(runtime: &Runtime, memory: &MemoryTier, host: &Host, record: &Record) {
    let sealed = host.key.public_halves().recipient.seal(record.plaintext());
    replace(runtime, memory, &record.path(), sealed.into());
}

fn own_writer(host: &Host) -> Writer {
    let lock = State::open(&host.surroundings.state_directory).unwrap().lock().unwrap();
    lock.writer(Timestamp::UNIX_EPOCH).unwrap()
}

const TAMPERINGS: [(&str, Tampering); 9] = [
    ("a flipped byte", |runtime, memory, _| {
        let path = &paths(memory)[1];
        let mut bytes = memory.contents()[path].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        replace(runtime, memory, path, bytes.into());
    }),
    ("a truncated record", |runtime, memory, _| {
        let path = &paths(memory)[1];
        let bytes = memory.contents()[path].slice(..20);
        replace(runtime, memory, path, bytes);
    }),
    ("a record removed from the middle", |runtime, memory, _| {
        runtime.block_on(memory.delete(&paths(memory)[1])).unwrap();
    }),
    ("the last record removed", |runtime, memory, _| {
        runtime.block_on(memory.delete(paths(memory).last().unwrap())).unwrap();
    }),
    ("the enrolment removed", |runtime, memory, _| {
        runtime.block_on(memory.delete(&paths(memory)[0])).unwrap();
    }),
    ("two records swapped", |runtime, memory, _| {
        let (paths, contents) = (paths(memory), memory.contents());
        replace(runtime, memory, &paths[1], contents[&paths[2]].clone());
        replace(runtime, memory, &paths[2], contents[&paths[1]].clone());
    }),
    ("a record signed by somebody else", |runtime, memory, host| {
        let stranger = Writer::generate(Timestamp::UNIX_EPOCH);
        plant(runtime, memory, host, &forged(host, |_| {}, &stranger));
    }),
    ("a record of another site", |runtime, memory, host| {
        let other = |header: &mut Header| header.site = "another".parse().unwrap();
        plant(runtime, memory, host, &forged(host, other, &own_writer(host)));
    }),
    ("a second record for one place", |runtime, memory, host| {
        let same = |header: &mut Header| {
            header.sequence -= 1;
            header.previous = None;
        };
        plant(runtime, memory, host, &forged(host, same, &own_writer(host)));
    }),
];

#[test]
fn tampering_is_found_and_named() {
    let mut told = String::new();
    for (what, tamper) in TAMPERINGS {
        let host = Host::new(&RecoveryKey::generate(), "shop");
        let memory = Arc::new(MemoryTier::new());
        let tiers = [tier("primary", &memory)];
        let catalog = host.enrolled();
        for number in 0..3 {
            catalog.append(started(number), None).unwrap();
        }
        catalog.deliver(&tiers).unwrap();
        assert!(catalog.verify(&tiers).unwrap().flaws.is_empty());
        let writer = catalog.writer().id().to_string();
        drop(catalog);
        tamper(&host.runtime, &memory, &host);
        let flaws = host.open().verify(&tiers).unwrap().flaws;
        assert!(!flaws.is_empty(), "{what}");
        writeln!(told, "{what}:").unwrap();
        for flaw in flaws {
            let line = flaw.to_string().replace(&writer, "WRITER");
            let hidden = line.split('-').map(|part| {
                let hash = part.get(..16).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
                hash.map_or_else(|| part.to_owned(), |hash| part.replacen(hash, "HASH", 1))
            });
            writeln!(told, "  {}", hidden.collect::<Vec<_>>().join("-")).unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_writer_that_was_never_enrolled_counts_for_nothing() {
    let key = RecoveryKey::generate();
    let (host, stranger) = (Host::new(&key, "shop"), Host::new(&RecoveryKey::generate(), "shop"));
    let memory = Arc::new(MemoryTier::new());
    let tiers = [tier("primary", &memory)];
    let catalog = host.enrolled();
    catalog.deliver(&tiers).unwrap();
    // It holds the recipient, which is public, but another root key.
    let intruder = stranger.enrolled();
    for record in intruder.view().all().unwrap() {
        plant(&host.runtime, &memory, &host, &record);
    }
    let report = catalog.catch_up(&tiers).unwrap();
    let expected = Flaw::NotEnrolled { writer: intruder.writer().id(), records: 1 };
    assert_eq!(report.flaws, BTreeSet::from([expected]));
    assert_eq!(catalog.view().all().unwrap().len(), 1);
}

#[test]
fn stock_age_reads_a_record() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let memory = Arc::new(MemoryTier::new());
    let catalog = host.enrolled();
    let confirmed = KeyConfirmed { verifier: host.key.public_halves().verifier.to_string() };
    let record = catalog.append(Body::KeyConfirmed(confirmed), None).unwrap();
    catalog.deliver(&[tier("primary", &memory)]).unwrap();
    let sealed = host.runtime.block_on(memory.get(&record.path(), ReadRange::Full)).unwrap();
    assert_eq!(host.key.opener().open("x", &sealed).unwrap(), record.plaintext());
    let json: serde_json::Value = serde_json::from_slice(record.plaintext()).unwrap();
    assert_eq!((&json["schema"], &json["body"]["kind"]), (&1.into(), &"key-confirmed".into()));
}

fn chain(length: usize) -> (SiteName, Verifier, Vec<Record>) {
    let key = RecoveryKey::generate();
    let host = Host::new(&key, "shop");
    let catalog = host.enrolled();
    for number in 1..length {
        catalog.append(started(number as u128), None).unwrap();
    }
    (host.site.clone(), key.public_halves().verifier, catalog.view().all().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Order and repetition do not matter; a whole chain has no flaw.
    #[test]
    fn any_order_of_a_whole_chain_is_accepted(length in 1_usize..8, seed: u64) {
        let (site, verifier, records) = chain(length);
        let mut mixed = records.clone();
        mixed.extend(records.iter().cloned());
        let turn = usize::try_from(seed % mixed.len() as u64).unwrap();
        mixed.rotate_left(turn);
        if seed % 2 == 0 {
            mixed.reverse();
        }
        let audited = audit(&site, &verifier, mixed);
        prop_assert_eq!(audited.accepted, records);
        prop_assert!(audited.flaws.is_empty());
    }

    /// Whatever is missing before the last record is named; what is left is still accepted.
    #[test]
    fn any_gap_is_named(length in 3_usize..8, gap in 1_usize..6) {
        prop_assume!(gap + 1 < length);
        let (site, verifier, mut records) = chain(length);
        records.remove(gap);
        let audited = audit(&site, &verifier, records.clone());
        let place = gap as u64;
        let writer = records[0].header().writer;
        prop_assert_eq!(audited.flaws, BTreeSet::from([Flaw::Gap { writer, first: place, last: place }]));
        prop_assert_eq!(audited.accepted, records);
    }

    /// No change of a record's bytes is read as that writer's record.
    #[test]
    fn any_changed_byte_is_noticed(at: prop::sample::Index, flip in 1_u8..=255) {
        let (site, verifier, mut records) = chain(3);
        let mut bytes = records.pop().unwrap().plaintext().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(changed) = Record::read(&bytes) {
            records.push(changed);
            let audited = audit(&site, &verifier, records);
            prop_assert!(!audited.flaws.is_empty());
            prop_assert_eq!(audited.accepted.len(), 2);
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, text: String) {
        let _ = Record::read(&bytes);
        let _ = Record::read(text.as_bytes());
    }
}

#[test]
fn newer_records_are_refused_with_a_clear_word() {
    let (_, _, records) = chain(1);
    let text = String::from_utf8(records[0].plaintext().to_vec()).unwrap();
    let newer = text.replace("\"schema\":1", "\"schema\":2");
    let error = Record::read(newer.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "it has schema 2, and this version reads up to 1");
}

#[test]
fn ids_in_names_are_the_writers() {
    let (_, _, records) = chain(1);
    let name = RecordName::parse(&records[0].path()).unwrap();
    assert_eq!(name, RecordName::of(&records[0]));
    let start = format!("catalog/{}/0000000000-", name.writer);
    assert!(records[0].path().as_str().starts_with(&start));
}

fn stored(second: i64, snapshot: u8) -> Body {
    use crate::ending::{JobStage, StageOutcome};
    let time = Timestamp::from_second(second).unwrap();
    let tier: TierName = "near".parse().unwrap();
    Body::AssetBackedUp(body::AssetBackedUp {
        job: JobId::from_uuid(Uuid::from_u128(1)),
        asset: "media".parse().unwrap(),
        schedule: None,
        captured: Some(time),
        snapshots: vec![body::TierSnapshot {
            tier: tier.clone(),
            snapshot: lifeboat_model::SnapshotId::from_bytes([snapshot; 32]),
        }],
        revision: None,
        base: None,
        size_bytes: Some(7),
        bytes_read: 0,
        bytes_stored: 0,
        skipped: Vec::new(),
        stages: vec![StageOutcome {
            stage: JobStage::Store,
            tier: Some(tier),
            ending: Ending::Succeeded,
            message: None,
            hint: None,
            started: time,
            ended: time,
        }],
    })
}

/// The captures of `media` on `near`, as their snapshots' first bytes, with what was found gone.
fn captures(view: &View) -> Vec<(u8, bool)> {
    let found = view.captures(&"media".parse().unwrap(), &"near".parse().unwrap(), 9).unwrap();
    found.iter().map(|it| (it.snapshot.as_bytes()[0], it.is_gone)).collect()
}

#[test]
fn what_retention_let_go_is_not_missing_and_what_is_gone_is_told() {
    let mut host = Host::new(&RecoveryKey::generate(), "shop");
    let clock = Arc::new(SimClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
    host.surroundings.clock = Arc::<SimClock>::clone(&clock);
    let catalog = host.enrolled();
    let ids = |snapshot: u8| vec![lifeboat_model::SnapshotId::from_bytes([snapshot; 32])];
    let tier: TierName = "near".parse().unwrap();
    let let_go = body::RetentionDecided {
        job: JobId::from_uuid(Uuid::from_u128(2)),
        tier: tier.clone(),
        snapshots: ids(1),
    };
    // Decided before this host hears of the capture, as another writer's records may arrive.
    catalog.append(Body::RetentionDecided(let_go), None).unwrap();
    for (second, snapshot) in [(30, 3), (10, 1), (20, 2)] {
        catalog.append(stored(second, snapshot), None).unwrap();
    }
    assert_eq!(captures(catalog.view()), [(3, false), (2, false)], "the newest first");
    let gone = body::SnapshotsMissing { tier, snapshots: ids(3) };
    catalog.append(Body::SnapshotsMissing(gone.clone()), None).unwrap();
    assert_eq!(captures(catalog.view()), [(3, true), (2, false)]);
    // It was copied back, and went once more.
    clock.advance(std::time::Duration::from_mins(1));
    catalog.append(stored(30, 3), None).unwrap();
    assert_eq!(captures(catalog.view()), [(3, false), (2, false)]);
    clock.advance(std::time::Duration::from_mins(1));
    catalog.append(Body::SnapshotsMissing(gone), None).unwrap();
    assert_eq!(captures(catalog.view()), [(3, true), (2, false)]);
}

#[test]
fn an_earlier_views_records_stay_and_what_is_derived_is_made_anew() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let catalog = host.enrolled();
    for (second, snapshot) in [(10, 1), (20, 2)] {
        catalog.append(stored(second, snapshot), None).unwrap();
    }
    for job in [started(1), started(2), ended(1)] {
        catalog.append(job, None).unwrap();
    }
    let known = |catalog: &Catalog| {
        let open = catalog.view().open_jobs(catalog.writer().id()).unwrap();
        (ids(catalog), captures(catalog.view()), open)
    };
    let before = known(&catalog);
    assert_eq!(before.2.len(), 1);
    drop(catalog);
    let path = State::open(&host.surroundings.state_directory).unwrap().view_path();
    let first = "DROP TABLE captures; DROP TABLE let_go; DROP TABLE gone; DROP TABLE subjects;
         CREATE TABLE subjects (record TEXT); DROP TABLE jobs; PRAGMA user_version = 1;";
    for earlier in [first, "DROP TABLE jobs; PRAGMA user_version = 2;"] {
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(earlier).unwrap();
        drop(old);
        assert_eq!(known(&host.open()), before, "{earlier}");
    }
    let catalog = host.open();
    let wanted = Wanted { kind: "asset-backed-up", asset: None, tier: None, good_only: true };
    assert_eq!(catalog.view().latest(wanted, 9).unwrap().len(), 2);
}
