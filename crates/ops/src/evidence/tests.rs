//! What evidence must stand: changes, losses, other keys, later versions; and what of a run it tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Outcome, RunId, Timestamp};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::{Facts as PlanFacts, Plan, SourceFile, load};
use lifeboat_runbook::entry::{AttemptEnding, Began, FORMAT as ENTRIES};
use lifeboat_runbook::times::FETCHED_MS;
use lifeboat_runbook::{Again, Entry, Fact, Failure, Operator, Output, Outputs, Run};
use lifeboat_tiers::{MemoryTier, ObjectPath, Tier};
use proptest::prelude::*;

use super::document::{CheckKept, Kind, Limited, LookedFor};
use super::proof::{DocumentError, EvidenceFlaw, Ground, JournalState, Proven, read_document};
use super::trend::{Trend, times};
use super::*;
use crate::catalog::tests::{Host, tier};
use crate::procedure::Procedure;
use crate::procedure::runs::KnownRun;
use crate::recovery_key::RecoveryKey;

const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
version = "1.2"
owner = "Operations"
[key]
file = "/etc/lifeboat/recovery.key"
[classes]
critical = { rto = "1h" }
[assets.media]
kind = "files"
paths = ["/media"]
rpo = "1h"
rto = "5m"
[tiers.primary]
url = "file:///var/backups"
keep = { within = "7d" }
[checks.pictures]
files = "media"
exist = ["one.txt"]
[services.web]
class = "critical"
start = "true"
[contacts.bob]
name = "Bob"
role = "operations"
login = "bob"
[scenarios.loss]
runbook = "runbooks/loss.toml"
class = "critical"
rto = "2h"
rpo = "1h"
estimate = "10m..30m"
"#;

const RUNBOOK: &str = r#"
title = "Loss"
[[steps]]
id = "stop"
run = "true"
[[steps]]
id = "agree"
needs = ["stop"]
approve = { by = "operations", ask = "Really?" }
[[steps]]
id = "restore"
needs = ["agree"]
restore = { asset = "media" }
check = ["pictures"]
estimate = "1m"
[[steps]]
id = "start"
needs = ["restore"]
start = ["web"]
"#;

