//! From texts to a plan, or to everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::{AssetName, ScenarioName, Timestamp};
use toml::de::DeTable;

use crate::decode::{Context, Fields};
use crate::diagnostic::{Diagnostic, Finding, Severity, locate_all};
use crate::document::Document;
use crate::lint;
use crate::place::{Path, Places, place};
use crate::plan::Plan;
use crate::plan::runbook::Runbook;
use crate::redact::Redactions;
use crate::source::{FileError, FileId, Files, SourceFile, Sources, Span};
use crate::table::Table;
use crate::value::path::PlanPath;

/// What is known about the machine and its past; more of it lets the lint see more.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The data directories of the PostgreSQL servers on this machine.
    pub data_directories: Vec<PathBuf>,
    /// How long a backup of each asset usually takes.
    pub usual_durations: BTreeMap<AssetName, Duration>,
}

/// A plan that can be used, with what is still worth saying about it.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The plan.
    pub plan: Plan,
    /// Warnings and notes, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that it was read from, the plan's first.
    pub sources: Vec<SourceFile>,
    /// The assets in the order in which they stand in the plan: what comes back first stands first.
    pub assets_as_written: Vec<AssetName>,
}

/// A plan that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan has {}", count(.diagnostics.iter().filter(|d| d.is_error()).count()))]
pub struct Rejected {
    /// All that was found, in the order of the files; at least one is an error.
    pub diagnostics: Vec<Diagnostic>,
}

fn count(errors: usize) -> String {
    if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") }
}

impl lifeboat_model::Classify for Rejected {
    fn kind(&self) -> lifeboat_model::ErrorKind {
        lifeboat_model::ErrorKind::Config
    }
}

/// Reads, checks and resolves a plan. Every mistake is reported, not only the first.
pub fn load(
    plan: SourceFile,
    files: &dyn Files,
    facts: &Facts,
    now: Timestamp,
) -> Result<Checked, Rejected> {
    let mut loading = Loading::default();
    let file = loading.sources.add(plan);
    let document: Option<Document> = loading.read(file, Path::default());
    let runbooks = document.as_ref().map(|document| loading.runbooks(document, files));
    let resolved = document.zip(runbooks).and_then(|(document, runbooks)| {
        let whole = loading.findings.is_empty();
        let places = &loading.places;
        let inputs = lint::Inputs {
            document: &document,
            runbooks: &runbooks,
            places,
            facts,
            now,
            whole,
            intervals: lint::Intervals::default(),
        };
        loading.findings.extend(lint::run(&inputs));
        Plan::resolve(document, runbooks)
    });
    let diagnostics = locate_all(loading.findings, &loading.sources, &loading.redactions);
    match resolved {
        Some(plan) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(Checked {
            assets_as_written: as_written(&plan, &loading.places),
            plan,
            diagnostics,
            sources: loading.sources.into_files(),
        }),
        _ => Err(Rejected { diagnostics }),
    }
}

/// Returns the assets in the order of their places.
fn as_written(plan: &Plan, places: &Places) -> Vec<AssetName> {
    let mut assets: Vec<_> = plan.assets().keys().cloned().collect();
    let start = |asset: &AssetName| places.key(&place!["assets", asset]).map(|key| key.bytes.start);
    assets.sort_by_key(start);
    assets
}

#[derive(Debug, Default)]
struct Loading {
    sources: Sources,
    places: Places,
    findings: Vec<Finding>,
    redactions: Redactions,
}

impl Loading {
    /// Reads a whole file as one table.
    fn read<T: Table>(&mut self, file: FileId, path: Path) -> Option<T> {
        let source = self.sources.get(file);
        self.redactions.scan(file, source);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let broken: Vec<_> = errors.iter().map(|error| syntax_error(file, source, error)).collect();
        let top = Span { file, bytes: 0..0 };
        self.places.set(path.clone(), top.clone(), top);
        let mut findings = Vec::new();
        let mut cx = Context {
            file,
            path,
            places: &mut self.places,
            findings: &mut findings,
            redactions: &mut self.redactions,
        };
        let mut fields = Fields::of_table(table.get_ref(), 0..0);
        let decoded = T::read(&mut fields, &mut cx);
        fields.finish(&T::keys(), &mut cx);
        findings.retain(|finding| !follows_from(finding, &broken, source));
        self.findings.extend(broken);
        self.findings.extend(findings);
        decoded
    }

    /// Reads the runbooks that the scenarios name.
    fn runbooks(&mut self, document: &Document, files: &dyn Files) -> BTreeMap<PlanPath, Runbook> {
        let mut runbooks = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (name, scenario) in &document.scenarios {
            let path = &scenario.runbook;
            if !seen.insert(path) {
                continue;
            }
            match files.text(path.as_str()) {
                Ok(text) => {
                    let file = self.sources.add(SourceFile { path: path.to_string(), text });
                    let runbook = self.read(file, lint::runbook_path(path));
                    runbooks.extend(runbook.map(|runbook| (path.clone(), runbook)));
                }
                Err(error) => self.report_unreadable(name, path, &error),
            }
        }
        runbooks
    }

    fn report_unreadable(&mut self, scenario: &ScenarioName, path: &PlanPath, error: &FileError) {
        let place = place!["scenarios", scenario, "runbook"];
        let Some(span) = self.places.value(&place).cloned() else { return };
        let message = format!("the runbook `{path}` cannot be had: {error}");
        let finding = Finding::new(Severity::Error, "unreadable-runbook", span, message)
            .label("named here")
            .help("the path is relative to the plan's folder");
        self.findings.push(finding);
    }
}

fn syntax_error(file: FileId, source: &SourceFile, error: &toml::de::Error) -> Finding {
    let end = source.text.len();
    let bytes = error.span().unwrap_or(end..end);
    let duplicate = error.message().starts_with("duplicate key");
    let code = if duplicate { "duplicate-key" } else { "syntax" };
    let finding = Finding::new(Severity::Error, code, Span { file, bytes }, error.message());
    if duplicate {
        finding.label("written before").help("write each key and each table once")
    } else {
        finding
    }
}

/// Tells whether a mistake only follows from broken syntax: it is on the same line, or speaks of
/// something that the parser may have dropped.
fn follows_from(finding: &Finding, broken: &[Finding], source: &SourceFile) -> bool {
    let line = |finding: &Finding| source.line(&finding.span.bytes).number;
    let dropped = matches!(finding.code, "missing-key" | "missing-kind");
    broken.iter().any(|broken| line(broken) == line(finding))
        || (dropped && broken.iter().any(|broken| broken.code == "syntax"))
}
