//! A tier in a bucket of S3 or of a store that speaks its protocol.
//!
//! # Invariants
//!
//! - An object is one key of the bucket, put with one request: the store has it whole or not at all.
//! - What is deleted is gone with all its versions. This tier never leaves a marker that hides an object,
//!   so a marker is always somebody else's doing, and reading looks through it (ADR 0031).
//! - Requests are signed with the body's SHA-256, so that the store takes no body that was altered. What is named
//!   by its sum is not summed up again (ADR 0035).
//!
//! # Crash consistency
//!
//! A kill during `put` leaves the object absent, whole, or as it was. One during `delete` leaves it
//! there, since versions go from the oldest to the newest, and the next `delete` ends it.
//!
//! # Limits
//!
//! Objects are put with a single request, which the store refuses above 5 GB (Amazon S3 User Guide,
//! "Uploading objects"); a pack has some 16 MiB. An upload in parts would bring uploads that were left half
//! done, which cost money until somebody looks, and with a lock a second kind of request that has to
//! carry it, for objects that do not occur.

mod answers;
mod classes;
mod client;
mod context;
mod credentials;
mod listing;
mod locks;
mod place;
mod reading;
mod refused;
mod role;
mod settings;
mod spread;
mod sum;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{self, TryFutureExt as _};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use http::Method;
use lifeboat_model::{Capabilities, Capability, Clock, Secret, Timestamp};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::Signer;

use self::answers::Entry;
use self::client::{Call, S3Client};
use self::refused::S3Failure;
use self::settings::{Settings, Sums};
use self::sum::{hex, sha256};
use crate::counting::Traffic;
use crate::http::answers::{AnswerError, length, modified};
use crate::http::{Answer, HttpClient, Patience};
use crate::request::Request;
use crate::warmth::Need;
use crate::{
    Creation, Listings, LockMode, ObjectMeta, ObjectPath, ObjectPrefix, Placement, Protection,
    PutMode, ReadRange, Tier, TierError, Warmth,
};

pub use place::Addressing;
pub use settings::S3OpenError;

/// The keys of whoever asks.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The access key's id.
    pub id: Secret,
    /// The access key's secret.
    pub secret: Secret,
}

/// Where a bucket is and how it is spoken to. What is not given is found as the AWS tools find it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What stands before every object's path; may be empty.
    pub prefix: String,
    /// The store's address, if it is not AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Where the bucket's name stands in addresses.
    pub addressing: Option<Addressing>,
    /// The profile of the AWS tools.
    pub profile: Option<String>,
    /// The keys of whoever asks.
    pub keys: Option<Keys>,
    /// How objects are created.
    pub creation: Creation,
    /// How soon listings show what was stored.
    pub listings: Listings,
    /// How objects are locked, and where those go that only a recovery reads.
    pub placement: Placement,
    /// How long the store may keep a request waiting.
    pub patience: Patience,
    /// The process's environment variables.
    pub environment: BTreeMap<String, String>,
}

impl S3Options {
    /// Takes a bucket and a prefix, with everything else as the AWS tools find it.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            endpoint: None,
            region: None,
            addressing: None,
            profile: None,
            keys: None,
            creation: Creation::default(),
            listings: Listings::default(),
            placement: Placement::default(),
            patience: Patience::default(),
            environment: BTreeMap::new(),
        }
    }
}

/// A bucket, or what lies below a prefix of it.
#[derive(Debug)]
pub struct S3Tier {
    address: String,
    client: S3Client,
    sums: Sums,
    creation: Creation,
    capabilities: Capabilities,
    placement: Placement,
}

