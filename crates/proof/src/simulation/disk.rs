//! What a simulated disk holds, and the tier through which one process sees it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use lifeboat_model::{Capabilities, Capability, Timestamp};
use lifeboat_repository::lock::{LISTING_LAG_MAX, LockGuard};
use lifeboat_tiers::{ObjectMeta, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier, TierError};
use rand::RngExt as _;

use super::tally::Deed;
use super::weather::{Listing, Torn};
use super::world::{ActorId, State, Wish, World};

/// How long a listing lags at most: less than whoever writes a shared lock waits before he looks again, or as long as whoever
/// writes an exclusive one expects.
const LAG_MAX: Duration = Duration::from_millis(190);
const LATE_MAX: Duration = LISTING_LAG_MAX;

/// How many disks there are at most.
pub(crate) const DISKS_MAX: usize = 3;

/// For how long a disk is down that goes down, in seconds: for some requests, or for a task or two.
const DOWN_SECONDS: std::ops::RangeInclusive<u64> = 1..=120;

/// For how many writes a full disk stays full.
const FULL_WRITES: u32 = 6;

/// How often a guard looks whether its lock is to be refreshed; as its own thread does, but by the
/// simulated clock.
const TICK: Duration = Duration::from_secs(5);

thread_local! {
    /// Set where a lock is refreshed in the middle of another operation, which has the turn.
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

/// An object as it lies on a disk.
#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    written: Timestamp,
    listed: Timestamp,
    by: ActorId,
}

/// What a listing still shows of an object that was removed.
#[derive(Debug, Clone)]
struct Ghost {
    meta: ObjectMeta,
    until: Timestamp,
}

/// What a disk holds.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    objects: BTreeMap<ObjectPath, Object>,
    /// What was removed and is still listed for a while.
    ghosts: BTreeMap<ObjectPath, Ghost>,
    /// How many more writes find it full.
    full: u32,
    /// Until when it does not answer; but for reads of packs, which take no turn and so know no time.
    down: Option<Timestamp>,
    /// What was left half-written under its own name.
    pub(crate) torn: BTreeSet<ObjectPath>,
}

impl Disk {
    /// Returns all that it holds.
    pub(crate) fn contents(&self) -> BTreeMap<ObjectPath, Bytes> {
        self.objects.iter().map(|(path, object)| (path.clone(), object.body.clone())).collect()
    }

    /// Takes something away, as somebody would by hand.
    pub(crate) fn remove(&mut self, path: &ObjectPath) {
        self.objects.remove(path);
    }

    /// Puts other bytes into the place of an object, as a failing disk would.
    pub(crate) fn damage(&mut self, path: &ObjectPath, body: Bytes) {
        if let Some(object) = self.objects.get_mut(path) {
            object.body = body;
        }
    }

    /// Frees space, and lets it answer again.
    pub(crate) const fn free(&mut self) {
        self.full = 0;
        self.down = None;
    }

    fn is_down(&self, now: Timestamp) -> bool {
        self.down.is_some_and(|until| now < until)
    }
}

/// A process, as far as the world knows it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) actor: ActorId,
    /// At which of its writes it is killed.
    pub(crate) killed_at: Option<u64>,
    writes: AtomicU64,
    /// How many packs it wrote.
    packs: AtomicU64,
    /// Whether it changed anything but locks.
    has_changed: AtomicBool,
    dead: AtomicBool,
    guards: Mutex<Vec<Arc<LockGuard>>>,
    /// When it last wrote a lock, on each disk.
    pub(crate) locked: Mutex<[Timestamp; DISKS_MAX]>,
    ticked: Mutex<Option<Timestamp>>,
}

