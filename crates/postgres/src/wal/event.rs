//! What the few records say that a recovery can aim at: ends of transactions, restore points, checkpoints.
//!
//! The structures are those of PostgreSQL's `src/include/access/xact.h`, `xlog_internal.h` and
//! `src/backend/access/rmgrdesc/xactdesc.c`. Versions 13 to 18 agree in all that is read here except for
//! the statistics that are dropped with a transaction: none before 15, entries of 12 bytes until 17, and
//! of 16 since 18.

use lifeboat_model::{Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::control::Checkpoint;
use crate::fields::Fields;
use crate::wal::{Record, TimelineId};

/// `RM_XLOG_ID`: records of the log itself.
const OF_LOG: u8 = 0;
/// `RM_XACT_ID`: records of transactions.
const OF_TRANSACTIONS: u8 = 1;

/// Sorts of records of the log itself (`pg_control.h`).
mod log {
    pub const CHECKPOINT_SHUTDOWN: u8 = 0x00;
    pub const CHECKPOINT_ONLINE: u8 = 0x10;
    pub const SWITCH: u8 = 0x40;
    pub const RESTORE_POINT: u8 = 0x70;
    pub const END_OF_RECOVERY: u8 = 0x90;
    pub const MASK: u8 = 0xF0;
}

/// Sorts of records of transactions (`xact.h`).
mod transaction {
    pub const COMMIT: u8 = 0x00;
    pub const PREPARE: u8 = 0x10;
    pub const ABORT: u8 = 0x20;
    pub const COMMIT_PREPARED: u8 = 0x30;
    pub const ABORT_PREPARED: u8 = 0x40;
    pub const MASK: u8 = 0x70;
    /// There are details.
    pub const HAS_INFO: u8 = 0x80;

    pub const HAS_DATABASE: u32 = 1 << 0;
    pub const HAS_CHILDREN: u32 = 1 << 1;
    pub const HAS_FILES: u32 = 1 << 2;
    pub const HAS_MESSAGES: u32 = 1 << 3;
    pub const HAS_PREPARED: u32 = 1 << 4;
    pub const HAS_STATISTICS: u32 = 1 << 8;
}

/// The longest name of a restore point, with the zero behind it (`MAXFNAMELEN`).
const RESTORE_POINT_NAME_MAX: usize = 64;

/// A transaction came to an end, or was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Its number; none where the record was cut off before it.
    pub xid: Option<u32>,
    /// When.
    pub time: Timestamp,
}

/// What a record says that recovery needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A transaction was committed, perhaps one that had been prepared.
    Commit(Transaction),
    /// A transaction was given up, perhaps one that had been prepared.
    Abort(Transaction),
    /// A transaction was prepared; what it did counts from its commit on.
    Prepare(Transaction),
    /// Somebody named this place.
    RestorePoint(RestorePoint),
    /// A checkpoint was made.
    Checkpoint(Checkpoint),
    /// A recovery ended, and a timeline began.
    EndOfRecovery {
        /// When.
        time: Timestamp,
        /// The timeline that begins.
        timeline: TimelineId,
        /// The timeline that was left.
        previous: TimelineId,
    },
    /// The rest of the segment is empty.
    Switch,
}

/// A place that `pg_create_restore_point` named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name, which need not be the only one of its kind.
    pub name: String,
    /// When it was made.
    pub time: Timestamp,
    /// The end of its record.
    pub lsn: Lsn,
}

impl Event {
    /// Reads what a record says; none for the many that recovery only replays.
    pub fn of(record: &Record<'_>, major: u32) -> Option<Self> {
        let data = Fields(record.data()?);
        let sort = record.info();
        match record.resource_manager() {
            OF_LOG => Self::of_log(sort & log::MASK, data, record.end()),
            OF_TRANSACTIONS => of_transaction(sort, data, record.xid(), major),
            _ => None,
        }
    }

    fn of_log(sort: u8, data: Fields<'_>, end: Lsn) -> Option<Self> {
        match sort {
            log::CHECKPOINT_SHUTDOWN | log::CHECKPOINT_ONLINE => {
                Checkpoint::parse(data.0).map(Self::Checkpoint)
            }
            log::SWITCH => Some(Self::Switch),
            log::RESTORE_POINT => {
                let name = data.bytes(8, RESTORE_POINT_NAME_MAX)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                Some(Self::RestorePoint(RestorePoint { name, time: data.timestamp(0)?, lsn: end }))
            }
            log::END_OF_RECOVERY => Some(Self::EndOfRecovery {
                time: data.timestamp(0)?,
                timeline: TimelineId(data.u32(8)?),
                previous: TimelineId(data.u32(12)?),
            }),
            _ => None,
        }
    }

