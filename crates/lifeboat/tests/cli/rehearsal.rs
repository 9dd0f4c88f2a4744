//! Drills of what happens to a platform that runs, of small sites: by hand, at a terminal, and by the daemon.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use lifeboat_model::{Clock as _, SystemClock};
use lifeboat_ops::jobs::Journal;
use lifeboat_ops::schedule::Task;
use lifeboat_testing::postgres::Cluster;
use nix::unistd::Uid;
use serde_json::{Value, json};

use crate::daemon::{Running, jobs_once};
use crate::environment::Environment;
use crate::recover::Site;
use crate::terminal::converse;

/// Stops what it has to find, and brings back what is gone.
const MENDS: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "media" }
check = ["pictures"]

[[steps]]
id = "start"
needs = ["restore"]
start = ["*"]
"#;

/// Looks at what happened, and brings back only what it calls for.
const LOOKS: &str = r#"
[[steps]]
id = "look"
manual = "Look at the pictures. Note `lost` if any is missing."

[[steps]]
id = "restore"
needs = ["look"]
when = { step = "look", is = "lost" }
restore = { asset = "media" }
"#;

/// The line of the plan behind which keys of its scenario go.
const SCENARIO: &str = "rpo = \"24h\"\n";

/// Makes a site where a yard shows it: below directories of which none begins empty there.
fn site(runbook: &str, more_sections: &str) -> Option<Site> {
    if !Uid::effective().is_root() {
        let elsewhere = Site::new(runbook);
        let refused = elsewhere.environment.run(["drill", "loss"]);
        assert!(refused.stdout().contains("as anybody but root"), "{refused}");
        return None;
    }
    let environment = Environment::below(Path::new("/var/lib"));
    Some(Site::at(environment, runbook, &[], more_sections))
}

/// Has the scenario happen to a platform that runs, with these keys beside.
fn runs(site: &Site, keys: &str) {
    let environment = &site.environment;
    let plan = site.read("plan.toml");
    let (before, after) = plan.rsplit_once(SCENARIO).unwrap();
    let kept: Vec<_> = after.lines().skip_while(|line| !line.is_empty()).collect();
    let keys =
        keys.replace("HOME", environment.path("").display().to_string().trim_end_matches('/'));
    let kept = kept.join("\n");
    environment
        .write("plan.toml", format!("{before}{SCENARIO}platform = \"runs\"\n{keys}\n{kept}\n"));
}

fn drill(site: &Site) -> (i32, Value) {
    let run = site.environment.run(["drill", "loss", "--json"]);
    println!("{run}");
    (run.code(), run.json())
}

#[test]
fn a_platform_that_runs_is_brought_up_and_damaged_in_the_yard_before_its_runbook_begins() {
    if !Uid::effective().is_root() {
        assert!(site(MENDS, "").is_none(), "nobody else builds a yard");
        return;
    }
    // What lies beside the state is a mount in a yard, which nothing can be put in the place of.
    let state = tempfile::tempdir_in("/var/lib").unwrap();
    let apart = Environment::below(Path::new("/var/lib"));
    let apart = apart.with("XDG_STATE_HOME", state.path().display().to_string());
    let site = Site::at(apart, MENDS, &[], "");
    let lost = drill(&site);
    assert!(lost.1["findings"].to_string().contains("it was not restored"), "{:#}", lost.1);
    assert_eq!(lost.1["entries"], 4, "nothing runs that it could stop, and there it ends");
    assert_eq!(lost.1.get("prepared"), None);

    runs(&site, "damage = \"rm HOME/media/one.txt && touch HOME/damaged && test -e HOME/front\"");
    let (code, ended) = drill(&site);
    assert_eq!(code, 0, "{ended:#}");
    let prepared = &ended["prepared"];
    assert_eq!(prepared["services"], json!(["shop", "front"]));
    assert!(prepared["damage"].as_str().unwrap().starts_with("rm "), "{prepared}");
    assert_eq!(prepared["restored"], json!([]));
    let says = |point: &Value| (point["says"].clone(), point["outcome"].clone());
    let points: Vec<_> = ended["checklist"].as_array().unwrap().iter().map(says).collect();
    assert!(points.contains(&("All services operational".into(), "passed".into())), "{points:?}");
    assert!(ended["total_ms"].as_u64() < ended["duration_ms"].as_u64(), "{ended:#}");
    assert_eq!(site.read("media/one.txt"), "one");
    for made in ["damaged", "front", "shop"] {
        assert!(!site.environment.path(made).exists(), "{made} is in the yard alone");
    }
    let shown = site.environment.run(["evidence", "show"]).success();
    assert!(shown.contains("was damaged by `rm "), "{shown}");

    what_cannot_be_prepared_is_said(&site);
}

