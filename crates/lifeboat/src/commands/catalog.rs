//! `lifeboat catalog`: the signed records of what was done, on the tiers and in the local view.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use clap::{Args, Subcommand};
use lifeboat_model::{AssetName, Exit, RecordId, Timestamp, WriterId, counted};
use lifeboat_ops::catalog::CatalogReport;
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::record::Record;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::state::State;
use lifeboat_ops::wire::audit::verify_catalog;
use lifeboat_ops::wire::open::{NewTiers, OpenSite};
use lifeboat_ops::{OpsError, Site};
use serde::Serialize;
use serde_json::Value;

use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort, Table, time};
use crate::session::Session;

/// The commands of `lifeboat catalog`.
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// List the records, the newest last
    List(List),
    /// Show one record with all that it says
    Show(Show),
    /// Verify the chains and signatures of all records on all tiers
    Verify,
    /// Build the local view anew from what lies on the tiers
    Rebuild,
}

/// The arguments of `lifeboat catalog list`.
#[derive(Debug, Args)]
pub struct List {
    /// List only records that concern this asset
    #[arg(long, value_name = "ASSET")]
    asset: Option<AssetName>,
    /// List only records of this kind, like `asset-backed-up`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// List only the newest records
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
}

/// The arguments of `lifeboat catalog show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The record: the first digits of its id
    #[arg(value_name = "RECORD")]
    record: String,
}

impl Catalog {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(session),
            Self::Show(show) => show.run(session),
            Self::Verify => verify(session),
            Self::Rebuild => rebuild(session),
        }
    }
}

/// Reads all records of the local view, merged by time.
fn records(site: &Site) -> Result<Vec<Record>, Failure> {
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path()).map_err(OpsError::from)?;
    Ok(view.all().map_err(OpsError::from)?)
}

#[derive(Serialize)]
struct Listed {
    records: Vec<Entry>,
    older: usize,
}

#[derive(Serialize)]
struct Entry {
    id: RecordId,
    time: Timestamp,
    writer: WriterId,
    sequence: u64,
    kind: &'static str,
    about: String,
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.catalog.list/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.records.is_empty() {
            return writeln!(
                page,
                "no records; `lifeboat catalog rebuild` reads them from the tiers"
            );
        }
        if self.older > 0 {
            writeln!(page, "{} older records; `--limit` shows more\n", self.older)?;
        }
        let mut table = Table::new(["Record", "Time", "Kind", "About"]);
        for entry in &self.records {
            table.row([
                entry.id.to_string().into(),
                time::instant(entry.time).into(),
                entry.kind.into(),
                entry.about.as_str().into(),
            ]);
        }
        page.table(&table);
        Ok(())
    }
}

impl List {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let mut wanted: Vec<Entry> = records(&site)?
            .iter()
            .filter(|record| self.wants(record.body()))
            .map(Entry::of)
            .collect();
        let older = wanted.len().saturating_sub(self.limit);
        let records = wanted.split_off(older);
        session.done(&Listed { records, older })
    }

    fn wants(&self, body: &Body) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind == body.kind())
            && self.asset.as_ref().is_none_or(|asset| match body {
                Body::AssetBackedUp(backup) => backup.asset == *asset,
                Body::Restored(restored) => restored.asset == *asset,
                Body::ThawRequested(requested) => requested.asset == *asset,
                Body::RestoreVerified(verified) => verified.asset == *asset,
                Body::RestoreTested(tested) => tested.assets.iter().any(|a| a.asset == *asset),
                Body::JobStarted(started) => started.assets.contains(asset),
                _ => false,
            })
    }
}

impl Entry {
    fn of(record: &Record) -> Self {
        let header = record.header();
        Self {
            id: record.id(),
            time: header.time,
            writer: header.writer,
            sequence: header.sequence,
            kind: record.body().kind(),
            about: about(record.body()),
        }
    }
}

