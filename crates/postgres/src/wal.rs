//! PostgreSQL's write-ahead log as it lies in files: names, pages, records, and what recovery needs of them.
//!
//! Nothing here does I/O, and everything takes bytes from outside for what they are: bounded, perhaps
//! malformed, never a reason to panic.

pub mod segment;

pub use segment::{
    ParseWalNameError, SegmentName, SegmentNumber, SegmentSize, TimelineId, WalFileName,
};
