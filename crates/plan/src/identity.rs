//! What makes a plan the same plan: a hash over what it means.
//!
//! The canonical form is JSON without spaces, its keys in the order of their bytes, every value in
//! one spelling, and nothing that merely says what leaving it out would mean. So neither layout,
//! comments, `60m` for `1h` nor a default that is spelled out make another plan, and a key that
//! the language grows later leaves the ids of the plans without it alone.

use std::collections::BTreeMap;

use lifeboat_model::{PlanId, RunbookId};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::decode::{Decode, Defaults};
use crate::document::Document;
use crate::plan::runbook::Runbook;
use crate::value::path::PlanPath;

pub(crate) fn plan_id(document: &Document, runbooks: &BTreeMap<PlanPath, Runbook>) -> PlanId {
    let mut text = String::new();
    write_canonical(&document.encode(Defaults::Omitted), &mut text);
    for (path, runbook) in runbooks {
        write_canonical(&Json::from(path.as_str()), &mut text);
        write_canonical(&runbook.encode(Defaults::Omitted), &mut text);
    }
    PlanId::from_bytes(Sha256::digest(text).into())
}

pub(crate) fn runbook_id(runbook: &Runbook) -> RunbookId {
    let mut text = String::new();
    write_canonical(&runbook.encode(Defaults::Omitted), &mut text);
    RunbookId::from_bytes(Sha256::digest(text).into())
}

/// Sorts keys itself: whether `serde_json` does depends on what else is built with it.
fn write_canonical(value: &Json, text: &mut String) {
    match value {
        Json::Object(object) => {
            let sorted: BTreeMap<_, _> = object.iter().collect();
            text.push('{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write_canonical(&Json::from(key.as_str()), text);
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Json::Array(elements) => {
            text.push('[');
            for (at, element) in elements.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write_canonical(element, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
