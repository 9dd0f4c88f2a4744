//! Drills of the reference platform, while the real one runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use lifeboat_testing::tree::TreeState;
use nix::unistd::Uid;
use serde_json::{Value, json};

use crate::platform::{Machine, assert_same, pause};

/// What a day's backup takes, in the plan's order.
const DAILY: [&str; 5] = ["backup", "database", "media", "configuration", "application"];

/// How long something that has to happen is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

const DRILL: [&str; 3] = ["drill", "complete-system-failure", "--json"];

/// Everything of a platform that a drill could spoil.
struct Production {
    ledger: String,
    files: Vec<(PathBuf, TreeState)>,
    processes: Vec<(PathBuf, String)>,
    ports: Vec<String>,
    tier: Vec<(PathBuf, u64)>,
}

impl Production {
    fn of(machine: &Machine) -> Self {
        let files = ["srv", "var/www", "etc"].map(|path| (path.into(), machine.tree(path)));
        let marks = fs::read_dir(machine.at("run/techit")).unwrap().flatten();
        let marks = marks.map(|entry| entry.path());
        let marks = marks.filter(|path| path.extension().is_some_and(|end| end == "pid"));
        let mut marks: Vec<_> = marks.collect();
        marks.push(machine.at("var/lib/postgresql/main/postmaster.pid"));
        marks.sort();
        let processes: Vec<(PathBuf, String)> = marks
            .into_iter()
            .map(|mark| {
                let process = fs::read_to_string(&mark).unwrap().lines().next().unwrap().to_owned();
                let process = process.trim().to_owned();
                assert!(Path::new("/proc").join(&process).exists(), "{} lives", mark.display());
                (mark, process)
            })
            .collect();
        let ports = listening(processes.iter().map(|(_, process)| process));
        assert!(!ports.is_empty(), "the platform listens");
        // The log goes on to be archived; what was backed up stays as it is.
        let mut tier = Vec::new();
        list(&machine.at("var/backups/techit/repo"), &mut tier);
        Self { ledger: machine.ledger(), files: files.into(), ports, processes, tier }
    }

    #[track_caller]
    fn assert_untouched(&self, machine: &Machine) {
        let now = Self::of(machine);
        assert_eq!(self.ledger, now.ledger);
        assert_eq!(self.processes, now.processes);
        for port in &self.ports {
            assert!(now.ports.contains(port), "{port} is still listened on");
        }
        for ((path, then), (_, now)) in self.files.iter().zip(&now.files) {
            println!("{}", path.display());
            assert_same(then, now);
        }
        assert_eq!(self.tier, now.tier);
        assert_eq!(machine.mails(), Vec::<String>::new(), "no mail got out");
        assert_eq!(machine.others(), Vec::<String>::new(), "nobody was told");
    }
}

/// Lists files with their sizes, in the order of their names.
fn list(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            list(&entry.path(), files);
        } else {
            files.push((entry.path(), meta.len()));
        }
    }
}

/// Returns the addresses at which some processes listen (`proc_net(5)`).
fn listening<'p>(processes: impl Iterator<Item = &'p String>) -> Vec<String> {
    let files = processes.flat_map(|process| fs::read_dir(format!("/proc/{process}/fd")).unwrap());
    let opened = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let opened: Vec<_> = opened.map(|file| file.display().to_string()).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row[3] == "0A" && opened.contains(&format!("socket:[{}]", row[9])));
    own.map(|row| row[1].to_owned()).collect()
}

/// Returns the yards that are left, which should be none.
fn yards(machine: &Machine) -> Vec<PathBuf> {
    let drills = fs::read_dir(machine.state("drills")).into_iter().flatten().flatten();
    drills.map(|entry| entry.path().join("place")).filter(|place| place.exists()).collect()
}

/// Returns who is in a yard of this machine.
fn inhabitants(machine: &Machine) -> Vec<String> {
    let drills = machine.state("drills").display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let inside = entries.filter(|process| {
        let mounts = fs::read_to_string(process.join("mountinfo"));
        mounts.is_ok_and(|mounts| mounts.contains(&drills))
    });
    inside.map(|process| process.display().to_string()).collect()
}

#[track_caller]
fn assert_nothing_left(machine: &Machine, ended: &Value) {
    assert_eq!(ended["teardown"]["left"], json!([]), "{ended:#}");
    assert_eq!(yards(machine), Vec::<PathBuf>::new());
    assert_eq!(inhabitants(machine), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&machine.state("drills").display().to_string()));
}

