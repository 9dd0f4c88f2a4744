//! A restored server that is asked a few things and thrown away, in an [`Enclosure`].
//!
//! Whatever its own files say, it archives nothing, follows nobody, lets no subscription run, loads no library
//! that does things by itself, listens on one socket and lets in everybody who can reach that: the
//! directory around it belongs to one user. All of it is said on the command line, which comes before all files.
//!
//! # Limits
//!
//! What `ALTER ROLE` and `ALTER DATABASE` set for sessions still holds, such as
//! `session_preload_libraries`; a session may say otherwise. Nothing of it leaves the enclosure.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::Clock;
use tokio_postgres::error::SqlState;

use super::settings::limits;
use super::start::{
    LOOK_EVERY, PORT, Progress, ServerPrograms, StartError, last_words, progress, raised,
};
use crate::conninfo::Conninfo;
use crate::control::ServerLimits;
use crate::enclosure::{Enclosure, Errand, Inmate, Walls};
use crate::environment::ClientEnvironment;
use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::server::Server;

/// Empties every table that people made, without their triggers.
const REMOVE_ALL_ROWS: &str = "SET default_transaction_read_only = off;
    SET session_replication_role = replica;
    DO $$ DECLARE names text; BEGIN
        SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO names
            FROM pg_catalog.pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema');
        IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names || ' CASCADE'; END IF;
    END $$";

/// Libraries that do things by themselves: schedulers, and those that talk to other servers.
///
/// All others are kept: a resource manager of an extension is needed to replay its part of the log.
const BUSY_LIBRARIES: [&str; 16] = [
    "basic_archive",
    "bdr",
    "pg_cron",
    "pg_failover_slots",
    "pg_later",
    "pg_net",
    "pg_partman_bgw",
    "pg_prewarm",
    "pg_squeeze",
    "pg_task",
    "pgautofailover",
    "pglogical",
    "pgpro_scheduler",
    "powa",
    "repmgr",
    "spock",
];

/// How often a server is looked at that is about to answer for the first time.
const LOOK_EARLY: Duration = Duration::from_millis(40);

/// How often it is looked before the server is thought to replay for long.
const EARLY_MAX: u32 = 50;

/// How often a server is begun anew that made a tablespace on the way to its target, or was given more of something.
const ATTEMPTS_MAX: usize = 64;

/// The oldest major version that has these settings.
const ARCHIVE_LIBRARY: u32 = 15;
const EVENT_TRIGGERS: u32 = 17;
const IO_METHOD: u32 = 18;
/// The first that has no directory for statistics any more.
const NO_STATISTICS_DIRECTORY: u32 = 15;

/// What a server says of a tablespace whose directory is not there, before and after its path.
const NO_DIRECTORY: (&str, &str) = ("directory \"", "\" does not exist");

/// What a server says when it waits at its target, and when it waits since another one had more of something.
const AT_TARGET: &str = "pausing at the end of recovery";
const BEFORE_TARGET: &str = "insufficient parameter settings";

/// What may be done with a throwaway server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// It is read: sessions are read-only unless they say otherwise, which works only in one that was promoted.
    #[default]
    Read,
    /// It is written to, such as for an extension that checks it.
    Write,
}

/// Where the data of a throwaway server come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// They lie there, ready to recover.
    Restored,
    /// The directory is empty, and becomes that of a cluster without data.
    None,
}

/// A throwaway server before it is started.
#[derive(Debug, Clone)]
pub struct Throwaway {
    /// Its programs.
    pub programs: ServerPrograms,
    /// Its major version.
    pub major: u32,
    /// The data directory.
    pub data: PathBuf,
    /// What lies in it.
    pub holds: Data,
    /// The directory of its socket, which only its user can enter.
    pub socket: PathBuf,
    /// A file that says who may connect, which this writes; readable inside, writable only outside.
    pub access: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// What it must not go below.
    pub limits: ServerLimits,
    /// What may be done with it.
    pub purpose: Use,
    /// Roles that are likely there.
    pub roles: Vec<String>,
}

/// A throwaway server that answers.
#[derive(Debug)]
pub struct ThrowawayServer {
    inmate: Inmate,
    socket: PathBuf,
    superuser: String,
    left_out: Vec<String>,
    progress: Progress,
}

