//! A command: a line for the shell, or a program with its arguments.

use std::fmt;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Defaults, Definitions, Value};
use crate::redact::refuse_secret_argument;
use crate::value::template::Template;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A line that `sh -c` runs.
    Shell(Template),
    /// A program and its arguments, run as they are; never empty.
    Program(Vec<Template>),
}

impl Command {
    /// Returns the program and its arguments, before templates are filled in.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Shell(line) => vec!["sh", "-c", line.as_str()],
            Self::Program(words) => words.iter().map(Template::as_str).collect(),
        }
    }

    /// Returns all of its templates.
    pub fn templates(&self) -> &[Template] {
        match self {
            Self::Shell(line) => std::slice::from_ref(line),
            Self::Program(words) => words,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => line.fmt(f),
            Self::Program(words) => {
                let words: Vec<_> = words.iter().map(Template::as_str).collect();
                f.write_str(&words.join(" "))
            }
        }
    }
}

fn words_of(value: Value<'_>) -> Vec<&str> {
    match value.get_ref() {
        DeValue::String(line) => vec![line.as_ref()],
        DeValue::Array(array) => array.iter().filter_map(|v| v.get_ref().as_str()).collect(),
        _ => Vec::new(),
    }
}

impl Decode for Command {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let words = words_of(value).join(" ");
        if refuse_secret_argument(&words, value.span(), cx) {
            return None;
        }
        match value.get_ref() {
            DeValue::String(_) => Template::decode(value, cx).map(Self::Shell),
            DeValue::Array(array) if array.is_empty() => {
                let finding = cx.error("empty-command", value.span(), "this command is empty");
                cx.report(finding.help("write the program first, then its arguments"));
                None
            }
            DeValue::Array(array) => {
                let words: Vec<_> = array.iter().map(|v| Template::decode_word(v, cx)).collect();
                words.into_iter().collect::<Option<_>>().map(Self::Program)
            }
            _ => {
                cx.wrong_type(value, "a command: a text for the shell, or an array of words");
                None
            }
        }
    }

    fn encode(&self, defaults: Defaults) -> Json {
        match self {
            Self::Shell(line) => line.encode(defaults),
            Self::Program(words) => words.iter().map(|word| word.encode(defaults)).collect(),
        }
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ]})
    }
}
