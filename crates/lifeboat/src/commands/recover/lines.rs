//! A run while it is driven: a line for each thing that happens, and on a terminal below them one that lives, with
//! what is under way, what comes next, who is waited for, and the time that has passed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lifeboat_model::Timestamp;
use lifeboat_runbook::entry::{AttemptEnding, Found};
use lifeboat_runbook::{Entry, Fact, Run, Stand, Task, Witness};

use crate::render::time;
use crate::screen::Screen;

/// How often the line that lives is drawn anew while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// How many steps to come are named.
const NEXT_MAX: usize = 3;

/// Tells of a run.
#[derive(Debug)]
pub(in crate::commands) struct Lines {
    screen: Screen,
    live: Option<ProgressBar>,
}

/// Whether the line that lives is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    /// It is.
    Shown,
    /// Somebody is asked where it stands.
    Hushed,
}

impl Lines {
    /// Tells of a run that may take so long.
    pub(in crate::commands) fn new(screen: &Screen, rto: Option<Duration>) -> Self {
        let live = screen.draws_progress().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{spinner} {elapsed_precise}{prefix} {wide_msg}");
            let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            let allowed = rto.map(|rto| format!(" of {} (RTO)", time::duration(rto)));
            bar.set_prefix(allowed.unwrap_or_default());
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { screen: screen.clone(), live }
    }

    /// Draws the line that lives, or makes room for a question.
    pub(super) fn turn(&self, live: Live) {
        if let Some(bar) = &self.live {
            bar.set_draw_target(match live {
                Live::Shown => ProgressDrawTarget::stderr(),
                Live::Hushed => ProgressDrawTarget::hidden(),
            });
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

impl Witness for Lines {
    fn saw(&self, run: &Run, entry: &Entry) {
        let line = format!("{}  {}", clock(entry.time), said(run, entry));
        match &self.live {
            None => self.screen.remark(&line),
            Some(bar) => {
                // One that is hidden, also since the terminal can draw nothing, would swallow what is written above it.
                if bar.is_hidden() {
                    self.screen.remark(&line);
                } else {
                    bar.println(line);
                }
                let passed = entry.time.duration_since(run.declared());
                bar.set_elapsed(Duration::try_from(passed).unwrap_or_default());
                bar.set_message(summary(run));
            }
        }
    }
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// Says what is under way, who is waited for, and what comes next.
fn summary(run: &Run) -> String {
    let names = |wanted: &dyn Fn(&Stand) -> bool| {
        let steps = run.steps().filter(|(_, course)| wanted(&course.stand));
        steps.map(|(step, _)| step.name.to_string()).collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    let running = names(&|stand| matches!(stand, Stand::Running { .. }));
    if !running.is_empty() {
        parts.push(running.join(", "));
    }
    let asked = names(&|stand| matches!(stand, Stand::Asked { .. }));
    if !asked.is_empty() {
        parts.push(format!("waiting for people at {}", asked.join(", ")));
    }
    let mut next = names(&|stand| matches!(stand, Stand::Waiting));
    next.truncate(NEXT_MAX);
    if !next.is_empty() {
        parts.push(format!("next {}", next.join(", ")));
    }
    parts.join(" · ")
}

/// Says what an entry tells.
fn said(run: &Run, entry: &Entry) -> String {
    match &entry.fact {
        Fact::Began(began) => format!("{} is declared", began.run),
        Fact::Taken { by } => format!("driven by {by}"),
        Fact::Started { step, attempt: 1 } => format!("{step}: begins"),
        Fact::Started { step, attempt } => format!("{step}: begins, attempt {attempt}"),
        Fact::Ended { step, ending } => {
            let since = run.step(step).and_then(|(_, course)| course.begun);
            let took = since.map(|(_, since)| entry.time.duration_since(since));
            let took = took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default();
            match ending {
                AttemptEnding::Done { .. } => format!("{step}: done in {}", time::duration(took)),
                AttemptEnding::Failed(failure) => format!("{step}: failed: {}", failure.why),
                AttemptEnding::Stopped => format!("{step}: stopped"),
            }
        }
        Fact::Found { step, found } => match found {
            Found::Done { .. } => format!("{step}: was done when its process ended"),
            Found::NotDone { why } => format!("{step}: was not done: {why}"),
            Found::Unclear { why } => format!("{step}: nobody can tell whether it is done: {why}"),
        },
        Fact::LeftOut { step, why } => format!("{step}: left out: {why}"),
        Fact::Asked { step } => match run.step(step).map(|(step, _)| &step.task) {
            Some(Task::Approve { by }) => {
                format!("{step}: waits for {by}: `lifeboat recover approve {step} --reason WHY`")
            }
            _ => format!("{step}: waits for a person: `lifeboat recover confirm {step}`"),
        },
        Fact::Confirmed { step, by, .. } => format!("{step}: confirmed by {by}"),
        Fact::Approved { step, by, right, .. } => format!("{step}: approved by {by} ({right})"),
        Fact::Declined { step, by, why } => format!("{step}: {by} said no: {why}"),
        Fact::Elapsed { step } => format!("{step}: the time is over"),
        Fact::Paused { by, .. } => format!("paused by {by}"),
        Fact::Resumed { by } => format!("resumed by {by}"),
        Fact::Retried { step, by } => format!("{step}: to be tried again, says {by}"),
        Fact::Skipped { step, by, why } => format!("{step}: skipped by {by}: {why}"),
        Fact::Aborted { by, why } => format!("aborted by {by}: {why}"),
        Fact::UndoStarted { step } => format!("{step}: is being undone"),
        Fact::UndoEnded { step, failure: None } => format!("{step}: undone"),
        Fact::UndoEnded { step, failure: Some(failure) } => {
            format!("{step}: cannot be undone: {}", failure.why)
        }
        Fact::Finished { outcome } => outcome.to_string(),
    }
}
