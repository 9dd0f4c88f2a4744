//! Directories of real servers, whole and damaged: what is said of them is what stock `pg_verifybackup` says.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use std::time::Duration;

use lifeboat_model::{Cancel, Lsn};
use lifeboat_postgres::verification::amcheck::look_through;
use lifeboat_postgres::verification::directory::{Origin, verify};
use lifeboat_postgres::verification::rows::RowCounts;
use lifeboat_postgres::verification::sql::{Answer, ask};
use lifeboat_postgres::{ClientEnvironment, Conninfo, DatabaseName, PostgresError, Server};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release};

/// Copies a directory with all that it has; files are shared until they are put anew.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-al").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn put(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    put(path, &bytes);
}

/// Tells whether the stock program accepts a directory; the log lies elsewhere.
fn stock_accepts(cluster: &Cluster, backup: &Path) -> bool {
    let mut verify = cluster.command("pg_verifybackup");
    let output = verify.arg("--no-parse-wal").arg(backup).output().unwrap();
    output.status.success()
}

fn ours_accepts(backup: &Path) -> bool {
    let origin = Origin::of(Lsn(u64::MAX)..Lsn(u64::MAX));
    match verify(backup, &origin, &|_| (), &Cancel::new()) {
        Ok(report) => report.file_findings.is_empty(),
        Err(_) => false,
    }
}

