//! The name of a container that Azure refuses.
//!
//! Source: Azure Storage REST API, "Naming and referencing containers, blobs, and metadata", section "Container names".

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::value::address::TierUrl;

pub(super) const RULE: Rule =
    Rule { code: "azure-container", severity: Severity::Error, needs_whole: false, check };

/// How short a name may be; that it is not too long, and of which characters it is, its address says already.
const LENGTH_MIN: usize = 3;

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, tier) in &inputs.document.tiers {
        let TierUrl::Azure { container, .. } = &tier.url else { continue };
        let label = if container.len() < LENGTH_MIN {
            "its name has three characters at least"
        } else if container.contains("--") {
            "its name has a letter or a digit on both sides of each `-`"
        } else {
            continue;
        };
        let message = format!("Azure knows no container that is called `{container}`");
        problems.push(
            Problem::at_value(place!["tiers", name, "url"], message)
                .label(label)
                .help("name the container that was made, as `az storage container list` shows it"),
        );
    }
    problems
}
