//! Objectives: how much of an asset would be lost now and how long bringing it back takes, held against what the plan
//! allows. Pure.
//!
//! **Exposure** of an asset on a tier is what lies between now and the latest instant up to which every change is known to be
//! captured there: the capture of its newest snapshot, or the last commit of the log that follows it. It is met up to
//! the rpo, at risk up to the rpo and its grace, missed beyond.
//!
//! **The time to come back** is what was measured last, where it was measured. Beside it stands a prediction from the size, the
//! bandwidth (as measured, else assumed, which is said) and the hours that cold storage takes. Only what was measured is
//! missed; what is predicted, or comes near, is at risk.

use std::time::Duration;

use lifeboat_model::{Outcome, TierName, Timestamp};
use lifeboat_plan::plan::asset::Asset;
use serde::Serialize;

use crate::status::history::BroughtBack;

/// How something stands against its objective; the smaller, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Within it.
    Met,
    /// The plan sets none.
    None,
    /// Beyond it and within its grace, or near it, or predicted to be beyond it.
    AtRisk,
    /// Nobody could look, or it was never measured.
    Unknown,
    /// Beyond it, or never captured.
    Missed,
}

/// What the plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How much may be lost.
    pub rpo: Option<Duration>,
    /// How far beyond that is only a risk.
    pub grace: Option<Duration>,
    /// How long bringing it back may take.
    pub rto: Option<Duration>,
}

impl Limits {
    /// Returns what the plan allows of an asset.
    pub fn of(asset: &Asset) -> Self {
        Self {
            rpo: asset.rpo.map(Duration::from),
            grace: asset.grace(),
            rto: asset.rto.map(Duration::from),
        }
    }
}

/// Whether a tier could be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// What is there is known.
    Clear,
    /// Nothing is known.
    None,
}

/// Returns how much would be lost now of what is captured up to then; nothing of what is captured later than now, as a
/// clock has it that was set back.
pub fn exposure(captured: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(captured)).unwrap_or(Duration::ZERO)
}

/// Holds an exposure against the objective.
pub fn judge_exposure(exposure: Option<Duration>, limits: &Limits, sight: Sight) -> Objective {
    let exposure = match (exposure, sight) {
        (None, Sight::None) => return Objective::Unknown,
        (None, Sight::Clear) => return Objective::Missed,
        (Some(exposure), _) => exposure,
    };
    let allowed = limits.rpo.map(|rpo| rpo.saturating_add(limits.grace.unwrap_or_default()));
    match limits.rpo {
        // What was recorded is the best that can lie there.
        _ if sight == Sight::None && allowed.is_none_or(|allowed| exposure <= allowed) => {
            Objective::Unknown
        }
        None => Objective::None,
        Some(rpo) if exposure <= rpo => Objective::Met,
        Some(_) if allowed.is_some_and(|allowed| exposure <= allowed) => Objective::AtRisk,
        Some(_) => Objective::Missed,
    }
}

/// What brought an asset back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rehearsal {
    /// A restore.
    Restore,
    /// A restore into a sandbox, with checks.
    VerifiedRestore,
    /// A recovery or a drill.
    Recovery,
}

/// How long something took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// How long, in milliseconds.
    pub took_ms: u64,
    /// When it ended.
    pub time: Timestamp,
    /// What it was.
    pub by: Rehearsal,
    /// From which tier, if it was one.
    pub tier: Option<TierName>,
}

/// How much passes from a tier, where nobody measured it: a line of 100 Mbit/s to what is elsewhere.
const ASSUMED_FAR_BYTES_PER_S: u64 = 12_500_000;

/// The same of a disk of this machine.
const ASSUMED_NEAR_BYTES_PER_S: u64 = 100_000_000;

/// What took less than this tells nothing of a bandwidth.
const MEASURED_MIN: Duration = Duration::from_secs(1);

/// Where a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this machine.
    Here,
    /// Elsewhere.
    Elsewhere,
}

/// Where a bandwidth is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// From the last restore.
    Measured,
    /// It is assumed.
    Assumed,
}

