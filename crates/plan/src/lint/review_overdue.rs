//! A plan that nobody looked at for too long.

use jiff::tz::TimeZone;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;

pub(super) const RULE: Rule =
    Rule { code: "review-overdue", severity: Severity::Warning, needs_whole: false, check };

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    overdue(inputs).into_iter().collect()
}

fn overdue(inputs: &Inputs<'_>) -> Option<Problem> {
    let about = inputs.document.plan.0.as_ref()?;
    let (updated, period) = (about.updated?, about.review_every?);
    let due = period.after(updated);
    let today = TimeZone::UTC.to_datetime(inputs.now).date();
    (today > due).then(|| {
        let message = format!("the plan's review has been due since {due}");
        Problem::at_value(place!["plan", "updated"], message)
            .label(format!("reviewed every {period}"))
            .help("go through the plan with its people, then set `updated` to that day")
    })
}
