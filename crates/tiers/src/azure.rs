//! A tier in a container of Azure Blob Storage or of a store that speaks its protocol.
//!
//! # Invariants
//!
//! - An object is one block blob, put with one request: the store has it whole or not at all.
//! - What is deleted is gone with all versions that the account kept. What was deleted without them was deleted by
//!   somebody else, and reading looks through to the newest version (ADR 0039).
//! - A body goes out and comes back with its MD5, which the store holds it against and notes.
//!
//! # Crash consistency
//!
//! A kill during `put` leaves the object absent, whole, or as it was. One during `delete` leaves it
//! there, since versions go from the oldest to the newest, and the next `delete` ends it.
//!
//! # Limits
//!
//! Objects are put with a single request, which the store refuses above 5,000 MiB (Azure Storage REST API,
//! "Put Blob"); a pack has some 16 MiB. An account may keep what was deleted for some days (soft delete):
//! that is its owner's choice, costs money, and is not undone here.

mod classes;
mod client;
mod connection;
mod key;
mod listing;
mod locks;
mod place;
mod reading;
mod refused;
mod settings;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use http::Method;
use lifeboat_model::{Capabilities, Capability, Clock, Secret, Timestamp};

use self::client::{AzureClient, Call};
use self::listing::Entry;
use self::reading::SUM_HEADER;
use self::refused::AzureFailure;
use self::settings::Settings;
use crate::counting::Traffic;
use crate::http::answers::{AnswerError, length, modified};
use crate::http::{Answer, HttpClient, Patience};
use crate::request::Request;
use crate::warmth::Need;
use crate::{
    Listings, LockMode, ObjectMeta, ObjectPath, ObjectPrefix, Placement, Protection, PutMode,
    ReadRange, Tier, TierError, Warmth,
};

pub use connection::ParseConnectionError;
pub use settings::AzureOpenError;

/// Where a container is and how it is spoken to. What is not given is found as Azure's tools find it.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// What stands before every object's path; may be empty.
    pub prefix: String,
    /// The address of the account's blobs, if it is not Azure's own.
    pub endpoint: Option<String>,
    /// The account's key, in Base64.
    pub account_key: Option<Secret>,
    /// A shared access signature.
    pub sas_token: Option<Secret>,
    /// How objects are locked, and where those go that only a recovery reads.
    pub placement: Placement,
    /// How soon listings show what was stored.
    pub listings: Listings,
    /// How long the store may keep a request waiting.
    pub patience: Patience,
    /// The process's environment variables.
    pub environment: BTreeMap<String, String>,
}

impl AzureOptions {
    /// Takes an account, a container and a prefix, with everything else as Azure's tools find it.
    pub fn new(
        account: impl Into<String>,
        container: impl Into<String>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            account: account.into(),
            container: container.into(),
            prefix: prefix.into(),
            endpoint: None,
            account_key: None,
            sas_token: None,
            placement: Placement::default(),
            listings: Listings::default(),
            patience: Patience::default(),
            environment: BTreeMap::new(),
        }
    }
}

/// A container, or what lies below a prefix of it.
#[derive(Debug)]
pub struct AzureTier {
    address: String,
    client: AzureClient,
    capabilities: Capabilities,
    placement: Placement,
}

impl AzureTier {
    /// Prepares requests to a container, and sends none.
    pub fn new(options: &AzureOptions, clock: Arc<dyn Clock>) -> Result<Self, AzureOpenError> {
        let Settings { place, credential, trust } = Settings::find(options)?;
        let http = HttpClient::new(&trust, options.patience)?;
        let container = format!("azure://{}/{}", options.account, options.container);
        Ok(Self {
            address: match options.prefix.as_str() {
                "" => container,
                prefix => format!("{container}/{prefix}"),
            },
            client: AzureClient::new(http, credential, place, clock),
            capabilities: capabilities(options),
            placement: options.placement,
        })
    }

    fn key(&self, path: &ObjectPath) -> String {
        self.client.place.prefix.key(path.as_str())
    }

