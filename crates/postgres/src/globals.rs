//! What a cluster's databases share: roles with their passwords, memberships, tablespaces.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Stdio;

use crate::beside::Tablespaces;
use crate::error::PostgresError;
use crate::process::ToolProcess;
use crate::server::Server;
use crate::tools::Tool;

/// The most that a globals file may have: tens of thousands of roles fit, a mistaken file does not.
const SQL_BYTES_MAX: u64 = 64 << 20;

/// The script that makes a cluster's roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globals {
    /// What `pg_dumpall --globals-only` wrote.
    pub sql: Vec<u8>,
    /// Whether the roles' password hashes are in it; only a superuser may read them.
    pub has_passwords: bool,
}

/// What applying globals did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedGlobals {
    /// Roles that were made.
    pub created: Vec<String>,
    /// Roles that were there and were left as they are.
    pub kept: Vec<String>,
    /// Statements that failed, with the server's word.
    pub failed: Vec<String>,
}

impl Globals {
    /// Dumps them, without passwords where this role may not read those.
    pub fn dump(server: &Server) -> Result<Self, PostgresError> {
        match run(server, &[]) {
            Ok(sql) => Ok(Self { sql, has_passwords: true }),
            Err(PostgresError::ToolFailed { message, .. })
                if message.contains("permission denied") =>
            {
                let sql = run(server, &["--no-role-passwords"])?;
                Ok(Self { sql, has_passwords: false })
            }
            Err(error) => Err(error),
        }
    }
}

fn run(server: &Server, extra: &[&str]) -> Result<Vec<u8>, PostgresError> {
    let conninfo = server.conninfo();
    let mut command = server.tools()?.command(Tool::DumpAll, server.environment());
    command
        .args(["--globals-only", "--no-password"])
        .args(extra)
        .arg(format!("--dbname={}", conninfo.argument()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(password) = conninfo.password()? {
        command.env("PGPASSWORD", password.expose());
    }
    server.identity().apply(&mut command);
    let mut process = ToolProcess::spawn(Tool::DumpAll, &mut command)?;
    let stdout = process.child().stdout.take().expect("standard output was piped");
    let mut sql = Vec::new();
    stdout
        .take(SQL_BYTES_MAX)
        .read_to_end(&mut sql)
        .map_err(|source| PostgresError::ToolRun { tool: Tool::DumpAll, source })?;
    process.wait()?;
    Ok(sql)
}

/// Makes the roles that are not there yet.
///
/// A role that is there stays as it is, since its password may have been changed since the backup. What
/// fails (a tablespace whose folder is gone, an option that this server does not know) is named and does
/// not stop the rest: the load that follows fails by itself when something is truly missing.
pub async fn apply(
    server: &Server,
    sql: &str,
    tablespaces: Tablespaces,
) -> Result<AppliedGlobals, PostgresError> {
    const ROLES: &str = "SELECT rolname::text FROM pg_catalog.pg_roles";
    let session = server.maintenance_session().await?;
    let rows = session.client().query(ROLES, &[]).await;
    let rows = rows.map_err(|source| session.failed("list its roles".to_owned(), source))?;
    let existing: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut applied = AppliedGlobals::default();
    let left_out =
        |statement: &String| tablespaces == Tablespaces::LeftOut && is_of_tablespace(statement);
    for statement in statements(sql).into_iter().filter(|statement| !left_out(statement)) {
        let known = role_of(&statement).filter(|role| existing.contains(role));
        if let Some(role) = known {
            if statement.starts_with(CREATE_ROLE) {
                applied.kept.push(role);
            }
            continue;
        }
        match session.client().batch_execute(&statement).await {
            Ok(()) if statement.starts_with(CREATE_ROLE) => {
                applied.created.extend(role_of(&statement));
            }
            Ok(()) => {}
            Err(error) if error.as_db_error().is_some() => {
                let word = error.as_db_error().map_or("", |word| word.message());
                applied.failed.push(format!("{}: {word}", without_password(&statement)));
            }
            Err(source) => return Err(session.failed("make its roles".to_owned(), source)),
        }
    }
    Ok(applied)
}

const CREATE_ROLE: &str = "CREATE ROLE ";
const ALTER_ROLE: &str = "ALTER ROLE ";

/// Tells whether a statement makes a tablespace or changes one.
fn is_of_tablespace(statement: &str) -> bool {
    // A name in quotes may hold anything, but stands behind these words.
    const SUBJECTS: [&str; 3] =
        ["CREATE TABLESPACE ", "ALTER TABLESPACE ", "COMMENT ON TABLESPACE "];
    const RIGHTS: [&str; 2] = ["GRANT ", "REVOKE "];
    let begins = |words: &[&str]| words.iter().any(|word| statement.starts_with(word));
    begins(&SUBJECTS) || (begins(&RIGHTS) && statement.contains(" ON TABLESPACE "))
}

/// Parts the script into statements; `pg_dumpall` ends each with a semicolon at a line's end.
fn statements(sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    for line in sql.lines() {
        // Between statements stand comments and psql's own commands, like `\restrict`.
        if current.is_empty()
            && (line.is_empty() || line.starts_with("--") || line.starts_with('\\'))
        {
            continue;
        }
        current.push_str(line);
        if line.ends_with(';') && quotes_are_closed(&current) {
            all.push(std::mem::take(&mut current));
        } else {
            current.push('\n');
        }
    }
    all
}

fn quotes_are_closed(statement: &str) -> bool {
    let (mut single, mut double) = (false, false);
    for character in statement.chars() {
        match character {
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            _ => {}
        }
    }
    !single && !double
}

/// Returns the role that a statement makes or changes.
fn role_of(statement: &str) -> Option<String> {
    let rest = [CREATE_ROLE, ALTER_ROLE].iter().find_map(|start| statement.strip_prefix(start))?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([' ', ';']).unwrap_or(rest.len());
        return Some(rest[..end].to_owned());
    };
    let mut name = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => return Some(name),
            other => name.push(other),
        }
    }
    None
}

