//! Real servers archive through the real binary and recover through it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use lifeboat_model::SystemClock;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::tier_mark::TierMark;
use lifeboat_testing::emulators::{Azurite, Bucket, Moto};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, Release, Stop};
use lifeboat_testing::sshd::Sshd;
use lifeboat_tiers::azure::AzureOptions;
use lifeboat_tiers::s3::S3Options;
use lifeboat_tiers::sftp::SftpOptions;
use lifeboat_tiers::{AzureTier, LocalTier, S3Tier, SftpTier, Tier};
use serde_json::Value;

use crate::ownership::{give_away, write};

/// A server that archives onto two tiers, of which the first acknowledges.
struct Archived {
    cluster: Cluster,
    directory: tempfile::TempDir,
    base: PathBuf,
    /// What is run: the binary, or a script that first tells it how the first tier is reached.
    program: String,
}

/// A store in the network as the first tier.
struct Store {
    url: String,
    variables: Vec<(&'static str, String)>,
    tier: Arc<dyn Tier>,
}

const BINARY: &str = env!("CARGO_BIN_EXE_lifeboat");

fn mark(tier: &dyn Tier, key: &RecoveryKey) {
    let mark = TierMark::new("shop".parse().unwrap(), key.public_halves().verifier.to_string());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(mark.write(tier)).unwrap();
}

fn plan(directory: &Path, key: &RecoveryKey, store: Option<&Store>) -> String {
    let halves = key.public_halves();
    let mut text = format!(
        "format = 1\n[plan]\nname = \"Shop\"\nsite = \"shop\"\n\
        [key]\nfile = \"{}\"\nrecipient = \"{}\"\nverifier = \"{}\"\n\
        [assets.database]\nkind = \"postgres\"\nconnect = \"host=/tmp dbname=postgres\"\n\
        base = \"physical\"\nrpo = \"1h\"\nrto = \"2h\"\n\
        wal = {{ mode = \"archive\", to = [\"primary\", \"secondary\"], ack = [\"primary\"] }}\n",
        directory.join("recovery.key").display(),
        halves.recipient,
        halves.verifier,
    );
    for tier in ["primary", "secondary"] {
        let folder = format!("file://{}", directory.join(tier).display());
        let url = store.filter(|_| tier == "primary").map_or(folder, |store| store.url.clone());
        let keep = "{ within = \"7d\" }";
        write!(text, "[tiers.{tier}]\nurl = \"{url}\"\nkeep = {keep}\n").unwrap();
    }
    text.push_str(
        "[schedules.hourly]\ncron = \"0 * * * *\"\nassets = [\"database\"]\nto = [\"primary\", \"secondary\"]\n",
    );
    text
}

impl Archived {
    fn new(release: Release) -> Self {
        Self::with(release, None)
    }