impl Throwaway {
    /// Starts the server and waits until it takes changes or waits at its target; none if `goes_on` said no.
    pub async fn start(
        &self,
        enclosure: &Enclosure,
        walls: Walls,
        surroundings: (&ClientEnvironment, &dyn Clock),
        note: &mut (dyn FnMut(Progress) + Send),
        goes_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<ThrowawayServer>, StartError> {
        put(&self.access, "local all all trust\n")?;
        if self.holds == Data::None {
            self.make_cluster(enclosure, walls)?;
        }
        let preload = Preload::read(&self.ask_for_libraries(enclosure, walls)?);
        let mut given = self.limits;
        for _ in 0..=ATTEMPTS_MAX {
            let errand = self.errand(&preload, &given);
            let inmate = enclosure.run(walls, &errand, self.open_log()?)?;
            let mut starting = Starting { throwaway: self, inmate };
            let waited = starting.wait(surroundings, note, goes_on).await;
            let Starting { inmate, .. } = starting;
            match waited {
                Ok(None) => return Ok(None),
                Ok(Some((superuser, progress))) => {
                    let (socket, left_out) = (self.socket.clone(), preload.left_out);
                    return Ok(Some(ThrowawayServer {
                        inmate,
                        socket,
                        superuser,
                        left_out,
                        progress,
                    }));
                }
                Err(StartError::Ended { .. }) if self.make_room(enclosure, walls) => drop(inmate),
                Err(error) => match raised(&error, &self.data, given, surroundings.1).await {
                    Some(more) => given = more,
                    None => return Err(error),
                },
            }
        }
        Err(StartError::Ended { log: last_words(&self.log) })
    }

    /// Makes a cluster without data; the first of the likely roles may do everything there.
    fn make_cluster(&self, enclosure: &Enclosure, walls: Walls) -> Result<(), StartError> {
        let role = self.roles.first().map_or("postgres", String::as_str);
        let (program, data) = (self.programs.path("initdb"), text(&self.data));
        // Whoever makes a database there says its locale and encoding.
        let arguments =
            ["-D", &data, "-U", role, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        let errand = Errand { program, arguments: arguments.map(str::to_owned).into() };
        let ended = enclosure.run(walls, &errand, self.open_log()?)?.wait();
        if ended.map_err(StartError::Run)?.success() {
            return Ok(());
        }
        Err(StartError::NoCluster { log: last_words(&self.log) })
    }

    /// Asks the server which libraries it would load; it reads its files as only it can.
    fn ask_for_libraries(&self, enclosure: &Enclosure, walls: Walls) -> Result<String, StartError> {
        let ask = ["-C", "shared_preload_libraries", "-D", &text(&self.data)].map(str::to_owned);
        let errand = Errand { program: self.programs.path("postgres"), arguments: ask.into() };
        let ended = enclosure.run(walls, &errand, self.open_log()?)?.wait();
        let said = last_words(&self.log);
        if ended.map_err(StartError::Run)?.success() {
            return Ok(said.rsplit("; ").next().unwrap_or_default().to_owned());
        }
        Err(StartError::Ended { log: said })
    }

    fn errand(&self, preload: &Preload, wanted: &ServerLimits) -> Errand {
        let mut arguments = vec!["-D".to_owned(), text(&self.data)];
        for (name, value) in self.settings(preload, wanted) {
            arguments.push("-c".to_owned());
            arguments.push(format!("{name}={value}"));
        }
        Errand { program: self.programs.path("postgres"), arguments }
    }

    fn settings(&self, preload: &Preload, wanted: &ServerLimits) -> Vec<(&'static str, String)> {
        let mut settings: Vec<(_, String)> =
            SETTINGS.map(|(name, value)| (name, value.into())).into();
        for (name, value) in limits(wanted) {
            settings.push((name, value.to_string()));
        }
        settings.extend([
            ("port", PORT.to_owned()),
            ("unix_socket_directories", list_item(&text(&self.socket))),
            ("hba_file", text(&self.access)),
            ("ident_file", "/dev/null".to_owned()),
            ("shared_preload_libraries", preload.kept.join(",")),
        ]);
        if self.purpose == Use::Read {
            settings.push(("default_transaction_read_only", "on".to_owned()));
        }
        for (is_there, name, value) in [
            (self.major >= ARCHIVE_LIBRARY, "archive_library", ""),
            (self.major >= EVENT_TRIGGERS, "event_triggers", "off"),
            (self.major >= IO_METHOD, "io_method", "worker"),
            (self.major < NO_STATISTICS_DIRECTORY, "stats_temp_directory", "pg_stat_tmp"),
        ] {
            if is_there {
                settings.push((name, value.to_owned()));
            }
        }
        settings
    }

    /// Makes the directory of a tablespace that the log tells of, inside of the enclosure; tells whether
    /// that is worth another start.
    ///
    /// A server that replays the making of a tablespace wants its directory to be there. At the same path
    /// of the host another server's may lie, which is why nothing is done without walls.
    fn make_room(&self, enclosure: &Enclosure, walls: Walls) -> bool {
        let said = last_words(&self.log);
        let Some(path) = lacking_directory(&said).filter(|_| walls == Walls::Namespaces) else {
            return false;
        };
        let target = enclosure.root.join(path.strip_prefix("/").unwrap_or(path));
        let is_new = !target.exists();
        let made = fs::create_dir_all(&target).and_then(|()| {
            std::os::unix::fs::chown(&target, Some(enclosure.uid), Some(enclosure.gid))
        });
        is_new && made.is_ok()
    }

    fn open_log(&self) -> Result<File, StartError> {
        File::create(&self.log).map_err(StartError::Run)
    }

    fn conninfo(
        &self,
        role: &str,
        environment: &ClientEnvironment,
    ) -> Result<Conninfo, StartError> {
        Ok(Conninfo::parse(&connect_string(&self.socket, role, "postgres"), environment)?)
    }
}

/// What every throwaway server is told, whatever its version.
const SETTINGS: [(&str, &str); 31] = [
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("unix_socket_group", ""),
    ("ssl", "off"),
    ("bonjour", "off"),
    ("external_pid_file", ""),
    ("cluster_name", "lifeboat-sandbox"),
    ("archive_mode", "off"),
    ("archive_command", ""),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("hot_standby", "on"),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("autovacuum", "off"),
    ("restart_after_crash", "off"),
    // It may be another, smaller host than that of the server.
    ("shared_buffers", "128MB"),
    ("huge_pages", "off"),
    // All of it is thrown away.
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    // What is looked for in its log is in English.
    ("lc_messages", "C"),
    ("log_destination", "stderr"),
    ("logging_collector", "off"),
    ("log_min_messages", "warning"),
    ("log_statement", "none"),
    ("log_line_prefix", ""),
];

/// A server that was started and did not answer yet.
struct Starting<'t> {
    throwaway: &'t Throwaway,
    inmate: Inmate,
}

impl Starting<'_> {
    /// Waits until the server is where it should be, and returns its first role and how far it is.
    async fn wait(
        &mut self,
        (environment, clock): (&ClientEnvironment, &dyn Clock),
        note: &mut (dyn FnMut(Progress) + Send),
        goes_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<(String, Progress)>, StartError> {
        let mut roles = self.throwaway.roles.iter().cycle();
        let mut role = roles.next().map_or("postgres", String::as_str);
        let mut looks = 0;
        while goes_on() {
            let conninfo = self.throwaway.conninfo(role, environment)?;
            match Server::connect_without_database(&conninfo, environment).await {
                Ok(server) => {
                    let progress = progress(&server).await?;
                    note(progress);
                    if progress.is_paused && self.log_says(BEFORE_TARGET) {
                        return Err(StartError::Stalled { log: last_words(&self.throwaway.log) });
                    }
                    // It is called paused a moment before it is.
                    let is_there = progress.is_paused && self.log_says(AT_TARGET);
                    if progress.is_promoted || is_there {
                        return Ok(Some((superuser(&server).await?, progress)));
                    }
                }
                Err(error) if is_no_role(&error) => {
                    role = roles.next().map_or(role, String::as_str);
                }
                Err(_) => {}
            }
            if self.inmate.ended().map_err(StartError::Run)?.is_some() {
                return Err(StartError::Ended { log: last_words(&self.throwaway.log) });
            }
            clock.sleep(if looks < EARLY_MAX { LOOK_EARLY } else { LOOK_EVERY }).await;
            looks += 1;
        }
        Ok(None)
    }

    fn log_says(&self, words: &str) -> bool {
        let text = fs::read(&self.throwaway.log).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(words)
    }
}

impl ThrowawayServer {
    /// Returns how to connect to a database as a role; every role gets in that may log in.
    pub fn connect_string(&self, role: &str, database: &DatabaseName) -> String {
        connect_string(&self.socket, role, database.as_str())
    }

