//! Servers are recovered into sandboxes and checked; damage of each kind makes the right check fail, and no other.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use lifeboat_postgres::page::{BlockNumber, PAGE_LENGTH, page_checksum};
use lifeboat_testing::postgres::{ClusterOptions, PageChecksums, Release};
use serde_json::Value;

use crate::ownership::write;
use crate::recovery::Shop;

const TABLES: &str = "
    CREATE TABLE bulk (n int PRIMARY KEY, t text);
    INSERT INTO bulk SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
    CREATE TABLE other AS SELECT n FROM generate_series(1, 100) n;
    CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS n;
    CREATE ROLE app LOGIN; GRANT SELECT ON bulk TO app";

fn shop(release: Release) -> Shop {
    let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
    let options = options.setting("autovacuum", "off").setting("max_prepared_transactions", "5");
    let shop = Shop::with(options);
    shop.sql(TABLES);
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let check = "[checks.bulk]\nasset = \"database\"\ndatabase = \"postgres\"\nrole = \"app\"\n\
                 sql = \"SELECT count(*) FROM bulk\"\nexpect = \"> 19000\"\n";
    write(&shop.at("plan.toml"), &format!("{plan}{check}"), 0o644);
    shop
}

impl Shop {
    /// Verifies a restore; returns how the command ended and what it said.
    fn verify_restore(&self, more: &[&str]) -> (i32, Value) {
        let arguments = [&["verify", "--restore", "database", "--json"], more].concat();
        let output = self.run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer = serde_json::from_str(&text);
        let complaints = String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), answer.unwrap_or_else(|_| panic!("{text}\n{complaints}")))
    }

    fn path_of(&self, relation: &str) -> PathBuf {
        let below = self.sql(&format!("SELECT pg_relation_filepath('{relation}')"));
        self.cluster.data_dir().join(below)
    }
}

/// The checks that did not pass, with what they showed.
fn not_passed(answer: &Value) -> Vec<(&str, &str)> {
    let checks = answer["checks"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
    let shown = checks
        .iter()
        .map(|check| (check["name"].as_str().unwrap(), check["outcome"].as_str().unwrap()));
    shown.filter(|(_, outcome)| *outcome != "passed").collect()
}

fn check<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let checks = answer["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{answer:#}"))
}

#[test]
fn a_restore_is_verified_on_every_rung_at_the_moment_of_its_counts() {
    for release in Release::ALL {
        let shop = shop(release);
        shop.cluster.create_database("second").unwrap();
        shop.cluster.psql("second", "CREATE TABLE s AS SELECT generate_series(1, 5) AS n").unwrap();
        // What runs across the counts does not belong to them, though it is committed soon after.
        shop.sql("BEGIN; INSERT INTO ledger VALUES (1); PREPARE TRANSACTION 'across'");
        shop.back_up();
        shop.sql("COMMIT PREPARED 'across'");
        shop.commit_rows(2..=9);
        shop.archive_all();
        let (exit, answer) = shop.verify_restore(&[]);
        assert_eq!((exit, &answer["outcome"]), (0, &"passed".into()), "{release:?}: {answer:#}");
        assert_eq!(answer["schema"], "lifeboat.verify.restore/1");
        let checks = answer["checks"].as_array().unwrap();
        let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["files", "pages", "recovery", "relations", "rows", "check bulk"]);
        let rows = check(&answer, "rows")["message"].as_str().unwrap();
        assert_eq!(rows, "4 tables with 20105 rows are as they were counted");
        let question = check(&answer, "check bulk")["message"].as_str().unwrap();
        assert_eq!(question, "it is 20000, as expected: > 19000");
        // At another moment there is nothing to hold the rows against.
        let (exit, latest) = shop.verify_restore(&["--at", "latest"]);
        assert_eq!((exit, &latest["outcome"]), (4, &"could-not-verify".into()));
        assert_eq!(not_passed(&latest), [("rows", "could-not-verify")], "{latest:#}");
        let record = shop.done(&["catalog", "list", "--kind", "restore-verified"]);
        assert_eq!(record["records"].as_array().unwrap().len(), 2, "{record:#}");
        let left = fs::read_dir(shop.at("cache/lifeboat/shop/sandboxes"));
        assert_eq!(left.map_or(0, Iterator::count), 0);
    }
}

type Damage = fn(&mut Shop);

/// Of a free space map, which no query reads: the server makes it anew where it is damaged.
fn damage_a_page(shop: &mut Shop) {
    shop.sql("VACUUM bulk; CHECKPOINT");
    let mut path = shop.path_of("bulk").into_os_string();
    path.push("_fsm");
    overwrite(&PathBuf::from(path), 4000, &[0xAB; 4]);
}

/// A page changes and has the position of before, as if somebody edited it; so the second backup takes the one
/// of the first.
fn change_a_page_behind_the_log(shop: &mut Shop) {
    shop.sql("VACUUM (FREEZE) other; CHECKPOINT");
    shop.back_up();
    let path = shop.path_of("other");
    shop.cluster.stop().unwrap();
    let mut page: [u8; PAGE_LENGTH] = fs::read(&path).unwrap()[..PAGE_LENGTH].try_into().unwrap();
    // Between the pointers and the rows, where nothing is.
    page[1000] ^= 0xFF;
    let sum = page_checksum(&page, BlockNumber(0));
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    overwrite(&path, 0, &page);
    shop.cluster.start_again().unwrap();
}

fn forget_a_row_in_an_index(shop: &mut Shop) {
    let ready = |is: bool| {
        format!("UPDATE pg_index SET indisready = {is} WHERE indexrelid = 'bulk_pkey'::regclass")
    };
    shop.sql(&format!("{}; INSERT INTO bulk VALUES (30000, 'x'); {}", ready(false), ready(true)));
}

/// The disk lost a page that the server still has in memory: it is as if it had never been used.
fn lose_a_page(shop: &mut Shop) {
    shop.sql("VACUUM (FREEZE) bulk");
    shop.sql("SELECT count(t) FROM bulk; CHECKPOINT");
    overwrite(&shop.path_of("bulk"), 5 * PAGE_LENGTH as u64, &[0; PAGE_LENGTH]);
}

fn take_a_grant_away(shop: &mut Shop) {
    shop.sql("REVOKE SELECT ON bulk FROM app");
}

fn overwrite(path: &std::path::Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn damage_of_each_kind_makes_the_right_check_fail_and_no_other() {
    let damages: [(Damage, &str, &str); 5] = [
        (damage_a_page, "pages", "bulk in postgres"),
        (change_a_page_behind_the_log, "files", "other in postgres"),
        (forget_a_row_in_an_index, "relations", "public.bulk_pkey in postgres"),
        (lose_a_page, "rows", "public.bulk has 19"),
        (take_a_grant_away, "check bulk", "permission denied for table bulk"),
    ];
    for (damage, name, word) in damages {
        let mut shop = shop(Release::System);
        damage(&mut shop);
        // A damaged page on the server makes the backup incomplete, and it is there all the same.
        let exit = shop.run(&["backup", "database"]).status.code();
        assert!([Some(0), Some(3)].contains(&exit), "{name}: {exit:?}");
        // The backup ended its segment, and one in which nothing is does not end.
        shop.commit(1);
        shop.archive_all();
        let (exit, answer) = shop.verify_restore(&[]);
        assert_eq!(not_passed(&answer), [(name, "failed")], "{answer:#}");
        assert_eq!(exit, 1);
        let shown = check(&answer, name);
        let said = format!("{} {}", shown["message"], shown["findings"]);
        assert!(said.contains(word), "{name}: {said}");
    }
}
