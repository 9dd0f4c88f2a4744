//! The long form of each proof: `proof flips`, `proof simulate`, as `make` runs them.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::Instant;

use clap::{Parser, Subcommand};
use lifeboat_model::Secret;
use lifeboat_proof::durability::{Life, RecordWork, survive, work_on_records};
use lifeboat_proof::flips::{Bit, Specimen};
use lifeboat_proof::simulation::{Scene, Tally, Telling, simulate};

/// Try to break the repository
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    proof: Proof,
    /// How many threads work at it; as many as there are processors if absent
    #[arg(long, global = true)]
    jobs: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// Flip every bit of a small repository in turn
    Flips {
        /// Flip only this one, as a failure names it
        #[arg(long)]
        bit: Option<usize>,
    },
    /// Cut the power of a real file system at random system calls
    Durability {
        /// How many disks
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The seed of the first one
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Work on the catalog of a disk, as `durability` has it done by a process of its own
    #[command(hide = true)]
    Records {
        /// What is done
        work: String,
        /// Where
        directory: PathBuf,
    },
    /// Simulate repositories in use, with faults
    Simulate {
        /// How many simulations
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The seed of the first one
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Stop at the first that goes wrong
        #[arg(long)]
        first_only: bool,
        /// Run only this seed and tell everything that happens
        #[arg(long, conflicts_with_all = ["seeds", "first", "first_only"])]
        seed: Option<u64>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let processors = available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors);
    let holds = match arguments.proof {
        Proof::Flips { bit } => flips(bit, jobs),
        Proof::Durability { seeds, first } => cut_power(first..first + seeds, jobs),
        Proof::Records { work, directory } => keep_records(&work, &directory),
        Proof::Simulate { seed: Some(seed), .. } => {
            Scene::ALL.map(|scene| replay(scene, seed)).into_iter().all(|is_well| is_well)
        }
        Proof::Simulate { seeds, first, first_only, seed: None } => {
            let go_on = if first_only { GoOn::UntilOneIsWrong } else { GoOn::ToTheEnd };
            simulate_all(first..first + seeds, go_on, jobs)
        }
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn flips(bit: Option<usize>, jobs: usize) -> bool {
    let specimen = Specimen::make().expect("there is memory for a small repository");
    let bits: Vec<Bit> = match bit {
        Some(bit) => vec![Bit(bit)],
        None => (0..specimen.bits()).map(Bit).collect(),
    };
    let failures = specimen.try_flips(&bits, jobs);
    for failure in &failures {
        println!("bit {}: {}: {}", failure.bit.0, failure.place, failure.what);
    }
    println!("{} bits flipped, {} not as they should be", bits.len(), failures.len());
    failures.is_empty()
}

/// Runs one simulation of a seed and prints all of it.
#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn replay(scene: Scene, seed: u64) -> bool {
    match simulate(scene, seed, Telling::Full) {
        Ok(story) => {
            println!("{}", story.tally);
            println!(
                "seed {seed} ({scene:?}): all is well; {:?}, {} operations",
                story.remains, story.operations
            );
            true
        }
        Err(broken) => {
            for line in &broken.trace {
                println!("{line}");
            }
            println!("seed {seed} ({scene:?}): {}", broken.what);
            false
        }
    }
}

/// How far many simulations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GoOn {
    ToTheEnd,
    UntilOneIsWrong,
}

/// Runs many simulations and prints those that went wrong.
#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn simulate_all(seeds: Range<u64>, go_on: GoOn, jobs: usize) -> bool {
    let started = Instant::now();
    let (next, operations, wrong) =
        (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_enough = go_on == GoOn::UntilOneIsWrong && wrong.load(Ordering::Relaxed) > 0;
            if seed >= seeds.end || is_enough {
                break;
            }
            for scene in Scene::ALL {
                match simulate(scene, seed, Telling::Brief) {
                    Ok(story) => {
                        operations.fetch_add(story.operations, Ordering::Relaxed);
                        tally.lock().unwrap_or_else(PoisonError::into_inner).add(&story.tally);
                    }
                    Err(broken) => {
                        wrong.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed} ({scene:?}): {}", broken.what);
                        println!("    make simulate SEED={seed} tells what happened");
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let (count, wrong) = (seeds.end - seeds.start, wrong.into_inner());
    print!("{}", tally.into_inner().unwrap_or_else(PoisonError::into_inner));
    let per_second = u128::from(count) * 1000 / started.elapsed().as_millis().max(1);
    println!(
        "{count} seeds, {} operations, {per_second} seeds a second: {wrong} not as they should be",
        operations.into_inner(),
    );
    wrong == 0
}

/// Lives the lives of many disks and prints those on which something was lost.
#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn cut_power(seeds: Range<u64>, jobs: usize) -> bool {
    let program = std::env::current_exe().expect("a program knows where it is");
    let (next, wrong) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let lived = Mutex::new(Life::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match survive(seed, &program) {
                Ok(life) => lived.lock().unwrap_or_else(PoisonError::into_inner).add(&life),
                Err(what) => {
                    wrong.fetch_add(1, Ordering::Relaxed);
                    println!("seed {seed}: {what}");
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    println!("{:#?}", lived.into_inner().unwrap_or_else(PoisonError::into_inner));
    let wrong = wrong.into_inner();
    println!("{} disks, {wrong} not as they should be", seeds.end - seeds.start);
    wrong == 0
}

/// Does a piece of work on a catalog, whose key comes from the standard input.
#[expect(clippy::print_stderr, reason = "a binary whose words another process reads")]
fn keep_records(work: &str, directory: &Path) -> bool {
    let mut key = String::new();
    io::stdin().read_to_string(&mut key).expect("the key can be read");
    let work = RecordWork::from_word(work).expect("only `durability` asks for this");
    let done = work_on_records(directory, &Secret::new(key), work, &mut io::stdout());
    if let Err(error) = &done {
        eprintln!("{}", lifeboat_repository::check::explain(&**error));
    }
    done.is_ok()
}
