//! Questions to whoever drives: what waits for a person is asked where they sit. Whoever answers elsewhere is as good, and ends
//! the question.
//!
//! A question stands apart from the run: other steps go on while it waits, and what is answered is written into the
//! journal as `recover confirm` and `recover approve` do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use lifeboat_model::{Cancel, StepName};
use lifeboat_ops::Site;
use lifeboat_ops::procedure::conduct;
use lifeboat_ops::procedure::people::person;
use lifeboat_ops::procedure::report::StepReport;
use lifeboat_runbook::{Command, Entry, Fact, Run, Witness};

use super::lines::{Lines, Live};
use crate::failure::Failure;
use crate::prompt::Terminal;
use crate::screen;
use crate::session::Session;
use crate::surroundings;

/// Tells of a run, and lets its questions be asked.
#[derive(Debug)]
pub(super) struct Driving<'l> {
    lines: &'l Lines,
    asked: Mutex<Option<Sender<StepName>>>,
    open: &'l OpenQuestion,
}

/// The question that stands at the terminal.
#[derive(Debug, Default)]
pub(super) struct OpenQuestion(Mutex<Option<(StepName, Cancel)>>);

impl OpenQuestion {
    fn begin(&self, step: &StepName, cancel: &Cancel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((step.clone(), cancel.clone()));
    }

    /// Takes the question back if it is about a step, or any.
    fn withdraw(&self, about: Option<&StepName>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|(step, _)| about.is_none_or(|about| about == step))
            && let Some((_, cancel)) = open.take()
        {
            cancel.cancel();
        }
    }
}

impl<'l> Driving<'l> {
    /// Begins to tell, and returns whom to ask about what.
    pub(super) fn new(lines: &'l Lines, open: &'l OpenQuestion) -> (Self, Receiver<StepName>) {
        let (sender, receiver) = channel();
        (Self { lines, asked: Mutex::new(Some(sender)), open }, receiver)
    }

    /// Ends the asking: the run is over, or nobody drives it any more.
    pub(super) fn end(&self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.open.withdraw(None);
    }

    /// Has a step asked about.
    pub(super) fn ask(&self, step: &StepName) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody asks where no terminal is.
        _ = asked.as_ref().map(|asked| asked.send(step.clone()));
    }
}

impl Witness for Driving<'_> {
    fn saw(&self, run: &Run, entry: &Entry) {
        self.lines.saw(run, entry);
        match &entry.fact {
            Fact::Asked { step } => self.ask(step),
            Fact::Confirmed { step, .. }
            | Fact::Approved { step, .. }
            | Fact::Declined { step, .. }
            | Fact::Skipped { step, .. } => self.open.withdraw(Some(step)),
            Fact::Aborted { .. } | Fact::Finished { .. } => self.open.withdraw(None),
            _ => {}
        }
    }
}

/// Asks at the terminal.
pub(super) struct Asker<'a> {
    pub(super) site: &'a Site,
    pub(super) session: &'a Session,
    pub(super) lines: &'a Lines,
    pub(super) open: &'a OpenQuestion,
}

impl Asker<'_> {
    /// Tells whether somebody sits here who can be asked.
    pub(super) fn is_somebody_there(session: &Session) -> bool {
        let is_talkative = !session.global.json && !session.global.quiet;
        is_talkative && Terminal::open(&session.cancel).is_some()
    }

    /// Asks about one step after the other, until no more come.
    pub(super) fn run(&self, steps: &Receiver<StepName>) {
        for step in steps {
            match self.about(&step) {
                Ok(()) => {}
                Err(_) if self.session.cancel.is_cancelled() => return,
                Err(failure) => screen::talk(&format!("{}\n", failure.error())),
            }
        }
    }

    /// Asks about a step that still waits; what nobody answers here is left to others.
    fn about(&self, step: &StepName) -> Result<(), Failure> {
        let report = conduct::show(self.site)?;
        let waiting = report.steps.into_iter().find(|known| known.step == *step);
        let Some(waiting) = waiting.filter(|known| known.waits_for.is_some()) else {
            return Ok(());
        };
        let cancel = Cancel::part_of(&[&self.session.cancel]);
        let Some(terminal) = Terminal::open(&cancel) else { return Ok(()) };
        self.open.begin(step, &cancel);
        self.lines.turn(Live::Hushed);
        let answered = Question { terminal: &terminal, step: &waiting }.ask();
        self.lines.turn(Live::Shown);
        self.open.withdraw(Some(step));
        let command = match answered {
            Ok(Some(command)) => command,
            Ok(None) => {
                screen::talk(&format!("{step} is left to others\n"));
                return Ok(());
            }
            // Somebody else answered meanwhile.
            Err(_) if cancel.is_cancelled() && !self.session.cancel.is_cancelled() => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let whoever = person(self.site.plan(), &surroundings::login());
        conduct::say(self.site, &command, &whoever)?;
        Ok(())
    }
}

