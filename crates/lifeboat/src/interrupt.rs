//! Ctrl-C and SIGTERM: the first asks the work to stop at a safe point, the second ends it at once.
//!
//! SIGHUP does nothing: `restic unlock` sends it to whoever holds a lock on this machine, to learn
//! whether that process is there. Source: restic `internal/restic/lock_unix.go`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lifeboat_model::{Cancel, Exit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::CommandError;
use crate::screen::Screen;

/// Whose Ctrl-C it is.
#[derive(Debug, Clone, Default)]
pub struct Keyboard {
    is_lent: Arc<AtomicBool>,
}

/// As long as this lives, Ctrl-C is somebody else's.
#[derive(Debug)]
pub struct Lent(Keyboard);

impl Keyboard {
    /// Lends it to a program that runs at the terminal and means something else by Ctrl-C.
    pub fn lend(&self) -> Lent {
        self.is_lent.store(true, Ordering::Relaxed);
        Lent(self.clone())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.is_lent.store(false, Ordering::Relaxed);
    }
}

/// Starts to listen; must be called inside a tokio runtime.
pub fn listen(cancel: Cancel, screen: Screen) -> Result<Keyboard, CommandError> {
    let stream = |kind| {
        signal(kind).map_err(|source| CommandError::System { action: "listen for signals", source })
    };
    let (mut interrupt, mut terminate) =
        (stream(SignalKind::interrupt())?, stream(SignalKind::terminate())?);
    // Once somebody has listened to it, it ends the process no more.
    drop(stream(SignalKind::hangup())?);
    let keyboard = Keyboard::default();
    let listening = keyboard.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate, &listening).await;
        cancel.cancel();
        screen.remark("stopping at the next safe point; once more to stop at once");
        next(&mut interrupt, &mut terminate, &listening).await;
        end_now();
    });
    Ok(keyboard)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, keyboard: &Keyboard) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => if !keyboard.is_lent.load(Ordering::Relaxed) { return },
            _ = terminate.recv() => return,
        }
    }
}

/// Ends the process like a kill would: every store is made to survive that at any instant.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a second Ctrl-C must end work that does not poll its flag"
)]
fn end_now() -> ! {
    std::process::exit(i32::from(Exit::Cancelled.code()))
}
