//! Runbooks carried out by the real binary, by several people, with kills, failures and lies in between.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lifeboat_model::{Clock as _, SystemClock};
use lifeboat_testing::postgres::Cluster;
use serde_json::Value;

use crate::environment::Environment;
use crate::notice::Notices;

/// How long something that has to happen is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A site with some files, two services that are files too, and one scenario.
pub struct Site {
    pub environment: Environment,
    runbook: String,
}

const SECTIONS: &str = r#"
[classes]
critical = { rto = "4h" }

[services.front]
class = "critical"
needs = ["shop"]
start = "test -e HOME/shop && touch HOME/front"
stop = "rm -f HOME/front; test -e HOME/shop"
health = { command = ["test", "-e", "HOME/front"], within = "5s" }

[services.shop]
class = "critical"
start = "touch HOME/shop"
stop = "rm -f HOME/shop"
health = { command = ["test", "-e", "HOME/shop"], within = "5s" }

[checks.pictures]
files = "media"
exist = ["one.txt"]

[contacts.alice]
name = "Alice"
role = "operations"
login = "LOGIN"

[contacts.dave]
name = "Dave"
role = "executive"
login = "somebody-else"

[scenarios.loss]
runbook = "runbooks/loss.toml"
class = "critical"
rpo = "24h"
"#;

impl Site {
    pub fn new(runbook: &str) -> Self {
        Self::with(runbook, &[], "")
    }

    /// A site with more assets, and more sections in its plan.
    pub fn with(runbook: &str, more: &[&str], more_sections: &str) -> Self {
        Self::at(Environment::new(), runbook, more, more_sections)
    }

    /// A site at a home that is there.
    pub fn at(environment: Environment, runbook: &str, more: &[&str], more_sections: &str) -> Self {
        environment.write("media/one.txt", "one");
        let media = format!("media={}", environment.path("media").display());
        let tier = |name: &str| format!("{name}={}", environment.path(name).display());
        let (primary, secondary) = (tier("primary"), tier("secondary"));
        let mut words =
            vec!["init", "--no-discovery", "--confirm-later", "--site", "shop", "--json"];
        words.extend(["--tier", &primary, "--tier", &secondary, "--asset-path", &media]);
        words.extend(more);
        let made = environment.run(words);
        assert_eq!(made.code(), 0, "{made}");
        let home = environment.path("").display().to_string();
        let home = home.trim_end_matches('/');
        let login = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap();
        let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
        let sections = SECTIONS.replace("HOME", home).replace("LOGIN", &login.name);
        environment.write("plan.toml", format!("{plan}\n{sections}\n{more_sections}"));
        let runbook = format!("title = \"Loss\"\n{}", runbook.replace("HOME", home));
        environment.write("runbooks/loss.toml", &runbook);
        let site = Self { environment, runbook };
        let ended = site.environment.run(["backup"]);
        assert_eq!(ended.code(), 0, "{ended}");
        site
    }

    pub fn lose(&self) {
        fs::remove_dir_all(self.environment.path("media")).unwrap();
        for service in ["shop", "front"] {
            self.environment.write(service, "");
        }
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.environment.path(file)).unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        self.environment.run(["recover", "status", "--json"]).json()
    }

    pub fn stand(&self, step: &str) -> String {
        let status = self.status();
        let steps = status["steps"].as_array().cloned().unwrap_or_default();
        let found = steps.iter().find(|known| known["step"] == step);
        found.map(|found| found["stand"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn wait_for(&self, step: &str, stand: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let notices = Notices::below(&self.environment.path("state/lifeboat/shop/runs"));
            if self.stand(step) == stand {
                return;
            }
            assert!(Instant::now() < end, "`{step}` is not `{stand}`: {:#}", self.status());
            notices.wait(&["journal"]);
        }
    }

    fn wait_for_log(&self, log: &str) {
        let end = Instant::now() + PATIENCE;
        while self.read("log") != log {
            assert!(Instant::now() < end, "{}", self.read("log"));
        }
    }

    /// Waits until it is noted that a command runs.
    fn wait_for_note(&self) {
        let end = Instant::now() + PATIENCE;
        let run = self.status()["run"].as_str().unwrap().to_owned();
        let notes = self.environment.path(format!("state/lifeboat/shop/runs/{run}/commands"));
        while fs::read_dir(&notes).is_ok_and(|mut notes| notes.next().is_none()) {
            assert!(Instant::now() < end, "nothing is in {}", notes.display());
        }
    }

    pub fn recover(&self) -> Child {
        self.environment.start(["recover", "loss", "--confirm", "shop"])
    }
}

pub fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), format!("{text}{talk}"))
}

