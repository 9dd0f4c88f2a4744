//! Setting a PostgreSQL server up so that it can be backed up, and taking that back.
//!
//! What is done is planned by [`lifeboat_postgres::setup`]. Here is who does it, the rehearsal of archiving by
//! the server's own user before anything is changed, the restart that was asked for, and the proof: a segment
//! that the server ended is on every tier that has to hold it.
//!
//! # Crash consistency
//!
//! That of [`lifeboat_postgres::setup`]; rehearsal and proof leave nothing behind that matters: a probe that a
//! kill left on a tier is no file of the log and passed over.

mod error;
mod proof;
mod rehearsal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Classify as _, ErrorKind, Exit, Silent, TierName};
use lifeboat_plan::plan::asset::{Asset, AssetKind, Base, Postgres, WalMode};
use lifeboat_postgres::archive::Cluster;
use lifeboat_postgres::setup::{
    self, Administrator, Change, Foreign, Found, Leaving, PushCommand, Restart, Right, Script,
    SettingName, Taken, Wanted, WantedArchive,
};
use lifeboat_postgres::{Conninfo, Server};
use serde::Serialize;

use crate::error::OpsError;
use crate::wire::open::{NewTiers, OpenSite};
use crate::wire::{Call, Reached, Site};

pub use error::ServerSetupError;
pub use proof::{Proof, ProvenTier};

/// The role where the plan names none that has few rights.
const ROLE: &str = "lifeboat";

/// A segment is never handed over more often: each takes a file of the archive.
const TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// It is never later either: what a segment does not fill costs nothing, since it is compressed.
const TIMEOUT_MAX: Duration = Duration::from_mins(5);

/// The share of the rpo after which a segment is handed over; the rest is for a tier that is away.
const TIMEOUT_DIVISOR: u32 = 4;

/// The share of the rpo up to which what somebody set is left alone.
const TIMEOUT_KEPT_DIVISOR: u32 = 2;

/// Whether a server may be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarting {
    /// Somebody else does it, when it suits.
    Never,
    /// If something takes it.
    IfNeeded,
}

/// Whose server is set up or left, and how.
#[derive(Debug, Clone)]
pub struct SetupOptions {
    /// The asset.
    pub asset: AssetName,
    /// The role, instead of the plan's.
    pub role: Option<String>,
    /// How whoever may change the server connects, instead of the plan's way.
    pub connect: Option<String>,
    /// The socket of whoever serves the log, if it is not the usual one.
    pub socket: Option<PathBuf>,
    /// What is done with somebody else's way of archiving.
    pub foreign: Foreign,
    /// Whether the server may be started again.
    pub restarting: Restarting,
}

/// What would be done.
#[derive(Debug, Serialize)]
pub struct SetupPreview {
    /// Whose server.
    pub asset: AssetName,
    /// Where it is.
    pub address: String,
    /// The role.
    pub role: String,
    /// What becomes different.
    pub changes: Vec<Change>,
    /// The SQL of it, for `psql`.
    pub sql: String,
    /// What is worth saying.
    pub remarks: Vec<String>,
}

/// Whether the server was started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restarted {
    /// It need not be.
    NotNeeded,
    /// It was.
    Done,
    /// It has to be, for these settings.
    Waited {
        /// Which settings.
        settings: Vec<SettingName>,
    },
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct SetupReport {
    /// What it was.
    #[serde(flatten)]
    pub preview: SetupPreview,
    /// Whether the server was started again.
    pub restart: Restarted,
    /// What shows that the log is archived.
    pub proof: Option<Proof>,
}

impl SetupReport {
    /// Returns how the command ends: with 3 while a restart is waited for.
    pub const fn exit(&self) -> Exit {
        match self.restart {
            Restarted::Waited { .. } => Exit::Incomplete,
            Restarted::NotNeeded | Restarted::Done => Exit::Done,
        }
    }
}

/// Returns what is taken of a server.
pub(crate) fn taken(postgres: &Postgres) -> Taken {
    Taken { files: postgres.base != Base::Logical, dumps: postgres.base != Base::Physical }
}

