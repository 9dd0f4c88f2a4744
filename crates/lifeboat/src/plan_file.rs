//! The plan and the runbooks beside it, read from disk and checked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lifeboat_model::{SiteName, counted};
use lifeboat_plan::{Checked, Facts, FileError, Files, SourceFile};
use lifeboat_postgres::running;

use crate::failure::{CommandError, Failure, NamedBy};
use crate::session::Session;
use crate::surroundings;

/// The longest plan or runbook in bytes; the reference plan has a hundredth of that.
const PLAN_BYTES_MAX: u64 = 4 << 20;

/// Reads the plan that the command line names, or the one that is found, and checks it.
///
/// That there are warnings is said in one line, since most commands are about something else; a plan with errors is
/// refused with all of them.
pub fn load(session: &Session) -> Result<Checked, Failure> {
    let checked = check(session)?;
    if !checked.diagnostics.is_empty() {
        let remarks = counted(checked.diagnostics.len() as u64, "remark");
        let shown = "`lifeboat check --lint-only` shows what is worth a look";
        session.screen.remark(&format!("the plan holds, with {remarks}: {shown}"));
    }
    Ok(checked)
}

/// Reads and checks the plan, and leaves it to the caller to show what is worth saying about it.
pub fn check(session: &Session) -> Result<Checked, Failure> {
    let (text, path) = find(session)?;
    check_text(text, &path, session)
}

/// Reads and checks the plan for a command that shows nothing of what is worth saying about it, and looks at
/// nothing else: a server that archives waits for it, and there may be thousands of processes to look at.
pub fn check_alone(session: &Session) -> Result<Checked, Failure> {
    let (text, path) = find(session)?;
    check_with(text, &path, &Facts::default(), session)
}

/// Checks a plan that lies, or is going to lie, at `path`.
pub fn check_text(text: SourceFile, path: &Path, session: &Session) -> Result<Checked, Failure> {
    let data_directories = running::data_directories(Path::new("/"));
    check_with(text, path, &Facts { data_directories, ..Facts::default() }, session)
}

/// Returns the name of the site whose plan it is, of a plan that need not hold otherwise.
pub fn site_name(session: &Session) -> Result<SiteName, Failure> {
    let (text, path) = find(session)?;
    match site_named_in(&text.text) {
        Some(name) => Ok(name),
        // What is wrong with it is shown as every command shows it.
        None => Ok(check_text(text, &path, session)?.plan.site().clone()),
    }
}

/// Reads the `site` of the table `plan`, line by line: TOML that is broken elsewhere does not hide it.
fn site_named_in(text: &str) -> Option<SiteName> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[plan]").skip(1);
    let mut values = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let value = line.strip_prefix("site")?.trim_start().strip_prefix('=')?.trim_start();
        let quoted = value.strip_prefix('"')?;
        quoted.split_once('"')?.0.parse().ok()
    });
    values.next()
}

fn check_with(
    text: SourceFile,
    path: &Path,
    facts: &Facts,
    session: &Session,
) -> Result<Checked, Failure> {
    let folder = Folder(path.parent().unwrap_or(Path::new("")).to_owned());
    Ok(lifeboat_plan::load(text, &folder, facts, session.clock.now())?)
}

/// Finds the plan and reads its text.
fn find(session: &Session) -> Result<(SourceFile, PathBuf), Failure> {
    let path = surroundings::find_plan(&session.global)?;
    let named = session.global.plan.is_some();
    let text = read(&path).map_err(|source| CommandError::PlanFile {
        path: surroundings::shown_from_root(&path),
        named_by: if named { NamedBy::Option("--plan") } else { NamedBy::Place },
        source,
    })?;
    Ok((SourceFile { path: path.display().to_string(), text }, path))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(PLAN_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > PLAN_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {PLAN_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The folder of the plan.
struct Folder(PathBuf);

impl Files for Folder {
    fn text(&self, path: &str) -> Result<String, FileError> {
        read(&self.0.join(path)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing,
            _ => FileError::Unreadable { reason: error.to_string() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_is_found_in_a_plan_that_is_broken_elsewhere() {
        let found = |text: &str| site_named_in(text).map(|site| site.to_string());
        let text = "[key]\nsite = \"no\"\n[plan]\nname = \"S\"\nsite  = \"shop\" # ours\n[assets\n";
        assert_eq!(found(text).as_deref(), Some("shop"));
        for none in ["", "[plan]\n[x]\nsite = \"shop\"", "[plan]\nsite = shop", "site = \"shop\""] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
