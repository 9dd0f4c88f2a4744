//! Extending the locks of what snapshots still need, so that no copy can be deleted before it is as old as
//! the plan says.
//!
//! Deduplication lets a new snapshot refer to packs that were stored, and locked, long before. So each
//! snapshot, once it is made, gets the locks of all that it needs extended to its own time and the plan's
//! `lock`. An object is locked for some slack longer than that whenever it is locked, so that each is
//! locked anew only once in that time, and most snapshots cost no request at all.
//!
//! Until when an object is locked follows from when it was stored, which a listing tells, or from the
//! **lock book**: a file of the state directory with a day for each object whose lock was extended. Where the
//! book was lost, the store is asked. That an object was locked when it was stored counts only if it was stored since the plan
//! asks for locks of that length, which the book knows too: who adds a lock to a tier, or makes it longer, has what was stored
//! before asked about, and locked.
//!
//! # Invariants
//!
//! - The book never says more than the store does: it is written after the store has answered.
//!
//! # Crash consistency
//!
//! A kill leaves locks that the book does not know of. The next run asks the store.
//!
//! # Limits
//!
//! Index files are not extended: they are made anew from the packs, and a prune has to be able to replace
//! them. The book has one line for each pack that is older than the plan's `lock`, for each file of the log that a
//! base needs which is older than the slack, and for each writer and base. Locks are extended when a backup ends, and those of bases and
//! their log also when retention runs: log that is archived while neither reaches the tier for longer than the slack outlives the
//! lock of its base.

pub mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{
    Cancel, Capability, EventSink, JobId, KeyId, SnapshotId, TierName, Timestamp,
};
use lifeboat_repository::Snapshot;
use lifeboat_repository::needed::packs_of;
use lifeboat_tiers::{ObjectMeta, ObjectPath, ObjectPrefix, Protection, Tier, TierError};
use serde::Serialize;

use self::standing::{Standing, enrolments, log_of, standing};
use crate::catalog::record::RecordName;
use crate::error::OpsError;
use crate::point::tagged;
use crate::wire::open::{OpenSite, OpenTier};

/// How many objects are asked about or locked at a time.
const REQUESTS_MAX: usize = 8;

const DAY_SECONDS: i64 = 24 * 3600;

/// How long before a base backup begins the first segment that it needs may have been archived: the clocks of hosts and
/// stores differ, and a standby begins at its last restart point.
const LOG_BEFORE: Duration = Duration::from_hours(1);

/// How the plan wants objects of a tier to be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTerms {
    /// How old a copy gets before anybody can delete it.
    pub lock: Duration,
    /// For how long an object is locked when it is.
    pub locked_for: Duration,
}

/// Until when objects are locked at least, where that was extended: by path, as days since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockBook {
    days: BTreeMap<String, i64>,
    /// For how long what is stored is locked, and since when; not known of a book that is new.
    stored: Option<Stored>,
}

/// What the lock is that objects get when they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    locked_for: Duration,
    since: Timestamp,
}

impl Stored {
    /// How its line of a book begins.
    const WORD: &str = "stored ";

    fn parse(line: &str) -> Option<Self> {
        let (seconds, since) = line.strip_prefix(Self::WORD)?.split_once(' ')?;
        let since = Timestamp::from_second(since.parse().ok()?).ok()?;
        Some(Self { locked_for: Duration::from_secs(seconds.parse().ok()?), since })
    }
}

impl LockBook {
    /// Reads a book; what is no line of one does not count.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (day, path) = line.split_once(' ')?;
            Some((path.to_owned(), day.parse().ok()?))
        };
        let days = text.lines().filter_map(line).collect();
        Self { days, stored: text.lines().find_map(Stored::parse) }
    }

    /// Writes it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(Stored { locked_for, since }) = self.stored {
            _ = writeln!(text, "{}{} {}", Stored::WORD, locked_for.as_secs(), since.as_second());
        }
        for (path, day) in &self.days {
            _ = writeln!(text, "{day} {path}");
        }
        text
    }

    /// Takes note of how what is stored is locked now; `before` tells of a book that does not know whether that was so before.
    fn note_terms(&mut self, locked_for: Duration, now: Timestamp, before: impl FnOnce() -> bool) {
        let since = match self.stored {
            Some(known) if known.locked_for >= locked_for => known.since,
            None if before() => Timestamp::MIN,
            // A whole second later: what was stored in this one may have been before.
            _ => now.saturating_add(Duration::from_secs(1)).unwrap_or(now),
        };
        self.stored = Some(Stored { locked_for, since });
    }

    /// Tells whether an object was stored since objects are locked as they are now.
    fn is_stored_so(&self, object: &ObjectMeta) -> bool {
        self.stored.is_none_or(|stored| object.modified >= stored.since)
    }

    fn until(&self, path: &ObjectPath) -> Option<Timestamp> {
        let day = self.days.get(path.as_str())?;
        Timestamp::from_second(day.checked_mul(DAY_SECONDS)?).ok()
    }

    /// Tells whether an object is known to be locked until then.
    fn knows(&self, path: &ObjectPath, needed: Timestamp) -> bool {
        self.until(path).is_some_and(|until| until >= needed)
    }

    /// Takes note of a lock; of a day that has begun nothing counts.
    fn note(&mut self, path: &ObjectPath, until: Timestamp) {
        let day = self.days.entry(path.to_string()).or_insert(i64::MIN);
        *day = (*day).max(until.as_second().div_euclid(DAY_SECONDS));
    }

    /// Forgets what has run out.
    fn forget_before(&mut self, now: Timestamp) {
        let today = now.as_second().div_euclid(DAY_SECONDS);
        self.days.retain(|_, day| *day >= today);
    }
}