impl Process {
    pub(crate) fn new(actor: ActorId, killed_at: Option<u64>) -> Self {
        Self {
            actor,
            killed_at,
            writes: AtomicU64::new(0),
            packs: AtomicU64::new(0),
            has_changed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            guards: Mutex::default(),
            locked: Mutex::new([Timestamp::MIN; DISKS_MAX]),
            ticked: Mutex::default(),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Returns how many packs it wrote.
    pub(crate) fn packs(&self) -> u64 {
        self.packs.load(Ordering::SeqCst)
    }

    /// Tells whether it died after it had changed something, and before it ended.
    pub(crate) fn died_midway(&self) -> bool {
        self.is_dead() && self.has_changed.load(Ordering::SeqCst)
    }

    /// Takes note of a write that is carried out.
    fn note_write(&self, path: &ObjectPath) {
        if path.as_str().starts_with("data/") {
            self.packs.fetch_add(1, Ordering::SeqCst);
        }
        if !path.as_str().starts_with("locks/") {
            self.has_changed.store(true, Ordering::SeqCst);
        }
    }

    /// Lets the guard be looked after from now on.
    pub(crate) fn hold(&self, guard: &Arc<LockGuard>) {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(guard));
    }

    /// Lets go of all guards, the last taken first.
    pub(crate) fn release(&self) {
        let mut guards =
            std::mem::take(&mut *self.guards.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(guard) = guards.pop() {
            drop(guard);
        }
    }

    /// Refreshes locks as their guards' own threads do.
    fn tick(&self, now: Timestamp) {
        let guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ticked = self.ticked.lock().unwrap_or_else(PoisonError::into_inner);
        let age = ticked.map_or(Duration::MAX, |ticked| now.duration_since(ticked).unsigned_abs());
        if guards.is_empty() || age < TICK {
            return;
        }
        *ticked = Some(now);
        drop(ticked);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                HAS_TURN.set(true);
                for guard in &guards {
                    guard.tick();
                }
            });
        });
    }
}

/// Which of the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskId(pub(crate) usize);

/// A disk, as one process sees it.
#[derive(Debug)]
pub(crate) struct SimTier {
    world: Arc<World>,
    process: Arc<Process>,
    disk: DiskId,
    address: String,
}

