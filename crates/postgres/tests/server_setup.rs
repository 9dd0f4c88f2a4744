//! Real servers are set up and left again: killed between any two steps, and with a role that may do what a
//! backup needs and nothing else.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::collections::BTreeSet;

use lifeboat_model::SystemClock;
use lifeboat_postgres::base::Window;
use lifeboat_postgres::setup::{
    Administrator, Condition, Foreign, Found, Leaving, PushCommand, Right, STOPGAP, Script, Step,
    Taken, Wanted, WantedArchive, install, remove, rights,
};
use lifeboat_postgres::{ClientEnvironment, Conninfo, DatabaseName, Server, SnapshotDump};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, Release};
use tokio::runtime::Runtime;

const ROLE: &str = "life boat";
const HOLDER: &str = "shop/database";

struct Ground {
    cluster: Cluster,
    runtime: Runtime,
}

impl Ground {
    fn new(options: ClusterOptions) -> Self {
        let cluster = Cluster::start_with(&options.segment_size_mib(1)).unwrap();
        Self { cluster, runtime: Runtime::new().unwrap() }
    }

    fn connect(&self, role: &str) -> Server {
        let environment = ClientEnvironment::new("/usr/bin:/bin");
        let text = self.cluster.connect_string_as("postgres", role);
        let conninfo = Conninfo::parse(&text, &environment).unwrap();
        self.runtime.block_on(Server::connect(&conninfo, &environment)).unwrap()
    }

    fn admin(&self) -> Administrator {
        self.runtime.block_on(Administrator::connect(self.connect("postgres"))).unwrap()
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            role: ROLE.to_owned(),
            rights: self.rights(),
            holder: HOLDER.to_owned(),
            archive: Some(WantedArchive { command: push(), timeout_s: 60, timeout_max_s: 60 }),
            foreign: Foreign::Replace,
        }
    }

    fn rights(&self) -> BTreeSet<Right> {
        let server = self.connect("postgres");
        let name = DatabaseName::new("postgres");
        rights(server.version().major(), BOTH, &name, &name)
    }

    fn look(&self, admin: &Administrator) -> Found {
        self.runtime.block_on(admin.look(ROLE, &self.rights())).unwrap()
    }

    /// Takes steps until somebody kills us; a session of its own goes with each of us.
    fn carry_out(&self, plan: &dyn Fn(&Found) -> Script, steps_max: usize) -> usize {
        let admin = self.admin();
        let script = plan(&self.look(&admin));
        let steps: Vec<Step> = script.steps.into_iter().take(steps_max).collect();
        for step in &steps {
            self.runtime.block_on(admin.take(step)).unwrap();
        }
        steps.len()
    }

    fn install(&self, steps_max: usize) -> usize {
        self.carry_out(&|found| install(found, &self.wanted()).unwrap(), steps_max)
    }

    fn remove(&self, steps_max: usize) -> usize {
        self.carry_out(&|found| remove(found, &leaving()).unwrap().script, steps_max)
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql("postgres", sql).unwrap()
    }

    /// What setting up may change, all of it.
    fn state(&self) -> String {
        self.sql(
            "SELECT name, setting FROM pg_file_settings
             WHERE sourcefile LIKE '%auto.conf' ORDER BY name;
             SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles ORDER BY 1;
             SELECT proname, a.* FROM pg_proc, aclexplode(proacl) a
             WHERE proname LIKE 'pg_%backup%' OR proname = 'pg_switch_wal' ORDER BY 1, 3;
             SELECT datname, a.* FROM pg_database,
                 aclexplode(coalesce(datacl, acldefault('d', datdba))) a ORDER BY 1, 3, 4;
             SELECT count(*) FROM pg_auth_members",
        )
    }

    /// What is wrong, as this role tells it.
    fn problems(&self, role: &str) -> String {
        let (rights, server) = (self.rights(), self.connect(role));
        let condition = self.runtime.block_on(Condition::read(&server, &rights)).unwrap();
        let archive = self.wanted().archive.unwrap();
        let findings = condition.findings(BOTH, &rights, Some(&archive), Some(3600));
        let messages = findings.into_iter().filter_map(|finding| finding.problem);
        messages.map(|problem| problem.message).collect::<Vec<_>>().join("\n")
    }

    fn command_is(&self, command: &str) {
        self.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        self.sql("SELECT pg_reload_conf()");
    }

    fn ends_segments(&self, count: u32) {
        for _ in 0..count {
            self.sql("SELECT pg_create_restore_point('x'); SELECT pg_switch_wal()");
        }
    }

    fn wait_until(&self, what: &str) {
        let sql = format!("SELECT pg_sleep(0.05), {what} FROM pg_stat_archiver");
        assert!((0..1200).any(|_| self.sql(&sql).ends_with("|t")), "{what}");
    }

    /// Waits until files of the log are recycled as they are let go.
    fn writes_without_end(&self) {
        for _ in 0..10 {
            self.sql("CREATE TABLE churn AS SELECT generate_series(1, 20000) n; DROP TABLE churn; SELECT pg_switch_wal(); CHECKPOINT");
        }
        let waiting = "SELECT pg_sleep(0.05), count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
        for _ in 0..400 {
            if self.sql(waiting).ends_with("|0") {
                return;
            }
        }
        panic!("{} wait to be archived", self.sql(waiting));
    }
}

