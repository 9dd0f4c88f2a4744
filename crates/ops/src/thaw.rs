//! Cold storage in the way of a recovery: what of it cannot be read yet, what waking that takes and costs, and
//! asking for all of it at once.
//!
//! The packs that a recovery reads are known before it begins, since directories, index and catalog lie where they
//! can be read. Nothing is asked for without consent, since it costs, and nothing twice.
//!
//! # Crash consistency
//!
//! The store remembers what it was asked for; the record of it is written right afterwards. A kill in between costs
//! the record. Whoever comes back finds what is warm, what is on its way, and asks for the rest.
//!
//! # Limits
//!
//! Only tiers with `access = "archive"` are looked at, unless consent was given: there is a request for each pack.
//! Whoever waits looks every [`LOOK_EVERY`], at one pack that is not there yet, and gives up after
//! [`PATIENCE`] times what the vendor says.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::{
    AssetName, ByteSize, Cancel, Classify, ErrorKind, Event, EventSink, Hint, PackId, SnapshotId,
    Stage, TierName, Work,
};
use lifeboat_plan::plan::cost::TierCost;
use lifeboat_plan::plan::tier::Tier;
use lifeboat_repository::cold::{PackWarmth, thaw, warmth_of};
use lifeboat_repository::prune::Amount;
use lifeboat_tiers::{Tier as _, TierError, Warmth};
use serde::Serialize;

use crate::catalog::body::{Body, ThawRequested};
use crate::error::OpsError;
use crate::traffic::gib;
use crate::wire::open::{OpenSite, OpenTier};

/// How often it is looked whether packs can be read: hours pass until then.
pub(crate) const LOOK_EVERY: Duration = Duration::from_mins(5);

/// How many times as long as the vendor says is waited.
const PATIENCE: u32 = 2;

/// What a vendor takes of whom nothing is known: the longest of those that are, for what is not the cheapest.
const WITHIN: Duration = Duration::from_hours(15);

/// Whether the store may be asked, which costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// Nobody said so.
    #[default]
    Absent,
    /// Somebody did.
    Given,
}

/// Where it is waited for what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// Not here: whoever asked comes back.
    #[default]
    Elsewhere,
    /// Here, until it can be read.
    Here,
}

/// What is done about packs in cold storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThawOptions {
    /// Whether the store may be asked for them.
    pub consent: Consent,
    /// Where it is waited for them.
    pub waiting: Waiting,
}

/// What a recovery finds in cold storage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThawForecast {
    /// Which asset is recovered.
    pub asset: AssetName,
    /// From which tier.
    pub tier: TierName,
    /// Which moment, as the command line takes it.
    pub at: String,
    /// All packs that the recovery reads.
    pub needed: Amount,
    /// Those that were asked for and cannot be read yet.
    pub thawing: Amount,
    /// Those that nobody asked for.
    pub cold: Amount,
    /// After how many seconds all can be read at the latest, as the vendor says, if they are asked for now.
    pub within_s: u64,
    /// How many seconds the plan gives the recovery.
    pub rto_s: Option<u64>,
    /// What it costs; absent where the plan does not say what the tier costs.
    pub price: Option<ThawPrice>,
}

/// What a recovery from cold storage costs, in the plan's currency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThawPrice {
    /// Making readable what nobody asked for yet.
    pub thaw: f64,
    /// Reading all that is needed.
    pub read: f64,
}

impl ThawPrice {
    /// Says what packs cost on a tier with these prices.
    fn of(cost: &TierCost, needed: Amount, cold: Amount) -> Self {
        let price = |price: Option<f64>| price.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a price is rounded to cents")]
        let thousands = cold.count as f64 / 1000.0;
        Self {
            thaw: gib(cold.bytes) * price(cost.per_gib_thaw)
                + thousands * price(cost.per_1000_thaws),
            read: gib(needed.bytes) * price(cost.per_gib_read),
        }
    }
}

impl ThawForecast {
    /// Tells whether waiting alone takes longer than the plan gives the whole recovery.
    pub fn breaks_objective(&self) -> bool {
        self.rto_s.is_some_and(|rto| self.within_s > rto)
    }

