//! Restore tests bring a real server and real files back, ask the plan's checks of them, and leave nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use lifeboat_testing::postgres::Release;
use serde_json::Value;

use crate::ownership::write;
use crate::recovery::Shop;

const TABLES: &str = "
    CREATE TABLE people (avatar text);
    INSERT INTO people VALUES ('a.png'), ('b.png'), (NULL);
    CREATE ROLE app LOGIN; GRANT SELECT ON people TO app";

/// What the shops of these tests have beside their server.
const PLAN: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[checks.people]
sql = "SELECT count(*) FROM people"
role = "app"
expect = "> 0"
[checks.avatars]
sql = "SELECT avatar FROM people"
files_in = "media"
[checks.there]
files = "media"
exist = ["b.png", "HOME/media/b.png"]
count = "= 2"
[checks.counted]
command = ["psql", "--no-psqlrc", "-Atc", "SELECT count(*) FROM people"]
expect = "= 3"
[checks.beside]
command = ["test", "-f", "{{ target.directory }}/mediaHOME/media/b.png"]
[checks.name]
dns = "localhost"
[checks.other_name]
dns = "localhost"
resolves_to = ["192.0.2.1"]
[checks.site]
http = "http://{{ target.host }}/health"
[checks.port]
tcp = "{{ target.host }}:443"
[checks.mail]
smtp = { send = ["true"] }
[checks.empty]
sql = "SELECT count(*) FROM people WHERE avatar = 'lost'"
expect = "= 0"
[checks.slow]
sql = "SELECT pg_sleep(1000)"
[restore_tests.data]
cron = "0 5 * * SUN"
assets = ["database", "media"]
checks = ["people", "avatars", "there", "counted", "beside", "name"]
[restore_tests.more]
cron = "0 5 * * SUN"
assets = ["database"]
checks = ["people", "site", "port", "mail", "there"]
[restore_tests.names]
cron = "0 5 * * SUN"
assets = ["media"]
checks = ["other_name"]
[restore_tests.weak]
cron = "0 5 * * SUN"
assets = ["database"]
checks = ["empty"]
[restore_tests.alone]
cron = "0 5 * * SUN"
assets = ["database"]
at = "random"
checks = ["people"]
[restore_tests.slow]
cron = "0 5 * * SUN"
assets = ["database", "media"]
checks = ["slow"]
"#;

/// A seed that tries no damage by itself.
const SEED: &str = "3";

fn shop() -> Shop {
    shop_of("physical", "")
}

/// Makes a shop whose server is backed up in one way or the other, and holds something more.
fn shop_of(base: &str, more: &str) -> Shop {
    let shop = Shop::new(Release::System);
    shop.sql(&format!("{TABLES}; {more}"));
    fs::create_dir(shop.at("media")).unwrap();
    write(&shop.at("media/a.png"), "a", 0o644);
    write(&shop.at("media/b.png"), "b", 0o644);
    let home = shop.home().display().to_string();
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let plan = plan.replace("assets = [\"database\"]", "assets = [\"*\"]");
    let plan = plan.replace("base = \"physical\"", &format!("base = \"{base}\""));
    let is_archived = |line: &&str| base != "logical" || !line.contains("wal = ");
    let plan = plan.lines().filter(is_archived).collect::<Vec<_>>().join("\n") + "\n";
    write(&shop.at("plan.toml"), &format!("{plan}{}", PLAN.replace("HOME", &home)), 0o644);
    shop.done(&["backup"]);
    shop
}

impl Shop {
    /// Runs a restore test; returns how the command ended and what the test showed.
    fn test(&self, name: &str, more: &[&str]) -> (i32, Value) {
        let arguments = [&["test", name, "--json", "--seed", SEED], more].concat();
        let output = self.run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&output.stderr);
        let answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{complaints}"));
        assert_eq!(answer["schema"], "lifeboat.test/1", "{answer:#}");
        (output.status.code().unwrap(), answer["tests"][0].clone())
    }

    fn in_sandboxes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at("cache/lifeboat/shop/sandboxes"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    fn tests_recorded(&self) -> usize {
        let list = self.done(&["catalog", "list", "--kind", "restore-tested"]);
        list["records"].as_array().unwrap().len()
    }
}

