//! What was found out, as a document for programs, tables for people, and plots for the docs.

mod plot;
mod publish;
mod table;

pub use plot::plot;
pub use publish::{Marks, publish, write};
pub use table::tables;
pub(crate) use table::{line, section, size};

use lifeboat_model::Timestamp;
use serde::Serialize;

use crate::launch::Usage;
use crate::machine::Machine;
use crate::race::{Raced, Results, Times};
use crate::racer::Racer;
use crate::work::{Goal, Work};

/// The name and version of the document's shape.
pub const SCHEMA: &str = "lifeboat.bench/1";

/// How it was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// When.
    pub date: Timestamp,
    /// On what.
    pub machine: Machine,
    /// The versions of the programs.
    pub versions: Vec<String>,
    /// How much of the full size.
    pub scale: f64,
    /// Where the corpora come from.
    pub seed: u64,
    /// How often each racer did each work.
    pub runs: usize,
    /// With what restic ran.
    pub restic: &'static str,
}

/// How restic is run.
pub const RESTIC_SETTINGS: &str = "its defaults (compression auto, both cores), its cache and \
     temporary files in memory; both repositories have the same key derivation and polynomial";

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The name of the document's shape.
    pub schema: &'static str,
    /// How it was measured.
    pub setting: Setting,
    /// What was measured.
    #[serde(flatten)]
    pub results: Results,
    /// How lifeboat stands against each goal.
    pub verdicts: Vec<Verdict>,
}

/// How lifeboat stands against one goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict<W = Work> {
    /// The work.
    pub work: W,
    /// The goal in words.
    pub goal: String,
    /// What was measured, in the goal's words.
    pub measured: String,
    /// The number itself.
    pub value: f64,
    /// Whether that is what was wanted.
    pub met: bool,
}

impl Report {
    /// Judges what was measured.
    pub fn new(setting: Setting, results: Results) -> Self {
        let verdicts = results.works.iter().flat_map(judge).collect();
        Self { schema: SCHEMA, setting, results, verdicts }
    }
}

fn judge(raced: &Raced) -> Vec<Verdict> {
    let goals = raced.work.goals().iter();
    let verdicts = goals.filter_map(|goal| {
        let value = value(*goal, raced)?;
        let (met, measured) = (goal.is_met_by(value), goal.shown(value));
        Some(Verdict { work: raced.work, goal: goal.to_string(), measured, value, met })
    });
    verdicts.collect()
}

/// Returns what a goal is about; nothing if it was not measured.
#[expect(clippy::cast_precision_loss, reason = "ratios are rounded anyway")]
fn value(goal: Goal, raced: &Raced) -> Option<f64> {
    let own = raced.of(Racer::Lifeboat)?;
    let wall = own.wall().median;
    let wall_of = |racer| raced.of(racer).map(|times| times.wall().median);
    Some(match goal {
        Goal::Faster(_) => wall_of(Racer::Restic)? / wall,
        Goal::CpuShare(_) => own.cpu().median / raced.of(Racer::Restic)?.cpu().median,
        Goal::CeilingShare(_) => raced.ceiling_s? / wall,
        Goal::WalkTimes(_) => wall / raced.walk_s?,
        Goal::CopyTimes(_) => wall / wall_of(Racer::Cp)?,
        Goal::SizeTimes(_) => {
            let theirs = raced.of(Racer::Restic)?.repository_bytes?;
            own.repository_bytes? as f64 / theirs.max(1) as f64
        }
        Goal::ResidentMegabytes(_) => own.resident_bytes() as f64 / 1e6,
    })
}

/// The middle and the ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Looks at numbers; without any, all is not a number.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
        let last = numbers.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }
}

impl Raced {
    /// Returns what a racer took, if it raced.
    pub fn of(&self, racer: Racer) -> Option<&Times> {
        self.times.iter().find(|times| times.racer == racer)
    }
}

impl<R> Times<R> {
    /// Returns the seconds from start to end.
    pub fn wall(&self) -> Spread {
        self.spread(|usage| usage.wall_s)
    }

    /// Returns the seconds of processor time.
    pub fn cpu(&self) -> Spread {
        self.spread(|usage| usage.cpu_s)
    }

    /// Returns the most memory of all runs.
    pub fn resident_bytes(&self) -> u64 {
        self.runs.iter().map(|usage| usage.resident_bytes).max().unwrap_or(0)
    }

    fn spread(&self, number: impl Fn(&Usage) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn times(racer: Racer, walls: &[f64], repository_bytes: u64) -> Times {
        let usage = |wall_s: &f64| Usage {
            wall_s: *wall_s,
            cpu_s: wall_s * 1.5,
            resident_bytes: 200_000_000,
        };
        let runs = walls.iter().map(usage).collect();
        Times { racer, runs, repository_bytes: Some(repository_bytes) }
    }

    pub fn raced() -> Raced {
        Raced {
            work: Work::MediaBackup,
            times: vec![
                times(Racer::Lifeboat, &[4.0, 5.0, 3.0], 100),
                times(Racer::Restic, &[12.0, 11.0, 13.0], 98),
                times(Racer::Cp, &[1.0, 1.0, 1.5], 0),
            ],
            ceiling_s: Some(3.0),
            walk_s: None,
        }
    }

    #[test]
    fn lifeboat_is_judged_by_medians() {
        let verdicts = judge(&raced());
        let shown: Vec<_> =
            verdicts.iter().map(|v| (v.goal.as_str(), v.measured.as_str(), v.met)).collect();
        assert_eq!(
            shown,
            [
                ("≥ 2.5× as fast as restic", "3.0× as fast as restic", true),
                ("≤ 40% of restic's CPU", "33% of restic's CPU", true),
                ("≥ 80% of the ceiling", "75% of the ceiling", false),
                (
                    "≤ 1.010× the size of restic's repository",
                    "1.020× the size of restic's repository",
                    false
                ),
                ("≤ 300 MB resident", "200 MB resident", true),
            ]
        );
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 10.0].into_iter());
        assert_eq!(spread, Spread { median: 3.0, least: 1.0, most: 10.0 });
    }
}
