//! A sheet as Markdown: tables, in which nothing of a text can be taken for markup.

use std::fmt::Write as _;

use super::sheet::Sheet;

/// Writes a sheet.
pub(super) fn write(sheet: &Sheet) -> String {
    let mut out = String::new();
    _ = writeln!(out, "# {}: {}", plain(&sheet.title), sheet.verdict);
    for section in &sheet.sections {
        _ = writeln!(out, "\n## {}\n", section.title);
        if section.rows.is_empty() {
            out.push_str("Nothing.\n");
            continue;
        }
        row(&mut out, section.head.iter().map(|head| (*head).to_owned()));
        row(&mut out, section.head.iter().map(|_| "---".to_owned()));
        for cells in &section.rows {
            row(&mut out, cells.iter().map(|cell| plain(cell)));
        }
    }
    out
}

fn row(out: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<_> = cells.collect();
    _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Takes the meaning from what is markup; code in backticks stays.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '*' | '[' | ']' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