#[test]
fn what_the_case_at_hand_did_not_call_for_is_not_missed_by_a_drill() {
    let Some(site) = site(LOOKS, "") else { return };
    let (code, ended) = drill(&site);
    assert_eq!(code, 0, "{ended:#}");
    assert_eq!((&ended["ran"], &ended["outcome"]), (&json!("succeeded"), &json!("passed")));
    let asked = ended["checklist"].to_string();
    assert!(!asked.contains("Backup restoration successful"), "nothing was brought back: {asked}");
}

fn what_cannot_be_prepared_is_said(site: &Site) {
    runs(site, "");
    let shown = site.environment.run(["drill", "loss"]);
    assert_eq!(shown.code(), 0, "{shown}");
    assert!(shown.stdout().contains("not damaged: [scenarios.loss] says no `damage`"), "{shown}");
    let proof = site.environment.run(["evidence", "show"]).success();
    assert!(proof.contains("the damage: nothing happened to the platform"), "{proof}");

    runs(site, "damage = \"exit 3\"");
    let (code, ended) = drill(site);
    assert_eq!((code, ended["entries"].as_u64()), (1, Some(0)), "nothing was declared");
    let trouble = ended["trouble"].as_str().unwrap();
    let named = trouble.contains("`damage` of the scenario") && trouble.contains("`exit 3` ended");
    assert!(named, "{trouble}");
    let run = ended["run"].as_str().unwrap();
    let shown = site.environment.run(["evidence", "show", run, "--format", "json"]).json();
    let facts = &shown["body"];
    assert_eq!((&facts["outcome"], &facts["ending"]), (&json!("failed"), &json!("not declared")));
    assert_eq!((&facts["run"], &facts["journal"]), (&ended["run"], &Value::Null), "{facts:#}");
    assert_eq!(facts["teardown"]["outcome"], "passed", "{facts:#}");
    assert_eq!(facts["teardown"]["looked_for"].as_array().unwrap().len(), 4, "{facts:#}");
    assert!(facts["findings"].to_string().contains("`exit 3` ended"), "{facts:#}");
    site.environment.run(["evidence", "verify"]).success();

    runs(site, "");
    let plan = site.read("plan.toml").replacen("start = \"touch ", "start = \"true || touch ", 2);
    let plan = plan.replace("\"5s\"", "\"1s\"");
    site.environment.write("plan.toml", plan);
    let (code, ended) = drill(site);
    assert_eq!(code, 1);
    let trouble = ended["trouble"].as_str().unwrap();
    assert!(trouble.contains("could not be brought up") && trouble.contains("`shop`"), "{trouble}");
}

/// A platform that serves what came back, and sends a mail.
const SERVES: &str = r#"
[services.web]
class = "critical"
start = "setsid python3 -m http.server 8000 --bind 127.0.0.1 --directory HOME/media </dev/null >/dev/null 2>&1 &"
health = { http = "http://127.0.0.1:8000/one.txt", within = "30s" }

[checks.page]
http = "http://{{ target.host }}:8000/one.txt"
contains = "one"

[checks.port]
tcp = "{{ target.host }}:8000"

[checks.mail]
smtp = { send = ["python3", "-c", "import smtplib; smtplib.SMTP('mail.example.org', 2525).sendmail('a@b', 'c@d', 'x')"], arrives_within = "20s" }

[restore_tests.standing]
cron = "0 5 * * SUN"
assets = ["media"]
checks = ["page", "port", "mail", "pictures"]
start = ["web"]
sinks = ["smtp://mail.example.org:2525"]
"#;

