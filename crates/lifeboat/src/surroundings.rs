//! What the process finds around it: the only place that reads arguments, environment and directories.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, SiteName};
use lifeboat_ops::Surroundings;
use lifeboat_ops::procedure::people::{Login, login_of};
use nix::unistd::{Uid, User, gethostname};
use tokio::runtime::Handle;

use crate::arguments::{ColorChoice, GlobalArguments};
use crate::failure::CommandError;
use crate::render::Paint;

/// Where a plan is looked for, in this order, when none is named.
const PLAN_PLACES: [&str; 3] = ["lifeboat.toml", "plan.toml", "/etc/lifeboat/plan.toml"];

/// Arguments and environment, read once at the start.
#[derive(Debug, Clone)]
pub struct Process {
    /// The command line, the program's name first.
    pub arguments: Vec<OsString>,
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
}

impl Process {
    /// Reads the process's own.
    pub fn current() -> Self {
        Self { arguments: env::args_os().collect(), environment: env::vars_os().collect() }
    }

    /// Returns an environment variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let value = self.environment.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// Returns an environment variable that has to be text.
    pub fn text_variable(&self, name: &str) -> Result<Option<&str>, CommandError> {
        let Some(value) = self.variable(name) else { return Ok(None) };
        value.to_str().map(Some).ok_or_else(|| {
            CommandError::usage(format!("{name} is not UTF-8"), format!("set {name} to text"))
        })
    }

    /// Returns the environment variables that are text.
    pub fn text_variables(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (&OsString, &OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        self.environment.iter().filter_map(text).collect()
    }

    /// Chooses the colours of standard output and standard error.
    pub fn paints(&self, choice: ColorChoice) -> (Paint, Paint) {
        let when = |terminal: bool| {
            Paint::when(match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => {
                    terminal
                        && self.variable("NO_COLOR").is_none()
                        && self.variable("TERM").is_some_and(|term| term != "dumb")
                }
            })
        };
        (when(io::stdout().is_terminal()), when(io::stderr().is_terminal()))
    }

    /// Returns what the operations on a site may know of all this.
    pub fn for_site(
        &self,
        site: &SiteName,
        (clock, cancel): (Arc<dyn Clock>, Cancel),
        runtime: Handle,
    ) -> Surroundings {
        let directory = |unit: &str, xdg: &str, system: &str, home: &str| {
            self.own_directory(unit, xdg, system, home).join(site.as_str())
        };
        Surroundings {
            environment: self.text_variables(),
            credentials_directory: self.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            state_directory: directory(
                "STATE_DIRECTORY",
                "XDG_STATE_HOME",
                "/var/lib/lifeboat",
                ".local/state",
            ),
            cache_directory: directory(
                "CACHE_DIRECTORY",
                "XDG_CACHE_HOME",
                "/var/cache/lifeboat",
                ".cache",
            ),
            hostname: hostname(),
            clock,
            cancel,
            runtime,
        }
    }

    /// Returns where copies of what is read most are kept for `lifeboat repo`.
    pub fn repository_cache(&self) -> PathBuf {
        self.own_directory("CACHE_DIRECTORY", "XDG_CACHE_HOME", "/var/cache/lifeboat", ".cache")
            .join("repositories")
    }

    /// Chooses a directory of lifeboat's: what systemd gave the unit, what the XDG variable says,
    /// the system's for root, one in the home for everybody else.
    fn own_directory(&self, unit: &str, xdg: &str, system: &str, home: &str) -> PathBuf {
        if let Some(given) = self.variable(unit) {
            return PathBuf::from(given);
        }
        if let Some(base) = self.variable(xdg) {
            return Path::new(base).join("lifeboat");
        }
        match self.variable("HOME") {
            Some(directory) if !Uid::effective().is_root() => {
                Path::new(directory).join(home).join("lifeboat")
            }
            _ => PathBuf::from(system),
        }
    }
}

/// Returns the name of the user that this process runs as, or the number where there is none.
pub fn username() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Returns who became the user that this process runs as, if `sudo` says so.
fn behind_sudo() -> Option<String> {
    env::var("SUDO_USER").ok()
}

/// Returns the login of whoever runs this process, by which others know them.
pub fn login() -> Login {
    login_of(&username(), behind_sudo().as_deref())
}

/// Returns what this host calls itself.
pub fn hostname() -> String {
    let name = gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns where this very program is.
pub fn program() -> Result<String, CommandError> {
    let system = |source| CommandError::System { action: "find this program", source };
    Ok(env::current_exe().map_err(system)?.display().to_string())
}

/// Returns a path from the root, as the working directory and the dots in it say.
pub fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    let system = |source| CommandError::System { action: "find the working directory", source };
    let mut clean = PathBuf::new();
    for component in std::path::absolute(path).map_err(system)?.components() {
        match component {
            // By name, as restic and the shell do, whatever links the way has.
            Component::ParentDir => _ = clean.pop(),
            other => clean.push(other),
        }
    }
    Ok(clean)
}

/// Writes a path from the root, so that nobody has to know where this was run; as it is, where that cannot be told.
pub fn shown_from_root(path: &Path) -> String {
    absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Finds the plan: the one that is named, or the first of the usual places that exists.
pub fn find_plan(global: &GlobalArguments) -> Result<PathBuf, CommandError> {
    if let Some(named) = &global.plan {
        return Ok(named.clone());
    }
    PLAN_PLACES.iter().map(Path::new).find(|place| place.is_file()).map(Path::to_owned).ok_or_else(
        || {
            let places: Vec<_> =
                PLAN_PLACES.iter().map(|place| shown_from_root(Path::new(place))).collect();
            CommandError::NoPlan { looked_for: places.join(" nor ") }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(environment: &[(&str, &str)]) -> Process {
        Process {
            arguments: Vec::new(),
            environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        }
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let process = process(&[("A", ""), ("B", "b")]);
        assert_eq!(process.variable("A"), None);
        assert_eq!(process.text_variable("B").unwrap(), Some("b"));
        assert_eq!(process.variable("C"), None);
    }

    #[test]
    fn dots_in_a_path_are_resolved_by_name() {
        let absolute = |path: &str| absolute(Path::new(path)).unwrap();
        assert_eq!(absolute("/srv/./a/../b"), Path::new("/srv/b"));
        assert_eq!(absolute("/../srv"), Path::new("/srv"));
        assert_eq!(absolute("a"), env::current_dir().unwrap().join("a"));
    }

    #[test]
    fn colour_can_be_forced_and_forbidden() {
        let process = process(&[("NO_COLOR", "1"), ("TERM", "xterm")]);
        assert_eq!(process.paints(ColorChoice::Always), (Paint::Coloured, Paint::Coloured));
        assert_eq!(process.paints(ColorChoice::Never), (Paint::Plain, Paint::Plain));
        assert_eq!(process.paints(ColorChoice::Auto), (Paint::Plain, Paint::Plain));
    }
}
