//! What is checked of a server that was recovered, one after the other.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lifeboat_model::{Cancel, Outcome, Timestamp};
use lifeboat_plan::plan::check::{Probe, SqlProbe};
use lifeboat_plan::value::expectation::Expectation;
use lifeboat_postgres::page::Checksums;
use lifeboat_postgres::verification::amcheck::{AmcheckReport, look_through};
use lifeboat_postgres::verification::directory::{
    DirectoryError, DirectoryReport, PageFinding, still_damaged,
};
use lifeboat_postgres::verification::naming::relation_of;
use lifeboat_postgres::verification::rows::DatabaseRows;
use lifeboat_postgres::verification::sql::{Answer, ask};
use lifeboat_postgres::{Conninfo, DatabaseName, PostgresError, Server};
use serde::{Deserialize, Serialize};

use super::super::sandbox::{Instance, Sandbox, milliseconds};
use super::counted::Counted;
use crate::error::{OpsError, explain};
use crate::wire::{Site, client_environment};

/// How many findings of a check are told; the others are counted.
const FINDINGS_MAX: usize = 20;

/// What the names of the plan's checks begin with, which others' do not.
pub const OF_PLAN: &str = "check ";

/// How long a question of the plan may take.
pub(crate) const QUESTION_MAX: Duration = Duration::from_mins(1);

/// What a check showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Which check: `files`, `pages`, `recovery`, `relations`, `rows`, or `check NAME` for one of the plan.
    pub name: String,
    /// What it showed.
    pub outcome: Outcome,
    /// What was looked at, or why nothing could be.
    pub message: String,
    /// What is wrong, the first ones of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// How much more is wrong.
    #[serde(default)]
    pub findings_more: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What a check showed, before it is named and timed.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    outcome: Option<Outcome>,
    message: String,
    findings: Vec<String>,
    more: u64,
}

impl Shown {
    pub(crate) fn passed(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        let outcome = Some(Outcome::CouldNotVerify);
        Self { outcome, message: message.into(), ..Self::default() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::Failed), message: message.into(), ..Self::default() }
    }

    /// Adds what is wrong.
    pub(crate) fn note(&mut self, outcome: Outcome, finding: impl FnOnce() -> String) {
        self.outcome = self.outcome.max(Some(outcome));
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn named(self, name: &str, duration_ms: u64) -> CheckResult {
        CheckResult {
            name: name.to_owned(),
            outcome: self.outcome.unwrap_or(Outcome::Passed),
            message: self.message,
            findings: self.findings,
            findings_more: self.more,
            duration_ms,
        }
    }
}

/// Checks that look at the running server, with what was found before it ran.
pub(super) struct Checks<'a> {
    pub(super) site: &'a Site,
    pub(super) sandbox: &'a Sandbox,
    pub(super) directory: &'a Result<DirectoryReport, DirectoryError>,
    /// How long that took, in milliseconds.
    pub(super) directory_ms: u64,
    pub(super) counted: &'a Result<Counted, String>,
    pub(super) cancel: &'a Cancel,
}

