//! As whom lifeboat meets the server, where the server looks at the operating system user.
//!
//! Debian's clusters let a role in over the socket when the operating system user has its name (`peer`
//! in `pg_hba.conf`); there is no role `root`. So, on a socket and as root:
//!
//! - where `connect` names no role, lifeboat acts as the user who owns the socket, which is the one
//!   that the server runs as, and takes the role of that name;
//! - where it names one, lifeboat connects as root first (that suits `trust`, passwords and maps), and
//!   when peer authentication refuses this, as the user of the role's name.
//!
//! Acting as another user is two things. A client program is started with that user's ids. A
//! connection is made by a thread of its own that takes on the user's effective id: the kernel notes
//! for the server who connected, at that moment, and the id of no other thread changes.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User, geteuid};
use tokio::net::UnixStream;

/// The operating system user that connections and client programs act as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// The one that lifeboat runs as.
    #[default]
    Own,
    /// Another one; only root can.
    Other(OsUser),
}

/// An operating system user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsUser {
    /// Its name.
    pub name: String,
    uid: u32,
    gid: u32,
}

impl From<User> for OsUser {
    fn from(user: User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}

impl Identity {
    /// Starts `command` as this user.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::Other(user) = self {
            command.uid(user.uid).gid(user.gid);
        }
    }

    /// Connects to a socket as this user.
    pub(crate) async fn connect(&self, socket: &Path) -> io::Result<UnixStream> {
        let Self::Other(user) = self else { return UnixStream::connect(socket).await };
        let uid = rustix::fs::Uid::from_raw(user.uid);
        let socket = socket.to_owned();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name(format!("connect-as-{}", user.name)).spawn(move || {
            // Nobody waits any more when the receiver is gone; the connection then closes by itself.
            drop(sender.send(connect_with_uid(uid, &socket)));
        })?;
        let stream = receiver.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

/// Connects with another effective user id, which this thread keeps: it must end after this.
fn connect_with_uid(uid: rustix::fs::Uid, socket: &Path) -> io::Result<StdUnixStream> {
    rustix::thread::set_thread_res_uid(None, Some(uid), None)?;
    StdUnixStream::connect(socket)
}

/// Returns who owns the socket, where root would have to act as them.
pub(crate) fn socket_owner(socket: &Path) -> Option<OsUser> {
    if !geteuid().is_root() {
        return None;
    }
    let owner = Uid::from_raw(std::fs::metadata(socket).ok()?.uid());
    if owner.is_root() { None } else { User::from_uid(owner).ok().flatten().map(OsUser::from) }
}

/// Returns the operating system user of a role's name, where root may act as them.
pub(crate) fn user_of_role(role: &str) -> Option<OsUser> {
    if !geteuid().is_root() {
        return None;
    }
    User::from_name(role).ok().flatten().map(OsUser::from)
}

/// Returns the name of the user that owns a path.
pub fn owner_of(path: &Path) -> io::Result<String> {
    let owner = Uid::from_raw(std::fs::metadata(path)?.uid());
    let user = User::from_uid(owner).ok().flatten();
    user.map(|user| user.name).ok_or_else(|| io::Error::other(format!("user {owner} has no name")))
}

/// Returns the name of the user that lifeboat runs as, libpq's role where nothing else is said.
pub fn own_name() -> Option<String> {
    User::from_uid(geteuid()).ok().flatten().map(|user| user.name)
}
