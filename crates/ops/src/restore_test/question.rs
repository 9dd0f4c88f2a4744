//! The plan's checks, asked of what came back.
//!
//! What asks a service is asked where the test [starts](super::stand) it. Of a test that starts none it could not verify: an
//! answer would come from what runs in production, and say nothing of what came back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, CheckName, Outcome, Timestamp};
use lifeboat_plan::plan::check::{CommandProbe, FilesInProbe, FilesProbe, Probe, SqlProbe};
use lifeboat_plan::value::duration::Span;
use lifeboat_postgres::DatabaseName;
use lifeboat_postgres::verification::sql::Answer;

use super::RestoreTestOptions;
use super::restored::{Restored, What};
use super::stand::{Stood, asks_a_service};
use super::within::Within;
use crate::catalog::body::TestedCheck;
use crate::command::{CommandError, CommandLine};
use crate::error::{OpsError, explain};
use crate::evidence::expected::{asked, only_database};
use crate::host::Host;
use crate::procedure::probe::{Asker, paths_in_one, paths_of};
use crate::procedure::values::Values;
use crate::recovery::sandbox::{Instance, milliseconds};
use crate::recovery::verified::{CheckResult, OF_PLAN, QUESTION_MAX, Shown, ask_in, judge};
use crate::wire::Site;

/// Asks what came back.
pub(super) struct Questions<'a> {
    pub(super) site: &'a Site,
    pub(super) restored: &'a [Restored],
    assets: &'a BTreeSet<AssetName>,
    directory: PathBuf,
    cancel: &'a Cancel,
    /// What the services showed, if the test starts any.
    stood: Option<&'a Stood>,
}

impl<'a> Questions<'a> {
    pub(super) const fn new(
        site: &'a Site,
        (restored, stood): (&'a [Restored], Option<&'a Stood>),
        assets: &'a BTreeSet<AssetName>,
        directory: PathBuf,
        cancel: &'a Cancel,
    ) -> Self {
        Self { site, restored, assets, directory, cancel, stood }
    }

    /// Tells whether a check was answered by a service, which is not asked again.
    pub(super) fn is_of_service(&self, name: &CheckName) -> bool {
        self.site.plan().checks().get(name).is_some_and(asks_a_service)
    }

    /// Asks one; what cannot be asked could not be verified.
    pub(super) fn ask(&self, name: &CheckName) -> Result<TestedCheck, OpsError> {
        self.cancel.check()?;
        let now = || self.site.surroundings().now();
        let begun = now();
        let probe = self.site.plan().checks().get(name);
        let shown = match probe {
            Some(probe) => self.shown(name, probe).unwrap_or_else(|shown| shown),
            None => Shown::unknown("the plan has no such check"),
        };
        self.cancel.check()?;
        let result = shown.named(&format!("{OF_PLAN}{name}"), milliseconds(begun, now()));
        let assets = probe.map(|probe| self.asked(probe)).unwrap_or_default();
        Ok(TestedCheck { result, assets })
    }

    /// Returns the assets of the test that a check asks; one that names none is about all of them.
    fn asked(&self, probe: &Probe) -> BTreeSet<AssetName> {
        let asked = asked(self.site.plan(), probe);
        asked.map_or_else(|| self.assets.clone(), |asked| &asked & self.assets)
    }

    fn shown(&self, name: &CheckName, probe: &Probe) -> Result<Shown, Shown> {
        match probe {
            Probe::Sql(probe) => self.sql(probe),
            Probe::FilesIn(probe) => self.files_in(probe),
            Probe::Files(probe) => self.files(probe),
            Probe::Command(probe) => self.command(probe),
            // Names are the world's, and not restored: the answer is the same after a real recovery.
            Probe::Dns(_) => Ok(self.name(probe)),
            Probe::Http(_) | Probe::Tcp(_) | Probe::Smtp(_) => self.of_service(name),
        }
    }

    fn of_service(&self, name: &CheckName) -> Result<Shown, Shown> {
        let stood = self.stood.ok_or_else(|| {
            Shown::unknown(
                "this restore test starts no service; `start` names some, and a drill does",
            )
        })?;
        let none = || {
            let why = stood.trouble.as_deref().unwrap_or("nobody asked it");
            Shown::unknown(format!("no service could be asked: {why}"))
        };
        let (outcome, message) = stood.answers.get(name).ok_or_else(none)?;
        Ok(shown_as(*outcome, message.clone()))
    }

    fn restored(&self, asset: &AssetName) -> Result<&Restored, Shown> {
        let found = self.restored.iter().find(|restored| restored.asset == *asset);
        found.ok_or_else(|| {
            Shown::unknown(if self.assets.contains(asset) {
                format!("`{asset}` did not come back")
            } else {
                format!("`{asset}` is not in this test")
            })
        })
    }

