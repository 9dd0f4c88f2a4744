//! What a server is like before it is changed, and the session of who may change it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::note::Note;
use super::right::Right;
use super::script::{Script, Step};
use super::setting::{Setting, SettingName, Takes};
use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::server::Server;
use crate::session::Session;
use crate::wal::SegmentName;

/// The file that `ALTER SYSTEM` writes.
const AUTO_CONF: &str = "postgresql.auto.conf";

/// Somebody who is connected to a server to change it.
#[derive(Debug)]
pub struct Administrator {
    server: Server,
    session: Session,
    /// As which role.
    pub role: String,
    /// Whether that may do everything.
    pub is_superuser: bool,
}

/// A role that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundRole {
    /// Whether it may do everything anyway.
    pub is_superuser: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Which of the rights that were asked for it has.
    pub held: BTreeSet<Right>,
    /// Where it owns something, and how much; shared objects have no database.
    pub owned: Vec<(Option<DatabaseName>, u64)>,
    /// Other databases in which something was granted to it.
    pub granted_in: Vec<DatabaseName>,
}

/// What a server is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub address: String,
    /// Its major version.
    pub major: u32,
    /// Whether it follows another server.
    pub is_standby: bool,
    /// Whether `ALTER SYSTEM` is allowed.
    pub takes_settings: bool,
    /// The settings that there are on this version.
    pub settings: BTreeMap<SettingName, Setting>,
    /// How many may stream from it after the next restart.
    pub wal_senders: u64,
    /// The role, if there is one of this name.
    pub role: Option<FoundRole>,
    /// How many files wait to be archived, where this may be looked at.
    pub waiting: Option<u64>,
}

impl Found {
    /// Returns the note on the role.
    pub fn note(&self) -> Option<Note> {
        Note::read(self.role.as_ref()?.comment.as_deref()?)
    }

    /// Returns the settings that become others with the next restart.
    pub fn waits_for_restart(&self) -> Vec<SettingName> {
        let changed = |(name, setting): &(&SettingName, &Setting)| {
            name.takes() == Takes::Restart
                && name.normal(&setting.running) != name.normal(setting.next())
        };
        self.settings.iter().filter(changed).map(|(name, _)| *name).collect()
    }
}

/// How a server's archiver fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiverState {
    /// How often it failed.
    pub failures: u64,
    /// On which file last.
    pub last_failed: Option<String>,
}

impl Administrator {
    /// Connects.
    pub async fn connect(server: Server) -> Result<Self, PostgresError> {
        const WHO: &str =
            "SELECT rolname::text, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
        let session = server.maintenance_session().await?;
        let row = one(&session, WHO, "tell who is connected").await?;
        Ok(Self { role: row.get(0), is_superuser: row.get(1), server, session })
    }

    /// Returns the server.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the database in which functions are granted and called: it is always there.
    pub const fn maintenance(&self) -> &DatabaseName {
        self.session.database()
    }

    /// Finds the role that carries the note about somebody, whatever it is called.
    pub async fn role_with_note(&self, holder: &str) -> Result<Option<String>, PostgresError> {
        const COMMENTS: &str = "
            SELECT rolname::text, pg_catalog.shobj_description(oid, 'pg_authid')
            FROM pg_catalog.pg_roles
            WHERE pg_catalog.shobj_description(oid, 'pg_authid') IS NOT NULL";
        let session = &self.session;
        let rows = session.client().query(COMMENTS, &[]).await;
        let rows = rows.map_err(|source| session.failed("list its roles".to_owned(), source))?;
        let noted =
            |row: &&Row| Note::read(row.get(1)).is_some_and(|note| note.holders.contains(holder));
        Ok(rows.iter().find(noted).map(|row| row.get(0)))
    }

