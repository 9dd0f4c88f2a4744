//! What a tier with `access = "archive"` does not do, and what it costs all the same.

use std::time::Duration;

use lifeboat_model::TierName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::asset::WalMode;
use crate::plan::tier::Tier;
use crate::value::address::TierUrl;
use crate::value::duration::Span;

pub(super) const LOG: Rule =
    Rule { code: "archive-log", severity: Severity::Note, needs_whole: false, check: log };

pub(super) const KEEP: Rule =
    Rule { code: "archive-keep", severity: Severity::Warning, needs_whole: false, check: keep };

const DAY: Duration = Duration::from_hours(24);

/// Returns for how many days an object is paid in that class, however soon it goes.
///
/// Sources: Amazon S3 pricing, "S3 Glacier Flexible Retrieval"; Azure Storage, "Access tiers for blob data".
fn paid_days(url: &TierUrl) -> Option<u32> {
    let is_s3 = matches!(url, TierUrl::S3 { .. });
    let is_azure = matches!(url, TierUrl::Azure { .. });
    is_s3.then_some(90).or(is_azure.then_some(180))
}

fn archives<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = (&'a TierName, &'a Tier)> {
    inputs.document.tiers.iter().filter(|(_, tier)| tier.is_archive())
}

fn log(inputs: &Inputs<'_>) -> Vec<Problem> {
    let holds_log = |name: &TierName| {
        let mut databases = inputs.document.assets.values().filter_map(|asset| asset.postgres());
        databases
            .any(|database| database.wal.mode != WalMode::None && database.wal.to.contains(name))
    };
    let tiers = archives(inputs).filter(|(name, _)| holds_log(name));
    tiers
        .map(|(name, _)| {
            let message = format!("the write-ahead log on `{name}` is not archived, and costs accordingly");
            Problem::at_value(place!["tiers", name, "access"], message)
                .label("holds for what only a recovery reads")
                .help("nothing is to be done: to plan a recovery the log is read, so it stays where that takes no hours")
        })
        .collect()
}

fn keep(inputs: &Inputs<'_>) -> Vec<Problem> {
    archives(inputs).filter_map(gone_before_it_is_paid).collect()
}

fn gone_before_it_is_paid((name, tier): (&TierName, &Tier)) -> Option<Problem> {
    let (days, kept) = (paid_days(&tier.url)?, tier.keep.reach()?);
    if kept >= DAY * days {
        return None;
    }
    let message =
        format!("what goes from `{name}` after {} is paid for {days} days", Span::from(kept));
    Some(
        Problem::at_value(place!["tiers", name, "access"], message)
            .label("the store counts no less")
            .help(format!("keep for {days}d, or write access = \"cold\"")),
    )
}