fn plan_of(text: String) -> Plan {
    let source = SourceFile { path: "plan.toml".to_owned(), text };
    let files = BTreeMap::from([("runbooks/loss.toml".to_owned(), RUNBOOK.to_owned())]);
    let checked = load(source, &files, &PlanFacts::default(), Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|rejected| panic!("{rejected:?}")).plan
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A run of which everything is told in order.
struct Story {
    plan: Plan,
    procedure: Procedure,
    run: Run,
    entries: Vec<Entry>,
}

impl Story {
    fn new(number: u128) -> Self {
        Self::by(plan_of(PLAN.to_owned()), number)
    }

    fn by(plan: Plan, number: u128) -> Self {
        let procedure = Procedure::of(&plan, &"loss".parse().unwrap(), RunKind::Recovery).unwrap();
        let run = RunId::from_uuid(uuid::Uuid::from_u128(number));
        let about = [("host", "web-1"), ("declared-by", "alice"), ("point", "20231114_000000")];
        let rejected = r#"[{"name":"20231114_010000","why":"it lacks `media`"}]"#;
        let about = about.into_iter().chain([("rejected-points", rejected)]);
        let about = about.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let (runbook, declared) = (procedure.runbook().id, at(0));
        let began = Began { format: ENTRIES, run, runbook, declared, about };
        let first = Entry { sequence: 0, time: at(10), before: None, fact: Fact::Began(began) };
        let run = Run::begin(Arc::clone(procedure.runbook()), &first).unwrap();
        Self { plan, procedure, run, entries: vec![first] }
    }

    fn tell(&mut self, second: i64, fact: Fact) {
        let entry = self.run.next_entry(fact, at(second));
        self.run.apply(&entry).unwrap();
        self.entries.push(entry);
    }

    fn done(&mut self, step: &str, (from, to): (i64, i64), outputs: Outputs) {
        let step: lifeboat_model::StepName = step.parse().unwrap();
        let attempt = self.run.step(&step).unwrap().1.attempts + 1;
        self.tell(from, Fact::Started { step: step.clone(), attempt });
        self.tell(to, Fact::Ended { step, ending: AttemptEnding::Done { outputs } });
    }

    /// A run that takes 400 seconds, 100 of them for a person.
    fn whole(number: u128) -> Self {
        Self::new(number).ended()
    }

    fn ended(mut self) -> Self {
        let story = &mut self;
        let by = Operator { login: "alice".into(), host: "web-1".into(), process: 7 };
        story.tell(10, Fact::Taken { by });
        let said = Outputs::from([("output".to_owned(), Output::text("secret"))]);
        story.done("stop", (10, 20), said);
        let step: lifeboat_model::StepName = "agree".parse().unwrap();
        story.tell(20, Fact::Asked { step: step.clone() });
        let (by, right, note) = ("bob".into(), "operations".into(), "it is lost".into());
        story.tell(120, Fact::Approved { step, by, right, note });
        story.done("restore", (120, 360), restored());
        let healthy = Outputs::from([("healthy web".to_owned(), Output::Time(at(390)))]);
        story.done("start", (360, 400), healthy);
        story.tell(400, Fact::Finished { outcome: lifeboat_runbook::Outcome::Succeeded });
        self
    }

    fn carried(&self) -> Carried<'_> {
        let Self { plan, procedure, run, entries } = self;
        Carried { plan, procedure, run, entries, restored: &[] }
    }

    fn known(&self) -> KnownRun {
        KnownRun {
            id: self.run.began().run,
            entries: self.entries.clone(),
            damage: None,
            is_followed: false,
        }
    }
}

fn restored() -> Outputs {
    Outputs::from([
        ("time".to_owned(), Output::Time(at(-1800))),
        ("target".to_owned(), Output::text("/media")),
        ("files".to_owned(), Output::Number(12)),
        ("bytes".to_owned(), Output::Number(345)),
        (FETCHED_MS.to_owned(), Output::Number(40_000)),
        ("check pictures".to_owned(), Output::text("1 file is there")),
    ])
}

fn facts(story: &Story) -> Facts {
    EvidenceOf::Recovery(&story.carried()).facts()
}

/// A host whose catalog holds evidence of some runs.
fn host_with(stories: &[Story]) -> (Host, Catalog) {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let catalog = host.enrolled();
    for story in stories {
        keep(&catalog, &EvidenceOf::Recovery(&story.carried())).unwrap();
    }
    (host, catalog)
}

fn examined(
    host: &Host,
    (known, shelves): (&[Record], &[(lifeboat_model::TierName, Vec<Record>)]),
    runs: &[KnownRun],
) -> (Vec<Proven>, BTreeSet<EvidenceFlaw>) {
    let verifier = host.key.public_halves().verifier;
    let unsent = BTreeSet::new();
    let ground = Ground { site: &host.site, verifier: &verifier, runs, shelves, unsent: &unsent };
    ground.examine(known)
}