impl Checks<'_> {
    /// Runs all of them; what cannot be run could not verify.
    pub(super) fn all(&self) -> Result<Vec<CheckResult>, OpsError> {
        let server =
            self.sandbox.server(self.sandbox.superuser(), &DatabaseName::new("postgres"))?;
        let names = |path: &Path| self.name_of(&server, path);
        let mut results = vec![
            files(self.directory, &names).named("files", self.directory_ms),
            self.timed("pages", || self.pages(&server, &names))?,
            self.recovery(),
            self.timed("relations", || self.relations(&server))?,
            self.timed("rows", || self.rows(&server))?,
        ];
        let asset = &self.sandbox.report().preview.asset;
        let only = self.site.databases().count() == 1;
        for (name, probe) in self.site.plan().checks() {
            let Probe::Sql(probe) = probe else { continue };
            if probe.asset.as_ref().map_or(only, |named| named == asset) {
                let check = || self.question(&server, probe);
                results.push(self.timed(&format!("{OF_PLAN}{name}"), check)?);
            }
        }
        Ok(results)
    }

    fn now(&self) -> Timestamp {
        self.site.surroundings().now()
    }

    fn timed(
        &self,
        name: &str,
        check: impl FnOnce() -> Result<Shown, OpsError>,
    ) -> Result<CheckResult, OpsError> {
        self.cancel.check()?;
        let begun = self.now();
        let shown = check().unwrap_or_else(|error| Shown::unknown(explain(&error)));
        self.cancel.check()?;
        Ok(shown.named(name, milliseconds(begun, self.now())))
    }

    fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, OpsError> {
        Ok(self.site.surroundings().runtime.block_on(work)?)
    }

    /// Names a file by its relation too; where that cannot be told, its path has to do.
    fn name_of(&self, server: &Server, path: &Path) -> String {
        match self.block_on(relation_of(server, path)) {
            Ok(Some(relation)) => format!(" ({relation})"),
            Ok(None) | Err(_) => String::new(),
        }
    }

    fn pages(&self, server: &Server, name: &dyn Fn(&Path) -> String) -> Result<Shown, OpsError> {
        let report = match self.directory {
            Ok(report) => report,
            Err(error) => return Ok(Shown::unknown(explain(error))),
        };
        let Some(checksums) = report.checksums else {
            return Ok(Shown::unknown(
                "the control file does not tell whether pages have checksums",
            ));
        };
        let pages = report.pages;
        let mut shown = Shown::passed(match checksums {
            Checksums::On => format!("{pages} pages have their checksums"),
            Checksums::Off => {
                format!("the heads of {pages} pages make sense; the cluster has no checksums")
            }
        });
        let mut note = |finding: &PageFinding| {
            shown.note(Outcome::Failed, || format!("{finding}{}", name(&finding.path)));
        };
        report.page_findings.iter().for_each(&mut note);
        if !report.replayed.is_empty() {
            self.block_on(server.write_out())?;
            let again = still_damaged(&self.sandbox.data(), &report.replayed, checksums);
            let again = again.map_err(|source| OpsError::Io {
                action: "look again at pages of",
                path: self.sandbox.data(),
                source,
            })?;
            again.iter().for_each(&mut note);
        }
        shown.more += report.page_findings_more;
        if report.replayed_more > 0 {
            let more = report.replayed_more;
            shown.note(Outcome::CouldNotVerify, || {
                format!("{more} pages that the log repairs were not looked at again")
            });
        }
        Ok(shown)
    }

    fn recovery(&self) -> CheckResult {
        let report = self.sandbox.report();
        let mut shown = Shown::passed(match report.replayed {
            Some(lsn) => format!("the log was replayed up to {lsn}"),
            None => "the log was replayed".to_owned(),
        });
        if !report.is_promoted {
            shown.note(Outcome::Failed, || "the server takes no changes".to_owned());
        }
        shown.named("recovery", report.replayed_ms)
    }

    fn relations(&self, server: &Server) -> Result<Shown, OpsError> {
        let databases = self.block_on(server.all_databases())?;
        let mut found = AmcheckReport::default();
        for database in &databases {
            let mut report = self.block_on(look_through(server, database, self.cancel))?;
            for finding in &mut report.findings {
                finding.relation = format!("{} in {database}", finding.relation);
            }
            found.add(report);
        }
        let AmcheckReport { tables, indexes, findings } = found;
        let count = databases.len();
        let mut shown = Shown::passed(format!(
            "{tables} tables and {indexes} indexes of {count} databases hold together"
        ));
        for finding in findings {
            shown.note(Outcome::Failed, || format!("{}: {}", finding.relation, finding.message));
        }
        Ok(shown)
    }

    fn rows(&self, server: &Server) -> Result<Shown, OpsError> {
        let counted = match self.counted {
            Ok(counted) => counted,
            Err(why) => return Ok(Shown::unknown(why)),
        };
        let there: BTreeSet<_> = self.block_on(server.databases())?.into_iter().collect();
        let (mut tables, mut rows) = (0, 0);
        let mut shown = Shown::default();
        let mut left_out = Vec::new();
        for (database, is_exact) in counted.counts.databases.iter().zip(&counted.exact) {
            let name = &database.database;
            if let Some(why) = self.not_comparable(server, database, *is_exact)? {
                shown.note(Outcome::CouldNotVerify, || format!("{name}: {why}"));
                continue;
            }
            if !there.contains(name) {
                shown.note(Outcome::Failed, || format!("the database {name} is missing"));
                continue;
            }
            let comparison = self.block_on(database.compare(server))?;
            tables += comparison.tables;
            rows += comparison.rows;
            for difference in &comparison.differences {
                shown.note(Outcome::Failed, || format!("{name}: {difference}"));
            }
            let uncounted = database.uncounted.iter();
            left_out.extend(uncounted.map(|(table, why)| format!("{name}.{table} ({why})")));
        }
        let compared = format!("{tables} tables with {rows} rows are as they were counted");
        shown.message = match left_out.as_slice() {
            [] => compared,
            [only] => format!("{compared}; not counted at the backup: {only}"),
            [first, more @ ..] => {
                format!("{compared}; not counted at the backup: {first} and {} more", more.len())
            }
        };
        Ok(shown)
    }

    /// Says why a database is not exactly what was counted, though nothing may be wrong with it.
    fn not_comparable(
        &self,
        server: &Server,
        database: &DatabaseRows,
        is_exact: bool,
    ) -> Result<Option<String>, OpsError> {
        if !is_exact {
            return Ok(Some(
                "it was counted at another moment than the plan's database".to_owned(),
            ));
        }
        let committed = self.block_on(database.committed_unseen(server))?;
        Ok(committed
            .first()
            .map(|xid| format!("transaction {xid} was being committed when the rows were counted")))
    }

    fn question(&self, server: &Server, probe: &SqlProbe) -> Result<Shown, OpsError> {
        let database = match &probe.database {
            Some(name) => DatabaseName::new(name),
            None => self.plans_database()?,
        };
        let whom = (&database, probe.role.as_deref());
        let answer = ask_in(self.sandbox, server, self.site, whom, &probe.sql)?;
        Ok(judge(answer, probe.expect.as_ref()))
    }

    fn plans_database(&self) -> Result<DatabaseName, OpsError> {
        let asset = self.site.asset(&self.sandbox.report().preview.asset)?;
        let postgres = asset.postgres().expect("only a database has base backups");
        Ok(self.site.connection(postgres, self.cancel)?.0.database())
    }
}

