//! What the contest showed: a document for programs, tables for people, a picture for the docs.

use std::fs;
use std::path::Path;

use lifeboat_model::Timestamp;
use serde::Serialize;

use super::contest::{Measured, Raced, Results};
use super::engine::{Engine, TERMS};
use super::work::{Goal, Quantity, Work};
use crate::chart::{Bar, BarChart, Group};
use crate::failure::{BenchError, file};
use crate::machine::Machine;
use crate::race::Times;
use crate::report::{Marks, Spread, Verdict, line, section, size, write};

/// The name and version of the document's shape.
pub const SCHEMA: &str = "lifeboat.bench-postgres/1";

/// The page, below the directory of the documentation.
const PAGE: &str = "postgresql-performance.md";

/// The picture, beside the page.
const PLOT: &str = "postgresql-performance-measured.svg";

/// What the measured part of the page stands between.
const MARKS: Marks = Marks {
    begin: "<!-- measured: written by `make bench-postgres PUBLISH=docs` -->",
    end: "<!-- end of measured -->",
};

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
    /// Where the changes come from.
    pub seed: u64,
    /// How often each engine did each work.
    pub runs: usize,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The name of the document's shape.
    pub schema: &'static str,
    /// How it was measured.
    pub setting: Setting,
    /// How the engines were run.
    pub terms: &'static str,
    /// What was measured.
    #[serde(flatten)]
    pub results: Results,
    /// How lifeboat stands against each goal.
    pub verdicts: Vec<Verdict<Work>>,
}

impl Report {
    /// Judges what was measured.
    pub fn new(setting: Setting, results: Results) -> Self {
        let verdicts = results.works.iter().flat_map(|raced| judge(raced, &results)).collect();
        Self { schema: SCHEMA, setting, terms: TERMS, results, verdicts }
    }
}

fn judge<'r>(raced: &'r Raced, results: &'r Results) -> impl Iterator<Item = Verdict<Work>> + 'r {
    raced.work.goals().iter().filter_map(|goal| {
        let value = value(*goal, raced, results)?;
        let (met, measured) = (goal.is_met_by(value), goal.shown(value));
        Some(Verdict { work: raced.work, goal: goal.to_string(), measured, value, met })
    })
}

/// Returns what a goal is about; nothing if it was not measured.
fn value(goal: Goal, raced: &Raced, results: &Results) -> Option<f64> {
    let own = raced.wall(Engine::Lifeboat)?;
    let figure = |quantity| raced.figure(Engine::Lifeboat, quantity);
    let full = || results.works.iter().find(|raced| raced.work == Work::Restore);
    let share_of_full =
        |quantity| Some(figure(quantity)? / full()?.figure(Engine::Lifeboat, quantity)?);
    Some(match goal {
        Goal::Faster(than, _) => raced.wall(than)? / own,
        Goal::TimeShare(of, _) => own / raced.wall(of)?,
        Goal::StoredShare(of, _) => {
            figure(Quantity::StoredBytes)? / raced.figure(of, Quantity::StoredBytes)?
        }
        Goal::FasterThanFull(_) => full()?.wall(Engine::Lifeboat)? / own,
        Goal::FetchedShare(_) => share_of_full(Quantity::FetchedBytes)?,
        Goal::WrittenShare(_) => share_of_full(Quantity::WrittenBytes)?,
        Goal::CallMs(_) => figure(Quantity::CallMs)?,
        Goal::PrefetchedShare(_) => figure(Quantity::PrefetchedShare)?,
    })
}

impl Raced {
    fn of(&self, engine: Engine) -> Option<&Times<Engine>> {
        self.times.iter().find(|times| times.racer == engine && !times.runs.is_empty())
    }

    /// Returns the median of the seconds that an engine took.
    fn wall(&self, engine: Engine) -> Option<f64> {
        Some(self.of(engine)?.wall().median)
    }

