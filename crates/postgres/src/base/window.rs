//! The time in which a server's files may be copied: from `pg_backup_start` to `pg_backup_stop`, held
//! open by one session.
//!
//! # Invariants
//!
//! - Nothing is copied before the files were proven to be those of the server that answers: the same
//!   cluster, on the same timeline, with the checkpoint that the start made.
//! - The session is the backup: when it ends, the server gives the backup up, and so do we.
//!
//! # Crash consistency
//!
//! A kill ends the session, and the server forgets the backup by itself. Nothing is left on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{Clock, Lsn, Timestamp};
use tokio_postgres::Row;

use super::configuration::ConfigurationPaths;
use super::control_copy::copy_control;
use super::error::BaseError;
use super::inventory::{CONTROL_FILE, Places, Tablespace};
use super::label::BackupLabel;
use super::manifest::{HintBits, Origin};
use super::reader::BackupHold;
use crate::control::{ControlFile, WalLevel};
use crate::error::PostgresError;
use crate::page::{Checksums, FILE_PAGES, PAGE_LENGTH};
use crate::server::{Server, ServerVersion, moment};
use crate::session::Session;
use crate::timeline::TimelineHistory;
use crate::wal::{SegmentName, TimelineId};

/// The version from which on starting and stopping have their present names.
const RENAMED: u32 = 15;

/// What is known of a server when its files may be copied.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Where the backup starts.
    pub start: Lsn,
    /// When, by the server's clock.
    pub started: Timestamp,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where that comes from.
    pub history: TimelineHistory,
    /// Which server it is.
    pub origin: Origin,
    /// Its version.
    pub version: ServerVersion,
    /// What its control file says.
    pub control: ControlFile,
    /// Whether the log tells of all changes.
    pub hint_bits: HintBits,
    /// Where its files are.
    pub places: Places,
    /// Where its files of settings are.
    pub configuration: ConfigurationPaths,
    /// After how long the server ends a segment that was written to; nought if it never does.
    pub archive_timeout: Duration,
    /// What the backup is called.
    pub label: String,
}

/// What a server says at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where the backup stops.
    pub stop: Lsn,
    /// When, by the server's clock.
    pub stopped: Timestamp,
    /// The bytes of `backup_label`.
    pub label: Vec<u8>,
    /// The bytes of `tablespace_map`, perhaps none.
    pub map: Vec<u8>,
}

/// A backup that the server knows of.
#[derive(Debug)]
pub struct Window {
    session: Session,
    beginning: Beginning,
}

impl BackupHold for Window {
    fn is_lost(&self) -> bool {
        self.session.client().is_closed()
    }
}

/// What a server says before a backup.
struct Asked {
    data: PathBuf,
    system_id: u64,
    origin: Origin,
    logs_hints: bool,
    configuration: ConfigurationPaths,
    archive_timeout: Duration,
}

impl Window {
    /// Starts a backup on a server whose files are on this host.
    pub async fn open(server: &Server, label: &str, clock: &dyn Clock) -> Result<Self, BaseError> {
        let session = server.maintenance_session().await?;
        let asked = ask(&session).await?;
        let path = asked.data.join(CONTROL_FILE);
        let (_, before) = copy_control(&path, clock).await?;
        check_identity(&asked, &before)?;
        check_build(&before)?;
        let version = server.version();
        let start = start(&session, version.major(), label).await?;
        let (_, control) = copy_control(&path, clock).await?;
        check_start(&session, &asked, &control, start).await?;
        let (started, _, _) = moment(&session).await?;
        let timeline = control.checkpoint.timeline;
        let hints = asked.logs_hints || control.checksums() == Checksums::On;
        let version_directory = format!("PG_{}_{}", control.version.major, control.version.catalog);
        let tablespaces = tablespaces(&session).await?;
        let beginning = Beginning {
            start,
            started,
            timeline,
            history: history(&asked.data, timeline),
            origin: asked.origin,
            version,
            hint_bits: if hints { HintBits::Logged } else { HintBits::Silent },
            places: Places { data: asked.data, tablespaces, version_directory },
            configuration: asked.configuration,
            archive_timeout: asked.archive_timeout,
            control,
            label: label.to_owned(),
        };
        Ok(Self { session, beginning })
    }

