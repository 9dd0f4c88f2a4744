//! Decisions over plans and holdings of any shape.

use lifeboat_model::BlobId;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn name<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

fn held(number: u8, asset: &str, seconds: i64, evidence: Evidence) -> Held {
    let tree = BlobId::from_bytes([1; 32]).to_hex();
    let document = format!(r#"{{"time":"{}","tree":"{tree}"}}"#, ago(seconds));
    Held {
        id: SnapshotId::from_bytes([number; 32]),
        snapshot: Snapshot::parse(document.as_bytes()).unwrap(),
        maker: Maker::Site { asset: name(asset), schedule: None },
        evidence,
        locked_until: None,
    }
}

fn tier(tier: &str, keep: Keep, snapshots: Vec<Held>) -> TierHeld {
    TierHeld { tier: name(tier), keep, condition: Condition::Sound, snapshots }
}

fn days(days: u64) -> Keep {
    let within = Some(name(&format!("{days}d")));
    Keep { within, ..Keep::default() }
}

fn inputs(tiers: Vec<TierHeld>) -> Inputs {
    Inputs { tiers, schedules: BTreeMap::new(), holds: Vec::new(), now: now() }
}

/// The numbers of the snapshots that go, tier by tier.
fn gone(inputs: &Inputs) -> Vec<Vec<u8>> {
    let going = |tier: &TierFate| {
        let mut numbers: Vec<u8> = tier.going().map(|held| held.id.as_bytes()[0]).collect();
        numbers.sort_unstable();
        numbers
    };
    decide(inputs).iter().map(going).collect()
}

/// One a day, the newest has the lowest number.
fn daily(count: u8) -> Vec<Held> {
    (0..count).map(|n| held(n, "media", i64::from(n) * DAY + HOUR, Evidence::Complete)).collect()
}

#[test]
fn each_tier_keeps_what_the_plan_says() {
    let near = tier("near", days(7), daily(20));
    let monthly = Keep { monthly: Some(2), ..days(10) };
    let far = tier("far", monthly, daily(40));
    let found = gone(&inputs(vec![near, far, tier("all", Keep::default(), daily(40))]));
    assert_eq!(found[0], (7..20).collect::<Vec<_>>());
    // The newest of October stays, too.
    assert_eq!(found[1], (10..40).filter(|n| *n != 30).collect::<Vec<_>>());
    assert_eq!(found[2], Vec::<u8>::new());
}

#[test]
fn what_a_schedule_made_is_kept_by_the_longer_of_both() {
    let mut snapshots = daily(30);
    for number in [9, 19, 29] {
        let schedule = Some(name("monthly"));
        snapshots[number].maker = Maker::Site { asset: name("media"), schedule };
    }
    let mut inputs = inputs(vec![tier("near", days(7), snapshots)]);
    let keep = Keep { last: Some(2), ..Keep::default() };
    inputs.schedules.insert(name("monthly"), keep);
    let expected: Vec<u8> = (7..30).filter(|number| ![9, 19].contains(number)).collect();
    assert_eq!(gone(&inputs), [expected]);
    let fate = &decide(&inputs)[0].fates[9];
    assert_eq!(fate.reasons[0].to_string(), "last snapshot of schedule monthly");
}

#[test]
fn nothing_goes_while_it_is_held_locked_damaged_or_not_ours() {
    let snapshots = || daily(10);
    assert_eq!(gone(&inputs(vec![tier("near", days(7), snapshots())])), [[7, 8, 9]]);
    let mut held = inputs(vec![tier("near", days(7), snapshots())]);
    held.holds.push("an intruder".to_owned());
    assert_eq!(gone(&held), [[0_u8; 0]]);
    let mut damaged = inputs(vec![tier("near", days(7), snapshots())]);
    damaged.tiers[0].condition = Condition::Damaged;
    assert_eq!(gone(&damaged), [[0_u8; 0]]);
    let mut locked = inputs(vec![tier("near", days(7), snapshots())]);
    locked.tiers[0].snapshots[8].locked_until = Some(ago(-1));
    locked.tiers[0].snapshots[9].locked_until = Some(ago(0));
    assert_eq!(gone(&locked), [[7, 9]], "a lock that ran out keeps nothing");
    let mut strange = inputs(vec![tier("near", days(7), snapshots())]);
    strange.tiers[0].snapshots[8].maker = Maker::Stranger;
    assert_eq!(gone(&strange), [[7, 9]]);
}

#[test]
fn the_last_verified_stays_where_no_other_tier_keeps_it() {
    let snapshots = |evidence| {
        let mut snapshots = daily(10);
        snapshots[8].evidence = evidence;
        snapshots
    };
    let near = || tier("near", days(7), snapshots(Evidence::Whole));
    assert_eq!(gone(&inputs(vec![near()])), [[7, 9]]);
    // The far tier keeps it, but nobody knows whether it is whole there.
    let far = |evidence| tier("far", days(30), snapshots(evidence));
    assert_eq!(gone(&inputs(vec![near(), far(Evidence::Complete)])), [vec![7, 9], vec![]]);
    assert_eq!(gone(&inputs(vec![near(), far(Evidence::Recovered)])), [vec![7, 8, 9], vec![]]);
    let mut damaged = inputs(vec![near(), far(Evidence::Recovered)]);
    damaged.tiers[1].condition = Condition::Damaged;
    assert_eq!(gone(&damaged), [vec![7, 9], vec![]]);
}

#[test]
fn a_rule_that_keeps_nothing_leaves_the_newest_that_is_complete() {
    let none = Keep { last: Some(0), ..Keep::default() };
    let mut snapshots = daily(4);
    snapshots[0].evidence = Evidence::Partial;
    assert_eq!(gone(&inputs(vec![tier("near", none, snapshots)])), [[0, 2, 3]]);
}

fn any_keep() -> impl Strategy<Value = Keep> {
    let count = || prop::option::of(0..4_u32);
    let within = prop::option::of(0..40_u64);
    (within, count(), count(), count(), count()).prop_map(
        |(within, last, daily, weekly, monthly)| {
            let within = within.map(|days| name(&format!("{days}d")));
            Keep { within, last, daily, weekly, monthly, ..Keep::default() }
        },
    )
}

fn any_held() -> impl Strategy<Value = Held> {
    let evidence = prop_oneof![
        Just(Evidence::Partial),
        Just(Evidence::Complete),
        Just(Evidence::Whole),
        Just(Evidence::Recovered)
    ];
    let locked = prop::option::weighted(0.2, -20 * DAY..20 * DAY);
    let schedule = prop::option::of(prop_oneof![Just("monthly"), Just("unknown")]);
    let asset = prop_oneof![Just("media"), Just("database")];
    (0..=u8::MAX, asset, -DAY..60 * DAY, evidence, locked, schedule, 0..10_u8).prop_map(
        |(number, asset, time, evidence, locked, schedule, stranger)| {
            // Copies of one capture have one time: some have to meet.
            let mut held = held(number, asset, time / DAY * DAY, evidence);
            held.locked_until = locked.map(ago);
            held.maker = match (stranger, held.maker) {
                (0, _) => Maker::Stranger,
                (_, Maker::Site { asset, .. }) => {
                    Maker::Site { asset, schedule: schedule.map(name) }
                }
                (_, maker) => maker,
            };
            held
        },
    )
}

fn any_inputs() -> impl Strategy<Value = Inputs> {
    let tier = (any_keep(), vec(any_held(), 0..25), prop::bool::weighted(0.2));
    let hold = prop::bool::weighted(0.1);
    (vec(tier, 1..4), any_keep(), hold).prop_map(|(tiers, keep, hold)| {
        let tiers =
            tiers.into_iter().enumerate().map(|(number, (keep, mut snapshots, damaged))| {
                snapshots.sort_by_key(|held| held.id);
                snapshots.dedup_by_key(|held| held.id);
                let condition = if damaged { Condition::Damaged } else { Condition::Sound };
                let tier = name(&format!("t{number}"));
                TierHeld { tier, keep, condition, snapshots }
            });
        Inputs {
            tiers: tiers.collect(),
            schedules: BTreeMap::from([(name("monthly"), keep)]),
            holds: hold.then(|| "an incident".to_owned()).into_iter().collect(),
            now: now(),
        }
    })
}

fn all(tiers: &[TierFate]) -> impl Iterator<Item = (&TierFate, &Fate)> {
    tiers.iter().flat_map(|tier| tier.fates.iter().map(move |fate| (tier, fate)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the plan says and the tiers hold, what must not go stays.
    #[test]
    fn retention_never_removes_what_must_stay(inputs in any_inputs()) {
        let decided = decide(&inputs);
        let count = |tier: &TierHeld| tier.snapshots.len();
        let before: usize = inputs.tiers.iter().map(count).sum();
        prop_assert_eq!(all(&decided).count(), before, "every snapshot has its fate");
        for (tier, fate) in all(&decided).filter(|(_, fate)| fate.goes()) {
            prop_assert!(inputs.holds.is_empty());
            prop_assert_eq!(tier.condition, Condition::Sound);
            prop_assert!(fate.held.locked_until.is_none_or(|until| until <= now()));
            prop_assert!(fate.held.asset().is_some());
        }
        for asset in [name::<AssetName>("media"), name("database")] {
            let of = |(_, fate): &(&TierFate, &Fate)| fate.held.asset() == Some(&asset);
            let sound = |(tier, _): &(&TierFate, &Fate)| tier.condition == Condition::Sound;
            let verified = |(_, fate): &(&TierFate, &Fate)| fate.held.evidence.is_verified();
            let proven = || all(&decided).filter(of).filter(sound).filter(verified);
            let last = proven().map(|(_, fate)| fate.held.time()).max();
            let stays = proven().filter(|(_, fate)| !fate.goes()).map(|(_, fate)| fate.held.time());
            prop_assert_eq!(stays.max(), last, "the last that was verified stays");
            for tier in &decided {
                let own = || tier.fates.iter().filter(|fate| fate.held.asset() == Some(&asset));
                prop_assert_eq!(own().any(|fate| !fate.goes()), own().next().is_some());
            }
        }
    }

    /// Deciding again over what was left takes nothing more: a run that is repeated is harmless.
    #[test]
    fn what_stayed_stays(inputs in any_inputs()) {
        let mut left = inputs;
        let decided = decide(&left);
        for (tier, decided) in left.tiers.iter_mut().zip(decided) {
            tier.snapshots = decided.staying().cloned().collect();
        }
        let again = decide(&left);
        let gone: Vec<_> = all(&again).filter(|(_, fate)| fate.goes()).collect();
        prop_assert!(gone.is_empty(), "{:?}", gone);
    }
}
