//! `lifeboat repo find`: find where something is, by its name or by its id.

use std::ffi::OsString;
use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::pattern::{Case, Dialect, Pattern, PatternError};
use lifeboat_model::{BlobId, Exit, PackId, SnapshotId, Timestamp, counted};
use lifeboat_repository::find::{self, Found, Hit, Names, Objects, Wanted};
use lifeboat_repository::listing::Listed;
use lifeboat_repository::{BlobKind, Indexed, Repository, SnapshotName, SnapshotTime};
use serde::Serialize;

use super::Access;
use super::backup::parse_time;
use super::choice::{Choice, snapshot_name};
use super::ls::Entry;
use super::unreadable::{self, Unread};
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, ShownPath, time};
use crate::session::Session;

/// The arguments of `lifeboat repo find`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Find {
    #[command(flatten)]
    access: Access,
    /// Find what matches one of these: `*` and `?` stop at a slash, `**` does not, a leading slash
    /// binds to the root; with `--blob`, `--tree` or `--pack` the first digits of ids
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<OsString>,
    /// Take capital letters for small ones
    #[arg(short, long)]
    ignore_case: bool,
    /// Find only what was not changed before this: RFC 3339, or `YYYY-MM-DD`, `YYYY-MM-DD HH:MM` or
    /// `YYYY-MM-DD HH:MM:SS` in UTC
    #[arg(short = 'O', long, value_name = "TIME", value_parser = parse_time)]
    oldest: Option<Timestamp>,
    /// Find only what was not changed after this
    #[arg(short = 'N', long, value_name = "TIME", value_parser = parse_time)]
    newest: Option<Timestamp>,
    /// Show mode, owner, size and time too
    #[arg(short, long)]
    long: bool,
    /// Find the files that these data blobs belong to
    #[arg(long, group = "object", conflicts_with_all = NAMES_ONLY)]
    blob: bool,
    /// Find the directories that these tree blobs are
    #[arg(long, group = "object", conflicts_with_all = NAMES_ONLY)]
    tree: bool,
    /// Find everything that lies in these packs
    #[arg(long, group = "object", conflicts_with_all = NAMES_ONLY)]
    pack: bool,
    /// Tell in which pack each blob lies
    #[arg(long, requires = "object")]
    show_pack_id: bool,
    /// Look only into this snapshot: `latest`, or the first digits of its id; may be repeated
    #[arg(short = 's', long = "snapshot", value_name = "SNAPSHOT", value_parser = snapshot_name())]
    names: Vec<SnapshotName>,
    #[command(flatten)]
    choice: Choice,
}

/// What means nothing to a search for ids.
const NAMES_ONLY: [&str; 4] = ["ignore_case", "oldest", "newest", "long"];

#[derive(Serialize)]
struct Answered {
    snapshots: Vec<InSnapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packs: Option<Vec<Located>>,
    unreadable: Vec<Unread>,
    #[serde(skip)]
    long: bool,
}

#[derive(Serialize)]
struct InSnapshot {
    id: SnapshotId,
    time: Timestamp,
    hits: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Entry(Box<Entry>),
    Object {
        object: &'static str,
        id: BlobId,
        path: ShownPath,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_raw: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_tree: Option<BlobId>,
    },
}

#[derive(Serialize)]
struct Located {
    id: BlobId,
    r#type: BlobKind,
    pack: PackId,
    offset: u32,
    length: u32,
}

impl Answer for Answered {
    const SCHEMA: &'static str = "lifeboat.repo.find/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut parts = self.snapshots.iter().peekable();
        if parts.peek().is_none() {
            writeln!(page, "nothing found")?;
        }
        while let Some(InSnapshot { id, time, hits }) = parts.next() {
            let heading = format!("in snapshot {id} of {}", time::instant(*time));
            writeln!(page, "{}", page.paint.strong(&heading))?;
            for hit in hits {
                hit.write(self.long, page)?;
            }
            if parts.peek().is_some() {
                writeln!(page)?;
            }
        }
        for Located { id, r#type: kind, pack, offset, length } in self.packs.iter().flatten() {
            let (id, pack) = (id.to_hex(), pack.to_hex());
            writeln!(
                page,
                "{kind} blob {id} lies in pack {pack} at {offset}, {}",
                counted(*length, "byte")
            )?;
        }
        unreadable::write(&self.unreadable, page)
    }
}

