//! What a database is beside its contents: encoding, locale, owner, grants, settings, comment.
//!
//! `pg_dump` keeps these in its archive too, but gives them back only into a database of the very name;
//! a restore that builds the new database beside the old one makes them itself.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::error::PostgresError;
use crate::name::{DatabaseName, quote_identifier, quote_literal};
use crate::session::Session;

/// Settings whose value is a list that PostgreSQL has quoted already.
const QUOTED_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Where a database's locale comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocaleProvider {
    /// The system's C library.
    Libc,
    /// ICU.
    Icu,
    /// PostgreSQL itself, from 17 on.
    Builtin,
}

/// What is needed to make a database like the one that was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// The role that owns it.
    pub owner: String,
    /// Its encoding, like `UTF8`.
    pub encoding: String,
    /// How texts are sorted.
    pub collate: String,
    /// How characters are classified.
    pub ctype: String,
    /// Where the locale comes from.
    pub provider: LocaleProvider,
    /// The locale of a provider other than the C library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// How many connections are allowed; −1 is any number.
    pub connection_limit: i64,
    /// The comment on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who may do what with it; `None` is what PostgreSQL grants by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// Settings that hold in it, for one role or for all.
    #[serde(default)]
    pub settings: Vec<Setting>,
}

/// One privilege of one role on the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// Who has it; `None` is everybody.
    pub role: Option<String>,
    /// What it is, like `CONNECT`.
    pub privilege: String,
    /// Whether the role may grant it on.
    pub grantable: bool,
}

/// One setting that holds in the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// For whom; `None` is everybody.
    pub role: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value as PostgreSQL keeps it.
    pub value: String,
}

/// The row of `pg_database`, of which later versions renamed and added columns.
#[derive(Deserialize)]
struct Row {
    datcollate: String,
    datctype: String,
    datconnlimit: i64,
    datlocprovider: Option<String>,
    daticulocale: Option<String>,
    datlocale: Option<String>,
}

impl DatabaseProperties {
    /// Reads them for the database of a session.
    pub(crate) async fn read(session: &Session) -> Result<Self, PostgresError> {
        const READ: &str = "
            SELECT pg_catalog.to_jsonb(d)::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
                   pg_catalog.pg_encoding_to_char(d.encoding)::text,
                   pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL
            FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
        let action = || "tell what its database is".to_owned();
        let row = session.client().query_one(READ, &[]).await;
        let row = row.map_err(|source| session.failed(action(), source))?;
        let columns: Row = serde_json::from_str(row.get(0)).map_err(|error| {
            let database = session.database().to_string();
            PostgresError::Record { database, message: error.to_string() }
        })?;
        let has_grants: bool = row.get(4);
        Ok(Self {
            owner: row.get(1),
            encoding: row.get(2),
            collate: columns.datcollate,
            ctype: columns.datctype,
            provider: match columns.datlocprovider.as_deref() {
                Some("i") => LocaleProvider::Icu,
                Some("b") => LocaleProvider::Builtin,
                _ => LocaleProvider::Libc,
            },
            locale: columns.datlocale.or(columns.daticulocale),
            connection_limit: columns.datconnlimit,
            comment: row.get(3),
            grants: if has_grants { Some(grants(session).await?) } else { None },
            settings: settings(session).await?,
        })
    }