/// What somebody asks of a disk.
#[derive(Debug, Clone)]
enum Request<'a> {
    Put(&'a ObjectPath, Bytes, PutMode),
    Get(&'a ObjectPath, ReadRange),
    Head(&'a ObjectPath),
    List(&'a ObjectPrefix),
    Delete(&'a ObjectPath),
}

/// What a disk answers.
enum Answer {
    Done,
    Bytes(Bytes),
    Listed(Vec<ObjectMeta>),
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// It is not carried out.
    Lost,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// There is no space.
    Full,
    /// The process dies before it, after it, or in its middle.
    KilledBefore,
    KilledAfter,
    KilledWithin,
}

impl Fault {
    /// Returns as what it is counted.
    const fn deed(self, request: &Request<'_>, torn: Torn) -> Option<Deed> {
        match (self, request) {
            (Self::Lost, _) => Some(Deed::RequestLost),
            (Self::AnswerLost, Request::Delete(_)) => Some(Deed::DeleteAnswerLost),
            (Self::AnswerLost, _) => Some(Deed::AnswerLost),
            (Self::Full, _) => Some(Deed::DiskFull),
            (Self::KilledWithin, Request::Put(..)) => Some(match torn {
                Torn::Aside => Deed::Torn,
                Torn::InPlace => Deed::TornInPlace,
            }),
            (Self::None | Self::KilledBefore | Self::KilledAfter | Self::KilledWithin, _) => None,
        }
    }
}

impl Request<'_> {
    const fn is_write(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(_))
    }

    fn path(&self) -> String {
        match self {
            Self::Put(path, ..) | Self::Get(path, _) | Self::Head(path) | Self::Delete(path) => {
                path.to_string()
            }
            Self::List(prefix) => prefix.path().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// What reads a part of a pack, which several threads may do at once.
    fn takes_no_turn(&self) -> bool {
        matches!(self, Self::Get(..) | Self::Head(_)) && self.path().starts_with("data/")
    }

    fn wish(&self) -> Wish {
        let is_prompt = match self {
            Self::Put(path, ..) => {
                path.as_str().starts_with("snapshots/") || path.as_str().starts_with("index/")
            }
            Self::Delete(_) => true,
            _ => false,
        };
        if is_prompt { Wish::Promptly } else { Wish::Whenever }
    }

    const fn verb(&self) -> &'static str {
        match self {
            Self::Put(..) => "put",
            Self::Get(..) => "get",
            Self::Head(_) => "head",
            Self::List(_) => "list",
            Self::Delete(_) => "delete",
        }
    }
}

impl SimTier {
    pub(crate) fn new(world: &Arc<World>, process: &Arc<Process>, disk: DiskId) -> Self {
        let address = format!("disk-{}:", disk.0);
        Self { world: Arc::clone(world), process: Arc::clone(process), disk, address }
    }

    fn ask(&self, request: &Request<'_>) -> Result<Answer, TierError> {
        if self.process.is_dead() {
            return Err(self.unavailable(request, "the process is dead"));
        }
        if request.takes_no_turn() {
            let state = self.world.lock();
            return if self.is_unlucky(request, state.weather.fails_per_mille) {
                Err(self.unavailable(request, "it did not answer"))
            } else {
                self.carry_out(state, request)
            };
        }
        let mut state = if HAS_TURN.get() {
            self.world.lock()
        } else {
            let state = self.world.take_turn(self.process.actor, request.wish());
            let now = state.now;
            drop(state);
            // What a lock needs comes first, as it does when a machine wakes up: the guard's thread
            // waits for nothing else.
            self.process.tick(now);
            self.world.lock()
        };
        let fault = self.draw(&mut state, request);
        let (disk, now, who) = (self.disk.0, state.now, self.process.actor.0);
        state.trace.note(|| {
            let path = request.path();
            // The name of a key file comes from a random salt.
            let path = if path.starts_with("keys/") { "keys/…" } else { &path };
            format!("{now} actor {who}: {} {path} on disk {disk}: {fault:?}", request.verb())
        });
        self.suffer(state, request, fault)
    }

    /// Decides by what is read whether reading it fails.
    fn is_unlucky(&self, request: &Request<'_>, per_mille: u32) -> bool {
        let mut hasher = DefaultHasher::new();
        (request.path(), self.process.actor).hash(&mut hasher);
        self.process.writes.load(Ordering::SeqCst).hash(&mut hasher);
        // Reads are many, and each is a part of something that fails as a whole.
        hasher.finish() % 4000 < u64::from(per_mille)
    }

    fn draw(&self, state: &mut State, request: &Request<'_>) -> Fault {
        let weather = state.weather;
        let now = state.now;
        // Asked only where it may be, so that the others go as they always went.
        if weather.down_per_mille > 0 && state.rng.random_ratio(weather.down_per_mille, 1000) {
            let seconds = state.rng.random_range(DOWN_SECONDS);
            state.disks[self.disk.0].down = now.saturating_add(Duration::from_secs(seconds)).ok();
            state.tally.note(Deed::TierDown);
        }
        if request.is_write() {
            let write = self.process.writes.fetch_add(1, Ordering::SeqCst) + 1;
            if self.process.killed_at == Some(write) {
                let moments = [Fault::KilledBefore, Fault::KilledAfter, Fault::KilledWithin];
                return moments[state.rng.random_range(0..moments.len())];
            }
        }
        if state.disks[self.disk.0].is_down(now) {
            return Fault::Lost;
        }
        if matches!(request, Request::Put(..)) {
            let strikes = state.rng.random_ratio(weather.full_per_mille, 1000);
            let disk = &mut state.disks[self.disk.0];
            if strikes {
                disk.full = FULL_WRITES;
            }
            if disk.full > 0 {
                disk.full -= 1;
                return Fault::Full;
            }
        }
        if state.rng.random_ratio(weather.fails_per_mille, 1000) {
            let was_carried_out = request.is_write() && state.rng.random();
            return if was_carried_out { Fault::AnswerLost } else { Fault::Lost };
        }
        Fault::None
    }

    fn suffer(
        &self,
        mut state: std::sync::MutexGuard<'_, State>,
        request: &Request<'_>,
        fault: Fault,
    ) -> Result<Answer, TierError> {
        if let Some(deed) = fault.deed(request, state.weather.torn) {
            state.tally.note(deed);
        }
        match fault {
            Fault::None => return self.carry_out(state, request),
            Fault::Lost | Fault::KilledBefore => {}
            Fault::AnswerLost | Fault::KilledAfter => {
                // Whatever it is, nobody learns of it.
                drop(self.carry_out(state, request));
            }
            Fault::KilledWithin => self.tear(&mut state, request),
            Fault::Full => {
                let source = io::ErrorKind::StorageFull.into();
                let action = format!("{} {}", request.verb(), request.path());
                return Err(TierError::Full { tier: self.address.clone(), action, source });
            }
        }
        let kills = [Fault::KilledBefore, Fault::KilledAfter, Fault::KilledWithin];
        if kills.contains(&fault) {
            self.process.dead.store(true, Ordering::SeqCst);
        }
        Err(self.unavailable(request, "it did not answer"))
    }

    /// Leaves what a write leaves in whose middle the process dies.
    fn tear(&self, state: &mut State, request: &Request<'_>) {
        let Request::Put(path, body, _) = request else { return };
        let part = body.slice(..state.rng.random_range(0..body.len().max(1)));
        let by = self.process.actor;
        let object = Object { body: part, written: state.now, listed: state.now, by };
        let torn = state.weather.torn;
        let disk = &mut state.disks[self.disk.0];
        match torn {
            Torn::Aside => {
                let aside = format!("{path}.part").parse().expect("letters may follow a dot");
                disk.objects.insert(aside, object);
            }
            // One that was whole stays so: the bytes are the same.
            Torn::InPlace if disk.objects.contains_key(*path) => {}
            Torn::InPlace => {
                disk.torn.insert((*path).clone());
                disk.objects.insert((*path).clone(), object);
            }
        }
    }

    fn carry_out(
        &self,
        mut state: std::sync::MutexGuard<'_, State>,
        request: &Request<'_>,
    ) -> Result<Answer, TierError> {
        match request {
            Request::Put(path, body, mode) => self.put_on(&mut state, path, body, *mode)?,
            Request::Delete(path) => self.remove_from(&mut state, path),
            Request::Get(path, range) => {
                let body = self.find(&state, path)?.body.clone();
                return self.cut(path, &body, *range).map(Answer::Bytes);
            }
            Request::Head(path) => {
                let meta = meta(path, self.find(&state, path)?);
                return Ok(Answer::Listed(vec![meta]));
            }
            Request::List(prefix) => return Ok(Answer::Listed(self.list_of(&mut state, prefix))),
        }
        Ok(Answer::Done)
    }

    /// Lists what was put and removed some time ago.
    fn list_of(&self, state: &mut State, prefix: &ObjectPrefix) -> Vec<ObjectMeta> {
        let now = state.now;
        let disk = &mut state.disks[self.disk.0];
        disk.ghosts.retain(|path, ghost| ghost.until > now && !disk.objects.contains_key(path));
        let there = disk.objects.iter().filter(|(path, _)| prefix.contains(path));
        let (seen, unseen): (Vec<_>, Vec<_>) = there.partition(|(_, object)| object.listed <= now);
        let ghosts: Vec<_> = disk.ghosts.iter().filter(|(path, _)| prefix.contains(path)).collect();
        let lags = !unseen.is_empty() || !ghosts.is_empty();
        let seen = seen.into_iter().map(|(path, object)| meta(path, object));
        let listed = seen.chain(ghosts.into_iter().map(|(_, ghost)| ghost.meta.clone())).collect();
        if lags {
            let is_late = state.weather.listing == Listing::Late;
            state.tally.note(if is_late { Deed::ListingLate } else { Deed::ListingLagged });
        }
        listed
    }

    fn remove_from(&self, state: &mut State, path: &ObjectPath) {
        self.process.note_write(path);
        let until = state.now.saturating_add(lag(state)).unwrap_or(state.now);
        let disk = &mut state.disks[self.disk.0];
        disk.torn.remove(path);
        let Some(object) = disk.objects.remove(path) else { return };
        disk.ghosts.insert(path.clone(), Ghost { meta: meta(path, &object), until });
        if path.as_str().starts_with("locks/") && object.by != self.process.actor {
            state.tally.note(Deed::StaleLockRemoved);
        }
    }

    fn put_on(
        &self,
        state: &mut State,
        path: &ObjectPath,
        body: &Bytes,
        mode: PutMode,
    ) -> Result<(), TierError> {
        self.process.note_write(path);
        let (lag, now) = (lag(state), state.now);
        if path.as_str().starts_with("locks/") {
            self.process.locked.lock().unwrap_or_else(PoisonError::into_inner)[self.disk.0] = now;
        }
        let disk = &mut state.disks[self.disk.0];
        let there = disk.objects.get(path);
        if mode == PutMode::Create && there.is_some() {
            let tier = self.address.clone();
            return Err(TierError::AlreadyExists { tier, path: path.clone() });
        }
        // What was seen does not vanish from listings when it is put again.
        let listed = now.saturating_add(lag).unwrap_or(now);
        let listed = there.map_or(listed, |there| there.listed.min(listed));
        disk.torn.remove(path);
        let object = Object { body: body.clone(), written: now, listed, by: self.process.actor };
        disk.objects.insert(path.clone(), object);
        Ok(())
    }

    fn find<'s>(&self, state: &'s State, path: &ObjectPath) -> Result<&'s Object, TierError> {
        state.disks[self.disk.0]
            .objects
            .get(path)
            .ok_or_else(|| TierError::NotFound { tier: self.address.clone(), path: path.clone() })
    }

    fn cut(&self, path: &ObjectPath, body: &Bytes, range: ReadRange) -> Result<Bytes, TierError> {
        let size = body.len() as u64;
        let span = range.within(size).ok_or_else(|| TierError::OutOfRange {
            tier: self.address.clone(),
            path: path.clone(),
            range,
            size,
        })?;
        let index = |bytes| usize::try_from(bytes).expect("it lies within a body in memory");
        Ok(body.slice(index(span.start)..index(span.end)))
    }

    fn unavailable(&self, request: &Request<'_>, word: &'static str) -> TierError {
        TierError::Unavailable {
            tier: self.address.clone(),
            action: format!("{} {}", request.verb(), request.path()),
            source: io::Error::other(word),
        }
    }
}

/// Draws how long it takes until a listing shows a change.
fn lag(state: &mut State) -> Duration {
    let (listing, rng) = (state.weather.listing, &mut state.rng);
    let mut draw = |most: Duration| {
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rng.random_range(0..=most_ms))
    };
    match listing {
        Listing::Prompt => Duration::ZERO,
        Listing::Lagging => draw(LAG_MAX),
        Listing::Late => draw(LATE_MAX),
    }
}

