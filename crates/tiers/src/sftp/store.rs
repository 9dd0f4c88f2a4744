//! Putting objects so that they last, and taking them away.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use openssh_sftp_client_lowlevel::{Extensions, FileAttrs};

use super::failure::{Failure, Status, Trouble};
use super::files::{self, Opened, is_directory, is_file, written_at};
use super::listing::read_directory;
use super::place::Place;
use super::session::{IN_FLIGHT_MAX, Session};
use crate::durable::{LEFTOVER_AGE, Modes, is_temporary, temporary_name};
use crate::prepared::Prepared;
use crate::{Creation, ObjectPath, PutMode};

/// The bit of `f_flag` that says that a file system is mounted for reading only.
///
/// Source: OpenSSH `PROTOCOL`, section 4.5.
const MOUNTED_FOR_READING: u64 = 1;

/// What a tier knows of its directory, whichever session it uses.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) place: Place,
    pub(super) creation: Creation,
    /// Directories that this process made durable and swept.
    pub(super) prepared: Prepared,
    /// The file system that was found there first.
    pub(super) file_system: OnceLock<u64>,
}

/// Whether a server makes names last when it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Synced,
    /// It cannot, or need not.
    LeftToServer,
}

/// A tier's directory, seen through one session.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    store: Arc<Store>,
    session: Arc<Session>,
}

impl Visit {
    pub(super) const fn new(store: Arc<Store>, session: Arc<Session>) -> Self {
        Self { store, session }
    }

    pub(super) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn place(&self) -> &Place {
        &self.store.place
    }

    /// Fails unless the tier's directory is there, and is where it was.
    pub(super) async fn root_must_be_there(&self) -> Result<Modes, Trouble> {
        let path = self.place().root();
        let (attributes, file_system) =
            future::join(files::look_at(&self.session, path), self.file_system()).await;
        let attributes = match attributes {
            Ok(attributes) if is_directory(&attributes) => attributes,
            Ok(_) => return Err(Trouble::Missing),
            Err(failure) if failure.is(Status::NoSuchFile) => return Err(Trouble::Missing),
            Err(failure) => return Err(failure.into()),
        };
        // A number of nought is none; some file systems have no other.
        let file_system = file_system.filter(|number| *number != 0);
        if let Some(number) = file_system
            && *self.store.file_system.get_or_init(|| number) != number
        {
            return Err(Trouble::Replaced);
        }
        let mode = attributes.get_permissions().map_or(0, |permissions| permissions.bits());
        Ok(Modes::below(mode))
    }

    async fn file_system(&self) -> Option<u64> {
        if !self.session.has(Extensions::STATVFS) {
            return None;
        }
        let told = files::look_at_file_system(&self.session, self.place().root()).await;
        told.ok().map(|told| told.fsid)
    }

    /// Looks at the root once in a session.
    async fn modes(&self) -> Result<Modes, Trouble> {
        self.session.modes.get_or_try_init(|| self.root_must_be_there()).await.copied()
    }

    /// Says of a failure whether it means that the object is not there, or the whole tier.
    pub(super) async fn absent_or(&self, failure: Failure) -> Trouble {
        if !failure.is(Status::NoSuchFile) {
            return failure.into();
        }
        self.root_must_be_there().await.map_or_else(|trouble| trouble, |_| Trouble::Absent)
    }

