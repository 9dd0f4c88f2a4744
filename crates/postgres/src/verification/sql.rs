//! A question of the plan, asked as the application asks: as its role, with that role's own settings, so that a
//! grant which lacks shows. It is asked in a transaction that may only read, and for a bounded time.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_identifier};
use crate::server::Server;
use crate::session::Session;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There was a row; this is its first value, if it is not null.
    Value(Option<String>),
    /// There was no row.
    Nothing,
    /// The server refused the question, in these words: a table, a right or a role is missing, data are damaged.
    Refused(String),
    /// The question could not be asked, so nothing is known: it took too long, it is no SQL, it wants to write.
    NotAsked(String),
}

/// How a role can be taken on.
enum RoleState {
    LogsIn,
    IsTakenOn,
    Missing,
}

/// Asks a question; `superuser` connects as who may do everything, `connect` as a role.
///
/// # Errors
///
/// Where the server does not answer.
pub async fn ask(
    superuser: &Server,
    connect: impl AsyncFn(&str) -> Result<Server, PostgresError>,
    (database, role): (&DatabaseName, Option<&str>),
    sql: &str,
    limit: Duration,
) -> Result<Answer, PostgresError> {
    let Some(role) = role else {
        return judged(superuser.session_as_it_is(database).await, sql, limit).await;
    };
    match role_state(superuser, role).await? {
        RoleState::Missing => Ok(Answer::Refused(format!("role \"{role}\" does not exist"))),
        RoleState::LogsIn => match connect(role).await {
            Ok(server) => judged(server.session_as_it_is(database).await, sql, limit).await,
            Err(error) => judged(Err(error), sql, limit).await,
        },
        // A role that others take on, which nobody logs in as.
        RoleState::IsTakenOn => {
            let session = superuser.session_as_it_is(database).await;
            if let Ok(session) = &session {
                let sql = format!("SET SESSION ROLE {}", quote_identifier(role));
                session.run(&sql, || format!("take on the role {role}")).await?;
            }
            judged(session, sql, limit).await
        }
    }
}

async fn role_state(server: &Server, role: &str) -> Result<RoleState, PostgresError> {
    const LOGS_IN: &str = "SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1";
    let session = server.maintenance_session().await?;
    let row = session.client().query_opt(LOGS_IN, &[&role]).await;
    let row = row.map_err(|source| session.failed(format!("find the role {role}"), source))?;
    Ok(match row.map(|row| row.get(0)) {
        None => RoleState::Missing,
        Some(true) => RoleState::LogsIn,
        Some(false) => RoleState::IsTakenOn,
    })
}

/// Asks on a session, and tells apart what a failure says.
async fn judged(
    session: Result<Session, PostgresError>,
    sql: &str,
    limit: Duration,
) -> Result<Answer, PostgresError> {
    let session = match session {
        Ok(session) => session,
        Err(PostgresError::NoDatabase { database, .. }) => {
            return Ok(Answer::Refused(format!("database \"{database}\" does not exist")));
        }
        Err(PostgresError::Refused { source, .. }) => return Ok(Answer::Refused(said(&source))),
        Err(error) => return Err(error),
    };
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", limit.as_millis());
    session.run(&begin, || "begin to ask".to_owned()).await?;
    match session.client().simple_query(sql).await {
        Ok(messages) => Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some(Answer::Value(row.try_get(0).ok().flatten().map(str::to_owned)))
                }
                _ => None,
            })
            .unwrap_or(Answer::Nothing)),
        Err(source) => match source.code() {
            Some(code) if says_nothing(code) => Ok(Answer::NotAsked(said(&source))),
            Some(_) => Ok(Answer::Refused(said(&source))),
            None => Err(session.failed("answer a check of the plan".to_owned(), source)),
        },
    }
}

/// Tells whether a failure says nothing of the data: it lies in the question, or in the server's surroundings.
pub(super) fn says_nothing(code: &SqlState) -> bool {
    let is_of_question = [
        SqlState::SYNTAX_ERROR,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    // Connections, resources, the operator: classes 08, 53, 57 and 58.
    let classes = ["08", "53", "57", "58"];
    is_of_question.contains(code) || classes.iter().any(|class| code.code().starts_with(class))
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_question_says_nothing_of_the_data() {
        for (code, expected) in [
            ("42601", true),
            ("25006", true),
            ("57014", true),
            ("55P03", true),
            ("57P01", true),
            ("53200", true),
            ("08006", true),
            ("58030", true),
            ("42P01", false),
            ("42501", false),
            ("42703", false),
            ("XX001", false),
            ("22012", false),
        ] {
            assert_eq!(says_nothing(&SqlState::from_code(code)), expected, "{code}");
        }
    }
}
