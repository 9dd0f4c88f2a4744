//! Where to connect: libpq's keywords, its URL or a service, as a plan's `connect` writes them.
//!
//! The password is kept apart from the rest as soon as it is read. It is looked for in this order:
//! what the caller gives ([`Conninfo::with_password`]), `password=` in the text, and the password
//! file (`passfile=`, else `.pgpass`), which must be closed to others, as libpq wants it.

mod keywords;
mod passfile;
mod service;
mod url;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lifeboat_model::Secret;

use crate::environment::ClientEnvironment;
use crate::error::PostgresError;
use crate::name::DatabaseName;

/// The port where nothing else is said.
pub const DEFAULT_PORT: &str = "5432";

/// Where libpq looks for a socket where nothing is said: Debian's place, then PostgreSQL's own.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Keyword and value pairs of a connection.
type Parameters = BTreeMap<String, String>;

/// A parsed connect string; its `Debug` hides the password.
#[derive(Debug, Clone)]
pub struct Conninfo {
    parameters: Parameters,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

impl Conninfo {
    /// Parses keywords, a URL, or either of them with `service=`, which `environment` resolves.
    pub fn parse(text: &str, environment: &ClientEnvironment) -> Result<Self, PostgresError> {
        let mut parameters =
            if url::is_url(text) { url::parse(text)? } else { keywords::parse(text)? };
        if let Some(name) = parameters.remove("service") {
            for (keyword, value) in service::find(&name, &environment.service_files)? {
                parameters.entry(keyword).or_insert(value);
            }
        }
        keywords::check(&parameters)?;
        let password = parameters.remove("password").map(Secret::new);
        let password_file = parameters.remove("passfile").map(PathBuf::from);
        let password_file = password_file.or_else(|| environment.password_file.clone());
        Ok(Self { parameters, password, password_file })
    }

    /// Sets the password, before all other places.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// Sets the database.
    #[must_use]
    pub fn with_database(&self, database: &DatabaseName) -> Self {
        self.with("dbname", database.as_str())
    }

    /// Sets the role.
    #[must_use]
    pub fn with_role(&self, role: &str) -> Self {
        self.with("user", role)
    }

    fn with(&self, keyword: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.parameters.insert(keyword.to_owned(), value.to_owned());
        changed
    }

    /// Returns the value of a keyword, if it is given and not empty.
    pub(crate) fn get(&self, keyword: &str) -> Option<&str> {
        self.parameters.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the role, if it is given.
    pub fn role(&self) -> Option<&str> {
        self.get("user")
    }

    /// Returns the role that statements are run as: the one that `options` take on, else the one that connects.
    pub fn acting_role(&self) -> Option<&str> {
        let options = self.get("options").unwrap_or_default().split_whitespace();
        let mut taken = options.filter_map(|word| {
            let word = word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).unwrap_or(word);
            word.strip_prefix("role=")
        });
        taken.next_back().or_else(|| self.role())
    }

    /// Returns how whoever runs the server connects: without the role, its password and its options.
    #[must_use]
    pub fn for_administrator(&self) -> Self {
        let mut changed = self.clone();
        changed.parameters.remove("user");
        changed.parameters.remove("options");
        changed.password = None;
        changed
    }

    /// Returns the database; like libpq, the role's name where nothing is said.
    pub fn database(&self) -> DatabaseName {
        DatabaseName::new(self.get("dbname").or(self.role()).unwrap_or("postgres"))
    }

    /// Returns the hosts, or the directory of the socket.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        match self.get("host").or_else(|| self.get("hostaddr")) {
            Some(hosts) => hosts.split(',').collect(),
            None => vec![default_socket_directory()],
        }
    }

    pub(crate) fn ports(&self) -> Vec<&str> {
        self.get("port").unwrap_or(DEFAULT_PORT).split(',').collect()
    }

    /// Returns the path of the socket, if that is where the connection goes.
    pub fn socket(&self) -> Option<PathBuf> {
        match (self.hosts().as_slice(), self.ports().first()) {
            ([directory], Some(port)) if directory.starts_with('/') => {
                Some(Path::new(directory).join(format!(".s.PGSQL.{port}")))
            }
            _ => None,
        }
    }

    /// Returns what a person calls the place: the socket's path, or host and port.
    pub fn address(&self) -> String {
        if let Some(socket) = self.socket() {
            return socket.display().to_string();
        }
        let ports = self.ports();
        let port = |index: usize| ports.get(index).or(ports.last()).copied().unwrap_or_default();
        let hosts = self.hosts().into_iter().enumerate();
        hosts.map(|(index, host)| format!("{host}:{}", port(index))).collect::<Vec<_>>().join(", ")
    }

    /// Looks the password up.
    pub(crate) fn password(&self) -> Result<Option<Secret>, PostgresError> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        let Some(file) = &self.password_file else { return Ok(None) };
        let host = if self.socket().is_some() { "localhost" } else { self.hosts()[0] };
        let database = self.database();
        let entry = passfile::Wanted {
            host,
            port: self.ports()[0],
            database: database.as_str(),
            role: self.role().unwrap_or_default(),
        };
        passfile::find(file, &entry)
    }

    /// Writes the keywords for a client program, without any secret: arguments can be seen by all.
    pub(crate) fn argument(&self) -> String {
        let mut text = String::new();
        for (keyword, value) in &self.parameters {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            write!(text, "{keyword}='{value}' ").expect("a string takes whatever is written");
        }
        text.trim_end().to_owned()
    }
}

