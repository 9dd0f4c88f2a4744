//! What a server that recovers is told, in `postgresql.auto.conf`, which comes after all other files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lifeboat_model::Timestamp;

use super::target::RecoveryTarget;
use crate::base::configuration::inclusion;
use crate::control::ServerLimits;
use crate::wal::TimelineId;

/// The file.
pub const AUTO_CONF: &str = "postgresql.auto.conf";

/// The first line of what is added.
const MARK: &str = "# Added by lifeboat for this recovery.";

/// What a recovery sets, and so what must not be set before it.
const OWN: [&str; 7] = [
    "recovery_prefetch",
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
];

/// Whether what is restored takes the place of the server that was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the server, and archives its log as before.
    Server,
    /// It is another one beside it: what it writes must not get into the same archive.
    Beside,
}

/// What happens when the target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtTarget {
    /// The server begins a timeline of its own and takes changes.
    #[default]
    Promote,
    /// It waits and can be read.
    Pause,
}

/// Whether a server reads the log ahead of what it replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadAhead {
    /// As it is used to.
    #[default]
    Usual,
    /// It does not: behind its target lies a hole, at which it would stop too early. Servers since 15 have
    /// to be told; older ones never do.
    Never,
}

/// What a server that recovers is told.
#[derive(Debug, Clone)]
pub struct RecoverySettings {
    /// Up to where.
    pub target: RecoveryTarget,
    /// Along which timeline.
    pub timeline: TimelineId,
    /// What then.
    pub at_target: AtTarget,
    /// What fetches the log: `lifeboat wal get %f %p`.
    pub restore_command: String,
    /// Beside the server or in its place.
    pub place: Place,
    /// Whether the log may be read ahead of what is replayed.
    pub read_ahead: ReadAhead,
}

impl RecoverySettings {
    /// Returns the settings and their values.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("restore_command", self.restore_command.clone())];
        let target = match &self.target {
            RecoveryTarget::Latest => None,
            RecoveryTarget::Immediate => Some(("recovery_target", "immediate".to_owned())),
            RecoveryTarget::Time(time) => Some(("recovery_target_time", as_postgres(*time))),
            RecoveryTarget::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            RecoveryTarget::Xid(xid) => Some(("recovery_target_xid", xid.to_string())),
            RecoveryTarget::Name(name) => Some(("recovery_target_name", name.clone())),
        };
        if let Some(target) = target {
            lines.push(target);
            let action = match self.at_target {
                AtTarget::Promote => "promote",
                AtTarget::Pause => "pause",
            };
            lines.push(("recovery_target_action", action.to_owned()));
        }
        // For `immediate` the latest timeline might not go on from where the backup stops.
        let timeline = match self.target {
            RecoveryTarget::Immediate => "current".to_owned(),
            _ => self.timeline.to_string(),
        };
        lines.push(("recovery_target_timeline", timeline));
        if self.read_ahead == ReadAhead::Never {
            lines.push(("recovery_prefetch", "off".to_owned()));
        }
        if self.place == Place::Beside {
            lines.push(("archive_mode", "off".to_owned()));
            lines.push(("primary_conninfo", String::new()));
            lines.push(("synchronous_standby_names", String::new()));
            // Its subscriptions are another server's, which goes on using their slots at the publisher.
            lines.push(("max_logical_replication_workers", "0".to_owned()));
        }
        lines
    }

    /// Returns the file with these settings, in which those of a former recovery mean nothing any more.
    pub fn write_into(&self, before: &str) -> String {
        let mut text = String::new();
        for line in before.lines().filter(|line| *line != MARK) {
            let sign = if is_of_recovery(line) { "# " } else { "" };
            writeln!(text, "{sign}{line}").expect("a string takes whatever is written");
        }
        writeln!(text, "{MARK}").expect("a string takes whatever is written");
        for (name, value) in self.lines() {
            writeln!(text, "{name} = {}", quoted(&value))
                .expect("a string takes whatever is written");
        }
        text
    }
}

