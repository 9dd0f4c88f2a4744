//! What Azure says when it refuses, and which error of a tier that is.
//!
//! Source: Azure Storage REST API, "Common REST API error codes", "Blob Storage error codes".

use std::time::Duration;

use http::StatusCode;
use lifeboat_model::Timestamp;
use serde::Deserialize;

use crate::http::Answer;
use crate::http::answers;
use crate::http::refused::{Saying, StoreFailure};
use crate::refusal::Refusal;
use crate::request::Meaning;

/// By how much a request's date may be off before Azure refuses it.
///
/// Source: "Authorize with Shared Key", section "Specifying the Date header".
const CLOCK_OFF_MAX: Duration = Duration::from_mins(15);

/// Why a request to Azure did not succeed.
pub(super) type AzureFailure = StoreFailure<Refused>;

/// `Error`: why a request was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorAnswer {
    code: String,
    message: String,
    authentication_error_detail: String,
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    code: String,
    message: String,
    /// More about signatures and their dates.
    detail: String,
    /// By how much this machine's clock is off.
    clock_off: Option<Duration>,
    /// For how long it asks to be left alone.
    rest: Option<Duration>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        for part in [&self.code, &self.message, &self.detail] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl Refused {
    /// Reads an answer that says no; `now` is this machine's time when it asked.
    pub(super) fn of(answer: &Answer, now: Timestamp) -> Self {
        let said: ErrorAnswer = quick_xml::de::from_reader(&*answer.body).unwrap_or_default();
        // `HEAD` has no body.
        let code = match said.code {
            code if code.is_empty() => answer.header("x-ms-error-code").unwrap_or_default().into(),
            code => code,
        };
        let theirs = answers::header_time(&answer.headers, "date");
        let first_line = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        Self {
            status: answer.status,
            code,
            // Below stand the request's id and time.
            message: first_line(said.message),
            detail: first_line(said.authentication_error_detail),
            clock_off: theirs.map(|theirs| now.duration_since(theirs).unsigned_abs()),
            rest: answers::rest(&answer.headers, now),
        }
    }

    /// Tells whether the blob is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.code == "BlobNotFound"
    }

    /// Tells whether a blob may have been refused because one is there that may not be replaced: it is
    /// locked, or the signature allows only to create (which Azurite has no word of its own for).
    pub(super) fn may_be_of_replacing(&self) -> bool {
        matches!(
            self.code.as_str(),
            "UnauthorizedBlobOverwrite" | "AuthorizationPermissionMismatch"
        ) || self.code.starts_with("BlobImmutableDueTo")
    }

    /// Tells whether the store does not understand what is asked.
    pub(super) fn is_unfit(&self) -> bool {
        self.meaning() == Meaning::Refusal(Refusal::Unfit)
    }

    /// Tells whether a blob is on its way out of the archive.
    pub(super) fn is_being_thawed(&self) -> bool {
        self.code == "BlobBeingRehydrated"
    }

    fn meaning_of_code(&self) -> Meaning {
        let for_good = Meaning::Refusal;
        match self.code.as_str() {
            "ContainerNotFound" | "ContainerBeingDeleted" | "ResourceNotFound" => {
                for_good(Refusal::NoContainer { elsewhere: None })
            }
            "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" => Meaning::Exists,
            "BlobArchived" | "BlobBeingRehydrated" => Meaning::Cold,
            "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation" => for_good(self.authentication()),
            // So Azurite answers to a wrong key; Azure, to one whom its firewall shuts out.
            "AuthorizationFailure" if self.message.contains("failed to authenticate") => {
                for_good(self.authentication())
            }
            code if code.starts_with("BlobImmutableDueTo") => Meaning::Locked { until: None },
            _ if self.speaks_of("immutab") => Meaning::Lockless,
            _ if self.is_absence() => Meaning::Absent,
            _ => self.meaning_of_status(),
        }
    }

    fn speaks_of(&self, word: &str) -> bool {
        [&self.code, &self.message].iter().any(|text| text.to_lowercase().contains(word))
    }

    /// Azure answers a wrong key, a signature whose time is over and a clock that is off alike.
    fn authentication(&self) -> Refusal {
        if self.detail.contains("specified time frame") {
            return Refusal::Expired;
        }
        if self.detail.contains("date header")
            || self.clock_off.is_some_and(|off| off > CLOCK_OFF_MAX)
        {
            return Refusal::Clock { off: self.clock_off };
        }
        Refusal::Credentials
    }

    fn meaning_of_status(&self) -> Meaning {
        match self.status {
            StatusCode::UNAUTHORIZED => Meaning::Refusal(Refusal::Credentials),
            // The last is what Azure says where somebody leases the blob.
            StatusCode::FORBIDDEN | StatusCode::PRECONDITION_FAILED => {
                Meaning::Refusal(Refusal::NotAllowed)
            }
            StatusCode::INSUFFICIENT_STORAGE => Meaning::Full,
            StatusCode::NOT_IMPLEMENTED => Meaning::Refusal(Refusal::Unfit),
            StatusCode::CONFLICT if self.code.starts_with("Feature") => {
                Meaning::Refusal(Refusal::Unfit)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                Meaning::Passing
            }
            status if status.is_server_error() || self.code == "Md5Mismatch" => Meaning::Passing,
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

    fn told(status: u16, date: &str, body: &str) -> TierError {
        told_with(status, &[("date", date)], body)
    }

    fn told_with(status: u16, named: &[(&'static str, &str)], body: &str) -> TierError {
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            headers.insert(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers, body: Bytes::from(body.to_owned()) };
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let path = "repo/config".parse().unwrap();
        let request = Request { tier: "azure://shop/copies", verb: "read", path: Some(&path) };
        let refused = AzureFailure::Refused(Box::new(Refused::of(&answer, now)));
        request.failed(refused)
    }

    const NOW: &str = "Sun, 29 Nov 2026 12:00:00 GMT";

    fn coded(status: u16, code: &str, message: &str, detail: &str) -> TierError {
        let detail = match detail {
            "" => String::new(),
            text => format!("<AuthenticationErrorDetail>{text}</AuthenticationErrorDetail>"),
        };
        let body = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}\n\
             RequestId:1b0c\nTime:2026-11-29T12:00:00.0Z</Message>{detail}</Error>"
        );
        told(status, NOW, &body)
    }

    fn hint(error: &TierError) -> String {
        error.hint().unwrap().to_string()
    }

    /// Details as Azure words them.
    #[test]
    fn what_is_wrong_with_credentials_is_told_apart() {
        let failed = |detail: &str| coded(403, "AuthenticationFailed", "Server failed", detail);
        let wrong =
            failed("The MAC signature found in the HTTP request 'x' is not the same as any");
        assert!(wrong.to_string().ends_with("the credentials are wrong or over"), "{wrong}");
        assert!(hint(&wrong).contains("az storage"), "{}", hint(&wrong));
        let over = failed(
            "Signature not valid in the specified time frame: Start [Sat, 28 Nov 2026 00:00:00 GMT] - \
             Expiry [Sun, 29 Nov 2026 00:00:00 GMT] - Current [Sun, 29 Nov 2026 12:00:00 GMT]",
        );
        assert!(over.to_string().ends_with("the credentials are not valid at this time"), "{over}");
        assert!(hint(&over).contains("generate-sas"), "{}", hint(&over));
        let late = told(
            403,
            "Sun, 29 Nov 2026 14:30:00 GMT",
            "<Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>Request date header too old: \
             'Sun, 29 Nov 2026 12:00:00 GMT'</AuthenticationErrorDetail></Error>",
        );
        assert!(late.to_string().ends_with("off by 9000 seconds"), "{late}");
        let lacks = coded(403, "AuthorizationPermissionMismatch", "not authorized", "");
        assert!(lacks.to_string().ends_with("do not allow it"), "{lacks}");
    }

    #[test]
    fn what_stays_is_told_from_what_passes() {
        for (status, code, kind) in [
            (404, "BlobNotFound", ErrorKind::NotFound),
            (404, "ContainerNotFound", ErrorKind::NotFound),
            (409, "ContainerBeingDeleted", ErrorKind::NotFound),
            (409, "BlobAlreadyExists", ErrorKind::Conflict),
            (412, "ConditionNotMet", ErrorKind::Conflict),
            (412, "LeaseIdMissing", ErrorKind::Denied),
            (409, "BlobArchived", ErrorKind::Denied),
            (409, "BlobImmutableDueToPolicy", ErrorKind::Denied),
            (403, "AuthorizationSourceIPMismatch", ErrorKind::Denied),
            (403, "AccountIsDisabled", ErrorKind::Denied),
            (401, "NoAuthenticationInformation", ErrorKind::Denied),
            (409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", ErrorKind::Config),
            (501, "NotImplemented", ErrorKind::Config),
            (400, "InvalidHeaderValue", ErrorKind::Config),
            (400, "Md5Mismatch", ErrorKind::Unavailable),
            (500, "InternalError", ErrorKind::Unavailable),
            (500, "OperationTimedOut", ErrorKind::Unavailable),
            (503, "ServerBusy", ErrorKind::Unavailable),
            (429, "", ErrorKind::Unavailable),
        ] {
            let error = coded(status, code, "text", "");
            assert_eq!(error.kind(), kind, "{status} {code}: {error}");
            assert!(error.to_string().contains("azure://shop/copies"), "{error}");
        }
        assert!(matches!(coded(409, "BlobArchived", "", ""), TierError::Cold { .. }));
        let locked = coded(409, "BlobImmutableDueToPolicy", "", "");
        assert!(matches!(locked, TierError::Locked { .. }), "{locked}");
        let lockless = coded(
            409,
            "Unsupported",
            "Blob immutability is not enabled for the container or the account.",
            "",
        );
        assert!(matches!(lockless, TierError::Unsupported { .. }), "{lockless}");
        assert!(matches!(told(403, NOW, "<html>a proxy"), TierError::Refused { .. }));
    }

    #[test]
    fn a_missing_container_is_named_with_the_command_that_makes_it() {
        let error = coded(404, "ContainerNotFound", "", "");
        let wanted = "az storage container create --account-name shop --name copies";
        assert!(hint(&error).contains(wanted), "{}", hint(&error));
    }

    #[test]
    fn who_asks_for_rest_says_for_how_long() {
        let rest = |named: &[(&'static str, &str)]| match told_with(
            503,
            named,
            "<Error><Code>ServerBusy</Code></Error>",
        ) {
            TierError::Busy { rest, .. } => Some(rest.as_millis()),
            _ => None,
        };
        assert_eq!(rest(&[("retry-after", "7")]), Some(7000));
        assert_eq!(rest(&[("x-ms-retry-after-ms", "250"), ("retry-after", "7")]), Some(250));
        assert_eq!(rest(&[("x-ms-retry-after-ms", "soon"), ("retry-after", "7")]), Some(7000));
        assert_eq!(rest(&[]), None);
        let refused = told_with(403, &[("retry-after", "7")], "");
        assert!(matches!(refused, TierError::Refused { .. }), "rest does not help: {refused}");
    }
}
