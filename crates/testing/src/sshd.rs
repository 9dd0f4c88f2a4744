//! OpenSSH's server on this machine, with keys of its own, for whoever speaks SFTP to it.
//!
//! ```no_run
//! let server = lifeboat_testing::sshd::Sshd::start()?;
//! let room = server.room()?;
//! println!("PATH={}:$PATH lifeboat repo init -r {}", server.programs().display(), server.url(&room));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It comes from the system or from `dev/install-needs sshd`. Root's tests run it as `nobody`, so that a directory may
//! refuse, and so that it needs no folder of the system's. The user's own keys, configuration and known hosts
//! are left alone: the program `ssh` in [`Sshd::programs`] is the system's, with another configuration.
//!
//! # What is left behind
//!
//! Nothing: as [emulators](crate::emulators). A session lasts until its client goes.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use crate::emulators::server::Server;
use crate::needs;
use crate::program::{self, ProgramError};

const REMEDY: &str = "dev/install-needs sshd";

/// Where the installed package lies below the folder of needs.
const UNPACKED: &str = "openssh-server";

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// Who among those that run servers has a shell.
const HAS_SHELL: &str = "postgres";

/// The name under which a client knows the server, whatever its port.
const ALIAS: &str = "lifeboat-test";

/// How often a port is tried that somebody else took since it was free.
const PORTS_MAX: usize = 8;

/// A server, and what a client needs for it.
#[derive(Debug)]
pub struct Sshd {
    server: Server,
    folder: TempDir,
    user: User,
}

impl Sshd {
    /// Starts it and waits until it listens.
    pub fn start() -> Result<Self, ProgramError> {
        Self::start_for(login_user(NOBODY)?)
    }

    /// Starts one that lets in somebody who has a shell: of root's tests the user `postgres`.
    pub fn start_with_shell() -> Result<Self, ProgramError> {
        let found = User::from_name(HAS_SHELL).map_err(|errno| failed("sshd", errno.into()))?;
        Self::start_for(login_user(found.map_or(NOBODY, |user| user.uid.as_raw()))?)
    }

    fn start_for(user: User) -> Result<Self, ProgramError> {
        let folder = prepare(&user)?;
        for _ in 1..PORTS_MAX {
            match Self::serve(&folder, &user) {
                Err(error) if error.to_string().contains("Address already in use") => {}
                other => return other.map(|server| Self { server, folder, user }),
            }
        }
        let server = Self::serve(&folder, &user)?;
        Ok(Self { server, folder, user })
    }

    fn serve(folder: &TempDir, user: &User) -> Result<Server, ProgramError> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let port = free.and_then(|free| free.local_addr()).map_err(|source| failed("sshd", source));
        let config = folder.path().join("sshd_config");
        let sshd = find()?;
        write(&config, &server_config(folder.path(), port?.port(), &sshd), 0o644)?;
        let mut command = if Uid::effective().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()]);
            command.arg("--clear-groups").arg(sshd);
            command
        } else {
            Command::new(sshd)
        };
        command.args(["-D", "-e", "-f"]).arg(config);
        Server::start(&command)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns who may log in.
    pub fn user(&self) -> &str {
        &self.user.name
    }

    /// Returns the folder to put before `PATH`: its `ssh` finds key and known hosts of this server.
    pub fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// Returns `PATH` with that folder before it.
    pub fn path(&self) -> String {
        let path = env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.programs().display())
    }

    /// Returns the address of a directory there.
    pub fn url(&self, directory: &Path) -> String {
        format!("sftp://{}@{}{}", self.user.name, self.address(), directory.display())
    }

    /// Makes an empty directory that the login may write to.
    pub fn room(&self) -> io::Result<PathBuf> {
        let room = tempfile::Builder::new().prefix("room").tempdir_in(self.folder.path())?.keep();
        own(&room, &self.user)?;
        Ok(room)
    }

    /// Makes a directory, which is the user's.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        own(path, &self.user)
    }

    /// Puts a script into the login's PATH, in the place of what was called so.
    pub fn install(&self, name: &str, script: &str) -> Result<(), ProgramError> {
        let there = self.folder.path().join("there");
        fs::create_dir_all(&there).map_err(|source| failed("sshd", source))?;
        write(&there.join(name), script, 0o755)
    }

    /// Forgets the server's key on the client's side.
    pub fn forget_host(&self) -> Result<(), ProgramError> {
        write(&self.folder.path().join("known_hosts"), "", 0o644)
    }

    /// Lets the client know another key than the server has.
    pub fn expect_another_host(&self) -> Result<(), ProgramError> {
        let other = fs::read_to_string(self.folder.path().join("key.pub"));
        let other = other.map_err(|source| failed("known_hosts", source))?;
        write(&self.folder.path().join("known_hosts"), &format!("{ALIAS} {other}"), 0o644)
    }

    /// Lets in whom it let in at first.
    pub fn let_in(&self) -> Result<(), ProgramError> {
        let key = fs::read_to_string(self.folder.path().join("key.pub"));
        let key = key.map_err(|source| failed("authorized_keys", source))?;
        write(&self.folder.path().join("authorized_keys"), &key, 0o644)
    }

    /// Lets nobody in any more.
    pub fn lock_out(&self) -> Result<(), ProgramError> {
        write(&self.folder.path().join("authorized_keys"), "", 0o644)
    }
}

