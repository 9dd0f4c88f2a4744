//! The contest: the engines take turns, each round in another order, on one server that nobody else uses.
//!
//! The server archives by the command of whoever is backing it up. So each has the log of its own backups,
//! and the archive of nobody is in another's way.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lifeboat_testing::interrupt::Interrupt;
use serde::Serialize;
use serde_json::Value;

use super::database::{self, Database};
use super::engine::{Archiving, Before, Engine, Engines, Kind, ServerAddress};
use super::log::StandIn;
use super::work::{Quantity, Work};
use crate::ceiling::walk;
use crate::corpus::Recipe;
use crate::failure::{BenchError, file};
use crate::launch::{Background, Invocation, Launcher, Usage};
use crate::place::{Place, remove};
use crate::race::Times;

/// What a program needs beside the files that it makes.
const WORKING_BYTES: u64 = 300_000_000;

/// As many segments as `lifeboat wal serve` ships before it is asked.
const SHIPPED_AHEAD: usize = 16;

/// How often it is looked whether something has happened, and how often at most.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 6_000;

/// What lifeboat says of a segment that it fetched before it was asked.
const PREFETCHED: &str = "It was fetched ahead.";

/// What it says of one that it did not.
const FETCHED_NOW: &str = "It was fetched when it was asked for.";

/// How a contest is held.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How large the database is, and from which numbers it changes.
    pub recipe: Recipe,
    /// How often each engine does each work.
    pub runs: usize,
    /// The works.
    pub works: Vec<Work>,
    /// The `lifeboat` binary.
    pub lifeboat: PathBuf,
}

impl Rules {
    /// Returns how much room the works need at most at a time.
    pub fn needed_bytes(&self) -> u64 {
        // The data, what was restored twice, and what all engines store, which pgbench's rows make small.
        3 * database::bytes(self.recipe) + database::bytes(self.recipe) / 2 + (256 << 20)
    }
}

/// Something that was counted, run by run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Of whom.
    pub engine: Engine,
    /// What.
    pub quantity: Quantity,
    /// In each run.
    pub runs: Vec<f64>,
}

/// A work, done by everybody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raced {
    /// The work.
    pub work: Work,
    /// Who took what.
    pub times: Vec<Times<Engine>>,
    /// What was counted beside.
    pub figures: Vec<Figure>,
}

/// The database as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Measured {
    /// Its files.
    pub files: u64,
    /// How much they hold, the log left out.
    pub bytes: u64,
    /// How many pages its relations have.
    pub pages: u64,
    /// How many of them a change changes.
    pub changed_pages: u64,
    /// How many segments of the log are archived and replayed.
    pub segments: u64,
}

/// All that was found out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Results {
    /// The database.
    pub database: Measured,
    /// The works.
    pub works: Vec<Raced>,
}

/// What one engine did in one run.
struct Run {
    usage: Usage,
    figures: Vec<(Quantity, f64)>,
}

impl Run {
    const fn of(usage: Usage) -> Self {
        Self { usage, figures: Vec::new() }
    }

    fn with(mut self, quantity: Quantity, value: f64) -> Self {
        self.figures.push((quantity, value));
        self
    }

    /// Only the time is known of what others than the measured program waited for.
    const fn lasting(wall_s: f64) -> Self {
        Self::of(Usage { wall_s, cpu_s: 0.0, resident_bytes: 0 })
    }
}

/// A contest that is being held.
#[derive(Debug)]
pub struct Contest<'a> {
    rules: &'a Rules,
    place: &'a Place,
    launcher: &'a Launcher,
    interrupt: &'a Interrupt,
    say: fn(&str),
    database: Database,
    engines: Engines,
    results: Results,
}