    /// Returns what the server knows of an object.
    pub(super) async fn head(&self, path: &ObjectPath) -> Result<FileAttrs, Trouble> {
        match files::look_at(&self.session, &self.place().below(path.as_str())).await {
            Ok(attributes) if is_file(&attributes) => Ok(attributes),
            Ok(_) => Err(Trouble::Absent),
            Err(failure) => Err(self.absent_or(failure).await),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub(super) async fn remove(&self, path: &ObjectPath) -> Result<(), Trouble> {
        let file = self.place().below(path.as_str());
        match files::remove(&self.session, &file).await {
            Ok(()) => self.sync_directory(above(&file)).await,
            Err(failure) => match self.absent_or(failure).await {
                Trouble::Absent => Ok(()),
                // A directory is no object, so the object is not there.
                Trouble::Failed(failure)
                    if failure.is(Status::Failure)
                        && matches!(self.head(path).await, Err(Trouble::Absent)) =>
                {
                    Ok(())
                }
                other => Err(other),
            },
        }
    }

    /// Stores an object.
    pub(super) async fn put(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), Trouble> {
        let how = self.naming(path, mode).await?;
        let modes = self.modes().await?;
        let directories = self.place().directories(path);
        let (file, unfinished) = self.temporary(&directories, modes).await?;
        let length = body.len() as u64;
        let filled = future::try_join(
            self.fill(&file, body, modes.object),
            self.prepare(&directories, &file),
        );
        let written = match filled.await {
            Ok(_) => self.sync(&file).await,
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = written {
            return Err(self.why_not_written(trouble, length).await);
        }
        self.take_name(unfinished, path, how).await?;
        self.sync_directory(&directories[0]).await
    }

    /// Decides how the object gets its name, and whether the server can do that.
    async fn naming(&self, path: &ObjectPath, mode: PutMode) -> Result<Naming, Trouble> {
        let naming = match (mode, self.store.creation) {
            (PutMode::Overwrite, _) => Naming::Renamed,
            (PutMode::Create, Creation::Conditional) => Naming::Linked,
            (PutMode::Create, Creation::LookFirst) => match self.head(path).await {
                Ok(_) => return Err(Trouble::Exists),
                Err(Trouble::Absent) => Naming::Renamed,
                Err(trouble) => return Err(trouble),
            },
        };
        match naming {
            Naming::Linked if !self.session.has(Extensions::HARDLINK) => {
                Err(Trouble::Unconditional)
            }
            Naming::Renamed if !self.session.has(Extensions::POSIX_RENAME) => Err(Trouble::Unfit(
                "the server has no posix-rename@openssh.com, by which an object is replaced as a whole",
            )),
            possible => Ok(possible),
        }
    }

    /// Creates a file under a temporary name beside the object's, making directories if need be.
    async fn temporary(
        &self,
        directories: &[PathBuf],
        modes: Modes,
    ) -> Result<(Opened, Unfinished), Trouble> {
        let path = directories[0].join(temporary_name());
        // From here on it is removed, even should the answer that it was made be lost.
        let unfinished =
            Unfinished { session: Arc::clone(&self.session), path: Some(path.clone()) };
        let file = match files::create(&self.session, &path).await {
            Err(failure) if failure.is(Status::NoSuchFile) => {
                self.make_directories(directories, modes).await?;
                files::create(&self.session, &path).await
            }
            other => other,
        };
        match file {
            Ok(file) => Ok((file, unfinished)),
            Err(failure) => Err(self.why_not_written(failure.into(), 0).await),
        }
    }

    /// Makes the directories below the root that are missing; never the root itself.
    async fn make_directories(&self, directories: &[PathBuf], modes: Modes) -> Result<(), Trouble> {
        self.root_must_be_there().await?;
        let [below @ .., _root] = directories else { return Ok(()) };
        for directory in below.iter().rev() {
            let Err(failure) =
                files::make_directory(&self.session, directory, modes.directory).await
            else {
                continue;
            };
            match files::look_at(&self.session, directory).await {
                Ok(attributes) if is_directory(&attributes) => {}
                Ok(_) => {
                    return Err(Trouble::Denied(format!(
                        "{} is no directory",
                        directory.display()
                    )));
                }
                Err(_) => return Err(self.why_not_written(failure.into(), 0).await),
            }
        }
        Ok(())
    }

    /// Writes the contents and sets the permission bits.
    async fn fill(&self, file: &Opened, body: Bytes, mode: u32) -> Result<(), Trouble> {
        let slice = self.session.slices().await?.write as usize;
        let starts = (0..body.len()).step_by(slice);
        let parts = starts.map(|start| (start, body.slice(start..body.len().min(start + slice))));
        let written = stream::iter(parts.map(|(start, part)| file.write(start as u64, part)))
            .buffer_unordered(IN_FLIGHT_MAX)
            .try_collect::<()>();
        match future::try_join(written, self.set_mode(file, mode)).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// A server that keeps modes to itself, or is told to, decides alone who may read.
    async fn set_mode(&self, file: &Opened, mode: u32) -> Result<(), Failure> {
        match file.set_mode(mode).await {
            Err(Failure::Status { .. }) | Ok(()) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn sync(&self, file: &Opened) -> Result<(), Trouble> {
        if self.session.has(Extensions::FSYNC) { Ok(file.sync().await?) } else { Ok(()) }
    }

    /// Gives an object that is complete its name.
    async fn take_name(
        &self,
        mut unfinished: Unfinished,
        path: &ObjectPath,
        how: Naming,
    ) -> Result<(), Trouble> {
        let target = self.place().below(path.as_str());
        let temporary = unfinished.path.clone().unwrap_or_default();
        match how {
            Naming::Renamed => {
                files::rename(&self.session, &temporary, &target).await?;
                unfinished.path = None;
                Ok(())
            }
            Naming::Linked => {
                let linked = files::link(&self.session, &temporary, &target).await;
                unfinished.remove().await;
                match linked {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(self.why_not_linked(failure, path).await),
                }
            }
        }
    }

    /// Says why a link was refused: servers have one word for everything.
    async fn why_not_linked(&self, failure: Failure, path: &ObjectPath) -> Trouble {
        let refused = [Status::Failure, Status::Denied, Status::Unfit];
        if !refused.into_iter().any(|status| failure.is(status)) {
            return failure.into();
        }
        let target = self.place().below(path.as_str());
        match files::look_at(&self.session, &target).await {
            // Whatever has the name; also where another writer was first its name is to last.
            Ok(_) => match self.sync_directory(above(&target)).await {
                Ok(()) => Trouble::Exists,
                Err(trouble) => trouble,
            },
            Err(gone) if gone.is(Status::NoSuchFile) => Trouble::Unconditional,
            Err(other) => other.into(),
        }
    }

    /// Says why something could not be written: a full disk is a failure like any other to the protocol.
    async fn why_not_written(&self, trouble: Trouble, length: u64) -> Trouble {
        let Trouble::Failed(failure) = &trouble else { return trouble };
        if !failure.is(Status::Failure) || !self.session.has(Extensions::STATVFS) {
            return trouble;
        }
        let Ok(told) = files::look_at_file_system(&self.session, self.place().root()).await else {
            return trouble;
        };
        let free = told.bavail.saturating_mul(told.frsize);
        let has_no_inode = told.files > 0 && told.favail == 0;
        if told.flag & MOUNTED_FOR_READING != 0 {
            Trouble::Denied(format!("{failure}; its file system is mounted for reading only"))
        } else if free <= length || has_no_inode {
            Trouble::Full(format!("{failure}; {free} bytes are free"))
        } else {
            trouble
        }
    }
}

/// Looking after directories.
impl Visit {
    /// Makes the names of an object's directories last, and removes what crashed writes left beside it; once
    /// for each directory.
    ///
    /// A directory that is there may have been made by another process a moment ago, so it is synced as well.
    async fn prepare(&self, directories: &[PathBuf], file: &Opened) -> Result<(), Trouble> {
        let [directory, above @ ..] = directories else { return Ok(()) };
        if self.store.prepared.contains(directory) {
            return Ok(());
        }
        let synced = async {
            for above in above {
                self.sync_directory(above).await?;
            }
            Ok::<_, Trouble>(())
        };
        let (synced, swept) = future::join(synced, self.sweep(directory, file)).await;
        synced?;
        if let Err(failure) = swept {
            let error = &failure as &dyn std::error::Error;
            tracing::debug!(path = %directory.display(), error, "leftovers could not be looked for");
        }
        self.store.prepared.insert(directory);
        Ok(())
    }

    /// Removes what crashed writes left long before `file` was created, by the server's own clock. Best
    /// effort: what cannot be removed now is tried by a later writer.
    async fn sweep(&self, directory: &Path, file: &Opened) -> Result<(), Failure> {
        let (entries, now) =
            future::try_join(read_directory(&self.session, directory), file.attributes()).await?;
        let Some(now) = written_at(&now) else { return Ok(()) };
        let age = u32::try_from(LEFTOVER_AGE.as_secs()).unwrap_or(u32::MAX);
        let oldest = now.saturating_sub(age);
        for entry in entries {
            let is_old = written_at(&entry.attributes).is_some_and(|written| written < oldest);
            if is_temporary(&entry.name) && is_file(&entry.attributes) && is_old {
                let path = directory.join(&entry.name);
                files::remove(&self.session, &path).await?;
                tracing::info!(path = %path.display(), "removed what a crashed write left");
            }
        }
        Ok(())
    }

    /// Makes the names in a directory last, where the server can.
    async fn sync_directory(&self, path: &Path) -> Result<(), Trouble> {
        let names = self.session.names.get_or_try_init(|| self.find_out_about_names()).await?;
        match names {
            Names::Synced => Ok(files::open(&self.session, path).await?.sync().await?),
            Names::LeftToServer => Ok(()),
        }
    }

    /// Tries to sync the root. The protocol knows no such thing; OpenSSH opens a directory like a file and
    /// syncs what was opened.
    async fn find_out_about_names(&self) -> Result<Names, Failure> {
        if !self.session.has(Extensions::FSYNC) {
            tracing::warn!(
                path = %self.place().root().display(),
                "the server has no fsync@openssh.com; what is stored there lasts once its system has written it"
            );
            return Ok(Names::LeftToServer);
        }
        let synced = match files::open(&self.session, self.place().root()).await {
            Ok(root) => root.sync().await,
            Err(failure) => Err(failure),
        };
        match synced {
            Ok(()) => Ok(Names::Synced),
            Err(Failure::Status { .. }) => Ok(Names::LeftToServer),
            Err(failure) => Err(failure),
        }
    }
}

fn above(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

/// How a complete object gets its name.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// In the place of what has it.
    Renamed,
    /// Only if nothing has it.
    Linked,
}

/// A file under a temporary name; removed unless it took its real one.
struct Unfinished {
    session: Arc<Session>,
    path: Option<PathBuf>,
}

impl Unfinished {
    /// Removes it and waits for that; what stays is swept once it is old.
    async fn remove(&mut self) {
        if let Some(path) = self.path.take() {
            drop(files::remove(&self.session, &path).await);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let session = Arc::clone(&self.session);
        self.session.runtime.spawn(async move {
            drop(files::remove(&session, &path).await);
        });
    }
}
