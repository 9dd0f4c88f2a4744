//! Evidence as people read it: one sheet of facts and tables, written as Markdown or as HTML.
//!
//! Every cell is safe to be pasted into a spreadsheet: what would begin a formula is quoted. The HTML stands alone, with all text
//! escaped.

use std::time::Duration;

use lifeboat_model::Outcome;
use lifeboat_ops::catalog::record::Record;
use lifeboat_ops::evidence::document::{Evidence, Facts, Limited, Mode};
use lifeboat_ops::evidence::evidence_in;

use super::{html, markdown};
use crate::render::time::{duration, instant as time};

/// What people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    /// Its title.
    pub(super) title: String,
    /// The verdict, in a word.
    pub(super) verdict: String,
    /// Its parts.
    pub(super) sections: Vec<Section>,
}

/// A part of a sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// What it is about.
    pub(super) title: &'static str,
    /// The heads of its columns.
    pub(super) head: Vec<&'static str>,
    /// Its rows; a section without rows says that there is nothing.
    pub(super) rows: Vec<Vec<String>>,
}

impl Section {
    fn new<const N: usize>(title: &'static str, head: [&'static str; N]) -> Self {
        Self { title, head: head.to_vec(), rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| safe(&cell)).to_vec());
    }
}

impl Sheet {
    /// Tells a record of evidence; none, if it is a record of something else.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let evidence = evidence_in(record)?;
        let facts = &evidence.facts;
        let sections = vec![
            about(record, evidence),
            source(facts),
            objectives(facts),
            times(facts),
            estimates(facts),
            steps(facts),
            checks(facts),
            counts(facts),
            decisions(facts),
            told(facts),
            taken(facts),
            list("Could not be verified", &facts.not_verified),
            teardown(facts),
            findings(evidence),
            signature(record, evidence),
        ];
        let title = format!("Evidence of the {} `{}`", facts.of.name(), facts.subject);
        Some(Self { title, verdict: facts.outcome.to_string(), sections })
    }

    /// Writes it as Markdown.
    pub(super) fn to_markdown(&self) -> String {
        markdown::write(self)
    }

    /// Writes it as an HTML document that needs nothing else.
    pub(super) fn to_html(&self) -> String {
        html::write(self)
    }
}

