//! `lifeboat diff`: what changed of an asset between two points.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{AssetName, Exit, TierName};
use lifeboat_ops::changes::{self, Changed, ChangesOptions, ChangesReport, Lines, Secrets, Side};
use lifeboat_ops::point::At;
use lifeboat_repository::diff::Mark;
use serde::Serialize;

use super::repo::unreadable::{self, Unread};
use crate::failure::Failure;
use crate::render::{Answer, Page, ShownPath, time};
use crate::session::Session;

/// The arguments of `lifeboat diff`.
///
/// Each line begins with what happened to an entry: `+` added, `-` removed, `M` other content, `T` another type, `U` other
/// owner, mode or times. Below it stand the lines of a small text that changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Diff {
    /// Show what changed of this asset
    #[arg(value_name = "ASSET")]
    asset: AssetName,
    /// Since this point, as `lifeboat points` calls it, or this time; without one, since the capture before the last
    #[arg(value_name = "POINT")]
    from: Option<String>,
    /// Until this point; without one, until the last
    #[arg(value_name = "POINT")]
    to: Option<String>,
    /// Show lines also of what may hold secrets: what not everybody may read, or bears a name like `.env`
    #[arg(long)]
    content: bool,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat diff configuration
  lifeboat diff configuration 20261123_020000
  lifeboat diff configuration 20261123_020000 20261124_020000 --content";

#[derive(Serialize)]
struct Compared {
    asset: AssetName,
    tier: TierName,
    from: Side,
    to: Side,
    changes: Vec<Shown>,
    unreadable: Vec<Unread>,
}

#[derive(Serialize)]
struct Shown {
    path: ShownPath,
    mark: Mark,
    kind: &'static str,
    lines: Option<Lines>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_raw: Option<String>,
}

impl From<Changed> for Shown {
    fn from(Changed { change, lines }: Changed) -> Self {
        let path = ShownPath(change.path);
        Self { path_raw: path.raw(), path, mark: change.mark, kind: change.sort, lines }
    }
}

impl Answer for Compared {
    const SCHEMA: &'static str = "lifeboat.diff/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let (from, to) = (time::instant(self.from.time), time::instant(self.to.time));
        writeln!(page, "{} from {from} to {to}, on {}:\n", self.asset, self.tier)?;
        if self.changes.is_empty() {
            writeln!(page, "nothing changed")?;
        }
        for Shown { path, mark, kind, lines, .. } in &self.changes {
            let slash = if *kind == "dir" { "/" } else { "" };
            write!(page, "{:<4} {path}{slash}", mark.letters())?;
            match lines {
                None => writeln!(page)?,
                Some(Lines { added, removed, unified: None }) => writeln!(
                    page,
                    "   {added} lines came, {removed} went; it may hold secrets (--content)"
                )?,
                Some(Lines { unified: Some(unified), .. }) => {
                    writeln!(page)?;
                    // The first two lines name the file again.
                    for line in unified.lines().skip(2) {
                        writeln!(page, "     {}", ShownPath(line.into()))?;
                    }
                }
            }
        }
        unreadable::write(&self.unreadable, page)
    }
}

impl Diff {
    /// Compares the two; 3 if a directory could not be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        let from = self.from.as_deref().map(At::parse).transpose()?;
        let to = self.to.as_deref().map_or(Ok(At::Latest), At::parse)?;
        let secrets = if self.content { Secrets::Shown } else { Secrets::Counted };
        let options = ChangesOptions { asset: self.asset, from, to, secrets };
        let report = changes::changes(&site, &options, &*session.events(), &session.cancel)?;
        let ChangesReport { asset, tier, from, to, changes, unreadable } = report;
        let unreadable = unreadable::shown(unreadable);
        let exit = unreadable::exit(&unreadable);
        let changes = changes.into_iter().map(Shown::from).collect();
        session.end(&Compared { asset, tier, from, to, changes, unreadable }, exit)
    }
}
