//! What a check of a repository found, for every command that checks some.

use std::fmt::{self, Write as _};

use lifeboat_model::{Exit, Outcome};
use lifeboat_repository::check::{Finding, Severity};

use super::{LINES_SHOWN, Page, Tone};

/// Writes the first findings, each with what it costs and what to do about it.
pub fn findings(findings: &[Finding], page: &mut Page) -> fmt::Result {
    for finding in findings.iter().take(LINES_SHOWN) {
        let (word, tone) = match finding.severity {
            Severity::Error => ("damaged", Tone::Bad),
            Severity::Unverified => ("not verified", Tone::Warning),
            Severity::Hint => ("note", Tone::Aside),
        };
        let word = page.paint.tone(tone, word);
        writeln!(page, "{word}: {}: {}", finding.object, finding.problem)?;
        for affected in &finding.affected {
            writeln!(page, "    costs {affected}")?;
        }
        if finding.affected_more > 0 {
            writeln!(page, "    and {} more", finding.affected_more)?;
        }
        if let Some(hint) = &finding.hint {
            let word = page.paint.good("hint");
            writeln!(page, "    {word}: {hint}")?;
        }
    }
    page.left_out(findings.len(), 0)
}

/// Returns how a command ends whose answer is an outcome.
pub const fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Passed => Exit::Done,
        Outcome::CouldNotVerify => Exit::CouldNotVerify,
        Outcome::Failed => Exit::Failed,
    }
}
