//! The catalog's objects on one tier: list them, read what is not known yet, put what it lacks.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_tiers::{ObjectPath, ObjectPrefix, PutMode, ReadRange, TierError};

use super::audit::Flaw;
use super::record::{Record, RecordName};
use crate::named_tier::NamedTier;
use lifeboat_tiers::envelope::{Opener, Recipient};

/// How many records are fetched or put at once: they are small, so that latency decides.
const CONCURRENCY: usize = 16;

/// The records on a tier that were asked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every name that is there.
    pub names: HashSet<RecordName>,
    /// The well-formed records among those that were read.
    pub records: Vec<Record>,
    /// What could not be read.
    pub flaws: Vec<Flaw>,
}

/// Lists a tier's records and reads those that `known` lacks.
pub(super) async fn read(
    tier: &NamedTier,
    opener: Option<&Opener>,
    known: &HashSet<RecordName>,
) -> Result<Found, TierError> {
    let prefix: ObjectPrefix = "catalog".parse().expect("it is a valid path");
    let listed: Vec<_> = tier.tier.list(&prefix).try_collect().await?;
    let mut found = Found::default();
    let mut wanted = HashMap::new();
    for meta in listed {
        let Some(name) = RecordName::parse(&meta.path) else {
            let reason = "its name is no record's".to_owned();
            found.flaws.push(unreadable(tier, &meta.path, reason));
            continue;
        };
        found.names.insert(name.clone());
        if !known.contains(&name) {
            wanted.insert(meta.path, name);
        }
    }
    let Some(opener) = opener else { return Ok(found) };
    let mut read = futures::stream::iter(wanted.into_iter().map(async |(path, name)| {
        let sealed = tier.tier.get(&path, ReadRange::Full).await;
        (path, name, sealed)
    }))
    .buffer_unordered(CONCURRENCY);
    while let Some((path, name, sealed)) = read.next().await {
        match open(tier, opener, &path, &name, &sealed?) {
            Ok(record) => found.records.push(record),
            Err(flaw) => found.flaws.push(flaw),
        }
    }
    Ok(found)
}

fn unreadable(tier: &NamedTier, path: &ObjectPath, reason: String) -> Flaw {
    Flaw::Unreadable { tier: tier.name.clone(), object: path.to_string(), reason }
}

fn open(
    tier: &NamedTier,
    opener: &Opener,
    path: &ObjectPath,
    name: &RecordName,
    sealed: &[u8],
) -> Result<Record, Flaw> {
    let fail = |error: &dyn std::error::Error| unreadable(tier, path, error.to_string());
    let plaintext = opener.open(path.as_str(), sealed).map_err(|error| fail(&error))?;
    let record = Record::read(&plaintext).map_err(|error| fail(&error))?;
    if RecordName::of(&record) == *name {
        Ok(record)
    } else {
        Err(Flaw::Misnamed { tier: tier.name.clone(), object: path.to_string() })
    }
}

/// Puts records; one that is there already stays as it is.
pub(super) async fn put(
    tier: &NamedTier,
    recipient: &Recipient,
    records: &[Record],
) -> Result<(), TierError> {
    futures::stream::iter(records.iter().map(async |record| {
        let sealed = Bytes::from(recipient.seal(record.plaintext()));
        match tier.tier.put(&record.path(), sealed, PutMode::Create).await {
            // The name holds the hash of the plaintext, so what is there is this record, or its
            // damage is found when it is read; either way it is not ours to replace.
            Err(TierError::AlreadyExists { .. }) => Ok(()),
            other => other,
        }
    }))
    .buffer_unordered(CONCURRENCY)
    .try_collect()
    .await
}
