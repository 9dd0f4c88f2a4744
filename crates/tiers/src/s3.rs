//! A tier in a bucket of S3 or of a store that speaks its protocol.
//!
//! # Invariants
//!
//! - An object is one key of the bucket, put with one request: the store has it whole or not at all.
//! - What is deleted is gone with all its versions. This tier never leaves a marker that hides an object,
//!   so a marker is always somebody else's doing, and reading looks through it (ADR 0031).
//! - Requests are signed with the body's SHA-256, so that the store takes no body that was altered.
//!
//! # Crash consistency
//!
//! A kill during `put` leaves the object absent, whole, or as it was. One during `delete` leaves it
//! there, since versions go from the oldest to the newest, and the next `delete` ends it.
//!
//! # Limits
//!
//! Objects are put with a single request, of at most [`OBJECT_BYTES_MAX`]; a pack has some 16 MiB. An
//! upload in parts would bring uploads that were left half done, which cost money until somebody looks,
//! and with a lock a second kind of request that has to carry it, for objects that do not occur.

mod answers;
mod client;
mod context;
mod place;
mod refused;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};
use lifeboat_model::{Capabilities, Capability, Clock, Secret};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::Signer;
use sha2::{Digest as _, Sha256};

use self::answers::Page;
use self::client::{Call, S3Client};
use self::refused::{Request, S3Failure};
use self::settings::{Settings, Sums};
use crate::http::{Answer, HttpClient, Patience};
use crate::{ObjectMeta, ObjectPath, ObjectPrefix, Placement, PutMode, ReadRange, Tier, TierError};

pub use place::{Addressing, ParseEndpointError};
pub use settings::S3OpenError;

/// The largest object that a single request may put.
///
/// Source: Amazon S3 User Guide, "Uploading objects": 5 GB.
pub const OBJECT_BYTES_MAX: u64 = 5_000_000_000;

/// How many objects one request lists: the most that S3 gives.
const PAGE_OBJECTS: &str = "1000";

/// From which size on a body is hashed beside the threads that talk to the network.
const HASHED_HERE_BYTES_MAX: usize = 128 << 10;

const SUM_HEADER: &str = "x-amz-checksum-sha256";

/// The keys of whoever asks.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The access key's id.
    pub id: Secret,
    /// The access key's secret.
    pub secret: Secret,
}

