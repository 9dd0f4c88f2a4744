//! `lifeboat evidence`: the signed records of recoveries, drills and restore tests.

mod html;
mod markdown;
mod sheet;
pub(super) mod times;
mod verify;

use std::fmt::{self, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use lifeboat_model::instant::parse_instant;
use lifeboat_model::{Exit, Outcome, RecordId, Silent, Timestamp, WriterId, counted};
use lifeboat_ops::catalog::record::Record;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::evidence::document::Kind;
use lifeboat_ops::evidence::{collect, evidence_in, proof};
use lifeboat_ops::state::State;
use lifeboat_ops::{OpsError, Site};
use serde::Serialize;
use serde_json::Value;

use self::sheet::Sheet;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort, Table, time};
use crate::screen;
use crate::session::Session;
use crate::tier_argument::{self, TierArgument};

/// What is done with evidence.
#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// List what was proven: recoveries, drills and restore tests, each with its verdict
    List(List),
    /// Show one record: what was done, step by step, what it took, what is not proven
    Show(Show),
    /// Prove that evidence is what was written: signatures, order, journals, every tier
    Verify(verify::Verify),
    /// Show the plan's estimates with what was measured beside them, and the trend
    Times(times::Times),
    /// Write down what runs of this host prove that are over and have no record yet
    Collect,
}

/// The arguments of `lifeboat evidence list`.
#[derive(Debug, Args)]
pub struct List {
    /// Read this tier, by name or address, not what this host knows
    #[arg(long, value_name = "TIER")]
    from: Option<TierArgument>,
    /// Only what ended on this day or later, or at this time or later
    #[arg(long, value_name = "DATE")]
    since: Option<String>,
    /// Only what ended on this day or before, or before this time
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
}

/// The arguments of `lifeboat evidence show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The record's id or that of its run, or the first digits of the record's; the newest, if left out
    #[arg(value_name = "RECORD")]
    record: Option<String>,
    /// How it is shown; `json` is the very document that was signed
    #[arg(long, value_name = "FORMAT", default_value = "markdown")]
    format: Format,
    /// Read this tier, by name or address, not what this host knows
    #[arg(long, value_name = "TIER")]
    from: Option<TierArgument>,
}

/// How a record is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A text with tables.
    Markdown,
    /// A document for a browser, which needs nothing else.
    Html,
    /// The document that was signed.
    Json,
}

impl Evidence {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(session),
            Self::Show(show) => show.run(session),
            Self::Verify(verify) => verify.run(session),
            Self::Times(times) => times.run(session),
            Self::Collect => collect_missing(session),
        }
    }
}

/// Returns evidence, the newest first: what a tier has, or what this host knows.
fn records(
    site: &Site,
    from: Option<&TierArgument>,
    session: &Session,
) -> Result<Vec<Record>, Failure> {
    if let Some(tier) = tier_argument::named(from, site)? {
        let mut records = proof::read_tier(site, &tier, &session.cancel)?;
        records.reverse();
        return Ok(records);
    }
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path()).map_err(OpsError::from)?;
    Ok(collect::all(&view)?)
}

#[derive(Serialize)]
struct Listed {
    records: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: RecordId,
    writer: WriterId,
    number: u64,
    of: Kind,
    subject: String,
    run: String,
    declared: Timestamp,
    ended: Timestamp,
    outcome: Outcome,
    total_ms: u64,
    not_verified: usize,
    findings: usize,
}

impl Entry {
    fn of(record: &Record) -> Option<Self> {
        let evidence = evidence_in(record)?;
        let facts = &evidence.facts;
        Some(Self {
            id: record.id(),
            writer: record.header().writer,
            number: evidence.number,
            of: facts.of,
            subject: facts.subject.clone(),
            run: facts.run.clone(),
            declared: facts.declared,
            ended: facts.ended,
            outcome: facts.outcome,
            total_ms: facts.times.total_ms,
            not_verified: facts.not_verified.len(),
            findings: facts.findings.len(),
        })
    }
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.evidence.list/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.records.is_empty() {
            return writeln!(
                page,
                "no evidence; `lifeboat test` and `lifeboat recover` leave it, `--from TIER` reads a tier"
            );
        }
        let head = ["Record", "Ended", "Of", "Verdict", ">Took", ">Unproven", ">Findings", "Run"];
        let mut table = Table::new(head);
        for entry in &self.records {
            table.row([
                entry.id.to_string().into(),
                time::instant(entry.ended).into(),
                format!("{} {}", entry.of.name(), entry.subject).into(),
                entry.outcome.into(),
                times::text(entry.total_ms).into(),
                entry.not_verified.to_string().into(),
                entry.findings.to_string().into(),
                entry.run.as_str().into(),
            ]);
        }
        page.table(&table);
        Ok(())
    }
}

