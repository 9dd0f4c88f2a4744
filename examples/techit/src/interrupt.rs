//! Ctrl-C and `kill`: the child that runs is told, and the story stops where it can clean up.

use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::Cancel;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::DemoError;

/// Whether somebody asked the demo to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    cancel: Cancel,
    child: Arc<Mutex<Option<Pid>>>,
}

impl Interrupt {
    /// Listens, from now on and for as long as the process lives.
    pub fn listen() -> Result<Self, DemoError> {
        let fail = |source| DemoError::System { action: "listen for Ctrl-C", source };
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(fail)?;
        let guard = runtime.enter();
        let mut signals = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            signals.push(signal(kind).map_err(fail)?);
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
        thread.spawn(listener).map_err(fail)?;
        Ok(interrupt)
    }

    fn stop(&self) {
        self.cancel.cancel();
        if let Some(child) = *self.child.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended in this very moment; then there is nobody to tell.
            _ = kill(child, Signal::SIGINT);
        }
    }

    /// Fails once somebody asked the demo to end.
    pub fn check(&self) -> Result<(), DemoError> {
        self.cancel.check().map_err(|_| DemoError::Interrupted)
    }

    /// Notes which child is to be told, and that there is none any more.
    pub fn watch(&self, child: Option<u32>) {
        let pid = child.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }
}
