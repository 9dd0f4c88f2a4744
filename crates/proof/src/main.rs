//! The long form of each proof: `proof flips`, `proof simulate`, as `make` runs them.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};
use std::time::Instant;

use clap::{Parser, Subcommand};
use lifeboat_proof::durability::survive;
use lifeboat_proof::flips::{Bit, Specimen};
use lifeboat_proof::simulation::{Telling, simulate};

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
    /// Simulate repositories in use, with faults
    Simulate {
        /// How many simulations
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The seed of the first one
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Run only this seed and tell everything that happens
        #[arg(long, conflicts_with_all = ["seeds", "first"])]
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
        Proof::Simulate { seed: Some(seed), .. } => replay(seed),
        Proof::Simulate { seeds, first, seed: None } => simulate_all(first..first + seeds, jobs),
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

/// Runs one simulation and prints all of it.
#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn replay(seed: u64) -> bool {
    match simulate(seed, Telling::Full) {
        Ok(story) => {
            println!("seed {seed}: all is well; {story:?}");
            true
        }
        Err(broken) => {
            for line in &broken.trace {
                println!("{line}");
            }
            println!("seed {seed}: {}", broken.what);
            false
        }
    }
}

/// Runs many simulations and prints those that went wrong.
#[expect(clippy::print_stdout, reason = "a binary that a developer runs and reads")]
fn simulate_all(seeds: Range<u64>, jobs: usize) -> bool {
    let started = Instant::now();
    let (next, operations, wrong) =
        (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match simulate(seed, Telling::Brief) {
                Ok(story) => {
                    operations.fetch_add(story.operations, Ordering::Relaxed);
                }
                Err(broken) => {
                    wrong.fetch_add(1, Ordering::Relaxed);
                    println!("seed {seed}: {}", broken.what);
                    println!("    make simulate SEED={seed} tells what happened");
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
    let (next, wrong) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            if let Err(what) = survive(seed) {
                wrong.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}: {what}");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner();
    println!("{} disks, {wrong} not as they should be", seeds.end - seeds.start);
    wrong == 0
}
