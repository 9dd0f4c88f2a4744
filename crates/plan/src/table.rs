//! One definition of a table gives its struct, how it is read, how it is written and its schema.
//!
//! Three macros cover the language. [`table!`] defines a struct of keys; a field is required unless
//! its type says otherwise (`Option`, maps) or a default follows after `=`. A field after `..` is
//! flattened: its keys stand in the same table. [`kinds!`] defines an enum of such tables, told
//! apart by a `kind` key or by which key is there. [`words!`] defines an enum of plain words.
//! Doc comments become the descriptions in the schema.

use serde_json::{Map, Value as Json, json};

use crate::decode::{Context, Defaults, Definitions, Fields};

/// A set of keys that is read from one table, perhaps together with other sets.
pub(crate) trait Table: Sized {
    fn read(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Option<Self>;

    fn write(&self, object: &mut Map<String, Json>, defaults: Defaults);

    /// The kinds of table that there are, each with its keys.
    fn shapes(definitions: &mut Definitions) -> Vec<Shape>;

    /// All keys of all kinds.
    fn keys() -> Vec<&'static str>;
}

/// The keys of one kind of table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape(Vec<Property>);

/// One key as the schema describes it.
#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub(crate) key: &'static str,
    pub(crate) doc: String,
    pub(crate) schema: Json,
    pub(crate) required: bool,
    pub(crate) default: Option<Json>,
}

impl Shape {
    pub(crate) fn new(properties: Vec<Property>) -> Self {
        Self(properties)
    }

    /// Returns this shape with the keys of `other`, whose word counts where both have a key.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let kept = self.0.iter().filter(|p| other.0.iter().all(|o| o.key != p.key));
        Self(kept.chain(&other.0).cloned().collect())
    }

    pub(crate) fn require(mut self, key: &str) -> Self {
        for property in self.0.iter_mut().filter(|p| p.key == key) {
            property.required = true;
        }
        self
    }

    fn schema(&self) -> Json {
        let describe = |property: &Property| {
            let mut schema = property.schema.clone();
            if schema.get("$ref").is_some() {
                // What stands beside a reference is not looked at.
                schema = json!({ "allOf": [schema] });
            }
            if let Json::Object(schema) = &mut schema {
                if !property.doc.is_empty() {
                    schema.insert("description".to_owned(), Json::from(property.doc.as_str()));
                }
                if let Some(default) = &property.default {
                    schema.insert("default".to_owned(), default.clone());
                }
            }
            (property.key.to_owned(), schema)
        };
        let properties: Map<_, _> = self.0.iter().map(describe).collect();
        let required: Vec<_> = self.0.iter().filter(|p| p.required).map(|p| p.key).collect();
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

/// Every shape of `shapes` with every shape of a flattened part.
pub(crate) fn combined<T: Table>(shapes: &[Shape], definitions: &mut Definitions) -> Vec<Shape> {
    let added = T::shapes(definitions);
    shapes.iter().flat_map(|shape| added.iter().map(|more| shape.joined(more))).collect()
}

/// The schema of a table of any of these shapes.
pub(crate) fn schema_of(doc: &str, shapes: &[Shape]) -> Json {
    let mut schema = match shapes {
        [only] => only.schema(),
        several => json!({ "anyOf": several.iter().map(Shape::schema).collect::<Vec<_>>() }),
    };
    schema["description"] = Json::from(doc);
    schema
}

/// Joins the lines of a doc comment into the paragraphs that they are.
pub(crate) fn doc_text(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines.iter().map(|line| line.trim()) {
        if line.is_empty() {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}

/// Defines a struct that is a table of the plan language.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($derive:ident),*)])?
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident : $type:ty $(= $default:expr)?,
            )*
            $(
                .. $(#[doc = $flat_doc:literal])*
                $flat:ident : $flat_type:ty,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq $($(, $derive)*)?)]
        $visibility struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
            $( $(#[doc = $flat_doc])* pub $flat: $flat_type, )*
        }

        impl $crate::table::Table for $name {
            fn read(
                fields: &mut $crate::decode::Fields<'_>,
                cx: &mut $crate::decode::Context<'_>,
            ) -> Option<Self> {
                $( let $field = table!(@read fields, cx, $field, $type $(, $default)?); )*
                $( let $flat = <$flat_type as $crate::table::Table>::read(fields, cx); )*
                Some(Self { $($field: $field?,)* $($flat: $flat?,)* })
            }

            fn write(
                &self,
                object: &mut serde_json::Map<String, serde_json::Value>,
                defaults: $crate::decode::Defaults,
            ) {
                $(
                    let is_default = table!(@is_default self.$field, $type $(, $default)?);
                    $crate::decode::write_field(
                        object, stringify!($field), &self.$field, is_default, defaults,
                    );
                )*
                $( $crate::table::Table::write(&self.$flat, object, defaults); )*
            }

            fn keys() -> Vec<&'static str> {
                let own = vec![$(stringify!($field)),*];
                $( let own = [own, <$flat_type as $crate::table::Table>::keys()].concat(); )*
                own
            }

            fn shapes(
                definitions: &mut $crate::decode::Definitions,
            ) -> Vec<$crate::table::Shape> {
                let own = $crate::table::Shape::new(vec![
                    $( $crate::table::Property {
                        key: stringify!($field),
                        doc: $crate::table::doc_text(&[$($field_doc),*]),
                        schema: <$type as $crate::decode::Decode>::schema(definitions),
                        required: table!(@required $type $(, $default)?),
                        default: table!(@default $type $(, $default)?),
                    }, )*
                ]);
                let shapes = vec![own];
                $( let shapes = $crate::table::combined::<$flat_type>(&shapes, definitions); )*
                shapes
            }
        }

        $crate::table::decode_as_table!($name, $crate::table::doc_text(&[$($doc),*]));
    };
    (@read $fields:ident, $cx:ident, $field:ident, $type:ty) => {
        $fields.field::<$type>(stringify!($field), $cx)
    };
    (@read $fields:ident, $cx:ident, $field:ident, $type:ty, $default:expr) => {
        $fields.field_or::<$type>(stringify!($field), || $default, $cx)
    };
    (@is_default $value:expr, $type:ty) => { false };
    (@is_default $value:expr, $type:ty, $default:expr) => {{
        let default: $type = $default;
        $value == default
    }};
    (@required $type:ty) => { <$type as $crate::decode::Decode>::absent().is_none() };
    (@required $type:ty, $default:expr) => { false };
    (@default $type:ty) => { None };
    (@default $type:ty, $default:expr) => {{
        let default: $type = $default;
        Some($crate::decode::Decode::encode(&default, $crate::decode::Defaults::Omitted))
    }};
}

