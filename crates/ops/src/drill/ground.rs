//! What the yard of a drill is made of: what is lost when it begins.
//!
//! Lost are what the runbook restores: the paths of files, and where servers had their data; of a platform that runs, these
//! alone, as they come back before it is started.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lifeboat_model::{AssetName, Cancel, EventSink};
use lifeboat_plan::plan::asset::AssetKind;
use lifeboat_plan::plan::runbook::Action;
use lifeboat_plan::plan::scenario::PlatformState;
use lifeboat_postgres::yard::Ground;

use super::keeper::KeeperOrders;
use super::{DrillError, Play, preparation};
use crate::recovery::has_base_backups_alone;
use crate::residence::own;
use crate::yard::{Layout, data_of};

/// Gathers what the yard of a drill is made of, and writes down what its keeper needs.
pub(super) fn of(
    play: &Play<'_>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Ground, DrillError> {
    let Play { site, options, .. } = play;
    let place = play.claimed.place();
    let orders = KeeperOrders {
        run: play.run,
        scenario: options.scenario.clone(),
        drill: options.drill.clone(),
        at: options.at.clone(),
        declared: play.started,
        host: options.host.clone(),
        place: own(site)?.and_then(|here| here.place),
        operator: options.operator.clone(),
        result: place.result(),
    };
    let planned = options.planned(site);
    let layout = Layout {
        site,
        place: &place,
        lost: lost(play, events, cancel)?,
        sinks: planned.map(|drill| drill.sinks.as_slice()).unwrap_or_default(),
        own_program: &options.own_program,
        errand: ["drill".to_owned(), options.scenario.to_string()],
        orders: serde_json::to_string(&orders).expect("orders have only texts for keys"),
    };
    Ok(layout.ground()?)
}

/// Returns what is lost when the yard begins: what the runbook brings back, or of a platform that runs, what is brought back
/// before that is started.
fn lost(
    play: &Play<'_>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<BTreeSet<PathBuf>, DrillError> {
    if play.procedure.scenario().platform == PlatformState::Runs {
        let mut lost = BTreeSet::new();
        for asset in preparation::servers(play.site, play.procedure) {
            lost.extend(data_of(play.site, asset, events, cancel)?);
        }
        return Ok(lost);
    }
    let steps = play.procedure.steps().iter();
    let restored: BTreeSet<&AssetName> = steps
        .filter_map(|step| match &step.action {
            Action::Restore(restore) if restore.restore.to.is_none() => {
                Some(&restore.restore.asset)
            }
            _ => None,
        })
        .collect();
    let mut lost = BTreeSet::new();
    for asset in restored {
        match &play.site.asset(asset)?.kind {
            AssetKind::Files(files) => {
                lost.extend(files.paths.iter().map(|path| path.as_path().to_owned()));
            }
            AssetKind::Postgres(_) if has_base_backups_alone(play.site, asset) => {
                lost.extend(data_of(play.site, asset, events, cancel)?);
            }
            AssetKind::Postgres(_) | AssetKind::Command(_) => {}
        }
    }
    // Whoever loses the root directory has nothing left to recover with.
    lost.retain(|path| path.parent().is_some());
    Ok(lost)
}
