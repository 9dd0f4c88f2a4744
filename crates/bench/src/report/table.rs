//! Tables that read the same on a terminal and in a Markdown page.

use std::fmt::Write as _;

use crate::ceiling::Ceiling;
use crate::race::{Measured, Raced};
use crate::racer::Racer;

use super::{Report, Spread};

/// Writes all of a report.
pub fn tables(report: &Report) -> String {
    let mut text = setting(report);
    for corpus in &report.results.corpora {
        if let Some(ceiling) = &corpus.ceiling {
            section(&mut text, &format!("Ceiling: {}", corpus.name), &stages(corpus, ceiling));
        }
    }
    section(&mut text, "Times", &times(&report.results.works));
    section(&mut text, "Goals", &goals(report));
    if !report.results.missing.is_empty() {
        let names: Vec<_> = report.results.missing.iter().map(|work| work.title()).collect();
        line(
            &mut text,
            &format!(
                "Not measured, since this `lifeboat` has no command for it: {}.",
                names.join("; ")
            ),
        );
    }
    text
}

fn setting(report: &Report) -> String {
    let setting = &report.setting;
    let mut text = String::new();
    let date = setting.date.strftime("%Y-%m-%d");
    line(&mut text, &format!("Measured on {date} on {}.", setting.machine.line()));
    line(&mut text, &format!("Versions: {}.", setting.versions.join("; ")));
    line(
        &mut text,
        &format!(
            "{} runs each, in turns; seed {}. restic: {}.",
            setting.runs, setting.seed, setting.restic
        ),
    );
    if setting.scale < 1.0 {
        line(
            &mut text,
            &format!(
                "**A quick run at {} of the full size: times are too short to be compared.**",
                setting.scale
            ),
        );
    }
    text.push('\n');
    for corpus in &report.results.corpora {
        let Measured { name, entries, files, bytes, unique_bytes, .. } = corpus;
        line(
            &mut text,
            &format!(
                "- {name}: {} in {files} files, {entries} names in all; {} of it once",
                size(*bytes),
                size(*unique_bytes)
            ),
        );
    }
    text
}

fn stages(corpus: &Measured, ceiling: &Ceiling) -> Vec<Vec<String>> {
    let head = ["stage, all cores busy", "GB/s a core", "of its input"].map(str::to_owned).to_vec();
    let whole = ceiling.stages.read.bytes.max(1);
    let mut rows = vec![head];
    for (name, stage) in ceiling.stages.named() {
        let share = ratio(stage.bytes, whole) * 100.0;
        rows.push(vec![
            name.to_owned(),
            format!("{:.2}", stage.rate() / 1e9),
            format!("{share:.0}%"),
        ]);
    }
    let rate = |seconds: f64| format!("{:.2}", giga(corpus.bytes) / seconds);
    for (name, seconds) in
        [("**backup, all cores**", ceiling.backup_s), ("**check, all cores**", ceiling.check_s)]
    {
        rows.push(vec![name.to_owned(), rate(seconds), format!("{seconds:.2} s")]);
    }
    rows.push(vec![
        "bare walk, all cores".to_owned(),
        String::new(),
        format!("{:.2} s", ceiling.walk_s),
    ]);
    rows
}

fn times(works: &[Raced]) -> Vec<Vec<String>> {
    let head = [
        "work",
        "who",
        "seconds",
        "min–max",
        "CPU s",
        "of restic's CPU",
        "faster than restic",
        "of the ceiling",
        "MB resident",
        "repository",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for raced in works {
        let theirs = raced.of(Racer::Restic);
        for (number, times) in raced.times.iter().enumerate() {
            let title = if number == 0 { raced.work.title() } else { "" };
            let Spread { median, least, most } = times.wall();
            let cpu = times.cpu().median;
            let optional =
                |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(String::new, show);
            rows.push(vec![
                title.to_owned(),
                times.racer.name().to_owned(),
                format!("{median:.2}"),
                format!("{least:.2}–{most:.2}"),
                format!("{cpu:.2}"),
                optional(theirs.map(|t| cpu / t.cpu().median), |share| {
                    format!("{:.0}%", share * 100.0)
                }),
                optional(theirs.map(|t| t.wall().median / median), |ratio| format!("{ratio:.2}×")),
                optional(ceiling_share(raced, times.racer, median), |share| {
                    format!("{:.0}%", share * 100.0)
                }),
                format!("{:.0}", giga(times.resident_bytes()) * 1e3),
                times.repository_bytes.map_or_else(String::new, size),
            ]);
        }
    }
    rows
}

/// `cp` does not do what the ceiling stands for.
fn ceiling_share(raced: &Raced, who: Racer, wall_s: f64) -> Option<f64> {
    let ceiling_s = raced.ceiling_s.or(raced.walk_s)?;
    (who != Racer::Cp).then_some(ceiling_s / wall_s)
}

fn goals(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![["work", "goal", "measured", "met"].map(str::to_owned).to_vec()];
    for verdict in &report.verdicts {
        let met = if verdict.met { "yes" } else { "**no**" };
        rows.push(vec![
            verdict.work.title().to_owned(),
            verdict.goal.clone(),
            verdict.measured.clone(),
            met.to_owned(),
        ]);
    }
    rows
}

pub(crate) fn section(text: &mut String, title: &str, rows: &[Vec<String>]) {
    line(text, &format!("\n### {title}\n"));
    text.push_str(&markdown(rows));
}

/// Writes rows, whose first is the head, so that their columns stand below each other.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        line(&mut text, &format!("|{}", cells.collect::<String>()));
        if number == 0 {
            let rules = widths.iter().map(|width| format!(" {} |", "-".repeat(*width)));
            line(&mut text, &format!("|{}", rules.collect::<String>()));
        }
    }
    text
}

pub(crate) fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes whatever is written");
}

pub(crate) fn size(bytes: u64) -> String {
    if bytes < 100_000_000 {
        format!("{:.1} MB", giga(bytes) * 1e3)
    } else {
        format!("{:.2} GB", giga(bytes))
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn giga(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "shown as a percentage")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::raced;
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows =
            [vec!["a".to_owned(), "×××××".to_owned()], vec!["long".to_owned(), "1".to_owned()]];
        assert_eq!(markdown(&rows), "| a    | ××××× |\n| ---- | ----- |\n| long | 1     |\n");
    }

    #[test]
    fn every_racer_has_a_row_and_only_engines_have_a_ceiling() {
        let rows = times(&[raced()]);
        assert_eq!(rows.len(), 4);
        assert_eq!(
            rows[1][1..8],
            ["lifeboat", "4.00", "3.00–5.00", "6.00", "33%", "3.00×", "75%"].map(str::to_owned)
        );
        assert_eq!((rows[3][1].as_str(), rows[3][7].as_str()), ("cp -a", ""));
    }
}
