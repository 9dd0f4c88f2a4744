//! Puts a report into the documentation: a marked part of a page, and the plot beside it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::failure::{BenchError, file};

use super::{Report, plot, tables};

/// The page, below the directory of the documentation.
pub const PAGE: &str = "performance.md";

/// The plot, beside the page.
pub const PLOT: &str = "performance-measured.svg";

/// What the measured part of the page stands between.
const MARKS: Marks = Marks {
    begin: "<!-- measured: written by `make bench PUBLISH=docs` -->",
    end: "<!-- end of measured -->",
};

/// The lines between which a page has what was measured.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// The line after which it begins.
    pub begin: &'static str,
    /// The line before which it ends.
    pub end: &'static str,
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

/// Writes a file; what is written here is made again by the next run.
pub fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(file("write", path))
}

impl Marks {
    /// Replaces what stands between the marks, or tells which of them is missing.
    pub fn replace(&self, text: &str, measured: &str) -> Result<String, &'static str> {
        let Self { begin, end } = *self;
        let (before, rest) = text.split_once(begin).ok_or(begin)?;
        let (_, after) = rest.split_once(end).ok_or(end)?;
        Ok(format!("{before}{begin}\n{measured}{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_is_replaced() {
        let Marks { begin, end } = MARKS;
        let page = format!("# Title\n\n{begin}\nold\n{end}\n\nrest\n");
        let once = MARKS.replace(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{begin}\nnew\n{end}\n\nrest\n"));
        assert_eq!(MARKS.replace(&once, "new\n").unwrap(), once);
        assert_eq!(MARKS.replace("no markers", "new"), Err(begin));
        assert_eq!(MARKS.replace(begin, "new"), Err(end));
    }
}
