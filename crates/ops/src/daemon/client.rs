//! Asking the daemon, for commands of the same host.

use std::io;
use std::path::Path;

use nix::unistd::Uid;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::control::{Ask, Reply, Served};
use crate::wal::protocol;

/// A conversation with the daemon.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<UnixStream>,
}

impl Conversation {
    /// Asks the daemon on a socket; `None` if none listens there whom this user can trust.
    pub async fn begin(socket: &Path, ask: &Ask) -> io::Result<Option<Self>> {
        let mut stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let uid = stream.peer_cred()?.uid();
        if uid != 0 && uid != Uid::effective().as_raw() {
            return Ok(None);
        }
        protocol::say(&mut stream, ask).await?;
        Ok(Some(Self { stream: BufReader::new(stream) }))
    }

    /// Hears the next answer.
    pub async fn next(&mut self) -> io::Result<Reply> {
        protocol::hear_long(&mut self.stream).await
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::PermissionDenied
    )
}

/// Asks what needs one answer; `None` if no daemon listens.
pub async fn ask(socket: &Path, ask: &Ask) -> io::Result<Option<Reply>> {
    match Conversation::begin(socket, ask).await? {
        None => Ok(None),
        Some(mut conversation) => conversation.next().await.map(Some),
    }
}

/// Returns what runs behind a socket, if anything does.
pub async fn served(socket: &Path) -> Option<Served> {
    match ask(socket, &Ask::Status).await {
        Ok(Some(Reply::Status(served))) => Some(served),
        _ => None,
    }
}
