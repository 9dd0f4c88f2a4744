//! What all films begin with: the platform lives, has a plan, and is backed up to three tiers; and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lifeboat_testing::interrupt::Interrupt;
use techit::clouds::{OFFSITE, SECONDARY};
use techit::failure::{StageError, not_proven};
use techit::machine::{Folder, Machine, pause};

use crate::stage::Stage;
use crate::{Scenario, lost, mended, screen};

/// What is backed up, in the plan's order.
pub const BACKUP: [&str; 6] =
    ["backup", "database", "media", "configuration", "application", "logs"];

/// How many users the platform has at first.
const USERS: u32 = 400;

/// Which parts of the plan are shown: from a line that begins so, until the next empty one.
const SHOWN: [&str; 5] = [
    "[assets.database]",
    "[tiers.primary]",
    "[tiers.secondary]",
    "[tiers.offsite]",
    "[schedules.hourly]",
];

/// A film.
pub struct Story<'a> {
    stage: Stage<'a>,
    folder: Folder,
    began: Instant,
}

impl<'a> Story<'a> {
    /// Makes the machine and installs the platform.
    pub fn begin(
        lifeboat: &Path,
        below: &Path,
        folder: Folder,
        interrupt: &'a Interrupt,
    ) -> Result<Self, StageError> {
        let began = Instant::now();
        screen::say("This is lifeboat's demo: a platform lives, is struck, and is brought back.");
        screen::chapter(1, "The platform lives");
        let machine = Machine::new(lifeboat, below, folder)?;
        screen::say(format_args!("The root of its machine is {}.", machine.at("").display()));
        interrupt.check()?;
        machine.install(USERS)?;
        Ok(Self { stage: Stage { machine, interrupt }, folder, began })
    }

    /// Tells it from the first chapter to the last.
    pub fn tell(mut self, scenario: Scenario) -> Result<(), StageError> {
        self.live()?;
        self.plan(scenario)?;
        self.back_up()?;
        match scenario {
            Scenario::CompleteSystemFailure => lost::tell(&mut self.stage)?,
            other => mended::tell(&mut self.stage, other)?,
        }
        screen::say("");
        screen::say(format_args!("The demo took {}.", seconds(self.began.elapsed())));
        match self.folder {
            Folder::Stays => {
                let root = self.stage.machine.root().display();
                screen::say(format_args!("Nothing is left running, and its folder stays: {root}"));
            }
            Folder::Goes => {
                screen::say("Nothing is left running, and its folder is removed.");
            }
        }
        Ok(())
    }

    fn live(&self) -> Result<(), StageError> {
        let Stage { machine, interrupt } = &self.stage;
        screen::say(
            "Django behind gunicorn and nginx, with PostgreSQL, Redis and a Celery worker.",
        );
        interrupt.check()?;
        machine.manage(&["shop", "60"])?;
        machine.manage(&["probe", "orders"])?;
        let (users, pictures) = (rows(machine, "users_customuser")?, machine.at(MEDIA));
        let files = lifeboat_testing::tree::capture(&pictures)
            .map_err(techit::failure::file("read", &pictures))?;
        screen::say(format_args!(
            "It has {users} users and {} uploads, and takes orders over HTTP:",
            files.file_count()
        ));
        let (orders, paid) = (rows(machine, "orders_order")?, rows(machine, "orders_payment")?);
        let mails = machine.mails().taken().len();
        screen::say(format_args!("{orders} orders, {paid} payments, {mails} mails to customers."));
        Ok(())
    }

