//! Who lives where, by moves that follow each other and by moves that contradict each other.

use std::collections::BTreeMap;

use lifeboat_model::{JobId, RunId};
use lifeboat_plan::{Facts, SourceFile, load};
use uuid::Uuid;

use super::*;
use crate::catalog::body::PlaceSought;

const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
file = "/etc/lifeboat/recovery.key"
[places.main]
host = "web-1"
[places.standby]
host = "web-2"
"#;

fn plan() -> Plan {
    let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
    let checked = load(source, &BTreeMap::new(), &Facts::default(), Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|rejected| panic!("{rejected:?}")).plan
}

fn at(place: &str) -> Whereabouts {
    let host = if place == "main" { "web-1" } else { "web-2" };
    Whereabouts { place: Some(place.parse().unwrap()), host: host.to_owned() }
}

fn id(number: u8) -> RecordId {
    RecordId::from_bytes([number; 32])
}

fn after(numbers: &[u8]) -> BTreeSet<RecordId> {
    numbers.iter().copied().map(id).collect()
}

/// A move to a place; its number is its clock, too.
fn taken(number: u8, place: &str, follows: &[u8]) -> Move {
    let scenario = "loss".parse().unwrap();
    let by = Taking::Recovery { run: RunId::from_uuid(Uuid::from_u128(number.into())), scenario };
    let what = What::Taken(PlaceTaken { whereabouts: at(place), by, after: after(follows) });
    Move { record: id(number), time: Timestamp::from_second(number.into()).unwrap(), what }
}

fn left(number: u8, place: &str, follows: &[u8]) -> Move {
    let time = Timestamp::from_second(number.into()).unwrap();
    let what = What::Left(PlaceLeft {
        whereabouts: at(place),
        to: None,
        still: time,
        job: JobId::from_uuid(Uuid::from_u128(number.into())),
        login: "alice".to_owned(),
        after: after(follows),
    });
    Move { record: id(number), time, what }
}

fn known(moves: &[Move], backed_up: Option<&str>) -> Known {
    let backed_up = backed_up.map(|host| (host.to_owned(), Timestamp::UNIX_EPOCH));
    let (residence, moves) = (Residence::of(moves), moves.to_vec());
    Known { residence, moves, underway: Vec::new(), backed_up }
}

/// Which of the two places may work.
fn may_work(known: &Known) -> Vec<&'static str> {
    let plan = plan();
    let may = |place: &&str| known.expect_at(&at(place), &plan).is_ok();
    ["main", "standby"].into_iter().filter(may).collect()
}

#[test]
fn the_platform_lives_where_the_last_move_brought_it_and_nowhere_after_it_was_left() {
    let mut moves = Vec::new();
    for (next, expected) in [
        (taken(1, "main", &[]), vec!["main"]),
        (taken(2, "standby", &[1]), vec!["standby"]),
        (left(3, "standby", &[2]), vec![]),
        (taken(4, "main", &[3]), vec!["main"]),
        (left(5, "main", &[4]), vec![]),
        (taken(6, "standby", &[5]), vec!["standby"]),
    ] {
        moves.push(next);
        assert_eq!(may_work(&known(&moves, None)), expected, "after {} moves", moves.len());
        let mut turned = moves.clone();
        turned.reverse();
        assert_eq!(Residence::of(&turned), Residence::of(&moves), "in whatever order they come");
    }
}

/// A recovery that brings the platform to a place; its number is its run, too.
fn sought(number: u8, place: &str, follows: &[u8]) -> Sought {
    let (run, scenario) =
        (RunId::from_uuid(Uuid::from_u128(number.into())), "loss".parse().unwrap());
    let what = PlaceSought { whereabouts: at(place), run, scenario, after: after(follows) };
    Sought { record: id(number), time: Timestamp::from_second(number.into()).unwrap(), what }
}

/// What is known of moves and recoveries, of which those are given up whose numbers are given.
fn seeking<const M: usize, const S: usize>(
    moves: [Move; M],
    all: [Sought; S],
    forgone: &[u8],
) -> Known {
    let run = |number: &u8| RunId::from_uuid(Uuid::from_u128((*number).into()));
    let forgone = forgone.iter().map(run).collect();
    let moves = Vec::from(moves);
    let underway = sought::not_over(Vec::from(all), &forgone, &moves);
    Known { underway, ..known(&moves, None) }
}