/// What is done to a directory, and whether it stays as good as it was.
type Damage = (&'static str, fn(&Path), bool);

const DAMAGES: [Damage; 22] = [
    ("a flipped bit in a table", |b| change(&relation(b), |bytes| bytes[5000] ^= 1), false),
    ("a file that is missing", |b| fs::remove_file(relation(b)).unwrap(), false),
    ("nothing", |_| (), true),
    ("settings of a recovery", |b| put(&b.join("postgresql.auto.conf"), b"x = 1\n"), true),
    ("signals of a recovery", |b| put(&b.join("recovery.signal"), b""), true),
    ("something in the log", |b| put(&b.join("pg_wal/junk"), b"x"), true),
    ("an empty directory", |b| fs::create_dir(b.join("base/77")).unwrap(), true),
    ("a file that is a link now", make_link, true),
    ("a flipped bit in a fork", |b| change(&fork(b), |bytes| bytes[3] ^= 0x80), false),
    ("a flipped bit elsewhere", |b| change(&b.join("pg_xact/0000"), |bytes| bytes[1] ^= 1), false),
    ("a changed label", |b| change(&b.join("backup_label"), |bytes| bytes[9] ^= 1), false),
    ("a file cut off", |b| change(&relation(b), |bytes| bytes.truncate(8192)), false),
    ("an empty file", |b| put(&relation(b), b""), false),
    ("a file that grew", |b| change(&relation(b), |bytes| bytes.extend([0; 8192])), false),
    ("a directory that is missing", |b| fs::remove_dir_all(b.join("pg_xact")).unwrap(), false),
    ("a file too many", |b| put(&b.join("notes.txt"), b"x"), false),
    ("a relation too many", |b| put(&b.join("base/1/99999"), b""), false),
    ("a directory for a file", make_directory, false),
    ("a link to nothing", |b| symlink("nowhere", b.join("base/1/link")).unwrap(), false),
    ("no manifest", |b| fs::remove_file(b.join("backup_manifest")).unwrap(), false),
    ("a manifest cut off", |b| change(&manifest(b), |bytes| bytes.truncate(9000)), false),
    ("a changed manifest", |b| change(&manifest(b), |bytes| bytes[300] ^= 1), false),
];

fn make_link(backup: &Path) {
    fs::hard_link(backup.join("PG_VERSION"), backup.join("pg_wal/PG_VERSION")).unwrap();
    fs::remove_file(backup.join("PG_VERSION")).unwrap();
    symlink("pg_wal/PG_VERSION", backup.join("PG_VERSION")).unwrap();
}

fn make_directory(backup: &Path) {
    fs::remove_file(relation(backup)).unwrap();
    fs::create_dir(relation(backup)).unwrap();
}

fn manifest(backup: &Path) -> PathBuf {
    backup.join("backup_manifest")
}

/// The table whose file is to be damaged: `pg_class` of `template1`.
fn relation(backup: &Path) -> PathBuf {
    backup.join("base/1/1259")
}

fn fork(backup: &Path) -> PathBuf {
    backup.join("base/1/1259_fsm")
}

#[test]
fn what_is_said_of_a_directory_is_what_pg_verifybackup_says() {
    let cluster = Cluster::start().unwrap();
    let home = cluster.make_directory("backups").unwrap();
    for (sums, damages) in [("CRC32C", DAMAGES.len()), ("SHA256", 2), ("NONE", 2)] {
        let whole = home.join(sums);
        let mut backup = cluster.command("pg_basebackup");
        backup.args(["--checkpoint", "fast", "--wal-method", "none", "--manifest-checksums", sums]);
        let output = backup.arg("--pgdata").arg(&whole).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        for (what, damage, stays_good) in &DAMAGES[..damages] {
            let damaged = home.join("damaged");
            copy(&whole, &damaged);
            damage(&damaged);
            let (stock, ours) = (stock_accepts(&cluster, &damaged), ours_accepts(&damaged));
            assert_eq!(ours, stock, "{sums}: {what}");
            // Without sums a changed byte is seen by neither.
            if sums != "NONE" {
                assert_eq!(ours, *stays_good, "{sums}: {what}");
            }
            fs::remove_dir_all(&damaged).unwrap();
        }
    }
}

fn environment() -> ClientEnvironment {
    ClientEnvironment::new("/usr/bin:/bin")
}

async fn connect(cluster: &Cluster, database: &str, role: &str) -> Result<Server, PostgresError> {
    let conninfo = Conninfo::parse(&cluster.connect_string_as(database, role), &environment())?;
    Server::connect(&conninfo, &environment()).await
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

#[test]
fn rows_are_counted_as_of_one_moment_and_what_was_not_is_named() {
    for release in Release::ALL {
        let cluster = Cluster::start_with(&ClusterOptions::default().release(release)).unwrap();
        cluster.create_database("other").unwrap();
        let sql = |database: &str, sql: &str| cluster.psql(database, sql).unwrap();
        sql(
            "postgres",
            "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; CREATE TABLE \"A b\" ()",
        );
        sql("postgres", "CREATE UNLOGGED TABLE fleeting AS SELECT 1");
        sql("other", "CREATE TABLE u AS SELECT generate_series(1, 7) AS n");
        sql("postgres", "CREATE MATERIALIZED VIEW v AS SELECT * FROM t WHERE n <= 3");
        run(async {
            let server = connect(&cluster, "postgres", "postgres").await.unwrap();
            let counts = RowCounts::take(&server, Duration::from_mins(1)).await;
            assert_eq!(counts.trouble, None);
            assert_eq!(RowCounts::parse(&counts.to_document()).unwrap(), counts);
            let [own, other] = counts.databases.as_slice() else { panic!("{counts:?}") };
            assert_eq!(own.seen, other.seen, "as of one moment");
            let tables: Vec<_> = own.tables.iter().map(|(name, rows)| (&**name, *rows)).collect();
            assert_eq!(tables, [("public.\"A b\"", 0), ("public.t", 1000), ("public.v", 3)]);
            assert_eq!((other.database.as_str(), other.tables["public.u"]), ("other", 7));
            assert_eq!(own.compare(&server).await.unwrap().differences, []);
            sql("postgres", "DELETE FROM t WHERE n = 5; DROP TABLE \"A b\"; CREATE TABLE x ()");
            let comparison = own.compare(&server).await.unwrap();
            let named: Vec<_> = comparison.differences.iter().map(ToString::to_string).collect();
            assert_eq!(
                named,
                [
                    "public.t has 999 rows, expected 1000",
                    "public.x was not recorded, has 0 rows",
                    "public.\"A b\" is missing, with 0 rows"
                ]
            );
            let none = RowCounts::take(&server, Duration::ZERO).await;
            assert_eq!(none.databases[0].uncounted["public.t"], "there was no time left");
            assert_eq!(none.databases[0].tables.len(), 0);
            // What was not counted cannot be other than it was.
            assert_eq!(none.databases[0].compare(&server).await.unwrap().differences, []);
        });
    }
}

#[test]
fn damaged_tables_and_indexes_are_named() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release).checksums(PageChecksums::Off);
        let mut cluster = Cluster::start_with(&options.setting("autovacuum", "off")).unwrap();
        cluster
            .psql(
                "postgres",
                "CREATE TABLE whole AS SELECT n, md5(n::text) AS t FROM generate_series(1, 3000) n;
                 CREATE TABLE broken AS TABLE whole; CREATE TABLE lost AS TABLE whole;
                 CREATE INDEX whole_n ON whole (n); CREATE INDEX lost_n ON lost (n);
                 CHECKPOINT",
            )
            .unwrap();
        let path = |table: &str| {
            let below =
                cluster.psql("postgres", &format!("SELECT pg_relation_filepath('{table}')"));
            cluster.data_dir().join(below.unwrap())
        };
        let broken = path("broken");
        let check = |cluster: &Cluster| {
            run(async {
                let server = connect(cluster, "postgres", "postgres").await.unwrap();
                let database = DatabaseName::new("postgres");
                look_through(&server, &database, &Cancel::new()).await.unwrap()
            })
        };
        let report = check(&cluster);
        assert!(report.findings.is_empty(), "{report:?}");
        assert!(report.tables > 60 && report.indexes > 100, "{report:?}");
        cluster.stop().unwrap();
        // A pointer to a row that leads outside of its page; and a row that an index does not know.
        overwrite(&broken, 24, &[0xFF, 0xFF]);
        cluster.start_again().unwrap();
        cluster
            .psql(
                "postgres",
                "UPDATE pg_index SET indisready = false WHERE indexrelid = 'lost_n'::regclass;
                 INSERT INTO lost VALUES (7000, 'x');
                 UPDATE pg_index SET indisready = true WHERE indexrelid = 'lost_n'::regclass",
            )
            .unwrap();
        let findings = check(&cluster).findings;
        let named: Vec<_> = findings.iter().map(|found| found.relation.as_str()).collect();
        assert!(
            named.contains(&"public.broken") && named.contains(&"public.lost_n"),
            "{findings:?}"
        );
        assert!(named.iter().all(|name| !name.contains("whole")), "{findings:?}");
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn a_question_is_asked_as_the_application() {
    let cluster = Cluster::start().unwrap();
    cluster
        .psql(
            "postgres",
            "CREATE SCHEMA app; CREATE TABLE app.users AS SELECT 3 AS n; CREATE TABLE secret (n int);
             CREATE ROLE app LOGIN; CREATE ROLE clerks; CREATE ROLE closed LOGIN CONNECTION LIMIT 0;
             GRANT USAGE ON SCHEMA app TO app, clerks; GRANT SELECT ON app.users TO app, clerks;
             ALTER ROLE app SET search_path = app; CREATE DATABASE shut; REVOKE CONNECT ON DATABASE shut FROM public",
        )
        .unwrap();
    run(async {
        let superuser = connect(&cluster, "postgres", "postgres").await.unwrap();
        let asked = async |role: Option<&str>, database: &str, sql: &str| {
            let database = DatabaseName::new(database);
            let connect = async |role: &str| connect(&cluster, database.as_str(), role).await;
            let limit = Duration::from_millis(500);
            ask(&superuser, connect, (&database, role), sql, limit).await.unwrap()
        };
        let value = |text: &str| Answer::Value(Some(text.to_owned()));
        let refused = |text: &str| Answer::Refused(text.to_owned());
        for (role, database, sql, expected) in [
            (Some("app"), "postgres", "SELECT count(*) FROM users", value("1")),
            (Some("app"), "postgres", "SELECT current_user || session_user", value("appapp")),
            (Some("clerks"), "postgres", "SELECT n FROM app.users", value("3")),
            (None, "postgres", "SELECT current_user", value("postgres")),
            (None, "postgres", "SELECT NULL::int", Answer::Value(None)),
            (None, "postgres", "SELECT 1 WHERE false", Answer::Nothing),
            (
                Some("app"),
                "postgres",
                "SELECT * FROM public.secret",
                refused("permission denied for table secret"),
            ),
            (
                Some("clerks"),
                "postgres",
                "SELECT * FROM secret",
                refused("permission denied for table secret"),
            ),
            (None, "postgres", "SELECT * FROM gone", refused("relation \"gone\" does not exist")),
            (Some("nobody"), "postgres", "SELECT 1", refused("role \"nobody\" does not exist")),
            (None, "gone", "SELECT 1", refused("database \"gone\" does not exist")),
        ] {
            assert_eq!(asked(role, database, sql).await, expected, "{sql}");
        }
        let shut = asked(Some("app"), "shut", "SELECT 1").await;
        assert_eq!(shut, refused("permission denied for database \"shut\""));
        for sql in ["SELEC 1", "SELECT pg_sleep(5)", "DELETE FROM secret"] {
            let answer = asked(None, "postgres", sql).await;
            assert!(matches!(answer, Answer::NotAsked(_)), "{sql}: {answer:?}");
        }
    });
}
