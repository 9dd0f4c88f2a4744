//! Finding all objects below a directory, several directories at a time.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt as _, try_unfold};
use openssh_sftp_client_lowlevel::FileAttrs;

use super::failure::{Failure, Status, Trouble};
use super::files::{self, is_directory, is_file};
use super::session::{IN_FLIGHT_MAX, Session};
use super::store::Visit;

/// One name in a directory.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) attributes: FileAttrs,
}

/// Reads a directory; names that no tier could have given are left out.
pub(super) async fn read_directory(
    session: &Arc<Session>,
    path: &Path,
) -> Result<Vec<Entry>, Failure> {
    let directory = files::open_directory(session, path).await?;
    let mut found = Vec::new();
    loop {
        let entries = directory.entries().await?;
        if entries.is_empty() {
            return Ok(found);
        }
        found.extend(entries.into_iter().filter_map(|entry| {
            let name = entry.filename.to_str()?.to_owned();
            Some(Entry { name, attributes: entry.attrs })
        }));
    }
}

/// A file that was found, by its path below the root.
pub(super) struct Found {
    pub(super) path: String,
    pub(super) attributes: FileAttrs,
}

/// What lies in one directory.
#[derive(Default)]
struct Contents {
    files: Vec<Found>,
    directories: Vec<String>,
}

type Reading = BoxFuture<'static, Result<Contents, Trouble>>;

/// A walk through directories: those that wait, those that are being read, what was found.
struct Walk {
    visit: Visit,
    waiting: Vec<String>,
    reading: FuturesUnordered<Reading>,
    found: VecDeque<Found>,
}

/// Lists the files below `start`, which is a path below the root. Whatever vanishes meanwhile was deleted.
pub(super) fn files_below(
    visit: Visit,
    start: String,
) -> impl Stream<Item = Result<Found, Trouble>> {
    let (reading, found) = (FuturesUnordered::new(), VecDeque::new());
    let walk = Walk { visit, waiting: vec![start], reading, found };
    try_unfold(walk, async |mut walk| {
        let found = walk.next().await?;
        Ok(found.map(|found| (found, walk)))
    })
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Found>, Trouble> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            while self.reading.len() < IN_FLIGHT_MAX
                && let Some(directory) = self.waiting.pop()
            {
                self.reading.push(Box::pin(contents(self.visit.clone(), directory)));
            }
            match self.reading.next().await {
                None => return Ok(None),
                Some(contents) => {
                    let contents = contents?;
                    self.found.extend(contents.files);
                    self.waiting.extend(contents.directories);
                }
            }
        }
    }
}

async fn contents(visit: Visit, directory: String) -> Result<Contents, Trouble> {
    let path = visit.place().below(&directory);
    let entries = match read_directory(visit.session(), &path).await {
        Err(failure) if failure.is(Status::NoSuchFile) => {
            visit.root_must_be_there().await?;
            return Ok(Contents::default());
        }
        other => other?,
    };
    let mut contents = Contents::default();
    // Hidden names are the server's, or of unfinished writes.
    for entry in entries.into_iter().filter(|entry| !entry.name.starts_with('.')) {
        let separator = if directory.is_empty() { "" } else { "/" };
        let path = format!("{directory}{separator}{}", entry.name);
        if is_directory(&entry.attributes) {
            contents.directories.push(path);
        } else if is_file(&entry.attributes) {
            contents.files.push(Found { path, attributes: entry.attributes });
        }
    }
    Ok(contents)
}
