//! The reference platform on a machine of its own: a folder that stands for the root of one, and can be lost.
//!
//! The plan and the runbooks are those that are shipped; only places, ports and services of others are replaced, as
//! [`Machine::here`] lists.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::tier_mark::TierMark;
use lifeboat_testing::platform::programs;
use lifeboat_testing::tree::{Aspect, TreeState, capture};
use lifeboat_tiers::LocalTier;
use nix::unistd::{Uid, User};
use serde_json::Value;

use crate::environment::{Ended, Environment};
use crate::ownership::write;
use crate::sink::Sink;

/// The site of the reference plan.
pub const SITE: &str = "techit-production";

/// How long something that has to happen is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a machine has that a disaster takes, below its folder.
const HOST: &str = "host";

/// Ends what the platform left running once nobody holds its input any more, however the test ends.
const GUARD: &str = r#"
cat >/dev/null
for file in "$0"/host/run/techit/*.pid "$0"/host/var/lib/postgresql/main/postmaster.pid; do
  [ -e "$file" ] || continue
  process=$(head -n 1 "$file")
  kill -KILL "$process" $(pgrep -P "$process") 2>/dev/null
done
rm -rf "$0"
"#;

/// The platform, its plan, and where its copies go.
pub struct Machine {
    environment: Environment,
    pub mails: Sink,
    pub others: Sink,
    root: PathBuf,
    port: u16,
    key: RecoveryKey,
    log: Option<Child>,
    guard: Child,
}

impl Machine {
    /// Installs the platform, makes its plan that of this machine, and has its log archived.
    pub fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        let root = builder.prefix("lifeboat-techit-").tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let mut guard = Command::new("sh");
        let guard = guard.args(["-c", GUARD]).arg(&root).stdin(Stdio::piped()).spawn().unwrap();
        let environment = Environment::new().with("PATH", search_path()).with(
            "TECHIT_ENV",
            root.join(HOST).join("var/www/techit_solutions/.env").display().to_string(),
        );
        let mut machine = Self {
            environment,
            mails: Sink::of_mail(),
            others: Sink::of_requests(),
            root,
            port: free_port(),
            key: RecoveryKey::generate(),
            log: None,
            guard,
        };
        machine.install();
        machine.write_plan();
        machine.archive();
        machine
    }

    fn install(&self) {
        let application = self.at("srv/techit-solutions");
        make_folder(&self.at("srv"));
        make_folder(&self.at("var/www/techit_solutions"));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/platform");
        self.done("cp", &["-r", text(&shipped), text(&application)]);
        let settings = self.at("var/www/techit_solutions/.env");
        write(&settings, &self.settings(), 0o600);
        give_to_web(&settings);
        self.platform(&["install"]);
    }

    fn settings(&self) -> String {
        let (host, port) = (self.root.join(HOST).display().to_string(), self.port);
        let (mail, others) = (self.mails.port(), self.others.port());
        let lines = [
            ("SECRET_KEY", "once-upon-a-time".to_owned()),
            ("DATABASE_NAME", "techit_db".to_owned()),
            ("DATABASE_USER", "techit_app".to_owned()),
            ("DATABASE_HOST", format!("{host}/run/postgresql")),
            ("POSTGRES_DATA", format!("{host}/var/lib/postgresql/main")),
            ("REDIS_DATA", format!("{host}/var/lib/redis")),
            ("REDIS_SOCKET", format!("{host}/run/techit/redis.sock")),
            ("RUN", format!("{host}/run/techit")),
            ("LOGS", format!("{host}/var/log/techit")),
            ("NGINX_CONF", format!("{host}/etc/nginx/nginx.conf")),
            ("MEDIA_ROOT", format!("{host}/var/www/techit_solutions/media")),
            ("STATIC_ROOT", format!("{host}/var/www/techit_solutions/static")),
            ("HTTP_PORT", port.to_string()),
            ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ("EMAIL_HOST", "127.0.0.1".to_owned()),
            ("EMAIL_PORT", mail.to_string()),
            ("WEBHOOK_URL", format!("http://127.0.0.1:{others}/hook")),
            ("ARCHIVE_URL", format!("http://127.0.0.1:{others}/archive")),
            ("MONITORING_URL", format!("http://127.0.0.1:{others}/alive")),
            ("PROBE_PASSWORD", "open-sesame".to_owned()),
        ];
        lines.map(|(key, value)| format!("{key}={value}\n")).concat()
    }

    /// Says of this machine what the plan says of the real one.
    fn here(&self, text: &str) -> String {
        let (host, away) = (self.root.join(HOST).display().to_string(), self.root.display());
        let halves = self.key.public_halves();
        let login = User::from_uid(Uid::effective()).unwrap().unwrap().name;
        let port = self.port;
        let (mail, others) = (self.mails.port(), self.others.port());
        let pairs = [
            (
                "file = \"/etc/lifeboat/recovery.key\"",
                format!(
                    "file = \"{away}/recovery.key\"\nrecipient = \"{}\"\nverifier = \"{}\"",
                    halves.recipient, halves.verifier
                ),
            ),
            // Tiers elsewhere are folders elsewhere, which neither lock nor grow cold.
            ("s3://techit-backups", format!("file://{away}/secondary")),
            ("lock = \"30d\"\n", String::new()),
            ("azure://account/techit-offsite", format!("file://{away}/offsite")),
            ("access = \"cold\"\n", String::new()),
            // Places.
            ("host=/var/run/postgresql", format!("host={host}/run/postgresql user=postgres")),
            ("pg_dump ", format!("pg_dump --host={host}/run/postgresql --username=postgres ")),
            ("/srv/techit-solutions", format!("{host}/srv/techit-solutions")),
            ("/var/www/techit_solutions", format!("{host}/var/www/techit_solutions")),
            ("/var/log/techit", format!("{host}/var/log/techit")),
            // A disk of its own, which outlasts the machine and is put into the new one.
            ("/var/backups/", format!("{away}/disk/")),
            ("/etc/nginx", format!("{host}/etc/nginx")),
            // What stands for others in a drill, at the ports by which this machine calls them.
            (
                "sinks = [\"smtp://mail.example.org:587\", \"http://hooks.example.org\"]",
                format!("sinks = [\"smtp://127.0.0.1:{mail}\", \"http://127.0.0.1:{others}\"]"),
            ),
            // Ports, and a name that leads here.
            ("http://localhost/", format!("http://127.0.0.1:{port}/")),
            ("http://{{ target.host }}/", format!("http://{{{{ target.host }}}}:{port}/")),
            ("{{ target.host }}:443", format!("{{{{ target.host }}}}:{port}")),
            ("dns = \"www.example.org\"", "dns = \"localhost\"".to_owned()),
            // A machine with other work needs its time.
            ("within = \"500ms\"", "within = \"20s\"".to_owned()),
            ("login = \"alice\"", format!("login = \"{login}\"")),
            // What this machine has is what `dev/install-needs` brought.
            (
                "apt-get update && apt-get install -y python3 python3-pip postgresql nginx redis-server",
                "python --version && nginx -v && redis-server --version".to_owned(),
            ),
            ("git rev-parse HEAD", "echo 0123abcd".to_owned()),
            // A sink sees what arrives: the test asks it.
            ("smtp = { send = ", "command = ".to_owned()),
            (", arrives_within = \"30s\" }", String::new()),
            (
                "smtp = \"smtps://mail.example.org\"\nfrom = \"lifeboat@example.org\"",
                format!("command = \"cat >> {away}/told\""),
            ),
        ];
        pairs.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn write_plan(&self) {
        write(&self.root.join("recovery.key"), self.key.spelled().expose(), 0o600);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for tier in [self.away("disk/techit"), self.away("secondary"), self.away("offsite")] {
            make_folder(tier.parent().unwrap());
            let tier = LocalTier::create(&tier).unwrap();
            let verifier = self.key.public_halves().verifier.to_string();
            let mark = TierMark::new(SITE.parse().unwrap(), verifier);
            runtime.block_on(mark.write(&tier)).unwrap();
        }
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/plan");
        let read = |path: &Path| self.here(&fs::read_to_string(path).unwrap());
        make_folder(&self.at("etc/lifeboat/runbooks"));
        write(&self.plan(), &read(&shipped.join("plan.toml")), 0o644);
        for entry in fs::read_dir(shipped.join("runbooks")).unwrap() {
            let path = entry.unwrap().path();
            let folder = self.at("etc/lifeboat/runbooks");
            write(&folder.join(path.file_name().unwrap()), &read(&path), 0o644);
        }
    }

    /// Hands the database's log over, as long as this machine lives.
    fn archive(&mut self) {
        let socket = self.root.join("wal.sock");
        let data = self.at("var/lib/postgresql/main");
        let serve = ["wal", "serve", text(&data), "--socket", text(&socket)];
        self.log = Some(self.start(&serve));
        let end = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < end, "nobody serves the log");
        }
        let setup = ["postgres", "setup", "database", "--restart", "--socket", text(&socket)];
        self.lifeboat(&setup).success();
    }

    /// Changes what the plan says, which says that.
    #[track_caller]
    pub fn change_plan(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.plan()).unwrap();
        assert!(text.contains(from), "the plan does not say {from}");
        write(&self.plan(), &text.replace(from, to), 0o644);
    }

    /// Returns a path of lifeboat's own state for the site.
    pub fn state(&self, path: &str) -> PathBuf {
        self.environment.path("state/lifeboat").join(SITE).join(path)
    }

    fn plan(&self) -> PathBuf {
        self.at("etc/lifeboat/plan.toml")
    }

    /// Runs lifeboat with the machine's plan.
    pub fn lifeboat(&self, arguments: &[&str]) -> Ended {
        self.environment.run([&["--plan", text(&self.plan())], arguments].concat())
    }

    /// Starts lifeboat with the machine's plan, and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.environment.start([&["--plan", text(&self.plan())], arguments].concat())
    }

    /// Returns a path of the machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(HOST).join(path)
    }

    /// Returns a path that no disaster of the machine reaches.
    pub fn away(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Runs a program as the platform's operators would, which has to do its work; returns what it says.
    pub fn done(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        self.environment.dress(&mut command);
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}\n{complaints}");
        said
    }

    /// Installs, starts, stops or asks services of the platform.
    pub fn platform(&self, arguments: &[&str]) {
        self.done(text(&self.at("srv/techit-solutions/bin/platform")), arguments);
    }

    /// Runs a command of the platform's own.
    pub fn manage(&self, arguments: &[&str]) -> String {
        let manage = self.at("srv/techit-solutions/manage.py");
        self.done("python", &[&[text(&manage)], arguments].concat())
    }

    /// Runs a command of the platform's own, which must find something wrong; returns what it says of that.
    pub fn complaint(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("python");
        self.environment.dress(&mut command);
        let output =
            command.arg(self.at("srv/techit-solutions/manage.py")).args(arguments).output();
        let output = output.unwrap();
        assert!(!output.status.success(), "{arguments:?} finds nothing wrong");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Returns what a restore kept aside of a path.
    pub fn aside(&self, path: &str) -> PathBuf {
        let live = self.at(path);
        let begin = format!("{}.before-", live.file_name().unwrap().to_str().unwrap());
        let entries = fs::read_dir(live.parent().unwrap()).unwrap().flatten();
        let mut kept =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
        kept.next().unwrap_or_else(|| panic!("nothing of {path} is kept aside")).path()
    }

    /// Asks the database.
    pub fn sql(&self, sql: &str) -> String {
        let host = self.at("run/postgresql");
        let words = ["-qAtX", "-h", text(&host), "-U", "postgres", "-d", "techit_db", "-c", sql];
        self.done("psql", &words).trim_end().to_owned()
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
    pub fn kill(&self, mark: &Path) {
        let script =
            "process=$(head -n 1 \"$0\"); kill -KILL \"$process\" $(pgrep -P \"$process\")";
        self.done("sh", &["-c", script, text(mark)]);
    }

    /// Loses everything that the machine has: every process, every file, lifeboat's plan and state too.
    pub fn die(&mut self) {
        let marks =
            fs::read_dir(self.at("run/techit")).unwrap().flatten().map(|entry| entry.path());
        let marks: Vec<_> =
            marks.filter(|path| path.extension().is_some_and(|end| end == "pid")).collect();
        for mark in marks {
            self.kill(&mark);
        }
        self.kill(&self.at("var/lib/postgresql/main/postmaster.pid"));
        self.stop_log();
        // What a killed server's children still write must not make the folder come back.
        let end = Instant::now() + PATIENCE;
        while fs::remove_dir_all(self.root.join(HOST)).is_err() {
            assert!(Instant::now() < end, "the machine does not go away");
        }
        for folder in ["state", "cache"] {
            drop(fs::remove_dir_all(self.environment.path(folder)));
        }
    }

    /// A new machine: nothing but an address and the recovery key that somebody brings.
    pub fn bootstrap(&self) {
        let folder = self.at("etc/lifeboat");
        make_folder(&folder);
        let from = format!("file://{}", self.away("secondary").display());
        let key = self.away("recovery.key");
        let words =
            ["restore", "--from", &from, "--key-file", text(&key), "--plan-to", text(&folder)];
        self.environment.run(words).success();
        assert!(folder.join("runbooks/complete-system-failure.toml").is_file());
    }

    /// Begins a recovery, at an address of this host.
    pub fn recover(&self, scenario: &str) -> Recovery<'_> {
        let words = ["recover", scenario, "--host", "127.0.0.1", "--confirm", SITE];
        Recovery { machine: self, driving: self.start(&words) }
    }

    fn stop_log(&mut self) {
        if let Some(mut log) = self.log.take() {
            drop(log.kill());
            drop(log.wait());
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop_log();
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

/// A recovery that goes on in the background.
pub struct Recovery<'m> {
    machine: &'m Machine,
    driving: Child,
}

impl Recovery<'_> {
    /// Waits until a step waits for a person, and has that person say something.
    pub fn tell(&mut self, step: &str, words: &[&str]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.machine.lifeboat(&["recover", "status", "--json"]).json();
            let steps = status["steps"].as_array().cloned().unwrap_or_default();
            let waits =
                |known: &Value| known["step"] == step && known["stand"] == "waits for a person";
            if steps.iter().any(waits) {
                break;
            }
            let is_driven = self.driving.try_wait().unwrap().is_none();
            assert!(is_driven && Instant::now() < end, "`{step}` is not waited for: {status:#}");
        }
        self.machine.lifeboat(&[&["recover"], words].concat()).success();
    }

    /// Waits until it is over; returns how, and what was said.
    pub fn end(self) -> (i32, String) {
        let output = self.driving.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
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

fn search_path() -> String {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let folders = programs().unwrap().into_iter().chain(std::env::split_paths(&usual));
    std::env::join_paths(folders).unwrap().into_string().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn make_folder(path: &Path) {
    lifeboat_tiers::durable::create_directories(path, 0o755).unwrap();
}

/// Gives a file to whoever serves the platform.
pub fn give_to_web(path: &Path) {
    if let (true, Ok(Some(user))) = (Uid::effective().is_root(), User::from_name("www-data")) {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}
