//! Photos, recordings and films: 3 GB in 1,500 files that nothing can compress.

use std::path::{Path, PathBuf};
use std::thread;

use lifeboat_testing::interrupt::Interrupt;

use super::random::Random;
use super::{Corpus, Recipe};
use crate::failure::{BenchError, file};

/// How much it is at full scale.
pub const BYTES: u64 = 3_000_000_000;

/// How many files it is at full scale.
const FILES: u64 = 1_500;

/// How far sizes spread: with 1.5, one file in a hundred is thirty times as large as the median.
const SPREAD: f64 = 1.5;

/// The largest share of everything that one file may have.
const SHARE_MAX: f64 = 0.08;

/// About how much the stages are timed over.
const SAMPLE_BYTES: u64 = 256_000_000;

/// How many files lie in a directory.
const DIRECTORY_FILES: usize = 100;

/// Makes it below `root`.
pub fn make(
    root: &Path,
    recipe: Recipe,
    cores: usize,
    interrupt: &Interrupt,
) -> Result<Corpus, BenchError> {
    let files: Vec<_> = sizes(recipe)
        .into_iter()
        .enumerate()
        .map(|(number, size)| (root.join(name(number)), number as u64, size))
        .collect();
    thread::scope(|scope| {
        let part = files.len().div_ceil(cores);
        let writers: Vec<_> = files
            .chunks(part)
            .map(|files| scope.spawn(|| write(files, recipe.seed, interrupt)))
            .collect();
        writers.into_iter().try_for_each(|w| w.join().expect("a writer cannot panic"))
    })?;
    let sample = sample(&files);
    Corpus::look(root.to_owned(), None, sample)
}

fn write(
    files: &[(PathBuf, u64, u64)],
    seed: u64,
    interrupt: &Interrupt,
) -> Result<(), BenchError> {
    for (path, number, size) in files {
        interrupt.check()?;
        Random::of(seed, *number).write_noise(path, *size).map_err(file("write", path))?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("{:03}/{number:05}.bin", number / DIRECTORY_FILES)
}

/// Returns log-normal sizes whose sum is the wanted one, up to rounding.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes are rounded, and none is negative"
)]
fn sizes(recipe: Recipe) -> Vec<u64> {
    let mut random = Random::of(recipe.seed, u64::MAX);
    let weights: Vec<_> =
        (0..recipe.scaled(FILES)).map(|_| (SPREAD * random.normal()).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<_> = weights.into_iter().map(|weight| weight.min(sum * SHARE_MAX)).collect();
    let sum: f64 = weights.iter().sum();
    let bytes = recipe.scaled(BYTES) as f64;
    weights.into_iter().map(|weight| (weight / sum * bytes) as u64).collect()
}

/// Returns files from all over the corpus.
fn sample(files: &[(PathBuf, u64, u64)]) -> Vec<PathBuf> {
    let bytes: u64 = files.iter().map(|(_, _, size)| size).sum();
    let step = usize::try_from(bytes / SAMPLE_BYTES).unwrap_or(0).max(1);
    files.iter().step_by(step).map(|(path, _, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up_and_spread() {
        let recipe = Recipe { seed: 1, scale: 1.0 };
        let mut sizes = sizes(recipe);
        assert_eq!(sizes.len(), 1_500);
        assert!(sizes.iter().sum::<u64>().abs_diff(BYTES) < 10_000);
        sizes.sort_unstable();
        let (median, largest) = (sizes[750], sizes[1_499]);
        assert!(largest > 20 * median && largest < BYTES / 10, "{median} {largest}");
    }

    #[test]
    fn a_small_one_is_made_as_it_was_planned() {
        let directory = tempfile::tempdir().unwrap();
        let recipe = Recipe { seed: 1, scale: 0.001 };
        let interrupt = Interrupt::default();
        let corpus = make(&directory.path().join("media"), recipe, 2, &interrupt).unwrap();
        assert_eq!(corpus.walked.files, 2);
        assert!(corpus.walked.bytes.abs_diff(3_000_000) < 10);
        assert_eq!(corpus.unique_bytes, corpus.walked.bytes);
        assert_eq!(corpus.sample.len(), 2);
    }
}