/// Returns how the log of an asset is to be archived, if it is.
pub(crate) fn wanted_archive(
    call: &Call,
    name: &AssetName,
    asset: &Asset,
    socket: Option<&Path>,
) -> Option<WantedArchive> {
    let postgres = asset.postgres().filter(|postgres| postgres.wal.mode == WalMode::Archive)?;
    debug_assert!(!postgres.wal.to.is_empty(), "the lint wants a tier");
    let share = |divisor| asset.rpo.map(|rpo| rpo.duration() / divisor);
    let timeout = share(TIMEOUT_DIVISOR).unwrap_or(TIMEOUT_MAX).clamp(TIMEOUT_MIN, TIMEOUT_MAX);
    let kept = share(TIMEOUT_KEPT_DIVISOR).map_or(u64::MAX, |kept| kept.as_secs());
    Some(WantedArchive {
        command: PushCommand {
            program: call.program.clone(),
            plan: Some(call.plan.clone()),
            asset: Some(name.to_string()),
            socket: socket.map(|socket| socket.display().to_string()),
        },
        timeout_s: timeout.as_secs(),
        timeout_max_s: kept.max(timeout.as_secs()),
    })
}

/// Says what setting up would do.
pub fn preview(
    site: &Site,
    options: &SetupOptions,
    cancel: &Cancel,
) -> Result<SetupPreview, ServerSetupError> {
    let job = Job::open(site, options, cancel, Doing::SettingUp)?;
    let (found, wanted) = job.look()?;
    let script = setup::install(&found, &wanted)?;
    Ok(job.preview(&found, script))
}

/// Sets a server up.
pub fn set_up(
    site: &Site,
    options: &SetupOptions,
    cancel: &Cancel,
) -> Result<SetupReport, ServerSetupError> {
    let mut job = Job::open(site, options, cancel, Doing::SettingUp)?;
    let (found, wanted) = job.look()?;
    let script = setup::install(&found, &wanted)?;
    job.must_be_superuser()?;
    job.set_up_new_tiers()?;
    let data = wanted.archive.as_ref().map(|archive| job.rehearse(archive)).transpose()?;
    cancel.check().map_err(OpsError::from)?;
    job.block_on(job.admin.carry_out(&script))?;
    let mut preview = job.preview(&found, script);
    let restart = job.restart_if_told(&wanted)?;
    let waits = matches!(restart, Restarted::Waited { .. });
    let proof = data.filter(|_| !waits).map(|data| job.prove(&data)).transpose()?;
    preview.remarks.extend(job.remark_on_connection());
    Ok(SetupReport { preview, restart, proof })
}

/// Says what taking back would do.
pub fn preview_removal(
    site: &Site,
    options: &SetupOptions,
    cancel: &Cancel,
) -> Result<SetupPreview, ServerSetupError> {
    let job = Job::open(site, options, cancel, Doing::TakingBack)?;
    let (found, _) = job.look()?;
    let removal = setup::remove(&found, &job.leaving())?;
    Ok(job.preview(&found, removal.script))
}

/// Takes back what was set up.
pub fn take_back(
    site: &Site,
    options: &SetupOptions,
    cancel: &Cancel,
) -> Result<SetupReport, ServerSetupError> {
    let mut job = Job::open(site, options, cancel, Doing::TakingBack)?;
    job.must_be_superuser()?;
    let leaving = job.leaving();
    let (found, wanted) = job.look()?;
    let removal = setup::remove(&found, &leaving)?;
    job.block_on(job.admin.carry_out(&removal.script))?;
    let mut preview = job.preview(&found, removal.script);
    let mut restart = job.restart_if_told(&wanted)?;
    if removal.waits_for_restart && restart == Restarted::Done {
        let (found, _) = job.look()?;
        let rest = setup::remove(&found, &leaving)?;
        job.block_on(job.admin.carry_out(&rest.script))?;
        let rest = job.preview(&found, rest.script);
        preview.changes.extend(rest.changes);
        preview.sql.push_str(&rest.sql);
        preview.remarks.extend(rest.remarks);
    } else if removal.waits_for_restart && restart == Restarted::NotNeeded {
        restart = Restarted::Waited { settings: vec![SettingName::ArchiveMode] };
    }
    Ok(SetupReport { preview, restart, proof: None })
}

/// What is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    SettingUp,
    TakingBack,
}

/// A server that is being set up or left.
struct Job<'a> {
    site: &'a Site,
    options: &'a SetupOptions,
    cancel: &'a Cancel,
    asset: &'a Asset,
    postgres: &'a Postgres,
    admin: Administrator,
    role: String,
}

