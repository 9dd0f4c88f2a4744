//! A database dumped, lost and brought back on real servers; and dumps that must not look whole.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::io::Read as _;

use lifeboat_model::{Classify as _, ErrorKind, Timestamp};
use lifeboat_postgres::{
    Beside, ClientEnvironment, Conninfo, DatabaseName, DatabaseRecord, DumpStream, Globals,
    PostgresError, Server, SnapshotDump, Tablespaces, globals,
};
use lifeboat_testing::postgres::{Authentication, Cluster, ClusterOptions, Listen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// A schema with what dumps are known to trip over.
const SHOP: &str = r#"
CREATE ROLE app LOGIN PASSWORD 'app-password';
CREATE ROLE "Odd ""Role" NOLOGIN;
GRANT "Odd ""Role" TO app;
CREATE SCHEMA "Sales & ""Co""";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL, mood mood, seen timestamptz, photo bytea, amount numeric(20, 5),
    ratio double precision, tags text[], extra jsonb,
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED
);
INSERT INTO customers (name, mood, seen, photo, amount, ratio, tags, extra)
SELECT 'Kündin ' || n, (ARRAY['sad', 'ok', 'glad'])[n % 3 + 1]::mood,
       timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute 0.000001 second',
       decode(md5(n::text), 'hex'), n / 7.0, sqrt(n), ARRAY['a', n::text],
       jsonb_build_object('n', n)
FROM generate_series(1, 2000) n;
CREATE TABLE "Sales & ""Co"""."Order Items" (
    "customer id" bigint REFERENCES customers, "row" text, n int
);
INSERT INTO "Sales & ""Co"""."Order Items"
SELECT n % 2000 + 1, repeat('x', n % 50), n FROM generate_series(1, 3000) n;
INSERT INTO "Sales & ""Co"""."Order Items" VALUES (1, 'twin', 1), (1, 'twin', 1);
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events SELECT date '2025-06-01' + n, 'event ' || n FROM generate_series(1, 400) n;
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE SEQUENCE tickets START 41;
SELECT nextval('tickets');
SELECT lo_from_bytea(4711, decode(repeat('00ff10', 500000), 'hex'));
CREATE VIEW glad AS SELECT * FROM customers WHERE mood = 'glad';
GRANT SELECT ON customers TO app;
"#;

/// More than fits into a pipe, so that a program that writes it still runs when it is hit.
const A_LOT: &str = "INSERT INTO events
    SELECT '2025-02-02', repeat('x', 2000) FROM generate_series(1, 20000)";

struct Shop {
    cluster: Cluster,
    server: Server,
}

fn environment() -> ClientEnvironment {
    ClientEnvironment::new(std::env::var_os("PATH").unwrap())
}

async fn connect(cluster: &Cluster, database: &str) -> Result<Server, PostgresError> {
    let conninfo = Conninfo::parse(&cluster.connect_string(database), &environment()).unwrap();
    Server::connect(&conninfo, &environment()).await
}

async fn shop(database: &str) -> Shop {
    let cluster = Cluster::start().unwrap();
    cluster.create_database(database).unwrap();
    cluster.psql(database, SHOP).unwrap();
    let server = connect(&cluster, database).await.unwrap();
    Shop { cluster, server }
}

fn read(mut stream: DumpStream) -> Result<Vec<u8>, PostgresError> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    stream.finish().map(|()| bytes)
}

