//! What changed of an asset of files between two points: which entries, and of small texts which lines.
//!
//! What may hold a secret is told by its name or by who may read it, and its lines are left out unless they are asked
//! for: whoever may read a backup may read everything, but a terminal may be looked at.

use std::path::Path;

use lifeboat_model::{AssetName, Cancel, EventSink, SnapshotId, TierName, Timestamp};
use lifeboat_repository::blob::BlobKind;
use lifeboat_repository::diff::{self, Change, DiffOptions, Mark, MetadataChanges, Sums};
use lifeboat_repository::forest::Unreadable;
use lifeboat_repository::{
    Indexed, Node, NodeKind, Repository, RepositoryError, Snapshot, listing,
};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::catalog::view::View;
use crate::error::OpsError;
use crate::holdings::Holdings;
use crate::point::{At, Capture, capture_at};
use crate::state::State;
use crate::wire::{Reached, Site, repositories};

/// How large a text is of which lines are compared: what a person reads.
const TEXT_BYTES_MAX: u64 = 256 << 10;

/// How many entries are compared line by line; those beyond are named alone.
const TEXTS_MAX: usize = 200;

/// How many unchanged lines are shown around those that changed.
const CONTEXT: usize = 3;

/// The permission to read for everybody.
const READ_FOR_ALL: u32 = 0o004;

/// Words in names of what nobody shows around.
const SECRET_WORDS: [&str; 7] =
    [".env", "secret", "passw", "passphrase", "credential", "token", "private"];
const SECRET_ENDINGS: [&str; 4] = [".pem", ".key", ".p12", ".pgpass"];

/// Whether lines are shown of what may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// They are counted.
    #[default]
    Counted,
    /// They are shown.
    Shown,
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct ChangesOptions {
    /// Which asset.
    pub asset: AssetName,
    /// From here; the capture before the second one, if left out.
    pub from: Option<At>,
    /// To here.
    pub to: At,
    /// Whether lines are shown of what may hold secrets.
    pub secrets: Secrets,
}

/// One of the two captures that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Side {
    /// When it was captured.
    pub time: Timestamp,
    /// Its snapshot.
    pub snapshot: SnapshotId,
}

/// What changed in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// How many lines came.
    pub added: usize,
    /// How many went.
    pub removed: usize,
    /// Which: a unified diff; absent where it may hold secrets, and nobody asked for them.
    pub unified: Option<String>,
}

/// An entry that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which, and how.
    pub change: Change,
    /// What of its lines, if it is a small text.
    pub lines: Option<Lines>,
}

/// What changed of an asset.
#[derive(Debug)]
pub struct ChangesReport {
    /// Which asset.
    pub asset: AssetName,
    /// On which tier was looked.
    pub tier: TierName,
    /// From here.
    pub from: Side,
    /// To here.
    pub to: Side,
    /// What changed, by path.
    pub changes: Vec<Changed>,
    /// Directories that could not be read, so that what is in them is missing above.
    pub unreadable: Vec<Unreadable>,
}

/// Compares two captures of an asset, without a lock and without writing anything.
pub fn changes(
    site: &Site,
    options: &ChangesOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<ChangesReport, OpsError> {
    site.asset(&options.asset)?;
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path())?;
    let holdings = Holdings::look(site, &view, events, cancel)?;
    let (before, after) = sides(&holdings, options)?;
    let key = site.recovery_key(cancel)?;
    let common = |tier: &&TierName| after.copies.contains_key(*tier);
    let tier = before.copies.keys().find(common).ok_or_else(|| none(options, options.to))?;
    let Reached::Ready(named) = site.reach(tier) else {
        return Err(none(options, options.to));
    };
    let repository = repositories::open(&named, &key, site.surroundings(), events, cancel)?;
    let seen = |capture: &Capture| Side { time: capture.time, snapshot: capture.copies[tier] };
    let (from, to) = (seen(before), seen(after));
    let (before, after) =
        (repository.snapshot(&from.snapshot)?, repository.snapshot(&to.snapshot)?);
    let how = DiffOptions { metadata: MetadataChanges::Told, sums: Sums::OfWhatDiffers };
    let compared = diff::diff(&repository, before.tree, after.tree, how, cancel)?;
    let reader = Reader { repository: &repository, before, after, secrets: options.secrets };
    let mut texts = 0;
    let mut changes = Vec::new();
    for change in compared.changes {
        let lines = if texts < TEXTS_MAX { reader.lines(&change)? } else { None };
        texts += usize::from(lines.is_some());
        changes.push(Changed { change, lines });
    }
    let (asset, tier) = (options.asset.clone(), tier.clone());
    Ok(ChangesReport { asset, tier, from, to, changes, unreadable: compared.unreadable })
}

