//! `global/pg_control`: who a cluster is, what it last knew of its log, and how it was built.
//!
//! The file is a copy of `ControlFileData` in PostgreSQL's `src/include/catalog/pg_control.h`. Versions
//! 13 to 16 share one layout (control version 1300) and differ in the catalog's version; 17 (1700) put
//! `wal_level` into what was padding inside of the checkpoint; 18 (1800) put
//! `default_char_signedness` before the nonce, which moves the checksum at the end by four bytes.
//!
//! A file that is read while the server writes it may be torn; its CRC tells, and reading again helps.

use lifeboat_model::{Classify, ErrorKind, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fields::Fields;
use crate::page::Checksums;
use crate::wal::{SegmentSize, TimelineId};

/// How many bytes the file has; all behind the checksum are zero.
pub const CONTROL_FILE_LENGTH: usize = 8192;

/// Where each field lies, as the C compiler of every 64-bit machine lays the structure out.
mod place {
    pub const SYSTEM: usize = 0;
    pub const CONTROL_VERSION: usize = 8;
    pub const CATALOG_VERSION: usize = 12;
    pub const STATE: usize = 16;
    pub const WRITTEN: usize = 24;
    pub const CHECKPOINT: usize = 32;
    pub const CHECKPOINT_COPY: usize = 40;
    pub const CHECKPOINT_COPY_LENGTH: usize = 88;
    pub const MIN_RECOVERY: usize = 136;
    pub const MIN_RECOVERY_TIMELINE: usize = 144;
    pub const BACKUP_START: usize = 152;
    pub const BACKUP_END: usize = 160;
    pub const BACKUP_END_REQUIRED: usize = 168;
    pub const WAL_LEVEL: usize = 172;
    pub const MAX_CONNECTIONS: usize = 180;
    pub const MAX_WORKER_PROCESSES: usize = 184;
    pub const MAX_WAL_SENDERS: usize = 188;
    pub const MAX_PREPARED: usize = 192;
    pub const MAX_LOCKS: usize = 196;
    pub const TRACK_COMMIT_TIMESTAMP: usize = 200;
    pub const PAGE_LENGTH: usize = 216;
    pub const FILE_PAGES: usize = 220;
    pub const WAL_PAGE_LENGTH: usize = 224;
    pub const SEGMENT_SIZE: usize = 228;
    pub const CHECKSUM_VERSION: usize = 252;
}

/// A position that can hold a record and never does: the first segment of a log is never written.
///
/// The server insists that the position could be one of a record (`XRecOffIsValid`) before it even
/// looks for a `backup_label`, so zero would not do.
const NO_CHECKPOINT: Lsn = Lsn(0x28);

/// Which server wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlVersion {
    /// The version of the file's format, such as 1300.
    pub control: u32,
    /// The version of the system catalogs, such as 202209061.
    pub catalog: u32,
    /// The major version of PostgreSQL that has both.
    pub major: u32,
}

/// Control version, catalog version, major version, and where the checksum lies.
const VERSIONS: [(u32, u32, u32, usize); 6] = [
    (1300, 202_007_201, 13, 288),
    (1300, 202_107_181, 14, 288),
    (1300, 202_209_061, 15, 288),
    (1300, 202_307_071, 16, 288),
    (1700, 202_406_281, 17, 288),
    (1800, 202_506_291, 18, 292),
];

/// What the server was doing when it wrote the file last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterState {
    /// Starting for the first time.
    Startup,
    /// Shut down as it should.
    ShutDown,
    /// Shut down as it should, as a standby.
    ShutDownInRecovery,
    /// About to shut down.
    ShuttingDown,
    /// Repairing itself after a crash.
    CrashRecovery,
    /// Replaying an archive, or following as a standby.
    ArchiveRecovery,
    /// In use, or crashed while it was.
    InProduction,
}

/// How much the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalLevel {
    /// Only what repairs a crash: no archive of it can be recovered from.
    Minimal,
    /// What archives and standbys need.
    Replica,
    /// What logical decoding needs too.
    Logical,
}

/// The checkpoint from which a server would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where replay begins.
    pub redo: Lsn,
    /// On which timeline it was made.
    pub timeline: TimelineId,
    /// From which that one was begun, if this checkpoint begins it; else the same.
    pub previous_timeline: TimelineId,
    /// The next transaction's number, with its epoch.
    pub next_transaction: u64,
    /// When it was begun.
    pub time: Timestamp,
}

