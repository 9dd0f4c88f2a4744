//! `lifeboat serve`: the daemon, which runs the plan by itself.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lifeboat_model::{Exit, SiteName, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::daemon::execution::Operations;
use lifeboat_ops::daemon::{Daemon, Loader, Published, Setup, Until, Workers};
use lifeboat_ops::ending::Ending;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::usual_socket;
use crate::failure::{CommandError, Failure};
use crate::plan_file;
use crate::render::{Answer, Page, Sort, tone_of};
use crate::session::Session;

/// The arguments of `lifeboat serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    /// Listen on this socket [default: /run/lifeboat/lifeboat.sock for root, else in the state directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Publish /health, /ready and /metrics on this address [default: 127.0.0.1:9823, if it is free]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    http: Option<SocketAddr>,
    /// Do what is due and end, instead of going on: for a timer of somebody else's
    #[arg(long)]
    once: bool,
}

/// Where the daemon publishes how it goes, unless told otherwise: for this machine alone.
const HTTP_USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9823);

const EXAMPLES: &str = "\
SIGHUP reads the plan anew, as `lifeboat reload` does; one that does not hold changes nothing.
SIGTERM and Ctrl-C stop what runs at its next safe point; it is gone on with at the next start.

Examples:
  lifeboat serve
  lifeboat serve --http 127.0.0.1:9000
  lifeboat serve --once";

#[derive(Serialize)]
struct Served {
    site: SiteName,
    started: Timestamp,
    ended: Timestamp,
    jobs: u64,
    ending: Ending,
}

impl Answer for Served {
    const SCHEMA: &'static str = "lifeboat.serve/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let ending = page.paint.tone(tone_of(self.ending), &self.ending.to_string());
        writeln!(page, "{} jobs, the worst: {ending}", self.jobs)
    }
}

impl Serve {
    /// Runs the plan until it is asked to stop; with `--once` ends as the worst job did.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let (name, started) = (site.name().clone(), session.clock.now());
        let socket = self.socket.clone().unwrap_or_else(|| usual_socket(&site, session));
        let (executor, workers) = (Arc::new(Operations), Workers::Threads);
        let setup = Setup { loader: loader(session), executor, workers };
        let daemon = Daemon::open(site, setup)?;
        let listening = daemon.listen(&socket)?;
        let published = self.publish(&daemon, session)?;
        session.screen.remark(&format!("serving `{name}` on {}", socket.display()));
        reload_on_hangup(&daemon, session)?;
        let until = if self.once { Until::Idle } else { Until::Stopped };
        let tally = daemon.run(until, &session.cancel);
        drop((listening, published));
        let exit = if self.once { tally.worst.exit() } else { Exit::Done };
        let (jobs, ending) = (tally.jobs, tally.worst);
        session.end(&Served { site: name, started, ended: session.clock.now(), jobs, ending }, exit)
    }
}

impl Serve {
    /// Publishes how the daemon goes. The usual address is given up where another daemon has it: what runs the plan must not
    /// depend on who reads its metrics.
    fn publish(
        &self,
        daemon: &Arc<Daemon>,
        session: &Session,
    ) -> Result<Option<Published>, Failure> {
        if self.once {
            return Ok(None);
        }
        match (daemon.publish(self.http.unwrap_or(HTTP_USUAL)), self.http) {
            (Ok(published), _) => {
                let address = published.address();
                session.screen.remark(&format!("health and metrics on http://{address}"));
                Ok(Some(published))
            }
            (Err(error), Some(_)) => Err(error.into()),
            (Err(error), None) => {
                session.screen.remark(&format!("{error}: nothing is published (--http ADDRESS)"));
                Ok(None)
            }
        }
    }
}

/// Reads the plan as the command line says.
fn loader(session: &Session) -> Loader {
    let session = session.clone();
    let load = move || -> Result<Site, Failure> { session.site_of(plan_file::check(&session)?) };
    Box::new(move || {
        load().map_err(|failure| {
            let first = failure.diagnostics().first().map(|found| format!(": {}", found.message));
            format!("{}{}", failure.error(), first.unwrap_or_default())
        })
    })
}

fn reload_on_hangup(daemon: &Arc<Daemon>, session: &Session) -> Result<(), CommandError> {
    let _entered = session.runtime.enter();
    let listened = signal(SignalKind::hangup());
    let failed = |source| CommandError::System { action: "listen for signals", source };
    let mut hangup = listened.map_err(failed)?;
    // It must not keep the daemon's lock when the daemon is over.
    let daemon = Arc::downgrade(daemon);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let Some(daemon) = daemon.upgrade() else { return };
            // What does not hold is logged by the daemon itself.
            _ = tokio::task::spawn_blocking(move || daemon.reload()).await;
        }
    });
    Ok(())
}
