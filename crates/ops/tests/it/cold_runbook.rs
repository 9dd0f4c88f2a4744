//! Recoveries by runbook from cold storage: the hours count before anything is done, and a step waits for as long as it
//! may.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::clock::Sleep;
use lifeboat_model::{Cancel, Clock, EventSink, Silent, SimClock, Timestamp};
use lifeboat_ops::point::At;
use lifeboat_ops::procedure::Procedure;
use lifeboat_ops::procedure::conduct::{self, Conduct, Declaration};
use lifeboat_ops::procedure::outlook::{Outlook, look_ahead};
use lifeboat_ops::procedure::report::{RunReport, RunState};
use lifeboat_ops::procedure::target::Target;
use lifeboat_ops::{Site, Surroundings};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::{Facts, SourceFile, load};
use lifeboat_runbook::{Command, Entry, Operator, Outcome, Person, Run, Witness};
use lifeboat_tiers::{ColdTier, MemoryTier};

use crate::ground::{Ground, back_up};

const WITHIN: Duration = Duration::from_hours(5);

const PLAN: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.vault]
url = "file://HOME/vault"
access = "archive"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["vault"]
[checks.counted]
command = ["sh", "-c", "echo asked >>HOME/asked"]
[scenarios.loss]
runbook = "loss.toml"
rto = "4h"
"#;

const RUNBOOK: &str = r#"
title = "Loss"
[[steps]]
id = "restore"
restore = { asset = "media" }
estimate = "1h"
TIMEOUT
[[steps]]
id = "asked"
needs = ["restore"]
check = ["counted"]
estimate = "1m"
"#;

/// A simulated clock on which pauses pass at once, what only bounds other work never does, and who polls does so by the
/// millisecond.
#[derive(Debug)]
struct PatientClock(Arc<SimClock>);

impl Clock for PatientClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        if duration >= Duration::from_hours(1) {
            Box::pin(std::future::pending())
        } else if duration >= Duration::from_mins(5) {
            self.0.sleep(duration)
        } else {
            Box::pin(tokio::time::sleep(Duration::from_millis(1)))
        }
    }
}

#[derive(Debug)]
struct Nobody;

impl Witness for Nobody {
    fn saw(&self, _: &Run, _: &Entry) {}
}

/// A site whose only copy lies cold, and that lost what it protects.
struct Lost {
    ground: Ground,
    vault: Arc<ColdTier>,
    timeout: &'static str,
}

impl Lost {
    fn new(timeout: &'static str) -> Self {
        let ground = Ground::new();
        let clock = Arc::<SimClock>::clone(&ground.clock);
        let vault = Arc::new(ColdTier::new(Arc::new(MemoryTier::new()), clock, WITHIN));
        ground.write("media/a", "kept in the cold");
        let lost = Self { ground, vault, timeout };
        back_up(&lost.site()).unwrap();
        lost.ground.pass(3600);
        fs::remove_dir_all(lost.ground.path("media")).unwrap();
        lost
    }

    fn site(&self) -> Site {
        let text = self.ground.plan_text(PLAN);
        let source = SourceFile { path: "plan.toml".to_owned(), text };
        let runbook = RUNBOOK.replace("TIMEOUT", self.timeout);
        let files = BTreeMap::from([("loss.toml".to_owned(), runbook)]);
        let checked = load(source, &files, &Facts::default(), self.ground.surroundings.now());
        let checked = checked.unwrap_or_else(|rejected| panic!("{:#?}", rejected.diagnostics));
        let clock = Arc::new(PatientClock(Arc::clone(&self.ground.clock)));
        let surroundings = Surroundings { clock, ..self.ground.surroundings.clone() };
        let site = Site::new(checked, surroundings);
        site.with_tier("vault".parse().unwrap(), Arc::<ColdTier>::clone(&self.vault))
    }

    fn procedure(&self) -> Procedure {
        Procedure::of(self.site().plan(), &"loss".parse().unwrap(), RunKind::Recovery).unwrap()
    }

    fn outlook(&self) -> Outlook {
        let (site, procedure) = (self.site(), self.procedure());
        look_ahead(&site, &procedure, At::Latest, &Silent, &Cancel::new()).unwrap()
    }

    fn conduct(&self) -> Conduct {
        let operator = Operator { login: "a".to_owned(), host: "web-1".to_owned(), process: 1 };
        Conduct::take(Arc::new(self.site()), operator).unwrap()
    }

    fn declare(&self) {
        let target = Target { host: "web-1".to_owned(), place: None, directory: None };
        let (procedure, outlook) = (&self.procedure(), &self.outlook());
        let declared = self.ground.surroundings.now();
        let declaration = Declaration { procedure, outlook, target, declared };
        self.conduct().declare(&declaration).unwrap();
    }

    fn drive(&self) -> RunReport {
        let events: Arc<dyn EventSink> = Arc::new(Silent);
        self.conduct().drive(Vec::new(), &Nobody, &events, &Cancel::new()).unwrap()
    }

    fn assert_restored(&self) {
        let restored = fs::read_to_string(self.ground.path("media/a")).unwrap();
        assert_eq!(restored, "kept in the cold");
        let asked = fs::read_to_string(self.ground.path("asked")).unwrap();
        assert_eq!(asked, "asked\n", "a step that is a check asks once");
        let cold = self.vault.stored_cold().len();
        assert_eq!((self.vault.thaws().len(), self.vault.refused().len()), (cold, 0));
    }
}

#[test]
fn a_recovery_by_runbook_foresees_the_hours_of_cold_storage_asks_once_and_waits() {
    let lost = Lost::new("");
    let ahead = lost.outlook();
    let [found] = &ahead.thaws[..] else { panic!("{ahead:?}") };
    assert_eq!((found.step.as_str(), found.forecast.within()), ("restore", WITHIN));
    let hour = 3_600_000;
    assert_eq!(
        (ahead.predicted_ms, ahead.rto_ms),
        (6 * hour + 60_000, Some(4 * hour)),
        "1 h, 5 h and 1 min"
    );
    assert!(lost.vault.thaws().is_empty(), "who looks ahead asks for nothing");

    let before = lost.ground.surroundings.now();
    lost.declare();
    let report = lost.drive();
    assert_eq!(report.outcome, Some(Outcome::Succeeded), "{report:#?}");
    let waited = lost.ground.surroundings.now().duration_since(before).as_secs();
    assert!((5 * 3600..6 * 3600).contains(&waited), "{waited}");
    lost.assert_restored();
}

#[test]
fn a_step_without_the_time_for_cold_storage_asks_and_says_how_to_come_back() {
    let lost = Lost::new("timeout = \"2h\"");
    lost.declare();
    let report = lost.drive();
    assert_eq!((report.outcome, report.state), (None, RunState::Stuck), "{report:#?}");
    let step = &report.steps[0];
    let (why, hint) = (step.why.as_deref().unwrap(), step.hint.as_deref().unwrap());
    assert!(why.contains("up to 5h") && why.contains("the step has 2h"), "{why}");
    assert!(hint.contains("`lifeboat recover retry restore`"), "{hint}");
    assert!(
        !lost.vault.thaws().is_empty(),
        "it was asked for, so that whoever comes back finds it"
    );

    lost.ground.clock.advance(WITHIN);
    let person = Person { name: "a".to_owned(), rights: ["a".to_owned()].into() };
    let retry = Command::Retry { step: "restore".parse().unwrap() };
    conduct::say(&lost.site(), &retry, &person).unwrap();
    let report = lost.drive();
    assert_eq!(report.outcome, Some(Outcome::Succeeded), "{report:#?}");
    lost.assert_restored();
}
