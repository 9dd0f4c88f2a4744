//! Locks on objects: at `put`, read back, and made longer.
//!
//! Source: Amazon S3 User Guide, "Locking objects with Object Lock"; API Reference, `PutObject`,
//! `HeadObject`, `PutObjectRetention`.

use bytes::Bytes;
use http::Method;
use lifeboat_model::Timestamp;

use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::sum::{self, hex, sha256};
use crate::http::Answer;
use crate::{LockMode, Protection};

const fn word(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

/// Writes a date in whole seconds, not earlier than it is: no store need take fractions of one.
fn date(until: Timestamp) -> String {
    let second = until.as_second() + i64::from(until.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(until).to_string()
}

/// Adds to a `put` that the object is locked until then.
pub(super) fn lock(call: Call, mode: LockMode, until: Timestamp) -> Call {
    call.header("x-amz-object-lock-mode", word(mode))
        .header("x-amz-object-lock-retain-until-date", date(until))
}

/// Reads how an object, or a version of it, is locked.
///
/// The headers of an object say it as `GetObjectRetention` does, in one request with whether it is there.
/// To credentials that may not read locks they say nothing, so that a lock is missed, never made up.
pub(super) async fn read(
    client: &S3Client,
    key: &str,
    version: Option<&str>,
) -> Result<Protection, S3Failure> {
    let answer = client.ask_through(Call::new(Method::HEAD, key).version(version)).await?;
    Ok(protection(&answer, client.clock.now()))
}

/// A lock whose date is over keeps nothing, though S3 still shows it.
fn protection(answer: &Answer, now: Timestamp) -> Protection {
    let mode = match answer.header("x-amz-object-lock-mode") {
        Some("GOVERNANCE") => LockMode::Governance,
        Some("COMPLIANCE") => LockMode::Compliance,
        _ => return Protection::None,
    };
    let until = answer.header("x-amz-object-lock-retain-until-date");
    match until.and_then(|until| until.parse::<Timestamp>().ok()) {
        Some(until) if until > now => Protection::Locked { mode, until },
        _ => Protection::None,
    }
}

/// Locks an object until then, or as long as it is locked already; one that is locked keeps its mode.
pub(super) async fn extend(
    client: &S3Client,
    key: &str,
    mode: LockMode,
    until: Timestamp,
) -> Result<(), S3Failure> {
    let mode = match read(client, key, None).await? {
        protection if protection.lasts_until(until) => return Ok(()),
        Protection::Locked { mode, .. } => mode,
        Protection::None => mode,
    };
    let body = Bytes::from(format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
         <RetainUntilDate>{}</RetainUntilDate></Retention>",
        word(mode),
        date(until),
    ));
    let sum = sha256(body.clone()).await;
    let call = Call::new(Method::PUT, key).query("retention", "").body(body, hex(&sum));
    client.ask_through(sum::noted(call, &sum)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};

    #[test]
    fn dates_are_whole_seconds_and_never_earlier() {
        let at = |text: &str| date(text.parse().unwrap());
        assert_eq!(at("2027-01-01T00:00:00Z"), "2027-01-01T00:00:00Z");
        assert_eq!(at("2027-01-01T00:00:00.000000001Z"), "2027-01-01T00:00:01Z");
    }

    #[test]
    fn a_lock_that_is_over_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-object-lock-mode", "COMPLIANCE".parse().unwrap());
        let date = "2027-01-01T00:00:00.000Z";
        headers.insert("x-amz-object-lock-retain-until-date", date.parse().unwrap());
        let answer = Answer { status: StatusCode::OK, headers, body: Bytes::new() };
        let until: Timestamp = date.parse().unwrap();
        let before = Timestamp::from_second(until.as_second() - 1).unwrap();
        let locked = Protection::Locked { mode: LockMode::Compliance, until };
        assert_eq!(protection(&answer, before), locked);
        assert_eq!(protection(&answer, until), Protection::None);
    }
}