/// Cuts a statement before a password's hash.
fn without_password(statement: &str) -> &str {
    statement.find(" PASSWORD ").map_or(statement, |at| &statement[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_script_makes_the_parsers_panic(script in "(CREATE ROLE |ALTER ROLE |[\"';\n]|.)*") {
            for statement in statements(&script) {
                role_of(&statement);
                without_password(&statement);
            }
        }
    }

    #[test]
    fn a_script_is_parted_into_statements() {
        let script = "--\n-- PostgreSQL database cluster dump\n\\restrict abc\n\nSET x = on;\nCREATE ROLE a;\nCOMMENT ON ROLE a IS 'one;\n-- two;\nthree';\n\\unrestrict abc\n";
        assert_eq!(
            statements(script),
            ["SET x = on;", "CREATE ROLE a;", "COMMENT ON ROLE a IS 'one;\n-- two;\nthree';"]
        );
    }

    #[test]
    fn the_role_of_a_statement_is_found() {
        assert_eq!(role_of("CREATE ROLE app;").as_deref(), Some("app"));
        assert_eq!(
            role_of(r#"ALTER ROLE "o""x y" WITH LOGIN PASSWORD 'z';"#).as_deref(),
            Some(r#"o"x y"#)
        );
        assert_eq!(role_of("GRANT a TO b;"), None);
    }

    #[test]
    fn statements_about_tablespaces_are_told_from_others() {
        for (statement, is_one) in [
            ("CREATE TABLESPACE fast OWNER app LOCATION '/srv/fast';", true),
            ("ALTER TABLESPACE fast SET (random_page_cost=1);", true),
            ("GRANT CREATE ON TABLESPACE fast TO app;", true),
            ("COMMENT ON TABLESPACE fast IS 'disk';", true),
            ("CREATE ROLE tablespace;", false),
            ("GRANT a TO b;", false),
            ("ALTER ROLE app SET default_tablespace TO 'fast';", false),
        ] {
            assert_eq!(is_of_tablespace(statement), is_one, "{statement}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        assert_eq!(
            without_password("ALTER ROLE a WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';"),
            "ALTER ROLE a WITH LOGIN"
        );
    }
}
