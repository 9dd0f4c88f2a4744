//! `lifeboat key`: the recovery key and its public halves.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use lifeboat_model::{Exit, Secret, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::key::{self, Confirmation};
use lifeboat_ops::status;
use lifeboat_plan::value::secret::SecretRef;
use serde::Serialize;

use crate::failure::{CommandError, Failure, NamedBy};
use crate::prompt::Terminal;
use crate::render::{Answer, Page, Sort, time};
use crate::screen;
use crate::session::Session;
use crate::surroundings;

/// The longest file that is read as a key; a key has 93 characters.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// The commands of `lifeboat key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Show the public halves of the key, and when the key was confirmed
    Show,
    /// Print the key in the form that a stock tool reads
    Export(Export),
    /// Read the key back from where it is kept away from this host
    Confirm(Confirm),
    /// Replace the key (not built yet, exit 5)
    Rotate,
}

/// The arguments of `lifeboat key export`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("form").args(["age", "restic"]).required(true))]
pub struct Export {
    /// Print the age identity, for `age --decrypt --identity FILE`
    #[arg(long)]
    age: bool,
    /// Print the password of the repositories, for restic and rustic
    #[arg(long)]
    restic: bool,
}

/// The arguments of `lifeboat key confirm`.
#[derive(Debug, Args)]
pub struct Confirm {
    /// Read the key from this file, `-` for standard input, instead of asking at the terminal
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Serialize)]
struct Shown {
    recipient: String,
    verifier: String,
    confirmed: Option<Timestamp>,
}

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.key.show/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "recipient  {}", self.recipient)?;
        writeln!(page, "verifier   {}", self.verifier)?;
        let confirmed = match self.confirmed {
            Some(when) => page.paint.good(&time::instant(when)),
            None => page.paint.bad("never: run `lifeboat key confirm`"),
        };
        writeln!(page, "confirmed  {confirmed}")
    }
}

#[derive(Serialize)]
struct Confirmed(Confirmation);

impl Answer for Confirmed {
    const SCHEMA: &'static str = "lifeboat.key.confirm/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "the recovery key was confirmed at {}", time::instant(self.0.confirmed))
    }
}

impl Key {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Show => show(session),
            Self::Export(export) => export.run(session),
            Self::Confirm(confirm) => confirm.run(session),
            Self::Rotate => Err(CommandError::NotBuilt {
                command: "key rotate",
                feature: "changing keys without losing what they open",
            }
            .into()),
        }
    }
}

fn show(session: &Session) -> Result<Exit, Failure> {
    let site = session.site()?;
    let confirmed = status::status(&site)?.key_confirmed;
    let stated = site.plan().key();
    let (recipient, verifier) =
        if let (Some(recipient), Some(verifier)) = (&stated.recipient, &stated.verifier) {
            (recipient.clone(), verifier.clone())
        } else {
            let halves = site.recovery_key(&session.cancel)?.public_halves();
            (halves.recipient.to_string(), halves.verifier.to_string())
        };
    session.done(&Shown { recipient, verifier, confirmed })
}

impl Export {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        if session.screen.json {
            let hint = "leave `--json` out and keep what is printed where nobody else reads it";
            return Err(
                CommandError::usage("a secret is never part of a JSON document", hint).into()
            );
        }
        let key = session.site()?.recovery_key(&session.cancel)?;
        let secret = if self.age { key.age_identity() } else { key.spelled() };
        screen::print(secret.expose().as_bytes())?;
        screen::print(b"\n")?;
        Ok(Exit::Done)
    }
}

impl Confirm {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let typed = match &self.from {
            Some(path) if is_the_plans(&site, path) => {
                let message = "this is the key file of the plan, which is lost with this host";
                let hint = "confirm with the copy that is kept elsewhere: type it at the terminal, or hand it in with `--from -`";
                return Err(CommandError::usage(message, hint).into());
            }
            Some(path) => from_file(path, "--from")?,
            None => ask(session)?,
        };
        session.done(&Confirmed(key::confirm(&site, &typed, &session.cancel)?))
    }
}

/// Tells whether a path is the file in which the plan keeps the key: reading that back proves nothing.
fn is_the_plans(site: &Site, path: &Path) -> bool {
    let SecretRef::File(kept) = &site.plan().key().secret else { return false };
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    let kept = identity(kept.as_path());
    kept.is_some() && kept == identity(path)
}

fn ask(session: &Session) -> Result<Secret, Failure> {
    let terminal = Terminal::open(&session.cancel).ok_or_else(|| CommandError::Unconfirmed {
        question: "that the recovery key is kept".to_owned(),
        hint: "hand it in: `lifeboat key confirm --from FILE`, or `--from -`".to_owned(),
    })?;
    terminal.ask_secret("the recovery key, from where it is kept away from this host: ")
}

/// Reads a recovery key from a file that an option names, or from standard input for `-`.
pub fn from_file(path: &Path, option: &'static str) -> Result<Secret, CommandError> {
    let failed = |source| CommandError::SecretFile {
        path: surroundings::shown_from_root(path),
        named_by: NamedBy::Option(option),
        source,
    };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut text = String::new();
    reader.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(text.trim()))
}