/// Returns how each point of the check-list stands.
fn points(ended: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let points = ended["checklist"].as_array().unwrap().iter();
    points.map(|point| (text(&point["says"]), text(&point["outcome"]))).collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it is never so: {what}");
        pause();
    }
}

/// Begins a drill and waits until it is well under way.
fn begin(machine: &Machine) -> Child {
    let child = machine.start(&DRILL);
    wait_for("something is restored", || {
        yards(machine).iter().any(|place| {
            let runs = place.join("keeper/state").join(crate::platform::SITE).join("runs");
            let runs = fs::read_dir(runs).into_iter().flatten().flatten();
            let journals = runs.map(|run| fs::read_to_string(run.path().join("journal")));
            journals.flatten().any(|journal| journal.contains("restore-media"))
        })
    });
    child
}

#[test]
fn a_platform_is_lost_and_brought_back_in_a_yard_while_the_real_one_runs_untouched() {
    let machine = Machine::new();
    if !Uid::effective().is_root() {
        assert!(machine.lifeboat(&DRILL).stdout().contains("as anybody but root"));
        return;
    }
    machine.manage(&["probe", "orders"]);
    machine.lifeboat(&DAILY).success();
    machine.mails();
    machine.others();
    let before = Production::of(&machine);
    let run = machine.lifeboat(&DRILL);
    let ended = run.json();
    println!("{ended:#}");
    assert_eq!(run.code(), 0, "{run}");
    before.assert_untouched(&machine);
    assert_nothing_left(&machine, &ended);
    let passed = |says: &str| (says.to_owned(), "passed".to_owned());
    assert_eq!(
        points(&ended),
        [
            "Backup restoration successful",
            "All services operational",
            "Data integrity verified",
            "User authentication working",
            "Payment processing functional",
            "Email delivery operational",
            "Performance acceptable",
            "Recovered within its RTO",
            "Lost no more than its RPO",
        ]
        .map(passed)
    );
    assert!(ended["teardown"]["processes"].as_u64().unwrap() > 10, "the platform ran there");
    for sink in ended["sinks"].as_array().unwrap() {
        assert!(sink["came"].as_u64().unwrap() > 0, "{sink}");
    }
    let simulated = ended["simulated"].to_string();
    assert!(simulated.contains("is back after Complete system failure"), "{simulated}");
    assert!(simulated.contains("answered for operations"), "{simulated}");
    assert!(simulated.contains("left out: A drill brings its own"), "{simulated}");
    assert!(!machine.away("told").exists(), "nobody was told");
    assert_eq!(ended["findings"], json!([]));
    let run = ended["run"].as_str().unwrap();
    let shown = machine.lifeboat(&["evidence", "show", run, "--format", "json"]).json();
    let facts = &shown["body"];
    println!("{facts:#}");
    assert!(facts.to_string().contains("the yard of "), "{facts:#}");
    what_goes_wrong_is_found_and_nothing_of_it_is_left(&machine);
}

#[test]
fn what_happens_to_a_platform_that_runs_is_mended_in_a_yard_in_which_one_was_brought_up() {
    // Nothing that is refused to anybody else is worth a platform.
    if !Uid::effective().is_root() {
        return;
    }
    // Where a yard shows the host's files: a platform that runs has them all.
    let machine = Machine::below(Path::new("/var/lib"));
    machine.manage(&["probe", "orders"]);
    machine.lifeboat(&DAILY).success();
    // Not in any backup, but in the log.
    machine.manage(&["probe", "orders"]);
    machine.wait_for_archive();
    machine.mails();
    machine.others();
    let before = Production::of(&machine);
    let all = json!(["cache", "database", "api", "web", "workers"]);

    let media = rehearse(&machine, "media-loss");
    assert_eq!(media["prepared"]["services"], all, "{media:#}");
    assert_eq!(media["prepared"]["restored"], json!(["database"]));
    assert!(media["prepared"]["damage"].as_str().unwrap().contains("media/avatars"), "{media:#}");
    before.assert_untouched(&machine);
    let proof = evidence_of(&machine, &media);
    assert!(proof.contains("was damaged by `rm -r "), "{proof}");

    let database = rehearse(&machine, "database-corruption");
    assert_eq!(database["prepared"]["services"], all, "{database:#}");
    assert!(database["prepared"]["damage"].as_str().unwrap().contains("/dev/urandom"));
    let orders = database["sinks"].as_array().unwrap();
    assert!(
        orders.iter().all(|sink| sink["came"].as_u64() > Some(0)),
        "it takes orders: {orders:?}"
    );
    before.assert_untouched(&machine);

    let deletion = play(&machine, "accidental-deletion");
    assert!(deletion["prepared"]["damage"].as_str().unwrap().contains("DELETE FROM"));
    before.assert_untouched(&machine);

    // Its RPO is a minute, and no daemon looks at it here.
    machine.lifeboat(&DAILY).success();
    let before = Production::of(&machine);
    let configuration = play(&machine, "configuration-loss");
    assert_eq!(configuration["prepared"]["services"], all, "{configuration:#}");
    let damage = configuration["prepared"]["damage"].as_str().unwrap();
    assert!(damage.contains("/var/www/techit_solutions/.env "), "{damage}");
    before.assert_untouched(&machine);
}

