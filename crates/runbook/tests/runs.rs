//! Runs of runbooks, driven step by step and over simulated worlds.
#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Classify as _, ErrorKind, RunId, RunbookId, StepName, Timestamp};
use lifeboat_runbook::entry::{AttemptEnding, Began, FORMAT, Found};
use lifeboat_runbook::simulation::{self, Play, Trouble};
use lifeboat_runbook::times::{FETCHED_MS, REPLAYED_MS};
use lifeboat_runbook::{
    Again, Command, Condition, Decision, Entry, Fact, Failure, Graph, Input, Interruption, Mood,
    Operator, Outcome, Output, OutputKind, Outputs, Person, Phase, Refusal, Retry, Run, RunError,
    Runbook, Step, Task, Test, Undo,
};
use proptest::prelude::*;

fn name(text: &str) -> StepName {
    text.parse().unwrap()
}

fn step(text: &str, needs: &[&str]) -> Step {
    let needs = needs.iter().map(|need| name(need)).collect();
    Step { needs, ..Step::new(name(text), Task::Act) }
}

fn person(text: &str, needs: &[&str], task: Task) -> Step {
    let outputs = [("note", OutputKind::Text)];
    let outputs = outputs.map(|(name, kind)| (name.to_owned(), kind)).into();
    Step { task, outputs, ..step(text, needs) }
}

fn runbook(steps: Vec<Step>) -> Arc<Runbook> {
    let graph = Graph::build(steps).unwrap();
    Arc::new(Runbook { id: RunbookId::from_bytes([7; 32]), graph })
}

/// The reference plan's way back from a corrupt database.
fn corruption() -> Arc<Runbook> {
    let stop =
        Step { undo: Undo::Possible, interruption: Interruption::Repeat, ..step("stop", &[]) };
    let keep = Step { is_critical: false, ..step("keep", &["stop"]) };
    let approve = Task::Approve { by: "operations".to_owned() };
    let wait = Step { task: Task::Wait(Duration::from_secs(90)), ..step("wait", &["restore"]) };
    runbook(vec![
        stop,
        keep,
        Step {
            retry: Retry { times: 1, wait: Duration::from_secs(30) },
            ..step("restore", &["keep"])
        },
        person("agree", &["restore"], approve),
        wait,
        Step { phase: Phase::Start, ..step("start", &["agree", "wait"]) },
    ])
}

/// A run that is told what happens, a second each.
struct Told {
    run: Run,
    now: Timestamp,
}

impl Told {
    fn new(runbook: &Arc<Runbook>) -> Self {
        let run: RunId = "run_00000000000070008000000000000000".parse().unwrap();
        let time = Timestamp::UNIX_EPOCH + Duration::from_secs(5);
        let (declared, about) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        let began = Began { format: FORMAT, run, runbook: runbook.id, declared, about };
        let fact = Fact::Began(began);
        let first = Entry { sequence: 0, time, before: None, fact };
        Self { run: Run::begin(Arc::clone(runbook), &first).unwrap(), now: time }
    }

    fn try_tell(&mut self, fact: Fact) -> Result<(), RunError> {
        self.now += Duration::from_secs(1);
        let entry = self.run.next_entry(fact, self.now);
        self.run.apply(&entry)
    }

    fn tell(&mut self, fact: Fact) {
        self.try_tell(fact).unwrap();
    }

    fn start(&mut self, step: &str, attempt: u32) {
        self.tell(Fact::Started { step: name(step), attempt });
    }

    fn end(&mut self, step: &str) {
        let ending = AttemptEnding::Done { outputs: Outputs::new() };
        self.tell(Fact::Ended { step: name(step), ending });
    }

    fn fail(&mut self, step: &str) {
        let ending = AttemptEnding::Failed(Failure::new("it broke"));
        self.tell(Fact::Ended { step: name(step), ending });
    }

    fn taken(&mut self) {
        let by = Operator { login: "alice".into(), host: "web-1".into(), process: 7 };
        self.tell(Fact::Taken { by });
    }

    fn say(&mut self, command: &Command, by: &Person) -> Result<(), Refusal> {
        let fact = self.run.command(command, by)?;
        self.tell(fact);
        Ok(())
    }

    fn decisions(&self) -> Vec<Decision> {
        self.run.decide(self.now)
    }
}

fn alice() -> Person {
    Person { name: "alice".to_owned(), rights: ["alice", "operations"].map(str::to_owned).into() }
}

