//! The story, chapter by chapter.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{ByteSize, Clock as _, SystemClock};
use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::postgres::SUPERUSER;

use crate::clouds::{Clouds, OFFSITE, SECONDARY};
use crate::disaster;
use crate::failure::{DemoError, file};
use crate::files::{self, Look};
use crate::folder::{Folder, bytes_below};
use crate::lifeboat::{COULD_NOT_VERIFY, Lifeboat};
use crate::log_service::LogService;
use crate::media;
use crate::plan::{self, ASSETS, SITE};
use crate::platform::{self, Platform};
use crate::proof::Record;
use crate::report::{self, Measured};
use crate::schema;
use crate::screen;
use crate::tables;

/// The tier on the machine, and the one that takes its place on a new machine.
const PRIMARY: &str = "primary";
const NEW_PRIMARY: &str = "local";

/// The copy of the recovery key that somebody took away, as it is seen from the machine.
const KEPT_KEY: &str = "../safe-elsewhere/recovery.key";

/// How often it is looked whether the log is served: for ten seconds.
const SOCKET_LOOKS_MAX: u32 = 200;

/// How much of the first backup the second may add at most: it stores only what changed.
const GROWTH_PERCENT_MAX: u64 = 25;

/// Everything that the story needs; dropping it stops the server and removes the folder.
pub struct Story<'a> {
    // The server stops before its folder goes, and its log is served until then: fields are dropped in
    // this order.
    platform: Platform,
    folder: Folder,
    lifeboat: Lifeboat<'a>,
    log_service: Option<LogService>,
    clouds: Clouds,
    interrupt: &'a Interrupt,
    keep: bool,
    began: Instant,
}

/// What was there before it went wrong, and up to when it can come back.
struct Before {
    record: Record,
    /// When the last backup of the files began.
    files: Timestamp,
    /// A second before it went wrong.
    database: Timestamp,
}

/// When the machine was lost.
struct Struck {
    at: Timestamp,
    instant: Instant,
    /// How many rows had been deleted on purpose, and how many had come in since.
    deleted: u64,
    unnoticed: u64,
}

impl<'a> Story<'a> {
    /// Makes the folder and starts the database server.
    pub fn begin(
        binary: &Path,
        below: &Path,
        keep: bool,
        interrupt: &'a Interrupt,
    ) -> Result<Self, DemoError> {
        let began = Instant::now();
        let folder = Folder::make(below, keep)?;
        screen::say(
            "This is lifeboat's demo: a platform is backed up, destroyed and brought back.",
        );
        screen::say(format_args!("Everything happens in {}", folder.path().display()));
        screen::chapter(1, "A platform");
        let platform = Platform::start(&folder)?;
        let clouds = Clouds::start()?;
        let lifeboat = Lifeboat::new(binary, &folder, clouds.environment(), interrupt);
        Ok(Self { log_service: None, platform, folder, lifeboat, clouds, interrupt, keep, began })
    }

    /// Tells it from the first chapter to the last.
    pub fn tell(mut self) -> Result<(), DemoError> {
        self.fill()?;
        self.write_plan()?;
        self.first_backup()?;
        let files = self.second_backup()?;
        let (before, struck) = self.disaster(files)?;
        self.bootstrap()?;
        let measured = self.recover(&before, &struck)?;
        self.prove(&before, &struck, &measured)?;
        self.end();
        Ok(())
    }

    fn fill(&self) -> Result<(), DemoError> {
        let user = self.platform.cluster().os_user().unwrap_or("you");
        screen::say(format_args!(
            "PostgreSQL runs as the user {user} on a socket of its own. Filling it with users,"
        ));
        screen::say("services, orders, payments and tickets …");
        self.platform.fill_database()?;
        self.interrupt.check()?;
        let uploads = platform::fill_files(&self.folder, self.interrupt)?;
        let rows = tables::count(self.platform.cluster())?;
        let bytes = ByteSize(bytes_below(&self.folder.media())?);
        screen::say(format_args!("{rows} rows are in the database,"));
        screen::say(format_args!("{uploads} uploads with {bytes} lie in its media folder,"));
        screen::say("and it has a .env, a web server's settings, certificates and logs.");
        let pictures = self.platform.open_the_doors(&self.folder)?;
        screen::say(format_args!(
            "The application is up: it reads its .env, logs in, and finds all {pictures} pictures."
        ));
        Ok(())
    }

