//! Whether what is stored is locked: read back from stored objects, since a store that could lock need not
//! have done it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{Capability, Classify, Outcome, SnapshotId, Timestamp};
use lifeboat_plan::plan::tier::Tier as PlannedTier;
use lifeboat_repository::needed::packs_of;
use lifeboat_repository::store::Store;
use lifeboat_repository::{Indexed, Repository, Snapshot};
use lifeboat_tiers::{
    LockMode, ObjectMeta, ObjectPath, ObjectPrefix, Protection, Shortfall, Tier, TierError,
};

use super::tiers::store_one;
use super::{Asking, Subject, outcome_of};
use crate::catalog::view::View;
use crate::error::{OpsError, explain};
use crate::lock_keeping::standing::{enrolments, log_of, standing};
use crate::named_tier::NamedTier;
use crate::state::State;
use crate::wire::addresses::lock_mode;

/// The clocks of stores and hosts differ, and a backup takes its time: so much less is still right.
const TOLERANCE: Duration = Duration::from_hours(24);

const LOCKS_NOTHING: &str = "this store, as it is set up, locks nothing";

/// What is to be done about that.
const LOCKABLE: &str = "make a bucket with object lock, or take `lock` out of the plan";

/// How long an object is locked by which it is found out whether a bucket locks any: clocks differ, and it cannot be removed before.
const TRIAL: Duration = Duration::from_hours(1);

/// Returns for how long the plan wants a tier's objects locked, and who may lift that.
pub(crate) fn wanted(rules: &PlannedTier) -> Option<(Duration, LockMode)> {
    Some((rules.lock?.duration(), lock_mode(rules)))
}

/// Returns until when what was stored at a time has to be locked at least.
fn locked_until(stored: Timestamp, lock: Duration) -> Timestamp {
    let until = stored.saturating_add(lock.saturating_sub(TOLERANCE));
    until.unwrap_or(Timestamp::MAX)
}

/// Says what the lock of an object lacks of what the plan says of its tier. What outlived its own lock, because nothing came for
/// so long, is not locked now.
pub(crate) fn weakness(
    rules: &PlannedTier,
    (stored, found): (Timestamp, Protection),
    now: Timestamp,
) -> Option<String> {
    let (lock, mode) = wanted(rules)?;
    let until = locked_until(stored, lock).max(now);
    Some(match found.shortfall(mode, until)? {
        Shortfall::Unlocked => {
            "what lies there can be deleted, though the plan wants it locked".to_owned()
        }
        shortfall => format!("what lies there is {shortfall}, as the plan says"),
    })
}

/// Finds out whether a store that holds nothing yet locks what it gets: an object of a trial is locked for an hour and
/// asked. Returns why not, with what can be done, if so.
pub(super) async fn try_lock(
    tier: &dyn Tier,
    mode: LockMode,
    now: Timestamp,
) -> Result<Option<(String, String)>, TierError> {
    let (path, until) = (store_one(tier).await?, now.saturating_add(TRIAL).unwrap_or(now));
    let locks_nothing = || Some((LOCKS_NOTHING.to_owned(), LOCKABLE.to_owned()));
    match tier.protect(&path, until).await {
        Err(TierError::Unsupported { .. }) => return Ok(locks_nothing()),
        locked => locked?,
    }
    Ok(match tier.protection(&path).await?.shortfall(mode, until) {
        Some(Shortfall::Unlocked) => locks_nothing(),
        Some(shortfall) => {
            let why =
                format!("what is to be locked there for an hour in the mode {mode} is {shortfall}");
            Some((why, "see whether the bucket locks objects and who may change that".to_owned()))
        }
        None => None,
    })
}

/// An object that is to be locked, and until when.
struct Sampled {
    what: &'static str,
    path: ObjectPath,
    until: Timestamp,
}

/// The folders of which the newest object is asked about, and what it is.
const NEWEST: [(&str, &str); 6] = [
    ("repo/data", "the newest pack"),
    ("repo/snapshots", "the newest snapshot"),
    ("repo/index", "the newest index file"),
    ("wal", "the newest file of the log"),
    ("catalog", "the newest record of the catalog"),
    ("plan", "the newest plan"),
];

const ENROLMENT: &str = "the first record of a writer";
const BASE: &str = "the newest base backup";
const BASE_RECORD: &str = "the record of the newest base backup";
const OLDEST_LOG: &str = "the oldest file of the log that a base needs";

