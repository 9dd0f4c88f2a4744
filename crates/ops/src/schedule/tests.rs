//! What is due, on a simulated clock: clock changes, leap days, outages, blackouts, pauses.

use std::path::Path;

use lifeboat_plan::{Facts, SourceFile, load};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

const HEAD: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
env = "KEY"
[assets.media]
kind = "files"
paths = ["/srv/media"]
rto = "4h"
[assets.database]
kind = "command"
backup = ["dump"]
rto = "1h"
[tiers.near]
url = "file:///backups/near"
keep = { within = "30d" }
[tiers.far]
url = "s3://far"
keep = { within = "30d" }
"#;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hours(count: u64) -> Duration {
    Duration::from_hours(count)
}

fn later(at: Timestamp, length: Duration) -> Timestamp {
    at.checked_add(length).unwrap()
}

fn plan(tables: &str) -> Plan {
    let text = format!("{HEAD}{tables}");
    let source = SourceFile { path: "plan.toml".to_owned(), text };
    let files = BTreeMap::<String, String>::new();
    load(source, &files, &Facts::default(), instant("2026-01-01T00:00:00Z")).unwrap().plan
}

fn schedule(name: &str, cron: &str, rest: &str) -> String {
    format!(
        "[schedules.{name}]\ncron = \"{cron}\"\nassets = [\"media\"]\nto = [\"near\", \"far\"]\n{rest}\n"
    )
}

fn task(text: &str) -> Task {
    text.parse().unwrap()
}

/// A run as it was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    task: Task,
    slot: Timestamp,
    missed: u32,
    at: Timestamp,
}

/// A host that does what is due.
struct World {
    plan: Plan,
    history: History,
    conditions: Conditions,
    now: Timestamp,
    begun: Vec<Begun>,
}

impl World {
    fn new(plan: Plan, now: &str) -> Self {
        let now = instant(now);
        let history = Task::all(&plan).into_iter().map(|task| (task, Past::since(now))).collect();
        let conditions = Conditions::default();
        Self { plan, history, conditions, now, begun: Vec::new() }
    }

    fn due(&self) -> Vec<Due> {
        due(&self.plan, &self.history, &self.conditions, self.now)
    }

    /// Does what is due at this instant, all of it in no time.
    fn work(&mut self) {
        loop {
            let ready: Vec<_> = self.due().into_iter().filter(|due| due.held.is_none()).collect();
            if ready.is_empty() {
                return;
            }
            for Due { task, slot, missed, .. } in ready {
                let past = self.history.get_mut(&task).unwrap();
                let is_later = past.slot.is_none_or(|before| slot > before);
                assert!(is_later, "{task} at {slot} a second time");
                (past.slot, past.ended) = (Some(slot), Some(self.now));
                self.begun.push(Begun { task, slot, missed, at: self.now });
            }
        }
    }

    /// Works from one thing that is due to the next.
    fn run_until(&mut self, end: Timestamp) {
        while self.now < end {
            self.work();
            let runs = next_runs(&self.plan, &self.history, &self.conditions, self.now);
            let wait = idle_for(&runs, self.now, hours(24));
            let step = wait.max(Duration::from_millis(1));
            self.now = later(self.now, step).min(end);
        }
    }

    fn of<'w>(&'w self, name: &str) -> impl Iterator<Item = &'w Begun> {
        let wanted = task(name);
        self.begun.iter().filter(move |begun| begun.task == wanted)
    }

    fn times(&self, name: &str) -> Vec<String> {
        self.of(name).map(|begun| begun.at.to_string()).collect()
    }
}

