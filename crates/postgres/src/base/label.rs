//! `backup_label`: what a server reads to begin its recovery, byte for byte as `pg_backup_stop` gave it.
//!
//! Written by `build_backup_content` of PostgreSQL's `src/backend/access/transam/xlogbackup.c` (before 15,
//! in `xlog.c`), read by `read_backup_label` of `xlogrecovery.c`.

use lifeboat_model::Lsn;

use crate::wal::{SegmentName, TimelineId};

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins.
    pub start: Lsn,
    /// The segment that holds it.
    pub segment: SegmentName,
    /// Where the checkpoint's record lies.
    pub checkpoint: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Whether the backup is of a standby.
    pub is_from_standby: bool,
}

impl BackupLabel {
    /// Reads a label; none if a server would not take it either.
    pub fn parse(label: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(label);
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.strip_prefix(": "))
        };
        let (start, file) = value("START WAL LOCATION")?.split_once(" (file ")?;
        Some(Self {
            start: start.parse().ok()?,
            segment: file.strip_suffix(')')?.parse().ok()?,
            checkpoint: value("CHECKPOINT LOCATION")?.parse().ok()?,
            timeline: TimelineId(value("START TIMELINE")?.parse().ok()?),
            is_from_standby: value("BACKUP FROM")? == "standby",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/9000028 (file 000000020000000000000009)
CHECKPOINT LOCATION: 0/9000060
BACKUP METHOD: streamed
BACKUP FROM: standby
START TIME: 2026-11-23 02:00:00 UTC
LABEL: lifeboat
START TIMELINE: 2
";

    #[test]
    fn a_label_is_read_as_servers_write_it() {
        let label = BackupLabel::parse(LABEL.as_bytes()).unwrap();
        let expected = BackupLabel {
            start: Lsn(0x900_0028),
            segment: "000000020000000000000009".parse().unwrap(),
            checkpoint: Lsn(0x900_0060),
            timeline: TimelineId(2),
            is_from_standby: true,
        };
        assert_eq!(label, expected);
    }

    #[test]
    fn a_label_that_lacks_a_line_is_none() {
        for (number, _) in LABEL.lines().enumerate().filter(|(_, line)| {
            !["BACKUP METHOD", "START TIME:", "LABEL"].iter().any(|key| line.starts_with(key))
        }) {
            let lines = LABEL.lines().enumerate().filter(|(other, _)| *other != number);
            let text = lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n");
            assert_eq!(BackupLabel::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(BackupLabel::parse(b"\xFF\xFE"), None);
    }
}
