//! Which bytes of an object are asked for, and whether they came.

use bytes::Bytes;
use http::StatusCode;

use super::Answer;
use super::answers::{self, AnswerError};
use crate::ReadRange;

/// What the header `range` can say of a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing; it is all of the object.
    Everything,
    /// These bytes.
    Bytes(String),
    /// Nothing; no byte is wanted, or none can be there.
    Nothing,
}

/// Says a range as HTTP says it.
pub(crate) fn asked(range: ReadRange) -> Asked {
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

/// An answer does not hold what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    /// The object is shorter.
    #[error("the object has {size} bytes")]
    OutOfRange {
        /// Its size in bytes.
        size: u64,
    },
    /// Some of it did not come.
    #[error("the body came with another length")]
    Length,
    /// It cannot be told.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Returns what was asked for; a store may answer with all of the object instead.
pub(crate) fn part_of(answer: &Answer, range: ReadRange) -> Result<Bytes, PartError> {
    let body = &answer.body;
    if answer.status == StatusCode::PARTIAL_CONTENT {
        let size = answers::whole_size(&answer.headers)?;
        let within = range.within(size).ok_or(PartError::OutOfRange { size })?;
        if within.end - within.start != body.len() as u64 {
            return Err(PartError::Length);
        }
        return Ok(body.clone());
    }
    let size = body.len() as u64;
    let within = range.within(size).ok_or(PartError::OutOfRange { size })?;
    let index = |at: u64| usize::try_from(at).expect("a body in memory has a size that fits");
    Ok(body.slice(index(within.start)..index(within.end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

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
        let part = |status: u16, content_range: Option<&str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(content_range) = content_range {
                headers.insert("content-range", content_range.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            part_of(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }, range)
        };
        assert_eq!(part(206, Some("bytes 5-7/10"), "567").unwrap(), "567");
        assert!(matches!(part(206, Some("bytes 5-7/10"), "56"), Err(PartError::Length)));
        let end = part(206, Some("bytes 5-6/7"), "56");
        assert!(matches!(end, Err(PartError::OutOfRange { size: 7 })));
        assert!(matches!(part(206, None, "567"), Err(PartError::Answer(_))));
        assert_eq!(part(200, None, "0123456789").unwrap(), "567", "a store may ignore the range");
    }
}
