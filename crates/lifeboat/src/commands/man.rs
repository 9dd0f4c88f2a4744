//! `lifeboat man`: the manual as man pages, from the same definitions as `--help`.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_model::{Exit, counted};
use lifeboat_tiers::durable;
use serde::Serialize;

use crate::arguments;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort};
use crate::session::Session;

/// Everybody may read the manual.
const PAGE_MODE: u32 = 0o644;

/// The arguments of `lifeboat man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages into this directory, which must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Serialize)]
struct Written {
    directory: PathBuf,
    pages: Vec<String>,
}

impl Answer for Written {
    const SCHEMA: &'static str = "lifeboat.man/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(
            page,
            "wrote {} to {}",
            counted(self.pages.len(), "page"),
            self.directory.display()
        )
    }
}

impl Man {
    /// Writes the pages, replacing older ones of the same names.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let mut command = arguments::command();
        command.build();
        let mut pages = Vec::new();
        write_pages(&command, &self.directory, &mut pages)?;
        session.done(&Written { directory: self.directory, pages })
    }
}

fn write_pages(
    command: &clap::Command,
    directory: &Path,
    pages: &mut Vec<String>,
) -> Result<(), CommandError> {
    let man = clap_mangen::Man::new(command.clone());
    let name = man.get_filename();
    let path = directory.join(&name);
    let failed =
        |source| CommandError::File { action: "write", path: path.display().to_string(), source };
    let mut text = Vec::new();
    man.render(&mut text).map_err(failed)?;
    durable::replace(&path, &text, PAGE_MODE).map_err(failed)?;
    pages.push(name);
    command.get_subcommands().try_for_each(|below| write_pages(below, directory, pages))
}
