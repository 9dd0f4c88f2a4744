//! Assets that are captured when they change: what is to be looked at and captured, a pure function of what was noticed,
//! what was seen, and now.
//!
//! ```text
//! notice ──(quiet for a second, five at most)──> sweep ──differs──> capture ──> basis
//!                      every so often ──────────────┘ └──the same──> unchanged until then
//! ```
//!
//! A notice says only that it is worth looking. A *sweep* looks at every entry and makes one fingerprint of what the
//! system tells of them; what differs from the fingerprint that the last capture began with is captured. So a notice that was
//! lost costs time and no file, and one too many costs a sweep and no snapshot.
//!
//! # Invariants
//!
//! - What a sweep found different stays to be captured until a capture that began with it, or later, came about.
//! - An asset counts as unchanged until a sweep only if that sweep, begun then, saw exactly what the last complete capture
//!   began with, and no entry had changed so shortly before that a second change could not be told from the first.
//! - However steady the changes, a sweep is due [`NOTICE_MAX`] after the first, and a capture as often as the rpo asks, or [`APART_MAX`] after the last.
//!
//! # Crash consistency
//!
//! The basis is kept after the capture that it belongs to is recorded; a kill between the two costs one capture too many.
//!
//! # Limits
//!
//! A sweep takes a share of a core that is bounded, so that of an asset which takes long to look at less is promised. What
//! changes content and leaves size, times and inode as they were is not seen, here as in every backup that goes by a parent.

pub(crate) mod ears;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use lifeboat_model::Timestamp;
use serde::{Deserialize, Serialize};

/// How long nothing must happen before it is looked: who saves a file writes it in several steps.
pub const QUIET: Duration = Duration::from_secs(1);

/// How long after the first notice it is looked, though others follow.
pub const NOTICE_MAX: Duration = Duration::from_secs(5);

/// How often is swept, and captured at most, where the plan sets no rpo.
const EVERY_WITHOUT_RPO: Duration = Duration::from_mins(5);

/// The bounds of how often is swept, whatever the rpo: what is quicker than the first the notices do.
const EVERY_MIN: Duration = Duration::from_secs(10);
const EVERY_MAX: Duration = Duration::from_hours(1);

/// How far apart captures lie at most that one change after the other makes due.
pub const APART_MAX: Duration = Duration::from_mins(1);

/// The share of a core that periodic sweeps take is one part in so many, and that of sweeps after notices.
const SHARE_OF_SWEEPS: u32 = 200;
const SHARE_OF_NOTICES: u32 = 10;

/// What all entries of an asset were, as far as the system tells: SHA-256 as hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

/// Whether a second change could be told from the last one that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// The last change is old enough.
    Settled,
    /// Something changed at the very moment of looking.
    Fresh,
}

/// What a sweep saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it saw.
    pub fingerprint: Fingerprint,
    /// Whether that tells it from what came a moment later.
    pub freshness: Freshness,
}

/// How much of an asset a capture got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Captured {
    /// All of it.
    Whole,
    /// What could be read.
    Part,
    /// Nothing.
    Nothing,
}

/// What the last capture began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// When that was seen; the capture began then or later.
    pub at: Timestamp,
    /// What was seen.
    pub fingerprint: Fingerprint,
    /// Whether that tells it from what came a moment later.
    pub freshness: Freshness,
    /// How much was captured.
    pub captured: Captured,
}

/// What is remembered of a watched asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the last capture began with.
    pub basis: Basis,
    /// When the last sweep began that saw no change since.
    pub unchanged: Option<Timestamp>,
}

impl Kept {
    /// Returns from when until when an asset is known to have been as it was captured.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let is_whole = self.basis.captured == Captured::Whole;
        self.unchanged.filter(|_| is_whole).map(|until| (self.basis.at, until))
    }
}

/// What is known of a watched asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    rpo: Option<Duration>,
    kept: Option<Kept>,
    noticed: Option<(Timestamp, Timestamp)>,
    swept: Option<(Timestamp, Duration)>,
    found: Option<Sweep>,
    taken: Option<Sweep>,
    begun: Option<Timestamp>,
    blind: Option<String>,
}

