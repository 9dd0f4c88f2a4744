//! Where a secret is; never the secret.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::decode::{Context, Decode, Defaults, Definitions, Fields, Value};
use crate::table::{Property, Shape, Table, choose_by_key, doc_text, schema_of};
use crate::value::command::Command;
use crate::value::path::HostPath;

/// Names the place of a secret. Reading it is left to who needs it, when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// The content of this file.
    File(HostPath),
    /// The value of this environment variable.
    Env(String),
    /// What this command writes to its standard output.
    Command(Command),
    /// The systemd credential of this name.
    Credential(String),
}

const KEYS: [&str; 4] = ["file", "env", "command", "credential"];
const DOC: &str = "Where a secret is, never the secret.";

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {path}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Command(command) => write!(f, "command {command}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

impl Table for SecretRef {
    fn read(fields: &mut Fields<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match choose_by_key(fields, &KEYS, cx)? {
            "file" => fields.field("file", cx).map(Self::File),
            "env" => fields.field("env", cx).map(Self::Env),
            "command" => fields.field("command", cx).map(Self::Command),
            _ => fields.field("credential", cx).map(Self::Credential),
        }
    }

    fn write(&self, object: &mut Map<String, Json>, defaults: Defaults) {
        let (key, value) = match self {
            Self::File(path) => ("file", path.encode(defaults)),
            Self::Env(name) => ("env", name.encode(defaults)),
            Self::Command(command) => ("command", command.encode(defaults)),
            Self::Credential(name) => ("credential", name.encode(defaults)),
        };
        object.insert(key.to_owned(), value);
    }

    fn keys() -> Vec<&'static str> {
        KEYS.to_vec()
    }

    fn shapes(definitions: &mut Definitions) -> Vec<Shape> {
        let kinds = [
            ("file", "The file that holds it.", HostPath::schema(definitions)),
            ("env", "The environment variable that holds it.", String::schema(definitions)),
            ("command", "The command that prints it.", Command::schema(definitions)),
            ("credential", "The systemd credential that holds it.", String::schema(definitions)),
        ];
        kinds
            .into_iter()
            .map(|(key, doc, schema)| {
                let doc = doc_text(&[doc]);
                Shape::new(vec![Property { key, doc, schema, required: true, default: None }])
            })
            .collect()
    }
}

impl Decode for SecretRef {
    fn decode(value: Value<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if value.get_ref().is_str() {
            cx.redactions.add(cx.file, value.span());
            let finding = cx
                .error("secret-in-plan", value.span(), "a secret does not belong into a plan")
                .label("say where it is instead")
                .help("write { file = \"…\" }, { env = \"…\" }, { command = \"…\" } or { credential = \"…\" }");
            cx.report(finding);
            return None;
        }
        let mut fields = Fields::new(value, cx)?;
        let decoded = Self::read(&mut fields, cx);
        fields.finish(&KEYS, cx);
        decoded
    }

    fn encode(&self, defaults: Defaults) -> Json {
        let mut object = Map::new();
        self.write(&mut object, defaults);
        Json::Object(object)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        definitions.refer("SecretRef", |definitions| schema_of(DOC, &Self::shapes(definitions)))
    }
}
