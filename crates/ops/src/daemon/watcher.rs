//! Watching assets for changes: a thread that hears of them and looks, so that the loop waits for neither.
//!
//! What is due is decided by [`crate::watch`]; what is remembered lies in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lifeboat_model::{AssetName, Timestamp};
use lifeboat_plan::Plan;
use serde::{Deserialize, Serialize};

use super::{Daemon, lock};
use crate::error::explain;
use crate::watch::ears::{Bell, Ears, wait_deaf, why_deaf};
use crate::watch::scan::{Territory, sweep};
use crate::watch::{Captured, Watch};

/// How long is waited at most, so that a thread which was forgotten to be woken goes on.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// How long is waited where watching itself fails.
const WAIT_AFTER_TROUBLE: Duration = Duration::from_secs(10);

/// How a watched asset stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Which asset.
    pub asset: AssetName,
    /// When what was captured last was seen.
    pub captured: Option<Timestamp>,
    /// When it was last seen to be as it was captured.
    pub unchanged: Option<Timestamp>,
    /// Whether something was found that is not captured yet.
    pub is_changed: bool,
    /// Why changes are not noticed but found by looking now and then, if that is so.
    pub blind: Option<String>,
}

/// What is known of all watched assets.
#[derive(Debug)]
pub(super) struct Watcher {
    watches: Mutex<BTreeMap<AssetName, Watch>>,
    bell: Bell,
}

impl Watcher {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { watches: Mutex::default(), bell: Bell::new()? })
    }

    /// Lets the thread look around.
    pub(super) fn ring(&self) {
        self.bell.ring();
    }

    /// Returns from when on each asset is to be captured that has changed.
    pub(super) fn due(&self, now: Timestamp) -> BTreeMap<AssetName, Timestamp> {
        let watches = lock(&self.watches);
        let due = watches.iter().filter_map(|(asset, watch)| Some((asset, watch.capture_at(now)?)));
        due.map(|(asset, at)| (asset.clone(), at)).collect()
    }

    /// Takes note that a capture begins.
    pub(super) fn begun(&self, asset: &AssetName, now: Timestamp) {
        if let Some(watch) = lock(&self.watches).get_mut(asset) {
            watch.begun(now);
        }
    }

    /// Tells how all of them stand.
    pub(super) fn shown(&self, now: Timestamp) -> Vec<Watched> {
        let watches = lock(&self.watches);
        let shown = watches.iter().map(|(asset, watch)| Watched {
            asset: asset.clone(),
            captured: watch.kept().map(|kept| kept.basis.at),
            unchanged: watch.kept().and_then(|kept| kept.unchanged),
            is_changed: watch.capture_at(now).is_some(),
            blind: watch.blind().map(str::to_owned),
        });
        shown.collect()
    }
}

/// Returns the watched assets of a plan, with their objectives.
fn watched(plan: &Plan) -> impl Iterator<Item = (&AssetName, Option<Duration>)> {
    let watched = plan.assets().iter().filter(|(_, asset)| asset.is_watched());
    watched.map(|(name, asset)| (name, asset.rpo.map(Duration::from)))
}

impl Daemon {
    /// Looks at all watched assets once, and goes on to watch them.
    pub(super) fn begin_watching(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let mut ears = Ears::open().map_err(|error| error.to_string());
        self.look_around(&mut ears);
        let daemon = Arc::clone(self);
        let watching = move || {
            while !daemon.is_stopping.load(Ordering::Relaxed) {
                let turn = catch_unwind(AssertUnwindSafe(|| daemon.turn(&mut ears)));
                let done =
                    turn.unwrap_or_else(|_| Err(io::Error::other("it panicked; this is a bug")));
                if let Err(error) = done {
                    tracing::error!(%error, "Changes cannot be watched for; it is tried again.");
                    _ = wait_deaf(WAIT_AFTER_TROUBLE, &daemon.watcher.bell);
                }
            }
        };
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(watching);
        started.inspect_err(|error| tracing::error!(%error, "Nothing is watched.")).ok()
    }

