//! The server's files of settings that lie outside of its data directory, as Debian has them, and what
//! they include: without them what is restored cannot be started.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::error::BaseError;
use super::manifest::ConfigurationRole;

/// How many files the settings may be spread over.
const FILES_MAX: usize = 1000;

/// What the system's own tools keep beside the settings.
const BESIDE: [&str; 3] = ["environment", "pg_ctl.conf", "start.conf"];

/// Where a server's files of settings are, as far as it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigurationPaths {
    /// `config_file`.
    pub settings: Option<PathBuf>,
    /// `hba_file`.
    pub access: Option<PathBuf>,
    /// `ident_file`.
    pub users: Option<PathBuf>,
}

/// A file of settings and what it is.
pub type Found = (ConfigurationRole, PathBuf);

impl ConfigurationPaths {
    /// Finds the files that do not lie in the data directory, each once.
    pub fn outside_of(&self, data: &Path) -> Result<Vec<Found>, BaseError> {
        let named = [
            (ConfigurationRole::Settings, &self.settings),
            (ConfigurationRole::Access, &self.access),
            (ConfigurationRole::Users, &self.users),
        ];
        let mut waiting: Vec<Found> = named
            .into_iter()
            .filter_map(|(role, path)| Some((role, path.clone()?)))
            .rev()
            .collect();
        if let Some(directory) = self.settings.as_deref().and_then(Path::parent) {
            let beside = BESIDE.map(|name| (ConfigurationRole::Other, directory.join(name)));
            waiting.splice(0..0, beside);
        }
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some((role, path)) = waiting.pop() {
            if seen.len() > FILES_MAX || !seen.insert(path.clone()) {
                continue;
            }
            let Some(text) = read(&path)? else { continue };
            let directory = path.parent().unwrap_or(Path::new("/"));
            for included in included(&text, directory) {
                waiting.push((ConfigurationRole::Other, included));
            }
            if !path.starts_with(data) {
                found.push((role, path));
            }
        }
        found.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        Ok(found)
    }
}

/// Reads a file of settings, if it is there.
fn read(path: &Path) -> Result<Option<String>, BaseError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BaseError::io("read", path, source)),
    }
}

/// A directive by which a file of settings includes another one, or all of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inclusion {
    /// The directive, like `include_dir`.
    pub word: String,
    /// What it includes.
    pub path: PathBuf,
    /// Whether that is found wherever the files are moved to together.
    pub moves_along: bool,
}

/// Reads a line of a file in `directory`: `include 'x'`, `include_if_exists = x`, `include_dir 'x'`.
pub(crate) fn inclusion(line: &str, directory: &Path) -> Option<Inclusion> {
    let (word, rest) = line.trim_start().split_once([' ', '\t', '='])?;
    let word = word.to_ascii_lowercase();
    let includes = matches!(word.as_str(), "include" | "include_if_exists" | "include_dir");
    let value = value(rest).filter(|_| includes)?;
    let path = clean(&directory.join(&value));
    let moves_along =
        Path::new(&value).components().all(|part| matches!(part, Component::Normal(_)));
    Some(Inclusion { word, path, moves_along })
}

/// Returns what the directives of a file include.
fn included(text: &str, directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for Inclusion { word, path, .. } in text.lines().filter_map(|line| inclusion(line, directory)) {
        match word.as_str() {
            "include_dir" => found.extend(settings_in(&path)),
            _ => found.push(path),
        }
    }
    found
}

/// Takes `..` out of a path by name, as it is stored by its whole path.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = clean.pop(),
            other => clean.push(other),
        }
    }
    clean
}

fn value(rest: &str) -> Option<String> {
    let rest = rest.trim_start().trim_start_matches('=').trim_start();
    let value = match rest.strip_prefix(['\'', '"']) {
        Some(quoted) => quoted.split(['\'', '"']).next()?,
        None => rest.split(|c: char| c.is_whitespace() || c == '#').next()?,
    };
    (!value.is_empty()).then(|| value.to_owned())
}

/// Returns the files of a directory that a server reads: `*.conf`, none that is hidden.
fn settings_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".conf") && !name.starts_with('.')
        })
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    paths
}

#[cfg(test)]
mod tests {
    use super::ConfigurationRole::{Access, Other, Settings};
    use super::*;
    use std::io::Write as _;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_lies_outside_is_found_with_what_it_includes() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        put(
            &at("etc/main/postgresql.conf"),
            "port = 5432 # include 'no'\n include_dir = 'conf.d'\nINCLUDE_IF_EXISTS '../gone.conf'\n\
             include \"postgresql.conf\"\ninclude_dir = ''\ninclude '../../data/own.conf'\n",
        );
        put(&at("etc/main/conf.d/a.conf"), "include ../more.conf # x\n");
        put(&at("etc/main/conf.d/.hidden.conf"), "");
        put(&at("etc/main/conf.d/note.txt"), "");
        put(&at("etc/main/more.conf"), "");
        put(&at("etc/main/start.conf"), "auto\n");
        put(&at("etc/main/pg_hba.conf"), "include extra_hba.conf\n");
        put(&at("etc/main/extra_hba.conf"), "");
        put(&at("data/own.conf"), "");
        put(&at("data/pg_ident.conf"), "");
        let paths = ConfigurationPaths {
            settings: Some(at("etc/main/postgresql.conf")),
            access: Some(at("etc/main/pg_hba.conf")),
            users: Some(at("data/pg_ident.conf")),
        };
        let found = paths.outside_of(&at("data")).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(role, path)| (*role, path.file_name().unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (Other, "a.conf"),
                (Other, "extra_hba.conf"),
                (Other, "more.conf"),
                (Access, "pg_hba.conf"),
                (Settings, "postgresql.conf"),
                (Other, "start.conf"),
            ]
        );
    }
}
