//! Which directory of which server: `user@host:port/path`, behind `sftp://`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A directory of a server, and who logs in there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SftpPlace {
    /// Who logs in; without it whoever ssh's configuration says.
    pub user: Option<String>,
    /// The host, or a name that ssh's configuration has for it; an IPv6 address without its brackets.
    pub host: String,
    /// The port; without it the one of ssh's configuration, or 22.
    pub port: Option<NonZeroU16>,
    /// The directory: from the server's root with a slash, otherwise from where the login leads.
    pub path: String,
}

/// A text does not name a directory of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSftpPlaceError {
    /// A password, which would be read by whoever reads the plan.
    #[error("an address holds no password: let ssh find a key, in its agent or its configuration")]
    Password,
    /// A user or a host that cannot be one.
    #[error(
        "an sftp address is sftp://host/path or sftp://user@host:port/path, and the host is a name or an address"
    )]
    Login,
    /// A port that cannot be one.
    #[error("`{port}` cannot be a port: expected 1 to 65535")]
    Port {
        /// What was written.
        port: String,
    },
    /// A path that cannot be one.
    #[error(
        "the directory of an sftp address begins with `/`, or with `/~/` for one where the login leads, and has no part that is empty, `.` or `..`"
    )]
    Path,
}

impl SftpPlace {
    /// Puts a place together, as other spellings than an address name it.
    pub fn new(login: &str, path: impl Into<String>) -> Result<Self, ParseSftpPlaceError> {
        let path = path.into();
        let (user, rest) = match login.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(ParseSftpPlaceError::Password),
            Some((user, rest)) => (Some(user), rest),
            None => (None, login),
        };
        let (host, port) = host_and_port(rest)?;
        if user.is_some_and(|user| !is_word(user)) || !is_host(host) {
            return Err(ParseSftpPlaceError::Login);
        }
        let below = path.strip_prefix('/').unwrap_or(&path);
        if below.is_empty() && !path.starts_with('/')
            || !below.is_empty() && below.split('/').any(is_bad_part)
        {
            return Err(ParseSftpPlaceError::Path);
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path })
    }
}

impl FromStr for SftpPlace {
    type Err = ParseSftpPlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(slash) = text.find('/') else {
            // Of a text without a path it is not known where the password ends.
            let password =
                text.split('@').next().is_some_and(|user| text.contains('@') && user.contains(':'));
            return Err(if password {
                ParseSftpPlaceError::Password
            } else {
                ParseSftpPlaceError::Path
            });
        };
        let (login, path) = text.split_at(slash);
        // restic's spelling of a path from the root has two slashes.
        let path =
            path.strip_prefix("//").map_or_else(|| path.to_owned(), |path| format!("/{path}"));
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path.strip_prefix("/~/").unwrap_or(path),
        };
        Self::new(login, path)
    }
}

fn host_and_port(text: &str) -> Result<(&str, Option<NonZeroU16>), ParseSftpPlaceError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(ParseSftpPlaceError::Login)?;
            if !host.contains(':') || !(rest.is_empty() || rest.starts_with(':')) {
                return Err(ParseSftpPlaceError::Login);
            }
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bad = |port: &str| ParseSftpPlaceError::Port { port: port.to_owned() };
    let port = port.map(|port| port.parse().map_err(|_| bad(port))).transpose()?;
    Ok((host, port))
}

/// What no shell and no option parser on the way takes for something else.
fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn is_host(text: &str) -> bool {
    is_word(text) || text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_bad_part(part: &str) -> bool {
    matches!(part, "" | "." | ".." | "~") || part.contains(char::is_control)
}

impl fmt::Display for SftpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let home = if self.path.starts_with('/') { "" } else { "/~/" };
        write!(f, "{home}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        for text in [
            "host/srv",
            "u@host/srv/a b",
            "u@host:2222/~/copies",
            "u-1@backup.example.org:23/home/u",
            "[::1]:2222/srv",
            "host/",
        ] {
            assert_eq!(text.parse::<SftpPlace>().unwrap().to_string(), text);
        }
        let place: SftpPlace = "u@h//srv/a/".parse().unwrap();
        assert_eq!((place.to_string().as_str(), place.path.as_str()), ("u@h/srv/a", "/srv/a"));
        let place: SftpPlace = "u@h/~/a".parse().unwrap();
        assert_eq!(place.path, "a");
    }

    #[test]
    fn what_is_no_place_is_refused_and_no_password_is_repeated() {
        for (text, error) in [
            ("u:hunter2@host/srv", "password"),
            ("u:hunter2@host", "password"),
            ("-oProxyCommand=x/srv", "sftp://host/path"),
            ("-u@host/srv", "sftp://host/path"),
            ("u v@host/srv", "sftp://host/path"),
            ("$(x)@host/srv", "sftp://host/path"),
            ("/srv", "sftp://host/path"),
            ("[host]/srv", "sftp://host/path"),
            ("[::1/srv", "sftp://host/path"),
            ("host:0/srv", "cannot be a port"),
            ("host:70000/srv", "cannot be a port"),
            ("host", "begins with"),
            ("host/a/../b", "begins with"),
            ("host/~", "begins with"),
            ("host/a//b", "begins with"),
        ] {
            let told = text.parse::<SftpPlace>().unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