/// How an object is created only where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Creation {
    /// The store decides, so that of two that try one succeeds.
    #[default]
    Conditional,
    /// It is looked first, for stores that do not know conditions; two that try at once may both
    /// succeed, and the tier does not say that it can do better.
    LookFirst,
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
    pub fn new(options: S3Options, clock: Arc<dyn Clock>) -> Result<Self, S3OpenError> {
        let settings = Settings::find(&options)?;
        let credentials = settings.credentials(&options);
        let context = context::context(&options.environment, &settings.trust)?;
        let signer = RequestSigner::new("s3", &settings.region);
        let address = match options.prefix.as_str() {
            "" => format!("s3://{}", options.bucket),
            prefix => format!("s3://{}/{prefix}", options.bucket),
        };
        Ok(Self {
            address,
            capabilities: capabilities(&options, &settings),
            client: S3Client {
                http: HttpClient::new(&settings.trust, options.patience)?,
                signer: Signer::new(context, credentials, signer),
                place: settings.place,
                clock,
            },
            sums: settings.sums,
            creation: options.creation,
            placement: options.placement,
        })
    }

    fn call(&self, method: Method, path: &ObjectPath) -> Call {
        Call::new(method, self.client.place.key(path.as_str()))
    }

    fn request<'a>(&'a self, verb: &'static str, path: &'a ObjectPath) -> Request<'a> {
        Request { tier: &self.address, verb, path: Some(path) }
    }

    async fn read(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, ReadFailure> {
        let Some(bytes) = header_of(range) else {
            return self.read_nothing(path, range).await;
        };
        let call = match bytes.as_str() {
            "" => self.call(Method::GET, path).header("x-amz-checksum-mode", "ENABLED"),
            bytes => self.call(Method::GET, path).header("range", bytes),
        };
        let answer = match self.client.ask(call).await {
            Err(S3Failure::Refused(refused))
                if refused.status == StatusCode::RANGE_NOT_SATISFIABLE =>
            {
                return self.read_nothing(path, range).await;
            }
            other => other?,
        };
        let body = part_of(&answer, range)?;
        if range == ReadRange::Full {
            hold_against_sum(&answer).await?;
        }
        Ok(body)
    }

    /// Reads where there is nothing to read, which no range of HTTP can say: of an empty object, or no
    /// bytes, or beyond the end.
    async fn read_nothing(
        &self,
        path: &ObjectPath,
        range: ReadRange,
    ) -> Result<Bytes, ReadFailure> {
        let answer = self.client.ask(self.call(Method::HEAD, path)).await?;
        let size = answers::length(&answer.headers).map_err(S3Failure::from)?;
        match range.within(size) {
            Some(within) if within.is_empty() => Ok(Bytes::new()),
            Some(_) => Err(S3Failure::Altered { came: "with another size" }.into()),
            None => Err(ReadFailure::OutOfRange { size }),
        }
    }

    async fn store(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), S3Failure> {
        let sum = sha256(body.clone()).await;
        let mut call = self
            .call(Method::PUT, path)
            .header("content-type", "application/octet-stream")
            .body(body, hex(&sum));
        if self.sums == Sums::WhenSupported {
            call = call.header(SUM_HEADER, BASE64_STANDARD.encode(sum));
        }
        if mode == PutMode::Create && self.creation == Creation::Conditional {
            call = call.header("if-none-match", "*");
        }
        self.client.ask(call).await.map(drop)
    }

    async fn page(&self, prefix: &str, from: &[(&'static str, String)]) -> Result<Page, S3Failure> {
        let mut call = Call::new(Method::GET, "")
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("max-keys", PAGE_OBJECTS)
            .query("prefix", prefix);
        for (name, value) in from {
            call = call.query(name, value);
        }
        let answer = self.client.ask(call).await?;
        Ok(Page::of_objects(&answer.body)?)
    }

    fn metas(&self, page: Page) -> Vec<Result<ObjectMeta, TierError>> {
        let known = page.objects.into_iter().filter_map(|entry| {
            // What no tier could have stored is somebody else's.
            let path = self.client.place.path_of(&entry.key)?.parse().ok()?;
            Some(Ok(ObjectMeta { path, size: entry.size, modified: entry.last_modified }))
        });
        known.collect()
    }
}

fn capabilities(options: &S3Options, settings: &Settings) -> Capabilities {
    let mut capabilities = Capabilities::NONE;
    if options.creation == Creation::Conditional {
        capabilities = capabilities.with(Capability::ConditionalPut);
    }
    // AWS says so since 2020; of others it is not known.
    // Source: Amazon S3 User Guide, "Amazon S3 data consistency model".
    if settings.is_vendor {
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

/// Why an object was not read.
enum ReadFailure {
    Failed(S3Failure),
    OutOfRange { size: u64 },
}

impl From<S3Failure> for ReadFailure {
    fn from(failure: S3Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Returns the header that asks for a range, empty for everything; `None` if no header can say it.
fn header_of(range: ReadRange) -> Option<String> {
    match range {
        ReadRange::Full => Some(String::new()),
        ReadRange::Bounded { length: 0, .. } | ReadRange::Suffix(0) => None,
        ReadRange::Bounded { offset, length } => {
            let last = offset.checked_add(length - 1)?;
            Some(format!("bytes={offset}-{last}"))
        }
        ReadRange::Suffix(length) => Some(format!("bytes=-{length}")),
    }
}

/// Returns what was asked for; a store may answer with all of the object instead.
fn part_of(answer: &Answer, range: ReadRange) -> Result<Bytes, ReadFailure> {
    let body = &answer.body;
    if answer.status == StatusCode::PARTIAL_CONTENT {
        let size = answers::whole_size(&answer.headers).map_err(S3Failure::from)?;
        let within = range.within(size).ok_or(ReadFailure::OutOfRange { size })?;
        if within.end - within.start != body.len() as u64 {
            return Err(S3Failure::Altered { came: "with another length" }.into());
        }
        return Ok(body.clone());
    }
    let size = body.len() as u64;
    let within = range.within(size).ok_or(ReadFailure::OutOfRange { size })?;
    let index = |at: u64| usize::try_from(at).expect("a body in memory has a size that fits");
    Ok(body.slice(index(within.start)..index(within.end)))
}

/// Holds a whole body against the sum that the store noted when it was put, if it did. A sum of an
/// upload in parts has the number of parts behind it and says nothing of the whole.
async fn hold_against_sum(answer: &Answer) -> Result<(), S3Failure> {
    let Some(noted) = answer.header(SUM_HEADER).filter(|sum| !sum.contains('-')) else {
        return Ok(());
    };
    if BASE64_STANDARD.encode(sha256(answer.body.clone()).await) == noted {
        return Ok(());
    }
    Err(S3Failure::Altered { came: "with another sum than the one that the store noted" })
}

async fn sha256(body: Bytes) -> [u8; 32] {
    let sum = |body: &Bytes| Sha256::digest(body).into();
    if body.len() <= HASHED_HERE_BYTES_MAX {
        return sum(&body);
    }
    let hashed = tokio::task::spawn_blocking(move || sum(&body)).await;
    hashed.expect("hashing does not panic, and who waits for it is not cancelled")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[async_trait]
impl Tier for S3Tier {
    fn address(&self) -> &str {
        &self.address
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        if mode == PutMode::Create && self.creation == Creation::LookFirst {
            match self.head(path).await {
                Ok(_) => return Err(TierError::already_exists(&self.address, path)),
                Err(TierError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let stored = self.store(path, body, mode).await;
        stored.map_err(|failure| self.request("write", path).failed(failure))
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        self.read(path, range).await.map_err(|failure| match failure {
            ReadFailure::Failed(failure) => self.request("read", path).failed(failure),
            ReadFailure::OutOfRange { size } => {
                TierError::out_of_range(&self.address, path, range, size)
            }
        })
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        let found = async {
            let answer = self.client.ask(self.call(Method::HEAD, path)).await?;
            let size = answers::length(&answer.headers)?;
            let modified = answers::modified(&answer.headers)?;
            Ok(ObjectMeta { path: path.clone(), size, modified })
        };
        found.await.map_err(|failure| self.request("look at", path).failed(failure))
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let below = match prefix.path() {
            Some(path) => self.client.place.key(&format!("{path}/")),
            None => self.client.place.key(""),
        };
        let request = Request { tier: &self.address, verb: "list", path: None };
        let first = Some(Vec::new());
        stream::try_unfold(first, move |from| {
            let below = below.clone();
            async move {
                let Some(from) = from else { return Ok(None) };
                let page =
                    self.page(&below, &from).await.map_err(|failure| request.failed(failure))?;
                let next = page.next.clone();
                Ok::<_, TierError>(Some((stream::iter(self.metas(page)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        match self.client.ask(self.call(Method::DELETE, path)).await {
            Ok(_) => Ok(()),
            Err(S3Failure::Refused(refused)) if refused.is_absence() => Ok(()),
            Err(failure) => Err(self.request("delete", path).failed(failure)),
        }
    }
}