#[test]
fn runs_come_when_the_calendar_says() {
    let mut world = World::new(plan(&schedule("daily", "0 2 * * *", "")), "2026-11-23T12:00:00Z");
    world.run_until(instant("2026-11-25T12:00:00Z"));
    assert_eq!(world.times("backup:daily"), ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"]);
    assert_eq!(world.times("retention"), ["2026-11-24T04:45:00Z", "2026-11-25T04:45:00Z"]);
    assert!(world.of("catch-up:near").next().is_none(), "nothing is behind");
}

#[test]
fn a_leap_day_and_both_changes_of_the_clock() {
    let tables = [
        schedule("leap", "0 4 29 2 *", ""),
        schedule("daily", "30 2 * * *", "tz = \"Europe/Berlin\""),
        schedule("hourly", "0 * * * *", "tz = \"Europe/Berlin\""),
    ];
    let mut world = World::new(plan(&tables.concat()), "2027-12-31T00:00:00Z");
    world.run_until(instant("2028-12-31T00:00:01Z"));
    assert_eq!(world.times("backup:leap"), ["2028-02-29T04:00:00Z"]);
    let daily = world.times("backup:daily");
    assert_eq!(daily.len(), 366, "one a day, whatever the clock did");
    // The clock goes from 02:00 to 03:00, and back from 03:00 to 02:00.
    assert!(daily.contains(&"2028-03-26T01:30:00Z".to_owned()));
    assert!(daily.contains(&"2028-10-29T00:30:00Z".to_owned()));
    assert_eq!(world.of("backup:hourly").count(), 366 * 24, "one an hour that passed");
}

#[test]
fn an_outage_is_made_up_for_once() {
    let mut world = World::new(plan(&schedule("hourly", "0 * * * *", "")), "2026-11-23T00:30:00Z");
    world.run_until(instant("2026-11-23T02:30:00Z"));
    world.now = instant("2026-11-26T05:10:00Z");
    world.run_until(instant("2026-11-26T06:30:00Z"));
    let begun: Vec<_> = world.of("backup:hourly").cloned().collect();
    assert_eq!(begun.len(), 4);
    let made_up = &begun[2];
    assert_eq!(made_up.at, instant("2026-11-26T05:10:00Z"));
    assert_eq!(made_up.slot, instant("2026-11-26T05:00:00Z"), "it stands for the last of them");
    assert_eq!(made_up.missed, 3 * 24 + 2, "from 03:00 on the 23rd to 04:00 on the 26th");
    assert_eq!((begun[3].slot, begun[3].missed), (instant("2026-11-26T06:00:00Z"), 0));
}

#[test]
fn what_the_plan_did_not_have_was_not_missed() {
    let plan = plan(&schedule("hourly", "0 * * * *", ""));
    let now = instant("2026-11-23T12:30:00Z");
    assert_eq!(due(&plan, &History::new(), &Conditions::default(), now), []);
}

#[test]
fn the_most_urgent_begins_first_and_removing_comes_last() {
    let tables = [
        "[schedules.a]\ncron = \"0 2 * * *\"\nassets = [\"media\"]\nto = [\"near\"]\n",
        "[schedules.b]\ncron = \"0 2 * * *\"\nassets = [\"database\"]\nto = [\"near\"]\n",
        "[retention]\ncron = \"0 2 * * *\"\n",
    ];
    let mut world = World::new(plan(&tables.concat()), "2026-11-23T00:00:00Z");
    world.now = instant("2026-11-23T02:00:00Z");
    let order: Vec<_> = world.due().into_iter().map(|due| due.task.to_string()).collect();
    assert_eq!(
        order,
        ["backup:b", "backup:a", "retention"],
        "what must be back within an hour first"
    );
    let held = &world.due()[2].held;
    assert_eq!(*held, Some(Held::Task { task: task("backup:b") }), "nothing goes meanwhile");
    world.conditions.open.insert(task("backup:b"));
    assert_eq!(world.due()[0].held, Some(Held::Task { task: task("backup:b") }), "not twice");
}

/// What a plan with three schedules of an asset each and a place for `at_once` has for the next to begin.
fn crowded(at_once: &str) -> World {
    let tables = [
        "[schedules.a]\ncron = \"0 2 * * *\"\nassets = [\"media\"]\nto = [\"near\"]\n",
        "[schedules.b]\ncron = \"0 2 * * *\"\nassets = [\"database\"]\nto = [\"near\"]\n",
        "[restore_tests.t]\ncron = \"0 2 * * *\"\nassets = [\"media\"]\n",
        "[restore_tests.u]\ncron = \"0 2 * * *\"\nassets = [\"media\"]\n",
        at_once,
    ];
    let mut world = World::new(plan(&tables.concat()), "2026-11-23T00:00:00Z");
    world.now = instant("2026-11-23T02:00:00Z");
    world
}

#[test]
fn as_many_work_as_the_plan_says_and_one_place_is_left_for_backups() {
    let begins = |world: &World| -> Vec<String> {
        let ready = world.due().into_iter().filter(|due| due.held.is_none());
        ready.map(|due| due.task.to_string()).collect()
    };
    let mut world = crowded("");
    assert_eq!(begins(&world), ["backup:b", "backup:a", "restore-test:t"]);
    assert_eq!(world.due()[3].held, Some(Held::Full), "one test at a time");
    assert_eq!(begins(&crowded("[jobs]\nat_once = 1\n")), ["backup:b"]);
    let runs = |world: &mut World, works: &[Work]| {
        let taken = works.iter().map(|work| Taken::by(work.clone(), &world.plan));
        world.conditions.running = taken.collect();
    };
    let asked =
        Work::Backup { assets: vec!["media".parse().unwrap()], to: Vec::new(), schedule: None };
    runs(&mut world, &[asked.clone(), task("verification:near").into()]);
    assert_eq!(begins(&world), ["backup:b"], "neither of the two keeps the database waiting");
    let what = "backup of media".to_owned();
    assert_eq!(world.due()[1].held, Some(Held::Asked { what }));
    runs(&mut world, &[task("retention").into()]);
    assert_eq!(begins(&world), Vec::<String>::new(), "nothing beside what removes");
    // A backup brings its tiers what they missed by itself, at its end.
    let catches_up = Claims::of(&task("catch-up:near").into(), &world.plan);
    let backs_up = Claims::of(&asked, &world.plan);
    assert!(catches_up.waits_for(&backs_up) && !backs_up.waits_for(&catches_up));
}

#[test]
fn what_a_recovery_brings_back_is_not_captured_and_nothing_competes_with_it() {
    let mut world = crowded("[retention]\ncron = \"0 1 * * *\"\n");
    let why = "the recovery of `loss` is not over".to_owned();
    let assets = BTreeSet::from(["media".parse().unwrap()]);
    world.conditions.recovering = Some(Recovering { why: why.clone(), assets });
    let held = Some(Held::Recovery { why });
    let dues = world.due();
    let of = |name: &str| dues.iter().find(|due| due.task == task(name)).unwrap().held.clone();
    assert_eq!((of("backup:a"), of("retention")), (held.clone(), held.clone()));
    let may_go_on = dues.iter().filter(|due| due.held != held);
    let may_go_on: Vec<_> = may_go_on.map(|due| due.task.to_string()).collect();
    assert!(may_go_on.iter().any(|task| task.starts_with("backup:")), "{may_go_on:?}");
    let competes = |task: &String| {
        ["verification:", "restore-test:", "drill:"].iter().any(|kind| task.starts_with(kind))
    };
    assert!(!may_go_on.iter().any(competes), "{may_go_on:?}");
}

#[test]
fn what_is_for_home_is_held_elsewhere_and_all_else_goes_on() {
    let mut world = crowded("[retention]\ncron = \"0 1 * * *\"\n");
    let why = "the platform lives at `standby`".to_owned();
    world.conditions.elsewhere = Some(why.clone());
    let elsewhere = Some(Held::Elsewhere { why });
    for due in world.due() {
        let expected = if due.task.is_for_home() { &elsewhere } else { &None };
        let is_full = due.held == Some(Held::Full);
        assert!(due.held == *expected || is_full && expected.is_none(), "{due:?}");
    }
    let conditions = world.conditions.clone();
    let runs = next_runs(&world.plan, &History::new(), &conditions, world.now);
    let backup = runs.iter().find(|run| run.task == task("backup:a")).unwrap();
    assert_eq!(backup.held, elsewhere, "what is to come says so, too");
    world.conditions.elsewhere = None;
    let begins = world.due().into_iter().filter(|due| due.held.is_none());
    assert!(begins.count() > 1, "it is made up for once the platform is back");
}

#[test]
fn removing_that_is_overdue_goes_before_all_that_can_wait_for_it() {
    let retention = "[retention]\ncron = \"0 1 * * *\"\n";
    let mut world = crowded(retention);
    let running = Taken::by(task("verification:near").into(), &world.plan);
    world.conditions.running = vec![running];
    let held = |world: &World, name: &str| {
        let found = world.due().into_iter().find(|due| due.task == task(name));
        found.unwrap().held
    };
    let verifies = Some(Held::Task { task: task("verification:near") });
    assert_eq!(held(&world, "retention"), verifies);
    assert_eq!(held(&world, "restore-test:t"), Some(Held::Full));
    world.now = later(world.now, hours(24));
    assert_eq!(held(&world, "retention"), verifies);
    let removes = Some(Held::Task { task: task("retention") });
    assert_eq!(held(&world, "restore-test:t"), removes, "it waits for its turn, which comes");
    assert_eq!(held(&world, "backup:b"), None, "what brings data into safety does not");
}

#[test]
fn one_asset_is_backed_up_by_one_at_a_time() {
    let tables = [schedule("daily", "0 2 * * *", ""), schedule("hourly", "0 * * * *", "")];
    let mut world = World::new(plan(&tables.concat()), "2026-11-23T01:30:00Z");
    world.now = instant("2026-11-23T02:00:00Z");
    let due = world.due();
    assert_eq!(due[0].held, None);
    assert_eq!(due[1].held, Some(Held::Task { task: due[0].task.clone() }));
}

#[test]
fn a_blackout_holds_what_it_does_not_spare_and_is_made_up_for_once() {
    let tables = [
        schedule("hourly", "0 * * * *", ""),
        schedule("spared", "30 * * * *", ""),
        "[blackouts.office]\ncron = \"0 8 * * MON-FRI\"\nlasts = \"10h\"\nspare = [\"spared\"]\n"
            .to_owned(),
    ];
    let mut world = World::new(plan(&tables.concat()), "2026-11-23T07:30:00Z");
    world.run_until(instant("2026-11-23T19:15:00Z"));
    assert_eq!(world.times("backup:hourly"), ["2026-11-23T18:00:00Z", "2026-11-23T19:00:00Z"]);
    assert_eq!(world.of("backup:hourly").next().unwrap().missed, 10);
    assert_eq!(world.of("backup:spared").count(), 11);
    world.now = instant("2026-11-24T08:30:00Z");
    let runs = next_runs(&world.plan, &world.history, &world.conditions, world.now);
    let hourly = runs.iter().find(|run| run.task == task("backup:hourly")).unwrap();
    assert_eq!(hourly.at, instant("2026-11-24T18:00:00Z"));
    let name = "office".parse().unwrap();
    assert_eq!(hourly.held, Some(Held::Blackout { name, until: hourly.at }));
}

#[test]
fn a_pause_ends_by_itself() {
    let mut world = World::new(plan(&schedule("hourly", "0 * * * *", "")), "2026-11-23T00:30:00Z");
    let (since, until) = (world.now, later(world.now, hours(3)));
    let (why, by) = ("moving disks".to_owned(), "alice".to_owned());
    world.conditions.pause = Some(Pause { since, until, why, by });
    world.run_until(instant("2026-11-23T04:30:00Z"));
    assert_eq!(world.times("backup:hourly"), ["2026-11-23T03:30:00Z", "2026-11-23T04:00:00Z"]);
    let pause = world.conditions.pause.unwrap();
    assert!(!pause.holds_at(instant("2026-11-20T00:00:00Z")), "of a clock that was wrong");
}

#[test]
fn a_clock_that_jumps_keeps_nothing_from_being_done() {
    let mut world = World::new(plan(&schedule("hourly", "0 * * * *", "")), "2026-11-23T00:30:00Z");
    world.now = instant("2036-11-23T00:30:00Z");
    world.work();
    assert_eq!(world.of("backup:hourly").next().unwrap().missed, MISSED_MAX);
    world.history.values_mut().for_each(|past| past.failures = 3);
    world.begun.clear();
    world.now = instant("2026-11-23T00:40:00Z");
    assert!(!set_right(&mut world.history, world.now).is_empty());
    assert_eq!(set_right(&mut world.history, world.now), [], "once");
    let runs = next_runs(&world.plan, &world.history, &world.conditions, world.now);
    let hourly = runs.iter().find(|run| run.task == task("backup:hourly")).unwrap();
    assert_eq!(hourly.at, instant("2026-11-23T01:00:00Z"));
    world.now = hourly.at;
    assert_eq!(world.due()[0].task, task("backup:hourly"));
}

#[test]
fn sites_begin_apart_and_each_always_at_the_same_time() {
    let tables = schedule("hourly", "0 * * * *", "jitter = \"10m\"");
    let mut world = World::new(plan(&tables), "2026-11-23T00:30:00Z");
    world.run_until(instant("2026-11-24T00:30:00Z"));
    let offset = |begun: &Begun| begun.at.duration_since(begun.slot);
    let offsets: BTreeSet<_> = world.of("backup:hourly").map(offset).collect();
    assert_eq!(offsets.len(), 1);
    assert!(offsets.iter().all(|offset| offset.as_secs() < 600 && offset.is_positive()));
    assert_eq!(world.of("backup:hourly").count(), 24);
    assert!(world.of("backup:hourly").all(|begun| begun.missed == 0));
}

#[test]
fn what_is_behind_is_caught_up_with_and_tried_again_ever_less_often() {
    let mut world = World::new(plan(&schedule("daily", "0 2 * * *", "")), "2026-11-23T12:00:00Z");
    let far: TierName = "far".parse().unwrap();
    let behind = TierCondition { is_behind: true, ..TierCondition::default() };
    world.conditions.tiers.insert(far, behind);
    let past = |failures| Past { ended: Some(world.now), failures, ..Past::since(world.now) };
    let wait = |failures| {
        let history = History::from([(task("catch-up:far"), past(failures))]);
        let runs = next_runs(&world.plan, &history, &world.conditions, world.now);
        let run = runs.iter().find(|run| run.task == task("catch-up:far")).unwrap();
        run.at.duration_since(world.now).as_mins()
    };
    assert_eq!([0, 1, 2, 3, 30].map(wait), [0, 5, 10, 20, 360]);
}

#[test]
fn a_run_that_failed_is_tried_again_a_few_times_before_its_next() {
    let tests = "[restore_tests.daily]\ncron = \"0 2 * * *\"\nassets = [\"media\"]\n";
    let tables = [schedule("daily", "0 2 * * *", ""), tests.to_owned()].concat();
    let mut world = World::new(plan(&tables), "2026-11-23T12:00:00Z");
    let begun = instant("2026-11-24T02:00:00Z");
    let failed = |tries| {
        let ended = Some(later(begun, Duration::from_mins(30)));
        Past { slot: Some(begun), ended, failures: tries, tries, ..Past::since(world.now) }
    };
    let next = |name: &str, tries| {
        let history = History::from([(task(name), failed(tries))]);
        let runs = next_runs(&world.plan, &history, &world.conditions, later(begun, hours(1)));
        let run = runs.into_iter().find(|run| run.task == task(name)).unwrap();
        (run.at.duration_since(begun).as_mins(), run.attempt)
    };
    assert_eq!(next("backup:daily", 0), (24 * 60, 1), "nothing failed");
    assert_eq!(next("backup:daily", 1), (35, 2));
    assert_eq!(next("backup:daily", 4), (70, 5));
    assert_eq!(next("backup:daily", TRIES_MAX), (24 * 60, 1), "that is enough");
    assert_eq!(next("restore-test:daily", 1), (24 * 60, 1), "what it found out stays so");
    let history = [(task("backup:daily"), failed(2)), (task("restore-test:daily"), failed(2))];
    world.history.extend(history);
    world.now = later(begun, Duration::from_mins(39));
    assert_eq!(world.due(), []);
    world.now = later(begun, Duration::from_mins(40));
    let [due]: [Due; 1] = world.due().try_into().unwrap();
    assert_eq!(
        (&due.task, due.slot, due.missed, due.attempt),
        (&task("backup:daily"), begun, 0, 3)
    );
    world.now = later(begun, hours(25));
    let due = world.due();
    assert!(due.iter().all(|due| due.attempt == 1), "its next time has come: {due:?}");
}

#[test]
fn a_tier_is_verified_so_that_all_is_read_in_its_cycle() {
    let mut world = World::new(plan(&schedule("daily", "0 2 1 1 *", "")), "2026-11-23T12:00:00Z");
    let near: TierName = "near".parse().unwrap();
    assert!(world.due().is_empty(), "there is nothing to verify yet");
    let filled = Some(world.now);
    let condition = TierCondition { filled, ..TierCondition::default() };
    world.conditions.tiers.insert(near.clone(), condition);
    let next = |world: &World| {
        let runs = next_runs(&world.plan, &world.history, &world.conditions, world.now);
        runs.into_iter().find(|run| run.task == task("verification:near")).unwrap().at
    };
    assert_eq!(next(&world), later(world.now, hours(36)), "5% of 30 days");
    let verified = later(world.now, hours(10));
    world.now = later(world.now, hours(11));
    let condition = TierCondition { verified: Some(verified), ..condition };
    world.conditions.tiers.insert(near, condition);
    assert_eq!(next(&world), later(verified, hours(36)), "a backup verifies too");
}

#[test]
fn every_task_has_a_name_that_leads_back_to_it() {
    let tables = [
        schedule("daily", "0 2 * * *", ""),
        "[restore_tests.weekly]\ncron = \"0 5 * * SUN\"\nassets = [\"media\"]\n".to_owned(),
    ];
    for task in Task::all(&plan(&tables.concat())) {
        assert_eq!(task.to_string().parse(), Ok(task));
    }
    for bad in ["backup", "backup:", "backup:../x", "nightly:x", ""] {
        assert!(bad.parse::<Task>().is_err(), "{bad}");
    }
}

/// The times of a timetable that lie in a stretch, without its beginning.
fn calendar(plan: &Plan, name: &str, since: Timestamp, end: Timestamp) -> Vec<Timestamp> {
    let timetable = plan.schedules()[&name.parse().unwrap()].timetable();
    let next = |from: &Timestamp| timetable.next_after(*from).filter(|next| *next <= end);
    std::iter::successors(next(&since), next).collect()
}

/// Says what has to hold of the runs of a schedule, whatever happened.
fn holds(world: &World, name: &str, since: Timestamp) {
    let runs: Vec<_> = world.of(&format!("backup:{name}")).collect();
    let jitter = world.plan.schedules()[&name.parse().unwrap()].jitter.duration();
    let mut due = calendar(&world.plan, name, since, world.now).into_iter();
    for run in &runs {
        assert!(run.at >= run.slot, "{name}: not before its time");
        let passed = match run.missed {
            // More than that are not counted.
            MISSED_MAX => due.find(|at| *at == run.slot),
            missed => due.nth(missed as usize),
        };
        assert_eq!(passed, Some(run.slot), "{name}: what was missed was counted");
    }
    let last = due.find(|at| later(*at, jitter) < world.now);
    assert_eq!(last, None, "{name}: nothing that is due was forgotten");
}

#[test]
fn a_year_of_the_reference_plan_with_outages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/plan");
    let files: BTreeMap<String, String> = std::fs::read_dir(folder.join("runbooks"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            (format!("runbooks/{name}"), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    let text = std::fs::read_to_string(folder.join("plan.toml")).unwrap();
    let source = SourceFile { path: "plan.toml".to_owned(), text };
    let now = instant("2027-11-01T12:00:00Z");
    let plan = load(source, &files, &Facts::default(), now).unwrap().plan;
    let mut world = World::new(plan, "2027-11-01T12:00:00Z");
    let mut random = StdRng::seed_from_u64(6);
    let end = instant("2028-11-01T12:00:00Z");
    while world.now < end {
        let up = hours(random.random_range(1..24 * 30));
        world.run_until(later(world.now, up).min(end));
        world.now = later(world.now, Duration::from_mins(random.random_range(1..60 * 72)));
    }
    world.work();
    let names: Vec<_> = world.plan.schedules().keys().map(ToString::to_string).collect();
    for name in &names {
        holds(&world, name, now);
    }
    let drills: Vec<_> = world.of("drill:monthly").collect();
    let passed: u32 = drills.iter().map(|drill| drill.missed + 1).sum();
    assert_eq!(passed, 12, "a first Saturday each month");
}

const CRONS: [&str; 8] = [
    "0 * * * *",
    "*/7 * * * *",
    "0 2 * * *",
    "30 2 * * *",
    "0 9-17 * * MON-FRI",
    "0 4 L * *",
    "15 3 * * SAT#1",
    "59 23 29 2 *",
];
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the calendar, the clock changes, the jitter, the blackouts and the outages: each time is
    /// taken up once or counted as missed, nothing begins early or in a blackout.
    #[test]
    fn nothing_is_doubled_forgotten_or_early(
        crons in prop::collection::vec((0_usize..8, 0_usize..4, 0_u64..180), 1..4),
        start in 1_700_000_000_i64..1_900_000_000,
        outages in prop::collection::vec((1_u64..60 * 24 * 10, 1_u64..60 * 24 * 4), 1..5),
        blackout in prop::option::of((0_usize..24, 1_u64..20)),
    ) {
        let mut tables = String::new();
        for (number, (cron, zone, jitter)) in crons.iter().enumerate() {
            let rest = format!("tz = \"{}\"\njitter = \"{jitter}m\"", ZONES[*zone]);
            tables += &schedule(&format!("s{number}"), CRONS[*cron], &rest);
        }
        if let Some((hour, lasts)) = blackout {
            let cron = format!("0 {hour} * * *");
            let lines = ["[blackouts.b]".to_owned(), format!("cron = \"{cron}\""), format!("lasts = \"{lasts}h\"")];
            tables += &lines.join("\n");
        }
        let since = Timestamp::from_second(start).unwrap();
        let mut world = World::new(plan(&tables), &since.to_string());
        for (up, down) in outages {
            let end = later(world.now, Duration::from_mins(up));
            world.run_until(end);
            world.now = later(world.now, Duration::from_mins(down));
        }
        let calm = world.plan.blackouts().values().next().and_then(|blackout| {
            blackout.timetable().covered_until(blackout.lasts.duration(), world.now)
        });
        world.now = calm.unwrap_or(world.now);
        world.work();
        for number in 0..crons.len() {
            holds(&world, &format!("s{number}"), since);
        }
        for blackout in world.plan.blackouts().values() {
            for begun in &world.begun {
                let covered =
                    blackout.timetable().covered_until(blackout.lasts.duration(), begun.at);
                prop_assert_eq!(covered, None, "{:?}", begun);
            }
        }
    }
}