const WHOLE: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]
undo = { start = ["*"] }

[[steps]]
id = "look"
manual = "Look at the disk of {{ plan.name }} for {{ point.id }}."
checklist = ["it is there", "it is empty"]

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "media" }
check = ["pictures"]

[[steps]]
id = "write-down"
needs = ["look", "restore"]
run = ["sh", "-c", "echo '{{ steps.look.note }} {{ steps.restore.target }}' >> HOME/said"]

[[steps]]
id = "only-if-broken"
needs = ["look"]
when = { step = "look", is = "broken" }
run = "touch HOME/broken"

[[steps]]
id = "agree"
needs = ["write-down"]
approve = { by = "operations", ask = "Open the shop to {{ steps.look.note }}?" }

[[steps]]
id = "start"
needs = ["agree"]
start = ["*"]
"#;

/// Stops, and so has something to undo.
const STOPS: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]
undo = { start = ["*"] }

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "media" }

[[steps]]
id = "start"
needs = ["restore"]
start = ["*"]
"#;

/// Overwrites the beginning of the largest pack that came to a tier since, which is that of what was captured.
fn damage_newest(site: &Site, tier: &str, before: &BTreeSet<PathBuf>) {
    let newest = packs(site, tier).into_iter().filter(|pack| !before.contains(pack));
    let newest = newest.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::set_permissions(&newest, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options().write(true).open(newest).unwrap().write_all(&[0x5a; 64]).unwrap();
}

fn packs(site: &Site, tier: &str) -> BTreeSet<PathBuf> {
    let data = site.environment.path(format!("{tier}/repo/data"));
    let folders = fs::read_dir(data).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.filter(|folder| folder.is_dir()).flat_map(|f| fs::read_dir(f).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn of_a_point_that_is_damaged_the_next_older_one_is_proposed_and_it_is_not_proposed_again() {
    let site = Site::new(STOPS);
    let points = || -> Vec<String> {
        let known = site.environment.run(["points", "--json"]).json();
        let names = known["points"].as_array().unwrap().iter();
        names.map(|point| point["name"].as_str().unwrap().to_owned()).collect()
    };
    let tiers = ["primary", "secondary"];
    let before = tiers.map(|tier| packs(&site, tier));
    let older = points()[0].clone();
    // Points are called by their second.
    while points()[0] == older {
        site.environment.write("media/one.txt", format!("{:?}", Instant::now()).repeat(1000));
        site.environment.run(["backup"]).success();
    }
    let newer = points()[0].clone();
    for (tier, before) in tiers.iter().zip(&before) {
        damage_newest(&site, tier, before);
    }
    site.lose();
    let ahead = site.environment.run(["recover", "loss", "--dry-run"]).success();
    assert!(ahead.contains(&format!("the next older point is {older}: `--at {older}`")), "{ahead}");

    let (code, said) = ended(site.recover());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("recover retry restore"), "{said}");
    let proposed = format!("`lifeboat recover loss --at {older}`");
    assert!(said.contains("the next older point is") && said.contains(&proposed), "{said}");
    // Another tier is damaged just as well.
    site.environment.run(["recover", "retry", "restore"]).success();
    assert_eq!(site.environment.run(["recover", "--resume"]).code(), 1);

    site.environment.run(["recover", "abort", "--reason", "damaged point"]).success();
    let again = site.environment.run(["recover", "loss", "--dry-run"]).success();
    assert!(again.contains(&format!("not to {newer}: run_")), "{again}");
    assert!(again.contains("found it damaged"), "{again}");
    // What was given up is undone before another begins.
    let words = ["recover", "loss", "--at", &older, "--confirm", "shop"];
    let recovered = site.environment.run(words);
    assert_eq!(recovered.code(), 0, "{recovered}");
    assert!(recovered.stderr().contains("stop: undone"), "{recovered}");
    assert_eq!(site.read("media/one.txt"), "one");
}

/// Brings back what lies on a disk of its own.
const FILLS: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "pictures" }

[[steps]]
id = "start"
needs = ["restore"]
start = ["*"]
"#;

/// A disk of a mebibyte.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "only root can mount");
        Self(folder)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn as_root_a_disk_that_fills_during_a_recovery_is_named_and_it_goes_on_once_there_is_room() {
    assert!(nix::unistd::Uid::effective().is_root(), "only root mounts a file system");
    let environment = Environment::new();
    let disk = SmallDisk::at(environment.path("disk"));
    let picture = "a picture ".repeat(60_000);
    environment.write("disk/pictures/one.txt", &picture);
    let asset = format!("pictures={}", environment.path("disk/pictures").display());
    let site = Site::at(environment, FILLS, &["--asset-path", &asset], "");
    fs::remove_dir_all(site.environment.path("disk/pictures")).unwrap();
    let other = site.environment.write("disk/other", "x".repeat(700_000));
    for service in ["shop", "front"] {
        site.environment.write(service, "");
    }

    let (code, said) = ended(site.recover());
    assert_eq!(code, 1, "{said}");
    let status = site.status();
    assert_eq!((&status["state"], &status["outcome"]), (&"stuck".into(), &Value::Null));
    assert_eq!(site.stand("restore"), "failed");
    assert_eq!(site.stand("start"), "to come", "nothing begins without what it needs");
    let step = status["steps"].as_array().unwrap().iter().find(|step| step["step"] == "restore");
    let step = step.unwrap();
    let why = step["why"].as_str().unwrap();
    assert!(why.to_lowercase().contains("no space left") && why.contains("/disk/"), "{why}");
    assert!(step["commands"].to_string().contains("lifeboat recover retry restore"), "{step}");
    assert!(!disk.0.join("pictures").exists(), "nothing in part is in its place");

    // Without room it fails as before, and is kept as before.
    site.environment.run(["recover", "retry", "restore"]).success();
    assert_eq!(site.environment.run(["recover", "--resume"]).code(), 1);
    assert_eq!(site.stand("restore"), "failed");

    fs::remove_file(other).unwrap();
    site.environment.run(["recover", "retry", "restore"]).success();
    let resumed = site.environment.run(["recover", "--resume"]);
    assert_eq!(resumed.code(), 0, "{resumed}");
    assert_eq!(site.read("disk/pictures/one.txt"), picture);
    assert_eq!(disk.files(), ["pictures"], "nothing of the attempts is left");
    let shown = site.environment.run(["evidence", "show"]).success();
    assert!(shown.to_lowercase().contains("no space left"), "{shown}");
}

/// Says where it is done.
const HERE: &str = r#"
[[steps]]
id = "restore"
restore = { asset = "media" }
check = ["pictures"]

[[steps]]
id = "say"
needs = ["restore"]
run = ["sh", "-c", "echo '{{ target.host }}' > HOME/said"]
"#;

#[test]
fn a_recovery_is_done_on_this_host_whatever_it_is_called_and_its_evidence_says_so() {
    let site = Site::new(HERE);
    site.lose();
    let at =
        |host: &str| site.environment.run(["recover", "loss", "--confirm", "shop", "--host", host]);
    let refused = at("elsewhere.invalid").failure(2);
    assert!(refused.contains("elsewhere.invalid is not known to be this host"), "{refused}");
    assert!(refused.contains("run it on elsewhere.invalid"), "{refused}");
    // An address of documentation, which nobody has.
    at("192.0.2.1").failure(2);
    assert!(!site.environment.path("media").exists(), "nothing was done");

    at("127.0.0.1").success();
    assert_eq!(site.read("said"), "127.0.0.1\n");
    let shown = site.environment.run(["evidence", "show", "--format", "json"]).json();
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(shown["body"]["place"]["host"], own.trim(), "{shown:#}");
}

/// What a person notes, who thinks of no shell.
const NOTE: &str = "Bob's disk 7; touch noted `touch noted` $(touch noted)";

#[test]
fn a_scenario_is_recovered_by_its_runbook_and_by_people() {
    let site = Site::new(WHOLE);
    site.lose();
    let ahead = site.environment.run(["recover", "loss", "--dry-run", "--json"]);
    assert_eq!(ahead.code(), 0, "{ahead}");
    let ahead = ahead.json();
    assert_eq!(ahead["schema"], "lifeboat.recover.outlook/1");
    assert_eq!(ahead["steps"].as_array().unwrap().len(), 7, "{ahead:#}");
    assert!(ahead["point"]["time"].is_string() && ahead["loss_ms"].is_u64(), "{ahead:#}");
    assert_eq!(ahead["rto_ms"], 4 * 3_600_000);
    assert!(!site.environment.path("media").exists(), "a dry run changes nothing");
    site.environment.run(["recover", "loss"]).failure(2);
    site.environment.run(["recover", "loss", "--confirm", "other"]).failure(2);
    site.environment.run(["recover", "status"]).failure(1);

    let driving = site.recover();
    site.wait_for("look", "waits for a person");
    let asks = |step: &str| {
        let status = site.status();
        let steps = status["steps"].as_array().unwrap();
        let asked = steps.iter().find(|known| known["step"] == step).unwrap();
        asked["asks"].as_str().unwrap().to_owned()
    };
    let point = ahead["point"]["at"].as_str().unwrap();
    assert!(asks("look").ends_with(&format!(" for {point}.")), "{}", asks("look"));
    let open = site.environment.run(["recover", "confirm", "look", "--done", "it is there"]);
    assert!(open.failure(2).contains("`it is empty`"), "{open}");
    let confirm = ["recover", "confirm", "look", "--all", "--note", NOTE];
    let confirmed = site.environment.command().env("SUDO_USER", "carol").args(confirm).output();
    assert!(confirmed.unwrap().status.success());
    site.wait_for("agree", "waits for a person");
    assert!(!site.environment.path("front").exists(), "it was stopped, and nobody agreed yet");
    let second = site.environment.run(["recover", "--resume"]);
    assert!(second.failure(11).contains("(process "), "{second}");
    assert_eq!(asks("agree"), format!("Open the shop to {NOTE}?"));
    site.environment.run(["recover", "approve", "agree"]).failure(2);
    site.environment.run(["recover", "approve", "agree", "--reason", " "]).failure(2);
    site.environment.run(["recover", "approve", "agree", "--reason", "all is there"]).success();
    let (code, said) = ended(driving);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("restore: done in") && said.contains("agree: approved by"), "{said}");
    assert_eq!(site.read("media/one.txt"), "one");
    assert!(site.read("said").starts_with(&format!("{NOTE} /")), "{}", site.read("said"));
    assert!(!site.environment.path("noted").exists(), "what a person notes is no command");
    assert!(site.environment.path("front").exists() && !site.environment.path("broken").exists());
    let status = site.status();
    assert_eq!((&status["outcome"], &status["state"]), (&"succeeded".into(), &"finished".into()));
    assert!(status["times"]["people_ms"].as_u64().unwrap() > 0, "{status:#}");
    let records = site.environment.run(["catalog", "list", "--kind", "recovery-ended"]).success();
    assert!(records.contains("succeeded"), "{records}");
    let proof = site.environment.run(["evidence", "show"]).success();
    assert!(proof.contains("all is there"), "{proof}");
    let is_root = nix::unistd::Uid::effective().is_root();
    assert_eq!(
        proof.contains("carol as root"),
        is_root,
        "who became root is named with it: {proof}"
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "nothing has to survive a crash")]
fn tiers_that_cannot_be_asked_are_told_from_points_that_are_not_there() {
    let site = Site::new(WHOLE);
    let away = |tier: &str| {
        fs::rename(site.environment.path(tier), site.environment.path(format!("{tier}-away")))
            .unwrap();
    };
    away("primary");
    site.environment.run(["recover", "loss", "--dry-run"]).success();
    let early = ["recover", "loss", "--dry-run", "--at", "20000101_000000"];
    let none = site.environment.run(early).failure(1);
    for told in ["no recovery point", "as far as could be asked (primary: ", "mount or bring back"]
    {
        assert!(none.contains(told), "{told}: {none}");
    }
    away("secondary");
    for words in [&["recover", "loss", "--dry-run"][..], &["recover", "loss", "--confirm", "shop"]]
    {
        let unasked = site.environment.run(words.iter().copied()).failure(1);
        let told = [
            "no tier could be asked",
            "primary: ",
            "secondary: ",
            "is not there any more",
            "mount or bring back",
        ];
        for told in told {
            assert!(unasked.contains(told), "{told}: {unasked}");
        }
        assert!(!unasked.contains("no recovery point"), "{unasked}");
    }
    let lost =
        site.environment.run(["recover", "loss", "--dry-run", "--without", "primary"]).failure(1);
    assert!(lost.contains("primary: ") && lost.contains("is said to be lost"), "{lost}");
}

