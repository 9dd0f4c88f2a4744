//! The requests of the protocol, one function for each that a tier needs.
//!
//! Source: draft-ietf-secsh-filexfer-02; OpenSSH `PROTOCOL`, section 4, for the extensions.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use openssh_sftp_client_lowlevel::{
    CreateFlags, Data, FileAttrs, FileType, HandleOwned, NameEntry, OpenFileRequest, OpenOptions,
    Permissions, Statvfs,
};

use super::failure::Failure;
use super::session::Session;

/// A file or a directory that the server holds open; closed when dropped.
#[derive(Debug)]
pub(super) struct Opened {
    session: Arc<Session>,
    handle: HandleOwned,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let handle = Cow::Borrowed(&*self.handle);
        // Nobody waits for it: what has to last was synced, and of a session that ended nothing is open.
        drop(self.session.send(|output, id| output.send_close_request(id, handle)));
    }
}

pub(super) async fn open(session: &Arc<Session>, path: &Path) -> Result<Opened, Failure> {
    opened(session, OpenOptions::new().read(true).open(Cow::Borrowed(path))).await
}

/// Creates a file for writing, unless something has its name.
pub(super) async fn create(session: &Arc<Session>, path: &Path) -> Result<Opened, Failure> {
    let attributes = FileAttrs::new();
    let options = OpenOptions::new().write(true);
    opened(session, options.create(Cow::Borrowed(path), CreateFlags::Excl, attributes)).await
}

async fn opened(session: &Arc<Session>, request: OpenFileRequest<'_>) -> Result<Opened, Failure> {
    let handle =
        session.ask(|output, id| Ok(output.send_open_file_request(id, request)?.wait())).await?;
    Ok(Opened { session: Arc::clone(session), handle })
}

pub(super) async fn open_directory(session: &Arc<Session>, path: &Path) -> Result<Opened, Failure> {
    let path = Cow::Borrowed(path);
    let handle =
        session.ask(|output, id| Ok(output.send_opendir_request(id, path)?.wait())).await?;
    Ok(Opened { session: Arc::clone(session), handle })
}

impl Opened {
    /// Reads at most what fits into `buffer`; `None` at the end of the file.
    pub(super) async fn read(
        &self,
        offset: u64,
        length: u32,
        buffer: BytesMut,
    ) -> Result<Option<BytesMut>, Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        let read = self.session.ask(|output, id| {
            Ok(output.send_read_request(id, handle, offset, length, Some(buffer))?.wait())
        });
        Ok(match read.await? {
            Data::Buffer(buffer) => Some(buffer),
            Data::AllocatedBox(bytes) => Some(BytesMut::from(&bytes[..])),
            Data::Eof => None,
        })
    }

    pub(super) async fn write(&self, offset: u64, part: Bytes) -> Result<(), Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        self.session
            .ask(|output, id| {
                Ok(output.send_write_request_zero_copy(id, handle, offset, &[part])?.wait())
            })
            .await
    }

    pub(super) async fn attributes(&self) -> Result<FileAttrs, Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        self.session.ask(|output, id| Ok(output.send_fstat_request(id, handle)?.wait())).await
    }

    pub(super) async fn set_mode(&self, mode: u32) -> Result<(), Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        let attributes = with_mode(mode);
        self.session
            .ask(|output, id| Ok(output.send_fsetstat_request(id, handle, attributes)?.wait()))
            .await
    }

    pub(super) async fn sync(&self) -> Result<(), Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        self.session.ask(|output, id| Ok(output.send_fsync_request(id, handle)?.wait())).await
    }

    /// Reads some more entries of a directory; none at its end.
    pub(super) async fn entries(&self) -> Result<Box<[NameEntry]>, Failure> {
        let handle = Cow::Borrowed(&*self.handle);
        self.session.ask(|output, id| Ok(output.send_readdir_request(id, handle)?.wait())).await
    }
}

pub(super) async fn look_at(session: &Session, path: &Path) -> Result<FileAttrs, Failure> {
    let path = Cow::Borrowed(path);
    session.ask(|output, id| Ok(output.send_stat_request(id, path)?.wait())).await
}

pub(super) async fn look_at_file_system(
    session: &Session,
    path: &Path,
) -> Result<Statvfs, Failure> {
    let path = Cow::Borrowed(path);
    session.ask(|output, id| Ok(output.send_statvfs_request(id, path)?.wait())).await
}

pub(super) async fn make_directory(
    session: &Session,
    path: &Path,
    mode: u32,
) -> Result<(), Failure> {
    let path = Cow::Borrowed(path);
    let attributes = with_mode(mode);
    session.ask(|output, id| Ok(output.send_mkdir_request(id, path, attributes)?.wait())).await
}

pub(super) async fn remove(session: &Session, path: &Path) -> Result<(), Failure> {
    let path = Cow::Borrowed(path);
    session.ask(|output, id| Ok(output.send_remove_request(id, path)?.wait())).await
}

/// Gives a file another name, taking it from what has it.
pub(super) async fn rename(session: &Session, from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (Cow::Borrowed(from), Cow::Borrowed(to));
    session.ask(|output, id| Ok(output.send_posix_rename_request(id, from, to)?.wait())).await
}

/// Gives a file a further name, unless something has it.
pub(super) async fn link(session: &Session, from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (Cow::Borrowed(from), Cow::Borrowed(to));
    session.ask(|output, id| Ok(output.send_hardlink_request(id, from, to)?.wait())).await
}

fn with_mode(mode: u32) -> FileAttrs {
    let mut attributes = FileAttrs::new();
    attributes.set_permissions(Permissions::from_bits_truncate(mode));
    attributes
}

/// Tells whether this is a directory; what it is not said of is none.
pub(super) fn is_directory(attributes: &FileAttrs) -> bool {
    attributes.get_filetype() == Some(FileType::Directory)
}

/// Tells whether this may be an object.
pub(super) fn is_file(attributes: &FileAttrs) -> bool {
    attributes.get_filetype() == Some(FileType::RegularFile)
}

/// Returns when a file was written, in seconds since 1970, by the server's clock.
pub(super) fn written_at(attributes: &FileAttrs) -> Option<u32> {
    attributes.get_time().map(|(_, modified)| modified.into_raw())
}