    fn plan(&mut self, scenario: Scenario) -> Result<(), StageError> {
        screen::chapter(2, "The plan");
        screen::say(
            "Copies go to the machine's disk, since that is fast, and to two clouds, since machines are",
        );
        screen::say(format_args!(
            "lost: {SECONDARY} and {OFFSITE}. Emulators stand in for them here."
        ));
        screen::say("lifeboat makes the recovery key and the tiers:");
        self.stage.run(&self.stage.machine.init())?;
        let text = self.stage.machine.write_plan()?;
        screen::say("");
        screen::say(
            "The operators write the plan: what matters, where copies live, what is done in which case.",
        );
        screen::say("");
        let host = self.stage.machine.at("").display().to_string();
        let wanted = format!("[scenarios.{}]", scenario.name());
        for part in SHOWN.iter().copied().chain([wanted.as_str()]) {
            let lines = text.lines().skip_while(|line| *line != part);
            for line in lines.take_while(|line| !line.is_empty()) {
                screen::say(format_args!("│ {}", line.replace(&host, "/")));
            }
            screen::say("│");
        }
        screen::say("│ …");
        screen::say("");
        screen::say(
            "The key opens every copy. Somebody takes it away, and proves it by reading it back:",
        );
        self.stage.machine.keep_key()?;
        let stick = self.stage.machine.stick().display().to_string();
        self.stage.run(&["key", "confirm", "--from", &stick])?;
        screen::say("");
        screen::say(
            "PostgreSQL hands its log over, so that no change is lost between two backups:",
        );
        screen::command(
            "lifeboat wal serve /var/lib/postgresql/main --socket /run/lifeboat.sock &",
        );
        self.stage.machine.serve_log()?;
        self.stage.run_shortly(&self.stage.machine.setup(), &["the server", "archived"])
    }

    fn back_up(&self) -> Result<(), StageError> {
        screen::chapter(3, "Three tiers");
        self.stage.run(&BACKUP)?;
        screen::say("");
        screen::say("Is every copy whole? What tiers hold is read back:");
        self.stage.run(&["verify"])?;
        screen::say("");
        screen::say(
            "Does the database come back? It is recovered into a sandbox that reaches nothing:",
        );
        self.stage.run(&["verify", "--restore", "database"])?;
        screen::say("");
        self.stage.machine.manage(&["shop", "40"])?;
        screen::say("Life goes on: 40 more orders. The next backup stores only what changed:");
        self.stage.run(&BACKUP)?;
        self.stage.show_tiers()
    }
}

/// Where uploads lie.
pub const MEDIA: &str = "var/www/techit_solutions/media";

/// Counts the rows of a table.
pub fn rows(machine: &Machine, table: &str) -> Result<u64, StageError> {
    let said = machine.sql(&format!("SELECT count(*) FROM {table}"))?;
    said.parse().map_err(|_| not_proven(format!("{table} has `{said}` rows")))
}

/// Waits until another second begins, and has the server's clock say which.
pub fn a_second_later(machine: &Machine) -> Result<Timestamp, StageError> {
    let now = || -> Result<Timestamp, StageError> {
        let said = machine.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")?;
        said.parse().map_err(|_| not_proven(format!("`{said}` is no time")))
    };
    let begun = now()?;
    loop {
        let later = now()?;
        if later > begun {
            return Ok(later);
        }
        pause();
    }
}

/// Writes a duration as a person reads it.
pub fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// Shows what the last recovery took and lost, beside what the plan allows; fails if it allows less.
pub fn objectives(stage: &Stage<'_>, lost: Option<Duration>) -> Result<(), StageError> {
    let status = stage.ask(&["recover", "status"])?;
    let scenario = status["scenario"].as_str().unwrap_or_default();
    let ahead = stage.ask(&["recover", scenario, "--dry-run"])?;
    let allowed =
        |document: &serde_json::Value, key: &str| document[key].as_u64().map(Duration::from_millis);
    let took = status["times"]["total_ms"].as_u64().map(Duration::from_millis);
    let known = [
        ("time", took, allowed(&status, "rto_ms"), "RTO"),
        ("loss", lost, allowed(&ahead, "rpo_ms"), "RPO"),
    ];
    let mut lines = vec![["", "measured", "allowed", "met"].map(str::to_owned).to_vec()];
    let mut all_met = true;
    for (what, measured, allowed, name) in known {
        let (Some(measured), Some(allowed)) = (measured, allowed) else { continue };
        let is_met = measured <= allowed;
        all_met &= is_met;
        let word = if is_met { "yes" } else { "NO" };
        let allowed = format!("{} h ({name})", allowed.as_secs() / 3600);
        lines.push(vec![what.to_owned(), seconds(measured), allowed, word.to_owned()]);
    }
    screen::table(&lines);
    if all_met { Ok(()) } else { Err(not_proven("an objective of the plan was missed")) }
}
