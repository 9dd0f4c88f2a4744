//! Where the password of a repository comes from: never from the command line.
//!
//! In this order: the options, the plan's key for the repository of one of its tiers, `RESTIC_PASSWORD`, `RESTIC_PASSWORD_FILE`, `RESTIC_PASSWORD_COMMAND`,
//! the terminal.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_model::Secret;

use super::Access;
use super::place::Place;
use crate::failure::{CommandError, Failure, NamedBy};
use crate::prompt::Terminal;
use crate::session::Session;
use crate::surroundings;

/// The longest password in bytes; a bigger file is not a password file.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Whether a password opens something or becomes the password of something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It exists already.
    Open,
    /// It is chosen now, so at the terminal it is asked for twice.
    Choose,
}

/// Finds the password of the repository that `access` names and that is at this place.
pub fn find(
    access: &Access,
    place: &Place,
    purpose: Purpose,
    session: &Session,
) -> Result<Secret, Failure> {
    let process = &session.process;
    if let Some(file) = &access.password_file {
        return Ok(from_file(file, NamedBy::Option(access.password_option))?);
    }
    if let Some(command) = &access.password_command {
        return Ok(from_command(command)?);
    }
    if let Some(key) = place.password(session)? {
        return Ok(key);
    }
    if let Some(password) = process.text_variable("RESTIC_PASSWORD")? {
        return Ok(Secret::new(password));
    }
    if let Some(file) = process.variable("RESTIC_PASSWORD_FILE") {
        return Ok(from_file(Path::new(file), NamedBy::Variable("RESTIC_PASSWORD_FILE"))?);
    }
    if let Some(command) = process.variable("RESTIC_PASSWORD_COMMAND") {
        return Ok(from_command(command)?);
    }
    let address = &access.address;
    from_terminal(address, purpose, session)?
        .ok_or_else(|| CommandError::NoPassword { address: address.clone() }.into())
}

/// Takes a new password from a file, or asks for it twice; never from where the old one comes from.
pub fn choose(address: &str, file: Option<&Path>, session: &Session) -> Result<Secret, Failure> {
    match file {
        Some(file) => Ok(from_file(file, NamedBy::Option("--new-password-file"))?),
        None => from_terminal(&format!("{address} (new)"), Purpose::Choose, session)?
            .ok_or_else(|| CommandError::NoNewPassword { address: address.to_owned() }.into()),
    }
}

/// Asks for a password; there is none without a terminal, or if nothing was typed.
fn from_terminal(
    address: &str,
    purpose: Purpose,
    session: &Session,
) -> Result<Option<Secret>, Failure> {
    let Some(terminal) = Terminal::open(&session.cancel) else { return Ok(None) };
    let password = terminal.ask_secret(&format!("password for {address}: "))?;
    if password.expose().is_empty() {
        return Ok(None);
    }
    if purpose == Purpose::Choose {
        let again = terminal.ask_secret("the same again: ")?;
        if again.expose() != password.expose() {
            return Err(CommandError::usage(
                "the two passwords differ",
                "type the same password twice",
            )
            .into());
        }
    }
    Ok(Some(password))
}

fn from_file(path: &Path, named_by: NamedBy) -> Result<Secret, CommandError> {
    let path = surroundings::shown_from_root(path);
    let failed = |source| CommandError::SecretFile { path: path.clone(), named_by, source };
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    first_line(&text).ok_or_else(|| {
        CommandError::usage(
            format!("{path} has no password in its first line"),
            "write the password into its first line",
        )
    })
}

fn from_command(command: &OsStr) -> Result<Secret, CommandError> {
    let failed = |problem: String| CommandError::PasswordCommand {
        // Its arguments may hold what must not be printed.
        program: command.to_string_lossy().split_whitespace().next().unwrap_or_default().to_owned(),
        problem,
    };
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("could not be run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed with {}", output.status)));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| failed("printed something that is not UTF-8".to_owned()))?;
    first_line(&text).ok_or_else(|| failed("printed no password in its first line".to_owned()))
}

fn first_line(text: &str) -> Option<Secret> {
    text.lines().next().filter(|line| !line.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_the_password() {
        assert_eq!(first_line("secret\nmore\n").unwrap().expose(), "secret");
        assert_eq!(first_line(" with spaces \n").unwrap().expose(), " with spaces ");
        assert!(first_line("\nsecond").is_none());
        assert!(first_line("").is_none());
    }

    #[test]
    fn a_failing_command_is_named_without_its_arguments() {
        let error = from_command(OsStr::new("false hunter2")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`false`") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_command_prints_the_password() {
        let password = from_command(OsStr::new("echo secret; echo other")).unwrap();
        assert_eq!(password.expose(), "secret");
    }
}
