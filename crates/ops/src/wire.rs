//! Turns a plan into live objects; nothing else does.
//!
//! A [`Site`] is a plan and its surroundings and has done no I/O yet. [`Site::reach`] goes to a
//! tier, [`open::OpenSite`] opens everything that a command which writes needs.

pub mod addresses;
pub mod audit;
pub mod marking;
pub mod naming;
pub mod open;
pub mod repositories;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Cancelled, JobId, SiteName, TierName};
use lifeboat_plan::plan::asset::{Asset, AssetKind, Postgres};
use lifeboat_plan::plan::tier::Tier as PlannedTier;
use lifeboat_plan::value::address::TierUrl;
use lifeboat_plan::{Checked, Plan, SourceFile};
use lifeboat_postgres::yard::Inside;
use lifeboat_postgres::{ClientEnvironment, Conninfo, Server};
use lifeboat_tiers::counting::Traffic;
use lifeboat_tiers::{
    Answering, CountingTier, LocalTier, RehearsalTier, Throttle, Tier, TierError, steady,
    steady_as_known,
};

use crate::error::{OpsError, Trouble};
use crate::inquiry::SILENCE_MAX;
use crate::named_tier::NamedTier;
use crate::recovery_key::RecoveryKey;
use crate::residence::own;
use crate::secret;
use crate::state::{Lender, ReplacingLock, State, StateError, StateLock};
use crate::surroundings::Surroundings;
use crate::tier_mark::TierMark;

/// A plan in its surroundings.
#[derive(Debug, Clone)]
pub struct Site {
    plan: Plan,
    sources: Vec<SourceFile>,
    assets_as_written: Vec<AssetName>,
    adoption: Adoption,
    surroundings: Surroundings,
    key: Option<RecoveryKey>,
    elsewhere: BTreeMap<TierName, Arc<dyn Tier>>,
    /// Tiers that were proven to be this site's, should they lack their mark.
    proven: BTreeSet<TierName>,
    /// Tiers that somebody said are lost.
    done_without: BTreeSet<TierName>,
    throttle: Throttle,
    /// What passes between this process and each tier; clones count together.
    counted: Arc<Mutex<Counted>>,
    /// Which tiers answer; what one clone knows, all know.
    answering: Arc<Mutex<BTreeMap<TierName, Answering>>>,
    call: Call,
    job: Option<JobId>,
    /// Lends the state's lock, where several jobs of one process work at the same time.
    lender: Option<Arc<Lender>>,
    right: Right,
    inside: Option<Inside>,
    /// How long a tier may say nothing to whoever only looks.
    silence_max: Duration,
}

/// The tiers that were gone to; one may be gone to several times.
type Counted = Vec<(TierName, Arc<dyn Tier>)>;

/// What a command that writes says of the plan that it works by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adoption {
    /// It is in force: it is stored on the tiers and recorded.
    InForce,
    /// It was found on a tier, to read by, or is rehearsed; whichever is in force stays so.
    ToReadBy,
}

/// Which right to this host's state a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// The lock: another process that works with the state refuses it.
    Alone,
    /// The lock if nobody has it, so that nobody begins to capture what is being replaced; else as [`Self::Beside`].
    AloneIfFree,
    /// To record what it does, beside whoever has the lock.
    Beside,
}

/// How somebody else runs this program with this plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The program.
    pub program: String,
    /// The plan, from the root.
    pub plan: String,
}

/// What was found where a tier should be.
#[derive(Debug)]
pub enum Reached {
    /// This site's tier.
    Ready(NamedTier),
    /// A place where a tier could be set up; whether it may be is for the catalog to say.
    Vacant(Vacancy),
    /// Something is wrong.
    Trouble(Trouble),
}

/// A place without a tier.
#[derive(Debug)]
pub struct Vacancy {
    name: TierName,
    address: String,
    place: Place,
}