    /// Returns the statement that makes an empty database like this; it runs in no transaction.
    pub(crate) fn create_statement(&self, name: &DatabaseName) -> String {
        let mut sql = format!(
            "CREATE DATABASE {} WITH OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            name.quoted(),
            quote_identifier(&self.owner),
            quote_literal(&self.encoding),
            quote_literal(&self.collate),
            quote_literal(&self.ctype)
        );
        let locale = quote_literal(self.locale.as_deref().unwrap_or_default());
        let provider = match self.provider {
            // The default, and servers before 15 do not know the word.
            LocaleProvider::Libc => String::new(),
            LocaleProvider::Icu => format!(" LOCALE_PROVIDER icu ICU_LOCALE {locale}"),
            LocaleProvider::Builtin => format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}"),
        };
        sql.push_str(&provider);
        sql
    }

    /// Returns the statements that give the new database its grants, settings and comment.
    pub(crate) fn adorn_statements(&self, name: &DatabaseName) -> String {
        let database = name.quoted();
        let mut sql = String::new();
        let mut add = |line: std::fmt::Arguments<'_>| {
            writeln!(sql, "{line};").expect("a string takes whatever is written");
        };
        if self.connection_limit >= 0 {
            add(format_args!(
                "ALTER DATABASE {database} CONNECTION LIMIT {}",
                self.connection_limit
            ));
        }
        if let Some(comment) = &self.comment {
            add(format_args!("COMMENT ON DATABASE {database} IS {}", quote_literal(comment)));
        }
        if let Some(grants) = &self.grants {
            let owner = quote_identifier(&self.owner);
            add(format_args!("REVOKE ALL ON DATABASE {database} FROM PUBLIC, {owner}"));
            for grant in grants {
                let role = grant.role.as_deref();
                let role = role.map_or_else(|| "PUBLIC".to_owned(), quote_identifier);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                let privilege = &grant.privilege;
                add(format_args!("GRANT {privilege} ON DATABASE {database} TO {role}{option}"));
            }
        }
        for setting in &self.settings {
            let Setting { name, value, .. } = setting;
            let is_list = QUOTED_LISTS.contains(&name.as_str());
            let value = if is_list { value.clone() } else { quote_literal(value) };
            let name = name.split('.').map(quote_identifier).collect::<Vec<_>>().join(".");
            let whom = match &setting.role {
                Some(role) => format!("ROLE {} IN DATABASE {database}", quote_identifier(role)),
                None => format!("DATABASE {database}"),
            };
            add(format_args!("ALTER {whom} SET {name} TO {value}"));
        }
        sql
    }
}

async fn grants(session: &Session) -> Result<Vec<Grant>, PostgresError> {
    const READ: &str = "
        SELECT CASE WHEN a.grantee = 0 THEN NULL
                    ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END,
               a.privilege_type, a.is_grantable
        FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(d.datacl) a
        WHERE d.datname = pg_catalog.current_database()";
    let rows = session.client().query(READ, &[]).await;
    let rows = rows.map_err(|source| session.failed("tell its grants".to_owned(), source))?;
    let mut grants: Vec<_> = rows
        .iter()
        .map(|row| Grant { role: row.get(0), privilege: row.get(1), grantable: row.get(2) })
        .collect();
    grants.sort();
    Ok(grants)
}

async fn settings(session: &Session) -> Result<Vec<Setting>, PostgresError> {
    const READ: &str = "
        SELECT CASE WHEN s.setrole = 0 THEN NULL
                    ELSE pg_catalog.pg_get_userbyid(s.setrole)::text END, c.entry
        FROM pg_catalog.pg_db_role_setting s
        JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
        LATERAL pg_catalog.unnest(s.setconfig) AS c(entry)
        WHERE d.datname = pg_catalog.current_database()";
    let rows = session.client().query(READ, &[]).await;
    let rows = rows.map_err(|source| session.failed("tell its settings".to_owned(), source))?;
    let mut settings: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let (name, value) = row.get::<_, &str>(1).split_once('=')?;
            Some(Setting { role: row.get(0), name: name.to_owned(), value: value.to_owned() })
        })
        .collect();
    settings.sort();
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> DatabaseProperties {
        DatabaseProperties {
            owner: "o'x".to_owned(),
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C.UTF-8".to_owned(),
            provider: LocaleProvider::Libc,
            locale: None,
            connection_limit: -1,
            comment: None,
            grants: None,
            settings: Vec::new(),
        }
    }

    #[test]
    fn a_database_is_made_from_the_empty_template() {
        assert_eq!(
            properties().create_statement(&DatabaseName::new("a\"b")),
            "CREATE DATABASE \"a\"\"b\" WITH OWNER \"o'x\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"
        );
    }

    #[test]
    fn a_list_setting_is_not_quoted_again() {
        let setting = |name: &str, value: &str| Setting {
            role: None,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let settings = vec![setting("search_path", "\"a b\", public"), setting("work_mem", "4MB")];
        let sql = DatabaseProperties { settings, ..properties() }
            .adorn_statements(&DatabaseName::new("d"));
        assert_eq!(
            sql,
            "ALTER DATABASE \"d\" SET \"search_path\" TO \"a b\", public;\nALTER DATABASE \"d\" SET \"work_mem\" TO '4MB';\n"
        );
    }
}
