//! The plan's questions, asked of the platform as it runs.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::{AssetName, Cancel, Outcome};
use lifeboat_plan::plan::asset::Postgres;
use lifeboat_plan::plan::check::{
    CommandProbe, DnsProbe, FilesInProbe, FilesProbe, HttpProbe, Probe, SmtpProbe, SqlProbe,
    TcpProbe,
};
use lifeboat_plan::value::duration::Span;
use lifeboat_plan::value::expectation::Expectation;
use lifeboat_plan::value::template::UnknownName;
use lifeboat_postgres::verification::sql::{Answer, ask};
use lifeboat_postgres::{DatabaseName, Server};
use lifeboat_runbook::Act;
use lifeboat_tiers::http::{HttpClient, Patience, Trust};

use super::mailbox::Mailbox;
use super::values::Values;
use crate::command::{CommandLine, Notes};
use crate::error::{OpsError, explain};
use crate::host::{Host, HostError};
use crate::wire::Site;

/// How long a question may take that does not say.
const QUESTION_MAX: Duration = Duration::from_mins(1);

/// How many paths that are missing are named.
const NAMED_MAX: usize = 5;

/// What a question showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was looked at, or what is wrong.
    pub message: String,
}

impl Finding {
    fn passed(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Passed, message: message.into() }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, message: message.into() }
    }

    fn unknown(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::CouldNotVerify, message: message.into() }
    }
}

impl From<OpsError> for Finding {
    fn from(error: OpsError) -> Self {
        Self::unknown(explain(&error))
    }
}

impl From<UnknownName> for Finding {
    fn from(error: UnknownName) -> Self {
        Self::unknown(error.to_string())
    }
}

/// Asks the plan's questions.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Where commands are run.
    pub host: &'a Host,
    /// Whose platform it is.
    pub site: &'a Site,
    /// What the names in templates stand for.
    pub values: &'a Values,
    /// At which step it is asked, if at one.
    pub act: Option<&'a Act>,
    /// Who takes the platform's mails, if something stands in for that.
    pub mails: Option<&'a Mailbox>,
    /// Where it is noted which commands run that change something.
    pub(crate) notes: Option<&'a Notes>,
    /// Set when nobody waits for the answer any more.
    pub cancel: &'a Cancel,
}

