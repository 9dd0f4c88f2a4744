//! Where each part of a plan was written, kept beside the plan instead of inside it.
//!
//! The typed plan holds values alone, so that it compares, hashes and serialises as what it means.
//! Whoever has to point at a part of it, a lint rule for one, names it by its [`Path`] and finds
//! the span here. A part that was left out is shown at the nearest table that would have held it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::source::Span;

/// One part of a path.
pub(crate) struct Segment(String);

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(position: usize) -> Self {
        Self(position.to_string())
    }
}

/// The way from the top of a file to one value: keys, and positions in arrays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn new<S: ToString>(segments: impl IntoIterator<Item = S>) -> Self {
        Self(segments.into_iter().map(|segment| segment.to_string()).collect())
    }

    pub(crate) fn push(&mut self, segment: &str) {
        self.0.push(segment.to_owned());
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn then(&self, segment: impl Into<Segment>) -> Self {
        let mut longer = self.clone();
        longer.0.push(segment.into().0);
        longer
    }

    fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

/// As a person would name it: `steps[0].undo`; the file of a runbook stands beside it anyway.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, rest) = match self.0.split_first() {
            Some((first, rest)) if first.starts_with("./") => (Some(first), rest),
            _ => (None, &self.0[..]),
        };
        if let (Some(file), []) = (file, rest) {
            return f.write_str(&file[2..]);
        }
        for (at, segment) in rest.iter().enumerate() {
            match segment.parse::<usize>() {
                Ok(number) => write!(f, "[{number}]")?,
                Err(_) if at == 0 => f.write_str(segment)?,
                Err(_) => write!(f, ".{segment}")?,
            }
        }
        Ok(())
    }
}

/// Builds a [`Path`] from anything that can be shown.
macro_rules! place {
    ($($segment:expr),+ $(,)?) => {
        $crate::place::Path::new([$($segment.to_string()),+])
    };
}
pub(crate) use place;

/// Where a value stands.
#[derive(Debug, Clone)]
struct Place {
    key: Span,
    value: Span,
}

/// The places of all values of a plan and its runbooks.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: BTreeMap<Path, Place>,
    /// Values that were written but could not be understood: their names still count as known.
    broken: BTreeSet<Path>,
}

impl Places {
    pub(crate) fn set(&mut self, path: Path, key: Span, value: Span) {
        self.places.insert(path, Place { key, value });
    }

    pub(crate) fn set_broken(&mut self, path: Path) {
        self.broken.insert(path);
    }

    /// Tells whether the value was written, and not filled in.
    pub(crate) fn is_written(&self, path: &Path) -> bool {
        self.places.contains_key(path)
    }

    pub(crate) fn is_broken(&self, path: &Path) -> bool {
        self.broken.contains(path)
    }

    /// Where the value is, or the nearest table around it.
    pub(crate) fn value(&self, path: &Path) -> Option<&Span> {
        self.nearest(path).map(|place| &place.value)
    }

    /// Where the value's key is, or the nearest table around it.
    pub(crate) fn key(&self, path: &Path) -> Option<&Span> {
        self.nearest(path).map(|place| &place.key)
    }

    fn nearest(&self, path: &Path) -> Option<&Place> {
        let mut path = path.clone();
        loop {
            if let Some(place) = self.places.get(&path) {
                return Some(place);
            }
            path = path.parent()?;
        }
    }
}
