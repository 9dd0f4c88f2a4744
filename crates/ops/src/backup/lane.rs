//! Lanes: each tier gets what a job stores at its own pace, and a slow one delays no other.
//!
//! An asset is read once, for the tier that leads. The others get its packs meanwhile, as far as they keep
//! up ([`Follower`]); once the leader has the snapshot, each copies what it still lacks and then the
//! snapshot. All that is done on threads of the tier, one snapshot after the other, while the job goes
//! on to the next asset.
//!
//! # Invariants
//!
//! - Nothing is recorded as being on a tier before the copy there has ended well, which read it back.
//! - A tier's work ends when its lock is lost, or that of the tier it copies from; no other does.
//!
//! # Crash consistency
//!
//! As with a copy: what is there is listed now and then, and the snapshot is made last. What was not
//! brought to a tier is brought by the next job, see `catch_up`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use lifeboat_model::{Cancel, Clock, EventSink, SnapshotId, TierName, Timestamp};
use lifeboat_repository::RepositoryError;
use lifeboat_repository::copy::{CopyReport, copy_snapshot};
use lifeboat_repository::follower::Follower;

use crate::backlog::Lacking;
use crate::wire::open::OpenTier;

/// A tier, and what follows there.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    tier: &'a OpenTier,
    cancel: &'a Cancel,
    follower: Follower<'a>,
}

impl<'a> Lane<'a> {
    /// Opens a lane to a tier that is locked; what is done there ends with the flag.
    pub(crate) fn new(tier: &'a OpenTier, cancel: &'a Cancel) -> Self {
        Self { tier, cancel, follower: Follower::new(&tier.repository, cancel) }
    }

    /// Tells whether it is a tier of this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.tier.named.tier.reads_here()
    }

    /// Returns what follows.
    pub(crate) const fn follower(&self) -> &Follower<'a> {
        &self.follower
    }

    fn name(&self) -> &'a TierName {
        &self.tier.named.name
    }

    /// Lists what was sent here so far, so that whoever goes on with this tier finds it.
    pub(crate) fn settle(&self) {
        if let Err(error) = self.follower.settle() {
            let error: &dyn std::error::Error = &error;
            // The copy that follows fails for the same, if it still matters, and is told of.
            tracing::info!(error, tier = %self.name(), "The tier fell behind while a backup ran.");
        }
    }

    /// Brings a snapshot here, with all that it needs.
    fn bring(
        &self,
        from: &Lane<'_>,
        snapshot: SnapshotId,
        events: &dyn EventSink,
    ) -> Result<CopyReport, RepositoryError> {
        // What went wrong meanwhile shows again in the copy, if it still matters.
        self.settle();
        let cancel = Cancel::part_of(&[from.cancel, self.cancel]);
        let (from, to) = (&from.tier.repository, &self.tier.repository);
        copy_snapshot(from, to, &snapshot, events, &cancel)
    }
}

/// What a tier is to get.
#[derive(Debug)]
pub(crate) enum Ordered {
    /// The asset of this number, as it was stored just now.
    Asset(usize),
    /// What it missed earlier.
    Missed(Box<Lacking>),
}

/// A snapshot that a tier is to get.
#[derive(Debug)]
struct Order<'l, 'a> {
    what: Ordered,
    from: &'l Lane<'a>,
    snapshot: SnapshotId,
}

/// How an order went.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// What was ordered.
    pub what: Ordered,
    /// From which tier.
    pub from: TierName,
    /// Which tier.
    pub to: TierName,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How.
    pub copied: Result<CopyReport, RepositoryError>,
}

/// The lanes of a job.
#[derive(Debug, Default)]
pub(crate) struct Lanes<'a>(BTreeMap<TierName, Lane<'a>>);

impl<'a> FromIterator<Lane<'a>> for Lanes<'a> {
    fn from_iter<I: IntoIterator<Item = Lane<'a>>>(lanes: I) -> Self {
        Self(lanes.into_iter().map(|lane| (lane.name().clone(), lane)).collect())
    }
}

impl<'a> Lanes<'a> {
    /// Returns the lane to a tier.
    pub(crate) fn to(&self, tier: &TierName) -> Option<&Lane<'a>> {
        self.0.get(tier)
    }

    /// Begins the work; it ends when what is returned is dropped and all is done that was ordered.
    pub(crate) fn open<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        events: &'s dyn EventSink,
        clock: &'s dyn Clock,
    ) -> Traffic<'s, 'a> {
        let (told, results) = channel();
        let mut orders = BTreeMap::new();
        for (name, lane) in &self.0 {
            for _ in 0..lane.follower.senders() {
                scope.spawn(|| lane.follower.store_all());
            }
            let (order, ordered) = channel();
            orders.insert(name.clone(), order);
            let told = told.clone();
            let span = tracing::info_span!("deliver", tier = %name);
            scope.spawn(move || span.in_scope(|| lane.carry_out(ordered, &told, events, clock)));
        }
        Traffic { lanes: self, orders, results, open: 0 }
    }
}

impl<'a> Lane<'a> {
    fn carry_out(
        &self,
        orders: Receiver<Order<'_, 'a>>,
        told: &Sender<Delivered>,
        events: &dyn EventSink,
        clock: &dyn Clock,
    ) {
        for Order { what, from, snapshot } in orders {
            let started = clock.now();
            let copied = self.bring(from, snapshot, events);
            let (from, to, ended) = (from.name().clone(), self.name().clone(), clock.now());
            // Nobody listens only if the job itself has failed; what was brought stays.
            drop(told.send(Delivered { what, from, to, started, ended, copied }));
        }
    }
}

/// What is on its way to the tiers.
#[derive(Debug)]
pub(crate) struct Traffic<'s, 'a> {
    lanes: &'s Lanes<'a>,
    orders: BTreeMap<TierName, Sender<Order<'s, 'a>>>,
    results: Receiver<Delivered>,
    open: usize,
}

impl<'s, 'a> Traffic<'s, 'a> {
    /// Returns the lanes.
    pub(crate) const fn lanes(&self) -> &'s Lanes<'a> {
        self.lanes
    }

    /// Lets a tier get a snapshot that another has.
    pub(crate) fn order(
        &mut self,
        what: Ordered,
        from: &TierName,
        to: &TierName,
        snapshot: SnapshotId,
    ) {
        let from = self.lanes.to(from).expect("a lane leads to every tier that is held");
        let order = self.orders.get(to).expect("a lane leads to every tier that is held");
        if order.send(Order { what, from, snapshot }).is_ok() {
            self.open += 1;
        }
    }

    /// Returns what has ended by now.
    pub(crate) fn ended(&mut self) -> Option<Delivered> {
        let ended = self.results.try_recv().ok()?;
        self.open -= 1;
        Some(ended)
    }

    /// Waits for the next that ends; there is none once all have.
    pub(crate) fn wait(&mut self) -> Option<Delivered> {
        if self.open == 0 {
            return None;
        }
        let ended = self.results.recv().ok()?;
        self.open -= 1;
        Some(ended)
    }
}

impl Drop for Traffic<'_, '_> {
    fn drop(&mut self) {
        for lane in self.lanes.0.values() {
            lane.follower.end();
        }
    }
}
