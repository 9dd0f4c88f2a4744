//! Real servers are backed up while they are written to, and recovered to moments of a ledger that is
//! kept outside of them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::tier_mark::TierMark;
use lifeboat_postgres::base::relation::{Fork, RelationName};
use lifeboat_postgres::page::{BlockNumber, Checksums, PAGE_LENGTH, PageVerdict, judge};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release};
use lifeboat_tiers::LocalTier;
use serde_json::Value;

use crate::ownership::{give_away, write};

const BINARY: &str = env!("CARGO_BIN_EXE_lifeboat");

/// A server whose log is archived, and what it takes to bring it back.
pub struct Shop {
    pub cluster: Cluster,
    home: tempfile::TempDir,
    key: RecoveryKey,
}

/// What was committed, and when that was certain, by the server's clock.
pub type Ledger = Vec<(u32, String)>;

impl Shop {
    pub fn new(release: Release) -> Self {
        Self::with(ClusterOptions::default().release(release).checksums(PageChecksums::On))
    }

    pub fn with(options: ClusterOptions) -> Self {
        let home = tempfile::Builder::new().prefix("lifeboat-rec-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| home.path().join(name);
        let key = RecoveryKey::generate();
        write(&at("recovery.key"), key.spelled().expose(), 0o600);
        make_tier(&at("primary"), &key);
        let push = format!(
            "{BINARY} --plan {} wal push %p --socket {}",
            at("plan.toml").display(),
            at("socket").display()
        );
        let options = options.segment_size_mib(1).archive_command(&push);
        let cluster = Cluster::start_with(&options).unwrap();
        write(&at("plan.toml"), &plan(home.path(), &key, &cluster), 0o644);
        cluster.psql("postgres", "CREATE TABLE ledger (n int PRIMARY KEY, note text)").unwrap();
        Self { cluster, home, key }
    }

    /// Has the log and the backups go to another tier, too, which need not acknowledge.
    fn add_secondary(&self) {
        make_tier(&self.at("secondary"), &self.key);
        let plan = fs::read_to_string(self.at("plan.toml")).unwrap();
        let tier = format!(
            "[tiers.secondary]\nurl = \"file://{}/secondary\"\nkeep = {{ within = \"30d\" }}\n[schedules",
            self.home().display()
        );
        let plan = plan
            .replace("[schedules", &tier)
            .replace("to = [\"primary\"]", "to = [\"primary\", \"secondary\"]");
        write(&self.at("plan.toml"), &plan, 0o644);
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn sql(&self, sql: &str) -> String {
        self.cluster.psql("postgres", sql).unwrap()
    }

    /// Returns where all of it is.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes another server the plan's, and returns the one that was.
    pub fn replace_cluster(&mut self, cluster: Cluster) -> Cluster {
        let connect = |cluster: &Cluster| cluster.connect_string("postgres");
        let plan = fs::read_to_string(self.at("plan.toml")).unwrap();
        let plan = plan.replace(&connect(&self.cluster), &connect(&cluster));
        write(&self.at("plan.toml"), &plan, 0o644);
        std::mem::replace(&mut self.cluster, cluster)
    }

    /// Returns a command that runs the binary as whoever runs the tests.
    pub fn command(&self) -> Command {
        let mut path = self.cluster.bin_dir().as_os_str().to_owned();
        path.push(":/usr/bin:/bin");
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("XDG_STATE_HOME", self.at("state"))
            .env("XDG_CACHE_HOME", self.at("cache"))
            .env("STATE_DIRECTORY", self.at("state"))
            .arg("--plan")
            .arg(self.at("plan.toml"));
        command
    }

    /// Runs the binary as whoever runs the tests.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs the binary, which has to do its work, and returns its answer.
    pub fn done(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.run(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        let log = fs::read_to_string(self.cluster.log()).unwrap_or_default();
        let log: Vec<_> = log.lines().rev().take(20).collect();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {text}\n{complaints}\nthe server, the newest first: {log:#?}"
        );
        serde_json::from_str(&text).unwrap()
    }

    pub fn back_up(&self) -> Value {
        self.done(&["backup", "database"])
    }

    /// Commits one row, and returns a time by which it was committed.
    pub fn commit(&self, row: u32) -> String {
        let note = "x".repeat(usize::try_from(row % 97).unwrap());
        self.sql(&format!("INSERT INTO ledger VALUES ({row}, '{note}')"));
        self.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    }

    pub fn commit_rows(&self, rows: std::ops::RangeInclusive<u32>) -> Ledger {
        rows.map(|row| (row, self.commit(row))).collect()
    }

    /// Commits rows while something is done.
    pub fn commit_during<T: Send>(
        &self,
        first: u32,
        work: impl FnOnce() -> T + Send,
    ) -> (T, Ledger) {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut ledger = Ledger::new();
                for row in first.. {
                    ledger.push((row, self.commit(row)));
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                }
                ledger
            });
            let ending = Ending(&is_done);
            let result = work();
            drop(ending);
            (result, writer.join().unwrap())
        })
    }

    /// Has all that was committed archived; returns the last segment of it.
    pub fn archive_all(&self) -> String {
        let segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        let sql = format!(
            "SELECT pg_sleep(0.05), coalesce(last_archived_wal >= '{segment}', false) FROM pg_stat_archiver"
        );
        for _ in 0..1200 {
            if self.sql(&sql).ends_with("|t") {
                return segment;
            }
        }
        panic!("{segment} is not archived: {}", fs::read_to_string(self.cluster.log()).unwrap());
    }

    /// Restores to a moment and starts the server.
    pub fn recover(&self, at: &str, name: &str, more: &[&str]) -> Recovered<'_> {
        let to = self.at(name);
        let mut arguments =
            vec!["restore", "database", "--at", at, "--to", to.to_str().unwrap(), "--start"];
        arguments.extend(more);
        let answer = self.done(&arguments);
        Recovered { shop: self, data: to.clone(), answer }
    }
}