fn default_socket_directory() -> &'static str {
    let exists = |path: &&&str| Path::new(path).is_dir();
    SOCKET_DIRECTORIES.iter().find(exists).copied().unwrap_or(SOCKET_DIRECTORIES[0])
}

/// Returns the error of a connect string; the string itself may hold a password and is not shown.
fn wrong(message: impl Into<String>) -> PostgresError {
    PostgresError::Conninfo { message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Conninfo {
        Conninfo::parse(text, &ClientEnvironment::default()).unwrap()
    }

    #[test]
    fn the_three_spellings_mean_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pg_service.conf");
        let mut file = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(
            &mut file,
            b"# ours\n[other]\nhost=x\n\n[shop]\nhost=db.example\nport=5433\nuser=app\ndbname=shop\n",
        )
        .unwrap();
        let environment = ClientEnvironment::default().service_file(path);
        let spellings = [
            "host=db.example port=5433 user=app dbname=shop",
            "postgresql://app@db.example:5433/shop",
            "service=shop",
            "postgres:///?service=shop",
        ];
        for text in spellings {
            let conninfo = Conninfo::parse(text, &environment).unwrap();
            assert_eq!(conninfo.address(), "db.example:5433", "{text}");
            assert_eq!(
                conninfo.argument(),
                "dbname='shop' host='db.example' port='5433' user='app'",
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_said_beside_a_service_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services");
        let mut file = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, b"[s]\nhost=a\ndbname=b\n").unwrap();
        let environment = ClientEnvironment::default().service_file(path);
        let conninfo = Conninfo::parse("service=s dbname=c", &environment).unwrap();
        assert_eq!(conninfo.database().as_str(), "c");
        let error = Conninfo::parse("service=gone", &environment).unwrap_err();
        assert!(error.to_string().contains("`gone`"), "{error}");
    }

    #[test]
    fn a_password_is_in_no_argument_and_no_debug() {
        for text in ["password='hun ter2' user=a", "postgresql://a:hun%20ter2@h/d"] {
            let conninfo = parse(text);
            assert_eq!(conninfo.password().unwrap().unwrap().expose(), "hun ter2");
            assert!(!conninfo.argument().contains("ter2"));
            assert!(!format!("{conninfo:?}").contains("ter2"));
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_password() {
        for text in ["password='hunter2", "pasword=hunter2", "postgresql://a:hunter2@h:port/%zz"] {
            let error = Conninfo::parse(text, &ClientEnvironment::default()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn odd_values_are_quoted_for_the_programs() {
        let conninfo = parse(r"dbname='it\'s a \\ name'");
        assert_eq!(conninfo.database().as_str(), r"it's a \ name");
        assert_eq!(conninfo.argument(), r"dbname='it\'s a \\ name'");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*", url in "postgres(ql)?://.*") {
            drop(Conninfo::parse(&text, &ClientEnvironment::default()));
            drop(Conninfo::parse(&url, &ClientEnvironment::default()));
        }

        #[test]
        fn what_programs_are_given_means_what_was_read(name in "\\PC*", host in "[a-z/.]+") {
            let first = Conninfo { parameters: Parameters::new(), password: None, password_file: None };
            let first = first.with("dbname", &name).with("host", &host);
            prop_assert_eq!(parse(&first.argument()).parameters, first.parameters);
        }
    }

    #[test]
    fn a_role_that_is_taken_on_is_the_one_that_acts() {
        let acting = |text| parse(text).acting_role().map(str::to_owned);
        assert_eq!(acting("host=a user=b").as_deref(), Some("b"));
        assert_eq!(acting("host=a options='-c work_mem=1MB -c role=c'").as_deref(), Some("c"));
        assert_eq!(acting("user=b options='-crole=c'").as_deref(), Some("c"));
        assert_eq!(acting("host=a options='-c work_mem=1MB'"), None);
        let plain = parse("host=a user=b password=x options='-c role=c' dbname=d");
        assert_eq!(plain.for_administrator().argument(), "dbname='d' host='a'");
    }

    #[test]
    fn a_socket_is_recognised() {
        let conninfo = parse("host=/run/pg port=5433");
        assert_eq!(conninfo.socket().unwrap(), Path::new("/run/pg/.s.PGSQL.5433"));
        assert_eq!(parse("host=a,b port=1,2").address(), "a:1, b:2");
        assert_eq!(parse("host=a").socket(), None);
        assert_eq!(parse("postgresql://%2Frun%2Fpg/d").address(), "/run/pg/.s.PGSQL.5432");
    }
}
