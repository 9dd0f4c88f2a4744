//! Starting from nothing: a tier's address and the recovery key lead to the plan and the data.
//!
//! Which plans were in force stands in signed records of the tier's catalog. The newest that can be used is
//! taken, and those that were passed over are named; [`bootstrap`] puts plan and runbooks onto this machine.

pub mod bootstrap;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use lifeboat_model::{Cancel, PlanId, RepositoryId, Silent, TierName, Timestamp};
use lifeboat_plan::Checked;
use lifeboat_repository::{Indexed, Repository};
use lifeboat_tiers::{Tier, TierError};
use serde::Serialize;

use crate::catalog::body::Body;
use crate::catalog::record::Record;
use crate::catalog::{CatalogKeys, read_tier};
use crate::error::{OpsError, explain};
use crate::named_tier::NamedTier;
use crate::plan_archive::{self, ArchivedPlan, PlanFlaw};
use crate::recovery_key::RecoveryKey;
use crate::surroundings::Surroundings;
use crate::tier_mark::TierMark;
use crate::wire::addresses::{Address, Outside};
use crate::wire::{Site, repositories, steadied};

/// Opens the tier at an address, like `file:///mnt/backups`, `/mnt/backups`, `s3://bucket/prefix`,
/// `azure://account/container/prefix` or `sftp://user@host/path`.
pub fn open_address(address: &str, outside: Outside<'_>) -> Result<Arc<dyn Tier>, OpsError> {
    match Address::parse(address)? {
        Address::Directory(path) if !path.starts_with('/') => {
            Err(OpsError::BadAddress { address: address.to_owned() })
        }
        place => place.open(outside),
    }
}

