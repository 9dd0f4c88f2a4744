//! What a machine has that is worth protecting: it looks, and touches nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Where PostgreSQL puts its sockets on the common systems.
const SOCKET_DIRECTORIES: [&str; 3] = ["var/run/postgresql", "run/postgresql", "tmp"];

/// Below which web applications usually live.
const WEB_ROOTS: [&str; 2] = ["var/www", "srv"];

/// Directories of an application that its users fill.
const MEDIA_NAMES: [&str; 3] = ["media", "uploads", "storage"];

/// Settings of the servers in front of applications.
const CONFIGURATION: [&str; 3] = ["etc/nginx", "etc/apache2", "etc/caddy"];

/// Where certificates are kept.
const CERTIFICATES: [&str; 2] = ["etc/letsencrypt", "etc/ssl/private"];

/// Units that an administrator wrote.
const UNITS: &str = "etc/systemd/system";

/// How many entries of a directory are looked at; a web root with more is somebody's data.
const ENTRIES_MAX: usize = 1_000;

/// A PostgreSQL server that listens on a local socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// The directory of its socket.
    pub socket_directory: PathBuf,
    /// Its port, which names the socket.
    pub port: u16,
}

impl Server {
    /// Returns how libpq connects to it.
    pub fn connect_string(&self) -> String {
        format!("host={} port={}", self.socket_directory.display(), self.port)
    }
}

/// What was found, each list sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Database servers.
    pub servers: Vec<Server>,
    /// Directories that users fill.
    pub media: Vec<PathBuf>,
    /// Settings: of servers, of applications, units.
    pub configuration: Vec<PathBuf>,
    /// The applications themselves.
    pub applications: Vec<PathBuf>,
    /// Certificates and their keys.
    pub certificates: Vec<PathBuf>,
}

/// Looks around below `root`, which is `/` but in tests.
pub fn look(root: &Path) -> Found {
    let mut found = Found { servers: servers(root), ..Found::default() };
    for application in WEB_ROOTS.iter().flat_map(|place| entries(&root.join(place))) {
        if application.is_dir() {
            look_at_application(&application, &mut found);
        }
    }
    let existing = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| root.join(name)).filter(|path| path.exists()).collect()
    };
    found.configuration.extend(existing(&CONFIGURATION));
    found.configuration.extend(units(&root.join(UNITS)));
    found.certificates = existing(&CERTIFICATES);
    found.media.sort();
    found.configuration.sort();
    found.applications.sort();
    found
}

fn look_at_application(application: &Path, found: &mut Found) {
    let before = found.media.len() + found.configuration.len();
    for entry in entries(application) {
        let Some(name) = entry.file_name().and_then(|name| name.to_str()) else { continue };
        if entry.is_dir() && MEDIA_NAMES.contains(&name) {
            found.media.push(entry);
        } else if entry.is_file() && (name == ".env" || name.starts_with(".env.")) {
            found.configuration.push(entry);
        }
    }
    // A directory without either may be anything; what looks like code is taken as an application.
    let looks_like_code = found.media.len() + found.configuration.len() > before
        || ["manage.py", "composer.json", "package.json", "Gemfile", ".git"]
            .iter()
            .any(|name| application.join(name).exists());
    if looks_like_code {
        found.applications.push(application.to_owned());
    }
}

fn servers(root: &Path) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for directory in SOCKET_DIRECTORIES {
        let directory = root.join(directory);
        // `/var/run` is a link to `/run` on most systems: one server must not be found twice.
        let real = fs::canonicalize(&directory).unwrap_or_else(|_| directory.clone());
        for entry in entries(&real) {
            let port = entry
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_prefix(".s.PGSQL."))
                .and_then(|port| port.parse().ok());
            let known = |port| servers.iter().any(|server| server.port == port);
            if let Some(port) = port.filter(|port| !known(*port)) {
                servers.push(Server { socket_directory: real.clone(), port });
            }
        }
    }
    servers.sort();
    servers
}

/// Lists units that are files here; links only enable what a package brought.
fn units(directory: &Path) -> Vec<PathBuf> {
    entries(directory)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "service" || e == "timer"))
        .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()))
        .collect()
}

/// Lists a directory; one that is not there or not readable has nothing to find.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.take(ENTRIES_MAX).filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_tiers::durable;
    use std::os::unix::fs::symlink;

    fn file(root: &Path, path: &str) {
        let path = root.join(path);
        durable::create_directories(path.parent().unwrap(), 0o755).unwrap();
        durable::replace(&path, b"", 0o644).unwrap();
    }

    #[test]
    fn a_web_server_is_seen_for_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = &fs::canonicalize(directory.path()).unwrap();
        file(root, "run/postgresql/.s.PGSQL.5432");
        file(root, "run/postgresql/.s.PGSQL.5432.lock");
        file(root, "var/www/shop/.env");
        file(root, "var/www/shop/media/cat.jpg");
        file(root, "var/www/html/index.html");
        file(root, "etc/nginx/nginx.conf");
        file(root, "etc/systemd/system/gunicorn.service");
        file(root, "etc/letsencrypt/live/shop.pem");
        symlink("/lib/x", root.join("etc/systemd/system/enabled.service")).unwrap();
        symlink(root.join("run"), root.join("var/run")).unwrap();

        let found = look(root);
        let server = Server { socket_directory: root.join("run/postgresql"), port: 5432 };
        assert_eq!(found.servers, [server]);
        assert_eq!(found.media, [root.join("var/www/shop/media")]);
        assert_eq!(found.applications, [root.join("var/www/shop")]);
        assert_eq!(found.certificates, [root.join("etc/letsencrypt")]);
        let expected = ["etc/nginx", "etc/systemd/system/gunicorn.service", "var/www/shop/.env"];
        assert_eq!(found.configuration, expected.map(|path| root.join(path)));
    }

    #[test]
    fn an_empty_machine_has_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(directory.path()), Found::default());
    }
}