fn start(step: &str, attempt: u32) -> Decision {
    Decision::Start { step: name(step), attempt }
}

#[test]
fn a_failed_step_is_tried_again_after_its_wait_and_then_keeps_the_run() {
    let mut told = Told::new(&corruption());
    told.start("stop", 1);
    told.end("stop");
    told.start("keep", 1);
    told.fail("keep");
    assert_eq!(told.decisions(), [start("restore", 1)], "what is not critical may fail");
    told.start("restore", 1);
    told.fail("restore");
    let again = told.now + Duration::from_secs(30);
    assert_eq!(told.decisions(), [Decision::WaitUntil(again)]);
    told.now = again;
    assert_eq!(told.decisions(), [start("restore", 2)]);
    told.start("restore", 2);
    told.fail("restore");
    let [Decision::Stuck(stuck)] = &told.decisions()[..] else { panic!("not stuck") };
    assert_eq!((stuck[0].step.as_str(), stuck[0].failure.why.as_str()), ("restore", "it broke"));
    let behind: Vec<_> = stuck[0].behind.iter().map(StepName::as_str).collect();
    assert_eq!(behind, ["agree", "wait", "start"]);
    told.say(&Command::Retry { step: name("restore") }, &alice()).unwrap();
    assert_eq!(told.decisions(), [start("restore", 3)]);
}

