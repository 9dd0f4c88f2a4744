//! One server takes another one's place: a standby is backed up and promoted, what was restored becomes the
//! server, a major upgrade begins a new cluster. The plan and the archive stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release, Stop};
use serde_json::Value;

use crate::ownership::give_away;
use crate::recovery::Shop;

fn options(release: Release) -> ClusterOptions {
    let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
    options.setting("full_page_writes", "on").setting("wal_keep_size", "256MB")
}

/// Finds what the archive holds by the beginning of its name.
fn archived(shop: &Shop, name: &str) -> Vec<PathBuf> {
    fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                find(&path, name, found);
            } else if path.file_name().unwrap().to_string_lossy().starts_with(name) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    find(&shop.at("primary/wal"), name, &mut found);
    found
}

/// Says what a restore to a moment would do.
fn preview(shop: &Shop, at: &str) -> Value {
    let to = shop.at("nowhere");
    let answer =
        shop.done(&["restore", "database", "--dry-run", "--at", at, "--to", to.to_str().unwrap()]);
    assert!(!to.exists());
    answer
}

/// Has a restore refused, and returns why.
fn refused(shop: &Shop, at: &str) -> String {
    let to = shop.at("nowhere");
    let output = shop.run(&["restore", "database", "--at", at, "--to", to.to_str().unwrap()]);
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    assert!(!to.exists(), "it was said before anything was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_standby_takes_over_and_each_side_of_the_fork_is_reached() {
    for release in Release::ALL {
        let mut shop = Shop::with(options(release));
        let mut standby = shop.cluster.start_standby().unwrap();
        shop.back_up();
        let shared = shop.commit_rows(1..=3);
        standby.catch_up_with(&shop.cluster).unwrap();
        standby.stop().unwrap();
        // This one the standby never hears of.
        let lost = shop.commit(4);
        shop.archive_all();
        shop.cluster.stop_by(Stop::Immediate).unwrap();
        standby.start_again().unwrap();
        standby.promote().unwrap();
        // Nobody told the old primary, which comes back and writes on.
        let mut old = shop.replace_cluster(standby);
        old.start_again().unwrap();
        old.psql("postgres", "INSERT INTO ledger VALUES (5); SELECT pg_switch_wal()").unwrap();
        let later = shop.commit_rows(6..=7);
        shop.archive_all();
        let rows = |at: &str| {
            let recovered = shop.recover(at, "at", &[]);
            let rows = recovered.rows();
            recovered.remove();
            rows
        };
        // What the database held then, though it was given up by the failover.
        assert_eq!(rows(&lost), [1, 2, 3, 4], "{release:?}");
        assert_eq!(rows("latest"), [1, 2, 3, 6, 7], "{release:?}");
        drop(old);
        if release == Release::System {
            assert_eq!(rows(&shared[1].1), [1, 2]);
            assert_eq!(rows(&later[0].1), [1, 2, 3, 6]);
            only_the_partial_segment_is_left(&shop);
        }
    }
}

/// Loses all that both servers archived from the fork on but the old timeline's last segment, as far as the
/// standby had it, and the history.
fn only_the_partial_segment_is_left(shop: &Shop) {
    let partial = archived(shop, "00000001").into_iter();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy()[..24].to_owned();
    let partial: Vec<_> =
        partial.filter(|path| path.to_string_lossy().contains(".partial")).collect();
    assert_eq!(partial.len(), 1, "{partial:?}");
    let fork = name(&partial[0]);
    let segments = archived(shop, "0000000").into_iter();
    for segment in segments.filter(|path| !path.to_string_lossy().contains("history")) {
        if segment != partial[0] && name(&segment)[8..] >= fork[8..] {
            fs::remove_file(segment).unwrap();
        }
    }
    let recovered = shop.recover("latest", "partial", &[]);
    assert_eq!(recovered.rows(), [1, 2, 3]);
    recovered.remove();
}

#[test]
fn a_timeline_whose_history_is_missing_is_said_before_anything_is_restored() {
    let mut shop = Shop::with(options(Release::System));
    let standby = shop.cluster.start_standby().unwrap();
    shop.back_up();
    shop.commit(1);
    standby.catch_up_with(&shop.cluster).unwrap();
    standby.promote().unwrap();
    drop(shop.replace_cluster(standby));
    shop.commit(2);
    shop.archive_all();
    let history = archived(&shop, "00000002.history").remove(0);
    fs::remove_file(&history).unwrap();
    let text = refused(&shop, "latest");
    assert!(text.contains("timeline 2 is in the archive, and its history is not"), "{text}");
    // The server still has it.
    let data = shop.cluster.data_dir();
    let mut push = shop.cluster.command(env!("CARGO_BIN_EXE_lifeboat"));
    push.arg("--plan").arg(shop.at("plan.toml")).current_dir(data);
    push.args(["wal", "push", "pg_wal/00000002.history"]);
    assert!(push.status().unwrap().success());
    assert!(history.exists());
    assert_eq!(preview(&shop, "latest")["timeline"], 2);
}

#[test]
fn a_restored_primary_goes_on_in_the_same_plan() {
    for release in Release::ALL {
        let mut shop = Shop::with(options(release));
        shop.back_up();
        let ledger = shop.commit_rows(1..=3);
        shop.archive_all();
        shop.cluster.crash().unwrap();
        let recovered = shop.recover(&ledger[1].1, "restored", &[]);
        assert_eq!(recovered.rows(), [1, 2], "{release:?}");
        // It takes the server's place, as it is told to.
        recovered.sql("ALTER SYSTEM RESET archive_mode");
        recovered.stop();
        let data = recovered.data.clone();
        drop(recovered);
        shop.cluster.destroy().unwrap();
        let copied = Command::new("cp").arg("-a").arg(data).arg(shop.cluster.data_dir()).status();
        assert!(copied.unwrap().success());
        shop.cluster.start_again().unwrap();
        let between = shop.commit(10);
        let answer = shop.back_up();
        assert_eq!(answer["assets"][0]["base"]["timeline"], 2, "{answer:#}");
        shop.commit(11);
        shop.archive_all();
        let (code, status) = wal_status(&shop);
        assert_eq!(code, Some(0), "{status:#}");
        let rows = |at: &str| {
            let recovered = shop.recover(at, "at", &[]);
            let rows = recovered.rows();
            recovered.remove();
            rows
        };
        assert_eq!(rows("latest"), [1, 2, 10, 11], "{release:?}");
        if release == Release::System {
            assert_eq!(rows(&between), [1, 2, 10]);
        }
        // What was given up by going back is still what the database held then.
        assert_eq!(rows(&ledger[2].1), [1, 2, 3], "{release:?}");
    }
}

fn wal_status(shop: &Shop) -> (Option<i32>, Value) {
    let output = shop.run(&["wal", "status", "--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_major_upgrade_goes_on_under_its_new_number_and_no_stranger_gets_in() {
    let mut shop = Shop::with(options(Release::System));
    shop.back_up();
    let before = shop.commit_rows(1..=2);
    shop.archive_all();
    let system = |cluster: &Cluster| {
        cluster.psql("postgres", "SELECT system_identifier FROM pg_control_system()").unwrap()
    };
    let push = shop.sql("SHOW archive_command");
    let options = |release| options(release).segment_size_mib(1).archive_command(&push);
    // No `pg_upgrade` comes with the newer server; a dump that is loaded makes a new cluster as well.
    let new = Cluster::start_with(&options(Release::Eighteen)).unwrap();
    let mut dump = shop.cluster.command("pg_dump");
    let dump = dump.args(["--inserts", "--table=ledger", "postgres"]).output().unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    // The older server writes a setting that the newer one does not know.
    let dump = dump.replace("SET default_table_access_method", "--");
    new.psql("postgres", &dump).unwrap();
    let old = shop.replace_cluster(new);
    let gap = shop.commit(3);
    shop.archive_all();
    // A server that is not the plan's, and whose log nobody knows.
    let stranger = Cluster::start_with(&options(Release::System)).unwrap();
    stranger.psql("postgres", "SELECT pg_switch_wal()").unwrap();
    let failed = "SELECT pg_sleep(0.05), failed_count > 0 FROM pg_stat_archiver";
    while !stranger.psql("postgres", failed).unwrap().ends_with("|t") {}
    let log = fs::read_to_string(stranger.log()).unwrap();
    assert!(log.contains("is not the plan's server"), "{log}");
    assert!(!shop.at("primary/wal").join(system(&stranger)).exists());
    // Nothing of the new cluster can be recovered yet, and that is said.
    let check = shop.run(&["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(
        text.contains(&format!("cluster {} has no base backup", system(&shop.cluster))),
        "{text}"
    );
    shop.back_up();
    let check = shop.run(&["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!text.contains("has no base backup"), "{text}");
    let after = shop.commit(4);
    shop.archive_all();
    let (code, status) = wal_status(&shop);
    assert_eq!(code, Some(0), "{status:#}");
    let clusters = status["tiers"][0]["clusters"].as_array().unwrap();
    assert_eq!(clusters.len(), 2, "{status:#}");
    // Each moment is of one of the two.
    let told = |at: &str| {
        let preview = preview(&shop, at);
        (preview["cluster"].clone(), preview["followed_by"]["cluster"].clone())
    };
    let (first, second) = (Value::from(system(&old)), Value::from(system(&shop.cluster)));
    assert_eq!(told(&before[0].1), (first.clone(), second.clone()));
    assert_eq!(told(&gap), (first, second.clone()), "its row is in no backup, and that is said");
    assert_eq!(told(&after), (second.clone(), Value::Null));
    assert_eq!(told("latest"), (second, Value::Null));
    drop(old);
    let rows = |at: &str, name: &str| shop.recover(at, name, &[]).rows();
    assert_eq!(rows(&before[0].1, "before"), [1]);
    assert_eq!(rows(&after, "after"), [1, 2, 3, 4]);
}

#[test]
fn a_standby_is_backed_up_while_its_primary_is_written_to() {
    for release in Release::ALL {
        // Only the primary can end a segment, which the backup waits for.
        let mut shop = Shop::with(options(release).setting("archive_timeout", "1s"));
        let standby = shop.cluster.start_standby().unwrap();
        shop.sql(
            "CREATE TABLE bulk AS SELECT n, repeat('b', 200) AS b FROM generate_series(1, 20000) n",
        );
        shop.sql("CHECKPOINT");
        standby.catch_up_with(&shop.cluster).unwrap();
        let primary = shop.replace_cluster(standby);
        let is_done = std::sync::atomic::AtomicBool::new(false);
        let (answer, written) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut row = 0;
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    row += 1;
                    let sql = format!(
                        "INSERT INTO ledger VALUES ({row}); UPDATE bulk SET b = 'c' WHERE n % 997 = {row};
                         SELECT pg_sleep(0.3)"
                    );
                    primary.psql("postgres", &sql).unwrap();
                }
                row
            });
            let ending = crate::recovery::Ending(&is_done);
            let answer = shop.back_up();
            drop(ending);
            (answer, writer.join().unwrap())
        });
        assert_eq!(answer["assets"][0]["base"]["damaged_pages"], 0, "{answer:#}");
        // Nor does it need anybody who writes.
        shop.back_up();
        let standby = shop.replace_cluster(primary);
        drop(standby);
        let by = shop.commit(100_000);
        shop.commit(100_001);
        shop.archive_all();
        // The label says where it comes from; it goes away when the server starts.
        let to = shop.at("unstarted");
        shop.done(&["restore", "database", "--to", to.to_str().unwrap()]);
        let label = fs::read_to_string(to.join("backup_label")).unwrap();
        assert!(label.contains("BACKUP FROM: standby"), "{label}");
        let recovered = shop.recover(&by, "at", &[]);
        let rows: Vec<u32> = (1..=written).chain([100_000]).collect();
        assert_eq!(recovered.rows(), rows, "{release:?}");
        assert_eq!(recovered.sql("SELECT count(*) FROM bulk"), "20000");
        recovered.stop_and_check_pages();
        let latest = shop.recover("latest", "latest", &[]);
        assert_eq!(latest.rows().len(), written as usize + 2, "{release:?}");
    }
}

#[test]
fn a_standby_asks_again_when_the_archive_cannot_be_reached() {
    for release in Release::ALL {
        let mut shop = Shop::with(options(release));
        let mut standby = shop.cluster.start_standby().unwrap();
        standby.stop().unwrap();
        let get = format!(
            "restore_command = '{} --plan {} wal get %f %p --socket {}'\nprimary_conninfo = ''\n\
             wal_retrieve_retry_interval = '100ms'\n",
            env!("CARGO_BIN_EXE_lifeboat"),
            shop.at("plan.toml").display(),
            shop.at("socket").display()
        );
        // It follows by the archive alone.
        let auto = standby.data_dir().join("postgresql.auto.conf");
        crate::ownership::write(&auto, &get, 0o600);
        give_away(&auto);
        give_away(&shop.at("recovery.key"));
        shop.commit(1);
        shop.archive_all();
        rename(&shop, "primary", "away");
        standby.start_again().unwrap();
        let row = |standby: &Cluster, row: u32| {
            let sql = format!("SELECT pg_sleep(0.05), count(*) FROM ledger WHERE n = {row}");
            standby.psql("postgres", &sql).unwrap().ends_with("|1")
        };
        // It says so and stays up, without that row.
        let is_told = || {
            let log = fs::read_to_string(standby.log()).unwrap();
            log.contains("is in the archive is not known") && !row(&standby, 1)
        };
        while !is_told() {}
        rename(&shop, "away", "primary");
        while !row(&standby, 1) {}
        shop.commit(2);
        shop.archive_all();
        while !row(&standby, 2) {}
        assert_eq!(standby.psql("postgres", "SELECT pg_is_in_recovery()").unwrap(), "t");
    }
}

#[expect(clippy::disallowed_methods, reason = "what a test takes away need not survive a crash")]
fn rename(shop: &Shop, from: &str, to: &str) {
    fs::rename(shop.at(from), shop.at(to)).unwrap();
}
