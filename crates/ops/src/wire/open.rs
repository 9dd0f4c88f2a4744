//! Everything that a command which writes needs, opened in an order that a kill cannot harm.
//!
//! # Crash consistency
//!
//! A tier is set up in the order: folder, mark, key file, config, record. A kill before the record
//! leaves a tier that the next run takes up where it was left; only the record makes its absence
//! a loss. Records of jobs that never ended are closed as interrupted when the next job of this
//! host begins: the state lock proves that none is at work but those of this process, which it knows.
//!
//! # Several at the same time
//!
//! Jobs of one process share the lock. What is set up or recorded once is so by one of them: it is looked again whether
//! it is there while none of the others does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Capability, EventSink, JobId, TierName};
use lifeboat_repository::lock::{LISTING_LAG_MAX, LockGuard, LockKind, LockOptions, LockOwner};
use lifeboat_repository::{Indexed, Repository, RepositoryError};
use lifeboat_tiers::{Refusal, TierError};

use super::{Adoption, Reached, Site, Vacancy, repositories};
use crate::at_work::{CatchingUp, Presence};
use crate::catalog::body::{Body, JobEnded, JobStarted, PlanAdopted, TierAdopted};
use crate::catalog::record::Record;
use crate::catalog::view::{View, Wanted};
use crate::catalog::{Catalog, CatalogKeys, CatalogReport, TierSync};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
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

/// What is done with a tier that was never there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTiers {
    /// It is set up.
    SetUp,
    /// It is left alone and named.
    Leave,
}

/// A tier with its repository.
#[derive(Debug)]
pub struct OpenTier {
    /// The tier.
    pub named: NamedTier,
    /// Its repository.
    pub repository: Repository<Indexed>,
}

/// A site, open for a command that writes.
#[derive(Debug)]
pub struct OpenSite<'s> {
    site: &'s Site,
    key: RecoveryKey,
    catalog: Catalog,
    tiers: BTreeMap<TierName, Result<OpenTier, Trouble>>,
    report: CatalogReport,
    /// The jobs that were recorded to begin here.
    present: Mutex<Vec<Presence>>,
}

impl<'s> OpenSite<'s> {
    /// Opens the site with these tiers.
    pub fn open(
        site: &'s Site,
        wanted: &BTreeSet<TierName>,
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let (mut open, vacant) = Self::reach(site, wanted, events, cancel)?;
        open.begin(vacant, new_tiers, (events, cancel))?;
        Ok(open)
    }

    /// Opens the site for what is done where the platform lives alone; elsewhere it is refused before anything is
    /// stored, and before its plan comes into force.
    pub(crate) fn open_home(
        site: &'s Site,
        wanted: &BTreeSet<TierName>,
        new_tiers: NewTiers,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let (mut open, vacant) = Self::reach(site, wanted, events, cancel)?;
        expect_home(&mut open)?;
        open.begin(vacant, new_tiers, (events, cancel))?;
        Ok(open)
    }

    /// Opens the tiers that are there, and takes in what their catalogs tell.
    fn reach(
        site: &'s Site,
        wanted: &BTreeSet<TierName>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<Vacancy>), OpsError> {
        let surroundings = site.surroundings();
        let key = site.recovery_key(cancel)?;
        let lock = site.state_lock()?;
        let keys = CatalogKeys::from(&key);
        let catalog = Catalog::open(lock, site.name().clone(), keys, surroundings)?;
        let mut opening = Opening { site, key: &key, events, cancel, tiers: BTreeMap::new() };
        let vacant = opening.reach(wanted);
        let ready = opening.named();
        let report = catalog.catch_up(&ready)?;
        catalog.enrol(&key.root_key(), &surroundings.hostname, Some(site.plan().id()))?;
        let (tiers, present) = (opening.tiers, Mutex::default());
        Ok((Self { site, key, catalog, tiers, report, present }, vacant))
    }