impl Watch {
    /// Begins to watch, with what is remembered.
    pub fn new(rpo: Option<Duration>, kept: Option<Kept>) -> Self {
        Self { rpo, kept, ..Self::default() }
    }

    /// Takes another objective over.
    pub const fn follow(&mut self, rpo: Option<Duration>) {
        self.rpo = rpo;
    }

    /// Returns what is to be remembered.
    pub const fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Says why changes are not noticed, if they are not.
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Takes note of why changes are not noticed; returns whether that is new.
    pub fn set_blind(&mut self, why: Option<String>) -> bool {
        let is_new = why.is_some() && self.blind != why;
        self.blind = why;
        is_new
    }

    /// Returns how often it is swept though nothing is noticed, and captured though it changes all the time.
    pub fn every(&self) -> Duration {
        let half = self.rpo.map_or(EVERY_WITHOUT_RPO, |rpo| rpo / 2);
        half.clamp(EVERY_MIN, EVERY_MAX)
    }

    /// Takes note that something happened.
    pub fn noticed(&mut self, now: Timestamp) {
        let first = self.noticed.map_or(now, |(first, _)| first.min(now));
        self.noticed = Some((first, now));
    }

    /// Returns from when on it is to be swept.
    pub fn sweep_at(&self, now: Timestamp) -> Timestamp {
        let Some((swept, took)) = self.swept else { return now };
        // A clock that was set back makes nothing wait for the time that it showed.
        let swept = swept.min(now);
        let periodic = after(swept, self.every().max(took.saturating_mul(SHARE_OF_SWEEPS)));
        let Some((first, last)) = self.noticed else { return periodic };
        let noticed = after(last, QUIET).min(after(first, NOTICE_MAX));
        let rested = after(swept, took.saturating_mul(SHARE_OF_NOTICES));
        noticed.max(rested).min(periodic).min(after(now, NOTICE_MAX).max(rested))
    }

    /// Takes note of what a sweep saw.
    pub fn swept(&mut self, sweep: Sweep) {
        self.swept = Some((sweep.started, sweep.took));
        // What happens while it is looked may have been passed by already.
        self.noticed = self.noticed.filter(|(_, last)| *last >= sweep.started);
        self.judge(sweep);
    }

    /// Holds what was seen against what was captured.
    fn judge(&mut self, sweep: Sweep) {
        match &mut self.kept {
            Some(kept) if kept.basis.is_as(&sweep) => {
                kept.unchanged = kept.unchanged.max(Some(sweep.started));
                self.found = None;
            }
            _ => self.found = Some(sweep),
        }
    }

    /// Returns from when on it is to be captured, if it is.
    pub fn capture_at(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.found.as_ref().filter(|_| self.taken.is_none())?;
        let spaced = self.begun.map(|begun| after(begun.min(now), self.every().min(APART_MAX)));
        Some(spaced.map_or(found.started, |spaced| spaced.max(found.started)))
    }

    /// Takes note that a capture begins.
    pub fn begun(&mut self, now: Timestamp) {
        self.taken = self.found.take();
        self.begun = Some(now);
    }

    /// Takes note of what became of it.
    pub fn ended(&mut self, captured: Captured) {
        let Some(taken) = self.taken.take() else { return };
        if captured == Captured::Nothing {
            self.found.get_or_insert(taken);
            return;
        }
        let Sweep { started: at, fingerprint, freshness, .. } = taken;
        let basis = Basis { at, fingerprint, freshness, captured };
        self.kept = Some(Kept { basis, unchanged: None });
        if let Some(found) = self.found.take() {
            self.judge(found);
        }
    }
}

impl Basis {
    /// Tells whether a sweep saw the same.
    fn is_as(&self, sweep: &Sweep) -> bool {
        self.fingerprint == sweep.fingerprint && self.freshness == Freshness::Settled
    }
}

fn after(instant: Timestamp, length: Duration) -> Timestamp {
    instant.saturating_add(length).unwrap_or(Timestamp::MAX)
}
