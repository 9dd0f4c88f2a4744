//! How long whoever asks a store in the network waits for it.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a store may keep a request waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// While nothing moves in either direction.
    pub silence: Duration,
}

impl Default for Patience {
    /// Ten seconds for a connection, a minute of silence.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), silence: Duration::from_mins(1) }
    }
}

/// Waits for `work` as long as `moved` goes on growing; `None` once it stood still for `silence`, which is
/// noticed after at most twice that time.
pub(crate) async fn unless_silent<T>(
    silence: Duration,
    moved: &AtomicU64,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        if let Ok(done) = tokio::time::timeout(silence, &mut work).await {
            return Some(done);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return None;
        }
        seen = now;
    }
}