impl<'a> Job<'a> {
    fn open(
        site: &'a Site,
        options: &'a SetupOptions,
        cancel: &'a Cancel,
        doing: Doing,
    ) -> Result<Self, ServerSetupError> {
        let asset = site.asset(&options.asset)?;
        let AssetKind::Postgres(postgres) = &asset.kind else {
            return Err(ServerSetupError::NoDatabase { asset: options.asset.clone() });
        };
        if matches!(postgres.wal.mode, WalMode::Stream | WalMode::Synchronous) {
            let what = format!("receiving the write-ahead log of `{}`", options.asset);
            return Err(OpsError::NotBuilt { what }.into());
        }
        let admin = administrator(site, postgres, options, cancel)?;
        let role = String::new();
        let mut job = Self { site, options, cancel, asset, postgres, admin, role };
        job.role = job.choose_role(doing)?;
        Ok(job)
    }

    fn block_on<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ServerSetupError>
    where
        ServerSetupError: From<E>,
    {
        Ok(self.site.surroundings().runtime.block_on(work)?)
    }

    /// Returns the role that was set up before, else the one that is asked for or that the plan names.
    fn choose_role(&self, doing: Doing) -> Result<String, ServerSetupError> {
        let noted = self.block_on(self.admin.role_with_note(&self.holder()))?;
        let named = match &self.options.role {
            Some(role) => Some(role.clone()),
            None => self.named_role()?,
        };
        match (noted, named) {
            // Of two notes one would have ours for what was before.
            (Some(noted), Some(wanted)) if noted != wanted && doing == Doing::SettingUp => {
                let asset = self.options.asset.clone();
                Err(ServerSetupError::AnotherRole { asset, noted, wanted })
            }
            (Some(role), _) | (None, Some(role)) => Ok(role),
            (None, None) => Ok(ROLE.to_owned()),
        }
    }

    /// Returns the role that the plan names, unless it is a superuser.
    fn named_role(&self) -> Result<Option<String>, ServerSetupError> {
        let (conninfo, _) = self.site.connection(self.postgres, self.cancel)?;
        let Some(named) = conninfo.acting_role() else { return Ok(None) };
        let found = self.block_on(self.admin.look(named, &BTreeSet::new()))?;
        let is_superuser = found.role.is_some_and(|role| role.is_superuser);
        Ok((!is_superuser).then(|| named.to_owned()))
    }

    fn rights(&self) -> BTreeSet<Right> {
        let server = self.admin.server();
        let (major, database) = (server.version().major(), server.database());
        setup::rights(major, taken(self.postgres), &database, self.admin.maintenance())
    }

    fn look(&self) -> Result<(Found, Wanted), ServerSetupError> {
        let rights = self.rights();
        let found = self.block_on(self.admin.look(&self.role, &rights))?;
        let wanted = Wanted {
            role: self.role.clone(),
            rights,
            holder: self.holder(),
            archive: self.wanted_archive(),
            foreign: self.options.foreign,
        };
        Ok((found, wanted))
    }

    fn wanted_archive(&self) -> Option<WantedArchive> {
        let Self { site, options, asset, .. } = self;
        wanted_archive(site.call(), &options.asset, asset, options.socket.as_deref())
    }

    fn holder(&self) -> String {
        format!("{}/{}", self.site.name(), self.options.asset)
    }

    fn leaving(&self) -> Leaving {
        let archive = self.wanted_archive();
        Leaving {
            role: self.role.clone(),
            holder: self.holder(),
            command: archive.map(|archive| archive.command),
        }
    }

    fn preview(&self, found: &Found, script: Script) -> SetupPreview {
        SetupPreview {
            asset: self.options.asset.clone(),
            address: found.address.clone(),
            role: self.role.clone(),
            sql: script.sql(),
            changes: script.changes,
            remarks: script.remarks,
        }
    }

    fn must_be_superuser(&self) -> Result<(), ServerSetupError> {
        if self.admin.is_superuser {
            return Ok(());
        }
        let role = self.admin.role.clone();
        Err(ServerSetupError::NoSuperuser { role, address: self.admin.server().address() })
    }

