//! Everything that a command which writes needs, opened in an order that a kill cannot harm.
//!
//! # Crash consistency
//!
//! A tier is set up in the order: folder, mark, key file, config, record. A kill before the record
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
//! Jobs of one process share the lock, and a restore works beside whoever has it. What is set up or recorded once is so by one of them: it is looked again whether
//! it is there while none of the others does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Capability, Event, EventSink, Silent, Stage, TierName};
use lifeboat_repository::lock::{LISTING_LAG_MAX, LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::{Indexed, Repository, RepositoryError};
use lifeboat_tiers::{Refusal, TierError};

use super::repositories::Lineage;
use super::{Adoption, Reached, Site, Vacancy, repositories};
use crate::adoptions::{Adoptions, Emptiness};
use crate::at_work::{CatchingUp, Presence};
use crate::backlog::Present;
use crate::catalog::body::{Body, JobEnded, JobStarted, PlanAdopted, TierAdopted};
use crate::catalog::record::Record;
use crate::catalog::view::{View, Wanted};
use crate::catalog::{Catalog, CatalogKeys, CatalogReport, TierSync};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::inquiry::Inquiry;
use crate::listing::recorded;
use crate::named_tier::NamedTier;
use crate::plan_archive::{ArchivedPlan, Stored};
use crate::recovery_key::RecoveryKey;
use crate::residence::fence::expect_home;
use crate::standing::Standing;
use crate::tier_mark::TierMark;

/// How often it is looked for the key of a repository that was made just now, and for how long: listings lag by seconds
/// where they do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 60;

/// How long a wait is that somebody is told of: what is over sooner nobody wonders about.
const TOLD_FROM: Duration = Duration::from_secs(2);

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

    /// Sets up what is new of what has answered, and records what is recorded once.
    fn settle_in(
        &self,
        found: Vec<(TierName, Found)>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        let mut vacant = Vec::new();
        for (name, found) in found {
            match found {
                Found::Vacant(vacancy) => vacant.push(vacancy),
                Found::Tier(opened) => self.enter(&name, *opened),
            }
        }
        self.settle_all(vacant, events, cancel)?;
        self.settle()?;
        self.deliver()?;
        Ok(())
    }

    /// Enters a tier, once the plan is stored there.
    fn enter(&self, name: &TierName, opened: Result<OpenTier, Trouble>) {
        let opened = opened.and_then(|tier| {
            if self.site.adoption() == Adoption::InForce {
                self.store_plan(&tier.named)?;
            }
            Ok(tier)
        });
        if let Some(tier) = self.tiers.get(name) {
            // Nobody else enters it: each answers once.
            drop(tier.set(opened.map(Arc::new)));
        }
    }

    /// Decides what each empty place means, once it was looked at again: another job may have set it up meanwhile.
    fn settle_all(
        &self,
        vacant: Vec<Vacancy>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        if vacant.is_empty() {
            return Ok(());
        }
        let (site, key) = (self.site.clone(), self.key.clone());
        let finder = Finder { site, key, cancel: cancel.clone() };
        let _settling = self.catalog.state_lock().settling()?;
        for vacancy in vacant {
            let name = vacancy.name.clone();
            let found = if self.may_be_taken(&vacancy) {
                finder.look(&name, events)
            } else {
                Found::Vacant(vacancy)
            };
            let opened = match found {
                Found::Vacant(vacancy) => self.occupy(vacancy, &finder, events)?,
                Found::Tier(opened) => *opened,
            };
            self.enter(&name, opened);
        }
        Ok(())
    }

    /// Tells whether something may be there by now.
    fn may_be_taken(&self, vacancy: &Vacancy) -> bool {
        match &vacancy.place {
            super::Place::Nothing(path) => path.exists(),
            super::Place::Empty(tier) => {
                let mark = TierMark::read(tier.as_ref());
                !matches!(self.site.surroundings().runtime.block_on(mark), Ok(None))
            }
        }
    }

    /// Decides what an empty place means: a new tier, or one that is lost.
    fn occupy(
        &self,
        vacancy: Vacancy,
        finder: &Finder,
        events: &dyn EventSink,
    ) -> Result<Result<OpenTier, Trouble>, OpsError> {
        let (tier, address) = (vacancy.name.clone(), vacancy.address.clone());
        let emptiness = Adoptions::load(self.catalog.view(), &tier)?.nothing_at(&address);
        let opened = match (emptiness, self.new_tiers) {
            (Emptiness::New, NewTiers::SetUp) => self.set_up(vacancy, finder, events),
            (Emptiness::Moved { from }, NewTiers::SetUp) => {
                self.tell_of_move(&tier, (&from, &address))?;
                self.set_up(vacancy, finder, events)
            }
            (emptiness, _) => Err(emptiness.trouble(tier, address)),
        };
        Ok(opened.map_err(|error| Trouble::of(&error)))
    }

    /// Says that a tier begins anew since its address changed in the plan.
    fn tell_of_move(&self, tier: &TierName, (from, to): (&str, &str)) -> Result<(), OpsError> {
        let view = self.catalog.view();
        let snapshots = recorded(view, tier, view.mark()?)?.len();
        tracing::warn!(
            %tier, from, to, snapshots,
            "The tier lies at a new place since the plan was changed: it is set up there, what lies at the old one no longer counts, and it gets what others hold."
        );
        Ok(())
    }

    fn set_up(
        &self,
        vacancy: Vacancy,
        finder: &Finder,
        events: &dyn EventSink,
    ) -> Result<OpenTier, OpsError> {
        let lineage = self.lineage(&vacancy.name)?;
        let surroundings = self.site.surroundings();
        let named = vacancy.occupy(self.site)?;
        let verifier = self.key.public_halves().verifier.to_string();
        let mark = TierMark::new(self.site.name().clone(), verifier);
        surroundings.runtime.block_on(mark.write(named.tier.as_ref()))?;
        let made = repositories::make(&named, &self.key, lineage, surroundings)?;
        let repository = made.load_index(&finder.cancel, events)?;
        finder.await_key(&repository)?;
        Ok(OpenTier { named, repository })
    }

    /// Finds what the repository of a new tier has to have in common with those before it: from a tier of the plan that can
    /// be opened, whether it was asked for or not. None where the plan has no tier any more that was set up before.
    fn lineage(&self, new: &TierName) -> Result<Option<Lineage>, OpsError> {
        if let Some(elder) = self.open_tiers().next() {
            return Ok(Some(Lineage::of(&elder.repository)));
        }
        let mut elders = Vec::new();
        for name in self.site.plan().tiers().keys().filter(|name| *name != new) {
            let address = self.site.address(name)?;
            let was_there = was_adopted(self.catalog.view(), name, &address)?;
            match self.lineage_of(name, address) {
                Ok(lineage) => return Ok(Some(lineage)),
                Err(trouble) if was_there => elders.push((name.clone(), trouble.message)),
                Err(_) => {}
            }
        }
        if elders.is_empty() {
            Ok(None)
        } else {
            Err(OpsError::NoElderTier { tier: new.clone(), elders })
        }
    }

    fn lineage_of(&self, name: &TierName, address: String) -> Result<Lineage, Trouble> {
        let lost = || Trouble::of(&OpsError::TierLost { tier: name.clone(), address });
        if let Some(asked) = self.tiers.get(name) {
            // It was gone to. If it is to be entered yet, nothing is there.
            let is_vacant = asked.get().is_none() && !self.awaited().contains(name);
            let lineage = |tier: &OpenTier| Lineage::of(&tier.repository);
            return if is_vacant { Err(lost()) } else { self.tier(name).map(lineage) };
        }
        let read = |tier| Lineage::read(&tier, &self.key, self.site.surroundings());
        match self.site.reach(name) {
            Reached::Ready(tier) => read(tier).map_err(|error| Trouble::of(&error)),
            Reached::Trouble(trouble) => Err(trouble),
            Reached::Vacant(_) => Err(lost()),
        }
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

    /// Records what is recorded once: tiers and the plan, and that jobs ended whose process is gone. Where another process
    /// does just that, who works beside it does not.
    fn settle(&self) -> Result<(), OpsError> {
        let Some(_settling) = self.catalog.state_lock().settling()? else { return Ok(()) };
        self.adopt_tiers()?;
        if self.site.adoption() == Adoption::InForce {
            self.adopt_plan()?;
        }
        self.close_interrupted()
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

    /// Locks a tier's repository for work that removes something: nobody else is there.
    pub(crate) fn lock_alone(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        self.lock(tier, LockKind::Exclusive, events, cancel)
    }

    /// Locks a tier's repository like [`begin_lock`], but waits until it is certain.
    fn lock(
        &self,
        tier: &OpenTier,
        kind: LockKind,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        let clock = &self.site.surroundings().clock;
        let options = LockOptions::new(kind);
        let is_prompt = tier.named.tier.capabilities().has(Capability::PromptListing);
        let waits = kind == LockKind::Exclusive && !is_prompt;
        if waits {
            events.emit(Event::Started { stage: Stage::Listings, total: None });
        }
        let held = LockGuard::acquire(&tier.repository, &options, clock, cancel);
        if waits {
            events.emit(Event::Finished { stage: Stage::Listings });
        }
        let held = held?;
        tier.repository.refresh_index(cancel, events)?;
        Ok(held)
    }

    /// Locks a tier's repository for reading; one that cannot be written to is read without, since
    /// nobody can prune it either.
    pub(crate) fn lock_to_read(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Option<LockGuard>, OpsError> {
        match self.lock(tier, LockKind::Shared, events, cancel) {
            Ok(held) => {
                self.wait_for_listings(tier, events, cancel)?;
                Ok(Some(held))
            }
            Err(RepositoryError::Tier(
                error @ (TierError::Denied { .. }
                | TierError::Refused { refusal: Refusal::NotAllowed, .. }),
            )) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, tier = %tier.named.name, "It is read without a lock.");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits, where listings may lag, until what was recorded last is listed with everything that it needs.
    fn wait_for_listings(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), OpsError> {
        if tier.named.tier.capabilities().has(Capability::PromptListing) {
            return Ok(());
        }
        let (surroundings, name) = (self.site.surroundings(), Some(&tier.named.name));
        let wanted = Wanted { kind: "asset-backed-up", asset: None, tier: name, good_only: false };
        let Some(newest) = self.catalog.view().latest(wanted, 1)?.pop() else { return Ok(()) };
        let age = Duration::try_from(surroundings.now().duration_since(newest.header().time));
        let rest = LISTING_LAG_MAX.saturating_sub(age.unwrap_or_default());
        if rest.is_zero() {
            return Ok(());
        }
        if rest >= TOLD_FROM {
            events.emit(Event::Started { stage: Stage::Listings, total: None });
        }
        let pause = async { cancel.cut_short(surroundings.clock.sleep(rest)).await };
        let paused = surroundings.runtime.block_on(pause);
        events.emit(Event::Finished { stage: Stage::Listings });
        paused?;
        Ok(tier.repository.refresh_index(cancel, events)?)
    }

    /// Records tiers that are there and were not recorded, as after a kill right before.
    fn adopt_tiers(&self) -> Result<(), OpsError> {
        for tier in self.open_tiers() {
            let (name, address) = (&tier.named.name, self.site.address(&tier.named.name)?);
            let repository = tier.repository.config().id;
            if !Adoptions::load(self.catalog.view(), name)?.knows(&address, repository) {
                self.record(Body::TierAdopted(TierAdopted {
                    tier: name.clone(),
                    address,
                    repository,
                }))?;
            }
        }
        Ok(())
    }

    /// Stores the plan on a tier; a backup also looks whether what is there is whole, and stores it again if not.
    ///
    /// A tier that cannot take it cannot take a backup either; what only reads goes on with it.
    fn store_plan(&self, tier: &NamedTier) -> Result<(), Trouble> {
        let Some(archived) = ArchivedPlan::new(self.site.sources()) else { return Ok(()) };
        let (plan, recipient) = (self.site.plan().id(), self.key.public_halves().recipient);
        let runtime = &self.site.surroundings().runtime;
        let stored = runtime.block_on(archived.store(plan, &recipient, tier.tier.as_ref()));
        match (stored, self.new_tiers) {
            (Ok(Stored::Before), NewTiers::SetUp) => self.mend_plan(&archived, tier),
            (Ok(_), _) => {}
            (Err(error), NewTiers::SetUp) => return Err(Trouble::of(&error)),
            (Err(error), NewTiers::Leave) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, tier = %tier.name, "The plan could not be stored.");
            }
        }
        Ok(())
    }

    /// Stores the plan again where what is there is damaged. Copies are whole all the same, so a tier that does not take
    /// it takes a backup.
    fn mend_plan(&self, archived: &ArchivedPlan, tier: &NamedTier) {
        let (plan, surroundings) = (self.site.plan().id(), self.site.surroundings());
        let opener = self.key.opener();
        let mended = archived.mend(plan, &opener, tier.tier.as_ref(), surroundings.now());
        match surroundings.runtime.block_on(mended) {
            Ok(None) => {}
            Ok(Some(flaw)) => {
                let error: &dyn std::error::Error = &flaw;
                tracing::warn!(error, tier = %tier.name, "The plan was damaged, and is stored again.");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, tier = %tier.name, "Whether the plan is whole is not known.");
            }
        }
    }

    /// Records that this plan is in force.
    fn adopt_plan(&self) -> Result<(), OpsError> {
        let plan = self.site.plan().id();
        let wanted = Wanted { kind: "plan-adopted", asset: None, tier: None, good_only: false };
        let latest = self.catalog.view().latest(wanted, 1)?.pop();
        if latest.is_none_or(|record| *record.body() != Body::PlanAdopted(PlanAdopted { plan })) {
            self.record(Body::PlanAdopted(PlanAdopted { plan }))?;
        }
        Ok(())
    }

    /// Closes the jobs of this host that never ended: their process is gone.
    fn close_interrupted(&self) -> Result<(), OpsError> {
        for job in self.catalog.abandoned()? {
            self.record(Body::JobEnded(JobEnded { job, ending: Ending::Interrupted }))?;
        }
        Ok(())
    }
}

/// Locks a tier's repository against deletion, and leaves it open whether somebody else was quicker, see
/// [`LockGuard::begin`]. Its index is that of now: it was loaded before the lock was held, so a prune
/// may have come in between.
pub(crate) fn begin_lock(
    site: &Site,
    tier: &OpenTier,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<LockGuard, RepositoryError> {
    let (owner, clock) = (LockOwner::this_process(), &site.surroundings().clock);
    let held = LockGuard::begin(&tier.repository, owner, clock, cancel)?;
    tier.repository.refresh_index(cancel, events)?;
    Ok(held)
}

/// Tells whether a tier was set up at this address before.
pub(crate) fn was_adopted(view: &View, tier: &TierName, address: &str) -> Result<bool, OpsError> {
    Ok(Adoptions::load(view, tier)?.nothing_at(address) == Emptiness::Lost)
}

/// Opens tiers, on whichever thread.
#[derive(Debug)]
struct Finder {
    site: Site,
    key: RecoveryKey,
    cancel: Cancel,
}

impl Finder {
    /// Opens a tier, if one is there.
    fn look(&self, name: &TierName, events: &dyn EventSink) -> Found {
        match self.site.reach(name) {
            Reached::Vacant(vacancy) => Found::Vacant(vacancy),
            Reached::Trouble(trouble) => Found::Tier(Box::new(Err(trouble))),
            Reached::Ready(tier) => match self.open(tier.clone(), events) {
                // A kill between the mark and the config left a tier without a repository.
                Err(OpsError::Repository(RepositoryError::NoRepository { .. })) => {
                    let (name, address) = (name.clone(), tier.tier.address().to_owned());
                    let place = super::Place::Empty(tier.tier);
                    Found::Vacant(Vacancy { name, address, place })
                }
                opened => Found::Tier(Box::new(opened.map_err(|error| Trouble::of(&error)))),
            },
        }
    }

    fn open(&self, named: NamedTier, events: &dyn EventSink) -> Result<OpenTier, OpsError> {
        let surroundings = self.site.surroundings();
        let repository = repositories::open(&named, &self.key, surroundings, events, &self.cancel)?;
        Ok(OpenTier { named, repository })
    }

    /// Waits until a listing shows the key of a repository that was made just now: whoever opens it next looks for it there.
    fn await_key(&self, repository: &Repository<Indexed>) -> Result<(), OpsError> {
        let surroundings = self.site.surroundings();
        for _ in 0..LOOKS_MAX {
            if !repository.keys()?.is_empty() {
                break;
            }
            let pause = async { surroundings.clock.sleep(LOOK_EVERY).await };
            surroundings.runtime.block_on(self.cancel.cut_short(pause))?;
        }
        Ok(())
    }
}