#[test]
fn a_restore_test_starts_services_on_what_came_back_and_asks_them() {
    let environment = if Uid::effective().is_root() {
        Environment::below(Path::new("/var/lib"))
    } else {
        Environment::new()
    };
    let home = environment.path("").display().to_string();
    let site =
        Site::at(environment, MENDS, &[], &SERVES.replace("HOME", home.trim_end_matches('/')));
    // What production holds by now is not what is asked.
    site.environment.write("media/one.txt", "two");
    let test = |more: &[&str]| {
        let run = site.environment.run([&["test", "standing", "--json"], more].concat());
        println!("{run}");
        (run.code(), run.json()["tests"][0].clone())
    };
    let (code, tested) = test(&["--negative-control"]);
    if !Uid::effective().is_root() {
        assert_eq!((code, &tested["services"]["outcome"]), (4, &json!("could-not-verify")));
        let why = tested["services"]["message"].as_str().unwrap();
        assert!(why.contains("no platform can be started here"), "{why}");
        return;
    }
    assert_eq!(code, 0, "{tested:#}");
    assert_eq!(tested["services"]["started"], json!(["web"]));
    let of = |check: &Value| (check["name"].clone(), check["outcome"].clone());
    let checks: Vec<_> = tested["checks"].as_array().unwrap().iter().map(of).collect();
    let passed = ["page", "port", "mail", "pictures"]
        .map(|name| (json!(format!("check {name}")), json!("passed")));
    assert_eq!(checks, passed);
    assert_eq!(
        tested["control"]["outcome"], "passed",
        "the files are missed, whatever a service says"
    );
    assert!(tested["phases_ms"]["services"].as_u64() > Some(0), "{tested:#}");
    let proof = site.environment.run(["evidence", "show"]).success();
    assert!(proof.contains("they start on what came back"), "{proof}");

    let plan = site.read("plan.toml");
    let broken =
        plan.replace("start = \"setsid", "start = \"true || setsid").replace("\"30s\"", "\"1s\"");
    site.environment.write("plan.toml", &broken);
    let (code, tested) = test(&[]);
    assert_eq!((code, &tested["services"]["outcome"]), (1, &json!("failed")), "{tested:#}");
    assert_eq!(tested["checks"][0]["outcome"], "could-not-verify");
    let scratch = site.environment.path("cache/lifeboat/shop/sandboxes");
    let left = std::fs::read_dir(&scratch).into_iter().flatten().count();
    assert_eq!(left, 0, "nothing is left in {}", scratch.display());
}

/// What a command wrote comes back inside, where the step behind it looks; a dump does not come back at all.
const REPLACES: &str = r#"
[[steps]]
id = "note"
restore = { asset = "note" }

[[steps]]
id = "inside"
needs = ["note"]
run = "test \"$(readlink /proc/self/ns/net)\" = \"$(cat HOME/net)\""

[[steps]]
id = "restore"
needs = ["inside"]
restore = { asset = "database" }
"#;

#[test]
fn what_a_drill_restores_into_reaches_no_server_of_the_host() {
    let cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    if !Uid::effective().is_root() {
        return;
    }
    let environment = Environment::below(Path::new("/var/lib"));
    let net = environment.path("net").display().to_string();
    let note = format!(
        "[assets.note]\nkind = \"command\"\nbackup = [\"echo\", \"a note\"]\n\
         restore = [\"sh\", \"-c\", \"grep -q note && readlink /proc/self/ns/net > {net}\"]\n\
         [schedules.notes]\ncron = \"0 3 * * *\"\nassets = [\"note\"]\nto = [\"primary\"]\n"
    );
    let database = format!("database={}", cluster.connect_string("shop"));
    let site = Site::at(environment, REPLACES, &["--database", &database], &note);
    // The plan's address leads to something of the host's that must not be called from a yard.
    let production = TcpListener::bind("127.0.0.1:0").unwrap();
    production.set_nonblocking(true).unwrap();
    let address = production.local_addr().unwrap();
    let plan = site.read("plan.toml");
    let connect = plan.lines().find(|line| line.starts_with("connect")).unwrap();
    let here = format!("connect = \"host=127.0.0.1 port={} dbname=shop\"", address.port());
    site.environment.write("plan.toml", plan.replace(connect, &here));
    let (code, ended) = drill(&site);
    assert_eq!(code, 1, "{ended:#}");
    let restored = &ended["checklist"][0];
    let why = restored["message"].as_str().unwrap();
    assert!(why.contains("loading the dump of `database` in a drill is not built"), "{ended:#}");
    let called = production.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(called, Err(ErrorKind::WouldBlock), "nobody called");
    assert!(!Path::new(&net).exists(), "what was restored is gone with the yard");
}

