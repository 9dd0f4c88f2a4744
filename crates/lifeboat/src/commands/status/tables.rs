//! The tables of a status: assets, tiers, rehearsals; each fits 80 columns.

use std::time::Duration;

use lifeboat_model::Outcome;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::status::proof::ProofState;
use lifeboat_ops::status::{AssetStatus, Objective, StatusReport, TierStatus, Verdict};

use super::ahead;
use crate::render::{Cell, Table, Tone, time, tone_of};

fn dash() -> Cell {
    Cell::new("-", Tone::Aside)
}

fn seconds(seconds: Option<u64>) -> Cell {
    seconds.map_or_else(dash, |seconds| time::rough(Duration::from_secs(seconds)).into())
}

pub(super) fn assets(report: &StatusReport) -> Table {
    let mut table = Table::new([
        "Asset",
        "State",
        ">Lost now",
        ">RPO",
        ">Back in",
        ">RTO",
        "Proven",
        "3-2-1-1-0",
    ]);
    for asset in &report.assets {
        table.row([
            asset.asset.to_string().into(),
            state(asset),
            seconds(asset.exposure_s),
            seconds(asset.rpo_s),
            comeback(asset),
            seconds(asset.rto_s),
            proven(asset, report),
            card(asset),
        ]);
    }
    table
}

/// Says in a word how an asset stands, the worst first.
fn state(asset: &AssetStatus) -> Cell {
    match (asset.objective, asset.protected) {
        (Objective::Missed, _) if asset.exposure_s.is_none() => Cell::new("nothing", Tone::Bad),
        (Objective::Missed, _) => Cell::new("missed", Tone::Bad),
        (_, Verdict::No) => Cell::new("damaged", Tone::Bad),
        (Objective::Unknown, _) => Cell::new("unknown", Tone::Warning),
        (_, Verdict::Unknown) => Cell::new("unproven", Tone::Warning),
        (Objective::AtRisk, _) => Cell::new("at risk", Tone::Warning),
        (Objective::Met | Objective::None, Verdict::Yes) => Cell::new("ok", Tone::Good),
    }
}

/// How long coming back took, or `~` how long it should.
fn comeback(asset: &AssetStatus) -> Cell {
    let comeback = &asset.comeback;
    let text = match (&comeback.measured, &comeback.predicted) {
        (Some(measured), _) => time::rough(Duration::from_millis(measured.took_ms)),
        (None, Some(predicted)) => {
            format!("~{}", time::rough(Duration::from_secs(predicted.seconds)))
        }
        (None, None) => return dash(),
    };
    let tone = match comeback.objective {
        Objective::Missed => Tone::Bad,
        Objective::AtRisk => Tone::Warning,
        _ => Tone::Plain,
    };
    Cell::new(text, tone)
}

fn proven(asset: &AssetStatus, report: &StatusReport) -> Cell {
    let proof = &asset.proof;
    let age = proof.time.map(|at| format!("{} ago", time::since(at, report.now)));
    match proof.state {
        ProofState::Proven => Cell::new(age.unwrap_or_default(), Tone::Good),
        ProofState::NeedsProof => Cell::new("again", Tone::Warning),
        ProofState::Failed => Cell::new("failed", Tone::Bad),
        ProofState::Never if proof.is_asked => Cell::new("never", Tone::Warning),
        ProofState::Never => Cell::new("never", Tone::Aside),
    }
}

/// What was found; `?` behind what could not be verified.
fn card(asset: &AssetStatus) -> Cell {
    let card = &asset.scorecard;
    let (mark, tone) = match card.outcome() {
        Outcome::Passed => ("", Tone::Good),
        Outcome::CouldNotVerify => ("?", Tone::Warning),
        Outcome::Failed => ("", Tone::Warning),
    };
    Cell::new(format!("{card}{mark}"), tone)
}

pub(super) fn tiers(report: &StatusReport) -> Table {
    let mut table = Table::new(["Tier", ">Snapshots", "Verified", "Where"]);
    for TierStatus { tier, address, trouble, snapshots, gone, verified, .. } in &report.tiers {
        let verified: Cell = match verified {
            _ if *gone > 0 => Cell::new(format!("failed: {gone} gone"), Tone::Bad),
            None => Cell::new("never", Tone::Warning),
            Some(once) => {
                let age = time::since(once.time, report.now);
                Cell::new(format!("{} {age} ago", once.outcome), once.outcome.into())
            }
        };
        let snapshots: Cell = match (snapshots, trouble) {
            (_, Some(trouble)) => Cell::new(trouble.ending.to_string(), Tone::Bad),
            (Some(count), None) => count.to_string().into(),
            (None, None) => dash(),
        };
        table.row([tier.to_string().into(), snapshots, verified, address.as_str().into()]);
    }
    table
}

pub(super) fn rehearsals(report: &StatusReport) -> Table {
    let mut table = Table::new(["Test or drill", "Last", ">Took", "Next"]);
    for rehearsal in &report.rehearsals {
        let last = rehearsal.last.as_ref();
        let told = match last {
            None => Cell::new("never ran", Tone::Warning),
            Some(last) => {
                let word = match last.ending {
                    Ending::Succeeded => "passed".to_owned(),
                    other => other.to_string(),
                };
                let age = last.ended.map(|at| format!(" {} ago", time::since(at, report.now)));
                Cell::new(word + &age.unwrap_or_default(), tone_of(last.ending))
            }
        };
        table.row([
            rehearsal.task.to_string().into(),
            told,
            seconds(last.and_then(|last| last.took_s)),
            rehearsal.next.map_or_else(dash, |at| ahead(at, report.now).into()),
        ]);
    }
    table
}
