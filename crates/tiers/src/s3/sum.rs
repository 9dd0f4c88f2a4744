//! The SHA-256 of bodies: what a signature covers, what the store holds a body against, and what a
//! body that comes back is held against.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::client::Call;
use super::refused::S3Failure;
use crate::ObjectPath;
use crate::http::Answer;
use crate::http::sums::summed;

/// The header with the sum in Base64.
///
/// Source: Amazon S3 User Guide, "Checking object integrity in Amazon S3".
pub(super) const SUM_HEADER: &str = "x-amz-checksum-sha256";

/// Sums a body up.
pub(super) async fn sha256(body: Bytes) -> [u8; 32] {
    summed(body, |body| Sha256::digest(body).into()).await
}

/// Returns the SHA-256 that an object's name says its body has: 64 digits are one wherever the tier's layout
/// has them, in the repository (restic `doc/design.rst`, "Repository Layout").
///
/// What was damaged after it was named is so refused by the store, instead of stored under a sum of the damage.
pub(super) fn named(path: &ObjectPath) -> Option<[u8; 32]> {
    let name = path.file_name().as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut sum = [0; 32];
    if name.len() != 2 * sum.len() {
        return None;
    }
    for (byte, digits) in sum.iter_mut().zip(name.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(sum)
}

/// Asks the store to hold the body against a sum and to note it beside the object.
///
/// The second header is what AWS's own libraries send along; stores that want a sum look for either.
pub(super) fn noted(call: Call, sum: &[u8; 32]) -> Call {
    call.header(SUM_HEADER, BASE64_STANDARD.encode(sum))
        .header("x-amz-sdk-checksum-algorithm", "SHA256")
}

/// Holds a sum against the one that the store says it has, if it says one. A sum of an upload in parts has
/// the number of parts behind it and says nothing of the whole.
pub(super) fn hold(answer: &Answer, sum: &[u8; 32]) -> Result<(), S3Failure> {
    match answer.header(SUM_HEADER).filter(|noted| !noted.contains('-')) {
        Some(noted) if noted != BASE64_STANDARD.encode(sum) => {
            Err(S3Failure::Altered { came: "with another sum than the one that the store noted" })
        }
        _ => Ok(()),
    }
}

/// Writes a sum as a signature wants it.
pub(super) fn hex(sum: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    sum.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[tokio::test]
    async fn a_name_of_64_digits_is_a_sum_and_no_other_is() {
        let sum = sha256(Bytes::from_static(b"foo")).await;
        let named = |name: &str| named(&format!("repo/data/2c/{name}").parse().unwrap());
        assert_eq!(named(&hex(&sum)), Some(sum));
        for other in [&hex(&sum)[1..], &format!("{}.age", hex(&sum)), &hex(&sum).to_uppercase()] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_body_is_held_against_the_stores_sum() {
        let held = async |noted: Option<&str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(noted) = noted {
                headers.insert(SUM_HEADER, noted.parse().unwrap());
            }
            let body = Bytes::from_static(body.as_bytes());
            let sum = sha256(body.clone()).await;
            hold(&Answer { status: StatusCode::OK, headers, body }, &sum)
        };
        let noted = "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=";
        assert!(held(Some(noted), "foo").await.is_ok());
        let altered = held(Some(noted), "bar").await;
        assert!(matches!(altered, Err(S3Failure::Altered { .. })), "{altered:?}");
        for untold in [None, Some("LCa0a2j/xo/5m0U8HTBBNBNC=-3")] {
            assert!(held(untold, "bar").await.is_ok(), "{untold:?}");
        }
    }
}
