//! A database that nobody writes to: its log says nothing new, and nothing is lost by that.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lifeboat_model::Timestamp;
use lifeboat_testing::postgres::Release;
use serde_json::Value;

use crate::daemon::Running;
use crate::ownership::write;
use crate::recovery::Shop;

/// How long a server takes at most that rests until it is known: it is asked every five seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shop whose log nobody ends, and of which so little may be lost that it is asked often.
fn shop(release: Release) -> Shop {
    let shop = Shop::new(release);
    assert_eq!(shop.sql("SHOW archive_timeout"), "0", "a segment ends once it is full");
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    write(&shop.at("plan.toml"), &plan.replace("rpo = \"1h\"", "rpo = \"50s\""), 0o644);
    shop.commit(1);
    shop.back_up();
    shop
}

fn serve(shop: &Shop) -> Running {
    let mut command = shop.command();
    command.args(["serve", "--socket"]).arg(shop.at("socket"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command.spawn().unwrap())
}

/// Returns up to when everything is captured.
fn captured(shop: &Shop) -> Timestamp {
    let output = shop.run(&["--json", "status"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["assets"][0]["tiers"][0]["captured"].as_str().unwrap().parse().unwrap()
}

/// Waits until everything is captured up to a time.
fn wait_until_captured(shop: &Shop, time: &str) -> Timestamp {
    let (time, end) = (time.parse::<Timestamp>().unwrap(), Instant::now() + PATIENCE);
    loop {
        let captured = captured(shop);
        if captured > time {
            return captured;
        }
        assert!(Instant::now() < end, "captured up to {captured}, and it is past {time}");
        // It is the server that waits in between, and writes nothing meanwhile.
        shop.sql("SELECT pg_sleep(0.2)");
    }
}

fn what_is_vouched_for_is_archived(release: Release) {
    let shop = shop(release);
    let daemon = serve(&shop);
    let second = shop.commit(2);
    let vouched = wait_until_captured(&shop, &second);
    let segments = || shop.sql("SELECT archived_count FROM pg_stat_archiver");
    let archived = segments();
    // It rests on, is vouched for further, and costs no further segment.
    wait_until_captured(&shop, &(vouched + Duration::from_secs(1)).to_string());
    assert_eq!(segments(), archived);
    // What is not archived yet is not vouched for.
    let third = shop.commit(3);
    assert!(captured(&shop) < third.parse::<Timestamp>().unwrap());
    wait_until_captured(&shop, &third);
    daemon.stop();
    let recovered = shop.recover("latest", "recovered", &[]);
    assert_eq!(recovered.rows(), [1, 2, 3]);
    recovered.stop_and_check_pages();
}

#[test]
fn what_a_server_that_rests_is_vouched_for_is_archived_on_15() {
    what_is_vouched_for_is_archived(Release::System);
}

#[test]
fn what_a_server_that_rests_is_vouched_for_is_archived_on_18() {
    what_is_vouched_for_is_archived(Release::Eighteen);
}
