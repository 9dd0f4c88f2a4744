//! From TOML with spans to typed values: strict, and never stopping at the first mistake.
//!
//! A type of the plan language implements [`Decode`], mostly through the macros in
//! [`table`](crate::table) and [`text`](crate::value). The three faces of a type, how it is read,
//! how it is written and its JSON Schema, stand side by side in that one trait, so that none can
//! be forgotten. A value that cannot be read yields `None` after saying why; containers drop it
//! and go on, so that one run reports everything. A plan with any error is refused at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Finding, Severity};
use crate::place::{Path, Places};
use crate::redact::{Redactions, refuse_secret};
use crate::source::{FileId, Span};

/// A value as the TOML parser hands it over.
pub(crate) type Value<'a> = &'a Spanned<DeValue<'a>>;

/// Whether a value that equals its default is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defaults {
    /// Yes: for people and programs that read the plan.
    Written,
    /// No: for the plan's identity, which must not change when a default is spelled out, nor when
    /// the language grows a key.
    Omitted,
}

/// The schemas of the tables that a schema refers to, by their names.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Map<String, Json>);

impl Definitions {
    /// Refers to the definition `name`, which `define` makes if it is not there yet.
    pub(crate) fn refer(&mut self, name: &str, define: impl FnOnce(&mut Self) -> Json) -> Json {
        if !self.0.contains_key(name) {
            // Holds the place, in case the definition refers to itself.
            self.0.insert(name.to_owned(), Json::Null);
            let definition = define(self);
            self.0.insert(name.to_owned(), definition);
        }
        json!({ "$ref": format!("#/definitions/{name}") })
    }

    /// Makes the document whose top is the table `name`.
    pub(crate) fn into_document(mut self, name: &str) -> Json {
        let mut document = self.0.remove(name).unwrap_or_default();
        document["definitions"] = Json::Object(self.0);
        document
    }
}

/// A type of the plan language.
pub(crate) trait Decode: Sized {
    /// Reads it, or says through `cx` why it cannot be read.
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self>;

    /// Writes it, so that reading gives it back.
    fn encode(&self, defaults: Defaults) -> Json;

    /// Describes what is accepted; tables go to `definitions` and are referred to.
    fn schema(definitions: &mut Definitions) -> Json;

    /// What it is when its key is left out; `None` if the key is required.
    fn absent() -> Option<Self> {
        None
    }

    /// What to go on with after it was reported as missing or wrong, so that its table is not lost
    /// with it; `None` if there is nothing sensible.
    fn fallback() -> Option<Self> {
        Self::absent()
    }

    /// Tells whether it is what leaving the key out means.
    fn is_absent(&self) -> bool {
        false
    }
}

/// What decoding needs to know and what it leaves behind.
#[derive(Debug)]
pub(crate) struct Context<'s> {
    pub(crate) file: FileId,
    pub(crate) path: Path,
    pub(crate) places: &'s mut Places,
    pub(crate) findings: &'s mut Vec<Finding>,
    pub(crate) redactions: &'s mut Redactions,
}

impl Context<'_> {
    pub(crate) fn span(&self, bytes: Range<usize>) -> Span {
        Span { file: self.file, bytes }
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Starts an error at `bytes`.
    pub(crate) fn error(
        &self,
        code: &'static str,
        bytes: Range<usize>,
        message: impl Into<String>,
    ) -> Finding {
        Finding::new(Severity::Error, code, self.span(bytes), message)
    }

    /// Reports that `value` is of another type than what is wanted here.
    pub(crate) fn wrong_type(&mut self, value: Value<'_>, expected: &str) {
        let found = value.get_ref().type_str();
        let message = format!("expected {expected}, found {}", with_article(found));
        let finding = self
            .error("wrong-type", value.span(), message)
            .label(format!("this is {}", with_article(found)));
        self.report(finding);
    }

    /// Reads `value` as what stands at `segment` below the present place.
    pub(crate) fn descend<T: Decode>(
        &mut self,
        segment: &str,
        key: Range<usize>,
        value: Value<'_>,
    ) -> Option<T> {
        self.path.push(segment);
        let (key, span) = (self.span(key), self.span(value.span()));
        self.places.set(self.path.clone(), key, span);
        let decoded = T::decode(value, self);
        if decoded.is_none() {
            self.places.set_broken(self.path.clone());
        }
        self.path.pop();
        decoded
    }
}

fn with_article(sort: &str) -> String {
    let article = if sort.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {sort}")
}