    /// Waits until there is something to look at, and looks.
    fn turn(&self, ears: &mut Result<Ears, String>) -> io::Result<()> {
        let now = self.now();
        let next = lock(&self.watcher.watches).values().map(|watch| watch.sweep_at(now)).min();
        let wait = next.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        let wait = wait.map_or(if next.is_some() { Duration::ZERO } else { WAIT_MAX }, |wait| {
            wait.min(WAIT_MAX)
        });
        match ears {
            Err(_) => wait_deaf(wait, &self.watcher.bell)?,
            Ok(ears) => {
                let heard = ears.wait(wait, &self.watcher.bell)?;
                if heard.is_too_much {
                    tracing::warn!(
                        "More changed than can be followed; all that is watched is looked at."
                    );
                }
                let now = self.now();
                for (asset, watch) in lock(&self.watcher.watches).iter_mut() {
                    if heard.is_too_much || heard.assets.contains(asset) {
                        watch.noticed(now);
                    }
                }
            }
        }
        if !self.is_stopping.load(Ordering::Relaxed) {
            self.look_around(ears);
        }
        Ok(())
    }

    /// Looks at every asset for which it is time.
    fn look_around(&self, ears: &mut Result<Ears, String>) {
        self.follow_plan(ears);
        let now = self.now();
        let watches = lock(&self.watcher.watches);
        let due = watches.iter().filter(|(_, watch)| watch.sweep_at(now) <= now);
        let due: Vec<_> = due.map(|(asset, _)| asset.clone()).collect();
        drop(watches);
        for asset in due {
            self.look_at(&asset, ears);
        }
    }

    /// Takes over which assets the plan in force wants watched.
    fn follow_plan(&self, ears: &mut Result<Ears, String>) {
        let site = self.site();
        let mut watches = lock(&self.watcher.watches);
        let wanted: BTreeSet<_> = watched(site.plan()).map(|(name, _)| name.clone()).collect();
        if watches.len() != wanted.len() || watches.keys().any(|name| !wanted.contains(name)) {
            watches.retain(|name, _| wanted.contains(name));
            if let Ok(ears) = ears {
                ears.keep(&wanted);
            }
        }
        for (name, rpo) in watched(site.plan()) {
            let watch = watches.entry(name.clone()).or_insert_with(|| {
                let kept = self.journal.watched(name).unwrap_or_else(|error| {
                    tracing::error!(error = explain(&error), "It is not known what was captured.");
                    None
                });
                Watch::new(rpo, kept)
            });
            watch.follow(rpo);
        }
    }

    /// Looks at an asset, and takes note of what was seen.
    fn look_at(&self, asset: &AssetName, ears: &mut Result<Ears, String>) {
        let site = self.site();
        let planned = site.plan().assets().get(asset).and_then(|asset| asset.files());
        let Some(territory) = planned.and_then(|files| {
            let territory = Territory::of(&site, files);
            territory.inspect_err(|error| tracing::error!(%asset, error = explain(error), "It cannot be looked at.")).ok()
        }) else {
            return;
        };
        let mut blind = ears.as_ref().err().cloned();
        if let Ok(ears) = ears {
            ears.begin();
        }
        let seen = sweep(&territory, &*site.surroundings().clock, &mut |place| {
            let Ok(ears) = ears else { return };
            if let Err(error) = ears.listen(asset, place) {
                blind.get_or_insert_with(|| why_deaf(place, error));
            }
        });
        if let Ok(ears) = ears {
            ears.end(asset);
        }
        let mut watches = lock(&self.watcher.watches);
        let Some(watch) = watches.get_mut(asset) else { return };
        watch.swept(seen);
        if watch.set_blind(blind) {
            let (why, every_s) = (watch.blind().unwrap_or_default(), watch.every().as_secs());
            tracing::warn!(%asset, why, every_s, "Its changes are found by looking, not noticed at once.");
        }
        let is_changed = watch.capture_at(self.now()).is_some();
        self.remember(asset, watch);
        drop(watches);
        if is_changed {
            self.wake.notify_one();
        }
    }

    /// Takes note of what became of a capture.
    pub(super) fn captured(&self, asset: &AssetName, captured: Captured) {
        if let Some(watch) = lock(&self.watcher.watches).get_mut(asset) {
            watch.ended(captured);
            self.remember(asset, watch);
        }
        self.watcher.ring();
    }

    fn remember(&self, asset: &AssetName, watch: &Watch) {
        let Some(kept) = watch.kept() else { return };
        if let Err(error) = self.journal.keep_watched(asset, kept) {
            tracing::error!(%asset, error = explain(&error), "It is not remembered what was captured.");
        }
    }
}
