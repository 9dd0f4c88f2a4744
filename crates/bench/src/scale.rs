//! How time and memory grow: the same works on repositories and directories of three sizes, a factor
//! of ten apart.
//!
//! - [`blobs`] makes repositories that list any number of blobs, [`files`] any number of files.
//! - [`step`] looks at the index from within a process of its own; everything else is done by the
//!   `lifeboat` program.
//! - [`growth`] writes it all down.
//!
//! Every work also has to do what it says: blobs are found, restored files are counted, what was pruned
//! passes a check. Nothing passes or fails on a time.

pub mod blobs;
pub mod files;
pub mod growth;
pub mod step;

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_testing::interrupt::Interrupt;
use serde::Serialize;

use self::blobs::Packing;
use self::files::Shape;
use self::step::{Seen, Step};
use crate::ceiling::walk;
use crate::failure::{BenchError, file};
use crate::launch::{Invocation, Launcher, Usage};
use crate::place::{Place, remove};
use crate::race::cache;
use crate::racer::{self, Racer, Task};

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The blobs that an index lists.
    Blobs,
    /// The files of a tree.
    Tree,
    /// The files of one directory.
    Flat,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Blobs, Self::Tree, Self::Flat];

    const fn of(shape: Shape) -> Self {
        match shape {
            Shape::Tree => Self::Tree,
            Shape::Flat => Self::Flat,
        }
    }
}

/// What one work took at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// What grows.
    pub subject: Subject,
    /// How large it was.
    pub size: u64,
    /// The work.
    pub work: &'static str,
    /// What it took.
    #[serde(flatten)]
    pub usage: Usage,
    /// What was seen from within, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// How large the largest of each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Blobs.
    pub blobs: u64,
    /// Files.
    pub files: u64,
}

impl Sizes {
    /// Returns how much room is needed at most at a time.
    pub fn needed_bytes(self) -> u64 {
        let needed = (self.blobs * blobs::ROOM_PER_BLOB).max(self.files * files::ROOM_PER_FILE);
        // Whatever the size, a restore and a repository have some directories.
        needed + (64 << 20)
    }
}

/// Returns a size and those that are ten and a hundred times smaller, the smallest first.
fn up_to(largest: u64) -> Vec<u64> {
    let mut sizes = [largest / 100, largest / 10, largest].map(|size| size.max(1)).to_vec();
    sizes.dedup();
    sizes
}

/// What it takes to measure.
#[derive(Debug)]
pub struct Growing<'a> {
    place: &'a Place,
    launcher: &'a Launcher,
    interrupt: &'a Interrupt,
    /// This program.
    itself: PathBuf,
    lifeboat: PathBuf,
    say: fn(&str),
    points: Vec<Point>,
}

impl<'a> Growing<'a> {
    /// Prepares to measure; `say` tells a person how far it is.
    pub fn new(
        place: &'a Place,
        launcher: &'a Launcher,
        interrupt: &'a Interrupt,
        (itself, lifeboat): (PathBuf, PathBuf),
        say: fn(&str),
    ) -> Self {
        Self { place, launcher, interrupt, itself, lifeboat, say, points: Vec::new() }
    }

    /// Measures everything.
    pub fn measure(mut self, sizes: Sizes) -> Result<Vec<Point>, BenchError> {
        let mut blobs: Vec<_> = up_to(sizes.blobs).into_iter().map(blobs::rounded).collect();
        blobs.dedup();
        for size in blobs {
            self.index(size)?;
        }
        for shape in [Shape::Tree, Shape::Flat] {
            for size in up_to(sizes.files) {
                self.files(shape, size)?;
            }
        }
        Ok(self.points)
    }

    fn repository(&self) -> PathBuf {
        self.place.join("repository")
    }

    /// Begins with an empty cache and no repository.
    fn begin(&self) -> Result<(), BenchError> {
        remove(&self.repository())?;
        self.place.fresh(cache(Racer::Lifeboat)).map(drop)
    }