    fn with(release: Release, store: Option<&Store>) -> Self {
        let directory =
            tempfile::Builder::new().prefix("lifeboat-wal-").tempdir_in("/tmp").unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let key = RecoveryKey::generate();
        write(&place("recovery.key"), key.spelled().expose(), 0o600);
        write(&place("plan.toml"), &plan(directory.path(), &key, store), 0o644);
        for tier in ["primary", "secondary"] {
            mark(&LocalTier::create(&place(tier)).unwrap(), &key);
        }
        let program = match store {
            None => BINARY.to_owned(),
            Some(store) => {
                mark(store.tier.as_ref(), &key);
                write(&place("lifeboat"), &script(store), 0o755);
                place("lifeboat").display().to_string()
            }
        };
        give_away(directory.path());
        let (file, socket) = (place("plan.toml"), place("socket"));
        let push = format!(
            "{program} --plan {} wal push %p --socket {}",
            file.display(),
            socket.display()
        );
        let options =
            ClusterOptions::default().release(release).segment_size_mib(1).archive_command(&push);
        let mut cluster = Cluster::start_with(&options).unwrap();
        // A copy of a server that was stopped is a base that needs nothing else.
        cluster.psql("postgres", "CREATE TABLE ledger (n int)").unwrap();
        cluster.stop().unwrap();
        let base = place("base");
        copy(cluster.data_dir(), &base);
        cluster.start_again().unwrap();
        Self { cluster, directory, base, program }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what a test takes away need not survive a crash"
    )]
    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.place(from), self.place(to)).unwrap();
    }

    /// Runs the binary as the server would.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = self.cluster.command(&self.program);
        command.arg("--plan").arg(self.place("plan.toml")).current_dir(self.cluster.data_dir());
        command
    }

    /// Commits a row and has the segment archived; returns the segment's name.
    fn switch(&self, row: u32) -> String {
        let sql =
            format!("INSERT INTO ledger VALUES ({row}); SELECT pg_walfile_name(pg_switch_wal());");
        self.cluster.psql("postgres", &sql).unwrap().lines().last().unwrap().to_owned()
    }

    /// Waits until the server was told that a segment is archived.
    fn wait_for(&self, segment: &str) {
        self.wait_until(&format!("last_archived_wal >= '{segment}'"));
    }

    /// Waits until the server was told that something could not be archived.
    fn wait_for_failure(&self) {
        self.wait_until("failed_count > 0");
    }

    /// Asks again and again: a server tells nobody what its archiver was told. It is the server that waits in between.
    fn wait_until(&self, what: &str) {
        let sql = format!("SELECT pg_sleep(0.05), {what} FROM pg_stat_archiver");
        for _ in 0..1200 {
            if self.cluster.psql("postgres", &sql).unwrap().ends_with("|t") {
                return;
            }
        }
        let log = fs::read_to_string(self.cluster.log()).unwrap();
        panic!("{what} does not come true:\n{log}");
    }

    fn rows(&self) -> String {
        self.cluster.psql("postgres", "SELECT count(*), max(n) FROM ledger").unwrap()
    }

    /// Loses the data and starts a recovery from the base.
    fn recover(&mut self) {
        self.cluster.destroy().unwrap();
        copy(&self.base, self.cluster.data_dir());
        let (plan, socket) = (self.place("plan.toml"), self.place("socket"));
        let get = format!(
            "{} --plan {} wal get %f %p --socket {}",
            self.program,
            plan.display(),
            socket.display()
        );
        let file = self.cluster.data_dir().join("postgresql.auto.conf");
        let settings = format!("restore_command = '{get}'\nhot_standby = off\n");
        write(&file, &settings, 0o600);
        write(&self.cluster.data_dir().join("recovery.signal"), "", 0o600);
        give_away(&file);
        give_away(&self.cluster.data_dir().join("recovery.signal"));
        // That it stops again is for the tests to say.
        drop(self.cluster.start_again());
    }

    /// Waits until the recovery ended; tells whether the server came up.
    fn is_promoted(&self) -> bool {
        for _ in 0..1200 {
            if self.cluster.psql("postgres", "SELECT pg_is_in_recovery()").is_ok_and(|is| is == "f")
            {
                return true;
            }
            if self.log().contains("database system is shut down") {
                return false;
            }
            // Waiting without a server that could.
            drop(Command::new("sleep").arg("0.05").status());
        }
        panic!("the recovery does not end:\n{}", self.log());
    }

    /// What the server logged since the recovery began.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.cluster.log()).unwrap();
        let begin = log.rfind("starting archive recovery").unwrap_or_default();
        log[begin..].to_owned()
    }

    /// Asks whoever serves the log; no plan helps, so that nobody else can have done it.
    fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(BINARY);
        command.args(["--plan", "/nowhere/plan.toml"]).args(arguments);
        command.arg("--socket").arg(self.place("socket"));
        command.current_dir(self.cluster.data_dir());
        command
    }

    fn objects(&self, tier: &str, name: &str) -> Vec<PathBuf> {
        fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    find(&path, name, found);
                } else if path
                    .file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(name))
                {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        find(&self.place(tier).join("wal"), name, &mut found);
        found
    }

    fn status(&self) -> (Option<i32>, Value) {
        let output = self.run(&["wal", "status", "--json"]);
        let document = serde_json::from_slice(&output.stdout);
        (output.status.code(), document.unwrap_or_else(|error| panic!("{error}: {output:?}")))
    }
}

