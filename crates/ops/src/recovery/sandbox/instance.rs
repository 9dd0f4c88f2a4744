//! A throwaway server that answers, and what it stands on.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use lifeboat_model::{AssetName, Cancel, Event, EventSink, Stage};
use lifeboat_postgres::control::ServerLimits;
use lifeboat_postgres::enclosure::{Enclosure, EnclosureError, Isolation, Walls, installation};
use lifeboat_postgres::recovery::placement::Owner;
use lifeboat_postgres::recovery::start::{Progress, ServerPrograms, StartError};
use lifeboat_postgres::recovery::throwaway::{Data, Throwaway, ThrowawayServer, Use};
use lifeboat_postgres::{ClientEnvironment, Conninfo, DatabaseName, Server};
use nix::unistd::{User, getegid, geteuid};

use super::place::{Place, check_length, check_room};
use super::{DATA, Demand, GIVEN, ROOT, SOCKET, TABLESPACES, USUAL_ROLE, claim};
use crate::error::OpsError;
use crate::recovery::running;
use crate::wal::WalError;
use crate::wal::serve::{LogService, ServeOptions, Service};
use crate::wire::{Site, client_environment};

/// What a server gets that nobody's settings are known of: enough for what is loaded and asked by one.
const LIMITS: ServerLimits = ServerLimits {
    connections: 40,
    worker_processes: 8,
    wal_senders: 0,
    prepared_transactions: 0,
    locks_per_transaction: 256,
};

/// How much larger than its dump a database is taken to be: it has indexes, and pages that are not full.
const LARGER_THAN_DUMP: u64 = 2;

/// The user that everybody has who has no other.
const NOBODY: u32 = 65534;

/// A throwaway server that answers. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub struct Instance {
    // In this order: the server ends first, its directory goes last.
    server: ThrowawayServer,
    _log: Option<ServedLog>,
    place: Place,
    database: DatabaseName,
    environment: ClientEnvironment,
    runtime: tokio::runtime::Handle,
}

/// An empty server, into which a dump is going to be loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmptyOptions<'a> {
    /// Whose dump.
    pub(crate) asset: &'a AssetName,
    /// The major version of the server that was dumped.
    pub(crate) major: u32,
    /// How long the dump is.
    pub(crate) dump_bytes: u64,
    /// In which folder.
    pub(crate) scratch: &'a Path,
    /// How much isolation there has to be.
    pub(crate) demand: Demand,
    /// This program's file, which runs itself inside.
    pub(crate) own_program: &'a Path,
}

impl Instance {
    pub(super) fn new(
        server: ThrowawayServer,
        log: Option<ServedLog>,
        place: Place,
        (ground, site): (Ground, &Site),
    ) -> Self {
        let Ground { environment, database, .. } = ground;
        let runtime = site.surroundings().runtime.clone();
        Self { server, _log: log, place, database, environment, runtime }
    }

    /// Makes and starts one without data.
    pub(crate) fn empty(
        site: &Site,
        options: &EmptyOptions<'_>,
        (events, cancel): (&dyn EventSink, &Cancel),
    ) -> Result<(Self, Isolation), OpsError> {
        let place = claim(site, Some(options.scratch))?;
        check_length(&place)?;
        let data = options.dump_bytes.saturating_mul(LARGER_THAN_DUMP);
        check_room(&place, data, options.dump_bytes)?;
        let cluster = Cluster {
            asset: options.asset,
            own_program: options.own_program,
            major: options.major,
            limits: LIMITS,
            holds: Data::None,
            owner: unprivileged(),
            purpose: Use::Write,
        };
        let ground = Ground::prepare(site, &cluster, &place)?;
        let (server, isolation) = ground.start(site, options.demand, events, cancel)?;
        Ok((Self::new(server, None, place, (ground, site)), isolation))
    }

    /// Returns the data directory, as the host sees it.
    pub fn data(&self) -> PathBuf {
        self.place.path(DATA)
    }

    /// Returns the role that may do everything.
    pub fn superuser(&self) -> &str {
        self.server.superuser()
    }