fn meta(path: &ObjectPath, object: &Object) -> ObjectMeta {
    let size = object.body.len() as u64;
    ObjectMeta { path: path.clone(), size, modified: object.written }
}

#[async_trait]
impl Tier for SimTier {
    fn address(&self) -> &str {
        &self.address
    }

    fn capabilities(&self) -> Capabilities {
        let common = Capabilities::NONE.with(Capability::ConditionalPut);
        match self.world.lock().weather.listing {
            Listing::Prompt => common.with(Capability::PromptListing),
            Listing::Lagging | Listing::Late => common,
        }
    }

    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<(), TierError> {
        self.ask(&Request::Put(path, body, mode)).map(drop)
    }

    async fn get(&self, path: &ObjectPath, range: ReadRange) -> Result<Bytes, TierError> {
        match self.ask(&Request::Get(path, range))? {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Done | Answer::Listed(_) => unreachable!("a read is answered with bytes"),
        }
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, TierError> {
        match self.ask(&Request::Head(path))? {
            Answer::Listed(mut found) => Ok(found.remove(0)),
            Answer::Done | Answer::Bytes(_) => unreachable!("a look is answered with one entry"),
        }
    }

    fn list<'a>(&'a self, prefix: &ObjectPrefix) -> BoxStream<'a, Result<ObjectMeta, TierError>> {
        let prefix = prefix.clone();
        stream::once(async move {
            let found: Vec<_> = match self.ask(&Request::List(&prefix)) {
                Ok(Answer::Listed(found)) => found.into_iter().map(Ok).collect(),
                Ok(Answer::Done | Answer::Bytes(_)) => Vec::new(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(found)
        })
        .flatten()
        .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), TierError> {
        self.ask(&Request::Delete(path)).map(drop)
    }
}