    fn server(&self, named: Option<&AssetName>) -> Result<(&Instance, Timestamp), Shown> {
        let only = || only_database(self.site.plan());
        let asset = named.cloned().or_else(only);
        let asset = asset.ok_or_else(|| Shown::unknown("it does not say which database to ask"))?;
        let restored = self.restored(&asset)?;
        match &restored.what {
            What::Server(sandbox) => Ok((sandbox, restored.time)),
            What::Files(_) => Err(Shown::unknown(format!(
                "`{asset}` came back as the files of its dump, which was not loaded"
            ))),
        }
    }

    fn answer(
        &self,
        sandbox: &Instance,
        (database, role): (Option<&str>, Option<&str>),
        sql: &str,
    ) -> Result<Answer, Shown> {
        let database = database.map_or_else(|| sandbox.database().clone(), DatabaseName::new);
        let asked = sandbox
            .server(sandbox.superuser(), &DatabaseName::new("postgres"))
            .and_then(|server| ask_in(sandbox, &server, self.site, (&database, role), sql));
        asked.map_err(|error| Shown::unknown(explain(&error)))
    }

    fn sql(&self, probe: &SqlProbe) -> Result<Shown, Shown> {
        let (sandbox, _) = self.server(probe.asset.as_ref())?;
        let whom = (probe.database.as_deref(), probe.role.as_deref());
        let answer = self.answer(sandbox, whom, &probe.sql)?;
        Ok(judge(answer, probe.expect.as_ref()))
    }

    /// Holds what rows name against what files there are, both ways.
    fn files_in(&self, probe: &FilesInProbe) -> Result<Shown, Shown> {
        let (sandbox, asked_at) = self.server(probe.asset.as_ref())?;
        let (within, taken_at, roots) = self.folder(&probe.files_in)?;
        let whom = (probe.database.as_deref(), probe.role.as_deref());
        let named = match self.answer(sandbox, whom, &paths_in_one(&probe.sql))? {
            Answer::Value(Some(text)) => paths_of(&text).map_err(Shown::unknown)?,
            other => return Ok(judge(other, None)),
        };
        let mut shown =
            Shown::passed(format!("all {} files that are named are there", named.len()));
        let mut known = BTreeSet::new();
        for path in &named {
            let places = places(path, &roots);
            let mut is_there = false;
            for place in &places {
                is_there |= within.exists(place).map_err(|error| unreadable(&error))?;
            }
            known.extend(places);
            if !is_there && taken_at < asked_at {
                shown.note(Outcome::CouldNotVerify, || {
                    format!(
                        "{path} is missing, and its row may be newer than the files of {taken_at}"
                    )
                });
            } else if !is_there {
                shown.note(Outcome::Failed, || format!("{path} is missing"));
            }
        }
        for (path, changed) in
            unnamed(&within, &roots, &known).map_err(|error| unreadable(&error))?
        {
            // What came after the rows were written cannot be named by them yet.
            if changed <= asked_at {
                shown.note(Outcome::Failed, || format!("{} is named by no row", path.display()));
            }
        }
        Ok(shown)
    }

    fn folder(&self, asset: &AssetName) -> Result<(Within<'_>, Timestamp, Vec<PathBuf>), Shown> {
        let restored = self.restored(asset)?;
        let What::Files(directory) = &restored.what else {
            return Err(Shown::unknown(format!("`{asset}` holds no files")));
        };
        let files = self.site.asset(asset).ok().and_then(|asset| asset.files());
        let files = files.ok_or_else(|| Shown::unknown(format!("`{asset}` holds no files")))?;
        let roots = files.paths.iter().map(|path| path.as_path().to_owned()).collect();
        Ok((Within::open(directory).map_err(|error| unreadable(&error))?, restored.time, roots))
    }

    fn files(&self, probe: &FilesProbe) -> Result<Shown, Shown> {
        let (within, _, roots) = self.folder(&probe.files)?;
        let mut shown = Shown::passed(format!("all {} paths are there", probe.exist.len()));
        for path in &probe.exist {
            let mut is_there = false;
            for place in places(path, &roots) {
                is_there |= within.exists(&place).map_err(|error| unreadable(&error))?;
            }
            if !is_there {
                shown.note(Outcome::Failed, || format!("{path} is missing"));
            }
        }
        if let Some(expected) = &probe.count {
            let mut count = 0;
            for root in &roots {
                count += within.files(root).map_err(|error| unreadable(&error))?.len();
            }
            let holds = expected.holds(&count.to_string());
            if holds != Some(true) {
                shown.note(Outcome::Failed, || {
                    format!("there are {count} files, expected {expected}")
                });
            }
        }
        Ok(shown)
    }

