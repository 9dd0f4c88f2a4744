//! What copies' ways up and down come to.

use std::collections::BTreeSet;

use lifeboat_model::Outcome::{CouldNotVerify, Failed, Passed};

use super::*;
use crate::catalog::body::{
    AssetBackedUp, AssetTested, JobStarted, NegativeControl, Restored, RetentionDecided,
    SnapshotsMissing, TestedCheck, TierSnapshot,
};

/// Within how many seconds all data is read once.
const CYCLE_S: u64 = 100;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(number: u128) -> JobId {
    JobId::from_uuid(uuid::Uuid::from_u128(number))
}

fn near() -> TierName {
    "near".parse().unwrap()
}

const SNAPSHOT: SnapshotId = SnapshotId::from_bytes([1; 32]);

fn stored(number: u128) -> Body {
    Body::AssetBackedUp(AssetBackedUp {
        size_bytes: None,
        job: job(number),
        asset: "media".parse().unwrap(),
        schedule: None,
        captured: None,
        snapshots: vec![TierSnapshot { tier: near(), snapshot: SNAPSHOT }],
        revision: None,
        base: None,
        bytes_read: 0,
        bytes_stored: 0,
        skipped: Vec::new(),
        stages: Vec::new(),
    })
}

fn began(number: u128) -> Body {
    let command = "verify".to_owned();
    Body::JobStarted(JobStarted { job: job(number), command, assets: Vec::new() })
}

/// How much of a tier's data is read.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Nothing,
    Share,
    All,
}

fn verified(number: u128, outcome: Outcome, reads: Reads, began: i64) -> Body {
    Body::TierVerified(TierVerified {
        job: job(number),
        tier: near(),
        outcome,
        packs_read: 0,
        bytes_read: 0,
        all_data: reads == Reads::All,
        read_until: (reads != Reads::Nothing).then(|| at(began)),
        findings: vec!["a pack is missing".to_owned()],
        damaged_packs: BTreeSet::new(),
    })
}

fn check(name: &str, outcome: Outcome) -> CheckResult {
    let message = format!("{name} said so");
    let (name, findings) = (name.to_owned(), Vec::new());
    CheckResult { name, outcome, message, findings, findings_more: 0, duration_ms: 1 }
}

fn recovered(checks: &[(&str, Outcome)]) -> Body {
    let checks: Vec<_> = checks.iter().map(|(name, outcome)| check(name, *outcome)).collect();
    Body::RestoreVerified(RestoreVerified {
        job: job(9),
        asset: "media".parse().unwrap(),
        tier: near(),
        snapshot: SNAPSHOT,
        at: "latest".to_owned(),
        replayed: None,
        isolation: None,
        outcome: checks.iter().map(|check| check.outcome).max().unwrap_or(CouldNotVerify),
        trouble: None,
        checks,
        restored_ms: None,
        replayed_ms: None,
        duration_ms: 1,
    })
}

fn tested(restored: Outcome, checks: &[Outcome], control: Option<Outcome>) -> Body {
    let asset: AssetName = "media".parse().unwrap();
    let shown = |outcome: &Outcome| TestedCheck {
        result: check("check users", *outcome),
        assets: BTreeSet::from([asset.clone()]),
    };
    Body::RestoreTested(RestoreTested {
        job: job(8),
        test: "weekly".parse().unwrap(),
        on: None,
        seed: 7,
        at: "latest".to_owned(),
        moment: None,
        outcome: restored,
        trouble: None,
        assets: vec![AssetTested {
            asset: asset.clone(),
            tier: Some(near()),
            snapshot: Some(SNAPSHOT),
            time: None,
            isolation: None,
            outcome: restored,
            message: "3 files".to_owned(),
            dump: None,
            duration_ms: 1,
        }],
        checks: checks.iter().map(shown).collect(),
        services: None,
        control: control.map(|outcome| NegativeControl {
            asset: asset.clone(),
            damage: "its files were removed".to_owned(),
            outcome,
            message: "nothing noticed it".to_owned(),
        }),
        phases_ms: BTreeMap::new(),
        own_ms: 1,
        started: at(0),
        duration_ms: 1,
    })
}

/// A rung, since when it holds, and what is doubted.
type Stands = (Rung, i64, Option<(Rung, Outcome)>);

