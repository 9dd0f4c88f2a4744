//! The proof: what is there after the recovery against what was there a second before the disaster.
//!
//! Neither side is lifeboat's word. Tables are counted and hashed by PostgreSQL, files are read and
//! their metadata asked of the kernel.

use std::path::PathBuf;

use lifeboat_testing::tree::{Aspect, TreeState, capture};

use crate::failure::{DemoError, file};
use crate::folder::Folder;
use crate::platform::Platform;
use crate::screen;
use crate::tables::{self, Tables};

/// The platform at one moment.
#[derive(Debug)]
pub struct Record {
    tables: Tables,
    trees: Vec<(&'static str, PathBuf, TreeState)>,
}

impl Record {
    /// Records everything.
    pub fn take(platform: &Platform, folder: &Folder) -> Result<Self, DemoError> {
        let places = [
            ("media", folder.media()),
            ("configuration", folder.settings()),
            ("configuration", folder.nginx()),
            ("certificates", folder.certificates()),
            ("logs", folder.logs()),
        ];
        let mut trees = Vec::new();
        for (asset, path) in places {
            let state = capture(&path).map_err(file("read", &path))?;
            trees.push((asset, path, state));
        }
        Ok(Self { tables: tables::read(platform.cluster())?, trees })
    }

    /// Returns how many rows all tables have.
    pub fn rows(&self) -> u64 {
        tables::total_rows(&self.tables)
    }

    /// Returns how many files there are, and how many bytes they have.
    pub fn files(&self) -> (usize, u64) {
        let sizes = self.trees.iter().map(|(_, _, tree)| (tree.file_count(), tree.total_bytes()));
        sizes.fold((0, 0), |(files, bytes), (f, b)| (files + f, bytes + b))
    }

    /// Shows both sides of every table and every asset; fails where they differ.
    pub fn compare(&self, now: &Self) -> Result<(), DemoError> {
        let mut differences = Vec::new();
        screen::table(&self.table_rows(now, &mut differences));
        screen::say("");
        screen::table(&self.tree_rows(now, &mut differences));
        if differences.is_empty() {
            return Ok(());
        }
        Err(DemoError::NotProven { what: differences.join("\n") })
    }

    fn table_rows(&self, now: &Self, differences: &mut Vec<String>) -> Vec<Vec<String>> {
        let mut rows = vec![head(&["table", "rows then", "rows now", "checksum", "equal"])];
        for (name, then) in &self.tables {
            let Some(now) = now.tables.get(name) else {
                differences.push(format!("the table {name} is missing"));
                continue;
            };
            if then != now {
                differences.push(format!(
                    "{name} has {} rows with checksum {}, expected {} with {}",
                    now.rows, now.checksum, then.rows, then.checksum
                ));
            }
            rows.push(vec![
                (*name).to_owned(),
                then.rows.to_string(),
                now.rows.to_string(),
                now.checksum[..12].to_owned() + "…",
                yes(then == now),
            ]);
        }
        rows
    }

    fn tree_rows(&self, now: &Self, differences: &mut Vec<String>) -> Vec<Vec<String>> {
        const DIFFERENCES_SHOWN_MAX: usize = 10;
        let mut rows = vec![head(&["files", "then", "now", "content, owner, mode, times equal"])];
        for ((asset, path, then), (_, _, now)) in self.trees.iter().zip(&now.trees) {
            // Holes are how a file lies on its disk, not what it is.
            let found = then.differences(now, &[Aspect::Holes]);
            let shown = found.iter().take(DIFFERENCES_SHOWN_MAX);
            differences.extend(shown.map(|found| format!("{}: {found}", path.display())));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = if *asset == name { name.into_owned() } else { format!("{asset}: {name}") };
            rows.push(vec![
                name,
                then.file_count().to_string(),
                now.file_count().to_string(),
                yes(found.is_empty()),
            ]);
        }
        rows
    }
}

fn head(titles: &[&str]) -> Vec<String> {
    titles.iter().map(|title| (*title).to_owned()).collect()
}

fn yes(holds: bool) -> String {
    if holds { "yes" } else { "NO" }.to_owned()
}
