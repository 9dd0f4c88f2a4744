//! The logs that the daemon serves: of each database of the plan whose server runs on this host.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, PlanId};
use lifeboat_plan::plan::asset::WalMode;
use lifeboat_postgres::running;
use tokio::net::UnixStream;

use super::{Daemon, lock};
use crate::error::{OpsError, explain};
use crate::residence::{PlaceError, fence};
use crate::wal::protocol;
use crate::wal::protocol::{Question, Verdict};
use crate::wal::serve::{LogServer, Service, Serving};
use crate::wire::Site;

/// How often is looked for servers that were not there yet.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// A log that is served.
struct Log {
    server: LogServer,
    service: Service,
    _serving: Serving,
    cancel: Cancel,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// All logs that are served.
#[derive(Default)]
pub(super) struct Logs {
    /// Whether the tiers were asked where the platform lives: a server that comes up again after a disaster hands its log
    /// over before any job has asked them.
    has_asked: AtomicBool,
    open: Mutex<(Option<PlanId>, BTreeMap<AssetName, Log>)>,
}

impl Logs {
    /// Answers a question about a log: whose it is nobody here, that is said.
    pub(super) async fn answer(
        &self,
        question: Question,
        uid: u32,
        stream: &mut UnixStream,
    ) -> io::Result<()> {
        let server = {
            let open = lock(&self.open);
            let mut servers = open.1.values().map(|log| &log.server);
            servers.find(|server| server.is_of(&question.directory)).cloned()
        };
        match server {
            Some(server) => server.answer(question, uid, stream).await,
            None => protocol::reply(stream, Verdict::NotMine).await,
        }
    }

    /// Opens what can be served, again and again: servers come and go, and so do plans.
    pub(super) async fn keep(self: Arc<Self>, daemon: Weak<Daemon>) {
        loop {
            let Some(site) = daemon.upgrade().map(|daemon| daemon.site()) else { return };
            let clock = Arc::clone(&site.surroundings().clock);
            let logs = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || logs.open_all(&site)).await {
                tracing::error!(%error, "The logs cannot be served.");
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }

    fn open_all(&self, site: &Site) {
        let plan = Some(site.plan().id());
        {
            let mut open = lock(&self.open);
            if open.0 != plan {
                *open = (plan, BTreeMap::new());
            }
        }
        let service = self.service(site);
        for (asset, postgres) in site.databases() {
            let known = lock(&self.open).1.get(asset).map(|log| log.service);
            let is_open = known == Some(service);
            if is_open || postgres.wal.mode != WalMode::Archive {
                continue;
            }
            let cancel = Cancel::new();
            let directory = site.data_directory_of(postgres, &cancel);
            let Some(directory) = directory.filter(|found| running::may_be_in_use(found)) else {
                continue;
            };
            match open(site, asset, service, (&directory, cancel)) {
                Ok(log) => {
                    tracing::info!(%asset, "Its log is served.");
                    lock(&self.open).1.insert(asset.clone(), log);
                }
                Err(why) => tracing::warn!(%asset, why, "Its log is not served."),
            }
        }
    }

    /// Returns what is done for servers of this host: where the platform does not live, nothing is archived.
    fn service(&self, site: &Site) -> Service {
        let known = if self.has_asked.load(Ordering::Relaxed) {
            fence::expect_as_known(site)
        } else {
            let asked = fence::expect_home_now(site, &Cancel::new());
            let is_told = !matches!(asked, Err(OpsError::Place(PlaceError::Unasked { .. })));
            self.has_asked.store(is_told, Ordering::Relaxed);
            asked
        };
        match known {
            Ok(()) => Service::Both,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "No log is archived here.");
                Service::Fetching
            }
        }
    }
}

fn open(
    site: &Site,
    asset: &AssetName,
    service: Service,
    (directory, cancel): (&Path, Cancel),
) -> Result<Log, String> {
    let spool = site.surroundings().cache_directory.join("wal").join(asset.as_str());
    let places = (directory, spool.as_path());
    let server = LogServer::open(site, asset, service, places, &cancel);
    let server = server.map_err(|error| explain(&error))?;
    let serving = server.begin(&site.surroundings().runtime);
    Ok(Log { server, service, _serving: serving, cancel })
}
