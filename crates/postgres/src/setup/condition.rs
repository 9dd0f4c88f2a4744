//! What of a server is not as a backup needs it, told by the role that backs it up.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::Timestamp;

use super::archiver::Archiver;
use super::found::{FoundRole, one, role_of, settings};
use super::install::WantedArchive;
use super::right::{Right, Taken};
use super::setting::{Setting, SettingName, seconds};
use crate::error::PostgresError;
use crate::server::Server;
use crate::session::Session;
use crate::wal::{SegmentName, SegmentSize};

/// The latest success or failure of the archiver.
type LastFile = Option<(String, Timestamp)>;

/// As many segments may wait without anything being wrong: a busy server ends several while one is archived.
const BEHIND_MAX: u64 = 8;

/// What a server is like, as far as it matters for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether it follows another server.
    pub is_standby: bool,
    /// As which role it was asked.
    pub role: String,
    /// What that may do.
    pub rights: FoundRole,
    /// The settings of archiving.
    pub settings: BTreeMap<SettingName, Setting>,
    /// Whether a page is whole in the log after each checkpoint.
    pub full_page_writes: bool,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// What was archived last, and when.
    pub archived: LastFile,
    /// What could not be archived last, and when.
    pub failed: LastFile,
    /// How many segments were ended after the one that was archived last, where that can be told.
    pub behind: Option<u64>,
    /// Slots that keep as much of the log as whoever reads them is behind.
    pub unbounded_slots: u64,
    /// Tables of the database whose rows no log tells of.
    pub unlogged_tables: u64,
    /// Large objects of the database that this role may not read.
    pub hidden_objects: u64,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Backups fail, or the objective is not met.
    Fault,
    /// They do not, and somebody should know.
    Remark,
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Setting the server up.
    SetUp,
    /// The same, and starting it again.
    SetUpAndRestart,
    /// The same, in the place of what somebody else set.
    SetUpInstead,
    /// Something else, in words.
    Other(String),
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What mends it.
    pub remedy: Remedy,
}

/// One question about a server, as a statement, and what is wrong if it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What should hold.
    pub what: &'static str,
    /// What does not.
    pub problem: Option<Problem>,
}

impl Condition {
    /// Asks a server about itself, and which of these rights the role has.
    pub async fn read(server: &Server, rights: &BTreeSet<Right>) -> Result<Self, PostgresError> {
        const STATE: &str = "
            SELECT current_user::text,
                   pg_catalog.pg_is_in_recovery(),
                   pg_catalog.current_setting('full_page_writes')::bool,
                   pg_catalog.current_setting('data_checksums') = 'on',
                   (SELECT CASE WHEN pg_catalog.current_setting('max_slot_wal_keep_size') = '-1'
                                THEN pg_catalog.count(*) ELSE 0 END
                    FROM pg_catalog.pg_replication_slots),
                   (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
                    WHERE relpersistence = 'u' AND relkind = 'r')";
        let session = server.session(&server.database()).await?;
        let row = one(&session, STATE, "tell its condition").await?;
        let role: String = row.get(0);
        // Functions of the catalog are granted where a backup calls them.
        let maintenance = server.maintenance_session().await?;
        let held = role_of(&maintenance, &role, rights).await?.unwrap_or_default();
        let (archived, failed) = archiver(&session).await?;
        Ok(Self {
            is_standby: row.get(1),
            rights: held,
            settings: settings(&session, None).await?,
            full_page_writes: row.get(2),
            checksums: row.get(3),
            behind: behind(&session, archived.as_ref()).await?,
            archived,
            failed,
            unbounded_slots: row.get::<_, i64>(4).cast_unsigned(),
            unlogged_tables: row.get::<_, i64>(5).cast_unsigned(),
            hidden_objects: hidden_objects(&session, &role).await?,
            role,
        })
    }

    /// Tells what is wrong with what is taken of the server.
    pub fn findings(
        &self,
        taken: Taken,
        rights: &BTreeSet<Right>,
        archive: Option<&WantedArchive>,
        rpo_s: Option<u64>,
    ) -> Vec<Finding> {
        let mut findings = vec![self.role_suffices(taken, rights)];
        if let Some(archive) = archive {
            findings.push(self.level());
            findings.push(self.mode());
            findings.push(self.command(archive));
            findings.push(self.timeout(rpo_s));
            findings.push(self.archiver_succeeds());
        }
        if taken.files {
            findings.push(self.pages_are_safe());
            findings.push(self.slots_are_bounded());
            findings.push(self.all_is_logged());
        }
        findings
    }

