//! What was found out about growth: a document, tables, and curves for the docs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lifeboat_model::Timestamp;
use serde::Serialize;

use super::{Point, Subject};
use crate::chart::{Axis, LineChart, Scale, Series};
use crate::failure::{BenchError, file};
use crate::machine::Machine;
use crate::report::{Marks, write};

/// The name and version of the document's shape.
pub const SCHEMA: &str = "lifeboat.growth/1";

/// The page, below the directory of the documentation.
pub const PAGE: &str = "growth.md";

/// What the measured part of the page stands between.
const MARKS: Marks = Marks {
    begin: "<!-- measured: written by `make scale PUBLISH=docs` -->",
    end: "<!-- end of measured -->",
};

/// How many curves a chart has at most.
const CURVES_MAX: usize = 6;

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Growth {
    /// The name of the document's shape.
    pub schema: &'static str,
    /// When.
    pub date: Timestamp,
    /// On what.
    pub machine: Machine,
    /// Which `lifeboat`.
    pub version: String,
    /// What was measured.
    pub points: Vec<Point>,
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Memory,
    Cpu,
}

impl Quantity {
    const ALL: [Self; 2] = [Self::Memory, Self::Cpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Memory => "peak of resident memory, MB",
            Self::Cpu => "processor time, seconds",
        }
    }

    fn of(self, point: &Point) -> f64 {
        match self {
            Self::Memory => megabytes(point.usage.resident_bytes),
            Self::Cpu => point.usage.cpu_s,
        }
    }
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Tree => "tree",
            Self::Flat => "flat",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Blobs => "Blobs in the index",
            Self::Tree => "Files in a tree",
            Self::Flat => "Files in one directory",
        }
    }
}

impl Growth {
    fn of(&self, subject: Subject) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.subject == subject)
    }

    /// Returns the works on a subject in the order in which they were done.
    fn works(&self, subject: Subject) -> Vec<&'static str> {
        let mut works: Vec<&'static str> = Vec::new();
        for point in self.of(subject) {
            if !works.contains(&point.work) {
                works.push(point.work);
            }
        }
        works
    }

    fn sizes(&self, subject: Subject) -> BTreeSet<u64> {
        self.of(subject).map(|point| point.size).collect()
    }

    fn point(&self, subject: Subject, work: &str, size: u64) -> Option<&Point> {
        self.of(subject).find(|point| point.work == work && point.size == size)
    }
}

/// Writes a point in a few words: what is the same whatever else the machine does meanwhile.
pub fn brief(point: &Point) -> String {
    let usage = point.usage;
    format!("{:.0} MB, {:.2} s", megabytes(usage.resident_bytes), usage.cpu_s)
}

/// Writes all of it as tables that read the same on a terminal and in a Markdown page.
pub fn tables(growth: &Growth) -> String {
    let date = growth.date.strftime("%Y-%m-%d");
    let mut text = format!(
        "Measured on {date} on {}, with {}. Each cell: peak of resident memory, processor time of all threads and of the kernel for them.\n",
        growth.machine.line(),
        growth.version
    );
    for subject in Subject::ALL {
        let sizes = growth.sizes(subject);
        if sizes.is_empty() {
            continue;
        }
        let mut rows = vec![std::iter::once(subject.title().to_owned()).collect::<Vec<_>>()];
        rows[0].extend(sizes.iter().map(|size| grouped(*size)));
        for work in growth.works(subject) {
            let cells = sizes
                .iter()
                .map(|size| growth.point(subject, work, *size).map_or_else(String::new, brief));
            rows.push(std::iter::once(work.to_owned()).chain(cells).collect());
        }
        table(&mut text, &rows);
    }
    within(growth, &mut text);
    text
}

/// Adds what the processes saw that only looked into the index.
fn within(growth: &Growth, text: &mut String) {
    let head = ["Blobs", "the index is", "it is there after", "anonymous memory then"];
    let head = head.into_iter().chain(["then", "each takes", "anonymous memory at the end"]);
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for point in &growth.points {
        let Some(seen) = point.seen else { continue };
        let is_made = if point.work == "make" { "made" } else { "opened" };
        #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
        let each = seen.work_s * 1e6 / seen.items.max(1) as f64;
        let (then, each) = if seen.items == 0 {
            (String::new(), String::new())
        } else {
            (point.work.to_owned(), format!("{each:.2} µs"))
        };
        rows.push(vec![
            grouped(point.size),
            is_made.to_owned(),
            format!("{:.3} s", seen.load_s),
            format!("{:.1} MB", megabytes(seen.loaded_bytes)),
            then,
            each,
            format!("{:.1} MB", megabytes(seen.worked_bytes)),
        ]);
    }
    if rows.len() > 1 {
        table(text, &rows);
    }
}

