//! The reference platform on a machine of its own: a folder that stands for the root of one, and can be lost.
//!
//! ```text
//! host/                      all that the machine has: the platform, its plan, its first tier, lifeboat's state
//! media/stick/recovery.key   the copy of the key that somebody keeps elsewhere
//! told                       what people were told
//! ```
//!
//! Dropping it ends all that runs there and removes the folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use jiff::tz::TimeZone;
use lifeboat_model::{Clock as _, SystemClock};
use lifeboat_testing::platform::programs;
use lifeboat_tiers::durable;
use nix::unistd::{Uid, User};

use crate::clouds::{Clouds, OFFSITE, SECONDARY};
use crate::failure::{StageError, file, not_proven, system};
use crate::guard::{self, Guard};
use crate::here::{Here, NOT_PLAYED};
use crate::service::Service;
use crate::sink::Sink;

pub use crate::guard::Folder;

/// The site of the reference plan.
pub const SITE: &str = "techit-production";

/// The address of the machine, as it is on it.
pub const ADDRESS: &str = "127.0.0.1";

/// How the folders of machines are called: paths of sockets below must not get long.
const PREFIX: &str = "techit-";

/// What a machine has that a disaster takes, below its folder.
const HOST: &str = "host";

/// Where somebody keeps the recovery key away from the machine.
const STICK: &str = "media/stick/recovery.key";

/// How often it is looked whether something has come that has to come, for a minute.
const LOOKS_MAX: u32 = 1200;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The platform, its plan, and where its copies go.
#[derive(Debug)]
pub struct Machine {
    // Whoever reads the log ends before the platform does, and that before its folder goes: fields are dropped in
    // this order.
    log: Option<Service>,
    _guard: Guard,
    clouds: Clouds,
    mails: Sink,
    others: Sink,
    root: PathBuf,
    lifeboat: PathBuf,
    login: String,
    path: String,
    port: u16,
}

impl Machine {
    /// Makes an empty machine below a directory that every user can enter, with clouds in its reach.
    pub fn new(lifeboat: &Path, below: &Path, folder: Folder) -> Result<Self, StageError> {
        guard::sweep(below, PREFIX)?;
        let root = tempfile::Builder::new().prefix(PREFIX).tempdir_in(below);
        let root = root.map_err(file("make a folder below", below))?.keep();
        let guard = Guard::over(&root, folder)?;
        // The database's own user must get through to its data; what is secret is closed by itself.
        fs::set_permissions(&root, Permissions::from_mode(0o755)).map_err(file("open", &root))?;
        let user = User::from_uid(Uid::effective()).ok().flatten();
        let listen = "listen for what services of others get";
        let machine = Self {
            log: None,
            _guard: guard,
            clouds: Clouds::start()?,
            mails: Sink::of_mail().map_err(system(listen))?,
            others: Sink::of_requests().map_err(system(listen))?,
            lifeboat: lifeboat.to_owned(),
            login: user.map_or_else(|| "root".to_owned(), |user| user.name),
            path: search_path()?,
            port: free_port().map_err(system("find a free port"))?,
            root,
        };
        machine.make_folders()?;
        Ok(machine)
    }

    fn make_folders(&self) -> Result<(), StageError> {
        for folder in ["etc/lifeboat", "root", "run", "srv", "var/backups", "var/lib", "var/www"] {
            make_folder(&self.at(folder))?;
        }
        Ok(())
    }

