//! Restore tests on a staging host: lifeboat there does them, and whatever keeps it from that is named and could not verify.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use lifeboat_testing::postgres::Release;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::environment::Environment;
use crate::ownership::{give_away, write};
use crate::recover::Site;
use crate::recovery::Shop;
use crate::remote::{PATIENCE, There, assert_ends};

/// A site with a test on HOST, whose checks write into ROOM what they see.
const SECTIONS: &str = r#"
[checks.came_back]
files = "media"
exist = ["one.txt"]
[checks.there]
command = ["sh", "-c", "id -un > ROOM/who; test -f {{ target.directory }}/mediaHOME/media/one.txt; test ! -e ROOM/slow || { echo $$ > ROOM/group; sleep 600; }"]
within = "20m"
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["media"]
checks = ["came_back", "there"]
on = "HOST"
"#;

/// Every site of these tests has one.
const RUNBOOK: &str = "[[steps]]\nid = \"look\"\nmanual = \"Look.\"\n";

/// What is called `lifeboat` there: this one, with a home of its own, that writes down how it was called.
const PROGRAM: &str = r#"#!/bin/sh
echo "$@" > ROOM/words
session=$$
until grep -q sshd /proc/$session/comm; do session=$(awk '/^PPid/ { print $2 }' /proc/$session/status); done
echo $session > ROOM/session
export HOME=ROOM XDG_STATE_HOME=ROOM/state XDG_CACHE_HOME=ROOM/cache
exec BINARY "$@"
"#;

struct Staging {
    there: There,
    site: Site,
}

impl Staging {
    fn new() -> Self {
        let there = There::new();
        let environment = Environment::below(std::path::Path::new("/var/tmp"));
        let home = environment.path("").display().to_string();
        let sections = SECTIONS.replace("HOME", home.trim_end_matches('/'));
        // The host is another user's, and reads the tier that both can reach.
        let site = there.site_in(environment, RUNBOOK, &sections);
        let staging = Self { there, site };
        staging.share();
        staging.install(PROGRAM);
        staging
    }

    /// Lets the other user in to what is there of a store in the network.
    fn share(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let home = self.site.environment.path("");
        fs::set_permissions(home, fs::Permissions::from_mode(0o711)).unwrap();
        for tier in ["primary", "secondary"] {
            give_away(&self.site.environment.path(tier));
        }
    }

    fn install(&self, program: &str) {
        install(&self.there, program);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.there.room.join(name)).unwrap_or_default()
    }

    /// Runs the test; returns how the command ended and what is recorded here.
    fn test(&self) -> (i32, Value) {
        let run = self.site.environment.run(["test", "weekly", "--json", "--seed", "3"]);
        println!("{run}");
        (run.code(), run.json()["tests"][0].clone())
    }

    fn host(&self) -> String {
        self.there.host()
    }

    fn sandboxes(&self) -> Vec<PathBuf> {
        let folder = self.there.room.join("cache/lifeboat/shop/sandboxes");
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Asserts that nothing was verified for this reason, and that somebody is told.
    fn assert_unverified(&self, word: &str) {
        let (code, tested) = self.test();
        assert_eq!((code, &tested["outcome"]), (4, &"could-not-verify".into()), "{tested:#}");
        let trouble = tested["trouble"].as_str().unwrap_or_else(|| panic!("{tested:#}"));
        assert!(trouble.contains(word), "{trouble}");
        let status = self.site.environment.run(["status", "--json"]).json();
        assert!(status["risks"].to_string().contains("could not be verified"), "{status:#}");
    }
}

/// Puts what is called `lifeboat` in its place there.
fn install(there: &There, program: &str) {
    let room = there.room.display().to_string();
    let program = program.replace("ROOM", &room).replace("BINARY", env!("CARGO_BIN_EXE_lifeboat"));
    there.server.install("lifeboat", &program).unwrap();
}

