//! A text with places to fill in: `http://{{ target.host }}/health/`.
//!
//! A name is a dotted path. `{{{{` stands for `{{` itself, which other tools' templates need. Which names there are depends on where the text stands; the lint rule
//! `template-names` judges that, since it needs the whole plan.

use std::fmt;
use std::str::FromStr;

use crate::value::text_value;

/// A text with names to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Stands as it is.
    Text(String),
    /// Is replaced by the value of this name.
    Name(String),
}

/// A text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTemplateError {
    /// It is empty.
    #[error("this text is empty")]
    Empty,
    /// `{{` without `}}`.
    #[error("`{{{{` is not closed: write `{{{{ name }}}}`")]
    Open,
    /// What stands between the braces is no name.
    #[error(
        "`{name}` is not a name to fill in: expected words with dots between, like target.host"
    )]
    Name {
        /// What was written.
        name: String,
    },
}

impl Template {
    /// Returns the text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the names that it wants filled in.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills the names in; fails with the first name that `value` does not know.
    pub fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, UnknownName> {
        let fill = |part: &Part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::Name(name) => value(name).ok_or_else(|| UnknownName::new(name)),
        };
        self.parts.iter().map(fill).collect()
    }

    /// Reads an argument of a command, which may be empty.
    pub(crate) fn decode_word(
        value: crate::decode::Value<'_>,
        cx: &mut crate::decode::Context<'_>,
    ) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("") => Some(Self { text: String::new(), parts: Vec::new() }),
            _ => crate::decode::Decode::decode(value, cx),
        }
    }
}

/// A template asks for a name that has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is known as `{name}`")]
pub struct UnknownName {
    name: String,
}

impl UnknownName {
    /// Names what is not known.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

impl FromStr for Template {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ParseTemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if let Some(behind) = after.strip_prefix("{{") {
                parts.push(Part::Text(format!("{before}{{{{")));
                rest = behind;
                continue;
            }
            let (name, behind) = after.split_once("}}").ok_or(ParseTemplateError::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Name(checked_name(name.trim())?));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

fn checked_name(name: &str) -> Result<String, ParseTemplateError> {
    let good_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let good = |word: &str| !word.is_empty() && word.chars().all(good_character);
    if name.split('.').all(good) {
        Ok(name.to_owned())
    } else {
        Err(ParseTemplateError::Name { name: name.to_owned() })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

text_value! {
    Template: "bad-template", { "minLength": 1 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let template: Template = "http://{{ target.host }}:{{port}}/".parse().unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["target.host", "port"]);
        let filled = template.fill(|name| Some(name.to_uppercase()));
        assert_eq!(filled.unwrap(), "http://TARGET.HOST:PORT/");
        let foreign: Template = "docker ps --format '{{{{.Names}}'".parse().unwrap();
        assert_eq!(foreign.fill(|_| None).unwrap(), "docker ps --format '{{.Names}}'");
        let error = template.fill(|_| None).unwrap_err();
        assert_eq!(error.to_string(), "nothing is known as `target.host`");
    }

    #[test]
    fn broken_templates_are_refused() {
        for bad in ["", " ", "{{", "a {{ b", "{{ }}", "{{ a b }}", "{{ .a }}", "{{ a {{ b }}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
        assert_eq!("}} {".parse::<Template>().unwrap().names().count(), 0);
    }
}
