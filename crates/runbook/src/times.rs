//! How long a run took, split into what was done and what was waited for.
//!
//! The parts add up to the whole. What was under way at once counts once, for the part that began first; a
//! person is waited for only while nothing else is under way; what is left, nobody worked: the run was paused,
//! stuck, or its process was gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::Timestamp;
use serde::Serialize;

use crate::output::{Output, Outputs};
use crate::run::Stretch;
use crate::{Mood, Phase, Run};

/// By which number a step says how many milliseconds it took at its beginning until it could read what it restores.
pub const FETCHED_MS: &str = "fetched-ms";

/// By which number a step says how many milliseconds a server replayed its log at its end.
pub const REPLAYED_MS: &str = "replayed-ms";

/// How much of a step was something else than what the step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    fetched: Duration,
    replayed: Duration,
}

impl Shares {
    /// Returns what a step that is done says of itself.
    pub(crate) fn of(outputs: &Outputs) -> Self {
        let said = |name| match outputs.get(name) {
            Some(Output::Number(ms)) => Duration::from_millis(u64::try_from(*ms).unwrap_or(0)),
            _ => Duration::ZERO,
        };
        Self { fetched: said(FETCHED_MS), replayed: said(REPLAYED_MS) }
    }
}

/// A part of a stretch that counts for one phase, or for a person.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// When its stretch began.
    began: Timestamp,
    from: Timestamp,
    to: Timestamp,
    phase: Option<Phase>,
}

/// Where the time of a run went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Times {
    /// From its declaration to its end, or to now.
    pub total: Duration,
    /// What each part took.
    pub phases: BTreeMap<Phase, Duration>,
    /// How long nothing but a person was waited for.
    pub people: Duration,
    /// How long nothing happened.
    pub standstill: Duration,
}

impl Run {
    /// Returns where the time went; up to `now`, if the run is not over.
    pub fn times(&self, now: Timestamp) -> Times {
        let end = match self.mood() {
            Mood::Finished(_) => self.last_time(),
            _ => now.max(self.last_time()),
        };
        let segments: Vec<_> =
            self.stretches().iter().flat_map(|stretch| self.segments(stretch, end)).collect();
        let mut moments = BTreeSet::from([self.declared(), self.begun(), end]);
        for segment in &segments {
            moments.extend([segment.from, segment.to]);
        }
        let moments: Vec<_> = moments.into_iter().collect();
        let mut times = Times { total: between(self.declared(), end), ..Times::default() };
        for pair in moments.windows(2) {
            let length = between(pair[0], pair[1]);
            if pair[0] < self.begun() {
                *times.phases.entry(Phase::Decide).or_default() += length;
                continue;
            }
            let open = |segment: &&Segment| segment.from <= pair[0] && segment.to >= pair[1];
            let open: Vec<_> = segments.iter().filter(open).collect();
            let work = open.iter().filter_map(|segment| Some((segment.began, segment.phase?)));
            match work.min_by_key(|(began, _)| *began) {
                Some((_, phase)) => *times.phases.entry(phase).or_default() += length,
                None if open.is_empty() => times.standstill += length,
                None => times.people += length,
            }
        }
        times
    }

    /// Splits a stretch into what its time counts for.
    fn segments(&self, stretch: &Stretch, end: Timestamp) -> impl Iterator<Item = Segment> {
        let (from, to) = (stretch.from, stretch.to.unwrap_or(end).min(end));
        let part = |from, to, phase| Segment { began: stretch.from, from, to, phase };
        let parts = if stretch.is_for_person {
            vec![part(from, to, None)]
        } else {
            let own = self.runbook().graph.steps()[stretch.step].phase;
            let Shares { fetched, replayed } = stretch.shares;
            let fetched = from.saturating_add(fetched).unwrap_or(to).min(to);
            let replaying = to.saturating_sub(replayed).unwrap_or(from).max(fetched);
            vec![
                part(from, fetched, Some(Phase::Fetch)),
                part(fetched, replaying, Some(own)),
                part(replaying, to, Some(Phase::Replay)),
            ]
        };
        parts.into_iter().filter(|part| part.from < part.to)
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
