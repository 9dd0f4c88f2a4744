//! The race: the racers take turns, each round in another order, and each does the whole work.
//!
//! What one racer leaves behind is removed before the next begins; the memory it lay in was used
//! before and is used again. Nothing runs at the same time.

use std::path::PathBuf;
use std::time::Instant;

use lifeboat_testing::interrupt::Interrupt;
use serde::Serialize;

use crate::ceiling::{Ceiling, measure, walk};
use crate::corpus::{Corpus, Recipe, database, history, media, mixed};
use crate::failure::{BenchError, file};
use crate::launch::{Invocation, Launcher, Usage};
use crate::place::{Place, remove};
use crate::racer::{self, Racer, Task, restic, stored_bytes};
use crate::work::{Material, Work};

/// How often the bare walk is timed; the fastest counts.
const WALKS: usize = 3;

/// What a program needs beside the files that it makes.
const WORKING_BYTES: u64 = 300_000_000;

/// How a race is held.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How the corpora are made.
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

/// What one racer took for one work, run by run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times<R = Racer> {
    /// The racer.
    pub racer: R,
    /// What each run took.
    pub runs: Vec<Usage>,
    /// How large its repository was after the last run.
    pub repository_bytes: Option<u64>,
}

/// A work, done by everybody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raced {
    /// The work.
    pub work: Work,
    /// Who took what.
    pub times: Vec<Times>,
    /// What perfect work would take, where that is known.
    pub ceiling_s: Option<f64>,
    /// What a bare walk takes, where that is the measure.
    pub walk_s: Option<f64>,
}

/// A corpus as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// What it is.
    pub name: &'static str,
    /// Everything in it that has a name.
    pub entries: u64,
    /// Its files.
    pub files: u64,
    /// How much they hold.
    pub bytes: u64,
    /// How much is left when equal files are counted once.
    pub unique_bytes: u64,
    /// What perfect work would take, if a sample was timed.
    pub ceiling: Option<Ceiling>,
}

/// All that was found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Results {
    /// The corpora.
    pub corpora: Vec<Measured>,
    /// The works.
    pub works: Vec<Raced>,
    /// Works that this `lifeboat` cannot do.
    pub missing: Vec<Work>,
}

impl Rules {
    /// Returns how much room the works need at most at a time.
    pub fn needed_bytes(&self) -> u64 {
        // The corpus, a repository of each racer, and one more for what is copied or restored.
        let needs = self.works.iter().map(|work| match work.material() {
            Material::Media => 4 * media::BYTES + media::BYTES / 4,
            Material::Mixed => 3 * mixed::BYTES_MAX,
            Material::Database => 4 * database::BYTES_MAX,
            Material::History => 3 * history::BYTES_MAX,
        });
        let needed = self.recipe.scaled(needs.max().unwrap_or(0));
        // Caches, temporary files, and what a small scale rounds up.
        needed + needed / 20 + (64 << 20)
    }
}

/// A race that is being held.
#[derive(Debug)]
pub struct Race<'a> {
    rules: &'a Rules,
    place: &'a Place,
    launcher: &'a Launcher,
    interrupt: &'a Interrupt,
    say: fn(&str),
    results: Results,
}

impl<'a> Race<'a> {
    /// Prepares a race; `say` tells a person how far it is.
    pub fn new(
        rules: &'a Rules,
        place: &'a Place,
        launcher: &'a Launcher,
        interrupt: &'a Interrupt,
        say: fn(&str),
    ) -> Self {
        Self { rules, place, launcher, interrupt, say, results: Results::default() }
    }

    /// Holds the race.
    pub fn hold(mut self) -> Result<Results, BenchError> {
        let materials = [
            (Material::Media, "media"),
            (Material::Mixed, "mixed tree"),
            (Material::Database, "PostgreSQL data"),
        ];
        for (material, name) in materials {
            let works = self.wanted(material)?;
            if !works.is_empty() {
                self.on_corpus(material, name, &works)?;
            }
        }
        if !self.wanted(Material::History)?.is_empty() {
            self.prune()?;
        }
        Ok(self.results)
    }

    /// Returns the works on a material that are wanted, and that this `lifeboat` can do.
    fn wanted(&mut self, material: Material) -> Result<Vec<Work>, BenchError> {
        let mut works = Vec::new();
        for work in &self.rules.works {
            if work.material() != material {
                continue;
            }
            if self.is_known(subcommand(*work))? {
                works.push(*work);
            } else {
                (self.say)(&format!(
                    "{}: this lifeboat has no `repo {}`",
                    work.name(),
                    subcommand(*work)
                ));
                self.results.missing.push(*work);
            }
        }
        Ok(works)
    }

    fn is_known(&self, subcommand: &str) -> Result<bool, BenchError> {
        let help = Invocation::new(&self.rules.lifeboat).arguments(["repo", subcommand, "--help"]);
        self.launcher.succeeds(&help)
    }

