//! Which bytes of an object are asked for, and whether they came.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::answers;
use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::sum::{SUM_HEADER, sha256};
use crate::ReadRange;
use crate::http::Answer;

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

/// What the header `range` can say of a range.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Everything,
    Bytes(String),
    Nothing,
}

fn asked(range: ReadRange) -> Asked {
    match range {
        ReadRange::Full => Asked::Everything,
        ReadRange::Bounded { length: 0, .. } | ReadRange::Suffix(0) => Asked::Nothing,
        ReadRange::Bounded { offset, length } => match offset.checked_add(length - 1) {
            Some(last) => Asked::Bytes(format!("bytes={offset}-{last}")),
            None => Asked::Nothing,
        },
        ReadRange::Suffix(length) => Asked::Bytes(format!("bytes=-{length}")),
    }
}

/// Returns what was asked for; a store may answer with all of the object instead.
fn part_of(answer: &Answer, range: ReadRange) -> Result<Bytes, ReadFailure> {
    let body = &answer.body;
    if answer.status == StatusCode::PARTIAL_CONTENT {
        let size = answers::whole_size(&answer.headers).map_err(S3Failure::from)?;
        let within = range.within(size).ok_or(ReadFailure::OutOfRange { size })?;
        if within.end - within.start != body.len() as u64 {
            return Err(S3Failure::Altered { came: "with another length" }.into());
        }
        return Ok(body.clone());
    }
    let size = body.len() as u64;
    let within = range.within(size).ok_or(ReadFailure::OutOfRange { size })?;
    let index = |at: u64| usize::try_from(at).expect("a body in memory has a size that fits");
    Ok(body.slice(index(within.start)..index(within.end)))
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

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: map, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn ranges_are_said_as_http_says_them() {
        let bytes = |text: &str| Asked::Bytes(text.to_owned());
        let bounded = |offset, length| asked(ReadRange::Bounded { offset, length });
        assert_eq!(asked(ReadRange::Full), Asked::Everything);
        assert_eq!(bounded(3, 4), bytes("bytes=3-6"));
        assert_eq!(bounded(u64::MAX, 1), bytes(&format!("bytes={0}-{0}", u64::MAX)));
        assert_eq!(asked(ReadRange::Suffix(5)), bytes("bytes=-5"));
        for nothing in [bounded(3, 0), bounded(u64::MAX, 2), asked(ReadRange::Suffix(0))] {
            assert_eq!(nothing, Asked::Nothing);
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_noticed() {
        let range = ReadRange::Bounded { offset: 5, length: 3 };
        let part = |headers, body| part_of(&answer(206, headers, body), range);
        let good: &[_] = &[("content-range", "bytes 5-7/10")];
        assert_eq!(part(good, "567").ok().unwrap(), "567");
        let short = part(good, "56");
        assert!(matches!(short, Err(ReadFailure::Failed(S3Failure::Altered { .. }))));
        let end = part(&[("content-range", "bytes 5-6/7")], "56");
        assert!(matches!(end, Err(ReadFailure::OutOfRange { size: 7 })));
        assert!(matches!(part(&[], "567"), Err(ReadFailure::Failed(S3Failure::Answer(_)))));
        let whole = part_of(&answer(200, &[], "0123456789"), range);
        assert_eq!(whole.ok().unwrap(), "567", "a store may ignore the range");
    }

    #[tokio::test]
    async fn a_body_is_held_against_the_stores_sum() {
        let noted = "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=";
        let good = answer(200, &[(SUM_HEADER, noted)], "foo");
        assert!(hold_against_sum(&good).await.is_ok());
        let altered = hold_against_sum(&answer(200, &[(SUM_HEADER, noted)], "bar")).await;
        assert!(matches!(altered, Err(S3Failure::Altered { .. })), "{altered:?}");
        let parts = answer(200, &[(SUM_HEADER, "LCa0a2j/xo/5m0U8HTBBNBNC=-3")], "bar");
        assert!(hold_against_sum(&parts).await.is_ok());
    }
}
