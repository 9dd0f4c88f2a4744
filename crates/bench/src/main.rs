//! `lifeboat-bench`: what `make bench`, its kin and `make scale` run.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lifeboat_bench::corpus::Recipe;
use lifeboat_bench::failure::{BenchError, file, system};
use lifeboat_bench::idle;
use lifeboat_bench::launch::{Launcher, launch, version};
use lifeboat_bench::machine::Machine;
use lifeboat_bench::place::Place;
use lifeboat_bench::postgres;
use lifeboat_bench::postgres::contest::{self, Contest};
use lifeboat_bench::race::{Race, Rules, cache};
use lifeboat_bench::racer::{PASSWORD, Racer};
use lifeboat_bench::report::{RESTIC_SETTINGS, Report, Setting, plot, publish, tables, write};
use lifeboat_bench::restore_test::{self, Turn};
use lifeboat_bench::s3;
use lifeboat_bench::s3::course::{self, Course};
use lifeboat_bench::scale::growth::{self, Growth};
use lifeboat_bench::scale::step::{self, Step};
use lifeboat_bench::scale::{Growing, Sizes};
use lifeboat_bench::work::Work;
use lifeboat_model::{ByteSize, Clock as _, SystemClock};
use lifeboat_testing::interrupt::Interrupt;

/// The full size of an index, in blobs.
const BLOBS: u64 = 10_000_000;

/// The full size of a directory, in files.
const FILES: u64 = 1_000_000;

/// What a daemon and its small site need.
const IDLE_BYTES: u64 = 64 << 20;

/// Measure lifeboat beside restic, cp and what this machine's hardware allows
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the corpora, measure the ceiling, and let the programs race
    Race(RaceArguments),
    /// List the works
    Works,
    /// Let lifeboat and pgBackRest back up a server of pgbench's, restore it, and archive its log
    Postgres(PostgresArguments),
    /// Let lifeboat and restic back up to a store of S3, near and far, and look for little in much
    S3(S3Arguments),
    /// Do the same works on ever larger repositories and directories
    Scale(ScaleArguments),
    /// Look at a daemon that has nothing to do
    Idle(IdleArguments),
    /// Look at what a restore test takes beside the restore
    RestoreTest(RestoreTestArguments),
    /// Load an index, do something with it and write down what was seen
    #[command(hide = true)]
    Step {
        step: Step,
        #[command(flatten)]
        place: step::Place,
        #[arg(long)]
        out: PathBuf,
    },
    /// Run a program and print what it took
    #[command(hide = true)]
    Launch {
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
}

/// The arguments of `lifeboat-bench race`.
#[derive(Debug, clap::Args)]
struct RaceArguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// Measure this share of the full size
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// Let each program do each work this many times
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Make the corpora from this number
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// Measure only these works, separated by commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    work: Vec<Work>,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Write bench.json, bench.md and bench.svg into this directory
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Put the results into the page performance.md in this directory, too
    #[arg(long, value_name = "DIR")]
    publish: Option<PathBuf>,
}

/// The arguments of `lifeboat-bench postgres`.
#[derive(Debug, clap::Args)]
struct PostgresArguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// Measure this share of the full size
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// Let each program do each work this many times
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Change the database by this number
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// Measure only these works, separated by commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    work: Vec<postgres::work::Work>,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Write bench-postgres.json, bench-postgres.md and bench-postgres.svg into this directory
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Put the results into the page postgresql-performance.md in this directory, too
    #[arg(long, value_name = "DIR")]
    publish: Option<PathBuf>,
}

/// The arguments of `lifeboat-bench s3`.
#[derive(Debug, clap::Args)]
struct S3Arguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// Measure this share of the full size
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// Let each program do each work this many times
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Make the media from this number
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// Measure only these works, separated by commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    work: Vec<s3::work::Work>,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Write bench-s3.json, bench-s3.md and bench-s3.svg into this directory
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Put the results into the page object-stores-performance.md in this directory, too
    #[arg(long, value_name = "DIR")]
    publish: Option<PathBuf>,
}

/// The arguments of `lifeboat-bench scale`.
#[derive(Debug, clap::Args)]
struct ScaleArguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// List up to this many blobs in an index
    #[arg(long, default_value_t = BLOBS)]
    blobs: u64,
    /// Make directories of up to this many files
    #[arg(long, default_value_t = FILES)]
    files: u64,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Write growth.json, growth.md and the curves into this directory
    #[arg(long, value_name = "DIR", default_value = "target/scale")]
    out: PathBuf,
    /// Put the results into the page growth.md in this directory, too
    #[arg(long, value_name = "DIR")]
    publish: Option<PathBuf>,
}

