//! The operator of a drill, who answers at a terminal what its steps ask.

use lifeboat_ops::Site;
use lifeboat_ops::drill::{Answer, Asked, People};
use lifeboat_ops::procedure::people::person;
use lifeboat_runbook::{Command, Person};

use crate::commands::recover::questions::{reason, split};
use crate::prompt::Terminal;
use crate::surroundings;

/// What the operator types to have a step noted as simulated.
const SIMULATE: &str = "s";

/// Asks at a terminal.
#[derive(Debug)]
pub(super) struct AtTerminal {
    terminal: Terminal,
    person: Person,
}

impl AtTerminal {
    pub(super) fn new(terminal: Terminal, site: &Site) -> Self {
        Self { terminal, person: person(site.plan(), &surroundings::login()) }
    }

    fn may(&self, by: &str) -> bool {
        self.person.rights.contains(by)
    }
}

impl People for AtTerminal {
    fn answer(&self, asked: &Asked) -> Answer {
        let Asked { step, text, checklist, by } = asked;
        // What is for somebody else to say, nobody says here.
        if by.as_ref().is_some_and(|by| !self.may(by)) {
            return Answer::Simulated;
        }
        let points = checklist.iter().map(|point| format!("    [ ] {point}\n"));
        let points = points.collect::<Vec<_>>().concat();
        let how =
            if by.is_some() { "y yes and why, n no" } else { "Enter or a note once it is done" };
        let question = format!("{step}: {text}\n{points}({how}, {SIMULATE} simulate) ");
        // Whoever pressed Ctrl-C stops the drill, and answers nothing.
        let Ok(typed) = self.terminal.ask(&question) else { return Answer::Simulated };
        let (typed, step) = (typed.trim().to_owned(), step.clone());
        let (word, why) = split(&typed);
        let command = match (word, by) {
            (SIMULATE, _) if why.is_empty() => return Answer::Simulated,
            ("y" | "yes", Some(_)) => {
                let Ok(note) = reason(&self.terminal, why, "why: ") else {
                    return Answer::Simulated;
                };
                Command::Approve { step, note }
            }
            (_, Some(_)) => Command::Decline { step, why: format!("the operator said `{typed}`") },
            (_, None) => Command::Confirm { step, note: typed, ticked: checklist.clone() },
        };
        Answer::Said(command, self.person.clone())
    }
}
