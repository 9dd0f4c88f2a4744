//! The course: both racers do each work on the same store, in turns, each round in another order.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_testing::interrupt::Interrupt;
use lifeboat_testing::line::Carried;
use serde::Serialize;

use super::large::{self, LISTED, Large};
use super::store::{Store, Way};
use super::work::Work;
use crate::ceiling::walk;
use crate::corpus::{Corpus, Recipe, media};
use crate::failure::{BenchError, file};
use crate::launch::{Invocation, Launcher, Usage};
use crate::place::{Place, remove};
use crate::race::{Times, cache};
use crate::racer::{Racer, Task, init_on};
use crate::scale::blobs::REAL_FILE;

/// How many connections restic opens, by its own default; lifeboat sends as many packs at a time. Through SFTP both ask so
/// much at a time of one connection.
const S3_CONNECTIONS: &str = "s3.connections=5";
const SFTP_CONNECTIONS: &str = "sftp.connections=5";

/// Both, for the report.
pub const CONNECTIONS: &str = "s3.connections=5, sftp.connections=5";

/// How much of the media there is at full scale: enough that a round trip is lost among packs.
const MEDIA_PART: f64 = 1.0 / 3.0;

/// What a program needs beside the files that it makes.
const WORKING_BYTES: u64 = 300_000_000;

/// Room for the large repository at full scale.
const LARGE_BYTES: u64 = 600_000_000;

/// Who races.
pub const RACERS: [Racer; 2] = [Racer::Lifeboat, Racer::Restic];

/// How a course is held.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How much of everything is made from which numbers.
    pub recipe: Recipe,
    /// How often each racer does each work.
    pub runs: usize,
    /// The works.
    pub works: Vec<Work>,
    /// The cores of the machine.
    pub cores: usize,
    /// The `lifeboat` binary.
    pub lifeboat: PathBuf,
}

impl Rules {
    fn media(&self) -> Recipe {
        Recipe { scale: self.recipe.scale * MEDIA_PART, ..self.recipe }
    }

    /// Returns how much room the works need at most at a time.
    pub fn needed_bytes(&self) -> u64 {
        // The media, a repository of each racer on each server, what was restored, and what is touched.
        let media = 7 * self.media().scaled(media::BYTES);
        media + self.recipe.scaled(LARGE_BYTES) + WORKING_BYTES + (64 << 20)
    }
}

/// What passed over the line in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Connections that were opened.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
    /// Bytes that were sent to the server, heads included.
    pub sent_bytes: u64,
    /// Bytes that came from it, heads included.
    pub received_bytes: u64,
}

impl From<Carried> for Load {
    fn from(carried: Carried) -> Self {
        let Carried { connections, requests, there_bytes, back_bytes, .. } = carried;
        Self { connections, requests, sent_bytes: there_bytes, received_bytes: back_bytes }
    }
}

/// A work, done by both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raced {
    /// The work.
    pub work: Work,
    /// Who took what.
    pub times: Vec<Times>,
    /// What each had carried in its last run, in the order of the times; nothing where there was no line.
    pub loads: Vec<Load>,
}

/// All that was found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Results {
    /// How many bytes the media have.
    pub media_bytes: u64,
    /// The large repository.
    pub large: Large,
    /// The works.
    pub works: Vec<Raced>,
}

/// A course that is being held.
#[derive(Debug)]
pub struct Course<'a> {
    rules: &'a Rules,
    place: &'a Place,
    launcher: &'a Launcher,
    interrupt: &'a Interrupt,
    say: fn(&str),
    results: Results,
}

impl<'a> Course<'a> {
    /// Prepares a course; `say` tells a person how far it is.
    pub fn new(
        rules: &'a Rules,
        place: &'a Place,
        launcher: &'a Launcher,
        interrupt: &'a Interrupt,
        say: fn(&str),
    ) -> Self {
        Self { rules, place, launcher, interrupt, say, results: Results::default() }
    }

