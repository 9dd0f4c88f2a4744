//! Paths with wildcards in them: which files there are of that kind.
//!
//! Source: Go `path/filepath/match.go`, `Glob`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lifeboat_model::pattern::{Case, Dialect, Pattern, PatternError};

/// Returns the paths that match, in the order of their names; what cannot be listed holds none.
pub fn matching(pattern: &OsStr) -> Result<Vec<PathBuf>, PatternError> {
    let path = Path::new(pattern);
    if !has_wildcard(pattern) {
        return Ok(if exists(path) { vec![path.to_owned()] } else { Vec::new() });
    }
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        let name = component.as_os_str();
        let pattern = if has_wildcard(name) {
            Some(Pattern::new(name, Dialect::Restic, Case::Matters)?)
        } else {
            None
        };
        found = found.iter().flat_map(|above| below(above, name, pattern.as_ref())).collect();
    }
    Ok(found)
}

fn has_wildcard(text: &OsStr) -> bool {
    text.as_bytes().iter().any(|byte| b"*?[\\".contains(byte))
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Returns what in a directory has a name, or a name that matches.
fn below(above: &Path, name: &OsStr, pattern: Option<&Pattern>) -> Vec<PathBuf> {
    let Some(pattern) = pattern else {
        let path = above.join(name);
        return if exists(&path) { vec![path] } else { Vec::new() };
    };
    let listed = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let Ok(entries) = fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut names: Vec<_> = names.filter(|name| pattern.matches(Path::new(name))).collect();
    names.sort_unstable();
    names.into_iter().map(|name| above.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/x.txt", "a/y.txt", "b/x.txt", "b/.hidden", "a*b"] {
            let path = dir.path().join(file);
            lifeboat_tiers::durable::create_directories(path.parent().unwrap(), 0o755).unwrap();
            fs::File::create(path).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = matching(dir.path().join(pattern).as_os_str()).unwrap();
            let below = found.iter().map(|path| path.strip_prefix(dir.path()).unwrap());
            below.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names("*/x.txt"), ["a/x.txt", "b/x.txt"]);
        assert_eq!(names("b/*"), ["b/.hidden", "b/x.txt"]);
        assert_eq!(names("[ab]/y*"), ["a/y.txt"]);
        assert_eq!(names("a\\*b"), ["a*b"]);
        assert_eq!(names("a/x.txt"), ["a/x.txt"]);
        assert_eq!(names("a/none"), [""; 0]);
        assert_eq!(names("**/y.txt"), ["a/y.txt"]);
        assert!(matching(OsStr::new("[a")).is_err());
    }
}
