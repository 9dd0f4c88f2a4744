//! Pushing onto tiers that fail, lag, tear and disagree.

use super::*;
use crate::archive::object::SealedFile;
use crate::archive::push::{Newcomer, Stored, push_sealed};
use lifeboat_model::{Cancel, Classify as _, Clock, ErrorKind, TierName};
use lifeboat_tiers::fault::{Fault, Moment, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, MemoryTier, Tier};
use std::time::Duration;

fn to(name: &str, tier: &Arc<impl Tier>, duty: Duty) -> Destination {
    let tier = Arc::clone(tier);
    Destination { name: name.parse().unwrap(), tier, duty }
}

fn faulty() -> (Arc<MemoryTier>, Arc<FaultTier>) {
    let memory = Arc::new(MemoryTier::new());
    let inner: Arc<dyn Tier> = Arc::clone(&memory) as Arc<dyn Tier>;
    (memory, Arc::new(FaultTier::new(inner)))
}

async fn push_to(
    file: &WalFile,
    to: &[Destination],
    opener: &Opener,
) -> Result<PushReport, ArchiveError> {
    push(file, to, &opener.recipient(), &*clock(), Newcomer::Taken).await
}

fn stored(report: &PushReport) -> Vec<Stored> {
    report.stored.iter().map(|(_, stored)| *stored).collect()
}

#[tokio::test]
async fn the_same_again_is_fine_and_writes_nothing() {
    let (_, tier) = faulty();
    let opener = opener();
    let all = [to("primary", &tier, Duty::Acknowledges)];
    let first = push_to(&segment_file(1, 3), &all, &opener).await.unwrap();
    let again = push_to(&segment_file(1, 3), &all, &opener).await.unwrap();
    assert_eq!((stored(&first), stored(&again)), (vec![Stored::Now], vec![Stored::Before]));
    assert_eq!(tier.writes(), 1);
}

#[tokio::test]
async fn other_bytes_under_the_same_name_are_a_split_brain() {
    let (memory, tier) = faulty();
    let opener = opener();
    for duty in [Duty::Acknowledges, Duty::Follows] {
        let other = Arc::new(MemoryTier::new());
        let all = [to("primary", &other, Duty::Acknowledges), to("secondary", &tier, duty)];
        let held = [to("secondary", &tier, Duty::Acknowledges)];
        push_to(&segment_file(1, 3), &held, &opener).await.unwrap();
        let before = memory.contents();
        let mine = file(address(3), segment_with(3, 99));
        let error = push_to(&mine, &all, &opener).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let text = error.to_string();
        let held = name::ShortDigest::of(&segment(3)).to_string();
        let offered = name::ShortDigest::of(mine.bytes()).to_string();
        assert!(
            text.contains("split brain") && text.contains(&held) && text.contains(&offered),
            "{text}"
        );
        assert!(memory.contents() == before, "what was there is as it was");
    }
}

#[tokio::test]
async fn of_two_that_store_at_once_one_learns_of_the_other() {
    // What the other stored is not listed before the own file is stored, and is afterwards.
    let (memory, tier) = faulty();
    let opener = opener();
    let all = [to("primary", &tier, Duty::Acknowledges)];
    let theirs = SealedFile::new(&file(address(3), segment_with(3, 9)), &opener.recipient());
    tier.add(Rule::new(Target::Only(Operation::List), Fault::Lag).nth(3));
    push_sealed(&theirs, &all, &*clock(), Newcomer::Taken).await.unwrap();
    let error = push_to(&segment_file(1, 3), &all, &opener).await.unwrap_err();
    assert!(matches!(error, ArchiveError::SplitBrain { .. }), "{error}");
    assert_eq!(memory.contents().len(), 2);
}

#[tokio::test]
async fn a_kill_before_or_after_the_write_is_got_over() {
    for moment in [Moment::Before, Moment::After] {
        let (memory, tier) = faulty();
        let opener = opener();
        let all = [to("primary", &tier, Duty::Acknowledges)];
        tier.add(Rule::kill_at_write(1, moment));
        let error = push_to(&segment_file(1, 3), &all, &opener).await.unwrap_err();
        assert!(matches!(error, ArchiveError::NotAcknowledged { .. }), "{error}");
        tier.heal();
        push_to(&segment_file(1, 3), &all, &opener).await.unwrap();
        assert_eq!(memory.contents().len(), 1);
    }
}

#[tokio::test]
async fn a_torn_object_is_not_taken_for_the_file() {
    for kept in [0, 1, 100, 300] {
        let (memory, tier) = faulty();
        let opener = opener();
        let all = [to("primary", &tier, Duty::Acknowledges)];
        tier.add(Rule::new(Target::Only(Operation::Put), Fault::Torn { kept }));
        push_to(&segment_file(1, 3), &all, &opener).await.unwrap_err();
        tier.heal();
        let report = push_to(&segment_file(1, 3), &all, &opener).await.unwrap();
        assert_eq!(stored(&report), [Stored::Mended], "{kept}");
        let sealed = memory.contents().into_values().next().unwrap();
        let name = ArchivedFile::of(address(3), &segment(3));
        assert!(crate::archive::object::open(&name, &sealed, &opener).is_ok());
    }
}