/// What each check of the plan showed, with its words.
fn shown(test: &Value) -> Vec<(String, String, String)> {
    let checks = test["checks"].as_array().unwrap_or_else(|| panic!("{test:#}"));
    let one = |check: &Value| {
        let name = check["name"].as_str().unwrap().trim_start_matches("check ").to_owned();
        let outcome = check["outcome"].as_str().unwrap().to_owned();
        (name, outcome, format!("{} {}", check["message"], check["findings"]))
    };
    checks.iter().map(one).collect()
}

fn outcome_of(test: &Value, name: &str) -> (String, String) {
    let found = shown(test).into_iter().find(|(check, _, _)| check == name);
    let (_, outcome, said) = found.unwrap_or_else(|| panic!("{name}: {test:#}"));
    (outcome, said)
}

#[test]
fn what_comes_back_passes_every_check_and_damage_is_noticed() {
    let shop = shop();
    let (exit, test) = shop.test("data", &["--negative-control"]);
    assert_eq!((exit, &test["outcome"]), (0, &"passed".into()), "{test:#}");
    let passed = |(name, outcome, _): (String, String, String)| {
        assert_eq!(outcome, "passed", "{name}: {test:#}");
        name
    };
    let names: Vec<_> = shown(&test).into_iter().map(passed).collect();
    assert_eq!(names, ["people", "avatars", "there", "counted", "beside", "name"]);
    assert_eq!(test["control"]["outcome"], "passed", "{test:#}");
    for phase in ["fetch", "restore", "replay", "check", "teardown"] {
        assert!(test["phases_ms"][phase].is_u64(), "{phase}: {test:#}");
    }
    assert!(test["own_ms"].is_u64(), "what it cost beside the restore is told: {test:#}");
    assert_eq!(shop.in_sandboxes(), Vec::<PathBuf>::new());
    assert_eq!(shop.tests_recorded(), 1);
    let point = shop.done(&["points"])["points"][0].take();
    assert_eq!(point["heights"]["primary"]["rung"], "proven", "{point:#}");
    assert_eq!(point["heights"]["primary"]["doubt"], Value::Null, "{point:#}");
}

#[test]
fn each_sort_of_check_fails_on_what_it_asks() {
    let shop = shop();
    shop.sql("REVOKE SELECT ON people FROM app; INSERT INTO people VALUES ('c.png')");
    fs::remove_file(shop.at("media/b.png")).unwrap();
    write(&shop.at("media/orphan.png"), "o", 0o644);
    write(&shop.at("media/second.png"), "o", 0o644);
    shop.done(&["backup"]);
    let (exit, test) = shop.test("data", &[]);
    assert_eq!((exit, &test["outcome"]), (1, &"failed".into()), "{test:#}");
    for (name, words) in [
        ("people", &["permission denied"][..]),
        ("avatars", &["b.png is missing", "c.png is missing", "orphan.png is named by no row"]),
        ("there", &["b.png is missing", "there are 3 files"]),
        ("counted", &["it is 4, expected = 3"]),
        ("beside", &["exit code 1"]),
    ] {
        let (outcome, said) = outcome_of(&test, name);
        assert_eq!(outcome, "failed", "{name}: {test:#}");
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
    }
    assert_eq!(outcome_of(&test, "name").0, "passed");
    let (exit, test) = shop.test("names", &[]);
    assert_eq!((exit, outcome_of(&test, "other_name").0.as_str()), (1, "failed"), "{test:#}");
    let point = shop.done(&["points"])["points"][0].take();
    assert_eq!(point["heights"]["primary"]["rung"], "restored", "{point:#}");
    assert_eq!(point["heights"]["primary"]["doubt"]["outcome"], "failed", "{point:#}");
    let status = shop.done(&["status"]);
    let risks = status["risks"].to_string();
    assert!(risks.contains("failed its restore test `data`"), "{status:#}");
    assert_eq!(status["verdict"], "no");
}