/// What is where a tier could be set up.
#[derive(Debug)]
pub enum Place {
    /// A tier, empty for all that is known.
    Empty(Arc<dyn Tier>),
    /// Nothing at all.
    Nothing(PathBuf),
}

impl Vacancy {
    /// Returns which tier it is to be.
    pub const fn name(&self) -> &TierName {
        &self.name
    }

    /// Returns where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what is there.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Makes the place, where there is none yet.
    fn occupy(self, site: &Site) -> Result<NamedTier, TierError> {
        let tier: Arc<dyn Tier> = match self.place {
            Place::Empty(tier) => tier,
            Place::Nothing(path) => {
                let listings = site.plan.tiers().get(&self.name).map(addresses::listings);
                let tier = LocalTier::create_as(&path, listings.unwrap_or_default())?;
                site.steady(&self.name, Arc::new(tier))
            }
        };
        Ok(NamedTier { name: self.name, tier })
    }
}

/// Lets a tier try again what may pass.
pub(crate) fn steadied(tier: Arc<dyn Tier>, surroundings: &Surroundings) -> Arc<dyn Tier> {
    steady(tier, &surroundings.clock, Throttle::default(), &surroundings.cancel)
}

impl Site {
    /// Takes a plan that was checked.
    pub fn new(checked: Checked, surroundings: Surroundings) -> Self {
        let Checked { plan, sources, assets_as_written, .. } = checked;
        let path = sources.first().map(|source| source.path.clone()).unwrap_or_default();
        let call = Call { program: "lifeboat".to_owned(), plan: path };
        Self {
            plan,
            sources,
            assets_as_written,
            adoption: Adoption::InForce,
            surroundings,
            key: None,
            elsewhere: BTreeMap::new(),
            proven: BTreeSet::new(),
            done_without: BTreeSet::new(),
            throttle: Throttle::default(),
            counted: Arc::default(),
            answering: Arc::default(),
            call,
            job: None,
            lender: None,
            right: Right::Alone,
            inside: None,
            silence_max: SILENCE_MAX,
        }
    }

    /// Waits so long, where it is only looked, for a tier that says nothing.
    #[must_use]
    pub const fn waiting_for_silent(mut self, longest: Duration) -> Self {
        self.silence_max = longest;
        self
    }

    /// Returns how long a tier may say nothing to whoever only looks.
    pub(crate) const fn silence_max(&self) -> Duration {
        self.silence_max
    }

    /// Returns how long nothing was heard of a tier.
    pub(crate) fn silent_for(&self, name: &TierName) -> Duration {
        self.answering_of(name).silent_for()
    }

    /// Says that a tier did not answer in time.
    pub(crate) fn late(&self, name: &TierName) -> Trouble {
        Trouble::of(&match self.address(name) {
            Ok(address) => OpsError::TierLate { tier: name.clone(), address },
            Err(error) => error,
        })
    }

    /// Is rehearsed in a yard: what the platform does happens inside, and nothing is written to a tier but locks.
    #[must_use]
    pub fn in_yard(mut self, inside: Inside) -> Self {
        self.inside = Some(inside);
        self.only_read_by()
    }

    /// Returns where the platform is, if that is not simply here.
    pub const fn inside(&self) -> Option<&Inside> {
        self.inside.as_ref()
    }

    /// Returns the words by which a command of the platform's runs where that is.
    pub fn words<S: Into<OsString>>(&self, words: impl IntoIterator<Item = S>) -> Vec<OsString> {
        match &self.inside {
            Some(inside) => inside.words(words),
            None => words.into_iter().map(Into::into).collect(),
        }
    }

    /// Is worked on by this job, which somebody keeps a journal of; what it asks of tiers counts by itself,
    /// and whether they answer it finds out anew.
    #[must_use]
    pub fn for_job(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self.counted = Arc::default();
        self.answering = Arc::default();
        self
    }

    /// Is worked on beside others of this process, which share the right to write to the state.
    #[must_use]
    pub(crate) fn lent_by(mut self, lender: &Arc<Lender>) -> Self {
        self.lender = Some(Arc::clone(lender));
        self
    }