/// A question about one step.
struct Question<'a> {
    terminal: &'a Terminal,
    step: &'a StepReport,
}

impl Question<'_> {
    fn ask(&self) -> Result<Option<Command>, Failure> {
        let is_approval = self.step.commands.iter().any(|command| command.contains(" approve "));
        let asks = self.step.asks.as_deref().unwrap_or_default();
        let whom = self.step.waits_for.as_deref().unwrap_or("anybody");
        self.terminal.show(&format!("\n{} waits for {whom}: {asks}\n", self.step.step))?;
        if is_approval { self.approval() } else { self.confirmation() }
    }

    fn approval(&self) -> Result<Option<Command>, Failure> {
        let answer = self
            .terminal
            .ask("`yes` or `no`, with a reason behind it; Enter leaves it to others: ")?;
        let (word, rest) = split(&answer);
        let (step, terminal) = (self.step.step.clone(), self.terminal);
        Ok(match word {
            "yes" => Some(Command::Approve { step, note: reason(terminal, rest, "why: ")? }),
            "no" => Some(Command::Decline { step, why: reason(terminal, rest, "why not: ")? }),
            _ => None,
        })
    }

    fn confirmation(&self) -> Result<Option<Command>, Failure> {
        for point in &self.step.checklist {
            let answer = self
                .terminal
                .ask(&format!("  [ ] {point}: `yes`, or Enter leaves it to others: "))?;
            if split(&answer).0 != "yes" {
                return Ok(None);
            }
        }
        let answer =
            self.terminal.ask("`done`, with a note behind it; Enter leaves it to others: ")?;
        let (word, note) = split(&answer);
        let (step, note) = (self.step.step.clone(), note.to_owned());
        let ticked = self.step.checklist.clone();
        Ok((word == "done").then_some(Command::Confirm { step, note, ticked }))
    }
}

/// Who says yes or no has a reason, and is asked for one that was not given.
pub(in crate::commands) fn reason(
    terminal: &Terminal,
    given: &str,
    question: &str,
) -> Result<String, Failure> {
    if given.is_empty() { terminal.ask(question) } else { Ok(given.to_owned()) }
}

/// Splits an answer into its first word and the rest.
pub(in crate::commands) fn split(answer: &str) -> (&str, &str) {
    let answer = answer.trim();
    let (word, rest) = answer.split_once(char::is_whitespace).unwrap_or((answer, ""));
    (word, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_and_what_is_behind_it() {
        assert_eq!(split(" done  server 4711 \n"), ("done", "server 4711"));
        assert_eq!(split("yes"), ("yes", ""));
        assert_eq!(split(""), ("", ""));
    }

    #[test]
    fn a_question_that_was_answered_elsewhere_ends_and_another_stays() {
        let (open, cancel) = (OpenQuestion::default(), Cancel::new());
        let (asked, other): (StepName, StepName) =
            ("look".parse().unwrap(), "agree".parse().unwrap());
        open.begin(&asked, &cancel);
        open.withdraw(Some(&other));
        assert!(!cancel.is_cancelled());
        open.withdraw(Some(&asked));
        assert!(cancel.is_cancelled());
    }
}
