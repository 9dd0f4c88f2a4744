//! What stores answer in XML and in headers, as far as all of them do.

use std::time::Duration;

use http::HeaderMap;
use jiff::fmt::rfc2822::DateTimeParser;
use lifeboat_model::Timestamp;
use serde::de::DeserializeOwned;

/// An answer does not say what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// It is not the document that was asked for.
    #[error("its answer cannot be read")]
    Xml(#[from] quick_xml::DeError),
    /// A header is missing or says nothing that could be used.
    #[error("its answer has no usable `{0}`")]
    Header(&'static str),
}

/// Reads a document.
pub(crate) fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    Ok(quick_xml::de::from_reader(body)?)
}

/// Reads how long an object is.
pub(crate) fn length(headers: &HeaderMap) -> Result<u64, AnswerError> {
    number(headers.get("content-length")).ok_or(AnswerError::Header("content-length"))
}

fn number(value: Option<&http::HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// Reads when an object was written.
pub(crate) fn modified(headers: &HeaderMap) -> Result<Timestamp, AnswerError> {
    header_time(headers, "last-modified").ok_or(AnswerError::Header("last-modified"))
}

/// Reads a header that holds a time.
pub(crate) fn header_time(headers: &HeaderMap, name: &str) -> Option<Timestamp> {
    http_time(headers.get(name)?.to_str().ok()?)
}

/// Reads a time as HTTP writes it, like `Mon, 12 Oct 2009 17:50:30 GMT`.
pub(crate) fn http_time(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// The headers by which Azure says in milliseconds for how long it wants rest, the one that its own clients heed first.
///
/// Source: Azure SDK, "General Guidelines: HTTP pipeline", section "Retry policy".
const REST_IN_MS: [&str; 2] = ["x-ms-retry-after-ms", "retry-after-ms"];

/// Reads for how long from now a store wants rest: what it says in milliseconds, or else `retry-after`, a number of
/// seconds or a date.
///
/// Source: RFC 9110, section 10.2.3.
pub(crate) fn rest(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if let Some(wanted) = REST_IN_MS.iter().find_map(|name| number(headers.get(*name))) {
        return Some(Duration::from_millis(wanted));
    }
    let wanted = headers.get("retry-after")?.to_str().ok()?;
    match wanted.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_time(wanted)?.duration_since(now).try_into().ok(),
    }
}

/// Reads from `content-range`, like `bytes 5-9/10`, how large the whole object is.
pub(crate) fn whole_size(headers: &HeaderMap) -> Result<u64, AnswerError> {
    let range = headers.get("content-range").and_then(|range| range.to_str().ok());
    range
        .and_then(|range| range.rsplit_once('/')?.1.parse().ok())
        .ok_or(AnswerError::Header("content-range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_missed_by_name() {
        let mut headers = HeaderMap::new();
        assert!(length(&headers).unwrap_err().to_string().contains("content-length"));
        headers.insert("content-range", "bytes 5-9/10".parse().unwrap());
        headers.insert("last-modified", "Mon, 12 Oct 2009 17:50:30 GMT".parse().unwrap());
        assert_eq!(whole_size(&headers).unwrap(), 10);
        assert_eq!(modified(&headers).unwrap().to_string(), "2009-10-12T17:50:30Z");
    }
}
