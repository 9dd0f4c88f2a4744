//! A tier in a directory of a server that is reached by SSH.
//!
//! The system's program `ssh` carries the connection, with its configuration, known hosts, keys and agent; what
//! goes through it is SFTP, version 3, with the extensions of OpenSSH (ADR 0043).
//!
//! # Invariants
//!
//! - An object is one regular file, read-only, whose name below the root is the object's path; as a local tier
//!   on that server would have it.
//! - The root is never made, and nothing is made below it once another file system lies there.
//!
//! # Crash consistency
//!
//! Bytes go to a temporary name in the same directory and are synced; then the file takes its name in one
//! step, by `posix-rename` or, where nothing may have the name, by `hardlink`; then the directory is synced. A
//! kill leaves the object absent, whole, or as it was, and at most one hidden temporary file, which
//! `list` does not see and which the next process that writes into that directory removes once it is old.
//!
//! # Limits
//!
//! - A server without `fsync@openssh.com` writes when it likes; one warning says so. Names are synced
//!   where a directory can be opened like a file, as OpenSSH lets it.
//! - A quota that is used up is told as a failure that may pass: the protocol has no word for it, and the disk has
//!   room. So is a server that waits for a fifo in an object's place.
//! - Listings are not said to be prompt, since nobody knows what file system the server has.
//! - Links are made on the server's file system; one that has none wants [`Creation::LookFirst`].

mod failure;
mod files;
mod link;
mod listing;
mod place;
mod reading;
mod session;
mod ssh;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use lifeboat_model::{Capabilities, Capability, Timestamp};
use openssh_sftp_client_lowlevel::FileAttrs;

use self::failure::{Failure, Request};
use self::link::Link;
use self::place::Place;
use self::ssh::Login;
use self::store::{Store, Visit};
use crate::prepared::Prepared;
use crate::{
    Creation, Listings, ObjectMeta, ObjectPath, ObjectPrefix, Patience, PutMode, ReadRange, Tier,
    TierError,
};

/// How long a server may take: for looking up who comes, and for syncing to a slow disk.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(30), silence: Duration::from_mins(2) };

/// Which directory of which server. What is not given is as ssh's own configuration has it.
#[derive(Debug, Clone)]
pub struct SftpOptions {
    /// The host, or a name that ssh's configuration has for it.
    pub host: String,
    /// Who logs in.
    pub user: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The directory: from the server's root with a slash, otherwise from where the login leads.
    pub path: String,
    /// How objects are created.
    pub creation: Creation,
    /// How soon listings show what was stored.
    pub listings: Listings,
    /// How long the server may keep a request waiting.
    pub patience: Patience,
    /// The environment of ssh.
    pub environment: BTreeMap<String, String>,
}

impl SftpOptions {
    /// Takes a host and a directory, with everything else as ssh has it.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            user: None,
            port: None,
            path: path.into(),
            creation: Creation::default(),
            listings: Listings::default(),
            patience: PATIENCE,
            environment: BTreeMap::new(),
        }
    }
}

/// A directory of a server.
#[derive(Debug)]
pub struct SftpTier {
    address: String,
    listings: Listings,
    link: Link,
    store: Arc<Store>,
}

impl SftpTier {
    /// Prepares for a server, and does not speak to it yet.
    pub fn new(options: SftpOptions) -> Self {
        let store = Store {
            place: Place::new(&options.path),
            creation: options.creation,
            prepared: Prepared::default(),
            file_system: OnceLock::new(),
        };
        let address = address(&options);
        let SftpOptions { host, user, port, listings, patience, environment, .. } = options;
        let login = Login { user, host, port, environment };
        Self { address, listings, link: Link::new(login, patience), store: Arc::new(store) }
    }

    fn request<'a>(&'a self, verb: &'static str, path: &'a ObjectPath) -> Request<'a> {
        Request { tier: &self.address, verb, path: Some(path) }
    }

    async fn visit(&self) -> Result<Visit, Failure> {
        Ok(Visit::new(Arc::clone(&self.store), self.link.session().await?))
    }
}

fn address(options: &SftpOptions) -> String {
    let user = options.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = options.port.map(|port| format!(":{port}")).unwrap_or_default();
    let host = match options.host.as_str() {
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    match options.path.as_str() {
        path if path.starts_with('/') => format!("sftp://{user}{host}{port}{path}"),
        path => format!("sftp://{user}{host}{port}/~/{path}"),
    }
}

fn meta(path: ObjectPath, attributes: &FileAttrs) -> ObjectMeta {
    let second = files::written_at(attributes).unwrap_or_default();
    ObjectMeta {
        path,
        size: attributes.get_size().unwrap_or_default(),
        modified: Timestamp::from_second(second.into()).unwrap_or(Timestamp::MAX),
    }
}

#[async_trait]
impl Tier for SftpTier {
    fn address(&self) -> &str {
        &self.address
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::NONE;
        if self.store.creation == Creation::Conditional {
            capabilities = capabilities.with(Capability::ConditionalPut);
        }
        // What lies behind the server is not known: it may be a network's file system.
        if self.listings.are_prompt(false) {
            capabilities = capabilities.with(Capability::PromptListing);
        }
        capabilities
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        let stored = async { self.visit().await?.put(path, body, mode).await };
        stored.await.map_err(|trouble| self.request("write", path).failed(trouble))
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        let read = async { reading::read(&self.visit().await?, path, range).await };
        read.await.map_err(|trouble| self.request("read", path).read_failed(range, trouble))
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        let looked_at = async { self.visit().await?.head(path).await };
        match looked_at.await {
            Ok(attributes) => Ok(meta(path.clone(), &attributes)),
            Err(trouble) => Err(self.request("look at", path).failed(trouble)),
        }
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let start = prefix.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let listed = async move { Ok(listing::files_below(self.visit().await?, start)) };
        let request = Request { tier: &self.address, verb: "list its objects", path: None };
        // What no tier could have stored is somebody else's.
        let object =
            |found: listing::Found| Some(meta(found.path.parse().ok()?, &found.attributes));
        futures::TryFutureExt::try_flatten_stream(listed)
            .map_err(move |trouble| request.failed(trouble))
            .try_filter_map(move |found| future::ready(Ok(object(found))))
            .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        let deleted = async { self.visit().await?.remove(path).await };
        deleted.await.map_err(|trouble| self.request("delete", path).failed(trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_who() {
        let mut options = SftpOptions::new("backup", "/srv/a");
        assert_eq!(address(&options), "sftp://backup/srv/a");
        options.user = Some("u".to_owned());
        options.port = Some(23);
        options.path = "a".to_owned();
        assert_eq!(address(&options), "sftp://u@backup:23/~/a");
        options.host = "::1".to_owned();
        assert_eq!(address(&options), "sftp://u@[::1]:23/~/a");
    }
}