    /// Holds the course.
    pub fn hold(mut self) -> Result<Results, BenchError> {
        let root = self.place.fresh("store")?;
        let (on_media, on_large): (Vec<_>, Vec<_>) =
            self.rules.works.clone().into_iter().partition(|work| work.is_on_media());
        if !on_large.is_empty() {
            (self.say)("making: the large repository");
            let path = Store::place(&root, large::NAME);
            self.results.large = large::make(&path, self.rules.recipe, self.interrupt)?;
        }
        let store = Store::start(&root, &self.rules.works)?;
        if !on_media.is_empty() {
            self.on_media(&store, &on_media)?;
        }
        for work in on_large {
            self.on_large(&store, work)?;
        }
        Ok(self.results)
    }

    fn on_media(&mut self, store: &Store, works: &[Work]) -> Result<(), BenchError> {
        (self.say)("making: media");
        let root = self.place.join("corpus");
        let corpus = media::make(&root, self.rules.media(), self.rules.cores, self.interrupt)?;
        self.results.media_bytes = corpus.walked.bytes;
        for work in works {
            let restored = work.restored();
            for racer in restored.map_or(&[][..], |_| &RACERS) {
                self.backup(store, restored.unwrap_or(*work), *racer, &corpus)?;
            }
            self.take_turns(store, *work, |course, racer| match restored {
                Some(_) => course.restore(store, *work, racer, &corpus),
                None => course.backup(store, *work, racer, &corpus),
            })?;
        }
        for work in works {
            for racer in RACERS {
                store.clear(work.way(), racer.name())?;
            }
        }
        remove(&corpus.root)
    }

    fn on_large(&mut self, store: &Store, work: Work) -> Result<(), BenchError> {
        if matches!(work, Work::OpenCached | Work::OneFile) {
            for racer in RACERS {
                self.launch(&self.listing(store, Work::OpenCold, racer))?;
            }
        }
        self.take_turns(store, work, |course, racer| match work {
            Work::Packs | Work::OpenCold => {
                course.forget_cache(racer)?;
                course.launch(&course.listing(store, work, racer))
            }
            Work::OneFile => course.one_file(store, racer),
            _ => course.launch(&course.listing(store, work, racer)),
        })
    }

    /// Lets the racers do the work in turns; the first of one round is the last of the next.
    fn take_turns(
        &mut self,
        store: &Store,
        work: Work,
        run: impl Fn(&Self, Racer) -> Result<Usage, BenchError>,
    ) -> Result<(), BenchError> {
        let mut done = RACERS
            .map(|racer| (Times { racer, runs: Vec::new(), repository_bytes: None }, None::<Load>));
        for round in 0..self.rules.runs {
            for turn in 0..RACERS.len() {
                let (times, load) = &mut done[(turn + round) % RACERS.len()];
                let before = store.carried();
                let usage = run(self, times.racer)?;
                let carried = store.carried().since(before);
                *load = (carried.connections > 0).then(|| carried.into());
                (self.say)(&format!(
                    "{} {}/{}: {:8} {:6.2} s, {:6.2} s of CPU, {} requests",
                    work.name(),
                    round + 1,
                    self.rules.runs,
                    times.racer.name(),
                    usage.wall_s,
                    usage.cpu_s,
                    carried.requests
                ));
                times.runs.push(usage);
            }
        }
        let (times, loads): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let loads = loads.into_iter().flatten().collect();
        self.results.works.push(Raced { work, times, loads });
        Ok(())
    }

    /// Returns the command of a racer on a repository that the line leads to.
    fn command(&self, store: &Store, work: Work, racer: Racer, repository: &str) -> Invocation {
        let address = store.address(work.way(), racer, repository);
        match racer {
            Racer::Lifeboat => Invocation::new(&self.rules.lifeboat)
                .argument("repo")
                .argument(match work {
                    Work::Packs => "list",
                    Work::Restore | Work::OneFile => "restore",
                    _ => "ls",
                })
                .argument(address),
            _ => with_connections(
                racer,
                work.way(),
                Invocation::new("restic").argument("--repo").argument(address),
            ),
        }
    }

    /// Returns the command that lists something of the large repository.
    fn listing(&self, store: &Store, work: Work, racer: Racer) -> Invocation {
        let command = self.command(store, work, racer, large::NAME);
        match (work, racer) {
            (Work::Packs, Racer::Lifeboat) => command.argument("packs"),
            (Work::Packs, _) => command.arguments(["list", "packs"]),
            (_, Racer::Lifeboat) => command.arguments(["latest", LISTED]),
            (..) => command.arguments(["ls", "latest", LISTED]),
        }
    }

