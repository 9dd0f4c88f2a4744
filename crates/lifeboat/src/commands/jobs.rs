//! `lifeboat jobs`: what the daemon does, did and will do; running and stopping something now.

use std::fmt::{self, Write as _};

use clap::{Args, Subcommand};
use lifeboat_model::{Exit, JobId, Timestamp};
use lifeboat_ops::daemon::control::{Ask, Reply, Waits};
use lifeboat_ops::daemon::report::{JobsReport, jobs_report};
use lifeboat_ops::daemon::watcher::Watched;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::jobs::{Job, JobState, Work};
use lifeboat_ops::schedule::{NextRun, TRIES_MAX, Task};
use serde::Serialize;

use crate::daemon;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Cell, Page, Sort, Table, Tone, time, tone_of};
use crate::session::Session;

/// The arguments of `lifeboat jobs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Jobs {
    #[command(subcommand)]
    command: Option<Below>,
    /// Show so many of those that ended
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    last: u32,
}

/// The commands of `lifeboat jobs`.
#[derive(Debug, Subcommand)]
enum Below {
    /// Let the daemon do a task of the plan now
    Run(Run),
    /// Stop a job: one that waits at once, one that runs at its next safe point
    Cancel(Cancel),
}

/// The arguments of `lifeboat jobs run`.
#[derive(Debug, Args)]
struct Run {
    /// Do this: backup:SCHEDULE, capture:ASSET, catch-up:TIER, verification:TIER, restore-test:NAME, drill:NAME, retention
    /// or delivery
    #[arg(value_name = "TASK")]
    task: Task,
    /// Wait until it is done, and end as it does
    #[arg(long)]
    wait: bool,
}

/// The arguments of `lifeboat jobs cancel`.
#[derive(Debug, Args)]
struct Cancel {
    /// Stop the job with this id
    #[arg(value_name = "JOB")]
    job: JobId,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(JobsReport);

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.jobs/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self(report) = self;
        write_daemon(report, page)?;
        if let Some(pause) = &report.pause {
            let word = page.paint.warning("paused");
            let until = time::instant(pause.until);
            writeln!(page, "{word} until {until} by {}: {}", pause.by, pause.why)?;
        }
        if !report.jobs.is_empty() || !report.ended.is_empty() {
            writeln!(page)?;
            page.table(&jobs(report));
        }
        if !report.next.is_empty() {
            writeln!(page)?;
            page.table(&next(&report.next));
        }
        Ok(())
    }
}

fn write_daemon(report: &JobsReport, page: &mut Page) -> fmt::Result {
    let Some(served) = &report.daemon else {
        let word = page.paint.bad("no daemon runs");
        return writeln!(page, "{word}: nothing is done by itself (lifeboat serve)");
    };
    let (word, since) = (page.paint.good("running"), time::ago(served.since, report.now));
    writeln!(page, "{word} as process {}, started {since}", served.process)?;
    for watched in &served.watched {
        write_watched(watched, report.now, page)?;
    }
    if let Some(trouble) = &served.trouble {
        let word = page.paint.bad("the plan on disk does not hold");
        writeln!(page, "{word}, so the one before stays: {trouble}")?;
    } else if served.plan != report.plan {
        let word = page.paint.warning("another plan");
        writeln!(page, "{word} is in force than the one on disk (lifeboat reload)")?;
    }
    Ok(())
}

fn write_watched(watched: &Watched, now: Timestamp, page: &mut Page) -> fmt::Result {
    write!(page, "watching {}: ", watched.asset)?;
    match (watched.is_changed, watched.unchanged.or(watched.captured)) {
        (true, _) => write!(page, "{}", page.paint.warning("changed, not captured yet"))?,
        (false, Some(seen)) => write!(page, "as it was captured, seen {}", time::ago(seen, now))?,
        (false, None) => write!(page, "not looked at yet")?,
    }
    match &watched.blind {
        Some(why) => writeln!(page, "; {}: {why}", page.paint.warning("found by looking only")),
        None => writeln!(page),
    }
}

