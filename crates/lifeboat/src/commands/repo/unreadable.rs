//! Directories that a command could not look into, and so left out of its answer.

use std::fmt;

use lifeboat_model::Exit;
use lifeboat_repository::check::explain;
use lifeboat_repository::forest::Unreadable;
use serde::Serialize;

use crate::render::{Page, ShownPath};

/// A directory that is missing from an answer.
#[derive(Debug, Serialize)]
pub struct Unread {
    path: ShownPath,
    problem: String,
}

/// Prepares them for an answer.
pub fn shown(unreadable: Vec<Unreadable>) -> Vec<Unread> {
    let shown =
        |Unreadable { path, error }| Unread { path: ShownPath(path), problem: explain(&error) };
    unreadable.into_iter().map(shown).collect()
}

/// Names them.
pub fn write(unreadable: &[Unread], page: &mut Page) -> fmt::Result {
    let word = page.paint.bad("not looked into");
    page.lines(unreadable, 0, |Unread { path, problem }| format!("{word}: {path}: {problem}"))
}

/// Returns how the command ends: an answer that lacks something is incomplete.
pub const fn exit(unreadable: &[Unread]) -> Exit {
    if unreadable.is_empty() { Exit::Done } else { Exit::Incomplete }
}