/// Plays a scenario by which the platform has to be whole again.
#[track_caller]
fn rehearse(machine: &Machine, scenario: &str) -> Value {
    let ended = play(machine, scenario);
    let names: Vec<_> = points(&ended).into_iter().map(|(says, _)| says).collect();
    assert!(names.contains(&"All services operational".to_owned()), "{names:?}");
    assert!(names.contains(&"Data integrity verified".to_owned()), "{names:?}");
    ended
}

/// Plays a scenario, in which all has to hold and of which nothing may be left.
#[track_caller]
fn play(machine: &Machine, scenario: &str) -> Value {
    let run = machine.lifeboat(&["drill", scenario, "--json"]);
    let ended = run.json();
    println!("{ended:#}");
    assert_eq!(run.code(), 0, "{run}");
    assert!(points(&ended).iter().all(|(_, outcome)| outcome == "passed"), "{ended:#}");
    assert_nothing_left(machine, &ended);
    ended
}

fn evidence_of(machine: &Machine, ended: &Value) -> String {
    let run = ended["run"].as_str().unwrap();
    let shown = machine.lifeboat(&["evidence", "show", run, "--format", "json"]).json();
    format!("{:#}", shown["body"])
}

fn what_goes_wrong_is_found_and_nothing_of_it_is_left(machine: &Machine) {
    // One that does not come to its end within its window.
    let run = machine.lifeboat(&[&DRILL[..], &["--window", "1s"]].concat());
    let ended = run.json();
    assert_eq!(run.code(), 1, "{run}");
    assert!(ended["trouble"].as_str().unwrap().contains("its window of 1s was over"), "{ended:#}");
    assert_nothing_left(machine, &ended);

    // One that is killed goes with all that it began, and the next one removes and records what it left.
    let mut killed = begin(machine);
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_for("its processes are gone", || inhabitants(machine).is_empty());
    assert_eq!(yards(machine).len(), 1, "its files are still there");

    // What does not hold is a finding for somebody, until some day.
    machine.change_plan("expect = \"> 0\"", "expect = \"> 1000000\"");
    // What was uploaded since the backup would be lost.
    machine.change_plan("rpo = \"24h\"\nrto = \"4h\"", "rpo = \"1ms\"\nrto = \"4h\"");
    let run = machine.lifeboat(&DRILL);
    let ended = run.json();
    assert_eq!(run.code(), 1, "{run}");
    assert_nothing_left(machine, &ended);
    let integrity = ("Data integrity verified".to_owned(), "failed".to_owned());
    assert!(points(&ended).contains(&integrity), "{ended:#}");
    let lost = ("Lost no more than its RPO".to_owned(), "failed".to_owned());
    assert!(points(&ended).contains(&lost), "{ended:#}");
    let records = machine.lifeboat(&["catalog", "list", "--kind", "drill-ended", "--json"]).json();
    assert_eq!(records["records"].as_array().unwrap().len(), 4, "{records:#}");
    let open = machine.lifeboat(&["drill", "--findings", "--json"]).json();
    let open = open["findings"].as_array().unwrap();
    let of = |what: &str| {
        let found = open.iter().find(|found| found["what"].as_str().unwrap().contains(what));
        found.unwrap_or_else(|| panic!("{what} is not in {open:#?}"))
    };
    assert_eq!(of("Data integrity verified: failed")["owner"], "Alice Example");
    // It came to its end, and so closes what those before it were torn down for.
    assert!(
        !open.iter().any(|found| found["what"].as_str().unwrap().contains("killed")),
        "{open:#?}"
    );
}