/// Tells whether a text stands in a file below a directory.
fn holds(directory: &std::path::Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_restore_test_is_done_on_a_staging_host_and_recorded_here() {
    let staging = Staging::new();
    let (code, tested) = staging.test();
    assert_eq!((code, &tested["outcome"]), (0, &"passed".into()), "{tested:#}");
    assert_eq!(tested["on"], Value::from(staging.host()));
    assert_eq!(staging.read("who").trim(), staging.there.server.user(), "a check ran there");
    let point = staging.site.environment.run(["points", "--json"]).json()["points"][0].clone();
    assert_eq!(point["heights"]["primary"]["rung"], "proven", "{point:#}");
    let proof = staging.site.environment.run(["evidence", "verify"]);
    assert_eq!(proof.code(), 0, "{proof}");
    // Nothing of it is left there, and the key was never anywhere but in the pipe.
    assert_eq!(staging.sandboxes(), Vec::<PathBuf>::new());
    assert_eq!(staging.read("words").trim(), "test --staged");
    let key = staging.site.read("recovery.key");
    assert!(!key.trim().is_empty() && !holds(&staging.there.room, key.trim()));
}

#[test]
fn a_staging_host_that_cannot_do_a_test_is_named_and_proves_nothing() {
    let staging = Staging::new();
    staging.install("#!/bin/sh\nexit 127\n");
    staging.assert_unverified("is not installed on");
    staging.install("#!/bin/sh\necho \"error: unexpected argument '--staged'\" >&2; exit 2\n");
    staging.assert_unverified("it is another lifeboat: error: unexpected argument");
    staging.install(
        "#!/bin/sh\nread -r line\nprintf '%s\\n' \"$line\" | sed 's/\"version\":\"[^\"]*\"/\"version\":\"0.0.1\"/' | BINARY test --staged\n",
    );
    staging.assert_unverified("was called by 0.0.1");
    staging.install("#!/bin/sh\necho welcome\n");
    staging.assert_unverified("cannot be read");
    staging.there.server.lock_out().unwrap();
    staging.assert_unverified("cannot be reached, or went away");
}

#[test]
fn a_staging_host_that_goes_away_in_the_middle_proves_nothing_and_cleans_up() {
    let staging = Staging::new();
    fs::File::create(staging.there.room.join("slow")).unwrap();
    let testing = staging.site.environment.start(["test", "weekly", "--json", "--seed", "3"]);
    let group = staging.there.number("group");
    kill(Pid::from_raw(staging.there.number("session")), Signal::SIGKILL).unwrap();
    let output = testing.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("cannot be reached, or went away"), "{said}");
    assert_ends(group);
    let end = Instant::now() + PATIENCE;
    while !staging.sandboxes().is_empty() {
        assert!(Instant::now() < end, "{:?} stays", staging.sandboxes());
    }
    fs::remove_file(staging.there.room.join("slow")).unwrap();
    let (code, tested) = staging.test();
    assert_eq!((code, &tested["outcome"]), (0, &"passed".into()), "{tested:#}");
}

/// What a server's site has beside it.
const OF_SERVER: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[checks.rows]
sql = "SELECT count(*) FROM ledger"
expect = "= 3"
[restore_tests.weekly]
cron = "0 5 * * SUN"
assets = ["database", "media"]
checks = ["rows"]
on = "HOST"
"#;

#[test]
fn a_server_comes_back_on_a_staging_host_that_never_saw_it() {
    let (shop, there) = (Shop::new(Release::System), There::new());
    install(&there, PROGRAM);
    fs::create_dir(shop.at("media")).unwrap();
    write(&shop.at("media/a.png"), "a", 0o644);
    let sections = OF_SERVER.replace("HOME", &shop.home().display().to_string());
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let plan = plan.replace("assets = [\"database\"]", "assets = [\"*\"]");
    let plan = format!("{plan}{}", sections.replace("HOST", &there.host()));
    write(&shop.at("plan.toml"), &plan, 0o644);
    shop.commit_rows(1..=3);
    shop.done(&["backup"]);
    shop.archive_all();
    // What lies in the network for others is a folder of this host here.
    give_away(&shop.at("primary"));
    let mut command = shop.command();
    command.env("PATH", there.server.path());
    command.args(["test", "weekly", "--json", "--seed", "3", "--weak-isolation"]);
    let output = command.output().unwrap();
    let (said, talk) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{talk}");
    let tested = serde_json::from_str::<Value>(&said).unwrap()["tests"][0].clone();
    assert_eq!(tested["checks"][0]["outcome"], "passed", "{tested:#}");
    assert!(tested["phases_ms"]["replay"].is_u64(), "{tested:#}");
    let asked = tested["assets"][0].clone();
    assert_eq!((&asked["asset"], &asked["outcome"]), (&"database".into(), &"passed".into()));
    // No check asks the media, and a point stands where its least proven member does.
    let point = shop.done(&["points"])["points"][0].take();
    assert_eq!(point["heights"]["primary"]["rung"], "restored", "{point:#}");
}