    /// Is worked on beside whoever works with this host's state: by what brings data back, and must not wait for a backup.
    #[must_use]
    pub(crate) const fn beside(mut self) -> Self {
        self.right = Right::Beside;
        self
    }

    /// Is worked on like [`Self::beside`], but nobody else begins as long as that lasts: by what replaces data.
    #[must_use]
    pub(crate) const fn alone_if_free(mut self) -> Self {
        self.right = Right::AloneIfFree;
        self
    }

    /// Takes the right to write to this host's state, or shares it with those who work beside this.
    pub(crate) fn state_lock(&self) -> Result<StateLock, StateError> {
        let state = State::open(&self.surroundings.state_directory)?;
        match (&self.lender, self.right) {
            (Some(lender), _) => lender.lend(&state),
            (None, Right::Alone) => state.lock(),
            (None, Right::Beside) => Ok(state.beside()),
            (None, Right::AloneIfFree) => match state.lock() {
                Err(StateError::Locked { .. }) => {
                    tracing::warn!(
                        "Another lifeboat is at work here; what it captures now may be neither the old state nor the new."
                    );
                    Ok(state.beside())
                }
                taken => taken,
            },
        }
    }

    /// Takes the right to replace what is here, which nobody else does meanwhile. What is inside a yard is its own.
    pub(crate) fn replacing(&self) -> Result<Option<ReplacingLock>, StateError> {
        if self.inside.is_some() {
            return Ok(None);
        }
        State::open(&self.surroundings.state_directory)?.lock_replacing().map(Some)
    }

    /// Returns the id of the job that begins now.
    pub(crate) fn new_job(&self) -> JobId {
        self.job.unwrap_or_else(|| self.surroundings.new_job())
    }

    /// Is run like this by others.
    #[must_use]
    pub fn called(mut self, call: Call) -> Self {
        self.call = call;
        self
    }

    /// Returns how others run this program with this plan.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// Uses this recovery key instead of the one where the plan says: for a machine that lacks it.
    #[must_use]
    pub fn with_key(mut self, key: RecoveryKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Only reads by this plan: it was found on a tier, and another may be in force.
    #[must_use]
    pub(crate) const fn only_read_by(mut self) -> Self {
        self.adoption = Adoption::ToReadBy;
        self
    }

    /// Returns what a command that writes says of the plan.
    pub(crate) const fn adoption(&self) -> Adoption {
        self.adoption
    }

    /// Stands in other surroundings.
    #[must_use]
    pub fn with_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// Finds a tier here instead of at the plan's address: for a copy, another mount, a test.
    #[must_use]
    pub fn with_tier(mut self, name: TierName, tier: Arc<dyn Tier>) -> Self {
        self.elsewhere.insert(name, tier);
        self
    }

    /// Takes a tier for this site's although it lacks its mark: what lies there was proven to be.
    #[must_use]
    pub(crate) fn with_proven(mut self, name: TierName) -> Self {
        self.proven.insert(name);
        self
    }

    /// Tells whether a tier is found elsewhere than where the plan says.
    pub fn is_elsewhere(&self, name: &TierName) -> bool {
        self.elsewhere.contains_key(name)
    }

    /// Does without tiers that somebody says are lost: nothing asks them, and what others hold counts as all there is.
    pub fn without(mut self, tiers: impl IntoIterator<Item = TierName>) -> Result<Self, OpsError> {
        for tier in tiers {
            self.planned(&tier)?;
            self.done_without.insert(tier);
        }
        Ok(self)
    }

    /// Returns the tiers that are done without.
    pub const fn done_without(&self) -> &BTreeSet<TierName> {
        &self.done_without
    }

    /// Holds what goes to each tier and comes from it to a rate.
    #[must_use]
    pub fn with_throttle(mut self, throttle: Throttle) -> Self {
        self.throttle = throttle;
        self
    }

    /// Counts what a tier is asked for, holds it to the rate, and lets it try again what may pass.
    fn steady(&self, name: &TierName, tier: Arc<dyn Tier>) -> Arc<dyn Tier> {
        let Surroundings { clock, cancel, .. } = &self.surroundings;
        let tier: Arc<dyn Tier> = match &self.inside {
            Some(_) => Arc::new(RehearsalTier::new(tier)),
            None => tier,
        };
        let counting = Arc::new(CountingTier::new(tier));
        let answering = self.answering_of(name);
        let steady = steady_as_known(counting, clock, self.throttle, cancel, answering);
        self.counters().push((name.clone(), Arc::clone(&steady)));
        steady
    }

    fn answering_of(&self, name: &TierName) -> Answering {
        let mut known = self.answering.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.clone()).or_default().clone()
    }

