//! Some of the things of a plan by name, or all of them: `["a", "b"]`, `["*"]`, `"*"`.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Defaults, Definitions, Value};

/// Which of the things of one sort are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<N> {
    /// All that the plan has.
    All,
    /// These.
    Named(Vec<N>),
}

impl<N: Ord> Selection<N> {
    /// Returns what is meant, out of `all`.
    pub fn pick<'n>(&'n self, all: impl Iterator<Item = &'n N>) -> Vec<&'n N> {
        match self {
            Self::All => all.collect(),
            Self::Named(names) => names.iter().collect(),
        }
    }

    /// Returns the names that were written out.
    pub fn named(&self) -> &[N] {
        match self {
            Self::All => &[],
            Self::Named(names) => names,
        }
    }

    /// Tells whether `name` is meant.
    pub fn includes(&self, name: &N) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl<N: Decode> Decode for Selection<N> {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let is_star = |value: Value<'_>| value.get_ref().as_str() == Some("*");
        match value.get_ref() {
            DeValue::String(_) if is_star(value) => Some(Self::All),
            DeValue::Array(array) if array.is_empty() => {
                let finding = cx.error("empty-list", value.span(), "this list names nothing");
                cx.report(finding.help("name at least one, or write [\"*\"] for all"));
                None
            }
            DeValue::Array(array) if array.iter().any(is_star) => {
                if array.len() > 1 {
                    let message = "`*` already means all of them";
                    let finding = cx.error("mixed-list", value.span(), message);
                    cx.report(finding.help("write [\"*\"], or the names alone"));
                }
                Some(Self::All)
            }
            DeValue::Array(_) => Vec::decode(value, cx).map(Self::Named),
            _ => {
                cx.wrong_type(value, "an array of names, or \"*\"");
                None
            }
        }
    }

    fn encode(&self, defaults: Defaults) -> Json {
        match self {
            Self::All => json!(["*"]),
            Self::Named(names) => names.iter().map(|name| name.encode(defaults)).collect(),
        }
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "anyOf": [
            { "const": "*" },
            { "type": "array", "items": { "const": "*" }, "minItems": 1, "maxItems": 1 },
            { "type": "array", "items": N::schema(definitions), "minItems": 1 },
        ]})
    }
}