/// Where the copy stands after these events: its rung, since when, and what is doubted.
fn after(events: &[(i64, Body)]) -> Option<Stands> {
    let events = events.iter().map(|(second, body)| (at(*second), body));
    let ladder = Ladder::of(events, &|_| Duration::from_secs(CYCLE_S));
    let height = ladder.rung(&near(), SNAPSHOT)?;
    let doubt = height.doubt.map(|doubt| (doubt.rung, doubt.outcome));
    Some((height.rung, height.since.as_second(), doubt))
}

#[test]
fn a_copy_goes_up_rung_by_rung() {
    let mut events = vec![(0, stored(1))];
    assert_eq!(after(&events), Some((Rung::Present, 0, None)));
    events.push((10, verified(1, Passed, Reads::Nothing, 9)));
    assert_eq!(after(&events), Some((Rung::Structure, 10, None)));
    events.extend([(20, began(2)), (30, verified(2, Passed, Reads::All, 20))]);
    assert_eq!(after(&events), Some((Rung::Data, 30, None)));
    events.push((40, recovered(&[("files", Passed), ("recovery", Passed)])));
    assert_eq!(after(&events), Some((Rung::Restored, 40, None)));
    events.push((50, tested(Passed, &[Passed], Some(Passed))));
    assert_eq!(after(&events), Some((Rung::Proven, 50, None)));
    // What holds is shown again and held all along.
    events.push((60, tested(Passed, &[Passed], None)));
    assert_eq!(after(&events), Some((Rung::Proven, 50, None)));
}

#[test]
fn a_verification_says_nothing_of_what_came_after_it_began() {
    let events = [(0, began(2)), (5, stored(1)), (10, verified(2, Passed, Reads::All, 0))];
    assert_eq!(after(&events), Some((Rung::Present, 5, None)));
}

#[test]
fn shares_add_up_to_all_data_in_one_cycle() {
    let share = |second: i64| (second, verified(2, Passed, Reads::Share, second));
    let mut events = vec![(0, began(2)), share(0), (10, stored(1)), share(60)];
    assert_eq!(after(&events), Some((Rung::Structure, 60, None)));
    events.push(share(109));
    assert_eq!(after(&events), Some((Rung::Structure, 60, None)), "not all fell due since");
    events.push(share(110));
    assert_eq!(after(&events), Some((Rung::Data, 110, None)));
}

#[test]
fn a_failure_knocks_down_and_only_what_disproves_it_lifts_again() {
    let proven = [(0, stored(1)), (10, tested(Passed, &[Passed], None)), (11, began(2))];
    let with = |more: &[(i64, Body)]| after(&[&proven[..], more].concat());
    let failed = verified(2, Failed, Reads::Share, 20);
    let doubt = Some((Rung::Structure, Failed));
    assert_eq!(with(&[(20, failed.clone())]), Some((Rung::Present, 0, doubt)));
    let share = (30, verified(2, Passed, Reads::Share, 30));
    assert_eq!(with(&[(20, failed.clone()), share]), Some((Rung::Present, 0, doubt)));
    let all = (30, verified(2, Passed, Reads::All, 30));
    assert_eq!(with(&[(20, failed.clone()), all]), Some((Rung::Data, 30, None)));
    let again = (30, tested(Passed, &[Passed], None));
    assert_eq!(with(&[(20, failed), again]), Some((Rung::Proven, 30, None)));
    for (test, expected) in [
        (tested(Passed, &[Passed, Failed], None), (Rung::Restored, 10, Rung::Proven)),
        (tested(Passed, &[Passed], Some(Failed)), (Rung::Restored, 10, Rung::Proven)),
        (tested(Failed, &[], None), (Rung::Data, 10, Rung::Restored)),
        (recovered(&[("files", Failed)]), (Rung::Data, 10, Rung::Restored)),
        (recovered(&[("files", Passed), ("rows", Failed)]), (Rung::Restored, 10, Rung::Proven)),
    ] {
        let (rung, since, doubted) = expected;
        assert_eq!(with(&[(20, test)]), Some((rung, since, Some((doubted, Failed)))));
    }
}

