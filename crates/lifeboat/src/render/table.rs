//! Tables without lines: columns that line up, cut at the width of the terminal by wrapping cells.

use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, presets};
use lifeboat_model::Outcome;

use super::paint::{Paint, Tone};

/// Below this width nothing is wrapped: columns would be as narrow as syllables, and a terminal that
/// does not know its width says 0. The terminal breaks long lines itself, and they can be copied.
const WRAP_WIDTH_MIN: u16 = 80;

/// Which way a column's cells lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A text and its tone.
#[derive(Debug, Clone)]
pub struct Cell(String, Tone);

impl Cell {
    /// Returns a cell whose text stands out as `tone` says.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self(text.into(), tone)
    }

    fn styled(&self, paint: Paint) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(&self.0);
        match (paint, self.1) {
            (Paint::Plain, _) | (_, Tone::Plain) => cell,
            (_, Tone::Good) => cell.fg(Color::DarkGreen),
            (_, Tone::Warning) => cell.fg(Color::DarkYellow),
            (_, Tone::Bad) => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
            (_, Tone::Aside) => cell.add_attribute(Attribute::Dim),
            (_, Tone::Strong) => cell.add_attribute(Attribute::Bold),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(text.to_owned(), Tone::Plain)
    }
}

impl From<Outcome> for Cell {
    fn from(outcome: Outcome) -> Self {
        Self(outcome.to_string(), outcome.into())
    }
}

/// Rows below a heading.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Returns an empty table; a heading that starts with `>` makes a column of numbers.
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        let column = |heading: &'static str| match heading.strip_prefix('>') {
            Some(heading) => (heading, Align::Right),
            None => (heading, Align::Left),
        };
        Self { columns: headings.into_iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row with one cell a column.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for every column");
        self.rows.push(cells.into());
    }

    /// Writes the table, each line without trailing spaces.
    pub fn to_text(&self, paint: Paint) -> String {
        let mut table = comfy_table::Table::new();
        let is_narrow = table.width().is_some_and(|width| width < WRAP_WIDTH_MIN);
        let arrangement =
            if is_narrow { ContentArrangement::Disabled } else { ContentArrangement::Dynamic };
        table.load_style(presets::NOTHING).set_content_arrangement(arrangement);
        if paint == Paint::Coloured {
            table.enforce_styling();
        }
        let heading = |text: &str| Cell::new(text, Tone::Strong).styled(paint);
        table.set_header(self.columns.iter().map(|(text, _)| heading(text)));
        let styled =
            |row: &Vec<Cell>| row.iter().map(|cell| cell.styled(paint)).collect::<Vec<_>>();
        table.add_rows(self.rows.iter().map(styled));
        for (index, (_, align)) in self.columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                column.set_cell_alignment(match align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["Asset", ">Size"]);
        table.row(["media".into(), "1.5 GiB".into()]);
        table.row(["db".into(), "9 B".into()]);
        let expected = "Asset     Size\nmedia  1.5 GiB\ndb         9 B\n";
        assert_eq!(table.to_text(Paint::Plain), expected);
    }
}
