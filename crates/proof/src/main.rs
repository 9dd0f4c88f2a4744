//! The long form of each proof: `proof flips`, as `make` runs it.

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::{Parser, Subcommand};
use lifeboat_proof::flips::{Bit, Specimen};

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let processors = available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors);
    let holds = match arguments.proof {
        Proof::Flips { bit } => flips(bit, jobs),
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
