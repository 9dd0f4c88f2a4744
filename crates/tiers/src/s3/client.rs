//! Requests to one bucket: built, signed, sent, and their refusals read.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use lifeboat_model::Clock;
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use super::place::Place;
use super::refused::{Refused, S3Failure};
use crate::http::{Answer, HttpClient, HttpFailure};

/// The header that says what the signature covers of the body.
///
/// Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// One request, before it is signed.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    key: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    sha256: String,
}

impl Call {
    /// A request without a body about a key, or about the bucket for an empty one.
    pub(super) fn new(method: Method, key: impl Into<String>) -> Self {
        let sha256 = reqsign_aws_v4::EMPTY_STRING_SHA256.to_owned();
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, key: key.into(), query, headers, body: Bytes::new(), sha256 }
    }

    /// Adds to the query; the value may be empty.
    #[must_use]
    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Is about this version of the object, if one is given.
    #[must_use]
    pub(super) fn version(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => self.query("versionId", id),
            None => self,
        }
    }

    /// Sends a body whose SHA-256 in hex is known.
    #[must_use]
    pub(super) fn body(mut self, body: Bytes, sha256: String) -> Self {
        (self.body, self.sha256) = (body, sha256);
        self
    }
}

/// A bucket that can be asked.
#[derive(Debug)]
pub(super) struct S3Client {
    pub(super) http: HttpClient,
    pub(super) signer: Signer<Credential>,
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
}

impl S3Client {
    /// Sends a request and returns an answer that says yes.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, S3Failure> {
        let request = self.signed(call).await?;
        let answer = self.http.send(request).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(S3Failure::Refused(Box::new(Refused::of(&answer, self.clock.now()))))
    }

    async fn signed(&self, call: Call) -> Result<Request<Bytes>, S3Failure> {
        let query: Vec<_> =
            call.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let uri = self.place.uri(&call.key, &query);
        let mut request = Request::builder().method(call.method).uri(uri);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let sha256 = HeaderValue::try_from(call.sha256);
        let request = request.body(call.body).map_err(|_| HttpFailure::Address)?;
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(CONTENT_SHA256, sha256.map_err(|_| HttpFailure::Address)?);
        self.signer.sign(&mut parts, None).await?;
        Ok(Request::from_parts(parts, body))
    }
}