    /// Sets up what is new, and records what is recorded once.
    fn begin(
        &mut self,
        vacant: Vec<Vacancy>,
        new_tiers: NewTiers,
        (events, cancel): (&dyn EventSink, &Cancel),
    ) -> Result<(), OpsError> {
        let tiers = std::mem::take(&mut self.tiers);
        let mut opening = Opening { site: self.site, key: &self.key, events, cancel, tiers };
        opening.settle_all(vacant, new_tiers, &self.catalog)?;
        self.tiers = opening.tiers;
        if self.site.adoption() == Adoption::InForce {
            self.store_plan(new_tiers);
        }
        self.settle()?;
        self.deliver().map(drop)
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

    /// Returns what bringing the catalog up to date showed.
    pub const fn catalog_report(&self) -> &CatalogReport {
        &self.report
    }

    /// Returns a tier, or what is wrong with it.
    pub fn tier(&self, name: &TierName) -> Result<&OpenTier, Trouble> {
        match self.tiers.get(name) {
            Some(Ok(tier)) => Ok(tier),
            Some(Err(trouble)) => Err(trouble.clone()),
            None => Err(self.site.address(name).map_or_else(
                |error| Trouble::of(&error),
                |address| Trouble::of(&OpsError::TierNew { tier: name.clone(), address }),
            )),
        }
    }

    /// Returns a tier, or what is wrong with it, if it was to be opened.
    pub(crate) fn looked_at(&self, name: &TierName) -> Option<Result<&OpenTier, &Trouble>> {
        self.tiers.get(name).map(Result::as_ref)
    }

    /// Leaves out the tiers whose records could not be read; returns those of which all are known.
    pub(crate) fn leave_untold(&mut self) -> BTreeSet<TierName> {
        let told = self.report.told.clone();
        for (name, tier) in &mut self.tiers {
            let sync = self.report.tiers.iter().find(|sync| sync.tier == *name);
            if tier.is_ok() && !told.contains(name) {
                let why = sync.and_then(|sync| sync.error.clone()).unwrap_or_default();
                let message = format!("its records cannot be read: {why}");
                let (hint, exit) = (None, Ending::Failed.exit().code());
                *tier = Err(Trouble { ending: Ending::Failed, message, hint, exit });
            }
        }
        told
    }

    /// Returns the tiers that were opened.
    pub fn open_tiers(&self) -> impl Iterator<Item = &OpenTier> {
        self.tiers.values().flatten()
    }

    /// Records what is recorded once: tiers and the plan, and that jobs ended whose process is gone.
    fn settle(&self) -> Result<(), OpsError> {
        let _settling = self.catalog.state_lock().settling();
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
            let presence = self.catalog.state_lock().at_work().enter(*job, assets);
            self.present.lock().unwrap_or_else(PoisonError::into_inner).push(presence);
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

    /// Puts what was recorded on the tiers; one that is down is named and catches up later.
    pub fn deliver(&self) -> Result<Vec<TierSync>, OpsError> {
        let tiers: Vec<_> = self.open_tiers().map(|tier| tier.named.clone()).collect();
        Ok(self.catalog.deliver(&tiers)?)
    }

    /// Sees to it that what is stored from now on builds on nothing that was found damaged.
    pub(crate) fn leave_damage_out(&self) -> Result<(), OpsError> {
        for tier in self.open_tiers() {
            let name = &tier.named.name;
            let damaged = Standing::load(self.catalog.view(), name)?.damaged_packs;
            if !damaged.is_empty() {
                tracing::warn!(tier = %name, packs = damaged.len(), "What damaged packs held is stored again.");
                tier.repository.leave_out(&damaged);
            }
        }
        Ok(())
    }

    /// Locks a tier's repository against deletion, and leaves it open whether somebody else was quicker, see
    /// [`LockGuard::begin`]. Its index is that of now: it was loaded before the lock was held, so a prune
    /// may have come in between.
    pub(crate) fn begin_lock(
        &self,
        tier: &OpenTier,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        let (owner, clock) = (LockOwner::this_process(), &self.site.surroundings().clock);
        let held = LockGuard::begin(&tier.repository, owner, clock, cancel)?;
        tier.repository.refresh_index(cancel, events)?;
        Ok(held)
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

    /// Locks a tier's repository like [`Self::begin_lock`], but waits until it is certain.
    fn lock(
        &self,
        tier: &OpenTier,
        kind: LockKind,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<LockGuard, RepositoryError> {
        let clock = &self.site.surroundings().clock;
        let options = LockOptions::new(kind);
        let held = LockGuard::acquire(&tier.repository, &options, clock, cancel)?;
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
        let pause = async { cancel.cut_short(surroundings.clock.sleep(rest)).await };
        surroundings.runtime.block_on(pause)?;
        Ok(tier.repository.refresh_index(cancel, events)?)
    }

    /// Records tiers that are there and were not recorded, as after a kill right before.
    fn adopt_tiers(&self) -> Result<(), OpsError> {
        for tier in self.open_tiers() {
            let (name, address) = (&tier.named.name, self.site.address(&tier.named.name)?);
            if !was_adopted(self.catalog.view(), name, &address)? {
                let repository = tier.repository.config().id;
                self.record(Body::TierAdopted(TierAdopted {
                    tier: name.clone(),
                    address,
                    repository,
                }))?;
            }
        }
        Ok(())
    }

    /// Stores the plan on every tier; a backup also looks whether what is there is whole, and stores it again if not.
    ///
    /// A tier that cannot take it cannot take a backup either; what only reads goes on with it.
    fn store_plan(&mut self, new_tiers: NewTiers) {
        let Some(archived) = ArchivedPlan::new(self.site.sources()) else { return };
        let (plan, recipient) = (self.site.plan().id(), self.key.public_halves().recipient);
        let runtime = &self.site.surroundings().runtime;
        let mut troubled = Vec::new();
        for tier in self.tiers.values().flatten() {
            let name = tier.named.name.clone();
            let stored = archived.store(plan, &recipient, tier.named.tier.as_ref());
            match (runtime.block_on(stored), new_tiers) {
                (Ok(Stored::Before), NewTiers::SetUp) => self.mend_plan(&archived, &tier.named),
                (Ok(_), _) => {}
                (Err(error), NewTiers::SetUp) => troubled.push((name, Trouble::of(&error))),
                (Err(error), NewTiers::Leave) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, tier = %name, "The plan could not be stored.");
                }
            }
        }
        self.tiers.extend(troubled.into_iter().map(|(name, trouble)| (name, Err(trouble))));
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
        let (view, writer) = (self.catalog.view(), self.catalog.writer().id());
        let began = || -> Result<Vec<JobId>, OpsError> {
            let records = view.open_jobs(writer)?.into_iter();
            let jobs = records.filter_map(|record| match record.body() {
                Body::JobStarted(started) => Some(started.job),
                _ => None,
            });
            Ok(jobs.collect())
        };
        for job in self.catalog.state_lock().at_work().abandoned(began)? {
            self.record(Body::JobEnded(JobEnded { job, ending: Ending::Interrupted }))?;
        }
        Ok(())
    }
}

/// Tells whether a tier was set up at this address before.
pub(crate) fn was_adopted(view: &View, tier: &TierName, address: &str) -> Result<bool, OpsError> {
    let wanted = Wanted { kind: "tier-adopted", asset: None, tier: Some(tier), good_only: false };
    let records = view.latest(wanted, u32::MAX)?;
    Ok(records.iter().any(
        |record| matches!(record.body(), Body::TierAdopted(adopted) if adopted.address == address),
    ))
}

/// The tiers while they are being opened.
struct Opening<'a> {
    site: &'a Site,
    key: &'a RecoveryKey,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    tiers: BTreeMap<TierName, Result<OpenTier, Trouble>>,
}

impl Opening<'_> {
    /// Opens what is there and returns the places where nothing is.
    fn reach(&mut self, wanted: &BTreeSet<TierName>) -> Vec<Vacancy> {
        let mut vacant = Vec::new();
        for name in wanted {
            match self.site.reach(name) {
                Reached::Vacant(vacancy) => vacant.push(vacancy),
                Reached::Trouble(trouble) => {
                    self.tiers.insert(name.clone(), Err(trouble));
                }
                Reached::Ready(tier) => match self.open(tier.clone()) {
                    // A kill between the mark and the config left a tier without a repository.
                    Err(OpsError::Repository(RepositoryError::NoRepository { .. })) => {
                        let (name, address) = (name.clone(), tier.tier.address().to_owned());
                        let place = super::Place::Empty(tier.tier);
                        vacant.push(Vacancy { name, address, place });
                    }
                    opened => self.note(name.clone(), opened),
                },
            }
        }
        vacant
    }

