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

/// The line after which the measured part begins.
const BEGIN: &str = "<!-- measured: written by `make bench PUBLISH=docs` -->";

/// The line before which it ends.
const END: &str = "<!-- end of measured -->";

/// Writes the report into the page in `docs`, in place of the last one.
pub fn publish(report: &Report, docs: &Path) -> Result<(), BenchError> {
    let page = docs.join(PAGE);
    let text = fs::read_to_string(&page).map_err(file("read", &page))?;
    let measured = format!("\n{}\n![Times in parts of restic's]({PLOT})\n\n", tables(report));
    let text = replace(&text, &measured)
        .map_err(|marker| BenchError::NoPlace { path: page.clone(), marker })?;
    write(&page, &text)?;
    write(&docs.join(PLOT), &plot(report))
}

/// Writes a file; what is written here is made again by the next run.
pub fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(file("write", path))
}

/// Replaces what stands between the markers, or tells which of them is missing.
fn replace(text: &str, measured: &str) -> Result<String, &'static str> {
    let (before, rest) = text.split_once(BEGIN).ok_or(BEGIN)?;
    let (_, after) = rest.split_once(END).ok_or(END)?;
    Ok(format!("{before}{BEGIN}\n{measured}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_is_replaced() {
        let page = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n");
        let once = replace(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nrest\n"));
        assert_eq!(replace(&once, "new\n").unwrap(), once);
        assert_eq!(replace("no markers", "new"), Err(BEGIN));
        assert_eq!(replace(BEGIN, "new"), Err(END));
    }
}
