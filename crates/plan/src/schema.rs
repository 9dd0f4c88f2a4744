//! The JSON Schema of the language, so that editors complete and check a plan while it is written.
//!
//! It comes from the very definitions that the parser runs (see [`table`](crate::table)). The
//! `schemars` crate derives from serde's attributes instead; since the parser does not go through
//! serde (that stops at the first mistake and loses places), its schema would be a second
//! definition that could drift from the first.

use serde_json::Value as Json;

use crate::decode::{Decode, Definitions};
use crate::document::Document;
use crate::plan::runbook::Runbook;

const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// Returns the schema of a plan file.
pub fn schema() -> Json {
    document::<Document>("lifeboat plan", "Document")
}

/// Returns the schema of a runbook file.
pub fn runbook_schema() -> Json {
    document::<Runbook>("lifeboat runbook", "Runbook")
}

fn document<T: Decode>(title: &str, name: &str) -> Json {
    let mut definitions = Definitions::default();
    T::schema(&mut definitions);
    let mut document = definitions.into_document(name);
    document["$schema"] = Json::from(DIALECT);
    document["title"] = Json::from(title);
    document
}
