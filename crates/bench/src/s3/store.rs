//! The store: a server of S3, its bucket in memory, and a line to it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{Secret, SystemClock};
use lifeboat_testing::emulators::S3Files;
use lifeboat_testing::line::{Carried, Line, Weather};
use lifeboat_tiers::s3::{Keys, S3Options};
use lifeboat_tiers::{ObjectPrefix, S3Tier, Tier};

use crate::failure::{BenchError, file, system};
use crate::racer::runtime;

/// The one bucket.
const BUCKET: &str = "bucket";

/// How a racer reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Without anything in between.
    Straight,
    /// Over a line with this round trip.
    Line(Duration),
}

/// A server with one bucket, and a line to it.
#[derive(Debug)]
pub struct Store {
    server: S3Files,
    line: Line,
}

impl Store {
    /// Returns where the files of a repository lie in the bucket below `root`.
    pub fn place(root: &Path, repository: &str) -> PathBuf {
        root.join(BUCKET).join(repository)
    }

    /// Starts the server on what lies below `root`.
    pub fn start(root: &Path) -> Result<Self, BenchError> {
        let bucket = root.join(BUCKET);
        fs::create_dir_all(&bucket).map_err(file("make", &bucket))?;
        let server = S3Files::start(root)?;
        let line = Line::to(server.address(), Weather::fair()).map_err(system("open a line"))?;
        Ok(Self { server, line })
    }

    /// Returns the address of a repository, as both racers write it; from now on the line delays as it is
    /// reached.
    pub fn address(&self, way: Way, repository: &str) -> PathBuf {
        let endpoint = match way {
            Way::Straight => format!("http://{}", self.server.address()),
            Way::Line(round_trip) => {
                self.line.set(Weather::fair().round_trip(round_trip));
                self.line.endpoint()
            }
        };
        format!("s3:{endpoint}/{BUCKET}/{repository}").into()
    }

    /// Returns a repository as a tier, to prepare it.
    pub fn tier(&self, repository: &str) -> Result<Arc<dyn Tier>, BenchError> {
        let credentials = S3Files::credentials();
        let mut options = S3Options::new(BUCKET, repository);
        options.endpoint = Some(format!("http://{}", self.server.address()));
        options.keys = Some(Keys {
            id: Secret::new(credentials.key_id),
            secret: Secret::new(credentials.secret),
        });
        Ok(Arc::new(S3Tier::new(&options, Arc::new(SystemClock))?))
    }

    /// Removes a repository, by the server, which would otherwise go on listing it.
    pub fn clear(&self, repository: &str) -> Result<(), BenchError> {
        let tier = self.tier(repository)?;
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
        self.line.carried()
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
