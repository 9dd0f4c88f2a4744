//! `lifeboat-bench`: what `make bench` runs.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lifeboat_bench::ceiling;
use lifeboat_bench::failure::BenchError;

/// Measure lifeboat beside restic, cp and what this machine's hardware allows
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Files to time the stages over
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &dyn Error) {
    let mut lines = vec![format!("error: {error}")];
    let mut cause = error.source();
    while let Some(source) = cause {
        lines.push(format!("  caused by: {source}"));
        cause = source.source();
    }
    // A terminal that is gone cannot be told.
    drop(writeln!(io::stderr(), "{}", lines.join("\n")));
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let scratch = tempfile::tempdir()
        .map_err(|source| BenchError::System { action: "make a scratch directory", source })?;
    let stages = ceiling::measure(&arguments.files, scratch.path())?;
    let mut out = io::stdout().lock();
    for (name, stage) in stages.named() {
        let line = format!("{name:28} {:8.2} GB/s", stage.rate() / 1e9);
        writeln!(out, "{line}").map_err(|source| BenchError::System { action: "print", source })?;
    }
    Ok(())
}