impl<'a> Contest<'a> {
    /// Makes the server; `say` tells a person how far it is.
    pub fn new(
        rules: &'a Rules,
        place: &'a Place,
        launcher: &'a Launcher,
        interrupt: &'a Interrupt,
        say: fn(&str),
    ) -> Result<Self, BenchError> {
        say("making: a server with the tables of pgbench");
        let data = place.join("data");
        let database = Database::make(&data, rules.recipe, interrupt)?;
        let server = ServerAddress::of(&database.cluster);
        let engines = Engines::new(rules.lifeboat.clone(), place.path().to_owned(), server);
        let mut results = Results::default();
        let walked = walk(&data, 1).map_err(file("look at", &data))?;
        let log = walk(&data.join("pg_wal"), 1).map_err(file("look at", &data))?;
        results.database = Measured {
            files: walked.files - log.files,
            bytes: walked.bytes - log.bytes,
            pages: database.pages,
            changed_pages: 0,
            segments: database::segments(rules.recipe),
        };
        Ok(Self { rules, place, launcher, interrupt, say, database, engines, results })
    }

    /// Holds the contest.
    pub fn hold(mut self) -> Result<Results, BenchError> {
        let wants = |works: &[Work]| works.iter().any(|work| self.rules.works.contains(work));
        let (bases, log) = (
            wants(&[Work::FirstBackup, Work::NextBackup, Work::Restore, Work::DeltaRestore]),
            wants(&[Work::Push, Work::PushAhead, Work::Call, Work::Replay]),
        );
        if bases {
            self.first_backups()?;
            self.next_backups()?;
            self.restores()?;
            remove(&self.place.join("template"))?;
        }
        if log {
            self.replay()?;
            self.pushes()?;
        }
        Ok(self.results)
    }

    fn wants(&self, work: Work) -> bool {
        self.rules.works.contains(&work)
    }

    /// Lets the engines do a work in turns, and notes what came of it.
    fn take_turns(
        &mut self,
        work: Work,
        run: impl Fn(&Self, Engine) -> Result<Run, BenchError>,
    ) -> Result<(), BenchError> {
        for round in 0..self.rules.runs {
            self.take_turn(work, round, &run)?;
        }
        Ok(())
    }

    /// Does one round of a work.
    fn take_turn(
        &mut self,
        work: Work,
        round: usize,
        run: impl Fn(&Self, Engine) -> Result<Run, BenchError>,
    ) -> Result<(), BenchError> {
        let engines = work.engines();
        for turn in 0..engines.len() {
            let engine = engines[(turn + round) % engines.len()];
            let done = run(self, engine)?;
            let figures = done.figures.iter().map(|(what, value)| format!("{what:?} {value:.3}"));
            (self.say)(&format!(
                "{} {}/{}: {:18} {:8.3} s  {}",
                work.name(),
                round + 1,
                self.rules.runs,
                engine.name(),
                done.usage.wall_s,
                figures.collect::<Vec<_>>().join("  ")
            ));
            self.results.note(work, engine, done);
        }
        Ok(())
    }

    /// Runs a program that makes `made_bytes` of files. As much memory is used just before, for everybody
    /// alike: to take a page anew costs more than to write it.
    fn run(&self, program: &Invocation, made_bytes: u64) -> Result<Usage, BenchError> {
        self.place.touch(made_bytes + WORKING_BYTES, self.interrupt)?;
        self.launcher.run(program)
    }

    /// Has the server archive by an engine's command.
    fn archive_by(&self, engine: Engine) -> Result<(), BenchError> {
        // What root wrote since, the server's user is to write in, too.
        self.engines.give_away(engine)?;
        let data = self.database.cluster.data_dir();
        let command = self.engines.archive_command(engine, data, Archiving::OneByOne);
        self.database.archive_by(&command)
    }

    fn first_backups(&mut self) -> Result<(), BenchError> {
        let bytes = self.results.database.bytes;
        let back_up = |own: &Self, engine| {
            own.engines.begin(engine, own.launcher)?;
            own.archive_by(engine)?;
            let usage = own.run(&own.engines.backup(engine, Kind::First), bytes)?;
            let stored = own.engines.stored_bytes(engine)?;
            Ok(Run::of(usage).with(Quantity::StoredBytes, number(stored)))
        };
        if self.wants(Work::FirstBackup) {
            return self.take_turns(Work::FirstBackup, back_up);
        }
        Engine::ALL.iter().try_for_each(|engine| back_up(self, *engine).map(drop))
    }