impl Shown {
    fn new(hit: &Hit) -> Self {
        let path = ShownPath(hit.path.clone());
        let object = |object, id, parent_tree| {
            let path_raw = path.raw();
            Self::Object { object, id, path: path.clone(), path_raw, parent_tree }
        };
        match &hit.found {
            Found::Entry(node) => {
                let listed = Listed { path: hit.path.clone(), node: (**node).clone() };
                Self::Entry(Box::new(Entry::from(listed)))
            }
            Found::Piece { id, parent } => object("data", *id, Some(*parent)),
            Found::Directory { id } => object("tree", *id, None),
        }
    }

    fn write(&self, long: bool, page: &mut Page) -> fmt::Result {
        match self {
            Self::Entry(entry) => entry.write(long, page),
            Self::Object { object, id, path, .. } => {
                writeln!(page, "{object} blob {}: {path}", id.to_hex())
            }
        }
    }
}

/// What was searched, for what, and what was found.
type Searched = (Repository<Indexed>, Vec<(SnapshotId, SnapshotTime)>, Wanted, find::FindReport);

impl Find {
    /// Looks into the snapshots, the newest first; 3 if a directory could not be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, snapshots, wanted, report) =
            self.access.look(session, |repository| self.find(repository, session))?;
        let packs = self.show_pack_id.then(|| locate(&repository, &wanted));
        let in_snapshot = |(number, (id, time)): (usize, (SnapshotId, SnapshotTime))| {
            let hits: Vec<Shown> = report.in_snapshot(number).map(Shown::new).collect();
            (!hits.is_empty()).then(|| InSnapshot { id, time: time.instant(), hits })
        };
        let snapshots: Vec<InSnapshot> =
            snapshots.into_iter().enumerate().filter_map(in_snapshot).collect();
        let unreadable = unreadable::shown(report.unreadable);
        let exit = unreadable::exit(&unreadable);
        session.end(&Answered { snapshots, packs, unreadable, long: self.long }, exit)
    }

    fn find(&self, repository: Repository, session: &Session) -> Result<Searched, Failure> {
        let mut chosen = repository.choose_directories(&self.names, &self.choice.filter())?;
        chosen.sort_by_key(|(id, snapshot, _)| (std::cmp::Reverse(snapshot.time), *id));
        let repository = repository.load_index(&session.cancel, &*session.events())?;
        let wanted = self.wanted(&repository)?;
        let mut snapshots: Vec<(SnapshotId, SnapshotTime)> = Vec::new();
        let mut roots = Vec::new();
        for (id, snapshot, directory) in chosen {
            snapshots.push((id, snapshot.time));
            roots.push(repository.enter(snapshot, &directory)?.tree);
        }
        let report = find::find(&repository, &roots, &wanted, &session.cancel)?;
        Ok((repository, snapshots, wanted, report))
    }

    fn wanted(&self, repository: &Repository<Indexed>) -> Result<Wanted, Failure> {
        if !(self.blob || self.tree || self.pack) {
            let case = if self.ignore_case { Case::Ignored } else { Case::Matters };
            let compile = |pattern| Pattern::new(pattern, Dialect::Restic, case);
            let patterns = self.patterns.iter().map(|pattern| compile(pattern));
            let patterns = patterns.collect::<Result<_, PatternError>>().map_err(|error| {
                CommandError::usage(error.to_string(), "put `\\` before what is meant as it stands")
            })?;
            return Ok(Wanted::Names(Names { patterns, oldest: self.oldest, newest: self.newest }));
        }
        let digits: Vec<String> =
            self.patterns.iter().map(|id| id.to_string_lossy().into_owned()).collect();
        if self.pack {
            return Ok(Wanted::Objects(repository.pack_objects(&digits)?));
        }
        let kind = if self.blob { BlobKind::Data } else { BlobKind::Tree };
        let mut objects = Objects::default();
        for digits in digits {
            objects.add(kind, repository.wanted_blob(kind, &digits)?);
        }
        Ok(Wanted::Objects(objects))
    }
}

fn locate(repository: &Repository<Indexed>, wanted: &Wanted) -> Vec<Located> {
    let Wanted::Objects(objects) = wanted else { return Vec::new() };
    let located = repository.locations_of(objects).into_iter();
    located
        .map(|((kind, id), at)| Located {
            id,
            r#type: kind,
            pack: at.pack,
            offset: at.offset,
            length: at.length,
        })
        .collect()
}
