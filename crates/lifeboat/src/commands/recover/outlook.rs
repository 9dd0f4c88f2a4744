//! What a recovery would do, as it is shown before it does it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use lifeboat_ops::procedure::outlook::{Outlook, Replaced, StepOutlook, StepThaw};
use serde::Serialize;

use super::destination;
use crate::commands::thaw::said;
use crate::render::{Answer, Cell, Page, Table, Tone, time};

/// What a recovery would do, as it is shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Ahead(pub(super) Outlook);

impl Answer for Ahead {
    const SCHEMA: &'static str = "lifeboat.recover.outlook/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let outlook = &self.0;
        writeln!(page, "{} ({})", page.paint.strong(&outlook.title), outlook.scenario)?;
        write_point(outlook, page)?;
        if let Some(destination) = &outlook.destination {
            destination::write(destination, page)?;
        }
        for replaced in &outlook.replaces {
            write_replaced(replaced, page)?;
        }
        for StepThaw { step, forecast } in &outlook.thaws {
            writeln!(page, "{step}: {}; it is asked for and waited for", said(forecast))?;
        }
        let mut table = Table::new([">", "Step", "Thought to take", ">Took last", ""]);
        for step in &outlook.steps {
            row(step, &mut table);
        }
        page.table(&table);
        write_time(outlook, page)
    }
}

/// Writes how long it is thought to take, held against how long it may.
fn write_time(outlook: &Outlook, page: &mut Page) -> fmt::Result {
    let predicted = Some(outlook.predicted_ms).filter(|predicted| *predicted > 0);
    match (predicted, outlook.rto_ms) {
        (Some(predicted), Some(rto)) => {
            let tone = if predicted <= rto { Tone::Good } else { Tone::Bad };
            let of = page.paint.tone(tone, &format!("of {} (RTO)", text(rto)));
            writeln!(page, "thought to take up to {}, {of}", text(predicted))
        }
        (Some(predicted), None) => writeln!(page, "thought to take up to {}", text(predicted)),
        (None, Some(rto)) => writeln!(page, "it may take {} (RTO)", text(rto)),
        (None, None) => Ok(()),
    }
}

fn write_point(outlook: &Outlook, page: &mut Page) -> fmt::Result {
    let Some(point) = &outlook.point else {
        return writeln!(page, "nothing is restored");
    };
    writeln!(page, "comes back to {}", time::instant(point.time))?;
    if let Some(older) = &point.older {
        writeln!(
            page,
            "    the next older point is {older}: `--at {older}`, should this one be damaged"
        )?;
    }
    for (asset, captured) in &outlook.behind {
        let word = page.paint.warning("earlier");
        let captured = time::instant(*captured);
        writeln!(page, "    {word} {asset}: to {captured}, when it was captured last")?;
    }
    for rejected in &outlook.rejected {
        writeln!(page, "    not to {}: {}", rejected.name, rejected.why)?;
    }
    for (tier, trouble) in &outlook.troubles {
        let word = page.paint.warning("without");
        writeln!(page, "    {word} {tier}: {}", trouble.message)?;
        if !outlook.without.contains(tier) {
            writeln!(
                page,
                "        it may know of later changes; if it is lost, say `--without {tier}`"
            )?;
        }
    }
    let Some(loss) = outlook.loss_ms else { return Ok(()) };
    if outlook.destination.as_ref().is_some_and(|whither| whither.is_whole) {
        let word = page.paint.good("loses nothing");
        return writeln!(
            page,
            "{word}: the platform was handed over, and this point holds all of it"
        );
    }
    write!(page, "loses the last {}", text(loss))?;
    match outlook.rpo_ms {
        Some(rpo) => {
            let tone = if loss <= rpo { Tone::Good } else { Tone::Bad };
            writeln!(page, ", {}", page.paint.tone(tone, &format!("of {} (RPO)", text(rpo))))
        }
        None => writeln!(page),
    }
}

fn write_replaced(replaced: &Replaced, page: &mut Page) -> fmt::Result {
    let Replaced { step, target, what, is_kept, trouble, .. } = replaced;
    if let Some(trouble) = trouble {
        let word = page.paint.warning("not known");
        return writeln!(page, "{step}: {word} what it does: {trouble}");
    }
    if what.is_empty() {
        return writeln!(page, "{step}: to {target}, where nothing is replaced");
    }
    let aside = if *is_kept { "which is kept aside" } else { "and nothing is kept aside" };
    writeln!(page, "{step}: replaces what is there, {aside}: {}", what.join(", "))
}

fn row(step: &StepOutlook, table: &mut Table) {
    let remark = match &step.left_out {
        Some(why) => format!("left out: {why}"),
        None => step.title.clone().unwrap_or_default(),
    };
    table.row([
        (step.layer + 1).to_string().into(),
        Cell::new(step.step.as_str(), Tone::Strong),
        step.estimate.clone().unwrap_or_default().into(),
        step.measured_ms.map(text).unwrap_or_default().into(),
        remark.into(),
    ]);
}

fn text(ms: u64) -> String {
    time::duration(Duration::from_millis(ms))
}