    fn next_backups(&mut self) -> Result<(), BenchError> {
        let wanted = self.wants(Work::NextBackup);
        if !wanted && !self.wants(Work::DeltaRestore) {
            return Ok(());
        }
        let back_up = |own: &Self, engine| {
            own.archive_by(engine)?;
            let before = own.engines.stored_bytes(engine)?;
            let usage = own.run(&own.engines.backup(engine, Kind::Next), 0)?;
            let stored = own.engines.stored_bytes(engine)?.saturating_sub(before);
            Ok(Run::of(usage).with(Quantity::StoredBytes, number(stored)))
        };
        let rounds = if wanted { self.rules.runs } else { 1 };
        for round in 0..rounds {
            if round + 1 == rounds && self.wants(Work::DeltaRestore) {
                let template = self.place.join("template");
                let restore = self.engines.restore(Engine::Lifeboat, &template, Before::Nothing);
                self.launcher.run(&restore)?;
            }
            let seed = self.rules.recipe.seed + round as u64;
            self.results.database.changed_pages = self.database.change(seed)?;
            if wanted {
                self.take_turn(Work::NextBackup, round, back_up)?;
            } else {
                Engine::ALL.iter().try_for_each(|engine| back_up(self, *engine).map(drop))?;
            }
        }
        Ok(())
    }

    fn restores(&mut self) -> Result<(), BenchError> {
        if self.wants(Work::Restore) || self.wants(Work::DeltaRestore) {
            self.take_turns(Work::Restore, |own, engine| {
                // pgBackRest wants the directory to be there.
                let target = own.place.fresh("target")?;
                own.restore(engine, &target, Before::Nothing)
            })?;
        }
        if self.wants(Work::DeltaRestore) {
            self.take_turns(Work::DeltaRestore, |own, engine| {
                let target = own.place.join("target");
                remove(&target)?;
                let copy =
                    Invocation::new("cp").argument("-a").argument(own.place.join("template"));
                own.launcher.run(&copy.argument(&target))?;
                own.restore(engine, &target, Before::Cluster)
            })?;
        }
        remove(&self.place.join("target"))
    }

    fn restore(&self, engine: Engine, target: &Path, before: Before) -> Result<Run, BenchError> {
        let made = match before {
            Before::Nothing => self.results.database.bytes,
            Before::Cluster => 0,
        };
        let usage = self.run(&self.engines.restore(engine, target, before), made)?;
        let mut run = Run::of(usage);
        if engine == Engine::Lifeboat {
            let said = answer(&self.launcher.said())?;
            for (quantity, key) in [
                (Quantity::FetchedBytes, "fetched_bytes"),
                (Quantity::WrittenBytes, "written_bytes"),
            ] {
                run = run.with(quantity, said["files"][key].as_f64().unwrap_or(f64::NAN));
            }
        }
        self.compare(engine, target)?;
        Ok(run)
    }

    /// Compares how much was restored with what the server has.
    fn compare(&self, engine: Engine, target: &Path) -> Result<(), BenchError> {
        let size = |directory: &Path| {
            let base = directory.join("base");
            walk(&base, 1).map(|walked| walked.bytes).map_err(file("look at", base))
        };
        let (have, want) = (size(target)?, size(self.database.cluster.data_dir())?);
        // What the server makes anew, like its caches of the catalogue, is not restored.
        if have <= want && have >= want - want / 100 {
            return Ok(());
        }
        let what = format!("{have} bytes of relations came back instead of {want}");
        Err(BenchError::WrongWork { racer: engine.name(), what })
    }

    /// Starts `lifeboat wal serve` over a directory and waits until it listens.
    fn serve(&self, directory: &Path) -> Result<Background, BenchError> {
        let log = self.place.join("serve.log");
        let served = self.launcher.start(&self.engines.serve(directory), &log)?;
        let socket = self.engines.socket();
        self.wait_until("lifeboat listens", || {
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })?;
        Ok(served)
    }

    fn wait_until(
        &self,
        what: &str,
        is_so: impl Fn() -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let (_silent, silence) = mpsc::channel::<()>();
        for _ in 0..LOOKS_MAX {
            self.interrupt.check()?;
            if is_so()? {
                return Ok(());
            }
            // Nobody ever says anything: this is a wait.
            _ = silence.recv_timeout(LOOK_EVERY);
        }
        let what = format!("it was waited in vain until {what}");
        Err(BenchError::WrongWork { racer: "the contest", what })
    }

