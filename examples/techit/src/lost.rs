//! Complete system failure: the machine is gone, with the tier on its disk and the plan.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, Unit};
use lifeboat_model::{ByteSize, Clock as _, SystemClock};
use techit::failure::StageError;
use techit::machine::Machine;

use crate::proof::Record;
use crate::screen;
use crate::stage::Stage;
use crate::story::{BACKUP, a_second_later, objectives, rows, seconds};

/// What an intruder does.
const INTRUSION: &str =
    "DELETE FROM orders_payment; UPDATE users_customuser SET is_superuser = true WHERE id = 7";

/// What was there before it went wrong, and what was lost.
struct Struck {
    before: Record,
    /// A second before it went wrong.
    good: Timestamp,
    /// How many orders came in after that.
    unnoticed: u64,
    at: Timestamp,
    instant: Instant,
}

/// Tells what happens, and how the platform comes back.
pub fn tell(stage: &mut Stage<'_>) -> Result<(), StageError> {
    let struck = strike(stage)?;
    bootstrap(stage)?;
    recover(stage, &struck)?;
    prove(stage, &struck)?;
    protect_again(stage)
}

fn strike(stage: &mut Stage<'_>) -> Result<Struck, StageError> {
    screen::chapter(4, "The disaster");
    let machine = &mut stage.machine;
    machine.manage(&["shop", "20"])?;
    screen::say("20 orders come in after the last backup.");
    let before = Record::take(machine)?;
    let good = a_second_later(machine)?;
    let went_wrong = a_second_later(machine)?;
    machine.sql(INTRUSION)?;
    screen::say(format_args!(
        "At {} an intruder makes himself an administrator and deletes all {} payments.",
        went_wrong.strftime("%H:%M:%S UTC"),
        before.rows_of("orders_payment")
    ));
    machine.manage(&["shop", "5"])?;
    let unnoticed = rows(machine, "orders_order")? - before.rows_of("orders_order");
    machine.wait_for_archive()?;
    screen::say(format_args!(
        "Nobody notices; {unnoticed} orders come in. Then the machine is lost: every process is killed, and all"
    ));
    screen::say(
        "its files are gone: database, media, settings, the plan, the key, and the tier on its disk.",
    );
    let (at, instant) = (SystemClock.now(), Instant::now());
    machine.die()?;
    Ok(Struck { before, good, unnoticed, at, instant })
}

fn bootstrap(stage: &Stage<'_>) -> Result<(), StageError> {
    screen::chapter(5, "A new machine");
    stage.machine.replace()?;
    screen::say(
        "It has programs, and nothing else: no plan, no state, no copies. Somebody knows an address",
    );
    screen::say("and brings the key:");
    stage.run(&stage.machine.bootstrap())?;
    let (stick, key) = (stage.machine.stick(), stage.machine.at("etc/lifeboat/recovery.key"));
    let (stick, key) = (stick.display().to_string(), key.display().to_string());
    stage.run_other("install", &["-m", "600", &stick, &key])
}

fn recover(stage: &Stage<'_>, struck: &Struck) -> Result<(), StageError> {
    screen::chapter(6, "The recovery");
    screen::say(
        "The latest state would be one without payments, and the last backup one without 20 orders.",
    );
    screen::say(
        "So it is to come back to the second before. First lifeboat says what it would do:",
    );
    let at = struck.good.to_string();
    let words = ["--at", &at, "--without", "primary"];
    let scenario = "complete-system-failure";
    let begin = Machine::recover(scenario);
    let begin: Vec<_> = begin.iter().map(String::as_str).chain(words).collect();
    let mut recovery = stage.recover(&begin)?;
    let provision = ["recover", "confirm", "provision", "--note", "the new server", "--all"];
    recovery.answer("provision", &provision)?;
    let approval = ["recover", "approve", "approve-switch", "--reason", "the check-list is done"];
    recovery.answer("approve-switch", &approval)?;
    recovery.end()?;
    let back = seconds(struck.instant.elapsed());
    let told = std::fs::read_to_string(stage.machine.away("told")).unwrap_or_default();
    screen::say("");
    screen::say(format_args!("{back} after the disaster people are told: {}", told.trim()));
    Ok(())
}

fn prove(stage: &Stage<'_>, struck: &Struck) -> Result<(), StageError> {
    screen::chapter(7, "The proof");
    screen::say(
        "Without lifeboat's help: PostgreSQL counts and hashes rows, files are read, and the kernel",
    );
    screen::say("tells their owners, modes and times.");
    screen::say("");
    let machine = &stage.machine;
    let now = struck.before.take_again(machine)?;
    struck.before.compare(&now)?;
    let on_top = rows(machine, "orders_order")? - now.rows_of("orders_order");
    let (files, bytes) = now.files();
    let lost = struck.at.duration_since(struck.good).round(Unit::Millisecond);
    let lost = lost.unwrap_or(SignedDuration::ZERO).unsigned_abs();
    screen::say("");
    screen::say(format_args!(
        "All {} rows and all {files} files ({}) are as they were a second before the intruder came; the",
        now.rows(),
        ByteSize(bytes)
    ));
    screen::say(format_args!(
        "check-list's own {on_top} order comes on top. What went out to services of others: {} mails,",
        machine.mails().taken().len()
    ));
    screen::say(format_args!(
        "{} calls. Lost are the {} orders of the last {}. Beside what the plan allows:",
        machine.others().taken().len(),
        struck.unnoticed,
        seconds(lost)
    ));
    screen::say("");
    objectives(stage, Some(lost.max(Duration::from_millis(1))))?;
    screen::say("");
    screen::say("The record of it is signed, and lies on the tiers:");
    stage.run(&["evidence", "list"])
}

/// Gives the new machine a tier of its own, and makes the platform safe again.
fn protect_again(stage: &mut Stage<'_>) -> Result<(), StageError> {
    screen::chapter(8, "Safe again");
    screen::say(
        "A tier that is lost is never made again in silence, so the new disk gets a new name; it is filled",
    );
    screen::say("from the bucket, the log is archived again, and all is backed up:");
    let rename =
        ["-i", "-e", "s/tiers\\.primary/tiers.local/", "-e", "/to = /s/\"primary\"/\"local\"/g"];
    stage.run_other("sed", &[&rename[..], &["plan.toml"]].concat())?;
    // What comes back is for its owner alone, and the server's user has to read it.
    stage.run_other("chmod", &["-R", "a+rX", "plan.toml", "runbooks"])?;
    screen::command("lifeboat wal serve /var/lib/postgresql/main --socket /run/lifeboat.sock &");
    stage.machine.serve_log()?;
    stage.run(&BACKUP)?;
    stage.show_tiers()
}
