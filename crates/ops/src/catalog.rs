//! The catalog: what happened, signed, in one chain of hashes for each writer, on every tier.
//!
//! [`Catalog::open`] under the state lock, [`Catalog::catch_up`] with the tiers that are reachable,
//! then [`Catalog::append`]. Readers ask the [`View`]. [`Catalog::rebuild`] fills the view from the
//! tiers alone; [`Catalog::verify`] names whatever was tampered with.
//!
//! # Crash consistency
//!
//! A record is written locally first: to the outbox (from then on it exists), then to the view,
//! then to each tier with a conditional put, then it leaves the outbox. Were a tier first, a kill
//! after it would leave a record that this host does not know, and its next one would fork the
//! chain. After a kill at any step, `open` takes the outbox into the view and `catch_up` puts
//! what the tiers lack; the same happens when a tier was down. A host that is lost with records
//! in its outbox loses exactly those: nothing on a tier refers to them.
//!
//! Several may have the catalog open at the same time, with clones of one lock or beside it. Each writes alone: the head of
//! the chain is read and followed while nobody else does. A record that was kept and did not come into the view, as on a
//! full disk, is taken in before the next one is written.
//!
//! # Invariants
//!
//! - One writer's records form one chain, however many write in its name at the same time.
//! - The view holds only records whose signature is an enrolled writer's.
//! - The outbox holds every own record that may be missing on a reachable tier.
//! - No record on a tier is ever replaced.

pub mod audit;
pub mod body;
pub mod canonical;
pub mod record;
mod shelf;
pub mod view;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::join_all;
use lifeboat_model::{Classify, Clock, ErrorKind, Exit, Hint, JobId, PlanId, SiteName, TierName};
use lifeboat_tiers::TierError;
use serde::Serialize;
use tokio::runtime::Handle;

use audit::{Audited, Flaw, audit, audit_new};
use body::{Body, Enrolment, attestation_text};
use record::{Header, Record, RecordName, SCHEMA};
use view::{View, ViewError};

use crate::named_tier::NamedTier;
use crate::recovery_key::{RecoveryKey, RootKey, Verifier};
use crate::state::{Outbox, StateError, StateLock, Writing};
use crate::surroundings::Surroundings;
use crate::writer::Writer;
use lifeboat_tiers::envelope::{Opener, Recipient};

/// The catalog could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The state directory failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The local view failed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// No tier could be read.
    #[error("no tier could be read, so the catalog cannot be rebuilt")]
    NoTier {
        /// What the last one said.
        #[source]
        source: Option<TierError>,
    },
    /// This writer has no enrolment, and the key that would make one is not at hand.
    #[error("this host is not enrolled as a writer of the catalog")]
    NotEnrolled,
}

impl Classify for CatalogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::State(error) => error.kind(),
            Self::View(ViewError::Damaged { .. }) => ErrorKind::Corrupt,
            Self::View(ViewError::Sqlite { .. } | ViewError::Create { .. })
            | Self::NoTier { .. } => ErrorKind::Unavailable,
            Self::NotEnrolled => ErrorKind::Denied,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::State(error) => error.exit(),
            other => other.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::State(error) => error.hint(),
            Self::View(_) => Some(Hint::new("run `lifeboat catalog rebuild`")),
            Self::NoTier { .. } => Some(Hint::new("run `lifeboat check`")),
            Self::NotEnrolled => Some(Hint::new(
                "run any command that writes once where the recovery key can be read",
            )),
        }
    }
}

/// The keys that a catalog works with.
#[derive(Debug, Clone)]
pub struct CatalogKeys {
    /// To whom records are sealed.
    pub recipient: Recipient,
    /// Whose signature enrols writers.
    pub verifier: Verifier,
    /// What opens records, where the recovery key is at hand.
    pub opener: Option<Opener>,
}

impl From<&RecoveryKey> for CatalogKeys {
    fn from(key: &RecoveryKey) -> Self {
        let halves = key.public_halves();
        let opener = Some(key.opener());
        Self { recipient: halves.recipient, verifier: halves.verifier, opener }
    }
}

/// How long a tier may take for the few records of a step while all others wait for it.
const DELIVERY_MAX: Duration = Duration::from_secs(10);