    /// Has log written and archived, and recovers through it.
    fn replay(&mut self) -> Result<(), BenchError> {
        (self.say)("making: a base backup and log behind it");
        self.engines.begin(Engine::Lifeboat, self.launcher)?;
        let segments = database::segments(self.rules.recipe);
        let data = self.database.cluster.data_dir().to_owned();
        let served = self.serve(&data)?;
        self.archive_by(Engine::Lifeboat)?;
        self.launcher.run(&self.engines.backup(Engine::Lifeboat, Kind::First))?;
        self.database.keep_log()?;
        let end = self.database.write_log(segments, self.interrupt)?;
        self.database.wait_for_archive(&end, self.interrupt)?;
        drop(served);
        let count = usize::try_from(segments).unwrap_or(usize::MAX);
        StandIn::make(self.place.join("stand-in"), &data, (count, &end))?;
        if !self.wants(Work::Replay) {
            return Ok(());
        }
        self.take_turns(Work::Replay, |own, _| own.replay_once())?;
        remove(&self.place.join("target"))
    }

    fn replay_once(&self) -> Result<Run, BenchError> {
        let target = self.place.join("target");
        remove(&target)?;
        let made = self.results.database.bytes;
        let ran = self.run(&self.engines.replay(&target), made);
        let said = self.launcher.said();
        let mut stop = self.database.cluster.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode", "immediate", "--pgdata"]).arg(&target);
        // Without a server there is nothing to stop; why there is none says what was run.
        drop(stop.output());
        let usage = ran?;
        let count = |what| said.lines().filter(|line| line.contains(what)).count() as u64;
        let (ahead, now) = (number(count(PREFETCHED)), number(count(FETCHED_NOW)));
        let run = Run::of(usage).with(Quantity::Segments, ahead + now);
        Ok(run.with(Quantity::PrefetchedShare, ahead / (ahead + now)))
    }

    fn pushes(&mut self) -> Result<(), BenchError> {
        let data = self.database.cluster.data_dir().to_owned();
        let segments = usize::try_from(database::segments(self.rules.recipe)).unwrap_or(usize::MAX);
        let end = self.database.segment()?;
        self.database.archive_by("/bin/true")?;
        let stand_in = StandIn::make(self.place.join("stand-in"), &data, (segments, &end))?;
        if self.wants(Work::Push) {
            self.take_turns(Work::Push, |own, engine| own.push(engine, &stand_in))?;
        }
        if self.wants(Work::PushAhead) {
            self.take_turns(Work::PushAhead, |own, engine| own.push_ahead(engine, &stand_in))?;
        }
        if self.wants(Work::Call) {
            self.take_turns(Work::Call, |own, _| own.call(&stand_in))?;
        }
        remove(stand_in.path())
    }

    fn push(&self, engine: Engine, stand_in: &StandIn) -> Result<Run, BenchError> {
        self.engines.begin(engine, self.launcher)?;
        stand_in.make_ready(stand_in.count())?;
        let run = self.archive(engine, stand_in, (stand_in.count(), Archiving::OneByOne))?;
        self.expect_archived(engine, stand_in.count())?;
        Ok(run)
    }

    fn push_ahead(&self, engine: Engine, stand_in: &StandIn) -> Result<Run, BenchError> {
        self.engines.begin(engine, self.launcher)?;
        stand_in.make_ready(0)?;
        let served = match engine {
            Engine::Lifeboat => Some(self.serve(stand_in.path())?),
            Engine::Pgbackrest | Engine::PgbackrestBlocks => None,
        };
        // Whoever looks for work ahead may begin with the first that is ready.
        let watch = Instant::now();
        stand_in.make_ready(stand_in.count())?;
        let mut run = self.archive(engine, stand_in, (stand_in.count(), Archiving::Ahead))?;
        run.usage.wall_s = watch.elapsed().as_secs_f64();
        drop(served);
        self.expect_archived(engine, stand_in.count())?;
        let lock = self.engines.at(engine, "lock/bench-archive.lock");
        self.wait_until("pgBackRest works no more", || Ok(!lock.exists()))?;
        Ok(run)
    }

