//! What a status says is to be done: the worst first, what is alike in one line, each with its command.

use std::fmt::{self, Write as _};

use lifeboat_ops::status::{Risk, StatusReport, Verdict};

use super::Detail;
use crate::render::{Page, Tone};

/// How many lines are shown, unless all are asked for.
const SHOWN_MAX: usize = 8;

/// How many subjects are named in one line.
const NAMED_MAX: usize = 3;

/// How long a line is that a person takes in.
const WIDTH: usize = 78;

/// Risks that say the same of several things.
struct Group<'a> {
    verdict: Verdict,
    message: &'a str,
    subjects: Vec<&'a str>,
    command: Option<String>,
}

/// Cuts a line that is too long for a terminal.
pub(super) fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let kept: String = line.chars().take(WIDTH - 1).collect();
    format!("{}…", kept.trim_end())
}

/// Gathers what is alike, in the order in which it came.
fn groups(risks: &[Risk], detail: Detail) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for risk in risks {
        let is_alike = |group: &&mut Group<'_>| {
            group.verdict == risk.verdict
                && group.message == risk.message
                && detail == Detail::Short
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => {
                group.subjects.push(&risk.subject);
                group.command = of_several(group.command.take(), risk);
            }
            None => groups.push(Group {
                verdict: risk.verdict,
                message: &risk.message,
                subjects: vec![risk.subject.as_str()],
                command: risk.command.clone(),
            }),
        }
    }
    groups
}

/// Makes one command of two that differ in what they name: without a name, backing up and verifying mean everything.
fn of_several(command: Option<String>, risk: &Risk) -> Option<String> {
    let (one, other) = (command?, risk.command.as_deref()?);
    let short = ["lifeboat backup", "lifeboat verify"].into_iter().find(|short| {
        let takes_one = |text: &str| {
            text.strip_prefix(short).is_some_and(|name| !name.trim_start().contains(' '))
        };
        takes_one(&one) && takes_one(other)
    });
    match short {
        Some(short) if one != other => Some(short.to_owned()),
        _ => Some(one),
    }
}

fn named(subjects: &[&str]) -> String {
    match subjects.len() {
        0..=NAMED_MAX => subjects.join(", "),
        count => format!("{} and {} more", subjects[..NAMED_MAX].join(", "), count - NAMED_MAX),
    }
}

/// Writes what is to be done.
pub(super) fn write(page: &mut Page, report: &StatusReport, detail: Detail) -> fmt::Result {
    let groups = groups(&report.risks, detail);
    if groups.is_empty() {
        return Ok(());
    }
    let shown = if detail == Detail::All { groups.len() } else { SHOWN_MAX.min(groups.len()) };
    writeln!(page, "\n{}", page.paint.strong("To do"))?;
    for group in &groups[..shown] {
        let (mark, tone) = match group.verdict {
            Verdict::No => ("!", Tone::Bad),
            Verdict::Unknown => ("?", Tone::Warning),
            Verdict::Yes => ("-", Tone::Aside),
        };
        let mark = page.paint.tone(tone, mark);
        let text = format!("{}: {}", named(&group.subjects), group.message);
        let text = if detail == Detail::All { text } else { cut(&text) };
        writeln!(page, "{mark} {text}")?;
        if let Some(command) = &group.command {
            writeln!(page, "    {command}")?;
        }
    }
    if shown < groups.len() {
        writeln!(page, "{} more: lifeboat status --all", groups.len() - shown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk(subject: &str, message: &str, command: &str) -> Risk {
        let (subject, message) = (subject.to_owned(), message.to_owned());
        Risk { verdict: Verdict::No, subject, message, command: Some(command.to_owned()) }
    }

    #[test]
    fn what_is_alike_is_said_once_with_one_command() {
        let never =
            |asset: &str| risk(asset, "never captured", &format!("lifeboat backup {asset}"));
        let risks = [
            never("a"),
            never("b"),
            risk("x", "never ran", "lifeboat jobs run x"),
            never("c"),
            never("d"),
        ];
        let short = groups(&risks, Detail::Short);
        assert_eq!(short.len(), 2);
        assert_eq!(named(&short[0].subjects), "a, b, c and 1 more");
        assert_eq!(short[0].command.as_deref(), Some("lifeboat backup"));
        assert_eq!(short[1].command.as_deref(), Some("lifeboat jobs run x"));
        let all = groups(&risks, Detail::All);
        assert_eq!((all.len(), all[1].command.as_deref()), (5, Some("lifeboat backup b")));
    }

    #[test]
    fn two_of_which_one_has_no_short_form_keep_the_first_command() {
        let prove = |asset: &str| {
            risk(asset, "never proven", &format!("lifeboat verify --restore {asset}"))
        };
        let risks = [prove("a"), prove("b")];
        assert_eq!(
            groups(&risks, Detail::Short)[0].command.as_deref(),
            Some("lifeboat verify --restore a")
        );
    }

    #[test]
    fn a_line_is_cut_where_a_terminal_ends() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"ä".repeat(200));
        assert_eq!((long.chars().count(), long.ends_with('…')), (WIDTH, true));
    }
}