    /// Returns how long it takes at most until all can be read.
    pub const fn within(&self) -> Duration {
        Duration::from_secs(self.within_s)
    }
}

/// What lies cold is in the way.
#[derive(Debug, thiserror::Error)]
pub enum ThawError {
    /// Nobody said that the store may be asked for it.
    #[error(
        "{} packs with {} of what `{}` needs are in cold storage on `{}`",
        .0.cold.count, ByteSize(.0.cold.bytes), .0.asset, .0.tier
    )]
    Unasked(Box<ThawForecast>),
    /// It was asked for and cannot be read yet.
    #[error(
        "{} packs with {} of what `{}` needs were asked for on `{}` and cannot be read yet",
        .0.thawing.count, ByteSize(.0.thawing.bytes), .0.asset, .0.tier
    )]
    Thawing(Box<ThawForecast>),
}

impl ThawError {
    /// Returns what is in the way.
    pub const fn forecast(&self) -> &ThawForecast {
        let (Self::Unasked(forecast) | Self::Thawing(forecast)) = self;
        forecast
    }
}

impl Classify for ThawError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Incomplete
    }

    fn hint(&self) -> Option<Hint> {
        let ThawForecast { asset, tier, at, .. } = self.forecast();
        let command = format!("lifeboat restore {asset} --at {at} --tier {tier} --to DIR");
        Some(Hint::new(match self {
            Self::Unasked(_) => format!(
                "{command} --thaw asks for them, and --dry-run in its place tells the hours and the price"
            ),
            Self::Thawing(_) => format!("{command} goes on once they can be read"),
        }))
    }
}

/// The packs of a recovery, before it begins.
pub(crate) struct Gate<'a> {
    pub open: &'a OpenSite<'a>,
    pub tier: &'a OpenTier,
    pub asset: &'a AssetName,
    pub snapshot: SnapshotId,
    /// Which moment, as the command line takes it.
    pub at: String,
    pub cancel: &'a Cancel,
}