    /// Returns the role that may do everything.
    pub fn superuser(&self) -> &str {
        &self.superuser
    }

    /// Returns the port that the name of its socket ends with.
    pub const fn port(&self) -> &'static str {
        PORT
    }

    /// Removes all rows of a database. Only a throwaway server can do that, which nobody will miss.
    pub async fn remove_all_rows(
        &self,
        database: &DatabaseName,
        environment: &ClientEnvironment,
    ) -> Result<(), PostgresError> {
        let text = self.connect_string(self.superuser(), database);
        let server = Server::connect(&Conninfo::parse(&text, environment)?, environment).await?;
        let session = server.session_as_it_is(database).await?;
        session.run(REMOVE_ALL_ROWS, || "remove all rows".to_owned()).await
    }

    /// Returns the libraries that were not loaded, since they do things by themselves.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Returns how far it was when it answered.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Shuts the server down as an operator would; its files are then as it left them.
    pub fn stop(mut self) -> Result<(), StartError> {
        self.inmate.stop().map(drop).map_err(StartError::Run)
    }
}

/// Which libraries a server loads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Preload {
    kept: Vec<String>,
    left_out: Vec<String>,
}

impl Preload {
    /// Reads a list as the server writes it: names or paths, in quotes where there is anything odd in them.
    fn read(list: &str) -> Self {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let (left_out, kept) = names.map(str::to_owned).partition(|name| {
            let path = Path::new(name.trim_matches('"'));
            let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
            BUSY_LIBRARIES.contains(&stem)
        });
        Self { kept, left_out }
    }
}

