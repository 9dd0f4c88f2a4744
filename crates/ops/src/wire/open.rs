//! Everything that a command which writes needs, opened in an order that a kill cannot harm.
//!
//! # Crash consistency
//!
//! A tier is set up in the order: folder, mark, key file, config, record (see [`settling`]). A kill before the record
//! leaves a tier that the next run takes up where it was left; only the record makes its absence
//! a loss. Records of jobs that never ended are closed as interrupted when the next job of this
//! host begins: each job that is at work holds a file of the state directory.
//!
//! # Tiers that do not answer
//!
//! All are gone to at the same time. Who has enough with some of them begins with those, see [`Quorum`]; the others come
//! in later, when [`OpenSite::take_in`] is asked for them, or are told of as unreachable.
//!
//! # Several at the same time
//!
//! Jobs of one process share the lock, and a restore works beside whoever has it. What is set up or recorded once is so
//! by one of them.

mod finder;
mod locking;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lifeboat_model::{AssetName, Cancel, EventSink, Silent, TierName};
use lifeboat_repository::{Indexed, Repository};

use self::finder::Finder;
pub(crate) use self::locking::begin_lock;
use super::{Site, Vacancy};
use crate::adoptions::{Adoptions, Emptiness};
use crate::at_work::{CatchingUp, Presence};
use crate::backlog::Present;
use crate::catalog::body::{Body, JobStarted};
use crate::catalog::record::Record;
use crate::catalog::view::View;
use crate::catalog::{Catalog, CatalogKeys, CatalogReport, TierSync};
use crate::error::{OpsError, Trouble};
use crate::inquiry::Inquiry;
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;
use crate::residence::fence::expect_home;
use crate::standing::Standing;

/// What is done with a tier that was never there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTiers {
    /// It is set up.
    SetUp,
    /// It is left alone and named.
    Leave,
}

/// Which tiers have to be open before the work begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Quorum {
    /// All that answer.
    All,
    /// At least one of each of these sets; the others as far as they answer soon.
    OneOfEach(BTreeSet<BTreeSet<TierName>>),
}

impl Quorum {
    /// Tells whether these are enough.
    fn is_met(&self, found: &[(TierName, Found)]) -> bool {
        let open =
            || found.iter().filter(|(_, it)| matches!(it, Found::Tier(tier) if tier.is_ok()));
        match self {
            Self::All => false,
            Self::OneOfEach(sets) => {
                sets.iter().all(|set| open().any(|(name, _)| set.contains(name)))
            }
        }
    }
}

/// A tier with its repository.
#[derive(Debug)]
pub struct OpenTier {
    /// The tier.
    pub named: NamedTier,
    /// Its repository.
    pub repository: Repository<Indexed>,
}

/// What was found where a tier is.
#[derive(Debug)]
pub(crate) enum Found {
    /// A place where one could be set up.
    Vacant(Vacancy),
    /// One that is open, or what is wrong with it.
    Tier(Box<Result<OpenTier, Trouble>>),
}

/// A site, open for a command that writes.
#[derive(Debug)]
pub struct OpenSite<'s> {
    site: &'s Site,
    key: RecoveryKey,
    catalog: Catalog,
    /// Each tier that was asked for; nothing as long as it has not answered.
    tiers: BTreeMap<TierName, OnceLock<Result<Arc<OpenTier>, Trouble>>>,
    new_tiers: NewTiers,
    /// Those that have not answered yet.
    late: Mutex<Inquiry<Found>>,
    /// Those that did not take what was recorded, and why.
    laggards: Mutex<BTreeMap<TierName, String>>,
    /// The jobs that were recorded to begin here.
    present: Mutex<Vec<Presence>>,
}

impl<'s> OpenSite<'s> {
    /// Opens the site with these tiers, as far as they answer.
    pub fn open(
        site: &'s Site,
        wanted: &BTreeSet<TierName>,
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        Self::begin(site, (wanted, &Quorum::All), new_tiers, events, cancel)
    }

    /// Opens the site with as many of these tiers as are enough; [`Self::take_in`] takes in the others.
    pub(crate) fn begin(
        site: &'s Site,
        asked: (&BTreeSet<TierName>, &Quorum),
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let (open, found) = Self::go(site, asked, new_tiers, events, cancel)?;
        open.admit(found, events, cancel)?;
        Ok(open)
    }

    /// Opens the site for what is done where the platform lives alone, see [`Self::begin_home`].
    pub(crate) fn open_home(
        site: &'s Site,
        wanted: &BTreeSet<TierName>,
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        Self::begin_home(site, (wanted, &Quorum::All), new_tiers, events, cancel)
    }