/// Says in a few words what a record tells.
fn about(body: &Body) -> String {
    match body {
        Body::Enrolment(enrolment) => format!("host {}", enrolment.host),
        Body::PlanAdopted(adopted) => format!("plan {}", adopted.plan),
        Body::KeyConfirmed(confirmed) => confirmed.verifier.clone(),
        Body::TierAdopted(adopted) => format!("{} at {}", adopted.tier, adopted.address),
        Body::JobStarted(started) => format!("{} {}", started.command, started.job),
        Body::JobEnded(ended) => format!("{} {}", ended.job, ended.ending),
        Body::AssetBackedUp(backup) => {
            let tiers: Vec<_> = backup.snapshots.iter().map(|at| at.tier.to_string()).collect();
            if tiers.is_empty() {
                format!("{}: no snapshot", backup.asset)
            } else {
                format!("{} on {}", backup.asset, tiers.join(", "))
            }
        }
        Body::TierVerified(verified) => format!("{} {}", verified.tier, verified.outcome),
        Body::Restored(restored) => {
            format!("{} from {}: {}", restored.asset, restored.tier, restored.ending)
        }
        Body::ThawRequested(requested) => {
            format!(
                "{} from {}: {}",
                requested.asset,
                requested.tier,
                counted(requested.packs, "pack")
            )
        }
        Body::RestoreVerified(verified) => {
            format!("{} from {}: {}", verified.asset, verified.tier, verified.outcome)
        }
        Body::RestoreTested(tested) => {
            format!("{} with seed {}: {}", tested.test, tested.seed, tested.outcome)
        }
        Body::RecoveryDeclared(declared) => format!("{} {}", declared.scenario, declared.run),
        Body::RecoveryEnded(ended) => {
            format!("{} {}: {}", ended.scenario, ended.run, ended.outcome)
        }
        Body::Evidence(evidence) => {
            let facts = &evidence.facts;
            format!("{} {} {}: {}", facts.of.name(), facts.subject, facts.run, facts.outcome)
        }
        Body::DrillEnded(ended) => format!("{} {}: {}", ended.scenario, ended.run, ended.outcome),
        Body::SnapshotsMissing(missing) => {
            format!("{} on {}", missing.snapshots.len(), missing.tier)
        }
        Body::RetentionDecided(decided) => {
            format!("{} on {}", decided.snapshots.len(), decided.tier)
        }
        Body::RetentionDone(done) => format!("{}: {}", done.tier, done.ending),
        Body::RetentionHeld(held) => held.reason.clone(),
        Body::RetentionReleased(released) => released.hold.to_string(),
        Body::PlaceTaken(taken) => format!("{}, {}", taken.whereabouts, taken.by),
        Body::PlaceLeft(left) => format!("{} by {}", left.whereabouts, left.login),
        Body::PlaceSought(sought) => {
            format!("{} by {} of `{}`", sought.whereabouts, sought.run, sought.scenario)
        }
        Body::PlaceForgone(forgone) => forgone.run.to_string(),
    }
}

#[derive(Serialize)]
struct Shown {
    id: RecordId,
    record: Value,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.catalog.show/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "record {}", self.id.to_hex())?;
        writeln!(page, "{:#}", self.record)
    }
}

impl Show {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let mut matching = records(&site)?;
        matching.retain(|record| record.id().to_hex().starts_with(&self.record));
        let hint = "`lifeboat catalog list` shows the records and their ids";
        let record = match matching.as_slice() {
            [record] => record,
            [] => {
                let message = format!("no record's id begins with `{}`", self.record);
                return Err(CommandError::usage(message, hint).into());
            }
            several => {
                let message =
                    format!("the ids of {} records begin with `{}`", several.len(), self.record);
                return Err(CommandError::usage(message, hint).into());
            }
        };
        let text = serde_json::from_slice(record.plaintext())
            .expect("a record was read from JSON, which it keeps");
        session.done(&Shown { id: record.id(), record: text })
    }
}

#[derive(Serialize)]
struct Looked {
    #[serde(flatten)]
    report: CatalogReport,
    #[serde(skip)]
    what: &'static str,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Verified(Looked);

#[derive(Serialize)]
#[serde(transparent)]
struct Rebuilt(Looked);

impl Answer for Verified {
    const SCHEMA: &'static str = "lifeboat.catalog.verify/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        self.0.write(page)
    }
}

impl Answer for Rebuilt {
    const SCHEMA: &'static str = "lifeboat.catalog.rebuild/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        self.0.write(page)
    }
}

impl Looked {
    fn write(&self, page: &mut Page) -> fmt::Result {
        for tier in &self.report.tiers {
            match &tier.error {
                None => writeln!(page, "{}: {} read", tier.tier, counted(tier.read, "record"))?,
                Some(error) => {
                    let word = page.paint.bad("not reached");
                    writeln!(page, "{}: {word}: {error}", tier.tier)?;
                }
            }
        }
        for flaw in &self.report.flaws {
            let word = page.paint.bad("flaw");
            writeln!(page, "{word}: {flaw}")?;
        }
        writeln!(page, "{}: {}", self.what, counted(self.report.records, "record"))
    }

    /// A flaw is a failure; a tier that was not seen leaves things unproven.
    fn exit(&self) -> Exit {
        if !self.report.flaws.is_empty() {
            Exit::Failed
        } else if self.report.tiers.iter().any(|tier| tier.error.is_some()) {
            Exit::CouldNotVerify
        } else {
            Exit::Done
        }
    }
}

fn verify(session: &Session) -> Result<Exit, Failure> {
    let report = verify_catalog(&session.site()?, &session.cancel)?;
    let looked = Looked { report, what: "verified" };
    let exit = looked.exit();
    session.end(&Verified(looked), exit)
}

/// Fills the view anew with what all tiers that can be reached have.
fn rebuild(session: &Session) -> Result<Exit, Failure> {
    let site = session.site()?;
    let all: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    let events = session.events();
    let open = OpenSite::open(&site, &all, NewTiers::Leave, &*events, &session.cancel)?;
    let tiers: Vec<_> = open.open_tiers().map(|tier| tier.named.clone()).collect();
    let report = open.catalog().rebuild(&tiers).map_err(OpsError::from)?;
    let looked = Looked { report, what: "rebuilt" };
    let exit = looked.exit();
    session.end(&Rebuilt(looked), exit)
}