impl S3Tier {
    /// Prepares requests to a bucket, and sends none.
    pub fn new(options: &S3Options, clock: Arc<dyn Clock>) -> Result<Self, S3OpenError> {
        let settings = Settings::find(options)?;
        let credentials = settings.credentials(options);
        let context = context::context(&options.environment, &settings.trust)?;
        let signer = RequestSigner::new("s3", &settings.region);
        let address = match options.prefix.as_str() {
            "" => format!("s3://{}", options.bucket),
            prefix => format!("s3://{}/{prefix}", options.bucket),
        };
        Ok(Self {
            address,
            capabilities: capabilities(options, &settings),
            client: S3Client::new(
                HttpClient::new(&settings.trust, options.patience)?,
                Signer::new(context, credentials, signer),
                settings.place,
                clock,
            ),
            sums: settings.sums,
            creation: options.creation,
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
    fn meta(&self, entry: &Entry) -> Option<ObjectMeta> {
        let path = self.client.place.prefix.path_of(&entry.key)?.parse().ok()?;
        Some(ObjectMeta { path, size: entry.size, modified: entry.last_modified })
    }

    async fn store(
        &self,
        path: &ObjectPath,
        body: Bytes,
        mode: PutMode,
        need: Need,
    ) -> Result<(), TierError> {
        if mode == PutMode::Create && self.creation == Creation::LookFirst {
            match self.head(path).await {
                Ok(_) => return Err(TierError::already_exists(&self.address, path)),
                Err(TierError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let sum = match sum::named(path) {
            Some(named) => named,
            None => sha256(body.clone()).await,
        };
        let call = self.put_call(path, (body, sum), mode, need);
        let stored = self.client.ask(call).await;
        let held = stored.and_then(|answer| sum::hold(&answer, &sum));
        held.map_err(|failure| self.request("write", path).failed(failure))
    }

    fn put_call(
        &self,
        path: &ObjectPath,
        (body, sum): (Bytes, [u8; 32]),
        mode: PutMode,
        need: Need,
    ) -> Call {
        let until = self.placement.locked_until(path, self.client.clock.now());
        let lock = self.placement.lock.and_then(|rule| Some((rule.mode, until?)));
        let mut call = Call::new(Method::PUT, self.key(path))
            .header("content-type", "application/octet-stream")
            .body(body, hex(&sum));
        // S3 takes no locked object without a sum.
        if self.sums == Sums::WhenSupported || lock.is_some() {
            call = sum::noted(call, &sum);
        }
        if let Some((mode, until)) = lock {
            call = locks::lock(call, mode, until);
        }
        if let Some(class) = self.placement.access.and_then(classes::class)
            && need == Need::InRecovery
        {
            call = call.header("x-amz-storage-class", class);
        }
        if mode == PutMode::Create && self.creation == Creation::Conditional {
            call = call.header("if-none-match", "*");
        }
        call
    }

    async fn look_at(&self, path: &ObjectPath) -> Result<Answer, TierError> {
        let answer = self.client.ask_through(Call::new(Method::HEAD, self.key(path))).await;
        answer.map_err(|failure| self.request("look at", path).failed(failure))
    }
}

fn capabilities(options: &S3Options, settings: &Settings) -> Capabilities {
    let mut capabilities = Capabilities::NONE;
    if options.creation == Creation::Conditional {
        capabilities = capabilities.with(Capability::ConditionalPut);
    }
    // AWS says so since 2020; of others it is not known.
    // Source: Amazon S3 User Guide, "Amazon S3 data consistency model".
    if options.listings.are_prompt(settings.is_vendor) {
        capabilities = capabilities.with(Capability::PromptListing);
    }
    if options.placement.lock.is_some() {
        capabilities = capabilities.with(Capability::ObjectLock);
    }
    if options.placement.access.is_some() {
        capabilities = capabilities.with(Capability::AccessTier);
    }
    capabilities
}

#[async_trait]
impl Tier for S3Tier {
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
        let listed = async move {
            let begun = listing::begin(&self.client, &below).await?;
            let (listed, prefix) = (begun.0, below.clone());
            let ask = move |from: listing::From| {
                let prefix = prefix.clone();
                async move { listing::page(&self.client, listed, &prefix, &from).await }
            };
            Ok::<_, S3Failure>(listing::objects(ask, begun, &below))
        };
        let request = Request { tier: &self.address, verb: "list its objects", path: None };
        listed
            .try_flatten_stream()
            .map_err(move |failure| request.failed(failure))
            .try_filter_map(|entry| future::ready(Ok(self.meta(&entry))))
            .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let deleted = versions::delete(&self.client, &self.key(path)).await;
        deleted.map_err(|failure| self.request("delete", path).not_deleted(failure))
    }

    async fn protection(&self, path: &ObjectPath) -> Result<Protection, TierError> {
        let read = locks::read(&self.client, &self.key(path), None).await;
        read.map_err(|failure| self.request("read the lock of", path).failed(failure))
    }

    async fn protect(&self, path: &ObjectPath, until: Timestamp) -> Result<(), TierError> {
        let mode = self.placement.lock.map_or(LockMode::Governance, |rule| rule.mode);
        let locked = locks::extend(&self.client, &self.key(path), mode, until).await;
        locked.map_err(|failure| self.request("lock", path).failed(failure))
    }

    async fn warmth(&self, path: &ObjectPath) -> Result<Warmth, TierError> {
        self.look_at(path).await.map(|answer| classes::warmth(&answer.headers))
    }

    async fn thaw(&self, path: &ObjectPath) -> Result<(), TierError> {
        let asked = classes::thaw(&self.client, &self.key(path), self.placement.thaw).await;
        asked.map_err(|failure| self.request("thaw", path).failed(failure))
    }

    fn thaw_within(&self) -> Option<Duration> {
        Some(classes::thaw_within(self.placement.access, self.placement.thaw))
    }
}
