//! `lifeboat repo key`: the passwords that open a repository.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeboat_model::{Exit, KeyId, Secret};
use lifeboat_repository::Repository;
use lifeboat_repository::check::explain;
use lifeboat_repository::error::KEY_FILES;
use lifeboat_repository::key::{KdfParameters, KeyNote, KeyOrigin};
use lifeboat_repository::keyring::ListedKey;
use serde::Serialize;

use super::{Access, password};
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort, Table};
use crate::session::Session;
use crate::surroundings;

/// The commands on key files.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the key files
    List(List),
    /// Add a password that opens the repository
    Add(Add),
    /// Take the right to open the repository from a password
    Remove(Remove),
    /// Change the password that opens the repository
    Passwd(Passwd),
}

impl Key {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::List(command) => command.run(session),
            Self::Add(command) => command.run(session),
            Self::Remove(command) => command.run(session),
            Self::Passwd(command) => command.run(session),
        }
    }
}

/// The arguments of `lifeboat repo key list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    access: Access,
}

/// A new password, and what is noted about it.
#[derive(Debug, Args)]
struct New {
    /// Read the new password from the first line of this file; otherwise it is asked for, twice
    #[arg(long = "new-password-file", id = "new_password_file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Note this user in the key file [default: the user that runs this]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Note this host in the key file [default: this host's name]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

/// The arguments of `lifeboat repo key add`.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    new: New,
}

/// The arguments of `lifeboat repo key remove`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::unmentioned))]
pub struct Remove {
    #[command(flatten)]
    access: Access,
    /// The key file, by the first digits of its id
    #[arg(value_name = "KEY")]
    key: String,
}

/// The arguments of `lifeboat repo key passwd`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::unmentioned))]
pub struct Passwd {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    new: New,
}

#[derive(Serialize)]
struct Listed {
    keys: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: KeyId,
    /// Whether the repository was opened with it.
    current: bool,
    #[serde(flatten)]
    note: Option<KeyNote>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Entry {
    fn new(ListedKey { id, note }: ListedKey, current: KeyId) -> Self {
        let problem = note.as_ref().err().map(|error| explain(error));
        Self { id, current: id == current, note: note.ok(), problem }
    }
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.repo.key.list/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(["", "Id", "User", "Host", "Created"]);
        for Entry { id, current, note, problem } in &self.keys {
            let text = |text: fn(&KeyNote) -> &String| {
                note.as_ref().map(text).cloned().unwrap_or_default()
            };
            let created = problem.clone().unwrap_or_else(|| text(|note| &note.created));
            table.row([
                if *current { "*" } else { "" }.into(),
                id.to_string().into(),
                text(|note| &note.username).into(),
                text(|note| &note.hostname).into(),
                created.into(),
            ]);
        }
        page.table(&table);
        Ok(())
    }
}

impl List {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open(session)?;
        let keys = repository.keys()?.into_iter();
        let keys = keys.map(|key| Entry::new(key, repository.key_id())).collect();
        super::end_lock(lock)?;
        session.done(&Listed { keys })
    }
}

#[derive(Serialize)]
struct Added {
    id: KeyId,
}

impl Answer for Added {
    const SCHEMA: &'static str = "lifeboat.repo.key.add/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "the new password opens the repository, by key file {}", self.id)
    }
}

impl New {
    /// Asks for the password before anything is measured or written.
    fn password(&self, access: &Access, session: &Session) -> Result<Secret, Failure> {
        password::choose(&access.address, self.file.as_deref(), session)
    }

    fn origin(&self, session: &Session) -> KeyOrigin {
        KeyOrigin {
            created: session.clock.now(),
            username: self.user.clone().unwrap_or_else(surroundings::username),
            hostname: self.host.clone().unwrap_or_else(surroundings::hostname),
        }
    }
}

impl Add {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open(session)?;
        let password = self.new.password(&self.access, session)?;
        let kdf = KdfParameters::for_password();
        let id = repository.add_key(&password, kdf, &self.new.origin(session))?;
        super::end_lock(lock)?;
        session.done(&Added { id })
    }
}

#[derive(Serialize)]
struct Removed {
    id: KeyId,
}

impl Answer for Removed {
    const SCHEMA: &'static str = "lifeboat.repo.key.remove/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "removed key file {}: its password opens nothing any more", self.id)?;
        writeln!(page, "whoever had it may have kept the master key, which stays the same")
    }
}

impl Remove {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open_alone(session)?;
        let id: KeyId = repository.find_file(KEY_FILES, &self.key)?;
        repository.remove_key(&id)?;
        super::end_lock(lock)?;
        session.done(&Removed { id })
    }
}

#[derive(Serialize)]
struct Changed {
    id: KeyId,
    removed: KeyId,
}

impl Answer for Changed {
    const SCHEMA: &'static str = "lifeboat.repo.key.passwd/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Self { id, removed } = self;
        writeln!(page, "the password was changed: key file {id} took the place of {removed}")
    }
}

impl Passwd {
    fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open_alone(session)?;
        let password = self.new.password(&self.access, session)?;
        let changed = change(&repository, &password, &self.new.origin(session))?;
        super::end_lock(lock)?;
        session.done(&changed)
    }
}

fn change(
    repository: &Repository,
    password: &Secret,
    origin: &KeyOrigin,
) -> Result<Changed, Failure> {
    let removed = repository.key_id();
    let id = repository.change_password(password, KdfParameters::for_password(), origin)?;
    Ok(Changed { id, removed })
}
