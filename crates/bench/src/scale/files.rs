//! Any number of small files, in a tree as uploads make one or all in one directory as a mail folder
//! is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lifeboat_testing::interrupt::Interrupt;
use serde::Serialize;

use crate::failure::{BenchError, file};

/// How many files lie in a directory of a tree.
const FILES_PER_DIRECTORY: u64 = 200;

/// How many directories lie in one of a tree.
const DIRECTORIES_PER_DIRECTORY: u64 = 50;

/// How much room a file takes in memory, with what is restored of it and its part of a repository.
pub const ROOM_PER_FILE: u64 = 12_000;

/// How files lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// In directories of directories.
    Tree,
    /// All in one directory.
    Flat,
}

impl Shape {
    /// Returns the path of a file below the root.
    fn path(self, number: u64) -> PathBuf {
        match self {
            Self::Tree => {
                let directory = number / FILES_PER_DIRECTORY;
                let above = directory / DIRECTORIES_PER_DIRECTORY;
                format!("{above:03}/{directory:05}/IMG_{number:07}.txt").into()
            }
            Self::Flat => format!("1767225600.M{number:07}P4242.mail,S=217:2,S").into(),
        }
    }
}

/// Makes files below `root`, each with a content of its own.
pub fn make(
    root: &Path,
    shape: Shape,
    files: u64,
    interrupt: &Interrupt,
) -> Result<(), BenchError> {
    for number in 0..files {
        if number % FILES_PER_DIRECTORY == 0 {
            interrupt.check()?;
        }
        let path = root.join(shape.path(number));
        write(&path, number).map_err(file("write", &path))?;
    }
    Ok(())
}

/// Gives one of the files another content and length.
pub fn change(root: &Path, shape: Shape, files: u64) -> Result<(), BenchError> {
    let path = root.join(shape.path(files / 2));
    write(&path, u64::MAX).map_err(file("write", &path))
}

fn write(path: &Path, number: u64) -> io::Result<()> {
    let mut target = match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().ok_or(error)?)?;
            File::create(path)?
        }
        target => target?,
    };
    let (lines, mut text) = (1 + number % 7, String::new());
    for line in 0..lines {
        text.push_str("message ");
        text.push_str(&number.to_string());
        text.push_str(", line ");
        text.push_str(&line.to_string());
        text.push('\n');
    }
    target.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceiling::walk;

    #[test]
    fn so_many_files_are_made_as_were_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        for (shape, entries) in [(Shape::Tree, 3 + 1 + 401), (Shape::Flat, 401)] {
            let root = directory.path().join(format!("{shape:?}"));
            fs::create_dir(&root).unwrap();
            make(&root, shape, 401, &Interrupt::default()).unwrap();
            let before = walk(&root, 1).unwrap();
            assert_eq!((before.files, before.entries), (401, entries), "{shape:?}");
            change(&root, shape, 401).unwrap();
            let after = walk(&root, 1).unwrap();
            assert_eq!((after.files, after.entries), (401, entries), "{shape:?}");
            assert_ne!(after.bytes, before.bytes, "{shape:?}");
        }
    }
}