    fn counters(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what each tier was asked for since this plan was loaded; a request that was tried again
    /// counts each time.
    pub fn traffic(&self) -> BTreeMap<TierName, Traffic> {
        let mut all: BTreeMap<TierName, Traffic> = BTreeMap::new();
        for (name, tier) in self.counters().iter() {
            let sum = all.entry(name.clone()).or_default();
            *sum = sum.plus(tier.counted().unwrap_or_default());
        }
        all
    }

    /// Returns the plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the files that the plan was read from.
    pub fn sources(&self) -> &[SourceFile] {
        &self.sources
    }

    /// Returns the assets in the order in which they stand in the plan.
    pub fn assets_as_written(&self) -> &[AssetName] {
        &self.assets_as_written
    }

    /// Returns the surroundings.
    pub const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Returns the site's name.
    pub fn name(&self) -> &SiteName {
        self.plan.site()
    }

    /// Reads the recovery key and holds it against the public halves in the plan.
    pub fn recovery_key(&self, cancel: &Cancel) -> Result<RecoveryKey, OpsError> {
        let key = if let Some(key) = &self.key {
            key.clone()
        } else {
            let place = &self.plan.key().secret;
            let read = secret::resolve(place, &self.surroundings, cancel);
            let unread = |source| OpsError::KeyUnread { place: place.to_string(), source };
            RecoveryKey::parse(&read.map_err(unread)?)?
        };
        let halves = key.public_halves();
        let verifier = (self.plan.key().verifier.clone(), halves.verifier.to_string());
        let recipient = (self.plan.key().recipient.clone(), halves.recipient.to_string());
        for (expected, found) in [verifier, recipient] {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(OpsError::AnotherKey { expected, found });
            }
        }
        Ok(key)
    }

    /// Returns an asset.
    pub fn asset(&self, name: &AssetName) -> Result<&Asset, OpsError> {
        self.plan.assets().get(name).ok_or_else(|| OpsError::NoAsset {
            asset: name.clone(),
            known: self.plan.assets().keys().cloned().collect(),
        })
    }

    /// Returns the names of the assets that are wanted, or of all.
    pub fn assets(&self, wanted: &[AssetName]) -> Result<Vec<AssetName>, OpsError> {
        for name in wanted {
            self.asset(name)?;
        }
        let all = self.plan.assets().keys();
        Ok(all.filter(|name| wanted.is_empty() || wanted.contains(name)).cloned().collect())
    }

    /// Returns the tiers that an asset goes to, in the order in which its schedules name them; or
    /// those that are wanted.
    pub fn tiers_of(
        &self,
        asset: &AssetName,
        wanted: &[TierName],
    ) -> Result<Vec<TierName>, OpsError> {
        for name in wanted {
            self.address(name)?;
        }
        if !wanted.is_empty() {
            return Ok(wanted.to_vec());
        }
        let mut tiers: Vec<TierName> = Vec::new();
        for (_, schedule) in self.plan.schedules_of(asset) {
            for tier in schedule.to.pick(self.plan.tiers().keys()) {
                if !tiers.contains(tier) {
                    tiers.push(tier.clone());
                }
            }
        }
        if tiers.is_empty() {
            return Err(OpsError::NoDestination { asset: asset.clone() });
        }
        // What only other places see they fill; an asset for which nothing else is left is told why.
        let seen: Vec<_> = self.seen_here(&tiers)?;
        Ok(if seen.is_empty() { tiers } else { seen })
    }

