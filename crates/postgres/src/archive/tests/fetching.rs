//! Fetching: from whom, and what is said when there is nothing.

use super::*;
use crate::archive::get::{Answer, Source, get};
use crate::archive::object::SealedFile;
use lifeboat_model::TierName;
use lifeboat_tiers::fault::{Fault, Moment, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, MemoryTier, PutMode, Tier};

/// Two tiers, of which the first acknowledges.
struct Archive {
    opener: Opener,
    primary: Arc<FaultTier>,
    secondary: Arc<FaultTier>,
}

fn tier() -> Arc<FaultTier> {
    Arc::new(FaultTier::new(Arc::new(MemoryTier::new())))
}

impl Archive {
    async fn of(files: &[WalFile]) -> Self {
        let archive = Self { opener: opener(), primary: tier(), secondary: tier() };
        for file in files {
            archive.store(&archive.primary, file).await;
            archive.store(&archive.secondary, file).await;
        }
        archive
    }

    async fn store(&self, tier: &FaultTier, file: &WalFile) {
        let sealed = SealedFile::new(file, &self.opener.recipient());
        tier.put(&sealed.name.path(), sealed.body, PutMode::Create).await.unwrap();
    }

    async fn drop(&self, file: &WalFile) {
        let path = ArchivedFile::of(file.address(), file.bytes()).path();
        self.primary.delete(&path).await.unwrap();
        self.secondary.delete(&path).await.unwrap();
    }

    fn sources(&self) -> [Source; 2] {
        let source = |name: &str, tier: &Arc<FaultTier>, duty| Source {
            name: name.parse().unwrap(),
            tier: Ok(Arc::clone(tier) as Arc<dyn Tier>),
            duty,
        };
        [
            source("primary", &self.primary, Duty::Acknowledges),
            source("secondary", &self.secondary, Duty::Follows),
        ]
    }

    async fn ask(&self, wanted: WalAddress) -> Result<Answer, ArchiveError> {
        get(wanted, &self.sources(), &self.opener).await
    }

    async fn expect_end(&self, wanted: WalAddress) {
        let answer = self.ask(wanted).await;
        assert!(matches!(answer, Ok(Answer::End)), "{answer:?}");
    }

    async fn expect_from(&self, wanted: WalAddress, expected: &WalFile, from: &str) {
        match self.ask(wanted).await {
            Ok(Answer::Found { file, tier }) => {
                assert_eq!(
                    (file.bytes(), tier),
                    (expected.bytes(), from.parse::<TierName>().unwrap())
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

fn history_of(timeline: u32) -> WalAddress {
    of(WalFileName::History(TimelineId(timeline)))
}

#[tokio::test]
async fn a_file_comes_from_the_first_tier_that_has_it_whole() {
    let wanted = segment_file(1, 3);
    let archive = Archive::of(std::slice::from_ref(&wanted)).await;
    archive.expect_from(address(3), &wanted, "primary").await;
    for fault in [
        Fault::Flip { offset: 400 },
        Fault::Truncate { size: 300 },
        Fault::Truncate { size: 0 },
        Fault::Fail(Moment::Before),
        Fault::Denied,
    ] {
        archive.primary.add(Rule::new(Target::Only(Operation::Get), fault));
        archive.expect_from(address(3), &wanted, "secondary").await;
        archive.primary.heal();
    }
    archive.primary.add(Rule::new(Target::Only(Operation::List), Fault::Fail(Moment::Before)));
    archive.expect_from(address(3), &wanted, "secondary").await;
}

#[tokio::test]
async fn what_is_there_and_cannot_be_had_is_never_the_end() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    for fault in [Fault::Flip { offset: 400 }, Fault::Fail(Moment::Before), Fault::Denied] {
        for tier in [&archive.primary, &archive.secondary] {
            tier.add(Rule::new(Target::Only(Operation::Get), fault));
        }
        let error = archive.ask(address(3)).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Unproven { .. }), "{error}");
        assert!(error.to_string().contains("primary") && error.to_string().contains("secondary"));
        archive.primary.heal();
        archive.secondary.heal();
    }
}

#[tokio::test]
async fn the_end_is_told_only_after_a_listing_of_who_acknowledges() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    archive.expect_end(address(4)).await;
    archive.expect_end(history_of(2)).await;
    let list = Rule::new(Target::Only(Operation::List), Fault::Fail(Moment::Before));
    archive.secondary.add(list.clone());
    archive.expect_end(address(4)).await;
    archive.expect_end(history_of(2)).await;
    archive.secondary.heal();
    archive.primary.add(list.clone());
    for wanted in [address(4), history_of(2)] {
        let error = archive.ask(wanted).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Unproven { .. }), "{error}");
    }
    // Also where only the second look fails.
    archive.primary.heal();
    archive.primary.add(list.from_nth(2));
    for wanted in [address(4), history_of(2)] {
        let error = archive.ask(wanted).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Unproven { .. }), "{error}");
        archive.primary.heal();
        archive
            .primary
            .add(Rule::new(Target::Only(Operation::List), Fault::Fail(Moment::Before)).from_nth(2));
    }
}

#[tokio::test]
async fn a_tier_that_was_never_reached_proves_nothing() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    let mut sources = archive.sources();
    sources[0].tier = Err("its disk is not mounted".to_owned());
    let error = get(address(4), &sources, &archive.opener).await.unwrap_err();
    assert!(error.to_string().contains("its disk is not mounted"), "{error}");
    sources[1].duty = Duty::Acknowledges;
    assert!(matches!(get(address(4), &sources, &archive.opener).await, Ok(Answer::End)));
}

