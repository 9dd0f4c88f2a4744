//! Whether an object can be read at once, and whether it may be stored where it cannot.

use bytes::Bytes;
use serde::Serialize;

use crate::{ObjectPath, PutMode, Tier, TierError};

/// Whether an object can be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warmth {
    /// It can.
    Ready,
    /// Only after it was asked for, and hours later.
    Cold,
    /// It was asked for and is not there yet.
    Thawing,
}

/// How soon whoever stores an object wants to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// At once, as [`Tier::put`] has it.
    Soon,
    /// Only in a recovery, as [`Tier::put_cold`] has it.
    InRecovery,
}

impl Need {
    /// Stores an object accordingly: what decorators pass on.
    pub(crate) async fn put(
        self,
        tier: &dyn Tier,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        match self {
            Self::Soon => tier.put(path, body, mode).await,
            Self::InRecovery => tier.put_cold(path, body, mode).await,
        }
    }
}