#[test]
fn what_cannot_be_asked_of_data_alone_could_not_be_verified() {
    let shop = shop();
    let (exit, test) = shop.test("more", &[]);
    assert_eq!((exit, &test["outcome"]), (4, &"could-not-verify".into()), "{test:#}");
    assert_eq!(outcome_of(&test, "people").0, "passed");
    for (name, word) in [
        ("site", "starts no service"),
        ("port", "starts no service"),
        ("mail", "starts no service"),
        ("there", "`media` is not in this test"),
    ] {
        let (outcome, said) = outcome_of(&test, name);
        assert_eq!(outcome, "could-not-verify", "{name}: {test:#}");
        assert!(said.contains(word), "{name}: {said}");
    }
    // A row that came after the files were taken names one that may have come after, too.
    shop.sql("INSERT INTO people VALUES ('later.png')");
    let after = shop.commit(1);
    shop.commit(2);
    shop.archive_all();
    let (_, test) = shop.test("data", &["--at", &after]);
    let (outcome, said) = outcome_of(&test, "avatars");
    assert_eq!(outcome, "could-not-verify", "{test:#}");
    assert!(said.contains("later.png is missing") && said.contains("may be newer"), "{said}");
}

#[test]
fn a_test_that_passes_on_an_empty_database_is_worth_nothing() {
    let shop = shop();
    let (exit, test) = shop.test("weak", &[]);
    assert_eq!((exit, &test["outcome"]), (0, &"passed".into()), "{test:#}");
    let (exit, test) = shop.test("weak", &["--negative-control"]);
    assert_eq!((exit, &test["outcome"]), (1, &"failed".into()), "{test:#}");
    assert_eq!(test["control"]["damage"], "all rows of its tables were removed");
    let said = test["control"]["message"].as_str().unwrap();
    assert!(said.contains("proves nothing"), "{said}");
    // The tier has all of it still.
    let (exit, test) = shop.test("data", &[]);
    assert_eq!((exit, &test["outcome"]), (0, &"passed".into()), "{test:#}");
}

#[test]
fn a_seed_draws_the_same_second_again() {
    let shop = shop();
    shop.commit(1);
    shop.sql("SELECT pg_sleep(3)");
    let last = shop.commit(2);
    shop.archive_all();
    let moment = || {
        let (exit, test) = shop.test("alone", &[]);
        assert_eq!(exit, 0, "{test:#}");
        test["moment"].as_str().unwrap_or_else(|| panic!("{test:#}")).to_owned()
    };
    let moments = [moment(), moment()];
    assert_eq!(moments[0], moments[1]);
    assert!(moments[0] <= last, "{moments:?} {last}");
}