/// Chooses the two captures, of which some tier has to hold both.
fn sides<'c>(
    holdings: &'c Holdings,
    options: &ChangesOptions,
) -> Result<(&'c Capture, &'c Capture), OpsError> {
    let Holdings { captures, points, .. } = holdings;
    let at = |at| capture_at(&options.asset, at, captures, points).map(|found| found.capture);
    let after = at(options.to).ok_or_else(|| none(options, options.to))?;
    let shares = |capture: &&Capture| capture.copies.keys().any(|on| after.copies.contains_key(on));
    let own = || captures.iter().rev().filter(|capture| capture.asset == options.asset);
    let before = match options.from {
        Some(from) => {
            let newest = || own().filter(shares).find(|capture| from.reaches(capture.time));
            at(from).filter(|capture| shares(capture)).or_else(newest)
        }
        None => own().filter(shares).find(|capture| capture.time < after.time),
    };
    let at = options.from.unwrap_or(options.to);
    Ok((before.ok_or_else(|| none(options, at))?, after))
}

fn none(options: &ChangesOptions, at: At) -> OpsError {
    OpsError::NoPoint { asset: options.asset.clone(), when: at.to_string() }
}

struct Reader<'r> {
    repository: &'r Repository<Indexed>,
    before: Snapshot,
    after: Snapshot,
    secrets: Secrets,
}

impl Reader<'_> {
    /// Compares a file line by line, if it is a small text on both sides.
    fn lines(&self, change: &Change) -> Result<Option<Lines>, RepositoryError> {
        if change.sort != "file" || matches!(change.mark, Mark::Metadata | Mark::Type) {
            return Ok(None);
        }
        let before = self.node(&self.before, &change.path)?;
        let after = self.node(&self.after, &change.path)?;
        let nodes = || before.iter().chain(&after);
        let is_small = nodes().all(|node| match &node.kind {
            NodeKind::File { size, .. } => *size <= TEXT_BYTES_MAX,
            _ => false,
        });
        if !is_small {
            return Ok(None);
        }
        let texts = (self.text(before.as_ref())?, self.text(after.as_ref())?);
        let (Some(old), Some(new)) = texts else { return Ok(None) };
        let is_secret = may_be_secret(&change.path)
            || nodes().any(|node| node.metadata.mode.permissions() & READ_FOR_ALL == 0);
        let is_shown = self.secrets == Secrets::Shown || !is_secret;
        Ok(Some(compare(&old, &new, is_shown.then_some(change.path.as_path()))))
    }

    /// Finds an entry of a snapshot.
    fn node(&self, side: &Snapshot, path: &Path) -> Result<Option<Node>, RepositoryError> {
        match listing::find(self.repository, side, path) {
            Err(RepositoryError::NoSuchPath { .. }) => Ok(None),
            found => found,
        }
    }

    /// Reads a text; what is not there is an empty one, and what is no text is none.
    fn text(&self, node: Option<&Node>) -> Result<Option<String>, RepositoryError> {
        let Some(Node { kind: NodeKind::File { content, .. }, .. }) = node else {
            return Ok(Some(String::new()));
        };
        let mut bytes = Vec::new();
        for piece in content {
            bytes.extend_from_slice(&self.repository.read_blob(BlobKind::Data, piece)?);
        }
        Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
    }
}

/// Compares two texts; `shown` names the file if its lines are to be shown.
fn compare(old: &str, new: &str, shown: Option<&Path>) -> Lines {
    let diff = TextDiff::from_lines(old, new);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    let unified = shown.map(|path| {
        let name = path.display().to_string();
        diff.unified_diff().context_radius(CONTEXT).header(&name, &name).to_string()
    });
    Lines { added: count(ChangeTag::Insert), removed: count(ChangeTag::Delete), unified }
}

/// Tells whether a file bears the name of one that holds secrets.
fn may_be_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_where_they_may_be() {
        let path = Path::new("/etc/nginx/nginx.conf");
        let lines = compare("a\nb\nc\n", "a\nB\nc\nd\n", Some(path));
        assert_eq!((lines.added, lines.removed), (2, 1));
        let unified = lines.unified.unwrap();
        assert!(unified.contains("-b\n+B\n c\n+d\n"), "{unified}");
        assert_eq!(
            compare("", "PASSWORD=1\n", None),
            Lines { added: 1, removed: 0, unified: None }
        );
    }

    #[test]
    fn what_bears_the_name_of_a_secret_is_taken_for_one() {
        for name in
            ["/srv/.env", "/srv/.env.production", "/etc/ssl/site.KEY", "/etc/db-password.txt"]
        {
            assert!(may_be_secret(Path::new(name)), "{name}");
        }
        for name in ["/etc/nginx/nginx.conf", "/etc/keyboard", "/srv/environment.md"] {
            assert!(!may_be_secret(Path::new(name)), "{name}");
        }
    }
}
