//! A PostgreSQL server that was reached, what it says of itself, and sessions on it.

use lifeboat_model::{Lsn, Timestamp};
use tokio_postgres::error::SqlState;

use crate::conninfo::Conninfo;
use crate::environment::ClientEnvironment;
use crate::error::PostgresError;
use crate::identity::{self, Identity};
use crate::name::DatabaseName;
use crate::session::Session;
use crate::tools::Tools;

/// The oldest major version whose words lifeboat speaks (`DROP DATABASE … WITH (FORCE)` came then).
pub const OLDEST_MAJOR: u32 = 13;

/// Databases that are there on an ordinary server, to connect to when the wanted one is not.
const MAINTENANCE_DATABASES: [&str; 2] = ["postgres", "template1"];

/// A server's version as a number, like 150008 for 15.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub u32);

impl ServerVersion {
    /// Returns the major version.
    pub const fn major(self) -> u32 {
        self.0 / 10_000
    }
}

impl std::fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

/// What a server says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: ServerVersion,
    /// The number that a cluster gets when it is made, unless this role may not see it.
    pub system_identifier: Option<u64>,
    /// Where its data is on its host, unless this role may not see it.
    pub data_directory: Option<String>,
    /// Its clock.
    pub now: Timestamp,
    /// Where its log ends: written on a primary, replayed on a standby.
    pub lsn: Option<Lsn>,
    /// Whether it is a standby or still recovers.
    pub in_recovery: bool,
}

/// A server that was reached.
#[derive(Debug, Clone)]
pub struct Server {
    conninfo: Conninfo,
    environment: ClientEnvironment,
    identity: Identity,
    version: ServerVersion,
}

impl Server {
    /// Connects once, and finds out as whom ([`crate::identity`]) and to which version.
    pub async fn connect(
        conninfo: &Conninfo,
        environment: &ClientEnvironment,
    ) -> Result<Self, PostgresError> {
        let (conninfo, identity, session) = reach(conninfo).await?;
        let version = version(&session).await?;
        if version.major() < OLDEST_MAJOR {
            let address = conninfo.address();
            return Err(PostgresError::TooOld { address, major: version.major() });
        }
        Ok(Self { conninfo, environment: environment.clone(), identity, version })
    }

    /// Connects like [`connect`](Self::connect), also when the database itself is not there.
    ///
    /// The server still remembers the database that was named: what is restored takes its place.
    pub async fn connect_without_database(
        conninfo: &Conninfo,
        environment: &ClientEnvironment,
    ) -> Result<Self, PostgresError> {
        let missing = match Self::connect(conninfo, environment).await {
            Err(error @ PostgresError::NoDatabase { .. }) => error,
            other => return other,
        };
        for database in MAINTENANCE_DATABASES {
            let there = conninfo.with_database(&DatabaseName::new(database));
            match Self::connect(&there, environment).await {
                Err(PostgresError::NoDatabase { .. }) => {}
                Err(other) => return Err(other),
                Ok(mut server) => {
                    let wanted = conninfo.get("dbname").map(DatabaseName::new);
                    let wanted = wanted.unwrap_or_else(|| conninfo.database());
                    server.conninfo = server.conninfo.with_database(&wanted);
                    return Ok(server);
                }
            }
        }
        Err(missing)
    }

    /// Returns the server's version.
    pub const fn version(&self) -> ServerVersion {
        self.version
    }

    /// Returns the database that `connect` names.
    pub fn database(&self) -> DatabaseName {
        self.conninfo.database()
    }

    /// Returns the role that connects.
    pub fn role(&self) -> Option<&str> {
        self.conninfo.role()
    }

    /// Returns where the server is, as a person calls it.
    pub fn address(&self) -> String {
        self.conninfo.address()
    }

    /// Returns as whom connections are made and programs run.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Finds the client programs of the server's own version.
    pub fn tools(&self) -> Result<Tools, PostgresError> {
        Tools::find(self.version.major(), &self.environment)
    }

    /// Returns what libpq would read from the surroundings.
    pub(crate) const fn environment(&self) -> &ClientEnvironment {
        &self.environment
    }

    pub(crate) const fn conninfo(&self) -> &Conninfo {
        &self.conninfo
    }

    /// Opens a session on a database.
    pub(crate) async fn session(&self, database: &DatabaseName) -> Result<Session, PostgresError> {
        Session::open(&self.conninfo.with_database(database), &self.identity).await
    }

    /// Opens a session on a database, with the settings that the role has there.
    pub(crate) async fn session_as_it_is(
        &self,
        database: &DatabaseName,
    ) -> Result<Session, PostgresError> {
        Session::open_as_it_is(&self.conninfo.with_database(database), &self.identity).await
    }

    /// Opens a session on a database that is always there.
    pub(crate) async fn maintenance_session(&self) -> Result<Session, PostgresError> {
        let mut result = self.session(&DatabaseName::new(MAINTENANCE_DATABASES[0])).await;
        if matches!(result, Err(PostgresError::NoDatabase { .. })) {
            result = self.session(&DatabaseName::new(MAINTENANCE_DATABASES[1])).await;
        }
        result
    }

    /// Returns the database that is always there, in which the functions of a backup are called.
    pub async fn maintenance_database(&self) -> Result<DatabaseName, PostgresError> {
        Ok(self.maintenance_session().await?.database().clone())
    }

    /// Opens a session on a database that is always there and is not this one: who renames a database,
    /// or sends everybody out of it, must not be connected to it.
    pub(crate) async fn session_outside(
        &self,
        database: &DatabaseName,
    ) -> Result<Session, PostgresError> {
        let [usual, other] = MAINTENANCE_DATABASES.map(DatabaseName::new);
        if *database == usual {
            self.session(&other).await
        } else {
            self.maintenance_session().await
        }
    }