    fn on_corpus(
        &mut self,
        material: Material,
        name: &'static str,
        works: &[Work],
    ) -> Result<(), BenchError> {
        (self.say)(&format!("making: {name}"));
        let corpus = self.make(material)?;
        let ceiling = self.ceiling(&corpus)?;
        self.results.corpora.push(Measured {
            name,
            entries: corpus.walked.entries,
            files: corpus.walked.files,
            bytes: corpus.walked.bytes,
            unique_bytes: corpus.unique_bytes,
            ceiling,
        });
        for work in works {
            self.on_work(*work, &corpus, ceiling)?;
        }
        for racer in [Racer::Lifeboat, Racer::Restic] {
            remove(&self.repository(racer))?;
        }
        remove(&corpus.root)
    }

    fn make(&self, material: Material) -> Result<Corpus, BenchError> {
        let Rules { recipe, cores, .. } = *self.rules;
        let root = self.place.join("corpus");
        match material {
            Material::Mixed => mixed::make(&root, recipe, self.interrupt),
            Material::Database => database::make(&root, recipe, self.interrupt),
            Material::Media | Material::History => {
                media::make(&root, recipe, cores, self.interrupt)
            }
        }
    }

    fn ceiling(&self, corpus: &Corpus) -> Result<Option<Ceiling>, BenchError> {
        if corpus.sample.is_empty() {
            return Ok(None);
        }
        (self.say)("ceiling: each stage alone, on all cores");
        let scratch = self.place.fresh("scratch")?;
        let stages = measure(&corpus.sample, &scratch, self.rules.cores)?;
        let mut walk_s = f64::INFINITY;
        for _ in 0..WALKS {
            let watch = Instant::now();
            walk(&corpus.root, self.rules.cores).map_err(file("look at", &corpus.root))?;
            walk_s = walk_s.min(watch.elapsed().as_secs_f64());
        }
        remove(&scratch)?;
        Ok(Some(Ceiling::of(corpus, stages, walk_s, self.rules.cores)))
    }

    fn on_work(
        &mut self,
        work: Work,
        corpus: &Corpus,
        ceiling: Option<Ceiling>,
    ) -> Result<(), BenchError> {
        let both = [Racer::Lifeboat, Racer::Restic];
        let all = [Racer::Lifeboat, Racer::Restic, Racer::Cp];
        let (mut ceiling_s, mut walk_s) = (None, None);
        let times = match work {
            Work::MediaBackup | Work::MixedBackup | Work::DatabaseBackup => {
                ceiling_s = ceiling.map(|ceiling| ceiling.backup_s);
                self.take_turns(work, &all, |racer| self.backup(racer, corpus))?
            }
            Work::MixedUnchanged => {
                walk_s = ceiling.map(|ceiling| ceiling.walk_s);
                self.provide(corpus)?;
                self.take_turns(work, &both, |racer| {
                    self.run(Task::Backup(&corpus.root), racer, 0)
                })?
            }
            Work::MediaRestore | Work::MixedRestore => {
                self.provide(corpus)?;
                self.take_turns(work, &all, |racer| self.restore(racer, corpus))?
            }
            Work::MediaCheck | Work::MixedCheck => {
                ceiling_s = ceiling.map(|ceiling| ceiling.check_s);
                self.provide(corpus)?;
                self.take_turns(work, &both, |racer| self.run(Task::Check, racer, 0))?
            }
            Work::Prune => return Ok(()),
        };
        self.results.works.push(Raced { work, times, ceiling_s, walk_s });
        Ok(())
    }

    /// Lets the racers do the work in turns; the first of one round is the last of the next.
    fn take_turns(
        &self,
        work: Work,
        racers: &[Racer],
        run: impl Fn(Racer) -> Result<Usage, BenchError>,
    ) -> Result<Vec<Times>, BenchError> {
        let mut times: Vec<_> = racers
            .iter()
            .map(|racer| Times { racer: *racer, runs: Vec::new(), repository_bytes: None })
            .collect();
        for round in 0..self.rules.runs {
            for turn in 0..racers.len() {
                let times = &mut times[(turn + round) % racers.len()];
                let usage = run(times.racer)?;
                (self.say)(&format!(
                    "{} {}/{}: {:8} {:8.2} s, {:8.2} s of CPU, {:5.0} MB",
                    work.name(),
                    round + 1,
                    self.rules.runs,
                    times.racer.name(),
                    usage.wall_s,
                    usage.cpu_s,
                    megabytes(usage.resident_bytes)
                ));
                times.runs.push(usage);
            }
        }
        for times in times.iter_mut().filter(|times| times.racer != Racer::Cp) {
            times.repository_bytes = Some(stored_bytes(&self.repository(times.racer))?);
        }
        Ok(times)
    }