impl Asker<'_> {
    /// Asks one. What cannot be asked could not be verified.
    pub fn ask(&self, probe: &Probe) -> Finding {
        let found = match probe {
            Probe::Sql(probe) => self.sql(probe),
            Probe::FilesIn(probe) => self.files_in(probe),
            Probe::Files(probe) => self.files(probe),
            Probe::Http(probe) => self.http(probe),
            Probe::Tcp(probe) => self.tcp(probe),
            Probe::Dns(probe) => self.dns(probe),
            Probe::Command(probe) => self.command(probe),
            Probe::Smtp(probe) => self.smtp(probe),
        };
        found.unwrap_or_else(|finding| finding)
    }

    /// Waits for work that talks to the platform, from where the platform is.
    fn block_on<T: Send, W: Future<Output = Result<T, String>>>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> W + Send,
    ) -> Result<T, Finding> {
        let bounded = async || match tokio::time::timeout(limit, work()).await {
            Ok(ended) => ended.map_err(Finding::failed),
            Err(_) => Err(Finding::failed(format!("no answer within {limit:?}"))),
        };
        let cancel = self.cancel;
        let waited = match self.site.inside() {
            None => self.site.surroundings().runtime.block_on(cancel.cut_short(bounded())),
            Some(inside) => {
                // A runtime of its own: the threads that it starts are where it was made.
                let ask =
                    || Ok::<_, io::Error>(own_runtime()?.block_on(cancel.cut_short(bounded())));
                let asked = inside.on_thread(ask).and_then(|asked| asked);
                asked.map_err(|error| Finding::unknown(explain(&error)))?
            }
        };
        waited.unwrap_or_else(|cancelled| Err(Finding::unknown(cancelled.to_string())))
    }

    fn sql(&self, probe: &SqlProbe) -> Result<Finding, Finding> {
        let whom = (probe.database.as_deref(), probe.role.as_deref());
        let answer = self.answer(probe.asset.as_ref(), whom, &probe.sql)?;
        Ok(judge(answer, probe.expect.as_ref()))
    }

    /// Asks a database; the plan's only one, if none is named.
    fn answer(
        &self,
        asset: Option<&AssetName>,
        (database, role): (Option<&str>, Option<&str>),
        sql: &str,
    ) -> Result<Answer, Finding> {
        let (conninfo, environment) = self.site.connection(self.postgres(asset)?, self.cancel)?;
        let database = database.map_or_else(|| conninfo.database(), DatabaseName::new);
        let conninfo = conninfo.with_database(&database);
        self.block_on(QUESTION_MAX, async || {
            let server = Server::connect(&conninfo, &environment).await;
            let server = server.map_err(|error| explain(&error))?;
            let connect =
                async |role: &str| Server::connect(&conninfo.with_role(role), &environment).await;
            let asked = ask(&server, connect, (&database, role), sql, QUESTION_MAX).await;
            asked.map_err(|error| explain(&error))
        })
    }

    fn postgres(&self, asset: Option<&AssetName>) -> Result<&Postgres, Finding> {
        let mut databases = self.site.databases();
        let found = match asset {
            Some(asset) => databases.find(|(name, _)| *name == asset),
            None => databases.next().filter(|_| databases.next().is_none()),
        };
        let (_, postgres) =
            found.ok_or_else(|| Finding::unknown("it does not say which database to ask"))?;
        Ok(postgres)
    }

    /// Looks whether the files are there that a database names. Files that no row names fail nothing: what
    /// came after the database's point is newer than its rows.
    fn files_in(&self, probe: &FilesInProbe) -> Result<Finding, Finding> {
        let sql = paths_in_one(&probe.sql);
        let whom = (probe.database.as_deref(), probe.role.as_deref());
        let named = match self.answer(probe.asset.as_ref(), whom, &sql)? {
            Answer::Value(Some(text)) => text,
            other => return Ok(judge(other, None)),
        };
        let named = paths_of(&named).map_err(Finding::unknown)?;
        let roots = self.roots(&probe.files_in)?;
        let is_there = |path: &String| roots.iter().any(|root| root.join(path).exists());
        let missing: Vec<_> = named.iter().filter(|path| !is_there(path)).collect();
        if missing.is_empty() {
            return Ok(Finding::passed(format!(
                "all {} files that are named are there",
                named.len()
            )));
        }
        let first: Vec<_> = missing.iter().take(NAMED_MAX).map(|path| path.as_str()).collect();
        let (count, of) = (missing.len(), named.len());
        Ok(Finding::failed(format!("{count} of {of} files are missing: {}", first.join(", "))))
    }

    fn roots(&self, asset: &AssetName) -> Result<Vec<PathBuf>, Finding> {
        let files = self.site.asset(asset)?.files();
        let files = files.ok_or_else(|| Finding::unknown(format!("`{asset}` holds no files")))?;
        Ok(files.paths.iter().map(|path| path.as_path().to_owned()).collect())
    }

    fn files(&self, probe: &FilesProbe) -> Result<Finding, Finding> {
        let roots = self.roots(&probe.files)?;
        // A path from the root stays what it is when it is joined.
        let is_there = |path: &String| roots.iter().any(|root| root.join(path).exists());
        if let Some(missing) = probe.exist.iter().find(|path| !is_there(path)) {
            return Ok(Finding::failed(format!("{missing} is missing")));
        }
        let Some(count) = &probe.count else {
            return Ok(Finding::passed(format!("all {} paths are there", probe.exist.len())));
        };
        let found: u64 = roots.iter().map(|root| count_files(root)).sum();
        Ok(expected(&found.to_string(), Some(count)))
    }

    fn http(&self, probe: &HttpProbe) -> Result<Finding, Finding> {
        let address = self.values.fill(&probe.http, self.act)?;
        let wanted = probe.contains.as_ref().map(|text| self.values.fill(text, self.act));
        let wanted = wanted.transpose()?;
        let limit = probe.within.map_or(QUESTION_MAX, Span::duration);
        let patience = Patience { connect: limit, silence: limit };
        let client = HttpClient::new(&Trust::System, patience);
        let client = client.map_err(|error| Finding::unknown(explain(&error)))?;
        let request = http::Request::get(&address).body(Bytes::new());
        let request = request.map_err(|error| Finding::unknown(explain(&error)))?;
        let answer = self.block_on(limit, async || {
            client.send(request).await.map_err(|error| explain(&error))
        })?;
        let status = answer.status.as_u16();
        if status != probe.status.code() {
            let code = probe.status.code();
            return Ok(Finding::failed(format!("{address} answers {status}, not {code}")));
        }
        let body = String::from_utf8_lossy(&answer.body);
        match wanted.filter(|wanted| !body.contains(wanted)) {
            Some(wanted) => Ok(Finding::failed(format!("{address} does not say `{wanted}`"))),
            None => Ok(Finding::passed(format!("{address} answers {status}"))),
        }
    }

    fn tcp(&self, probe: &TcpProbe) -> Result<Finding, Finding> {
        let address = self.values.fill(&probe.tcp, self.act)?;
        let limit = probe.within.map_or(QUESTION_MAX, Span::duration);
        self.block_on(limit, async || {
            let connected = tokio::net::TcpStream::connect(&address).await;
            connected.map(drop).map_err(|error| format!("{address}: {error}"))
        })?;
        Ok(Finding::passed(format!("{address} takes connections")))
    }

    fn dns(&self, probe: &DnsProbe) -> Result<Finding, Finding> {
        let name = self.values.fill(&probe.dns, self.act)?;
        let limit = probe.within.map_or(QUESTION_MAX, Span::duration);
        let mut wanted = Vec::new();
        for address in &probe.resolves_to {
            wanted.push(self.values.fill(address, self.act)?);
        }
        let found = self.block_on(limit, async || {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|error| format!("{name}: {error}"))?;
            Ok(found.map(|address| address.ip().to_string()).collect::<Vec<_>>())
        })?;
        match wanted.iter().find(|address| !found.contains(address)) {
            Some(missing) => Ok(Finding::failed(format!(
                "{name} leads to {}, not to {missing}",
                found.join(", ")
            ))),
            None => Ok(Finding::passed(format!("{name} leads to {}", found.join(", ")))),
        }
    }

    /// Has the platform send a mail, and looks whether it comes to whoever takes its mails.
    fn smtp(&self, probe: &SmtpProbe) -> Result<Finding, Finding> {
        let Some(mails) = self.mails else {
            return Err(Finding::unknown("waiting for a mail is not built yet"));
        };
        let words = self.site.words(self.values.words(&probe.smtp.send, self.act)?);
        let before = mails.count();
        if let Err(error) = CommandLine::new(words, QUESTION_MAX).run(self.cancel) {
            return Ok(Finding::failed(explain(&error)));
        }
        let within = probe.smtp.arrives_within;
        if mails.has_more_than(before, within.duration(), self.cancel) {
            return Ok(Finding::passed("the mail came to whoever stands in for its server"));
        }
        Ok(Finding::failed(format!("no mail came within {within}")))
    }

    fn command(&self, probe: &CommandProbe) -> Result<Finding, Finding> {
        let words = self.values.words(&probe.command, self.act)?;
        let limit = probe.within.map_or(QUESTION_MAX, Span::duration);
        match self.host.run(self.site, words, (limit, None), self.cancel) {
            // Nobody was there to be asked.
            Err(error @ HostError::Away { .. }) => Err(Finding::unknown(explain(&error))),
            Err(error) => Ok(Finding::failed(explain(&error))),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                Ok(expected(said.trim(), probe.expect.as_ref()))
            }
        }
    }
}