/// Asks a sandbox's database as a role; `server` connects as who may do everything there.
pub(crate) fn ask_in(
    sandbox: &Instance,
    server: &Server,
    site: &Site,
    (database, role): (&DatabaseName, Option<&str>),
    sql: &str,
) -> Result<Answer, OpsError> {
    let environment = client_environment(&site.surroundings().environment);
    let connect = async |role: &str| {
        let text = sandbox.connect_string(role, database);
        let conninfo = Conninfo::parse(&text, &environment)?;
        Server::connect(&conninfo, &environment).await
    };
    let asked = ask(server, connect, (database, role), sql, QUESTION_MAX);
    Ok(site.surroundings().runtime.block_on(asked)?)
}

/// Judges what was found of files before the server ran.
pub(super) fn files(
    directory: &Result<DirectoryReport, DirectoryError>,
    name: &dyn Fn(&Path) -> String,
) -> Shown {
    let report = match directory {
        Ok(report) => report,
        Err(error @ DirectoryError::Manifest { .. }) => return Shown::failed(explain(error)),
        Err(error) => return Shown::unknown(explain(error)),
    };
    let DirectoryReport { files, bytes, summed, .. } = report;
    let mut shown = Shown::passed(format!(
        "{files} files with {bytes} bytes are as they were backed up, {summed} of them by their sums"
    ));
    if *summed == 0 {
        shown = Shown::unknown(format!(
            "{files} files have their sizes; the backup is of before sums were taken"
        ));
    }
    for finding in &report.file_findings {
        shown.note(finding.outcome(), || format!("{finding}{}", name(&finding.path)));
    }
    shown.more += report.file_findings_more;
    shown
}

/// Holds an answer against what the plan expects.
pub(crate) fn judge(answer: Answer, expected: Option<&Expectation>) -> Shown {
    match (answer, expected) {
        (Answer::Refused(why), _) => Shown::failed(why),
        (Answer::NotAsked(why), _) => Shown::unknown(why),
        (Answer::Value(value), None) => Shown::passed(shown(value)),
        (Answer::Nothing, None) => Shown::passed("there are no rows".to_owned()),
        (Answer::Nothing, Some(expected)) => {
            Shown::failed(format!("there are no rows, expected {expected}"))
        }
        (Answer::Value(value), Some(expected)) => {
            let holds = value.as_deref().and_then(|value| expected.holds(value));
            let value = shown(value);
            match holds {
                Some(true) => Shown::passed(format!("it is {value}, as expected: {expected}")),
                Some(false) | None => Shown::failed(format!("it is {value}, expected {expected}")),
            }
        }
    }
}

fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_expected_or_not_or_was_never_given() {
        let value = |text: &str| Answer::Value(Some(text.to_owned()));
        for (answer, expected, outcome) in [
            (value("7"), Some("> 0"), Outcome::Passed),
            (value("0"), Some("> 0"), Outcome::Failed),
            (value("many"), Some("> 0"), Outcome::Failed),
            (Answer::Value(None), Some("> 0"), Outcome::Failed),
            (Answer::Nothing, Some("> 0"), Outcome::Failed),
            (Answer::Nothing, None, Outcome::Passed),
            (Answer::Value(None), None, Outcome::Passed),
            (Answer::Refused("no".to_owned()), None, Outcome::Failed),
            (Answer::NotAsked("late".to_owned()), Some("> 0"), Outcome::CouldNotVerify),
        ] {
            let expected: Option<Expectation> = expected.map(|text: &str| text.parse().unwrap());
            let result = judge(answer.clone(), expected.as_ref()).named("x", 0);
            assert_eq!(result.outcome, outcome, "{answer:?} {expected:?}");
        }
    }

    #[test]
    fn the_worst_finding_decides_and_all_are_counted() {
        let mut shown = Shown::passed("x".to_owned());
        shown.note(Outcome::Failed, || "a".to_owned());
        for _ in 0..FINDINGS_MAX {
            shown.note(Outcome::CouldNotVerify, || "b".to_owned());
        }
        let result = shown.named("files", 7);
        assert_eq!(result.outcome, Outcome::Failed);
        assert_eq!((result.findings.len(), result.findings_more), (FINDINGS_MAX, 1));
    }
}