    /// Opens the site for what is done where the platform lives alone; elsewhere it is refused before anything is
    /// stored, and before its plan comes into force. Where the plan has places all tiers are waited for, since each may
    /// tell of a move.
    pub(crate) fn begin_home(
        site: &'s Site,
        (wanted, quorum): (&BTreeSet<TierName>, &Quorum),
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let quorum = if site.plan().places().is_empty() { quorum } else { &Quorum::All };
        let (open, mut found) = Self::go(site, (wanted, quorum), new_tiers, events, cancel)?;
        let learned = open.learn(&found)?;
        expect_home(&open, &mut found, &learned)?;
        open.settle_in(found, events, cancel)?;
        Ok(open)
    }

    /// Goes to these tiers until there are enough; returns what was found.
    fn go(
        site: &'s Site,
        (wanted, quorum): (&BTreeSet<TierName>, &Quorum),
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<(TierName, Found)>), OpsError> {
        let surroundings = site.surroundings();
        let key = site.recovery_key(cancel)?;
        let lock = site.state_lock()?;
        let keys = CatalogKeys::from(&key);
        let catalog = Catalog::open(lock, site.name().clone(), keys, surroundings)?;
        let finder = Finder { site: site.clone(), key: key.clone(), cancel: cancel.clone() };
        let find = move |name: &TierName, events: &dyn EventSink| finder.look(name, events);
        let mut late = Inquiry::begin(wanted.iter().cloned(), find);
        let found = late.gather(events, |found| quorum.is_met(found));
        let tiers = wanted.iter().map(|name| (name.clone(), OnceLock::new())).collect();
        let (late, laggards, present) = (Mutex::new(late), Mutex::default(), Mutex::default());
        Ok((Self { site, key, catalog, tiers, new_tiers, late, laggards, present }, found))
    }

    /// Waits for the tiers that have not answered yet, and takes them in; returns which those are, open or not.
    pub(crate) fn take_in(
        &self,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<BTreeSet<TierName>, OpsError> {
        let found: Vec<_> = {
            let mut late = self.late();
            std::iter::from_fn(|| late.next(events)).collect()
        };
        let names = found.iter().map(|(name, _)| name.clone()).collect();
        if !found.is_empty() {
            self.admit(found, events, cancel)?;
        }
        Ok(names)
    }

    /// Returns the tiers that have not answered yet.
    pub(crate) fn awaited(&self) -> BTreeSet<TierName> {
        self.late().awaited().clone()
    }

    fn late(&self) -> MutexGuard<'_, Inquiry<Found>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in tiers that have answered.
    fn admit(
        &self,
        found: Vec<(TierName, Found)>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        self.learn(&found)?;
        self.settle_in(found, events, cancel)
    }

    /// Brings the catalog and the tiers that have answered up to date with each other.
    fn learn(&self, found: &[(TierName, Found)]) -> Result<CatalogReport, OpsError> {
        let ready = found.iter().filter_map(|(_, found)| match found {
            Found::Tier(tier) => tier.as_ref().as_ref().ok().map(|tier| tier.named.clone()),
            Found::Vacant(_) => None,
        });
        let (hostname, plan) = (&self.site.surroundings().hostname, self.site.plan().id());
        let learned = self.catalog.catch_up(&ready.collect::<Vec<_>>())?;
        self.catalog.enrol(&self.key.root_key(), hostname, Some(plan))?;
        Ok(learned)
    }

    /// Returns the site.
    pub const fn site(&self) -> &'s Site {
        self.site
    }

    /// Returns the recovery key.
    pub const fn key(&self) -> &RecoveryKey {
        &self.key
    }

    /// Returns the catalog.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns a tier, or what is wrong with it.
    pub fn tier(&self, name: &TierName) -> Result<&OpenTier, Trouble> {
        let known = self.tiers.get(name).map(OnceLock::get);
        match known {
            Some(Some(Ok(tier))) => Ok(tier),
            Some(Some(Err(trouble))) => Err(trouble.clone()),
            unknown => Err(self.site.address(name).map_or_else(
                |error| Trouble::of(&error),
                |address| {
                    let tier = name.clone();
                    Trouble::of(&match unknown {
                        Some(_) => OpsError::TierLate { tier, address },
                        None => OpsError::TierNew { tier, address },
                    })
                },
            )),
        }
    }

