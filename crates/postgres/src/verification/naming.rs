//! The relations that files belong to, by their names, as a running server tells them.

use std::path::Path;

use crate::base::relation::RelationName;
use crate::error::PostgresError;
use crate::name::DatabaseName;
use crate::server::Server;

/// Returns the relation that a file below the data directory belongs to, like `public.users in shop`; none
/// where it belongs to none, or to a database that cannot be connected to.
pub async fn relation_of(server: &Server, path: &Path) -> Result<Option<String>, PostgresError> {
    const NAME: &str = "SELECT pg_catalog.pg_filenode_relation($1, $2)::pg_catalog.regclass::text";
    let Some(Place { tablespace, database, number }) = Place::of(path) else { return Ok(None) };
    let database = match database {
        Some(oid) => database_name(server, oid).await?,
        None => Some(server.database()),
    };
    let Some(database) = database else { return Ok(None) };
    let session = server.session(&database).await?;
    let row = session.client().query_one(NAME, &[&tablespace, &number]).await;
    let row = row.map_err(|source| session.failed("name a relation".to_owned(), source))?;
    Ok(row.get::<_, Option<String>>(0).map(|name| format!("{name} in {database}")))
}

async fn database_name(server: &Server, oid: u32) -> Result<Option<DatabaseName>, PostgresError> {
    const NAME: &str =
        "SELECT datname::text FROM pg_catalog.pg_database WHERE oid = $1 AND datallowconn";
    let session = server.maintenance_session().await?;
    let row = session.client().query_opt(NAME, &[&oid]).await;
    let row = row.map_err(|source| session.failed("name a database".to_owned(), source))?;
    Ok(row.map(|row| DatabaseName::new(row.get::<_, String>(0))))
}

/// Where a file lies, in the server's numbers.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// 0 for the one that a database has by default.
    tablespace: u32,
    /// None for what all databases share.
    database: Option<u32>,
    number: u32,
}

/// The tablespace of what all databases share (`GLOBALTABLESPACE_OID`).
const SHARED: u32 = 1664;

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let names: Vec<&str> = path.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        let (folder, name) = names.split_at(names.len().checked_sub(1)?);
        let RelationName::Relation(file) = RelationName::parse(name[0]) else { return None };
        let (tablespace, database) = match folder {
            ["global"] => (SHARED, None),
            ["base", database] => (0, Some(database.parse().ok()?)),
            ["pg_tblspc", tablespace, _, database] => {
                (tablespace.parse().ok()?, Some(database.parse().ok()?))
            }
            _ => return None,
        };
        Some(Self { tablespace, database, number: file.number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_where_it_lies() {
        let place = |path: &str| {
            let place = Place::of(Path::new(path));
            place.map(|place| (place.tablespace, place.database, place.number))
        };
        assert_eq!(place("base/5/16384.2"), Some((0, Some(5), 16384)));
        assert_eq!(place("global/1262_fsm"), Some((1664, None, 1262)));
        assert_eq!(place("pg_tblspc/16400/PG_15_202209061/5/16401"), Some((16400, Some(5), 16401)));
        for path in ["global/pg_control", "base/x/1", "pg_xact/0000", "PG_VERSION", ""] {
            assert_eq!(place(path), None, "{path}");
        }
    }
}
