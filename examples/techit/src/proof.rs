//! The proof: what is there after the recovery against what was there before.
//!
//! Neither side is lifeboat's word. Rows are counted and hashed by PostgreSQL, files are read and their metadata asked of
//! the kernel.

use lifeboat_testing::tree::{Aspect, TreeState, capture};
use techit::failure::{StageError, file, not_proven};
use techit::machine::Machine;

use crate::screen;

/// The tables that must not lose a row, and what of them counts: when somebody logged in last changes with each login.
const TABLES: [(&str, &str); 4] = [
    ("users_customuser", "id, username, email, password, avatar"),
    ("orders_order", "*"),
    ("orders_payment", "*"),
    ("tickets_ticket", "*"),
];

/// The files that must not change.
const TREES: [(&str, &str); 3] = [
    ("media", "var/www/techit_solutions/media"),
    ("settings", "var/www/techit_solutions/.env"),
    ("web server", "etc/nginx"),
];

/// How many differences of a folder are named.
const DIFFERENCES_MAX: usize = 10;

/// What a table held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rows {
    count: u64,
    newest: u64,
    checksum: String,
}

/// The platform at one moment.
#[derive(Debug)]
pub struct Record {
    tables: Vec<Rows>,
    trees: Vec<TreeState>,
}

impl Record {
    /// Records everything.
    pub fn take(machine: &Machine) -> Result<Self, StageError> {
        Self::up_to(machine, None)
    }

    /// Records everything that was there before: what came since comes after it.
    pub fn take_again(&self, machine: &Machine) -> Result<Self, StageError> {
        Self::up_to(machine, Some(self))
    }

    fn up_to(machine: &Machine, before: Option<&Self>) -> Result<Self, StageError> {
        let mut tables = Vec::new();
        for (index, (table, columns)) in TABLES.iter().enumerate() {
            let newest =
                before.map_or(i64::MAX.unsigned_abs(), |before| before.tables[index].newest);
            tables.push(rows(machine, table, columns, newest)?);
        }
        let mut trees = Vec::new();
        for (_, path) in TREES {
            let path = machine.at(path);
            trees.push(capture(&path).map_err(file("read", &path))?);
        }
        Ok(Self { tables, trees })
    }

    /// Returns how many rows all tables have.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|rows| rows.count).sum()
    }

    /// Returns how many rows a table has.
    pub fn rows_of(&self, table: &str) -> u64 {
        let index = TABLES.iter().position(|(name, _)| *name == table);
        index.map_or(0, |index| self.tables[index].count)
    }

    /// Returns how many files there are, and how many bytes they have.
    pub fn files(&self) -> (usize, u64) {
        let sizes = self.trees.iter().map(|tree| (tree.file_count(), tree.total_bytes()));
        sizes.fold((0, 0), |(files, bytes), (f, b)| (files + f, bytes + b))
    }

    /// Shows both sides of every table and every folder; fails where they differ.
    pub fn compare(&self, now: &Self) -> Result<(), StageError> {
        let head = ["what", "before", "now", "checksum", "equal"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        let mut differences = Vec::new();
        for ((name, _), (then, now)) in TABLES.iter().zip(self.tables.iter().zip(&now.tables)) {
            if then != now {
                differences.push(format!("{name} had {then:?} and has {now:?}"));
            }
            lines.push(row(name, [then.count, now.count], &now.checksum, then == now));
        }
        for ((name, _), (then, now)) in TREES.iter().zip(self.trees.iter().zip(&now.trees)) {
            // Holes are how a file lies on its disk, not what it is.
            let found = then.differences(now, &[Aspect::Holes]);
            let shown = found.iter().take(DIFFERENCES_MAX);
            differences.extend(shown.map(|found| format!("{name}: {found}")));
            let counts = [then.file_count() as u64, now.file_count() as u64];
            lines.push(row(&format!("{name}, files"), counts, "", found.is_empty()));
        }
        screen::table(&lines);
        if differences.is_empty() { Ok(()) } else { Err(not_proven(differences.join("\n"))) }
    }
}

fn rows(machine: &Machine, table: &str, columns: &str, newest: u64) -> Result<Rows, StageError> {
    let said = machine.sql(&format!(
        "SELECT count(*), coalesce(max(id), 0), md5(coalesce(string_agg(kept::text, E'\\n' ORDER BY id), ''))
         FROM (SELECT {columns} FROM {table} WHERE id <= {newest}) AS kept"
    ))?;
    let mut parts = said.split('|');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    match (number(), number(), said.rsplit('|').next()) {
        (Some(count), Some(newest), Some(sum)) => {
            Ok(Rows { count, newest, checksum: sum.to_owned() })
        }
        _ => Err(not_proven(format!("{table} answers `{said}`"))),
    }
}

fn row(name: &str, [then, now]: [u64; 2], checksum: &str, is_equal: bool) -> Vec<String> {
    let sum = checksum.get(..12).map(|sum| format!("{sum}…")).unwrap_or_default();
    let word = if is_equal { "yes" } else { "NO" };
    vec![name.to_owned(), then.to_string(), now.to_string(), sum, word.to_owned()]
}
