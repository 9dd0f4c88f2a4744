//! `lifeboat install` and `uninstall`: the service of the daemon, below a root that may be another than the machine's.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_model::Exit;
use lifeboat_tiers::durable;
use serde::Serialize;

use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort};
use crate::session::Session;
use crate::surroundings;

/// What is shipped, as it stands in the repository.
const UNIT: &str = include_str!("../../../../packaging/lifeboat.service");
const FOLDERS: &str = include_str!("../../../../packaging/lifeboat.tmpfiles");

/// What the shipped unit runs, and by which plan.
const SHIPPED_PROGRAM: &str = "/usr/bin/lifeboat";
const SHIPPED_PLAN: &str = "/etc/lifeboat/plan.toml";

/// Where the files go.
const UNIT_PLACE: &str = "etc/systemd/system/lifeboat.service";
const FOLDERS_PLACE: &str = "etc/tmpfiles.d/lifeboat.conf";

/// What `systemctl enable` makes.
const ENABLED_PLACE: &str = "etc/systemd/system/multi-user.target.wants/lifeboat.service";

/// What stays when the service goes.
const DATA: [&str; 3] = ["etc/lifeboat", "var/lib/lifeboat", "var/cache/lifeboat"];

const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// The arguments of `lifeboat install`.
#[derive(Debug, Args)]
#[command(after_help = "\
Changes of your own belong into `systemctl edit lifeboat`; they stay, whatever is installed.

Examples:
  lifeboat install
  lifeboat --plan /srv/plan.toml install
  lifeboat install --root /mnt/image --program /usr/bin/lifeboat")]
pub struct Install {
    #[command(flatten)]
    root: Root,
    /// Let the service run this program [default: this one]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// The arguments of `lifeboat uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    #[command(flatten)]
    root: Root,
}

/// Below which folder the machine lies.
#[derive(Debug, Args)]
struct Root {
    /// Write below this folder, as into an image of a machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Written,
    Replaced,
    Unchanged,
    Removed,
    NotThere,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Replaced => "replaced",
            Self::Unchanged => "as it was",
            Self::Removed => "removed",
            Self::NotThere => "not there",
        }
    }
}

#[derive(Debug, Serialize)]
struct ChangedFile {
    path: PathBuf,
    change: Change,
}

#[derive(Serialize)]
struct Done {
    files: Vec<ChangedFile>,
    /// Folders with data, which stay.
    kept: Vec<PathBuf>,
    /// What to do then.
    next: Vec<String>,
}

impl Answer for Done {
    const SCHEMA: &'static str = "lifeboat.install/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for ChangedFile { path, change } in &self.files {
            writeln!(page, "{:<9} {}", change.word(), path.display())?;
        }
        for kept in &self.kept {
            writeln!(page, "{:<9} {}", "kept", kept.display())?;
        }
        if !self.next.is_empty() {
            writeln!(page, "\n{}", page.paint.strong("next:"))?;
        }
        self.next.iter().try_for_each(|command| writeln!(page, "  {command}"))
    }
}

impl Install {
    /// Writes the service's files; those that are there and differ are replaced.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let program = match &self.program {
            Some(program) => surroundings::absolute(program)?,
            None => surroundings::program()?.into(),
        };
        let plan = session.global.plan.as_deref().map(surroundings::absolute).transpose()?;
        let plan = plan.unwrap_or_else(|| SHIPPED_PLAN.into());
        let unit = unit_for(&word(&program)?, &word(&plan)?);
        let wanted = [(UNIT_PLACE, unit.as_str()), (FOLDERS_PLACE, FOLDERS)];
        let mut files = Vec::new();
        for (place, contents) in wanted {
            files.push(put(&self.root.root.join(place), contents)?);
        }
        let next = if self.root.is_machine() {
            let commands = [
                "systemd-tmpfiles --create lifeboat.conf",
                "systemctl daemon-reload",
                "systemctl enable --now lifeboat",
            ];
            commands.map(str::to_owned).into()
        } else {
            vec![format!("systemctl --root {} enable lifeboat", self.root.root.display())]
        };
        session.done(&Done { files, kept: Vec::new(), next })
    }
}

impl Uninstall {
    /// Removes the service's files, and nothing that was backed up or remembered.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let at = |place: &&str| self.root.root.join(place);
        let mut files = Vec::new();
        for path in [ENABLED_PLACE, UNIT_PLACE, FOLDERS_PLACE].iter().map(at) {
            files.push(take_away(&path)?);
        }
        let kept = DATA.iter().map(at).filter(|path| path.exists()).collect();
        let next = if self.root.is_machine() {
            ["systemctl stop lifeboat", "systemctl daemon-reload"].map(str::to_owned).into()
        } else {
            Vec::new()
        };
        session.done(&Done { files, kept, next })
    }
}

impl Root {
    fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }
}

/// Returns the unit that runs this program by this plan.
fn unit_for(program: &str, plan: &str) -> String {
    UNIT.replace(SHIPPED_PROGRAM, program).replace(SHIPPED_PLAN, plan)
}

/// Returns a path as a unit can have it, where `%` begins a specifier and a blank ends a word.
fn word(path: &Path) -> Result<String, CommandError> {
    let text = path.to_str().filter(|text| {
        !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\$".contains(c))
    });
    let text = text.ok_or_else(|| {
        let message = format!("`{}` cannot stand in a unit of systemd", path.display());
        CommandError::usage(message, "choose a path without blanks, quotes, `$` and backslashes")
    })?;
    Ok(text.replace('%', "%%"))
}

fn put(path: &Path, contents: &str) -> Result<ChangedFile, CommandError> {
    let failed = |action| {
        let path = path.display().to_string();
        move |source| CommandError::File { action, path, source }
    };
    let change = match fs::read(path) {
        Ok(there) if there == contents.as_bytes() => Change::Unchanged,
        Ok(_) => Change::Replaced,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Change::Written,
        Err(error) => return Err(failed("read")(error)),
    };
    if change != Change::Unchanged {
        let folder = path.parent().unwrap_or(path);
        durable::create_directories(folder, FOLDER_MODE).map_err(failed("create"))?;
        durable::replace(path, contents.as_bytes(), FILE_MODE).map_err(failed("write"))?;
    }
    Ok(ChangedFile { path: path.to_owned(), change })
}

fn take_away(path: &Path) -> Result<ChangedFile, CommandError> {
    let failed = |source| {
        let path = path.display().to_string();
        CommandError::File { action: "remove", path, source }
    };
    let change = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Change::NotThere,
        Err(error) => return Err(failed(error)),
        Ok(_) => {
            durable::remove(path).map_err(failed)?;
            Change::Removed
        }
    };
    Ok(ChangedFile { path: path.to_owned(), change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_what_it_is_told_to() {
        let unit = unit_for("/opt/lifeboat", "/srv/plan.toml");
        assert!(unit.contains("ExecStart=/opt/lifeboat --plan /srv/plan.toml serve\n"), "{unit}");
        assert!(!unit.contains(SHIPPED_PLAN) && !unit.contains(SHIPPED_PROGRAM));
        assert_eq!(word(Path::new("/a%b")).unwrap(), "/a%%b");
        assert!(word(Path::new("/a b")).is_err());
    }
}
