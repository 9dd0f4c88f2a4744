//! How a store in the network is spoken to: one client with its trust and its patience, for all vendors.
//!
//! A request is sent once; trying again is left to [`RetryTier`](crate::RetryTier). Redirections are
//! answers like any other, since a signature is made for one address.
//!
//! # Limits
//!
//! An answer is held in memory as a whole. A request is given up when nothing moved in either
//! direction for [`Patience::silence`], which is noticed after at most twice that time; how long it
//! takes altogether is not bounded, since lines may be slow. What the kernel has taken counts as
//! moved: a line must carry its buffer, at most some four megabytes, within that silence.

pub(crate) mod address;
pub(crate) mod answers;
pub mod failure;
pub(crate) mod ranges;
pub(crate) mod refused;
pub(crate) mod sums;
pub mod trust;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use reqwest::redirect::Policy;

use crate::patience::unless_silent;

pub use crate::patience::Patience;
pub use address::ParseEndpointError;
pub use failure::HttpFailure;
pub use trust::{Trust, TrustError};

/// How much of a body is handed over at a time; whether anything moves is seen at this grain.
const SLICE_BYTES: usize = 64 << 10;

/// How much memory is set aside at once for an answer that says that it is long.
const RESERVED_BYTES_MAX: u64 = 32 << 20;

/// How long idle connections are kept: less than the shortest time after which a store or a balancer
/// in front of it closes them (S3: about twenty seconds), so that requests seldom meet a closed one.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// What a store answered, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
}

impl Answer {
    /// Returns a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A client with its own pool of connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    patience: Patience,
}

impl HttpClient {
    /// Makes a client; no connection is opened yet.
    pub fn new(trust: &Trust, patience: Patience) -> Result<Self, TrustError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.client_config()?)
            .http1_only()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(patience.connect)
            .pool_idle_timeout(IDLE_MAX)
            .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| TrustError::Client { source })?;
        Ok(Self { client, patience })
    }

    /// Sends a request and reads all of its answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, HttpFailure> {
        let moved = Arc::new(AtomicU64::new(0));
        let silence = self.patience.silence;
        let exchange = self.exchange(request, &moved);
        unless_silent(silence, &moved, exchange)
            .await
            .unwrap_or(Err(HttpFailure::Silent { silence }))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        moved: &Arc<AtomicU64>,
    ) -> Result<Answer, HttpFailure> {
        let head = request.method() == Method::HEAD;
        let request = metered(request, moved)?;
        let mut response = self.client.execute(request).await.map_err(HttpFailure::of)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let length = response.content_length().filter(|_| !head).unwrap_or(0);
        let mut body = BytesMut::with_capacity(
            usize::try_from(length.min(RESERVED_BYTES_MAX)).unwrap_or_default(),
        );
        while let Some(chunk) = response.chunk().await.map_err(HttpFailure::of)? {
            moved.fetch_add(1, Ordering::Relaxed);
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }
}

/// Prepares a request whose body counts what was taken of it.
fn metered(
    request: Request<Bytes>,
    moved: &Arc<AtomicU64>,
) -> Result<reqwest::Request, HttpFailure> {
    let (mut parts, body) = request.into_parts();
    let sends = !body.is_empty() || matches!(parts.method, Method::PUT | Method::POST);
    if sends {
        // Without it the body would go out in chunks of unknown number, which S3 refuses.
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let url = parts.uri.to_string().parse().map_err(|_| HttpFailure::Address)?;
    let mut sent = reqwest::Request::new(parts.method, url);
    *sent.headers_mut() = parts.headers;
    if !body.is_empty() {
        let slices: VecDeque<Bytes> = (0..body.len())
            .step_by(SLICE_BYTES)
            .map(|start| body.slice(start..body.len().min(start + SLICE_BYTES)))
            .collect();
        let moved = Arc::clone(moved);
        let slices = slices.into_iter().map(move |slice| {
            moved.fetch_add(1, Ordering::Relaxed);
            Ok::<_, io::Error>(slice)
        });
        *sent.body_mut() = Some(reqwest::Body::wrap_stream(stream::iter(slices)));
    }
    Ok(sent)
}
