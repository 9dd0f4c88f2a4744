//! The store: a server of S3, its bucket in memory, and a line to it; and a server of SSH beside it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{Secret, SystemClock};
use lifeboat_testing::emulators::S3Files;
use lifeboat_testing::line::{Carried, Line, Weather};
use lifeboat_testing::sshd::Sshd;
use lifeboat_tiers::s3::{Keys, S3Options};
use lifeboat_tiers::sftp::SftpOptions;
use lifeboat_tiers::{ObjectPrefix, S3Tier, SftpTier, Tier};

use super::work::Work;
use crate::failure::{BenchError, file, system};
use crate::place::remove;
use crate::racer::{Racer, runtime};

/// The one bucket.
const BUCKET: &str = "bucket";

/// How a racer reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Without anything in between.
    Straight,
    /// Over a line with this round trip.
    Line(Duration),
    /// To the SSH server, without anything in between.
    Ssh,
}

/// A server of SSH, and a directory in memory that its login may write to.
#[derive(Debug)]
struct Login {
    server: Sshd,
    room: PathBuf,
}

impl Login {
    fn open() -> Result<Self, BenchError> {
        let server = Sshd::start()?;
        let room = server.room().map_err(system("make a directory for SFTP"))?;
        Ok(Self { server, room })
    }

    /// Empties a repository's directory, or makes it: a tier behind SFTP has one before it is set up.
    fn begin_anew(&self, repository: &str) -> Result<(), BenchError> {
        let directory = self.room.join(repository);
        remove(&directory)?;
        self.server.make_directory(&directory).map_err(system("make a directory for SFTP"))
    }

    fn tier(&self, repository: &str) -> Arc<dyn Tier> {
        let directory = self.room.join(repository);
        let mut options = SftpOptions::new("127.0.0.1", directory.display().to_string());
        options.port = Some(self.server.address().port());
        options.user = Some(self.server.user().to_owned());
        options.environment = [("PATH".to_owned(), self.server.path())].into();
        Arc::new(SftpTier::new(options))
    }
}

/// A server of S3, and a line to it.
#[derive(Debug)]
struct Bucket {
    server: S3Files,
    line: Line,
}

impl Bucket {
    fn open(root: &Path) -> Result<Self, BenchError> {
        let server = S3Files::start(root)?;
        let line = Line::to(server.address(), Weather::fair()).map_err(system("open a line"))?;
        Ok(Self { server, line })
    }
}

/// The servers that the works need: one with a bucket and a line to it, and one of SSH.
#[derive(Debug)]
pub struct Store {
    bucket: Option<Bucket>,
    login: Option<Login>,
}

impl Store {
    /// Returns where the files of a repository lie in the bucket below `root`.
    pub fn place(root: &Path, repository: &str) -> PathBuf {
        root.join(BUCKET).join(repository)
    }

    /// Starts what the works need; the bucket has what lies below `root`.
    pub fn start(root: &Path, works: &[Work]) -> Result<Self, BenchError> {
        let bucket = root.join(BUCKET);
        fs::create_dir_all(&bucket).map_err(file("make", &bucket))?;
        let is_over_ssh = |work: &Work| work.way() == Way::Ssh;
        let wants_bucket = !works.iter().all(is_over_ssh);
        let bucket = wants_bucket.then(|| Bucket::open(root)).transpose()?;
        let login = works.iter().any(is_over_ssh).then(Login::open).transpose()?;
        Ok(Self { bucket, login })
    }

    fn bucket(&self) -> &Bucket {
        self.bucket.as_ref().expect("it was started for the works that are done there")
    }

    fn login(&self) -> &Login {
        self.login.as_ref().expect("it was started for the works that are done there")
    }

    /// Returns the address of a repository, as a racer writes it; from now on the line delays as it is reached.
    pub fn address(&self, way: Way, racer: Racer, repository: &str) -> PathBuf {
        let endpoint = match way {
            Way::Ssh => {
                let Login { server, room } = self.login();
                // What restic calls a path from the server's root has two slashes.
                let slash = if racer == Racer::Restic { "/" } else { "" };
                let directory =
                    PathBuf::from(format!("{slash}{}", room.join(repository).display()));
                return server.url(&directory).into();
            }
            Way::Straight => format!("http://{}", self.bucket().server.address()),
            Way::Line(round_trip) => {
                let line = &self.bucket().line;
                line.set(Weather::fair().round_trip(round_trip));
                line.endpoint()
            }
        };
        format!("s3:{endpoint}/{BUCKET}/{repository}").into()
    }

    /// Returns what a racer's environment has to say for this way, if anything.
    pub fn variable(&self, way: Way) -> Option<String> {
        (way == Way::Ssh).then(|| format!("PATH={}", self.login().server.path()))
    }

    /// Returns a repository as a tier, to prepare it.
    pub fn tier(&self, way: Way, repository: &str) -> Result<Arc<dyn Tier>, BenchError> {
        if way == Way::Ssh {
            return Ok(self.login().tier(repository));
        }
        let credentials = S3Files::credentials();
        let mut options = S3Options::new(BUCKET, repository);
        options.endpoint = Some(format!("http://{}", self.bucket().server.address()));
        options.keys = Some(Keys {
            id: Secret::new(credentials.key_id),
            secret: Secret::new(credentials.secret),
        });
        Ok(Arc::new(S3Tier::new(&options, Arc::new(SystemClock))?))
    }

    /// Removes a repository, by the server, which would otherwise go on listing it.
    pub fn clear(&self, way: Way, repository: &str) -> Result<(), BenchError> {
        if way == Way::Ssh {
            return self.login().begin_anew(repository);
        }
        let tier = self.tier(way, repository)?;
        runtime()?.block_on(async {
            let found: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await?;
            for object in found {
                tier.delete(&object.path).await?;
            }
            Ok(())
        })
    }

    /// Returns what passed over the line so far.
    pub fn carried(&self) -> Carried {
        self.bucket.as_ref().map(|bucket| bucket.line.carried()).unwrap_or_default()
    }
}

/// Returns what clients have to know, as environment variables.
pub fn environment() -> Vec<(&'static str, OsString)> {
    let credentials = S3Files::credentials();
    vec![
        ("AWS_ACCESS_KEY_ID", credentials.key_id.into()),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret.into()),
        ("AWS_REGION", "us-east-1".into()),
    ]
}