/// How long coming back should take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Predicted {
    /// How long, in seconds.
    pub seconds: u64,
    /// From which tier, the fastest.
    pub tier: TierName,
    /// How much has to be brought.
    pub size_bytes: u64,
    /// How much passes in a second.
    pub bytes_per_s: u64,
    /// Where that is known from.
    pub bandwidth: Known,
    /// How long is waited for cold storage first, in seconds.
    pub rehydration_s: u64,
}

/// A tier that an asset could come back from.
#[derive(Debug, Clone)]
pub struct Way<'a> {
    /// Which tier.
    pub tier: &'a TierName,
    /// Where it is.
    pub place: Place,
    /// How large the newest snapshot there is.
    pub size_bytes: u64,
    /// How long cold storage takes.
    pub rehydration: Duration,
}

impl Way<'_> {
    fn predict(&self, back: &[BroughtBack]) -> Predicted {
        let measured = back.iter().find_map(|back| self.bandwidth(back));
        let assumed = match self.place {
            Place::Here => ASSUMED_NEAR_BYTES_PER_S,
            Place::Elsewhere => ASSUMED_FAR_BYTES_PER_S,
        };
        let bytes_per_s = measured.unwrap_or(assumed);
        let rehydration_s = self.rehydration.as_secs();
        Predicted {
            seconds: rehydration_s.saturating_add(self.size_bytes.div_ceil(bytes_per_s)),
            tier: self.tier.clone(),
            size_bytes: self.size_bytes,
            bytes_per_s,
            bandwidth: if measured.is_some() { Known::Measured } else { Known::Assumed },
            rehydration_s,
        }
    }

    /// Returns what passed in a second when it came back from this tier, all of what it then took counted.
    fn bandwidth(&self, back: &BroughtBack) -> Option<u64> {
        let took = Duration::from_millis(back.duration_ms);
        if back.tier != *self.tier || back.outcome != Outcome::Passed || took < MEASURED_MIN {
            return None;
        }
        let per_s = u128::from(self.size_bytes) * 1000 / u128::from(back.duration_ms);
        Some(u64::try_from(per_s).unwrap_or(u64::MAX).max(1))
    }
}

/// How long coming back takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comeback {
    /// How long it may take, in seconds.
    pub limit_s: Option<u64>,
    /// How long it took last.
    pub measured: Option<Measured>,
    /// How long it should take now.
    pub predicted: Option<Predicted>,
    /// How that stands against the objective.
    pub objective: Objective,
}

/// What is nearer to its limit than this is at risk: fifths of the limit.
const NEAR_FIFTHS: u32 = 4;