#[tokio::test]
async fn an_archive_without_the_cluster_is_no_end() {
    let archive = Archive::of(&[]).await;
    let error = archive.ask(address(3)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoArchive { .. }), "{error}");
    archive.expect_end(history_of(2)).await;
    let other = WalAddress { system: SystemId(8), ..address(4) };
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    assert!(matches!(archive.ask(other).await, Err(ArchiveError::NoArchive { .. })));
}

#[tokio::test]
async fn a_hole_is_told_from_the_end() {
    let archive = Archive::of(&[segment_file(1, 3), segment_file(1, 5)]).await;
    let error = archive.ask(address(4)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Hole { .. }), "{error}");
    archive.expect_end(address(6)).await;
}

#[tokio::test]
async fn what_only_another_tier_has_shows_a_hole_too() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    archive.store(&archive.secondary, &segment_file(1, 5)).await;
    let error = archive.ask(address(4)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Hole { tier, .. } if tier.as_str() == "secondary"));
}

/// Timeline 2 leaves 1 in segment 5; timeline 3 leaves 2 at the border of 7.
fn family() -> Vec<WalFile> {
    let mut files: Vec<_> = (3..=5).map(|number| segment_file(1, number)).collect();
    files.extend((5..=6).map(|number| segment_file(2, number)));
    files.extend((7..=9).map(|number| segment_file(3, number)));
    files.push(history(2, "1\t0/558000\tno recovery target specified\n"));
    files.push(history(3, "1\t0/558000\tnone\n2\t0/700000\tnone\n"));
    files
}

#[tokio::test]
async fn a_timeline_ends_where_it_was_left() {
    let archive = Archive::of(&family()).await;
    // Behind the switch; in its segment, once it is gone; and on a timeline that was left at a border.
    archive.expect_end(address_on(1, 6)).await;
    archive.drop(&segment_file(1, 5)).await;
    archive.expect_end(address_on(1, 5)).await;
    archive.expect_end(address_on(2, 7)).await;
    archive.expect_end(address_on(3, 10)).await;
}

#[tokio::test]
async fn a_hole_before_a_switch_is_shown_by_the_timeline_behind_it() {
    let archive = Archive::of(&family()).await;
    for (lost, wanted) in [((1, 4), (1, 4)), ((2, 6), (2, 6))] {
        let lost = segment_file(lost.0, lost.1);
        archive.drop(&lost).await;
        // Nothing of the same timeline follows.
        archive.drop(&segment_file(1, 5)).await;
        let error = archive.ask(address_on(wanted.0, wanted.1)).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Hole { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_history_alone_shows_how_far_its_past_went() {
    let second = history(2, "1\t0/558000\tnone\n");
    let archive = Archive::of(&[segment_file(1, 3), second]).await;
    let error = archive.ask(address(4)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Hole { later: WalFileName::History(_), .. }), "{error}");
}

#[tokio::test]
async fn a_timeline_that_was_given_up_before_shows_no_hole() {
    // 2 left 1 at 4, then 1 went on to 6 on another server's past: the end of 1 is after 6.
    let second = history(2, "1\t0/418000\tnone\n");
    let mut files: Vec<_> = (3..=6).map(|number| segment_file(1, number)).collect();
    files.extend((4..=9).map(|number| segment_file(2, number)));
    files.push(second);
    let archive = Archive::of(&files).await;
    archive.expect_end(address(7)).await;
}

#[tokio::test]
async fn without_its_history_a_timeline_proves_nothing() {
    let archive = Archive::of(&[segment_file(1, 3), segment_file(2, 4), segment_file(2, 5)]).await;
    let error = archive.ask(address(4)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoHistory { timeline: TimelineId(2) }), "{error}");
    let error = archive.ask(history_of(2)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoHistory { timeline: TimelineId(2) }), "{error}");
    // It ends before what is asked for, wherever it comes from.
    archive.expect_end(address(6)).await;
    archive.expect_end(history_of(3)).await;
}

#[tokio::test]
async fn a_partial_segment_is_given_when_nothing_else_is_there() {
    let partial = file(of(WalFileName::Partial(name(1, 4))), segment(4));
    let second = history(2, "1\t0/418000\tnone\n");
    let archive = Archive::of(&[segment_file(1, 3), partial.clone(), second]).await;
    archive.expect_from(address(4), &partial, "primary").await;
    let whole = file(address(4), segment_with(4, 77));
    archive.store(&archive.secondary, &whole).await;
    archive.expect_from(address(4), &whole, "secondary").await;
    // Where the timeline itself goes on, a part of a segment is a hole.
    let archive = Archive::of(&[segment_file(1, 3), partial, segment_file(1, 5)]).await;
    assert!(matches!(archive.ask(address(4)).await, Err(ArchiveError::Hole { .. })));
}

#[tokio::test]
async fn two_files_of_one_name_are_a_split_brain() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    archive.store(&archive.primary, &file(address(3), segment_with(3, 77))).await;
    let error = archive.ask(address(3)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::SplitBrain { .. }), "{error}");
}

#[tokio::test]
async fn another_key_opens_nothing_and_is_not_the_end() {
    let archive = Archive::of(&[segment_file(1, 3)]).await;
    let error = get(address(3), &archive.sources(), &opener()).await.unwrap_err();
    assert!(error.to_string().contains("another recovery key"), "{error}");
}
