//! The reference platform on a machine of its own, as tests use it: whatever fails there fails the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lifeboat_testing::tree::{Aspect, TreeState, capture};
use lifeboat_tiers::durable;
use serde_json::Value;
use techit::failure::StageError;
use techit::machine::{Folder, Machine as Staged};

pub use techit::machine::{SITE, pause};

use techit::service::Service;

use crate::environment::Ended;

/// How many users the platform has at first.
const USERS: u32 = 40;

/// How long something that has to happen is waited for.
const PATIENCE: Duration = Duration::from_mins(5);

/// The platform, its plan, and where its copies go: its disk, a bucket and a container.
pub struct Machine(Staged);

impl Machine {
    /// Installs the platform, makes its plan that of this machine, and has its log archived.
    pub fn new() -> Self {
        Self::below(Path::new("/var/tmp"))
    }

    /// Does the same below a directory.
    pub fn below(directory: &Path) -> Self {
        let lifeboat = Path::new(env!("CARGO_BIN_EXE_lifeboat"));
        let staged = Staged::new(lifeboat, directory, Folder::Goes);
        let mut machine = Self(good(staged));
        good(machine.0.install(USERS));
        machine
            .lifeboat(&[machine.0.init(), vec!["--confirm-later".to_owned()]].concat())
            .success();
        good(machine.0.write_plan());
        good(machine.0.keep_key());
        good(machine.0.serve_log());
        machine.lifeboat(&machine.0.setup()).success();
        machine
    }

    /// Changes what the plan says, which says that.
    #[track_caller]
    pub fn change_plan(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.plan()).unwrap();
        assert!(text.contains(from), "the plan does not say {from}");
        durable::replace(&self.0.plan(), text.replace(from, to).as_bytes(), 0o644).unwrap();
    }

    /// Returns a path of lifeboat's own state for the site.
    pub fn state(&self, path: &str) -> PathBuf {
        self.at("var/lib/lifeboat").join(SITE).join(path)
    }

    /// Starts lifeboat with the machine's plan, and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.0.lifeboat();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs lifeboat with the machine's plan.
    pub fn lifeboat<S: AsRef<str>>(&self, arguments: &[S]) -> Ended {
        let arguments = arguments.iter().map(AsRef::as_ref);
        let output = self.0.lifeboat().args(arguments).output().unwrap();
        Ended::of(output, self.0.root())
    }

    /// Returns a path of the machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.0.at(path)
    }

    /// Returns a path that no disaster of the machine reaches.
    pub fn away(&self, path: &str) -> PathBuf {
        self.0.away(path)
    }

    /// Returns what came to the mail host since this was asked last.
    pub fn mails(&self) -> Vec<String> {
        self.0.mails().taken()
    }

    /// Returns what came to all other services of others since this was asked last.
    pub fn others(&self) -> Vec<String> {
        self.0.others().taken()
    }

    /// Runs a command of the platform's own.
    #[track_caller]
    pub fn manage(&self, arguments: &[&str]) -> String {
        good(self.0.manage(arguments))
    }

    /// Has the platform's services asked or changed; returns what is said.
    #[track_caller]
    pub fn platform(&self, arguments: &[&str]) -> String {
        let program = self.at("srv/techit-solutions/bin/platform");
        let settings = self.at("var/www/techit_solutions/.env");
        let mut command = std::process::Command::new(program);
        let output = command.args(arguments).env("TECHIT_ENV", settings).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Runs a command of the platform's own, which must find something wrong; returns what it says of that.
    #[track_caller]
    pub fn complaint(&self, arguments: &[&str]) -> String {
        good(self.0.complaint(arguments))
    }

    /// Returns what a restore kept aside of a path.
    #[track_caller]
    pub fn aside(&self, path: &str) -> PathBuf {
        good(self.0.aside(path))
    }

    /// Asks the database.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        good(self.0.sql(sql))
    }

    /// Returns what the database holds of what must not get lost.
    pub fn ledger(&self) -> String {
        self.sql(
            "SELECT 'users', count(*), md5(string_agg(username, ',' ORDER BY id)) FROM users_customuser
             UNION ALL SELECT 'orders', count(*), md5(string_agg(state, ',' ORDER BY id)) FROM orders_order
             UNION ALL SELECT 'payments', count(*), sum(amount)::text FROM orders_payment ORDER BY 1",
        )
    }

    /// Returns how files of the machine are.
    pub fn tree(&self, path: &str) -> TreeState {
        capture(self.at(path)).unwrap()
    }

    /// Kills the process that a file names, and its children, at once.
    #[track_caller]
    pub fn kill(&self, mark: &Path) {
        good(self.0.kill(mark));
    }

    /// Waits until all that the database wrote so far is archived.
    #[track_caller]
    pub fn wait_for_archive(&self) {
        good(self.0.wait_for_archive());
    }

    /// Loses everything that the machine has: every process, every file, its first tier, lifeboat's plan and state too.
    #[track_caller]
    pub fn die(&mut self) {
        good(self.0.die());
    }

    /// A new machine: nothing but the bucket's address and the recovery key that somebody brings.
    pub fn bootstrap(&self) {
        good(self.0.replace());
        self.lifeboat(&self.0.bootstrap()).success();
        good(self.0.bring_key());
        assert!(self.at("etc/lifeboat/runbooks/complete-system-failure.toml").is_file());
    }

    /// Begins a recovery, at an address of this host.
    #[track_caller]
    pub fn recover(&self, scenario: &str, options: &[&str]) -> Recovery<'_> {
        let said =
            std::fs::File::options().create(true).append(true).open(self.away(SAID)).unwrap();
        let mut command = self.0.lifeboat();
        command.args(Staged::recover(scenario)).args(options);
        let output = [said.try_clone().unwrap().into(), said.into()];
        Recovery { machine: self, driving: good(Service::start(&command, output)) }
    }
}

/// Where what a recovery says is kept.
const SAID: &str = "said";

/// A recovery that goes on in the background.
pub struct Recovery<'m> {
    machine: &'m Machine,
    driving: Service,
}

impl Recovery<'_> {
    /// Waits until a step waits for a person, and has that person say something.
    pub fn tell(&mut self, step: &str, words: &[&str]) {
        self.wait_for(step);
        self.machine.lifeboat(&[&["recover"], words].concat()).success();
    }

    /// Waits until a step waits for a person.
    pub fn wait_for(&mut self, step: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.machine.lifeboat(&["recover", "status", "--json"]).json();
            let steps = status["steps"].as_array().cloned().unwrap_or_default();
            let waits =
                |known: &Value| known["step"] == step && known["stand"] == "waits for a person";
            if steps.iter().any(waits) {
                return;
            }
            let is_driven = self.driving.runs();
            assert!(is_driven && Instant::now() < end, "`{step}` is not waited for: {status:#}");
            pause();
        }
    }

    /// Waits until it is over; returns how, and what was said.
    pub fn end(self) -> (i32, String) {
        let code = good(self.driving.wait()).unwrap();
        (code, std::fs::read_to_string(self.machine.away(SAID)).unwrap())
    }
}

/// Asserts that files are as they were, whatever holes they have.
#[track_caller]
pub fn assert_same(then: &TreeState, now: &TreeState) {
    let differences = then.differences(now, &[Aspect::Holes]);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Asserts that somebody was told something.
#[track_caller]
pub fn assert_told(told: &[String], what: &str) {
    assert!(told.iter().any(|text| text.contains(what)), "{what} is not in {told:#?}");
}

#[track_caller]
fn good<T>(done: Result<T, StageError>) -> T {
    done.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}
