//! `lifeboat wal serve`: does PostgreSQL's archiving and fetching before it is asked.
//!
//! The server hands over one file after the other and waits for each. This looks at what it is going to hand
//! over (`pg_wal/archive_status/*.ready`), ships several at once, and says of each that it is
//! archived only once it is. In a recovery it keeps the next segments in a [spool](super::spool).
//!
//! # Invariants
//!
//! - A file counts as shipped only as long as it is the file that was read, by size, time and inode: a
//!   cluster that was restored in place hands over others by the same names.
//! - Where files are [fetched alone](Service::Fetching), none is archived, whoever asks and whatever lies ready.
//! - An end of the archive is never told from what was fetched ahead: it is looked for when asked.
//!
//! # Crash consistency
//!
//! All that is known here is in memory. After a kill files are shipped again, which stores nothing
//! twice, and whoever asks does the work himself until somebody serves again.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, Shared, select};
use lifeboat_model::{AssetName, Cancel, Clock, Timestamp};
use lifeboat_postgres::archive::get::Answer;
use lifeboat_postgres::archive::name::ShortDigest;
use lifeboat_postgres::archive::{ArchiveError, Cluster, WalAddress, WalFile};
use lifeboat_postgres::wal::WalFileName;
use lifeboat_tiers::durable;
use lifeboat_tiers::envelope::Opener;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

use super::protocol::{self, Question, Reply, VERSION, Verdict, Wish};
use super::spool::Spool;
use super::{WalError, WalLog};
use crate::error::explain;
use crate::wire::Site;

/// How many files are shipped, and how many are fetched, at once. Each is in memory, plain and sealed.
const AT_ONCE_MAX: usize = 4;

/// How many files are shipped before they are handed over.
const SHIPPED_AHEAD_MAX: usize = 16;

/// How many segments are fetched before they are asked for: as many as the spool holds.
const FETCHED_AHEAD_MAX: usize = 8;

/// How often it is looked for files that are ready; a file that is handed over is looked at at once.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long nothing is shipped ahead after something could not be shipped.
const REST: Duration = Duration::from_secs(10);

/// How often tiers are caught up that are behind.
const CATCH_UP_EVERY: Duration = Duration::from_mins(1);

/// How long a question may take to arrive.
const HEAR_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether all of this is to end.
const CANCEL_EVERY: Duration = Duration::from_millis(200);

/// How many may ask at once; PostgreSQL asks one question at a time.
const CONNECTIONS_MAX: usize = 32;

/// What is done for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Files are archived and fetched.
    Both,
    /// Files are fetched alone: what a server beside the one that was backed up writes, or is made to
    /// write, must not get into its archive.
    Fetching,
}

/// Where and for whom the log is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// What is done.
    pub service: Service,
    /// The socket.
    pub socket: PathBuf,
    /// The cluster's directory.
    pub directory: PathBuf,
    /// Where segments are kept that were fetched ahead.
    pub spool: PathBuf,
}

/// The log of an asset on its socket: whoever asks from now on is heard, and answered as soon as it
/// [runs](Self::run).
pub struct LogService {
    server: LogServer,
    listener: StdUnixListener,
    socket: PathBuf,
}

impl fmt::Debug for LogService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogService").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl LogService {
    /// Takes the socket; the service ends when `cancel` is set.
    pub fn bind(
        site: &Site,
        asset: &AssetName,
        options: &ServeOptions,
        cancel: &Cancel,
    ) -> Result<Self, WalError> {
        let places = (options.directory.as_path(), options.spool.as_path());
        let server = LogServer::open(site, asset, options.service, places, cancel)?;
        let listener = bind(&options.socket).map_err(failed("serve on", &options.socket))?;
        Ok(Self { server, listener, socket: options.socket.clone() })
    }

    /// Answers until the end.
    pub fn run(self) -> Result<(), WalError> {
        let Self { server, listener, socket } = self;
        let runtime = server.0.site.surroundings().runtime.clone();
        let serving = server.begin(&runtime);
        runtime.block_on(async {
            let listener = UnixListener::from_std(listener).map_err(failed("serve on", &socket))?;
            server.0.listen(&listener).await;
            drop(serving);
            drop(fs::remove_file(&socket));
            Ok(())
        })
    }
}

/// The log of an asset, for whoever hears the questions about it.
#[derive(Clone)]
pub struct LogServer(Arc<Server>);

