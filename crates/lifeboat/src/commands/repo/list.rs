//! `lifeboat repo list`: list the ids of what is stored.

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use lifeboat_model::{BlobId, Exit, IndexId, KeyId, LockId, PackId, SnapshotId};
use lifeboat_repository::store::{FileId, ListedFile};
use lifeboat_repository::{BlobKind, Repository};
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{Answer, Page};
use crate::session::Session;

/// The arguments of `lifeboat repo list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    access: Access,
    /// What to list
    #[arg(value_name = "KIND")]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Snapshots
    Snapshots,
    /// Index files
    Index,
    /// Packs
    Packs,
    /// Locks
    Locks,
    /// Key files
    Keys,
    /// Blobs, as the index knows them; one that lies in several packs is listed for each
    Blobs,
}

#[derive(Serialize)]
struct Listed {
    kind: Kind,
    objects: Vec<Object>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Object {
    File { id: String, size_bytes: u64 },
    Blob { id: BlobId, r#type: BlobKind, pack: PackId, offset: u32, length: u32 },
}

impl Answer for Listed {
    const SCHEMA: &'static str = "lifeboat.repo.list/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for object in &self.objects {
            match object {
                Object::File { id, .. } => writeln!(page, "{id}")?,
                Object::Blob { id, r#type, .. } => writeln!(page, "{} {}", r#type, id.to_hex())?,
            }
        }
        Ok(())
    }
}

impl List {
    /// Lists files in the order of their ids, blobs as they lie in the packs.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let list = |repository: Repository| match self.kind {
            Kind::Snapshots => files::<SnapshotId>(&repository),
            Kind::Index => files::<IndexId>(&repository),
            Kind::Packs => files::<PackId>(&repository),
            Kind::Locks => files::<LockId>(&repository),
            Kind::Keys => files::<KeyId>(&repository),
            Kind::Blobs => blobs(repository, session),
        };
        // A lock of its own would be among those that it lists.
        let objects = match self.kind {
            Kind::Locks => list(self.access.open_without_lock(session)?)?,
            _ => self.access.look(session, list)?,
        };
        session.done(&Listed { kind: self.kind, objects })
    }
}

fn files<I: FileId>(repository: &Repository) -> Result<Vec<Object>, Failure> {
    let files = repository.store().list::<I>()?.into_iter();
    let object = |file: ListedFile<I>| Object::File { id: file.id.hex(), size_bytes: file.size };
    Ok(files.map(object).collect())
}

fn blobs(repository: Repository, session: &Session) -> Result<Vec<Object>, Failure> {
    let repository = repository.load_index(&session.cancel, &*session.events())?;
    let index = repository.index();
    let mut blobs = Vec::new();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        blobs.extend(index.blobs(kind).map(|(id, at)| Object::Blob {
            id,
            r#type: kind,
            pack: at.pack,
            offset: at.offset,
            length: at.length,
        }));
    }
    Ok(blobs)
}
