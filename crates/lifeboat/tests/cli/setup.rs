//! Real servers are set up by the real binary, archive, and are left as they were.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::tier_mark::TierMark;
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release};
use lifeboat_tiers::LocalTier;
use serde_json::Value;

use crate::environment::{Ended, Environment};
use crate::ownership::{give_away, write};

/// A server that nobody backs up yet, and a plan that would.
struct Shop {
    cluster: Cluster,
    home: tempfile::TempDir,
    environment: Environment,
    key: RecoveryKey,
}

impl Shop {
    fn new(options: ClusterOptions) -> Self {
        let home = tempfile::Builder::new().prefix("lifeboat-set-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let key = RecoveryKey::generate();
        write(&home.path().join("recovery.key"), key.spelled().expose(), 0o600);
        let tier = LocalTier::create(&home.path().join("the tier")).unwrap();
        let mark = TierMark::new("shop".parse().unwrap(), key.public_halves().verifier.to_string());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(mark.write(&tier)).unwrap();
        give_away(&home.path().join("the tier"));
        let cluster = Cluster::start_with(&options.segment_size_mib(1)).unwrap();
        let shop = Self { cluster, home, environment: Environment::new(), key };
        shop.write_plan(&shop.cluster.connect_string("postgres"));
        shop
    }

    /// Writes the plan; its path and the tier's have to be quoted.
    fn write_plan(&self, connect: &str) {
        let (home, halves) = (self.home.path().display(), self.key.public_halves());
        let text = format!(
            "format = 1\n[plan]\nname = \"Shop\"\nsite = \"shop\"\n\
            [key]\nfile = \"{home}/recovery.key\"\nrecipient = \"{}\"\nverifier = \"{}\"\n\
            [assets.database]\nkind = \"postgres\"\nconnect = \"{}\"\n\
            base = \"physical\"\nrpo = \"1h\"\nrto = \"2h\"\n\
            wal = {{ mode = \"archive\", to = [\"primary\"], ack = [\"primary\"] }}\n\
            [assets.media]\nkind = \"files\"\npaths = [\"/nowhere\"]\nrpo = \"24h\"\nrto = \"4h\"\n\
            [tiers.primary]\nurl = \"file://{home}/the tier\"\nkeep = {{ within = \"7d\" }}\n\
            [schedules.hourly]\ncron = \"0 * * * *\"\nassets = [\"database\", \"media\"]\nto = [\"primary\"]\n",
            halves.recipient, halves.verifier, connect,
        );
        write(&self.home.path().join("it's a plan.toml"), &text, 0o644);
    }

    fn run(&self, line: &str) -> Ended {
        let plan = self.home.path().join("it's a plan.toml").display().to_string();
        let words = line.split(' ').map(str::to_owned);
        self.environment.run(["--plan".to_owned(), plan].into_iter().chain(words))
    }

    /// Runs a command on the server, as a superuser whatever the plan says.
    fn change(&self, line: &str) -> Ended {
        let plan = self.home.path().join("it's a plan.toml").display().to_string();
        let connect = self.cluster.connect_string("postgres");
        let words = line.split(' ').map(str::to_owned);
        let words = ["--plan".to_owned(), plan].into_iter().chain(words);
        self.environment.run(words.chain(["--connect".to_owned(), connect]))
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql("postgres", sql).unwrap()
    }

    fn state(&self) -> String {
        self.sql(
            "SELECT name, setting FROM pg_file_settings
             WHERE sourcefile LIKE '%auto.conf' ORDER BY name;
             SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles ORDER BY 1",
        )
    }

    /// What `check` says of the database and does not hold: the statement and the hint.
    fn faults(&self) -> Vec<(String, String)> {
        let document = self.run("check --json").json();
        let answers = document["readiness"]["answers"].as_array().unwrap().clone();
        let text = |answer: &Value, field: &str| answer[field].as_str().unwrap_or("").to_owned();
        let about = answers.into_iter().filter(|answer| answer["name"] == "database");
        let bad = about.filter(|answer| answer["outcome"] != "passed");
        bad.map(|answer| (text(&answer, "what"), text(&answer, "hint"))).collect()
    }

    /// Runs the commands that are said to help.
    fn follow(&self, faults: &[(String, String)]) {
        for (_, hint) in faults {
            self.run(hint.strip_prefix("lifeboat ").unwrap()).success();
        }
    }

    /// Makes log, and waits until none of it waits to be archived.
    fn nothing_piles_up(&self) {
        for _ in 0..5 {
            self.sql("CREATE TABLE churn AS SELECT generate_series(1, 20000) n; DROP TABLE churn; SELECT pg_switch_wal()");
        }
        let waiting = "SELECT pg_sleep(0.05), count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
        assert!((0..400).any(|_| self.sql(waiting).ends_with("|0")), "{}", self.sql(waiting));
    }
}

fn minimal(release: Release) -> ClusterOptions {
    let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
    options.setting("wal_level", "minimal").setting("max_wal_senders", "0")
}

#[test]
fn what_check_hints_at_sets_a_server_up_and_it_is_left_as_it_was() {
    for release in Release::ALL {
        let mut shop = Shop::new(minimal(release));
        let before = shop.state();
        let preview = shop.run("postgres setup database --dry-run").success();
        for words in [
            "CREATE ROLE \"lifeboat\"",
            "ALTER SYSTEM SET wal_level = 'replica'",
            "ALTER SYSTEM SET archive_mode = 'on'",
            "ALTER SYSTEM SET archive_timeout = '300'",
        ] {
            assert!(preview.contains(words), "{words}: {preview}");
        }
        assert_eq!(shop.state(), before, "a dry run changes nothing");
        let waits = shop.run("postgres setup database");
        assert_eq!(waits.code(), 3, "{waits}");
        assert!(waits.stdout().contains("archive_mode takes a restart"), "{waits}");
        assert_eq!(shop.sql("SHOW archive_mode"), "off");
        // What is said to help, word for word, until nothing is left to say.
        let faults = shop.faults();
        assert!(faults.iter().any(|(what, _)| what == "it archives its log"), "{faults:?}");
        shop.follow(&faults);
        // Only a server that archives can be backed up, so that is said next.
        let faults = shop.faults();
        let said: Vec<_> = faults.iter().map(|(_, hint)| hint.as_str()).collect();
        assert_eq!(said, ["lifeboat backup database"], "{release:?}: {faults:?}");
        shop.follow(&faults);
        assert_eq!(shop.faults(), [], "{release:?}");
        assert_eq!(shop.sql("SHOW archive_mode"), "on");
        // Again, it is only proven again.
        let again = shop.run("postgres setup database --json");
        again.success();
        let again = again.json();
        assert_eq!(again["changes"].as_array().unwrap().len(), 0, "{again:#}");
        assert_eq!(again["restart"], "not-needed");
        assert_eq!(again["proof"]["tiers"][0]["tier"], "primary", "{again:#}");
        assert!(again["proof"]["tiers"][0]["after_ms"].is_u64());
        // The new role suffices, for what is asked and for a backup.
        let superuser = shop.cluster.connect_string("postgres");
        shop.write_plan(&match release {
            Release::System => shop.cluster.connect_string_as("postgres", "lifeboat"),
            Release::Eighteen => format!("{superuser} options='-c role=lifeboat'"),
        });
        assert!(!shop.run("check").stdout().contains("is a superuser"));
        assert_eq!(shop.faults(), [], "{release:?}");
        shop.run("backup database").success();
        let waits = shop.change("postgres remove database");
        assert_eq!(waits.code(), 3, "{waits}");
        shop.nothing_piles_up();
        shop.change("postgres remove database --restart").success();
        assert_eq!(shop.state(), before, "{release:?}");
        assert_eq!(shop.sql("SHOW archive_mode; SHOW wal_level"), "off\nminimal");
        shop.nothing_piles_up();
        let nothing = shop.change("postgres remove database").success();
        assert!(nothing.contains("nothing of the server"), "{nothing}");
        shop.cluster.stop().unwrap();
    }
}

#[test]
fn a_command_of_somebody_else_is_only_replaced_when_told_and_comes_back() {
    let foreign = "cp %p /nowhere/%f";
    let options = ClusterOptions::default().setting("archive_mode", "on");
    let shop = Shop::new(options.setting("archive_command", "false # ours"));
    shop.sql(&format!("ALTER SYSTEM SET archive_command = '{foreign}'; "));
    shop.sql("SELECT pg_reload_conf(), pg_sleep(0.2)");
    let before = shop.state();
    let refused = shop.run("postgres setup database").failure(1);
    assert!(refused.contains(foreign) && refused.contains("--replace"), "{refused}");
    assert_eq!(shop.state(), before);
    let hint = shop.faults().into_iter().find(|(what, _)| what == "it hands its log to this plan");
    assert_eq!(hint.unwrap().1, "lifeboat postgres setup database --replace");
    let replaced = shop.run("postgres setup database --replace --role keeper").success();
    assert!(replaced.contains(foreign) && replaced.contains("archived"), "{replaced}");
    shop.nothing_piles_up();
    // By hand and for another asset: it would not get into this archive.
    let other = shop.sql("SHOW archive_command").replace("--asset database", "--asset other");
    shop.sql(&format!("ALTER SYSTEM SET archive_command = '{}'", other.replace('\'', "''")));
    let refused = shop.run("postgres setup database").failure(1);
    assert!(refused.contains("--asset other"), "{refused}");
    shop.run("postgres setup database --replace").success();
    // The note knows its role, and there are not two of them.
    let refused = shop.run("postgres setup database --role other").failure(1);
    assert!(refused.contains("`keeper`") && refused.contains("postgres remove"), "{refused}");
    // What is taken back is what somebody else would find now: the last that was not ours.
    shop.run("postgres remove database").success();
    assert!(
        shop.sql("SELECT pg_reload_conf(), pg_sleep(0.2); SHOW archive_command").contains("other")
    );
}

#[test]
fn what_is_in_the_way_is_said_and_nothing_is_changed() {
    let mut shop = Shop::new(ClusterOptions::default());
    let before = shop.state();
    let fails = |shop: &Shop, line: &str, code, words: &str| {
        let told = shop.run(line).failure(code);
        assert!(told.contains(words), "{line}: {told}");
    };
    fails(&shop, "postgres setup nothing", 2, "no asset `nothing`");
    fails(&shop, "postgres setup media", 2, "`media` is no PostgreSQL server");
    fails(&shop, "postgres remove media", 2, "`media` is no PostgreSQL server");
    fails(&shop, "postgres setup database --role postgres", 2, "is a superuser");
    // The server's own user could not read the plan: nothing is set that would fail.
    let home = shop.home.path().to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    fails(&shop, "postgres setup database", 1, "could not archive");
    fails(&shop, "postgres setup database", 1, "wal push --asset database --check");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    // Somebody who may not, and the SQL for somebody who may.
    shop.sql("CREATE ROLE plain LOGIN");
    let plain = shop.cluster.connect_string_as("postgres", "plain");
    let file = home.join("it's a plan.toml").display().to_string();
    let as_plain = |last: &[&str]| {
        let words = ["--plan", &file, "postgres", "setup", "database", "--connect", &plain];
        shop.environment.run(words.iter().chain(last))
    };
    let told = as_plain(&[]).failure(1);
    assert!(told.contains("`plain` is no superuser") && told.contains("--print-sql"), "{told}");
    let sql = as_plain(&["--print-sql"]).success();
    shop.sql("DROP ROLE plain");
    assert_eq!(shop.state(), before);
    shop.sql(&sql);
    let rest = shop.run("postgres setup database --dry-run").success();
    assert!(rest.contains("nothing of the server"), "{rest}");
    let back = shop.run("postgres remove database --print-sql").success();
    shop.sql(&back);
    assert_eq!(shop.state(), before);
    // The command line of the server wins over every file.
    shop.cluster.stop().unwrap();
    let control = |shop: &Shop, words: &[&str]| {
        let mut control = shop.cluster.command("pg_ctl");
        control.args(["-w", "-s", "-D"]).arg(shop.cluster.data_dir()).args(words);
        assert!(control.arg("-l").arg(shop.cluster.log()).status().unwrap().success());
    };
    control(&shop, &["start", "-o", "-c archive_mode=off"]);
    fails(
        &shop,
        "postgres setup database",
        1,
        "archive_mode is `off` by the server's command line",
    );
    control(&shop, &["stop", "-m", "fast"]);
    let signal = shop.cluster.data_dir().join("standby.signal");
    write(&signal, "", 0o600);
    give_away(&signal);
    control(&shop, &["start"]);
    fails(&shop, "postgres setup database", 1, "is a standby");
    control(&shop, &["stop", "-m", "fast"]);
    fails(&shop, "postgres setup database", 1, "no PostgreSQL server answers");
}

#[test]
fn a_tier_that_is_added_later_takes_its_key_from_those_that_are_there_and_what_it_lacks_is_said() {
    let shop = Shop::new(ClusterOptions::default().setting("archive_mode", "on"));
    shop.run("postgres setup database").success();
    shop.run("backup database").success();
    shop.nothing_piles_up();
    // A place that both the server's user and whoever sets it up may write to.
    let later = shop.home.path().join("later");
    fs::create_dir(&later).unwrap();
    give_away(&later);
    fs::set_permissions(&later, fs::Permissions::from_mode(0o2770)).unwrap();
    let file = shop.home.path().join("it's a plan.toml");
    let plan = fs::read_to_string(&file).unwrap();
    let tier = format!(
        "[tiers.later]\nurl = \"file://{}\"\nkeep = {{ within = \"7d\" }}\n[tiers.primary]",
        later.display()
    );
    let plan = plan
        .replace("to = [\"primary\"], ack", "to = [\"primary\", \"later\"], ack")
        .replace("[tiers.primary]", &tier);
    write(&file, &plan, 0o644);
    shop.run("postgres setup database").success();
    // The site's key opens it, and packs go there as they are.
    let opened = shop.run("check --json").json();
    let answers = opened["readiness"]["answers"].as_array().unwrap();
    let opens = |answer: &&Value| {
        answer["name"] == "later" && answer["what"] == "its repository opens with the recovery key"
    };
    assert_eq!(answers.iter().find(opens).unwrap()["outcome"], "passed", "{opened:#}");

    // What the server archived before is nobody's to bring but by this command, which is said.
    let command = "lifeboat wal catch-up --asset database";
    let told = shop.run("check");
    assert!(told.stdout().contains("not on later yet"), "{told}");
    assert!(told.stdout().contains(command), "{told}");
    let tiers = shop.run("tiers");
    assert!(tiers.stdout().contains("WAL files") && tiers.stdout().contains(command), "{tiers}");
    shop.run(command.strip_prefix("lifeboat ").unwrap()).success();
    assert!(!shop.run("check").stdout().contains("not on later yet"));
    assert!(!shop.run("tiers").stdout().contains("wal catch-up"));
}