#[test]
fn nothing_is_left_of_a_test_that_is_killed() {
    let shop = shop();
    let mut command = shop.command();
    command.args(["test", "slow"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let is_asked = || {
        let files = shop.in_sandboxes().into_iter().find_map(|place| {
            let socket = place.join("socket/.s.PGSQL.5432");
            socket.exists().then_some(socket)
        });
        files.is_some()
    };
    for _ in 0..400 {
        if is_asked() {
            break;
        }
        shop.sql("SELECT pg_sleep(0.05)");
    }
    assert!(is_asked(), "its server never came up");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!shop.in_sandboxes().is_empty());
    assert_eq!(shop.tests_recorded(), 0, "a record comes after everything is gone");
    let (exit, test) = shop.test("names", &[]);
    assert_eq!(exit, 1, "{test:#}");
    assert_eq!(shop.in_sandboxes(), Vec::<PathBuf>::new());
    assert_eq!(shop.tests_recorded(), 1);
}

/// What of a test's asset is told beside it.
fn database_of(test: &Value) -> &Value {
    let mut assets = test["assets"].as_array().unwrap().iter();
    assets.find(|asset| asset["asset"] == "database").unwrap_or_else(|| panic!("{test:#}"))
}

#[test]
fn a_dump_that_is_all_there_is_of_a_database_is_loaded_and_asked() {
    let shop = shop_of("logical", "CREATE TABLE more AS SELECT generate_series(1, 500) AS n");
    let (exit, test) = shop.test("data", &["--negative-control"]);
    assert_eq!((exit, &test["outcome"]), (0, &"passed".into()), "{test:#}");
    let dump = &database_of(&test)["dump"];
    assert_eq!(dump["outcome"], "passed", "{test:#}");
    assert!(dump["message"].as_str().unwrap().contains("3 tables with 503 rows"), "{dump}");
    assert_eq!(database_of(&test)["isolation"]["level"], "namespaces", "{test:#}");
    for name in ["people", "avatars", "counted"] {
        assert_eq!(outcome_of(&test, name).0, "passed", "{test:#}");
    }
    assert_eq!(test["control"]["outcome"], "passed", "{test:#}");
    assert!(test["phases_ms"]["load"].is_u64(), "{test:#}");
    assert_eq!(test["phases_ms"]["replay"], Value::Null, "{test:#}");
    assert_eq!(shop.in_sandboxes(), Vec::<PathBuf>::new());
    let point = shop.done(&["points"])["points"][0].take();
    assert_eq!(point["heights"]["primary"]["rung"], "proven", "{point:#}");
    let told = shop.run(&["test", "data", "--seed", SEED]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("dump of database") && told.contains("dumps loaded in"), "{told}");
}

/// Rows that can be dumped and, since what is asked of them looks for a table without its schema, not be loaded again.
const CANNOT_BE_LOADED: &str = "
    CREATE TABLE zoo (n int); INSERT INTO zoo VALUES (1);
    CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM zoo WHERE zoo.n = $1)';
    CREATE TABLE animals (n int CHECK (known(n))); INSERT INTO animals VALUES (1)";

#[test]
fn a_dump_beside_a_base_backup_is_loaded_too_and_one_that_does_not_load_fails_the_test() {
    let shop = shop_of("both", "");
    let (exit, test) = shop.test("data", &[]);
    assert_eq!((exit, &test["outcome"]), (0, &"passed".into()), "{test:#}");
    assert_eq!(database_of(&test)["dump"]["outcome"], "passed", "{test:#}");
    assert!(test["phases_ms"]["load"].is_u64(), "{test:#}");
    assert!(test["phases_ms"]["replay"].is_u64(), "{test:#}");
    // What does not hold of what was dumped is told of the dump as well; the rows that came since are in the log alone.
    let (exit, test) = shop.test("more", &[]);
    assert_eq!((exit, outcome_of(&test, "people").0.as_str()), (4, "passed"), "{test:#}");
    shop.sql("REVOKE SELECT ON people FROM app");
    shop.done(&["backup"]);
    shop.sql("GRANT SELECT ON people TO app");
    shop.archive_all();
    let (exit, test) = shop.test("alone", &["--at", "latest"]);
    assert_eq!((exit, outcome_of(&test, "people").0.as_str()), (1, "passed"), "{test:#}");
    let said = database_of(&test)["dump"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("check people") && said.contains("permission denied"), "{test:#}");
    shop.sql(CANNOT_BE_LOADED);
    shop.done(&["backup"]);
    let (exit, test) = shop.test("data", &[]);
    assert_eq!((exit, &test["outcome"]), (1, &"failed".into()), "{test:#}");
    let database = database_of(&test);
    assert_eq!(database["outcome"], "failed", "{test:#}");
    assert_eq!(database["dump"]["outcome"], "failed", "{test:#}");
    let said = database["dump"]["message"].as_str().unwrap();
    assert!(said.contains("does not load") && said.contains("zoo"), "{said}");
    // The server itself came back, and answers.
    assert_eq!(outcome_of(&test, "people").0, "passed", "{test:#}");
    assert_eq!(shop.in_sandboxes(), Vec::<PathBuf>::new());
}
