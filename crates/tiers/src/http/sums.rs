//! Sums of bodies, beside the threads that talk to the network where they take long.

use bytes::Bytes;

/// From which size on a body is summed beside the threads that talk to the network.
const SUMMED_HERE_BYTES_MAX: usize = 128 << 10;

/// Sums a body up.
pub(crate) async fn summed<T: Send + 'static>(body: Bytes, sum: fn(&[u8]) -> T) -> T {
    if body.len() <= SUMMED_HERE_BYTES_MAX {
        return sum(&body);
    }
    let summed = tokio::task::spawn_blocking(move || sum(&body)).await;
    summed.expect("summing does not panic, and a runtime that ends waits for it")
}
