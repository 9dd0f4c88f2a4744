//! Values in a line for the shell: they stay data, whatever people noted and steps gave.
//!
//! A value of harmless characters goes in as it is. Any other becomes a variable that is set before the line, and the line
//! names it: a shell expands a variable once and reads no commands from it. Where the name stands is followed only so that
//! the value stays one word; a line that is misread passes its value in other words, and never runs it.
//!
//! # Limits
//!
//! A line that hands its text to another interpreter (`psql -c '…'`) has to see to that one's quoting; a program with its
//! arguments as an array needs no shell.

use lifeboat_plan::value::template::{Part, Template, UnknownName};

use lifeboat_postgres::server_command::shell_word;

/// Programs whose `-c` takes a line.
const SHELLS: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];

/// How a character is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Words end at spaces.
    Plain,
    /// Between single quotes, nothing is special but the next one.
    Single,
    /// Between double quotes.
    Double,
    /// Behind a `#`, up to the end of the line.
    Comment,
}

/// Where a shell stands in a line, as far as quotes go.
#[derive(Debug)]
struct Reader {
    /// The contexts that are open, the innermost last; never empty.
    open: Vec<Context>,
    /// The character before, unless a backslash took its meaning.
    before: Option<char>,
}

impl Reader {
    fn new() -> Self {
        Self { open: vec![Context::Plain], before: None }
    }

    fn context(&self) -> Context {
        self.open.last().copied().unwrap_or(Context::Plain)
    }

    fn read(&mut self, text: &str) {
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\\' && matches!(self.context(), Context::Plain | Context::Double) {
                characters.next();
                self.before = Some('\\');
                continue;
            }
            self.step(character);
            self.before = Some(character);
        }
    }

    fn step(&mut self, character: char) {
        let begins_word = self.before.is_none_or(|c| c.is_whitespace() || ";&|()".contains(c));
        match (self.context(), character) {
            (Context::Plain, '\'') => self.open.push(Context::Single),
            (Context::Plain, '"') => self.open.push(Context::Double),
            (Context::Plain, '#') if begins_word => self.open.push(Context::Comment),
            (Context::Plain, '(') => self.open.push(Context::Plain),
            (Context::Double, '(') if self.before == Some('$') => self.open.push(Context::Plain),
            (Context::Single, '\'') | (Context::Double, '"') | (Context::Comment, '\n') => {
                self.open.pop();
            }
            (Context::Plain, ')') if self.open.len() > 1 => {
                self.open.pop();
            }
            _ => {}
        }
    }
}

/// Fills a line for the shell in; fails with the first name that `value` does not know.
pub(super) fn fill(
    line: &Template,
    value: impl Fn(&str) -> Option<String>,
) -> Result<String, UnknownName> {
    let (mut set, mut filled, mut reader) = (String::new(), String::new(), Reader::new());
    let mut variables = 0;
    for part in line.parts() {
        let name = match part {
            Part::Text(text) => {
                reader.read(text);
                filled.push_str(text);
                continue;
            }
            Part::Name(name) => name,
        };
        let value = value(name).ok_or_else(|| UnknownName::new(name))?;
        reader.before = Some('x');
        if is_harmless(&value) {
            filled.push_str(&value);
            continue;
        }
        variables += 1;
        let variable = format!("lifeboat_value_{variables}");
        set.extend([&variable, "=", &shell_word(&value), "\n"]);
        let (before, after) = match reader.context() {
            Context::Plain => ("\"${", "}\""),
            Context::Single => ("'\"${", "}\"'"),
            Context::Double | Context::Comment => ("${", "}"),
        };
        filled.extend([before, &variable, after]);
    }
    Ok(set + &filled)
}

/// Returns which of a command's words is a line for a shell, as in `sh -c 'line'`.
pub(super) fn line_among(words: &[Template]) -> Option<usize> {
    let [program, option, _, ..] = words else { return None };
    let name = program.as_str().rsplit('/').next().unwrap_or_default();
    let takes_line = option.as_str().starts_with('-') && option.as_str().ends_with('c');
    (SHELLS.contains(&name) && takes_line).then_some(2)
}

/// Tells whether a value is one word to a shell, and nothing else, wherever it stands.
fn is_harmless(value: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    !value.is_empty() && value.chars().all(harmless)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Fills a line in with one value, and returns what a shell prints.
    fn printed(line: &str, value: &str) -> String {
        let template: Template = line.parse().unwrap();
        let filled = fill(&template, |_| Some(value.to_owned())).unwrap();
        let output = Command::new("sh").args(["-c", &filled]).output().unwrap();
        assert!(output.status.success(), "{filled}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    const VALUES: [&str; 9] = [
        "web-1.example.org:8080",
        "two words",
        "it's Bob's",
        "say \"no\"",
        "; echo injected",
        "$(echo injected) `echo injected` $HOME",
        "back\\slash\\",
        "first\nsecond # third",
        "*",
    ];

    #[test]
    fn a_value_stays_one_word_wherever_it_stands() {
        for value in VALUES {
            for line in [
                "printf '<%s>' {{ v }}",
                "printf '<%s>' \"{{ v }}\"",
                "printf '<%s>' '{{ v }}'",
                "printf '<%s>' \"$(printf '%s' \"{{ v }}\")\"",
                "(printf '<%s>' {{ v }})",
                "# don't\nprintf '<%s>' {{ v }} # isn't {{ v }}",
                "printf '<%s>' it\\'s\"\" > /dev/null; printf '<%s>' {{ v }}",
            ] {
                assert_eq!(printed(line, value), format!("<{value}>"), "{line}");
            }
            assert_eq!(
                printed("printf '<%s>' a{{ v }}b'{{ v }}'", value),
                format!("<a{value}b{value}>")
            );
        }
        assert_eq!(printed("printf '<%s>' {{ v }} end", ""), "<><end>");
    }

    #[test]
    fn a_line_that_is_misread_never_runs_a_value() {
        for line in [
            "cat <<E\n'{{ v }}\nE",
            "case a in a) printf '%s' \"{{ v }}\";; esac",
            "printf '%s' `printf '%s' \"{{ v }}\"`",
            "printf '%s' \"$(case a in a) printf '%s' {{ v }};; esac)\"",
        ] {
            for value in ["; echo IN''JECTED", "$(echo IN''JECTED)", "`echo IN''JECTED`"] {
                assert!(!printed(line, value).contains("INJECTED"), "{line}");
            }
        }
    }

    #[test]
    fn a_shell_that_is_named_as_a_program_is_a_shell_too() {
        let line = |words: &[&str]| {
            let words: Vec<Template> = words.iter().map(|word| word.parse().unwrap()).collect();
            line_among(&words)
        };
        assert_eq!(line(&["sh", "-c", "echo {{ v }}"]), Some(2));
        assert_eq!(line(&["/bin/bash", "-euc", "echo {{ v }}", "name"]), Some(2));
        assert_eq!(line(&["sh", "/usr/local/bin/mend", "{{ v }}"]), None);
        assert_eq!(line(&["echo", "-c", "{{ v }}"]), None);
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let template: Template = "echo {{ steps.when.note }}".parse().unwrap();
        let unknown = fill(&template, |_| None).unwrap_err();
        assert_eq!(unknown.to_string(), "nothing is known as `steps.when.note`");
    }
}
