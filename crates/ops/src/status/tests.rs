//! What a status says of plans, histories and tiers.

use lifeboat_plan::{Facts as PlanFacts, SourceFile, load};

use super::*;
use crate::ending::Ending;

const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
env = "KEY"
[assets.media]
kind = "files"
paths = ["/srv/media"]
rpo = "1h"
grace = "10m"
[tiers.near]
url = "file:///backups/near"
[tiers.far]
url = "file:///backups/far"
[schedules.hourly]
cron = "0 * * * *"
assets = ["media"]
to = ["near", "far"]
"#;

const SNAPSHOT: SnapshotId = SnapshotId::from_bytes([1; 32]);

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 - seconds).unwrap()
}

fn plan() -> Plan {
    let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
    load(source, &BTreeMap::<String, String>::new(), &PlanFacts::default(), now()).unwrap().plan
}

/// A history in which everything is well, with the newest backup of this age on both tiers.
fn history(age_s: i64) -> History {
    let mut history = History { key_confirmed: Some(ago(9)), ..History::default() };
    for tier in ["near", "far"] {
        let tier: TierName = tier.parse().unwrap();
        let good = Good {
            captured: ago(age_s),
            snapshot: SNAPSHOT,
            size_bytes: None,
            base: None,
            is_gone: false,
        };
        history.good.insert(("media".parse().unwrap(), tier.clone()), vec![good]);
        let verified = VerifiedOnce { time: ago(9), outcome: Outcome::Passed, all_data: false };
        history.verified.insert(tier, verified);
    }
    history
}

fn facts(near: Result<&[SnapshotId], Ending>, far: Result<&[SnapshotId], Ending>) -> Facts {
    let seen = |seen: Result<&[SnapshotId], Ending>| match seen {
        Ok(ids) => Ok(Seen { snapshots: ids.iter().copied().collect(), ..Seen::default() }),
        Err(ending) => {
            Err(Trouble { ending, message: "gone".to_owned(), hint: None, exit: 1, kind: None })
        }
    };
    let seen = [("near", seen(near)), ("far", seen(far))];
    let tiers = seen.into_iter().map(|(tier, seen)| (tier.parse().unwrap(), seen)).collect();
    Facts { tiers, ..Facts::default() }
}

fn judged(history: &History, facts: &Facts) -> (Verdict, Objective, Option<u64>) {
    let report = assess(&plan(), history, facts, now());
    (report.verdict, report.assets[0].objective, report.assets[0].exposure_s)
}

#[test]
fn exposure_is_held_against_rpo_and_grace() {
    let both = facts(Ok(&[SNAPSHOT]), Ok(&[SNAPSHOT]));
    for (age_s, verdict, objective) in [
        (0_i64, Verdict::Yes, Objective::Met),
        (3600, Verdict::Yes, Objective::Met),
        (3601, Verdict::Yes, Objective::AtRisk),
        (4200, Verdict::Yes, Objective::AtRisk),
        (4201, Verdict::No, Objective::Missed),
    ] {
        let exposure = Some(age_s.cast_unsigned());
        assert_eq!(judged(&history(age_s), &both), (verdict, objective, exposure), "{age_s}");
    }
}

#[test]
fn a_lock_that_is_not_what_the_plan_says_is_no_plain_yes() {
    let mut both = facts(Ok(&[SNAPSHOT]), Ok(&[SNAPSHOT]));
    assert_eq!(judged(&history(60), &both).0, Verdict::Yes);
    let far = both.tiers.get_mut(&"far".parse().unwrap()).unwrap().as_mut().unwrap();
    far.weak_lock = Some("what lies there can be deleted".to_owned());
    let report = assess(&plan(), &history(60), &both, now());
    assert_eq!(report.verdict, Verdict::Unknown);
    assert_eq!((report.risks[0].subject.as_str(), report.tiers.len()), ("far", 2));
    assert_eq!(report.risks[0].command.as_deref(), Some("lifeboat check"));
}

#[test]
fn what_could_not_be_looked_at_is_unknown() {
    let away = Err(Ending::NotBuilt);
    let (verdict, objective, _) = judged(&history(60), &facts(away, away));
    assert_eq!((verdict, objective), (Verdict::Unknown, Objective::Unknown));
    // One tier that can be seen is enough for the objective, not for the verdict.
    let (verdict, objective, _) = judged(&history(60), &facts(Ok(&[SNAPSHOT]), away));
    assert_eq!((verdict, objective), (Verdict::Unknown, Objective::Met));
}

#[test]
fn a_snapshot_that_is_gone_does_not_count() {
    let (verdict, objective, exposure) = judged(&history(60), &facts(Ok(&[]), Ok(&[])));
    assert_eq!((verdict, objective, exposure), (Verdict::No, Objective::Missed, None));
    let report = assess(&plan(), &history(60), &facts(Ok(&[]), Ok(&[])), now());
    assert_eq!(report.assets[0].protected, Verdict::No);
    assert_eq!(report.risks[0].message, "no snapshot is left on any tier");
    let (verdict, objective, _) = judged(&history(60), &facts(Ok(&[SNAPSHOT]), Ok(&[])));
    assert_eq!((verdict, objective), (Verdict::Unknown, Objective::Met));
}

#[test]
fn a_lost_tier_and_a_failed_verification_mean_no() {
    let lost = facts(Ok(&[SNAPSHOT]), Err(Ending::Failed));
    assert_eq!(judged(&history(60), &lost).0, Verdict::No);
    let mut damaged = history(60);
    damaged.verified.get_mut(&"near".parse().unwrap()).unwrap().outcome = Outcome::Failed;
    let both = facts(Ok(&[SNAPSHOT]), Ok(&[SNAPSHOT]));
    assert_eq!(judged(&damaged, &both).0, Verdict::No);
    let mut stale = history(60);
    stale.verified.get_mut(&"near".parse().unwrap()).unwrap().time = ago(31 * 86_400);
    assert_eq!(judged(&stale, &both).0, Verdict::Unknown);
}

#[test]
fn the_worst_comes_first_and_says_what_to_do() {
    let report = assess(&plan(), &History::default(), &facts(Ok(&[]), Ok(&[])), now());
    assert_eq!(report.verdict, Verdict::No);
    assert_eq!(report.next.as_deref(), Some("lifeboat backup media"));
    let verdicts: Vec<_> = report.risks.iter().map(|risk| risk.verdict).collect();
    assert!(verdicts.is_sorted_by(|a, b| a >= b), "{verdicts:?}");
    let mut json = serde_json::to_value(&report).unwrap();
    json["plan"] = "[plan]".into();
    insta::assert_json_snapshot!(json);
}
