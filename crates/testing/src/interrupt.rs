//! Ctrl-C and `kill`: the child that runs is told, and the work stops where it can clean up.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::Cancel;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// Somebody asked the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing is left running")]
pub struct Interrupted;

/// Who is told that the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The process with this number.
    Process(u32),
    /// Every process of the group with this number.
    Group(u32),
}

impl Watched {
    /// Returns the number as `kill` wants it.
    fn pid(self) -> Option<Pid> {
        let (id, sign) = match self {
            Self::Process(id) => (id, 1),
            Self::Group(id) => (id, -1),
        };
        Some(Pid::from_raw(sign * i32::try_from(id).ok()?))
    }
}

/// Whether somebody asked the process to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    cancel: Cancel,
    child: Arc<Mutex<Option<Watched>>>,
}

impl Interrupt {
    /// Listens, from now on and for as long as the process lives.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut signals = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            signals.push(signal(kind)?);
        }
        drop(guard);
        let heard = interrupt.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let listener = move || {
            runtime.block_on(async {
                let [first, second, third] = signals.as_mut_slice() else { return };
                loop {
                    tokio::select! {
                        _ = first.recv() => heard.stop(),
                        _ = second.recv() => heard.stop(),
                        _ = third.recv() => heard.stop(),
                    }
                }
            });
        };
        thread.spawn(listener)?;
        Ok(interrupt)
    }

    fn stop(&self) {
        self.cancel.cancel();
        let child = *self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = child.and_then(Watched::pid) {
            // It may have ended in this very moment; then there is nobody to tell.
            _ = kill(pid, Signal::SIGINT);
        }
    }

    /// Fails once somebody asked the process to end.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.cancel.check().map_err(|_| Interrupted)
    }

    /// Notes who is to be told, and that there is nobody any more.
    pub fn watch(&self, child: Option<Watched>) {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = child;
    }
}