/// As long as this lives, the log is shipped before it is asked for.
#[derive(Debug)]
pub struct Serving(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl LogServer {
    /// Opens the log of the cluster in a directory, with a spool in another.
    pub fn open(
        site: &Site,
        asset: &AssetName,
        service: Service,
        (directory, spool): (&Path, &Path),
        cancel: &Cancel,
    ) -> Result<Self, WalError> {
        let found = fs::canonicalize(directory);
        let directory = found.map_err(failed("find", directory))?;
        let cluster = Cluster::at(&directory)?;
        let spool = Spool::open(spool);
        let spool = spool
            .inspect_err(|error| {
                tracing::warn!(%error, "Nothing is fetched ahead: there is no spool.");
            })
            .ok();
        Ok(Self(Arc::new(Server {
            site: site.clone(),
            asset: asset.clone(),
            directory,
            cluster,
            service,
            spool,
            cancel: cancel.clone(),
            opener: OnceLock::new(),
            shipments: Mutex::default(),
            fetches: Mutex::default(),
            shipping: Semaphore::new(AT_ONCE_MAX),
            fetching: Semaphore::new(AT_ONCE_MAX),
            handed_over: Notify::new(),
            resting_until: Mutex::new(Timestamp::MIN),
            is_behind: AtomicBool::new(false),
        })))
    }

    /// Begins to ship what is going to be handed over.
    pub fn begin(&self, runtime: &tokio::runtime::Handle) -> Serving {
        if self.0.service == Service::Fetching {
            return Serving(Vec::new());
        }
        let ahead = runtime.spawn(Arc::clone(&self.0).ship_ahead());
        Serving(vec![ahead, runtime.spawn(Arc::clone(&self.0).catch_up_behind())])
    }

    /// Tells whether it is the log of the cluster in a directory.
    pub fn is_of(&self, directory: &Path) -> bool {
        fs::canonicalize(directory).is_ok_and(|asked| asked == self.0.directory)
    }

    /// Answers a question that a user asked.
    pub async fn answer(
        &self,
        question: Question,
        uid: u32,
        stream: &mut UnixStream,
    ) -> io::Result<()> {
        self.0.answer(question, uid, stream).await
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.to_owned();
    move |source| WalError::Archive(ArchiveError::Io { action, path, source })
}

/// Takes the socket's name, also from one that is dead.
pub(crate) fn bind(socket: &Path) -> io::Result<StdUnixListener> {
    if let Some(directory) = socket.parent() {
        durable::create_directories(directory, 0o755)?;
    }
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdUnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    // Anybody may knock; who it is decides.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

type Work<T> = Shared<BoxFuture<'static, Result<T, String>>>;

/// Which file it was that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Ok(Self { inode: meta.ino(), length: meta.len(), modified })
    }
}

struct Shipment {
    stamp: Stamp,
    work: Work<()>,
}

struct Server {
    site: Site,
    asset: AssetName,
    directory: PathBuf,
    cluster: Cluster,
    service: Service,
    spool: Option<Spool>,
    cancel: Cancel,
    opener: OnceLock<Opener>,
    shipments: Mutex<HashMap<WalFileName, Shipment>>,
    fetches: Mutex<HashMap<WalFileName, Work<Option<ShortDigest>>>>,
    shipping: Semaphore,
    fetching: Semaphore,
    handed_over: Notify,
    resting_until: Mutex<Timestamp>,
    is_behind: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work that blocks, such as all that reads a plan's tiers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(ended) => ended,
        Err(error) => Err(error.to_string()),
    }
}

impl Server {
    fn clock(&self) -> &dyn Clock {
        &*self.site.surroundings().clock
    }