    /// Tells whether this host sees a tier, as the plan says it of places.
    pub(crate) fn is_seen_here(&self, name: &TierName) -> Result<bool, OpsError> {
        let planned = self.planned(name)?;
        if planned.places.is_empty() {
            return Ok(true);
        }
        let here = own(self)?.and_then(|here| here.place);
        Ok(planned.is_seen_at(here.as_ref()))
    }

    /// Returns those of some tiers that this host sees.
    pub(crate) fn seen_here(&self, names: &[TierName]) -> Result<Vec<TierName>, OpsError> {
        let mut seen = Vec::new();
        for name in names {
            if self.is_seen_here(name)? {
                seen.push(name.clone());
            }
        }
        Ok(seen)
    }

    fn planned(&self, name: &TierName) -> Result<&PlannedTier, OpsError> {
        self.plan.tiers().get(name).ok_or_else(|| OpsError::NoTier {
            tier: name.clone(),
            known: self.plan.tiers().keys().cloned().collect(),
        })
    }

    fn url(&self, name: &TierName) -> Result<&TierUrl, OpsError> {
        self.planned(name).map(|tier| &tier.url)
    }

    /// Returns where a tier is, without secrets.
    pub fn address(&self, name: &TierName) -> Result<String, OpsError> {
        match self.elsewhere.get(name) {
            Some(tier) => Ok(tier.address().to_owned()),
            None => self.url(name).map(ToString::to_string),
        }
    }

    /// Goes to a tier and looks whose it is; changes nothing.
    pub fn reach(&self, name: &TierName) -> Reached {
        self.look(name).unwrap_or_else(|error| Reached::Trouble(Trouble::of(&error)))
    }

    fn look(&self, name: &TierName) -> Result<Reached, OpsError> {
        let address = self.address(name)?;
        let tier = match self.go_to(name)? {
            Place::Empty(tier) => tier,
            place @ Place::Nothing(_) => {
                return Ok(Reached::Vacant(Vacancy { name: name.clone(), address, place }));
            }
        };
        let mark = match self.mark_of(&tier) {
            Err(OpsError::Unmarked { .. }) if self.proven.contains(name) => {
                return Ok(Reached::Ready(NamedTier { name: name.clone(), tier }));
            }
            mark => mark?,
        };
        let Some(mark) = mark else {
            let place = Place::Empty(tier);
            return Ok(Reached::Vacant(Vacancy { name: name.clone(), address, place }));
        };
        mark.expect(self.name(), &address)?;
        Ok(Reached::Ready(NamedTier { name: name.clone(), tier }))
    }