#[test]
fn evidence_of_a_recovery_tells_who_when_what_and_how_long() {
    let facts = facts(&Story::whole(1));
    assert_eq!((facts.outcome, facts.ending.as_str()), (Outcome::Passed, "succeeded"));
    assert_eq!(facts.operators, ["alice on web-1 (process 7)"]);
    let decided = &facts.decisions[0];
    let why = (decided.by.as_str(), decided.right.as_deref(), decided.why.as_deref());
    assert_eq!(why, ("bob", Some("operations"), Some("it is lost")));
    assert_eq!(facts.source.rejected[0].why, "it lacks `media`");
    let took = |part: &str| facts.times.phases_ms[part] / 1000;
    let parts = ["decide", "prepare", "fetch", "restore", "replay", "start", "validate"];
    assert_eq!(parts.map(took), [10, 10, 40, 200, 0, 40, 0]);
    assert_eq!((facts.times.people_ms, facts.times.total_ms), (100_000, 400_000));
    let objective = |of: &str, limited| {
        let kept = facts.objectives.iter().find(|k| k.of == of && k.limited == limited);
        kept.map(|kept| (kept.measured_ms.unwrap() / 1000, kept.outcome)).unwrap()
    };
    assert_eq!(objective("scenario loss", Limited::Rto), (400, Outcome::Passed));
    assert_eq!(objective("scenario loss", Limited::Rpo), (1800, Outcome::Passed));
    assert_eq!(objective("class critical", Limited::Rto), (390, Outcome::Passed));
    assert_eq!(objective("asset media", Limited::Rto), (360, Outcome::Failed), "of 5 minutes");
    let estimates: Vec<_> = facts.estimates.iter().map(|kept| kept.measured_ms).collect();
    assert_eq!(estimates, [Some(400_000), Some(240_000)]);
    assert_eq!((facts.counts[0].files, facts.counts[0].bytes), (Some(12), Some(345)));
    let check = &facts.checks[0];
    assert_eq!((check.actual.as_str(), check.outcome), ("1 file is there", Outcome::Passed));
    assert_eq!(facts.steps[0].attempts[0].exit, Some(0));
    let text = serde_json::to_string(&facts).unwrap();
    assert!(!text.contains("secret"), "what a command writes may hold secrets: {text}");
    assert!(facts.teardown.is_none() && facts.teardown_absent.is_some());
    assert_eq!(facts.findings[0].owner.as_deref(), Some("Operations"));
}

#[test]
fn what_a_scenario_may_lose_is_judged_by_what_each_asset_may_and_else_by_its_own_word() {
    let loss = |asset: &str, scenario: &str| {
        let text = PLAN.replacen("rpo = \"1h\"\n", asset, 1);
        let text =
            text.replacen("rpo = \"1h\"\nestimate", &format!("rpo = \"{scenario}\"\nestimate"), 1);
        let facts = facts(&Story::by(plan_of(text), 1).ended());
        let kept = super::measure::loss_of_scenario(&facts.objectives).unwrap();
        let limited = (kept.limit_ms / 1000, kept.measured_ms.unwrap() / 1000);
        assert_eq!(kept.outcome, facts.outcome, "nothing else can make it fail");
        (limited, kept.outcome)
    };
    assert_eq!(loss("rpo = \"24h\"\n", "10m"), ((86_400, 1800), Outcome::Passed));
    assert_eq!(loss("", "10m"), ((600, 1800), Outcome::Failed));
    assert_eq!(loss("rpo = \"10m\"\n", "1h"), ((600, 1800), Outcome::Failed));
}

#[test]
fn what_was_skipped_or_not_asked_is_never_passed() {
    let mut story = Story::new(1);
    let step: lifeboat_model::StepName = "stop".parse().unwrap();
    story.tell(10, Fact::Started { step: step.clone(), attempt: 1 });
    let failure = Failure { exit: Some(3), again: Again::IsUseless, ..Failure::new("it broke") };
    story.tell(20, Fact::Ended { step: step.clone(), ending: AttemptEnding::Failed(failure) });
    for step in ["stop", "agree", "restore"] {
        let (by, why) = ("alice".to_owned(), "no time".to_owned());
        story.tell(30, Fact::Skipped { step: step.parse().unwrap(), by, why });
    }
    story.done("start", (30, 40), Outputs::new());
    story.tell(40, Fact::Finished { outcome: lifeboat_runbook::Outcome::Incomplete });
    let facts = facts(&story);
    assert_eq!(facts.outcome, Outcome::CouldNotVerify);
    assert_eq!(facts.checks[0].outcome, Outcome::CouldNotVerify);
    assert_eq!(
        (facts.steps[0].attempts[0].exit, facts.steps[0].stand.as_str()),
        (Some(3), "skipped")
    );
    let skipped = facts.not_verified.iter().filter(|why| why.contains("skipped")).count();
    assert!(skipped >= 3, "{:?}", facts.not_verified);
    let rto = facts.objectives.iter().find(|kept| kept.limited == Limited::Rto).unwrap();
    assert_eq!((rto.measured_ms, rto.outcome), (None, Outcome::CouldNotVerify));
}

