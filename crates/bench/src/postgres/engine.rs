//! Who backs the server up, what each is told to do, and where each keeps what it stores.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::tier_mark::TierMark;
use lifeboat_testing::postgres::{Cluster, SUPERUSER};
use lifeboat_tiers::{LocalTier, durable};
use nix::unistd::User;
use serde::Serialize;

use crate::ceiling::walk;
use crate::failure::{BenchError, file, system};
use crate::launch::{Invocation, Launcher};
use crate::place::remove;

/// What pgBackRest enciphers with, as long as a recovery key is.
const CIPHER_PASS: &str = "5d0f6e1c9ab34e7788c2d1f0a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6";

/// How the engines are run.
pub const TERMS: &str = "both compress with zstd, level 3 (lifeboat with smaller tables for its pieces of 64 KiB), \
     and encipher (lifeboat: AES-256-CTR with Poly1305, the log with age; pgBackRest: aes-256-cbc); \
     neither reads back what it stored, nor counts rows; pgBackRest: process-max=2, start-fast=y, all else as it comes";

/// What lifeboat knows the server as.
pub const ASSET: &str = "database";

/// What pgBackRest knows it as.
const STANZA: &str = "bench";

/// A program that backs a server up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The release binary of this project.
    Lifeboat,
    /// pgBackRest, whose incremental backups hold whole files.
    Pgbackrest,
    /// pgBackRest with its beta of block-incremental backups, which wants bundles of files.
    PgbackrestBlocks,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lifeboat, Self::Pgbackrest, Self::PgbackrestBlocks];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifeboat => "lifeboat",
            Self::Pgbackrest => "pgBackRest",
            Self::PgbackrestBlocks => "pgBackRest, blocks",
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Lifeboat => "lifeboat",
            Self::Pgbackrest => "pgbackrest",
            Self::PgbackrestBlocks => "pgbackrest-blocks",
        }
    }
}

/// Which base backup is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One that needs no other.
    First,
    /// One that goes by the last.
    Next,
}

/// What the target of a restore holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// The cluster as it was some time before.
    Cluster,
}

/// How the log is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archiving {
    /// Each call does its own work.
    OneByOne,
    /// Something else works ahead: `lifeboat wal serve`, where it runs, or pgBackRest's asynchronous mode.
    Ahead,
}

/// A directory of a server, for pgBackRest as well as for lifeboat.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Where its data are.
    pub data: PathBuf,
    /// Where its socket is.
    pub socket: PathBuf,
    /// The socket's port.
    pub port: u16,
}

impl ServerAddress {
    /// Returns that of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            data: cluster.data_dir().to_owned(),
            socket: cluster.socket_dir(),
            port: cluster.port(),
        }
    }
}

/// The engines, each with a home of its own below one directory.
#[derive(Debug)]
pub struct Engines {
    lifeboat: PathBuf,
    below: PathBuf,
    server: ServerAddress,
}

impl Engines {
    /// Prepares nothing yet; `server` is what they back up.
    pub const fn new(lifeboat: PathBuf, below: PathBuf, server: ServerAddress) -> Self {
        Self { lifeboat, below, server }
    }

    /// Returns what lies below an engine's home.
    pub fn at(&self, engine: Engine, name: &str) -> PathBuf {
        self.below.join(engine.folder()).join(name)
    }

    /// Returns where `lifeboat wal serve` listens.
    pub fn socket(&self) -> PathBuf {
        self.at(Engine::Lifeboat, "socket")
    }

    /// Gives an engine an empty place to store in, and nothing that it remembers.
    pub fn begin(&self, engine: Engine, launcher: &Launcher) -> Result<(), BenchError> {
        let home = self.below.join(engine.folder());
        remove(&home)?;
        make_directory(&home)?;
        match engine {
            Engine::Lifeboat => self.begin_lifeboat(&home)?,
            Engine::Pgbackrest | Engine::PgbackrestBlocks => {
                let configuration = self.configuration(engine, &home);
                write(&home.join("pgbackrest.conf"), &configuration)?;
                let create = self.pgbackrest(engine).arguments(["--no-online", "stanza-create"]);
                launcher.run(&create)?;
            }
        }
        give_away(&home)
    }

    /// Gives all that an engine stored to whoever runs the server.
    pub fn give_away(&self, engine: Engine) -> Result<(), BenchError> {
        give_away(&self.below.join(engine.folder()))
    }