/// Finds the directory that lacks, where that is why a server ended.
fn lacking_directory(said: &str) -> Option<&Path> {
    let (before, after) = NO_DIRECTORY;
    let (rest, _) = said.rsplit_once(after)?;
    let (_, path) = rest.rsplit_once(before)?;
    Some(Path::new(path)).filter(|path| {
        let is_plain = |part| !matches!(part, std::path::Component::ParentDir);
        path.is_absolute() && path.components().all(is_plain)
    })
}

async fn superuser(server: &Server) -> Result<String, StartError> {
    // The role that `initdb` made has this number, whatever it is called.
    const FIRST: &str = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = 10";
    let session = server.maintenance_session().await?;
    let row = session.client().query_one(FIRST, &[]).await;
    let row = row.map_err(|source| session.failed("name its first role".to_owned(), source))?;
    Ok(row.get(0))
}

fn is_no_role(error: &PostgresError) -> bool {
    let PostgresError::Refused { source, .. } = error else { return false };
    source.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

fn connect_string(socket: &Path, role: &str, database: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    format!(
        "host={} port={PORT} user={} dbname={}",
        quoted(&text(socket)),
        quoted(role),
        quoted(database)
    )
}

/// Quotes one item of a list of directories.
fn list_item(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn put(path: &Path, text: &str) -> Result<(), StartError> {
    lifeboat_tiers::durable::replace(path, text.as_bytes(), 0o644).map_err(StartError::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_things_by_itself_is_not_loaded() {
        let list = "pg_stat_statements, pg_cron,\"$libdir/pg_partman_bgw\", /opt/lib/pglogical.so,auto_explain";
        let preload = Preload::read(list);
        assert_eq!(preload.kept, ["pg_stat_statements", "auto_explain"]);
        assert_eq!(
            preload.left_out,
            ["pg_cron", "\"$libdir/pg_partman_bgw\"", "/opt/lib/pglogical.so"]
        );
        assert_eq!(Preload::read("").kept, Vec::<String>::new());
    }

    #[test]
    fn the_directory_that_lacks_is_read_from_the_log() {
        let said = "starting; FATAL:  directory \"/srv/fast disk\" does not exist; HINT:  Create this directory";
        assert_eq!(lacking_directory(said), Some(Path::new("/srv/fast disk")));
        for text in [
            "",
            "FATAL:  directory \"../x\" does not exist",
            "directory \"/a/../b\" does not exist",
        ] {
            assert_eq!(lacking_directory(text), None, "{text}");
        }
    }

    #[test]
    fn names_cannot_leave_a_connect_string() {
        let text = connect_string(Path::new("/a b"), "o'brien", "x dbname=y");
        assert_eq!(text, r"host='/a b' port=5432 user='o\'brien' dbname='x dbname=y'");
    }
}
