//! What S3 says when it refuses, and which error of a tier that is.
//!
//! Source: Amazon S3 API Reference, "Error responses"; codes that begin with `XMinio` are MinIO's.

use std::time::Duration;

use http::StatusCode;
use lifeboat_model::Timestamp;
use reqsign_core::ErrorKind;

use super::answers::ErrorAnswer;
use crate::http::Answer;
use crate::http::answers;
use crate::http::refused::{Saying, StoreFailure};
use crate::refusal::Refusal;
use crate::request::Meaning;

/// By how much a clock may be off before S3 refuses.
///
/// Source: Amazon S3 API Reference, "Error responses", `RequestTimeTooSkewed`.
const CLOCK_OFF_MAX: Duration = Duration::from_mins(15);

/// Why a request to S3 did not succeed.
pub(super) type S3Failure = StoreFailure<Refused>;

impl From<reqsign_core::Error> for S3Failure {
    fn from(error: reqsign_core::Error) -> Self {
        // Where they were looked for, and what was wrong there, is in the causes.
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let why = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let meaning = match error.kind() {
            _ if error.is_retryable() => Meaning::Passing,
            ErrorKind::ConfigInvalid => Meaning::Refusal(Refusal::BrokenCredentials),
            _ => Meaning::Refusal(Refusal::NoCredentials),
        };
        Self::Unsigned { why, meaning }
    }
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    /// Where the bucket is.
    region: Option<String>,
    /// The store's endpoint, if it is not AWS.
    elsewhere: Option<String>,
    /// By how much this machine's clock is off.
    clock_off: Option<Duration>,
    /// For how long it asks to be left alone.
    rest: Option<Duration>,
    /// What hides the object is the newest that there is of it.
    pub(super) is_hidden: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl Refused {
    /// Reads an answer that says no; `now` is this machine's time.
    pub(super) fn of(answer: &Answer, now: Timestamp, elsewhere: Option<&str>) -> Self {
        let said = ErrorAnswer::read(&answer.body);
        let theirs = said
            .server_time
            .as_deref()
            .and_then(|time| time.parse().ok())
            .or_else(|| answers::header_time(&answer.headers, "date"));
        let named = answer.header("x-amz-bucket-region").map(str::to_owned);
        Self {
            status: answer.status,
            code: said.code,
            message: said.message,
            elsewhere: elsewhere.map(str::to_owned),
            region: said.region.filter(|region| !region.is_empty()).or(named),
            clock_off: theirs.map(|theirs: Timestamp| now.duration_since(theirs).unsigned_abs()),
            rest: answers::rest(&answer.headers, now),
            is_hidden: answer.header("x-amz-delete-marker") == Some("true"),
        }
    }

    /// Tells whether the object, or that version of it, is not there.
    pub(super) fn is_absence(&self) -> bool {
        match self.code.as_str() {
            "" | "NoSuchKey" | "NoSuchVersion" => self.status == StatusCode::NOT_FOUND,
            _ => false,
        }
    }

    fn meaning_of_code(&self) -> Meaning {
        use Meaning::{Absent, Cold, Exists, Full, Lockless, Passing};
        let for_good = Meaning::Refusal;
        match self.code.as_str() {
            "NoSuchBucket" => for_good(Refusal::NoContainer { elsewhere: self.elsewhere.clone() }),
            "PreconditionFailed" => Exists,
            "InvalidObjectState" => Cold,
            "RequestTimeTooSkewed" | "RequestExpired" => {
                for_good(Refusal::Clock { off: self.clock_off })
            }
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidSecurity" => for_good(Refusal::Credentials),
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
                if self.region.is_some() || self.status.is_redirection() =>
            {
                for_good(Refusal::Region { right: self.region.clone() })
            }
            "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => Full,
            "ObjectLockConfigurationNotFoundError" => Lockless,
            "InvalidRequest" if self.message.replace(' ', "").contains("ObjectLockConf") => {
                Lockless
            }
            // What arrived is not what was sent, or not all of it; sent again it may.
            "RequestTimeout"
            | "BadDigest"
            | "IncompleteBody"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "ConditionalRequestConflict"
            | "OperationAborted"
            | "SlowDown"
            | "Throttling" => Passing,
            _ if self.is_absence() => Absent,
            _ => self.meaning_of_status(),
        }
    }

    fn meaning_of_status(&self) -> Meaning {
        // An answer to `HEAD` has no body that could hold a code.
        let is_untold = self.code.is_empty();
        match self.status {
            StatusCode::BAD_REQUEST if is_untold && self.region.is_some() => {
                Meaning::Refusal(Refusal::Region { right: self.region.clone() })
            }
            StatusCode::FORBIDDEN if is_untold && self.clock_off > Some(CLOCK_OFF_MAX) => {
                Meaning::Refusal(Refusal::Clock { off: self.clock_off })
            }
            StatusCode::UNAUTHORIZED => Meaning::Refusal(Refusal::Credentials),
            StatusCode::FORBIDDEN => Meaning::Refusal(Refusal::NotAllowed),
            StatusCode::PRECONDITION_FAILED => Meaning::Exists,
            StatusCode::INSUFFICIENT_STORAGE => Meaning::Full,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                Meaning::Passing
            }
            status if status.is_redirection() => {
                Meaning::Refusal(Refusal::Region { right: self.region.clone() })
            }
            StatusCode::NOT_IMPLEMENTED => Meaning::Refusal(Refusal::Unfit),
            status if status.is_server_error() => Meaning::Passing,
            _ => Meaning::Refusal(Refusal::Unfit),
        }
    }
}

