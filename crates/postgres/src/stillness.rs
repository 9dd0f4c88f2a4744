//! Whether a server's data changed since it was asked last, though its log says nothing new.
//!
//! A server that nobody writes to ends no segment, so its archive falls behind the clock without anything being lost. What
//! tells is the snapshot of a transaction (PostgreSQL manual, "Transaction ID and Snapshot Information Functions"): `xmax`
//! is one above the latest transaction that ended, `xmin` the oldest that runs. As long as both are the same number, and the
//! number stays, nothing was committed that the log in front of the place read with it does not hold.

use lifeboat_model::Lsn;

use crate::error::PostgresError;
use crate::server::Server;
use crate::session::Session;

use crate::wal::page::LONG_LENGTH;
use crate::wal::{SegmentNumber, SegmentSize, TimelineId};

/// What a primary says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The cluster.
    pub system_id: u64,
    /// The timeline that it writes.
    pub timeline: TimelineId,
    /// Where its log has to be archived up to so that all that was committed is in it.
    pub committed_before: Lsn,
    /// The number behind that of the latest transaction that ended.
    pub next: u64,
    /// Whether no older transaction runs, or is prepared.
    pub is_settled: bool,
    /// How large its segments are.
    pub size: SegmentSize,
}

impl Reading {
    /// Tells whether the segment in which this place lies is still written to.
    pub fn is_being_written(&self, place: Lsn) -> bool {
        SegmentNumber::of(place, self.size) == SegmentNumber::of(self.committed_before, self.size)
            && !place.0.is_multiple_of(u64::from(self.size.bytes()))
    }
}

/// A server that is asked again and again.
#[derive(Debug)]
pub struct Still {
    session: Session,
}

impl Still {
    /// Connects.
    pub async fn connect(server: &Server) -> Result<Self, PostgresError> {
        Ok(Self { session: server.maintenance_session().await? })
    }

    /// Asks; a standby has nothing to say.
    pub async fn read(&self) -> Result<Option<Reading>, PostgresError> {
        // The snapshot is taken before the place is read, which therefore is behind all that it shows.
        const ASK: &str = "
            SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
                   (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
                   pg_catalog.pg_current_wal_insert_lsn()::text,
                   pg_catalog.pg_snapshot_xmin(now)::text, pg_catalog.pg_snapshot_xmax(now)::text,
                   (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')
            FROM pg_catalog.pg_current_snapshot() AS now
            WHERE NOT pg_catalog.pg_is_in_recovery()";
        let rows = self.session.client().query(ASK, &[]).await;
        let rows = rows.map_err(|source| {
            self.session.failed("tell whether its data changed".to_owned(), source)
        })?;
        let Some(row) = rows.first() else { return Ok(None) };
        let number = |column: usize| row.get::<_, String>(column).parse::<u64>().ok();
        let size = u32::try_from(row.get::<_, i64>(5)).ok().and_then(SegmentSize::new);
        let place = row.get::<_, String>(2).parse().ok();
        let (Some(oldest), Some(next), Some(size), Some(place)) =
            (number(3), number(4), size, place)
        else {
            return Ok(None);
        };
        Ok(Some(Reading {
            system_id: row.get::<_, i64>(0).cast_unsigned(),
            timeline: TimelineId(row.get::<_, i32>(1).cast_unsigned()),
            committed_before: before_header(place, size),
            next,
            is_settled: oldest == next,
            size,
        }))
    }

    /// Has the server end the segment that it writes, so that what lies in it is archived. It costs one segment.
    pub async fn end_segment(&self) -> Result<(), PostgresError> {
        const SWITCH: &str = "SELECT pg_catalog.pg_switch_wal()";
        self.session.run(SWITCH, || "end a segment of its log".to_owned()).await
    }
}

/// Returns the start of the segment for a place behind nothing but its header: nothing was written there yet.
fn before_header(place: Lsn, size: SegmentSize) -> Lsn {
    let within = place.0 % u64::from(size.bytes());
    if within <= u64::from(LONG_LENGTH) { Lsn(place.0 - within) } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_which_only_the_header_is_written_holds_nothing() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let start = 5 << 24;
        assert_eq!(before_header(Lsn(start), size), Lsn(start));
        assert_eq!(before_header(Lsn(start + 40), size), Lsn(start));
        assert_eq!(before_header(Lsn(start + 41), size), Lsn(start + 41));
    }

    #[test]
    fn a_place_in_the_segment_that_is_written_waits_for_its_end() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let reading = |place| Reading {
            system_id: 7,
            timeline: TimelineId(1),
            committed_before: Lsn(place),
            next: 700,
            is_settled: true,
            size,
        };
        let (start, next) = (5 << 24, 6 << 24);
        assert!(reading(start + 900).is_being_written(Lsn(start + 100)));
        assert!(!reading(next + 100).is_being_written(Lsn(start + 100)), "it ended");
        assert!(!reading(start + 900).is_being_written(Lsn(start)), "nothing before it is in it");
    }
}
