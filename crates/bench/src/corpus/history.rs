//! A repository that has seen some time: a hundred snapshots by two hosts, written by restic.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::restic::Restic;

use super::Recipe;
use super::random::Random;
use crate::failure::{BenchError, file};

/// Who makes backups. Two at the same time build the repository in half the time.
const HOSTS: [&str; 2] = ["anna", "bert"];

/// How many snapshots a host makes.
const SNAPSHOTS: u64 = 50;

/// How many it makes at a scale below [`SCALE_MIN`].
const SNAPSHOTS_MIN: u64 = 10;

/// Below this scale it is not about times, but about whether everything works.
const SCALE_MIN: f64 = 0.01;

/// How many files a host has at full scale.
const FILES: u64 = 2_000;

/// How many of a hundred files change from one snapshot to the next.
const CHANGED_PERCENT: u64 = 4;

/// The largest file; on average they are half as large.
const FILE_BYTES_MAX: u64 = 200_000;

/// How many files lie in a directory.
const DIRECTORY_FILES: u64 = 50;

/// How much room the repository takes at most, at full scale.
pub const BYTES_MAX: u64 = 1_600_000_000;

/// Returns how many snapshots are kept of each host: seven of ten.
pub fn kept(recipe: Recipe) -> u64 {
    snapshots(recipe) * 7 / 10
}

/// Returns how many snapshots all hosts keep together.
pub fn left(recipe: Recipe) -> u64 {
    kept(recipe) * HOSTS.len() as u64
}

fn snapshots(recipe: Recipe) -> u64 {
    if recipe.scale < SCALE_MIN { SNAPSHOTS_MIN } else { SNAPSHOTS }
}

/// Fills the repository, which is empty; the trees are made below `scratch`.
pub fn fill(
    repository: &Restic,
    scratch: &Path,
    recipe: Recipe,
    interrupt: &Interrupt,
) -> Result<(), BenchError> {
    thread::scope(|scope| {
        let hosts = (0_u64..).zip(HOSTS).map(|(number, name)| {
            let host = Host { name, number, root: scratch.join(name), recipe };
            scope.spawn(move || host.live(repository, interrupt))
        });
        let hosts: Vec<_> = hosts.collect();
        hosts.into_iter().try_for_each(|host| host.join().expect("a host cannot panic"))
    })
}

/// One host and its files.
struct Host {
    name: &'static str,
    number: u64,
    root: PathBuf,
    recipe: Recipe,
}

impl Host {
    fn live(&self, repository: &Restic, interrupt: &Interrupt) -> Result<(), BenchError> {
        let files = self.recipe.scaled(FILES);
        for number in 0..files {
            self.write(number, 0)?;
        }
        for snapshot in 1..=snapshots(self.recipe) {
            interrupt.check()?;
            let arguments = ["backup", "--quiet", "--host", self.name].map(OsStr::new);
            repository.run(arguments.into_iter().chain([self.root.as_os_str()]))?;
            let mut random = Random::of(self.recipe.seed, snapshot << 8 | self.number);
            for _ in 0..(files * CHANGED_PERCENT).div_ceil(100) {
                self.write(random.below(files), snapshot)?;
            }
        }
        fs::remove_dir_all(&self.root).map_err(file("remove", &self.root))
    }

    fn write(&self, number: u64, version: u64) -> Result<(), BenchError> {
        let path = self.root.join(format!("{:03}/{number:05}", number / DIRECTORY_FILES));
        let mut random = Random::of(self.recipe.seed, (number << 16 | version << 8) + self.number);
        let size = 1 + random.below(FILE_BYTES_MAX);
        let written = if number.is_multiple_of(2) {
            random.write_noise(&path, size)
        } else {
            random.write_text(&path, size)
        };
        written.map_err(file("write", &path))
    }
}
