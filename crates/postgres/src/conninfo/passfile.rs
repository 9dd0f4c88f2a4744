//! Password files: `host:port:database:role:password` lines, `.pgpass`.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lifeboat_model::Secret;

use crate::error::PostgresError;

/// Whose password is wanted.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) role: &'a str,
}

/// Finds the password in the first line that matches; a file that is not there has none.
pub(super) fn find(path: &Path, wanted: &Wanted<'_>) -> Result<Option<Secret>, PostgresError> {
    let fail = |message: String| PostgresError::File { path: path.to_owned(), message };
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    if mode & 0o077 != 0 {
        return Err(fail(format!(
            "others can read it (mode {:04o}); `chmod 600` closes it",
            mode & 0o7777
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    Ok(text.lines().find_map(|line| password(line, wanted)).map(Secret::new))
}

/// Returns the password of a line that matches.
fn password(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for value in [wanted.host, wanted.port, wanted.database, wanted.role] {
        let (field, after) = field(rest);
        if field != "*" && field != value {
            return None;
        }
        rest = after?;
    }
    Some(field(rest).0)
}

/// Reads up to the next `:` that no backslash stands before; returns what follows it.
fn field(text: &str) -> (String, Option<&str>) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            ':' => return (value, Some(&text[at + 1..])),
            other => value.push(other),
        }
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    const WANTED: Wanted<'_> =
        Wanted { host: "localhost", port: "5432", database: "shop", role: "app" };

    #[test]
    fn the_first_line_that_matches_counts() {
        let file =
            "# comment\nlocalhost:5432:shop:other:no\nbroken\n*:*:*:app:a\\:b\\\\c\n*:*:*:*:z";
        let found = file.lines().find_map(|line| password(line, &WANTED));
        assert_eq!(found.as_deref(), Some("a:b\\c"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        assert!(find(&path, &WANTED).unwrap().is_none());
        std::fs::File::create(&path).unwrap().write_all(b"*:*:*:*:secret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(find(&path, &WANTED).unwrap_err().to_string().contains("0644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(find(&path, &WANTED).unwrap().unwrap().expose(), "secret");
    }
}