    fn log(&self) -> Result<WalLog<'_>, WalError> {
        WalLog::of(&self.site, Some(&self.asset))
    }

    fn path(&self, file: WalFileName) -> PathBuf {
        self.directory.join("pg_wal").join(file.to_string())
    }

    async fn listen(self: &Arc<Self>, listener: &UnixListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while !self.cancel.is_cancelled() {
            let accepted = Box::pin(listener.accept());
            let Either::Left((accepted, _)) =
                select(accepted, self.clock().sleep(CANCEL_EVERY)).await
            else {
                continue;
            };
            let Ok((stream, _)) = accepted else { continue };
            // Whoever finds no room does the work himself.
            let Ok(room) = Arc::clone(&connections).try_acquire_owned() else { continue };
            let server = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = server.attend(stream).await {
                    tracing::debug!(%error, "A conversation broke off.");
                }
                drop(room);
            });
        }
    }

    /// Answers one question.
    async fn attend(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        let mut stream = BufReader::new(stream);
        let heard = Box::pin(protocol::hear::<Question>(&mut stream));
        let Either::Left((question, _)) = select(heard, self.clock().sleep(HEAR_MAX)).await else {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        };
        self.answer(question?, uid, stream.get_mut()).await
    }

    async fn answer(
        self: &Arc<Self>,
        question: Question,
        uid: u32,
        stream: &mut UnixStream,
    ) -> io::Result<()> {
        let is_mine = question.version == VERSION
            && super::client::is_trusted(uid, &self.directory)
            && fs::canonicalize(&question.directory).is_ok_and(|asked| asked == self.directory);
        let (verdict, body) = match question.wish {
            _ if !is_mine => (Verdict::NotMine, None),
            Wish::Push if self.service == Service::Fetching => {
                let message = "nothing is archived here, files are fetched alone".to_owned();
                (Verdict::Failed { message }, None)
            }
            Wish::Push => self.push(question.file).await,
            Wish::Get => self.get(question.file).await,
        };
        protocol::say(stream, &Reply { version: VERSION, verdict }).await?;
        if let Some(file) = body {
            stream.write_all(file.bytes()).await?;
        }
        stream.shutdown().await
    }

    async fn push(self: &Arc<Self>, file: WalFileName) -> (Verdict, Option<WalFile>) {
        self.handed_over.notify_one();
        match self.ship(file).await {
            Ok(()) => (Verdict::Done { length: 0 }, None),
            Err(message) => (Verdict::Failed { message }, None),
        }
    }

    /// Waits until a file is archived, beginning with it if nobody did yet.
    async fn ship(self: &Arc<Self>, file: WalFileName) -> Result<(), String> {
        let stamp = Stamp::of(&self.path(file)).map_err(|error| format!("{file}: {error}"))?;
        let work = {
            let mut shipments = lock(&self.shipments);
            match shipments.get(&file) {
                Some(shipment) if shipment.stamp == stamp => shipment.work.clone(),
                _ => {
                    let work = self.begin_shipment(file);
                    shipments.insert(file, Shipment { stamp, work: work.clone() });
                    work
                }
            }
        };
        let ended = work.await;
        if ended.is_err() {
            let mut shipments = lock(&self.shipments);
            if shipments.get(&file).is_some_and(|shipment| shipment.stamp == stamp) {
                shipments.remove(&file);
            }
            *lock(&self.resting_until) =
                self.clock().now().saturating_add(REST).unwrap_or_default();
        }
        ended
    }

    fn begin_shipment(self: &Arc<Self>, file: WalFileName) -> Work<()> {
        let server = Arc::clone(self);
        let task = tokio::spawn(async move {
            let Ok(_slot) = server.shipping.acquire().await else {
                return Err("no more is shipped".to_owned());
            };
            let worker = Arc::clone(&server);
            blocking(move || worker.ship_now(file).map_err(|error| explain(&error))).await
        });
        async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared()
    }

    fn ship_now(&self, file: WalFileName) -> Result<(), WalError> {
        let pushed = self.log()?.push(&self.path(file), &self.cancel)?;
        for (tier, why) in &pushed.behind {
            tracing::warn!(%tier, why, %file, "A tier is behind.");
            self.is_behind.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Ships what the server is going to hand over.
    async fn ship_ahead(self: Arc<Self>) {
        loop {
            let status = self.directory.join("pg_wal").join("archive_status");
            let is_resting = *lock(&self.resting_until) > self.clock().now();
            let ready = blocking(move || ready(&status).map_err(|error| error.to_string())).await;
            match ready {
                Ok(ready) => {
                    let all: BTreeSet<_> = ready.iter().copied().collect();
                    let mut next = ready;
                    next.truncate(if is_resting { 0 } else { SHIPPED_AHEAD_MAX });
                    {
                        let mut shipments = lock(&self.shipments);
                        shipments.retain(|file, _| all.contains(file));
                        next.retain(|file| !shipments.contains_key(file));
                    }
                    for file in next {
                        let server = Arc::clone(&self);
                        tokio::spawn(async move {
                            if let Err(error) = server.ship(file).await {
                                tracing::warn!(%file, error, "A file could not be shipped ahead.");
                            }
                        });
                    }
                }
                Err(error) => tracing::warn!(error, "It cannot be seen what is ready."),
            }
            let handed_over = Box::pin(self.handed_over.notified());
            select(handed_over, self.clock().sleep(LOOK_EVERY)).await;
        }
    }

    /// Brings tiers up to date that did not hold what was shipped.
    async fn catch_up_behind(self: Arc<Self>) {
        loop {
            self.clock().sleep(CATCH_UP_EVERY).await;
            if !self.is_behind.swap(false, Ordering::Relaxed) {
                continue;
            }
            let server = Arc::clone(&self);
            let caught_up = blocking(move || {
                let ended = server.log().and_then(|log| log.catch_up(&server.cancel));
                let ended = ended.map_err(|error| explain(&error))?;
                Ok(ended.iter().all(|tier| tier.ended.is_ok()))
            });
            if caught_up.await != Ok(true) {
                self.is_behind.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn get(self: &Arc<Self>, file: WalFileName) -> (Verdict, Option<WalFile>) {
        let given = match self.cluster.address(file) {
            Ok(address) => self.give(address).await,
            Err(error) => Err(explain(&error)),
        };
        match given {
            Ok(Some(file)) => (Verdict::Done { length: file.bytes().len() as u64 }, Some(file)),
            Ok(None) => (Verdict::End, None),
            Err(message) => (Verdict::Failed { message }, None),
        }
    }

    /// Gives a file that was fetched ahead, or fetches it now.
    async fn give(self: &Arc<Self>, address: WalAddress) -> Result<Option<WalFile>, String> {
        let begun = lock(&self.fetches).remove(&address.file);
        let spooled = match begun {
            Some(work) => work.await.ok().flatten(),
            None => None,
        };
        let server = Arc::clone(self);
        let given = blocking(move || {
            if let Some(file) =
                spooled.and_then(|digest| server.spool.as_ref()?.take(address, digest))
            {
                tracing::debug!(file = %address.file, "It was fetched ahead.");
                return Ok(Some(file));
            }
            let fetched = server.fetch_now(address).map_err(|error| explain(&error))?;
            if fetched.is_some() {
                tracing::debug!(file = %address.file, "It was fetched when it was asked for.");
            }
            Ok(fetched)
        })
        .await?;
        if given.is_some() {
            self.fetch_ahead(address);
        }
        Ok(given)
    }

    fn opener(&self) -> Result<Opener, WalError> {
        if let Some(opener) = self.opener.get() {
            return Ok(opener.clone());
        }
        let opener = self.site.recovery_key(&self.cancel)?.opener();
        Ok(self.opener.get_or_init(|| opener).clone())
    }

    fn fetch_now(&self, address: WalAddress) -> Result<Option<WalFile>, WalError> {
        match self.log()?.fetch(address, &[], &self.opener()?)? {
            Answer::Found { file, .. } => Ok(Some(file)),
            Answer::End => Ok(None),
        }
    }

    /// Begins to fetch what follows a segment, and lets go of all else.
    fn fetch_ahead(self: &Arc<Self>, address: WalAddress) {
        let (WalFileName::Segment(segment), Some(_)) = (address.file, &self.spool) else { return };
        let next = std::iter::successors(segment.next(address.size), |at| at.next(address.size));
        let wanted: Vec<WalFileName> = next.take(FETCHED_AHEAD_MAX).map(Into::into).collect();
        let mut fetches = lock(&self.fetches);
        let unwanted: Vec<_> = fetches.extract_if(|file, _| !wanted.contains(file)).collect();
        for file in wanted {
            let address = WalAddress { file, ..address };
            fetches.entry(file).or_insert_with(|| self.begin_fetch(address));
        }
        drop(fetches);
        for (file, work) in unwanted {
            let server = Arc::clone(self);
            tokio::spawn(async move {
                if let (Ok(Some(digest)), Some(spool)) = (work.await, &server.spool) {
                    spool.forget(WalAddress { file, ..address }, digest);
                }
            });
        }
    }

    fn begin_fetch(self: &Arc<Self>, address: WalAddress) -> Work<Option<ShortDigest>> {
        let server = Arc::clone(self);
        let task = tokio::spawn(async move {
            let Ok(_slot) = server.fetching.acquire().await else { return Ok(None) };
            let worker = Arc::clone(&server);
            blocking(move || Ok(worker.spool_now(address))).await
        });
        async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared()
    }

    /// Fetches a file into the spool; whatever goes wrong, it is fetched when it is asked for.
    fn spool_now(&self, address: WalAddress) -> Option<ShortDigest> {
        let found = self.opener().and_then(|opener| self.log()?.find(address, &opener));
        let kept = match found {
            Ok(Some(file)) => self.spool.as_ref()?.keep(&file).map_err(|error| error.to_string()),
            Ok(None) => return None,
            Err(error) => Err(explain(&error)),
        };
        kept.inspect_err(|error| {
            tracing::warn!(file = %address.file, error, "A segment could not be fetched ahead.");
        })
        .ok()
    }
}

/// Returns what the server is going to hand over, in its order: histories first, then by age.
fn ready(status: &Path) -> io::Result<Vec<WalFileName>> {
    let mut ready = Vec::new();
    for entry in fs::read_dir(status)? {
        let name = entry?.file_name();
        let file = name.to_str().and_then(|name| name.strip_suffix(".ready"));
        ready.extend(file.and_then(|file| file.parse::<WalFileName>().ok()));
    }
    ready.sort_by_key(|file| (!matches!(file, WalFileName::History(_)), *file));
    Ok(ready)
}