/// Implements `Decode` for what implements [`Table`].
macro_rules! decode_as_table {
    ($name:ident, $doc:expr) => {
        impl $crate::decode::Decode for $name {
            fn decode(
                value: $crate::decode::Value<'_>,
                cx: &mut $crate::decode::Context<'_>,
            ) -> Option<Self> {
                let mut fields = $crate::decode::Fields::new(value, cx)?;
                let decoded = <Self as $crate::table::Table>::read(&mut fields, cx);
                fields.finish(&<Self as $crate::table::Table>::keys(), cx);
                decoded
            }

            fn encode(&self, defaults: $crate::decode::Defaults) -> serde_json::Value {
                let mut object = serde_json::Map::new();
                $crate::table::Table::write(self, &mut object, defaults);
                serde_json::Value::Object(object)
            }

            fn schema(definitions: &mut $crate::decode::Definitions) -> serde_json::Value {
                definitions.refer(stringify!($name), |definitions| {
                    let shapes = <Self as $crate::table::Table>::shapes(definitions);
                    $crate::table::schema_of(&$doc, &shapes)
                })
            }
        }
    };
}

/// Defines an enum of tables: `by "kind"` is told by that key's word, `by key` by the key itself.
///
/// With `by key` the order matters: the first whose key is there is meant, so a kind whose table
/// also has the key of another comes before that other.
macro_rules! kinds {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis enum $name:ident by $by:tt {
            $( $(#[doc = $kind_doc:literal])* $kind:ident($type:ty) = $word:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility enum $name {
            $( $(#[doc = $kind_doc])* $kind($type), )*
        }

        impl $name {
            /// The word by which this kind is known in a plan.
            pub fn kind(&self) -> &'static str {
                match self {
                    $( Self::$kind(_) => $word, )*
                }
            }
        }

        impl $crate::table::Table for $name {
            fn read(
                fields: &mut $crate::decode::Fields<'_>,
                cx: &mut $crate::decode::Context<'_>,
            ) -> Option<Self> {
                match kinds!(@choose $by, fields, cx, &[$($word),*])? {
                    $(
                        $word => <$type as $crate::table::Table>::read(fields, cx).map(Self::$kind),
                    )*
                    _ => None,
                }
            }

            fn write(
                &self,
                object: &mut serde_json::Map<String, serde_json::Value>,
                defaults: $crate::decode::Defaults,
            ) {
                kinds!(@write_kind $by, self, object);
                match self {
                    $( Self::$kind(table) => $crate::table::Table::write(table, object, defaults), )*
                }
            }

            fn keys() -> Vec<&'static str> {
                let by_kind = [
                    kinds!(@kind_key $by),
                    $( <$type as $crate::table::Table>::keys() ),*
                ];
                by_kind.concat()
            }

            fn shapes(
                definitions: &mut $crate::decode::Definitions,
            ) -> Vec<$crate::table::Shape> {
                let mut shapes = Vec::new();
                $(
                    let of_kind = <$type as $crate::table::Table>::shapes(definitions);
                    shapes.extend(
                        of_kind.into_iter().map(|shape| kinds!(@shape $by, shape, $word)),
                    );
                )*
                shapes
            }
        }

        $crate::table::decode_as_table!($name, $crate::table::doc_text(&[$($doc),*]));
    };
    (@choose key, $fields:ident, $cx:ident, $words:expr) => {
        $crate::table::choose_by_key($fields, $words, $cx)
    };
    (@choose $key:literal, $fields:ident, $cx:ident, $words:expr) => {
        $crate::table::choose_by_word($fields, $key, $words, $cx)
    };
    (@write_kind key, $self:ident, $object:ident) => {};
    (@write_kind $key:literal, $self:ident, $object:ident) => {
        $object.insert($key.to_owned(), serde_json::Value::from($self.kind()));
    };
    (@kind_key key) => { Vec::new() };
    (@kind_key $key:literal) => { vec![$key] };
    (@shape key, $shape:ident, $word:literal) => { $shape.require($word) };
    (@shape $key:literal, $shape:ident, $word:literal) => {
        $crate::table::Shape::new(vec![$crate::table::Property {
            key: $key,
            doc: String::new(),
            schema: serde_json::json!({ "const": $word }),
            required: true,
            default: None,
        }]).joined(&$shape)
    };
}

/// Defines an enum of words.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis enum $name:ident {
            $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name {
            $( $(#[doc = $word_doc])* $variant, )*
        }

        impl $name {
            /// The word as a plan spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                value: $crate::decode::Value<'_>,
                cx: &mut $crate::decode::Context<'_>,
            ) -> Option<Self> {
                match $crate::table::one_word(value, &[$($word),*], cx)? {
                    $( $word => Some(Self::$variant), )*
                    _ => None,
                }
            }

            fn encode(&self, _defaults: $crate::decode::Defaults) -> serde_json::Value {
                serde_json::Value::from(self.as_str())
            }

            fn schema(
                _definitions: &mut $crate::decode::Definitions,
            ) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}

pub(crate) use {decode_as_table, kinds, table, words};

/// Tells the kind of a table by which of `keys` it has.
pub(crate) fn choose_by_key(
    fields: &mut Fields<'_>,
    keys: &[&'static str],
    cx: &mut Context<'_>,
) -> Option<&'static str> {
    let chosen = keys.iter().copied().find(|key| fields.has(key));
    if chosen.is_none() {
        fields.kind_is_unknown();
        let message = format!("`{}` does not say what it is", cx.path);
        let finding = cx
            .error("missing-kind", fields.span(), message)
            .label("one more key is needed here")
            .help(format!("write one of {}", crate::decode::listed(keys.iter().copied())));
        fields.is_missing(keys.to_vec(), finding);
    }
    chosen
}

/// Tells the kind of a table by the word at `key`.
pub(crate) fn choose_by_word(
    fields: &mut Fields<'_>,
    key: &'static str,
    words: &[&'static str],
    cx: &mut Context<'_>,
) -> Option<&'static str> {
    let Some((_, value)) = fields.take(key) else {
        fields.kind_is_unknown();
        let known = crate::decode::listed(words.iter().copied());
        let finding = cx
            .error("missing-key", fields.span(), format!("`{}` has no `{key}`", cx.path))
            .label(format!("`{key}` is required here"))
            .help(format!("`{key}` is one of {known}"));
        fields.is_missing(vec![key], finding);
        return None;
    };
    let chosen = one_word(value, words, cx);
    if chosen.is_none() {
        fields.kind_is_unknown();
    }
    chosen
}

/// Reads one of `words`.
pub(crate) fn one_word(
    value: crate::decode::Value<'_>,
    words: &[&'static str],
    cx: &mut Context<'_>,
) -> Option<&'static str> {
    let known = crate::decode::listed(words.iter().copied());
    let Some(text) = value.get_ref().as_str() else {
        cx.wrong_type(value, &format!("one of {known}"));
        return None;
    };
    let chosen = words.iter().copied().find(|word| *word == text);
    if chosen.is_none() {
        let finding = cx.error("unknown-word", value.span(), format!("`{text}` is not known here"));
        let near = crate::decode::nearest(text, words.iter().copied());
        let finding = match near {
            Some(near) => finding.label(format!("did you mean `{near}`?")),
            None => finding.label("unknown word"),
        };
        cx.report(finding.help(format!("it is one of {known}")));
    }
    chosen
}
