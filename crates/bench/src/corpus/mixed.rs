//! A tree of small and mixed files: those of the machine's `/usr`, up to 8 MiB each.
//!
//! `/usr` is programs, libraries, source, documentation, pictures and links: no generator makes up
//! such a mixture. Its few very large files are left out, since media are measured by themselves.
//! Where it has fewer than a hundred thousand files, generated ones are added; with a small scale,
//! the seed chooses which files are taken.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lifeboat_repository::blob::blob_id;
use lifeboat_testing::interrupt::Interrupt;

use super::random::Random;
use super::{Corpus, Recipe};
use crate::failure::{BenchError, file};

/// The tree that is copied.
const ORIGIN: &str = "/usr";

/// How many files it has at least, at full scale.
const FILES_MIN: u64 = 100_000;

/// The largest file that is taken.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// How much room it needs at most at full scale.
pub const BYTES_MAX: u64 = 4_000_000_000;

/// About how much the stages are timed over.
const SAMPLE_BYTES: u64 = 128_000_000;

/// How many generated files lie in a directory.
const DIRECTORY_FILES: u64 = 200;

/// The logarithm of the median size of a generated file, and how far sizes spread.
const GENERATED_SIZE: (f64, f64) = (8.5, 1.8);

/// Makes it below `root`.
pub fn make(root: &Path, recipe: Recipe, interrupt: &Interrupt) -> Result<Corpus, BenchError> {
    let mut copy = Copy::new(root, recipe, interrupt);
    copy.directory(Path::new(ORIGIN), root)?;
    copy.complete()?;
    let unique_bytes = copy.unique_bytes;
    let step = usize::try_from(copy.bytes / SAMPLE_BYTES).unwrap_or(0).max(1);
    let sample = copy.files.into_iter().step_by(step).collect();
    Corpus::look(root.to_owned(), Some(unique_bytes), sample)
}

/// A copy in the making.
struct Copy<'i> {
    root: &'i Path,
    recipe: Recipe,
    interrupt: &'i Interrupt,
    files: Vec<PathBuf>,
    bytes: u64,
    unique_bytes: u64,
    bytes_max: u64,
    seen: HashSet<[u8; 32]>,
}

impl<'i> Copy<'i> {
    fn new(root: &'i Path, recipe: Recipe, interrupt: &'i Interrupt) -> Self {
        Self {
            root,
            recipe,
            interrupt,
            files: Vec::new(),
            bytes: 0,
            unique_bytes: 0,
            bytes_max: recipe.scaled(BYTES_MAX) - recipe.scaled(BYTES_MAX) / 8,
            seen: HashSet::new(),
        }
    }

    /// Copies what lies in a directory, sorted, so that the same files are taken each time.
    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), BenchError> {
        self.interrupt.check()?;
        let device = device(from).map_err(file("read", from))?;
        let mut names = names(from).map_err(file("read", from))?;
        names.sort_unstable();
        for name in names {
            let (from, to) = (from.join(&name), to.join(&name));
            // What goes away while it is copied was never there.
            let Ok(metadata) = from.symlink_metadata() else { continue };
            if metadata.is_dir() {
                if device_of(&metadata) == device {
                    self.directory(&from, &to)?;
                }
            } else if self.wants(&from, &metadata) {
                self.entry(&from, &to, &metadata)?;
            }
        }
        Ok(())
    }

    fn wants(&self, from: &Path, metadata: &Metadata) -> bool {
        let (seed, scale) = (self.recipe.seed, self.recipe.scale);
        let is_chosen = scale >= 1.0 || share_of(from, seed) < scale;
        let is_small =
            metadata.len() <= FILE_BYTES_MAX.min(self.bytes_max.saturating_sub(self.bytes));
        is_chosen && (metadata.is_symlink() || (metadata.is_file() && is_small))
    }

    fn entry(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> Result<(), BenchError> {
        // Directories that nothing is taken from would outweigh the files of a small scale.
        if let Some(parent) = to.parent().filter(|parent| !parent.is_dir()) {
            fs::create_dir_all(parent).map_err(file("make", parent))?;
        }
        if metadata.is_symlink() {
            let target = fs::read_link(from).map_err(file("read", from))?;
            return std::os::unix::fs::symlink(target, to).map_err(file("make", to));
        }
        let content = fs::read(from).map_err(file("read", from))?;
        let mut copy = File::create(to).map_err(file("make", to))?;
        copy.write_all(&content).map_err(file("write", to))?;
        copy.set_permissions(metadata.permissions()).map_err(file("write", to))?;
        self.count(to, &content);
        Ok(())
    }

    fn count(&mut self, path: &Path, content: &[u8]) {
        self.bytes += content.len() as u64;
        if self.seen.insert(*blob_id(content).as_bytes()) {
            self.unique_bytes += content.len() as u64;
        }
        self.files.push(path.to_owned());
    }

    /// Adds generated files until there are enough.
    fn complete(&mut self) -> Result<(), BenchError> {
        let wanted = self.recipe.scaled(FILES_MIN);
        for number in self.files.len() as u64..wanted {
            self.interrupt.check()?;
            let name = format!("generated/{:03}/{number:06}", number / DIRECTORY_FILES);
            let path = self.root.join(name);
            generate(&path, self.recipe.seed, number).map_err(file("write", &path))?;
            let content = fs::read(&path).map_err(file("read", &path))?;
            self.count(&path, &content);
        }
        Ok(())
    }
}

/// Writes a small file: two of three are text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size is rounded and not negative"
)]
fn generate(path: &Path, seed: u64, number: u64) -> io::Result<()> {
    let mut random = Random::of(seed, number);
    let (median, spread) = GENERATED_SIZE;
    let size = ((median + spread * random.normal()).exp() as u64).min(FILE_BYTES_MAX);
    if random.below(3) == 0 {
        random.write_noise(path, size)
    } else {
        random.write_text(path, size)
    }
}

fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn device(path: &Path) -> io::Result<u64> {
    Ok(device_of(&path.symlink_metadata()?))
}

fn device_of(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::dev(metadata)
}

/// Returns a number from 0 to below 1 that depends on the path and the seed.
fn share_of(path: &Path, seed: u64) -> f64 {
    let name: &OsStr = path.as_os_str();
    let mixed = name.as_bytes().iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Random::of(seed, mixed).share()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_tree_has_files_enough_and_knows_equal_ones() {
        let directory = tempfile::tempdir().unwrap();
        let recipe = Recipe { seed: 1, scale: 0.002 };
        let interrupt = Interrupt::default();
        let corpus = make(&directory.path().join("mixed"), recipe, &interrupt).unwrap();
        assert!(corpus.walked.files >= 200, "{:?}", corpus.walked);
        assert!(corpus.walked.bytes <= recipe.scaled(BYTES_MAX));
        assert!(corpus.unique_bytes <= corpus.walked.bytes);
        assert!(!corpus.sample.is_empty());
    }

    #[test]
    fn equal_files_count_once() {
        let interrupt = Interrupt::default();
        let recipe = Recipe { seed: 1, scale: 1.0 };
        let mut copy = Copy::new(Path::new("/x"), recipe, &interrupt);
        copy.count(Path::new("/x/a"), b"same");
        copy.count(Path::new("/x/b"), b"same");
        assert_eq!((copy.bytes, copy.unique_bytes, copy.files.len()), (8, 4, 2));
    }
}