/// Returns the objects that nobody knows to be locked until `needed`. Pure.
pub fn due<'m>(
    objects: &'m [ObjectMeta],
    book: &LockBook,
    terms: LockTerms,
    needed: Timestamp,
) -> Vec<&'m ObjectMeta> {
    let by_storing = |object: &ObjectMeta| object.modified.saturating_add(terms.locked_for).ok();
    let is_known = |object: &&ObjectMeta| {
        let is_locked =
            book.is_stored_so(object) && by_storing(object).is_some_and(|until| until >= needed);
        is_locked || book.knows(&object.path, needed)
    };
    objects.iter().filter(|object| !is_known(object)).collect()
}

/// What extending locks did on a tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LocksKept {
    /// How many objects were asked about.
    pub asked: u64,
    /// How many locks were extended.
    pub extended: u64,
}

/// Returns how objects of a tier are to be locked, if they are.
pub fn terms(open: &OpenSite<'_>, name: &TierName) -> Option<LockTerms> {
    let tier = open.site().plan().tiers().get(name)?;
    Some(LockTerms { lock: tier.lock?.duration(), locked_for: tier.locked_for()? })
}

/// For whose sake locks are extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sake {
    /// Of the snapshots that a job made, and of what the newest moments of servers are recovered from, as of their time.
    Made(JobId),
    /// Of what the newest moments of servers are recovered from, as of now: their log may come without any backup.
    Moments,
}

impl Sake {
    /// Returns from when on the plan's `lock` counts, if there is anything to lock.
    fn since(self, snapshots: &[(SnapshotId, Snapshot)], now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Made(_) => {
                let made = snapshots.iter().filter(|(_, snapshot)| self.made(snapshot));
                made.map(|(_, snapshot)| snapshot.time.instant()).max()
            }
            Self::Moments => Some(now),
        }
    }

    fn made(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Made(job) => tagged(snapshot, "job") == Some(job.to_string().as_str()),
            Self::Moments => false,
        }
    }
}

/// Extends the locks of all that is needed on a tier; the caller holds a lock on its repository.
pub fn keep_locks(
    open: &OpenSite<'_>,
    tier: &OpenTier,
    sake: Sake,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<LocksKept, OpsError> {
    let name = &tier.named.name;
    let can_lock = tier.named.tier.capabilities().has(Capability::ObjectLock);
    let Some(terms) = terms(open, name).filter(|_| can_lock) else {
        return Ok(LocksKept::default());
    };
    let snapshots = tier.repository.snapshots()?;
    let newest = sake.since(&snapshots, open.site().surroundings().now());
    let Some(newest) = newest else { return Ok(LocksKept::default()) };
    let needed = newest.saturating_add(terms.lock).unwrap_or(Timestamp::MAX);
    let book = LockBook::parse(&open.catalog().state_lock().lock_book(name)?);
    let mut keeping = Keeping { open, tier, terms, needed, book, kept: LocksKept::default() };
    keeping.note_terms();
    let standing = keeping.standing(&snapshots)?;
    let is_needed = |one: &&(SnapshotId, Snapshot)| {
        sake.made(&one.1) || standing.iter().any(|standing| standing.snapshots.contains(&one.0))
    };
    let roots: Vec<Snapshot> =
        snapshots.iter().filter(is_needed).map(|(_, snapshot)| snapshot.clone()).collect();
    let done = keeping.keep(&roots, &standing, events, cancel);
    keeping.book.forget_before(open.site().surroundings().now());
    open.catalog().state_lock().keep_lock_book(name, &keeping.book.to_text())?;
    done.map(|()| keeping.kept)
}

struct Keeping<'a> {
    open: &'a OpenSite<'a>,
    tier: &'a OpenTier,
    terms: LockTerms,
    needed: Timestamp,
    book: LockBook,
    kept: LocksKept,
}