#[test]
fn a_drill_is_only_as_good_as_its_teardown() {
    let story = Story::whole(1);
    let carried = story.carried();
    let looked = LookedFor { what: "processes".to_owned(), left: vec!["gunicorn (42)".to_owned()] };
    let teardown = Teardown {
        outcome: Outcome::Failed,
        time: at(500),
        looked_for: vec![looked],
        trouble: None,
    };
    let drilled = Drilled {
        trigger: "the plan's schedule".to_owned(),
        sandbox: "box-1".to_owned(),
        network: "a namespace of its own".to_owned(),
        points: vec![CheckKept {
            name: "All services operational".to_owned(),
            step: None,
            expected: "it holds".to_owned(),
            actual: "they are".to_owned(),
            outcome: Outcome::Passed,
            took_ms: None,
        }],
        not_verified: vec!["step `agree`: answered for operations".to_owned()],
        findings: Vec::new(),
        teardown,
    };
    let facts = EvidenceOf::Drill(&carried, &drilled).facts();
    assert_eq!((facts.of, facts.outcome), (Kind::Drill, Outcome::Failed));
    assert_eq!(facts.place.sandbox.as_deref(), Some("box-1"));
    assert!(facts.checks.iter().any(|check| check.name == "All services operational"));
    assert!(facts.not_verified.iter().any(|why| why.contains("answered for operations")));
    assert_eq!(facts.teardown.unwrap().looked_for[0].left, ["gunicorn (42)"]);
}

#[test]
fn a_chain_over_several_runs_holds_and_what_is_taken_from_it_is_named() {
    let stories = [Story::whole(1), Story::whole(2), Story::whole(3)];
    let (host, catalog) = host_with(&stories);
    let all = catalog.view().all().unwrap();
    let runs: Vec<_> = stories.iter().map(Story::known).collect();
    let (proven, flaws) = examined(&host, (&all, &[]), &runs);
    assert_eq!((proven.len(), &flaws), (3, &BTreeSet::new()));
    assert!(proven.iter().all(|known| known.journal == JournalState::Same));
    let writer = catalog.writer().id();
    let without = |number: u64| -> Vec<Record> {
        let is_other =
            |record: &&Record| evidence_in(record).is_none_or(|own| own.number != number);
        all.iter().filter(is_other).cloned().collect()
    };
    let (_, flaws) = examined(&host, (&without(1), &[]), &[]);
    assert_eq!(flaws, BTreeSet::from([EvidenceFlaw::Missing { writer, first: 1, last: 1 }]));
    // Cut off at the end: the journal that is still here tells.
    let (_, flaws) = examined(&host, (&without(2), &[]), &runs);
    let absent = EvidenceFlaw::Absent { run: runs[2].id.to_string(), ended: at(400) };
    assert_eq!(flaws, BTreeSet::from([absent]));
    let shelves = [("secondary".parse().unwrap(), without(0))];
    let (_, flaws) = examined(&host, (&all, &shelves), &runs);
    let tier = "secondary".parse().unwrap();
    assert_eq!(flaws, BTreeSet::from([EvidenceFlaw::NotOn { tier, writer, number: 0 }]));
}