fn table(text: &mut String, rows: &[Vec<String>]) {
    text.push('\n');
    let mut line = |cells: &[String]| {
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes whatever is written");
    };
    for (number, row) in rows.iter().enumerate() {
        line(row);
        if number == 0 {
            line(&vec!["---".to_owned(); row.len()]);
        }
    }
}

/// Draws all curves; each has the name of its file.
pub fn curves(growth: &Growth) -> Vec<(String, String)> {
    let mut curves = Vec::new();
    for subject in Subject::ALL.into_iter().filter(|s| !growth.sizes(*s).is_empty()) {
        for quantity in Quantity::ALL {
            let name = format!("growth-{}-{}.svg", subject.name(), quantity.name());
            curves.push((name, chart(growth, subject, quantity).render()));
        }
    }
    curves
}

fn chart(growth: &Growth, subject: Subject, quantity: Quantity) -> LineChart {
    let mut works = growth.works(subject);
    // Looking up and going through the index is told by the table.
    works.retain(|work| !["look up", "iterate", "find", "stats"].contains(work));
    works.truncate(CURVES_MAX);
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    let series = works.into_iter().map(|work| Series {
        name: work.to_owned(),
        points: growth
            .of(subject)
            .filter(|point| point.work == work)
            .map(|point| (point.size as f64, quantity.of(point)))
            .collect(),
    });
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Logarithmic };
    LineChart {
        title: format!("{}: {}", subject.title(), quantity.label()),
        x: axis(subject.title()),
        y: axis(quantity.label()),
        series: series.collect(),
    }
}

/// Writes the tables and curves into the page in `docs`, in place of the last ones.
pub fn publish(growth: &Growth, docs: &Path) -> Result<(), BenchError> {
    let page = docs.join(PAGE);
    let text = fs::read_to_string(&page).map_err(file("read", &page))?;
    let mut measured = format!("\n{}\n", tables(growth));
    for (name, svg) in curves(growth) {
        writeln!(measured, "![{}]({name})\n", name.trim_end_matches(".svg"))
            .expect("a string takes whatever is written");
        write(&docs.join(name), &svg)?;
    }
    let text = MARKS
        .replace(&text, &measured)
        .map_err(|marker| BenchError::NoPlace { path: page.clone(), marker })?;
    write(&page, &text)
}

#[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let mut groups: Vec<&str> = if head.is_empty() { Vec::new() } else { vec![head] };
    let rest = rest.as_bytes().chunks(3).map(|group| std::str::from_utf8(group).unwrap_or(""));
    groups.extend(rest);
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Usage;
    use crate::scale::step::Seen;

    fn growth() -> Growth {
        let point = |size: u64, work, seen| {
            let usage = Usage { wall_s: 0.5, cpu_s: 0.75, resident_bytes: 40_000_000 };
            Point { subject: Subject::Blobs, size, work, usage, seen }
        };
        let seen = Seen {
            load_s: 0.025,
            loaded_bytes: 9_000_000,
            work_s: 0.5,
            items: 500_000,
            worked_bytes: 25_500_000,
        };
        let points = [10_000, 1_000_000]
            .into_iter()
            .flat_map(|size| [point(size, "look up", Some(seen)), point(size, "check", None)]);
        Growth {
            schema: SCHEMA,
            date: "2026-11-29T12:00:00Z".parse().unwrap(),
            machine: Machine::look(Path::new("/")),
            version: "lifeboat 0.1.0".to_owned(),
            points: points.collect(),
        }
    }

    #[test]
    fn tables_have_a_column_for_each_size() {
        let text = tables(&growth());
        assert!(text.contains("| Blobs in the index | 10,000 | 1,000,000 |"), "{text}");
        let cell = "40 MB, 0.75 s";
        assert!(text.contains(&format!("| check | {cell} | {cell} |")), "{text}");
        let row = "| 1,000,000 | opened | 0.025 s | 9.0 MB | look up | 1.00 µs | 25.5 MB |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn curves_are_drawn_of_what_was_measured() {
        let curves = curves(&growth());
        let names: Vec<_> = curves.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["growth-blobs-memory.svg", "growth-blobs-cpu.svg"]);
        assert_eq!(curves[0].1.matches("<circle").count(), 2);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [1, 999, 1000, 10_000_000].map(grouped);
        assert_eq!(numbers, ["1", "999", "1,000", "10,000,000"]);
    }
}
