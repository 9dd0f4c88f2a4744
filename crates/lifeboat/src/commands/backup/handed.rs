//! A backup that the daemon does for whoever asks for it.

use std::fmt::{self, Write as _};

use lifeboat_model::Exit;
use lifeboat_ops::Site;
use lifeboat_ops::backup::BackupOptions;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::jobs::Work;
use lifeboat_ops::traffic::TierTraffic;
use lifeboat_tiers::counting::Traffic;
use serde::Serialize;
use serde_json::Value;

use crate::daemon::{self, Ended};
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Cell, Page, Sort, Table, Tone, tone_of, write_traffic};
use crate::session::Session;

/// The report of the daemon's backup: the same document as that of a backup that is done here.
#[derive(Serialize)]
#[serde(transparent)]
struct Handed {
    report: Value,
    #[serde(skip)]
    ending: Option<Ending>,
}

impl Answer for Handed {
    const SCHEMA: &'static str = "lifeboat.backup/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(["Asset", "Result", "Tier", "Snapshot"]);
        for asset in list(&self.report, "assets") {
            rows(asset, &mut table);
        }
        page.table(&table);
        for asset in list(&self.report, "assets") {
            for stage in list(asset, "stages") {
                if let Some(message) = stage["message"].as_str() {
                    let word = page.paint.bad(text(stage, "ending"));
                    writeln!(page, "{word}: {}: {message}", text(asset, "asset"))?;
                }
            }
        }
        for on in list(&self.report, "traffic").iter().filter_map(traffic) {
            write_traffic(&on, page)?;
        }
        match self.ending {
            Some(ending) => {
                writeln!(page, "\n{}", page.paint.tone(tone_of(ending), &ending.to_string()))
            }
            None => Ok(()),
        }
    }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("-")
}

/// Reads what a tier was asked for.
fn traffic(value: &Value) -> Option<TierTraffic> {
    let count = |name: &str| value[name].as_u64().unwrap_or_default();
    let cost = |name: &str| value[name].as_f64();
    let asked = Traffic {
        puts: count("puts"),
        gets: count("gets"),
        heads: count("heads"),
        lists: count("lists"),
        deletes: count("deletes"),
        protects: count("protects"),
        thaws: count("thaws"),
        ..Traffic::default()
    };
    Some(TierTraffic {
        tier: text(value, "tier").parse().ok()?,
        traffic: asked,
        request_cost: cost("request_cost"),
        read_cost: cost("read_cost"),
        month_cost: cost("month_cost"),
    })
}

fn rows(asset: &Value, table: &mut Table) {
    let ending: Option<Ending> = serde_json::from_value(asset["ending"].clone()).ok();
    let result = || match ending {
        Some(ending) => Cell::new(ending.to_string(), tone_of(ending)),
        None => Cell::new("-", Tone::Aside),
    };
    let name = text(asset, "asset");
    let snapshots = list(asset, "snapshots");
    for on in snapshots {
        let (tier, snapshot) = (text(on, "tier"), text(on, "snapshot"));
        // As many digits as everywhere where people read them.
        let snapshot = snapshot.get(..8).unwrap_or(snapshot);
        table.row([name.into(), result(), tier.into(), snapshot.into()]);
    }
    if snapshots.is_empty() {
        table.row([name.into(), result(), "-".into(), "-".into()]);
    }
}

/// Lets the daemon back up, if one runs this plan; `None` if it has to be done here.
pub(super) fn hand_over(
    site: &Site,
    options: &BackupOptions,
    session: &Session,
) -> Result<Option<Exit>, Failure> {
    let Some(found) = daemon::find(site, session) else { return Ok(None) };
    if found.served.plan != site.plan().id() {
        let remark =
            "the daemon runs another version of the plan (lifeboat reload), so this is done here";
        session.screen.remark(remark);
        return Ok(None);
    }
    let BackupOptions { assets, to, schedule, .. } = options.clone();
    let ended = daemon::do_and_wait(&found, Work::Backup { assets, to, schedule }, session)?;
    let Ended { job, report, hint, exit } = ended;
    let exit = Exit::from_code(exit).unwrap_or(Exit::Failed);
    if let Some(report) = report {
        return session.end(&Handed { report, ending: job.ending }, exit).map(Some);
    }
    let ending = job.ending.map_or_else(String::new, |ending| ending.to_string());
    let message = job.message.unwrap_or(ending);
    Err(CommandError::Daemon { message, hint, exit }.into())
}