impl Keeping<'_> {
    /// Notes how what is stored is locked now. Of a book that does not know the store is asked by one object that was there
    /// before all others.
    fn note_terms(&mut self) {
        let (store, tier) = (self.tier.repository.store(), &self.tier.named.tier);
        let config: ObjectPath = "repo/config".parse().expect("it is a valid path");
        let is_so = || {
            let asked = async {
                let meta = tier.head(&config).await?;
                Ok::<_, TierError>((meta.modified, tier.protection(&config).await?))
            };
            let Ok((stored, Protection::Locked { until, .. })) = store.runtime().block_on(asked)
            else {
                return false;
            };
            stored.saturating_add(self.terms.locked_for).is_ok_and(|wanted| until >= wanted)
        };
        let now = self.open.site().surroundings().now();
        self.book.note_terms(self.terms.locked_for, now, is_so);
    }

    /// Returns what the newest moments of the plan's assets are recovered from, of what is there.
    fn standing(&self, there: &[(SnapshotId, Snapshot)]) -> Result<Vec<Standing>, OpsError> {
        let (site, view) = (self.open.site(), self.open.catalog().view());
        let assets = site.plan().assets().keys();
        let standing = assets.map(|asset| standing(view, (site.name(), asset), there));
        Ok(standing.collect::<Result<_, _>>()?)
    }

    fn keep(
        &mut self,
        made: &[Snapshot],
        standing: &[Standing],
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        let packs = self.list("repo/data")?;
        let mut wanted = self.always_needed()?;
        wanted.extend(self.log(standing)?);
        let old = due(&packs, &self.book, self.terms, self.needed);
        // Which of the old packs are needed is worth a walk only if there are any.
        if !old.is_empty() {
            let (repository, store) = (&self.tier.repository, self.tier.repository.store());
            let needed = packs_of(repository, made, events, cancel)?;
            let needed: BTreeSet<ObjectPath> = needed.iter().map(|pack| store.path(pack)).collect();
            wanted.extend(old.into_iter().filter(|pack| needed.contains(&pack.path)).cloned());
        }
        let due = due(&wanted, &self.book, self.terms, self.needed).into_iter();
        let mut due: Vec<ObjectPath> = due.map(|object| object.path.clone()).collect();
        due.extend(self.never_listed(standing)?);
        self.extend(&due, cancel)
    }

    fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, OpsError> {
        self.list_below(&folder.parse().expect("it is a valid path"))
    }

    fn list_below(&self, prefix: &ObjectPrefix) -> Result<Vec<ObjectMeta>, OpsError> {
        let listed = self.tier.named.tier.list(prefix).try_collect();
        Ok(self.open.site().surroundings().runtime.block_on(listed)?)
    }

    /// Returns what every snapshot needs: without it no repository opens, and nobody knows whose it is.
    fn always_needed(&self) -> Result<Vec<ObjectMeta>, OpsError> {
        let store = self.tier.repository.store();
        let mut paths: Vec<ObjectPath> =
            store.list::<KeyId>()?.iter().map(|key| store.path(&key.id)).collect();
        let plan = format!("plan/{}.age", self.open.site().plan().id().to_hex());
        for path in ["repo/config", "site.json", plan.as_str()] {
            paths.push(path.parse().expect("it is a valid path"));
        }
        let mut found = Vec::new();
        for path in paths {
            match store.runtime().block_on(self.tier.named.tier.head(&path)) {
                Ok(meta) => found.push(meta),
                Err(TierError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Returns the snapshots of bases and the records without which others, or bases, mean nothing, as far as the book does
    /// not know of their locks. When they were stored their hosts' clocks do not tell: the store is asked, once in the slack.
    fn never_listed(&self, standing: &[Standing]) -> Result<Vec<ObjectPath>, OpsError> {
        let store = self.tier.repository.store();
        let mut paths = enrolments(self.open.catalog().view())?;
        for one in standing {
            paths.extend(one.snapshots.iter().map(|id| store.path(id)));
            paths.extend(one.base.iter().map(|base| base.record.clone()));
        }
        paths.retain(|path| !self.book.knows(path, self.needed));
        Ok(paths)
    }

    /// Returns the log that bases need. That of a young base was stored, and locked, lately: of it only the histories
    /// are listed, which may be much older.
    fn log(&self, standing: &[Standing]) -> Result<Vec<ObjectMeta>, OpsError> {
        let now = self.open.site().surroundings().now();
        let mut wanted = Vec::new();
        for base in standing.iter().filter_map(|one| one.base.as_ref()) {
            let oldest = base.began.saturating_sub(LOG_BEFORE).unwrap_or(Timestamp::MIN);
            let locked = oldest.saturating_add(self.terms.locked_for).unwrap_or(Timestamp::MAX);
            // Of a base that begins in the future nobody knows when it was made.
            let is_so = self.book.stored.is_none_or(|stored| oldest >= stored.since);
            let is_young = is_so && base.began <= now && locked >= self.needed;
            let system = base.at.system;
            let folder = if is_young { system.histories() } else { system.folder() };
            wanted.extend(log_of(base.at, &self.list_below(&folder)?));
        }
        Ok(wanted)
    }

    /// Extends locks: the store is asked first, since another host may have done it.
    fn extend(&mut self, paths: &[ObjectPath], cancel: &Cancel) -> Result<(), OpsError> {
        let slack = self.terms.locked_for.saturating_sub(self.terms.lock);
        let until = self.needed.saturating_add(slack).unwrap_or(Timestamp::MAX);
        let (tier, needed) = (&self.tier.named.tier, self.needed);
        let runtime = self.open.site().surroundings().runtime.clone();
        for some in paths.chunks(REQUESTS_MAX * REQUESTS_MAX) {
            cancel.check()?;
            let one = |path: ObjectPath| async move {
                let done = extend_one(tier.as_ref(), &path, needed, until).await;
                (path, done)
            };
            let work = stream::iter(some.to_vec()).map(one).buffer_unordered(REQUESTS_MAX);
            for (path, done) in runtime.block_on(work.collect::<Vec<_>>()) {
                let (found, extended) = match done {
                    // A record that was not brought there yet is locked when it is.
                    Err(TierError::NotFound { .. }) if RecordName::parse(&path).is_some() => {
                        continue;
                    }
                    done => done?,
                };
                self.kept.asked += 1;
                self.kept.extended += extended;
                self.book.note(&path, found);
            }
        }
        Ok(())
    }
}

/// Sees to it that an object is locked until `needed`; returns until when it is, and how many locks were
/// extended for it.
async fn extend_one(
    tier: &dyn Tier,
    path: &ObjectPath,
    needed: Timestamp,
    until: Timestamp,
) -> Result<(Timestamp, u64), TierError> {
    if let Protection::Locked { until: found, .. } = tier.protection(path).await?
        && found >= needed
    {
        return Ok((found, 0));
    }
    tier.protect(path, until).await?;
    Ok((until, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY_SECONDS).unwrap()
    }

    fn object(name: &str, stored: i64) -> ObjectMeta {
        ObjectMeta { path: name.parse().unwrap(), size: 1, modified: day(stored) }
    }

    #[test]
    fn only_what_nobody_knows_to_be_locked_is_due() {
        let days = |days| Duration::from_secs(days * DAY_SECONDS.unsigned_abs());
        let terms = LockTerms { lock: days(30), locked_for: days(40) };
        let objects = [object("a", 100), object("b", 90), object("c", 89), object("d", 89)];
        let mut book = LockBook::default();
        book.note(&objects[3].path, day(130));
        let found = due(&objects, &book, terms, day(130));
        assert_eq!(found, [&objects[2]]);
        book.note(&objects[3].path, day(120));
        assert_eq!(due(&objects, &book, terms, day(130)).len(), 1, "a note is never shortened");
        assert_eq!(LockBook::parse(&book.to_text()), book);
        assert_eq!(due(&objects, &book, terms, day(120)).len(), 0);
        // The plan asks for longer locks since the hundredth day.
        book.note_terms(terms.locked_for, day(80), || true);
        assert_eq!(due(&objects, &book, terms, day(120)).len(), 0, "it was so before");
        let longer = LockTerms { lock: days(60), locked_for: days(70) };
        book.note_terms(longer.locked_for, day(100), || true);
        assert_eq!(due(&objects, &book, longer, day(130)).len(), 3, "the fourth is noted");
        assert_eq!(LockBook::parse(&book.to_text()), book);
        book.note_terms(terms.locked_for, day(101), || false);
        book.note_terms(longer.locked_for, day(102), || false);
        let later = object("e", 102);
        assert_eq!(due(&[later], &book, longer, day(130)).len(), 1, "shorter in between");
        let mut book = LockBook::default();
        book.note(&objects[3].path, day(130));
        book.forget_before(day(131));
        assert_eq!(due(&objects, &book, terms, day(130)).len(), 2);
    }
}