#[test]
fn a_time_leads_to_the_point_before_it_and_one_that_did_not_come_yet_is_refused() {
    let site = Site::new(WHOLE);
    let newest = site.environment.run(["points", "--json"]).json()["points"][0].clone();
    let later = "2099-01-01T00:00:00Z";
    let refused = site.environment.run(["recover", "loss", "--dry-run", "--at", later]).failure(2);
    assert!(refused.contains(&format!("{later} did not come yet")), "{refused}");
    assert!(refused.contains("`lifeboat points`"), "{refused}");
    let now = SystemClock.now().to_string();
    let ahead = site.environment.run(["recover", "loss", "--dry-run", "--json", "--at", &now]);
    assert_eq!(ahead.code(), 0, "{ahead}");
    let ahead = ahead.json();
    // Files have no log, so nothing is there between two points: what comes back is as old as the point.
    assert_eq!(
        (&ahead["point"]["at"], &ahead["point"]["time"]),
        (&newest["name"], &newest["time"])
    );
    assert!(ahead["loss_ms"].as_u64().unwrap() > 0, "{ahead:#}");
}

const KILLED: &str = r#"
[[steps]]
id = "first"
run = "echo first >> HOME/log"

[[steps]]
id = "second"
needs = ["first"]
run = "echo second >> HOME/log; (until test -e HOME/go; do sleep 0.05; done; echo late >> HOME/log)"
retry = { times = 1, wait = "1s" }