/// Returns limits that a server which recovers has to have, for the command line of a temporary one.
pub fn limits(limits: &ServerLimits) -> [(&'static str, u32); 5] {
    [
        ("max_connections", limits.connections),
        ("max_worker_processes", limits.worker_processes),
        ("max_wal_senders", limits.wal_senders),
        ("max_prepared_transactions", limits.prepared_transactions),
        ("max_locks_per_transaction", limits.locks_per_transaction),
    ]
}

/// Comments out what a file of settings says of places that are another server's.
pub fn without_places(text: &str) -> String {
    const PLACES: [&str; 5] = [
        "data_directory",
        "hba_file",
        "ident_file",
        "external_pid_file",
        // Until 14; Debian's lies in a directory that only its own tools make.
        "stats_temp_directory",
    ];
    let mut changed = String::new();
    for line in text.lines() {
        let sign = if PLACES.iter().any(|place| sets(line, place)) { "# " } else { "" };
        writeln!(changed, "{sign}{line}").expect("a string takes whatever is written");
    }
    changed
}

/// Lets the directives of a file that lay in `directory` include what was stored from where it is now;
/// `place` tells where something went, if it was stored.
pub fn with_inclusions(
    text: &str,
    directory: &Path,
    place: impl Fn(&Path) -> Option<PathBuf>,
) -> String {
    let mut changed = String::new();
    for line in text.lines() {
        let moved = inclusion(line, directory)
            .filter(|inclusion| !inclusion.moves_along)
            .and_then(|inclusion| Some((inclusion.word, place(&inclusion.path)?)));
        // A file of settings knows single quotes only, one of access rules double ones.
        let quote = if line.contains('\'') { '\'' } else { '"' };
        match moved {
            Some((word, path)) => writeln!(changed, "{word} {quote}{}{quote}", path.display()),
            None => writeln!(changed, "{line}"),
        }
        .expect("a string takes whatever is written");
    }
    changed
}

fn is_of_recovery(line: &str) -> bool {
    let name = line.trim_start().to_ascii_lowercase();
    name.starts_with("recovery_target") || OWN.iter().any(|own| sets(line, own))
}

/// Tells whether a line sets something.
fn sets(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let (Some(start), Some(rest)) = (line.get(..name.len()), line.get(name.len()..)) else {
        return false;
    };
    start.eq_ignore_ascii_case(name) && rest.starts_with([' ', '\t', '='])
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Writes a time as every server reads it, whatever its settings.
fn as_postgres(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::Lsn;

    fn settings(target: RecoveryTarget, place: Place) -> RecoverySettings {
        RecoverySettings {
            target,
            timeline: TimelineId(3),
            at_target: AtTarget::Promote,
            restore_command: "lifeboat --plan '/etc/a b' wal get %f \"%p\"".to_owned(),
            place,
            read_ahead: ReadAhead::Usual,
        }
    }

    #[test]
    fn there_is_exactly_one_target_and_none_of_before() {
        let before = "work_mem = '8MB'\nRecovery_Target_Time = 'x'\n recovery_target_lsn='0/1'\n\
                      restore_command = 'cp'\nrestore_commander = 1\nprimary_conninfo='host=x'\n";
        for (target, line) in [
            (RecoveryTarget::Immediate, "recovery_target = 'immediate'"),
            (
                RecoveryTarget::Time("2026-11-23T02:00:00.25Z".parse().unwrap()),
                "recovery_target_time = '2026-11-23 02:00:00.250000+00'",
            ),
            (RecoveryTarget::Lsn(Lsn(0x300_0028)), "recovery_target_lsn = '0/3000028'"),
            (RecoveryTarget::Xid(7), "recovery_target_xid = '7'"),
            (RecoveryTarget::Name("it's".to_owned()), "recovery_target_name = 'it''s'"),
        ] {
            let text = settings(target, Place::Server).write_into(before);
            let text = settings(RecoveryTarget::Latest, Place::Server).write_into(&text);
            assert!(text.contains(&format!("# {line}\n")), "{text}");
            let live: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(
                live,
                [
                    "work_mem = '8MB'",
                    "restore_commander = 1",
                    "restore_command = 'lifeboat --plan ''/etc/a b'' wal get %f \"%p\"'",
                    "recovery_target_timeline = '3'",
                ]
            );
        }
    }

    #[test]
    fn a_server_beside_archives_nothing_and_follows_nobody() {
        let text = settings(RecoveryTarget::Immediate, Place::Beside).write_into("");
        for line in [
            "recovery_target_timeline = 'current'",
            "archive_mode = 'off'",
            "primary_conninfo = ''",
            "synchronous_standby_names = ''",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn places_of_the_old_server_mean_nothing() {
        let text =
            "data_directory = '/x'\n HBA_FILE='/y'\nport = 5433\ndata_directory_mode = 0700\n";
        assert_eq!(
            without_places(text),
            "# data_directory = '/x'\n#  HBA_FILE='/y'\nport = 5433\ndata_directory_mode = 0700\n"
        );
    }

    #[test]
    fn what_is_included_from_elsewhere_is_found_where_it_went() {
        let text = "include_dir = 'conf.d'\ninclude '/etc/shared.conf'\n\
            include_if_exists '../gone.conf'\nINCLUDE \"../more.hba\"\nport = 5433\n";
        let stored = |path: &Path| {
            let is_stored = ["/etc/shared.conf", "/etc/pg/more.hba"].map(Path::new).contains(&path);
            is_stored.then(|| Path::new("/data/etc").join(path.strip_prefix("/").unwrap()))
        };
        assert_eq!(
            with_inclusions(text, Path::new("/etc/pg/main"), stored),
            "include_dir = 'conf.d'\ninclude '/data/etc/etc/shared.conf'\n\
             include_if_exists '../gone.conf'\ninclude \"/data/etc/etc/pg/more.hba\"\nport = 5433\n"
        );
    }
}