impl Gate<'_> {
    /// Says what of the packs cannot be read at once; nothing, if all can.
    pub(crate) fn forecast(
        &self,
        packs: impl FnOnce() -> Result<BTreeSet<PackId>, OpsError>,
    ) -> Result<Option<ThawForecast>, OpsError> {
        let found = self.look(Consent::Absent, packs)?;
        Ok(found.filter(|found| !found.is_ready()).map(|found| self.foresee(&found)))
    }

    /// Lets a recovery go on whose packs can all be read; asks for those that cannot.
    ///
    /// # Errors
    ///
    /// [`ThawError`], if some have to be waited for, or asked for and may not be.
    pub(crate) fn pass(
        &self,
        options: ThawOptions,
        packs: impl FnOnce() -> Result<BTreeSet<PackId>, OpsError>,
        events: &dyn EventSink,
    ) -> Result<(), OpsError> {
        let Some(found) = self.look(options.consent, packs)?.filter(|found| !found.is_ready())
        else {
            return Ok(());
        };
        let mut forecast = self.foresee(&found);
        let PackWarmth { thawing, cold, .. } = found;
        if !cold.is_empty() {
            if options.consent == Consent::Absent {
                return Err(ThawError::Unasked(Box::new(forecast)).into());
            }
            self.ask(cold.keys().copied(), &forecast)?;
            forecast.thawing.count += forecast.cold.count;
            forecast.thawing.bytes += forecast.cold.bytes;
            forecast.cold = Amount::default();
        }
        match options.waiting {
            Waiting::Elsewhere => Err(ThawError::Thawing(Box::new(forecast)).into()),
            // The end is looked at first: what was asked for last comes last.
            Waiting::Here => self.wait(thawing.into_iter().chain(cold).collect(), forecast, events),
        }
    }

    fn look(
        &self,
        consent: Consent,
        packs: impl FnOnce() -> Result<BTreeSet<PackId>, OpsError>,
    ) -> Result<Option<PackWarmth>, OpsError> {
        let planned = self.open.site().plan().tiers().get(&self.tier.named.name);
        let is_archive = planned.is_some_and(Tier::is_archive);
        if !is_archive && consent == Consent::Absent {
            return Ok(None);
        }
        let store = self.tier.repository.store();
        Ok(Some(warmth_of(store, &packs()?, self.cancel)?))
    }

    fn foresee(&self, found: &PackWarmth) -> ThawForecast {
        let plan = self.open.site().plan();
        let tier = &self.tier.named;
        let sum = |packs: &std::collections::BTreeMap<PackId, u64>| Amount {
            count: packs.len() as u64,
            bytes: packs.values().sum(),
        };
        let (thawing, cold) = (sum(&found.thawing), sum(&found.cold));
        let needed = Amount {
            count: found.ready.count + thawing.count + cold.count,
            bytes: found.ready.bytes + thawing.bytes + cold.bytes,
        };
        let rto = plan.assets().get(self.asset).and_then(|asset| asset.rto);
        let cost = plan.costs().tiers.get(&tier.name);
        ThawForecast {
            asset: self.asset.clone(),
            tier: tier.name.clone(),
            at: self.at.clone(),
            needed,
            thawing,
            cold,
            within_s: tier.tier.thaw_within().unwrap_or(WITHIN).as_secs(),
            rto_s: rto.map(|rto| Duration::from(rto).as_secs()),
            price: cost.map(|cost| ThawPrice::of(cost, needed, cold)),
        }
    }

    /// Asks for packs in one batch, and records it.
    fn ask(
        &self,
        packs: impl Iterator<Item = PackId>,
        forecast: &ThawForecast,
    ) -> Result<(), OpsError> {
        let (asked, outcome) = thaw(self.tier.repository.store(), packs, self.cancel);
        if asked > 0 {
            self.open.record(Body::ThawRequested(ThawRequested {
                asset: self.asset.clone(),
                tier: self.tier.named.name.clone(),
                snapshot: self.snapshot,
                packs: asked,
                bytes: forecast.cold.bytes,
                within_s: forecast.within_s,
            }))?;
            self.open.deliver()?;
        }
        Ok(outcome?)
    }

    fn wait(
        &self,
        mut packs: Vec<(PackId, u64)>,
        forecast: ThawForecast,
        events: &dyn EventSink,
    ) -> Result<(), OpsError> {
        let surroundings = self.open.site().surroundings();
        let (stage, clock) = (Stage::Thaw, &surroundings.clock);
        let patience = forecast.within() * PATIENCE + LOOK_EVERY;
        let until = clock.now().saturating_add(patience).unwrap_or(lifeboat_model::Timestamp::MAX);
        let bytes = packs.iter().map(|(_, size)| size).sum();
        let total = Some(Work { items: packs.len() as u64, bytes });
        events.emit(Event::Started { stage, total });
        while let Some((pack, bytes)) = packs.last() {
            match self.tier.repository.store().warmth(pack) {
                Ok(Warmth::Ready) | Err(TierError::NotFound { .. }) => {
                    events.emit(Event::Advanced { stage, work: Work { items: 1, bytes: *bytes } });
                    packs.pop();
                    continue;
                }
                // A store may take a while to say that it was asked.
                Ok(Warmth::Thawing | Warmth::Cold) => {}
                Err(error) => return Err(error.into()),
            }
            if clock.now() >= until {
                return Err(ThawError::Thawing(Box::new(forecast)).into());
            }
            let pause = async { self.cancel.cut_short(clock.sleep(LOOK_EVERY)).await };
            surroundings.runtime.block_on(pause)?;
        }
        events.emit(Event::Finished { stage });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waking_and_reading_have_prices_of_their_own() {
        let cost = TierCost {
            per_gib_month: Some(9.0),
            per_gib_read: Some(0.5),
            per_gib_thaw: Some(0.25),
            per_1000_writes: Some(9.0),
            per_1000_reads: Some(9.0),
            per_1000_thaws: Some(100.0),
            per_month: None,
        };
        let amount = |count, gib: u64| Amount { count, bytes: gib << 30 };
        let price = ThawPrice::of(&cost, amount(30, 8), amount(20, 4));
        assert_eq!(price, ThawPrice { thaw: 1.0 + 2.0, read: 4.0 });
    }
}