/// How long a tier may say nothing while its records are read.
const SILENCE_MAX: Duration =
    if cfg!(test) { Duration::from_millis(80) } else { Duration::from_secs(10) };

/// What happened on one tier while the catalog was brought up to date.
#[derive(Debug, Serialize)]
pub struct TierSync {
    /// Which tier.
    pub tier: TierName,
    /// How many records were read from it.
    pub read: usize,
    /// How many were put there.
    pub put: usize,
    /// Why it could not be reached or written, if so.
    pub error: Option<String>,
}

/// What bringing the catalog up to date or verifying it showed.
#[derive(Debug, Default, Serialize)]
pub struct CatalogReport {
    /// How many records there are now.
    pub records: usize,
    /// What happened on each tier.
    pub tiers: Vec<TierSync>,
    /// What should not be.
    pub flaws: BTreeSet<Flaw>,
    /// The tiers whose records are all known now.
    #[serde(skip)]
    pub told: BTreeSet<TierName>,
}

/// The catalog of a site, open for writing.
#[derive(Debug)]
pub struct Catalog {
    site: SiteName,
    keys: CatalogKeys,
    writer: Writer,
    lock: StateLock,
    view: View,
    /// What was appended here and is not on every tier yet; who delivers elsewhere may empty the outbox of it.
    own: Mutex<Vec<Record>>,
    /// What is known to lie on each tier of what the outbox still holds for another.
    there: Mutex<HashMap<TierName, HashSet<RecordName>>>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
}

impl Catalog {
    /// Opens the catalog of a site and takes in what an earlier run left in the outbox.
    pub fn open(
        lock: StateLock,
        site: SiteName,
        keys: CatalogKeys,
        surroundings: &Surroundings,
    ) -> Result<Self, CatalogError> {
        let writing = lock.writing()?;
        let writer = lock.writer(surroundings.now())?;
        let view = View::open_or_begin_anew(&lock.state().view_path())?;
        drop(writing);
        let (clock, runtime) = (Arc::clone(&surroundings.clock), surroundings.runtime.clone());
        let (own, there) = (Mutex::default(), Mutex::default());
        let catalog = Self { site, keys, writer, lock, view, own, there, clock, runtime };
        match catalog.writing() {
            Err(CatalogError::View(error)) if error.is_damage() => {
                catalog.begin_view_anew(&error)?;
                drop(catalog.writing()?);
            }
            other => drop(other?),
        }
        Ok(catalog)
    }