const BOTH: Taken = Taken { files: true, dumps: true };

fn push() -> PushCommand {
    PushCommand {
        program: "/usr/bin/lifeboat".to_owned(),
        plan: Some(r"/etc/it's a 100% \plan.toml".to_owned()),
        asset: Some("database".to_owned()),
        socket: None,
    }
}

fn leaving() -> Leaving {
    Leaving { role: ROLE.to_owned(), holder: HOLDER.to_owned(), command: Some(push()) }
}

#[test]
fn setting_up_and_leaving_survive_kills_between_any_two_steps() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release);
        let ground =
            Ground::new(options.setting("wal_level", "minimal").setting("max_wal_senders", "0"));
        ground.sql("ALTER SYSTEM SET archive_timeout = '2h'");
        let before = ground.state();
        let mut kill = 0;
        loop {
            let taken = ground.install(kill);
            ground.install(usize::MAX);
            assert_eq!(ground.install(usize::MAX), 0, "{release:?}: done is done");
            ground.remove(kill);
            ground.remove(usize::MAX);
            assert_eq!(ground.remove(usize::MAX), 0, "{release:?}: gone is gone");
            assert_eq!(ground.state(), before, "{release:?}, killed after {kill}");
            if taken < kill {
                break;
            }
            kill += 1;
        }
        assert!(kill > 5, "{kill}");
        // What is taken back before it was whole is taken back as well.
        for kill in 0..kill {
            ground.install(kill);
            ground.remove(usize::MAX);
            assert_eq!(ground.state(), before, "{release:?}, left after {kill}");
        }
    }
}

#[test]
fn a_server_that_archives_is_left_so_that_its_log_does_not_pile_up() {
    for release in Release::ALL {
        let mut ground = Ground::new(ClusterOptions::default().release(release));
        let before = ground.state();
        ground.install(usize::MAX);
        ground.cluster.restart().unwrap();
        assert_eq!(ground.sql("SHOW archive_mode"), "on");
        assert_eq!(ground.sql("SHOW archive_command"), push().text());
        // Killed after the first step, which is the one that lets go of the log.
        ground.remove(1);
        assert_eq!(ground.sql("SELECT pg_reload_conf(), pg_sleep(0.2)"), "t|");
        assert_eq!(ground.sql("SHOW archive_command"), STOPGAP);
        ground.remove(usize::MAX);
        assert_eq!(ground.remove(usize::MAX), 0);
        ground.writes_without_end();
        // The role cannot be used meanwhile, and what was before is still known.
        assert_eq!(
            ground.sql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{ROLE}'")),
            "f"
        );
        ground.cluster.restart().unwrap();
        assert_eq!(ground.sql("SHOW archive_mode"), "off");
        ground.remove(usize::MAX);
        assert_eq!(ground.state(), before, "{release:?}");
        ground.writes_without_end();
    }
}

/// Does all that a backup asks of a server.
fn works(ground: &Ground) -> Result<(), String> {
    let environment = ClientEnvironment::new("/usr/bin:/bin");
    let text = ground.cluster.connect_string_as("postgres", ROLE);
    let conninfo = Conninfo::parse(&text, &environment).unwrap();
    let said = |error: &dyn std::fmt::Display| error.to_string();
    ground.runtime.block_on(async {
        let server = Server::connect(&conninfo, &environment).await.map_err(|e| said(&e))?;
        let window =
            Window::open(&server, "lifeboat test", &SystemClock).await.map_err(|e| said(&e))?;
        window.end_first_segment().await.map_err(|e| said(&e))?;
        window.stop().await.map_err(|e| said(&e))?;
        let dump = SnapshotDump::begin(&server).await.map_err(|e| said(&e))?;
        let record = dump.record().await.map_err(|e| said(&e))?;
        assert_eq!(record.total_rows(), 2, "a policy hid a row");
        Ok(())
    })
}

#[test]
fn each_right_of_the_role_is_needed_and_together_they_suffice_to_read_and_not_to_write() {
    for release in Release::ALL {
        let ground = Ground::new(ClusterOptions::default().release(release));
        ground.sql(
            "CREATE TABLE secret (n int); INSERT INTO secret VALUES (1), (2);
             ALTER TABLE secret ENABLE ROW LEVEL SECURITY; REVOKE ALL ON secret FROM PUBLIC;
             REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
        );
        ground.install(usize::MAX);
        assert_eq!(works(&ground), Ok(()), "{release:?}");
        let rights = ground.rights();
        for right in &rights {
            ground.sql(&right.revoke(ROLE));
            assert!(works(&ground).is_err(), "{release:?}: {right} is not needed");
            let found = ground.look(&ground.admin());
            assert!(!found.role.unwrap().held.contains(right), "{right}");
            ground.install(usize::MAX);
        }
        assert_eq!(works(&ground), Ok(()), "{release:?}");
        for sql in [
            "INSERT INTO secret VALUES (3)",
            "DELETE FROM secret",
            "CREATE TABLE public.mine (n int)",
            "CREATE SCHEMA mine",
            "ALTER SYSTEM SET archive_command = ''",
            "SELECT pg_reload_conf()",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT pg_promote()",
            "SELECT pg_create_restore_point('mine')",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
            "COPY secret TO PROGRAM 'cat'",
            "CREATE ROLE mine",
            "SET ROLE postgres",
        ] {
            let mut psql = ground.cluster.command("psql");
            psql.env("PGUSER", ROLE).env("PGDATABASE", "postgres").args(["-XAtq", "-c", sql]);
            let output = psql.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("denied") || said.contains("must be"), "{sql}: {said}");
        }
    }
}