[[steps]]
id = "third"
needs = ["second"]
run = "echo third >> HOME/log"

[[steps]]
id = "agree"
needs = ["third"]
approve = { by = "executive", ask = "Was it worth it?" }
"#;

#[test]
fn a_recovery_whose_process_is_killed_goes_on_at_the_step() {
    let site = Site::new(KILLED);
    let mut driving = site.recover();
    site.wait_for_log("first\nsecond\n");
    // Whoever is killed before he took note of what he began knows nothing of it.
    site.wait_for_note();
    driving.kill().unwrap();
    driving.wait().unwrap();
    site.environment.run(["recover", "loss", "--confirm", "shop"]).failure(1);
    let runbook = site.environment.path("runbooks/loss.toml");
    site.environment.write("runbooks/loss.toml", site.runbook.replace("third >>", "3 >>"));
    let changed = site.environment.run(["recover", "--resume"]);
    assert!(changed.failure(1).contains("the runbook was changed"), "{changed}");
    site.environment.write("runbooks/loss.toml", &site.runbook);
    assert!(runbook.exists());
    let driving = site.environment.start(["recover", "--resume"]);
    site.wait_for_log("first\nsecond\nsecond\n");
    site.environment.write("go", "");
    site.wait_for("agree", "waits for a person");
    assert_eq!(
        site.read("log"),
        "first\nsecond\nsecond\nlate\nthird\n",
        "what is done is not done again, and what was left running does not go on beside it"
    );
    let refused = site.environment.run(["recover", "approve", "agree", "--reason", "it was"]);
    assert!(refused.failure(1).contains("`agree` waits for executive"), "{refused}");
    site.environment.run(["recover", "skip", "agree", "--reason", "Dave is away"]).success();
    let (code, said) = ended(driving);
    assert_eq!(code, 3, "what a person skipped makes it incomplete: {said}");
    assert!(said.contains("Dave is away") && said.contains("second: stopped"), "{said}");
}

