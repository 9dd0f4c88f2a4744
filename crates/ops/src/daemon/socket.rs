//! The daemon's socket: who asks is known by the user id of the process at the other end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use lifeboat_model::{Clock, Timestamp};
use nix::unistd::{Uid, User};
use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::control::{Ask, Reply, Served, Waits};
use super::listeners::Hears;
use super::logs::Logs;
use super::{Daemon, DaemonError, lock};
use crate::jobs::{Job, JobState, JournalError, Work};
use crate::schedule::Pause;
use crate::wal::protocol;
use crate::wal::serve::bind;

/// How many may ask at once; those beyond wait until they are connected to.
const CONNECTIONS_MAX: usize = 64;

/// How long a question may take to arrive.
const HEAR_MAX: Duration = Duration::from_secs(10);

/// How long who listens may take to take a line.
const SAY_MAX: Duration = Duration::from_secs(10);

/// As long as this lives, the daemon is heard and serves the logs of its plan.
#[derive(Debug)]
pub struct Listening {
    socket: PathBuf,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        drop(fs::remove_file(&self.socket));
    }
}

impl Daemon {
    /// Listens on a socket.
    pub fn listen(self: &Arc<Self>, socket: &Path) -> Result<Listening, DaemonError> {
        let site = self.site();
        let runtime = &site.surroundings().runtime;
        let failed = |source| DaemonError::Socket { path: socket.to_owned(), source };
        let listener = bind(socket).map_err(failed)?;
        let entered = runtime.enter();
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        drop(entered);
        self.journal.keep_socket(socket)?;
        let logs = Arc::new(Logs::default());
        // Neither keeps the daemon, whose lock has to go when it ends.
        let daemon = Arc::downgrade(self);
        let clock = Arc::clone(&site.surroundings().clock);
        let serving = Arc::clone(&logs).keep(Weak::clone(&daemon));
        let answering = accept(listener, daemon, (logs, clock));
        let tasks = [runtime.spawn(answering), runtime.spawn(serving)];
        Ok(Listening { socket: socket.to_owned(), tasks })
    }

    /// Answers what needs no waiting.
    pub(super) fn answer(&self, ask: Ask, by: &str) -> Result<Reply, JournalError> {
        let site = self.site();
        let now = site.surroundings().now();
        Ok(match ask {
            Ask::Status => Reply::Status(Served {
                since: self.started,
                process: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                plan: site.plan().id(),
                trouble: lock(&self.in_force).trouble.clone(),
                watched: self.watcher.shown(now),
            }),
            Ask::Run { work, .. } => self.queue(work, by)?.0,
            Ask::Cancel { job } => match self.cancel_job(job)? {
                Some(job) => Reply::Job { job },
                None => Reply::Refused { message: format!("there is no job {job}") },
            },
            Ask::Pause { for_s, why } => {
                let until = now.saturating_add(Duration::from_secs(for_s));
                let until = until.unwrap_or(Timestamp::MAX);
                let pause = Pause { since: now, until, why, by: by.to_owned() };
                self.journal.set_pause(Some(&pause))?;
                tracing::warn!(%until, by, why = pause.why, "Nothing begins until then.");
                Reply::Paused { pause }
            }
            Ask::Resume => {
                self.journal.set_pause(None)?;
                tracing::info!(by, "The pause is over.");
                self.wake.notify_one();
                Reply::Done
            }
            Ask::Reload => match self.reload() {
                Ok(_) => Reply::Reloaded { plan: self.site().plan().id() },
                Err(message) => Reply::Refused { message },
            },
        })
    }

    /// Queues what somebody asks for; what of the plan waits or runs already is not queued again.
    fn queue(&self, work: Work, by: &str) -> Result<(Reply, Option<Hears>), JournalError> {
        let site = self.site();
        if let Work::Task { task } = &work {
            if !task.is_of(site.plan()) {
                let message = format!("the plan has no {task}");
                return Ok((Reply::Refused { message }, None));
            }
            let open = self.journal.open_jobs()?;
            if let Some(job) = open.into_iter().find(|job| job.task() == Some(task)) {
                let hears = self.listeners.listen(job.id);
                return Ok((Reply::Queued { job }, Some(hears)));
            }
        }
        let surroundings = site.surroundings();
        let mut job = Job::queued(surroundings.new_job(), work, surroundings.now());
        job.asked_by = Some(by.to_owned());
        let hears = self.listeners.listen(job.id);
        self.journal.queue(&job)?;
        tracing::info!(job = %job.id, work = %job.work, by, "It was asked for.");
        self.wake.notify_one();
        Ok((Reply::Queued { job }, Some(hears)))
    }
}