    /// Returns what was known at the start.
    pub const fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Returns where the control file is.
    pub fn control_path(&self) -> PathBuf {
        self.beginning.places.data.join(CONTROL_FILE)
    }

    /// Ends the segment in which the backup starts, so that its way into the archive can be watched;
    /// returns its name. Only a primary can.
    pub async fn end_first_segment(&self) -> Result<SegmentName, BaseError> {
        if self.beginning.origin == Origin::Primary {
            self.value::<String>("SELECT pg_catalog.pg_switch_wal()::text", "end a segment")
                .await?;
        }
        let size = self.beginning.control.segment_size;
        Ok(SegmentName::of(self.beginning.timeline, self.beginning.start, size))
    }

    /// Asks whether the session is still there.
    pub async fn ping(&self) -> Result<(), BaseError> {
        let standby = self.value::<bool>("SELECT pg_catalog.pg_is_in_recovery()", "answer").await?;
        match (self.beginning.origin, standby) {
            (Origin::Standby, false) => Err(BaseError::Promoted),
            _ => Ok(()),
        }
    }

    /// Stops the backup; the server does not wait for its archive.
    pub async fn stop(&self) -> Result<Ended, BaseError> {
        self.ping().await?;
        let call = if self.beginning.version.major() >= RENAMED {
            "pg_catalog.pg_backup_stop(false)"
        } else {
            "pg_catalog.pg_stop_backup(false, false)"
        };
        let sql = format!("SELECT lsn::text, labelfile, spcmapfile FROM {call}");
        let row = self.row(&sql, "stop the backup").await?;
        let (stopped, _, _) = moment(&self.session).await?;
        let text = |column: usize| row.get::<_, Option<String>>(column).unwrap_or_default();
        let ended = Ended {
            stop: parsed(&text(0))?,
            stopped,
            label: text(1).into_bytes(),
            map: text(2).into_bytes(),
        };
        self.check_label(&ended)?;
        Ok(ended)
    }

    fn check_label(&self, ended: &Ended) -> Result<(), BaseError> {
        let wrong = |what: &str| BaseError::Label { what: what.to_owned() };
        let label = BackupLabel::parse(&ended.label).ok_or_else(|| wrong("it has no label"))?;
        let Beginning { start, timeline, .. } = self.beginning;
        if label.start != start {
            return Err(wrong("its label is of another backup"));
        }
        if label.timeline != timeline {
            return Err(BaseError::Timeline { began: timeline, ended: label.timeline });
        }
        if ended.stop < start {
            return Err(wrong("it stops before it starts"));
        }
        Ok(())
    }

    async fn row(&self, sql: &str, action: &str) -> Result<Row, BaseError> {
        row(&self.session, sql, action).await
    }

    async fn value<T>(&self, sql: &str, action: &str) -> Result<T, BaseError>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        Ok(self.row(sql, action).await?.get(0))
    }
}

/// A row that the server owes; a session that is gone is said in words of its own.
async fn row(session: &Session, sql: &str, action: &str) -> Result<Row, BaseError> {
    let row = session.client().query_one(sql, &[]).await;
    row.map_err(|source| {
        if session.client().is_closed() {
            BaseError::SessionLost
        } else {
            session.failed(action.to_owned(), source).into()
        }
    })
}

async fn ask(session: &Session) -> Result<Asked, BaseError> {
    const ASK: &str = "
        SELECT pg_catalog.current_setting('data_directory'),
               (SELECT system_identifier FROM pg_catalog.pg_control_system()),
               pg_catalog.pg_is_in_recovery(),
               pg_catalog.current_setting('wal_log_hints')::bool,
               pg_catalog.current_setting('config_file'),
               pg_catalog.current_setting('hba_file'),
               pg_catalog.current_setting('ident_file'),
               (SELECT setting::int4 FROM pg_catalog.pg_settings WHERE name = 'archive_timeout')";
    let row = row(session, ASK, "tell where its files are").await?;
    let path = |column: usize| {
        row.get::<_, Option<String>>(column).filter(|text| !text.is_empty()).map(PathBuf::from)
    };
    let data = path(0).ok_or(BaseError::Label { what: "it has no data directory".to_owned() })?;
    Ok(Asked {
        data,
        system_id: row.get::<_, i64>(1).cast_unsigned(),
        origin: if row.get(2) { Origin::Standby } else { Origin::Primary },
        logs_hints: row.get(3),
        configuration: ConfigurationPaths { settings: path(4), access: path(5), users: path(6) },
        archive_timeout: Duration::from_secs(
            row.get::<_, Option<i32>>(7).unwrap_or(0).unsigned_abs().into(),
        ),
    })
}

