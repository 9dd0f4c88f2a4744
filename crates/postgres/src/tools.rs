//! PostgreSQL's own client programs, of the server's own version.
//!
//! A dump is made and read by the programs that the server's version shipped: a newer `pg_dump` may
//! write what the server cannot read back, an older one refuses.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::ClientEnvironment;
use crate::error::PostgresError;

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// Dumps one database.
    Dump,
    /// Dumps roles and tablespaces.
    DumpAll,
    /// Restores a dump.
    Restore,
}

impl Tool {
    /// Returns the program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Dump => "pg_dump",
            Self::DumpAll => "pg_dumpall",
            Self::Restore => "pg_restore",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.program())
    }
}

/// The directory of the client programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// Finds the programs of a major version: where distributions put them, then on the search path.
    pub fn find(major: u32, environment: &ClientEnvironment) -> Result<Self, PostgresError> {
        let on_path: Vec<_> = std::env::split_paths(&environment.path).collect();
        let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
        let red_hat = PathBuf::from(format!("/usr/pgsql-{major}/bin"));
        let candidates = || [&debian, &red_hat].into_iter().chain(&on_path);
        let all_there = |directory: &&PathBuf| {
            let tools = [Tool::Dump, Tool::DumpAll, Tool::Restore];
            tools.iter().all(|tool| version(&directory.join(tool.program())) == Some(major))
        };
        match candidates().find(all_there) {
            Some(directory) => Ok(Self { directory: directory.clone() }),
            None => Err(PostgresError::ToolMissing {
                tool: Tool::Dump,
                major,
                looked_in: candidates()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// Returns where the programs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a command for a program, with nothing of lifeboat's own environment in it.
    pub(crate) fn command(&self, tool: Tool, environment: &ClientEnvironment) -> Command {
        let mut command = Command::new(self.directory.join(tool.program()));
        command.env_clear().env("PATH", &environment.path).env("LC_ALL", "C.UTF-8");
        command.env("PGAPPNAME", "lifeboat").current_dir("/");
        if let Some(home) = &environment.home {
            // libpq looks there for TLS certificates.
            command.env("HOME", home);
        }
        command
    }
}

/// Asks a program for its major version.
fn version(program: &Path) -> Option<u32> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").env("LC_ALL", "C").output().ok()?;
    parse_version(OsStr::to_str(program.file_name()?)?, &String::from_utf8_lossy(&output.stdout))
}

/// Parses `pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`, `… 17beta1`.
fn parse_version(program: &str, text: &str) -> Option<u32> {
    let number = text.strip_prefix(program)?.trim_start().strip_prefix("(PostgreSQL) ")?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::Classify as _;

    #[test]
    fn versions_are_read_as_programs_write_them() {
        let parse = |text| parse_version("pg_dump", text);
        assert_eq!(parse("pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n"), Some(15));
        assert_eq!(parse("pg_dump (PostgreSQL) 17beta1\n"), Some(17));
        assert_eq!(parse("pg_dumpall (PostgreSQL) 15.8\n"), None);
        assert_eq!(parse("something else"), None);
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_install() {
        let error = Tools::find(99, &ClientEnvironment::new("/usr/bin")).unwrap_err();
        assert!(error.to_string().contains("/usr/lib/postgresql/99/bin"), "{error}");
        assert_eq!(error.hint().unwrap().to_string(), "apt-get install postgresql-client-99");
    }
}
