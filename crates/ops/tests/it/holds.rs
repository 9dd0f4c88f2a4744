//! What keeps everything from being removed: holds that people begin, and recoveries that are not over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::{Cancel, EventSink, Silent};
use lifeboat_ops::point::At;
use lifeboat_ops::procedure::Procedure;
use lifeboat_ops::procedure::conduct::{self, Conduct, Declaration};
use lifeboat_ops::procedure::outlook::look_ahead;
use lifeboat_ops::procedure::report::{RunReport, RunState};
use lifeboat_ops::procedure::target::Target;
use lifeboat_ops::retention::hold::{WhichHolds, hold, release};
use lifeboat_ops::retention::{Purpose, RetentionOptions, RetentionReport, retention};
use lifeboat_ops::status::status;
use lifeboat_ops::{Site, Surroundings};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::{Facts, SourceFile, load};
use lifeboat_runbook::{Command, Entry, Operator, Outcome, Person, Run, Witness};
use lifeboat_tiers::{MemoryTier, ObjectPath, PutMode, Tier};

use crate::ground::{Ground, back_up};

const DAY: u64 = 24 * 3600;

const PLAN: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
keep = { within = "2d" }
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
[scenarios.loss]
runbook = "loss.toml"
"#;

const RUNBOOK: &str = r#"
title = "Loss"
[[steps]]
id = "look"
run = "test -e HOME/found"
"#;

#[derive(Debug)]
struct Nobody;

impl Witness for Nobody {
    fn saw(&self, _: &Run, _: &Entry) {}
}

/// A site with five days of backups of which two are kept, and a pack that nothing needs.
struct Kept {
    ground: Ground,
    memory: Arc<MemoryTier>,
}

impl Kept {
    fn new() -> Self {
        let kept = Self { ground: Ground::new(), memory: Arc::new(MemoryTier::new()) };
        for day in 0..5_u8 {
            kept.ground.write("media/changes", vec![day; 40_000]);
            kept.ground.pass(DAY);
            back_up(&kept.site("web-1")).unwrap();
        }
        let orphan: ObjectPath = format!("repo/data/aa/{}", "aa".repeat(32)).parse().unwrap();
        let runtime = &kept.ground.surroundings.runtime;
        let body = Bytes::from_static(b"nothing");
        runtime.block_on(kept.memory.put(&orphan, body, PutMode::Create)).unwrap();
        kept
    }

    /// The site as a host sees it; each has a state of its own.
    fn site(&self, host: &str) -> Site {
        let ground = &self.ground;
        let source = SourceFile { path: "plan.toml".to_owned(), text: ground.plan_text(PLAN) };
        let runbook = RUNBOOK.replace("HOME", ground.home.path().to_str().unwrap());
        let files = BTreeMap::from([("loss.toml".to_owned(), runbook)]);
        let checked = load(source, &files, &Facts::default(), ground.surroundings.now());
        let checked = checked.unwrap_or_else(|rejected| panic!("{:#?}", rejected.diagnostics));
        let surroundings = Surroundings {
            state_directory: ground.path(&format!("state-{host}")),
            hostname: host.to_owned(),
            ..ground.surroundings.clone()
        };
        let site = Site::new(checked, surroundings);
        site.with_tier("primary".parse().unwrap(), Arc::<MemoryTier>::clone(&self.memory))
    }

    /// What lies there beside locks and records.
    fn data(&self) -> BTreeSet<ObjectPath> {
        let kinds = ["repo/data/", "repo/index/", "repo/snapshots/", "wal/"];
        let is_data = |path: &ObjectPath| kinds.iter().any(|kind| path.as_str().starts_with(kind));
        self.memory.contents().into_keys().filter(is_data).collect()
    }

    fn retain(&self, host: &str) -> RetentionReport {
        let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
        retention(&self.site(host), &options, &Silent, &Cancel::new()).unwrap()
    }

    /// Why nothing is removed.
    fn reasons(&self, host: &str) -> Vec<String> {
        let before = self.data();
        let report = self.retain(host);
        assert_eq!(self.data(), before, "{report:#?}");
        assert!(report.tiers.iter().all(|tier| tier.prune.is_none()), "{report:#?}");
        report.holds.into_iter().map(|hold| hold.reason).collect()
    }