    fn write_plan(&mut self) -> Result<(), DemoError> {
        screen::chapter(2, "A plan");
        self.say_where_the_clouds_are();
        screen::say("A first plan and the recovery key are made by lifeboat:");
        let cluster = self.platform.cluster();
        let connect = format!(
            "host={} port={} user={SUPERUSER} dbname={}",
            cluster.socket_dir().display(),
            cluster.port(),
            schema::DATABASE
        );
        let key = self.make_key(&connect)?;
        let text = plan::text(&self.folder, &connect, &key);
        let look = Look { mode: 0o644, is_web: false, age: std::time::Duration::ZERO };
        files::write(&self.folder.plan(), text.as_bytes(), look)?;
        let runbook = self.folder.machine().join(plan::RUNBOOK);
        files::write(&runbook, plan::RUNBOOK_TEXT.as_bytes(), look)?;
        screen::say("");
        screen::say(
            "The operators complete it: what matters, where copies live, when they are made.\n",
        );
        for line in text.lines() {
            screen::say(format_args!("│ {line}"));
        }
        screen::say("");
        screen::say("The recovery key opens every copy. Somebody keeps it away from this machine,");
        screen::say("and proves it by reading it back:");
        let (kept, path) = (self.folder.kept_key(), self.folder.key());
        let look = Look { mode: 0o600, is_web: false, age: std::time::Duration::ZERO };
        let written = std::fs::read(&path).map_err(file("read", &path))?;
        files::write(&kept, &written, look)?;
        self.lifeboat.run(&["key", "confirm", "--from", KEPT_KEY])?;
        self.archive()
    }

    fn say_where_the_clouds_are(&self) {
        screen::say(
            "Copies shall live on the machine, since that is fast, and in two clouds, since machines",
        );
        screen::say(
            "are lost: a bucket of S3, and a container of Azure. Servers that speak like them stand in;",
        );
        screen::say(
            "where they are and who we are there stands in the environment, as the vendors have it:\n",
        );
        for (name, value) in self.clouds.environment() {
            let is_secret = ["SECRET", "CONNECTION"].iter().any(|word| name.contains(word));
            let value = if is_secret { "…" } else { &value };
            screen::say(format_args!("export {name}={value}"));
        }
        screen::say("");
    }

    /// Has the server hand over its log.
    fn archive(&mut self) -> Result<(), DemoError> {
        screen::say("");
        screen::say(
            "PostgreSQL writes every change to its log first. It is told to hand that log over to",
        );
        screen::say("lifeboat, which runs beside it, and this is proven at once:");
        self.archive_from_now_on()
    }

    fn archive_from_now_on(&mut self) -> Result<(), DemoError> {
        self.serve_log()?;
        let socket = self.folder.log_socket().display().to_string();
        let setup = ["postgres", "setup", ASSETS[0], "--restart", "--socket", &socket];
        self.lifeboat.run(&setup)?;
        self.platform.archive_every_two_seconds()
    }