    /// Waits until nobody else writes; the view then has all that was kept.
    fn writing(&self) -> Result<Writing<'_>, CatalogError> {
        let mut writing = self.lock.writing()?;
        if writing.outbox() == Outbox::MaybeAhead {
            self.view.insert(&self.outbox()?)?;
            writing.note(Outbox::InView)?;
        }
        Ok(writing)
    }

    /// Returns the jobs of this host that began, did not end, and that nobody works on any more.
    pub(crate) fn abandoned(&self) -> Result<Vec<JobId>, CatalogError> {
        // No start and no end is recorded meanwhile.
        let _writing = self.writing()?;
        let began = self.view.open_jobs(self.writer.id())?;
        let began = began.iter().filter_map(|record| match record.body() {
            Body::JobStarted(started) => Some(started.job),
            _ => None,
        });
        Ok(self.lock.abandoned(began.collect())?)
    }

    fn own(&self) -> MutexGuard<'_, Vec<Record>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> MutexGuard<'_, HashMap<TierName, HashSet<RecordName>>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the local view.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Returns the right to write to this host's state.
    pub(crate) const fn state_lock(&self) -> &StateLock {
        &self.lock
    }

    /// Returns who writes here.
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Enrols this host, unless it is; the root key follows from the recovery key.
    pub fn enrol(
        &self,
        root: &RootKey,
        host: &str,
        plan: Option<PlanId>,
    ) -> Result<(), CatalogError> {
        let writing = self.writing()?;
        if self.view.head(self.writer.id())?.is_some() {
            return Ok(());
        }
        let public_key = self.writer.verifier().to_string();
        let text = attestation_text(self.site.as_str(), self.writer.id(), &public_key);
        let attestation = BASE64.encode(root.sign(&text).to_bytes());
        let enrolment = Enrolment { host: host.to_owned(), public_key, attestation };
        self.write(writing, Body::Enrolment(enrolment), plan, None).map(drop)
    }

    /// Appends a record: durable here when this returns; put on the tiers with [`Self::deliver`].
    pub fn append(&self, body: Body, plan: Option<PlanId>) -> Result<Record, CatalogError> {
        let writing = self.writing()?;
        let head = self.view.head(self.writer.id())?.ok_or(CatalogError::NotEnrolled)?;
        self.write(writing, body, plan, Some(&head))
    }

    fn write(
        &self,
        mut writing: Writing<'_>,
        body: Body,
        plan: Option<PlanId>,
        head: Option<&Record>,
    ) -> Result<Record, CatalogError> {
        let header = Header {
            schema: SCHEMA,
            site: self.site.clone(),
            writer: self.writer.id(),
            sequence: head.map_or(0, |head| head.header().sequence + 1),
            previous: head.map(Record::id),
            plan,
            time: self.clock.now(),
        };
        let record = Record::write(header, body, &self.writer);
        writing.note(Outbox::MaybeAhead)?;
        self.lock.keep_outgoing(&outgoing_name(&record), record.plaintext())?;
        self.view.insert(std::slice::from_ref(&record))?;
        writing.note(Outbox::InView)?;
        self.own().push(record.clone());
        Ok(record)
    }

    fn outbox(&self) -> Result<Vec<Record>, CatalogError> {
        let kept = self.lock.outgoing()?;
        // What is not a record of this writer was not put there by it.
        let records = kept.iter().filter_map(|(_, bytes)| Record::read(bytes).ok());
        let own = self.writer.verifier();
        Ok(records.filter(|record| record.is_signed_by(&own)).collect())
    }

    /// Puts what is in the outbox on every tier, on all at the same time; what every one of them has leaves
    /// the outbox.
    ///
    /// A tier that is down, or does not take it in [`DELIVERY_MAX`], is named and catches up later.
    pub fn deliver(&self, tiers: &[NamedTier]) -> Result<Vec<TierSync>, CatalogError> {
        let mut waiting = self.outbox()?;
        let own = self.own().clone();
        add_missing(&mut waiting, &own);
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let lacking: Vec<_> = tiers.iter().map(|tier| self.lacking(tier, &waiting)).collect();
        let lacking = tiers.iter().zip(&lacking).map(|(tier, records)| (tier, 0, &records[..]));
        let synced = self.put_all(lacking, Some(DELIVERY_MAX));
        self.note_there(&waiting, &synced);
        if self.empty_outbox(&waiting, &synced)? == Emptied::Yes {
            self.own().retain(|record| !own.iter().any(|done| done.id() == record.id()));
            self.there().clear();
        }
        Ok(synced)
    }

    /// Returns which records the view has. One that cannot be read any more begins anew, and nobody else writes until it is
    /// filled: who appends follows the head of a chain that it does not have.
    fn known(&self) -> Result<(HashSet<RecordName>, Option<Writing<'_>>), CatalogError> {
        match self.view.names() {
            Err(error) if error.is_damage() => {
                let mut writing = self.lock.writing()?;
                writing.note(Outbox::MaybeAhead)?;
                self.begin_view_anew(&error)?;
                Ok((self.view.names()?, Some(writing)))
            }
            other => Ok((other?, None)),
        }
    }

    /// Empties a view that cannot be read; whoever asks the tiers next fills it.
    fn begin_view_anew(&self, damage: &ViewError) -> Result<(), CatalogError> {
        let error: &dyn std::error::Error = damage;
        tracing::warn!(
            error,
            "The catalog's local view is damaged: it begins anew, and the tiers fill it."
        );
        Ok(self.view.begin_anew()?)
    }

    /// Returns what of these records a tier is not known to have.
    fn lacking(&self, tier: &NamedTier, records: &[Record]) -> Vec<Record> {
        let all = self.there();
        let there = all.get(&tier.name);
        let lacks = |record: &&Record| there.is_none_or(|on| !on.contains(&RecordName::of(record)));
        records.iter().filter(lacks).cloned().collect()
    }

    /// Notes that the tiers that took all they lacked have these records, so that one that is down does not have them put
    /// on the others each time again.
    fn note_there(&self, records: &[Record], synced: &[TierSync]) {
        let mut there = self.there();
        for synced in synced.iter().filter(|synced| synced.error.is_none()) {
            there
                .entry(synced.tier.clone())
                .or_default()
                .extend(records.iter().map(RecordName::of));
        }
    }

    /// Puts on each tier what it lacks, on all at the same time: a tier that is slow keeps no other waiting.
    fn put_all<'t>(
        &self,
        lacking: impl Iterator<Item = (&'t NamedTier, usize, &'t [Record])>,
        longest: Option<Duration>,
    ) -> Vec<TierSync> {
        let put = async |(tier, read, records): (&NamedTier, usize, &[Record])| {
            let putting = shelf::put(tier, &self.keys.recipient, records);
            // A disk cannot be let go of while it writes.
            let error = match longest.filter(|_| !tier.tier.reads_here()) {
                None => putting.await.err().map(told),
                Some(longest) => match tokio::time::timeout(longest, putting).await {
                    Ok(done) => done.err().map(told),
                    Err(_) => {
                        Some(format!("it did not take them in {} seconds", longest.as_secs()))
                    }
                },
            };
            let put = if error.is_none() { records.len() } else { 0 };
            TierSync { tier: tier.name.clone(), read, put, error }
        };
        self.runtime.block_on(join_all(lacking.map(put)))
    }

    fn empty_outbox(
        &self,
        outbox: &[Record],
        synced: &[TierSync],
    ) -> Result<Emptied, CatalogError> {
        if synced.is_empty() || synced.iter().any(|tier| tier.error.is_some()) {
            return Ok(Emptied::No);
        }
        for record in outbox {
            self.lock.forget_outgoing(&outgoing_name(record))?;
        }
        Ok(Emptied::Yes)
    }

    /// Reads what the tiers have and this host does not know, and puts what they lack.
    ///
    /// What the view has was audited when it came there and is not looked at again, so that a catalog of many years is
    /// brought up to date as soon as a young one; [`Self::verify`] looks at everything.
    pub fn catch_up(&self, tiers: &[NamedTier]) -> Result<CatalogReport, CatalogError> {
        // Before the view is read: what leaves the outbox below must be among what was put.
        let outbox = self.outbox()?;
        let (known, filling) = self.known()?;
        let shelves = self.read_all(tiers, &known);
        let is_new = |record: &&Record| !known.contains(&RecordName::of(record));
        let mut new: Vec<_> = outbox.iter().filter(is_new).cloned().collect();
        let mut report = CatalogReport::default();
        for found in shelves.iter().flatten() {
            new.extend(found.records.iter().cloned());
            report.flaws.extend(found.flaws.iter().cloned());
        }
        let Audited { accepted, flaws } = self.audit_new(&known, new)?;
        report.flaws.extend(flaws);
        let writing = filling.map_or_else(|| self.writing(), Ok)?;
        self.view.insert(&accepted)?;
        drop(writing);
        report.told = told_by(tiers, &shelves);
        report.records = known.len() + accepted.len();
        let mut lacking = Vec::new();
        for (tier, found) in tiers.iter().zip(shelves) {
            lacking.push(match found {
                Err(error) => Err(unreachable_tier(tier, error)),
                Ok(found) => {
                    let records = self.lacked(&found.names, &known, &accepted)?;
                    Ok((tier, found.records.len(), records))
                }
            });
        }
        let reached = lacking.iter().flatten();
        let reached = reached.map(|(tier, read, records)| (*tier, *read, &records[..]));
        let put = self.put_all(reached, None);
        let mut put = put.into_iter();
        let synced = lacking.into_iter().map(|lacking| match lacking {
            Err(unreachable) => Some(unreachable),
            Ok(_) => put.next(),
        });
        report.tiers = synced.flatten().collect();
        self.note_there(&outbox, &report.tiers);
        self.empty_outbox(&outbox, &report.tiers)?;
        Ok(report)
    }

    /// Reads what the tiers have and this host does not know, and puts nothing; returns those that could be read.
    pub(crate) fn learn(&self, tiers: &[NamedTier]) -> Result<BTreeSet<TierName>, CatalogError> {
        let known = self.view.names()?;
        let shelves = self.read_all(tiers, &known);
        let new = shelves.iter().flatten().flat_map(|found| found.records.iter().cloned());
        let Audited { accepted, .. } = self.audit_new(&known, new.collect())?;
        let writing = self.writing()?;
        self.view.insert(&accepted)?;
        drop(writing);
        Ok(told_by(tiers, &shelves))
    }

    /// Audits records that the view does not have, each beside those of its chain that it has.
    fn audit_new(
        &self,
        known: &HashSet<RecordName>,
        new: Vec<Record>,
    ) -> Result<Audited, CatalogError> {
        let beside = self.view.beside(&new)?;
        Ok(audit_new(&self.site, &self.keys.verifier, known, beside, new))
    }

    /// Returns the records that are known, or new, and not on a tier that has these.
    fn lacked(
        &self,
        there: &HashSet<RecordName>,
        known: &HashSet<RecordName>,
        new: &[Record],
    ) -> Result<Vec<Record>, CatalogError> {
        let mut lacked = self.view.named(known.difference(there))?;
        lacked.extend(new.iter().filter(|new| !there.contains(&RecordName::of(new))).cloned());
        Ok(lacked)
    }

    /// Reads what the tiers have and is not known, of all at the same time.
    fn read_all(
        &self,
        tiers: &[NamedTier],
        known: &HashSet<RecordName>,
    ) -> Vec<Result<shelf::Found, TierError>> {
        let read = tiers
            .iter()
            .map(|tier| unless_silent(tier, shelf::read(tier, self.keys.opener.as_ref(), known)));
        self.runtime.block_on(join_all(read))
    }

    /// Fills the view anew from the tiers and the outbox; a tier that is down is named.
    ///
    /// A record that only the view still has is kept: its signature is what makes it true, and the
    /// tiers' copies of it may be the ones that are damaged. When no tier can be read, the view stays
    /// as it is.
    pub fn rebuild(&self, tiers: &[NamedTier]) -> Result<CatalogReport, CatalogError> {
        let (mut report, mut records, mut last) = (CatalogReport::default(), Vec::new(), None);
        for (tier, found) in tiers.iter().zip(self.read_all(tiers, &HashSet::new())) {
            match found {
                Ok(found) => {
                    let (read, tier) = (found.records.len(), tier.name.clone());
                    report.tiers.push(TierSync { tier, read, put: 0, error: None });
                    report.flaws.extend(found.flaws);
                    records.extend(found.records);
                }
                Err(error) => {
                    let (tier, text) = (tier.name.clone(), error.to_string());
                    report.tiers.push(TierSync { tier, read: 0, put: 0, error: Some(text) });
                    last = Some(error);
                }
            }
        }
        if report.tiers.iter().all(|tier| tier.error.is_some()) {
            return Err(CatalogError::NoTier { source: last });
        }
        let mut writing = self.lock.writing()?;
        writing.note(Outbox::MaybeAhead)?;
        records.extend(self.outbox()?);
        // A view that cannot be read is what a rebuild is for.
        records.extend(self.view.all().unwrap_or_default());
        let Audited { accepted, flaws } = audit(&self.site, &self.keys.verifier, records);
        report.flaws.extend(flaws);
        match self.view.replace(&accepted) {
            Err(error) if error.is_damage() => {
                self.begin_view_anew(&error)?;
                self.view.replace(&accepted)?;
            }
            other => other?,
        }
        drop(writing);
        report.records = accepted.len();
        Ok(report)
    }

    /// Reads every record of every tier and names whatever should not be; changes nothing.
    ///
    /// A tier lacks what another tier has or this host knows, but for what it is still to be sent.
    pub fn verify(&self, tiers: &[NamedTier]) -> Result<CatalogReport, CatalogError> {
        Ok(self.look(tiers)?.report)
    }

    /// Verifies like [`Self::verify`], and returns the records as well.
    pub(crate) fn look(&self, tiers: &[NamedTier]) -> Result<Looked, CatalogError> {
        let mut report = CatalogReport::default();
        let known = self.view.all()?;
        let mut all: HashSet<_> = known.iter().map(Record::id).collect();
        let mut shelves = Vec::new();
        for (tier, found) in tiers.iter().zip(self.read_all(tiers, &HashSet::new())) {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    report.tiers.push(unreachable_tier(tier, error));
                    continue;
                }
            };
            let (read, name) = (found.records.len(), tier.name.clone());
            report.tiers.push(TierSync { tier: name.clone(), read, put: 0, error: None });
            report.flaws.extend(found.flaws);
            let Audited { accepted, flaws } = audit(&self.site, &self.keys.verifier, found.records);
            report.flaws.extend(flaws);
            all.extend(accepted.iter().map(Record::id));
            shelves.push((name, accepted));
        }
        let outbox: HashSet<_> = self.outbox()?.iter().map(Record::id).collect();
        for (tier, there) in &shelves {
            let there: HashSet<_> = there.iter().map(Record::id).collect();
            let records = all.difference(&there).filter(|id| !outbox.contains(id)).count();
            if records > 0 {
                report.flaws.insert(Flaw::Behind { tier: tier.clone(), records });
            }
        }
        report.records = all.len();
        Ok(Looked { report, known, shelves, outbox })
    }
}