#[test]
fn while_a_recovery_brings_it_elsewhere_nobody_works_on_the_platform_until_that_is_over() {
    let (lived, begun) = (taken(1, "main", &[]), sought(2, "standby", &[1]));
    let underway = seeking([lived.clone()], [begun.clone()], &[]);
    assert_eq!(may_work(&underway), Vec::<&str>::new(), "nor there, where it is half");
    assert_eq!(underway.ends(), after(&[1, 2]));
    let given_up = seeking([lived.clone()], [begun.clone()], &[2]);
    assert_eq!(may_work(&given_up), ["main"]);
    let mut brought = taken(2, "standby", &[1, 2]);
    brought.record = id(3);
    assert_eq!(may_work(&seeking([lived.clone(), brought], [begun.clone()], &[])), ["standby"]);
    let word = taken(3, "main", &[1, 2]);
    assert_eq!(may_work(&seeking([lived.clone(), word], [begun.clone()], &[])), ["main"]);
    // Who did not know of it does not end it.
    let unaware = taken(3, "main", &[1]);
    assert_eq!(
        may_work(&seeking([lived.clone(), unaware], [begun.clone()], &[])),
        Vec::<&str>::new()
    );
    // One that was begun in spite of it goes beyond it, also once it is over itself.
    let second = sought(4, "main", &[1, 2]);
    let both = seeking([lived.clone()], [begun.clone(), second.clone()], &[]);
    assert!(both.underway.iter().eq([&second]), "{both:?}");
    assert_eq!(may_work(&seeking([lived], [begun, second], &[4])), ["main"]);
}

#[test]
fn a_clock_that_is_wrong_moves_nothing() {
    let mut early = taken(2, "standby", &[1]);
    early.time = Timestamp::UNIX_EPOCH;
    assert_eq!(may_work(&known(&[taken(1, "main", &[]), early], None)), ["standby"]);
}

#[test]
fn of_two_moves_that_did_not_know_of_each_other_none_counts_until_a_person_says_which() {
    let mut moves = vec![taken(1, "main", &[]), taken(2, "standby", &[1]), taken(3, "main", &[1])];
    let disputed = known(&moves, None);
    assert_eq!(may_work(&disputed), Vec::<&str>::new());
    let said = disputed.expect_at(&at("main"), &plan()).unwrap_err().to_string();
    assert!(said.contains("`main` (web-1); `standby` (web-2)"), "{said}");
    assert_eq!(disputed.ends(), after(&[2, 3]));
    moves.push(taken(4, "standby", &[2, 3]));
    assert_eq!(may_work(&known(&moves, None)), ["standby"]);
}

#[test]
fn the_same_said_twice_is_no_contradiction_but_leaving_and_taking_is() {
    let twice = [taken(1, "main", &[]), taken(2, "main", &[])];
    assert_eq!(may_work(&known(&twice, None)), ["main"]);
    let both = [taken(1, "main", &[]), left(2, "main", &[1]), taken(3, "main", &[1])];
    assert_eq!(may_work(&known(&both, None)), Vec::<&str>::new());
}

#[test]
fn where_nobody_said_yet_whoever_backed_up_last_counts() {
    assert_eq!(may_work(&known(&[], None)), ["main", "standby"]);
    assert_eq!(may_work(&known(&[], Some("web-1.example.org"))), ["main"]);
    assert_eq!(may_work(&known(&[], Some("an-old-host"))), ["main", "standby"]);
}

#[test]
fn a_host_that_is_no_place_works_only_where_the_platform_was_brought_to_it() {
    let stranger = Whereabouts { place: None, host: "web-9".to_owned() };
    let refused = known(&[], None).expect_at(&stranger, &plan()).unwrap_err();
    assert!(matches!(refused, PlaceError::NoPlace { .. }), "{refused}");
    let mut there = taken(1, "main", &[]);
    let What::Taken(taken) = &mut there.what else { unreachable!("it is one") };
    taken.whereabouts = stranger.clone();
    let known = known(&[there], None);
    assert!(known.expect_at(&stranger, &plan()).is_ok());
    assert_eq!(may_work(&known), Vec::<&str>::new());
    let named = Whereabouts { place: Some("new".parse().unwrap()), ..stranger };
    assert!(known.expect_at(&named, &plan()).is_ok(), "the plan may learn its name later");
}
