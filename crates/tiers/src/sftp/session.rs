//! One session with a server: the requests that are under way in it, and how it ends.
//!
//! # Invariants
//!
//! - Requests go out in the order in which they were asked for, whoever asked; answers come in any.
//! - A session that ended answers nothing more: everybody who waits is told so, and how.
//!
//! # Limits
//!
//! At most [`IN_FLIGHT_MAX`] requests are under way; who asks for more waits for his turn. An answer longer than
//! [`ANSWER_BYTES_MAX`](frames::ANSWER_BYTES_MAX) ends the session.

mod frames;

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use openssh_sftp_client_lowlevel::{
    Error as ProtocolError, Extensions, Id, Queue, ReadEnd, SharedData, WriteEnd, connect,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, OnceCell, Semaphore, oneshot, watch};
use tokio::task::AbortHandle;

use self::frames::Frames;
use super::failure::{Ended, Failure, Stage};
use super::ssh::{Login, Words};
use super::store::Names;
use crate::durable::Modes;
use crate::patience::{Patience, unless_silent};

/// How many requests are under way at once: what sftp(1) sends, and with the largest slices 16 MiB, which
/// keeps a line of one gigabit busy over a tenth of a second. OpenSSH's own window is 2 MiB.
///
/// Source: OpenSSH `sftp-client.c`, `DEFAULT_NUM_REQUESTS`; `channels.h`, `CHAN_SES_WINDOW_DEFAULT`.
pub(super) const IN_FLIGHT_MAX: usize = 64;

/// How long ssh has, once its connection is gone, for saying why and ending by itself.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// What every server takes in one request, if it does not say more.
///
/// Source: draft-ietf-secsh-filexfer-02, section 3: servers should support packets of 34000 bytes.
const SLICE_BYTES: u32 = 32 << 10;

/// More is not asked for in one request, whatever a server allows.
const SLICE_BYTES_MAX: u64 = 1 << 20;

/// How many bytes of answers are read ahead: a page, since slices go straight to where they belong.
const READ_AHEAD_BYTES: usize = 4 << 10;

pub(super) type Output = WriteEnd<BytesMut, Outbox>;
pub(super) type RequestId = Id<BytesMut>;

/// Requests that wait for being written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<Bytes>>,
    filled: Notify,
}

impl Outbox {
    fn add(&self, parts: impl Iterator<Item = Bytes>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(parts.filter(|part| !part.is_empty()));
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for Outbox {
    fn push(&self, bytes: Bytes) {
        self.add(std::iter::once(bytes));
    }

    fn extend(&self, header: Bytes, body: &[&[Bytes]]) {
        self.add(std::iter::once(header).chain(body.iter().copied().flatten().cloned()));
    }
}

/// How many bytes go into one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slices {
    pub(super) read: u32,
    pub(super) write: u32,
}

/// A session that was greeted.
#[derive(Debug)]
pub(super) struct Session {
    shared: SharedData<BytesMut, Outbox>,
    in_flight: Semaphore,
    moved: Arc<AtomicU64>,
    silence: Duration,
    hang_up: Arc<Notify>,
    ended: watch::Receiver<Option<Arc<Ended>>>,
    _exchange: Aborted,
    extensions: Extensions,
    /// Where what was begun is ended after whoever began it was dropped.
    pub(super) runtime: Runtime,
    pub(super) slices: OnceCell<Slices>,
    /// How the tier's root wants files and directories to be.
    pub(super) modes: OnceCell<Modes>,
    /// Whether names can be made durable.
    pub(super) names: OnceCell<Names>,
}

/// A task that ends when nobody wants it any more; ssh is killed with it.
#[derive(Debug)]
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Logs in and waits for the server's greeting.
    pub(super) async fn open(login: &Login, patience: Patience) -> Result<Arc<Self>, Failure> {
        let child = login.start()?;
        let output: Output = connect(Outbox::default(), ()).map_err(|error| Failure::of(&error))?;
        let shared = output.into_shared_data();
        let moved = Arc::new(AtomicU64::new(0));
        let hang_up = Arc::new(Notify::new());
        let (greet, greeted) = oneshot::channel();
        let (end, mut ended) = watch::channel(None);
        let exchange = Exchange {
            child,
            shared: shared.clone(),
            moved: Arc::clone(&moved),
            hang_up: Arc::clone(&hang_up),
            patience,
        };
        let exchange = tokio::spawn(async move {
            let ended = exchange.run(greet).await;
            end.send_replace(Some(Arc::new(ended)));
        });
        let exchange = Aborted(exchange.abort_handle());
        let waited = tokio::time::timeout(patience.connect, greeted).await;
        let Ok(Ok(extensions)) = waited else {
            hang_up.notify_one();
            return Err(how(&mut ended).await);
        };
        Ok(Arc::new(Self {
            shared,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            moved,
            silence: patience.silence,
            hang_up,
            ended,
            _exchange: exchange,
            extensions,
            runtime: Runtime::current(),
            slices: OnceCell::new(),
            modes: OnceCell::new(),
            names: OnceCell::new(),
        }))
    }

    /// Tells whether the session ended.
    pub(super) fn is_over(&self) -> bool {
        // A task that panicked over an answer tells nothing.
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }

    /// Tells whether the server has an extension.
    pub(super) const fn has(&self, extension: Extensions) -> bool {
        self.extensions.contains(extension)
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask<T, A>(
        &self,
        send: impl FnOnce(&mut Output, RequestId) -> Result<A, ProtocolError>,
    ) -> Result<T, Failure>
    where
        A: Future<Output = Result<(RequestId, T), ProtocolError>>,
    {
        let _turn = self.in_flight.acquire().await;
        let answer = self.send(send)?;
        let mut ended = self.ended.clone();
        let exchange = async {
            tokio::select! {
                biased;
                answered = answer => match answered {
                    Ok((_, answered)) => Ok(answered),
                    Err(error) => Err(Failure::of(&error)),
                },
                failure = how(&mut ended) => Err(failure),
            }
        };
        if let Some(answered) = unless_silent(self.silence, &self.moved, exchange).await {
            return answered;
        }
        self.hang_up.notify_one();
        Err(how(&mut self.ended.clone()).await)
    }

    /// Sends a request; whoever wants its answer waits for what is returned.
    pub(super) fn send<A>(
        &self,
        send: impl FnOnce(&mut Output, RequestId) -> Result<A, ProtocolError>,
    ) -> Result<A, Failure> {
        let id = self.shared.create_response_id();
        send(&mut Output::new(self.shared.clone()), id).map_err(|error| Failure::of(&error))
    }

    /// Returns how much goes into one request, asking the server once.
    pub(super) async fn slices(&self) -> Result<Slices, Failure> {
        let found = self.slices.get_or_try_init(|| async {
            let least = Slices { read: SLICE_BYTES, write: SLICE_BYTES };
            if !self.has(Extensions::LIMITS) {
                return Ok(least);
            }
            let limits = self.ask(|output, id| Ok(output.send_limits_request(id)?.wait())).await?;
            // Nought is no limit.
            let bound = |limit: u64, least: u32| match limit {
                0 => least,
                some => u32::try_from(some.min(SLICE_BYTES_MAX)).unwrap_or(least),
            };
            Ok(Slices {
                read: bound(limits.read_len, least.read),
                write: bound(limits.write_len, least.write),
            })
        });
        found.await.copied()
    }
}

/// Waits for the end of a session and says how it came.
async fn how(ended: &mut watch::Receiver<Option<Arc<Ended>>>) -> Failure {
    match ended.wait_for(Option::is_some).await {
        Ok(ended) => Failure::Ended(ended.clone().expect("it was waited for")),
        // The task was aborted with the session, or panicked over an answer.
        Err(_) => Failure::Odd("it could not be read".to_owned()),
    }
}

/// What passes to ssh and back.
struct Exchange {
    child: Child,
    shared: SharedData<BytesMut, Outbox>,
    moved: Arc<AtomicU64>,
    hang_up: Arc<Notify>,
    patience: Patience,
}

impl Exchange {
    /// Writes requests and reads answers until the session ends.
    async fn run(mut self, greet: oneshot::Sender<Extensions>) -> Ended {
        let (Some(input), Some(output), Some(says)) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
        else {
            unreachable!("all three are pipes")
        };
        let mut greet = Some(greet);
        let mut words = Words::default();
        let cause = {
            let mut listening = pin!(words.listen(says).fuse());
            let cause = {
                let mut writing = pin!(write(input, self.shared.queue(), &self.moved));
                let frames = Frames::new(output, &self.moved);
                let mut reading = pin!(read(frames, self.shared.clone(), &mut greet));
                loop {
                    tokio::select! {
                        error = &mut writing => break Cause::Broken(error.to_string()),
                        error = &mut reading => break Cause::Broken(error.to_string()),
                        () = self.hang_up.notified() => break Cause::Silent,
                        () = &mut listening => {}
                    }
                }
            };
            let ended = match cause {
                Cause::Broken(_) => {
                    let ends = async {
                        if !listening.is_terminated() {
                            listening.await;
                        }
                        self.child.wait().await
                    };
                    tokio::time::timeout(LAST_WORDS_MAX, ends).await.is_ok()
                }
                Cause::Silent => false,
            };
            if !ended {
                // Should it end at this moment, all the better.
                drop(self.child.kill().await);
            }
            cause
        };
        let stage = if greet.is_some() { Stage::Greeting } else { Stage::Established };
        let cause = match cause {
            Cause::Broken(cause) => cause,
            Cause::Silent => self.silence(stage),
        };
        Ended { stage, cause, said: words.lines() }
    }

    fn silence(&self, stage: Stage) -> String {
        let waited = match stage {
            Stage::Greeting => self.patience.connect,
            Stage::Established => self.patience.silence,
        };
        format!("nothing came for {} seconds", waited.as_secs_f32())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Broken(String),
    Silent,
}

/// Writes what is asked for; ends only with an error.
async fn write(mut to: impl AsyncWrite + Unpin, outbox: &Outbox, moved: &AtomicU64) -> io::Error {
    loop {
        for mut part in outbox.take() {
            while part.has_remaining() {
                match to.write_buf(&mut part).await {
                    Ok(0) => return io::ErrorKind::WriteZero.into(),
                    Ok(_) => moved.fetch_add(1, Ordering::Relaxed),
                    Err(error) => return error,
                };
            }
        }
        outbox.filled.notified().await;
    }
}

/// Reads answers and hands them to whoever asked; ends only with an error.
async fn read(
    from: Frames<'_, impl AsyncRead + Unpin>,
    shared: SharedData<BytesMut, Outbox>,
    greet: &mut Option<oneshot::Sender<Extensions>>,
) -> ProtocolError {
    let ahead = READ_AHEAD_BYTES.try_into().expect("it is not nought");
    let mut answers = pin!(ReadEnd::new(from, ahead, shared));
    match answers.as_mut().receive_server_hello_pinned().await {
        Ok(extensions) => {
            // Nobody waits any more if the greeting came too late.
            let _ = greet.take().expect("it is greeted once").send(extensions);
        }
        Err(error) => return error,
    }
    loop {
        match answers.as_mut().read_in_one_packet_pinned().await {
            Ok(()) | Err(ProtocolError::InvalidResponseId { .. }) => {}
            Err(error) => return error,
        }
    }
}
