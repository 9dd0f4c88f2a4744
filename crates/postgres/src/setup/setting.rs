//! The settings by which a server hands its log over, and what is known of each.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A setting that is set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingName {
    /// How much the log tells.
    WalLevel,
    /// What hands a file over.
    ArchiveCommand,
    /// What hands a file over instead, since 15.
    ArchiveLibrary,
    /// After how many seconds a file is handed over that is not full.
    ArchiveTimeout,
    /// Whether files are handed over.
    ArchiveMode,
}

/// When a setting holds that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// At once.
    Reload,
    /// When the server is started again.
    Restart,
}

impl SettingName {
    /// All of them, in the order in which they are set: archiving begins when it can succeed.
    pub const ALL: [Self; 5] = [
        Self::WalLevel,
        Self::ArchiveCommand,
        Self::ArchiveLibrary,
        Self::ArchiveTimeout,
        Self::ArchiveMode,
    ];

    /// Returns PostgreSQL's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WalLevel => "wal_level",
            Self::ArchiveCommand => "archive_command",
            Self::ArchiveLibrary => "archive_library",
            Self::ArchiveTimeout => "archive_timeout",
            Self::ArchiveMode => "archive_mode",
        }
    }

    /// Returns when a change holds.
    pub const fn takes(self) -> Takes {
        match self {
            Self::WalLevel | Self::ArchiveMode => Takes::Restart,
            _ => Takes::Reload,
        }
    }

    /// Returns the one spelling of a value, where there are several.
    pub(super) fn normal(self, value: &str) -> String {
        let lower = value.trim().to_ascii_lowercase();
        match (self, lower.as_str()) {
            (Self::ArchiveMode, "true" | "yes" | "1" | "t" | "y") => "on".to_owned(),
            (Self::ArchiveMode, "false" | "no" | "0" | "f" | "n") => "off".to_owned(),
            // Names of before 9.6, which are still taken.
            (Self::WalLevel, "archive" | "hot_standby") => "replica".to_owned(),
            (Self::ArchiveMode | Self::WalLevel, other) => other.to_owned(),
            (Self::ArchiveTimeout, other) => {
                seconds(other).map_or_else(|| other.to_owned(), |seconds| seconds.to_string())
            }
            (Self::ArchiveCommand | Self::ArchiveLibrary, _) => value.to_owned(),
        }
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads a length of time as a file of settings may write it, whose unit is seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "" | "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "ms" => return Some(number / 1000),
        _ => return None,
    };
    number.checked_mul(factor)
}

/// What is known of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What the running server goes by.
    pub running: String,
    /// What `postgresql.auto.conf` says, which `ALTER SYSTEM` writes.
    pub auto: Option<String>,
    /// What holds where that file says nothing.
    pub below: String,
    /// Whether the server's command line says it, which no file can change.
    pub fixed: bool,
    /// Whether a change of it waits for a restart.
    pub pending: bool,
}

impl Setting {
    /// Returns what holds after the next restart.
    pub fn next(&self) -> &str {
        if self.fixed { &self.running } else { self.auto.as_ref().unwrap_or(&self.below) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_one() {
        assert_eq!(SettingName::ArchiveMode.normal("TRUE"), "on");
        assert_eq!(SettingName::ArchiveMode.normal("always"), "always");
        assert_eq!(SettingName::WalLevel.normal("hot_standby"), "replica");
        for (text, seconds) in [("300", "300"), ("5min", "300"), (" 1 h ", "3600"), ("1500ms", "1")]
        {
            assert_eq!(SettingName::ArchiveTimeout.normal(text), seconds);
        }
        assert_eq!(SettingName::ArchiveCommand.normal("True "), "True ");
    }
}
