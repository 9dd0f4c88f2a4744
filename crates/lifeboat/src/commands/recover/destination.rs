//! What a recovery means for where the platform lives, as it is shown before and after.

use std::fmt::{self, Write as _};

use lifeboat_model::{AssetName, TierName};
use lifeboat_ops::procedure::report::RunReport;
use lifeboat_ops::residence::Residence;
use lifeboat_ops::residence::destination::Destination;
use lifeboat_runbook::Outcome;

use crate::commands::place::{write_residence, write_underway};
use crate::render::Page;

/// Writes where the platform lives and will live.
pub(super) fn write(destination: &Destination, page: &mut Page) -> fmt::Result {
    let Destination { here, from, elsewhere, unasked, other_plan, to_write, lacking, .. } =
        destination;
    if destination.is_move {
        write_residence(from, here, page)?;
        let word = page.paint.strong("moves");
        writeln!(
            page,
            "{word} to {here}: it lives here afterwards, and no other place backs it up"
        )?;
        if matches!(from, Residence::Lives { .. }) {
            let word = page.paint.warning("not handed over");
            writeln!(
                page,
                "    {word}: what is written there after the point is lost; if that place still runs, run `lifeboat place hand-over` there first"
            )?;
        }
    }
    if !lacking.is_empty() {
        write_residence(from, here, page)?;
        let names: Vec<_> = lacking.iter().map(AssetName::as_str).collect();
        let word = page.paint.warning("moves nothing");
        writeln!(
            page,
            "{word}: {} does not come back whole, and the platform goes on to live where it does; if it is to live at {here} afterwards, say so with `lifeboat place claim --reason WHY`",
            names.join(", ")
        )?;
    }
    write_underway(elsewhere, page)?;
    if !unasked.is_empty() {
        let names: Vec<_> = unasked.iter().map(TierName::as_str).collect();
        let word = page.paint.warning("not asked");
        writeln!(page, "    {word}: {}, which may know of later moves", names.join(", "))?;
    }
    if let Some(plan) = other_plan {
        let word = page.paint.warning("another plan");
        writeln!(
            page,
            "    {word} is in force: {plan}; `lifeboat restore --from ADDRESS` brings it here"
        )?;
    }
    to_write.iter().try_for_each(|text| write_lacking(text, page))
}

fn write_lacking(text: &str, page: &mut Page) -> fmt::Result {
    let word = page.paint.warning("not in the plan");
    writeln!(
        page,
        "{word}: this host; so that no other one goes on with the platform, write {text}"
    )
}

/// Writes where the platform lives after a run.
pub(super) fn write_after(report: &RunReport, page: &mut Page) -> fmt::Result {
    let Some(Outcome::Succeeded | Outcome::Incomplete) = report.outcome else { return Ok(()) };
    if let Some(there) = &report.moves_to {
        let word = page.paint.strong(&there.to_string());
        writeln!(
            page,
            "the platform lives at {word} from now on: go on there with `lifeboat serve`"
        )?;
    }
    report.places_to_write.iter().try_for_each(|text| write_lacking(text, page))
}