impl Asking<'_> {
    /// Asks the store whether a sample of what is stored is locked for as long as the plan says.
    pub(super) fn locks(
        &mut self,
        subject: &Subject,
        named: &NamedTier,
        repository: &Repository<Indexed>,
    ) {
        let rules = self.site.plan().tiers().get(&named.name);
        let Some((lock, mode)) = rules.and_then(wanted) else { return };
        let what = "what is stored there is locked";
        if !named.tier.capabilities().has(Capability::ObjectLock) {
            let told = (Some(format!("not locked: {LOCKS_NOTHING}")), Some(LOCKABLE.to_owned()));
            return self.say(subject, what, Outcome::Failed, told);
        }
        let sampled = match self.sample(named.tier.as_ref(), repository, lock) {
            Ok(sampled) => sampled,
            Err(error) => {
                let told = (Some(format!("could not verify: {}", explain(&error))), None);
                return self.say(subject, what, Outcome::CouldNotVerify, told);
            }
        };
        let (outcome, findings) = self.judge(named.tier.as_ref(), &sampled, mode);
        if outcome == Outcome::Passed {
            return self.passed(subject, what);
        }
        let hint = "see whether the bucket locks objects and who may change that; \
                    `lifeboat backup` extends the locks of what is needed, and leaves what is locked its mode";
        self.say(subject, what, outcome, (Some(findings.join("; ")), Some(hint.to_owned())));
    }

    fn judge(
        &self,
        tier: &dyn Tier,
        sampled: &[Sampled],
        mode: LockMode,
    ) -> (Outcome, Vec<String>) {
        let (mut outcome, mut findings) = (Outcome::Passed, Vec::new());
        if sampled.is_empty() {
            return (Outcome::CouldNotVerify, vec!["nothing is stored there yet".to_owned()]);
        }
        for Sampled { what, path, until } in sampled {
            let asked = self.site.surroundings().runtime.block_on(tier.protection(path));
            let (found, finding) = match asked {
                Ok(protection) => match protection.shortfall(mode, *until) {
                    None => continue,
                    Some(shortfall) => (Outcome::Failed, format!("{shortfall}: {what}, `{path}`")),
                },
                Err(error) if error.kind() == lifeboat_model::ErrorKind::Config => {
                    (outcome_of(&error), format!("not locked: {}", explain(&error)))
                }
                Err(error) => {
                    let told = format!("could not verify {what}: {}", explain(&error));
                    (Outcome::CouldNotVerify, told)
                }
            };
            outcome = outcome.max(found);
            findings.push(finding);
        }
        (outcome, findings)
    }

    /// Chooses objects of every kind: the newest, which has to be locked since it was stored, and the oldest
    /// that the newest snapshot needs, of which the lock has to have been extended.
    fn sample(
        &self,
        tier: &dyn Tier,
        repository: &Repository<Indexed>,
        lock: Duration,
    ) -> Result<Vec<Sampled>, OpsError> {
        let locked = |time: Timestamp| locked_until(time, lock);
        let mut sampled = Vec::new();
        let (mut packs, mut records, mut log) = (Vec::new(), Vec::new(), Vec::new());
        for (folder, what) in NEWEST {
            let listed = self.listed(tier, folder)?;
            if let Some(newest) = listed.iter().max_by_key(|object| object.modified) {
                let (path, until) = (newest.path.clone(), locked(newest.modified));
                // What nothing was added to for longer than a lock lasts has outlived its own.
                if until > self.site.surroundings().now() {
                    sampled.push(Sampled { what, path, until });
                }
            }
            match folder {
                "repo/data" => packs = listed,
                "catalog" => records = listed,
                "wal" => log = listed,
                _ => {}
            }
        }
        let snapshots = repository.snapshots()?;
        let newest = snapshots.iter().map(|(_, s)| s).max_by_key(|s| s.time.instant());
        let Some(newest) = newest else { return Ok(sampled) };
        let until = locked(newest.time.instant());
        let oldest = self.oldest_needed(repository, newest, &packs)?;
        let always = self.listed(tier, "repo/keys")?.into_iter().map(|object| object.path);
        let config: ObjectPath = "repo/config".parse().expect("it is a valid path");
        sampled.extend(oldest.map(|path| Sampled { what: "the oldest pack in use", path, until }));
        sampled.extend(always.map(|path| Sampled { what: "a key file", path, until }));
        sampled.push(Sampled { what: "the repository's config", path: config, until });
        let standing = self.standing(repository.store(), &snapshots, (&records, &log))?;
        sampled.extend(standing.into_iter().map(|(what, path)| Sampled { what, path, until }));
        Ok(sampled)
    }

    /// Chooses the records that others need, and of each asset its newest base with the oldest file of the log that it needs.
    fn standing(
        &self,
        store: &Store,
        snapshots: &[(SnapshotId, Snapshot)],
        (records, log): (&[ObjectMeta], &[ObjectMeta]),
    ) -> Result<Vec<(&'static str, ObjectPath)>, OpsError> {
        let state = State::open(&self.site.surroundings().state_directory)?;
        let view = View::open(&state.view_path())?;
        let enrolments = enrolments(&view)?.into_iter().map(|record| (ENROLMENT, record));
        let mut chosen: Vec<_> = enrolments.collect();
        let mut there = Vec::new();
        for asset in self.site.plan().assets().keys() {
            let standing = standing(&view, (self.site.name(), asset), snapshots)?;
            there.extend(standing.snapshots.iter().map(|id| (BASE, store.path(id))));
            let Some(base) = standing.base else { continue };
            chosen.push((BASE_RECORD, base.record));
            let first = log_of(base.at, log).into_iter().min_by_key(|object| object.modified);
            there.extend(first.map(|object| (OLDEST_LOG, object.path)));
        }
        // One that was not brought there yet is locked when it is.
        chosen.retain(|(_, path)| records.iter().any(|record| record.path == *path));
        chosen.extend(there);
        Ok(chosen)
    }

    fn listed(&self, tier: &dyn Tier, folder: &str) -> Result<Vec<ObjectMeta>, OpsError> {
        let prefix: ObjectPrefix = folder.parse().expect("it is a valid path");
        let listed = tier.list(&prefix).try_collect();
        Ok(self.site.surroundings().runtime.block_on(listed)?)
    }

    fn oldest_needed(
        &self,
        repository: &Repository<Indexed>,
        newest: &Snapshot,
        packs: &[ObjectMeta],
    ) -> Result<Option<ObjectPath>, OpsError> {
        let needed = packs_of(repository, [newest], self.events, self.cancel)?;
        let store = repository.store();
        let needed: BTreeSet<ObjectPath> = needed.iter().map(|pack| store.path(pack)).collect();
        let there = packs.iter().filter(|pack| needed.contains(&pack.path));
        Ok(there.min_by_key(|pack| pack.modified).map(|pack| pack.path.clone()))
    }
}