    /// Returns the median of what was counted.
    fn figure(&self, engine: Engine, quantity: Quantity) -> Option<f64> {
        let mut figures = self.figures.iter();
        let figure = figures.find(|one| (one.engine, one.quantity) == (engine, quantity))?;
        Some(Spread::of(figure.runs.iter().copied()).median)
    }
}

/// Writes all of a report.
pub fn tables(report: &Report) -> String {
    let mut text = setting(report);
    section(&mut text, "Times", &times(&report.results.works));
    section(&mut text, "Goals", &goals(report));
    text
}

fn setting(report: &Report) -> String {
    let Setting { date, machine, versions, scale, seed, runs } = &report.setting;
    let Measured { files, bytes, pages, changed_pages, segments } = report.results.database;
    let mut text = String::new();
    line(&mut text, &format!("Measured on {} on {}.", date.strftime("%Y-%m-%d"), machine.line()));
    line(&mut text, &format!("Versions: {}.", versions.join("; ")));
    line(&mut text, &format!("{runs} runs each, in turns; seed {seed}. Terms: {}.", report.terms));
    if *scale < 1.0 {
        line(
            &mut text,
            &format!(
                "**A quick run at {scale} of the full size: times are too short to be compared.**"
            ),
        );
    }
    line(
        &mut text,
        &format!(
            "\nThe server: {} in {files} files, {pages} pages of relations, of which {changed_pages} change; \
             {segments} segments of its log.",
            size(bytes)
        ),
    );
    text
}