    /// Returns the database that the plan names.
    pub const fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// Returns libpq keywords that connect to a database as a role, for as long as this lives. Nobody
    /// is asked for a password.
    pub fn connect_string(&self, role: &str, database: &DatabaseName) -> String {
        self.server.connect_string(role, database)
    }

    /// Connects to a database as a role.
    pub fn server(&self, role: &str, database: &DatabaseName) -> Result<Server, OpsError> {
        let conninfo = Conninfo::parse(&self.connect_string(role, database), &self.environment)?;
        Ok(self.runtime.block_on(Server::connect(&conninfo, &self.environment))?)
    }

    /// Connects to the plan's database as who may do everything; it need not be there yet.
    pub(crate) fn server_without_database(&self) -> Result<Server, OpsError> {
        let text = self.connect_string(self.superuser(), &self.database);
        let conninfo = Conninfo::parse(&text, &self.environment)?;
        let connected = Server::connect_without_database(&conninfo, &self.environment);
        Ok(self.runtime.block_on(connected)?)
    }

    /// Returns the variables by which clients of PostgreSQL find it as who may do everything.
    pub(crate) fn client_variables(&self) -> Vec<(String, String)> {
        let (host, port) = (self.place.path(SOCKET), self.server.port());
        [
            ("PGHOST", host.display().to_string()),
            ("PGPORT", port.to_string()),
            ("PGUSER", self.superuser().to_owned()),
            ("PGDATABASE", self.database.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Removes all rows of a database: whatever is asked of it then has to notice that.
    pub(crate) fn remove_all_rows(&self, database: &DatabaseName) -> Result<(), OpsError> {
        let removed = self.server.remove_all_rows(database, &self.environment);
        Ok(self.runtime.block_on(removed)?)
    }

    pub(super) fn stop(self) -> Result<Place, OpsError> {
        let Self { server, place, .. } = self;
        server.stop()?;
        Ok(place)
    }

    /// Ends the server and removes all of its files.
    pub(crate) fn close(self) -> Result<(), OpsError> {
        let Self { server, _log, mut place, .. } = self;
        drop(server);
        Ok(place.remove()?)
    }
}

/// Returns as whom a server runs that belonged to nobody before: none runs as root.
fn unprivileged() -> Owner {
    if !geteuid().is_root() {
        return Owner { uid: geteuid().as_raw(), gid: getegid().as_raw() };
    }
    let user = User::from_name(USUAL_ROLE).ok().flatten();
    user.map_or(Owner { uid: NOBODY, gid: NOBODY }, |user| Owner {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    })
}

/// What a throwaway server is.
pub(super) struct Cluster<'a> {
    pub(super) asset: &'a AssetName,
    pub(super) own_program: &'a Path,
    pub(super) major: u32,
    pub(super) limits: ServerLimits,
    pub(super) holds: Data,
    pub(super) owner: Owner,
    pub(super) purpose: Use,
}

/// Where the log is served for a sandbox.
pub(super) fn log_socket(place: &Place) -> PathBuf {
    place.path(GIVEN).join("wal.sock")
}

/// The log, as long as it is served.
#[derive(Debug)]
pub(super) struct ServedLog {
    cancel: Cancel,
    thread: Option<JoinHandle<Result<(), WalError>>>,
}

impl ServedLog {
    pub(super) fn begin(site: &Site, asset: &AssetName, place: &Place) -> Self {
        let cancel = Cancel::new();
        let serving = ServeOptions {
            service: Service::Fetching,
            socket: log_socket(place),
            directory: place.path(DATA),
            spool: place.path("spool"),
        };
        let service = running::told(LogService::bind(site, asset, &serving, &cancel));
        let thread = service.map(|service| std::thread::spawn(move || service.run()));
        Self { cancel, thread }
    }
}

impl Drop for ServedLog {
    fn drop(&mut self) {
        self.cancel.cancel();
        // Who replayed has told what was wrong with the log; what is left is the end of serving it.
        self.thread.take().and_then(|thread| thread.join().ok()).and_then(running::told);
    }
}

/// What a sandbox's server stands on.
pub(super) struct Ground {
    enclosure: Enclosure,
    throwaway: Throwaway,
    database: DatabaseName,
    environment: ClientEnvironment,
}

impl Ground {
    /// Finds the programs, and makes the directories that are seen inside.
    pub(super) fn prepare(
        site: &Site,
        cluster: &Cluster<'_>,
        place: &Place,
    ) -> Result<Self, OpsError> {
        let Cluster { asset, own_program, major, limits, holds, owner, purpose } = *cluster;
        let environment = client_environment(&site.surroundings().environment);
        let connect = site.asset(asset)?.postgres().map(|plan| plan.connect.as_str());
        let plans = Conninfo::parse(connect.unwrap_or_default(), &environment)?;
        let programs = ServerPrograms::find(major, &environment)?;
        let ids = Some((owner.uid, owner.gid));
        place.make(ROOT, 0o755, None)?;
        let given = place.make(GIVEN, 0o755, None)?;
        let writable = [(DATA, 0o700), (TABLESPACES, 0o700), (SOCKET, 0o700)]
            .into_iter()
            .map(|(name, mode)| place.make(name, mode, ids))
            .collect::<Result<Vec<_>, _>>()?;
        let enclosure = Enclosure {
            own_program: own_program.to_owned(),
            root: place.path(ROOT),
            writable,
            readable: vec![given.clone(), installation(&programs.path("postgres"))],
            uid: owner.uid,
            gid: owner.gid,
        };
        let throwaway = Throwaway {
            programs,
            major,
            data: place.path(DATA),
            holds,
            socket: place.path(SOCKET),
            access: given.join("pg_hba.conf"),
            log: place.path("server.log"),
            limits,
            purpose,
            roles: match holds {
                Data::Restored => roles(&plans, owner),
                Data::None => vec![USUAL_ROLE.to_owned()],
            },
        };
        Ok(Self { enclosure, throwaway, database: plans.database(), environment })
    }

    /// Starts the server within the best walls that the host gives.
    pub(super) fn start(
        &self,
        site: &Site,
        demand: Demand,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(ThrowawayServer, Isolation), OpsError> {
        match self.start_within(Walls::Namespaces, site, events, cancel) {
            Err(OpsError::Start(StartError::Enclosure(EnclosureError::NoNamespaces { why })))
                if demand == Demand::WhatCanBeHad =>
            {
                tracing::warn!(why, "The sandbox is kept by settings alone.");
                let server = self.start_within(Walls::None, site, events, cancel)?;
                Ok((server, Isolation::SettingsOnly { why }))
            }
            started => Ok((started?, Isolation::Namespaces)),
        }
    }

    fn start_within(
        &self,
        walls: Walls,
        site: &Site,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<ThrowawayServer, OpsError> {
        let surroundings = site.surroundings();
        events.emit(Event::Started { stage: Stage::Database, total: None });
        let mut note = |progress: Progress| {
            if let Some(lsn) = progress.lsn {
                events.emit(Event::Replayed { lsn, committed: progress.committed });
            }
        };
        let goes_on = || !cancel.is_cancelled();
        let around = (&self.environment, &*surroundings.clock);
        let started = self.throwaway.start(&self.enclosure, walls, around, &mut note, &goes_on);
        let started = surroundings.runtime.block_on(started);
        events.emit(Event::Finished { stage: Stage::Database });
        match started? {
            Some(server) => Ok(server),
            None => Err(OpsError::Cancelled(lifeboat_model::Cancelled)),
        }
    }
}

/// Returns roles that a cluster is likely to have: the plan's, its user's, the usual one.
fn roles(plans: &Conninfo, owner: Owner) -> Vec<String> {
    let user = User::from_uid(owner.uid.into()).ok().flatten().map(|user| user.name);
    let plans = plans.role().map(str::to_owned);
    plans.into_iter().chain(user).chain([USUAL_ROLE.to_owned()]).collect()
}
