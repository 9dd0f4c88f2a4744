//! The catalog of a host, and which of its records ought to be there.
//!
//! Each piece of work is a process of its own ([`work_on_records`]): SQLite maps a file into memory,
//! and who serves the file system must not wait for it in the same process.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use lifeboat_model::clock::SimClock;
use lifeboat_model::{Cancel, Secret, SiteName, Timestamp};
use lifeboat_ops::Surroundings;
use lifeboat_ops::catalog::body::{Body, KeyConfirmed};
use lifeboat_ops::catalog::{Catalog, CatalogKeys};
use lifeboat_ops::named_tier::NamedTier;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::state::State;
use lifeboat_tiers::LocalTier;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Trouble;
use crate::place;

/// What is done with the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordWork {
    /// A record is appended.
    Append,
    /// A record is appended, and all are delivered to the tier.
    AppendAndDeliver,
    /// All records are listed, and what is wrong with them.
    Look,
}

impl RecordWork {
    const fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::AppendAndDeliver => "append-and-deliver",
            Self::Look => "look",
        }
    }

    /// Returns the work that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Append, Self::AppendAndDeliver, Self::Look].into_iter().find(|w| w.word() == word)
    }
}

/// A host's catalog.
pub(super) struct Records {
    /// The program that does the work.
    program: PathBuf,
    directory: PathBuf,
    key: RecoveryKey,
    acknowledged: BTreeSet<String>,
}

impl Records {
    /// Keeps state and a tier in a directory.
    pub(super) fn new(program: &Path, directory: &Path) -> Self {
        Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            key: RecoveryKey::generate(),
            acknowledged: BTreeSet::new(),
        }
    }

    /// Lets a process work; returns what it said before it ended, and how it did that.
    fn run(&self, work: RecordWork) -> Result<(BTreeSet<String>, Result<(), Trouble>), Trouble> {
        let spelled = self.key.spelled();
        let mut command = Command::new(&self.program);
        command.args(["records", work.word()]).arg(&self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(spelled.expose().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
        let ended = if output.status.success() {
            Ok(())
        } else {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(format!("{} of records: {}: {words}", work.word(), output.status).into())
        };
        Ok((said, ended))
    }

    /// Appends a record and, now and then, delivers what there is; returns how many were appended.
    pub(super) fn append(&mut self, rng: &mut StdRng) -> Result<u64, Trouble> {
        let work = if rng.random() { RecordWork::AppendAndDeliver } else { RecordWork::Append };
        let (appended, ended) = self.run(work)?;
        let count = appended.len() as u64;
        self.acknowledged.extend(appended);
        ended.map(|()| count)
    }

    /// Looks whether every record is there, in one whole chain.
    pub(super) fn look(&self) -> Result<(), Trouble> {
        let (there, ended) = self.run(RecordWork::Look)?;
        ended?;
        match self.acknowledged.difference(&there).next() {
            Some(lost) => Err(format!("record {lost} was appended and is gone").into()),
            None => Ok(()),
        }
    }
}

/// Works on the catalog below a directory, and writes the ids of records: of those that were appended,
/// as soon as they were, or of all.
pub fn work_on_records(
    directory: &Path,
    key: &Secret,
    work: RecordWork,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let surroundings = Surroundings {
        environment: BTreeMap::new(),
        credentials_directory: None,
        state_directory: directory.join("state"),
        cache_directory: directory.join("cache"),
        hostname: "web-1".to_owned(),
        clock: Arc::new(SimClock::new(Timestamp::UNIX_EPOCH)),
        cancel: Cancel::new(),
        runtime: place::runtime(),
    };
    let key = RecoveryKey::parse(key)?;
    let site: SiteName = "shop".parse()?;
    let lock = State::open(&surroundings.state_directory)?.lock()?;
    let catalog = Catalog::open(lock, site, CatalogKeys::from(&key), &surroundings)?;
    if work == RecordWork::Look {
        return list(&catalog, &tiers(directory)?, out);
    }
    catalog.enrol(&key.root_key(), &surroundings.hostname, None)?;
    let verifier = key.public_halves().verifier.to_string();
    let record = catalog.append(Body::KeyConfirmed(KeyConfirmed { verifier }), None)?;
    writeln!(out, "{}", record.id().to_hex())?;
    out.flush()?;
    if work == RecordWork::AppendAndDeliver {
        // A tier that cannot be written catches up.
        catalog.deliver(&tiers(directory)?)?;
    }
    Ok(())
}

fn tiers(directory: &Path) -> Result<[NamedTier; 1], Trouble> {
    let tier = Arc::new(LocalTier::create(&directory.join("catalog"))?);
    Ok([NamedTier { name: "primary".parse()?, tier }])
}

fn list(catalog: &Catalog, tiers: &[NamedTier], out: &mut dyn Write) -> Result<(), Trouble> {
    let caught_up = catalog.catch_up(tiers)?;
    let verified = catalog.verify(tiers)?;
    let flaws: Vec<_> = caught_up.flaws.iter().chain(&verified.flaws).collect();
    if !flaws.is_empty() {
        return Err(format!("the catalog has flaws: {flaws:?}").into());
    }
    for record in catalog.view().all()? {
        writeln!(out, "{}", record.id().to_hex())?;
    }
    Ok(())
}
