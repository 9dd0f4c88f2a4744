//! `lifeboat query`: ask the past, in a sandbox that is gone afterwards.
//!
//! The data go to standard output; what was recovered, how well it is kept apart and how long it took, to
//! standard error.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, ValueEnum};
use lifeboat_model::{AssetName, Exit, counted};
use lifeboat_ops::Site;
use lifeboat_ops::recovery::sandbox::{Demand, Sandbox, SandboxOptions, SandboxReport};
use lifeboat_ops::thaw::{ThawForecast, ThawOptions};
use lifeboat_postgres::console::{Console, ConsoleError, Said};
use lifeboat_postgres::enclosure::Isolation;
use lifeboat_postgres::recovery::throwaway::Use;
use lifeboat_postgres::table::{Table, TableStream};
use lifeboat_postgres::{DatabaseName, PostgresError, Server};
use serde::Serialize;

use super::restore::cluster::{parse_target, write_preview};
use super::thaw::{Attempt, ComeBack, ThawArguments, Words};
use crate::failure::{CommandError, Failure, Interrupted};
use crate::render::{Answer, Page, ShownPath, Sort, time};
use crate::screen;
use crate::session::Session;
use crate::surroundings;
use crate::tier_argument::{self, TierArgument};

/// How many rows are kept to be shown as a table or a document. CSV is passed on as it comes.
const ROWS_MAX: usize = 100_000;

/// How often it is looked whether somebody pressed Ctrl-C.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

/// How a value is shown that is not there.
const NULL: &str = "NULL";

/// The arguments of `lifeboat query`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").args(["sql", "psql", "dump"]).required(true),
    after_help = EXAMPLES
)]
pub struct Query {
    /// Ask this asset, a server with base backups
    #[arg(value_name = "ASSET")]
    asset: AssetName,
    /// Ask it as it was at this moment: a time, `latest`, `immediate`, lsn:LSN, xid:XID or name:NAME
    #[arg(long, value_name = "TIME")]
    at: String,
    /// Ask this database [default: that of the plan]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Ask as this role [default: the one that may do everything]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Run this SQL, of one statement or several, and show what it gives
    #[arg(long, value_name = "SQL")]
    sql: Option<String>,
    /// Show rows in this form
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table, requires = "sql")]
    format: Format,
    /// Open a session of psql
    #[arg(long)]
    psql: bool,
    /// Take this table out, as SQL that psql loads: with its definition where pg_dump of the server's version
    /// is installed, else its data alone
    #[arg(long, value_name = "TABLE")]
    dump: Option<String>,
    /// Write the table into this new file, not to standard output
    #[arg(long, value_name = "FILE", requires = "dump")]
    output: Option<PathBuf>,
    /// Let the SQL change the throwaway server; all of it is gone afterwards
    #[arg(long)]
    write: bool,
    /// Read from this tier, by name or address; without it, from the first in the plan that holds it
    #[arg(long, value_name = "TIER")]
    tier: Option<TierArgument>,
    /// Put the files of the throwaway server below this directory [default: the cache directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Go on where this host gives no namespaces: the server is then only told to reach nothing
    #[arg(long)]
    weak: bool,
    #[command(flatten)]
    cold: ThawArguments,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat query database --at 2026-11-23T01:59:59Z --sql 'SELECT count(*) FROM orders'
  lifeboat query database --at latest --database shop --psql
  lifeboat query database --at lsn:0/3000028 --dump public.orders --output orders.sql";

/// In which form rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns that line up
    Table,
    /// Comma-separated values as they come, with a heading; NULL is empty, an empty text is ""
    Csv,
    /// One document, as with --json
    Json,
}

/// What one statement gave.
#[derive(Debug, Default, Serialize)]
struct ResultSet {
    columns: Vec<String>,
    /// Values as the server writes them; null is NULL.
    rows: Vec<Vec<Option<String>>>,
    /// How many rows it gave or changed.
    count: u64,
}