fn times(works: &[Raced]) -> Vec<Vec<String>> {
    let head = [
        "work",
        "who",
        "seconds",
        "min–max",
        "CPU s",
        "lifeboat is faster",
        "MB resident",
        "counted",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for raced in works {
        let own = raced.wall(Engine::Lifeboat);
        for (number, times) in raced.times.iter().enumerate() {
            let title = if number == 0 { raced.work.title() } else { "" };
            let Spread { median, least, most } = times.wall();
            let (cpu, resident) = (times.cpu().median, times.resident_bytes());
            let known = |is_known: bool, text: String| if is_known { text } else { String::new() };
            let ratio = own.filter(|_| times.racer != Engine::Lifeboat).map(|own| median / own);
            rows.push(vec![
                title.to_owned(),
                times.racer.name().to_owned(),
                format!("{median:.2}"),
                format!("{least:.2}–{most:.2}"),
                known(cpu > 0.0, format!("{cpu:.2}")),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×")),
                known(resident > 0, megabytes(resident)),
                counted(raced, times.racer),
            ]);
        }
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
fn megabytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}

/// Writes what was counted beside the time.
fn counted(raced: &Raced, engine: Engine) -> String {
    let wall = raced.wall(engine).unwrap_or(f64::NAN);
    let of_engine = raced.figures.iter().filter(|figure| figure.engine == engine);
    let parts = of_engine.filter_map(|figure| {
        let value = raced.figure(engine, figure.quantity)?;
        Some(match figure.quantity {
            Quantity::StoredBytes => format!("{} stored", bytes(value)),
            Quantity::FetchedBytes => format!("{} fetched", bytes(value)),
            Quantity::WrittenBytes => format!("{} written", bytes(value)),
            Quantity::Segments if raced.work == Work::Replay => format!("{value:.0} segments"),
            Quantity::Segments => format!("{:.1} segments/s", value / wall),
            Quantity::CallMs => format!("{value:.1} ms a call"),
            Quantity::LongestCallMs => format!("{value:.0} ms at most"),
            Quantity::PrefetchedShare => format!("{:.1}% prefetched", value * 100.0),
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a count")]
fn bytes(value: f64) -> String {
    size(value as u64)
}

fn goals(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![["work", "goal", "measured", "met"].map(str::to_owned).to_vec()];
    for verdict in &report.verdicts {
        rows.push(vec![
            verdict.work.title().to_owned(),
            verdict.goal.clone(),
            verdict.measured.clone(),
            if verdict.met { "yes" } else { "**no**" }.to_owned(),
        ]);
    }
    rows
}

/// Draws how long each engine took for each work, with pgBackRest's time as the unit.
pub fn plot(report: &Report) -> String {
    let groups = report.results.works.iter().filter_map(|raced| {
        let unit = raced.wall(Engine::Pgbackrest)?;
        let bars = Engine::ALL.iter().enumerate().filter_map(|(series, engine)| {
            let wall = raced.wall(*engine)?;
            let label = format!("{wall:.2} s ({:.0}%)", wall / unit * 100.0);
            Some(Bar { series, value: wall / unit, label })
        });
        Some(Group { name: raced.work.title().to_owned(), bars: bars.collect(), mark: None })
    });
    let chart = BarChart {
        title: format!("Time, in parts of pgBackRest's ({} runs, medians)", report.setting.runs),
        note: "shorter is better".to_owned(),
        series: Engine::ALL.map(|engine| engine.name().to_owned()).to_vec(),
        groups: groups.collect(),
    };
    chart.render()
}

/// Writes the report into the page in `docs`, in place of the last one.
pub fn publish(report: &Report, docs: &Path) -> Result<(), BenchError> {
    let page = docs.join(PAGE);
    let text = fs::read_to_string(&page).map_err(file("read", &page))?;
    let measured = format!("\n{}\n![Times in parts of pgBackRest's]({PLOT})\n\n", tables(report));
    let text = MARKS
        .replace(&text, &measured)
        .map_err(|marker| BenchError::NoPlace { path: page.clone(), marker })?;
    write(&page, &text)?;
    write(&docs.join(PLOT), &plot(report))
}

#[cfg(test)]
mod tests {
    use super::super::contest::Figure;
    use super::*;
    use crate::report::tests::times as timed;

    fn raced(work: Work, walls: &[(Engine, f64)], figures: &[(Engine, Quantity, f64)]) -> Raced {
        let times = walls.iter().map(|(engine, wall)| Times {
            racer: *engine,
            runs: timed(crate::racer::Racer::Cp, &[*wall], 0).runs,
            repository_bytes: None,
        });
        let figures = figures.iter().map(|(engine, quantity, value)| Figure {
            engine: *engine,
            quantity: *quantity,
            runs: vec![*value],
        });
        Raced { work, times: times.collect(), figures: figures.collect() }
    }

    #[test]
    fn lifeboat_is_judged_by_what_the_others_did_and_by_its_own_full_restore() {
        use Engine::{Lifeboat, Pgbackrest};
        let restore = raced(
            Work::Restore,
            &[(Lifeboat, 3.0), (Pgbackrest, 6.0)],
            &[
                (Lifeboat, Quantity::FetchedBytes, 1000.0),
                (Lifeboat, Quantity::WrittenBytes, 9000.0),
            ],
        );
        let delta = raced(
            Work::DeltaRestore,
            &[(Lifeboat, 2.0)],
            &[(Lifeboat, Quantity::FetchedBytes, 50.0), (Lifeboat, Quantity::WrittenBytes, 1800.0)],
        );
        let results = Results { works: vec![restore, delta], ..Results::default() };
        let verdicts = results.works.iter().flat_map(|raced| judge(raced, &results));
        let shown: Vec<_> = verdicts.map(|v| (v.measured, v.met)).collect();
        let expected = [
            ("2.00× as fast as pgBackRest", true),
            ("1.50× as fast as a full restore", false),
            ("5.0% of a full restore's bytes fetched", true),
            ("20.0% of a full restore's bytes written", false),
        ];
        assert_eq!(shown, expected.map(|(text, met)| (text.to_owned(), met)));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let alone = raced(Work::FirstBackup, &[(Engine::Lifeboat, 3.0)], &[]);
        assert_eq!(judge(&alone, &Results::default()).count(), 0);
    }
}