fn own_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Makes a question whose rows are paths into one whose only value is all of them.
pub(crate) fn paths_in_one(sql: &str) -> String {
    let sql = sql.trim().trim_end_matches(';');
    format!("SELECT coalesce(json_agg(path), '[]') FROM ({sql}) AS named(path)")
}

/// Reads the paths of such an answer; rows without one name none.
pub(crate) fn paths_of(answer: &str) -> Result<Vec<String>, &'static str> {
    let named: Result<Vec<Option<String>>, _> = serde_json::from_str(answer);
    let named = named.map_err(|_| "the query's column holds no paths")?;
    Ok(named.into_iter().flatten().collect())
}

/// Counts the files below a folder, without following links.
pub(crate) fn count_files(root: &std::path::Path) -> u64 {
    let Ok(meta) = root.symlink_metadata() else { return 0 };
    if !meta.is_dir() {
        return u64::from(meta.is_file());
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| count_files(&entry.path())).sum()
}

fn judge(answer: Answer, expectation: Option<&Expectation>) -> Finding {
    match answer {
        Answer::Value(value) => expected(&value.unwrap_or_default(), expectation),
        Answer::Nothing if expectation.is_none() => Finding::passed("it was answered"),
        Answer::Nothing => Finding::failed("there is no row"),
        Answer::Refused(why) => Finding::failed(why),
        Answer::NotAsked(why) => Finding::unknown(why),
    }
}

fn expected(found: &str, expectation: Option<&Expectation>) -> Finding {
    let Some(expectation) = expectation else { return Finding::passed("it was answered") };
    match expectation.holds(found) {
        Some(true) => Finding::passed(format!("`{found}` is as expected: {expectation}")),
        Some(false) => Finding::failed(format!("`{found}` is not as expected: {expectation}")),
        None => Finding::unknown(format!("`{found}` cannot be compared: {expectation}")),
    }
}