fn state(job: &Job) -> Cell {
    match (job.state, job.ending) {
        (JobState::Failed, Some(ending)) => Cell::new(ending.to_string(), tone_of(ending)),
        (JobState::Succeeded, _) => Cell::new("succeeded", Tone::Good),
        (JobState::Lost, _) => Cell::new("lost", Tone::Bad),
        (other, _) => Cell::new(other.to_string(), Tone::Aside),
    }
}

fn jobs(report: &JobsReport) -> Table {
    let mut table = Table::new(["Job", "What", "State", "Asked by", "Began", ">Took", "Why"]);
    for job in report.jobs.iter().chain(&report.ended) {
        let dash = || Cell::new("-", Tone::Aside);
        let took = job.started.zip(job.ended).map(|(started, ended)| {
            std::time::Duration::try_from(ended.duration_since(started)).unwrap_or_default()
        });
        let missed = match job.missed {
            0 => None,
            count => Some(format!("makes up for {count} more")),
        };
        let why = job.message.clone().or(missed);
        table.row([
            job.id.to_string().into(),
            job.work.to_string().into(),
            state(job),
            job.asked_by.as_deref().unwrap_or("the plan").into(),
            job.started.map_or_else(dash, |at| time::instant(at).into()),
            took.map_or_else(dash, |took| time::duration(took).into()),
            why.map_or_else(dash, Into::into),
        ]);
    }
    table
}

fn next(runs: &[NextRun]) -> Table {
    let mut table = Table::new(["Next", "What", "Held"]);
    for NextRun { task, at, attempt, held } in runs {
        let again = (*attempt > 1).then(|| format!("attempt {attempt} of {TRIES_MAX}"));
        let held = held.as_ref().map(ToString::to_string).or(again).unwrap_or_default();
        table.row([time::instant(*at).into(), task.to_string().into(), held.into()]);
    }
    table
}

#[derive(Serialize)]
struct One {
    job: Job,
}

impl Answer for One {
    const SCHEMA: &'static str = "lifeboat.job/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let job = &self.job;
        write!(page, "{}: {}: {}", job.id, job.work, job.state)?;
        match &job.message {
            Some(why) => writeln!(page, ": {why}"),
            None => writeln!(page),
        }
    }
}

impl Jobs {
    /// Shows the jobs; ends with 4 when no daemon runs, so that nothing is done by itself.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.command {
            Some(Below::Run(command)) => command.run(session),
            Some(Below::Cancel(Cancel { job })) => cancel(job, session),
            None => {
                let site = session.site()?;
                let served = daemon::find(&site, session).map(|found| found.served);
                let exit = if served.is_some() { Exit::Done } else { Exit::CouldNotVerify };
                session.end(&Shown(jobs_report(&site, served, self.last)?), exit)
            }
        }
    }
}

impl Run {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let work = Work::Task { task: self.task };
        if !self.wait {
            return match daemon::ask(&site, session, &Ask::Run { work, waits: Waits::No })? {
                Reply::Queued { job } => session.done(&One { job }),
                _ => Err(unexpected()),
            };
        }
        let found = daemon::find(&site, session)
            .ok_or_else(|| CommandError::NoDaemon { site: site.name().to_string() })?;
        let ended = daemon::do_and_wait(&found, work, session)?;
        let exit = ended.job.ending.map_or(Exit::Failed, Ending::exit);
        session.end(&One { job: ended.job }, exit)
    }
}

fn cancel(job: JobId, session: &Session) -> Result<Exit, Failure> {
    match daemon::ask_in_force(session, &Ask::Cancel { job })? {
        Reply::Job { job } => session.done(&One { job }),
        _ => Err(unexpected()),
    }
}

pub(super) fn unexpected() -> Failure {
    let message = "the daemon gave another answer than was asked for".to_owned();
    let hint = Some("restart it: it may be of another version".to_owned());
    CommandError::Daemon { message, hint, exit: Exit::Failed }.into()
}
