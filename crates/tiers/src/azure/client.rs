//! Requests to one container: built, signed, sent, and their refusals read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Method, Request};
use lifeboat_model::{Clock, Timestamp};

use super::key::{Credential, Signed};
use super::listing;
use super::place::Place;
use super::refused::{AzureFailure, Refused};
use crate::counting::{Counters, Traffic};
use crate::http::{Answer, HttpClient, HttpFailure};
use crate::tier::Operation;

/// The version of the protocol: the first in which a blob can go to the class `Cold` is 2021-12-02, and
/// Azurite knows this one.
///
/// Source: Azure Storage REST API, "Versioning for Azure Storage".
const VERSION: &str = "2023-11-03";

const DATE: HeaderName = HeaderName::from_static("x-ms-date");

/// One request, before it is signed.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    pub(super) key: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Call {
    /// A request without a body about a key, or about the container for an empty one.
    pub(super) fn new(method: Method, key: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, key: key.into(), query, headers, body: Bytes::new() }
    }

    /// Adds to the query.
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

    /// Returns as which sort of request it counts: what is asked about a container is as little as about a blob.
    fn operation(&self) -> Operation {
        let asked = self.query.iter().find(|(name, _)| *name == "comp");
        match (&self.method, asked.map(|(_, value)| value.as_str())) {
            (&Method::PUT, Some("immutabilityPolicies")) => Operation::Protect,
            (&Method::PUT, Some("tier")) => Operation::Thaw,
            (&Method::PUT, _) => Operation::Put,
            (&Method::DELETE, _) => Operation::Delete,
            (&Method::GET, Some("list")) => Operation::List,
            (&Method::GET, None) => Operation::Get,
            _ => Operation::Head,
        }
    }

    /// Is about this version of the blob, if one is given.
    #[must_use]
    pub(super) fn version(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => self.query("versionid", id),
            None => self,
        }
    }

    /// Sends a body.
    #[must_use]
    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// A container that can be asked.
#[derive(Debug)]
pub(super) struct AzureClient {
    http: HttpClient,
    credential: Credential,
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
    told_of_hidden: AtomicBool,
    knows_no_versions: AtomicBool,
    counters: Counters,
}

impl AzureClient {
    /// A client that has sent nothing yet.
    pub(super) fn new(
        http: HttpClient,
        credential: Credential,
        place: Place,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (told_of_hidden, knows_no_versions) = (AtomicBool::new(false), AtomicBool::new(false));
        let counters = Counters::default();
        Self { http, credential, place, clock, told_of_hidden, knows_no_versions, counters }
    }

    /// Returns what passed so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    /// Sends a request and returns an answer that says yes.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, AzureFailure> {
        let (operation, sent) = (call.operation(), call.body.len());
        let now = self.clock.now();
        let request = self.signed(call, now)?;
        self.counters.ask(operation);
        let answer = self.http.send(request).await?;
        if answer.status.is_success() {
            self.counters.passed(operation, sent, answer.body.len());
            return Ok(answer);
        }
        Err(AzureFailure::Refused(Box::new(Refused::of(&answer, now))))
    }

    /// Asks for versions; `None` from an account that does not know any, as one with folders of its own.
    pub(super) async fn ask_with_versions(
        &self,
        call: Call,
    ) -> Result<Option<Answer>, AzureFailure> {
        if self.knows_no_versions.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.ask(call).await {
            Err(AzureFailure::Refused(refused)) if refused.is_unfit() => {
                self.knows_no_versions.store(true, Ordering::Relaxed);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Asks about a blob; where somebody deleted it and the account kept its versions, about the newest.
    pub(super) async fn ask_through(&self, call: Call) -> Result<Answer, AzureFailure> {
        let refused = match self.ask(call.clone()).await {
            Err(AzureFailure::Refused(refused)) if refused.is_absence() => refused,
            other => return other,
        };
        let Some(newest) = listing::history(self, &call.key).await?.pop() else {
            return Err(AzureFailure::Refused(refused));
        };
        if newest.version_id.is_some() && !newest.is_current() {
            self.tell_of_hidden(&call.key);
        }
        self.ask(call.version(newest.version_to_name())).await
    }

    fn tell_of_hidden(&self, key: &str) {
        if !self.told_of_hidden.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                container = self.place.container,
                key,
                "somebody deleted objects of which the account kept versions; those are read"
            );
        }
    }

    fn signed(&self, call: Call, now: Timestamp) -> Result<Request<Bytes>, AzureFailure> {
        let path = self.place.path(&call.key);
        let mut uri = self.place.uri(&path, &call.query);
        if let Credential::Signature(token) = &self.credential {
            uri.push(if call.query.is_empty() { '?' } else { '&' });
            uri.push_str(token.expose());
        }
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(DATE, http_date(now))
            .header("x-ms-version", VERSION);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(call.body).map_err(|_| HttpFailure::Address)?;
        if let Credential::Key(key) = &self.credential {
            let authorization = key.authorization(&Signed {
                method: request.method(),
                path: &path,
                query: &call.query,
                headers: request.headers(),
                length: request.body().len(),
            });
            let mut value = HeaderValue::try_from(authorization)
                .expect("an account's name and Base64 can stand in a header");
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// Writes a time as HTTP does, in whole seconds.
pub(super) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