/// A server hands its commands no variables but its own.
fn script(store: &Store) -> String {
    let mut text = "#!/bin/sh\n".to_owned();
    for (name, value) in &store.variables {
        writeln!(text, "export {name}='{value}'").unwrap();
    }
    text + &format!("exec {BINARY} \"$@\"\n")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_was_archived_comes_back_up_to_its_proven_end() {
    for release in Release::ALL {
        let mut archived = Archived::new(release);
        let segments: Vec<_> = (1..=5).map(|row| archived.switch(row)).collect();
        archived.wait_for(&segments[4]);
        // This one is lost with the host.
        archived.cluster.psql("postgres", "INSERT INTO ledger VALUES (6)").unwrap();
        archived.cluster.crash().unwrap();
        archived.recover();
        assert!(archived.is_promoted(), "{}", archived.log());
        assert_eq!(archived.rows(), "5|5", "{release:?}");
        // The promoted server archives on, under a timeline of its own with its history.
        let next = archived.switch(7);
        archived.wait_for(&next);
        assert!(next.starts_with("00000002"), "{next}");
        for tier in ["primary", "secondary"] {
            assert_eq!(archived.objects(tier, "00000002.history").len(), 1);
            assert_eq!(archived.objects(tier, &next).len(), 1);
        }
        let (code, status) = archived.status();
        assert_eq!(code, Some(0), "{status:#}");
        let timelines = &status["tiers"][0]["clusters"][0]["timelines"];
        assert_eq!(timelines.as_array().unwrap().len(), 2, "{status:#}");
        let times = &status["tiers"][0]["clusters"][0]["times"];
        assert!(times[0]["first"].is_string() && times[0]["last"].is_string(), "{status:#}");
        // And once more, over the switch.
        archived.cluster.stop_by(Stop::Immediate).unwrap();
        archived.recover();
        assert!(archived.is_promoted(), "{}", archived.log());
        assert_eq!(archived.rows(), "6|7", "{release:?}");
    }
}

#[test]
fn a_hole_stops_the_server_and_does_not_promote_it() {
    for release in Release::ALL {
        let mut archived = Archived::new(release);
        let segments: Vec<_> = (1..=5).map(|row| archived.switch(row)).collect();
        archived.wait_for(&segments[4]);
        for tier in ["primary", "secondary"] {
            for object in archived.objects(tier, &segments[2]) {
                fs::remove_file(object).unwrap();
            }
        }
        let (code, status) = archived.status();
        assert_eq!(code, Some(3), "{status:#}");
        archived.cluster.crash().unwrap();
        archived.recover();
        assert!(!archived.is_promoted());
        let log = archived.log();
        assert!(log.contains("is missing from the archive, which goes on"), "{log}");
        assert!(log.contains("could not restore file") && log.contains("exit code 255"), "{log}");
        assert!(!log.contains("selected new timeline"), "{log}");
    }
}

#[test]
fn a_damaged_copy_gives_way_to_another_and_alone_stops_the_server() {
    let mut archived = Archived::new(Release::System);
    let segments: Vec<_> = (1..=3).map(|row| archived.switch(row)).collect();
    archived.wait_for(&segments[2]);
    let damage = |archived: &Archived, tier: &str| {
        let object = archived.objects(tier, &segments[1]).remove(0);
        let mut bytes = fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        lifeboat_tiers::durable::replace(&object, &bytes, 0o400).unwrap();
        give_away(&object);
    };
    damage(&archived, "primary");
    archived.cluster.crash().unwrap();
    archived.recover();
    assert!(archived.is_promoted(), "{}", archived.log());
    assert_eq!(archived.rows(), "3|3");
    damage(&archived, "secondary");
    archived.cluster.crash().unwrap();
    archived.recover();
    assert!(!archived.is_promoted());
    assert!(archived.log().contains("is not a whole age file"), "{}", archived.log());
}

#[test]
fn an_archive_that_is_away_for_a_while_loses_nothing() {
    let archived = Archived::new(Release::System);
    let first = archived.switch(1);
    archived.wait_for(&first);
    archived.rename("primary", "away");
    let second = archived.switch(2);
    archived.wait_for_failure();
    assert!(archived.objects("secondary", &second).is_empty(), "nothing was begun");
    archived.rename("away", "primary");
    archived.wait_for(&second);
    // A tier that only follows holds nobody up, is told of, and catches up.
    archived.rename("secondary", "away");
    let third = archived.switch(3);
    archived.wait_for(&third);
    archived.rename("away", "secondary");
    let (code, status) = archived.status();
    assert_eq!((code, status["tiers"][1]["behind"].as_u64()), (Some(0), Some(1)), "{status:#}");
    assert!(archived.run(&["wal", "catch-up"]).status.success());
    assert_eq!(archived.status().1["tiers"][1]["behind"], 0);
    assert_eq!(archived.objects("secondary", &third).len(), 1);
}

#[test]
fn a_pusher_that_is_killed_is_called_again_and_leaves_one_whole_object() {
    let archived = Archived::new(Release::System);
    let segment = archived.switch(1);
    archived.wait_for(&segment);
    for tier in ["primary", "secondary"] {
        fs::remove_file(archived.objects(tier, &segment).remove(0)).unwrap();
    }
    let path = format!("pg_wal/{segment}");
    for _ in 0..10 {
        let mut command = archived.command();
        let mut child = command.args(["wal", "push", &path]).stderr(Stdio::null()).spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = archived.run(&["wal", "push", &path]);
    assert!(output.status.success(), "{output:?}");
    for tier in ["primary", "secondary"] {
        assert_eq!(archived.objects(tier, &segment).len(), 1);
    }
    assert!(archived.run(&["wal", "get", &segment, "pg_wal/back"]).status.success());
    let back = fs::read(archived.cluster.data_dir().join("pg_wal/back")).unwrap();
    assert_eq!(back, fs::read(archived.cluster.data_dir().join(&path)).unwrap());
}

#[test]
fn other_bytes_under_the_same_name_are_refused_by_both_names() {
    let archived = Archived::new(Release::System);
    let segment = archived.switch(1);
    archived.wait_for(&segment);
    let other = archived.cluster.data_dir().join("pg_wal").join(&segment);
    let mut bytes = fs::read(&other).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    lifeboat_tiers::durable::replace(&other, &bytes, 0o600).unwrap();
    give_away(&other);
    let output = archived.run(&["wal", "push", &format!("pg_wal/{segment}")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("split brain"), "{text}");
    assert_eq!(archived.objects("primary", &segment).len(), 1);
}

#[test]
fn only_a_proven_end_is_told_as_one() {
    let archived = Archived::new(Release::System);
    let segment = archived.switch(1);
    archived.wait_for(&segment);
    let code = |arguments: &[&str]| archived.run(arguments).status.code();
    let beyond = "0000000100000000000000F0";
    assert_eq!(code(&["wal", "get", beyond, "pg_wal/x"]), Some(1));
    assert_eq!(code(&["wal", "get", "00000002.history", "pg_wal/x"]), Some(1));
    assert_eq!(code(&["wal", "get", &segment, "pg_wal/x"]), Some(0));
    // What nobody could mean by a file, or by a plan.
    for line in [
        &["wal", "get"][..],
        &["wal", "get", beyond],
        &["wal", "get", beyond, "pg_wal/x", "--unknown"],
        &["wal", "get", "nonsense", "pg_wal/x"],
        &["wal", "get", beyond, "/nowhere/pg_wal/x"],
        &["wal", "get", beyond, "pg_wal/x", "--from", "tertiary"],
        &["wal", "get", beyond, "pg_wal/x", "--asset", "media"],
    ] {
        assert_eq!(code(line), Some(255), "{line:?}");
    }
    let elsewhere = |plan: &str| {
        let mut command = archived.cluster.command(BINARY);
        command.args(["--plan", plan, "wal", "get", beyond, "pg_wal/x"]);
        command.current_dir(archived.cluster.data_dir()).output().unwrap().status.code()
    };
    assert_eq!(elsewhere("/nowhere/plan.toml"), Some(255));
    archived.rename("primary", "away");
    assert_eq!(code(&["wal", "get", beyond, "pg_wal/x"]), Some(255));
    assert_eq!(code(&["wal", "get", "00000002.history", "pg_wal/x"]), Some(255));
    // The other tier has it; and its end counts for whoever says so.
    assert_eq!(code(&["wal", "get", &segment, "pg_wal/x"]), Some(0));
    assert_eq!(code(&["wal", "get", beyond, "pg_wal/x", "--from", "secondary"]), Some(1));
    archived.rename("recovery.key", "lost.key");
    assert_eq!(code(&["wal", "get", &segment, "pg_wal/x"]), Some(255));
    // A host without the key archives all the same.
    archived.rename("away", "primary");
    assert_eq!(code(&["wal", "push", &format!("pg_wal/{segment}")]), Some(0));
}

#[test]
fn a_full_archive_acknowledges_nothing_and_says_so() {
    let archived = Archived::new(Release::System);
    let segment = archived.switch(1);
    archived.wait_for(&segment);
    for tier in ["primary", "secondary"] {
        fs::remove_file(archived.objects(tier, &segment).remove(0)).unwrap();
    }
    let full = Full::over(&archived.place("primary").join("wal"));
    let path = format!("pg_wal/{segment}");
    let output = archived.run(&["wal", "push", &path]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no space is left on") && text.contains("primary"), "{text}");
    drop(full);
    assert!(archived.run(&["wal", "push", &path]).status.success());
}

/// A file system without room, mounted over a folder.
struct Full(PathBuf);

impl Full {
    fn over(folder: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16k,mode=0777", "tmpfs"]).arg(folder);
        assert!(mount.status().unwrap().success(), "tests mount file systems as root");
        lifeboat_tiers::durable::replace(&folder.join("filler"), &[0; 16 << 10], 0o600).unwrap();
        Self(folder.to_owned())
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn a_server_whose_archive_is_full_runs_on_and_catches_up() {
    let archived = Archived::new(Release::System);
    let first = archived.switch(1);
    archived.wait_for(&first);
    let full = Full::over(&archived.place("primary").join("wal"));
    let second = archived.switch(2);
    archived.wait_for_failure();
    assert_eq!(archived.rows(), "2|2");
    drop(full);
    archived.wait_for(&second);
    assert_eq!(archived.objects("primary", &second).len(), 1);
}

/// Archives straight to a store, loses the host with its disk, and recovers from the store alone.
fn comes_back_from(store: &Store) {
    let mut archived = Archived::with(Release::default(), Some(store));
    let segments: Vec<_> = (1..=3).map(|row| archived.switch(row)).collect();
    archived.wait_for(&segments[2]);
    assert!(!archived.place("primary/wal").exists(), "nothing of it is a folder here");
    let (code, status) = archived.status();
    assert_eq!(code, Some(0), "{status:#}");
    let ranges = &status["tiers"][0]["clusters"][0]["timelines"][0]["ranges"];
    assert_eq!(ranges[0]["last"], segments[2].as_str(), "{status:#}");
    // As a server asks for it.
    let got = archived.run(&["wal", "get", &segments[0], "pg_wal/fetched"]);
    assert!(got.status.success(), "{got:?}");
    let fetched = archived.cluster.data_dir().join("pg_wal/fetched");
    assert_eq!(fs::metadata(&fetched).unwrap().len(), 1 << 20);
    fs::remove_file(fetched).unwrap();
    archived.rename("secondary", "lost");
    archived.cluster.psql("postgres", "INSERT INTO ledger VALUES (4)").unwrap();
    archived.cluster.crash().unwrap();
    archived.recover();
    assert!(archived.is_promoted(), "{}", archived.log());
    assert_eq!(archived.rows(), "3|3", "{}", store.url);
}

#[test]
fn a_log_that_is_archived_straight_to_s3_comes_back_from_there() {
    let moto = Moto::start().unwrap();
    moto.make_bucket("log", Bucket::Plain).unwrap();
    let who = Moto::credentials();
    let variables = vec![
        ("AWS_ACCESS_KEY_ID", who.key_id),
        ("AWS_SECRET_ACCESS_KEY", who.secret),
        ("AWS_REGION", Moto::REGION.to_owned()),
        ("AWS_ENDPOINT_URL", moto.endpoint()),
    ];
    let mut options = S3Options::new("log", "site");
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    options.environment = own.collect();
    (options.endpoint, options.region) = (Some(moto.endpoint()), Some(Moto::REGION.to_owned()));
    let tier = Arc::new(S3Tier::new(&options, Arc::new(SystemClock)).unwrap());
    comes_back_from(&Store { url: "s3://log/site".to_owned(), variables, tier });
}

#[test]
fn a_log_that_is_archived_straight_to_azure_comes_back_from_there() {
    let azurite = Azurite::start().unwrap();
    azurite.make_container("log").unwrap();
    let variables = vec![("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string())];
    let mut options = AzureOptions::new(Azurite::ACCOUNT, "log", "site");
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    options.environment.extend(own);
    let tier = Arc::new(AzureTier::new(&options, Arc::new(SystemClock)).unwrap());
    let url = format!("azure://{}/log/site", Azurite::ACCOUNT);
    comes_back_from(&Store { url, variables, tier });
}

#[test]
fn a_log_that_is_archived_straight_to_a_server_comes_back_from_there() {
    let server = Sshd::start_with_shell().unwrap();
    let room = server.room().unwrap();
    let variables = vec![("PATH", server.path())];
    let mut options = SftpOptions::new("127.0.0.1", room.display().to_string());
    options.port = Some(server.address().port());
    options.user = Some(server.user().to_owned());
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    options.environment = own.collect();
    let tier = Arc::new(SftpTier::new(options));
    comes_back_from(&Store { url: server.url(&room), variables, tier });
}

/// `lifeboat wal serve`, killed when dropped.
struct Serving {
    child: Child,
    log: PathBuf,
}

impl Serving {
    fn start(archived: &Archived, spool: &Path) -> Self {
        let log = archived.place("serve.log");
        let (socket, file) = (archived.place("socket"), fs::File::create(&log).unwrap());
        let mut command = archived.command();
        command.env("LIFEBOAT_LOG", "lifeboat_ops=debug").args(["wal", "serve"]);
        command.arg(archived.cluster.data_dir()).arg("--socket").arg(&socket);
        command.arg("--spool").arg(spool).stderr(file);
        let serving = Self { child: command.spawn().unwrap(), log };
        for _ in 0..1200 {
            if UnixStream::connect(&socket).is_ok() {
                return serving;
            }
            drop(Command::new("sleep").arg("0.05").status());
        }
        panic!("nobody serves: {}", serving.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn who_serves_archives_and_fetches_before_he_is_asked() {
    let mut archived = Archived::new(Release::System);
    let serving = Serving::start(&archived, &archived.place("spool"));
    let segments: Vec<_> = (1..=40).map(|row| archived.switch(row)).collect();
    archived.wait_for(&segments[39]);
    let code = |mut command: Command| command.output().unwrap().status.code();
    let path = format!("pg_wal/{}", segments[39]);
    assert_eq!(code(archived.ask(&["wal", "push", &path])), Some(0));
    assert_eq!(code(archived.ask(&["wal", "get", &segments[39], "pg_wal/back"])), Some(0));
    let back = fs::read(archived.cluster.data_dir().join("pg_wal/back")).unwrap();
    assert_eq!(back, fs::read(archived.cluster.data_dir().join(&path)).unwrap());
    assert_eq!(
        code(archived.ask(&["wal", "get", "0000000100000000000000F0", "pg_wal/x"])),
        Some(1)
    );
    assert_eq!(code(archived.ask(&["wal", "push", "pg_wal/0000000100000000000000F0"])), Some(1));
    // Others are not served, nor is another cluster.
    let whole = archived.cluster.data_dir().join(&path);
    let mut other = archived.ask(&["wal", "push", whole.to_str().unwrap()]);
    other.uid(65534).gid(65534).current_dir("/");
    assert_ne!(code(other), Some(0));
    let mut elsewhere = archived.ask(&["wal", "push", &path]);
    elsewhere.current_dir(&archived.base);
    assert_ne!(code(elsewhere), Some(0));
    archived.cluster.crash().unwrap();
    archived.recover();
    assert!(archived.is_promoted(), "{}", archived.log());
    assert_eq!(archived.rows(), "40|40");
    let ahead = serving.log().matches("It was fetched ahead.").count();
    assert!(ahead >= 38, "{ahead} of 40:\n{}", serving.log());
    assert!(fs::read_dir(archived.place("spool")).unwrap().count() <= 8);
}

#[test]
fn when_who_serves_is_killed_the_server_goes_on_alone() {
    let mut archived = Archived::new(Release::System);
    let mut serving = Serving::start(&archived, &archived.place("spool"));
    let mut last = String::new();
    for row in 1..=30 {
        last = archived.switch(row);
        if row == 15 {
            serving.child.kill().unwrap();
        }
    }
    archived.wait_for(&last);
    drop(serving);
    assert_eq!(archived.status().0, Some(0));
    // Its socket is still there, and taken over; and a disk without room only costs time.
    let spool = archived.place("spool");
    let full = Full::over(&spool);
    let serving = Serving::start(&archived, &spool);
    archived.cluster.crash().unwrap();
    archived.recover();
    assert!(archived.is_promoted(), "{}", archived.log());
    assert_eq!(archived.rows(), "30|30");
    assert!(serving.log().contains("could not be fetched ahead"), "{}", serving.log());
    drop(serving);
    drop(full);
}