async fn restore(
    server: &Server,
    record: &DatabaseRecord,
    dump: &[u8],
) -> Result<Beside, PostgresError> {
    let beside = Beside::create(server, &record.database, &record.properties, NOW).await?;
    beside.load(&mut &*dump, Tablespaces::AsDumped)?;
    beside.complete().await?;
    Ok(beside)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_comes_back_on_a_new_server() {
    let name = "Sh'op \"ünï\" \\ %";
    let old = shop(name).await;
    let quoted = DatabaseName::new(name).quoted();
    old.cluster
        .psql(
            "postgres",
            &format!(
                "ALTER DATABASE {quoted} SET search_path = \"Sales & \"\"Co\"\"\", public;
                 ALTER ROLE app IN DATABASE {quoted} SET work_mem = '5MB';
                 COMMENT ON DATABASE {quoted} IS 'it''s ours';
                 REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC;
                 GRANT CONNECT ON DATABASE {quoted} TO app;"
            ),
        )
        .unwrap();
    let snapshot = SnapshotDump::begin(&old.server).await.unwrap();
    let dump = read(snapshot.stream().unwrap()).unwrap();
    let record = snapshot.record().await.unwrap();
    let roles = Globals::dump(&old.server).unwrap();
    assert!(roles.has_passwords);
    drop(old);

    let cluster = Cluster::start().unwrap();
    let conninfo = Conninfo::parse(&cluster.connect_string(name), &environment()).unwrap();
    let server = Server::connect_without_database(&conninfo, &environment()).await.unwrap();
    let applied =
        globals::apply(&server, std::str::from_utf8(&roles.sql).unwrap(), Tablespaces::AsDumped)
            .await
            .unwrap();
    assert_eq!(applied.created, ["Odd \"Role", "app"]);
    assert_eq!(applied.kept, ["postgres"]);
    assert_eq!(applied.failed, [""; 0]);
    let record = DatabaseRecord::from_json(&record.to_json()).unwrap();
    let beside = restore(&server, &record, &dump).await.unwrap();
    assert_eq!(beside.compare(&record).await.unwrap(), []);
    let swapped = beside.swap(NOW).await.unwrap();
    assert_eq!((swapped.database.as_str(), swapped.kept_as), (name, None));

    let ask = |sql: &str| cluster.psql(name, sql).unwrap();
    assert_eq!(ask("SELECT nextval('public.tickets')"), "42");
    assert_eq!(ask("SELECT count(*), max(upper_name) FROM public.customers"), "2000|KÜNDIN 999");
    assert_eq!(ask("SHOW search_path"), "\"Sales & \"\"Co\"\"\", public");
    assert_eq!(ask("SELECT length(lo_get(4711))"), "1500000");
    assert_eq!(
        ask("SELECT has_table_privilege('app', 'public.customers', 'SELECT'),
                    has_database_privilege('app', current_database(), 'CONNECT'),
                    has_database_privilege('Odd \"Role', current_database(), 'CONNECT')"),
        "t|t|f"
    );
    assert_eq!(
        ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database
             WHERE datname = current_database()"),
        "it's ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_database_is_kept_aside_and_others_are_sent_away() {
    let shop = shop("shop").await;
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let (dump, record) =
        (read(snapshot.stream().unwrap()).unwrap(), snapshot.record().await.unwrap());
    drop(snapshot);
    shop.cluster.psql("shop", "DELETE FROM events").unwrap();

    // Somebody works in the database while it is replaced.
    let mut busy = shop.cluster.command("psql");
    busy.args(["--dbname=shop", "--no-psqlrc", "--command=SELECT pg_sleep(600)"]);
    let mut busy = busy.stderr(std::process::Stdio::null()).spawn().unwrap();
    let beside = restore(&shop.server, &record, &dump).await.unwrap();
    assert_eq!(beside.compare(&record).await.unwrap(), []);
    let swapped = beside.swap(NOW).await.unwrap();
    assert!(!busy.wait().unwrap().success());

    let kept = swapped.kept_as.unwrap();
    assert_eq!(kept.as_str(), "shop_before_20270115_080000");
    let count =
        |database: &str| shop.cluster.psql(database, "SELECT count(*) FROM events").unwrap();
    assert_eq!((count("shop"), count(kept.as_str())), ("400".to_owned(), "0".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_that_is_always_there_is_replaced_too() {
    let cluster = Cluster::start().unwrap();
    cluster.psql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 7) n").unwrap();
    let server = connect(&cluster, "postgres").await.unwrap();
    let snapshot = SnapshotDump::begin(&server).await.unwrap();
    let (dump, record) =
        (read(snapshot.stream().unwrap()).unwrap(), snapshot.record().await.unwrap());
    drop(snapshot);
    cluster.psql("postgres", "DELETE FROM t").unwrap();
    let beside = restore(&server, &record, &dump).await.unwrap();
    let kept = beside.swap(NOW).await.unwrap().kept_as.unwrap();
    let count = |database: &str| cluster.psql(database, "SELECT count(*) FROM t").unwrap();
    assert_eq!((count("postgres"), count(kept.as_str())), ("7".to_owned(), "0".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn dump_and_record_are_of_one_moment() {
    let shop = shop("shop").await;
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    shop.cluster.psql("shop", "DELETE FROM events; UPDATE child SET b = 99").unwrap();
    let record = snapshot.record().await.unwrap();
    let dump = read(snapshot.stream().unwrap()).unwrap();
    let beside = restore(&shop.server, &record, &dump).await.unwrap();
    assert_eq!(beside.compare(&record).await.unwrap(), []);
    assert_eq!(
        record.tables["public.events_2025"].rows + record.tables["public.events_2026"].rows,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_changed_table_is_named() {
    let shop = shop("shop").await;
    let before = SnapshotDump::begin(&shop.server).await.unwrap().record().await.unwrap();
    let change = "UPDATE customers SET ratio = ratio + 0.0000001 WHERE id = 77;
                  DELETE FROM events WHERE at = '2026-01-05';
                  DROP TABLE child; CREATE TABLE fresh AS SELECT 1;
                  -- The same rows in another order are the same table.
                  CREATE TABLE copy AS TABLE \"Sales & \"\"Co\"\"\".\"Order Items\" ORDER BY 3 DESC;
                  TRUNCATE \"Sales & \"\"Co\"\"\".\"Order Items\";
                  INSERT INTO \"Sales & \"\"Co\"\"\".\"Order Items\" TABLE copy;
                  DROP TABLE copy;
                  SELECT lo_put(4711, 1400000, '\\x01');";
    shop.cluster.psql("shop", change).unwrap();
    let after = SnapshotDump::begin(&shop.server).await.unwrap().record().await.unwrap();
    let named: Vec<_> = before.differences(&after).iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "public.child is missing, with 1 rows",
            "public.customers has 2000 rows as expected, but other ones",
            "public.events_2026 has 186 rows, expected 187",
            "public.fresh was not recorded, has 1 rows",
            "pg_largeobject has 2 rows as expected, but other ones",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_connection_is_killed_is_not_whole() {
    let shop = shop("shop").await;
    shop.cluster.psql("shop", A_LOT).unwrap();
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let mut stream = snapshot.stream().unwrap();
    let mut start = [0; 4096];
    stream.read_exact(&mut start).unwrap();
    let killed = shop
        .cluster
        .psql("postgres", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'lifeboat' AND query LIKE 'COPY%'")
        .unwrap();
    assert_eq!(killed, "1");
    let error = read(stream).unwrap_err();
    assert!(matches!(error, PostgresError::ToolFailed { .. }), "{error}");
    assert!(error.to_string().contains("pg_dump"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// Finds the `pg_dump` that dumps this cluster, by its arguments.
fn running_dump(cluster: &Cluster) -> Option<i32> {
    let socket = cluster.socket_dir().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.find(|id| {
        // Processes come and go while they are looked at.
        let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        arguments.contains("pg_dump\0") && arguments.contains(&socket)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_program_is_killed_is_not_whole() {
    let shop = shop("shop").await;
    shop.cluster.psql("shop", A_LOT).unwrap();
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let mut stream = snapshot.stream().unwrap();
    stream.read_exact(&mut [0; 4096]).unwrap();
    let id = running_dump(&shop.cluster).unwrap();
    kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    let error = read(stream).unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_leaves_no_program() {
    let shop = shop("shop").await;
    shop.cluster.psql("shop", A_LOT).unwrap();
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let mut stream = snapshot.stream().unwrap();
    stream.read_exact(&mut [0; 4096]).unwrap();
    assert!(running_dump(&shop.cluster).is_some());
    drop(stream);
    assert_eq!(running_dump(&shop.cluster), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_not_read_to_its_end_is_not_whole() {
    let shop = shop("shop").await;
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let mut stream = snapshot.stream().unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    assert!(stream.finish().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_snapshot_was_lost_is_not_whole() {
    let shop = shop("shop").await;
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    shop.cluster
        .psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lifeboat'")
        .unwrap();
    assert!(read(snapshot.stream().unwrap()).is_err());
    assert!(snapshot.record().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_read_fails_the_dump() {
    let shop = shop("shop").await;
    let text = shop.cluster.connect_string_as("shop", "app");
    let conninfo = Conninfo::parse(&text, &environment()).unwrap();
    let server = Server::connect(&conninfo, &environment()).await.unwrap();
    let snapshot = SnapshotDump::begin(&server).await.unwrap();
    let error = read(snapshot.stream().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.hint().unwrap().to_string().contains("pg_read_all_data"));
    assert_eq!(snapshot.record().await.unwrap_err().kind(), ErrorKind::Denied);
    // Roles without their passwords are better than none, and it is said.
    let roles = Globals::dump(&server).unwrap();
    assert!(!roles.has_passwords);
    assert!(String::from_utf8(roles.sql).unwrap().contains("CREATE ROLE app"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_dump_leaves_the_old_database_alone() {
    let shop = shop("shop").await;
    let snapshot = SnapshotDump::begin(&shop.server).await.unwrap();
    let dump = read(snapshot.stream().unwrap()).unwrap();
    let record = snapshot.record().await.unwrap();
    let error = restore(&shop.server, &record, &dump[..dump.len() / 2]).await.unwrap_err();
    assert!(matches!(error, PostgresError::ToolFailed { .. }), "{error}");
    let error = restore(&shop.server, &record, &dump).await.unwrap_err();
    assert!(matches!(error, PostgresError::DatabaseExists { .. }), "{error}");
    assert_eq!(shop.cluster.psql("shop", "SELECT count(*) FROM events").unwrap(), "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_fails_is_the_error_that_is_told() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("pack 12345678 is corrupt"))
        }
    }
    let shop = shop("shop").await;
    let record = SnapshotDump::begin(&shop.server).await.unwrap().record().await.unwrap();
    let name = DatabaseName::new("shop");
    let beside = Beside::create(&shop.server, &name, &record.properties, NOW).await.unwrap();
    let error = beside.load(&mut Broken, Tablespaces::AsDumped).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    beside.discard().await.unwrap();
    assert_eq!(shop.server.databases().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_authentication_is_met_as_the_user_that_it_wants() {
    let options = ClusterOptions::default().authentication(Authentication::Peer);
    let cluster = Cluster::start_with(&options).unwrap();
    cluster.psql("postgres", "CREATE DATABASE shop").unwrap();
    cluster.psql("shop", SHOP).unwrap();
    let host = cluster.socket_dir();
    for text in [
        format!("host={} dbname=shop", host.display()),
        format!("host={} dbname=shop user=postgres", host.display()),
    ] {
        let conninfo = Conninfo::parse(&text, &environment()).unwrap();
        let server = Server::connect(&conninfo, &environment()).await.unwrap();
        assert_eq!(server.role(), Some("postgres"));
        let snapshot = SnapshotDump::begin(&server).await.unwrap();
        assert!(!read(snapshot.stream().unwrap()).unwrap().is_empty());
        assert_eq!(snapshot.record().await.unwrap().tables["public.customers"].rows, 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_given_to_server_and_programs() {
    let options = ClusterOptions::default()
        .listen(Listen::Loopback)
        .authentication(Authentication::Password("hunter2".to_owned()));
    let cluster = Cluster::start_with(&options).unwrap();
    let place = format!("postgresql://postgres@127.0.0.1:{}/postgres", cluster.port());
    let without = Conninfo::parse(&place, &environment()).unwrap();
    let error = Server::connect(&without, &environment()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let wrong = without.clone().with_password(lifeboat_model::Secret::new("wrong"));
    let error = Server::connect(&wrong, &environment()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let right = without.with_password(lifeboat_model::Secret::new("hunter2"));
    let server = Server::connect(&right, &environment()).await.unwrap();
    let snapshot = SnapshotDump::begin(&server).await.unwrap();
    assert!(!read(snapshot.stream().unwrap()).unwrap().is_empty());
    assert!(Globals::dump(&server).unwrap().has_passwords);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_about_itself() {
    let cluster = Cluster::start().unwrap();
    let facts = connect(&cluster, "postgres").await.unwrap().facts().await.unwrap();
    let control = cluster.psql("postgres", "SELECT system_identifier FROM pg_control_system()");
    assert_eq!(facts.system_identifier.unwrap().to_string(), control.unwrap());
    assert_eq!(facts.data_directory.as_deref(), cluster.data_dir().to_str());
    assert!(facts.lsn.is_some() && !facts.in_recovery && facts.version.major() >= 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let mut cluster = Cluster::start().unwrap();
    let error = connect(&cluster, "shop").await.unwrap_err();
    assert!(matches!(error, PostgresError::NoDatabase { .. }), "{error}");
    cluster.stop().unwrap();
    let error = connect(&cluster, "shop").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let (text, socket) = (error.to_string(), cluster.socket_dir());
    assert!(text.contains("`shop`") && text.contains(&socket.display().to_string()), "{text}");
    assert!(error.hint().unwrap().to_string().contains("start the server"));
}
