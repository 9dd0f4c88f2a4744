//! Steps of a runbook that are done on another host, which goes away in the middle.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lifeboat_testing::sshd::Sshd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment::Environment;
use crate::recover::{Site, ended};

/// How long something that has to happen is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A host, and a directory there.
pub struct There {
    pub server: Sshd,
    pub room: PathBuf,
}

impl There {
    pub fn new() -> Self {
        let server = Sshd::start_with_shell().unwrap();
        let room = server.room().unwrap();
        Self { server, room }
    }

    /// A site whose runbook may say HOST and ROOM.
    fn site(&self, runbook: &str, sections: &str) -> Site {
        self.site_in(Environment::new(), runbook, sections)
    }

    /// Returns how a plan names it.
    pub fn host(&self) -> String {
        format!("ssh://{}@{}", self.server.user(), self.server.address())
    }

    /// A site like that, at a home that is there.
    pub fn site_in(&self, environment: Environment, runbook: &str, sections: &str) -> Site {
        let host = self.host();
        let here = |text: &str| {
            text.replace("HOST", &host).replace("ROOM", &self.room.display().to_string())
        };
        let environment = environment.with("PATH", self.server.path());
        Site::at(environment, &here(runbook), &[], &here(sections))
    }

    /// Waits until a command there has written a number; returns it.
    pub fn number(&self, name: &str) -> i32 {
        let (path, end) = (self.room.join(name), Instant::now() + PATIENCE);
        loop {
            let written = fs::read_to_string(&path).unwrap_or_default();
            if let Ok(number) = written.trim().parse() {
                return number;
            }
            assert!(Instant::now() < end, "nobody writes {}", path.display());
        }
    }
}

pub fn assert_ends(process: i32) {
    let (path, end) = (format!("/proc/{process}/status"), Instant::now() + PATIENCE);
    let lives = || fs::read_to_string(&path).is_ok_and(|status| !status.contains("State:\tZ"));
    while lives() {
        assert!(Instant::now() < end, "process {process} goes on");
    }
}

const SECTIONS: &str = r#"
[checks.there]
command = ["test", "-e", "ROOM/done"]
"#;

const GOES_AWAY: &str = r#"
[[steps]]
id = "there"
on = "HOST"
run = '''
if test -e ROOM/back; then touch ROOM/done; echo "done by $(id -un), $SSH_CONNECTION"; exit 0; fi
session=$$
until grep -q sshd /proc/$session/comm; do session=$(awk '/^PPid/ { print $2 }' /proc/$session/status); done
echo $session > ROOM/session
echo $$ > ROOM/group
sleep 600
'''
check = ["there"]

[[steps]]
id = "restore"
needs = ["there"]
restore = { asset = "media" }

[[steps]]
id = "write-down"
needs = ["restore"]
run = ["sh", "-c", "echo '{{ steps.there.output }}' > HOME/said"]
"#;

#[test]
fn a_host_that_goes_away_in_the_middle_is_named_and_the_run_goes_on_once_it_is_back() {
    let there = There::new();
    let site = there.site(GOES_AWAY, SECTIONS);
    site.lose();
    // A tier that would give what is damaged, and is said to be lost.
    fs::remove_dir_all(site.environment.path("primary/repo/data")).unwrap();
    let words = ["recover", "loss", "--confirm", "shop", "--without", "primary"];
    let driving = site.environment.start(words);
    let (group, session) = (there.number("group"), there.number("session"));
    kill(Pid::from_raw(session), Signal::SIGKILL).unwrap();
    let (code, said) = ended(driving);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there: failed: ssh://"), "{said}");
    assert!(said.contains("cannot be reached, or went away"), "{said}");
    assert!(said.contains("lifeboat recover retry there"), "{said}");
    assert_ends(group);

    fs::File::create(there.room.join("back")).unwrap();
    site.environment.run(["recover", "retry", "there"]).success();
    let ended = site.environment.run(["recover", "--resume"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(site.read("media/one.txt"), "one", "the tier that is lost is not asked");
    let noted = site.read("said");
    assert!(noted.starts_with(&format!("done by {}, 127.0.0.1", there.server.user())), "{noted}");
}

const HANGS_AND_LIES: &str = r#"
[[steps]]
id = "hangs"
on = "HOST"
run = "echo $$ > ROOM/group; sleep 600 & wait"
timeout = "2s"
critical = false

[[steps]]
id = "fails"
on = "HOST"
run = "echo 'no room' >&2; exit 255"
critical = false

[[steps]]
id = "lies"
on = "HOST"
run = "true"
check = ["there"]
critical = false
"#;

#[test]
fn a_step_on_another_host_that_hangs_fails_or_lies_is_told_like_one_here() {
    let there = There::new();
    let site = there.site(HANGS_AND_LIES, SECTIONS);
    let recovered = site.environment.run(["recover", "loss", "--confirm", "shop"]);
    let said = format!("{recovered}");
    assert_eq!(recovered.code(), 3, "{said}");
    assert_ends(there.number("group"));
    assert!(said.contains("`sh` ended with exit code 255: no room"), "{said}");
    assert!(said.contains("check `there` failed"), "{said}");
    let stands = ["hangs", "fails", "lies"].map(|step| site.stand(step));
    assert_eq!(stands, ["failed", "failed", "failed"], "{said}");
    there.server.lock_out().unwrap();
    let refused = site.environment.run(["recover", "loss", "--confirm", "shop"]);
    assert!(format!("{refused}").contains("Permission denied"), "{refused}");
}