#[test]
fn a_journal_that_is_another_than_the_one_told_of_is_named() {
    let (story, mut other) = (Story::whole(1), Story::new(1));
    other.done("stop", (11, 20), Outputs::from([("output".to_owned(), Output::text(""))]));
    let (host, catalog) = host_with(std::slice::from_ref(&story));
    let all = catalog.view().all().unwrap();
    let (proven, flaws) = examined(&host, (&all, &[]), &[other.known()]);
    assert_eq!(proven[0].journal, JournalState::Differs);
    assert_eq!(flaws, BTreeSet::from([EvidenceFlaw::Journal { run: proven[0].run.clone() }]));
}

#[test]
fn a_document_is_verified_with_the_plans_verifier_alone_and_by_no_other() {
    let (host, catalog) = host_with(&[Story::whole(1)]);
    let record = collect::all(catalog.view()).unwrap().remove(0);
    let verifier = host.key.public_halves().verifier;
    let mut bytes = record.plaintext().to_vec();
    assert_eq!(read_document(&bytes, &host.site, &verifier).unwrap(), record);
    bytes.push(b'\n');
    assert_eq!(read_document(&bytes, &host.site, &verifier).unwrap(), record);
    let another = RecoveryKey::generate().public_halves().verifier;
    let refused = read_document(&bytes, &host.site, &another).unwrap_err();
    assert!(matches!(refused, DocumentError::Signature), "{refused}");
    let other: lifeboat_model::SiteName = "other".parse().unwrap();
    let refused = read_document(&bytes, &other, &verifier).unwrap_err();
    assert!(matches!(refused, DocumentError::AnotherSite { .. }), "{refused}");
    // Who was enrolled for another site, or by nobody, signs in vain.
    let stranger = Host::new(&RecoveryKey::generate(), "shop");
    let forged = stranger.enrolled();
    keep(&forged, &EvidenceOf::Recovery(&Story::whole(2).carried())).unwrap();
    let forged = collect::all(forged.view()).unwrap().remove(0);
    let refused = read_document(forged.plaintext(), &host.site, &verifier).unwrap_err();
    assert!(matches!(refused, DocumentError::Signature), "{refused}");
}

#[test]
fn a_record_altered_on_a_tier_is_refused_and_the_others_stand() {
    let (host, catalog) = host_with(&[Story::whole(1), Story::whole(2)]);
    let memory = Arc::new(MemoryTier::new());
    let tiers = [tier("primary", &memory)];
    catalog.deliver(&tiers).unwrap();
    assert!(catalog.verify(&tiers).unwrap().flaws.is_empty());
    let first = collect::all(catalog.view()).unwrap().pop().unwrap();
    let text = String::from_utf8(first.plaintext().to_vec()).unwrap();
    let altered = text.replace("\"outcome\":\"passed\"", "\"outcome\":\"failed\"");
    assert_ne!(text, altered);
    let sealed = host.key.public_halves().recipient.seal(altered.as_bytes());
    let path: ObjectPath = first.path();
    host.runtime.block_on(async {
        memory.delete(&path).await.unwrap();
        memory.put(&path, sealed.into(), lifeboat_tiers::PutMode::Create).await.unwrap();
    });
    let looked = catalog.look(&tiers).unwrap();
    assert!(!looked.report.flaws.is_empty(), "it is not what its name says");
    let (_, flaws) = examined(&host, (&[], &looked.shelves), &[]);
    let writer = catalog.writer().id();
    assert_eq!(flaws, BTreeSet::from([EvidenceFlaw::Missing { writer, first: 0, last: 0 }]));
}

