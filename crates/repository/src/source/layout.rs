//! Where in the snapshot's tree the sources stand: a tree of the paths that were given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{Classify, ErrorKind};

use super::paged::{EntryMetadata, PagedEntry, PagedFile, PagedKind, PagedSource};
use super::{Excludes, Source, StreamSource};

/// The sources make no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There is nothing to back up.
    #[error("no path and no stream was given to back up")]
    Nothing,
    /// A path is relative or goes up by `..`.
    #[error("`{}` cannot be backed up: expected an absolute path without `..`", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Two sources want the same place.
    #[error("`{}` was given twice", path.display())]
    Twice {
        /// The path.
        path: PathBuf,
    },
    /// A stream would become the root directory.
    #[error("a stream cannot become `/`: expected the path of a file")]
    NoName,
    /// A path of an entry is not one below its source's.
    #[error("`{}` cannot be an entry: expected a relative path without `..`", path.display())]
    NotBelow {
        /// The path.
        path: PathBuf,
    },
    /// Something would be stored where files of the host are, or the other way round.
    #[error("{what} cannot become `{}`: `{}` is backed up from elsewhere", path.display(), taken.display())]
    Taken {
        /// What was given later: `a stream`.
        what: &'static str,
        /// What was given later.
        path: PathBuf,
        /// What was given before and contains it.
        taken: PathBuf,
    },
}

impl Classify for LayoutError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}

/// How what lies below a path is walked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// What to leave out.
    pub(crate) exclude: Excludes,
    /// Whether to stay on the file system of the path.
    pub(crate) one_file_system: bool,
}

/// What a place in the tree is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Role {
    /// A directory that exists only because a stream's path leads through it.
    #[default]
    Virtual,
    /// A directory of the host on the way to a path that was given.
    Passage,
    /// A path that was given.
    Root(Arc<Rules>),
    /// A stream: its number among the streams.
    Stream(usize),
    /// A directory that the caller described.
    Described(EntryMetadata),
    /// A symbolic link that the caller described, and where it points.
    Link(EntryMetadata, OsString),
    /// A file that is read in pieces.
    Paged(Arc<PagedFile>),
}

impl Role {
    /// Tells whether nothing that was given later can lie below.
    const fn is_closed(&self) -> bool {
        matches!(self, Self::Root(_) | Self::Stream(_) | Self::Link(..) | Self::Paged(_))
    }
}

/// A place in the tree and those below it that matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// What it is.
    pub(crate) role: Role,
    /// The places below it, by name.
    pub(crate) below: BTreeMap<OsString, Arc<Place>>,
}

/// All that was given, in its place.
pub(crate) struct Layout {
    /// The root directory.
    pub(crate) top: Arc<Place>,
    /// Every path that was given, files', streams' and enumerated directories', sorted.
    pub(crate) paths: Vec<PathBuf>,
    /// The paths of files among them, in the order given.
    pub(crate) roots: Vec<PathBuf>,
    /// The streams, in the order given.
    pub(crate) streams: Vec<StreamSource>,
    /// All patterns, as they were given.
    pub(crate) excludes: Vec<String>,
}

impl Layout {
    /// Puts every source in its place.
    pub(crate) fn new(sources: Vec<Source>) -> Result<Self, LayoutError> {
        let mut top = Place::default();
        let mut roots = Vec::new();
        let mut excludes = Vec::new();
        let (mut streams, mut paged) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                Source::Stream(stream) => streams.push(stream),
                Source::Paged(source) => paged.push(source),
                Source::Files(files) => {
                    excludes.extend(files.exclude.patterns());
                    let one_file_system = files.one_file_system;
                    let rules = Arc::new(Rules { exclude: files.exclude, one_file_system });
                    for path in files.paths {
                        roots.extend(add_root(&mut top, &path, &rules)?);
                    }
                }
            }
        }
        let mut paths: Vec<PathBuf> = roots.clone();
        for source in paged {
            paths.push(source.path.clone());
            add_paged(&mut top, source)?;
        }
        for (number, stream) in streams.iter().enumerate() {
            add_stream(&mut top, &stream.path, number)?;
        }
        paths.extend(streams.iter().map(|stream| stream.path.clone()));
        paths.sort_unstable();
        if paths.is_empty() {
            return Err(LayoutError::Nothing);
        }
        Ok(Self { top: Arc::new(top), paths, roots, streams, excludes })
    }
}