    /// Goes to where a tier is; whose it is, and whether anything lies there, is not looked at.
    pub(crate) fn go_to(&self, name: &TierName) -> Result<Place, OpsError> {
        let address = self.address(name)?;
        if self.done_without.contains(name) {
            return Err(OpsError::DoneWithout { tier: name.clone(), address });
        }
        if !self.is_seen_here(name)? && !self.elsewhere.contains_key(name) {
            let places = self.planned(name)?.places.clone();
            return Err(OpsError::NotSeenHere { tier: name.clone(), places });
        }
        let tier: Arc<dyn Tier> = match self.elsewhere.get(name) {
            Some(tier) => Arc::clone(tier),
            None => match self.url(name)? {
                TierUrl::File(path) => {
                    let listings = addresses::listings(self.planned(name)?);
                    match LocalTier::open_as(path.as_path(), listings) {
                        Ok(tier) => Arc::new(tier),
                        Err(TierError::Missing { .. }) => {
                            return Ok(Place::Nothing(path.as_path().to_owned()));
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                TierUrl::S3 { bucket, prefix } => {
                    let tier = self.planned(name)?;
                    Arc::new(addresses::open_s3(tier, (bucket, prefix), &self.surroundings)?)
                }
                TierUrl::Sftp(place) => {
                    let tier = self.planned(name)?;
                    Arc::new(addresses::open_sftp(tier, place, &self.surroundings))
                }
                TierUrl::Azure { account, container, prefix } => {
                    let place = (account.as_str(), container.as_str(), prefix.as_str());
                    let tier = self.planned(name)?;
                    Arc::new(addresses::open_azure(tier, place, &self.surroundings)?)
                }
            },
        };
        Ok(Place::Empty(self.steady(name, tier)))
    }

    /// Reads whose a tier is. Nobody may wait for that any more by the time that it ends, so it is the runtime's work,
    /// and goes with it.
    fn mark_of(&self, tier: &Arc<dyn Tier>) -> Result<Option<TierMark>, OpsError> {
        let (runtime, tier) = (&self.surroundings.runtime, Arc::clone(tier));
        let read = runtime.spawn(async move { TierMark::read(tier.as_ref()).await });
        match runtime.block_on(read) {
            Ok(mark) => mark,
            Err(ended) if ended.is_cancelled() => Err(OpsError::Cancelled(Cancelled)),
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }

    /// Returns the folders of this host that hold what lifeboat itself writes.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let tiers = self.plan.tiers().values().filter_map(|tier| tier.url.folder());
        let mut folders: Vec<_> = tiers.map(|folder| folder.as_path().to_owned()).collect();
        folders.push(self.surroundings.cache_directory.clone());
        folders
    }

    /// Returns how to connect to an asset's server.
    pub fn connection(
        &self,
        postgres: &Postgres,
        cancel: &Cancel,
    ) -> Result<(Conninfo, ClientEnvironment), OpsError> {
        let environment = client_environment(&self.surroundings.environment);
        let mut conninfo = Conninfo::parse(postgres.connect.as_str(), &environment)?;
        if let Some(place) = &postgres.password {
            let password = secret::resolve(place, &self.surroundings, cancel)?;
            conninfo = conninfo.with_password(password);
        }
        Ok((conninfo, environment))
    }

    /// Asks a server where its data is: on its own host, which need not be this one.
    pub(crate) fn data_directory_of(
        &self,
        postgres: &Postgres,
        cancel: &Cancel,
    ) -> Option<PathBuf> {
        let asked = self.connection(postgres, cancel).and_then(|(conninfo, around)| {
            self.surroundings.runtime.block_on(async {
                let server = Server::connect_without_database(&conninfo, &around).await?;
                Ok(server.facts().await?.data_directory)
            })
        });
        asked
            .unwrap_or_else(|error| {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "A server does not tell where its data is.");
                None
            })
            .map(PathBuf::from)
    }

    /// Returns the plan's databases.
    pub fn databases(&self) -> impl Iterator<Item = (&AssetName, &Postgres)> {
        self.plan.assets().iter().filter_map(|(name, asset)| match &asset.kind {
            AssetKind::Postgres(postgres) => Some((name, postgres)),
            AssetKind::Files(_) | AssetKind::Command(_) => None,
        })
    }
}

/// Returns what libpq would read from the environment.
pub(crate) fn client_environment(environment: &BTreeMap<String, String>) -> ClientEnvironment {
    let path = environment.get("PATH").map_or("/usr/bin:/bin", String::as_str);
    let mut client = ClientEnvironment::new(path);
    if let Some(home) = environment.get("HOME") {
        client = client.home(Path::new(home));
    }
    if let Some(file) = environment.get("PGSERVICEFILE") {
        client = client.service_file(file);
    }
    if let Some(file) = environment.get("PGPASSFILE") {
        client = client.password_file(file);
    }
    client
}