    /// Looks at the server, and which of these rights a role has.
    pub async fn look(&self, role: &str, rights: &BTreeSet<Right>) -> Result<Found, PostgresError> {
        const SERVER: &str = "
            SELECT pg_catalog.pg_is_in_recovery(),
                   coalesce(pg_catalog.current_setting('allow_alter_system', true), 'on') <> 'off'";
        let session = &self.session;
        let row = one(session, SERVER, "tell about itself").await?;
        let files = if self.is_superuser { Some(files(session).await?) } else { None };
        let senders = files.as_ref().and_then(|files| {
            let entry = files.iter().rfind(|entry| entry.name == "max_wal_senders")?;
            entry.value.parse().ok()
        });
        Ok(Found {
            address: self.server.address(),
            major: self.server.version().major(),
            is_standby: row.get(0),
            takes_settings: row.get(1),
            settings: settings(session, files.as_deref()).await?,
            wal_senders: match senders {
                Some(senders) => senders,
                None => running_senders(session).await?,
            },
            role: self.role(role, rights).await?,
            waiting: if self.is_superuser { Some(waiting(session).await?) } else { None },
        })
    }

    async fn role(
        &self,
        role: &str,
        rights: &BTreeSet<Right>,
    ) -> Result<Option<FoundRole>, PostgresError> {
        const USES: &str = "
            SELECT d.datname::text, s.deptype = 'o', pg_catalog.count(*)
            FROM pg_catalog.pg_shdepend s
            JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
            LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname = $1
            GROUP BY 1, 2 ORDER BY 1, 2";
        let session = &self.session;
        let Some(mut found) = role_of(session, role, rights).await? else { return Ok(None) };
        let rows = session.client().query(USES, &[&role]).await;
        let rows = rows.map_err(|source| session.failed("tell of a role".to_owned(), source))?;
        for row in rows {
            let database = row.get::<_, Option<String>>(0).map(DatabaseName::new);
            match (row.get(1), database) {
                (true, database) => {
                    found.owned.push((database, row.get::<_, i64>(2).cast_unsigned()));
                }
                (false, Some(other)) if other != *session.database() => {
                    found.granted_in.push(other);
                }
                (false, _) => {}
            }
        }
        Ok(Some(found))
    }

    /// Does one step.
    pub async fn take(&self, step: &Step) -> Result<(), PostgresError> {
        let action = || "take a step of being set up".to_owned();
        match &step.database {
            None => self.session.run(&step.sql, action).await,
            Some(database) => self.server.session(database).await?.run(&step.sql, action).await,
        }
    }

    /// Does everything; what was done before an error stays, and the next run goes on from there.
    pub async fn carry_out(&self, script: &Script) -> Result<(), PostgresError> {
        for step in &script.steps {
            self.take(step).await?;
        }
        Ok(())
    }

    /// Leaves a mark in the log and ends the segment that it is in; returns its name.
    pub async fn end_segment(&self) -> Result<SegmentName, PostgresError> {
        // Without the mark there might be nothing new, and a switch would end no segment.
        const MARK: &str = "SELECT pg_catalog.pg_create_restore_point('lifeboat postgres setup')";
        const SWITCH: &str = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())";
        self.session.run(MARK, || "mark its log".to_owned()).await?;
        let name: String = one(&self.session, SWITCH, "end a segment").await?.get(0);
        name.parse().map_err(|_| PostgresError::Record {
            database: self.session.database().to_string(),
            message: format!("`{name}` is no segment"),
        })
    }

    /// Tells how the archiver fares.
    pub async fn archiver(&self) -> Result<ArchiverState, PostgresError> {
        const STATE: &str = "SELECT failed_count, last_failed_wal FROM pg_catalog.pg_stat_archiver";
        let row = one(&self.session, STATE, "tell of its archiver").await?;
        let failures = row.get::<_, i64>(0).cast_unsigned();
        Ok(ArchiverState { failures, last_failed: row.get(1) })
    }
}

/// An entry of a file of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEntry {
    name: String,
    value: String,
    is_auto: bool,
}

pub(super) async fn one(session: &Session, sql: &str, action: &str) -> Result<Row, PostgresError> {
    let row = session.client().query_one(sql, &[]).await;
    row.map_err(|source| session.failed(action.to_owned(), source))
}

