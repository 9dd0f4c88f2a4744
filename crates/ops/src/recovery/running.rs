//! Starting what was recovered: the log is served from here, as this process may read the recovery key and the
//! server may not.

use std::path::{Path, PathBuf};
use std::thread;

use lifeboat_model::{Cancel, Event, Lsn, Stage, Timestamp};
use lifeboat_postgres::ClientEnvironment;
use lifeboat_postgres::control::ServerLimits;
use lifeboat_postgres::recovery::start::{Progress, RestoredServer, ServerPrograms, raised};
use lifeboat_postgres::server_command::quoted;
use lifeboat_postgres::yard::Inside;
use serde::Serialize;

use super::sandbox::milliseconds;
use super::{Recovery, RecoveryOptions, Start};
use crate::error::OpsError;
use crate::wal::WalError;
use crate::wal::serve::{LogService, ServeOptions, Service};

/// A server that was started and waited for.
#[derive(Debug, Clone, Serialize)]
pub struct Started {
    /// How to connect to it.
    pub connect: String,
    /// Up to where it replayed.
    pub replayed: Option<Lsn>,
    /// When the last transaction was committed that it replayed.
    pub last_commit: Option<Timestamp>,
    /// Whether it takes changes.
    pub is_promoted: bool,
    /// How long it took until it was there, in milliseconds.
    pub replayed_ms: u64,
}

/// Returns the command by which the server fetches the log.
pub(super) fn restore_command(options: &RecoveryOptions) -> String {
    let socket = (options.start != Start::No).then(|| socket_beside(&options.to));
    fetch_command(&options.fetch, socket.as_deref())
}

/// Writes the command that fetches a file, from whoever serves the log on a socket.
pub(super) fn fetch_command(fetch: &[String], socket: Option<&Path>) -> String {
    let mut words: Vec<String> = fetch.iter().map(|word| quoted(word)).collect();
    if let Some(socket) = socket {
        words.push("--socket".to_owned());
        words.push(quoted(&socket.display().to_string()));
    }
    words.push("%f \"%p\"".to_owned());
    words.join(" ")
}

impl Recovery<'_> {
    /// Starts the server and waits until it takes changes or waits at its target.
    pub(super) fn start(&self, data: &Path) -> Result<Started, OpsError> {
        let manifest = self.chosen.manifest()?;
        let postgres = self.site.asset(&self.options.asset)?.postgres();
        let postgres = postgres.expect("only a database has base backups");
        let (_, environment) = self.site.connection(postgres, self.cancel)?;
        let runner = self.site.inside().map(Inside::runner);
        let programs = ServerPrograms::find(manifest.major(), &environment)?.run_by(runner);
        let served = Cancel::new();
        let options = ServeOptions {
            service: Service::Fetching,
            socket: socket_beside(data),
            directory: data.to_owned(),
            spool: self.site.surroundings().cache_directory.join("wal"),
        };
        // The socket is there before the server is: it asks at once, and without root's key nobody else.
        let service = told(LogService::bind(self.site, &self.options.asset, &options, &served));
        thread::scope(|scope| {
            let serving = service.map(|service| scope.spawn(|| service.run()));
            let started = self.bring_up((&programs, data), manifest.limits, &environment);
            let started = self.end(started, &programs, data);
            served.cancel();
            // Who replays has told what was wrong with the log; what is left is the end of serving it.
            serving.and_then(|serving| serving.join().ok()).and_then(told);
            started
        })
    }

    /// Starts the server and waits for it; once more with more of what its log wants, if that was raised after the base backup.
    fn bring_up(
        &self,
        (programs, data): (&ServerPrograms, &Path),
        mut limits: ServerLimits,
        environment: &ClientEnvironment,
    ) -> Result<Started, OpsError> {
        let surroundings = self.site.surroundings();
        loop {
            let server = programs.start(data, &limits)?;
            let error = match self.wait(&server, environment) {
                Err(OpsError::Start(error)) => error,
                other => return other,
            };
            let more = raised(&error, data, limits, &*surroundings.clock);
            let Some(more) = surroundings.runtime.block_on(more) else { return Err(error.into()) };
            programs.stop(data)?;
            limits = more;
        }
    }

    /// Shuts the server down again if that is wanted, also one that did not get where it should: it would stand in the
    /// way of the next attempt.
    fn end(
        &self,
        started: Result<Started, OpsError>,
        programs: &ServerPrograms,
        data: &Path,
    ) -> Result<Started, OpsError> {
        if self.options.start != Start::AndStop {
            return started;
        }
        match (started, programs.stop(data)) {
            (Ok(started), stopped) => Ok(stopped.map(|()| started)?),
            (Err(error), _) => Err(error),
        }
    }

    fn wait(
        &self,
        server: &RestoredServer,
        environment: &ClientEnvironment,
    ) -> Result<Started, OpsError> {
        let surroundings = self.site.surroundings();
        let begun = surroundings.now();
        self.events.emit(Event::Started { stage: Stage::Database, total: None });
        let mut note = |progress: Progress| {
            if let Some(lsn) = progress.lsn {
                self.events.emit(Event::Replayed { lsn, committed: progress.committed });
            }
        };
        let goes_on = || !self.cancel.is_cancelled();
        let waited = server.wait(environment, &*surroundings.clock, &mut note, &goes_on);
        let waited = surroundings.runtime.block_on(waited);
        self.events.emit(Event::Finished { stage: Stage::Database });
        let Some(progress) = waited? else {
            self.cancel.check()?;
            return Err(OpsError::NotInPlan { what: "end of the recovery".to_owned() });
        };
        Ok(Started {
            connect: server.connect_string(),
            replayed: progress.lsn,
            last_commit: progress.committed,
            is_promoted: progress.is_promoted,
            replayed_ms: milliseconds(begun, surroundings.now()),
        })
    }
}

/// Warns that the log is not served: a server whose user has the key fetches it alone.
pub(super) fn told<T>(served: Result<T, WalError>) -> Option<T> {
    let warned = served.inspect_err(|error| {
        let error: &dyn std::error::Error = error;
        tracing::warn!(error, "The log could not be served.");
    });
    warned.ok()
}

/// Returns where the log is served for a data directory.
fn socket_beside(data: &Path) -> PathBuf {
    let mut path = data.as_os_str().to_owned();
    path.push("-wal.sock");
    PathBuf::from(path)
}
