//! Files that a person writes line by line: patterns, and paths to back up.
//!
//! Sources: restic `internal/filter/exclude.go` and `internal/textfile`; Go `os.Expand`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::failure::CommandError;

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// The variables that a file of patterns may name.
type Environment = BTreeMap<OsString, OsString>;

/// Reads a file, or standard input if its name is `-`.
pub fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let content = if file == Path::new(STANDARD_INPUT) {
        let mut content = Vec::new();
        io::stdin().lock().read_to_end(&mut content).map(|_| content)
    } else {
        fs::read(file)
    };
    content.map_err(|source| cannot_read(file, source))
}

fn cannot_read(file: &Path, source: io::Error) -> CommandError {
    CommandError::File { action: "read", path: file.display().to_string(), source }
}

/// Returns the lines of a text; one that begins with the mark of UTF-16 is in that.
pub fn lines(content: &[u8]) -> Vec<Vec<u8>> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = match content {
        [0xff, 0xfe, text @ ..] => from_utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => from_utf16(text, u16::from_be_bytes),
        text => text.to_vec(),
    };
    let lines = text.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect()
}

fn from_utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units: Vec<u16> = text.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).into_bytes()
}

/// Returns the lines that say something: without space around them, and without comments.
pub fn meant(content: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let trimmed = |line: Vec<u8>| match str::from_utf8(&line) {
        Ok(text) => text.trim().as_bytes().to_vec(),
        Err(_) => line.trim_ascii().to_vec(),
    };
    let says_something = |line: &Vec<u8>| !line.is_empty() && !line.starts_with(b"#");
    lines(content).into_iter().map(trimmed).filter(says_something)
}

/// Reads files of patterns; `$NAME` and `${NAME}` stand for what the environment says.
pub fn patterns(
    files: &[impl AsRef<Path>],
    environment: &Environment,
) -> Result<Vec<OsString>, CommandError> {
    let mut patterns = Vec::new();
    for file in files {
        let file = file.as_ref();
        let content = fs::read(file).map_err(|source| cannot_read(file, source))?;
        let expanded = meant(&content).map(|line| expand(&line, environment));
        patterns.extend(expanded.map(OsString::from_vec));
    }
    Ok(patterns)
}

/// Puts what the environment says in the place of its names; `$$` is a dollar sign, and a name that
/// is not set stands for nothing.
fn expand(line: &[u8], environment: &Environment) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
        expanded.extend_from_slice(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let (name, length) = variable(rest);
        match name {
            b"" if length == 0 => expanded.push(b'$'),
            b"$" => expanded.push(b'$'),
            name => {
                let value = environment.get(OsStr::from_bytes(name));
                expanded.extend_from_slice(value.map_or(b"", |value| value.as_bytes()));
            }
        }
        rest = &rest[length..];
    }
    expanded.extend_from_slice(rest);
    expanded
}

/// Returns the name that follows a dollar sign, and how many bytes belong to it.
fn variable(rest: &[u8]) -> (&[u8], usize) {
    const SPECIAL: &[u8] = b"*#$@!?-0123456789";
    match rest {
        [b'{', inside @ ..] => match inside.iter().position(|byte| *byte == b'}') {
            Some(end) => (&inside[..end], end + 2),
            None => (b"", 1),
        },
        [first, ..] if SPECIAL.contains(first) => (&rest[..1], 1),
        _ => {
            let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let end = rest.iter().position(|byte| !is_in_name(byte)).unwrap_or(rest.len());
            (&rest[..end], end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_what_the_environment_says() {
        let environment = [("HOME", "/home/a"), ("A_1", "x"), ("1", "one")];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).into();
        for (line, expected) in [
            ("$HOME/b", "/home/a/b"),
            ("${HOME}b", "/home/ab"),
            ("a$$b", "a$b"),
            ("a$", "a$"),
            ("$/b", "$/b"),
            ("$A_1.$NOT_SET.c", "x..c"),
            ("${}b", "b"),
            ("${open", "open"),
            ("$12", "one2"),
        ] {
            let expanded = String::from_utf8(expand(line.as_bytes(), &environment)).unwrap();
            assert_eq!(expanded, expected, "{line}");
        }
    }

    #[test]
    fn comments_space_and_the_marks_of_encodings_are_left_off() {
        let text = |content: &[u8]| -> Vec<String> {
            meant(content).map(|line| String::from_utf8(line).unwrap()).collect()
        };
        assert_eq!(text(b"\xef\xbb\xbf  a b \r\n\n# c\n\td"), ["a b", "d"]);
        assert_eq!(text(b"\xff\xfea\0\n\0b\0"), ["a", "b"]);
        assert_eq!(text(b"\xfe\xff\0a\0\n\0b"), ["a", "b"]);
        assert_eq!(lines(b" a \n\n#b"), [&b" a "[..], b"", b"#b"]);
    }
}
