//! Where copies live: one trait over disk, memory and object stores, its decorators, and the
//! conformance suite that every implementation passes.
//!
//! [`durable`] is here as well, the one way in which any crate writes a file that must survive; and
//! [`envelope`], what everything outside a tier's repository is sealed in.

mod answering;
pub mod azure;
pub mod cold;
pub mod conformance;
pub mod counting;
pub mod durable;
pub mod envelope;
mod environment;
pub mod error;
pub mod fault;
pub mod http;
pub mod local;
pub mod memory;
pub mod path;
mod patience;
pub mod placement;
mod prepared;
pub mod protection;
pub mod refusal;
pub mod rehearsal;
mod request;
pub mod retry;
pub mod s3;
pub mod sftp;
pub mod throttle;
pub mod tier;
pub mod warmth;

pub use answering::Answering;
pub use azure::AzureTier;
pub use cold::ColdTier;
pub use counting::CountingTier;
pub use error::TierError;
pub use fault::FaultTier;
pub use local::LocalTier;
pub use memory::MemoryTier;
pub use path::{ObjectPath, ObjectPrefix};
pub use patience::Patience;
pub use placement::{AccessClass, LockRule, Placement, ThawSpeed};
pub use protection::{LockMode, Protection, Shortfall};
pub use refusal::Refusal;
pub use rehearsal::RehearsalTier;
pub use retry::{FirstAnswer, RetryPolicy, RetryTier, steady, steady_as_known};
pub use s3::S3Tier;
pub use sftp::SftpTier;
pub use throttle::{Throttle, ThrottleTier};
pub use tier::{Creation, Listings, ObjectMeta, PutMode, ReadRange, Tier};
pub use warmth::Warmth;