#[tokio::test]
async fn a_full_or_unreachable_tier_acknowledges_nothing() {
    for fault in [Fault::Full, Fault::Denied, Fault::Fail(Moment::Before)] {
        for target in [Operation::Put, Operation::List] {
            let (_, tier) = faulty();
            tier.add(Rule::new(Target::Only(target), fault));
            let good = Arc::new(MemoryTier::new());
            let all = [
                to("primary", &good, Duty::Acknowledges),
                to("secondary", &tier, Duty::Acknowledges),
            ];
            let error = push_to(&segment_file(1, 3), &all, &opener()).await.unwrap_err();
            let named: TierName = "secondary".parse().unwrap();
            assert!(
                matches!(&error, ArchiveError::NotAcknowledged { tier, .. } if *tier == named),
                "{error}"
            );
            assert!(error.hint().is_some() || !matches!(fault, Fault::Full), "{error}");
        }
    }
}

#[tokio::test]
async fn who_only_follows_may_fail_and_catches_up() {
    let (far, tier) = faulty();
    let near = Arc::new(MemoryTier::new());
    let opener = opener();
    let all = [to("primary", &near, Duty::Acknowledges), to("secondary", &tier, Duty::Follows)];
    tier.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    for number in 3..6 {
        let report = push_to(&segment_file(1, number), &all, &opener).await.unwrap();
        assert_eq!((stored(&report), report.behind.len()), (vec![Stored::Now], 1));
    }
    tier.heal();
    let named = "secondary".parse().unwrap();
    let cancel = Cancel::new();
    let caught_up = catch_up(&*near, &*tier, &named, &name::root(), &cancel).await.unwrap();
    assert_eq!(caught_up.files, 3);
    assert_eq!(far.contents(), near.contents());
    let again = catch_up(&*near, &*tier, &named, &name::root(), &cancel).await.unwrap();
    assert_eq!(again, CatchUpReport::default());
}

#[tokio::test]
async fn a_catch_up_goes_on_past_what_fails_and_says_so() {
    let (far, tier) = faulty();
    let near = Arc::new(MemoryTier::new());
    let opener = opener();
    for number in 3..8 {
        let all = [to("primary", &near, Duty::Acknowledges)];
        push_to(&segment_file(1, number), &all, &opener).await.unwrap();
    }
    tier.add(Rule::new(Target::Only(Operation::Put), Fault::Full).nth(2));
    let named = "secondary".parse().unwrap();
    let cancel = Cancel::new();
    let error = catch_up(&*near, &*tier, &named, &name::root(), &cancel).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Behind { missing: 1, .. }), "{error}");
    assert_eq!(far.contents().len(), 4);
    assert_eq!(catch_up(&*near, &*tier, &named, &name::root(), &cancel).await.unwrap().files, 1);
}

#[tokio::test]
async fn who_follows_slowly_is_not_waited_for() {
    /// Waiting never ends.
    #[derive(Debug)]
    struct Stopped;
    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn sleep(&self, _: Duration) -> lifeboat_model::clock::Sleep<'_> {
            Box::pin(std::future::pending())
        }
    }
    let inner: Arc<dyn Tier> = Arc::new(MemoryTier::new());
    let silent = Arc::new(FaultTier::new(inner).with_clock(Arc::new(Stopped)));
    silent.add(Rule::new(Target::Any, Fault::Slow(Duration::from_secs(1))));
    let near = Arc::new(MemoryTier::new());
    let all = [to("primary", &near, Duty::Acknowledges), to("secondary", &silent, Duty::Follows)];
    let report = push_to(&segment_file(1, 3), &all, &opener()).await.unwrap();
    assert_eq!(report.behind.len(), 1);
    assert!(report.behind[0].error.is_none());
}

#[tokio::test]
async fn listings_that_lag_store_twice_and_lose_nothing() {
    let (memory, tier) = faulty();
    tier.add(Rule::new(Target::Only(Operation::List), Fault::Lag));
    let opener = opener();
    let all = [to("primary", &tier, Duty::Acknowledges)];
    let sealed = SealedFile::new(&segment_file(1, 3), &opener.recipient());
    let first = push_sealed(&sealed, &all, &*clock(), Newcomer::Taken).await.unwrap();
    let again = push_sealed(&sealed, &all, &*clock(), Newcomer::Taken).await.unwrap();
    assert_eq!((stored(&first), stored(&again)), (vec![Stored::Now], vec![Stored::Before]));
    assert_eq!(memory.contents().len(), 1);
}

#[tokio::test]
async fn a_log_that_nobody_has_to_hold_is_refused() {
    let tier = Arc::new(MemoryTier::new());
    let error = push_to(&segment_file(1, 3), &[to("x", &tier, Duty::Follows)], &opener()).await;
    assert!(matches!(error, Err(ArchiveError::NoTier { .. })));
}

#[tokio::test]
async fn of_a_cluster_that_is_new_to_a_tier_it_is_asked_first() {
    let (tier, other) = (Arc::new(MemoryTier::new()), Arc::new(MemoryTier::new()));
    let opener = opener();
    let all = [to("primary", &tier, Duty::Acknowledges), to("other", &other, Duty::Follows)];
    let ask = async |number| {
        let file = segment_file(1, number);
        push(&file, &all, &opener.recipient(), &*clock(), Newcomer::Asked).await
    };
    let error = ask(3).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Newcomer { system: SYSTEM, .. }), "{error}");
    assert_eq!(tier.contents().len(), 0);
    // Once it is known nobody asks any more, in no folder.
    push_to(&segment_file(1, 3), &all, &opener).await.unwrap();
    for number in [4, 0x1005] {
        ask(number).await.unwrap();
    }
    assert_eq!(tier.contents().len(), 3);
}