/// What the past answered.
#[derive(Debug, Serialize)]
struct Asked {
    #[serde(flatten)]
    report: SandboxReport,
    database: DatabaseName,
    results: Vec<ResultSet>,
}

impl Answer for Asked {
    const SCHEMA: &'static str = "lifeboat.query/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for (number, result) in self.results.iter().enumerate() {
            if number > 0 {
                writeln!(page)?;
            }
            result.write(page)?;
        }
        Ok(())
    }
}

/// What was taken out.
#[derive(Debug, Serialize)]
struct TakenOut {
    #[serde(flatten)]
    report: SandboxReport,
    database: DatabaseName,
    table: String,
    output: Option<ShownPath>,
    /// Whether the table's definition is there, too.
    has_definition: bool,
}

impl Answer for TakenOut {
    const SCHEMA: &'static str = "lifeboat.query.dump/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        write!(page, "{}", self.table)?;
        if let Some(path) = &self.output {
            write!(page, " is in {path}")?;
        }
        if self.has_definition {
            return writeln!(page, ", with its definition");
        }
        let major = "of the server's version";
        writeln!(page, ", its data alone: there is no pg_dump {major}")
    }
}

impl Query {
    /// Opens the sandbox, asks, and sees to it that nothing is left.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let psql = self.psql.then(|| find_psql(session)).transpose()?;
        if let Some(output) = self.output.as_ref().filter(|output| output.exists()) {
            let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(CommandError::File {
                action: "write",
                path: output.display().to_string(),
                source,
            }
            .into());
        }
        let begun = session.clock.now();
        let sandbox = match self.open(&site, session)? {
            Attempt::Done(sandbox) => sandbox,
            Attempt::Waits(forecast) => {
                let words = self.again(&forecast, Words::new(session)?);
                return ComeBack::end(forecast, &words, session);
            }
        };
        warn(sandbox.report(), session);
        let database = self.database.as_deref().map(DatabaseName::new);
        let database = database.unwrap_or_else(|| sandbox.database().clone());
        let role = self.role.as_deref().unwrap_or(sandbox.superuser());
        let ended = match (&self.sql, &self.dump, psql) {
            (Some(sql), ..) => {
                self.ask(&sandbox, &sandbox.server(role, &database)?, (database, sql), session)
            }
            (None, Some(table), _) => self.take_out(
                &sandbox,
                &sandbox.server(role, &database)?,
                (database, table),
                session,
            ),
            (None, None, psql) => {
                let psql = psql.expect("clap wants one of the three");
                talk(&psql, &sandbox.connect_string(role, &database), session)
            }
        };
        sandbox.close()?;
        let took =
            Duration::try_from(session.clock.now().duration_since(begun)).unwrap_or_default();
        session.screen.remark(&format!("asked in {}", time::duration(took)));
        ended
    }

    fn open(&self, site: &Site, session: &Session) -> Result<Attempt<Sandbox>, Failure> {
        let system = |source| CommandError::System { action: "find this program", source };
        let scratch = self.scratch.as_deref().map(surroundings::absolute).transpose()?;
        let options = SandboxOptions {
            asset: self.asset.clone(),
            target: parse_target(&self.at)?,
            tier: tier_argument::named(self.tier.as_ref(), site)?,
            scratch,
            purpose: if self.write { Use::Write } else { Use::Read },
            demand: if self.weak { Demand::WhatCanBeHad } else { Demand::Namespaces },
            own_program: std::env::current_exe().map_err(system)?,
            thaw: ThawOptions::default(),
        };
        let announce = |preview: &_| {
            let mut page = Page::new(session.screen.err);
            write_preview(preview, &mut page).expect("writing into a String cannot fail");
            session.screen.remark(page.into_text().trim_end());
        };
        let events = session.events();
        self.cold.attempt(session, |thaw| {
            let options = SandboxOptions { thaw, ..options.clone() };
            Sandbox::open(site, &options, &announce, &*events, &session.cancel)
        })
    }

    /// Returns the words of the command that asks the same, of the same tier.
    fn again(&self, forecast: &ThawForecast, mut words: Words) -> Words {
        words.plain(["query", self.asset.as_str()]);
        words.option("--at", [&forecast.at]);
        words.option("--tier", [&forecast.tier]);
        words.option("--database", &self.database);
        words.option("--role", &self.role);
        words.option("--sql", &self.sql);
        let format = self.format.to_possible_value().filter(|_| self.format != Format::Table);
        words.option("--format", format.as_ref().map(PossibleValue::get_name));
        words.option("--dump", &self.dump);
        words.option("--output", self.output.as_ref().map(|path| path.display()));
        words.option("--scratch", self.scratch.as_ref().map(|path| path.display()));
        words.flags([("--psql", self.psql), ("--write", self.write), ("--weak", self.weak)]);
        words
    }

    /// Runs SQL and shows what it gives.
    fn ask(
        &self,
        sandbox: &Sandbox,
        server: &Server,
        (database, sql): (DatabaseName, &str),
        session: &Session,
    ) -> Result<Exit, Failure> {
        let is_streamed = self.format == Format::Csv && !session.screen.json;
        let mut hearing = Hearing { is_streamed, ..Hearing::default() };
        let asked = session.runtime.block_on(until_cancelled(session, async {
            let console = Console::open(server, &database).await.map_err(ConsoleError::from)?;
            console.run(sql, &mut |said| hearing.hear(said)).await
        }));
        if let Some(failure) = hearing.failure {
            return Err(failure.into());
        }
        asked??;
        if is_streamed {
            return Ok(Exit::Done);
        }
        let answer = Asked { report: sandbox.report().clone(), database, results: hearing.results };
        let mut screen = session.screen.clone();
        screen.json |= self.format == Format::Json;
        screen.answer(&answer, Exit::Done)?;
        Ok(Exit::Done)
    }

    /// Writes a table as SQL.
    fn take_out(
        &self,
        sandbox: &Sandbox,
        server: &Server,
        (database, name): (DatabaseName, &str),
        session: &Session,
    ) -> Result<Exit, Failure> {
        let found = until_cancelled(session, Table::find(server, &database, name));
        let table = session.runtime.block_on(found)??;
        let written = match &self.output {
            Some(path) => write_file(path, &table, session),
            None => write_table(&mut std::io::stdout(), &table, session),
        };
        let answer = TakenOut {
            report: sandbox.report().clone(),
            database,
            table: table.name().to_owned(),
            has_definition: written? == Extent::Whole,
            output: self.output.clone().map(ShownPath),
        };
        if self.output.is_some() {
            return session.done(&answer);
        }
        session.screen.answer_aside(&answer, Exit::Done);
        Ok(Exit::Done)
    }
}

