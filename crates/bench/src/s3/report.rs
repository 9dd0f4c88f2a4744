//! What the course showed: a document for programs, tables for people, a picture for the docs.

use std::fs;
use std::path::Path;

use lifeboat_model::Timestamp;
use serde::Serialize;

use super::course::{CONNECTIONS, Load, RACERS, Raced, Results};
use super::large::Large;
use super::work::{Goal, Work};
use crate::chart::{Bar, BarChart, Group};
use crate::failure::{BenchError, file};
use crate::machine::Machine;
use crate::racer::Racer;
use crate::report::{Marks, Spread, Verdict, line, section, size, write};

/// The name and version of the document's shape.
pub const SCHEMA: &str = "lifeboat.bench-s3/1";

/// The page, below the directory of the documentation.
const PAGE: &str = "object-stores-performance.md";

/// The picture, beside the page.
const PLOT: &str = "object-stores-performance-measured.svg";

/// What the measured part of the page stands between.
const MARKS: Marks = Marks {
    begin: "<!-- measured: written by `make bench-s3 PUBLISH=docs` -->",
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
    /// Where the media come from.
    pub seed: u64,
    /// How often each racer did each work.
    pub runs: usize,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The name of the document's shape.
    pub schema: &'static str,
    /// How it was measured.
    pub setting: Setting,
    /// With what restic ran.
    pub restic: &'static str,
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
        Self { schema: SCHEMA, setting, restic: CONNECTIONS, results, verdicts }
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
#[expect(clippy::cast_precision_loss, reason = "ratios are rounded anyway")]
fn value(goal: Goal, raced: &Raced, results: &Results) -> Option<f64> {
    let own = raced.wall(Racer::Lifeboat)?;
    Some(match goal {
        Goal::Faster(_) => raced.wall(Racer::Restic)? / own,
        Goal::NearShare(_) => {
            let near = results.works.iter().find(|raced| raced.work == Work::Near)?;
            near.wall(Racer::Lifeboat)? / own
        }
        Goal::Seconds(_) => own,
        Goal::NeededTimes(_) => {
            let received = raced.load(Racer::Lifeboat)?.received_bytes;
            received as f64 / results.large.needed_bytes.max(1) as f64
        }
        Goal::ResidentMegabytes(_) => {
            let times = raced.times.iter().find(|times| times.racer == Racer::Lifeboat)?;
            times.resident_bytes() as f64 / 1e6
        }
    })
}

impl Raced {
    /// Returns the median of the seconds that a racer took.
    fn wall(&self, racer: Racer) -> Option<f64> {
        let mut times = self.times.iter();
        times.find(|times| times.racer == racer).map(|times| times.wall().median)
    }

    /// Returns what a racer had carried, if there was a line.
    fn load(&self, racer: Racer) -> Option<&Load> {
        let position = self.times.iter().position(|times| times.racer == racer)?;
        self.loads.get(position)
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
    let mut text = String::new();
    line(&mut text, &format!("Measured on {} on {}.", date.strftime("%Y-%m-%d"), machine.line()));
    line(&mut text, &format!("Versions: {}.", versions.join("; ")));
    line(&mut text, &format!("{runs} runs each, in turns; seed {seed}. restic: {CONNECTIONS}."));
    if *scale < 1.0 {
        line(
            &mut text,
            &format!(
                "**A quick run at {scale} of the full size: times are too short to be compared.**"
            ),
        );
    }
    let Results { media_bytes, large, .. } = &report.results;
    text.push('\n');
    if *media_bytes > 0 {
        line(&mut text, &format!("- media: {}", size(*media_bytes)));
    }
    if *large != Large::default() {
        let Large { packs, blobs, index_bytes, file_bytes, needed_bytes } = large;
        line(
            &mut text,
            &format!(
                "- large repository: {packs} packs with {blobs} blobs, whose index files have {}; its one file has \
                 {}, and restoring it needs {} with the directories on its path",
                size(*index_bytes),
                size(*file_bytes),
                size(*needed_bytes)
            ),
        );
    }
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
        "connections",
        "requests",
        "sent",
        "received",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for raced in works {
        let own = raced.wall(Racer::Lifeboat);
        for (number, times) in raced.times.iter().enumerate() {
            let title = if number == 0 { raced.work.title() } else { "" };
            let Spread { median, least, most } = times.wall();
            let ratio = own.filter(|_| times.racer != Racer::Lifeboat).map(|own| median / own);
            let load = raced.load(times.racer);
            let counted = |count: fn(&Load) -> String| load.map_or_else(String::new, count);
            rows.push(vec![
                title.to_owned(),
                times.racer.name().to_owned(),
                format!("{median:.2}"),
                format!("{least:.2}–{most:.2}"),
                format!("{:.2}", times.cpu().median),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×")),
                megabytes(times.resident_bytes()),
                counted(|load| load.connections.to_string()),
                counted(|load| load.requests.to_string()),
                counted(|load| size(load.sent_bytes)),
                counted(|load| size(load.received_bytes)),
            ]);
        }
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
fn megabytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
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

/// Draws how long each racer took for each work, with restic's time as the unit.
pub fn plot(report: &Report) -> String {
    let groups = report.results.works.iter().filter_map(|raced| {
        let unit = raced.wall(Racer::Restic)?;
        let bars = RACERS.iter().enumerate().filter_map(|(series, racer)| {
            let wall = raced.wall(*racer)?;
            let label = format!("{wall:.2} s ({:.0}%)", wall / unit * 100.0);
            Some(Bar { series, value: wall / unit, label })
        });
        Some(Group { name: raced.work.title().to_owned(), bars: bars.collect(), mark: None })
    });
    let chart = BarChart {
        title: format!("Time, in parts of restic's ({} runs, medians)", report.setting.runs),
        note: "shorter is better".to_owned(),
        series: RACERS.map(|racer| racer.name().to_owned()).to_vec(),
        groups: groups.collect(),
    };
    chart.render()
}

/// Writes the report into the page in `docs`, in place of the last one.
pub fn publish(report: &Report, docs: &Path) -> Result<(), BenchError> {
    let page = docs.join(PAGE);
    let text = fs::read_to_string(&page).map_err(file("read", &page))?;
    let measured = format!("\n{}\n![Times in parts of restic's]({PLOT})\n\n", tables(report));
    let text = MARKS
        .replace(&text, &measured)
        .map_err(|marker| BenchError::NoPlace { path: page.clone(), marker })?;
    write(&page, &text)?;
    write(&docs.join(PLOT), &plot(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::times as timed;

    fn raced(work: Work, own: f64, theirs: f64, received_bytes: u64) -> Raced {
        let times = vec![timed(Racer::Lifeboat, &[own], 0), timed(Racer::Restic, &[theirs], 0)];
        let load = Load { connections: 5, requests: 60, sent_bytes: 1, received_bytes };
        Raced { work, times, loads: vec![load; 2] }
    }

    #[test]
    fn lifeboat_is_judged_by_restic_by_itself_without_delay_and_by_what_was_needed() {
        let works = vec![
            raced(Work::Loopback, 4.0, 6.0, 0),
            raced(Work::Near, 4.0, 6.0, 0),
            raced(Work::Far, 5.0, 6.0, 0),
            raced(Work::OpenCached, 0.45, 9.0, 0),
            raced(Work::OneFile, 1.0, 9.0, 1010),
        ];
        let large = Large { needed_bytes: 1000, ..Large::default() };
        let results = Results { large, works, ..Results::default() };
        let verdicts = results.works.iter().flat_map(|raced| judge(raced, &results));
        let shown: Vec<_> = verdicts
            .map(|verdict| (verdict.measured, verdict.met))
            .filter(|(measured, _)| !measured.contains("resident"))
            .collect();
        let expected = [
            ("1.50× as fast as restic", false),
            ("80% of the speed without delay", true),
            ("0.45 s", true),
            ("1.010× the bytes that it needs", true),
        ];
        assert_eq!(shown, expected.map(|(text, met)| (text.to_owned(), met)));
    }

    #[test]
    fn what_did_not_pass_the_line_has_no_count() {
        let straight = Raced { loads: Vec::new(), ..raced(Work::Loopback, 1.0, 2.0, 0) };
        let rows = times(&[straight, raced(Work::Far, 1.0, 2.0, 3_000_000)]);
        assert_eq!(rows[1][7..], [""; 4].map(str::to_owned));
        assert_eq!(
            rows[4][5..],
            ["2.00×", "200", "5", "60", "0.0 MB", "3.0 MB"].map(str::to_owned)
        );
    }
}