/// The settings that a standby, or a server that recovers, must not go below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerLimits {
    /// `max_connections`.
    pub connections: u32,
    /// `max_worker_processes`.
    pub worker_processes: u32,
    /// `max_wal_senders`.
    pub wal_senders: u32,
    /// `max_prepared_transactions`.
    pub prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub locks_per_transaction: u32,
}

impl ServerLimits {
    /// Returns of each the larger one.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        Self {
            connections: self.connections.max(other.connections),
            worker_processes: self.worker_processes.max(other.worker_processes),
            wal_senders: self.wal_senders.max(other.wal_senders),
            prepared_transactions: self.prepared_transactions.max(other.prepared_transactions),
            locks_per_transaction: self.locks_per_transaction.max(other.locks_per_transaction),
        }
    }
}

/// What a control file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The number that a cluster and all of its copies share, and no other cluster has.
    pub system_id: u64,
    /// Which server wrote it.
    pub version: ControlVersion,
    /// What that was doing.
    pub state: ClusterState,
    /// When it wrote this.
    pub written: Timestamp,
    /// Where the last checkpoint's record lies.
    pub checkpoint_lsn: Lsn,
    /// What that checkpoint says.
    pub checkpoint: Checkpoint,
    /// Up to where the log must be replayed before the data make sense; 0 if that is not known yet.
    pub min_recovery: Lsn,
    /// On which timeline.
    pub min_recovery_timeline: TimelineId,
    /// Where the backup started from which this server is being recovered, or 0.
    pub backup_start: Lsn,
    /// Where a backup that was taken of a standby ended, or 0.
    pub backup_end: Lsn,
    /// Whether the end of that backup must be seen in the log before the data make sense.
    pub is_backup_end_required: bool,
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// What a server that recovers must not go below.
    pub limits: ServerLimits,
    /// `track_commit_timestamp`.
    pub tracks_commit_timestamps: bool,
    /// The length of a page of data, in bytes.
    pub page_length: u32,
    /// How many pages a file of a relation has before the next is begun.
    pub file_pages: u32,
    /// The length of a page of the log, in bytes.
    pub wal_page_length: u32,
    /// The size of a segment of the log.
    pub segment_size: SegmentSize,
    /// `data_checksum_version`: 0 without checksums, 1 with.
    pub checksum_version: u32,
}

/// A control file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It ends too early.
    #[error("the control file has {length} bytes, expected {CONTROL_FILE_LENGTH}")]
    Length {
        /// How many bytes.
        length: usize,
    },
    /// It is of a server that lifeboat does not know, or no control file at all.
    #[error(
        "the control file has version {control} with catalog {catalog}, expected one of PostgreSQL 13 to 18"
    )]
    Version {
        /// The version of its format.
        control: u32,
        /// The version of the catalogs.
        catalog: u32,
    },
    /// It was read while it was written, or is damaged.
    #[error("the control file's checksum is {found:08X}, expected {expected:08X}")]
    Checksum {
        /// What its bytes make.
        expected: u32,
        /// What stands in it.
        found: u32,
    },
    /// A field has a value that it cannot have.
    #[error("the control file's {field} makes no sense")]
    Field {
        /// Which field.
        field: &'static str,
    },
}

impl Classify for ControlError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Config,
            Self::Length { .. } | Self::Checksum { .. } | Self::Field { .. } => ErrorKind::Corrupt,
        }
    }
}

