//! Where a tier is: `file:///var/backups`, `s3://bucket/prefix`, `azure://account/container`,
//! `sftp://user@host/path`.

use std::fmt;
use std::str::FromStr;

use crate::value::path::HostPath;
use crate::value::sftp_place::{ParseSftpPlaceError, SftpPlace};
use crate::value::text_value;

/// The address of a tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierUrl {
    /// A folder of this machine or of a mounted file system.
    File(HostPath),
    /// A bucket that speaks S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// Put before every object's name; may be empty.
        prefix: String,
    },
    /// A container of Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// Put before every object's name; may be empty.
        prefix: String,
    },
    /// A directory of a server that is reached by SSH.
    Sftp(SftpPlace),
}

/// A text is not the address of a tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTierUrlError {
    /// No scheme that is known.
    #[error(
        "this is not the address of a tier: expected file:///path, s3://bucket, azure://account/container or sftp://host/path"
    )]
    Scheme,
    /// A path that cannot be used.
    #[error(
        "a file address is `file://` and an absolute path without `..`, like file:///var/backups"
    )]
    Path,
    /// A server's directory that cannot be one.
    #[error(transparent)]
    Sftp(#[from] ParseSftpPlaceError),
    /// User information in the address.
    #[error("an address holds no user and no password: leave out what stands before `@`")]
    Credentials,
    /// A bucket that cannot exist.
    #[error("`{bucket}` cannot be a bucket: expected 3 to 63 lower-case letters, digits, `-`, `.`")]
    Bucket {
        /// What was written.
        bucket: String,
    },
    /// An account or container that cannot exist.
    #[error(
        "an Azure address is azure://account/container, both of lower-case letters, digits and `-`"
    )]
    Container,
    /// A prefix that object stores take for something else.
    #[error("`{prefix}` cannot be a prefix: it holds an empty part, `.` or `..`")]
    Prefix {
        /// What was written.
        prefix: String,
    },
}

impl TierUrl {
    /// Tells whether such a store may be able to lock objects; a folder never is.
    pub const fn may_lock(&self) -> bool {
        matches!(self, Self::S3 { .. } | Self::Azure { .. })
    }

    /// Returns the folder, if the tier is one of this machine.
    pub fn folder(&self) -> Option<&HostPath> {
        match self {
            Self::File(path) => Some(path),
            Self::S3 { .. } | Self::Azure { .. } | Self::Sftp(_) => None,
        }
    }
}

impl FromStr for TierUrl {
    type Err = ParseTierUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(ParseTierUrlError::Scheme)?;
        if scheme == "file" {
            return rest.parse().map(Self::File).map_err(|_| ParseTierUrlError::Path);
        }
        if scheme == "sftp" {
            return Ok(Self::Sftp(rest.parse()?));
        }
        if rest.contains('@') {
            return Err(ParseTierUrlError::Credentials);
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        match scheme {
            "s3" => {
                let bucket = slug(host, 3, &['-', '.'])
                    .ok_or_else(|| ParseTierUrlError::Bucket { bucket: host.to_owned() })?;
                Ok(Self::S3 { bucket, prefix: prefix(path)? })
            }
            "azure" => {
                let (container, path) = path.split_once('/').unwrap_or((path, ""));
                let account = slug(host, 1, &['-']).ok_or(ParseTierUrlError::Container)?;
                let container = slug(container, 1, &['-']).ok_or(ParseTierUrlError::Container)?;
                Ok(Self::Azure { account, container, prefix: prefix(path)? })
            }
            _ => Err(ParseTierUrlError::Scheme),
        }
    }
}

/// Returns the name if it is one: both vendors allow 63 lower-case letters, digits and `more`.
fn slug(name: &str, length_min: usize, more: &[char]) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (length_min..=63).contains(&name.len())
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || more.contains(&c));
    good.then(|| name.to_owned())
}

fn prefix(path: &str) -> Result<String, ParseTierUrlError> {
    let path = path.trim_end_matches('/');
    let bad_part = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    if !path.is_empty() && path.split('/').any(bad_part) {
        return Err(ParseTierUrlError::Prefix { prefix: path.to_owned() });
    }
    Ok(path.to_owned())
}

impl fmt::Display for TierUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_prefix = |f: &mut fmt::Formatter<'_>, prefix: &str| match prefix {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        };
        match self {
            Self::File(path) => write!(f, "file://{path}"),
            Self::S3 { bucket, prefix } => {
                write!(f, "s3://{bucket}")?;
                with_prefix(f, prefix)
            }
            Self::Azure { account, container, prefix } => {
                write!(f, "azure://{account}/{container}")?;
                with_prefix(f, prefix)
            }
            Self::Sftp(place) => write!(f, "sftp://{place}"),
        }
    }
}

text_value! {
    TierUrl: "bad-address", {
        "pattern": "^(file|s3|azure|sftp)://",
        "examples": ["file:///var/backups/site", "s3://bucket", "azure://account/container", "sftp://user@host/path"]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in [
            "file:///var/backups/techit",
            "s3://techit-backups",
            "s3://techit-backups/a/b",
            "azure://account/techit-offsite",
            "azure://account/techit-offsite/x",
            "sftp://backup.example.org/srv/techit",
        ] {
            assert_eq!(text.parse::<TierUrl>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/".parse::<TierUrl>().unwrap().to_string(), "s3://bucket");
    }

    #[test]
    fn other_addresses_are_refused_without_repeating_a_password() {
        for bad in [
            "",
            "/var/backups",
            "file://relative",
            "file:///a/../b",
            "ftp://host",
            "s3://",
            "s3://UPPER",
            "s3://bucket//x",
            "azure://account",
            "s3://user:hunter2@bucket",
            "sftp://user:hunter2@host/srv",
        ] {
            let error = bad.parse::<TierUrl>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
