//! A write-ahead log without the base it needs, without a place to go, or with less safety than
//! its name promises.

use lifeboat_model::AssetName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::asset::{Base, Postgres, WalMode};

pub(super) const RULE: Rule =
    Rule { code: "wal", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let assets = inputs.document.assets.iter();
    let databases = assets.filter_map(|(name, asset)| Some((name, asset.postgres()?)));
    let logged = databases.filter(|(_, database)| database.wal.mode != WalMode::None);
    logged
        .flat_map(|(name, database)| {
            [
                without_base(name, database),
                without_tier(name, database),
                acknowledged_elsewhere(name, database),
                on_the_same_host(name, database),
            ]
        })
        .flatten()
        .collect()
}

fn without_base(name: &AssetName, database: &Postgres) -> Option<Problem> {
    (database.base == Base::Logical).then(|| {
        let message = format!("`{name}` has a write-ahead log and no base to apply it to");
        Problem::at_value(place!["assets", name, "wal"], message)
            .label("cannot be applied to a dump")
            .help("write base = \"physical\" or \"both\", or wal = { mode = \"none\" }")
    })
}

fn without_tier(name: &AssetName, database: &Postgres) -> Option<Problem> {
    database.wal.to.is_empty().then(|| {
        let message = format!("the write-ahead log of `{name}` goes nowhere");
        Problem::at_value(place!["assets", name, "wal"], message)
            .label("no tier in `to`")
            .help("name at least one tier: to = [\"…\"]")
    })
}

fn acknowledged_elsewhere(name: &AssetName, database: &Postgres) -> Option<Problem> {
    let wal = &database.wal;
    let at = wal.ack.iter().position(|tier| !wal.to.contains(tier))?;
    let tier = &wal.ack[at];
    let message = format!("`{tier}` has to hold a write-ahead log that it never gets");
    Some(
        Problem::at_value(place!["assets", name, "wal", "ack", at], message)
            .label("not in `to`")
            .help(format!("add `{tier}` to `to`, or remove it from `ack`")),
    )
}

fn on_the_same_host(name: &AssetName, database: &Postgres) -> Option<Problem> {
    (database.wal.mode == WalMode::Synchronous).then(|| {
        let message =
            format!("commits of `{name}` outlive the host only if the receiver runs elsewhere");
        Problem::at_value(place!["assets", name, "wal", "mode"], message)
            .severity(Severity::Note)
            .label("the receiver confirms each commit")
            .help("run `lifeboat wal receive` on another machine")
    })
}