    /// Calls for segments that were shipped before.
    fn call(&self, stand_in: &StandIn) -> Result<Run, BenchError> {
        let engine = Engine::Lifeboat;
        self.engines.begin(engine, self.launcher)?;
        let count = stand_in.count().min(SHIPPED_AHEAD);
        stand_in.make_ready(count)?;
        let served = self.serve(stand_in.path())?;
        let shipped = || Ok(self.engines.archived(engine)? >= count as u64);
        self.wait_until("all is shipped", shipped)?;
        let run = self.archive(engine, stand_in, (count, Archiving::Ahead))?;
        drop(served);
        Ok(run)
    }

    fn archive(
        &self,
        engine: Engine,
        stand_in: &StandIn,
        (count, mode): (usize, Archiving),
    ) -> Result<Run, BenchError> {
        let command = self.engines.archive_command(engine, stand_in.path(), mode);
        let log = self.place.join("archive.log");
        let took = stand_in.archive(&command, (count, &log), self.launcher)?;
        let mut calls: Vec<_> = took.iter().map(|call| call.as_secs_f64() * 1e3).collect();
        calls.sort_unstable_by(f64::total_cmp);
        let run = Run::lasting(took.iter().map(Duration::as_secs_f64).sum());
        Ok(run
            .with(Quantity::Segments, number(count as u64))
            .with(Quantity::CallMs, calls.get(calls.len() / 2).copied().unwrap_or(f64::NAN))
            .with(Quantity::LongestCallMs, calls.last().copied().unwrap_or(f64::NAN)))
    }

    fn expect_archived(&self, engine: Engine, count: usize) -> Result<(), BenchError> {
        let archived = self.engines.archived(engine)?;
        if archived >= count as u64 {
            return Ok(());
        }
        let what = format!("{archived} segments are archived instead of {count}");
        Err(BenchError::WrongWork { racer: engine.name(), what })
    }
}

impl Results {
    fn note(&mut self, work: Work, engine: Engine, run: Run) {
        let index = self.works.iter().position(|raced| raced.work == work).unwrap_or_else(|| {
            let times = work.engines().iter().map(|racer| Times {
                racer: *racer,
                runs: Vec::new(),
                repository_bytes: None,
            });
            self.works.push(Raced { work, times: times.collect(), figures: Vec::new() });
            self.works.len() - 1
        });
        let raced = &mut self.works[index];
        if let Some(times) = raced.times.iter_mut().find(|times| times.racer == engine) {
            times.runs.push(run.usage);
        }
        for (quantity, value) in run.figures {
            let is_it =
                |figure: &&mut Figure| (figure.engine, figure.quantity) == (engine, quantity);
            match raced.figures.iter_mut().find(is_it) {
                Some(figure) => figure.runs.push(value),
                None => raced.figures.push(Figure { engine, quantity, runs: vec![value] }),
            }
        }
    }
}

/// Finds the document that a program answered with among what it said.
fn answer(said: &str) -> Result<Value, BenchError> {
    let document = said.find('{').zip(said.rfind('}')).map(|(begin, end)| &said[begin..=end]);
    let document = document.and_then(|document| serde_json::from_str(document).ok());
    document.ok_or_else(|| BenchError::WrongWork {
        racer: "lifeboat",
        what: format!("it answered no document: {said}"),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of bytes fit a double")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_remarks() {
        let answer = answer("warning: something\n{\"files\": {\"fetched_bytes\": 7}}\n").unwrap();
        assert_eq!(answer["files"]["fetched_bytes"], 7);
        assert!(super::answer("nothing").is_err());
    }

    #[test]
    fn runs_of_one_engine_are_noted_together() {
        let mut results = Results::default();
        for (engine, wall_s) in
            [(Engine::Lifeboat, 1.0), (Engine::Pgbackrest, 3.0), (Engine::Lifeboat, 2.0)]
        {
            results.note(Work::Push, engine, Run::lasting(wall_s).with(Quantity::CallMs, wall_s));
        }
        let [raced] = results.works.as_slice() else { panic!("{results:?}") };
        let walls: Vec<_> = raced.times[0].runs.iter().map(|usage| usage.wall_s).collect();
        assert_eq!((walls, raced.figures[0].runs.as_slice()), (vec![1.0, 2.0], &[1.0, 2.0][..]));
        assert_eq!(raced.figures.len(), 2);
    }
}
