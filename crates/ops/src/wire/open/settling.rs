//! What is done once with tiers and records: a new tier is set up, the plan is stored and recorded, and jobs are closed
//! whose process is gone.
//!
//! # Several at the same time
//!
//! Each is done while nobody else on this host does the same, and it is looked again before whether it is done by now.

use std::sync::Arc;

use lifeboat_model::{Cancel, EventSink, TierName};

use super::finder::Finder;
use super::{Found, NewTiers, OpenSite, OpenTier, was_adopted};
use crate::adoptions::{Adoptions, Emptiness};
use crate::catalog::body::{Body, JobEnded, PlanAdopted, TierAdopted};
use crate::catalog::view::Wanted;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::listing::recorded;
use crate::named_tier::NamedTier;
use crate::plan_archive::{ArchivedPlan, Stored};
use crate::tier_mark::TierMark;
use crate::wire::repositories::Lineage;
use crate::wire::{Adoption, Place, Reached, Vacancy, repositories};

impl OpenSite<'_> {
    /// Sets up what is new of what has answered, and records what is recorded once.
    pub(super) fn settle_in(
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
        let new: Vec<_> = vacant.iter().map(|vacancy| vacancy.name.clone()).collect();
        self.settle_all(vacant, events, cancel)?;
        self.tell_new(&new)?;
        self.settle()?;
        self.deliver()?;
        Ok(())
    }

    /// Brings tiers that were set up just now what was recorded before: from each of them alone a bare machine has to learn
    /// whose it is and which plan is in force.
    fn tell_new(&self, names: &[TierName]) -> Result<(), OpsError> {
        let set_up = names.iter().filter_map(|name| self.tier(name).ok());
        let set_up: Vec<_> = set_up.map(|tier| tier.named.clone()).collect();
        if set_up.is_empty() {
            return Ok(());
        }
        for synced in self.catalog.catch_up(&set_up)?.tiers {
            if let Some(error) = synced.error {
                tracing::warn!(tier = %synced.tier, error, "What was recorded before did not come there; the next command brings it.");
            }
        }
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
            Place::Nothing(path) => path.exists(),
            Place::Empty(tier) => {
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
