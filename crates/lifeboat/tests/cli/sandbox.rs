//! The past is asked in a sandbox, and what runs there tries to get out.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lifeboat_testing::postgres::{Cluster, ClusterOptions, Listen, Release};
use nix::unistd::{User, geteuid};
use serde_json::{Value, json};

use crate::ownership::{give_away, write};
use crate::recovery::Shop;

/// How often something is looked for that has to happen; each look takes the twentieth of a second.
const LOOKS_MAX: u32 = 400;

impl Shop {
    fn ask(&self, at: &str, sql: &str) -> Value {
        self.done(&["query", "database", "--at", at, "--sql", sql])["results"].take()
    }

    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let all = [&["query", "database", "--at", "latest"], arguments].concat();
        let output = self.run(&all);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Returns what sandboxes left, which should be nothing.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at("cache/lifeboat/shop/sandboxes"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until something is so.
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so() {
                return;
            }
            self.sql("SELECT pg_sleep(0.05)");
        }
        panic!("it is never so: {what}");
    }

    /// Lists the processes of sandboxes by their command lines.
    fn processes(&self) -> Vec<String> {
        let folder = self.at("cache/lifeboat/shop/sandboxes").display().to_string();
        let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&folder)).collect()
    }

    /// Starts a query that takes long, and waits until its server answers.
    fn start_long_query(&self, command: &mut Command) -> Child {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.wait_until("a server sleeps", || {
            let folder = fs::read_dir(self.at("cache/lifeboat/shop/sandboxes"));
            let mut entries = folder.into_iter().flatten().flatten();
            let socket = entries.find_map(|entry| {
                let socket = entry.path().join("socket");
                socket.join(".s.PGSQL.5432").exists().then_some(socket)
            });
            let Some(socket) = socket else { return false };
            let mut psql = self.cluster.command("psql");
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            let asked =
                psql.env("PGHOST", socket).env("PGPORT", "5432").args(["-Atc", sql]).output();
            asked.unwrap().stdout == b"1\n"
        });
        child
    }

    fn long_query(&self) -> Command {
        let mut command = self.command();
        command.args(["query", "database", "--at", "latest", "--sql", "SELECT pg_sleep(1000)"]);
        command
    }
}

