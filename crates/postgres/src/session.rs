//! One connection to one database, with fixed settings.

use std::error::Error as _;
use std::str::FromStr as _;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::conninfo::Conninfo;
use crate::error::PostgresError;
use crate::identity::Identity;
use crate::name::DatabaseName;

/// How long to wait for a server to answer where `connect_timeout` says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What makes answers the same on every server: how values are written, where names are looked up.
/// Rows that a policy hides must be an error. A dump may take hours, and a base backup idles for as long, so nothing may time
/// out; which timeouts there are depends on the version.
const SETTINGS: &str = "
    SET search_path = '';
    SET timezone = 'UTC';
    SET datestyle = 'ISO, YMD';
    SET intervalstyle = 'postgres';
    SET extra_float_digits = 3;
    SET bytea_output = 'hex';
    SET xmlbinary = 'base64';
    SET lc_monetary = 'C';
    SET standard_conforming_strings = on;
    SET row_security = off;
    SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
                   'idle_in_transaction_session_timeout', 'idle_session_timeout');
";

/// A connection, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    address: String,
    database: DatabaseName,
    task: JoinHandle<()>,
}

impl Session {
    /// Connects as `identity`.
    pub(crate) async fn open(
        conninfo: &Conninfo,
        identity: &Identity,
    ) -> Result<Self, PostgresError> {
        let session = Self::open_as_it_is(conninfo, identity).await?;
        session.run(SETTINGS, || "set up the connection".to_owned()).await?;
        Ok(session)
    }

    /// Connects as `identity`, with the settings that its role has there.
    pub(crate) async fn open_as_it_is(
        conninfo: &Conninfo,
        identity: &Identity,
    ) -> Result<Self, PostgresError> {
        let config = config(conninfo)?;
        let timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let connected = tokio::time::timeout(timeout, connect(&config, conninfo, identity)).await;
        let (client, task) = connected.unwrap_or_else(|late| {
            Err(PostgresError::Unreachable {
                address: conninfo.address(),
                database: conninfo.database().to_string(),
                source: Box::new(late),
            })
        })?;
        let (address, database) = (conninfo.address(), conninfo.database());
        Ok(Self { client, address, database, task })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) const fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// Runs statements that return nothing of interest.
    pub(crate) async fn run(
        &self,
        sql: &str,
        action: impl FnOnce() -> String,
    ) -> Result<(), PostgresError> {
        self.client.batch_execute(sql).await.map_err(|source| self.failed(action(), source))
    }

    /// Turns the server's word into an error that says what was asked.
    pub(crate) fn failed(&self, action: String, source: tokio_postgres::Error) -> PostgresError {
        PostgresError::Query { address: self.address.clone(), action, source }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(
    config: &Config,
    conninfo: &Conninfo,
    identity: &Identity,
) -> Result<(Client, JoinHandle<()>), PostgresError> {
    let refused = |error| classify(conninfo, error);
    // What goes wrong later is told by the next query, so the connection's own end is not news.
    if let (Some(socket), Identity::Other(_)) = (conninfo.socket(), identity) {
        let stream =
            identity.connect(&socket).await.map_err(|source| unreachable(conninfo, source))?;
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
        return Ok((client, tokio::spawn(async move { drop(connection.await) })));
    }
    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
    Ok((client, tokio::spawn(async move { drop(connection.await) })))
}

fn unreachable(
    conninfo: &Conninfo,
    source: impl std::error::Error + Send + Sync + 'static,
) -> PostgresError {
    PostgresError::Unreachable {
        address: conninfo.address(),
        database: conninfo.database().to_string(),
        source: Box::new(source),
    }
}

/// Tells apart why a connection did not come about.
fn classify(conninfo: &Conninfo, source: tokio_postgres::Error) -> PostgresError {
    let address = conninfo.address();
    let database = conninfo.database().to_string();
    let wants_password = source.source().is_some_and(|s| s.to_string().contains("password"));
    match source.code() {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            PostgresError::NoDatabase { address, database }
        }
        // The last is that of a role which may not connect to this database.
        Some(code)
            if code.code().starts_with("28") || *code == SqlState::INSUFFICIENT_PRIVILEGE =>
        {
            let role = conninfo.role().unwrap_or_default().to_owned();
            PostgresError::Refused { address, role, database, source }
        }
        None if wants_password => {
            let role = conninfo.role().unwrap_or_default().to_owned();
            PostgresError::Refused { address, role, database, source }
        }
        _ => unreachable(conninfo, source),
    }
}

/// Translates what both libraries know; the rest is for the client programs.
fn config(conninfo: &Conninfo) -> Result<Config, PostgresError> {
    let wrong = |message: String| PostgresError::Conninfo { message };
    let mut config = Config::new();
    for host in conninfo.hosts() {
        config.host(host);
    }
    for port in conninfo.ports() {
        let number = u16::from_str(port);
        config.port(number.map_err(|_| wrong(format!("`{port}` is not a port")))?);
    }
    config.dbname(conninfo.database().as_str()).application_name("lifeboat");
    if let Some(role) = conninfo.role() {
        config.user(role);
    }
    if let Some(password) = conninfo.password()? {
        config.password(password.expose());
    }
    if let Some(options) = conninfo.get("options") {
        config.options(options);
    }
    if let Some(seconds) = conninfo.get("connect_timeout") {
        let number = seconds.parse().map_err(|_| {
            wrong(format!("`connect_timeout` must be a number of seconds, not `{seconds}`"))
        })?;
        config.connect_timeout(Duration::from_secs(number));
    }
    config.ssl_mode(match conninfo.get("sslmode") {
        Some("disable" | "allow") => SslMode::Disable,
        Some("require" | "verify-ca" | "verify-full") if conninfo.socket().is_none() => {
            return Err(wrong(
                "lifeboat does not speak TLS to PostgreSQL yet: use the server's socket, or a tunnel with `sslmode=disable`"
                    .to_owned(),
            ));
        }
        _ => SslMode::Prefer,
    });
    Ok(config)
}