#[test]
fn what_was_interrupted_is_done_again_or_found_out() {
    let mut told = Told::new(&corruption());
    told.start("stop", 1);
    told.taken();
    assert_eq!(told.decisions(), [start("stop", 2)], "stopping twice is as good as once");
    told.start("stop", 2);
    told.end("stop");
    told.start("keep", 1);
    told.taken();
    let error = told.try_tell(Fact::Started { step: name("keep"), attempt: 2 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(told.decisions(), [Decision::FindOut { step: name("keep") }]);
    told.tell(Fact::Found {
        step: name("keep"),
        found: Found::NotDone { why: "there is no file".to_owned() },
    });
    assert_eq!(told.decisions(), [start("keep", 2)]);
}

#[test]
fn what_nobody_can_tell_is_a_persons_to_decide() {
    let mut told = Told::new(&runbook(vec![step("switch", &[])]));
    told.start("switch", 1);
    told.taken();
    let found = Found::Unclear { why: "the provider does not answer".to_owned() };
    told.tell(Fact::Found { step: name("switch"), found });
    let [Decision::Stuck(stuck)] = &told.decisions()[..] else { panic!("not stuck") };
    assert_eq!(stuck[0].failure.again, Again::IsUseless);
    let why = "the console shows it".to_owned();
    assert_eq!(
        told.say(&Command::Skip { step: name("switch"), why: " ".to_owned() }, &alice()),
        Err(Refusal::NoReason)
    );
    told.say(&Command::Skip { step: name("switch"), why }, &alice()).unwrap();
    assert_eq!(told.decisions(), [Decision::Finish(Outcome::Incomplete)]);
}

fn approve_as(why: &str) -> Command {
    Command::Approve { step: name("agree"), note: why.to_owned() }
}

#[test]
fn only_whoever_has_the_role_approves() {
    let mut told = Told::new(&runbook(vec![person(
        "agree",
        &[],
        Task::Approve { by: "operations".to_owned() },
    )]));
    let approve = approve_as("all is there");
    assert!(matches!(told.say(&approve, &alice()), Err(Refusal::NotNow { .. })));
    told.tell(Fact::Asked { step: name("agree") });
    let bob = Person { name: "bob".to_owned(), rights: BTreeSet::from(["bob".to_owned()]) };
    let refused = told.say(&approve, &bob).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert_eq!(refused.to_string(), "`agree` waits for operations, and bob is not that");
    assert_eq!(told.say(&approve_as(" "), &alice()), Err(Refusal::NoReason));
    told.say(&approve, &alice()).unwrap();
    let (_, course) = told.run.step(&name("agree")).unwrap();
    assert_eq!(course.outputs["by"], Output::text("alice"));
    assert_eq!(told.decisions(), [Decision::Finish(Outcome::Succeeded)]);
}

#[test]
fn a_list_is_ticked_off_before_a_step_is_confirmed() {
    let checklist = vec!["power is on".to_owned(), "DNS points here".to_owned()];
    let task = Task::Manual { checklist: checklist.clone() };
    let mut told = Told::new(&runbook(vec![person("provision", &[], task)]));
    told.tell(Fact::Asked { step: name("provision") });
    let confirm = |ticked: &[String]| Command::Confirm {
        step: name("provision"),
        note: "server 4711".to_owned(),
        ticked: ticked.to_vec(),
    };
    let refused = told.say(&confirm(&checklist[..1]), &alice()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`provision` is not done before all of its list is: `DNS points here`"
    );
    told.say(&confirm(&checklist), &alice()).unwrap();
    let (_, course) = told.run.step(&name("provision")).unwrap();
    assert_eq!(course.outputs["note"], Output::text("server 4711"));
}

#[test]
fn a_paused_run_begins_nothing() {
    let mut told = Told::new(&corruption());
    told.start("stop", 1);
    told.say(&Command::Pause { why: "look".to_owned() }, &alice()).unwrap();
    told.end("stop");
    assert_eq!(told.decisions(), []);
    assert!(told.try_tell(Fact::Started { step: name("keep"), attempt: 1 }).is_err());
    assert!(matches!(told.run.mood(), Mood::Paused { by, .. } if by == "alice"));
    told.say(&Command::Resume, &alice()).unwrap();
    assert_eq!(told.decisions(), [start("keep", 1)]);
}

#[test]
fn an_aborted_run_stops_and_undoes_in_reverse_order() {
    let undoable = |text, needs: &[&str]| Step { undo: Undo::Possible, ..step(text, needs) };
    let steps = vec![undoable("a", &[]), undoable("b", &["a"]), undoable("c", &["b"])];
    let mut told = Told::new(&runbook(steps));
    told.start("a", 1);
    told.end("a");
    told.start("b", 1);
    told.say(&Command::Abort { why: "wrong point".to_owned() }, &alice()).unwrap();
    assert_eq!(told.decisions(), [Decision::Stop { step: name("b") }]);
    told.tell(Fact::Ended { step: name("b"), ending: AttemptEnding::Stopped });
    assert_eq!(told.decisions(), [Decision::Undo { step: name("b") }]);
    told.tell(Fact::UndoStarted { step: name("b") });
    let failure = Some(Failure::new("no way"));
    told.tell(Fact::UndoEnded { step: name("b"), failure });
    let [Decision::Stuck(stuck)] = &told.decisions()[..] else { panic!("not stuck") };
    assert!(stuck[0].is_undo);
    let skip = Command::Skip { step: name("b"), why: "done by hand".to_owned() };
    told.say(&skip, &alice()).unwrap();
    told.tell(Fact::UndoStarted { step: name("a") });
    told.taken();
    assert_eq!(told.decisions(), [Decision::Undo { step: name("a") }], "an undo is done again");
    told.tell(Fact::UndoStarted { step: name("a") });
    told.tell(Fact::UndoEnded { step: name("a"), failure: None });
    assert_eq!(told.decisions(), [Decision::Finish(Outcome::Aborted)]);
}

#[test]
fn a_runbook_that_was_changed_meanwhile_is_refused() {
    let before = corruption();
    let now = Arc::new(Runbook { id: RunbookId::from_bytes([8; 32]), graph: before.graph.clone() });
    let run: RunId = "run_00000000000070008000000000000000".parse().unwrap();
    let (declared, about) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
    let began = Began { format: FORMAT, run, runbook: before.id, declared, about };
    let fact = Fact::Began(began);
    let first = Entry { sequence: 0, time: Timestamp::UNIX_EPOCH, before: None, fact };
    let error = Run::begin(now, &first).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().starts_with("the runbook was changed while its run is open"));
}

#[test]
fn a_condition_leaves_out_what_it_does_not_hold_for() {
    let input = Input { step: name("ask"), output: "note".to_owned() };
    let condition = Some(Condition { input, test: Test::Is("yes".to_owned()) });
    let ask = person("ask", &[], Task::Manual { checklist: Vec::new() });
    let then = Step { condition, ..step("then", &["ask"]) };
    for (note, decision) in [
        ("yes", start("then", 1)),
        (
            "no",
            Decision::LeaveOut {
                step: name("then"),
                why: "`note` of `ask` is `no` and would have to be `yes`".to_owned(),
            },
        ),
    ] {
        let mut told = Told::new(&runbook(vec![ask.clone(), then.clone()]));
        told.tell(Fact::Asked { step: name("ask") });
        let (note, ticked) = (note.to_owned(), Vec::new());
        told.say(&Command::Confirm { step: name("ask"), note, ticked }, &alice()).unwrap();
        assert_eq!(told.decisions(), [decision]);
    }
}

#[test]
fn time_is_split_and_people_are_counted_apart() {
    let mut told = Told::new(&corruption());
    let pass = |told: &mut Told, seconds| told.now += Duration::from_secs(seconds);
    for step in ["stop", "keep", "restore"] {
        told.start(step, 1);
        pass(&mut told, 9);
        told.end(step);
    }
    told.tell(Fact::Asked { step: name("agree") });
    pass(&mut told, 100);
    told.say(&approve_as("all is there"), &alice()).unwrap();
    told.start("wait", 1);
    pass(&mut told, 100);
    told.tell(Fact::Elapsed { step: name("wait") });
    told.start("start", 1);
    pass(&mut told, 19);
    told.end("start");
    told.tell(Fact::Finished { outcome: Outcome::Succeeded });
    let times = told.run.times(told.now + Duration::from_hours(1));
    assert_eq!(times.people, Duration::from_secs(101));
    assert_eq!(times.phases[&Phase::Start], Duration::from_secs(20));
    assert_eq!(times.phases[&Phase::Prepare], Duration::from_secs(30 + 101));
    assert_eq!(times.standstill, Duration::from_secs(7), "a second before each entry that begins");
    assert_eq!(times.phases[&Phase::Decide], Duration::from_secs(5));
    assert_eq!(times.total, Duration::from_secs(5 + 131 + 101 + 20 + 7));
}

#[test]
fn a_restore_says_what_of_its_time_was_fetching_and_what_replaying() {
    let restore = Step { phase: Phase::Restore, ..step("restore", &[]) };
    let mut told = Told::new(&runbook(vec![restore]));
    told.start("restore", 1);
    told.now += Duration::from_secs(99);
    let numbers = [(FETCHED_MS, 10_000), (REPLAYED_MS, 30_000)];
    let outputs = numbers.map(|(name, ms)| (name.to_owned(), Output::Number(ms))).into();
    let ending = AttemptEnding::Done { outputs };
    told.tell(Fact::Ended { step: name("restore"), ending });
    let times = told.run.times(told.now);
    let seconds = |phase| times.phases[&phase].as_secs();
    assert_eq!(
        [Phase::Fetch, Phase::Restore, Phase::Replay].map(seconds),
        [10, 60, 30],
        "{times:?}"
    );
}

#[test]
fn the_reference_runbook_stands_everything() {
    simulation::all(&corruption());
}

#[test]
fn a_step_that_fails_without_being_critical_makes_the_run_incomplete() {
    let troubles = BTreeMap::from([(name("keep"), Trouble::Fails)]);
    let (end, _) = Play::new(&corruption()).with(troubles).to_the_end();
    assert_eq!(end.outcome, Outcome::Incomplete);
}

/// Steps that need some of those before them, of all kinds.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (any::<u8>(), 0..6_u8, any::<bool>(), any::<bool>(), 0..3_u32, any::<bool>());
    proptest::collection::vec(one, 1..7).prop_map(|drawn| {
        let mut steps: Vec<Step> = Vec::new();
        for (index, (needs, task, repeats, undoes, times, takes)) in drawn.into_iter().enumerate() {
            let needs = (0..index).filter(|before| needs & (1 << before) != 0);
            let needs: Vec<_> = needs.map(|before| format!("s{before}")).collect();
            let needs: Vec<_> = needs.iter().map(String::as_str).collect();
            let mut step = match task {
                0 => person(&format!("s{index}"), &needs, Task::Manual { checklist: Vec::new() }),
                1 => Step {
                    task: Task::Wait(Duration::from_secs(45)),
                    ..step(&format!("s{index}"), &needs)
                },
                _ => step(&format!("s{index}"), &needs),
            };
            step.timeout = Duration::from_mins(10);
            if step.task == Task::Act {
                step.outputs.insert("note".to_owned(), OutputKind::Text);
                step.retry = Retry { times, wait: Duration::from_secs(5) };
                if repeats {
                    step.interruption = Interruption::Repeat;
                }
                if undoes {
                    step.undo = Undo::Possible;
                }
                let from = step.needs.first().filter(|_| takes).cloned();
                let gives = |name: &StepName| {
                    let known = steps.iter().find(|step| step.name == *name);
                    known.is_some_and(|step| step.outputs.contains_key("note"))
                };
                let output = "note".to_owned();
                step.inputs.extend(from.filter(gives).map(|step| Input { step, output }));
            }
            steps.push(step);
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_runbook_stands_everything(steps in steps()) {
        simulation::all(&runbook(steps));
    }
}