const LIES: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]
undo = { start = ["*"] }

[[steps]]
id = "mount"
needs = ["stop"]
run = "test -e HOME/disk"

[[steps]]
id = "pretend"
needs = ["mount"]
run = "true"
check = ["pictures"]
"#;

#[test]
fn what_fails_or_lies_keeps_the_run_and_an_abort_undoes_it() {
    let site = Site::new(LIES);
    site.lose();
    let (code, said) = ended(site.recover());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("lifeboat recover retry mount"), "{said}");
    site.environment.write("disk", "");
    site.environment.run(["recover", "retry", "mount"]).success();
    let lie = site.environment.run(["recover", "--resume"]);
    assert_eq!(lie.code(), 1, "{lie}");
    assert!(lie.stdout().contains("it says that it worked, but"), "{lie}");
    assert_eq!(site.stand("pretend"), "failed");
    assert!(!site.environment.path("shop").exists());
    site.environment.run(["recover", "abort", "--reason", "no copy is left"]).success();
    let given_up = site.status().to_string();
    assert!(
        !given_up.contains("recover retry") && !given_up.contains("recover abort"),
        "{given_up}"
    );
    let aborted = site.environment.run(["recover", "--resume"]);
    assert_eq!(aborted.code(), 1, "{aborted}");
    assert!(site.environment.path("front").exists(), "stopping was undone: {aborted}");
    let over = site.status();
    assert_eq!(over["outcome"], "aborted");
    assert!(
        !over.to_string().contains("lifeboat recover "),
        "nothing can be told any more: {over}"
    );
}