    fn values(&self) -> Values {
        Values::of_plan(self.site.plan()).with_directory(&self.directory)
    }

    fn name(&self, probe: &Probe) -> Shown {
        let values = self.values();
        let asker = Asker {
            host: &Host::Here,
            site: self.site,
            values: &values,
            act: None,
            mails: None,
            notes: None,
            cancel: self.cancel,
        };
        let finding = asker.ask(probe);
        shown_as(finding.outcome, finding.message)
    }

    /// Runs a command beside what came back; the clients of PostgreSQL find the only server there.
    fn command(&self, probe: &CommandProbe) -> Result<Shown, Shown> {
        let words = self.values().words(&probe.command, None);
        let words = words.map_err(|error| Shown::unknown(error.to_string()))?;
        let limit = probe.within.map_or(QUESTION_MAX, Span::duration);
        let mut command = CommandLine::new(words, limit);
        command.directory = Some(self.directory.clone());
        command.environment = self.environment();
        match command.run(self.cancel) {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let Some(expected) = &probe.expect else {
                    return Ok(Shown::passed("it ended with 0".to_owned()));
                };
                Ok(judge(Answer::Value(Some(said)), Some(expected)))
            }
            Err(error @ CommandError::Failed { .. }) => Ok(Shown::failed(explain(&error))),
            Err(error @ CommandError::TimedOut { .. }) if probe.within.is_some() => {
                Ok(Shown::failed(explain(&error)))
            }
            Err(error) => Err(Shown::unknown(explain(&error))),
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let servers = self.restored.iter().filter_map(|restored| match &restored.what {
            What::Server(sandbox) => Some(sandbox),
            What::Files(_) => None,
        });
        let servers: Vec<_> = servers.collect();
        match servers.as_slice() {
            [only] => only.client_variables(),
            // Whoever asks a server then asks none, and not that of production.
            _ => vec![("PGHOST".to_owned(), self.directory.display().to_string())],
        }
    }
}

/// Asks the dump of a server what the test asks the server itself in SQL; tells what is worst, unless all of it holds.
pub(super) fn ask_dump(
    site: &Site,
    options: &RestoreTestOptions,
    restored: &Restored,
    cancel: &Cancel,
) -> Result<Option<(Outcome, String)>, OpsError> {
    let assets = BTreeSet::from([restored.asset.clone()]);
    let came = (std::slice::from_ref(restored), None);
    let questions = Questions::new(site, came, &assets, PathBuf::new(), cancel);
    let plan = site.plan();
    let names = plan.restore_tests().get(&options.test).map(|test| &test.checks);
    let mut worst: Option<(Outcome, String)> = None;
    for name in names.into_iter().flatten() {
        let probe = plan.checks().get(name).filter(|probe| matches!(probe, Probe::Sql(_)));
        if probe.is_none_or(|probe| questions.asked(probe).is_empty()) {
            continue;
        }
        let CheckResult { name, outcome, message, .. } = questions.ask(name)?.result;
        if outcome > worst.as_ref().map_or(Outcome::Passed, |(worst, _)| *worst) {
            worst = Some((outcome, format!("{name} of what it holds: {message}")));
        }
    }
    Ok(worst)
}

fn shown_as(outcome: Outcome, message: String) -> Shown {
    match outcome {
        Outcome::Passed => Shown::passed(message),
        Outcome::CouldNotVerify => Shown::unknown(message),
        Outcome::Failed => Shown::failed(message),
    }
}

fn unreadable(error: &std::io::Error) -> Shown {
    Shown::unknown(format!("what came back cannot be read: {error}"))
}

/// Returns where a path may lie: below each of the asset's, or where it says if it is whole.
fn places(path: &str, roots: &[PathBuf]) -> Vec<PathBuf> {
    // A path from the root stays what it is when it is joined.
    let mut places: Vec<_> = roots.iter().map(|root| root.join(path)).collect();
    places.dedup();
    places
}

/// Lists the files that are not known, in the folders in which known ones lie: of others the question does not speak.
fn unnamed(
    within: &Within<'_>,
    roots: &[PathBuf],
    known: &BTreeSet<PathBuf>,
) -> std::io::Result<Vec<(PathBuf, Timestamp)>> {
    let folders: BTreeSet<&Path> = known.iter().filter_map(|path| path.parent()).collect();
    let mut found = Vec::new();
    for root in roots {
        for (name, changed) in within.files(root)? {
            let path = root.join(name);
            let is_spoken_of = path.parent().is_some_and(|folder| folders.contains(folder));
            if is_spoken_of && !known.contains(&path) {
                found.push((path, changed));
            }
        }
    }
    Ok(found)
}
