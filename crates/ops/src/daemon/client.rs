//! Asking the daemon, for commands of the same host.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::control::{Ask, Reply, Served};
use crate::wal::protocol;

/// How long one answer is waited for: a daemon that is stopped or hangs still takes connections.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

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

/// Asks what needs one answer; `None` if no daemon listens, and an error if it does not answer in time.
pub async fn ask(socket: &Path, ask: &Ask) -> io::Result<Option<Reply>> {
    ask_within(socket, ask, ANSWERS_WITHIN).await
}

async fn ask_within(socket: &Path, ask: &Ask, within: Duration) -> io::Result<Option<Reply>> {
    let answer = async {
        match Conversation::begin(socket, ask).await? {
            None => Ok(None),
            Some(mut conversation) => conversation.next().await.map(Some),
        }
    };
    tokio::time::timeout(within, answer).await.unwrap_or_else(|_| {
        let message =
            format!("it did not answer in {} seconds: it hangs or is stopped", within.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

/// Returns what runs behind a socket, if anything does that answers; of what does not it is told.
pub async fn served(socket: &Path) -> Option<Served> {
    match ask(socket, &Ask::Status).await {
        Ok(Some(Reply::Status(served))) => Some(served),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "A daemon runs here, and does not answer.");
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_keeps_nobody_waiting() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let asked = ask_within(&socket, &Ask::Status, Duration::from_millis(20)).await;
        let error = asked.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(listener);
        assert!(ask(&socket, &Ask::Status).await.unwrap().is_none(), "nobody listens");
    }
}
