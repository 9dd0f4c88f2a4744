//! `lifeboat postgres`: what a server needs so that it can be backed up.

mod remove;
mod setup;

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeboat_model::{AssetName, Exit};
use lifeboat_ops::server_setup::{Restarted, Restarting, SetupOptions, SetupPreview, SetupReport};
use lifeboat_postgres::setup::{Foreign, Takes};
use serde::Serialize;

use crate::failure::Failure;
use crate::render::{Answer, Cell, Page, Sort, Table, Tone};
use crate::session::Session;

/// The commands of `lifeboat postgres`.
#[derive(Debug, Subcommand)]
pub enum Postgres {
    /// Make the role and set archiving, as far as either lacks, and prove that it works
    Setup(setup::Setup),
    /// Take back what `postgres setup` did: settings to what they were, the role dropped
    Remove(remove::Remove),
}

impl Postgres {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Setup(command) => command.run(session),
            Self::Remove(command) => command.run(session),
        }
    }
}

/// Whose server it is, and how it is changed.
#[derive(Debug, Args)]
struct Server {
    /// Work on the server of this asset
    #[arg(value_name = "DATABASE")]
    asset: AssetName,
    /// Name the role [default: the one that `connect` names, unless it is a superuser; else lifeboat]
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// Connect like this, as a superuser [default: as whoever runs the server, else as the plan says]
    #[arg(long, value_name = "STRING")]
    connect: Option<String>,
    /// Let the archive_command ask whoever serves the log on this socket first [default: the one that
    /// `wal serve` listens on by itself]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Show what would become different, and by which SQL; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print only that SQL, for somebody who may run it with psql; change nothing
    #[arg(long, conflicts_with = "dry_run")]
    print_sql: bool,
    /// Start the server again if a setting takes that
    #[arg(long, conflicts_with_all = ["dry_run", "print_sql"])]
    restart: bool,
}

impl Server {
    fn options(&self, foreign: Foreign) -> SetupOptions {
        SetupOptions {
            asset: self.asset.clone(),
            role: self.role.clone(),
            connect: self.connect.clone(),
            socket: self.socket.clone(),
            foreign,
            restarting: if self.restart { Restarting::IfNeeded } else { Restarting::Never },
        }
    }

    /// Shows what would be done.
    fn show(&self, preview: SetupPreview, session: &Session) -> Result<Exit, Failure> {
        if self.print_sql {
            return session.done(&Sql { sql: preview.sql });
        }
        session.done(&Preview(preview))
    }
}

/// What would be done, as SQL alone.
#[derive(Serialize)]
struct Sql {
    sql: String,
}

impl Answer for Sql {
    const SCHEMA: &'static str = "lifeboat.postgres.sql/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        page.write_str(&self.sql)
    }
}

/// What would be done.
#[derive(Serialize)]
#[serde(transparent)]
struct Preview(SetupPreview);

impl Answer for Preview {
    const SCHEMA: &'static str = "lifeboat.postgres.preview/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        write_changes(&self.0, page)?;
        if !self.0.sql.is_empty() {
            writeln!(page, "\n{}", self.0.sql.trim_end())?;
        }
        write_remarks(&self.0, page)
    }
}

/// What was done.
#[derive(Serialize)]
#[serde(transparent)]
struct Changed(SetupReport);

impl Answer for Changed {
    const SCHEMA: &'static str = "lifeboat.postgres.changed/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let SetupReport { preview, restart, proof } = &self.0;
        write_changes(preview, page)?;
        write_remarks(preview, page)?;
        match restart {
            Restarted::NotNeeded => {}
            Restarted::Done => writeln!(page, "the server was started again")?,
            Restarted::Waited { settings } => {
                let names: Vec<_> = settings.iter().map(|name| name.as_str()).collect();
                let word = page.paint.warning("not done yet");
                writeln!(
                    page,
                    "{word}: {} takes a restart of the server; then run this again, or now with --restart",
                    names.join(", ")
                )?;
            }
        }
        let Some(proof) = proof else { return Ok(()) };
        for tier in &proof.tiers {
            let word = page.paint.good("archived");
            let (segment, name, after) = (proof.segment, &tier.tier, tier.after_ms);
            writeln!(
                page,
                "{word}: {segment} is on `{name}`, {after} ms after the server ended it"
            )?;
        }
        Ok(())
    }
}

fn write_changes(preview: &SetupPreview, page: &mut Page) -> fmt::Result {
    let SetupPreview { asset, address, changes, .. } = preview;
    if changes.is_empty() {
        return writeln!(page, "nothing of the server of `{asset}` at {address} has to change");
    }
    let mut table = Table::new(["What", "From", "To", "Holds"]);
    let cell = |value: &Option<String>| match value.as_deref() {
        None => Cell::new("-", Tone::Aside),
        Some("") => Cell::new("''", Tone::Plain),
        Some(text) => text.into(),
    };
    for change in changes {
        let holds = match change.takes {
            Takes::Reload => "at once",
            Takes::Restart => "after a restart",
        };
        table.row([
            change.what.as_str().into(),
            cell(&change.from),
            cell(&change.to),
            holds.into(),
        ]);
    }
    page.table(&table);
    Ok(())
}

fn write_remarks(preview: &SetupPreview, page: &mut Page) -> fmt::Result {
    for remark in &preview.remarks {
        let word = page.paint.warning("note");
        writeln!(page, "{word}: {remark}")?;
    }
    Ok(())
}
