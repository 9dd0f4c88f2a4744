//! Asking `wal serve` first: it may have shipped or fetched the file already.
//!
//! Whatever goes wrong on the way is no failure: whoever asked then does the work himself.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use lifeboat_model::Clock;
use lifeboat_postgres::wal::WalFileName;
use nix::unistd::Uid;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::protocol::{self, Question, Reply, VERSION, Verdict, Wish};

/// How long an answer is waited for. The server may be sending the file over a slow line; who works
/// alone beside it would do no better.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is done; these are the file's bytes, if they were asked for.
    Done(Bytes),
    /// The archive ends before the file.
    End,
    /// The server could not do it, and neither could anybody else.
    Failed(String),
}

/// Asks the server on a socket; `None` if there is none, or none that can tell.
pub async fn ask(
    socket: &Path,
    wish: Wish,
    file: WalFileName,
    directory: &Path,
    clock: &dyn Clock,
) -> Option<Answered> {
    let asked = Box::pin(converse(socket, wish, file, directory));
    match futures::future::select(asked, clock.sleep(PATIENCE)).await {
        futures::future::Either::Left((Ok(answered), _)) => answered,
        futures::future::Either::Left((Err(error), _)) => {
            tracing::debug!(%error, socket = %socket.display(), "Nobody serves the log here.");
            None
        }
        futures::future::Either::Right(_) => None,
    }
}

async fn converse(
    socket: &Path,
    wish: Wish,
    file: WalFileName,
    directory: &Path,
) -> io::Result<Option<Answered>> {
    let mut stream = UnixStream::connect(socket).await?;
    if !is_trusted(stream.peer_cred()?.uid(), directory) {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let question = Question { version: VERSION, wish, file, directory: directory.to_owned() };
    protocol::say(&mut stream, &question).await?;
    let mut stream = BufReader::new(stream);
    let reply: Reply = protocol::hear(&mut stream).await?;
    Ok(match reply.verdict {
        Verdict::Done { length } => {
            Some(Answered::Done(Bytes::from(protocol::body(&mut stream, length).await?)))
        }
        Verdict::End => Some(Answered::End),
        Verdict::Failed { message } => Some(Answered::Failed(message)),
        Verdict::NotMine => None,
    })
}

/// Tells whether somebody serves the log on a socket whom the owner of `directory` can trust.
pub async fn is_served(socket: &Path, directory: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else { return false };
    stream.peer_cred().is_ok_and(|peer| is_trusted(peer.uid(), directory))
}

/// Tells whether somebody may speak for a cluster's log: root, its owner, and oneself. Anybody else
/// could say that a file is archived, and it would be lost.
pub(super) fn is_trusted(uid: u32, directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(directory).map(|meta| meta.uid());
    uid == 0 || uid == Uid::effective().as_raw() || owner.is_ok_and(|owner| owner == uid)
}
