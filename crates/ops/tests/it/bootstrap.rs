//! Which plan a bare machine takes from a tier: what is damaged, forged or unknown is passed over and named.

use std::sync::Arc;

use lifeboat_model::{Cancel, Classify as _, ErrorKind, Outcome, PlanId, Silent};
use lifeboat_ops::bare_machine::{FoundSite, KnownPlan, WantedPlan, find_site};
use lifeboat_ops::plan_archive::ArchivedPlan;
use lifeboat_ops::point::At;
use lifeboat_ops::readiness::{Answer, readiness};
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::{OpsError, Site};
use lifeboat_tiers::Tier;
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::local::LocalTier;

use crate::ground::{Ground, MEDIA_ON_TWO, back_up, restore_to};

/// A host whose plan changed once, and that lost everything but its tiers.
struct Lost {
    ground: Ground,
    older: PlanId,
    newer: PlanId,
}

fn newer_plan() -> String {
    MEDIA_ON_TWO.replace("rpo = \"24h\"", "rpo = \"12h\"")
}

impl Lost {
    fn new() -> Self {
        let ground = Ground::new();
        ground.write("media/a.txt", "kept");
        let back_up = |text: &str| {
            let site = ground.site(text);
            back_up(&site).unwrap();
            ground.pass(3600);
            site.plan().id()
        };
        let (older, newer) = (back_up(MEDIA_ON_TWO), back_up(&newer_plan()));
        std::fs::remove_dir_all(ground.path("state")).unwrap();
        Self { ground, older, newer }
    }

    fn tier(&self) -> Arc<dyn Tier> {
        Arc::new(LocalTier::open(&self.ground.path("second")).unwrap())
    }

    fn object(&self, plan: PlanId) -> std::path::PathBuf {
        self.ground.path(&format!("second/plan/{}.age", plan.to_hex()))
    }

    /// Puts something in the place of a plan.
    fn put(&self, plan: PlanId, bytes: &[u8]) {
        lifeboat_tiers::durable::replace(&self.object(plan), bytes, 0o600).unwrap();
    }

    fn find(&self, wanted: &WantedPlan) -> Result<FoundSite, OpsError> {
        self.find_on(&self.tier(), wanted)
    }

    fn find_on(&self, tier: &Arc<dyn Tier>, wanted: &WantedPlan) -> Result<FoundSite, OpsError> {
        let surroundings = self.ground.surroundings.clone();
        find_site(tier, &self.ground.key, wanted, surroundings, &Cancel::new())
    }
}

fn taken(found: &FoundSite) -> PlanId {
    found.site.plan().id()
}

fn named(plan: PlanId) -> WantedPlan {
    WantedPlan::Named(plan.to_string())
}

/// Seals a document as anybody can who knows the public half of the key.
fn sealed(ground: &Ground, document: &[u8]) -> Vec<u8> {
    ground.key.public_halves().recipient.seal(document)
}

fn archived(site: &Site) -> Vec<u8> {
    serde_json::to_vec(&ArchivedPlan::new(site.sources()).unwrap()).unwrap()
}

#[test]
fn the_newest_plan_in_force_is_taken_and_another_when_it_is_named() {
    let lost = Lost::new();
    let newest = lost.find(&WantedPlan::Newest).unwrap();
    assert_eq!(taken(&newest), lost.newer);
    let ids: Vec<_> = newest.plans.iter().map(|known| known.plan).collect();
    assert_eq!(ids, [lost.newer, lost.older]);
    assert!(newest.plans[0].in_force_since > newest.plans[1].in_force_since);
    assert_eq!(newest.passed_over().count(), 0);
    assert_eq!(taken(&lost.find(&named(lost.older)).unwrap()), lost.older);
    let error = lost.find(&WantedPlan::Named("0123456789".to_owned())).unwrap_err();
    assert!(matches!(error, OpsError::NotOnePlan { .. }), "{error}");
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains(&lost.newer.to_string()), "{hint}");
}

