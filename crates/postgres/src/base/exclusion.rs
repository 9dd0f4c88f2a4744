//! What of a data directory no backup has, because a server makes it anew or must not find it.
//!
//! The rules are those of PostgreSQL's `src/backend/backup/basebackup.c` (`excludeDirContents`,
//! `excludeFiles`, `sendDir`), with two files more that say how a *former* recovery was to begin.
//! A path is relative to the data directory.

use std::ffi::OsStr;
use std::path::Path;

use super::relation::RelationName;

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusion {
    /// It is backed up.
    Kept,
    /// Of a directory, only itself: the server wants it to be there.
    Emptied,
    /// It is left out.
    Dropped,
}

/// Directories whose content is the running server's alone.
const EMPTIED: [&str; 9] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    // Other tablespaces are enumerated by what the server says of them.
    "pg_tblspc",
];

/// Files at the top that are the running server's alone, or tell of another backup or recovery.
const DROPPED: [&str; 11] = [
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
    "backup_manifest.tmp",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "recovery.signal",
];

/// Left out too: whether a restored server is a standby is decided when it is restored.
const STANDBY: &str = "standby.signal";

/// Files that a server makes anew, wherever they are, by how their names begin.
const PREFIXES: [&str; 2] = ["pg_internal.init", "pgsql_tmp"];

/// Directories that a server wants in its `pg_wal`; it makes the second itself.
pub const WAL_DIRECTORIES: [&str; 2] = ["pg_wal", "pg_wal/archive_status"];

/// Tells what is done with an entry of the data directory, or of a tablespace.
pub fn exclusion(path: &Path) -> Exclusion {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return Exclusion::Kept };
    if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Exclusion::Dropped;
    }
    let is_at_top = path.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    if is_at_top && EMPTIED.contains(&name) {
        Exclusion::Emptied
    } else if is_at_top && (DROPPED.contains(&name) || name == STANDBY) {
        Exclusion::Dropped
    } else {
        Exclusion::Kept
    }
}

/// Tells whether a file in a database's directory is left out; `is_unlogged` tells it of the relation
/// with a number, which is one that has an `_init` fork there.
pub fn is_left_out(name: RelationName, is_unlogged: impl Fn(u32) -> bool) -> bool {
    match name {
        RelationName::Temporary => true,
        RelationName::Relation(file) => {
            file.fork != super::relation::Fork::Init && is_unlogged(file.number)
        }
        RelationName::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_basebackup_leaves_out_is_left_out() {
        use Exclusion::{Dropped, Emptied, Kept};
        for (path, expected) in [
            // excludeDirContents, and what `sendDir` treats by itself.
            ("pg_stat_tmp", Emptied),
            ("pg_replslot", Emptied),
            ("pg_dynshmem", Emptied),
            ("pg_notify", Emptied),
            ("pg_serial", Emptied),
            ("pg_snapshots", Emptied),
            ("pg_subtrans", Emptied),
            ("pg_wal", Emptied),
            ("pg_tblspc", Emptied),
            // excludeFiles.
            ("postgresql.auto.conf.tmp", Dropped),
            ("current_logfiles.tmp", Dropped),
            ("global/pg_internal.init", Dropped),
            ("base/5/pg_internal.init.1234", Dropped),
            ("backup_label", Dropped),
            ("tablespace_map", Dropped),
            ("backup_manifest", Dropped),
            ("postmaster.pid", Dropped),
            ("postmaster.opts", Dropped),
            // PG_TEMP_FILES_DIR, PG_TEMP_FILE_PREFIX.
            ("base/pgsql_tmp", Dropped),
            ("base/pgsql_tmp/pgsql_tmp71.0", Dropped),
            ("pgsql_tmp71.0", Dropped),
            // Of a former recovery.
            ("backup_label.old", Dropped),
            ("recovery.signal", Dropped),
            ("standby.signal", Dropped),
            // All else is there.
            ("PG_VERSION", Kept),
            ("postgresql.conf", Kept),
            ("postgresql.auto.conf", Kept),
            ("pg_hba.conf", Kept),
            ("base/5/1259", Kept),
            ("global/pg_control", Kept),
            ("pg_xact/0000", Kept),
            ("pg_multixact/offsets/0000", Kept),
            ("pg_commit_ts", Kept),
            ("pg_twophase/00000000000002E5", Kept),
            ("pg_logical/replorigin_checkpoint", Kept),
            ("pg_stat/pgstat.stat", Kept),
            ("log/postgresql.log", Kept),
            // Names count only at their place.
            ("mine/postmaster.pid", Kept),
            ("mine/pg_wal", Kept),
        ] {
            assert_eq!(exclusion(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn of_an_unlogged_relation_only_what_it_is_made_anew_from_is_kept() {
        let left_out = |name: &str| is_left_out(RelationName::parse(name), |number| number == 7);
        for name in ["7", "7.1", "7_fsm", "7_vm", "t3_9", "t3_9_vm"] {
            assert!(left_out(name), "{name}");
        }
        for name in ["7_init", "8", "8_fsm", "8_init", "PG_VERSION", "pg_filenode.map"] {
            assert!(!left_out(name), "{name}");
        }
    }
}
