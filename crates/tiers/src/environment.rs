//! The environment variables that were handed in, of which an empty one says nothing.

use std::collections::BTreeMap;

/// What a process was told by its environment.
#[derive(Debug)]
pub(crate) struct Environment<'e>(pub(crate) &'e BTreeMap<String, String>);

impl Environment<'_> {
    /// Returns a variable, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the first of these that says something.
    pub(crate) fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }
}
