//! `lifeboat repo cat`: print an object of a repository, or a file of a snapshot, as it is.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lifeboat_model::{Classify, ErrorKind, Exit, IndexId, KeyId, PackId, Silent};
use lifeboat_repository::error::KEY_FILES;
use lifeboat_repository::restore::read_file;
use lifeboat_repository::{BlobKind, Repository, SnapshotName};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Access;
use super::choice::Choice;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page};
use crate::screen;
use crate::session::Session;

/// The arguments of `lifeboat repo cat`.
#[derive(Debug, Args)]
pub struct Cat {
    #[command(flatten)]
    access: Access,
    /// What to print
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// The first digits of its id; of a snapshot also `latest`, behind a colon a directory in it
    #[arg(value_name = "ID", required_if_eq_any = [
        ("kind", "snapshot"), ("kind", "index"), ("kind", "key"), ("kind", "tree"),
        ("kind", "data"), ("kind", "pack"), ("kind", "file"),
    ])]
    id: Option<String>,
    /// The file of the snapshot
    #[arg(value_name = "PATH", required_if_eq("kind", "file"))]
    path: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The config
    Config,
    /// A snapshot
    Snapshot,
    /// An index
    Index,
    /// A key file, in which the master key is sealed
    Key,
    /// A directory, as a tree blob
    Tree,
    /// A piece of a file, as a data blob
    Data,
    /// A pack, sealed as it is stored
    Pack,
    /// The content of a file in a snapshot
    File,
}

#[derive(Serialize)]
struct Object {
    object: Box<RawValue>,
}

impl Answer for Object {
    const SCHEMA: &'static str = "lifeboat.repo.cat/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "{}", self.object)
    }
}

impl Cat {
    /// Prints the object.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if session.screen.json && matches!(self.kind, Kind::Data | Kind::Pack | Kind::File) {
            return Err(CommandError::usage(
                "the bytes of a pack or a file are no JSON document",
                "leave `--json` out",
            )
            .into());
        }
        let (repository, _lock) = self.access.open(session)?;
        let id = self.id.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Config => document(session, &repository.config().to_document()),
            Kind::Snapshot => {
                let name = SnapshotName::from(OsStr::new(id));
                let (id, _) = repository.choose(&name, &self.choice.filter())?;
                document(session, &repository.load_document(&id)?)
            }
            Kind::Index => {
                let id: IndexId = repository.find_file("index files", id)?;
                document(session, &repository.load_document(&id)?)
            }
            Kind::Key => {
                let id: KeyId = repository.find_file(KEY_FILES, id)?;
                document(session, &repository.load_raw(&id)?)
            }
            Kind::Pack => {
                let id: PackId = repository.find_file("packs", id)?;
                bytes(&repository.load_raw(&id)?)
            }
            Kind::Tree => document(session, &blob(repository, BlobKind::Tree, id, session)?),
            Kind::Data => bytes(&blob(repository, BlobKind::Data, id, session)?),
            Kind::File => self.file(repository, session),
        }
    }

    /// Streams a file, piece by piece.
    fn file(&self, repository: Repository, session: &Session) -> Result<Exit, Failure> {
        let name = SnapshotName::from(OsStr::new(self.id.as_deref().unwrap_or_default()));
        let (_, snapshot) = repository.choose(&name, &self.choice.filter())?;
        let repository = repository.load_index(&session.cancel, &Silent)?;
        let snapshot = repository.enter(snapshot, &name.directory)?;
        let path = self.path.as_deref().unwrap_or(Path::new("/"));
        let mut reader = read_file(&repository, &snapshot, path)?;
        screen::stream(&mut reader, &session.cancel)?;
        Ok(Exit::Done)
    }
}

fn blob(
    repository: Repository,
    kind: BlobKind,
    id: &str,
    session: &Session,
) -> Result<Vec<u8>, Failure> {
    let repository = repository.load_index(&session.cancel, &Silent)?;
    let id = repository.find_blob(kind, id)?;
    Ok(repository.read_blob(kind, &id)?.to_vec())
}

fn bytes(bytes: &[u8]) -> Result<Exit, Failure> {
    screen::print(bytes)?;
    Ok(Exit::Done)
}

/// Prints a JSON document of the repository byte for byte, or inside of ours.
fn document(session: &Session, text: &[u8]) -> Result<Exit, Failure> {
    if !session.screen.json {
        return bytes(&[text, b"\n"].concat());
    }
    let object = serde_json::from_slice(text).map_err(NotJson)?;
    session.done(&Object { object })
}

/// A document of the repository is none.
#[derive(Debug, thiserror::Error)]
#[error("the document is not JSON")]
struct NotJson(#[source] serde_json::Error);

impl Classify for NotJson {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }
}