const ASKS: &str = r#"
[[steps]]
id = "look"
manual = "Look at the disk."
checklist = ["it is there"]

[[steps]]
id = "agree"
needs = ["look"]
approve = { by = "operations", ask = "Go on?" }

[[steps]]
id = "boss"
needs = ["agree"]
approve = { by = "executive", ask = "Tell the customers?" }
"#;

#[test]
fn whoever_runs_a_drill_is_asked_at_the_terminal_and_may_answer_for_nobody_else() {
    let Some(site) = site(ASKS, "") else { return };
    let environment = &site.environment;
    let nowhere = environment.run(["drill", "loss", "--ask"]).failure(2);
    assert!(nowhere.contains("nobody can be asked here"), "{nowhere}");
    let answers = [
        ("look: Look at the disk.", "disk 7\n"),
        ("agree: Go on?", "y\n"),
        ("why: ", "all is quiet\n"),
    ];
    let (shown, code) = converse(environment, "drill loss --ask", &answers);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("[ ] it is there"), "{shown}");
    assert!(shown.contains("boss: answered for executive: Tell the customers?"), "{shown}");
    assert!(
        !shown.contains("boss: Tell the customers?"),
        "he is not theirs to answer for: {shown}"
    );
    assert!(!shown.contains("look: not done by anybody"), "{shown}");
    let proof = environment.run(["evidence", "show"]).success();
    assert!(proof.contains("disk 7") && proof.contains("all is quiet"), "{proof}");

    // One that is not answered is noted, and one that is declined is found.
    let answers = [("look: Look at the disk.", "s\n"), ("agree: Go on?", "never\n")];
    let (shown, code) = converse(environment, "drill loss --ask", &answers);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("look: not done by anybody"), "{shown}");
}

#[test]
fn the_daemon_runs_a_drill_when_it_is_due_and_what_it_found_is_open() {
    let planned = "[drills.often]\nscenario = \"loss\"\ncron = \"0 * * * *\"\nwindow = \"1h\"\n\
                   checklist = [{ says = \"Shop open\", checks = [\"more\"] }]\n\
                   [checks.more]\nfiles = \"media\"\nexist = [\"two.txt\"]\n";
    let starts = MENDS.replace("stop = [\"*\"]", "wait = \"0s\"");
    let Some(site) = site(&starts, planned) else { return };
    let environment = &site.environment;
    the_plan_has_had_it_for_hours(environment);
    let daemon = Running::start(environment);
    let jobs = jobs_once(environment, |jobs| drills(jobs).next().is_some());
    let job = drills(&jobs).next().unwrap().clone();
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_eq!(job["asked_by"], Value::Null, "nobody asked for it: {job:#}");
    daemon.stop();
    let open = environment.run(["drill", "--findings", "--json"]).json();
    assert!(open.to_string().contains("Shop open: failed"), "{open:#}");
    let list = ["--json", "catalog", "list", "--kind", "drill-ended"];
    let records = environment.run(list).json();
    assert_eq!(records["records"].as_array().unwrap().len(), 1, "{records:#}");
}

/// Lets the daemon's journal say that the plan has had the drill for two hours: its time has come meanwhile.
fn the_plan_has_had_it_for_hours(environment: &Environment) {
    let journal = Journal::open(&environment.path("state/lifeboat/shop/jobs.sqlite")).unwrap();
    let task: Task = "drill:often".parse().unwrap();
    let since = SystemClock.now().checked_sub(jiff::SignedDuration::from_hours(2)).unwrap();
    assert_eq!(journal.history(&[task], since).unwrap().len(), 1);
}

/// Returns the drills that ended.
fn drills(jobs: &Value) -> impl Iterator<Item = &Value> {
    jobs["ended"].as_array().unwrap().iter().filter(|job| job["task"] == "drill:often")
}