/// Quotes what a spreadsheet would take for a formula.
fn safe(text: &str) -> String {
    let text = text.replace(['\r', '\n', '\t'], " ");
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

fn ms(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// Writes what may not be there.
fn or_none(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "none".to_owned(), |text| text.to_string())
}

fn about(record: &Record, evidence: &Evidence) -> Section {
    let (facts, header) = (&evidence.facts, record.header());
    let mut section = Section::new("What was done", ["", ""]);
    let mode = match facts.mode {
        Mode::Live => "live: on the platform itself",
        Mode::Sandbox => "in a sandbox",
        Mode::Tabletop => "in words",
    };
    let version = evidence.plan_version.as_ref();
    let version = version.map_or_else(String::new, |version| format!(", version {version}"));
    let plan = header.plan.map_or_else(|| "none".to_owned(), |plan| plan.to_hex());
    let rows = [
        ("Title", facts.title.clone()),
        ("Site", header.site.to_string()),
        ("Run", facts.run.clone()),
        ("Verdict", facts.outcome.to_string()),
        ("Ended as", facts.ending.clone()),
        ("What was to be shown", facts.hypothesis.clone()),
        ("Mode", mode.to_owned()),
        ("Set off by", facts.trigger.clone()),
        ("Driven by", joined(&facts.operators)),
        ("Declared", time(facts.declared)),
        ("Ended", time(facts.ended)),
        ("Host", facts.place.host.clone()),
        ("Sandbox", or_none(facts.place.sandbox.as_ref())),
        ("Network", facts.place.network.clone()),
        ("Plan", format!("{plan}{version}")),
        ("Runbook", or_none(facts.runbook.map(|runbook| runbook.to_hex()))),
        ("Program", evidence.tool.clone()),
    ];
    for (name, value) in rows {
        section.row([name.to_owned(), value]);
    }
    section
}

fn joined(texts: &[String]) -> String {
    if texts.is_empty() { "nobody".to_owned() } else { texts.join(", ") }
}

fn source(facts: &Facts) -> Section {
    let head = ["Asset", "From", "Snapshot", "Moment", "Log position", "Verdict", "What came back"];
    let mut section = Section::new("From what it came back", head);
    for asset in &facts.source.assets {
        section.row([
            asset.asset.to_string(),
            or_none(asset.tier.as_ref()),
            or_none(asset.snapshot.map(|snapshot| snapshot.to_hex())),
            or_none(asset.time.map(time)),
            or_none(asset.lsn),
            asset.outcome.to_string(),
            asset.message.clone(),
        ]);
    }
    let point = facts
        .source
        .point
        .clone()
        .map(|point| ("chosen", point, facts.source.target_time.map(time)));
    let rejected = facts.source.rejected.iter();
    let rejected = rejected.map(|point| ("not taken", point.name.clone(), Some(point.why.clone())));
    for (what, name, more) in point.into_iter().chain(rejected) {
        let (name, none) = (format!("point {name}, {what}"), String::new);
        section.row([name, none(), none(), none(), none(), none(), more.unwrap_or_default()]);
    }
    section
}

fn objectives(facts: &Facts) -> Section {
    let head = ["Of", "Objective", "Allowed", "Measured", "Verdict", "What was measured"];
    let mut section = Section::new("Objectives", head);
    for kept in &facts.objectives {
        let name = match kept.limited {
            Limited::Rto => "RTO",
            Limited::Rpo => "RPO",
        };
        section.row([
            kept.of.clone(),
            name.to_owned(),
            ms(kept.limit_ms),
            kept.measured_ms.map_or_else(|| "not measured".to_owned(), ms),
            kept.outcome.to_string(),
            kept.message.clone(),
        ]);
    }
    section
}

fn times(facts: &Facts) -> Section {
    let mut section = Section::new("Where the time went", ["Part", "Took"]);
    let order = ["decide", "prepare", "fetch", "restore", "replay", "start", "validate"];
    for part in order {
        let took = facts.times.phases_ms.get(part).copied().unwrap_or(0);
        section.row([part.to_owned(), ms(took)]);
    }
    section.row(["waiting for people".to_owned(), ms(facts.times.people_ms)]);
    section.row(["nothing happened".to_owned(), ms(facts.times.standstill_ms)]);
    section.row(["in all".to_owned(), ms(facts.times.total_ms)]);
    section
}

fn estimates(facts: &Facts) -> Section {
    let mut section = Section::new("Estimates of the plan", ["Of", "Estimate", "Measured"]);
    for kept in &facts.estimates {
        let measured = kept.measured_ms.map_or_else(|| "not measured".to_owned(), ms);
        section.row([kept.of.clone(), kept.estimate.clone(), measured]);
    }
    section
}

fn steps(facts: &Facts) -> Section {
    let head =
        ["Step", "Does", "Part", "Attempt", "Began", "Ended", "How", "Exit code", "Took", "Why"];
    let mut section = Section::new("Steps", head);
    for step in &facts.steps {
        let took = step.took_ms.map_or_else(String::new, ms);
        let name = step
            .title
            .as_ref()
            .map_or_else(|| step.step.clone(), |title| format!("{} ({title})", step.step));
        section.row([
            name,
            step.action.clone().unwrap_or_default(),
            step.phase.clone(),
            step.attempts.len().to_string(),
            step.started.map(time).unwrap_or_default(),
            step.ended.map(time).unwrap_or_default(),
            step.stand.clone(),
            String::new(),
            took,
            step.why.clone().unwrap_or_default(),
        ]);
        for (number, attempt) in step.attempts.iter().enumerate() {
            section.row([
                step.step.clone(),
                String::new(),
                String::new(),
                format!("no. {}", number + 1),
                time(attempt.started),
                attempt.ended.map(time).unwrap_or_default(),
                attempt.how.clone(),
                attempt.exit.map_or_else(String::new, |exit| exit.to_string()),
                String::new(),
                attempt.why.clone().unwrap_or_default(),
            ]);
        }
    }
    section
}

fn checks(facts: &Facts) -> Section {
    let mut section = Section::new("Checks", ["Check", "Step", "Expected", "Shown", "Verdict"]);
    for check in &facts.checks {
        section.row([
            check.name.clone(),
            check.step.clone().unwrap_or_default(),
            check.expected.clone(),
            check.actual.clone(),
            check.outcome.to_string(),
        ]);
    }
    section
}

fn counts(facts: &Facts) -> Section {
    let head = ["Asset", "Files", "Bytes", "Rows", "Sample", "Hashes"];
    let mut section = Section::new("How much came back", head);
    for counted in &facts.counts {
        let unknown = |text: Option<String>| text.unwrap_or_else(|| "not counted".to_owned());
        section.row([
            counted.asset.clone(),
            unknown(counted.files.map(|files| files.to_string())),
            unknown(counted.bytes.map(|bytes| bytes.to_string())),
            unknown(counted.rows.clone()),
            counted.sample.clone().unwrap_or_else(|| "all of it".to_owned()),
            counted.hashes.clone().unwrap_or_else(|| "not compared".to_owned()),
        ]);
    }
    section
}

fn decisions(facts: &Facts) -> Section {
    let mut section =
        Section::new("Who decided what", ["When", "Who", "By right of", "What", "Step", "Why"]);
    for decided in &facts.decisions {
        section.row([
            time(decided.time),
            decided.by.clone(),
            decided.right.clone().unwrap_or_default(),
            decided.what.clone(),
            decided.step.as_ref().map(ToString::to_string).unwrap_or_default(),
            decided.why.clone().unwrap_or_default(),
        ]);
    }
    section
}

fn told(facts: &Facts) -> Section {
    let mut section =
        Section::new("Who was told", ["Step", "By", "When", "Verdict", "Acknowledged by", "Why"]);
    for told in &facts.notifications {
        section.row([
            told.step.clone(),
            told.via.join(", "),
            or_none(told.time.map(time)),
            told.outcome.to_string(),
            told.acknowledged.clone().unwrap_or_else(|| "not known".to_owned()),
            told.why.clone().unwrap_or_default(),
        ]);
    }
    section
}

fn taken(facts: &Facts) -> Section {
    let mut section = Section::new(
        "What was taken as evidence",
        ["Step", "Where", "Files", "Bytes", "SHA-256 of its list"],
    );
    for taken in &facts.taken {
        section.row([
            taken.step.clone(),
            taken.to.clone(),
            or_none(taken.files),
            or_none(taken.bytes),
            taken.sha256.clone(),
        ]);
    }
    section
}

fn list(title: &'static str, texts: &[String]) -> Section {
    let mut section = Section::new(title, [""]);
    for text in texts {
        section.row([text.clone()]);
    }
    section
}

fn teardown(facts: &Facts) -> Section {
    let mut section = Section::new("Teardown", ["Looked for", "Left"]);
    let Some(teardown) = &facts.teardown else {
        let why = facts.teardown_absent.clone().unwrap_or_else(|| "not told".to_owned());
        section.row(["no proof".to_owned(), why]);
        return section;
    };
    for looked in &teardown.looked_for {
        let left =
            if looked.left.is_empty() { "nothing".to_owned() } else { looked.left.join(", ") };
        section.row([looked.what.clone(), left]);
    }
    let trouble = teardown.trouble.clone().unwrap_or_default();
    section.row([format!("{}, {}", teardown.outcome, time(teardown.time)), trouble]);
    section
}

fn findings(evidence: &Evidence) -> Section {
    let mut section = Section::new("Findings", ["Finding", "Owner", "Due", "Closed by"]);
    for finding in &evidence.facts.findings {
        section.row([
            finding.what.clone(),
            finding.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
            finding.due.clone().unwrap_or_else(|| "no date".to_owned()),
            finding.closed_by.clone().unwrap_or_else(|| "open".to_owned()),
        ]);
    }
    for closed in &evidence.closed {
        let own = evidence.facts.run.clone();
        section.row([
            format!("{} (of {})", closed.what, closed.found_by),
            String::new(),
            String::new(),
            own,
        ]);
    }
    section
}

fn signature(record: &Record, evidence: &Evidence) -> Section {
    let header = record.header();
    let journal = evidence.facts.journal.as_ref();
    let journal = journal.map(|own| format!("{} after {} entries", own.last.to_hex(), own.entries));
    let mut section = Section::new("Signature", ["", ""]);
    let rows = [
        ("Record", record.id().to_hex()),
        ("Evidence", format!("no. {} of {}", evidence.number, header.writer)),
        ("Evidence before", or_none(evidence.previous.map(|before| before.to_hex()))),
        ("Record before", or_none(header.previous.map(|before| before.to_hex()))),
        ("Written", time(header.time)),
        ("Signed by", format!("{} with {}", evidence.signer.host, evidence.signer.public_key)),
        ("Journal", or_none(journal)),
        ("Checked by", "`lifeboat evidence verify`".to_owned()),
    ];
    for (name, value) in rows {
        section.row([name.to_owned(), value]);
    }
    section
}

/// Returns how loudly a verdict is shown.
pub(super) fn class_of(cell: &str) -> &'static str {
    let is = |outcome: Outcome| cell == outcome.to_string();
    match () {
        () if is(Outcome::Passed) => "good",
        () if is(Outcome::Failed) => "bad",
        () if is(Outcome::CouldNotVerify) => "unknown",
        () => "",
    }
}
