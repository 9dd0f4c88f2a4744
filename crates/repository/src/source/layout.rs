//! Where in the snapshot's tree the sources stand: a tree of the paths that were given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lifeboat_model::{Classify, ErrorKind};

use super::{Excludes, OpenStream, Source, StreamSource};

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
    /// A stream would become a file where files of the host are, or the other way round.
    #[error("a stream cannot become `{}`: `{}` is backed up from elsewhere", path.display(), taken.display())]
    Taken {
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
    /// Every path that was given, files' and streams', sorted.
    pub(crate) paths: Vec<PathBuf>,
    /// The paths of files among them, in the order given.
    pub(crate) roots: Vec<PathBuf>,
    /// The streams, in the order given.
    pub(crate) streams: Vec<(PathBuf, OpenStream)>,
    /// All patterns, as they were given.
    pub(crate) excludes: Vec<String>,
}

impl Layout {
    /// Puts every source in its place.
    pub(crate) fn new(sources: Vec<Source>) -> Result<Self, LayoutError> {
        let mut top = Place::default();
        let mut roots = Vec::new();
        let mut excludes = Vec::new();
        let mut streams = Vec::new();
        for source in sources {
            match source {
                Source::Stream(StreamSource { path, open }) => streams.push((path, open)),
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
        for (number, (path, _)) in streams.iter().enumerate() {
            add_stream(&mut top, path, number)?;
        }
        let mut paths: Vec<PathBuf> = roots.clone();
        paths.extend(streams.iter().map(|(path, _)| path.clone()));
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
        Role::Root(_) | Role::Stream(_) => Err(LayoutError::Twice { path: path.to_owned() }),
        Role::Virtual | Role::Passage => {
            place.role = Role::Root(Arc::clone(rules));
            Ok(Some(joined(&names)))
        }
    }
}

/// Adds a stream; all paths of the host were added before.
fn add_stream(top: &mut Place, path: &Path, number: usize) -> Result<(), LayoutError> {
    let names = names(path)?;
    if names.is_empty() {
        return Err(LayoutError::NoName);
    }
    let mut place = top;
    for (depth, name) in names.iter().enumerate() {
        if matches!(place.role, Role::Root(_) | Role::Stream(_)) {
            let taken = joined(&names[..depth]);
            return Err(LayoutError::Taken { path: path.to_owned(), taken });
        }
        place = Arc::make_mut(place.below.entry((*name).to_owned()).or_default());
    }
    if !matches!(place.role, Role::Virtual) || !place.below.is_empty() {
        return Err(LayoutError::Twice { path: path.to_owned() });
    }
    place.role = Role::Stream(number);
    Ok(())
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