    fn role_suffices(&self, taken: Taken, rights: &BTreeSet<Right>) -> Finding {
        let what = "its role may do what a backup needs, and no more";
        let missing: Vec<_> =
            rights.difference(&self.rights.held).map(ToString::to_string).collect();
        let role = &self.role;
        let problem = if self.rights.is_superuser {
            let message = format!(
                "`{role}` is a superuser: a backup needs less, by `user=` or `options='-c role=…'` in `connect`"
            );
            Some((Severity::Remark, message, Remedy::SetUp))
        } else if !missing.is_empty() {
            let message = format!("`{role}` lacks {}", missing.join(", "));
            Some((Severity::Fault, message, Remedy::SetUp))
        } else if taken.dumps && self.hidden_objects > 0 {
            let message = format!(
                "`{role}` may not read {} large objects, and no right of a role covers them all",
                self.hidden_objects
            );
            let other = "dump it as a superuser, or GRANT SELECT ON LARGE OBJECT … TO the role";
            Some((Severity::Fault, message, Remedy::Other(other.to_owned())))
        } else {
            None
        };
        finding(what, problem)
    }

    fn setting(&self, name: SettingName) -> Option<(String, &Setting)> {
        let setting = self.settings.get(&name)?;
        Some((name.normal(&setting.running), setting))
    }

    fn level(&self) -> Finding {
        let what = "its log tells enough to be replayed";
        let level = self.setting(SettingName::WalLevel);
        let problem = level.filter(|(value, _)| value == "minimal").map(|(_, setting)| {
            (Severity::Fault, waits("wal_level is minimal", setting), Remedy::SetUpAndRestart)
        });
        finding(what, problem)
    }

    fn mode(&self) -> Finding {
        let what = "it archives its log";
        let mode = self.setting(SettingName::ArchiveMode);
        let problem = mode.filter(|(value, _)| value == "off").map(|(_, setting)| {
            (Severity::Fault, waits("archive_mode is off", setting), Remedy::SetUpAndRestart)
        });
        finding(what, problem)
    }

    fn command(&self, archive: &WantedArchive) -> Finding {
        let what = "it hands its log to this plan";
        let library = self.setting(SettingName::ArchiveLibrary).map(|(value, _)| value);
        let library = library.filter(|library| !library.is_empty());
        let command = self.setting(SettingName::ArchiveCommand).map(|(value, _)| value);
        let command = command.unwrap_or_default();
        let problem = match (library, Archiver::read(&command)) {
            (Some(library), _) => {
                let message = format!("archive_library is `{library}`");
                Some((Severity::Fault, message, Remedy::SetUpInstead))
            }
            (None, Archiver::Lifeboat(push)) if push.is_for(&archive.command) => None,
            (None, Archiver::Nobody) => {
                let message = format!("archive_command keeps nothing: `{command}`");
                Some((Severity::Fault, message, Remedy::SetUp))
            }
            (None, Archiver::Lifeboat(_)) => {
                let message = format!("archive_command is for another plan or asset: `{command}`");
                Some((Severity::Fault, message, Remedy::SetUpInstead))
            }
            (None, Archiver::Foreign) => {
                let message = format!("archive_command is somebody else's: `{command}`");
                Some((Severity::Fault, message, Remedy::SetUpInstead))
            }
        };
        finding(what, problem)
    }

    fn timeout(&self, rpo_s: Option<u64>) -> Finding {
        let what = "a segment that is not full is handed over within the objective";
        let timeout = self.setting(SettingName::ArchiveTimeout);
        let timeout = timeout.and_then(|(value, _)| seconds(&value)).unwrap_or_default();
        let message = match rpo_s {
            Some(_) if timeout == 0 => {
                "archive_timeout is 0, so it waits until it is full".to_owned()
            }
            Some(rpo) if timeout > rpo => {
                format!("archive_timeout is {timeout} s, and the rpo {rpo} s")
            }
            _ => return finding(what, None),
        };
        finding(what, Some((Severity::Fault, message, Remedy::SetUp)))
    }

    fn archiver_succeeds(&self) -> Finding {
        let what = "its archiver succeeds";
        let last = self.archived.as_ref().map(|(_, time)| *time);
        let failed = self.failed.as_ref().filter(|(_, time)| last.is_none_or(|last| last < *time));
        let message = match (failed, last, self.behind) {
            (Some((file, time)), Some(last), _) => {
                format!("{file} could not be archived at {time:.0}; it succeeded last at {last:.0}")
            }
            (Some((file, time)), None, _) => format!("{file} could not be archived at {time:.0}"),
            // A command that is not there ends the archiver, which then counts no failure.
            (None, _, Some(behind)) if behind > BEHIND_MAX => {
                format!("{behind} segments wait to be archived, and no failure was counted")
            }
            _ => return finding(what, None),
        };
        finding(what, Some((Severity::Fault, message, Remedy::SetUp)))
    }

