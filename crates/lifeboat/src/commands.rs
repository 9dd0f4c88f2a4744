//! The commands, one file each: its arguments, whose doc comments are the manual, and how it is run.

mod backup;
mod catalog;
mod check;
mod completions;
mod diff;
mod drill;
mod evidence;
mod init;
mod install;
mod jobs;
mod key;
mod man;
mod pause;
mod place;
mod plan;
mod points;
mod postgres;
mod query;
mod recover;
mod reload;
mod repo;
mod restore;
mod retention;
mod serve;
mod status;
mod test;
mod thaw;
mod tiers;
mod unbuilt;
mod verify;
mod wal;

use clap::Subcommand;
use lifeboat_model::Exit;

use crate::failure::Failure;
use crate::session::Session;
use unbuilt::Unbuilt;

/// Every command of the language.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a plan for what is found on this machine, and make its recovery key
    Init(init::Init),
    /// Lint the plan, then ask every tier, database and key whether it could run now
    Check(check::Check),
    /// Show the plan, its schema and its document
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Show, export and confirm the recovery key
    #[command(subcommand)]
    Key(key::Key),
    /// Back up now
    Backup(backup::Backup),
    /// Show objectives, last outcomes and what is at risk
    Status(status::Status),
    /// List the moments to which one can go back
    Points(points::Points),
    /// Show what changed of an asset between two points
    Diff(diff::Diff),
    /// Show the tiers: what each holds and lacks, its space and its lock; bring one up to date
    Tiers(tiers::Tiers),
    /// Prove that copies are whole
    Verify(verify::Verify),
    /// Run a restore test: restore into a sandbox and check what came back
    Test(test::Test),
    /// Remove what the plan does not keep, show why the rest stays, and hold everything
    #[command(subcommand)]
    Retention(retention::Retention),
    /// Bring an asset back, beside what is there or in its place
    Restore(restore::Restore),
    /// Carry out the runbook of what happened: declare a recovery, drive it, tell it what to do
    Recover(recover::Recover),
    /// Rehearse a scenario with the runbook that the real recovery runs, while the platform runs on
    Drill(drill::Drill),
    /// Show where the platform lives, and let it live somewhere else
    #[command(subcommand)]
    Place(place::Place),
    /// Ask the past with SQL: the database as it was at a time
    Query(query::Query),
    /// List, verify and rebuild the signed records of what was done
    #[command(subcommand)]
    Catalog(catalog::Catalog),
    /// List, show and verify the signed records of recoveries, drills and restore tests
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Archive PostgreSQL's write-ahead log and have it back
    #[command(subcommand)]
    Wal(wal::Wal),
    /// Set a PostgreSQL server up so that it can be backed up, and take that back
    #[command(subcommand)]
    Postgres(postgres::Postgres),
    /// Run the plan by itself: the daemon
    Serve(serve::Serve),
    /// Show what the daemon does, did and will do; let it do something now, and stop it
    Jobs(jobs::Jobs),
    /// Let the daemon begin nothing for a while
    Pause(pause::Pause),
    /// End a pause before its time
    Resume(pause::Resume),
    /// Let the daemon read the plan anew
    Reload(reload::Reload),
    /// Install the service of the daemon
    Install(install::Install),
    /// Remove the service of the daemon, and nothing of its data
    Uninstall(install::Uninstall),
    /// Work on any restic repository by address and password, without a plan
    #[command(subcommand, long_about = repo::LONG_ABOUT)]
    Repo(Box<repo::Repo>),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Write man pages for every command
    Man(man::Man),
    /// The commands of features to come.
    #[command(flatten)]
    Unbuilt(Unbuilt),
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Init(command) => command.run(session),
            Self::Check(command) => command.run(session),
            Self::Backup(command) => command.run(session),
            Self::Points(command) => command.run(session),
            Self::Diff(command) => command.run(session),
            Self::Install(command) => command.run(session),
            Self::Uninstall(command) => command.run(session),
            Self::Verify(command) => command.run(session),
            Self::Test(command) => command.run(session),
            Self::Retention(command) => command.run(session),
            Self::Restore(command) => command.run(session),
            Self::Recover(command) => command.run(session),
            Self::Drill(command) => command.run(session),
            Self::Place(command) => command.run(session),
            Self::Query(command) => command.run(session),
            Self::Plan(command) => command.run(session),
            Self::Key(command) => command.run(session),
            Self::Status(command) => command.run(session),
            Self::Catalog(command) => command.run(session),
            Self::Evidence(command) => command.run(session),
            Self::Tiers(command) => command.run(session),
            Self::Wal(command) => command.run(session),
            Self::Postgres(command) => command.run(session),
            Self::Serve(command) => command.run(session),
            Self::Jobs(command) => command.run(session),
            Self::Pause(command) => command.run(session),
            Self::Resume(command) => command.run(session),
            Self::Reload(command) => command.run(session),
            Self::Repo(command) => command.run(session),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(session),
            Self::Unbuilt(command) => Err(command.refusal().into()),
        }
    }
}