#[test]
fn a_plan_that_cannot_be_used_is_named_and_the_next_older_one_taken() {
    let lost = Lost::new();
    let mut halved = std::fs::read(lost.object(lost.newer)).unwrap();
    halved.truncate(halved.len() / 2);
    let other = lost.ground.site(&MEDIA_ON_TWO.replace("24h", "1h"));
    let seal = |document: &[u8]| sealed(&lost.ground, document);
    for (bytes, told) in [
        (halved, "not a whole age file"),
        (b"x".to_vec(), "not a whole age file"),
        (seal(b"{}"), "no plan"),
        (seal(br#"{"schema": 9}"#), "version 9"),
        (seal(br#"{"schema": 1, "name": "plan.toml", "text": "x", "runbooks": {}}"#), "error"),
        // Whoever can write to the tier can seal a plan, and would run commands by it.
        (seal(&archived(&other)), "in the place of the one that was in force"),
    ] {
        lost.put(lost.newer, &bytes);
        let found = lost.find(&WantedPlan::Newest).unwrap();
        assert_eq!(taken(&found), lost.older, "{told}");
        let passed: Vec<&KnownPlan> = found.passed_over().collect();
        let trouble = passed[0].trouble.as_deref().unwrap();
        assert_eq!((passed.len(), passed[0].plan), (1, lost.newer));
        assert!(trouble.contains(told), "{trouble}");
        let error = lost.find(&named(lost.newer)).unwrap_err();
        assert!(matches!(error, OpsError::PlanUnusable { .. }), "{error}");
    }
    std::fs::remove_file(lost.object(lost.newer)).unwrap();
    assert_eq!(taken(&lost.find(&WantedPlan::Newest).unwrap()), lost.older);
}

#[test]
fn without_a_plan_that_can_be_used_the_newest_is_told_of_and_another_tier() {
    let lost = Lost::new();
    for plan in [lost.newer, lost.older] {
        lost.put(plan, b"x");
    }
    let error = lost.find(&WantedPlan::Newest).unwrap_err();
    assert!(error.to_string().contains(&lost.newer.to_string()), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("another tier") && hint.contains("--plan-id"), "{hint}");
}

#[test]
fn a_tier_that_stumbles_is_no_damaged_plan() {
    let lost = Lost::new();
    let tier = Arc::new(FaultTier::new(lost.tier()));
    let reads = Rule::new(Target::Only(Operation::Get), Fault::Fail(Moment::Before));
    tier.add(reads.below("plan".parse().unwrap()));
    let tier: Arc<dyn Tier> = tier;
    let error = lost.find_on(&tier, &WantedPlan::Newest).unwrap_err();
    assert!(matches!(error, OpsError::Tier(_)), "an older plan would be used for nothing: {error}");
}

#[test]
fn a_plan_of_which_no_record_tells_is_taken_only_by_its_name() {
    let lost = Lost::new();
    std::fs::remove_dir_all(lost.ground.path("second/catalog")).unwrap();
    let error = lost.find(&WantedPlan::Newest).unwrap_err();
    assert!(matches!(error, OpsError::PlanNotRecorded { .. }), "{error}");
    assert!(error.hint().unwrap().to_string().contains(&lost.newer.to_string()));
    // Nobody recorded either as what the tier was set up.
    let error = lost.find(&named(lost.newer)).unwrap_err();
    assert!(matches!(error, OpsError::NotATierOf { .. }), "{error}");
}

#[test]
fn to_restore_by_an_older_plan_does_not_put_it_in_force() {
    let lost = Lost::new();
    let found = lost.find(&named(lost.older)).unwrap();
    let (newest, to) = (At::Latest, lost.ground.path("back"));
    restore_to(&found.site, "media", newest, &to).unwrap();
    assert_eq!(taken(&lost.find(&WantedPlan::Newest).unwrap()), lost.newer);
}

/// Turns one bit of an object over.
fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    lifeboat_tiers::durable::replace(path, &bytes, 0o600).unwrap();
}

#[test]
fn a_damaged_plan_is_noticed_and_the_next_backup_stores_it_again() {
    let lost = Lost::new();
    let site = lost.ground.site(&newer_plan());
    assert_eq!(site.plan().id(), lost.newer);
    let of_plan = || {
        let asked = readiness(&site, &Silent, &Cancel::new()).unwrap();
        let about = |answer: &&Answer| answer.what == "the plan lies there whole";
        asked.answers.iter().filter(about).map(|answer| answer.outcome).collect::<Vec<_>>()
    };
    let verified = || {
        let tiers = vec!["secondary".parse().unwrap()];
        let options = VerifyOptions { tiers, share: Share::All };
        verify(&site, &options, &Silent, &Cancel::new()).unwrap()
    };
    assert_eq!(of_plan(), [Outcome::Passed; 2]);
    flip(&lost.object(lost.newer));
    assert_eq!(of_plan(), [Outcome::Passed, Outcome::Failed]);
    let report = verified();
    assert_eq!(report.outcome, Outcome::Failed);
    let found = &report.tiers[0].report.findings[0];
    assert!(found.object.contains(&lost.newer.to_hex()), "{found:?}");
    assert!(found.hint.as_deref().unwrap().contains("lifeboat backup"), "{found:?}");
    assert_eq!(taken(&lost.find(&WantedPlan::Newest).unwrap()), lost.older);

    back_up(&site).unwrap();
    assert_eq!(of_plan(), [Outcome::Passed; 2]);
    assert_eq!(verified().outcome, Outcome::Passed);
    assert_eq!(taken(&lost.find(&WantedPlan::Newest).unwrap()), lost.newer);

    // One that is no longer in force is told of, and fails nothing.
    flip(&lost.object(lost.older));
    let report = verified();
    assert_eq!(report.outcome, Outcome::Passed);
    assert!(report.tiers[0].report.findings[0].object.contains(&lost.older.to_hex()));
}