    fn request<'a>(&'a self, verb: &'static str, path: &'a ObjectPath) -> Request<'a> {
        Request { tier: &self.address, verb, path: Some(path) }
    }

    /// Returns an object of a listing, unless no tier could have stored it: then it is somebody else's.
    fn meta(&self, entry: &Entry) -> Result<Option<ObjectMeta>, AnswerError> {
        let path = self.client.place.prefix.path_of(&entry.name);
        let Some(Ok(path)) = path.map(str::parse) else { return Ok(None) };
        let (size, modified) = (entry.properties.length, entry.modified()?);
        Ok(Some(ObjectMeta { path, size, modified }))
    }

    async fn store(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
        need: Need,
    ) -> Result<(), TierError> {
        let (size, sum) = (body.len() as u64, reading::sum(body.clone()).await);
        let call = self.put_call(path, body, &sum, mode, need);
        let Err(failure) = self.client.ask(call).await else { return Ok(()) };
        match &failure {
            AzureFailure::Refused(refused) if refused.may_be_of_replacing() => {
                self.there_already(path, mode, (size, &sum), failure).await
            }
            _ => Err(self.request("write", path).failed(failure)),
        }
    }

    fn put_call(
        &self,
        path: &ObjectPath,
        body: Bytes,
        sum: &str,
        mode: PutMode,
        need: Need,
    ) -> Call {
        let until = self.placement.locked_until(path, self.client.clock.now());
        let mut call = Call::new(Method::PUT, self.key(path))
            .header("content-type", "application/octet-stream")
            .header("x-ms-blob-type", "BlockBlob")
            .header(SUM_HEADER, sum)
            .body(body);
        if let (Some(rule), Some(until)) = (self.placement.lock, until) {
            call = locks::lock(call, rule.mode, until);
        }
        if let (Some(access), Need::InRecovery) = (self.placement.access, need) {
            call = classes::placed(call, access);
        }
        match mode {
            PutMode::Create => call.header("if-none-match", "*"),
            PutMode::Overwrite => call,
        }
    }

    /// What may not be replaced need not be where the very same bytes are there: an answer was lost, and
    /// the request was sent again.
    async fn there_already(
        &self,
        path: &ObjectPath,
        mode: PutMode,
        (size, sum): (u64, &str),
        refused: AzureFailure,
    ) -> Result<(), TierError> {
        let Ok(there) = self.look_at(path).await else {
            return Err(self.request("write", path).failed(refused));
        };
        if mode == PutMode::Create {
            return Err(TierError::already_exists(&self.address, path));
        }
        if length(&there.headers).ok() == Some(size) && there.header(SUM_HEADER) == Some(sum) {
            return Ok(());
        }
        match locks::protection(&there, self.client.clock.now()) {
            Protection::Locked { until, .. } => Err(self.locked(path, Some(until))),
            Protection::None => Err(self.request("replace", path).failed(refused)),
        }
    }

    fn locked(&self, path: &ObjectPath, until: Option<Timestamp>) -> TierError {
        TierError::Locked { tier: self.address.clone(), path: path.clone(), until }
    }

    async fn look_at(&self, path: &ObjectPath) -> Result<Answer, TierError> {
        let answer = self.client.ask_through(Call::new(Method::HEAD, self.key(path))).await;
        answer.map_err(|failure| self.request("look at", path).failed(failure))
    }
}

fn capabilities(options: &AzureOptions) -> Capabilities {
    let placement = options.placement;
    // Source: Azure Storage documentation, "Azure Storage redundancy": the primary region is strongly
    // consistent, listings included.
    let mut capabilities = Capabilities::NONE.with(Capability::ConditionalPut);
    if options.listings.are_prompt(true) {
        capabilities = capabilities.with(Capability::PromptListing);
    }
    if placement.lock.is_some() {
        capabilities = capabilities.with(Capability::ObjectLock);
    }
    if placement.access.is_some() {
        capabilities = capabilities.with(Capability::AccessTier);
    }
    capabilities
}

#[async_trait]
impl Tier for AzureTier {
    fn address(&self) -> &str {
        &self.address
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn counted(&self) -> Option<Traffic> {
        Some(self.client.traffic())
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.store(path, body, mode, Need::Soon).await
    }

    async fn put_cold(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.store(path, body, mode, Need::InRecovery).await
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let read = reading::read(&self.client, &self.key(path), range).await;
        read.map_err(|failure| self.request("read", path).not_read(range, failure))
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        let answer = self.look_at(path).await?;
        let told = |failure: AnswerError| self.request("look at", path).unusable(failure);
        let size = length(&answer.headers).map_err(told)?;
        let modified = modified(&answer.headers).map_err(told)?;
        Ok(ObjectMeta { path: path.clone(), size, modified })
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let below = self.client.place.prefix.below(prefix);
        let request = Request { tier: &self.address, verb: "list its objects", path: None };
        listing::blobs(&self.client, below)
            .and_then(|entry| future::ready(self.meta(&entry).map_err(AzureFailure::from)))
            .map_err(move |failure| request.failed(failure))
            .try_filter_map(|meta| future::ready(Ok(meta)))
            .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let deleted = versions::delete(&self.client, &self.key(path)).await;
        deleted.map_err(|failure| self.request("delete", path).not_deleted(failure))
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        let read = locks::read(&self.client, &self.key(path)).await;
        read.map_err(|failure| self.request("read the lock of", path).failed(failure))
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        let mode = self.placement.lock.map_or(LockMode::Governance, |rule| rule.mode);
        let locked = locks::extend(&self.client, &self.key(path), mode, until).await;
        locked.map_err(|failure| self.request("lock", path).failed(failure))
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.look_at(path).await.map(|answer| classes::warmth(&answer))
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        let asked = classes::thaw(&self.client, &self.key(path), self.placement.thaw).await;
        asked.map_err(|failure| self.request("thaw", path).failed(failure))
    }

    fn thaw_within(&self) -> Option<Duration> {
        Some(classes::thaw_within(self.placement.thaw))
    }
}