/// Says that something is done, also when it panicked.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server that was recovered; stopped when it is dropped.
pub struct Recovered<'s> {
    shop: &'s Shop,
    pub data: PathBuf,
    pub answer: Value,
}

impl Recovered<'_> {
    pub fn sql(&self, sql: &str) -> String {
        let mut psql = self.shop.cluster.command("psql");
        psql.env("PGHOST", &self.data).env("PGPORT", "5432").env("PGDATABASE", "postgres");
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--command", sql]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub fn rows(&self) -> Vec<u32> {
        let rows = self.sql("SELECT n FROM ledger ORDER BY n");
        rows.lines().map(|row| row.parse().unwrap()).collect()
    }

    /// Stops the server as it should be, and holds every page against its checksum.
    pub fn stop_and_check_pages(self) -> usize {
        self.stop();
        let pages = check_pages(&self.data);
        assert!(pages > 500, "{pages}");
        pages
    }

    /// Stops the server and removes its files.
    pub fn remove(self) {
        let data = self.data.clone();
        drop(self);
        fs::remove_dir_all(data).unwrap();
    }

    pub fn stop(&self) {
        let mut stop = self.shop.cluster.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode", "fast", "--pgdata"]).arg(&self.data);
        assert!(stop.status().unwrap().success());
    }
}

impl Drop for Recovered<'_> {
    fn drop(&mut self) {
        let mut stop = self.shop.cluster.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode", "immediate", "--pgdata"]).arg(&self.data);
        // It may have been stopped already.
        drop(stop.output());
    }
}

/// Judges every page of a cluster that is stopped; returns how many there are.
fn check_pages(folder: &Path) -> usize {
    let mut pages = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages += check_pages(&path);
            continue;
        }
        let name = RelationName::parse(path.file_name().unwrap().to_str().unwrap());
        let RelationName::Relation(file) = name else { continue };
        if !path.to_string_lossy().contains("/base/") || file.fork == Fork::Init {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for (number, page) in bytes.chunks(PAGE_LENGTH).enumerate() {
            let page_number = u32::try_from(number).unwrap();
            let block = BlockNumber::in_file(file.segment, page_number).unwrap();
            let verdict = judge(page, block, Checksums::On);
            assert!(!matches!(verdict, PageVerdict::Invalid(_)), "{path:?} {block:?} {verdict:?}");
            pages += 1;
        }
    }
    pages
}