    fn repository(&self, racer: Racer) -> PathBuf {
        self.place.join(match racer {
            Racer::Lifeboat => "lifeboat-repository",
            Racer::Restic => "restic-repository",
            Racer::Cp => "copy",
        })
    }

    /// Lets a racer do something that makes `made_bytes` of files.
    ///
    /// A virtual machine gives memory back to its host soon after it was freed, and to take a page anew
    /// costs more than to write it. So as much memory as a run may need is used just before it: for
    /// every racer alike.
    fn run(&self, task: Task<'_>, racer: Racer, made_bytes: u64) -> Result<Usage, BenchError> {
        self.place.touch(made_bytes + WORKING_BYTES, self.interrupt)?;
        self.launcher.run(&task.of(racer, &self.rules.lifeboat, &self.repository(racer)))
    }

    /// Backs up into a new repository, with empty caches.
    fn backup(&self, racer: Racer, corpus: &Corpus) -> Result<Usage, BenchError> {
        let repository = self.repository(racer);
        remove(&repository)?;
        self.forget_cache(racer)?;
        if racer != Racer::Cp {
            racer::init(&repository)?;
        }
        let usage = self.run(Task::Backup(&corpus.root), racer, corpus.walked.bytes)?;
        if racer == Racer::Cp {
            remove(&repository)?;
        }
        Ok(usage)
    }

    /// Makes the repositories that are not there yet, so that works can be measured alone.
    fn provide(&self, corpus: &Corpus) -> Result<(), BenchError> {
        for racer in [Racer::Lifeboat, Racer::Restic] {
            if !self.repository(racer).exists() {
                (self.say)(&format!("making: the repository of {}", racer.name()));
                self.backup(racer, corpus)?;
            }
        }
        Ok(())
    }

    fn restore(&self, racer: Racer, corpus: &Corpus) -> Result<Usage, BenchError> {
        let target = self.place.fresh("target")?;
        let source = corpus.root.as_path();
        let task = Task::Restore { source, target: &target };
        let usage = self.run(task, racer, corpus.walked.bytes)?;
        let restored = walk(&target, self.rules.cores).map_err(file("look at", &target))?;
        let (have, want) = (restored, corpus.walked);
        if (have.files, have.bytes) != (want.files, want.bytes) {
            let what = format!(
                "{} files with {} bytes came back instead of {} with {}",
                have.files, have.bytes, want.files, want.bytes
            );
            return Err(BenchError::WrongWork { racer: racer.name(), what });
        }
        remove(&target)?;
        Ok(usage)
    }

    fn prune(&mut self) -> Result<(), BenchError> {
        (self.say)("making: a repository with 100 snapshots");
        let template = self.place.join("history");
        racer::init(&template)?;
        let scratch = self.place.fresh("scratch")?;
        history::fill(&restic(&template), &scratch, self.rules.recipe, self.interrupt)?;
        let racers = [Racer::Lifeboat, Racer::Restic];
        let times = self.take_turns(Work::Prune, &racers, |racer| {
            let repository = self.repository(racer);
            remove(&repository)?;
            self.forget_cache(racer)?;
            let copy = Invocation::new("cp").argument("-a");
            self.launcher.run(&copy.argument(&template).argument(&repository))?;
            let kept = history::kept(self.rules.recipe);
            let repacked = self.rules.recipe.scaled(history::BYTES_MAX);
            let usage = self.run(Task::Prune(kept), racer, repacked)?;
            let left = restic(&repository).snapshots()?.len() as u64;
            let wanted = history::left(self.rules.recipe);
            if left == wanted {
                return Ok(usage);
            }
            let what = format!("{left} snapshots are left instead of {wanted}");
            Err(BenchError::WrongWork { racer: racer.name(), what })
        })?;
        self.results.works.push(Raced { work: Work::Prune, times, ceiling_s: None, walk_s: None });
        for path in [&template, &scratch] {
            remove(path)?;
        }
        racers.into_iter().try_for_each(|racer| remove(&self.repository(racer)))
    }

    fn forget_cache(&self, racer: Racer) -> Result<(), BenchError> {
        self.place.fresh(cache(racer)).map(drop)
    }
}

/// Returns where in the place a racer's cache lies.
pub const fn cache(racer: Racer) -> &'static str {
    match racer {
        Racer::Lifeboat => "cache-lifeboat",
        Racer::Restic => "cache-restic",
        Racer::Cp => "cache-none",
    }
}

/// Returns the word of lifeboat's plumbing for a work.
const fn subcommand(work: Work) -> &'static str {
    match work {
        Work::MediaBackup | Work::MixedBackup | Work::MixedUnchanged | Work::DatabaseBackup => {
            "backup"
        }
        Work::MediaRestore | Work::MixedRestore => "restore",
        Work::MediaCheck | Work::MixedCheck => "check",
        Work::Prune => "forget",
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