impl List {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let since = self.since.as_deref().map(|text| moment(text, 0.days())).transpose()?;
        let until = self.until.as_deref().map(|text| moment(text, 1.day())).transpose()?;
        let records = records(&site, self.from.as_ref(), session)?;
        let entries = records.iter().rev().filter_map(Entry::of).filter(|entry| {
            since.is_none_or(|since| entry.ended >= since)
                && until.is_none_or(|until| entry.ended < until)
        });
        session.done(&Listed { records: entries.collect() })
    }
}

/// Reads a time, or a day of which the beginning is meant, or so much later.
fn moment(text: &str, later: Span) -> Result<Timestamp, Failure> {
    if let Ok(instant) = parse_instant(text) {
        return Ok(instant);
    }
    let day = text.parse::<Date>().ok().and_then(|day| day.checked_add(later).ok());
    let begins = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    begins.map(|begins| begins.timestamp()).ok_or_else(|| {
        let message = format!("`{text}` is neither a day nor a time");
        CommandError::usage(message, "write 2026-11-23 or 2026-11-23T02:00:00Z (UTC)").into()
    })
}

#[derive(Serialize)]
struct Shown {
    id: RecordId,
    record: Value,
    #[serde(skip)]
    text: String,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.evidence.show/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        page.write_str(&self.text)
    }
}

impl Show {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let records = records(&site, self.from.as_ref(), session)?;
        let record = self.pick(&records)?;
        let sheet = Sheet::of(record);
        let told = |tell: fn(&Sheet) -> String| sheet.as_ref().map(tell).unwrap_or_default();
        let text = match self.format {
            Format::Markdown => told(Sheet::to_markdown),
            Format::Html => told(Sheet::to_html),
            Format::Json => {
                screen::print(record.plaintext())?;
                screen::print(b"\n")?;
                return Ok(Exit::Done);
            }
        };
        let document = serde_json::from_slice(record.plaintext())
            .expect("a record was read from JSON, which it keeps");
        session.done(&Shown { id: record.id(), record: document, text })
    }

    fn pick<'r>(&self, records: &'r [Record]) -> Result<&'r Record, Failure> {
        let hint = "`lifeboat evidence list` shows the records and their runs";
        let none = |message: String| Failure::from(CommandError::usage(message, hint));
        let Some(wanted) = &self.record else {
            return records.first().ok_or_else(|| none("there is no evidence yet".to_owned()));
        };
        let is_wanted = |record: &&Record| {
            record.id().to_hex().starts_with(wanted)
                || evidence_in(record).is_some_and(|own| own.facts.run == *wanted)
        };
        let found: Vec<_> = records.iter().filter(is_wanted).collect();
        match found.as_slice() {
            [record] => Ok(record),
            [] => Err(none(format!("no evidence is called `{wanted}`"))),
            several => Err(none(format!("`{wanted}` can be any of {} records", several.len()))),
        }
    }
}

#[derive(Serialize)]
struct Collected {
    kept: Vec<RecordId>,
    troubles: Vec<Trouble>,
}

#[derive(Serialize)]
struct Trouble {
    run: String,
    why: String,
}

impl Answer for Collected {
    const SCHEMA: &'static str = "lifeboat.evidence.collect/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for Trouble { run, why } in &self.troubles {
            writeln!(page, "{}: {run}: {why}", page.paint.bad("not kept"))?;
        }
        writeln!(page, "{} of evidence kept", counted(self.kept.len(), "record"))
    }
}

fn collect_missing(session: &Session) -> Result<Exit, Failure> {
    let collected = collect::collect(&session.site()?, &Silent, &session.cancel)?;
    let kept = collected.kept.iter().map(Record::id).collect();
    let troubles = collected.troubles.into_iter();
    let troubles: Vec<_> =
        troubles.map(|(run, why)| Trouble { run: run.to_string(), why }).collect();
    let exit = if troubles.is_empty() { Exit::Done } else { Exit::Incomplete };
    session.end(&Collected { kept, troubles }, exit)
}