    /// Returns the tiers that were opened.
    pub fn open_tiers(&self) -> impl Iterator<Item = &OpenTier> {
        self.tiers.values().filter_map(OnceLock::get).flatten().map(Arc::as_ref)
    }

    /// Returns the tiers that were opened, for whoever asks them on threads of their own.
    pub(crate) fn shared_tiers(&self) -> BTreeMap<TierName, Arc<OpenTier>> {
        let open =
            self.tiers.iter().filter_map(|(name, it)| Some((name, it.get()?.as_ref().ok()?)));
        open.map(|(name, tier)| (name.clone(), Arc::clone(tier))).collect()
    }

    /// Lists what lies on some of the tiers that were opened, on all at the same time. One that cannot be listed, or falls silent,
    /// has nothing to give.
    pub(crate) fn present(&self, wanted: impl Fn(&TierName) -> bool) -> Present {
        let (site, tiers) = (self.site, self.shared_tiers());
        let names: Vec<_> = tiers.keys().filter(|name| wanted(name)).cloned().collect();
        let mut asked = Inquiry::begin(names, move |name: &TierName, _: &dyn EventSink| {
            tiers[name].repository.snapshot_ids().ok()
        });
        let heard = |name: &TierName| site.silent_for(name);
        let found = asked.gather_unless_silent(&Silent, site.silence_max(), heard);
        let listed = found.into_iter().filter_map(|(name, ids)| Some((name, ids?)));
        listed.map(|(name, ids)| (name, ids.into_iter().collect())).collect()
    }

    /// Appends a record; [`Self::deliver`] puts it on the tiers. A job that begins with it counts as at work as long
    /// as the site is open.
    pub fn record(&self, body: Body) -> Result<Record, OpsError> {
        if let Body::JobStarted(JobStarted { job, assets, .. }) = &body {
            let presence = self.catalog.state_lock().enter(*job, assets)?;
            self.present.lock().unwrap_or_else(PoisonError::into_inner).push(presence);
        }
        if let Body::JobEnded(_) = &body {
            self.laggards().clear();
        }
        Ok(self.catalog.append(body, Some(self.site.plan().id()))?)
    }

    /// Returns the assets on which other jobs of this host work.
    pub(crate) fn assets_of_others(&self) -> BTreeSet<AssetName> {
        let own = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        self.catalog.state_lock().at_work().assets_of_others(&own)
    }

    /// Takes it upon this job to bring a tier what it missed; `None` if another one of this host does.
    pub(crate) fn catch_up(&self, tier: &TierName) -> Option<CatchingUp> {
        self.catalog.state_lock().at_work().catch_up(tier)
    }

    /// Puts what was recorded on the tiers; one that is down is named and catches up later. One that did not take
    /// something is not waited for again before the job has ended.
    pub fn deliver(&self) -> Result<Vec<TierSync>, OpsError> {
        let mut laggards = self.laggards();
        let tiers = self.open_tiers().map(|tier| tier.named.clone());
        let tiers: Vec<_> = tiers.filter(|tier| !laggards.contains_key(&tier.name)).collect();
        let mut synced = self.catalog.deliver(&tiers)?;
        let late = laggards.iter().map(|(tier, error)| {
            let (tier, error) = (tier.clone(), Some(error.clone()));
            TierSync { tier, read: 0, put: 0, error }
        });
        let late: Vec<_> = late.collect();
        let failed = |on: &TierSync| Some((on.tier.clone(), on.error.clone()?));
        laggards.extend(synced.iter().filter_map(failed));
        synced.extend(late);
        Ok(synced)
    }

    fn laggards(&self) -> MutexGuard<'_, BTreeMap<TierName, String>> {
        self.laggards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what is stored on these tiers from now on builds on nothing that was found damaged.
    pub(crate) fn leave_damage_out(&self, tiers: &BTreeSet<TierName>) -> Result<(), OpsError> {
        for tier in self.open_tiers().filter(|tier| tiers.contains(&tier.named.name)) {
            let name = &tier.named.name;
            let damaged = Standing::load(self.catalog.view(), name)?.damaged_packs;
            if !damaged.is_empty() {
                tracing::warn!(tier = %name, packs = damaged.len(), "What damaged packs held is stored again.");
                tier.repository.leave_out(&damaged);
            }
        }
        Ok(())
    }
}

/// Tells whether a tier was set up at this address before.
pub(crate) fn was_adopted(view: &View, tier: &TierName, address: &str) -> Result<bool, OpsError> {
    Ok(Adoptions::load(view, tier)?.nothing_at(address) == Emptiness::Lost)
}