    /// Sets up those tiers of the log that nobody has written to yet: no log can be sent to them before.
    fn set_up_new_tiers(&self) -> Result<(), ServerSetupError> {
        let is_new = |tier: &TierName| matches!(self.site.reach(tier), Reached::Vacant(_));
        let is_there = |tier: &&TierName| matches!(self.site.reach(tier), Reached::Ready(_));
        let of_log = &self.postgres.wal.to;
        if of_log.iter().any(is_new) {
            // A new tier takes its key and its seed from one that is there, whether or not the log goes to it.
            let there = self.site.plan().tiers().keys().filter(is_there);
            let tiers: BTreeSet<_> = there.chain(of_log).cloned().collect();
            // What is wrong with one of them is said by the rehearsal, which needs them.
            OpenSite::open(self.site, &tiers, NewTiers::SetUp, &Silent, self.cancel)?;
        }
        Ok(())
    }

    /// Returns where the server's files are, which have to be on this host.
    fn data_directory(&self) -> Result<PathBuf, ServerSetupError> {
        let facts = self.block_on(self.admin.server().facts())?;
        let away = || ServerSetupError::Elsewhere { address: self.admin.server().address() };
        let data = PathBuf::from(facts.data_directory.ok_or_else(away)?);
        match Cluster::at(&data) {
            Ok(cluster) if Some(cluster.system.0) == facts.system_identifier => Ok(data),
            // Who may not look has to believe it; then the proof tells.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(data),
            _ => Err(away()),
        }
    }

    /// Starts the server again if something takes it and it was told so.
    fn restart_if_told(&mut self, wanted: &Wanted) -> Result<Restarted, ServerSetupError> {
        let waits = self.waits(wanted)?;
        if waits.is_empty() {
            return Ok(Restarted::NotNeeded);
        }
        if self.options.restarting == Restarting::Never {
            return Ok(Restarted::Waited { settings: waits });
        }
        let data = self.data_directory()?;
        Restart::find(&data)?.run()?;
        self.admin = administrator(self.site, self.postgres, self.options, self.cancel)?;
        let still = self.waits(wanted)?;
        if still.is_empty() {
            Ok(Restarted::Done)
        } else {
            Ok(Restarted::Waited { settings: still })
        }
    }

    fn waits(&self, wanted: &Wanted) -> Result<Vec<SettingName>, ServerSetupError> {
        let found = self.block_on(self.admin.look(&wanted.role, &wanted.rights))?;
        Ok(found.waits_for_restart())
    }

    /// Says how the plan would use the role, where it does not yet or cannot.
    fn remark_on_connection(&self) -> Option<String> {
        let role = &self.role;
        let connected =
            self.site.connection(self.postgres, self.cancel).and_then(|(info, client)| {
                let server = Server::connect_without_database(&info, &client);
                let server = self.site.surroundings().runtime.block_on(server)?;
                let admin = Administrator::connect(server);
                Ok(self.site.surroundings().runtime.block_on(admin)?)
            });
        match connected {
            Ok(connected) if connected.role == *role => None,
            Ok(connected) => Some(format!(
                "the plan connects as `{}`; to use the new role, add options='-c role={role}' to `connect`, or user={role} where pg_hba.conf lets it in",
                connected.role
            )),
            Err(error) => Some(format!(
                "the plan cannot connect as `{role}` yet: {}; let it in by pg_hba.conf, or write options='-c role={role}' instead of user={role}",
                crate::error::explain(&error)
            )),
        }
    }
}

/// Connects as somebody who may change the server: as the options say, else as the plan says, else as whoever
/// runs it.
fn administrator(
    site: &Site,
    postgres: &Postgres,
    options: &SetupOptions,
    cancel: &Cancel,
) -> Result<Administrator, ServerSetupError> {
    let (own, environment) = site.connection(postgres, cancel)?;
    let candidates = match &options.connect {
        Some(text) => vec![Conninfo::parse(text, &environment).map_err(OpsError::from)?],
        None => vec![own.for_administrator(), own],
    };
    let runtime = &site.surroundings().runtime;
    let mut best: Option<Result<Administrator, OpsError>> = None;
    for conninfo in candidates {
        let connected = runtime.block_on(async {
            let server = Server::connect_without_database(&conninfo, &environment).await?;
            Administrator::connect(server).await
        });
        match connected {
            Ok(admin) if admin.is_superuser => return Ok(admin),
            Ok(admin) if !matches!(best, Some(Ok(_))) => best = Some(Ok(admin)),
            Err(error) if best.is_none() => best = Some(Err(error.into())),
            _ => {}
        }
    }
    Ok(best.expect("there is a way to connect")?)
}