#[test]
fn what_a_server_lacks_is_found_and_goes_when_it_is_set_up() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release);
        let options = options.setting("wal_level", "minimal").setting("max_wal_senders", "0");
        let mut ground = Ground::new(options);
        ground.sql("CREATE UNLOGGED TABLE lost (n int)");
        let found = ground.problems("postgres");
        for word in [
            "is a superuser",
            "wal_level is minimal",
            "archive_mode is off",
            "archive_command keeps nothing",
            "archive_timeout is 0",
            "full_page_writes is off",
            "1 unlogged tables",
        ] {
            assert!(found.contains(word), "{release:?}: no `{word}` in\n{found}");
        }
        ground.install(usize::MAX);
        let found = ground.problems(ROLE);
        assert!(found.contains("archive_mode is off until the server is started again"), "{found}");
        ground.cluster.restart().unwrap();
        ground.sql("DROP TABLE lost; ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(), pg_sleep(0.2)");
        let rest = ground.problems(ROLE);
        let rest: Vec<_> = rest.lines().filter(|line| !line.contains("data_checksums")).collect();
        assert_eq!(rest, Vec::<&str>::new(), "{release:?}");
        // Each right that is taken away is named.
        ground.sql(&format!("REVOKE pg_read_all_data FROM \"{ROLE}\""));
        assert!(ground.problems(ROLE).contains("lacks pg_read_all_data"));
        // An object that no right covers, and a slot that keeps the log.
        ground.install(usize::MAX);
        ground.sql(
            "SELECT lo_create(0);
             SELECT pg_create_physical_replication_slot('idle')",
        );
        let found = ground.problems(ROLE);
        assert!(found.contains("may not read 1 large objects"), "{found}");
        assert!(found.contains("1 replication slots keep the log"), "{found}");
    }
}

#[test]
fn an_archiver_that_fails_is_found_and_one_that_cannot_even_count_it() {
    let options = ClusterOptions::default().setting("archive_mode", "on");
    let ground = Ground::new(options);
    ground.command_is("true");
    ground.ends_segments(1);
    ground.wait_until("last_archived_wal IS NOT NULL");
    // A program that is gone ends the archiver, which counts nothing; what waits tells.
    ground.command_is("/nowhere/lifeboat wal push %p");
    ground.ends_segments(12);
    let found = ground.problems("postgres");
    assert!(found.contains("wait to be archived, and no failure was counted"), "{found}");
    ground.command_is("exit 1");
    ground.wait_until("failed_count > 0");
    assert!(ground.problems("postgres").contains("could not be archived at"));
}

#[test]
fn what_the_role_owns_is_not_dropped_and_what_it_was_granted_elsewhere_is() {
    let ground = Ground::new(ClusterOptions::default());
    ground.cluster.create_database("other").unwrap();
    ground.install(usize::MAX);
    ground.sql(&format!("CREATE TABLE kept (n int); ALTER TABLE kept OWNER TO \"{ROLE}\""));
    ground
        .cluster
        .psql("other", &format!("CREATE TABLE t (n int); GRANT SELECT ON t TO \"{ROLE}\""))
        .unwrap();
    let removal = remove(&ground.look(&ground.admin()), &leaving()).unwrap();
    let remarks = removal.script.remarks.join("\n");
    assert!(remarks.contains("owns 1 object in postgres"), "{remarks}");
    ground.remove(usize::MAX);
    assert_eq!(ground.sql("SELECT count(*) FROM kept"), "0");
    ground.sql("DROP TABLE kept");
    ground.install(usize::MAX);
    // It was there this time, so it stays; made anew, it goes with its grants in the other database.
    ground.remove(usize::MAX);
    let there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{ROLE}'");
    assert_eq!(ground.sql(&there), "1");
    ground.cluster.psql("other", &format!("DROP OWNED BY \"{ROLE}\"")).unwrap();
    ground.sql(&format!("DROP OWNED BY \"{ROLE}\"; DROP ROLE \"{ROLE}\""));
    ground.install(usize::MAX);
    ground.cluster.psql("other", &format!("GRANT SELECT ON t TO \"{ROLE}\"")).unwrap();
    ground.remove(usize::MAX);
    assert_eq!(ground.sql(&there), "0");
}