impl Saying for Refused {
    fn meaning(&self) -> Meaning {
        self.meaning_of_code().after(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TierError;
    use crate::request::Request;
    use bytes::Bytes;
    use http::HeaderMap;
    use lifeboat_model::{Classify, ErrorKind};

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    fn told_of(answer: &Answer) -> TierError {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let path = "repo/config".parse().unwrap();
        let request = Request { tier: "s3://shop/p", verb: "read", path: Some(&path) };
        request.failed(S3Failure::Refused(Box::new(Refused::of(answer, now, None))))
    }

    fn told(status: u16, body: &str) -> TierError {
        told_of(&answer(status, body))
    }

    fn coded(status: u16, code: &str) -> TierError {
        told(status, &format!("<Error><Code>{code}</Code><Message>text</Message></Error>"))
    }

    fn hint(error: &TierError) -> String {
        error.hint().unwrap().to_string()
    }

    #[test]
    fn another_region_is_named_with_the_right_one() {
        // As S3 answers a request that is signed for another region.
        let error = told(
            400,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed\
             </Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; \
             expecting 'eu-central-1'</Message><Region>eu-central-1</Region><RequestId>AF1</RequestId>\
             <HostId>x=</HostId></Error>",
        );
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(hint(&error).contains("AWS_REGION=eu-central-1"), "{}", hint(&error));
        let mut moved = answer(301, "");
        moved.headers.insert("x-amz-bucket-region", "eu-west-1".parse().unwrap());
        assert!(told_of(&moved).to_string().ends_with("the bucket is in the region eu-west-1"));
        // So `HEAD` is answered.
        moved.status = StatusCode::BAD_REQUEST;
        assert!(told_of(&moved).to_string().ends_with("the bucket is in the region eu-west-1"));
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let error = told(
            403,
            "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time \
             and the current time is too large.</Message><RequestTime>20261129T120000Z</RequestTime>\
             <ServerTime>2026-11-29T14:30:00Z</ServerTime>\
             <MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds></Error>",
        );
        assert!(error.to_string().ends_with("off by 9000 seconds"), "{error}");
        assert!(hint(&error).contains("timedatectl"));
        let mut silent = answer(403, "");
        silent.headers.insert("date", "Sun, 29 Nov 2026 14:30:00 GMT".parse().unwrap());
        assert!(told_of(&silent).to_string().ends_with("off by 9000 seconds"));
        silent.headers.insert("date", "Sun, 29 Nov 2026 12:00:10 GMT".parse().unwrap());
        assert!(told_of(&silent).to_string().ends_with("do not allow it"));
    }

    #[test]
    fn what_stays_is_told_from_what_passes() {
        for (status, code, kind) in [
            (404, "NoSuchKey", ErrorKind::NotFound),
            (404, "NoSuchBucket", ErrorKind::NotFound),
            (412, "PreconditionFailed", ErrorKind::Conflict),
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "InvalidAccessKeyId", ErrorKind::Denied),
            (403, "SignatureDoesNotMatch", ErrorKind::Denied),
            (400, "ExpiredToken", ErrorKind::Denied),
            (403, "InvalidObjectState", ErrorKind::Denied),
            (403, "QuotaExceeded", ErrorKind::Denied),
            (507, "XMinioStorageFull", ErrorKind::Denied),
            (501, "NotImplemented", ErrorKind::Config),
            (400, "InvalidArgument", ErrorKind::Config),
            (400, "RequestTimeout", ErrorKind::Unavailable),
            (400, "BadDigest", ErrorKind::Unavailable),
            (409, "ConditionalRequestConflict", ErrorKind::Unavailable),
            (500, "InternalError", ErrorKind::Unavailable),
            (503, "SlowDown", ErrorKind::Unavailable),
            (429, "", ErrorKind::Unavailable),
            (502, "", ErrorKind::Unavailable),
        ] {
            let error = coded(status, code);
            assert_eq!(error.kind(), kind, "{status} {code}: {error}");
            assert!(error.to_string().contains("s3://shop/p"), "{error}");
        }
        assert!(matches!(coded(403, "InvalidObjectState"), TierError::Cold { .. }));
        assert!(matches!(coded(403, "QuotaExceeded"), TierError::Full { .. }));
        assert!(matches!(told(404, ""), TierError::NotFound { .. }));
        assert!(matches!(told(403, "<html>a proxy"), TierError::Refused { .. }));
    }

    #[test]
    fn who_asks_for_rest_says_for_how_long() {
        let rest = |wanted: &str| {
            let mut answer = answer(503, "<Error><Code>SlowDown</Code></Error>");
            answer.headers.insert("retry-after", wanted.parse().unwrap());
            match told_of(&answer) {
                TierError::Busy { rest, .. } => Some(rest.as_secs()),
                _ => None,
            }
        };
        assert_eq!(rest("7"), Some(7));
        assert_eq!(rest("Sun, 29 Nov 2026 12:01:00 GMT"), Some(60));
        for odd in ["soon", "-3", "Sun, 29 Nov 2026 11:00:00 GMT"] {
            assert_eq!(rest(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let error = coded(404, "NoSuchBucket");
        assert!(hint(&error).contains("aws s3 mb s3://shop;"), "{}", hint(&error));
    }
}