#[test]
fn a_later_versions_record_is_not_called_good() {
    let (host, catalog) = host_with(&[Story::whole(1)]);
    let mut evidence = evidence_in(&collect::all(catalog.view()).unwrap()[0]).cloned().unwrap();
    (evidence.format, evidence.number) = (FORMAT + 1, 1);
    evidence.previous = Some(collect::all(catalog.view()).unwrap()[0].id());
    let later = catalog.append(Body::Evidence(Box::new(evidence)), None).unwrap();
    let verifier = host.key.public_halves().verifier;
    let refused = read_document(later.plaintext(), &host.site, &verifier).unwrap_err();
    assert!(matches!(refused, DocumentError::Newer { found } if found == FORMAT + 1), "{refused}");
    let (_, flaws) = examined(&host, (&catalog.view().all().unwrap(), &[]), &[]);
    let (writer, found) = (catalog.writer().id(), FORMAT + 1);
    assert_eq!(flaws, BTreeSet::from([EvidenceFlaw::Newer { writer, number: 1, found }]));
}

#[test]
fn what_a_version_without_evidence_recorded_is_no_flaw_and_what_came_later_is() {
    let host = Host::new(&RecoveryKey::generate(), "shop");
    let catalog = host.enrolled();
    let story = Story::whole(1);
    let ended = |number: u128| {
        Body::RecoveryEnded(crate::catalog::body::RecoveryEnded {
            run: RunId::from_uuid(uuid::Uuid::from_u128(number)),
            scenario: "loss".parse().unwrap(),
            runbook: story.procedure.runbook().id,
            point: None,
            outcome: lifeboat_runbook::Outcome::Succeeded,
            declared: at(0),
            journal: story.run.last(),
            entries: 3,
            total_ms: 1,
            phases_ms: BTreeMap::new(),
            people_ms: 0,
            standstill_ms: 0,
            rto_ms: None,
        })
    };
    catalog.append(ended(8), None).unwrap();
    keep(&catalog, &EvidenceOf::Recovery(&story.carried())).unwrap();
    let (_, flaws) = examined(&host, (&catalog.view().all().unwrap(), &[]), &[]);
    assert_eq!(flaws, BTreeSet::new());
    catalog.append(ended(9), None).unwrap();
    let (_, flaws) = examined(&host, (&catalog.view().all().unwrap(), &[]), &[]);
    let run = RunId::from_uuid(uuid::Uuid::from_u128(9)).to_string();
    assert!(matches!(flaws.first(), Some(EvidenceFlaw::Absent { run: own, .. }) if *own == run));
}

#[test]
fn what_was_to_be_mended_is_closed_by_the_run_that_no_longer_shows_it() {
    let mut slow = Story::new(1);
    let said = Outputs::from([("output".to_owned(), Output::text(""))]);
    slow.done("stop", (10, 20), said);
    for step in ["agree", "restore", "start"] {
        let (by, why) = ("alice".to_owned(), "no".to_owned());
        slow.tell(30, Fact::Skipped { step: step.parse().unwrap(), by, why });
    }
    slow.tell(40, Fact::Finished { outcome: lifeboat_runbook::Outcome::Incomplete });
    let (_host, catalog) = host_with(&[slow, Story::whole(2), Story::whole(3)]);
    let all = collect::all(catalog.view()).unwrap();
    let closed = |index: usize| evidence_in(&all[index]).unwrap().closed.clone();
    let what: Vec<_> = closed(1).into_iter().map(|closed| closed.what).collect();
    assert!(what.contains(&"step `agree` was skipped: no".to_owned()), "{what:?}");
    assert!(closed(0).iter().all(|closed| !closed.what.contains("skipped")), "closed once");
}

