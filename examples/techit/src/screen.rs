//! What a person sees: numbered chapters, short sentences, commands as they would be typed.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};

/// Begins a chapter.
pub fn chapter(number: usize, title: &str) {
    line(format_args!("\n── {number} · {title} {}\n", "─".repeat(70 - title.chars().count())));
}

/// Tells something.
pub fn say(sentence: impl Display) {
    line(format_args!("   {sentence}"));
}

/// Shows a command that is about to run.
pub fn command(command: impl Display) {
    line(format_args!("\n $ {command}"));
}

/// Shows what a command says.
pub fn output(text: impl Display) {
    line(format_args!("   {text}"));
}

/// Shows a command that a person gives while another one runs.
pub fn aside(command: impl Display) {
    line(format_args!("                                                    {command}"));
}

/// Shows a table, whose first row is its head.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<_> = (0..columns)
        .map(|column| rows.iter().map(|row| cell(row, column).chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let text = cell(row, column);
            let padding = " ".repeat(width - text.chars().count());
            // Numbers line up at their end.
            let is_number = column > 0 && text.starts_with(|c: char| c.is_ascii_digit());
            if is_number { format!("{padding}{text}") } else { format!("{text}{padding}") }
        });
        say(cells.collect::<Vec<_>>().join("   ").trim_end());
        if number == 0 {
            let rule: Vec<_> = widths.iter().map(|width| "─".repeat(*width)).collect();
            say(rule.join("   "));
        }
    }
}

/// Tells why the demo failed, each cause on a line.
pub fn failure(error: &dyn Error) {
    let mut text = format!("\nThe demo failed: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str("\n  caused by: ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    // A terminal that is gone cannot be told.
    drop(writeln!(io::stderr(), "{text}"));
}

fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    // Flushed, since the next line may be written by a child. A reader that went away (a closed
    // pager) must not end the story halfway.
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}