    fn index(&mut self, size: u64) -> Result<(), BenchError> {
        (self.say)(&format!("making: an index of {size} blobs"));
        self.begin()?;
        blobs::make(&self.repository(), size, Packing::SMALL, self.interrupt)?;
        let subject = (Subject::Blobs, size);
        for (work, step) in [
            ("make", Step::Load),
            ("open", Step::Load),
            ("look up", Step::LookUp),
            ("iterate", Step::Iterate),
        ] {
            self.step(subject, work, step)?;
        }
        let source = self.place.fresh("source")?;
        files::make(&source, Shape::Flat, 1, self.interrupt)?;
        self.run(subject, "backup", &self.task(Task::Backup(&source)))?;
        let repo = |words: &[&str]| {
            let command = Invocation::new(&self.lifeboat).argument("repo").argument(words[0]);
            command.argument(self.repository()).arguments(words[1..].iter().copied())
        };
        let check = repo(&["check"]);
        let works = [
            ("check", check.clone()),
            ("stats", repo(&["stats", "--mode", "raw-data"])),
            ("find", repo(&["find", "*.none"])),
            ("prune", repo(&["forget", "--keep-last", "1", "--prune"])),
        ];
        for (work, invocation) in works {
            self.run(subject, work, &invocation)?;
        }
        // What is left has to be whole.
        self.launcher.run(&check)?;
        remove(&source)?;
        self.begin()
    }

    fn files(&mut self, shape: Shape, size: u64) -> Result<(), BenchError> {
        (self.say)(&format!("making: {size} files, {shape:?}"));
        self.begin()?;
        racer::init(&self.repository())?;
        let source = self.place.fresh("source")?;
        files::make(&source, shape, size, self.interrupt)?;
        let subject = (Subject::of(shape), size);
        self.run(subject, "backup", &self.task(Task::Backup(&source)))?;
        self.run(subject, "unchanged", &self.task(Task::Backup(&source)))?;
        files::change(&source, shape, size)?;
        self.run(subject, "changed", &self.task(Task::Backup(&source)))?;
        self.run(subject, "check", &self.task(Task::Check))?;
        self.restore(subject, &source)?;
        self.run(subject, "prune", &self.task(Task::Prune(1)))?;
        self.launcher.run(&self.task(Task::Check))?;
        remove(&source)?;
        self.begin()
    }

    fn restore(&mut self, subject: (Subject, u64), source: &Path) -> Result<(), BenchError> {
        let target = self.place.fresh("target")?;
        let task = self.task(Task::Restore { source, target: &target });
        self.run(subject, "restore", &task)?;
        // The paths of a snapshot begin at the root.
        let below = target.join(source.strip_prefix("/").unwrap_or(source));
        let look = |path: &Path| walk(path, 1).map_err(file("look at", path));
        let (had, came_back) = (look(source)?, look(&below)?);
        if had == came_back {
            return remove(&target);
        }
        let what = format!("{came_back:?} came back of {had:?}");
        Err(BenchError::WrongWork { racer: Racer::Lifeboat.name(), what })
    }

    fn task(&self, task: Task<'_>) -> Invocation {
        task.of(Racer::Lifeboat, &self.lifeboat, &self.repository())
    }

    fn step(
        &mut self,
        subject: (Subject, u64),
        work: &'static str,
        step: Step,
    ) -> Result<(), BenchError> {
        let out = self.place.join("seen.json");
        let invocation = Invocation::new(&self.itself)
            .arguments(["step", step.name(), "--blobs", &subject.1.to_string()])
            .argument("--repository")
            .argument(self.repository())
            .argument("--cache")
            .argument(self.place.join(cache(Racer::Lifeboat)).join("lifeboat"))
            .argument("--out")
            .argument(&out);
        let usage = self.launcher.run(&invocation)?;
        let seen = fs::read(&out).map_err(file("read", &out))?;
        let seen =
            serde_json::from_slice(&seen).map_err(|error| file("read", &out)(error.into()))?;
        self.add(subject, work, usage, Some(seen));
        Ok(())
    }

    fn run(
        &mut self,
        subject: (Subject, u64),
        work: &'static str,
        invocation: &Invocation,
    ) -> Result<(), BenchError> {
        let usage = self.launcher.run(invocation)?;
        self.add(subject, work, usage, None);
        Ok(())
    }

    fn add(
        &mut self,
        (subject, size): (Subject, u64),
        work: &'static str,
        usage: Usage,
        seen: Option<Seen>,
    ) {
        let point = Point { subject, size, work, usage, seen };
        let wall_s = point.usage.wall_s;
        let brief = growth::brief(&point);
        (self.say)(&format!("{:9} {work:9} {brief} of CPU, {wall_s:.2} s in all", point.size));
        self.points.push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sizes_are_a_factor_of_ten_apart() {
        assert_eq!(up_to(10_000_000), [100_000, 1_000_000, 10_000_000]);
        assert_eq!(up_to(5), [1, 5]);
    }
}
