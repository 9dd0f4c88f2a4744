//! The JSON Schema of the language, so that editors complete and check a plan while it is written.
//!
//! It comes from the very definitions that the parser runs (see [`table`](crate::table)). The
//! `schemars` crate derives from serde's attributes instead; since the parser does not go through
//! serde (that stops at the first mistake and loses places), its schema would be a second
//! definition that could drift from the first.

use serde_json::Value as Json;

use crate::decode::Decode;
use crate::document::Document;
use crate::plan::runbook::Runbook;

const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// Returns the schema of a plan file.
pub fn schema() -> Json {
    titled("lifeboat plan", Document::schema())
}

/// Returns the schema of a runbook file.
pub fn runbook_schema() -> Json {
    titled("lifeboat runbook", Runbook::schema())
}

fn titled(title: &str, mut schema: Json) -> Json {
    schema["$schema"] = Json::from(DIALECT);
    schema["title"] = Json::from(title);
    schema
}
