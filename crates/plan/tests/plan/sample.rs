//! The plan of the reference platform is whole: it parses, nothing is wrong with it, and it means
//! what it says.

use std::time::Duration;

use lifeboat_plan::plan::asset::{AssetKind, WalMode};
use lifeboat_plan::plan::check::Probe;
use lifeboat_plan::plan::runbook::Action;
use lifeboat_plan::value::instant::PointInTime;

use crate::fixture::Sample;

#[test]
fn nothing_is_wrong_with_the_reference_plan() {
    assert_eq!(Sample::small().report(), "");
    // What the language has and this version cannot carry out yet is noted, and nothing else is said.
    let found = Sample::techit().found();
    let others: Vec<_> = found.iter().filter(|(code, _)| *code != "not-built").collect();
    assert!(others.is_empty(), "{}", Sample::techit().report());
}

#[test]
fn the_reference_plan_means_what_it_says() {
    let checked = Sample::techit().load().unwrap();
    let plan = &checked.plan;
    assert_eq!(plan.site().as_str(), "techit-production");
    assert_eq!(plan.about().updated.unwrap().to_string(), "2025-10-24");

    let database = &plan.assets()[&"database".parse().unwrap()];
    let AssetKind::Postgres(postgres) = &database.kind else { panic!("{:?}", database.kind) };
    assert_eq!(postgres.connect.as_str(), "host=/var/run/postgresql dbname=techit_db");
    assert_eq!(postgres.wal.mode, WalMode::Archive);
    assert_eq!(database.grace(), Some(Duration::from_mins(5)));
    let media = &plan.assets()[&"media".parse().unwrap()];
    assert_eq!(media.grace(), Some(Duration::from_mins(72)), "a twentieth of a day");

    let names = |asset: &str| {
        let tiers = plan.tiers_of(&asset.parse().unwrap());
        tiers.into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("system"), ["offsite", "primary", "secondary"], "`*` means system too");
    assert!(matches!(plan.checks()[&"media_referenced".parse().unwrap()], Probe::FilesIn(_)));
    let test = &plan.restore_tests()[&"weekly".parse().unwrap()];
    assert_eq!(test.at, PointInTime::Random);

    let drill = &plan.drills()[&"monthly".parse().unwrap()];
    let next = drill.timetable().next_after("2025-10-24T00:00:00Z".parse().unwrap());
    assert_eq!(next.unwrap().to_string(), "2025-11-01T02:00:00Z", "the first Saturday");
}

#[test]
fn the_runbooks_come_with_the_plan() {
    let checked = Sample::techit().load().unwrap();
    assert_eq!(checked.plan.runbooks().len(), 7);
    assert_eq!(checked.sources.len(), 8, "all texts, so that they can be stored");
    assert_eq!(checked.sources[0].path, "plan.toml");
    let path = "runbooks/complete-system-failure.toml".parse().unwrap();
    let steps = &checked.plan.runbooks()[&path].steps;
    let validate = steps.iter().find(|step| step.id.as_str() == "validate").unwrap();
    assert!(matches!(validate.action, Action::Check(_)), "only checks, so they are the action");
    let restore = steps.iter().find(|step| step.id.as_str() == "restore-database").unwrap();
    assert!(matches!(restore.action, Action::Restore(_)));
    let start = steps.iter().find(|step| step.id.as_str() == "start-database").unwrap();
    assert_eq!(start.check.len(), 1, "checks beside another action tell that it worked");
}