impl ControlFile {
    /// Reads a control file, of which only what is behind the checksum may be missing.
    pub fn parse(file: &[u8]) -> Result<Self, ControlError> {
        let (version, _) = checked(file)?;
        let fields = Fields(file);
        // Whatever passed its checksum is long enough; `Field` is left for what the server itself wrote wrong.
        let number = |at| fields.u32(at).ok_or(ControlError::Length { length: file.len() });
        let long = |at| fields.u64(at).ok_or(ControlError::Length { length: file.len() });
        let flag = |at| fields.u8(at).is_some_and(|byte| byte != 0);
        let copy = fields.bytes(place::CHECKPOINT_COPY, place::CHECKPOINT_COPY_LENGTH);
        let field = |field| ControlError::Field { field };
        Ok(Self {
            system_id: long(place::SYSTEM)?,
            version,
            state: state(number(place::STATE)?).ok_or(field("state"))?,
            written: fields.seconds(place::WRITTEN).ok_or(field("time"))?,
            checkpoint_lsn: Lsn(long(place::CHECKPOINT)?),
            checkpoint: copy.and_then(Checkpoint::parse).ok_or(field("checkpoint"))?,
            min_recovery: Lsn(long(place::MIN_RECOVERY)?),
            min_recovery_timeline: TimelineId(number(place::MIN_RECOVERY_TIMELINE)?),
            backup_start: Lsn(long(place::BACKUP_START)?),
            backup_end: Lsn(long(place::BACKUP_END)?),
            is_backup_end_required: flag(place::BACKUP_END_REQUIRED),
            wal_level: wal_level(number(place::WAL_LEVEL)?).ok_or(field("wal_level"))?,
            limits: limits(fields).ok_or(ControlError::Length { length: file.len() })?,
            tracks_commit_timestamps: flag(place::TRACK_COMMIT_TIMESTAMP),
            page_length: number(place::PAGE_LENGTH)?,
            file_pages: number(place::FILE_PAGES)?,
            wal_page_length: number(place::WAL_PAGE_LENGTH)?,
            segment_size: SegmentSize::new(number(place::SEGMENT_SIZE)?)
                .ok_or(field("WAL segment size"))?,
            checksum_version: number(place::CHECKSUM_VERSION)?,
        })
    }

    /// Tells whether the cluster writes checksums into its pages.
    pub const fn checksums(&self) -> Checksums {
        if self.checksum_version == 0 { Checksums::Off } else { Checksums::On }
    }
}

impl Checkpoint {
    /// Reads a checkpoint, as it stands in the control file and in the log.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fields = Fields(bytes);
        Some(Self {
            redo: Lsn(fields.u64(0)?),
            timeline: TimelineId(fields.u32(8)?),
            previous_timeline: TimelineId(fields.u32(12)?),
            next_transaction: fields.u64(24)?,
            time: fields.seconds(64)?,
        })
    }
}

