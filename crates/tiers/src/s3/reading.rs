//! Which bytes of an object are asked for, and whether they came.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::client::{Call, S3Client};
use super::refused::{Refused, S3Failure};
use super::sum::{self, sha256};
use crate::ReadRange;
use crate::http::answers;
use crate::http::ranges::{Asked, asked, part_of};
use crate::http::refused;

/// Why an object was not read.
type ReadFailure = refused::ReadFailure<Refused>;

/// Reads an object or a part of it, with one request wherever a range of HTTP can say which.
pub(super) async fn read(
    client: &S3Client,
    key: &str,
    range: ReadRange,
) -> Result<Bytes, ReadFailure> {
    let call = match asked(range) {
        Asked::Everything => Call::new(Method::GET, key).header("x-amz-checksum-mode", "ENABLED"),
        Asked::Bytes(bytes) => Call::new(Method::GET, key).header("range", bytes),
        Asked::Nothing => return read_nothing(client, key, range).await,
    };
    let answer = match client.ask_through(call).await {
        Err(S3Failure::Refused(refused)) if refused.status == StatusCode::RANGE_NOT_SATISFIABLE => {
            return read_nothing(client, key, range).await;
        }
        other => other?,
    };
    let body = part_of(&answer, range)?;
    if range == ReadRange::Full {
        sum::hold(&answer, &sha256(body.clone()).await)?;
    }
    Ok(body)
}

/// Reads where there is nothing to read: of an empty object, or no bytes, or beyond the end.
async fn read_nothing(
    client: &S3Client,
    key: &str,
    range: ReadRange,
) -> Result<Bytes, ReadFailure> {
    let answer = client.ask_through(Call::new(Method::HEAD, key)).await?;
    let size = answers::length(&answer.headers).map_err(S3Failure::from)?;
    match range.within(size) {
        Some(within) if within.is_empty() => Ok(Bytes::new()),
        Some(_) => Err(S3Failure::Altered { came: "with another size" }.into()),
        None => Err(ReadFailure::OutOfRange { size }),
    }
}