    /// Decides what each empty place means, once it was looked at again: another job may have set it up meanwhile.
    fn settle_all(
        &mut self,
        vacant: Vec<Vacancy>,
        new_tiers: NewTiers,
        catalog: &Catalog,
    ) -> Result<(), OpsError> {
        if vacant.is_empty() {
            return Ok(());
        }
        let _settling = catalog.state_lock().settling();
        for vacancy in vacant {
            let still = if self.may_be_taken(&vacancy) {
                self.reach(&BTreeSet::from([vacancy.name]))
            } else {
                vec![vacancy]
            };
            for vacancy in still {
                self.settle(vacancy, new_tiers, catalog)?;
            }
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

    fn note(&mut self, name: TierName, opened: Result<OpenTier, OpsError>) {
        let opened = opened.map_err(|error| Trouble::of(&error));
        self.tiers.insert(name, opened);
    }

    fn named(&self) -> Vec<NamedTier> {
        self.tiers.values().flatten().map(|tier| tier.named.clone()).collect()
    }

    fn open(&self, named: NamedTier) -> Result<OpenTier, OpsError> {
        let surroundings = self.site.surroundings();
        let repository =
            repositories::open(&named, self.key, surroundings, self.events, self.cancel)?;
        Ok(OpenTier { named, repository })
    }

    /// Decides what an empty place means: a new tier, or one that is lost.
    fn settle(
        &mut self,
        vacancy: Vacancy,
        new_tiers: NewTiers,
        catalog: &Catalog,
    ) -> Result<(), OpsError> {
        let (tier, address) = (vacancy.name.clone(), vacancy.address.clone());
        let opened = if was_adopted(catalog.view(), &tier, &address)? {
            Err(OpsError::TierLost { tier: tier.clone(), address })
        } else if new_tiers == NewTiers::Leave {
            Err(OpsError::TierNew { tier: tier.clone(), address })
        } else {
            self.set_up(vacancy, catalog)
        };
        self.note(tier, opened);
        Ok(())
    }

    fn set_up(&self, vacancy: Vacancy, catalog: &Catalog) -> Result<OpenTier, OpsError> {
        let elder = self.tiers.values().flatten().next().map(|tier| &tier.repository);
        let wanted = Wanted { kind: "tier-adopted", asset: None, tier: None, good_only: false };
        if elder.is_none() && !catalog.view().latest(wanted, 1)?.is_empty() {
            return Err(OpsError::NoElderTier { tier: vacancy.name });
        }
        let surroundings = self.site.surroundings();
        let named = vacancy.occupy(self.site)?;
        let verifier = self.key.public_halves().verifier.to_string();
        let mark = TierMark::new(self.site.name().clone(), verifier);
        surroundings.runtime.block_on(mark.write(named.tier.as_ref()))?;
        repositories::make(&named, self.key, elder, surroundings)?;
        self.open_new(named)
    }

    /// Opens a repository that was made just now: its key is looked for in a listing, which may lag behind what was stored.
    fn open_new(&self, named: NamedTier) -> Result<OpenTier, OpsError> {
        let surroundings = self.site.surroundings();
        for _ in 0..LOOKS_MAX {
            match self.open(named.clone()) {
                Err(OpsError::Repository(RepositoryError::WrongKey { tried: 0, .. })) => {
                    let pause = surroundings.clock.sleep(LOOK_EVERY);
                    surroundings.runtime.block_on(self.cancel.cut_short(pause))?;
                }
                opened => return opened,
            }
        }
        self.open(named)
    }
}
