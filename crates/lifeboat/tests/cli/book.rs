//! The chapters of `docs/without-lifeboat.md` on a PostgreSQL server are followed to the letter: their commands
//! are taken from the page and run, with stock `restic`, `age`, `zstd`, `jq` and PostgreSQL alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lifeboat_testing::postgres::{ClusterOptions, PageChecksums};

use crate::ownership::{give_away, write};
use crate::recovery::Shop;

/// Returns the indented lines below a heading, in blocks.
fn blocks(page: &str, heading: &str) -> Vec<String> {
    let (_, chapter) = page.split_once(&format!("\n## {heading}\n")).expect("the chapter is there");
    let chapter = chapter.split("\n## ").next().unwrap();
    let (mut blocks, mut block) = (Vec::new(), String::new());
    for line in chapter.lines().chain([""]) {
        match line.strip_prefix("    ") {
            Some(line) => block.extend([line, "\n"]),
            None if !block.is_empty() => blocks.push(std::mem::take(&mut block)),
            None => {}
        }
    }
    blocks
}

#[test]
fn a_server_comes_back_by_the_page_alone() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/without-lifeboat.md");
    let page = fs::read_to_string(page).unwrap();
    let commands = blocks(&page, "A PostgreSQL server from its base backup");
    let script = blocks(&page, "PostgreSQL's write-ahead log");
    let script = script.iter().find(|block| block.starts_with("#!")).unwrap();

    let mut shop = Shop::with(ClusterOptions::default().checksums(PageChecksums::On));
    let space = shop.cluster.make_directory("space").unwrap();
    shop.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    shop.sql("CREATE TABLE placed TABLESPACE fast AS SELECT generate_series(1, 1000) AS n");
    shop.back_up();
    shop.commit_rows(1..=20);
    shop.archive_all();
    let identity = shop.run(&["key", "export", "--age"]);
    assert!(identity.status.success(), "{identity:?}");
    // From here on there is the tier, the key and the identity; the host is gone.
    shop.cluster.stop().unwrap();
    let to = shop.at("to");
    fs::create_dir(&to).unwrap();
    write(&shop.at("identity.age"), &String::from_utf8(identity.stdout).unwrap(), 0o600);
    write(&to.join("wal-get"), script, 0o644);
    for path in [to.clone(), shop.at("primary"), shop.at("identity.age"), shop.at("recovery.key")] {
        give_away(&path);
    }
    fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).unwrap();
    // The page's example of a place; the rest is run as it stands.
    let example = "export TIER=/mnt/backup ASSET=database TO=/srv/restored";
    assert_eq!(commands[0].lines().next(), Some(example));
    let place =
        format!("export TIER={} ASSET=database TO={}", shop.at("primary").display(), to.display());
    let text = commands.concat().replace(example, &place);
    let mut bash = shop.cluster.command("/bin/bash");
    let mut path = shop.cluster.bin_dir().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    bash.args(["-euo", "pipefail", "-c", &text]).current_dir(shop.home());
    let output = bash.env("PATH", path).env("HOME", &to).output().unwrap();
    let log = fs::read_to_string(to.join("server.log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{log}");
    let sql = "SELECT pg_sleep(0.05), pg_is_in_recovery()";
    while !shop.cluster.psql("postgres", sql).unwrap().ends_with("|f") {}
    assert_eq!(shop.sql("SELECT count(*), sum(n) FROM ledger"), "20|210");
    assert_eq!(shop.sql("SELECT count(*), sum(n) FROM placed"), "1000|500500");
    let mut halt = shop.cluster.command("pg_ctl");
    halt.args(["stop", "--silent", "--mode", "fast", "--pgdata"]);
    assert!(halt.arg(to.join("lifeboat/database/pgdata")).status().unwrap().success());
}