/// A table that is being read key by key.
pub(crate) struct Fields<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    taken: BTreeSet<&'static str>,
    prefixes: Vec<&'static str>,
    /// What is missing, and the keys that would have been it: a misspelt one explains it.
    missing: Vec<(Vec<&'static str>, Finding)>,
    kind_known: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(value: Value<'a>, cx: &mut Context<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            cx.wrong_type(value, "a table");
            return None;
        };
        Some(Self::of_table(table, value.span()))
    }

    pub(crate) fn of_table(table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self {
            table,
            span,
            taken: BTreeSet::new(),
            prefixes: Vec::new(),
            missing: Vec::new(),
            kind_known: true,
        }
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn get(&self, key: &str) -> Option<(Range<usize>, Value<'a>)> {
        let (key, value) = self.table.get_key_value(key)?;
        Some((key.span(), value))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<(Range<usize>, Value<'a>)> {
        self.taken.insert(key);
        self.get(key)
    }

    /// Reads a key; what a missing one means, the type says.
    pub(crate) fn field<T: Decode>(
        &mut self,
        key: &'static str,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        if let Some((span, value)) = self.take(key) {
            return cx.descend(key, span, value).or_else(T::fallback);
        }
        let absent = T::absent();
        if absent.is_none() {
            let place = if cx.path == Path::default() {
                "the plan".to_owned()
            } else {
                format!("`{}`", cx.path)
            };
            let finding = cx
                .error("missing-key", self.span(), format!("{place} has no `{key}`"))
                .label(format!("`{key}` is required here"));
            self.is_missing(vec![key], finding);
            return T::fallback();
        }
        absent
    }

    /// Reads a key that has a default.
    pub(crate) fn field_or<T: Decode>(
        &mut self,
        key: &'static str,
        default: impl FnOnce() -> T,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        match self.take(key) {
            Some((span, value)) => cx.descend(key, span, value).or_else(|| Some(default())),
            None => Some(default()),
        }
    }

    /// Takes every key that begins with `prefix`.
    pub(crate) fn take_prefixed(
        &mut self,
        prefix: &'static str,
    ) -> Vec<(&'a str, Range<usize>, Value<'a>)> {
        self.prefixes.push(prefix);
        let entries = self.table.iter();
        let named = entries.map(|(key, value)| (key.get_ref().as_ref(), key.span(), value));
        named.filter(|(key, _, _)| key.starts_with(prefix)).collect()
    }

    /// Takes note that one of `keys` is missing.
    pub(crate) fn is_missing(&mut self, keys: Vec<&'static str>, finding: Finding) {
        self.missing.push((keys, finding));
    }

    /// Says that the kind of the table could not be told, so no key can be called unknown.
    pub(crate) fn kind_is_unknown(&mut self) {
        self.kind_known = false;
    }

    /// Reports every key that nobody read; `possible` are the keys of all kinds of such a table.
    pub(crate) fn finish(mut self, possible: &[&'static str], cx: &mut Context<'_>) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            let prefixed = self.prefixes.iter().any(|prefix| name.starts_with(prefix));
            let excused = !self.kind_known && possible.contains(&name);
            if self.taken.contains(name) || prefixed || excused {
                continue;
            }
            let finding = if possible.contains(&name) {
                let known = listed(self.taken.iter().copied());
                cx.error("misplaced-key", key.span(), format!("`{name}` does not go with the rest"))
                    .label("belongs to another kind of table")
                    .help(format!("with what else is written here, the keys are {known}"))
            } else {
                let finding =
                    cx.error("unknown-key", key.span(), format!("there is no key `{name}` here"));
                let known: Vec<_> = if self.kind_known {
                    self.taken.iter().copied().collect()
                } else {
                    possible.to_vec()
                };
                match nearest(name, known.iter().copied()) {
                    Some(near) => {
                        self.missing.retain(|(keys, _)| !keys.contains(&near));
                        finding
                            .label(format!("did you mean `{near}`?"))
                            .help(format!("write `{near}` instead of `{name}`"))
                    }
                    None => finding
                        .label("unknown key")
                        .help(format!("the keys here are {}", listed(known.into_iter()))),
                }
            };
            cx.report(finding);
            hide_if_secret(name, value, cx);
        }
        for (_, finding) in self.missing {
            cx.report(finding);
        }
    }
}

/// A key that does not exist may still hold a secret that somebody meant to configure.
fn hide_if_secret(key: &str, value: Value<'_>, cx: &mut Context<'_>) {
    let key = key.to_ascii_lowercase();
    let telling = ["password", "secret", "token", "key", "credential", "webhook"];
    if value.get_ref().is_str() && telling.iter().any(|word| key.contains(word)) {
        cx.redactions.add(cx.file, value.span());
    }
}

