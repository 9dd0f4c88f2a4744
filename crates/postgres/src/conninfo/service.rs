//! Service files: named groups of keywords, `pg_service.conf`.

use std::io;
use std::path::PathBuf;

use super::{Parameters, wrong};
use crate::error::PostgresError;

/// Finds a service in the first file that has it.
pub(super) fn find(name: &str, files: &[PathBuf]) -> Result<Parameters, PostgresError> {
    for path in files {
        let fail = |message: String| PostgresError::File { path: path.clone(), message };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(fail(error.to_string())),
        };
        if let Some(parameters) = section(&text, name).map_err(fail)? {
            return Ok(parameters);
        }
    }
    let looked: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    Err(wrong(format!("no service `{name}` in {}", looked.join(", "))))
}

/// Reads the section `[name]`, if the file has it.
fn section(text: &str, name: &str) -> Result<Option<Parameters>, String> {
    let mut found: Option<Parameters> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_suffix(']') == Some(name) {
                found = Some(Parameters::new());
            }
        } else if let Some(parameters) = &mut found {
            let (keyword, value) = line
                .split_once('=')
                .ok_or_else(|| format!("line {} is not `keyword=value`", number + 1))?;
            parameters.insert(keyword.to_owned(), value.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_the_next() {
        let text = "[a]\nhost=1\n[b]\nhost=2\nuser=x\n[c]\nnonsense\n";
        let found = section(text, "b").unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["host"], "2");
        assert_eq!(section(text, "d").unwrap(), None);
        assert!(section(text, "c").is_err());
    }
}
