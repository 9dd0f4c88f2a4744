//! The vocabulary that every crate of lifeboat shares: ids, names, sizes, time, errors, events.
//!
//! Nothing here does I/O. A type that lives here is used by at least two crates; what only one
//! crate needs stays in that crate.

pub mod cancel;
pub mod capability;
pub mod clock;
pub mod error;
pub mod event;
pub mod id;
pub mod instant;
pub mod lsn;
pub mod name;
pub mod outcome;
pub mod pattern;
pub mod secret;
pub mod size;

pub use cancel::{Cancel, Cancelled, Keeper};
pub use capability::{Capabilities, Capability};
pub use clock::{Clock, SimClock, SystemClock};
pub use error::{Classify, ErrorCode, ErrorKind, Exit, Hint};
pub use event::{Event, EventSink, Silent, Stage, Work};
pub use id::{BlobId, EntryId, IndexId, JobId, KeyId, LockId, PackId, PlanId, RecordId};
pub use id::{RepositoryId, RunId, RunbookId, SnapshotId, WriterId};
pub use jiff::Timestamp;
pub use lsn::Lsn;
pub use name::{
    AssetName, BlackoutName, ChannelName, CheckName, ClassName, ContactName, DrillName,
};
pub use name::{
    PlaceName, RestoreTestName, ScenarioName, ScheduleName, ServiceName, SiteName, StepName,
};
pub use name::{TierName, VendorName};
pub use outcome::Outcome;
pub use secret::Secret;
pub use size::ByteSize;
