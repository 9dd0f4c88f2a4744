//! What happens to a platform that goes on: its database is corrupt, rows, pictures or settings are gone, or what serves
//! it is down.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use techit::failure::{StageError, file, not_proven};
use techit::machine::Machine;

use crate::proof::Record;
use crate::stage::{Recovery, Stage};
use crate::story::{MEDIA, a_second_later, objectives, rows};
use crate::{Scenario, screen};

/// What somebody's script does.
const DELETION: &str =
    "WITH gone AS (DELETE FROM orders_payment WHERE order_id % 2 = 0 RETURNING 1)
     SELECT count(*) FROM gone";

/// Tells what happens, and how it is mended.
pub fn tell(stage: &mut Stage<'_>, scenario: Scenario) -> Result<(), StageError> {
    stage.machine.manage(&["shop", "20"])?;
    stage.machine.wait_for_archive()?;
    let before = Record::take(&stage.machine)?;
    screen::chapter(4, "What happens");
    screen::say("20 orders come in after the last backup. Then:");
    let options = strike(&stage.machine, scenario)?;
    screen::chapter(5, "The recovery");
    screen::say("First lifeboat says what it would do:");
    let name = scenario.name();
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let begin = Machine::recover(name);
    let begin: Vec<_> = begin.iter().map(String::as_str).chain(options.iter().copied()).collect();
    let mut recovery = stage.recover(&begin)?;
    match scenario {
        Scenario::WebServerFailure => {
            let note = ["recover", "confirm", "look", "--note", "both were killed", "--all"];
            recovery.answer("look", &note)?;
        }
        Scenario::AccidentalDeletion => bring_rows_back(&mut recovery, options[1])?,
        _ => {}
    }
    recovery.end()?;
    prove(stage, scenario, &before)
}

/// Strikes; returns what the recovery is told beside its scenario.
fn strike(machine: &Machine, scenario: Scenario) -> Result<Vec<String>, StageError> {
    match scenario {
        Scenario::DatabaseCorruption => return corrupt(machine),
        Scenario::AccidentalDeletion => return delete(machine),
        Scenario::MediaLoss => lose_media(machine)?,
        Scenario::ConfigurationLoss => {
            for path in ["var/www/techit_solutions/.env", "etc/nginx/nginx.conf"] {
                let path = machine.at(path);
                fs::remove_file(&path).map_err(file("remove", &path))?;
            }
            screen::say("Somebody removes the platform's .env and the web server's settings.");
        }
        Scenario::WebServerFailure | Scenario::CompleteSystemFailure => {
            for name in ["nginx", "gunicorn"] {
                machine.kill(&machine.at(&format!("run/techit/{name}.pid")))?;
            }
            let complaint = machine.complaint(&["probe", "login"])?;
            let said = complaint.lines().last().unwrap_or_default();
            screen::say("The web server and the application server are killed. A customer sees:");
            screen::say(said);
        }
    }
    Ok(Vec::new())
}

/// Damages what the orders lie in; the recovery goes back to the second before.
fn corrupt(machine: &Machine) -> Result<Vec<String>, StageError> {
    let good = a_second_later(machine)?;
    a_second_later(machine)?;
    machine.manage(&["probe", "login"])?;
    machine.wait_for_archive()?;
    let table = machine.sql("SELECT pg_relation_filepath('orders_order')")?;
    machine.sql("CHECKPOINT")?;
    overwrite(&machine.data().join(&table), 512, &[0xff; 4096])?;
    screen::say(format_args!("A disk writes noise over 4 KiB of {table}, where the orders are."));
    Ok(vec!["--at".to_owned(), good.to_string()])
}

/// Deletes what has to come back, while what comes in since has to stay.
fn delete(machine: &Machine) -> Result<Vec<String>, StageError> {
    let good = a_second_later(machine)?;
    a_second_later(machine)?;
    let gone = machine.sql(DELETION)?;
    machine.manage(&["shop", "5"])?;
    machine.wait_for_archive()?;
    screen::say(format_args!(
        "Somebody's script deletes {gone} payments. 5 more orders come in, which have to stay."
    ));
    let beside = machine.at("srv/beside").display().to_string();
    Ok(vec!["--at".to_owned(), good.to_string(), "--to".to_owned(), beside])
}

fn lose_media(machine: &Machine) -> Result<(), StageError> {
    let picture = |number: u32| machine.at(&format!("{MEDIA}/avatars/customer-{number}.jpg"));
    for number in 1..=200 {
        let path = picture(number);
        fs::remove_file(&path).map_err(file("remove", &path))?;
    }
    overwrite(&picture(201), 100, b"noise")?;
    let complaint = machine.complaint(&["check_media_files"])?;
    screen::say(
        "200 pictures are removed, and one is damaged. `manage.py check_media_files` says:",
    );
    screen::say(complaint.lines().last().unwrap_or_default().chars().take(90).collect::<String>());
    Ok(())
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StageError> {
    let mut target = fs::File::options().write(true).open(path).map_err(file("open", path))?;
    let written = target.seek(SeekFrom::Start(offset)).and_then(|_| target.write_all(bytes));
    written.map_err(file("damage", path))
}

/// Has people say when it was, and look at what is missing; the runbook brings it back.
fn bring_rows_back(recovery: &mut Recovery<'_>, at: &str) -> Result<(), StageError> {
    recovery.answer("when", &["recover", "confirm", "when", "--note", at, "--all"])?;
    let look = ["recover", "confirm", "look", "--note", "payments of even orders", "--all"];
    recovery.answer("look", &look)
}

fn prove(stage: &Stage<'_>, scenario: Scenario, before: &Record) -> Result<(), StageError> {
    screen::chapter(6, "The proof");
    screen::say(
        "Without lifeboat's help: PostgreSQL counts and hashes rows, files are read, and the kernel",
    );
    screen::say("tells their owners, modes and times.");
    screen::say("");
    let machine = &stage.machine;
    let now = before.take_again(machine)?;
    before.compare(&now)?;
    let on_top = rows(machine, "orders_order")? - now.rows_of("orders_order");
    screen::say("");
    screen::say(format_args!("Nothing of what was there is lost; {on_top} orders came since."));
    kept(machine, scenario)?;
    screen::say("Beside what the plan allows:");
    screen::say("");
    objectives(stage, None)?;
    screen::say("");
    screen::say("The record of it is signed, and lies on the tiers:");
    stage.run(&["evidence", "list"])
}

/// Tells where the damaged state is kept, which whoever looks for the cause needs.
fn kept(machine: &Machine, scenario: Scenario) -> Result<(), StageError> {
    let replaced = match scenario {
        Scenario::DatabaseCorruption => "var/lib/postgresql/main",
        Scenario::MediaLoss => MEDIA,
        _ => return Ok(()),
    };
    let aside = machine.aside(replaced)?;
    let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = Path::new(replaced).parent().unwrap_or(Path::new(""));
    screen::say(format_args!("What was damaged is kept: /{}/{name}", folder.display()));
    if aside.exists() { Ok(()) } else { Err(not_proven("the damaged state is not kept")) }
}
