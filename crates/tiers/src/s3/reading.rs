//! Which bytes of an object are asked for, and whether they came.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::sum::{SUM_HEADER, sha256};
use crate::ReadRange;
use crate::http::ranges::{Asked, PartError, asked, part_of};
use crate::http::{Answer, answers};

/// Why an object was not read.
pub(super) enum ReadFailure {
    Failed(S3Failure),
    OutOfRange { size: u64 },
}

impl From<S3Failure> for ReadFailure {
    fn from(failure: S3Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<PartError> for ReadFailure {
    fn from(error: PartError) -> Self {
        match error {
            PartError::OutOfRange { size } => Self::OutOfRange { size },
            PartError::Length => S3Failure::Altered { came: "with another length" }.into(),
            PartError::Answer(error) => S3Failure::Answer(error).into(),
        }
    }
}

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
        hold_against_sum(&answer).await?;
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

/// Holds a whole body against the sum that the store noted when it was put, if it did. A sum of an
/// upload in parts has the number of parts behind it and says nothing of the whole.
async fn hold_against_sum(answer: &Answer) -> Result<(), S3Failure> {
    let Some(noted) = answer.header(SUM_HEADER).filter(|sum| !sum.contains('-')) else {
        return Ok(());
    };
    if BASE64_STANDARD.encode(sha256(answer.body.clone()).await) == noted {
        return Ok(());
    }
    Err(S3Failure::Altered { came: "with another sum than the one that the store noted" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn answer(sum: &str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(SUM_HEADER, sum.parse().unwrap());
        Answer { status: StatusCode::OK, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[tokio::test]
    async fn a_body_is_held_against_the_stores_sum() {
        let noted = "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=";
        let good = answer(noted, "foo");
        assert!(hold_against_sum(&good).await.is_ok());
        let altered = hold_against_sum(&answer(noted, "bar")).await;
        assert!(matches!(altered, Err(S3Failure::Altered { .. })), "{altered:?}");
        let parts = answer("LCa0a2j/xo/5m0U8HTBBNBNC=-3", "bar");
        assert!(hold_against_sum(&parts).await.is_ok());
    }
}
