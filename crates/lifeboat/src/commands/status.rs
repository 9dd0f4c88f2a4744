//! `lifeboat status`: whether everything could come back now, and what to do about what could not.

mod tables;
mod todo;

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, Timestamp};
use lifeboat_ops::jobs::JobState;
use lifeboat_ops::status::{self, Lived, StatusReport, Verdict};
use serde::Serialize;

use super::place::{write_begun, write_residence, write_underway};
use crate::daemon;
use crate::failure::Failure;
use crate::render::{Answer, Page, Tone, time};
use crate::session::Session;

/// The arguments of `lifeboat status`.
#[derive(Debug, Args)]
pub struct Status {
    /// End with 1 when the platform could not come back now, with 4 when that is not known
    #[arg(long)]
    check: bool,
    /// Name everything that is at risk, each on a line of its own
    #[arg(long)]
    all: bool,
}

/// How much of what is at risk is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// The worst, and what is alike in one line.
    Short,
    /// All.
    All,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown {
    report: StatusReport,
    #[serde(skip)]
    detail: Detail,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.status/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self { report, detail } = self;
        write_verdict(page, report)?;
        if let Some(Lived { here, residence, underway, hand_over }) = &report.place {
            write_residence(residence, here, page)?;
            write_underway(underway, page)?;
            hand_over.iter().try_for_each(|begun| write_begun(begun, page))?;
        }
        writeln!(page)?;
        page.table(&tables::assets(report));
        writeln!(page)?;
        page.table(&tables::tiers(report));
        if !report.rehearsals.is_empty() {
            writeln!(page)?;
            page.table(&tables::rehearsals(report));
        }
        write_activity(page, report)?;
        todo::write(page, report, *detail)
    }
}

fn write_verdict(page: &mut Page, report: &StatusReport) -> fmt::Result {
    let (word, tone) = match report.verdict {
        Verdict::Yes => ("YES", Tone::Good),
        Verdict::Unknown => ("NOT KNOWN", Tone::Warning),
        Verdict::No => ("NO", Tone::Bad),
    };
    let (site, word) = (page.paint.strong(report.site.as_str()), page.paint.tone(tone, word));
    writeln!(page, "{site}: could everything come back now, as planned? {word}")?;
    match report.risks.first().filter(|risk| risk.verdict != Verdict::Yes) {
        Some(risk) => {
            writeln!(page, "{}", todo::cut(&format!("{}: {}", risk.subject, risk.message)))
        }
        None => writeln!(page, "every asset is there, whole, and proven as the plan asks"),
    }
}

/// Says in a line what runs, waits and comes next.
fn write_activity(page: &mut Page, report: &StatusReport) -> fmt::Result {
    let Some(activity) = &report.activity else { return Ok(()) };
    let mut parts = Vec::new();
    if activity.daemon.is_none() {
        parts.push(page.paint.warning("no daemon runs"));
    }
    if let Some(pause) = &activity.pause {
        let until = time::instant(pause.until);
        parts.push(page.paint.warning(&format!("paused until {until}")));
    }
    for job in activity.jobs.iter().filter(|job| job.state == JobState::Running) {
        let since = job.started.map(|at| time::since(at, report.now)).unwrap_or_default();
        parts.push(format!("{} runs for {since}", job.work));
    }
    let waiting = activity.jobs.iter().filter(|job| job.state == JobState::Queued).count();
    if waiting > 0 {
        parts.push(format!("{waiting} wait"));
    }
    if let Some(next) = activity.next.iter().find(|run| run.at > report.now) {
        parts.push(format!("next {} {}", next.task, ahead(next.at, report.now)));
    }
    if parts.is_empty() { Ok(()) } else { writeln!(page, "\nDaemon: {}", parts.join(" · ")) }
}

/// Writes when something is due.
fn ahead(at: Timestamp, now: Timestamp) -> String {
    format!("in {}", time::since(now, at))
}

impl Status {
    /// Shows how things stand.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let served = daemon::find(&site, session).map(|found| found.served);
        let report = status::status_beside(&site, served)?;
        let exit = match report.verdict {
            Verdict::No if self.check => Exit::Failed,
            Verdict::Unknown if self.check => Exit::CouldNotVerify,
            // The question was how things stand, and it was answered.
            _ => Exit::Done,
        };
        let detail = if self.all { Detail::All } else { Detail::Short };
        session.end(&Shown { report, detail }, exit)
    }
}
