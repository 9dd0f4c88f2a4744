//! A tier inside another: whoever counts, copies or removes one meets the other, and one loss takes both.
//!
//! It warns: the plan works, and one that lies on tiers must stay one by which somebody can restore.

use std::path::Path;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::tier::Tier;
use crate::value::address::TierUrl;

pub(super) const RULE: Rule =
    Rule { code: "tier-within", severity: Severity::Warning, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tiers = &inputs.document.tiers;
    let mut problems = Vec::new();
    for (name, tier) in tiers {
        let Some((outer, around)) = tiers.iter().find(|(_, other)| holds(other, tier)) else {
            continue;
        };
        let message = format!("`{name}` lies within the tier `{outer}`");
        problems.push(
            Problem::at_value(place!["tiers", name, "url"], message)
                .label(format!("below {}, where `{outer}` keeps its copies", around.url))
                .help("give each tier a place of its own, side by side"),
        );
    }
    problems
}

/// Tells whether a tier lies below another; two at one place are another rule's.
fn holds(outer: &Tier, inner: &Tier) -> bool {
    match (&outer.url, &inner.url) {
        (TierUrl::File(around), TierUrl::File(within)) => {
            around != within && around.contains(within.as_path())
        }
        (TierUrl::S3 { bucket, prefix }, TierUrl::S3 { bucket: other, prefix: within }) => {
            (bucket, &outer.endpoint) == (other, &inner.endpoint) && is_below(prefix, within)
        }
        (
            TierUrl::Azure { account, container, prefix },
            TierUrl::Azure { account: owner, container: other, prefix: within },
        ) => (account, container) == (owner, other) && is_below(prefix, within),
        (TierUrl::Sftp(around), TierUrl::Sftp(within)) => {
            let login = (&around.user, &around.host, around.port);
            login == (&within.user, &within.host, within.port)
                && is_below(&around.path, &within.path)
        }
        _ => false,
    }
}

/// Prefixes and paths have no dots and no slash too many.
fn is_below(around: &str, within: &str) -> bool {
    around != within && Path::new(within).starts_with(around)
}
