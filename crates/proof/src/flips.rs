//! Every single bit of a small repository, flipped in turn.
//!
//! [`Specimen::make`] makes the repository, [`Specimen::try_flip`] damages one bit of it and uses
//! what is left. Key files are left alone: they are tried one by one, and one that cannot be used
//! is no damage as long as another opens.
//!
//! # Invariants
//!
//! - Nothing panics.
//! - A check that reads all data fails and names the damaged file with all digits of its id.
//! - A restore brings back what was backed up, or names the file that it could not; if anything
//!   lacks, it names what is damaged.
//!
//! # Limits
//!
//! A repository of [`SIZE_MAX`] bytes at most, so that all of its bits can be tried within minutes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use lifeboat_model::{Cancel, Outcome, Silent, SnapshotId, SystemClock};
use lifeboat_repository::check::{CheckOptions, ReadData, Severity, check, explain};
use lifeboat_repository::restore::{Remark, RestoreOptions, RestoreReport, restore};
use lifeboat_repository::source::{FilesSource, Source};
use lifeboat_repository::{BackupOptions, Indexed, Repository, RepositoryError, backup};
use lifeboat_testing::tree::{self, Aspect, TreeState};
use lifeboat_tiers::{MemoryTier, ObjectPath, PutMode, Tier};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use crate::place;

/// How many bytes the repository may have, key files apart.
pub const SIZE_MAX: usize = 16 << 10;

/// A bit of a specimen's files, one file after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bit(pub usize);

/// What went wrong after a bit was flipped.
#[derive(Debug)]
pub struct Failure {
    /// Which bit.
    pub bit: Bit,
    /// The file that it lies in, and where in it.
    pub place: String,
    /// What should not have happened.
    pub what: String,
}

/// A repository of two snapshots, and what they hold.
#[derive(Debug)]
pub struct Specimen {
    tier: MemoryTier,
    /// The files whose bits are flipped.
    files: BTreeMap<ObjectPath, Bytes>,
    source: PathBuf,
    snapshots: Vec<(SnapshotId, TreeState)>,
}

/// A flipped bit, and a word for its file that every complaint has to contain.
struct Flip {
    tier: MemoryTier,
    name: String,
}

impl Specimen {
    /// Backs a small tree of every sort of entry up, changes it, and backs it up again.
    pub fn make() -> io::Result<Self> {
        let folder = place::scratch()?;
        let source = folder.path().join("source");
        let tier = Arc::new(MemoryTier::new());
        let store = place::store(Arc::clone(&tier) as Arc<dyn Tier>);
        place::init(store.clone()).expect("an empty tier takes a repository");
        let mut snapshots = Vec::new();
        for write in [write_first, write_second] {
            write(&source)?;
            let state = tree::capture(&source)?;
            let repository = place::open(store.clone()).expect("it was just made");
            let repository = load_index(repository).expect("nothing is damaged yet");
            snapshots.push((back_up(&repository, &source), state));
        }
        let is_key = |path: &ObjectPath| path.as_str().starts_with("keys/");
        let files: BTreeMap<_, _> =
            tier.contents().into_iter().filter(|(path, _)| !is_key(path)).collect();
        let specimen = Self { tier: tier.fork(), files, source, snapshots };
        assert!(specimen.bits() <= SIZE_MAX * 8, "{} bits are too many", specimen.bits());
        Ok(specimen)
    }

    /// Returns how many bits there are to flip.
    pub fn bits(&self) -> usize {
        self.files.values().map(|body| body.len() * 8).sum()
    }

    /// Flips a number of bits one after the other on `jobs` threads; returns what went wrong.
    pub fn try_flips(&self, bits: &[Bit], jobs: usize) -> Vec<Failure> {
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        let work = || {
            while let Some(bit) = bits.get(next.fetch_add(1, Ordering::Relaxed)) {
                let failure = self.try_flip(*bit);
                failures.lock().unwrap_or_else(PoisonError::into_inner).extend(failure);
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(work);
            }
        });
        failures.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flips one bit and uses what is left; returns what went wrong.
    pub fn try_flip(&self, bit: Bit) -> Option<Failure> {
        let (path, at) = self.locate(bit);
        let used = catch_unwind(AssertUnwindSafe(|| self.use_flipped(path, at)));
        let result = used.unwrap_or_else(|panic| Err(format!("a panic: {}", words(&*panic))));
        let what = result.err()?;
        Some(Failure { bit, place: format!("{path}, bit {} of byte {}", at % 8, at / 8), what })
    }

    fn locate(&self, bit: Bit) -> (&ObjectPath, usize) {
        let mut rest = bit.0;
        for (path, body) in &self.files {
            if rest < body.len() * 8 {
                return (path, rest);
            }
            rest -= body.len() * 8;
        }
        panic!("there are only {} bits", self.bits());
    }

