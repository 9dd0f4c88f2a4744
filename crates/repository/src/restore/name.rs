//! Refuses names in a tree that would lead out of the directory they stand in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest name that Linux file systems take, in bytes.
const NAME_LENGTH_MAX: usize = 255;

/// A tree names something in a way that no file can be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {shown} {why}: the tree was not written by a backup")]
pub struct HostileName {
    shown: String,
    why: &'static str,
}

/// The name of a node, proven to be one plain component of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component(OsString);

impl Component {
    /// Checks the raw bytes of a name.
    pub fn new(name: &OsStr) -> Result<Self, HostileName> {
        let name = name.as_bytes();
        let refuse =
            |why| Err(HostileName { shown: format!("{:?}", String::from_utf8_lossy(name)), why });
        match name {
            b"" => refuse("is empty"),
            b"." | b".." => refuse("leads to another directory"),
            _ if name.contains(&b'/') => refuse("contains a slash"),
            _ if name.contains(&0) => refuse("contains a zero byte"),
            _ if name.len() > NAME_LENGTH_MAX => refuse("is longer than 255 bytes"),
            _ => Ok(Self(OsString::from_vec(name.to_vec()))),
        }
    }

    /// Returns the name.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = [b'a'; 256];
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"a\0b", b"\0", &long] {
            assert!(
                Component::new(OsStr::from_bytes(bad)).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn odd_but_honest_names_pass() {
        let long = [b'a'; 255];
        for good in [&b"..."[..], b"a\\b", b"\xff\xfe", b" ", b"-rf", b"a\nb", &long] {
            assert_eq!(Component::new(OsStr::from_bytes(good)).unwrap().as_bytes(), good);
        }
    }
}