/// Makes a tier to which the server's own user archives; with `wal serve` it would be root's.
fn make_tier(path: &Path, key: &RecoveryKey) {
    let tier = LocalTier::create(path).unwrap();
    let mark = TierMark::new("shop".parse().unwrap(), key.public_halves().verifier.to_string());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(mark.write(&tier)).unwrap();
    give_away(path);
}

fn plan(home: &Path, key: &RecoveryKey, cluster: &Cluster) -> String {
    let halves = key.public_halves();
    let mut text = format!(
        "format = 1\n[plan]\nname = \"Shop\"\nsite = \"shop\"\n\
         [key]\nfile = \"{0}/recovery.key\"\nrecipient = \"{1}\"\nverifier = \"{2}\"\n\
         [tiers.primary]\nurl = \"file://{0}/primary\"\nkeep = {{ within = \"7d\" }}\n\
         [schedules.daily]\ncron = \"0 2 * * *\"\nassets = [\"database\"]\nto = [\"primary\"]\n",
        home.display(),
        halves.recipient,
        halves.verifier,
    );
    write!(
        text,
        "[assets.database]\nkind = \"postgres\"\nconnect = \"{}\"\nbase = \"physical\"\nrpo = \"1h\"\nrto = \"2h\"\n\
         wal = {{ mode = \"archive\", to = [\"primary\"], ack = [\"primary\"] }}\n",
        cluster.connect_string("postgres")
    )
    .unwrap();
    text
}

/// Returns the rows that were certainly committed by a place in the ledger.
fn until(ledger: &Ledger, place: usize) -> Vec<u32> {
    ledger[..=place].iter().map(|(row, _)| *row).collect()
}

#[test]
fn a_server_that_is_written_to_comes_back_to_any_moment() {
    for release in Release::ALL {
        let shop = Shop::new(release);
        shop.sql(
            "CREATE TABLE bulk AS SELECT n, repeat('b', 200) AS b FROM generate_series(1, 30000) n",
        );
        let (answer, mut ledger) = shop.commit_during(1, || shop.back_up());
        let base = &answer["assets"][0]["base"];
        assert_eq!(base["timeline"], 1, "{answer:#}");
        assert_eq!(base["damaged_pages"], 0);
        let next = ledger.last().unwrap().0 + 1;
        ledger.extend(shop.commit_rows(next..=next + 40));
        shop.archive_all();
        let latest = shop.recover("latest", "latest", &[]);
        assert_eq!(latest.rows(), until(&ledger, ledger.len() - 1), "{release:?}");
        assert_eq!(latest.sql("SELECT count(*), sum(n) FROM bulk"), "30000|450015000");
        assert_eq!(latest.sql("SHOW archive_mode"), "off");
        assert_eq!(latest.answer["started_server"]["is_promoted"], true);
        latest.stop_and_check_pages();
        // Moments behind the base, by a rule that differs with each run of the ledger's length.
        let first = ledger.len() - 41;
        for (turn, place) in
            [first + 1, first + 7 + ledger.len() % 5, first + 23].iter().enumerate()
        {
            let recovered = shop.recover(&ledger[*place].1, &format!("at{turn}"), &[]);
            assert_eq!(recovered.rows(), until(&ledger, *place), "{release:?}");
        }
        let lsn = shop.sql("SELECT pg_current_wal_lsn()");
        shop.commit_rows(90_000..=90_001);
        shop.archive_all();
        let recovered = shop.recover(&format!("lsn:{lsn}"), "lsn", &[]);
        assert_eq!(recovered.rows(), until(&ledger, ledger.len() - 1), "{release:?}");
    }
}

