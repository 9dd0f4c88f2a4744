//! Who takes the log: what an `archive_command` does, as far as its words tell.

use std::path::Path;

use crate::server_command::{quoted, words};

/// Where a plan is that no `--plan` names, for a program whose working directory is the server's data.
const USUAL_PLAN: &str = "/etc/lifeboat/plan.toml";

/// Lets the log go until a restart turns archiving off: with an empty or a failing command the server would
/// keep all of it.
pub const STOPGAP: &str = "/bin/true # lifeboat postgres remove: archives nothing, until a restart turns archive_mode off";

/// Commands that say that a file is archived and keep nothing of it.
const NOTHING: [&str; 6] = ["", "true", "/bin/true", "/usr/bin/true", ":", "exit 0"];

/// `lifeboat wal push`, as a server runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushCommand {
    /// The program.
    pub program: String,
    /// The plan, if it is named.
    pub plan: Option<String>,
    /// The asset, if it is named.
    pub asset: Option<String>,
    /// The socket of whoever serves the log, if it is named.
    pub socket: Option<String>,
}

impl PushCommand {
    /// Returns the command for `archive_command`.
    pub fn text(&self) -> String {
        let mut parts: Vec<_> = self.words().iter().map(|word| quoted(word)).collect();
        parts.push("\"%p\"".to_owned());
        parts.join(" ")
    }

    /// Returns its words, but for the path.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.program.clone()];
        words.extend(self.plan.iter().flat_map(|plan| ["--plan".to_owned(), plan.clone()]));
        words.extend(["wal", "push"].map(str::to_owned));
        words.extend(self.asset.iter().flat_map(|asset| ["--asset".to_owned(), asset.clone()]));
        words.extend(self.socket.iter().flat_map(|socket| ["--socket".to_owned(), socket.clone()]));
        words
    }

    /// Reads the words of a command.
    fn read(words: &[String]) -> Option<Self> {
        let program = words.first()?;
        if !Path::new(program).file_name()?.to_str()?.starts_with("lifeboat") {
            return None;
        }
        if !words.windows(2).any(|pair| pair == ["wal", "push"]) {
            return None;
        }
        let value = |name: &str| {
            let spelled = format!("{name}=");
            let after = words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
            after.or_else(|| words.iter().find_map(|w| w.strip_prefix(&spelled).map(str::to_owned)))
        };
        Some(Self {
            program: program.clone(),
            plan: value("--plan"),
            asset: value("--asset"),
            socket: value("--socket"),
        })
    }

    /// Tells whether this archives the log that `wanted` does, wherever the program is and whoever is asked first.
    ///
    /// Without `--asset` it archives the only log of its plan, which a plan with a wanted one has.
    pub fn is_for(&self, wanted: &Self) -> bool {
        let plan = self.plan.as_deref().unwrap_or(USUAL_PLAN);
        Some(plan) == wanted.plan.as_deref() && (self.asset.is_none() || self.asset == wanted.asset)
    }
}

/// Who takes the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archiver {
    /// Nobody: files count as archived, or wait.
    Nobody,
    /// lifeboat, for some plan and asset.
    Lifeboat(PushCommand),
    /// Somebody else.
    Foreign,
}

impl Archiver {
    /// Reads an `archive_command`.
    pub fn read(command: &str) -> Self {
        let command = command.trim();
        if command == STOPGAP || NOTHING.contains(&command) {
            return Self::Nobody;
        }
        let push = words(command).and_then(|words| PushCommand::read(&words));
        push.map_or(Self::Foreign, Self::Lifeboat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(plan: Option<&str>, asset: Option<&str>) -> PushCommand {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        PushCommand {
            program: "/usr/bin/lifeboat".to_owned(),
            plan: owned(plan),
            asset: owned(asset),
            socket: None,
        }
    }

    #[test]
    fn a_command_is_read_as_it_was_written() {
        for own in [push(Some("/etc/it's 100%/plan.toml"), Some("database")), push(None, None)] {
            assert_eq!(Archiver::read(&own.text()), Archiver::Lifeboat(own));
        }
        let text = push(Some("/etc/a b/plan.toml"), Some("db")).text();
        assert_eq!(
            text,
            "/usr/bin/lifeboat --plan '/etc/a b/plan.toml' wal push --asset db \"%p\""
        );
        let by_hand = Archiver::read("lifeboat wal push %p --asset=db");
        let expected = PushCommand { program: "lifeboat".to_owned(), ..push(None, Some("db")) };
        assert_eq!(by_hand, Archiver::Lifeboat(expected));
    }

    #[test]
    fn who_takes_the_log_is_told_apart() {
        for nobody in ["", " ", "/bin/true", "exit 0", STOPGAP] {
            assert_eq!(Archiver::read(nobody), Archiver::Nobody, "{nobody}");
        }
        for foreign in [
            "cp %p /mnt/%f",
            "pgbackrest --stanza=x archive-push %p",
            "lifeboat wal push %p && cp %p /mnt",
            "lifeboat wal get %p",
            "/usr/bin/other wal push %p",
        ] {
            assert_eq!(Archiver::read(foreign), Archiver::Foreign, "{foreign}");
        }
    }

    #[test]
    fn another_plan_or_asset_is_another_log() {
        let wanted = push(Some(USUAL_PLAN), Some("db"));
        assert!(push(None, None).is_for(&wanted) && push(Some(USUAL_PLAN), None).is_for(&wanted));
        assert!(!push(Some("/srv/plan.toml"), Some("db")).is_for(&wanted));
        assert!(!push(None, Some("other")).is_for(&wanted));
        assert!(!push(None, None).is_for(&push(Some("/srv/plan.toml"), Some("db"))));
    }
}