/// Adds a path of the host; returns its clean form, or nothing if the same source named it before.
fn add_root(
    top: &mut Place,
    path: &Path,
    rules: &Arc<Rules>,
) -> Result<Option<PathBuf>, LayoutError> {
    let names = names(path)?;
    let mut place = top;
    for name in &names {
        if matches!(place.role, Role::Virtual) {
            place.role = Role::Passage;
        }
        place = Arc::make_mut(place.below.entry((*name).to_owned()).or_default());
    }
    match &place.role {
        Role::Root(before) if Arc::ptr_eq(before, rules) => Ok(None),
        Role::Virtual | Role::Passage => {
            place.role = Role::Root(Arc::clone(rules));
            Ok(Some(joined(&names)))
        }
        _ => Err(LayoutError::Twice { path: path.to_owned() }),
    }
}

/// Adds a stream; all else was added before.
fn add_stream(top: &mut Place, path: &Path, number: usize) -> Result<(), LayoutError> {
    let names = names(path)?;
    if names.is_empty() {
        return Err(LayoutError::NoName);
    }
    let place = open_place(top, &names, "a stream")?;
    if !place.below.is_empty() {
        return Err(LayoutError::Twice { path: path.to_owned() });
    }
    take(place, Role::Stream(number), path)
}

/// Adds a directory and all entries that were enumerated in it; all paths of the host were added before.
fn add_paged(top: &mut Place, source: PagedSource) -> Result<(), LayoutError> {
    let PagedSource { path, metadata, entries } = source;
    let above = names(&path)?;
    let own = open_place(top, &above, "an enumerated directory")?;
    take(own, Role::Described(metadata), &path)?;
    for entry in entries {
        add_entry(top, &above, entry)?;
    }
    Ok(())
}

fn add_entry(top: &mut Place, above: &[&OsStr], entry: PagedEntry) -> Result<(), LayoutError> {
    let PagedEntry { path, metadata, kind } = entry;
    let mut names = above.to_vec();
    names.extend(names_below(&path)?);
    let place = open_place(top, &names, "an entry")?;
    let role = match kind {
        PagedKind::Directory => Role::Described(metadata),
        _ if !place.below.is_empty() => return Err(LayoutError::Twice { path: joined(&names) }),
        PagedKind::Symlink { target } => Role::Link(metadata, target),
        PagedKind::File { size, piece_size, content } => {
            Role::Paged(Arc::new(PagedFile { metadata, size, piece_size, content }))
        }
    };
    take(place, role, &joined(&names))
}

/// Returns the place of something that is on no disk; `what` it is, is for the error.
fn open_place<'p>(
    top: &'p mut Place,
    names: &[&OsStr],
    what: &'static str,
) -> Result<&'p mut Place, LayoutError> {
    let mut place = top;
    for (depth, name) in names.iter().enumerate() {
        if place.role.is_closed() {
            let (path, taken) = (joined(names), joined(&names[..depth]));
            return Err(LayoutError::Taken { what, path, taken });
        }
        place = Arc::make_mut(place.below.entry((*name).to_owned()).or_default());
    }
    Ok(place)
}

/// Gives a place that is nobody's a role.
fn take(place: &mut Place, role: Role, path: &Path) -> Result<(), LayoutError> {
    match place.role {
        Role::Virtual => {
            place.role = role;
            Ok(())
        }
        _ => Err(LayoutError::Twice { path: path.to_owned() }),
    }
}

/// Returns the names that a relative path is made of; there has to be one.
fn names_below(path: &Path) -> Result<Vec<&OsStr>, LayoutError> {
    let refused = || LayoutError::NotBelow { path: path.to_owned() };
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(refused());
            }
        }
    }
    if names.is_empty() { Err(refused()) } else { Ok(names) }
}

