//! Reading a secret from where a plan says that it is: a file, the environment, a command, or a
//! systemd credential.
//!
//! Errors name the place, never what was found there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use lifeboat_model::{Cancel, Classify, ErrorKind, Hint, Secret};
use lifeboat_plan::value::secret::SecretRef;
use zeroize::Zeroizing;

use crate::command::{CommandError, CommandLine, OUTPUT_MAX};
use crate::surroundings::Surroundings;

/// No secret is longer; what a command prints is cut there too.
const LENGTH_MAX: usize = OUTPUT_MAX;

/// How long a command may take to print a secret; some ask a vault over the network.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read the file.
    #[error("the secret in {} can be read by others: its mode is {mode:03o}", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    Variable {
        /// Which variable.
        name: String,
    },
    /// The command failed.
    #[error("the command that prints the secret failed")]
    Command {
        /// What happened; nothing of what it printed.
        #[source]
        source: CommandError,
    },
    /// There are no credentials, or none of this name.
    #[error("systemd hands over no credential `{name}`")]
    Credential {
        /// Which credential.
        name: String,
    },
    /// What is there is empty, too long, or no text.
    #[error(
        "what {place} holds is no secret: it is empty, longer than {LENGTH_MAX} bytes, or not UTF-8"
    )]
    Unusable {
        /// Where.
        place: String,
    },
}

impl Classify for SecretError {
    fn kind(&self) -> ErrorKind {
        match self {
            // Whoever lacks a secret does not know what it opens: nothing was looked for and not found.
            Self::File { .. }
            | Self::Exposed { .. }
            | Self::Variable { .. }
            | Self::Credential { .. } => ErrorKind::Denied,
            Self::Command { source } => source.kind(),
            Self::Unusable { .. } => ErrorKind::Config,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Exposed { path, .. } => Some(Hint::new(format!("chmod 600 {}", path.display()))),
            Self::Credential { name } => Some(Hint::new(format!(
                "add `LoadCredentialEncrypted={name}` to the unit, or run it as that unit"
            ))),
            Self::Command { source } => source.hint(),
            Self::File { path, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(Hint::new(format!(
                    "the plan names this file: write the secret there, for the user who runs this alone to read, or correct the plan; {}",
                    nearest(path)
                )))
            }
            Self::File { path, .. } => Some(Hint::new(format!(
                "the plan names this file: see who may read it with `ls -ld {}`",
                path.display()
            ))),
            Self::Variable { name } => Some(Hint::new(format!(
                "the plan names this variable: set {name} where this is run, in the unit of the daemon too, or correct the plan"
            ))),
            Self::Unusable { .. } => {
                Some(Hint::new("the plan names this place: put the secret alone there"))
            }
        }
    }
}

/// Says how far the way to a file is there: it may be mounted elsewhere, or not at all.
fn nearest(path: &Path) -> String {
    match path.ancestors().skip(1).find(|above| above.exists()) {
        Some(there) if Some(there) == path.parent() => {
            format!("its directory, {}, is there", there.display())
        }
        Some(there) => format!("of its directories only {} is there", there.display()),
        None => "none of its directories is there".to_owned(),
    }
}

/// Reads a secret.
pub fn resolve(
    place: &SecretRef,
    surroundings: &Surroundings,
    cancel: &Cancel,
) -> Result<Secret, SecretError> {
    let bytes = match place {
        SecretRef::File(path) => read_file(path.as_path(), Owner::Only)?,
        SecretRef::Env(name) => {
            let value = surroundings.environment.get(name);
            let value = value.ok_or_else(|| SecretError::Variable { name: name.clone() })?;
            Zeroizing::new(value.clone().into_bytes())
        }
        SecretRef::Command(command) => {
            let output = CommandLine::new(command.words(), COMMAND_TIMEOUT).run(cancel);
            let output = output.map_err(|source| SecretError::Command { source: mute(source) })?;
            Zeroizing::new(output.stdout)
        }
        SecretRef::Credential(name) => read_credential(name, surroundings)?,
    };
    let text = std::str::from_utf8(&bytes).ok().map(|text| text.trim_end_matches(['\n', '\r']));
    match text {
        Some(text) if !text.is_empty() && bytes.len() < LENGTH_MAX => Ok(Secret::new(text)),
        _ => Err(SecretError::Unusable { place: place.to_string() }),
    }
}

/// Forgets what the command wrote: a vault's client may print the secret in its complaint.
fn mute(error: CommandError) -> CommandError {
    match error {
        CommandError::Failed { program, status, .. } => {
            CommandError::Failed { program, status, stderr: String::new() }
        }
        other => other,
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The owner alone.
    Only,
    /// Whoever systemd lets read it.
    Systemd,
}

fn read_credential(
    name: &str,
    surroundings: &Surroundings,
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let missing = || SecretError::Credential { name: name.to_owned() };
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let directory = surroundings.credentials_directory.as_ref().filter(|_| plain);
    let path = directory.ok_or_else(missing)?.join(name);
    read_file(&path, Owner::Systemd).map_err(|error| match error {
        SecretError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => missing(),
        other => other,
    })
}

fn read_file(path: &Path, owner: Owner) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that nobody can exchange it in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if owner == Owner::Only && mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH_MAX));
    file.take(LENGTH_MAX as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