    /// Installs the platform with so many users, and starts it.
    pub fn install(&self, users: u32) -> Result<(), StageError> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("platform");
        let application = self.at("srv/techit-solutions");
        self.done("cp", &["-r", text(&shipped), text(&application)])?;
        let settings = self.at("var/www/techit_solutions/.env");
        make_folder(settings.parent().unwrap_or(&self.root))?;
        let written = self.here("").settings();
        write(&settings, &written, 0o600)?;
        give_to_web(&settings)?;
        self.platform(&["install", &users.to_string()])
    }

    fn here<'a>(&'a self, key: &'a str) -> Here<'a> {
        let Self { root, port, login, .. } = self;
        let today = SystemClock.now().to_zoned(TimeZone::UTC).date();
        let sinks = (self.mails.port(), self.others.port());
        Here { host: root.join(HOST), away: root, port: *port, sinks, login, key, today }
    }

    /// Returns the arguments by which lifeboat makes the recovery key and the tiers of the plan.
    pub fn init(&self) -> Vec<String> {
        let media = self.at("var/www/techit_solutions/media");
        let words = [
            "init".to_owned(),
            "--no-discovery".to_owned(),
            format!("--site={SITE}"),
            format!("--tier=primary={}", self.at("var/backups/techit").display()),
            format!("--tier=secondary={SECONDARY}"),
            format!("--tier=offsite={OFFSITE}"),
            format!("--asset-path=media={}", media.display()),
        ];
        words.to_vec()
    }

    /// Writes the plan that is shipped, with the key that lifeboat made; returns its text.
    pub fn write_plan(&self) -> Result<String, StageError> {
        let plan = self.plan();
        let made = fs::read_to_string(&plan).map_err(file("read", &plan))?;
        let key = made.lines().skip_while(|line| *line != "[key]");
        let key: Vec<_> =
            key.take_while(|line| *line == "[key]" || !line.starts_with('[')).collect();
        let key = key.join("\n");
        let here = self.here(&key);
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("plan");
        let adapted = |path: &Path| -> Result<String, StageError> {
            Ok(here.plan(&fs::read_to_string(path).map_err(file("read", path))?))
        };
        let runbooks = self.at("etc/lifeboat/runbooks");
        make_folder(&runbooks)?;
        let from = shipped.join("runbooks");
        for entry in fs::read_dir(&from).map_err(file("list", &from))? {
            let entry = entry.map_err(file("list", &from))?;
            if entry.path().file_stem().is_some_and(|name| name == NOT_PLAYED) {
                continue;
            }
            write(&runbooks.join(entry.file_name()), &adapted(&entry.path())?, 0o644)?;
        }
        let text = adapted(&shipped.join("plan.toml"))?;
        write(&plan, &text, 0o644)?;
        Ok(text)
    }

    /// Takes a copy of the recovery key away.
    pub fn keep_key(&self) -> Result<(), StageError> {
        let (key, stick) = (self.at("etc/lifeboat/recovery.key"), self.stick());
        let text = fs::read_to_string(&key).map_err(file("read", &key))?;
        make_folder(stick.parent().unwrap_or(&self.root))?;
        write(&stick, &text, 0o600)
    }

    /// Puts the copy of the recovery key where the plan has it.
    pub fn bring_key(&self) -> Result<(), StageError> {
        let (key, stick) = (self.at("etc/lifeboat/recovery.key"), self.stick());
        let text = fs::read_to_string(&stick).map_err(file("read", &stick))?;
        write(&key, &text, 0o600)
    }

    /// Serves the database's log, as long as this machine lives.
    pub fn serve_log(&mut self) -> Result<(), StageError> {
        let (data, socket) = (self.data(), self.log_socket());
        let words = ["wal", "serve", text(&data), "--socket", text(&socket)];
        let mut command = self.lifeboat();
        command.args(words);
        let journal = self.at("var/log/wal-serve.log");
        let words = fs::File::options().create(true).append(true).open(&journal);
        let words = words.map_err(file("open", &journal))?;
        self.log = Some(Service::start(&command, [Stdio::null(), words.into()])?);
        self.until("nobody serves the log", || UnixStream::connect(&socket).is_ok())
    }

    /// Returns the arguments by which the database hands its log over to whoever serves it.
    pub fn setup(&self) -> Vec<String> {
        let socket = self.log_socket().display().to_string();
        let words = ["postgres", "setup", "database", "--restart", "--socket", &socket];
        words.map(str::to_owned).to_vec()
    }

    /// Waits until all that the database wrote so far is archived.
    pub fn wait_for_archive(&self) -> Result<(), StageError> {
        let wanted = self.sql("SELECT pg_walfile_name(pg_switch_wal())")?;
        let archived = || {
            let last = self.sql("SELECT last_archived_wal FROM pg_stat_archiver");
            last.is_ok_and(|last| last >= wanted)
        };
        self.until("the log is not archived", archived)
    }

    /// Looks until something has come.
    fn until(&self, otherwise: &str, mut has_come: impl FnMut() -> bool) -> Result<(), StageError> {
        for _ in 0..LOOKS_MAX {
            if has_come() {
                return Ok(());
            }
            pause();
        }
        Err(not_proven(format!("{otherwise} in {}", self.root.display())))
    }

    /// Returns `lifeboat` where it finds this machine's plan by itself.
    pub fn lifeboat(&self) -> Command {
        let mut command = Command::new(&self.lifeboat);
        self.dress(&mut command);
        command
    }

    /// Gives a command the environment of this machine.
    pub fn dress(&self, command: &mut Command) {
        command.env_clear().envs(self.variables()).stdin(Stdio::null());
        command.current_dir(self.at("etc/lifeboat"));
    }

    /// Returns the environment of this machine.
    pub fn variables(&self) -> Vec<(String, String)> {
        let at = |path: &str| self.at(path).display().to_string();
        let own = [
            ("PATH", self.path.clone()),
            ("HOME", at("root")),
            ("XDG_STATE_HOME", at("var/lib")),
            ("XDG_CACHE_HOME", at("").trim_end_matches('/').to_owned()),
            ("TECHIT_ENV", at("var/www/techit_solutions/.env")),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.into_iter().chain(self.clouds.environment()).collect()
    }

    /// Runs a program as the platform's operators would, which has to do its work; returns what it says.
    pub fn done(&self, program: &str, arguments: &[&str]) -> Result<String, StageError> {
        let (status, said, complaints) = self.ask(program, arguments)?;
        if status.success() {
            return Ok(said);
        }
        let command = format!("{program} {}", arguments.join(" "));
        let said = format!("{said}\n{complaints}").trim().to_owned();
        Err(StageError::Command { command, status, said })
    }

    /// Runs a program however it ends; returns how, what it says, and what it complains of.
    fn ask(
        &self,
        program: &str,
        arguments: &[&str],
    ) -> Result<(std::process::ExitStatus, String, String), StageError> {
        let mut command = Command::new(program);
        self.dress(&mut command);
        let output = command.args(arguments).output().map_err(system("run a command"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status, text(&output.stdout), text(&output.stderr)))
    }

    /// Installs, starts, stops or asks services of the platform.
    pub fn platform(&self, arguments: &[&str]) -> Result<(), StageError> {
        let program = self.at("srv/techit-solutions/bin/platform");
        self.done(text(&program), arguments).map(drop)
    }

    /// Runs a command of the platform's own.
    pub fn manage(&self, arguments: &[&str]) -> Result<String, StageError> {
        let manage = self.at("srv/techit-solutions/manage.py");
        self.done("python", &[&[text(&manage)], arguments].concat())
    }

    /// Runs a command of the platform's own, which must find something wrong; returns what it says of that.
    pub fn complaint(&self, arguments: &[&str]) -> Result<String, StageError> {
        let manage = self.at("srv/techit-solutions/manage.py");
        let (status, _, complaints) =
            self.ask("python", &[&[text(&manage)], arguments].concat())?;
        if status.success() {
            return Err(not_proven(format!("{arguments:?} finds nothing wrong")));
        }
        Ok(complaints)
    }

    /// Asks the database.
    pub fn sql(&self, sql: &str) -> Result<String, StageError> {
        let host = self.at("run/postgresql");
        let words = ["-qAtX", "-h", text(&host), "-U", "postgres", "-d", "techit_db", "-c", sql];
        Ok(self.done("psql", &words)?.trim_end().to_owned())
    }

    /// Kills the process that a file names, and its children, at once.
    pub fn kill(&self, mark: &Path) -> Result<(), StageError> {
        const SCRIPT: &str =
            "process=$(head -n 1 \"$0\"); kill -KILL \"$process\" $(pgrep -P \"$process\")";
        self.done("sh", &["-c", SCRIPT, text(mark)]).map(drop)
    }

    /// Loses everything that the machine has: every process, every file, its first tier, lifeboat's plan and state.
    pub fn die(&mut self) -> Result<(), StageError> {
        let run = self.at("run/techit");
        for entry in fs::read_dir(&run).map_err(file("list", &run))?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "pid") {
                self.kill(&path)?;
            }
        }
        self.kill(&self.data().join("postmaster.pid"))?;
        self.log = None;
        // What a killed server's children still write must not make the folder come back.
        let host = self.root.join(HOST);
        self.until("the machine does not go away", || fs::remove_dir_all(&host).is_ok())?;
        self.mails.taken();
        self.others.taken();
        Ok(())
    }

    /// Makes a new machine, which has programs and nothing else.
    pub fn replace(&self) -> Result<(), StageError> {
        self.make_folders()
    }

    /// Returns the arguments by which lifeboat brings the plan back to a machine that has nothing.
    pub fn bootstrap(&self) -> Vec<String> {
        let stick = self.stick().display().to_string();
        ["restore", "--from", SECONDARY, "--key-file", &stick].map(str::to_owned).to_vec()
    }

    /// Returns the arguments that begin a recovery.
    pub fn recover(scenario: &str) -> Vec<String> {
        let words = ["recover", scenario, "--host", ADDRESS, "--confirm", SITE];
        words.map(str::to_owned).to_vec()
    }

    /// Returns what a restore kept aside of a path.
    pub fn aside(&self, path: &str) -> Result<PathBuf, StageError> {
        let live = self.at(path);
        let name = live.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let begin = format!("{name}.before-");
        let folder = live.parent().unwrap_or(&self.root);
        let entries = fs::read_dir(folder).map_err(file("list", folder))?.flatten();
        let mut kept =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
        let kept = kept.next().map(|entry| entry.path());
        kept.ok_or_else(|| not_proven(format!("nothing of {path} is kept aside")))
    }

    /// Returns a path of the machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(HOST).join(path)
    }

    /// Returns a path that no disaster of the machine reaches.
    pub fn away(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Returns the folder around all of it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the copy of the recovery key that somebody keeps elsewhere.
    pub fn stick(&self) -> PathBuf {
        self.root.join(STICK)
    }

    /// Returns the plan.
    pub fn plan(&self) -> PathBuf {
        self.at("etc/lifeboat/plan.toml")
    }

    /// Returns where the database keeps its data.
    pub fn data(&self) -> PathBuf {
        self.at("var/lib/postgresql/main")
    }

    fn log_socket(&self) -> PathBuf {
        self.at("run/lifeboat.sock")
    }

    /// Returns who stands for the mail host.
    pub const fn mails(&self) -> &Sink {
        &self.mails
    }

    /// Returns who stands for all other services of others.
    pub const fn others(&self) -> &Sink {
        &self.others
    }

    /// Returns the clouds.
    pub const fn clouds(&self) -> &Clouds {
        &self.clouds
    }
}

/// Gives a file to whoever serves the platform.
pub fn give_to_web(path: &Path) -> Result<(), StageError> {
    if let (true, Ok(Some(user))) = (Uid::effective().is_root(), User::from_name("www-data")) {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        chown(path, Some(uid), Some(gid)).map_err(file("give away", path))?;
    }
    Ok(())
}

/// Waits a moment.
pub fn pause() {
    let (_held, never) = mpsc::channel::<()>();
    // It ends by the time that passes, since nobody sends anything.
    _ = never.recv_timeout(LOOK_EVERY);
}

fn search_path() -> Result<String, StageError> {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let folders = programs()?.into_iter().chain(std::env::split_paths(&usual));
    let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
    Ok(folders.join(":"))
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((ADDRESS, 0))?.local_addr()?.port())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn make_folder(path: &Path) -> Result<(), StageError> {
    durable::create_directories(path, 0o755).map_err(file("make", path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), StageError> {
    durable::replace(path, text.as_bytes(), mode).map_err(file("write", path))
}
