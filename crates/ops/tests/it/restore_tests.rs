//! Restore tests of files: what damage, distance and a Ctrl-C make of them, and what they leave.

use std::fs;
use std::sync::Arc;

use lifeboat_model::{Cancel, Event, EventSink, Outcome, Silent, Stage};
use lifeboat_ops::Site;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::ladder::{Height, Ladder, Rung};
use lifeboat_ops::proof;
use lifeboat_ops::restore_test::{RestoreTestOptions, RestoreTestReport, Seed, restore_test};
use lifeboat_ops::state::State;
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Rule, Target};
use lifeboat_tiers::local::LocalTier;

use crate::backups::{damage, packs};
use crate::ground::{Ground, MEDIA_ON_TWO, back_up};

const TEST: &str = r#"
[checks.there]
files = "media"
exist = ["a"]
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["media"]
checks = ["there"]
"#;

fn backed_up(ground: &Ground) -> Site {
    ground.write("media/a", "a".repeat(1000));
    let site = ground.site(&format!("{MEDIA_ON_TWO}{TEST}"));
    back_up(&site).unwrap();
    ground.pass(60);
    site
}

fn options() -> RestoreTestOptions {
    let options = RestoreTestOptions::of_plan("weekly".parse().unwrap(), "lifeboat".into());
    RestoreTestOptions { seed: Some(Seed(3)), ..options }
}

fn run(site: &Site) -> RestoreTestReport {
    restore_test(site, &options(), &Silent, &Cancel::new()).unwrap()
}

fn view(ground: &Ground) -> View {
    let state = State::open(&ground.surroundings.state_directory).unwrap();
    View::open(&state.view_path()).unwrap()
}

/// Where the only copy that a test restored stands.
fn height(ground: &Ground, site: &Site, report: &RestoreTestReport) -> Height {
    let tested = &report.tested.assets[0];
    let ladder = Ladder::load(&view(ground), site.plan()).unwrap();
    ladder.rung(tested.tier.as_ref().unwrap(), tested.snapshot.unwrap()).unwrap()
}

fn nothing_is_left(ground: &Ground) {
    let folder = ground.path("cache/sandboxes");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_test_that_passes_proves_the_copy_and_damage_takes_that_away() {
    let ground = Ground::new();
    let site = backed_up(&ground);
    let passed = run(&site);
    assert_eq!(passed.ending, Ending::Succeeded, "{passed:#?}");
    assert_eq!(height(&ground, &site, &passed).rung, Rung::Proven);
    let runs = proof::load(&view(&ground), site.plan()).unwrap();
    assert_eq!(runs.len(), 1);
    let proofs = proof::proofs(site.plan(), &runs, ground.surroundings.now());
    assert_eq!(proofs[&"media".parse().unwrap()].needs, None);
    nothing_is_left(&ground);
    ground.pass(60);
    // What was read before is in the cache, which a test must not take for the tier.
    for pack in packs(&ground.path("first/repo/data")) {
        damage(&pack);
    }
    let failed = run(&site);
    assert_eq!(failed.ending, Ending::Failed, "{failed:#?}");
    let height = height(&ground, &site, &failed);
    assert!(height.rung < Rung::Restored, "{height:?}");
    assert_eq!(height.doubt.unwrap().outcome, Outcome::Failed);
    nothing_is_left(&ground);
}

#[test]
fn a_tier_that_cannot_be_reached_proves_nothing_and_fails_nothing() {
    let ground = Ground::new();
    let site = backed_up(&ground);
    drop(site);
    let mut site = ground.site(&format!("{MEDIA_ON_TWO}{TEST}"));
    for (tier, folder) in [("primary", "first"), ("secondary", "second")] {
        let away = FaultTier::new(Arc::new(LocalTier::open(&ground.path(folder)).unwrap()));
        away.add(Rule::new(Target::Reads, Fault::Fail(Moment::Before)));
        site = site.with_tier(tier.parse().unwrap(), Arc::new(away));
    }
    let report = run(&site);
    assert_eq!(report.ending, Ending::CouldNotVerify, "{report:#?}");
    assert!(report.tested.trouble.is_some());
}

/// Cancels as soon as something is read back.
#[derive(Debug)]
struct Impatient(Cancel);

impl EventSink for Impatient {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Started { stage: Stage::Data, .. }) {
            self.0.cancel();
        }
    }
}

#[test]
fn a_test_that_is_cancelled_is_torn_down_and_recorded() {
    let ground = Ground::new();
    let site = backed_up(&ground);
    let cancel = Cancel::new();
    let report = restore_test(&site, &options(), &Impatient(cancel.clone()), &cancel).unwrap();
    assert_eq!(report.ending, Ending::Cancelled, "{report:#?}");
    assert_eq!(report.tested.outcome, Outcome::CouldNotVerify);
    nothing_is_left(&ground);
    assert_eq!(proof::load(&view(&ground), site.plan()).unwrap().len(), 1);
}