fn failed(program: &str, source: io::Error) -> ProgramError {
    ProgramError::Run { program: program.to_owned(), source }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), ProgramError> {
    let written = || {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    written().map_err(|source| failed(&path.display().to_string(), source))
}

fn own(path: &Path, user: &User) -> io::Result<()> {
    // Whoever is not root owns it already.
    if Uid::effective().is_root() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// Root's tests log in as this user, others as themselves.
fn login_user(of_root: u32) -> Result<User, ProgramError> {
    let uid = Uid::effective();
    let uid = if uid.is_root() { Uid::from_raw(of_root) } else { uid };
    let user = User::from_uid(uid).map_err(|errno| failed("sshd", errno.into()))?;
    let mut user = user.ok_or_else(|| failed("sshd", io::ErrorKind::NotFound.into()))?;
    if uid.as_raw() == NOBODY {
        user.gid = Gid::from_raw(NOBODY);
    }
    Ok(user)
}

fn find() -> Result<PathBuf, ProgramError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let installed = folders.map(|folder| folder.join("sshd")).find(|path| path.is_file());
    installed.map_or_else(|| needs::find(UNPACKED, "usr/sbin/sshd", REMEDY), Ok)
}

/// Returns Debian's program that speaks SFTP on its standard input and output.
///
/// # Errors
///
/// [`ProgramError::Missing`] with the command that installs it.
pub fn sftp_server() -> Result<PathBuf, ProgramError> {
    let installed = PathBuf::from("/usr/lib/openssh/sftp-server");
    if installed.is_file() {
        return Ok(installed);
    }
    needs::find(UNPACKED, "usr/lib/openssh/sftp-server", REMEDY)
}

/// Makes keys, known hosts and configurations.
fn prepare(user: &User) -> Result<TempDir, ProgramError> {
    // In memory where there is such a place, since tests of tiers sync a lot.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.map_err(|source| failed("sshd", source))?;
    let path = |name: &str| folder.path().join(name);
    let open = Permissions::from_mode(0o711);
    fs::set_permissions(folder.path(), open).map_err(|source| failed("sshd", source))?;
    for name in ["host", "key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path(name));
        program::run(&mut keygen, b"")?;
        // Whoever logs in may come from the same user as well, and `ssh` takes no key that it cannot read.
        own(&path(name), user).map_err(|source| failed("sshd", source))?;
    }
    let public =
        |name: &str| fs::read_to_string(path(name)).map_err(|source| failed("ssh-keygen", source));
    write(&path("known_hosts"), &format!("{ALIAS} {}", public("host.pub")?), 0o644)?;
    write(&path("authorized_keys"), &public("key.pub")?, 0o644)?;
    write(&path("ssh_config"), &client_config(folder.path()), 0o644)?;
    let ssh = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", ssh()?, path("ssh_config").display());
    fs::create_dir(path("bin")).map_err(|source| failed("sshd", source))?;
    write(&path("bin").join("ssh"), &ssh, 0o755)?;
    Ok(folder)
}

fn ssh() -> Result<String, ProgramError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        env::split_paths(&path).map(|folder| folder.join("ssh")).find(|path| path.is_file());
    let missing = || ProgramError::Missing { program: "ssh".to_owned(), remedy: REMEDY };
    found.map(|path| path.display().to_string()).ok_or_else(missing)
}

fn client_config(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "HostKeyAlias {ALIAS}\nUserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n\
         IdentityFile {folder}/key\nIdentitiesOnly yes\nIdentityAgent none\nCheckHostIP no\n"
    )
}

fn server_config(folder: &Path, port: u16, sshd: &Path) -> String {
    let own = folder.display();
    let mut config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {own}/host\nPidFile none\nStrictModes no\n\
         AuthorizedKeysFile {own}/authorized_keys\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nUsePAM yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n\
         SetEnv PATH={own}/there:/usr/local/bin:/usr/bin:/bin\n"
    );
    // From 9.8 on the server is several programs, which an unpacked package has in a place of its own.
    let root = sshd.ancestors().nth(3).unwrap_or(Path::new("/"));
    for (word, name) in [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")] {
        let program = root.join("usr/lib/openssh").join(name);
        if root != Path::new("/") && program.is_file() {
            let written = writeln!(config, "{word} {}", program.display());
            written.expect("a string takes whatever is written");
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_to_log_in(server: &Sshd) -> Result<(), String> {
        let mut ssh = Command::new(server.programs().join("ssh"));
        let port = server.address().port().to_string();
        ssh.args([
            "-o",
            "BatchMode=yes",
            "-p",
            &port,
            "-l",
            server.user(),
            "127.0.0.1",
            "-s",
            "sftp",
        ]);
        // It asks for nothing, so a server that let us in ends the session in peace.
        program::run(&mut ssh, b"").map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn it_lets_in_whom_it_knows_and_is_known_by_its_key() {
        let server = Sshd::start().unwrap();
        try_to_log_in(&server).unwrap();
        server.lock_out().unwrap();
        let refused = try_to_log_in(&server).unwrap_err();
        assert!(refused.contains("Permission denied"), "{refused}");
        server.expect_another_host().unwrap();
        let refused = try_to_log_in(&server).unwrap_err();
        assert!(refused.contains("IDENTIFICATION HAS CHANGED"), "{refused}");
        server.forget_host().unwrap();
        let refused = try_to_log_in(&server).unwrap_err();
        assert!(refused.contains("Host key verification failed"), "{refused}");
    }
}