    fn launch(&self, invocation: &Invocation) -> Result<Usage, BenchError> {
        self.place.touch(WORKING_BYTES, self.interrupt)?;
        self.launcher.run(invocation)
    }

    /// Backs up into a new repository, with empty caches.
    fn backup(
        &self,
        store: &Store,
        work: Work,
        racer: Racer,
        corpus: &Corpus,
    ) -> Result<Usage, BenchError> {
        let way = work.way();
        store.clear(way, racer.name())?;
        self.forget_cache(racer)?;
        init_on(store.tier(way, racer.name())?)?;
        let task = Task::Backup(&corpus.root);
        self.run_task(store, way, racer, task, corpus)
    }

    /// Lets a racer do a task on its repository.
    fn run_task(
        &self,
        store: &Store,
        way: Way,
        racer: Racer,
        task: Task<'_>,
        corpus: &Corpus,
    ) -> Result<Usage, BenchError> {
        let address = store.address(way, racer, racer.name());
        let task = with_connections(racer, way, task.of(racer, &self.rules.lifeboat, &address));
        let task = match store.variable(way) {
            Some(variable) => task.with_variable(variable),
            None => task,
        };
        self.place.touch(corpus.walked.bytes + WORKING_BYTES, self.interrupt)?;
        self.launcher.run(&task)
    }

    fn restore(
        &self,
        store: &Store,
        work: Work,
        racer: Racer,
        corpus: &Corpus,
    ) -> Result<Usage, BenchError> {
        let target = self.place.fresh("target")?;
        let task = Task::Restore { source: &corpus.root, target: &target };
        let usage = self.run_task(store, work.way(), racer, task, corpus)?;
        self.came_back(racer, &target, (corpus.walked.files, corpus.walked.bytes))?;
        Ok(usage)
    }

    fn one_file(&self, store: &Store, racer: Racer) -> Result<Usage, BenchError> {
        forget_directories(&self.place.join(cache(racer)))?;
        let target = self.place.fresh("target")?;
        let command = self.command(store, Work::OneFile, racer, large::NAME);
        let command = match racer {
            Racer::Lifeboat => command.arguments(["latest", "--include", REAL_FILE, "--to"]),
            _ => command.arguments(["restore", "latest", "--include", REAL_FILE, "--target"]),
        };
        let usage = self.launch(&command.argument(&target))?;
        self.came_back(racer, &target, (1, self.results.large.file_bytes))?;
        Ok(usage)
    }

    /// Makes sure that a racer did what its time was taken for, and removes it.
    fn came_back(&self, racer: Racer, target: &Path, want: (u64, u64)) -> Result<(), BenchError> {
        let walked = walk(target, self.rules.cores).map_err(file("look at", target))?;
        if (walked.files, walked.bytes) == want {
            return remove(target);
        }
        let what = format!(
            "{} files with {} bytes came back instead of {} with {}",
            walked.files, walked.bytes, want.0, want.1
        );
        Err(BenchError::WrongWork { racer: racer.name(), what })
    }

    fn forget_cache(&self, racer: Racer) -> Result<(), BenchError> {
        self.place.fresh(cache(racer)).map(drop)
    }
}

/// Removes from a cache, as both racers lay it out, the packs of directories, and leaves the index.
fn forget_directories(cache: &Path) -> Result<(), BenchError> {
    for found in fs::read_dir(cache).map_err(file("read", cache))? {
        let path = found.map_err(file("read", cache))?.path();
        if path.file_name() == Some(OsStr::new("data")) {
            remove(&path)?;
        } else if path.is_dir() {
            forget_directories(&path)?;
        }
    }
    Ok(())
}

fn with_connections(racer: Racer, way: Way, command: Invocation) -> Invocation {
    match (racer, way) {
        (Racer::Restic, Way::Ssh) => command.arguments(["--option", SFTP_CONNECTIONS]),
        (Racer::Restic, _) => command.arguments(["--option", S3_CONNECTIONS]),
        _ => command,
    }
}
