//! An error for a person (`error:`, `caused by:`, `hint:`) and for a program (`lifeboat.error/1`).

use std::error::Error;
use std::fmt::Write as _;

use lifeboat_model::{ErrorCode, ErrorKind, Hint};
use lifeboat_plan::Diagnostic;
use serde::Serialize;

use super::{Paint, diagnostic, document};
use crate::failure::Failure;

/// The longest chain of causes that is shown; a longer one is a loop.
const CAUSES_MAX: usize = 16;

/// The shape of the document that stands in an answer's place when there is none.
pub const SCHEMA: &str = "lifeboat.error/1";

#[derive(Serialize)]
struct Report<'a> {
    error: String,
    causes: Vec<String>,
    kind: ErrorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Hint>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    diagnostics: &'a [Diagnostic],
    exit: u8,
}

/// Writes an error for a person.
pub fn text(failure: &Failure, paint: Paint) -> String {
    let error = failure.error();
    let mut page = String::new();
    for diagnostic in failure.diagnostics() {
        _ = writeln!(page, "{}\n", diagnostic::text(diagnostic, paint));
    }
    let code = error.code().map(|code| format!("[{code}]")).unwrap_or_default();
    _ = writeln!(page, "{}: {error}", paint.bad(&format!("error{code}")));
    let causes = causes(error);
    for (index, cause) in causes.iter().enumerate() {
        let number = if causes.len() > 1 { format!(" {}", index + 1) } else { String::new() };
        _ = writeln!(page, "{}: {cause}", paint.strong(&format!("caused by{number}")));
    }
    if let Some(hint) = error.hint() {
        _ = writeln!(page, "{}: {hint}", paint.good("hint"));
    }
    page
}

/// Writes an error as a JSON document.
pub fn json(failure: &Failure) -> String {
    let error = failure.error();
    let report = Report {
        error: error.to_string(),
        causes: causes(error),
        kind: error.kind(),
        code: error.code(),
        hint: error.hint(),
        diagnostics: failure.diagnostics(),
        exit: error.exit().code(),
    };
    document(SCHEMA, &report).expect("a report holds nothing but texts, which always serialise")
}

/// Collects what lies below an error; a cause that only repeats the text above it is left out.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut above = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
        let text = cause.to_string();
        if text != above {
            causes.push(text.clone());
        }
        above = text;
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::CommandError;
    use std::io;

    fn unreadable() -> Failure {
        Failure::from(CommandError::File {
            action: "read",
            path: "/etc/lifeboat/recovery.key".to_owned(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        })
    }

    #[test]
    fn a_person_reads_error_cause_and_hint() {
        assert_eq!(
            text(&unreadable(), Paint::Plain),
            "error: cannot read /etc/lifeboat/recovery.key\ncaused by: permission denied\n"
        );
        let hinted = CommandError::usage("neither --to nor --in-place was given", "add `--to DIR`");
        assert_eq!(
            text(&hinted.into(), Paint::Plain),
            "error: neither --to nor --in-place was given\nhint: add `--to DIR`\n"
        );
    }

    #[test]
    fn a_program_reads_kind_and_exit_code() {
        insta::assert_snapshot!(json(&unreadable()), @r#"
        {
          "schema": "lifeboat.error/1",
          "causes": [
            "permission denied"
          ],
          "error": "cannot read /etc/lifeboat/recovery.key",
          "exit": 1,
          "kind": "denied"
        }
        "#);
    }
}
