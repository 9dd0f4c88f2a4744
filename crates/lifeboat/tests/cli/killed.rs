//! A daemon that is killed beside a server which is written to, and whose log goes through that daemon.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_testing::postgres::Release;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::daemon::{
    Running, every_job_has_its_end, kills, let_pass, nobody_runs_anything,
    nothing_is_lost_or_doubled,
};
use crate::ledger::book::{Book, now};
use crate::ledger::writers::{TABLES, Writers, write_during};
use crate::ledger::{ENTRIES, keys};
use crate::ownership::write;
use crate::recovery::Shop;

/// What is backed up beside the server.
const MEDIA: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[schedules.media]
cron = "0 2 1 1 *"
assets = ["media"]
to = ["primary"]
"#;

fn shop() -> Shop {
    let shop = Shop::new(Release::System);
    shop.sql(TABLES);
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let media = MEDIA.replace("HOME", shop.home().to_str().unwrap());
    write(&shop.at("plan.toml"), &format!("{plan}{media}"), 0o644);
    fs::create_dir(shop.at("media")).unwrap();
    if shop.cluster.os_user().is_some() {
        // From now on nobody can archive but the daemon.
        let mut take_back = Command::new("chown");
        take_back.args(["-R", "0:0"]).arg(shop.at("primary"));
        assert!(take_back.status().unwrap().success());
    }
    shop
}

fn serve(shop: &Shop) -> Running {
    let mut command = shop.command();
    command.args(["serve", "--socket"]).arg(shop.at("socket"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command.spawn().unwrap())
}

fn jobs(shop: &Shop) -> Value {
    let output = shop.run(&["--json", "jobs", "--last", "1000"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Has everything backed up that the plan has, and kills who does it at a random moment.
fn round(shop: &Shop, number: u32, random: &mut StdRng, writers: &Writers<'_>) -> Vec<String> {
    let daemon = serve(shop);
    write(&shop.at("media/upload"), &format!("of round {number}").repeat(50_000), 0o644);
    let asked = ["backup:daily", "backup:media"].map(|task| {
        let queued = shop.done(&["jobs", "run", task]);
        queued["job"]["id"].as_str().unwrap().to_owned()
    });
    shop.sql("SELECT pg_switch_wal()");
    writers.wait_for(1);
    let_pass(Duration::from_millis(random.random_range(0..1200)));
    daemon.kill();
    nobody_runs_anything(&jobs(shop));
    asked.to_vec()
}

/// Returns all that stands under a key, however deep.
fn all<'j>(document: &'j Value, key: &str) -> Vec<&'j Value> {
    let below: Vec<_> = match document {
        Value::Array(values) => values.iter().collect(),
        Value::Object(values) => values.values().collect(),
        _ => Vec::new(),
    };
    let own = document.get(key).into_iter();
    own.chain(below.into_iter().flat_map(|value| all(value, key))).collect()
}

#[test]
fn a_daemon_that_is_killed_beside_a_live_database_loses_no_job_and_no_commit() {
    let shop = shop();
    let mut random = StdRng::seed_from_u64(6);
    let access = shop.cluster.access();
    let (asked, entries) = write_during(&access, 1_000_000, |writers| {
        let rounds = (0..kills()).flat_map(|number| round(&shop, number, &mut random, writers));
        rounds.collect::<Vec<_>>()
    });
    let daemon = serve(&shop);
    shop.archive_all();
    for task in ["backup:daily", "backup:media", "verification:primary"] {
        shop.done(&["jobs", "run", task, "--wait"]);
    }
    daemon.stop();

    nothing_is_lost_or_doubled(&jobs(&shop), &asked);
    every_job_has_its_end(&shop.done(&["catalog", "list", "--limit", "10000"]));
    shop.done(&["catalog", "verify"]);
    let log = shop.done(&["wal", "status"]);
    assert!(all(&log, "holes").iter().all(|holes| **holes == Value::Array(Vec::new())), "{log:#}");
    let ranges = all(&log, "ranges");
    assert!(ranges.len() == 1 && ranges[0].as_array().unwrap().len() == 1, "{log:#}");

    let mut book = Book::default();
    book.add(entries);
    book.settle(&keys(&shop.sql(ENTRIES)));
    let (count, _) = book.committed();
    assert!(count > 100, "{count} transactions are no load");
    let latest = shop.recover("latest", "latest", &[]);
    let wrong = book.judge(now(), &keys(&latest.sql(ENTRIES)));
    assert!(wrong.is_empty(), "{} wrong, first {}", wrong.len(), wrong[0]);
}
