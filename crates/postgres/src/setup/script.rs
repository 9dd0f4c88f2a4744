//! What is done to a server, step by step, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::setting::{SettingName, Takes};
use crate::name::{DatabaseName, quote_literal};

/// Something that becomes different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub what: String,
    /// What it is now; nothing, if it is not there.
    pub from: Option<String>,
    /// What it will be; nothing, if it will not be there.
    pub to: Option<String>,
    /// When it holds.
    pub takes: Takes,
}

/// Something that is done as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// In which database; in the one that is always there, if none is named.
    pub database: Option<DatabaseName>,
    /// By which SQL.
    pub sql: String,
}

/// What is done to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Script {
    /// What becomes different.
    pub changes: Vec<Change>,
    /// By which steps, in this order.
    pub steps: Vec<Step>,
    /// What is worth saying about it.
    pub remarks: Vec<String>,
}

impl Script {
    /// Returns it as `psql` takes it.
    pub fn sql(&self) -> String {
        let mut text = String::new();
        for Step { database, sql } in &self.steps {
            if let Some(database) = database {
                writeln!(text, "\\connect {}", database.quoted())
                    .expect("a string takes whatever is written");
            }
            writeln!(text, "{sql};").expect("a string takes whatever is written");
        }
        text
    }

    pub(super) fn change(&mut self, what: impl Into<String>, from: Option<&str>, to: Option<&str>) {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        self.changes.push(Change { what: what.into(), from, to, takes: Takes::Reload });
    }

    pub(super) fn step(&mut self, sql: impl Into<String>) {
        self.steps.push(Step { database: None, sql: sql.into() });
    }

    /// Adds statements that hold together, and are on the disk before the next step: what they note is about
    /// files that the next step changes, which no crash rolls back.
    pub(super) fn transaction(&mut self, statements: &[String]) {
        let mut sql = "BEGIN;\nSET LOCAL synchronous_commit = on;\n".to_owned();
        for statement in statements {
            writeln!(sql, "{statement};").expect("a string takes whatever is written");
        }
        sql.push_str("COMMIT");
        self.step(sql);
    }

    /// Sets a setting, or leaves it to the other files.
    pub(super) fn set(&mut self, name: SettingName, from: &str, to: Option<&str>, below: &str) {
        self.changes.push(Change {
            what: name.to_string(),
            from: Some(from.to_owned()),
            to: Some(to.unwrap_or(below).to_owned()),
            takes: name.takes(),
        });
        match to {
            Some(value) => {
                self.step(format!("ALTER SYSTEM SET {name} = {}", quote_literal(value)));
            }
            None => self.step(format!("ALTER SYSTEM RESET {name}")),
        }
    }
}