#[test]
fn what_could_not_be_verified_takes_nothing_away_and_is_told() {
    let proven = [(0, stored(1)), (10, tested(Passed, &[Passed], None))];
    let with = |more: &[(i64, Body)]| after(&[&proven[..], more].concat());
    let doubt = |rung| Some((Rung::Proven, 10, Some((rung, CouldNotVerify))));
    let unread = verified(2, CouldNotVerify, Reads::Nothing, 20);
    assert_eq!(with(&[(20, unread)]), doubt(Rung::Structure));
    assert_eq!(with(&[(20, tested(CouldNotVerify, &[], None))]), doubt(Rung::Restored));
    let unasked = tested(Passed, &[Passed, CouldNotVerify], None);
    assert_eq!(with(&[(20, unasked.clone())]), doubt(Rung::Proven));
    let again = (30, tested(Passed, &[Passed], None));
    assert_eq!(with(&[(20, unasked), again]), Some((Rung::Proven, 10, None)));
    // It does not hide that something failed.
    let failed = Some((Rung::Restored, 10, Some((Rung::Proven, Failed))));
    let then = [(20, tested(Passed, &[Failed], None)), (30, tested(CouldNotVerify, &[], None))];
    assert_eq!(with(&then), failed);
}

#[test]
fn without_a_question_of_the_plan_nothing_is_proven() {
    let restored = Some((Rung::Restored, 10, None));
    assert_eq!(after(&[(0, stored(1)), (10, tested(Passed, &[], None))]), restored);
    let own = recovered(&[("files", Passed), ("rows", Passed)]);
    assert_eq!(after(&[(0, stored(1)), (10, own)]), restored);
    let asked = recovered(&[("files", Passed), ("check users", Passed)]);
    assert_eq!(after(&[(0, stored(1)), (10, asked)]), Some((Rung::Proven, 10, None)));
}

#[test]
fn what_is_gone_stands_nowhere() {
    let missing =
        Body::SnapshotsMissing(SnapshotsMissing { tier: near(), snapshots: vec![SNAPSHOT] });
    let decided = Body::RetentionDecided(RetentionDecided {
        job: job(3),
        tier: near(),
        snapshots: vec![SNAPSHOT],
    });
    for gone in [missing, decided] {
        assert_eq!(after(&[(0, stored(1)), (10, gone)]), None);
    }
    assert_eq!(after(&[]), None);
}

#[test]
fn only_a_restore_in_place_is_known_to_be_of_all() {
    for (in_place, rung) in [(true, Rung::Restored), (false, Rung::Present)] {
        let restored = Body::Restored(Restored {
            job: job(4),
            asset: "media".parse().unwrap(),
            tier: near(),
            snapshot: SNAPSHOT,
            target: "/srv/media".to_owned(),
            in_place,
            ending: Ending::Succeeded,
            duration_ms: 1,
        });
        assert_eq!(after(&[(0, stored(1)), (10, restored)]).unwrap().0, rung);
    }
}

#[test]
fn a_point_stands_where_its_least_proven_member_does() {
    use crate::point::{Member, Role};
    let other = SnapshotId::from_bytes([2; 32]);
    let mut second = stored(1);
    if let Body::AssetBackedUp(body) = &mut second {
        body.snapshots[0].snapshot = other;
    }
    let events = [
        (0, stored(1)),
        (1, verified(1, Passed, Reads::All, 1)),
        (5, second),
        (6, tested(Passed, &[Passed], None)),
        (9, verified(1, Passed, Reads::All, 9)),
    ];
    let events = events.iter().map(|(second, body)| (at(*second), body));
    let ladder = Ladder::of(events, &|_| Duration::from_secs(CYCLE_S));
    let member = |asset: &str, snapshot| Member {
        role: Role::Media,
        capture: Capture {
            asset: asset.parse().unwrap(),
            job: None,
            time: at(0),
            ended: None,
            complete: Some(true),
            copies: BTreeMap::from([(near(), snapshot)]),
        },
        skew: jiff::SignedDuration::ZERO,
    };
    let point = Point {
        name: String::new(),
        time: at(0),
        members: vec![member("media", SNAPSHOT), member("more", other)],
        missing: Vec::new(),
        whole_on: Vec::new(),
        heights: BTreeMap::new(),
    };
    let height = ladder.point(&point, &near()).unwrap();
    assert_eq!((height.rung, height.since), (Rung::Data, at(9)), "since both hold");
    assert_eq!(ladder.point(&point, &"far".parse().unwrap()), None);
}
