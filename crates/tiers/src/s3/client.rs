//! Requests to one bucket: built, signed, sent, and their refusals read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Request};
use lifeboat_model::Clock;
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;
use tokio::sync::OnceCell;

use super::listing;
use super::place::Place;
use super::refused::{Refused, S3Failure};
use super::versions::{self, Versioning};
use crate::counting::{Counters, Traffic};
use crate::http::{Answer, HttpClient, HttpFailure};
use crate::tier::Operation;

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

    /// Returns as which sort of request it counts: what is asked about a bucket is as little as about an object.
    fn operation(&self) -> Operation {
        let asks_for = |name: &str| self.query.iter().any(|(asked, _)| *asked == name);
        match self.method {
            Method::PUT if asks_for("retention") => Operation::Protect,
            Method::PUT => Operation::Put,
            Method::POST => Operation::Thaw,
            Method::DELETE => Operation::Delete,
            Method::GET if asks_for("prefix") => Operation::List,
            Method::GET if !self.key.is_empty() => Operation::Get,
            _ => Operation::Head,
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
    http: HttpClient,
    signer: Signer<Credential>,
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
    versioning: OnceCell<Versioning>,
    told_of_markers: AtomicBool,
    counters: Counters,
}

impl S3Client {
    /// A client that has sent nothing yet.
    pub(super) fn new(
        http: HttpClient,
        signer: Signer<Credential>,
        place: Place,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (versioning, told_of_markers) = (OnceCell::new(), AtomicBool::new(false));
        let counters = Counters::default();
        Self { http, signer, place, clock, versioning, told_of_markers, counters }
    }

    /// Returns what passed so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    /// Sends a request and returns an answer that says yes.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, S3Failure> {
        let (operation, sent) = (call.operation(), call.body.len());
        let request = self.signed(call).await?;
        self.counters.ask(operation);
        let answer = self.http.send(request).await?;
        if answer.status.is_success() {
            self.counters.passed(operation, sent, answer.body.len());
            return Ok(answer);
        }
        let refused = Refused::of(&answer, self.clock.now(), self.place.elsewhere());
        Err(S3Failure::Refused(Box::new(refused)))
    }

    /// Finds out once whether the bucket keeps versions.
    pub(super) async fn versioning(&self) -> Result<Versioning, S3Failure> {
        self.versioning.get_or_try_init(|| versions::ask(self)).await.copied()
    }

    /// Returns whether the bucket keeps versions, if that was found out.
    pub(super) fn known_versioning(&self) -> Option<Versioning> {
        self.versioning.get().copied()
    }

    /// Asks about an object; where somebody hid it behind a marker, about the newest version behind that.
    pub(super) async fn ask_through(&self, call: Call) -> Result<Answer, S3Failure> {
        let refused = match self.ask(call.clone()).await {
            Err(S3Failure::Refused(refused)) if refused.is_hidden || refused.is_absence() => {
                refused
            }
            other => return other,
        };
        // S3 says of a marker that it is one; other stores call the object absent.
        if !refused.is_hidden && self.versioning().await? != Versioning::Kept {
            return Err(S3Failure::Refused(refused));
        }
        let history = listing::history(self, &call.key).await?;
        let Some(newest) = history.versions.into_iter().next() else {
            return Err(S3Failure::Refused(refused));
        };
        self.tell_of_markers(&call.key, history.markers.into_iter().flatten().next());
        self.ask(call.version(newest.as_deref())).await
    }

    /// Says, once, that objects are hidden, and how one comes out again: who may look past markers need not do so.
    fn tell_of_markers(&self, key: &str, marker: Option<String>) {
        if !self.told_of_markers.swap(true, Ordering::Relaxed) {
            let (bucket, marker) = (self.place.bucket(), marker.unwrap_or_default());
            tracing::warn!(
                bucket,
                key,
                "somebody hid objects behind delete markers; they are read nevertheless. `aws s3api delete-object --bucket {bucket} --key {key} --version-id {marker}` takes the marker away, `aws s3api list-object-versions --bucket {bucket} --query DeleteMarkers` lists all; take the right to delete from whoever did it"
            );
        }
    }

    async fn signed(&self, call: Call) -> Result<Request<Bytes>, S3Failure> {
        let query: Vec<_> =
            call.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let uri = self.place.uri(&call.key, &query);
        let mut request = Request::builder().method(call.method).uri(uri);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.header(CONTENT_SHA256, call.sha256).body(call.body);
        let (mut parts, body) = request.map_err(|_| HttpFailure::Address)?.into_parts();
        self.signer.sign(&mut parts, None).await?;
        Ok(Request::from_parts(parts, body))
    }
}
