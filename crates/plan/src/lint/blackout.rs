//! A blackout that never ends, so that nothing is ever begun.

use lifeboat_model::Timestamp;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "endless-blackout", severity: Severity::Error, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let blackouts = inputs.document.blackouts.iter();
    let endless = blackouts.filter(|(_, blackout)| {
        let timetable = blackout.timetable();
        let begins = timetable.next_after(inputs.now);
        let end = begins.and_then(|at| timetable.covered_until(blackout.lasts.duration(), at));
        end == Some(Timestamp::MAX)
    });
    endless
        .map(|(name, blackout)| {
            let message = format!("the blackout `{name}` begins anew before it ends");
            Problem::at_value(place!["blackouts", name, "lasts"], message)
                .label(format!("longer than the time between two beginnings: {}", blackout.lasts))
                .help("let it last less long, or begin less often")
        })
        .collect()
}
