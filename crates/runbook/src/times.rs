//! How long a run took, split into what was done and what was waited for.
//!
//! The parts add up to the whole. What was under way at once counts once, for the part that began first; a
//! person is waited for only while nothing else is under way; what is left, nobody worked: the run was paused,
//! stuck, or its process was gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::Timestamp;
use serde::Serialize;

use crate::run::Stretch;
use crate::{Mood, Phase, Run};

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
        let mut moments = BTreeSet::from([self.declared(), self.begun(), end]);
        for stretch in self.stretches() {
            moments.insert(stretch.from);
            moments.insert(stretch.to.unwrap_or(end).min(end));
        }
        let moments: Vec<_> = moments.into_iter().collect();
        let mut times = Times { total: between(self.declared(), end), ..Times::default() };
        for pair in moments.windows(2) {
            let length = between(pair[0], pair[1]);
            if pair[0] < self.begun() {
                *times.phases.entry(Phase::Decide).or_default() += length;
                continue;
            }
            let open = |stretch: &&Stretch| {
                stretch.from <= pair[0] && stretch.to.unwrap_or(end) >= pair[1]
            };
            let open: Vec<_> = self.stretches().iter().filter(open).collect();
            let work = open.iter().filter(|stretch| !stretch.is_for_person);
            match work.min_by_key(|stretch| stretch.from) {
                Some(first) => {
                    let phase = self.runbook().graph.steps()[first.step].phase;
                    *times.phases.entry(phase).or_default() += length;
                }
                None if open.is_empty() => times.standstill += length,
                None => times.people += length,
            }
        }
        times
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