    fn flip(&self, path: &ObjectPath, at: usize) -> Flip {
        let mut bytes = self.files[path].to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        let tier = self.tier.fork();
        let put = tier.put(path, bytes.into(), PutMode::Overwrite);
        place::block_on(put).expect("memory takes it");
        Flip { tier, name: path.file_name().to_owned() }
    }

    fn use_flipped(&self, path: &ObjectPath, at: usize) -> Result<(), String> {
        let Flip { tier, name } = self.flip(path, at);
        let store = place::store(Arc::new(tier));
        let repository = match place::open(store) {
            Ok(repository) => repository,
            Err(error) => return is_named(&error, &name),
        };
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &Cancel::new())
            .map_err(|error| format!("the check did not end: {}", explain(&error)))?;
        let is_it = |text: &str| text.contains(&name);
        let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let named = errors.into_iter().any(|finding| is_it(&finding.object));
        if report.outcome() != Outcome::Failed || !named {
            return Err(format!("the check does not name it: {:?}", report.findings));
        }
        match load_index(repository) {
            Ok(repository) => self.restore_all(&repository, &name),
            Err(error) => is_named(&error, &name),
        }
    }

    fn restore_all(&self, repository: &Repository<Indexed>, name: &str) -> Result<(), String> {
        for (id, state) in &self.snapshots {
            let snapshot = match repository.snapshot(id) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    is_named(&error, name)?;
                    continue;
                }
            };
            let target = place::scratch().map_err(|error| error.to_string())?;
            let options = RestoreOptions::new(target.path());
            match restore(repository, &snapshot, &options, &Silent, &Cancel::new()) {
                Ok(report) => self.compare(target.path(), state, &report, name)?,
                Err(error) => is_named(&error, name)?,
            }
        }
        Ok(())
    }

    /// Holds a restored tree against what was backed up.
    fn compare(
        &self,
        target: &Path,
        state: &TreeState,
        report: &RestoreReport,
        name: &str,
    ) -> Result<(), String> {
        let explains = |remark: &Remark| remark.what.contains(name);
        if !report.is_complete() && !report.failed.iter().any(explains) {
            return Err(format!("what lacks is not explained: {:?}", report.failed));
        }
        let restored = target.join(below_root(&self.source));
        if !restored.exists() {
            let lost = report.failed.iter().any(|remark| self.source.starts_with(&remark.path));
            return if lost { Ok(()) } else { Err("all of it lacks unnamed".to_owned()) };
        }
        let actual = tree::capture(&restored).map_err(|error| error.to_string())?;
        let named = |path: &Path| {
            let path = self.source.join(path);
            report.failed.iter().any(|remark| path.starts_with(&remark.path))
        };
        // Holes are the file system's choice; links to a lost file are lost with it.
        let ignored: &[Aspect] =
            if report.is_complete() { &[Aspect::Holes] } else { &[Aspect::Holes, Aspect::Links] };
        let wrong: Vec<String> = state
            .differences(&actual, ignored)
            .into_iter()
            .filter(|difference| !named(&difference.path))
            .map(|difference| difference.to_string())
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("wrong and not named: {wrong:?}")) }
    }
}

fn load_index(
    repository: Repository<lifeboat_repository::Open>,
) -> Result<Repository<Indexed>, RepositoryError> {
    repository.load_index(&Cancel::new(), &Silent)
}

fn back_up(repository: &Repository<Indexed>, source: &Path) -> SnapshotId {
    let sources = vec![Source::Files(FilesSource {
        paths: vec![source.to_owned()],
        ..FilesSource::default()
    })];
    let options = BackupOptions::new("proof");
    let report = backup(repository, sources, &options, &Silent, &Cancel::new(), &SystemClock);
    report.expect("nothing is in the way of a backup in memory").snapshot
}

/// Makes sure that an error says what is damaged.
fn is_named(error: &RepositoryError, name: &str) -> Result<(), String> {
    let text = explain(error);
    if matches!(error, RepositoryError::Corrupt(_)) && text.contains(name) {
        Ok(())
    } else {
        Err(format!("the error does not name it: {text}"))
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").expect("the source has an absolute path")
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::create(path)?.write_all(bytes)
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(16).fill_bytes(&mut bytes);
    bytes
}

/// What compresses and what does not, nothing at all, a hole, names and links.
fn write_first(source: &Path) -> io::Result<()> {
    fs::create_dir_all(source.join("media"))?;
    write(&source.join("media/noise"), &noise(7 << 10))?;
    write(&source.join("text"), "as plain as it can be; ".repeat(90).as_bytes())?;
    write(&source.join("empty"), b"")?;
    File::create(source.join("hole"))?.set_len(600 << 10)?;
    symlink("text", source.join("link"))?;
    fs::hard_link(source.join("text"), source.join("media/text"))
}

fn write_second(source: &Path) -> io::Result<()> {
    fs::create_dir(source.join("more"))?;
    write(&source.join("more/letters"), &noise(9 << 10)[7 << 10..])?;
    fs::remove_file(source.join("empty"))
}