#[test]
fn the_past_is_asked_before_and_after_a_delete() {
    for release in Release::ALL {
        let shop = Shop::new(release);
        shop.back_up();
        let ledger = shop.commit_rows(1..=5);
        shop.sql("DELETE FROM ledger WHERE n < 4");
        let after = shop.commit(6);
        shop.commit(7);
        shop.archive_all();
        // Several statements, NULL, and an empty text.
        let sums = "SELECT count(*), sum(n) FROM ledger";
        let sql = format!("{sums}; SELECT NULL AS a, '' AS b; SHOW transaction_read_only");
        let said = shop.ask(&ledger[4].1, &sql);
        assert_eq!(said[0]["rows"], json!([["5", "15"]]), "{release:?}");
        assert_eq!(
            (&said[1]["columns"], &said[1]["rows"]),
            (&json!(["a", "b"]), &json!([[null, ""]]))
        );
        assert_eq!(said[2]["rows"], json!([["on"]]));
        let arguments = ["query", "database", "--at", &after, "--format", "csv", "--sql"];
        let sql = "SELECT NULL AS a, '' AS b, n FROM ledger ORDER BY n";
        let output = shop.run(&[&arguments[..], &[sql]].concat());
        assert_eq!(output.stdout, b"a,b,n\n,\"\",4\n,\"\",5\n,\"\",6\n", "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("by the base backup of") && told.contains("asked in"), "{told}");
        // A table comes out, and stock psql loads it.
        let file = shop.at("ledger.sql");
        let dump = ["query", "database", "--at", "latest", "--dump", "ledger", "--output"];
        let answer = shop.done(&[&dump[..], &[file.to_str().unwrap()]].concat());
        assert_eq!(answer["has_definition"], release == Release::System, "{answer:#}");
        shop.cluster.create_database("loaded").unwrap();
        let load = |sql: &str| shop.cluster.psql("loaded", sql).unwrap();
        if release == Release::Eighteen {
            load("CREATE TABLE ledger (n int PRIMARY KEY, note text)");
        }
        load(&fs::read_to_string(&file).unwrap());
        assert_eq!(load(&sums.replace("ledger", "public.ledger")), "4|22");
        assert_eq!(shop.left(), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_is_asked_wrongly_is_explained_and_leaves_nothing() {
    let shop = Shop::new(Release::System);
    shop.commit_rows(1..=3);
    shop.back_up();
    let (code, text) = shop.refused(&["--sql", "SELECT 1;\nSELECT wrong FROM ledger"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("column \"wrong\" does not exist") && text.contains("2:8: SELECT wrong"),
        "{text}"
    );
    let sql = "DELETE FROM ledger WHERE n = 1; SELECT count(*) FROM ledger";
    let said = shop.done(&["query", "database", "--at", "latest", "--write", "--sql", sql]);
    assert_eq!(said["results"][1]["rows"], json!([["2"]]));
    assert_eq!(said["results"][0]["count"], 1);
    assert_eq!(shop.sql("SELECT count(*) FROM ledger"), "3");
    let (code, text) = shop.refused(&["--dump", "absent"]);
    assert!(code != 0 && text.contains("absent"), "{text}");
    let there = shop.at("there");
    write(&there, "mine", 0o644);
    let (code, text) = shop.refused(&["--dump", "ledger", "--output", there.to_str().unwrap()]);
    assert!(code != 0 && text.contains("remove it first"), "{text}");
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    let (code, text) =
        shop.refused(&["--sql", "SELECT 1", "--scratch", &format!("/tmp/{}", "x".repeat(90))]);
    assert!(code == 2 && text.contains("--scratch"), "{text}");
    drop(fs::remove_dir(format!("/tmp/{}", "x".repeat(90))));
    let mut psql = shop.command();
    psql.args(["query", "database", "--at", "latest", "--psql"]).stdin(Stdio::piped());
    psql.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = psql.spawn().unwrap();
    let sql = b"DELETE FROM ledger;\nSELECT 'rows: ' || count(*) FROM ledger;\n\\set ON_ERROR_STOP 1\nSELECT wrong;\n";
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), sql).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("rows: 3"), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("read-only transaction"),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(3), "as psql ended");
    let mut without = shop.command();
    without.env("PATH", "/nowhere").args(["query", "database", "--at", "latest", "--psql"]);
    let output = without.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("psql was not found"), "{output:?}");
    assert_eq!(shop.left(), Vec::<PathBuf>::new());
}

/// What somebody tries who has any SQL on a server at his disposal.
struct Attempts {
    folder: PathBuf,
    tcp: TcpListener,
    unix: Vec<UnixListener>,
    shop: Shop,
}

impl Attempts {
    fn new(release: Release) -> Self {
        let options = ClusterOptions::default()
            .release(release)
            .listen(Listen::Loopback)
            .setting("shared_preload_libraries", "pg_prewarm,pg_stat_statements");
        let shop = Shop::with(options);
        let folder = shop.at("outside");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        write(&folder.join("secret"), "secret", 0o644);
        let name = SocketAddr::from_abstract_name(folder.to_str().unwrap()).unwrap();
        let mut unix = vec![UnixListener::bind_addr(&name).unwrap()];
        unix.push(UnixListener::bind(folder.join("socket")).unwrap());
        fs::set_permissions(folder.join("socket"), fs::Permissions::from_mode(0o666)).unwrap();
        for listener in &unix {
            listener.set_nonblocking(true).unwrap();
        }
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        Self { folder, tcp, unix, shop }
    }

    /// Returns SQL that tries, and says `got` or `no` of each attempt.
    fn sql(&self) -> String {
        let Self { folder, tcp, shop, .. } = self;
        let port = tcp.local_addr().unwrap().port();
        let (data, home) = (shop.cluster.data_dir(), folder.display());
        let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        let connect =
            "perl -MIO::Socket::UNIX -e \"IO::Socket::UNIX->new(Peer => shift) or exit 1\"";
        let named = "perl -MSocket -e \"socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un(chr(0) . shift)) or exit 1\"";
        let production =
            format!("{}/.s.PGSQL.{}", shop.cluster.socket_dir().display(), shop.cluster.port());
        let script = format!(
            "try() {{ n=$1; shift; if \"$@\" >/dev/null 2>&1; then echo got $n; else echo no $n; fi; }}
             try tcp bash -c \"exec 3<>/dev/tcp/127.0.0.1/{port}\"
             try interface grep -q lo: /proc/net/dev
             try unix {connect} {home}/socket
             try abstract {named} {home}
             try production {connect} {production}
             try read cat {home}/secret
             try plan cat {home}/../plan.toml
             try data cat {data}/PG_VERSION
             try write touch {home}/touched
             try kill kill -0 {pid}
             try list ls /proc/{pid}
             try etc cat /etc/shells",
            data = data.display(),
        );
        let dblink = |name: &str, place: &str| {
            let connect = format!(
                "{place} port={} user=postgres dbname=postgres connect_timeout=3",
                shop.cluster.port()
            );
            format!(
                "DO $x$ BEGIN PERFORM dblink_connect('{connect}'); INSERT INTO said VALUES ('got {name}');
                 EXCEPTION WHEN OTHERS THEN INSERT INTO said VALUES ('no {name}'); END $x$;"
            )
        };
        format!(
            "CREATE TEMP TABLE said (line text);
             COPY said FROM PROGRAM $p${script}$p$;
             CREATE EXTENSION IF NOT EXISTS dblink; {} {}
             SELECT line FROM said ORDER BY line",
            dblink("dblink-tcp", "host=127.0.0.1"),
            dblink("dblink-unix", &format!("host={}", shop.cluster.socket_dir().display())),
        )
    }

    /// Counts who knocked.
    fn knocks(&self) -> usize {
        let mut knocks = 0;
        while self.tcp.accept().is_ok() {
            knocks += 1;
        }
        for listener in &self.unix {
            while listener
                .accept()
                .map_err(|error| assert_eq!(error.kind(), ErrorKind::WouldBlock))
                .is_ok()
            {
                knocks += 1;
            }
        }
        knocks
    }
}

#[test]
fn a_superuser_in_a_sandbox_reaches_nothing_that_one_outside_reaches() {
    for release in Release::ALL {
        let attempts = Attempts::new(release);
        let shop = &attempts.shop;
        shop.back_up();
        let space = shop.cluster.make_directory("space").unwrap();
        shop.sql(&format!("CREATE TABLESPACE later LOCATION '{}'", space.display()));
        shop.sql("CREATE TABLE placed TABLESPACE later AS SELECT generate_series(1, 1000) AS n");
        shop.archive_all();
        let sql = attempts.sql();
        // The very same words reach everything where there is no sandbox.
        let outside = shop.sql(&sql);
        let names: Vec<_> = outside.lines().map(|line| line.replace("got ", "")).collect();
        assert!(
            outside.lines().all(|line| line.starts_with("got ")) && names.len() == 14,
            "{outside}"
        );
        assert!(attempts.knocks() == 3 && attempts.folder.join("touched").exists());
        fs::remove_file(attempts.folder.join("touched")).unwrap();
        let before = listing(&space);
        let arguments = ["query", "database", "--at", "latest", "--write", "--sql", &sql];
        let answer = shop.done(&arguments);
        let results = answer["results"].as_array().unwrap();
        let said: Vec<_> = results.last().unwrap()["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[0].as_str().unwrap().to_owned())
            .collect();
        let nothing: Vec<_> = names.iter().map(|name| format!("no {name}")).collect();
        assert_eq!(said, nothing, "{release:?}: {answer:#}");
        assert_eq!((attempts.knocks(), attempts.folder.join("touched").exists()), (0, false));
        assert_eq!(answer["isolation"]["level"], "namespaces");
        // What does things by itself is not loaded, all else is.
        assert_eq!(answer["libraries_left_out"], json!(["pg_prewarm"]));
        let libraries = "SHOW shared_preload_libraries";
        assert_eq!(shop.sql(libraries), "pg_prewarm,pg_stat_statements");
        let sql = format!("{libraries}; SHOW archive_mode; SELECT sum(n) FROM placed");
        let said = shop.ask("latest", &sql);
        let values: Vec<_> = said
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["rows"][0][0].as_str().unwrap())
            .collect();
        assert_eq!(values, ["pg_stat_statements", "off", "500500"]);
        assert_eq!(listing(&space), before, "a tablespace of production was written to");
    }
}

/// Lists what lies in a directory, with its size and when it was changed.
fn listing(folder: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        found.push((path.clone(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_subscription_does_not_come_to_life() {
    let publisher = Cluster::start_with(
        &ClusterOptions::default().setting("wal_level", "logical").setting("log_connections", "on"),
    )
    .unwrap();
    publisher
        .psql(
            "postgres",
            "CREATE TABLE news (n int PRIMARY KEY); CREATE PUBLICATION news FOR TABLE news",
        )
        .unwrap();
    let mut shop = Shop::new(Release::System);
    let connection = publisher.connect_string("postgres").replace('\'', "''");
    shop.sql("CREATE TABLE news (n int PRIMARY KEY)");
    shop.back_up();
    shop.sql(&format!("CREATE SUBSCRIPTION news CONNECTION '{connection}' PUBLICATION news"));
    publisher.psql("postgres", "INSERT INTO news VALUES (1)").unwrap();
    shop.wait_until("the row is there", || shop.sql("SELECT count(*) FROM news") == "1");
    shop.archive_all();
    shop.cluster.stop().unwrap();
    let connections =
        || fs::read_to_string(publisher.log()).unwrap().matches("replication").count();
    let before = connections();
    assert!(before > 0, "the publisher did not see who subscribed while the server ran");
    let sql = "SELECT subenabled FROM pg_subscription; SHOW max_logical_replication_workers;
               SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'";
    let arguments = ["query", "database", "--at", "latest", "--write", "--sql", sql];
    let said = shop.done(&arguments);
    assert_eq!(
        (&said["results"][0]["rows"], &said["results"][2]["rows"]),
        (&json!([["t"]]), &json!([["0"]]))
    );
    assert_eq!(connections(), before);
    // Nor does that of a server which was restored beside production and takes changes.
    let recovered = shop.recover("latest", "beside", &[]);
    assert_eq!(recovered.sql("SELECT subenabled FROM pg_subscription"), "t");
    assert_eq!(recovered.sql("SHOW max_logical_replication_workers"), "0");
    assert_eq!(connections(), before);
}

#[test]
fn nothing_runs_any_more_when_lifeboat_is_killed() {
    let shop = Shop::new(Release::System);
    shop.commit(1);
    shop.back_up();
    let mut child = shop.start_long_query(&mut shop.long_query());
    assert!(!shop.processes().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    shop.wait_until("nothing runs", || shop.processes().is_empty());
    assert!(!shop.left().is_empty(), "nobody was left to remove the files");
    // Ctrl-C is heard, and what the killed one left is swept away.
    let mut child = shop.start_long_query(&mut shop.long_query());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!((shop.processes(), shop.left()), (Vec::new(), Vec::new()));
}

/// Has a command run as the user whose the server is, who has no privileges.
fn as_server_user(command: &mut Command) -> &mut Command {
    match (geteuid().is_root(), User::from_name("postgres")) {
        (true, Ok(Some(user))) => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
        _ => command,
    }
}

#[test]
fn without_privileges_there_is_a_sandbox_too_and_a_weaker_one_is_told_of() {
    let shop = Shop::new(Release::System);
    shop.commit(1);
    shop.back_up();
    give_away(&shop.at(""));
    let ask = |words: &[&str], more: &[&str]| {
        let inner = shop.command();
        let mut command =
            Command::new(words.first().map_or(inner.get_program(), |word| OsStr::new(word)));
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let [_, words @ ..] = words {
            command.args(words).arg(inner.get_program());
        }
        command
            .args(inner.get_args())
            .args(["query", "database", "--at", "latest", "--json"])
            .args(more);
        command
    };
    // Whose key it is may read it, but not from inside.
    let key = shop.at("recovery.key").display().to_string();
    assert!(as_server_user(Command::new("cat").arg(&key)).output().unwrap().status.success());
    let sql = format!("COPY (SELECT 1) TO PROGRAM 'cat'; COPY (SELECT 1) TO PROGRAM 'cat - {key}'");
    let output = as_server_user(&mut ask(&[], &["--sql", &sql])).output().unwrap();
    let refused = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(refused.contains("recovery.key") && refused.contains("exit code 1"), "{output:?}");
    let sql = ["--sql", "SELECT count(*) FROM ledger"];
    let output = as_server_user(&mut ask(&[], &sql)).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["isolation"]["level"], &answer["results"][0]["rows"]),
        (&json!("namespaces"), &json!([["1"]]))
    );
    // Where nobody may have a network of his own.
    let none = "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$@\"";
    let words = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", none, "sh"];
    let output = as_server_user(&mut ask(&words, &sql)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("gives no namespaces") && text.contains("--weak"), "{output:?}");
    let weak = [&sql[..], &["--weak"]].concat();
    let output = as_server_user(&mut ask(&words, &weak)).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["isolation"]["level"], "settings-only", "{answer:#}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("could get out"), "{output:?}");
    assert_eq!(answer["results"][0]["rows"], json!([["1"]]));
    let long = ["--sql", "SELECT pg_sleep(1000)", "--weak"];
    let mut child = shop.start_long_query(as_server_user(&mut ask(&words, &long)));
    child.kill().unwrap();
    child.wait().unwrap();
    shop.wait_until("nothing runs", || shop.processes().is_empty());
}