/// The arguments of `lifeboat-bench idle`.
#[derive(Debug, clap::Args)]
struct IdleArguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// Look for this many seconds
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
}

/// The arguments of `lifeboat-bench restore-test`.
#[derive(Debug, clap::Args)]
struct RestoreTestArguments {
    /// Make everything in a directory below this one, which should be in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    below: PathBuf,
    /// Restore this share of the full size
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// Restore and test this many times
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Make the media from this number
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale| *scale > 0.0 && *scale <= 1.0);
    scale.ok_or_else(|| "expected a number above 0 and up to 1".to_owned())
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Race(arguments) => race(&arguments),
        Command::Works => works(),
        Command::Postgres(arguments) => contest(&arguments),
        Command::S3(arguments) => on_s3(&arguments),
        Command::Scale(arguments) => scale(&arguments),
        Command::Idle(arguments) => idle(&arguments),
        Command::RestoreTest(arguments) => restore_test(&arguments),
        Command::Step { step, place, out } => look(step, &place, &out),
        Command::Launch { words } => launch(&words, io::stdout()).map_err(system("run a program")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn works() -> Result<(), BenchError> {
    let lines = Work::ALL.map(|work| format!("{:18} {}", work.name(), work.title()));
    print(&lines.join("\n"))
}

fn race(arguments: &RaceArguments) -> Result<(), BenchError> {
    let is_whole = arguments.work.is_empty() && arguments.scale >= 1.0;
    if arguments.publish.is_some() && !is_whole {
        return Err(BenchError::NotWhole);
    }
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let setting = setting(arguments, &lifeboat)?;
    let works = if arguments.work.is_empty() { &Work::ALL[..] } else { &arguments.work };
    let rules = Rules {
        recipe: Recipe { seed: arguments.seed, scale: arguments.scale },
        runs: arguments.runs,
        works: works.to_vec(),
        cores: setting.machine.cores,
        lifeboat,
    };
    let needed = rules.needed_bytes();
    say(&format!("this needs {} below {}", ByteSize(needed), arguments.below.display()));
    let place = Place::make(&arguments.below, needed)?;
    let launcher =
        Launcher::new(itself, place.join("log"), environment(&place)?, interrupt.clone());
    let results = Race::new(&rules, &place, &launcher, &interrupt, say).hold()?;
    drop(place);
    deliver(&Report::new(setting, results), arguments)
}

fn contest(arguments: &PostgresArguments) -> Result<(), BenchError> {
    let is_whole = arguments.work.is_empty() && arguments.scale >= 1.0;
    if arguments.publish.is_some() && !is_whole {
        return Err(BenchError::NotWhole);
    }
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let versions = vec![
        version(&lifeboat, "--version")?,
        version(Path::new("pgbackrest"), "version")?,
        version(Path::new("psql"), "--version")?,
    ];
    let works = if arguments.work.is_empty() {
        postgres::work::Work::ALL.to_vec()
    } else {
        arguments.work.clone()
    };
    let rules = contest::Rules {
        recipe: Recipe { seed: arguments.seed, scale: arguments.scale },
        runs: arguments.runs,
        works,
        lifeboat: std::path::absolute(&lifeboat).map_err(system("find lifeboat"))?,
    };
    let needed = rules.needed_bytes();
    say(&format!("this needs {} below {}", ByteSize(needed), arguments.below.display()));
    let place = Place::make(&arguments.below, needed)?;
    let launcher =
        Launcher::new(itself, place.join("log"), environment(&place)?, interrupt.clone());
    let results = Contest::new(&rules, &place, &launcher, &interrupt, say)?.hold()?;
    drop(place);
    let setting = postgres::report::Setting {
        date: SystemClock.now(),
        machine: Machine::look(&arguments.below),
        versions,
        scale: arguments.scale,
        seed: arguments.seed,
        runs: arguments.runs,
    };
    deliver_contest(&postgres::report::Report::new(setting, results), arguments)
}

fn deliver_contest(
    report: &postgres::report::Report,
    arguments: &PostgresArguments,
) -> Result<(), BenchError> {
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(file("make", out))?;
    let json = serde_json::to_string_pretty(report).expect("a report has names for keys");
    let tables = postgres::report::tables(report);
    write(&out.join("bench-postgres.json"), &json)?;
    write(&out.join("bench-postgres.md"), &tables)?;
    write(&out.join("bench-postgres.svg"), &postgres::report::plot(report))?;
    if let Some(docs) = &arguments.publish {
        postgres::report::publish(report, docs)?;
    }
    print(&tables)
}

fn idle(arguments: &IdleArguments) -> Result<(), BenchError> {
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let place = Place::make(&arguments.below, IDLE_BYTES)?;
    let length = Duration::from_secs(arguments.seconds);
    let seen = idle::measure(&lifeboat, &place, &environment(&place)?, length, &interrupt)?;
    let verdict = |is_met: bool| if is_met { "met" } else { "missed" };
    print(&format!(
        "{}, idle for {} s\n\
         resident   {} ({} of it anonymous), goal {}: {}\n\
         processor  {:.3} s, {:.3} % of a core, goal {:.1} %: {}",
        version(&lifeboat, "--version")?,
        seen.seconds,
        seen.resident,
        seen.anonymous,
        ByteSize(idle::RESIDENT_GOAL),
        verdict(seen.resident.0 < idle::RESIDENT_GOAL),
        seen.cpu_s,
        seen.share() * 100.0,
        idle::SHARE_GOAL * 100.0,
        verdict(seen.share() < idle::SHARE_GOAL),
    ))
}

fn restore_test(arguments: &RestoreTestArguments) -> Result<(), BenchError> {
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let recipe = Recipe { seed: arguments.seed, scale: arguments.scale };
    let needed = restore_test::needed_bytes(recipe);
    say(&format!("this needs {} below {}", ByteSize(needed), arguments.below.display()));
    let place = Place::make(&arguments.below, needed)?;
    let how = (recipe, Machine::look(&arguments.below).cores, arguments.runs);
    let environment = environment(&place)?;
    let turns = restore_test::measure((&lifeboat, &place), &environment, how, &interrupt)?;
    let mut lines = vec![version(&lifeboat, "--version")?];
    lines.extend(turns.iter().map(turn));
    if let Some(middle) = restore_test::middle(&turns) {
        let goal = restore_test::OVERHEAD_GOAL_S;
        let verdict = if middle.own_s < goal { "met" } else { "missed" };
        lines.push(format!("overhead {:.2} s, goal {goal} s: {verdict}", middle.own_s));
    }
    print(&lines.join("\n"))
}

fn turn(turn: &Turn) -> String {
    let phases = turn.phases_s.iter().map(|(name, s)| format!("{name} {s:.2}"));
    let phases = phases.collect::<Vec<_>>().join(", ");
    format!(
        "restore {:.2} s   test {:.2} s ({phases})   beyond the restore {:.2} s   overhead {:.2} s",
        turn.restore_s,
        turn.test_s,
        turn.beyond_s(),
        turn.own_s
    )
}

fn on_s3(arguments: &S3Arguments) -> Result<(), BenchError> {
    let is_whole = arguments.work.is_empty() && arguments.scale >= 1.0;
    if arguments.publish.is_some() && !is_whole {
        return Err(BenchError::NotWhole);
    }
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let setting = s3::report::Setting {
        date: SystemClock.now(),
        machine: Machine::look(&arguments.below),
        versions: vec![version(&lifeboat, "--version")?, version(Path::new("restic"), "version")?],
        scale: arguments.scale,
        seed: arguments.seed,
        runs: arguments.runs,
    };
    let all = s3::work::Work::ALL.to_vec();
    let rules = course::Rules {
        recipe: Recipe { seed: arguments.seed, scale: arguments.scale },
        runs: arguments.runs,
        works: if arguments.work.is_empty() { all } else { arguments.work.clone() },
        cores: setting.machine.cores,
        lifeboat: std::path::absolute(&lifeboat).map_err(system("find lifeboat"))?,
    };
    let needed = rules.needed_bytes();
    say(&format!("this needs {} below {}", ByteSize(needed), arguments.below.display()));
    let place = Place::make(&arguments.below, needed)?;
    let mut environment = environment(&place)?;
    environment.extend(s3::store::environment());
    let launcher = Launcher::new(itself, place.join("log"), environment, interrupt.clone());
    let results = Course::new(&rules, &place, &launcher, &interrupt, say).hold()?;
    drop(place);
    deliver_course(&s3::report::Report::new(setting, results), arguments)
}

fn deliver_course(report: &s3::report::Report, arguments: &S3Arguments) -> Result<(), BenchError> {
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(file("make", out))?;
    let json = serde_json::to_string_pretty(report).expect("a report has names for keys");
    let tables = s3::report::tables(report);
    write(&out.join("bench-s3.json"), &json)?;
    write(&out.join("bench-s3.md"), &tables)?;
    write(&out.join("bench-s3.svg"), &s3::report::plot(report))?;
    if let Some(docs) = &arguments.publish {
        s3::report::publish(report, docs)?;
    }
    print(&tables)
}

fn scale(arguments: &ScaleArguments) -> Result<(), BenchError> {
    let is_whole = arguments.blobs >= BLOBS && arguments.files >= FILES;
    if arguments.publish.is_some() && !is_whole {
        return Err(BenchError::NotWhole);
    }
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let itself = std::env::current_exe().map_err(system("find this program"))?;
    let lifeboat = arguments.lifeboat.clone().unwrap_or_else(|| itself.with_file_name("lifeboat"));
    let version = version(&lifeboat, "--version")?;
    let sizes = Sizes { blobs: arguments.blobs, files: arguments.files };
    let needed = sizes.needed_bytes();
    say(&format!("this needs {} below {}", ByteSize(needed), arguments.below.display()));
    let place = Place::make(&arguments.below, needed)?;
    let launcher =
        Launcher::new(itself.clone(), place.join("log"), environment(&place)?, interrupt.clone());
    let growing = Growing::new(&place, &launcher, &interrupt, (itself, lifeboat), say);
    let points = growing.measure(sizes)?;
    drop(place);
    let (date, machine) = (SystemClock.now(), Machine::look(&arguments.below));
    let growth = Growth { schema: growth::SCHEMA, date, machine, version, points };
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(file("make", out))?;
    let json = serde_json::to_string_pretty(&growth).expect("a report has names for keys");
    write(&out.join("growth.json"), &json)?;
    write(&out.join("growth.md"), &growth::tables(&growth))?;
    for (name, curve) in growth::curves(&growth) {
        write(&out.join(name), &curve)?;
    }
    if let Some(docs) = &arguments.publish {
        growth::publish(&growth, docs)?;
    }
    print(&growth::tables(&growth))
}

fn look(step: Step, place: &step::Place, out: &Path) -> Result<(), BenchError> {
    let seen = step::perform(step, place)?;
    write(out, &serde_json::to_string(&seen).expect("it is plain data"))
}

fn deliver(report: &Report, arguments: &RaceArguments) -> Result<(), BenchError> {
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(file("make", out))?;
    let json = serde_json::to_string_pretty(report).expect("a report has names for keys");
    write(&out.join("bench.json"), &json)?;
    write(&out.join("bench.md"), &tables(report))?;
    write(&out.join("bench.svg"), &plot(report))?;
    if let Some(docs) = &arguments.publish {
        publish(report, docs)?;
    }
    print(&tables(report))
}

fn setting(arguments: &RaceArguments, lifeboat: &Path) -> Result<Setting, BenchError> {
    Ok(Setting {
        date: SystemClock.now(),
        machine: Machine::look(&arguments.below),
        versions: vec![
            version(lifeboat, "--version")?,
            version(Path::new("restic"), "version")?,
            version(Path::new("cp"), "--version")?,
        ],
        scale: arguments.scale,
        seed: arguments.seed,
        runs: arguments.runs,
        restic: RESTIC_SETTINGS,
    })
}

/// Returns the environment of all programs: their caches and temporary files are in the place too.
fn environment(place: &Place) -> Result<Vec<(&'static str, OsString)>, BenchError> {
    let path = |name: &str| place.fresh(name).map(PathBuf::into_os_string);
    Ok(vec![
        ("PATH", std::env::var_os("PATH").unwrap_or_default()),
        ("LC_ALL", "C.UTF-8".into()),
        ("RESTIC_PASSWORD", PASSWORD.into()),
        ("HOME", path("home")?),
        ("TMPDIR", path("temporary")?),
        ("XDG_STATE_HOME", path("state")?),
        ("RESTIC_CACHE_DIR", path(cache(Racer::Restic))?),
        ("XDG_CACHE_HOME", path(cache(Racer::Lifeboat))?),
    ])
}

fn print(text: &str) -> Result<(), BenchError> {
    writeln!(io::stdout(), "{text}").map_err(system("print"))
}

/// Tells how far it is; a terminal that is gone cannot be told.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

fn tell(error: &dyn Error) {
    let mut lines = vec![format!("error: {error}")];
    let mut cause = error.source();
    while let Some(source) = cause {
        lines.push(format!("  caused by: {source}"));
        cause = source.source();
    }
    say(&lines.join("\n"));
}
