//! What is wrong with a plan, where, and what to do about it; shown as text or as JSON.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::redact::Redactions;
use crate::source::{Sources, Span};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The plan cannot be used.
    Error,
    /// The plan can be used, and would disappoint.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Whether text for a person carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Always,
    /// For a file, a pipe, a test.
    Never,
}

/// One thing to say about a plan; complete in itself, so it can be shown without the files.
///
/// No field repeats a secret: the source line is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name of the rule.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The file as it was named when it was read.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line's text.
    pub text: String,
    /// Which bytes of `text` are meant.
    pub covers: (usize, usize),
    /// A few words at the caret.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Tells whether the plan cannot be used because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Writes it for a person: the message, the place, the line with a caret, the fix.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Always => Renderer::styled(),
            Colour::Never => Renderer::plain(),
        };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let origin = format!("{}:{}:{}", self.file, self.line, self.column);
        let annotation =
            AnnotationKind::Primary.span(self.covers.0..self.covers.1).label(self.label.as_deref());
        let snippet = Snippet::source(self.text.as_str())
            .line_start(self.line)
            .path(self.file.as_str())
            .annotation(annotation);
        let group = level.primary_title(self.message.as_str()).id(self.code);
        let group = if self.text.is_empty() {
            group.element(Origin::path(origin))
        } else {
            group.element(snippet)
        };
        let group = match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

/// A diagnostic whose place is still a span.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) span: Span,
    pub(crate) label: Option<String>,
    pub(crate) help: Option<String>,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self { severity, code, message: message.into(), span, label: None, help: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn locate(self, sources: &Sources, redactions: &Redactions) -> Diagnostic {
        let file = sources.get(self.span.file);
        let line = file.line(&self.span.bytes);
        Diagnostic {
            severity: self.severity,
            code: self.code,
            message: self.message,
            file: file.path.clone(),
            line: line.number,
            column: line.column,
            text: redactions.mask(self.span.file, &file.text, line.bytes.clone()),
            covers: (line.covered.start, line.covered.end),
            label: self.label,
            help: self.help,
        }
    }
}

/// Turns findings into diagnostics, in the order of the files and of their lines.
pub(crate) fn locate_all(
    mut findings: Vec<Finding>,
    sources: &Sources,
    redactions: &Redactions,
) -> Vec<Diagnostic> {
    findings.sort_by_key(|f| (f.span.file, f.span.bytes.start, f.severity, f.code));
    findings.dedup_by(|a, b| (&a.span, a.code, &a.message) == (&b.span, b.code, &b.message));
    findings.into_iter().map(|finding| finding.locate(sources, redactions)).collect()
}