#[test]
fn quiet_hours_are_reached_and_what_is_too_early_or_missing_is_said() {
    let shop = Shop::new(Release::System);
    let early = shop.commit(1);
    shop.back_up();
    let ledger = shop.commit_rows(2..=9);
    shop.archive_all();
    // Nothing was committed later, so no record tells that this time has passed.
    let recovered = shop.recover("2038-01-01T00:00:00Z", "quiet", &[]);
    assert_eq!(recovered.rows(), (1..=9).collect::<Vec<_>>());
    assert_eq!(recovered.answer["target"], "latest");
    let to = shop.at("none");
    let arguments = ["restore", "database", "--to", to.to_str().unwrap(), "--at"];
    let failed = |at: &str| {
        let output = shop.run(&[&arguments[..], &[at]].concat());
        assert_ne!(output.status.code(), Some(0));
        assert!(!to.exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = failed(&early);
    assert!(text.contains("no base backup is so old"), "{text}");
    // A segment is lost: what lies before it can be reached, and nothing behind.
    shop.commit(10);
    let lost = shop.archive_all();
    shop.commit(11);
    shop.archive_all();
    remove_segment(&shop.at("primary/wal"), &lost);
    let text = failed("latest");
    assert!(text.contains(&lost), "{text}");
    let recovered = shop.recover(&ledger[3].1, "before", &[]);
    assert_eq!(recovered.rows(), (1..=5).collect::<Vec<_>>());
    let preview = shop.done(&[&arguments[..], &[&ledger[3].1, "--dry-run"]].concat());
    assert_eq!(preview["timeline"], 1);
    assert!(!to.exists());
}

#[test]
fn what_one_tier_does_not_reach_is_reached_with_the_other() {
    let mut shop = Shop::new(Release::System);
    shop.add_secondary();
    shop.commit(1);
    shop.done(&["backup", "database", "--to", "secondary"]);
    let ledger = shop.commit_rows(2..=4);
    shop.done(&["backup", "database", "--to", "primary"]);
    shop.commit(5);
    let lost = shop.archive_all();
    shop.commit(6);
    shop.archive_all();
    // The base on the first tier is too young.
    let recovered = shop.recover(&ledger[1].1, "early", &[]);
    assert_eq!(recovered.rows(), [1, 2, 3]);
    assert_eq!(recovered.answer["tier"], "secondary", "{:#}", recovered.answer);
    recovered.remove();
    // A part of the log is lost on the tier whose base is used.
    remove_segment(&shop.at("primary/wal"), &lost);
    let recovered = shop.recover("latest", "latest", &[]);
    assert_eq!(recovered.rows(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(recovered.answer["tier"], "primary", "{:#}", recovered.answer);
    recovered.remove();
    // One tier of the log that cannot be listed is told of, and the other has it all.
    shop.cluster.stop().unwrap();
    let folder = shop.at("primary/wal");
    fs::remove_dir_all(&folder).unwrap();
    write(&folder, "no folder", 0o644);
    assert_eq!(shop.recover("latest", "unlisted", &[]).rows(), [1, 2, 3, 4, 5, 6]);
    // What nobody has is said with what the tier that leads furthest back reaches.
    let (to, at) = (shop.at("none").display().to_string(), "2020-01-01T00:00:00Z");
    let asked = |at: &str, more: &[&str]| {
        let arguments = ["restore", "database", "--to", &to, "--dry-run", "--at", at];
        shop.run(&[&arguments[..], more].concat())
    };
    let refused = |more: &[&str]| {
        let text = String::from_utf8_lossy(&asked(at, more).stderr).into_owned();
        let oldest = text.split("the oldest leads to ").nth(1);
        let oldest = oldest.and_then(|rest| rest.split(" and later").next());
        oldest.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(refused(&[]), refused(&["--tier", "secondary"]));
    assert_ne!(refused(&[]), refused(&["--tier", "primary"]));
    // What is lost is told of the moment that was asked for.
    let preview = asked(&ledger[1].1, &[]);
    let text = String::from_utf8_lossy(&preview.stdout).into_owned();
    assert!(
        text.contains("any moment from ") && text.contains("of which the archive has"),
        "{text}"
    );
}

#[test]
fn a_server_that_was_given_more_after_its_base_backup_comes_back() {
    for release in Release::ALL {
        let mut shop =
            Shop::with(ClusterOptions::default().release(release).setting("max_connections", "20"));
        shop.commit(1);
        shop.back_up();
        for setting in
            ["max_connections = 60", "max_worker_processes = 20", "max_locks_per_transaction = 100"]
        {
            shop.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        shop.cluster.restart().unwrap();
        shop.commit(2);
        shop.archive_all();
        let recovered = shop.recover("latest", "latest", &[]);
        assert_eq!(recovered.rows(), [1, 2], "{release:?}");
        assert_eq!(recovered.answer["started_server"]["is_promoted"], true);
        let counted = shop.done(&[
            "query",
            "database",
            "--at",
            "latest",
            "--sql",
            "SELECT count(*) FROM ledger",
        ]);
        assert_eq!(
            counted["results"][0]["rows"],
            serde_json::json!([["2"]]),
            "{release:?}: {counted:#}"
        );
    }
}

#[test]
fn a_tablespace_that_was_made_later_is_never_taken_from_the_server_that_has_it() {
    for release in Release::ALL {
        let mut shop = Shop::new(release);
        shop.back_up();
        let space = shop.cluster.make_directory("space").unwrap();
        shop.sql(&format!("CREATE TABLESPACE later LOCATION '{}'", space.display()));
        shop.sql("CREATE TABLE placed TABLESPACE later AS SELECT generate_series(1, 1000) AS n");
        shop.archive_all();
        let to = shop.at("beside");
        let output = shop.run(&["restore", "database", "--to", to.to_str().unwrap(), "--start"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0), "{text}");
        let log = fs::read_to_string(to.join("lifeboat-recovery.log")).unwrap();
        assert!(log.contains("where data of another server lie"), "{text} {log}");
        // It reads its files, and not what it remembers of them.
        shop.cluster.restart().unwrap();
        assert_eq!(shop.sql("SELECT sum(n) FROM placed"), "500500", "{release:?}");
        shop.sql("DROP TABLE placed; DROP TABLESPACE later");
        let recovered = shop.recover("latest", "free", &[]);
        assert_eq!(recovered.sql("SELECT sum(n) FROM placed"), "500500", "{release:?}");
    }
}

#[test]
fn a_server_that_lets_nobody_in_is_not_waited_for() {
    let shop = Shop::new(Release::System);
    // The server that runs does not read it again, and the one that is restored does.
    let access = shop.cluster.data_dir().join("pg_hba.conf");
    write(&access, "local all all scram-sha-256\n", 0o600);
    give_away(&access);
    shop.back_up();
    shop.archive_all();
    let to = shop.at("closed");
    let output = shop.run(&["restore", "database", "--to", to.to_str().unwrap(), "--start"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let recovered = Recovered { shop: &shop, data: to, answer: Value::Null };
    assert_ne!(output.status.code(), Some(0));
    assert!(text.contains("lets nobody in") && text.contains("pg_hba.conf"), "{text}");
    // Without who serves its log it may have ended by itself.
    drop(recovered);
}

fn remove_segment(folder: &Path, segment: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_segment(&path, segment);
        } else if path.file_name().unwrap().to_string_lossy().starts_with(segment) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn tablespaces_unlogged_tables_and_prepared_transactions_come_back_as_they_should() {
    for release in Release::ALL {
        let shop = Shop::with(
            ClusterOptions::default()
                .release(release)
                .checksums(PageChecksums::On)
                .setting("max_prepared_transactions", "5"),
        );
        let space = shop.cluster.make_directory("space").unwrap();
        shop.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        shop.sql("CREATE TABLE placed (n int) TABLESPACE fast; INSERT INTO placed SELECT generate_series(1, 5000)");
        shop.sql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 100) AS n");
        shop.back_up();
        shop.commit(1);
        shop.sql("BEGIN; INSERT INTO ledger VALUES (2); PREPARE TRANSACTION 'both'");
        let between = shop.commit(3);
        shop.sql("COMMIT PREPARED 'both'");
        shop.commit(4);
        shop.archive_all();
        let moved = shop.at("moved");
        let told = format!("{}={}", space.display(), moved.display());
        let recovered = shop.recover(&between, "between", &["--tablespace", &told]);
        assert_eq!(recovered.rows(), [1, 3], "{release:?}");
        assert_eq!(recovered.sql("SELECT gid FROM pg_prepared_xacts"), "both");
        assert_eq!(recovered.sql("SELECT count(*) FROM fleeting"), "0");
        assert_eq!(recovered.sql("SELECT count(*), sum(n) FROM placed"), "5000|12502500");
        let place = recovered
            .sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'");
        assert_eq!(Path::new(&place), moved);
        recovered.sql("COMMIT PREPARED 'both'");
        assert_eq!(recovered.rows(), [1, 2, 3]);
        recovered.stop_and_check_pages();
        let latest = shop.recover("latest", "all", &[]);
        assert_eq!(latest.rows(), [1, 2, 3, 4], "{release:?}");
    }
}

#[test]
fn a_second_backup_stores_what_changed_and_restores_as_a_full_one_does() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
        let mut shop = Shop::with(options.setting("autovacuum", "off"));
        shop.sql(
            "CREATE TABLE bulk AS SELECT n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) AS b
             FROM generate_series(1, 60000) n;
             CREATE INDEX ON bulk (n); DELETE FROM bulk WHERE n > 50000; VACUUM (FREEZE)",
        );
        let first = shop.back_up();
        shop.sql(
            "UPDATE bulk SET b = 'changed' WHERE n % 10000 = 0;
             INSERT INTO bulk SELECT n, 'new' FROM generate_series(70000, 70100) n",
        );
        // Whoever reads a row first once its commit is durable leaves a mark at it. A backup counts rows after
        // it has read the files, and would leave these.
        shop.sql("CHECKPOINT");
        shop.sql("SELECT count(b) FROM bulk");
        let second = shop.back_up();
        let stored =
            |answer: &Value| answer["assets"][0]["counts"]["bytes_stored"].as_u64().unwrap();
        assert!(stored(&second) * 3 < stored(&first), "{} {}", stored(&second), stored(&first));
        assert!(second["assets"][0]["remarks"].as_array().unwrap().is_empty(), "{second:#}");
        // A copy of the server's own files, which nobody changed since, is what a full backup would be.
        shop.cluster.stop().unwrap();
        let restored = shop.at("restored");
        shop.done(&["restore", "database", "--to", restored.to_str().unwrap()]);
        if release == Release::System {
            // Of the newer server there is no such program; the log lies in the archive.
            let mut verify = shop.cluster.command("pg_verifybackup");
            let verified = verify.arg("--no-parse-wal").arg(&restored).output().unwrap();
            assert!(verified.status.success(), "{verified:?}");
        }
        let (same, differ) = compare(&restored, shop.cluster.data_dir());
        assert!(same > 300 && differ.is_empty(), "{release:?}: {same} {differ:?}");
    }
}

/// Counts the relations that are byte by byte as the server's own, and names those that are not.
fn compare(restored: &Path, own: &Path) -> (usize, Vec<PathBuf>) {
    let (mut same, mut differ) = (0, Vec::new());
    for database in fs::read_dir(own.join("base")).unwrap() {
        for entry in fs::read_dir(database.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(own).unwrap();
            let name = RelationName::parse(path.file_name().unwrap().to_str().unwrap());
            if !matches!(name, RelationName::Relation(_)) {
                continue;
            }
            if fs::read(&path).unwrap() == fs::read(restored.join(below)).unwrap_or_default() {
                same += 1;
            } else {
                differ.push(below.to_owned());
            }
        }
    }
    (same, differ)
}

#[test]
fn what_is_right_of_a_cluster_is_kept_and_a_running_server_is_not_touched() {
    let shop = Shop::new(Release::System);
    shop.sql("CREATE TABLE bulk AS SELECT n, md5(n::text) FROM generate_series(1, 50000) n");
    shop.back_up();
    let ledger = shop.commit_rows(1..=5);
    shop.archive_all();
    let recovered = shop.recover("latest", "again", &[]);
    recovered.sql("DELETE FROM ledger; UPDATE bulk SET n = n + 1 WHERE n < 100");
    let to = shop.at("again");
    let arguments = ["restore", "database", "--delta", "--to", to.to_str().unwrap()];
    let refused = shop.run(&arguments);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("postmaster.pid"), "{refused:?}");
    recovered.stop();
    let recovered = shop.recover("latest", "again", &["--delta"]);
    assert_eq!(recovered.rows(), until(&ledger, 4));
    let files = &recovered.answer["files"];
    let bytes = |name: &str| files[name].as_u64().unwrap();
    assert!(bytes("written_bytes") * 3 < bytes("size_bytes"), "{files:#}");
    recovered.stop_and_check_pages();
}