/// Returns the names that an absolute path is made of.
fn names(path: &Path) -> Result<Vec<&OsStr>, LayoutError> {
    let refused = || LayoutError::NotAbsolute { path: path.to_owned() };
    if !path.is_absolute() {
        return Err(refused());
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    Ok(names)
}

fn joined(names: &[&OsStr]) -> PathBuf {
    std::iter::once(OsStr::new("/")).chain(names.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FilesSource;

    fn files(paths: &[&str]) -> Source {
        Source::Files(FilesSource {
            paths: paths.iter().map(PathBuf::from).collect(),
            ..FilesSource::default()
        })
    }

    fn stream(path: &str) -> Source {
        Source::Stream(StreamSource::document(path, Vec::new()))
    }

    /// Directories and links of an enumerated `/db`.
    fn paged(directories: &[&str], links: &[&str]) -> Source {
        let metadata = EntryMetadata::new(0o700, (0, 0), jiff::Timestamp::UNIX_EPOCH);
        let entry = |kind: PagedKind| {
            move |path: &&str| PagedEntry { path: path.into(), metadata, kind: kind.clone() }
        };
        let mut entries: Vec<_> = directories.iter().map(entry(PagedKind::Directory)).collect();
        entries.extend(links.iter().map(entry(PagedKind::Symlink { target: "x".into() })));
        Source::Paged(PagedSource { path: "/db".into(), metadata, entries })
    }

    fn error(sources: Vec<Source>) -> String {
        Layout::new(sources).err().unwrap().to_string()
    }

    #[test]
    fn paths_are_cleaned_sorted_and_named_once() {
        let sources = vec![stream("/lifeboat/x"), files(&["/srv//b/./", "/srv/a", "/srv/b"])];
        let layout = Layout::new(sources).unwrap();
        let paths: Vec<_> = layout.paths.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/lifeboat/x", "/srv/a", "/srv/b"]);
        assert!(matches!(layout.top.role, Role::Passage));
        assert!(matches!(layout.top.below[OsStr::new("srv")].role, Role::Passage));
        assert!(matches!(layout.top.below[OsStr::new("lifeboat")].role, Role::Virtual));
    }

    #[test]
    fn a_path_in_another_one_has_its_own_place() {
        let layout = Layout::new(vec![files(&["/srv/a/b", "/srv"])]).unwrap();
        let srv = &layout.top.below[OsStr::new("srv")];
        assert!(matches!(srv.role, Role::Root(_)));
        assert!(matches!(srv.below[OsStr::new("a")].role, Role::Passage));
    }

    #[test]
    fn what_was_enumerated_is_put_in_its_place_in_any_order() {
        let source = paged(&["base/5", "base"], &["base/5/link", "other/link"]);
        let layout = Layout::new(vec![stream("/db/base/5/stream"), source]).unwrap();
        let db = &layout.top.below[OsStr::new("db")];
        let (base, other) = (&db.below[OsStr::new("base")], &db.below[OsStr::new("other")]);
        assert!(matches!((&db.role, &base.role), (Role::Described(_), Role::Described(_))));
        assert!(matches!(other.role, Role::Virtual));
        let five = &base.below[OsStr::new("5")];
        assert!(matches!(five.below[OsStr::new("link")].role, Role::Link(..)));
        assert!(matches!(five.below[OsStr::new("stream")].role, Role::Stream(0)));
        assert_eq!(layout.paths, [Path::new("/db"), Path::new("/db/base/5/stream")]);
        assert!(layout.roots.is_empty());
    }

    #[test]
    fn entries_that_make_no_tree_are_refused() {
        let below = "cannot be an entry: expected a relative path without `..`";
        for path in ["", ".", "/etc", "../etc", "a/../../etc"] {
            assert_eq!(error(vec![paged(&[path], &[])]), format!("`{path}` {below}"));
        }
        assert_eq!(error(vec![paged(&["a", "a"], &[])]), "`/db/a` was given twice");
        assert_eq!(error(vec![paged(&["a"], &["a"])]), "`/db/a` was given twice");
        assert_eq!(error(vec![paged(&["a/b"], &["a"])]), "`/db/a` was given twice");
        assert_eq!(error(vec![paged(&[], &[]), paged(&[], &[])]), "`/db` was given twice");
        assert_eq!(
            error(vec![paged(&[], &["a", "a/b"])]),
            "an entry cannot become `/db/a/b`: `/db/a` is backed up from elsewhere"
        );
        assert_eq!(
            error(vec![paged(&[], &["a"]), stream("/db/a/b")]),
            "a stream cannot become `/db/a/b`: `/db/a` is backed up from elsewhere"
        );
        assert_eq!(
            error(vec![paged(&[], &[]), files(&["/"])]),
            "an enumerated directory cannot become `/db`: `/` is backed up from elsewhere"
        );
        assert_eq!(error(vec![paged(&[], &[]), files(&["/db"])]), "`/db` was given twice");
    }

    #[test]
    fn sources_that_make_no_tree_are_refused() {
        assert_eq!(error(vec![]), "no path and no stream was given to back up");
        assert_eq!(error(vec![files(&[])]), "no path and no stream was given to back up");
        let unclean = "`srv` cannot be backed up: expected an absolute path without `..`";
        assert_eq!(error(vec![files(&["srv"])]), unclean);
        assert!(error(vec![files(&["/srv/../etc"])]).starts_with("`/srv/../etc` cannot"));
        assert_eq!(error(vec![files(&["/srv"]), files(&["/srv"])]), "`/srv` was given twice");
        assert_eq!(error(vec![stream("/a/x"), stream("/a/x")]), "`/a/x` was given twice");
        assert!(error(vec![stream("/")]).starts_with("a stream cannot become `/`"));
        assert_eq!(
            error(vec![stream("/srv/db/x"), files(&["/srv/db"])]),
            "a stream cannot become `/srv/db/x`: `/srv/db` is backed up from elsewhere"
        );
    }
}
