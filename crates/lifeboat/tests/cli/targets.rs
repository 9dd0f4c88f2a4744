//! Recoveries of real servers to a name, to a transaction, and only until the data make sense; and onto a disk
//! that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_testing::postgres::{ClusterOptions, Release};

use crate::recovery::Shop;

/// Commits a row and returns its transaction.
fn commit(shop: &Shop, row: u32) -> String {
    let sql = format!("INSERT INTO ledger VALUES ({row}) RETURNING pg_current_xact_id()");
    shop.sql(&sql)
}

#[test]
fn names_and_transactions_are_reached_from_the_base_that_lies_before_them() {
    for release in Release::ALL {
        let shop = Shop::new(release);
        shop.back_up();
        commit(&shop, 1);
        shop.sql("SELECT pg_create_restore_point('before the move')");
        let old = commit(&shop, 2);
        // One that is given up and one that is decided on later are transactions, too.
        shop.sql("BEGIN; INSERT INTO ledger VALUES (99); ROLLBACK");
        commit(&shop, 3);
        shop.back_up();
        commit(&shop, 4);
        shop.sql("SELECT pg_create_restore_point('after it')");
        let new = commit(&shop, 5);
        commit(&shop, 6);
        shop.archive_all();
        let rows = |at: &str| {
            let recovered = shop.recover(at, "at", &[]);
            let rows = recovered.rows();
            recovered.remove();
            rows
        };
        assert_eq!(rows("name:before the move"), [1], "{release:?}");
        assert_eq!(rows(&format!("xid:{new}")), [1, 2, 3, 4, 5], "{release:?}");
        assert_eq!(rows("immediate"), [1, 2, 3], "{release:?}");
        if release == Release::System {
            assert_eq!(rows(&format!("xid:{old}")), [1, 2]);
            assert_eq!(rows("name:after it"), [1, 2, 3, 4]);
        }
        // What is nowhere is said before anything is restored.
        let to = shop.at("nowhere");
        for at in ["name:nobody's", "xid:4000000000"] {
            let arguments = ["restore", "database", "--at", at, "--to", to.to_str().unwrap()];
            let output = shop.run(&arguments);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && !to.exists(), "{text}");
            assert!(text.contains(&format!("`{at}` is nowhere in the log")), "{text}");
        }
    }
}

/// A small disk, mounted where it is needed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs"]).arg(folder);
        assert!(mount.status().unwrap().success(), "tests mount file systems as root");
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn a_target_without_room_is_said_and_no_server_starts_from_what_is_there() {
    let shop = Shop::with(ClusterOptions::default());
    shop.back_up();
    let disk = SmallDisk::at(&shop.at("disk"), "8m");
    let to = disk.0.join("data");
    let arguments = ["restore", "database", "--to", to.to_str().unwrap()];
    let output = shop.run(&arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(text.to_lowercase().contains("no space left"), "{text} {output:?}");
    assert!(!to.join("global/pg_control").exists());
    let mut start = shop.cluster.command("pg_ctl");
    let start = start.args(["start", "--wait", "--silent", "--pgdata"]).arg(&to).output().unwrap();
    assert!(!start.status.success(), "{start:?}");
    // With room it goes on from there.
    let mut grow = Command::new("mount");
    let grown = grow.args(["-o", "remount,size=400m"]).arg(&disk.0).status().unwrap();
    assert!(grown.success());
    shop.done(&[&arguments[..], &["--delta", "--start"]].concat());
    let mut halt = shop.cluster.command("pg_ctl");
    let halted = halt.args(["stop", "--silent", "--mode", "fast", "--pgdata"]).arg(&to).status();
    assert!(halted.unwrap().success());
}
