//! The SHA-256 of bodies: what a signature covers, what the store holds a body against, and what a
//! body that comes back is held against.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::client::Call;
use crate::http::sums::summed;

/// The header with the sum in Base64.
///
/// Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".
pub(super) const SUM_HEADER: &str = "x-amz-checksum-sha256";

/// Sums a body up.
pub(super) async fn sha256(body: Bytes) -> [u8; 32] {
    summed(body, |body| Sha256::digest(body).into()).await
}

/// Asks the store to hold the body against a sum and to note it beside the object.
///
/// The second header is what AWS's own libraries send along; stores that want a sum look for either.
pub(super) fn noted(call: Call, sum: &[u8; 32]) -> Call {
    call.header(SUM_HEADER, BASE64_STANDARD.encode(sum))
        .header("x-amz-sdk-checksum-algorithm", "SHA256")
}

/// Writes a sum as a signature wants it.
pub(super) fn hex(sum: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    sum.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