    fn assert_removes(&self, host: &str) {
        let before = self.data();
        let report = self.retain(host);
        assert!(report.holds.is_empty(), "{report:#?}");
        assert!(self.data().len() < before.len(), "{report:#?}");
    }

    fn conduct(&self) -> Conduct {
        let operator = Operator { login: "a".to_owned(), host: "web-1".to_owned(), process: 1 };
        Conduct::take(Arc::new(self.site("web-1")), operator).unwrap()
    }

    fn declare(&self) {
        let site = self.site("web-1");
        let scenario = "loss".parse().unwrap();
        let procedure = Procedure::of(site.plan(), &scenario, RunKind::Recovery).unwrap();
        let outlook = look_ahead(&site, &procedure, At::Latest, &Silent, &Cancel::new()).unwrap();
        let target = Target { host: "web-1".to_owned(), place: None, directory: None };
        let declared = self.ground.surroundings.now();
        let (procedure, outlook) = (&procedure, &outlook);
        self.conduct().declare(&Declaration { procedure, outlook, target, declared }).unwrap();
    }

    fn drive(&self) -> RunReport {
        let events: Arc<dyn EventSink> = Arc::new(Silent);
        self.conduct().drive(Vec::new(), &Nobody, &events, &Cancel::new()).unwrap()
    }
}

const RECOVERING: &str = "the recovery of `loss` is not over";

#[test]
fn a_hold_keeps_snapshots_packs_and_index_files_on_every_host() {
    let kept = Kept::new();
    hold(&kept.site("web-1"), "an intruder", &Silent, &Cancel::new()).unwrap();
    for host in ["web-1", "web-2"] {
        assert_eq!(kept.reasons(host), ["an intruder"]);
    }
    let risks = status(&kept.site("web-1")).unwrap().risks;
    let told = risks.iter().find(|risk| risk.subject == "retention").unwrap();
    assert!(told.message.ends_with(": an intruder"), "{told:?}");
    release(&kept.site("web-2"), &WhichHolds::All, &Silent, &Cancel::new()).unwrap();
    kept.assert_removes("web-1");
}

#[test]
fn a_recovery_holds_by_itself_until_it_is_over_on_every_host() {
    let kept = Kept::new();
    kept.declare();
    assert_eq!(kept.reasons("web-1"), [RECOVERING], "its host knows before any tier was told");
    assert_eq!(kept.drive().state, RunState::Stuck);
    for host in ["web-1", "web-2"] {
        assert_eq!(kept.reasons(host), [RECOVERING], "{host}");
    }
    let told = status(&kept.site("web-1")).unwrap();
    let risk = told.risks.iter().find(|risk| risk.subject == "retention").unwrap();
    assert_eq!(risk.command.as_deref(), Some("lifeboat recover status"));
    let run = told.holds[0].run.unwrap();
    let this = WhichHolds::One(run.to_string());
    let refused = release(&kept.site("web-1"), &this, &Silent, &Cancel::new()).unwrap_err();
    assert!(refused.to_string().contains("open on this host"), "{refused}");
    assert!(
        release(&kept.site("web-2"), &WhichHolds::All, &Silent, &Cancel::new()).unwrap().is_empty()
    );
    assert_eq!(
        kept.reasons("web-2"),
        [RECOVERING],
        "what people began is not what a recovery holds"
    );

    let person = Person { name: "a".to_owned(), rights: ["a".to_owned()].into() };
    let abort = Command::Abort { why: "nothing was lost".to_owned() };
    conduct::say(&kept.site("web-1"), &abort, &person).unwrap();
    assert_eq!(kept.drive().outcome, Some(Outcome::Aborted));
    kept.assert_removes("web-2");
}

#[test]
fn what_a_recovery_holds_whose_host_is_lost_is_released_by_its_run() {
    let kept = Kept::new();
    kept.declare();
    assert_eq!(kept.drive().state, RunState::Stuck);
    assert_eq!(kept.reasons("web-2"), [RECOVERING]);
    let site = kept.site("web-2");
    let released = status(&site).unwrap().holds[0].run.unwrap();
    let this = WhichHolds::One(released.to_string());
    assert_eq!(release(&site, &this, &Silent, &Cancel::new()).unwrap().len(), 1);
    kept.assert_removes("web-2");
}