const CORRUPT: &str = r#"
[[steps]]
id = "stop"
stop = ["*"]
undo = { start = ["*"] }

[[steps]]
id = "restore"
needs = ["stop"]
restore = { asset = "database", at = "{{ point.time }}" }
check = ["users"]

[[steps]]
id = "integrity"
needs = ["restore"]
check = ["users", "pictures_named"]

[[steps]]
id = "start"
needs = ["integrity"]
start = ["*"]
"#;

const QUESTIONS: &str = r#"
[checks.users]
sql = "SELECT count(*) FROM users"
expect = "= 2"

[checks.pictures_named]
sql = "SELECT picture FROM users WHERE picture IS NOT NULL"
files_in = "media"
"#;

#[test]
fn a_corrupt_database_comes_back_and_is_kept_aside() {
    let cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    let rows = "CREATE TABLE users (id int PRIMARY KEY, picture text);
        INSERT INTO users VALUES (1, 'one.txt'), (2, NULL)";
    cluster.psql("shop", rows).unwrap();
    let database = format!("database={}", cluster.connect_string("shop"));
    let site = Site::with(CORRUPT, &["--database", &database], QUESTIONS);
    for service in ["shop", "front"] {
        site.environment.write(service, "");
    }
    cluster
        .psql("shop", "UPDATE users SET picture = 'nowhere.txt'; DELETE FROM users WHERE id = 2")
        .unwrap();
    let ahead = site.environment.run(["recover", "loss", "--dry-run"]).success();
    assert!(ahead.contains("replaces what is there, which is kept aside"), "{ahead}");
    let (code, said) = ended(site.recover());
    assert_eq!(code, 0, "{said}");
    assert_eq!(cluster.psql("shop", "SELECT count(*) FROM users").unwrap(), "2");
    let kept =
        cluster.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'");
    assert_eq!(kept.unwrap(), "2", "the corrupt one is kept under another name");
    let proof = site.environment.run(["evidence", "show", "--json"]).json();
    let (counted, text) = (&proof["record"]["body"]["counts"][0], proof.to_string());
    let rows = counted["rows"].as_str().unwrap_or_else(|| panic!("{proof:#}"));
    for told in
        ["1 tables with 2 rows are as they were counted", "check users: ", "check pictures_named: "]
    {
        assert!(rows.contains(told), "{told}: {rows}");
    }
    assert!(!text.contains("none were counted"), "{text}");
    assert!(site.environment.path("front").exists());
}
