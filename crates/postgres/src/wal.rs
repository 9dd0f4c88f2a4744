//! PostgreSQL's write-ahead log as it lies in files: names, pages, records, and what recovery needs of them.
//!
//! Nothing here does I/O, and everything takes bytes from outside for what they are: bounded, perhaps
//! malformed, never a reason to panic.
//!
//! - [`segment`]: names and positions.
//! - [`page`]: the heads of pages, and so whose log a segment is and which server wrote it.
//! - [`record`]: records over the ends of pages and segments, each held against its checksum.
//! - [`event`]: what the few records say that recovery can aim at.
//! - [`times`]: what all of that makes of a segment: up to when it leads.

pub mod event;
pub mod page;
pub mod record;
pub mod segment;
pub mod times;

pub use event::{Event, Transaction};
pub use page::{SegmentHeader, WalMagic};
pub use record::{Record, RecordReader, WalError};
pub use segment::{
    ParseWalNameError, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName,
};
pub use times::SegmentSummary;