/// Reads all files of settings, the later entry winning.
async fn files(session: &Session) -> Result<Vec<FileEntry>, PostgresError> {
    const FILES: &str = "
        SELECT pg_catalog.lower(name), coalesce(setting, ''), sourcefile
        FROM pg_catalog.pg_file_settings WHERE name IS NOT NULL ORDER BY seqno";
    let rows = session.client().query(FILES, &[]).await;
    let rows =
        rows.map_err(|source| session.failed("read its files of settings".to_owned(), source))?;
    let entry = |row: &Row| FileEntry {
        name: row.get(0),
        value: row.get(1),
        is_auto: row.get::<_, Option<String>>(2).is_some_and(|file| file.ends_with(AUTO_CONF)),
    };
    Ok(rows.iter().map(entry).collect())
}

/// Reads the settings; without the files, what they say is told from what the server goes by.
pub(super) async fn settings(
    session: &Session,
    files: Option<&[FileEntry]>,
) -> Result<BTreeMap<SettingName, Setting>, PostgresError> {
    // While archiving is off the server shows another text for the command than there is.
    const SETTINGS: &str = "
        SELECT name, reset_val, boot_val, source, sourcefile, pending_restart
        FROM pg_catalog.pg_settings WHERE name = ANY($1)";
    let names: Vec<_> = SettingName::ALL.map(SettingName::as_str).to_vec();
    let rows = session.client().query(SETTINGS, &[&names]).await;
    let rows = rows.map_err(|source| session.failed("tell its settings".to_owned(), source))?;
    let found = rows.iter().filter_map(|row| {
        let name = SettingName::ALL.into_iter().find(|name| name.as_str() == row.get::<_, &str>(0));
        Some((name?, setting(row, files)))
    });
    Ok(found.collect())
}

fn setting(row: &Row, files: Option<&[FileEntry]>) -> Setting {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let name: String = row.get(0);
    let (running, boot) = (text(1).unwrap_or_default(), text(2).unwrap_or_default());
    let (source, file) = (text(3).unwrap_or_default(), text(4));
    let (auto, below) = match files {
        Some(files) => {
            let last = |auto: bool| {
                let mut own = files.iter().filter(|e| e.name == name && e.is_auto == auto);
                own.next_back().map(|entry| entry.value.clone())
            };
            (last(true), last(false).unwrap_or(boot))
        }
        // Who may not see from which file takes it for the one that is written, so that it comes back.
        None if source == "configuration file"
            && file.as_ref().is_none_or(|file| file.ends_with(AUTO_CONF)) =>
        {
            (Some(running.clone()), boot)
        }
        None => (None, running.clone()),
    };
    let fixed = matches!(source.as_str(), "command line" | "environment variable");
    Setting { running, auto, below, fixed, pending: row.get(5) }
}

async fn running_senders(session: &Session) -> Result<u64, PostgresError> {
    const SENDERS: &str = "SELECT pg_catalog.current_setting('max_wal_senders')::bigint";
    let row = one(session, SENDERS, "tell its settings").await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

async fn waiting(session: &Session) -> Result<u64, PostgresError> {
    const WAITING: &str = "
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    let row = one(session, WAITING, "tell what waits to be archived").await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// Reads what a role is and which of these rights it has.
pub(super) async fn role_of(
    session: &Session,
    role: &str,
    rights: &BTreeSet<Right>,
) -> Result<Option<FoundRole>, PostgresError> {
    let held: Vec<_> = rights.iter().map(Right::is_held).collect();
    let sql = format!(
        "SELECT r.rolsuper, pg_catalog.shobj_description(r.oid, 'pg_authid'), ARRAY[{}]::bool[]
         FROM pg_catalog.pg_roles r WHERE r.rolname = $1",
        held.join(", ")
    );
    let row = session.client().query_opt(&sql, &[&role]).await;
    let row = row.map_err(|source| session.failed("tell of a role".to_owned(), source))?;
    Ok(row.map(|row| {
        let held = row.get::<_, Vec<bool>>(2);
        let held = rights.iter().zip(held).filter(|(_, held)| *held);
        FoundRole {
            is_superuser: row.get(0),
            comment: row.get(1),
            held: held.map(|(right, _)| right.clone()).collect(),
            ..FoundRole::default()
        }
    }))
}
