//! SQL that a person wrote, and what a server says to it.
//!
//! Values are text, as the server writes them, since the simple protocol takes several statements at once
//! and knows no other form. Unlike all other sessions this one has the settings of its database and role.

use std::fmt;
use std::ops::ControlFlow;
use std::pin::pin;

use futures::TryStreamExt as _;
use lifeboat_model::{Classify, ErrorKind, Hint};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::server::Server;
use crate::session::Session;

/// How much of a line of SQL an error shows on each side of its place.
const EXCERPT_CHARS: usize = 60;

/// What a server says to some SQL, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The rows that follow have these columns.
    Columns(Vec<String>),
    /// A row; a value that is absent is NULL.
    Row(Vec<Option<String>>),
    /// A statement is done; it gave or changed so many rows.
    Done(u64),
}

/// A session for SQL that a person wrote.
#[derive(Debug)]
pub struct Console {
    session: Session,
}

/// A place in some SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1 on.
    pub line: usize,
    /// The character in it, from 1 on.
    pub column: usize,
    /// What stands around it.
    excerpt: String,
    /// Where in that.
    at: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, excerpt, at } = self;
        let prefix = format!("{line}:{column}: ");
        let width = prefix.chars().count() + at;
        write!(f, "{prefix}{excerpt}\n{:width$}^", "")
    }
}

/// The server did not do what a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code}){}{}", or_nothing(detail.as_ref()), or_nothing(place.as_ref()))]
pub struct SqlError {
    /// The server's word.
    pub message: String,
    /// Its five letters.
    pub code: String,
    /// What it adds.
    pub detail: Option<String>,
    /// What it advises.
    pub advice: Option<String>,
    /// Where in the SQL.
    pub place: Option<Place>,
    kind: ErrorKind,
}

fn or_nothing(text: Option<&impl fmt::Display>) -> String {
    text.map(|text| format!("\n{text}")).unwrap_or_default()
}

impl Classify for SqlError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn hint(&self) -> Option<Hint> {
        self.advice.clone().map(Hint::new)
    }
}

/// Some SQL was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The server says that something is wrong with it.
    #[error(transparent)]
    Sql(#[from] Box<SqlError>),
    /// The server could not be asked.
    #[error(transparent)]
    Server(#[from] PostgresError),
}

impl Classify for ConsoleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sql(error) => error.kind(),
            Self::Server(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Sql(error) => error.hint(),
            Self::Server(error) => error.hint(),
        }
    }
}

impl Console {
    /// Opens a session on a database.
    pub async fn open(server: &Server, database: &DatabaseName) -> Result<Self, PostgresError> {
        let session = server.session(database).await?;
        // What a person writes means what it means in any other session.
        session.run("RESET ALL", || "set up the connection".to_owned()).await?;
        Ok(Self { session })
    }

    /// Runs some SQL, and tells `hear` what the server says until that has heard enough.
    pub async fn run(
        &self,
        sql: &str,
        hear: &mut (dyn FnMut(Said) -> ControlFlow<()> + Send),
    ) -> Result<(), ConsoleError> {
        let failed = |error: tokio_postgres::Error| self.failed(sql, error);
        let said = self.session.client().simple_query_raw(sql).await.map_err(failed)?;
        let mut said = pin!(said);
        while let Some(message) = said.try_next().await.map_err(failed)? {
            let said = match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    Said::Columns(columns.iter().map(|column| column.name().to_owned()).collect())
                }
                SimpleQueryMessage::Row(row) => {
                    let values = (0..row.len()).map(|index| row.try_get(index));
                    let values = values.map(|value| Ok(value.map_err(failed)?.map(str::to_owned)));
                    Said::Row(values.collect::<Result<_, ConsoleError>>()?)
                }
                SimpleQueryMessage::CommandComplete(rows) => Said::Done(rows),
                _ => continue,
            };
            if hear(said).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn failed(&self, sql: &str, error: tokio_postgres::Error) -> ConsoleError {
        match error.as_db_error() {
            Some(told) => Box::new(SqlError::new(told, sql)).into(),
            None => self.session.failed("run the SQL".to_owned(), error).into(),
        }
    }
}

impl SqlError {
    fn new(told: &DbError, sql: &str) -> Self {
        let place = match told.position() {
            Some(ErrorPosition::Original(position)) => Place::find(sql, *position as usize),
            _ => None,
        };
        let kind = match told.code() {
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Denied,
            code if *code == SqlState::QUERY_CANCELED => ErrorKind::Cancelled,
            _ => ErrorKind::Usage,
        };
        Self {
            message: told.message().to_owned(),
            code: told.code().code().to_owned(),
            detail: told.detail().map(str::to_owned),
            advice: told.hint().map(str::to_owned),
            place,
            kind,
        }
    }
}

impl Place {
    /// Finds the character with a number, from 1 on.
    fn find(sql: &str, position: usize) -> Option<Self> {
        let offset = position.checked_sub(1)?;
        let before: String = sql.chars().take(offset).collect();
        (before.chars().count() == offset).then_some(())?;
        let line = before.matches('\n').count();
        let at = before.chars().rev().take_while(|c| *c != '\n').count();
        let text: Vec<char> = sql.split('\n').nth(line)?.chars().collect();
        let (start, end) = (at.saturating_sub(EXCERPT_CHARS), text.len().min(at + EXCERPT_CHARS));
        let visible = |c: &char| if c.is_control() { ' ' } else { *c };
        let excerpt: String = text.get(start..end)?.iter().map(visible).collect();
        Some(Self { line: line + 1, column: at + 1, excerpt, at: at - start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_with_what_is_around_it() {
        let sql = "SELECT 1;\nSELECT \"ä\", wrong\tFROM t";
        let place = Place::find(sql, 23).unwrap();
        assert_eq!((place.line, place.column), (2, 13));
        assert_eq!(place.to_string(), "2:13: SELECT \"ä\", wrong FROM t\n                  ^");
        let end = Place::find(sql, sql.chars().count() + 1).unwrap();
        assert_eq!((end.line, end.column), (2, 25));
        assert_eq!((Place::find(sql, 0), Place::find(sql, 4000)), (None, None));
        let long = format!("SELECT {}, wrong", "x, ".repeat(100));
        let place = Place::find(&long, long.len() - 4).unwrap();
        assert!(place.to_string().lines().next().unwrap().ends_with(", wrong"), "{place}");
        assert!(place.to_string().lines().all(|line| line.chars().count() < 140));
    }
}