    fn begin_lifeboat(&self, home: &Path) -> Result<(), BenchError> {
        for name in ["state", "cache-lifeboat"] {
            let path = self.below.join(name);
            remove(&path)?;
            make_directory(&path)?;
        }
        let key = RecoveryKey::generate();
        let halves = key.public_halves();
        write(&home.join("recovery.key"), key.spelled().expose())?;
        let tier = LocalTier::create(&home.join("tier"))?;
        let mark =
            TierMark::new("bench".parse().expect("it is a name"), halves.verifier.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let marked = runtime.map_err(system("start a runtime"))?.block_on(mark.write(&tier));
        marked.map_err(|error| BenchError::Mark(Box::new(error)))?;
        let ServerAddress { socket, port, .. } = &self.server;
        let plan = format!(
            "format = 1\n[plan]\nname = \"Bench\"\nsite = \"bench\"\n\
             [key]\nfile = \"{0}/recovery.key\"\nrecipient = \"{1}\"\nverifier = \"{2}\"\n\
             [tiers.primary]\nurl = \"file://{0}/tier\"\nkeep = {{ within = \"7d\" }}\n\
             [verification]\nafter_backup = {{ read_data = \"0%\" }}\n\
             [schedules.daily]\ncron = \"0 2 * * *\"\nassets = [\"{ASSET}\"]\nto = [\"primary\"]\n\
             [assets.{ASSET}]\nkind = \"postgres\"\nbase = \"physical\"\nrpo = \"1h\"\nrto = \"2h\"\n\
             connect = \"host={3} port={port} user={SUPERUSER} dbname=postgres\"\n\
             count_rows_within = \"0s\"\n\
             wal = {{ mode = \"archive\", to = [\"primary\"], ack = [\"primary\"] }}\n",
            home.display(),
            halves.recipient,
            halves.verifier,
            socket.display(),
        );
        write(&home.join("plan.toml"), &plan)
    }

    fn configuration(&self, engine: Engine, home: &Path) -> String {
        let ServerAddress { data, socket, port } = &self.server;
        let blocks = match engine {
            Engine::PgbackrestBlocks => "beta=y\nrepo1-bundle=y\nrepo1-block=y\n",
            Engine::Lifeboat | Engine::Pgbackrest => "",
        };
        format!(
            "[global]\nrepo1-path={0}/repository\nrepo1-cipher-type=aes-256-cbc\n\
             repo1-cipher-pass={CIPHER_PASS}\nrepo1-retention-full=99\n{blocks}\
             compress-type=zst\ncompress-level=3\nprocess-max=2\nstart-fast=y\n\
             log-level-file=off\nlog-level-console=error\nlock-path={0}/lock\nspool-path={0}/spool\n\
             [{STANZA}]\npg1-path={1}\npg1-socket-path={2}\npg1-port={port}\npg1-user={SUPERUSER}\n",
            home.display(),
            data.display(),
            socket.display(),
        )
    }

    fn pgbackrest(&self, engine: Engine) -> Invocation {
        let configuration = self.at(engine, "pgbackrest.conf");
        Invocation::new("pgbackrest")
            .argument(format!("--config={}", configuration.display()))
            .argument(format!("--stanza={STANZA}"))
    }

    fn lifeboat(&self) -> Invocation {
        let plan = self.at(Engine::Lifeboat, "plan.toml");
        Invocation::new(&self.lifeboat).argument("--plan").argument(plan)
    }

    /// Returns the command that makes a base backup.
    pub fn backup(&self, engine: Engine, kind: Kind) -> Invocation {
        if engine == Engine::Lifeboat {
            return self.lifeboat().arguments(["backup", ASSET]);
        }
        let kind = match kind {
            Kind::First => "--type=full",
            Kind::Next => "--type=incr",
        };
        self.pgbackrest(engine).arguments([kind, "backup"])
    }

    /// Returns the command that brings the last base backup back.
    pub fn restore(&self, engine: Engine, target: &Path, before: Before) -> Invocation {
        if engine == Engine::Lifeboat {
            let words = ["restore", ASSET, "--at", "latest", "--json", "--to"];
            let restore = self.lifeboat().arguments(words).argument(target);
            return match before {
                Before::Nothing => restore,
                Before::Cluster => restore.argument("--delta"),
            };
        }
        let restore = self.pgbackrest(engine);
        let restore = restore.argument(format!("--pg1-path={}", target.display()));
        let restore = match before {
            Before::Nothing => restore,
            Before::Cluster => restore.argument("--delta"),
        };
        restore.argument("restore")
    }

    /// Returns the command that brings the last base backup back and replays the log.
    pub fn replay(&self, target: &Path) -> Invocation {
        let restore = self.restore(Engine::Lifeboat, target, Before::Nothing);
        // What was fetched ahead is said in the debug log alone.
        restore.arguments(["--start", "-vv"])
    }

    /// Returns the command by which the server of a directory archives a file of its log.
    pub fn archive_command(&self, engine: Engine, directory: &Path, mode: Archiving) -> String {
        let command = match engine {
            Engine::Lifeboat => {
                let push = self.lifeboat().arguments(["wal", "push", "%p", "--socket"]);
                push.argument(self.socket())
            }
            Engine::Pgbackrest | Engine::PgbackrestBlocks => {
                let pg1 = format!("--pg1-path={}", directory.display());
                let push = self.pgbackrest(engine).argument(pg1);
                let push = match mode {
                    Archiving::OneByOne => push,
                    Archiving::Ahead => push.argument("--archive-async"),
                };
                push.arguments(["archive-push", "%p"])
            }
        };
        command.shown()
    }

    /// Returns the command that serves the log of a directory.
    pub fn serve(&self, directory: &Path) -> Invocation {
        let serve = self.lifeboat().arguments(["wal", "serve"]).argument(directory);
        let spool = self.at(Engine::Lifeboat, "spool");
        serve.argument("--socket").argument(self.socket()).argument("--spool").argument(spool)
    }

    /// Adds up what an engine stores for base backups, the log left out.
    pub fn stored_bytes(&self, engine: Engine) -> Result<u64, BenchError> {
        let path = match engine {
            Engine::Lifeboat => self.at(engine, "tier/repo"),
            Engine::Pgbackrest | Engine::PgbackrestBlocks => self.at(engine, "repository/backup"),
        };
        if !path.exists() {
            return Ok(0);
        }
        Ok(walk(&path, 1).map_err(file("look at", &path))?.bytes)
    }

    /// Counts the files of the log that an engine has archived.
    pub fn archived(&self, engine: Engine) -> Result<u64, BenchError> {
        let path = match engine {
            Engine::Lifeboat => self.at(engine, "tier/wal"),
            Engine::Pgbackrest | Engine::PgbackrestBlocks => self.at(engine, "repository/archive"),
        };
        if !path.exists() {
            return Ok(0);
        }
        Ok(walk(&path, 1).map_err(file("look at", &path))?.files)
    }
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    durable::replace(path, text.as_bytes(), 0o600).map_err(file("write", path))
}

/// Makes a directory that everybody may pass through.
pub fn make_directory(path: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(path).map_err(file("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(file("open", path))
}

/// Gives a path and all below it to whoever runs servers: root's run as `postgres`, who archives.
pub fn give_away(path: &Path) -> Result<(), BenchError> {
    let (true, Ok(Some(user))) = (nix::unistd::geteuid().is_root(), User::from_name(SUPERUSER))
    else {
        return Ok(());
    };
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(file("give", path))?;
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(file("look into", path))? {
            give_away(&entry.map_err(file("look into", path))?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines() -> Engines {
        let (data, socket) = (PathBuf::from("/b/data"), PathBuf::from("/s"));
        let server = ServerAddress { data, socket, port: 5432 };
        Engines::new(PathBuf::from("lifeboat"), PathBuf::from("/b"), server)
    }

    #[test]
    fn all_are_told_the_same() {
        let (engines, target) = (engines(), Path::new("/t"));
        let shown = |engine| engines.restore(engine, target, Before::Cluster).shown();
        assert_eq!(
            shown(Engine::Lifeboat),
            "lifeboat --plan /b/lifeboat/plan.toml restore database --at latest --json --to /t --delta"
        );
        assert_eq!(
            shown(Engine::Pgbackrest),
            "pgbackrest --config=/b/pgbackrest/pgbackrest.conf --stanza=bench --pg1-path=/t --delta restore"
        );
        assert_eq!(
            engines.archive_command(Engine::Pgbackrest, Path::new("/w"), Archiving::Ahead),
            "pgbackrest --config=/b/pgbackrest/pgbackrest.conf --stanza=bench --pg1-path=/w --archive-async archive-push %p"
        );
    }

    #[test]
    fn only_the_beta_keeps_blocks() {
        let engines = engines();
        let with_blocks = Engine::ALL
            .map(|engine| engines.configuration(engine, Path::new("/h")).contains("repo1-block=y"));
        assert_eq!(with_blocks, [false, false, true]);
    }
}