/// What there is of a catalog, here and on each tier.
#[derive(Debug)]
pub(crate) struct Looked {
    /// What should not be.
    pub(crate) report: CatalogReport,
    /// What this host knows.
    pub(crate) known: Vec<Record>,
    /// What each tier that could be read has.
    pub(crate) shelves: Vec<(TierName, Vec<Record>)>,
    /// What is still to be sent.
    pub(crate) outbox: HashSet<lifeboat_model::RecordId>,
}

/// Reads the records of a site from one tier, without a state directory: those whose signatures
/// hold, merged by time.
pub async fn read_tier(
    site: &SiteName,
    keys: &CatalogKeys,
    tier: &NamedTier,
) -> Result<Vec<Record>, TierError> {
    let found = shelf::read(tier, keys.opener.as_ref(), &HashSet::new()).await?;
    Ok(audit(site, &keys.verifier, found.records).accepted)
}

/// Reads from a tier as long as something comes: records are small, and all others wait.
async fn unless_silent<T>(
    tier: &NamedTier,
    work: impl Future<Output = Result<T, TierError>>,
) -> Result<T, TierError> {
    let (mut work, begun) = (pin!(work), Instant::now());
    loop {
        if let Ok(done) = tokio::time::timeout(SILENCE_MAX / 8, &mut work).await {
            return done;
        }
        let silent_for = tier.tier.silent_for().unwrap_or_default().min(begun.elapsed());
        if silent_for >= SILENCE_MAX {
            let (tier, action) = (tier.tier.address().to_owned(), "read the catalog".to_owned());
            let why = format!("nothing came for {} seconds", SILENCE_MAX.as_secs_f32());
            let source = std::io::Error::new(std::io::ErrorKind::TimedOut, why);
            return Err(TierError::Unavailable { tier, action, source });
        }
    }
}

/// Whether records left the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emptied {
    Yes,
    No,
}

/// Adds records that are not there yet.
fn add_missing(records: &mut Vec<Record>, others: &[Record]) {
    if others.is_empty() {
        return;
    }
    let there: HashSet<_> = records.iter().map(Record::id).collect();
    records.extend(others.iter().filter(|other| !there.contains(&other.id())).cloned());
}

fn unreachable_tier(tier: &NamedTier, error: TierError) -> TierSync {
    TierSync { tier: tier.name.clone(), read: 0, put: 0, error: Some(told(error)) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map`")]
fn told(error: TierError) -> String {
    error.to_string()
}

/// Returns the tiers that could be read.
fn told_by(tiers: &[NamedTier], shelves: &[Result<shelf::Found, TierError>]) -> BTreeSet<TierName> {
    let read = tiers.iter().zip(shelves).filter(|(_, found)| found.is_ok());
    read.map(|(tier, _)| tier.name.clone()).collect()
}

fn outgoing_name(record: &Record) -> String {
    let name = RecordName::of(record);
    format!("{:010}-{}.json", name.sequence, name.hash)
}

#[cfg(test)]
mod million;
#[cfg(test)]
pub(crate) mod tests;