/// Reads whose tier it is that somebody wants to restore from; none where it is a tier that lost its mark.
pub async fn read_mark(tier: &dyn Tier) -> Result<Option<TierMark>, OpsError> {
    let address = tier.address().to_owned();
    match TierMark::read(tier).await {
        Ok(Some(mark)) => Ok(Some(mark)),
        Ok(None) => Err(OpsError::NothingThere { address }),
        // What is said to whoever sets up a tier, to empty it, must not be said here.
        Err(OpsError::Unmarked { .. }) if is_repository(tier).await? => {
            Err(OpsError::RepositoryAlone { address })
        }
        Err(OpsError::Unmarked { .. }) if plan_archive::list(tier).await?.is_empty() => {
            Err(OpsError::NoPlan { address })
        }
        Err(OpsError::Unmarked { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds out whose a tier is that lost its mark: the site of a plan there that the key opens, of which records there tell that
/// this key vouches for. Whoever can write there can put a plan there, but no such record.
pub async fn lost_mark(
    tier: &Arc<dyn Tier>,
    key: &RecoveryKey,
    now: Timestamp,
) -> Result<TierMark, OpsError> {
    let keys = CatalogKeys::from(key);
    let named = NamedTier { name: unknown_name(), tier: Arc::clone(tier) };
    let mut sites = BTreeSet::new();
    for plan in plan_archive::list(tier.as_ref()).await? {
        let archived = ArchivedPlan::read(plan, &key.opener(), tier.as_ref()).await;
        // What is wrong with a plan is told once it is known whose it is.
        let checked = archived.and_then(|archived| archived.check(plan, now));
        sites.extend(checked.ok().map(|checked| checked.plan.site().clone()));
    }
    for site in sites {
        if !read_tier(&site, &keys, &named).await?.is_empty() {
            return Ok(TierMark::new(site, key.public_halves().verifier.to_string()));
        }
    }
    Err(OpsError::MarkLost { address: tier.address().to_owned() })
}

/// Before its name is known a tier needs one to be spoken of.
fn unknown_name() -> TierName {
    "found".parse().expect("it is a valid name")
}

/// Tells whether a restic repository lies at the root, where a tier has it below `repo`.
async fn is_repository(tier: &dyn Tier) -> Result<bool, OpsError> {
    let config = "config".parse().expect("it is a valid path");
    let keys = "keys".parse().expect("it is a valid prefix");
    match tier.head(&config).await {
        Ok(_) => Ok(tier.list(&keys).try_next().await?.is_some()),
        Err(TierError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Which of a tier's plans is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedPlan {
    /// The one that came into force last, among those that can be used.
    Newest,
    /// The one whose id begins like this, even if no record says that it was in force.
    Named(String),
}

/// A plan that lies on a tier, or should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownPlan {
    /// Which plan.
    pub plan: PlanId,
    /// When it came into force last; absent if no record tells, so that anybody may have put it there.
    pub in_force_since: Option<Timestamp>,
    /// Why it was passed over, if it was.
    pub trouble: Option<String>,
}

/// A site that was found through one of its tiers.
#[derive(Debug)]
pub struct FoundSite {
    /// The site; the tier is used where it was found, wherever the plan says that it is.
    pub site: Site,
    /// What the plan calls that tier. Whoever named it wants to read from it and from no other.
    pub tier: TierName,
    /// The plans of the tier, those that were in force first, the newest of them first.
    pub plans: Vec<KnownPlan>,
    /// Whether the tier says by its mark whose it is.
    pub is_marked: bool,
    repository: Repository<Indexed>,
}

impl FoundSite {
    /// Returns the plans that should have been taken, and could not be used.
    pub fn passed_over(&self) -> impl Iterator<Item = &KnownPlan> {
        self.plans.iter().filter(|known| known.trouble.is_some())
    }

    /// Goes to the tier by what its plan says of it, now that the plan is known: in which class it keeps what a
    /// recovery reads decides how soon that is back and what asking for it costs.
    pub fn by_its_plan(mut self, address: &str, outside: Outside<'_>) -> Result<Self, OpsError> {
        let planned = &self.site.plan().tiers()[&self.tier];
        let tier = Address::parse(address)?.open_as(planned, outside)?;
        self.site = self.site.with_tier(self.tier.clone(), tier);
        Ok(self)
    }
}

/// Finds the site of a tier by a plan that was in force there.
pub fn find_site(
    tier: &Arc<dyn Tier>,
    key: &RecoveryKey,
    wanted: &WantedPlan,
    surroundings: Surroundings,
    cancel: &Cancel,
) -> Result<FoundSite, OpsError> {
    let runtime = surroundings.runtime.clone();
    let (bare, tier) = (tier, &steadied(Arc::clone(tier), &surroundings));
    let address = tier.address();
    let found = runtime.block_on(read_mark(tier.as_ref()))?;
    let is_marked = found.is_some();
    let mark = match found {
        Some(mark) => mark,
        None => runtime.block_on(lost_mark(tier, key, surroundings.now()))?,
    };
    expect_key(&mark, key, address)?;
    let mut named = NamedTier { name: unknown_name(), tier: Arc::clone(tier) };
    let records = runtime.block_on(read_tier(&mark.site, &CatalogKeys::from(key), &named))?;
    let there = runtime.block_on(plan_archive::list(tier.as_ref()))?;
    let mut plans = known_plans(&records, there);
    let read = |plan: PlanId| {
        let archived = runtime.block_on(ArchivedPlan::read(plan, &key.opener(), tier.as_ref()));
        archived.and_then(|archived| archived.check(plan, surroundings.now()))
    };
    let checked = choose(&mut plans, wanted, address, read)?;
    mark.expect(checked.plan.site(), address)?;
    let site = Site::new(checked, surroundings).with_key(key.clone()).only_read_by();
    let repository = repositories::open(&named, key, site.surroundings(), &Silent, cancel)?;
    let is_planned = |name: &&TierName| site.plan().tiers().contains_key(*name);
    let tier = adopted_as(&records, repository.config().id).find(is_planned).cloned();
    let tier = tier.ok_or_else(|| OpsError::NotATierOf {
        address: address.to_owned(),
        plan: site.plan().id(),
    })?;
    named.name = tier.clone();
    // What it was found by proves whose it is, mark or not.
    let site = site.with_tier(tier.clone(), Arc::clone(bare)).with_proven(tier.clone());
    Ok(FoundSite { site, tier, plans, is_marked, repository })
}

/// Refuses a key that is not that of the tier's site.
fn expect_key(mark: &TierMark, key: &RecoveryKey, address: &str) -> Result<(), OpsError> {
    let (expected, found) = (mark.verifier.clone(), key.public_halves().verifier.to_string());
    if expected == found {
        return Ok(());
    }
    let (address, site) = (address.to_owned(), mark.site.clone());
    Err(OpsError::KeyOfAnother { address, site, expected, found })
}

/// Returns the plans that were in force, the newest first, and then those of which nobody recorded that.
fn known_plans(records: &[Record], there: BTreeSet<PlanId>) -> Vec<KnownPlan> {
    let mut plans: Vec<KnownPlan> = Vec::new();
    for record in records.iter().rev() {
        let Body::PlanAdopted(adopted) = record.body() else { continue };
        if plans.iter().all(|known| known.plan != adopted.plan) {
            let (plan, since) = (adopted.plan, record.header().time);
            plans.push(KnownPlan { plan, in_force_since: Some(since), trouble: None });
        }
    }
    for plan in there {
        if plans.iter().all(|known| known.plan != plan) {
            plans.push(KnownPlan { plan, in_force_since: None, trouble: None });
        }
    }
    plans
}

/// Reads the plan that is wanted, and notes why others could not be.
fn choose(
    plans: &mut [KnownPlan],
    wanted: &WantedPlan,
    address: &str,
    read: impl Fn(PlanId) -> Result<Checked, PlanFlaw>,
) -> Result<Checked, OpsError> {
    let address = || address.to_owned();
    if let WantedPlan::Named(digits) = wanted {
        let plan = named(plans, digits, address())?;
        let unusable = |flaw| unusable(plan, flaw, address());
        return read(plan).map_err(unusable);
    }
    let mut first = None;
    for known in plans.iter_mut().filter(|known| known.in_force_since.is_some()) {
        match read(known.plan).map_err(PlanFlaw::of_the_tier) {
            Ok(checked) => return Ok(checked),
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(flaw)) => {
                known.trouble = Some(explain(&flaw));
                first.get_or_insert((known.plan, flaw));
            }
        }
    }
    match (first, plans.first()) {
        (Some((plan, flaw)), _) => Err(unusable(plan, flaw, address())),
        (None, Some(_)) => Err(OpsError::PlanNotRecorded {
            address: address(),
            there: plans.iter().map(|known| known.plan).collect(),
        }),
        (None, None) => Err(OpsError::NoPlan { address: address() }),
    }
}

fn unusable(plan: PlanId, flaw: PlanFlaw, address: String) -> OpsError {
    match flaw.of_the_tier() {
        Ok(error) => error.into(),
        Err(flaw) => OpsError::PlanUnusable { plan, address, flaw: Box::new(flaw) },
    }
}

/// Finds the one plan whose id begins like this.
fn named(plans: &[KnownPlan], digits: &str, address: String) -> Result<PlanId, OpsError> {
    let mut matching = plans.iter().filter(|known| known.plan.to_hex().starts_with(digits));
    match (matching.next(), matching.next()) {
        (Some(known), None) => Ok(known.plan),
        _ => Err(OpsError::NotOnePlan {
            wanted: digits.to_owned(),
            address,
            there: plans.iter().map(|known| known.plan).collect(),
        }),
    }
}

/// Returns the names that a repository's tier had, the latest first.
fn adopted_as(records: &[Record], repository: RepositoryId) -> impl Iterator<Item = &TierName> {
    records.iter().rev().filter_map(move |record| match record.body() {
        Body::TierAdopted(adopted) if adopted.repository == repository => Some(&adopted.tier),
        _ => None,
    })
}