    fn pages_are_safe(&self) -> Finding {
        let what = "its pages survive a crash, and damage to them shows";
        let (message, remedy) = if !self.full_page_writes {
            (
                "full_page_writes is off: a crash can tear pages beyond repair",
                "psql -c 'ALTER SYSTEM SET full_page_writes = on' -c 'SELECT pg_reload_conf()'",
            )
        } else if !self.checksums {
            (
                "data_checksums is off: damage to a page is not noticed",
                "stop the server, then: pg_checksums --enable --pgdata DATA_DIRECTORY",
            )
        } else {
            return finding(what, None);
        };
        finding(
            what,
            Some((Severity::Remark, message.to_owned(), Remedy::Other(remedy.to_owned()))),
        )
    }

    fn slots_are_bounded(&self) -> Finding {
        let what = "nobody who reads its log can fill its disk";
        let problem = (self.unbounded_slots > 0).then(|| {
            let message = format!(
                "{} replication slots keep the log without bound: max_slot_wal_keep_size is -1",
                self.unbounded_slots
            );
            let remedy = "psql -c \"ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'\" -c 'SELECT pg_reload_conf()'";
            (Severity::Remark, message, Remedy::Other(remedy.to_owned()))
        });
        finding(what, problem)
    }

    fn all_is_logged(&self) -> Finding {
        let what = "all of its tables are in its log";
        let problem = (self.unlogged_tables > 0).then(|| {
            let message =
                format!("{} unlogged tables of the database come back empty", self.unlogged_tables);
            let remedy =
                "psql -c 'ALTER TABLE … SET LOGGED', if they hold more than can be made anew";
            (Severity::Remark, message, Remedy::Other(remedy.to_owned()))
        });
        finding(what, problem)
    }
}

fn waits(message: &str, setting: &Setting) -> String {
    if setting.pending {
        format!("{message} until the server is started again")
    } else {
        message.to_owned()
    }
}

fn finding(what: &'static str, problem: Option<(Severity, String, Remedy)>) -> Finding {
    let problem = problem.map(|(severity, message, remedy)| Problem { severity, message, remedy });
    Finding { what, problem }
}

async fn archiver(session: &Session) -> Result<(LastFile, LastFile), PostgresError> {
    const ARCHIVER: &str = "
        SELECT last_archived_wal, (extract(epoch FROM last_archived_time) * 1000000)::bigint,
               last_failed_wal, (extract(epoch FROM last_failed_time) * 1000000)::bigint
        FROM pg_catalog.pg_stat_archiver";
    let row = one(session, ARCHIVER, "tell of its archiver").await?;
    let last = |file: usize| {
        let time = row.get::<_, Option<i64>>(file + 1)?;
        Some((row.get::<_, Option<String>>(file)?, Timestamp::from_microsecond(time).ok()?))
    };
    Ok((last(0), last(2)))
}

/// Counts the segments after the one that was archived last.
async fn behind(
    session: &Session,
    archived: Option<&(String, Timestamp)>,
) -> Result<Option<u64>, PostgresError> {
    const PLACE: &str = "
        SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
                    ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END,
               (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')";
    let row = one(session, PLACE, "tell its place in the log").await?;
    let size = u32::try_from(row.get::<_, i64>(1)).ok().and_then(SegmentSize::new);
    let number = |name: &str| Some(name.parse::<SegmentName>().ok()?.number(size?)?.0);
    let current = row.get::<_, Option<&str>>(0).and_then(number);
    let last = archived.and_then(|(file, _)| number(file));
    Ok(current.zip(last).map(|(current, last)| current.saturating_sub(last + 1)))
}

async fn hidden_objects(session: &Session, role: &str) -> Result<u64, PostgresError> {
    const HIDDEN: &str = "
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata m, pg_catalog.pg_roles r
        WHERE r.rolname = $1 AND NOT r.rolsuper
          AND NOT pg_catalog.pg_has_role(r.oid, m.lomowner, 'USAGE')
          AND NOT EXISTS (
              SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                 AND (a.grantee = 0 OR pg_catalog.pg_has_role(r.oid, a.grantee, 'USAGE')))";
    let row = session.client().query_one(HIDDEN, &[&role]).await;
    let row =
        row.map_err(|source| session.failed("tell of its large objects".to_owned(), source))?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}
