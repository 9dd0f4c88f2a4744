//! What a check of the plan has to show, as a person reads it.

use std::collections::BTreeSet;

use lifeboat_model::{AssetName, CheckName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::check::Probe;

/// Says what a check has to show.
pub(super) fn expected(plan: &Plan, name: &str) -> String {
    let probe = name.parse::<CheckName>().ok().and_then(|name| plan.checks().get(&name));
    probe.map_or_else(|| "it passes".to_owned(), of_probe)
}

/// Returns the assets that a check asks; nothing where it names none and may be about any.
pub(crate) fn asked(plan: &Plan, probe: &Probe) -> Option<BTreeSet<AssetName>> {
    let database = |named: &Option<AssetName>| named.clone().or_else(|| only_database(plan));
    let asked = match probe {
        Probe::Sql(probe) => vec![database(&probe.asset)],
        Probe::FilesIn(probe) => vec![database(&probe.asset), Some(probe.files_in.clone())],
        Probe::Files(probe) => vec![Some(probe.files.clone())],
        _ => return None,
    };
    Some(asked.into_iter().flatten().collect())
}

/// Returns the plan's only database, if it has one.
pub(crate) fn only_database(plan: &Plan) -> Option<AssetName> {
    let mut databases = plan.assets().iter().filter(|(_, asset)| asset.postgres().is_some());
    databases.next().filter(|_| databases.next().is_none()).map(|(name, _)| name.clone())
}

fn of_probe(probe: &Probe) -> String {
    let within = |within: &Option<lifeboat_plan::value::duration::Span>| {
        within.map_or_else(String::new, |within| format!(" within {within}"))
    };
    match probe {
        Probe::FilesIn(probe) => {
            format!(
                "every path of `{}` is among the files of {}, and the other way round",
                probe.sql, probe.files_in
            )
        }
        Probe::Sql(probe) => match &probe.expect {
            Some(expect) => format!("`{}` gives {expect}", probe.sql),
            None => format!("`{}` succeeds", probe.sql),
        },
        Probe::Files(probe) => {
            let exist =
                (!probe.exist.is_empty()).then(|| format!("{} exist", probe.exist.join(", ")));
            let count = probe.count.as_ref().map(|count| format!("their count is {count}"));
            let all: Vec<_> = exist.into_iter().chain(count).collect();
            if all.is_empty() { format!("{} has files", probe.files) } else { all.join("; ") }
        }
        Probe::Http(probe) => {
            let contains = probe.contains.as_ref();
            let contains = contains.map_or_else(String::new, |text| format!(" with `{text}`"));
            let (status, within) = (probe.status.code(), within(&probe.within));
            format!("{} answers {status}{contains}{within}", probe.http)
        }
        Probe::Tcp(probe) => format!("{} takes connections{}", probe.tcp, within(&probe.within)),
        Probe::Dns(probe) => {
            let to: Vec<_> = probe.resolves_to.iter().map(ToString::to_string).collect();
            let to = if to.is_empty() { "an address".to_owned() } else { to.join(", ") };
            format!("{} leads to {to}{}", probe.dns, within(&probe.within))
        }
        Probe::Smtp(probe) => format!("a mail arrives within {}", probe.smtp.arrives_within),
        Probe::Command(probe) => {
            let expect = probe.expect.as_ref();
            let expect = expect.map_or_else(String::new, |expect| format!(" and says {expect}"));
            format!("it ends with 0{expect}{}", within(&probe.within))
        }
    }
}
