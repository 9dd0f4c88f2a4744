//! What the role may do, and which of it a backup needs.
//!
//! Each right stands for what the code calls: [`crate::base::Window`] starts and stops a backup, ends a
//! segment and asks where files are, which only those see who may read all settings; a dump and the
//! record of its rows read every table, and rows that a policy hides must not be missing. A checkpoint
//! is part of starting a backup, and restore points are made by the administrator alone, so neither is
//! granted.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{DatabaseName, quote_identifier, quote_literal};

/// The version from which on starting and stopping a backup have their present names.
const RENAMED: u32 = 15;

/// The version from which on one right reads all tables.
const READS_ALL: u32 = 14;

/// Something that a role may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Connecting at all.
    Login,
    /// Connecting to a database.
    Connect(DatabaseName),
    /// What the members of one of the server's own roles may.
    Member(String),
    /// Calling a function of the system catalog.
    Execute(String),
    /// Reading rows that a policy hides.
    BypassRls,
}

/// What is taken of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its files, and their log.
    pub files: bool,
    /// Dumps of a database.
    pub dumps: bool,
}

/// Returns the rights that suffice.
pub fn rights(
    major: u32,
    taken: Taken,
    database: &DatabaseName,
    maintenance: &DatabaseName,
) -> BTreeSet<Right> {
    let mut rights = BTreeSet::from([
        Right::Login,
        Right::Connect(database.clone()),
        Right::Connect(maintenance.clone()),
    ]);
    if taken.files {
        let functions = if major >= RENAMED {
            ["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)", "pg_switch_wal()"]
        } else {
            [
                "pg_start_backup(text, boolean, boolean)",
                "pg_stop_backup(boolean, boolean)",
                "pg_switch_wal()",
            ]
        };
        rights.extend(functions.map(|name| Right::Execute(name.to_owned())));
        rights.insert(Right::Member("pg_read_all_settings".to_owned()));
    }
    if taken.dumps {
        rights.insert(Right::BypassRls);
        if major >= READS_ALL {
            rights.insert(Right::Member("pg_read_all_data".to_owned()));
        }
    }
    rights
}

/// Tells whether a server has a right by which a role reads all tables.
pub(super) const fn can_read_all(major: u32) -> bool {
    major >= READS_ALL
}

impl Right {
    /// Returns the statement that grants it.
    pub fn grant(&self, role: &str) -> String {
        let role = quote_identifier(role);
        match self {
            Self::Login => format!("ALTER ROLE {role} LOGIN"),
            Self::BypassRls => format!("ALTER ROLE {role} BYPASSRLS"),
            Self::Connect(database) => {
                format!("GRANT CONNECT ON DATABASE {} TO {role}", database.quoted())
            }
            Self::Member(group) => format!("GRANT {} TO {role}", quote_identifier(group)),
            Self::Execute(function) => {
                format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role}")
            }
        }
    }

    /// Returns the statement that takes it back.
    pub fn revoke(&self, role: &str) -> String {
        let role = quote_identifier(role);
        match self {
            Self::Login => format!("ALTER ROLE {role} NOLOGIN"),
            Self::BypassRls => format!("ALTER ROLE {role} NOBYPASSRLS"),
            Self::Connect(database) => {
                format!("REVOKE CONNECT ON DATABASE {} FROM {role}", database.quoted())
            }
            Self::Member(group) => format!("REVOKE {} FROM {role}", quote_identifier(group)),
            Self::Execute(function) => {
                format!("REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM {role}")
            }
        }
    }

    /// Returns an expression over a row `r` of `pg_roles` that tells whether the role has it.
    ///
    /// A function that is not there at all counts as one that may not be called.
    pub(super) fn is_held(&self) -> String {
        match self {
            Self::Login => "r.rolcanlogin".to_owned(),
            Self::BypassRls => "(r.rolbypassrls OR r.rolsuper)".to_owned(),
            Self::Connect(database) => format!(
                "coalesce((SELECT pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')
                           FROM pg_catalog.pg_database d WHERE d.datname = {}), false)",
                quote_literal(database.as_str())
            ),
            Self::Member(group) => format!(
                "coalesce((SELECT pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')
                           FROM pg_catalog.pg_roles g WHERE g.rolname = {}), false)",
                quote_literal(group)
            ),
            Self::Execute(function) => format!(
                "coalesce(pg_catalog.has_function_privilege(r.oid,
                     pg_catalog.to_regprocedure({}), 'EXECUTE'), false)",
                quote_literal(&format!("pg_catalog.{function}"))
            ),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => write!(f, "LOGIN"),
            Self::BypassRls => write!(f, "BYPASSRLS"),
            Self::Connect(database) => write!(f, "CONNECT on database {database}"),
            Self::Member(group) => write!(f, "{group}"),
            Self::Execute(function) => write!(f, "EXECUTE on {function}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_taken_is_granted() {
        let name = DatabaseName::new;
        let of = |major, files, dumps| {
            let taken = Taken { files, dumps };
            rights(major, taken, &name("shop"), &name("postgres"))
        };
        let text = |rights: BTreeSet<Right>| {
            rights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            text(of(18, true, false)),
            "LOGIN; CONNECT on database postgres; CONNECT on database shop; pg_read_all_settings; \
             EXECUTE on pg_backup_start(text, boolean); EXECUTE on pg_backup_stop(boolean); \
             EXECUTE on pg_switch_wal()"
        );
        assert_eq!(
            text(of(15, false, true)),
            "LOGIN; CONNECT on database postgres; CONNECT on database shop; pg_read_all_data; BYPASSRLS"
        );
        assert!(text(of(14, true, false)).contains("pg_start_backup(text, boolean, boolean)"));
        assert!(!text(of(13, false, true)).contains("pg_read_all_data"));
    }

    #[test]
    fn names_are_quoted() {
        let right = Right::Connect(DatabaseName::new("a\"b"));
        assert_eq!(right.grant("x y"), r#"GRANT CONNECT ON DATABASE "a""b" TO "x y""#);
        assert_eq!(right.revoke("x y"), r#"REVOKE CONNECT ON DATABASE "a""b" FROM "x y""#);
    }
}