/// Makes a cluster that is being restored unable to start without its `backup_label`.
///
/// Without the label a server would begin at the checkpoint that the control file names, which lies
/// after the backup's start: it would come up and have lost changes without a word. The label overrides
/// what is written here; without it the server finds no checkpoint and refuses.
pub fn invalidate_checkpoint(file: &mut [u8]) -> Result<(), ControlError> {
    let (_, crc_at) = checked(file)?;
    let range = place::CHECKPOINT..place::CHECKPOINT + 8;
    file[range].copy_from_slice(&NO_CHECKPOINT.0.to_le_bytes());
    let crc = crc32c::crc32c(&file[..crc_at]);
    file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Returns the version of a file that its checksum fits, and where that checksum lies.
fn checked(file: &[u8]) -> Result<(ControlVersion, usize), ControlError> {
    let too_short = ControlError::Length { length: file.len() };
    let fields = Fields(file);
    let versions = fields.u32(place::CONTROL_VERSION).zip(fields.u32(place::CATALOG_VERSION));
    let (control, catalog) = versions.ok_or(too_short.clone())?;
    let known = VERSIONS.iter().find(|known| known.0 == control && known.1 == catalog);
    let &(_, _, major, crc_at) = known.ok_or(ControlError::Version { control, catalog })?;
    let (covered, found) = fields.bytes(0, crc_at).zip(fields.u32(crc_at)).ok_or(too_short)?;
    let expected = crc32c::crc32c(covered);
    if expected != found {
        return Err(ControlError::Checksum { expected, found });
    }
    Ok((ControlVersion { control, catalog, major }, crc_at))
}

fn limits(fields: Fields<'_>) -> Option<ServerLimits> {
    Some(ServerLimits {
        connections: fields.u32(place::MAX_CONNECTIONS)?,
        worker_processes: fields.u32(place::MAX_WORKER_PROCESSES)?,
        wal_senders: fields.u32(place::MAX_WAL_SENDERS)?,
        prepared_transactions: fields.u32(place::MAX_PREPARED)?,
        locks_per_transaction: fields.u32(place::MAX_LOCKS)?,
    })
}

const fn state(number: u32) -> Option<ClusterState> {
    Some(match number {
        0 => ClusterState::Startup,
        1 => ClusterState::ShutDown,
        2 => ClusterState::ShutDownInRecovery,
        3 => ClusterState::ShuttingDown,
        4 => ClusterState::CrashRecovery,
        5 => ClusterState::ArchiveRecovery,
        6 => ClusterState::InProduction,
        _ => return None,
    })
}

const fn wal_level(number: u32) -> Option<WalLevel> {
    Some(match number {
        0 => WalLevel::Minimal,
        1 => WalLevel::Replica,
        2 => WalLevel::Logical,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file as each known version would write it.
    fn file(version: (u32, u32, u32, usize)) -> Vec<u8> {
        let (control, catalog, _, crc_at) = version;
        let mut file = vec![0; CONTROL_FILE_LENGTH];
        let mut put =
            |at: usize, number: u32| file[at..at + 4].copy_from_slice(&number.to_le_bytes());
        put(place::SYSTEM, 4711);
        put(place::CONTROL_VERSION, control);
        put(place::CATALOG_VERSION, catalog);
        put(place::STATE, 6);
        put(place::CHECKPOINT, 0x300_0158);
        put(place::WAL_LEVEL, 1);
        put(place::MAX_CONNECTIONS, 100);
        put(place::SEGMENT_SIZE, 16 << 20);
        put(place::CHECKSUM_VERSION, 1);
        seal(&mut file, crc_at);
        file
    }

    fn seal(file: &mut [u8], crc_at: usize) {
        let crc = crc32c::crc32c(&file[..crc_at]);
        file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn every_known_version_is_read() {
        for version in VERSIONS {
            let control = ControlFile::parse(&file(version)).unwrap();
            assert_eq!((control.system_id, control.version.major), (4711, version.2));
            assert_eq!(control.checkpoint_lsn, Lsn(0x300_0158));
            assert_eq!(control.checksums(), Checksums::On);
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        for version in VERSIONS {
            for bit in 0..version.3 * 8 {
                let mut file = file(version);
                file[bit / 8] ^= 1 << (bit % 8);
                assert!(ControlFile::parse(&file).is_err(), "{bit}");
            }
        }
    }

    #[test]
    fn a_file_cut_short_or_of_another_version_is_refused() {
        let whole = file(VERSIONS[5]);
        for length in 0..296 {
            assert!(ControlFile::parse(&whole[..length]).is_err(), "{length}");
        }
        let mut newer = whole.clone();
        newer[8] += 1;
        assert_eq!(
            ControlFile::parse(&newer),
            Err(ControlError::Version { control: 1801, catalog: 202_506_291 })
        );
        assert!(ControlFile::parse(&whole[..296]).is_ok());
    }

    #[test]
    fn a_field_that_no_server_writes_is_named() {
        for (at, name) in [(place::STATE, "state"), (place::SEGMENT_SIZE, "WAL segment size")] {
            let mut file = file(VERSIONS[2]);
            file[at] = 77;
            seal(&mut file, VERSIONS[2].3);
            assert_eq!(ControlFile::parse(&file), Err(ControlError::Field { field: name }));
        }
    }

    #[test]
    fn an_invalid_checkpoint_is_all_that_changes() {
        for version in VERSIONS {
            let mut edited = file(version);
            let before = ControlFile::parse(&edited).unwrap();
            invalidate_checkpoint(&mut edited).unwrap();
            let after = ControlFile::parse(&edited).unwrap();
            assert_eq!(after, ControlFile { checkpoint_lsn: NO_CHECKPOINT, ..before });
        }
        let mut damaged = file(VERSIONS[0]);
        damaged[100] ^= 1;
        assert!(invalidate_checkpoint(&mut damaged).is_err());
    }

    proptest! {
        #[test]
        fn no_sealed_bytes_make_it_panic(
            changes in prop::collection::vec((16usize..288, any::<u8>()), 0..40),
            version in prop::sample::select(&VERSIONS[..]),
        ) {
            let mut file = file(version);
            for (at, byte) in changes {
                file[at] = byte;
            }
            seal(&mut file, version.3);
            let _ = ControlFile::parse(&file);
        }
    }
}