/// Says what is to be known of a sandbox beforehand.
fn warn(report: &SandboxReport, session: &Session) {
    if let Isolation::SettingsOnly { why } = &report.isolation {
        let word = session.screen.err.warning("warning");
        screen::talk(&format!(
            "{word}: the server is only told to reach nothing, and SQL of a superuser could get out: {why}\n"
        ));
    }
    if !report.libraries_left_out.is_empty() {
        let names = report.libraries_left_out.join(", ");
        session.screen.remark(&format!("not loaded, since they do things by themselves: {names}"));
    }
}

/// Waits for something until Ctrl-C.
async fn until_cancelled<T>(
    session: &Session,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = session.clock.sleep(CANCEL_EVERY) => session.cancel.check().map_err(Interrupted::from)?,
        }
    }
}

/// Listens to what a server says.
#[derive(Default)]
struct Hearing {
    is_streamed: bool,
    results: Vec<ResultSet>,
    current: ResultSet,
    /// How many rows are kept, of all results.
    kept: usize,
    has_streamed: bool,
    failure: Option<CommandError>,
}

impl Hearing {
    fn hear(&mut self, said: Said) -> ControlFlow<()> {
        let heard = match said {
            Said::Columns(columns) if self.is_streamed => {
                let gap = if self.has_streamed { "\n" } else { "" };
                self.has_streamed = true;
                screen::print(format!("{gap}{}", csv(columns.iter().map(Some))).as_bytes())
            }
            Said::Row(row) if self.is_streamed => {
                screen::print(csv(row.iter().map(Option::as_ref)).as_bytes())
            }
            Said::Columns(columns) => {
                self.current.columns = columns;
                Ok(())
            }
            Said::Row(row) => self.keep(row),
            Said::Done(count) => {
                let result = ResultSet { count, ..std::mem::take(&mut self.current) };
                self.results.push(result);
                Ok(())
            }
        };
        match heard {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn keep(&mut self, row: Vec<Option<String>>) -> Result<(), CommandError> {
        if self.kept == ROWS_MAX {
            return Err(CommandError::usage(
                format!("these are more than {ROWS_MAX} rows"),
                "give `--format csv`, which passes them on as they come, or a LIMIT",
            ));
        }
        self.kept += 1;
        self.current.rows.push(row);
        Ok(())
    }
}

impl ResultSet {
    /// Writes columns that line up, as wide as the widest value.
    fn write(&self, page: &mut Page) -> fmt::Result {
        if self.columns.is_empty() {
            return writeln!(page, "done: {}", counted(self.count, "row"));
        }
        let heading = self.columns.iter().map(|name| shown(name)).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|value| shown(value.as_deref().unwrap_or(NULL))).collect())
            .collect();
        let width = |column: usize| {
            let cells = std::iter::once(&heading).chain(&rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        for row in std::iter::once(&heading).chain(&rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(page, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Writes a value on one line, and so that a terminal obeys nothing in it.
fn shown(value: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => c.escape_default().collect(),
        c => c.to_string(),
    };
    value.chars().map(escaped).collect()
}

/// Writes a line of comma-separated values, as `COPY … CSV` does.
fn csv<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> String {
    let field = |value: Option<T>| match value {
        None => String::new(),
        Some(text) => {
            let text = text.as_ref();
            let is_plain =
                !text.is_empty() && text != r"\." && !text.contains(['"', ',', '\n', '\r']);
            if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
        }
    };
    values.map(field).collect::<Vec<_>>().join(",") + "\n"
}

/// What of a table was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    DataOnly,
}

/// Writes a table into a new file, which is not there if that fails.
fn write_file(path: &Path, table: &Table, session: &Session) -> Result<Extent, Failure> {
    let failed =
        |source| CommandError::File { action: "write", path: path.display().to_string(), source };
    let mut file = File::create_new(path).map_err(failed)?;
    let written = write_table(&mut file, table, session)
        .and_then(|extent| file.sync_all().map_err(failed).map(|()| extent).map_err(Failure::from));
    if written.is_err() {
        // Half a table is of no use, and would be in the way of the next attempt.
        drop(std::fs::remove_file(path));
    }
    written
}

fn write_table(
    out: &mut (impl Write + Send),
    table: &Table,
    session: &Session,
) -> Result<Extent, Failure> {
    match table.stream() {
        Ok(stream) => pass_on(stream, out, session).map(|()| Extent::Whole),
        Err(PostgresError::ToolMissing { .. }) => {
            let written = until_cancelled(session, table.write_data(out));
            session.runtime.block_on(written)??;
            Ok(Extent::DataOnly)
        }
        Err(error) => Err(error.into()),
    }
}

fn pass_on(
    mut stream: TableStream,
    out: &mut impl Write,
    session: &Session,
) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    let failed = |source| CommandError::System { action: "pass the table on", source };
    loop {
        session.cancel.check().map_err(Interrupted::from)?;
        let count = std::io::Read::read(&mut stream, &mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count]).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    Ok(stream.finish()?)
}

/// Finds psql, of whatever version.
fn find_psql(session: &Session) -> Result<PathBuf, CommandError> {
    let path = session.process.variable("PATH").unwrap_or_default();
    std::env::split_paths(path).map(|directory| directory.join("psql")).find(|psql| psql.is_file()).ok_or_else(
        || {
            let hint = "apt-get install postgresql-client, or ask with --sql, which needs no other program";
            CommandError::usage("psql was not found", hint)
        },
    )
}

/// Lets a person talk to the server; ends as psql does.
fn talk(psql: &Path, connect: &str, session: &Session) -> Result<Exit, Failure> {
    let failed = |source| CommandError::System { action: "run psql", source };
    // At its prompt Ctrl-C gives up a line or a statement, not the whole session.
    let lent = session.keyboard.lend();
    let ended = session.runtime.block_on(async {
        let child = tokio::process::Command::new(psql).arg(connect).kill_on_drop(true).spawn();
        let mut child = child.map_err(failed)?;
        let waited = until_cancelled(session, child.wait()).await?;
        Ok::<_, Failure>(waited.map_err(failed)?)
    });
    drop(lent);
    // The codes of psql (its manual, EXIT STATUS) stay as they are.
    Ok(match ended?.code() {
        Some(0) => Exit::Done,
        Some(2) => Exit::Usage,
        Some(3) => Exit::Incomplete,
        _ => Exit::Failed,
    })
}

#[cfg(test)]
mod tests {
    use lifeboat_repository::prune::Amount;

    use super::*;
    use crate::render::Paint;

    #[test]
    fn who_comes_back_asks_the_same_of_the_tier_that_was_asked() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            query: Query,
        }
        let forecast = ThawForecast {
            asset: "database".parse().unwrap(),
            tier: "vault".parse().unwrap(),
            at: "lsn:0/3000028".to_owned(),
            needed: Amount::default(),
            thawing: Amount::default(),
            cold: Amount::default(),
            within_s: 0,
            rto_s: None,
            price: None,
        };
        let words =
            "query database --at lsn:0/3000028 --thaw --role app --sql SQL --format csv --write";
        let line = <Line as clap::Parser>::try_parse_from(words.split(' ')).unwrap();
        let again = line.query.again(&forecast, Words::without_plan()).line();
        assert_eq!(
            again,
            "lifeboat query database --at lsn:0/3000028 --tier vault --role app --sql SQL --format csv --write"
        );
    }

    #[test]
    fn values_are_told_apart_in_csv() {
        let values = [None, Some(""), Some("a,b"), Some("say \"x\""), Some("ä\nb"), Some(r"\.")];
        assert_eq!(csv(values.into_iter()), ",\"\",\"a,b\",\"say \"\"x\"\"\",\"ä\nb\",\"\\.\"\n");
    }

    #[test]
    fn a_table_lines_up_and_obeys_nothing() {
        let row = |a: &str, b: Option<&str>| vec![Some(a.to_owned()), b.map(str::to_owned)];
        let result = ResultSet {
            columns: vec!["n".to_owned(), "note".to_owned()],
            rows: vec![row("1", None), row("200", Some("a\u{1b}[2J\nb"))],
            count: 2,
        };
        let mut page = Page::new(Paint::Plain);
        result.write(&mut page).unwrap();
        assert_eq!(page.into_text(), "n    note\n1    NULL\n200  a\\u{1b}[2J\\nb\n");
    }

    #[test]
    fn rows_without_end_are_refused() {
        let mut hearing = Hearing { kept: ROWS_MAX - 1, ..Hearing::default() };
        assert!(hearing.hear(Said::Row(Vec::new())).is_continue());
        assert!(hearing.hear(Said::Row(Vec::new())).is_break());
        assert!(hearing.failure.unwrap().to_string().contains("100000 rows"));
    }
}
