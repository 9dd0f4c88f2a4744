//! What a drill showed, as it is shown: the check-list, where the time went, what is to be mended, and that nothing is left.

use std::fmt::{self, Write as _};
use std::time::Duration;

use lifeboat_model::{AssetName, ServiceName, SiteName, Timestamp, counted};
use lifeboat_ops::drill::findings::{Finding, OpenFinding};
use lifeboat_ops::drill::{DrillEnded, Prepared};
use serde::Serialize;

use crate::commands::recover::phase_word;
use crate::render::{Answer, Page, Sort, Tone, time};

/// The version of [`Shown`] as JSON.
const SCHEMA: u32 = 1;

/// What a drill showed.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    schema: u32,
    site: SiteName,
    #[serde(flatten)]
    ended: DrillEnded,
}

impl Shown {
    pub(super) const fn new(site: SiteName, ended: DrillEnded) -> Self {
        Self { schema: SCHEMA, site, ended }
    }
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.drill/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let ended = &self.ended;
        let name = page.paint.strong(ended.scenario.as_str());
        writeln!(page, "{name}, {}, begun {}", ended.run, time::instant(ended.started))?;
        if let Some(point) = ended.point {
            writeln!(page, "to the point of {}", time::instant(point))?;
        }
        write_prepared(ended, page)?;
        let width = ended.checklist.iter().map(|point| point.says.len()).max().unwrap_or_default();
        for point in &ended.checklist {
            let outcome = page.paint.outcome(point.outcome);
            writeln!(page, "{:width$}  {outcome}  {}", point.says, point.message)?;
        }
        for simulated in &ended.simulated {
            writeln!(page, "{}: {}", simulated.step, simulated.what)?;
        }
        for sink in &ended.sinks {
            writeln!(page, "{} stood in for, and took {}", sink.address, sink.came)?;
        }
        write_times(ended, page)?;
        for finding in &ended.findings {
            write_finding(finding, page)?;
        }
        write_teardown(ended, page)?;
        if let Some(trouble) = &ended.trouble {
            writeln!(page, "{}: {trouble}", page.paint.bad("trouble"))?;
        }
        let outcome = page.paint.outcome(ended.outcome);
        writeln!(page, "{outcome} in {}", text(ended.duration_ms))
    }
}

/// Says what ran before, and what happened to it.
fn write_prepared(ended: &DrillEnded, page: &mut Page) -> fmt::Result {
    let Some(Prepared { restored, services, damage, took_ms }) = &ended.prepared else {
        return Ok(());
    };
    let names = |names: Vec<&str>| names.join(", ");
    let services = names(services.iter().map(ServiceName::as_str).collect());
    let restored = match names(restored.iter().map(AssetName::as_str).collect()) {
        none if none.is_empty() => none,
        some => format!("{some} brought back, "),
    };
    let took = text(*took_ms);
    writeln!(page, "before it: {restored}{services} healthy, in {took} apart from the recovery")?;
    if let Some(damage) = damage {
        return writeln!(page, "damaged by: {damage}");
    }
    let word = page.paint.warning("not damaged");
    writeln!(page, "{word}: [scenarios.{}] says no `damage`", ended.scenario)
}

fn write_times(ended: &DrillEnded, page: &mut Page) -> fmt::Result {
    let held = |page: &Page, took: u64, may: Option<u64>, name: &str| {
        may.map_or_else(String::new, |may| {
            let tone = if took <= may { Tone::Good } else { Tone::Bad };
            format!(", {}", page.paint.tone(tone, &format!("of {} ({name})", text(may))))
        })
    };
    let phases = ended.phases_ms.iter();
    let mut parts: Vec<_> =
        phases.map(|(phase, ms)| format!("{} {}", phase_word(*phase), text(*ms))).collect();
    if ended.people_ms > 0 {
        parts.push(format!("waiting for people {}", text(ended.people_ms)));
    }
    let of_rto = held(page, ended.total_ms, ended.rto_ms, "RTO");
    writeln!(page, "recovered in {}{of_rto}: {}", text(ended.total_ms), parts.join(", "))?;
    match ended.loss_ms {
        Some(loss) => {
            let allowed = held(page, loss, ended.rpo_ms, "RPO");
            writeln!(page, "would have lost the last {}{allowed}", text(loss))
        }
        None => Ok(()),
    }
}

fn write_finding(finding: &Finding, page: &mut Page) -> fmt::Result {
    let word = page.paint.warning("to mend");
    let due = time::instant(finding.due);
    writeln!(page, "{word}: {} ({}, until {due})", finding.what, finding.owner)
}

fn write_teardown(ended: &DrillEnded, page: &mut Page) -> fmt::Result {
    let (processes, namespaces) = ended.teardown.ended();
    if ended.teardown.left().is_empty() {
        return writeln!(
            page,
            "torn down: {} in {} ended, and nothing is left",
            counted(processes, "process"),
            counted(namespaces, "namespace")
        );
    }
    for left in ended.teardown.left() {
        writeln!(page, "{}: {left}", page.paint.bad("left behind"))?;
    }
    Ok(())
}

fn text(ms: u64) -> String {
    time::duration(Duration::from_millis(ms))
}

/// What drills found and nobody mended yet.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    schema: u32,
    findings: Vec<OpenFinding>,
    #[serde(skip)]
    now: Timestamp,
}

impl Open {
    pub(super) const fn new(findings: Vec<OpenFinding>, now: Timestamp) -> Self {
        Self { schema: SCHEMA, findings, now }
    }
}

impl Answer for Open {
    const SCHEMA: &'static str = "lifeboat.drill.findings/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.findings.is_empty() {
            return writeln!(page, "no drill found anything that is still to be mended");
        }
        for OpenFinding { scenario, finding, .. } in &self.findings {
            let late =
                if finding.due < self.now { page.paint.bad("overdue ") } else { String::new() };
            let due = time::instant(finding.due);
            writeln!(page, "{scenario}: {} ({}, {late}until {due})", finding.what, finding.owner)?;
        }
        Ok(())
    }
}