    /// Returns when it happened, if a recovery can aim at that: as the server does, which stops at the
    /// ends of transactions and at restore points alone (`getRecordTimestamp`).
    pub const fn target_time(&self) -> Option<Timestamp> {
        match self {
            Self::Commit(transaction) | Self::Abort(transaction) => Some(transaction.time),
            Self::RestorePoint(point) => Some(point.time),
            Self::Prepare(_) | Self::Checkpoint(_) | Self::EndOfRecovery { .. } | Self::Switch => {
                None
            }
        }
    }
}

fn of_transaction(sort: u8, data: Fields<'_>, xid: u32, major: u32) -> Option<Event> {
    let ended = |xid| Some(Transaction { xid, time: data.timestamp(0)? });
    match sort & transaction::MASK {
        transaction::COMMIT => ended(Some(xid)).map(Event::Commit),
        transaction::ABORT => ended(Some(xid)).map(Event::Abort),
        transaction::COMMIT_PREPARED => {
            ended(prepared_xid(sort, data, Messages::Listed, major)).map(Event::Commit)
        }
        transaction::ABORT_PREPARED => {
            ended(prepared_xid(sort, data, Messages::Never, major)).map(Event::Abort)
        }
        // `xl_xact_prepare`: a magic number and a length come first.
        transaction::PREPARE => {
            Some(Event::Prepare(Transaction { xid: data.u32(8), time: data.timestamp(16)? }))
        }
        _ => None,
    }
}

/// Whether invalidation messages may be listed in a record; an abort has none, whatever its flags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Messages {
    Listed,
    Never,
}

/// Finds which transaction it is that was prepared before: the record's own number is that of the
/// session which decided, mostly none.
fn prepared_xid(sort: u8, data: Fields<'_>, messages: Messages, major: u32) -> Option<u32> {
    if sort & transaction::HAS_INFO == 0 {
        return None;
    }
    let info = data.u32(8)?;
    let mut at = 12;
    if info & transaction::HAS_DATABASE != 0 {
        at += 8;
    }
    let statistic = if major >= 18 { 16 } else { 12 };
    let mut lists = vec![
        (transaction::HAS_CHILDREN, 4),
        (transaction::HAS_FILES, 12),
        (transaction::HAS_STATISTICS, statistic),
    ];
    if messages == Messages::Listed {
        lists.push((transaction::HAS_MESSAGES, 16));
    }
    for (flag, entry_length) in lists {
        if info & flag != 0 {
            let entries = usize::try_from(data.u32(at)?).ok()?;
            at = entries.checked_mul(entry_length)?.checked_add(at + 4)?;
        }
    }
    if info & transaction::HAS_PREPARED == 0 { None } else { data.u32(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit of a prepared transaction with all that may come before its number.
    fn commit_prepared(statistic_length: usize) -> Vec<u8> {
        let mut data = 0i64.to_le_bytes().to_vec();
        let flags = transaction::HAS_DATABASE
            | transaction::HAS_CHILDREN
            | transaction::HAS_FILES
            | transaction::HAS_STATISTICS
            | transaction::HAS_MESSAGES
            | transaction::HAS_PREPARED;
        data.extend(flags.to_le_bytes());
        data.extend([9; 8]);
        for (count, length) in [(3u32, 4), (1, 12), (2, statistic_length), (2, 16)] {
            data.extend(count.to_le_bytes());
            data.extend(vec![9; count as usize * length]);
        }
        data.extend(4711u32.to_le_bytes());
        data
    }

    #[test]
    fn a_prepared_transaction_is_named_by_its_own_number() {
        let sort = transaction::COMMIT_PREPARED | transaction::HAS_INFO;
        for (major, length) in [(17, 12), (18, 16)] {
            let data = commit_prepared(length);
            let event = of_transaction(sort, Fields(&data), 0, major).unwrap();
            let time = Timestamp::from_second(946_684_800).unwrap();
            assert_eq!(event, Event::Commit(Transaction { xid: Some(4711), time }));
        }
    }

    #[test]
    fn a_count_that_leads_outside_is_no_number() {
        let mut data = commit_prepared(16);
        data[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        let sort = transaction::COMMIT_PREPARED | transaction::HAS_INFO;
        let event = of_transaction(sort, Fields(&data), 0, 18).unwrap();
        assert!(matches!(event, Event::Commit(Transaction { xid: None, .. })));
    }
}
