//! What a step hands to those behind it: values that have a kind.

use std::collections::BTreeMap;
use std::fmt;

use lifeboat_model::Timestamp;
use serde::{Deserialize, Serialize};

/// No output is longer, in bytes; the journal keeps them all.
pub const OUTPUT_MAX: usize = 16 << 10;

/// A value that a step gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "kebab-case")]
pub enum Output {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A moment.
    Time(Timestamp),
}

/// What kind of value an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A moment.
    Time,
}

/// What a step gave, by name.
pub type Outputs = BTreeMap<String, Output>;

impl Output {
    /// Returns a text, cut at [`OUTPUT_MAX`].
    pub fn text(text: &str) -> Self {
        let end = (0..=OUTPUT_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        Self::Text(text[..end.unwrap_or(0)].to_owned())
    }

    /// Returns what kind of value it is.
    pub const fn kind(&self) -> OutputKind {
        match self {
            Self::Text(_) => OutputKind::Text,
            Self::Number(_) => OutputKind::Number,
            Self::Time(_) => OutputKind::Time,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Time => "a time",
        })
    }
}

/// Says what is wrong with what a step gave, held against what it promised.
pub(crate) fn broken_promise(
    promised: &BTreeMap<String, OutputKind>,
    given: &Outputs,
) -> Option<String> {
    promised.iter().find_map(|(name, kind)| match given.get(name) {
        None => Some(format!("it gave no `{name}`, which is {kind}")),
        Some(output) if output.kind() != *kind => {
            Some(format!("its `{name}` is {}, not {kind}", output.kind()))
        }
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let Output::Text(cut) = Output::text(&"ü".repeat(OUTPUT_MAX)) else { panic!("no text") };
        assert_eq!(cut.len(), OUTPUT_MAX);
        let Output::Text(cut) = Output::text(&format!("a{}", "ü".repeat(OUTPUT_MAX))) else {
            panic!("no text")
        };
        assert_eq!(cut.len(), OUTPUT_MAX - 1);
    }

    #[test]
    fn what_was_promised_is_held_against_what_was_given() {
        let promised = BTreeMap::from([("rows".to_owned(), OutputKind::Number)]);
        let good = Outputs::from([("rows".to_owned(), Output::Number(7))]);
        let wrong = Outputs::from([("rows".to_owned(), Output::text("7"))]);
        assert_eq!(broken_promise(&promised, &good), None);
        let found = broken_promise(&promised, &wrong);
        assert_eq!(found.as_deref(), Some("its `rows` is a text, not a number"));
        let found = broken_promise(&promised, &Outputs::new());
        assert_eq!(found.as_deref(), Some("it gave no `rows`, which is a number"));
    }
}