    fn serve_log(&mut self) -> Result<(), DemoError> {
        let data = self.folder.postgres().display().to_string();
        let socket = self.folder.log_socket().display().to_string();
        self.log_service =
            Some(self.lifeboat.serve(&["wal", "serve", &data, "--socket", &socket])?);
        for _ in 0..SOCKET_LOOKS_MAX {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(());
            }
            self.platform.work("SELECT pg_sleep(0.05)")?;
        }
        Err(DemoError::NotProven { what: format!("nobody serves the log on {socket}") })
    }

    /// Lets lifeboat make the recovery key, and returns the `[key]` table that it writes for it.
    fn make_key(&self, connect: &str) -> Result<String, DemoError> {
        let primary = format!("{PRIMARY}=file://{}", self.folder.tier(PRIMARY).display());
        let secondary = format!("secondary={SECONDARY}");
        let offsite = format!("offsite={OFFSITE}");
        let media = format!("media={}", self.folder.media().display());
        let database = format!("database={connect}");
        self.lifeboat.run(&[
            "init",
            "--no-discovery",
            "--site",
            SITE,
            "--tier",
            &primary,
            "--tier",
            &secondary,
            "--tier",
            &offsite,
            "--database",
            &database,
            "--asset-path",
            &media,
        ])?;
        let path = self.folder.plan();
        let text = std::fs::read_to_string(&path).map_err(file("read", &path))?;
        let table = text.lines().skip_while(|line| *line != "[key]");
        let table = table.take_while(|line| *line == "[key]" || !line.starts_with('['));
        Ok(table.collect::<Vec<_>>().join("\n"))
    }

    fn first_backup(&self) -> Result<(), DemoError> {
        screen::chapter(3, "The first backup");
        screen::say(
            "The database's own files are copied while it runs, with the log that makes them whole;",
        );
        screen::say("all is read once and goes encrypted into a repository on each tier.");
        self.lifeboat.run(&["backup"])?;
        screen::say("");
        screen::say("Is the plan sound, and could it run by itself now?");
        self.lifeboat.run(&["check"])?;
        screen::say("");
        screen::say("Are the copies whole? Every byte is read back:");
        self.lifeboat.run(&["verify"])?;
        screen::say("");
        screen::say(
            "Does the database come back? It is recovered into a sandbox that can reach nothing:",
        );
        self.lifeboat.run(&["verify", "--restore", ASSETS[0]])?;
        screen::say("");
        screen::say("How do things stand, and what can be gone back to?");
        self.lifeboat.run(&["status"])?;
        self.lifeboat.run(&["points"])?;
        screen::say("");
        screen::say("And what does each tier hold?");
        self.lifeboat.run(&["tiers"])
    }

    /// Backs up what a day changed; returns when that began.
    fn second_backup(&self) -> Result<Timestamp, DemoError> {
        screen::chapter(4, "Life goes on");
        self.platform.work(schema::A_DAY)?;
        let uploads = media::write_more(&self.folder.media(), 1)?;
        platform::write_settings(&self.folder, "rotated-secret")?;
        screen::say(format_args!(
            "1500 orders come in, tickets are closed, {uploads} pictures change, a secret is rotated."
        ));
        let first = bytes_below(&self.folder.tier(PRIMARY))?;
        let began = SystemClock.now();
        screen::say("The second backup stores only what changed:");
        self.lifeboat.run(&["backup"])?;
        let grown = bytes_below(&self.folder.tier(PRIMARY))?.saturating_sub(first);
        screen::say("");
        screen::say(format_args!(
            "Measured on its disk, the primary tier grew by {}, from {}.",
            ByteSize(grown),
            ByteSize(first)
        ));
        if grown * 100 > first * GROWTH_PERCENT_MAX {
            let what = "the second backup stored much more than what changed".to_owned();
            return Err(DemoError::NotProven { what });
        }
        Ok(began)
    }

    fn disaster(&mut self, files: Timestamp) -> Result<(Before, Struck), DemoError> {
        screen::chapter(5, "The disaster");
        self.platform.work(schema::LAST_MINUTES)?;
        screen::say("40 more orders come in, after the last backup.");
        let last_order = SystemClock.now();
        let record = Record::take(&self.platform, &self.folder)?;
        let went_wrong = self.platform.a_second_after(last_order)?;
        let database = went_wrong - SignedDuration::from_secs(1);
        let before = Before { record, files, database };
        screen::say(format_args!(
            "At {} an intruder makes himself an administrator and deletes all payments.",
            report::time_of_day(went_wrong)
        ));
        self.platform.work(schema::INTRUSION)?;
        let deleted = before.record.rows().saturating_sub(tables::count(self.platform.cluster())?);
        self.platform.work(schema::UNNOTICED)?;
        screen::say(
            "Nobody notices; 5 orders come in. Then the machine is lost: the server is killed,",
        );
        screen::say(
            "its data, media, settings, certificates and logs are deleted, and with them the plan,",
        );
        screen::say("the tier on its disk, and all that lifeboat knew there.");
        let rows = tables::count(self.platform.cluster())?;
        let unnoticed = (rows + deleted).saturating_sub(before.record.rows());
        self.platform.wait_for_archive()?;
        let struck = Struck { at: SystemClock.now(), instant: Instant::now(), deleted, unnoticed };
        drop(self.log_service.take());
        disaster::strike(&mut self.platform, &self.folder)?;
        match self.platform.open_the_doors(&self.folder) {
            Ok(_) => Err(DemoError::NotProven { what: "the platform survived".to_owned() }),
            Err(error) => {
                screen::say(format_args!("The application is down: {error}."));
                Ok((before, struck))
            }
        }
    }

    /// Brings the plan back to a machine that has nothing.
    fn bootstrap(&self) -> Result<(), DemoError> {
        screen::chapter(6, "A new machine");
        self.folder.make_machine()?;
        screen::say(
            "It has lifeboat and PostgreSQL's programs, and nothing else: no plan, no state, no copies.",
        );
        screen::say("Somebody knows an address and brings the recovery key:");
        self.lifeboat.run(&["restore", "--from", SECONDARY, "--key-file", KEPT_KEY])?;
        for file in [self.folder.plan(), self.folder.machine().join(plan::RUNBOOK)] {
            if !file.is_file() {
                let what = format!("{} did not come back", file.display());
                return Err(DemoError::NotProven { what });
            }
        }
        screen::say("");
        screen::say("What it says is done, command by command:");
        let key = self.folder.key().display().to_string();
        self.lifeboat.run_other("install", &["-D", "-m", "600", KEPT_KEY, &key])?;
        self.lifeboat.run_to(COULD_NOT_VERIFY, &["tiers"])
    }

    fn recover(&mut self, before: &Before, struck: &Struck) -> Result<Vec<Measured>, DemoError> {
        screen::chapter(7, "The recovery");
        screen::say("The latest copy of the database would be one without");
        screen::say(
            "payments, and the last backup one without 40 orders. So it comes back to the second",
        );
        screen::say("before. First: what would that be, and what is lost?");
        let (at, to) = (before.database.to_string(), self.folder.postgres().display().to_string());
        let from = ["--tier", "secondary"];
        let restore = ["restore", "database", "--at", &at, "--to", &to, from[0], from[1]];
        self.lifeboat.run(&[&restore[..], &["--dry-run"]].concat())?;
        self.lifeboat.run(&[&restore[..], &["--start"]].concat())?;
        self.platform.take_over()?;
        let mut measured = vec![Measured {
            asset: ASSETS[0],
            captured: before.database,
            recovered_after: struck.instant.elapsed(),
        }];
        for asset in &ASSETS[1..] {
            let in_place = ["--in-place", "--confirm", SITE];
            self.lifeboat.run(&[&["restore", asset][..], &from, &in_place].concat())?;
            let recovered_after = struck.instant.elapsed();
            measured.push(Measured { asset, captured: before.files, recovered_after });
        }
        let pictures = self.platform.open_the_doors(&self.folder)?;
        screen::say("");
        screen::say(format_args!(
            "The application is up again: it logs in and finds all {pictures} pictures, {} after the disaster.",
            report::seconds(struck.instant.elapsed())
        ));
        self.protect_again()?;
        Ok(measured)
    }

    /// Gives the new machine a tier of its own, and makes the platform safe again.
    fn protect_again(&mut self) -> Result<(), DemoError> {
        screen::say("");
        screen::say(
            "A tier that is lost is never made again in silence, so the new disk gets a new name. The",
        );
        screen::say(
            "new tier is filled from the bucket, the log is archived again, and all is backed up:",
        );
        let rename = format!("s/{PRIMARY}/{NEW_PRIMARY}/g");
        self.lifeboat.run_other("sed", &["-i", &rename, "plan.toml"])?;
        // What comes back is for its owner alone, and the server's user has to read it.
        self.lifeboat.run_other("chmod", &["-R", "a+rX", "plan.toml", "runbooks"])?;
        self.archive_from_now_on()?;
        self.lifeboat.run(&["backup"])?;
        self.lifeboat.run(&["tiers"])
    }

    fn prove(
        &self,
        before: &Before,
        struck: &Struck,
        measured: &[Measured],
    ) -> Result<(), DemoError> {
        screen::chapter(8, "The proof");
        screen::say("Compared without lifeboat's help: PostgreSQL counts and hashes the tables,");
        screen::say("files are read, and the kernel tells their owners, modes and times.");
        screen::say("");
        let now = Record::take(&self.platform, &self.folder)?;
        before.record.compare(&now)?;
        let (files, bytes) = now.files();
        screen::say("");
        screen::say(format_args!(
            "All {} rows and all {files} files ({}) are as they were a second before.",
            now.rows(),
            ByteSize(bytes)
        ));
        screen::say(format_args!(
            "Of the {} payments that were deleted none is missing, and the 40 orders after the last",
            struck.deleted
        ));
        screen::say(format_args!(
            "backup are there. Lost are the {} rows of the last {}. Beside the plan's objectives:",
            struck.unnoticed,
            report::seconds(struck.at.duration_since(before.database).unsigned_abs())
        ));
        screen::say("");
        if report::show(struck.at, measured) {
            Ok(())
        } else {
            Err(DemoError::NotProven { what: "an objective of the plan was missed".to_owned() })
        }
    }

    fn end(&self) {
        screen::say("");
        screen::say(format_args!("The demo took {}.", report::seconds(self.began.elapsed())));
        if self.keep {
            screen::say(format_args!("Its folder stays: {}", self.folder.path().display()));
        } else {
            screen::say("Nothing is left running, and its folder is removed (`--keep` leaves it).");
        }
    }
}