/// Returns the candidate that a person most likely meant.
pub(crate) fn nearest<'n>(
    name: &str,
    candidates: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    /// Below this similarity a suggestion is more puzzling than none.
    const SIMILARITY_MIN: f64 = 0.75;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Writes `a`, `b`, `c`.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl<T: Decode> Decode for Option<T> {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        T::decode(value, cx).map(Some)
    }

    fn encode(&self, defaults: Defaults) -> Json {
        self.as_ref().map_or(Json::Null, |value| value.encode(defaults))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            cx.wrong_type(value, "an array");
            return None;
        };
        // Elements are placed by their position among those that could be read, which is where
        // whoever looks at the vector will find them.
        let mut elements = Self::new();
        for element in array {
            elements.extend(cx.descend(&elements.len().to_string(), element.span(), element));
        }
        Some(elements)
    }

    fn encode(&self, defaults: Defaults) -> Json {
        self.iter().map(|element| element.encode(defaults)).collect()
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(definitions) })
    }

    fn fallback() -> Option<Self> {
        Some(Self::new())
    }
}

/// A name that can be the key of a table of tables.
pub(crate) trait Name:
    Ord + std::str::FromStr<Err: std::fmt::Display> + std::fmt::Display
{
}

impl<N: Name, T: Decode> Decode for BTreeMap<N, T> {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            cx.wrong_type(value, "a table");
            return None;
        };
        let mut entries = Self::new();
        for (key, value) in table {
            let text = key.get_ref().as_ref();
            let entry = cx.descend(text, key.span(), value);
            match text.parse::<N>() {
                Ok(name) => entries.extend(entry.map(|entry| (name, entry))),
                Err(error) => {
                    let finding = cx.error("bad-name", key.span(), error.to_string());
                    cx.report(finding.label("not a name"));
                }
            }
        }
        Some(entries)
    }

    fn encode(&self, defaults: Defaults) -> Json {
        self.iter().map(|(name, entry)| (name.to_string(), entry.encode(defaults))).collect()
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": T::schema(definitions),
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// The names of [`lifeboat_model::name`] as a regular expression.
pub(crate) const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";

/// Something that must be there, but whose absence does not keep the rest from being read.
///
/// Only the top of the plan uses it: a plan without `[plan]` still has its other mistakes shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Needed<T>(pub(crate) Option<T>);

impl<T: Decode> Decode for Needed<T> {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        Some(Self(T::decode(value, cx)))
    }

    fn encode(&self, defaults: Defaults) -> Json {
        self.0.encode(defaults)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }

    fn fallback() -> Option<Self> {
        Some(Self(None))
    }
}

impl Decode for String {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => {
                let finding = cx.error("empty-text", value.span(), "this text is empty");
                cx.report(finding.help("write something, or leave the key out"));
                None
            }
            DeValue::String(text) if refuse_secret(text, value.span(), cx) => None,
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => {
                cx.wrong_type(value, "a text in quotes");
                None
            }
        }
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(self.as_str())
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Decode for bool {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let decoded = value.get_ref().as_bool();
        if decoded.is_none() {
            cx.wrong_type(value, "true or false");
        }
        decoded
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(*self)
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "type": "boolean" })
    }
}

/// Reads a whole number between `min` and `max`.
pub(crate) fn whole_number(
    value: Value<'_>,
    min: i64,
    max: i64,
    cx: &mut Context<'_>,
) -> Option<i64> {
    let DeValue::Integer(number) = value.get_ref() else {
        cx.wrong_type(value, "a whole number");
        return None;
    };
    let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
    let in_range = parsed.filter(|number| (min..=max).contains(number));
    if in_range.is_none() {
        let message = format!("{number} is out of range");
        let finding = cx.error("out-of-range", value.span(), message);
        cx.report(finding.label(format!("must be from {min} to {max}")));
    }
    in_range
}

impl Decode for u32 {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        whole_number(value, 0, i64::from(Self::MAX), cx).and_then(|n| Self::try_from(n).ok())
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(*self)
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

impl Decode for f64 {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let parsed = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => {
                cx.wrong_type(value, "a number");
                return None;
            }
        };
        let usable = parsed.filter(|number: &Self| number.is_finite() && *number >= 0.0);
        if usable.is_none() {
            let finding = cx.error("out-of-range", value.span(), "this number cannot be used");
            cx.report(finding.label("must be zero or more, and finite"));
        }
        usable
    }

    fn encode(&self, _defaults: Defaults) -> Json {
        Json::from(*self)
    }

    fn schema(_definitions: &mut Definitions) -> Json {
        json!({ "type": "number", "minimum": 0 })
    }
}

/// Adds a field to an object that is being written.
pub(crate) fn write_field<T: Decode>(
    object: &mut Map<String, Json>,
    key: &str,
    value: &T,
    is_default: bool,
    defaults: Defaults,
) {
    let left_out = is_default && defaults == Defaults::Omitted;
    if !left_out && !value.is_absent() {
        object.insert(key.to_owned(), value.encode(defaults));
    }
}