    /// Asks the server about itself.
    pub async fn facts(&self) -> Result<Facts, PostgresError> {
        let session = match self.session(&self.database()).await {
            Err(PostgresError::NoDatabase { .. }) => self.maintenance_session().await?,
            other => other?,
        };
        let (now, lsn, in_recovery) = moment(&session).await?;
        Ok(Facts {
            version: self.version,
            system_identifier: unless_denied(
                &session,
                "SELECT system_identifier FROM pg_catalog.pg_control_system()",
            )
            .await?
            .map(|number: i64| number.cast_unsigned()),
            data_directory: unless_denied(
                &session,
                "SELECT pg_catalog.current_setting('data_directory')",
            )
            .await?,
            now,
            lsn,
            in_recovery,
        })
    }

    /// Returns the number that the cluster shares with its copies and with no other.
    pub async fn system_id(&self) -> Result<u64, PostgresError> {
        const ASK: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
        let session = self.maintenance_session().await?;
        let row = session.client().query_one(ASK, &[]).await;
        let row = row.map_err(|source| session.failed("tell its system id".to_owned(), source))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    /// Has the server write out all that it holds in memory.
    pub async fn write_out(&self) -> Result<(), PostgresError> {
        let session = self.maintenance_session().await?;
        session.run("CHECKPOINT", || "write out what it holds".to_owned()).await
    }

    /// Lists the databases that can be connected to, templates too.
    pub async fn all_databases(&self) -> Result<Vec<DatabaseName>, PostgresError> {
        const LIST: &str = "SELECT datname::text FROM pg_catalog.pg_database
             WHERE datallowconn ORDER BY 1";
        self.listed(LIST).await
    }

    /// Lists the databases that people can connect to, templates left out.
    pub async fn databases(&self) -> Result<Vec<DatabaseName>, PostgresError> {
        const LIST: &str = "SELECT datname::text FROM pg_catalog.pg_database
             WHERE datallowconn AND NOT datistemplate ORDER BY 1";
        self.listed(LIST).await
    }

    async fn listed(&self, list: &str) -> Result<Vec<DatabaseName>, PostgresError> {
        let session = self.maintenance_session().await?;
        let rows = session.client().query(list, &[]).await;
        let rows =
            rows.map_err(|source| session.failed("list its databases".to_owned(), source))?;
        Ok(rows.iter().map(|row| DatabaseName::new(row.get::<_, String>(0))).collect())
    }
}

/// Connects, as whoever the server lets in.
async fn reach(conninfo: &Conninfo) -> Result<(Conninfo, Identity, Session), PostgresError> {
    let socket = conninfo.socket();
    let Some(role) = conninfo.role() else {
        let owner = socket.as_deref().and_then(identity::socket_owner);
        let role = owner.as_ref().map(|user| user.name.clone()).or_else(identity::own_name);
        let conninfo = conninfo.with_role(&role.unwrap_or_else(|| "postgres".to_owned()));
        let identity = owner.map_or(Identity::Own, Identity::Other);
        let session = Session::open(&conninfo, &identity).await?;
        return Ok((conninfo, identity, session));
    };
    let refused = match Session::open(conninfo, &Identity::Own).await {
        Ok(session) => return Ok((conninfo.clone(), Identity::Own, session)),
        Err(error) => error,
    };
    match identity::user_of_role(role) {
        Some(user) if socket.is_some() && is_peer_refusal(&refused) => {
            let identity = Identity::Other(user);
            let session = Session::open(conninfo, &identity).await?;
            Ok((conninfo.clone(), identity, session))
        }
        _ => Err(refused),
    }
}

/// Tells whether peer or ident authentication refused, which has a code of its own beside passwords'.
fn is_peer_refusal(error: &PostgresError) -> bool {
    let PostgresError::Refused { source, .. } = error else { return false };
    source.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

async fn version(session: &Session) -> Result<ServerVersion, PostgresError> {
    const VERSION: &str = "SELECT pg_catalog.current_setting('server_version_num')::int";
    let row = session.client().query_one(VERSION, &[]).await;
    let row = row.map_err(|source| session.failed("tell its version".to_owned(), source))?;
    Ok(ServerVersion(row.get::<_, i32>(0).cast_unsigned()))
}

/// Reads the server's clock, its place in the log, and whether it recovers.
pub(crate) async fn moment(
    session: &Session,
) -> Result<(Timestamp, Option<Lsn>, bool), PostgresError> {
    const MOMENT: &str = "
        SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::bigint,
               CASE WHEN pg_catalog.pg_is_in_recovery()
                    THEN pg_catalog.pg_last_wal_replay_lsn()
                    ELSE pg_catalog.pg_current_wal_lsn() END::text,
               pg_catalog.pg_is_in_recovery()";
    let row = session.client().query_one(MOMENT, &[]).await;
    let row = row.map_err(|source| session.failed("tell its time".to_owned(), source))?;
    let lsn = row.get::<_, Option<String>>(1).and_then(|text| text.parse().ok());
    // A clock outside of what a timestamp can say stands at its end.
    let now = Timestamp::from_microsecond(row.get(0)).unwrap_or(Timestamp::MAX);
    Ok((now, lsn, row.get(2)))
}

/// Reads one value that only some roles may see.
async fn unless_denied<T>(session: &Session, sql: &str) -> Result<Option<T>, PostgresError>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    match session.client().query_one(sql, &[]).await {
        Ok(row) => Ok(Some(row.get(0))),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
        Err(source) => Err(session.failed("tell about itself".to_owned(), source)),
    }
}
