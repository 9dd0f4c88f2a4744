//! The project's own sources and documents, as the tests of its shape read them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Rust sources are.
const SOURCE_ROOTS: [&str; 3] = ["crates", "examples", "fuzz"];

/// One source file.
pub struct Source {
    /// Its path from the project's root.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Returns the text before its tests.
    pub fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }
}

/// Returns the project's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).expect("this crate lies two levels below the root");
    root.to_owned()
}

/// Returns all Rust sources, sorted by name.
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    let mut waiting: Vec<_> = SOURCE_ROOTS.iter().map(|name| root.join(name)).collect();
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("the project's folders can be read").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("it lies below").display().to_string();
                let text = fs::read_to_string(&path).expect("a source is text");
                sources.push(Source { name, text });
            }
        }
    }
    assert!(!sources.is_empty(), "no sources below {}", root.display());
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}