#[test]
fn times_are_told_beside_the_plans_estimates_and_show_where_they_go() {
    let mut quick = Story::new(4);
    quick.done("stop", (10, 20), Outputs::from([("output".to_owned(), Output::text(""))]));
    let step: lifeboat_model::StepName = "agree".parse().unwrap();
    quick.tell(20, Fact::Asked { step: step.clone() });
    let (by, right, note) = ("bob".into(), "operations".into(), String::new());
    quick.tell(21, Fact::Approved { step, by, right, note });
    quick.done("restore", (21, 140), restored());
    quick.done("start", (140, 151), Outputs::new());
    quick.tell(151, Fact::Finished { outcome: lifeboat_runbook::Outcome::Succeeded });
    let (_host, catalog) = host_with(&[Story::whole(1), Story::whole(2)]);
    let all = collect::all(catalog.view()).unwrap();
    let table = times(&plan_of(PLAN.to_owned()), &all, None);
    assert_eq!(table.scenarios[0].trend, Trend::Steady);
    keep(&catalog, &EvidenceOf::Recovery(&quick.carried())).unwrap();
    let mut all = collect::all(catalog.view()).unwrap();
    // What is compared is in the order in which it was declared; all of these were at once.
    all.retain(|record| evidence_in(record).is_some());
    let table = times(&plan_of(PLAN.to_owned()), &all, Some(&"loss".parse().unwrap()));
    let loss = &table.scenarios[0];
    assert_eq!((loss.runs.len(), loss.estimate.as_deref()), (3, Some("10m..30m")));
    assert_eq!((loss.rto_ms, loss.runs[0].lost_ms), (Some(7_200_000), Some(1_800_000)));
    assert!(!loss.estimates.is_empty());
    let run = |total: u64, people: u64| {
        let mut run = loss.runs[0].clone();
        (run.times.total_ms, run.times.people_ms) = (total, people);
        run
    };
    let of = |newest, before: &[u64]| {
        let before = before.iter().map(|total| run(*total, 0));
        trend::trend(&std::iter::once(newest).chain(before).collect::<Vec<_>>())
    };
    assert_eq!(of(run(1000, 0), &[]), Trend::Unknown);
    assert_eq!(of(run(1500, 0), &[1000, 1000]), Trend::Slower { percent: 50 });
    assert_eq!(of(run(5000, 4500), &[1000]), Trend::Faster { percent: 50 }, "people wait apart");
    assert_eq!(of(run(1050, 0), &[1000]), Trend::Steady);
}

#[test]
fn a_record_that_would_be_too_long_says_what_it_leaves_out() {
    let mut not_verified = Vec::new();
    let list: Vec<_> = (0..document::LIST_MAX + 7).collect();
    let cut = document::bounded(list, "steps", &mut not_verified);
    assert_eq!(
        (cut.len(), not_verified),
        (document::LIST_MAX, vec!["7 more steps are not in this record".to_owned()])
    );
    let long = "ü".repeat(document::TEXT_MAX);
    assert!(document::text(&long).len() <= document::TEXT_MAX + 3);
    assert_eq!(
        Duration::from_millis(facts(&Story::whole(1)).times.total_ms),
        Duration::from_secs(400)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No single changed byte of a document is taken for what was signed.
    #[test]
    fn any_changed_byte_of_a_document_is_found(at: prop::sample::Index, flip in 1_u8..=255) {
        let (host, catalog) = host_with(&[Story::whole(1)]);
        let record = collect::all(catalog.view()).unwrap().remove(0);
        let mut bytes = record.plaintext().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let verifier = host.key.public_halves().verifier;
        prop_assert!(read_document(&bytes, &host.site, &verifier).is_err(), "byte {at}");
    }
}

#[test]
fn however_much_was_tried_a_record_stays_short_enough_to_be_kept_and_says_what_it_lacks() {
    let mut facts = facts(&Story::whole(1));
    assert_eq!(document::fitted(facts.clone()), facts);
    let mut step = facts.steps[0].clone();
    let mut attempt = step.attempts[0].clone();
    attempt.why = Some("x".repeat(document::TEXT_MAX));
    step.attempts = vec![attempt; document::LIST_MAX];
    facts.steps = vec![step; document::LIST_MAX];
    let fitted = document::fitted(facts);
    assert!(serde_json::to_vec(&fitted).unwrap().len() < 1 << 20);
    assert!(!fitted.steps[0].attempts.is_empty());
    assert!(fitted.not_verified.iter().any(|why| why.contains("too many for a record")));
}