async fn accept(
    listener: UnixListener,
    daemon: Weak<Daemon>,
    (logs, clock): (Arc<Logs>, Arc<dyn Clock>),
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(room) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (daemon, logs) = (Weak::clone(&daemon), Arc::clone(&logs));
        let clock = Arc::clone(&clock);
        tokio::spawn(async move {
            if let Err(error) = attend(stream, &daemon, (&logs, &*clock)).await {
                tracing::debug!(%error, "A conversation broke off.");
            }
            drop(room);
        });
    }
}

/// Answers one question.
async fn attend(
    stream: UnixStream,
    daemon: &Weak<Daemon>,
    (logs, clock): (&Logs, &dyn Clock),
) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let mut stream = BufReader::new(stream);
    let heard = Box::pin(protocol::hear::<Value>(&mut stream));
    let Either::Left((question, _)) = select(heard, clock.sleep(HEAR_MAX)).await else {
        return Err(io::Error::from(io::ErrorKind::TimedOut));
    };
    let question = question?;
    if question.get("wish").is_some() {
        return logs.answer(serde_json::from_value(question)?, uid, stream.get_mut()).await;
    }
    let Some(daemon) = daemon.upgrade() else { return Ok(()) };
    let mut say = Saying { stream: stream.get_mut(), clock };
    if uid != 0 && uid != Uid::effective().as_raw() {
        let message = "only root and the user of the daemon may ask it".to_owned();
        return say.line(&Reply::Refused { message }).await;
    }
    let ask: Ask = match serde_json::from_value(question) {
        Ok(ask) => ask,
        Err(error) => {
            let message = format!("the daemon does not understand this: {error}");
            return say.line(&Reply::Refused { message }).await;
        }
    };
    match ask {
        Ask::Run { work, waits: Waits::Yes } => follow(daemon, work, uid, &mut say).await,
        ask => {
            let answered = blocking(move || daemon.answer(ask, &name_of(uid))).await?;
            say.line(&answered).await
        }
    }
}

/// Queues a job and tells what it does until it ends.
async fn follow(daemon: Arc<Daemon>, work: Work, uid: u32, say: &mut Saying<'_>) -> io::Result<()> {
    let asked = Arc::clone(&daemon);
    let (queued, hears) = match blocking(move || asked.queue(work, &name_of(uid))).await? {
        (queued, Some(hears)) => (queued, hears),
        (refused, None) => return say.line(&refused).await,
    };
    say.line(&queued).await?;
    let Reply::Queued { job } = queued else { return Ok(()) };
    // It may have ended before it was listened to, or been cancelled while it waited.
    let now = blocking(move || daemon.journal.get(job.id)).await?;
    if let Some(job) = now.filter(|job| !matches!(job.state, JobState::Queued | JobState::Running))
    {
        let exit = job.ending.map_or(0, |ending| ending.exit().code());
        return say.line(&Reply::Ended { job, report: None, hint: None, exit }).await;
    }
    let Hears { mut events, end } = hears;
    let mut end = Box::pin(end);
    loop {
        tokio::select! {
            Some(event) = events.recv() => say.line(&Reply::Event { event }).await?,
            ended = &mut end => {
                let Ok((job, done)) = ended else { return Ok(()) };
                let (report, hint, exit) = (done.report, done.hint, done.exit);
                return say.line(&Reply::Ended { job, report, hint, exit }).await;
            }
        }
    }
}

/// Says lines to somebody who may have stopped to listen.
struct Saying<'a> {
    stream: &'a mut UnixStream,
    clock: &'a dyn Clock,
}

impl Saying<'_> {
    async fn line(&mut self, reply: &Reply) -> io::Result<()> {
        let said = Box::pin(protocol::say(self.stream, reply));
        match select(said, self.clock.sleep(SAY_MAX)).await {
            Either::Left((said, _)) => said,
            Either::Right(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