/// Judges how long an asset takes to come back; `back` is how it did, the newest first.
pub fn comeback(limits: &Limits, ways: &[Way<'_>], back: &[BroughtBack]) -> Comeback {
    let measured = back.iter().find(|back| back.outcome == Outcome::Passed).map(|back| Measured {
        took_ms: back.duration_ms,
        time: back.time,
        by: back.by,
        tier: Some(back.tier.clone()),
    });
    let predicted =
        ways.iter().map(|way| way.predict(back)).min_by_key(|predicted| predicted.seconds);
    Comeback {
        limit_s: limits.rto.map(|rto| rto.as_secs()),
        objective: judge_comeback(limits.rto, measured.as_ref(), predicted.as_ref()),
        measured,
        predicted,
    }
}

/// Holds the time to come back against its limit.
pub fn judge_comeback(
    limit: Option<Duration>,
    measured: Option<&Measured>,
    predicted: Option<&Predicted>,
) -> Objective {
    let Some(limit) = limit else { return Objective::None };
    let took = measured.map(|measured| Duration::from_millis(measured.took_ms));
    let should = predicted.map(|predicted| Duration::from_secs(predicted.seconds));
    match took {
        Some(took) if took > limit => Objective::Missed,
        Some(took) if took > limit * NEAR_FIFTHS / 5 => Objective::AtRisk,
        _ if should.is_some_and(|should| should > limit) => Objective::AtRisk,
        Some(_) => Objective::Met,
        None => Objective::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn limits() -> Limits {
        Limits { rpo: Some(HOUR), grace: Some(Duration::from_mins(3)), rto: Some(2 * HOUR) }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn back(minutes: u64, outcome: Outcome) -> BroughtBack {
        BroughtBack {
            tier: "near".parse().unwrap(),
            time: second(0),
            by: Rehearsal::Restore,
            outcome,
            duration_ms: minutes * 60_000,
            plan: None,
        }
    }

    #[test]
    fn exposure_is_met_up_to_the_rpo_at_risk_up_to_its_grace_and_missed_beyond() {
        for (exposure_s, sight, objective) in [
            (Some(0), Sight::Clear, Objective::Met),
            (Some(3600), Sight::Clear, Objective::Met),
            (Some(3601), Sight::Clear, Objective::AtRisk),
            (Some(3780), Sight::Clear, Objective::AtRisk),
            (Some(3781), Sight::Clear, Objective::Missed),
            (None, Sight::Clear, Objective::Missed),
            (Some(0), Sight::None, Objective::Unknown),
            (None, Sight::None, Objective::Unknown),
        ] {
            let exposure = exposure_s.map(Duration::from_secs);
            assert_eq!(judge_exposure(exposure, &limits(), sight), objective, "{exposure_s:?}");
        }
        let none = Limits { rpo: None, ..limits() };
        assert_eq!(judge_exposure(Some(HOUR * 99), &none, Sight::Clear), Objective::None);
        assert_eq!(exposure(second(9), second(0)), Duration::ZERO, "a clock that was set back");
    }

    #[test]
    fn what_was_measured_beyond_the_rto_is_missed_and_what_is_predicted_only_at_risk() {
        let near: TierName = "near".parse().unwrap();
        let way = |gib: u64, hours| Way {
            tier: &near,
            place: Place::Elsewhere,
            size_bytes: gib << 30,
            rehydration: HOUR * hours,
        };
        let passed = |minutes| vec![back(minutes, Outcome::Passed)];
        for (ways, back, objective) in [
            (vec![way(1, 0)], passed(30), Objective::Met),
            (vec![way(1, 0)], passed(97), Objective::AtRisk),
            (vec![way(1, 0)], passed(121), Objective::Missed),
            (vec![way(1, 0)], Vec::new(), Objective::Unknown),
            // 500 GiB on 100 Mbit/s take twelve hours.
            (vec![way(500, 0)], Vec::new(), Objective::AtRisk),
            (vec![way(1, 15)], passed(30), Objective::AtRisk),
            (vec![way(1, 15), way(1, 0)], passed(30), Objective::Met),
            (Vec::new(), Vec::new(), Objective::Unknown),
        ] {
            let found = comeback(&limits(), &ways, &back);
            assert_eq!(found.objective, objective, "{found:?}");
        }
        let none = Limits { rto: None, ..limits() };
        assert_eq!(comeback(&none, &[way(1, 0)], &passed(999)).objective, Objective::None);
    }

    #[test]
    fn a_bandwidth_is_that_of_the_last_restore_from_there_which_succeeded_else_assumed_and_said_to_be()
     {
        let (near, far): (TierName, TierName) = ("near".parse().unwrap(), "far".parse().unwrap());
        let way = |tier| Way {
            tier,
            place: Place::Here,
            size_bytes: 6_000_000,
            rehydration: Duration::ZERO,
        };
        let back = [back(9, Outcome::Failed), back(1, Outcome::Passed)];
        let predicted = way(&near).predict(&back);
        assert_eq!((predicted.bytes_per_s, predicted.bandwidth), (100_000, Known::Measured));
        assert_eq!(predicted.seconds, 60);
        let predicted = way(&far).predict(&back);
        assert_eq!(predicted.bandwidth, Known::Assumed);
        assert_eq!(predicted.bytes_per_s, ASSUMED_NEAR_BYTES_PER_S);
    }

    proptest! {
        /// What is lost only grows while nothing is captured, and never looks better for it.
        #[test]
        fn an_objective_never_gets_better_by_waiting(captured in 0_i64..10_000, waits in prop::collection::vec(0_i64..4_000, 1..20)) {
            let (mut now, mut worst) = (captured, Objective::Met);
            for wait in waits {
                now += wait;
                let lost = exposure(second(captured), second(now));
                prop_assert_eq!(lost.as_secs(), (now - captured).cast_unsigned());
                let judged = judge_exposure(Some(lost), &limits(), Sight::Clear);
                prop_assert!(judged >= worst);
                worst = judged;
            }
        }
    }
}