fn check_identity(asked: &Asked, control: &ControlFile) -> Result<(), BaseError> {
    if control.system_id != asked.system_id {
        let what =
            format!("it has system id {}, the server {}", control.system_id, asked.system_id);
        return Err(BaseError::AnotherCluster { path: asked.data.clone(), what });
    }
    if asked.origin == Origin::Primary && control.wal_level == WalLevel::Minimal {
        return Err(BaseError::Setting {
            setting: "wal_level = minimal".to_owned(),
            expected: "replica or logical",
        });
    }
    Ok(())
}

fn check_build(control: &ControlFile) -> Result<(), BaseError> {
    let page = u32::try_from(PAGE_LENGTH).expect("a page is short");
    let expected =
        [("pages", control.page_length, page), ("files of pages", control.file_pages, FILE_PAGES)];
    match expected.into_iter().find(|(_, found, expected)| found != expected) {
        Some((what, found, expected)) => Err(BaseError::Build { what, found, expected }),
        None => Ok(()),
    }
}

/// Starts the backup, with a checkpoint at once: spreading it would take minutes of the window.
async fn start(session: &Session, major: u32, label: &str) -> Result<Lsn, BaseError> {
    let sql = if major >= RENAMED {
        "SELECT pg_catalog.pg_backup_start($1, true)::text"
    } else {
        "SELECT pg_catalog.pg_start_backup($1, true, false)::text"
    };
    let row = session.client().query_one(sql, &[&label]).await;
    let row = row.map_err(|source| session.failed("start a backup".to_owned(), source))?;
    parsed(&row.get::<_, String>(0))
}

fn parsed(lsn: &str) -> Result<Lsn, BaseError> {
    lsn.parse().map_err(|error: lifeboat_model::lsn::ParseLsnError| BaseError::Label {
        what: error.to_string(),
    })
}

/// Proves that the files that will be copied are those of the server that was asked: the start's
/// checkpoint is in them.
async fn check_start(
    session: &Session,
    asked: &Asked,
    control: &ControlFile,
    start: Lsn,
) -> Result<(), BaseError> {
    let another = |what| BaseError::AnotherCluster { path: asked.data.clone(), what };
    if control.checkpoint_lsn < start {
        let found = control.checkpoint_lsn;
        return Err(another(format!("its checkpoint is at {found}, the backup starts at {start}")));
    }
    if asked.origin == Origin::Standby {
        return Ok(());
    }
    let sql = format!("SELECT pg_catalog.pg_walfile_name('{start}'::pg_catalog.pg_lsn)");
    let name: String = row(session, &sql, "name its segment").await?.get(0);
    let timeline = name.parse::<SegmentName>().map(SegmentName::timeline);
    let own = control.checkpoint.timeline;
    match timeline {
        Ok(timeline) if timeline == own => Ok(()),
        _ => Err(another(format!("it is on timeline {own}, the server writes `{name}`"))),
    }
}

async fn tablespaces(session: &Session) -> Result<Vec<Tablespace>, BaseError> {
    const LIST: &str = "
        SELECT oid, spcname::text, pg_catalog.pg_tablespace_location(oid)
        FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid";
    let rows = session.client().query(LIST, &[]).await;
    let failed =
        |source| -> PostgresError { session.failed("list its tablespaces".to_owned(), source) };
    Ok(rows
        .map_err(failed)?
        .iter()
        .map(|row| Tablespace {
            oid: row.get(0),
            name: row.get(1),
            location: PathBuf::from(row.get::<_, String>(2)),
        })
        .collect())
}

/// Reads where a timeline comes from; without its file it comes from none that is known.
fn history(data: &Path, timeline: TimelineId) -> TimelineHistory {
    let file = data.join("pg_wal").join(format!("{:08X}.history", timeline.0));
    let parsed = std::fs::read(file).ok();
    let parsed = parsed.and_then(|file| TimelineHistory::parse(timeline, &file).ok());
    parsed.unwrap_or(TimelineHistory::without_ancestors(timeline))
}
